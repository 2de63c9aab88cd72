-- WhatsApp Business (Meta Cloud API) in a database.
--
-- 1. Numbers and secrets      whom we send as, and what proves it
-- 2. Webhooks                 what Meta tells us, as rows
-- 3. Outbox                   what is to be sent, and what came of it
-- 4. The sender               what the background worker asks and tells
-- 5. Dumps and privileges
--
-- Words, codes and names of fields are Meta's; that is why they are text, with
-- no list of what they may be.

\echo Use "CREATE EXTENSION whatsapp" to load this file. \quit

DO $$
BEGIN
	IF current_setting('server_encoding') <> 'UTF8' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = format('extension "whatsapp" cannot be created in a database with encoding %s',
				current_setting('server_encoding')),
			HINT = 'Create the database with ENCODING ''UTF8''. People write in all scripts, and with emoji.';
	END IF;
END $$;

-- Ours from the beginning: should there be a schema of that name, or anything
-- in it, this fails rather than take it over.
CREATE SCHEMA whatsapp;
COMMENT ON SCHEMA whatsapp IS 'WhatsApp Business (Meta Cloud API): messages received and sent';

CREATE FUNCTION whatsapp.wake_sender() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'whatsapp_wake_sender';
COMMENT ON FUNCTION whatsapp.wake_sender() IS 'has the background worker look at the outbox as soon as the transaction has committed';

------------------------------------------------------------------------------
-- 1. Numbers and secrets
--
-- A number is a phone number of ours, by the id that Meta has given it.  Only
-- numbers with an access token send.  Webhooks are filed for all numbers,
-- also for those that are not here.
------------------------------------------------------------------------------

CREATE TABLE whatsapp.numbers (
	phone_number_id text PRIMARY KEY CHECK (phone_number_id ~ '^[0-9A-Za-z_]+$'),
	waba_id text,
	display_phone_number text,
	verified_name text,
	api_version text CHECK (api_version ~ '^v[0-9.]+$'),
	messages_per_second integer NOT NULL DEFAULT 80 CHECK (messages_per_second > 0),
	state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused')),
	paused_reason text,
	paused_until timestamptz,
	added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE whatsapp.numbers IS 'phone numbers of ours, that messages are sent from';
COMMENT ON COLUMN whatsapp.numbers.phone_number_id IS 'Meta''s id of the number; not the phone number itself';
COMMENT ON COLUMN whatsapp.numbers.waba_id IS 'id of the WhatsApp Business Account it belongs to';
COMMENT ON COLUMN whatsapp.numbers.display_phone_number IS 'the phone number, as people read it';
COMMENT ON COLUMN whatsapp.numbers.verified_name IS 'the name that WhatsApp shows for it';
COMMENT ON COLUMN whatsapp.numbers.api_version IS 'version of the Graph API to send with; that of whatsapp.api_version if NULL';
COMMENT ON COLUMN whatsapp.numbers.messages_per_second IS 'how many messages Meta takes from it in a second';
COMMENT ON COLUMN whatsapp.numbers.state IS 'active, or paused: then nothing is sent from it';
COMMENT ON COLUMN whatsapp.numbers.paused_reason IS 'why it is paused';
COMMENT ON COLUMN whatsapp.numbers.paused_until IS 'when it is to go on by itself; NULL for never';
COMMENT ON COLUMN whatsapp.numbers.added_at IS 'when it was added here';

-- Not dumped, and for the owner alone.  There are no constraints on the value,
-- as what violates one is shown in the error.
CREATE TABLE whatsapp.secrets (
	secret_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	kind text NOT NULL CHECK (kind IN ('access_token', 'app_secret', 'verify_token')),
	phone_number_id text,
	value text NOT NULL,
	added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE whatsapp.secrets IS 'access tokens, app secrets and verify tokens; all of a kind are valid until they are deleted, but of access tokens the newest is used';
COMMENT ON COLUMN whatsapp.secrets.secret_id IS 'the greater, the newer';
COMMENT ON COLUMN whatsapp.secrets.kind IS 'access_token (to send), app_secret (webhooks are signed with it) or verify_token (of the handshake)';
COMMENT ON COLUMN whatsapp.secrets.phone_number_id IS 'the number it was given with; NULL for all';
COMMENT ON COLUMN whatsapp.secrets.value IS 'the secret: visible ASCII characters, without spaces';
COMMENT ON COLUMN whatsapp.secrets.added_at IS 'when it was set';

CREATE FUNCTION whatsapp.set_secret(kind text, value text, phone_number_id text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF set_secret.kind NOT IN ('access_token', 'app_secret', 'verify_token') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'invalid kind of secret';
	END IF;
	IF set_secret.value IS NULL OR set_secret.value !~ '^[!-~]+$' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('invalid %s', replace(set_secret.kind, '_', ' ')),
			DETAIL = 'It must be visible ASCII characters, without spaces.',
			HINT = 'Copy it from the app''s dashboard once more.';
	END IF;

	-- one that is set again becomes the newest
	DELETE FROM whatsapp.secrets s
	WHERE s.kind = set_secret.kind
		AND s.value = set_secret.value
		AND s.phone_number_id IS NOT DISTINCT FROM set_secret.phone_number_id;
	INSERT INTO whatsapp.secrets (kind, phone_number_id, value)
	VALUES (set_secret.kind, set_secret.phone_number_id, set_secret.value);
END $$;
COMMENT ON FUNCTION whatsapp.set_secret(text, text, text) IS 'does the work of set_access_token, set_app_secret and set_verify_token';

CREATE FUNCTION whatsapp.set_access_token(phone_number_id text, token text)
RETURNS void
LANGUAGE sql
BEGIN ATOMIC
	SELECT whatsapp.set_secret('access_token', token, phone_number_id);
	SELECT whatsapp.wake_sender();
END;
COMMENT ON FUNCTION whatsapp.set_access_token(text, text) IS 'sets the access token that messages of a number are sent with, from now on';

CREATE FUNCTION whatsapp.set_app_secret(secret text, phone_number_id text DEFAULT NULL)
RETURNS void
LANGUAGE sql
BEGIN ATOMIC
	SELECT whatsapp.set_secret('app_secret', secret, phone_number_id);
END;
COMMENT ON FUNCTION whatsapp.set_app_secret(text, text) IS 'sets the secret of an app, which its webhooks are signed with; secrets set before stay valid';

CREATE FUNCTION whatsapp.set_verify_token(token text, phone_number_id text DEFAULT NULL)
RETURNS void
LANGUAGE sql
BEGIN ATOMIC
	SELECT whatsapp.set_secret('verify_token', token, phone_number_id);
END;
COMMENT ON FUNCTION whatsapp.set_verify_token(text, text) IS 'sets a token for the webhook verification: the one typed into Meta''s dashboard; tokens set before stay valid';

CREATE FUNCTION whatsapp.add_number(
	phone_number_id text,
	waba_id text DEFAULT NULL,
	access_token text DEFAULT NULL,
	app_secret text DEFAULT NULL,
	verify_token text DEFAULT NULL,
	display_phone_number text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	-- it becomes a part of URLs
	IF add_number.phone_number_id IS NULL OR add_number.phone_number_id !~ '^[0-9A-Za-z_]+$' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'invalid phone number id',
			DETAIL = 'It must be digits.',
			HINT = 'Take the "Phone number ID" from the app''s dashboard, not the phone number.';
	END IF;

	INSERT INTO whatsapp.numbers AS n (phone_number_id, waba_id, display_phone_number)
	VALUES (add_number.phone_number_id, add_number.waba_id, add_number.display_phone_number)
	ON CONFLICT (phone_number_id) DO UPDATE
	SET waba_id = coalesce(excluded.waba_id, n.waba_id),
		display_phone_number = coalesce(excluded.display_phone_number, n.display_phone_number);

	IF add_number.access_token IS NOT NULL THEN
		PERFORM whatsapp.set_access_token(add_number.phone_number_id, add_number.access_token);
	END IF;
	IF add_number.app_secret IS NOT NULL THEN
		PERFORM whatsapp.set_app_secret(add_number.app_secret, add_number.phone_number_id);
	END IF;
	IF add_number.verify_token IS NOT NULL THEN
		PERFORM whatsapp.set_verify_token(add_number.verify_token, add_number.phone_number_id);
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.add_number(text, text, text, text, text, text) IS 'adds a number, or what is given of one that is there; without an access token it only receives';

------------------------------------------------------------------------------
-- 2. Webhooks
--
-- Which part of a webhook goes to which column is said in src/webhook.c.
--
-- Meta delivers at least once and in no order.  So each table has a key that
-- is Meta's own, and whatever comes again changes nothing.  There are no
-- foreign keys: a status may come before its message is known here, and for
-- messages that never will be.
------------------------------------------------------------------------------

CREATE TABLE whatsapp.contacts (
	phone_number_id text NOT NULL,
	contact_key text NOT NULL,
	wa_id text,
	user_id text,
	parent_user_id text,
	name text,
	username text,
	first_seen timestamptz,
	last_seen timestamptz,
	element jsonb NOT NULL,
	PRIMARY KEY (phone_number_id, contact_key)
);
COMMENT ON TABLE whatsapp.contacts IS 'people who a number of ours has to do with';
COMMENT ON COLUMN whatsapp.contacts.phone_number_id IS 'our number; who writes to two of them is two contacts';
COMMENT ON COLUMN whatsapp.contacts.contact_key IS 'the BSUID where it is known, else the WhatsApp id';
COMMENT ON COLUMN whatsapp.contacts.wa_id IS 'WhatsApp id: mostly the phone number, in digits';
COMMENT ON COLUMN whatsapp.contacts.user_id IS 'business-scoped user id (BSUID), such as US.77120045539981';
COMMENT ON COLUMN whatsapp.contacts.parent_user_id IS 'parent BSUID, of businesses that share one';
COMMENT ON COLUMN whatsapp.contacts.name IS 'the name they have given themselves';
COMMENT ON COLUMN whatsapp.contacts.username IS 'their username, without @';
COMMENT ON COLUMN whatsapp.contacts.first_seen IS 'time of the first webhook filed that named them, as Meta tells it';
COMMENT ON COLUMN whatsapp.contacts.last_seen IS 'time of the newest webhook that named them, as Meta tells it';
COMMENT ON COLUMN whatsapp.contacts.element IS 'what the newest webhook said of them';

CREATE TABLE whatsapp.messages (
	phone_number_id text NOT NULL,
	message_id text NOT NULL,
	direction text NOT NULL CHECK (direction IN ('inbound', 'outbound')),
	type text,
	body text,
	wa_id text,
	user_id text,
	group_id text,
	context_id text,
	status text,
	status_at timestamptz,
	error_code integer,
	sent_at timestamptz,
	received_at timestamptz NOT NULL DEFAULT now(),
	outbox_id bigint,
	element jsonb,
	PRIMARY KEY (phone_number_id, message_id)
);
CREATE INDEX messages_wa_id_idx ON whatsapp.messages (phone_number_id, wa_id, sent_at);
COMMENT ON TABLE whatsapp.messages IS 'messages, received and sent';
COMMENT ON COLUMN whatsapp.messages.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.messages.message_id IS 'Meta''s id of the message (wamid)';
COMMENT ON COLUMN whatsapp.messages.direction IS 'inbound or outbound, as seen from us';
COMMENT ON COLUMN whatsapp.messages.type IS 'Meta''s word for what it is: text, image, interactive, reaction and so on; NULL if only a status of it is known: it was sent by other means than the outbox';
COMMENT ON COLUMN whatsapp.messages.body IS 'what a person would read of it: text, caption, title of the button pressed';
COMMENT ON COLUMN whatsapp.messages.wa_id IS 'WhatsApp id of the other side, as it came; a phone number in digits';
COMMENT ON COLUMN whatsapp.messages.user_id IS 'business-scoped user id (BSUID) of the other side, as it came';
COMMENT ON COLUMN whatsapp.messages.group_id IS 'the group it was written to';
COMMENT ON COLUMN whatsapp.messages.context_id IS 'id of the message that it answers or forwards';
COMMENT ON COLUMN whatsapp.messages.status IS 'how far it has got, of those sent: accepted, sent, failed, delivered, read, played; whatsapp.statuses has the history';
COMMENT ON COLUMN whatsapp.messages.status_at IS 'since when, as Meta tells it';
COMMENT ON COLUMN whatsapp.messages.error_code IS 'code of its error, if Meta tells one';
COMMENT ON COLUMN whatsapp.messages.sent_at IS 'when it was sent, as Meta tells it; of those sent from here, when Meta had accepted it';
COMMENT ON COLUMN whatsapp.messages.received_at IS 'when it came to be here';
COMMENT ON COLUMN whatsapp.messages.outbox_id IS 'the row of whatsapp.outbox it was sent for';
COMMENT ON COLUMN whatsapp.messages.element IS 'the message itself, as JSON: as it came, or as it was sent';

CREATE TABLE whatsapp.reactions (
	phone_number_id text NOT NULL,
	message_id text NOT NULL,
	reactor text NOT NULL,
	wa_id text,
	user_id text,
	emoji text,
	reaction_id text NOT NULL,
	at timestamptz,
	PRIMARY KEY (phone_number_id, message_id, reactor)
);
COMMENT ON TABLE whatsapp.reactions IS 'how people react to messages, now';
COMMENT ON COLUMN whatsapp.reactions.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.reactions.message_id IS 'the message they react to';
COMMENT ON COLUMN whatsapp.reactions.reactor IS 'who does: the BSUID where it came along, else the WhatsApp id';
COMMENT ON COLUMN whatsapp.reactions.wa_id IS 'their WhatsApp id, as it came';
COMMENT ON COLUMN whatsapp.reactions.user_id IS 'their BSUID, as it came';
COMMENT ON COLUMN whatsapp.reactions.emoji IS 'the emoji; NULL once it has been taken back';
COMMENT ON COLUMN whatsapp.reactions.reaction_id IS 'id of the reaction as a message; it is in whatsapp.messages, too';
COMMENT ON COLUMN whatsapp.reactions.at IS 'when, as Meta tells it';

CREATE TABLE whatsapp.statuses (
	phone_number_id text NOT NULL,
	message_id text NOT NULL,
	status text NOT NULL,
	participant text NOT NULL,
	at timestamptz,
	wa_id text,
	user_id text,
	pricing jsonb,
	errors jsonb,
	callback_data text,
	element jsonb NOT NULL,
	received_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (phone_number_id, message_id, status, participant)
);
COMMENT ON TABLE whatsapp.statuses IS 'what Meta told about messages sent; whatsapp.messages has the sum of it';
COMMENT ON COLUMN whatsapp.statuses.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.statuses.message_id IS 'the message (wamid)';
COMMENT ON COLUMN whatsapp.statuses.status IS 'sent, delivered, read, played, failed and so on';
COMMENT ON COLUMN whatsapp.statuses.participant IS 'the member of the group it is about; empty if it is about the message';
COMMENT ON COLUMN whatsapp.statuses.at IS 'when it came to be, as Meta tells it';
COMMENT ON COLUMN whatsapp.statuses.wa_id IS 'WhatsApp id of the recipient, or id of the group';
COMMENT ON COLUMN whatsapp.statuses.user_id IS 'BSUID of the recipient';
COMMENT ON COLUMN whatsapp.statuses.pricing IS 'whether Meta charges for the message, and as what';
COMMENT ON COLUMN whatsapp.statuses.errors IS 'what went wrong';
COMMENT ON COLUMN whatsapp.statuses.callback_data IS 'what was sent along with the message in biz_opaque_callback_data';
COMMENT ON COLUMN whatsapp.statuses.element IS 'the status itself, as JSON';
COMMENT ON COLUMN whatsapp.statuses.received_at IS 'when it came to be here';

CREATE TABLE whatsapp.events (
	event_id bytea PRIMARY KEY,
	waba_id text,
	phone_number_id text,
	field text,
	event text,
	at timestamptz,
	element jsonb NOT NULL,
	received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX events_field_idx ON whatsapp.events (field, received_at);
COMMENT ON TABLE whatsapp.events IS 'all that webhooks tell and that has no table of its own, whole; and of two things that claim one place in such a table, the one that had to yield';
COMMENT ON COLUMN whatsapp.events.event_id IS 'digest of what it says; see whatsapp.event_id()';
COMMENT ON COLUMN whatsapp.events.waba_id IS 'WhatsApp Business Account, or what else the entry was about';
COMMENT ON COLUMN whatsapp.events.phone_number_id IS 'our number, if it is about one';
COMMENT ON COLUMN whatsapp.events.field IS 'the webhook field, such as message_template_status_update; of webhooks that are none of WhatsApp''s, their object';
COMMENT ON COLUMN whatsapp.events.event IS 'what happened, such as APPROVED, in fields that say so; superseded, if field is a table here, where something else stands in its place';
COMMENT ON COLUMN whatsapp.events.at IS 'when, if Meta tells it';
COMMENT ON COLUMN whatsapp.events.element IS 'the change, entry or webhook, as JSON';
COMMENT ON COLUMN whatsapp.events.received_at IS 'when it came to be here';

CREATE TABLE whatsapp.webhooks (
	webhook_id bytea PRIMARY KEY,
	body bytea NOT NULL,
	reason text,
	received_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE whatsapp.webhooks IS 'webhooks as they came, if they could not be filed as they are; all of them if whatsapp.archive says so';
COMMENT ON COLUMN whatsapp.webhooks.webhook_id IS 'SHA-256 of the body';
COMMENT ON COLUMN whatsapp.webhooks.body IS 'the bytes of the body';
COMMENT ON COLUMN whatsapp.webhooks.reason IS 'what was the matter with it; NULL if nothing was';
COMMENT ON COLUMN whatsapp.webhooks.received_at IS 'when it first came';

CREATE FUNCTION whatsapp.status_rank(status text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE status
	WHEN 'accepted' THEN 0
	WHEN 'sent' THEN 1
	WHEN 'failed' THEN 2
	WHEN 'delivered' THEN 3
	WHEN 'read' THEN 4
	WHEN 'played' THEN 5
END;
COMMENT ON FUNCTION whatsapp.status_rank(text) IS 'how far a status is; of several the farthest is that of the message, in whatever order they come. A message that has failed was not delivered, unless to another device of the recipient. NULL for what is no status of a message';

CREATE FUNCTION whatsapp.is_placeholder(element jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(element ->> 'type' = 'media_placeholder'
	OR element ->> 'type' = 'unsupported'
		AND (element @> '{"errors": [{"code": 131060}]}' OR element @> '{"errors": [{"code": "131060"}]}'), false);
COMMENT ON FUNCTION whatsapp.is_placeholder(jsonb) IS 'whether a message only holds the place of one whose content is not there yet, and may come: types media_placeholder, and unsupported with error 131060';

CREATE FUNCTION whatsapp.event_id(about text, at timestamptz, element jsonb) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN sha256(convert_to(
	coalesce(about, '') || ' ' || coalesce(extract(epoch FROM at)::text, '') || ' ' || element::text,
	'UTF8'));
COMMENT ON FUNCTION whatsapp.event_id(text, timestamptz, jsonb) IS 'digest by which an event is known that comes again, from the account or number it is about, its time and what it says; Meta gives events no id';

CREATE TYPE whatsapp.ingest_result AS (
	ord integer,
	http_status integer,
	messages integer,
	statuses integer,
	events integer,
	duplicates integer,
	unreadable integer,
	parked integer,
	error text
);
COMMENT ON TYPE whatsapp.ingest_result IS 'what became of a webhook';
COMMENT ON COLUMN whatsapp.ingest_result.ord IS 'its place among those that were handed over, from 1';
COMMENT ON COLUMN whatsapp.ingest_result.http_status IS 'what to answer Meta';
COMMENT ON COLUMN whatsapp.ingest_result.messages IS 'messages filed';
COMMENT ON COLUMN whatsapp.ingest_result.statuses IS 'statuses filed';
COMMENT ON COLUMN whatsapp.ingest_result.events IS 'events filed';
COMMENT ON COLUMN whatsapp.ingest_result.duplicates IS 'messages, statuses and events that were there already';
COMMENT ON COLUMN whatsapp.ingest_result.unreadable IS '1 if the body is not JSON; it is in whatsapp.webhooks';
COMMENT ON COLUMN whatsapp.ingest_result.parked IS '1 if a table refused what the body says; it is in whatsapp.webhooks';
COMMENT ON COLUMN whatsapp.ingest_result.error IS 'why; NULL if all is well';

CREATE FUNCTION whatsapp.ingest(body bytea, signature text) RETURNS whatsapp.ingest_result
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'whatsapp_ingest';
COMMENT ON FUNCTION whatsapp.ingest(bytea, text) IS 'files a webhook: its body, byte for byte as it was received, and its header X-Hub-Signature-256; error 28000 if the signature is not Meta''s, 54000 if the body is larger than 3 MB';

CREATE FUNCTION whatsapp.ingest_batch(bodies bytea[], signatures text[]) RETURNS SETOF whatsapp.ingest_result
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'whatsapp_ingest_batch';
COMMENT ON FUNCTION whatsapp.ingest_batch(bytea[], text[]) IS 'files many webhooks, each with its signature, and says of each in order what became of it: http_status is 401 if its signature is not Meta''s, 413 if it is larger than 3 MB, and then nothing of it was filed; the others are not harmed';

CREATE FUNCTION whatsapp.sign(body bytea, secret text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_sign';
COMMENT ON FUNCTION whatsapp.sign(bytea, text) IS 'the header X-Hub-Signature-256 that Meta would send with a body: for tests of your own';

CREATE FUNCTION whatsapp.ingest_unsigned(body jsonb) RETURNS whatsapp.ingest_result
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'whatsapp_ingest_unsigned';
COMMENT ON FUNCTION whatsapp.ingest_unsigned(jsonb) IS 'files a webhook that has been found genuine by other means: for tests and imports';

CREATE FUNCTION whatsapp.verify_webhook(mode text, verify_token text, challenge text) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'whatsapp_verify_webhook';
COMMENT ON FUNCTION whatsapp.verify_webhook(text, text, text) IS 'answers Meta''s verification of a webhook address, from the parameters hub.mode, hub.verify_token and hub.challenge: the challenge, to be sent back as text/plain with status 200, or NULL, for status 403';

CREATE FUNCTION whatsapp.handle_webhook(method text, query text, signature text, body bytea,
	OUT status integer, OUT content_type text, OUT body text)
RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'whatsapp_handle_webhook';
COMMENT ON FUNCTION whatsapp.handle_webhook(text, text, text, bytea) IS 'answers any request of Meta''s: the method, the query string as it came, the header X-Hub-Signature-256 and the body byte for byte, in; status, content type and body of the answer, out. An error means that Meta is to try again: answer 503';

------------------------------------------------------------------------------
-- 3. Outbox
--
-- A message is sent by inserting a row here, in whatever transaction; it
-- leaves once that has committed.
--
--	 queued --claim--> sending --record--> sent | failed | unknown
--	    ^                 |
--	    +--- not sent ----+
--
-- "sent" means accepted by Meta; what becomes of it then is in
-- whatsapp.messages and whatsapp.statuses.  "unknown" is for messages of which
-- something has left, and no answer has come: Meta may have accepted them.
-- It has no way of telling a second request from a second message, so these
-- are not sent again.
--
-- No trigger of ours sets a state.  A row that brings its own created_at comes
-- from a dump, and is not looked at.
------------------------------------------------------------------------------

CREATE FUNCTION whatsapp.default_number() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE WHEN count(*) = 1 THEN min(n.phone_number_id) END
	FROM whatsapp.numbers n;
END;
COMMENT ON FUNCTION whatsapp.default_number() IS 'the only number, or NULL if there are several or none';

CREATE FUNCTION whatsapp.recipient_key(recipient text, recipient_type text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN recipient_type <> 'individual' THEN recipient
	WHEN recipient ~ '^[A-Z]{2}\.' THEN recipient
	ELSE substring(
		regexp_replace(
			translate(replace(recipient, '(0)', ''), E' \t-.()/' || chr(160) || chr(8239), ''),
			'^(00|\+)?', '+')
		FROM '^\+[1-9][0-9]{4,14}$')
END;
COMMENT ON FUNCTION whatsapp.recipient_key(text, text) IS 'a recipient as Meta takes it: a phone number in any human form with country code, as + and digits; a BSUID or the id of a group as it is. NULL if it is none of these';

CREATE TABLE whatsapp.outbox (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	phone_number_id text DEFAULT whatsapp.default_number(),
	recipient text,
	recipient_type text NOT NULL DEFAULT 'individual',
	recipient_key text GENERATED ALWAYS AS (whatsapp.recipient_key(recipient, recipient_type)) STORED,
	type text NOT NULL DEFAULT 'text',
	body text,
	content jsonb,
	reply_to text,
	priority integer NOT NULL DEFAULT 0,
	send_after timestamptz,
	expires_at timestamptz,
	idempotency_key text,
	callback_data text,
	state text NOT NULL DEFAULT 'queued'
		CHECK (state IN ('queued', 'sending', 'sent', 'failed', 'unknown', 'cancelled', 'expired')),
	attempts integer NOT NULL DEFAULT 0,
	retry_at timestamptz,
	message_id text,
	error_code integer,
	error text,
	queued_by text NOT NULL DEFAULT session_user,
	created_at timestamptz NOT NULL DEFAULT now(),
	claimed_at timestamptz,
	finished_at timestamptz,
	failed_at timestamptz
);
CREATE INDEX outbox_queued_idx ON whatsapp.outbox (priority DESC, id) WHERE state = 'queued';
CREATE INDEX outbox_sending_idx ON whatsapp.outbox (id) WHERE state = 'sending';
CREATE INDEX outbox_expires_idx ON whatsapp.outbox (expires_at)
	WHERE state = 'queued' AND expires_at IS NOT NULL;
CREATE UNIQUE INDEX outbox_idempotency_idx ON whatsapp.outbox (phone_number_id, idempotency_key)
	WHERE idempotency_key IS NOT NULL;
COMMENT ON TABLE whatsapp.outbox IS 'messages to send, and what came of them; insert to send';
COMMENT ON COLUMN whatsapp.outbox.id IS 'messages of one priority leave in this order';
COMMENT ON COLUMN whatsapp.outbox.phone_number_id IS 'the number to send from; if there is but one, that';
COMMENT ON COLUMN whatsapp.outbox.recipient IS 'phone number with country code, BSUID, or id of a group';
COMMENT ON COLUMN whatsapp.outbox.recipient_type IS 'individual, or group';
COMMENT ON COLUMN whatsapp.outbox.recipient_key IS 'the recipient as Meta takes it';
COMMENT ON COLUMN whatsapp.outbox.type IS 'Meta''s word for what it is: text, image, template and so on';
COMMENT ON COLUMN whatsapp.outbox.body IS 'of a text message, the text';
COMMENT ON COLUMN whatsapp.outbox.content IS 'what Meta wants under the key that is named like the type; of a text message made from body, if NULL';
COMMENT ON COLUMN whatsapp.outbox.reply_to IS 'id of the message (wamid) that it answers';
COMMENT ON COLUMN whatsapp.outbox.priority IS 'higher ones leave first';
COMMENT ON COLUMN whatsapp.outbox.send_after IS 'not to be sent before; NULL for at once';
COMMENT ON COLUMN whatsapp.outbox.expires_at IS 'not to be sent after; NULL for never mind';
COMMENT ON COLUMN whatsapp.outbox.idempotency_key IS 'anything that may be queued once only for a number';
COMMENT ON COLUMN whatsapp.outbox.callback_data IS 'comes back with each status, as whatsapp.statuses.callback_data';
COMMENT ON COLUMN whatsapp.outbox.state IS 'queued, sending, sent (accepted by Meta), failed, unknown (it may have been accepted), cancelled, expired';
COMMENT ON COLUMN whatsapp.outbox.attempts IS 'how often it has been claimed to be sent';
COMMENT ON COLUMN whatsapp.outbox.retry_at IS 'when it is to be tried again, after it could surely not be sent';
COMMENT ON COLUMN whatsapp.outbox.message_id IS 'the id that Meta has given it (wamid); see whatsapp.messages';
COMMENT ON COLUMN whatsapp.outbox.error_code IS 'code of Meta''s error';
COMMENT ON COLUMN whatsapp.outbox.error IS 'what went wrong';
COMMENT ON COLUMN whatsapp.outbox.queued_by IS 'the role that was logged in';
COMMENT ON COLUMN whatsapp.outbox.created_at IS 'when it was queued; leave it to the default';
COMMENT ON COLUMN whatsapp.outbox.claimed_at IS 'when the newest attempt began';
COMMENT ON COLUMN whatsapp.outbox.finished_at IS 'when the state became final';
COMMENT ON COLUMN whatsapp.outbox.failed_at IS 'when it failed';

-- The first thing that is wrong with a row, if anything is.  (A function that
-- returns a set, as only such become part of the query that calls them.)
CREATE FUNCTION whatsapp.outbox_complaint(o whatsapp.outbox)
RETURNS TABLE (complaint text, hint text)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT r.complaint, r.hint
	FROM (VALUES
		(1, o.recipient IS NULL OR o.recipient = '',
			'message has no recipient',
			'Set recipient to a phone number with country code, such as 15551234567.'),
		(2, o.recipient_key IS NULL,
			'message has an invalid recipient',
			'Set recipient to a phone number with country code, such as 15551234567, to a BSUID, or with recipient_type = ''group'' to the id of a group.'),
		(3, o.recipient_type NOT IN ('individual', 'group'),
			'message has an invalid recipient type',
			'Set recipient_type to individual or group.'),
		(4, o.phone_number_id IS NULL,
			'message has no number to be sent from',
			'Add a number with whatsapp.add_number(); if there are several, set phone_number_id.'),
		(5, NOT EXISTS (SELECT FROM whatsapp.numbers n WHERE n.phone_number_id = o.phone_number_id),
			'message is to be sent from an unknown number',
			'Add the number with whatsapp.add_number(), or set phone_number_id to one of whatsapp.numbers.'),
		(6, o.type = 'text' AND o.content IS NULL AND (o.body IS NULL OR o.body = ''),
			'text message has no body',
			'Set body to what is to be said.'),
		(7, o.type <> 'text' AND o.content IS NULL,
			'message has no content',
			'Set content to what Meta''s documentation has under the key that is named like the type.'),
		(8, o.content IS NOT NULL AND o.body IS NOT NULL,
			'message has both body and content',
			'Set body for a plain text message, and content for all others.')
	) r (ord, applies, complaint, hint)
	WHERE r.applies
	ORDER BY r.ord
	LIMIT 1;
END;
COMMENT ON FUNCTION whatsapp.outbox_complaint(whatsapp.outbox) IS 'why a row cannot be sent, and what to do about it; no row if it can';

CREATE FUNCTION whatsapp.check_outbox() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	bad record;
BEGIN
	SELECT c.complaint, c.hint, n.id
	INTO bad
	FROM new_rows n, whatsapp.outbox_complaint(n) c
	WHERE n.created_at = now() AND n.state = 'queued'
	ORDER BY n.id
	LIMIT 1;

	IF FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'WA001',
			MESSAGE = bad.complaint,
			HINT = bad.hint,
			SCHEMA = 'whatsapp',
			TABLE = 'outbox';
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.check_outbox() IS 'refuses messages that Meta would certainly refuse, with error WA001';

CREATE TRIGGER check_inserted AFTER INSERT ON whatsapp.outbox
	REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.check_outbox();
COMMENT ON TRIGGER check_inserted ON whatsapp.outbox IS 'refuses messages that Meta would certainly refuse';

CREATE FUNCTION whatsapp.outbox_queued() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'whatsapp_outbox_queued';
COMMENT ON FUNCTION whatsapp.outbox_queued() IS 'has the sender woken when the transaction has committed';

-- Rows that come by logical replication are to be sent, too.
CREATE TRIGGER queued AFTER INSERT ON whatsapp.outbox
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.outbox_queued();
ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER queued;
COMMENT ON TRIGGER queued ON whatsapp.outbox IS 'has the sender woken when the transaction has committed';

------------------------------------------------------------------------------
-- 4. The sender
--
-- The background worker claims rows that are due, sends them while no
-- transaction is open, and records what came of each.  There is one worker in
-- a database, so that a row found in state "sending" when it starts is one
-- that another has left behind.
------------------------------------------------------------------------------

CREATE FUNCTION whatsapp.graph_endpoint(api_version text) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_graph_endpoint';
COMMENT ON FUNCTION whatsapp.graph_endpoint(text) IS 'where the Graph API is: whatsapp.graph_url and the version, whatsapp.api_version if that is NULL';

CREATE FUNCTION whatsapp.request_url(o whatsapp.outbox) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT whatsapp.graph_endpoint(n.api_version) || '/' || n.phone_number_id || '/messages'
	FROM whatsapp.numbers n
	WHERE n.phone_number_id = o.phone_number_id;
END;
COMMENT ON FUNCTION whatsapp.request_url(whatsapp.outbox) IS 'the URL that a message is sent to';

CREATE FUNCTION whatsapp.request_body(o whatsapp.outbox) RETURNS jsonb
LANGUAGE sql STABLE
RETURN jsonb_strip_nulls(jsonb_build_object(
		'messaging_product', 'whatsapp',
		'recipient_type', o.recipient_type,
		'to', CASE WHEN o.recipient_type = 'group' OR o.recipient_key LIKE '+%' THEN o.recipient_key END,
		'recipient', CASE WHEN o.recipient_type <> 'group' AND o.recipient_key NOT LIKE '+%' THEN o.recipient_key END,
		'context', CASE WHEN o.reply_to IS NOT NULL THEN jsonb_build_object('message_id', o.reply_to) END,
		'biz_opaque_callback_data', o.callback_data,
		'type', o.type))
	|| jsonb_build_object(o.type, coalesce(o.content, jsonb_build_object('body', o.body)));
COMMENT ON FUNCTION whatsapp.request_body(whatsapp.outbox) IS 'what is sent for a message; the content goes under the key that is named like the type, so that new types need no change here';

CREATE FUNCTION whatsapp.claim(max_rows integer,
	OUT outbox_id bigint, OUT attempt integer, OUT url text, OUT access_token text, OUT body text)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
BEGIN
	UPDATE whatsapp.outbox o
	SET state = 'expired', finished_at = now()
	WHERE o.id = ANY (ARRAY(
		SELECT q.id
		FROM whatsapp.outbox q
		WHERE q.state = 'queued' AND q.expires_at <= now()
		ORDER BY q.expires_at
		LIMIT max_rows
		FOR UPDATE SKIP LOCKED));

	RETURN QUERY
	WITH sender AS MATERIALIZED (
		SELECT DISTINCT ON (n.phone_number_id) n.phone_number_id, s.value
		FROM whatsapp.numbers n
		JOIN whatsapp.secrets s ON s.phone_number_id = n.phone_number_id
			AND s.kind = 'access_token' AND s.value ~ '^[!-~]+$'
		WHERE n.state = 'active'
		ORDER BY n.phone_number_id, s.secret_id DESC
	), claimed AS (
		UPDATE whatsapp.outbox o
		SET state = 'sending', attempts = o.attempts + 1, claimed_at = now()
		WHERE o.id = ANY (ARRAY(
			SELECT q.id
			FROM whatsapp.outbox q
			WHERE q.state = 'queued'
				AND q.phone_number_id IN (SELECT a.phone_number_id FROM sender a)
				AND (q.send_after IS NULL OR q.send_after <= now())
				AND (q.retry_at IS NULL OR q.retry_at <= now())
				AND (q.expires_at IS NULL OR q.expires_at > now())
			ORDER BY q.priority DESC, q.id
			LIMIT max_rows
			FOR UPDATE SKIP LOCKED))
		RETURNING o.*
	)
	SELECT c.id, c.attempts, whatsapp.request_url(c::whatsapp.outbox), a.value,
		whatsapp.request_body(c::whatsapp.outbox)::text
	FROM claimed c
	JOIN sender a ON a.phone_number_id = c.phone_number_id
	ORDER BY c.priority DESC, c.id;
END $$;
COMMENT ON FUNCTION whatsapp.claim(integer) IS 'for the background worker: takes up to so many rows that are due, and says what to send for them';

CREATE FUNCTION whatsapp.verdict(outcome text, reply jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN outcome = 'not sent' THEN 'queued'
	WHEN outcome <> 'answered' THEN 'unknown'
	WHEN reply #>> '{messages,0,id}' <> '' THEN 'sent'
	WHEN reply #>> '{error,code}' <> '' THEN 'failed'
	ELSE 'unknown'
END;
COMMENT ON FUNCTION whatsapp.verdict(text, jsonb) IS 'the state of a row after an attempt, from the outcome (answered, not sent, unknown) and the JSON that was answered: sent needs an id from Meta, and failed an error of Meta''s, whatever the HTTP status is';

CREATE FUNCTION whatsapp.record(outbox_ids bigint[], attempts integer[], outcomes text[],
	http_statuses integer[], replies jsonb[], errors text[])
RETURNS SETOF bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
BEGIN
	RETURN QUERY
	WITH result AS MATERIALIZED (
		SELECT r.id, r.attempt, r.reply, whatsapp.verdict(r.outcome, r.reply) AS state,
			CASE WHEN r.reply #>> '{error,code}' ~ '^-?[0-9]{1,9}$'
				THEN (r.reply #>> '{error,code}')::integer END AS error_code,
			coalesce(
				r.reply #>> '{error,error_data,details}',
				r.reply #>> '{error,message}',
				r.error,
				format('HTTP status %s without an answer of the Graph API', r.http_status)) AS error
		FROM unnest(outbox_ids, record.attempts, outcomes, http_statuses, replies, errors)
			r (id, attempt, outcome, http_status, reply, error)
	), free AS MATERIALIZED (
		SELECT o.id
		FROM whatsapp.outbox o
		JOIN result r ON r.id = o.id AND r.attempt = o.attempts
		WHERE o.state = 'sending'
		ORDER BY o.id
		FOR UPDATE OF o SKIP LOCKED
	), recorded AS (
		UPDATE whatsapp.outbox o
		SET state = r.state,
			message_id = CASE WHEN r.state = 'sent' THEN r.reply #>> '{messages,0,id}' END,
			error_code = CASE WHEN r.state <> 'sent' THEN r.error_code END,
			error = CASE WHEN r.state <> 'sent' THEN r.error END,
			retry_at = CASE WHEN r.state = 'queued'
				THEN now() + interval '1 second' * least(power(2, least(o.attempts, 10)), 60) END,
			finished_at = CASE WHEN r.state <> 'queued' THEN now() END,
			failed_at = CASE WHEN r.state = 'failed' THEN now() END
		FROM result r
		WHERE r.id = o.id AND o.id = ANY (ARRAY(SELECT f.id FROM free f))
		RETURNING o.*
	), filed AS (
		INSERT INTO whatsapp.messages AS m (phone_number_id, message_id, direction, type, body,
			wa_id, user_id, group_id, context_id, status, status_at, sent_at, outbox_id, element)
		SELECT o.phone_number_id, o.message_id, 'outbound', o.type,
			coalesce(o.body, o.content ->> 'body', o.content ->> 'caption'),
			CASE WHEN o.recipient_type <> 'group'
				THEN coalesce(r.reply #>> '{contacts,0,wa_id}', substring(o.recipient_key FROM '^\+(.*)')) END,
			coalesce(r.reply #>> '{contacts,0,user_id}',
				CASE WHEN o.recipient_type <> 'group' AND o.recipient_key NOT LIKE '+%' THEN o.recipient_key END),
			CASE WHEN o.recipient_type = 'group' THEN o.recipient_key END,
			o.reply_to, 'accepted', now(), now(), o.id,
			whatsapp.request_body(o::whatsapp.outbox)
		FROM recorded o
		JOIN result r ON r.id = o.id
		WHERE o.state = 'sent'
		ORDER BY o.phone_number_id, o.message_id
		ON CONFLICT (phone_number_id, message_id) DO UPDATE
		SET type = excluded.type, body = excluded.body,
			wa_id = coalesce(excluded.wa_id, m.wa_id), user_id = coalesce(excluded.user_id, m.user_id),
			group_id = coalesce(excluded.group_id, m.group_id), context_id = excluded.context_id,
			sent_at = excluded.sent_at, outbox_id = excluded.outbox_id, element = excluded.element
	)
	SELECT r.id
	FROM result r
	JOIN whatsapp.outbox o ON o.id = r.id AND o.state = 'sending' AND o.attempts = r.attempt
	WHERE r.id <> ALL (ARRAY(SELECT f.id FROM free f));
END $$;
COMMENT ON FUNCTION whatsapp.record(bigint[], integer[], text[], integer[], jsonb[], text[]) IS 'for the background worker: records what came of attempts, and returns the rows that others have locked, to be recorded later';

CREATE FUNCTION whatsapp.release_interrupted(in_flight bigint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
BEGIN
	UPDATE whatsapp.outbox o
	SET state = 'unknown', finished_at = now(),
		error = 'The background worker ended while the message was being sent.'
	WHERE o.id = ANY (ARRAY(
		SELECT q.id
		FROM whatsapp.outbox q
		WHERE q.state = 'sending' AND q.id <> ALL (in_flight)
		FOR UPDATE SKIP LOCKED));
END $$;
COMMENT ON FUNCTION whatsapp.release_interrupted(bigint[]) IS 'for the background worker, from the rows that it is sending: others in state sending are being sent by nobody, and may or may not have been accepted by Meta';

------------------------------------------------------------------------------
-- 5. Dumps and privileges
--
-- Secrets are not dumped.  Nobody but the owner may do anything here, until
-- it is granted.
------------------------------------------------------------------------------

SELECT pg_extension_config_dump('whatsapp.numbers', '');
SELECT pg_extension_config_dump('whatsapp.contacts', '');
SELECT pg_extension_config_dump('whatsapp.messages', '');
SELECT pg_extension_config_dump('whatsapp.reactions', '');
SELECT pg_extension_config_dump('whatsapp.statuses', '');
SELECT pg_extension_config_dump('whatsapp.events', '');
SELECT pg_extension_config_dump('whatsapp.webhooks', '');
SELECT pg_extension_config_dump('whatsapp.outbox', '');
SELECT pg_extension_config_dump('whatsapp.outbox_id_seq', '');

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA whatsapp FROM PUBLIC;
REVOKE ALL ON TYPE whatsapp.ingest_result FROM PUBLIC;

-- there is a sender to be started here
SELECT whatsapp.wake_sender();
