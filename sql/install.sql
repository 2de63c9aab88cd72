-- What CREATE EXTENSION makes, and that none of it is lacking in something.
\set SHOW_CONTEXT never
CREATE EXTENSION whatsapp;

-- members without a comment
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment
FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'whatsapp')
	AND d.deptype = 'e'
	AND NOT (d.classid = 'pg_type'::regclass AND EXISTS (
		SELECT FROM pg_type t
		LEFT JOIN pg_class c ON c.oid = t.typrelid
		WHERE t.oid = d.objid AND (t.typelem <> 0 OR c.relkind <> 'c')))
	AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (
		SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relkind IN ('S', 'i')))
	AND coalesce(obj_description(d.objid, d.classid::regclass::text),
		obj_description((SELECT t.typrelid FROM pg_type t WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid), 'pg_class')) IS NULL
ORDER BY 1;

-- columns without one
SELECT c.oid::regclass || '.' || a.attname AS without_comment
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'v', 'c')
	AND a.attnum > 0 AND NOT a.attisdropped
	AND col_description(c.oid, a.attnum) IS NULL
ORDER BY 1;

-- what anybody may do: nothing
SELECT p.oid::regprocedure AS public_may_execute
FROM pg_proc p
WHERE p.pronamespace = 'whatsapp'::regnamespace
	AND has_function_privilege('public', p.oid, 'EXECUTE');
SELECT c.oid::regclass AS public_may_use
FROM pg_class c
WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'v')
	AND has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');
SELECT has_schema_privilege('public', 'whatsapp', 'USAGE') AS public_may_use_schema;

-- functions that run as their owner, and are not safe from what is in front
SELECT p.oid::regprocedure AS unsafe
FROM pg_proc p
WHERE p.pronamespace = 'whatsapp'::regnamespace AND p.prosecdef
	AND p.proconfig @> '{"search_path=pg_catalog, pg_temp"}' IS NOT TRUE;

-- tables that are not dumped
SELECT c.relname AS not_dumped
FROM pg_class c
WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'S')
	AND c.oid <> ALL ((SELECT extconfig FROM pg_extension WHERE extname = 'whatsapp')::oid[])
ORDER BY 1;

-- it leaves nothing, and can be had again in the same session
DROP EXTENSION whatsapp;
SELECT count(*) FROM pg_namespace WHERE nspname = 'whatsapp';
CREATE EXTENSION whatsapp;
DROP EXTENSION whatsapp;

-- a schema that is there is not taken over
CREATE SCHEMA whatsapp;
CREATE EXTENSION whatsapp;
DROP SCHEMA whatsapp;

-- nor is it made where emoji cannot be stored
SELECT current_database() AS this_database \gset
CREATE DATABASE regress_whatsapp_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;
\c regress_whatsapp_latin1
CREATE EXTENSION whatsapp;
\c :this_database
DROP DATABASE regress_whatsapp_latin1;
