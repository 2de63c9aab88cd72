# All that a webhook tells is in the tables, and neither how it is written, nor
# how often, in what order and in what company it comes makes a difference.
#
# Webhooks are filed as bytes.  Where a check is of one webhook, what that has
# filed is rolled back again.  A check that fails names the webhook and, line by
# line, what should be there (-) and what should not (+).

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use File::Find;
use List::Util qw(shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What is random is so in the same way each time
srand(20260901);

# Tables that do not tell which webhooks it was that came
my @states = qw(messages statuses reactions media call_events groups
  group_participants templates user_preferences);

# Contacts were seen at the time of a webhook, which is that of the latest of
# all that it tells; and an event may be what is left of a whole change.
my @tables = (@states, 'correspondents', 'contact_sightings', 'contact_changes', 'events');

# What is said of all that is in a webhook need not be in an element
my @envelope = qw(object entry.id entry.time entry.changes.field
  entry.changes.value.messaging_product
  entry.changes.value.metadata.display_phone_number);

# and this is in a column at least
my @in_columns = qw(entry.changes.value.metadata.phone_number_id
  entry.changes.value.history.threads.id);

# Arrays of a value whose elements may as well come one by one
my @lists =
  qw(messages statuses message_echoes calls groups user_preferences errors);

# How many variants of each webhook have something odd instead of a scalar, and
# how many instead of an array or an object, at random
use constant ODD_SCALARS => 30;
use constant ODD_LISTS => 2;

# How many odd variants of each webhook, which contradict each other, are tried
# together
use constant RIVALS => 6;

# A cluster that sends nothing
my $node = PostgreSQL::Test::Cluster->new('nothing_lost');
$node->init;
$node->start;
add_number($node);

#
# Webhooks as text
#

# Write JSON anew, from its tokens as they are written.  Functions say what
# becomes of a scalar, of the elements of an array, and of the members of an
# object, [key, value] each; by default, the same again.
sub rewrite
{
	my ($text, %as) = @_;

	$as{scalar} //= sub { $_[0] };
	$as{array} //= \&array_text;
	$as{object} //= \&object_text;
	$text =~ /\G(?:\xef\xbb\xbf)?\s*/gc;
	my $result = rewrite_value(\$text, \%as);
	$text =~ /\G\s*\z/gc or die 'there is something after the end';
	return $result;
}

sub rewrite_value
{
	my ($text, $as) = @_;

	return $as->{object}->(rewrite_list($text, $as, '}'))
	  if $$text =~ /\G\{\s*/gc;
	return $as->{array}->(rewrite_list($text, $as, ']'))
	  if $$text =~ /\G\[\s*/gc;
	$$text =~ /\G("(?:[^"\\]|\\.)*"|[^][{}",:\s]+)/gcs
	  or die 'there is no value';
	return $as->{scalar}->($1);
}

# What is between brackets
sub rewrite_list
{
	my ($text, $as, $end) = @_;
	my @list;

	until ($$text =~ /\G\s*\Q$end\E/gc)
	{
		$$text =~ /\G\s*,\s*/gc or die 'there is no comma' if @list;
		if ($end eq '}')
		{
			$$text =~ /\G("(?:[^"\\]|\\.)*")\s*:\s*/gcs or die 'there is no key';
			my $key = $1;
			push @list, [ $key, rewrite_value($text, $as) ];
		}
		else
		{
			push @list, rewrite_value($text, $as);
		}
	}
	return @list;
}

sub array_text
{
	return '[' . join(',', @_) . ']';
}

sub object_text
{
	return '{' . join(',', map { "$_->[0]:$_->[1]" } @_) . '}';
}

# The same with the members of each object in another order.  Of members of one
# name the last one counts, so only that is left.
sub reorder
{
	my ($text, $order) = @_;

	return rewrite(
		$text,
		object => sub {
			my %last = map { $_->[0] => $_ } @_;
			return object_text($order->(grep { $_ == $last{ $_->[0] } } @_));
		});
}

# JSON as a tree of arrays and hashes, of which keys and scalars are tokens
sub tree
{
	my ($text) = @_;

	return rewrite(
		$text,
		array => sub { [@_] },
		object => sub {
			return { map { @$_ } @_ };
		});
}

sub tree_text
{
	my ($tree) = @_;

	return array_text(map { tree_text($_) } @$tree) if ref $tree eq 'ARRAY';
	return object_text(map { [ $_, tree_text($tree->{$_}) ] } sort keys %$tree)
	  if ref $tree;
	return $tree;
}

# The elements of an array; what stands where one could is its only element
sub list
{
	my ($value) = @_;

	return ref $value eq 'ARRAY' ? @$value : defined $value ? ($value) : ();
}

# The same as many webhooks: each change by itself, and of its value each
# element by itself with all that stands beside the lists
sub split_up
{
	my ($text) = @_;
	my $document = tree($text);
	my @parts;

	return ($text) if ref $document ne 'HASH' || !$document->{'"entry"'};
	foreach my $entry (list($document->{'"entry"'}))
	{
		next if ref $entry ne 'HASH';
		foreach my $change (list($entry->{'"changes"'}))
		{
			next if ref $change ne 'HASH';
			push @parts,
			  tree_text({
					%$document,
					'"entry"' => [ {
						%$entry,
						'"changes"' => [ { %$change, '"value"' => $_ } ] } ] })
			  foreach split_value($change->{'"value"'});
		}
	}
	return @parts;
}

sub split_value
{
	my ($value) = @_;
	my (%rest, @parts);

	return ($value // 'null') if ref $value ne 'HASH';
	%rest = %$value;
	delete @rest{ map { qq("$_") } @lists };
	foreach my $key (grep { exists $value->{$_} } map { qq("$_") } @lists)
	{
		push @parts, { %rest, $key => [$_] } foreach list($value->{$key});
	}
	return @parts ? @parts : (\%rest);
}

# Webhooks as one: all entries of those that have nothing else.  The others
# are left as they are.
sub together
{
	my (@texts) = @_;
	my (@entries, @others);

	foreach my $text (@texts)
	{
		my $document = tree($text);

		if (ref $document eq 'HASH'
			&& "@{[ sort keys %$document ]}" eq '"entry" "object"'
			&& $document->{'"object"'} eq '"whatsapp_business_account"')
		{
			push @entries, list($document->{'"entry"'});
		}
		else
		{
			push @others, $text;
		}
	}
	my $all = tree_text({
			'"object"' => '"whatsapp_business_account"',
			'"entry"' => \@entries });
	return ($all, @others);
}

# JSON with blanks for its scalars, and these
sub blanks
{
	my ($text) = @_;
	my @scalars;

	return (
		rewrite($text, scalar => sub { push @scalars, $_[0]; "\x01" }),
		@scalars);
}

sub fill_blanks
{
	my ($text, @scalars) = @_;

	return $text =~ s/\x01/shift @scalars/egr;
}

# The same with another value of members of such a name that are scalars
sub replace_members
{
	my ($text, $name, $new) = @_;

	return rewrite(
		$text,
		object => sub {
			return object_text(
				map {
					$_->[0] =~ $name && $_->[1] !~ /^[[{]/
					  ? [ $_->[0], $new ]
					  : $_
				} @_);
		});
}

# The same with something else instead of the nth array, or else of the nth
# of arrays and objects
sub replace_list
{
	my ($text, $new, $n, $objects) = @_;

	return rewrite(
		$text,
		array => sub { $n-- == 0 ? $new : array_text(@_) },
		object =>
		  sub { $objects && $n-- == 0 ? $new : object_text(@_) });
}

# What Meta has never written so.  Returns what it is by its name.
sub odd_variants
{
	my ($text) = @_;
	my ($form, @scalars) = blanks($text);
	my @nothings = ('null', '""', '0', 'true', '[]', '{}');
	my @times = (
		'"253402300799"', '"9223372036854775807"', '"99999999999999999999"',
		'"next week"', '-1', '1e3', '0');
	my $long = '"' . 'x' x 300 . '"';
	my @any = (@nothings, @times, $long, '12345678901234567890');
	my %variants = (
		'numbers in strings' =>
		  fill_blanks($form, map { /^[-0-9]/ ? qq("$_") : $_ } @scalars),
		'strings as numbers' => fill_blanks(
			$form, map { /^"(0|[1-9][0-9]*)"$/ ? $1 : $_ } @scalars),
		'objects in arrays' =>
		  rewrite($text, object => sub { array_text(object_text(@_)) }),
		'arrays of one unwrapped' => rewrite(
			$text, array => sub { @_ == 1 ? $_[0] : array_text(@_) }),
		'long ids' => replace_members($text, qr/id"$/, $long));

	$variants{"all $_"} = fill_blanks($form, ($_) x @scalars)
	  foreach @nothings;
	$variants{"times $_"} = replace_members($text, qr/time/, $_)
	  foreach @times;
	$variants{"codes $_"} = replace_members($text, qr/code"$/, $_)
	  foreach '0', '12345678901234567890';
	foreach my $i (1 .. ODD_SCALARS)
	{
		my $n = int(rand(@scalars));
		my $new = $any[ rand @any ];

		$variants{"one $new, $i"} = fill_blanks($form,
			@scalars[ 0 .. $n - 1 ],
			$new, @scalars[ $n + 1 .. $#scalars ]);
	}
	foreach my $i (1 .. ODD_LISTS)
	{
		my $new = $any[ rand @any ];
		my $n = int(rand($form =~ tr/[{//));

		$variants{"list $new, $i"} = replace_list($text, $new, $n, 1);
	}
	$variants{"list empty, $_"} = replace_list($text, '[]', $_, 0)
	  foreach 0 .. ($form =~ tr/[//) - 1;
	return \%variants;
}

#
# Webhooks in the database
#

# Fill test.bodies
sub load_bodies
{
	my (@bodies) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/bodies.copy";

	append_to_file(
		$file,
		join(
			'',
			map { "$_->[0]\t$_->[1]\t$_->[2]\t\\\\x" . unpack('H*', $_->[3]) . "\n" }
			  @bodies));
	$node->safe_psql('postgres', "COPY test.bodies FROM '$file'");
	unlink($file);
	return;
}

# A list of words, in SQL
sub sql_array
{
	return "'{" . join(',', @_) . "}'::text[]";
}

# The rows of tables, each as a line, as a query
sub rows_query
{
	my (@names) = @_;

	return join(
		' UNION ALL ',
		map {
			"SELECT '$_ ' || (to_jsonb(t) - 'received_at')::text AS line FROM whatsapp.$_ t"
		} @names);
}

sub create_functions
{
	my $rows = rows_query(@tables);
	my $states = rows_query(@states);
	my $archive = rows_query('webhooks');
	my $secret = SECRET;
	my $envelope = sql_array(@envelope);
	my $in_columns = sql_array(@in_columns);
	my $values = join(' UNION ALL ',
		map { "SELECT v.value FROM whatsapp.$_ t, jsonb_each_text(to_jsonb(t)) v" } @tables);
	my $elements = join(' UNION ALL ',
		map { "SELECT element FROM whatsapp.$_" } split(
			/\n/,
			$node->safe_psql(
				'postgres',
				"SELECT table_name FROM information_schema.columns WHERE table_schema = 'whatsapp' AND column_name = 'element' ORDER BY 1"
			)));

	$node->safe_psql('postgres', <<"SQL");
CREATE SCHEMA test;
ALTER DATABASE postgres SET jit = off;
ALTER DATABASE postgres SET synchronous_commit = off;

-- Webhooks to be filed: "name" is that of one and of all its variants
CREATE TABLE test.bodies (name text, variant text, ord integer, body bytea);
CREATE INDEX ON test.bodies (name, variant);

-- What was filed, in what order
CREATE TABLE test.filed (how text, line text);

-- File a webhook: NULL, or what is wrong with the answer
CREATE FUNCTION test.file(bytes bytea) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE
	answer integer;
BEGIN
	SELECT h.status INTO answer
	FROM whatsapp.handle_webhook('POST', NULL, whatsapp.sign(bytes, '$secret'), bytes) h;
	RETURN 'answered with ' || nullif(answer, 200);
EXCEPTION WHEN OTHERS THEN
	RETURN 'raised ' || SQLSTATE || ': ' || SQLERRM;
END \$\$;

-- All rows, or those that no order may show in, or those of the archive
CREATE FUNCTION test.rows(which text) RETURNS text[] LANGUAGE plpgsql AS \$\$
BEGIN
	RETURN CASE which
		WHEN 'all' THEN ARRAY($rows)
		WHEN 'states' THEN ARRAY($states)
		WHEN 'archive' THEN ARRAY($archive)
	END;
END \$\$;

-- The rows that webhooks become by themselves
CREATE FUNCTION test.rows_of(bodies bytea[], which text) RETURNS text[] LANGUAGE plpgsql AS \$\$
DECLARE
	result text[];
BEGIN
	BEGIN
		result := array_remove(ARRAY(SELECT test.file(b.body) FROM unnest(bodies) b (body)), NULL)
			|| test.rows(which);
		RAISE SQLSTATE 'TEST0';
	EXCEPTION WHEN SQLSTATE 'TEST0' THEN
		RETURN result;
	END;
END \$\$;

-- What is in one and not in the other; no row if they are the same
CREATE FUNCTION test.difference(expected text[], found text[]) RETURNS SETOF text LANGUAGE sql AS \$\$
	SELECT d.line
	FROM ((SELECT '- ' || e.line FROM unnest(expected) e (line)
		EXCEPT ALL SELECT '- ' || f.line FROM unnest(found) f (line))
	UNION ALL
		(SELECT '+ ' || f.line FROM unnest(found) f (line)
		EXCEPT ALL SELECT '+ ' || e.line FROM unnest(expected) e (line))) d (line)
	ORDER BY substr(d.line, 3), d.line
\$\$;

-- All values in a document, with their paths, and if they are of an array
CREATE FUNCTION test.nodes(document jsonb, OUT path text, OUT listed boolean, OUT value jsonb)
RETURNS SETOF record LANGUAGE plpgsql ROWS 20 AS \$\$
BEGIN
	RETURN QUERY
	WITH RECURSIVE node (path, listed, value) AS (
		SELECT '', false, document
		UNION ALL
		SELECT ltrim(n.path || coalesce('.' || c.key, ''), '.'), c.key IS NULL, c.value
		FROM node n, LATERAL (
			SELECT m.key, m.value
			FROM jsonb_each(CASE jsonb_typeof(n.value) WHEN 'object' THEN n.value END) m
			UNION ALL
			SELECT NULL, e.value
			FROM jsonb_array_elements(CASE jsonb_typeof(n.value) WHEN 'array' THEN n.value END) e) c
	)
	SELECT * FROM node;
END \$\$;

-- What of a document is nowhere: objects in arrays, and scalars.  It is found
-- where the end of its path is a path in an element.  Of a history each message
-- is a row, and what it stands in is taken apart.
CREATE FUNCTION test.lost(document jsonb) RETURNS SETOF text LANGUAGE plpgsql AS \$\$
BEGIN
	RETURN QUERY
	WITH told AS MATERIALIZED (
		SELECT n.path, jsonb_typeof(n.value) AS type, n.value::text AS value, n.value #>> '{}' AS word
		FROM test.nodes(document) n
		WHERE CASE jsonb_typeof(n.value)
			WHEN 'object' THEN n.listed AND n.path LIKE 'entry.changes.value.%'
				AND n.path !~ '^entry\\.changes\\.value\\.history(\\.threads)?\$'
			ELSE jsonb_typeof(n.value) NOT IN ('array', 'null') AND n.path <> ALL ($envelope)
		END
	), kept AS MATERIALIZED (
		SELECT n.path, jsonb_typeof(n.value) AS type, n.value::text AS value
		FROM ($elements) e, test.nodes(e.element) n
	)
	SELECT '- ' || t.path || ' ' || t.value
	FROM told t
	WHERE NOT EXISTS (
		SELECT FROM kept k
		WHERE k.type = t.type AND k.value = t.value
			AND (k.path = '' OR right('.' || t.path, length(k.path) + 1) = '.' || k.path))
		AND (t.path <> ALL ($in_columns)
			OR NOT EXISTS (SELECT FROM ($values) v WHERE v.value = t.word));
END \$\$;

-- A webhook as whatsapp reads it.  Where that takes mending, have it filed as
-- one that is none of WhatsApp's, as those are kept whole.
CREATE FUNCTION test.document(bytes bytea) RETURNS jsonb LANGUAGE plpgsql AS \$\$
DECLARE
	document jsonb;
BEGIN
	RETURN convert_from(bytes, 'UTF8')::jsonb;
EXCEPTION WHEN OTHERS THEN
	BEGIN
		PERFORM test.file(decode(replace(encode(bytes, 'hex'),
			encode('whatsapp_business_account', 'hex'), encode('other', 'hex')), 'hex'));
		SELECT CASE e.field WHEN 'other' THEN e.element || '{"object": "whatsapp_business_account"}' ELSE e.element END
		INTO document
		FROM whatsapp.events e;
		RAISE SQLSTATE 'TEST0';
	EXCEPTION WHEN SQLSTATE 'TEST0' THEN
		RETURN document;
	END;
END \$\$;

-- A document that is but a part of a webhook, with what is missing around it
CREATE FUNCTION test.whole(document jsonb) RETURNS jsonb LANGUAGE sql AS \$\$
	SELECT CASE
		WHEN document ? 'entry' OR jsonb_typeof(document) <> 'object' THEN document
		WHEN document ? 'value' THEN jsonb_build_object('entry', jsonb_build_object('changes', document))
		WHEN document ?| '{messages,statuses}' THEN
			jsonb_build_object('entry', jsonb_build_object('changes', jsonb_build_object('value', document)))
		ELSE document
	END
\$\$;

-- What of a webhook is lost, and what changes when it comes again
CREATE FUNCTION test.faults(bytes bytea, OUT lost text[], OUT repeated text[]) LANGUAGE plpgsql AS \$\$
DECLARE
	document jsonb := test.whole(test.document(bytes));
	rows text[];
BEGIN
	lost := array_remove(ARRAY[test.file(bytes), CASE WHEN document IS NULL THEN 'was not read' END], NULL)
		|| ARRAY(SELECT test.lost(document))
		|| ARRAY(SELECT '+ ' || w.state || ': ' || w.reason FROM whatsapp.webhooks w WHERE w.state <> 'filed');
	rows := test.rows('all') || test.rows('archive');
	repeated := array_remove(ARRAY[test.file(bytes)], NULL)
		|| ARRAY(SELECT test.difference(rows, test.rows('all') || test.rows('archive')));
	RAISE SQLSTATE 'TEST0';
EXCEPTION WHEN SQLSTATE 'TEST0' THEN
END \$\$;

-- File variants of all webhooks in an order, each in a transaction
CREATE PROCEDURE test.file_all(what text, how text) LANGUAGE plpgsql AS \$\$
DECLARE
	name text;
	bytes bytea;
	complaint text;
BEGIN
	FOR name, bytes IN
		SELECT b.name || ', ' || b.variant, b.body
		FROM test.bodies b
		WHERE b.variant LIKE what
		ORDER BY CASE how
			WHEN 'in order' THEN to_char(b.ord, '0000000')
			WHEN 'the other way round' THEN to_char(1000000 - b.ord, '0000000')
			ELSE md5(b.ord || how)
		END
	LOOP
		complaint := test.file(bytes);
		IF complaint IS NOT NULL THEN
			INSERT INTO test.filed VALUES (how, name || ' ' || complaint);
		END IF;
		COMMIT;
	END LOOP;
END \$\$;
SQL
	return;
}

# Test that a query finds nothing wrong.
sub finds_nothing
{
	my ($sql, $what) = @_;

	return is($node->safe_psql('postgres', $sql), '', $what);
}

# Test that two variants of each webhook become the same rows.
sub rows_are_the_same
{
	my ($which, $variant, $other, $what) = @_;
	my $rows = "test.rows_of(array_agg(b.body ORDER BY b.ord), '$which')";

	return finds_nothing(<<"SQL", $what);
SELECT v.name, test.difference(v.rows, coalesce(o.rows, '{}'))
FROM (SELECT b.name, $rows AS rows FROM test.bodies b WHERE b.variant = '$variant' GROUP BY 1) v
LEFT JOIN (SELECT b.name, $rows AS rows FROM test.bodies b WHERE b.variant = '$other' GROUP BY 1) o USING (name)
WHERE v.rows IS DISTINCT FROM o.rows
ORDER BY 1, 2
SQL
}

# File variants of all webhooks in an order, and keep what comes of it.
sub file_all
{
	my ($variants, $how) = @_;
	my $tables = join(', ', map { "whatsapp.$_" } @tables, 'webhooks');

	$node->safe_psql('postgres', <<"SQL");
CALL test.file_all('$variants', '$how');
INSERT INTO test.filed SELECT '$how', unnest(test.rows('states'));
INSERT INTO test.filed SELECT '$how', 'events ' || jsonb_build_array(e.field, e.event, e.element)::text
FROM whatsapp.events e WHERE e.event IS DISTINCT FROM 'seen';
TRUNCATE $tables;
SQL
	return;
}

#
# What is tried
#

my $corpus = ($ENV{WHATSAPP_SHARED} // '') . '/corpus/webhooks';
my @fixtures = sort glob('test/webhooks/*.json');
my @published;

if (-d $corpus)
{
	find(sub { push @published, $File::Find::name if /\.json$/ }, $corpus);
}
else
{
	diag('THE CORPUS IS NOT HERE: only the webhooks of our own are tried');
}

my (@whole, @reordered, @parts, @odd, @rivals);
foreach my $file (@fixtures, sort @published)
{
	my $name = $file =~ s{.*/(?=[^/]*/)}{}r;
	my $text = slurp_file($file);

	if (!eval { tree($text); 1 })
	{
		diag("NOT TRIED, AS IT IS NO JSON: $file");
		next;
	}
	push @whole, [ $name, 'whole', scalar(@whole), $text ];
	push @reordered,
	  [ $name, 'reversed', 0, reorder($text, sub { reverse @_ }) ],
	  [ $name, 'shuffled', 0, reorder($text, \&shuffle) ];
	push @parts, [ $name, 'part', scalar(@parts), $_ ] foreach split_up($text);
	next if $file !~ m{^test/};

	my $variants = odd_variants($text);
	my @names = sort keys %$variants;
	my @some = map { $variants->{$_} } (shuffle @names)[ 0 .. RIVALS - 1 ];

	push @odd, [ $name, "odd, $_", scalar(@odd), $variants->{$_} ]
	  foreach @names;
	push @rivals,
	  (map { [ $name, 'rivals', $_, $some[$_] ] } 0 .. $#some),
	  (map { [ $name, 'rivals reversed', -$_, $some[$_] ] } 0 .. $#some),
	  (map { [ $name, 'rivals together', 0, $_ ] } together(@some));
}
create_functions();
load_bodies(@whole, @reordered, @parts, @odd, @rivals,
	map { [ 'all', 'together', 0, $_ ] } together(map { $_->[3] } @whole));
note(sprintf('%d webhooks, %d parts of them, %d odd variants',
		scalar(@whole), scalar(@parts), scalar(@odd)));

#
# Nothing is lost, and twice is once
#

# Were nothing looked for, nothing would be missed
my $one = "test.bodies b WHERE b.name = 'webhooks/text.json' AND b.variant = 'whole'";
my $missed = "SELECT count(*) FROM (SELECT test.lost(test.document(b.body)) FROM $one) m";
is( $node->safe_psql(
		'postgres',
		"BEGIN; SELECT test.file(b.body) FROM $one; $missed;
		 UPDATE whatsapp.messages SET element = jsonb_set(element, '{text,body}', '\"else\"'); $missed;
		 DELETE FROM whatsapp.correspondents; DELETE FROM whatsapp.events; $missed"),
	"\n0\n2\n6",
	'what is taken away is missed');

$node->safe_psql(
	'postgres',
	"CREATE TABLE test.found AS
	 SELECT b.name, b.variant, f.* FROM test.bodies b, test.faults(b.body) f
	 WHERE b.variant = 'whole' OR b.variant LIKE 'odd, %' AND b.ord % 19 = 0");
is( $node->safe_psql('postgres', "SELECT count(*) FROM test.found WHERE variant = 'whole'"),
	scalar(@whole),
	'each webhook has been filed');
foreach my $which ('=', '<>')
{
	my $found = "FROM test.found f WHERE f.variant $which 'whole' ORDER BY 1, 2, 3";
	my $of = $which eq '=' ? '' : ', of odd ones';

	finds_nothing("SELECT f.name, f.variant, unnest(f.lost) $found",
		"each element and each scalar is in some row$of");
	finds_nothing("SELECT f.name, f.variant, unnest(f.repeated) $found",
		"what comes again changes nothing$of");
}

#
# Order and company make no difference
#

rows_are_the_same('all', 'whole', 'reversed',
	'members may come the other way round');
rows_are_the_same('all', 'whole', 'shuffled', 'and in any order');
cmp_ok(scalar(@parts), '>', scalar(@whole), 'webhooks have been split');
rows_are_the_same('states', 'whole', 'part',
	'elements may come in one webhook or many');
rows_are_the_same('states', 'rivals', 'rivals reversed',
	'what contradicts may come the other way round');
rows_are_the_same('states', 'rivals', 'rivals together',
	'and in one webhook');

my @orders = ('the other way round', 'shuffled', 'shuffled again');
file_all('whole', $_) foreach 'in order', @orders;
file_all('together', 'in one webhook');
cmp_ok(
	$node->safe_psql(
		'postgres', "SELECT count(*) FROM test.filed WHERE how = 'in order'"),
	'>',
	scalar(@fixtures),
	'all webhooks are many rows');
foreach my $how (@orders, 'in one webhook')
{
	finds_nothing(
		"SELECT test.difference(
			ARRAY(SELECT f.line FROM test.filed f WHERE f.how = 'in order'),
			ARRAY(SELECT f.line FROM test.filed f WHERE f.how = '$how'))",
		"they are the same $how");
}

#
# Whatever stands where, it is filed
#

$node->safe_psql('postgres',
	"TRUNCATE test.filed; CALL test.file_all('odd, %', 'in order')");
finds_nothing('SELECT f.line FROM test.filed f ORDER BY 1',
	'odd webhooks are answered with 200');
finds_nothing(
	"SELECT w.state, w.reason, convert_from(w.body, 'UTF8') FROM whatsapp.webhooks w WHERE w.state <> 'filed' ORDER BY 3",
	'and all of each is filed');
is( $node->safe_psql(
		'postgres', "SELECT count(*) FROM test.bodies WHERE variant LIKE 'odd, %'"),
	scalar(@odd),
	'the server is still up');
unlike(slurp_file($node->logfile),
	qr/(?:ERROR|FATAL|PANIC):  |TRAP: /, 'and has not complained');

$node->stop;
done_testing();
