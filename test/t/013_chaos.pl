# 20,000 messages, and the sender is killed five times while it sends them, and
# then the server is stopped at once: none is lost, none is sent twice, and
# only those that were under way are unknown.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use constant ROWS => 20_000;
use constant KILLS => 5;
use constant IN_FLIGHT => 256;

my $graph = start_graph();
my $node = new_cluster(
	'chaos', $graph,
	'restart_after_crash = on',
	'max_wal_size = 4GB',
	'whatsapp.max_in_flight = ' . IN_FLIGHT,
	"log_min_messages = warning");
add_number($node);
my $sender = wait_for_sender($node);
graph_post($graph, '/_script', { recipient => '*', delay_ms => 100 });
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) SELECT '1555' || to_char(i, 'FM0000000'), 'chaos ' || i FROM generate_series(1, "
	  . ROWS
	  . ') i');

my $seen = 0;

# Wait until so many more have been sent, so that each blow falls in the middle
sub wait_for_progress
{
	my ($n) = @_;

	return wait_until(
		"$n more are under way",
		sub {
			my $requests = graph_requests($graph);

			return 0 if $requests < $seen + $n;
			$seen = $requests;
			return 1;
		});
}

foreach my $i (1 .. KILLS)
{
	wait_for_progress(2000);
	kill 'KILL', $sender;
	my $next = wait_for_sender($node, 'postgres', $sender);
	ok($next, "killed $i times, the sender is back");
	$sender = $next;
}
wait_for_progress(2000);
$node->stop('immediate');
$node->start;
ok( wait_until(
		'nothing is left to be sent',
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) FROM whatsapp.outbox WHERE state IN ('queued', 'sending')"
			) eq '0';
		}),
	'after an immediate stop and a start, the rest is sent');

my %rows = map { split(/\|/) } split(/\n/,
	$node->safe_psql('postgres', 'SELECT state, count(*) FROM whatsapp.outbox GROUP BY state'));
note(join(', ', map { "$rows{$_} $_" } sort keys %rows));
is($rows{sent} + ($rows{unknown} // 0), ROWS, 'no row is lost, or has failed');
cmp_ok($rows{unknown} // 0, '>', 0, 'some are unknown, or this has tested nothing');
cmp_ok($rows{unknown}, '<=', (KILLS + 1) * IN_FLIGHT, 'and no more than were under way');

my %times;
$times{ $_->{body}{text}{body} }++ foreach @{ graph_get($graph, '/_log') };
is_deeply([ grep { $times{$_} > 1 } sort keys %times ], [], 'none was sent twice');
my %unknown = map { $_ => 1 } split(/\n/,
	$node->safe_psql('postgres', "SELECT body FROM whatsapp.outbox WHERE state = 'unknown'"));
is(scalar(grep { !$times{$_} && !$unknown{$_} } map { "chaos $_" } 1 .. ROWS),
	0, 'each that is said to be sent was');

# The statuses of those that were accepted tell of them, and of no others
my @accepted = grep { $_->{wamid} && $unknown{ $_->{body}{text}{body} } } @{ graph_get($graph, '/_log') };
my $statuses = join(
	',',
	map {
		qq({"id": "$_->{wamid}", "status": "sent", "timestamp": "1750101000", "biz_opaque_callback_data": "$_->{body}{biz_opaque_callback_data}"})
	} @accepted);
is( $node->safe_psql('postgres',
		qq(SELECT statuses, parked FROM whatsapp.ingest_unsigned('{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {"metadata": {"phone_number_id": "@{[NUMBER]}"}, "statuses": [$statuses]}}]}]}'))
	),
	scalar(@accepted) . '|0',
	'statuses of the unknown');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM whatsapp.outbox WHERE state = 'unknown'"),
	keys(%unknown) - @accepted,
	'settle those that were accepted');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM whatsapp.outbox o WHERE o.state = 'sent' AND NOT EXISTS (SELECT FROM whatsapp.messages m WHERE m.phone_number_id = o.phone_number_id AND m.message_id = o.message_id AND m.outbox_id = o.id)"
	),
	'0',
	'each that was sent is among the messages');

$node->stop;
done_testing();
