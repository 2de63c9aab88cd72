# A sender that is killed comes back, and does not send again what may have
# been sent.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

my $graph = start_graph();
my $node = new_cluster('crash', $graph, 'restart_after_crash = on');
add_number($node);
my $sender = wait_for_sender($node);

sub state_of
{
	my ($body) = @_;

	return eval {
		$node->safe_psql('postgres',
			"SELECT state FROM whatsapp.outbox WHERE body = '$body'");
	} // '';
}

sub restarts
{
	my $log = slurp_file($node->logfile);
	my @found = $log =~ /all server processes terminated; reinitializing/g;

	return scalar(@found);
}

graph_post($graph, '/_script',
	{ recipient => '15550000001', never => JSON::PP::true });
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'under way'), ('15550000002', 'before')"
);
ok( wait_until(
		'one is under way',
		sub {
			state_of('before') eq 'sent'
			  && graph_requests($graph, '15550000001') == 1;
		}),
	'one message is sent, another under way');

kill 'KILL', $sender;
my $next = wait_for_sender($node, 'postgres', $sender);
ok($next, 'the sender is back after kill -9');
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000002', 'after')"
);
wait_for_state($node, "body = 'after'", 'sent', 'and sends');
is(state_of('under way'), 'unknown', 'what was under way is unknown');
is(graph_requests($graph, '15550000001'), 1, 'and not sent again');
is(restarts(), 1,
	'the server has restarted as it does when any process is killed, and no more'
);

# Asked to end, it ends and comes back without any of that
is( $node->safe_psql('postgres', "SELECT pg_terminate_backend($next)"),
	't', 'pg_terminate_backend');
my $third = wait_for_sender($node, 'postgres', $next);
ok($third, 'the sender is back after pg_terminate_backend');
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000002', 'third')"
);
wait_for_state($node, "body = 'third'", 'sent', 'and sends');
is(restarts(), 1, 'without a restart of the server');

# An immediate shutdown, with messages under way
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'at the end')"
);
ok( wait_until(
		'it is under way',
		sub { graph_requests($graph, '15550000001') == 2 }),
	'one more is under way');
$node->stop('immediate');
$node->start;
wait_for_state($node, "body = 'at the end'", 'unknown',
	'after an immediate shutdown it is unknown');
is(graph_requests($graph, '15550000001'), 2, 'and not sent again');
is( $node->safe_psql(
		'postgres',
		"SELECT string_agg(state, ',' ORDER BY id) FROM whatsapp.outbox"),
	'unknown,sent,sent,sent,unknown',
	'no row is lost');

$node->stop;
done_testing();
