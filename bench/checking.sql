-- What it costs that messages are checked, placed and counted when they are
-- queued: 100,000 of them by one statement, with our triggers and without.
--
--	createdb checking
--	psql -d checking -f bench/checking.sql
--	dropdb checking
--
-- in a server without shared_preload_libraries = 'whatsapp', or with
-- whatsapp.enabled = off, so that nothing is sent meanwhile.  Goal: texts take
-- at most twice as long as without.  Five runs each, by turns; medians.

\set QUIET on
\set ON_ERROR_STOP on
SET client_min_messages = error;
CREATE EXTENSION whatsapp;
SELECT whatsapp.add_number('1001', waba_id => '1');
CREATE TABLE result (what text, run integer, is_checked boolean, ms double precision);

CREATE PROCEDURE measure(what text, run integer, is_checked boolean, statement text) LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz;
BEGIN
	IF NOT is_checked THEN
		ALTER TABLE whatsapp.outbox DISABLE TRIGGER USER;
	END IF;
	began := clock_timestamp();
	EXECUTE statement;
	INSERT INTO result VALUES (what, run, is_checked, extract(epoch FROM clock_timestamp() - began) * 1000);
	ALTER TABLE whatsapp.outbox ENABLE TRIGGER USER;
	ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER queued;
	ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER place_inserted;
	ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER note_updated;
	ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER note_deleted;
	ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER note_truncated;
	TRUNCATE whatsapp.outbox;
	COMMIT;
END $$;

-- (what is inserted is made before, so that only the INSERT counts)
CREATE TABLE text_message AS
SELECT '1555' || (1000000 + i) AS recipient, 'Hello ' || i AS body FROM generate_series(1, 100000) i;
CREATE TABLE template_message AS
SELECT '1555' || (1000000 + i) AS recipient, whatsapp.template_content('sale', 'en', jsonb_build_object('name', 'Ada', 'order', i)) AS content
FROM generate_series(1, 100000) i;
CREATE TABLE list_message AS
SELECT '1555' || (1000000 + i) AS recipient, whatsapp.interactive('list', 'Title', NULL, 'Text', NULL, jsonb_build_object('button', 'Choose', 'sections',
	jsonb_build_array(jsonb_build_object('rows', (SELECT jsonb_agg(jsonb_build_object('id', r, 'title', 'Row ' || r)) FROM unnest('{a, b, c, d, e, f}'::text[]) r))))) AS content
FROM generate_series(1, 100000) i;
VACUUM ANALYZE;

DO $$
DECLARE
	m record;
BEGIN
	FOR run IN 0..5 LOOP
		FOR m IN
			SELECT v.what, c.is_checked, v.statement
			FROM (VALUES
				('texts', 'INSERT INTO whatsapp.outbox (recipient, body) SELECT recipient, body FROM text_message'),
				('templates', 'INSERT INTO whatsapp.outbox (recipient, type, content) SELECT recipient, ''template'', content FROM template_message'),
				('lists', 'INSERT INTO whatsapp.outbox (recipient, type, content) SELECT recipient, ''interactive'', content FROM list_message')
			) v (what, statement)
			CROSS JOIN (VALUES (true), (false)) c (is_checked)
		LOOP
			CALL measure(m.what, run, m.is_checked, m.statement);
		END LOOP;
	END LOOP;
END $$;

-- (the first run is not counted)
SELECT r.what, round((percentile_cont(0.5) WITHIN GROUP (ORDER BY r.ms) FILTER (WHERE NOT r.is_checked))::numeric) AS "without (ms)",
	round((percentile_cont(0.5) WITHIN GROUP (ORDER BY r.ms) FILTER (WHERE r.is_checked))::numeric) AS "with (ms)",
	round((percentile_cont(0.5) WITHIN GROUP (ORDER BY r.ms) FILTER (WHERE r.is_checked)
		/ percentile_cont(0.5) WITHIN GROUP (ORDER BY r.ms) FILTER (WHERE NOT r.is_checked))::numeric, 2) AS ratio
FROM result r
WHERE r.run > 0
GROUP BY r.what
ORDER BY r.what DESC;
