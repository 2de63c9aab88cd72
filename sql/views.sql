-- What webhooks have brought, as the views over whatsapp.events show it.
CREATE EXTENSION whatsapp;
\getenv abs_srcdir PG_ABS_SRCDIR
SET timezone = 'UTC';
SET datestyle = 'ISO';

SELECT whatsapp.set_app_secret('secret');
SELECT count(*) > 100 AS filed, sum(r.parked) AS parked
FROM pg_ls_dir(:'abs_srcdir' || '/test/webhooks') f (name)
CROSS JOIN LATERAL pg_read_binary_file(:'abs_srcdir' || '/test/webhooks/' || f.name) body
CROSS JOIN LATERAL whatsapp.ingest(body, whatsapp.sign(body, 'secret')) r;

-- templates
SELECT waba_id, at, template_id, name, language, category, event, reason, disable_date
FROM whatsapp.template_status_updates
ORDER BY at, event COLLATE "C", waba_id COLLATE "C";
\x on
SELECT at, event, rejection_reason, recommendation, title, description
FROM whatsapp.template_status_updates
WHERE coalesce(rejection_reason, title) IS NOT NULL
ORDER BY at;
\x off
SELECT waba_id, at, template_id, name, language, previous_quality_score AS previous, new_quality_score AS new
FROM whatsapp.template_quality_updates
ORDER BY at;
SELECT waba_id, at, template_id, name, language
FROM whatsapp.template_category_updates
ORDER BY at;
SELECT kind, category, previous_category, new_category, correct_category, takes_effect_at
FROM whatsapp.template_category_updates
ORDER BY at;

-- accounts
SELECT waba_id, phone_number_id, at, entity_type, entity_id, alert_severity, alert_status, alert_type
FROM whatsapp.account_alerts
ORDER BY at;
SELECT DISTINCT alert_description FROM whatsapp.account_alerts;
SELECT waba_id, at, event, phone_number, country
FROM whatsapp.account_updates
ORDER BY at, waba_id COLLATE "C";
\x on
SELECT at, event, violation_type, remediation, restriction_types, restriction_expirations
FROM whatsapp.account_updates
WHERE violation_type IS NOT NULL OR restriction_types IS NOT NULL
ORDER BY at;
\x off
SELECT at, ban_state, ban_date
FROM whatsapp.account_updates
WHERE ban_state IS NOT NULL
ORDER BY at;
SELECT at, event, customer_waba_id, owner_business_id, partner_app_id, solution_id, ad_account_id
FROM whatsapp.account_updates
WHERE customer_waba_id IS NOT NULL
ORDER BY at;
SELECT at, event, solution_partner_business_ids
FROM whatsapp.account_updates
WHERE solution_partner_business_ids IS NOT NULL
ORDER BY at;
SELECT at, event, disconnection_reason, disconnection_initiated_by
FROM whatsapp.account_updates
WHERE disconnection_reason IS NOT NULL
ORDER BY at;
SELECT at, client_business_id, certification_status, rejection_reasons
FROM whatsapp.account_updates
WHERE client_business_id IS NOT NULL
ORDER BY at;
SELECT at, rate_start_time, exception_countries, exception_start_times
FROM whatsapp.account_updates
WHERE rate_start_time IS NOT NULL
ORDER BY at;
SELECT at, pricing_category, tier, effective_month, region, tier_update_time
FROM whatsapp.account_updates
WHERE tier IS NOT NULL
ORDER BY at;
SELECT waba_id, at, decision FROM whatsapp.account_reviews ORDER BY at;
SELECT waba_id, at, max_daily_conversations_per_business AS daily_per_business, max_daily_conversation_per_phone AS daily_per_phone,
	max_phone_numbers_per_business AS numbers_per_business, max_phone_numbers_per_waba AS numbers_per_waba
FROM whatsapp.business_capability_updates
ORDER BY at;

-- numbers
SELECT waba_id, at, display_phone_number, event, old_limit, current_limit, max_daily_conversations_per_business AS daily
FROM whatsapp.phone_number_quality_updates
ORDER BY at;
SELECT waba_id, at, display_phone_number, decision, requested_verified_name, rejection_reason
FROM whatsapp.phone_number_name_updates
ORDER BY at;
SELECT waba_id, at, display_phone_number, username, status, context
FROM whatsapp.business_username_updates
ORDER BY at;
SELECT waba_id, at, display_phone_number, event, requester FROM whatsapp.security_events ORDER BY at;
\x on
SELECT waba_id, phone_number_id, at, type, calling_status, call_icon_visibility, callback_permission_status,
	call_hours_status, timezone_id, sip_status, srtp_key_exchange_protocol, calling
FROM whatsapp.account_settings_updates
ORDER BY at;
\x off

-- flows, partners, payments
SELECT waba_id, at, event, flow_id, message, old_status, new_status
FROM whatsapp.flow_events
ORDER BY at;
SELECT event, alert_state, threshold, error_rate, availability, p50_latency, p90_latency, requests_count, errors, warning
FROM whatsapp.flow_events
WHERE event <> 'FLOW_STATUS_CHANGE'
ORDER BY at;
SELECT waba_id, at, event, solution_id, solution_status FROM whatsapp.partner_solution_updates ORDER BY at;
SELECT waba_id, at, configuration_name, provider_name, provider_mid, status, created_at, updated_at
FROM whatsapp.payment_configuration_updates
ORDER BY at;
SELECT phone_number_id, message_id, at, status, wa_id, user_id, reference_id, amount, currency
FROM whatsapp.payments
ORDER BY at;
SELECT transaction_id, pg_transaction_id, transaction_type AS type, transaction_status AS status, method,
	error_code, error_reason, created_at, updated_at
FROM whatsapp.payments
ORDER BY at;
SELECT transaction_id, refunds FROM whatsapp.payments WHERE refunds IS NOT NULL ORDER BY at;

-- conversations
SELECT waba_id, phone_number_id, at, phone_number, event,
	previous_owner_role, previous_owner_app_id, new_owner_role, new_owner_app_id
FROM whatsapp.handovers
ORDER BY at;
SELECT at, metadata, summary FROM whatsapp.handovers WHERE coalesce(metadata, summary) IS NOT NULL ORDER BY at;
SELECT waba_id, phone_number_id, at, message_id, event_name, ctwa_clid, value, currency
FROM whatsapp.automatic_events
ORDER BY at;
SELECT waba_id, phone_number_id, at, action_type, click_component, product_id, click_id, tracking_token
FROM whatsapp.user_actions
ORDER BY at;
SELECT waba_id, phone_number_id, at, event_name, click_id, tracking_token
FROM whatsapp.tracking_events
ORDER BY at;

-- errors
SELECT waba_id, phone_number_id, field, at, code, title, message
FROM whatsapp.webhook_errors
ORDER BY code, field COLLATE "C", title COLLATE "C", message COLLATE "C", details COLLATE "C";
SELECT code, details, href
FROM whatsapp.webhook_errors
WHERE coalesce(details, href) IS NOT NULL
ORDER BY code, details COLLATE "C";

-- numbers that are used with the WhatsApp Business app, too
SELECT waba_id, phone_number_id, at, phase, chunk_order, progress, declined, error_code
FROM whatsapp.history_chunks
ORDER BY phase, chunk_order;
SELECT field, event, at, element -> 'contact' AS contact
FROM whatsapp.events
WHERE field = 'smb_app_state_sync'
ORDER BY at;
SELECT waba_id, phone_number_id, at, user_id, parent_user_id, phone_number, username, full_name, first_name
FROM whatsapp.business_app_contacts
ORDER BY at;

-- either id of a contact will do to edit or to remove it, in whatever order that comes
CREATE FUNCTION pg_temp.sync(at bigint, action text, contact jsonb, number text DEFAULT '1') RETURNS void
LANGUAGE sql
BEGIN ATOMIC
	SELECT whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_object(
		'id', '5', 'changes', jsonb_build_object('field', 'smb_app_state_sync', 'value', jsonb_build_object(
			'metadata', jsonb_build_object('phone_number_id', number),
			'state_sync', jsonb_build_object('type', 'contact', 'action', action, 'contact', contact,
				'metadata', jsonb_build_object('timestamp', at)))))));
END;
DELETE FROM whatsapp.events WHERE field = 'smb_app_state_sync';
SELECT pg_temp.sync(13, 'remove', '{"phone_number":"155501"}'),
	pg_temp.sync(11, 'add', '{"phone_number":"155501","user_id":"US.1","full_name":"removed by number"}'),
	pg_temp.sync(12, 'remove', '{"user_id":"US.2"}'),
	pg_temp.sync(11, 'add', '{"phone_number":"155502","user_id":"US.2","full_name":"removed by id"}'),
	pg_temp.sync(12, 'add', '{"user_id":"US.3","full_name":"edited"}'),
	pg_temp.sync(11, 'add', '{"phone_number":"155503","user_id":"US.3","full_name":"before that"}'),
	pg_temp.sync(14, 'add', '{"phone_number":"155504","user_id":"","full_name":"back again"}'),
	pg_temp.sync(13, 'remove', '{"phone_number":"155504"}'),
	pg_temp.sync(12, 'add', '{"phone_number":"155504","full_name":"before that"}'),
	pg_temp.sync(13, 'add', '{"phone_number":"","user_id":"","full_name":"nobody"}'),
	pg_temp.sync(11, 'add', '{"phone_number":"155501","full_name":"of another number of ours"}', '2');
SELECT phone_number_id, at, user_id, phone_number, full_name
FROM whatsapp.business_app_contacts
ORDER BY full_name COLLATE "C";

-- who may look: the privileges are those of the one who does
CREATE ROLE regress_whatsapp_reader;
GRANT USAGE ON SCHEMA whatsapp TO regress_whatsapp_reader;
GRANT SELECT ON whatsapp.flow_events, whatsapp.account_updates TO regress_whatsapp_reader;
SET ROLE regress_whatsapp_reader;
SELECT count(*) FROM whatsapp.flow_events;
RESET ROLE;
SELECT whatsapp.grant_access('regress_whatsapp_reader', 'reader');
SET ROLE regress_whatsapp_reader;
SELECT count(*) FROM whatsapp.flow_events;
SELECT tier_update_time FROM whatsapp.account_updates WHERE tier LIKE '0:%';
RESET ROLE;

-- numbers as strings, and amounts that make no sense
INSERT INTO whatsapp.statuses (phone_number_id, message_id, status, participant, element)
SELECT 'odd', '1', 'pending', amount, jsonb_build_object('type', 'payment', 'payment',
	jsonb_build_object('reference_id', amount, 'amount', amount::jsonb))
FROM unnest(ARRAY[
	'{"value":21000,"offset":"100"}', '{"value":"999","offset":100}', '{"value":10,"offset":3}', '{"value":0.5,"offset":1}', '{"value":-5,"offset":10}',
	'{"value":1,"offset":0}', '{"value":1,"offset":-1}', '{"value":1}', '{"offset":100}', '{"value":1e300,"offset":1}', '{"value":"NaN","offset":1}',
	'{"value":{},"offset":[]}', '[21000,100]', '"210 rupees"', '210', 'null'
]) amount;
SELECT reference_id AS given, amount
FROM whatsapp.payments
WHERE phone_number_id = 'odd'
ORDER BY amount IS NULL, reference_id COLLATE "C";

-- Whatever a row holds, no view raises an error.  Of one event of each kind,
-- all that is at some depth is replaced by what does not belong there.
CREATE FUNCTION pg_temp.wreck(document jsonb, replacement jsonb, depth integer) RETURNS jsonb
LANGUAGE plpgsql
AS $$
BEGIN
	IF depth > 0 AND jsonb_typeof(document) = 'object' THEN
		RETURN (SELECT coalesce(jsonb_object_agg(m.key, pg_temp.wreck(m.value, replacement, depth - 1)), '{}')
			FROM jsonb_each(document) m);
	ELSIF depth > 0 AND jsonb_typeof(document) = 'array' THEN
		RETURN (SELECT coalesce(jsonb_agg(pg_temp.wreck(m.value, replacement, depth - 1)), '[]')
			FROM jsonb_array_elements(document) m);
	END IF;
	RETURN replacement;
END $$;
CREATE TEMP TABLE replacement AS
SELECT r::jsonb AS element
FROM unnest(ARRAY[
	'{}', '{"a":{}}', '[]', '[[1],{}]', 'null', 'true', '0', '-1', '1.5', '1e300', '99999999999', '99999999999999999999',
	'""', '" 1"', '"-"', '"1e5"', '"99999999999"', '"99999999999999999999"', '"0.5"', '"June 16, 2025"', '"infinity"', '"field"', '"value"'
]) r;
CREATE TEMP TABLE event AS
SELECT DISTINCT ON (field, event) * FROM whatsapp.events ORDER BY field, event, event_id;
INSERT INTO whatsapp.events (event_id, waba_id, phone_number_id, field, event, at, element)
SELECT convert_to('wrecked ' || row_number() OVER (), 'UTF8'), e.waba_id, e.phone_number_id, e.field,
	CASE WHEN e.element ? 'code' THEN w.element ->> 'code' WHEN e.element ? 'action_type' THEN w.element ->> 'action_type' ELSE e.event END,
	e.at, w.element
FROM event e
CROSS JOIN replacement r
CROSS JOIN generate_series(0, 5) depth
CROSS JOIN LATERAL pg_temp.wreck(e.element, r.element, depth) w (element);
INSERT INTO whatsapp.statuses (phone_number_id, message_id, status, participant, element)
SELECT 'wrecked', row_number() OVER (), s.status, '', jsonb_set(s.element, '{payment}', w.element)
FROM whatsapp.statuses s
CROSS JOIN replacement r
CROSS JOIN generate_series(0, 4) depth
CROSS JOIN LATERAL pg_temp.wreck(s.element -> 'payment', r.element, depth) w (element)
WHERE s.element ? 'payment';

-- all columns of all rows of a view
CREATE FUNCTION pg_temp.look_at(view regclass, OUT rows bigint, OUT computed bigint)
LANGUAGE plpgsql
AS $$
BEGIN
	EXECUTE format('SELECT count(*), count(v::text) FROM %s v', view) INTO rows, computed;
END $$;
CREATE TEMP TABLE view AS
SELECT DISTINCT r.ev_class::regclass AS name
FROM pg_rewrite r
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
WHERE d.refobjid = 'whatsapp.events'::regclass OR r.ev_class = 'whatsapp.payments'::regclass;
SELECT v.name, l.rows > 10 AS many_rows, l.computed = l.rows AS all_computed
FROM view v
CROSS JOIN LATERAL pg_temp.look_at(v.name) l
ORDER BY v.name::text COLLATE "C";

-- what had to yield to something else, and what was said of contacts, is in none
ALTER TABLE view ADD COLUMN rows bigint;
UPDATE view SET rows = (SELECT l.rows FROM pg_temp.look_at(view.name) l);
INSERT INTO whatsapp.events (event_id, waba_id, phone_number_id, field, event, at, element)
SELECT convert_to('again ' || row_number() OVER (), 'UTF8'), e.waba_id, e.phone_number_id, e.field, w.word, e.at,
	e.element || CASE WHEN e.element ? 'code' THEN jsonb_build_object('code', w.word)
		WHEN e.element ? 'action_type' THEN jsonb_build_object('action_type', w.word) ELSE '{}' END
FROM event e
CROSS JOIN unnest(ARRAY['superseded', 'seen']) w (word);
SELECT v.name, l.rows - v.rows AS more
FROM view v
CROSS JOIN LATERAL pg_temp.look_at(v.name) l
WHERE l.rows <> v.rows;

DROP OWNED BY regress_whatsapp_reader;
DROP ROLE regress_whatsapp_reader;
DROP FUNCTION pg_temp.sync;
DROP EXTENSION whatsapp;
