-- Whatever there is in front of it, the extension calls what it means: functions,
-- operators, types, casts and tables of the same names, in a schema that is
-- searched before PostgreSQL's own, and as temporary objects.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA evil;
CREATE ROLE regress_whatsapp_web;
CREATE ROLE regress_whatsapp_admin;
GRANT USAGE, CREATE ON SCHEMA evil TO PUBLIC;
CREATE TABLE evil.log (what text, who name DEFAULT current_user);
GRANT INSERT, SELECT ON evil.log TO PUBLIC;

-- One for each function and operator of PostgreSQL's over types that are in use.
-- They note that they were called, in a way that survives an error.
CREATE FUNCTION evil.note(what pg_catalog.text) RETURNS void
LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil % was called', what; END $$;
DO $$
DECLARE
	used CONSTANT pg_catalog.regtype[] := '{text,name,jsonb,int4,int8,float8,numeric,bool,bytea,timestamptz,interval,uuid,oid,regclass,regtype,text[],int4[],int8[],jsonb[],timestamp,char,"char"}';
	f record;
	n integer := 0;
BEGIN
	FOR f IN
		SELECT p.proname, pg_catalog.oidvectortypes(p.proargtypes) AS arguments, p.prorettype::pg_catalog.regtype AS result
		FROM pg_catalog.pg_proc p
		WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.provariadic = 0
			AND p.proargtypes::pg_catalog.oid[] <@ used::pg_catalog.oid[] AND p.prorettype = ANY (used::pg_catalog.oid[])
			AND pg_catalog.cardinality(p.proargtypes::pg_catalog.oid[]) BETWEEN 0 AND 4
			-- what psql and pg_regress call, or we here
			AND p.proname NOT IN ('version')
	LOOP
		EXECUTE pg_catalog.format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', f.proname, f.arguments, f.result,
			'BEGIN PERFORM evil.note(' || pg_catalog.quote_literal(f.proname) || '); RETURN NULL; END');
		n := n + 1;
	END LOOP;
	FOR f IN
		SELECT o.oprname, o.oprleft::pg_catalog.regtype AS l, o.oprright::pg_catalog.regtype AS r, o.oprresult::pg_catalog.regtype AS result,
			pg_catalog.row_number() OVER () AS nth
		FROM pg_catalog.pg_operator o
		WHERE o.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace AND o.oprkind = 'b'
			AND o.oprleft = ANY (used::pg_catalog.oid[]) AND o.oprright = ANY (used::pg_catalog.oid[]) AND o.oprresult = ANY (used::pg_catalog.oid[])
	LOOP
		EXECUTE pg_catalog.format('CREATE FUNCTION evil.operator_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', f.nth, f.l, f.r, f.result,
			'BEGIN PERFORM evil.note(' || pg_catalog.quote_literal(f.oprname) || '); RETURN NULL; END');
		EXECUTE pg_catalog.format('CREATE OPERATOR evil.%s (FUNCTION = evil.operator_%s, LEFTARG = %s, RIGHTARG = %s)', f.oprname, f.nth, f.l, f.r);
		n := n + 1;
	END LOOP;
	IF n < 1000 THEN
		RAISE EXCEPTION 'only % of them', n;
	END IF;
END $$;
-- types and casts
CREATE TYPE evil.text AS (a pg_catalog.int4);
CREATE TYPE evil.jsonb AS (a pg_catalog.int4);
CREATE TYPE evil.timestamptz AS (a pg_catalog.int4);
CREATE DOMAIN evil.uuid AS pg_catalog.text;
CREATE FUNCTION evil.to_own(pg_catalog.text) RETURNS evil.jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note('cast'); RETURN NULL; END $$;
CREATE CAST (pg_catalog.text AS evil.jsonb) WITH FUNCTION evil.to_own(pg_catalog.text) AS IMPLICIT;
-- tables and a catalog
CREATE TABLE evil.secrets (kind pg_catalog.text, value pg_catalog.text);
CREATE TABLE evil.pg_roles (oid pg_catalog.oid, rolname pg_catalog.name);
CREATE TABLE evil.pg_proc (oid pg_catalog.oid);
GRANT ALL ON ALL TABLES IN SCHEMA evil TO PUBLIC;

-- They do get called by who does not look out
SET search_path = evil, pg_catalog;
SELECT lower('X'::pg_catalog.text);
SELECT 'a'::pg_catalog.text = 'a'::pg_catalog.text;

-- Installed with all of that in front; and nothing that is there is taken over
CREATE TABLE evil.numbers (phone_number_id pg_catalog.text);
CREATE EXTENSION whatsapp;
SHOW search_path;
SELECT DISTINCT n.nspname OPERATOR(pg_catalog.=) 'whatsapp' AS is_ours
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid AND d.refclassid OPERATOR(pg_catalog.=) 'pg_extension'::pg_catalog.regclass
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid AND d.classid OPERATOR(pg_catalog.=) 'pg_class'::pg_catalog.regclass
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE d.deptype OPERATOR(pg_catalog.=) 'e' AND e.extname OPERATOR(pg_catalog.=) 'whatsapp';

-- The owner, with all of that in front
SELECT whatsapp.grant_access('regress_whatsapp_web', 'webhook'), whatsapp.grant_access('regress_whatsapp_admin', 'admin');
SELECT whatsapp.add_number('1001', waba_id => '1', access_token => 'token-of-one', app_secret => 'secret-of-one', verify_token => 'word');
\set body '''{"entry":[{"id":"1","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1001"},"contacts":[{"wa_id":"15551234567","profile":{"name":"Ada"}}],"messages":[{"id":"m1","from":"15551234567","timestamp":"1750101000","type":"text","text":{"body":"Hi!"}}],"statuses":[{"id":"out","status":"delivered","timestamp":"1750101000","recipient_id":"15551234567"}]}}]}]}'''
SELECT whatsapp.sign(:body, 'secret-of-one') AS signature \gset

-- Everybody else
SET SESSION AUTHORIZATION regress_whatsapp_web;
SET search_path = evil, pg_temp, pg_catalog;
CREATE TEMPORARY TABLE messages (phone_number_id pg_catalog.text);
CREATE TEMPORARY TABLE secrets (kind pg_catalog.text, value pg_catalog.text);
CREATE TEMPORARY TABLE pg_class (oid pg_catalog.oid);
SELECT whatsapp.verify_webhook('subscribe', 'word', '1158201444');
SELECT messages, statuses, events, duplicates, parked FROM whatsapp.ingest(:body, :'signature');
SELECT messages, duplicates FROM whatsapp.ingest_batch(ARRAY[:body, 'x']::pg_catalog.bytea[], ARRAY[:'signature', 'y']);
SELECT * FROM whatsapp.handle_webhook('POST', NULL, :'signature', :body);
SELECT * FROM whatsapp.handle_webhook('GET', 'hub.mode=subscribe&hub.verify_token=word&hub.challenge=1', NULL, NULL);
RESET SESSION AUTHORIZATION;

SET SESSION AUTHORIZATION regress_whatsapp_admin;
SELECT whatsapp.send_text('15551234567', 'Hello', send_after => '2100-01-01') AS id \gset
INSERT INTO whatsapp.outbox (recipient, body, send_after) VALUES ('15551234567', 'again', '2100-01-01');
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('nobody', 'again');
SELECT whatsapp.cancel(:id);
SELECT whatsapp.retry(:id);
SELECT whatsapp.set_access_token('1001', 'token-of-two'), whatsapp.set_app_secret('secret'), whatsapp.set_verify_token('x'), whatsapp.add_number('1002');
SELECT whatsapp.pause_number('1002'), whatsapp.resume_number('1002');
SELECT messages, duplicates FROM whatsapp.ingest_unsigned(:body);
SELECT messages FROM whatsapp.replay(true);
SELECT whatsapp.opt_out('1001', '15551234567'), whatsapp.mark_conversation_read('1001', '15551234567');
SELECT name, opted_out FROM whatsapp.contacts;
SELECT last_words FROM whatsapp.conversations;
SELECT words FROM whatsapp.conversation('1001', '15551234567');
SELECT allowed FROM whatsapp.can_send('15551234567', '1001');
SELECT phone_number_id FROM whatsapp.sender_status ORDER BY 1;
UPDATE whatsapp.contacts SET name = 'Bo' WHERE wa_id OPERATOR(pg_catalog.=) '15551234567';
INSERT INTO whatsapp.error_classes (code, class, meaning) VALUES (777, 'retry', 'try again');
SELECT table_name, removed FROM whatsapp.forget('1001', '15551234567') WHERE removed OPERATOR(pg_catalog.>) 0 ORDER BY 1;
RESET SESSION AUTHORIZATION;

-- What the background worker does
SET search_path = evil, pg_temp, pg_catalog;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551234567', 'to be sent');
SELECT what, body IS NOT NULL AS has_body, access_token IS NOT NULL AS has_token FROM whatsapp.claim(10);
SELECT * FROM whatsapp.record(ARRAY(SELECT o.id FROM whatsapp.outbox o WHERE o.state OPERATOR(pg_catalog.=) 'sending'),
	ARRAY(SELECT o.nonce FROM whatsapp.outbox o WHERE o.state OPERATOR(pg_catalog.=) 'sending'), '{answered}', '{200}', ARRAY['{"messages":[{"id":"wamid.1"}]}'::pg_catalog.jsonb],
	'{NULL}', '{0}');
SELECT what FROM whatsapp.tend(10);
SELECT * FROM whatsapp.audit(10, NULL, NULL);
SELECT whatsapp.settle_evidence(), whatsapp.release_interrupted('{}'), whatsapp.count_rows();
SELECT state FROM whatsapp.outbox WHERE body OPERATOR(pg_catalog.=) 'to be sent';
SELECT whatsapp.finish_update();
SELECT whatsapp.revoke_access('regress_whatsapp_web'), whatsapp.revoke_access('regress_whatsapp_admin');

RESET search_path;
SELECT count(*) FROM evil.secrets;
DROP EXTENSION whatsapp CASCADE;
DROP SCHEMA evil CASCADE;
DROP OWNED BY regress_whatsapp_web, regress_whatsapp_admin CASCADE;
DROP ROLE regress_whatsapp_web, regress_whatsapp_admin;
