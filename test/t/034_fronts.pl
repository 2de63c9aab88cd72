# The fronts of examples/, each over real HTTP: what they answer, what they do
# under load, and that nothing is lost while the database comes and goes.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant MAX_BODY => 3 * 1024 * 1024;
use constant FRONTS => qw(express python);

# Deliveries that something is to happen in the middle of
use constant COUNT => 5000;

# who writes to a front may find it gone
$SIG{PIPE} = 'IGNORE';

my $http = HTTP::Tiny->new(timeout => 60);
my $node = PostgreSQL::Test::Cluster->new('fronts');
my ($front, $url);

sub sql
{
	return $node->safe_psql('postgres', @_);
}

# -- Meta ----------------------------------------------------------------------

sub post
{
	my ($body, %headers) = @_;

	return $http->post($url, { headers => { 'x-hub-signature-256' => sign($body), %headers }, content => $body });
}

# A connection to the front that is used now, on which some bytes have been sent
sub open_raw
{
	my ($bytes) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$front->{port}", Timeout => 60)
	  or die "could not connect: $!";

	print $socket $bytes;
	return $socket;
}

# What comes on a connection, up to its end
sub read_raw
{
	my ($socket) = @_;
	my $answer = '';

	while (my $n = sysread($socket, my $buffer, 65536)) { $answer .= $buffer }
	return $answer;
}

# Deliver as Meta does: test/meta.js says how.  finish_meta() waits for its end,
# and says how it went.
sub start_meta
{
	my (%config) = @_;
	my $meta = { output => '' };

	$meta->{run} = IPC::Run::start(
		[ 'node', 'test/meta.js', encode_json({ url => $url, secret => SECRET, phone_number_id => NUMBER, %config }) ],
		'<', \undef, '>', \$meta->{output}, '2>', \$meta->{errors});
	return $meta;
}

sub finish_meta
{
	my ($meta) = @_;

	$meta->{run}->finish or diag($meta->{errors});
	return decode_json($meta->{output});
}

sub filed
{
	my ($prefix) = @_;

	return sql("SELECT count(*) FROM whatsapp.messages WHERE message_id LIKE '$prefix%'");
}

sub wait_for_filed
{
	my ($prefix, $count) = @_;

	return ok(wait_until("$count are filed", sub { filed($prefix) >= $count }), 'in the middle of deliveries');
}

# How many of the front's connections wait for a lock
sub waiting
{
	return sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'front' AND wait_event_type = 'Lock'");
}

# Each is there, and what was delivered again has touched nothing
sub is_filed
{
	my ($summary, $prefix, $count, $name) = @_;

	is($summary->{delivered}, $count, "$name: all are answered 200 in the end")
	  or diag(encode_json($summary));
	is(filed($prefix), $count, "$name: each is filed");
	is(sql("SELECT count(*) FROM touched WHERE message_id LIKE '$prefix%'"), $count, "$name: and once");
	is(join(' ', grep { !/^(?:200|503|none)$/ } sort keys %{ $summary->{statuses} }), '', "$name: no other answer but 503");
	return;
}

# -- The front -----------------------------------------------------------------

# Start one, and use it from now on
sub use_front
{
	my ($name, %env) = @_;

	$front = start_front($node, 'front', $name, %env);
	$url = "http://127.0.0.1:$front->{port}/webhook";
	return;
}

# The lines that it has written
sub entries
{
	return map { eval { decode_json($_) } // {} } grep { /^\{/ } split(/\n/, slurp_file($front->{log}));
}

sub count_entries
{
	my ($condition) = @_;

	return scalar(grep { $condition->() } entries());
}

# -- The database --------------------------------------------------------------

# A place to connect to that leads to one server or another, as an address does
# that is moved when there is a failover
my $address = PostgreSQL::Test::Utils::tempdir_short();

sub lead_to
{
	my ($server) = @_;
	my $target = $server->host . '/.s.PGSQL.' . $server->port;

	symlink($target, "$address/new") && rename("$address/new", "$address/.s.PGSQL.5432")
	  or die "could not make a link to $target: $!";
	return;
}

$node->init(allows_streaming => 1);
configure($node, undef, 'max_connections = 60', 'log_statement = none');
$node->start;
add_number($node);
sql("CREATE ROLE front LOGIN; SELECT whatsapp.grant_access('front', 'webhook')");
sql(<<'SQL');
CREATE TABLE touched (message_id text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.touched SELECT message_id FROM rows;
	RETURN NULL;
END $$;
CREATE TRIGGER inserted AFTER INSERT ON whatsapp.messages REFERENCING NEW TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION touch();
CREATE TRIGGER updated AFTER UPDATE ON whatsapp.messages REFERENCING NEW TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION touch();
CREATE FUNCTION deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'deadlock' USING ERRCODE = '40P01'; END $$;
SQL

foreach my $name (FRONTS)
{
	use_front($name);

	subtest "$name: the handshake" => sub {
		my $query = 'hub.mode=subscribe&hub.verify_token=' . VERIFY_TOKEN . '&hub.challenge=';
		my $answer = $http->get("$url?${query}1158201444");

		is("$answer->{status} $answer->{content}", '200 1158201444', 'the challenge comes back');
		like($answer->{headers}{'content-type'}, qr{^text/plain\b}, 'as plain text');
		$answer = $http->get("$url?$query%3Cscript%3Ealert(1)%3C%2Fscript%3E");
		is($answer->{content}, '<script>alert(1)</script>', 'whatever it is');
		like($answer->{headers}{'content-type'}, qr{^text/plain\b}, 'never as HTML');
		$answer = $http->get("$url?hub%2Emode=sub%73cribe&hub.verify_token=verify%2Dme&hub.challenge=1%20+2&hub.challenge=3");
		is("$answer->{status} $answer->{content}", '200 1  2', 'what is encoded is decoded, and of what is repeated the first counts');
		foreach my $other (
			'', '?', '?%', '?hub.mode=subscribe&hub.challenge=secret&hub.verify_token=wrong',
			'?hub.mode=subscribe&hub.challenge=secret&hub.verify_token=wrong&hub.verify_token=' . VERIFY_TOKEN,
			'?hub.mode=secret&hub.challenge=secret&hub.verify_token=' . VERIFY_TOKEN)
		{
			$answer = $http->get("$url$other");
			is($answer->{status}, 403, "'$other' is forbidden");
			is($answer->{content}, 'Forbidden', 'and nothing of it comes back');
			like($answer->{headers}{'content-type'}, qr{^text/plain\b}, 'as plain text');
		}
		foreach my $method (qw(HEAD OPTIONS PUT DELETE PATCH))
		{
			$answer = $http->request($method, "$url?${query}1");
			is($answer->{status}, 405, $method);
			is($answer->{headers}{allow}, 'GET, POST', 'and it says what may be');
		}
		like(read_raw(open_raw("HEAD /webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")), qr/\r\n\r\n\z/, 'no body for HEAD');
		$answer = $http->get("http://127.0.0.1:$front->{port}/other?secret");
		is("$answer->{status} $answer->{content}", '404 Not Found', 'another path');
		like($answer->{headers}{'content-type'}, qr{^text/plain\b}, 'as plain text');
	};

	subtest "$name: bodies are what came" => sub {
		my $text = fixture('text');
		my $other = $text =~ s/Is the blue one/\\ud83d\\ude00 \\u00e9 \\\/ \@ \xf0\x9f\x91\x8b/r =~ s/"id":\s*"wamid[^"]*"/"id": "wamid.$name.BYTES"/r;
		my $large = '"' . ('x' x (MAX_BODY - 2)) . '"';

		is(post($text)->{status}, 200, 'a text');
		is(post($other)->{status}, 200, 'emoji and escapes');
		is(sql("SELECT body FROM whatsapp.messages WHERE message_id = 'wamid.$name.BYTES'"),
			"\xf0\x9f\x98\x80 \xc3\xa9 / \@ \xf0\x9f\x91\x8b a/b still there?", 'are there');
		is($http->post($url, { content => $text })->{status}, 401, 'without a signature');
		is(post($text, 'x-hub-signature-256' => sign("$text "))->{status}, 401, 'with that of another body');
		like(read_raw(open_raw("POST /webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=\xe9\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")),
			qr{^HTTP/1\.1 401 }, 'with one that is none');
		is(post($text, 'content-type' => $_)->{status}, 200, "called $_")
		  foreach 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/json; charset=utf-16', 'text/html';
		is(post('')->{status}, 200, 'nothing, signed');
		is(post($large)->{status}, 200, '3 MB');
		is(post("$large ")->{status}, 413, 'more');
		my @pieces = ($large, '', undef);
		is($http->post($url, { headers => { 'x-hub-signature-256' => sign($large) }, content => sub { return shift @pieces } })->{status},
			200, '3 MB, in chunks');
		@pieces = ($large, ' ', undef);
		is($http->post($url, { headers => { 'x-hub-signature-256' => sign("$large ") }, content => sub { return shift @pieces } })->{status},
			413, 'more, in chunks');
		is(post($text)->{status}, 200, 'and it goes on');
	};

	subtest "$name: several requests on a connection" => sub {
		my $text = fixture('text');
		my $one = "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: " . sign($text) . "\r\nContent-Length: " . length($text) . "\r\n";
		my $bad = $one =~ s/sha256=./sha256=x/r;
		my $answers = read_raw(open_raw("$one\r\n$text" . "$bad\r\n$text" . "GET /webhook HTTP/1.1\r\nHost: x\r\n\r\n" . "${one}Connection: close\r\n\r\n$text"));

		is(join(' ', $answers =~ m{HTTP/1\.1 (\d+)}g), '200 401 403 200', 'without waiting for answers: each has its own, in order');
		$one =~ s/\z/Transfer-Encoding: chunked\r\nConnection: close\r\n/;
		unlike(read_raw(open_raw("$one\r\n$text\r\n")), qr{HTTP/1\.1 200}, 'of which it is not clear where the body ends, it is not accepted');
		foreach my $bad (
			"GET /webhook HTTP/1.1\r\nHost: x\r\nX: secret\rsecret\r\n\r\n", "secret /webhook HTTP/1.1\r\nHost: x\r\n\r\n",
			"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: secret\r\n\r\n", "GET /webhook?\xff\x00secret HTTP/1.1\r\nHost: x\r\n\r\n",
			"GET /webhook HTTP/1.1\r\nHost: x\r\nX: " . ('secret' x 100_000) . "\r\n\r\n")
		{
			my $answer = read_raw(open_raw($bad =~ s/Host: x/Host: x\r\nConnection: close/r));

			like($answer, qr{^(?:HTTP/1\.[01] 4\d\d .*)?\z}s, 'what is no request is refused');
			unlike($answer, qr/secret|<html/i, 'and nothing of it comes back');
		}
	};

	subtest "$name: load" => sub {
		my $prefix = "wamid.$name.SLOW";
		my $summary = finish_meta(start_meta(count => 1000, concurrency => 1000, styles => ['slow'], prefix => $prefix));

		is_filed($summary, $prefix, 1000, '1,000 connections, slow bodies');
		is($summary->{attempts}, 1000, 'at the first attempt');
		$prefix = "wamid.$name.CHUNKED";
		$summary = finish_meta(start_meta(count => 1000, concurrency => 1000, styles => ['slow chunked'], prefix => $prefix));
		is_filed($summary, $prefix, 1000, '1,000 connections, slow chunks');
		is($summary->{attempts}, 1000, 'at the first attempt');
		$prefix = "wamid.$name.LARGE";
		$summary = finish_meta(start_meta(count => 20, concurrency => 20, styles => ['large'], prefix => $prefix));
		is_filed($summary, $prefix, 20, 'bodies of 3 MB');
		$prefix = "wamid.$name.MANY";
		$summary = finish_meta(start_meta(count => 3000, styles => [qw(plain plain plain chunked)], prefix => $prefix));
		is_filed($summary, $prefix, 3000, 'many at once');
		is($summary->{attempts}, 3000, 'at the first attempt');
		is(count_entries(sub { ($_->{batch} // 1) > 1 }) > 0, $name eq 'express', 'several in a transaction, if it does that');
		my $alone = '{"alone": "' . ('x' x 12345) . '"}';
		post($alone);
		ok(wait_until('there is a line', sub { count_entries(sub { ($_->{bytes} // 0) == length($alone) }) }), 'each has a line');
		is_deeply([ map { $_->{batch} // 1 } grep { ($_->{bytes} // 0) == length($alone) } entries() ], [1], 'it is filed by itself, if there is but one');
	};

	subtest "$name: the database comes and goes" => sub {
		foreach my $mode (qw(fast immediate))
		{
			my $prefix = "wamid.$name.$mode";
			my $meta = start_meta(count => COUNT, styles => [qw(plain chunked)], prefix => $prefix);

			wait_for_filed($prefix, 500);
			$node->stop($mode);
			my $answer = post(fixture('text'));
			is($answer->{status}, 503, "$mode: without the database");
			ok($answer->{headers}{'retry-after'}, 'it says to come again');
			is($http->get($url)->{status}, 503, 'the same for GET');
			$node->start;
			my $summary = finish_meta($meta);
			is_filed($summary, $prefix, COUNT, $mode);
			cmp_ok($summary->{attempts}, '>', COUNT, 'some twice, as it was in their midst');
			ok(wait_until('it is well', sub { $http->get($url)->{status} == 403 }), 'and all is well again');
		}
		cmp_ok(count_entries(sub { ($_->{status} // 0) == 503 && $_->{error} }), '>', 0, 'what was wrong is in a line');
	};

	subtest "$name: the database is busy" => sub {
		my $prefix = "wamid.$name.BUSY";
		my $lock = $node->background_psql('postgres');

		$lock->query_safe('BEGIN; LOCK whatsapp.messages');
		my $meta = start_meta(count => 200, prefix => $prefix, concurrency => 200, patience => 0);
		ok(wait_until('some wait', sub { waiting() > 0 }), 'some wait for a lock');
		is_deeply(finish_meta($meta)->{statuses}, { 503 => 200 }, 'all are told to come again, as nobody waits in vain for long');
		cmp_ok(sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'front'"), '<=', 20, 'there are no more connections than there may be');
		$lock->query_safe('ROLLBACK');
		ok(wait_until('it is well', sub { post(fixture('text'))->{status} == 200 }), 'it is over');

		# one that cannot be filed just now, among many that can
		$lock->query_safe('BEGIN; LOCK whatsapp.messages');
		$meta = start_meta(count => 50, prefix => $prefix, concurrency => 50, patience => 0);
		ok(wait_until('all are there', sub { waiting() == ($name eq 'express' ? 2 : 20) }), 'many wait for a lock');
		$lock->query_safe("CREATE TRIGGER deadlock BEFORE INSERT ON whatsapp.messages FOR EACH ROW WHEN (new.message_id = '${prefix}17') EXECUTE FUNCTION deadlock(); COMMIT");
		$lock->quit;
		is_deeply(finish_meta($meta)->{statuses}, { 200 => 49, 503 => 1 }, 'what one of them meets is not met by the others');
		sql('DROP TRIGGER deadlock ON whatsapp.messages');
		is_filed(finish_meta(start_meta(count => 200, prefix => $prefix)), $prefix, 200, 'in the end');
	};

	subtest "$name: the database hangs" => sub {
		my $prefix = "wamid.$name.HANG";

		post(fixture('text'));
		my @backends = split(/\n/, sql("SELECT pid FROM pg_stat_activity WHERE usename = 'front'"));
		kill 'STOP', @backends;
		my $told = sub { return ($_->{status} // 0) == 503 };
		my $before = count_entries($told);
		my $meta = start_meta(count => 30, prefix => $prefix, concurrency => 30);
		ok(wait_until('it gives up', sub { count_entries($told) > $before }), 'it is not waited for for ever');
		is_filed(finish_meta($meta), $prefix, 30, 'by others');
		kill 'CONT', @backends;
	};

	subtest "$name: a line for each request" => sub {
		$http->get("http://127.0.0.1:$front->{port}/line?secret") foreach 1 .. 3;
		ok(wait_until('they are there', sub { count_entries(sub { ($_->{path} // '') eq '/line' }) == 3 }), 'one for each');
		is(count_entries(sub { !($_->{at} && exists $_->{method} && exists $_->{path} && exists $_->{ms} && exists $_->{status}) }),
			0, 'what it was, when, for how long, and what came of it');
		unlike(
			slurp_file($front->{log}) . slurp_file("$front->{log}.errors"),
			qr/@{[VERIFY_TOKEN]}|the blue one|\Q@{[SECRET]}\E|sha256=|secret/,
			'and nothing that is a secret, nor what people have said');
	};

	subtest "$name: it stops" => sub {
		my $prefix = "wamid.$name.STOP";
		my $lock = $node->background_psql('postgres');

		# slow ones that are still to come, and one that is being filed
		$lock->query_safe('BEGIN; LOCK whatsapp.messages');
		my $meta = start_meta(count => 1000, concurrency => 200, styles => ['slow'], prefix => $prefix, patience => 0);
		ok(wait_until('some wait', sub { waiting() > 0 }), 'in the middle of requests');
		$front->{run}->signal('TERM');
		ok(wait_until('it does not listen', sub { !IO::Socket::INET->new(PeerAddr => "127.0.0.1:$front->{port}") }), 'it takes no others any more');
		$lock->query_safe('ROLLBACK');
		$lock->quit;
		ok($front->{run}->finish, 'and ends');
		my $summary = finish_meta($meta);
		cmp_ok($summary->{statuses}{none} // 0, '>', 0, 'then there is nobody any more');
		cmp_ok($summary->{delivered}, '>', 0, 'but who was there has been answered');
		is(filed($prefix), $summary->{delivered}, 'each that is filed was answered 200, and each that was is filed');
	};

	subtest "$name: requests that do not come" => sub {
		my $begun = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";

		use_front($name, REQUEST_TIMEOUT => 2, STOP_TIMEOUT => 2);
		my @stuck = map { open_raw($_) } 'POST /webhook HT', $begun;
		unlike(read_raw($_), qr/ (?:200|500) /, 'are waited for, but not for ever') foreach @stuck;

		my $drop = open_raw($begun);
		my $ended = 0;
		for (my $i = 0; $i < 20 && !$ended; $i++)
		{
			# (one that comes byte by byte)
			print $drop 'x';
			$ended = IO::Select->new($drop)->can_read(1);
		}
		ok($ended, 'nor if they come byte by byte');

		my $stuck = open_raw($begun);
		ok(stop_program($front), 'nor when it stops');
		is(read_raw($stuck), '', 'they are dropped');
	};
}

subtest 'express: there is a limit to what it keeps' => sub {
	use_front('express');

	# idle ones count for nothing, even if they announce much
	my $head = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: " . MAX_BODY . "\r\n\r\n";
	my @idle = map { open_raw($head) } 1 .. 100;
	is(post(fixture('text'))->{status}, 200, 'what is announced does not count');
	print $_ 'x' x (MAX_BODY - 1) foreach @idle;
	my $large = '"' . ('x' x (MAX_BODY - 2)) . '"';

	# (what is posted while these come takes room from them, for good)
	ok(wait_until('there is no room', sub { push @idle, open_raw($head . 'x' x (MAX_BODY - 1)); return post($large)->{status} == 503 }),
		'what has come does');
	@idle = ();
	ok(wait_until('there is room', sub { post($large)->{status} == 200 }), 'until it is gone');

	# requests that are lined up, whose sender goes away
	my $lock = $node->background_psql('postgres');
	$lock->query_safe('BEGIN; LOCK whatsapp.messages');
	my $text = fixture('text') =~ s/"id":\s*"wamid[^"]*"/"id": "wamid.LINED"/r;
	my $one = "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: " . sign($text) . "\r\nContent-Length: " . length($text) . "\r\n\r\n$text";
	my $another = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 54321\r\n\r\n" . ('x' x 54321);
	my @lined = map { open_raw($one . $another x 4) } 1 .. 5;
	ok(wait_until('some wait', sub { waiting() > 0 }), 'some wait for a lock, and others behind them');
	@lined = ();
	$lock->query_safe('ROLLBACK');
	$lock->quit;
	ok(wait_until('all are done', sub { count_entries(sub { ($_->{bytes} // 0) == 54321 }) == 20 }), 'whose sender goes away: they are done with, too');
	ok(stop_program($front), 'and it stops');
};

# -- PostgREST, as it would call what its recipe has ---------------------------

my ($recipe) = slurp_file('examples/postgrest/README.md') =~ /^```sql\n(.*?)^```/ms;
my $text = fixture('text') =~ s/"id":\s*"wamid[^"]*"/"id": "wamid.POSTGREST"/r;
sql($recipe);

sub call
{
	my ($mode, $headers, $call) = @_;

	return sql("SET ROLE web; BEGIN $mode; SELECT set_config('request.headers', '" . encode_json($headers) . "', true) \\g /dev/null\n"
		  . "SELECT convert_from($call, 'UTF8'); SELECT current_setting('response.status'), current_setting('response.headers'); COMMIT");
}

my @shown = ('[{"Content-Type": "text/plain; charset=utf-8"}]');
is(call('', { 'x-hub-signature-256' => sign($text) }, "api.webhook('$text'::json)"), "OK\n200|@shown", 'PostgREST: a delivery');
is(filed('wamid.POSTGREST'), 1, 'is filed');
is(call('', {}, "api.webhook('$text'::json)"), "Unauthorized\n401|@shown", 'without a signature it is not');
is(call('READ ONLY', {}, 'api.webhook("hub.challenge" => \'1\', "hub.mode" => \'subscribe\', "hub.verify_token" => \'' . VERIFY_TOKEN . '\')'),
	"1\n200|@shown", 'the handshake');
is(call('READ ONLY', {}, 'api.webhook("hub.challenge" => \'1\', "hub.mode" => \'subscribe\', "hub.verify_token" => \'x\')'),
	"Forbidden\n403|@shown", 'with a wrong token');

# -- Failover ------------------------------------------------------------------

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
wait_for_standby($node, 'there is a synchronous standby');
lead_to($node);

my (%urls, %meta);
foreach my $name (FRONTS)
{
	use_front($name, PGHOST => $address, PGPORT => 5432);
	$urls{$name} = $url;
	is(post(fixture('text'))->{status}, 200, "$name: all is well");

	# the pool has to be rid of connections to what is not the primary
	lead_to($standby);
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'front'");
	ok(wait_until('it is found out', sub { post(fixture('text'))->{status} == 503 && count_entries(sub { ($_->{error} // '') =~ /25006/ }) > 0 }),
		"$name: a standby files nothing, and Meta is to come again");
	lead_to($node);
	ok(wait_until('it is well', sub { post(fixture('text'))->{status} == 200 }), "$name: with the primary, all is well again");
}
foreach my $name (FRONTS)
{
	$url = $urls{$name};
	$meta{$name} = start_meta(count => COUNT, prefix => "wamid.$name.FAIL");
}
wait_for_filed("wamid.$_.FAIL", 100) foreach FRONTS;
$node->stop('immediate');
$node = $standby;
cmp_ok(filed("wamid.$_.FAIL"), '<', COUNT, "$_: in the midst of deliveries the standby takes over") foreach FRONTS;
lead_to($standby);
$standby->promote;
is_filed(finish_meta($meta{$_}), "wamid.$_.FAIL", COUNT, "$_: after the failover") foreach FRONTS;

$node->stop;
done_testing();
