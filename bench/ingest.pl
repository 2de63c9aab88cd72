# What it costs to file a webhook in the server, in one backend, one by one and a
# hundred a call: beside a peer in PL/pgSQL that files the same rows, and beside
# bare INSERTs of the finished rows.  ingest.sql measures it, by turns.
#
#	BENCH_WEBHOOKS		how many of each kind

use strict;
use warnings;

use Bench;

use constant WEBHOOKS => $ENV{BENCH_WEBHOOKS} // size(20_000, 1500);
use constant SIZE => 100;

my $node = start_cluster('ingest');

$node->safe_psql('postgres', 'CREATE DATABASE ingest');
$node->safe_psql('ingest', 'CREATE EXTENSION whatsapp');
progress('%d webhooks of each kind', WEBHOOKS);
run_program({ program_environment($node), PGDATABASE => 'ingest' },
	'psql', '-X', '-v', 'n=' . WEBHOOKS, '-f', 'bench/ingest.sql');

# What each hundred took per webhook, in microseconds
sub times_of
{
	my ($kind, $is_batch) = @_;
	my %times;

	foreach (split(/\n/, $node->safe_psql('ingest',
				"SELECT ours, peer, bare FROM bench.result WHERE kind = '$kind' AND batch = $is_batch ORDER BY first")))
	{
		my @us = split(/\|/);

		push @{ $times{$_} }, shift @us foreach qw(ours peer bare);
	}
	return \%times;
}

foreach my $kind (qw(text status image))
{
	my $times = times_of($kind, 'false');

	report(case => "$kind, one a call", beside => 'PL/pgSQL', compared($times, 'ours', 'peer'), unit => 'us', goal => 'ratio <= 0.6');
	report(case => "$kind, one a call", beside => 'INSERTs', compared($times, 'ours', 'bare'), unit => 'us', goal => 'ratio <= 2');
}
foreach my $kind (qw(text status image))
{
	my $times = times_of($kind, 'true');
	my $case = "$kind, @{[SIZE]} a call";

	report(case => $case, beside => 'that many', ours => 1e6 / median(@{ $times->{ours} }), unit => 'webhooks/s', goal => 'ours >= 25000');
	report(case => $case, beside => 'PL/pgSQL', compared($times, 'ours', 'peer'), unit => 'us');
	report(case => $case, beside => 'INSERTs of all', compared($times, 'ours', 'bare'), unit => 'us', goal => 'ratio <= 1.6');
}
