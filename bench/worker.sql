-- The queue of worker.js, a peer of our outbox.

CREATE SCHEMA worker;
CREATE TABLE worker.outbox (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	recipient text NOT NULL,
	body text NOT NULL,
	state text NOT NULL DEFAULT 'queued',
	attempts integer NOT NULL DEFAULT 0,
	message_id text,
	error text,
	created_at timestamptz NOT NULL DEFAULT now(),
	claimed_at timestamptz,
	finished_at timestamptz
);
CREATE INDEX ON worker.outbox (id) WHERE state = 'queued';
