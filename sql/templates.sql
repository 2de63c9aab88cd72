-- What is known of templates: messages that Meta would refuse because of them,
-- what it answers when it is asked for them, and marketing messages to who wants
-- none.
CREATE EXTENSION whatsapp;
\set SHOW_CONTEXT never
SET client_min_messages = error;
SELECT whatsapp.add_number('1001', waba_id => '1'), whatsapp.add_number('1002', waba_id => '2'), whatsapp.add_number('1003');

CREATE PROCEDURE queue(name text, components jsonb DEFAULT NULL, recipient text DEFAULT '15551230001', language text DEFAULT 'en_US', number text DEFAULT '1001') LANGUAGE sql AS $$
	INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content)
	VALUES (number, recipient, 'template', jsonb_strip_nulls(jsonb_build_object('name', name, 'language', jsonb_build_object('code', language), 'components', components)))
$$;

-- as Meta answers
SELECT whatsapp.import_templates('1', '{"data": [
	{"id": "1", "name": "plain", "language": "en_US", "status": "APPROVED", "category": "UTILITY", "parameter_format": "POSITIONAL",
		"components": [{"type": "BODY", "text": "Hello"}, {"type": "FOOTER", "text": "Bye"}]},
	{"id": "2", "name": "order_ready", "language": "en_US", "status": "APPROVED", "category": "UTILITY", "quality_score": {"score": "GREEN", "date": 1750101000}, "components": [
		{"type": "HEADER", "format": "TEXT", "text": "Order {{1}}"}, {"type": "BODY", "text": "Hi {{1}}, {{2}} is ready, {{1}}!"},
		{"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Thanks"}, {"type": "URL", "text": "Track", "url": "https://example.com/{{1}}"}, {"type": "URL", "text": "Home", "url": "https://example.com/"}]}]},
	{"id": "3", "name": "named", "language": "en_US", "status": "APPROVED", "parameter_format": "NAMED", "components": [{"type": "HEADER", "format": "TEXT", "text": "News"}, {"type": "BODY", "text": "Hi {{first}}, no. {{no}} is ready"}]},
	{"id": "4", "name": "image", "language": "en_US", "status": "APPROVED", "components": [{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "Look"}]},
	{"id": "5", "name": "place", "language": "en_US", "status": "APPROVED", "components": [{"type": "HEADER", "format": "LOCATION"}, {"type": "BODY", "text": "Look"}]},
	{"id": "6", "name": "cards", "language": "en_US", "status": "APPROVED", "components": [{"type": "BODY", "text": "Look"}, {"type": "CAROUSEL", "cards": [
		{"components": [{"type": "HEADER", "format": "IMAGE"}]}, {"components": [{"type": "HEADER", "format": "VIDEO"}]}]}]},
	{"id": "7", "name": "products", "language": "en_US", "status": "APPROVED", "components": [{"type": "BODY", "text": "Look"}, {"type": "CAROUSEL", "cards": [
		{"components": [{"type": "HEADER", "format": "PRODUCT"}]}, {"components": [{"type": "HEADER", "format": "PRODUCT"}]}]}]},
	{"id": "8", "name": "code", "language": "en_US", "status": "APPROVED", "category": "AUTHENTICATION", "components": [{"type": "BODY", "text": "*{{1}}* is it."},
		{"type": "BUTTONS", "buttons": [{"type": "URL", "text": "Copy", "url": "https://www.whatsapp.com/otp/code/?code=otp{{1}}"}]}]},
	{"id": 9, "name": "sale", "language": "en_US", "status": "APPROVED", "category": "MARKETING", "components": [{"type": "BODY", "text": "All must go"}]}
	], "paging": {"cursors": {"before": "a", "after": "b"}}}');
SELECT template_id, name, status, quality, category, jsonb_array_length(components) AS components, name_at = components_at AS at_once FROM whatsapp.templates ORDER BY 1;
SELECT name, whatsapp.template_needs('1001', name, language) - 'name' AS needs FROM whatsapp.templates ORDER BY template_id;

-- what cannot be sent because of what is known, and what can
CALL queue('order_ready', language => 'de');
CALL queue('unknown', language => 'de');
CALL queue('order_ready', language => 'de', number => '1002');
CALL queue('order_ready', language => 'de', number => '1003');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content) VALUES ('1001', '15551230001', 'template', '{"name": "order_ready"}');

CALL queue('plain', '[{"type": "body", "parameters": [{"type": "text", "text": "secret"}]}]');
CALL queue('plain', '[{"type": "header", "parameters": [{"type": "text", "text": "secret"}]}]');
CALL queue('plain');
CALL queue('plain', '[]', language => 'en-us');
CALL queue('plain', '[{"type": "body", "parameters": []}, {"type": "header"}]');

\set header '{"type": "header", "parameters": [{"type": "text", "text": "7"}]}'
\set body '{"type": "body", "parameters": [{"type": "text", "text": "Ada"}, {"type": "text", "text": "7"}]}'
\set button '{"type": "button", "sub_type": "url", "index": "1", "parameters": [{"type": "text", "text": "7"}]}'
SELECT '[' || :'header' || ',' || :'button' || ', {"type": "body", "parameters": [{"type": "text", "text": "Ada"}, {"type": "text", "text": "7"}, {"type": "text", "text": "8"}]}]' AS three,
	'[' || :'header' || ',' || :'button' || ']' AS none, '[' || :'body' || ',' || :'button' || ']' AS no_header, '[' || :'body' || ',' || :'header' || ']' AS no_button,
	'[' || :'body' || ',' || :'header' || ',' || replace(:'button', '"1"', '2') || ']' AS other_button,
	'[' || :'body' || ',' || :'header' || ',' || replace(:'button', '"type": "text", "text": "7"', '"type": "payload", "payload": "7"') || ']' AS no_text,
	'[' || :'body' || ',' || :'button' || ',' || replace(:'header', '"parameters": [', '"parameters": [{"type": "text", "text": "8"},') || ']' AS two_headers,
	'[' || :'body' || ',' || :'button' || ',' || replace(:'header', '"text", "text": "7"', '"image", "image": {"id": "7"}') || ']' AS image,
	'[' || :'body' || ',' || :'header' || ',' || replace(:'button', '"1"', '1') || ']' AS good \gset
CALL queue('order_ready', :'three');
CALL queue('order_ready', :'none');
CALL queue('order_ready', :'no_header');
CALL queue('order_ready', :'two_headers');
CALL queue('order_ready', :'image');
CALL queue('order_ready', :'no_button');
CALL queue('order_ready', :'other_button');
CALL queue('order_ready', :'no_text');
CALL queue('order_ready', :'good');
CALL queue('order_ready', replace(:'good', '"type": "body"', '"type": "BODY"')::jsonb);

CALL queue('named', :'no_header');
CALL queue('named', '[{"type": "body", "parameters": [{"type": "text", "text": "Ada", "parameter_name": "first"}]}]');
CALL queue('named', '[{"type": "body", "parameters": [{"type": "text", "text": "Ada", "parameter_name": "first"}, {"type": "text", "text": "7", "parameter_name": "no"}, {"type": "text", "text": "7", "parameter_name": "secret"}]}]');
CALL queue('named', '[{"type": "body", "parameters": [{"type": "text", "text": "Ada", "parameter_name": "first"}, {"type": "text", "text": "7", "parameter_name": "no"}, {"type": "text", "text": "7"}]}]');
CALL queue('named', '[{"type": "body", "parameters": [{"type": "text", "text": "7", "parameter_name": "no"}, {"type": "text", "text": "Ada", "parameter_name": "first"}]}]');

CALL queue('image');
CALL queue('image', '[{"type": "header", "parameters": [{"type": "video", "video": {"id": "7"}}]}]');
CALL queue('image', '[{"type": "header", "parameters": [{"type": "image", "image": {"id": "7"}}]}]');
CALL queue('image', '[{"type": "header", "parameters": [{"type": "hologram", "hologram": {"id": "7"}}]}]');
CALL queue('place', '[{"type": "header", "parameters": [{"type": "text", "text": "7"}]}]');
CALL queue('place', '[{"type": "header", "parameters": [{"type": "location", "location": {"latitude": "52", "longitude": "13"}}]}]');

CALL queue('cards', '[{"type": "carousel", "cards": [{"card_index": 0, "components": []}, {"card_index": 1, "components": []}, {"card_index": 2, "components": []}]}]');
CALL queue('cards');
CALL queue('cards', '[{"type": "carousel", "cards": [{"card_index": 0, "components": []}, {"card_index": 1, "components": []}]}]');
CALL queue('products', '[{"type": "carousel", "cards": [{"card_index": 0, "components": []}, {"card_index": 1, "components": []}, {"card_index": 2, "components": []}]}]');

\set code '[{"type": "body", "parameters": [{"type": "text", "text": "123456"}]}, {"type": "button", "sub_type": "url", "index": 0, "parameters": [{"type": "text", "text": "123456"}]}]'
CALL queue('code', :'code', recipient => 'US.1');
CALL queue('code', replace(:'code', '123456', '1234567890123456')::jsonb);
CALL queue('plain', recipient => 'US.1');
CALL queue('code', :'code');

-- what is no template at all is refused before; what is just not understood is left to Meta
CALL queue('order_ready', '{"type": "body"}');
CALL queue('order_ready', '7');
CALL queue('order_ready', '[7]');
CALL queue('order_ready', '[{"type": "Body"}]');
CALL queue('order_ready', '[{"type": 7}]');
CALL queue('order_ready', '[{"type": "body", "parameters": {"0": "Ada"}}]');
CALL queue('plain', '[{"type": "body", "parameters": [7]}, {"type": "body"}]');
CALL queue('order_ready', '[{"type": "button", "sub_type": "url", "parameters": []}]');
CALL queue('cards', '[{"type": "carousel", "cards": 7}]');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content) SELECT '1001', '15551230001', 'template', c::jsonb
FROM unnest(ARRAY['7', '[]', 'null', '{"name": {"a": 1}, "language": 7}', '{"name": 7, "language": {"code": [7]}}']) c;

-- of one statement, the first that is wrong; of several templates, each its own; rows from dumps are not looked at
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content)
SELECT '1001', 15551240000 + i, 'template', jsonb_build_object('name', name, 'language', '{"code": "en_US"}'::jsonb)
FROM (VALUES (1, 'plain'), (2, 'sale'), (3, 'cards'), (4, 'image')) v (i, name) ORDER BY i;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content, created_at) VALUES ('1001', '15551230001', 'template', '{"name": "image", "language": {"code": "en_US"}}', '2026-01-01');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content, state) VALUES ('1001', '15551230001', 'template', '{"name": "image", "language": {"code": "en_US"}}', 'cancelled');

-- what is asked of a message that is not queued
SELECT * FROM whatsapp.template_complaint('1001', '+15551230001', '{"name": "image", "language": {"code": "en_US"}}');
SELECT * FROM whatsapp.template_complaint('1001', '+15551230001', '{"name": "plain", "language": {"code": "en_US"}}');
SELECT * FROM whatsapp.template_complaint(NULL, NULL, NULL);

-- by what it is
DELETE FROM whatsapp.outbox;
CREATE VIEW states AS SELECT s, 'x' || place AS name, place FROM unnest('{APPROVED, REINSTATED, FLAGGED, UNARCHIVED, LIMIT_EXCEEDED, LOCKED, PENDING_DELETION, PAUSED, NULL, strange, PENDING, IN_APPEAL, REJECTED, DISABLED, DELETED, ARCHIVED, rejected}'::text[]) WITH ORDINALITY u (s, place);
SELECT whatsapp.import_templates('2', (SELECT jsonb_agg(jsonb_build_object('id', place, 'name', name, 'language', 'de', 'status', s)) FROM states));
SELECT s AS status, c.complaint
FROM states LEFT JOIN LATERAL whatsapp.template_complaint('1002', '+15551230001', jsonb_build_object('name', name, 'language', '{"code": "de"}'::jsonb)) c ON true
ORDER BY place;
DROP VIEW states;
DELETE FROM whatsapp.templates WHERE waba_id = '2';
SELECT whatsapp.import_templates('2', '[{"id": "1", "name": "notice", "language": "de", "status": "REJECTED", "rejected_reason": "SCAM"}, {"id": "2", "name": "notice", "language": "fr", "status": "DELETED"}]');
CALL queue('notice', language => 'de', number => '1002');
CALL queue('notice', language => 'fr', number => '1002');
CALL queue('notice', language => 'en_US', number => '1002');
-- deleted, and made anew; and where all were deleted
SELECT whatsapp.import_templates('2', '[{"id": "3", "name": "notice", "language": "fr", "status": "APPROVED"}, {"id": "1", "name": "notice", "language": "de", "status": "DELETED"}]');
CALL queue('notice', language => 'fr', number => '1002');
SELECT whatsapp.import_templates('2', '[{"id": "3", "name": "notice", "language": "fr", "status": "DELETED"}]');
CALL queue('notice', language => 'en_US', number => '1002');

-- as webhooks tell it
CREATE FUNCTION tell(field text, value jsonb, at bigint DEFAULT 1750101000) RETURNS void LANGUAGE sql AS $$
	SELECT whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object('id', '2', 'time', at, 'changes', jsonb_build_array(jsonb_build_object(
		'field', field, 'value', '{"message_template_id": 70, "message_template_name": "parcel", "message_template_language": "en_US"}'::jsonb || value))))))
$$;
SELECT tell('message_template_components_update', '{"message_template_element": "Hi {{1}}", "message_template_title": "Parcel {{1}}", "message_template_footer": "Bye",
	"message_template_buttons": [{"message_template_button_type": "URL", "message_template_button_text": "Track", "message_template_button_url": "https://example.com/{{1}}"}]}');
SELECT whatsapp.template_needs('1002', 'parcel', 'en_US');
CALL queue('parcel', number => '1002');
CALL queue('parcel', '[{"type": "header", "parameters": [{"type": "text", "text": "7"}]}]', number => '1002');
CALL queue('parcel', '[{"type": "header", "parameters": [{"type": "text", "text": "7"}]}, {"type": "body", "parameters": [{"type": "text", "text": "Ada"}]}]', number => '1002');
CALL queue('parcel', '[{"type": "header", "parameters": [{"type": "text", "text": "7"}]}, {"type": "body", "parameters": [{"type": "text", "text": "Ada"}]}, {"type": "button", "sub_type": "url", "index": 0, "parameters": [{"type": "text", "text": "7"}]}]', number => '1002');
-- (a header that is no text is not told)
SELECT tell('message_template_components_update', '{"message_template_element": "Hi"}', 1750102000);
SELECT whatsapp.template_needs('1002', 'parcel', 'en_US');
CALL queue('parcel', number => '1002');
CALL queue('parcel', '[{"type": "header", "parameters": [{"type": "image", "image": {"id": "7"}}]}]', number => '1002');
SELECT tell('message_template_status_update', '{"event": "DISABLED", "reason": "NONE"}');
CALL queue('parcel', number => '1002');
-- what was asked before does not count, and what was asked later does
SELECT whatsapp.import_templates('2', '[{"id": "70", "name": "parcel", "language": "en_US", "status": "APPROVED", "components": [{"type": "BODY", "text": "{{1}}"}]}]', to_timestamp(1750100000));
SELECT status, status_at, components, components_at FROM whatsapp.templates WHERE template_id = '70';
SELECT whatsapp.import_templates('2', '[{"id": "70", "name": "parcel", "language": "en_US", "status": "APPROVED"}]', to_timestamp(1750103000));
SELECT status, status_reason, extract(epoch FROM status_at)::bigint AS status_at, components, extract(epoch FROM components_at)::bigint AS components_at, quality_at FROM whatsapp.templates WHERE template_id = '70';
CALL queue('parcel', number => '1002');

-- variables
SELECT w AS words, whatsapp.template_variables(w) FROM unnest(ARRAY[NULL, '', 'none {1}', '{{1}}{{2}} {{1}}', '{{ 1 }}', '{{2}}', '{{1}} {{3}}', '{{a_1}} {{b}} {{a_1}}', '{{1}} {{a}}', '{{}}', '{{a-b}}', '{{99999999999}}', '{{0}}']) w;

-- what is no answer, or parts of which are not
DELETE FROM whatsapp.templates;
SELECT a AS answer, whatsapp.import_templates('1', a::jsonb)
FROM unnest(ARRAY[NULL, 'null', '7', '"x"', '[]', '{}', '{"data": 7}', '{"data": {}}', '{"error": {"code": 190}}', '[null, 7, "x", [], {}]', '[[{"id": "1"}]]',
	'[{"id": "1"}]', '[{"id": "1", "name": "a"}]', '[{"id": "1", "name": 7, "language": "de"}]', '[{"id": "1", "name": "a", "language": null}]', '[{"id": true, "name": "a", "language": "de"}]',
	'[{"id": "", "name": "a", "language": "de"}]', '[{"id": "1", "name": "", "language": "de"}]', '[{"id": "1", "name": "a", "language": ""}]']) a;
SELECT whatsapp.import_templates('1', jsonb_build_array(jsonb_build_object('id', '1', 'name', repeat('a', 513), 'language', 'de'), jsonb_build_object('id', repeat('1', 101), 'name', 'a', 'language', 'de'), jsonb_build_object('id', '1', 'name', 'a', 'language', repeat('d', 101))));
SELECT whatsapp.import_templates('1', '[{"id": 1, "name": "a", "language": "de", "status": 7, "category": [], "components": {}, "quality_score": {"score": {}}},
	{"id": "2", "name": "b", "language": "de", "quality_score": "RED", "components": [7, {"type": 7}, {"type": "BODY"}, {"type": "BODY", "text": []}, {"type": "BUTTONS", "buttons": {}}, {"type": "CAROUSEL", "cards": [7]}, {"type": "HEADER", "format": {}}]},
	{"id": "3", "name": "c", "language": "de"}, {"id": "3", "name": "d", "language": "de"},
	{"id": "4", "name": "e", "language": "de", "components": [{"type": "HEADER"}, {"type": "BODY", "text": "{{1}}"}, {"type": "BUTTONS", "buttons": [7, {"type": "URL"}, {"type": "URL", "url": 7}]}, {"type": "CAROUSEL", "cards": {}}]},
	{"id": "5", "name": "f", "language": "de", "components": []}]');
SELECT template_id, name, status, category, quality, whatsapp.template_needs('1001', name, language) AS needs FROM whatsapp.templates ORDER BY 1;
SELECT whatsapp.import_templates(NULL, '[]');
SELECT whatsapp.import_templates('', '[]');

-- who wants no marketing messages gets none, and that is known when they are queued
TRUNCATE whatsapp.outbox, whatsapp.templates;
CREATE VIEW queued AS SELECT recipient, coalesce(body, content ->> 'name') AS what, state, waits_for, error_code, error, finished_at = created_at AS finished, failed_at = created_at AS failed FROM whatsapp.outbox ORDER BY id;
CREATE VIEW tallied AS SELECT phone_number_id, sum(queued) AS queued, sum(not_due) AS not_due, sum(sending) AS sending FROM whatsapp.tallies GROUP BY 1 ORDER BY 1;
SELECT whatsapp.import_templates('1', '[{"id": "1", "name": "sale", "language": "en_US", "category": "MARKETING"}, {"id": "2", "name": "notice", "language": "en_US", "category": "UTILITY"}]');
SELECT whatsapp.opt_out('1001', '15551230001');
-- not from other numbers, nor of other templates; unless the row says so
CALL queue('sale');
CALL queue('notice');
CALL queue('unknown');
CALL queue('sale', recipient => '15551230002');
CALL queue('sale', number => '1002');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content, marketing) VALUES ('1001', '+1 (555) 123-0001', 'template', '{"name": "unknown", "language": {"code": "en_US"}}', true);
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'no template');
SELECT * FROM queued;
SELECT * FROM tallied;
-- nobody waits for them, and they wait for nobody
TRUNCATE whatsapp.outbox;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content, body, send_after)
SELECT '1001', '15551230001', type, content::jsonb, body, send_after
FROM (VALUES (1, 'template', '{"name": "sale", "language": {"code": "en_US"}}', NULL, NULL::timestamptz), (2, 'text', NULL, 'first', NULL), (3, 'template', '{"name": "sale", "language": {"code": "en_US"}}', NULL, NULL),
	(4, 'template', '{"name": "sale", "language": {"code": "en_US"}}', NULL, 'infinity'), (5, 'text', NULL, 'second', NULL)) v (ord, type, content, body, send_after)
ORDER BY ord;
SELECT recipient, what, state, waits_for, finished FROM queued;
SELECT * FROM tallied;
SELECT * FROM whatsapp.changed_lanes WHERE recipient_key <> '+15551230001';
-- rows from dumps are as they are
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content, created_at) VALUES ('1001', '15551230001', 'template', '{"name": "sale", "language": {"code": "en_US"}}', '2026-01-01');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content, state) VALUES ('1001', '15551230001', 'template', '{"name": "sale", "language": {"code": "en_US"}}', 'cancelled');
SELECT what, state, waits_for, error_code FROM queued OFFSET 5;
-- until they want it again
TRUNCATE whatsapp.outbox;
SELECT whatsapp.opt_out('1001', '15551230001', false);
CALL queue('sale');
SELECT recipient, what, state, error_code FROM queued;

-- under other identifiers
CREATE FUNCTION tell(value text, field text DEFAULT 'messages') RETURNS void LANGUAGE sql AS $$
	SELECT whatsapp.ingest_unsigned(('{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"' || field || '","value":' || jsonb_set(value::jsonb, '{metadata}', '{"phone_number_id":"1001"}')::text || '}]}]}')::jsonb)
$$;
TRUNCATE whatsapp.outbox;
SELECT tell('{"messages":[{"id":"a","from":"15551230011","from_user_id":"US.11","timestamp":"1750101000","type":"text","text":{"body":"hi"}},{"id":"b","from":"15551230012","from_user_id":"US.12","timestamp":"1750101000","type":"text","text":{"body":"hi"}},
	{"id":"c","from":"15551230013","timestamp":"1750101000","type":"text","text":{"body":"hi"}},{"id":"d","from":"15551230013","timestamp":"1750102000","type":"system","system":{"type":"user_changed_number","wa_id":"15551230014"}}]}');
SELECT tell('{"user_preferences":[{"user_id":"US.11","category":"marketing_messages","value":"stop","timestamp":"1750103000"},{"wa_id":"15551230012","category":"marketing_messages","value":"stop","timestamp":"1750103000"},
	{"wa_id":"15551230013","category":"marketing_messages","value":"stop","timestamp":"1750101500"},{"wa_id":"5511987654321","category":"marketing_messages","value":"stop","timestamp":"1750101500"}]}', 'user_preferences');
-- each by itself, and all at once: that is looked for from the other end
SELECT whatsapp.enqueue(r, 'template', NULL, '{"name": "sale", "language": {"code": "en_US"}}', '1001') > 0 AS queued FROM unnest('{15551230011, US.11, 15551230012, US.12, 15551230013, 15551230014, 551187654321, 15551230019}'::text[]) r;
SELECT recipient, state, error_code FROM queued;
TRUNCATE whatsapp.outbox;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content)
SELECT '1001', r, 'template', '{"name": "sale", "language": {"code": "en_US"}}' FROM unnest('{15551230011, US.11, 15551230012, US.12, 15551230013, 15551230014, 551187654321, 15551230019}'::text[]) WITH ORDINALITY r (r, place) ORDER BY place;
SELECT recipient, state, error_code FROM queued;
SELECT * FROM tallied;
-- the newest counts, by whatever identifier it came
TRUNCATE whatsapp.outbox;
SELECT tell('{"user_preferences":[{"wa_id":"15551230011","category":"marketing_messages","value":"resume","timestamp":"1750104000"},{"user_id":"US.12","category":"marketing_messages","value":"resume","timestamp":"1750102000"}]}', 'user_preferences');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content)
SELECT '1001', r, 'template', '{"name": "sale", "language": {"code": "en_US"}}' FROM unnest('{15551230011, US.11, 15551230012, US.12}'::text[]) WITH ORDINALITY r (r, place) ORDER BY place;
SELECT recipient, state, error_code FROM queued;
-- a change that somebody objects to does not keep it from being queued, nor from failing later
TRUNCATE whatsapp.outbox;
CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE TRIGGER object BEFORE UPDATE ON whatsapp.outbox FOR EACH ROW EXECUTE FUNCTION object();
CALL queue('sale', recipient => 'US.12');
SELECT recipient, state, error_code FROM queued;
DROP FUNCTION object() CASCADE;
SELECT count(*) FROM whatsapp.claim_rows(ARRAY(SELECT id FROM whatsapp.outbox)) WHERE what = 'send';
SELECT recipient, state, error_code FROM queued;
SELECT * FROM tallied;

DROP VIEW queued, tallied;
DROP PROCEDURE queue(text, jsonb, text, text, text);
DROP FUNCTION tell(text, jsonb, bigint);
DROP FUNCTION tell(text, text);
DROP EXTENSION whatsapp;
