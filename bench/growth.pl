# What it costs that there are ten million messages, of 100,000 people, with all
# that belongs to them: how fast webhooks are filed and messages leave, beside the
# same with empty tables; and how long it takes to see the newest conversations of
# a number, and the last messages of a person.  There are two clusters, of which
# one has nothing to do while the other is measured.
#
#	BENCH_STORED		how many messages
#	BENCH_PEOPLE		how many people

use strict;
use warnings;

use Bench;
use File::Temp;
use PostgreSQL::Test::Utils;
use Whatsapp;

use constant STORED => $ENV{BENCH_STORED} // size(10_000_000, 100_000);
use constant PEOPLE => $ENV{BENCH_PEOPLE} // STORED / 100;
use constant ROUNDS => size(5, 2);
use constant WEBHOOKS => size(6000, 1500);
use constant MESSAGES => size(30_000, 3000);
use constant READS => size(200, 50);

my $server = start_server('http');
my %nodes;

foreach my $name (qw(empty grown))
{
	$nodes{$name} = start_cluster($name, $server, 'shared_buffers = ' . size('4GB', '512MB'), 'autovacuum = off');
	run_program({ program_environment($nodes{$name}) },
		'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', 'bench/bodies.sql', '-f', 'bench/growth.sql');
}

sub sql
{
	my ($name, $query) = @_;

	return $nodes{$name}->safe_psql('postgres', $query);
}

progress('storing %d messages', STORED);
sql('grown', "CALL bench.grow(@{[STORED]}, @{[PEOPLE]})");
settle_down($nodes{grown}, '');

# What has been done so far: bytes of WAL, images of whole pages in it, and pages
# read that were not in shared_buffers
my @work = ('bytes of WAL', 'page images in WAL', 'pages read');
sub work_done
{
	my ($name) = @_;

	return split(/\|/,
		sql($name, "SELECT pg_current_wal_insert_lsn() - '0/0', wal_fpi, blks_read FROM pg_stat_wal, pg_stat_database WHERE datname = current_database()"));
}

# Each of these returns how many a second

# (and keeps what work that was for each)
my %work;

sub file
{
	my ($name, $kind, $round) = @_;
	my $first = $round * WEBHOOKS + 1;
	my $last = $first + WEBHOOKS - 1;

	empty_tables($nodes{$name}) if $name eq 'empty';
	sql($name, "SELECT bench.make_bodies('$kind', @{[WEBHOOKS]}, $first)");
	sql($name, "SELECT bench.make_sent(@{[WEBHOOKS]}, $first)") if $kind eq 'status';
	settle_down($nodes{$name}, 'bench.bodies');
	my @before = work_done($name);
	# (a few first, for the session to know what to do)
	my $seconds = sql($name,
		"SELECT bench.file_one_by_one('$kind', $first, $first + 99); SELECT bench.file_one_by_one('$kind', $first + 100, $last) / 1e6");
	my @after = work_done($name);

	push @{ $work{$kind}[$_]{$name} }, ($after[$_] - $before[$_]) / WEBHOOKS foreach 0 .. $#work;
	return (WEBHOOKS - 100) / (split(/\n/, $seconds))[1];
}

sub drain
{
	my ($name) = @_;
	my $node = $nodes{$name};

	pause_number($node);
	empty_tables($node) if $name eq 'empty';
	fill_outbox($node, MESSAGES, recipients => MESSAGES / 3);
	return MESSAGES / drain_outbox($node, $server, MESSAGES);
}

foreach my $kind (qw(text status))
{
	my $rates = compare(ROUNDS, map { my $name = $_; $name => sub { file($name, $kind, $_[0]) } } qw(grown empty));

	report(case => "$kind webhooks", beside => 'empty tables', compared($rates, 'grown', 'empty'),
		unit => 'webhooks/s', goal => 'ratio >= 0.8');
	foreach my $i (0 .. $#work)
	{
		my $values = $work{$kind}[$i];

		report(case => "$kind webhooks", beside => 'empty tables', ours => median(@{ $values->{grown} }),
			peer => median(@{ $values->{empty} }), unit => "$work[$i] a webhook");
	}
}

my $rates = compare(ROUNDS, map { my $name = $_; $name => sub { drain($name) } } qw(grown empty));

report(case => 'drain', beside => 'empty tables', compared($rates, 'grown', 'empty'),
	unit => 'messages/s', goal => 'ratio >= 0.8');

# How long a query takes, as a client sees it: the median of so many, in ms.  It is
# a script for pgbench; how it is sent is one of pgbench's protocols.
sub read_time
{
	my ($protocol, $script) = @_;
	my $node = $nodes{grown};
	my $file = File::Temp->new;

	print $file $script;
	close($file);
	my $log = $node->basedir . '/reads';
	run_program({ program_environment($node) },
		'pgbench', '-n', '-M', $protocol, '-f', "$file", '-D', 'people=' . PEOPLE / 20, '-t', READS, '-l', "--log-prefix=$log");
	my ($times) = glob("$log.*");
	my @ms = map { (split(/ /))[2] / 1000 } split(/\n/, slurp_file($times));

	unlink $times;
	return median(@ms);
}

settle_down($nodes{grown}, '');
my %reads = (
	# (of those of whom there are 50)
	'last 50 messages of one' =>
	  '\set n random(0, :people)' . "\nSELECT * FROM whatsapp.conversation('@{[NUMBER]}', (15550000000 + :n)::text);",
	'newest 50 conversations' =>
	  "SELECT * FROM whatsapp.conversations WHERE phone_number_id = '@{[NUMBER]}' ORDER BY last_message_at DESC LIMIT 50;");

foreach my $case (sort keys %reads)
{
	foreach my $protocol (qw(prepared simple))
	{
		report(case => "$case, $protocol", beside => 'that long', ours => read_time($protocol, $reads{$case}),
			unit => 'ms', goal => 'ours < 5');
	}
}
