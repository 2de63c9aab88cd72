-- Two elements that claim one key: the winner is the same in whatever order
-- they come, and the loser is in events.
CREATE EXTENSION whatsapp;
SET timezone = 'UTC';
CREATE FUNCTION pg_temp.file(field text, value text) RETURNS whatsapp.ingest_result
LANGUAGE sql
RETURN whatsapp.ingest_unsigned(format(
	'{"object":"whatsapp_business_account","entry":[{"id":"900100200300400","changes":[{"field":"%s","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550100200","phone_number_id":"1"},%s}}]}]}',
	field, value)::jsonb);

-- files two values in both orders, and shows what is there
CREATE PROCEDURE pg_temp.both_orders(one text, other text)
LANGUAGE plpgsql
AS $$
DECLARE
	seen text[] := '{}';
	line text;
BEGIN
	FOR i IN 1..2 LOOP
		PERFORM pg_temp.file(split_part(v, ' ', 1), substr(v, strpos(v, ' ') + 1))
		FROM unnest(CASE i WHEN 1 THEN ARRAY[one, other] ELSE ARRAY[other, one] END) WITH ORDINALITY u (v, ord);
		SELECT string_agg(l, E'\n' ORDER BY l COLLATE "C") INTO line
		FROM (
			SELECT 'message ' || jsonb_strip_nulls(to_jsonb(m) - '{element,received_at,phone_number_id}'::text[])::text FROM whatsapp.messages m
			UNION ALL SELECT 'status ' || jsonb_strip_nulls(to_jsonb(s) - '{element,received_at,phone_number_id}'::text[])::text FROM whatsapp.statuses s
			UNION ALL SELECT 'loser in ' || e.field || ' ' || e.element::text FROM whatsapp.events e WHERE e.event = 'superseded'
			UNION ALL SELECT 'preference ' || (to_jsonb(p) - '{element,received_at,phone_number_id}'::text[])::text FROM whatsapp.user_preferences p
		) x (l);
		seen := seen || line;
		DELETE FROM whatsapp.messages;
		DELETE FROM whatsapp.statuses;
		DELETE FROM whatsapp.events;
		DELETE FROM whatsapp.correspondents;
		DELETE FROM whatsapp.contact_sightings;
		DELETE FROM whatsapp.contact_changes;
		DELETE FROM whatsapp.media;
		DELETE FROM whatsapp.user_preferences;
	END LOOP;
	RAISE NOTICE E'%\n%', CASE WHEN seen[1] = seen[2] THEN 'same in both orders:' ELSE E'DIFFERENT:\n' || seen[2] || E'\nAND' END, seen[1];
END $$;

-- content, and the placeholder before it, also when that is later
CALL pg_temp.both_orders(
	'messages "messages":[{"id":"m","from":"2","timestamp":"1750101009","type":"unsupported","errors":[{"code":131060}]}]',
	'messages "messages":[{"id":"m","from":"2","timestamp":"1750101000","type":"text","text":{"body":"words"}}]');
CALL pg_temp.both_orders(
	'history "history":[{"threads":[{"id":"2","messages":[{"id":"m","from":"2","timestamp":"1750101009","type":"media_placeholder"}]}]}]',
	'history "messages":[{"id":"m","from":"2","timestamp":"1750101000","type":"image","image":{"id":"77","caption":"words"}}]');

-- the later of two contents, or the greater of two of the same second
CALL pg_temp.both_orders(
	'messages "messages":[{"id":"m","from":"2","timestamp":"1750101001","text":{"body":"later"}}]',
	'messages "messages":[{"id":"m","from":"2","timestamp":"1750101000","text":{"body":"earlier"}}]');
CALL pg_temp.both_orders(
	'messages "messages":[{"id":"m","from":"2","timestamp":"1750101000","text":{"body":"a"}}]',
	'messages "messages":[{"id":"m","from":"2","timestamp":"1750101000","text":{"body":"b"}}]');
CALL pg_temp.both_orders(
	'messages "messages":[{"id":"m","from":"2","timestamp":"1750101000","text":{"body":"a"}},{"id":"m","from":"2","timestamp":"1750101000","text":{"body":"c"}}]',
	'messages "messages":[{"id":"m","from":"2","timestamp":"1750101000","text":{"body":"b"}}]');

-- a message that was sent by other means, and its statuses
CALL pg_temp.both_orders(
	'messages "statuses":[{"id":"m","status":"failed","timestamp":"1750101002","recipient_id":"2","recipient_user_id":"US.2","errors":[{"code":131049}]}]',
	'smb_message_echoes "message_echoes":[{"id":"m","from":"15550100200","to":"2","timestamp":"1750101000","type":"text","text":{"body":"words"}}]');
CALL pg_temp.both_orders(
	'messages "statuses":[{"id":"m","status":"read","timestamp":"1750101002","recipient_id":"2"}]',
	'history "history":[{"threads":[{"id":"2","messages":[{"id":"m","from":"+1 555 0100200","timestamp":"1750101000","type":"text","text":{"body":"words"},"history_context":{"status":"DELIVERED"}}]}]}]');
CALL pg_temp.both_orders(
	'smb_message_echoes "message_echoes":[{"id":"m","from":"15550100200","to":"2","timestamp":"1750101000","type":"text","text":{"body":"from the phone"}}]',
	'standby "standby":{"message_echoes":[{"id":"m","timestamp":"1750101000","message":{"recipient":"US.2","type":"text","text":{"body":"from an agent"}}}]}');

-- the same element, in places that say different things of it
CALL pg_temp.both_orders(
	'history "history":[{"threads":[{"id":"2","context":{"wa_id":"2","user_id":"US.2"},"messages":[{"id":"m","from":"2","timestamp":"1750101000","text":{"body":"words"}}]}]}]',
	'history "history":[{"threads":[{"id":"2","context":{"wa_id":"2","user_id":"US.1"},"messages":[{"id":"m","from":"2","timestamp":"1750101000","text":{"body":"words"}}]}]}]');
CALL pg_temp.both_orders(
	'messages "messages":[{"id":"m","from":"2","timestamp":"1750101000","text":{"body":"words"}}]',
	'message_echoes "message_echoes":[{"id":"m","from":"2","timestamp":"1750101000","text":{"body":"words"}}]');

-- sides in a history: who has sent it counts, then to whom
SELECT messages FROM pg_temp.file('history', '"history":[{"threads":[{"id":"2","messages":[
	{"id":"in","from":"2","to":"15550100200"},{"id":"out","from":"+1 (555) 010-0200"},{"id":"to","to":"2"},{"id":"neither"}]}]}]');
SELECT message_id, direction, wa_id FROM whatsapp.messages ORDER BY message_id COLLATE "C";
DELETE FROM whatsapp.messages;
SELECT events FROM pg_temp.file('history', '"history":[{"threads":[{"id":"elsewhere","context":{"wa_id":"2"},"messages":[{"id":"told","from":"3"}]}]}]');
SELECT field, element #> '{value,history}' AS history FROM whatsapp.events WHERE event IS NULL;
DELETE FROM whatsapp.messages;
DELETE FROM whatsapp.events;
DELETE FROM whatsapp.correspondents;
		DELETE FROM whatsapp.contact_sightings;
		DELETE FROM whatsapp.contact_changes;

-- until when a URL can be had: what makes no sense is not believed
SELECT url, whatsapp.url_expiry(url, '2025-06-16 12:00Z')
FROM unnest(ARRAY['https://x/?ext=1750101000', 'https://x/?mid=1&ext=1750101000&hash=2', 'https://x/?ext=99999999999999999999&ext=1', 'https://x/?ext=soon', 'https://x/', NULL]) url;
SELECT whatsapp.media_digest(d) FROM unnest(ARRAY[repeat('0f', 32), 'c2hhMjU2LWV4YW1wbGUtYmFzZTY0LXZhbHVlLTAwMDE=', 'x', NULL]) d;

-- two statuses of one word, and preferences
CALL pg_temp.both_orders(
	'messages "statuses":[{"id":"m","status":"sent","timestamp":"1750101002","recipient_id":"2"}]',
	'messages "statuses":[{"id":"m","status":"sent","timestamp":"1750101003","recipient_id":"2"}]');
CALL pg_temp.both_orders(
	'user_preferences "user_preferences":[{"wa_id":"2","category":"marketing_messages","value":"stop","timestamp":1750101000}]',
	'user_preferences "user_preferences":[{"wa_id":"2","category":"marketing_messages","value":"resume","timestamp":1750101001}]');

-- what the outbox has sent stays as it was sent, and an echo of it is kept beside
SELECT whatsapp.add_number('1', access_token => 'token');
CREATE FUNCTION pg_temp.echo() RETURNS whatsapp.ingest_result
LANGUAGE sql
RETURN pg_temp.file('message_echoes', '"message_echoes":[{"id":"wamid.own","from":"15550100200","to":"15550107788","timestamp":"4000000000","type":"text","text":{"body":"an echo"}}]');
CREATE PROCEDURE pg_temp.send()
LANGUAGE plpgsql
AS $$
BEGIN
	INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550107788', 'as it was sent');
	PERFORM whatsapp.record(array_agg(c.outbox_id), array_agg(c.nonce), '{answered}', '{200}', ARRAY['{"messages":[{"id":"wamid.own"}]}'::jsonb], ARRAY[NULL::text], ARRAY[NULL::integer])
	FROM whatsapp.claim(1) c;
END $$;
CALL pg_temp.send();
SELECT messages, duplicates FROM pg_temp.echo();
SELECT direction, body, outbox_id IS NOT NULL AS ours, element #>> '{text,body}' AS element FROM whatsapp.messages;
SELECT field, event, element #>> '{text,body}' AS element FROM whatsapp.events;
DELETE FROM whatsapp.messages;
DELETE FROM whatsapp.events;
SELECT messages, duplicates FROM pg_temp.echo();
CALL pg_temp.send();
SELECT direction, body, outbox_id IS NOT NULL AS ours, element #>> '{text,body}' AS element FROM whatsapp.messages;
SELECT field, event, element #>> '{text,body}' AS element FROM whatsapp.events;

-- what is told of a contact in several webhooks, in all orders, and in one: what
-- the newest does not tell is that of the newest that does
CREATE FUNCTION pg_temp.change(i integer) RETURNS jsonb
LANGUAGE sql
RETURN jsonb_build_object('field', 'messages', 'value', jsonb_build_object(
	'metadata', '{"phone_number_id":"1"}'::jsonb,
	'contacts', '[{"user_id":"US.1","parent_user_id":"US.ENT.1","profile":{"name":"Old","username":"old"}},
		{"user_id":"US.1","wa_id":"15550107788","profile":{"name":"New","username":"new"}},
		{"user_id":"US.1","profile":{"name":"Newer"}},
		{"user_id":"US.1"}]'::jsonb -> i,
	'statuses', jsonb_build_object('id', 's' || i, 'status', 'sent', 'timestamp', 1750101000 + i)));

CREATE FUNCTION pg_temp.contact_after(bodies text) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	line text;
BEGIN
	DELETE FROM whatsapp.correspondents;
	DELETE FROM whatsapp.contact_sightings;
	PERFORM whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_object(
		'changes', (SELECT jsonb_agg(pg_temp.change(i::integer)) FROM regexp_split_to_table(b.changes, '') i))))
	FROM regexp_split_to_table(bodies, ' ') b (changes);
	SELECT (jsonb_strip_nulls(to_jsonb(c)) - '{phone_number_id,contact_key}'::text[] || jsonb_build_object('identifiers', (
			SELECT jsonb_agg(concat_ws(' ', i.kind, i.value, i.first_seen, i.last_seen) ORDER BY i.kind, i.value)
			FROM whatsapp.contact_identifiers i)))::text
	INTO line
	FROM whatsapp.correspondents c;
	RETURN line;
END $$;

WITH bodies AS (
	SELECT concat_ws(' ', a, b, c, d) AS bodies
	FROM generate_series(0, 3) a, generate_series(0, 3) b, generate_series(0, 3) c, generate_series(0, 3) d
	WHERE cardinality(ARRAY(SELECT DISTINCT unnest(ARRAY[a, b, c, d]))) = 4
	UNION ALL VALUES ('0123'), ('3210'), ('3 01 2'), ('23 10'), ('0 3 21')
)
SELECT count(*), jsonb_pretty(line::jsonb) AS contact
FROM bodies, pg_temp.contact_after(bodies) line
GROUP BY line;

DROP FUNCTION pg_temp.contact_after, pg_temp.change;
DROP FUNCTION pg_temp.file, pg_temp.echo;
DROP EXTENSION whatsapp;
