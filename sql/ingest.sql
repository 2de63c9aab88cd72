-- Webhooks become rows.
CREATE EXTENSION whatsapp;
\getenv abs_srcdir PG_ABS_SRCDIR
CREATE FUNCTION pg_temp.fixture(dir text, name text) RETURNS jsonb
LANGUAGE sql
RETURN convert_from(pg_read_binary_file(dir || '/test/webhooks/' || name || '.json'), 'UTF8')::jsonb;
SET timezone = 'UTC';

-- a message, and who sent it
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'text'));
SELECT phone_number_id, message_id, direction, type, body, wa_id, user_id, status, sent_at FROM whatsapp.messages;
SELECT element = pg_temp.fixture(:'abs_srcdir', 'text') #> '{entry,0,changes,0,value,messages,0}' AS whole FROM whatsapp.messages;
SELECT phone_number_id, contact_key, wa_id, user_id, name, first_seen, last_seen FROM whatsapp.contacts;

-- again: nothing new
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'text'));
SELECT count(*) FROM whatsapp.messages;

-- statuses in any order, for a message that is not known here
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'status_read'));
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'status_sent'));
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'status_delivered'));
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'status_failed'));
SELECT message_id, status, participant, at, wa_id, user_id, callback_data, pricing ->> 'category' AS category
FROM whatsapp.statuses ORDER BY message_id, at;
SELECT message_id, direction, type, wa_id, user_id, status, status_at, error_code
FROM whatsapp.messages WHERE direction = 'outbound' ORDER BY 1;

-- of a group's members each has its own
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'status_group'));
SELECT message_id, status, participant, wa_id FROM whatsapp.statuses WHERE message_id = 'wamid.GROUP' ORDER BY 2, 3;
SELECT status, status_at, wa_id, group_id FROM whatsapp.messages WHERE message_id = 'wamid.GROUP';

-- a reaction, and that it is taken back, in either order
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'reaction'));
SELECT message_id, reactor, emoji, reaction_id, at FROM whatsapp.reactions;
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'reaction_removed'));
SELECT message_id, reactor, emoji, reaction_id, at FROM whatsapp.reactions;
DELETE FROM whatsapp.reactions;
DELETE FROM whatsapp.messages WHERE type = 'reaction';
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'reaction_removed'));
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'reaction'));
SELECT message_id, reactor, emoji, reaction_id, at FROM whatsapp.reactions;
SELECT message_id, type, body FROM whatsapp.messages WHERE type = 'reaction' ORDER BY 1;

-- many things in one webhook, some of them twice
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'batch'));
SELECT phone_number_id, message_id, type, body, wa_id, user_id, context_id
FROM whatsapp.messages WHERE message_id LIKE 'wamid.B%' ORDER BY 1, 2;
SELECT message_id, status FROM whatsapp.statuses WHERE message_id = 'wamid.OUT3' ORDER BY 2;
SELECT status, status_at FROM whatsapp.messages WHERE message_id = 'wamid.OUT3';
SELECT contact_key, name FROM whatsapp.contacts ORDER BY 1;
SELECT * FROM whatsapp.ingest_unsigned(pg_temp.fixture(:'abs_srcdir', 'batch'));

-- the older name of a contact does not replace the newer, and the reverse
SELECT contact_key, name, last_seen FROM whatsapp.contacts WHERE wa_id = '15550107788';
SELECT * FROM whatsapp.ingest_unsigned(jsonb_set(jsonb_set(pg_temp.fixture(:'abs_srcdir', 'reaction'),
	'{entry,0,changes,0,value,contacts,0,profile,name}', '"Older"'),
	'{entry,0,changes,0,value,messages,0,timestamp}', '"1750101001"'));
SELECT contact_key, name, last_seen FROM whatsapp.contacts WHERE wa_id = '15550107788';
SELECT * FROM whatsapp.ingest_unsigned(jsonb_set(jsonb_set(pg_temp.fixture(:'abs_srcdir', 'reaction'),
	'{entry,0,changes,0,value,contacts,0,profile,name}', '"Newer"'),
	'{entry,0,changes,0,value,messages,0,timestamp}', '"1750109999"'));
SELECT contact_key, name, last_seen FROM whatsapp.contacts WHERE wa_id = '15550107788';

-- two things that claim one key: it does not matter which comes first, and
-- neither is lost
CREATE FUNCTION pg_temp.message(type text, at text, body text) RETURNS jsonb
LANGUAGE sql
RETURN jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_object('id', '1', 'changes', jsonb_build_object('field', 'messages',
	'value', jsonb_build_object('metadata', jsonb_build_object('phone_number_id', '1'), 'messages',
		CASE type
			WHEN 'text' THEN jsonb_build_object('id', 'wamid.TWICE', 'timestamp', at, 'type', type, 'text', jsonb_build_object('body', body))
			WHEN 'unsupported' THEN jsonb_build_object('id', 'wamid.TWICE', 'timestamp', at, 'type', type, 'errors', jsonb_build_array(jsonb_build_object('code', 131060)))
		END))));
CREATE FUNCTION pg_temp.both(first jsonb, second jsonb) RETURNS TABLE (type text, body text, superseded text)
LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM whatsapp.messages WHERE message_id = 'wamid.TWICE';
	DELETE FROM whatsapp.events WHERE event = 'superseded';
	PERFORM whatsapp.ingest_unsigned(first);
	PERFORM whatsapp.ingest_unsigned(second);
	PERFORM whatsapp.ingest_unsigned(first);
	RETURN QUERY
	SELECT m.type, m.body, string_agg(e.field || ' ' || (e.element ->> 'type') || ' ' || coalesce(e.element #>> '{text,body}', ''), ',')
	FROM whatsapp.messages m, whatsapp.events e
	WHERE m.message_id = 'wamid.TWICE' AND e.event = 'superseded'
	GROUP BY 1, 2;
END $$;
SELECT * FROM pg_temp.both(pg_temp.message('unsupported', '1750109999', NULL), pg_temp.message('text', '1750100000', 'content'));
SELECT * FROM pg_temp.both(pg_temp.message('text', '1750100000', 'content'), pg_temp.message('unsupported', '1750109999', NULL));
SELECT * FROM pg_temp.both(pg_temp.message('text', '1750100000', 'older'), pg_temp.message('text', '1750100001', 'newer'));
SELECT * FROM pg_temp.both(pg_temp.message('text', '1750100001', 'newer'), pg_temp.message('text', '1750100000', 'older'));
SELECT * FROM pg_temp.both(pg_temp.message('text', '1750100000', 'a'), pg_temp.message('text', '1750100000', 'b'));
SELECT * FROM pg_temp.both(pg_temp.message('text', '1750100000', 'b'), pg_temp.message('text', '1750100000', 'a'));

-- likewise in one webhook
SELECT messages, duplicates FROM whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(
	replace(pg_temp.message('text', '1750100000', 'one')::text, 'TWICE', 'THRICE')::jsonb -> 'entry',
	replace(pg_temp.message('text', '1750100002', 'two')::text, 'TWICE', 'THRICE')::jsonb -> 'entry',
	replace(pg_temp.message('unsupported', '1750100003', NULL)::text, 'TWICE', 'THRICE')::jsonb -> 'entry')));
SELECT type, body FROM whatsapp.messages WHERE message_id = 'wamid.THRICE';
SELECT field, element ->> 'type' AS type, element #>> '{text,body}' AS body FROM whatsapp.events WHERE element ->> 'id' = 'wamid.THRICE' ORDER BY 2, 3;

-- and a status that was told with another time
SELECT statuses, duplicates FROM whatsapp.ingest_unsigned(jsonb_set(pg_temp.fixture(:'abs_srcdir', 'status_read'), '{entry,0,changes,0,value,statuses,0,timestamp}', '"1750100001"'));
SELECT at FROM whatsapp.statuses WHERE message_id = 'wamid.OUT' AND status = 'read';
SELECT field, element ->> 'timestamp' AS timestamp FROM whatsapp.events WHERE field = 'statuses';
SELECT status, status_at FROM whatsapp.messages WHERE message_id = 'wamid.OUT';

DROP EXTENSION whatsapp;
