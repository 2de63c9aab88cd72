-- A role that has some numbers sees and sends from these only, by every table,
-- view and function.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION whatsapp;
CREATE ROLE regress_whatsapp_one;
CREATE ROLE regress_whatsapp_two;
CREATE ROLE regress_whatsapp_both;
CREATE ROLE regress_whatsapp_none;
SELECT whatsapp.add_number('1001', waba_id => '1', access_token => 'token-of-one', app_secret => 'secret-of-one');
SELECT whatsapp.add_number('2002', waba_id => '2', access_token => 'token-of-two', app_secret => 'secret-of-two');
SELECT whatsapp.grant_access('regress_whatsapp_one', 'reader', '{1001}'), whatsapp.grant_access('regress_whatsapp_one', 'sender');
-- a number that is given later takes the place of all
SELECT whatsapp.grant_access('regress_whatsapp_two', 'reader'), whatsapp.grant_access('regress_whatsapp_two', 'sender');
INSERT INTO whatsapp.number_roles VALUES ('regress_whatsapp_two', '2002');
GRANT regress_whatsapp_one, regress_whatsapp_two TO regress_whatsapp_both;
-- all beside some would be one or the other, who knows
INSERT INTO whatsapp.number_roles VALUES ('regress_whatsapp_two', '*');
INSERT INTO whatsapp.number_roles VALUES ('regress_whatsapp_none', '*'), ('regress_whatsapp_none', '1001');
-- level without number: by hand, as grant_access() gives all
SELECT whatsapp.grant_access('regress_whatsapp_none', 'reader');
DELETE FROM whatsapp.number_roles WHERE role_name = 'regress_whatsapp_none';
SELECT * FROM whatsapp.number_roles ORDER BY 1, 2;

-- Webhooks of all kinds, for each of the two numbers
CREATE FUNCTION pg_temp.webhook(number text, waba text, value jsonb, field text DEFAULT 'messages') RETURNS jsonb
LANGUAGE sql
RETURN jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object('id', waba, 'time', 1750101000,
	'changes', jsonb_build_array(jsonb_build_object('field', field, 'value', CASE WHEN number IS NOT NULL
		THEN jsonb_build_object('metadata', jsonb_build_object('phone_number_id', number, 'display_phone_number', '1555' || number)) ELSE '{}' END || value)))));
SELECT sum(r.messages) AS messages, sum(r.statuses) AS statuses, sum(r.events) > 0 AS events, sum(r.parked) AS parked
FROM (VALUES ('1001', '1'), ('2002', '2')) n (number, waba)
CROSS JOIN LATERAL (VALUES
	('messages', true, jsonb_build_object(
		'contacts', jsonb_build_array(jsonb_build_object('wa_id', '15551234567', 'user_id', 'US.' || number, 'profile', jsonb_build_object('name', 'Ada of ' || number))),
		'messages', jsonb_build_array(
			jsonb_build_object('id', 'text-' || number, 'from', '15551234567', 'from_user_id', 'US.' || number, 'timestamp', '1750101000', 'type', 'text', 'text', '{"body": "Hi!"}'::jsonb),
			jsonb_build_object('id', 'image-' || number, 'from', '15551234567', 'from_user_id', 'US.' || number, 'timestamp', '1750101001', 'type', 'image',
				'image', '{"id": "77", "mime_type": "image/png", "sha256": "AA=="}'::jsonb),
			jsonb_build_object('id', 'reaction-' || number, 'from', '15551234567', 'from_user_id', 'US.' || number, 'timestamp', '1750101002', 'type', 'reaction',
				'reaction', jsonb_build_object('message_id', 'text-' || number, 'emoji', '👍')),
			jsonb_build_object('id', 'group-' || number, 'from', '15551234567', 'group_id', 'G' || number, 'timestamp', '1750101003', 'type', 'text', 'text', '{"body": "all"}'::jsonb)),
		'errors', '[{"code": 130429, "title": "Rate limit hit"}]'::jsonb,
		'statuses', jsonb_build_array(jsonb_build_object('id', 'out-' || number, 'status', 'delivered', 'timestamp', '1750101000', 'recipient_id', '15551234567')))),
	('calls', true, jsonb_build_object('calls', jsonb_build_array(jsonb_build_object('id', 'call-' || number, 'from', '15551234567', 'to', '1555' || number, 'event', 'connect',
		'timestamp', '1750101000', 'direction', 'USER_INITIATED')))),
	('group_lifecycle_update', true, jsonb_build_object('groups', jsonb_build_array(jsonb_build_object('timestamp', '1750101000', 'group_id', 'G' || number, 'type', 'group_create',
		'subject', 'Group of ' || number, 'request_id', 'r' || number)))),
	('group_participants_update', true, jsonb_build_object('groups', jsonb_build_array(jsonb_build_object('timestamp', '1750101000', 'group_id', 'G' || number,
		'type', 'group_participants_add', 'added_participants', '[{"wa_id": "15551234567"}]'::jsonb)))),
	('user_preferences', true, jsonb_build_object('user_preferences', '[{"wa_id": "15551234567", "category": "marketing_messages", "value": "stop", "timestamp": 1750101000}]'::jsonb)),
	('message_template_status_update', false, jsonb_build_object('event', 'APPROVED', 'message_template_id', number, 'message_template_name', 'of_' || number, 'message_template_language', 'en_US')),
	('account_update', false, jsonb_build_object('event', 'VERIFIED_ACCOUNT', 'phone_number', '1555' || number)),
	('something_new', true, '{"a": 1}')
) w (field, with_number, value),
LATERAL whatsapp.ingest_unsigned(pg_temp.webhook(CASE WHEN with_number THEN n.number END, n.waba, w.value, w.field)) r;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, campaign, send_after)
SELECT n, '15551234567', 'from ' || n, 'of ' || n, now() + '1 hour' FROM unnest('{1001,2002}'::text[]) n;
INSERT INTO whatsapp.attempts (outbox_id, attempt, what, state) SELECT o.id, 1, 'refused', 'queued' FROM whatsapp.outbox o;
INSERT INTO whatsapp.holds (phone_number_id, kind, key) SELECT n, 'pair', '+15551234567' FROM unnest('{1001,2002}'::text[]) n;
INSERT INTO whatsapp.news (what, phone_number_id) SELECT 'throughput', n FROM unnest('{1001,2002}'::text[]) n;
INSERT INTO whatsapp.contact_changes (phone_number_id, old_wa_id, old_user_id, new_wa_id, new_user_id, at)
SELECT n, '15550000001', '', '15550000002', '', '2025-06-01' FROM unnest('{1001,2002}'::text[]) n;
INSERT INTO whatsapp.changed_lanes (phone_number_id, recipient_key) SELECT n, '+15551234567' FROM unnest('{1001,2002}'::text[]) n;
INSERT INTO whatsapp.evidence (phone_number_id, message_id, status, outbox_id, received_at) SELECT n, 'e' || n, 'sent', 0, '2025-01-01' FROM unnest('{1001,2002}'::text[]) n;
INSERT INTO whatsapp.webhooks (webhook_id, body, state) VALUES ('\x01', '{}', 'parked');

-- In every table and view: how many rows tell of one, of the other, and of none
-- (rows are looked at as text, so that nothing can tell by another column; but for
-- fractions of seconds, which may be anything)
CREATE FUNCTION pg_temp.seen(OUT relation text, OUT one bigint, OUT two bigint, OUT neither bigint) RETURNS SETOF record
LANGUAGE plpgsql
AS $$
BEGIN
	FOR relation IN
		SELECT c.relname FROM pg_class c
		WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'v') AND has_table_privilege(c.oid, 'SELECT')
			AND c.relname NOT IN ('shipped_error_classes', 'error_classes', 'installation')
		ORDER BY c.relname COLLATE "C"
	LOOP
		EXECUTE format('SELECT count(*) FILTER (WHERE r LIKE ''%%1001%%''), count(*) FILTER (WHERE r LIKE ''%%2002%%''),
			count(*) FILTER (WHERE r NOT LIKE ''%%1001%%'' AND r NOT LIKE ''%%2002%%'') FROM (SELECT replace(replace(regexp_replace(t::text, ''(:\d\d)\.\d+'', ''\1'', ''g''), ''wa1.'', ''''), ''1750101001'', ''1750101000'') AS r FROM whatsapp.%I t) x', relation)
		INTO one, two, neither;
		RETURN NEXT;
	END LOOP;
END $$;
-- (what nobody has a row of is not worth much here: that is few)
SELECT relation FROM pg_temp.seen() WHERE one + two + neither = 0;
SET SESSION AUTHORIZATION regress_whatsapp_one;
SELECT * FROM pg_temp.seen() WHERE one + two + neither > 0;
SET SESSION AUTHORIZATION regress_whatsapp_two;
SELECT relation, one, neither FROM pg_temp.seen() WHERE one + neither > 0;
SET SESSION AUTHORIZATION regress_whatsapp_none;
SELECT * FROM pg_temp.seen() WHERE one + two + neither > 0;
-- who is a member of both sees what either does
SET SESSION AUTHORIZATION regress_whatsapp_both;
SELECT count(*) FILTER (WHERE phone_number_id = '1001') > 0 AS one, count(*) FILTER (WHERE phone_number_id = '2002') > 0 AS two FROM whatsapp.messages;
RESET SESSION AUTHORIZATION;
SET ROLE regress_whatsapp_one;
SELECT DISTINCT phone_number_id FROM whatsapp.messages;
RESET ROLE;

-- By functions, when asked for the other's
SET SESSION AUTHORIZATION regress_whatsapp_one;
SELECT count(*) FROM whatsapp.conversation('1001', '15551234567');
SELECT count(*) FROM whatsapp.conversation('2002', '15551234567');
SELECT count(*) FROM whatsapp.thread('2002', 'US.2002', 10);
SELECT * FROM whatsapp.contact_facts('2002', 'US.2002');
SELECT * FROM whatsapp.contact_ids('2002', 'US.2002');
SELECT whatsapp.find_contact('2002', 'US.2002'), whatsapp.is_user_id('2002', 'US.2002');
SELECT * FROM whatsapp.notes('2002', 'text-2002', 'inbound', NULL, NULL, NULL, now());
SELECT * FROM whatsapp.can_send('15551234567', '2002');
SELECT allowed, opted_out FROM whatsapp.can_send('15551234567');
SELECT whatsapp.wants_no_marketing('2002', 'US.2002'), whatsapp.wants_no_marketing('1001', 'US.1001');
SELECT whatsapp.has_access_token('2002'), whatsapp.has_app_secret('2002'), whatsapp.has_access_token('1001'), whatsapp.has_app_secret('1001');
SELECT * FROM whatsapp.sender_paces();
SELECT phone_number_id, queued FROM whatsapp.sender_status;
SELECT whatsapp.default_number();

-- To send
INSERT INTO whatsapp.outbox (recipient, body, send_after) VALUES ('15551234567', 'mine', now() + interval '1 hour') RETURNING phone_number_id;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('2002', '15551234567', 'not mine');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES (NULL, '15551234567', 'whose?');
SELECT whatsapp.send_text('15551234567', 'not mine', from_number => '2002');
SELECT whatsapp.cancel(o.id) FROM whatsapp.outbox o WHERE o.body = 'mine';
SELECT whatsapp.cancel(1);
SELECT whatsapp.cancel(2);
-- to see more
INSERT INTO whatsapp.number_roles VALUES ('regress_whatsapp_one', '*');
UPDATE whatsapp.number_roles SET phone_number_id = '2002';
SET row_security = off;
SELECT count(*) FROM whatsapp.messages;
RESET row_security;
-- (a function that leaks what it is called with is called for one's own rows only)
CREATE FUNCTION pg_temp.leak(text) RETURNS boolean
LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
SELECT count(*) FROM whatsapp.groups WHERE pg_temp.leak(phone_number_id);
SELECT count(*) FROM whatsapp.conversations WHERE pg_temp.leak(phone_number_id);
DROP FUNCTION pg_temp.leak(text);
RESET SESSION AUTHORIZATION;

-- Webhooks are filed all the same, whoever hands them over and for whatever number
CREATE ROLE regress_whatsapp_web;
SELECT whatsapp.grant_access('regress_whatsapp_web', 'webhook');
SELECT convert_to(pg_temp.webhook('2002', '2', '{"messages": [{"id": "new", "from": "15551234567", "timestamp": "1750101010", "type": "text", "text": {"body": "new"}}]}')::text, 'UTF8') AS body \gset
SELECT whatsapp.sign(:'body', 'secret-of-two') AS signature \gset
SET SESSION AUTHORIZATION regress_whatsapp_web;
SELECT messages, parked FROM whatsapp.ingest(:'body', :'signature');
RESET SESSION AUTHORIZATION;
-- and a hook that queues an answer does so as the owner
SELECT phone_number_id FROM whatsapp.messages WHERE message_id = 'new';

-- The plans of what is read often are no worse for a tenant: by index, and in order
CREATE FUNCTION pg_temp.scans(query text) RETURNS SETOF text
LANGUAGE plpgsql
AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ 'Scan|Index Cond|Sort' AND line !~ 'number_roles|pg_authid' THEN
			RETURN NEXT btrim(line, ' ->');
		END IF;
	END LOOP;
END $$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET SESSION AUTHORIZATION regress_whatsapp_one;
SELECT * FROM pg_temp.scans($$SELECT * FROM whatsapp.messages m WHERE whatsapp.thread_key(m.group_id, m.user_id, m.wa_id) = 'US.1001' AND m.phone_number_id = '1001'
	AND m.element IS NOT NULL AND NOT whatsapp.is_note(m.type) ORDER BY coalesce(m.sent_at, '-infinity') DESC, m.message_id DESC LIMIT 50$$);
SELECT * FROM pg_temp.scans($$SELECT * FROM whatsapp.correspondents k WHERE k.phone_number_id = '1001' AND k.last_message_at IS NOT NULL ORDER BY k.last_message_at DESC LIMIT 50$$);
SELECT * FROM pg_temp.scans($$SELECT * FROM whatsapp.messages m WHERE m.phone_number_id = '1001' AND m.message_id = 'a'$$);
RESET SESSION AUTHORIZATION;

DROP EXTENSION whatsapp CASCADE;
DROP ROLE regress_whatsapp_one, regress_whatsapp_two, regress_whatsapp_both, regress_whatsapp_none, regress_whatsapp_web;
