-- A secret that was given with a number signs for that number only.
CREATE EXTENSION whatsapp;
SET client_min_messages = warning;
SELECT whatsapp.add_number('1001', waba_id => '1', app_secret => 'secret of one') IS NULL;
SELECT whatsapp.add_number('1001', waba_id => '1', app_secret => 'secret-of-one') IS NULL;
SELECT whatsapp.add_number('2002', waba_id => '2', app_secret => 'secret-of-two') IS NULL;
SELECT whatsapp.add_number('3003', waba_id => '3') IS NULL;
SELECT phone_number_id, app_secret_is_own FROM whatsapp.numbers ORDER BY 1;

-- What a webhook tells of a number and account, and who signs it
CREATE FUNCTION pg_temp.webhook(message_id text, phone_number_id text, waba_id text) RETURNS jsonb
LANGUAGE sql
RETURN jsonb_build_object('id', waba_id, 'changes', jsonb_build_array(jsonb_build_object('field', 'messages',
	'value', jsonb_build_object('metadata', jsonb_build_object('phone_number_id', phone_number_id),
		'contacts', jsonb_build_array(jsonb_build_object('wa_id', '15551234567', 'profile', jsonb_build_object('name', 'Ada'))),
		'messages', jsonb_build_array(jsonb_build_object('id', message_id, 'from', '15551234567', 'timestamp', '1750101000',
			'type', 'text', 'text', jsonb_build_object('body', 'Hi!')))))));
CREATE FUNCTION pg_temp.signed(secret text, VARIADIC entries jsonb[]) RETURNS SETOF whatsapp.ingest_result
LANGUAGE sql
AS $$
	SELECT r.*
	FROM (SELECT convert_to(jsonb_build_object('object', 'whatsapp_business_account', 'entry', to_jsonb(entries))::text, 'UTF8') AS body) b,
		LATERAL whatsapp.ingest(b.body, whatsapp.sign(b.body, secret)) r
$$;

-- of its own number, of one that is not here, and of one that has no secret
SELECT http_status, messages, parked FROM pg_temp.signed('secret-of-one', pg_temp.webhook('own', '1001', '1'));
SELECT http_status, messages, parked FROM pg_temp.signed('secret-of-one', pg_temp.webhook('unknown', '9009', '9'));
SELECT http_status, messages, parked FROM pg_temp.signed('secret-of-one', pg_temp.webhook('without', '3003', '3'));
-- of another's: that is parked, and what is beside it filed
SELECT http_status, messages, parked, error
FROM pg_temp.signed('secret-of-one', pg_temp.webhook('forged', '2002', '2'));
SELECT http_status, messages, parked
FROM pg_temp.signed('secret-of-one', pg_temp.webhook('own too', '1001', '1'), pg_temp.webhook('forged too', '2002', '2'));
SELECT message_id FROM whatsapp.messages ORDER BY 1;
SELECT phone_number_id, contact_key FROM whatsapp.correspondents ORDER BY 1;
SELECT state, sqlstate, reason, hint, signed_for FROM whatsapp.webhooks ORDER BY received_at, webhook_id;

-- nor may it tell anything of another's account, with or without a number of its own
SELECT parked FROM pg_temp.signed('secret-of-one', '{"id": "2", "changes": [{"field": "message_template_status_update",
	"value": {"event": "DISABLED", "message_template_id": 7, "message_template_name": "order_shipped", "message_template_language": "en_US"}}]}');
SELECT parked FROM pg_temp.signed('secret-of-one', '{"id": "2", "changes": [{"field": "account_update", "value": {"event": "DISABLED_UPDATE"}}]}');
SELECT parked FROM pg_temp.signed('secret-of-one', '{"id": "2", "changes": [{"field": "something_new",
	"value": {"metadata": {"phone_number_id": "1001"}, "something": "else"}}]}');
SELECT parked FROM pg_temp.signed('secret-of-two', '{"id": "2", "changes": [{"field": "message_template_status_update",
	"value": {"event": "APPROVED", "message_template_id": 7, "message_template_name": "order_shipped", "message_template_language": "en_US"}}]}');
-- nor of another's template as if it were its own
SELECT parked FROM pg_temp.signed('secret-of-one', '{"id": "1", "time": 4000000000, "changes": [{"field": "message_template_status_update",
	"value": {"event": "DISABLED", "message_template_id": 7}}]}');
SELECT parked FROM pg_temp.signed('secret-of-one', '{"time": 4000000000, "changes": [{"field": "message_template_status_update",
	"value": {"event": "DISABLED", "message_template_id": 7, "message_template_name": "order_shipped", "message_template_language": "en_US"}}]}');
SELECT template_id, waba_id, status FROM whatsapp.templates ORDER BY waba_id;
SELECT what, phone_number_id FROM whatsapp.news;
SELECT waba_id, field, event FROM whatsapp.events WHERE event IS DISTINCT FROM 'seen' ORDER BY 1, 2;

-- nor does it make an event that is taken for another's
SELECT events FROM pg_temp.signed('secret-of-one', '{"time": 1750101000, "changes": [{"field": "messages 2002 2", "value": {"errors": [{"code": 130429, "title": "Rate limit hit"}]}}]}');
SELECT events, duplicates FROM pg_temp.signed('secret-of-two', '{"id": "2", "time": 1750101000, "changes": [{"field": "messages",
	"value": {"metadata": {"phone_number_id": "2002"}, "errors": [{"code": 130429, "title": "Rate limit hit"}]}}]}');
-- nor takes away what is parked of another's
ALTER TABLE whatsapp.messages ADD CONSTRAINT not_now CHECK (message_id <> 'wanted');
SELECT parked FROM pg_temp.signed('secret-of-two', pg_temp.webhook('wanted', '2002', '2'));
SELECT parked FROM pg_temp.signed('secret-of-one', pg_temp.webhook('wanted', '2002', '2'));
SELECT sqlstate, signed_for, convert_from(body, 'UTF8') LIKE '%wanted%' AS is_message FROM whatsapp.webhooks WHERE convert_from(body, 'UTF8') LIKE '%wanted%';
ALTER TABLE whatsapp.messages DROP CONSTRAINT not_now;
SELECT sum(messages) FROM whatsapp.replay();

-- a batch, each body with its own
SELECT r.ord, r.messages, r.parked
FROM (
	SELECT array_agg(b.body ORDER BY b.n) AS bodies, array_agg(whatsapp.sign(b.body, b.secret) ORDER BY b.n) AS signatures
	FROM (
		SELECT v.n, v.secret, convert_to(jsonb_build_object('entry', jsonb_build_array(pg_temp.webhook('batch ' || v.n, v.number, v.waba)))::text, 'UTF8') AS body
		FROM (VALUES (1, 'secret-of-one', '1001', '1'), (2, 'secret-of-one', '2002', '2'), (3, 'secret-of-two', '2002', '2')) v (n, secret, number, waba)
	) b
) l, whatsapp.ingest_batch(l.bodies, l.signatures) r;

-- as it was not signed for that number, it is not filed by being replayed
SELECT count(*), sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay();
SELECT count(*) FILTER (WHERE signed_for = '{1001}') AS kept FROM whatsapp.webhooks WHERE state = 'parked';
-- not even after a restore, where there are no secrets
BEGIN;
DELETE FROM whatsapp.secrets;
SELECT count(*), sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay();
SELECT count(*), sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay(true);
ROLLBACK;
-- but if the number turns out to be of that app; or has none of its own
BEGIN;
SELECT whatsapp.set_app_secret('secret-of-one', '2002');
SELECT sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay();
ROLLBACK;
BEGIN;
SELECT whatsapp.set_app_secret('secret-of-one');
SELECT sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay();
ROLLBACK;
BEGIN;
UPDATE whatsapp.numbers SET app_secret_is_own = false WHERE phone_number_id = '2002';
SELECT sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay();
ROLLBACK;

-- all that is kept as it came is asked for again, too
SET whatsapp.archive = 'all';
SELECT http_status, messages, parked FROM pg_temp.signed('secret-of-one', pg_temp.webhook('kept', '1001', '1'), pg_temp.webhook('kept forged', '2002', '2'));
SELECT sum(messages) AS messages FROM whatsapp.replay(true);
SELECT count(*) FROM whatsapp.messages WHERE message_id = 'kept forged';
RESET whatsapp.archive;

-- a secret for all numbers signs for all
SELECT whatsapp.set_app_secret('secret-for-all');
SELECT messages, parked FROM pg_temp.signed('secret-for-all', pg_temp.webhook('all 1', '1001', '1'), pg_temp.webhook('all 2', '2002', '2'));
-- a number that is removed takes its secrets along
BEGIN;
SELECT whatsapp.add_number('4004', access_token => 'token', app_secret => 'secret-of-four');
DELETE FROM whatsapp.numbers WHERE phone_number_id = '4004';
SELECT count(*) FROM whatsapp.secrets WHERE phone_number_id = '4004';
ROLLBACK;
-- several secrets of a number do, until they are not valid any more
SELECT whatsapp.set_app_secret('newer-secret-of-two', '2002', valid_until => now() + '1 hour');
SELECT messages FROM pg_temp.signed('newer-secret-of-two', pg_temp.webhook('newer', '2002', '2'));
SELECT messages FROM pg_temp.signed('secret-of-two', pg_temp.webhook('older', '2002', '2'));
UPDATE whatsapp.secrets SET valid_until = now() WHERE value = 'secret-of-two';
\set SHOW_CONTEXT never
SELECT messages FROM pg_temp.signed('secret-of-two', pg_temp.webhook('too old', '2002', '2'));
DROP EXTENSION whatsapp CASCADE;
