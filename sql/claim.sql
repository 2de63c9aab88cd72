-- The way of a row, as the background worker goes it: claim, send, record.
CREATE EXTENSION whatsapp;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT whatsapp.add_number('106540352242922', access_token => 'older-token');
SELECT whatsapp.set_access_token('106540352242922', 'token');
SELECT whatsapp.add_number('106540352242923', access_token => 'other-token');
UPDATE whatsapp.numbers SET api_version = 'v26.0' WHERE phone_number_id = '106540352242923';
SELECT whatsapp.add_number('106540352242924');

-- what the worker would record for rows, whose nonces are random
CREATE FUNCTION record_rows(ids bigint[], outcomes text[], http_statuses integer[], replies jsonb[], errors text[] DEFAULT NULL, retry_afters integer[] DEFAULT NULL)
RETURNS SETOF bigint LANGUAGE sql AS $$
	SELECT r.outbox_id
	FROM whatsapp.record(ids,
		(SELECT array_agg(coalesce(o.nonce, 'none') ORDER BY i.ord) FROM unnest(ids) WITH ORDINALITY i (id, ord) LEFT JOIN whatsapp.outbox o USING (id)),
		outcomes, http_statuses, replies, coalesce(errors, array_fill(NULL::text, ARRAY[cardinality(ids)])),
		coalesce(retry_afters, array_fill(NULL::integer, ARRAY[cardinality(ids)]))) r
$$;

INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, priority, send_after, expires_at) VALUES
	('106540352242922', '15551230001', 'first', 0, NULL, NULL),
	('106540352242923', '15551230002', 'urgent', 5, now() - interval '1 hour', NULL),
	('106540352242922', '15551230003', 'tomorrow', 9, now() + interval '1 day', NULL),
	('106540352242922', '15551230004', 'too late', 9, NULL, now() - interval '1 second'),
	('106540352242924', '15551230005', 'no token', 9, NULL, NULL),
	('106540352242922', '15551230006', 'third', 0, NULL, now() + interval '1 day');

-- by priority, then in order; not before their time, nor after
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT outbox_id, length(nonce) AS nonce, url, access_token, regexp_replace(body, '[0-9a-f]{16}', 'NONCE') AS body FROM whatsapp.claim(2) WHERE what = 'send';
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT outbox_id, length(nonce) AS nonce, url, access_token, regexp_replace(body, '[0-9a-f]{16}', 'NONCE') AS body FROM whatsapp.claim(100) WHERE what = 'send';
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT outbox_id FROM whatsapp.claim(100) WHERE what = 'send';
SELECT id, state, attempts, claimed_at IS NOT NULL AS claimed, finished_at IS NOT NULL AS finished FROM whatsapp.outbox ORDER BY id;

-- recorded: one sent, one failed, one that could not be sent; and others that
-- are none of the claimed
SELECT r FROM record_rows(
	ARRAY[1, 2, 6, 3, 77],
	ARRAY['answered', 'answered', 'not sent', 'answered', 'answered'], ARRAY[200, 400, 0, 200, 200],
	ARRAY['{"contacts": [{"input": "+15551230001", "wa_id": "5551230001"}], "messages": [{"id": "wamid.A"}]}',
		'{"error": {"code": 131026, "message": "(#131026) Message undeliverable", "error_data": {"details": "Not on WhatsApp."}, "fbtrace_id": "Atrace"}}',
		NULL, '{"messages": [{"id": "wamid.B"}]}', '{"messages": [{"id": "wamid.C"}]}']::jsonb[],
	ARRAY[NULL, NULL, 'Could not connect', NULL, NULL]) r;
SELECT id, state, attempts, deferrals, message_id, error_code, error_title, error_details, error, fbtrace_id,
	retry_at IS NOT NULL AS again, finished_at IS NOT NULL AS finished, failed_at IS NOT NULL AS failed
FROM whatsapp.outbox ORDER BY id;
SELECT message_id, direction, type, body, wa_id, status, outbox_id, regexp_replace(element::text, '[0-9a-f]{16}', 'NONCE') AS element FROM whatsapp.messages;
SELECT outbox_id, attempt, what, state, http_status, class, error_code, error, fbtrace_id FROM whatsapp.attempts ORDER BY attempt_id;

-- the same again is not listed again, and none of it counts as an attempt
UPDATE whatsapp.outbox SET retry_at = NULL WHERE id = 6;
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT outbox_id FROM whatsapp.claim(100) WHERE what = 'send';
SELECT r FROM record_rows(ARRAY[6], ARRAY['not sent'], ARRAY[0], ARRAY[NULL]::jsonb[], ARRAY['Could not connect']) r;
SELECT state, attempts, deferrals, retry_at IS NOT NULL AS again FROM whatsapp.outbox WHERE id = 6;
SELECT count(*) FROM whatsapp.attempts WHERE outbox_id = 6;

-- an answer to another attempt is none to this one
UPDATE whatsapp.outbox SET retry_at = NULL WHERE id = 6;
SELECT nonce AS old_nonce FROM whatsapp.outbox WHERE id = 6 \gset
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT outbox_id FROM whatsapp.claim(100) WHERE what = 'send';
SELECT r.outbox_id FROM whatsapp.record(ARRAY[6], ARRAY[:'old_nonce'], ARRAY['answered'], ARRAY[200], ARRAY['{"messages": [{"id": "wamid.D"}]}']::jsonb[], ARRAY[NULL], ARRAY[NULL]::integer[]) r;
SELECT state FROM whatsapp.outbox WHERE id = 6;

-- and now nobody knows
SELECT r FROM record_rows(ARRAY[6], ARRAY['answered'], ARRAY[502], ARRAY[NULL]::jsonb[]) r;
SELECT state, attempts, deferrals, error FROM whatsapp.outbox WHERE id = 6;

-- a status that came before the answer
SELECT messages, statuses FROM whatsapp.ingest_unsigned('{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value":
	{"metadata": {"phone_number_id": "106540352242922"}, "statuses": [{"id": "wamid.E", "status": "delivered", "timestamp": "1750101000", "recipient_id": "5551230003"}]}}]}]}');
UPDATE whatsapp.outbox SET send_after = NULL WHERE id = 3;
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT outbox_id FROM whatsapp.claim(100) WHERE what = 'send';
SELECT r FROM record_rows(ARRAY[3], ARRAY['answered'], ARRAY[200], ARRAY['{"messages": [{"id": "wamid.E"}]}']::jsonb[]) r;
SELECT message_id, direction, type, body, wa_id, status, outbox_id FROM whatsapp.messages WHERE message_id = 'wamid.E';

-- what a worker finds that another has left behind
UPDATE whatsapp.outbox SET state = 'sending' WHERE id IN (2, 5);
SELECT whatsapp.release_interrupted('{1, 2}');
SELECT id, state, error FROM whatsapp.outbox WHERE id IN (2, 5) ORDER BY id;
SELECT outbox_id, what, state FROM whatsapp.attempts WHERE what = 'interrupted';

-- rows that came from a dump are not checked; what cannot be sent has failed
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, body, created_at) VALUES
	('106540352242922', 'Ada', 'text', 'to nobody', '2026-01-01'),
	('106540352242922', '15551230001', 'image', NULL, '2026-01-01'),
	('106540352242922', '15551230001', 'text', NULL, '2026-01-01'),
	('106540352242922', '15551230009', 'text', 'fine', '2026-01-01');
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT regexp_replace(body, '[0-9a-f]{16}', 'NONCE') AS body FROM whatsapp.claim(100) WHERE what = 'send';
SELECT recipient, state, error FROM whatsapp.outbox WHERE created_at = '2026-01-01' ORDER BY id;

-- a row that something objects to does not keep others from being sent
CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.state = 'sending' AND OLD.body LIKE 'objected to%' THEN
		RAISE EXCEPTION 'not that one';
	ELSIF OLD.body = 'never to be changed' THEN
		RAISE EXCEPTION 'never';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER object BEFORE UPDATE ON whatsapp.outbox FOR EACH ROW EXECUTE FUNCTION object();
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES
	('106540352242922', '15551230001', 'objected to'),
	('106540352242922', '15551230003', 'never to be changed'),
	('106540352242922', '15551230002', 'welcome');
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT count(*) FROM whatsapp.claim(100) WHERE what = 'send';
SET client_min_messages = error;
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT regexp_replace(body, '[0-9a-f]{16}', 'NONCE') AS body FROM whatsapp.claim(100, one_by_one => true) WHERE what = 'send';
SET client_min_messages = warning;
SELECT body, state, attempts, error, retry_at > now() AS later FROM whatsapp.outbox WHERE id > 10 ORDER BY id;
-- also when it has expired
UPDATE whatsapp.outbox SET state = 'queued' WHERE body = 'welcome';
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, expires_at) VALUES
	('106540352242922', '15551230004', 'never to be changed', now()),
	('106540352242922', '15551230005', 'has expired', now());
SET client_min_messages = error;
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT regexp_replace(body, '[0-9a-f]{16}', 'NONCE') AS body FROM whatsapp.claim(100, one_by_one => true) WHERE what = 'send';
SET client_min_messages = warning;
SELECT body, state FROM whatsapp.outbox WHERE expires_at IS NOT NULL AND id > 10 ORDER BY id;
DROP TRIGGER object ON whatsapp.outbox;
DROP FUNCTION object();

-- a number that is paused sends nothing
UPDATE whatsapp.numbers SET state = 'paused';
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('106540352242922', '15551230001', 'later');
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT count(*) FROM whatsapp.claim(100) WHERE what = 'send';

DROP FUNCTION record_rows(bigint[], text[], integer[], jsonb[], text[], integer[]);
DROP EXTENSION whatsapp;
