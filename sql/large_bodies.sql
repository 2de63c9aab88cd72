-- Webhooks that are as large as Meta makes them, and larger.
CREATE EXTENSION whatsapp;
CREATE FUNCTION pg_temp.webhook(value jsonb) RETURNS jsonb
LANGUAGE sql
RETURN jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object(
	'id', '900100200300400', 'changes', jsonb_build_array(jsonb_build_object('field', 'messages', 'value',
		'{"messaging_product":"whatsapp","metadata":{"phone_number_id":"1"}}' || value)))));

-- a thousand updates, and one contact a thousand times
BEGIN;
SELECT messages, statuses, events, duplicates, parked
FROM whatsapp.ingest_unsigned(pg_temp.webhook(jsonb_build_object(
	'contacts', (SELECT jsonb_agg(jsonb_build_object('wa_id', '15550107788', 'profile', jsonb_build_object('name', 'Ada ' || i)))
		FROM generate_series(1, 1000) i),
	'messages', (SELECT jsonb_agg(jsonb_build_object('id', 'wamid.' || i, 'from', '15550107788', 'timestamp', (1750101000 + i)::text,
			'type', 'text', 'text', jsonb_build_object('body', 'number ' || i)))
		FROM generate_series(1, 500) i),
	'statuses', (SELECT jsonb_agg(jsonb_build_object('id', 'wamid.out.' || i % 100, 'recipient_id', '15550107788',
			'timestamp', (1750101000 + i)::text, 'status', (ARRAY['sent', 'delivered', 'read', 'played', 'failed'])[1 + i / 100]))
		FROM generate_series(0, 499) i))));
SELECT contact_key, name, pg_stat_get_xact_tuples_inserted('whatsapp.correspondents'::regclass) AS inserted,
	pg_stat_get_xact_tuples_updated('whatsapp.correspondents'::regclass) AS updated
FROM whatsapp.contacts;
COMMIT;
SELECT count(*), count(DISTINCT body), min(sent_at) < max(sent_at) AS in_time FROM whatsapp.messages WHERE direction = 'inbound';
SELECT status, count(*) FROM whatsapp.messages WHERE direction = 'outbound' GROUP BY status;
SELECT status, count(*) FROM whatsapp.statuses GROUP BY status ORDER BY status;

-- a thousand, each of which is refused
ALTER TABLE whatsapp.messages ADD CONSTRAINT nothing CHECK (message_id NOT LIKE 'refused.%');
SELECT messages, parked, error
FROM whatsapp.ingest_unsigned(pg_temp.webhook(jsonb_build_object(
	'messages', (SELECT jsonb_agg(jsonb_build_object('id', CASE i % 2 WHEN 0 THEN 'refused.' ELSE 'taken.' END || i)) FROM generate_series(1, 1000) i))));
SELECT count(*) FROM whatsapp.messages WHERE message_id LIKE 'taken.%';
SELECT state, count(*) FROM whatsapp.webhooks GROUP BY state;
ALTER TABLE whatsapp.messages DROP CONSTRAINT nothing;
SELECT count(*), sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay();
SELECT state, count(*) FROM whatsapp.webhooks GROUP BY state;

-- a long id, a text of a megabyte, and 3 MB of objects that say nothing
SELECT messages, events, parked
FROM whatsapp.ingest_unsigned(pg_temp.webhook(jsonb_build_object('messages', jsonb_build_array(
	jsonb_build_object('id', repeat('i', 300), 'text', jsonb_build_object('body', repeat(E'\u00e9', 1000000)))))));
SELECT length(message_id), length(body) FROM whatsapp.messages WHERE message_id LIKE 'iii%';
SELECT messages, events, parked
FROM whatsapp.ingest_unsigned(replace(pg_temp.webhook('{"messages":[0]}')::text, '[0]', '[{}' || repeat(',{}', 999999) || ']')::jsonb);
SELECT jsonb_array_length(element #> '{value,messages}') FROM whatsapp.events WHERE field = 'messages' AND event IS NULL;

-- a key that no index takes: the message is set aside, with the reason
SELECT messages, parked, error ~ 'index row' AS too_long
FROM whatsapp.ingest_unsigned(pg_temp.webhook(jsonb_build_object('messages', jsonb_build_array(
	jsonb_build_object('id', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i)),
	jsonb_build_object('id', 'beside it')))));
SELECT state, length(body) > 32000 AS whole, sqlstate FROM whatsapp.webhooks WHERE state <> 'filed';

DROP EXTENSION whatsapp;
