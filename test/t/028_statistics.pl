# What happens is counted: once it is committed, and for as long as the server
# lives.  And whoever listens is told of it.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $graph = start_graph();
my $node = new_cluster('statistics', $graph, "whatsapp.poll_interval = '100ms'", 'max_prepared_transactions = 5',
	'restart_after_crash = on');

# All counters that are not zero, but for those that count the sender's turns
sub counters
{
	my ($database) = @_;

	return $node->safe_psql($database // 'postgres',
		"SELECT coalesce(string_agg(counter || ' ' || label || ' ' || value, ', ' ORDER BY counter, label), '') FROM whatsapp.statistics WHERE value > 0 AND counter NOT IN ('sender', 'bytes')");
}

sub webhook
{
	my ($element) = @_;

	return '{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {"metadata": {"phone_number_id": "'
	  . NUMBER . '"}, ' . $element . '}}]}]}';
}

# Twice the same when told twice: a message of another second would be another telling of it
my $now = time();

sub message
{
	my ($id, $type, $time) = @_;

	return sprintf('{"from": "15551230001", "id": "%s", "timestamp": "%d", "type": "%s", "%s": {}}', $id, $time // $now, $type, $type);
}

sub ingest
{
	my ($webhook, $before, $after) = @_;

	$node->safe_psql('postgres', ($before // '') . "SELECT whatsapp.ingest_unsigned('$webhook');" . ($after // ''));
	return;
}

sub reset_counters
{
	$node->safe_psql('postgres', 'SELECT whatsapp.reset_statistics()');
	return;
}

add_number($node);
wait_for_sender($node);
is($node->safe_psql('postgres', 'SELECT DISTINCT since_what FROM whatsapp.statistics'), 'start', 'at first it counts since the start of the server');
is(counters(), '', 'of nothing');

# -- What comes in -------------------------------------------------------------

ingest(webhook('"messages": [' . join(', ', message('1', 'text'), message('2', 'image'), message('3', 'text'), message('4', 'hologram')) . ']'));
is(counters(), 'messages image 1, messages other 1, messages text 2, webhooks filed 1', 'messages by type');
ingest(webhook('"messages": [' . join(', ', message('1', 'text'), message('2', 'image'), message('5', 'video')) . ']'));
is( counters(), 'duplicates all 2, messages image 1, messages other 1, messages text 2, messages video 1, webhooks filed 2',
	'of a webhook with some that are there already, only those that are new');
reset_counters();
is(counters(), '', 'begun anew');
is($node->safe_psql('postgres', "SELECT DISTINCT since_what, since > now() - interval '1 minute' FROM whatsapp.statistics"), 'reset|t', 'which it says');
ingest(webhook('"statuses": [{"id": "w1", "status": "delivered", "timestamp": "' . time() . '", "recipient_id": "15551230001"}, {"id": "w2", "status": "lost", "timestamp": "1"}]'));
is(counters(), 'statuses delivered 1, statuses other 1, webhooks filed 1', 'statuses by status');

reset_counters();
ingest(webhook('"messages": [' . message('10', 'text') . ']'), 'BEGIN; ', 'ROLLBACK');
is(counters(), '', 'what is rolled back is not counted');
ingest(webhook('"messages": [' . message('10', 'text') . ']'), 'BEGIN; SAVEPOINT a; SAVEPOINT b; ', 'RELEASE b; ROLLBACK TO a; COMMIT');
is(counters(), '', 'nor by a savepoint');
ingest(webhook('"messages": [' . message('10', 'text') . ']'), 'BEGIN; SAVEPOINT a; ',
	"RELEASE a; SAVEPOINT b; SELECT whatsapp.ingest_unsigned('" . webhook('"messages": [' . message('11', 'image') . ']') . "'); ROLLBACK TO b; COMMIT");
is(counters(), 'messages text 1, webhooks filed 1', 'of several savepoints, those that were not rolled back');
ingest(webhook('"messages": [' . message('12', 'text') . ']'), 'BEGIN; ', "PREPARE TRANSACTION 'p'");
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
is(counters(), 'messages text 2, webhooks filed 2', 'what is prepared is counted then');

reset_counters();
$node->safe_psql('postgres', "ALTER TABLE whatsapp.messages ADD CHECK (message_id <> '21')");
ingest(webhook('"messages": [' . message('20', 'text') . ', ' . message('21', 'text') . ']'));
is(counters(), 'messages text 1, parked all 1, webhooks filed 1', 'what is parked, and what is not, of one webhook');

reset_counters();
my $body = '{"object": ';
$node->safe_psql('postgres', "SELECT whatsapp.ingest('$body', whatsapp.sign('$body', '" . SECRET . "'))");
is( $node->psql('postgres', "SELECT whatsapp.ingest('{}', 'sha256=00')"), 3, 'a wrong signature is an error');
$node->safe_psql('postgres', "SELECT whatsapp.handle_webhook('POST', NULL, 'sha256=00', '{}')");
is(counters(), 'webhooks refused 2, webhooks unreadable 1', 'which is counted, though it is rolled back');
is($node->safe_psql('postgres', "SELECT value FROM whatsapp.statistics WHERE counter = 'bytes' AND label = 'webhooks'"),
	length($body), 'bytes of webhooks that were Meta\'s');

# -- What goes out -------------------------------------------------------------

reset_counters();
graph_post($graph, '/_script', { recipient => '15550000002', error => { code => 131026 } });
graph_post($graph, '/_script', { recipient => '15550000003', error => { code => 2, http_status => 503 }, times => 1 });
graph_post($graph, '/_script', { recipient => '15550000004', close => JSON::PP::true });
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) SELECT '1555000000' || g, 'x' FROM generate_series(1, 4) g");
wait_for_state($node, "recipient = '15550000001'", 'sent', 'one is sent');
wait_for_state($node, "recipient = '15550000002'", 'failed', 'one is refused');
wait_for_state($node, "recipient = '15550000003' AND attempts = 2", 'sent', 'one is sent the second time');
wait_for_state($node, "recipient = '15550000004'", 'unknown', 'and one is cut off');
is( counters(),
	'attempts answered 4, attempts unknown 1, refusals permanent 1, refusals retry 1, retries all 1, sends failed 1, sends queued 1, sends sent 2, sends unknown 1',
	'sends by outcome and class');
cmp_ok($node->safe_psql('postgres', "SELECT min(value) FROM whatsapp.statistics WHERE counter = 'bytes' AND label IN ('sent', 'received')"),
	'>', 100, 'and bytes');

# -- How long it takes ---------------------------------------------------------

reset_counters();
graph_post($graph, '/_script', { recipient => '15550000005', delay_ms => 1000 });
$node->safe_psql('postgres',
	"BEGIN; INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000005', 'slow'); DO \$\$BEGIN WHILE clock_timestamp() < now() + interval '2 s' LOOP END LOOP; END\$\$; COMMIT");
wait_for_state($node, "body = 'slow'", 'sent', 'a message is answered after a second, and took two to be committed');
is($node->safe_psql('postgres', "SELECT samples, p50 BETWEEN 1000 AND 10000, mean BETWEEN 1000 AND 10000, max >= p99 AND p99 >= p90 AND p90 >= p50 FROM whatsapp.latencies WHERE latency = 'wire_to_answer'"),
	'1|t|t|t', 'from the wire to the answer');
is($node->safe_psql('postgres', "SELECT samples, max < 1900 FROM whatsapp.latencies WHERE latency = 'commit_to_wire'"),
	'1|t', 'from the commit to the wire: that the transaction took long is not counted');
ingest(webhook('"messages": [' . message('30', 'text', time() - 3600) . ', ' . message('31', 'text', time() - 40 * 86400) . ']'));
is($node->safe_psql('postgres', "SELECT samples, p50 / 3600 / 1000 BETWEEN 1 AND 1.25 FROM whatsapp.latencies WHERE latency = 'webhook_to_filed'"),
	'1|t', 'from Meta\'s time until it is filed, but for what is older than any delivery');

# -- Who may see it ------------------------------------------------------------

$node->safe_psql('postgres',
	"CREATE ROLE tenant LOGIN; CREATE ROLE everybody LOGIN; SELECT whatsapp.grant_access('tenant', 'reader', ARRAY['" . NUMBER . "']), whatsapp.grant_access('everybody', 'reader')");
my $seen = 'SELECT (SELECT count(*) > 0 FROM whatsapp.statistics), (SELECT count(*) > 0 FROM whatsapp.latencies), (SELECT count(*) > 0 FROM whatsapp.counters()), (SELECT count(*) > 0 FROM whatsapp.latency_ranges())';
is($node->safe_psql('postgres', "SET ROLE tenant; $seen"), 'f|f|f|f', 'a role of some numbers sees none of it');
is($node->safe_psql('postgres', "SET ROLE everybody; $seen"), 't|t|t|t', 'a role of all numbers does');
isnt($node->psql('postgres', "SET ROLE everybody; SELECT whatsapp.reset_statistics()"), 0, 'but may not have it begin anew');

# -- Databases, and crashes ----------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE other');
add_number($node, 'other');
is(counters('other'), '', 'another database has its own');
$node->safe_psql('other', "SELECT whatsapp.ingest_unsigned('" . webhook('"messages": [' . message('1', 'text') . ']') . "')");
is(counters('other'), 'messages text 1, webhooks filed 1', 'and counts there');
$node->safe_psql('postgres', 'DROP DATABASE other');
$node->safe_psql('postgres', 'CREATE DATABASE other');
add_number($node, 'other');
is(counters('other'), '', 'one of the same name that is made anew has nothing of it');

my $sender = wait_for_sender($node);
kill('KILL', $sender);
ok( wait_until('it is back', sub { (eval { $node->safe_psql('postgres', 'SELECT DISTINCT since_what FROM whatsapp.statistics') } // '') eq 'crash' }),
	'after a crash it says that it begins anew because of that');
is(counters(), '', 'which it does');
$node->restart;
is($node->safe_psql('postgres', 'SELECT DISTINCT since_what FROM whatsapp.statistics'), 'start', 'and after a restart because of that');

# -- Whoever listens -----------------------------------------------------------

my $listener = $node->background_psql('postgres');

sub notices
{
	return join("\n", map { /Asynchronous notification "whatsapp" with payload "(.*)" received/ ? $1 : () } split(/\n/, $listener->query('SELECT 1')));
}

$listener->query_safe('LISTEN whatsapp');
ingest(webhook('"messages": [' . message('40', 'text') . ']'));
is(notices(), '', 'nobody is notified as long as whatsapp.notify is off');
set_conf($node, 'whatsapp.notify = on');
ingest(webhook('"messages": [' . message('41', 'text') . ', ' . message('42', 'image') . ']'));
ingest(webhook('"messages": [' . message('41', 'text') . ']'));
ingest(webhook('"messages": [' . message('43', 'text') . ']'), 'BEGIN; ', 'ROLLBACK');
ingest(webhook('"statuses": [{"id": "w3", "status": "read", "timestamp": "1", "recipient_id": "15551230001"}]'));
my $number = NUMBER;
is(notices(), <<"NOTICES" =~ s/\n\z//r, 'then it is, of what is new and committed, by its key');
{"event": "message", "phone_number_id": "$number", "message_id": "41"}
{"event": "message", "phone_number_id": "$number", "message_id": "42"}
{"event": "status", "phone_number_id": "$number", "message_id": "w3", "status": "read"}
NOTICES
ingest(webhook('"messages": [' . message('z' x 9000, 'text') . ']'));
is(notices(), '{"event": "message"}', 'a key that is too long is left out');
ingest(webhook('"messages": [' . message("x\\\"y", 'text') . ']'));
is(notices(), "{\"event\": \"message\", \"phone_number_id\": \"$number\", \"message_id\": \"x\\\"y\"}", 'and what is in it is escaped');
$listener->quit;
$node->stop;
done_testing();
