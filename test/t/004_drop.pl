# Nobody waits for a transfer that hangs: neither DROP EXTENSION, nor the
# server when it is shut down.  The transfers hang for 60 seconds; ten are
# plenty to tell that nobody waited for them.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use constant PLENTY => 10;

my $graph = start_graph();
my $node =
  new_cluster('drop', $graph, "whatsapp.request_timeout = '60s'",
	"whatsapp.poll_interval = '50ms'");

sub hang
{
	my ($before) = graph_requests($graph, '15550000001');

	$node->safe_psql('postgres',
		"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'hangs')"
	);
	return ok(
		wait_until(
			'it hangs',
			sub { graph_requests($graph, '15550000001') == $before + 1 }),
		'a transfer hangs');
}

sub seconds
{
	my ($do) = @_;
	my $start = time();

	$do->();
	return time() - $start;
}

graph_post($graph, '/_script',
	{ recipient => '15550000001', never => JSON::PP::true });
add_number($node);
my $sender = wait_for_sender($node);
hang();

# Rolled back: nothing has happened
$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION whatsapp; ROLLBACK');
$node->safe_psql('postgres',
	"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000002', 'still here')"
);
wait_for_state($node, "body = 'still here'", 'sent',
	'after a DROP EXTENSION that was rolled back messages are sent');
is(sender_pid($node), $sender, 'by the same sender');

# Not yet decided: the sender does not wait for it, either
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; DROP EXTENSION whatsapp');
my @waits = map {
	$node->safe_psql('postgres',
		"SELECT wait_event_type FROM pg_stat_activity WHERE pid = $sender")
} 1 .. 30;
is_deeply([ grep { $_ eq 'Lock' } @waits ],
	[], 'the sender does not wait for a DROP EXTENSION that is under way');
$session->query_safe('ROLLBACK');
$session->quit;

# Committed: the sender is gone
cmp_ok(seconds(sub { $node->safe_psql('postgres', 'DROP EXTENSION whatsapp') }),
	'<', PLENTY, 'DROP EXTENSION does not wait');
cmp_ok(
	seconds(
		sub {
			wait_until('the sender is gone',
				sub { sender_pid($node) eq '' });
		}),
	'<', PLENTY,
	'and the sender does not stay');
is(sender_pid($node), '', 'it is gone');
unlike(slurp_file($node->logfile), qr/ERROR|FATAL|PANIC/,
	'without an error');

# Again: there is another
add_number($node);
my $next = wait_for_sender($node);
ok($next, 'there is a sender again after CREATE EXTENSION');

# Dropped and created in one transaction: the rows are those of the new one
hang();
$node->safe_psql('postgres',
	"BEGIN; DROP EXTENSION whatsapp; CREATE EXTENSION whatsapp; SELECT whatsapp.add_number('"
	  . NUMBER
	  . "', access_token => '"
	  . TOKEN
	  . "'); INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000002', 'new'); COMMIT"
);
wait_for_state($node, "body = 'new'", 'sent',
	'dropped and created at once, it sends');

# An orderly shutdown
hang();
cmp_ok(seconds(sub { $node->stop('fast') }), '<', PLENTY,
	'a fast shutdown does not wait');
$node->start;
wait_for_state($node, "body = 'hangs'", 'unknown',
	'what hung is unknown then');
hang();
cmp_ok(seconds(sub { $node->stop('smart') }), '<', PLENTY,
	'nor does a smart one');

done_testing();
