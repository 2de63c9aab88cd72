# Each database with the extension has a sender, and no other has.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

my $graph = start_graph();
my $node = new_cluster('launcher', $graph, 'max_worker_processes = 6');

sub senders
{
	return $node->safe_psql('postgres',
		"SELECT string_agg(datname || ' ' || usename, ',' ORDER BY datname) FROM pg_stat_activity WHERE backend_type = 'whatsapp sender'"
	);
}

sub sends
{
	my ($database) = @_;

	$node->safe_psql($database,
		"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'from $database')"
	);
	return ok(
		wait_until(
			"$database has sent",
			sub {
				$node->safe_psql($database,
					"SELECT bool_and(state = 'sent') FROM whatsapp.outbox") eq
				  't';
			}),
		"$database sends");
}

is(senders(), '', 'without the extension there is no sender');

# Created and rolled back, then for good
$node->safe_psql('postgres', 'CREATE DATABASE one; CREATE DATABASE two');
$node->safe_psql('one', 'BEGIN; CREATE EXTENSION whatsapp; ROLLBACK');
add_number($node, 'one');
add_number($node, 'two');
ok(wait_for_sender($node, 'one'), 'one has a sender');
ok(wait_for_sender($node, 'two'), 'two has a sender');
sends('one');
sends('two');

# It runs as the owner of the extension, and that need not be a superuser
$node->safe_psql('postgres',
	'CREATE ROLE keeper LOGIN SUPERUSER; CREATE DATABASE three');
$node->safe_psql('three', 'SET ROLE keeper; CREATE EXTENSION whatsapp');
$node->safe_psql('postgres', 'ALTER ROLE keeper NOSUPERUSER');
$node->safe_psql('three',
	"SELECT whatsapp.add_number('"
	  . NUMBER
	  . "', access_token => '"
	  . TOKEN
	  . "')");
my $first = wait_for_sender($node, 'three');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($first)");
ok(wait_for_sender($node, 'three', $first), 'three has a sender');
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
is(senders(), "one $superuser,three keeper,two $superuser",
	'senders run as the owner of the extension');
sends('three');

# A copy of a database that has the extension
$node->safe_psql('postgres',
	"ALTER DATABASE one WITH ALLOW_CONNECTIONS false; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'one'"
);
ok( wait_until(
		'one is left',
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM pg_stat_activity WHERE datname = 'one'")
			  eq '0';
		}),
	'a database that lets nobody in has no sender');
ok( wait_until(
		'it is copied',
		sub {
			$node->psql('postgres', 'CREATE DATABASE four TEMPLATE one') == 0;
		}),
	'it can be copied');
ok(wait_for_sender($node, 'four'), 'its copy has a sender');

# It was copied with its secrets, and what is queued there was queued by another
is( $node->safe_psql('four', 'SELECT state FROM whatsapp.sender_status'),
	'copy', 'but is no installation of its own yet');
is( $node->safe_psql('four',
		'SELECT count(*) FROM whatsapp.open_numbers()'),
	'0',
	'and so sends nothing');
$node->safe_psql('four',
	"SELECT whatsapp.set_access_token('" . NUMBER . "', '" . TOKEN . "')");
sends('four');
$node->safe_psql('postgres',
	'ALTER DATABASE one WITH ALLOW_CONNECTIONS true');
ok(wait_for_sender($node, 'one'), 'let in again, it has a sender again');

# Without the launcher they go on; it comes back, and sees to new ones
my $launcher = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'whatsapp launcher'"
);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher)");
sends('two');
my $two = sender_pid($node, 'two');
ok( wait_until(
		'the launcher is back',
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'whatsapp launcher' AND pid <> $launcher"
			) eq '1';
		}),
	'the launcher is back after pg_terminate_backend');
is(sender_pid($node, 'two'), $two, 'and leaves senders alone');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($two)");
ok(wait_for_sender($node, 'two', $two),
	'and sees to those that it has not started');

# On in the file and for the database: either can switch it off
$two = sender_pid($node, 'two');
$node->safe_psql('postgres',
	'ALTER DATABASE two SET whatsapp.enabled = on');
ok(wait_for_sender($node, 'two', $two), 'another sender begins with the setting');
$node->append_conf('postgresql.conf', 'whatsapp.enabled = off');
$node->reload;
ok( wait_until(
		'the setting is known',
		sub { $node->safe_psql('postgres', 'SHOW whatsapp.enabled') eq 'off' }
	),
	'switched off in the file');
$two = sender_pid($node, 'two');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($two)");
my $off = wait_for_sender($node, 'two', $two);
$node->safe_psql('two',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'off')"
);
ok( wait_until(
		'it has looked',
		sub {
			$node->safe_psql('two',
				"SELECT a.state_change > o.created_at + interval '1.1 s' FROM pg_stat_activity a, whatsapp.outbox o WHERE a.pid = $off AND o.body = 'off'"
			) eq 't';
		}),
	'the sender has had a look since');
is( $node->safe_psql('two',
		"SELECT state FROM whatsapp.outbox WHERE body = 'off'"),
	'queued',
	'but sends nothing, though the setting is on for the database');
$node->append_conf('postgresql.conf', 'whatsapp.enabled = on');
$node->reload;
sends('two');

# A query that is cancelled is none of the sender's
$two = sender_pid($node, 'two');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($two)");
sends('two');
is(sender_pid($node, 'two'), $two, 'a sender does not end by pg_cancel_backend');

# Out of workers: all but sending works, and the log says why
$node->safe_psql('postgres', 'CREATE DATABASE five');
add_number($node, 'five');
$node->safe_psql('five',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'patience')"
);
ok( wait_until(
		'the log says why',
		sub {
			slurp_file($node->logfile) =~
			  /could not start whatsapp \w+ for database \d+: out of background worker slots/;
		}),
	'the log says why a database has no sender');
$node->safe_psql('four', 'DROP EXTENSION whatsapp');
ok(wait_for_sender($node, 'five'), 'it has one when there is room');
ok( wait_until(
		'five has sent',
		sub {
			$node->safe_psql('five', 'SELECT state FROM whatsapp.outbox') eq
			  'sent';
		}),
	'and sends what was queued before');
ok( wait_until('four has none', sub { senders() !~ /four/ }),
	'a database that has dropped the extension has none');

# More databases than there can be workers
$node->safe_psql('postgres', join(';', map { "CREATE DATABASE many$_" } 1 .. 8));
$node->safe_psql('two', 'DROP EXTENSION whatsapp');
add_number($node, 'many8');
ok(wait_for_sender($node, 'many8'),
	'among many databases, the one with the extension has a sender');
sends('many8');

unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|TRAP/,
	'nothing has crashed');
$node->stop;
done_testing();
