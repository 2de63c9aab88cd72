# How many queued texts leave in a second, over HTTP/1.1, over TLS and over
# HTTP/2: beside a worker as one writes it in Node.js (worker.js), and beside
# nothing but libcurl (bare.c) that posts the same bodies.  States are durable,
# each recipient's messages leave in order, and the pace is kept, which is set so
# high that it does not matter.
#
# The floor of one process that does both is what it takes to post the bodies, by
# bare libcurl, and to write the rows that tell of them, by floor.sql.
#
# All of a queue is there before anything may leave.  Time is counted from the
# beginning of the first claim, which the rows tell, until the last row is known
# to be sent: with us, as another session sees it; with the Node worker, as the
# row tells, which does not count its last commit.  So nobody's start is counted.
# Bare libcurl counts from before its first request to after its last answer.
# Nobody has connections at the beginning, as the server is a new one each time.
#
#	BENCH_PROTOCOLS		which of them: "http https h2"
#	BENCH_MESSAGES		how many messages

use strict;
use warnings;

use Bench;
use PostgreSQL::Test::Utils;
use Whatsapp;

use constant MESSAGES => $ENV{BENCH_MESSAGES} // size(100_000, 10_000);
use constant ROUNDS => size(3, 2);
use constant IN_FLIGHT => 256;
use constant PER_RECIPIENT => 10;

my %names = (http => 'HTTP/1.1', https => 'TLS', h2 => 'HTTP/2');
my $node = start_cluster('drain', undef, 'whatsapp.max_in_flight = ' . IN_FLIGHT);

$node->safe_psql('postgres', slurp_file("bench/$_.sql")) foreach qw(worker floor);
sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# Each of these drains a queue, and returns how many a second

sub drain_ours
{
	my ($server, $recipients) = @_;

	empty_outbox($node);
	fill_outbox($node, MESSAGES, recipients => $recipients);
	my $seconds = drain_outbox($node, $server, MESSAGES);
	check_sent($node, $server, MESSAGES);
	return MESSAGES / $seconds;
}

sub drain_by_worker
{
	my ($server, $recipients) = @_;

	sql('TRUNCATE worker.outbox');
	sql("INSERT INTO worker.outbox (recipient, body) SELECT '+' || 15550000000 + i % $recipients, 'Your order ' || i || ' has left, and will be with you on Monday.' FROM generate_series(1, @{[MESSAGES]}) i");
	settle_down($node, 'worker.outbox');
	restart_server($server);
	run_program({ worker_environment($node, $server) }, 'node', 'bench/worker.js');
	check_sent($node, $server, MESSAGES, 'worker.outbox');
	return MESSAGES / sql('SELECT extract(epoch FROM max(finished_at) - min(claimed_at)) FROM worker.outbox');
}

# Only write what is known of messages that are sent.
sub write_rows
{
	empty_outbox($node);
	fill_outbox($node, MESSAGES);
	sql('CALL bench.finish()');
	settle_down($node, 'whatsapp.outbox', 'bench.finished');

	# (triggers, and what they would tell the sender, are not part of it)
	my $seconds = sql("SET session_replication_role = replica; SET plan_cache_mode = force_generic_plan; CALL bench.write_finished(@{[IN_FLIGHT]})");
	my $written = sql("SELECT count(*) FROM whatsapp.outbox o JOIN whatsapp.messages m ON m.outbox_id = o.id JOIN whatsapp.correspondents k ON k.wa_id = m.wa_id WHERE o.state = 'sent'");

	die "of @{[MESSAGES]} messages, $written are written" if $written != MESSAGES;
	return MESSAGES / $seconds;
}

# (these rows are the same whatever the protocol is: they are written beside the
# first one)
my $written;

foreach my $protocol (split(' ', $ENV{BENCH_PROTOCOLS} // 'http https h2'))
{
	my $server = start_server($protocol);
	my $name = $names{$protocol};

	progress($name);
	send_to($node, $server);
	my $rates = compare(ROUNDS,
		ours => sub { drain_ours($server, MESSAGES) },
		worker => sub { drain_by_worker($server, MESSAGES) },
		bare => sub { MESSAGES / post_bare($node, $server, MESSAGES, IN_FLIGHT) },
		defined $written ? () : (written => \&write_rows));
	$rates->{written} //= $written;
	$written = $rates->{written};
	$rates->{floor} = [ map { 1 / (1 / $rates->{bare}[$_] + 1 / $rates->{written}[$_]) } 0 .. ROUNDS - 1 ];
	my %worker = compared($rates, 'ours', 'worker');

	report(case => $name, beside => 'that many', ours => $worker{ours}, unit => 'messages/s', goal => 'ours >= 15000');
	report(case => $name, beside => 'Node worker', %worker, unit => 'messages/s', goal => 'ratio >= 3');
	report(case => $name, beside => 'bare libcurl', compared($rates, 'ours', 'bare'), unit => 'messages/s',
		goal => 'ratio >= ' . ($protocol eq 'http' ? 0.27 : 0.35));
	report(case => $name, beside => 'its rows alone', compared($rates, 'ours', 'written'), unit => 'messages/s');
	report(case => $name, beside => 'bare libcurl and its rows', compared($rates, 'ours', 'floor'), unit => 'messages/s');
	next if $protocol ne 'http';

	# order costs something only where several go to one
	$rates = compare(ROUNDS,
		ours => sub { drain_ours($server, MESSAGES / PER_RECIPIENT) },
		worker => sub { drain_by_worker($server, MESSAGES / PER_RECIPIENT) });
	report(case => "$name, @{[PER_RECIPIENT]} to each recipient", beside => 'Node worker',
		compared($rates, 'ours', 'worker'), unit => 'messages/s');
}
