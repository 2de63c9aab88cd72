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
SELECT status, status_at FROM whatsapp.messages WHERE message_id = 'wamid.GROUP';

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
SELECT contact_key, name, last_seen FROM whatsapp.contacts WHERE contact_key = '15550107788';
SELECT * FROM whatsapp.ingest_unsigned(jsonb_set(jsonb_set(pg_temp.fixture(:'abs_srcdir', 'reaction'),
	'{entry,0,changes,0,value,contacts,0,profile,name}', '"Older"'),
	'{entry,0,changes,0,value,messages,0,timestamp}', '"1750101001"'));
SELECT contact_key, name, last_seen FROM whatsapp.contacts WHERE contact_key = '15550107788';
SELECT * FROM whatsapp.ingest_unsigned(jsonb_set(jsonb_set(pg_temp.fixture(:'abs_srcdir', 'reaction'),
	'{entry,0,changes,0,value,contacts,0,profile,name}', '"Newer"'),
	'{entry,0,changes,0,value,messages,0,timestamp}', '"1750109999"'));
SELECT contact_key, name, last_seen FROM whatsapp.contacts WHERE contact_key = '15550107788';

DROP EXTENSION whatsapp;
