-- What people may do about a message after they have queued it, and with keys.
CREATE EXTENSION whatsapp;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT whatsapp.add_number('1001', access_token => 'token');

-- queued once, however often it is asked for
SELECT whatsapp.send_text('15551230001', 'Hello', idempotency_key => 'order-7');
SELECT whatsapp.send_text('15551230001', 'Hello', idempotency_key => 'order-7');
SELECT whatsapp.send_text('15551230001', 'https://example.com', preview_url => true, reply_to => 'wamid.IN', callback_data => 'x', priority => 3);
SELECT whatsapp.send_text('Ada', 'Hello');
SELECT whatsapp.send_text('15551230001', NULL);
SELECT whatsapp.send_text('15551230001', '', preview_url => true);
SELECT whatsapp.send_text('15551230001', 'Hello', from_number => '1002');
INSERT INTO whatsapp.outbox (recipient, body, idempotency_key) VALUES ('15551230001', 'Hello', 'order-7');
INSERT INTO whatsapp.outbox (recipient, body, idempotency_key) VALUES ('15551230001', 'Hello', 'order-7') ON CONFLICT DO NOTHING;
SELECT phone_number_id, recipient, type, body, content, reply_to, callback_data, priority, idempotency_key, state FROM whatsapp.outbox ORDER BY id;

-- one for each state
TRUNCATE whatsapp.outbox RESTART IDENTITY;
INSERT INTO whatsapp.outbox (recipient, body) SELECT '15551230001', s FROM unnest('{queued,sending,sent,failed,unknown,cancelled,expired}'::text[]) s;
UPDATE whatsapp.outbox SET state = body, attempts = 3, deferrals = 2, error = 'an error', failed_at = CASE WHEN body = 'failed' THEN now() END,
	message_id = CASE WHEN body = 'sent' THEN 'wamid.1' END, expires_at = CASE WHEN body = 'expired' THEN now() - interval '1 hour' END;

-- cancelled, as long as it has not left
BEGIN;
SELECT id, whatsapp.cancel(id) FROM whatsapp.outbox ORDER BY id;
SELECT body, state, finished_at IS NOT NULL AS finished FROM whatsapp.outbox ORDER BY id;
ROLLBACK;
SELECT whatsapp.cancel(77);
SELECT whatsapp.cancel(NULL);

-- tried again
SELECT whatsapp.retry(2);
SELECT whatsapp.retry(3);
SELECT whatsapp.retry(77);
BEGIN;
SELECT whatsapp.retry(id) FROM whatsapp.outbox WHERE body NOT IN ('sending', 'sent') ORDER BY id;
SELECT body, state, attempts, deferrals, expires_at, finished_at, failed_at FROM whatsapp.outbox ORDER BY id;
SELECT outbox_id, attempt, what, state FROM whatsapp.attempts ORDER BY outbox_id;
ROLLBACK;

-- decided
SELECT whatsapp.resolve(4, 'sent');
SELECT whatsapp.resolve(5, 'queued');
SELECT whatsapp.resolve(5, NULL);
SELECT whatsapp.resolve(5, 'failed', 'wamid.5');
SELECT whatsapp.resolve(77, 'sent');
BEGIN;
SELECT whatsapp.resolve(5, 'sent', 'wamid.5');
SELECT state, message_id, failed_at FROM whatsapp.outbox WHERE id = 5;
SELECT message_id, direction, body, wa_id, status, outbox_id FROM whatsapp.messages;
SELECT outbox_id, attempt, what, state FROM whatsapp.attempts;
ROLLBACK;
BEGIN;
SELECT whatsapp.resolve(5, 'sent');
SELECT state, message_id, error FROM whatsapp.outbox WHERE id = 5;
ROLLBACK;
SELECT whatsapp.resolve(5, 'failed');
SELECT state, message_id, failed_at IS NOT NULL AS failed FROM whatsapp.outbox WHERE id = 5;

-- what is queued may be changed and deleted by hand
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15551230001', 'deleted');
DELETE FROM whatsapp.outbox WHERE body = 'deleted';
UPDATE whatsapp.outbox SET body = 'changed', recipient = '15551230009' WHERE id = 1;
SELECT body::jsonb #>> '{text,body}' AS body, body::jsonb ->> 'to' AS recipient FROM whatsapp.claim(10);

DROP EXTENSION whatsapp;
