-- What it costs to file a webhook, in the server: whatsapp.ingest() beside a
-- peer in PL/pgSQL that files the same rows (bench/peer.sql), and beside bare
-- INSERTs of the finished rows; and whatsapp.ingest_batch(), beside the same
-- peer, and INSERTs of all the rows of as many webhooks.
--
--	createdb ingest
--	psql -d ingest -c 'CREATE EXTENSION whatsapp'
--	psql -d ingest -v n=6000 -f bench/ingest.sql
--	dropdb ingest
--
-- Webhooks are filed in hundreds: a hundred by each of the three, then the next
-- hundred, so that all see the same machine, and tables that grow alike.  What
-- is told is the median of hundreds, without what the loop itself costs, nor
-- the commit.  In the end the tables of all three must be the same.
--
-- Goals: at most 0.6 times what the peer takes, and twice what INSERTs do; of
-- batches, 25,000 a second, and 1.6 times what INSERTs of all rows take.

\set QUIET on
\set ON_ERROR_STOP on
\pset footer off
\if :{?n}
\else
	\set n 6000
\endif
\ir bodies.sql
SET synchronous_commit = off;

-- Of these there are copies, for the peer, and for bare INSERTs
CREATE OR REPLACE FUNCTION bench.tables() RETURNS text[]
LANGUAGE sql IMMUTABLE
RETURN '{messages, statuses, media, correspondents, contact_sightings, events, evidence, outbox}'::text[];

CREATE OR REPLACE PROCEDURE bench.copy_tables(to_schema text)
LANGUAGE plpgsql
AS $$
DECLARE
	name text;
BEGIN
	EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', to_schema);
	EXECUTE format('CREATE SCHEMA %I', to_schema);
	FOREACH name IN ARRAY bench.tables() LOOP
		EXECUTE format('CREATE TABLE %I.%I (LIKE whatsapp.%I INCLUDING ALL)', to_schema, name, name);
	END LOOP;
END $$;

CALL bench.copy_tables('peer');
CALL bench.copy_tables('bare');
\ir peer.sql
SELECT peer.set_app_secret('0123456789abcdef0123456789abcdef') \g /dev/null

-- The finished rows of webhooks: of each a message, with what belongs to it, or
-- a status
DROP TABLE IF EXISTS bench.finished, bench.finished_statuses, bench.result;
CREATE UNLOGGED TABLE bench.finished AS
SELECT 0 AS n, m.*, d.mime_type, d.sha256, d.caption, d.url, ''::text AS name, ''::bytea AS event_id, m.element AS contact
FROM whatsapp.messages m, whatsapp.media d LIMIT 0;
CREATE UNLOGGED TABLE bench.finished_statuses AS SELECT 0 AS n, s.* FROM whatsapp.statuses s LIMIT 0;
CREATE UNIQUE INDEX ON bench.finished (n);
CREATE UNIQUE INDEX ON bench.finished_statuses (n);
CREATE TABLE bench.result (kind text, batch boolean, first integer, ours double precision, peer double precision, bare double precision);

CREATE OR REPLACE PROCEDURE bench.finish(kind text, first integer, last integer)
LANGUAGE plpgsql
AS $$
BEGIN
	IF kind = 'status' THEN
		INSERT INTO bench.finished_statuses
		SELECT b.n, s.*
		FROM bench.bodies b
		CROSS JOIN LATERAL (SELECT convert_from(b.body, 'UTF8')::jsonb #> '{entry,0,changes,0,value,statuses,0}' AS element) v
		JOIN whatsapp.statuses s ON s.phone_number_id = '106540352242922' AND s.message_id = v.element ->> 'id'
			AND s.status = v.element ->> 'status' AND s.participant = ''
		WHERE b.kind = finish.kind AND b.n BETWEEN first AND last
		ORDER BY b.n;
	ELSE
		INSERT INTO bench.finished
		SELECT b.n, m.*, d.mime_type, d.sha256, d.caption, d.url, e.element #>> '{profile,name}', e.event_id, e.element
		FROM bench.bodies b
		CROSS JOIN LATERAL (SELECT convert_from(b.body, 'UTF8')::jsonb #> '{entry,0,changes,0,value}' AS value) v
		JOIN whatsapp.messages m ON m.phone_number_id = '106540352242922' AND m.message_id = v.value #>> '{messages,0,id}'
		JOIN whatsapp.events e ON e.event_id = whatsapp.event_id(m.phone_number_id, NULL, v.value #> '{contacts,0}')
		LEFT JOIN whatsapp.media d ON d.phone_number_id = m.phone_number_id AND d.media_id = m.media_id
		WHERE b.kind = finish.kind AND b.n BETWEEN first AND last
		ORDER BY b.n;
	END IF;
END $$;

-- These return how long it took, in microseconds, as those in bodies.sql do

-- webhooks by the peer, in the very same loop
DO $$
BEGIN
	EXECUTE replace(replace(pg_get_functiondef('bench.file_one_by_one'::regproc), 'file_one_by_one', 'file_by_peer'),
		'(whatsapp.ingest(w.body, w.signature)).http_status', 'peer.ingest(w.body, w.signature)');
END $$;

-- INSERTs of the finished rows, one by one
CREATE OR REPLACE FUNCTION bench.insert_one_by_one(kind text, first integer, last integer) RETURNS double precision
LANGUAGE plpgsql
AS $$
DECLARE
	m record;
	s record;
	began timestamptz;
	us double precision := 0;
BEGIN
	FOR m IN SELECT * FROM bench.finished f WHERE f.n BETWEEN first AND last ORDER BY f.n LOOP
		began := clock_timestamp();
		INSERT INTO bare.messages (phone_number_id, message_id, direction, type, body, wa_id, user_id, parent_user_id, group_id,
			context_id, forwarded, target_id, reply_id, payload, response, referral, ctwa_clid, media_id, error_code, sent_at, element)
		VALUES (m.phone_number_id, m.message_id, m.direction, m.type, m.body, m.wa_id, m.user_id, m.parent_user_id, m.group_id,
			m.context_id, m.forwarded, m.target_id, m.reply_id, m.payload, m.response, m.referral, m.ctwa_clid, m.media_id, m.error_code, m.sent_at, m.element);
		IF kind = 'image' THEN
			INSERT INTO bare.media (phone_number_id, media_id, message_id, kind, mime_type, sha256, caption, url, at)
			VALUES (m.phone_number_id, m.media_id, m.message_id, m.type, m.mime_type, m.sha256, m.caption, m.url, m.sent_at);
		END IF;
		INSERT INTO bare.correspondents (phone_number_id, contact_key, kind, wa_id, wa_id_at, name, name_at, first_seen, last_seen, last_message_at, last_inbound_at)
		VALUES (m.phone_number_id, m.wa_id, 'wa_id', m.wa_id, m.sent_at, m.name, m.sent_at, m.sent_at, m.sent_at, m.sent_at, m.sent_at)
		ON CONFLICT (phone_number_id, contact_key) DO UPDATE
		SET wa_id_at = excluded.wa_id_at, name = excluded.name, name_at = excluded.name_at, last_seen = excluded.last_seen,
			last_message_at = excluded.last_message_at, last_inbound_at = excluded.last_inbound_at;
		INSERT INTO bare.events (event_id, phone_number_id, field, event, element)
		VALUES (m.event_id, m.phone_number_id, 'contacts', 'seen', m.contact)
		ON CONFLICT DO NOTHING;
		us := us + extract(epoch FROM clock_timestamp() - began) * 1e6;
	END LOOP;

	FOR s IN SELECT * FROM bench.finished_statuses f WHERE f.n BETWEEN first AND last ORDER BY f.n LOOP
		began := clock_timestamp();
		INSERT INTO bare.statuses (phone_number_id, message_id, status, participant, at, wa_id, user_id, parent_user_id,
			conversation, pricing, errors, error_code, callback_data, element)
		VALUES (s.phone_number_id, s.message_id, s.status, s.participant, s.at, s.wa_id, s.user_id, s.parent_user_id,
			s.conversation, s.pricing, s.errors, s.error_code, s.callback_data, s.element);
		INSERT INTO bare.messages (phone_number_id, message_id, direction, wa_id, status, status_at)
		VALUES (s.phone_number_id, s.message_id, 'outbound', s.wa_id, s.status, s.at)
		ON CONFLICT (phone_number_id, message_id) DO UPDATE SET status = excluded.status, status_at = excluded.status_at;
		INSERT INTO bare.correspondents (phone_number_id, contact_key, kind, wa_id, wa_id_at, first_seen, last_seen)
		VALUES (s.phone_number_id, s.wa_id, 'wa_id', s.wa_id, s.at, s.at, s.at)
		ON CONFLICT (phone_number_id, contact_key) DO UPDATE SET wa_id_at = excluded.wa_id_at, last_seen = excluded.last_seen;
		us := us + extract(epoch FROM clock_timestamp() - began) * 1e6;
	END LOOP;
	RETURN us;
END $$;

-- and all at once; the plans stay, whatever tables there were when they were made
CREATE OR REPLACE FUNCTION bench.insert_at_once(kind text, first integer, last integer) RETURNS double precision
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
	began CONSTANT timestamptz := clock_timestamp();
BEGIN
	IF kind = 'status' THEN
		INSERT INTO bare.statuses (phone_number_id, message_id, status, participant, at, wa_id, user_id, parent_user_id,
			conversation, pricing, errors, error_code, callback_data, element)
		SELECT s.phone_number_id, s.message_id, s.status, s.participant, s.at, s.wa_id, s.user_id, s.parent_user_id,
			s.conversation, s.pricing, s.errors, s.error_code, s.callback_data, s.element
		FROM bench.finished_statuses s
		WHERE s.n BETWEEN first AND last;
		INSERT INTO bare.messages (phone_number_id, message_id, direction, wa_id, status, status_at)
		SELECT DISTINCT ON (s.message_id) s.phone_number_id, s.message_id, 'outbound', s.wa_id, s.status, s.at
		FROM bench.finished_statuses s
		WHERE s.n BETWEEN first AND last
		ORDER BY s.message_id, s.n DESC
		ON CONFLICT (phone_number_id, message_id) DO UPDATE SET status = excluded.status, status_at = excluded.status_at;
		INSERT INTO bare.correspondents (phone_number_id, contact_key, kind, wa_id, wa_id_at, first_seen, last_seen)
		SELECT s.phone_number_id, s.wa_id, 'wa_id', s.wa_id, max(s.at), min(s.at), max(s.at)
		FROM bench.finished_statuses s
		WHERE s.n BETWEEN first AND last
		GROUP BY s.phone_number_id, s.wa_id
		ON CONFLICT (phone_number_id, contact_key) DO UPDATE SET wa_id_at = excluded.wa_id_at, last_seen = excluded.last_seen;
		RETURN extract(epoch FROM clock_timestamp() - began) * 1e6;
	END IF;

	INSERT INTO bare.messages (phone_number_id, message_id, direction, type, body, wa_id, user_id, parent_user_id, group_id,
		context_id, forwarded, target_id, reply_id, payload, response, referral, ctwa_clid, media_id, error_code, sent_at, element)
	SELECT m.phone_number_id, m.message_id, m.direction, m.type, m.body, m.wa_id, m.user_id, m.parent_user_id, m.group_id,
		m.context_id, m.forwarded, m.target_id, m.reply_id, m.payload, m.response, m.referral, m.ctwa_clid, m.media_id, m.error_code, m.sent_at, m.element
	FROM bench.finished m
	WHERE m.n BETWEEN first AND last;
	IF kind = 'image' THEN
		INSERT INTO bare.media (phone_number_id, media_id, message_id, kind, mime_type, sha256, caption, url, at)
		SELECT m.phone_number_id, m.media_id, m.message_id, m.type, m.mime_type, m.sha256, m.caption, m.url, m.sent_at
		FROM bench.finished m
		WHERE m.n BETWEEN first AND last;
	END IF;
	INSERT INTO bare.correspondents (phone_number_id, contact_key, kind, wa_id, wa_id_at, name, name_at, first_seen, last_seen, last_message_at, last_inbound_at)
	SELECT m.phone_number_id, m.wa_id, 'wa_id', m.wa_id, max(m.sent_at), max(m.name), max(m.sent_at), min(m.sent_at), max(m.sent_at), max(m.sent_at), max(m.sent_at)
	FROM bench.finished m
	WHERE m.n BETWEEN first AND last
	GROUP BY m.phone_number_id, m.wa_id
	ON CONFLICT (phone_number_id, contact_key) DO UPDATE
	SET wa_id_at = excluded.wa_id_at, name = excluded.name, name_at = excluded.name_at, last_seen = excluded.last_seen,
		last_message_at = excluded.last_message_at, last_inbound_at = excluded.last_inbound_at;
	INSERT INTO bare.events (event_id, phone_number_id, field, event, element)
	SELECT DISTINCT m.event_id, m.phone_number_id, 'contacts', 'seen', m.contact
	FROM bench.finished m
	WHERE m.n BETWEEN first AND last
	ON CONFLICT DO NOTHING;
	RETURN extract(epoch FROM clock_timestamp() - began) * 1e6;
END $$;

-- Empty all tables; of statuses, the messages are there
CREATE OR REPLACE PROCEDURE bench.empty(kind text, n integer)
LANGUAGE plpgsql
AS $$
DECLARE
	name text;
	columns text;
BEGIN
	TRUNCATE bench.finished, bench.finished_statuses;
	FOREACH name IN ARRAY bench.tables() LOOP
		EXECUTE format('TRUNCATE whatsapp.%I, peer.%I, bare.%I', name, name, name);
	END LOOP;
	IF kind = 'status' THEN
		PERFORM bench.make_sent(n);
	END IF;
	FOREACH name IN ARRAY bench.tables() LOOP
		SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
		FROM pg_attribute a
		WHERE a.attrelid = format('whatsapp.%I', name)::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
		EXECUTE format('INSERT INTO peer.%1$I (%2$s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM whatsapp.%1$I', name, columns);
		EXECUTE format('INSERT INTO bare.%1$I (%2$s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM whatsapp.%1$I', name, columns);
		EXECUTE format('ANALYZE whatsapp.%I, peer.%I, bare.%I', name, name, name);
	END LOOP;
END $$;

-- Raise an error unless all three have the same rows, but for when they came
CREATE OR REPLACE PROCEDURE bench.compare()
LANGUAGE plpgsql
AS $$
DECLARE
	name text;
	other text;
	ndiffering integer;
BEGIN
	FOREACH name IN ARRAY bench.tables() LOOP
		FOREACH other IN ARRAY '{peer, bare}'::text[] LOOP
			EXECUTE format('SELECT count(*)
				FROM (SELECT to_jsonb(t) - ''received_at'' AS r FROM whatsapp.%1$I t) a
				FULL JOIN (SELECT to_jsonb(t) - ''received_at'' AS r FROM %2$I.%1$I t) b USING (r)
				WHERE a.r IS NULL OR b.r IS NULL', name, other) INTO ndiffering;
			IF ndiffering > 0 THEN
				RAISE '% rows of %.% and whatsapp.% differ', ndiffering, other, name, name;
			END IF;
		END LOOP;
	END LOOP;
END $$;

-- File n webhooks of a kind by all three, one by one or in batches
CREATE OR REPLACE PROCEDURE bench.file(kind text, n integer, batch boolean)
LANGUAGE plpgsql
AS $$
DECLARE
	size CONSTANT integer := 100;
	last integer;
	alone double precision;
	ours double precision;
	peer double precision;
	bare double precision;
BEGIN
	CALL bench.empty(kind, n);
	COMMIT;
	FOR start IN 1 .. n BY size LOOP
		last := start + size - 1;
		alone := bench.file_one_by_one(kind, start, last, false);
		FOR turn IN 1..2 LOOP
			IF (turn + start / size) % 2 = 0 THEN
				ours := CASE WHEN batch THEN bench.file_in_batches(kind, start, last, size) ELSE bench.file_one_by_one(kind, start, last) - alone END;
			ELSE
				peer := bench.file_by_peer(kind, start, last) - alone;
			END IF;
			COMMIT;
		END LOOP;
		CALL bench.finish(kind, start, last);
		COMMIT;
		bare := CASE WHEN batch THEN bench.insert_at_once(kind, start, last) ELSE bench.insert_one_by_one(kind, start, last) END;
		INSERT INTO bench.result VALUES (kind, batch, start, ours / size, peer / size, bare / size);
		COMMIT;
	END LOOP;
	CALL bench.compare();
	COMMIT;
END $$;

SELECT bench.make_bodies(k, :n) FROM unnest('{text, status, image}'::text[]) k \g /dev/null

-- when all has been compiled and planned
CALL bench.file('text', 200, false);
CALL bench.file('status', 200, false);
CALL bench.file('image', 200, true);
TRUNCATE bench.result;

CALL bench.file('text', :n, false);
CALL bench.file('status', :n, false);
CALL bench.file('image', :n, false);
CALL bench.file('text', :n, true);
CALL bench.file('status', :n, true);
CALL bench.file('image', :n, true);

SELECT m.kind, CASE WHEN m.batch THEN '100 a call' ELSE 'one a call' END AS webhooks,
	round(m.us[1]::numeric, 1) AS "ours (us)", round(m.us[2]::numeric, 1) AS "PL/pgSQL (us)", round(m.us[3]::numeric, 1) AS "INSERTs (us)",
	round((m.us[1] / m.us[2])::numeric, 2) AS "/ PL/pgSQL", round((m.us[1] / m.us[3])::numeric, 2) AS "/ INSERTs", round(1e6 / m.us[1]) AS "ours/s"
FROM (
	SELECT r.kind, r.batch, ARRAY[percentile_cont(0.5) WITHIN GROUP (ORDER BY r.ours), percentile_cont(0.5) WITHIN GROUP (ORDER BY r.peer),
		percentile_cont(0.5) WITHIN GROUP (ORDER BY r.bare)] AS us
	FROM bench.result r
	GROUP BY r.kind, r.batch
) m
ORDER BY m.batch, m.kind DESC;
