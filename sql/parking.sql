-- What a table or a hook objects to is set aside, element by element, and filed
-- when that can be done.
SET client_min_messages = warning;
SET timezone = 'UTC';
\set SHOW_CONTEXT never
\pset format unaligned
\getenv abs_srcdir PG_ABS_SRCDIR
CREATE EXTENSION whatsapp;
SELECT whatsapp.set_app_secret('secret');
CREATE SCHEMA app;

CREATE FUNCTION app.fixture(dir text, name text) RETURNS jsonb
LANGUAGE sql
RETURN convert_from(pg_read_binary_file(dir || '/test/webhooks/' || name || '.json'), 'UTF8')::jsonb;
CREATE FUNCTION app.webhook(value jsonb) RETURNS jsonb
LANGUAGE sql
RETURN jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object(
	'id', '5', 'time', 1750101000, 'changes', jsonb_build_array(jsonb_build_object('field', 'messages', 'value',
		'{"messaging_product":"whatsapp","metadata":{"phone_number_id":"1"}}' || value)))));

-- messages from Ada to Eve
CREATE FUNCTION app.five() RETURNS jsonb
LANGUAGE sql
RETURN app.webhook(jsonb_build_object('messages', (
	SELECT jsonb_agg(jsonb_build_object('id', name, 'from', '1555010770' || ord, 'timestamp', 1750101000 + ord, 'type', 'text', 'text', jsonb_build_object('body', name)) ORDER BY ord)
	FROM unnest(ARRAY['Ada', 'Bo', 'Cy', 'Di', 'Eve']) WITH ORDINALITY m (name, ord))));

-- all that webhooks have made, without the time at which it was made
CREATE FUNCTION app.rows() RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['correspondents', 'contact_sightings', 'contact_changes', 'messages', 'reactions', 'media', 'statuses', 'call_events',
		'groups', 'group_participants', 'templates', 'user_preferences', 'events'] LOOP
		RETURN QUERY EXECUTE format('SELECT concat_ws('' '', %L, jsonb_strip_nulls(to_jsonb(t) - ''received_at'')) FROM whatsapp.%I t', name, name);
	END LOOP;
END $$;
CREATE FUNCTION app.empty() RETURNS void
LANGUAGE sql AS $$
	TRUNCATE whatsapp.correspondents, whatsapp.contact_sightings, whatsapp.contact_changes, whatsapp.messages, whatsapp.reactions, whatsapp.media, whatsapp.statuses, whatsapp.call_events,
		whatsapp.groups, whatsapp.group_participants, whatsapp.templates, whatsapp.user_preferences, whatsapp.events, whatsapp.webhooks $$;

-- what ingest() says, without what is 0
CREATE FUNCTION app.words(r whatsapp.ingest_result) RETURNS text
LANGUAGE sql
RETURN (SELECT string_agg(c.key || ' ' || c.value, ', ' ORDER BY c.ord)
	FROM json_each_text(row_to_json(r)) WITH ORDINALITY c (key, value, ord)
	WHERE c.key NOT IN ('ord', 'http_status') AND c.value <> '0');

-- remember how it is if all goes well, and compare
CREATE TABLE app.whole (line text);
CREATE FUNCTION app.file_whole(document jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM app.empty();
	PERFORM whatsapp.ingest_unsigned(document);
	DELETE FROM app.whole;
	INSERT INTO app.whole SELECT r FROM app.rows() r;
	PERFORM app.empty();
END $$;
CREATE FUNCTION app.differences() RETURNS SETOF text
LANGUAGE sql
AS $$
	SELECT d.line
	FROM ((SELECT 'lacks ' || w.line AS line FROM app.whole w EXCEPT SELECT 'lacks ' || r FROM app.rows() r)
		UNION ALL
		(SELECT 'has ' || r FROM app.rows() r EXCEPT SELECT 'has ' || w.line FROM app.whole w)) d
	ORDER BY d.line COLLATE "C" DESC $$;

-- a hook that objects to some messages
CREATE TABLE app.objections (message_id text, sqlstate text DEFAULT 'P0001');
CREATE FUNCTION app.object(m whatsapp.messages) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	code text := (SELECT o.sqlstate FROM app.objections o WHERE o.message_id = m.message_id);
BEGIN
	IF code IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = code, MESSAGE = format('%s is not wanted', m.message_id), HINT = 'Ask Ada.';
	END IF;
END $$;

-- a hook objects to one message of many: that is set aside, with the reason,
-- and the others are filed
SELECT app.file_whole(app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT whatsapp.add_hook('message', 'app.object');
INSERT INTO app.objections VALUES ('wamid.MANY_2');
SELECT * FROM whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT app.differences();
SELECT webhook_id = sha256(body) AS keyed, state, reason, sqlstate, hint FROM whatsapp.webhooks;
SELECT context FROM whatsapp.webhooks;
SELECT jsonb_pretty(convert_from(body, 'UTF8')::jsonb) FROM whatsapp.webhooks;

-- delivered again, while it still does
SELECT * FROM whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT state, reason FROM whatsapp.webhooks;
SELECT count(*) FROM app.differences();

-- replayed, while it still does
SELECT * FROM whatsapp.replay();
SELECT state, reason FROM whatsapp.webhooks;
SELECT count(*) FROM app.differences();

-- replayed when it does no more: then it is as if it never had
DELETE FROM app.objections;
SELECT * FROM whatsapp.replay();
SELECT state, reason FROM whatsapp.webhooks;
SELECT app.differences();
SELECT * FROM whatsapp.replay();
SELECT * FROM whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT state FROM whatsapp.webhooks;

-- likewise one that is there twice in a webhook; it is kept once
SELECT app.file_whole(app.fixture(:'abs_srcdir', 'batch'));
INSERT INTO app.objections VALUES ('wamid.B1');
SELECT * FROM whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', 'batch'));
SELECT state, reason, convert_from(body, 'UTF8') AS body FROM whatsapp.webhooks ORDER BY convert_from(body, 'UTF8') COLLATE "C";
DELETE FROM app.objections;
SELECT sum(messages) AS messages, sum(duplicates) AS duplicates, sum(parked) AS parked FROM whatsapp.replay();
SELECT app.differences();

-- delivered again when the hook has been mended: replay() finds nothing to do
SELECT app.empty();
INSERT INTO app.objections VALUES ('Bo');
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
DELETE FROM app.objections;
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
SELECT state FROM whatsapp.webhooks;
SELECT app.words(r) FROM whatsapp.replay() r;
SELECT state FROM whatsapp.webhooks;

-- two of five; one of them is mended first
SELECT app.file_whole(app.five());
INSERT INTO app.objections VALUES ('Bo', 'P0001'), ('Di', '22012');
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
SELECT message_id FROM whatsapp.messages ORDER BY message_id COLLATE "C";
SELECT state, reason, sqlstate, convert_from(body, 'UTF8')::jsonb #> '{entry,0,changes,0,value,messages}' AS messages FROM whatsapp.webhooks ORDER BY reason COLLATE "C";
DELETE FROM app.objections WHERE message_id = 'Bo';
SELECT sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay();
SELECT state, reason FROM whatsapp.webhooks ORDER BY reason COLLATE "C";
DELETE FROM app.objections;
SELECT app.words(r) FROM whatsapp.replay() r;
SELECT app.differences();

-- all of them
INSERT INTO app.objections SELECT unnest(ARRAY['Ada', 'Bo', 'Cy', 'Di', 'Eve']);
SELECT app.empty();
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
SELECT state, count(*) FROM whatsapp.webhooks GROUP BY state;
SELECT count(*) FROM app.rows();
DELETE FROM app.objections;
SELECT sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay();
SELECT app.differences();

-- in one of several webhooks that are filed in one call
SELECT app.empty();
INSERT INTO app.objections VALUES ('Bo');
SELECT array_agg(b) AS bodies, array_agg(whatsapp.sign(b, 'secret')) AS signatures
FROM (VALUES (convert_to(app.webhook('{"messages":{"id":"before"}}')::text, 'UTF8')), (convert_to(app.five()::text, 'UTF8')), ('no json'),
	(convert_to(app.webhook('{"messages":{"id":"after"}}')::text, 'UTF8'))) v (b) \gset
SELECT * FROM whatsapp.ingest_batch(:'bodies', :'signatures');
SELECT state, reason FROM whatsapp.webhooks ORDER BY state;

-- what is unreadable stays so
DELETE FROM app.objections;
SELECT * FROM whatsapp.replay();
SELECT state, reason FROM whatsapp.webhooks ORDER BY state;

-- a message of a history: what its thread tells is kept with it
SELECT app.file_whole(app.fixture(:'abs_srcdir', 'history_chunk'));
INSERT INTO app.objections VALUES ('wamid.HISTORY_1'), ('wamid.HISTORY_9');
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', 'history_chunk')) r;
SELECT jsonb_pretty(convert_from(body, 'UTF8')::jsonb) FROM whatsapp.webhooks ORDER BY convert_from(body, 'UTF8') COLLATE "C";
DELETE FROM app.objections;
SELECT app.words(r) FROM whatsapp.replay() r;
SELECT message_id, direction, wa_id, user_id, status FROM whatsapp.messages WHERE message_id IN ('wamid.HISTORY_1', 'wamid.HISTORY_9') ORDER BY 1;
SELECT app.differences();
SELECT whatsapp.remove_hook('message', 'app.object');

-- a hook that does not say in which schema its table is
CREATE FUNCTION app.unqualified(m whatsapp.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO objections VALUES (m.message_id);
END $$;
SELECT whatsapp.add_hook('message', 'app.unqualified');
SELECT app.empty();
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.webhook('{"messages":{"id":"1"}}')) r;
SELECT reason, sqlstate, hint FROM whatsapp.webhooks;
ALTER FUNCTION app.unqualified SET search_path = app;
SELECT app.words(r) FROM whatsapp.replay() r;
SELECT whatsapp.remove_hook('message', 'app.unqualified');
DELETE FROM app.objections;

-- a table that refuses something: what ingest() and replay() say, what is set
-- aside in between, and in what the rows differ then from those of the webhook
-- when nothing refuses it, which is in nothing
CREATE FUNCTION app.refuse(table_name text, what text, document jsonb, with_body boolean DEFAULT true) RETURNS SETOF text
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM app.file_whole(document);
	EXECUTE format('ALTER TABLE whatsapp.%I ADD CONSTRAINT refuse CHECK ((%s) IS NOT TRUE)', table_name, what);
	RETURN QUERY SELECT 'ingest: ' || app.words(r) FROM whatsapp.ingest_unsigned(document) r;
	RETURN QUERY SELECT w.state || coalesce(': ' || CASE WHEN with_body THEN convert_from(w.body, 'UTF8') END, '') FROM whatsapp.webhooks w ORDER BY convert_from(w.body, 'UTF8') COLLATE "C";
	EXECUTE format('ALTER TABLE whatsapp.%I DROP CONSTRAINT refuse', table_name);
	RETURN QUERY SELECT 'replay: ' || coalesce(app.words(r), 'nothing new') FROM whatsapp.replay() r ORDER BY app.words(r) COLLATE "C";
	RETURN QUERY SELECT d FROM app.differences() d;
	PERFORM app.empty();
END $$;
\pset tuples_only on
SELECT app.refuse('messages', $$message_id = 'wamid.MANY_2'$$, app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT app.refuse('statuses', $$message_id = 'wamid.OUT_MANY' AND status = 'read'$$, app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT app.refuse('messages', $$message_id = 'wamid.OUT_MANY_FAILED'$$, app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT app.refuse('reactions', $$emoji IS NOT NULL$$, app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT app.refuse('call_events', $$event = 'ACCEPTED'$$, app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT app.refuse('events', $$event = 'ACCOUNT_DELETED'$$, app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT app.refuse('events', $$event = '131000'$$, app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT app.refuse('templates', $$status = 'APPROVED'$$, app.fixture(:'abs_srcdir', 'many_of_all'));
SELECT app.refuse('media', $$media_id = '1003000000000102'$$, app.fixture(:'abs_srcdir', 'message_image'));
SELECT app.refuse('media', $$kind = 'audio'$$, app.fixture(:'abs_srcdir', 'call_recording'));
SELECT app.refuse('groups', $$subject = 'Book club'$$, app.fixture(:'abs_srcdir', 'group_create'));
SELECT app.refuse('groups', $$description IS NOT NULL$$, app.fixture(:'abs_srcdir', 'group_settings'));
SELECT app.refuse('group_participants', $$participant = '15550107701'$$, app.fixture(:'abs_srcdir', 'group_participants_add'));
SELECT app.refuse('group_participants', $$join_request_id = 'join-2'$$, app.fixture(:'abs_srcdir', 'group_join_request'));
SELECT app.refuse('user_preferences', $$value = 'resume'$$, app.fixture(:'abs_srcdir', 'user_preferences'));
SELECT app.refuse('messages', $$type = 'template'$$, app.fixture(:'abs_srcdir', 'standby_echoes'));

-- a contact is as new when it is replayed as it was when it came
SELECT app.refuse('correspondents', $$name = 'Zoë'$$, app.fixture(:'abs_srcdir', 'many_of_all'), false);
SELECT app.refuse('correspondents', $$username = 'zoe.m'$$, '{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{"field":"history","value":{"metadata":{"phone_number_id":"1"},
	"history":[{"threads":[{"id":"2","context":{"wa_id":"2","user_id":"US.2","username":"zoe.m"},"messages":[{"id":"told","from":"2","timestamp":"1750101000","type":"text","text":{"body":"then"}}]}]}]}}]}]}', false);

-- and so is what is told of a whole conversation
SELECT app.refuse('events', $$event = 'conversation_context'$$, app.fixture(:'abs_srcdir', 'many_of_all'), false);

-- what is left of a change, of an entry and of a webhook
SELECT app.refuse('events', $$field = 'messages'$$, app.webhook('{"messages":[{"id":"1"},{"id":"2"}],"of_mars":[3]}'));
SELECT app.refuse('events', $$element ? 'of_mars'$$, jsonb_set(app.five(), '{entry,0,of_mars}', '3'));
SELECT app.refuse('events', $$element ? 'of_mars'$$, jsonb_set(app.five(), '{of_mars}', '3'));

-- webhooks of other products of Meta
SELECT app.refuse('events', $$field = 'page'$$, app.fixture(:'abs_srcdir', 'foreign'));

-- where one object stands in place of a list
SELECT app.refuse('messages', $$message_id = 'only'$$,
	'{"object":"whatsapp_business_account","entry":{"id":"5","changes":{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"messages":{"id":"only"},"statuses":{"id":"sent","status":"sent"}}}}}');
\pset tuples_only off
DROP FUNCTION app.refuse;

-- elements of one webhook are filed in an order in which what they refer to is
-- there, also if one of them is refused
ALTER TABLE whatsapp.call_events ADD CONSTRAINT known FOREIGN KEY (phone_number_id, user_id) REFERENCES whatsapp.correspondents (phone_number_id, contact_key);
ALTER TABLE whatsapp.messages ADD CONSTRAINT refuse CHECK (message_id <> 'refused');
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.webhook('{"contacts":[{"user_id":"US.1"}],"calls":[{"id":"whole","event":"connect","from_user_id":"US.1"}]}')) r;
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.webhook('{"contacts":[{"user_id":"US.2"}],"calls":[{"id":"in parts","event":"connect","from_user_id":"US.2"}],"messages":[{"id":"refused"}]}')) r;
ALTER TABLE whatsapp.messages DROP CONSTRAINT refuse;
ALTER TABLE whatsapp.call_events DROP CONSTRAINT known;

-- constraints that wait for the end of the transaction: what they object to is
-- set aside at once, and the rest can be committed
SELECT app.empty();
CREATE TABLE app.people (wa_id text PRIMARY KEY);
INSERT INTO app.people VALUES ('15550107701'), ('15550107703'), ('15550107705');
ALTER TABLE whatsapp.messages ADD CONSTRAINT from_people FOREIGN KEY (wa_id) REFERENCES app.people DEFERRABLE INITIALLY DEFERRED;
BEGIN;
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
COMMIT;
SELECT message_id FROM whatsapp.messages ORDER BY message_id COLLATE "C";
SELECT state, sqlstate, convert_from(body, 'UTF8')::jsonb #>> '{entry,0,changes,0,value,messages,0,id}' AS message_id FROM whatsapp.webhooks ORDER BY 3;
INSERT INTO app.people VALUES ('15550107702'), ('15550107704');
SELECT app.words(r) FROM whatsapp.replay() r;
ALTER TABLE whatsapp.messages DROP CONSTRAINT from_people;

-- likewise triggers, where the error may also be one that passes
CREATE FUNCTION app.refuse() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
	IF new.message_id = ANY (TG_ARGV) THEN
		RAISE EXCEPTION USING ERRCODE = TG_ARGV[0], MESSAGE = 'refused in the end';
	END IF;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON whatsapp.messages DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION app.refuse('P0001', 'Cy');
SELECT app.empty();
BEGIN;
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
COMMIT;
SELECT count(*) FROM whatsapp.messages;
DROP TRIGGER refuse ON whatsapp.messages;
SELECT app.words(r) FROM whatsapp.replay() r;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON whatsapp.messages DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION app.refuse('40001', 'Cy');
SELECT app.empty();
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
SELECT count(*) FROM app.rows();
DROP TRIGGER refuse ON whatsapp.messages;

-- and on what a webhook supersedes, which goes to a table that it has no row for
CREATE FUNCTION app.keep_none() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'nothing is superseded here';
END $$;
CREATE CONSTRAINT TRIGGER keep_none AFTER INSERT ON whatsapp.events DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW WHEN (new.event = 'superseded') EXECUTE FUNCTION app.keep_none();
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.webhook('{"messages":[{"id":"1","timestamp":"1750101000"}]}')) r;
BEGIN;
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.webhook('{"messages":[{"id":"1","timestamp":"1750101001"}]}')) r;
COMMIT;
SELECT state, reason FROM whatsapp.webhooks;
DROP TRIGGER keep_none ON whatsapp.events;

-- of tables that hooks write to: fine if it is right when the hook returns
CREATE TABLE app.orders (id text PRIMARY KEY);
CREATE TABLE app.items (id text REFERENCES app.orders DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION app.order(m whatsapp.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO app.items VALUES (m.message_id);
	IF m.message_id <> 'Cy' THEN
		INSERT INTO app.orders VALUES (m.message_id);
	END IF;
END $$;
SELECT whatsapp.add_hook('message', 'app.order');
SELECT app.empty();
BEGIN;
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
COMMIT;
SELECT id FROM app.items ORDER BY id COLLATE "C";
SELECT reason, context FROM whatsapp.webhooks;
SELECT whatsapp.remove_hook('message', 'app.order');
SELECT app.words(r) FROM whatsapp.replay() r;

-- also after a hook has filed something by itself
CREATE FUNCTION app.forward(m whatsapp.messages) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	IF m.message_id = 'first' THEN
		PERFORM whatsapp.ingest_unsigned(app.webhook('{"messages":[{"id":"forwarded"}]}'));
	END IF;
END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON whatsapp.messages DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION app.refuse('P0001', 'second');
SELECT whatsapp.add_hook('message', 'app.forward');
SELECT app.empty();
SELECT array_agg(b) AS bodies, array_agg(whatsapp.sign(b, 'secret')) AS signatures
FROM (SELECT convert_to(app.webhook(format('{"messages":[{"id":"%s"}]}', id)::jsonb)::text, 'UTF8') FROM unnest(ARRAY['first', 'second']) id) u (b) \gset
SELECT app.words(r) FROM whatsapp.ingest_batch(:'bodies', :'signatures') r;
SELECT message_id FROM whatsapp.messages ORDER BY message_id COLLATE "C";
SELECT whatsapp.remove_hook('message', 'app.forward');
DROP TRIGGER refuse ON whatsapp.messages;

-- what the transaction has done before is not the webhook's to answer for
CREATE FUNCTION app.nothing(m whatsapp.messages) RETURNS void LANGUAGE sql AS '';
SELECT whatsapp.add_hook('message', 'app.nothing');
SELECT app.empty();
BEGIN;
INSERT INTO app.items VALUES ('its order is yet to come');
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
INSERT INTO app.orders VALUES ('its order is yet to come');
COMMIT;
SELECT app.words(r) FROM whatsapp.replay() r;

-- nor is what it does after that checked at another time
CREATE TABLE app.tickets (id text UNIQUE DEFERRABLE INITIALLY IMMEDIATE);
BEGIN;
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.webhook('{"messages":[{"id":"beside a ticket"}]}')) r;
INSERT INTO app.tickets VALUES ('once'), ('once');
SELECT 'it goes on' AS wrongly;
ROLLBACK;
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.webhook('{"messages":[{"id":"beside an item"}]}')) r;
INSERT INTO app.items VALUES ('there is no such order');
SELECT 'it goes on' AS wrongly;
ROLLBACK;
SELECT whatsapp.remove_hook('message', 'app.nothing');

-- trouble that will pass is raised, and nothing is written
SELECT app.empty();
SELECT whatsapp.add_hook('message', 'app.object');
SELECT convert_to(app.five()::text, 'UTF8') AS body \gset
SELECT whatsapp.sign(:'body', 'secret') AS signature \gset
INSERT INTO app.objections VALUES ('Cy', '40001');
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
\set VERBOSITY sqlstate
SELECT app.words(r) FROM whatsapp.ingest_unsigned(app.five()) r;
SELECT app.words(r) FROM whatsapp.ingest(:'body', :'signature') r;
SELECT app.words(r) FROM whatsapp.ingest_batch(ARRAY[:'body'::bytea], ARRAY[:'signature']) r;
SELECT * FROM whatsapp.handle_webhook('POST', '', :'signature', :'body');
UPDATE app.objections SET sqlstate = '40P01';
SELECT * FROM whatsapp.handle_webhook('POST', '', :'signature', :'body');
UPDATE app.objections SET sqlstate = '53100';
SELECT * FROM whatsapp.handle_webhook('POST', '', :'signature', :'body');
UPDATE app.objections SET sqlstate = '57014';
SELECT * FROM whatsapp.handle_webhook('POST', '', :'signature', :'body');
UPDATE app.objections SET sqlstate = '25006';
SELECT * FROM whatsapp.handle_webhook('POST', '', :'signature', :'body');
UPDATE app.objections SET sqlstate = '58030';
SELECT * FROM whatsapp.handle_webhook('POST', '', :'signature', :'body');
UPDATE app.objections SET sqlstate = '55P03';
SELECT * FROM whatsapp.handle_webhook('POST', '', :'signature', :'body');
SELECT count(*) AS rows, (SELECT count(*) FROM whatsapp.webhooks) AS webhooks FROM app.rows();

-- also where something else was refused before
INSERT INTO app.objections VALUES ('Ada');
SELECT * FROM whatsapp.handle_webhook('POST', '', :'signature', :'body');
SELECT count(*) AS rows, (SELECT count(*) FROM whatsapp.webhooks) AS webhooks FROM app.rows();

-- and by replay(), which then has done nothing either
UPDATE app.objections SET sqlstate = 'P0001';
SELECT * FROM whatsapp.handle_webhook('POST', '', :'signature', :'body');
UPDATE app.objections SET sqlstate = '55P03' WHERE message_id = 'Cy';
SELECT * FROM whatsapp.replay();
SELECT state, sqlstate FROM whatsapp.webhooks;
DELETE FROM app.objections;
SELECT sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay();
\set VERBOSITY default

-- what is kept of an error does not have the caller's statement, in which there
-- may be secrets
SELECT app.empty();
INSERT INTO app.objections VALUES ('Cy');
DO $$ BEGIN PERFORM 'a secret', whatsapp.ingest_unsigned(app.five()); END $$;
SELECT state, context LIKE '%app.object%' AS has_hook, context LIKE '%a secret%' AS has_statement FROM whatsapp.webhooks;
DELETE FROM app.objections;
SELECT sum(messages) AS messages, sum(parked) AS parked FROM whatsapp.replay();

-- with all webhooks in the archive, one that is refused as a whole is there once
-- more; one that is the same byte for byte is there once
SET whatsapp.archive = 'all';
SELECT app.empty();
INSERT INTO app.objections VALUES ('only'), ('Bo');
SELECT convert_to(app.webhook('{"messages":[{"id":"only"}]}')::text, 'UTF8') AS only \gset
SELECT app.words(r) FROM whatsapp.ingest(:'only', whatsapp.sign(:'only', 'secret')) r;
SELECT app.words(r) FROM whatsapp.ingest(:'body', :'signature') r;
SELECT state, reason, body = :'only' AS only, body = :'body' AS body FROM whatsapp.webhooks ORDER BY length(body);
SELECT app.words(r) FROM whatsapp.ingest(:'only', whatsapp.sign(:'only', 'secret')) r;
SELECT state, count(*) FROM whatsapp.webhooks GROUP BY state ORDER BY state;
DELETE FROM app.objections;
SELECT whatsapp.remove_hook('message', 'app.object');

-- all that is in the archive, replayed into empty tables, gives the same rows
SELECT app.empty();
CREATE TABLE app.bodies AS
SELECT pg_read_binary_file(:'abs_srcdir' || '/test/webhooks/' || f.name || '.json') AS body
FROM unnest(ARRAY['text', 'many_of_all', 'batch', 'message_image', 'reaction_removed', 'reaction', 'status_read', 'status_sent', 'call_connect', 'call_recording',
	'group_participants_remove', 'group_create', 'group_settings', 'group_participants_add', 'template_status', 'template_category_done', 'history_media', 'history_chunk',
	'user_preferences', 'foreign', 'unknown_field', 'mended', 'standby', 'standby_echoes']) f (name);
SELECT count(*), bool_and(r.parked + r.unreadable = 0) AS well FROM app.bodies CROSS JOIN LATERAL whatsapp.ingest(body, whatsapp.sign(body, 'secret')) r;
DELETE FROM app.whole;
INSERT INTO app.whole SELECT r FROM app.rows() r;
SELECT count(*) > 100 AS many FROM app.whole;
SELECT count(*) AS archived, count(*) FILTER (WHERE w.body IN (SELECT b.body FROM app.bodies b)) AS as_they_came FROM whatsapp.webhooks w;
TRUNCATE whatsapp.correspondents, whatsapp.contact_sightings, whatsapp.contact_changes, whatsapp.messages, whatsapp.reactions, whatsapp.media, whatsapp.statuses, whatsapp.call_events,
	whatsapp.groups, whatsapp.group_participants, whatsapp.templates, whatsapp.user_preferences, whatsapp.events;
SELECT count(*) FROM whatsapp.replay();
SELECT count(*), bool_and(parked + unreadable = 0) AS well FROM whatsapp.replay(true);
SELECT app.differences();
SELECT sum(messages + statuses + events) AS new FROM whatsapp.replay(true);
SELECT app.differences();

-- what was parked is filed whatever it has, as it was written here
SELECT app.empty();
ALTER TABLE whatsapp.messages ADD CONSTRAINT refuse CHECK (message_id <> 'odd');
SELECT messages, parked FROM whatsapp.ingest_unsigned(format('{"object":"whatsapp_business_account","entry":[{"id":"5","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1","of_mars":1},
	"messages":[{"id":"odd","number":1%s,"deep":%s}]}}]}]}', repeat('0', 500), repeat('[', 100) || repeat(']', 100))::jsonb);
SELECT state, length(body) > 700 AS whole FROM whatsapp.webhooks;
ALTER TABLE whatsapp.messages DROP CONSTRAINT refuse;
SELECT messages, events, parked, unreadable FROM whatsapp.replay();
SELECT message_id, length(element ->> 'number') FROM whatsapp.messages;
SELECT field, element #> '{value,metadata}' AS metadata FROM whatsapp.events;

-- what a caller has left to the end of his transaction is done by himself
SELECT whatsapp.add_hook('message', 'app.nothing');
CREATE ROLE regress_whatsapp_front;
GRANT USAGE ON SCHEMA whatsapp TO regress_whatsapp_front;
GRANT EXECUTE ON FUNCTION whatsapp.handle_webhook(text, text, text, bytea) TO regress_whatsapp_front;
SELECT whatsapp.sign('{"object":"x"}', 'secret') AS signature \gset
SET SESSION AUTHORIZATION regress_whatsapp_front;
SET client_min_messages = notice;
CREATE TEMP TABLE mine (a integer);
CREATE FUNCTION pg_temp.who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'done by %', current_user;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER who AFTER INSERT ON mine DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.who();
BEGIN;
INSERT INTO mine VALUES (1);
SELECT status FROM whatsapp.handle_webhook('POST', NULL, :'signature', '{"object":"x"}');
COMMIT;
DROP TABLE mine;
DROP FUNCTION pg_temp.who;
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_whatsapp_front;
DROP ROLE regress_whatsapp_front;

DROP EXTENSION whatsapp CASCADE;
DROP SCHEMA app CASCADE;
