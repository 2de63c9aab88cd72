-- Webhooks to measure with, signed as Meta signs them.
--
--	psql -f bench/bodies.sql
--	SELECT bench.make_bodies('text', 20000);
--
-- in a database with the extension, which has but one app secret then.

SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS bench;

DELETE FROM whatsapp.secrets WHERE kind = 'app_secret';
SELECT whatsapp.set_app_secret('0123456789abcdef0123456789abcdef') \g /dev/null

DROP TABLE IF EXISTS bench.bodies;
CREATE TABLE bench.bodies (
	kind text NOT NULL,
	n integer NOT NULL,
	body bytea NOT NULL,
	signature text NOT NULL,
	PRIMARY KEY (kind, n)
);

-- As Meta makes them: bytes in base64, with the phone number of the other side,
-- and something that no other message has.
CREATE OR REPLACE FUNCTION bench.wamid(kind text, n integer, wa_id text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN 'wamid.' || encode(
	'\x1c180b'::bytea || wa_id::bytea || '\x15020012181418'::bytea
	|| upper(left(md5(kind || n), 18))::bytea || '\x00'::bytea, 'base64');

-- The person that a webhook is about, of so many
CREATE OR REPLACE FUNCTION bench.wa_id(n integer, people integer) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN (15550000000 + n::bigint * 7919 % people)::text;

-- What they write: 5 to 200 characters, some of which JSON has escapes for
CREATE OR REPLACE FUNCTION bench.words(n integer) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN left(
	(ARRAY['Does it come in another color? ', 'Caf\u00e9 at nine, then \ud83d\ude00 ', 'Where is my order? I have been waiting for it. ',
		'OK, thank you! ', 'I\u2019d like to return what I bought last week.\n'])[1 + n % 5], 60)
	|| repeat('More of it. ', n * 31 % 13);

-- Make webhooks first .. first + n - 1 of a kind (text, image or status), of a
-- fifth as many people.  Statuses are three for each message: all are sent
-- first, then all delivered, then all read.
CREATE OR REPLACE FUNCTION bench.make_bodies(kind text, n integer, first integer DEFAULT 1) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
	people CONSTANT integer := greatest(n / 5, 1);
	since CONSTANT bigint := extract(epoch FROM now())::bigint - 3600;
BEGIN
	INSERT INTO bench.bodies (kind, n, body, signature)
	SELECT make_bodies.kind, w.n, w.body, whatsapp.sign(w.body, '0123456789abcdef0123456789abcdef')
	FROM (
		SELECT i.n, convert_to(format(
			'{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{"messaging_product":"whatsapp",'
			'"metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},%s},"field":"messages"}]}]}',
			CASE make_bodies.kind
				WHEN 'status' THEN format(
					'"statuses":[{"id":"%s","status":"%s","timestamp":"%s","recipient_id":"%s"%s,'
					'"pricing":{"billable":true,"pricing_model":"PMP","category":"utility","type":"regular"},"biz_opaque_callback_data":"wa1.%s.1.%s"}]',
					bench.wamid('sent', m.n, m.wa_id), (ARRAY['sent', 'delivered', 'read'])[m.step], since + i.n / 20, m.wa_id,
					CASE WHEN m.step < 3 THEN format(',"conversation":{"id":"%s","origin":{"type":"utility"}}', md5(m.wa_id)) END,
					m.n, left(md5(m.n::text), 16))
				ELSE format(
					'"contacts":[{"profile":{"name":"Person %s"},"wa_id":"%s"}],"messages":[{"from":"%s","id":"%s","timestamp":"%s",%s}]',
					right(p.wa_id, 7)::integer, p.wa_id, p.wa_id, bench.wamid(make_bodies.kind, i.n, p.wa_id), since + i.n / 20,
					CASE make_bodies.kind
						WHEN 'text' THEN format('"type":"text","text":{"body":"%s"}', bench.words(i.n))
						WHEN 'image' THEN format(
							'"type":"image","image":{"caption":"%s","mime_type":"image\/jpeg","sha256":"%s","id":"%s",'
							'"url":"https:\/\/lookaside.fbsbx.com\/whatsapp_business\/attachments\/?mid=%s&source=webhook&ext=%s&hash=%s"}',
							left(bench.words(i.n), 20), encode(sha256(i.n::text::bytea), 'base64'), 1000000000000000 + i.n, 1000000000000000 + i.n,
							since + 300, left(md5('url' || i.n), 30))
					END)
			END), 'UTF8') AS body
		FROM generate_series(first, first + make_bodies.n - 1) i (n)
		CROSS JOIN LATERAL (SELECT bench.wa_id(i.n, people) AS wa_id) p
		CROSS JOIN LATERAL (
			SELECT s.n, s.step, bench.wa_id(s.n, people) AS wa_id
			FROM (
				SELECT first + (i.n - first) % ((make_bodies.n + 2) / 3) AS n,
					least(1 + (i.n - first) / ((make_bodies.n + 2) / 3), 3) AS step
			) s
		) m
	) w;
	ANALYZE bench.bodies;
END $$;

-- The messages that these statuses are about, as they are there when they have
-- been sent from the outbox
CREATE OR REPLACE FUNCTION bench.make_sent(n integer, first integer DEFAULT 1) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
	people CONSTANT integer := greatest(n / 5, 1);
	since CONSTANT timestamptz := now() - interval '2 hours';
BEGIN
	-- what brings its own created_at has been sent elsewhere, and is not touched
	INSERT INTO whatsapp.outbox (id, phone_number_id, recipient, body, state, attempts, message_id, created_at, finished_at)
	OVERRIDING SYSTEM VALUE
	SELECT i.n, '106540352242922', bench.wa_id(i.n, people), 'Your order has been shipped', 'sent', 1,
		bench.wamid('sent', i.n, bench.wa_id(i.n, people)), since, since
	FROM generate_series(first, first + (n + 2) / 3 - 1) i (n);
	INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, body, wa_id, status, status_at, sent_at, outbox_id, element)
	SELECT o.phone_number_id, o.message_id, 'outbound', 'text', o.body, o.recipient, 'accepted', o.finished_at, o.finished_at, o.id,
		jsonb_build_object('to', o.recipient, 'type', 'text', 'text', jsonb_build_object('body', o.body))
	FROM whatsapp.outbox o
	WHERE o.id >= first AND o.id < first + (n + 2) / 3
	ORDER BY o.id;
	INSERT INTO whatsapp.correspondents (phone_number_id, contact_key, kind, wa_id, wa_id_at, first_seen, last_seen, last_message_at, last_outbound_at)
	SELECT '106540352242922', p.wa_id, 'wa_id', p.wa_id, since, since, since, since, since
	FROM (SELECT DISTINCT bench.wa_id(i.n, people) AS wa_id FROM generate_series(first, first + (n + 2) / 3 - 1) i (n)) p
	ON CONFLICT DO NOTHING;
END $$;

-- These file webhooks, and return how long it took, in microseconds

-- one a call; or, for what the loop itself takes, none
CREATE OR REPLACE FUNCTION bench.file_one_by_one(kind text, first integer, last integer, is_filed boolean DEFAULT true) RETURNS double precision
LANGUAGE plpgsql
AS $$
DECLARE
	began CONSTANT timestamptz := clock_timestamp();
	w record;
BEGIN
	FOR w IN SELECT b.body, b.signature FROM bench.bodies b WHERE b.kind = file_one_by_one.kind AND b.n BETWEEN first AND last LOOP
		IF is_filed AND (whatsapp.ingest(w.body, w.signature)).http_status <> 200 THEN
			RAISE 'not filed';
		END IF;
	END LOOP;
	RETURN extract(epoch FROM clock_timestamp() - began) * 1e6;
END $$;

-- so many a call
CREATE OR REPLACE FUNCTION bench.file_in_batches(kind text, first integer, last integer, size integer) RETURNS double precision
LANGUAGE plpgsql
AS $$
DECLARE
	bodies bytea[];
	signatures text[];
	nfiled integer;
	began timestamptz;
	us double precision := 0;
BEGIN
	FOR start IN first .. last BY size LOOP
		SELECT array_agg(b.body ORDER BY b.n), array_agg(b.signature ORDER BY b.n) INTO bodies, signatures
		FROM bench.bodies b
		WHERE b.kind = file_in_batches.kind AND b.n BETWEEN start AND least(start + size - 1, last);
		began := clock_timestamp();
		SELECT count(*) INTO nfiled FROM whatsapp.ingest_batch(bodies, signatures) r WHERE r.http_status = 200;
		us := us + extract(epoch FROM clock_timestamp() - began) * 1e6;
		IF nfiled <> cardinality(bodies) THEN
			RAISE 'not filed';
		END IF;
	END LOOP;
	RETURN us;
END $$;
