-- What may be queued.  Nothing is sent here, as the library is not preloaded.
CREATE EXTENSION whatsapp;
\set VERBOSITY default

-- there is no number yet
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15551234567', 'Hello');
SELECT whatsapp.add_number('+1 555 0100');
SELECT whatsapp.add_number(NULL);
SELECT whatsapp.add_number('1/../2?a=b');
SELECT whatsapp.set_access_token('106540352242922', E'token\r\nX-Header: 1');
SELECT whatsapp.add_number('106540352242922', waba_id => '102290129340398', access_token => 'token', app_secret => 'secret', verify_token => 'verify');
SELECT whatsapp.add_number('106540352242922', display_phone_number => '15550783881');
SELECT phone_number_id, waba_id, display_phone_number, messages_per_second, state FROM whatsapp.numbers;
SELECT kind, phone_number_id, value FROM whatsapp.secrets ORDER BY secret_id;

-- the first insert of a session says that nothing will send it, and only that
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15551234567', 'Hello');
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('+1 555 123-4567', 'Hello again');
SELECT id, phone_number_id, recipient, recipient_key, type, body, state, attempts, queued_by = session_user AS by_me FROM whatsapp.outbox ORDER BY id;

-- what cannot be sent is refused, and all of the statement with it
INSERT INTO whatsapp.outbox (body) VALUES ('Hello');
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('', 'Hello');
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('Ada', 'Hello');
INSERT INTO whatsapp.outbox (recipient, recipient_type, body) VALUES ('15551234567', 'crowd', 'Hello');
INSERT INTO whatsapp.outbox (recipient) VALUES ('15551234567');
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15551234567', '');
INSERT INTO whatsapp.outbox (recipient, type) VALUES ('15551234567', 'image');
INSERT INTO whatsapp.outbox (recipient, type, body) VALUES ('15551234567', 'image', 'Hello');
INSERT INTO whatsapp.outbox (recipient, type, body, content) VALUES ('15551234567', 'image', 'Hello', '{"id": "1"}');
INSERT INTO whatsapp.outbox (recipient, body, phone_number_id) VALUES ('15551234567', 'Hello', '1');
INSERT INTO whatsapp.outbox (recipient, body, phone_number_id) VALUES ('15551234567', 'Hello', NULL);
INSERT INTO whatsapp.outbox (recipient, body) SELECT r, 'Hello' FROM unnest(ARRAY['15551234567', 'Ada', 'Bo']) r;
SELECT count(*) FROM whatsapp.outbox;

-- with two numbers there is no default
SELECT whatsapp.add_number('106540352242923');
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15551234567', 'Hello');
INSERT INTO whatsapp.outbox (recipient, body, phone_number_id) VALUES ('15551234567', 'Hello', '106540352242923');

-- a key may be queued once for a number
INSERT INTO whatsapp.outbox (recipient, body, phone_number_id, idempotency_key) VALUES ('15551234567', 'Hello', '106540352242923', 'order-7');
INSERT INTO whatsapp.outbox (recipient, body, phone_number_id, idempotency_key) VALUES ('15551234567', 'Hello', '106540352242922', 'order-7');
INSERT INTO whatsapp.outbox (recipient, body, phone_number_id, idempotency_key) VALUES ('15551234567', 'Hello', '106540352242922', 'order-7') ON CONFLICT DO NOTHING;

-- rows that come from a dump are not looked at
INSERT INTO whatsapp.outbox (recipient, body, phone_number_id, state, created_at) VALUES (NULL, NULL, 'gone', 'queued', '2026-01-01');

DROP EXTENSION whatsapp;
