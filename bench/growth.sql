-- Messages of years, as they would be there if they had all come and gone one by
-- one.
--
--	psql -f bench/bodies.sql -f bench/growth.sql
--	CALL bench.grow(10000000, 100000);
--
-- Indexes are dropped meanwhile, and built again; it takes some minutes, and
-- 1.8 GB for each million.

-- Drop the indexes of a table, and return what makes them again
CREATE OR REPLACE FUNCTION bench.drop_indexes(name regclass) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
	makes text[] := '{}';
	i record;
BEGIN
	FOR i IN
		SELECT x.indexrelid::regclass AS name, pg_get_indexdef(x.indexrelid) AS make, c.conname, pg_get_constraintdef(c.oid) AS make_constraint
		FROM pg_index x
		LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid AND c.contype IN ('p', 'u')
		WHERE x.indrelid = drop_indexes.name
	LOOP
		IF i.conname IS NULL THEN
			makes := makes || i.make;
			EXECUTE format('DROP INDEX %s', i.name);
		ELSE
			makes := makes || format('ALTER TABLE %s ADD CONSTRAINT %I %s', drop_indexes.name, i.conname, i.make_constraint);
			EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', drop_indexes.name, i.conname);
		END IF;
	END LOOP;
	RETURN makes;
END $$;

-- Add so many messages of so many people, of which some write much more than
-- others, and a third has a BSUID; with their statuses, and all else that would
-- be there.  The newest is of an hour ago.
CREATE OR REPLACE PROCEDURE bench.grow(nmessages bigint, npeople bigint)
LANGUAGE plpgsql
SET synchronous_commit = off
SET maintenance_work_mem = '1GB'
SET work_mem = '256MB'
AS $$
DECLARE
	number CONSTANT text := '106540352242922';
	newest CONSTANT timestamptz := now() - interval '1 hour';
	makes text[] := '{}';
	make text;
	name text;
BEGIN
	CREATE TEMPORARY TABLE person ON COMMIT DROP AS
	SELECT i AS n, (15550000000 + i)::text AS wa_id, CASE WHEN i % 3 = 0 THEN 'US.' || 77120045000000 + i END AS user_id
	FROM generate_series(0, npeople - 1) i;
	CREATE TEMPORARY TABLE said ON COMMIT DROP AS
	SELECT s.i, s.n, newest - (nmessages - s.i) * (interval '400 days' / nmessages) AS at, s.dice,
		CASE WHEN s.dice % 100 < 55 THEN 'inbound' ELSE 'outbound' END AS direction
	FROM (
		SELECT i, floor(npeople * power(random(), 2))::bigint AS n, floor(random() * 10000)::integer AS dice
		FROM generate_series(1, nmessages) i
	) s;

	FOREACH name IN ARRAY '{messages, statuses, media, correspondents, contact_sightings, events}'::text[] LOOP
		makes := makes || bench.drop_indexes(format('whatsapp.%I', name)::regclass);
	END LOOP;

	INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, body, wa_id, user_id, media_id, status, status_at,
		sent_at, received_at, outbox_id, element)
	SELECT number, w.id, s.direction, w.type, w.words, p.wa_id, p.user_id, CASE WHEN w.type = 'image' THEN s.i::text END,
		CASE WHEN s.direction = 'outbound' THEN CASE WHEN s.dice / 100 < 2 THEN 'failed' WHEN s.dice / 100 < 30 THEN 'delivered' ELSE 'read' END END,
		CASE WHEN s.direction = 'outbound' THEN s.at + interval '5 seconds' END,
		s.at, s.at + interval '1 second', CASE WHEN s.direction = 'outbound' THEN s.i END,
		jsonb_build_object(CASE s.direction WHEN 'inbound' THEN 'from' ELSE 'to' END, p.wa_id, 'id', w.id, 'type', w.type,
			'timestamp', extract(epoch FROM s.at)::bigint::text,
			w.type, CASE w.type WHEN 'image' THEN jsonb_build_object('id', s.i::text, 'mime_type', 'image/jpeg', 'caption', w.words,
				'sha256', encode(sha256(w.id::bytea), 'base64')) ELSE jsonb_build_object('body', w.words) END)
	FROM said s
	JOIN person p ON p.n = s.n
	CROSS JOIN LATERAL (
		SELECT bench.wamid(s.direction, s.i::integer, p.wa_id) AS id, bench.words(s.i::integer) AS words,
			CASE WHEN s.direction = 'inbound' AND s.dice / 100 < 10 THEN 'image' ELSE 'text' END AS type
	) w
	ORDER BY s.i;

	INSERT INTO whatsapp.media (phone_number_id, media_id, message_id, kind, mime_type, sha256, caption, at, received_at)
	SELECT number, m.media_id, m.message_id, 'image', 'image/jpeg', m.element #>> '{image,sha256}', m.body, m.sent_at, m.received_at
	FROM whatsapp.messages m
	WHERE m.media_id IS NOT NULL;

	INSERT INTO whatsapp.statuses (phone_number_id, message_id, status, participant, at, wa_id, user_id, pricing, element, received_at)
	SELECT number, m.message_id, t.status, '', m.sent_at + t.after, m.wa_id, m.user_id, t.pricing,
		jsonb_build_object('id', m.message_id, 'status', t.status, 'timestamp', extract(epoch FROM m.sent_at + t.after)::bigint::text,
			'recipient_id', m.wa_id, 'pricing', t.pricing), m.sent_at + t.after
	FROM whatsapp.messages m
	JOIN (VALUES
		('sent', interval '1 second', 1, '{"billable": true, "pricing_model": "PMP", "category": "utility", "type": "regular"}'::jsonb),
		('delivered', '2 seconds', 3, '{"billable": true, "pricing_model": "PMP", "category": "utility", "type": "regular"}'),
		('read', '5 seconds', 4, NULL), ('failed', '5 seconds', 2, NULL)
	) t (status, after, rank, pricing) ON t.status = m.status OR m.status <> 'failed' AND t.status <> 'failed' AND t.rank < whatsapp.status_rank(m.status)
	WHERE m.direction = 'outbound';

	INSERT INTO whatsapp.correspondents (phone_number_id, contact_key, kind, wa_id, wa_id_at, name, name_at, first_seen, last_seen,
		last_message_at, last_inbound_at, last_outbound_at)
	SELECT number, coalesce(p.user_id, p.wa_id), CASE WHEN p.user_id IS NULL THEN 'wa_id' ELSE 'user_id' END, p.wa_id, m.newest,
		'Person ' || p.n, m.newest, m.oldest, m.newest, m.newest, m.newest_in, m.newest_out
	FROM (
		SELECT s.n, max(s.at) AS newest, min(s.at) AS oldest,
			max(s.at) FILTER (WHERE s.direction = 'inbound') AS newest_in, max(s.at) FILTER (WHERE s.direction = 'outbound') AS newest_out
		FROM said s
		GROUP BY s.n
	) m
	JOIN person p ON p.n = m.n;
	INSERT INTO whatsapp.contact_sightings (phone_number_id, contact_key, kind, value, first_seen, last_seen)
	SELECT number, k.contact_key, 'wa_id', k.wa_id, k.first_seen, k.last_seen
	FROM whatsapp.correspondents k
	WHERE k.kind = 'user_id';
	INSERT INTO whatsapp.events (event_id, phone_number_id, field, event, element)
	SELECT sha256(convert_to(number || '  ' || e.element::text, 'UTF8')), number, 'contacts', 'seen', e.element
	FROM whatsapp.correspondents k
	CROSS JOIN LATERAL (
		SELECT jsonb_strip_nulls(jsonb_build_object('profile', jsonb_build_object('name', k.name), 'wa_id', k.wa_id,
			'user_id', CASE WHEN k.kind = 'user_id' THEN k.contact_key END)) AS element
	) e;

	FOREACH make IN ARRAY makes LOOP
		EXECUTE make;
	END LOOP;

	-- of the last month, as it is kept
	INSERT INTO whatsapp.outbox (id, phone_number_id, recipient, body, state, attempts, message_id, created_at, claimed_at, finished_at)
	OVERRIDING SYSTEM VALUE
	SELECT m.outbox_id, number, m.wa_id, m.body, 'sent', 1, m.message_id, m.sent_at, m.sent_at, m.sent_at
	FROM whatsapp.messages m
	WHERE m.direction = 'outbound' AND m.received_at > newest - interval '30 days';
	PERFORM setval('whatsapp.outbox_id_seq', nmessages + 1);
END $$;
