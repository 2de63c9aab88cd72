-- What has no table of its own is kept whole.
CREATE EXTENSION whatsapp;
\getenv abs_srcdir PG_ABS_SRCDIR
CREATE FUNCTION pg_temp.fixture(dir text, name text) RETURNS jsonb
LANGUAGE sql
RETURN convert_from(pg_read_binary_file(dir || '/test/webhooks/' || name || '.json'), 'UTF8')::jsonb;
SET timezone = 'UTC';

SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'template_status'));
SELECT waba_id, phone_number_id, field, event, at, element FROM whatsapp.events;
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'template_status'));

-- the same thing at another time is another event
SELECT * FROM whatsapp.ingest_unsigned(jsonb_set(pg_temp.fixture(:'abs_srcdir', 'template_status'), '{entry,0,time}', '1750109999'));
SELECT count(*) FROM whatsapp.events;
DELETE FROM whatsapp.events;

-- statuses of calls are none of messages
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'calls'));
SELECT phone_number_id, call_id, event, wa_id, at FROM whatsapp.call_events;
SELECT count(*) FROM whatsapp.events;
SELECT count(*) FROM whatsapp.statuses;
SELECT count(*) FROM whatsapp.messages;
DELETE FROM whatsapp.events;

-- a message that cannot be filed, and errors beside it: the rest is, and of the
-- change what is left
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'errors'));
SELECT message_id, type, error_code FROM whatsapp.messages;
SELECT field, event, element FROM whatsapp.events ORDER BY event;
DELETE FROM whatsapp.events;

-- other products of Meta
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'foreign'));
SELECT field, element = pg_temp.fixture(:'abs_srcdir', 'foreign') AS whole FROM whatsapp.events;
SELECT count(*) FROM whatsapp.messages;
DELETE FROM whatsapp.events;

-- documents that are nothing in particular, and places where nothing belongs
SELECT r.events, r.messages, r.error, d.body
FROM unnest(ARRAY[
	'[]', '{}', '"word"', '1', 'null',
	'{"object":"whatsapp_business_account"}',
	'{"object":"whatsapp_business_account","entry":null}',
	'{"object":"whatsapp_business_account","entry":7}',
	'{"object":"whatsapp_business_account","entry":[]}',
	'{"object":"whatsapp_business_account","entry":["word"]}',
	'{"object":"whatsapp_business_account","entry":[{"id":5,"time":"1750101000"}]}',
	'{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[3]}]}',
	'{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{}]}]}',
	'{"object":"whatsapp_business_account","entry":[{"id":"5","changes":{"field":"x","value":"word"}}]}',
	'{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"messages":"word"}}]}]}',
	'{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"messages":[{"id":"m1"}],"messages_of_mars":[1]}}]}]}',
	'{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1","new":true},"messages":[{"id":"m2"}]}}]}]}',
	'{"object":"whatsapp_business_account","entry":[{"id":"5","new":1,"changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"messages":[{"id":"m3"}]}}]}]}',
	'{"object":"whatsapp_business_account","new":1,"entry":[{"id":"5","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"messages":[{"id":"m4"}]}}]}]}',
	'{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"messages":{"id":"m5","timestamp":1750101000}}}]}]}',
	'{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"messages":["word",{"id":"m6"}]}}]}]}',
	'{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{"field":["word"],"value":{"metadata":{"phone_number_id":"1","display_phone_number":{"new":1}},"messages":[{"id":"m7"}]}}]}]}'
]) WITH ORDINALITY d (body, ord)
CROSS JOIN LATERAL whatsapp.ingest_unsigned(d.body::jsonb) r
ORDER BY d.ord;
SELECT field, waba_id, at, element FROM whatsapp.events ORDER BY element::text COLLATE "C";
SELECT message_id, sent_at FROM whatsapp.messages ORDER BY 1;

DROP EXTENSION whatsapp;
