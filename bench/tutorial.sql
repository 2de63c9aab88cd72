-- What bench/tutorial.js files into.
CREATE SCHEMA tutorial;
CREATE TABLE tutorial.webhooks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body jsonb NOT NULL, received_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE tutorial.contacts (wa_id text PRIMARY KEY, name text, last_seen timestamptz NOT NULL DEFAULT now());
CREATE TABLE tutorial.messages (message_id text PRIMARY KEY, wa_id text, type text, body text, status text, sent_at timestamptz, element jsonb);
CREATE INDEX ON tutorial.messages (wa_id, sent_at);
CREATE TABLE tutorial.statuses (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message_id text, status text, at timestamptz, element jsonb);
CREATE INDEX ON tutorial.statuses (message_id);
