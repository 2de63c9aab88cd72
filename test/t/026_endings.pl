# Asked to end, changed, switched off, kept from working: a sender does as it is
# told, whatever it is in the middle of, and what comes of it is known.
#
# Transfers hang for 60 seconds; ten are plenty to tell that nobody waited for
# one.  Some things take their time by themselves: a worker that fails again and
# again has to be seen to be started ever more seldom.  They go on beside the
# rest, in a server of their own.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use constant PLENTY => 10;

# A sender that lives for so many seconds was healthy; and one that is not, is
# started again after as many, at most
use constant MINUTE => 60;

use constant EVERYBODY => '15550000001';

my $graph = start_graph();
my $node;    # that we are talking of
my %sessions;
my $nhung = 0;

sub session
{
	my ($database) = @_;

	return $sessions{ $node->name . " $database" } //=
	  $node->background_psql($database);
}

sub leave
{
	my ($database) = @_;
	my $session = delete $sessions{ $node->name . " $database" };

	$session->quit if $session;
	return;
}

sub value
{
	my ($query, $database) = @_;

	my $builder = Test::More->builder;
	my $output = $builder->output;

	# it would note each query, and what is polled is asked often
	$builder->output(\my $nothing);
	my $value = eval { session($database // 'postgres')->query_safe($query) };
	my $error = $@;
	$builder->output($output);
	die "$query: $error" if $error;
	return $value;
}

# Does something take no longer than it may?
sub soon
{
	my ($name, $do) = @_;
	my $start = time();

	$do->();
	return cmp_ok(time() - $start, '<', PLENTY, $name);
}

sub queue
{
	my ($recipient, $body, $database) = @_;

	value("INSERT INTO whatsapp.outbox (recipient, body) VALUES ('$recipient', '$body')",
		$database);
	return;
}

# Have a message be under way that is not answered: never, or not until we say
# so (hold)
sub hang
{
	my ($how, $body) = @_;
	my $recipient = '155510000' . (10 + $nhung++);

	graph_post($graph, '/_script', { recipient => $recipient, $how => JSON::PP::true });
	queue($recipient, $body);
	return ok(
		wait_until("$body hangs", sub { graph_requests($graph, $recipient) == 1 }),
		"$body: a transfer hangs");
}

sub times_sent
{
	my ($body) = @_;

	return scalar(
		grep { ref $_->{body} && ($_->{body}{text}{body} // '') eq $body }
		  @{ graph_get($graph, '/_log') });
}

sub state_of
{
	my ($body) = @_;

	return value("SELECT state FROM whatsapp.outbox WHERE body = '$body'");
}

# What is said of the number, and what is missing
sub status
{
	my ($database) = @_;

	return value("SELECT concat_ws(': ', state, missing) FROM whatsapp.sender_status", $database);
}

sub says
{
	my ($database, $pattern, $name) = @_;
	my $status;

	return ok(
		wait_until(
			"sender_status says $pattern",
			sub { ($status = status($database)) =~ $pattern; }),
		$name) || diag($status);
}

sub health
{
	my ($database) = @_;
	my %health;

	@health{qw(trouble failures next_start now)} = split(
		/\|/,
		value(
			'SELECT trouble, failures, extract(epoch FROM next_start), extract(epoch FROM clock_timestamp()) FROM whatsapp.sender_health()',
			$database));
	return \%health;
}

sub launcher_pid
{
	return value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'whatsapp launcher'");
}

sub wait_for_launcher
{
	my ($other) = @_;

	return wait_until(
		'there is a launcher',
		sub {
			my $pid = launcher_pid();
			return $pid ne '' && $pid ne $other;
		});
}

sub terminate
{
	my @pids = @_;

	return value('SELECT pg_terminate_backend(pid) FROM unnest(ARRAY[' . join(',', @pids) . ']) pid');
}

# Wait until the sender has looked at everything, settings and all
sub has_looked
{
	my $turns = "SELECT value FROM whatsapp.statistics WHERE counter = 'sender' AND label = 'turns'";
	my $before = value($turns);
	my $start = time();

	return wait_until(
		'it has looked',
		sub { value($turns) > $before + 3 && time() > $start + 0.3 });
}

# What senders have said in the log since it was so long
sub said
{
	my ($since) = @_;

	return grep { / whatsapp sender (LOG|WARNING|ERROR|FATAL):/ }
	  split(/\n/, substr(slurp_file($node->logfile), $since));
}

sub said_at_most
{
	my ($bound, $since, $name) = @_;
	my @lines = said($since);

	return cmp_ok(scalar(@lines), '<=', $bound, $name)
	  || diag(join("\n", @lines[ 0 .. ($#lines > 9 ? 9 : $#lines) ]));
}

sub log_size
{
	return -s $node->logfile;
}

# -- Failing again and again ---------------------------------------------------

# The owner of two databases may not connect to them.  A third sender is ended
# once, and then left alone.
my $failing = new_cluster('failing', $graph, "whatsapp.poll_interval = '100ms'");
my %starts = (stuck => {}, mended => {});

$node = $failing;
add_number($node);
my $steady = wait_for_sender($node);
terminate($steady);
$steady = wait_for_sender($node, 'postgres', $steady);
my $steady_since = time();
is(health()->{failures}, 1, 'a sender that somebody has ended, young as it was, has failed');

value('CREATE ROLE keeper LOGIN');
foreach my $database (keys %starts)
{
	value("CREATE DATABASE $database");
	value("REVOKE CONNECT ON DATABASE $database FROM PUBLIC");
	value(
		"BEGIN; ALTER ROLE keeper SUPERUSER; SET ROLE keeper; CREATE EXTENSION whatsapp; RESET ROLE; ALTER ROLE keeper NOSUPERUSER; SELECT whatsapp.add_number('@{[NUMBER]}', access_token => '@{[TOKEN]}'); COMMIT",
		$database);
}

# Note when they are to be started, until they have failed so often.  Meanwhile
# messages are queued all the time.
sub watch
{
	my ($nfailures, @databases) = @_;

	return wait_until(
		"@databases: $nfailures failures",
		sub {
			my $nready = 0;

			foreach my $database (@databases)
			{
				my $health = health($database);

				$starts{$database}{ $health->{failures} } //= $health->{next_start};
				$nready++ if $health->{failures} >= $nfailures;
				queue(EVERYBODY, 'makes nothing faster', $database);
			}
			return $nready == @databases;
		});
}

ok(watch(3, keys %starts), 'a worker that may not connect fails again and again');
is(health('stuck')->{trouble}, 'failed', 'that is told');
like(status('stuck'), qr/^no sender: role keeper.*may not connect/, 'and why');
my $launcher = launcher_pid();
terminate($launcher);
ok(wait_for_launcher($launcher), 'the launcher ends, and another comes');
cmp_ok(health($_)->{failures}, '>=', 3, "$_: it knows how many have failed") foreach sort keys %starts;
ok(watch(4, keys %starts), 'they fail once more');
foreach my $database (sort keys %starts)
{
	my $seen = $starts{$database};

	ok($seen->{3} && $seen->{4}, "$database: it was told when another is started");
	foreach my $n (2 .. 4)
	{
		# a short one may have been missed
		next if !$seen->{ $n - 1 } || !$seen->{$n};
		my $pause = $seen->{$n} - $seen->{ $n - 1 };
		my $expected = 2**($n - 1);

		cmp_ok($pause, '>=', $expected, "$database: after $n failures there is a pause of $expected s");
		cmp_ok($pause, '<', $expected + PLENTY, 'and not of much more');
	}
}

# The reason is gone, for one of them
value('GRANT CONNECT ON DATABASE mended TO keeper');
my $promise = health('mended');
like(
	status('mended'),
	qr/^no sender: it has failed $promise->{failures} times, and is started again at \d{4}-/,
	'when it may connect, it is told when it is started again');

# -- In mid-transfer -----------------------------------------------------------

my $endings = new_cluster(
	'endings', $graph,
	"whatsapp.request_timeout = '60s'",
	"whatsapp.poll_interval = '1h'",
	'allow_in_place_tablespaces = on');
$node = $endings;
add_number($node);
my $sender = wait_for_sender($node);

# What is seen of them while they wait
queue(EVERYBODY, 'for a start');
wait_for_state($node, "body = 'for a start'", 'sent');
my $activity;
ok( wait_until(
		'it is idle',
		sub {
			my $event = $node->pg_version < 17 ? 'Extension' : 'WhatsappSenderMain';
			$activity = value(
				"SELECT datname, usename = current_user, application_name, state, wait_event_type, wait_event, query FROM pg_stat_activity WHERE backend_type = 'whatsapp sender'"
			);
			return $activity =~
			  /^postgres\|t\|whatsapp sender\|idle\|Extension\|$event\|(looking at settings|releasing interrupted rows|settling unknown rows|recording|claiming|tending|auditing|pruning)$/;
		}),
	'pg_stat_activity says of a sender that it waits, and what it has done')
  or diag($activity);
ok( wait_until(
		'it is idle',
		sub {
			my $event = $node->pg_version < 17 ? 'Extension' : 'WhatsappLauncherMain';
			$activity = value(
				"SELECT datname IS NULL, application_name, coalesce(state, 'idle'), wait_event_type, wait_event FROM pg_stat_activity WHERE backend_type = 'whatsapp launcher'"
			);
			return $activity eq "t|whatsapp launcher|idle|Extension|$event";
		}),
	'and of the launcher, that it waits')
  or diag($activity);

# Commands that every process has to hear of, also one that would look at nothing
# for an hour
hang('never', 'through barriers');
value('CREATE DATABASE another STRATEGY file_copy');
value("CREATE TABLESPACE space LOCATION ''");
value('CREATE TABLE made TABLESPACE space AS SELECT 1; DROP TABLE made', 'another');
leave('another');
ok( wait_until(
		'it does nothing but wait',
		sub {
			value(
				"SELECT clock_timestamp() > state_change + interval '1.2 s' FROM pg_stat_activity WHERE backend_type = 'whatsapp sender'"
			) eq 't';
		}),
	'the sender does nothing but wait for the transfer');
soon('DROP TABLESPACE does not wait', sub { value('DROP TABLESPACE space') });
soon('nor does DROP DATABASE', sub { value('DROP DATABASE another') });
is(state_of('through barriers'), 'sending', 'and the transfer goes on');

# Settings change
hang('hold', 'across a reload');
set_conf($node, 'whatsapp.max_in_flight = 2', "whatsapp.poll_interval = '100ms'");
queue(EVERYBODY, 'behind two');
has_looked();
is(state_of('behind two'), 'queued', 'a setting is heeded while transfers hang');
graph_post($graph, '/_release');
wait_for_state($node, "body IN ('across a reload', 'behind two')", 'sent',
	'what is under way across a reload is recorded, and what is behind it is sent');
is(sender_pid($node), $sender, 'all by the same sender');
set_conf($node, 'whatsapp.max_in_flight = 256');

# The launcher ends
hang('hold', 'without the launcher');
$launcher = launcher_pid();
soon(
	'the launcher ends, and another comes',
	sub {
		terminate($launcher);
		wait_for_launcher($launcher);
	});
is(state_of('without the launcher'), 'sending', 'a transfer goes on');
graph_post($graph, '/_release');
wait_for_state($node, "body = 'without the launcher'", 'sent', 'and is recorded');
is(sender_pid($node), $sender, 'by the same sender');

# The sender ends, without and with the launcher
foreach my $with ('alone', 'with the launcher')
{
	my $next;

	hang('never', "ended $with");
	$launcher = launcher_pid();
	soon(
		'the sender ends, and another comes',
		sub {
			terminate($sender, $with eq 'alone' ? () : $launcher);
			$next = wait_for_sender($node, 'postgres', $sender);
		});
	$sender = $next;
	wait_for_state($node, "body = 'ended $with'", 'unknown', 'what was under way is unknown');
	like(value("SELECT error FROM whatsapp.outbox WHERE body = 'ended $with'"),
		qr/background worker was asked to end/, 'as it was asked to end');
	is(times_sent("ended $with"), 1, 'and not sent again');
}
is(state_of('through barriers'), 'unknown', 'so is what was under way from the beginning');
is(times_sent('through barriers'), 1, 'which was sent once, too');
wait_for_launcher($launcher);

# All of it ends
hang('never', 'ended at once');
leave('postgres');
soon('an immediate shutdown does not wait', sub { $node->stop('immediate') });
$node->start;
$sender = wait_for_sender($node);
wait_for_state($node, "body = 'ended at once'", 'unknown', 'what was under way is unknown');
is(times_sent('ended at once'), 1, 'and not sent again');

# What becomes of it may be said for a database
value('ALTER DATABASE postgres SET whatsapp.unknown_policy = fail');
value('ALTER DATABASE postgres SET whatsapp.unknown_grace = 0');
wait_for_state($node, "body ~ '^(ended|through)'", 'failed', 'whatsapp.unknown_policy of a database is heeded');
value('ALTER DATABASE postgres RESET ALL');

# -- Switched off and on -------------------------------------------------------

my $owner = value('SELECT current_user');
my $reload = 'SELECT pg_reload_conf()';
my $in_file = [ 'in the file', 'ALTER SYSTEM SET whatsapp.enabled = off', 'ALTER SYSTEM RESET whatsapp.enabled' ];
my $for_database =
  [ 'for the database', 'ALTER DATABASE postgres SET whatsapp.enabled = off', 'ALTER DATABASE postgres RESET whatsapp.enabled' ];

foreach my $switch (
	$in_file,
	$for_database,
	[ 'for the owner', "ALTER ROLE $owner SET whatsapp.enabled = off", "ALTER ROLE $owner SET whatsapp.enabled = on" ],
	[
		'for the owner in the database',
		"ALTER ROLE $owner IN DATABASE postgres SET whatsapp.enabled = off",
		"ALTER ROLE $owner IN DATABASE postgres RESET ALL"
	],
	[ 'in the file, though not for the owner', @$in_file[ 1, 2 ] ])
{
	my ($where, $off, $on) = @$switch;

	value($off);
	value($reload);
	soon("soon switched off $where",
		sub { says('postgres', qr/^off: whatsapp.enabled is off/, "switched off $where"); });
	queue(EVERYBODY, "off $where");
	has_looked();
	is(state_of("off $where"), 'queued', 'nothing is sent');
	value($on);
	value($reload);
	soon("soon switched on $where",
		sub { says('postgres', qr/^active$/, "switched on $where"); });
	wait_for_state($node, "body = 'off $where'", 'sent', 'what is queued is sent');
	is(health()->{failures}, 0, 'and no worker has failed');
}
value("ALTER ROLE $owner RESET whatsapp.enabled");

# In mid-transfer
foreach my $switch ($in_file, $for_database)
{
	my ($where, $off, $on) = @$switch;

	hang('hold', "across off $where");
	value($off);
	value($reload);
	has_looked();
	queue(EVERYBODY, "behind off $where");
	has_looked();
	is(state_of("behind off $where"), 'queued', 'switched off in mid-transfer, no other is sent');
	is(state_of("across off $where"), 'sending', 'but what is under way goes on');
	graph_post($graph, '/_release');
	wait_for_state($node, "body = 'across off $where'", 'sent', 'and is recorded');
	is( value(
			"SELECT count(*) FROM whatsapp.attempts a JOIN whatsapp.outbox o ON o.id = a.outbox_id WHERE o.body = 'across off $where'"
		),
		'0',
		'without having been unknown');
	is(times_sent("across off $where"), 1, 'nor sent again');
	says('postgres', qr/^off: /, 'off it is');
	value($on);
	value($reload);
	wait_for_state($node, "body = 'behind off $where'", 'sent', 'switched on again, others are sent');
}

# -- What is logged ------------------------------------------------------------

sub queue_hundred
{
	my ($body) = @_;

	value(
		"INSERT INTO whatsapp.outbox (recipient, body) SELECT '1556' || to_char(i, 'FM0000000'), '$body' FROM generate_series(1, 100) i"
	);
	return;
}

# Wait until something is so of all of them
sub wait_for_hundred
{
	my ($body, $condition, $name) = @_;

	return ok(
		wait_until(
			$name,
			sub {
				value("SELECT count(*) FROM whatsapp.outbox WHERE body = '$body' AND $condition") eq '100';
			}),
		$name);
}

# Nobody listens
set_conf($node, "whatsapp.graph_url = 'http://127.0.0.1:" . free_port() . "'");
my $since = log_size();
queue_hundred('nobody listens');
wait_for_hundred('nobody listens', "state = 'queued' AND deferrals > 0", 'nobody listens to a hundred messages');
said_at_most(2, $since, 'that is not logged for each of them');
value("DELETE FROM whatsapp.outbox WHERE body = 'nobody listens'");
set_conf($node, "whatsapp.graph_url = '" . graph_url($graph, '') . "'");

# A token is good no longer
graph_post($graph, '/_script',
	{ recipient => '*', hold => JSON::PP::true, error => { code => 190 } });
$since = log_size();
queue_hundred('wrong token');
wait_for_in_flight($graph, 100, 'a hundred are under way');
graph_post($graph, '/_release');
wait_for_hundred('wrong token', "state = 'queued'", 'they are refused');
says('postgres', qr/^held$/, 'the number is held');
said_at_most(2, $since, 'that is not logged for each of them');
is(scalar(grep { /nothing is sent any more from/ } said($since)), 1, 'but once');
graph_post($graph, '/_script', { recipient => '*', delay_ms => 1 });
value("SELECT whatsapp.set_access_token('@{[NUMBER]}', '@{[TOKEN]}')");
wait_for_state($node, "body = 'wrong token'", 'sent', 'with a good one they are sent');

# An answer cannot be recorded
my $errors = "SELECT value FROM whatsapp.statistics WHERE counter = 'sender' AND label = 'errors'";
value("ALTER TABLE whatsapp.messages ADD CONSTRAINT no_poison CHECK (body <> 'poison')");
my $before = value($errors);
$since = log_size();
queue(EVERYBODY, 'poison');
ok( wait_until('it has been tried', sub { value($errors) > $before + 4 }),
	'an answer that cannot be recorded is tried again and again');
is(state_of('poison'), 'sending', 'in vain');
said_at_most(1, $since, 'that is logged once');
value('ALTER TABLE whatsapp.messages DROP CONSTRAINT no_poison');
wait_for_state($node, "body = 'poison'", 'sent', 'in the end it is recorded');

# An error that nobody knows
graph_post($graph, '/_script',
	{ recipient => '*', hold => JSON::PP::true, error => { code => 987654 } });
$since = log_size();
queue_hundred('unknown error');
wait_for_in_flight($graph, 100, 'a hundred are under way');
graph_post($graph, '/_release');
wait_for_hundred('unknown error', 'error_code = 987654', 'they meet with an error that nobody knows');
said_at_most(1, $since, 'that is not logged for each of them');

# Something of the user's objects to what is done
value(<<'SQL');
CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.body = 'objected to' THEN
		RAISE EXCEPTION 'not so';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER object BEFORE UPDATE ON whatsapp.outbox FOR EACH ROW EXECUTE FUNCTION object();
SQL
$since = log_size();
queue_hundred('objected to');
ok(wait_until('it is met', sub { said($since) }), 'a hundred cannot be changed');
has_looked() foreach 1 .. 3;
said_at_most(3, $since, 'that is not logged for each of them, again and again');
value('DROP TRIGGER object ON whatsapp.outbox');
graph_post($graph, '/_reset');

# -- Without preload -----------------------------------------------------------

my $crowded = new_cluster('crowded', $graph, "shared_preload_libraries = ''");
$node = $crowded;
add_number($node);
my $output;
$node->psql(
	'postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('@{[EVERYBODY]}', 'one'); INSERT INTO whatsapp.outbox (recipient, body) VALUES ('@{[EVERYBODY]}', 'two')",
	stderr => \$output);
is( scalar(() = $output =~ /NOTICE:  message was queued, but nothing will send it/g),
	1, 'without preload, who queues messages is told that nothing will send them, once');
like($output, qr/shared_preload_libraries/, 'and why');
like(status(), qr/^no sender: .*shared_preload_libraries/, 'so says sender_status');
is(value('SELECT queued FROM whatsapp.sender_status'), '2', 'and how many there are');
is(value('SELECT trouble, mode, failures, next_start FROM whatsapp.sender_health()'),
	'not preloaded|||', 'and sender_health()');
is( value(qq{SELECT messages FROM whatsapp.ingest_unsigned('{"entry":[{"id":"1","changes":[{"field":"messages","value":{
		"metadata":{"phone_number_id":"@{[NUMBER]}"},
		"messages":[{"id":"wamid.hi","from":"15551234567","timestamp":"1750101000","type":"text","text":{"body":"Hi!"}}]}}]}]}')}),
	'1',
	'webhooks are filed');
is(value('SELECT last_words FROM whatsapp.conversations'), 'Hi!', 'there are conversations');
is(value('SELECT count(*) FROM whatsapp.statistics'), '0', 'no statistics');
is(value('SELECT count(*) FROM whatsapp.latencies'), '0', 'and no latencies');
value('SELECT whatsapp.reset_statistics()');
is(value('SELECT count(*) > 0, sum(p.pruned), sum(p.kept) FROM whatsapp.prune() p'), 't|0|0', 'one can prune');
is(value("SELECT whatsapp.cancel(id) FROM whatsapp.outbox WHERE body = 'two'"), 't', 'and cancel');

# -- With too few workers ------------------------------------------------------

# One sender beside the launcher, and so two places in the table of databases
$node->append_conf('postgresql.conf', $_)
  foreach "shared_preload_libraries = 'whatsapp'",
  "whatsapp.poll_interval = '100ms'",
  'max_worker_processes = 2', 'max_logical_replication_workers = 0';
leave('postgres');
$node->restart;
wait_for_state($node, "body = 'one'", 'sent', 'with preload, what was queued is sent');

sub warnings
{
	my ($database) = @_;
	my $oid = value("SELECT oid FROM pg_database WHERE datname = '$database'");

	return scalar(() = slurp_file($node->logfile) =~
		  /WARNING:  could not start whatsapp probe for database $oid: out of background worker slots/g);
}

value('CREATE DATABASE second');
add_number($node, 'second');
queue(EVERYBODY, 'patience', 'second');
says('second', qr/^no sender: .*max_worker_processes/, 'a database for which there is no worker: that is told');
is(health('second')->{trouble}, 'no worker', 'also by sender_health()');
value('CREATE DATABASE third');
add_number($node, 'third');
queue(EVERYBODY, 'patience', 'third');
says('third', qr/^no sender: .*more databases than max_worker_processes/, 'one for which there is no place, too');
is(health('third')->{trouble}, 'no slot', 'also by sender_health()');
ok( wait_until('it is tried', sub { health('second')->{failures} >= 3 }),
	'it is tried again and again');
is(warnings('second'), 1, 'which is logged once');
leave('second');
value('DROP DATABASE second');
ok( wait_until(
		'it has a place',
		sub { (health('third')->{trouble} // '') eq 'no worker' && health('third')->{failures} >= 2 }),
	'the other has a place when there is one');
is(warnings('third'), 1, 'and that it has no worker is logged, too');
is(status() . ', ' . status('third'),
	'active, no sender: all max_worker_processes are taken; to have more takes a restart of the server',
	'while the first goes on');

# -- After a minute ------------------------------------------------------------

$node = $failing;
is( value(
		"SELECT extract(epoch FROM backend_start) - $promise->{next_start} BETWEEN 0 AND @{[PLENTY]} FROM pg_stat_activity WHERE backend_type = 'whatsapp sender' AND datname = 'mended'"
	),
	't',
	'what had failed was started when it was said to be');
wait_for_state($node, 'true', 'sent', 'and has sent', 'mended');
my $mended = sender_pid($node, 'mended');
value("ALTER DATABASE mended SET whatsapp.unknown_grace = '1h'");
ok(wait_for_sender($node, 'mended', $mended), 'one that makes room for another');
is(value('SELECT failures, next_start FROM whatsapp.sender_health()', 'mended'), '0|', 'has not failed');

ok( wait_until('it is a minute old', sub { time() > $steady_since + MINUTE }),
	'the sender that had failed has worked for a minute');
is(sender_pid($node), $steady, 'the same');
terminate($steady);
soon('it ends, and another comes', sub { wait_for_sender($node, 'postgres', $steady) });
is(health()->{failures}, 0, 'which is no failure any more');

ok(watch(7, 'stuck'), 'the other fails on');
my $stuck = health('stuck');
cmp_ok($stuck->{next_start} - $stuck->{now}, '<=', MINUTE, 'a minute is as long as it has to wait');
cmp_ok($starts{stuck}{7} - $starts{stuck}{6}, '>=', MINUTE, 'and as it does')
  if $starts{stuck}{6} && $starts{stuck}{7};
cmp_ok(scalar(() = slurp_file($node->logfile) =~ /permission denied for database "stuck"/g),
	'<=', $stuck->{failures} + 1, 'nor has it been started more often');

foreach my $each ($failing, $endings, $crowded)
{
	unlike(slurp_file($each->logfile), qr/PANIC|terminated by signal|TRAP/,
		$each->name . ': nothing has crashed');
}
$_->quit foreach values %sessions;
$_->stop foreach ($failing, $endings, $crowded);
done_testing();
