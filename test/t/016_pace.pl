# Messages leave in order, at the right pace, and nobody waits for somebody
# else: what sql/order.sql and sql/holds.sql say of rows, as a server sees it.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

use constant OTHER_NUMBER => '106540352242999';
use constant IN_FLIGHT => 32;

my $true = JSON::PP::true;
my $graph = start_graph();
my $node = new_cluster('pace', $graph, 'restart_after_crash = on', 'whatsapp.max_in_flight = ' . IN_FLIGHT);
add_number($node);
$node->safe_psql('postgres', sprintf(
		"SELECT whatsapp.add_number('%s', access_token => '%s'); UPDATE whatsapp.numbers SET messages_per_second = 1000000; ALTER TABLE whatsapp.outbox ALTER phone_number_id SET DEFAULT '%s'",
		OTHER_NUMBER, TOKEN, NUMBER));
ok(wait_for_sender($node), 'there is a sender');

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# Which bodies a recipient was sent, in order
sub bodies
{
	my ($recipient) = @_;

	return map { $_->{body}{text}{body} }
	  sort { $a->{n} <=> $b->{n} } @{ graph_get($graph, "/_log?recipient=$recipient") };
}

# 50 people get 20 messages each, that are queued in turns; some have to be
# tried again.  Everything is answered in its own time.
foreach my $i (1 .. 50)
{
	graph_post($graph, '/_script', { recipient => '' . (15551000000 + $i), delay_ms => $i % 7 });
}
graph_post($graph, '/_script',
	{ recipient => '15551000007', times => 3, error => { code => 131016, http_status => 503 } });
sql("INSERT INTO whatsapp.outbox (recipient, body) SELECT 15551000000 + r, to_char(i, 'FM00') FROM generate_series(1, 20) i, generate_series(1, 50) r ORDER BY i, r"
);
wait_for_state($node, 'true', 'sent', 'all are sent');
my @wrong = grep
{
	my $recipient = 15551000000 + $_;
	my @sent = bodies($recipient);

	@sent = @sent[ 3 .. $#sent ] if $_ == 7;
	"@sent" ne join(' ', map { sprintf('%02d', $_) } 1 .. 20)
	  || graph_get($graph, "/_count?recipient=$recipient")->{max_in_flight} != 1
} 1 .. 50;
is("@wrong", '', 'each in order, one at a time');
is((bodies('15551000007'))[0] . (bodies('15551000007'))[3],
	'0101', 'also those that had to be tried again');
cmp_ok(graph_get($graph, '/_count')->{max_in_flight}, '>', 10, 'but side by side with those of others');

ok( wait_until(
		'the statistics tell of it',
		sub { sql("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = 'whatsapp.outbox'::regclass") >= 2000 }),
	'autovacuum can see what has been changed');

# One number has a lot to send.  A single message of another, and an urgent one
# of its own, wait for no more than what is under way.
graph_post($graph, '/_reset');
graph_post($graph, '/_script', { recipient => '*', delay_ms => 20 });
sql("INSERT INTO whatsapp.outbox (recipient, body) SELECT 15552000000 + i, 'bulk' FROM generate_series(1, 20000) i");
ok( wait_until('bulk is being sent', sub { graph_requests($graph) > 200 }),
	'one number has a lot to send');
foreach my $case (
	[ 'a message of another number', '15550000001', "INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('" . OTHER_NUMBER . "', '15550000001', 'reply')" ],
	[ 'an urgent message', '15550000002', "INSERT INTO whatsapp.outbox (recipient, body, priority) VALUES ('15550000002', 'urgent', 1)" ])
{
	my ($what, $recipient, $insert) = @$case;

	sql($insert);
	my $committed_at = sql('SELECT clock_timestamp()');
	wait_for_state($node, "recipient = '$recipient'", 'sent', "$what is sent");
	my $overtaken = sql(
		"SELECT count(*) FROM whatsapp.outbox b, whatsapp.outbox r WHERE r.recipient = '$recipient' AND b.body = 'bulk' AND b.claimed_at > '$committed_at' AND b.claimed_at < r.claimed_at"
	);
	cmp_ok($overtaken, '<=', IN_FLIGHT, 'and has waited for no more than what can be under way');
}
cmp_ok(sql("SELECT count(*) FROM whatsapp.outbox WHERE state = 'queued'"),
	'>', 1000, 'while there still is a lot');
sql("UPDATE whatsapp.outbox SET state = 'cancelled' WHERE state = 'queued'");
wait_for_state($node, "state NOT IN ('cancelled', 'expired')", 'sent');

# So many in a second, evenly; also by another worker
graph_post($graph, '/_reset');
sql("UPDATE whatsapp.numbers SET messages_per_second = 50");
sql("INSERT INTO whatsapp.outbox (recipient, body) SELECT 15553000000 + i, 'paced' FROM generate_series(1, 150) i");
ok( wait_until(
		'some are sent',
		sub { sql("SELECT count(*) FROM whatsapp.outbox WHERE body = 'paced' AND state = 'sent'") > 50 }),
	'messages are paced');
my $sender = sender_pid($node);
kill 'KILL', $sender;
wait_for_sender($node, 'postgres', $sender);
ok( wait_until(
		'all are claimed',
		sub { sql("SELECT count(*) FROM whatsapp.outbox WHERE body = 'paced' AND claimed_at IS NULL") == 0 }),
	'by two workers, one after the other');
my $most = "SELECT max(n) FROM (SELECT count(*) OVER (ORDER BY claimed_at RANGE BETWEEN CURRENT ROW AND interval '%s' FOLLOWING) AS n FROM whatsapp.outbox WHERE body = 'paced') w";
cmp_ok(sql(sprintf($most, '990 ms')), '<=', 50 + 5 + 5, 'no more in any second than was said, and two buckets');
cmp_ok(sql(sprintf($most, '90 ms')), '<=', 5 + 5 + 5, 'nor in any tenth of a second');
cmp_ok(
	sql("SELECT count(DISTINCT claimed_at) FROM whatsapp.outbox WHERE body = 'paced'"),
	'>=', 20, 'in small bunches');
like(
	sql("SELECT rate || ' ' || (tokens BETWEEN 0 AND 5) FROM whatsapp.sender_status WHERE phone_number_id = '" . NUMBER . "'"),
	qr/^50 true$/,
	'the status tells the rate, and what is in the bucket');
# a change counts at once
sql("UPDATE whatsapp.numbers SET messages_per_second = 1");
sql("INSERT INTO whatsapp.outbox (recipient, body) SELECT 15554000000 + i, 'changed' FROM generate_series(1, 500) i");
ok( wait_until('one is sent', sub { sql("SELECT count(*) FROM whatsapp.outbox WHERE body = 'changed' AND state = 'sent'") > 0 }),
	'one in a second would take some minutes');
sql("UPDATE whatsapp.numbers SET messages_per_second = 1000000");
wait_for_state($node, "body = 'changed'", 'sent', 'but does not, once that is changed');

# What Meta says is too much
graph_post($graph, '/_script', { recipient => '15550000003', times => 1, error => { code => 130429 } });
sql("INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000003', 'too fast')");
wait_for_state($node, "body = 'too fast'", 'sent', 'a number that was too fast goes on');
is( sql("SELECT attempts, (SELECT rate < messages_per_second FROM whatsapp.sender_status WHERE phone_number_id = '" . NUMBER . "') FROM whatsapp.outbox WHERE body = 'too fast'"),
	'1|t', 'slower, and no attempt is counted');
graph_post($graph, '/_script', { recipient => '15550000003', usage => '{"call_count":100,"total_time":3}' });
sql("INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000003', 'used up')");
wait_for_state($node, "body = 'used up'", 'sent');
is( sql("SELECT state, holds #>> '{0,key}' FROM whatsapp.sender_status WHERE phone_number_id = '" . NUMBER . "'"),
	'held|slow_account', 'when all has been used, nothing is sent');
sql("SELECT whatsapp.resume_number(phone_number_id) FROM whatsapp.numbers");

# What is held is so after a restart, too
graph_post($graph, '/_script', { recipient => '15550000004', times => 6, error => { code => 131056 } });
sql("INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000004', 'pair')");
ok( wait_until(
		'the pair is held for longer',
		sub { sql("SELECT count(*) FROM whatsapp.holds WHERE kind = 'pair' AND failures = 3") }),
	'a recipient who gets too much is held for longer each time');
$node->stop('immediate');
$node->start;
wait_for_sender($node);
sql("INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000004', 'pair'), ('15550000005', 'other')");
wait_for_state($node, "body = 'other'", 'sent', 'after a restart others go on');
is(graph_requests($graph, '15550000004'), 3, 'but not that one');
graph_post($graph, '/_script', { recipient => '15550000004', delay_ms => 0 });
sql("SELECT whatsapp.release_hold(phone_number_id, kind, key) FROM whatsapp.holds WHERE kind = 'pair'");
wait_for_state($node, "body = 'pair'", 'sent', 'until it is released');

# The last moment to stop a message is when it leaves.  A server that does not
# go on with TLS keeps it from that.
my $certificate = make_certificate('127.0.0.1');
set_conf($node,
	"whatsapp.ca_file = '$certificate->{cert}'",
	"whatsapp.connect_timeout = '5min'",
	"whatsapp.request_timeout = '10min'");

# Queue a message to a server that is not there with its mind yet
sub stall
{
	my ($body, $expires_at) = @_;
	my $stalled = start_graph(tls => $certificate);

	set_conf($node, "whatsapp.graph_url = '" . graph_url($stalled, '') . "'");
	kill 'STOP', $stalled->{run}{KIDS}[0]{PID};
	sql("INSERT INTO whatsapp.outbox (recipient, body, expires_at) VALUES ('15550000006', '$body', $expires_at)");
	wait_for_state($node, "body = '$body'", 'sending', "$body: it is about to leave");
	return $stalled;
}

sub go_on { kill 'CONT', $_[0]{run}{KIDS}[0]{PID}; return }

my $stalled = stall('expires', "now() + interval '1 s'");
ok( wait_until(
		'it is too late',
		sub { sql("SELECT now() > expires_at FROM whatsapp.outbox WHERE body = 'expires'") eq 't' }),
	'but then it is too late');
go_on($stalled);
wait_for_state($node, "body = 'expires'", 'expired', 'it has expired');
is(graph_get($stalled, '/_count')->{accepted}, 0, 'and has not left');

$stalled = stall('paused', 'NULL');
sql("SELECT whatsapp.pause_number(phone_number_id) FROM whatsapp.numbers");
wait_for_state($node, "body = 'paused'", 'queued', 'when the number is paused, it is taken back');
is(sql("SELECT attempts FROM whatsapp.outbox WHERE body = 'paused'"), '0', 'and was not tried');
go_on($stalled);
is(graph_requests($stalled), 0, 'nothing has left');
sql("SELECT whatsapp.resume_number(phone_number_id) FROM whatsapp.numbers");
wait_for_state($node, "body = 'paused'", 'sent', 'until it is resumed');
is(graph_requests($stalled), 1, 'once');

is( sql(
		"SELECT bool_and((queued, due, in_flight) = (0, 0, 0)) FROM whatsapp.sender_status"),
	't',
	'in the end nothing is left');

$node->stop;
done_testing();
