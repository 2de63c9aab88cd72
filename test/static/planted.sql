-- Mistakes that test/static/script.pl has to find.  A comment beside a mistake
-- has what it is found as.

SET search_path = public; -- quit first

CREATE OR REPLACE FUNCTION whatsapp.planted() RETURNS void -- or-replace
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name text := 'robert''); --';
BEGIN
	EXECUTE 'DROP TABLE ' || name; -- execute
	EXECUTE 'DROP TABLE ' || quote_ident(name) USING 1; -- execute
	EXECUTE name; -- execute
	EXECUTE format('DROP TABLE %s', name); -- execute
	EXECUTE format('DROP TABLE %I', name) || name; -- execute
	EXECUTE format(name, name); -- execute
	EXECUTE format('DROP ' || name, name); -- execute
	IF name IS NULL THEN
		CREATE TABLE IF NOT EXISTS whatsapp.there (id integer); -- if-not-exists
	ELSE
		SET search_path = public; -- search-path
	END IF;
	FOR name IN EXECUTE 'SELECT ' || name LOOP -- execute
		PERFORM set_config('search_path', name, true); -- search-path
	END LOOP;
	EXECUTE 'CREATE OR REPLACE VIEW whatsapp.there AS SELECT 1'; -- or-replace

	-- and these are none
	EXECUTE 'DROP TABLE whatsapp.there';
	EXECUTE 'SELECT $1 % 2' INTO name USING 1;
	EXECUTE format('DROP TABLE %I.%I, %1$I; SELECT %L, ''100 %%''', name, name, name);
	FOR name IN EXECUTE format('SELECT %L', name) LOOP
		NULL;
	END LOOP;
	IF NOT EXISTS (SELECT FROM whatsapp.there) THEN
		RAISE EXCEPTION 'OR REPLACE, IF NOT EXISTS there';
	END IF;
END $$;
CREATE TRIGGER planted AFTER INSERT ON whatsapp.there EXECUTE FUNCTION whatsapp.planted();
GRANT EXECUTE ON FUNCTION whatsapp.planted() TO owner;
COMMENT ON FUNCTION whatsapp.planted() IS 'CREATE OR REPLACE';

CREATE SCHEMA IF NOT EXISTS whatsapp; -- if-not-exists
CREATE FUNCTION whatsapp.path() RETURNS void LANGUAGE sql SET search_path = public AS ''; -- search-path
RESET search_path; -- search-path
