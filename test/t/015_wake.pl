# Whatever way a row comes to be in the outbox, the sender is woken when it has
# been committed, and a sender that is not there is no harm to who commits.
# (test/t/001_send.pl has the other ways.)

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;

my $graph = start_graph();

# By logical replication, from a server that does not send
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
add_number($publisher);
$publisher->safe_psql('postgres', 'CREATE PUBLICATION queue FOR TABLE whatsapp.outbox');

# so that nothing is found by looking that should have been by waking
my $node = new_cluster('subscriber', $graph, "whatsapp.poll_interval = '1h'");
add_number($node);
my $sender = wait_for_sender($node);
$node->safe_psql('postgres',
	"CREATE SUBSCRIPTION queue CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION queue");
ok( wait_until(
		'the tables are copied',
		sub {
			$node->safe_psql('postgres',
				"SELECT count(*) = 1 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel") eq 't';
		}),
	'there is a subscription');
$publisher->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'replicated')");
wait_for_state($node, "body = 'replicated'", 'sent', 'what is replicated is sent at once');
# over there the first has not been sent, and the second waits for its turn
$publisher->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'second')");
is($publisher->safe_psql('postgres', "SELECT waits_for FROM whatsapp.outbox WHERE body = 'second'"),
	'turn', 'what waits for its turn where it was queued');
wait_for_state($node, "body = 'second'", 'sent', 'does not where it is sent');
$node->safe_psql('postgres', 'DROP SUBSCRIPTION queue');
$publisher->stop;

# (rows of our own have other ids)
$node->safe_psql('postgres', 'ALTER TABLE whatsapp.outbox ALTER id RESTART 1000');

# By functions and in bulk
$node->safe_psql('postgres', "SELECT whatsapp.send_text('15550000001', 'by function')");
wait_for_state($node, "body = 'by function'", 'sent');
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body, state) VALUES ('15550000001', 'once more', 'cancelled'); SELECT whatsapp.retry(id) FROM whatsapp.outbox WHERE body = 'once more'"
);
wait_for_state($node, "body = 'once more'", 'sent');

# While the sender ends and comes back, again and again, in one session that
# commits all the time
my $statements = join(
	'',
	map {
		"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'meanwhile');\n"
		  . ($_ % 100 ? '' : "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'whatsapp sender';\n")
	} 1 .. 500);
$node->safe_psql('postgres', $statements);
set_conf($node, "whatsapp.poll_interval = '100ms'");
wait_for_state($node, "body = 'meanwhile'", 'sent', 'nobody is harmed by a sender that is not there');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM whatsapp.outbox WHERE body = 'meanwhile'"),
	'500',
	'nothing is lost');
my %times;
$times{ $_->{body}{biz_opaque_callback_data} }++ foreach @{ graph_get($graph, '/_log') };
is_deeply([ grep { $_ > 1 } values %times ], [], 'and nothing sent twice');

unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|TRAP/,
	'nothing has crashed');
$node->stop;
done_testing();
