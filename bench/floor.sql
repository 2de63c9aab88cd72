-- What is written of messages that are sent, and nothing else: the same rows, in
-- the same tables and indexes, in the same transactions, by statements that find
-- everything finished.  Nobody is asked whether a message may leave, nothing is
-- made nor parsed, and there are no triggers.  See drain.pl.

CREATE UNLOGGED TABLE bench.finished (
	id bigint PRIMARY KEY,
	phone_number_id text,
	wa_id text,
	nonce text,
	message_id text,
	body text,
	element jsonb
);

-- What is going to be written of the messages that are queued.
CREATE PROCEDURE bench.finish()
LANGUAGE sql
AS $$
	TRUNCATE bench.finished;
	INSERT INTO bench.finished
	SELECT o.id, o.phone_number_id, ltrim(o.recipient_key, '+'), substr(md5('nonce' || o.id), 1, 16),
		'wamid.' || md5(o.id::text), o.body, whatsapp.request_body(o)
	FROM whatsapp.outbox o
	WHERE o.state = 'queued';
$$;

-- Write it, of so many messages at a time.  Tells how many seconds that took.
CREATE PROCEDURE bench.write_finished(at_a_time integer, INOUT seconds double precision DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
	start CONSTANT timestamptz := clock_timestamp();
	id bigint;
	last bigint;
	ids bigint[];
BEGIN
	SELECT min(f.id), max(f.id) INTO id, last FROM bench.finished f;
	WHILE id <= last LOOP
		ids := ARRAY(SELECT generate_series(id, least(id + at_a_time - 1, last)));
		id := id + at_a_time;

		UPDATE whatsapp.outbox o
		SET state = 'sending', attempts = o.attempts + 1, claimed_at = now(), nonce = f.nonce
		FROM bench.finished f
		WHERE o.id = ANY (ids) AND f.id = o.id;
		COMMIT;

		UPDATE whatsapp.outbox o
		SET state = 'sent', message_id = f.message_id, finished_at = now()
		FROM bench.finished f
		WHERE o.id = ANY (ids) AND f.id = o.id;
		INSERT INTO whatsapp.correspondents (phone_number_id, contact_key, kind, wa_id, wa_id_at, first_seen, last_seen,
			last_message_at, last_outbound_at)
		SELECT f.phone_number_id, f.wa_id, 'wa_id', f.wa_id, now(), now(), now(), now(), now()
		FROM bench.finished f
		WHERE f.id = ANY (ids);
		INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, body, wa_id, status, status_at, sent_at,
			outbox_id, element)
		SELECT f.phone_number_id, f.message_id, 'outbound', 'text', f.body, f.wa_id, 'accepted', now(), now(), f.id, f.element
		FROM bench.finished f
		WHERE f.id = ANY (ids);
		COMMIT;
	END LOOP;
	seconds := extract(epoch FROM clock_timestamp() - start);
END $$;
