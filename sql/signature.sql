-- Who may have a webhook filed: who knows the app's secret.
CREATE EXTENSION whatsapp;
\getenv abs_srcdir PG_ABS_SRCDIR
\set text_file :abs_srcdir '/test/webhooks/text.json'
SELECT pg_read_binary_file(:'text_file') AS body \gset

-- as computed by: printf '%s' '{"a":1}' | openssl dgst -sha256 -hmac secret
SELECT whatsapp.sign('{"a":1}', 'secret');

-- no secret is set: nobody may
SELECT * FROM whatsapp.ingest(:'body', whatsapp.sign(:'body', ''));

INSERT INTO whatsapp.secrets (kind, value) VALUES ('app_secret', '');
SELECT * FROM whatsapp.ingest(:'body', whatsapp.sign(:'body', ''));

SELECT whatsapp.set_app_secret('old-secret');
SELECT whatsapp.set_app_secret('new-secret');
SELECT whatsapp.sign(:'body', 'new-secret') AS signature \gset

-- wrong, missing, malformed, and of other bytes
SELECT * FROM whatsapp.ingest(:'body', whatsapp.sign(:'body', 'guess'));
SELECT * FROM whatsapp.ingest(:'body', NULL);
SELECT * FROM whatsapp.ingest(:'body', '');
SELECT * FROM whatsapp.ingest(:'body', upper(:'signature'));
SELECT * FROM whatsapp.ingest(:'body', 'sha256=' || upper(substr(:'signature', 8)));
SELECT * FROM whatsapp.ingest(:'body', left(:'signature', -1));
SELECT * FROM whatsapp.ingest(:'body', :'signature' || '0');
SELECT * FROM whatsapp.ingest(:'body', substr(:'signature', 8));
SELECT * FROM whatsapp.ingest(:'body', replace(:'signature', 'sha256', 'sha512'));
SELECT * FROM whatsapp.ingest(:'body'::bytea || '\x20', :'signature');
SELECT * FROM whatsapp.ingest(NULL, :'signature');

-- what is said of it
SELECT * FROM whatsapp.ingest('', 'wrong');
\echo :LAST_ERROR_SQLSTATE

-- nothing was written
SELECT count(*) FROM whatsapp.messages;
SELECT count(*) FROM whatsapp.webhooks;

-- each secret that was set is good
SELECT * FROM whatsapp.ingest(:'body', :'signature');
SELECT * FROM whatsapp.ingest(:'body', whatsapp.sign(:'body', 'old-secret'));
SELECT message_id, body FROM whatsapp.messages;

-- many at once: one that is not good does not harm the others
SELECT * FROM whatsapp.ingest_batch(
	ARRAY[:'body', :'body', '<no json>', NULL, convert_to(repeat(' ', 3 * 1024 * 1024 + 1), 'UTF8'), replace(encode(:'body', 'escape'), 'wamid.TEXT', 'wamid.TEXT2')::bytea]::bytea[],
	ARRAY[:'signature', 'wrong', whatsapp.sign('<no json>', 'new-secret'), NULL, 'any', whatsapp.sign(replace(encode(:'body', 'escape'), 'wamid.TEXT', 'wamid.TEXT2')::bytea, 'old-secret')]);
SELECT message_id FROM whatsapp.messages ORDER BY 1;
SELECT * FROM whatsapp.ingest_batch('{}', '{}');
SELECT * FROM whatsapp.ingest_batch(NULL, '{}');
SELECT * FROM whatsapp.ingest_batch('{a}', '{}');

-- too large to be Meta's, whatever the signature
SELECT * FROM whatsapp.ingest(convert_to(repeat(' ', 3 * 1024 * 1024 + 1), 'UTF8'), 'any');

DROP EXTENSION whatsapp;
