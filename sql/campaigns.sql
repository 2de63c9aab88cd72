-- Messages that belong together: how far they are; paused, resumed, cancelled.
CREATE EXTENSION whatsapp;
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET client_min_messages = error;
SELECT whatsapp.add_number('1001', waba_id => '1', access_token => 'token-a');
SELECT whatsapp.add_number('1002', waba_id => '1', access_token => 'token-b');

CREATE FUNCTION leave() RETURNS TABLE (phone_number_id text, body text) LANGUAGE plpgsql AS $$
DECLARE
	claimed bigint[] := '{}';
	sent bigint[];
	is_done boolean;
BEGIN
	-- as the background worker does, until nothing comes to be sent or moved
	LOOP
		PERFORM whatsapp.tend(100);
		SELECT array_agg(c.outbox_id) FILTER (WHERE c.what = 'send'), count(*) = 0 INTO sent, is_done FROM whatsapp.claim(100) c;
		claimed := claimed || sent;
		EXIT WHEN is_done;
	END LOOP;
	RETURN QUERY SELECT o.phone_number_id, coalesce(o.body, o.content ->> 'name') FROM whatsapp.outbox o WHERE o.id = ANY (claimed) ORDER BY o.id;
END $$;
-- an answer to what is on its way to somebody, or to all
CREATE FUNCTION answer(recipient text DEFAULT '%', code integer DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	SELECT whatsapp.record(array_agg(o.id), array_agg(o.nonce), array_agg('answered'::text), array_agg(CASE WHEN code IS NULL THEN 200 ELSE 400 END),
		array_agg(CASE WHEN code IS NULL THEN jsonb_build_object('messages', jsonb_build_array(jsonb_build_object('id', 'wamid.' || o.id))) ELSE jsonb_build_object('error', jsonb_build_object('code', code, 'message', 'Because.')) END),
		array_agg(NULL::text), array_agg(NULL::integer))
	FROM whatsapp.outbox o WHERE o.recipient LIKE answer.recipient AND o.state = 'sending'
$$;
CREATE FUNCTION tell(status text, recipient text, code integer DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	SELECT whatsapp.ingest_unsigned(jsonb_build_object('object', 'whatsapp_business_account', 'entry', jsonb_build_array(jsonb_build_object('id', '1', 'changes', jsonb_build_array(jsonb_build_object('field', 'messages', 'value', jsonb_build_object(
		'metadata', jsonb_build_object('phone_number_id', o.phone_number_id), 'statuses', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('id', o.message_id, 'status', status, 'timestamp', '1750101000', 'recipient_id', o.recipient,
		'errors', CASE WHEN code IS NOT NULL THEN jsonb_build_array(jsonb_build_object('code', code, 'title', 'Because')) END))))))))))
	FROM whatsapp.outbox o WHERE o.recipient = tell.recipient
$$;
CREATE FUNCTION put(campaign text, recipient text, body text, phone_number_id text DEFAULT '1001', priority integer DEFAULT 0) RETURNS void LANGUAGE sql AS $$
	INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, campaign, priority) VALUES (phone_number_id, recipient, body, campaign, priority)
$$;
CREATE FUNCTION template(campaign text, recipient text, name text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, content, campaign) VALUES ('1001', recipient, 'template', jsonb_build_object('name', name, 'language', jsonb_build_object('code', 'en_US')), campaign)
$$;
CREATE VIEW waiting AS SELECT coalesce(body, content ->> 'name') AS body, recipient, state, waits_for FROM whatsapp.outbox WHERE state IN ('queued', 'sending') ORDER BY id;
CREATE VIEW held AS SELECT phone_number_id, kind, key, round(extract(epoch FROM until - now())) AS seconds, error_code, reason FROM whatsapp.holds ORDER BY 1, 2, 3;
-- all that leaves, each as the one before is answered
CREATE FUNCTION leave_all() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		RETURN QUERY SELECT l.body FROM leave() l;
		EXIT WHEN NOT FOUND;
		PERFORM answer();
	END LOOP;
END $$;
CREATE FUNCTION pass(t interval) RETURNS void LANGUAGE sql AS $$
	UPDATE whatsapp.outbox SET claimed_at = claimed_at - t, send_after = send_after - t, retry_at = retry_at - t;
	UPDATE whatsapp.holds SET since = since - t, until = until - t;
$$;

-- one is paused: what is there waits, and what is queued later; from all numbers
SELECT put('a', '15551230001', 'a1'), put('a', '15551230002', 'a2'), put('a', '15551230003', 'a3', '1002'), put('b', '15551230004', 'b1'), put(NULL, '15551230005', 'none');
SELECT whatsapp.pause_campaign('a', 'wrong price');
SELECT put('a', '15551230006', 'a4'), put('b', '15551230007', 'b2');
SELECT * FROM held;
SELECT * FROM waiting;
SELECT * FROM leave();
SELECT * FROM waiting;
SELECT phone_number_id, queued, due, holds FROM whatsapp.sender_status ORDER BY 1;
SELECT phone_number_id, campaign, state, paused_reason, paused_until, total, queued, sending, estimated_end FROM whatsapp.campaigns ORDER BY 1, 2;
-- nobody waits for it: not what is behind it, to the same people
SELECT answer();
SELECT put('a', '15551230001', 'a5'), put('b', '15551230001', 'b3'), put(NULL, '15551230001', 'none, either'), put('a', '15551230001', 'a6 urgent', priority => 5);
SELECT * FROM leave();
SELECT answer();
SELECT * FROM leave();
SELECT answer();
SELECT * FROM leave();
-- paused again is paused for another reason, and until another time
SELECT whatsapp.pause_campaign('a', 'until later', now() + interval '1 hour');
SELECT * FROM held;
SELECT paused_reason, paused_until BETWEEN now() + interval '59 min' AND now() + interval '1 hour' AS in_an_hour FROM whatsapp.campaigns WHERE phone_number_id = '1002' AND campaign = 'a';
-- from one number it goes on
SELECT whatsapp.release_hold('1002', 'campaign', 'a'), whatsapp.release_hold('1002', 'campaign', 'b');
SELECT * FROM leave();
SELECT phone_number_id, state FROM whatsapp.campaigns WHERE campaign = 'a' ORDER BY 1;
-- its time is over: it goes on, each recipient in order
SELECT pass('61 min');
SELECT * FROM leave();
SELECT * FROM waiting;
SELECT * FROM held;
SELECT answer();
SELECT * FROM leave();
SELECT answer();
SELECT * FROM leave();
SELECT answer();
SELECT * FROM leave();
SELECT count(*) FROM waiting;

-- what is on its way when it is paused comes to its end, whichever
SELECT put('a', '15551230001', 'accepted'), put('a', '15551230002', 'refused'), put('a', '15551230003', 'again'), put('a', '15551230004', 'withdrawn');
SELECT put('b', '15551230003', 'behind it');
SELECT * FROM leave();
SELECT whatsapp.pause_campaign('a');
-- what has been taken, and has not left, may not leave any more
SELECT o.body FROM whatsapp.withdraw(ARRAY(SELECT id FROM whatsapp.outbox)) w (id) JOIN whatsapp.outbox o USING (id) WHERE o.state = 'sending' ORDER BY 1;
SELECT answer('15551230001'), answer('15551230002', 131026), answer('15551230003', 131016);
SELECT count(*) FROM whatsapp.outbox o, whatsapp.record(ARRAY[o.id], ARRAY[o.nonce], '{withdrawn}', '{0}', '{NULL}', '{NULL}', '{NULL}') r WHERE o.body = 'withdrawn';
SELECT body, state, waits_for FROM whatsapp.outbox WHERE body IN ('accepted', 'refused', 'again', 'withdrawn', 'behind it') ORDER BY id;
-- what is to be tried again is not waited for, either (which the background
-- worker knows without being told)
DELETE FROM whatsapp.changed_lanes;
ALTER TABLE whatsapp.outbox DISABLE TRIGGER note_updated;
SELECT t.what, o.body FROM whatsapp.tend(100) t JOIN whatsapp.outbox o ON o.id = t.outbox_id;
ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER note_updated;
SELECT * FROM leave();
SELECT body, state, waits_for, retry_at > now() AS later FROM whatsapp.outbox WHERE body IN ('again', 'withdrawn', 'behind it') ORDER BY id;
SELECT answer();
-- and still waits for its time when it is resumed
SELECT whatsapp.resume_campaign('a'), whatsapp.resume_campaign('nothing of the kind');
SELECT * FROM leave();
SELECT body, waits_for FROM whatsapp.outbox WHERE body = 'again';
SELECT pass('10 min');
SELECT * FROM leave();
SELECT answer();

-- two campaigns, and a template that is held: each has to be lifted
SELECT whatsapp.pause_campaign('a'), whatsapp.pause_campaign('b');
INSERT INTO whatsapp.holds (phone_number_id, kind, key) VALUES ('1001', 'template', 'promo en_US');
SELECT template('a', '15551230001', 'promo'), template('b', '15551230001', 'promo'), template(NULL, '15551230001', 'promo'), template('a', '15551230001', 'other'), put(NULL, '15551230001', 'nothing of all that');
SELECT * FROM waiting;
SELECT * FROM leave();
SELECT answer();
SELECT whatsapp.resume_campaign('a');
SELECT * FROM leave_all();
SELECT * FROM waiting;
-- the other way round
SELECT whatsapp.pause_campaign('a'), whatsapp.release_hold('1001', 'template', 'promo en_US');
SELECT template('a', '15551230001', 'another');
SELECT * FROM leave_all();
SELECT * FROM waiting;
SELECT whatsapp.resume_campaign('a');
SELECT * FROM leave_all();
SELECT * FROM waiting;
SELECT whatsapp.resume_campaign('b');
SELECT * FROM leave_all();
SELECT * FROM waiting;

-- a lot of it is moved out of the way at once, and a lot of it comes back
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, campaign) SELECT '1001', 15560000000 + i % 250, 'a', 'a' FROM generate_series(1, 500) i;
SELECT whatsapp.pause_campaign('a');
SELECT put(NULL, '15551230001', 'behind all'), put(NULL, '15560000249', 'behind the last');
SELECT o.body FROM whatsapp.claim(2) c JOIN whatsapp.outbox o ON o.id = c.outbox_id WHERE c.what = 'send';
SELECT waits_for, count(*) FROM whatsapp.outbox WHERE state = 'queued' GROUP BY 1 ORDER BY 1;
SELECT * FROM leave();
SELECT waits_for, count(*) FROM whatsapp.outbox WHERE state = 'queued' GROUP BY 1 ORDER BY 1;
SELECT answer();
SELECT whatsapp.resume_campaign('a');
-- (there is more to see to, at once)
SELECT what, count(*), bool_and(at <= clock_timestamp()) AS now FROM whatsapp.tend(100) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM leave_all();
SELECT count(*) FROM waiting;

-- what has no place to wait in any more is found by and by
SELECT whatsapp.pause_campaign('a'), put('a', '15551230001', 'of none by now'), put('a', '15551230002', 'of another by now');
UPDATE whatsapp.outbox SET campaign = CASE body WHEN 'of another by now' THEN 'b' END WHERE body LIKE '%by now';
SELECT * FROM leave();
SELECT * FROM whatsapp.audit(10, NULL, NULL);
SELECT * FROM leave();
SELECT answer();
-- the counts are those that there are
SELECT put('a', '15551230001', 'counted');
SELECT whatsapp.count_rows();
SELECT queued, due FROM whatsapp.sender_status WHERE phone_number_id = '1001';
SELECT whatsapp.resume_campaign('a');
SELECT * FROM leave();
SELECT answer();

-- cancelled: what is queued, whatever it waits for; not what is on its way
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, campaign, send_after) VALUES ('1001', '15551230001', 'c later', 'c', now() + interval '1 hour');
SELECT put('c', '15551230002', 'c under way'), put('c', '15551230003', 'c again');
SELECT * FROM leave();
SELECT answer('15551230003', 131016);
SELECT put('c', '15551230002', 'c behind'), put('c', '15551230004', 'c in front'), put('c', '15551230005', 'c of the other', '1002'), put('b', '15551230002', 'b behind it all');
SELECT whatsapp.pause_campaign('c');
SELECT put('c', '15551230006', 'c while paused');
SELECT whatsapp.cancel_campaign('c'), whatsapp.cancel_campaign('nothing of the kind'), whatsapp.cancel_campaign(NULL);
SELECT body, state, finished_at IS NOT NULL AS is_finished FROM whatsapp.outbox WHERE campaign = 'c' ORDER BY id;
SELECT phone_number_id, state, total, queued, sending, sent, cancelled, percent FROM whatsapp.campaigns WHERE campaign = 'c' ORDER BY 1;
SELECT answer();
SELECT * FROM leave();
SELECT answer();
SELECT whatsapp.cancel_campaign('c');
SELECT phone_number_id, state, total, queued, sending, sent, cancelled, percent FROM whatsapp.campaigns WHERE campaign = 'c' ORDER BY 1;
-- it still is paused, also for what is to come
SELECT put('c', '15551230006', 'c once more');
SELECT * FROM leave();
SELECT phone_number_id, state FROM whatsapp.campaigns WHERE campaign = 'c' ORDER BY 1;
SELECT whatsapp.resume_campaign('c');
SELECT * FROM leave();
SELECT answer();
SELECT whatsapp.pause_campaign(NULL);

-- the progress: scheduled, then some of everything
TRUNCATE whatsapp.outbox;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, campaign, send_after)
SELECT '1001', (15570000000 + i)::text, 'd' || i, 'd', now() + interval '1 hour' FROM generate_series(1, 20) i;
SELECT * FROM whatsapp.campaigns;
UPDATE whatsapp.outbox SET send_after = now() WHERE body NOT IN ('d19', 'd20');
UPDATE whatsapp.outbox SET expires_at = now() WHERE body = 'd18';
SELECT whatsapp.cancel(id) FROM whatsapp.outbox WHERE body = 'd17';
SELECT state, queued FROM whatsapp.campaigns;
SELECT count(*) FROM leave();
SELECT answer('15570000010', 131026), answer('15570000011', 131050), answer('15570000012', 777), answer('15570000016', 131051);
SELECT whatsapp.record(ARRAY[id], ARRAY[nonce], '{unknown}', '{0}', '{NULL}', '{Lost.}', '{NULL}') FROM whatsapp.outbox WHERE body IN ('d13', 'd14');
UPDATE whatsapp.outbox SET state = 'failed', failed_at = now() WHERE body = 'd14';
SELECT answer('1557000000_');
SELECT tell('delivered', '15570000001'), tell('read', '15570000002'), tell('played', '15570000003'), tell('sent', '15570000004');
SELECT tell('failed', '15570000005', 131049), tell('failed', '15570000006', 131050);
-- (to one device of two)
SELECT tell('failed', '15570000007', 131026), tell('delivered', '15570000007');
\x on
SELECT phone_number_id, campaign, state, total, queued, sending, sent, delivered, read, failed, failed_later, failures, opted_out, unknown, cancelled, expired, percent,
	rate > 0 AS has_rate, started_at <= now() AS has_begun, last_at <= now() AS has_last, estimated_end >= now() + interval '59 min' AS as_scheduled
FROM whatsapp.campaigns;
\x off
-- each is one of these
SELECT total = queued + sending + sent + failed - failed_later + unknown + cancelled + expired AS adds_up FROM whatsapp.campaigns;
-- by class as it is decided here
INSERT INTO whatsapp.error_classes (code, class, meaning) VALUES (777, 'suppress', 'ours');
SELECT failures FROM whatsapp.campaigns;
DELETE FROM whatsapp.error_classes WHERE code = 777;
-- the rate is that of a minute, or less at the beginning; what is left takes as long
SELECT answer();
DELETE FROM whatsapp.outbox WHERE body IN ('d17', 'd18', 'd19', 'd20');
UPDATE whatsapp.outbox SET claimed_at = now() - interval '30 s', finished_at = now() - interval '5 s';
SELECT put('d', '15570000021', 'd21'), put('d', '15570000022', 'd22');
SELECT state, round(rate, 1) AS rate, round(extract(epoch FROM estimated_end - now())) AS seconds FROM whatsapp.campaigns;
UPDATE whatsapp.outbox SET claimed_at = claimed_at - interval '1 hour' WHERE body = 'd1';
SELECT state, round(rate, 1) AS rate, round(extract(epoch FROM estimated_end - now())) AS seconds FROM whatsapp.campaigns;
SELECT whatsapp.pause_campaign('d');
SELECT state, rate, estimated_end FROM whatsapp.campaigns;
SELECT whatsapp.resume_campaign('d');
UPDATE whatsapp.outbox SET finished_at = finished_at - interval '1 hour';
SELECT state, rate, estimated_end FROM whatsapp.campaigns;
SELECT whatsapp.cancel_campaign('d');
SELECT state, rate, estimated_end, percent FROM whatsapp.campaigns;
-- almost all is not all
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, campaign, state, created_at, finished_at)
SELECT '1001', '15570000000', 'from a dump', 'e', CASE WHEN i > 1 THEN 'sent' ELSE 'queued' END, '2025-01-01', '2025-01-01' FROM generate_series(1, 3000) i;
SELECT campaign, state, total, percent, started_at, last_at FROM whatsapp.campaigns WHERE campaign = 'e';

-- who may do what
CREATE ROLE regress_whatsapp_sender;
CREATE ROLE regress_whatsapp_tenant;
CREATE ROLE regress_whatsapp_admin;
SELECT whatsapp.grant_access('regress_whatsapp_sender', 'sender'), whatsapp.grant_access('regress_whatsapp_tenant', 'reader', '{1002}'),
	whatsapp.grant_access('regress_whatsapp_tenant', 'sender'), whatsapp.grant_access('regress_whatsapp_admin', 'admin');
SELECT put('f', '15551230001', 'of the owner'), put('f', '15551230002', 'of the owner', '1002');
SET SESSION AUTHORIZATION regress_whatsapp_sender;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, campaign) VALUES ('1001', '15551230003', 'of the sender', 'f'), ('1002', '15551230004', 'of the sender', 'f');
SELECT * FROM whatsapp.campaigns;
SELECT whatsapp.pause_campaign('f');
SELECT whatsapp.resume_campaign('f');
SELECT whatsapp.cancel_campaign('f'), whatsapp.cancel_campaign('f');
SET SESSION AUTHORIZATION regress_whatsapp_tenant;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, campaign) VALUES ('1002', '15551230005', 'of the tenant', 'f');
SELECT phone_number_id, total, queued, cancelled FROM whatsapp.campaigns WHERE campaign = 'f';
SELECT whatsapp.pause_campaign('f');
SELECT whatsapp.cancel_campaign('f');
SET SESSION AUTHORIZATION regress_whatsapp_admin;
SELECT whatsapp.pause_campaign('f', 'by admin');
SELECT phone_number_id, state, paused_reason, total, queued, cancelled FROM whatsapp.campaigns WHERE campaign = 'f' ORDER BY 1;
SELECT whatsapp.resume_campaign('f');
SELECT whatsapp.cancel_campaign('f');
RESET SESSION AUTHORIZATION;
SELECT body, state FROM whatsapp.outbox WHERE campaign = 'f' ORDER BY id;
DROP OWNED BY regress_whatsapp_sender, regress_whatsapp_tenant, regress_whatsapp_admin;
DROP ROLE regress_whatsapp_sender, regress_whatsapp_tenant, regress_whatsapp_admin;

-- one campaign is read and not all, by whoever asks
CREATE FUNCTION scans(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ 'outbox' OR line ~ 'Index Cond.*campaign' THEN
			RETURN NEXT btrim(line, ' ->');
		END IF;
	END LOOP;
END $$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT * FROM scans($$SELECT * FROM whatsapp.campaigns WHERE campaign = 'd'$$);
SELECT * FROM scans($$SELECT * FROM whatsapp.campaigns$$);
RESET ALL;

DROP VIEW waiting, held;
DROP FUNCTION leave, leave_all, answer, tell, put, template, pass, scans;
DROP EXTENSION whatsapp;
