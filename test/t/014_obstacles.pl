# A row that cannot be claimed or recorded, and a sender that is asked to end,
# are nobody's trouble but their own.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

my $graph = start_graph();
my $node = new_cluster('obstacles', $graph, "whatsapp.max_in_flight = 4");
add_number($node);
my $sender = wait_for_sender($node);

sub queue
{
	my (@bodies) = @_;

	$node->safe_psql('postgres',
		"INSERT INTO whatsapp.outbox (recipient, body) VALUES "
		  . join(', ', map { "('1555' || abs(hashtext('$_')), '$_')" } @bodies));
	return;
}

sub object_to
{
	my ($condition) = @_;

	$node->safe_psql('postgres', <<"SQL");
CREATE OR REPLACE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	IF $condition THEN
		RAISE EXCEPTION 'not so';
	END IF;
	RETURN NEW;
END \$\$;
CREATE OR REPLACE TRIGGER object BEFORE UPDATE ON whatsapp.outbox FOR EACH ROW EXECUTE FUNCTION object();
SQL
	return;
}

sub state_of
{
	my ($body) = @_;

	return $node->safe_psql('postgres',
		"SELECT state FROM whatsapp.outbox WHERE body = '$body'");
}

# More rows than may be in flight that cannot be claimed
object_to("NEW.body LIKE 'unclaimable%' AND NEW.state = 'sending'");
queue((map { "unclaimable $_" } 1 .. 6), 'behind the unclaimable');
wait_for_state($node, "body = 'behind the unclaimable'", 'sent');
is( $node->safe_psql('postgres',
		"SELECT state, bool_and(retry_at IS NOT NULL), max(error) FROM whatsapp.outbox WHERE body LIKE 'unclaimable%' GROUP BY state"),
	'queued|t|not so',
	'rows that something objects to wait, and say why');

# Or that cannot be changed at all
object_to("OLD.body LIKE 'unchangeable%'");
queue((map { "unchangeable $_" } 1 .. 6), 'behind the unchangeable');
wait_for_state($node, "body = 'behind the unchangeable'", 'sent');
is(state_of('unchangeable 1'), 'queued', 'rows that cannot be changed hold up no other');
$node->safe_psql('postgres',
	"DROP TRIGGER object ON whatsapp.outbox; DELETE FROM whatsapp.outbox WHERE body LIKE '%unchangeable%'");
graph_post($graph, '/_reset');
queue('behind the unclaimable');
wait_for_state($node, "body = 'behind the unclaimable'", 'sent');

# Likewise recorded; the answers are kept until it can be
object_to("NEW.body LIKE 'unrecordable%' AND NEW.state = 'sent'");
queue((map { "unrecordable $_" } 1 .. 6), 'behind the unrecordable');
wait_for_state($node, "body = 'behind the unrecordable'", 'sent');
ok( wait_until(
		'they are answered',
		sub { graph_get($graph, '/_count')->{accepted} >= 8 }),
	'all are answered');
is(state_of('unrecordable 1'), 'sending', 'the answer is not recorded');
queue('later');
wait_for_state($node, "body = 'later'", 'sent', 'others are sent meanwhile');
$node->safe_psql('postgres', 'DROP TRIGGER object ON whatsapp.outbox');
wait_for_state($node, "body LIKE 'unrecordable%'", 'sent', 'it is recorded when it can be');
is(graph_get($graph, '/_count')->{requests}, 9, 'nothing was sent twice');
$node->safe_psql('postgres', "UPDATE whatsapp.outbox SET retry_at = NULL WHERE body LIKE 'unclaimable%'");
wait_for_state($node, "body LIKE 'unclaimable%'", 'sent', 'nor are the others lost');

# More rows than may be in flight are locked while they are being sent
graph_post($graph, '/_script', { recipient => '*', hold => JSON::PP::true });
queue(map { "locked $_" } 1 .. 4);
wait_for_in_flight($graph, 4, 'four are under way');
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM whatsapp.outbox WHERE body LIKE 'locked%' FOR UPDATE) l");
graph_post($graph, '/_release');
graph_post($graph, '/_script', { recipient => '*', delay_ms => 1 });
queue('past the locked');
wait_for_state($node, "body = 'past the locked'", 'sent');
is(state_of('locked 1'), 'sending', 'locked rows are not recorded');
$session->query_safe('COMMIT');
wait_for_state($node, "body LIKE 'locked%'", 'sent', 'until they are free');
$session->quit;

# Of two that were unknown, of which it is told that they were sent, the message
# of one is locked
$node->safe_psql('postgres', <<'SQL');
INSERT INTO whatsapp.outbox (recipient, body, state, nonce, finished_at) VALUES
	('15550000001', 'told 1', 'unknown', '0123456789abcdef', now()),
	('15550000002', 'told 2', 'unknown', '0123456789abcdef', now())
SQL
my $rows = $node->background_psql('postgres');
my $message = $node->background_psql('postgres');
$rows->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM whatsapp.outbox WHERE body LIKE 'told%' FOR UPDATE) l");
$node->safe_psql('postgres', sprintf(<<'SQL', NUMBER));
SELECT whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(
	jsonb_build_object('id', '1', 'changes', jsonb_build_array(jsonb_build_object('field', 'messages', 'value', jsonb_build_object(
		'metadata', jsonb_build_object('phone_number_id', '%s'), 'statuses', jsonb_build_array(jsonb_build_object(
			'id', 'wamid.' || o.body, 'status', 'sent', 'timestamp', '1750101000', 'biz_opaque_callback_data', whatsapp.callback_token(o)))))))))) FROM whatsapp.outbox o WHERE o.body LIKE 'told%%'
SQL
$message->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM whatsapp.messages WHERE message_id = 'wamid.told 1' FOR UPDATE) l");
$rows->query_safe('COMMIT');
$rows->quit;
wait_for_state($node, "body = 'told 2'", 'sent', 'the other is settled');
is(state_of('told 1'), 'unknown', 'and the one is not');
$message->query_safe('COMMIT');
$message->quit;
wait_for_state($node, "body = 'told 1'", 'sent', 'until it can be');

# Asked to end while something is under way: what is answered soon is recorded,
# and the rest is known to be unknown
graph_post($graph, '/_script', { recipient => '*', delay_ms => 300 });
queue('answered soon');
wait_for_in_flight($graph, 1, 'one is under way');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($sender)");
wait_for_state($node, "body = 'answered soon'", 'sent', 'an answer that comes soon is recorded');
$sender = wait_for_sender($node, 'postgres', $sender);
graph_post($graph, '/_script', { recipient => '*', never => JSON::PP::true });
queue('never answered');
wait_for_in_flight($graph, 1, 'another is under way');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($sender)");
wait_for_state($node, "body = 'never answered'", 'unknown');
like(
	$node->safe_psql('postgres',
		"SELECT what || ': ' || error FROM whatsapp.attempts WHERE outbox_id = (SELECT id FROM whatsapp.outbox WHERE body = 'never answered')"),
	qr/^unknown: The background worker was asked to end/,
	'and the attempts say why');

# Asked while it is recording, or claiming
graph_post($graph, '/_script', { recipient => '*', delay_ms => 10 });
set_conf($node, 'whatsapp.max_in_flight = 256');
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) SELECT '1556' || to_char(i, 'FM0000000'), 'busy' FROM generate_series(1, 5000) i"
);
foreach (1 .. 3)
{
	my $seen = graph_requests($graph);

	wait_until('it is busy', sub { graph_requests($graph) > $seen + 300 });
	$node->restart;
}
wait_for_state($node, "body = 'busy'", 'sent', 'a busy one records what is answered before it ends');

# Answers that could not be recorded, and but one of them still cannot
set_conf($node, 'whatsapp.max_in_flight = 4');
object_to("NEW.body ~ 'recordable' AND NEW.state = 'sent'");
my $answered = graph_get($graph, '/_count')->{accepted};
my $errors = "SELECT value FROM whatsapp.statistics WHERE counter = 'sender' AND label = 'errors'";
my $tries = $node->safe_psql('postgres', $errors);
queue('unrecordable', 'recordable 1', 'recordable 2');
wait_until('they are answered',
	sub { graph_get($graph, '/_count')->{accepted} == $answered + 3 });
ok( wait_until(
		'they have been put off',
		sub {
			return $node->safe_psql('postgres', $errors) > $tries + 3;
		}),
	'they have been tried, and put off');
object_to("NEW.body = 'unrecordable' AND NEW.state = 'sent'");
$node->restart;
wait_for_state($node, "body LIKE 'recordable%'", 'sent', 'the others are recorded');
wait_for_state($node, "body = 'unrecordable'", 'unknown');
$node->safe_psql('postgres', 'DROP TRIGGER object ON whatsapp.outbox');

# Somebody has added what takes for ever
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END';
CREATE TRIGGER sleep BEFORE UPDATE ON whatsapp.outbox FOR EACH ROW EXECUTE FUNCTION sleep();
SQL
queue('sleepy');
wait_until(
	'it sleeps',
	sub {
		$node->safe_psql('postgres',
			"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'whatsapp sender' AND wait_event = 'PgSleep'"
		) eq '1';
	});
$node->stop('fast');
is($node->{_pid}, undef, 'a transaction that takes for ever does not keep the server from stopping');
$node->append_conf('postgresql.conf', 'whatsapp.enabled = off');
$node->start;
$node->safe_psql('postgres', 'DROP TRIGGER sleep ON whatsapp.outbox');
set_conf($node, 'whatsapp.enabled = on');
wait_for_state($node, "body = 'sleepy'", 'sent');
$sender = wait_for_sender($node);

# What has surely not left by then is no attempt
my $silent = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', ReuseAddr => 1);
set_conf($node, "whatsapp.graph_url = 'https://127.0.0.1:" . $silent->sockport . "'");
queue('not yet connected');
wait_for_state($node, "body = 'not yet connected'", 'sending', 'one is connecting');
my $connection = $silent->accept;
set_conf($node, "whatsapp.graph_url = '" . graph_url($graph, '') . "'");
graph_post($graph, '/_script', { recipient => '*', delay_ms => 1 });
$node->safe_psql('postgres', "SELECT pg_terminate_backend($sender)");
wait_for_state($node, "body = 'not yet connected'", 'sent', 'what has surely not left is sent by the next one');
is( $node->safe_psql('postgres',
		"SELECT attempts FROM whatsapp.outbox WHERE body = 'not yet connected'"),
	'1',
	'by its first attempt');

unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|TRAP/,
	'nothing has crashed');
$node->stop;
done_testing();
