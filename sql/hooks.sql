-- Functions of the user's are called for what webhooks bring.
SET client_min_messages = warning;
SET timezone = 'UTC';
\set SHOW_CONTEXT never
\pset format unaligned
\getenv abs_srcdir PG_ABS_SRCDIR
CREATE EXTENSION whatsapp;
CREATE SCHEMA app;

-- what hooks were called with, since one last asked
CREATE TABLE app.calls (ord bigint GENERATED ALWAYS AS IDENTITY, hook text, what text);
CREATE FUNCTION app.calls() RETURNS TABLE (hook text, what text)
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT c.hook, c.what FROM app.calls c ORDER BY c.ord;
	DELETE FROM app.calls;
END $$;
CREATE FUNCTION app.fixture(dir text, name text) RETURNS jsonb
LANGUAGE sql
RETURN convert_from(pg_read_binary_file(dir || '/test/webhooks/' || name || '.json'), 'UTF8')::jsonb;
CREATE FUNCTION app.webhook(value jsonb) RETURNS jsonb
LANGUAGE sql
RETURN jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object(
	'id', '5', 'time', 1750101000, 'changes', jsonb_build_array(jsonb_build_object('field', 'messages', 'value',
		'{"messaging_product":"whatsapp","metadata":{"phone_number_id":"1"}}' || value)))));
CREATE FUNCTION app.message(id text, type text, at integer) RETURNS jsonb
LANGUAGE sql
RETURN app.webhook(jsonb_build_object('messages', jsonb_build_array(jsonb_build_object(
	'id', id, 'from', '15550107788', 'timestamp', at, 'type', type, 'text', jsonb_build_object('body', id || at))
	|| CASE type WHEN 'unsupported' THEN '{"errors":[{"code":131060}]}'::jsonb ELSE '{}' END)));
CREATE FUNCTION app.on_message(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('message', concat_ws(' ', m.message_id, m.direction, m.type, m.body)) $$;
CREATE FUNCTION app.on_content(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('message_content', concat_ws(' ', m.message_id, m.direction, m.type, m.body)) $$;
CREATE FUNCTION app.on_status(s whatsapp.statuses) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('status', concat_ws(' ', s.message_id, s.status)) $$;
CREATE FUNCTION app.on_reaction(r whatsapp.reactions) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('reaction', concat_ws(' ', r.message_id, r.reactor, r.reaction_id, r.emoji)) $$;
CREATE FUNCTION app.on_media(m whatsapp.media) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('media', concat_ws(' ', m.message_id, m.media_id, m.kind, m.state)) $$;
CREATE FUNCTION app.on_call(c whatsapp.call_events) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('call', concat_ws(' ', c.call_id, c.event)) $$;
CREATE FUNCTION app.on_group(g whatsapp.groups) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('group', concat_ws(' ', g.group_id, g.state, g.subject, g.invite_link)) $$;
CREATE FUNCTION app.on_participant(p whatsapp.group_participants) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('group_participant', concat_ws(' ', p.group_id, p.participant, p.state)) $$;
CREATE FUNCTION app.on_template(t whatsapp.templates) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('template', concat_ws(' ', t.template_id, t.status, t.quality, t.category)) $$;
CREATE FUNCTION app.on_preference(u whatsapp.user_preferences) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('user_preference', concat_ws(' ', u.participant, u.category, u.value)) $$;
CREATE FUNCTION app.on_event(e whatsapp.events) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('event', concat_ws(' ', e.field, e.event)) $$;

-- each kind of row has its hook
SELECT whatsapp.add_hook('message', 'app.on_message');
SELECT whatsapp.add_hook('message_content', 'app.on_content');
SELECT whatsapp.add_hook('status', 'app.on_status');
SELECT whatsapp.add_hook('reaction', 'app.on_reaction');
SELECT whatsapp.add_hook('media', 'app.on_media');
SELECT whatsapp.add_hook('call', 'app.on_call');
SELECT whatsapp.add_hook('group', 'app.on_group');
SELECT whatsapp.add_hook('group_participant', 'app.on_participant');
SELECT whatsapp.add_hook('template', 'app.on_template');
SELECT whatsapp.add_hook('user_preference', 'app.on_preference');
SELECT whatsapp.add_hook('event', 'app.on_event');
SELECT event, function FROM whatsapp.hooks ORDER BY added_at;
SELECT f.name, r.messages, r.statuses, r.events, r.duplicates, r.parked
FROM unnest(ARRAY['text', 'message_image', 'status_read', 'reaction', 'call_connect', 'call_status', 'call_recording', 'group_suspend',
	'group_participants_add', 'group_join_request', 'template_quality', 'user_preferences', 'user_actions', 'unknown_field', 'foreign'])
	WITH ORDINALITY f (name, ord)
CROSS JOIN LATERAL whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', f.name)) r
ORDER BY f.ord;
SELECT * FROM app.calls();

-- not for what is there already
SELECT sum(r.messages + r.statuses + r.events) AS filed, sum(r.duplicates) > 0 AS seen
FROM unnest(ARRAY['text', 'message_image', 'status_read', 'reaction', 'call_connect', 'call_status', 'call_recording', 'group_suspend',
	'group_participants_add', 'group_join_request', 'template_quality', 'user_preferences', 'user_actions', 'unknown_field', 'foreign']) f (name)
CROSS JOIN LATERAL whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', f.name)) r;
SELECT * FROM app.calls();

-- what a hook does is rolled back with the webhook
BEGIN;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('rolled back', 'text', 1750101000));
SELECT * FROM app.calls;
ROLLBACK;
SELECT * FROM app.calls();

-- two hooks are called in the order in which they were added, for each row once
CREATE FUNCTION app.a_second(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('second', m.message_id) $$;
SELECT whatsapp.add_hook('message', 'app.a_second');
SELECT whatsapp.add_hook('message', 'app.a_second');
SELECT messages, statuses, events, duplicates FROM whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', 'batch'));
SELECT * FROM app.calls();
SELECT whatsapp.remove_hook('message', 'app.a_second');

-- a message of which only a status is known is called for once it comes itself
SELECT messages, statuses FROM whatsapp.ingest_unsigned(app.webhook('{"statuses":[{"id":"echoed","status":"sent","timestamp":"1750101000","recipient_id":"15550107788"}]}'));
SELECT message_id, type, status FROM whatsapp.messages WHERE message_id = 'echoed';
SELECT * FROM app.calls();
SELECT messages FROM whatsapp.ingest_unsigned(app.webhook('{"message_echoes":[{"id":"echoed","to":"15550107788","timestamp":"1750101000","type":"text","text":{"body":"hi"}}]}'));
SELECT messages FROM whatsapp.ingest_unsigned(app.webhook('{"message_echoes":[{"id":"echoed","to":"15550107788","timestamp":"1750101000","type":"text","text":{"body":"hi"}}]}'));
SELECT statuses FROM whatsapp.ingest_unsigned(app.webhook('{"statuses":[{"id":"echoed","status":"read","timestamp":"1750101001","recipient_id":"15550107788"}]}'));
SELECT * FROM app.calls();

-- both in one webhook
SELECT messages, statuses FROM whatsapp.ingest_unsigned(app.webhook('{"message_echoes":[{"id":"at once","to":"15550107788","timestamp":"1750101000","type":"text","text":{"body":"hi"}}],"statuses":[{"id":"at once","status":"sent","timestamp":"1750101000","recipient_id":"15550107788"}]}'));
SELECT * FROM app.calls();

-- content that takes the place of a placeholder
SELECT messages FROM whatsapp.ingest_unsigned(app.message('a photo', 'media_placeholder', 1750101000));
SELECT messages FROM whatsapp.ingest_unsigned(app.message('a photo', 'text', 1750101000));
SELECT messages, duplicates FROM whatsapp.ingest_unsigned(app.message('a photo', 'text', 1750101000));
SELECT messages FROM whatsapp.ingest_unsigned(app.message('unavailable', 'unsupported', 1750101009));
SELECT messages FROM whatsapp.ingest_unsigned(app.message('unavailable', 'text', 1750101000));
SELECT * FROM app.calls();

-- and a placeholder that does not
SELECT messages FROM whatsapp.ingest_unsigned(app.message('content', 'text', 1750101000));
SELECT messages, duplicates FROM whatsapp.ingest_unsigned(app.message('content', 'media_placeholder', 1750101009));
SELECT messages, duplicates FROM whatsapp.ingest_unsigned(app.message('content', 'unsupported', 1750101009));
SELECT * FROM app.calls();

-- another placeholder is no content
SELECT messages FROM whatsapp.ingest_unsigned(app.message('still none', 'unsupported', 1750101000));
SELECT messages FROM whatsapp.ingest_unsigned(app.message('still none', 'media_placeholder', 1750101001));
SELECT type FROM whatsapp.messages WHERE message_id = 'still none';
SELECT * FROM app.calls();

-- a reaction whenever it changes, and not when an older one comes late
SELECT r.messages
FROM (VALUES (1, 'A'), (3, 'B'), (2, 'late'), (4, NULL), (4, NULL)) v (at, emoji)
CROSS JOIN LATERAL whatsapp.ingest_unsigned(app.webhook(jsonb_build_object('messages', jsonb_build_array(jsonb_build_object(
	'id', 'reaction ' || at, 'from', '15550107788', 'timestamp', 1750101000 + at, 'type', 'reaction',
	'reaction', jsonb_strip_nulls(jsonb_build_object('message_id', 'reacted to', 'emoji', emoji))))))) r;
SELECT * FROM app.calls() WHERE hook = 'reaction';

-- likewise the state of a group, of who is in it, of a template and of a preference
SELECT r.events
FROM (VALUES (1, 'group_suspend'), (3, 'group_suspend_cleared'), (2, 'group_suspend'), (4, 'group_suspend'), (4, 'group_suspend')) v (at, type)
CROSS JOIN LATERAL whatsapp.ingest_unsigned(app.webhook(jsonb_build_object('groups', jsonb_build_array(jsonb_build_object(
	'group_id', 'changing', 'timestamp', 1750101000 + at, 'type', type))))) r;
SELECT r.events
FROM (VALUES (1, 'added_participants'), (3, 'removed_participants'), (2, 'added_participants'), (3, 'removed_participants')) v (at, list)
CROSS JOIN LATERAL whatsapp.ingest_unsigned(app.webhook(jsonb_build_object('groups', jsonb_build_array(jsonb_build_object(
	'group_id', 'changing', 'timestamp', 1750101000 + at, 'type', 'x', list, '[{"wa_id":"15550107788"}]'::jsonb))))) r;
SELECT r.events
FROM (VALUES (1, 'GREEN'), (3, 'YELLOW'), (2, 'GREEN'), (3, 'YELLOW')) v (at, score)
CROSS JOIN LATERAL whatsapp.ingest_unsigned(jsonb_set(app.webhook(jsonb_build_object(
	'message_template_id', 'changing', 'new_quality_score', score)), '{entry,0,time}', to_jsonb(1750101000 + at))) r;
SELECT r.events
FROM (VALUES (1, 'stop'), (3, 'resume'), (2, 'stop'), (3, 'resume')) v (at, value)
CROSS JOIN LATERAL whatsapp.ingest_unsigned(app.webhook(jsonb_build_object('user_preferences', jsonb_build_array(jsonb_build_object(
	'wa_id', 'changing', 'category', 'marketing_messages', 'value', value, 'timestamp', 1750101000 + at))))) r;
SELECT * FROM app.calls() WHERE hook <> 'event';

-- of what a webhook tells in several ways the hook is told once, and all of it
SELECT events FROM whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', 'group_create'));
SELECT events FROM whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', 'template_status_events'));
SELECT * FROM app.calls() WHERE hook <> 'event';

-- a hook gets the row that is in the table
CREATE FUNCTION app.compare(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what)
	SELECT 'compare', concat_ws(' ', m.message_id, 'status', m.status, CASE WHEN m.* IS DISTINCT FROM t.* THEN 'differs, ' || t.status END)
	FROM whatsapp.messages t
	WHERE t.phone_number_id = m.phone_number_id AND t.message_id = m.message_id $$;
TRUNCATE whatsapp.hooks;
SELECT whatsapp.add_hook('message', 'app.compare');
SELECT messages FROM whatsapp.ingest_unsigned(app.fixture(:'abs_srcdir', 'history_chunk'));
SELECT * FROM app.calls();
SELECT whatsapp.remove_hook('message', 'app.compare');

-- and sees all others of the webhook, in whichever order they come in it
CREATE FUNCTION app.look_around(m whatsapp.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO app.calls (hook, what)
	SELECT 'look_around', concat_ws(' ', m.message_id,
		(SELECT count(*) FROM whatsapp.messages t WHERE t.phone_number_id = m.phone_number_id AND t.direction = 'inbound'), 'messages',
		(SELECT count(*) FROM whatsapp.media t WHERE t.phone_number_id = m.phone_number_id AND t.message_id = m.message_id), 'media',
		(SELECT count(*) FROM whatsapp.correspondents t WHERE t.phone_number_id = m.phone_number_id), 'contacts',
		(SELECT count(*) FROM whatsapp.statuses t WHERE t.phone_number_id = m.phone_number_id), 'statuses',
		(SELECT count(*) FROM whatsapp.call_events t WHERE t.phone_number_id = m.phone_number_id), 'calls',
		(SELECT count(*) FROM whatsapp.events t WHERE t.phone_number_id = m.phone_number_id AND t.event <> 'seen'), 'events');
END $$;
SELECT whatsapp.add_hook('message', 'app.look_around');
SELECT messages, statuses, events FROM whatsapp.ingest_unsigned(replace(app.fixture(:'abs_srcdir', 'many_of_all')::text, '700111222333', '700111222555')::jsonb);
SELECT * FROM app.calls();
SELECT whatsapp.remove_hook('message', 'app.look_around');

-- hooks that are added, changed and removed: at once, also in one transaction
CREATE FUNCTION app.one(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('one', m.message_id) $$;
CREATE FUNCTION app.two(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('two', m.message_id) $$;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('none', 'text', 1750101000));
SELECT whatsapp.add_hook('message', 'app.one');
SELECT messages FROM whatsapp.ingest_unsigned(app.message('added', 'text', 1750101000));
UPDATE whatsapp.hooks SET function = 'app.two';
SELECT messages FROM whatsapp.ingest_unsigned(app.message('changed', 'text', 1750101000));
CREATE OR REPLACE FUNCTION app.two(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('two anew', m.message_id) $$;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('replaced', 'text', 1750101000));
SELECT whatsapp.remove_hook('message', 'app.two');
SELECT messages FROM whatsapp.ingest_unsigned(app.message('removed', 'text', 1750101000));
SELECT * FROM app.calls();
BEGIN;
SELECT whatsapp.add_hook('message', 'app.one');
SELECT messages FROM whatsapp.ingest_unsigned(app.message('in a transaction', 'text', 1750101000));
SAVEPOINT s;
SELECT whatsapp.add_hook('message', 'app.two');
SELECT messages FROM whatsapp.ingest_unsigned(app.message('in a savepoint', 'text', 1750101000));
SELECT * FROM app.calls();
ROLLBACK TO s;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('after it', 'text', 1750101000));
SELECT * FROM app.calls();
ROLLBACK;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('after all', 'text', 1750101000));
SELECT * FROM app.calls();

-- one that is added in the statement that files
BEGIN;
SELECT whatsapp.add_hook('message', 'app.one'), (whatsapp.ingest_unsigned(app.message('in a statement', 'text', 1750101000))).messages;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('after the statement', 'text', 1750101000));
SELECT * FROM app.calls() WHERE what <> 'in a statement';
COMMIT;

-- in another session
SELECT current_database() AS this_database \gset
\c :this_database
SET client_min_messages = warning;
SET timezone = 'UTC';
\set SHOW_CONTEXT never
SELECT messages FROM whatsapp.ingest_unsigned(app.message('elsewhere', 'text', 1750101000));
SELECT * FROM app.calls();
TRUNCATE whatsapp.hooks;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('truncated', 'text', 1750101000));
SELECT * FROM app.calls();

-- names that need quotes
CREATE SCHEMA "Ada's ""app""";
CREATE FUNCTION "Ada's ""app"""."On.Message"(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('quoted', m.message_id) $$;
SELECT whatsapp.add_hook('message', '"Ada''s ""app"""."On.Message"');
SELECT event, function FROM whatsapp.hooks;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('quoted', 'text', 1750101000));
SELECT * FROM app.calls();
SELECT whatsapp.remove_hook('message', '"Ada''s ""app"""."On.Message"');
SELECT whatsapp.add_hook('message', 'APP . One');
SELECT event, function FROM whatsapp.hooks;
SELECT whatsapp.remove_hook('message', 'app.ONE');
DROP SCHEMA "Ada's ""app""" CASCADE;

-- what cannot be a hook
CREATE FUNCTION app.without_argument() RETURNS void LANGUAGE sql AS '';
CREATE PROCEDURE app.procedure(m whatsapp.messages) LANGUAGE sql AS '';
SELECT whatsapp.add_hook('messages', 'app.on_message');
SELECT whatsapp.add_hook(NULL, 'app.on_message');
SELECT whatsapp.add_hook('message', 'on_message');
SELECT whatsapp.add_hook('message', 'this.app.on_message');
SELECT whatsapp.add_hook('message', 'app.on_message(whatsapp.messages)');
SELECT whatsapp.add_hook('message', '');
SELECT whatsapp.add_hook('message', 'app.absent');
SELECT whatsapp.add_hook('message', 'absent.on_message');
SELECT whatsapp.add_hook('message', 'app.on_status');
SELECT whatsapp.add_hook('message', 'app.without_argument');
SELECT whatsapp.add_hook('message', 'app.procedure');
SELECT whatsapp.add_hook('message', 'app.on_message; DROP SCHEMA app');
SELECT whatsapp.remove_hook('message', 'app.on_message');
SELECT whatsapp.remove_hook('absent', 'app.on_message');
SELECT whatsapp.remove_hook('message', 'on_message');
SELECT event, function FROM whatsapp.hooks;
TRUNCATE whatsapp.hooks;

-- one whose function has gone: the message is set aside until it is back
SELECT whatsapp.add_hook('message', 'app.one');
DROP FUNCTION app.one;
SELECT messages, parked, error FROM whatsapp.ingest_unsigned(app.message('gone', 'text', 1750101000));
CREATE FUNCTION app.one(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('one', m.message_id) $$;
SELECT messages, parked FROM whatsapp.replay();
SELECT * FROM app.calls();
SELECT whatsapp.remove_hook('message', 'app.one');

-- what a hook returns does not matter
CREATE FUNCTION app.many(m whatsapp.messages) RETURNS SETOF integer LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('many', m.message_id);
	SELECT * FROM generate_series(1, 3) $$;
CREATE FUNCTION app.none(m whatsapp.messages) RETURNS whatsapp.messages STRICT LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('none', m.message_id);
	SELECT NULL::whatsapp.messages $$;
SELECT whatsapp.add_hook('message', 'app.many');
SELECT whatsapp.add_hook('message', 'app.none');
SELECT messages, parked FROM whatsapp.ingest_unsigned(app.message('whatever', 'text', 1750101000));
SELECT * FROM app.calls();
TRUNCATE whatsapp.hooks;

-- a table that has got one more column
ALTER TABLE whatsapp.messages ADD COLUMN mood text DEFAULT 'glad';
CREATE FUNCTION app.mood(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES (m.mood, m.message_id) $$;
SELECT whatsapp.add_hook('message', 'app.mood');
SELECT messages, parked FROM whatsapp.ingest_unsigned(app.message('with a column', 'text', 1750101000));
SELECT * FROM app.calls();
SELECT whatsapp.remove_hook('message', 'app.mood');
DROP FUNCTION app.mood;
ALTER TABLE whatsapp.messages DROP COLUMN mood;

-- a hook that answers
SELECT whatsapp.add_number('700111222333444');
CREATE FUNCTION app.answer(m whatsapp.messages) RETURNS void LANGUAGE sql
BEGIN ATOMIC
	INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, reply_to)
	SELECT m.phone_number_id, coalesce(m.user_id, m.wa_id), 'Yes, still there.', m.message_id
	WHERE m.direction = 'inbound' AND m.body ~ 'still there';
END;
SELECT whatsapp.add_hook('message', 'app.answer');
SELECT messages, parked FROM whatsapp.ingest_unsigned(replace(app.fixture(:'abs_srcdir', 'text')::text, 'wamid.TEXT', 'wamid.QUESTION')::jsonb);
SELECT messages, parked FROM whatsapp.ingest_unsigned(replace(app.fixture(:'abs_srcdir', 'text')::text, 'wamid.TEXT', 'wamid.QUESTION')::jsonb);
SELECT messages, parked FROM whatsapp.ingest_unsigned(app.message('no question', 'text', 1750101000));
SELECT phone_number_id, recipient, body, reply_to, state FROM whatsapp.outbox;
SELECT whatsapp.remove_hook('message', 'app.answer');

-- a hook that files a webhook
CREATE FUNCTION app.ingest(m whatsapp.messages) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	said text := concat_ws(' ', m.message_id, m.body);
	result whatsapp.ingest_result;
BEGIN
	IF length(m.message_id) < 6 THEN
		result := whatsapp.ingest_unsigned(app.message(m.message_id || '+', 'text', 1750101000));
		said := concat_ws(' ', said, result.messages);
	END IF;
	INSERT INTO app.calls (hook, what) VALUES ('ingest', said);
END $$;
SELECT whatsapp.add_hook('message', 'app.ingest');
SELECT messages, parked FROM whatsapp.ingest_unsigned(app.webhook('{"messages":[{"id":"one"},{"id":"two"}]}'));
SELECT * FROM app.calls();
SELECT message_id FROM whatsapp.messages WHERE message_id ~ '^(one|two)' ORDER BY message_id COLLATE "C";
TRUNCATE whatsapp.hooks;

-- a hook that adds another: it is called from the next webhook on
CREATE FUNCTION app.add(m whatsapp.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO app.calls (hook, what) VALUES ('add', m.message_id);
	IF NOT EXISTS (SELECT FROM whatsapp.hooks WHERE function = 'app.two') THEN
		PERFORM whatsapp.add_hook('message', 'app.two');
	END IF;
END $$;
SELECT whatsapp.add_hook('message', 'app.add');
BEGIN;
SELECT messages, parked FROM whatsapp.ingest_unsigned(app.message('adding', 'text', 1750101000));
SELECT messages, parked FROM whatsapp.ingest_unsigned(app.message('having added', 'text', 1750101000));
SELECT * FROM app.calls();
COMMIT;
SELECT function FROM whatsapp.hooks ORDER BY added_at;
TRUNCATE whatsapp.hooks;

-- a hook that adds another, and then files a webhook
CREATE FUNCTION app.add_and_ingest(m whatsapp.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF m.message_id = 'outer' THEN
		PERFORM whatsapp.add_hook('message', 'app.two');
		PERFORM whatsapp.ingest_unsigned(app.message('inner', 'text', 1750101000));
	END IF;
	INSERT INTO app.calls (hook, what) VALUES ('add_and_ingest', m.message_id);
END $$;
SELECT whatsapp.add_hook('message', 'app.add_and_ingest');
SELECT whatsapp.add_hook('message', 'app.one');
SELECT messages, parked FROM whatsapp.ingest_unsigned(app.message('outer', 'text', 1750101000));
SELECT messages, parked FROM whatsapp.ingest_unsigned(app.message('next', 'text', 1750101000));
SELECT * FROM app.calls() WHERE hook <> 'two anew' OR what = 'next';
TRUNCATE whatsapp.hooks;

-- a hook that removes itself
CREATE FUNCTION app.remove(m whatsapp.messages) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO app.calls (hook, what) VALUES ('remove', m.message_id);
	DELETE FROM whatsapp.hooks WHERE function = 'app.remove';
END $$;
SELECT whatsapp.add_hook('message', 'app.remove');
BEGIN;
SELECT messages, parked FROM whatsapp.ingest_unsigned(app.message('removing', 'text', 1750101000));
SELECT messages, parked FROM whatsapp.ingest_unsigned(app.message('having removed', 'text', 1750101000));
SELECT * FROM app.calls();
COMMIT;
SELECT count(*) FROM whatsapp.hooks;
TRUNCATE whatsapp.hooks;

-- hooks run as who owns the extension, and find nothing by its name alone
CREATE FUNCTION app.who(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what)
	SELECT 'who', concat_ws(', ', m.message_id, current_setting('search_path'),
		CASE current_user WHEN extowner::regrole::text THEN 'as the owner' ELSE 'as ' || current_user END)
	FROM pg_catalog.pg_extension WHERE extname = 'whatsapp' $$;
SELECT whatsapp.add_hook('message', 'app.who');
CREATE ROLE regress_whatsapp_ingest;
GRANT USAGE ON SCHEMA whatsapp TO regress_whatsapp_ingest;
GRANT EXECUTE ON FUNCTION whatsapp.ingest(bytea, text), whatsapp.ingest_unsigned(jsonb), whatsapp.ingest_batch(bytea[], text[]),
	whatsapp.handle_webhook(text, text, text, bytea) TO regress_whatsapp_ingest;
SELECT whatsapp.set_app_secret('secret');
SELECT convert_to(app.message('ingest()', 'text', 1750101000)::text, 'UTF8') AS a, convert_to(app.message('ingest_batch()', 'text', 1750101000)::text, 'UTF8') AS b,
	convert_to(app.message('handle_webhook()', 'text', 1750101000)::text, 'UTF8') AS c, app.message('ingest_unsigned()', 'text', 1750101000) AS d \gset
SELECT whatsapp.sign(:'a', 'secret') AS a_signature, whatsapp.sign(:'b', 'secret') AS b_signature, whatsapp.sign(:'c', 'secret') AS c_signature \gset
SET ROLE regress_whatsapp_ingest;
SET search_path = pg_temp, public;
SELECT messages FROM whatsapp.ingest(:'a', :'a_signature');
SELECT messages FROM whatsapp.ingest_batch(ARRAY[:'b'::bytea], ARRAY[:'b_signature']);
SELECT * FROM whatsapp.handle_webhook('POST', '', :'c_signature', :'c');
SELECT messages FROM whatsapp.ingest_unsigned(:'d');
SELECT current_user, current_setting('search_path');
RESET ROLE;
RESET search_path;
SELECT * FROM app.calls();

-- hooks are the owner's to add
GRANT EXECUTE ON FUNCTION whatsapp.add_hook(text, text), whatsapp.remove_hook(text, text), whatsapp.hook_argument(text),
	whatsapp.may_be_hook(regprocedure) TO regress_whatsapp_ingest;
GRANT USAGE ON SCHEMA app TO regress_whatsapp_ingest;
SET ROLE regress_whatsapp_ingest;
SELECT whatsapp.add_hook('message', 'app.one');
SELECT whatsapp.remove_hook('message', 'app.who');
RESET ROLE;
DROP OWNED BY regress_whatsapp_ingest;
DROP ROLE regress_whatsapp_ingest;

-- the extension is dropped and created in one session
SELECT messages FROM whatsapp.ingest_unsigned(app.message('before', 'text', 1750101000));
DROP EXTENSION whatsapp CASCADE;
CREATE EXTENSION whatsapp;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('anew', 'text', 1750101000));
CREATE FUNCTION app.two(m whatsapp.messages) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.calls (hook, what) VALUES ('two', m.message_id) $$;
SELECT whatsapp.add_hook('message', 'app.two');
SELECT messages FROM whatsapp.ingest_unsigned(app.message('anew with a hook', 'text', 1750101000));
SELECT * FROM app.calls();
BEGIN;
DROP EXTENSION whatsapp CASCADE;
CREATE EXTENSION whatsapp;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('in vain', 'text', 1750101000));
ROLLBACK;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('back again', 'text', 1750101000));
SELECT * FROM app.calls();

-- what is put into the table by hand does not become any SQL
INSERT INTO whatsapp.hooks (event, function) VALUES ('message', '(SELECT 1), app.on_message');
SELECT messages FROM whatsapp.ingest_unsigned(app.message('by hand', 'text', 1750101000));
DELETE FROM whatsapp.hooks;
SELECT messages FROM whatsapp.ingest_unsigned(app.message('by hand', 'text', 1750101000));

DROP EXTENSION whatsapp CASCADE;
DROP SCHEMA app CASCADE;
