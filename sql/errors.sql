-- What is done about errors of Meta's, and who decides.
CREATE EXTENSION whatsapp;
\set SHOW_CONTEXT never
SET client_min_messages = error;
SELECT whatsapp.add_number('1001', waba_id => '1', access_token => 'token-a');
SELECT whatsapp.add_number('1002', waba_id => '1', access_token => 'token-b');
SELECT whatsapp.add_number('1003', waba_id => '2', access_token => 'token-a');
SELECT whatsapp.add_number('1004', waba_id => '2', access_token => 'token-c');

-- each code has a class, and says what it is
SELECT class, count(*) FROM whatsapp.error_classes GROUP BY class ORDER BY class;
SELECT code FROM whatsapp.error_classes WHERE meaning IS NULL OR is_yours;

-- what an outcome means
SELECT o.outcome, o.http_status, o.reply, v.state, v.class, v.wait, v.error_code, v.error_subcode, v.error_title, v.error_details, v.error
FROM (VALUES
	('answered', 200, '{"messages": [{"id": "wamid.A"}]}'),
	('answered', 500, '{"messages": [{"id": "wamid.A"}]}'),
	('answered', 200, '{"messages": [{"id": ""}]}'),
	('answered', 200, '{"messages": []}'),
	('answered', 200, '{}'),
	('answered', 200, '[]'),
	('answered', 200, '"OK"'),
	('answered', 200, NULL),
	('answered', 502, NULL),
	('answered', 503, '{"error": "down"}'),
	('answered', 408, NULL),
	('answered', 302, NULL),
	('answered', 401, NULL),
	('answered', 404, NULL),
	('answered', 413, NULL),
	('answered', 429, NULL),
	('answered', 200, '{"error": {"code": 131026}}'),
	('answered', 400, '{"error": {"code": 131056, "message": "(#131056) Pair rate limit hit"}}'),
	('answered', 400, '{"error": {"code": 130429}}'),
	('answered', 500, '{"error": {"code": 131000, "error_data": "a string"}}'),
	('answered', 500, '{"error": {"code": "131016", "error_data": {"details": "Later."}}}'),
	('answered', 400, '{"error": {"code": 131049}}'),
	('answered', 401, '{"error": {"code": 190, "error_subcode": 463}}'),
	('answered', 400, '{"error": {"code": 100, "error_subcode": 33}}'),
	('answered', 400, '{"error": {"code": 100, "error_data": {"details": "Graph API version is gone"}}}'),
	('answered', 400, '{"error": {"code": 100, "error_user_title": "Bad", "error_user_msg": "Very bad"}}'),
	('answered', 400, '{"error": {"code": 99999}}'),
	('answered', 500, '{"error": {"code": 99999}}'),
	('answered', 400, '{"error": {"code": 99999, "is_transient": true}}'),
	('answered', 400, '{"error": {"code": "none"}}'),
	('answered', 400, '{"error": []}'),
	('unknown', 0, NULL),
	('not read', 0, NULL),
	('not sent', 0, NULL)
) o (outcome, http_status, reply)
CROSS JOIN LATERAL whatsapp.verdict('text', o.outcome, o.http_status, o.reply::jsonb) v;

-- how long to wait: never less than half of it, nor more
SELECT d.class, d.attempts, d.deferrals, d.retry_after, bool_and(whatsapp.delay(d.class, d.wait::interval, d.attempts, d.deferrals, d.retry_after)
	BETWEEN d.least::interval AND d.most::interval) AS fits
FROM (VALUES
	('not sent', NULL, 1, 0, NULL, '1 s', '2 s'),
	('not sent', NULL, 1, 3, NULL, '8 s', '16 s'),
	('not sent', NULL, 1, 99, NULL, '30 s', '60 s'),
	('not read', NULL, 1, 0, NULL, '50 ms', '100 ms'),
	('not read', NULL, 1, 99, NULL, '3.2 s', '6.4 s'),
	('retry', NULL, 1, 0, NULL, '1 s', '2 s'),
	('retry', NULL, 4, 0, NULL, '8 s', '16 s'),
	('retry', NULL, 99, 0, NULL, '150 s', '300 s'),
	('retry_few', NULL, 2, 0, NULL, '2 s', '4 s'),
	('retry', NULL, 1, 0, 120, '120 s', '120 s'),
	('retry', NULL, 1, 0, 999999, '1 hour', '1 hour'),
	('wait', '10 min', 1, 0, NULL, '10 min', '11 min'),
	('wait', '10 min', 1, 0, 5, '10 min', '11 min'),
	('pair', NULL, 1, 0, NULL, '1 s', '1 s'),
	('pair', NULL, 1, 3, NULL, '64 s', '64 s'),
	('pair', NULL, 1, 99, NULL, '4096 s', '4096 s'),
	('slow_number', '1 s', 1, 0, NULL, '1 s', '1.1 s'),
	('wait', NULL, 2, 0, NULL, '2 s', '4 s'),
	('hold_template', NULL, 1, 3, NULL, '4 s', '8 s'),
	('token', NULL, 1, 0, NULL, '0.5 s', '1 s'),
	('token', NULL, 1, 99, NULL, '30 s', '60 s')
) d (class, wait, attempts, deferrals, retry_after, least, most)
CROSS JOIN generate_series(1, 50)
GROUP BY d.class, d.attempts, d.deferrals, d.retry_after, d.least
ORDER BY d.class, d.attempts, d.deferrals, d.retry_after NULLS FIRST, d.least;

-- what the worker would record for a row that it has claimed
CREATE FUNCTION try(body text, error jsonb, http_status integer DEFAULT 400, retry_after integer DEFAULT NULL)
RETURNS TABLE (state text, attempts integer, deferrals integer, class text, wait text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	UPDATE whatsapp.outbox o SET retry_at = NULL WHERE o.body = try.body;
	UPDATE whatsapp.holds h SET until = now() WHERE h.kind = 'pair';
	PERFORM whatsapp.tend(100);
	PERFORM whatsapp.claim(100);
	PERFORM whatsapp.record(ARRAY[o.id], ARRAY[o.nonce], ARRAY['answered'], ARRAY[try.http_status],
		ARRAY[jsonb_build_object('error', try.error)], ARRAY[NULL], ARRAY[try.retry_after])
	FROM whatsapp.outbox o WHERE o.body = try.body;
	RETURN QUERY
	SELECT o.state, o.attempts, o.deferrals, a.class, CASE WHEN o.retry_at > now() + interval '59 min' THEN 'long' WHEN o.retry_at > now() + interval '5 min' THEN 'minutes' WHEN o.retry_at > now() THEN 'short' END
	FROM whatsapp.outbox o
	LEFT JOIN LATERAL (SELECT * FROM whatsapp.attempts t WHERE t.outbox_id = o.id ORDER BY t.attempt_id DESC LIMIT 1) a ON true
	WHERE o.body = try.body;
END $$;

-- tried again, up to a limit
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'few'), ('1001', '15551230002', 'more');
SELECT (t.t).* FROM (SELECT try('few', '{"code": 131000}', 500) AS t FROM generate_series(1, 3) OFFSET 0) t;
SELECT (t.t).* FROM (SELECT try('more', '{"code": 131016}', 500) AS t FROM generate_series(1, 8) OFFSET 0) t;
SELECT a.attempt, a.what, a.state, a.class, a.error_code FROM whatsapp.attempts a JOIN whatsapp.outbox o ON o.id = a.outbox_id WHERE o.body = 'few' ORDER BY attempt_id;

-- what has to wait is not an attempt
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230003', 'pair'), ('1001', '15551230004', 'template'), ('1001', '15551230005', 'later');
SELECT (t.t).* FROM (SELECT try('pair', '{"code": 131056}') AS t FROM generate_series(1, 3) OFFSET 0) t;
SELECT * FROM try('template', '{"code": 132015}');
SELECT * FROM try('later', '{"code": 2}', 503, 600);

-- not tried again
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230006', 'suppressed'), ('1001', '15551230007', 'rerouted');
SELECT * FROM try('suppressed', '{"code": 131049}');
SELECT * FROM try('rerouted', '{"code": 131047}');

-- a token that is refused stops all that have it, and nobody else
CREATE VIEW held AS SELECT phone_number_id, kind, key, error_code, reason, until IS NOT NULL AS until, rate, failures FROM whatsapp.holds WHERE kind <> 'pair' AND coalesce(until, 'infinity') > now() ORDER BY phone_number_id, kind, key;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230008', 'refused');
SELECT * FROM try('refused', '{"code": 190, "message": "Session has expired"}', 401);
SELECT * FROM held;
SELECT count(*) FROM whatsapp.claim(100) WHERE what = 'send';
-- until another is set; one that was set meanwhile is not stopped by the old one's refusal
SELECT whatsapp.set_access_token('1001', 'token-d');
SELECT * FROM held;
UPDATE whatsapp.outbox SET state = 'sending', claimed_at = now() - interval '1 hour' WHERE body = 'refused';
SELECT r.outbox_id FROM whatsapp.outbox o, whatsapp.record(ARRAY[o.id], ARRAY[o.nonce], ARRAY['answered'], ARRAY[401], ARRAY['{"error": {"code": 190}}'::jsonb], ARRAY[NULL], ARRAY[NULL]::integer[]) r WHERE r.what = 'left' AND o.body = 'refused';
SELECT * FROM held;
SELECT body, attempts FROM whatsapp.outbox WHERE body = 'refused';

-- an account that is locked stops its numbers
SELECT whatsapp.resume_number('1003');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1003', '15551230009', 'locked');
SELECT * FROM try('locked', '{"code": 131031}');
SELECT * FROM held;
SELECT whatsapp.resume_number('1003');
SELECT whatsapp.resume_number('1004');

-- a number that is too fast pauses for a moment, and goes on by itself
SELECT * FROM try('locked', '{"code": 130429}');
SELECT * FROM held;
UPDATE whatsapp.holds SET until = now() WHERE phone_number_id = '1003';
SELECT count(*) FROM whatsapp.claim(100) WHERE what = 'send';
SELECT * FROM held;
-- slower at first, and within a minute as fast as before
SELECT phone_number_id, round(rate) AS rate FROM whatsapp.open_numbers() ORDER BY phone_number_id;
UPDATE whatsapp.holds SET until = now() - interval '30 s' WHERE phone_number_id = '1003';
SELECT phone_number_id, round(rate) AS rate FROM whatsapp.open_numbers() WHERE phone_number_id = '1003';
UPDATE whatsapp.holds SET until = now() - interval '1 minute' WHERE phone_number_id = '1003';
SELECT phone_number_id, round(rate) AS rate FROM whatsapp.open_numbers() WHERE phone_number_id = '1003';
SELECT count(*) AS tended FROM whatsapp.tend(100) \gset
SELECT count(*) FROM whatsapp.holds WHERE phone_number_id = '1003';

-- also if nobody has said for how long
UPDATE whatsapp.error_classes SET class = 'slow_number', wait = NULL WHERE code = 131005;
SELECT * FROM try('locked', '{"code": 131005}');
SELECT * FROM held WHERE phone_number_id = '1003';
SELECT whatsapp.resume_number('1003');
DELETE FROM whatsapp.error_classes WHERE code = 131005;

-- of several reasons, the one that takes the longest
UPDATE whatsapp.outbox SET state = 'sending', nonce = id, claimed_at = now() WHERE body IN ('locked', 'refused');
UPDATE whatsapp.outbox SET phone_number_id = '1003' WHERE body = 'refused';
SELECT count(*) FROM whatsapp.record(ARRAY(SELECT id FROM whatsapp.outbox WHERE body IN ('locked', 'refused') ORDER BY body),
	ARRAY(SELECT nonce FROM whatsapp.outbox WHERE body IN ('locked', 'refused') ORDER BY body), ARRAY['answered', 'answered'], ARRAY[400, 500],
	ARRAY['{"error": {"code": 131048, "message": "Spam"}}', '{"error": {"code": 131057, "message": "Upgrade"}}']::jsonb[], ARRAY[NULL, NULL], ARRAY[NULL, NULL]::integer[]) WHERE what = 'left';
SELECT * FROM held WHERE phone_number_id = '1003';
SELECT whatsapp.resume_number('1003');

-- an app that calls too often pauses for a moment with all that it has a token for
SELECT whatsapp.set_access_token('1003', 'token-d');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1003', '15551230010', 'app');
SELECT * FROM try('app', '{"code": 4}');
SELECT * FROM held;
SELECT whatsapp.resume_number(phone_number_id) FROM whatsapp.numbers;

-- what somebody has paused stays so
SELECT whatsapp.pause_number('1003', 'not on Sundays');
UPDATE whatsapp.outbox SET state = 'sending', claimed_at = now() WHERE body = 'locked';
SELECT r.outbox_id FROM whatsapp.outbox o, whatsapp.record(ARRAY[o.id], ARRAY[o.nonce], ARRAY['answered'], ARRAY[400], ARRAY['{"error": {"code": 130429}}'::jsonb], ARRAY[NULL], ARRAY[NULL]::integer[]) r WHERE r.what = 'left' AND o.body = 'locked';
SELECT phone_number_id, state, paused_reason, paused_until FROM whatsapp.numbers ORDER BY phone_number_id;
SELECT whatsapp.pause_number('none');
SELECT whatsapp.resume_number('none');
SELECT whatsapp.resume_number('1003');

-- who decides otherwise
UPDATE whatsapp.error_classes SET class = 'permanent' WHERE code = 131000;
INSERT INTO whatsapp.error_classes (code, class, wait, meaning) VALUES (99999, 'wait', '1 minute', 'something new');
UPDATE whatsapp.error_classes SET class = 'whatever' WHERE code = 131016;
UPDATE whatsapp.error_classes SET wait = '-1 s' WHERE code = 131016;
-- answers are still to be recorded
INSERT INTO whatsapp.error_classes (code, details, class) VALUES (131016, '(too many', 'permanent');
SELECT code, class, wait, meaning, is_yours FROM whatsapp.error_classes WHERE is_yours ORDER BY code;
SELECT code, subcode, details, class, wait, meaning, hint FROM whatsapp.error_class_overrides ORDER BY code;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230011', 'decided');
SELECT * FROM try('decided', '{"code": 131000}', 500);
DELETE FROM whatsapp.error_classes WHERE code IN (131000, 99999);
SELECT code, class, wait, meaning, is_yours FROM whatsapp.error_classes WHERE code IN (131000, 99999) ORDER BY code;
SELECT count(*) FROM whatsapp.error_class_overrides;

-- an error that nobody has heard of is told
SET client_min_messages = warning;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230012', 'unheard of');
\set VERBOSITY default
SELECT * FROM try('unheard of', '{"code": 4711}');
-- and so is what stops a number
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230013', 'loud');
SELECT * FROM try('loud', '{"code": 190, "message": "Session has expired"}', 401);

DROP VIEW held;
DROP FUNCTION try(text, jsonb, integer, integer);
DROP EXTENSION whatsapp;
