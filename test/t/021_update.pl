# ALTER EXTENSION UPDATE makes of an older version what CREATE EXTENSION makes of
# the newer: the same objects, of the same owner, with the same privileges.  Rows
# stay.
#
# This is so for each version that has an update script to the one that is
# installed by default.  To show that this test can tell, even where there are
# none yet, it makes up a version that has a few things more, and is called
# "later"; and it plants differences.

use strict;
use warnings;

use lib 'test/perl';
use Whatsapp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Where CREATE EXTENSION looks for scripts.  This is the sandbox's.
my $folder = "@{[ (run_command([ 'pg_config', '--sharedir' ]))[0] ]}/extension";
my @made;

# The version that is made up: what it has more
use constant MORE => <<'SQL';
CREATE TYPE whatsapp.mood AS ENUM ('good', 'bad');
COMMENT ON TYPE whatsapp.mood IS 'how people are';
CREATE TYPE whatsapp.weather AS (sky text, degrees integer);
COMMENT ON TYPE whatsapp.weather IS 'how it is outside';
CREATE SEQUENCE whatsapp.moods_seen;
CREATE TABLE whatsapp.moods (
	mood_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	wa_id text NOT NULL CHECK (wa_id <> ''),
	mood whatsapp.mood NOT NULL DEFAULT 'good',
	note text,
	is_good boolean GENERATED ALWAYS AS (mood = 'good') STORED
);
COMMENT ON TABLE whatsapp.moods IS 'how people are';
CREATE INDEX moods_wa_id_idx ON whatsapp.moods (wa_id) WHERE mood = 'bad';
CREATE FUNCTION whatsapp.mood_told() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM nextval('whatsapp.moods_seen');
	RETURN NULL;
END $$;
CREATE TRIGGER told AFTER INSERT ON whatsapp.moods
FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.mood_told();
ALTER TABLE whatsapp.moods ENABLE ALWAYS TRIGGER told;
CREATE VIEW whatsapp.bad_moods WITH (security_invoker = true) AS
SELECT wa_id FROM whatsapp.moods WHERE mood = 'bad';
COMMENT ON VIEW whatsapp.bad_moods IS 'who is not well';
CREATE FUNCTION whatsapp.mood_of(wa_id text) RETURNS whatsapp.mood
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT mood FROM whatsapp.moods m WHERE m.wa_id = mood_of.wa_id ORDER BY mood_id DESC LIMIT 1;
END;
ALTER TABLE whatsapp.numbers ADD COLUMN mood whatsapp.mood;
COMMENT ON COLUMN whatsapp.numbers.mood IS 'how the number is';
SELECT pg_extension_config_dump('whatsapp.moods', '');
SELECT pg_extension_config_dump('whatsapp.moods_mood_id_seq', '');

SQL

# Members whose owner is not that of the extension
use constant ALIENS => <<'SQL';
WITH owned AS (
	SELECT 'pg_class'::regclass AS classid, oid, relowner AS owner FROM pg_class
	UNION ALL
	SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
	UNION ALL
	SELECT 'pg_type'::regclass, oid, typowner FROM pg_type
	UNION ALL
	SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace
	UNION ALL
	SELECT 'pg_statistic_ext'::regclass, oid, stxowner FROM pg_statistic_ext
)
SELECT pg_describe_object(d.classid, d.objid, 0)
FROM pg_depend d
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
LEFT JOIN owned o ON o.classid = d.classid AND o.oid = d.objid
WHERE e.extname = 'whatsapp' AND d.deptype = 'e'
	-- of another catalog, it has no owner that this knows
	AND o.owner IS DISTINCT FROM e.extowner
ORDER BY 1;
SQL

# What PUBLIC may do with members.  Types of arrays have no privileges of their own.
use constant PUBLIC => <<'SQL';
WITH privileged AS (
	SELECT 'pg_class'::regclass AS classid, oid,
		coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner)) AS acl
	FROM pg_class
	UNION ALL
	SELECT 'pg_class'::regclass, attrelid, attacl FROM pg_attribute
	UNION ALL
	SELECT 'pg_proc'::regclass, oid, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
	UNION ALL
	SELECT 'pg_type'::regclass, oid, coalesce(typacl, acldefault('T', typowner)) FROM pg_type WHERE typcategory <> 'A'
	UNION ALL
	SELECT 'pg_namespace'::regclass, oid, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace
)
SELECT a.privilege_type || ' on ' || pg_describe_object(d.classid, d.objid, 0)
FROM pg_depend d
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
JOIN privileged p ON p.classid = d.classid AND p.oid = d.objid
CROSS JOIN LATERAL aclexplode(p.acl) a
WHERE e.extname = 'whatsapp' AND d.deptype = 'e' AND a.grantee = 0
ORDER BY 1;
SQL

# -- The version that is made up -----------------------------------------------

# However this ends, it takes its scripts away
$SIG{$_} = sub { exit(1) }
  foreach qw(INT TERM HUP);

END
{
	unlink(@made);
}

sub make_script
{
	my ($name, $text) = @_;
	my $file = "$folder/whatsapp--$name.sql";

	die "$file is there already" if -e $file;
	push @made, $file;
	append_to_file($file, $text);
	return;
}

my ($current) = slurp_file('whatsapp.control') =~ /^default_version *= *'(.*)'$/m;
my $script = slurp_file("whatsapp--$current.sql");
my $more = MORE;

$script =~ s/(?=^-{70,}\n-- \d+\. Dumps\b)/$more/m
  or BAIL_OUT("whatsapp--$current.sql has no section \"Dumps\"");
make_script('later', $script);
make_script("$current--later", $more . "SELECT whatsapp.finish_update();\n");

# The same, by somebody who has forgotten how an update ends
make_script('careless', $script);
make_script("$current--careless", $more);

# -- Updates -------------------------------------------------------------------

my $graph = start_graph();
my $node = new_cluster('update', $graph, 'max_worker_processes = 32');
my $databases = 0;

$node->safe_psql('postgres', 'CREATE ROLE "The Keeper" LOGIN; CREATE ROLE reader');

# Make a database with a version of the extension, whose owner is a superuser
# while it is created, and no longer.
sub create
{
	my ($version) = @_;
	my $database = 'database' . ++$databases;

	$node->safe_psql('postgres', "CREATE DATABASE $database; ALTER ROLE \"The Keeper\" SUPERUSER");
	$node->safe_psql($database, "SET ROLE \"The Keeper\"; CREATE EXTENSION whatsapp VERSION '$version'");
	$node->safe_psql('postgres', 'ALTER ROLE "The Keeper" NOSUPERUSER');
	return $database;
}

# Tables of the extension, each as a query for its columns as they are now
sub queries
{
	my ($database) = @_;

	return map { [ split(/\|/, $_) ] } split(/\n/, $node->safe_psql($database,
			"SELECT c.relname, format('SELECT to_jsonb(t) FROM (SELECT %s FROM whatsapp.%I) t',
				string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), c.relname)
			 FROM pg_class c
			 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			 WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind = 'r'
			 GROUP BY c.relname"));
}

# The rows that queries give, as lines
sub rows
{
	my ($database, @queries) = @_;

	return [ map {
			my ($table, $query) = @$_;
			map { "$table $_" } split(/\n/, $node->safe_psql($database, $query));
		} @queries ];
}

# Test that an update makes of a version what is created in another database.
sub test_update
{
	my ($from, $to) = @_;
	my $fresh = create($to);
	my $database = create($from);
	my $what = "from $from to $to";

	$node->safe_psql($database, sprintf(
			"SET ROLE \"The Keeper\";
			 SELECT whatsapp.add_number('%s', access_token => '%s', app_secret => '%s');
			 INSERT INTO whatsapp.outbox (recipient, body, send_after) VALUES ('15550000001', 'some day', now() + interval '1 year');
			 SELECT whatsapp.ingest_unsigned('%s')",
			NUMBER, TOKEN, SECRET, fixture('text')));
	ok(wait_for_sender($node, $database), "$what: there is a sender");

	# What the extension brings is that of its version, but for which installation
	# it is; what the sender keeps for itself, it may change meanwhile; all else
	# stays
	my %brought = map { /^(\S+)/; $1 => 1 } grep { !/^installation / } @{ rows($fresh, queries($fresh)) };
	my @brought = grep { $brought{ $_->[0] } } queries($fresh);
	my @stays = grep { !$brought{ $_->[0] } && $_->[0] !~ /^(tallies|changed_lanes)$/ } queries($database);

	# In the newer version, a level of access may have more than in the older
	$node->safe_psql($_, "SET ROLE \"The Keeper\"; SELECT whatsapp.grant_access('reader', 'reader')")
	  foreach $fresh, $database;
	$node->safe_psql($database, 'REVOKE SELECT ON whatsapp.messages, whatsapp.contacts FROM reader');

	my $rows = rows($database, @stays);

	cmp_ok(scalar(@$rows), '>', 5, "$what: there are rows before");
	$node->safe_psql($database, "ALTER EXTENSION whatsapp UPDATE TO '$to'");
	is($node->safe_psql($database, "SELECT extversion || ' ' || extowner::regrole FROM pg_extension WHERE extname = 'whatsapp'"),
		"$to \"The Keeper\"", "$what: it is updated");
	is($node->safe_psql($database, ALIENS), '', "$what: all is owned by the owner of the extension");
	is($node->safe_psql($database, PUBLIC), '', "$what: and PUBLIC may do nothing");
	is(differences(catalog($node, $fresh), catalog($node, $database)),
		'', "$what: it is what CREATE EXTENSION makes");
	is(differences($rows, rows($database, @stays)), '', "$what: all rows are there");
	is(differences(rows($fresh, @brought), rows($database, @brought)),
		'', "$what: and what the extension brings is that of the new version");

	$node->safe_psql($database,
		"SET ROLE \"The Keeper\"; INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000002', '$what')");
	wait_for_state($node, "body = '$what'", 'sent', "$what: the sender sends", $database);
	return $database;
}

my $database = test_update($current, 'later');

# Real ones, as soon as there are any: from all versions there are
my @versions = split(/\n/, $node->safe_psql('postgres',
		"SELECT version FROM pg_available_extension_versions
		 WHERE name = 'whatsapp' AND version NOT IN ('$current', 'later', 'careless') ORDER BY 1"));
my %updates = map { /--(.+?)--.+\.sql$/; $1 => 1 } glob('whatsapp--*--*.sql');

is_deeply([ sort keys %updates ], \@versions, 'each older version can be updated, and created to try that');
test_update($_, $current) foreach @versions;

# -- That this can fail --------------------------------------------------------

# An update that leaves what it adds to whoever runs it
my $careless = create($current);
$node->safe_psql($careless, "ALTER EXTENSION whatsapp UPDATE TO 'careless'");
like($node->safe_psql($careless, ALIENS), qr/table whatsapp\.moods$/m,
	'an update that gives nothing to the owner of the extension is noticed');
like($node->safe_psql($careless, PUBLIC), qr/^EXECUTE on function whatsapp\.mood_of\(text\)$/m,
	'and so is one that leaves something to PUBLIC');
like(differences(catalog($node, create('careless')), catalog($node, $careless)), qr/^\+ table whatsapp\.moods \| owner \| (?!"The Keeper")/m,
	'and the list of what there is says so, too');

# Each of these makes a difference
my $catalog = catalog($node, $database);

is(differences($catalog, catalog($node, $database, 'SET LOCAL enable_seqscan = off')), '', 'nothing done makes no difference');
foreach my $plant (
	"ALTER FUNCTION whatsapp.mood_of(text) OWNER TO CURRENT_USER",
	"ALTER FUNCTION whatsapp.mood_of(text) VOLATILE",
	"ALTER FUNCTION whatsapp.mood_of(text) SET work_mem = '64kB'",
	"GRANT EXECUTE ON FUNCTION whatsapp.mood_of(text) TO PUBLIC",
	"GRANT SELECT ON whatsapp.moods TO PUBLIC",
	"GRANT SELECT (wa_id) ON whatsapp.moods TO PUBLIC",
	"GRANT USAGE ON SEQUENCE whatsapp.moods_seen TO PUBLIC",
	"GRANT USAGE ON TYPE whatsapp.mood TO PUBLIC",
	"GRANT USAGE ON SCHEMA whatsapp TO PUBLIC",
	"COMMENT ON FUNCTION whatsapp.mood_of(text) IS 'something else'",
	"COMMENT ON COLUMN whatsapp.numbers.mood IS 'something else'",
	"ALTER TABLE whatsapp.outbox ENABLE TRIGGER queued",
	"DROP TRIGGER told ON whatsapp.moods",
	"CREATE OR REPLACE VIEW whatsapp.bad_moods WITH (security_invoker = true) AS SELECT wa_id FROM whatsapp.moods WHERE mood <> 'good'",
	"ALTER VIEW whatsapp.bad_moods RESET (security_invoker)",
	"ALTER TABLE whatsapp.outbox RESET (autovacuum_vacuum_scale_factor)",
	"ALTER TABLE whatsapp.moods ADD COLUMN more text",
	"ALTER TABLE whatsapp.moods ALTER COLUMN mood DROP DEFAULT",
	"ALTER TABLE whatsapp.moods ALTER COLUMN mood DROP NOT NULL",
	"ALTER TABLE whatsapp.moods ALTER COLUMN note TYPE varchar(10)",
	"ALTER TABLE whatsapp.moods ALTER COLUMN mood_id SET GENERATED BY DEFAULT",
	"ALTER TABLE whatsapp.moods ALTER COLUMN is_good DROP EXPRESSION",
	"ALTER TABLE whatsapp.moods ALTER COLUMN wa_id SET STATISTICS 1000",
	"ALTER TABLE whatsapp.moods ALTER COLUMN wa_id SET STORAGE EXTERNAL",
	"ALTER TABLE whatsapp.moods DROP COLUMN note; ALTER TABLE whatsapp.moods ADD COLUMN note text",
	"ALTER TABLE whatsapp.moods DROP CONSTRAINT moods_wa_id_check",
	"ALTER TABLE whatsapp.moods DROP CONSTRAINT moods_pkey",
	"ALTER TABLE whatsapp.moods ADD CHECK (wa_id <> 'x') NOT VALID",
	"ALTER TABLE whatsapp.moods ENABLE ROW LEVEL SECURITY",
	"CREATE POLICY mine ON whatsapp.moods USING (wa_id = '1')",
	"ALTER TABLE whatsapp.moods REPLICA IDENTITY FULL",
	"ALTER TABLE whatsapp.moods SET UNLOGGED",
	"CREATE RULE none AS ON DELETE TO whatsapp.moods DO INSTEAD NOTHING",
	"CREATE STATISTICS whatsapp.both ON mood, wa_id FROM whatsapp.moods",
	"DROP INDEX whatsapp.moods_wa_id_idx; CREATE INDEX moods_wa_id_idx ON whatsapp.moods (wa_id)",
	"ALTER INDEX whatsapp.moods_wa_id_idx RENAME TO moods_idx",
	"ALTER SEQUENCE whatsapp.moods_seen CACHE 10",
	"ALTER SEQUENCE whatsapp.moods_seen OWNED BY whatsapp.moods.mood_id",
	"ALTER TYPE whatsapp.mood RENAME VALUE 'bad' TO 'poor'",
	"ALTER TYPE whatsapp.weather ADD ATTRIBUTE wind integer",
	"ALTER EXTENSION whatsapp DROP FUNCTION whatsapp.mood_of(text)",
	"UPDATE pg_extension SET extcondition[1] = 'WHERE false' WHERE extname = 'whatsapp'",
	"UPDATE pg_extension SET extconfig = extconfig[2:], extcondition = extcondition[2:] WHERE extname = 'whatsapp'",
	"DELETE FROM pg_init_privs WHERE objoid = 'whatsapp.mood_of(text)'::regprocedure")
{
	isnt(differences($catalog, catalog($node, $database, $plant)), '', "it is noticed: $plant");
}

$node->stop;
done_testing();
