-- The whole HTTP contract of a webhook address.
CREATE EXTENSION whatsapp;
\getenv abs_srcdir PG_ABS_SRCDIR
\set text_file :abs_srcdir '/test/webhooks/text.json'
SELECT pg_read_binary_file(:'text_file') AS body \gset
SELECT whatsapp.set_app_secret('secret');
SELECT whatsapp.set_verify_token('a token+=&%/é'::text);
SELECT whatsapp.set_verify_token('token+=&%/');

-- as a role that may do nothing else
CREATE ROLE regress_whatsapp_front;
GRANT USAGE ON SCHEMA whatsapp TO regress_whatsapp_front;
GRANT EXECUTE ON FUNCTION whatsapp.handle_webhook(text, text, text, bytea) TO regress_whatsapp_front;
SET ROLE regress_whatsapp_front;
SELECT * FROM whatsapp.messages;
SELECT * FROM whatsapp.ingest('', '');

-- GET: the handshake
SELECT * FROM whatsapp.handle_webhook('GET', 'hub.mode=subscribe&hub.verify_token=token%2B%3D%26%25%2F&hub.challenge=1158201444', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', '?hub.challenge=%3Cb%3E+x&hub.mode=subscribe&hub.verify_token=token%2b=%26%/', NULL, '');
SELECT * FROM whatsapp.handle_webhook('GET', 'hub.mode=subscribe&hub.verify_token=token%2B%3D%26%25%2F&hub.challenge=1&hub.challenge=2', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', 'hub%2Emode=subscribe&hub.verify_token=token%2B%3D%26%25%2F&hub.challenge=', NULL, NULL);

SELECT * FROM whatsapp.handle_webhook('GET', 'hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1158201444', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', 'hub.mode=unsubscribe&hub.verify_token=token%2B%3D%26%25%2F&hub.challenge=1158201444', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', 'hub.verify_token=token%2B%3D%26%25%2F&hub.challenge=1158201444', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', 'hub.mode=subscribe&hub.challenge=1158201444', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', 'hub.mode=subscribe&hub.verify_token&hub.challenge=1158201444', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', 'hub.mode=subscribe&hub.verify_token=token%2B%3D%26%25%2F', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', 'hub.mode=subscribe&hub.verify_token=token%2B%3D%26%25%2F&hub.challenge=%ff', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', 'hub.mode=subscribe&hub.verify_token=token%2B%3D%26%25%2F&hub.challenge=a%00b', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', '&&=&%', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', '', NULL, NULL);
SELECT * FROM whatsapp.handle_webhook('GET', NULL, NULL, NULL);

-- POST: a delivery
RESET ROLE;
SELECT whatsapp.sign(:'body', 'secret') AS signature, whatsapp.sign('', 'secret') AS empty_signature \gset
SET ROLE regress_whatsapp_front;
SELECT * FROM whatsapp.handle_webhook('POST', NULL, :'signature', :'body');
SELECT * FROM whatsapp.handle_webhook('POST', '', :'signature', :'body');
SELECT * FROM whatsapp.handle_webhook('POST', NULL, NULL, :'body');
SELECT * FROM whatsapp.handle_webhook('POST', NULL, upper(:'signature'), :'body');
SELECT * FROM whatsapp.handle_webhook('POST', NULL, left(:'signature', 70), :'body');
SELECT * FROM whatsapp.handle_webhook('POST', NULL, :'signature', NULL);
SELECT * FROM whatsapp.handle_webhook('POST', NULL, :'empty_signature', NULL);
SELECT * FROM whatsapp.handle_webhook('POST', NULL, :'signature', convert_to(repeat(' ', 3 * 1024 * 1024 + 1), 'UTF8'));

-- others
SELECT m, h.* FROM unnest(ARRAY['HEAD', 'PUT', 'DELETE', 'OPTIONS', 'get', '', NULL]) m, whatsapp.handle_webhook(m, NULL, :'signature', :'body') h;

RESET ROLE;
SELECT message_id, body FROM whatsapp.messages;
SELECT body, reason FROM whatsapp.webhooks;
DROP EXTENSION whatsapp;
DROP ROLE regress_whatsapp_front;
