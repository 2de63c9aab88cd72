-- Webhooks that are handed over together come to the same rows as those that
-- are handed over one by one.
CREATE EXTENSION whatsapp;
\getenv abs_srcdir PG_ABS_SRCDIR
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT whatsapp.add_number('1001', app_secret => 'secret', waba_id => '2001');

-- all rows there are, but for when they came, and how many of them there are
CREATE FUNCTION all_rows() RETURNS TABLE (name text, r text) LANGUAGE plpgsql AS $$
DECLARE
	kind record;
BEGIN
	FOR kind IN
		SELECT c.relname FROM pg_class c
		WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind = 'r'
			AND c.relname IN ('correspondents', 'contact_sightings', 'contact_changes', 'messages', 'reactions', 'media', 'statuses', 'call_events',
				'groups', 'group_participants', 'templates', 'user_preferences', 'evidence', 'events', 'webhooks')
	LOOP
		RETURN QUERY EXECUTE format('SELECT %L::text, (to_jsonb(t) - ''received_at'')::text FROM whatsapp.%I t', kind.relname, kind.relname);
	END LOOP;
END $$;
CREATE PROCEDURE empty() LANGUAGE sql AS $$
	TRUNCATE whatsapp.correspondents, whatsapp.contact_sightings, whatsapp.contact_changes, whatsapp.messages, whatsapp.reactions, whatsapp.media,
		whatsapp.statuses, whatsapp.call_events, whatsapp.groups, whatsapp.group_participants, whatsapp.templates, whatsapp.user_preferences,
		whatsapp.evidence, whatsapp.events, whatsapp.webhooks
$$;
CREATE TABLE fixtures AS
SELECT row_number() OVER (ORDER BY f.name COLLATE "C") AS n, f.name, b.body, whatsapp.sign(b.body, 'secret') AS signature
FROM pg_ls_dir(:'abs_srcdir' || '/test/webhooks') f (name)
CROSS JOIN LATERAL pg_read_binary_file(:'abs_srcdir' || '/test/webhooks/' || f.name) b (body);

-- one by one
CREATE TABLE singly AS
SELECT f.n, r.* FROM fixtures f CROSS JOIN LATERAL whatsapp.ingest(f.body, f.signature) r ORDER BY f.n;
CREATE TABLE singly_rows AS SELECT * FROM all_rows();
SELECT count(*) > 100 AS there_are_many, count(DISTINCT name) AS tables FROM singly_rows;

-- together, and in whatever order, and each of them twice
CREATE FUNCTION file_together(ordering text, times integer) RETURNS TABLE (n bigint, r whatsapp.ingest_result) LANGUAGE plpgsql AS $$
DECLARE
	ns bigint[];
	bodies bytea[];
	signatures text[];
BEGIN
	EXECUTE format('SELECT array_agg(f.n ORDER BY %1$s), array_agg(f.body ORDER BY %1$s), array_agg(f.signature ORDER BY %1$s)
		FROM fixtures f CROSS JOIN generate_series(1, $1) again', ordering) INTO ns, bodies, signatures USING times;
	RETURN QUERY SELECT ns[i.ord], i FROM whatsapp.ingest_batch(bodies, signatures) i;
END $$;
CREATE VIEW differences AS
	(SELECT 'too many' AS what, * FROM all_rows() EXCEPT ALL SELECT 'too many', * FROM singly_rows)
	UNION ALL
	(SELECT 'missing', * FROM singly_rows EXCEPT ALL SELECT 'missing', * FROM all_rows());
CALL empty();
CREATE TABLE together AS SELECT (f.r).* FROM file_together('f.n', 1) f;
SELECT * FROM differences;
-- (in one subtransaction)
SELECT count(DISTINCT xmin::text) FROM whatsapp.messages;
CALL empty();
SELECT count(*) FROM file_together('f.n DESC', 1) f;
SELECT * FROM differences;
CALL empty();
SELECT count(*) FROM file_together('md5(f.name)', 1) f;
SELECT * FROM differences;
CALL empty();
CREATE TABLE twice AS SELECT (f.r).* FROM file_together('again, f.n', 2) f;
SELECT * FROM differences;

-- and what became of each is told, in the order in which they were handed over;
-- but of messages that are there with and without content, together, those
-- without have had to yield at once
SELECT f.name, s.messages, t.messages, s.statuses, t.statuses, s.events, t.events, s.duplicates, t.duplicates, s.parked, t.parked, s.error, t.error
FROM singly s JOIN together t ON t.ord = s.n JOIN fixtures f USING (n)
WHERE (s.http_status, s.unreadable, s.messages, s.statuses, s.events, s.duplicates, s.parked, s.error)
	IS DISTINCT FROM (t.http_status, t.unreadable, t.messages, t.statuses, t.events, t.duplicates, t.parked, t.error)
ORDER BY f.name COLLATE "C";
SELECT sum(a.messages) - sum(b.messages) AS messages, sum(a.statuses) - sum(b.statuses) AS statuses, sum(a.events) - sum(b.events) AS events
FROM together a JOIN twice b USING (ord);
SELECT sum(messages) AS messages, sum(statuses) AS statuses, sum(events) AS events FROM twice WHERE ord > (SELECT count(*) FROM fixtures);
SELECT * FROM file_together('f.n', 1) f WHERE ((f.r).messages, (f.r).statuses, (f.r).events, (f.r).parked) <> (0, 0, 0, 0);
SELECT * FROM differences;

-- Should one be objected to, all others are filed; also such as are but a part
-- of a webhook, beside one that is not of WhatsApp.
CREATE FUNCTION file(VARIADIC bodies text[]) RETURNS TABLE (ord integer, messages integer, events integer, duplicates integer, unreadable integer, parked integer, error text)
LANGUAGE sql AS $$
	SELECT r.ord, r.messages, r.events, r.duplicates, r.unreadable, r.parked, r.error
	FROM (SELECT array_agg(convert_to(b, 'UTF8') ORDER BY ord), array_agg(whatsapp.sign(convert_to(b, 'UTF8'), 'secret') ORDER BY ord)
		FROM unnest(bodies) WITH ORDINALITY u (b, ord)) u (bodies, signatures)
	CROSS JOIN LATERAL whatsapp.ingest_batch(u.bodies, u.signatures) r
	ORDER BY r.ord
$$;
CREATE FUNCTION part(id text) RETURNS text LANGUAGE sql
RETURN format('{"messages": [{"id": %s, "from": "15550001", "type": "text", "text": {"body": "Hi"}, "timestamp": "1750101000"}]}', to_json(id));
ALTER TABLE whatsapp.messages ADD CONSTRAINT objection CHECK (message_id <> 'bad');
CALL empty();
SELECT * FROM file(part('a'), part('bad'), part('b'), '{', '{"object": "instagram", "entry": []}');
SELECT message_id, body FROM whatsapp.messages ORDER BY message_id;
SELECT state, reason FROM whatsapp.webhooks ORDER BY state;
CALL empty();
SELECT * FROM file(part('a'), '{"object": "instagram", "entry": []}');
SELECT * FROM file(part('a'), part('a'), part('b'));
SELECT message_id, body FROM whatsapp.messages ORDER BY message_id;
ALTER TABLE whatsapp.messages DROP CONSTRAINT objection;

-- Many are filed in several parts.
CALL empty();
SELECT count(*), sum(messages) AS messages, sum(duplicates) AS duplicates
FROM file(VARIADIC ARRAY(SELECT part((n % 2000)::text) FROM generate_series(1, 2500) n));
SELECT count(*), count(DISTINCT xmin::text) AS parts FROM whatsapp.messages;

DROP FUNCTION file, part;
DROP VIEW differences;
DROP TABLE fixtures, singly, singly_rows, together, twice;
DROP FUNCTION all_rows, file_together;
DROP PROCEDURE empty;
DROP EXTENSION whatsapp;
