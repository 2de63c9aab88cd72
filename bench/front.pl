# How many webhooks a second the Express front takes, in batches, and how long
# the slowest of a hundred wait: beside the handler of the usual tutorial, and one
# that does nothing, which is the floor of any that uses Express.
# front.sh measures it, with wrk and 64 connections.

use strict;
use warnings;

use Bench;
use Whatsapp;

use constant SECONDS => size(10, 2);
use constant ROUNDS => size(5, 2);

my $node = start_cluster('front');
my (%rates, %p99);

$node->safe_psql('postgres', 'CREATE DATABASE front');
$node->safe_psql('front', sprintf("CREATE EXTENSION whatsapp; SELECT whatsapp.add_number('%s', app_secret => 'secret')", NUMBER));

foreach (split(/\n/, run_program({ program_environment($node), PGDATABASE => 'front' }, 'bench/front.sh', SECONDS, ROUNDS)))
{
	my ($front, $rate, undef, $p99, $errors) = /^(ours|tutorial|express) +(\d+) +([0-9.]+) +([0-9.]+) +(\d+)$/ or next;

	die "$errors requests of $front have failed" if $errors > 0;
	push @{ $rates{$front} }, $rate;
	push @{ $p99{$front} }, $p99;
	progress('%s: %d requests/s, p99 %.1f ms', $front, $rate, $p99);
}
report(case => '64 connections', beside => 'tutorial', compared(\%rates, 'ours', 'tutorial'), unit => 'requests/s', goal => 'ratio >= 3');
report(case => '64 connections', beside => 'Express alone', compared(\%rates, 'ours', 'express'), unit => 'requests/s');
report(case => '64 connections, p99', beside => 'tutorial', compared(\%p99, 'ours', 'tutorial'), unit => 'ms', goal => 'ratio < 1');
