# How long it takes, while nobody does anything else, from when a transaction
# that has queued a message is told to commit until the first byte of the request
# is at the server: beside a Node program that listens, is told by pg_notify() in
# the same transaction, and posts (worker.js).  See latency.c for who takes the
# time.  Both have a connection to the server by the second message.

use strict;
use warnings;

use Bench;
use PostgreSQL::Test::Utils;
use Whatsapp;

use constant MESSAGES => size(2000, 300);
use constant ROUNDS => size(5, 2);

my $node = start_cluster('latency');
my %p99;

$node->safe_psql('postgres', slurp_file('bench/worker.sql'));

# Measure one message after the other, each queued by a statement and done with
# when a table says so.  Whoever posts them is started by a function that is told
# the server.  Returns the median, and keeps the 99th percentile.
sub measure
{
	my ($side, $table, $queue, $start) = @_;
	my $program = start_program({ program_environment($node) },
		'bench/latency', MESSAGES, $queue, "SELECT state = 'sent' FROM $table ORDER BY id DESC LIMIT 1");
	my $poster = $start->($program);

	$program->{run}->signal('USR1');
	$program->{run}->finish or die 'latency has failed: ' . slurp_file("$program->{log}.errors");
	stop_program($poster) if $poster;
	my @times = grep { /^[0-9.]+$/ } split(/\n/, slurp_file($program->{log}));
	die 'not all have been measured' if @times != MESSAGES;
	push @{ $p99{$side} }, percentile(99, @times);
	return percentile(50, @times);
}

my $p50 = compare(ROUNDS,
	ours => sub {
		return measure('ours', 'whatsapp.outbox',
			"INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'Your order has left.')",
			sub { send_to($node, $_[0]); return });
	},
	worker => sub {
		return measure('worker', 'worker.outbox',
			"WITH queued AS (INSERT INTO worker.outbox (recipient, body) VALUES ('+15550000001', 'Your order has left.') RETURNING id) SELECT pg_notify('outbox', id::text) FROM queued",
			sub {
				return start_program(
					{ worker_environment($node, { %{ $_[0] }, protocol => 'http' }), WORKER_LISTEN => 1 },
					'node', 'bench/worker.js');
			});
	});

foreach my $measure ([ 'p50', $p50, 1 ], [ 'p99', \%p99, 5 ])
{
	my ($name, $values, $limit) = @$measure;
	my %compared = compared($values, 'ours', 'worker');

	report(case => $name, beside => 'that long', ours => $compared{ours}, unit => 'ms', goal => "ours <= $limit");
	report(case => $name, beside => 'NOTIFY, Node', %compared, unit => 'ms', goal => 'ratio <= 0.5');
}
