-- What others could put in the way of the extension, or reach through it: the
-- catalog has none of it.  These are the checks that the program pgspot makes of
-- install scripts, and more; what only the script's text can tell is checked by
-- test/static.sh.
\set SHOW_CONTEXT never
\set VERBOSITY terse

-- Here are traps: objects that fit better than the server's, which would be
-- taken if the script looked for names where anybody may have put some.
CREATE FUNCTION public.trap(text, integer) RETURNS text LANGUAGE sql IMMUTABLE RETURN 'caught';
CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = integer, FUNCTION = public.trap);
CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE sql IMMUTABLE RETURN 'caught';
CREATE FUNCTION public.jsonb_build_object(text, text) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN '"caught"'::jsonb;
CREATE FUNCTION public.to_jsonb(text) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN '"caught"'::jsonb;
CREATE EXTENSION whatsapp;

-- what the extension is made of, down to defaults, indexes, triggers and policies
CREATE TEMPORARY VIEW ours AS
WITH RECURSIVE part AS (
	SELECT d.classid, d.objid, true AS is_member
	FROM pg_depend d
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'whatsapp')
	UNION
	SELECT d.classid, d.objid, false
	FROM pg_depend d
	JOIN part ON d.refclassid = part.classid AND d.refobjid = part.objid
	WHERE d.deptype IN ('a', 'i')
)
SELECT part.classid, part.objid, bool_or(part.is_member) AS is_member
FROM part
GROUP BY part.classid, part.objid;

CREATE TEMPORARY VIEW our_objects AS
SELECT ours.*, what.type, what.schema, what.identity, what.type || ' ' || what.identity AS object
FROM ours, pg_identify_object(ours.classid, ours.objid, 0) what;

-- relations that have columns people see
CREATE TEMPORARY VIEW our_relations AS
SELECT c.*, o.object
FROM our_objects o
JOIN pg_class c ON o.classid = 'pg_class'::regclass AND o.objid = c.oid
WHERE c.relkind NOT IN ('i', 'I', 't');

CREATE TEMPORARY VIEW our_functions AS
SELECT p.*, l.lanname, o.object
FROM our_objects o
JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND o.objid = p.oid
JOIN pg_language l ON l.oid = p.prolang;

-- arrays go with what they are of
CREATE TEMPORARY VIEW our_types AS
SELECT t.*, o.object, t.typrelid <> 0 AND c.relkind <> 'c' AS is_row_type
FROM our_objects o
JOIN pg_type t ON o.classid = 'pg_type'::regclass AND o.objid = t.oid
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typcategory <> 'A';

-- who owns what, and may do what with it
CREATE TEMPORARY VIEW our_privileges AS
SELECT c.object, c.relowner AS owner,
	coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)) AS acl
FROM our_relations c
WHERE c.relkind <> 'c'
UNION ALL
SELECT c.object || '.' || a.attname, c.relowner, a.attacl
FROM our_relations c
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE a.attacl IS NOT NULL
UNION ALL
SELECT f.object, f.proowner, coalesce(f.proacl, acldefault('f', f.proowner))
FROM our_functions f
UNION ALL
SELECT t.object, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
FROM our_types t
UNION ALL
SELECT o.object, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
FROM our_objects o
JOIN pg_namespace n ON o.classid = 'pg_namespace'::regclass AND o.objid = n.oid;

CREATE TEMPORARY VIEW violations AS

-- Whoever may create objects in a schema in front of pg_catalog could have a
-- function run what they like, as its caller or owner.  Bodies that are text are
-- parsed when they run, by the search_path of then; they bring their own.
-- (PS003, PS004, PS005, PS010 and following)
SELECT 'search_path is not pinned' AS violation, f.object
FROM our_functions f
WHERE (f.prosecdef OR f.lanname NOT IN ('c', 'sql') OR f.lanname = 'sql' AND f.prosqlbody IS NULL)
	AND (f.proconfig @> '{"search_path=pg_catalog, pg_temp"}') IS NOT TRUE

-- What is parsed once (views, defaults, generated columns, checks, indexes,
-- policies, WHEN of triggers, bodies that are SQL, arguments) has found what it
-- is to use: that must be the server's, whose objects have OIDs below 16384, or
-- ours.  (PS001, PS010 and following)
UNION ALL
SELECT 'uses what is not its own', o.object || ' uses ' || used.type || ' ' || used.identity
FROM our_objects o
JOIN pg_depend d ON d.classid = o.classid AND d.objid = o.objid,
	pg_identify_object(d.refclassid, d.refobjid, 0) used
WHERE d.refobjid >= 16384 AND d.refclassid <> 'pg_extension'::regclass
	AND NOT EXISTS (SELECT FROM ours WHERE ours.classid = d.refclassid AND ours.objid = d.refobjid)

-- A view reads its tables as its owner, past the privileges and row security of
-- who asks, unless it says otherwise.  A materialized view has no way to.
UNION ALL
SELECT 'view reads as its owner', c.object
FROM our_relations c
WHERE c.relkind = 'm' OR c.relkind = 'v' AND (c.reloptions @> '{security_invoker=true}') IS NOT TRUE

-- Rules run with the privileges of a table's owner, and are seen by nobody.
UNION ALL
SELECT 'rule', o.object
FROM our_objects o
JOIN pg_rewrite r ON o.classid = 'pg_rewrite'::regclass AND o.objid = r.oid
WHERE r.rulename <> '_RETURN'

-- Everything is in the schema that only its owner may put anything into ...
UNION ALL
SELECT 'not in schema whatsapp', o.object
FROM our_objects o
-- (types that go with others are members of their own in newer versions)
WHERE o.is_member AND coalesce(o.schema, o.identity) <> 'whatsapp' AND NOT EXISTS (
	SELECT FROM pg_depend d
	WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'i')

-- ... is of a kind that is expected here, as others reach beyond that schema or
-- mend what is not ours (PS006 is about transforms) ...
UNION ALL
SELECT 'of no kind that is expected', o.object
FROM our_objects o
WHERE o.is_member AND o.type NOT IN ('schema', 'table', 'view', 'sequence', 'function', 'composite type', 'type')

-- ... has one owner, as the functions of another could be made to do harm here ...
UNION ALL
SELECT 'has another owner', p.object
FROM our_privileges p
WHERE p.owner <> (SELECT extowner FROM pg_extension WHERE extname = 'whatsapp')

-- ... and is that owner's alone, until it is granted.
UNION ALL
SELECT 'granted to ' || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
	p.object || ': ' || string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
FROM our_privileges p, aclexplode(p.acl) a
WHERE a.grantee <> p.owner
GROUP BY a.grantee, p.object

-- Objects that name the schema go wrong when it is another.
UNION ALL
SELECT 'may be moved to another schema', 'extension ' || extname
FROM pg_extension
WHERE extname = 'whatsapp' AND extrelocatable

-- Code is what is in our library.
UNION ALL
SELECT 'runs code of others', f.object
FROM our_functions f
WHERE f.lanname NOT IN ('c', 'sql', 'plpgsql') OR f.lanname = 'c' AND f.probin <> '$libdir/whatsapp'

-- A function that is leakproof sees rows that row security hides, and could tell
-- of them.  These could only by an error, and have none for what a column can
-- hold; they are leakproof for indexes on them to be of use under row security.
UNION ALL
SELECT 'leakproof', f.object
FROM our_functions f
WHERE f.proleakproof AND f.oid <> ALL ('{whatsapp.is_note(text), "whatsapp.thread_key(text, text, text)"}'::regprocedure[])

-- Whoever is granted a table sees only those rows of it that policies let
-- through.
UNION ALL
SELECT 'no row level security', c.object
FROM our_relations c
WHERE c.relkind IN ('r', 'p') AND NOT c.relrowsecurity

-- The sequence of an identity column goes with its table: whoever may insert may
-- use it.  Of a serial, it has privileges of its own, and its default can be
-- passed by.
UNION ALL
SELECT 'sequence of no identity column', c.object
FROM our_relations c
WHERE c.relkind = 'S' AND NOT EXISTS (
	SELECT FROM pg_depend d
	WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
		AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype = 'i')

-- Comments tell what all is for.
UNION ALL
SELECT 'no comment', o.object
FROM our_objects o
WHERE (o.is_member AND o.type NOT IN ('sequence', 'composite type', 'type') OR o.type IN ('trigger', 'policy'))
	AND obj_description(o.objid, o.classid::regclass::text) IS NULL
UNION ALL
SELECT 'no comment', t.object
FROM our_types t
WHERE NOT t.is_row_type
	AND coalesce(obj_description(t.oid, 'pg_type'), obj_description(t.typrelid, 'pg_class')) IS NULL
UNION ALL
SELECT 'no comment', c.object || '.' || a.attname
FROM our_relations c
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind <> 'S' AND a.attnum > 0 AND NOT a.attisdropped
	AND col_description(c.oid, a.attnum) IS NULL;

SELECT * FROM violations ORDER BY violation, object COLLATE "C";

-- A check that finds nothing in anything is none.  So here is one of each, made
-- as carelessly as can be, in as many places as there are; and it is found.
CREATE SCHEMA regress_elsewhere
	CREATE TABLE theirs (id integer);
CREATE TYPE regress_elsewhere.their_type AS ENUM ('one');
CREATE DOMAIN regress_elsewhere.their_domain AS text;
CREATE COLLATION regress_elsewhere.their_collation (LOCALE = 'C');
CREATE FUNCTION regress_elsewhere.their_function(text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN true;
CREATE FUNCTION regress_elsewhere.their_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE OPERATOR regress_elsewhere.~~~ (RIGHTARG = text, FUNCTION = regress_elsewhere.their_function);

-- what is called bad becomes a part of the extension
CREATE PROCEDURE pg_temp.adopt()
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
	object record;
BEGIN
	FOR object IN
		SELECT what.type, what.identity
		FROM (
			SELECT 'pg_class'::regclass AS class, oid, relname AS name FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'S')
			UNION ALL
			SELECT 'pg_proc'::regclass, oid, proname FROM pg_proc
			UNION ALL
			SELECT 'pg_type'::regclass, t.oid, typname FROM pg_type t
			LEFT JOIN pg_class c ON c.oid = typrelid
			WHERE typcategory <> 'A' AND coalesce(relkind, 'c') = 'c'
			UNION ALL
			SELECT 'pg_operator'::regclass, o.oid, proname FROM pg_operator o JOIN pg_proc p ON p.oid = oprcode
			UNION ALL
			SELECT 'pg_opfamily'::regclass, oid, opfname FROM pg_opfamily
			UNION ALL
			SELECT 'pg_cast'::regclass, c.oid, proname FROM pg_cast c JOIN pg_proc p ON p.oid = castfunc
			UNION ALL
			SELECT 'pg_event_trigger'::regclass, oid, evtname FROM pg_event_trigger
		) made, pg_identify_object(class, oid, 0) what
		WHERE made.name LIKE 'bad\_%'
		ORDER BY what.type, what.identity
	LOOP
		EXECUTE format('ALTER EXTENSION whatsapp ADD %s %s', object.type, object.identity);
	END LOOP;
END $$;
\set show 'CALL pg_temp.adopt(); SELECT object AS :"violation" FROM violations WHERE violation = :\'violation\' ORDER BY object COLLATE "C";'
SET search_path = whatsapp, public;

\set violation 'search_path is not pinned'
BEGIN;
CREATE FUNCTION bad_plpgsql() RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION bad_sql() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION bad_path() RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS 'BEGIN END';
CREATE FUNCTION bad_temp() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS 'BEGIN END';
CREATE FUNCTION bad_definer() RETURNS void LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC END;
CREATE FUNCTION bad_c(bytea, text) RETURNS text LANGUAGE c SECURITY DEFINER AS '$libdir/whatsapp', 'whatsapp_sign';
:show
ROLLBACK;

\set violation 'uses what is not its own'
BEGIN;
CREATE TABLE bad_table (
	a jsonb DEFAULT jsonb_build_object('a'::text, 'b'::text),
	b text CHECK (regress_elsewhere.their_function(b)),
	c text GENERATED ALWAYS AS (b || 1) STORED,
	d regress_elsewhere.their_type,
	e regress_elsewhere.their_domain,
	f text COLLATE regress_elsewhere.their_collation
);
CREATE INDEX bad_index ON bad_table ((b || 1)) WHERE regress_elsewhere.their_function(b);
CREATE POLICY bad_policy ON bad_table USING (OPERATOR(regress_elsewhere.~~~) b);
CREATE TRIGGER bad_trigger BEFORE UPDATE ON bad_table FOR EACH ROW
	WHEN (to_jsonb(NEW.b) IS NULL) EXECUTE FUNCTION regress_elsewhere.their_trigger();
CREATE VIEW bad_view AS SELECT format('%s', 'x'::text);
CREATE FUNCTION bad_body() RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM regress_elsewhere.theirs);
CREATE FUNCTION bad_argument(a regress_elsewhere.their_type, b text DEFAULT format('%s', 'x'::text)) RETURNS void
LANGUAGE sql BEGIN ATOMIC END;
:show
ROLLBACK;

\set violation 'view reads as its owner'
BEGIN;
CREATE VIEW bad_view AS SELECT 1 AS a;
CREATE VIEW bad_choice WITH (security_invoker = false, security_barrier = true) AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW bad_copy AS SELECT 1 AS a;
:show
ROLLBACK;

\set violation 'rule'
BEGIN;
CREATE RULE bad_rule AS ON UPDATE TO outbox DO ALSO NOTHING;
:show
ROLLBACK;

\set violation 'not in schema whatsapp'
BEGIN;
CREATE FUNCTION public.bad_function() RETURNS void LANGUAGE sql BEGIN ATOMIC END;
CREATE TABLE public.bad_table (a integer);
CREATE TYPE public.bad_type AS (a integer);
:show
ROLLBACK;

\set violation 'of no kind that is expected'
BEGIN;
CREATE FUNCTION bad_event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER bad_trigger ON sql_drop EXECUTE FUNCTION bad_event();
CREATE FUNCTION bad_cast(ingest_result) RETURNS integer LANGUAGE sql RETURN 1;
CREATE CAST (ingest_result AS integer) WITH FUNCTION bad_cast(ingest_result);
CREATE FUNCTION bad_equals(text, jsonb) RETURNS boolean LANGUAGE sql RETURN true;
CREATE OPERATOR === (LEFTARG = text, RIGHTARG = jsonb, FUNCTION = bad_equals);
CREATE OPERATOR FAMILY bad_family USING btree;
CREATE AGGREGATE bad_aggregate(integer) (SFUNC = int4pl, STYPE = integer);
:show
ROLLBACK;

\set violation 'has another owner'
BEGIN;
CREATE ROLE regress_whatsapp_other;
CREATE TABLE bad_table (a integer GENERATED ALWAYS AS IDENTITY);
ALTER TABLE bad_table OWNER TO regress_whatsapp_other;
CREATE TYPE bad_type AS (a integer);
ALTER TYPE bad_type OWNER TO regress_whatsapp_other;
ALTER VIEW inbox OWNER TO regress_whatsapp_other;
ALTER FUNCTION sign(bytea, text) OWNER TO regress_whatsapp_other;
ALTER SCHEMA whatsapp OWNER TO regress_whatsapp_other;
:show
ROLLBACK;

\set violation 'granted to PUBLIC'
BEGIN;
CREATE FUNCTION bad_function() RETURNS void LANGUAGE sql BEGIN ATOMIC END;
CREATE TYPE bad_type AS ENUM ('one');
GRANT SELECT, INSERT ON outbox TO PUBLIC;
GRANT SELECT (direction), UPDATE (status) ON messages TO PUBLIC;
GRANT USAGE ON SEQUENCE outbox_id_seq TO PUBLIC;
GRANT USAGE ON SCHEMA whatsapp TO PUBLIC;
:show
ROLLBACK;

\set violation 'granted to pg_monitor'
BEGIN;
GRANT SELECT ON sender_status TO pg_monitor;
:show
ROLLBACK;

\set violation 'may be moved to another schema'
BEGIN;
UPDATE pg_extension SET extrelocatable = true WHERE extname = 'whatsapp';
:show
ROLLBACK;

\set violation 'runs code of others'
BEGIN;
CREATE FUNCTION bad_internal(integer) RETURNS integer LANGUAGE internal AS 'int4um';
CREATE FUNCTION bad_library(internal, internal) RETURNS internal LANGUAGE c AS '$libdir/dict_snowball', 'dsnowball_lexize';
:show
ROLLBACK;

\set violation 'leakproof'
BEGIN;
CREATE FUNCTION bad_function() RETURNS void LANGUAGE sql LEAKPROOF BEGIN ATOMIC END;
:show
ROLLBACK;

\set violation 'no row level security'
BEGIN;
CREATE TABLE bad_table (a integer);
:show
ROLLBACK;

\set violation 'sequence of no identity column'
BEGIN;
CREATE TABLE bad_table (a serial);
CREATE SEQUENCE bad_sequence;
:show
ROLLBACK;

\set violation 'no comment'
BEGIN;
CREATE TYPE bad_type AS (a integer);
CREATE TYPE bad_enum AS ENUM ('one');
CREATE TABLE bad_table (a integer);
CREATE VIEW bad_view AS SELECT a FROM bad_table;
CREATE FUNCTION bad_function() RETURNS void LANGUAGE sql BEGIN ATOMIC END;
CREATE TRIGGER bad_trigger AFTER INSERT ON bad_table EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE POLICY bad_policy ON bad_table USING (true);
:show
ROLLBACK;

RESET search_path;
DROP SCHEMA regress_elsewhere CASCADE;
DROP OPERATOR public.|| (text, integer);
DROP FUNCTION public.trap(text, integer), public.format(text, text), public.jsonb_build_object(text, text), public.to_jsonb(text);
DROP EXTENSION whatsapp;
