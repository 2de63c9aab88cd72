# Nothing grows with what the background workers live through: ten thousand
# reloads of the configuration, ten thousand wake-ups for nothing, and ten
# thousand errors leave them with as much memory and as many descriptors as a
# few hundred do.
#
# What memory contexts hold is said by the workers themselves, in the log; what
# libcurl and others have, by the kernel.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant TIMES => $ENV{WHATSAPP_TIMES} // 10000;

my $graph = start_graph();
my $node = new_cluster('leaks', $graph, 'fsync = off', "whatsapp.poll_interval = '1s'", 'autovacuum = off',
	# so that there are as many transfers at a time with a few messages as with many
	'whatsapp.max_in_flight = 50');

add_number($node);
my $sender = wait_for_sender($node);
my $launcher = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'whatsapp launcher'");

# Reload the configuration and wake the sender, until it says that it has noticed
# both so often.  It need not notice each time, if these follow upon each other
# too fast.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION noticed(label text) RETURNS bigint
LANGUAGE sql
RETURN (SELECT c.value FROM whatsapp.counters() c WHERE c.counter = 'sender' AND c.label = noticed.label);

CREATE PROCEDURE disturb(times bigint)
LANGUAGE plpgsql
AS $$
DECLARE
	reloads bigint;
	wakes bigint;
BEGIN
	FOR i IN 1 .. times LOOP
		reloads := noticed('reloads');
		wakes := noticed('wakes');
		PERFORM pg_reload_conf(), whatsapp.wake_sender();
		COMMIT;
		WHILE noticed('reloads') = reloads OR noticed('wakes') = wakes LOOP
		END LOOP;
	END LOOP;
END $$;

-- Every second row cannot be recorded, once
CREATE SEQUENCE objections;
CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.state = 'sent' AND OLD.state = 'sending' AND nextval('public.objections') % 2 = 0 THEN
		RAISE EXCEPTION 'not now';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER object BEFORE UPDATE ON whatsapp.outbox FOR EACH ROW EXECUTE FUNCTION object();
SQL

# Messages that meet all kinds of errors
sub meet_errors
{
	my ($times) = @_;

	foreach my $error ({}, { error => { code => 131026 } }, { close => JSON::PP::true }, { reset => JSON::PP::true }, { half => JSON::PP::true })
	{
		graph_post($graph, '/_script', { recipient => '*', %$error });
		$node->safe_psql('postgres',
			"INSERT INTO whatsapp.outbox (recipient, body) SELECT '1555' || 1000000 + g, 'x' FROM generate_series(1, $times / 5) g");
		wait_until('all have met theirs', sub {
				$node->safe_psql('postgres', "SELECT count(*) FROM whatsapp.outbox WHERE state IN ('queued', 'sending')") == 0;
			});
	}
	return is($node->safe_psql('postgres', "SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM whatsapp.outbox GROUP BY 1) s"),
		sprintf('failed %d, sent %d, unknown %d', $times / 5, $times / 5, $times * 3 / 5), "$times messages");
}

sub live_through
{
	my ($times) = @_;

	# plans are made anew after that, and all there are in the end
	$node->safe_psql('postgres', 'TRUNCATE whatsapp.outbox, whatsapp.attempts, whatsapp.messages');
	$node->safe_psql('postgres', "CALL disturb($times)", timeout => 600);
	return meet_errors($times);
}

# What a process has: bytes in memory contexts, KB of its own, descriptors
sub holdings
{
	my ($pid) = @_;
	my $offset = -s $node->logfile;
	my $log;

	$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($pid)");
	wait_until('it says so', sub {
			$log = slurp_file($node->logfile, $offset);
			return $log =~ /\[$pid\].*Grand total: /;
		});
	$log =~ /\[$pid\].*Grand total: \d+ bytes in \d+ blocks; \d+ free \(\d+ chunks\); (\d+) used/ or die $log;
	my $used = $1;
	slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m or die 'no RssAnon';
	my $own = $1;

	return ($used, $own, scalar(glob_files("/proc/$pid/fd")));
}

sub glob_files
{
	my ($dir) = @_;

	opendir(my $handle, $dir) or die "$dir: $!";
	return scalar(grep { !/^\./ } readdir($handle));
}

live_through(int(TIMES / 20)) foreach 1 .. 2;
my @sender_before = holdings($sender);
my @launcher_before = holdings($launcher);
live_through(TIMES);
my @sender_after = holdings($sender);
my @launcher_after = holdings($launcher);

is(sender_pid($node), $sender, 'the sender is the same all the time');
note("sender: @sender_before, then @sender_after; launcher: @launcher_before, then @launcher_after");

# Catalog caches come and go, so that a few kilobytes mean nothing.  A leak of
# ten bytes each time would be ten times as much.
cmp_ok($sender_after[0] - $sender_before[0], '<', 10 * TIMES, 'the sender\'s memory contexts are as large');
cmp_ok($sender_after[1] - $sender_before[1], '<', 2 * 1024, 'and so is all of its memory');
cmp_ok($sender_after[2] - $sender_before[2], '<=', 8, 'and it has as many descriptors');
cmp_ok($launcher_after[0] - $launcher_before[0], '<', 10 * TIMES, 'the launcher\'s memory contexts are as large');
cmp_ok($launcher_after[1] - $launcher_before[1], '<', 1024, 'and so is all of its memory');
is($launcher_after[2], $launcher_before[2], 'and it has as many descriptors');
foreach my $label (qw(turns wakes reloads))
{
	cmp_ok($node->safe_psql('postgres', "SELECT value FROM whatsapp.statistics WHERE counter = 'sender' AND label = '$label'"),
		'>=', TIMES, "there were as many $label");
}
cmp_ok($node->safe_psql('postgres', "SELECT value FROM whatsapp.statistics WHERE counter = 'sender' AND label = 'errors'"),
	'>', TIMES / 20, 'and errors');
$node->stop;
done_testing();
