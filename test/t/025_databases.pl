# What is done to databases and to the extension, committed and rolled back: no
# command waits for long, or fails, because of a sender.  Who may not execute it
# ends no sender by trying.  Afterwards each database with the extension has a
# sender again, which sends; and nothing is sent twice.
#
# Transfers that hang do so for 60 seconds; ten are plenty to tell that nobody
# waited for them.  PostgreSQL itself waits 5 seconds for others to leave.
#
# See 004_drop.pl for DROP EXTENSION, and 005_launcher.pl for the launcher.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use File::Copy;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use constant PLENTY => 10;

# Where scripts of the extension are looked for, and its library.  These are the
# sandbox's.
my $folder = "@{[ (run_command([ 'pg_config', '--sharedir' ]))[0] ]}/extension";
my $library = "@{[ (run_command([ 'pg_config', '--pkglibdir' ]))[0] ]}/whatsapp.so";
my @made;

# However this ends, it takes its scripts away, and puts the library back
$SIG{$_} = sub { exit(1) }
  foreach qw(INT TERM HUP);

END
{
	unlink(@made);
	rename("$library.old", $library) if -e "$library.old";
}

# -- Another library -----------------------------------------------------------

# One that calls other functions than ours does: 2, not 1.  It is needed later;
# all but one of its files are compiled already.
my $tree = PostgreSQL::Test::Utils::tempdir();
my $compiler_says;

run_command([ 'cp', '-a', 'src', 'Makefile', 'whatsapp.control', $tree ]);
my $sender_c = slurp_file("$tree/src/sender.c");
$sender_c =~ s/^(#define PROTOCOL\s+)1$/${1}2/m or BAIL_OUT('src/sender.c has no PROTOCOL 1');
unlink("$tree/src/sender.c");
append_to_file("$tree/src/sender.c", $sender_c);

my $build = IPC::Run::start([ 'make', '-s', '-C', $tree, 'with_llvm=no' ], '<', \undef, '>&', \$compiler_says);

# -- Helpers -------------------------------------------------------------------

my $graph = start_graph();
my $node = new_cluster(
	'databases', $graph,
	"whatsapp.request_timeout = '60s'", "whatsapp.poll_interval = '100ms'",
	'max_worker_processes = 32', 'max_prepared_transactions = 5',
	'restart_after_crash = on');
my $messages = 0;

sub sql
{
	my ($sql, $database) = @_;

	return $node->safe_psql($database // 'postgres', $sql);
}

# In all databases: what a query gives, as soon as it is what is wanted, or in the
# end.  That is faster than to ask again and again from here.
sql(<<'SQL', 'template1');
CREATE FUNCTION public.eventually(query text, wanted text) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	result text;
BEGIN
	FOR i IN 1 .. 3000 LOOP
		PERFORM pg_stat_clear_snapshot();
		EXECUTE query INTO result;
		EXIT WHEN result = wanted;
		PERFORM pg_sleep(0.02);
	END LOOP;
	RETURN result;
END $$;
SQL
sql('CREATE FUNCTION public.eventually(query text, wanted text) RETURNS text ' .
	  sql("SELECT format('LANGUAGE plpgsql AS %L', prosrc) FROM pg_proc WHERE proname = 'eventually'", 'template1'));

# Test that it is.
sub comes_to_be
{
	my ($query, $wanted, $what, $database) = @_;

	return is(sql("SELECT public.eventually(\$q\$$query\$q\$, '$wanted')", $database), $wanted, $what);
}

# Make a database with the extension, and a number that sends.
sub create
{
	my ($database) = @_;

	sql("CREATE DATABASE $database TEMPLATE source");
	sql("SELECT whatsapp.set_access_token('@{[NUMBER]}', '@{[TOKEN]}')", $database);
	has_sender($database);
	return;
}

# Statements that queue a message, and a query for what has become of it
sub queueing
{
	my ($body, $recipient) = @_;

	return sprintf("INSERT INTO whatsapp.outbox (recipient, body) VALUES ('%s', '%s')", $recipient // '15550000001', $body);
}

sub state_of
{
	my ($body) = @_;

	return "SELECT string_agg(DISTINCT state, ',') FROM whatsapp.outbox WHERE body = '$body'";
}

sub sends
{
	my ($database, $what) = @_;
	my $body = 'message ' . ++$messages;

	return is(
		sql("@{[queueing($body)]}; SELECT public.eventually(\$q\$@{[state_of($body)]}\$q\$, 'sent')", $database),
		'sent', "$what: $database sends");
}

# Have a transfer hang: one that is never answered, or not yet.  Returns the body
# of the message, by which the others find it.
my %recipients;

sub hang
{
	my ($database, $what, $how) = @_;
	my $body = 'message ' . ++$messages;
	my $recipient = sprintf('1555001%04d', $messages);

	$recipients{$body} = $recipient;
	graph_post($graph, '/_script', { recipient => $recipient, ($how // 'never') => JSON::PP::true });
	sql(queueing($body, $recipient), $database);
	ok(wait_until('it hangs', sub { graph_requests($graph, $recipient) == 1 }), "$what: a transfer is under way");
	return $body;
}

# Nobody knows what came of it, and so it is not sent again.
sub is_unknown
{
	my ($database, $body, $what) = @_;

	comes_to_be(state_of($body), 'unknown', "$what: what hung is unknown", $database);
	return is_not_sent_again($body, $what);
}

sub is_not_sent_again
{
	my ($body, $what) = @_;

	return is(graph_requests($graph, $recipients{$body}), 1, "$what: what hung is not sent again");
}

# Nobody has noticed anything: it is under way still, and ends well once answered.
sub goes_on
{
	my ($database, $body, $what) = @_;

	is(sql(state_of($body), $database), 'sending', "$what: what is under way is so still");
	graph_post($graph, '/_release', {});
	comes_to_be(state_of($body), 'sent', "$what: and ends well", $database);
	return is_not_sent_again($body, $what);
}

# Test that a command succeeds, and does not wait for a transfer.
sub succeeds
{
	my ($command, $what, $database) = @_;
	my $start = time();
	my $errors;

	is($node->psql($database // 'postgres', $command, stderr => \$errors), 0, "$what: it succeeds") or diag($errors);
	return cmp_ok(time() - $start, '<', PLENTY, "$what: at once");
}

# Test that a command fails, for that reason.
sub fails
{
	my ($command, $pattern, $what, $database) = @_;
	my $errors;

	$node->psql($database // 'postgres', $command, stderr => \$errors);
	return like($errors, qr/ERROR: .*$pattern/, "$what: it fails");
}

# Execute a command in a session of its own, of that name.
sub start
{
	my ($name, $command) = @_;
	my %session = (name => $name);

	$session{run} = IPC::Run::start(
		[
			$node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres') . " application_name=$name",
			'-c', $command
		],
		'<', \undef, '>', \$session{output}, '2>', \$session{errors});
	return \%session;
}

# Wait for its end.  Returns what went wrong.
sub finish
{
	my ($session) = @_;

	$session->{run}->finish;
	return $session->{errors};
}

# Begin a transaction in a session of that name.
sub begin
{
	my ($name, @commands) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_safe("SET application_name = '$name'; BEGIN");
	$session->query_safe($_) foreach @commands;
	return $session;
}

sub oid
{
	my ($database) = @_;

	return sql("SELECT oid FROM pg_database WHERE datname = '$database'");
}

# A query for how many processes of ours are in a database
sub workers_in
{
	my ($oid) = @_;

	return "SELECT count(*) FROM pg_stat_activity WHERE datid = $oid AND backend_type LIKE 'whatsapp %'";
}

# Test that there are none.
sub is_left
{
	my ($oid, $what) = @_;

	return is(sql(workers_in($oid)), 0, $what);
}

sub has_sender
{
	my ($database) = @_;

	return sql(
		"SELECT public.eventually(\$q\$SELECT count(*) FROM pg_stat_activity WHERE datname = '$database' AND backend_type = 'whatsapp sender'\$q\$, '1')") eq '1';
}

# Wait until the launcher has looked at all databases: it has started another
# sender, after a command that does nothing but end one.
sub launcher_has_looked
{
	sql('ALTER DATABASE source SET TABLESPACE pg_default');
	return has_sender('source');
}

# Wait until the sender of a database has gone round a few times.
sub sender_has_looked
{
	my ($database) = @_;
	my $turns = "FROM whatsapp.statistics WHERE counter = 'sender' AND label = 'turns'";

	return is(
		sql("SELECT public.eventually(format(\$q\$SELECT value >= %s $turns\$q\$, value + 5), 'true') $turns", $database),
		'true', "the sender of $database goes round");
}

use constant STATUS => "SELECT concat_ws(': ', state, missing) FROM whatsapp.sender_status";

# How many lines of the log are like this?
sub logged
{
	my ($pattern) = @_;

	return scalar(() = slurp_file($node->logfile) =~ /$pattern/g);
}

# -- Commands that succeed -----------------------------------------------------

my $elsewhere = PostgreSQL::Test::Utils::tempdir();
sql("CREATE TABLESPACE elsewhere LOCATION '$elsewhere'; CREATE ROLE keeper LOGIN; CREATE ROLE maker CREATEDB; CREATE ROLE stranger");
sql('CREATE DATABASE source');
add_number($node, 'source');
sends('source', 'created');

# A copy has a sender, which sends nothing before it is given a token
succeeds('CREATE DATABASE copy TEMPLATE source', 'copied');
ok(has_sender('copy'), 'copied: the copy has a sender');
like(sql(STATUS, 'copy'), qr/^copy: /, 'copied: which knows that it is one');
sql(queueing('copied'), 'copy');
sender_has_looked('copy');
is(sql(state_of('copied'), 'copy'), 'queued', 'copied: and sends nothing');
sql("DELETE FROM whatsapp.outbox; SELECT whatsapp.set_access_token('@{[NUMBER]}', '@{[TOKEN]}')", 'copy');
sends('copy', 'copied, given a token');
sends('source', 'copied');

succeeds('CREATE DATABASE again TEMPLATE copy', 'copied from within', 'copy');
sends('copy', 'copied from within');

# Gone; also before there could be a sender
succeeds('DROP DATABASE again; DROP DATABASE copy', 'dropped');
succeeds(join(';', map { "CREATE DATABASE short$_ TEMPLATE source; DROP DATABASE short$_" } 1 .. 3), 'dropped soon');

foreach my $kind ('idle', 'under way')
{
	my $hangs = $kind eq 'under way';
	my $body;

	create('one');
	foreach my $case (
		[ 'copied', 'one', 'CREATE DATABASE copy TEMPLATE one', 'one' ],
		[ 'renamed', 'one', 'ALTER DATABASE one RENAME TO two', 'two' ],
		[ 'moved', 'two', 'ALTER DATABASE two SET TABLESPACE elsewhere', 'two' ],
		[ 'dropped', 'two', 'DROP DATABASE two' ])
	{
		my ($what, $before, $command, $after) = @$case;

		$what = "$kind, $what";
		$body = hang($before, $what) if $hangs;
		succeeds($command, $what);
		sends($after, $what) if $after;
		is_unknown($after, $body, $what) if $after && $hangs;
	}
	is_not_sent_again($body, "$kind, dropped") if $hangs;

	# The copy knows no more
	ok(has_sender('copy'), "$kind, copied: the copy has a sender");
	if ($hangs)
	{
		sender_has_looked('copy');
		is(sql("SELECT count(*) FROM whatsapp.outbox WHERE state = 'unknown'", 'copy'), 1, "$kind, copied: the copy has what hung as unknown");
	}
	succeeds('ALTER DATABASE copy ALLOW_CONNECTIONS false; DROP DATABASE copy', "$kind, closed and dropped");

	# While others are there, by its owner, who may not terminate what a superuser
	# owns, as the sender
	create('one');
	sql('ALTER DATABASE one OWNER TO keeper');
	my $guest = $node->background_psql('one', on_error_stop => 0, extra_params => [ '-U', 'keeper' ]);
	$body = hang('one', "$kind, dropped by force") if $hangs;
	succeeds('SET ROLE keeper; DROP DATABASE one WITH (FORCE)', "$kind, dropped by force");
	is_not_sent_again($body, "$kind, dropped by force") if $hangs;
	eval { $guest->quit };
}

# -- Commands that fail while others are connected -----------------------------

my %commands = (
	drop => 'DROP DATABASE drop1',
	copy => 'CREATE DATABASE copy TEMPLATE copy1',
	rename => 'ALTER DATABASE rename1 RENAME TO rename2',
	move => 'ALTER DATABASE move1 SET TABLESPACE elsewhere');
my @names = sort keys %commands;
my %guests;

create("${_}1") foreach @names;
my $hangs = hang('drop1', 'in use');
$guests{$_} = $node->background_psql("${_}1") foreach @names;
sql('CREATE TABLE here (); BEGIN; INSERT INTO here DEFAULT VALUES; PREPARE TRANSACTION \'one\'', 'source');

my @sessions = map { start($_, $commands{$_}) } @names;
foreach my $name (@names)
{
	my $seen;

	# who is connected sees why
	ok( wait_until(
			'it says so',
			sub {
				$seen = $guests{$name}->query_safe(STATUS);
				return $seen =~ /^no sender: a command that is under way/;
			}),
		"in use, $name: for as long as PostgreSQL waits, there is no sender") or diag($seen);
	$guests{$name}->query_safe(queueing('meanwhile'));
}
fails('DROP DATABASE source WITH (FORCE)', qr/used by prepared transactions/, 'prepared, dropped by force');
foreach my $session (@sessions)
{
	my $name = $session->{name};

	like(finish($session), qr/is being accessed by other users/, "in use, $name: it fails");
	comes_to_be(state_of('meanwhile'), 'sent', "in use, $name: what was queued meanwhile is sent", "${name}1");
	sends("${name}1", "in use, $name");
}
is_unknown('drop1', $hangs, 'in use');
sql("ROLLBACK PREPARED 'one'", 'source');
sends('source', 'prepared, dropped by force');

# They do not wait to the end
foreach my $case ([ 'drop', 'cancel', qr/canceling statement/ ], [ 'rename', 'terminate', qr/terminating connection/ ])
{
	my ($name, $how, $pattern) = @$case;
	my $session = start($name, $commands{$name});

	comes_to_be(workers_in(oid("${name}1")), 0, "in use, $name, $how: there is no sender");
	sql("SELECT pg_${how}_backend(pid) FROM pg_stat_activity WHERE application_name = '$name'");
	like(finish($session), $pattern, "in use, $name, $how: it fails");
	sends("${name}1", "in use, $name, $how");
}
$_->quit foreach values %guests;

# -- Commands that fail for other reasons --------------------------------------

sql('ALTER DATABASE drop1 OWNER TO keeper; CREATE DATABASE taken');
foreach my $case (
	[ 'CREATE DATABASE taken TEMPLATE drop1', qr/already exists/ ],
	[ 'CREATE DATABASE copy TEMPLATE drop1 TABLESPACE nowhere', qr/does not exist/ ],
	[ "CREATE DATABASE copy TEMPLATE drop1 ENCODING 'LATIN1' LOCALE 'C'", qr/is incompatible/ ],
	[ 'CREATE DATABASE copy TEMPLATE drop1 OWNER nobody_at_all', qr/does not exist/ ],
	[ 'ALTER DATABASE drop1 RENAME TO taken', qr/already exists/ ],
	[ 'ALTER DATABASE drop1 SET TABLESPACE nowhere', qr/does not exist/ ],
	[ 'SET ROLE keeper; ALTER DATABASE drop1 SET TABLESPACE elsewhere', qr/permission denied for tablespace/ ])
{
	fails(@$case, $case->[0]);
	sends('drop1', $case->[0]);
}
succeeds('ALTER DATABASE drop1 SET TABLESPACE pg_default', 'moved to where it is');
sends('drop1', 'moved to where it is');
sql('DROP DATABASE taken');

# -- Commands that are refused -------------------------------------------------

# Neither the sender nor what is under way notices
my $drop = 'DROP DATABASE drop1';
my $force = 'DROP DATABASE drop1 WITH (FORCE)';
my $copy = 'CREATE DATABASE copy TEMPLATE drop1';
my $rename = 'ALTER DATABASE drop1 RENAME TO other';
my $move = 'ALTER DATABASE drop1 SET TABLESPACE elsewhere';
my $sender = sender_pid($node, 'drop1');

$hangs = hang('drop1', 'refused', 'hold');
foreach my $case (
	(map { [ "SET ROLE stranger; $_", qr/must be owner of database/ ] } $drop, $force, $rename, $move),
	(map { [ "SET ROLE maker; $_", qr/must be owner of database/ ] } $drop, $force, $rename, $move),
	[ "SET ROLE stranger; $copy", qr/permission denied to create database/ ],
	[ "SET ROLE maker; $copy", qr/permission denied to copy database/ ],
	[ "SET ROLE keeper; $copy", qr/permission denied to create database/ ],
	[ "SET ROLE keeper; $rename", qr/permission denied to rename database/ ],
	(map { [ "BEGIN; $_", qr/cannot run inside a transaction block/ ] } $drop, $force, $copy, $move),
	(map { [ "BEGIN; SAVEPOINT one; $_", qr/cannot run inside a transaction block/ ] } $drop, $force, $copy, $move),
	(map { [ "RESET ROLE\\; $_", qr/cannot run inside a transaction block/ ] } $drop, $force, $copy, $move),
	(map { [ "DO \$\$ BEGIN EXECUTE '$_'; END \$\$", qr/cannot be executed from a function/ ] } $drop, $force, $copy, $move),
	[ $drop, qr/cannot drop the currently open database/, 'drop1' ],
	[ $force, qr/cannot drop the currently open database/, 'drop1' ],
	[ $rename, qr/current database cannot be renamed/, 'drop1' ],
	[ $move, qr/cannot change the tablespace of the currently open database/, 'drop1' ])
{
	my ($command, $pattern, $database) = @$case;
	my $what = ($database ? 'from within, ' : '') . $command;
	my ($errors, $is);

	$node->psql(
		$database // 'postgres',
		"$command; ROLLBACK; RESET ROLE; SELECT pid FROM pg_stat_activity WHERE datname = 'drop1' AND backend_type = 'whatsapp sender'",
		on_error_stop => 0, stderr => \$errors, stdout => \$is);
	like($errors, qr/ERROR: .*$pattern/, "$what: it fails");
	is($is, $sender, "$what: the sender is the same");
}
goes_on('drop1', $hangs, 'refused');

# -- RENAME in transactions ----------------------------------------------------

my $oid = oid('rename1');
my $session;

foreach my $case ([ 'ROLLBACK', 'rename1' ], [ 'COMMIT', 'rename2' ])
{
	my ($end, $name) = @$case;

	$hangs = hang('rename1', "RENAME and $end");
	$session = begin('renames', 'ALTER DATABASE rename1 RENAME TO rename2');
	is_left($oid, "RENAME and $end: in between, there is no sender");
	launcher_has_looked();
	is_left($oid, "RENAME and $end: nor after a while");
	$session->query_safe($end);
	sends($name, "RENAME and $end");
	is_unknown($name, $hangs, "RENAME and $end");
	$session->quit;
}

# Several times, and in part
$session = begin(
	'renames', 'SAVEPOINT one', 'ALTER DATABASE rename2 RENAME TO rename3',
	'ROLLBACK TO one', 'ALTER DATABASE rename2 RENAME TO rename4', 'ALTER DATABASE rename4 RENAME TO rename1');
is_left($oid, 'RENAME, in part: in between, there is no sender');
$session->query_safe('COMMIT');
sends('rename1', 'RENAME, in part');
succeeds(
	'DO $$ BEGIN ALTER DATABASE rename1 RENAME TO rename2; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN END $$',
	'RENAME, caught');
sends('rename1', 'RENAME, caught');

# In two phases
foreach my $case ([ 'ROLLBACK', 'rename1' ], [ 'COMMIT', 'rename2' ])
{
	my ($end, $name) = @$case;

	$session->query_safe("BEGIN; ALTER DATABASE rename1 RENAME TO rename2; PREPARE TRANSACTION 'one'; $end PREPARED 'one'");
	sends($name, "RENAME and $end PREPARED");
}
$session->quit;

# -- Two at once ---------------------------------------------------------------

# One waits for the other, and then does or does not find what it wants
foreach my $case (
	[ 'ALTER DATABASE rename2 RENAME TO rename1', 'COMMIT', 'DROP DATABASE rename2', qr/does not exist/ ],
	[ 'ALTER DATABASE rename1 RENAME TO rename2', 'ROLLBACK', 'ALTER DATABASE rename1 SET TABLESPACE elsewhere', qr/^$/ ])
{
	my ($first, $end, $second, $pattern) = @$case;
	my $what = "$end, $second";

	$session = begin('renames', $first);
	my $other = start('waits', $second);
	comes_to_be("SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'waits'", 'Lock', "$what: it waits");
	is_left($oid, "$what: there is no sender");
	$session->query_safe($end);
	like(finish($other), $pattern, "$what: it goes on");
	sends('rename1', $what);
	$session->quit;
}

$hangs = hang('copy1', 'copied twice');
@sessions = map { start("copies$_", "CREATE DATABASE copied$_ TEMPLATE copy1") } 1 .. 2;
is(finish($_), '', "copied twice: $_->{name} succeeds") foreach @sessions;
sends('copy1', 'copied twice');
is_unknown('copy1', $hangs, 'copied twice');
ok(has_sender("copied$_"), "copied twice: copied$_ has a sender") foreach 1 .. 2;

@sessions = map { start("drops$_", 'DROP DATABASE copied1') } 1 .. 2;
my @errors = grep { $_ } map { finish($_) } @sessions;
is(scalar(@errors), 1, 'dropped twice: one succeeds');
like($errors[0], qr/does not exist/, 'dropped twice: the other comes too late');
succeeds('DROP DATABASE copied2', 'copied twice, dropped');

# -- The session is gone -------------------------------------------------------

$session = begin('renames', 'ALTER DATABASE rename1 RENAME TO rename2');
is_left($oid, 'terminated: before, there is no sender');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'renames'");
sends('rename1', 'terminated');
eval { $session->quit };

# Killed, all others end
$hangs = hang('drop1', 'killed');
$session = begin('renames', 'ALTER DATABASE rename1 RENAME TO rename2');
my $launcher = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'whatsapp launcher' AND pid";
my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'whatsapp launcher'");
kill('KILL', sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'renames'"));
ok(wait_until('all is back', sub { (eval { sql("$launcher <> $pid") } // 0) eq '1' }), 'killed: the launcher is back');
sends('rename1', 'killed');
sends('drop1', 'killed');
is_unknown('drop1', $hangs, 'killed');
eval { $session->quit };

# -- Databases that are not for us, for a while --------------------------------

$oid = oid('move1');
$hangs = hang('move1', 'closed');
sql('ALTER DATABASE move1 ALLOW_CONNECTIONS false');
comes_to_be(workers_in($oid), 0, 'closed: the sender leaves');
launcher_has_looked();
is_left($oid, 'closed: and stays away');
sql('ALTER DATABASE move1 ALLOW_CONNECTIONS true');
sends('move1', 'opened');
is_unknown('move1', $hangs, 'opened');

$hangs = hang('move1', 'a template');
sql('ALTER DATABASE move1 IS_TEMPLATE true');
comes_to_be(workers_in($oid), 0, 'a template: the sender leaves');
sql(queueing('in a template'), 'move1');
launcher_has_looked();
is_left($oid, 'a template: and stays away, whatever is queued');
is(sql(STATUS, 'move1'), 'no sender: the database is a template', 'a template: sender_status says why');
fails('DROP DATABASE move1', qr/cannot drop a template database/, 'a template, dropped');
succeeds('SET ROLE maker; CREATE DATABASE copy TEMPLATE move1; DROP DATABASE copy', 'a template, copied by others');
sql('ALTER DATABASE move1 IS_TEMPLATE false');
comes_to_be(state_of('in a template'), 'sent', 'no template any more: what was queued is sent', 'move1');
is_unknown('move1', $hangs, 'no template any more');

# -- CREATE and DROP EXTENSION -------------------------------------------------

sql('CREATE DATABASE bare');
$oid = oid('bare');
sql(<<'SQL', 'bare');
BEGIN; CREATE EXTENSION whatsapp; ROLLBACK;
BEGIN; SAVEPOINT one; CREATE EXTENSION whatsapp; ROLLBACK TO one; COMMIT;
SQL
launcher_has_looked();
is_left($oid, 'CREATE EXTENSION, rolled back: there is no sender');
succeeds('DROP DATABASE bare', 'CREATE EXTENSION, rolled back, dropped');

$sender = sender_pid($node, 'move1');
$hangs = hang('move1', 'DROP EXTENSION, rolled back', 'hold');
sql(<<'SQL', 'move1');
BEGIN; DROP EXTENSION whatsapp; ROLLBACK;
BEGIN; SAVEPOINT one; DROP EXTENSION whatsapp; ROLLBACK TO one; COMMIT;
SQL
sends('move1', 'DROP EXTENSION, rolled back');
goes_on('move1', $hangs, 'DROP EXTENSION, rolled back');
is(sender_pid($node, 'move1'), $sender, 'DROP EXTENSION, rolled back: the sender is the same');

$hangs = hang('copy1', 'DROP EXTENSION');
succeeds('DROP EXTENSION whatsapp', 'DROP EXTENSION', 'copy1');
succeeds('DROP DATABASE copy1', 'DROP EXTENSION and DATABASE');

# -- ALTER EXTENSION UPDATE ----------------------------------------------------

my ($current) = slurp_file('whatsapp.control') =~ /^default_version *= *'(.*)'$/m;

sub make_script
{
	my ($name, $statement) = @_;
	my $path = "$folder/whatsapp--$name.sql";

	die "$path is there already" if -e $path;
	push @made, $path;
	append_to_file($path, "$statement;\nSELECT whatsapp.finish_update();\n");
	return;
}

sub protocol
{
	my ($protocol) = @_;

	return "CREATE OR REPLACE FUNCTION whatsapp.sender_protocol() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN $protocol";
}

# Versions that are made up: "strange" is that of the other library
make_script("$current--later", 'CREATE FUNCTION whatsapp.mood() RETURNS text LANGUAGE sql RETURN NULL::text');
make_script("$current--strange", protocol(2));
make_script("$_--strange", protocol(2)) foreach 'later', 'latest';
make_script('strange--latest', protocol(1));

# The other library is there before all of that, but the server knows nothing of
# it before it is restarted
$build->finish;
BAIL_OUT("make: $compiler_says") if !-e "$tree/whatsapp.so";
link($library, "$library.old") or die $!;
copy("$tree/whatsapp.so", "$library.new") or die $!;
chmod(0755, "$library.new");
rename("$library.new", $library) or die $!;

# Rolled back
$hangs = hang('move1', 'UPDATE, rolled back', 'hold');
$session = $node->background_psql('move1');
$session->query_safe("BEGIN; ALTER EXTENSION whatsapp UPDATE TO 'strange'");
sender_has_looked('move1');
$session->query_safe('ROLLBACK');
$session->quit;
sender_has_looked('move1');
goes_on('move1', $hangs, 'UPDATE, rolled back');
sends('move1', 'UPDATE, rolled back');
is(sender_pid($node, 'move1'), $sender, 'UPDATE, rolled back: the sender is the same');

# Committed, while something is under way
$hangs = hang('move1', 'UPDATE', 'hold');
sql("BEGIN; ALTER EXTENSION whatsapp UPDATE TO 'later'; @{[queueing('later')]}; COMMIT", 'move1');
sender_has_looked('move1');
is(sender_pid($node, 'move1'), $sender, 'UPDATE: the sender waits for what is under way');
is(sql(state_of('later'), 'move1'), 'queued', 'UPDATE: and begins nothing new');
goes_on('move1', $hangs, 'UPDATE');
comes_to_be(state_of('later'), 'sent', 'UPDATE: then what was queued with it is sent', 'move1');
isnt(sender_pid($node, 'move1'), $sender, 'UPDATE: by another sender');
sends('move1', 'UPDATE');

# Committed, and the sender would have to be another: it begins nothing, not even
# what was queued with it
use constant OUTDATED => qr/WARNING: .*nothing is sent: version/;

sub update_to_strange
{
	my ($database, $what) = @_;
	my $before = sender_pid($node, $database);
	my $warnings = logged(OUTDATED);

	sends($database, $what);
	sql("DELETE FROM whatsapp.outbox WHERE body = 'strange'; BEGIN; ALTER EXTENSION whatsapp UPDATE TO 'strange'; @{[queueing('strange')]}; COMMIT",
		$database);
	is_outdated($database, $what);
	is(sql(state_of('strange'), $database), 'queued', "$what: not even what was queued with it is sent");
	isnt(sender_pid($node, $database), $before, "$what: it is another sender");
	return is(logged(OUTDATED), $warnings + 1, "$what: which has said so once");
}

# Test that nothing is sent, for good, and without anything being restarted.
sub is_outdated
{
	my ($database, $what) = @_;
	my $body = 'message ' . ++$messages;

	comes_to_be('SELECT state FROM whatsapp.sender_status', 'outdated', "$what: the sender is outdated", $database);
	like(sql(STATUS, $database), qr/: the server has another version of the library/, "$what: sender_status says what is missing");
	my $is = sender_pid($node, $database);
	my $warnings = logged(OUTDATED);

	sql(queueing($body), $database);
	sender_has_looked($database);
	is(sql(state_of($body), $database), 'queued', "$what: nothing is sent");
	is(sender_pid($node, $database), $is, "$what: the sender stays");
	return is(logged(OUTDATED), $warnings, "$what: and says no more");
}

# Test that nothing that answers is left.
sub all_is_sent
{
	my ($database, $what) = @_;

	comes_to_be("SELECT string_agg(DISTINCT state, ',') FROM whatsapp.outbox WHERE recipient = '15550000001'", 'sent',
		"$what: what was queued is sent", $database);
	return sends($database, $what);
}

update_to_strange('move1', 'UPDATE to what the library does not know');
sql("ALTER EXTENSION whatsapp UPDATE TO 'latest'", 'move1');
all_is_sent('move1', 'UPDATE to what it knows');

# With the other library, it is those who have not been updated that are outdated
update_to_strange('move1', 'UPDATE before a restart');
$node->restart;
all_is_sent('move1', 'restarted after an UPDATE');
is_outdated('drop1', 'restarted before an UPDATE');
sql("ALTER EXTENSION whatsapp UPDATE TO 'strange'", 'drop1');
all_is_sent('drop1', 'UPDATE after a restart');

# -- In the end ----------------------------------------------------------------

# Processes of ours, also those that are in no database
sub processes
{
	my ($postmaster) = split(/\n/, slurp_file($node->data_dir . '/postmaster.pid'));
	my @found;

	foreach my $process (glob('/proc/[0-9]*'))
	{
		my $stat = eval { slurp_file("$process/stat") } // '';
		my $title = eval { slurp_file("$process/cmdline") } // '';

		push @found, $title if $stat =~ /\) \S (\d+)/ && $1 == $postmaster && $title =~ /whatsapp (sender|probe)/;
	}
	return @found;
}

my @databases = split(/\n/, sql('SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname'));
my $with = join(' ', grep { sql("SELECT count(*) FROM pg_extension WHERE extname = 'whatsapp'", $_) eq '1' } @databases);

is("@databases", 'drop1 move1 postgres rename1 source', 'in the end, these databases are left');
is($with, 'drop1 move1 rename1 source', 'and these have the extension');
comes_to_be(
	"SELECT string_agg(coalesce(datname, 'none'), ' ' ORDER BY datname) FROM pg_stat_activity WHERE backend_type LIKE 'whatsapp %' AND backend_type <> 'whatsapp launcher'",
	$with, 'each of these has a sender, and no other has');
is(scalar(processes()), 4, 'and there are no more processes than that');
is(sql('SELECT failures FROM whatsapp.sender_health()', $_), 0, "$_: none has failed") foreach split(/ /, $with);

my %lost;
$lost{$_}++ foreach slurp_file($node->logfile) =~ /whatsapp \w+ FATAL:  (database .*)/g;
is(join("\n", grep { $lost{$_} > 1 } sort keys %lost), '', 'no worker is started again and again');
is(logged(qr/PANIC|TRAP|deadlock detected|could not start/), 0, 'nothing has crashed');
is(logged(qr/terminated by signal/), 1, 'but for what was killed');

$node->stop;
done_testing();
