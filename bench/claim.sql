-- What a claim reads, while a lot is queued that may not leave.
--
--	createdb claim
--	psql -d claim -f bench/claim.sql
--	dropdb claim
--
-- in a server without shared_preload_libraries = 'whatsapp', or with
-- whatsapp.enabled = off, so that nothing is sent meanwhile.  It takes some
-- minutes, and 2 GB.  The plans are those that the background worker has.

\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
SET client_min_messages = error;
CREATE EXTENSION whatsapp;
SELECT whatsapp.add_number('1001', waba_id => '1', access_token => 'none');
INSERT INTO whatsapp.holds (phone_number_id, kind, key, reason) VALUES ('1001', 'template', 'sale en', 'for this');

SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;

-- the plan of a claim of 256, from where the worker has read up to; of that,
-- what is about the outbox
CREATE FUNCTION show_claim(situation text, priority integer, id bigint) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	is_shown boolean := false;
BEGIN
	RETURN NEXT '';
	RETURN NEXT situation;
	FOR line IN EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF)
		SELECT * FROM whatsapp.front_rows(256, ''{1001}'', ''{256}'', ARRAY[%L]::integer[], ARRAY[%L]::bigint[], ''{}'', ''{}'')', priority, id)
	LOOP
		IF line LIKE '%Index Scan using outbox_front_idx%' THEN
			is_shown := true;
			line := regexp_replace(line, '^ *', '');
		ELSIF is_shown THEN
			line := regexp_replace(line, '^ *', '    ');
		END IF;
		IF is_shown THEN
			RETURN NEXT line;
		END IF;
		is_shown := is_shown AND line NOT LIKE '%Buffers%';
	END LOOP;
END $$;
CREATE PROCEDURE send(n integer) LANGUAGE plpgsql AS $$
DECLARE
	priority integer;
	id bigint;
	ids bigint[];
BEGIN
	FOR i IN 1..n / 250 LOOP
		SELECT array_agg(c.outbox_id), max(c.outbox_id) INTO ids, id
		FROM whatsapp.claim(250, false, '{1001}', '{250}', ARRAY[priority], ARRAY[id]) c WHERE c.what = 'send';
		priority := 0;
		PERFORM whatsapp.record(array_agg(o.id), array_agg(o.nonce), array_agg('answered'::text), array_agg(200),
			array_agg(jsonb_build_object('messages', jsonb_build_array(jsonb_build_object('id', 'wamid.' || o.id)))), array_agg(NULL::text), array_agg(NULL::integer))
		FROM whatsapp.outbox o WHERE o.id = ANY (ids);
		COMMIT;
	END LOOP;
END $$;

INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) SELECT '1001', 15580000000 + i, 'may leave' FROM generate_series(1, 10000) i;
VACUUM ANALYZE whatsapp.outbox;
SELECT show_claim('10,000 that may leave, and nothing else', NULL, NULL);

TRUNCATE whatsapp.outbox;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) SELECT '1001', '15550000001', 'to one recipient' FROM generate_series(1, 100000) i;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content) SELECT '1001', 15570000000 + i, 'template', '{"name": "sale", "language": {"code": "en"}}' FROM generate_series(1, 100000) i;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) SELECT '1001', 15580000000 + i, 'may leave' FROM generate_series(1, 1000000) i;
VACUUM ANALYZE whatsapp.outbox;
SELECT show_claim('100,000 to one recipient and 100,000 that are held in front, 1,000,000 behind', NULL, NULL);

-- a snapshot that is held by somebody else, until this is over
\setenv PGDATABASE :DBNAME
\! (psql -qAt -c "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM whatsapp.numbers; SELECT pg_sleep(3600)" >/dev/null 2>&1 &) ; sleep 1
CALL send(100000);
SELECT max(id) AS last FROM whatsapp.outbox WHERE state = 'sent' AND recipient <> '15550000001' \gset
SELECT show_claim('and 100,000 more that have left, under an old snapshot: read on', 0, :last);
SELECT show_claim('the same, read from the beginning, as every now and then', NULL, NULL);
SELECT 'rows of the hot indexes, in pages: ' || string_agg(c.relname || ' ' || c.relpages, ', ' ORDER BY c.relname)
FROM pg_class c WHERE c.relname IN ('outbox_front_idx', 'outbox_head_idx', 'outbox_turn_idx');
SELECT count(pg_terminate_backend(pid)) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid();
