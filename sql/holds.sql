-- What is held because of errors and webhooks, for how long, and what is not.
CREATE EXTENSION whatsapp;
\set SHOW_CONTEXT never
SET client_min_messages = error;
SELECT whatsapp.add_number('1001', waba_id => '1', access_token => 'token-a', display_phone_number => '+1 555-010-0200');
SELECT whatsapp.add_number('1002', waba_id => '1', access_token => 'token-b');
SELECT whatsapp.add_number('1003', waba_id => '2', access_token => 'token-c');

CREATE FUNCTION leave() RETURNS TABLE (phone_number_id text, body text) LANGUAGE plpgsql AS $$
DECLARE
	claimed bigint[] := '{}';
	before integer;
BEGIN
	LOOP
		PERFORM whatsapp.tend(100);
		before := cardinality(claimed);
		claimed := claimed || ARRAY(SELECT c.outbox_id FROM whatsapp.claim(100) c WHERE c.what = 'send');
		EXIT WHEN cardinality(claimed) = before;
	END LOOP;
	RETURN QUERY SELECT o.phone_number_id, coalesce(o.body, o.content ->> 'name') FROM whatsapp.outbox o WHERE o.id = ANY (claimed) ORDER BY o.id;
END $$;
-- an answer to what is on its way to somebody
CREATE FUNCTION answer(recipient text, code integer DEFAULT NULL, number text DEFAULT '1001') RETURNS void LANGUAGE sql AS $$
	SELECT whatsapp.record(array_agg(o.id), array_agg(o.nonce), array_agg('answered'::text), array_agg(CASE WHEN code IS NULL THEN 200 ELSE 400 END),
		array_agg(CASE WHEN code IS NULL THEN jsonb_build_object('messages', jsonb_build_array(jsonb_build_object('id', 'wamid.' || o.id))) ELSE jsonb_build_object('error', jsonb_build_object('code', code, 'message', 'Because.')) END),
		array_agg(NULL::text), array_agg(NULL::integer))
	FROM whatsapp.outbox o WHERE o.phone_number_id = number AND o.recipient = answer.recipient AND o.state = 'sending'
$$;
-- some time passes
CREATE FUNCTION pass(t interval) RETURNS void LANGUAGE sql AS $$
	UPDATE whatsapp.outbox SET claimed_at = claimed_at - t, send_after = send_after - t, retry_at = retry_at - t, expires_at = expires_at - t;
	UPDATE whatsapp.holds SET since = since - t, until = until - t;
	UPDATE whatsapp.numbers SET paused_until = paused_until - t;
$$;
CREATE VIEW held AS SELECT phone_number_id, kind, key, round(extract(epoch FROM until - now())) AS seconds, rate, failures, error_code, reason FROM whatsapp.holds ORDER BY 1, 2, 3;
CREATE FUNCTION template(name text, recipient text, phone_number_id text DEFAULT '1001') RETURNS void LANGUAGE sql AS $$
	INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content) VALUES (phone_number_id, recipient, 'template', jsonb_build_object('name', name, 'language', jsonb_build_object('code', 'en_US')))
$$;

-- too much for one recipient: 1, 4, 16 seconds; others go on, and so does another number
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'a1'), ('1001', '15551230001', 'a2'), ('1001', '15551230002', 'b1'), ('1002', '15551230001', 'c1');
SELECT * FROM leave();
SELECT answer('15551230001', 131056), answer('15551230001', NULL, '1002');
SELECT * FROM held;
SELECT body, state, waits_for, attempts FROM whatsapp.outbox WHERE recipient = '15551230001' ORDER BY id;
-- not even what is more urgent
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, priority) VALUES ('1001', '15551230001', 'a3 urgent', 9), ('1001', '15551230002', 'b2', 0);
SELECT * FROM leave();
SELECT pass('1.1 s');
SELECT * FROM leave();
SELECT answer('15551230001', 131056);
SELECT * FROM held;
SELECT pass('4 s');
SELECT * FROM leave();
SELECT answer('15551230001', 131056);
SELECT * FROM held;
-- lifted by hand
SELECT whatsapp.release_hold('1001', 'pair', '+15551230001'), whatsapp.release_hold('1001', 'pair', '+15551230009');
SELECT * FROM leave();
SELECT answer('15551230001', 131056);
SELECT pass('1.1 s');
SELECT * FROM leave();
-- one that succeeds has it begin anew
SELECT answer('15551230001');
SELECT * FROM held;
SELECT * FROM leave();
SELECT answer('15551230001'), answer('15551230002');
SELECT * FROM leave();
SELECT answer('15551230001'), answer('15551230002');
SELECT answer('15551230001'), answer('15551230002');
SELECT * FROM leave();
SELECT answer('15551230001');
-- and so does an hour
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'a4');
SELECT * FROM leave();
SELECT answer('15551230001', 131056);
SELECT pass('1 hour 2 s');
SELECT * FROM leave();
SELECT * FROM held;
SELECT answer('15551230001');

-- a template that is paused: its messages wait, from all numbers of the account, and nobody waits for them
SELECT template('promo', '15551230001'), template('other', '15551230002'), template('promo', '15551230003', '1002'), template('promo', '15551230004', '1003');
SELECT * FROM leave();
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'after the template');
SELECT answer('15551230001', 132015), answer('15551230003', 132015, '1002');
SELECT phone_number_id, kind, key, seconds BETWEEN 3600 AND 3960 AS an_hour, error_code FROM held;
SELECT template('promo', '15551230005'), template('promo', '15551230005'), template('other', '15551230005');
SELECT recipient, content ->> 'name' AS name, waits_for, attempts FROM whatsapp.outbox WHERE state = 'queued' ORDER BY id;
SELECT * FROM leave();
SELECT phone_number_id, queued, due, jsonb_path_query_array(holds, '$[*].reason') AS reasons FROM whatsapp.sender_status WHERE phone_number_id = '1002';
-- it ends by itself
SELECT pass('66 min');
SELECT * FROM leave();
SELECT recipient, content ->> 'name' AS name, state, waits_for FROM whatsapp.outbox WHERE state IN ('queued', 'sending') ORDER BY id;
SELECT answer('15551230005'), answer('15551230001'), answer('15551230002'), answer('15551230003', NULL, '1002');
SELECT * FROM leave();
SELECT answer('15551230005'), answer('15551230001'), answer('15551230004', NULL, '1003');
SELECT * FROM leave();
SELECT answer('15551230005');
-- those that wait for their turn behind others are found when they would leave
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230006', 'first');
SELECT template('promo', '15551230006') FROM generate_series(1, 3);
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230006', 'last');
SELECT * FROM leave();
-- (by a webhook)
CREATE FUNCTION tell_template(status text, at integer) RETURNS void LANGUAGE sql AS $$
	SELECT whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object('id', '1', 'time', at, 'changes', jsonb_build_array(jsonb_build_object(
		'field', 'message_template_status_update', 'value', jsonb_build_object('event', status, 'message_template_id', 42, 'message_template_name', 'promo', 'message_template_language', 'en_US', 'reason', 'NONE')))))))
$$;
SELECT tell_template('PAUSED', 1750101000);
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT * FROM held;
SELECT answer('15551230006');
SELECT * FROM leave();
SELECT content ->> 'name' AS name, waits_for FROM whatsapp.outbox WHERE state = 'queued' ORDER BY id;
-- an older webhook does not count; until one says that it is approved
SELECT tell_template('APPROVED', 1750100000);
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT count(*) FROM whatsapp.holds;
SELECT tell_template('APPROVED', 1750102000);
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT count(*) FROM whatsapp.holds;
SELECT answer('15551230006');
SELECT * FROM leave();
SELECT answer('15551230006');
SELECT * FROM leave();
-- disabled for good: somebody decides
SELECT answer('15551230006', 132016);
SELECT * FROM held;
SELECT * FROM leave();
SELECT whatsapp.release_hold('1001', 'template', 'promo en_US');
SELECT * FROM leave();
SELECT answer('15551230006');
SELECT * FROM leave();
SELECT answer('15551230006');
SELECT tell_template('DISABLED', 1750103000);
SELECT what, phone_number_id, class, key, reason FROM whatsapp.news ORDER BY news_id;
SELECT tell_template('REINSTATED', 1750104000);
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT whatsapp.release_hold('1002', 'template', 'promo en_US');
SELECT * FROM held;

-- what fails later holds, too
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230007', 'too much');
SELECT * FROM leave();
SELECT answer('15551230007');
SELECT (whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object('id', '1', 'changes', jsonb_build_array(jsonb_build_object('field', 'messages', 'value', jsonb_build_object(
	'metadata', jsonb_build_object('phone_number_id', '1001'), 'statuses', jsonb_build_array(jsonb_build_object('id', o.message_id, 'status', 'failed', 'timestamp', '1750101000', 'recipient_id', '15551230007',
	'errors', jsonb_build_array(jsonb_build_object('code', 131056, 'title', 'Pair rate limit')))))))))))).http_status
FROM whatsapp.outbox o WHERE o.body = 'too much';
SELECT body, state, error_code FROM whatsapp.outbox WHERE body = 'too much';
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT * FROM held;
SELECT whatsapp.release_hold(phone_number_id, kind, key) FROM whatsapp.holds;

-- too fast: slower, and again only for what left after that
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) SELECT '1001', '1555123100' || i, 'fast ' || i FROM generate_series(0, 3) i;
SELECT * FROM leave();
SELECT answer('15551231000', 130429), answer('15551231001', 130429);
SELECT round(extract(epoch FROM until - now()) * 10) BETWEEN 10 AND 11 AS a_second, rate FROM whatsapp.holds;
SELECT phone_number_id FROM whatsapp.open_numbers() ORDER BY 1;
SELECT pass('1.2 s');
SELECT answer('15551231002', 130429);
SELECT round(rate) AS rate FROM whatsapp.holds;
SELECT pass('1.2 s');
UPDATE whatsapp.outbox SET claimed_at = now() WHERE state = 'sending';
SELECT answer('15551231003', 130429);
SELECT round(rate) AS rate FROM whatsapp.holds;
SELECT pass('1.2 s');
SELECT phone_number_id, round(rate) AS rate FROM whatsapp.open_numbers() ORDER BY 1;
SELECT pass('1 min');
SELECT phone_number_id, round(rate) AS rate FROM whatsapp.open_numbers() ORDER BY 1;
SELECT * FROM leave();
SELECT answer(recipient) FROM whatsapp.outbox WHERE state = 'sending' ORDER BY id;
SELECT count(*) FROM whatsapp.holds;

-- what Meta's headers say
SELECT u, (whatsapp.used(u::jsonb)).* FROM (VALUES
	('{"call_count": 28, "total_cputime": 25, "total_time": 81.5}'),
	('{"1": [{"type": "whatsapp", "call_count": 12, "total_cputime": 3, "total_time": 4, "estimated_time_to_regain_access": 7}]}'),
	('{"1": [{"type": "whatsapp_business_management", "call_count": 100, "estimated_time_to_regain_access": 7}], "2": [{"type": "whatsapp_business_messaging", "call_count": 5}]}'),
	('{"call_count": "many", "1": {"call_count": 8}, "2": [3, null, []]}'), ('[1]'), ('"x"'), ('null')) v (u);
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230008', 'usage');
SELECT * FROM leave();
SELECT whatsapp.heed_usage(ARRAY[id, id], '{"{\"call_count\": 79}", "{\"call_count\": 80}"}') FROM whatsapp.outbox WHERE body = 'usage';
SELECT * FROM held;
SELECT pass('1 s'), whatsapp.heed_usage(ARRAY[id], '{"{\"call_count\": 85}"}') FROM whatsapp.outbox WHERE body = 'usage';
SELECT phone_number_id, kind, rate, failures FROM held;
SELECT whatsapp.heed_usage(ARRAY[id], '{"{\"call_count\": 100}"}') FROM whatsapp.outbox WHERE body = 'usage';
SELECT phone_number_id, kind, seconds FROM held;
SELECT whatsapp.heed_usage(ARRAY[id], '{"{\"1\": [{\"type\": \"whatsapp\", \"estimated_time_to_regain_access\": 30}]}"}') FROM whatsapp.outbox WHERE body = 'usage';
SELECT phone_number_id, kind, seconds FROM held;
SELECT phone_number_id, holds FROM (SELECT phone_number_id, jsonb_path_query_array(holds, '$[*].reason') AS holds FROM whatsapp.sender_status) s ORDER BY 1;
SELECT whatsapp.resume_number(phone_number_id) FROM whatsapp.numbers;
SELECT count(*) FROM whatsapp.holds;
SELECT answer('15551230008');

-- a webhook tells that Meta takes more
SELECT http_status FROM whatsapp.ingest_unsigned('{"object": "whatsapp_business_account", "entry": [{"id": "1", "time": 1750101000, "changes": [{"field": "phone_number_quality_update", "value": {"display_phone_number": "15550100200", "event": "THROUGHPUT_UPGRADE", "max_daily_conversations_per_business": "TIER_UNLIMITED"}}]}]}');
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT phone_number_id, messages_per_second FROM whatsapp.numbers ORDER BY 1;
UPDATE whatsapp.numbers SET messages_per_second = 500 WHERE phone_number_id = '1001';
SELECT http_status FROM whatsapp.ingest_unsigned('{"object": "whatsapp_business_account", "entry": [{"id": "1", "time": 1750101000, "changes": [{"field": "phone_number_quality_update", "value": {"display_phone_number": "15550100200", "event": "THROUGHPUT_UPGRADE", "max_daily_conversations_per_business": "TIER_UNLIMITED"}}]}]}');
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT phone_number_id, messages_per_second FROM whatsapp.numbers WHERE phone_number_id = '1001';

-- a number that is paused until some time
SELECT whatsapp.pause_number('1001', 'lunch', now() + interval '1 hour');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'hungry'), ('1002', '15551230001', 'not so');
SELECT * FROM leave();
SELECT pass('1 hour');
SELECT * FROM leave();

-- who wants no marketing gets none, and what has been taken to be sent is taken back
SELECT http_status FROM whatsapp.ingest_unsigned('{"object": "whatsapp_business_account", "entry": [{"id": "1", "time": 1750101000, "changes": [{"field": "user_preferences", "value": {"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1001"}, "user_preferences": [{"wa_id": "15551230020", "category": "marketing_messages", "value": "stop", "timestamp": 1750101000}]}}]}]}');
INSERT INTO whatsapp.templates (template_id, name, language, waba_id, category, status) VALUES ('43', 'sale', 'en_US', '1', 'MARKETING', 'APPROVED');
SELECT template('sale', '15551230020'), template('sale', '15551230021'), template('promo', '15551230020');
SELECT * FROM leave();
SELECT recipient, content ->> 'name' AS name, state, error_code, error FROM whatsapp.outbox WHERE recipient LIKE '155512300__' AND type = 'template' AND created_at = (SELECT max(created_at) FROM whatsapp.outbox WHERE type = 'template') ORDER BY id;
SELECT count(*) FROM whatsapp.withdraw(ARRAY(SELECT id FROM whatsapp.outbox WHERE state = 'sending'));
SELECT whatsapp.pause_number('1002');
INSERT INTO whatsapp.user_preferences (phone_number_id, participant, category, value, wa_id, element) VALUES ('1001', '15551230021', 'marketing_messages', 'stop', '15551230021', '{}');
INSERT INTO whatsapp.holds (phone_number_id, kind, key) VALUES ('1001', 'template', 'promo en_US');
SELECT coalesce(o.body, o.content ->> 'name') AS withdrawn FROM whatsapp.withdraw(ARRAY(SELECT id FROM whatsapp.outbox WHERE state = 'sending')) w (id) JOIN whatsapp.outbox o USING (id) ORDER BY o.id;
SELECT whatsapp.record(ARRAY[o.id], ARRAY[o.nonce], ARRAY['withdrawn'], ARRAY[0], ARRAY[NULL]::jsonb[], ARRAY['Not any more.'], ARRAY[NULL]::integer[]) FROM whatsapp.outbox o WHERE o.body = 'not so';
SELECT state, waits_for, attempts, retry_at FROM whatsapp.outbox WHERE body = 'not so';

DROP VIEW held;
DROP FUNCTION leave();
DROP FUNCTION answer(text, integer, text);
DROP FUNCTION pass(interval);
DROP FUNCTION template(text, text, text);
DROP FUNCTION tell_template(text, integer);
DROP EXTENSION whatsapp;
