-- What has been kept for long enough goes, and nothing else.
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE EXTENSION whatsapp;
SELECT whatsapp.add_number('1001', waba_id => '1');

-- Of each kind, something old, something new, and something that stays
INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, received_at, status_at, target_id)
VALUES ('1001', 'old', 'inbound', 'text', now() - interval '31 days', NULL, NULL),
	('1001', 'old, read lately', 'outbound', 'text', now() - interval '31 days', now() - interval '1 day', NULL),
	('1001', 'old, read long ago', 'outbound', 'text', now() - interval '31 days', now() - interval '30 days', NULL),
	('1001', 'old reaction', 'inbound', 'reaction', now() - interval '31 days', NULL, 'new'),
	('1001', 'new', 'inbound', 'text', now() - interval '1 day', NULL, NULL),
	('1001', 'new reaction', 'inbound', 'reaction', now(), NULL, 'old');
INSERT INTO whatsapp.reactions (phone_number_id, message_id, reactor, emoji, reaction_id)
VALUES ('1001', 'new', 'one', 'x', 'old reaction'), ('1001', 'old', 'one', 'x', 'new reaction'),
	('1001', 'new', 'two', 'x', 'another reaction');
INSERT INTO whatsapp.media (phone_number_id, media_id, message_id, received_at)
VALUES ('1001', 'old', 'old', now() - interval '31 days'), ('1001', 'new', 'new', now());
INSERT INTO whatsapp.statuses (phone_number_id, message_id, status, participant, element, received_at)
VALUES ('1001', 'old', 'sent', '', '{}', now() - interval '31 days'), ('1001', 'old', 'read', '', '{}', now());
INSERT INTO whatsapp.events (event_id, phone_number_id, field, element, received_at)
VALUES ('old', '1001', 'x', '{}', now() - interval '31 days'), ('new', NULL, 'x', '{}', now());
INSERT INTO whatsapp.call_events (phone_number_id, call_id, event, element, received_at)
VALUES ('1001', 'old', 'connect', '{}', now() - interval '31 days'), ('1001', 'new', 'connect', '{}', now());
INSERT INTO whatsapp.webhooks (webhook_id, body, state, received_at)
VALUES ('old', '', 'filed', now() - interval '31 days'), ('old, parked', '', 'parked', now() - interval '31 days'),
	('old, unreadable', '', 'unreadable', now() - interval '31 days'), ('new', '', 'filed', now());
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, state, created_at, finished_at, idempotency_key)
SELECT '1001', '15550000001', s.state || a.age, s.state, now() - interval '40 days', f.finished_at, s.state || a.age
FROM unnest('{queued, sending, sent, failed, unknown, cancelled, expired}'::text[]) s (state)
CROSS JOIN (VALUES ('', interval '31 days'), (' lately', interval '1 day')) a (age, ago)
CROSS JOIN LATERAL (SELECT CASE WHEN s.state NOT IN ('queued', 'sending') THEN now() - a.ago END AS finished_at) f;
INSERT INTO whatsapp.attempts (outbox_id, attempt, what, state, at)
SELECT o.id, 1, 'refused', o.state, now() - interval '31 days'
FROM whatsapp.outbox o;
INSERT INTO whatsapp.attempts (outbox_id, attempt, what, state, at)
VALUES (0, 1, 'refused', 'old, of a row that is gone', now() - interval '31 days'), (0, 2, 'refused', 'new, of a row that is gone', now());

-- By the settings: these are for ever, or 30 days
SELECT k.kind, whatsapp.retention(k.kind) FROM (SELECT DISTINCT kind FROM whatsapp.prunable()) k ORDER BY 1;
SELECT * FROM whatsapp.prune();
SELECT convert_from(webhook_id, 'UTF8') FROM whatsapp.webhooks ORDER BY 1;
SELECT string_agg(body, ', ' ORDER BY body) FROM whatsapp.outbox;
SELECT string_agg(state, ', ' ORDER BY state) FROM whatsapp.attempts;

-- A key can be used again, once its row is gone
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, idempotency_key)
VALUES ('1001', '15550000001', 'again', 'sent'), ('1001', '15550000001', 'again', 'sent lately')
ON CONFLICT DO NOTHING
RETURNING idempotency_key;

-- By hand
SELECT * FROM whatsapp.prune('messages', '30 days');
SELECT message_id FROM whatsapp.messages ORDER BY 1;
SELECT message_id, reactor FROM whatsapp.reactions ORDER BY 1, 2;
SELECT media_id FROM whatsapp.media;
SELECT * FROM whatsapp.prune('statuses', '30 days');
SELECT * FROM whatsapp.prune('events', '30 days');
SELECT count(*) FROM whatsapp.statuses UNION ALL SELECT count(*) FROM whatsapp.events UNION ALL SELECT count(*) FROM whatsapp.call_events;
SELECT * FROM whatsapp.prune(older_than => '30 days');

-- Meta's redelivery, for 7 days, is waited for
SELECT whatsapp.ingest_unsigned(d.webhook)
FROM (SELECT '{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {
	"metadata": {"phone_number_id": "1001"}, "messages": [
		{"from": "15551230001", "id": "wamid.1", "timestamp": "1795683629", "type": "text", "text": {"body": "Hi"}}]}}]}]}'::jsonb) d (webhook);
UPDATE whatsapp.messages SET received_at = now() - interval '7 days 23 hours' WHERE message_id = 'wamid.1';
SELECT * FROM whatsapp.prune('messages', '8 days');
SELECT whatsapp.ingest_unsigned(d.webhook)
FROM (SELECT '{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {
	"metadata": {"phone_number_id": "1001"}, "messages": [
		{"from": "15551230001", "id": "wamid.1", "timestamp": "1795683629", "type": "text", "text": {"body": "Hi"}}]}}]}]}'::jsonb) d (webhook);
UPDATE whatsapp.messages SET received_at = now() - interval '8 days 1 second' WHERE message_id = 'wamid.1';
SELECT whatsapp.prune('messages', '8 days');
SELECT whatsapp.prune('messages', '7 days 23:59:59');
SELECT whatsapp.prune('statuses', '7 days');
SELECT whatsapp.prune('events', '0');
SELECT whatsapp.prune(older_than => '7 days');
SELECT whatsapp.prune('outbox', '-1 second');
SELECT whatsapp.prune('outbox', '1 hour');
SELECT whatsapp.prune('contacts', '1 year');
SELECT whatsapp.retention('contacts');
ALTER SYSTEM SET whatsapp.retention_messages = '7d';
ALTER SYSTEM SET whatsapp.retention_statuses = '11519min';
SELECT name, setting, unit, boot_val, context FROM pg_settings WHERE name LIKE 'whatsapp.retention%' ORDER BY name COLLATE "C";

-- Rows that others need are kept and counted, however many there are, and the
-- rest goes: foreign keys, also deferred ones, and triggers
CREATE TABLE note (
	phone_number_id text, message_id text,
	FOREIGN KEY (phone_number_id, message_id) REFERENCES whatsapp.messages
);
CREATE TABLE later_note (
	phone_number_id text, message_id text,
	FOREIGN KEY (phone_number_id, message_id) REFERENCES whatsapp.messages DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE gone_note (
	phone_number_id text, message_id text,
	FOREIGN KEY (phone_number_id, message_id) REFERENCES whatsapp.messages ON DELETE CASCADE
);
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.message_id = 'm800' THEN
		RETURN NULL;
	ELSIF OLD.message_id = 'm900' THEN
		RAISE EXCEPTION 'not this one';
	ELSIF OLD.message_id = 'm901' THEN
		RAISE EXCEPTION USING ERRCODE = 'object_in_use';
	END IF;
	RETURN OLD;
END $$;
CREATE TRIGGER keep BEFORE DELETE ON whatsapp.messages FOR EACH ROW EXECUTE FUNCTION keep();
DELETE FROM whatsapp.messages;
INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, received_at)
SELECT '1001', 'm' || g, 'inbound', 'text', now() - interval '31 days' + g / 100 * interval '1 hour'
FROM generate_series(1, 1000) g;
INSERT INTO note SELECT '1001', 'm' || g FROM unnest('{1, 500, 501, 502, 1000}'::integer[]) g;
INSERT INTO later_note VALUES ('1001', 'm600');
INSERT INTO gone_note VALUES ('1001', 'm700');
SELECT * FROM whatsapp.prune('messages', '10 days');
SELECT message_id FROM whatsapp.messages ORDER BY received_at, substr(message_id, 2)::integer;
SELECT count(*) AS gone_notes FROM gone_note;
-- and no position is lost by it, whatever the date style
SET datestyle = 'SQL, DMY';
SELECT * FROM whatsapp.prune('messages', '10 days');
RESET datestyle;

-- The same, as the background worker does it: a part at a time, as little as it
-- takes
CREATE FUNCTION sweep(max_rows integer, OUT steps integer, OUT kept integer)
LANGUAGE plpgsql
AS $$
DECLARE
	place integer := 1;
	after text[];
	p record;
BEGIN
	steps := 0;
	kept := 0;
	LOOP
		SELECT * INTO p FROM whatsapp.prune_some(place, max_rows, after);
		EXIT WHEN p.next_place IS NULL;
		place := p.next_place;
		max_rows := least(p.next_rows, 100);
		after := p.next_after;
		kept := kept + p.kept;
		steps := steps + 1;
	END LOOP;
END $$;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, state, created_at, finished_at)
SELECT '1001', '15550000001', g, 'sent', now() - interval '40 days', now() - interval '31 days'
FROM generate_series(1, 1000) g;
CREATE TABLE invoice (outbox_id bigint REFERENCES whatsapp.outbox);
INSERT INTO invoice SELECT o.id FROM whatsapp.outbox o WHERE o.state = 'sent' AND o.body IN ('1', '1000');
SELECT kept, steps BETWEEN 20 AND 60 AS in_parts FROM sweep(100);
SELECT body FROM whatsapp.outbox WHERE state = 'sent' ORDER BY id;
SELECT count(*) AS messages FROM whatsapp.messages;

-- A trigger that objects to all keeps all, once each, and to nothing if there is
-- nothing
CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'nothing is deleted here';
END $$;
CREATE TRIGGER never BEFORE DELETE ON whatsapp.webhooks FOR EACH STATEMENT EXECUTE FUNCTION never();
SELECT * FROM whatsapp.prune('webhooks', '1 year');
UPDATE whatsapp.webhooks SET received_at = now() - interval '2 years', state = 'filed';
SELECT * FROM whatsapp.prune('webhooks', '1 year');
DROP TRIGGER never ON whatsapp.webhooks;

-- What the caller has left to be checked is his
BEGIN;
INSERT INTO later_note VALUES ('1001', 'no such message');
SELECT * FROM whatsapp.prune('webhooks', '1 year');
ROLLBACK;
SELECT * FROM whatsapp.prune('webhooks', '1 year');

-- Rows go by their age and place, however the caller's plans are made
INSERT INTO whatsapp.events (event_id, element, received_at)
SELECT sha256(g::text::bytea), '{}', now() - interval '1 year' - g % 3 * interval '1 day'
FROM generate_series(1, 9000) g;
SET enable_indexscan = off;
SELECT * FROM whatsapp.prune('events', '100 days');
RESET enable_indexscan;

-- A failure that is none of the row's is not taken for one
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = 'out_of_memory';
END $$;
CREATE TRIGGER fail BEFORE DELETE ON whatsapp.outbox FOR EACH ROW EXECUTE FUNCTION fail();
SELECT whatsapp.prune('outbox', '1 day');
DROP TABLE note, later_note, gone_note, invoice;
DROP EXTENSION whatsapp;
DROP FUNCTION keep, fail, never, sweep;
