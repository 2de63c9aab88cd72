# What came of a message is told honestly, and what nobody knows is settled by
# the status webhooks that Meta sends.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

# The simulator posts webhooks to a front, and the front needs the cluster, so
# that is started first, and told of the simulator then.
my $node = new_cluster('outcomes', undef);
add_number($node);
my $front = start_front($node, $node->safe_psql('postgres', 'SELECT current_user'));
my $graph = start_graph(webhook => "http://127.0.0.1:$front->{port}/webhook");
set_conf($node, "whatsapp.graph_url = '" . graph_url($graph, '') . "'");
ok(wait_for_sender($node), 'there is a sender');

sub script
{
	my ($recipient, %behaviour) = @_;

	graph_post($graph, '/_script', { recipient => $recipient, %behaviour });
	return;
}

sub queue
{
	my ($recipient, $body, $callback_data) = @_;

	$node->safe_psql('postgres', sprintf(
			"INSERT INTO whatsapp.outbox (recipient, body, callback_data) VALUES ('%s', '%s', %s)",
			$recipient, $body, defined $callback_data ? "'$callback_data'" : 'NULL'));
	return;
}

sub row
{
	my ($columns, $where) = @_;

	return $node->safe_psql('postgres', "SELECT $columns FROM whatsapp.outbox WHERE $where");
}

my $true = JSON::PP::true;

# Taken, although nobody was told: the statuses tell, and bring back what was
# given along
my %ways = (
	closed => { close => $true },
	reset => { reset => $true },
	half => { half => $true },
	html => { html => $true },
	empty => { empty => $true },
	nonsense => { raw => '<nothing>' },
	error => { error => { code => 131000, http_status => 500 } });
my $n = 10;
foreach my $way (sort keys %ways)
{
	my $recipient = '155500000' . $n++;

	script($recipient, %{ $ways{$way} }, statuses => [ 'sent', 'delivered' ]);
	queue($recipient, $way, "given $way.");
	wait_for_state($node, "body = '$way'", 'sent', "$way: sent, once a status says so");
	is(row('message_id', "body = '$way'"),
		graph_get($graph, "/_log?recipient=$recipient")->[0]{wamid},
		'with the id that the status tells');
	ok( wait_until(
			'it is delivered',
			sub {
				$node->safe_psql('postgres',
					"SELECT m.status || ' ' || m.body || ' ' || (SELECT string_agg(DISTINCT s.callback_data, ',') FROM whatsapp.statuses s WHERE s.message_id = m.message_id)
					 FROM whatsapp.messages m JOIN whatsapp.outbox o ON o.id = m.outbox_id WHERE o.body = '$way'"
				) eq "delivered $way given $way.";
			}),
		'it is among the messages, with its status, and the callback data is as it was given');
	is(graph_requests($graph, $recipient), 1, 'and it was sent once');
}

# Not taken, or nobody ever tells
script('15550000030', close => $true, statuses => []);
queue('15550000030', 'no evidence');
wait_for_state($node, "body = 'no evidence'", 'unknown');

# A status that is faster than the answer
script('15550000031', status_first => $true, statuses => ['delivered'], status_times => 2);
queue('15550000031', 'early');
wait_for_state($node, "body = 'early'", 'sent', 'a status that comes before the answer, twice');
is(graph_requests($graph, '15550000031'), 1, 'it was sent once');

# What fails later was sent all the same
script('15550000032', statuses => [ 'sent', 'failed' ], status_error => 131049);
queue('15550000032', 'failed later');
ok( wait_until(
		'the failure is noted',
		sub { row('error_code', "body = 'failed later'") eq '131049' }),
	'a status "failed" is noted in the outbox');
is( row("state, error, failed_at IS NOT NULL, attempts", "body = 'failed later'"),
	'sent|Message not delivered to maintain healthy ecosystem engagement.|t|1',
	'the row stays sent');
is( $node->safe_psql('postgres',
		"SELECT m.status FROM whatsapp.messages m JOIN whatsapp.outbox o ON o.id = m.outbox_id WHERE o.body = 'failed later'"
	),
	'failed',
	'and the message has failed');

# Trouble of Meta's that passes
script('15550000033', error => { code => 131016, http_status => 503 }, times => 2);
queue('15550000033', 'passes');
wait_for_state($node, "body = 'passes'", 'sent', 'what Meta refuses for now is tried again');
is(row('attempts', "body = 'passes'"), '3', 'three attempts');
is( $node->safe_psql('postgres',
		"SELECT string_agg(a.attempt || ' ' || a.what || ' ' || a.state || ' ' || a.class, ', ' ORDER BY attempt_id) FROM whatsapp.attempts a JOIN whatsapp.outbox o ON o.id = a.outbox_id WHERE o.body = 'passes'"
	),
	'1 refused queued retry, 2 refused queued retry',
	'of which two are listed');

# Retry-After, which is capped
script('15550000034', error => { code => 131016, http_status => 503 }, retry_after => 86400);
queue('15550000034', 'much later');
ok( wait_until(
		'it waits',
		sub { row("retry_at - claimed_at BETWEEN interval '59 min' AND interval '61 min'", "body = 'much later'") eq 't' }),
	'Retry-After is heeded, for an hour at most');

# Not to be tried again at once
script('15550000035', error => { code => 131049 });
queue('15550000035', 'suppressed');
wait_for_state($node, "body = 'suppressed'", 'failed');
is(row('error_code, fbtrace_id IS NOT NULL', "body = 'suppressed'"), '131049|t', 'with what Meta says of it');

# A token that is refused
$node->safe_psql('postgres',
	"SELECT whatsapp.set_access_token('" . NUMBER . "', 'wrong')");
queue('15550000036', 'refused token');
ok( wait_until(
		'the number is held',
		sub {
			$node->safe_psql('postgres',
				"SELECT state, holds -> 0 ->> 'key' FROM whatsapp.sender_status") eq 'held|token';
		}),
	'a refused token stops the number');
is(row('state, attempts', "body = 'refused token'"), 'queued|0', 'the row waits, and no attempt is counted');
queue('15550000036', 'behind it');
like(slurp_file($node->logfile),
	qr/WARNING:  nothing is sent any more from @{[NUMBER]}\n.*DETAIL:  Error 190/s,
	'the log says so');
$node->safe_psql('postgres',
	"SELECT whatsapp.set_access_token('" . NUMBER . "', '" . TOKEN . "')");
wait_for_state($node, "recipient = '15550000036'", 'sent', 'with another token they are sent');
is(graph_requests($graph, '15550000036'), 3, 'what came behind was not tried meanwhile');

# What to do when nothing is ever told
script('15550000037', close => $true, times => 1, statuses => []);
set_conf($node, 'whatsapp.unknown_grace = 0', "whatsapp.unknown_policy = 'fail'");
wait_for_state($node, "body = 'no evidence'", 'failed', 'with policy "fail" it has failed');
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET whatsapp.unknown_policy = retry');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(" . sender_pid($node) . ")");
queue('15550000037', 'again');
wait_for_state($node, "body = 'again'", 'sent', 'with policy "retry" it is sent again');
is(graph_requests($graph, '15550000037'), 2, 'twice in all');

unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|TRAP|ERROR/,
	'nothing has crashed, and there was no error');
$node->stop;
done_testing();
