-- What it costs to file a webhook, in the server: whatsapp.ingest() beside a
-- peer in PL/pgSQL that files the same rows (bench/peer.sql), and beside bare
-- INSERTs of the finished rows.
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
-- Goals: at most 0.6 times what the peer takes, and twice the INSERTs; of
-- batches of a hundred, 25,000 a second, and 1.6 times the set-based INSERTs.

\set QUIET on
\set ON_ERROR_STOP on
\pset footer off
\if :{?n}
\else
	\set n 6000
\endif
\ir bodies.sql
\ir peer.sql
SET synchronous_commit = off;

DROP SCHEMA IF EXISTS bare CASCADE;
CREATE SCHEMA bare;
CREATE TABLE bare.messages (LIKE whatsapp.messages INCLUDING ALL);
CREATE TABLE bare.statuses (LIKE whatsapp.statuses INCLUDING ALL);
CREATE TABLE bare.media (LIKE whatsapp.media INCLUDING ALL);
CREATE TABLE bare.correspondents (LIKE whatsapp.correspondents INCLUDING ALL);
CREATE TABLE bare.events (LIKE whatsapp.events INCLUDING ALL);

-- The finished rows of a hundred webhooks, of which each has at most one for
-- each table; as they were when the webhook had been filed
CREATE TEMPORARY TABLE finished (
	n integer PRIMARY KEY,
	message whatsapp.messages,
	status whatsapp.statuses,
	medium whatsapp.media,
	event whatsapp.events,
	name text,
	at timestamptz
);
CREATE TABLE bench.result (kind text, batch boolean, what text, first integer, us double precision);

CREATE PROCEDURE bench.finish(kind text, first integer, last integer)
LANGUAGE plpgsql
AS $$
BEGIN
	TRUNCATE finished;
	INSERT INTO finished
	SELECT b.n, m, s, d, e, e.element #>> '{profile,name}', coalesce(s.at, m.sent_at)
	FROM (
		SELECT o.n, v.value, coalesce(v.value #>> '{messages,0,id}', v.value #>> '{statuses,0,id}') AS id
		FROM bench.bodies o
		CROSS JOIN LATERAL (SELECT convert_from(o.body, 'UTF8')::jsonb #> '{entry,0,changes,0,value}' AS value) v
		WHERE o.kind = finish.kind AND o.n BETWEEN first AND last
	) b
	LEFT JOIN whatsapp.messages m ON m.phone_number_id = '106540352242922' AND m.message_id = b.id
	LEFT JOIN whatsapp.statuses s ON s.phone_number_id = m.phone_number_id AND s.message_id = m.message_id
		AND s.status = b.value #>> '{statuses,0,status}' AND s.participant = ''
	LEFT JOIN whatsapp.media d ON d.phone_number_id = m.phone_number_id AND d.media_id = m.media_id
	LEFT JOIN whatsapp.events e ON e.event_id = whatsapp.event_id(m.phone_number_id, NULL, b.value #> '{contacts,0}');
	ANALYZE finished;
END $$;

-- These return how long it took, in microseconds

CREATE FUNCTION bench.loop_alone(kind text, first integer, last integer) RETURNS double precision
LANGUAGE plpgsql
AS $$
DECLARE
	began CONSTANT timestamptz := clock_timestamp();
	w record;
BEGIN
	FOR w IN SELECT b.body, b.signature FROM bench.bodies b WHERE b.kind = loop_alone.kind AND b.n BETWEEN first AND last LOOP
		IF length(w.body) = length(w.signature) THEN
			RAISE 'what is that?';
		END IF;
	END LOOP;
	RETURN extract(epoch FROM clock_timestamp() - began) * 1e6;
END $$;

CREATE FUNCTION bench.ours(kind text, first integer, last integer) RETURNS double precision
LANGUAGE plpgsql
AS $$
DECLARE
	began CONSTANT timestamptz := clock_timestamp();
	w record;
BEGIN
	FOR w IN SELECT b.body, b.signature FROM bench.bodies b WHERE b.kind = ours.kind AND b.n BETWEEN first AND last LOOP
		IF (whatsapp.ingest(w.body, w.signature)).http_status <> 200 THEN
			RAISE 'not filed';
		END IF;
	END LOOP;
	RETURN extract(epoch FROM clock_timestamp() - began) * 1e6;
END $$;

CREATE FUNCTION bench.peer(kind text, first integer, last integer) RETURNS double precision
LANGUAGE plpgsql
AS $$
DECLARE
	began CONSTANT timestamptz := clock_timestamp();
	w record;
BEGIN
	FOR w IN SELECT b.body, b.signature FROM bench.bodies b WHERE b.kind = peer.kind AND b.n BETWEEN first AND last LOOP
		IF peer.ingest(w.body, w.signature) <> 200 THEN
			RAISE 'not filed';
		END IF;
	END LOOP;
	RETURN extract(epoch FROM clock_timestamp() - began) * 1e6;
END $$;

CREATE FUNCTION bench.ours_batch(kind text, first integer, last integer) RETURNS double precision
LANGUAGE plpgsql
AS $$
DECLARE
	bodies bytea[];
	signatures text[];
	nfiled integer;
	began timestamptz;
BEGIN
	SELECT array_agg(b.body ORDER BY b.n), array_agg(b.signature ORDER BY b.n) INTO bodies, signatures
	FROM bench.bodies b WHERE b.kind = ours_batch.kind AND b.n BETWEEN first AND last;
	began := clock_timestamp();
	SELECT count(*) INTO nfiled FROM whatsapp.ingest_batch(bodies, signatures) r WHERE r.http_status = 200;
	IF nfiled <> cardinality(bodies) THEN
		RAISE 'not filed';
	END IF;
	RETURN extract(epoch FROM clock_timestamp() - began) * 1e6;
END $$;

-- The INSERTs, of one row each
CREATE FUNCTION bench.bare(kind text, first integer, last integer) RETURNS double precision
LANGUAGE plpgsql
AS $$
DECLARE
	f record;
	m whatsapp.messages;
	s whatsapp.statuses;
	d whatsapp.media;
	e whatsapp.events;
	began timestamptz;
	us double precision := 0;
BEGIN
	FOR f IN SELECT * FROM finished ORDER BY n LOOP
		m := f.message;
		s := f.status;
		d := f.medium;
		e := f.event;
		began := clock_timestamp();
		IF kind = 'status' THEN
			INSERT INTO bare.statuses (phone_number_id, message_id, status, participant, at, wa_id, user_id, parent_user_id,
				conversation, pricing, errors, error_code, callback_data, element)
			VALUES (s.phone_number_id, s.message_id, s.status, s.participant, s.at, s.wa_id, s.user_id, s.parent_user_id,
				s.conversation, s.pricing, s.errors, s.error_code, s.callback_data, s.element);
			INSERT INTO bare.messages AS t (phone_number_id, message_id, direction, wa_id, status, status_at)
			VALUES (s.phone_number_id, s.message_id, 'outbound', s.wa_id, s.status, s.at)
			ON CONFLICT (phone_number_id, message_id) DO UPDATE SET status = excluded.status, status_at = excluded.status_at;
			INSERT INTO bare.correspondents AS t (phone_number_id, contact_key, kind, wa_id, wa_id_at, first_seen, last_seen)
			VALUES (s.phone_number_id, s.wa_id, 'wa_id', s.wa_id, s.at, s.at, s.at)
			ON CONFLICT (phone_number_id, contact_key) DO UPDATE SET wa_id_at = excluded.wa_id_at, last_seen = excluded.last_seen;
		ELSE
			INSERT INTO bare.messages (phone_number_id, message_id, direction, type, body, wa_id, user_id, parent_user_id, group_id,
				context_id, forwarded, target_id, reply_id, payload, response, referral, ctwa_clid, media_id, error_code, sent_at, element)
			VALUES (m.phone_number_id, m.message_id, m.direction, m.type, m.body, m.wa_id, m.user_id, m.parent_user_id, m.group_id,
				m.context_id, m.forwarded, m.target_id, m.reply_id, m.payload, m.response, m.referral, m.ctwa_clid, m.media_id, m.error_code, m.sent_at, m.element);
			IF kind = 'image' THEN
				INSERT INTO bare.media (phone_number_id, media_id, message_id, kind, mime_type, sha256, filename, caption, voice, animated, url, at)
				VALUES (d.phone_number_id, d.media_id, d.message_id, d.kind, d.mime_type, d.sha256, d.filename, d.caption, d.voice, d.animated, d.url, d.at);
			END IF;
			INSERT INTO bare.correspondents AS t (phone_number_id, contact_key, kind, wa_id, wa_id_at, name, name_at, first_seen, last_seen, last_message_at, last_inbound_at)
			VALUES (m.phone_number_id, m.wa_id, 'wa_id', m.wa_id, m.sent_at, f.name, m.sent_at, m.sent_at, m.sent_at, m.sent_at, m.sent_at)
			ON CONFLICT (phone_number_id, contact_key) DO UPDATE
			SET wa_id_at = excluded.wa_id_at, name = excluded.name, name_at = excluded.name_at, last_seen = excluded.last_seen,
				last_message_at = excluded.last_message_at, last_inbound_at = excluded.last_inbound_at;
			INSERT INTO bare.events (event_id, phone_number_id, field, event, element)
			VALUES (e.event_id, e.phone_number_id, e.field, e.event, e.element)
			ON CONFLICT DO NOTHING;
		END IF;
		us := us + extract(epoch FROM clock_timestamp() - began) * 1e6;
	END LOOP;
	RETURN us;
END $$;

-- and of all rows of a hundred webhooks
CREATE FUNCTION bench.bare_batch(kind text, first integer, last integer) RETURNS double precision
LANGUAGE plpgsql
AS $$
DECLARE
	began CONSTANT timestamptz := clock_timestamp();
BEGIN
	IF kind = 'status' THEN
		INSERT INTO bare.statuses (phone_number_id, message_id, status, participant, at, wa_id, user_id, parent_user_id,
			conversation, pricing, errors, error_code, callback_data, element)
		SELECT s.phone_number_id, s.message_id, s.status, s.participant, s.at, s.wa_id, s.user_id, s.parent_user_id,
			s.conversation, s.pricing, s.errors, s.error_code, s.callback_data, s.element
		FROM finished f CROSS JOIN LATERAL (SELECT (f.status).*) s;
		INSERT INTO bare.messages AS t (phone_number_id, message_id, direction, wa_id, status, status_at)
		SELECT DISTINCT ON (s.message_id) s.phone_number_id, s.message_id, 'outbound', s.wa_id, s.status, s.at
		FROM finished f CROSS JOIN LATERAL (SELECT (f.status).*) s
		ORDER BY s.message_id, f.n DESC
		ON CONFLICT (phone_number_id, message_id) DO UPDATE SET status = excluded.status, status_at = excluded.status_at;
		INSERT INTO bare.correspondents AS t (phone_number_id, contact_key, kind, wa_id, wa_id_at, first_seen, last_seen)
		SELECT s.phone_number_id, s.wa_id, 'wa_id', s.wa_id, max(s.at), min(s.at), max(s.at)
		FROM finished f CROSS JOIN LATERAL (SELECT (f.status).*) s
		GROUP BY s.phone_number_id, s.wa_id
		ON CONFLICT (phone_number_id, contact_key) DO UPDATE SET wa_id_at = excluded.wa_id_at, last_seen = excluded.last_seen;
	ELSE
		INSERT INTO bare.messages (phone_number_id, message_id, direction, type, body, wa_id, user_id, parent_user_id, group_id,
			context_id, forwarded, target_id, reply_id, payload, response, referral, ctwa_clid, media_id, error_code, sent_at, element)
		SELECT m.phone_number_id, m.message_id, m.direction, m.type, m.body, m.wa_id, m.user_id, m.parent_user_id, m.group_id,
			m.context_id, m.forwarded, m.target_id, m.reply_id, m.payload, m.response, m.referral, m.ctwa_clid, m.media_id, m.error_code, m.sent_at, m.element
		FROM finished f CROSS JOIN LATERAL (SELECT (f.message).*) m;
		IF kind = 'image' THEN
			INSERT INTO bare.media (phone_number_id, media_id, message_id, kind, mime_type, sha256, filename, caption, voice, animated, url, at)
			SELECT d.phone_number_id, d.media_id, d.message_id, d.kind, d.mime_type, d.sha256, d.filename, d.caption, d.voice, d.animated, d.url, d.at
			FROM finished f CROSS JOIN LATERAL (SELECT (f.medium).*) d;
		END IF;
		INSERT INTO bare.correspondents AS t (phone_number_id, contact_key, kind, wa_id, wa_id_at, name, name_at, first_seen, last_seen, last_message_at, last_inbound_at)
		SELECT '106540352242922', v.wa_id, 'wa_id', v.wa_id, max(f.at), max(f.name), max(f.at), min(f.at), max(f.at), max(f.at), max(f.at)
		FROM finished f CROSS JOIN LATERAL (SELECT (f.message).wa_id) v
		GROUP BY v.wa_id
		ON CONFLICT (phone_number_id, contact_key) DO UPDATE
		SET wa_id_at = excluded.wa_id_at, name = excluded.name, name_at = excluded.name_at, last_seen = excluded.last_seen,
			last_message_at = excluded.last_message_at, last_inbound_at = excluded.last_inbound_at;
		INSERT INTO bare.events (event_id, phone_number_id, field, event, element)
		SELECT DISTINCT e.event_id, e.phone_number_id, e.field, e.event, e.element
		FROM finished f CROSS JOIN LATERAL (SELECT (f.event).*) e
		ON CONFLICT DO NOTHING;
	END IF;
	RETURN extract(epoch FROM clock_timestamp() - began) * 1e6;
END $$;

-- Empty all tables; of statuses, the messages are there
CREATE PROCEDURE bench.empty(kind text, n integer)
LANGUAGE plpgsql
AS $$
DECLARE
	name text;
BEGIN
	TRUNCATE whatsapp.outbox, whatsapp.messages, whatsapp.statuses, whatsapp.media, whatsapp.correspondents, whatsapp.contact_sightings,
		whatsapp.events, whatsapp.evidence, whatsapp.webhooks;
	IF kind = 'status' THEN
		PERFORM bench.make_sent(n);
	END IF;
	FOREACH name IN ARRAY '{messages, statuses, media, correspondents, events, outbox}'::text[] LOOP
		EXECUTE format('TRUNCATE peer.%I', name);
		IF name = 'outbox' THEN
			EXECUTE 'INSERT INTO peer.outbox (id, phone_number_id, recipient, body, state, attempts, message_id, created_at, finished_at)
				OVERRIDING SYSTEM VALUE
				SELECT id, phone_number_id, recipient, body, state, attempts, message_id, created_at, finished_at FROM whatsapp.outbox ORDER BY id';
		ELSE
			EXECUTE format('TRUNCATE bare.%I', name);
			IF name IN ('messages', 'correspondents') THEN
				EXECUTE format('INSERT INTO peer.%1$I SELECT * FROM whatsapp.%1$I', name);
				EXECUTE format('INSERT INTO bare.%1$I SELECT * FROM whatsapp.%1$I', name);
			END IF;
			EXECUTE format('ANALYZE bare.%I', name);
		END IF;
		EXECUTE format('ANALYZE peer.%I', name);
		EXECUTE format('ANALYZE whatsapp.%I', name);
	END LOOP;
	TRUNCATE peer.contact_sightings, peer.evidence;
END $$;

-- File n webhooks of a kind by all three, one by one or in batches
CREATE PROCEDURE bench.run(kind text, n integer, batch boolean)
LANGUAGE plpgsql
AS $$
DECLARE
	size CONSTANT integer := 100;
	alone double precision;
	us double precision[];
BEGIN
	CALL bench.empty(kind, n);
	COMMIT;
	FOR start IN 1 .. n BY size LOOP
		alone := bench.loop_alone(kind, start, start + size - 1);
		-- each goes first in its turn, but INSERTs need the rows
		IF start / size % 2 = 0 THEN
			us[2] := bench.peer(kind, start, start + size - 1) - alone;
			COMMIT;
		END IF;
		us[1] := CASE WHEN batch THEN bench.ours_batch(kind, start, start + size - 1) ELSE bench.ours(kind, start, start + size - 1) - alone END;
		COMMIT;
		IF start / size % 2 = 1 THEN
			us[2] := bench.peer(kind, start, start + size - 1) - alone;
			COMMIT;
		END IF;
		CALL bench.finish(kind, start, start + size - 1);
		COMMIT;
		us[3] := CASE WHEN batch THEN bench.bare_batch(kind, start, start + size - 1) ELSE bench.bare(kind, start, start + size - 1) END;
		COMMIT;
		INSERT INTO bench.result
		SELECT kind, batch, w.what, start, us[w.ord] / size
		FROM unnest('{ours, peer, bare}'::text[]) WITH ORDINALITY w (what, ord);
		COMMIT;
	END LOOP;
	CALL bench.compare(kind);
	COMMIT;
END $$;

-- Raise an error unless all three have the same rows, but for when they came
CREATE PROCEDURE bench.compare(kind text)
LANGUAGE plpgsql
AS $$
DECLARE
	name text;
	other text;
	differing integer;
BEGIN
	FOREACH name IN ARRAY '{messages, statuses, media, correspondents, events}'::text[] LOOP
		FOREACH other IN ARRAY '{peer, bare}'::text[] LOOP
			EXECUTE format('SELECT count(*)
				FROM (SELECT to_jsonb(t) - ''received_at'' AS r FROM whatsapp.%1$I t) a
				FULL JOIN (SELECT to_jsonb(t) - ''received_at'' AS r FROM %2$I.%1$I t) b USING (r)
				WHERE a.r IS NULL OR b.r IS NULL', name, other) INTO differing;
			IF differing > 0 THEN
				RAISE '% rows of %.% are not the same as of whatsapp.%', differing, other, name, name;
			END IF;
		END LOOP;
	END LOOP;
END $$;

SELECT bench.make_bodies(k, :n) FROM unnest('{text, status, image}'::text[]) k \g /dev/null
SELECT peer.set_app_secret('0123456789abcdef0123456789abcdef') \g /dev/null

-- what has been compiled and planned by now is not in the result
CALL bench.run('text', 200, false);
CALL bench.run('status', 200, false);
CALL bench.run('image', 200, true);
TRUNCATE bench.result;

CALL bench.run('text', :n, false);
CALL bench.run('status', :n, false);
CALL bench.run('image', :n, false);
CALL bench.run('text', :n, true);
CALL bench.run('status', :n, true);
CALL bench.run('image', :n, true);

SELECT kind, CASE WHEN batch THEN '100 a call' ELSE '1 a call' END AS webhooks, ours AS "ours (us)", peer AS "PL/pgSQL (us)", bare AS "INSERTs (us)",
	round(ours / peer, 2) AS "/ PL/pgSQL", round(ours / bare, 2) AS "/ INSERTs", round(1e6 / ours) AS "ours/s"
FROM (
	SELECT kind, batch,
		round((percentile_cont(0.5) WITHIN GROUP (ORDER BY us) FILTER (WHERE what = 'ours'))::numeric, 2) AS ours,
		round((percentile_cont(0.5) WITHIN GROUP (ORDER BY us) FILTER (WHERE what = 'peer'))::numeric, 2) AS peer,
		round((percentile_cont(0.5) WITHIN GROUP (ORDER BY us) FILTER (WHERE what = 'bare'))::numeric, 2) AS bare
	FROM bench.result
	GROUP BY kind, batch
) r
ORDER BY batch, kind DESC;
