-- Who is the same person as who, and how conversations stand.
CREATE EXTENSION whatsapp;
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT whatsapp.add_number('1', waba_id => '9', display_phone_number => '15550100200', access_token => 'token');

-- files what a number of ours is told, at a time of a day
CREATE FUNCTION tell(value text, field text DEFAULT 'messages', number text DEFAULT '1') RETURNS text
LANGUAGE sql
RETURN (SELECT concat_ws(' ', r.messages, r.statuses, r.events) FROM whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account',
	'entry', jsonb_build_array(jsonb_build_object('id', '9', 'changes', jsonb_build_array(jsonb_build_object('field', field, 'value',
		jsonb_build_object('metadata', jsonb_build_object('display_phone_number', '15550100200', 'phone_number_id', number)) || value::jsonb)))))) r);
CREATE FUNCTION at(clock text) RETURNS text
LANGUAGE sql
RETURN extract(epoch FROM ('2026-05-01 ' || clock)::timestamptz)::bigint::text;
CREATE FUNCTION says(id text, clock text, words text, wa_id text, user_id text, more jsonb DEFAULT '{}') RETURNS text
LANGUAGE sql
RETURN tell(jsonb_build_object('messages', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('id', id, 'timestamp', at(clock), 'from', wa_id,
	'from_user_id', user_id, 'type', 'text', 'text', jsonb_build_object('body', words))) || more))::text);
CREATE FUNCTION people() RETURNS TABLE (key text, name text, wa_id text, first text, last text, identifiers text)
LANGUAGE sql
BEGIN ATOMIC
	SELECT c.contact_key, c.name, c.wa_id, to_char(c.first_seen, 'HH24:MI'), to_char(c.last_seen, 'HH24:MI'),
		(SELECT string_agg(concat_ws(' ', i.kind, i.value, to_char(i.first_seen, 'HH24:MI'), to_char(i.last_seen, 'HH24:MI')), ', '
				ORDER BY i.first_seen, i.kind, i.value COLLATE "C")
			FROM whatsapp.contact_identifiers i
			WHERE (i.phone_number_id, i.contact_key) = (c.phone_number_id, c.contact_key))
	FROM whatsapp.contacts c
	ORDER BY c.contact_key COLLATE "C";
END;
CREATE PROCEDURE forget_all() LANGUAGE sql AS $$
	TRUNCATE whatsapp.correspondents, whatsapp.contact_sightings, whatsapp.contact_changes, whatsapp.messages, whatsapp.statuses,
		whatsapp.reactions, whatsapp.events, whatsapp.user_preferences, whatsapp.groups, whatsapp.group_participants
$$;

-- a phone number at first, then with a BSUID, then the BSUID alone: one person
SELECT tell('{"contacts":[{"wa_id":"15551230001","profile":{"name":"Ada"}}],"messages":[{"id":"a1","from":"15551230001","timestamp":"' || at('10:00') || '"}]}');
SELECT * FROM people();
SELECT tell('{"contacts":[{"wa_id":"15551230001","user_id":"US.1","parent_user_id":"US.ENT.1","profile":{"name":"Ada L."}}],"messages":[{"id":"a2","from":"15551230001","from_user_id":"US.1","timestamp":"' || at('11:00') || '"}]}');
SELECT tell('{"contacts":[{"user_id":"US.1","profile":{"name":"Ada Lovelace","username":"ada.l"}}],"messages":[{"id":"a3","from_user_id":"US.1","timestamp":"' || at('12:00') || '"}]}');
SELECT * FROM people();
SELECT message_id, contact_key, name, wa_id, user_id FROM whatsapp.message_contacts ORDER BY 1;
SELECT (whatsapp.contact_of(m)).username FROM whatsapp.messages m WHERE message_id = 'a1';

-- a status brings no name, and is no message
SELECT tell('{"statuses":[{"id":"out","status":"delivered","recipient_id":"15551230001","recipient_user_id":"US.1","timestamp":"' || at('12:30') || '"}]}');
SELECT name, to_char(last_seen, 'HH24:MI') AS last_seen, to_char(last_inbound_at, 'HH24:MI') AS last_inbound_at FROM whatsapp.contacts;

-- another phone number, and so another BSUID; all that is older was hers
SELECT tell('{"messages":[{"id":"a4","from":"15551230001","from_user_id":"US.2","timestamp":"' || at('13:00') || '","type":"system","system":{"type":"user_changed_number","body":"Ada has another number","wa_id":"15551230002","user_id":"US.2","previous_user_id":"US.1"}}]}');
SELECT * FROM people();

-- the old phone number is another's now: nobody is merged
SELECT says('b1', '15:00', 'I am new here', '15551230001', NULL);
SELECT says('a5', '15:01', 'I am not', '15551230002', NULL);
SELECT * FROM people();
SELECT message_id, contact_key, wa_id FROM whatsapp.message_contacts ORDER BY 1;
SELECT message_id, words FROM whatsapp.conversation('1', '15551230001');
SELECT message_id, words FROM whatsapp.conversation('1', 'US.1');

-- the new owner has a BSUID, too, and it makes no difference how they are meant
SELECT says('b2', '16:00', 'still new', '15551230001', 'US.9');
SELECT * FROM people();
SELECT p.person, whatsapp.find_contact('1', p.person)
FROM (VALUES (1, 'US.1'), (2, 'US.2'), (3, '+1 (555) 123-0001'), (4, '0015551230002'), (5, '@ada.l'), (6, '@Ada.L'), (7, '15557777777'), (8, 'US.0'), (9, '@nobody')) p (ord, person)
ORDER BY p.ord;
CALL forget_all();

-- phone numbers alone, as before there were BSUIDs; and one that comes back
SELECT says('c1', '10:00', 'one', '15551230001', NULL);
SELECT tell('{"messages":[{"id":"c2","from":"15551230001","timestamp":"' || at('11:00') || '","type":"system","system":{"type":"customer_changed_number","customer":"15551230001","new_wa_id":"15551230002"}}]}');
SELECT says('c3', '12:00', 'another', '15551230001', NULL);
SELECT says('c4', '12:00', 'still one', '15551230002', NULL);
SELECT * FROM people();
SELECT tell('{"messages":[{"id":"c5","from":"15551230002","timestamp":"' || at('13:00') || '","type":"system","system":{"type":"user_changed_number","wa_id":"15551230001"}}]}');
SELECT says('c6', '14:00', 'one again', '15551230001', NULL);
SELECT * FROM people();
SELECT message_id, contact_key FROM whatsapp.message_contacts ORDER BY 1;
CALL forget_all();

-- what goes round in circles is one person, too
SELECT tell('{"messages":[{"id":"d1","timestamp":"' || at('10:00') || '","type":"system","system":{"type":"user_changed_user_id","user_id":"US.2","previous_user_id":"US.1"}},
	{"id":"d2","timestamp":"' || at('11:00') || '","type":"system","system":{"type":"user_changed_user_id","user_id":"US.1","previous_user_id":"US.2"}}]}');
SELECT * FROM people();
CALL forget_all();

-- as intermediaries tell it
SELECT tell('{"user_id_update":[{"wa_id":"15551230001","user_id":{"previous":"US.1","current":"US.2"},"parent_user_id":{"previous":"US.ENT.1","current":"US.ENT.2"},"timestamp":"' || at('10:00') || '"}]}', 'user_id_update');
SELECT * FROM people();
CALL forget_all();

-- what is no change of identifiers
SELECT tell('{"messages":[{"id":"e1","from":"15551230001","timestamp":"' || at('10:00') || '","type":"system","system":{"type":"customer_identity_changed"}},
	{"id":"e2","timestamp":"' || at('10:00') || '","type":"system","system":{"type":"user_changed_user_id","user_id":"US.4"}},
	{"id":"e3","from":"15551230001","timestamp":"' || at('10:00') || '","type":"system","system":{"type":"user_changed_number"}}]}');
SELECT * FROM whatsapp.contact_changes;
SELECT * FROM people();
CALL forget_all();

-- one phone number in two forms: both stay as they are
SELECT n.wa_id, whatsapp.other_form(n.wa_id), whatsapp.other_form(whatsapp.other_form(n.wa_id)) = n.wa_id AS back
FROM (VALUES ('5511987654321'), ('551187654321'), ('551133334444'), ('5215512345678'), ('525512345678'), ('5491123456789'), ('541123456789'), ('15551230001'), ('US.1'), (NULL)) n (wa_id);
SELECT says('f1', '10:00', 'oi', '551187654321', NULL);
SELECT tell('{"statuses":[{"id":"out","status":"failed","recipient_id":"5511987654321","timestamp":"' || at('11:00') || '"}]}');
SELECT says('f2', '12:00', 'hola', '5215512345678', 'MX.1');
SELECT tell('{"statuses":[{"id":"out2","status":"failed","recipient_id":"525512345678","timestamp":"' || at('13:00') || '"}]}');
SELECT * FROM people();
CALL forget_all();
-- what came by them is there once
SELECT says('f3', '10:00', 'by the BSUID', '525512345678', 'MX.1');
SELECT says('f4', '10:01', 'by the phone number', '525512345678', NULL);
SELECT says('f5', '10:02', 'by its other form', '5215512345678', NULL);
SELECT message_id, contact_key, words FROM whatsapp.conversation('1', 'MX.1');
SELECT contact_key, last_words, unread FROM whatsapp.conversations;
CALL forget_all();

-- what we have sent to, and Meta has another id of
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1', '+541155556666', 'Hola');
SELECT count(*) FROM whatsapp.claim(10);
SELECT r.* FROM whatsapp.outbox o, whatsapp.record(ARRAY[o.id], ARRAY[o.nonce], ARRAY['answered'], ARRAY[200],
	ARRAY['{"contacts":[{"input":"+541155556666","wa_id":"5491155556666"}],"messages":[{"id":"g1"}]}']::jsonb[], ARRAY[NULL], ARRAY[NULL]::integer[]) r;
SELECT contact_key, kind, value FROM whatsapp.contact_identifiers ORDER BY 2, 3;
SELECT contact_key, last_words, last_direction, last_status, unread FROM whatsapp.conversations;
SELECT whatsapp.find_contact('1', '+54 11 5555-6666');
DELETE FROM whatsapp.outbox;
CALL forget_all();

-- two numbers of ours: two contacts
SELECT tell('{"messages":[{"id":"h1","from_user_id":"US.1","timestamp":"' || at('10:00') || '"}]}', number => '1');
SELECT tell('{"messages":[{"id":"h1","from_user_id":"US.1","timestamp":"' || at('10:00') || '"}]}', number => '2');
SELECT phone_number_id, contact_key FROM whatsapp.contacts ORDER BY 1;
CALL forget_all();

-- a name of ours stays, whatever comes again, until they have another, later
SELECT tell('{"contacts":[{"user_id":"US.1","profile":{"name":"ada"}}],"messages":[{"id":"i1","from_user_id":"US.1","timestamp":"' || at('10:00') || '"}]}');
UPDATE whatsapp.contacts SET name = 'Ada, the poet''s daughter' WHERE user_id = 'US.1';
SELECT tell('{"contacts":[{"user_id":"US.1","profile":{"name":"zz"}}],"messages":[{"id":"i2","from_user_id":"US.1","timestamp":"' || at('11:00') || '"}]}');
SELECT name FROM whatsapp.contacts;
UPDATE whatsapp.contacts SET wa_id = '1';
DELETE FROM whatsapp.contacts;
CALL forget_all();

-- a conversation: the thread, what is unread, and who waits
SELECT says('j1', '10:00', 'Is it blue?', NULL, 'US.1');
SELECT contact_key, last_words, last_direction, unread, to_char(waiting_since, 'HH24:MI') AS waiting, to_char(window_until, 'DD HH24:MI') AS window_until FROM whatsapp.conversations;
SELECT tell('{"message_echoes":[{"id":"j2","from":"15550100200","to_user_id":"US.1","timestamp":"' || at('10:01') || '","type":"text","text":{"body":"It is."},"context":{"message_id":"j1"}}]}', 'smb_message_echoes');
SELECT contact_key, last_words, last_direction, unread, waiting_since FROM whatsapp.conversations;
SELECT says('j3', '10:02', 'Good', NULL, 'US.1', '{"context":{"id":"j2"}}');
SELECT says('j4', '10:03', 'And gree?', NULL, 'US.1');
SELECT says('j5', '10:04', NULL, NULL, 'US.1', '{"type":"edit","edit":{"original_message_id":"j4","message":{"type":"text","text":{"body":"And green?"}}}}');
SELECT says('j6', '10:05', 'Never mind', NULL, 'US.1');
SELECT says('j7', '10:06', NULL, NULL, 'US.1', '{"type":"revoke","revoke":{"original_message_id":"j6"}}');
SELECT says('j8', '10:07', NULL, NULL, 'US.1', '{"type":"reaction","reaction":{"message_id":"j2","emoji":"+"}}');
SELECT says('j9', '10:08', NULL, NULL, 'US.1', '{"type":"reaction","reaction":{"message_id":"j2","emoji":"!"}}');
-- nobody can edit or revoke what others have written
SELECT says('j10', '10:09', NULL, NULL, 'US.1', '{"type":"revoke","revoke":{"original_message_id":"j2"}}');
SELECT says('j11', '10:09', NULL, NULL, 'US.7', '{"type":"edit","edit":{"original_message_id":"j1","message":{"type":"text","text":{"body":"mine"}}}}');
SELECT message_id, direction, contact_key, words, to_char(edited_at, 'HH24:MI') AS edited, to_char(revoked_at, 'HH24:MI') AS revoked, quoted_id, quoted_words, reactions
FROM whatsapp.conversation('1', 'US.1');
SELECT message_id FROM whatsapp.conversation('1', 'US.1', 2);
SELECT message_id FROM whatsapp.conversation('1', 'US.1', 2, '2026-05-01 10:03');
SELECT contact_key, last_message_id, last_words, unread, to_char(waiting_since, 'HH24:MI') AS waiting FROM whatsapp.conversations;
SELECT contact_key, unread, to_char(waiting_since, 'HH24:MI') AS waiting FROM whatsapp.inbox;
SELECT whatsapp.mark_conversation_read('1', 'US.1', '2026-05-01 10:03');
SELECT contact_key, unread, to_char(waiting_since, 'HH24:MI') AS waiting FROM whatsapp.inbox;
-- who waits longest comes first; what has failed is no answer
SELECT says('k1', '09:00', 'Hello?', '15551230001', NULL);
SELECT contact_key FROM whatsapp.inbox;
SELECT tell('{"message_echoes":[{"id":"k2","from":"15550100200","to":"15551230001","timestamp":"' || at('09:01') || '","type":"text","text":{"body":"Hello!"}}]}', 'smb_message_echoes');
SELECT contact_key FROM whatsapp.inbox;
SELECT tell('{"statuses":[{"id":"k2","status":"failed","recipient_id":"15551230001","timestamp":"' || at('09:02') || '"}]}');
SELECT contact_key, last_words FROM whatsapp.inbox;
SELECT contact_key, last_words, last_status, unread FROM whatsapp.conversations ORDER BY last_message_at DESC;

-- from an ad: free for 72 hours, if we answer within a day
SELECT says('l1', '09:00', 'from your ad', NULL, 'US.5', '{"referral":{"source_type":"ad"}}');
SELECT free_entry_until FROM whatsapp.conversations WHERE contact_key = 'US.5';
SELECT tell('{"message_echoes":[{"id":"l2","from":"15550100200","to_user_id":"US.5","timestamp":"' || at('12:00') || '","type":"text","text":{"body":"Welcome"}}]}', 'smb_message_echoes');
SELECT free_entry_until FROM whatsapp.conversations WHERE contact_key = 'US.5';
SELECT tell('{"statuses":[{"id":"l2","status":"sent","recipient_user_id":"US.5","timestamp":"' || at('12:00') || '","conversation":{"origin":{"type":"referral_conversion"},"expiration_timestamp":"1777899600"}}]}');
SELECT free_entry_until FROM whatsapp.conversations WHERE contact_key = 'US.5';

-- a group is one conversation, and who is in it are people
SELECT tell('{"groups":[{"type":"group_create","group_id":"G1","subject":"Tour 12","timestamp":"' || at('08:00') || '"}]}', 'group_lifecycle_update');
SELECT says('m1', '08:01', 'to all', '15551230001', NULL, '{"group_id":"G1"}');
SELECT says('m2', '08:02', 'me, too', NULL, 'US.1', '{"group_id":"G1"}');
SELECT tell('{"groups":[{"type":"group_participants_add","group_id":"G1","timestamp":"' || at('08:03') || '","added_participants":[{"user_id":"US.6","username":"eve"}]}]}', 'group_participants_update');
SELECT contact_key, group_id, name, last_words, unread FROM whatsapp.conversations WHERE group_id IS NOT NULL;
SELECT message_id, contact_key, words FROM whatsapp.conversation('1', 'G1');
SELECT contact_key, username FROM whatsapp.contacts WHERE user_id = 'US.6';
SELECT count(*) FROM whatsapp.conversation('1', 'US.1') WHERE message_id LIKE 'm%';

-- what may be sent to whom
SELECT allowed, until, opted_out FROM whatsapp.can_send('US.1');
SELECT tell('{"messages":[{"id":"n1","from":"15551230008","from_user_id":"US.8","timestamp":"' || extract(epoch FROM date_trunc('second', now()) - interval '23 hours')::bigint || '"}]}');
SELECT allowed, until = date_trunc('second', now()) + interval '1 hour' AS in_an_hour, contact_key FROM whatsapp.can_send('+1 555 123-0008');
SELECT allowed, until FROM whatsapp.can_send('+15550000000');
SELECT allowed, until FROM whatsapp.can_send('G1');
SELECT whatsapp.can_send('US.1', NULL) FROM whatsapp.add_number('2', waba_id => '9');

-- who has opted out, under whatever identifier
SELECT tell('{"user_preferences":[{"user_id":"US.8","category":"marketing_messages","value":"stop","timestamp":"' || at('10:00') || '"}]}', 'user_preferences');
SELECT opted_out, allowed FROM whatsapp.can_send('15551230008', '1');
SELECT tell('{"user_preferences":[{"wa_id":"15551230008","category":"marketing_messages","value":"resume","timestamp":"' || at('11:00') || '"}]}', 'user_preferences');
SELECT opted_out FROM whatsapp.can_send('15551230008', '1');
SELECT whatsapp.opt_out('1', '15551230008');
SELECT opted_out FROM whatsapp.can_send('15551230008', '1');
SELECT tell('{"user_preferences":[{"user_id":"US.8","category":"marketing_messages","value":"resume","timestamp":"' || at('12:00') || '"}]}', 'user_preferences');
SELECT opted_out FROM whatsapp.contacts WHERE user_id = 'US.8';
SELECT whatsapp.opt_out('1', 'US.8', false);
SELECT opted_out FROM whatsapp.contacts WHERE user_id = 'US.8';

-- a marketing template does not go to who has opted out by another identifier
INSERT INTO whatsapp.templates (template_id, name, language, waba_id, category) VALUES ('1', 'sale', 'en', '9', 'MARKETING');
SELECT whatsapp.opt_out('1', 'US.8');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content) VALUES ('1', '15551230008', 'template', '{"name":"sale","language":{"code":"en"}}');
SELECT count(*) FROM whatsapp.claim(10) WHERE what = 'send';
SELECT state, error_code, error FROM whatsapp.outbox;
DELETE FROM whatsapp.outbox;
CALL forget_all();

-- to be forgotten
SET whatsapp.archive = 'all';
SELECT whatsapp.set_app_secret('secret');
SELECT count(*) FROM (SELECT whatsapp.ingest(c.bytes, whatsapp.sign(c.bytes, 'secret')) FROM (VALUES
	('{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"contacts":[{"wa_id":"15551230001","user_id":"US.1","profile":{"name":"Ada","username":"ada.l"}}],"messages":[{"id":"w\/1=","from":"15551230001","from_user_id":"US.1","timestamp":"1777629600","type":"image","image":{"id":"77"}}]}}]}]}'),
	('{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"statuses":[{"id":"w\/1=","status":"read","timestamp":"1777629600"}]}}]}]}'),
	('{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"messages":[{"id":"w2","from_user_id":"US.12","timestamp":"1777629600","type":"text","text":{"body":"1555123000"}}]}}]}]}'),
	('no JSON, but "US.1"'), ('no JSON')) b (body), convert_to(b.body, 'UTF8') c (bytes)) x;
SELECT says('o1', '10:00', 'I was it', '15551230001', NULL);
SELECT says('o2', '10:01', NULL, NULL, 'US.1', '{"type":"reaction","reaction":{"message_id":"w2","emoji":"+"}}');
SELECT tell('{"user_preferences":[{"user_id":"US.1","category":"marketing_messages","value":"stop","timestamp":"' || at('10:00') || '"}]}', 'user_preferences');
SELECT tell('{"state_sync":[{"type":"contact","action":"add","contact":{"full_name":"Ada L.","phone_number":"15551230001"},"metadata":{"timestamp":"' || at('10:00') || '"}}]}', 'smb_app_state_sync');
SELECT tell('{"calls":[{"id":"c1","event":"connect","from":"15551230001","direction":"USER_INITIATED","timestamp":"' || at('10:00') || '"}]}', 'calls');
SELECT tell('{"groups":[{"type":"group_participants_add","group_id":"G1","timestamp":"' || at('10:00') || '","added_participants":[{"user_id":"US.1","username":"ada.l"},{"user_id":"US.12"}]}]}', 'group_participants_update');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1', '15551230001', 'to her'), ('1', 'US.12', 'to another');
UPDATE whatsapp.outbox SET state = 'sending' WHERE body = 'to her';
SELECT * FROM whatsapp.forget('1', 'US.1');
UPDATE whatsapp.outbox SET state = 'queued' WHERE body = 'to her';
SELECT * FROM whatsapp.forget('1', 'US.1');
SELECT * FROM whatsapp.forget('1', 'US.1');
SELECT * FROM people();
SELECT message_id FROM whatsapp.messages;
SELECT field, event, element FROM whatsapp.events WHERE field <> 'contacts' ORDER BY 1;
SELECT convert_from(body, 'UTF8') AS body FROM whatsapp.webhooks ORDER BY 1;
SELECT recipient FROM whatsapp.outbox;
SELECT whatsapp.forget('1', 'group:G1');
SELECT whatsapp.forget('1', 'G1');
SELECT * FROM whatsapp.forget('1', '+15557777777');
CALL forget_all();
RESET whatsapp.archive;

-- who had a phone number before is forgotten without who has it now, and the other way round
SELECT says('p1', '10:00', 'one', '15551230001', NULL);
SELECT tell('{"messages":[{"id":"p2","from":"15551230001","timestamp":"' || at('11:00') || '","type":"system","system":{"type":"user_changed_number","wa_id":"15551230002"}}]}');
SELECT says('p3', '12:00', 'another', '15551230001', NULL);
SELECT table_name, removed, blanked FROM whatsapp.forget('1', '15551230002');
SELECT * FROM people();
SELECT message_id, contact_key FROM whatsapp.message_contacts;

CALL forget_all();

-- and once more, who had it after: nothing is left of either
SELECT says('q1', '10:00', 'one', '15551230001', NULL);
SELECT tell('{"messages":[{"id":"q2","from":"15551230001","timestamp":"' || at('11:00') || '","type":"system","system":{"type":"user_changed_number","wa_id":"15551230002"}}]}');
SELECT says('q3', '12:00', 'another', '15551230001', NULL);
SELECT count(*) > 0 AS removed FROM whatsapp.forget('1', '15551230002');
SELECT says('q1', '10:00', 'one', '15551230001', NULL);
SELECT message_id, contact_key FROM whatsapp.message_contacts ORDER BY 1;
SELECT count(*) > 0 AS removed FROM whatsapp.forget('1', '15551230001');
SELECT * FROM people();
SELECT count(*) > 0 AS removed FROM whatsapp.forget('1', '15551230001/1777633200');
SELECT count(*) AS messages, (SELECT count(*) FROM whatsapp.correspondents) AS correspondents FROM whatsapp.messages;
CALL forget_all();

-- a body with others in it goes, and one of another number stays; with a thousand messages, too
SET whatsapp.archive = 'all';
SELECT count(*) FROM (SELECT whatsapp.ingest(c.bytes, whatsapp.sign(c.bytes, 'secret')) FROM (VALUES
	('{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"messages":[{"id":"r1","from_user_id":"US.1","timestamp":"1777629600"},{"id":"r2","from_user_id":"US.2","timestamp":"1777629600"}]}}]}]}'),
	('{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"2"},"messages":[{"id":"r3","from_user_id":"US.1","timestamp":"1777629600"}]}}]}]}')) b (body), convert_to(b.body, 'UTF8') c (bytes)) x;
RESET whatsapp.archive;
INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, user_id, element) SELECT '1', 'many.' || i, 'inbound', 'US.1', '{}' FROM generate_series(1, 10000) i;
SELECT table_name, removed FROM whatsapp.forget('1', 'US.1');
SELECT phone_number_id, message_id FROM whatsapp.messages ORDER BY 2;
SELECT count(*) FROM whatsapp.webhooks WHERE convert_from(body, 'UTF8') LIKE '%r3%';
DELETE FROM whatsapp.webhooks;
CALL forget_all();

-- by a row of contacts
SELECT says('x1', '10:00', 'hello', '15551230001', 'US.1');
SELECT f.* FROM whatsapp.contacts c, whatsapp.forget(c) f WHERE c.wa_id = '15551230001';
SELECT count(*) FROM whatsapp.correspondents;

-- what is said of who had a phone number before does not hit who has it now
SELECT tell('{"contacts":[{"wa_id":"15551230001","profile":{"name":"Old"}}],"messages":[{"id":"s1","from":"15551230001","timestamp":"' || at('10:00') || '"}]}');
SELECT tell('{"messages":[{"id":"s2","from":"15551230009","timestamp":"' || at('11:00') || '","type":"system","system":{"type":"user_changed_number","wa_id":"15551230001"}}]}');
SELECT says('s3', '12:00', 'new', '15551230001', NULL);
SELECT key, name, first, last FROM people();
UPDATE whatsapp.contacts SET name = 'X' WHERE contact_key LIKE '%/%';
UPDATE whatsapp.contacts SET name = NULL;
SELECT whatsapp.opt_out('1', contact_key) FROM whatsapp.contacts WHERE contact_key LIKE '%/%';
SELECT whatsapp.opt_out('1', '@nobody');
SELECT whatsapp.mark_conversation_read('1', contact_key) FROM whatsapp.contacts WHERE contact_key LIKE '%/%';
SELECT contact_key, unread FROM whatsapp.conversations;
CALL forget_all();

-- a phone number that changes hands within a second
SELECT says('t1', '10:00', 'A', '15551230001', NULL);
SELECT says('t2', '10:00', 'B', '15551230003', NULL);
SELECT tell('{"messages":[{"id":"t3","from":"15551230001","timestamp":"' || at('11:00') || '","type":"system","system":{"type":"user_changed_number","wa_id":"15551230002"}},
	{"id":"t4","from":"15551230003","timestamp":"' || at('11:00') || '","type":"system","system":{"type":"user_changed_number","wa_id":"15551230001"}}]}');
SELECT says('t5', '12:00', 'B again', '15551230001', NULL);
SELECT message_id, contact_key FROM whatsapp.message_contacts ORDER BY 1;
CALL forget_all();

-- another BSUID beside a phone number says nothing of that
SELECT says('u1', '10:00', 'before', '15551230001', NULL);
SELECT tell('{"messages":[{"id":"u2","from":"15551230001","timestamp":"' || at('11:00') || '","type":"system","system":{"type":"user_changed_user_id","wa_id":"15551230001","user_id":"US.2","previous_user_id":"US.1"}}]}');
SELECT says('u3', '12:00', 'after', '15551230001', NULL);
SELECT message_id, contact_key FROM whatsapp.message_contacts ORDER BY 1;
CALL forget_all();

-- nobody was told that a phone number is another's, but for the BSUID: each has what was theirs
SELECT says('v1', '10:00', 'hers', '15551230001', 'US.1');
SELECT says('v2', '12:00', 'hers, too', '15551230001', NULL);
SELECT says('v3', '15:00', 'his', '15551230001', 'US.2');
SELECT says('v4', '15:30', 'his, too', '15551230001', NULL);
SELECT contact_key, last_message_id, last_words, to_char(window_until, 'DD HH24:MI') AS window_until, unread FROM whatsapp.conversations ORDER BY 1;
SELECT message_id FROM whatsapp.conversation('1', 'US.1');
SELECT message_id FROM whatsapp.conversation('1', 'US.2');
SELECT contact_key, since, until, is_shared, key FROM whatsapp.contacts c, whatsapp.contact_ids(c.phone_number_id, c.contact_key) ORDER BY 1, 5;
CALL forget_all();

-- ids that look like none, or like something else
SELECT says('w1', '10:00', 'odd', '15551230001', 'us 1/2');
SELECT says('w2', '11:00', 'odd, too', '15551230001', NULL);
SELECT message_id FROM whatsapp.conversation('1', 'us 1/2');
SELECT says('w3', '10:00', 'as a phone', 'US.3', NULL);
SELECT says('w4', '10:00', 'as a BSUID', NULL, 'US.3');
SELECT says('w5', '10:00', 'BSUID', NULL, 'US.4');
SELECT says('w6', '10:00', 'phone', 'US.4', NULL);
SELECT says('w7', '10:00', 'no group', 'group:G1', NULL);
SELECT contact_key, kind FROM whatsapp.correspondents ORDER BY contact_key COLLATE "C";
SELECT tell('{"message_echoes":[{"id":"w8","from":"15550100200","to":"G1","group_id":"G1","timestamp":"' || at('10:00') || '","type":"text","text":{"body":"to a group"}}]}', 'message_echoes');
SELECT tell('{"standby":{"message_echoes":[{"id":"w9","timestamp":"' || at('10:00') || '","message":{"recipient_type":"group","to":"G2","type":"text","text":{"body":"to a group"}}}]}}', 'standby');
SELECT contact_key, kind FROM whatsapp.correspondents WHERE contact_key ~ 'G' ORDER BY contact_key COLLATE "C";
-- without a time
SELECT tell('{"messages":[{"id":"w10","from":"15551230007"},{"id":"w11","from":"15551230007","type":"system","system":{"type":"user_changed_number","wa_id":"15551230008"}}]}');
SELECT message_id, contact_key FROM whatsapp.message_contacts WHERE wa_id = '15551230007' ORDER BY 1;
SELECT message_id FROM whatsapp.conversation('1', '15551230007');
CALL forget_all();

DROP FUNCTION tell, at, says, people;
DROP PROCEDURE forget_all;
DROP EXTENSION whatsapp;
