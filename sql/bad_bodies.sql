-- Bodies that are rightly signed and cannot be filed as they are: all of them
-- are kept, with the reason, and answered 200.
CREATE EXTENSION whatsapp;
\getenv abs_srcdir PG_ABS_SRCDIR
SELECT whatsapp.set_app_secret('secret');
CREATE FUNCTION pg_temp.ingest(body bytea) RETURNS whatsapp.ingest_result
LANGUAGE sql
RETURN whatsapp.ingest(body, whatsapp.sign(body, 'secret'));

-- no JSON
SELECT * FROM pg_temp.ingest('');
SELECT * FROM pg_temp.ingest('<html>');
SELECT * FROM pg_temp.ingest('{"object":');
SELECT * FROM pg_temp.ingest('{"object":"whatsapp_business_account"} trailing');
SELECT * FROM pg_temp.ingest('{"a":"\\x"}');
SELECT * FROM pg_temp.ingest('{"a":"\\u00"}');
SELECT * FROM pg_temp.ingest('"\\');
SELECT * FROM pg_temp.ingest('"\\u');
SELECT * FROM pg_temp.ingest('\xff');
SELECT * FROM pg_temp.ingest('\x00');
SELECT * FROM pg_temp.ingest('{"a":"\\é"}'::text::bytea);
SELECT * FROM pg_temp.ingest('\x7b2261223a225c00227d');
SELECT length(error) FROM pg_temp.ingest(convert_to(repeat('e', 1000000), 'UTF8'));
SELECT count(convert_from(convert_to(reason, 'UTF8'), 'UTF8')) AS valid FROM whatsapp.webhooks;

-- JSON that jsonb cannot hold, or not well: that part becomes a string
SELECT * FROM pg_temp.ingest('{"a":1e200000}');
SELECT * FROM pg_temp.ingest('{"a":1e4294967296}');
SELECT * FROM pg_temp.ingest(convert_to('{"a":' || repeat('9', 500) || '}', 'UTF8'));
SELECT * FROM pg_temp.ingest(convert_to(repeat('[', 10000) || repeat(']', 10000), 'UTF8'));
SELECT left(element::text, 20) AS element, length(element::text) FROM whatsapp.events ORDER BY 1, 2;
SELECT state, reason, count(*) FROM whatsapp.webhooks WHERE state = 'filed' GROUP BY 1, 2 ORDER BY 2;
DELETE FROM whatsapp.events;

-- numbers no longer than that are left alone, and what is none is no JSON
SELECT * FROM pg_temp.ingest('{"a":1e300,"b":-12345678901234567890.5e-20}');
SELECT element = '{"a":1e300,"b":-12345678901234567890.5e-20}' AS same FROM whatsapp.events;
SELECT * FROM pg_temp.ingest('{"a":1e99999.5}');
SELECT * FROM pg_temp.ingest(convert_to(repeat('[', 10000), 'UTF8'));
DELETE FROM whatsapp.events;

-- nor is what stands beside lost
SELECT * FROM pg_temp.ingest(convert_to('{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{"field":"messages","value":{"messages":['
	|| '{"id":"exponent","timestamp":1e200000,"text":{"body":"1e200000"}},'
	|| '{"id":"deep","new":' || repeat('{"a":[', 100) || '"\"\u0000]}"' || repeat(']}', 100) || ',"text":{"body":"[[["}},'
	|| '{"id":"beside","text":{"body":"hi"}}]}}]}]}', 'UTF8'));
SELECT message_id, body, element ->> 'timestamp' AS timestamp, left(d.text, 14) AS deep, length(d.text)
FROM whatsapp.messages
LEFT JOIN LATERAL (SELECT w.word #>> '{}' FROM jsonb_path_query(element, 'strict $.**{50 to last} ? (@.type() == "string")') w (word)) d (text) ON true
ORDER BY 1;
DELETE FROM whatsapp.messages;

-- each is there as it came, once
SELECT * FROM pg_temp.ingest('<html>');
SELECT count(*), bool_and(webhook_id = sha256(body)) AS keyed, bool_and(reason IS NOT NULL) AS reasoned FROM whatsapp.webhooks;
DELETE FROM whatsapp.webhooks;

-- characters that text cannot hold are replaced; and the bytes kept
\set mended_file :abs_srcdir '/test/webhooks/mended.json'
SELECT pg_read_binary_file(:'mended_file') AS body \gset
SELECT * FROM pg_temp.ingest(:'body');
SELECT message_id, body FROM whatsapp.messages;
SELECT name FROM whatsapp.correspondents;
SELECT body = :'body' AS as_it_came, reason FROM whatsapp.webhooks;
DELETE FROM whatsapp.webhooks;
DELETE FROM whatsapp.messages;

-- a byte order mark is passed over
SELECT * FROM pg_temp.ingest('\xefbbbf' || convert_to('{"messages":[{"id":"marked","text":{"body":"hi"}}]}', 'UTF8'));
SELECT message_id, body FROM whatsapp.messages;
SELECT * FROM pg_temp.ingest('\xefbbbf');
DELETE FROM whatsapp.webhooks;
DELETE FROM whatsapp.messages;

-- a key that stands twice: jsonb takes the last, and the bytes are kept
SELECT * FROM pg_temp.ingest('{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{"field":"x","field":"y","value":{}}]}]}');
SELECT convert_from(body, 'UTF8') AS body, reason FROM whatsapp.webhooks;
DELETE FROM whatsapp.webhooks;

-- a table that refuses an element: the others are filed, and it is kept as a
-- webhook of its own, once
\set text_file :abs_srcdir '/test/webhooks/text.json'
SELECT pg_read_binary_file(:'text_file') AS body \gset
ALTER TABLE whatsapp.messages ADD CONSTRAINT no_questions CHECK (body NOT LIKE '%?');
SELECT * FROM pg_temp.ingest(:'body');
SELECT convert_from(body, 'UTF8') AS body, state, reason, sqlstate FROM whatsapp.webhooks;
SELECT count(*) FROM whatsapp.messages;
SELECT name FROM whatsapp.correspondents WHERE contact_key = 'US.77120045539981';
SELECT * FROM whatsapp.ingest_unsigned(convert_from(:'body', 'UTF8')::jsonb);
SELECT count(*), count(reason) FROM whatsapp.webhooks;
ALTER TABLE whatsapp.messages DROP CONSTRAINT no_questions;

\set SHOW_CONTEXT never

-- trouble that will pass is raised, for Meta to try again
CREATE FUNCTION raise_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = TG_ARGV[0], MESSAGE = 'trouble';
END $$;
CREATE TRIGGER trouble BEFORE INSERT ON whatsapp.messages FOR EACH ROW EXECUTE FUNCTION raise_it('40P01');
SELECT * FROM pg_temp.ingest(:'body');
CREATE OR REPLACE TRIGGER trouble BEFORE INSERT ON whatsapp.messages FOR EACH ROW EXECUTE FUNCTION raise_it('55P03');
SELECT * FROM pg_temp.ingest(:'body');
CREATE OR REPLACE TRIGGER trouble BEFORE INSERT ON whatsapp.messages FOR EACH ROW EXECUTE FUNCTION raise_it('53100');
SELECT * FROM pg_temp.ingest(:'body');
CREATE OR REPLACE TRIGGER trouble BEFORE INSERT ON whatsapp.messages FOR EACH ROW EXECUTE FUNCTION raise_it('P0001');
SELECT * FROM pg_temp.ingest(:'body');
DROP TRIGGER trouble ON whatsapp.messages;
DROP FUNCTION raise_it;

-- all are kept, if that is wanted
SET whatsapp.archive = 'all';
DELETE FROM whatsapp.webhooks;
SELECT * FROM pg_temp.ingest(:'body');
SELECT body = :'body' AS as_it_came, reason FROM whatsapp.webhooks;

-- 3 MB are taken
SELECT messages, parked, unreadable FROM pg_temp.ingest(convert_to(
	rpad('{"object":"whatsapp_business_account","entry":[{"changes":[{"value":{"metadata":{"phone_number_id":"1"},"messages":[{"id":"large","text":{"body":"', 3 * 1024 * 1024 - 16, 'x')
	|| '"}}]}}]}]}      ', 'UTF8'));
SELECT length(body) FROM whatsapp.messages WHERE message_id = 'large';

DROP FUNCTION pg_temp.ingest;
DROP EXTENSION whatsapp;
