-- What statuses tell of messages whose outcome was unknown, or had not come.
CREATE EXTENSION whatsapp;
\set SHOW_CONTEXT never
SET client_min_messages = error;
SELECT whatsapp.add_number('1001', access_token => 'token');
SELECT whatsapp.add_number('1002', access_token => 'token');

-- a status webhook: for which row, with which token
CREATE FUNCTION tell(told_status text, wamid text, token text, number text DEFAULT '1001', more jsonb DEFAULT '{}', at integer DEFAULT 1750101000)
RETURNS TABLE (messages integer, statuses integer, parked integer) LANGUAGE sql AS $$
	SELECT i.messages, i.statuses, i.parked
	FROM whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(
		jsonb_build_object('id', '1', 'changes', jsonb_build_array(jsonb_build_object('field', 'messages', 'value', jsonb_build_object(
			'metadata', jsonb_build_object('phone_number_id', number),
			'statuses', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('id', wamid, 'status', told_status, 'timestamp', at::text,
				'recipient_id', '5551230001', 'biz_opaque_callback_data', token)) || more)))))))) i
$$;
CREATE FUNCTION token_of(body text) RETURNS text LANGUAGE sql AS $$
	SELECT whatsapp.request_body(o) ->> 'biz_opaque_callback_data' FROM whatsapp.outbox o WHERE o.body = token_of.body
$$;
CREATE FUNCTION show(body text, OUT state text, OUT message_id text, OUT error_code integer, OUT error text, OUT failed_at timestamptz, OUT status text, OUT wa_id text)
LANGUAGE sql AS $$
	SELECT o.state, o.message_id, o.error_code, o.error, o.failed_at, m.status, m.wa_id
	FROM whatsapp.outbox o LEFT JOIN whatsapp.messages m ON m.phone_number_id = o.phone_number_id AND m.outbox_id = o.id
	WHERE o.body = show.body
$$;
CREATE SEQUENCE recipient;
CREATE FUNCTION queue(VARIADIC bodies text[]) RETURNS bigint LANGUAGE sql AS $$
	INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, callback_data)
	SELECT '1001', '+1555' || 2000000 + nextval('recipient'), b, 'order 7: "x"' FROM unnest(bodies) b;
	SELECT count(*) FROM whatsapp.claim(100) WHERE what = 'send';
$$;
SET timezone = 'UTC';

SELECT queue('unknown', 'twice', 'on its way', 'failed', 'other number', 'other attempt', 'no token');
UPDATE whatsapp.outbox SET state = 'unknown', error = 'nobody knows', finished_at = now() WHERE body <> 'on its way';

-- the token settles a row, and the callback data is what it was
SELECT regexp_replace(token_of('unknown'), '[0-9a-f]{16}', 'NONCE');
SELECT tell('delivered', 'wamid.1', token_of('unknown'));
SELECT * FROM show('unknown');
SELECT status, callback_data FROM whatsapp.statuses;
SELECT outbox_id, attempt, what, state FROM whatsapp.attempts;
SELECT direction, type, body, wa_id, status, outbox_id, sent_at IS NOT NULL AS sent FROM whatsapp.messages;

-- again, and another: nothing changes but the status
SELECT tell('delivered', 'wamid.1', token_of('unknown'));
SELECT tell('read', 'wamid.1', token_of('unknown'));
SELECT * FROM show('unknown');
SELECT count(*) FROM whatsapp.attempts;

-- so it does before the answer is recorded, which then is no news
SELECT tell('sent', 'wamid.3', token_of('on its way'));
SELECT * FROM show('on its way');
SELECT r.outbox_id FROM whatsapp.outbox o, whatsapp.record(ARRAY[o.id], ARRAY[o.nonce], ARRAY['unknown'], ARRAY[0], ARRAY[NULL]::jsonb[], ARRAY['no answer'], ARRAY[NULL]::integer[]) r WHERE r.what = 'left' AND o.body = 'on its way';
SELECT * FROM show('on its way');

-- a token of another number, attempt or installation is no evidence
SELECT tell('sent', 'wamid.5', token_of('other number'), '1002');
SELECT tell('sent', 'wamid.6', regexp_replace(token_of('other attempt'), '[0-9a-f]{16}', '0123456789abcdef'));
SELECT tell('sent', 'wamid.6a', 'wa1.999999999999999999.1.0123456789abcdef');
SELECT tell('sent', 'wamid.6b', 'wa1.99999999999999999999999.1.0123456789abcdef');
SELECT tell('sent', 'wamid.6c', 'wa1.');
SELECT tell('sent', 'wamid.6d', NULL);
SELECT * FROM show('other number');
SELECT * FROM show('other attempt');
SELECT message_id, callback_data FROM whatsapp.statuses WHERE message_id ~ '^wamid[.][56]' ORDER BY message_id;
SELECT count(*) FROM whatsapp.evidence;

-- a failure settles, too: it was accepted, and then it failed
SELECT tell('failed', 'wamid.4', token_of('failed'), more => '{"errors": [{"code": 131026, "title": "Message undeliverable", "error_data": {"details": "Not on WhatsApp."}}]}');
SELECT * FROM show('failed');

-- a later failure is noted, and does not queue anything; of two the later counts, as in statuses
SELECT tell('failed', 'wamid.1', NULL, more => '{"errors": [{"code": 131049, "title": "Not delivered"}]}', at => 1750102000);
SELECT * FROM show('unknown');
SELECT tell('failed', 'wamid.1', NULL, more => '{"errors": [{"code": 131053, "title": "Media upload error"}]}', at => 1750103000);
SELECT tell('failed', 'wamid.1', NULL, more => '{"errors": [{"code": 131000, "title": "Something"}]}', at => 1750101500);
SELECT * FROM show('unknown');

-- and one that was there before the answer, without a token
SELECT queue('failed early');
SELECT tell('failed', 'wamid.8', NULL, more => '{"errors": [{"code": 131042, "title": "Payment"}]}');
SELECT r.outbox_id FROM whatsapp.outbox o, whatsapp.record(ARRAY[o.id], ARRAY[o.nonce], ARRAY['answered'], ARRAY[200], ARRAY['{"messages": [{"id": "wamid.8"}]}'::jsonb], ARRAY[NULL], ARRAY[NULL]::integer[]) r WHERE r.what = 'left' AND o.body = 'failed early';
SELECT * FROM show('failed early');
-- what its error holds is held
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT phone_number_id, kind, key, error_code, reason, until FROM whatsapp.holds;
SELECT whatsapp.resume_number('1001');

-- what was thought to have failed, and what waits to be tried again, was sent if a status says so
SELECT queue('thought to have failed', 'waits');
UPDATE whatsapp.outbox SET state = 'failed', error_code = 131000, failed_at = now() WHERE body = 'thought to have failed';
UPDATE whatsapp.outbox SET state = 'queued', retry_at = now() + interval '1 hour' WHERE body = 'waits';
SELECT tell('sent', 'wamid.9', token_of('thought to have failed'));
SELECT tell('sent', 'wamid.10', token_of('waits'));
SELECT * FROM show('thought to have failed');
SELECT * FROM show('waits');

-- somebody has said that it was sent, but not with which id
SELECT queue('said to be sent', 'said to be sent, and fails');
UPDATE whatsapp.outbox SET state = 'unknown', finished_at = now() WHERE body LIKE 'said %';
SELECT whatsapp.resolve(id, 'sent') FROM whatsapp.outbox WHERE body LIKE 'said %' ORDER BY id;
SELECT tell('sent', 'wamid.12', token_of('said to be sent'));
SELECT * FROM show('said to be sent');
SELECT tell('failed', 'wamid.13', token_of('said to be sent, and fails'), more => '{"errors": [{"code": 131026, "title": "Undeliverable"}]}');
SELECT * FROM show('said to be sent, and fails');

-- a hundred in one webhook, each twice
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) SELECT '1001', '+1555' || 3000000 + i, 'many ' || i FROM generate_series(1, 100) i;
SELECT count(*) FROM whatsapp.claim(1000) WHERE what = 'send';
SELECT i.statuses, i.duplicates
FROM whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(
	jsonb_build_object('id', '1', 'changes', jsonb_build_array(jsonb_build_object('field', 'messages', 'value', jsonb_build_object(
		'metadata', jsonb_build_object('phone_number_id', '1001'),
		'statuses', (SELECT jsonb_agg(jsonb_build_object('id', 'wamid.many.' || o.id, 'status', 'sent', 'timestamp', '1750101000',
			'biz_opaque_callback_data', token_of(o.body))) FROM whatsapp.outbox o, generate_series(1, 2) WHERE o.body LIKE 'many %')))))))) i;
SELECT o.state, count(*), bool_and(o.message_id = 'wamid.many.' || o.id) FROM whatsapp.outbox o WHERE o.body LIKE 'many %' GROUP BY o.state;
SELECT count(*) FROM whatsapp.evidence;

-- evidence in a dump may be restored before the outbox
INSERT INTO whatsapp.evidence (phone_number_id, message_id, status, outbox_id, nonce) VALUES ('1001', 'wamid.restored', 'sent', 5000, '0123456789abcdef');
INSERT INTO whatsapp.outbox (id, phone_number_id, recipient, body, state, attempts, nonce, created_at) OVERRIDING SYSTEM VALUE
VALUES (5000, '1001', '+15551230001', 'restored', 'unknown', 1, '0123456789abcdef', '2026-01-01');
SELECT whatsapp.settle_evidence();
SELECT * FROM show('restored');
SELECT count(*) FROM whatsapp.evidence;

-- what is told of one row cannot be noted, and that of others is
SELECT queue('objected to', 'behind it');
CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.body = 'objected to' THEN
		RAISE EXCEPTION 'not so';
	END IF;
	RETURN NEW;
END $$;
ALTER TABLE whatsapp.evidence DISABLE TRIGGER settle;
SELECT tell('sent', 'wamid.14', token_of('objected to'));
SELECT tell('sent', 'wamid.15', token_of('behind it'));
ALTER TABLE whatsapp.evidence ENABLE TRIGGER settle;
CREATE TRIGGER object BEFORE UPDATE ON whatsapp.outbox FOR EACH ROW EXECUTE FUNCTION object();
SET client_min_messages = warning;
SELECT whatsapp.settle_evidence();
SELECT body, state FROM whatsapp.outbox WHERE body IN ('objected to', 'behind it') ORDER BY id;
SELECT message_id FROM whatsapp.evidence;

-- so it is with what was interrupted
SELECT queue('interrupted');
SELECT whatsapp.release_interrupted('{}');
SELECT body, state FROM whatsapp.outbox WHERE body IN ('objected to', 'interrupted') ORDER BY id;
DROP FUNCTION object() CASCADE;
SET client_min_messages = error;
SELECT whatsapp.settle_evidence();
SELECT whatsapp.release_interrupted('{}');
SELECT body, state FROM whatsapp.outbox WHERE body IN ('objected to', 'interrupted') ORDER BY id;

-- what was left to be noted says nothing of an attempt that has been made since
SELECT queue('tried again');
UPDATE whatsapp.outbox SET state = 'unknown' WHERE body = 'tried again';
ALTER TABLE whatsapp.evidence DISABLE TRIGGER settle;
SELECT tell('sent', 'wamid.16', token_of('tried again'));
ALTER TABLE whatsapp.evidence ENABLE TRIGGER settle;
SELECT whatsapp.retry(id) FROM whatsapp.outbox WHERE body = 'tried again';
SELECT count(*) FROM whatsapp.claim(100) WHERE what = 'send';
SELECT whatsapp.settle_evidence();
SELECT * FROM show('tried again');
SELECT count(*) FROM whatsapp.evidence;

-- what somebody has decided while it was being sent stands, unless it was accepted
SELECT queue('decided', 'decided wrongly');
UPDATE whatsapp.outbox SET state = 'cancelled' WHERE body LIKE 'decided%';
SELECT count(*) FROM whatsapp.record(ARRAY(SELECT id FROM whatsapp.outbox WHERE body LIKE 'decided%' ORDER BY id),
	ARRAY(SELECT nonce FROM whatsapp.outbox WHERE body LIKE 'decided%' ORDER BY id), ARRAY['answered', 'answered'], ARRAY[500, 200],
	ARRAY['{"error": {"code": 131016}}', '{"messages": [{"id": "wamid.17"}]}']::jsonb[], ARRAY[NULL, NULL], ARRAY[NULL, NULL]::integer[]);
SELECT body, state, message_id, error_code FROM whatsapp.outbox WHERE body LIKE 'decided%' ORDER BY id;

-- when nothing is told for too long, the policy decides
SELECT queue('overdue');
UPDATE whatsapp.outbox SET state = 'unknown', finished_at = now() - interval '10 min' WHERE body = 'overdue';
SELECT whatsapp.settle_unknown('5 min', 'hold');
SELECT state FROM whatsapp.outbox WHERE body = 'overdue';
SELECT whatsapp.settle_unknown('1 hour', 'fail');
SELECT state FROM whatsapp.outbox WHERE body = 'overdue';
SELECT whatsapp.settle_unknown('5 min', 'retry');
SELECT state, attempts, retry_at FROM whatsapp.outbox WHERE body = 'overdue';
SELECT token_of('overdue') AS first_token \gset
SELECT count(*) FROM whatsapp.claim(100) WHERE what = 'send';
UPDATE whatsapp.outbox SET state = 'unknown', attempts = 8, finished_at = now() - interval '10 min' WHERE body = 'overdue';
SELECT tell('sent', 'wamid.11', :'first_token');
SELECT whatsapp.settle_unknown('5 min', 'retry');
SELECT state, failed_at IS NOT NULL AS failed, error_code FROM whatsapp.outbox WHERE body = 'overdue';
SELECT a.attempt, a.what, a.state FROM whatsapp.attempts a JOIN whatsapp.outbox o ON o.id = a.outbox_id WHERE o.body = 'overdue' ORDER BY attempt_id;

-- the limit of callback data
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, callback_data) VALUES ('1001', '15551230001', 'x', repeat('x', 461));
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, callback_data) OVERRIDING SYSTEM VALUE VALUES ('1001', '15551230001', 'longest', repeat('é', 460));
UPDATE whatsapp.outbox SET attempts = 999999999 WHERE body = 'longest';
UPDATE whatsapp.outbox SET nonce = '0123456789abcdef' WHERE body = 'longest';
SELECT length(whatsapp.callback_token(o)) - length(o.id::text) + 18 + 1 + 460 <= 512 AS fits FROM whatsapp.outbox o WHERE o.body = 'longest';
SELECT whatsapp.callback_data(token_of('longest')) = repeat('é', 460) AS unchanged;
SELECT whatsapp.callback_data(t) FROM unnest(ARRAY['wa1.1.1.0123456789abcdef.' || E'a.b\nc', 'wa1.1.1.0123456789abcdef', 'wa1.1.1.0123456789abcdef.', 'wa1.x', 'plain', '']) t;

DROP FUNCTION tell(text, text, text, text, jsonb, integer);
DROP FUNCTION token_of(text);
DROP FUNCTION show(text);
DROP FUNCTION queue(text[]);
DROP SEQUENCE recipient;
DROP EXTENSION whatsapp;
