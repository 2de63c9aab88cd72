# No secret is in anything that is written, nor anywhere else once it has been
# set; and secrets in files and environment variables can be replaced.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use Digest::SHA qw(hmac_sha256_hex);
use File::Find;
use File::Temp;
use IPC::Run;
use POSIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
	FILE_NUMBER => '206540352242922',
	ENV_NUMBER => '306540352242922',
};
my @numbers = (NUMBER, FILE_NUMBER, ENV_NUMBER);

# All secrets are known by what they begin and end with, whatever is cut off.
my $mark = 'Hush019';
my %secrets = map { $_ => "$mark-the-$_-of-the-test-$mark" }
  qw(token second-token later-token bad-token
  app-secret second-app-secret app-secret-for-all
  verify-token second-verify-token third-verify-token
  file-token new-file-token newest-file-token other-file-token last-file-token
  file-app-secret file-verify-token
  env-token env-app-secret env-verify-token);

my @tokens = grep { /token/ && !/verify/ } sort keys %secrets;

# What is computed of them, and how they look as bytes
my @proofs;
foreach my $secret (map { $secrets{$_} } grep { /app-secret/ } sort keys %secrets)
{
	push @proofs, map { hmac_sha256_hex($secrets{$_}, $secret) } @tokens;
}
my $any_secret = join('|', $mark, unpack('H*', $mark), @proofs);
$any_secret = qr/$any_secret/;

# PostgreSQL itself writes statements that it is asked to write, whatever is in
# them: auto_explain those that took long, with their plans, and with
# log_min_error_statement = debug5 all that there is any message of, before we
# are called.  So if somebody gives a secret in a statement, these are like
# log_statement.  Statements with this comment are such; what they have written
# is left out below.  What is written of the statements that we execute counts.
my $theirs = '/* of the administrator */';

my $dir = File::Temp->newdir;
mkdir "$dir/secrets" or die;
my ($libraries) = run_command([ 'pg_config', '--pkglibdir' ]);
my @modules = grep { -e "$libraries/$_.so" } qw(pg_stat_statements auto_explain);
my $without_modules = 'THERE ARE NO pg_stat_statements AND auto_explain HERE: what they write is not tested';
diag($without_modules) if @modules < 2;

my $graph = Whatsapp::start_program({}, 'node', 'test/graph.js', map { ('--token', $secrets{$_}) } @tokens);
my $node = PostgreSQL::Test::Cluster->new('secrets');
$node->init;
configure(
	$node, $graph,
	"shared_preload_libraries = '" . join(',', 'whatsapp', @modules) . "'",
	"whatsapp.secret_directory = '$dir/secrets'",
	'log_min_messages = debug5', 'log_min_error_statement = debug5',
	'log_error_verbosity = verbose', 'log_statement = none',
	'log_min_duration_statement = -1', 'log_parameter_max_length = -1',
	(map { "debug_print_$_ = off" } qw(parse rewritten plan)),
	@modules < 2
	? ()
	: ('auto_explain.log_min_duration = 0', 'auto_explain.log_nested_statements = on',
		'auto_explain.log_analyze = on', 'auto_explain.log_verbose = on',
		'pg_stat_statements.track = all', 'pg_stat_statements.track_utility = off'));
$node->append_conf('postgresql.conf', 'auto_explain.log_parameter_max_length = -1')
  if @modules == 2 && $node->pg_version >= 16;
start();
$node->safe_psql('postgres', "CREATE EXTENSION $_") foreach 'whatsapp', @modules < 2 ? () : 'pg_stat_statements';

# Start the server, which has secrets in its environment.
sub start
{
	local %ENV = (
		%ENV,
		WHATSAPP_TOKEN => $secrets{'env-token'},
		WHATSAPP_APP_SECRET => $secrets{'env-app-secret'},
		WHATSAPP_VERIFY_TOKEN => $secrets{'env-verify-token'},
		WHATSAPP_BLANK => "$mark with spaces",
		OTHER_TOKEN => $secrets{'env-token'});

	$node->start;
	return;
}

# Have the simulator accept these tokens, and no others, and forget all requests.
sub accept_tokens
{
	graph_post($graph, '/_reset');
	graph_post($graph, '/_tokens', { tokens => [ map { $secrets{$_} } @_ ] });
	return;
}

sub script
{
	my ($recipient, %behaviour) = @_;

	graph_post($graph, '/_script', { recipient => $recipient, %behaviour });
	return;
}

sub queue
{
	my ($number, $body) = @_;

	$node->safe_psql('postgres',
		"INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('$number', '15550' || lpad(abs(hashtext('$body') % 1000000)::text, 6, '0'), '$body')");
	return;
}

sub is_sent
{
	my ($body, $what) = @_;

	return wait_for_state($node, "body = '$body'", 'sent', $what);
}

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# What each of these statements complains of, in all words.  They have one
# session, that has loaded all libraries: that writes to the log, too.
sub complaints
{
	my $statements = "\\set VERBOSITY verbose\nSELECT whatsapp.hide_statement(), whatsapp.here();\n" . join('', map { "$_;\n\\warn -- next\n" } @_);
	my (undef, undef, $complaints) = $node->psql('postgres', $statements, on_error_stop => 0, timeout => 120);

	return split(/^-- next\n/m, "$complaints\n");
}

# Test that statements fail, with an SQLSTATE and a detail, and tell nothing of
# what they were given.
sub fail_with_nothing_told
{
	my @cases = @_;
	my @complaints = complaints(map { $$_[0] } @cases);

	foreach my $case (@cases)
	{
		my (undef, $sqlstate, $detail, $what) = @$case;
		my $complaint = shift(@complaints) // '';

		like($complaint, qr/ERROR:  $sqlstate: .*$detail/s, $what);
		ok($complaint !~ $any_secret, 'and nothing is told') or diag($complaint);
	}
	return;
}

# A block that calls a function.
sub in_block
{
	my ($call) = @_;

	return "DO $theirs \$\$ BEGIN PERFORM $call; END \$\$";
}

# Execute a statement with parameters :name that do not stand in it.
sub bound
{
	my ($statement, %values) = @_;
	my $output;

	append_to_file("$dir/script", "$statement;\n");
	IPC::Run::run(
		[
			qw(pgbench -n -M extended -t 1 -f), "$dir/script",
			(map { ('-D', "$_=$values{$_}") } sort keys %values),
			$node->connstr('postgres')
		],
		'>&', \$output) or diag($output);
	unlink "$dir/script";
	return;
}

sub write_secret
{
	my ($file, $content) = @_;

	unlink "$dir/secrets/$file";
	append_to_file("$dir/secrets/$file", $content);
	return;
}

# Do something, and have the configuration reloaded, before the sender does
# anything else.
sub before_reload
{
	my ($do) = @_;
	my $pid = sender_pid($node);

	wait_until(
		'the sender has stopped where it waits',
		sub {
			kill 'STOP', $pid;
			return 1 if value("SELECT state = 'idle' AND wait_event IS NOT NULL FROM pg_stat_activity WHERE pid = $pid") eq 't';
			kill 'CONT', $pid;
			return 0;
		});
	$do->();

	# what is new sessions' configuration has been told to all others
	my $former = value('SELECT pg_conf_load_time()');
	$node->reload;
	wait_until('the server has reloaded', sub { value('SELECT pg_conf_load_time()') ne $former });
	kill 'CONT', $pid;
	return;
}

# Who has asked since the simulator was started: whether with a token that it
# accepts.
sub requests
{
	return join(' ', map { $_->{authorized} ? 'good' : 'refused' } @{ graph_get($graph, '/_log') });
}

sub log_since
{
	my ($offset) = @_;

	return substr(slurp_file($node->logfile), $offset);
}

sub body
{
	my ($number, $message_id) = @_;

	return qq({"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{)
	  . qq("metadata":{"phone_number_id":"$number"},"messages":[{"id":"$message_id","from":"15551234567",)
	  . qq("timestamp":"1750101000","type":"text","text":{"body":"Hi!"}}]}}]}]});
}

# File a webhook that is signed with a secret, and say what was answered.
sub deliver
{
	my ($number, $message_id, $secret) = @_;
	my $body = body($number, $message_id);

	return value(sprintf("SELECT status FROM whatsapp.handle_webhook('POST', NULL, 'sha256=%s', '%s')",
		hmac_sha256_hex($body, $secret), $body));
}

$node->safe_psql('postgres', "SELECT whatsapp.add_number('$_') FROM whatsapp.hide_statement()")
  foreach @numbers;
$node->safe_psql('postgres', 'UPDATE whatsapp.numbers SET messages_per_second = 1000000');
my $sender = wait_for_sender($node);

subtest 'All secrets are compared every time' => sub {
	$node->safe_psql('postgres', join(';', map {
			"SELECT $theirs whatsapp.set_$$_[0]('$secrets{$$_[1]}', $$_[2])"
		} [ 'app_secret', 'app-secret', "'" . NUMBER . "'" ],
		[ 'app_secret', 'app-secret-for-all', 'NULL' ],
		[ 'app_secret', 'second-app-secret', "'" . NUMBER . "'" ],
		[ 'verify_token', 'verify-token', 'NULL' ],
		[ 'verify_token', 'second-verify-token', "'" . NUMBER . "'" ],
		[ 'verify_token', 'third-verify-token', 'NULL' ]));

	foreach my $case (
		[ 'the first', 'app-secret', 'verify-token', 't', 200 ],
		[ 'the last', 'second-app-secret', 'third-verify-token', 't', 200 ],
		[ 'none', 'bad-token', 'bad-token', 'f', 401 ])
	{
		my ($which, $app_secret, $verify_token, $verified, $status) = @$case;
		my $offset = -s $node->logfile;

		is( value("SELECT $theirs whatsapp.verify_webhook('subscribe', '$secrets{$verify_token}', '1') IS NOT NULL"),
			$verified, "verify token: $which");
		is(deliver(NUMBER, "compared $which", $secrets{$app_secret}), $status, "signature: $which");
		is_deeply([ log_since($offset) =~ /compared a (.*)$/mg ],
			[ 'verify token with 3 secrets', 'signature with 3 secrets' ],
			'it was compared with all three');
	}
};

subtest 'Secrets in files and environment variables' => sub {
	write_secret('token', "$secrets{'file-token'}\n");
	write_secret('app-secret', $secrets{'file-app-secret'});
	write_secret('verify_token.txt', "$secrets{'file-verify-token'}\r\n");
	$node->safe_psql('postgres', sprintf(
			"SELECT whatsapp.add_number('%s', access_token => 'token', app_secret => 'app-secret', verify_token => 'verify_token.txt', source => 'file'), "
			. "whatsapp.add_number('%s', access_token => 'WHATSAPP_TOKEN', app_secret => 'WHATSAPP_APP_SECRET', verify_token => 'WHATSAPP_VERIFY_TOKEN', source => 'env')",
			FILE_NUMBER, ENV_NUMBER));
	foreach my $case ([ FILE_NUMBER, 'file' ], [ ENV_NUMBER, 'env' ])
	{
		my ($number, $source) = @$case;

		queue($number, "with a token by $source");
		is_sent("with a token by $source");
		is(deliver($number, $source, $secrets{"$source-app-secret"}), '200', "webhook signed with a secret by $source");
		is(deliver($number, $source, $secrets{'bad-token'}), '401', 'and with another');
		is( value("SELECT $theirs whatsapp.verify_webhook('subscribe', '$secrets{qq($source-verify-token)}', '1')"),
			'1', "verify token by $source");
	}
	is(value("SELECT count(*) FROM whatsapp.messages WHERE direction = 'inbound' AND message_id IN ('file', 'env')"),
		'2', 'both are filed');
	is(value("SELECT count(*) FROM whatsapp.secrets WHERE source <> 'literal' AND value IS NOT NULL"),
		'0', 'nothing of it is in the table');

	# as Kubernetes has them
	mkdir "$dir/secrets/..version" or die;
	symlink('..version', "$dir/secrets/..data") or die;
	symlink('..data/linked', "$dir/secrets/linked") or die;
	write_secret('..version/linked', "$secrets{'file-token'}\n");
	$node->safe_psql('postgres', "SELECT whatsapp.set_access_token('@{[FILE_NUMBER]}', 'linked', 'file')");
	queue(FILE_NUMBER, 'with a token by a link');
	is_sent('with a token by a link');
	$node->safe_psql('postgres', "DELETE FROM whatsapp.secrets WHERE name = 'linked'");
};

subtest 'What is no secret is refused' => sub {
	my $unseen = "SELECT $theirs whatsapp.set_access_token('@{[FILE_NUMBER]}', '%s', '%s')";

	write_secret("$mark-empty", "\n");
	write_secret("$mark-spaces", "$secrets{'file-token'} $mark\n");
	write_secret("$mark-two-lines", "$secrets{'file-token'}\n$mark\n");
	write_secret("$mark-nul", "$secrets{'file-token'}\0$mark");
	write_secret("$mark-large", $mark x 10000);
	write_secret("$mark-closed", $secrets{'file-token'});
	chmod 0, "$dir/secrets/$mark-closed" or die;
	write_secret(".$mark-hidden", $secrets{'file-token'});
	append_to_file("$dir/$mark-outside", $secrets{'file-token'});
	mkdir "$dir/secrets/$mark-directory" or die;
	write_secret("$mark-directory/file", $secrets{'file-token'});
	POSIX::mkfifo("$dir/secrets/$mark-pipe", 0600) or die;
	symlink('/dev/zero', "$dir/secrets/$mark-device") or die;

	my $no_name = 'DETAIL:  The name of a file is letters, ';
	my $no_value = 'DETAIL:  It must be visible ASCII characters, without spaces';
	my $no_variable = 'DETAIL:  The server has no such environment variable; its name must begin with WHATSAPP_';
	my @cases = (
		[ 'file', "$mark-empty", $no_value ],
		[ 'file', "$mark-spaces", $no_value ],
		[ 'file', "$mark-two-lines", $no_value ],
		[ 'file', "$mark-nul", $no_value ],
		[ 'file', "$mark-large", 'DETAIL:  The file has more than 8192 bytes' ],
		[ 'file', "$mark-closed", 'DETAIL:  The server cannot open the file: Permission denied' ],
		[ 'file', "$mark-missing", 'DETAIL:  The server cannot open the file: No such file' ],
		[ 'file', "$mark-directory", 'DETAIL:  It is no regular file' ],
		[ 'file', "$mark-pipe", 'DETAIL:  It is no regular file' ],
		[ 'file', "$mark-device", 'DETAIL:  It is no regular file' ],
		[ 'file', "$mark-directory/file", $no_name ],
		[ 'file', "../$mark-outside", $no_name ],
		[ 'file', "$dir/$mark-outside", $no_name ],
		[ 'file', '..', $no_name ],
		[ 'file', ".$mark-hidden", $no_name ],
		[ 'file', '', $no_name ],
		[ 'file', 'x' x 300, $no_name ],
		[ 'file', $secrets{'bad-token'}, 'DETAIL:  The server cannot open the file: No such file' ],
		[ 'env', 'PATH', $no_variable ],
		[ 'env', 'OTHER_TOKEN', $no_variable ],
		[ 'env', 'WHATSAPP_MISSING', $no_variable ],
		[ 'env', 'WHATSAPP_BLANK', $no_value ],
		[ 'env', $secrets{'bad-token'}, $no_variable ]);
	fail_with_nothing_told(
		map { [ sprintf($unseen, $$_[1], $$_[0]), '22023', $$_[2], "$$_[0] " . substr($$_[1], 0, 40) ] } @cases);

	foreach my $directory ("$dir/secrets/nowhere", '')
	{
		set_conf($node, "whatsapp.secret_directory = '$directory'");
		fail_with_nothing_told(
			[
				sprintf($unseen, 'token', 'file'), '22023',
				$directory
				? ('DETAIL:  The server cannot open the file: No such file', 'no such directory')
				: ('DETAIL:  whatsapp.secret_directory is not set', 'no directory')
			]);
	}
	set_conf($node, "whatsapp.secret_directory = '$dir/secrets'");
};

subtest 'Tokens in files are replaced' => sub {
	my $token = "kind = 'account' AND key = 'token'";

	accept_tokens('new-file-token');
	before_reload(
		sub {
			write_secret('token', $secrets{'new-file-token'});
			queue(FILE_NUMBER, 'after a reload');
		});
	is_sent('after a reload');
	is(requests(), 'good', 'no other token was tried');

	accept_tokens('newest-file-token', 'file-token');
	write_secret('token', $secrets{'newest-file-token'});
	queue(FILE_NUMBER, 'without a reload');
	is_sent('without a reload');
	is(requests(), 'good', 'that a file has changed is noticed');

	# a message that is on its way with the token before, which Meta then refuses
	script('*', times => 1, hold => JSON::PP::true, error => { code => 190, http_status => 401 });
	queue(FILE_NUMBER, 'meanwhile');
	wait_for_in_flight($graph, 1, 'a message is on its way');
	write_secret('token', $secrets{'file-token'});
	graph_post($graph, '/_release');
	is_sent('meanwhile', 'refused with the token before, it is sent with the new one');
	is(value("SELECT count(*) FROM whatsapp.holds"), '0', 'and nothing is held');

	# the number waits for another token, and for nothing else
	foreach my $case ([ 'other-file-token', 'written' ], [ 'last-file-token', 'moved, though it is old' ])
	{
		my ($name, $how) = @$case;

		accept_tokens($name);
		queue(FILE_NUMBER, $how);
		ok( wait_until('the number is held', sub { value("SELECT count(*) FROM whatsapp.holds WHERE $token") eq '1' }),
			'a token that is refused, and the only one, stops the number');
		is(value("SELECT state || ' ' || attempts FROM whatsapp.outbox WHERE body = '$how'"),
			'queued 0', 'the message waits');
		write_secret('token.new', $secrets{$name});
		utime(1, 1, "$dir/secrets/token.new") if $how =~ /old/;
		rename("$dir/secrets/token.new", "$dir/secrets/token") or die;
		$node->reload;
		is_sent($how, "it goes on by itself when the file is $how");
		is(requests(), 'refused good', 'the token was tried once');
		is(value('SELECT count(*) FROM whatsapp.holds'), '0', 'and nothing is held');
	}
	accept_tokens(@tokens);
};

subtest 'Tokens have their time' => sub {
	my $state = "SELECT state FROM whatsapp.sender_status WHERE phone_number_id = '@{[NUMBER]}'";

	is(value($state), 'no access token', 'there is none yet');
	accept_tokens('token', 'file-token', 'last-file-token');
	$node->safe_psql('postgres', sprintf(
			"SELECT $theirs whatsapp.set_access_token('%s', '%s', valid_until => now() + '1 hour'), whatsapp.set_access_token('%1\$s', '%s', valid_until => now() - interval '1 second')",
			NUMBER, $secrets{'token'}, $secrets{'second-token'}));
	queue(NUMBER, 'with the older token');
	is_sent('with the older token');
	is(requests(), 'good', 'as the time of the newer is over');

	$node->safe_psql('postgres', "UPDATE whatsapp.secrets SET valid_until = now() WHERE phone_number_id = '@{[NUMBER]}' AND kind = 'access_token'");
	is(value($state), 'no access token', 'when the time of all is over, there is none');
	queue(NUMBER, 'with none');
	queue(FILE_NUMBER, 'from another number');
	is_sent('from another number');
	is(value("SELECT state FROM whatsapp.outbox WHERE body = 'with none'"), 'queued', 'and nothing is sent');
	$node->safe_psql('postgres', "SELECT $theirs whatsapp.set_access_token('@{[NUMBER]}', '$secrets{token}')");
	is_sent('with none', 'until there is one');
	is(requests(), 'good good good', 'none was refused');
	accept_tokens(@tokens);
};

subtest 'Calls prove that the app secret is known' => sub {
	my $status = "FROM whatsapp.sender_status WHERE phone_number_id = '@{[NUMBER]}'";

	$node->safe_psql('postgres',
		"DELETE FROM whatsapp.secrets WHERE kind = 'app_secret'; UPDATE whatsapp.numbers SET appsecret_proof = true WHERE phone_number_id = '@{[NUMBER]}'");
	is(value("SELECT state $status"), 'no app secret', 'without one');
	like(value("SELECT missing $status"), qr/whatsapp\.set_app_secret\(\)/, 'it is said what to do');
	queue(NUMBER, 'with a proof');
	queue(FILE_NUMBER, 'without a proof');
	is_sent('without a proof', 'a number that needs none sends');
	is(value("SELECT state FROM whatsapp.outbox WHERE body = 'with a proof'"), 'queued', 'and the other does not');
	$node->safe_psql('postgres', sprintf(
			"SELECT $theirs whatsapp.set_app_secret('%s', '%s'), whatsapp.set_app_secret('%s', '%2\$s'), whatsapp.set_app_secret('%s')",
			$secrets{'app-secret'}, NUMBER, $secrets{'second-app-secret'}, $secrets{'app-secret-for-all'}));
	is_sent('with a proof', 'until there is an app secret');
	is(value("SELECT state || coalesce(missing, '') $status"), 'active', 'nothing is missing');
	is_deeply(
		[ map { $_->{query} } @{ graph_get($graph, '/_log') } ],
		[ undef, 'appsecret_proof=' . hmac_sha256_hex($secrets{'token'}, $secrets{'second-app-secret'}) ],
		'the proof is made with the newest secret of its own');
};

subtest 'Errors tell nothing of what was given' => sub {
	my $number = NUMBER;

	$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION careless(number text, token text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT whatsapp.set_access_token(%L, %L)', number, token);
END $$;
CREATE FUNCTION careful(number text, token text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	context text;
BEGIN
	EXECUTE format('SELECT whatsapp.set_access_token(%L, %L)', number, token);
	RETURN 'it is good';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RAISE WARNING 'It is: %', SQLERRM USING DETAIL = context;
	RETURN concat_ws(' ', SQLSTATE, SQLERRM, context);
END $$
SQL
	my $bad = "$secrets{'bad-token'} with spaces";
	my %calls = (
		'a token with spaces' => "set_access_token('$number', '$bad')",
		'a token that is not ASCII' => "set_access_token('$number', '$secrets{'bad-token'}\x{c3}\x{a9}')",
		'a token with a line break' => "set_access_token('$number', '$secrets{'bad-token'}' || chr(10))",
		'a number that is not there' => "set_access_token('1', '$secrets{'bad-token'}')",
		'arguments that have been swapped' => "set_access_token('$secrets{'bad-token'}', '$number')",
		'a secret twice' => "set_access_token('$secrets{'bad-token'}', '$secrets{'bad-token'}')",
		'no number' => "set_access_token(NULL, '$secrets{'bad-token'}')",
		'no token' => "set_access_token('$number', NULL)",
		'a secret for a number' => "set_app_secret('$number', '$secrets{'bad-token'}')",
		'a secret with spaces' => "set_app_secret('$bad')",
		'a verify token for a number' => "set_verify_token('$number', '$secrets{'bad-token'}')",
		'a verify token with spaces' => "set_verify_token('$bad')",
		'a secret for the name of a file' => "set_app_secret('$secrets{'bad-token'}', source => 'file')",
		'a secret for the name of a variable' => "set_verify_token('$secrets{'bad-token'}', source => 'env')",
		'a source that is none' => "set_access_token('$number', '$secrets{'bad-token'}', 'nonsense')",
		'a secret for a source' => "set_access_token('$number', 'token', '$secrets{'bad-token'}')",
		'no source' => "set_app_secret('$secrets{'bad-token'}', source => NULL)",
		'a secret for a number to add' => "add_number('$secrets{'bad-token'}')",
		'a number with a bad token' => "add_number('$number', access_token => '$bad')",
		'a number with a bad secret' => "add_number('$number', access_token => '$secrets{token}', app_secret => '$bad')",
	);
	fail_with_nothing_told(
		(map { [ "SELECT $theirs whatsapp.$calls{$_}", '22023', '', $_ ] } sort keys %calls),
		(map { [ in_block("whatsapp.$calls{$_}"), '22023', '', "$_, in a block" ] } sort keys %calls),
		[ "SELECT $theirs careless('$number', '$bad')", '22023', 'DETAIL:  It must be visible', 'in a function' ]);
	# (that a library is loaded is written with the context, before it can do anything)
	my $caught = value("DO 'BEGIN PERFORM whatsapp.hide_statement(); END'; SELECT $theirs careful('$number', '$bad')");
	like($caught, qr/^22023 invalid access token/, 'where it is caught');
	unlike($caught, $any_secret, 'there is nothing in the context');

	# what others object to
	my $locker = $node->background_psql('postgres');
	$locker->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM whatsapp.numbers FOR UPDATE) l");
	my $locked = "whatsapp.add_number('$number', access_token => '$secrets{'bad-token'}')";
	fail_with_nothing_told(
		[ "SET lock_timeout = '50ms'; SELECT $theirs $locked", '55P03', '', 'a lock' ],
		[ in_block($locked), '55P03', '', 'a lock, in a block' ],
		[ "SET statement_timeout = '1s'; SET lock_timeout = 0; SELECT $theirs $locked", '57014', '', 'a time-out' ]);
	$locker->query_safe('ROLLBACK');
	$locker->quit;
	$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not so'; END $$;
CREATE TRIGGER object BEFORE INSERT ON whatsapp.secrets FOR EACH ROW EXECUTE FUNCTION object()
SQL
	fail_with_nothing_told([ in_block("whatsapp.set_verify_token('$secrets{'bad-token'}')"), 'P0001', 'not so', 'a trigger' ]);
	$node->safe_psql('postgres', 'DROP TRIGGER object ON whatsapp.secrets; DROP FUNCTION object(); DROP FUNCTION careless, careful');

	# when it was good, and something else is not
	my $offset = -s $node->logfile;
	my $good = "whatsapp.set_access_token('$number', '$secrets{'second-token'}')";
	my $too_late = "$good, 1 / (random() * 0)::integer";
	fail_with_nothing_told(
		[ "SELECT $theirs $too_late", '22012', '', 'an error in the same statement' ],
		[ in_block($too_late), '22012', '', 'and in a block' ],
		[ in_block("$theirs $good; PERFORM 1 / 0"), '22012', '', 'in another statement of a block' ],
		[ "SELECT $theirs $good \\; SELECT 1 / 0", '22012', '', 'in another statement that was sent along' ],
		[ "SET statement_timeout = '1s'; SELECT $theirs $good, pg_sleep(60)", '57014', '', 'a time-out' ]);
	my @statements = entries(log_since($offset), qr/ERROR:  (22012|57014)/);
	is(scalar(@statements), 5, 'all five errors are in the log');
	is(scalar(grep { m{STATEMENT:  /\* a secret of schema whatsapp was given here \*/} } @statements),
		5, 'with another statement instead of theirs');
};

subtest 'The activity of a session' => sub {
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $activity = "SELECT query FROM pg_stat_activity WHERE pid = $pid";
	my $hidden = '/* a secret of schema whatsapp was given here */';

	$session->query_until(qr/asked/,
		"\\echo asked\nSELECT $theirs whatsapp.set_access_token('@{[NUMBER]}', '$secrets{'later-token'}'), pg_sleep(60);\n");
	ok( wait_until('it sleeps', sub { value("SELECT wait_event FROM pg_stat_activity WHERE pid = $pid") eq 'PgSleep' }),
		'a statement goes on when a secret was set');
	is(value($activity), $hidden, 'and does not show');
	value("SELECT pg_cancel_backend($pid)");
	ok( wait_until('it is idle', sub { value("SELECT state FROM pg_stat_activity WHERE pid = $pid") eq 'idle' }), 'it ends');
	is(value($activity), $hidden, 'and does not show while the session is idle');
	foreach my $call ("set_app_secret('$secrets{'app-secret'}', '@{[NUMBER]}')", "set_verify_token('$secrets{'verify-token'}')",
		"add_number('@{[NUMBER]}', access_token => '$secrets{token}', app_secret => '$secrets{'second-app-secret'}', verify_token => '$secrets{'verify-token'}')")
	{
		$session->query("SELECT $theirs whatsapp.$call");
		$call =~ s/\(.*//;
		is(value($activity), $hidden, $call);
	}
	$session->query("BEGIN; SELECT $theirs whatsapp.set_access_token('@{[NUMBER]}', '$secrets{token}')");
	is(value("SELECT state || ' ' || query FROM pg_stat_activity WHERE pid = $pid"),
		"idle in transaction $hidden", 'nor while it is in a transaction');
	$session->query('COMMIT');
	$session->quit;
};

subtest 'Secrets are used in many ways' => sub {
	my $good = body(NUMBER, 'good');
	my $true = JSON::PP::true;

	# parameters that do not stand in the statement
	bound("SELECT $theirs whatsapp.set_access_token(:number, :secret)", number => NUMBER, secret => $secrets{token});
	bound("SELECT $theirs whatsapp.set_app_secret(:secret)", secret => $secrets{'app-secret-for-all'});
	foreach my $token ('verify-token', 'bad-token')
	{
		bound("SELECT $theirs whatsapp.verify_webhook('subscribe', :token, '1')", token => $secrets{$token});
		bound("SELECT $theirs * FROM whatsapp.handle_webhook('GET', :query, NULL, NULL)",
			query => "hub.mode=subscribe&hub.challenge=1&hub.verify_token=$secrets{$token}");
	}
	foreach my $secret ('second-app-secret', 'bad-token')
	{
		bound("SELECT $theirs * FROM whatsapp.handle_webhook('POST', NULL, :signature, :body)",
			body => $good, signature => 'sha256=' . hmac_sha256_hex($good, $secrets{$secret}));
	}
	is(value("SELECT count(*) FROM whatsapp.messages WHERE message_id = 'good'"), '1', 'a webhook is filed');
	queue(NUMBER, 'simply');
	is_sent('simply');

	# Meta tells the token, and what else it was called with
	my $told = 'Malformed access token $TOKEN, or $SPELT';
	script('*', echo => $true, usage => '{"call_count": 90, "token": "$TOKEN"}', times => 1,
		error => { code => 190, http_status => 401, message => $told, details => "$told for \$QUERY" });
	queue(NUMBER, 'refused');
	ok( wait_until('the number is held', sub { value("SELECT count(*) FROM whatsapp.holds WHERE key = 'token'") eq '1' }),
		'a token is refused');
	like(value("SELECT reason FROM whatsapp.holds WHERE key = 'token'"), qr/^Malformed access token \*{20,}, or \*{20,}/,
		'and is blotted out of what Meta said');
	like(value("SELECT error_title || error_details || error FROM whatsapp.outbox WHERE body = 'refused'"), qr/(Malformed access token \*{20,}.*){3}/,
		'in the outbox');
	like(value("SELECT error_title || error_details || error FROM whatsapp.attempts WHERE error_code = 190 ORDER BY attempt_id DESC LIMIT 1"),
		qr/(Malformed access token \*{20,}.*){3}/, 'and among the attempts');
	value("SELECT whatsapp.resume_number('@{[NUMBER]}')");
	is_sent('refused', 'it is sent all the same');
	foreach my $case (
		[ 'other errors', 'failed', error => { code => 131009, message => $told, details => $told } ],
		[ 'what is no JSON', 'unknown', raw => '<p>$TOKEN $QUERY</p>' ],
		[ 'errors by name', 'unknown', raw => '{"error": "$TOKEN", "$TOKEN": 1}' ],
		[ 'an id', 'sent', raw => '{"messages": [{"id": "wamid.$TOKEN"}], "contacts": [{"wa_id": "1555$TOKEN"}]}' ])
	{
		my ($body, $state, %behaviour) = @$case;

		script('*', echo => $true, times => 1, %behaviour);
		queue(NUMBER, $body);
		wait_for_state($node, "body = '$body'", $state);
	}

	# a constraint and a trigger of the user's
	$node->safe_psql('postgres', "ALTER TABLE whatsapp.outbox ADD CONSTRAINT mine CHECK (error !~ 'Malformed') NOT VALID");
	script('*', echo => $true, times => 1, error => { code => 131009, message => $told });
	my $offset = -s $node->logfile;
	queue(NUMBER, 'objectionable');
	ok( wait_until('it cannot be recorded', sub { log_since($offset) =~ /ERROR:  23514: new row for relation "outbox"/ }),
		'a constraint objects to what is recorded');
	$node->safe_psql('postgres', 'ALTER TABLE whatsapp.outbox DROP CONSTRAINT mine');
	wait_for_state($node, "body = 'objectionable'", 'failed');

	# a number that is removed while it sends
	script('*', hold => $true, times => 1);
	queue(ENV_NUMBER, 'removed');
	wait_for_in_flight($graph, 1, 'a message is under way');
	$node->safe_psql('postgres', "DELETE FROM whatsapp.numbers WHERE phone_number_id = '@{[ENV_NUMBER]}'");
	graph_post($graph, '/_release');
	is_sent('removed', 'and its number is removed meanwhile');
	value("SELECT whatsapp.add_number('@{[ENV_NUMBER]}', access_token => 'WHATSAPP_TOKEN', source => 'env')");

	# nobody there, or nobody who understands
	my %urls = (
		'nobody there' => 'http://127.0.0.1:' . free_port(),
		'no TLS' => "https://127.0.0.1:$graph->{port}",
		malformed => 'http://127.0.0.1:99999999');
	foreach my $way (sort keys %urls)
	{
		set_conf($node, "whatsapp.graph_url = '$urls{$way}'");
		queue(NUMBER, $way);
		ok(wait_until('it has failed', sub { value("SELECT error IS NOT NULL FROM whatsapp.outbox WHERE body = '$way'") eq 't' }), $way);
	}
	set_conf($node, "whatsapp.graph_url = '" . graph_url($graph, '') . "'", 'whatsapp.request_timeout = 300ms');
	script('*', never => $true, times => 1);
	$node->safe_psql('postgres', 'UPDATE whatsapp.outbox SET retry_at = NULL WHERE state = \'queued\'');
	queue(NUMBER, 'timed out');
	ok( wait_until('one is unknown', sub { value("SELECT count(*) FROM whatsapp.outbox WHERE state = 'unknown' AND error ~ 'timed out|Timeout'") eq '1' }),
		'a time-out');
	set_conf($node, 'whatsapp.request_timeout = 30s');

	# the worker ends, and the server
	value('SELECT pg_terminate_backend(' . sender_pid($node) . ')');
	$sender = wait_for_sender($node, 'postgres', $sender);
	queue(NUMBER, 'after the worker has ended');
	is_sent('after the worker has ended');
	$node->stop('immediate');
	start();
	ok(wait_for_sender($node), 'the server has crashed');
	queue($_, "after a crash, from $_") foreach @numbers;
	is_sent("after a crash, from $_") foreach @numbers;

	# who looks at our queries
	foreach my $query ('* FROM whatsapp.open_numbers()', '* FROM whatsapp.claim(1)', "* FROM whatsapp.valid_secrets WHERE kind = 'access_token'",
		"whatsapp.appsecret_proof('@{[NUMBER]}', (SELECT value FROM whatsapp.valid_secrets WHERE kind = 'access_token' LIMIT 1))",
		'* FROM whatsapp.sender_status')
	{
		my $analyze = $query =~ /claim/ ? '' : ', ANALYZE';

		unlike(value("EXPLAIN (VERBOSE$analyze) SELECT $query"), $any_secret, "EXPLAIN SELECT $query");
	}
};

# What is in a file, if it is there.
sub content
{
	my ($file) = @_;

	open(my $in, '<:raw', $file) or return '';
	local $/;
	return <$in> // '';
}

# Messages of a log that are about something, with what belongs to each.
sub entries
{
	my ($log, $what) = @_;
	my (@entries, $entry);

	foreach my $line (split(/^/m, $log))
	{
		if ($line =~ /^\d{4}-\d\d-\d\d .*?\] [a-z ]+ (DEBUG\d?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC):  /)
		{
			push @entries, $entry if ($entry // '') =~ $what;
			$entry = '';
		}
		$entry .= $line;
	}
	push @entries, $entry if ($entry // '') =~ $what;
	return @entries;
}

# What there is of secrets in the log, without what PostgreSQL writes because
# it was asked to: of an administrator's own statements the plan, by
# auto_explain, and what they are, in front of a message that is no error; and
# the environment, when the server starts.
sub written
{
	my @written;

	foreach my $entry (entries(slurp_file($node->logfile), $any_secret))
	{
		next if $entry =~ /^.* LOG:  00000: duration: .* plan:\n\tQuery Text: .*\Q$theirs\E/;
		next if $entry =~ /^.* postmaster DEBUG:  00000: (initial environment dump:\n)?\t[A-Z_]+=/;
		$entry =~ s/^.* STATEMENT:  .*\Q$theirs\E.*\n(\t.*\n)*//m if $entry =~ /^.* (DEBUG\d?|LOG):  /;
		push @written, $entry if $entry =~ $any_secret;
	}
	return @written;
}

# The beginnings of some of them, with how many there are; nothing of none.
sub some_of
{
	my @all = @_;

	return '' if !@all;
	return join("\n", scalar(@all) . ':', map { substr($_, 0, 2000) } grep { defined } @all[ 0 .. 4 ]);
}

# Test that there is no secret in any of these.
sub tells_nothing
{
	my ($what, @told) = @_;
	my @found = grep { $_ =~ $any_secret } @told;

	isnt(scalar(@told), 0, "$what: there is something");
	return is(some_of(@found), '', 'and no secret in it');
}

# All that a role can see in our schema, by table or view.
sub seen_by
{
	my ($role) = @_;
	my %seen;
	my $queries = value(<<"SQL");
SELECT c.relname || ' SELECT t::text FROM (SELECT ' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ' FROM ' || c.oid::regclass || ') t'
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
	AND has_column_privilege('$role', c.oid, a.attnum, 'SELECT')
GROUP BY c.oid, c.relname
SQL

	my $script = $queries =~ s/^(\S+) (.*)/\\echo -- $1\n$2;/mgr;
	my (undef, $rows, $error) = $node->psql('postgres', $script, extra_params => [ '-U', $role ], on_error_stop => 0);

	is($error, '', "$role sees all of it");
	foreach my $relation (split(/^-- /m, $rows))
	{
		$seen{$1} = $2 if $relation =~ /^(\S+)\n(.*)/s;
	}
	return %seen;
}

subtest 'No secret is anywhere' => sub {
	$node->safe_psql('postgres', "CREATE ROLE overseer LOGIN; SELECT whatsapp.grant_access('overseer', 'admin'); ANALYZE");

	my %seen = seen_by('overseer');
	tells_nothing("what an admin sees in $_", split(/\n/, $seen{$_})) foreach grep { $seen{$_} ne '' } sort keys %seen;
	ok($seen{$_}, "there is something in $_") foreach qw(outbox attempts secrets numbers sender_status messages);

	tells_nothing('pg_settings', value('SELECT s FROM pg_settings s'));
	tells_nothing('pg_stats', value("SELECT s FROM pg_stats s WHERE schemaname = 'whatsapp'"), value('SELECT s FROM pg_stats_ext s'));
	tells_nothing('pg_stat_activity', value('SELECT s FROM pg_stat_activity s WHERE pid <> pg_backend_pid()'));
	tells_nothing('catalogs', value("SELECT p FROM pg_proc p WHERE pronamespace = 'whatsapp'::regnamespace"), value('SELECT d FROM pg_description d'));
	SKIP:
	{
		skip $without_modules, 2 if @modules < 2;
		tells_nothing('pg_stat_statements', split(/\n/, value('SELECT query FROM pg_stat_statements')));
	}

	foreach my $command (
		[ 'pg_dump', '-d', $node->connstr('postgres') ],
		[ 'pg_dump', '--data-only', '-d', $node->connstr('postgres') ],
		[ 'pg_dump', '--inserts', '-d', $node->connstr('postgres') ],
		[ 'pg_dumpall', '-d', $node->connstr('postgres') ])
	{
		my ($dump) = run_command($command);

		tells_nothing("$$command[0] $$command[1]", $dump);
		like($dump, qr/dump complete/, 'it is whole');
	}

	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my @processes = grep { ("$_ " . content("$_/stat")) =~ m{^/proc/$postmaster |\) \S $postmaster } } glob('/proc/[0-9]*');
	tells_nothing('titles of processes', map { content("$_/cmdline") } @processes);
	cmp_ok(scalar(@processes), '>', 5, 'of all of them');

	is(some_of(written()), '', 'no secret is in the server log');
	SKIP:
	{
		skip $without_modules, 1 if @modules < 2;
		like(slurp_file($node->logfile), qr/plan:\n\tQuery Text: .*INSERT INTO whatsapp\.secrets/, 'which has our own queries in it');
	}

	# with the server down, as then statistics are written
	foreach my $moment ('while it runs', 'when it has stopped')
	{
		my @files;

		find(
			{
				wanted => sub {
					push @files, $File::Find::name
					  if -f && $File::Find::name !~ m{/(base/\d+|global|pg_wal)/};
				},
				no_chdir => 1
			},
			$node->data_dir);
		is(join(' ', grep { content($_) =~ $any_secret } @files), '', 'nor in files of the server ' . $moment);
		cmp_ok(scalar(@files), '>', 10, 'of which there are some');
		$node->stop if $moment =~ /while/;
	}
	unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|TRAP/, 'nothing has crashed by itself');
};

done_testing();
