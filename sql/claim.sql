-- The way of a row, as the background worker goes it: claim, send, record.
CREATE EXTENSION whatsapp;
SET client_min_messages = warning;
SELECT whatsapp.add_number('106540352242922', access_token => 'older-token');
SELECT whatsapp.set_access_token('106540352242922', 'token');
SELECT whatsapp.add_number('106540352242923', access_token => 'other-token');
SELECT whatsapp.add_number('106540352242924');

INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, priority, send_after, expires_at) VALUES
	('106540352242922', '15551230001', 'first', 0, NULL, NULL),
	('106540352242923', '15551230002', 'urgent', 5, now() - interval '1 hour', NULL),
	('106540352242922', '15551230003', 'tomorrow', 9, now() + interval '1 day', NULL),
	('106540352242922', '15551230004', 'too late', 9, NULL, now() - interval '1 second'),
	('106540352242924', '15551230005', 'no token', 9, NULL, NULL),
	('106540352242922', '15551230006', 'third', 0, NULL, now() + interval '1 day');

-- by priority, then in order; not before their time, nor after
SELECT outbox_id, attempt, url, access_token, body FROM whatsapp.claim(2);
SELECT outbox_id, attempt, url, access_token, body FROM whatsapp.claim(100);
SELECT outbox_id FROM whatsapp.claim(100);
SELECT id, state, attempts, claimed_at IS NOT NULL AS claimed, finished_at IS NOT NULL AS finished FROM whatsapp.outbox ORDER BY id;

-- what an outcome means
SELECT o.outcome, o.reply, whatsapp.verdict(o.outcome, o.reply::jsonb)
FROM (VALUES
	('answered', '{"messages": [{"id": "wamid.A"}]}'),
	('answered', '{"messages": [{"id": ""}]}'),
	('answered', '{"messages": []}'),
	('answered', '{"error": {"code": 131026}}'),
	('answered', '{"error": "down"}'),
	('answered', '{}'),
	('answered', '[]'),
	('answered', '"OK"'),
	('answered', NULL),
	('unknown', NULL),
	('not sent', NULL)
) o (outcome, reply);

-- recorded: one sent, one failed, one that could not be sent; and others that
-- are none of the claimed
SELECT r FROM whatsapp.record(
	ARRAY[1, 2, 6, 3, 77], ARRAY[1, 1, 1, 1, 1],
	ARRAY['answered', 'answered', 'not sent', 'answered', 'answered'], ARRAY[200, 400, 0, 200, 200],
	ARRAY['{"contacts": [{"input": "+15551230001", "wa_id": "5551230001"}], "messages": [{"id": "wamid.A"}]}',
		'{"error": {"code": 131026, "message": "(#131026) Message undeliverable", "error_data": {"details": "Not on WhatsApp."}}}',
		NULL, '{"messages": [{"id": "wamid.B"}]}', '{"messages": [{"id": "wamid.C"}]}']::jsonb[],
	ARRAY[NULL, NULL, 'Could not connect', NULL, NULL]) r;
SELECT id, state, attempts, message_id, error_code, error,
	round(extract(epoch FROM retry_at - now())) AS retry_in, finished_at IS NOT NULL AS finished, failed_at IS NOT NULL AS failed
FROM whatsapp.outbox ORDER BY id;
SELECT message_id, direction, type, body, wa_id, status, outbox_id, element FROM whatsapp.messages;

-- again later, and now nobody knows
UPDATE whatsapp.outbox SET retry_at = NULL WHERE id = 6;
SELECT outbox_id, attempt FROM whatsapp.claim(100);
SELECT r FROM whatsapp.record(ARRAY[6], ARRAY[1], ARRAY['answered'], ARRAY[200], ARRAY['{"messages": [{"id": "wamid.D"}]}']::jsonb[], ARRAY[NULL]) r;
SELECT state FROM whatsapp.outbox WHERE id = 6;
SELECT r FROM whatsapp.record(ARRAY[6], ARRAY[2], ARRAY['answered'], ARRAY[502], ARRAY[NULL]::jsonb[], ARRAY[NULL]) r;
SELECT state, error FROM whatsapp.outbox WHERE id = 6;

-- a status that came before the answer
SELECT messages, statuses FROM whatsapp.ingest_unsigned('{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value":
	{"metadata": {"phone_number_id": "106540352242922"}, "statuses": [{"id": "wamid.E", "status": "delivered", "timestamp": "1750101000", "recipient_id": "5551230003"}]}}]}]}');
UPDATE whatsapp.outbox SET send_after = NULL WHERE id = 3;
SELECT outbox_id, attempt FROM whatsapp.claim(100);
SELECT r FROM whatsapp.record(ARRAY[3], ARRAY[1], ARRAY['answered'], ARRAY[200], ARRAY['{"messages": [{"id": "wamid.E"}]}']::jsonb[], ARRAY[NULL]) r;
SELECT message_id, direction, type, body, wa_id, status, outbox_id FROM whatsapp.messages WHERE message_id = 'wamid.E';

-- what a worker finds that another has left behind
UPDATE whatsapp.outbox SET state = 'sending' WHERE id IN (2, 5);
SELECT whatsapp.release_interrupted('{1, 2}');
SELECT id, state, error FROM whatsapp.outbox WHERE id IN (2, 5) ORDER BY id;

-- a number that is paused sends nothing
UPDATE whatsapp.numbers SET state = 'paused';
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('106540352242922', '15551230001', 'later');
SELECT count(*) FROM whatsapp.claim(100);

DROP EXTENSION whatsapp;
