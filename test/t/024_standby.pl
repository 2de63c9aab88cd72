# A standby sends nothing.  Once it is promoted it goes on where the old primary
# has ended; what was under way there is unknown, and not sent again.  With a
# synchronous standby nobody is messaged twice, whenever the old primary ends;
# with an asynchronous one that can be.
#
# Each primary dies at once, its standby takes over, and gets a standby itself.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant ROWS => 300;
use constant IN_FLIGHT => 20;

my $graph = start_graph();
my $primary = PostgreSQL::Test::Cluster->new('server1');
my @servers = ($primary);

$primary->init(allows_streaming => 1);
configure($primary, $graph, 'whatsapp.max_in_flight = ' . IN_FLIGHT);
$primary->start;
add_number($primary);
ok(wait_for_sender($primary), 'there is a sender');

# Start a standby.  What is set for the primary later on is not set there.
sub add_standby
{
	my $name = 'server' . (@servers + 1);
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$primary->backup($name);
	$standby->init_from_backup($primary, $name, has_streaming => 1);
	$standby->start;
	push @servers, $standby;
	return $standby;
}

# Start one that commits are to wait for.
sub add_synchronous_standby
{
	my ($conf) = @_;
	my $standby = add_standby();

	wait_for_standby($primary, $standby->name . " is a synchronous standby, with $conf", $conf);
	return $standby;
}

# Have the standby get nothing any more of what happens.
sub cut_off
{
	my ($standby) = @_;

	set_conf($standby, "primary_conninfo = ''");
	return ok(
		wait_until(
			'the standby is gone',
			sub { $primary->safe_psql('postgres', 'SELECT count(*) FROM pg_stat_replication') eq '0' }),
		'the standby is cut off');
}

# The primary dies, and the standby is promoted.
sub fail_over
{
	my ($standby) = @_;

	$primary->stop('immediate');
	$standby->promote;
	$primary = $standby;
	return ok(wait_for_sender($primary), $primary->name . ' is promoted, and has a sender');
}

sub queue
{
	my ($recipient, $body) = @_;

	$primary->safe_psql('postgres',
		"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('$recipient', '$body')");
	return;
}

# Workers of ours
sub workers
{
	my ($node) = @_;

	return $node->safe_psql('postgres',
		"SELECT string_agg(backend_type, ',' ORDER BY backend_type) FROM pg_stat_activity WHERE backend_type ~ 'whatsapp'");
}

# -- A hot standby -------------------------------------------------------------

# Only the standby could send
my $standby = add_standby();
queue('15550000001', 'hello');
wait_for_state($primary, "body = 'hello'", 'sent', 'a message is sent');
set_conf($primary, 'whatsapp.enabled = off');
queue('15550000002', 'queued before');
wait_for_state($standby, "body = 'queued before'", 'queued', 'what is queued is so on the standby');
is($standby->safe_psql('postgres', 'SHOW whatsapp.enabled'), 'on', 'where it is switched on');
is( $standby->safe_psql('postgres',
		'SELECT phone_number_id, state, missing, pid, queued, due, in_flight FROM whatsapp.sender_status'),
	NUMBER . '|no sender|the server is a standby||1|1|0',
	'the status can be read there, and says why nothing is sent');
foreach my $relation (qw(messages conversations outbox))
{
	my $query = "SELECT to_jsonb(r) FROM whatsapp.$relation r ORDER BY 1";
	my $rows = $primary->safe_psql('postgres', $query);

	like($rows, qr/hello/, "there is something in $relation");
	is($standby->safe_psql('postgres', $query), $rows, 'and the same on the standby');
}
my $errors = ($standby->psql('postgres', <<'SQL'))[2];
SELECT format('SELECT * FROM whatsapp.%I;', relname)
FROM pg_class
WHERE relnamespace = 'whatsapp'::regnamespace AND relkind IN ('r', 'v')
\gexec
SQL
is($errors, '', 'all tables and views can be read there');
is(workers($primary), 'whatsapp launcher,whatsapp sender', 'on the primary there are workers');
is(workers($standby), '', 'and none on the standby');
is(graph_requests($graph, '15550000002'), 0, 'nothing is sent by it');

# -- It is promoted ------------------------------------------------------------

graph_post($graph, '/_script',
	{ recipient => '15550000003', never => JSON::PP::true, times => 1 });
set_conf($primary, 'whatsapp.enabled = on');
wait_for_state($primary, "body = 'queued before'", 'sent', 'the primary sends it');
queue('15550000003', 'under way');
queue('15550000003', 'behind it');
ok( wait_until('it is under way', sub { graph_requests($graph, '15550000003') == 1 }),
	'one is under way');
set_conf($primary, 'whatsapp.enabled = off');
queue('15550000004', 'queued at the end');
wait_for_state($standby, "body = 'queued at the end'", 'queued', 'others are queued');
wait_for_state($standby, "body = 'under way'", 'sending', 'the standby knows of it');
fail_over($standby);
wait_for_state($primary, "body = 'under way'", 'unknown', 'what was under way is unknown');
wait_for_state($primary, "body IN ('behind it', 'queued at the end')", 'sent', 'what was queued is sent');
queue('15550000005', 'queued after');
wait_for_state($primary, "body = 'queued after'", 'sent', 'and so is what is queued now');
is(workers($primary), 'whatsapp launcher,whatsapp sender', 'there are workers now');
my %times;
$times{ $_->{body}{text}{body} }++ foreach @{ graph_get($graph, '/_log') };
is_deeply(\%times,
	{ map { $_ => 1 } 'hello', 'queued before', 'under way', 'behind it', 'queued at the end', 'queued after' },
	'nothing is sent twice');

# A status tells the new primary what became of it
my ($under_way) = grep { $_->{body}{text}{body} eq 'under way' } @{ graph_get($graph, '/_log') };
$primary->safe_psql('postgres',
	qq(SELECT whatsapp.ingest_unsigned('{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {"metadata": {"phone_number_id": "@{[NUMBER]}"}, "statuses": [{"id": "wamid.told", "status": "sent", "timestamp": "1750101000", "biz_opaque_callback_data": "$under_way->{body}{biz_opaque_callback_data}"}]}}]}]}')));
wait_for_state($primary, "body = 'under way'", 'sent', 'a status tells of what was unknown');

# -- A synchronous standby -----------------------------------------------------

my $unknown = 0;

# Have the primary die when it has begun to send so many.
sub die_after
{
	my ($n, $conf) = @_;
	my $standby = add_synchronous_standby($conf);
	my $body = 'to ' . $standby->name;
	my %times;

	graph_post($graph, '/_reset');
	graph_post($graph, '/_script', { recipient => '*', delay_ms => 100 });
	$primary->safe_psql('postgres',
		"INSERT INTO whatsapp.outbox (recipient, body) SELECT '1556' || to_char(i, 'FM0000000'), '$body' FROM generate_series(1, "
		  . ROWS
		  . ') i');
	ok(wait_until("$n have left", sub { graph_requests($graph) >= $n }), "$n have left");
	fail_over($standby);
	graph_post($graph, '/_script', { recipient => '*' });
	ok( wait_until(
			'nothing is left to be sent',
			sub {
				$primary->safe_psql('postgres',
					"SELECT count(*) FROM whatsapp.outbox WHERE body = '$body' AND state IN ('queued', 'sending')") eq '0';
			}),
		'the rest is sent');

	my %rows = map { split(/\|/) } split(/\n/,
		$primary->safe_psql('postgres', "SELECT state, count(*) FROM whatsapp.outbox WHERE body = '$body' GROUP BY state"));

	$times{ $_->{to} }++ foreach @{ graph_get($graph, '/_log') };
	note(join(', ', map { "$rows{$_} $_" } sort keys %rows));
	$unknown += $rows{unknown} // 0;
	is(($rows{sent} // 0) + ($rows{unknown} // 0), ROWS, 'each is sent or unknown');
	cmp_ok($rows{unknown} // 0, '<=', IN_FLIGHT, 'and no more are unknown than were under way');
	is_deeply([ grep { $times{$_} > 1 } sort keys %times ], [], 'nobody is messaged twice');
	return;
}

die_after($_, 'synchronous_commit = on') foreach 1, 90, 160;
die_after(90, 'synchronous_commit = off');
cmp_ok($unknown, '>', 0, 'some were under way, or this has tested nothing');
graph_post($graph, '/_reset');

# Does the sender wait for the standby to know that a message is to leave?  If it
# waits with anything else that it has written, it is to go on.
sub is_waiting
{
	my $waiting = "FROM pg_stat_activity WHERE backend_type = 'whatsapp sender' AND wait_event = 'SyncRep'";

	$primary->safe_psql('postgres', "SELECT pg_cancel_backend(pid) $waiting AND query <> 'claiming'");
	return $primary->safe_psql('postgres', "SELECT count(*) $waiting AND query = 'claiming'") eq '1';
}

# Have a message become due that the standby knows of, but cut off as it is it
# cannot know that it leaves.
sub send_unseen
{
	my ($standby, $recipient) = @_;

	set_conf($primary, 'whatsapp.enabled = off');
	queue($recipient, 'unseen');
	wait_for_state($standby, "recipient = '$recipient'", 'queued', 'the standby knows that it is queued');
	cut_off($standby);
	set_conf($primary, 'whatsapp.enabled = on');
	return;
}

# Test that nothing leaves before the standby knows that it does, whatever
# becomes of a sender that waits for that.
sub waits_for_standby
{
	my ($what, $conf, $blow) = @_;
	my $standby = add_synchronous_standby($conf);
	my $recipient = '155500001' . @servers;

	send_unseen($standby, $recipient);
	ok( wait_until(
			'it is waited for',
			sub { is_waiting() || graph_requests($graph, $recipient) > 0 }),
		'the sender takes the message');
	$blow->(sender_pid($primary)) if $blow;
	is(graph_requests($graph, $recipient), 0, "$what: nothing leaves that the standby does not know of");
	fail_over($standby);
	wait_for_state($primary, "recipient = '$recipient'", 'sent', 'it is sent');
	is(graph_requests($graph, $recipient), 1, "$what: nobody is messaged twice");
	return;
}

waits_for_standby('whoever commits waits', 'synchronous_commit = on');
waits_for_standby('nobody else waits', 'synchronous_commit = off');
waits_for_standby(
	'the sender is cancelled',
	'synchronous_commit = on',
	sub {
		my ($sender) = @_;

		# there is no telling when it has noticed, but it is not slow
		$primary->safe_psql('postgres', "SELECT pg_cancel_backend($sender)") foreach 1 .. 5;
	});
waits_for_standby(
	'the sender is asked to end',
	'synchronous_commit = on',
	sub {
		my ($sender) = @_;

		$primary->safe_psql('postgres', "SELECT pg_terminate_backend($sender)");
		ok(wait_for_sender($primary, 'postgres', $sender), 'there is another sender');
	});

# -- An asynchronous standby ---------------------------------------------------

# What the standby has not heard of when the primary dies has not happened: so
# says docs/delivery.md
$standby = add_standby();
send_unseen($standby, '15550000006');
wait_for_state($primary, "recipient = '15550000006'", 'sent', 'the primary sends it');
fail_over($standby);
wait_for_state($primary, "recipient = '15550000006'", 'sent', 'the new one has not heard of it, and sends it');
is(graph_requests($graph, '15550000006'), 2, 'twice in all');

unlike(slurp_file($_->logfile), qr/PANIC|terminated by signal|TRAP/, $_->name . ' has not crashed')
  foreach @servers;
$primary->stop;
done_testing();
