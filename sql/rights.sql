-- What each level of access may do, and what it may not.
\set SHOW_CONTEXT never
CREATE EXTENSION whatsapp;
CREATE ROLE regress_whatsapp_web;
CREATE ROLE regress_whatsapp_sender;
CREATE ROLE regress_whatsapp_reader;
CREATE ROLE regress_whatsapp_admin;
CREATE ROLE regress_whatsapp_nobody;
SELECT whatsapp.grant_access('regress_whatsapp_web', 'webhook'),
	whatsapp.grant_access('regress_whatsapp_sender', 'sender'),
	whatsapp.grant_access('regress_whatsapp_reader', 'reader'),
	whatsapp.grant_access('regress_whatsapp_admin', 'admin');
SELECT * FROM whatsapp.role_levels ORDER BY 1;
SELECT * FROM whatsapp.number_roles ORDER BY 1;

-- All that a role may do with anything of ours, found by asking of everything
CREATE FUNCTION pg_temp.rights(role name, OUT privilege text, OUT objects text) RETURNS SETOF record
LANGUAGE sql
AS $$
	SELECT x.privilege, string_agg(x.name, ' ' ORDER BY x.name COLLATE "C")
	FROM (
		SELECT p.privilege, n.nspname::text AS name
		FROM pg_namespace n, unnest('{USAGE,CREATE}'::text[]) p (privilege)
		WHERE n.nspname = 'whatsapp' AND has_schema_privilege(role, n.oid, p.privilege)
		UNION ALL
		SELECT p.privilege, c.relname
		FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p (privilege)
		WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'v') AND has_table_privilege(role, c.oid, p.privilege)
		UNION ALL
		SELECT p.privilege, c.relname || '(' || string_agg(a.attname, ',' ORDER BY a.attnum) || ')'
		FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) p (privilege), pg_attribute a
		WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'v') AND NOT has_table_privilege(role, c.oid, p.privilege)
			AND a.attrelid = c.oid AND NOT a.attisdropped AND has_column_privilege(role, c.oid, a.attnum, p.privilege)
		GROUP BY p.privilege, c.relname
		UNION ALL
		SELECT p.privilege || ' of sequence', c.relname
		FROM pg_class c, unnest('{USAGE,SELECT,UPDATE}'::text[]) p (privilege)
		WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind = 'S' AND has_sequence_privilege(role, c.oid, p.privilege)
		UNION ALL
		SELECT 'EXECUTE', p.proname
		FROM pg_proc p
		WHERE p.pronamespace = 'whatsapp'::regnamespace AND has_function_privilege(role, p.oid, 'EXECUTE')
		UNION ALL
		SELECT 'USAGE of type', t.typname
		FROM pg_type t
		WHERE t.typnamespace = 'whatsapp'::regnamespace AND t.typelem = 0 AND has_type_privilege(role, t.oid, 'USAGE')
	) x
	GROUP BY x.privilege
	ORDER BY x.privilege COLLATE "C"
$$;
\pset format unaligned
SELECT * FROM pg_temp.rights('public');
SELECT * FROM pg_temp.rights('regress_whatsapp_nobody');
SELECT * FROM pg_temp.rights('regress_whatsapp_web');
SELECT * FROM pg_temp.rights('regress_whatsapp_sender');
SELECT * FROM pg_temp.rights('regress_whatsapp_reader');
SELECT * FROM pg_temp.rights('regress_whatsapp_admin');
\pset format aligned
-- and that none of it may be passed on
SELECT count(*)
FROM (
	SELECT c.relacl AS acl FROM pg_class c WHERE c.relnamespace = 'whatsapp'::regnamespace
	UNION ALL
	SELECT a.attacl FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'whatsapp'::regnamespace
	UNION ALL
	SELECT p.proacl FROM pg_proc p WHERE p.pronamespace = 'whatsapp'::regnamespace
) l, aclexplode(l.acl) e
WHERE e.is_grantable AND e.grantee::regrole::text LIKE 'regress%';

SELECT whatsapp.add_number('1001', waba_id => '1', access_token => 'token-of-one', app_secret => 'secret-of-one', verify_token => 'word');
INSERT INTO whatsapp.outbox (recipient, body, send_after) VALUES ('15550000001', 'of the owner', now() + '1 hour');
SELECT convert_to('{"entry":[{"id":"1","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1001"},'
	'"messages":[{"id":"m1","from":"15551234567","timestamp":"1750101000","type":"text","text":{"body":"Hi!"}}]}}]}]}', 'UTF8') AS body \gset
SELECT whatsapp.sign(:'body', 'secret-of-one') AS signature \gset

-- webhook: all that it is for, and nothing by way of what it is for
SET SESSION AUTHORIZATION regress_whatsapp_web;
SELECT whatsapp.verify_webhook('subscribe', 'word', '1158201444');
SELECT messages FROM whatsapp.ingest(:'body', :'signature');
SELECT duplicates FROM whatsapp.ingest_batch(ARRAY[:'body'::bytea], ARRAY[:'signature']);
SELECT * FROM whatsapp.handle_webhook('POST', NULL, :'signature', :'body');
SELECT * FROM whatsapp.ingest_unsigned('{}');
SELECT * FROM whatsapp.replay();
SELECT whatsapp.sign('', '');
SELECT whatsapp.secret_value('literal', 'x', NULL);
SELECT whatsapp.secret_value('file', NULL, 'x');
SELECT * FROM whatsapp.secrets;
SELECT * FROM whatsapp.valid_secrets;
SELECT * FROM whatsapp.messages;
TABLE whatsapp.number_roles;
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15550000001', 'x');
COPY whatsapp.messages TO STDOUT;
BEGIN;
LOCK TABLE whatsapp.messages IN ACCESS SHARE MODE;
ROLLBACK;
SELECT nextval('whatsapp.outbox_id_seq');
SELECT setval('whatsapp.outbox_id_seq', 1);
CREATE TABLE whatsapp.mine (a integer);
CREATE TABLE pg_temp.child () INHERITS (whatsapp.messages);
CREATE TABLE pg_temp.copied (LIKE whatsapp.messages);
CREATE TABLE pg_temp.typed (m whatsapp.messages);
CREATE TRIGGER mine AFTER INSERT ON whatsapp.messages FOR EACH ROW EXECUTE FUNCTION whatsapp.outbox_queued();
CREATE RULE mine AS ON INSERT TO whatsapp.messages DO ALSO NOTHING;
CREATE POLICY mine ON whatsapp.messages USING (true);
ALTER TABLE whatsapp.messages DISABLE ROW LEVEL SECURITY;
ALTER FUNCTION whatsapp.ingest(bytea, text) SECURITY INVOKER;
ALTER EXTENSION whatsapp ADD TABLE pg_catalog.pg_class;
DROP EXTENSION whatsapp;
COMMENT ON EXTENSION whatsapp IS 'mine';
GRANT SELECT ON whatsapp.messages TO regress_whatsapp_web;
SELECT whatsapp.grant_access('regress_whatsapp_web', 'admin');
-- what is planned and estimated tells nothing either
EXPLAIN SELECT * FROM whatsapp.messages;
SELECT count(*) FROM pg_stats WHERE schemaname = 'whatsapp';
-- settings of ours are no way round
SET whatsapp.graph_url = 'http://127.0.0.1/';
SET whatsapp.archive = 'all';
SELECT name FROM pg_settings WHERE name = 'whatsapp.secret_directory';
RESET SESSION AUTHORIZATION;
-- the setting of who files does not count either: row security off, or a hostile search_path
SET SESSION AUTHORIZATION regress_whatsapp_web;
SET row_security = off;
SELECT duplicates FROM whatsapp.ingest(:'body', :'signature');
RESET row_security;
RESET SESSION AUTHORIZATION;

-- sender: queue, see and cancel its own
SET SESSION AUTHORIZATION regress_whatsapp_sender;
SELECT whatsapp.send_text('15551234567', 'Hello', send_after => now() + interval '1 hour', idempotency_key => 'a') AS id \gset
INSERT INTO whatsapp.outbox (recipient, type, content, send_after)
VALUES ('15551234567', 'image', '{"link": "https://example.com/a.png"}', now() + interval '1 hour') RETURNING type, state, queued_by;
SELECT recipient, state, queued_by FROM whatsapp.outbox ORDER BY id;
SELECT whatsapp.send_text('15551234567', 'Hello', idempotency_key => 'a') = :id AS the_same;
SELECT whatsapp.cancel(:id);
SELECT whatsapp.cancel(1);
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('nobody', 'x');
INSERT INTO whatsapp.outbox (recipient, body, state) VALUES ('15551234567', 'x', 'sent');
INSERT INTO whatsapp.outbox (recipient, body, created_at) VALUES ('15551234567', 'x', '2020-01-01');
INSERT INTO whatsapp.outbox (recipient, body, attempts) VALUES ('15551234567', 'x', 5);
INSERT INTO whatsapp.outbox (recipient, body, message_id) VALUES ('15551234567', 'x', 'wamid.1');
INSERT INTO whatsapp.outbox (recipient, body, queued_by) VALUES ('15551234567', 'x', 'postgres');
INSERT INTO whatsapp.outbox (id, recipient, body) OVERRIDING SYSTEM VALUE VALUES (1000, '15551234567', 'x');
UPDATE whatsapp.outbox SET state = 'sent';
UPDATE whatsapp.outbox SET body = 'else';
DELETE FROM whatsapp.outbox;
TRUNCATE whatsapp.outbox;
INSERT INTO whatsapp.outbox (recipient, body, idempotency_key) VALUES ('15551234567', 'x', 'a')
ON CONFLICT (phone_number_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO UPDATE SET state = 'sent';
SELECT whatsapp.retry(:id);
SELECT whatsapp.resolve(:id, 'sent');
SELECT * FROM whatsapp.messages;
SELECT * FROM whatsapp.conversations;
SELECT * FROM whatsapp.numbers;
SELECT phone_number_id FROM whatsapp.numbers;
SELECT whatsapp.set_access_token('1001', 'mine');
SELECT * FROM whatsapp.handle_webhook('GET', '', NULL, NULL);
SELECT * FROM whatsapp.claim(1);
RESET SESSION AUTHORIZATION;
INSERT INTO whatsapp.outbox (recipient, body, idempotency_key, send_after) VALUES ('15550000001', 'of the owner', 'b', now() + '1 hour');
SET SESSION AUTHORIZATION regress_whatsapp_sender;
SELECT whatsapp.send_text('15551234567', 'Hello', idempotency_key => 'b');
RESET SESSION AUTHORIZATION;

-- reader: see all but secrets, change nothing
CREATE FUNCTION pg_temp.try_all(OUT relation text, OUT says text) RETURNS SETOF record
LANGUAGE plpgsql
AS $$
BEGIN
	FOR relation IN
		SELECT c.oid::regclass FROM pg_class c
		WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'v')
		ORDER BY c.relname COLLATE "C"
	LOOP
		BEGIN
			EXECUTE format('SELECT count(*) FROM (SELECT * FROM %s) x', relation);
			CONTINUE;
		EXCEPTION WHEN OTHERS THEN
			says := SQLERRM;
		END;
		RETURN NEXT;
	END LOOP;
END $$;
SET SESSION AUTHORIZATION regress_whatsapp_reader;
SELECT * FROM pg_temp.try_all();
SELECT body FROM whatsapp.outbox ORDER BY id;
SELECT body FROM whatsapp.messages;
SELECT contact_key, last_words, unread FROM whatsapp.conversations;
SELECT wa_id FROM whatsapp.contacts;
SELECT words FROM whatsapp.conversation('1001', '15551234567');
SELECT (whatsapp.contact_of(m)).wa_id FROM whatsapp.messages m;
SELECT allowed FROM whatsapp.can_send('15551234567');
SELECT phone_number_id, queued FROM whatsapp.sender_status;
UPDATE whatsapp.contacts SET name = 'x';
UPDATE whatsapp.numbers SET state = 'paused';
DELETE FROM whatsapp.messages;
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15551234567', 'x');
SELECT whatsapp.cancel(1);
SELECT whatsapp.send_text('15551234567', 'x');
SELECT whatsapp.pause_number('1001');
SELECT whatsapp.opt_out('1001', '15551234567');
SELECT * FROM whatsapp.forget('1001', '15551234567');
SELECT whatsapp.secret_value('literal', 'x', NULL);
SELECT whatsapp.appsecret_proof('1001', '');
SELECT s.secret_id FROM whatsapp.secrets s;
RESET SESSION AUTHORIZATION;

-- admin: all, but for the secrets themselves and who has access
SET SESSION AUTHORIZATION regress_whatsapp_admin;
SELECT * FROM pg_temp.try_all();
SELECT kind, phone_number_id, source, name, valid_until FROM whatsapp.secrets ORDER BY secret_id;
SELECT value FROM whatsapp.secrets;
SELECT s FROM whatsapp.secrets s;
SELECT count(value) FROM whatsapp.secrets;
SELECT secret_id FROM whatsapp.secrets WHERE value LIKE 't%';
SELECT secret_id FROM whatsapp.secrets ORDER BY value;
UPDATE whatsapp.secrets SET valid_until = now() WHERE value LIKE 't%';
UPDATE whatsapp.secrets SET valid_until = now() RETURNING value;
UPDATE whatsapp.secrets SET value = 'mine';
DELETE FROM whatsapp.secrets RETURNING *;
COPY whatsapp.secrets TO STDOUT;
INSERT INTO whatsapp.secrets (kind, value) VALUES ('app_secret', 'mine');
SELECT * FROM whatsapp.valid_secrets;
SELECT whatsapp.secret_value('file', NULL, 'x');
SELECT whatsapp.secret_complaint('file', 'x');
SELECT whatsapp.set_secret('app_secret', 'mine', NULL, 'literal', NULL);
SELECT * FROM whatsapp.claim(1);
SELECT whatsapp.record('{}', '{}', '{}', '{}', '{}', '{}', '{}');
INSERT INTO whatsapp.number_roles VALUES ('regress_whatsapp_nobody', '*');
INSERT INTO whatsapp.role_levels VALUES ('regress_whatsapp_nobody', 'admin');
UPDATE whatsapp.installation SET id = gen_random_uuid();
UPDATE whatsapp.numbers SET armed_in = NULL;
TRUNCATE whatsapp.messages;
SELECT whatsapp.grant_access('regress_whatsapp_nobody', 'reader');
SELECT whatsapp.revoke_access('regress_whatsapp_web');
SELECT whatsapp.finish_update();
CREATE TRIGGER mine AFTER INSERT ON whatsapp.messages FOR EACH ROW EXECUTE FUNCTION whatsapp.outbox_queued();

-- what it is for
SELECT whatsapp.add_number('1002', waba_id => '1', access_token => 'token-of-two', app_secret => 'secret-of-two', verify_token => 'another'),
	whatsapp.set_access_token('1002', 'token-of-three'), whatsapp.set_app_secret('secret-for-all'), whatsapp.set_verify_token('third');
UPDATE whatsapp.secrets SET valid_until = now() + '1 hour' WHERE kind = 'verify_token' AND phone_number_id IS NULL;
DELETE FROM whatsapp.secrets WHERE kind = 'verify_token' AND phone_number_id = '1002';
SELECT kind, phone_number_id, valid_until > now() AS ends FROM whatsapp.secrets ORDER BY secret_id;
UPDATE whatsapp.numbers SET messages_per_second = 20, appsecret_proof = true WHERE phone_number_id = '1002';
SELECT whatsapp.pause_number('1002', 'lunch'), whatsapp.resume_number('1002');
SELECT whatsapp.cancel(1);
SELECT whatsapp.retry(1);
SELECT messages FROM whatsapp.ingest_unsigned(replace(convert_from(:'body', 'UTF8'), '"m1"', '"m2"')::jsonb);
SELECT count(*) FROM whatsapp.replay(true);
UPDATE whatsapp.contacts SET name = 'Ada';
SELECT whatsapp.opt_out('1001', '15551234567'), whatsapp.mark_conversation_read('1001', '15551234567');
SELECT name, opted_out FROM whatsapp.contacts;
INSERT INTO whatsapp.error_classes (code, class, meaning) VALUES (777, 'retry', 'try again');
UPDATE whatsapp.error_classes SET class = 'retry_few' WHERE code = 777;
DELETE FROM whatsapp.error_classes WHERE code = 777;
UPDATE whatsapp.outbox SET priority = 1 WHERE id = 1;
UPDATE whatsapp.outbox SET state = 'unknown' WHERE id = 1;
SELECT whatsapp.resolve(1, 'sent', 'wamid.found');
SELECT body, outbox_id FROM whatsapp.messages WHERE message_id = 'wamid.found';
INSERT INTO whatsapp.holds (phone_number_id, kind, key) VALUES ('1001', 'number', 'hold_number');
SELECT whatsapp.release_hold('1001', 'number', 'hold_number');
SELECT table_name, removed FROM whatsapp.forget('1001', '15551234567') WHERE removed > 0 ORDER BY 1;
DELETE FROM whatsapp.numbers WHERE phone_number_id = '1002';
RESET SESSION AUTHORIZATION;

-- hooks run as the owner: an admin's own must not, or they could read secrets
CREATE SCHEMA regress_whatsapp AUTHORIZATION regress_whatsapp_admin;
-- (it may not even use the type of their argument)
GRANT USAGE ON TYPE whatsapp.messages TO regress_whatsapp_admin;
SET SESSION AUTHORIZATION regress_whatsapp_admin;
CREATE TABLE regress_whatsapp.seen (what text, who name);
CREATE FUNCTION regress_whatsapp.spy(m whatsapp.messages) RETURNS void
LANGUAGE sql AS $$ INSERT INTO regress_whatsapp.seen SELECT s.value, current_user FROM whatsapp.secrets s $$;
RESET SESSION AUTHORIZATION;
REVOKE USAGE ON TYPE whatsapp.messages FROM regress_whatsapp_admin;
SET SESSION AUTHORIZATION regress_whatsapp_admin;
SELECT whatsapp.add_hook('message', 'regress_whatsapp.spy');
INSERT INTO whatsapp.hooks (event, function) VALUES ('message', 'regress_whatsapp.spy');
SELECT messages, error FROM whatsapp.ingest_unsigned(convert_from(:'body', 'UTF8')::jsonb);
-- (triggers that it defers would be the owner's)
ALTER FUNCTION regress_whatsapp.spy(whatsapp.messages) SECURITY DEFINER;
SELECT messages, error FROM whatsapp.ingest_unsigned(convert_from(:'body', 'UTF8')::jsonb);
TABLE regress_whatsapp.seen;
RESET SESSION AUTHORIZATION;
-- one that the owner has looked at may be, whoever adds it
ALTER FUNCTION regress_whatsapp.spy(whatsapp.messages) OWNER TO CURRENT_USER;
CREATE OR REPLACE FUNCTION regress_whatsapp.spy(m whatsapp.messages) RETURNS void
LANGUAGE sql AS $$ INSERT INTO regress_whatsapp.seen SELECT m.body, current_user $$;
SET SESSION AUTHORIZATION regress_whatsapp_admin;
SELECT messages, error FROM whatsapp.ingest_unsigned(convert_from(:'body', 'UTF8')::jsonb);
SELECT what, who = current_user AS is_own FROM regress_whatsapp.seen;
CREATE OR REPLACE FUNCTION regress_whatsapp.spy(m whatsapp.messages) RETURNS void
LANGUAGE sql AS $$ INSERT INTO regress_whatsapp.seen SELECT s.value, current_user FROM whatsapp.secrets s $$;
-- nor one that takes any row, when the right one is gone
DROP FUNCTION regress_whatsapp.spy(whatsapp.messages);
CREATE FUNCTION regress_whatsapp.spy(m anyelement) RETURNS void
LANGUAGE sql AS $$ INSERT INTO regress_whatsapp.seen SELECT s.value, current_user FROM whatsapp.secrets s $$;
SELECT messages, error FROM whatsapp.ingest_unsigned(replace(convert_from(:'body', 'UTF8'), '"m1"', '"m3"')::jsonb);
SELECT count(*) FROM regress_whatsapp.seen;
SELECT whatsapp.remove_hook('message', 'regress_whatsapp.spy');
RESET SESSION AUTHORIZATION;

-- revoked, all is as before; and what another level has stays
SELECT whatsapp.grant_access('regress_whatsapp_sender', 'reader');
SELECT whatsapp.revoke_access('regress_whatsapp_sender', 'reader');
SELECT level FROM whatsapp.role_levels WHERE role_name = 'regress_whatsapp_sender';
CREATE ROLE regress_whatsapp_sender2;
SELECT whatsapp.grant_access('regress_whatsapp_sender2', 'sender');
SELECT * FROM pg_temp.rights('regress_whatsapp_sender') EXCEPT SELECT * FROM pg_temp.rights('regress_whatsapp_sender2');
SELECT * FROM pg_temp.rights('regress_whatsapp_sender2') EXCEPT SELECT * FROM pg_temp.rights('regress_whatsapp_sender');
SELECT whatsapp.revoke_access(r) FROM unnest('{regress_whatsapp_web, regress_whatsapp_sender, regress_whatsapp_sender2, regress_whatsapp_reader, regress_whatsapp_admin}'::name[]) r;
SELECT r, pg_temp.rights(r) FROM unnest('{regress_whatsapp_web, regress_whatsapp_sender, regress_whatsapp_sender2, regress_whatsapp_reader, regress_whatsapp_admin}'::name[]) r;
SELECT count(*) FROM whatsapp.role_levels;
SELECT count(*) FROM whatsapp.number_roles;

-- numbers that were taken away do not come back as all of them
SELECT whatsapp.grant_access('regress_whatsapp_reader', 'reader', '{1001}'), whatsapp.grant_access('regress_whatsapp_reader', 'sender');
DELETE FROM whatsapp.number_roles WHERE role_name = 'regress_whatsapp_reader';
SELECT whatsapp.revoke_access('regress_whatsapp_reader', 'sender');
SELECT whatsapp.grant_access('regress_whatsapp_reader', 'sender');
SELECT whatsapp.finish_update();
TABLE whatsapp.number_roles;
SELECT whatsapp.revoke_access('regress_whatsapp_reader');

-- another role of the same name is another role
SELECT whatsapp.grant_access('regress_whatsapp_nobody', 'admin');
DROP OWNED BY regress_whatsapp_nobody;
DROP ROLE regress_whatsapp_nobody;
CREATE ROLE regress_whatsapp_nobody;
SELECT whatsapp.finish_update();
SELECT whatsapp.revoke_access('regress_whatsapp_nobody', 'sender');
SELECT * FROM pg_temp.rights('regress_whatsapp_nobody');
TABLE whatsapp.role_levels;
TABLE whatsapp.number_roles;

-- who has been allowed to read everything still reads no secret
SELECT whatsapp.grant_access('regress_whatsapp_nobody', 'admin');
GRANT pg_read_all_data TO regress_whatsapp_nobody;
SET SESSION AUTHORIZATION regress_whatsapp_nobody;
SELECT count(*) FROM whatsapp.messages;
SELECT count(value) FROM whatsapp.secrets;
RESET SESSION AUTHORIZATION;
REVOKE pg_read_all_data FROM regress_whatsapp_nobody;
SELECT whatsapp.revoke_access('regress_whatsapp_nobody');

-- who owns the schema, and nothing in it, has no code run as who owns the rest
SELECT whatsapp.grant_access('regress_whatsapp_nobody', 'admin');
ALTER SCHEMA whatsapp OWNER TO regress_whatsapp_nobody;
GRANT ALL ON SCHEMA regress_whatsapp TO regress_whatsapp_nobody;
GRANT USAGE ON TYPE whatsapp.messages TO regress_whatsapp_nobody;
SET SESSION AUTHORIZATION regress_whatsapp_nobody;
CREATE FUNCTION regress_whatsapp.theirs(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$ INSERT INTO regress_whatsapp.seen VALUES (m.body) $$;
SELECT whatsapp.add_hook('message', 'regress_whatsapp.theirs');
INSERT INTO whatsapp.hooks (event, function) VALUES ('message', 'regress_whatsapp.theirs');
SELECT messages, error FROM whatsapp.ingest_unsigned(replace(convert_from(:'body', 'UTF8'), '"m1"', '"m4"')::jsonb);
SELECT whatsapp.remove_hook('message', 'regress_whatsapp.theirs');
RESET SESSION AUTHORIZATION;
DROP FUNCTION regress_whatsapp.theirs;
REVOKE USAGE ON TYPE whatsapp.messages FROM regress_whatsapp_nobody;
REVOKE ALL ON SCHEMA regress_whatsapp FROM regress_whatsapp_nobody;
ALTER SCHEMA whatsapp OWNER TO CURRENT_USER;
SELECT whatsapp.revoke_access('regress_whatsapp_nobody');

-- what is wrong is said
SELECT whatsapp.revoke_access('regress_whatsapp_reader', 'Admin');
SELECT whatsapp.grant_access('regress_whatsapp_web', 'webhook', '{1001}');
SELECT whatsapp.grant_access('regress_whatsapp_gone', 'reader');
SELECT whatsapp.grant_access('regress_whatsapp_reader', 'root');
SELECT whatsapp.grant_access('regress_whatsapp_reader', NULL);
SELECT whatsapp.grant_access('regress_whatsapp_reader', 'admin', '{1001}');
SELECT whatsapp.grant_access('regress_whatsapp_admin', 'admin');
INSERT INTO whatsapp.number_roles VALUES ('regress_whatsapp_admin', '1001');
SELECT whatsapp.revoke_access('regress_whatsapp_gone');

DROP EXTENSION whatsapp CASCADE;

-- what would be granted by default is not
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_whatsapp_nobody;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO regress_whatsapp_nobody;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO regress_whatsapp_nobody;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO regress_whatsapp_nobody;
CREATE EXTENSION whatsapp;
SELECT * FROM pg_temp.rights('regress_whatsapp_nobody');
DROP EXTENSION whatsapp;
DROP OWNED BY regress_whatsapp_nobody;
DROP OWNED BY regress_whatsapp_admin CASCADE;
DROP ROLE regress_whatsapp_web, regress_whatsapp_sender, regress_whatsapp_sender2, regress_whatsapp_reader, regress_whatsapp_admin, regress_whatsapp_nobody;
