# docs/webhooks.md says what becomes of webhooks, and it is so.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant PAGE => 'docs/webhooks.md';

# Fields of our webhooks that Meta does not have
my %unknown = map { $_ => 1 } qw(empty_update shop_closed weather_update);

my $page = slurp_file(PAGE);
my $json = JSON::PP->new->ascii->allow_bignum->canonical;

# A cluster that sends nothing
my $node = PostgreSQL::Test::Cluster->new('docs');
$node->init;
$node->start;
add_number($node);

# The part of the page between two markers
sub part
{
	my ($name) = @_;

	$page =~ /^<!-- $name: begin -->\n(.*?)^<!-- $name: end -->$/ms
	  or BAIL_OUT(PAGE . " has no part that is called $name");
	return $1;
}

# Places and columns
my $paths = $node->safe_psql('postgres', slurp_file('test/webhooks_doc.sql')) . "\n";
if (!ok($paths eq part('paths'), 'the page has what whatsapp.webhook_paths() says'))
{
	my $written = "$PostgreSQL::Test::Utils::tmp_check/webhooks.md";

	$page =~ s/(?<=^<!-- paths: begin -->\n).*?(?=^<!-- paths: end -->$)/$paths/ms;
	open(my $file, '>', $written) or die "could not write $written: $!";
	print $file $page;
	close($file);
	diag(PAGE . " is out of date.  Put what \"psql -AtX -f test/webhooks_doc.sql\" prints between its markers \"paths\", or run this test with KEEP=1 and take src/tmp_check/webhooks.md from the folder that is kept.");
}

# The overview: a field's line names the tables and views that it fills
my %filled_by;
foreach my $line (split(/\n/, part('fields')))
{
	my (undef, $fields, @cells) = split(/\s*\|\s*/, $line);

	next if !defined $fields || $fields !~ /`/;
	foreach my $field ($fields =~ /`(\w+)`/g)
	{
		$filled_by{$field}{$_} = 1 foreach map { /`(\w+)`/g } @cells;
	}
}
my %named = map { %$_ } values %filled_by;
is( $node->safe_psql('postgres', sprintf(
			"SELECT name FROM unnest('{%s}'::text[]) name WHERE to_regclass('whatsapp.' || quote_ident(name)) IS NULL",
			join(',', sort keys %named))),
	'', 'all tables and views in the overview are there');

# Views that are in the page, or should be
my @views = split(/\n/, $node->safe_psql('postgres',
		"SELECT c.relname FROM pg_class c
		 WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind = 'v'
			AND EXISTS (SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
				WHERE r.ev_class = c.oid AND d.refobjid = 'whatsapp.events'::regclass)
		 ORDER BY 1"));
is("@{[ grep { !$named{$_} } @views ]}",
	'', 'all views of events are in the overview');

# Changes of all our webhooks that can be read, each in a webhook of its own
sub list
{
	my ($value) = @_;

	return ref $value eq 'ARRAY' ? @$value : ref $value ? ($value) : ();
}

my %changes;
foreach my $file (sort glob('test/webhooks/*.json'))
{
	my $document = eval { $json->decode(slurp_file($file) =~ s/[^\x00-\x7f]+/?/gr) };

	next if !$document || ($document->{object} // '') ne 'whatsapp_business_account';
	foreach my $entry (list($document->{entry}))
	{
		foreach my $change (list($entry->{changes}))
		{
			my $field = ref $change eq 'HASH' ? $change->{field} : undef;

			next if !defined $field || ref $field;
			$changes{$field}{
				$json->encode({
						object => $document->{object},
						entry => [ { %$entry, changes => [$change] } ] }) } = 1;
		}
	}
}
cmp_ok(scalar(keys %changes), '>', 30, 'there are webhooks to try');
is("@{[ grep { !$filled_by{$_} && !$unknown{$_} } sort keys %changes ]}",
	'', 'all fields of our webhooks are in the overview, but for those that Meta does not have');
is("@{[ grep { $filled_by{$_} } sort keys %unknown ]}",
	'', 'and these are not');

# What each of them fills
my $sql = "
CREATE FUNCTION fills(field text, body bytea, relations text[]) RETURNS SETOF text
LANGUAGE plpgsql AS \$\$
DECLARE
	name text;
	there boolean;
BEGIN
	PERFORM whatsapp.ingest(body, whatsapp.sign(body, '" . SECRET . "'));
	FOREACH name IN ARRAY relations LOOP
		EXECUTE format('SELECT EXISTS (SELECT FROM whatsapp.%I)', name) INTO there;
		IF there THEN
			RETURN NEXT field || ' ' || name;
		END IF;
	END LOOP;
	FOR name IN SELECT table_name FROM whatsapp.webhook_paths() UNION VALUES ('correspondents'), ('contact_sightings') LOOP
		EXECUTE format('DELETE FROM whatsapp.%I', name);
	END LOOP;
END \$\$;
CREATE TABLE fills (what text);
";
my $relations = join(',', sort { $a cmp $b } keys %{ {
	map { $_ => 1 } @views, keys %named,
	split(/\n/, $node->safe_psql('postgres', 'SELECT DISTINCT table_name FROM whatsapp.webhook_paths()')) } });
foreach my $field (sort keys %changes)
{
	$sql .= sprintf("INSERT INTO fills SELECT fills('%s', '\\x%s', '{%s}');\n",
		$field =~ s/'/''/gr, unpack('H*', $_), $relations)
	  foreach sort keys %{ $changes{$field} };
}
$node->safe_psql('postgres', $sql);
my @fills = split(/\n/, $node->safe_psql('postgres',
		'SELECT what FROM fills GROUP BY what ORDER BY what COLLATE "C"'));
cmp_ok(scalar(@fills), '>', 60, 'they fill many tables');

# What is not understood of any goes to events; see the page
my @untold = grep {
	my ($field, $relation) = split(/ /, $_);
	!$unknown{$field} && $relation ne 'events' && !$filled_by{$field}{$relation}
} @fills;
is(join(', ', @untold), '', 'and the overview names all of these');

# Of tables it may name more, but each of the views has something to show
my %done = map { $_ => 1 } @fills;
my %is_view = map { $_ => 1 } @views;
my @empty = map {
	my $field = $_;
	map { "$field $_" }
	  grep { $is_view{$_} && !$done{"$field $_"} } sort keys %{ $filled_by{$field} }
} grep { $changes{$_} } sort keys %filled_by;
is(join(', ', @empty), '', 'and no view that stays empty');

# Promises about sending: each names a test, and some words that are in it
my ($promises) = slurp_file('docs/delivery.md') =~ /^## What is promised\n(.*?)^## /ms;
my @named = $promises =~ /^\| .* \| (`\S+` ".*") \|$/mg;
cmp_ok(scalar(@named), '>', 30, 'docs/delivery.md names tests');
is(scalar(() = $promises =~ /^\| (?!promise ).* \|$/mg),
	scalar(@named), 'each promise does');
my @unknown = grep {
	my ($file, $words) = /^`(\S+)` "(.*)"$/;
	!-e $file || index(join(' ', split(/\s+(?:# |-- )?/, slurp_file($file))), $words) < 0
} @named;
is_deeply(\@unknown, [], 'and those tests are there');

$node->stop;
done_testing();
