# While a server takes its time, nothing is held up but its own message: no
# transaction is open, and others are sent.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

my $graph = start_graph();
my $node = new_cluster(
	'waiting', $graph,
	"whatsapp.request_timeout = '10min'",
	"whatsapp.poll_interval = '1h'");
add_number($node);
my $sender = wait_for_sender($node);

graph_post($graph, '/_script',
	{ recipient => '15550000001', hold => JSON::PP::true });
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'slow')"
);
wait_for_in_flight($graph, 1, 'the server has it, and does not answer');

# Others come and go in the meantime
foreach my $i (1 .. 5)
{
	$node->safe_psql('postgres',
		"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000002', 'quick $i')"
	);
}
ok( wait_until(
		'the others are sent',
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM whatsapp.outbox WHERE state = 'sent'") eq
			  '5';
		}),
	'others are sent meanwhile');
is( $node->safe_psql('postgres',
		"SELECT state FROM whatsapp.outbox WHERE body = 'slow'"),
	'sending',
	'and the slow one is still under way');

# Then there is nothing for the sender to do but wait.  It may yet look for more
# rows, and be seen at it; but then it waits, without doing anything from one
# look at it to the twentieth
my $how =
  "SELECT state, backend_xmin IS NULL, backend_xid IS NULL, xact_start IS NULL, state_change FROM pg_stat_activity WHERE pid = $sender";
ok( wait_until(
		'it waits',
		sub {
			my %seen = map { $node->safe_psql('postgres', $how) => 1 } 1 .. 20;
			keys %seen == 1 && (keys %seen)[0] =~ /^idle\|t\|t\|t\|/;
		}),
	'it waits without transaction or snapshot');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_locks WHERE pid = $sender"),
	'0',
	'and without a lock');
is(graph_get($graph, '/_count')->{in_flight},
	1, 'while the server has not answered');

graph_post($graph, '/_release');
wait_for_state($node, "body = 'slow'", 'sent',
	'in the end it is sent, too');

# A row that somebody has locked is recorded when it is free again; meanwhile
# others are
graph_post($graph, '/_script',
	{ recipient => '15550000003', hold => JSON::PP::true });
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000003', 'locked')"
);
wait_for_in_flight($graph, 1, 'another is under way');
my $session = $node->background_psql('postgres');
$session->query_safe(
	"BEGIN; SELECT id FROM whatsapp.outbox WHERE body = 'locked' FOR UPDATE");
graph_post($graph, '/_release');
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000002', 'beside it')"
);
wait_for_state($node, "body = 'beside it'", 'sent',
	'others are recorded while a row is locked');
is( $node->safe_psql('postgres',
		"SELECT state FROM whatsapp.outbox WHERE body = 'locked'"),
	'sending',
	'the locked one is not');
$session->query_safe('COMMIT');
$session->quit;
wait_for_state($node, "body = 'locked'", 'sent',
	'but is as soon as it is free');

# One that cannot be recorded does not keep others from it, though all are
# answered at once
$node->safe_psql('postgres',
	"ALTER TABLE whatsapp.messages ADD CONSTRAINT no_poison CHECK (body <> 'poison')"
);
graph_post($graph, '/_script',
	{ recipient => '*', hold => JSON::PP::true });
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) SELECT '155510000' || 10 + i, CASE i WHEN 25 THEN 'poison' ELSE 'antidote' END FROM generate_series(1, 50) i"
);
wait_for_in_flight($graph, 50, 'fifty are under way');
graph_post($graph, '/_release');
ok( wait_until(
		'the others are recorded',
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM whatsapp.outbox WHERE body = 'antidote' AND state = 'sent'"
			) eq '49';
		}),
	'others are recorded beside one that is refused');
is( $node->safe_psql('postgres',
		"SELECT state FROM whatsapp.outbox WHERE body = 'poison'"),
	'sending',
	'which is not');
$node->safe_psql('postgres',
	'ALTER TABLE whatsapp.messages DROP CONSTRAINT no_poison');
wait_for_state($node, "body = 'poison'", 'sent',
	'and that once the reason is gone');
is(graph_requests($graph, qr/^\+1555100/), 50, 'each was sent once');

# A table that somebody has locked: what was answered meanwhile is recorded
# afterwards, and the log is not filled with it
graph_post($graph, '/_script',
	{ recipient => '*', hold => JSON::PP::true });
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) SELECT '155520000' || 10 + i, 'table' FROM generate_series(1, 20) i"
);
wait_for_in_flight($graph, 20, 'twenty are under way');
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE whatsapp.outbox');
graph_post($graph, '/_release');
ok( wait_until(
		'the sender has met the lock',
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM pg_locks WHERE pid = $sender AND NOT granted"
			) eq '1';
		}),
	'the table is locked when they are answered');
$session->query_safe('COMMIT');
$session->quit;
wait_for_state($node, "body = 'table'", 'sent',
	'they are recorded when it is free');
is(graph_requests($graph, qr/^\+1555200/), 20, 'each was sent once');
unlike(slurp_file($node->logfile), qr/lock timeout/,
	'nothing is said of it in the log');

# Somebody who files webhooks in a long transaction locks the messages that
# they are about, which may be some that are to be recorded: more of them than
# it takes to give up for a while
my @locked = map { "1555000010$_" } 1 .. 6;
graph_post($graph, '/_script',
	{ recipient => $_, hold => JSON::PP::true, raw => qq({"messages":[{"id":"wamid.$_"}]}) })
  foreach @locked;
graph_post($graph, '/_script',
	{ recipient => '*', hold => JSON::PP::true });
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) SELECT r, 'filed' FROM unnest('{"
	  . join(',', @locked)
	  . "}'::text[]) r UNION ALL SELECT '155530000' || 10 + i, 'beside' FROM generate_series(1, 20) i"
);
wait_for_in_flight($graph, 26, 'all are under way');
$session = $node->background_psql('postgres');
$session->query_safe(
	"BEGIN; SELECT whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_object('changes', jsonb_build_object('value', jsonb_build_object('metadata', jsonb_build_object('phone_number_id', '"
	  . NUMBER
	  . "'), 'statuses', (SELECT jsonb_agg(jsonb_build_object('id', 'wamid.' || r, 'status', 'delivered')) FROM unnest('{"
	  . join(',', @locked)
	  . "}'::text[]) r))))))");
graph_post($graph, '/_release');
wait_for_state($node, "body = 'beside'", 'sent',
	'others are recorded beside messages that are locked');
is( $node->safe_psql('postgres',
		"SELECT DISTINCT state FROM whatsapp.outbox WHERE body = 'filed'"),
	'sending',
	'which are not');
$session->query_safe('COMMIT');
$session->quit;
wait_for_state($node, "body = 'filed'", 'sent',
	'but are when they are free');
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM whatsapp.messages WHERE body = 'filed' AND status = 'delivered' AND outbox_id IS NOT NULL"
	),
	'6',
	'with the status that was told before the answer was recorded');

is(sender_pid($node), $sender, 'all by one and the same sender');

$node->stop;
done_testing();
