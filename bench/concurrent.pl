# How many webhooks a second are filed by several clients at once, each in a
# transaction of its own that is on disk when it has committed: beside how many
# transactions commit by as many clients that only insert one row.  pgbench is
# the client of both.
#
#	BENCH_WEBHOOKS		how many in a round

use strict;
use warnings;

use Bench;
use PostgreSQL::Test::Utils;

use constant WEBHOOKS => $ENV{BENCH_WEBHOOKS} // size(32_000, 3200);
use constant ROUNDS => size(5, 2);

# (i is the client's, and is kept from one transaction to the next)
my %scripts = (
	ingest => <<'SQL',
\set i :i + 1
\set n :i * :clients + :client_id + 1
SELECT 1 / ((whatsapp.ingest(b.body, b.signature)).http_status = 200)::integer FROM bench.bodies b WHERE b.kind = 'text' AND b.n = :n;
SQL
	insert => <<'SQL');
\set i :i + 1
\set n :i * :clients + :client_id + 1
INSERT INTO bench.row (n, told) VALUES (:n, 'Does it come in another color?');
SQL

my $node = start_cluster('concurrent');
my $dir = $node->basedir;

append_to_file("$dir/$_.sql", $scripts{$_}) foreach keys %scripts;
run_program({ program_environment($node) }, 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', 'bench/bodies.sql',
	'-c', "SELECT bench.make_bodies('text', @{[WEBHOOKS]})",
	'-c', 'CREATE TABLE bench.row (n bigint PRIMARY KEY, told text)');

# Run a script by so many clients, which between them do each n once.  Returns
# how many a second, without what it took to connect.
sub rate
{
	my ($name, $clients) = @_;

	empty_tables($node);
	$node->safe_psql('postgres', 'TRUNCATE bench.row');
	settle_down($node, qw(whatsapp.messages whatsapp.correspondents whatsapp.events bench.row));
	my $output = run_program({ program_environment($node) },
		'pgbench', '-n', '-M', 'prepared', '-f', "$dir/$name.sql", '-D', 'i=-1', '-D', "clients=$clients",
		'-c', $clients, '-j', 2, '-t', WEBHOOKS / $clients);
	my ($rate) = $output =~ /^tps = ([0-9.]+) \(without/m;
	my $rows = $node->safe_psql('postgres',
		'SELECT count(*) FROM ' . ($name eq 'ingest' ? 'whatsapp.messages' : 'bench.row'));

	die "$rows rows, and not @{[WEBHOOKS]}: $output" if $rows != WEBHOOKS;
	return $rate;
}

foreach my $clients (2, 8, 32)
{
	my $rates = compare(ROUNDS,
		ingest => sub { rate('ingest', $clients) },
		insert => sub { rate('insert', $clients) });

	report(case => "$clients clients", beside => 'INSERTs of one row', compared($rates, 'ingest', 'insert'),
		unit => 'commits/s', goal => 'ratio >= 0.6');
}
