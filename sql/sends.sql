-- Each kind of message: what is sent for it, key by key.  The bodies are written
-- from Meta's reference, without what all have.
CREATE EXTENSION whatsapp;
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SELECT whatsapp.add_number('106540352242922');

CREATE TABLE expected (call text, body jsonb);
INSERT INTO expected VALUES
($$send_text('15551234567', 'Hi')$$, '{"type": "text", "text": {"body": "Hi"}}'),
($$send_text('15551234567', 'Hi https://ex.org', preview_url => true)$$, '{"type": "text", "text": {"body": "Hi https://ex.org", "preview_url": true}}'),
($$send_image('15551234567', media_id => '1234', caption => 'Front')$$, '{"type": "image", "image": {"id": "1234", "caption": "Front"}}'),
($$send_image('15551234567', 'https://ex.org/a.jpg')$$, '{"type": "image", "image": {"link": "https://ex.org/a.jpg"}}'),
($$send_video('15551234567', media_id => '1234', caption => 'Clip')$$, '{"type": "video", "video": {"id": "1234", "caption": "Clip"}}'),
($$send_audio('15551234567', media_id => '1234', voice => true)$$, '{"type": "audio", "audio": {"id": "1234", "voice": true}}'),
($$send_audio('15551234567', 'https://ex.org/a.mp3')$$, '{"type": "audio", "audio": {"link": "https://ex.org/a.mp3"}}'),
($$send_document('15551234567', 'https://ex.org/i.pdf', filename => 'INV-7.pdf', caption => 'Invoice')$$,
	'{"type": "document", "document": {"link": "https://ex.org/i.pdf", "caption": "Invoice", "filename": "INV-7.pdf"}}'),
($$send_sticker('15551234567', media_id => '1234')$$, '{"type": "sticker", "sticker": {"id": "1234"}}'),
($$send_location('15551234567', 52.52, 13.40, 'Shop', 'Street 1')$$,
	'{"type": "location", "location": {"latitude": 52.52, "longitude": 13.40, "name": "Shop", "address": "Street 1"}}'),
($$send_contacts('15551234567', '{"name": {"formatted_name": "Ada L", "first_name": "Ada"}, "phones": [{"phone": "+4930123", "type": "WORK", "wa_id": "4930123"}]}')$$,
	'{"type": "contacts", "contacts": [{"name": {"formatted_name": "Ada L", "first_name": "Ada"}, "phones": [{"phone": "+4930123", "type": "WORK", "wa_id": "4930123"}]}]}'),
($$send_reaction('wamid.X', '👍', recipient => '15551234567')$$, '{"type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": "👍"}}'),
($$send_reaction('wamid.X', '', recipient => '15551234567')$$, '{"type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": ""}}'),
($$send_buttons('15551234567', 'Text', '[{"id": "y", "title": "Yes"}, {"id": "n", "title": "No"}]', header => 'Title', footer => 'Small')$$,
	'{"type": "interactive", "interactive": {"type": "button", "header": {"type": "text", "text": "Title"}, "body": {"text": "Text"}, "footer": {"text": "Small"},
		"action": {"buttons": [{"type": "reply", "reply": {"id": "y", "title": "Yes"}}, {"type": "reply", "reply": {"id": "n", "title": "No"}}]}}}'),
($$send_buttons('15551234567', 'Text', '["Yes", "No"]', header_media => '{"image": {"id": "1"}}')$$,
	'{"type": "interactive", "interactive": {"type": "button", "header": {"type": "image", "image": {"id": "1"}}, "body": {"text": "Text"},
		"action": {"buttons": [{"type": "reply", "reply": {"id": "Yes", "title": "Yes"}}, {"type": "reply", "reply": {"id": "No", "title": "No"}}]}}}'),
($$send_list('15551234567', 'Text', 'Choose', '[{"title": "S", "rows": [{"id": "r1", "title": "Row", "description": "d"}]}]', header => 'Title')$$,
	'{"type": "interactive", "interactive": {"type": "list", "header": {"type": "text", "text": "Title"}, "body": {"text": "Text"},
		"action": {"button": "Choose", "sections": [{"title": "S", "rows": [{"id": "r1", "title": "Row", "description": "d"}]}]}}}'),
($$send_list('15551234567', 'Text', 'Choose', '[{"id": "r1", "title": "Row"}]')$$,
	'{"type": "interactive", "interactive": {"type": "list", "body": {"text": "Text"}, "action": {"button": "Choose", "sections": [{"rows": [{"id": "r1", "title": "Row"}]}]}}}'),
($$send_cta_url('15551234567', 'Text', 'Open', 'https://ex.org', header_media => '{"document": {"link": "https://ex.org/a.pdf", "filename": "a.pdf"}}')$$,
	'{"type": "interactive", "interactive": {"type": "cta_url", "header": {"type": "document", "document": {"link": "https://ex.org/a.pdf", "filename": "a.pdf"}},
		"body": {"text": "Text"}, "action": {"name": "cta_url", "parameters": {"display_text": "Open", "url": "https://ex.org"}}}}'),
($$send_flow('15551234567', 'Text', 'Book', flow_id => '1', flow_token => 't', screen => 'S1', data => '{"k": "v", "n": null}', mode => 'published')$$,
	'{"type": "interactive", "interactive": {"type": "flow", "body": {"text": "Text"}, "action": {"name": "flow", "parameters": {"flow_message_version": "3", "flow_id": "1",
		"flow_token": "t", "flow_cta": "Book", "flow_action": "navigate", "flow_action_payload": {"screen": "S1", "data": {"k": "v", "n": null}}, "mode": "published"}}}}'),
($$send_flow('15551234567', 'Text', 'Book', flow_name => 'f', flow_action => 'data_exchange')$$,
	'{"type": "interactive", "interactive": {"type": "flow", "body": {"text": "Text"}, "action": {"name": "flow", "parameters": {"flow_message_version": "3", "flow_name": "f",
		"flow_cta": "Book", "flow_action": "data_exchange"}}}}'),
($$send_location_request('15551234567', 'Text')$$,
	'{"type": "interactive", "interactive": {"type": "location_request_message", "body": {"text": "Text"}, "action": {"name": "send_location"}}}'),
($$send_address_request('15551234567', 'Text', 'IN', "values" => '{"name": "Ada", "in_pin_code": "560001"}', saved_addresses => '[{"id": "a1", "value": {"name": "Ada"}}]',
	validation_errors => '{"in_pin_code": "bad"}')$$,
	'{"type": "interactive", "interactive": {"type": "address_message", "body": {"text": "Text"}, "action": {"name": "address_message", "parameters": {"country": "IN",
		"values": {"name": "Ada", "in_pin_code": "560001"}, "saved_addresses": [{"id": "a1", "value": {"name": "Ada"}}], "validation_errors": {"in_pin_code": "bad"}}}}}'),
($$send_contact_request('15551234567', 'Text')$$,
	'{"type": "interactive", "interactive": {"type": "request_contact_info", "body": {"text": "Text"}, "action": {"name": "request_contact_info"}}}'),
($$send_product('15551234567', '1', 'SKU', body => 'Text')$$,
	'{"type": "interactive", "interactive": {"type": "product", "body": {"text": "Text"}, "action": {"catalog_id": "1", "product_retailer_id": "SKU"}}}'),
($$send_products('15551234567', '1', 'Title', 'Text', '["SKU", "SKV"]')$$,
	'{"type": "interactive", "interactive": {"type": "product_list", "header": {"type": "text", "text": "Title"}, "body": {"text": "Text"},
		"action": {"catalog_id": "1", "sections": [{"product_items": [{"product_retailer_id": "SKU"}, {"product_retailer_id": "SKV"}]}]}}}'),
($$send_products('15551234567', '1', 'Title', 'Text', '[{"title": "S", "product_items": [{"product_retailer_id": "SKU"}]}]', footer => 'Small')$$,
	'{"type": "interactive", "interactive": {"type": "product_list", "header": {"type": "text", "text": "Title"}, "body": {"text": "Text"}, "footer": {"text": "Small"},
		"action": {"catalog_id": "1", "sections": [{"title": "S", "product_items": [{"product_retailer_id": "SKU"}]}]}}}'),
($$send_catalog('15551234567', 'Text', 'SKU')$$,
	'{"type": "interactive", "interactive": {"type": "catalog_message", "body": {"text": "Text"}, "action": {"name": "catalog_message", "parameters": {"thumbnail_product_retailer_id": "SKU"}}}}'),
($$send_catalog('15551234567', 'Text')$$,
	'{"type": "interactive", "interactive": {"type": "catalog_message", "body": {"text": "Text"}, "action": {"name": "catalog_message"}}}'),
($$send_carousel('15551234567', 'Text', '[
	{"type": "product", "action": {"catalog_id": "1", "product_retailer_id": "SKU"}}, {"type": "product", "action": {"catalog_id": "1", "product_retailer_id": "SKV"}}]')$$,
	'{"type": "interactive", "interactive": {"type": "carousel", "body": {"text": "Text"}, "action": {"cards": [
		{"card_index": 0, "type": "product", "action": {"catalog_id": "1", "product_retailer_id": "SKU"}},
		{"card_index": 1, "type": "product", "action": {"catalog_id": "1", "product_retailer_id": "SKV"}}]}}}'),
($$send_call_permission_request('15551234567')$$,
	'{"type": "interactive", "interactive": {"type": "call_permission_request", "action": {"name": "call_permission_request"}}}'),
($$send_voice_call('15551234567', 'Text', 'Call us', 10080, 'x')$$,
	'{"type": "interactive", "interactive": {"type": "voice_call", "body": {"text": "Text"}, "action": {"name": "voice_call",
		"parameters": {"display_text": "Call us", "ttl_minutes": 10080, "payload": "x"}}}}'),
($$send_voice_call('15551234567', 'Text')$$,
	'{"type": "interactive", "interactive": {"type": "voice_call", "body": {"text": "Text"}, "action": {"name": "voice_call"}}}'),
($$send_order_details('15551234567', 'Your order', '{"reference_id": "ORD-7", "type": "physical-goods", "payment_type": "br", "currency": "BRL",
	"total_amount": {"value": 5000, "offset": 100}, "order": {"status": "pending", "subtotal": {"value": 5000, "offset": 100}, "tax": {"value": 0, "offset": 100}}}')$$,
	'{"type": "interactive", "interactive": {"type": "order_details", "body": {"text": "Your order"}, "action": {"name": "review_and_pay", "parameters":
		{"reference_id": "ORD-7", "type": "physical-goods", "payment_type": "br", "currency": "BRL", "total_amount": {"value": 5000, "offset": 100},
		"order": {"status": "pending", "subtotal": {"value": 5000, "offset": 100}, "tax": {"value": 0, "offset": 100}}}}}}'),
($$send_order_status('15551234567', 'On its way', 'ORD-7', 'shipped', 'By van', payment => '{"status": "captured", "timestamp": 1722445231}')$$,
	'{"type": "interactive", "interactive": {"type": "order_status", "body": {"text": "On its way"}, "action": {"name": "review_order", "parameters":
		{"reference_id": "ORD-7", "order": {"status": "shipped", "description": "By van"}, "payment": {"status": "captured", "timestamp": 1722445231}}}}}'),
($$send_template('15551234567', 'hello', 'en_US')$$, '{"type": "template", "template": {"name": "hello", "language": {"code": "en_US"}}}'),
($$send_template('15551234567', 'order_ready', 'de', params => '{"first": "Ada", "no": 7}', header => '{"image": {"id": "1234"}}', buttons => '["ord/7"]')$$,
	'{"type": "template", "template": {"name": "order_ready", "language": {"code": "de"}, "components": [
		{"type": "header", "parameters": [{"type": "image", "image": {"id": "1234"}}]},
		{"type": "body", "parameters": [{"type": "text", "parameter_name": "first", "text": "Ada"}, {"type": "text", "parameter_name": "no", "text": "7"}]},
		{"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "ord/7"}]}]}}'),
($$send_template('15551234567', 'sale', 'de', params => '["Ada", 1.50, {"currency": {"fallback_value": "€10", "code": "EUR", "amount_1000": 10000}}]', header => '"Hi"',
	buttons => '[null, {"quick_reply": "P"}, {"copy_code": "SAVE5"}, {"flow": {"flow_token": "t"}}, {"catalog": {"thumbnail_product_retailer_id": "SKU"}}, {"voice_call": 100}]')$$,
	'{"type": "template", "template": {"name": "sale", "language": {"code": "de"}, "components": [
		{"type": "header", "parameters": [{"type": "text", "text": "Hi"}]},
		{"type": "body", "parameters": [{"type": "text", "text": "Ada"}, {"type": "text", "text": "1.50"},
			{"type": "currency", "currency": {"fallback_value": "€10", "code": "EUR", "amount_1000": 10000}}]},
		{"type": "button", "sub_type": "quick_reply", "index": "1", "parameters": [{"type": "payload", "payload": "P"}]},
		{"type": "button", "sub_type": "copy_code", "index": "2", "parameters": [{"type": "coupon_code", "coupon_code": "SAVE5"}]},
		{"type": "button", "sub_type": "flow", "index": "3", "parameters": [{"type": "action", "action": {"flow_token": "t"}}]},
		{"type": "button", "sub_type": "catalog", "index": "4", "parameters": [{"type": "action", "action": {"thumbnail_product_retailer_id": "SKU"}}]},
		{"type": "button", "sub_type": "voice_call", "index": "5", "parameters": [{"type": "ttl_minutes", "ttl_minutes": 100}]}]}}'),
($$send_template('15551234567', 'otp', 'de', params => '{"1": "123456"}', buttons => '{"0": {"url": "123456"}}')$$,
	'{"type": "template", "template": {"name": "otp", "language": {"code": "de"}, "components": [
		{"type": "body", "parameters": [{"type": "text", "text": "123456"}]},
		{"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "123456"}]}]}}'),
($$send_template('15551234567', 'many', 'de', params => '{"10": "j", "2": "b", "1": "a"}', header => '{"title": "T"}')$$,
	'{"type": "template", "template": {"name": "many", "language": {"code": "de"}, "components": [
		{"type": "header", "parameters": [{"type": "text", "parameter_name": "title", "text": "T"}]},
		{"type": "body", "parameters": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "text", "text": "j"}]}]}}'),
($$send_template('15551234567', 'offer', 'de', components => '[{"type": "limited_time_offer", "parameters": [{"type": "limited_time_offer",
	"limited_time_offer": {"expiration_time_ms": 1798761600000}}]}]', options => '{"product_policy": "STRICT"}')$$,
	'{"type": "template", "product_policy": "STRICT", "template": {"name": "offer", "language": {"code": "de"}, "components": [{"type": "limited_time_offer",
		"parameters": [{"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": 1798761600000}}]}]}}'),
($$send_pin('Y2FwaV9ncm91cDo', 'wamid.X')$$,
	'{"recipient_type": "group", "to": "Y2FwaV9ncm91cDo", "type": "pin", "pin": {"type": "pin", "message_id": "wamid.X", "expiration_days": 7}}'),
($$send_unpin('Y2FwaV9ncm91cDo', 'wamid.X')$$,
	'{"recipient_type": "group", "to": "Y2FwaV9ncm91cDo", "type": "pin", "pin": {"type": "unpin", "message_id": "wamid.X"}}'),
-- what all have
($$send_text('Y2FwaV9ncm91cDo', 'Hi all', recipient_type => 'group')$$, '{"recipient_type": "group", "to": "Y2FwaV9ncm91cDo", "type": "text", "text": {"body": "Hi all"}}'),
($$send_text('+49 (0)151 / 234-5678', 'Hi', reply_to => 'wamid.X', callback_data => 'order 7')$$,
	'{"to": "+491512345678", "type": "text", "text": {"body": "Hi"}, "context": {"message_id": "wamid.X"}, "biz_opaque_callback_data": "order 7"}'),
($$send_text('DE.7Kq3Zx19Ab', 'Hi')$$, '{"to": null, "recipient": "DE.7Kq3Zx19Ab", "type": "text", "text": {"body": "Hi"}}'),
($$send_text('DE.ENT.55Tr', 'Hi')$$, '{"to": null, "recipient": "DE.ENT.55Tr", "type": "text", "text": {"body": "Hi"}}'),
($$send_text('15551234567', 'Parcel 7', options => '{"category": "utility", "ttl_seconds": 3600, "direct_send_config": {"template_name": "parcel_today"}, "recipient_identity_key_hash": "h"}')$$,
	'{"type": "text", "text": {"body": "Parcel 7"}, "category": "utility", "ttl_seconds": 3600, "direct_send_config": {"template_name": "parcel_today"}, "recipient_identity_key_hash": "h"}'),
-- calls are to nobody
($$mark_read('wamid.IN')$$, '{"to": null, "recipient_type": null, "status": "read", "message_id": "wamid.IN"}'),
($$typing('wamid.IN')$$, '{"to": null, "recipient_type": null, "status": "read", "message_id": "wamid.IN", "typing_indicator": {"type": "text"}}');

CREATE FUNCTION pg_temp.body_of(call text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	body jsonb;
	queued bigint;
BEGIN
	EXECUTE 'SELECT whatsapp.' || call INTO queued;
	SELECT whatsapp.request_body(o) INTO body FROM whatsapp.outbox o WHERE o.id = queued;
	RETURN body;
EXCEPTION WHEN OTHERS THEN
	RETURN to_jsonb(SQLERRM);
END $$;

SELECT e.call, b.body, w.body AS wanted
FROM expected e
CROSS JOIN LATERAL (SELECT whatsapp.without_nulls('{"messaging_product": "whatsapp", "recipient_type": "individual", "to": "+15551234567"}' || e.body) AS body) w
CROSS JOIN LATERAL (SELECT pg_temp.body_of(e.call) AS body) b
WHERE b.body IS DISTINCT FROM w.body;
SELECT count(*) FROM expected;

-- all functions that queue are there
SELECT p.proname
FROM pg_proc p
WHERE p.pronamespace = 'whatsapp'::regnamespace AND p.proname LIKE 'send\_%'
	AND NOT EXISTS (SELECT FROM expected e WHERE e.call LIKE p.proname || '(%');

-- arguments that all have
SELECT whatsapp.send_sticker('15551234567', media_id => '1', from_number => '106540352242922', reply_to => 'wamid.X', callback_data => 'c', send_after => 'infinity',
	expires_at => 'infinity', priority => 3, idempotency_key => 'k', options => '{"a": 1}', campaign => 'spring') AS id \gset
SELECT phone_number_id, reply_to, callback_data, send_after, expires_at, priority, idempotency_key, options, campaign FROM whatsapp.outbox WHERE id = :id;
SELECT whatsapp.send_sticker('15551234567', media_id => '2', idempotency_key => 'k') = :id AS same;
SELECT p.proname
FROM pg_proc p
WHERE p.pronamespace = 'whatsapp'::regnamespace AND p.proname ~ '^(send_|reply$)'
	AND NOT p.proargnames @> '{from_number, callback_data, send_after, expires_at, priority, idempotency_key, options, campaign}'
ORDER BY 1;
SELECT expires_at BETWEEN now() + interval '20 s' AND now() + interval '25 s' AS soon FROM whatsapp.outbox WHERE type = 'typing';

-- A message that came is all it takes to answer it.
SELECT messages FROM whatsapp.ingest_unsigned('{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {"messaging_product": "whatsapp",
	"metadata": {"phone_number_id": "106540352242922"},
	"contacts": [{"wa_id": "15550000001"}, {"user_id": "DE.7Kq3Zx19Ab"}],
	"messages": [{"id": "wamid.P", "from": "15550000001", "timestamp": "1750101000", "type": "text", "text": {"body": "Hi"}},
		{"id": "wamid.B", "from_user_id": "DE.7Kq3Zx19Ab", "timestamp": "1750101000", "type": "text", "text": {"body": "Hi"}},
		{"id": "wamid.G", "from": "15550000001", "group_id": "R1JPVVAtRVhBTVBMRS0wMDE", "timestamp": "1750101000", "type": "text", "text": {"body": "Hi"}}]}}]}]}');
SELECT pg_temp.body_of($$reply('wamid.P', 'Hello')$$);
SELECT pg_temp.body_of($$reply('wamid.B', type => 'image', content => '{"id": "1"}')$$);
SELECT pg_temp.body_of($$reply('wamid.G', 'Hello')$$);
SELECT pg_temp.body_of($$send_reaction('wamid.G', '👍')$$);
SELECT whatsapp.reply('wamid.none', 'Hello');
SELECT whatsapp.reply(NULL, 'Hello');
SELECT whatsapp.reply('wamid.P', '');
SELECT whatsapp.send_reaction('wamid.P', NULL);
SELECT whatsapp.mark_read(NULL);
-- a message of that id came to another number, too
SELECT whatsapp.add_number('106540352242923');
SELECT messages FROM whatsapp.ingest_unsigned('{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {"messaging_product": "whatsapp",
	"metadata": {"phone_number_id": "106540352242923"},
	"messages": [{"id": "wamid.P", "from": "15550000002", "timestamp": "1750101000", "type": "text", "text": {"body": "Hi"}}]}}]}]}');
SELECT whatsapp.reply('wamid.P', 'Hello');
SELECT whatsapp.send_reaction('wamid.P', '👍');
SELECT whatsapp.mark_read('wamid.P');
SELECT whatsapp.typing('wamid.P');
SELECT pg_temp.body_of($$reply('wamid.P', 'Hello', from_number => '106540352242923')$$);
SELECT whatsapp.mark_read('wamid.B') AS id \gset
SELECT phone_number_id FROM whatsapp.outbox WHERE id = :id;
SELECT whatsapp.mark_read('wamid.none');
SELECT whatsapp.mark_read('wamid.none', from_number => '106540352242923') AS id \gset
SELECT phone_number_id FROM whatsapp.outbox WHERE id = :id;
DELETE FROM whatsapp.numbers WHERE phone_number_id = '106540352242923';

-- What is refused, and what is not.
TRUNCATE whatsapp.outbox;
-- types and keys that are not known
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'hologram', '{"x": 1}'), ('15551234567', 'hologram', '"x"'),
	('15551234567', 'image', '{"id": "1", "depth": 3}'), ('15551234567', 'interactive', '{"type": "hologram", "action": 7}');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'to', '"+4930123"');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'Image', '{"id": "1"}');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'image', 'null');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'image', '"https://ex.org/a.jpg"');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'image', '[]');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'contacts', '{"name": "Ada"}');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'contacts', '[7]');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'text', '{"body": 7}');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'text', '{"body": {"text": "secret"}}');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'location', '{"latitude": "north", "longitude": 1}');
INSERT INTO whatsapp.outbox (recipient, type, content) VALUES ('15551234567', 'interactive', '{"type": "button", "body": {"text": "B"}, "action": {"buttons": "Yes"}}');
INSERT INTO whatsapp.outbox (recipient, body, options) VALUES ('15551234567', 'Hi', '[1]');
INSERT INTO whatsapp.outbox (recipient, body, marketing) VALUES ('15551234567', 'Hi', true);
INSERT INTO whatsapp.outbox (recipient, recipient_type, body) VALUES ('+4930123', 'group', 'Hi');
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('DE.7Kq3 Zx19Ab', 'Hi');
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('R1JPVVAtRVhBTVBMRS0wMDE', 'Hi');
INSERT INTO whatsapp.outbox (recipient, recipient_type, body) VALUES (E'R1JP\nVVAt', 'group', 'Hi');
INSERT INTO whatsapp.outbox (recipient, body, reply_to) VALUES ('15551234567', 'Hi', E'wamid.\n');
-- a length is one of characters
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15551234567', repeat('👋', 4096));
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15551234567', repeat('👋', 4097));
-- one of many, and how to find it
CREATE TABLE customers (id integer, phone text, name text);
INSERT INTO customers SELECT i, CASE WHEN i % 40 = 7 THEN 'none' ELSE '1555' || (1000000 + i) END, CASE WHEN i = 3 THEN E'Ada\nLovelace' ELSE 'Ada' END FROM generate_series(1, 100) i;
INSERT INTO whatsapp.outbox (recipient, type, content)
SELECT c.phone, 'template', whatsapp.template_content('sale', 'en', jsonb_build_object('name', c.name)) FROM customers c ORDER BY c.id;
SELECT c.id, whatsapp.why_not(c.phone, 'template', whatsapp.template_content('sale', 'en', jsonb_build_object('name', c.name)))
FROM customers c
WHERE whatsapp.why_not(c.phone, 'template', whatsapp.template_content('sale', 'en', jsonb_build_object('name', c.name))) IS NOT NULL
ORDER BY c.id;
WITH queued AS (
	INSERT INTO whatsapp.outbox (recipient, type, content)
	SELECT c.phone, 'template', k.content
	FROM customers c
	CROSS JOIN LATERAL (SELECT whatsapp.template_content('sale', 'en', jsonb_build_object('name', c.name)) AS content) k
	WHERE whatsapp.why_not(c.phone, 'template', k.content) IS NULL
	RETURNING id
)
SELECT count(*) FROM queued;
SELECT whatsapp.why_not('15551234567', 'text', NULL, body => 'Hi'), whatsapp.why_not('15551234567', 'text', NULL, body => ''),
	whatsapp.why_not('15551234567', 'text', '{"body": "Hi"}', from_number => '1'), whatsapp.why_not('15551234567', NULL, NULL);

-- Rows that are queued already
TRUNCATE whatsapp.outbox;
INSERT INTO whatsapp.outbox (recipient, body) VALUES ('15551234567', 'Hi'), ('15551234567', 'Hello'), ('15551234568', 'Hey');
UPDATE whatsapp.outbox SET body = '' WHERE body = 'Hi';
UPDATE whatsapp.outbox SET body = repeat(body, 1000);
UPDATE whatsapp.outbox SET recipient = 'none';
UPDATE whatsapp.outbox SET body = 'Hi!', priority = 2 WHERE body = 'Hi';
UPDATE whatsapp.outbox SET state = 'cancelled', body = '' WHERE body = 'Hello';
-- those of a dump are not looked at, until they are changed
INSERT INTO whatsapp.outbox (recipient, body, created_at) VALUES ('15551234567', repeat('x', 5000), '2026-01-01');
UPDATE whatsapp.outbox SET priority = 5 WHERE created_at = '2026-01-01';
UPDATE whatsapp.outbox SET body = repeat('x', 5001) WHERE created_at = '2026-01-01';
INSERT INTO whatsapp.outbox (recipient, body, idempotency_key) VALUES ('15551234567', 'Hi', 'k');
INSERT INTO whatsapp.outbox (recipient, body, idempotency_key) VALUES ('15551234567', 'Hi', 'k')
ON CONFLICT (phone_number_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO UPDATE SET body = NULL;
SELECT recipient, length(body), state, priority FROM whatsapp.outbox ORDER BY id;

DROP TABLE customers;
DROP TABLE expected;
DROP EXTENSION whatsapp;
