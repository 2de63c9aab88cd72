# What the benchmarks have in common: a cluster that is as safe as one in
# earnest, a server that answers like the Graph API and costs little, an outbox
# that is full, and results.
#
# A benchmark prints lines for bench/run.sh, tab-separated: by report()
#
#	RESULT bench case beside ours theirs unit ratio goal met
#
# and by point(), what a plot is made of
#
#	POINT bench series x y unit

package Bench;

use strict;
use warnings;

# PostgreSQL::Test::Utils has what is printed go to a log
my ($results, $progress);
BEGIN
{
	open($results, '>&', \*STDOUT) or die "cannot keep STDOUT: $!";
	open($progress, '>&', \*STDERR) or die "cannot keep STDERR: $!";
	$_->autoflush(1) foreach $results, $progress;
}

use Exporter 'import';
use File::Basename qw(basename);
use File::Temp;
use HTTP::Tiny;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);
use Whatsapp;

our @EXPORT = qw(
  size progress report point compare compared median percentile
  await await_sql
  start_cluster send_to fill_outbox empty_outbox empty_tables pause_number resume_number
  settle_down drain_outbox send_part check_sent is_drained
  start_server restart_server server_requests messages_url
  run_program program_environment worker_environment post_bare bare_command
);

# How long to wait for anything at all, in seconds
use constant PATIENCE => $ENV{QUICK} ? 60 : 1800;

my $http = HTTP::Tiny->new(timeout => 60);

# -- Sizes and results ---------------------------------------------------------

# How much of something: so much, or in a hurry so much.
sub size
{
	my ($full, $quick) = @_;

	return $ENV{QUICK} ? $quick : $full;
}

sub progress
{
	print $progress '   ', sprintf(shift, @_), "\n";
	return;
}

# Print a line of the table.  A goal is "ratio >= 3", "ours <= 5" or the like.
sub report
{
	my (%result) = @_;
	my ($what, $operator, $limit) =
	  ($result{goal} // '') =~ /^(ratio|ours) (>=|<=|<) ([0-9.]+)/;
	my $met = '';

	die "a goal cannot be understood: $result{goal}" if $result{goal} && !defined $what;
	if (defined $what)
	{
		my $value = $result{$what};

		$met =
		  ($operator eq '>=' ? $value >= $limit : $operator eq '<=' ? $value <= $limit : $value < $limit)
		  ? 'yes'
		  : 'no';
	}
	print $results join("\t",
		'RESULT', basename($0, '.pl'),
		$result{case} // '', $result{beside} // '',
		in_short($result{ours}), in_short($result{peer}), $result{unit} // '',
		defined $result{ratio} ? sprintf('%.2f', $result{ratio}) : '',
		$result{goal} // '', $met), "\n";
	progress('%s: %s, beside %s %s; ratio %s, goal %s, met %s',
		$result{case} // '', in_short($result{ours}), $result{beside} // 'nothing', in_short($result{peer}),
		defined $result{ratio} ? sprintf('%.2f', $result{ratio}) : '-', $result{goal} // '-', $met || '-');
	return;
}

# Print a point of a plot.
sub point
{
	my ($series, $x, $y, $unit) = @_;

	print $results join("\t", 'POINT', basename($0, '.pl'), $series, $x, $y, $unit), "\n";
	progress('%s: %s at %s', $series, in_short($y) . " $unit", $x);
	return;
}

# A number with as many digits as tell something
sub in_short
{
	my ($number) = @_;

	return '' if !defined $number;
	return $number if $number !~ /^-?[0-9.]+(e-?[0-9]+)?$/i;
	my $decimals = abs($number) >= 100 || $number == int($number) ? 0 : abs($number) >= 10 ? 1 : abs($number) >= 1 ? 2 : 3;
	return sprintf("%.${decimals}f", $number);
}

# Measure sides, which are names and functions that return a number, by turns:
# so many rounds, every other one in the other order.  Returns what each has
# returned: name => [numbers].
sub compare
{
	my ($rounds, @sides) = @_;
	my %code = @sides;
	my @names = @sides[ grep { $_ % 2 == 0 } 0 .. $#sides ];
	my %values;

	foreach my $round (1 .. $rounds)
	{
		foreach my $name ($round % 2 ? @names : reverse @names)
		{
			my $value = $code{$name}->($round);

			push @{ $values{$name} }, $value;
			progress('round %d of %d, %s: %s', $round, $rounds, $name, in_short($value));
		}
	}
	return \%values;
}

# What report() says of two of the sides: their medians, and the median of what
# the ratio was in each round
sub compared
{
	my ($values, $ours, $peer) = @_;
	my @ratios =
	  map { $values->{$ours}[$_] / $values->{$peer}[$_] } 0 .. $#{ $values->{$ours} };

	return (
		ours => median(@{ $values->{$ours} }),
		peer => median(@{ $values->{$peer} }),
		ratio => median(@ratios));
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;

	return ($sorted[ $#sorted / 2 ] + $sorted[ @sorted / 2 ]) / 2;
}

# The smallest of some numbers that so many percent are not above
sub percentile
{
	my ($percent, @numbers) = @_;
	my @sorted = sort { $a <=> $b } @numbers;
	my $n = int(@sorted * $percent / 100 + 0.999999);

	return $sorted[ $n > 0 ? $n - 1 : 0 ];
}

# -- Waiting -------------------------------------------------------------------

# Wait until something is so.  Looks that often, in seconds.
sub await
{
	my ($what, $is_so, $interval) = @_;
	my $end = time() + PATIENCE;

	until ($is_so->())
	{
		die "waited in vain until $what" if time() > $end;
		sleep($interval // 0.02);
	}
	return;
}

# Wait until a query is true, and return when that was, in seconds.  It is the
# server that looks, in transactions of their own: to start psql each time would
# take more than what is measured.
sub await_sql
{
	my ($node, $query) = @_;

	return $node->safe_psql('postgres', "CALL bench.await(\$bench\$$query\$bench\$)");
}

# -- The database --------------------------------------------------------------

# Start a cluster with the extension and a number, which sends to a server, if
# one is given.  It is as safe as one that somebody relies on, and not as small
# as one of tests.
sub start_cluster
{
	my ($name, $server, @conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	configure(
		$node, $server,
		'fsync = on', 'synchronous_commit = on', 'full_page_writes = on', 'wal_level = replica',
		'log_statement = none', 'shared_buffers = 512MB', 'max_wal_size = 8GB',
		'checkpoint_timeout = 1h', 'max_connections = 100', 'restart_after_crash = on',
		@conf);
	$node->start;
	add_number($node);
	$node->safe_psql('postgres', <<"SQL");
UPDATE whatsapp.numbers SET messages_per_second = 1000000000;
CREATE SCHEMA bench;
CREATE PROCEDURE bench.await(query text, INOUT at double precision DEFAULT NULL) LANGUAGE plpgsql AS \$\$
DECLARE
	patience CONSTANT double precision := extract(epoch FROM clock_timestamp()) + @{[PATIENCE]};
	is_so boolean;
BEGIN
	LOOP
		EXECUTE query INTO is_so;
		at := extract(epoch FROM clock_timestamp());
		COMMIT;
		EXIT WHEN is_so;
		IF at > patience THEN
			RAISE EXCEPTION 'waited in vain for %', query;
		END IF;
		PERFORM pg_sleep(0.002);
	END LOOP;
END \$\$;
SQL
	wait_for_sender($node);
	return $node;
}

# Have a cluster send to a server from now on.
sub send_to
{
	my ($node, $server) = @_;

	set_conf($node, "whatsapp.graph_url = '" . graph_url($server, '') . "'",
		"whatsapp.ca_file = '" . ($server->{certificate} ? $server->{certificate}{cert} : '') . "'");
	return;
}

# Queue so many texts, to so many people by turns, each an own one if it is not
# said.
sub fill_outbox
{
	my ($node, $messages, %options) = @_;
	my $people = $options{recipients} // $messages;
	my $priority = $options{priority} // 0;
	my $number = $options{number} // NUMBER;

	$node->safe_psql('postgres',
		"INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, priority) SELECT '$number', 15550000000 + i % $people, 'Your order ' || i || ' has left, and will be with you on Monday.', $priority FROM generate_series(1, $messages) i");
	return;
}

# Remove all messages, and what goes with them; numbers stay.
sub empty_tables
{
	my ($node) = @_;

	$node->safe_psql('postgres',
		'TRUNCATE ' . join(', ', map { "whatsapp.$_" } qw(
			outbox messages statuses reactions media call_events correspondents contact_sightings contact_changes
			groups group_participants user_preferences events webhooks attempts evidence news)));
	return;
}

# Have nothing sent; and again, whatever is there by then, all at once.
sub pause_number
{
	my ($node) = @_;

	$node->safe_psql('postgres', "UPDATE whatsapp.numbers SET state = 'paused', paused_reason = 'bench'");
	return;
}

sub resume_number
{
	my ($node) = @_;

	$node->safe_psql('postgres', 'SELECT whatsapp.resume_number(phone_number_id) FROM whatsapp.numbers');
	return;
}

# Have nothing queued, nor leave what is queued next until it is said.
sub empty_outbox
{
	my ($node) = @_;

	pause_number($node);
	empty_tables($node);
	return;
}

# Have the outbox drained, of so many messages, by a sender that has no
# connection to the server yet.  Returns how many seconds that took: from the
# beginning of the first claim until it can be seen that all are sent.
sub drain_outbox
{
	my ($node, $server, $messages) = @_;

	my $since = $node->safe_psql('postgres', 'SELECT now()');

	start_draining($node, $server);
	await('all have been posted', sub { server_requests($server) >= $messages });
	my $end = await_sql($node, is_drained());
	return $end - $node->safe_psql('postgres', "SELECT extract(epoch FROM min(claimed_at)) FROM whatsapp.outbox WHERE claimed_at >= '$since'");
}

# Have at least so many messages of the outbox sent, of perhaps many more, and no
# others from then on.  Returns how many seconds each took, from the first claim
# until the last recording, as the rows tell.  Those with an id like
# "wamid.before1" had been sent before.
sub send_part
{
	my ($node, $server, $messages) = @_;

	start_draining($node, $server);
	await('enough have been posted', sub { server_requests($server) >= $messages }, 0.005);
	pause_number($node);
	await_sql($node, q{SELECT NOT EXISTS (SELECT FROM whatsapp.outbox WHERE state = 'sending')});
	my ($sent, $seconds) = split(/\|/, $node->safe_psql('postgres',
			q{SELECT count(DISTINCT message_id), extract(epoch FROM max(finished_at) - min(claimed_at)) FROM whatsapp.outbox WHERE state = 'sent' AND message_id NOT LIKE 'wamid.before%'}));

	die "$sent have left, and not each once" if $sent != server_requests($server);
	return $seconds / $sent;
}

sub start_draining
{
	my ($node, $server) = @_;

	settle_down($node, 'whatsapp.outbox');
	restart_server($server);
	resume_number($node);
	return;
}

# The query that is true when nothing is queued nor on its way
sub is_drained
{
	return q{SELECT NOT EXISTS (SELECT FROM whatsapp.outbox WHERE state IN ('queued', 'sending'))};
}

# Make sure that so many messages have been sent, each once: each has an id, all
# ids are different, and there were no other requests.
sub check_sent
{
	my ($node, $server, $messages, $table) = @_;
	my $sent = $node->safe_psql('postgres',
		"SELECT count(DISTINCT message_id) FROM @{[$table // 'whatsapp.outbox']} WHERE state = 'sent' AND attempts = 1");
	my $requests = server_requests($server);

	die "of $messages messages, $sent are sent, by $requests requests"
	  if $sent != $messages || $requests != $messages;
	return;
}

# Have what has been written be no burden to what is measured next.
sub settle_down
{
	my ($node, @tables) = @_;

	$node->safe_psql('postgres', "VACUUM ANALYZE $_") foreach @tables;
	$node->safe_psql('postgres', 'CHECKPOINT');
	return;
}

# -- Servers and programs ------------------------------------------------------

# Start an nginx that answers as the Graph API does, and reads what it is sent:
# one that answers before, as with "return", resets streams of HTTP/2.  Each
# answer has an id of its own, and the recipient.  The protocol is http, https
# (HTTP/1.1) or h2.  Options: after, in seconds, is how long an answer takes;
# errors, how many percent are refused, and as many again are told to come back.
sub start_server
{
	my ($protocol, %options) = @_;
	my $server = { protocol => $protocol, listens => free_port(), status_port => free_port() };
	my $wait = $options{after} ? "echo_sleep $options{after};" : '';
	my $trouble = $options{errors} ? "$options{errors}% /refused; $options{errors}% /busy;" : '';
	my ($listen, $tls) = ('', '');

	if ($protocol ne 'http')
	{
		my $certificate = make_certificate('127.0.0.1');

		$server->{certificate} = $certificate;
		$server->{scheme} = 'https';
		$listen = $protocol eq 'h2' ? 'ssl http2' : 'ssl';
		$tls = "ssl_certificate $certificate->{cert}; ssl_certificate_key $certificate->{key};";
	}
	# (that is where requests go, too, unless somebody is in between)
	$server->{port} = $server->{listens};
	$server->{conf} = <<"CONF";
split_clients \$request_id \$trouble {
	$trouble
	* "";
}
map \$request_body \$recipient {
	"~\\"to\\": ?\\"\\+?(?<digits>[0-9]+)\\"" \$digits;
}
access_log off;
keepalive_requests 1000000000;
keepalive_timeout 300s;
client_body_buffer_size 16k;
server {
	listen 127.0.0.1:$server->{listens} backlog=4096 $listen;
	$tls
	default_type application/json;
	location / {
		if (\$trouble) {
			rewrite ^ \$trouble last;
		}
		echo_read_request_body;
		$wait
		echo '{"messaging_product":"whatsapp","contacts":[{"input":"+\$recipient","wa_id":"\$recipient"}],"messages":[{"id":"wamid.\$request_id"}]}';
	}
	location = /refused {
		echo_read_request_body;
		echo_status 400;
		echo '{"error":{"message":"(#131026) Message undeliverable","type":"OAuthException","code":131026,"fbtrace_id":"\$request_id"}}';
	}
	location = /busy {
		echo_read_request_body;
		echo_status 503;
		echo '{"error":{"message":"(#131016) Service unavailable","type":"OAuthException","code":131016,"fbtrace_id":"\$request_id"}}';
	}
}
server {
	listen 127.0.0.1:$server->{status_port};
	location / { stub_status; }
}
CONF
	start_again($server);
	return $server;
}

# End a server and start it again: it has counted no requests yet, and nobody
# has a connection.
sub restart_server
{
	my ($server) = @_;

	stop_program($server->{program});
	start_again($server);
	return;
}

sub start_again
{
	my ($server) = @_;

	$server->{program} = run_nginx($server->{listens}, $server->{conf}, '/usr/lib/nginx/modules/ngx_http_echo_module.so');
	$server->{asked} = 0;
	return;
}

# How many requests a server has had, but for those that ask for that
sub server_requests
{
	my ($server) = @_;
	my $answer = $http->get("http://127.0.0.1:$server->{status_port}/");

	die "nginx says: $answer->{status} $answer->{content}" if !$answer->{success};
	$server->{asked}++;
	my ($requests) = $answer->{content} =~ /^ \d+ \d+ (\d+)/m;
	return $requests - $server->{asked};
}

# Run a program to its end, and return what it prints.
sub run_program
{
	my ($env, @command) = @_;
	local @ENV{ keys %$env } = values %$env;
	my ($output, $errors);

	IPC::Run::run(\@command, '<', \undef, '>', \$output, '2>', \$errors)
	  or die "@command[0, 1] has failed: " . ($errors // '');
	return $output;
}

# What a program needs to connect to the database; for Node.js, also where its
# modules are
sub program_environment
{
	my ($node) = @_;

	return (
		PGHOST => $node->host,
		PGPORT => $node->port,
		PGDATABASE => 'postgres',
		PGUSER => scalar(getpwuid($<)),
		NODE_PATH => join(':', grep { $_ } $ENV{NODE_PATH}, "$ENV{WHATSAPP_FRONT}/node_modules"));
}

# What bench/worker.js needs to send from the database to a server
sub worker_environment
{
	my ($node, $server) = @_;

	return (
		program_environment($node),
		WORKER_URL => messages_url($server),
		$server->{protocol} eq 'h2' ? (WORKER_HTTP2 => 1) : (),
		$server->{certificate} ? (WORKER_CA => $server->{certificate}{cert}) : ());
}

# Post the bodies of messages as they were sent from the outbox, so many, by
# bare libcurl.  Returns how many seconds that took.
sub post_bare
{
	my ($node, $server, $messages, $in_flight) = @_;

	restart_server($server);
	my $seconds = run_program({}, bare_command($node, $server, $messages, $in_flight));
	my $requests = server_requests($server);

	die "there were $requests requests, and not $messages" if $requests != $messages;
	return $seconds;
}

# The command for that.  Bodies are kept from one time to the next.
sub bare_command
{
	my ($node, $server, $messages, $in_flight) = @_;
	my $file = $node->basedir . "/bodies.$messages";

	run_program({ program_environment($node) }, 'psql', '-XAtq', '-o', $file, '-c',
		"SELECT whatsapp.request_body(o) FROM whatsapp.outbox o WHERE state = 'sent' ORDER BY id LIMIT $messages")
	  if !-e $file;
	return (
		'bench/bare', messages_url($server), $file, $in_flight,
		$server->{protocol} eq 'h2' ? 2 : 1,
		$server->{certificate} ? $server->{certificate}{cert} : ());
}

# Where messages go
sub messages_url
{
	my ($server) = @_;

	return graph_url($server, '/v25.0/' . NUMBER . '/messages');
}

1;
