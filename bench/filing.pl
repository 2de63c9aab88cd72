# How what a webhook costs grows, in the server and in one backend: with how many
# are filed by a call, and with how many messages are there.  For plots; nothing
# is beside it.
#
#	BENCH_BATCHES		how many a call
#	BENCH_STORED		how many messages are there

use strict;
use warnings;

use Bench;

use constant WEBHOOKS => size(6000, 1000);
use constant ROUNDS => size(5, 3);

my @kinds = qw(text status image);
my @batches = split(' ', $ENV{BENCH_BATCHES} // size('1 3 10 30 100 300 1000', '1 10 100'));
my @stored = split(' ', $ENV{BENCH_STORED} // size('0 10000 100000 1000000 3000000', '0 10000'));
my $node = start_cluster('filing', undef, 'shared_buffers = ' . size('4GB', '512MB'), 'autovacuum = off');

run_program({ program_environment($node) },
	'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', 'bench/bodies.sql', '-f', 'bench/growth.sql');

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# What a webhook costs, in us, as a function files them.  The first of them are for
# the session to know what to do.
sub cost
{
	my ($kind, $first, $function, @more) = @_;
	my ($begin, $last) = ($first + WEBHOOKS / 10, $first + WEBHOOKS - 1);
	my $more = join('', map { ", $_" } @more);

	sql("SELECT bench.make_bodies('$kind', @{[WEBHOOKS]}, $first)");
	sql("SELECT bench.make_sent(@{[WEBHOOKS]}, $first)") if $kind eq 'status';
	settle_down($node, 'bench.bodies');
	my $us = sql("SELECT $function('$kind', $first, $begin - 1$more); SELECT $function('$kind', $begin, $last$more)");

	return (split(/\n/, $us))[1] / ($last - $begin + 1);
}

foreach my $kind (@kinds)
{
	foreach my $size (@batches)
	{
		my @costs;

		foreach my $round (1 .. ROUNDS)
		{
			empty_tables($node);
			sql('TRUNCATE bench.bodies');
			push @costs, cost($kind, 1, 'bench.file_in_batches', $size);
		}
		point("webhooks a call, $kind", $size, median(@costs), 'us a webhook');
	}
}
foreach my $stored (@stored)
{
	empty_tables($node);
	sql("CALL bench.grow($stored, ceil($stored / 100.0)::bigint)") if $stored;
	settle_down($node, '');
	foreach my $kind (@kinds)
	{
		my @costs;

		sql('TRUNCATE bench.bodies');
		push @costs, cost($kind, $_ * WEBHOOKS + 1, 'bench.file_one_by_one') foreach 1 .. ROUNDS;
		point("messages stored, $kind", $stored, median(@costs), 'us a webhook');
	}
}
