# The background worker prunes what has been kept for long enough, a little at a
# time, and sends as if it did not.  What is pruned, and what is not, is tested
# by sql/prune.sql.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $graph = start_graph();
my $node = new_cluster('retention', $graph, "whatsapp.poll_interval = '100ms'", 'restart_after_crash = on');

sub messages
{
	my ($where) = @_;

	return $node->safe_psql('postgres', "SELECT count(*) FROM whatsapp.messages WHERE direction = 'inbound' AND " . ($where // 'true'));
}

# Messages that came 10 days ago
sub fill
{
	my ($n, $prefix) = @_;

	$node->safe_psql('postgres',
		"INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, received_at)
		 SELECT '" . NUMBER . "', '$prefix' || g, 'inbound', 'text', now() - interval '10 days' + g * interval '1 ms' FROM generate_series(1, $n) g");
	return;
}

# Change the setting, which has the worker begin at once
sub keep_for
{
	my ($time) = @_;

	set_conf($node, "whatsapp.retention_messages = '$time'");
	return;
}

sub count_lines
{
	my ($pattern) = @_;

	return scalar(() = slurp_file($node->logfile) =~ /$pattern/g);
}

add_number($node);
my $sender = wait_for_sender($node);

# The extension's settings as they come: for ever
fill(3000, 'a');
$node->reload;
my $turns = "SELECT value FROM whatsapp.statistics WHERE counter = 'sender' AND label = 'turns'";
my $before = $node->safe_psql('postgres', $turns);
ok(wait_until('it has gone round', sub { $node->safe_psql('postgres', $turns) > $before + 10 }), 'time passes');
is(messages(), 3000, 'without a setting nothing goes');
keep_for('11d');
$before = $node->safe_psql('postgres', $turns);
ok(wait_until('it has gone round', sub { $node->safe_psql('postgres', $turns) > $before + 10 }), 'time passes');
is(messages(), 3000, 'nor what is not old enough');

# Some rows are somebody's, one is being changed, the others go
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE note (phone_number_id text, message_id text, FOREIGN KEY (phone_number_id, message_id) REFERENCES whatsapp.messages);
CREATE INDEX ON note (phone_number_id, message_id);
INSERT INTO note SELECT phone_number_id, message_id FROM whatsapp.messages WHERE message_id IN ('a1', 'a1500', 'a3000');
SQL
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; UPDATE whatsapp.messages SET body = 'x' WHERE message_id = 'a2000'");
keep_for('9d');
ok(wait_until('all others are gone', sub { messages() == 4 }), 'what is old goes');
is($node->safe_psql('postgres', "SELECT string_agg(message_id, ' ' ORDER BY received_at) FROM whatsapp.messages"),
	'a1 a1500 a2000 a3000', 'but for what a foreign key keeps, or somebody has locked');
# (what is kept is known, and counted, when all of the table has been seen)
my $counted = '';
ok( wait_until('it is counted', sub {
			$counted = $node->safe_psql('postgres', "SELECT string_agg(counter || ' ' || value, ', ' ORDER BY counter DESC) FROM whatsapp.statistics WHERE label = 'messages' AND value > 0");
			$counted eq 'pruned 2996, kept 3';
		}),
	'which is counted')
  or diag($counted);
ok( wait_until('the log says so', sub { count_lines('3 rows were to be pruned') == 1 }),
	'and logged, once');
is(sender_pid($node), $sender, 'the sender goes on');
$session->query_safe('COMMIT');
$node->reload;
ok(wait_until('it is gone', sub { messages() == 3 }), 'what was locked goes the next time');

# A table that is locked as a whole keeps nothing from being sent
fill(1000, 'b');
$session->query_safe('BEGIN; LOCK TABLE whatsapp.media IN ACCESS EXCLUSIVE MODE');
$node->reload;
ok(wait_until('it is at the lock', sub { messages("message_id LIKE 'b%'") == 0 }), 'another table is locked');
$node->safe_psql('postgres', "INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'locked')");
wait_for_state($node, "body = 'locked'", 'sent', 'messages are sent all the same');
$session->query_safe('ROLLBACK');

# Messages are sent in between, however much there is to be pruned.  Each row
# takes a while to go.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM sum(g) FROM generate_series(1, 20000) g;
	RETURN OLD;
END $$;
CREATE TRIGGER take_long BEFORE DELETE ON whatsapp.messages FOR EACH ROW EXECUTE FUNCTION take_long();
SQL
fill(30000, 'c');
$node->reload;
ok(wait_until('it has begun', sub { messages("message_id LIKE 'c%'") < 30000 }), 'there is a lot to be pruned');
foreach my $round (1 .. 5)
{
	$node->safe_psql('postgres',
		"INSERT INTO whatsapp.outbox (recipient, body) SELECT '1555100' || 1000 + g, 'round $round' FROM generate_series(1, 100) g");
	wait_for_state($node, "body = 'round $round'", 'sent', 'meanwhile messages are sent');
}
cmp_ok(messages("message_id LIKE 'c%'"), '>', 0, 'and not after it');

# A sender that dies in the middle of it
$node->safe_psql('postgres', 'DROP TRIGGER take_long ON whatsapp.messages');
$sender = sender_pid($node);
kill('KILL', $sender);
ok( wait_until('there is another', sub { (eval { wait_for_sender($node, 'postgres', $sender) } // '') ne '' }),
	'there is another sender after a crash');
ok(wait_until('all is gone', sub { (eval { messages() } // '') eq '3' }), 'which goes on');
is($node->safe_psql('postgres', "SELECT state, count(*) FROM whatsapp.outbox GROUP BY 1"),
	'sent|501', 'and nothing that is new has gone');

# Nothing is sent, but what is old goes
set_conf($node, 'whatsapp.enabled = off');
$node->safe_psql('postgres', "UPDATE whatsapp.outbox SET finished_at = now() - interval '31 days' WHERE body = 'locked'");
fill(100, 'd');
$node->reload;
ok( wait_until('all is gone', sub {
			$node->safe_psql('postgres', "SELECT (SELECT count(*) FROM whatsapp.messages WHERE message_id LIKE 'd%'), (SELECT count(*) FROM whatsapp.outbox WHERE body = 'locked')") eq '0|0';
		}),
	'switched off, it prunes all the same');
is($node->safe_psql('postgres', 'SELECT count(*) FROM whatsapp.outbox'), 500, 'also the outbox, by what it has been set to');

# By hand, while the worker does it
set_conf($node, 'whatsapp.enabled = on');
fill(20000, 'e');
$node->reload;
my $pruned = $node->safe_psql('postgres', "SELECT pruned FROM whatsapp.prune('messages', '9 days') WHERE table_name = 'messages'");
ok(wait_until('all is gone', sub { messages() == 3 }), 'by hand and by the worker at once');
cmp_ok($pruned, '<=', 20000, 'no row goes twice');
is(count_lines('(?:PANIC|deadlock)'), 0, 'and nobody stands in the other\'s way');
$session->quit;
$node->stop;
done_testing();
