# Where there is no server, nothing can have been sent; so it is sent later.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Cluster;
use Test::More;

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $node = new_cluster('absent', { port => $port });
add_number($node);
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'patience')"
);
ok( wait_until(
		'it has been tried',
		sub {
			$node->safe_psql('postgres',
				"SELECT state = 'queued' AND attempts = 0 AND deferrals > 0 AND retry_at > claimed_at FROM whatsapp.outbox"
			) eq 't';
		}),
	'what could not be sent is queued again');
like($node->safe_psql('postgres', 'SELECT error FROM whatsapp.outbox'),
	qr/connect/i, 'and says why');

my $graph = start_graph(port => $port);
wait_for_state($node, 'true', 'sent', 'once there is a server, it is sent');
is(graph_requests($graph), 1, 'once');
is($node->safe_psql('postgres', 'SELECT error FROM whatsapp.outbox'),
	'', 'and there is no error any more');

$node->stop;
done_testing();
