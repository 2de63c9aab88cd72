-- What CREATE EXTENSION makes, and leaves; what is wrong with it is looked for by
-- sql/catalog.sql.
\set SHOW_CONTEXT never
CREATE EXTENSION whatsapp;

-- tables that are not dumped
SELECT c.relname AS not_dumped
FROM pg_class c
WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'S')
	AND c.oid <> ALL ((SELECT extconfig FROM pg_extension WHERE extname = 'whatsapp')::oid[])
ORDER BY 1;

-- functions whose definition, as dumps and pg_upgrade have it, does not make the same again
DO $$
DECLARE
	f record;
BEGIN
	FOR f IN
		SELECT p.oid, p.oid::regprocedure AS name, pg_get_functiondef(p.oid) AS definition
		FROM pg_proc p
		WHERE p.pronamespace = 'whatsapp'::regnamespace AND p.prosqlbody IS NOT NULL
	LOOP
		EXECUTE f.definition;
		IF pg_get_functiondef(f.oid) <> f.definition THEN
			RAISE WARNING '%', f.name;
		END IF;
	END LOOP;
END $$;

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
