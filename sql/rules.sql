-- The rules for messages that are queued: an example of each kind that breaks
-- none, and each rule broken once.
CREATE EXTENSION whatsapp;
SET client_min_messages = warning;
SELECT whatsapp.add_number('106540352242922');

-- Of each kind, all that there are rules for.
CREATE TABLE example (example text, type text, content jsonb, options jsonb, recipient_type text DEFAULT 'individual', reply_to text, callback_data text);
INSERT INTO example (example, type, content) VALUES
	('text', 'text', '{"body": "Hi", "preview_url": true}'),
	('image', 'image', '{"link": "https://example.com/a.jpg", "caption": "Front"}'),
	('video', 'video', '{"link": "http://example.com/a.mp4", "caption": "Front"}'),
	('audio', 'audio', '{"link": "https://example.com/a.ogg", "voice": true}'),
	('document', 'document', '{"link": "https://example.com/a.pdf", "caption": "Invoice", "filename": "a.pdf"}'),
	('sticker', 'sticker', '{"link": "https://example.com/a.webp"}'),
	('location', 'location', '{"latitude": "52.52", "longitude": 13.40, "name": "Shop"}'),
	('contacts', 'contacts', '[{"name": {"formatted_name": "Ada L", "first_name": "Ada"}}]'),
	('reaction', 'reaction', '{"message_id": "wamid.X", "emoji": "👍"}'),
	('mark_read', 'mark_read', '{"message_id": "wamid.X"}'),
	('typing', 'typing', '{"message_id": "wamid.X"}'),
	('pin', 'pin', '{"type": "pin", "message_id": "wamid.X", "expiration_days": 7}'),
	('button', 'interactive', '{"type": "button", "header": {"type": "text", "text": "T"}, "body": {"text": "B"}, "footer": {"text": "F"},
		"action": {"buttons": [{"type": "reply", "reply": {"id": "y", "title": "Yes"}}, {"type": "reply", "reply": {"id": "n", "title": "No"}}]}}'),
	('image header', 'interactive', '{"type": "cta_url", "header": {"type": "image", "image": {"link": "https://example.com/a"}}, "body": {"text": "B"},
		"action": {"name": "cta_url", "parameters": {"display_text": "Open", "url": "https://example.com"}}}'),
	('video header', 'interactive', '{"type": "cta_url", "header": {"type": "video", "video": {"link": "https://example.com/a"}}, "body": {"text": "B"},
		"action": {"name": "cta_url", "parameters": {"display_text": "Open", "url": "https://example.com"}}}'),
	('document header', 'interactive', '{"type": "cta_url", "header": {"type": "document", "document": {"link": "https://example.com/a"}}, "body": {"text": "B"},
		"action": {"name": "cta_url", "parameters": {"display_text": "Open", "url": "https://example.com"}}}'),
	('list', 'interactive', '{"type": "list", "header": {"type": "text", "text": "T"}, "body": {"text": "B"}, "action": {"button": "Choose", "sections": [
		{"title": "S", "rows": [{"id": "1", "title": "One", "description": "D"}, {"id": "2", "title": "Two"}]},
		{"title": "U", "rows": [{"id": "3", "title": "Three"}]}]}}'),
	('location request', 'interactive', '{"type": "location_request_message", "body": {"text": "B"}, "action": {"name": "send_location"}}'),
	('flow', 'interactive', '{"type": "flow", "body": {"text": "B"}, "action": {"name": "flow", "parameters": {"flow_message_version": "3",
		"flow_id": "1", "flow_cta": "Book", "flow_action": "navigate", "flow_action_payload": {"screen": "S", "data": {"k": "v"}}, "mode": "published"}}}'),
	('flow from endpoint', 'interactive', '{"type": "flow", "body": {"text": "B"}, "action": {"name": "flow", "parameters": {"flow_message_version": "3",
		"flow_name": "f", "flow_cta": "Book", "flow_action": "data_exchange"}}}'),
	('address', 'interactive', '{"type": "address_message", "body": {"text": "B"}, "action": {"name": "address_message",
		"parameters": {"country": "IN", "values": {"in_pin_code": "560001"}}}}'),
	('contact request', 'interactive', '{"type": "request_contact_info", "body": {"text": "B"}, "action": {"name": "request_contact_info"}}'),
	('call permission', 'interactive', '{"type": "call_permission_request", "body": {"text": "B"}, "action": {"name": "call_permission_request"}}'),
	('voice call', 'interactive', '{"type": "voice_call", "body": {"text": "B"}, "action": {"name": "voice_call",
		"parameters": {"display_text": "Call us", "ttl_minutes": 60, "payload": "p"}}}'),
	('product', 'interactive', '{"type": "product", "body": {"text": "B"}, "action": {"catalog_id": "1", "product_retailer_id": "SKU"}}'),
	('products', 'interactive', '{"type": "product_list", "header": {"type": "text", "text": "T"}, "body": {"text": "B"}, "action": {"catalog_id": "1", "sections": [
		{"title": "S", "product_items": [{"product_retailer_id": "SKU"}]}, {"title": "U", "product_items": [{"product_retailer_id": "SKV"}]}]}}'),
	('catalog', 'interactive', '{"type": "catalog_message", "body": {"text": "B"}, "action": {"name": "catalog_message"}}'),
	('carousel of links', 'interactive', '{"type": "carousel", "body": {"text": "B"}, "action": {"cards": [
		{"card_index": 0, "type": "cta_url", "header": {"type": "image", "image": {"link": "https://example.com/a"}}, "body": {"text": "c"},
			"action": {"name": "cta_url", "parameters": {"display_text": "Buy", "url": "https://example.com"}}},
		{"card_index": 1, "type": "cta_url", "header": {"type": "image", "image": {"link": "https://example.com/b"}}, "body": {"text": "c"},
			"action": {"name": "cta_url", "parameters": {"display_text": "Buy", "url": "https://example.com"}}}]}}'),
	('carousel of buttons', 'interactive', '{"type": "carousel", "body": {"text": "B"}, "action": {"cards": [
		{"card_index": 0, "type": "cta_url", "header": {"type": "video", "video": {"link": "https://example.com/a"}},
			"action": {"buttons": [{"type": "quick_reply", "quick_reply": {"id": "q", "title": "More"}}]}},
		{"card_index": 1, "type": "cta_url", "header": {"type": "video", "video": {"link": "https://example.com/b"}},
			"action": {"buttons": [{"type": "quick_reply", "quick_reply": {"id": "r", "title": "More"}}]}}]}}'),
	('carousel of products', 'interactive', '{"type": "carousel", "body": {"text": "B"}, "action": {"cards": [
		{"card_index": 0, "type": "product", "action": {"catalog_id": "1", "product_retailer_id": "SKU"}},
		{"card_index": 1, "type": "product", "action": {"catalog_id": "1", "product_retailer_id": "SKV"}}]}}'),
	('order details', 'interactive', '{"type": "order_details", "body": {"text": "B"}, "action": {"name": "review_and_pay", "parameters": {"reference_id": "ORD-7",
		"type": "physical-goods", "currency": "BRL", "total_amount": {"value": 6500, "offset": 100}, "order": {"status": "pending",
			"items": [{"retailer_id": "SKU", "name": "Cake", "amount": {"value": 5000, "offset": 100}, "quantity": 1}],
			"subtotal": {"value": 5000, "offset": 100}, "tax": {"value": 1000, "offset": 100},
			"shipping": {"value": 700, "offset": 100}, "discount": {"value": 200, "offset": 100}}}}}'),
	('order status', 'interactive', '{"type": "order_status", "body": {"text": "B"}, "action": {"name": "review_order", "parameters": {"reference_id": "ORD-7",
		"order": {"status": "shipped", "description": "D"}}}}'),
	('template', 'template', jsonb_build_object('name', 'order_ready', 'language', '{"code": "de"}'::jsonb, 'components', jsonb_build_array(
		'{"type": "header", "parameters": [{"type": "text", "text": "x"}, {"type": "image", "image": {"link": "https://example.com/a"}},
			{"type": "video", "video": {"link": "https://example.com/a"}}, {"type": "document", "document": {"link": "https://example.com/a"}},
			{"type": "gif", "gif": {"link": "https://example.com/a"}}, {"type": "location", "location": {"latitude": 1, "longitude": "2"}}]}'::jsonb,
		'{"type": "body", "parameters": [{"type": "text", "text": "x"}, {"type": "currency", "currency": {"fallback_value": "10", "code": "EUR", "amount_1000": 10000}},
			{"type": "date_time", "date_time": {"fallback_value": "today"}}]}'::jsonb,
		'{"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "x"}]}'::jsonb,
		'{"type": "button", "sub_type": "quick_reply", "index": 1, "parameters": [{"type": "payload", "payload": "x"}]}'::jsonb,
		'{"type": "button", "sub_type": "copy_code", "index": 2, "parameters": [{"type": "coupon_code", "coupon_code": "SAVE5"}]}'::jsonb,
		'{"type": "button", "sub_type": "voice_call", "index": 3, "parameters": [{"type": "ttl_minutes", "ttl_minutes": 100}, {"type": "payload", "payload": "x"}]}'::jsonb,
		'{"type": "button", "sub_type": "mpm", "index": 4, "parameters": [{"type": "action", "action": {"sections": [{"title": "S", "product_items": [{"product_retailer_id": "SKU"}]}]}}]}'::jsonb,
		'{"type": "limited_time_offer", "parameters": [{"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": 1798761600000}}]}'::jsonb,
		'{"type": "tap_target_configuration", "parameters": [{"type": "tap_target_configuration", "tap_target_configuration": [{"url": "https://example.com", "title": "T"}]}]}'::jsonb)));
-- (all that a template may have is in the cards of a carousel, too)
INSERT INTO example (example, type, content)
SELECT 'carousel template', 'template', jsonb_build_object('name', 'offers', 'language', '{"code": "de"}'::jsonb, 'components', jsonb_build_array(jsonb_build_object(
	'type', 'carousel', 'cards', jsonb_build_array(jsonb_build_object('card_index', 0, 'components', c.content -> 'components'), '{"card_index": 1, "components": []}'::jsonb))))
FROM example c
WHERE c.example = 'template';
INSERT INTO example (example, type, content, options)
SELECT initcap(type) || ' beside', type, content, '{"category": "service"}'::jsonb FROM example WHERE example IN ('audio', 'contacts', 'location', 'reaction', 'sticker')
UNION ALL
SELECT 'direct send', type, content, '{"category": "utility", "ttl_seconds": 3600, "direct_send_config": {"template_name": "parcel_today"}, "product_policy": "STRICT"}' FROM example WHERE example = 'text'
UNION ALL
SELECT 'authentication', type, content, '{"category": "authentication", "ttl_seconds": 60}' FROM example WHERE example = 'text';
UPDATE example SET recipient_type = 'group' WHERE type = 'pin';
UPDATE example SET reply_to = 'wamid.X', callback_data = 'x' WHERE type = 'text';

-- none of them breaks a rule
SELECT e.example, c.complaint
FROM example e
CROSS JOIN LATERAL whatsapp.complaint(e.type, e.recipient_type, NULL, e.content, e.options, e.reply_to, e.callback_data) c
WHERE c.complaint IS NOT NULL;

-- The places that a path leads to, as jsonb has them; the last key need not be there.
CREATE FUNCTION pg_temp.places(doc jsonb, path text) RETURNS SETOF text[] LANGUAGE plpgsql AS $$
DECLARE
	step text := substring(path FROM '^[a-z0-9_]+(?:\[[^]]*\])?');
	rest text := substring(path FROM '^[a-z0-9_]+(?:\[[^]]*\])?\.(.*)$');
	key text := substring(step FROM '^[a-z0-9_]+');
	choice text[] := regexp_match(step, '\[([a-z0-9_]+)(!?=)([^]]*)\]');
	element jsonb;
	i integer := 0;
	p text[];
BEGIN
	IF rest IS NULL AND step !~ '\[' THEN
		RETURN NEXT ARRAY[key];
	ELSIF jsonb_typeof(doc -> key) = 'array' THEN
		FOR element IN SELECT e FROM jsonb_array_elements(doc -> key) e LOOP
			IF choice IS NULL OR coalesce(lower(element ->> choice[1]) = ANY (string_to_array(choice[3], '|')), false) = (choice[2] = '=') THEN
				IF rest IS NULL THEN
					RETURN NEXT ARRAY[key, i::text];
				ELSE
					RETURN QUERY SELECT ARRAY[key, i::text] || r FROM pg_temp.places(element, rest) r;
				END IF;
			END IF;
			i := i + 1;
		END LOOP;
	ELSIF jsonb_typeof(doc -> key) = 'object'
		AND (choice IS NULL OR coalesce(lower(doc -> key ->> choice[1]) = ANY (string_to_array(lower(choice[3]), '|')), false) = (choice[2] = '='))
	THEN
		IF rest IS NULL THEN
			RETURN NEXT ARRAY[key];
		ELSE
			RETURN QUERY SELECT ARRAY[key] || r FROM pg_temp.places(doc -> key, rest) r;
		END IF;
	END IF;
END $$;

-- What is to be there to break a rule: of the same document, with one thing changed.
CREATE FUNCTION pg_temp.broken(doc jsonb, place text[], kind text, "limit" text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	value jsonb := doc #> place;
	most text := substring("limit" FROM '[0-9.]+$');
	parent text[] := place[:cardinality(place) - 1];
	elements jsonb;
BEGIN
	RETURN CASE kind
		WHEN 'required' THEN doc #- place
		WHEN 'required if there are several' THEN doc #- place
		WHEN 'forbidden' THEN jsonb_set(doc, place, CASE WHEN place[2] = 'header' THEN '{"type": "text", "text": "T"}' ELSE '"utility"' END::jsonb)
		WHEN 'needs' THEN jsonb_set(doc #- (parent || "limit"), place, coalesce(value, '60'))
		WHEN 'one of' THEN jsonb_set(doc, place, value - string_to_array("limit", ' '))
		WHEN 'any of' THEN jsonb_set(doc, place, value - string_to_array("limit", ' '))
		WHEN 'values' THEN jsonb_set(doc, place, '"nonsense"')
		WHEN 'length' THEN jsonb_set(doc, place, to_jsonb(repeat('é', most::integer + 1)))
		WHEN 'range' THEN jsonb_set(doc, place, to_jsonb(most::numeric + 0.5))
		WHEN 'matches' THEN jsonb_set(doc, place, to_jsonb(E'a\nb\nc\nd e'::text))
		WHEN 'adds up' THEN jsonb_set(doc, place || '{total_amount,value}'::text[], '1')
		WHEN 'count' THEN CASE
			WHEN "limit" = '1' THEN jsonb_set(doc, place, CASE WHEN jsonb_typeof(value) = 'array' THEN '[]' ELSE '{}' END::jsonb)
			ELSE jsonb_set(doc, place, (SELECT jsonb_agg(value -> 0) FROM generate_series(0, most::integer)))
		END
		WHEN 'total' THEN jsonb_set(doc, parent, (SELECT jsonb_agg(value) FROM generate_series(0, most::integer)))
		-- of two elements, the same for the second as for the first, or not
		WHEN 'unique' THEN jsonb_set(doc, pg_temp.second(doc, place), value)
		WHEN 'same' THEN jsonb_set(doc, pg_temp.second(doc, place),
			CASE WHEN jsonb_typeof(value) = 'array' THEN value || value WHEN value = '"image"' THEN '"video"' WHEN value = '"video"' THEN '"image"' ELSE '"other"' END)
	END;
END $$;

-- The same place in the second element of the array that is nearest to the end of the path
-- and has one.
CREATE FUNCTION pg_temp.second(doc jsonb, place text[]) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN REVERSE cardinality(place)..2 LOOP
		IF place[i] = '0' AND doc #> (place[:i - 1] || '1'::text) IS NOT NULL THEN
			place[i] := '1';
			RETURN place;
		END IF;
	END LOOP;
	RETURN NULL;
END $$;

CREATE TABLE attempt AS
SELECT r.rule, e.example, x.doc, x.recipient_type, c.complaint, c.detail, c.hint, c.rule AS broken
FROM whatsapp.message_rules() r
JOIN example e ON r.type IN (e.type, '*')
CROSS JOIN LATERAL (
	SELECT jsonb_strip_nulls(jsonb_build_object('options', coalesce(e.options, '{}'), 'reply_to', e.reply_to, 'callback_data', e.callback_data))
		|| jsonb_build_object(e.type, e.content) AS doc
) d
CROSS JOIN LATERAL (
	SELECT pg_temp.broken(d.doc, p, r.kind, r."limit") AS doc, e.recipient_type
	FROM pg_temp.places(d.doc, r.path) p
	WHERE r.kind NOT LIKE '%in groups'
	UNION ALL
	SELECT d.doc, CASE r.kind WHEN 'not in groups' THEN 'group' ELSE 'individual' END
	WHERE r.kind LIKE '%in groups'
) x
CROSS JOIN LATERAL whatsapp.complaint(e.type, x.recipient_type, NULL, x.doc -> e.type, x.doc -> 'options', x.doc ->> 'reply_to', x.doc ->> 'callback_data') c
WHERE c.rule = r.rule;

-- each rule, and what is said if it is broken
\pset format unaligned
SELECT DISTINCT ON (r.rule) r.path, a.complaint, a.detail, a.hint, r.source
FROM whatsapp.message_rules() r
LEFT JOIN attempt a ON a.broken = r.rule
ORDER BY r.rule, a.example COLLATE "C", a.complaint COLLATE "C";
\pset format aligned

DROP TABLE attempt;
DROP TABLE example;
DROP EXTENSION whatsapp;
