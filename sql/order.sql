-- Messages from a number to a recipient leave one after the other, by priority
-- and then by id; nobody else waits for them.
CREATE EXTENSION whatsapp;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT whatsapp.add_number('1001', access_token => 'token');
SELECT whatsapp.add_number('1002', access_token => 'token');

-- what leaves now, as the background worker would have it
CREATE FUNCTION leave(max_rows integer DEFAULT 100) RETURNS TABLE (phone_number_id text, body text) LANGUAGE plpgsql AS $$
DECLARE
	claimed bigint[] := '{}';
	before integer;
BEGIN
	LOOP
		PERFORM whatsapp.tend(100);
		before := cardinality(claimed);
		claimed := claimed || ARRAY(SELECT c.outbox_id FROM whatsapp.claim(max_rows - before) c WHERE c.what = 'send');
		EXIT WHEN cardinality(claimed) = before OR cardinality(claimed) = max_rows;
	END LOOP;
	RETURN QUERY SELECT o.phone_number_id, o.body FROM unnest(claimed) WITH ORDINALITY c (id, ord) JOIN whatsapp.outbox o ON o.id = c.id ORDER BY c.ord;
END $$;
-- an answer; what may leave after it
CREATE FUNCTION answer(body text, reply jsonb DEFAULT NULL, http_status integer DEFAULT 200) RETURNS TABLE (what text, released text) LANGUAGE sql AS $$
	SELECT r.what, n.body
	FROM whatsapp.outbox o
	CROSS JOIN LATERAL whatsapp.record(ARRAY[o.id], ARRAY[o.nonce], ARRAY['answered'], ARRAY[http_status],
		ARRAY[coalesce(reply, jsonb_build_object('messages', jsonb_build_array(jsonb_build_object('id', 'wamid.' || o.id))))], ARRAY[NULL], ARRAY[NULL]::integer[]) r
	JOIN whatsapp.outbox n ON n.id = r.outbox_id
	WHERE o.body = answer.body
$$;
CREATE VIEW waiting AS SELECT o.body, o.recipient_key, o.priority, o.state, o.waits_for FROM whatsapp.outbox o WHERE o.state IN ('queued', 'sending') ORDER BY o.id;

-- one recipient, however it is written
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES
	('1001', '+49 151 23456789', 'a1'), ('1001', '0049151 23456789', 'a2'), ('1001', '4915123456789', 'a3'),
	('1001', '15551230002', 'b1'), ('1002', '4915123456789', 'other number');
SELECT * FROM waiting;
SELECT * FROM leave();
SELECT * FROM leave();
-- when one has come to an end, however, the next one leaves
SELECT * FROM answer('a1');
SELECT * FROM leave();
SELECT * FROM answer('a2', '{"error": {"code": 131026}}', 400);
SELECT * FROM leave();
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '4915123456789', 'a4');
SELECT * FROM answer('a3', '{}', 502);
SELECT body, state FROM whatsapp.outbox WHERE body = 'a3';
SELECT * FROM leave();
SELECT * FROM answer('a4');
SELECT * FROM answer('b1');
SELECT * FROM answer('other number');

-- by priority, then by id; one that is on its way is not overtaken, nor are two
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, priority) VALUES ('1001', '15551230001', 'c1', 0), ('1001', '15551230001', 'c2', 0);
SELECT * FROM leave();
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, priority) VALUES ('1001', '15551230001', 'c3 urgent', 5), ('1001', '15551230001', 'c4 less so', 1), ('1001', '15551230001', 'c5 urgent', 5);
SELECT * FROM leave();
SELECT * FROM answer('c1');
SELECT * FROM leave();
SELECT * FROM answer('c3 urgent');
SELECT * FROM leave();
SELECT * FROM answer('c5 urgent');
SELECT * FROM leave();
SELECT * FROM answer('c4 less so');
SELECT * FROM leave();
SELECT * FROM answer('c2');
-- one that is more urgent than what is next is so at once
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'd1');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, priority) VALUES ('1001', '15551230001', 'd2 urgent', 5);
SELECT * FROM leave();
SELECT * FROM answer('d2 urgent');
SELECT * FROM leave();
SELECT * FROM answer('d1');

-- what is for later holds nobody up, and takes its place when it is due
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, send_after) VALUES
	('1001', '15551230001', 'e1 later', now() + interval '1 hour'), ('1001', '15551230001', 'e2', NULL), ('1001', '15551230001', 'e3', now() - interval '1 hour');
SELECT * FROM waiting;
SELECT * FROM leave();
UPDATE whatsapp.outbox SET send_after = now() WHERE body = 'e1 later';
SELECT * FROM leave();
SELECT * FROM waiting;
SELECT * FROM answer('e2');
SELECT * FROM leave();
SELECT * FROM answer('e1 later');
SELECT * FROM leave();
SELECT * FROM answer('e3');

-- what is to be tried again holds its own priority and lower ones
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, priority) VALUES ('1001', '15551230001', 'f1', 1), ('1001', '15551230001', 'f2', 1), ('1001', '15551230001', 'f3 lower', 0);
SELECT * FROM leave();
SELECT * FROM answer('f1', '{"error": {"code": 2}}', 503);
SELECT * FROM leave();
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, priority) VALUES ('1001', '15551230001', 'f4 higher', 2);
SELECT * FROM leave();
SELECT * FROM waiting;
UPDATE whatsapp.outbox SET retry_at = now() WHERE body = 'f1';
SELECT * FROM leave();
SELECT * FROM answer('f4 higher');
SELECT * FROM leave();
SELECT * FROM answer('f1');
SELECT * FROM leave();
SELECT * FROM answer('f2');
SELECT * FROM leave();
SELECT * FROM answer('f3 lower');

-- by hand: what is in front is cancelled, deleted, made less urgent, or sent to somebody else
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) SELECT '1001', '15551230001', 'g' || i FROM generate_series(1, 6) i;
SELECT whatsapp.cancel(id) FROM whatsapp.outbox WHERE body = 'g1';
SELECT * FROM leave();
SELECT * FROM answer('g2');
DELETE FROM whatsapp.outbox WHERE body = 'g3';
SELECT * FROM leave();
SELECT * FROM answer('g4');
UPDATE whatsapp.outbox SET priority = -1 WHERE body = 'g5';
SELECT * FROM leave();
UPDATE whatsapp.outbox SET recipient = '15551230002' WHERE body = 'g5';
SELECT * FROM leave();
-- and what is cancelled is queued again, in its old place
UPDATE whatsapp.outbox SET state = 'queued' WHERE body = 'g1';
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'g7');
SELECT * FROM leave();
SELECT * FROM answer('g6');
SELECT * FROM answer('g5');
SELECT * FROM leave();
SELECT * FROM answer('g1');
SELECT * FROM leave();
SELECT * FROM answer('g7');
-- what somebody says has failed while it was on its way holds nobody up
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'h1'), ('1001', '15551230001', 'h2');
SELECT * FROM leave();
UPDATE whatsapp.outbox SET state = 'failed' WHERE body = 'h1';
SELECT * FROM leave();
SELECT * FROM answer('h2');
-- and what has expired
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, expires_at) VALUES ('1001', '15551230001', 'i1', now() + interval '1 hour'), ('1001', '15551230001', 'i2', NULL);
UPDATE whatsapp.outbox SET expires_at = now() WHERE body = 'i1';
SELECT * FROM leave();
SELECT * FROM answer('i2');
-- also while it was on its way, and has to be tried again
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, expires_at) VALUES ('1001', '15551230001', 'j1', now() + interval '1 hour'), ('1001', '15551230001', 'j2', NULL);
SELECT * FROM leave();
UPDATE whatsapp.outbox SET expires_at = now() WHERE body = 'j1';
SELECT * FROM answer('j1', '{"error": {"code": 2}}', 503);
SELECT body, state FROM whatsapp.outbox WHERE body = 'j1';
SELECT * FROM leave();
SELECT * FROM answer('j2');
-- a worker that has died leaves something unknown
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'k1'), ('1001', '15551230001', 'k2');
SELECT * FROM leave();
SELECT whatsapp.release_interrupted('{}');
SELECT * FROM leave();
SELECT * FROM answer('k2');

-- read and typing calls wait for nobody, and nobody for them
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, body, content) VALUES
	('1001', '15551230001', 'text', 'l1', NULL), ('1001', '15551230001', 'mark_read', NULL, '{"message_id": "wamid.IN"}'), ('1001', '15551230001', 'typing', NULL, '{"message_id": "wamid.IN"}'), ('1001', '15551230001', 'text', 'l2', NULL);
SELECT o.type FROM whatsapp.claim(100) c JOIN whatsapp.outbox o ON o.id = c.outbox_id WHERE c.what = 'send' ORDER BY o.id;
SELECT * FROM answer('l1');
SELECT * FROM leave();
SELECT * FROM answer('l2');
SELECT count(*) FROM whatsapp.outbox WHERE waits_for = 'turn';

-- numbers take turns; of each, no more than it may
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) SELECT '1001', '1556' || 1000000 + i, 'bulk ' || i FROM generate_series(1, 20) i;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) SELECT '1002', '1556' || 1000000 + i, 'reply ' || i FROM generate_series(1, 3) i;
SELECT * FROM leave(4);
SELECT phone_number_id, count(*) FROM whatsapp.claim(100, false, '{1002, 1001}', '{1, 5}', '{NULL, NULL}', '{NULL, NULL}') WHERE what = 'send' GROUP BY phone_number_id ORDER BY 1;
-- read on from where it was
SELECT o.body FROM whatsapp.claim(3, false, '{1001}', '{3}', '{0}', ARRAY[(SELECT id FROM whatsapp.outbox WHERE body = 'bulk 12')]) c JOIN whatsapp.outbox o ON o.id = c.outbox_id ORDER BY o.id;
-- but for what is more urgent, or was released
UPDATE whatsapp.outbox SET priority = 3 WHERE body = 'bulk 10';
SELECT o.body FROM whatsapp.claim(3, false, '{1001}', '{3}', '{0}', ARRAY[(SELECT id FROM whatsapp.outbox WHERE body = 'bulk 17')], (SELECT array_agg(id) FROM whatsapp.outbox WHERE body IN ('bulk 11', 'bulk 9'))) c JOIN whatsapp.outbox o ON o.id = c.outbox_id ORDER BY o.id;
-- and the rest by beginning anew
SELECT * FROM leave();

-- what was changed past the triggers is found by and by: here a message that
-- came by replication, and some that have no place to wait in
SET session_replication_role = replica;
ALTER TABLE whatsapp.outbox DISABLE TRIGGER place_inserted;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, type, body, content, waits_for) VALUES
	('1002', '15557000001', 'text', 'n1', NULL, 'turn'), ('1002', '15557000001', 'text', 'n2', NULL, 'turn'), ('1002', '15557000002', 'text', 'n3', NULL, 'turn'),
	('1002', 'nobody', 'text', 'n4', NULL, 'turn'), ('1002', '15557000003', 'text', 'n5', NULL, 'hold');
ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER place_inserted;
RESET session_replication_role;
SELECT * FROM leave();
SELECT * FROM whatsapp.audit(1, NULL, NULL);
SELECT * FROM whatsapp.audit(1, '1002', '+15557000001');
SELECT * FROM whatsapp.audit(1, '1002', '+15557000002');
SELECT * FROM leave();
SELECT body, state FROM whatsapp.outbox WHERE body LIKE 'n_' ORDER BY id;
SELECT * FROM answer('n1');
SELECT * FROM leave();
TRUNCATE whatsapp.outbox;

-- one that something objects to, when it is due or when all is said and done,
-- does not keep others from leaving
CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.body = 'unwilling' THEN
		RETURN NULL;
	ELSIF NEW.body IN ('objected to', 'objected to in the end') THEN
		RAISE EXCEPTION 'not that one';
	END IF;
	RETURN NEW;
END $$;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, send_after) VALUES
	('1001', '15551230001', 'unwilling', now() + interval '1 hour'), ('1001', '15551230002', 'objected to', now() + interval '1 hour'),
	('1001', '15551230003', 'objected to in the end', now() + interval '1 hour'), ('1001', '15551230004', 'willing', now() + interval '1 hour');
UPDATE whatsapp.outbox SET send_after = now();
CREATE TRIGGER object BEFORE UPDATE ON whatsapp.outbox FOR EACH ROW WHEN (NEW.body <> 'objected to in the end') EXECUTE FUNCTION object();
CREATE CONSTRAINT TRIGGER object_in_the_end AFTER UPDATE ON whatsapp.outbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION object();
SET client_min_messages = error;
SELECT t.what, o.body FROM whatsapp.tend(100) t LEFT JOIN whatsapp.outbox o ON o.id = t.outbox_id;
SELECT * FROM leave();
-- nor when they would leave
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230005', 'unwilling'), ('1001', '15551230006', 'willing, too');
SELECT o.body FROM whatsapp.claim(1) c JOIN whatsapp.outbox o ON o.id = c.outbox_id;
RESET client_min_messages;
DROP TRIGGER object ON whatsapp.outbox;
DROP TRIGGER object_in_the_end ON whatsapp.outbox;
TRUNCATE whatsapp.outbox;
DROP FUNCTION object();

-- rows that are known are found by their key, also by a plan that was made
-- when there were none
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan;
VACUUM ANALYZE whatsapp.outbox;
CREATE FUNCTION indexes() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	PREPARE known (bigint[]) AS SELECT * FROM whatsapp.front_rows(10, NULL, NULL, NULL, NULL, $1, '{}');
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) EXECUTE known (''{1}'')' LOOP
		IF line LIKE '%using outbox_%' THEN
			RETURN NEXT substring(line FROM 'outbox_[a-z]+');
		END IF;
	END LOOP;
END $$;
SELECT * FROM indexes();
DROP FUNCTION indexes();
RESET ALL;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1001', '15551230001', 'bulk 1');
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) SELECT '1001', '1556' || 1000000 + i, 'under way' FROM generate_series(1, 3) i;
SELECT count(*) FROM leave();

-- the counts are those that there are
INSERT INTO whatsapp.outbox (phone_number_id, recipient, body, send_after) VALUES ('1001', '15551230001', 'm1', now() + interval '1 hour'), ('1001', '15551230001', 'm2', NULL);
DELETE FROM whatsapp.outbox WHERE body = 'bulk 1';
CREATE VIEW counts AS
SELECT s.phone_number_id, s.queued, s.due, s.in_flight, s.oldest_due_age IS NOT NULL AS something_waits,
	ARRAY[s.queued, s.due, s.in_flight] = (
		SELECT ARRAY[count(*) FILTER (WHERE o.state = 'queued'),
			count(*) FILTER (WHERE o.state = 'queued' AND coalesce(o.waits_for NOT IN ('schedule', 'retry'), true)),
			count(*) FILTER (WHERE o.state = 'sending')]
		FROM whatsapp.outbox o WHERE o.phone_number_id = s.phone_number_id) AS is_right
FROM whatsapp.sender_status s ORDER BY s.phone_number_id;
SELECT * FROM counts;
DO $$ BEGIN FOR i IN 1..100 LOOP INSERT INTO whatsapp.outbox (phone_number_id, recipient, body) VALUES ('1002', '15551230001', 'one more'); END LOOP; END $$;
SELECT * FROM counts;
SELECT whatsapp.add_up_tallies();
SELECT count(*) FROM whatsapp.tallies;
SELECT * FROM counts;
SELECT whatsapp.count_rows();
SELECT * FROM counts;
SELECT count(*) FROM whatsapp.tallies;
TRUNCATE whatsapp.outbox;
SELECT * FROM counts;

DROP VIEW waiting, counts;
DROP FUNCTION leave(integer);
DROP FUNCTION answer(text, jsonb, integer);
DROP EXTENSION whatsapp;
