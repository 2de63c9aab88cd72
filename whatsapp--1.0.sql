-- WhatsApp Business (Meta Cloud API) in a database.
--
-- 1. Numbers and secrets      whom we send as, and what proves it
-- 2. Webhooks                 what Meta tells us, as rows
-- 3. People and conversations who they are, and how it stands with them
-- 4. Outbox                   what is to be sent, and what came of it
-- 5. Errors                   what is to be done about them
-- 6. The sender               what the background worker asks and tells
-- 7. Roles                    who may do what, and with which numbers
-- 8. Dumps
--
-- Words, codes and names of fields are Meta's; that is why they are text, with
-- no list of what they may be.

\echo Use "CREATE EXTENSION whatsapp" to load this file. \quit

-- What is not qualified is PostgreSQL's own, whatever there may be in other
-- schemas.
SET LOCAL search_path = pg_catalog, pg_temp;

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

CREATE FUNCTION whatsapp.owner() RETURNS oid
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_owner';
COMMENT ON FUNCTION whatsapp.owner() IS 'the role that owns all of the extension: the owner of its tables, as pg_upgrade does not keep that of the extension itself';

CREATE FUNCTION whatsapp.count_event(name text, label text, n bigint) RETURNS void
LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'whatsapp_count_event';
COMMENT ON FUNCTION whatsapp.count_event(text, text, bigint) IS 'adds to a counter of whatsapp.statistics, when the transaction commits. Error 22023 if there is none of this name; a label that it does not have is counted as other';

CREATE FUNCTION whatsapp.in_sender() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'whatsapp_in_sender';
COMMENT ON FUNCTION whatsapp.in_sender() IS 'whether this is the background worker that sends';

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

-- A number remembers where it was given its access token.  So a number that
-- comes from a dump is known to be a copy, whose messages somebody else may
-- have sent by now.
CREATE TABLE whatsapp.installation (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	database oid NOT NULL,
	is_armed boolean NOT NULL DEFAULT false
);
INSERT INTO whatsapp.installation (database)
SELECT d.oid FROM pg_database d WHERE d.datname = current_database();
COMMENT ON TABLE whatsapp.installation IS 'which installation of the extension this is: one row, made by CREATE EXTENSION and not dumped. pg_upgrade and physical copies of the server keep it';
COMMENT ON COLUMN whatsapp.installation.id IS 'a random id';
COMMENT ON COLUMN whatsapp.installation.database IS 'the database that it was made for; if this is another, it was copied by CREATE DATABASE ... TEMPLATE';
COMMENT ON COLUMN whatsapp.installation.is_armed IS 'whether any number was ever given an access token here';

CREATE FUNCTION whatsapp.here() RETURNS uuid
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT i.id
		FROM whatsapp.installation i
		JOIN pg_database d ON d.oid = i.database
		WHERE d.datname = current_database());
END $$;
COMMENT ON FUNCTION whatsapp.here() IS 'the installation that this database is; NULL if it is a copy of the database in which it was made';

CREATE TABLE whatsapp.numbers (
	phone_number_id text PRIMARY KEY CHECK (phone_number_id ~ '^[0-9A-Za-z_]{1,63}$'),
	waba_id text,
	display_phone_number text,
	verified_name text,
	api_version text CHECK (api_version ~ '^v[0-9.]+$'),
	messages_per_second integer NOT NULL DEFAULT 80 CHECK (messages_per_second > 0),
	appsecret_proof boolean NOT NULL DEFAULT false,
	app_secret_is_own boolean NOT NULL DEFAULT false,
	marketing_messages boolean NOT NULL DEFAULT false,
	armed_in uuid,
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
COMMENT ON COLUMN whatsapp.numbers.messages_per_second IS 'how many messages are sent from it in a second, at most; a change counts at once. A webhook that tells of a higher throughput raises it';
COMMENT ON COLUMN whatsapp.numbers.appsecret_proof IS 'whether calls prove that we know the app secret, as "Require app secret" in the app''s dashboard asks for; without one, nothing is sent then';
COMMENT ON COLUMN whatsapp.numbers.app_secret_is_own IS 'whether it was given an app secret of its own: webhooks that another number''s is signed with are parked, if they tell something of it';
COMMENT ON COLUMN whatsapp.numbers.marketing_messages IS 'whether templates of category MARKETING go to /marketing_messages, for which the account must be onboarded at Meta, instead of /messages; a message may say otherwise, in whatsapp.outbox.marketing';
COMMENT ON COLUMN whatsapp.numbers.armed_in IS 'the installation in which it was given an access token, see whatsapp.installation; the background worker leaves rows of others alone';
COMMENT ON COLUMN whatsapp.numbers.state IS 'active, or paused by somebody: then nothing is sent from it. What errors of Meta''s stop is in whatsapp.holds';
COMMENT ON COLUMN whatsapp.numbers.paused_reason IS 'why it is paused; restored if it came from a dump with messages that were not sent there, and was given an access token here';
COMMENT ON COLUMN whatsapp.numbers.paused_until IS 'when it is to go on by itself; NULL for never';
COMMENT ON COLUMN whatsapp.numbers.added_at IS 'when it was added here';

CREATE FUNCTION whatsapp.is_awake() RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- numbers without a token may have come with others from a dump
	RETURN EXISTS (SELECT FROM whatsapp.installation i WHERE i.is_armed AND i.id = whatsapp.here())
		OR EXISTS (SELECT FROM whatsapp.numbers) AND NOT EXISTS (SELECT FROM whatsapp.numbers n WHERE n.armed_in IS NOT NULL);
END $$;
COMMENT ON FUNCTION whatsapp.is_awake() IS 'whether there is a number that the background worker has to see to; while a dump is restored, and until a number of it is given an access token here, there is none, and rows stay as they were';

CREATE FUNCTION whatsapp.copies() RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	here uuid := whatsapp.here();
BEGIN
	RETURN ARRAY(
		SELECT n.phone_number_id
		FROM whatsapp.numbers n
		WHERE n.armed_in IS NOT NULL AND n.armed_in IS DISTINCT FROM here);
END $$;
COMMENT ON FUNCTION whatsapp.copies() IS 'the numbers that come from another installation, by a dump or a copy of the database, and have not been given an access token here: what is theirs is left alone';

-- Not dumped, and values are for the owner alone.  There are no constraints on
-- the value, as what violates one is shown in the error; and no statistics, as
-- there it would be, too.
CREATE TABLE whatsapp.secrets (
	secret_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	kind text NOT NULL CHECK (kind IN ('access_token', 'app_secret', 'verify_token')),
	phone_number_id text,
	source text NOT NULL DEFAULT 'literal' CHECK (source IN ('literal', 'file', 'env')),
	value text,
	name text,
	valid_until timestamptz,
	added_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE whatsapp.secrets ALTER COLUMN value SET STATISTICS 0;
COMMENT ON TABLE whatsapp.secrets IS 'access tokens, app secrets and verify tokens; all of a kind are valid until they are deleted, or valid_until, but of access tokens the newest is used';
COMMENT ON COLUMN whatsapp.secrets.secret_id IS 'the greater, the newer';
COMMENT ON COLUMN whatsapp.secrets.kind IS 'access_token (to send), app_secret (webhooks are signed with it) or verify_token (of the handshake)';
COMMENT ON COLUMN whatsapp.secrets.phone_number_id IS 'the number it was given with; NULL for all. An app secret signs for that number, and for those that have none of their own';
COMMENT ON COLUMN whatsapp.secrets.source IS 'literal: it is in value. file: it is in a file of whatsapp.secret_directory. env: it is in an environment variable of the server';
COMMENT ON COLUMN whatsapp.secrets.value IS 'the secret, if it is literal: visible ASCII characters, without spaces';
COMMENT ON COLUMN whatsapp.secrets.name IS 'the name of the file, or of the environment variable, which begins with WHATSAPP_';
COMMENT ON COLUMN whatsapp.secrets.valid_until IS 'from then on it counts no more; NULL for never';
COMMENT ON COLUMN whatsapp.secrets.added_at IS 'when it was set';

CREATE FUNCTION whatsapp.secret_value(source text, value text, name text) RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'whatsapp_secret_value';
COMMENT ON FUNCTION whatsapp.secret_value(text, text, text) IS 'a secret: the value, or what is in the file or environment variable of that name; NULL if it cannot be used. A file is read again when it has changed';

CREATE FUNCTION whatsapp.secret_complaint(source text, told text) RETURNS text
LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'whatsapp_secret_complaint';
COMMENT ON FUNCTION whatsapp.secret_complaint(text, text) IS 'why a secret cannot be used, that is given by itself, or by the name of a file or environment variable; NULL if it can. Does not tell the secret';

CREATE FUNCTION whatsapp.secret_since(source text, name text, added_at timestamptz) RETURNS timestamptz
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'whatsapp_secret_since';
COMMENT ON FUNCTION whatsapp.secret_since(text, text, timestamptz) IS 'since when a secret is what it is: when it was added or, if that is later, when the file was changed, or that was noticed, or the server started';

CREATE VIEW whatsapp.valid_secrets WITH (security_invoker = true) AS
SELECT s.secret_id, s.kind, s.phone_number_id, v.value,
	whatsapp.secret_since(s.source, s.name, s.added_at) AS since
FROM whatsapp.secrets s
CROSS JOIN LATERAL (
	-- (the offset has it looked for once)
	SELECT whatsapp.secret_value(s.source, s.value, s.name) AS value
	OFFSET 0
) v
WHERE (s.valid_until IS NULL OR s.valid_until > now()) AND v.value IS NOT NULL;
COMMENT ON VIEW whatsapp.valid_secrets IS 'secrets that can be used now, wherever they are; for the owner alone';
COMMENT ON COLUMN whatsapp.valid_secrets.secret_id IS 'as in whatsapp.secrets';
COMMENT ON COLUMN whatsapp.valid_secrets.kind IS 'access_token, app_secret or verify_token';
COMMENT ON COLUMN whatsapp.valid_secrets.phone_number_id IS 'the number it was given with; NULL for all';
COMMENT ON COLUMN whatsapp.valid_secrets.value IS 'the secret itself';
COMMENT ON COLUMN whatsapp.valid_secrets.since IS 'since when it is what it is';

CREATE FUNCTION whatsapp.appsecret_proof(phone_number_id text, access_token text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
	-- a signature is the same in front of which it says how it was made
	RETURN (
		SELECT substr(whatsapp.sign(convert_to(access_token, 'UTF8'), s.value), length('sha256=') + 1)
		FROM whatsapp.valid_secrets s
		WHERE s.kind = 'app_secret'
			AND (s.phone_number_id = appsecret_proof.phone_number_id OR s.phone_number_id IS NULL)
		ORDER BY s.phone_number_id IS NULL, s.secret_id DESC
		LIMIT 1);
END $$;
COMMENT ON FUNCTION whatsapp.appsecret_proof(text, text) IS 'what proves that who has an access token knows the app secret, too: that of the number, else the one for all, of several the newest; NULL if there is none';

-- What Meta's errors and webhooks stop, or somebody who has paused a campaign,
-- and for how long.  Here each is seen from our number; what stops several of
-- them is as many rows.

CREATE TABLE whatsapp.holds (
	phone_number_id text NOT NULL,
	kind text NOT NULL CHECK (kind IN ('pair', 'template', 'campaign', 'number', 'account')),
	key text NOT NULL,
	since timestamptz NOT NULL DEFAULT now(),
	until timestamptz,
	rate double precision CHECK (rate > 0),
	failures integer NOT NULL DEFAULT 1,
	error_code integer,
	reason text,
	PRIMARY KEY (phone_number_id, kind, key)
);
COMMENT ON TABLE whatsapp.holds IS 'what is not sent for now because of errors and webhooks of Meta''s, or as somebody has paused a campaign. A single message that waits says so itself, in whatsapp.outbox.retry_at; a number that somebody has paused, in whatsapp.numbers.state. Use whatsapp.release_hold() to lift one';
COMMENT ON COLUMN whatsapp.holds.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.holds.kind IS 'what is held: pair (messages from the number to one recipient), template (messages of one template), campaign (messages of one campaign, which whatsapp.pause_campaign() has paused), number (all messages from it), or account (the same, as that goes for all numbers of the account, the app or the token)';
COMMENT ON COLUMN whatsapp.holds.key IS 'of a pair, the recipient, as in whatsapp.outbox.recipient_key; of a template, its name and language, with a space between them; of a campaign, its name; of others, the class of the error, see whatsapp.error_classes';
COMMENT ON COLUMN whatsapp.holds.since IS 'since when';
COMMENT ON COLUMN whatsapp.holds.until IS 'when it ends by itself; NULL for never. Of a pair it is kept for an hour after that, as it is held for longer each time; of a number that was too fast, for a minute, in which it becomes as fast as before';
COMMENT ON COLUMN whatsapp.holds.rate IS 'how many messages are sent in a second right after it has ended; NULL for as many as before';
COMMENT ON COLUMN whatsapp.holds.failures IS 'how often in a row that has happened';
COMMENT ON COLUMN whatsapp.holds.error_code IS 'code of Meta''s error, the newest';
COMMENT ON COLUMN whatsapp.holds.reason IS 'what Meta said; of a campaign, why it is paused, as whatsapp.pause_campaign() was told';

-- Who sets a secret need not be able to read it.  What these functions are
-- called with is hidden first of all, and no error tells of it: somebody may
-- have mistaken one argument for another.  Nor do plans, which auto_explain
-- may write to the log: they are made for any arguments.

CREATE FUNCTION whatsapp.hide_statement() RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'whatsapp_hide_statement';
COMMENT ON FUNCTION whatsapp.hide_statement() IS 'has neither pg_stat_activity nor errors show the statement that is being executed any more';

CREATE FUNCTION whatsapp.refuse_secret(complaint text, detail text, hint text) RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'whatsapp_refuse_secret';
COMMENT ON FUNCTION whatsapp.refuse_secret(text, text, text) IS 'raises error 22023, without the context in which that happens: there may be a secret in it';

CREATE FUNCTION whatsapp.set_secret(kind text, told text, phone_number_id text, source text, valid_until timestamptz)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
	complaint text;
BEGIN
	IF set_secret.source IS NULL OR set_secret.source NOT IN ('literal', 'file', 'env') THEN
		PERFORM whatsapp.refuse_secret('invalid source of a secret', NULL,
			'Take literal, file, or env.');
	END IF;
	complaint := CASE WHEN told IS NULL THEN 'It is NULL.' ELSE whatsapp.secret_complaint(set_secret.source, told) END;
	IF complaint IS NOT NULL THEN
		PERFORM whatsapp.refuse_secret(format('invalid %s', replace(set_secret.kind, '_', ' ')), complaint,
			CASE WHEN set_secret.source = 'literal' THEN 'Copy it from the app''s dashboard once more.'
				ELSE 'Give the name of the file in whatsapp.secret_directory, or of the environment variable of the server.' END);
	END IF;
	IF NOT EXISTS (SELECT FROM whatsapp.numbers n WHERE n.phone_number_id = set_secret.phone_number_id)
		AND (set_secret.phone_number_id IS NOT NULL OR set_secret.kind = 'access_token')
	THEN
		PERFORM whatsapp.refuse_secret(format('number of the %s is not there', replace(set_secret.kind, '_', ' ')), NULL,
			'Add the number with whatsapp.add_number(); whatsapp.numbers lists all numbers, by their phone number id.');
	END IF;

	-- one that is set again becomes the newest
	DELETE FROM whatsapp.secrets s
	WHERE s.kind = set_secret.kind AND s.source = set_secret.source
		AND coalesce(s.name, s.value) = told
		AND s.phone_number_id IS NOT DISTINCT FROM set_secret.phone_number_id;
	INSERT INTO whatsapp.secrets (kind, phone_number_id, source, value, name, valid_until)
	VALUES (set_secret.kind, set_secret.phone_number_id, set_secret.source,
		CASE WHEN set_secret.source = 'literal' THEN told END,
		CASE WHEN set_secret.source <> 'literal' THEN told END, set_secret.valid_until);
END $$;
COMMENT ON FUNCTION whatsapp.set_secret(text, text, text, text, timestamptz) IS 'does the work of set_access_token, set_app_secret and set_verify_token';

CREATE FUNCTION whatsapp.arm_number(phone_number_id text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	here uuid := whatsapp.here();
	is_copy boolean;
BEGIN
	-- a copy of the database becomes an installation of its own
	IF here IS NULL THEN
		UPDATE whatsapp.installation i
		SET id = gen_random_uuid(), database = d.oid, is_armed = false
		FROM pg_database d
		WHERE d.datname = current_database() AND i.database <> d.oid;
		here := whatsapp.here();	-- or somebody else's, who was faster
	END IF;
	UPDATE whatsapp.installation i SET is_armed = true WHERE NOT i.is_armed;
	SELECT n.armed_in IS NOT NULL AND EXISTS (
			SELECT FROM whatsapp.outbox o
			WHERE o.phone_number_id = arm_number.phone_number_id AND o.state IN ('queued', 'sending', 'unknown'))
	INTO is_copy
	FROM whatsapp.numbers n
	WHERE n.phone_number_id = arm_number.phone_number_id AND n.armed_in IS DISTINCT FROM here
	FOR UPDATE;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	UPDATE whatsapp.numbers n
	SET armed_in = here,
		state = CASE WHEN is_copy THEN 'paused' ELSE n.state END,
		paused_reason = CASE WHEN is_copy THEN 'restored' ELSE n.paused_reason END,
		paused_until = CASE WHEN NOT is_copy THEN n.paused_until END
	WHERE n.phone_number_id = arm_number.phone_number_id;
	IF is_copy THEN
		RAISE NOTICE USING
			MESSAGE = format('number %s is paused, as it was restored with messages that were not sent', arm_number.phone_number_id),
			HINT = 'Look at what is queued in whatsapp.outbox, cancel what is not to be sent, and call whatsapp.resume_number().';
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.arm_number(text) IS 'notes that a number may send in this installation; one that may have come from a dump, with messages that are not finished, is paused (restored)';

CREATE FUNCTION whatsapp.set_access_token(phone_number_id text, token text,
	source text DEFAULT 'literal', valid_until timestamptz DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
	PERFORM whatsapp.hide_statement();
	PERFORM whatsapp.set_secret('access_token', token, phone_number_id, source, valid_until);
	PERFORM whatsapp.arm_number(phone_number_id);
	DELETE FROM whatsapp.holds h
	WHERE h.phone_number_id = set_access_token.phone_number_id AND h.kind = 'account' AND h.key = 'token';
	PERFORM whatsapp.wake_sender();
END $$;
COMMENT ON FUNCTION whatsapp.set_access_token(text, text, text, timestamptz) IS 'sets the access token that messages of a number are sent with, from now on: itself, or with source "file" or "env" the name of a file in whatsapp.secret_directory or of an environment variable of the server. A number that was held because its token was refused goes on. Error 22023 if it cannot be used, or there is no such number';

CREATE FUNCTION whatsapp.set_app_secret(secret text, phone_number_id text DEFAULT NULL,
	source text DEFAULT 'literal', valid_until timestamptz DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
	PERFORM whatsapp.hide_statement();
	PERFORM whatsapp.set_secret('app_secret', secret, phone_number_id, source, valid_until);
	UPDATE whatsapp.numbers n
	SET app_secret_is_own = true
	WHERE n.phone_number_id = set_app_secret.phone_number_id AND NOT n.app_secret_is_own;
	PERFORM whatsapp.wake_sender();
END $$;
COMMENT ON FUNCTION whatsapp.set_app_secret(text, text, text, timestamptz) IS 'sets the secret of an app, which its webhooks are signed with: for all numbers, or for one, which then takes webhooks only that are signed with its own, or one for all. Secrets set before stay valid. The source is as for set_access_token()';

CREATE FUNCTION whatsapp.set_verify_token(token text, phone_number_id text DEFAULT NULL,
	source text DEFAULT 'literal', valid_until timestamptz DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
	PERFORM whatsapp.hide_statement();
	PERFORM whatsapp.set_secret('verify_token', token, phone_number_id, source, valid_until);
END $$;
COMMENT ON FUNCTION whatsapp.set_verify_token(text, text, text, timestamptz) IS 'sets a token for the webhook verification: the one typed into Meta''s dashboard; tokens set before stay valid. The source is as for set_access_token()';

CREATE FUNCTION whatsapp.number_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM whatsapp.secrets s WHERE s.phone_number_id = OLD.phone_number_id;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.number_deleted() IS 'has the secrets of a number go with it: should it be added again, nobody would know of them';

CREATE TRIGGER deleted AFTER DELETE ON whatsapp.numbers
	FOR EACH ROW EXECUTE FUNCTION whatsapp.number_deleted();
COMMENT ON TRIGGER deleted ON whatsapp.numbers IS 'has the secrets of a number go with it';

CREATE FUNCTION whatsapp.pause_number(phone_number_id text, reason text DEFAULT NULL, until timestamptz DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE whatsapp.numbers n
	SET state = 'paused', paused_reason = pause_number.reason, paused_until = pause_number.until
	WHERE n.phone_number_id = pause_number.phone_number_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('number %s is not there', pause_number.phone_number_id),
			HINT = 'whatsapp.numbers lists all numbers, by their phone number id.';
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.pause_number(text, text, timestamptz) IS 'has nothing sent from a number, until that time or until resume_number(). What has begun to leave still ends, and what has only been taken to be sent is queued again. Error 42704 if there is no such number';

CREATE FUNCTION whatsapp.resume_number(phone_number_id text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE whatsapp.numbers n
	SET state = 'active', paused_reason = NULL, paused_until = NULL
	WHERE n.phone_number_id = resume_number.phone_number_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('number %s is not there', resume_number.phone_number_id),
			HINT = 'whatsapp.numbers lists all numbers, by their phone number id.';
	END IF;
	DELETE FROM whatsapp.holds h
	WHERE h.phone_number_id = resume_number.phone_number_id AND h.kind IN ('number', 'account');
	PERFORM whatsapp.wake_sender();
END $$;
COMMENT ON FUNCTION whatsapp.resume_number(text) IS 'has a number that was paused go on, and lifts what holds all of it, whatever for; error 42704 if there is no such number';

CREATE FUNCTION whatsapp.release_hold(phone_number_id text, kind text, key text) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM whatsapp.holds h
	WHERE h.phone_number_id = release_hold.phone_number_id AND h.kind = release_hold.kind AND h.key = release_hold.key;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	IF release_hold.kind = 'pair' THEN
		UPDATE whatsapp.outbox o
		SET retry_at = NULL
		WHERE o.phone_number_id = release_hold.phone_number_id AND o.recipient_key = release_hold.key
			AND o.state = 'queued' AND o.waits_for = 'retry' AND o.type NOT IN ('mark_read', 'typing');
	END IF;
	PERFORM whatsapp.wake_sender();
	RETURN true;
END $$;
COMMENT ON FUNCTION whatsapp.release_hold(text, text, text) IS 'lifts a hold, as whatsapp.holds lists it, before it ends by itself: what it held is sent. False if there is none. Of an account, the hold of one of its numbers is lifted';

CREATE FUNCTION whatsapp.add_number(
	phone_number_id text,
	waba_id text DEFAULT NULL,
	access_token text DEFAULT NULL,
	app_secret text DEFAULT NULL,
	verify_token text DEFAULT NULL,
	display_phone_number text DEFAULT NULL,
	source text DEFAULT 'literal')
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
	PERFORM whatsapp.hide_statement();

	-- it becomes a part of URLs
	IF add_number.phone_number_id IS NULL OR add_number.phone_number_id !~ '^[0-9A-Za-z_]{1,63}$' THEN
		PERFORM whatsapp.refuse_secret('invalid phone number id', 'It must be digits.',
			'Take the "Phone number ID" from the app''s dashboard, not the phone number.');
	END IF;

	INSERT INTO whatsapp.numbers AS n (phone_number_id, waba_id, display_phone_number)
	VALUES (add_number.phone_number_id, add_number.waba_id, add_number.display_phone_number)
	ON CONFLICT (phone_number_id) DO UPDATE
	SET waba_id = coalesce(excluded.waba_id, n.waba_id),
		display_phone_number = coalesce(excluded.display_phone_number, n.display_phone_number);

	IF add_number.access_token IS NOT NULL THEN
		PERFORM whatsapp.set_access_token(add_number.phone_number_id, add_number.access_token, add_number.source);
	END IF;
	IF add_number.app_secret IS NOT NULL THEN
		PERFORM whatsapp.set_app_secret(add_number.app_secret, add_number.phone_number_id, add_number.source);
	END IF;
	IF add_number.verify_token IS NOT NULL THEN
		PERFORM whatsapp.set_verify_token(add_number.verify_token, add_number.phone_number_id, add_number.source);
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.add_number(text, text, text, text, text, text, text) IS 'adds a number, or what is given of one that is there; without an access token it only receives. The source of the secrets is as for set_access_token(). Error 22023 if something of it cannot be used';

------------------------------------------------------------------------------
-- 2. Webhooks
--
-- Which part of a webhook goes to which column is said in src/fields.c, and by
-- whatsapp.webhook_paths().
--
-- Meta delivers at least once and in no order.  So each table has a key that
-- is Meta's own, and whatever comes again changes nothing.  There are no
-- foreign keys: a status may come before its message is known here, and for
-- messages that never will be.
------------------------------------------------------------------------------

-- What is known of people is kept as it was told: under which identifiers they
-- were seen, when, and that they changed them.  Of times only the first and the
-- last are kept, of names the newest, so that it makes no difference in which
-- order webhooks come.  Who is the same person as who follows from all of that,
-- and is found out when somebody asks: see whatsapp.contacts.

CREATE TABLE whatsapp.correspondents (
	phone_number_id text NOT NULL,
	contact_key text NOT NULL,
	kind text NOT NULL CHECK (kind IN ('user_id', 'wa_id', 'group')),
	wa_id text,
	wa_id_at timestamptz,
	parent_user_id text,
	parent_user_id_at timestamptz,
	name text,
	name_at timestamptz,
	username text,
	username_at timestamptz,
	first_seen timestamptz,
	last_seen timestamptz,
	last_message_at timestamptz,
	last_inbound_at timestamptz,
	last_outbound_at timestamptz,
	last_referral_at timestamptz,
	free_entry_until timestamptz,
	read_until timestamptz,
	PRIMARY KEY (phone_number_id, contact_key)
);
CREATE INDEX correspondents_message_idx ON whatsapp.correspondents (phone_number_id, last_message_at)
	WHERE last_message_at IS NOT NULL;
CREATE INDEX correspondents_wa_id_idx ON whatsapp.correspondents (wa_id, phone_number_id);
COMMENT ON TABLE whatsapp.correspondents IS 'who a number of ours has to do with, by each identifier: a person may be here several times, as a BSUID and as a phone number that came without one. whatsapp.contacts has each person once';
COMMENT ON COLUMN whatsapp.correspondents.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.correspondents.contact_key IS 'the BSUID where it came along, else the WhatsApp id; of a group, group: and its id';
COMMENT ON COLUMN whatsapp.correspondents.kind IS 'what the key is: user_id (a BSUID), wa_id or group';
COMMENT ON COLUMN whatsapp.correspondents.wa_id IS 'WhatsApp id: mostly the phone number, in digits; the newest that was told';
COMMENT ON COLUMN whatsapp.correspondents.wa_id_at IS 'when it was told last, as Meta tells it; likewise all columns whose name ends in _at';
COMMENT ON COLUMN whatsapp.correspondents.parent_user_id IS 'parent BSUID, of businesses that share one; the newest that was told';
COMMENT ON COLUMN whatsapp.correspondents.parent_user_id_at IS 'when it was told last';
COMMENT ON COLUMN whatsapp.correspondents.name IS 'the name they have given themselves; the newest that was told';
COMMENT ON COLUMN whatsapp.correspondents.name_at IS 'when it was told last';
COMMENT ON COLUMN whatsapp.correspondents.username IS 'their username, without @; the newest that was told';
COMMENT ON COLUMN whatsapp.correspondents.username_at IS 'when it was told last';
COMMENT ON COLUMN whatsapp.correspondents.first_seen IS 'time of the first thing filed that named them, as Meta tells it';
COMMENT ON COLUMN whatsapp.correspondents.last_seen IS 'time of the newest thing that named them';
COMMENT ON COLUMN whatsapp.correspondents.last_message_at IS 'time of the newest message from or to them; none that only reacts to, edits or revokes another, and none in a group';
COMMENT ON COLUMN whatsapp.correspondents.last_inbound_at IS 'time of the newest message or call from them that lets us answer freely, for a day';
COMMENT ON COLUMN whatsapp.correspondents.last_outbound_at IS 'time of the newest message to them';
COMMENT ON COLUMN whatsapp.correspondents.last_referral_at IS 'time of the newest message from them that came from an ad';
COMMENT ON COLUMN whatsapp.correspondents.free_entry_until IS 'until when Meta has said that messages are free, as they came from an ad';
COMMENT ON COLUMN whatsapp.correspondents.read_until IS 'up to when what came from them has been read; see whatsapp.mark_conversation_read()';

CREATE TABLE whatsapp.contact_sightings (
	phone_number_id text NOT NULL,
	contact_key text NOT NULL,
	kind text NOT NULL,
	value text NOT NULL,
	first_seen timestamptz,
	last_seen timestamptz,
	PRIMARY KEY (phone_number_id, contact_key, kind, value)
);
CREATE INDEX contact_sightings_value_idx ON whatsapp.contact_sightings (phone_number_id, kind, value);
COMMENT ON TABLE whatsapp.contact_sightings IS 'identifiers that came along with those that whatsapp.correspondents goes by; whatsapp.contact_identifiers has all of them';
COMMENT ON COLUMN whatsapp.contact_sightings.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.contact_sightings.contact_key IS 'what it came along with, as in whatsapp.correspondents';
COMMENT ON COLUMN whatsapp.contact_sightings.kind IS 'what the value is: wa_id, parent_user_id, username, or input: a phone number that we have sent to, and that Meta has answered with the key for';
COMMENT ON COLUMN whatsapp.contact_sightings.value IS 'the identifier, as it came; a phone number in digits';
COMMENT ON COLUMN whatsapp.contact_sightings.first_seen IS 'when it came along first, as Meta tells it';
COMMENT ON COLUMN whatsapp.contact_sightings.last_seen IS 'when it came along last';

CREATE TABLE whatsapp.contact_changes (
	phone_number_id text NOT NULL,
	old_wa_id text NOT NULL,
	old_user_id text NOT NULL,
	new_wa_id text NOT NULL,
	new_user_id text NOT NULL,
	at timestamptz NOT NULL,
	PRIMARY KEY (phone_number_id, old_wa_id, old_user_id, new_wa_id, new_user_id, at)
);
CREATE INDEX contact_changes_old_user_id_idx ON whatsapp.contact_changes (phone_number_id, old_user_id);
CREATE INDEX contact_changes_new_wa_id_idx ON whatsapp.contact_changes (phone_number_id, new_wa_id);
CREATE INDEX contact_changes_new_user_id_idx ON whatsapp.contact_changes (phone_number_id, new_user_id);
COMMENT ON TABLE whatsapp.contact_changes IS 'that people have another phone number or BSUID, as Meta has told';
COMMENT ON COLUMN whatsapp.contact_changes.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.contact_changes.old_wa_id IS 'the WhatsApp id that they gave up; empty if it was not told';
COMMENT ON COLUMN whatsapp.contact_changes.old_user_id IS 'the BSUID that they had; empty if it was not told';
COMMENT ON COLUMN whatsapp.contact_changes.new_wa_id IS 'the WhatsApp id that they have since; empty if it was not told';
COMMENT ON COLUMN whatsapp.contact_changes.new_user_id IS 'the BSUID that they have since; empty if it was not told';
COMMENT ON COLUMN whatsapp.contact_changes.at IS 'when, as Meta tells it';

-- (LEAKPROOF, as who sees rows of some numbers only could not use the index
-- else.)
CREATE FUNCTION whatsapp.thread_key(group_id text, user_id text, wa_id text) RETURNS text
LANGUAGE c IMMUTABLE LEAKPROOF PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_thread_key';
COMMENT ON FUNCTION whatsapp.thread_key(text, text, text) IS 'which of whatsapp.correspondents a message is from or to: the group, else the BSUID where it came along, else the WhatsApp id';

CREATE FUNCTION whatsapp.is_note(type text) RETURNS boolean
LANGUAGE c IMMUTABLE LEAKPROOF PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_is_note';
COMMENT ON FUNCTION whatsapp.is_note(text) IS 'whether messages of a type only say something of another message, and are shown with that';

CREATE TABLE whatsapp.messages (
	phone_number_id text NOT NULL,
	message_id text NOT NULL,
	direction text NOT NULL CHECK (direction IN ('inbound', 'outbound')),
	type text,
	body text,
	wa_id text,
	user_id text,
	parent_user_id text,
	group_id text,
	context_id text,
	forwarded boolean,
	target_id text,
	reply_id text,
	payload text,
	response jsonb,
	referral jsonb,
	ctwa_clid text,
	media_id text,
	status text,
	status_at timestamptz,
	error_code integer,
	sent_at timestamptz,
	received_at timestamptz NOT NULL DEFAULT now(),
	outbox_id bigint,
	element jsonb,
	PRIMARY KEY (phone_number_id, message_id)
);
-- (not by phone_number_id first, or it would be taken for the key while there
-- are no statistics)
CREATE INDEX messages_wa_id_idx ON whatsapp.messages (wa_id, phone_number_id, sent_at);
CREATE INDEX messages_thread_idx ON whatsapp.messages
	((whatsapp.thread_key(group_id, user_id, wa_id)), phone_number_id, (coalesce(sent_at, '-infinity'::timestamptz)), message_id)
	WHERE element IS NOT NULL AND NOT whatsapp.is_note(type);
CREATE INDEX messages_target_idx ON whatsapp.messages (target_id, phone_number_id)
	WHERE target_id IS NOT NULL;
CREATE INDEX messages_received_idx ON whatsapp.messages (received_at);
CREATE INDEX messages_message_id_idx ON whatsapp.messages (message_id);
COMMENT ON TABLE whatsapp.messages IS 'messages, received and sent';
COMMENT ON COLUMN whatsapp.messages.phone_number_id IS 'our number; empty if the webhook did not tell it';
COMMENT ON COLUMN whatsapp.messages.message_id IS 'Meta''s id of the message (wamid)';
COMMENT ON COLUMN whatsapp.messages.direction IS 'inbound or outbound, as seen from us';
COMMENT ON COLUMN whatsapp.messages.type IS 'Meta''s word for what it is: text, image, interactive, reaction and so on; NULL if only a status of it is known: it was sent by other means than the outbox';
COMMENT ON COLUMN whatsapp.messages.body IS 'what a person would read of it: text, caption, title of the button pressed, the emoji of a reaction, the new text of an edit';
COMMENT ON COLUMN whatsapp.messages.wa_id IS 'WhatsApp id of the other side, as it came; a phone number in digits';
COMMENT ON COLUMN whatsapp.messages.user_id IS 'business-scoped user id (BSUID) of the other side, as it came';
COMMENT ON COLUMN whatsapp.messages.parent_user_id IS 'parent BSUID of the other side, as it came';
COMMENT ON COLUMN whatsapp.messages.group_id IS 'the group it was written to';
COMMENT ON COLUMN whatsapp.messages.context_id IS 'id of the message that it quotes or answers; it need not be known here';
COMMENT ON COLUMN whatsapp.messages.forwarded IS 'true if it was forwarded';
COMMENT ON COLUMN whatsapp.messages.target_id IS 'id of the message that it reacts to, edits or revokes; it need not be known here';
COMMENT ON COLUMN whatsapp.messages.reply_id IS 'of an answer by button or list, the id that was given to what was chosen';
COMMENT ON COLUMN whatsapp.messages.payload IS 'of an answer by a template''s button, the payload that was given to it';
COMMENT ON COLUMN whatsapp.messages.response IS 'what was filled in or decided: the fields of a flow or address, a call permission, a payment method';
COMMENT ON COLUMN whatsapp.messages.referral IS 'the ad or post that it came from';
COMMENT ON COLUMN whatsapp.messages.ctwa_clid IS 'the click on an ad that it came from';
COMMENT ON COLUMN whatsapp.messages.media_id IS 'image, video, audio, document or sticker; see whatsapp.media';
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

CREATE FUNCTION whatsapp.media_digest(sha256 text) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_media_digest';
COMMENT ON FUNCTION whatsapp.media_digest(text) IS 'the SHA-256 digest that Meta writes in base64 or hexadecimal digits; NULL if it is neither';

CREATE FUNCTION whatsapp.url_expiry(url text, at timestamptz) RETURNS timestamptz
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_url_expiry';
COMMENT ON FUNCTION whatsapp.url_expiry(text, timestamptz) IS 'until when the URL of a medium works: what it says itself, or five minutes after the message''s time, as Meta''s URLs live no longer';

CREATE FUNCTION whatsapp.media_expiry(at timestamptz) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_media_expiry';
COMMENT ON FUNCTION whatsapp.media_expiry(timestamptz) IS 'until when Meta keeps what came with a message: seven days';

CREATE TABLE whatsapp.media (
	phone_number_id text NOT NULL,
	media_id text NOT NULL,
	message_id text NOT NULL,
	kind text,
	mime_type text,
	sha256 text,
	digest bytea GENERATED ALWAYS AS (whatsapp.media_digest(sha256)) STORED,
	filename text,
	caption text,
	voice boolean,
	animated boolean,
	url text,
	url_expires_at timestamptz GENERATED ALWAYS AS (whatsapp.url_expiry(url, at)) STORED,
	at timestamptz,
	expires_at timestamptz GENERATED ALWAYS AS (whatsapp.media_expiry(at)) STORED,
	state text NOT NULL DEFAULT 'remote',
	received_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (phone_number_id, media_id)
);
CREATE INDEX media_message_idx ON whatsapp.media (phone_number_id, message_id);
CREATE INDEX media_received_idx ON whatsapp.media (received_at);
COMMENT ON TABLE whatsapp.media IS 'images, videos, recordings, documents and stickers that came, and how to get them: GET media_id of the Graph API gives a URL, as long as Meta keeps it';
COMMENT ON COLUMN whatsapp.media.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.media.media_id IS 'Meta''s id of it';
COMMENT ON COLUMN whatsapp.media.message_id IS 'the message (wamid), or the call, that it came with';
COMMENT ON COLUMN whatsapp.media.kind IS 'image, video, audio, document or sticker';
COMMENT ON COLUMN whatsapp.media.mime_type IS 'such as image/jpeg, or audio/ogg; codecs=opus';
COMMENT ON COLUMN whatsapp.media.sha256 IS 'its SHA-256 digest as Meta writes it, in base64 or hexadecimal digits';
COMMENT ON COLUMN whatsapp.media.digest IS 'the same in bytes, to compare with sha256() of what was downloaded';
COMMENT ON COLUMN whatsapp.media.filename IS 'what the sender calls it; never to be used as a path';
COMMENT ON COLUMN whatsapp.media.caption IS 'what the sender says of it';
COMMENT ON COLUMN whatsapp.media.voice IS 'true if it was recorded in the app';
COMMENT ON COLUMN whatsapp.media.animated IS 'true of a sticker that moves';
COMMENT ON COLUMN whatsapp.media.url IS 'where it can be got with the access token, not for long';
COMMENT ON COLUMN whatsapp.media.url_expires_at IS 'until when, by whatsapp.url_expiry()';
COMMENT ON COLUMN whatsapp.media.at IS 'time of the message, as Meta tells it';
COMMENT ON COLUMN whatsapp.media.expires_at IS 'until when Meta gives a URL for media_id: seven days after the message';
COMMENT ON COLUMN whatsapp.media.state IS 'remote until somebody has downloaded it and says so here, in words of his own; webhooks do not touch it';
COMMENT ON COLUMN whatsapp.media.received_at IS 'when it came to be here';

CREATE TABLE whatsapp.statuses (
	phone_number_id text NOT NULL,
	message_id text NOT NULL,
	status text NOT NULL,
	participant text NOT NULL,
	at timestamptz,
	wa_id text,
	user_id text,
	parent_user_id text,
	conversation jsonb,
	pricing jsonb,
	errors jsonb,
	error_code integer,
	callback_data text,
	element jsonb NOT NULL,
	received_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (phone_number_id, message_id, status, participant)
);
CREATE INDEX statuses_received_idx ON whatsapp.statuses (received_at);
COMMENT ON TABLE whatsapp.statuses IS 'what Meta told about messages sent; whatsapp.messages has the sum of it';
COMMENT ON COLUMN whatsapp.statuses.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.statuses.message_id IS 'the message (wamid)';
COMMENT ON COLUMN whatsapp.statuses.status IS 'sent, delivered, read, played, failed and so on';
COMMENT ON COLUMN whatsapp.statuses.participant IS 'the member of the group it is about, or the transaction of the payment and its outcome; empty if it is about the message';
COMMENT ON COLUMN whatsapp.statuses.at IS 'when it came to be, as Meta tells it';
COMMENT ON COLUMN whatsapp.statuses.wa_id IS 'WhatsApp id of the recipient, or id of the group';
COMMENT ON COLUMN whatsapp.statuses.user_id IS 'BSUID of the recipient';
COMMENT ON COLUMN whatsapp.statuses.parent_user_id IS 'parent BSUID of the recipient';
COMMENT ON COLUMN whatsapp.statuses.conversation IS 'the conversation that Meta counts it to, where it still tells';
COMMENT ON COLUMN whatsapp.statuses.pricing IS 'whether Meta charges for the message, and as what';
COMMENT ON COLUMN whatsapp.statuses.errors IS 'what went wrong';
COMMENT ON COLUMN whatsapp.statuses.error_code IS 'code of the first of errors';
COMMENT ON COLUMN whatsapp.statuses.callback_data IS 'what was sent along with the message in biz_opaque_callback_data';
COMMENT ON COLUMN whatsapp.statuses.element IS 'the status itself, as JSON';
COMMENT ON COLUMN whatsapp.statuses.received_at IS 'when it came to be here';

CREATE TABLE whatsapp.call_events (
	phone_number_id text NOT NULL,
	call_id text NOT NULL,
	event text NOT NULL,
	direction text,
	wa_id text,
	user_id text,
	status text,
	at timestamptz,
	started_at timestamptz,
	ended_at timestamptz,
	duration integer,
	payload text,
	callback_data text,
	errors jsonb,
	element jsonb NOT NULL,
	received_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (phone_number_id, call_id, event)
);
CREATE INDEX call_events_received_idx ON whatsapp.call_events (received_at);
COMMENT ON TABLE whatsapp.call_events IS 'what Meta told about calls; whatsapp.calls has the sum of it';
COMMENT ON COLUMN whatsapp.call_events.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.call_events.call_id IS 'Meta''s id of the call (wacid)';
COMMENT ON COLUMN whatsapp.call_events.event IS 'connect, terminate, call_recording_available and so on; of a status, that: RINGING, ACCEPTED, REJECTED';
COMMENT ON COLUMN whatsapp.call_events.direction IS 'BUSINESS_INITIATED or USER_INITIATED';
COMMENT ON COLUMN whatsapp.call_events.wa_id IS 'WhatsApp id of the other side, as it came';
COMMENT ON COLUMN whatsapp.call_events.user_id IS 'BSUID of the other side, as it came';
COMMENT ON COLUMN whatsapp.call_events.status IS 'how it went, as Meta writes it';
COMMENT ON COLUMN whatsapp.call_events.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.call_events.started_at IS 'when the call was taken';
COMMENT ON COLUMN whatsapp.call_events.ended_at IS 'when it was over';
COMMENT ON COLUMN whatsapp.call_events.duration IS 'how long they spoke, in seconds';
COMMENT ON COLUMN whatsapp.call_events.payload IS 'the payload of the link or button that the call came from';
COMMENT ON COLUMN whatsapp.call_events.callback_data IS 'what was given to the call in biz_opaque_callback_data';
COMMENT ON COLUMN whatsapp.call_events.errors IS 'what went wrong';
COMMENT ON COLUMN whatsapp.call_events.element IS 'the event itself, as JSON';
COMMENT ON COLUMN whatsapp.call_events.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.calls WITH (security_invoker = true) AS
SELECT phone_number_id, call_id,
	max(direction) AS direction,
	max(wa_id) AS wa_id,
	max(user_id) AS user_id,
	coalesce(
		upper(max(status) FILTER (WHERE event = 'terminate')),
		max(event) FILTER (WHERE event IN ('ACCEPTED', 'REJECTED')),
		max(event) FILTER (WHERE event = 'RINGING')) AS status,
	coalesce(min(started_at), min(at) FILTER (WHERE event = 'ACCEPTED')) AS started_at,
	coalesce(max(ended_at), max(at) FILTER (WHERE event = 'terminate')) AS ended_at,
	max(duration) AS duration,
	max(payload) AS payload,
	max(callback_data) AS callback_data,
	min(at) AS at
FROM whatsapp.call_events
GROUP BY phone_number_id, call_id;
COMMENT ON VIEW whatsapp.calls IS 'calls, from and to our numbers';
COMMENT ON COLUMN whatsapp.calls.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.calls.call_id IS 'Meta''s id of the call (wacid)';
COMMENT ON COLUMN whatsapp.calls.direction IS 'BUSINESS_INITIATED or USER_INITIATED';
COMMENT ON COLUMN whatsapp.calls.wa_id IS 'WhatsApp id of the other side';
COMMENT ON COLUMN whatsapp.calls.user_id IS 'BSUID of the other side';
COMMENT ON COLUMN whatsapp.calls.status IS 'COMPLETED or FAILED once it is over; before, ACCEPTED, REJECTED or RINGING';
COMMENT ON COLUMN whatsapp.calls.started_at IS 'when it was taken';
COMMENT ON COLUMN whatsapp.calls.ended_at IS 'when it was over';
COMMENT ON COLUMN whatsapp.calls.duration IS 'how long they spoke, in seconds';
COMMENT ON COLUMN whatsapp.calls.payload IS 'the payload of the link or button that it came from';
COMMENT ON COLUMN whatsapp.calls.callback_data IS 'what was given to it in biz_opaque_callback_data';
COMMENT ON COLUMN whatsapp.calls.at IS 'when it began to ring, or what else was told first';

-- Of a state, each column is the newest that was told of it; the time it was
-- told is in the column of the same name with _at.

CREATE TABLE whatsapp.groups (
	phone_number_id text NOT NULL,
	group_id text NOT NULL,
	state text,
	state_at timestamptz,
	subject text,
	subject_at timestamptz,
	description text,
	description_at timestamptz,
	invite_link text,
	invite_link_at timestamptz,
	join_approval_mode text,
	PRIMARY KEY (phone_number_id, group_id)
);
COMMENT ON TABLE whatsapp.groups IS 'groups of our numbers, as they are now';
COMMENT ON COLUMN whatsapp.groups.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.groups.group_id IS 'Meta''s id of the group; messages to it go to this recipient';
COMMENT ON COLUMN whatsapp.groups.state IS 'active, suspended or deleted';
COMMENT ON COLUMN whatsapp.groups.state_at IS 'since when, as Meta tells it';
COMMENT ON COLUMN whatsapp.groups.subject IS 'its name';
COMMENT ON COLUMN whatsapp.groups.subject_at IS 'since when';
COMMENT ON COLUMN whatsapp.groups.description IS 'what it is about';
COMMENT ON COLUMN whatsapp.groups.description_at IS 'since when';
COMMENT ON COLUMN whatsapp.groups.invite_link IS 'the link to join it';
COMMENT ON COLUMN whatsapp.groups.invite_link_at IS 'since when';
COMMENT ON COLUMN whatsapp.groups.join_approval_mode IS 'auto_approve or approval_required';

CREATE TABLE whatsapp.group_participants (
	phone_number_id text NOT NULL,
	group_id text NOT NULL,
	participant text NOT NULL,
	wa_id text,
	user_id text,
	parent_user_id text,
	username text,
	state text,
	state_at timestamptz,
	join_request_id text,
	PRIMARY KEY (phone_number_id, group_id, participant)
);
COMMENT ON TABLE whatsapp.group_participants IS 'who is in a group, was, or wants to be';
COMMENT ON COLUMN whatsapp.group_participants.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.group_participants.group_id IS 'the group';
COMMENT ON COLUMN whatsapp.group_participants.participant IS 'the person: the WhatsApp id where it is known, else the BSUID, else what the API was told';
COMMENT ON COLUMN whatsapp.group_participants.wa_id IS 'WhatsApp id';
COMMENT ON COLUMN whatsapp.group_participants.user_id IS 'BSUID';
COMMENT ON COLUMN whatsapp.group_participants.parent_user_id IS 'parent BSUID';
COMMENT ON COLUMN whatsapp.group_participants.username IS 'username, without @';
COMMENT ON COLUMN whatsapp.group_participants.state IS 'joined, removed, requested (to join), or request revoked';
COMMENT ON COLUMN whatsapp.group_participants.state_at IS 'since when, as Meta tells it';
COMMENT ON COLUMN whatsapp.group_participants.join_request_id IS 'to approve or reject the newest request with';

CREATE TABLE whatsapp.templates (
	waba_id text NOT NULL,
	template_id text NOT NULL,
	name text,
	name_at timestamptz,
	language text,
	status text,
	status_at timestamptz,
	status_reason text,
	quality text,
	quality_at timestamptz,
	category text,
	category_at timestamptz,
	components jsonb,
	components_at timestamptz,
	received_at timestamptz NOT NULL DEFAULT now(),
	-- by the account as well, so that none can tell anything of another's
	PRIMARY KEY (waba_id, template_id)
);
CREATE INDEX templates_name_idx ON whatsapp.templates (name, language);
COMMENT ON TABLE whatsapp.templates IS 'message templates, as far as webhooks have told of them, or whatsapp.import_templates()';
COMMENT ON COLUMN whatsapp.templates.waba_id IS 'the WhatsApp Business Account; empty if it was not told';
COMMENT ON COLUMN whatsapp.templates.template_id IS 'Meta''s id of the template';
COMMENT ON COLUMN whatsapp.templates.name IS 'its name, to send it by';
COMMENT ON COLUMN whatsapp.templates.name_at IS 'when its name, language and account were told last';
COMMENT ON COLUMN whatsapp.templates.language IS 'its language, such as en_US';
COMMENT ON COLUMN whatsapp.templates.status IS 'APPROVED, REJECTED, PAUSED, DISABLED and so on';
COMMENT ON COLUMN whatsapp.templates.status_at IS 'since when, as Meta tells it';
COMMENT ON COLUMN whatsapp.templates.status_reason IS 'why';
COMMENT ON COLUMN whatsapp.templates.quality IS 'GREEN, YELLOW, RED or UNKNOWN';
COMMENT ON COLUMN whatsapp.templates.quality_at IS 'since when';
COMMENT ON COLUMN whatsapp.templates.category IS 'MARKETING, UTILITY or AUTHENTICATION';
COMMENT ON COLUMN whatsapp.templates.category_at IS 'since when, or when it was told last';
COMMENT ON COLUMN whatsapp.templates.components IS 'header, body, footer and buttons, as edited last: an object, without headers that are no text, as webhooks tell it, or an array, as Meta answers when it is asked';
COMMENT ON COLUMN whatsapp.templates.components_at IS 'since when';
COMMENT ON COLUMN whatsapp.templates.received_at IS 'when it came to be here';

CREATE TABLE whatsapp.user_preferences (
	phone_number_id text NOT NULL,
	participant text NOT NULL,
	category text NOT NULL,
	value text,
	detail text,
	wa_id text,
	user_id text,
	parent_user_id text,
	at timestamptz,
	element jsonb NOT NULL,
	received_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (phone_number_id, participant, category)
);
COMMENT ON TABLE whatsapp.user_preferences IS 'what people want to get from us and what not, now; what they wanted before is in whatsapp.events';
COMMENT ON COLUMN whatsapp.user_preferences.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.user_preferences.participant IS 'the person: the BSUID where it came along, else the WhatsApp id';
COMMENT ON COLUMN whatsapp.user_preferences.category IS 'what it is about, such as marketing_messages';
COMMENT ON COLUMN whatsapp.user_preferences.value IS 'stop or resume';
COMMENT ON COLUMN whatsapp.user_preferences.detail IS 'the same in words';
COMMENT ON COLUMN whatsapp.user_preferences.wa_id IS 'their WhatsApp id, as it came';
COMMENT ON COLUMN whatsapp.user_preferences.user_id IS 'their BSUID, as it came';
COMMENT ON COLUMN whatsapp.user_preferences.parent_user_id IS 'their parent BSUID, as it came';
COMMENT ON COLUMN whatsapp.user_preferences.at IS 'since when, as Meta tells it';
COMMENT ON COLUMN whatsapp.user_preferences.element IS 'the preference itself, as JSON';
COMMENT ON COLUMN whatsapp.user_preferences.received_at IS 'when it came to be here';

CREATE INDEX user_preferences_wa_id_idx ON whatsapp.user_preferences (wa_id, phone_number_id);
CREATE INDEX user_preferences_stop_idx ON whatsapp.user_preferences (phone_number_id, participant)
	WHERE category = 'marketing_messages' AND value = 'stop';

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
CREATE INDEX events_received_idx ON whatsapp.events (received_at);
COMMENT ON TABLE whatsapp.events IS 'all that webhooks tell and that has no table of its own; and of two things that claim one place in such a table, the one that had to yield';
COMMENT ON COLUMN whatsapp.events.event_id IS 'digest of what it says; see whatsapp.event_id()';
COMMENT ON COLUMN whatsapp.events.waba_id IS 'WhatsApp Business Account, or what else the entry was about';
COMMENT ON COLUMN whatsapp.events.phone_number_id IS 'our number, if it is about one';
COMMENT ON COLUMN whatsapp.events.field IS 'the webhook field, such as message_template_status_update; of webhooks that are none of WhatsApp''s, their object';
COMMENT ON COLUMN whatsapp.events.event IS 'what happened, such as APPROVED, in fields that say so; superseded, if field is a table here, where something else stands in its place; seen, of what was said of contacts';
COMMENT ON COLUMN whatsapp.events.at IS 'when, if Meta tells it';
COMMENT ON COLUMN whatsapp.events.element IS 'the event itself, as JSON: an element, or what is left of a change, an entry or a webhook without what was filed elsewhere';
COMMENT ON COLUMN whatsapp.events.received_at IS 'when it came to be here';

CREATE TABLE whatsapp.webhooks (
	webhook_id bytea PRIMARY KEY,
	body bytea NOT NULL,
	state text NOT NULL CHECK (state IN ('filed', 'parked', 'unreadable')),
	reason text,
	sqlstate text,
	hint text,
	context text,
	signed_for text[],
	received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhooks_unfiled_idx ON whatsapp.webhooks (received_at, webhook_id) WHERE state <> 'filed';
CREATE INDEX webhooks_filed_idx ON whatsapp.webhooks (received_at) WHERE state = 'filed';
COMMENT ON TABLE whatsapp.webhooks IS 'webhooks as they came, if something was the matter with them; all of them if whatsapp.archive says so. Of what a table or a hook objected to each element is here, as a webhook that has nothing else';
COMMENT ON COLUMN whatsapp.webhooks.webhook_id IS 'SHA-256 of the body';
COMMENT ON COLUMN whatsapp.webhooks.body IS 'the bytes of the body';
COMMENT ON COLUMN whatsapp.webhooks.state IS 'filed; parked, if a table or a hook objected to it; unreadable, if it is no JSON';
COMMENT ON COLUMN whatsapp.webhooks.reason IS 'what was the matter with it; NULL if nothing was';
COMMENT ON COLUMN whatsapp.webhooks.sqlstate IS 'of a parked one, the code of the error';
COMMENT ON COLUMN whatsapp.webhooks.hint IS 'and its hint, if it has one';
COMMENT ON COLUMN whatsapp.webhooks.context IS 'and where it was raised';
COMMENT ON COLUMN whatsapp.webhooks.signed_for IS 'the numbers whose secret it was signed with, if that is no secret for all, and it may tell something of others; NULL if it need not be asked';
COMMENT ON COLUMN whatsapp.webhooks.received_at IS 'when it first came';

CREATE FUNCTION whatsapp.is_newer(told text, told_at timestamptz, known text, known_at timestamptz) RETURNS boolean
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_is_newer';
COMMENT ON FUNCTION whatsapp.is_newer(text, timestamptz, text, timestamptz) IS 'whether what is told of somebody takes the place of what is known: it does if it is newer, or as new and greater. NULL is nothing that is told, and no time is before any';

CREATE FUNCTION whatsapp.status_rank(status text) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_status_rank';
COMMENT ON FUNCTION whatsapp.status_rank(text) IS 'how far a status is; of several the farthest is that of the message, in whatever order they come. A message that has failed was not delivered, unless to another device of the recipient. NULL for what is no status of a message';

CREATE FUNCTION whatsapp.is_farther(told text, told_at timestamptz, told_error integer, known text, known_at timestamptz, known_error integer) RETURNS boolean
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_is_farther';
COMMENT ON FUNCTION whatsapp.is_farther(text, timestamptz, integer, text, timestamptz, integer) IS 'whether a status that is told takes the place of the one that is known: the farther one does, or of two that are as far, the earlier, or else the one with the lesser error; see whatsapp.status_rank()';

CREATE FUNCTION whatsapp.is_placeholder(element jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(element ->> 'type' = 'media_placeholder'
	OR element ->> 'type' = 'unsupported'
		AND (element @> '{"errors": [{"code": 131060}]}' OR element @> '{"errors": [{"code": "131060"}]}'), false);
COMMENT ON FUNCTION whatsapp.is_placeholder(jsonb) IS 'whether a message only holds the place of one whose content is not there yet, and may come: types media_placeholder, and unsupported with error 131060';

CREATE FUNCTION whatsapp.event_id(about text, at timestamptz, element jsonb) RETURNS bytea
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_event_id';
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
COMMENT ON COLUMN whatsapp.ingest_result.parked IS 'elements that a table or a hook objected to; each is in whatsapp.webhooks';
COMMENT ON COLUMN whatsapp.ingest_result.error IS 'why, of the first; NULL if all is well';

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
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'whatsapp_ingest_unsigned';
COMMENT ON FUNCTION whatsapp.ingest_unsigned(jsonb) IS 'files a webhook that has been found genuine by other means: for tests and imports';

CREATE FUNCTION whatsapp.replay(everything boolean DEFAULT false) RETURNS SETOF whatsapp.ingest_result
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'whatsapp_replay';
COMMENT ON FUNCTION whatsapp.replay(boolean) IS 'files again what is in whatsapp.webhooks and could not be filed, or everything that is there, and says of each what became of it; what had been filed before changes nothing';

CREATE FUNCTION whatsapp.webhook_paths(OUT table_name text, OUT column_name text, OUT path text, OUT type text)
RETURNS SETOF record
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_webhook_paths';
COMMENT ON FUNCTION whatsapp.webhook_paths() IS 'which part of a webhook goes to which column, or to what one is computed from. A column may be fed from several places, of which the first that has something counts; element is what is left to it';

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

-- What is in whatsapp.events, by what it is about, with columns.  A part that is
-- missing, or of another kind than Meta documents, is NULL in them; the row of
-- whatsapp.events has it.  So no cast is made of what has not been looked at.
-- Rows of events hold an element, such as an error, or a change: an object
-- with "field" and "value".

CREATE VIEW whatsapp.template_status_updates WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,message_template_id}' AS template_id,
	e.element #>> '{value,message_template_name}' AS name,
	e.element #>> '{value,message_template_language}' AS language,
	e.element #>> '{value,message_template_category}' AS category,
	e.element #>> '{value,event}' AS event,
	e.element #>> '{value,reason}' AS reason,
	e.element #>> '{value,rejection_info,reason}' AS rejection_reason,
	e.element #>> '{value,rejection_info,recommendation}' AS recommendation,
	e.element #>> '{value,other_info,title}' AS title,
	e.element #>> '{value,other_info,description}' AS description,
	to_timestamp(CASE WHEN (e.element #>> '{value,disable_info,disable_date}') ~ '^[0-9]{1,11}$' THEN (e.element #>> '{value,disable_info,disable_date}')::double precision END) AS disable_date,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'message_template_status_update' AND e.element ? 'value'
	AND NOT coalesce(e.element -> 'value' ? 'new_quality_score', false)
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.template_status_updates IS 'what Meta has decided on templates; whatsapp.templates has how they are now';
COMMENT ON COLUMN whatsapp.template_status_updates.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.template_status_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.template_status_updates.template_id IS 'Meta''s id of the template';
COMMENT ON COLUMN whatsapp.template_status_updates.name IS 'its name';
COMMENT ON COLUMN whatsapp.template_status_updates.language IS 'its language, such as en_US';
COMMENT ON COLUMN whatsapp.template_status_updates.category IS 'MARKETING, UTILITY or AUTHENTICATION, where it is told';
COMMENT ON COLUMN whatsapp.template_status_updates.event IS 'APPROVED, REJECTED, PAUSED, DISABLED and so on';
COMMENT ON COLUMN whatsapp.template_status_updates.reason IS 'why, in a word: NONE, INVALID_FORMAT, ABUSIVE_CONTENT and so on';
COMMENT ON COLUMN whatsapp.template_status_updates.rejection_reason IS 'why it was rejected, in words';
COMMENT ON COLUMN whatsapp.template_status_updates.recommendation IS 'what to do about that';
COMMENT ON COLUMN whatsapp.template_status_updates.title IS 'of a pause, which: FIRST_PAUSE, SECOND_PAUSE, RATE_LIMITING_PAUSE, UNPAUSE or DISABLED';
COMMENT ON COLUMN whatsapp.template_status_updates.description IS 'the same in words';
COMMENT ON COLUMN whatsapp.template_status_updates.disable_date IS 'when it was or will be disabled';
COMMENT ON COLUMN whatsapp.template_status_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.template_quality_updates WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,message_template_id}' AS template_id,
	e.element #>> '{value,message_template_name}' AS name,
	e.element #>> '{value,message_template_language}' AS language,
	e.element #>> '{value,previous_quality_score}' AS previous_quality_score,
	e.element #>> '{value,new_quality_score}' AS new_quality_score,
	e.received_at
FROM whatsapp.events e
WHERE (e.field = 'message_template_quality_update'
		OR e.field = 'message_template_status_update' AND e.element -> 'value' ? 'new_quality_score')
	AND e.element ? 'value' AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.template_quality_updates IS 'how people take templates, when that has changed';
COMMENT ON COLUMN whatsapp.template_quality_updates.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.template_quality_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.template_quality_updates.template_id IS 'Meta''s id of the template';
COMMENT ON COLUMN whatsapp.template_quality_updates.name IS 'its name';
COMMENT ON COLUMN whatsapp.template_quality_updates.language IS 'its language, such as en_US';
COMMENT ON COLUMN whatsapp.template_quality_updates.previous_quality_score IS 'GREEN, YELLOW, RED or UNKNOWN, before';
COMMENT ON COLUMN whatsapp.template_quality_updates.new_quality_score IS 'and now';
COMMENT ON COLUMN whatsapp.template_quality_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.template_category_updates WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,message_template_id}' AS template_id,
	e.element #>> '{value,message_template_name}' AS name,
	e.element #>> '{value,message_template_language}' AS language,
	CASE
		WHEN e.field = 'template_correct_category_detection' THEN 'detected'
		WHEN e.element #>> '{value,previous_category}' IS NOT NULL THEN 'done'
		WHEN e.element #>> '{value,correct_category}' IS NOT NULL THEN 'impending'
	END AS kind,
	coalesce(e.element #>> '{value,new_category}', e.element #>> '{value,category}') AS category,
	e.element #>> '{value,previous_category}' AS previous_category,
	e.element #>> '{value,new_category}' AS new_category,
	e.element #>> '{value,correct_category}' AS correct_category,
	to_timestamp(CASE WHEN (e.element #>> '{value,category_update_timestamp}') ~ '^[0-9]{1,11}$' THEN (e.element #>> '{value,category_update_timestamp}')::double precision END) AS takes_effect_at,
	e.received_at
FROM whatsapp.events e
WHERE e.field IN ('template_category_update', 'template_correct_category_detection') AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.template_category_updates IS 'categories of templates: changed, about to be, or found to be wrong';
COMMENT ON COLUMN whatsapp.template_category_updates.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.template_category_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.template_category_updates.template_id IS 'Meta''s id of the template';
COMMENT ON COLUMN whatsapp.template_category_updates.name IS 'its name';
COMMENT ON COLUMN whatsapp.template_category_updates.language IS 'its language, such as en_US';
COMMENT ON COLUMN whatsapp.template_category_updates.kind IS 'impending, if it will be changed; done, if it has been; detected, if Meta takes another category for correct and has not said that it changes it';
COMMENT ON COLUMN whatsapp.template_category_updates.category IS 'the category that it has at the time: before an impending change, and after one that is done';
COMMENT ON COLUMN whatsapp.template_category_updates.previous_category IS 'of a change that is done, the category before';
COMMENT ON COLUMN whatsapp.template_category_updates.new_category IS 'as Meta writes it: of an impending change it is the category that the template still has';
COMMENT ON COLUMN whatsapp.template_category_updates.correct_category IS 'the category that it should have, and after an impending change will';
COMMENT ON COLUMN whatsapp.template_category_updates.takes_effect_at IS 'when an impending change will be made, if Meta tells it';
COMMENT ON COLUMN whatsapp.template_category_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.account_alerts WITH (security_invoker = true) AS
SELECT e.waba_id,
	coalesce(e.phone_number_id,
		CASE e.element #>> '{value,entity_type}' WHEN 'PHONE_NUMBER'
			THEN e.element #>> '{value,entity_id}' END) AS phone_number_id,
	e.at,
	e.element #>> '{value,entity_type}' AS entity_type,
	e.element #>> '{value,entity_id}' AS entity_id,
	e.element #>> '{value,alert_info,alert_severity}' AS alert_severity,
	e.element #>> '{value,alert_info,alert_status}' AS alert_status,
	e.element #>> '{value,alert_info,alert_type}' AS alert_type,
	e.element #>> '{value,alert_info,alert_description}' AS alert_description,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'account_alerts' AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.account_alerts IS 'what Meta warns of, or informs about: limits, official accounts, profile pictures';
COMMENT ON COLUMN whatsapp.account_alerts.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.account_alerts.phone_number_id IS 'our number, if it is about one';
COMMENT ON COLUMN whatsapp.account_alerts.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.account_alerts.entity_type IS 'what it is about: BUSINESS, PHONE_NUMBER or CURRENT_STATUS_ID (a business profile)';
COMMENT ON COLUMN whatsapp.account_alerts.entity_id IS 'id of that';
COMMENT ON COLUMN whatsapp.account_alerts.alert_severity IS 'CRITICAL, WARNING or INFORMATIONAL';
COMMENT ON COLUMN whatsapp.account_alerts.alert_status IS 'ACTIVE or NONE';
COMMENT ON COLUMN whatsapp.account_alerts.alert_type IS 'OBA_APPROVED, PROFILE_PICTURE_LOST and so on';
COMMENT ON COLUMN whatsapp.account_alerts.alert_description IS 'the same in words';
COMMENT ON COLUMN whatsapp.account_alerts.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.account_updates WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,event}' AS event,
	e.element #>> '{value,phone_number}' AS phone_number,
	e.element #>> '{value,country}' AS country,
	e.element #>> '{value,violation_info,violation_type}' AS violation_type,
	e.element #>> '{value,violation_info,remediation}' AS remediation,
	(SELECT array_agg(i ->> 'restriction_type')
		FROM jsonb_path_query(e.element, '$.value.restriction_info[*]') i) AS restriction_types,
	(SELECT array_agg(to_timestamp(CASE WHEN (i ->> 'expiration') ~ '^[0-9]{1,11}$' THEN (i ->> 'expiration')::double precision END))
		FROM jsonb_path_query(e.element, '$.value.restriction_info[*]') i) AS restriction_expirations,
	e.element #>> '{value,ban_info,waba_ban_state}' AS ban_state,
	e.element #>> '{value,ban_info,waba_ban_date}' AS ban_date,
	e.element #>> '{value,disconnection_info,reason}' AS disconnection_reason,
	e.element #>> '{value,disconnection_info,initiated_by}' AS disconnection_initiated_by,
	e.element #>> '{value,waba_info,waba_id}' AS customer_waba_id,
	e.element #>> '{value,waba_info,owner_business_id}' AS owner_business_id,
	e.element #>> '{value,waba_info,partner_app_id}' AS partner_app_id,
	e.element #>> '{value,waba_info,solution_id}' AS solution_id,
	(SELECT array_agg(i #>> '{}')
		FROM jsonb_path_query(e.element, '$.value.waba_info.solution_partner_business_ids[*]') i) AS solution_partner_business_ids,
	coalesce(e.element #>> '{value,waba_info,ad_account_linked}',
		e.element #>> '{value,waba_info,ad_account_id}') AS ad_account_id,
	coalesce(e.element #>> '{value,partner_client_certification_info,client_business_id}',
		e.element #>> '{value,partner_client_certification_needed_info,client_business_id}') AS client_business_id,
	e.element #>> '{value,partner_client_certification_info,status}' AS certification_status,
	(SELECT array_agg(i #>> '{}')
		FROM jsonb_path_query(e.element, '$.value.partner_client_certification_info.rejection_reasons[*]') i) AS rejection_reasons,
	to_timestamp(CASE WHEN (e.element #>> '{value,auth_international_rate_eligibility,start_time}') ~ '^[0-9]{1,11}$' THEN (e.element #>> '{value,auth_international_rate_eligibility,start_time}')::double precision END) AS rate_start_time,
	(SELECT array_agg(i ->> 'country_code')
		FROM jsonb_path_query(e.element, '$.value.auth_international_rate_eligibility.exception_countries[*]') i) AS exception_countries,
	(SELECT array_agg(to_timestamp(CASE WHEN (i ->> 'start_time') ~ '^[0-9]{1,11}$' THEN (i ->> 'start_time')::double precision END))
		FROM jsonb_path_query(e.element, '$.value.auth_international_rate_eligibility.exception_countries[*]') i) AS exception_start_times,
	e.element #>> '{value,volume_tier_info,pricing_category}' AS pricing_category,
	e.element #>> '{value,volume_tier_info,tier}' AS tier,
	e.element #>> '{value,volume_tier_info,effective_month}' AS effective_month,
	e.element #>> '{value,volume_tier_info,region}' AS region,
	to_timestamp(CASE WHEN (e.element #>> '{value,volume_tier_info,tier_update_time}') ~ '^[0-9]{1,11}$' THEN (e.element #>> '{value,volume_tier_info,tier_update_time}')::double precision END) AS tier_update_time,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'account_update' AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.account_updates IS 'what happens to accounts: violations, restrictions, bans, partners, prices';
COMMENT ON COLUMN whatsapp.account_updates.waba_id IS 'the WhatsApp Business Account; of events about partners and ads, the business portfolio of the partner';
COMMENT ON COLUMN whatsapp.account_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.account_updates.event IS 'ACCOUNT_RESTRICTION, DISABLED_UPDATE, PARTNER_ADDED and so on; it says which of the others are there';
COMMENT ON COLUMN whatsapp.account_updates.phone_number IS 'the phone number of ours that it is about';
COMMENT ON COLUMN whatsapp.account_updates.country IS 'of the business, in two letters';
COMMENT ON COLUMN whatsapp.account_updates.violation_type IS 'the policy that was violated, such as ADULT';
COMMENT ON COLUMN whatsapp.account_updates.remediation IS 'what to do about that';
COMMENT ON COLUMN whatsapp.account_updates.restriction_types IS 'what is not allowed any more, such as RESTRICTED_BIZ_INITIATED_MESSAGING';
COMMENT ON COLUMN whatsapp.account_updates.restriction_expirations IS 'until when, for each of these; NULL if Meta does not tell';
COMMENT ON COLUMN whatsapp.account_updates.ban_state IS 'DISABLE, REINSTATE or SCHEDULE_FOR_DISABLE';
COMMENT ON COLUMN whatsapp.account_updates.ban_date IS 'when, in words';
COMMENT ON COLUMN whatsapp.account_updates.disconnection_reason IS 'why a number was parted from the API: PRIMARY_INACTIVITY, ACCOUNT_DISCONNECTED and so on';
COMMENT ON COLUMN whatsapp.account_updates.disconnection_initiated_by IS 'USER or SYSTEM';
COMMENT ON COLUMN whatsapp.account_updates.customer_waba_id IS 'the customer''s WhatsApp Business Account, of events about partners and ads';
COMMENT ON COLUMN whatsapp.account_updates.owner_business_id IS 'the business portfolio that it belongs to';
COMMENT ON COLUMN whatsapp.account_updates.partner_app_id IS 'the app that was installed or uninstalled';
COMMENT ON COLUMN whatsapp.account_updates.solution_id IS 'the solution that partners share';
COMMENT ON COLUMN whatsapp.account_updates.solution_partner_business_ids IS 'and their business portfolios';
COMMENT ON COLUMN whatsapp.account_updates.ad_account_id IS 'the ad account that was linked';
COMMENT ON COLUMN whatsapp.account_updates.client_business_id IS 'the client''s business portfolio that is certified or has to be';
COMMENT ON COLUMN whatsapp.account_updates.certification_status IS 'APPROVED, PENDING, FAILED, DISCARDED or REVOKED';
COMMENT ON COLUMN whatsapp.account_updates.rejection_reasons IS 'why it was not certified';
COMMENT ON COLUMN whatsapp.account_updates.rate_start_time IS 'since when the rate for international authentication applies';
COMMENT ON COLUMN whatsapp.account_updates.exception_countries IS 'countries where it begins at another time';
COMMENT ON COLUMN whatsapp.account_updates.exception_start_times IS 'that time, for each of these';
COMMENT ON COLUMN whatsapp.account_updates.pricing_category IS 'the category of messages whose volume has reached another tier';
COMMENT ON COLUMN whatsapp.account_updates.tier IS 'that tier, as min:max';
COMMENT ON COLUMN whatsapp.account_updates.effective_month IS 'the month that it is for, such as 2026-11';
COMMENT ON COLUMN whatsapp.account_updates.region IS 'where the recipients are';
COMMENT ON COLUMN whatsapp.account_updates.tier_update_time IS 'since when; of several for one tier and month the earliest counts';
COMMENT ON COLUMN whatsapp.account_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.account_reviews WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,decision}' AS decision,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'account_review_update' AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.account_reviews IS 'what Meta has decided on accounts';
COMMENT ON COLUMN whatsapp.account_reviews.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.account_reviews.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.account_reviews.decision IS 'APPROVED, REJECTED, PENDING or DEFERRED';
COMMENT ON COLUMN whatsapp.account_reviews.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.business_capability_updates WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,max_daily_conversations_per_business}' AS max_daily_conversations_per_business,
	CASE WHEN v.per_phone ~ '^-?[0-9]{1,9}$' THEN v.per_phone::integer END AS max_daily_conversation_per_phone,
	CASE WHEN v.per_business ~ '^-?[0-9]{1,9}$' THEN v.per_business::integer END AS max_phone_numbers_per_business,
	CASE WHEN v.per_waba ~ '^-?[0-9]{1,9}$' THEN v.per_waba::integer END AS max_phone_numbers_per_waba,
	e.received_at
FROM whatsapp.events e
CROSS JOIN LATERAL (VALUES (
	e.element #>> '{value,max_daily_conversation_per_phone}',
	e.element #>> '{value,max_phone_numbers_per_business}',
	e.element #>> '{value,max_phone_numbers_per_waba}'
)) v (per_phone, per_business, per_waba)
WHERE e.field = 'business_capability_update' AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.business_capability_updates IS 'how much a business may do, when that has changed';
COMMENT ON COLUMN whatsapp.business_capability_updates.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.business_capability_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.business_capability_updates.max_daily_conversations_per_business IS 'how many people may be written to first in 24 hours: a number, of which -1 is without limit, or a tier such as TIER_250';
COMMENT ON COLUMN whatsapp.business_capability_updates.max_daily_conversation_per_phone IS 'the same for each number, as it was told until 2026';
COMMENT ON COLUMN whatsapp.business_capability_updates.max_phone_numbers_per_business IS 'how many numbers the business may have';
COMMENT ON COLUMN whatsapp.business_capability_updates.max_phone_numbers_per_waba IS 'how many numbers the account may have';
COMMENT ON COLUMN whatsapp.business_capability_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.phone_number_quality_updates WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,display_phone_number}' AS display_phone_number,
	e.element #>> '{value,event}' AS event,
	e.element #>> '{value,old_limit}' AS old_limit,
	e.element #>> '{value,current_limit}' AS current_limit,
	e.element #>> '{value,max_daily_conversations_per_business}' AS max_daily_conversations_per_business,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'phone_number_quality_update' AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.phone_number_quality_updates IS 'limits of numbers, when they have changed';
COMMENT ON COLUMN whatsapp.phone_number_quality_updates.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.phone_number_quality_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.phone_number_quality_updates.display_phone_number IS 'our number, as people read it; Meta does not tell its id';
COMMENT ON COLUMN whatsapp.phone_number_quality_updates.event IS 'ONBOARDING, THROUGHPUT_UPGRADE, UPGRADE, DOWNGRADE, FLAGGED or UNFLAGGED';
COMMENT ON COLUMN whatsapp.phone_number_quality_updates.old_limit IS 'a tier such as TIER_1K, before';
COMMENT ON COLUMN whatsapp.phone_number_quality_updates.current_limit IS 'and now; both as they were told until 2026';
COMMENT ON COLUMN whatsapp.phone_number_quality_updates.max_daily_conversations_per_business IS 'how many people may be written to first in 24 hours, as a tier';
COMMENT ON COLUMN whatsapp.phone_number_quality_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.phone_number_name_updates WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,display_phone_number}' AS display_phone_number,
	e.element #>> '{value,decision}' AS decision,
	e.element #>> '{value,requested_verified_name}' AS requested_verified_name,
	e.element #>> '{value,rejection_reason}' AS rejection_reason,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'phone_number_name_update' AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.phone_number_name_updates IS 'what Meta has decided on names of numbers';
COMMENT ON COLUMN whatsapp.phone_number_name_updates.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.phone_number_name_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.phone_number_name_updates.display_phone_number IS 'our number, as people read it; Meta does not tell its id';
COMMENT ON COLUMN whatsapp.phone_number_name_updates.decision IS 'APPROVED, REJECTED, PENDING or DEFERRED';
COMMENT ON COLUMN whatsapp.phone_number_name_updates.requested_verified_name IS 'the name';
COMMENT ON COLUMN whatsapp.phone_number_name_updates.rejection_reason IS 'why it was rejected, such as NAME_FORMAT_UNACCEPTABLE';
COMMENT ON COLUMN whatsapp.phone_number_name_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.business_username_updates WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,display_phone_number}' AS display_phone_number,
	e.element #>> '{value,username}' AS username,
	e.element #>> '{value,status}' AS status,
	e.element #>> '{value,context}' AS context,
	e.received_at
FROM whatsapp.events e
WHERE e.field IN ('business_username_updates', 'business_username_update', 'phone_number_username_update') AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.business_username_updates IS 'usernames of our numbers, when they have changed';
COMMENT ON COLUMN whatsapp.business_username_updates.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.business_username_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.business_username_updates.display_phone_number IS 'our number, as people read it; Meta does not tell its id';
COMMENT ON COLUMN whatsapp.business_username_updates.username IS 'the username, without @; NULL once it has been deleted';
COMMENT ON COLUMN whatsapp.business_username_updates.status IS 'approved, reserved or deleted';
COMMENT ON COLUMN whatsapp.business_username_updates.context IS 'revoked, if Meta has taken it away';
COMMENT ON COLUMN whatsapp.business_username_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.security_events WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,display_phone_number}' AS display_phone_number,
	e.element #>> '{value,event}' AS event,
	e.element #>> '{value,requester}' AS requester,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'security' AND e.element ? 'value' AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.security_events IS 'what was done about the PIN of numbers';
COMMENT ON COLUMN whatsapp.security_events.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.security_events.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.security_events.display_phone_number IS 'our number, as people read it; Meta does not tell its id';
COMMENT ON COLUMN whatsapp.security_events.event IS 'PIN_CHANGED, PIN_RESET_REQUEST or PIN_REQUEST_SUCCESS';
COMMENT ON COLUMN whatsapp.security_events.requester IS 'who wants it reset: a user of Meta Business Suite';
COMMENT ON COLUMN whatsapp.security_events.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.account_settings_updates WITH (security_invoker = true) AS
SELECT e.waba_id,
	coalesce(e.phone_number_id, e.element #>> '{value,phone_number_settings,phone_number_id}') AS phone_number_id,
	e.at,
	upper(e.element #>> '{value,type}') AS type,
	e.element #>> '{value,phone_number_settings,calling,status}' AS calling_status,
	e.element #>> '{value,phone_number_settings,calling,call_icon_visibility}' AS call_icon_visibility,
	e.element #>> '{value,phone_number_settings,calling,callback_permission_status}' AS callback_permission_status,
	e.element #>> '{value,phone_number_settings,calling,call_hours,status}' AS call_hours_status,
	e.element #>> '{value,phone_number_settings,calling,call_hours,timezone_id}' AS timezone_id,
	e.element #>> '{value,phone_number_settings,calling,sip,status}' AS sip_status,
	e.element #>> '{value,phone_number_settings,calling,srtp_key_exchange_protocol}' AS srtp_key_exchange_protocol,
	nullif(e.element #> '{value,phone_number_settings,calling}', 'null') AS calling,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'account_settings_update' AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.account_settings_updates IS 'settings of numbers, when they have changed';
COMMENT ON COLUMN whatsapp.account_settings_updates.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.account_settings_updates.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.account_settings_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.account_settings_updates.type IS 'what kind of settings, in capitals: PHONE_NUMBER_SETTINGS';
COMMENT ON COLUMN whatsapp.account_settings_updates.calling_status IS 'whether calls are ENABLED or DISABLED';
COMMENT ON COLUMN whatsapp.account_settings_updates.call_icon_visibility IS 'where the button to call is shown';
COMMENT ON COLUMN whatsapp.account_settings_updates.callback_permission_status IS 'whether a call gives the permission to call back';
COMMENT ON COLUMN whatsapp.account_settings_updates.call_hours_status IS 'whether there are hours for calls';
COMMENT ON COLUMN whatsapp.account_settings_updates.timezone_id IS 'the time zone of these hours';
COMMENT ON COLUMN whatsapp.account_settings_updates.sip_status IS 'whether calls come by SIP';
COMMENT ON COLUMN whatsapp.account_settings_updates.srtp_key_exchange_protocol IS 'how calls are encrypted: DTLS or SDES';
COMMENT ON COLUMN whatsapp.account_settings_updates.calling IS 'all settings of calls, as JSON';
COMMENT ON COLUMN whatsapp.account_settings_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.flow_events WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,event}' AS event,
	e.element #>> '{value,flow_id}' AS flow_id,
	e.element #>> '{value,message}' AS message,
	e.element #>> '{value,old_status}' AS old_status,
	e.element #>> '{value,new_status}' AS new_status,
	e.element #>> '{value,alert_state}' AS alert_state,
	CASE WHEN v.threshold ~ '^-?[0-9]{1,30}(\.[0-9]{1,30})?$' THEN v.threshold::numeric END AS threshold,
	CASE WHEN v.error_rate ~ '^-?[0-9]{1,30}(\.[0-9]{1,30})?$' THEN v.error_rate::numeric END AS error_rate,
	CASE WHEN v.availability ~ '^-?[0-9]{1,30}(\.[0-9]{1,30})?$' THEN v.availability::numeric END AS availability,
	CASE WHEN v.p50_latency ~ '^-?[0-9]{1,30}(\.[0-9]{1,30})?$' THEN v.p50_latency::numeric END AS p50_latency,
	CASE WHEN v.p90_latency ~ '^-?[0-9]{1,30}(\.[0-9]{1,30})?$' THEN v.p90_latency::numeric END AS p90_latency,
	CASE WHEN v.requests_count ~ '^[0-9]{1,18}$' THEN v.requests_count::bigint END AS requests_count,
	nullif(e.element #> '{value,errors}', 'null') AS errors,
	e.element #>> '{value,warning}' AS warning,
	e.received_at
FROM whatsapp.events e
CROSS JOIN LATERAL (VALUES (
	e.element #>> '{value,threshold}',
	e.element #>> '{value,error_rate}',
	e.element #>> '{value,availability}',
	e.element #>> '{value,p50_latency}',
	e.element #>> '{value,p90_latency}',
	e.element #>> '{value,requests_count}'
)) v (threshold, error_rate, availability, p50_latency, p90_latency, requests_count)
WHERE e.field = 'flows' AND e.element ? 'value' AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.flow_events IS 'how flows do: changes of state, errors, slow endpoints';
COMMENT ON COLUMN whatsapp.flow_events.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.flow_events.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.flow_events.event IS 'FLOW_STATUS_CHANGE, CLIENT_ERROR_RATE, ENDPOINT_ERROR_RATE, ENDPOINT_LATENCY, ENDPOINT_AVAILABILITY or FLOW_VERSION_EXPIRY_WARNING';
COMMENT ON COLUMN whatsapp.flow_events.flow_id IS 'Meta''s id of the flow';
COMMENT ON COLUMN whatsapp.flow_events.message IS 'what has happened, in words';
COMMENT ON COLUMN whatsapp.flow_events.old_status IS 'DRAFT, PUBLISHED, DEPRECATED, BLOCKED or THROTTLED, before; NULL if it is new';
COMMENT ON COLUMN whatsapp.flow_events.new_status IS 'and now';
COMMENT ON COLUMN whatsapp.flow_events.alert_state IS 'of an alert, ACTIVATED or DEACTIVATED';
COMMENT ON COLUMN whatsapp.flow_events.threshold IS 'from where on there is an alert';
COMMENT ON COLUMN whatsapp.flow_events.error_rate IS 'how many requests fail, of a hundred';
COMMENT ON COLUMN whatsapp.flow_events.availability IS 'how often the endpoint is there, of a hundred';
COMMENT ON COLUMN whatsapp.flow_events.p50_latency IS 'how long half of the requests take at most, in milliseconds';
COMMENT ON COLUMN whatsapp.flow_events.p90_latency IS 'and nine of ten';
COMMENT ON COLUMN whatsapp.flow_events.requests_count IS 'how many requests that was found from';
COMMENT ON COLUMN whatsapp.flow_events.errors IS 'each error with its rate, as JSON';
COMMENT ON COLUMN whatsapp.flow_events.warning IS 'that a version is about to expire, in words';
COMMENT ON COLUMN whatsapp.flow_events.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.partner_solution_updates WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,event}' AS event,
	e.element #>> '{value,solution_id}' AS solution_id,
	e.element #>> '{value,solution_status}' AS solution_status,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'partner_solutions' AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.partner_solution_updates IS 'solutions that partners share, when they have changed';
COMMENT ON COLUMN whatsapp.partner_solution_updates.waba_id IS 'the business portfolio, which Meta has here instead of an account';
COMMENT ON COLUMN whatsapp.partner_solution_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.partner_solution_updates.event IS 'SOLUTION_CREATED or SOLUTION_UPDATED';
COMMENT ON COLUMN whatsapp.partner_solution_updates.solution_id IS 'Meta''s id of the solution';
COMMENT ON COLUMN whatsapp.partner_solution_updates.solution_status IS 'INITIATED, DRAFT, ACTIVE, PENDING_DEACTIVATION, DEACTIVATED or REJECTED';
COMMENT ON COLUMN whatsapp.partner_solution_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.payment_configuration_updates WITH (security_invoker = true) AS
SELECT e.waba_id, e.at,
	e.element #>> '{value,configuration_name}' AS configuration_name,
	e.element #>> '{value,provider_name}' AS provider_name,
	e.element #>> '{value,provider_mid}' AS provider_mid,
	e.element #>> '{value,status}' AS status,
	to_timestamp(CASE WHEN (e.element #>> '{value,created_timestamp}') ~ '^[0-9]{1,11}$' THEN (e.element #>> '{value,created_timestamp}')::double precision END) AS created_at,
	to_timestamp(CASE WHEN (e.element #>> '{value,updated_timestamp}') ~ '^[0-9]{1,11}$' THEN (e.element #>> '{value,updated_timestamp}')::double precision END) AS updated_at,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'payment_configuration_update' AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.payment_configuration_updates IS 'how payments are set up, when that has changed';
COMMENT ON COLUMN whatsapp.payment_configuration_updates.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.payment_configuration_updates.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.payment_configuration_updates.configuration_name IS 'the name of the configuration';
COMMENT ON COLUMN whatsapp.payment_configuration_updates.provider_name IS 'who takes the payments: billdesk, payu, razorpay or zaakpay';
COMMENT ON COLUMN whatsapp.payment_configuration_updates.provider_mid IS 'our account there';
COMMENT ON COLUMN whatsapp.payment_configuration_updates.status IS 'Active, Needs Connecting or Needs Testing';
COMMENT ON COLUMN whatsapp.payment_configuration_updates.created_at IS 'when it was created';
COMMENT ON COLUMN whatsapp.payment_configuration_updates.updated_at IS 'when it was changed';
COMMENT ON COLUMN whatsapp.payment_configuration_updates.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.handovers WITH (security_invoker = true) AS
SELECT e.waba_id,
	coalesce(e.phone_number_id, e.element #>> '{value,recipient,phone_number_id}') AS phone_number_id,
	e.at,
	e.element #>> '{value,sender,phone_number}' AS phone_number,
	e.element #>> '{value,type}' AS event,
	c.control ->> 'previous_owner_role' AS previous_owner_role,
	c.control ->> 'previous_owner_app_id' AS previous_owner_app_id,
	c.control ->> 'new_owner_role' AS new_owner_role,
	c.control ->> 'new_owner_app_id' AS new_owner_app_id,
	c.control ->> 'metadata' AS metadata,
	c.control #>> '{conversation_context,summary,text}' AS summary,
	e.received_at
FROM whatsapp.events e
CROSS JOIN LATERAL (VALUES (
	e.element -> 'value' -> (e.element #>> '{value,type}')
)) c (control)
WHERE e.field = 'messaging_handovers' AND e.element ? 'value'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.handovers IS 'conversations that went over to us, or from us, where several apps answer';
COMMENT ON COLUMN whatsapp.handovers.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.handovers.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.handovers.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.handovers.phone_number IS 'the phone number of the person, if Meta tells it';
COMMENT ON COLUMN whatsapp.handovers.event IS 'control_passed, if it is ours now, or control_taken, if it is not any more';
COMMENT ON COLUMN whatsapp.handovers.previous_owner_role IS 'who had it: customer_service, marketing, utility, ctwa, ai_agent or escalation';
COMMENT ON COLUMN whatsapp.handovers.previous_owner_app_id IS 'and the app';
COMMENT ON COLUMN whatsapp.handovers.new_owner_role IS 'who has it now';
COMMENT ON COLUMN whatsapp.handovers.new_owner_app_id IS 'and the app';
COMMENT ON COLUMN whatsapp.handovers.metadata IS 'what was said along with it: text, or JSON in text';
COMMENT ON COLUMN whatsapp.handovers.summary IS 'what the conversation was about, as a machine puts it';
COMMENT ON COLUMN whatsapp.handovers.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.automatic_events WITH (security_invoker = true) AS
SELECT e.waba_id, e.phone_number_id, e.at,
	e.element ->> 'id' AS message_id,
	e.element ->> 'event_name' AS event_name,
	e.element ->> 'ctwa_clid' AS ctwa_clid,
	CASE WHEN v.value ~ '^-?[0-9]{1,30}(\.[0-9]{1,30})?$' THEN v.value::numeric END AS value,
	e.element #>> '{custom_data,currency}' AS currency,
	e.received_at
FROM whatsapp.events e
CROSS JOIN LATERAL (VALUES (e.element #>> '{custom_data,value}')) v (value)
WHERE e.field = 'automatic_events' AND NOT e.element ? 'field'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.automatic_events IS 'leads and purchases that Meta has found in conversations that came from ads';
COMMENT ON COLUMN whatsapp.automatic_events.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.automatic_events.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.automatic_events.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.automatic_events.message_id IS 'the message (wamid) in which';
COMMENT ON COLUMN whatsapp.automatic_events.event_name IS 'LeadSubmitted or Purchase';
COMMENT ON COLUMN whatsapp.automatic_events.ctwa_clid IS 'the click on an ad that it came from';
COMMENT ON COLUMN whatsapp.automatic_events.value IS 'of a purchase, how much, as Meta writes it';
COMMENT ON COLUMN whatsapp.automatic_events.currency IS 'of which currency, such as EUR';
COMMENT ON COLUMN whatsapp.automatic_events.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.user_actions WITH (security_invoker = true) AS
SELECT e.waba_id, e.phone_number_id, e.at,
	e.element ->> 'action_type' AS action_type,
	e.element #>> '{marketing_messages_link_click_data,click_component}' AS click_component,
	e.element #>> '{marketing_messages_link_click_data,product_id}' AS product_id,
	e.element #>> '{marketing_messages_link_click_data,click_id}' AS click_id,
	e.element #>> '{marketing_messages_link_click_data,tracking_token}' AS tracking_token,
	e.received_at
FROM whatsapp.events e
WHERE e.event = e.element ->> 'action_type' AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.user_actions IS 'what people did with marketing messages, such as following a link; Meta does not tell who it was';
COMMENT ON COLUMN whatsapp.user_actions.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.user_actions.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.user_actions.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.user_actions.action_type IS 'marketing_messages_link_click or landing_page_view';
COMMENT ON COLUMN whatsapp.user_actions.click_component IS 'where the link was: cta or body';
COMMENT ON COLUMN whatsapp.user_actions.product_id IS 'the product it was for';
COMMENT ON COLUMN whatsapp.user_actions.click_id IS 'the same for a click and what follows from it';
COMMENT ON COLUMN whatsapp.user_actions.tracking_token IS 'likewise; of the two, either may be missing';
COMMENT ON COLUMN whatsapp.user_actions.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.tracking_events WITH (security_invoker = true) AS
SELECT e.waba_id, e.phone_number_id, e.at,
	e.element ->> 'event_name' AS event_name,
	e.element #>> '{tracking_data,click_id}' AS click_id,
	e.element #>> '{tracking_data,tracking_token}' AS tracking_token,
	e.received_at
FROM whatsapp.events e
WHERE e.field = 'tracking_events' AND NOT e.element ? 'field'
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.tracking_events IS 'deliveries of marketing messages, for tracking';
COMMENT ON COLUMN whatsapp.tracking_events.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.tracking_events.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.tracking_events.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.tracking_events.event_name IS 'what has happened, such as sent';
COMMENT ON COLUMN whatsapp.tracking_events.click_id IS 'see whatsapp.user_actions';
COMMENT ON COLUMN whatsapp.tracking_events.tracking_token IS 'see whatsapp.user_actions';
COMMENT ON COLUMN whatsapp.tracking_events.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.webhook_errors WITH (security_invoker = true) AS
SELECT e.waba_id, e.phone_number_id, e.field, e.at,
	CASE WHEN v.code ~ '^-?[0-9]{1,9}$' THEN v.code::integer END AS code,
	e.element ->> 'title' AS title,
	e.element ->> 'message' AS message,
	coalesce(e.element #>> '{error_data,details}', e.element ->> 'details') AS details,
	e.element ->> 'href' AS href,
	e.received_at
FROM whatsapp.events e
CROSS JOIN LATERAL (VALUES (e.element ->> 'code')) v (code)
WHERE e.event = v.code AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.webhook_errors IS 'errors that Meta tells of, but for those of a message, a status, a call or a group, which are with these';
COMMENT ON COLUMN whatsapp.webhook_errors.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.webhook_errors.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.webhook_errors.field IS 'the webhook field that it came in';
COMMENT ON COLUMN whatsapp.webhook_errors.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.webhook_errors.code IS 'Meta''s code of it, such as 130429';
COMMENT ON COLUMN whatsapp.webhook_errors.title IS 'what it is called';
COMMENT ON COLUMN whatsapp.webhook_errors.message IS 'the same, mostly';
COMMENT ON COLUMN whatsapp.webhook_errors.details IS 'what it is about, in words';
COMMENT ON COLUMN whatsapp.webhook_errors.href IS 'where Meta explains it';
COMMENT ON COLUMN whatsapp.webhook_errors.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.history_chunks WITH (security_invoker = true) AS
SELECT e.waba_id, e.phone_number_id, e.at,
	CASE WHEN v.phase ~ '^-?[0-9]{1,9}$' THEN v.phase::integer END AS phase,
	CASE WHEN v.chunk_order ~ '^-?[0-9]{1,9}$' THEN v.chunk_order::integer END AS chunk_order,
	CASE WHEN v.progress ~ '^-?[0-9]{1,9}$' THEN v.progress::integer END AS progress,
	coalesce(e.event = '2593109', false) AS declined,
	CASE WHEN v.code ~ '^-?[0-9]{1,9}$' THEN v.code::integer END AS error_code,
	e.received_at
FROM whatsapp.events e
CROSS JOIN LATERAL (VALUES (
	e.element ->> 'phase',
	e.element ->> 'chunk_order',
	e.element ->> 'progress',
	e.element ->> 'code'
)) v (phase, chunk_order, progress, code)
WHERE e.field = 'history' AND NOT e.element ? 'field' AND (e.event = 'chunk' OR e.event = v.code)
	AND coalesce(e.event, '') NOT IN ('superseded', 'seen');
COMMENT ON VIEW whatsapp.history_chunks IS 'how far the history of a number has come that is also used with the WhatsApp Business app; the messages are in whatsapp.messages';
COMMENT ON COLUMN whatsapp.history_chunks.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.history_chunks.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.history_chunks.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.history_chunks.phase IS '0 for the last day, 1 for the last 90 days, 2 for the last 180';
COMMENT ON COLUMN whatsapp.history_chunks.chunk_order IS 'which part of the phase it is; they come in any order';
COMMENT ON COLUMN whatsapp.history_chunks.progress IS 'how much of the history has come, of a hundred';
COMMENT ON COLUMN whatsapp.history_chunks.declined IS 'true if the business does not share its history: then there is no chunk, but an error';
COMMENT ON COLUMN whatsapp.history_chunks.error_code IS 'code of that error, or of another; see whatsapp.webhook_errors';
COMMENT ON COLUMN whatsapp.history_chunks.received_at IS 'when it came to be here';

-- A contact of the address book is known by either id; so what came later of
-- any of the two is the news of it.
CREATE VIEW whatsapp.business_app_contacts WITH (security_invoker = true) AS
WITH news AS (
	SELECT e.waba_id, e.phone_number_id, e.at, e.received_at,
		(coalesce(e.at, '-infinity'), e.element ->> 'action' IS NOT DISTINCT FROM 'remove', e.event_id) AS age,
		e.element ->> 'action' AS action,
		nullif(e.element #>> '{contact,user_id}', '') AS user_id,
		e.element #>> '{contact,parent_user_id}' AS parent_user_id,
		nullif(e.element #>> '{contact,phone_number}', '') AS phone_number,
		e.element #>> '{contact,username}' AS username,
		e.element #>> '{contact,full_name}' AS full_name,
		e.element #>> '{contact,first_name}' AS first_name
	FROM whatsapp.events e
	WHERE e.field = 'smb_app_state_sync' AND NOT e.element ? 'field'
		AND coalesce(e.event, '') NOT IN ('superseded', 'seen')
)
SELECT n.waba_id, n.phone_number_id, n.at, n.user_id, n.parent_user_id, n.phone_number,
	n.username, n.full_name, n.first_name, n.received_at
FROM news n
WHERE n.action IS DISTINCT FROM 'remove'
	AND (n.user_id IS NOT NULL OR n.phone_number IS NOT NULL)
	AND NOT EXISTS (
		SELECT FROM news l
		WHERE l.phone_number_id IS NOT DISTINCT FROM n.phone_number_id
			AND l.user_id = n.user_id AND l.age > n.age)
	AND NOT EXISTS (
		SELECT FROM news l
		WHERE l.phone_number_id IS NOT DISTINCT FROM n.phone_number_id
			AND l.phone_number = n.phone_number AND l.age > n.age);
COMMENT ON VIEW whatsapp.business_app_contacts IS 'the address book of the WhatsApp Business app, as it is now, for numbers that are used with it, too';
COMMENT ON COLUMN whatsapp.business_app_contacts.waba_id IS 'the WhatsApp Business Account';
COMMENT ON COLUMN whatsapp.business_app_contacts.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.business_app_contacts.at IS 'when it was added or edited, as Meta tells it';
COMMENT ON COLUMN whatsapp.business_app_contacts.user_id IS 'BSUID, if it came along';
COMMENT ON COLUMN whatsapp.business_app_contacts.parent_user_id IS 'parent BSUID, if it came along';
COMMENT ON COLUMN whatsapp.business_app_contacts.phone_number IS 'phone number, in digits, if it came along';
COMMENT ON COLUMN whatsapp.business_app_contacts.username IS 'username, without @';
COMMENT ON COLUMN whatsapp.business_app_contacts.full_name IS 'the name, as it is in the address book';
COMMENT ON COLUMN whatsapp.business_app_contacts.first_name IS 'the first name there';
COMMENT ON COLUMN whatsapp.business_app_contacts.received_at IS 'when it came to be here';

CREATE VIEW whatsapp.payments WITH (security_invoker = true) AS
SELECT s.phone_number_id, s.message_id, s.at, s.status, s.wa_id, s.user_id,
	s.element #>> '{payment,reference_id}' AS reference_id,
	CASE
		WHEN v.value ~ '^-?[0-9]{1,15}(\.[0-9]{1,9})?$' AND v.divisor ~ '^[0-9]{1,9}$'
		THEN trim_scale(v.value::numeric / nullif(v.divisor::numeric, 0))
	END AS amount,
	s.element #>> '{payment,currency}' AS currency,
	s.element #>> '{payment,transaction,id}' AS transaction_id,
	s.element #>> '{payment,transaction,pg_transaction_id}' AS pg_transaction_id,
	s.element #>> '{payment,transaction,type}' AS transaction_type,
	s.element #>> '{payment,transaction,status}' AS transaction_status,
	s.element #>> '{payment,transaction,method,type}' AS method,
	s.element #>> '{payment,transaction,error,code}' AS error_code,
	s.element #>> '{payment,transaction,error,reason}' AS error_reason,
	to_timestamp(CASE WHEN (s.element #>> '{payment,transaction,created_timestamp}') ~ '^[0-9]{1,11}$' THEN (s.element #>> '{payment,transaction,created_timestamp}')::double precision END) AS created_at,
	to_timestamp(CASE WHEN (s.element #>> '{payment,transaction,updated_timestamp}') ~ '^[0-9]{1,11}$' THEN (s.element #>> '{payment,transaction,updated_timestamp}')::double precision END) AS updated_at,
	nullif(coalesce(s.element #> '{payment,refunds}',
		s.element #> '{payment,transaction,refunds}'), 'null') AS refunds,
	s.received_at
FROM whatsapp.statuses s
CROSS JOIN LATERAL (VALUES (
	s.element #>> '{payment,amount,value}',
	s.element #>> '{payment,amount,offset}'
)) v (value, divisor)
WHERE s.element ->> 'type' = 'payment';
COMMENT ON VIEW whatsapp.payments IS 'what Meta told about payments; whether one was made is for the payment provider to say';
COMMENT ON COLUMN whatsapp.payments.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.payments.message_id IS 'Meta''s id of what it told';
COMMENT ON COLUMN whatsapp.payments.at IS 'when, as Meta tells it';
COMMENT ON COLUMN whatsapp.payments.status IS 'pending or captured';
COMMENT ON COLUMN whatsapp.payments.wa_id IS 'WhatsApp id of who pays';
COMMENT ON COLUMN whatsapp.payments.user_id IS 'BSUID of who pays';
COMMENT ON COLUMN whatsapp.payments.reference_id IS 'what was given to the order as its id';
COMMENT ON COLUMN whatsapp.payments.amount IS 'how much, in units of the currency';
COMMENT ON COLUMN whatsapp.payments.currency IS 'of which currency, such as INR';
COMMENT ON COLUMN whatsapp.payments.transaction_id IS 'id of the transaction; one that has failed may be followed by another';
COMMENT ON COLUMN whatsapp.payments.pg_transaction_id IS 'id that the payment provider has given it';
COMMENT ON COLUMN whatsapp.payments.transaction_type IS 'the payment provider: billdesk, payu, razorpay or zaakpay';
COMMENT ON COLUMN whatsapp.payments.transaction_status IS 'pending, success or failed';
COMMENT ON COLUMN whatsapp.payments.method IS 'upi, card, wallet or netbanking';
COMMENT ON COLUMN whatsapp.payments.error_code IS 'why it failed, in a word';
COMMENT ON COLUMN whatsapp.payments.error_reason IS 'and in words';
COMMENT ON COLUMN whatsapp.payments.created_at IS 'when the transaction began';
COMMENT ON COLUMN whatsapp.payments.updated_at IS 'when it changed';
COMMENT ON COLUMN whatsapp.payments.refunds IS 'what was paid back, as JSON';
COMMENT ON COLUMN whatsapp.payments.received_at IS 'when it came to be here';

-- Functions of the user's, called for what webhooks bring.  Triggers would do
-- the same, but those on an extension's tables are not dumped.

CREATE TABLE whatsapp.hooks (
	event text NOT NULL,
	function text NOT NULL,
	added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (event, function)
);
COMMENT ON TABLE whatsapp.hooks IS 'functions that are called for what webhooks bring; see whatsapp.add_hook()';
COMMENT ON COLUMN whatsapp.hooks.event IS 'what it is called for';
COMMENT ON COLUMN whatsapp.hooks.function IS 'the function, with its schema, quoted as SQL needs it';
COMMENT ON COLUMN whatsapp.hooks.added_at IS 'those of one event are called in this order';

CREATE FUNCTION whatsapp.hooks_changed() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'whatsapp_hooks_changed';
COMMENT ON FUNCTION whatsapp.hooks_changed() IS 'has all sessions read whatsapp.hooks again';

-- for each row, as they may come by logical replication
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON whatsapp.hooks
	FOR EACH ROW EXECUTE FUNCTION whatsapp.hooks_changed();
ALTER TABLE whatsapp.hooks ENABLE ALWAYS TRIGGER changed;
COMMENT ON TRIGGER changed ON whatsapp.hooks IS 'has all sessions read it again';

CREATE TRIGGER emptied AFTER TRUNCATE ON whatsapp.hooks
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.hooks_changed();
ALTER TABLE whatsapp.hooks ENABLE ALWAYS TRIGGER emptied;
COMMENT ON TRIGGER emptied ON whatsapp.hooks IS 'has all sessions read it again';

CREATE FUNCTION whatsapp.hook_argument(event text) RETURNS regtype
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE event
	WHEN 'message' THEN 'whatsapp.messages'
	WHEN 'message_content' THEN 'whatsapp.messages'
	WHEN 'status' THEN 'whatsapp.statuses'
	WHEN 'reaction' THEN 'whatsapp.reactions'
	WHEN 'media' THEN 'whatsapp.media'
	WHEN 'call' THEN 'whatsapp.call_events'
	WHEN 'group' THEN 'whatsapp.groups'
	WHEN 'group_participant' THEN 'whatsapp.group_participants'
	WHEN 'template' THEN 'whatsapp.templates'
	WHEN 'user_preference' THEN 'whatsapp.user_preferences'
	WHEN 'event' THEN 'whatsapp.events'
END::regtype;
COMMENT ON FUNCTION whatsapp.hook_argument(text) IS 'the rows that hooks for an event are called with; NULL if there is no such event';

CREATE FUNCTION whatsapp.may_be_hook(function regprocedure) RETURNS boolean
LANGUAGE c STABLE STRICT
AS 'MODULE_PATHNAME', 'whatsapp_may_be_hook';
COMMENT ON FUNCTION whatsapp.may_be_hook(regprocedure) IS 'whether a function may be called with the privileges of the extension''s owner: it belongs to the owner, or to a superuser';

CREATE FUNCTION whatsapp.add_hook(event text, function text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	argument regtype := whatsapp.hook_argument(add_hook.event);
	name text[];
	quoted text;
BEGIN
	IF argument IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('there are no hooks for "%s"', add_hook.event),
			HINT = 'Take message, message_content, status, reaction, media, call, group, group_participant, template, user_preference or event.';
	END IF;

	name := parse_ident(add_hook.function);
	IF cardinality(name) <> 2 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_name',
			MESSAGE = format('hook "%s" is not a schema and a function', add_hook.function),
			HINT = 'Write the schema and the name of the function, with a dot between them and nothing after.';
	END IF;
	quoted := format('%I.%I', name[1], name[2]);
	IF NOT EXISTS (SELECT FROM pg_proc p
		WHERE p.oid = to_regprocedure(format('%s(%s)', quoted, argument)) AND p.prokind = 'f')
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_function',
			MESSAGE = format('function %s(%s) does not exist', quoted, argument),
			HINT = format('A hook for "%s" is a function of one %s.', add_hook.event, argument);
	END IF;

	IF NOT whatsapp.may_be_hook(to_regprocedure(format('%s(%s)', quoted, argument))) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = format('function %s(%s) cannot be a hook', quoted, argument),
			DETAIL = 'It runs with the privileges of the extension''s owner, and belongs to another role.',
			HINT = 'Have the extension''s owner, or a superuser, own it.';
	END IF;

	INSERT INTO whatsapp.hooks (event, function)
	VALUES (add_hook.event, quoted)
	ON CONFLICT DO NOTHING;
END $$;
COMMENT ON FUNCTION whatsapp.add_hook(text, text) IS 'has a function called for each new row of a kind that webhooks bring, in their transaction: for message, status, reaction, media, call, group, group_participant, template, user_preference or event, with that row as its argument; states such as reactions are new whenever they change. message_content is for messages whose content came after a placeholder. The function is named with its schema and runs as the extension''s owner, to whom, or to a superuser, it must belong; when it raises an error, what it was called for is parked, see whatsapp.replay()';

CREATE FUNCTION whatsapp.remove_hook(event text, function text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name text[] := parse_ident(remove_hook.function);
BEGIN
	DELETE FROM whatsapp.hooks h
	WHERE h.event = remove_hook.event
		AND h.function = (SELECT string_agg(quote_ident(n.word), '.' ORDER BY n.ord)
			FROM unnest(name) WITH ORDINALITY n (word, ord));
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('%s is no hook for "%s"', remove_hook.function, remove_hook.event),
			HINT = 'whatsapp.hooks lists all hooks.';
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.remove_hook(text, text) IS 'has a function no longer called; error 42704 if it was not';

------------------------------------------------------------------------------
-- 3. People and conversations
--
-- A BSUID is of one person, for good.  A phone number is of one person at a
-- time: when they change it, or somebody else has it, a tenure of it ends and
-- another begins.  A person is what is connected by
--
-- - a BSUID having come along with a phone number, during a tenure of it;
-- - Meta telling that one has become another (whatsapp.contact_changes);
-- - two forms of one phone number.
--
-- All of it is found out when somebody asks, from facts that are the same in
-- whatever order they have come.  A person goes by the newest BSUID, or by the
-- phone number if no BSUID is known.
------------------------------------------------------------------------------

CREATE FUNCTION whatsapp.other_form(wa_id text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN wa_id !~ '^5[245]' THEN NULL
	-- Brazil: mobile numbers got a 9 after the area code
	WHEN wa_id ~ '^55[1-9][0-9]9[6-9][0-9]{7}$' THEN left(wa_id, 4) || substr(wa_id, 6)
	WHEN wa_id ~ '^55[1-9][0-9][6-9][0-9]{7}$' THEN left(wa_id, 4) || '9' || substr(wa_id, 5)
	-- Mexico: mobile numbers had a 1 after the country code
	WHEN wa_id ~ '^521[2-9][0-9]{9}$' THEN '52' || substr(wa_id, 4)
	WHEN wa_id ~ '^52[2-9][0-9]{9}$' THEN '521' || substr(wa_id, 3)
	-- Argentina: mobile numbers have a 9 there, if called from abroad
	WHEN wa_id ~ '^549[1-3][0-9]{9}$' THEN '54' || substr(wa_id, 4)
	WHEN wa_id ~ '^54[1-3][0-9]{9}$' THEN '549' || substr(wa_id, 3)
END;
COMMENT ON FUNCTION whatsapp.other_form(text) IS 'the other form of a phone number that has two, in Brazil, Mexico and Argentina; else NULL. Both are kept as they come';

-- (PL/pgSQL keeps the plans of these, and a function in SQL would not)

CREATE FUNCTION whatsapp.tenure(phone_number_id text, wa_id text, at timestamptz, OUT since timestamptz, OUT until timestamptz)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT coalesce(max(e.begins) FILTER (WHERE e.begins <= tenure.at), '-infinity'),
		coalesce(min(e.ends) FILTER (WHERE e.ends >= tenure.at), 'infinity')
	INTO since, until
	FROM (
		-- who gives it up has it up to that moment, who gets it from that moment on;
		-- in one second, it is given up first
		SELECT c.at AS ends, c.at + interval '1 microsecond' AS begins
		FROM whatsapp.contact_changes c
		WHERE c.phone_number_id = tenure.phone_number_id AND c.old_wa_id = tenure.wa_id AND c.new_wa_id <> c.old_wa_id
			AND c.at > '-infinity'
		UNION ALL
		SELECT c.at - v.before, c.at + interval '1 microsecond' - v.before
		FROM whatsapp.contact_changes c
		CROSS JOIN LATERAL (
			SELECT CASE WHEN EXISTS (
				SELECT FROM whatsapp.contact_changes o
				WHERE o.phone_number_id = c.phone_number_id AND o.old_wa_id = c.new_wa_id AND o.new_wa_id <> o.old_wa_id AND o.at = c.at)
			THEN interval '0' ELSE interval '1 microsecond' END AS before
		) v
		WHERE c.phone_number_id = tenure.phone_number_id AND c.new_wa_id = tenure.wa_id AND c.new_wa_id <> c.old_wa_id
			AND c.at > '-infinity'
	) e;
END $$;
COMMENT ON FUNCTION whatsapp.tenure(text, text, timestamptz) IS 'from when until when a phone number was of the same person as at a time, as far as changes were told';

CREATE FUNCTION whatsapp.phone_holder(phone_number_id text, wa_id text, at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 5000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	holder text;
	first_holder text;
	t record;
BEGIN
	SELECT min(s.contact_key), max(s.contact_key) INTO first_holder, holder
	FROM whatsapp.contact_sightings s
	WHERE s.phone_number_id = phone_holder.phone_number_id AND s.kind = 'wa_id' AND s.value = phone_holder.wa_id;
	IF holder IS NULL THEN
		RETURN NULL;
	END IF;
	SELECT * INTO t FROM whatsapp.tenure(phone_holder.phone_number_id, phone_holder.wa_id, phone_holder.at);
	IF first_holder = holder AND t.since = '-infinity' AND t.until = 'infinity' THEN
		RETURN holder;
	END IF;

	SELECT s.contact_key INTO holder
	FROM whatsapp.contact_sightings s
	WHERE s.phone_number_id = phone_holder.phone_number_id AND s.kind = 'wa_id' AND s.value = phone_holder.wa_id
		AND coalesce(s.first_seen, '-infinity') <= t.until AND coalesce(s.last_seen, 'infinity') >= t.since
	-- seen with it before and after, or else before, or else after
	ORDER BY phone_holder.at BETWEEN s.first_seen AND s.last_seen DESC NULLS LAST,
		s.first_seen <= phone_holder.at DESC NULLS LAST,
		CASE WHEN s.first_seen <= phone_holder.at THEN s.first_seen END DESC NULLS LAST,
		s.first_seen, s.contact_key COLLATE "C"
	LIMIT 1;
	RETURN holder;
END $$;
COMMENT ON FUNCTION whatsapp.phone_holder(text, text, timestamptz) IS 'the BSUID that had a phone number at a time, as far as is known; NULL if none is known to have';

CREATE FUNCTION whatsapp.is_user_id(phone_number_id text, key text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN key ~ '^[A-Z]{2}\.' OR EXISTS (
		SELECT FROM whatsapp.correspondents k
		WHERE k.phone_number_id = is_user_id.phone_number_id AND k.contact_key = key AND k.kind = 'user_id');
END $$;
COMMENT ON FUNCTION whatsapp.is_user_id(text, text) IS 'whether the key of a contact is a BSUID: it looks like one, or came as one';

CREATE FUNCTION whatsapp.contact_key(phone_number_id text, wa_id text, user_id text, at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 5000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	phone text := ltrim(nullif(wa_id, ''), '+');
	bsuid text := nullif(user_id, '');
	moment timestamptz := coalesce(at, '-infinity');
	seen text[] := '{}';
	seen_keys text[] := '{}';
	place text;
	came_before integer;
	t record;
	change whatsapp.contact_changes;
	form text;
	is_user boolean;
BEGIN
	LOOP
		IF bsuid IS NULL THEN
			bsuid := whatsapp.phone_holder(contact_key.phone_number_id, phone, moment);
		END IF;

		IF bsuid IS NOT NULL THEN
			place := 'user ' || bsuid;
			SELECT c.* INTO change
			FROM (
				SELECT o.*
				FROM whatsapp.contact_changes o
				WHERE o.phone_number_id = contact_key.phone_number_id AND o.old_user_id = bsuid
				UNION ALL
				-- it was told of the phone number that they had then
				SELECT o.*
				FROM whatsapp.contact_sightings s
				JOIN whatsapp.contact_changes o ON o.phone_number_id = s.phone_number_id AND o.old_wa_id = s.value
				WHERE s.phone_number_id = contact_key.phone_number_id AND s.contact_key = bsuid AND s.kind = 'wa_id'
					AND o.old_user_id = ''
					AND whatsapp.phone_holder(s.phone_number_id, s.value, o.at) = bsuid
			) c
			WHERE c.new_user_id <> bsuid
			ORDER BY c.at DESC, c.new_user_id COLLATE "C" DESC, c.new_wa_id COLLATE "C" DESC
			LIMIT 1;
			IF NOT FOUND THEN
				RETURN bsuid;
			END IF;
		ELSIF phone IS NOT NULL THEN
			SELECT * INTO t FROM whatsapp.tenure(contact_key.phone_number_id, phone, moment);
			place := format('phone %s %s', phone, t.until);
			SELECT c.* INTO change
			FROM whatsapp.contact_changes c
			WHERE c.phone_number_id = contact_key.phone_number_id AND c.old_wa_id = phone AND c.new_wa_id <> phone AND c.at = t.until
			ORDER BY c.new_user_id COLLATE "C" DESC, c.new_wa_id COLLATE "C" DESC
			LIMIT 1;
			IF NOT FOUND THEN
				form := whatsapp.form_of(contact_key.phone_number_id, phone, moment);
				IF form IS NULL THEN
					RETURN phone || CASE WHEN t.until < 'infinity' THEN '/' || trunc(extract(epoch FROM t.until)) ELSE '' END;
				END IF;
				is_user := whatsapp.is_user_id(contact_key.phone_number_id, form);
				change := ROW (contact_key.phone_number_id, phone, '',
					CASE WHEN is_user THEN '' ELSE form END, CASE WHEN is_user THEN form ELSE '' END,
					CASE WHEN moment > '-infinity' THEN moment - interval '1 microsecond' ELSE moment END)::whatsapp.contact_changes;
			ELSIF change.new_wa_id = '' AND change.new_user_id = '' THEN
				-- who it was has been forgotten
				RETURN phone || '/' || trunc(extract(epoch FROM t.until));
			END IF;
		ELSE
			RETURN NULL;
		END IF;

		-- what goes round in circles goes by the greatest of the circle
		came_before := array_position(seen, place);
		IF came_before IS NOT NULL THEN
			RETURN (
				SELECT p.key
				FROM unnest(seen[came_before:], seen_keys[came_before:]) p (place, key)
				ORDER BY p.place LIKE 'user %' DESC, p.place COLLATE "C" DESC
				LIMIT 1);
		END IF;
		seen := seen || place;
		seen_keys := seen_keys || coalesce(bsuid, phone);

		bsuid := nullif(change.new_user_id, '');
		phone := nullif(change.new_wa_id, '');
		moment := change.at + interval '1 microsecond';
	END LOOP;
END $$;
COMMENT ON FUNCTION whatsapp.contact_key(text, text, text, timestamptz) IS 'the person who had a WhatsApp id or a BSUID at a time, as in whatsapp.contacts. With a BSUID the WhatsApp id does not matter. NULL if neither is given';

CREATE FUNCTION whatsapp.form_of(phone_number_id text, wa_id text, at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	number CONSTANT text := form_of.phone_number_id;
	form text;
BEGIN
	-- Meta has said which WhatsApp id it is of
	SELECT s.contact_key INTO form
	FROM whatsapp.contact_sightings s
	WHERE s.phone_number_id = number AND s.kind = 'input' AND s.value = form_of.wa_id AND s.contact_key <> s.value
	ORDER BY s.last_seen DESC NULLS LAST, s.contact_key COLLATE "C"
	LIMIT 1;
	IF form IS NULL THEN
		form := whatsapp.other_form(form_of.wa_id);
		IF form IS NOT NULL THEN
			form := coalesce(whatsapp.phone_holder(number, form, form_of.at),
				-- of two forms without more, the lesser
				(SELECT k.contact_key
				FROM whatsapp.correspondents k
				WHERE k.phone_number_id = number AND k.contact_key = form
					AND (k.contact_key COLLATE "C" < form_of.wa_id
						OR NOT EXISTS (SELECT FROM whatsapp.correspondents m
							WHERE m.phone_number_id = number AND m.contact_key = form_of.wa_id))));
		END IF;
	END IF;
	RETURN form;
END $$;
COMMENT ON FUNCTION whatsapp.form_of(text, text, timestamptz) IS 'what a phone number is but another form of, if that is known: a WhatsApp id, or the BSUID that had it at a time';

CREATE FUNCTION whatsapp.contact_ids(phone_number_id text, contact_key text,
	OUT key text, OUT since timestamptz, OUT until timestamptz, OUT is_shared boolean)
RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 10000 ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	number CONSTANT text := contact_ids.phone_number_id;
	whose CONSTANT text := contact_ids.contact_key;
	-- to be looked at: BSUIDs, which have no time, and phone numbers at a time
	keys text[];
	times timestamptz[];
	seen text[] := '{}';
	n integer := 1;
	place text;
	found_keys text[];
	found_times timestamptz[];
	nholders integer;
	is_user boolean;
	owners text[];		-- of a phone number, the BSUID that it came with
	found_owners text[];
	owner record;
BEGIN
	IF whose LIKE 'group:%' THEN
		RETURN QUERY SELECT whose, '-infinity'::timestamptz, 'infinity'::timestamptz, false;
		RETURN;
	END IF;

	-- in most cases that is a BSUID, and one phone number that was nobody else's
	is_user := whatsapp.is_user_id(number, whose);
	IF is_user THEN
		SELECT min(p.value) INTO key
		FROM whatsapp.contact_sightings p
		WHERE p.phone_number_id = number AND p.contact_key = whose AND p.kind = 'wa_id'
		HAVING count(*) = 1;
		IF key IS NOT NULL AND whatsapp.other_form(key) IS NULL AND NOT EXISTS (
			SELECT FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = number AND s.kind = 'wa_id' AND s.value = contact_ids.key AND s.contact_key <> whose
			UNION ALL
			SELECT FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = number AND s.contact_key IN (whose, contact_ids.key) AND s.kind = 'input'
			UNION ALL
			SELECT FROM whatsapp.contact_changes c WHERE c.phone_number_id = number AND c.old_wa_id = contact_ids.key
			UNION ALL
			SELECT FROM whatsapp.contact_changes c WHERE c.phone_number_id = number AND c.new_wa_id = contact_ids.key
			UNION ALL
			SELECT FROM whatsapp.contact_changes c WHERE c.phone_number_id = number AND c.old_user_id = whose
			UNION ALL
			SELECT FROM whatsapp.contact_changes c WHERE c.phone_number_id = number AND c.new_user_id = whose)
		THEN
			RETURN QUERY
			SELECT v.key, '-infinity'::timestamptz, 'infinity'::timestamptz, false FROM (VALUES (whose), (contact_ids.key)) v (key);
			RETURN;
		END IF;
	END IF;

	keys := ARRAY[CASE WHEN is_user THEN whose ELSE split_part(whose, '/', 1) END];
	times := ARRAY[CASE
		WHEN is_user THEN NULL
		WHEN whose ~ '/[0-9]{1,11}$' THEN to_timestamp(split_part(whose, '/', 2)::double precision)
		ELSE 'infinity'::timestamptz
	END];
	owners := ARRAY[NULL::text];

	WHILE n <= cardinality(keys) LOOP
		key := keys[n];
		IF times[n] IS NULL THEN
			place := key;
			since := '-infinity';
			until := 'infinity';
			is_shared := false;
		ELSE
			SELECT t.since, t.until INTO since, until FROM whatsapp.tenure(number, key, times[n]) t;
			SELECT count(*) INTO nholders
			FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = number AND s.kind = 'wa_id' AND s.value = contact_ids.key;
			is_shared := nholders > 1;
			IF is_shared AND owners[n] IS NOT NULL THEN
				-- as in phone_holder(): from when they were seen with it, if another was before,
				-- until another was, if that is after they were seen last
				SELECT CASE WHEN bool_or(o.first_seen < s.first_seen) THEN s.first_seen END AS since,
					min(o.first_seen) FILTER (WHERE o.first_seen > s.last_seen) - interval '1 microsecond' AS until
				INTO owner
				FROM whatsapp.contact_sightings s
				JOIN whatsapp.contact_sightings o ON o.phone_number_id = number AND o.kind = 'wa_id' AND o.value = contact_ids.key
					AND o.contact_key <> s.contact_key
					AND coalesce(o.first_seen, '-infinity') <= contact_ids.until AND coalesce(o.last_seen, 'infinity') >= contact_ids.since
				WHERE s.phone_number_id = number AND s.contact_key = owners[n] AND s.kind = 'wa_id' AND s.value = contact_ids.key
				GROUP BY s.first_seen;
				since := greatest(since, owner.since);
				until := least(until, owner.until);
			END IF;
			place := concat_ws('/', key, until, CASE WHEN is_shared THEN owners[n] END);
		END IF;
		-- (by another form of it, without its owner, a phone number would come again)
		IF place = ANY (seen)
			OR is_shared AND owners[n] IS NULL AND EXISTS (SELECT FROM unnest(seen) s WHERE starts_with(s, place || '/'))
		THEN
			n := n + 1;
			CONTINUE;
		END IF;
		seen := seen || place;

		-- what leads elsewhere is not theirs, but if a number has been of several
		IF n > 1 AND NOT is_shared
			AND whatsapp.contact_key(number, CASE WHEN times[n] IS NOT NULL THEN key END, CASE WHEN times[n] IS NULL THEN key END, times[n])
				IS DISTINCT FROM whose
		THEN
			n := n + 1;
			CONTINUE;
		END IF;
		RETURN NEXT;

		SELECT array_agg(f.key), array_agg(f.at), array_agg(f.owner) INTO found_keys, found_times, found_owners
		FROM (
			SELECT v.key, v.at, s.contact_key AS owner
			FROM whatsapp.contact_sightings s
			CROSS JOIN LATERAL (
				VALUES (s.value, coalesce(s.last_seen, '-infinity')), (s.value, coalesce(s.first_seen, '-infinity'))
			) v (key, at)
			WHERE times[n] IS NULL AND s.phone_number_id = number AND s.contact_key = contact_ids.key AND s.kind = 'wa_id'
			UNION ALL
			-- what they had before
			SELECT CASE WHEN c.old_user_id <> '' THEN c.old_user_id ELSE c.old_wa_id END,
				CASE WHEN c.old_user_id = '' THEN c.at END, NULL
			FROM whatsapp.contact_changes c
			WHERE times[n] IS NULL AND c.phone_number_id = number AND c.new_user_id = contact_ids.key
			UNION ALL
			SELECT CASE WHEN c.old_user_id <> '' THEN c.old_user_id ELSE c.old_wa_id END,
				CASE WHEN c.old_user_id = '' THEN c.at END, NULL
			FROM whatsapp.contact_changes c
			WHERE times[n] IS NOT NULL AND c.phone_number_id = number AND c.new_wa_id = contact_ids.key AND c.new_user_id = ''
				AND c.at + interval '1 microsecond' BETWEEN contact_ids.since AND contact_ids.until
			UNION ALL
			-- and of that, the BSUID that had the phone number then
			SELECT h.holder, NULL, NULL
			FROM whatsapp.contact_changes c
			CROSS JOIN LATERAL (SELECT whatsapp.phone_holder(number, c.old_wa_id, c.at) AS holder) h
			WHERE c.phone_number_id = number AND c.old_user_id = '' AND h.holder IS NOT NULL
				AND CASE WHEN times[n] IS NULL THEN c.new_user_id = contact_ids.key
					ELSE c.new_wa_id = contact_ids.key AND c.new_user_id = ''
						AND c.at + interval '1 microsecond' BETWEEN contact_ids.since AND contact_ids.until END
			UNION ALL
			-- other forms of a phone number
			SELECT s.value, 'infinity', NULL
			FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = number AND s.contact_key = contact_ids.key AND s.kind = 'input'
			UNION ALL
			SELECT o.form, times[n], NULL
			FROM (SELECT whatsapp.other_form(contact_ids.key) AS form) o
			WHERE times[n] IS NOT NULL AND o.form IS NOT NULL
		) f
		WHERE f.key <> '';
		keys := keys || found_keys;
		times := times || found_times;
		owners := owners || found_owners;
		n := n + 1;
	END LOOP;
END $$;
COMMENT ON FUNCTION whatsapp.contact_ids(text, text) IS 'the identifiers that a person has had, as in whatsapp.correspondents, and from when until when. If a phone number is_shared, it was of others, too, and whatsapp.contact_key() has to say of each message whose it is';

CREATE FUNCTION whatsapp.find_contact(phone_number_id text, person text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	number CONSTANT text := find_contact.phone_number_id;
	phone text;
BEGIN
	IF whatsapp.is_user_id(number, person) THEN
		RETURN whatsapp.contact_key(number, NULL, person, NULL);
	ELSIF person LIKE 'group:%' OR person ~ '^[0-9]+/[0-9]{1,11}$' THEN
		RETURN person;
	ELSIF person LIKE '@%' THEN
		RETURN (
			SELECT whatsapp.contact_key(s.phone_number_id,
				CASE WHEN k.kind = 'wa_id' THEN k.contact_key END, CASE WHEN k.kind = 'user_id' THEN k.contact_key END, s.last_seen)
			FROM whatsapp.contact_sightings s
			JOIN whatsapp.correspondents k ON k.phone_number_id = s.phone_number_id AND k.contact_key = s.contact_key
			WHERE s.phone_number_id = number AND s.kind = 'username' AND s.value IN (substr(person, 2), lower(substr(person, 2)))
			ORDER BY s.last_seen DESC NULLS LAST, s.contact_key
			LIMIT 1);
	END IF;
	phone := ltrim(whatsapp.recipient_key(person, 'individual'), '+');
	IF phone IS NOT NULL AND NOT EXISTS (
		SELECT FROM whatsapp.correspondents k WHERE k.phone_number_id = number AND k.contact_key = 'group:' || person)
	THEN
		RETURN whatsapp.contact_key(number, phone, NULL, 'infinity');
	END IF;
	RETURN 'group:' || person;
END $$;
COMMENT ON FUNCTION whatsapp.find_contact(text, text) IS 'the person, as in whatsapp.contacts, whom one means by a BSUID, a phone number in any human form, an @username, or the key of whatsapp.contacts itself; by the id of a group, that: group: and the id. It need not be known here';

CREATE FUNCTION whatsapp.contact_facts(phone_number_id text, contact_key text,
	OUT wa_id text, OUT parent_user_id text, OUT name text, OUT username text,
	OUT first_seen timestamptz, OUT last_seen timestamptz, OUT last_message_at timestamptz,
	OUT last_inbound_at timestamptz, OUT last_outbound_at timestamptz, OUT last_referral_at timestamptz,
	OUT free_entry_until timestamptz, OUT read_until timestamptz)
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 5000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	WITH fact AS MATERIALIZED (
		SELECT k.*, i.since, i.until, i.is_shared, k.contact_key = split_part(contact_facts.contact_key, '/', 1) AS is_key
		FROM whatsapp.contact_ids(contact_facts.phone_number_id, contact_facts.contact_key) i
		JOIN whatsapp.correspondents k ON k.phone_number_id = contact_facts.phone_number_id AND k.contact_key = i.key
	), moment AS (
		-- of a phone number that was of several people, what is of this one
		SELECT f.contact_key, f.is_key, v.what, v.value, v.at
		FROM fact f
		CROSS JOIN LATERAL (
			VALUES
				('wa_id', f.wa_id, f.wa_id_at), ('parent_user_id', f.parent_user_id, f.parent_user_id_at),
				('name', f.name, f.name_at), ('username', f.username, f.username_at),
				('first_seen', NULL, CASE WHEN f.since > '-infinity' THEN greatest(f.first_seen, f.since) ELSE f.first_seen END),
				('last_seen', NULL, CASE WHEN f.until < 'infinity' THEN least(f.last_seen, f.until) ELSE f.last_seen END),
				('last_message_at', NULL, f.last_message_at), ('last_inbound_at', NULL, f.last_inbound_at),
				('last_outbound_at', NULL, f.last_outbound_at), ('last_referral_at', NULL, f.last_referral_at)
		) v (what, value, at)
		WHERE (v.value IS NOT NULL OR v.at IS NOT NULL)
			AND (f.since = '-infinity' AND f.until = 'infinity' OR v.at BETWEEN f.since AND f.until)
			AND (NOT f.is_shared
				OR whatsapp.contact_key(f.phone_number_id, f.contact_key, NULL, v.at) = contact_facts.contact_key)
	), message AS (
		-- the row of such a number tells of the newest only, and that may be another's
		SELECT m.direction, m.sent_at
		FROM fact f
		CROSS JOIN LATERAL (
			SELECT t.direction, t.type, t.sent_at
			FROM whatsapp.messages t
			WHERE whatsapp.thread_key(t.group_id, t.user_id, t.wa_id) = f.contact_key AND t.phone_number_id = f.phone_number_id
				AND t.element IS NOT NULL AND NOT whatsapp.is_note(t.type)
				AND coalesce(t.sent_at, '-infinity') >= f.since AND coalesce(t.sent_at, '-infinity') <= f.until
				AND (NOT f.is_shared
					OR whatsapp.contact_key(t.phone_number_id, t.wa_id, t.user_id, t.sent_at) = contact_facts.contact_key)
			ORDER BY coalesce(t.sent_at, '-infinity') DESC, t.message_id DESC
			LIMIT 20
		) m
		WHERE (f.is_shared OR f.until < 'infinity') AND m.type IS DISTINCT FROM 'system'
	)
	SELECT (array_agg(m.value ORDER BY m.at DESC NULLS LAST, m.value DESC) FILTER (WHERE m.what = 'wa_id' AND m.is_key))[1],
		(array_agg(m.value ORDER BY m.at DESC NULLS LAST, m.value DESC) FILTER (WHERE m.what = 'parent_user_id'))[1],
		(array_agg(m.value ORDER BY m.at DESC NULLS LAST, m.value DESC) FILTER (WHERE m.what = 'name'))[1],
		(array_agg(m.value ORDER BY m.at DESC NULLS LAST, m.value DESC) FILTER (WHERE m.what = 'username'))[1],
		min(m.at) FILTER (WHERE m.what IN ('first_seen', 'last_seen')),
		max(m.at) FILTER (WHERE m.what IN ('first_seen', 'last_seen')),
		max(m.at) FILTER (WHERE m.what = 'last_message_at'),
		greatest(max(m.at) FILTER (WHERE m.what = 'last_inbound_at'), (SELECT max(n.sent_at) FROM message n WHERE n.direction = 'inbound')),
		greatest(max(m.at) FILTER (WHERE m.what = 'last_outbound_at'), (SELECT max(n.sent_at) FROM message n WHERE n.direction = 'outbound')),
		max(m.at) FILTER (WHERE m.what = 'last_referral_at'),
		(SELECT max(f.free_entry_until) FROM fact f WHERE NOT f.is_shared AND f.since = '-infinity' AND f.until = 'infinity'),
		(SELECT max(f.read_until) FROM fact f WHERE NOT f.is_shared AND f.since = '-infinity' AND f.until = 'infinity')
	INTO wa_id, parent_user_id, name, username, first_seen, last_seen, last_message_at, last_inbound_at, last_outbound_at,
		last_referral_at, free_entry_until, read_until
	FROM moment m;
END $$;
COMMENT ON FUNCTION whatsapp.contact_facts(text, text) IS 'what is known of a person or a group, under all their identifiers';

CREATE FUNCTION whatsapp.wants_no_marketing(phone_number_id text, contact_key text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 5000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN coalesce((
		SELECT u.value = 'stop'
		FROM whatsapp.contact_ids(wants_no_marketing.phone_number_id, wants_no_marketing.contact_key) i
		JOIN whatsapp.user_preferences u ON u.phone_number_id = wants_no_marketing.phone_number_id AND u.participant = i.key
		WHERE u.category = 'marketing_messages' AND coalesce(u.at, '-infinity') BETWEEN i.since AND i.until
			AND (NOT i.is_shared
				OR whatsapp.contact_key(u.phone_number_id, i.key, NULL, u.at) = wants_no_marketing.contact_key)
		ORDER BY u.at DESC NULLS LAST, u.element DESC
		LIMIT 1), false);
END $$;
COMMENT ON FUNCTION whatsapp.wants_no_marketing(text, text) IS 'whether the newest that a person has said of marketing messages, under whatever identifier, is stop';

-- Most people are plain: one BSUID, or none, and one phone number, or none, that
-- never was anybody else's.  These need no function to tell who they are.

CREATE VIEW whatsapp.contacts WITH (security_invoker = true) AS
SELECT k.phone_number_id, k.contact_key, f.name, f.username, k.wa_id,
	CASE WHEN k.kind = 'user_id' THEN k.contact_key END AS user_id,
	f.parent_user_id, f.first_seen, f.last_seen, f.last_inbound_at, f.opted_out
FROM whatsapp.correspondents k
CROSS JOIN LATERAL (
	SELECT EXISTS (SELECT FROM whatsapp.contact_changes c
			WHERE c.phone_number_id = k.phone_number_id AND c.old_user_id = k.contact_key)
		OR EXISTS (SELECT FROM whatsapp.contact_changes c
			WHERE c.phone_number_id = k.phone_number_id AND c.new_user_id = k.contact_key)
		OR EXISTS (SELECT FROM whatsapp.contact_changes c
			WHERE c.phone_number_id = k.phone_number_id AND c.old_wa_id = k.wa_id)
		OR EXISTS (SELECT FROM whatsapp.contact_changes c
			WHERE c.phone_number_id = k.phone_number_id AND c.new_wa_id = k.wa_id) AS is_changed,
		EXISTS (SELECT FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = k.phone_number_id AND s.kind = 'wa_id' AND s.value = k.wa_id
				AND s.contact_key <> k.contact_key) AS is_held,
		EXISTS (SELECT FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = k.phone_number_id AND s.contact_key = k.contact_key AND s.kind = 'wa_id'
				AND s.value <> k.wa_id)
		OR EXISTS (SELECT FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = k.phone_number_id AND s.kind = 'input' AND s.value = k.wa_id)
		OR EXISTS (SELECT FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = k.phone_number_id AND s.contact_key = k.contact_key AND s.kind = 'input')
		OR EXISTS (SELECT FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = k.phone_number_id AND s.contact_key = k.wa_id AND s.kind = 'input')
		OR whatsapp.other_form(k.wa_id) IS NOT NULL AS has_forms
) q
CROSS JOIN LATERAL (
	SELECT CASE WHEN k.name IS NULL OR (coalesce(p.name_at, '-infinity'), p.name) > (coalesce(k.name_at, '-infinity'), k.name)
			THEN coalesce(p.name, k.name) ELSE k.name END AS name,
		CASE WHEN k.username IS NULL OR (coalesce(p.username_at, '-infinity'), p.username) > (coalesce(k.username_at, '-infinity'), k.username)
			THEN coalesce(p.username, k.username) ELSE k.username END AS username,
		CASE WHEN k.parent_user_id IS NULL
				OR (coalesce(p.parent_user_id_at, '-infinity'), p.parent_user_id) > (coalesce(k.parent_user_id_at, '-infinity'), k.parent_user_id)
			THEN coalesce(p.parent_user_id, k.parent_user_id) ELSE k.parent_user_id END AS parent_user_id,
		least(k.first_seen, p.first_seen, k.last_seen, p.last_seen) AS first_seen,
		greatest(k.last_seen, p.last_seen, k.first_seen, p.first_seen) AS last_seen,
		greatest(k.last_inbound_at, p.last_inbound_at) AS last_inbound_at,
		coalesce((
			SELECT u.value = 'stop'
			FROM whatsapp.user_preferences u
			WHERE u.phone_number_id = k.phone_number_id AND u.participant IN (k.contact_key, k.wa_id) AND u.category = 'marketing_messages'
			ORDER BY u.at DESC NULLS LAST, u.element DESC
			LIMIT 1), false) AS opted_out
	FROM (SELECT) one
	LEFT JOIN whatsapp.correspondents p
		ON p.phone_number_id = k.phone_number_id AND p.contact_key = k.wa_id AND p.contact_key <> k.contact_key
	WHERE NOT (q.is_changed OR q.is_held OR q.has_forms)
	UNION ALL
	SELECT t.name, t.username, t.parent_user_id, t.first_seen, t.last_seen, t.last_inbound_at,
		whatsapp.wants_no_marketing(k.phone_number_id, k.contact_key)
	FROM whatsapp.contact_facts(k.phone_number_id, k.contact_key) t
	WHERE (q.is_changed OR q.is_held OR q.has_forms) AND NOT (k.kind = 'wa_id' AND q.is_held AND NOT q.is_changed)
		AND whatsapp.contact_key(k.phone_number_id, CASE WHEN k.kind = 'wa_id' THEN k.contact_key END,
			CASE WHEN k.kind = 'user_id' THEN k.contact_key END, k.last_seen) = k.contact_key
) f
WHERE k.kind <> 'group'
UNION ALL
-- who had a phone number before somebody else got it, and is known by nothing else
SELECT p.phone_number_id, p.contact_key, f.name, f.username, p.wa_id, NULL, f.parent_user_id, f.first_seen, f.last_seen,
	f.last_inbound_at, whatsapp.wants_no_marketing(p.phone_number_id, p.contact_key)
FROM (
	SELECT DISTINCT k.phone_number_id, t.contact_key, k.contact_key AS wa_id
	FROM whatsapp.contact_changes c
	JOIN whatsapp.correspondents k ON k.phone_number_id = c.phone_number_id AND k.contact_key = c.new_wa_id AND k.first_seen < c.at
	CROSS JOIN LATERAL (
		SELECT whatsapp.contact_key(c.phone_number_id, c.new_wa_id, NULL, c.at - interval '1 microsecond') AS contact_key
	) t
	WHERE t.contact_key LIKE '%/%' AND split_part(t.contact_key, '/', 1) = c.new_wa_id
) p
CROSS JOIN LATERAL whatsapp.contact_facts(p.phone_number_id, p.contact_key) f;
COMMENT ON VIEW whatsapp.contacts IS 'people who a number of ours has to do with, each once, whatever identifiers they have had; see whatsapp.contact_identifiers';
COMMENT ON COLUMN whatsapp.contacts.phone_number_id IS 'our number; who writes to two of them is two contacts';
COMMENT ON COLUMN whatsapp.contacts.contact_key IS 'the newest BSUID, or else the WhatsApp id; of somebody who had a phone number that is now another''s, and is known by nothing else, that, /, and when it ended in seconds since 1970';
COMMENT ON COLUMN whatsapp.contacts.name IS 'the name they have given themselves, the newest that was told';
COMMENT ON COLUMN whatsapp.contacts.username IS 'their username, without @, the newest that was told';
COMMENT ON COLUMN whatsapp.contacts.wa_id IS 'WhatsApp id: mostly the phone number, in digits; NULL if it was not told since they have their BSUID';
COMMENT ON COLUMN whatsapp.contacts.user_id IS 'business-scoped user id (BSUID), such as US.77120045539981; NULL if it was never told';
COMMENT ON COLUMN whatsapp.contacts.parent_user_id IS 'parent BSUID, of businesses that share one';
COMMENT ON COLUMN whatsapp.contacts.first_seen IS 'time of the first thing filed that named them, as Meta tells it';
COMMENT ON COLUMN whatsapp.contacts.last_seen IS 'time of the newest thing that named them';
COMMENT ON COLUMN whatsapp.contacts.last_inbound_at IS 'time of the newest message or call from them';
COMMENT ON COLUMN whatsapp.contacts.opted_out IS 'true if they want no marketing messages';

CREATE VIEW whatsapp.contact_identifiers WITH (security_invoker = true) AS
SELECT c.phone_number_id, c.contact_key, v.kind, v.value,
	min(CASE WHEN i.since > '-infinity' THEN greatest(v.first_seen, i.since) ELSE v.first_seen END) AS first_seen,
	max(CASE WHEN i.until < 'infinity' THEN least(v.last_seen, i.until) ELSE v.last_seen END) AS last_seen
FROM whatsapp.contacts c
CROSS JOIN LATERAL whatsapp.contact_ids(c.phone_number_id, c.contact_key) i
CROSS JOIN LATERAL (
	SELECT k.kind, k.contact_key AS value, k.first_seen, k.last_seen
	FROM whatsapp.correspondents k
	WHERE k.phone_number_id = c.phone_number_id AND k.contact_key = i.key
	UNION ALL
	SELECT s.kind, s.value, s.first_seen, s.last_seen
	FROM whatsapp.contact_sightings s
	WHERE s.phone_number_id = c.phone_number_id AND s.contact_key = i.key
) v
-- a phone number that came alone may have been of several people, one after the other
WHERE coalesce(v.first_seen, '-infinity') <= i.until AND coalesce(v.last_seen, 'infinity') >= i.since
GROUP BY c.phone_number_id, c.contact_key, v.kind, v.value;
COMMENT ON VIEW whatsapp.contact_identifiers IS 'all identifiers under which people were seen, and when';
COMMENT ON COLUMN whatsapp.contact_identifiers.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.contact_identifiers.contact_key IS 'the person, as in whatsapp.contacts';
COMMENT ON COLUMN whatsapp.contact_identifiers.kind IS 'what the value is: wa_id, user_id (a BSUID), parent_user_id, username, or input: what we have sent to, where Meta has another form of it';
COMMENT ON COLUMN whatsapp.contact_identifiers.value IS 'the identifier';
COMMENT ON COLUMN whatsapp.contact_identifiers.first_seen IS 'when this person was seen with it first, as Meta tells it';
COMMENT ON COLUMN whatsapp.contact_identifiers.last_seen IS 'when this person was seen with it last';

-- Functions of whole rows are no SQL that is parsed now, or else nobody could
-- add a column to the tables.

CREATE FUNCTION whatsapp.contact_of(m whatsapp.messages) RETURNS whatsapp.contacts
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c whatsapp.contacts;
BEGIN
	SELECT p.* INTO c
	FROM whatsapp.contacts p
	WHERE p.phone_number_id = m.phone_number_id
		AND p.contact_key = whatsapp.contact_key(m.phone_number_id, m.wa_id, m.user_id, m.sent_at);
	RETURN c;
END $$;
COMMENT ON FUNCTION whatsapp.contact_of(whatsapp.messages) IS 'the person that a message is from or to, who had its identifiers when it was sent; in a group, the one who wrote it. NULL if nobody is told';

CREATE VIEW whatsapp.message_contacts WITH (security_invoker = true) AS
SELECT m.phone_number_id, m.message_id, m.direction, m.type, m.body, m.sent_at, m.status, m.group_id,
	k.contact_key, f.name, f.username, m.wa_id, m.user_id
FROM whatsapp.messages m
CROSS JOIN LATERAL (
	SELECT whatsapp.contact_key(m.phone_number_id, m.wa_id, m.user_id, m.sent_at) AS contact_key
) k
LEFT JOIN LATERAL whatsapp.contact_facts(m.phone_number_id, k.contact_key) f ON k.contact_key IS NOT NULL;
COMMENT ON VIEW whatsapp.message_contacts IS 'messages, and the people they are from or to: who had the identifiers when the message was sent';
COMMENT ON COLUMN whatsapp.message_contacts.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.message_contacts.message_id IS 'the message (wamid)';
COMMENT ON COLUMN whatsapp.message_contacts.direction IS 'inbound or outbound, as seen from us';
COMMENT ON COLUMN whatsapp.message_contacts.type IS 'Meta''s word for what it is';
COMMENT ON COLUMN whatsapp.message_contacts.body IS 'what a person would read of it';
COMMENT ON COLUMN whatsapp.message_contacts.sent_at IS 'when it was sent, as Meta tells it';
COMMENT ON COLUMN whatsapp.message_contacts.status IS 'how far it has got, of those sent';
COMMENT ON COLUMN whatsapp.message_contacts.group_id IS 'the group it was written to';
COMMENT ON COLUMN whatsapp.message_contacts.contact_key IS 'the person, as in whatsapp.contacts; NULL if nobody is told';
COMMENT ON COLUMN whatsapp.message_contacts.name IS 'their name, the newest that was told';
COMMENT ON COLUMN whatsapp.message_contacts.username IS 'their username, without @';
COMMENT ON COLUMN whatsapp.message_contacts.wa_id IS 'WhatsApp id, as it came with the message';
COMMENT ON COLUMN whatsapp.message_contacts.user_id IS 'BSUID, as it came with the message';

CREATE FUNCTION whatsapp.thread(phone_number_id text, contact_key text, max_messages integer, before timestamptz DEFAULT NULL)
RETURNS TABLE (message_id text, direction text, type text, body text, wa_id text, user_id text, group_id text, context_id text,
	media_id text, status text, error_code integer, sent_at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 10000 ROWS 50
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT m.*
	FROM whatsapp.contact_ids(thread.phone_number_id, thread.contact_key) i
	CROSS JOIN LATERAL (
		SELECT t.message_id, t.direction, t.type, t.body, t.wa_id, t.user_id, t.group_id, t.context_id,
			t.media_id, t.status, t.error_code, t.sent_at
		FROM whatsapp.messages t
		WHERE whatsapp.thread_key(t.group_id, t.user_id, t.wa_id) = i.key AND t.phone_number_id = thread.phone_number_id
			AND t.element IS NOT NULL AND NOT whatsapp.is_note(t.type)
			AND coalesce(t.sent_at, '-infinity') >= i.since
			AND coalesce(t.sent_at, '-infinity') <= least(i.until, thread.before - interval '1 microsecond')
			AND (NOT i.is_shared
				OR whatsapp.contact_key(t.phone_number_id, t.wa_id, t.user_id, t.sent_at) = thread.contact_key)
		ORDER BY coalesce(t.sent_at, '-infinity') DESC, t.message_id DESC
		LIMIT max_messages
	) m
	ORDER BY coalesce(m.sent_at, '-infinity') DESC, m.message_id DESC
	LIMIT max_messages;
END $$;
COMMENT ON FUNCTION whatsapp.thread(text, text, integer, timestamptz) IS 'the newest messages from and to a person, as in whatsapp.contacts, or in a group, newest first, and before a time if that is given; without those that only react to, edit or revoke another. Messages of one second are in the order of their ids';

CREATE FUNCTION whatsapp.notes(phone_number_id text, message_id text, direction text, body text, wa_id text, user_id text,
	sent_at timestamptz, OUT words text, OUT edited_at timestamptz, OUT revoked_at timestamptz, OUT reactions jsonb)
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 5000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- mostly nothing was
	IF NOT EXISTS (
		SELECT FROM whatsapp.messages n
		WHERE n.target_id = notes.message_id AND n.phone_number_id = notes.phone_number_id AND whatsapp.is_note(n.type))
	THEN
		words := body;
		RETURN;
	END IF;

	WITH note AS MATERIALIZED (
		SELECT n.*
		FROM whatsapp.messages n
		WHERE n.target_id = notes.message_id AND n.phone_number_id = notes.phone_number_id AND whatsapp.is_note(n.type)
	), own AS (
		-- only who has written a message can edit and revoke it
		SELECT n.type, n.body, n.sent_at, n.message_id
		FROM note n
		WHERE n.type <> 'reaction' AND n.direction = notes.direction
			AND (notes.direction = 'outbound'
				OR whatsapp.contact_key(n.phone_number_id, n.wa_id, n.user_id, n.sent_at)
					= whatsapp.contact_key(notes.phone_number_id, notes.wa_id, notes.user_id, notes.sent_at))
	), reaction AS (
		SELECT DISTINCT ON (r.contact_key) r.contact_key, r.body, r.sent_at
		FROM (
			SELECT n.body, n.sent_at, n.message_id,
				CASE WHEN n.direction = 'inbound' THEN
					whatsapp.contact_key(n.phone_number_id, n.wa_id, n.user_id, n.sent_at) END AS contact_key
			FROM note n
			WHERE n.type = 'reaction'
		) r
		ORDER BY r.contact_key, r.sent_at DESC NULLS LAST, r.message_id DESC
	), revoked AS (
		SELECT min(coalesce(o.sent_at, '-infinity')) AS at FROM own o WHERE o.type = 'revoke'
	), edited AS (
		SELECT o.body, o.sent_at
		FROM own o
		WHERE o.type = 'edit'
		ORDER BY o.sent_at DESC NULLS LAST, o.message_id DESC
		LIMIT 1
	)
	SELECT CASE WHEN v.at IS NULL THEN coalesce(e.body, notes.body) END, e.sent_at, v.at,
		(SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('emoji', r.body, 'contact_key', r.contact_key, 'at', r.sent_at))
				ORDER BY r.sent_at, r.contact_key)
			FROM reaction r
			WHERE r.body IS NOT NULL)
	INTO words, edited_at, revoked_at, reactions
	FROM revoked v
	LEFT JOIN edited e ON true;
END $$;
COMMENT ON FUNCTION whatsapp.notes(text, text, text, text, text, text, timestamptz) IS 'what was said of a message later: its words as edited last, or NULL once it was revoked; when; and how people react to it, as a JSON array of objects with emoji, contact_key and at (without contact_key, it is ours). Only who has written it can edit or revoke it';

CREATE FUNCTION whatsapp.conversation(phone_number_id text, person text, max_messages integer DEFAULT 50, before timestamptz DEFAULT NULL)
RETURNS TABLE (message_id text, sent_at timestamptz, direction text, contact_key text, name text, type text, words text,
	edited_at timestamptz, revoked_at timestamptz, reactions jsonb, quoted_id text, quoted_words text,
	media_id text, status text, error_code integer)
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 10000 ROWS 50
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	number CONSTANT text := conversation.phone_number_id;
	whose CONSTANT text := whatsapp.find_contact(number, person);
	their_name CONSTANT text := (SELECT f.name FROM whatsapp.contact_facts(number, whose) f);
BEGIN
	RETURN QUERY
	SELECT t.message_id, t.sent_at, t.direction, c.contact_key,
		CASE WHEN c.contact_key = whose THEN their_name
			WHEN c.contact_key IS NOT NULL THEN (SELECT f.name FROM whatsapp.contact_facts(number, c.contact_key) f) END,
		t.type, n.words, n.edited_at, n.revoked_at, n.reactions, t.context_id, q.words, t.media_id, t.status, t.error_code
	FROM whatsapp.thread(number, whose, max_messages, before) t
	CROSS JOIN LATERAL whatsapp.notes(number, t.message_id, t.direction, t.body, t.wa_id, t.user_id, t.sent_at) n
	CROSS JOIN LATERAL (
		SELECT CASE WHEN t.direction = 'inbound' THEN
			CASE WHEN t.group_id IS NULL THEN whose ELSE whatsapp.contact_key(number, t.wa_id, t.user_id, t.sent_at) END END AS contact_key
	) c
	LEFT JOIN LATERAL (
		SELECT w.words
		FROM (
			-- (the limit has it looked up by its key)
			SELECT o.message_id, o.direction, o.body, o.wa_id, o.user_id, o.sent_at
			FROM whatsapp.messages o
			WHERE o.phone_number_id = number AND o.message_id = t.context_id
			LIMIT 1
		) o
		CROSS JOIN LATERAL whatsapp.notes(number, o.message_id, o.direction, o.body, o.wa_id, o.user_id, o.sent_at) w
	) q ON true
	ORDER BY coalesce(t.sent_at, '-infinity'), t.message_id;
END $$;
COMMENT ON FUNCTION whatsapp.conversation(text, text, integer, timestamptz) IS 'the last messages from and to a person, or in a group, in order, as people would read them: words as edited last, or NULL once revoked; reactions; the words of the message that is quoted. The person is given as whatsapp.find_contact() takes it; contact_key and name are of who has written a message that came in. With before, those before a time: the first sent_at of the page that is there';

CREATE FUNCTION whatsapp.conversation_state(phone_number_id text, key text, kind text, newest_at timestamptz,
	OUT contact_key text, OUT group_id text, OUT name text, OUT last_message_id text, OUT last_message_at timestamptz,
	OUT last_words text, OUT last_direction text, OUT last_status text, OUT unread integer, OUT waiting_since timestamptz,
	OUT window_until timestamptz, OUT free_entry_until timestamptz, OUT opted_out boolean)
RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 10000 ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	number CONSTANT text := conversation_state.phone_number_id;
	f record;
	max_messages integer;
	is_all boolean;
	-- of the last message
	body text;
	wa_id text;
	user_id text;
	sent_at timestamptz;
BEGIN
	contact_key := CASE kind
		WHEN 'group' THEN conversation_state.key
		WHEN 'wa_id' THEN whatsapp.contact_key(number, conversation_state.key, NULL, newest_at)
		ELSE whatsapp.contact_key(number, NULL, conversation_state.key, NULL)
	END;
	IF EXISTS (
		SELECT FROM whatsapp.correspondents o
		WHERE o.phone_number_id = number AND o.contact_key = conversation_state.contact_key AND o.last_message_at > newest_at)
	THEN
		RETURN;
	END IF;
	SELECT * INTO f FROM whatsapp.contact_facts(number, conversation_state.contact_key);

	-- it is listed where the newest message is, under one of their identifiers; of
	-- several of one moment, where one came in, as whatsapp.inbox relies on
	IF f.last_message_at IS DISTINCT FROM newest_at OR EXISTS (
		SELECT
		FROM whatsapp.contact_ids(number, conversation_state.contact_key) i
		JOIN whatsapp.correspondents o ON o.phone_number_id = number AND o.contact_key = i.key
		JOIN whatsapp.correspondents k ON k.phone_number_id = number AND k.contact_key = conversation_state.key
		WHERE o.last_message_at = f.last_message_at AND o.last_message_at BETWEEN i.since AND i.until
			AND (o.last_inbound_at = o.last_message_at IS TRUE, o.contact_key COLLATE "C")
				> (k.last_inbound_at = k.last_message_at IS TRUE, k.contact_key)
			AND (NOT i.is_shared
				OR whatsapp.contact_key(number, o.contact_key, NULL, o.last_message_at) = conversation_state.contact_key))
	THEN
		RETURN;
	END IF;

	-- mostly a few messages tell; a hundred are enough
	FOREACH max_messages IN ARRAY ARRAY[20, 100] LOOP
		WITH newest AS MATERIALIZED (
			SELECT t.*, row_number() OVER (ORDER BY coalesce(t.sent_at, '-infinity') DESC, t.message_id DESC) AS n
			FROM whatsapp.thread(number, conversation_state.contact_key, max_messages) t
		), answer AS (
			SELECT min(t.n) AS n
			FROM newest t
			WHERE t.direction = 'outbound' AND t.status IS DISTINCT FROM 'failed'
		)
		SELECT count(*) FILTER (WHERE t.sent_at > f.read_until IS NOT FALSE AND t.n < coalesce(a.n, t.n + 1)
				AND t.direction = 'inbound' AND t.type IS DISTINCT FROM 'system'),
			min(t.sent_at) FILTER (WHERE t.n < coalesce(a.n, t.n + 1)
				AND t.direction = 'inbound' AND t.type IS DISTINCT FROM 'system'),
			bool_or(a.n IS NOT NULL) OR count(*) < max_messages,
			max(t.message_id) FILTER (WHERE t.n = 1), max(t.direction) FILTER (WHERE t.n = 1), max(t.status) FILTER (WHERE t.n = 1),
			max(t.body) FILTER (WHERE t.n = 1), max(t.wa_id) FILTER (WHERE t.n = 1), max(t.user_id) FILTER (WHERE t.n = 1),
			max(t.sent_at) FILTER (WHERE t.n = 1)
		INTO unread, waiting_since, is_all, last_message_id, last_direction, last_status, body, wa_id, user_id, sent_at
		FROM newest t
		CROSS JOIN answer a;
		EXIT WHEN is_all;
	END LOOP;
	last_message_at := f.last_message_at;
	last_words := (whatsapp.notes(number, last_message_id, last_direction, body, wa_id, user_id, sent_at)).words;

	IF kind = 'group' THEN
		group_id := substr(conversation_state.key, 7);
		SELECT g.subject INTO name
		FROM whatsapp.groups g
		WHERE g.phone_number_id = number AND g.group_id = conversation_state.group_id;
	ELSE
		name := f.name;
		window_until := f.last_inbound_at + interval '24 hours';
		free_entry_until := f.free_entry_until;
		-- (few come from an ad, and without that all of the thread would be read)
		IF f.last_referral_at IS NOT NULL THEN
			free_entry_until := greatest(free_entry_until, (
				SELECT t.sent_at + interval '72 hours'
				FROM whatsapp.thread(number, conversation_state.contact_key, 1000, f.last_referral_at + interval '24 hours') t
				WHERE t.direction = 'outbound' AND t.sent_at >= f.last_referral_at
				ORDER BY t.sent_at
				LIMIT 1));
		END IF;
		opted_out := whatsapp.wants_no_marketing(number, conversation_state.contact_key);
	END IF;
	RETURN NEXT;
END $$;
COMMENT ON FUNCTION whatsapp.conversation_state(text, text, text, timestamptz) IS 'how the conversation stands with the person, or in the group, that has an identifier; no row if another of their identifiers has a newer message. Up to a hundred unread messages are counted';

-- As with whatsapp.contacts, plain people need no function: who has one BSUID, or
-- none, and one phone number, or none, and never had others.  Of their messages
-- those up to our last answer are read, but a hundred at most.  (Each OFFSET has
-- what comes before it computed once, and the planner not look into it.)

CREATE VIEW whatsapp.conversations WITH (security_invoker = true) AS
SELECT k.phone_number_id, s.contact_key, s.group_id, s.name, k.last_message_at, s.last_message_id, s.last_words,
	s.last_direction, s.last_status, s.unread, s.waiting_since, s.window_until, s.free_entry_until, s.opted_out
FROM whatsapp.correspondents k
CROSS JOIN LATERAL (
	SELECT p.phone, whatsapp.other_form(p.phone) AS form
	FROM (SELECT CASE WHEN k.kind = 'user_id' THEN k.wa_id ELSE k.contact_key END AS phone OFFSET 0) p
	OFFSET 0
) p
CROSS JOIN LATERAL (
	-- what came along with what
	SELECT count(*) AS n, min(i.contact_key) AS first_key, max(i.contact_key) AS last_key,
		min(i.value) AS first_value, max(i.value) AS last_value, min(i.kind) AS kind
	FROM (
		SELECT i.contact_key, i.kind, i.value
		FROM whatsapp.contact_sightings i
		WHERE i.phone_number_id = k.phone_number_id AND i.kind IN ('wa_id', 'input') AND i.value = p.phone
		UNION ALL
		SELECT i.contact_key, i.kind, i.value
		FROM whatsapp.contact_sightings i
		WHERE i.phone_number_id = k.phone_number_id AND i.contact_key IN (k.contact_key, p.phone)
			AND i.kind NOT IN ('parent_user_id', 'username')
	) i
	OFFSET 0
) i
CROSS JOIN LATERAL (
	SELECT CASE WHEN i.n > 0 THEN i.first_key ELSE k.contact_key END AS contact_key,
		CASE WHEN i.n > 0 AND k.kind = 'user_id' THEN p.phone ELSE i.first_key END AS other_key
	OFFSET 0
) w
CROSS JOIN LATERAL (
	SELECT k.kind <> 'group'
		-- nothing, or the phone number with the BSUID
		AND (i.n = 0 OR i.kind = 'wa_id' AND i.first_key = i.last_key AND i.first_value = p.phone AND i.last_value = p.phone
			AND CASE k.kind
				WHEN 'user_id' THEN i.first_key = k.contact_key
				ELSE (
					SELECT count(*)
					FROM whatsapp.contact_sightings o
					WHERE o.phone_number_id = k.phone_number_id AND o.contact_key = i.first_key AND o.kind NOT IN ('parent_user_id', 'username')) = 1
			END)
		AND (
			SELECT true
			FROM whatsapp.contact_changes c
			WHERE c.phone_number_id = k.phone_number_id AND (c.old_user_id = w.contact_key OR c.new_user_id = w.contact_key
				OR c.old_wa_id IN (p.phone, p.form) OR c.new_wa_id IN (p.phone, p.form))
			LIMIT 1) IS NULL
		AND CASE WHEN p.form IS NOT NULL THEN (
				SELECT true
				FROM (
					SELECT FROM whatsapp.correspondents f
					WHERE f.phone_number_id = k.phone_number_id AND f.contact_key = p.form
					UNION ALL
					SELECT FROM whatsapp.contact_sightings f
					WHERE f.phone_number_id = k.phone_number_id AND f.kind = 'wa_id' AND f.value = p.form
				) f
				LIMIT 1)
			END IS NULL AS is_plain
	OFFSET 0
) q
LEFT JOIN whatsapp.correspondents o ON o.phone_number_id = k.phone_number_id AND o.contact_key = w.other_key
LEFT JOIN LATERAL (
	-- our last answer
	SELECT b.*
	FROM (
		SELECT b.*
		FROM (
			(SELECT m.message_id, m.direction, m.type, m.body, m.wa_id, m.user_id, m.status, m.sent_at, coalesce(m.sent_at, '-infinity') AS at
			FROM whatsapp.messages m
			WHERE whatsapp.thread_key(m.group_id, m.user_id, m.wa_id) = k.contact_key AND m.phone_number_id = k.phone_number_id
				AND m.element IS NOT NULL AND NOT whatsapp.is_note(m.type)
			ORDER BY at DESC, m.message_id DESC
			LIMIT 100)
			UNION ALL
			(SELECT m.message_id, m.direction, m.type, m.body, m.wa_id, m.user_id, m.status, m.sent_at, coalesce(m.sent_at, '-infinity') AS at
			FROM whatsapp.messages m
			WHERE whatsapp.thread_key(m.group_id, m.user_id, m.wa_id) = w.other_key AND m.phone_number_id = k.phone_number_id
				AND m.element IS NOT NULL AND NOT whatsapp.is_note(m.type)
			ORDER BY at DESC, m.message_id DESC
			LIMIT 100)
		) b
		ORDER BY b.at DESC, b.message_id DESC
		LIMIT 100
	) b
	WHERE q.is_plain AND b.direction = 'outbound' AND b.status IS DISTINCT FROM 'failed'
	ORDER BY b.at DESC, b.message_id DESC
	LIMIT 1
) a ON true
CROSS JOIN LATERAL (
	-- and what is newer
	SELECT count(*) AS n,
		count(*) FILTER (WHERE t.sent_at > greatest(k.read_until, o.read_until) IS NOT FALSE
			AND t.direction = 'inbound' AND t.type IS DISTINCT FROM 'system')::integer AS unread,
		min(t.sent_at) FILTER (WHERE t.direction = 'inbound' AND t.type IS DISTINCT FROM 'system') AS waiting_since,
		max(t.message_id) FILTER (WHERE t.n = 1) AS message_id, max(t.direction) FILTER (WHERE t.n = 1) AS direction,
		max(t.status) FILTER (WHERE t.n = 1) AS status, max(t.body) FILTER (WHERE t.n = 1) AS body,
		max(t.wa_id) FILTER (WHERE t.n = 1) AS wa_id, max(t.user_id) FILTER (WHERE t.n = 1) AS user_id,
		max(t.sent_at) FILTER (WHERE t.n = 1) AS sent_at
	FROM (
		SELECT b.*, row_number() OVER (ORDER BY b.at DESC, b.message_id DESC) AS n
		FROM (
			(SELECT m.message_id, m.direction, m.type, m.body, m.wa_id, m.user_id, m.status, m.sent_at, coalesce(m.sent_at, '-infinity') AS at
			FROM whatsapp.messages m
			WHERE whatsapp.thread_key(m.group_id, m.user_id, m.wa_id) = k.contact_key AND m.phone_number_id = k.phone_number_id
				AND m.element IS NOT NULL AND NOT whatsapp.is_note(m.type)
				AND (coalesce(m.sent_at, '-infinity'), m.message_id) > (coalesce(a.at, '-infinity'), coalesce(a.message_id, ''))
			ORDER BY at DESC, m.message_id DESC
			LIMIT 100)
			UNION ALL
			(SELECT m.message_id, m.direction, m.type, m.body, m.wa_id, m.user_id, m.status, m.sent_at, coalesce(m.sent_at, '-infinity') AS at
			FROM whatsapp.messages m
			WHERE whatsapp.thread_key(m.group_id, m.user_id, m.wa_id) = w.other_key AND m.phone_number_id = k.phone_number_id
				AND m.element IS NOT NULL AND NOT whatsapp.is_note(m.type)
				AND (coalesce(m.sent_at, '-infinity'), m.message_id) > (coalesce(a.at, '-infinity'), coalesce(a.message_id, ''))
			ORDER BY at DESC, m.message_id DESC
			LIMIT 100)
		) b
		ORDER BY b.at DESC, b.message_id DESC
		LIMIT 100
	) t
	WHERE q.is_plain
	OFFSET 0
) u
CROSS JOIN LATERAL (
	SELECT q.is_plain AND k.last_referral_at IS NULL AND o.last_referral_at IS NULL AS is_enough,
		CASE WHEN u.n > 0 THEN u.message_id ELSE a.message_id END AS message_id,
		CASE WHEN u.n > 0 THEN u.direction ELSE a.direction END AS direction,
		CASE WHEN u.n > 0 THEN u.status ELSE a.status END AS status,
		CASE WHEN u.n > 0 THEN u.body ELSE a.body END AS body,
		CASE WHEN u.n > 0 THEN u.wa_id ELSE a.wa_id END AS wa_id,
		CASE WHEN u.n > 0 THEN u.user_id ELSE a.user_id END AS user_id,
		CASE WHEN u.n > 0 THEN u.sent_at ELSE a.sent_at END AS sent_at
	OFFSET 0
) t
CROSS JOIN LATERAL (
	SELECT w.contact_key, NULL::text AS group_id,
		CASE WHEN k.name IS NULL OR (coalesce(o.name_at, '-infinity'), o.name) > (coalesce(k.name_at, '-infinity'), k.name)
			THEN coalesce(o.name, k.name) ELSE k.name END AS name,
		t.message_id AS last_message_id,
		CASE WHEN (
				SELECT true
				FROM whatsapp.messages n
				WHERE n.target_id = t.message_id AND n.phone_number_id = k.phone_number_id AND whatsapp.is_note(n.type)
				LIMIT 1)
			THEN (whatsapp.notes(k.phone_number_id, t.message_id, t.direction, t.body, t.wa_id, t.user_id, t.sent_at)).words
			ELSE t.body END AS last_words,
		t.direction AS last_direction, t.status AS last_status, u.unread, u.waiting_since,
		greatest(k.last_inbound_at, o.last_inbound_at) + interval '24 hours' AS window_until,
		greatest(k.free_entry_until, o.free_entry_until) AS free_entry_until,
		coalesce((
			SELECT u.value = 'stop'
			FROM whatsapp.user_preferences u
			WHERE u.phone_number_id = k.phone_number_id AND u.participant IN (k.contact_key, w.other_key) AND u.category = 'marketing_messages'
			ORDER BY u.at DESC NULLS LAST, u.element DESC
			LIMIT 1), false) AS opted_out
	-- it is listed where the newest message is, as whatsapp.conversation_state() says
	WHERE t.is_enough AND (o.last_message_at > k.last_message_at OR o.last_message_at = k.last_message_at
		AND (o.last_inbound_at = o.last_message_at IS TRUE, o.contact_key COLLATE "C")
			> (k.last_inbound_at = k.last_message_at IS TRUE, k.contact_key)) IS NOT TRUE
	UNION ALL
	SELECT f.contact_key, f.group_id, f.name, f.last_message_id, f.last_words, f.last_direction, f.last_status, f.unread, f.waiting_since,
		f.window_until, f.free_entry_until, f.opted_out
	FROM whatsapp.conversation_state(k.phone_number_id, k.contact_key, k.kind, k.last_message_at) f
	WHERE NOT t.is_enough
) s
WHERE k.last_message_at IS NOT NULL;
COMMENT ON VIEW whatsapp.conversations IS 'conversations with people and in groups. The newest of a number are had quickly, however many there are: WHERE phone_number_id = … ORDER BY last_message_at DESC LIMIT 50';
COMMENT ON COLUMN whatsapp.conversations.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.conversations.contact_key IS 'the person, as in whatsapp.contacts; of a group, group: and its id';
COMMENT ON COLUMN whatsapp.conversations.group_id IS 'the group, if it is one';
COMMENT ON COLUMN whatsapp.conversations.name IS 'name of the person, or subject of the group';
COMMENT ON COLUMN whatsapp.conversations.last_message_at IS 'time of the last message, as Meta tells it; of somebody whose phone number is another''s now, it may be that of an earlier one';
COMMENT ON COLUMN whatsapp.conversations.last_message_id IS 'the last message (wamid)';
COMMENT ON COLUMN whatsapp.conversations.last_words IS 'what a person would read of it, as edited last; NULL if it has no words, or was revoked';
COMMENT ON COLUMN whatsapp.conversations.last_direction IS 'inbound or outbound, as seen from us';
COMMENT ON COLUMN whatsapp.conversations.last_status IS 'how far it has got, if we have sent it';
COMMENT ON COLUMN whatsapp.conversations.unread IS 'messages that have come since we have answered last, or read; up to a hundred';
COMMENT ON COLUMN whatsapp.conversations.waiting_since IS 'time of the first message that came since we have answered last; NULL if there is none. What has failed is no answer';
COMMENT ON COLUMN whatsapp.conversations.window_until IS 'until when we may send what we like: 24 hours after the last message or call that came. After that, or if it is NULL, only templates';
COMMENT ON COLUMN whatsapp.conversations.free_entry_until IS 'until when messages are free as they came from an ad: 72 hours after we have answered within a day, or what Meta has told';
COMMENT ON COLUMN whatsapp.conversations.opted_out IS 'true if they want no marketing messages';

CREATE VIEW whatsapp.inbox WITH (security_invoker = true) AS
SELECT k.phone_number_id, s.contact_key, s.group_id, s.name, s.waiting_since, s.unread, s.last_message_at, s.last_message_id,
	s.last_words, s.window_until
FROM whatsapp.correspondents k
CROSS JOIN LATERAL whatsapp.conversation_state(k.phone_number_id, k.contact_key, k.kind, k.last_message_at) s
WHERE k.last_message_at IS NOT NULL
	-- what was answered is told by this in most cases, and by the state in all
	AND (coalesce(k.last_inbound_at, '-infinity') >= coalesce(k.last_outbound_at, '-infinity')
		OR (
			SELECT m.status
			FROM whatsapp.messages m
			WHERE whatsapp.thread_key(m.group_id, m.user_id, m.wa_id) = k.contact_key AND m.phone_number_id = k.phone_number_id
				AND m.element IS NOT NULL AND NOT whatsapp.is_note(m.type)
			ORDER BY coalesce(m.sent_at, '-infinity') DESC, m.message_id DESC
			LIMIT 1) = 'failed')
	AND NOT EXISTS (
		SELECT FROM whatsapp.correspondents p
		WHERE k.kind = 'user_id' AND p.phone_number_id = k.phone_number_id AND p.contact_key = k.wa_id
			AND p.last_outbound_at > k.last_message_at
			AND NOT EXISTS (
				SELECT FROM whatsapp.contact_sightings o
				WHERE o.phone_number_id = k.phone_number_id AND o.kind = 'wa_id' AND o.value = k.wa_id AND o.contact_key <> k.contact_key)
			AND NOT EXISTS (
				SELECT FROM whatsapp.contact_changes c WHERE c.phone_number_id = k.phone_number_id AND c.old_wa_id = k.wa_id)
			AND NOT EXISTS (
				SELECT FROM whatsapp.contact_changes c WHERE c.phone_number_id = k.phone_number_id AND c.new_wa_id = k.wa_id))
	AND s.waiting_since IS NOT NULL
ORDER BY s.waiting_since;
COMMENT ON VIEW whatsapp.inbox IS 'conversations that wait for an answer of ours, those first that have waited longest';
COMMENT ON COLUMN whatsapp.inbox.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.inbox.contact_key IS 'the person, as in whatsapp.contacts; of a group, group: and its id';
COMMENT ON COLUMN whatsapp.inbox.group_id IS 'the group, if it is one';
COMMENT ON COLUMN whatsapp.inbox.name IS 'name of the person, or subject of the group';
COMMENT ON COLUMN whatsapp.inbox.waiting_since IS 'time of the first message that came since we have answered last';
COMMENT ON COLUMN whatsapp.inbox.unread IS 'how many of these have not been read; up to a hundred';
COMMENT ON COLUMN whatsapp.inbox.last_message_at IS 'time of the last message';
COMMENT ON COLUMN whatsapp.inbox.last_message_id IS 'the last message (wamid)';
COMMENT ON COLUMN whatsapp.inbox.last_words IS 'what a person would read of it';
COMMENT ON COLUMN whatsapp.inbox.window_until IS 'until when we may answer as we like; after that only by templates';

CREATE FUNCTION whatsapp.mark_conversation_read(phone_number_id text, person text, until timestamptz DEFAULT now()) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- a phone number that was of several people is marked where it is theirs alone
	UPDATE whatsapp.correspondents k
	SET read_until = greatest(k.read_until, mark_conversation_read.until)
	WHERE k.phone_number_id = mark_conversation_read.phone_number_id
		AND k.contact_key IN (
			SELECT i.key
			FROM whatsapp.contact_ids(mark_conversation_read.phone_number_id,
				whatsapp.find_contact(mark_conversation_read.phone_number_id, person)) i
			WHERE NOT i.is_shared AND i.since = '-infinity' AND i.until = 'infinity');
END $$;
COMMENT ON FUNCTION whatsapp.mark_conversation_read(text, text, timestamptz) IS 'says that somebody of ours has read what came from a person, or in a group, up to a time: it is no longer unread. Meta is not told. The person is given as whatsapp.find_contact() takes it';

CREATE FUNCTION whatsapp.complain_of_former(contact_key text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = 'object_not_in_prerequisite_state',
		MESSAGE = format('contact "%s" has no identifier any more', complain_of_former.contact_key),
		DETAIL = 'The phone number is somebody else''s now.';
END $$;
COMMENT ON FUNCTION whatsapp.complain_of_former(text) IS 'raises the error that somebody is known only by a phone number that they do not have any more';

CREATE FUNCTION whatsapp.opt_out(phone_number_id text, person text, opted_out boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	whose CONSTANT text := whatsapp.find_contact(opt_out.phone_number_id, person);
	is_bsuid CONSTANT boolean := whatsapp.is_user_id(opt_out.phone_number_id, whose);
BEGIN
	IF whose IS NULL OR whose LIKE 'group:%' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('nobody is known as "%s"', person),
			HINT = 'Give a phone number with country code, a BSUID, or the username of somebody who has told it.';
	ELSIF NOT is_bsuid AND whose LIKE '%/%' THEN
		PERFORM whatsapp.complain_of_former(whose);
	END IF;
	INSERT INTO whatsapp.user_preferences AS u (phone_number_id, participant, category, value, wa_id, user_id, at, element)
	SELECT opt_out.phone_number_id, whose, 'marketing_messages', v.value,
		CASE WHEN NOT is_bsuid THEN whose END, CASE WHEN is_bsuid THEN whose END, clock_timestamp(),
		jsonb_build_object('category', 'marketing_messages', 'value', v.value, 'detail', format('said by %s', session_user))
	FROM (SELECT CASE WHEN opted_out THEN 'stop' ELSE 'resume' END AS value) v
	ON CONFLICT ON CONSTRAINT user_preferences_pkey DO UPDATE
	SET value = excluded.value, detail = NULL, at = excluded.at, element = excluded.element;
END $$;
COMMENT ON FUNCTION whatsapp.opt_out(text, text, boolean) IS 'says that a person wants no marketing messages, or (false) wants them again, as if Meta had told it now: what webhooks tell of before makes no difference. The person is given as whatsapp.find_contact() takes it';

CREATE FUNCTION whatsapp.rename_contact() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF (to_jsonb(NEW) - 'name') <> (to_jsonb(OLD) - 'name') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = 'only the name of a contact can be changed',
			HINT = 'All else is what Meta has told. whatsapp.opt_out() notes that somebody wants no marketing messages.';
	END IF;
	IF NEW.name IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'the name of a contact cannot be set to NULL',
			HINT = 'Only what they or you call them newly takes the place of a name.';
	END IF;
	UPDATE whatsapp.correspondents k
	SET name = NEW.name, name_at = clock_timestamp()
	WHERE k.phone_number_id = OLD.phone_number_id AND k.contact_key = OLD.contact_key;
	IF NOT FOUND THEN
		PERFORM whatsapp.complain_of_former(OLD.contact_key);
	END IF;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION whatsapp.rename_contact() IS 'has an UPDATE of whatsapp.contacts set the name, as if it were told now: until they give themselves another, later';

CREATE TRIGGER changed INSTEAD OF UPDATE ON whatsapp.contacts
	FOR EACH ROW EXECUTE FUNCTION whatsapp.rename_contact();
COMMENT ON TRIGGER changed ON whatsapp.contacts IS 'sets the name';

CREATE FUNCTION whatsapp.can_send(recipient text, phone_number_id text DEFAULT NULL,
	OUT allowed text, OUT until timestamptz, OUT opted_out boolean, OUT contact_key text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	number CONSTANT text := coalesce(can_send.phone_number_id, whatsapp.default_number());
BEGIN
	IF number IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'WA001',
			MESSAGE = 'no number to send from',
			HINT = 'Give phone_number_id, as there is not just one number in whatsapp.numbers.';
	END IF;
	contact_key := whatsapp.find_contact(number, recipient);
	SELECT f.last_inbound_at + interval '24 hours' INTO until
	FROM whatsapp.contact_facts(number, can_send.contact_key) f;
	opted_out := whatsapp.wants_no_marketing(number, can_send.contact_key);
	allowed := CASE
		WHEN contact_key LIKE 'group:%' OR until > now() THEN 'anything'
		WHEN opted_out THEN 'templates but marketing'
		ELSE 'templates'
	END;
	IF allowed <> 'anything' OR contact_key LIKE 'group:%' THEN
		until := NULL;
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.can_send(text, text) IS 'what may be sent to a recipient now: anything, until a time, that is 24 hours after the last message or call that came; templates; or templates but marketing, if they have opted out of that. opted_out is told in any case. The recipient is given as whatsapp.find_contact() takes it; the number may be left out if there is only one. Error WA001 if there is none, or several';

CREATE FUNCTION whatsapp.forget(phone_number_id text, person text,
	OUT table_name text, OUT removed bigint, OUT blanked bigint)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	number CONSTANT text := forget.phone_number_id;
	whose CONSTANT text := whatsapp.find_contact(number, person);
	alone text[];		-- identifiers that are theirs alone
	shared text[];		-- phone numbers that were of others, too
	usernames text[];
	message_ids text[];
	outbox_ids bigint[];
	words text[];		-- what names them, wherever it stands
	names text;			-- that, and their usernames, as a regular expression
	victims bytea[];
	nblanked bigint;
BEGIN
	IF whose LIKE 'group:%' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'a group cannot be forgotten',
			HINT = 'Forget those who are in it.';
	END IF;

	SELECT coalesce(array_agg(i.key) FILTER (WHERE NOT i.is_shared AND i.since = '-infinity' AND i.until = 'infinity'), '{}'),
		coalesce(array_agg(i.key) FILTER (WHERE i.is_shared OR i.since > '-infinity' OR i.until < 'infinity'), '{}')
	INTO alone, shared
	FROM whatsapp.contact_ids(number, whose) i;

	SELECT coalesce(array_agg(m.message_id), '{}'), coalesce(array_agg(m.outbox_id) FILTER (WHERE m.outbox_id IS NOT NULL), '{}')
	INTO message_ids, outbox_ids
	FROM whatsapp.messages m
	WHERE m.phone_number_id = number
		AND (m.user_id = ANY (alone) OR ltrim(m.wa_id, '+') = ANY (alone || shared))
		AND whatsapp.contact_key(number, m.wa_id, m.user_id, m.sent_at) = whose;

	outbox_ids := outbox_ids || ARRAY(
		SELECT o.id
		FROM whatsapp.outbox o
		WHERE o.phone_number_id = number AND o.recipient_type = 'individual' AND ltrim(o.recipient_key, '+') = ANY (alone || shared)
			AND whatsapp.contact_key(number, CASE WHEN o.recipient_key LIKE '+%' THEN o.recipient_key END,
				CASE WHEN o.recipient_key NOT LIKE '+%' THEN o.recipient_key END, coalesce(o.finished_at, o.created_at)) = whose);
	IF EXISTS (SELECT FROM whatsapp.outbox o WHERE o.id = ANY (outbox_ids) AND o.state = 'sending') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_in_use',
			MESSAGE = 'a message to this person is being sent',
			HINT = 'Try again when it is known what came of it.';
	END IF;

	SELECT array_agg(w.word) FILTER (WHERE w.what <> 'username'),
		string_agg(regexp_replace(w.word, '([][(){}.*+?^$|\\])', '\\\1', 'g'), '|') FILTER (WHERE w.what <> 'message')
	INTO words, names
	FROM (
		SELECT 'id', unnest(alone)
		UNION SELECT 'message', unnest(message_ids)
		UNION SELECT CASE s.kind WHEN 'username' THEN 'username' ELSE 'id' END, s.value
			FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = number AND s.contact_key = ANY (alone) AND NOT s.value = ANY (shared)
	) w (what, word)
	WHERE w.word <> '';

	DELETE FROM whatsapp.attempts a WHERE a.outbox_id = ANY (outbox_ids);
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'attempts'; IF removed > 0 THEN RETURN NEXT; END IF;
	DELETE FROM whatsapp.outbox o WHERE o.id = ANY (outbox_ids);
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'outbox'; IF removed > 0 THEN RETURN NEXT; END IF;
	DELETE FROM whatsapp.holds h WHERE h.phone_number_id = number AND h.kind = 'pair' AND ltrim(h.key, '+') = ANY (alone);
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'holds'; IF removed > 0 THEN RETURN NEXT; END IF;
	DELETE FROM whatsapp.evidence e WHERE e.phone_number_id = number
		AND (e.message_id = ANY (message_ids) OR e.outbox_id = ANY (outbox_ids) OR e.wa_id = ANY (alone));
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'evidence'; IF removed > 0 THEN RETURN NEXT; END IF;

	DELETE FROM whatsapp.media d WHERE d.phone_number_id = number
		AND (d.message_id = ANY (message_ids) OR d.message_id IN (
			SELECT c.call_id FROM whatsapp.call_events c
			WHERE c.phone_number_id = number AND (c.user_id = ANY (alone) OR ltrim(c.wa_id, '+') = ANY (alone || shared))
				AND whatsapp.contact_key(number, c.wa_id, c.user_id, c.at) = whose));
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'media'; IF removed > 0 THEN RETURN NEXT; END IF;
	DELETE FROM whatsapp.call_events c WHERE c.phone_number_id = number
		AND (c.user_id = ANY (alone) OR ltrim(c.wa_id, '+') = ANY (alone || shared))
		AND whatsapp.contact_key(number, c.wa_id, c.user_id, c.at) = whose;
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'call_events'; IF removed > 0 THEN RETURN NEXT; END IF;
	DELETE FROM whatsapp.reactions r WHERE r.phone_number_id = number
		AND (r.message_id = ANY (message_ids)
			OR r.reactor = ANY (alone || shared) AND whatsapp.contact_key(number, r.wa_id, r.user_id, r.at) = whose);
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'reactions'; IF removed > 0 THEN RETURN NEXT; END IF;
	DELETE FROM whatsapp.statuses s WHERE s.phone_number_id = number
		AND (s.message_id = ANY (message_ids) OR s.participant = ANY (alone)
			OR (s.user_id = ANY (alone) OR ltrim(s.wa_id, '+') = ANY (alone || shared))
				AND whatsapp.contact_key(number, s.wa_id, s.user_id, s.at) = whose);
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'statuses'; IF removed > 0 THEN RETURN NEXT; END IF;
	DELETE FROM whatsapp.messages m WHERE m.phone_number_id = number AND m.message_id = ANY (message_ids);
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'messages'; IF removed > 0 THEN RETURN NEXT; END IF;
	DELETE FROM whatsapp.user_preferences u WHERE u.phone_number_id = number AND u.participant = ANY (alone || shared)
		AND whatsapp.contact_key(number, u.wa_id, u.user_id, u.at) = whose;
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'user_preferences'; IF removed > 0 THEN RETURN NEXT; END IF;
	DELETE FROM whatsapp.group_participants g WHERE g.phone_number_id = number
		AND (g.participant = ANY (alone) OR g.user_id = ANY (alone) OR ltrim(g.wa_id, '+') = ANY (alone || shared)
				AND whatsapp.contact_key(number, g.wa_id, g.user_id, g.state_at) = whose);
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'group_participants'; IF removed > 0 THEN RETURN NEXT; END IF;

	-- what happened in a group is of others, too; a phone number was of others, at other times
	victims := ARRAY(
		SELECT DISTINCT e.event_id
		FROM whatsapp.events e
		CROSS JOIN LATERAL jsonb_path_query(e.element, '$.**') v
		CROSS JOIN LATERAL (SELECT ltrim(v #>> '{}', '+') AS word WHERE jsonb_typeof(v) IN ('string', 'number')) t
		JOIN unnest(words || shared) w (word) ON w.word = t.word
		WHERE coalesce(e.phone_number_id, number) = number
			AND (NOT t.word = ANY (shared) OR whatsapp.contact_key(number, t.word, NULL, coalesce(e.at, e.received_at)) = whose));
	UPDATE whatsapp.events e
	SET element = regexp_replace(e.element::text, '"\+?(' || coalesce(names, '$.') || ')"(?!\s*:)', 'null', 'g')::jsonb
	WHERE e.event_id = ANY (victims) AND e.field LIKE 'group%';
	GET DIAGNOSTICS blanked = ROW_COUNT;
	DELETE FROM whatsapp.events e WHERE e.event_id = ANY (victims) AND e.field LIKE 'group%' IS NOT TRUE;
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'events';
	IF removed > 0 OR blanked > 0 THEN RETURN NEXT; END IF;
	blanked := NULL;

	-- (in a body / may be \/, and encode() doubles the \)
	victims := ARRAY(
		SELECT b.webhook_id
		FROM (
			SELECT w.webhook_id, w.received_at, ltrim(m.match[1], '+') AS word
			FROM whatsapp.webhooks w
			CROSS JOIN LATERAL regexp_matches(replace(encode(w.body, 'escape'), '\\/', '/'), '[[:alnum:]._:=+/-]+', 'g') m (match)
		) b
		LEFT JOIN unnest(words || shared) w (word) ON w.word = b.word
		GROUP BY b.webhook_id, b.received_at
		-- of this number, or of none
		HAVING bool_or(w.word IS NOT NULL
				AND (NOT w.word = ANY (shared) OR whatsapp.contact_key(number, w.word, NULL, b.received_at) = whose))
			AND (bool_or(b.word = number) OR NOT bool_or(b.word = 'phone_number_id')));
	DELETE FROM whatsapp.webhooks w WHERE w.webhook_id = ANY (victims);
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'webhooks'; IF removed > 0 THEN RETURN NEXT; END IF;

	-- last, as it tells who is who; of phone numbers of others, too, what is all theirs
	alone := alone || ARRAY(
		SELECT k.contact_key
		FROM whatsapp.correspondents k
		WHERE k.phone_number_id = number AND k.contact_key = ANY (shared)
			AND whatsapp.contact_key(number, k.contact_key, NULL, k.first_seen) = whose
			AND whatsapp.contact_key(number, k.contact_key, NULL, k.last_seen) = whose);
	-- what a phone number was seen at goes by the messages that are left
	UPDATE whatsapp.correspondents k
	SET name = CASE WHEN n.is_theirs THEN NULL ELSE k.name END, name_at = CASE WHEN n.is_theirs THEN NULL ELSE k.name_at END,
		username = NULL, username_at = NULL, last_referral_at = NULL, free_entry_until = NULL,
		first_seen = m.first, last_seen = m.last, last_message_at = m.last, last_inbound_at = m.inbound, last_outbound_at = m.outbound
	FROM (
		SELECT s.contact_key, min(t.sent_at) AS first, max(t.sent_at) AS last,
			max(t.sent_at) FILTER (WHERE t.direction = 'inbound' AND t.type IS DISTINCT FROM 'system') AS inbound,
			max(t.sent_at) FILTER (WHERE t.direction = 'outbound') AS outbound
		FROM unnest(shared) s (contact_key)
		LEFT JOIN whatsapp.messages t ON whatsapp.thread_key(t.group_id, t.user_id, t.wa_id) = s.contact_key AND t.phone_number_id = number
			AND t.element IS NOT NULL AND NOT whatsapp.is_note(t.type)
		GROUP BY s.contact_key
	) m
	CROSS JOIN LATERAL (
		SELECT whatsapp.contact_key(number, o.contact_key, NULL, o.name_at) = whose AS is_theirs
		FROM whatsapp.correspondents o
		WHERE o.phone_number_id = number AND o.contact_key = m.contact_key
	) n
	WHERE k.phone_number_id = number AND k.contact_key = m.contact_key AND NOT k.contact_key = ANY (alone);
	GET DIAGNOSTICS nblanked = ROW_COUNT;
	alone := alone || ARRAY(
		SELECT k.contact_key
		FROM whatsapp.correspondents k
		WHERE k.phone_number_id = number AND k.contact_key = ANY (shared) AND k.last_seen IS NULL);

	-- of a change, it stays when a phone number came to be of others
	WITH theirs AS (
		DELETE FROM whatsapp.contact_changes c
		WHERE c.phone_number_id = number
			AND (c.old_user_id = ANY (alone) OR c.new_user_id = ANY (alone)
				OR c.old_user_id = '' AND c.old_wa_id = ANY (alone || shared) AND whatsapp.contact_key(number, c.old_wa_id, NULL, c.at) = whose)
		RETURNING c.*
	), rest AS (
		INSERT INTO whatsapp.contact_changes (phone_number_id, old_wa_id, old_user_id, new_wa_id, new_user_id, at)
		SELECT DISTINCT t.phone_number_id, p.old_wa_id, '', p.new_wa_id, '', t.at
		FROM theirs t
		CROSS JOIN LATERAL (
			VALUES (t.old_wa_id, ''), ('', t.new_wa_id)
		) p (old_wa_id, new_wa_id)
		WHERE EXISTS (
			SELECT FROM whatsapp.correspondents k
			WHERE k.phone_number_id = number AND (k.contact_key = p.old_wa_id || p.new_wa_id OR k.wa_id = p.old_wa_id || p.new_wa_id)
				AND NOT k.contact_key = ANY (alone))
		ON CONFLICT DO NOTHING
		RETURNING 1
	)
	SELECT (SELECT count(*) FROM theirs) - (SELECT count(*) FROM rest), (SELECT count(*) FROM rest) INTO removed, blanked;
	table_name := 'contact_changes';
	IF removed <> 0 OR blanked > 0 THEN RETURN NEXT; END IF;
	blanked := NULL;

	DELETE FROM whatsapp.correspondents k WHERE k.phone_number_id = number AND k.contact_key = ANY (alone);
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'correspondents'; blanked := nblanked;
	IF removed > 0 OR blanked > 0 THEN RETURN NEXT; END IF;
	blanked := NULL;
	DELETE FROM whatsapp.contact_sightings s WHERE s.phone_number_id = number AND s.contact_key = ANY (alone);
	GET DIAGNOSTICS removed = ROW_COUNT; table_name := 'contact_sightings'; IF removed > 0 THEN RETURN NEXT; END IF;
END $$;
COMMENT ON FUNCTION whatsapp.forget(text, text) IS 'removes all that is known of a person, by one number of ours: messages from and to them, what is queued, what webhooks told, those that are kept as they came, and that they were ever seen. What is of others, too, is kept without what names them, but for webhooks that were kept as they came: those that name them go. Says of how many rows. Tables of yours, and what others have written of them, are not touched, nor is what Meta has. Error object_in_use while a message to them is being sent. The person is given as whatsapp.find_contact() takes it';

CREATE FUNCTION whatsapp.forget(contact whatsapp.contacts,
	OUT table_name text, OUT removed bigint, OUT blanked bigint)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT f.table_name, f.removed, f.blanked
	FROM whatsapp.forget(contact.phone_number_id, contact.contact_key) f;
END $$;
COMMENT ON FUNCTION whatsapp.forget(whatsapp.contacts) IS 'the same for a row of whatsapp.contacts';

------------------------------------------------------------------------------
-- 4. Outbox
--
-- A message is sent by inserting a row here, in whatever transaction; it
-- leaves once that has committed.
--
--	 queued --claim--> sending --record--> sent | failed | unknown
--	    ^                 |                   ^             |
--	    +--- not sent ----+                   +-- evidence -+
--
-- "sent" means accepted by Meta; what becomes of it then is in
-- whatsapp.messages and whatsapp.statuses.  "unknown" is for messages of which
-- something has left, and no answer has come: Meta may have accepted them.
-- It has no way of telling a second request from a second message, so these
-- are not sent again.  But each attempt has a token of its own, which comes
-- back in the statuses of the message: a status with it is the evidence that
-- the message was accepted.
--
-- Messages from a number to a recipient leave one after the other.  So of each
-- such pair only one is in front, where the background worker looks for what
-- may leave now (outbox_front_idx); the others wait for their turn, and rows
-- that may not leave yet wait for something else.  All that is said by
-- waits_for:
--
--	 schedule --due--> front --claim--> sending --> sent ...
--	 hold, campaign      ^  |             |
--	      --lifted-->    |  |             |
--	                     |  +-> turn      +--> retry --due--> front
--	                     |       |
--	                     +-------+ when the one before has come to an end
--
-- It is but what is known of the order, so that a claim need not look for it;
-- a claim makes sure of it before it takes a row.  Only the background worker
-- moves rows that are there, so that those who queue never wait for each
-- other: they place the rows they insert, and note in whatsapp.changed_lanes
-- which recipients are to be looked at.
--
-- No trigger of ours sets a state, but for marketing messages to who wants none:
-- these fail at once.  A row that brings its own created_at comes from a dump,
-- and is not looked at.
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
	WHEN recipient_type <> 'individual' THEN substring(recipient FROM '^[^+[:space:][:cntrl:]][^[:space:][:cntrl:]]{0,255}$')
	WHEN recipient ~ '^[A-Z]{2}\.' THEN substring(recipient FROM '^[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}$')
	ELSE substring(
		regexp_replace(
			-- spaces and hyphens of all kinds, and what address books put around numbers
			translate(replace(recipient, '(0)', ''),
				E' \t-.()/' || chr(160) || chr(8201) || chr(8239) || chr(8208) || chr(8209) || chr(8210) || chr(8211) || chr(8206)
				|| chr(8207) || chr(8234) || chr(8235) || chr(8236) || chr(8294) || chr(8295) || chr(8296) || chr(8297), ''),
			'^(00|\+)?', '+')
		FROM '^\+[1-9][0-9]{4,14}$')
END;
COMMENT ON FUNCTION whatsapp.recipient_key(text, text) IS 'a recipient as Meta takes it: a phone number in any human form with country code, as + and digits; a BSUID or the id of a group as it is. NULL if it is none of these';

CREATE FUNCTION whatsapp.template_key(type text, content jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN type = 'template' THEN (content ->> 'name') || ' ' || coalesce(content #>> '{language,code}', '') END;
COMMENT ON FUNCTION whatsapp.template_key(text, jsonb) IS 'name and language of the template that a message is of, with a space between them, as in whatsapp.holds.key; NULL if it is of none';

-- Templates.  What a message needs to be of a template is told once for each
-- template, and then any number of messages are held against it: that has to be
-- quick, as there may be 100,000 in one INSERT.  What is not known, or not
-- understood, is left to Meta.

CREATE FUNCTION whatsapp.template_variables(words text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE
		WHEN words IS NULL OR count(v.name) * 2 <> length(words) - length(replace(words, '{{', '')) THEN NULL
		WHEN coalesce(bool_and(v.name ~ '^[1-9][0-9]?$'), true) THEN
			CASE WHEN count(DISTINCT v.name) = coalesce(max(CASE WHEN v.name ~ '^[1-9][0-9]?$' THEN v.name::integer END), 0) THEN
				to_jsonb(count(DISTINCT v.name)) END
		WHEN bool_and(v.name ~ '^[A-Za-z_]') THEN to_jsonb(array_agg(DISTINCT v.name))
	END
	FROM (SELECT m.found[1] AS name FROM regexp_matches(words, '\{\{ *([A-Za-z0-9_]+) *\}\}', 'g') m (found)) v;
END;
COMMENT ON FUNCTION whatsapp.template_variables(text) IS 'the variables in a part of a template: how many, or if they have names, an array of these. NULL if that cannot be told';

-- (Meta writes both en_US and en-US; and one that was deleted may have been made anew)
CREATE FUNCTION whatsapp.known_template(phone_number_id text, name text, language text) RETURNS SETOF whatsapp.templates
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT k.*
	FROM whatsapp.numbers n
	JOIN whatsapp.templates k ON k.waba_id = n.waba_id
	WHERE n.phone_number_id = known_template.phone_number_id AND k.name = known_template.name
		AND lower(replace(k.language, '-', '_')) = lower(replace(known_template.language, '-', '_'))
	ORDER BY upper(k.status) IS NOT DISTINCT FROM 'DELETED', k.language = known_template.language DESC, k.name_at DESC NULLS LAST, k.template_id DESC
	LIMIT 1;
END;
COMMENT ON FUNCTION whatsapp.known_template(text, text, text) IS 'what is known of a template that a number sends: its row of whatsapp.templates; no row if nothing is';

CREATE FUNCTION whatsapp.template_needs(phone_number_id text, name text, language text) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	t whatsapp.templates;
	languages text;
	needs jsonb := '{}';
	header text;
	header_text text;
	variables jsonb;
	body text;
	buttons jsonb;
	cards jsonb;
BEGIN
	IF template_needs.name IS NULL OR template_needs.language IS NULL THEN
		RETURN NULL;
	END IF;
	SELECT k.* INTO t
	FROM whatsapp.known_template(template_needs.phone_number_id, template_needs.name, template_needs.language) k;
	IF NOT FOUND THEN
		-- webhooks tell of one template at a time, and only what Meta answers tells of
		-- all: then its components are an array
		SELECT string_agg(DISTINCT k.language, ', ') INTO languages
		FROM whatsapp.numbers n
		JOIN whatsapp.templates k ON k.waba_id = n.waba_id
		WHERE n.phone_number_id = template_needs.phone_number_id AND k.name = template_needs.name
			AND upper(k.status) IS DISTINCT FROM 'DELETED'
		HAVING bool_or(coalesce(jsonb_typeof(k.components), '') = 'array');
		IF languages IS NULL THEN
			RETURN NULL;
		END IF;
		RETURN jsonb_build_object(
			'complaint', format('template "%s" is not known in language "%s"', template_needs.name, left(template_needs.language, 20)),
			'hint', format('It is in %s. If Meta has it in that language all the same, make it known with whatsapp.import_templates(), or add it to whatsapp.templates.', languages));
	END IF;
	IF upper(t.status) IN ('PENDING', 'IN_APPEAL', 'REJECTED', 'DISABLED', 'DELETED', 'ARCHIVED') THEN
		RETURN jsonb_strip_nulls(jsonb_build_object(
			'complaint', format('template "%s" cannot be sent, as it is %s', t.name, lower(replace(t.status, '_', ' '))),
			'detail', 'Meta''s reason is ' || nullif(upper(t.status_reason), 'NONE') || '.',
			'hint', 'Take another one. If that is not so any more, make it known with whatsapp.import_templates().'));
	END IF;

	-- as webhooks tell it, and as Graph answers
	IF jsonb_typeof(t.components) = 'object' THEN
		header_text := t.components ->> 'header';
		header := CASE WHEN header_text IS NOT NULL THEN 'TEXT' END;
		body := t.components ->> 'body';
		buttons := t.components -> 'buttons';
	ELSIF jsonb_typeof(t.components) = 'array' THEN
		SELECT min(p.part ->> 'text') FILTER (WHERE p.type = 'BODY'),
			coalesce(min(coalesce(upper(p.part ->> 'format'), 'UNKNOWN')) FILTER (WHERE p.type = 'HEADER'), 'NONE'),
			min(p.part ->> 'text') FILTER (WHERE p.type = 'HEADER'),
			(array_agg(p.part -> 'buttons') FILTER (WHERE p.type = 'BUTTONS'))[1],
			(array_agg(p.part -> 'cards') FILTER (WHERE p.type = 'CAROUSEL'))[1]
		INTO body, header, header_text, buttons, cards
		FROM (SELECT e.part, upper(e.part ->> 'type') AS type FROM jsonb_array_elements(t.components) e (part)) p;
		-- there is none without a body
		IF body IS NULL THEN
			header := NULL;
		END IF;
	END IF;

	IF header IN ('IMAGE', 'VIDEO', 'DOCUMENT', 'LOCATION', 'NONE') THEN
		needs := needs || jsonb_build_object('header', lower(header));
	ELSIF header = 'TEXT' THEN
		variables := whatsapp.template_variables(header_text);
		IF variables IS NOT NULL THEN
			needs := needs || jsonb_build_object('header', CASE WHEN variables = '0' THEN 'none' ELSE 'text' END);
		END IF;
	END IF;
	IF jsonb_typeof(buttons) = 'array' THEN
		needs := needs || jsonb_build_object('buttons', (
			SELECT jsonb_agg(b.place - 1 ORDER BY b.place)
			FROM jsonb_array_elements(buttons) WITH ORDINALITY b (button, place)
			WHERE upper(coalesce(b.button ->> 'type', b.button ->> 'message_template_button_type')) = 'URL'
				AND coalesce(b.button ->> 'url', b.button ->> 'message_template_button_url') LIKE '%{{%'));
	END IF;
	-- of products there may be more cards than in the template
	IF jsonb_typeof(cards) = 'array' AND jsonb_array_length(cards) > 0
		AND NOT jsonb_path_exists(cards, '$[*] ? (!(exists(@.components[*] ? (@.format == "IMAGE" || @.format == "VIDEO"))))')
	THEN
		needs := needs || jsonb_build_object('cards', jsonb_array_length(cards));
	END IF;
	RETURN jsonb_strip_nulls(needs || jsonb_build_object('name', t.name, 'body', whatsapp.template_variables(body),
		'authentication', CASE WHEN upper(t.category) = 'AUTHENTICATION' THEN true END));
END $$;
COMMENT ON FUNCTION whatsapp.template_needs(text, text, text) IS 'what messages from a number need to be of a template, as far as whatsapp.templates knows: body (how many parameters, or their names), header (text, image, video, document, location or none), buttons (which ones need a parameter for their address, from 0), cards (how many), authentication (if it is of that category); or just the complaint, with detail and hint, if Meta would refuse them all. NULL if nothing is known of a template with that name';

CREATE FUNCTION whatsapp.template_fault(needs jsonb, recipient_key text, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	template text;
	given jsonb;
	what text;
	n integer;
	complaint text;
	hint text;
BEGIN
	IF needs IS NULL OR needs ? 'complaint' THEN
		RETURN needs;
	END IF;
	template := needs ->> 'name';

	IF needs ? 'authentication' AND recipient_key ~ '^[A-Z]{2}\.' THEN
		RETURN jsonb_build_object(
			'complaint', format('template "%s" is of category AUTHENTICATION, which cannot be sent to a BSUID', template),
			'hint', 'Set recipient to the phone number.');
	END IF;
	IF needs ? 'authentication' THEN
		what := jsonb_path_query_first(content, '$.components[*] ? (@.type == "body" || @.type == "BODY").parameters[0].text') #>> '{}';
		IF length(what) > 15 THEN
			RETURN jsonb_build_object(
				'complaint', format('template "%s" takes a code of at most 15 characters', template),
				'detail', format('It has %s.', length(what)),
				'hint', 'Shorten it.');
		END IF;
	END IF;

	IF needs ? 'header' THEN
		given := jsonb_path_query_array(content, '$.components[*] ? (@.type == "header" || @.type == "HEADER").parameters[*]');
		what := lower(given #>> '{0,type}');
		n := jsonb_array_length(given);
		IF needs ->> 'header' = 'none' THEN
			IF n > 0 THEN
				complaint := format('template "%s" has no parameter in its header', template);
				hint := 'Leave the header out.';
			END IF;
		ELSIF n = 0 THEN
			complaint := format('template "%s" needs a parameter of type %s in its header', template, needs ->> 'header');
			hint := 'Give it in a component of type header.';
		ELSIF n > 1 THEN
			complaint := format('template "%s" has 1 parameter in its header, not %s', template, n);
			hint := 'Leave the others out.';
		ELSIF what <> needs ->> 'header' AND what IN ('text', 'image', 'video', 'document', 'location') THEN
			complaint := format('template "%s" has a parameter of type %s in its header, not %s', template, needs ->> 'header', what);
			hint := 'Give one of that type.';
		END IF;
	END IF;

	IF complaint IS NULL AND needs ? 'body' THEN
		given := jsonb_path_query_array(content, '$.components[*] ? (@.type == "body" || @.type == "BODY").parameters[*]');
		n := jsonb_array_length(given);
		IF jsonb_typeof(needs -> 'body') = 'number' THEN
			IF n <> (needs -> 'body')::integer THEN
				complaint := format('template "%s" has %s in its body, not %s', template,
					CASE needs ->> 'body' WHEN '0' THEN 'no parameters' WHEN '1' THEN '1 parameter' ELSE (needs ->> 'body') || ' parameters' END, n);
				hint := 'Give one for each of its variables, in their order, in a component of type body.';
			END IF;
		ELSE
			-- there may be more with one name: that is left to Meta
			given := jsonb_path_query_array(given, '$[*].parameter_name');
			IF NOT given @> (needs -> 'body') THEN
				complaint := format('template "%s" needs a parameter named %s in its body', template,
					(SELECT min(x.name) FROM jsonb_array_elements_text(needs -> 'body') x (name) WHERE NOT given ? x.name));
			ELSIF jsonb_array_length(given) < n OR NOT given <@ (needs -> 'body') THEN
				complaint := format('template "%s" has no other parameters in its body than %s', template,
					(SELECT string_agg(x.name, ', ') FROM jsonb_array_elements_text(needs -> 'body') x (name)));
			END IF;
			hint := 'Give one for each of its variables, with its parameter_name, in a component of type body.';
		END IF;
	END IF;

	IF complaint IS NULL AND needs ? 'buttons' THEN
		FOR n IN 0 .. jsonb_array_length(needs -> 'buttons') - 1 LOOP
			what := needs -> 'buttons' ->> n;
			IF NOT jsonb_path_exists(content, '$.components[*] ? ((@.type == "button" || @.type == "BUTTON") && (@.index == $s || @.index == $i)).parameters[*].text',
				jsonb_build_object('i', needs -> 'buttons' -> n, 's', what))
			THEN
				complaint := format('template "%s" needs a parameter for the address of button %s', template, what);
				hint := 'Give a text in a component of type button and sub_type url, with that index.';
				EXIT;
			END IF;
		END LOOP;
	END IF;

	IF complaint IS NULL AND needs ? 'cards' THEN
		n := jsonb_array_length(jsonb_path_query_array(content, '$.components[*] ? (@.type == "carousel" || @.type == "CAROUSEL").cards[*]'));
		IF n <> (needs -> 'cards')::integer THEN
			complaint := format('template "%s" has %s cards, not %s', template, needs ->> 'cards', n);
			hint := 'Give all of them in a component of type carousel.';
		END IF;
	END IF;

	IF complaint IS NULL THEN
		RETURN NULL;
	END IF;
	-- but of what is no plain list of components, Meta may think what it likes
	IF NOT (
		SELECT coalesce(bool_and(coalesce(jsonb_typeof(e.part -> 'type') = 'string'
				AND e.part ->> 'type' IN (lower(e.part ->> 'type'), upper(e.part ->> 'type'))
				AND coalesce(jsonb_typeof(e.part -> 'parameters'), 'array') = 'array'
				AND coalesce(jsonb_typeof(e.part -> 'cards'), 'array') = 'array'
				AND (lower(e.part ->> 'type') <> 'button' OR e.part ->> 'index' ~ '^[0-9]$'), false)), true)
			AND count(*) = count(DISTINCT (lower(e.part ->> 'type'), e.part ->> 'index'))
			AND coalesce(jsonb_typeof(content -> 'components') = 'array', true)
		FROM jsonb_array_elements(CASE WHEN jsonb_typeof(content -> 'components') = 'array' THEN content -> 'components' ELSE '[]' END) e (part))
	THEN
		RETURN NULL;
	END IF;
	RETURN jsonb_strip_nulls(jsonb_build_object('complaint', complaint, 'hint', hint));
END $$;
COMMENT ON FUNCTION whatsapp.template_fault(jsonb, text, jsonb) IS 'why Meta would refuse a message, given what its template needs (see whatsapp.template_needs()): an object with complaint, and perhaps detail and hint. NULL if nothing is known to be wrong';

CREATE FUNCTION whatsapp.template_complaint(phone_number_id text, recipient_key text, content jsonb)
RETURNS TABLE (complaint text, detail text, hint text)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT f.fault ->> 'complaint', f.fault ->> 'detail', f.fault ->> 'hint'
	FROM whatsapp.template_fault(
		whatsapp.template_needs(template_complaint.phone_number_id, content ->> 'name', content #>> '{language,code}'),
		template_complaint.recipient_key, content) f (fault)
	WHERE f.fault IS NOT NULL;
END;
COMMENT ON FUNCTION whatsapp.template_complaint(text, text, jsonb) IS 'why Meta would refuse a message of type template, as far as whatsapp.templates knows the template, and what to do about it; no row if nothing is known to be wrong';

CREATE FUNCTION whatsapp.import_templates(waba_id text, answer jsonb, at timestamptz DEFAULT now()) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	-- webhooks tell of times in seconds
	told_at CONSTANT timestamptz := date_trunc('second', coalesce(import_templates.at, now()));
	result integer;
BEGIN
	IF import_templates.waba_id IS NULL OR import_templates.waba_id = '' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'templates are of no account',
			HINT = 'Give the WhatsApp Business Account that Meta was asked for.';
	END IF;

	INSERT INTO whatsapp.templates AS t (waba_id, template_id, name, name_at, language, status, status_at, status_reason,
		quality, quality_at, category, category_at, components, components_at)
	SELECT import_templates.waba_id, i.template_id, i.name, told_at, i.language,
		i.status, CASE WHEN i.status IS NOT NULL THEN told_at END, i.reason,
		i.quality, CASE WHEN i.quality IS NOT NULL THEN told_at END,
		i.category, CASE WHEN i.category IS NOT NULL THEN told_at END,
		i.components, CASE WHEN i.components IS NOT NULL THEN told_at END
	FROM (
		SELECT DISTINCT ON (1)
			coalesce(s.strings ->> 'id', CASE WHEN jsonb_typeof(e.element -> 'id') = 'number' THEN e.element ->> 'id' END) AS template_id,
			s.strings ->> 'name' AS name, s.strings ->> 'language' AS language, s.strings ->> 'status' AS status,
			s.strings ->> 'rejected_reason' AS reason, s.strings ->> 'category' AS category,
			coalesce(s.strings ->> 'quality_score', CASE WHEN jsonb_typeof(e.element #> '{quality_score,score}') = 'string'
				THEN e.element #>> '{quality_score,score}' END) AS quality,
			CASE WHEN jsonb_typeof(e.element -> 'components') = 'array' THEN e.element -> 'components' END AS components
		FROM jsonb_array_elements(CASE
				WHEN jsonb_typeof(import_templates.answer) = 'array' THEN import_templates.answer
				WHEN jsonb_typeof(import_templates.answer -> 'data') = 'array' THEN import_templates.answer -> 'data'
				ELSE '[]'
			END) WITH ORDINALITY e (element, place)
		CROSS JOIN LATERAL (
			SELECT jsonb_object_agg(m.key, m.value) AS strings
			FROM jsonb_each(CASE WHEN jsonb_typeof(e.element) = 'object' THEN e.element ELSE '{}' END) m
			WHERE jsonb_typeof(m.value) = 'string'
		) s
		ORDER BY 1, e.place DESC
	) i
	-- (no name is longer, and the index takes none that is)
	WHERE i.template_id <> '' AND length(i.template_id) <= 100 AND i.name <> '' AND length(i.name) <= 512
		AND i.language <> '' AND length(i.language) <= 100
	ON CONFLICT ON CONSTRAINT templates_pkey DO UPDATE
	SET name = CASE WHEN excluded.name_at >= coalesce(t.name_at, '-infinity') THEN excluded.name ELSE t.name END,
		language = CASE WHEN excluded.name_at >= coalesce(t.name_at, '-infinity') THEN excluded.language ELSE t.language END,
		name_at = greatest(excluded.name_at, t.name_at),
		status = CASE WHEN excluded.status_at >= coalesce(t.status_at, '-infinity') THEN excluded.status ELSE t.status END,
		status_reason = CASE WHEN excluded.status_at >= coalesce(t.status_at, '-infinity') THEN excluded.status_reason ELSE t.status_reason END,
		status_at = greatest(excluded.status_at, t.status_at),
		quality = CASE WHEN excluded.quality_at >= coalesce(t.quality_at, '-infinity') THEN excluded.quality ELSE t.quality END,
		quality_at = greatest(excluded.quality_at, t.quality_at),
		category = CASE WHEN excluded.category_at >= coalesce(t.category_at, '-infinity') THEN excluded.category ELSE t.category END,
		category_at = greatest(excluded.category_at, t.category_at),
		components = CASE WHEN excluded.components_at >= coalesce(t.components_at, '-infinity') THEN excluded.components ELSE t.components END,
		components_at = greatest(excluded.components_at, t.components_at);
	GET DIAGNOSTICS result = ROW_COUNT;
	RETURN result;
END $$;
COMMENT ON FUNCTION whatsapp.import_templates(text, jsonb, timestamptz) IS 'files what Meta answers to GET /{WABA}/message_templates, page by page, in whatsapp.templates, as told at the time when Meta was asked: what is known from later stays. The answer as it is, or an array of templates; what is none is left out. Returns how many there were';

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
	priority integer NOT NULL DEFAULT 0 CHECK (priority > -2147483648),
	send_after timestamptz,
	expires_at timestamptz,
	idempotency_key text,
	callback_data text,
	options jsonb,
	marketing boolean,
	campaign text,
	state text NOT NULL DEFAULT 'queued'
		CHECK (state IN ('queued', 'sending', 'sent', 'failed', 'unknown', 'cancelled', 'expired')),
	waits_for text CHECK (waits_for IN ('turn', 'schedule', 'retry', 'hold', 'campaign')),
	attempts integer NOT NULL DEFAULT 0,
	deferrals integer NOT NULL DEFAULT 0,
	nonce text,
	retry_at timestamptz,
	message_id text,
	error_code integer,
	error_title text,
	error_details text,
	error text,
	fbtrace_id text,
	queued_by text NOT NULL DEFAULT session_user,
	created_at timestamptz NOT NULL DEFAULT now(),
	claimed_at timestamptz,
	finished_at timestamptz,
	failed_at timestamptz
) WITH (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0.01);
-- what may leave now: of each recipient, the next one
CREATE INDEX outbox_front_idx ON whatsapp.outbox (phone_number_id, (- priority), id)
	WHERE state = 'queued' AND waits_for IS NULL;
-- what the others to a recipient have to wait for: one that is on its way, or
-- is the next, or is to be tried again
CREATE INDEX outbox_head_idx ON whatsapp.outbox (phone_number_id, recipient_key, (state <> 'sending'), (- priority), id)
	WHERE (state = 'sending' OR state = 'queued' AND (waits_for IS NULL OR waits_for = 'retry'))
		AND type NOT IN ('mark_read', 'typing');
CREATE INDEX outbox_turn_idx ON whatsapp.outbox (phone_number_id, recipient_key, (- priority), id)
	WHERE state = 'queued' AND waits_for = 'turn';
CREATE INDEX outbox_time_idx ON whatsapp.outbox ((coalesce(greatest(send_after, retry_at), '-infinity')), (- priority), id)
	WHERE state = 'queued' AND waits_for IN ('schedule', 'retry');
CREATE INDEX outbox_hold_idx ON whatsapp.outbox (phone_number_id, (whatsapp.template_key(type, content)), (- priority), id)
	WHERE state = 'queued' AND waits_for = 'hold';
CREATE INDEX outbox_paused_idx ON whatsapp.outbox (phone_number_id, campaign, (- priority), id)
	WHERE state = 'queued' AND waits_for = 'campaign';
CREATE INDEX outbox_campaign_idx ON whatsapp.outbox (campaign, state, phone_number_id, waits_for)
	WHERE campaign IS NOT NULL;
CREATE INDEX outbox_sending_idx ON whatsapp.outbox (id) WHERE state = 'sending';
CREATE INDEX outbox_unknown_idx ON whatsapp.outbox (finished_at) WHERE state = 'unknown';
CREATE INDEX outbox_finished_idx ON whatsapp.outbox (finished_at) WHERE state IN ('sent', 'failed', 'cancelled', 'expired');
CREATE INDEX outbox_expires_idx ON whatsapp.outbox (expires_at)
	WHERE state = 'queued' AND expires_at IS NOT NULL;
CREATE UNIQUE INDEX outbox_idempotency_idx ON whatsapp.outbox (phone_number_id, idempotency_key)
	WHERE idempotency_key IS NOT NULL;
COMMENT ON TABLE whatsapp.outbox IS 'messages to send, and what came of them; insert to send';
COMMENT ON COLUMN whatsapp.outbox.id IS 'messages of one priority to one recipient leave in this order';
COMMENT ON COLUMN whatsapp.outbox.phone_number_id IS 'the number to send from; if there is but one, that';
COMMENT ON COLUMN whatsapp.outbox.recipient IS 'phone number with country code, BSUID, or id of a group';
COMMENT ON COLUMN whatsapp.outbox.recipient_type IS 'individual, or group';
COMMENT ON COLUMN whatsapp.outbox.recipient_key IS 'the recipient as Meta takes it';
COMMENT ON COLUMN whatsapp.outbox.type IS 'Meta''s word for what it is: text, image, template and so on';
COMMENT ON COLUMN whatsapp.outbox.body IS 'of a text message, the text';
COMMENT ON COLUMN whatsapp.outbox.content IS 'what Meta wants under the key that is named like the type; of a text message made from body, if NULL';
COMMENT ON COLUMN whatsapp.outbox.reply_to IS 'id of the message (wamid) that it answers';
COMMENT ON COLUMN whatsapp.outbox.priority IS 'of messages from one number, higher ones leave first';
COMMENT ON COLUMN whatsapp.outbox.send_after IS 'not to be sent before; NULL for at once';
COMMENT ON COLUMN whatsapp.outbox.expires_at IS 'not to be sent after; NULL for never mind';
COMMENT ON COLUMN whatsapp.outbox.idempotency_key IS 'anything that may be queued once only for a number';
COMMENT ON COLUMN whatsapp.outbox.callback_data IS 'comes back with each status, as whatsapp.statuses.callback_data; up to 460 characters';
COMMENT ON COLUMN whatsapp.outbox.options IS 'what else Meta wants beside the content, as an object, such as {"recipient_identity_key_hash": "..."}; of Direct Send: category, direct_send_config, ttl_seconds; of marketing messages: product_policy, message_activity_sharing, bid_spec';
COMMENT ON COLUMN whatsapp.outbox.marketing IS 'whether a template goes to /marketing_messages instead of /messages; if NULL, what whatsapp.numbers.marketing_messages says, for templates of which it is known that they are of category MARKETING';
COMMENT ON COLUMN whatsapp.outbox.campaign IS 'any name for messages that belong together; see whatsapp.campaigns';
COMMENT ON COLUMN whatsapp.outbox.state IS 'queued, sending, sent (accepted by Meta), failed, unknown (it may have been accepted), cancelled, expired';
COMMENT ON COLUMN whatsapp.outbox.waits_for IS 'what a queued message waits for: nothing if NULL, so that it is the next to its recipient; turn, as others to that recipient go first; schedule (send_after); retry (retry_at); hold, as its template is held; campaign, as its campaign is paused. Leave it to the default';
COMMENT ON COLUMN whatsapp.outbox.attempts IS 'how often it was tried to send it, but for what surely did not leave or had to wait';
COMMENT ON COLUMN whatsapp.outbox.deferrals IS 'how often in a row it surely did not leave, or had to wait, since the newest attempt that counts';
COMMENT ON COLUMN whatsapp.outbox.nonce IS 'random word of the newest attempt, by which a status is known to be of it; see whatsapp.callback_token()';
COMMENT ON COLUMN whatsapp.outbox.retry_at IS 'when it is to be tried again, at the earliest';
COMMENT ON COLUMN whatsapp.outbox.message_id IS 'the id that Meta has given it (wamid); see whatsapp.messages';
COMMENT ON COLUMN whatsapp.outbox.error_code IS 'code of Meta''s error, the newest; see whatsapp.error_classes. Of a message that was sent, of a status "failed" that came later';
COMMENT ON COLUMN whatsapp.outbox.error_title IS 'what Meta calls it';
COMMENT ON COLUMN whatsapp.outbox.error_details IS 'what Meta says of it';
COMMENT ON COLUMN whatsapp.outbox.error IS 'what went wrong, in a sentence';
COMMENT ON COLUMN whatsapp.outbox.fbtrace_id IS 'Meta''s support asks for it';
COMMENT ON COLUMN whatsapp.outbox.queued_by IS 'the role that was logged in';
COMMENT ON COLUMN whatsapp.outbox.created_at IS 'when it was queued; leave it to the default';
COMMENT ON COLUMN whatsapp.outbox.claimed_at IS 'when the newest attempt began';
COMMENT ON COLUMN whatsapp.outbox.finished_at IS 'when the state became final, or unknown';
COMMENT ON COLUMN whatsapp.outbox.failed_at IS 'when it failed; of a message that was sent, when a status "failed" said so';

-- What Meta would certainly refuse is refused where it is queued.  What a row
-- must be like by itself is here; the rules for contents are in src/rules.c;
-- and what a template that is known wants is in whatsapp.template_complaint().

CREATE FUNCTION whatsapp.message_rules(OUT rule integer, OUT type text, OUT path text, OUT kind text, OUT "limit" text,
	OUT wish text, OUT hint text, OUT source text)
RETURNS SETOF record
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'whatsapp_message_rules';
COMMENT ON FUNCTION whatsapp.message_rules() IS 'the rules for messages that are queued, in the order in which they are tried: the type of message (* is any), the path to what a rule is about, from the type, or from a column of whatsapp.outbox, the kind of rule, its limit or what else it needs to know, what it asks for, what to do about it, and the section of Meta''s reference for POST /messages that it is from';

CREATE FUNCTION whatsapp.complaint(type text, recipient_type text, body text, content jsonb, options jsonb,
	reply_to text, callback_data text,
	OUT complaint text, OUT detail text, OUT hint text, OUT rule integer)
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_complaint';
COMMENT ON FUNCTION whatsapp.complaint(text, text, text, jsonb, jsonb, text, text) IS 'the first of whatsapp.message_rules() that a message breaks: where and what it asks for, what there is instead, but not the text of the message, and what to do about it; NULL if it breaks none';

CREATE FUNCTION whatsapp.row_complaint(o whatsapp.outbox) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN o.phone_number_id IS NULL THEN
		E'message has no number to be sent from\nAdd a number with whatsapp.add_number(); if there are several, set phone_number_id.'
	WHEN o.recipient_type NOT IN ('individual', 'group') THEN
		E'message has an invalid recipient type\nSet recipient_type to individual or group.'
	WHEN o.type NOT IN ('mark_read', 'typing') AND coalesce(o.recipient, '') = '' THEN
		E'message has no recipient\nSet recipient to a phone number with country code, such as 15551234567.'
	WHEN o.type NOT IN ('mark_read', 'typing') AND o.recipient_key IS NULL THEN
		E'message has an invalid recipient\nSet recipient to a phone number with country code, such as 15551234567, to a BSUID, or with recipient_type = ''group'' to the id of a group.'
	WHEN o.type IS NULL OR o.type <> 'text' AND (o.type !~ '^[a-z][a-z0-9_]*$' OR o.type IN ('messaging_product', 'recipient_type', 'to', 'recipient', 'type', 'context', 'biz_opaque_callback_data',
		'status', 'message_id', 'typing_indicator')) THEN
		E'message has an invalid type\nSet type to Meta''s word for what it is, such as text, image or template.'
	WHEN o.type = 'text' AND o.content IS NULL AND coalesce(o.body, '') = '' THEN
		E'text message has no body\nSet body to what is to be said.'
	WHEN o.content IS NOT NULL AND o.body IS NOT NULL THEN
		E'message has both body and content\nSet body for a plain text message, and content for all others.'
	WHEN o.type <> 'text' AND o.body IS NOT NULL THEN
		E'message has a body, but is no text message\nSet content to what Meta''s documentation has under the key that is named like the type.'
	WHEN o.type <> 'text' AND o.content IS NULL OR o.content = 'null' THEN
		E'message has no content\nSet content to what Meta''s documentation has under the key that is named like the type.'
	WHEN o.options IS NOT NULL AND jsonb_typeof(o.options) <> 'object' THEN
		E'options of message are no object\nSet options to an object of what Meta wants beside the content.'
	WHEN o.marketing AND o.type <> 'template' THEN
		E'message to be sent as marketing is no template\nLeave marketing out, or send a template of category MARKETING.'
END;
COMMENT ON FUNCTION whatsapp.row_complaint(whatsapp.outbox) IS 'the first thing that is wrong with a row by itself, and on the next line what to do about it; NULL if it is fine. Of what is in its content, whatsapp.complaint() tells';

-- (A function that returns a set, as only such become part of the query that
-- calls them.)
CREATE FUNCTION whatsapp.outbox_complaint(o whatsapp.outbox)
RETURNS TABLE (complaint text, detail text, hint text)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT c.complaint, c.detail, c.hint
	FROM (
		SELECT 1 AS ord, split_part(r.complaint, E'\n', 1) AS complaint, NULL::text AS detail, split_part(r.complaint, E'\n', 2) AS hint
		FROM (SELECT whatsapp.row_complaint(o) AS complaint) r
		WHERE r.complaint IS NOT NULL
		UNION ALL
		SELECT 2 AS ord, 'message is to be sent from an unknown number' AS complaint, NULL::text AS detail,
			'Add the number with whatsapp.add_number(), or set phone_number_id to one of whatsapp.numbers.' AS hint
		WHERE NOT EXISTS (SELECT FROM whatsapp.numbers n WHERE n.phone_number_id = o.phone_number_id)
		UNION ALL
		SELECT 3, m.complaint, m.detail, m.hint
		FROM whatsapp.complaint(o.type, o.recipient_type, o.body, o.content, o.options, o.reply_to, o.callback_data) m
		WHERE m.complaint IS NOT NULL
		UNION ALL
		SELECT 4, t.complaint, t.detail, t.hint
		FROM whatsapp.template_complaint(o.phone_number_id, o.recipient_key, o.content) t
		WHERE o.type = 'template'
	) c
	ORDER BY c.ord
	LIMIT 1;
END;
COMMENT ON FUNCTION whatsapp.outbox_complaint(whatsapp.outbox) IS 'why a row cannot be sent, what there is instead, and what to do about it; no row if it can';

CREATE FUNCTION whatsapp.refusal(nbad bigint, nrows bigint, o whatsapp.outbox,
	OUT message text, OUT detail text, OUT hint text)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT
		CASE WHEN nrows = 1 THEN c.complaint
			ELSE format('%s of %s messages cannot be sent, the first because: %s', nbad, nrows, c.complaint) END,
		concat_ws(' ', c.detail, format(CASE WHEN nrows = 1 THEN 'The message is to %s.' ELSE 'The first is to %s.' END,
			CASE
				WHEN o.recipient IS NULL THEN 'nobody'
				-- arguments may have been mistaken for each other
				WHEN o.recipient_key IS NULL AND o.recipient ~ '[[:alpha:]]' AND o.recipient ~ '[[:space:]]' THEN 'what is none'
				ELSE quote_literal(regexp_replace(left(o.recipient, 100), '[[:cntrl:]]', '?', 'g'))
			END)),
		concat_ws(' ', c.hint, CASE WHEN nrows > 1 THEN 'whatsapp.why_not() tells which to leave out.' END)
	FROM whatsapp.outbox_complaint(o) c;
END;
COMMENT ON FUNCTION whatsapp.refusal(bigint, bigint, whatsapp.outbox) IS 'what to say when so many of so many rows cannot be sent, the first being that';

CREATE FUNCTION whatsapp.check_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	needs jsonb;
	bad record;
BEGIN
	IF EXISTS (SELECT FROM new_rows r WHERE r.type = 'template') THEN
		-- what templates want is found once for each (and there is no join, whose plan
		-- would be for some other number of rows)
		WITH used AS MATERIALIZED (
			SELECT DISTINCT r.phone_number_id, r.content ->> 'name' AS name, r.content #>> '{language,code}' AS language
			FROM new_rows r
			WHERE r.type = 'template' AND r.created_at = now() AND r.state = 'queued'
		), wanted AS MATERIALIZED (
			SELECT concat_ws(' ', u.phone_number_id, u.name, u.language) AS key,
				whatsapp.template_needs(u.phone_number_id, u.name, u.language) AS needs
			FROM used u
		)
		SELECT jsonb_object_agg(w.key, w.needs) INTO needs
		FROM wanted w
		WHERE w.needs IS NOT NULL;
	END IF;

	SELECT count(*) AS n, min(r.id) AS id
	INTO bad
	FROM new_rows r
	WHERE r.created_at = now() AND r.state = 'queued'
		AND (whatsapp.row_complaint(r) IS NOT NULL
			OR NOT EXISTS (SELECT FROM whatsapp.numbers n WHERE n.phone_number_id = r.phone_number_id)
			OR (whatsapp.complaint(r.type, r.recipient_type, r.body, r.content, r.options, r.reply_to, r.callback_data)).complaint IS NOT NULL
			OR needs IS NOT NULL AND r.type = 'template' AND whatsapp.template_fault(
				needs -> concat_ws(' ', r.phone_number_id, r.content ->> 'name', r.content #>> '{language,code}'),
				r.recipient_key, r.content) IS NOT NULL);

	IF bad.n > 0 THEN
		SELECT f.* INTO bad
		FROM new_rows r
		CROSS JOIN LATERAL whatsapp.refusal(bad.n, (SELECT count(*) FROM new_rows), r) f
		WHERE r.id = bad.id;
		RAISE EXCEPTION USING ERRCODE = 'WA001', MESSAGE = bad.message, DETAIL = bad.detail, HINT = bad.hint,
			SCHEMA = 'whatsapp', TABLE = 'outbox';
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.check_inserted() IS 'refuses messages that Meta would certainly refuse, with error WA001; but not rows that bring their own created_at, as these come from a dump';

CREATE TRIGGER check_inserted AFTER INSERT ON whatsapp.outbox
	REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.check_inserted();
COMMENT ON TRIGGER check_inserted ON whatsapp.outbox IS 'refuses messages that Meta would certainly refuse';

-- Only rows are looked at of which something has changed that there are rules
-- for, whatever they were before, or that are to be sent after all.  (Nested
-- loops are planned for few rows, and would go on for many; where they cannot be
-- avoided the plan seems expensive enough to be compiled.)
CREATE FUNCTION whatsapp.check_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
SET jit = off
AS $$
DECLARE
	bad record;
BEGIN
	IF whatsapp.in_sender() AND pg_trigger_depth() = 1 THEN
		RETURN NULL;
	END IF;
	PERFORM FROM new_rows r WHERE r.state IN ('queued', 'sending') LIMIT 1;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;

	WITH changed AS MATERIALIZED (
		SELECT c.id
		FROM (
			SELECT o.id, o.phone_number_id, o.recipient, o.recipient_type, o.type, o.body, o.content, o.reply_to, o.callback_data,
				o.options, o.marketing, o.state IN ('queued', 'sending') AS is_to_leave
			FROM old_rows o
			UNION ALL
			SELECT n.id, n.phone_number_id, n.recipient, n.recipient_type, n.type, n.body, n.content, n.reply_to, n.callback_data,
				n.options, n.marketing, n.state IN ('queued', 'sending')
			FROM new_rows n
		) c
		GROUP BY c.id, c.phone_number_id, c.recipient, c.recipient_type, c.type, c.body, c.content, c.reply_to, c.callback_data,
			c.options, c.marketing, c.is_to_leave
		HAVING count(*) = 1
	)
	SELECT count(*) AS n, min(r.id) AS id
	INTO bad
	FROM new_rows r
	WHERE r.state IN ('queued', 'sending') AND r.id IN (SELECT c.id FROM changed c)
		AND (whatsapp.row_complaint(r) IS NOT NULL
			OR NOT EXISTS (SELECT FROM whatsapp.numbers n WHERE n.phone_number_id = r.phone_number_id)
			OR (whatsapp.complaint(r.type, r.recipient_type, r.body, r.content, r.options, r.reply_to, r.callback_data)).complaint IS NOT NULL
			OR r.type = 'template' AND EXISTS (
				SELECT FROM whatsapp.template_complaint(r.phone_number_id, r.recipient_key, r.content)));

	IF bad.n > 0 THEN
		SELECT f.* INTO bad
		FROM new_rows r
		CROSS JOIN LATERAL whatsapp.refusal(bad.n, (SELECT count(*) FROM new_rows), r) f
		WHERE r.id = bad.id;
		RAISE EXCEPTION USING ERRCODE = 'WA001', MESSAGE = bad.message, DETAIL = bad.detail, HINT = bad.hint,
			SCHEMA = 'whatsapp', TABLE = 'outbox';
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.check_updated() IS 'refuses changes of queued messages that Meta would certainly refuse, with error WA001';

CREATE TRIGGER check_updated AFTER UPDATE ON whatsapp.outbox
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.check_updated();
COMMENT ON TRIGGER check_updated ON whatsapp.outbox IS 'refuses changes of messages that Meta would certainly refuse';

CREATE FUNCTION whatsapp.outbox_queued() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'whatsapp_outbox_queued';
COMMENT ON FUNCTION whatsapp.outbox_queued() IS 'has the sender woken when the transaction has committed';

-- Rows that come by logical replication are to be sent, too.
CREATE TRIGGER queued AFTER INSERT ON whatsapp.outbox
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.outbox_queued();
ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER queued;
COMMENT ON TRIGGER queued ON whatsapp.outbox IS 'has the sender woken when the transaction has committed';

-- Order.  A lane is what leaves one after the other: the messages from a number
-- to a recipient.  Read and typing calls are in none.

CREATE TABLE whatsapp.changed_lanes (
	change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	phone_number_id text NOT NULL,
	recipient_key text NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE whatsapp.changed_lanes IS 'recipients of whom the background worker is to find out which message is the next, as somebody else has queued or changed some';
COMMENT ON COLUMN whatsapp.changed_lanes.change_id IS 'the greater, the later';
COMMENT ON COLUMN whatsapp.changed_lanes.phone_number_id IS 'the number that messages are sent from';
COMMENT ON COLUMN whatsapp.changed_lanes.recipient_key IS 'the recipient';

CREATE TABLE whatsapp.tallies (
	tally_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	phone_number_id text NOT NULL,
	queued bigint NOT NULL,
	not_due bigint NOT NULL,
	sending bigint NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE whatsapp.tallies IS 'by how much the outbox has grown with each statement; the sum is how many rows there are. The background worker adds them up now and then';
COMMENT ON COLUMN whatsapp.tallies.tally_id IS 'the greater, the later';
COMMENT ON COLUMN whatsapp.tallies.phone_number_id IS 'the number that messages are sent from';
COMMENT ON COLUMN whatsapp.tallies.queued IS 'rows in state queued';
COMMENT ON COLUMN whatsapp.tallies.not_due IS 'those of them that wait for their time: send_after or retry_at';
COMMENT ON COLUMN whatsapp.tallies.sending IS 'rows in state sending';

CREATE FUNCTION whatsapp.is_news(what text) RETURNS boolean
LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'whatsapp_is_news';
COMMENT ON FUNCTION whatsapp.is_news(text) IS 'whether this has not been asked of the same in this session for ten minutes; for what is logged, so that it is not for each row again and again';

CREATE FUNCTION whatsapp.lane_front(phone_number_id text, recipient_key text)
RETURNS TABLE (id bigint, state text, priority integer)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT o.id, o.state, o.priority
	FROM whatsapp.outbox o
	WHERE o.phone_number_id = lane_front.phone_number_id AND o.recipient_key = lane_front.recipient_key
		AND (o.state = 'sending' OR o.state = 'queued' AND (o.waits_for IS NULL OR o.waits_for = 'retry'))
		AND o.type NOT IN ('mark_read', 'typing');
END;
COMMENT ON FUNCTION whatsapp.lane_front(text, text) IS 'the messages from a number to a recipient that others may have to wait for: those that are being sent, and those that do not wait for their turn';

CREATE FUNCTION whatsapp.lane_head(phone_number_id text, recipient_key text)
RETURNS TABLE (id bigint, state text, priority integer)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT f.id, f.state, f.priority
	FROM whatsapp.lane_front(lane_head.phone_number_id, lane_head.recipient_key) f
	ORDER BY (f.state <> 'sending'), (- f.priority), f.id
	LIMIT 1;
END;
COMMENT ON FUNCTION whatsapp.lane_head(text, text) IS 'the message from a number to a recipient that all others wait for: the one that is being sent, else the next of those that do not wait for their turn; no row if there is none';

CREATE FUNCTION whatsapp.template_hold(phone_number_id text, type text, content jsonb)
RETURNS TABLE (key text)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT h.key
	FROM whatsapp.holds h
	WHERE h.phone_number_id = template_hold.phone_number_id AND h.kind = 'template'
		AND h.key = whatsapp.template_key(template_hold.type, template_hold.content)
		AND (h.until IS NULL OR h.until > now());
END;
COMMENT ON FUNCTION whatsapp.template_hold(text, text, jsonb) IS 'the hold that a message is under because of its template; no row if there is none';

CREATE FUNCTION whatsapp.campaign_hold(phone_number_id text, campaign text)
RETURNS TABLE (key text)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT h.key
	FROM whatsapp.holds h
	WHERE h.phone_number_id = campaign_hold.phone_number_id AND h.kind = 'campaign' AND h.key = campaign_hold.campaign
		AND (h.until IS NULL OR h.until > now());
END;
COMMENT ON FUNCTION whatsapp.campaign_hold(text, text) IS 'the hold that a message is under because its campaign is paused; no row if there is none';

-- Who somebody is takes time to find out.  So that is done only for recipients
-- that anything connects with somebody who has said stop: from the one or the
-- other end, whichever are fewer.  What is missed here is met by claim_rows().
CREATE FUNCTION whatsapp.fail_opted_out(ids bigint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_mergejoin = off
AS $$
DECLARE
	rows bigint[];
	numbers text[];
	people text[];
	which_numbers text[];
	stop_numbers text[];
	stop_people text[];
	found_numbers text[];
	found_people text[];
	from_stops boolean;
BEGIN
	WITH queued AS MATERIALIZED (
		SELECT o.id, o.phone_number_id, o.recipient_key, o.marketing, o.content ->> 'name' AS name,
			o.content #>> '{language,code}' AS language
		FROM whatsapp.outbox o
		WHERE o.id = ANY (ids) AND o.state = 'queued' AND o.recipient_type = 'individual'
	), of_marketing AS MATERIALIZED (
		SELECT d.phone_number_id, d.name, d.language
		FROM (
			SELECT min(q.id) AS id, q.phone_number_id, q.name, q.language
			FROM queued q
			GROUP BY q.phone_number_id, q.name, q.language
		) d
		JOIN whatsapp.outbox o ON o.id = d.id
		WHERE whatsapp.is_of_marketing(o)
	)
	SELECT array_agg(q.id), array_agg(q.phone_number_id), array_agg(ltrim(q.recipient_key, '+')), array_agg(DISTINCT q.phone_number_id)
	INTO rows, numbers, people, which_numbers
	FROM queued q
	WHERE q.marketing
		OR (q.phone_number_id, q.name, q.language) IN (SELECT m.phone_number_id, m.name, m.language FROM of_marketing m);
	IF rows IS NULL THEN
		RETURN;
	END IF;

	SELECT array_agg(s.phone_number_id), array_agg(s.participant) INTO stop_numbers, stop_people
	FROM (
		SELECT u.phone_number_id, u.participant
		FROM whatsapp.user_preferences u
		WHERE u.phone_number_id = ANY (which_numbers) AND u.category = 'marketing_messages' AND u.value = 'stop'
		LIMIT cardinality(rows) + 1
	) s;
	from_stops := cardinality(stop_numbers) <= cardinality(rows);

	WITH RECURSIVE linked (phone_number_id, first, id) AS (
		SELECT f.number, f.person, f.person
		FROM unnest(CASE WHEN from_stops THEN stop_numbers ELSE numbers END,
			CASE WHEN from_stops THEN stop_people ELSE people END) f (number, person)
		WHERE from_stops IS NOT NULL
		UNION
		SELECT l.phone_number_id, l.first, k.id
		FROM linked l
		CROSS JOIN LATERAL (
			SELECT s.value
			FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = l.phone_number_id AND s.contact_key = l.id AND s.kind IN ('wa_id', 'input')
			UNION ALL
			SELECT s.contact_key
			FROM whatsapp.contact_sightings s
			WHERE s.phone_number_id = l.phone_number_id AND s.kind IN ('wa_id', 'input') AND s.value = l.id
			UNION ALL
			SELECT v.id
			FROM (
				SELECT c.* FROM whatsapp.contact_changes c WHERE c.phone_number_id = l.phone_number_id AND c.old_wa_id = l.id
				UNION ALL
				SELECT c.* FROM whatsapp.contact_changes c WHERE c.phone_number_id = l.phone_number_id AND c.old_user_id = l.id
				UNION ALL
				SELECT c.* FROM whatsapp.contact_changes c WHERE c.phone_number_id = l.phone_number_id AND c.new_wa_id = l.id
				UNION ALL
				SELECT c.* FROM whatsapp.contact_changes c WHERE c.phone_number_id = l.phone_number_id AND c.new_user_id = l.id
			) c
			CROSS JOIN LATERAL (VALUES (c.old_wa_id), (c.old_user_id), (c.new_wa_id), (c.new_user_id)) v (id)
			UNION ALL
			SELECT whatsapp.other_form(l.id)
		) k (id)
		WHERE k.id <> ''
	)
	SELECT array_agg(l.phone_number_id), array_agg(CASE WHEN from_stops THEN l.id ELSE l.first END)
	INTO found_numbers, found_people
	FROM linked l
	WHERE from_stops OR 'stop' = (
		SELECT u.value
		FROM whatsapp.user_preferences u
		WHERE u.phone_number_id = l.phone_number_id AND u.participant = l.id AND u.category = 'marketing_messages');

	-- (no join, whose plan would be for some other number of them)
	rows := ARRAY(
		SELECT r.id
		FROM unnest(rows, numbers, people) r (id, number, person)
		WHERE ((r.number, r.person) IN (SELECT f.number, f.person FROM unnest(found_numbers, found_people) f (number, person))) IS TRUE);
	UPDATE whatsapp.outbox o
	SET state = 'failed', finished_at = now(), failed_at = now(), error_code = 131050, error = 'The recipient wants no marketing messages.'
	WHERE o.id = ANY (rows) AND whatsapp.is_opted_out(o);
EXCEPTION WHEN OTHERS THEN
	-- as in place_inserted(): that will be met when they are claimed
	NULL;
END $$;
COMMENT ON FUNCTION whatsapp.fail_opted_out(bigint[]) IS 'has those rows fail that are marketing messages to recipients who want none: but for few that are found only when they are claimed';

-- The settings keep plans from being made for a table of some other size, which
-- would be kept for as long as the session lasts; or from being such that all
-- that is queued for a recipient is read for each row.
CREATE FUNCTION whatsapp.place_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
	templates bigint[];
	scheduled bigint[];
	held bigint[];
	paused bigint[];
	behind bigint[];
BEGIN
	INSERT INTO whatsapp.tallies (phone_number_id, queued, not_due, sending)
	SELECT n.phone_number_id,
		count(*) FILTER (WHERE n.state = 'queued'),
		count(*) FILTER (WHERE n.state = 'queued' AND n.waits_for IN ('schedule', 'retry')),
		count(*) FILTER (WHERE n.state = 'sending')
	FROM new_rows n
	WHERE n.state IN ('queued', 'sending') AND n.phone_number_id IS NOT NULL
	GROUP BY n.phone_number_id;

	-- before anything waits for them
	IF EXISTS (SELECT FROM whatsapp.user_preferences u WHERE u.category = 'marketing_messages' AND u.value = 'stop') THEN
		SELECT array_agg(n.id) INTO templates
		FROM new_rows n
		WHERE n.type = 'template' AND n.state = 'queued' AND n.created_at = now();
		IF templates IS NOT NULL THEN
			PERFORM whatsapp.fail_opted_out(templates);
		END IF;
	END IF;

	SELECT array_agg(p.id) FILTER (WHERE p.place = 'schedule'),
		array_agg(p.id) FILTER (WHERE p.place = 'hold'),
		array_agg(p.id) FILTER (WHERE p.place = 'campaign'),
		array_agg(p.id) FILTER (WHERE p.place = 'turn')
	INTO scheduled, held, paused, behind
	FROM (
		SELECT n.id,
			CASE
				WHEN n.send_after > now() THEN 'schedule'
				WHEN n.campaign IS NOT NULL AND EXISTS (
					SELECT FROM whatsapp.campaign_hold(n.phone_number_id, n.campaign)) THEN 'campaign'
				WHEN n.type = 'template' AND EXISTS (
					SELECT FROM whatsapp.template_hold(n.phone_number_id, n.type, n.content)) THEN 'hold'
				WHEN n.type NOT IN ('mark_read', 'typing') AND h.id <> n.id THEN 'turn'
			END AS place
		FROM new_rows n
		LEFT JOIN LATERAL whatsapp.lane_head(n.phone_number_id, n.recipient_key) h ON true
		WHERE n.state = 'queued' AND n.waits_for IS NULL AND n.created_at = now()
	) p
	WHERE p.place IS NOT NULL;

	BEGIN
		IF scheduled IS NOT NULL THEN
			UPDATE whatsapp.outbox o SET waits_for = 'schedule' WHERE o.id = ANY (scheduled) AND o.state = 'queued';
		END IF;
		IF held IS NOT NULL THEN
			UPDATE whatsapp.outbox o SET waits_for = 'hold' WHERE o.id = ANY (held) AND o.state = 'queued';
		END IF;
		IF paused IS NOT NULL THEN
			UPDATE whatsapp.outbox o SET waits_for = 'campaign' WHERE o.id = ANY (paused) AND o.state = 'queued';
		END IF;
		IF behind IS NOT NULL THEN
			-- what they are behind may end before this is committed, and be none
			-- the wiser
			WITH placed AS (
				UPDATE whatsapp.outbox o SET waits_for = 'turn' WHERE o.id = ANY (behind) AND o.state = 'queued'
				RETURNING o.phone_number_id, o.recipient_key
			)
			INSERT INTO whatsapp.changed_lanes (phone_number_id, recipient_key)
			SELECT DISTINCT p.phone_number_id, p.recipient_key
			FROM placed p;
		END IF;
	EXCEPTION WHEN OTHERS THEN
		-- something objects to a row that is changed: that will be met when it is
		-- claimed
		NULL;
	END;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.place_inserted() IS 'says what messages that are queued wait for, or has them fail if their recipients want none such, and counts them';

CREATE TRIGGER place_inserted AFTER INSERT ON whatsapp.outbox
	REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.place_inserted();
ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER place_inserted;
COMMENT ON TRIGGER place_inserted ON whatsapp.outbox IS 'says what messages that are queued wait for, and counts them';

-- (No join of the old rows with the new ones: there may be one of them, or a
-- million, and the plan is the same.)
CREATE FUNCTION whatsapp.note_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO whatsapp.tallies (phone_number_id, queued, not_due, sending)
	SELECT c.phone_number_id, sum(c.one * c.queued), sum(c.one * c.not_due), sum(c.one * c.sending)
	FROM (
		SELECT o.phone_number_id, -1 AS one, (o.state = 'queued')::integer AS queued,
			(o.state = 'queued' AND coalesce(o.waits_for IN ('schedule', 'retry'), false))::integer AS not_due,
			(o.state = 'sending')::integer AS sending
		FROM old_rows o
		UNION ALL
		SELECT n.phone_number_id, 1, (n.state = 'queued')::integer,
			(n.state = 'queued' AND coalesce(n.waits_for IN ('schedule', 'retry'), false))::integer,
			(n.state = 'sending')::integer
		FROM new_rows n
	) c
	WHERE c.phone_number_id IS NOT NULL
	GROUP BY c.phone_number_id
	HAVING sum(c.one * c.queued) <> 0 OR sum(c.one * c.not_due) <> 0 OR sum(c.one * c.sending) <> 0;

	-- the background worker knows what it does, but not what is done because of it
	IF whatsapp.in_sender() AND pg_trigger_depth() = 1 THEN
		RETURN NULL;
	END IF;
	INSERT INTO whatsapp.changed_lanes (phone_number_id, recipient_key)
	SELECT DISTINCT c.phone_number_id, c.recipient_key
	FROM (
		SELECT r.phone_number_id, r.recipient_key
		FROM (
			SELECT o.id, o.state, o.phone_number_id, o.recipient_key, o.priority, o.type FROM old_rows o
			UNION ALL
			SELECT n.id, n.state, n.phone_number_id, n.recipient_key, n.priority, n.type FROM new_rows n
		) r
		WHERE r.state IN ('queued', 'sending')
		GROUP BY r.id, r.state, r.phone_number_id, r.recipient_key, r.priority, r.type
		HAVING count(*) = 1
	) c
	WHERE c.phone_number_id IS NOT NULL AND c.recipient_key IS NOT NULL;
	IF FOUND THEN
		PERFORM whatsapp.wake_sender();
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.note_updated() IS 'counts messages whose state has changed, and notes whose order has';

CREATE TRIGGER note_updated AFTER UPDATE ON whatsapp.outbox
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.note_updated();
ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER note_updated;
COMMENT ON TRIGGER note_updated ON whatsapp.outbox IS 'counts messages whose state has changed, and notes whose order has';

CREATE FUNCTION whatsapp.note_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO whatsapp.tallies (phone_number_id, queued, not_due, sending)
	SELECT o.phone_number_id,
		- count(*) FILTER (WHERE o.state = 'queued'),
		- count(*) FILTER (WHERE o.state = 'queued' AND o.waits_for IN ('schedule', 'retry')),
		- count(*) FILTER (WHERE o.state = 'sending')
	FROM old_rows o
	WHERE o.state IN ('queued', 'sending') AND o.phone_number_id IS NOT NULL
	GROUP BY o.phone_number_id;

	INSERT INTO whatsapp.changed_lanes (phone_number_id, recipient_key)
	SELECT DISTINCT o.phone_number_id, o.recipient_key
	FROM old_rows o
	WHERE (o.state = 'sending' OR o.state = 'queued' AND (o.waits_for IS NULL OR o.waits_for = 'retry'))
		AND o.phone_number_id IS NOT NULL AND o.recipient_key IS NOT NULL;
	IF FOUND THEN
		PERFORM whatsapp.wake_sender();
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.note_deleted() IS 'counts messages that are deleted, and notes whose order that changes';

CREATE TRIGGER note_deleted AFTER DELETE ON whatsapp.outbox
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.note_deleted();
ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER note_deleted;
COMMENT ON TRIGGER note_deleted ON whatsapp.outbox IS 'counts messages that are deleted, and notes whose order that changes';

CREATE FUNCTION whatsapp.note_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM whatsapp.tallies;
	DELETE FROM whatsapp.changed_lanes;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.note_truncated() IS 'counts no messages any more';

CREATE TRIGGER note_truncated AFTER TRUNCATE ON whatsapp.outbox
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.note_truncated();
ALTER TABLE whatsapp.outbox ENABLE ALWAYS TRIGGER note_truncated;
COMMENT ON TRIGGER note_truncated ON whatsapp.outbox IS 'counts no messages any more';

-- What came of attempts, but for plain successes.

CREATE TABLE whatsapp.attempts (
	attempt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	outbox_id bigint NOT NULL,
	attempt integer NOT NULL,
	at timestamptz NOT NULL DEFAULT now(),
	what text NOT NULL,
	state text NOT NULL,
	retry_at timestamptz,
	http_status integer,
	class text,
	error_code integer,
	error_subcode integer,
	error_title text,
	error_details text,
	error text,
	fbtrace_id text
);
CREATE INDEX attempts_outbox_idx ON whatsapp.attempts (outbox_id);
CREATE INDEX attempts_at_idx ON whatsapp.attempts (at);
COMMENT ON TABLE whatsapp.attempts IS 'what came of attempts to send messages, but for plain successes. One that comes to the same as the one before, and does not count, is not listed again';
COMMENT ON COLUMN whatsapp.attempts.attempt_id IS 'the greater, the later';
COMMENT ON COLUMN whatsapp.attempts.outbox_id IS 'the row of whatsapp.outbox';
COMMENT ON COLUMN whatsapp.attempts.attempt IS 'which attempt it was, as whatsapp.outbox.attempts then said';
COMMENT ON COLUMN whatsapp.attempts.at IS 'when it was recorded';
COMMENT ON COLUMN whatsapp.attempts.what IS 'refused (by Meta), not sent (surely), unknown (no answer, or none that makes sense), interrupted (the worker or the server ended), evidence (a status told that it was accepted after all), policy (nothing told for too long, and whatsapp.unknown_policy has decided), by hand (somebody has)';
COMMENT ON COLUMN whatsapp.attempts.state IS 'the state of the row after that';
COMMENT ON COLUMN whatsapp.attempts.retry_at IS 'when it was to be tried again';
COMMENT ON COLUMN whatsapp.attempts.http_status IS 'the HTTP status, if there was an answer';
COMMENT ON COLUMN whatsapp.attempts.class IS 'what was done about the error; see whatsapp.error_classes';
COMMENT ON COLUMN whatsapp.attempts.error_code IS 'code of Meta''s error';
COMMENT ON COLUMN whatsapp.attempts.error_subcode IS 'and its subcode';
COMMENT ON COLUMN whatsapp.attempts.error_title IS 'what Meta calls it';
COMMENT ON COLUMN whatsapp.attempts.error_details IS 'what Meta says of it';
COMMENT ON COLUMN whatsapp.attempts.error IS 'what went wrong, in a sentence';
COMMENT ON COLUMN whatsapp.attempts.fbtrace_id IS 'Meta''s support asks for it';

-- For people: to queue, to think again, and to decide what nobody knows.  All
-- of these run as who calls them.

CREATE FUNCTION whatsapp.enqueue(
	recipient text, type text, body text, content jsonb,
	from_number text DEFAULT NULL,
	recipient_type text DEFAULT 'individual',
	reply_to text DEFAULT NULL,
	callback_data text DEFAULT NULL,
	send_after timestamptz DEFAULT NULL,
	expires_at timestamptz DEFAULT NULL,
	priority integer DEFAULT 0,
	idempotency_key text DEFAULT NULL,
	options jsonb DEFAULT NULL,
	campaign text DEFAULT NULL,
	marketing boolean DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	sender text := coalesce(enqueue.from_number, whatsapp.default_number());
	attempt integer := 0;
	result bigint;
BEGIN
	LOOP
		INSERT INTO whatsapp.outbox (phone_number_id, recipient, recipient_type, type, body, content,
			reply_to, callback_data, send_after, expires_at, priority, idempotency_key, options, campaign, marketing)
		VALUES (sender, enqueue.recipient, coalesce(enqueue.recipient_type, 'individual'), coalesce(enqueue.type, ''),
			enqueue.body, enqueue.content, enqueue.reply_to, enqueue.callback_data, enqueue.send_after,
			enqueue.expires_at, coalesce(enqueue.priority, 0), enqueue.idempotency_key, enqueue.options,
			enqueue.campaign, enqueue.marketing)
		ON CONFLICT (phone_number_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
		RETURNING id INTO result;
		EXIT WHEN result IS NOT NULL;

		-- it may be deleted before we look, but not each time
		SELECT o.id INTO result
		FROM whatsapp.outbox o
		WHERE o.phone_number_id = sender AND o.idempotency_key = enqueue.idempotency_key;
		EXIT WHEN result IS NOT NULL;
		attempt := attempt + 1;
		IF attempt = 10 THEN
			RAISE EXCEPTION USING
				ERRCODE = 'unique_violation',
				MESSAGE = 'idempotency key is that of a message which you may not see',
				HINT = 'Another role has queued it.';
		END IF;
	END LOOP;
	RETURN result;
END $$;
COMMENT ON FUNCTION whatsapp.enqueue(text, text, text, jsonb, text, text, text, text, timestamptz, timestamptz, integer, text, jsonb, text, boolean) IS 'queues a message of any type, as an INSERT into whatsapp.outbox does, and returns its id; if one with that idempotency_key was queued for the number before, the id of that, and nothing else happens. Error WA001 if it cannot be sent as it is';

-- What contents are made of.

CREATE FUNCTION whatsapp.without_nulls(object jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT coalesce(jsonb_object_agg(e.key, e.value) FILTER (WHERE e.value <> 'null'), '{}')
	FROM jsonb_each(object) e;
END;
COMMENT ON FUNCTION whatsapp.without_nulls(jsonb) IS 'an object without those of its keys that are null; not of what is in it';

CREATE FUNCTION whatsapp.elements(list jsonb) RETURNS TABLE (element jsonb, place integer)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT e.value, e.ordinality::integer - 1
	FROM jsonb_array_elements(CASE WHEN jsonb_typeof(list) = 'array' THEN list WHEN list <> 'null' THEN jsonb_build_array(list) ELSE '[]' END)
		WITH ORDINALITY e;
END;
COMMENT ON FUNCTION whatsapp.elements(jsonb) IS 'the elements of an array, and their places in it, from 0; what is no array is the only one, and null is none';

CREATE FUNCTION whatsapp.interactive(type text, header text, header_media jsonb, body text, footer text, action jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN whatsapp.without_nulls(jsonb_build_object(
	'type', type,
	'header', CASE
		-- (both are refused)
		WHEN header IS NOT NULL AND header_media IS NOT NULL THEN jsonb_build_array(header, header_media)
		WHEN header IS NOT NULL THEN jsonb_build_object('type', 'text', 'text', header)
		WHEN header_media ? 'type' THEN header_media
		WHEN jsonb_typeof(header_media) = 'object' THEN
			jsonb_build_object('type', (SELECT k FROM jsonb_object_keys(header_media) k LIMIT 1)) || header_media
		ELSE header_media
	END,
	'body', CASE WHEN body IS NOT NULL THEN jsonb_build_object('text', body) END,
	'footer', CASE WHEN footer IS NOT NULL THEN jsonb_build_object('text', footer) END,
	'action', action));
COMMENT ON FUNCTION whatsapp.interactive(text, text, jsonb, text, text, jsonb) IS 'the content of an interactive message: its header is a text, or media such as {"image": {"link": "https://..."}}';

CREATE FUNCTION whatsapp.reply_buttons(buttons jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT jsonb_agg(
		CASE
			WHEN e.element ? 'reply' THEN e.element
			WHEN jsonb_typeof(e.element) = 'object' THEN jsonb_build_object('type', 'reply', 'reply', e.element)
			ELSE jsonb_build_object('type', 'reply', 'reply', jsonb_build_object('id', e.element, 'title', e.element))
		END ORDER BY e.place)
	FROM whatsapp.elements(buttons) e;
END;
COMMENT ON FUNCTION whatsapp.reply_buttons(jsonb) IS 'buttons as Meta takes them, from an array of {"id", "title"}, or of titles, which are the ids, too';

CREATE FUNCTION whatsapp.list_sections(sections jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN jsonb_path_exists(sections, 'lax $[*].rows') THEN sections
	ELSE jsonb_build_array(jsonb_build_object('rows', sections))
END;
COMMENT ON FUNCTION whatsapp.list_sections(jsonb) IS 'sections of a list as Meta takes them, from these, or from an array of rows, which are in one section then';

CREATE FUNCTION whatsapp.product_sections(sections jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE
		WHEN jsonb_path_exists(sections, 'lax $[*].product_items') THEN sections
		ELSE jsonb_build_array(jsonb_build_object('product_items', (
			SELECT jsonb_agg(CASE
					WHEN jsonb_typeof(e.element) = 'string' THEN jsonb_build_object('product_retailer_id', e.element)
					ELSE e.element
				END ORDER BY e.place)
			FROM whatsapp.elements(sections) e)))
	END;
END;
COMMENT ON FUNCTION whatsapp.product_sections(jsonb) IS 'sections of products as Meta takes them, from these, or from an array of product_retailer_ids, which are in one section then';

CREATE FUNCTION whatsapp.carousel_cards(cards jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT jsonb_agg(CASE
			WHEN jsonb_typeof(e.element) = 'object' THEN jsonb_build_object('card_index', e.place) || e.element
			ELSE e.element
		END ORDER BY e.place)
	FROM whatsapp.elements(cards) e;
END;
COMMENT ON FUNCTION whatsapp.carousel_cards(jsonb) IS 'cards of a carousel, each with its card_index';

CREATE FUNCTION whatsapp.template_parameter(value jsonb, name text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	-- (of an array there is no text, which is refused then)
	WHEN jsonb_typeof(value) <> 'object' THEN jsonb_build_object('type', 'text')
		|| jsonb_strip_nulls(jsonb_build_object('text', CASE WHEN jsonb_typeof(value) <> 'array' THEN value #>> '{}' END))
	WHEN value ? 'type' THEN value
	ELSE jsonb_build_object('type', jsonb_path_query_first(value, '$.keyvalue().key')) || value
END || CASE WHEN name IS NULL THEN '{}' ELSE jsonb_build_object('parameter_name', name) END;
COMMENT ON FUNCTION whatsapp.template_parameter(jsonb, text) IS 'a parameter of a template, with a name or without: a text, a number, or an object such as {"currency": {...}} or {"type": ...}';

CREATE FUNCTION whatsapp.template_parameters(params jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF jsonb_typeof(params) <> 'object' THEN
		RETURN (
			SELECT jsonb_agg(whatsapp.template_parameter(e.element, NULL) ORDER BY e.place)
			FROM whatsapp.elements(params) e);
	END IF;
	RETURN (
		SELECT CASE
			WHEN bool_and(e.key ~ '^[0-9]{1,4}$') THEN
				jsonb_agg(whatsapp.template_parameter(e.value, NULL)
					ORDER BY CASE WHEN e.key ~ '^[0-9]{1,4}$' THEN e.key::integer END)
			ELSE jsonb_agg(whatsapp.template_parameter(e.value, e.key) ORDER BY e.key)
		END
		FROM jsonb_each(params) e);
END $$;
COMMENT ON FUNCTION whatsapp.template_parameters(jsonb) IS 'parameters of a template''s text: from an array by position, from an object by name, or by position if all its keys are numbers';

CREATE FUNCTION whatsapp.template_header(header jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN jsonb_typeof(header) = 'array'
		OR jsonb_typeof(header) = 'object' AND NOT header ?| '{type, image, video, document, gif, location, product}'
		THEN whatsapp.template_parameters(header)
	ELSE jsonb_build_array(whatsapp.template_parameter(header, NULL))
END;
COMMENT ON FUNCTION whatsapp.template_header(jsonb) IS 'parameters of a template''s header: a text, ["text"], {"name": "text"}, or {"image": {"link": "https://..."}}, and likewise video, document, gif, location, product';

CREATE FUNCTION whatsapp.template_button(button jsonb, index text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE
		WHEN button ? 'sub_type' THEN jsonb_build_object('type', 'button', 'index', index) || button
		ELSE jsonb_build_object('type', 'button', 'sub_type', k.sub_type, 'index', index, 'parameters', jsonb_build_array(
			CASE k.sub_type
				WHEN 'url' THEN jsonb_build_object('type', 'text', 'text', k.value #>> '{}')
				WHEN 'quick_reply' THEN jsonb_build_object('type', 'payload', 'payload', k.value)
				WHEN 'copy_code' THEN jsonb_build_object('type', 'coupon_code', 'coupon_code', k.value)
				WHEN 'voice_call' THEN jsonb_build_object('type', 'ttl_minutes', 'ttl_minutes', k.value)
				WHEN 'order_details' THEN jsonb_build_object('type', 'action', 'action', jsonb_build_object('order_details', k.value))
				ELSE jsonb_build_object('type', 'action', 'action', k.value)
			END)
			|| CASE
				WHEN k.sub_type = 'voice_call' AND button ? 'payload' THEN
					jsonb_build_array(jsonb_build_object('type', 'payload', 'payload', button -> 'payload'))
				ELSE '[]'
			END)
	END
	FROM (
		SELECT CASE WHEN jsonb_typeof(button) = 'object' THEN e.key ELSE 'url' END AS sub_type, coalesce(e.value, button) AS value
		FROM (SELECT) nothing
		LEFT JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(button) = 'object' THEN button - 'payload'::text END) e ON true
		LIMIT 1
	) k;
END;
COMMENT ON FUNCTION whatsapp.template_button(jsonb, text) IS 'what a button of a template is sent with: {"url": "end of the URL"} or that as a text, {"quick_reply": "payload"}, {"copy_code": "code"}, {"flow": {...}}, {"catalog": {...}}, {"mpm": {...}}, {"order_details": {...}}, {"voice_call": minutes} with a {"payload"} if wanted, or the component itself, if it has a sub_type';

CREATE FUNCTION whatsapp.template_content(name text, language text,
	params jsonb DEFAULT NULL, header jsonb DEFAULT NULL, buttons jsonb DEFAULT NULL, components jsonb DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	parts jsonb := '[]';
BEGIN
	IF header NOT IN ('null', '[]', '{}') THEN
		parts := parts || jsonb_build_object('type', 'header', 'parameters', whatsapp.template_header(header));
	END IF;
	IF params NOT IN ('null', '[]', '{}') THEN
		parts := parts || jsonb_build_object('type', 'body', 'parameters', whatsapp.template_parameters(params));
	END IF;
	IF jsonb_typeof(buttons) = 'object' THEN
		parts := parts || coalesce((
			SELECT jsonb_agg(whatsapp.template_button(b.value, b.key) ORDER BY b.key)
			FROM jsonb_each(buttons) b
			WHERE b.value <> 'null'), '[]');
	ELSIF buttons <> 'null' THEN
		parts := parts || coalesce((
			SELECT jsonb_agg(whatsapp.template_button(b.element, b.place::text) ORDER BY b.place)
			FROM whatsapp.elements(buttons) b
			WHERE b.element <> 'null'), '[]');
	END IF;
	IF components <> 'null' THEN
		parts := parts || components;
	END IF;
	RETURN jsonb_strip_nulls(jsonb_build_object('name', name, 'language', jsonb_build_object('code', language)))
		|| CASE WHEN parts <> '[]' THEN jsonb_build_object('components', parts) ELSE '{}' END;
END $$;
COMMENT ON FUNCTION whatsapp.template_content(text, text, jsonb, jsonb, jsonb, jsonb) IS 'the content of a message of type template, to be inserted into whatsapp.outbox: of the template''s name and language, the parameters of its body ({"name": "Ada"}, or ["Ada"]), its header, and its buttons, an array of what the first, the second and so on are sent with (null for nothing), or an object by their positions, from 0. Carousels, offers and what Meta adds next are given as components';

-- A function for each kind of message that Meta documents.  Their arguments are
-- the recipient, what is special about the kind, and what all have.
DO $$
DECLARE
	common CONSTANT text := '
	from_number text DEFAULT NULL,
	reply_to text DEFAULT NULL,
	callback_data text DEFAULT NULL,
	send_after timestamptz DEFAULT NULL,
	expires_at timestamptz DEFAULT NULL,
	priority integer DEFAULT 0,
	idempotency_key text DEFAULT NULL,
	recipient_type text DEFAULT %L,
	options jsonb DEFAULT NULL,
	campaign text DEFAULT NULL';
	passed CONSTANT text := 'from_number => from_number, recipient_type => recipient_type, reply_to => reply_to,
		callback_data => callback_data, send_after => send_after, expires_at => expires_at,
		priority => priority, idempotency_key => idempotency_key, options => options, campaign => campaign';
	media CONSTANT text := 'link text DEFAULT NULL, media_id text DEFAULT NULL';
	headed CONSTANT text := 'header text DEFAULT NULL, header_media jsonb DEFAULT NULL, footer text DEFAULT NULL';
	k record;
BEGIN
	FOR k IN
		SELECT f.name, f.arguments, f.type, f.body, f.content, f.comment,
			CASE WHEN f.type = 'pin' THEN 'group' ELSE 'individual' END AS recipient_type,
			CASE WHEN f.type = 'template' THEN ', marketing => marketing' ELSE '' END AS more
		FROM (VALUES
		('send_text', 'body text, preview_url boolean DEFAULT false', 'text',
			$f$CASE WHEN preview_url IS NOT TRUE THEN body END$f$,
			$f$CASE WHEN preview_url AND body <> '' THEN jsonb_build_object('body', body, 'preview_url', true) END$f$,
			'queues a text message, of up to 4096 characters, with a preview of the first link in it if wanted'),
		('send_image', media || ', caption text DEFAULT NULL', 'image', 'NULL',
			$f$whatsapp.without_nulls(jsonb_build_object('link', link, 'id', media_id, 'caption', caption))$f$,
			'queues an image, JPEG or PNG of up to 5 MB: a link that Meta fetches, or the id of media that was uploaded to Meta, and a caption of up to 1024 characters'),
		('send_video', media || ', caption text DEFAULT NULL', 'video', 'NULL',
			$f$whatsapp.without_nulls(jsonb_build_object('link', link, 'id', media_id, 'caption', caption))$f$,
			'queues a video, MP4 or 3GPP of up to 16 MB: a link that Meta fetches, or the id of media that was uploaded to Meta, and a caption of up to 1024 characters'),
		('send_audio', media || ', voice boolean DEFAULT NULL', 'audio', 'NULL',
			$f$whatsapp.without_nulls(jsonb_build_object('link', link, 'id', media_id, 'voice', voice))$f$,
			'queues audio of up to 16 MB: a link that Meta fetches, or the id of media that was uploaded to Meta; as a voice message if wanted, which is to be Ogg with Opus, mono'),
		('send_document', media || ', filename text DEFAULT NULL, caption text DEFAULT NULL', 'document', 'NULL',
			$f$whatsapp.without_nulls(jsonb_build_object('link', link, 'id', media_id, 'filename', filename, 'caption', caption))$f$,
			'queues a document of up to 100 MB: a link that Meta fetches, or the id of media that was uploaded to Meta, the name to show for it, and a caption of up to 1024 characters'),
		('send_sticker', media, 'sticker', 'NULL',
			$f$whatsapp.without_nulls(jsonb_build_object('link', link, 'id', media_id))$f$,
			'queues a sticker, WebP of 512 x 512 pixels and up to 100 KB, or 500 KB if animated: a link that Meta fetches, or the id of media that was uploaded to Meta'),
		('send_location', 'latitude numeric, longitude numeric, name text DEFAULT NULL, address text DEFAULT NULL', 'location', 'NULL',
			$f$whatsapp.without_nulls(jsonb_build_object('latitude', latitude, 'longitude', longitude, 'name', name, 'address', address))$f$,
			'queues a location: latitude and longitude in degrees, a name, and an address, which is only shown with a name'),
		('send_contacts', 'contacts jsonb', 'contacts', 'NULL',
			$f$CASE WHEN jsonb_typeof(contacts) = 'object' THEN jsonb_build_array(contacts) ELSE contacts END$f$,
			'queues contacts: an array of up to 257, or just one, such as {"name": {"formatted_name": "Ada L", "first_name": "Ada"}, "phones": [{"phone": "+4930123"}]}'),
		('send_buttons', 'body text, buttons jsonb, ' || headed, 'interactive', 'NULL',
			$f$whatsapp.interactive('button', header, header_media, body, footer, jsonb_build_object('buttons', whatsapp.reply_buttons(buttons)))$f$,
			'queues a text of up to 1024 characters with one to three buttons to answer with: an array of {"id", "title"}, or of titles, which are the ids, too. A title has up to 20 characters, an id up to 256'),
		('send_list', 'body text, button text, sections jsonb, header text DEFAULT NULL, footer text DEFAULT NULL', 'interactive', 'NULL',
			$f$whatsapp.interactive('list', header, NULL, body, footer,
				jsonb_build_object('button', button, 'sections', whatsapp.list_sections(sections)))$f$,
			'queues a text of up to 4096 characters with a list to choose from, behind a button: an array of up to ten rows {"id", "title", "description"}, or of sections {"title", "rows"} with as many rows in all'),
		('send_cta_url', 'body text, display_text text, url text, ' || headed, 'interactive', 'NULL',
			$f$whatsapp.interactive('cta_url', header, header_media, body, footer, jsonb_build_object('name', 'cta_url',
				'parameters', whatsapp.without_nulls(jsonb_build_object('display_text', display_text, 'url', url))))$f$,
			'queues a text of up to 1024 characters with a button of up to 20 that opens a URL'),
		('send_flow', 'body text, flow_cta text, flow_id text DEFAULT NULL, flow_name text DEFAULT NULL, flow_token text DEFAULT NULL,
	flow_action text DEFAULT NULL, screen text DEFAULT NULL, data jsonb DEFAULT NULL, mode text DEFAULT NULL,
	flow_message_version text DEFAULT ''3'', ' || headed, 'interactive', 'NULL',
			$f$whatsapp.interactive('flow', header, header_media, body, footer, jsonb_build_object('name', 'flow',
				'parameters', whatsapp.without_nulls(jsonb_build_object('flow_message_version', flow_message_version,
					'flow_id', flow_id, 'flow_name', flow_name, 'flow_token', flow_token, 'flow_cta', flow_cta, 'mode', mode,
					'flow_action', coalesce(flow_action, CASE WHEN screen IS NOT NULL THEN 'navigate' END),
					'flow_action_payload', nullif(whatsapp.without_nulls(jsonb_build_object('screen', screen, 'data', data)), '{}')))))$f$,
			'queues a text of up to 1024 characters with a button that opens a Flow, given by its id or name: at a screen, with data for it, or where the endpoint says (flow_action data_exchange); mode is draft for one that is not published'),
		('send_location_request', 'body text', 'interactive', 'NULL',
			$f$whatsapp.interactive('location_request_message', NULL, NULL, body, NULL, '{"name": "send_location"}')$f$,
			'queues a text of up to 1024 characters with a button by which the recipient tells where they are'),
		('send_address_request', 'body text, country text, "values" jsonb DEFAULT NULL, saved_addresses jsonb DEFAULT NULL,
	validation_errors jsonb DEFAULT NULL, header text DEFAULT NULL, footer text DEFAULT NULL', 'interactive', 'NULL',
			$f$whatsapp.interactive('address_message', header, NULL, body, footer, jsonb_build_object('name', 'address_message',
				'parameters', whatsapp.without_nulls(jsonb_build_object('country', country, 'values', "values",
					'saved_addresses', saved_addresses, 'validation_errors', validation_errors))))$f$,
			'queues a text of up to 1024 characters with a form for an address in a country, such as IN: what it is to be filled with, addresses to choose from, and what was wrong before'),
		('send_contact_request', 'body text', 'interactive', 'NULL',
			$f$whatsapp.interactive('request_contact_info', NULL, NULL, body, NULL, '{"name": "request_contact_info"}')$f$,
			'queues a text of up to 1024 characters with a button by which a recipient who is known by a BSUID tells their phone number'),
		('send_product', 'catalog_id text, product_retailer_id text, body text DEFAULT NULL, footer text DEFAULT NULL', 'interactive', 'NULL',
			$f$whatsapp.interactive('product', NULL, NULL, body, footer,
				whatsapp.without_nulls(jsonb_build_object('catalog_id', catalog_id, 'product_retailer_id', product_retailer_id)))$f$,
			'queues a product of a catalog, with a text of up to 1024 characters if wanted'),
		('send_products', 'catalog_id text, header text, body text, sections jsonb, footer text DEFAULT NULL', 'interactive', 'NULL',
			$f$whatsapp.interactive('product_list', header, NULL, body, footer, whatsapp.without_nulls(
				jsonb_build_object('catalog_id', catalog_id, 'sections', whatsapp.product_sections(sections))))$f$,
			'queues up to 30 products of a catalog: an array of their retailer ids, or of up to ten sections {"title", "product_items": [{"product_retailer_id"}]}'),
		('send_catalog', 'body text, thumbnail_product_retailer_id text DEFAULT NULL, footer text DEFAULT NULL', 'interactive', 'NULL',
			$f$whatsapp.interactive('catalog_message', NULL, NULL, body, footer, whatsapp.without_nulls(jsonb_build_object('name', 'catalog_message',
				'parameters', CASE WHEN thumbnail_product_retailer_id IS NOT NULL THEN
					jsonb_build_object('thumbnail_product_retailer_id', thumbnail_product_retailer_id) END)))$f$,
			'queues a text of up to 1024 characters with a button that opens the catalog; its picture is that of the product that is given, else of the first'),
		('send_carousel', 'body text, cards jsonb', 'interactive', 'NULL',
			$f$whatsapp.interactive('carousel', NULL, NULL, body, NULL, jsonb_build_object('cards', whatsapp.carousel_cards(cards)))$f$,
			'queues a text with two to ten cards, as Meta has them, with pictures or products; their card_index may be left out'),
		('send_call_permission_request', 'body text DEFAULT NULL', 'interactive', 'NULL',
			$f$whatsapp.interactive('call_permission_request', NULL, NULL, body, NULL, '{"name": "call_permission_request"}')$f$,
			'queues the question whether the recipient may be called; a recipient may be asked once in 24 hours, and twice in seven days'),
		('send_voice_call', 'body text, display_text text DEFAULT NULL, ttl_minutes integer DEFAULT NULL, payload text DEFAULT NULL', 'interactive', 'NULL',
			$f$whatsapp.interactive('voice_call', NULL, NULL, body, NULL, whatsapp.without_nulls(jsonb_build_object('name', 'voice_call',
				'parameters', nullif(whatsapp.without_nulls(
					jsonb_build_object('display_text', display_text, 'ttl_minutes', ttl_minutes, 'payload', payload)), '{}'))))$f$,
			'queues a text of up to 1024 characters with a button by which the recipient calls, for so many minutes, up to 43200; the payload of up to 512 characters comes back with the call'),
		('send_order_details', 'body text, parameters jsonb, ' || headed, 'interactive', 'NULL',
			$f$whatsapp.interactive('order_details', header, header_media, body, footer,
				whatsapp.without_nulls(jsonb_build_object('name', 'review_and_pay', 'parameters', parameters)))$f$,
			'queues an order to be paid, in India or Brazil: parameters are reference_id, type, currency, total_amount, payment_settings, order and so on, as Meta has them. The total is to be subtotal, tax and shipping less the discount'),
		('send_order_status', 'body text, reference_id text, status text DEFAULT NULL, description text DEFAULT NULL,
	payment jsonb DEFAULT NULL, footer text DEFAULT NULL', 'interactive', 'NULL',
			$f$whatsapp.interactive('order_status', NULL, NULL, body, footer, jsonb_build_object('name', 'review_order',
				'parameters', whatsapp.without_nulls(jsonb_build_object('reference_id', reference_id,
					'order', nullif(whatsapp.without_nulls(jsonb_build_object('status', status, 'description', description)), '{}'),
					'payment', payment))))$f$,
			'queues how it stands with an order: pending, processing, partially_shipped, shipped, completed or canceled, and with its payment, such as {"status": "captured", "timestamp": 1722445231}'),
		('send_template', 'name text, language text, params jsonb DEFAULT NULL, header jsonb DEFAULT NULL, buttons jsonb DEFAULT NULL,
	components jsonb DEFAULT NULL, marketing boolean DEFAULT NULL', 'template', 'NULL',
			'whatsapp.template_content(name, language, params, header, buttons, components)',
			'queues a template, of a name and a language: params are those of its body, by name as {"name": "Ada"} or by position as ["Ada"], header is a text or {"image": {"link": "https://..."}}, and buttons what each button is sent with, see whatsapp.template_content(). Where whatsapp.templates knows the template, they must fit it. With marketing it goes to /marketing_messages, or without if that is false; else whatsapp.numbers.marketing_messages says so'),
		('send_pin', 'message_id text, expiration_days integer DEFAULT 7', 'pin', 'NULL',
			$f$whatsapp.without_nulls(jsonb_build_object('type', 'pin', 'message_id', message_id, 'expiration_days', expiration_days))$f$,
			'queues that a message of a group is to be pinned, for 1 to 30 days'),
		('send_unpin', 'message_id text', 'pin', 'NULL',
			$f$whatsapp.without_nulls(jsonb_build_object('type', 'unpin', 'message_id', message_id))$f$,
			'queues that a message of a group is not to be pinned any more')
		) f (name, arguments, type, body, content, comment)
	LOOP
		EXECUTE format('CREATE FUNCTION whatsapp.%I(recipient text, %s,', k.name, k.arguments)
			|| format(common, k.recipient_type)
			|| format(') RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT whatsapp.enqueue(recipient, %L, %s, %s, ', k.type, k.body, k.content)
			|| passed || k.more || '); END';
		EXECUTE format('COMMENT ON FUNCTION whatsapp.%I IS %L', k.name, k.comment
			|| '. Returns its id in whatsapp.outbox; if a message with that idempotency_key was queued for the number before, the id of that. The recipient is a phone number with country code, a BSUID, or with recipient_type group the id of a group; for other arguments see the columns of whatsapp.outbox. Error WA001 if Meta would refuse it');
	END LOOP;
END $$;

-- What is said about a message that came, or of ours, needs only that message.

CREATE FUNCTION whatsapp.message_party(message_id text, from_number text,
	OUT phone_number_id text, OUT recipient text, OUT recipient_type text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	nfound integer;
BEGIN
	SELECT count(*), min(m.phone_number_id), min(coalesce(m.group_id, '+' || m.wa_id, m.user_id)),
		min(CASE WHEN m.group_id IS NOT NULL THEN 'group' ELSE 'individual' END)
	INTO nfound, message_party.phone_number_id, message_party.recipient, message_party.recipient_type
	FROM whatsapp.messages m
	WHERE m.message_id = message_party.message_id
		AND (message_party.from_number IS NULL OR m.phone_number_id = message_party.from_number);
	IF nfound = 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'no_data_found',
			MESSAGE = format('message "%s" is not there', left(message_party.message_id, 200)),
			HINT = 'If it has not come through a webhook, say what it would tell: from_number, and to answer it, the recipient, as in whatsapp.send_text(..., reply_to => ...).';
	END IF;
	IF nfound > 1 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'too_many_rows',
			MESSAGE = format('message "%s" is ambiguous, as %s numbers have one of that id', left(message_party.message_id, 200), nfound),
			HINT = 'Set from_number to the number that it came to.';
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.message_party(text, text) IS 'the number that a message came to, or went out from, and whom an answer to it goes to: the person or the group. Error P0002 if there is no such message, P0003 if several numbers have one of that id and none is given';

CREATE FUNCTION whatsapp.reply(
	message_id text, body text DEFAULT NULL,
	type text DEFAULT 'text',
	content jsonb DEFAULT NULL,
	from_number text DEFAULT NULL,
	callback_data text DEFAULT NULL,
	send_after timestamptz DEFAULT NULL,
	expires_at timestamptz DEFAULT NULL,
	priority integer DEFAULT 0,
	idempotency_key text DEFAULT NULL,
	options jsonb DEFAULT NULL,
	campaign text DEFAULT NULL)
RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
	SELECT whatsapp.enqueue(p.recipient, type, body, content,
		from_number => p.phone_number_id, recipient_type => p.recipient_type, reply_to => message_id,
		callback_data => callback_data, send_after => send_after, expires_at => expires_at,
		priority => priority, idempotency_key => idempotency_key, options => options, campaign => campaign)
	FROM whatsapp.message_party(message_id, from_number) p;
END;
COMMENT ON FUNCTION whatsapp.reply(text, text, text, jsonb, text, text, timestamptz, timestamptz, integer, text, jsonb, text) IS 'queues an answer to a message, which is shown with it, to the person or the group that it is from, and returns its id in whatsapp.outbox: a text, or any other type and content. The message is one of whatsapp.messages; from_number is only needed if several numbers have one of that id (error P0003 without). Error P0002 if there is none, WA001 if Meta would refuse the answer';

CREATE FUNCTION whatsapp.send_reaction(
	message_id text, emoji text,
	from_number text DEFAULT NULL,
	recipient text DEFAULT NULL,
	recipient_type text DEFAULT NULL,
	callback_data text DEFAULT NULL,
	send_after timestamptz DEFAULT NULL,
	expires_at timestamptz DEFAULT NULL,
	priority integer DEFAULT 0,
	idempotency_key text DEFAULT NULL,
	options jsonb DEFAULT NULL,
	campaign text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p record;
BEGIN
	IF recipient IS NOT NULL THEN
		SELECT send_reaction.from_number AS phone_number_id, send_reaction.recipient, send_reaction.recipient_type INTO p;
	ELSE
		SELECT m.* INTO p FROM whatsapp.message_party(send_reaction.message_id, send_reaction.from_number) m;
	END IF;
	RETURN whatsapp.enqueue(p.recipient, 'reaction', NULL,
		whatsapp.without_nulls(jsonb_build_object('message_id', message_id, 'emoji', emoji)),
		from_number => p.phone_number_id, recipient_type => p.recipient_type, callback_data => callback_data,
		send_after => send_after, expires_at => expires_at, priority => priority, idempotency_key => idempotency_key,
		options => options, campaign => campaign);
END $$;
COMMENT ON FUNCTION whatsapp.send_reaction(text, text, text, text, text, text, timestamptz, timestamptz, integer, text, jsonb, text) IS 'queues a reaction to a message, or with an empty emoji its removal, and returns its id in whatsapp.outbox. The message is one of whatsapp.messages, unless a recipient is given; from_number is only needed if several numbers have one of that id (error P0003 without). Error P0002 if there is none, WA001 if it is not one emoji';

CREATE FUNCTION whatsapp.mark_read(message_id text, from_number text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN whatsapp.enqueue(NULL, 'mark_read', NULL, whatsapp.without_nulls(jsonb_build_object('message_id', message_id)),
		from_number => coalesce(from_number, whatsapp.default_number(),
			(SELECT p.phone_number_id FROM whatsapp.message_party(mark_read.message_id, NULL) p)));
END $$;
COMMENT ON FUNCTION whatsapp.mark_read(text, text) IS 'queues that a message that came is to be shown as read to who sent it, and those before it, too, but in groups; returns its id in whatsapp.outbox. If there are several numbers and none is given, it is the one that the message of whatsapp.messages came to: error P0002 if there is none, P0003 if there are several';

CREATE FUNCTION whatsapp.typing(message_id text, from_number text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN whatsapp.enqueue(NULL, 'typing', NULL, whatsapp.without_nulls(jsonb_build_object('message_id', message_id)),
		from_number => coalesce(from_number, whatsapp.default_number(),
			(SELECT p.phone_number_id FROM whatsapp.message_party(typing.message_id, NULL) p)),
		expires_at => now() + interval '25 seconds', priority => 1);
END $$;
COMMENT ON FUNCTION whatsapp.typing(text, text) IS 'queues that who sent a message is to be shown that an answer is being typed, until it comes or for 25 seconds, and that the message was read; returns its id in whatsapp.outbox. It is not sent later than that. The number is found as by whatsapp.mark_read()';

CREATE FUNCTION whatsapp.why_not(recipient text, type text, content jsonb,
	body text DEFAULT NULL,
	from_number text DEFAULT NULL,
	recipient_type text DEFAULT 'individual',
	reply_to text DEFAULT NULL,
	callback_data text DEFAULT NULL,
	options jsonb DEFAULT NULL,
	marketing boolean DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	o whatsapp.outbox;
	result text;
BEGIN
	o.phone_number_id := coalesce(from_number, whatsapp.default_number());
	o.recipient := recipient;
	o.recipient_type := coalesce(recipient_type, 'individual');
	o.recipient_key := whatsapp.recipient_key(recipient, o.recipient_type);
	o.type := type;
	o.body := body;
	o.content := content;
	o.reply_to := reply_to;
	o.callback_data := callback_data;
	o.options := options;
	o.marketing := marketing;
	SELECT concat_ws(E'\n', c.complaint, c.detail) INTO result FROM whatsapp.outbox_complaint(o) c;
	-- (apart, as privileges on functions are looked at before anything is evaluated)
	IF result IS NULL AND o.type = 'template' AND has_table_privilege('whatsapp.user_preferences', 'SELECT') THEN
		IF whatsapp.is_opted_out(o) THEN
			result := 'recipient wants no marketing messages';
		END IF;
	END IF;
	RETURN result;
END $$;
COMMENT ON FUNCTION whatsapp.why_not(text, text, jsonb, text, text, text, text, text, jsonb, boolean) IS 'why a message cannot be queued, as the INSERT into whatsapp.outbox would say; NULL if it can. To filter by before many are inserted, as one that is wrong has all of them refused. For who may read whatsapp.user_preferences also, that the recipient wants no marketing messages';

CREATE FUNCTION whatsapp.complain_of_row(id bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = 'no_data_found',
		MESSAGE = format('outbox row %s is not there', coalesce(complain_of_row.id::text, 'NULL'));
END $$;
COMMENT ON FUNCTION whatsapp.complain_of_row(bigint) IS 'raises error P0002: there is no such row of whatsapp.outbox';

CREATE FUNCTION whatsapp.cancel(id bigint) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'whatsapp_cancel';
COMMENT ON FUNCTION whatsapp.cancel(bigint) IS 'has a message not sent, and says whether that was possible: false if it is on its way, or has come to an end. Error P0002 if there is no such row, or the caller may not see it, 42501 if somebody else has queued it, unless the caller may set its state';

CREATE FUNCTION whatsapp.retry(id bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	was whatsapp.outbox;
BEGIN
	SELECT o.* INTO was FROM whatsapp.outbox o WHERE o.id = retry.id FOR UPDATE;
	IF NOT FOUND THEN
		PERFORM whatsapp.complain_of_row(retry.id);
	END IF;
	IF was.state NOT IN ('failed', 'unknown', 'expired', 'cancelled', 'queued') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('outbox row %s cannot be tried again, as it is %s', was.id, was.state),
			HINT = 'Queue a message of the same content.';
	END IF;

	UPDATE whatsapp.outbox o
	SET state = 'queued', waits_for = NULL, attempts = 0, deferrals = 0, retry_at = NULL, finished_at = NULL, failed_at = NULL,
		expires_at = CASE WHEN o.expires_at > now() THEN o.expires_at END
	WHERE o.id = was.id;
	INSERT INTO whatsapp.attempts (outbox_id, attempt, what, state) VALUES (was.id, was.attempts, 'by hand', 'queued');
	PERFORM whatsapp.wake_sender();
END $$;
COMMENT ON FUNCTION whatsapp.retry(bigint) IS 'has a message sent again, that failed, is unknown, expired or was cancelled, and at once one that waits to be tried again; one that is unknown may be sent twice by that. Error P0002 if there is no such row, 55000 if it was sent or is on its way';

CREATE FUNCTION whatsapp.resolve(id bigint, outcome text, message_id text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	was whatsapp.outbox;
BEGIN
	IF resolve.outcome IS NULL OR resolve.outcome NOT IN ('sent', 'failed') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('"%s" is no outcome of a message', resolve.outcome),
			HINT = 'Take sent or failed; to have it sent again, use whatsapp.retry().';
	END IF;
	IF resolve.message_id IS NOT NULL AND resolve.outcome <> 'sent' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'a message that was not sent has no id';
	END IF;
	SELECT o.* INTO was FROM whatsapp.outbox o WHERE o.id = resolve.id FOR UPDATE;
	IF NOT FOUND THEN
		PERFORM whatsapp.complain_of_row(resolve.id);
	END IF;
	IF was.state <> 'unknown' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('outbox row %s is not unknown, but %s', was.id, was.state);
	END IF;

	UPDATE whatsapp.outbox o
	SET state = resolve.outcome, message_id = resolve.message_id, finished_at = now(),
		error = CASE WHEN resolve.outcome = 'failed' THEN o.error END,
		failed_at = CASE WHEN resolve.outcome = 'failed' THEN now() END
	WHERE o.id = was.id;
	INSERT INTO whatsapp.attempts (outbox_id, attempt, what, state) VALUES (was.id, was.attempts, 'by hand', resolve.outcome);
	IF resolve.message_id IS NOT NULL THEN
		PERFORM whatsapp.file_sent(ARRAY[was.id], ARRAY[NULL::text]);
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.resolve(bigint, text, text) IS 'says what became of a message of which that is unknown: sent, with Meta''s id of it (wamid) if you have found it, or failed. A status that tells otherwise still counts. Error P0002 if there is no such row, 55000 if it is not unknown, 22023 for any other outcome';

-- Campaigns.

CREATE FUNCTION whatsapp.pause_campaign(campaign text, reason text DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF pause_campaign.campaign IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'campaign must be named';
	END IF;
	INSERT INTO whatsapp.holds AS h (phone_number_id, kind, key, until, reason)
	SELECT n.phone_number_id, 'campaign', pause_campaign.campaign, pause_campaign.until, pause_campaign.reason
	FROM whatsapp.numbers n
	ORDER BY n.phone_number_id
	ON CONFLICT (phone_number_id, kind, key) DO UPDATE
	SET since = excluded.since, until = excluded.until, reason = excluded.reason;
	PERFORM whatsapp.wake_sender();
END $$;
COMMENT ON FUNCTION whatsapp.pause_campaign(text, text, timestamptz) IS 'has no message of a campaign sent from any number that the caller sees, until that time or until resume_campaign(), also of those that are queued later: it need not have any yet. What has begun to leave still ends, and what has only been taken to be sent is queued again; nothing else waits for it. Of one that is paused, changes reason and time. Error 22004 if campaign is NULL';

CREATE FUNCTION whatsapp.resume_campaign(campaign text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM whatsapp.holds h
	WHERE h.kind = 'campaign' AND h.key = resume_campaign.campaign;
	PERFORM whatsapp.wake_sender();
END $$;
COMMENT ON FUNCTION whatsapp.resume_campaign(text) IS 'has a campaign that was paused go on, from all numbers that the caller sees; does nothing if it is not paused';

CREATE FUNCTION whatsapp.cancel_campaign(campaign text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	row_id bigint;
	result bigint := 0;
BEGIN
	IF has_table_privilege('whatsapp.outbox'::regclass, 'UPDATE') THEN
		UPDATE whatsapp.outbox o
		SET state = 'cancelled', finished_at = now()
		WHERE o.state = 'queued' AND o.id = ANY (ARRAY(
			SELECT q.id
			FROM whatsapp.outbox q
			WHERE q.campaign = cancel_campaign.campaign AND q.state = 'queued'
			ORDER BY q.id
			FOR UPDATE));
		GET DIAGNOSTICS result = ROW_COUNT;
		RETURN result;
	END IF;
	FOR row_id IN
		SELECT o.id
		FROM whatsapp.outbox o
		WHERE o.campaign = cancel_campaign.campaign AND o.state = 'queued' AND o.queued_by = SESSION_USER
		ORDER BY o.id
	LOOP
		result := result + whatsapp.cancel(row_id)::integer;
	END LOOP;
	RETURN result;
END $$;
COMMENT ON FUNCTION whatsapp.cancel_campaign(text) IS 'has messages of a campaign not sent that are queued, and returns how many: all that the caller may change, or those that it has queued. Messages that are on their way are not among them, and may have to be tried again: pause the campaign before, to be sure of these, too. A hold of the campaign stays';

------------------------------------------------------------------------------
-- 5. Errors
--
-- What is to be done about an error of Meta's is said by its class.  Classes
-- that come with the extension are in one table, and what you have decided
-- otherwise in another, which is dumped and which no update touches; the view
-- has the sum.
------------------------------------------------------------------------------

CREATE TABLE whatsapp.shipped_error_classes (
	code integer NOT NULL,
	subcode integer NOT NULL DEFAULT 0,
	details text NOT NULL DEFAULT '',
	class text NOT NULL CHECK (class IN ('permanent', 'reroute', 'suppress', 'retry', 'retry_few', 'wait',
		'pair', 'slow_number', 'slow_account', 'hold_template', 'hold_number', 'hold_account', 'token')),
	wait interval,
	meaning text NOT NULL,
	hint text,
	PRIMARY KEY (code, subcode, details)
);
COMMENT ON TABLE whatsapp.shipped_error_classes IS 'what is to be done about errors of Meta''s, as it comes with the extension; use whatsapp.error_classes';
COMMENT ON COLUMN whatsapp.shipped_error_classes.code IS 'Meta''s code of the error';
COMMENT ON COLUMN whatsapp.shipped_error_classes.subcode IS 'only with this subcode; 0 for any';
COMMENT ON COLUMN whatsapp.shipped_error_classes.details IS 'only if the details match this regular expression, in whatever case; empty for any';
COMMENT ON COLUMN whatsapp.shipped_error_classes.class IS 'what is to be done; see whatsapp.error_classes';
COMMENT ON COLUMN whatsapp.shipped_error_classes.wait IS 'how long to wait at least before that';
COMMENT ON COLUMN whatsapp.shipped_error_classes.meaning IS 'what the error says';
COMMENT ON COLUMN whatsapp.shipped_error_classes.hint IS 'what people can do about it';

CREATE TABLE whatsapp.error_class_overrides (
	code integer NOT NULL,
	subcode integer NOT NULL DEFAULT 0,
	-- one that is none is refused here, and not met when answers are recorded
	details text NOT NULL DEFAULT '' CHECK ('' ~* details IS NOT NULL),
	class text NOT NULL CHECK (class IN ('permanent', 'reroute', 'suppress', 'retry', 'retry_few', 'wait',
		'pair', 'slow_number', 'slow_account', 'hold_template', 'hold_number', 'hold_account', 'token')),
	wait interval CHECK (wait > interval '0'),
	meaning text,
	hint text,
	PRIMARY KEY (code, subcode, details)
);
COMMENT ON TABLE whatsapp.error_class_overrides IS 'what you have changed in whatsapp.error_classes';
COMMENT ON COLUMN whatsapp.error_class_overrides.code IS 'Meta''s code of the error';
COMMENT ON COLUMN whatsapp.error_class_overrides.subcode IS 'only with this subcode; 0 for any';
COMMENT ON COLUMN whatsapp.error_class_overrides.details IS 'only if the details match this regular expression, in whatever case; empty for any';
COMMENT ON COLUMN whatsapp.error_class_overrides.class IS 'what is to be done; see whatsapp.error_classes';
COMMENT ON COLUMN whatsapp.error_class_overrides.wait IS 'how long to wait at least before that';
COMMENT ON COLUMN whatsapp.error_class_overrides.meaning IS 'what the error says';
COMMENT ON COLUMN whatsapp.error_class_overrides.hint IS 'what people can do about it';

INSERT INTO whatsapp.shipped_error_classes (code, subcode, details, class, wait, meaning, hint) VALUES
	-- the Graph API, whoever calls it
	(0, 0, '', 'token', NULL, 'access token is invalid or was revoked', 'Set another with whatsapp.set_access_token().'),
	(1, 0, '', 'retry_few', NULL, 'request is malformed, or the server has trouble', NULL),
	(2, 0, '', 'retry', NULL, 'service is down or overloaded', NULL),
	(3, 0, '', 'token', NULL, 'app or token lacks a capability or permission', 'Give the app the permission whatsapp_business_messaging.'),
	(4, 0, '', 'slow_account', '60 s', 'app has made too many calls', NULL),
	(5, 0, '', 'hold_account', NULL, 'app may not be used from this IP address', 'Mend the list of server addresses in the app''s settings.'),
	(10, 0, '', 'hold_number', NULL, 'permission denied, or no access to the number', 'Give the token''s system user access to the account and the number.'),
	(12, 0, '', 'hold_account', NULL, 'this version of the Graph API does not have it any more', 'Raise whatsapp.api_version.'),
	(17, 0, '', 'slow_account', '60 s', 'user has made too many calls', NULL),
	(33, 0, '', 'hold_number', NULL, 'number was deleted, or its id is wrong', 'Compare the phone number id with the app''s dashboard.'),
	(100, 0, '', 'permanent', NULL, 'a parameter is invalid, unknown, misspelt or too long', 'The details say which.'),
	(100, 33, '', 'hold_number', NULL, 'number does not exist, or the token has no permission for it', 'Give the token''s system user access to the number.'),
	(100, 0, '\m(graph )?api version\M', 'hold_account', NULL, 'version of the Graph API has expired or does not exist', 'Set whatsapp.api_version.'),
	(102, 0, '', 'token', NULL, 'session or access token is missing or has expired', 'Set another with whatsapp.set_access_token().'),
	(104, 0, '', 'token', NULL, 'request must be signed with the app''s secret', 'Have the app not require a proof of its secret.'),
	(190, 0, '', 'token', NULL, 'access token is invalid or has expired', 'Set another with whatsapp.set_access_token().'),
	(341, 0, '', 'slow_account', '60 s', 'app has reached a limit', NULL),
	(368, 0, '', 'hold_account', NULL, 'account is blocked for violating policies', 'Look into the account''s quality, and appeal.'),
	(506, 0, '', 'permanent', NULL, 'the same was posted before', NULL),
	(613, 0, '', 'slow_account', '60 s', 'too many calls of this kind', NULL),
	(803, 0, '', 'hold_number', NULL, 'no object has this id', 'Compare the phone number id with the app''s dashboard.'),
	(2500, 0, '', 'hold_number', NULL, 'path is unknown', 'Compare the phone number id and whatsapp.graph_url.'),
	(2635, 0, '', 'hold_account', NULL, 'version of the Graph API is not supported any more', 'Raise whatsapp.api_version.'),

	-- accounts, and who may be written to
	(1005, 0, '', 'permanent', NULL, 'access denied, as the On-Premises API said', NULL),
	(1026, 0, '', 'permanent', NULL, 'recipient''s app cannot receive this', NULL),
	(80007, 0, '', 'slow_account', '60 s', 'account has reached its rate limit', NULL),
	(80008, 0, '', 'slow_account', '60 s', 'account has made too many management calls', NULL),
	(130403, 0, '', 'permanent', NULL, 'recipient is on your own block list', NULL),
	(130497, 0, '', 'permanent', NULL, 'account may not write to people in this country', NULL),
	(131031, 0, '', 'hold_account', NULL, 'account is locked, or what was given does not match it', 'Look into the account in WhatsApp Manager.'),
	(131064, 0, '', 'hold_account', '1 hour', 'account has classified too many templates wrongly; this ends by itself', NULL),

	-- rates
	(130429, 0, '', 'slow_number', '1 s', 'number sends faster than it may', 'Lower numbers.messages_per_second.'),
	(131048, 0, '', 'hold_number', NULL, 'number is restricted, as too many people have blocked or reported it', 'Look into its quality in WhatsApp Manager.'),
	(131056, 0, '', 'pair', '1 s', 'too many messages from this number to this recipient', NULL),
	(131208, 0, '', 'slow_number', '10 s', 'too many operations on groups', NULL),
	(133016, 0, '', 'wait', '72 hours', 'number was registered too often', NULL),

	-- messages
	(130472, 0, '', 'suppress', '24 hours', 'recipient is in an experiment of Meta''s without marketing messages', 'Sending it again has the same result.'),
	(130501, 0, '', 'permanent', NULL, 'type of message is not supported', NULL),
	(131000, 0, '', 'retry_few', NULL, 'something went wrong at Meta''s', NULL),
	(131005, 0, '', 'token', NULL, 'access denied: a permission is missing or was taken away', 'Give the app the permission whatsapp_business_messaging.'),
	(131008, 0, '', 'permanent', NULL, 'a required parameter is missing', NULL),
	(131009, 0, '', 'permanent', NULL, 'value of a parameter is not valid', NULL),
	(131009, 0, '\mad sync\M|\mnot? (yet )?sync', 'wait', '10 minutes', 'marketing template is still being synchronized', NULL),
	(131016, 0, '', 'retry', NULL, 'service is not available for now', NULL),
	(131020, 0, '', 'permanent', NULL, 'group has one member only', NULL),
	(131021, 0, '', 'permanent', NULL, 'recipient is the sender', NULL),
	(131026, 0, '', 'permanent', NULL, 'message cannot be delivered: the recipient is not on WhatsApp, has an old version, or has not accepted its terms', NULL),
	(131030, 0, '', 'permanent', NULL, 'recipient is not on the list of those that a test number may write to', 'Add the recipient in the app''s dashboard.'),
	(131035, 0, '', 'permanent', NULL, 'webhook was not delivered in time, and nothing is stored', NULL),
	(131036, 0, '', 'permanent', NULL, 'message was gone before it was delivered, as nothing is stored', NULL),
	(131037, 0, '', 'hold_number', NULL, 'number needs a display name that is approved', 'Request one in WhatsApp Manager.'),
	(131041, 0, '', 'permanent', NULL, 'group is unknown, or the number is no member of it', NULL),
	(131042, 0, '', 'hold_account', NULL, 'payment trouble: no method, no credit, or the account is not set up for it', 'Look into billing in Meta Business Suite.'),
	(131043, 0, '', 'permanent', NULL, 'message has expired', NULL),
	(131044, 0, '', 'permanent', NULL, 'no valid method of payment for calls', 'Look into billing in Meta Business Suite.'),
	(131045, 0, '', 'hold_number', NULL, 'number is not registered, or its certificate is wrong', 'Register the number again.'),
	(131047, 0, '', 'reroute', NULL, 'recipient has not written for 24 hours', 'Send a template instead.'),
	(131049, 0, '', 'suppress', '24 hours', 'Meta has chosen not to deliver it, to keep people from too much marketing', 'Do not send it again within a day: that is punished.'),
	(131050, 0, '', 'suppress', NULL, 'recipient wants no marketing messages from you', 'Send no marketing until the recipient resumes it.'),
	(131051, 0, '', 'permanent', NULL, 'type of message is not supported', NULL),
	(131052, 0, '', 'permanent', NULL, 'medium that the user sent could not be downloaded', NULL),
	(131053, 0, '', 'permanent', NULL, 'medium could not be fetched or uploaded: type, size, or a slow or dead link', 'Upload the medium, and send its id.'),
	(131055, 0, '', 'reroute', NULL, 'method is not allowed for this message or number', NULL),
	(131057, 0, '', 'hold_number', '20 s', 'number is being maintained, such as for a higher throughput', NULL),
	(131058, 0, '', 'permanent', NULL, 'template hello_world can only be sent from test numbers', NULL),
	(131059, 0, '', 'permanent', NULL, 'cursor for paging is not valid', NULL),
	(131060, 0, '', 'permanent', NULL, 'message cannot be shown on a linked device', NULL),
	(131061, 0, '', 'reroute', NULL, 'template with a maximum price cannot be sent here', 'Send it as a marketing message.'),
	(131062, 0, '', 'reroute', NULL, 'message cannot be sent to a BSUID', 'Send it to the phone number.'),
	(131063, 0, '', 'reroute', NULL, 'account does not send marketing this way', 'Send it as a marketing message.'),
	(131065, 0, '', 'reroute', NULL, 'no template with a maximum price can be sent to this country', 'Send a template without one.'),
	(131070, 0, '', 'wait', '10 minutes', 'another app has the conversation', NULL),
	(131201, 0, '', 'permanent', NULL, 'only some participants could be added or removed', NULL),
	(131202, 0, '', 'permanent', NULL, 'participant is there twice', NULL),
	(131203, 0, '', 'permanent', NULL, 'participant cannot be added', NULL),
	(131204, 0, '', 'permanent', NULL, 'group has too many participants', NULL),
	(131207, 0, '', 'permanent', NULL, 'group is suspended', NULL),
	(131209, 0, '', 'permanent', NULL, 'picture of the group has the wrong shape', NULL),
	(131210, 0, '', 'permanent', NULL, 'picture of the group is too small', NULL),
	(131211, 0, '', 'permanent', NULL, 'number has created too many groups', NULL),
	(131212, 0, '', 'permanent', NULL, 'no participant of the group', NULL),
	(131213, 0, '', 'permanent', NULL, 'request to join is not there', NULL),
	(131214, 0, '', 'permanent', NULL, 'groups cannot be created for now', NULL),
	(131215, 0, '', 'permanent', NULL, 'number may not have groups', NULL),
	(135000, 0, '', 'permanent', NULL, 'something is wrong with a parameter', NULL),
	(137000, 0, '', 'permanent', NULL, 'identity of the recipient has changed', 'Acknowledge the new identity.'),
	(139200, 0, '', 'reroute', NULL, 'messages without a template are blocked', 'Send a template instead.'),

	-- payments
	(2046, 0, '', 'permanent', NULL, 'order cannot go over to this status', NULL),
	(134011, 0, '', 'hold_account', NULL, 'terms of WhatsApp Payments were not accepted', 'Accept them in WhatsApp Manager.'),

	-- marketing messages
	(134100, 0, '', 'reroute', NULL, 'only marketing messages can be sent this way', NULL),
	(134101, 0, '', 'wait', '10 minutes', 'marketing template is still being synchronized', NULL),
	(134102, 0, '', 'hold_template', '1 hour', 'marketing template cannot be used, or the account is not set up for it', NULL),
	(134103, 0, '', 'hold_template', '1 hour', 'marketing template cannot be used', NULL),

	-- templates and flows
	(132000, 0, '', 'permanent', NULL, 'number of parameters is not that of the template', NULL),
	(132001, 0, '', 'wait', '10 minutes', 'template does not exist in this language, or is not approved', 'Compare name and language with WhatsApp Manager.'),
	(132005, 0, '', 'permanent', NULL, 'text is too long with the parameters in it', NULL),
	(132007, 0, '', 'hold_template', '1 hour', 'content of the template violates a policy', NULL),
	(132008, 0, '', 'permanent', NULL, 'value of a parameter is not valid', NULL),
	(132012, 0, '', 'permanent', NULL, 'parameter is not of the kind that the template has', NULL),
	(132015, 0, '', 'hold_template', '1 hour', 'template is paused for its quality', NULL),
	(132016, 0, '', 'hold_template', NULL, 'template was disabled', 'Cancel what is queued, or have the template approved again.'),
	(132018, 0, '', 'permanent', NULL, 'parameter has newlines, tabs, or too many spaces', NULL),
	(132068, 0, '', 'hold_template', '1 hour', 'flow is blocked', NULL),
	(132069, 0, '', 'hold_template', '1 hour', 'flow is throttled', NULL),
	(139000, 0, '', 'permanent', NULL, 'flow is blocked for its content', NULL),
	(139001, 0, '', 'permanent', NULL, 'flow could not be updated', NULL),
	(139002, 0, '', 'permanent', NULL, 'flow could not be published', NULL),
	(139003, 0, '', 'permanent', NULL, 'flow could not be deprecated', NULL),
	(139004, 0, '', 'permanent', NULL, 'flow could not be deleted', NULL),
	(2388019, 0, '', 'permanent', NULL, 'account has too many templates', NULL),
	(2388023, 0, '', 'permanent', NULL, 'template of this name is still being deleted', NULL),
	(2388024, 0, '', 'permanent', NULL, 'template exists in this language', NULL),
	(2388039, 0, '', 'permanent', NULL, 'field of the template is wrong', NULL),
	(2388040, 0, '', 'permanent', NULL, 'field of the template is too long', NULL),
	(2388047, 0, '', 'permanent', NULL, 'header of the template is wrong', NULL),
	(2388072, 0, '', 'permanent', NULL, 'body of the template is wrong', NULL),
	(2388073, 0, '', 'permanent', NULL, 'footer of the template is wrong', NULL),
	(2388293, 0, '', 'permanent', NULL, 'template has too many variables for its length', NULL),
	(2388299, 0, '', 'permanent', NULL, 'template begins or ends with a variable', NULL),
	(2388318, 0, '', 'permanent', NULL, 'template cannot be changed, as Meta has made it', NULL),
	(2388330, 0, '', 'permanent', NULL, 'template cannot be deleted, as Meta has made it', NULL),
	(200005, 0, '', 'permanent', NULL, 'insights are not available', NULL),
	(200006, 0, '', 'permanent', NULL, 'insights cannot be switched off', NULL),
	(200007, 0, '', 'permanent', NULL, 'insights are not switched on', NULL),

	-- registration of numbers, and migration
	(133000, 0, '', 'hold_number', NULL, 'number was not deregistered wholly', 'Deregister it again.'),
	(133004, 0, '', 'retry', NULL, 'server is not available for now', NULL),
	(133005, 0, '', 'hold_number', NULL, 'PIN is wrong', 'Do not try others: too many lock the number.'),
	(133006, 0, '', 'hold_number', NULL, 'number has to be verified again', 'Verify it in WhatsApp Manager.'),
	(133008, 0, '', 'hold_number', NULL, 'too many PINs were tried', NULL),
	(133009, 0, '', 'hold_number', NULL, 'PINs were tried too fast', NULL),
	(133010, 0, '', 'hold_number', NULL, 'number is not registered', 'Register it with the Cloud API.'),
	(133015, 0, '', 'hold_number', '5 minutes', 'number was deleted just now', NULL),
	(2388001, 0, '', 'hold_number', NULL, 'number cannot be migrated: who owns it, or its PIN', NULL),
	(2388012, 0, '', 'hold_number', NULL, 'number is there already', NULL),
	(2388091, 0, '', 'hold_number', NULL, 'number is not being migrated', NULL),
	(2388093, 0, '', 'hold_number', NULL, 'number cannot be migrated yet', NULL),
	(2388103, 0, '', 'hold_number', NULL, 'number cannot be migrated yet', NULL),
	(2494100, 0, '', 'hold_number', '5 minutes', 'account is being maintained', NULL),
	(2593079, 0, '', 'hold_account', NULL, 'account cannot be migrated', NULL),
	(2593085, 0, '', 'hold_account', NULL, 'account cannot be migrated', NULL),
	(2593107, 0, '', 'permanent', NULL, 'history was requested before', NULL),
	(2593108, 0, '', 'permanent', NULL, 'history was requested too late', NULL),
	(2593109, 0, '', 'permanent', NULL, 'business does not share its history', NULL),
	(147001, 0, '', 'permanent', NULL, 'username is taken', NULL),
	(147002, 0, '', 'permanent', NULL, 'number may not have a username', NULL),
	(147003, 0, '', 'permanent', NULL, 'username belongs to a page on Facebook', NULL),
	(147004, 0, '', 'permanent', NULL, 'username belongs to an account on Instagram', NULL),
	(147005, 0, '', 'permanent', NULL, 'username cannot be had', NULL),
	(1752041, 0, '', 'permanent', NULL, 'account is set up for marketing messages already', NULL),
	(2494191, 0, '', 'permanent', NULL, 'conversation cannot be taken over', NULL),

	-- calls
	(138000, 0, '', 'permanent', NULL, 'number has no calls', 'Switch on calls for the number.'),
	(138001, 0, '', 'permanent', NULL, 'recipient cannot be called', NULL),
	(138002, 0, '', 'wait', '1 minute', 'number has too many calls at once', NULL),
	(138003, 0, '', 'wait', '1 minute', 'there is a call going on', NULL),
	(138004, 0, '', 'retry_few', NULL, 'call could not be connected', NULL),
	(138005, 0, '', 'wait', '1 minute', 'number calls too often', NULL),
	(138006, 0, '', 'permanent', NULL, 'recipient has not permitted calls', NULL),
	(138007, 0, '', 'retry_few', NULL, 'call was not answered in time', NULL),
	(138009, 0, '', 'suppress', '24 hours', 'permission was asked for too often', NULL),
	(138012, 0, '', 'suppress', '24 hours', 'recipient was called too often', NULL),
	(138013, 0, '', 'permanent', NULL, 'calls are not to be had here', NULL),
	(138014, 0, '', 'permanent', NULL, 'calls were switched off for their quality', NULL),
	(138015, 0, '', 'permanent', NULL, 'number has too low a limit for calls', NULL),
	(138017, 0, '', 'permanent', NULL, 'recipient has permitted calls for good', NULL),
	(138018, 0, '', 'permanent', NULL, 'number is not ready for calls', NULL),
	(138019, 0, '', 'permanent', NULL, 'call could not be set up', NULL),
	(138020, 0, '', 'permanent', NULL, 'call could not be set up', NULL),
	(138021, 0, '', 'permanent', NULL, 'call could not be set up', NULL),
	(138022, 0, '', 'permanent', NULL, 'call could not be set up', NULL),
	(138023, 0, '', 'permanent', NULL, 'call could not be set up', NULL),
	(138024, 0, '', 'permanent', NULL, 'call could not be set up', NULL),
	(138025, 0, '', 'permanent', NULL, 'call could not be set up', NULL),
	(138038, 0, '', 'permanent', NULL, 'call could not be set up', NULL),

	-- block lists
	(139100, 0, '', 'permanent', NULL, 'only some could be blocked', NULL),
	(139101, 0, '', 'permanent', NULL, 'block list is full', NULL),
	(139102, 0, '', 'permanent', NULL, 'block list has changed meanwhile', NULL),
	(139103, 0, '', 'retry', NULL, 'block list is not available for now', NULL);

-- missing permissions have codes of their own
INSERT INTO whatsapp.shipped_error_classes (code, class, meaning, hint)
SELECT c.code, 'hold_number', 'a permission is missing', 'Give the token''s system user access to the account and the number.'
FROM generate_series(200, 299) c (code);

-- and so have calls to sign people up
INSERT INTO whatsapp.shipped_error_classes (code, class, meaning)
SELECT c.code, 'permanent', 'sign-up could not be completed'
FROM generate_series(2494164, 2494179) c (code);

CREATE VIEW whatsapp.error_classes WITH (security_invoker = true) AS
SELECT code, subcode, details,
	coalesce(o.class, s.class) AS class,
	CASE WHEN o.class IS NULL THEN s.wait ELSE o.wait END AS wait,
	coalesce(o.meaning, s.meaning) AS meaning,
	coalesce(o.hint, s.hint) AS hint,
	o.class IS NOT NULL AS is_yours
FROM whatsapp.shipped_error_classes s
FULL JOIN whatsapp.error_class_overrides o USING (code, subcode, details);
COMMENT ON VIEW whatsapp.error_classes IS 'what is to be done about errors of Meta''s. Change it by UPDATE, add to it by INSERT; DELETE takes back what you have changed';
COMMENT ON COLUMN whatsapp.error_classes.code IS 'Meta''s code of the error';
COMMENT ON COLUMN whatsapp.error_classes.subcode IS 'only with this subcode; 0 for any';
COMMENT ON COLUMN whatsapp.error_classes.details IS 'only if the details match this regular expression, in whatever case; empty for any';
COMMENT ON COLUMN whatsapp.error_classes.class IS 'permanent: the message has failed. reroute: so it has, but there is another way to send it. suppress: so it has, and the recipient is to be left alone. retry: it is tried again, later each time, up to whatsapp.max_attempts; retry_few: up to three times; wait: after that time. These do not count as an attempt: pair (the recipient gets too much: messages to it are held, for 1, 4, 16, 64 … seconds), slow_number and slow_account (the number, or the account, is held for that time, and is slower for a while), hold_template (messages of the template wait), hold_number, hold_account and token (the number, all of the account, or all with that access token are held, until somebody resumes them, or sets another token). What is held is in whatsapp.holds';
COMMENT ON COLUMN whatsapp.error_classes.wait IS 'how long to wait at least before it is sent again. NULL is, of hold_template, hold_number and hold_account, until somebody resumes it; of others that wait, longer each time, up to some minutes';
COMMENT ON COLUMN whatsapp.error_classes.meaning IS 'what the error says';
COMMENT ON COLUMN whatsapp.error_classes.hint IS 'what people can do about it';
COMMENT ON COLUMN whatsapp.error_classes.is_yours IS 'whether it is as you have decided';

CREATE FUNCTION whatsapp.change_error_class() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF TG_OP <> 'INSERT' THEN
		DELETE FROM whatsapp.error_class_overrides o
		WHERE o.code = OLD.code AND o.subcode = OLD.subcode AND o.details = OLD.details;
	END IF;
	IF TG_OP = 'DELETE' THEN
		RETURN OLD;
	END IF;

	INSERT INTO whatsapp.error_class_overrides (code, subcode, details, class, wait, meaning, hint)
	SELECT NEW.code, coalesce(NEW.subcode, 0), coalesce(NEW.details, ''), NEW.class, NEW.wait,
		nullif(NEW.meaning, s.meaning), nullif(NEW.hint, s.hint)
	FROM (SELECT) one
	LEFT JOIN whatsapp.shipped_error_classes s ON s.code = NEW.code
		AND s.subcode = coalesce(NEW.subcode, 0) AND s.details = coalesce(NEW.details, '');
	RETURN NEW;
END $$;
COMMENT ON FUNCTION whatsapp.change_error_class() IS 'puts what is changed in whatsapp.error_classes into whatsapp.error_class_overrides';

CREATE TRIGGER changed INSTEAD OF INSERT OR UPDATE OR DELETE ON whatsapp.error_classes
	FOR EACH ROW EXECUTE FUNCTION whatsapp.change_error_class();
COMMENT ON TRIGGER changed ON whatsapp.error_classes IS 'has changes go to whatsapp.error_class_overrides';

CREATE FUNCTION whatsapp.error_class(http_status integer, error_code integer, error_subcode integer,
	error_details text, is_transient boolean, OUT class text, OUT wait interval, OUT meaning text)
RETURNS record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF error_code IS NOT NULL THEN
		SELECT e.class, e.wait, e.meaning INTO error_class.class, error_class.wait, error_class.meaning
		FROM whatsapp.error_classes e
		WHERE e.code = error_code
			AND e.subcode IN (0, coalesce(error_subcode, 0))
			AND (e.details = '' OR coalesce(error_details, '') ~* e.details)
		ORDER BY e.subcode <> 0 DESC, e.details <> '' DESC
		LIMIT 1;
		IF NOT FOUND THEN
			error_class.class := CASE
				WHEN is_transient THEN 'retry'
				WHEN http_status >= 500 THEN 'retry_few'
				ELSE 'permanent'
			END;
		END IF;
		RETURN;
	END IF;

	-- without an error of Meta's, it is the status that tells if Meta can have
	-- accepted the message: it surely has not if the request was refused
	error_class.class := CASE
		WHEN http_status IN (408, 499) THEN NULL
		WHEN http_status = 401 THEN 'token'
		WHEN http_status IN (403, 404) THEN 'hold_number'
		WHEN http_status = 429 THEN 'slow_number'
		WHEN http_status BETWEEN 300 AND 399 THEN 'hold_number'
		WHEN http_status BETWEEN 400 AND 499 THEN 'permanent'
	END;
	IF http_status = 429 THEN
		error_class.wait := interval '5 s';
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.error_class(integer, integer, integer, text, boolean) IS 'the class of an error, how long to wait and what it means, by its code, subcode and details; if there is none for the code, by is_transient, which Meta may tell, and the HTTP status. Without a code, by the HTTP status alone; NULL if that does not tell whether the message was accepted';

------------------------------------------------------------------------------
-- 6. The sender
--
-- The background worker claims rows that are due, sends them while no
-- transaction is open, and records what came of each.  There is one worker in
-- a database, so that a row found in state "sending" when it starts is one
-- that another has left behind.
--
-- Who changes rows of the outbox and messages does it in this order, and never
-- waits for a row of the outbox: what is locked is left for later.
------------------------------------------------------------------------------

-- To be raised when what the background worker calls changes, or what it gets.
CREATE FUNCTION whatsapp.sender_protocol() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1;
COMMENT ON FUNCTION whatsapp.sender_protocol() IS 'for the background worker: which functions there are for it to call, as a number. It does nothing for an extension whose number it does not know';

CREATE FUNCTION whatsapp.graph_endpoint(api_version text) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_graph_endpoint';
COMMENT ON FUNCTION whatsapp.graph_endpoint(text) IS 'where the Graph API is: whatsapp.graph_url and the version, whatsapp.api_version if that is NULL';

CREATE FUNCTION whatsapp.max_attempts() RETURNS integer
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_max_attempts';
COMMENT ON FUNCTION whatsapp.max_attempts() IS 'the setting whatsapp.max_attempts';

-- wa1.<row>.<attempt>.<nonce>: at most 52 characters, which is why
-- callback_data may have 460.
CREATE FUNCTION whatsapp.callback_token(o whatsapp.outbox) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'wa1.' || o.id::text || '.' || o.attempts::text || '.' || o.nonce;
COMMENT ON FUNCTION whatsapp.callback_token(whatsapp.outbox) IS 'what an attempt to send a message has in biz_opaque_callback_data, in front of callback_data and a dot: by it a status tells which attempt it is of. NULL before the first';

CREATE FUNCTION whatsapp.token_row(told text) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_token_row';
COMMENT ON FUNCTION whatsapp.token_row(text) IS 'id of the outbox row that a status is about, from what it has in biz_opaque_callback_data; NULL without a token of ours';

CREATE FUNCTION whatsapp.token_nonce(told text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_token_nonce';
COMMENT ON FUNCTION whatsapp.token_nonce(text) IS 'nonce of the attempt that a status is about, from what it has in biz_opaque_callback_data; NULL without a token of ours';

CREATE FUNCTION whatsapp.callback_data(told text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN starts_with(told, 'wa1.') AND told ~ '^wa1\.[0-9]{1,18}\.[0-9]{1,9}\.[0-9a-f]{16}(\.|$)'
		THEN substring(told FROM '^wa1\.[0-9]+\.[0-9]+\.[0-9a-f]+\.(.*)$')
	ELSE told
END;
COMMENT ON FUNCTION whatsapp.callback_data(text) IS 'the callback_data that was queued, from what a status has in biz_opaque_callback_data: that without our token';

-- (As text, which is what leaves: to have jsonb made of it, and text of that,
-- takes several times as long.)
CREATE FUNCTION whatsapp.request_text(o whatsapp.outbox) RETURNS text
LANGUAGE sql STABLE
RETURN '{'
	|| coalesce(CASE WHEN o.recipient_type = 'group' OR o.recipient_key LIKE '+%' THEN '"to": ' || to_json(o.recipient_key)::text || ', ' END, '')
	|| to_json(o.type)::text || ': ' || coalesce(o.content::text, '{"body": ' || coalesce(to_json(o.body)::text, 'null') || '}')
	|| ', "type": ' || to_json(o.type)::text
	|| coalesce(', "context": {"message_id": ' || to_json(o.reply_to)::text || '}', '')
	|| coalesce(CASE WHEN o.recipient_type <> 'group' AND o.recipient_key NOT LIKE '+%' THEN ', "recipient": ' || to_json(o.recipient_key)::text END, '')
	|| ', "recipient_type": ' || to_json(o.recipient_type)::text
	|| ', "messaging_product": "whatsapp"'
	|| coalesce(', "biz_opaque_callback_data": ' || to_json(CASE
			WHEN o.nonce IS NULL THEN o.callback_data
			ELSE whatsapp.callback_token(o) || coalesce('.' || o.callback_data, '')
		END)::text, '')
	|| '}';
COMMENT ON FUNCTION whatsapp.request_text(whatsapp.outbox) IS 'what is sent for a message that has no options, and is no read or typing call; the content goes under the key that is named like the type, so that new types need no change here';

CREATE FUNCTION whatsapp.request_body(o whatsapp.outbox) RETURNS jsonb
LANGUAGE sql STABLE
RETURN CASE
	WHEN o.type IN ('mark_read', 'typing') THEN
		CASE WHEN o.type = 'typing' THEN '{"typing_indicator": {"type": "text"}}'::jsonb ELSE '{}'::jsonb END
		-- whatever it is, it is to nobody
		|| o.content - '{to, recipient, recipient_type, type, context, biz_opaque_callback_data}'::text[]
		|| '{"messaging_product": "whatsapp", "status": "read"}'::jsonb
	WHEN o.options IS NULL THEN whatsapp.request_text(o)::jsonb
	-- (rows from dumps are not checked when they come)
	ELSE o.options - '{messaging_product,recipient_type,to,recipient,type,context,biz_opaque_callback_data,status}'::text[]
		|| whatsapp.request_text(o)::jsonb
END;
COMMENT ON FUNCTION whatsapp.request_body(whatsapp.outbox) IS 'what is sent for a message. Read and typing calls, which are to nobody, are content and little else';

-- How fast, and whether at all.

CREATE FUNCTION whatsapp.rate(messages_per_second integer, rate double precision, until timestamptz) RETURNS double precision
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
	WHEN rate IS NULL OR rate >= messages_per_second THEN messages_per_second
	ELSE rate + (messages_per_second - rate) * greatest(least(extract(epoch FROM now() - until)::double precision / 60, 1), 0)
END;
COMMENT ON FUNCTION whatsapp.rate(integer, double precision, timestamptz) IS 'how many messages a second are sent from a number that was too fast: that rate at first, when its hold has ended, and within a minute as many as before';

CREATE FUNCTION whatsapp.open_numbers()
RETURNS TABLE (phone_number_id text, rate double precision)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT n.phone_number_id, coalesce(h.rate, n.messages_per_second)
	FROM whatsapp.numbers n
	LEFT JOIN LATERAL (
		SELECT min(whatsapp.rate(n.messages_per_second, l.rate, l.until)) AS rate,
			bool_or(l.until IS NULL OR l.until > now()) AS is_held
		FROM whatsapp.holds l
		WHERE l.phone_number_id = n.phone_number_id AND l.kind IN ('number', 'account')
	) h ON true
	WHERE n.state = 'active' AND h.is_held IS NOT TRUE
		AND n.armed_in = (SELECT whatsapp.here())
		AND EXISTS (
			SELECT FROM whatsapp.valid_secrets s
			WHERE s.phone_number_id = n.phone_number_id AND s.kind = 'access_token')
		AND (NOT n.appsecret_proof OR whatsapp.appsecret_proof(n.phone_number_id, '') IS NOT NULL);
END;
COMMENT ON FUNCTION whatsapp.open_numbers() IS 'the numbers that may send now, and how many messages in a second';

CREATE FUNCTION whatsapp.is_of_marketing(o whatsapp.outbox) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- (PL/pgSQL keeps the plan of this, and a function in SQL would not)
	RETURN o.type = 'template' AND coalesce((
		SELECT upper(t.category) = 'MARKETING'
		FROM whatsapp.known_template(o.phone_number_id, o.content ->> 'name', o.content #>> '{language,code}') t), false);
END $$;
COMMENT ON FUNCTION whatsapp.is_of_marketing(whatsapp.outbox) IS 'whether a message is of a template of which whatsapp.templates says that its category is MARKETING';

CREATE FUNCTION whatsapp.is_opted_out(o whatsapp.outbox) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT CASE WHEN o.marketing OR whatsapp.is_of_marketing(o) THEN
		whatsapp.wants_no_marketing(o.phone_number_id, whatsapp.contact_key(o.phone_number_id,
			CASE WHEN o.recipient_key LIKE '+%' THEN o.recipient_key END,
			CASE WHEN o.recipient_key NOT LIKE '+%' THEN o.recipient_key END, 'infinity'))
	ELSE false END;
END;
COMMENT ON FUNCTION whatsapp.is_opted_out(whatsapp.outbox) IS 'whether a message is of a marketing template, as it says or whatsapp.templates does, and its recipient wants none';

-- What may leave now is read number by number, up to the limit of each, and
-- taken in turns.  The background worker knows how far it has read: up to
-- after_priorities and after_ids there are only rows that it has been told of
-- (released), or will find when it begins anew.  That matters when the rows
-- that have left are still in the index, as somebody has an old snapshot.

CREATE FUNCTION whatsapp.front_rows(max_rows integer, phone_number_ids text[], limits integer[],
	after_priorities integer[], after_ids bigint[], released bigint[], but_for bigint[])
RETURNS SETOF bigint
LANGUAGE sql STABLE
BEGIN ATOMIC
	WITH number AS MATERIALIZED (
		SELECT n.phone_number_id, l.ord, least(coalesce(l.max_rows, front_rows.max_rows), front_rows.max_rows) AS max_rows,
			coalesce(- l.priority, -2147483648) AS priority, coalesce(l.id, 0) AS id
		FROM whatsapp.open_numbers() n
		LEFT JOIN unnest(phone_number_ids, limits, after_priorities, after_ids)
			WITH ORDINALITY l (phone_number_id, max_rows, priority, id, ord) ON l.phone_number_id = n.phone_number_id
		WHERE phone_number_ids IS NULL OR l.phone_number_id IS NOT NULL
	), found AS (
		SELECT q.id, - q.priority AS urgency, n.phone_number_id, n.ord, n.max_rows
		FROM whatsapp.outbox q
		JOIN number n ON n.phone_number_id = q.phone_number_id
		-- (coalesce() keeps this from being looked for among all that may leave)
		WHERE q.id = ANY (released) AND q.id <> ALL (but_for) AND q.state = 'queued' AND coalesce(q.waits_for, '') = ''
		UNION
		SELECT f.id, f.urgency, n.phone_number_id, n.ord, n.max_rows
		FROM number n
		CROSS JOIN LATERAL (
			(SELECT q.id, - q.priority AS urgency
			FROM whatsapp.outbox q
			WHERE q.phone_number_id = n.phone_number_id AND q.state = 'queued' AND q.waits_for IS NULL
				AND - q.priority < n.priority AND q.id <> ALL (but_for)
			ORDER BY - q.priority, q.id
			LIMIT n.max_rows)
			UNION ALL
			(SELECT q.id, - q.priority
			FROM whatsapp.outbox q
			WHERE q.phone_number_id = n.phone_number_id AND q.state = 'queued' AND q.waits_for IS NULL
				AND (- q.priority, q.id) > (n.priority, n.id) AND q.id <> ALL (but_for)
			ORDER BY - q.priority, q.id
			LIMIT n.max_rows)
		) f
	)
	SELECT t.id
	FROM (
		SELECT f.id, f.urgency, f.ord, f.phone_number_id, f.max_rows,
			row_number() OVER (PARTITION BY f.phone_number_id ORDER BY f.urgency, f.id) AS nth
		FROM found f
	) t
	WHERE t.nth <= t.max_rows
	ORDER BY t.nth, t.ord, t.urgency, t.id
	LIMIT front_rows.max_rows;
END;
COMMENT ON FUNCTION whatsapp.front_rows(integer, text[], integer[], integer[], bigint[], bigint[], bigint[]) IS 'rows that may leave now, up to so many, but for those listed: of each number so many, in the order of priority and id; from all numbers if none are given';

CREATE FUNCTION whatsapp.deadline(o whatsapp.outbox) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
	WHEN o.type = 'typing' THEN least(o.expires_at, greatest(o.created_at, o.send_after) + interval '25 seconds')
	ELSE o.expires_at
END;
COMMENT ON FUNCTION whatsapp.deadline(whatsapp.outbox) IS 'when a message is not to be sent any more: expires_at, and a typing call 25 seconds after it was queued or due; NULL for never';

CREATE FUNCTION whatsapp.claim(max_rows integer, one_by_one boolean DEFAULT false,
	phone_number_ids text[] DEFAULT NULL, limits integer[] DEFAULT NULL,
	after_priorities integer[] DEFAULT NULL, after_ids bigint[] DEFAULT NULL, released bigint[] DEFAULT '{}',
	OUT what text, OUT outbox_id bigint, OUT phone_number_id text, OUT priority integer,
	OUT nonce text, OUT url text, OUT access_token text, OUT body text, OUT expires_at timestamptz,
	OUT attempt integer, OUT due_at timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
#variable_conflict use_column
DECLARE
	due bigint[];
	free bigint[];
	locked bigint[] := '{}';
	unchangeable bigint[] := '{}';
	wanted integer := max_rows;
	nrows integer;
	row_id bigint;
	objection text;
	is_any_claimed boolean := false;
BEGIN
	-- an objection is to be met where it can be dealt with
	SET CONSTRAINTS ALL IMMEDIATE;

	IF NOT one_by_one THEN
		-- what is behind rows that others have locked, or have kept from being
		-- changed, is not to wait for them, but there is an end to it
		FOR i IN 1..10 LOOP
			due := ARRAY(
				SELECT f.id
				FROM whatsapp.front_rows(wanted, phone_number_ids, limits, after_priorities, after_ids, released, locked) f (id));
			EXIT WHEN due = '{}';
			RETURN QUERY SELECT r.* FROM whatsapp.claim_rows(whatsapp.lock_rows(due)) r;
			GET DIAGNOSTICS nrows = ROW_COUNT;
			EXIT WHEN nrows >= cardinality(due);
			locked := locked || due;
			wanted := cardinality(due) - nrows;
		END LOOP;
		RETURN;
	END IF;

	-- something of one row had the claim of all fail: that row waits
	LOOP
		due := ARRAY(
			SELECT f.id
			FROM whatsapp.front_rows(max_rows, phone_number_ids, limits, after_priorities, after_ids, released, unchangeable) f (id));
		FOREACH row_id IN ARRAY due LOOP
			BEGIN
				free := whatsapp.lock_rows(ARRAY[row_id]);
				IF free = '{}' THEN
					unchangeable := unchangeable || row_id;
				ELSE
					RETURN QUERY SELECT r.* FROM whatsapp.claim_rows(free) r;
					is_any_claimed := true;
				END IF;
			EXCEPTION WHEN OTHERS THEN
				objection := SQLERRM;
				BEGIN
					UPDATE whatsapp.outbox o
					SET waits_for = 'retry', retry_at = now() + interval '1 minute', error = objection
					WHERE o.id = row_id;
				EXCEPTION WHEN OTHERS THEN
					-- it cannot even be changed to wait, so it will be met again
					unchangeable := unchangeable || row_id;
				END;
				IF whatsapp.is_news('cannot be sent ' || objection) THEN
					RAISE WARNING USING
						MESSAGE = format('outbox row %s cannot be sent for now: %s', row_id, objection),
						HINT = 'Something that was added to whatsapp.outbox objects, such as a trigger or a constraint.';
				END IF;
			END;
		END LOOP;
		-- what is behind them is not to wait for them, but there is an end to it
		EXIT WHEN is_any_claimed OR due = '{}' OR cardinality(unchangeable) >= 10000;
	END LOOP;
END $$;
COMMENT ON FUNCTION whatsapp.claim(integer, boolean, text[], integer[], integer[], bigint[], bigint[]) IS 'for the background worker: takes up to so many rows that may leave now, of each number up to so many, all at once or each by itself. What tells what became of a row: send, and how; moved, as it may not leave after all; released, of others that may leave instead';

CREATE FUNCTION whatsapp.lock_rows(ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN ARRAY(
		SELECT o.id
		FROM whatsapp.outbox o
		WHERE o.id = ANY (ids) AND o.state = 'queued'
		ORDER BY o.id
		FOR UPDATE SKIP LOCKED);
END $$;
COMMENT ON FUNCTION whatsapp.lock_rows(bigint[]) IS 'locks messages that are queued, and returns which: not those that others have locked';

CREATE FUNCTION whatsapp.claim_rows(ids bigint[],
	OUT what text, OUT outbox_id bigint, OUT phone_number_id text, OUT priority integer,
	OUT nonce text, OUT url text, OUT access_token text, OUT body text, OUT expires_at timestamptz,
	OUT attempt integer, OUT due_at timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	free bigint[];
	others bigint[];
	verdicts text[];
	held_untils timestamptz[];
	moved bigint[];
	left_numbers text[];
	left_recipients text[];
	paused text[];
	campaign text[];
	alike bigint[];
BEGIN
	SELECT array_agg(j.id) FILTER (WHERE j.verdict = 'sending'),
		array_agg(j.id) FILTER (WHERE j.verdict <> 'sending'),
		array_agg(j.verdict) FILTER (WHERE j.verdict <> 'sending'),
		array_agg(j.held_until) FILTER (WHERE j.verdict <> 'sending')
	INTO free, others, verdicts, held_untils
	FROM (
		SELECT o.id, p.until AS held_until,
			CASE
				WHEN whatsapp.deadline(o) <= now() THEN 'expired'
				WHEN NOT whatsapp.is_sendable(o) THEN 'failed'
				WHEN o.send_after > now() THEN 'schedule'
				WHEN o.type NOT IN ('mark_read', 'typing') AND h.id <> o.id THEN 'turn'
				WHEN o.campaign IS NOT NULL AND EXISTS (
					SELECT FROM whatsapp.campaign_hold(o.phone_number_id, o.campaign)) THEN 'campaign'
				WHEN o.type = 'template' AND EXISTS (
					SELECT FROM whatsapp.template_hold(o.phone_number_id, o.type, o.content)) THEN 'hold'
				WHEN o.type = 'template' AND whatsapp.is_opted_out(o) THEN 'opted out'
				WHEN o.retry_at > now() OR p.until > now() THEN 'retry'
				ELSE 'sending'
			END AS verdict
		FROM whatsapp.outbox o
		LEFT JOIN LATERAL whatsapp.lane_head(o.phone_number_id, o.recipient_key) h ON true
		LEFT JOIN LATERAL (
			SELECT l.until
			FROM whatsapp.holds l
			WHERE l.phone_number_id = o.phone_number_id AND l.kind = 'pair' AND l.key = o.recipient_key
				AND o.type NOT IN ('mark_read', 'typing')
		) p ON true
		-- (coalesce() keeps these from being looked for among all that may leave,
		-- and OFFSET 0 verdicts from being reached once for each who asks)
		WHERE o.id = ANY (ids) AND o.state = 'queued' AND coalesce(o.waits_for, '') = ''
		OFFSET 0
	) j;

	IF others IS NOT NULL THEN
		WITH changed AS (
			UPDATE whatsapp.outbox o
			SET state = CASE
					WHEN j.verdict IN ('expired', 'failed') THEN j.verdict
					WHEN j.verdict = 'opted out' THEN 'failed'
					ELSE 'queued'
				END,
				waits_for = CASE WHEN j.verdict IN ('schedule', 'turn', 'hold', 'campaign', 'retry') THEN j.verdict END,
				retry_at = CASE WHEN j.verdict = 'retry' THEN greatest(o.retry_at, j.held_until) ELSE o.retry_at END,
				finished_at = CASE WHEN j.verdict IN ('expired', 'failed', 'opted out') THEN now() END,
				failed_at = CASE WHEN j.verdict IN ('failed', 'opted out') THEN now() END,
				error_code = CASE WHEN j.verdict = 'opted out' THEN 131050 ELSE o.error_code END,
				error = CASE j.verdict
					WHEN 'failed' THEN 'The row has no recipient that is valid, or no body or content.'
					WHEN 'opted out' THEN 'The recipient wants no marketing messages.'
					ELSE o.error
				END
			FROM unnest(others, verdicts, held_untils) j (id, verdict, held_until)
			WHERE o.id = j.id
			RETURNING o.id, o.waits_for, o.phone_number_id, o.recipient_key, o.campaign
		)
		SELECT array_agg(c.id),
			array_agg(c.phone_number_id) FILTER (WHERE c.waits_for IS DISTINCT FROM 'turn'),
			array_agg(c.recipient_key) FILTER (WHERE c.waits_for IS DISTINCT FROM 'turn'),
			array_agg(DISTINCT ARRAY[c.phone_number_id, c.campaign]) FILTER (WHERE c.waits_for = 'campaign')
		INTO moved, left_numbers, left_recipients, paused
		FROM changed c;
	END IF;

	IF moved IS NOT NULL THEN
		RETURN QUERY
		SELECT 'moved', m.id, NULL::text, NULL::integer, NULL::text, NULL::text, NULL::text, NULL::text, NULL::timestamptz,
			NULL::integer, NULL::timestamptz
		FROM unnest(moved) m (id);
	END IF;
	IF left_numbers IS NOT NULL THEN
		PERFORM whatsapp.hold_behind(moved);
		IF paused IS NOT NULL THEN
			-- the rest of the campaign is not to be met bit by bit, at the pace of
			-- the number
			FOREACH campaign SLICE 1 IN ARRAY paused LOOP
				alike := whatsapp.hold_front(campaign[1], campaign[2], 1000);
				SELECT left_numbers || array_agg(o.phone_number_id), left_recipients || array_agg(o.recipient_key)
				INTO left_numbers, left_recipients
				FROM whatsapp.outbox o
				WHERE o.id = ANY (alike);
			END LOOP;
		END IF;
		RETURN QUERY
		SELECT 'released', a.id, NULL::text, NULL::integer, NULL::text, NULL::text, NULL::text, NULL::text, NULL::timestamptz,
			NULL::integer, NULL::timestamptz
		FROM unnest(whatsapp.advance(left_numbers, left_recipients)) a (id);
	END IF;
	IF free IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY
	WITH sender AS MATERIALIZED (
		SELECT DISTINCT ON (n.phone_number_id) n.phone_number_id, s.value AS access_token,
			whatsapp.graph_endpoint(n.api_version) || '/' || n.phone_number_id || '/' AS url,
			CASE WHEN n.appsecret_proof THEN '?appsecret_proof=' || whatsapp.appsecret_proof(n.phone_number_id, s.value) ELSE '' END AS proof,
			n.marketing_messages
		FROM whatsapp.numbers n
		JOIN whatsapp.valid_secrets s ON s.phone_number_id = n.phone_number_id
		WHERE s.kind = 'access_token'
		ORDER BY n.phone_number_id, s.secret_id DESC
	), claimed AS (
		UPDATE whatsapp.outbox o
		SET state = 'sending', attempts = o.attempts + 1, claimed_at = now(), finished_at = NULL, failed_at = NULL,
			nonce = substr(replace(gen_random_uuid()::text, '-', ''), 1, 16)
		-- (locked, but triggers on the others may have touched them)
		FROM unnest(free) f (id)
		WHERE o.id = f.id AND coalesce(o.state, '') = 'queued' AND coalesce(o.waits_for, '') = ''
		RETURNING o.id, o.state, o.phone_number_id, o.recipient_key, o.priority, o.nonce, o.type, o.marketing,
			o.type = 'template' AND o.marketing IS NULL AND whatsapp.is_of_marketing(o) AS is_of_marketing,
			CASE
				WHEN o.options IS NULL AND o.type NOT IN ('mark_read', 'typing') THEN whatsapp.request_text(o)
				ELSE whatsapp.request_body(o)::text
			END AS body,
			whatsapp.deadline(o) AS deadline, o.attempts,
			greatest(o.created_at, o.send_after, o.retry_at) AS due_at
	), strayed AS (
		-- something else has thought otherwise
		INSERT INTO whatsapp.changed_lanes (phone_number_id, recipient_key)
		SELECT c.phone_number_id, c.recipient_key
		FROM claimed c
		WHERE c.state <> 'sending' AND c.phone_number_id IS NOT NULL AND c.recipient_key IS NOT NULL
	)
	SELECT CASE WHEN c.state = 'sending' THEN 'send' ELSE 'moved' END, c.id, c.phone_number_id, c.priority, c.nonce,
		-- without the proof there is no address, and so nothing leaves
		coalesce(a.url || CASE
			WHEN c.type = 'template' AND coalesce(c.marketing, a.marketing_messages AND c.is_of_marketing) THEN 'marketing_messages'
			ELSE 'messages'
		END || a.proof, ''),
		a.access_token, c.body, c.deadline, c.attempts, c.due_at
	FROM claimed c
	JOIN sender a ON a.phone_number_id = c.phone_number_id
	ORDER BY c.priority DESC, c.id;
END $$;
COMMENT ON FUNCTION whatsapp.claim_rows(bigint[]) IS 'does the work of whatsapp.claim(): makes sure of each row, once it is locked, that it may leave now';

CREATE FUNCTION whatsapp.hold_behind(ids bigint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	alike bigint[];
BEGIN
	alike := ARRAY(
		SELECT t.id
		FROM whatsapp.outbox o
		CROSS JOIN LATERAL (
			SELECT q.id, q.type, q.content
			FROM whatsapp.outbox q
			WHERE q.phone_number_id = o.phone_number_id AND q.recipient_key = o.recipient_key
				AND q.state = 'queued' AND q.waits_for = 'turn'
			ORDER BY - q.priority, q.id
			LIMIT 1000
		) t
		WHERE o.id = ANY (ids) AND o.state = 'queued' AND coalesce(o.waits_for, '') = 'hold'
			AND whatsapp.template_key(t.type, t.content) = whatsapp.template_key(o.type, o.content));
	IF alike <> '{}' THEN
		PERFORM whatsapp.move_rows(alike, 'hold');
	END IF;
	alike := ARRAY(
		SELECT t.id
		FROM whatsapp.outbox o
		CROSS JOIN LATERAL (
			SELECT q.id, q.campaign
			FROM whatsapp.outbox q
			WHERE q.phone_number_id = o.phone_number_id AND q.recipient_key = o.recipient_key
				AND q.state = 'queued' AND q.waits_for = 'turn'
			ORDER BY - q.priority, q.id
			LIMIT 1000
		) t
		-- (coalesce() keeps these from being looked for among all that have a campaign)
		WHERE o.id = ANY (ids) AND o.state = 'queued' AND coalesce(o.waits_for, '') = 'campaign' AND coalesce(t.campaign = o.campaign, false)
		-- (others are met when it is their turn)
		LIMIT 1000);
	IF alike <> '{}' THEN
		PERFORM whatsapp.move_rows(alike, 'campaign');
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.hold_behind(bigint[]) IS 'has others to the same recipients wait along with messages that wait as their template is held, or their campaign is paused, if they are of that, too: as nothing else is to wait for it';

CREATE FUNCTION whatsapp.hold_front(phone_number_id text, campaign text, max_rows integer) RETURNS bigint[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	moved bigint[];
BEGIN
	moved := ARRAY(
		(SELECT q.id
		FROM whatsapp.outbox q
		WHERE q.campaign = hold_front.campaign AND q.state = 'queued' AND q.phone_number_id = hold_front.phone_number_id
			AND q.waits_for IS NULL
		LIMIT max_rows)
		UNION ALL
		(SELECT q.id
		FROM whatsapp.outbox q
		WHERE q.campaign = hold_front.campaign AND q.state = 'queued' AND q.phone_number_id = hold_front.phone_number_id
			AND q.waits_for = 'retry'
		LIMIT max_rows));
	IF moved <> '{}' THEN
		moved := whatsapp.move_rows(moved, 'campaign');
		PERFORM whatsapp.hold_behind(moved);
	END IF;
	RETURN moved;
END $$;
COMMENT ON FUNCTION whatsapp.hold_front(text, text, integer) IS 'has messages of a campaign that is paused wait for that, which others would have to wait for: of those that could leave now and of those that are to be tried again up to so many. Returns them';

CREATE FUNCTION whatsapp.move_rows(ids bigint[], waits_for text) RETURNS bigint[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	free bigint[] := whatsapp.lock_rows(ids);
	moved bigint[];
	row_id bigint;
BEGIN
	BEGIN
		WITH changed AS (
			UPDATE whatsapp.outbox o SET waits_for = move_rows.waits_for WHERE o.id = ANY (free)
			RETURNING o.id
		)
		SELECT coalesce(array_agg(c.id), '{}') INTO moved FROM changed c;
		RETURN moved;
	EXCEPTION WHEN OTHERS THEN
		-- something of one row is to blame
		moved := '{}';
	END;
	FOREACH row_id IN ARRAY free LOOP
		BEGIN
			UPDATE whatsapp.outbox o SET waits_for = move_rows.waits_for WHERE o.id = row_id;
			IF FOUND THEN
				moved := moved || row_id;
			END IF;
		EXCEPTION WHEN OTHERS THEN
			IF whatsapp.is_news('cannot be sent ' || SQLERRM) THEN
				RAISE WARNING USING
					MESSAGE = format('outbox row %s cannot be sent for now: %s', row_id, SQLERRM),
					HINT = 'Something that was added to whatsapp.outbox objects, such as a trigger or a constraint.';
			END IF;
		END;
	END LOOP;
	RETURN moved;
END $$;
COMMENT ON FUNCTION whatsapp.move_rows(bigint[], text) IS 'changes what messages wait for that are queued, and returns those for which it could: not those that others have locked, nor those of which something objects';

CREATE FUNCTION whatsapp.advance(phone_number_ids text[], recipient_keys text[]) RETURNS bigint[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	coming bigint[];
	advanced bigint[];
BEGIN
	coming := ARRAY(
		SELECT t.id
		FROM (
			SELECT DISTINCT u.phone_number_id, u.recipient_key
			FROM unnest(phone_number_ids, recipient_keys) u (phone_number_id, recipient_key)
		) l
		CROSS JOIN LATERAL (
			SELECT q.id, q.priority
			FROM whatsapp.outbox q
			WHERE q.phone_number_id = l.phone_number_id AND q.recipient_key = l.recipient_key
				AND q.state = 'queued' AND q.waits_for = 'turn'
			ORDER BY - q.priority, q.id
			LIMIT 1
		) t
		-- as whatsapp.lane_head() says, which would also look behind it: all of the
		-- lane was in front for a moment, when it was queued, and that is there to be
		-- read until no snapshot may see it
		LEFT JOIN LATERAL (
			SELECT f.id
			FROM whatsapp.lane_front(l.phone_number_id, l.recipient_key) f
			WHERE (f.state <> 'sending') IS FALSE
			LIMIT 1
		) s ON true
		LEFT JOIN LATERAL (
			(SELECT f.id
			FROM whatsapp.lane_front(l.phone_number_id, l.recipient_key) f
			WHERE (f.state <> 'sending') IS TRUE AND - f.priority < - t.priority
			LIMIT 1)
			-- (an index is not read up to a row)
			UNION ALL
			(SELECT f.id
			FROM whatsapp.lane_front(l.phone_number_id, l.recipient_key) f
			WHERE (f.state <> 'sending') IS TRUE AND - f.priority = - t.priority AND f.id < t.id
			LIMIT 1)
			LIMIT 1
		) h ON true
		WHERE s.id IS NULL AND h.id IS NULL);
	IF coming = '{}' THEN
		RETURN coming;
	END IF;

	advanced := whatsapp.move_rows(coming, NULL);
	-- what somebody has locked is for later
	IF cardinality(advanced) < cardinality(coming) THEN
		INSERT INTO whatsapp.changed_lanes (phone_number_id, recipient_key)
		SELECT o.phone_number_id, o.recipient_key
		FROM whatsapp.outbox o
		WHERE o.id = ANY (coming) AND o.id <> ALL (advanced);
	END IF;
	RETURN advanced;
END $$;
COMMENT ON FUNCTION whatsapp.advance(text[], text[]) IS 'has the next message to each of these recipients leave, if none is before it, and returns which these are';

CREATE FUNCTION whatsapp.tend(max_rows integer, OUT what text, OUT outbox_id bigint, OUT at timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
#variable_conflict use_column
DECLARE
	rows bigint[];
	fronts bigint[];
	behind bigint[];
	number_ids text[];
	recipients text[];
	held record;
	nmoved integer := 0;
	is_more boolean := false;
	next timestamptz;
	copies CONSTANT text[] := whatsapp.copies();
BEGIN
	IF NOT whatsapp.is_awake() THEN
		RETURN;
	END IF;
	SET CONSTRAINTS ALL IMMEDIATE;
	PERFORM whatsapp.heed_news(max_rows);

	UPDATE whatsapp.numbers n
	SET state = 'active', paused_reason = NULL, paused_until = NULL
	WHERE n.phone_number_id = ANY (ARRAY(
		SELECT p.phone_number_id
		FROM whatsapp.numbers p
		WHERE p.state = 'paused' AND p.paused_until <= now() AND (p.phone_number_id = ANY (copies)) IS NOT TRUE
		FOR UPDATE SKIP LOCKED));
	DELETE FROM whatsapp.holds h
	WHERE (h.phone_number_id, h.kind, h.key) IN (
		SELECT l.phone_number_id, l.kind, l.key
		FROM whatsapp.holds l
		WHERE (l.phone_number_id = ANY (copies)) IS NOT TRUE AND l.until + CASE WHEN l.kind = 'pair' THEN interval '1 hour' WHEN l.rate IS NOT NULL THEN interval '1 minute' ELSE interval '0' END
			<= now()
		FOR UPDATE SKIP LOCKED);

	-- a file may have another token by now
	DELETE FROM whatsapp.holds h
	WHERE h.kind = 'account' AND h.key = 'token' AND (h.phone_number_id = ANY (copies)) IS NOT TRUE AND h.since < (
		SELECT s.since
		FROM whatsapp.valid_secrets s
		WHERE s.phone_number_id = h.phone_number_id AND s.kind = 'access_token'
		ORDER BY s.secret_id DESC
		LIMIT 1);

	-- too late
	rows := ARRAY(
		SELECT q.id
		FROM whatsapp.outbox q
		WHERE q.state = 'queued' AND q.expires_at <= now() AND (q.phone_number_id = ANY (copies)) IS NOT TRUE
		ORDER BY q.expires_at
		LIMIT max_rows
		FOR UPDATE SKIP LOCKED);
	IF rows <> '{}' THEN
		SELECT array_agg(e.phone_number_id), array_agg(e.recipient_key)
		INTO number_ids, recipients
		FROM whatsapp.expire_rows(rows) e (phone_number_id, recipient_key);
	END IF;

	-- nobody waits for campaigns that are paused
	FOR held IN
		SELECT h.phone_number_id, h.key
		FROM whatsapp.holds h
		WHERE h.kind = 'campaign' AND (h.until IS NULL OR h.until > now()) AND (h.phone_number_id = ANY (copies)) IS NOT TRUE
	LOOP
		rows := whatsapp.hold_front(held.phone_number_id, held.key, max_rows);
		SELECT number_ids || array_agg(o.phone_number_id), recipients || array_agg(o.recipient_key)
		INTO number_ids, recipients
		FROM whatsapp.outbox o
		WHERE o.id = ANY (rows);
		nmoved := nmoved + cardinality(rows);
		is_more := nmoved >= max_rows;
		EXIT WHEN is_more;
	END LOOP;

	-- it is time, or they are held no more: these are in front, unless others are
	fronts := ARRAY(
		SELECT q.id
		FROM whatsapp.outbox q
		WHERE q.state = 'queued' AND q.waits_for IN ('schedule', 'retry')
			AND coalesce(greatest(q.send_after, q.retry_at), '-infinity') <= now() AND (q.phone_number_id = ANY (copies)) IS NOT TRUE
		ORDER BY coalesce(greatest(q.send_after, q.retry_at), '-infinity'), - q.priority, q.id
		LIMIT max_rows);
	FOR held IN
		WITH RECURSIVE k (phone_number_id, key) AS (
			(SELECT q.phone_number_id, whatsapp.template_key(q.type, q.content)
			FROM whatsapp.outbox q
			WHERE q.state = 'queued' AND q.waits_for = 'hold'
			ORDER BY q.phone_number_id, whatsapp.template_key(q.type, q.content)
			LIMIT 1)
			UNION ALL
			SELECT n.*
			FROM k
			CROSS JOIN LATERAL (
				SELECT q.phone_number_id, whatsapp.template_key(q.type, q.content)
				FROM whatsapp.outbox q
				WHERE q.state = 'queued' AND q.waits_for = 'hold'
					AND (q.phone_number_id, whatsapp.template_key(q.type, q.content)) > (k.phone_number_id, k.key)
				ORDER BY q.phone_number_id, whatsapp.template_key(q.type, q.content)
				LIMIT 1
			) n
		)
		SELECT k.phone_number_id, k.key
		FROM k
		WHERE (k.phone_number_id = ANY (copies)) IS NOT TRUE AND NOT EXISTS (
			SELECT FROM whatsapp.holds h
			WHERE h.phone_number_id = k.phone_number_id AND h.kind = 'template' AND h.key = k.key
				AND (h.until IS NULL OR h.until > now()))
	LOOP
		rows := ARRAY(
			SELECT q.id
			FROM whatsapp.outbox q
			WHERE q.state = 'queued' AND q.waits_for = 'hold'
				AND q.phone_number_id = held.phone_number_id AND whatsapp.template_key(q.type, q.content) = held.key
			ORDER BY - q.priority, q.id
			LIMIT max_rows);
		fronts := fronts || rows;
		is_more := is_more OR cardinality(rows) >= max_rows;
	END LOOP;
	FOR held IN
		WITH RECURSIVE k (phone_number_id, key) AS (
			(SELECT q.phone_number_id, q.campaign
			FROM whatsapp.outbox q
			WHERE q.state = 'queued' AND q.waits_for = 'campaign'
			ORDER BY q.phone_number_id, q.campaign
			LIMIT 1)
			UNION ALL
			SELECT n.*
			FROM k
			CROSS JOIN LATERAL (
				SELECT q.phone_number_id, q.campaign
				FROM whatsapp.outbox q
				WHERE q.state = 'queued' AND q.waits_for = 'campaign'
					AND (q.phone_number_id, q.campaign) > (k.phone_number_id, k.key)
				ORDER BY q.phone_number_id, q.campaign
				LIMIT 1
			) n
		)
		SELECT k.phone_number_id, k.key
		FROM k
		WHERE (k.phone_number_id = ANY (copies)) IS NOT TRUE AND NOT EXISTS (
			SELECT FROM whatsapp.campaign_hold(k.phone_number_id, k.key))
	LOOP
		rows := ARRAY(
			SELECT q.id
			FROM whatsapp.outbox q
			WHERE q.state = 'queued' AND q.waits_for = 'campaign'
				AND q.phone_number_id = held.phone_number_id AND q.campaign = held.key
			ORDER BY - q.priority, q.id
			LIMIT max_rows
			FOR UPDATE SKIP LOCKED);
		fronts := fronts || rows;
		is_more := is_more OR cardinality(fronts) >= max_rows;
		EXIT WHEN cardinality(fronts) >= max_rows;
	END LOOP;
	IF fronts <> '{}' THEN
		fronts := whatsapp.move_rows(fronts, NULL);
		behind := ARRAY(
			SELECT o.id
			FROM whatsapp.outbox o
			CROSS JOIN LATERAL whatsapp.lane_head(o.phone_number_id, o.recipient_key) h
			WHERE o.id = ANY (fronts) AND h.id <> o.id AND o.type NOT IN ('mark_read', 'typing'));
		IF behind <> '{}' THEN
			behind := whatsapp.move_rows(behind, 'turn');
		END IF;
	END IF;

	-- what others have changed
	WITH changed AS (
		DELETE FROM whatsapp.changed_lanes c
		WHERE c.change_id = ANY (ARRAY(
			SELECT l.change_id
			FROM whatsapp.changed_lanes l
			WHERE (l.phone_number_id = ANY (copies)) IS NOT TRUE
			ORDER BY l.change_id
			LIMIT max_rows))
		RETURNING c.phone_number_id, c.recipient_key
	)
	SELECT number_ids || array_agg(c.phone_number_id), recipients || array_agg(c.recipient_key)
	INTO number_ids, recipients
	FROM changed c;
	IF number_ids IS NOT NULL THEN
		RETURN QUERY
		SELECT 'released', a.id, NULL::timestamptz
		FROM unnest(whatsapp.advance(number_ids, recipients)) a (id);
	END IF;
	RETURN QUERY
	SELECT 'released', f.id, NULL::timestamptz
	FROM unnest(fronts) f (id)
	WHERE behind IS NULL OR f.id <> ALL (behind);

	PERFORM whatsapp.add_up_tallies();

	-- and when there will be something again
	SELECT least(
		(SELECT min(n.paused_until) FROM whatsapp.numbers n WHERE n.state = 'paused' AND (n.phone_number_id = ANY (copies)) IS NOT TRUE),
		(SELECT min(h.until) FROM whatsapp.holds h WHERE h.until > now() AND (h.phone_number_id = ANY (copies)) IS NOT TRUE),
		(SELECT q.expires_at FROM whatsapp.outbox q
			WHERE q.state = 'queued' AND q.expires_at IS NOT NULL AND (q.phone_number_id = ANY (copies)) IS NOT TRUE
			ORDER BY q.expires_at LIMIT 1),
		(SELECT coalesce(greatest(q.send_after, q.retry_at), '-infinity') FROM whatsapp.outbox q
			WHERE q.state = 'queued' AND q.waits_for IN ('schedule', 'retry') AND (q.phone_number_id = ANY (copies)) IS NOT TRUE
			ORDER BY coalesce(greatest(q.send_after, q.retry_at), '-infinity') LIMIT 1),
		CASE WHEN is_more THEN now() END,
		(SELECT now() FROM whatsapp.changed_lanes l WHERE (l.phone_number_id = ANY (copies)) IS NOT TRUE LIMIT 1),
		(SELECT now() FROM whatsapp.news w WHERE w.phone_number_id <> ALL (copies) LIMIT 1))
	INTO next;
	RETURN QUERY SELECT 'next', NULL::bigint, next WHERE next IS NOT NULL;
END $$;
COMMENT ON FUNCTION whatsapp.tend(integer) IS 'for the background worker: sees to what the clock and others have changed, up to so many rows of each kind: numbers and holds whose time is over, rows that have expired or are due, and recipients to whom another message is the next. What tells of rows that may leave now (released), and when there is something to see to again (next)';

CREATE FUNCTION whatsapp.audit(max_lanes integer, INOUT phone_number_id text, INOUT recipient_key text)
RETURNS record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
#variable_conflict use_column
DECLARE
	number_ids text[];
	recipients text[];
	copies CONSTANT text[] := whatsapp.copies();
BEGIN
	IF NOT whatsapp.is_awake() THEN
		phone_number_id := NULL;
		recipient_key := NULL;
		RETURN;
	END IF;
	SET CONSTRAINTS ALL IMMEDIATE;

	WITH RECURSIVE lane (phone_number_id, recipient_key, nth) AS (
		(SELECT q.phone_number_id, q.recipient_key, 1
		FROM whatsapp.outbox q
		WHERE q.state = 'queued' AND q.waits_for = 'turn'
			AND (q.phone_number_id = ANY (copies)) IS NOT TRUE
			AND (q.phone_number_id, q.recipient_key) > (coalesce(audit.phone_number_id, ''), coalesce(audit.recipient_key, ''))
		ORDER BY q.phone_number_id, q.recipient_key
		LIMIT 1)
		UNION ALL
		SELECT n.phone_number_id, n.recipient_key, l.nth + 1
		FROM lane l
		CROSS JOIN LATERAL (
			SELECT q.phone_number_id, q.recipient_key
			FROM whatsapp.outbox q
			WHERE q.state = 'queued' AND q.waits_for = 'turn'
				AND (q.phone_number_id = ANY (copies)) IS NOT TRUE
				AND (q.phone_number_id, q.recipient_key) > (l.phone_number_id, l.recipient_key)
			ORDER BY q.phone_number_id, q.recipient_key
			LIMIT 1
		) n
		WHERE l.nth < max_lanes
	)
	SELECT array_agg(l.phone_number_id ORDER BY l.nth), array_agg(l.recipient_key ORDER BY l.nth)
	INTO number_ids, recipients
	FROM lane l;
	phone_number_id := number_ids[max_lanes];
	recipient_key := recipients[max_lanes];
	IF number_ids IS NOT NULL THEN
		PERFORM whatsapp.advance(number_ids, recipients);
	END IF;

	-- what has no place to wait in any more
	PERFORM whatsapp.move_rows(l.ids, NULL)
	FROM (
		SELECT array_agg(w.id) AS ids
		FROM whatsapp.numbers n
		CROSS JOIN LATERAL (
			(SELECT q.id
			FROM whatsapp.outbox q
			WHERE q.state = 'queued' AND q.waits_for = 'turn' AND q.phone_number_id = n.phone_number_id AND q.recipient_key IS NULL
			LIMIT max_lanes)
			UNION ALL
			(SELECT q.id
			FROM whatsapp.outbox q
			WHERE q.state = 'queued' AND q.waits_for = 'hold' AND q.phone_number_id = n.phone_number_id
				AND whatsapp.template_key(q.type, q.content) IS NULL
			LIMIT max_lanes)
			UNION ALL
			(SELECT q.id
			FROM whatsapp.outbox q
			WHERE q.state = 'queued' AND q.waits_for = 'campaign' AND q.phone_number_id = n.phone_number_id AND q.campaign IS NULL
			LIMIT max_lanes)
		) w
		WHERE (n.phone_number_id = ANY (copies)) IS NOT TRUE
	) l
	WHERE l.ids IS NOT NULL;
END $$;
COMMENT ON FUNCTION whatsapp.audit(integer, text, text) IS 'for the background worker: makes sure, for so many recipients after that one, that the next message to each may leave, and returns the last of them; NULL if these were all. That finds what was changed without the triggers of whatsapp.outbox, such as by replication';

CREATE FUNCTION whatsapp.expire_rows(ids bigint[])
RETURNS TABLE (phone_number_id text, recipient_key text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	row_id bigint;
BEGIN
	BEGIN
		RETURN QUERY
		UPDATE whatsapp.outbox o
		SET state = 'expired', finished_at = now()
		WHERE o.id = ANY (ids)
		RETURNING o.phone_number_id, o.recipient_key;
		RETURN;
	EXCEPTION WHEN OTHERS THEN
		-- something of one row is to blame
		NULL;
	END;
	FOREACH row_id IN ARRAY ids LOOP
		BEGIN
			RETURN QUERY
			UPDATE whatsapp.outbox o
			SET state = 'expired', finished_at = now()
			WHERE o.id = row_id
			RETURNING o.phone_number_id, o.recipient_key;
		EXCEPTION WHEN OTHERS THEN
			-- it is not sent, and will be met again
			IF whatsapp.is_news('has expired ' || SQLERRM) THEN
				RAISE WARNING USING
					MESSAGE = format('outbox row %s has expired, and cannot be changed to say so: %s', row_id, SQLERRM),
					HINT = 'Something that was added to whatsapp.outbox objects, such as a trigger or a constraint.';
			END IF;
		END;
	END LOOP;
END $$;
COMMENT ON FUNCTION whatsapp.expire_rows(bigint[]) IS 'says of messages that are queued, and are locked, that they have expired, and returns to whom others may go now';

CREATE FUNCTION whatsapp.add_up_tallies() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF (SELECT count(*) FROM (SELECT FROM whatsapp.tallies a LIMIT 100) few) < 100 THEN
		RETURN;
	END IF;
	WITH added AS (
		DELETE FROM whatsapp.tallies
		RETURNING phone_number_id, queued, not_due, sending
	)
	INSERT INTO whatsapp.tallies (phone_number_id, queued, not_due, sending)
	SELECT a.phone_number_id, sum(a.queued), sum(a.not_due), sum(a.sending)
	FROM added a
	GROUP BY a.phone_number_id;
END $$;
COMMENT ON FUNCTION whatsapp.add_up_tallies() IS 'for the background worker: adds up whatsapp.tallies, if there are many of them';

CREATE FUNCTION whatsapp.count_rows() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- by the indexes, one after the other, as there may be many that are done
	WITH counted AS (
		SELECT c.phone_number_id, sum(c.queued) AS queued, sum(c.not_due) AS not_due, sum(c.sending) AS sending
		FROM (
			SELECT o.phone_number_id, 1 AS queued, 0 AS not_due, 0 AS sending
			FROM whatsapp.outbox o WHERE o.state = 'queued' AND o.waits_for IS NULL
			UNION ALL
			SELECT o.phone_number_id, 1, 0, 0
			FROM whatsapp.outbox o WHERE o.state = 'queued' AND o.waits_for = 'turn'
			UNION ALL
			SELECT o.phone_number_id, 1, 0, 0
			FROM whatsapp.outbox o WHERE o.state = 'queued' AND o.waits_for = 'hold'
			UNION ALL
			SELECT o.phone_number_id, 1, 0, 0
			FROM whatsapp.outbox o WHERE o.state = 'queued' AND o.waits_for = 'campaign'
			UNION ALL
			SELECT o.phone_number_id, 1, 1, 0
			FROM whatsapp.outbox o WHERE o.state = 'queued' AND o.waits_for IN ('schedule', 'retry')
			UNION ALL
			SELECT o.phone_number_id, 0, 0, 1
			FROM whatsapp.outbox o WHERE o.state = 'sending'
		) c
		WHERE c.phone_number_id IS NOT NULL
		GROUP BY c.phone_number_id
	), forgotten AS (
		DELETE FROM whatsapp.tallies
	)
	INSERT INTO whatsapp.tallies (phone_number_id, queued, not_due, sending)
	SELECT c.phone_number_id, c.queued, c.not_due, c.sending
	FROM counted c;
END $$;
COMMENT ON FUNCTION whatsapp.count_rows() IS 'for the background worker, when it starts: counts messages anew';

CREATE FUNCTION whatsapp.withdraw(ids bigint[]) RETURNS SETOF bigint
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT o.id
	FROM whatsapp.outbox o
	WHERE o.id = ANY (ids) AND (
		o.phone_number_id NOT IN (SELECT n.phone_number_id FROM whatsapp.open_numbers() n)
		OR o.type = 'template' AND whatsapp.is_opted_out(o)
		OR EXISTS (SELECT FROM whatsapp.template_hold(o.phone_number_id, o.type, o.content))
		OR o.campaign IS NOT NULL AND EXISTS (SELECT FROM whatsapp.campaign_hold(o.phone_number_id, o.campaign)));
END;
COMMENT ON FUNCTION whatsapp.withdraw(bigint[]) IS 'for the background worker: which of these messages, that have been claimed and of which nothing has left yet, may not leave any more';

CREATE FUNCTION whatsapp.is_sendable(o whatsapp.outbox) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN o.type IN ('mark_read', 'typing') THEN coalesce(jsonb_typeof(o.content) = 'object', false)
	ELSE coalesce(o.recipient_key <> '', false) AND (o.content IS NOT NULL OR o.type = 'text' AND coalesce(o.body <> '', false))
		AND coalesce(jsonb_typeof(o.options), 'object') = 'object'
END;
COMMENT ON FUNCTION whatsapp.is_sendable(whatsapp.outbox) IS 'whether there is anything to send for a row, and anybody to send it to: rows from dumps are not checked when they come';

CREATE FUNCTION whatsapp.delay(class text, wait interval, attempts integer, deferrals integer, retry_after integer) RETURNS interval
LANGUAGE sql VOLATILE
RETURN greatest(
	CASE
		WHEN class = 'pair' THEN interval '1 second' * power(4, least(deferrals, 6))
		WHEN class = 'not sent' THEN interval '1 second' * least(power(2, least(deferrals, 10) + 1), 60) * (0.5 + random() / 2)
		WHEN class = 'not read' THEN interval '100 ms' * power(2, least(deferrals, 6)) * (0.5 + random() / 2)
		WHEN class IN ('retry', 'retry_few') OR class = 'wait' AND wait IS NULL
			THEN interval '1 second' * least(power(2, least(attempts, 10)), 300) * (0.5 + random() / 2)
		WHEN wait IS NULL THEN interval '1 second' * least(power(2, least(deferrals, 10)), 60) * (0.5 + random() / 2)
	END,
	wait * (1 + random() / 10),
	CASE WHEN retry_after > 0 THEN interval '1 second' * least(retry_after, 3600) END);
COMMENT ON FUNCTION whatsapp.delay(text, interval, integer, integer, integer) IS 'how long a message waits before it is tried again, from the class of the error and how often it was tried, and had to wait, before: twice as long each time, by chance up to half of that less, and at most five minutes, or one if it did not leave, or some seconds if the server just did not look at it; of a pair four times as long each time, up to 4096 seconds; for what Retry-After says at least, in seconds, and that at most an hour';

CREATE FUNCTION whatsapp.verdict(type text, outcome text, http_status integer, reply jsonb,
	OUT state text, OUT class text, OUT wait interval, OUT error_code integer, OUT error_subcode integer,
	OUT error_title text, OUT error_details text, OUT error text, OUT fbtrace_id text)
RETURNS record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	told jsonb := CASE WHEN jsonb_typeof(reply -> 'error') = 'object' THEN reply -> 'error' END;
	may_repeat CONSTANT boolean := type IN ('mark_read', 'typing');
BEGIN
	IF outcome IN ('not sent', 'not read', 'withdrawn') THEN
		state := 'queued';
		class := outcome;
		RETURN;
	END IF;
	IF outcome <> 'answered' THEN
		state := CASE WHEN may_repeat THEN 'queued' ELSE 'unknown' END;
		class := CASE WHEN may_repeat THEN 'retry' END;
		RETURN;
	END IF;
	IF may_repeat AND (reply ->> 'success' = 'true' OR reply ? 'messages') OR NOT may_repeat AND reply #>> '{messages,0,id}' <> '' THEN
		state := 'sent';
		RETURN;
	END IF;

	error_code := CASE WHEN told ->> 'code' ~ '^-?[0-9]{1,9}$' THEN (told ->> 'code')::integer END;
	error_subcode := CASE WHEN told ->> 'error_subcode' ~ '^-?[0-9]{1,9}$' THEN (told ->> 'error_subcode')::integer END;
	error_title := coalesce(told ->> 'error_user_title',
		regexp_replace(told ->> 'message', '^\(#[0-9]+\) *', ''));
	error_details := coalesce(
		CASE jsonb_typeof(told -> 'error_data')
			WHEN 'object' THEN told #>> '{error_data,details}'
			WHEN 'string' THEN told ->> 'error_data'
		END,
		told ->> 'error_user_msg');
	fbtrace_id := told ->> 'fbtrace_id';

	SELECT e.class, e.wait, coalesce(error_details, error_title, e.meaning, 'Error ' || error_code)
	INTO verdict.class, verdict.wait, verdict.error
	FROM whatsapp.error_class(http_status, error_code, error_subcode, concat_ws(' ', error_title, error_details),
		told ->> 'is_transient' = 'true') e;
	IF class IS NULL AND may_repeat THEN
		class := 'retry';
	END IF;
	state := CASE
		WHEN class IS NULL THEN 'unknown'
		WHEN class IN ('permanent', 'reroute', 'suppress') THEN 'failed'
		ELSE 'queued'
	END;
END $$;
COMMENT ON FUNCTION whatsapp.verdict(text, text, integer, jsonb) IS 'what came of an attempt, from the type of the message, its outcome (answered, not sent, not read, withdrawn, unknown), the HTTP status and the JSON that was answered: sent needs an id from Meta; what an error of Meta''s means is said by whatsapp.error_classes, whatever the HTTP status is; without either only a status that says that the request was refused tells that it was not accepted. Read and typing calls have no id, and may be repeated. "queued" is still to be seen in the light of attempts made before';

CREATE FUNCTION whatsapp.hold_key(class text, recipient_key text, template_key text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN class = 'pair' THEN recipient_key
	WHEN class = 'hold_template' THEN template_key
	WHEN class IN ('slow_number', 'slow_account', 'hold_number', 'hold_account', 'token') THEN class
END;
COMMENT ON FUNCTION whatsapp.hold_key(text, text, text) IS 'what an error of such a class holds, as in whatsapp.holds.key, from the recipient and the template of the message; NULL if nothing';

CREATE FUNCTION whatsapp.record_others(outbox_ids bigint[], nonces text[], outcomes text[],
	http_statuses integer[], replies jsonb[], errors text[], retry_afters integer[],
	recorded bigint[],
	OUT what text, OUT outbox_id bigint)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	sent bigint[];
	wa_ids text[];
	left_numbers text[];
	left_recipients text[];
	locked bigint[];
	troubles jsonb;
	unheard_of integer[];
	others text[];
	classes text[];
	fronts bigint[];
BEGIN
	WITH result AS MATERIALIZED (
		SELECT r.*
		FROM unnest(outbox_ids, nonces, outcomes, http_statuses, replies, errors, retry_afters)
			r (id, nonce, outcome, http_status, reply, error, retry_after)
		WHERE r.id <> ALL (recorded)
	), free AS MATERIALIZED (
		SELECT r.*, o.phone_number_id, o.recipient_key, o.type, o.state, o.attempts, o.deferrals, o.claimed_at, o.expires_at,
			o.error AS old_error, whatsapp.template_key(o.type, o.content) AS template_key
		FROM whatsapp.outbox o
		JOIN result r ON r.id = o.id AND r.nonce = o.nonce
		WHERE o.state <> 'sent'
		ORDER BY o.id
		FOR UPDATE OF o SKIP LOCKED
	), judged AS MATERIALIZED (
		SELECT f.id, f.phone_number_id, f.recipient_key, f.template_key, f.attempts, f.claimed_at, f.expires_at, f.old_error,
			f.http_status, f.reply, f.retry_after, f.deferrals,
			v.state, v.class, v.wait, v.error_code, v.error_subcode, v.error_title, v.error_details, v.fbtrace_id,
			-- an attempt that did not leave, or had to wait, is none
			v.state = 'queued' AND v.class NOT IN ('retry', 'retry_few', 'wait') AS is_deferred,
			coalesce(v.error, f.error,
				CASE WHEN v.state <> 'sent' THEN
					format('HTTP status %s without an answer of the Graph API', f.http_status) END) AS error
		FROM free f
		CROSS JOIN LATERAL whatsapp.verdict(f.type, f.outcome, f.http_status, f.reply) v
		-- somebody has thought otherwise meanwhile: only what was sent is a fact
		WHERE f.state = 'sending' OR v.state = 'sent'
	), decided AS MATERIALIZED (
		SELECT j.id, j.phone_number_id, j.recipient_key, j.template_key, j.claimed_at, j.http_status, j.reply, j.class, j.wait,
			j.error_code, j.error_subcode, j.error_title, j.error_details, j.error, j.fbtrace_id, j.is_deferred, j.old_error,
			CASE
				WHEN j.state = 'queued' AND NOT j.is_deferred AND j.attempts >=
					CASE j.class WHEN 'retry_few' THEN least(3, whatsapp.max_attempts()) ELSE whatsapp.max_attempts() END
				THEN 'failed'
				WHEN j.state = 'queued' AND j.expires_at <= now() THEN 'expired'
				ELSE j.state
			END AS state,
			-- what is held is held as a whole, and does not wait by itself
			CASE
				WHEN j.class = 'hold_template' AND j.template_key IS NOT NULL THEN 'hold'
				WHEN j.class NOT IN ('slow_number', 'slow_account', 'hold_number', 'hold_account', 'token', 'withdrawn') THEN 'retry'
			END AS waits_for,
			j.attempts,
			greatest(j.attempts - j.is_deferred::integer, 0) AS counted,
			CASE WHEN j.is_deferred THEN j.deferrals + 1 ELSE 0 END AS deferrals,
			now() + whatsapp.delay(j.class, j.wait, j.attempts, CASE WHEN j.class = 'pair' THEN coalesce(p.failures, 0) ELSE j.deferrals END, j.retry_after) AS retry_at
		FROM judged j
		LEFT JOIN LATERAL (
			SELECT h.failures
			FROM whatsapp.holds h
			WHERE j.class = 'pair' AND h.phone_number_id = j.phone_number_id AND h.kind = 'pair' AND h.key = j.recipient_key
		) p ON true
	), changed AS (
		UPDATE whatsapp.outbox o
		SET state = d.state,
			waits_for = CASE WHEN d.state = 'queued' THEN d.waits_for END,
			attempts = d.counted,
			deferrals = d.deferrals,
			message_id = CASE WHEN d.state = 'sent' THEN d.reply #>> '{messages,0,id}' END,
			error_code = d.error_code, error_title = d.error_title, error_details = d.error_details,
			error = d.error, fbtrace_id = d.fbtrace_id,
			retry_at = CASE WHEN d.state = 'queued' AND d.waits_for = 'retry' THEN d.retry_at END,
			finished_at = CASE WHEN d.state <> 'queued' THEN now() END,
			failed_at = CASE WHEN d.state = 'failed' THEN now() END
		FROM decided d
		WHERE d.id = o.id
	), logged AS (
		INSERT INTO whatsapp.attempts (outbox_id, attempt, what, state, retry_at, http_status, class,
			error_code, error_subcode, error_title, error_details, error, fbtrace_id)
		SELECT d.id, d.attempts,
			CASE WHEN d.class IN ('not sent', 'not read', 'withdrawn') THEN 'not sent' WHEN d.class IS NULL OR coalesce(d.http_status, 0) = 0 THEN 'unknown' ELSE 'refused' END,
			d.state, CASE WHEN d.state = 'queued' AND d.waits_for = 'retry' THEN d.retry_at END, nullif(d.http_status, 0),
			CASE WHEN d.class NOT IN ('not sent', 'not read', 'withdrawn') THEN d.class END,
			d.error_code, d.error_subcode, d.error_title, d.error_details, d.error, d.fbtrace_id
		FROM decided d
		WHERE d.state <> 'sent' AND NOT (d.is_deferred AND d.error IS NOT DISTINCT FROM d.old_error)
	), troubled AS (
		-- of several, what takes the longest; no time to wait is for ever
		SELECT DISTINCT ON (d.phone_number_id, d.class, k.key) d.phone_number_id, d.class, k.key,
			CASE WHEN d.wait IS NOT NULL OR d.class IN ('pair', 'slow_number', 'slow_account') THEN d.retry_at END AS until,
			d.error_code, d.error, max(d.claimed_at) OVER (PARTITION BY d.phone_number_id, d.class, k.key) AS claimed_at
		FROM decided d
		CROSS JOIN LATERAL (
			SELECT whatsapp.hold_key(d.class, d.recipient_key, d.template_key) AS key
		) k
		WHERE k.key IS NOT NULL
		ORDER BY d.phone_number_id, d.class, k.key, d.wait DESC NULLS FIRST, d.retry_at DESC
	)
	SELECT array_agg(d.id) FILTER (WHERE d.state = 'sent'),
		array_agg(d.reply #>> '{contacts,0,wa_id}') FILTER (WHERE d.state = 'sent'),
		array_agg(d.id) FILTER (WHERE d.state = 'queued' AND d.waits_for IS NULL),
		array_agg(d.phone_number_id) FILTER (WHERE d.state <> 'queued' OR d.waits_for IS NOT NULL),
		array_agg(d.recipient_key) FILTER (WHERE d.state <> 'queued' OR d.waits_for IS NOT NULL),
		ARRAY(SELECT r.id FROM result r WHERE r.id NOT IN (SELECT f.id FROM free f)),
		(SELECT jsonb_agg(to_jsonb(t)) FROM troubled t),
		array_agg(DISTINCT d.error_code) FILTER (WHERE d.error_code IS NOT NULL AND NOT EXISTS (
			SELECT FROM whatsapp.error_classes e WHERE e.code = d.error_code)),
		array_agg(d.state) FILTER (WHERE d.state <> 'sent'),
		array_agg(d.class) FILTER (WHERE d.error_code IS NOT NULL)
	INTO sent, wa_ids, fronts, left_numbers, left_recipients, locked, troubles, unheard_of, others, classes
	FROM decided d;
	PERFORM whatsapp.count_event('sends', 'sent', coalesce(cardinality(sent), 0));
	IF others IS NOT NULL THEN
		PERFORM whatsapp.count_event('sends', o.state, 1) FROM unnest(others) o (state);
		PERFORM whatsapp.count_event('refusals', c.class, 1) FROM unnest(classes) c (class);
	END IF;

	IF sent IS NOT NULL THEN
		PERFORM whatsapp.file_sent(sent, wa_ids);
	END IF;
	PERFORM whatsapp.hold(t.phone_number_id, t.class, t.key, t.until, t.error_code, t.error, t.claimed_at)
	FROM jsonb_to_recordset(troubles) t (phone_number_id text, class text, key text, until timestamptz,
		error_code integer, error text, claimed_at timestamptz)
	ORDER BY t.phone_number_id, t.class, t.key;
	IF unheard_of IS NOT NULL AND whatsapp.is_news('unheard of ' || unheard_of::text) THEN
		RAISE WARNING USING
			MESSAGE = format('Meta has answered with unknown errors: %s', array_to_string(unheard_of, ', ')),
			HINT = 'whatsapp.attempts has what it said. Say what is to be done by an INSERT into whatsapp.error_classes.';
	END IF;

	IF sent IS NOT NULL AND EXISTS (SELECT FROM whatsapp.holds h WHERE h.kind = 'pair') THEN
		DELETE FROM whatsapp.holds h
		USING whatsapp.outbox o
		WHERE o.id = ANY (sent) AND o.type NOT IN ('mark_read', 'typing')
			AND h.phone_number_id = o.phone_number_id AND h.kind = 'pair' AND h.key = o.recipient_key;
	END IF;
	IF fronts IS NOT NULL THEN
		RETURN QUERY SELECT 'released', f.id FROM unnest(fronts) f (id);
	END IF;
	IF left_numbers IS NOT NULL THEN
		RETURN QUERY
		SELECT 'released', a.id
		FROM unnest(whatsapp.advance(left_numbers, left_recipients)) a (id);
	END IF;
	-- or gone, or none of our business any more
	IF locked <> '{}' THEN
		RETURN QUERY
		SELECT 'left', o.id
		FROM unnest(outbox_ids, nonces) r (id, nonce)
		JOIN whatsapp.outbox o ON o.id = r.id AND o.nonce = r.nonce
		WHERE r.id = ANY (locked) AND o.state = 'sending';
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.record_others(bigint[], text[], text[], integer[], jsonb[], text[], integer[], bigint[]) IS 'does the work of whatsapp.record() for those that have not been recorded: whatever came of them';

-- What came of attempts is nearly always that the message was accepted: that is
-- recorded in a few statements for all.
CREATE FUNCTION whatsapp.record(outbox_ids bigint[], nonces text[], outcomes text[],
	http_statuses integer[], replies jsonb[], errors text[], retry_afters integer[],
	OUT what text, OUT outbox_id bigint)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
	sent bigint[];
	wa_ids text[];
	left_numbers text[];
	left_recipients text[];
BEGIN
	SET CONSTRAINTS ALL IMMEDIATE;

	WITH accepted AS MATERIALIZED (
		SELECT r.id, r.nonce, r.reply #>> '{messages,0,id}' AS message_id, r.reply #>> '{contacts,0,wa_id}' AS wa_id
		FROM unnest(outbox_ids, nonces, outcomes, replies) r (id, nonce, outcome, reply)
		WHERE r.outcome = 'answered' AND r.reply #>> '{messages,0,id}' <> ''
	), free AS MATERIALIZED (
		SELECT o.ctid AS place, a.message_id, a.wa_id
		FROM whatsapp.outbox o
		JOIN accepted a ON a.id = o.id AND a.nonce = o.nonce
		WHERE o.state <> 'sent' AND o.type NOT IN ('mark_read', 'typing')
		ORDER BY o.id
		FOR UPDATE OF o SKIP LOCKED
	), changed AS (
		UPDATE whatsapp.outbox o
		SET state = 'sent', waits_for = NULL, deferrals = 0, message_id = f.message_id,
			error_code = NULL, error_title = NULL, error_details = NULL, error = NULL, fbtrace_id = NULL,
			retry_at = NULL, finished_at = now(), failed_at = NULL
		FROM free f
		-- (a row that was changed until it was locked is not there, and is one of the others)
		WHERE o.ctid = f.place
		RETURNING o.id, o.phone_number_id, o.recipient_key, f.wa_id
	)
	SELECT array_agg(c.id), array_agg(c.wa_id), array_agg(c.phone_number_id), array_agg(c.recipient_key)
	INTO sent, wa_ids, left_numbers, left_recipients
	FROM changed c;

	IF sent IS NOT NULL THEN
		PERFORM whatsapp.count_event('sends', 'sent', cardinality(sent));
		PERFORM whatsapp.file_sent(sent, wa_ids);
		IF EXISTS (SELECT FROM whatsapp.holds h WHERE h.kind = 'pair') THEN
			DELETE FROM whatsapp.holds h
			USING unnest(left_numbers, left_recipients) l (phone_number_id, recipient_key)
			WHERE h.phone_number_id = l.phone_number_id AND h.kind = 'pair' AND h.key = l.recipient_key;
		END IF;
		RETURN QUERY
		SELECT 'released', a.id
		FROM unnest(whatsapp.advance(left_numbers, left_recipients)) a (id);
	END IF;
	IF cardinality(sent) = cardinality(outbox_ids) THEN
		RETURN;
	END IF;
	RETURN QUERY
	SELECT o.what, o.outbox_id
	FROM whatsapp.record_others(outbox_ids, nonces, outcomes, http_statuses, replies, errors, retry_afters, coalesce(sent, '{}')) o;
END $$;
COMMENT ON FUNCTION whatsapp.record(bigint[], text[], text[], integer[], jsonb[], text[], integer[]) IS 'for the background worker: records what came of attempts, each known by its row and nonce. What tells of rows that others have locked, to be recorded later (left), and of rows that may leave now (released)';

CREATE FUNCTION whatsapp.hold(phone_number_id text, class text, key text, until timestamptz, error_code integer, reason text, claimed_at timestamptz)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	kind text := CASE
		WHEN hold.class = 'pair' THEN 'pair'
		WHEN hold.class = 'hold_template' THEN 'template'
		WHEN hold.class IN ('slow_number', 'hold_number') THEN 'number'
		ELSE 'account'
	END;
	held text[];
BEGIN
	WITH token AS MATERIALIZED (
		SELECT DISTINCT ON (s.phone_number_id) s.phone_number_id, s.value, s.since
		FROM whatsapp.valid_secrets s
		WHERE s.kind = 'access_token'
		ORDER BY s.phone_number_id, s.secret_id DESC
	), alike AS (
		SELECT o.phone_number_id, o.since
		FROM token o
		JOIN token t ON t.value = o.value
		WHERE t.phone_number_id = hold.phone_number_id
	), concerned AS (
		SELECT n.phone_number_id, n.messages_per_second
		FROM whatsapp.numbers n
		WHERE CASE
			WHEN hold.class = 'token' THEN n.phone_number_id IN (
				-- a token that was set meanwhile is another matter
				SELECT a.phone_number_id FROM alike a WHERE a.since <= hold.claimed_at)
				AND EXISTS (SELECT FROM token t WHERE t.phone_number_id = hold.phone_number_id AND t.since <= hold.claimed_at)
			WHEN hold.class IN ('slow_account', 'hold_account', 'hold_template') THEN n.phone_number_id = hold.phone_number_id
				-- what an app may do, it may with all numbers that it has a token for
				OR hold.class = 'slow_account' AND n.phone_number_id IN (SELECT a.phone_number_id FROM alike a)
				OR n.waba_id = (SELECT m.waba_id FROM whatsapp.numbers m WHERE m.phone_number_id = hold.phone_number_id)
			ELSE n.phone_number_id = hold.phone_number_id
		END
	), put AS (
		INSERT INTO whatsapp.holds AS h (phone_number_id, kind, key, until, rate, error_code, reason)
		SELECT c.phone_number_id, kind, hold.key, hold.until,
			CASE WHEN hold.class IN ('slow_number', 'slow_account') THEN greatest(c.messages_per_second / 2.0, 1) END,
			hold.error_code, hold.reason
		FROM concerned c
		ORDER BY c.phone_number_id
		ON CONFLICT (phone_number_id, kind, key) DO UPDATE
		SET since = excluded.since,
			-- of two, the longer
			until = nullif(greatest(coalesce(excluded.until, 'infinity'), coalesce(h.until, 'infinity')), 'infinity'),
			-- what left before is no sign that it still is too fast
			rate = CASE
				WHEN excluded.rate IS NULL OR hold.claimed_at <= h.since THEN h.rate
				ELSE greatest(whatsapp.rate((excluded.rate * 2)::integer, h.rate, h.until) / 2, 1)
			END,
			failures = h.failures + 1, error_code = excluded.error_code, reason = excluded.reason
		WHERE h.until < coalesce(excluded.until, 'infinity')
		RETURNING h.phone_number_id
	)
	SELECT array_agg(p.phone_number_id ORDER BY p.phone_number_id) INTO held FROM put p;

	IF held IS NOT NULL AND hold.class NOT IN ('pair', 'slow_number', 'slow_account') THEN
		RAISE WARNING USING
			MESSAGE = CASE WHEN kind = 'template'
					THEN format('template %s is not sent any more from %s', hold.key, array_to_string(held, ', '))
					ELSE format('nothing is sent any more from %s', array_to_string(held, ', '))
				END || coalesce(' until ' || hold.until, ''),
			DETAIL = concat_ws(' ', 'Error ' || hold.error_code || ':', hold.reason),
			HINT = coalesce(
				(SELECT e.hint || ' ' FROM whatsapp.error_classes e
					WHERE e.code = hold.error_code AND e.class = hold.class
					ORDER BY e.subcode, e.details
					LIMIT 1), '')
				|| CASE
					WHEN hold.class = 'token' THEN 'Messages stay queued until then.'
					WHEN kind = 'template' THEN 'Messages stay queued; whatsapp.release_hold() has them sent.'
					ELSE 'Messages stay queued; whatsapp.resume_number() has them sent.'
				END;
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.hold(text, text, text, timestamptz, integer, text, timestamptz) IS 'holds what an error of such a class stops: a number; or all numbers of its account (and of slow_account all that have its access token), or of token all that have its access token, if they had it when the message was claimed; or messages from it to one recipient; or those of one template, from all numbers of its account. Until that time, or if it is NULL until somebody releases it';

-- Meta tells with its answers how much of what may be called has been used, in
-- percent: of the app, {"call_count": 28, "total_time": 25, "total_cputime": 25};
-- and by business account, {"ID": [{"type": "whatsapp", ..., "estimated_time_to_regain_access": 5}]},
-- in minutes.  What its management API says of itself does not matter here.

CREATE FUNCTION whatsapp.used(usage jsonb, OUT percent numeric, OUT minutes numeric)
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
	SELECT max(e.value::text::numeric) FILTER (WHERE e.key <> 'estimated_time_to_regain_access'),
		max(e.value::text::numeric) FILTER (WHERE e.key = 'estimated_time_to_regain_access')
	FROM (
		SELECT usage AS it
		UNION ALL
		SELECT jsonb_path_query(usage, 'lax $.*[*] ? (!(@.type == "whatsapp_business_management"))')
	) u
	CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(u.it) = 'object' THEN u.it ELSE '{}' END) e
	WHERE e.key IN ('call_count', 'total_time', 'total_cputime', 'estimated_time_to_regain_access')
		AND jsonb_typeof(e.value) = 'number';
END;
COMMENT ON FUNCTION whatsapp.used(jsonb) IS 'how much has been used of what Meta allows, in percent, and for how many minutes nothing more is taken, from what its headers X-App-Usage and X-Business-Use-Case-Usage say';

CREATE FUNCTION whatsapp.heed_usage(outbox_ids bigint[], usages jsonb[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM whatsapp.hold(u.phone_number_id, 'slow_account', 'slow_account',
		now() + interval '1 minute' * CASE WHEN u.minutes > 0 THEN least(u.minutes, 1440) WHEN u.percent >= 100 THEN 1 ELSE 0 END,
		NULL,
		CASE WHEN u.minutes > 0 THEN format('Meta says that it takes no more calls for %s minutes.', u.minutes)
			ELSE format('Meta says that %s percent of the calls that it allows have been made.', u.percent) END,
		u.claimed_at)
	FROM (
		SELECT o.phone_number_id, max(w.percent) AS percent, max(w.minutes) AS minutes, max(o.claimed_at) AS claimed_at
		FROM unnest(outbox_ids, usages) r (id, usage)
		JOIN whatsapp.outbox o ON o.id = r.id
		CROSS JOIN LATERAL whatsapp.used(r.usage) w
		WHERE r.usage IS NOT NULL AND (w.percent >= 80 OR w.minutes > 0)
		GROUP BY o.phone_number_id
	) u
	-- it says so each time
	WHERE u.percent >= 100 OR u.minutes > 0 OR NOT EXISTS (
		SELECT FROM whatsapp.holds h
		WHERE h.phone_number_id = u.phone_number_id AND h.kind = 'account' AND h.key = 'slow_account'
			AND h.since > now() - interval '1 minute')
	ORDER BY u.phone_number_id;
END $$;
COMMENT ON FUNCTION whatsapp.heed_usage(bigint[], jsonb[]) IS 'for the background worker, from rows and what Meta said of its limits with the answers: slows numbers down when Meta says that 80 percent of what it allows has been used, once in a minute at most, and holds them for a minute, or as long as it says, when that is all';

-- What webhooks tell of templates, numbers, and messages that were sent.  It is
-- only noted where it is filed, so that who files webhooks does not wait for
-- others that do, nor for somebody who has changed a hold or a number.

CREATE TABLE whatsapp.news (
	news_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	what text NOT NULL CHECK (what IN ('hold', 'release', 'throughput')),
	phone_number_id text NOT NULL,
	class text,
	key text,
	until timestamptz,
	error_code integer,
	reason text,
	claimed_at timestamptz
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE whatsapp.news IS 'what webhooks have told, and the background worker has not seen to yet';
COMMENT ON COLUMN whatsapp.news.news_id IS 'the greater, the later';
COMMENT ON COLUMN whatsapp.news.what IS 'hold or release (something, as whatsapp.holds lists it), or throughput (Meta takes more from a number)';
COMMENT ON COLUMN whatsapp.news.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.news.class IS 'of a hold, the class of the error, see whatsapp.error_classes';
COMMENT ON COLUMN whatsapp.news.key IS 'what is to be held or released, see whatsapp.holds.key';
COMMENT ON COLUMN whatsapp.news.until IS 'until when; NULL for ever';
COMMENT ON COLUMN whatsapp.news.error_code IS 'code of Meta''s error';
COMMENT ON COLUMN whatsapp.news.reason IS 'what Meta said';
COMMENT ON COLUMN whatsapp.news.claimed_at IS 'when the message was claimed that this is about';

CREATE FUNCTION whatsapp.heed_news(max_rows integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	copies CONSTANT text[] := whatsapp.copies();
	n whatsapp.news;
BEGIN
	FOR n IN
		WITH seen AS (
			DELETE FROM whatsapp.news d
			WHERE d.news_id = ANY (ARRAY(
				SELECT w.news_id
				FROM whatsapp.news w
				WHERE w.phone_number_id <> ALL (copies)
				ORDER BY w.news_id
				LIMIT max_rows))
			RETURNING d.*
		)
		SELECT * FROM seen ORDER BY news_id
	LOOP
		IF n.what = 'hold' THEN
			PERFORM whatsapp.hold(n.phone_number_id, n.class, n.key, n.until, n.error_code, n.reason, n.claimed_at);
		ELSIF n.what = 'release' THEN
			DELETE FROM whatsapp.holds h
			WHERE h.phone_number_id = n.phone_number_id AND h.kind = 'template' AND h.key = n.key;
		ELSE
			UPDATE whatsapp.numbers m
			SET messages_per_second = 1000
			WHERE m.phone_number_id = n.phone_number_id AND m.messages_per_second < 1000;
		END IF;
	END LOOP;
END $$;
COMMENT ON FUNCTION whatsapp.heed_news(integer) IS 'for the background worker: does what webhooks have told';

CREATE FUNCTION whatsapp.template_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	what text := CASE
		WHEN upper(NEW.status) IN ('PAUSED', 'DISABLED') THEN 'hold'
		WHEN upper(NEW.status) IN ('APPROVED', 'REINSTATED') THEN 'release'
	END;
BEGIN
	IF what IS NULL THEN
		RETURN NULL;
	END IF;
	INSERT INTO whatsapp.news (what, phone_number_id, class, key, reason)
	SELECT what, n.phone_number_id, 'hold_template', NEW.name || ' ' || coalesce(NEW.language, ''),
		concat_ws(': ', 'The template is ' || NEW.status, NEW.status_reason)
	FROM whatsapp.numbers n
	WHERE n.waba_id = NEW.waba_id;
	PERFORM whatsapp.wake_sender();
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.template_changed() IS 'has messages of a template held that a webhook says is paused or disabled, until one says that it is approved';

CREATE TRIGGER inserted AFTER INSERT ON whatsapp.templates
	-- rows from dumps are no news
	FOR EACH ROW WHEN (NEW.name IS NOT NULL AND NEW.status IS NOT NULL AND NEW.received_at = now())
	EXECUTE FUNCTION whatsapp.template_changed();
COMMENT ON TRIGGER inserted ON whatsapp.templates IS 'holds messages of a template that is paused or disabled';

CREATE TRIGGER changed AFTER UPDATE ON whatsapp.templates
	FOR EACH ROW WHEN (NEW.name IS NOT NULL AND (NEW.status, NEW.name, NEW.language, NEW.waba_id)
		IS DISTINCT FROM (OLD.status, OLD.name, OLD.language, OLD.waba_id))
	EXECUTE FUNCTION whatsapp.template_changed();
COMMENT ON TRIGGER changed ON whatsapp.templates IS 'holds messages of a template that is paused or disabled, and has them go on';

-- (Which number it is, these webhooks say by the phone number only.)
CREATE FUNCTION whatsapp.throughput_upgraded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO whatsapp.news (what, phone_number_id)
	SELECT 'throughput', n.phone_number_id
	FROM whatsapp.numbers n
	WHERE n.waba_id = NEW.waba_id
		AND regexp_replace(n.display_phone_number, '\D', '', 'g')
			= regexp_replace(NEW.element #>> '{value,display_phone_number}', '\D', '', 'g');
	PERFORM whatsapp.wake_sender();
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.throughput_upgraded() IS 'has more sent from a number when a webhook says that Meta takes more: 1,000 messages a second';

CREATE TRIGGER throughput_upgraded AFTER INSERT ON whatsapp.events
	-- rows from dumps are no news
	FOR EACH ROW WHEN (NEW.field = 'phone_number_quality_update' AND NEW.event = 'THROUGHPUT_UPGRADE' AND NEW.received_at = now())
	EXECUTE FUNCTION whatsapp.throughput_upgraded();
COMMENT ON TRIGGER throughput_upgraded ON whatsapp.events IS 'has more sent from a number when Meta takes more';

CREATE FUNCTION whatsapp.number_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- which does so itself, when a pause is over
	IF NOT whatsapp.in_sender() THEN
		PERFORM whatsapp.wake_sender();
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.number_changed() IS 'has the sender woken, as it may send more, less, or nothing from now on';

CREATE TRIGGER changed AFTER UPDATE ON whatsapp.numbers
	FOR EACH STATEMENT EXECUTE FUNCTION whatsapp.number_changed();
COMMENT ON TRIGGER changed ON whatsapp.numbers IS 'has changes count at once';

-- What is known once a message was accepted.

CREATE FUNCTION whatsapp.sent_to(outbox_ids bigint[], wa_ids text[])
RETURNS TABLE (id bigint, phone_number_id text, message_id text, type text, input text, wa_id text, user_id text, group_id text)
LANGUAGE sql STABLE
BEGIN ATOMIC
	-- what is told of the other identifier depends on who tells it, the answer or a status
	SELECT o.id, o.phone_number_id, o.message_id, o.type,
		CASE WHEN o.recipient_type <> 'group' AND o.recipient_key LIKE '+%' THEN ltrim(o.recipient_key, '+') END,
		CASE WHEN o.recipient_type <> 'group' AND o.recipient_key LIKE '+%' THEN coalesce(r.wa_id, ltrim(o.recipient_key, '+')) END,
		CASE WHEN o.recipient_type <> 'group' AND o.recipient_key NOT LIKE '+%' THEN o.recipient_key END,
		CASE WHEN o.recipient_type = 'group' THEN o.recipient_key END
	FROM unnest(outbox_ids, wa_ids) r (id, wa_id)
	JOIN whatsapp.outbox o ON o.id = r.id
	WHERE o.type NOT IN ('mark_read', 'typing');
END;
COMMENT ON FUNCTION whatsapp.sent_to(bigint[], text[]) IS 'whom messages went to: by a WhatsApp id, which is that of wa_ids if Meta has told it, a BSUID, or a group; input is the phone number that it was sent to, in digits';

CREATE FUNCTION whatsapp.sent_messages(outbox_ids bigint[], wa_ids text[], user_ids text[], group_ids text[])
RETURNS TABLE (phone_number_id text, message_id text, direction text, type text, body text,
	wa_id text, user_id text, group_id text, context_id text, target_id text, status text, status_at timestamptz,
	sent_at timestamptz, outbox_id bigint, element jsonb)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT o.phone_number_id, o.message_id, 'outbound'::text AS direction, o.type,
		coalesce(o.body, o.content #>> '{body,text}', o.content ->> 'body', o.content ->> 'caption',
			CASE WHEN o.type = 'reaction' THEN nullif(o.content ->> 'emoji', '') END) AS body,
		r.wa_id, r.user_id, r.group_id, o.reply_to,
		CASE WHEN o.type = 'reaction' THEN o.content ->> 'message_id' END AS target_id,
		'accepted'::text AS status, now() AS status_at, now() AS sent_at, o.id, whatsapp.request_body(o) AS element
	FROM unnest(outbox_ids, wa_ids, user_ids, group_ids) r (id, wa_id, user_id, group_id)
	JOIN whatsapp.outbox o ON o.id = r.id;
END;
COMMENT ON FUNCTION whatsapp.sent_messages(bigint[], text[], text[], text[]) IS 'rows of whatsapp.messages for rows that were sent, and to whom they went';

CREATE FUNCTION whatsapp.file_sent(outbox_ids bigint[], wa_ids text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ids bigint[];
	numbers text[];
	message_ids text[];
	types text[];
	inputs text[];
	to_wa_ids text[];
	to_user_ids text[];
	to_groups text[];
BEGIN
	SELECT array_agg(t.id), array_agg(t.phone_number_id), array_agg(t.message_id), array_agg(t.type), array_agg(t.input), array_agg(t.wa_id),
		array_agg(t.user_id), array_agg(t.group_id)
	INTO ids, numbers, message_ids, types, inputs, to_wa_ids, to_user_ids, to_groups
	FROM whatsapp.sent_to(outbox_ids, wa_ids) t;
	IF ids IS NULL THEN
		RETURN;
	END IF;

	-- whom it went to, first: who files webhooks locks them in this order, too
	INSERT INTO whatsapp.correspondents AS k (phone_number_id, contact_key, kind, wa_id, wa_id_at, first_seen, last_seen,
		last_message_at, last_outbound_at)
	SELECT DISTINCT ON (r.phone_number_id, t.contact_key) r.phone_number_id, t.contact_key,
		CASE WHEN r.group_id IS NOT NULL THEN 'group' WHEN r.user_id IS NOT NULL THEN 'user_id' ELSE 'wa_id' END,
		r.wa_id, CASE WHEN r.wa_id IS NOT NULL THEN now() END, now(), now(), t.message_at, t.message_at
	FROM unnest(numbers, types, to_wa_ids, to_user_ids, to_groups) r (phone_number_id, type, wa_id, user_id, group_id)
	CROSS JOIN LATERAL (
		SELECT whatsapp.thread_key(r.group_id, r.user_id, r.wa_id) AS contact_key,
			CASE WHEN NOT whatsapp.is_note(r.type) THEN now() END AS message_at
	) t
	ORDER BY r.phone_number_id, t.contact_key, t.message_at NULLS LAST
	ON CONFLICT ON CONSTRAINT correspondents_pkey DO UPDATE
	SET wa_id_at = greatest(k.wa_id_at, excluded.wa_id_at),
		first_seen = least(k.first_seen, excluded.first_seen), last_seen = greatest(k.last_seen, excluded.last_seen),
		last_message_at = greatest(k.last_message_at, excluded.last_message_at),
		last_outbound_at = greatest(k.last_outbound_at, excluded.last_outbound_at);

	-- what was sent to may be another form of what they go by
	INSERT INTO whatsapp.contact_sightings AS c (phone_number_id, contact_key, kind, value, first_seen, last_seen)
	SELECT DISTINCT r.phone_number_id, r.wa_id, 'input', r.input, now(), now()
	FROM unnest(numbers, inputs, to_wa_ids) r (phone_number_id, input, wa_id)
	WHERE r.input <> r.wa_id
	ORDER BY r.phone_number_id, r.wa_id, r.input
	ON CONFLICT ON CONSTRAINT contact_sightings_pkey DO UPDATE
	SET first_seen = least(c.first_seen, excluded.first_seen), last_seen = greatest(c.last_seen, excluded.last_seen);

	BEGIN
		-- nearly always these are not there, and to look for them first takes longer
		-- than all else
		INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, body,
			wa_id, user_id, group_id, context_id, target_id, status, status_at, sent_at, outbox_id, element)
		SELECT m.*
		FROM whatsapp.sent_messages(ids, to_wa_ids, to_user_ids, to_groups) m
		ORDER BY m.phone_number_id, m.message_id;
	EXCEPTION WHEN unique_violation THEN
		-- a webhook that was faster may have told of the message, in its way
		INSERT INTO whatsapp.events (event_id, phone_number_id, field, event, element)
		SELECT whatsapp.event_id(m.phone_number_id, NULL, m.element), m.phone_number_id, 'messages', 'superseded', m.element
		FROM whatsapp.outbox o
		-- (the limit has each looked up by its key, whatever is known of how many there are)
		CROSS JOIN LATERAL (
			SELECT t.phone_number_id, t.element
			FROM whatsapp.messages t
			WHERE t.phone_number_id = o.phone_number_id AND t.message_id = o.message_id
				AND t.element IS NOT NULL AND t.outbox_id IS NULL
			LIMIT 1
		) m
		WHERE o.id = ANY (ids)
		ON CONFLICT (event_id) DO NOTHING;

		INSERT INTO whatsapp.messages AS m (phone_number_id, message_id, direction, type, body,
			wa_id, user_id, group_id, context_id, target_id, status, status_at, sent_at, outbox_id, element)
		SELECT s.*
		FROM whatsapp.sent_messages(ids, to_wa_ids, to_user_ids, to_groups) s
		ORDER BY s.phone_number_id, s.message_id
		ON CONFLICT (phone_number_id, message_id) DO UPDATE
		SET direction = 'outbound', type = excluded.type, body = excluded.body,
			forwarded = NULL, reply_id = NULL, payload = NULL, response = NULL, referral = NULL, ctwa_clid = NULL, media_id = NULL,
			status = coalesce(m.status, excluded.status), status_at = CASE WHEN m.status IS NULL THEN excluded.status_at ELSE m.status_at END,
			error_code = CASE WHEN m.status IS NOT NULL THEN m.error_code END,
			wa_id = excluded.wa_id, user_id = excluded.user_id, parent_user_id = NULL, group_id = excluded.group_id,
			context_id = excluded.context_id, target_id = excluded.target_id,
			sent_at = excluded.sent_at, outbox_id = excluded.outbox_id, element = excluded.element;
	END;

	-- its own snapshot: by now, who files statuses of these has committed, or waits
	IF EXISTS (
		SELECT
		FROM unnest(numbers, message_ids) m (phone_number_id, message_id)
		CROSS JOIN LATERAL (
			SELECT
			FROM whatsapp.statuses s
			WHERE s.phone_number_id = m.phone_number_id AND s.message_id = m.message_id
				AND s.status = 'failed' AND s.participant = ''
			LIMIT 1
		) f)
	THEN
		PERFORM whatsapp.mark_failed(ids);
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.file_sent(bigint[], text[]) IS 'makes messages of rows that were sent; the recipients'' WhatsApp ids are those that Meta has told, or NULL';

CREATE FUNCTION whatsapp.mark_failed(outbox_ids bigint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	failed bigint[];
BEGIN
	WITH told AS MATERIALIZED (
		SELECT q.id, f.*
		FROM whatsapp.outbox q
		CROSS JOIN LATERAL (
			SELECT s.error_code, coalesce(s.at, s.received_at) AS at,
				coalesce(s.errors #>> '{0,title}', s.errors #>> '{0,message}') AS title,
				coalesce(s.errors #>> '{0,error_data,details}', s.errors #>> '{0,details}') AS details
			FROM whatsapp.statuses s
			WHERE s.phone_number_id = q.phone_number_id AND s.message_id = q.message_id
				AND s.status = 'failed' AND s.participant = ''
			LIMIT 1
		) f
		-- (coalesce() keeps these from being looked for among all that are done)
		WHERE q.id = ANY (outbox_ids) AND coalesce(q.state, '') = 'sent'
	), noted AS (
		UPDATE whatsapp.outbox o
		SET error_code = f.error_code, error_title = f.title, error_details = f.details,
			error = coalesce(f.details, f.title, 'The message has failed.'),
			failed_at = f.at
		FROM told f
		WHERE o.id = f.id AND (o.error_code, o.failed_at) IS DISTINCT FROM (f.error_code, f.at)
		RETURNING o.id
	)
	SELECT array_agg(n.id) INTO failed FROM noted n;
	IF failed IS NULL THEN
		RETURN;
	END IF;

	INSERT INTO whatsapp.news (what, phone_number_id, class, key, until, error_code, reason, claimed_at)
	SELECT 'hold', o.phone_number_id, e.class, k.key,
		CASE WHEN e.wait IS NOT NULL OR e.class IN ('pair', 'slow_number', 'slow_account') THEN
			now() + whatsapp.delay(e.class, e.wait, 1, coalesce(h.failures, 0), NULL) END,
		o.error_code, o.error, o.claimed_at
	FROM whatsapp.outbox o
	CROSS JOIN LATERAL whatsapp.error_class(NULL, o.error_code, NULL, concat_ws(' ', o.error_title, o.error_details), false) e
	CROSS JOIN LATERAL (
		SELECT whatsapp.hold_key(e.class, o.recipient_key, whatsapp.template_key(o.type, o.content)) AS key
	) k
	LEFT JOIN whatsapp.holds h ON h.phone_number_id = o.phone_number_id AND h.kind = 'pair' AND h.key = k.key
	WHERE o.id = ANY (failed) AND o.error_code IS NOT NULL AND k.key IS NOT NULL AND e.class <> 'token';
	IF FOUND THEN
		PERFORM whatsapp.wake_sender();
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.mark_failed(bigint[]) IS 'says in rows that were sent if a status "failed" has come for them, and has held what its error says is to be held: they stay sent, and are not sent again';

-- What statuses tell of the outbox.  It is settled at once where that can be;
-- what somebody has locked is seen to by the background worker.

CREATE TABLE whatsapp.evidence (
	phone_number_id text NOT NULL,
	message_id text NOT NULL,
	status text NOT NULL,
	outbox_id bigint NOT NULL,
	nonce text,
	wa_id text,
	received_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (phone_number_id, message_id, status)
);
COMMENT ON TABLE whatsapp.evidence IS 'statuses that tell something of whatsapp.outbox that could not be noted there yet, as the row was locked';
COMMENT ON COLUMN whatsapp.evidence.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.evidence.message_id IS 'the message (wamid)';
COMMENT ON COLUMN whatsapp.evidence.status IS 'the status; any but failed tells only that the message was accepted';
COMMENT ON COLUMN whatsapp.evidence.outbox_id IS 'the row of whatsapp.outbox, by the token that came back, or by the id of the message';
COMMENT ON COLUMN whatsapp.evidence.nonce IS 'nonce of the token that came back';
COMMENT ON COLUMN whatsapp.evidence.wa_id IS 'WhatsApp id of the recipient';
COMMENT ON COLUMN whatsapp.evidence.received_at IS 'when it came to be here';

CREATE FUNCTION whatsapp.settle(e whatsapp.evidence) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	o whatsapp.outbox;
BEGIN
	SELECT q.* INTO o
	FROM whatsapp.outbox q
	WHERE q.id = e.outbox_id AND q.phone_number_id = e.phone_number_id
	FOR UPDATE SKIP LOCKED;
	IF NOT FOUND AND EXISTS (
		SELECT FROM whatsapp.outbox q WHERE q.id = e.outbox_id AND q.phone_number_id = e.phone_number_id)
	THEN
		RETURN false;
	END IF;

	-- a token of another attempt, or another installation, is evidence of nothing;
	-- what somebody has said was sent may still lack the id
	IF (o.state <> 'sent' OR o.message_id IS NULL) AND o.nonce = e.nonce THEN
		UPDATE whatsapp.outbox q
		SET state = 'sent', message_id = e.message_id, retry_at = NULL, finished_at = now(), failed_at = NULL,
			error_code = NULL, error_title = NULL, error_details = NULL, error = NULL, fbtrace_id = NULL
		WHERE q.id = o.id;
		INSERT INTO whatsapp.attempts (outbox_id, attempt, what, state)
		VALUES (o.id, o.attempts, 'evidence', 'sent');
		IF o.state IN ('queued', 'sending') AND o.recipient_key IS NOT NULL THEN
			INSERT INTO whatsapp.changed_lanes (phone_number_id, recipient_key) VALUES (o.phone_number_id, o.recipient_key);
		END IF;
		PERFORM whatsapp.file_sent(ARRAY[o.id], ARRAY[e.wa_id]);
	ELSIF o.state = 'sent' AND e.status = 'failed' THEN
		PERFORM whatsapp.mark_failed(ARRAY[o.id]);
	END IF;
	DELETE FROM whatsapp.evidence d
	WHERE d.phone_number_id = e.phone_number_id AND d.message_id = e.message_id AND d.status = e.status;
	RETURN true;
END $$;
COMMENT ON FUNCTION whatsapp.settle(whatsapp.evidence) IS 'notes in the outbox what a status tells of it, if it is about the newest attempt; false if that cannot be yet, as somebody has locked the row';

CREATE FUNCTION whatsapp.evidence_came() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM whatsapp.outbox o WHERE o.id = NEW.outbox_id)
		OR NOT whatsapp.settle(NEW)
	THEN
		PERFORM whatsapp.wake_sender();
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.evidence_came() IS 'settles what a status tells at once, or has the background worker do it';

CREATE TRIGGER settle AFTER INSERT ON whatsapp.evidence
	-- rows from dumps are seen to later
	FOR EACH ROW WHEN (NEW.received_at = now()) EXECUTE FUNCTION whatsapp.evidence_came();
COMMENT ON TRIGGER settle ON whatsapp.evidence IS 'settles it at once';

CREATE FUNCTION whatsapp.settle_evidence() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
	copies CONSTANT text[] := whatsapp.copies();
	e whatsapp.evidence;
	nlocked integer := 0;
BEGIN
	IF NOT whatsapp.is_awake() THEN
		RETURN;
	END IF;
	FOR e IN
		SELECT v.*
		FROM whatsapp.evidence v
		WHERE v.phone_number_id <> ALL (copies)
		-- by chance, so that none is always behind those that cannot be settled
		ORDER BY random()
		LIMIT 1000
		FOR UPDATE SKIP LOCKED
	LOOP
		BEGIN
			PERFORM whatsapp.settle(e);
		EXCEPTION
			WHEN lock_not_available THEN
				-- somebody has locked the message: it is left, like most of those that may be locked, too
				nlocked := nlocked + 1;
				EXIT WHEN nlocked = 3;
			WHEN OTHERS THEN
				IF whatsapp.is_news('cannot be noted ' || SQLERRM) THEN
					RAISE WARNING USING
						MESSAGE = format('what status "%s" of message %s tells of outbox row %s cannot be noted for now: %s',
							e.status, e.message_id, e.outbox_id, SQLERRM),
						HINT = 'Something that was added to whatsapp.outbox or whatsapp.messages objects, such as a trigger or a constraint.';
				END IF;
		END;
	END LOOP;
END $$;
COMMENT ON FUNCTION whatsapp.settle_evidence() IS 'for the background worker: settles what statuses told of rows that were locked then';

CREATE FUNCTION whatsapp.settle_unknown(grace interval, policy text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
	copies CONSTANT text[] := whatsapp.copies();
BEGIN
	IF policy = 'hold' OR NOT whatsapp.is_awake() THEN
		RETURN;
	END IF;
	WITH overdue AS MATERIALIZED (
		SELECT o.id, o.attempts,
			CASE WHEN policy = 'retry' AND o.attempts < whatsapp.max_attempts() THEN 'queued' ELSE 'failed' END AS state
		FROM whatsapp.outbox o
		WHERE o.state = 'unknown' AND o.finished_at < now() - grace AND (o.phone_number_id = ANY (copies)) IS NOT TRUE
		ORDER BY o.finished_at
		LIMIT 1000
		FOR UPDATE SKIP LOCKED
	), decided AS (
		UPDATE whatsapp.outbox o
		SET state = d.state,
			retry_at = NULL,
			finished_at = CASE WHEN d.state = 'failed' THEN now() END,
			failed_at = CASE WHEN d.state = 'failed' THEN now() END
		FROM overdue d
		WHERE o.id = d.id
	)
	INSERT INTO whatsapp.attempts (outbox_id, attempt, what, state)
	SELECT d.id, d.attempts, 'policy', d.state
	FROM overdue d
	ORDER BY d.id;
END $$;
COMMENT ON FUNCTION whatsapp.settle_unknown(interval, text) IS 'for the background worker: does what whatsapp.unknown_policy says about rows that have been unknown for longer than that: with "retry" they are queued again, up to whatsapp.max_attempts; with "fail", or after that, they have failed; with "hold" they stay as they are';

CREATE FUNCTION whatsapp.release_rows(ids bigint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	number_ids text[];
	recipients text[];
BEGIN
	WITH interrupted AS (
		UPDATE whatsapp.outbox o
		SET state = k.state, finished_at = CASE WHEN k.state <> 'queued' THEN now() END,
			failed_at = CASE WHEN k.state = 'failed' THEN now() END, error_code = NULL, error_title = NULL, error_details = NULL,
			error = 'The background worker ended while the message was being sent.', fbtrace_id = NULL
		FROM (
			SELECT q.id,
				CASE
					WHEN q.type NOT IN ('mark_read', 'typing') THEN 'unknown'
					WHEN q.attempts < whatsapp.max_attempts() THEN 'queued'
					ELSE 'failed'
				END AS state
			FROM whatsapp.outbox q
			WHERE q.id = ANY (ids)
		) k
		WHERE o.id = k.id
		RETURNING o.id, o.state, o.attempts, o.error, o.phone_number_id, o.recipient_key
	), logged AS (
		INSERT INTO whatsapp.attempts (outbox_id, attempt, what, state, error)
		SELECT i.id, i.attempts, 'interrupted', i.state, i.error
		FROM interrupted i
		ORDER BY i.id
	)
	SELECT array_agg(i.phone_number_id), array_agg(i.recipient_key) INTO number_ids, recipients FROM interrupted i;
	PERFORM whatsapp.advance(number_ids, recipients);
END $$;
COMMENT ON FUNCTION whatsapp.release_rows(bigint[]) IS 'does the work of whatsapp.release_interrupted(), for rows that are locked';

CREATE FUNCTION whatsapp.release_interrupted(in_flight bigint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
	copies CONSTANT text[] := whatsapp.copies();
	interrupted bigint[];
	row_id bigint;
BEGIN
	IF NOT whatsapp.is_awake() THEN
		RETURN;
	END IF;
	interrupted := ARRAY(
		SELECT q.id
		FROM whatsapp.outbox q
		WHERE q.state = 'sending' AND q.id <> ALL (in_flight) AND (q.phone_number_id = ANY (copies)) IS NOT TRUE
		FOR UPDATE SKIP LOCKED);
	IF interrupted = '{}' THEN
		RETURN;
	END IF;
	BEGIN
		PERFORM whatsapp.release_rows(interrupted);
		RETURN;
	EXCEPTION WHEN OTHERS THEN
		-- something of one row is to blame
		NULL;
	END;
	FOREACH row_id IN ARRAY interrupted LOOP
		BEGIN
			PERFORM whatsapp.release_rows(ARRAY[row_id]);
		EXCEPTION WHEN OTHERS THEN
			IF whatsapp.is_news('is unknown ' || SQLERRM) THEN
				RAISE WARNING USING
					MESSAGE = format('outbox row %s is unknown, and cannot be changed to say so: %s', row_id, SQLERRM),
					HINT = 'Something that was added to whatsapp.outbox objects, such as a trigger or a constraint.';
			END IF;
		END;
	END LOOP;
END $$;
COMMENT ON FUNCTION whatsapp.release_interrupted(bigint[]) IS 'for the background worker, from the rows that it is sending: others in state sending are being sent by nobody, and may or may not have been accepted by Meta';

-- What has been kept for long enough.

CREATE FUNCTION whatsapp.retention(kind text) RETURNS interval
LANGUAGE c STABLE STRICT
AS 'MODULE_PATHNAME', 'whatsapp_retention';
COMMENT ON FUNCTION whatsapp.retention(text) IS 'for how long rows of a kind are kept, by the setting whatsapp.retention_messages, _statuses, _events, _outbox or _webhooks; NULL for ever. Error 22023 for another kind';

-- (Reactions go with the message that brought them, and attempts with what they
-- were for. A message of ours goes when its last status is old, too: it would
-- come back if Meta were to tell that again.)
CREATE FUNCTION whatsapp.prunable(OUT place integer, OUT kind text, OUT table_name text, OUT age text, OUT key text[],
	OUT condition text, OUT along text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
	VALUES
	(1, 'messages', 'messages', 'received_at', '{phone_number_id, message_id}'::text[], 't.status_at IS NULL OR t.status_at < $1',
		'DELETE FROM whatsapp.reactions r USING gone g WHERE r.phone_number_id = g.phone_number_id AND r.message_id = g.target_id AND r.reaction_id = g.message_id'),
	(2, 'messages', 'media', 'received_at', '{phone_number_id, media_id}', 'true', NULL),
	(3, 'statuses', 'statuses', 'received_at', '{phone_number_id, message_id, status, participant}', 'true', NULL),
	(4, 'statuses', 'evidence', 'received_at', '{phone_number_id, message_id, status}', 'true', NULL),
	(5, 'events', 'events', 'received_at', '{event_id}', 'true', NULL),
	(6, 'events', 'call_events', 'received_at', '{phone_number_id, call_id, event}', 'true', NULL),
	(7, 'webhooks', 'webhooks', 'received_at', '{webhook_id}', 't.state = ''filed''', NULL),
	(8, 'outbox', 'outbox', 'finished_at', '{id}', 't.state IN (''sent'', ''failed'', ''cancelled'', ''expired'')',
		'DELETE FROM whatsapp.attempts a USING gone g WHERE a.outbox_id = g.id'),
	(9, 'outbox', 'attempts', 'at', '{attempt_id}', 'NOT EXISTS (SELECT FROM whatsapp.outbox o WHERE o.id = t.outbox_id)', NULL);
END;
COMMENT ON FUNCTION whatsapp.prunable() IS 'which rows are pruned: of which kind, in which table, by which column their age is told, their key, which of them (t; $1 is the time before which they must have come), and what goes along (of gone, those that are pruned)';

CREATE FUNCTION whatsapp.prune_rows(place integer, older_than interval, max_rows integer, INOUT after text[],
	OUT pruned integer, OUT kept integer, OUT next_rows integer)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO'
SET jit = off
SET enable_indexscan = on
SET enable_tidscan = on
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
	before CONSTANT timestamptz := now() - older_than;
	p record;
	due text;
	key_names text;
	query text;
	nfound integer;
	last text[];
BEGIN
	SELECT * INTO p FROM whatsapp.prunable() a WHERE a.place = prune_rows.place;
	-- (rows of one age are found in the order of their ctid, without being sorted;
	-- and deleted by that, whatever is known of how many there are, but not those
	-- of other partitions that have the same)
	due := format('FROM whatsapp.%I t WHERE t.%I < $1 AND (%s)', p.table_name, p.age, p.condition)
		|| CASE WHEN after IS NOT NULL THEN format(' AND t.%I >= %L AND (t.%I, t.ctid) > (%L, %L)', p.age, after[1], p.age, after[1], after[2]) ELSE '' END
		|| format(' ORDER BY t.%I LIMIT $2', p.age);
	SELECT string_agg(quote_ident(k.name), ', ') INTO key_names FROM unnest(p.key) k (name);
	query := format('WITH due AS MATERIALIZED (SELECT t.ctid AS place, t.%I AS age, %s %s FOR UPDATE SKIP LOCKED), '
		'gone AS (DELETE FROM whatsapp.%I t WHERE t.ctid = ANY (ARRAY(SELECT d.place FROM due d)) '
		'AND (%s) IN (SELECT %s FROM due d OFFSET 0) RETURNING t.*)%s '
		'SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM gone), '
		'(SELECT ARRAY[d.age::text, d.place::text] FROM due d ORDER BY d.age DESC, d.place DESC LIMIT 1)',
		p.age, key_names, due, p.table_name, key_names, key_names,
		coalesce(', along AS (' || p.along || ')', ''));

	-- an objection is to be met where it can be dealt with; what the caller has
	-- left to be checked is none to a row of ours
	SET CONSTRAINTS ALL IMMEDIATE;
	BEGIN
		EXECUTE query INTO nfound, pruned, last USING before, max_rows;
		-- a trigger may have kept one, and not said so
		kept := nfound - pruned;
		after := coalesce(last, after);
		next_rows := CASE WHEN nfound = max_rows THEN 2 * max_rows END;
	EXCEPTION WHEN OTHERS THEN
		-- what passes is for another time
		IF left(SQLSTATE, 2) IN ('25', '40', '53', '57', '58', 'XX') OR SQLSTATE = '55P03' THEN
			RAISE;
		END IF;
		pruned := 0;
		kept := 0;
		IF max_rows > 1 THEN
			-- one of them has to stay; the others need not
			next_rows := max_rows / 2;
		ELSE
			EXECUTE format('SELECT ARRAY[t.%I::text, t.ctid::text] %s FOR UPDATE SKIP LOCKED', p.age, due) INTO last USING before, 1;
			next_rows := NULL;
			-- (a trigger for each statement objects to none being deleted, too)
			IF last IS NOT NULL THEN
				after := last;
				kept := 1;
				next_rows := 1;
			END IF;
		END IF;
	END;
	PERFORM whatsapp.count_event('pruned', p.table_name, pruned);
	PERFORM whatsapp.count_event('kept', p.table_name, kept);
END $$;
COMMENT ON FUNCTION whatsapp.prune_rows(integer, interval, integer, text[]) IS 'prunes rows of one table, of whatsapp.prunable(), up to so many after a position, oldest first: all of them, or none if a constraint or a trigger objects. One that is alone and is objected to is kept. Tells the position after that, and how many to take next: fewer if somebody has objected, NULL if there are no more';

CREATE FUNCTION whatsapp.prune_some(place integer, max_rows integer, after text[],
	OUT next_place integer, OUT next_rows integer, OUT next_after text[], OUT kept integer)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
	older_than interval;
	p record;
BEGIN
	SELECT a.place, whatsapp.retention(a.kind) INTO next_place, older_than
	FROM whatsapp.prunable() a
	WHERE a.place >= prune_some.place AND whatsapp.retention(a.kind) IS NOT NULL
	ORDER BY a.place
	LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	SELECT * INTO p
	FROM whatsapp.prune_rows(next_place, older_than, max_rows, CASE WHEN next_place = prune_some.place THEN prune_some.after END);
	kept := p.kept;
	next_rows := coalesce(p.next_rows, max_rows);
	next_after := p.after;
	IF p.next_rows IS NULL THEN
		next_place := next_place + 1;
		next_after := NULL;
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.prune_some(integer, integer, text[]) IS 'for the background worker: prunes some rows that have been kept for as long as the settings say, and tells where to go on; next_place is NULL if that was all';

CREATE FUNCTION whatsapp.prune(what text DEFAULT NULL, older_than interval DEFAULT NULL,
	OUT table_name text, OUT pruned bigint, OUT kept bigint)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a record;
	p record;
	age interval;
	nrows integer;
	after text[];
BEGIN
	IF what IS NOT NULL AND NOT EXISTS (SELECT FROM whatsapp.prunable() k WHERE k.kind = what) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('"%s" is nothing that is pruned', what),
			HINT = 'Take messages, statuses, events, outbox or webhooks.';
	END IF;
	IF older_than < (CASE WHEN what IN ('outbox', 'webhooks') THEN interval '0' ELSE interval '8 days' END) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'older_than is too short',
			DETAIL = 'Meta delivers a webhook again for up to 7 days, and what has been pruned by then would come back.',
			HINT = 'Messages, statuses and events are kept for at least 8 days.';
	END IF;

	FOR a IN
		SELECT k.*
		FROM whatsapp.prunable() k
		WHERE k.kind = what OR what IS NULL
		ORDER BY k.place
	LOOP
		age := coalesce(older_than, whatsapp.retention(a.kind));
		CONTINUE WHEN age IS NULL;
		table_name := a.table_name;
		pruned := 0;
		kept := 0;
		nrows := 1000;
		after := NULL;
		WHILE nrows IS NOT NULL LOOP
			SELECT * INTO p FROM whatsapp.prune_rows(a.place, age, least(nrows, 10000), after);
			pruned := pruned + p.pruned;
			kept := kept + p.kept;
			after := p.after;
			nrows := p.next_rows;
		END LOOP;
		RETURN NEXT;
	END LOOP;
END $$;
COMMENT ON FUNCTION whatsapp.prune(text, interval) IS 'prunes what has been kept for longer than that, or for as long as the settings whatsapp.retention_... say if older_than is NULL: messages (with media and reactions), statuses, events (with those of calls), outbox (what is sent, failed, cancelled or expired, with its idempotency keys; by when it came to be so), webhooks (that have been filed), or all of these if what is NULL. Age is counted since arrival. A row that a foreign key or a trigger of yours keeps is skipped and counted as kept; constraints that are deferred are checked at once. The background worker does the same, little by little. Error 22023 for anything else, or if messages, statuses or events would be kept for less than 8 days';

-- What has happened, as numbers.

CREATE FUNCTION whatsapp.counters(OUT counter text, OUT label text, OUT value bigint, OUT since timestamptz, OUT since_what text)
RETURNS SETOF record
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'whatsapp_counters';
COMMENT ON FUNCTION whatsapp.counters() IS 'all counters of this database, from shared memory, for roles that have all numbers; see whatsapp.statistics';

CREATE FUNCTION whatsapp.latency_ranges(OUT latency text, OUT up_to double precision, OUT samples bigint, OUT total double precision, OUT since timestamptz)
RETURNS SETOF record
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'whatsapp_latency_ranges';
COMMENT ON FUNCTION whatsapp.latency_ranges() IS 'histograms of the latencies of this database, from shared memory, for roles that have all numbers: how many samples are less than up_to (ms), and not less than that of the range before, of which there are four to each doubling; total is the sum of all samples of that latency (ms)';

CREATE VIEW whatsapp.statistics WITH (security_invoker = true) AS
SELECT c.counter, c.label, c.value, c.since, c.since_what
FROM whatsapp.counters() c;
COMMENT ON VIEW whatsapp.statistics IS 'what has happened in this database, counted. The counters are in memory: they begin anew when the server starts, and after a crash. Without the library in shared_preload_libraries there are none. For roles that have all numbers';
COMMENT ON COLUMN whatsapp.statistics.counter IS 'webhooks: filed (read, and filed as far as that was possible; also by whatsapp.replay()), unreadable, or refused; messages, statuses and events that they brought, duplicates (elements that were there already) and parked ones; attempts to send, by what came of the request, and how many of them were retries; sends, by the state that the row of the outbox came to be in; refusals, by class of error, see whatsapp.error_classes; bytes of webhooks, and of bodies sent and received; rows pruned, and kept by a foreign key or a trigger, by table; and what the background worker does: turns, wakes, reloads, errors';
COMMENT ON COLUMN whatsapp.statistics.label IS 'of what kind; what has no label of its own is counted as other';
COMMENT ON COLUMN whatsapp.statistics.value IS 'how many; what is rolled back is not counted, but for webhooks that are refused; a transaction that is prepared is counted then';
COMMENT ON COLUMN whatsapp.statistics.since IS 'since when';
COMMENT ON COLUMN whatsapp.statistics.since_what IS 'what happened then: start (of the server), crash, or reset (by whatsapp.reset_statistics())';

CREATE VIEW whatsapp.latencies WITH (security_invoker = true) AS
SELECT s.latency, s.samples, s.mean, s.p50, s.p90, s.p99, s.max, s.since
FROM (
	SELECT r.latency, sum(r.samples)::bigint AS samples, max(r.total) / sum(r.samples)::double precision AS mean,
		min(r.up_to) FILTER (WHERE r.so_far >= 0.5 * r.of_all) AS p50,
		min(r.up_to) FILTER (WHERE r.so_far >= 0.9 * r.of_all) AS p90,
		min(r.up_to) FILTER (WHERE r.so_far >= 0.99 * r.of_all) AS p99,
		max(r.up_to) AS max, min(r.since) AS since
	FROM (
		SELECT l.*, sum(l.samples) OVER (PARTITION BY l.latency ORDER BY l.up_to) AS so_far,
			sum(l.samples) OVER (PARTITION BY l.latency) AS of_all
		FROM whatsapp.latency_ranges() l
	) r
	GROUP BY r.latency
) s;
COMMENT ON VIEW whatsapp.latencies IS 'how long things take, in ms; see whatsapp.statistics for where that is from';
COMMENT ON COLUMN whatsapp.latencies.latency IS 'commit_to_wire: from the commit that queued a message, or its send_after, until its body begins to leave, for first attempts; wire_to_answer: from then until Meta''s answer is there; webhook_to_filed: from the time that Meta gives an element (whole seconds) until it is filed';
COMMENT ON COLUMN whatsapp.latencies.samples IS 'of how many';
COMMENT ON COLUMN whatsapp.latencies.mean IS 'on average';
COMMENT ON COLUMN whatsapp.latencies.p50 IS 'what half of them are less than; as are the others of this table, it is up to a quarter too much';
COMMENT ON COLUMN whatsapp.latencies.p90 IS 'what 90 percent are less than';
COMMENT ON COLUMN whatsapp.latencies.p99 IS 'what 99 percent are less than';
COMMENT ON COLUMN whatsapp.latencies.max IS 'what all are less than';
COMMENT ON COLUMN whatsapp.latencies.since IS 'since when';

CREATE FUNCTION whatsapp.reset_statistics() RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'whatsapp_reset_statistics';
COMMENT ON FUNCTION whatsapp.reset_statistics() IS 'has whatsapp.statistics and whatsapp.latencies of this database begin anew';

-- What it is doing.

CREATE FUNCTION whatsapp.sender_pid() RETURNS integer
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_sender_pid';
COMMENT ON FUNCTION whatsapp.sender_pid() IS 'process id of the background worker that sends for this database; NULL if there is none';

CREATE FUNCTION whatsapp.sender_paces(OUT phone_number_id text, OUT tokens double precision) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'whatsapp_sender_paces';
COMMENT ON FUNCTION whatsapp.sender_paces() IS 'how many messages each number may send at once, by now; numbers that have sent nothing since the background worker has started are not listed, nor are more than 64';

CREATE FUNCTION whatsapp.has_access_token(phone_number_id text) RETURNS boolean
LANGUAGE c STABLE STRICT
AS 'MODULE_PATHNAME', 'whatsapp_has_access_token';
COMMENT ON FUNCTION whatsapp.has_access_token(text) IS 'whether a number can send, as far as that is known; says nothing of the token. False for numbers that the caller may not see';

CREATE FUNCTION whatsapp.has_app_secret(phone_number_id text) RETURNS boolean
LANGUAGE c STABLE STRICT
AS 'MODULE_PATHNAME', 'whatsapp_has_app_secret';
COMMENT ON FUNCTION whatsapp.has_app_secret(text) IS 'whether it can be proven, in calls for a number, that we know the app secret. False for numbers that the caller may not see';

CREATE FUNCTION whatsapp.is_preloaded() RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'whatsapp_is_preloaded';
COMMENT ON FUNCTION whatsapp.is_preloaded() IS 'whether the library was there when the server started, so that there can be background workers';

CREATE FUNCTION whatsapp.sender_health(OUT trouble text, OUT mode text, OUT failures integer, OUT next_start timestamptz)
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'whatsapp_sender_health';
COMMENT ON FUNCTION whatsapp.sender_health() IS 'how it stands with the background worker of this database. trouble: why there is none, NULL if there is one: not preloaded, no launcher, no slot, no worker, barred (some command needs the database to be left by all), failed, starting. mode: what it does on the whole: sending, off (whatsapp.enabled is), outdated (the library in memory is not of the extension''s version), or NULL if there is none. failures: how many have failed, one after the other, and when the next one is started after that';

CREATE FUNCTION whatsapp.why_no_sender() RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	owner pg_roles;
	database pg_database;
	health record;
BEGIN
	SELECT r.* INTO owner FROM pg_roles r WHERE r.oid = whatsapp.owner();
	SELECT d.* INTO database FROM pg_database d WHERE d.datname = current_database();
	SELECT h.* INTO health FROM whatsapp.sender_health() h;
	RETURN CASE
		WHEN health.trouble IS NULL THEN NULL
		WHEN health.trouble = 'not preloaded' THEN 'whatsapp is not in shared_preload_libraries; that takes a restart of the server'
		WHEN pg_is_in_recovery() THEN 'the server is a standby'
		WHEN NOT has_database_privilege(owner.oid, current_database(), 'CONNECT')
			THEN format('role %I, which owns the extension, may not connect to the database: GRANT CONNECT', owner.rolname)
		WHEN NOT owner.rolcanlogin AND current_setting('server_version_num')::integer < 170000
			THEN format('role %I, which owns the extension, cannot log in: ALTER ROLE ... LOGIN', owner.rolname)
		WHEN database.datistemplate THEN 'the database is a template'
		WHEN NOT database.datallowconn THEN 'the database lets nobody connect: ALTER DATABASE ... ALLOW_CONNECTIONS'
		ELSE CASE health.trouble
			WHEN 'no launcher' THEN 'the background worker that starts the others is not there, for a moment or for good: the server log says why'
			WHEN 'no slot' THEN 'there are more databases than max_worker_processes; that takes a restart of the server'
			WHEN 'no worker' THEN 'all max_worker_processes are taken; to have more takes a restart of the server'
			WHEN 'barred' THEN 'a command that is under way needs the database to be left by all'
			WHEN 'failed' THEN format('it has failed %s times, and is started again at %s: the server log says why',
				health.failures, health.next_start::timestamptz(0))
			ELSE 'it is being started'
		END
	END;
END $$;
COMMENT ON FUNCTION whatsapp.why_no_sender() IS 'why there is no background worker that sends for this database; NULL if there is one';

CREATE VIEW whatsapp.sender_status WITH (security_invoker = true) AS
SELECT n.phone_number_id, s.state,
	CASE s.state
		WHEN 'no sender' THEN whatsapp.why_no_sender()
		WHEN 'off' THEN 'whatsapp.enabled is off, in the file or for the database'
		WHEN 'outdated' THEN 'the server has another version of the library in memory than that of the extension: restart it, or ALTER EXTENSION whatsapp UPDATE'
		WHEN 'copy' THEN 'the database is a copy of another: if this one is to send, whatsapp.set_access_token()'
		WHEN 'no access token' THEN 'whatsapp.set_access_token(), or the file with it cannot be read'
		WHEN 'no app secret' THEN 'appsecret_proof is asked for: whatsapp.set_app_secret()'
	END AS missing,
	n.paused_reason,
	n.paused_until,
	whatsapp.sender_pid() AS pid,
	greatest(coalesce(t.queued, 0), 0) AS queued,
	greatest(coalesce(t.queued - t.not_due, 0), 0) AS due,
	greatest(coalesce(t.sending, 0), 0) AS in_flight,
	now() - d.due_at AS oldest_due_age,
	n.messages_per_second,
	coalesce(l.rate, n.messages_per_second) AS rate,
	p.tokens,
	l.holds
FROM whatsapp.numbers n
CROSS JOIN whatsapp.sender_health() m
CROSS JOIN LATERAL (
	SELECT CASE
		WHEN m.mode IS NULL THEN 'no sender'
		WHEN m.mode IN ('off', 'outdated') THEN m.mode
		WHEN n.state = 'paused' THEN 'paused'
		WHEN n.phone_number_id = ANY (whatsapp.copies()) THEN 'copy'
		WHEN NOT whatsapp.has_access_token(n.phone_number_id) OR n.armed_in IS NULL THEN 'no access token'
		WHEN n.appsecret_proof AND NOT whatsapp.has_app_secret(n.phone_number_id) THEN 'no app secret'
		WHEN EXISTS (SELECT FROM whatsapp.holds h
			WHERE h.phone_number_id = n.phone_number_id AND h.kind IN ('number', 'account') AND (h.until IS NULL OR h.until > now()))
			THEN 'held'
		ELSE 'active'
	END AS state
) s
LEFT JOIN (
	SELECT a.phone_number_id, sum(a.queued)::bigint AS queued, sum(a.not_due)::bigint AS not_due, sum(a.sending)::bigint AS sending
	FROM whatsapp.tallies a
	GROUP BY a.phone_number_id
) t ON t.phone_number_id = n.phone_number_id
LEFT JOIN LATERAL (
	-- the first of each priority, of which there are few
	WITH RECURSIVE f AS (
		(SELECT q.id, - q.priority AS urgency, greatest(q.created_at, q.send_after) AS due_at
		FROM whatsapp.outbox q
		WHERE q.phone_number_id = n.phone_number_id AND q.state = 'queued' AND q.waits_for IS NULL
		ORDER BY - q.priority, q.id
		LIMIT 1)
		UNION ALL
		SELECT g.*
		FROM f
		CROSS JOIN LATERAL (
			SELECT q.id, - q.priority, greatest(q.created_at, q.send_after)
			FROM whatsapp.outbox q
			WHERE q.phone_number_id = n.phone_number_id AND q.state = 'queued' AND q.waits_for IS NULL
				AND - q.priority > f.urgency
			ORDER BY - q.priority, q.id
			LIMIT 1
		) g
	)
	SELECT min(f.due_at) AS due_at FROM f
) d ON true
LEFT JOIN LATERAL (
	SELECT min(whatsapp.rate(n.messages_per_second, h.rate, h.until)) AS rate,
		jsonb_agg(jsonb_build_object('kind', h.kind, 'key', h.key, 'reason', concat_ws(' ', 'Error ' || h.error_code || ':', h.reason),
				'until', h.until) ORDER BY h.kind, h.key)
			FILTER (WHERE h.until IS NULL OR h.until > now()) AS holds
	FROM whatsapp.holds h
	WHERE h.phone_number_id = n.phone_number_id
) l ON true
LEFT JOIN whatsapp.sender_paces() p ON p.phone_number_id = n.phone_number_id;
COMMENT ON VIEW whatsapp.sender_status IS 'what is being sent from each number, and what is not, and why. Nothing is counted for it, so that it may be asked at any time';
COMMENT ON COLUMN whatsapp.sender_status.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.sender_status.state IS 'active; or why nothing is sent from it: paused (by somebody), held (because of errors, see holds), no access token, no app secret, copy (it is from a dump, or the database is a copy of another), off (whatsapp.enabled is), outdated (the server runs another version of the library), no sender (no background worker is running for this database)';
COMMENT ON COLUMN whatsapp.sender_status.missing IS 'what is missing for it to send; NULL if nothing is';
COMMENT ON COLUMN whatsapp.sender_status.paused_reason IS 'why it is paused';
COMMENT ON COLUMN whatsapp.sender_status.paused_until IS 'when it is to go on by itself; NULL for never';
COMMENT ON COLUMN whatsapp.sender_status.pid IS 'process id of the background worker';
COMMENT ON COLUMN whatsapp.sender_status.queued IS 'messages that are queued';
COMMENT ON COLUMN whatsapp.sender_status.due IS 'those of them that do not wait for their time (send_after, or to be tried again): they wait for others, or for what is held';
COMMENT ON COLUMN whatsapp.sender_status.in_flight IS 'messages that are being sent';
COMMENT ON COLUMN whatsapp.sender_status.oldest_due_age IS 'for how long the oldest message has been waiting that could leave now; NULL if there is none';
COMMENT ON COLUMN whatsapp.sender_status.messages_per_second IS 'how many messages are sent in a second, at most';
COMMENT ON COLUMN whatsapp.sender_status.rate IS 'the same, as of now: less, for a while, after Meta has said that it was too much';
COMMENT ON COLUMN whatsapp.sender_status.tokens IS 'how many messages may be sent at once, by now: up to a tenth of what may be sent in a second; NULL if the background worker has sent none yet';
COMMENT ON COLUMN whatsapp.sender_status.holds IS 'what is held, as a JSON array of objects with kind, key, reason and until, as in whatsapp.holds; NULL for nothing';

-- Each row of the outbox is read once: to groups of one error, and these to
-- groups of one class.  What a query asks of campaign goes down to the index.
CREATE VIEW whatsapp.campaigns WITH (security_invoker = true) AS
SELECT c.phone_number_id, c.campaign, s.state, h.reason AS paused_reason, h.until AS paused_until,
	c.total, c.queued, c.sending, c.sent, c.delivered, c.read, c.failed, c.failed_later, c.failures, c.opted_out,
	c.unknown, c.cancelled, c.expired,
	trunc(100.0 * (c.total - c.queued - c.sending) / c.total, 1) AS percent,
	round(r.rate, 2) AS rate,
	c.started_at, c.last_at,
	CASE WHEN s.state IN ('running', 'scheduled') AND r.rate > 0
		THEN greatest(now() + interval '1 second' * ((c.queued + c.sending) / r.rate)::double precision, c.last_scheduled) END AS estimated_end
FROM (
	SELECT e.phone_number_id, e.campaign, sum(e.total)::bigint AS total, sum(e.queued)::bigint AS queued, sum(e.scheduled)::bigint AS scheduled,
		sum(e.sending)::bigint AS sending, sum(e.sent)::bigint AS sent, sum(e.delivered)::bigint AS delivered, sum(e.read)::bigint AS read,
		coalesce(sum(e.failed), 0)::bigint AS failed, coalesce(sum(e.failed_later), 0)::bigint AS failed_later,
		jsonb_object_agg(e.class, e.failed) FILTER (WHERE e.class IS NOT NULL) AS failures, coalesce(sum(e.opted_out), 0)::bigint AS opted_out,
		sum(e.unknown)::bigint AS unknown, sum(e.cancelled)::bigint AS cancelled, sum(e.expired)::bigint AS expired, sum(e.recent) AS recent,
		min(e.started_at) AS started_at, max(e.last_at) AS last_at, max(e.last_scheduled) AS last_scheduled
	FROM (
		SELECT g.phone_number_id, g.campaign, CASE WHEN g.is_failed THEN coalesce(k.class, 'other') END AS class,
			sum(g.total) AS total, sum(g.queued) AS queued, sum(g.scheduled) AS scheduled, sum(g.sending) AS sending, sum(g.sent) AS sent,
			sum(g.delivered) AS delivered, sum(g.read) AS read, sum(g.total) FILTER (WHERE g.is_failed) AS failed,
			sum(g.sent) FILTER (WHERE g.is_failed) AS failed_later, sum(g.total) FILTER (WHERE g.is_failed AND g.error_code = 131050) AS opted_out,
			sum(g.unknown) AS unknown, sum(g.cancelled) AS cancelled, sum(g.expired) AS expired, sum(g.recent) AS recent,
			min(g.started_at) AS started_at, max(g.last_at) AS last_at, max(g.last_scheduled) AS last_scheduled
		FROM (
			SELECT o.phone_number_id, o.campaign, f.is_failed, f.error_code, count(*) AS total,
				count(*) FILTER (WHERE o.state = 'queued') AS queued,
				count(*) FILTER (WHERE o.state = 'queued' AND o.send_after > now()) AS scheduled,
				count(*) FILTER (WHERE o.state = 'sending') AS sending,
				count(*) FILTER (WHERE o.state = 'sent') AS sent,
				count(*) FILTER (WHERE o.state = 'sent' AND f.rank >= whatsapp.status_rank('delivered')) AS delivered,
				count(*) FILTER (WHERE o.state = 'sent' AND f.rank >= whatsapp.status_rank('read')) AS read,
				count(*) FILTER (WHERE o.state = 'unknown') AS unknown,
				count(*) FILTER (WHERE o.state = 'cancelled') AS cancelled,
				count(*) FILTER (WHERE o.state = 'expired') AS expired,
				count(*) FILTER (WHERE o.state IN ('sent', 'failed', 'unknown') AND o.claimed_at IS NOT NULL
					AND o.finished_at > now() - interval '1 minute') AS recent,
				min(o.claimed_at) AS started_at, max(o.finished_at) AS last_at,
				max(o.send_after) FILTER (WHERE o.state = 'queued') AS last_scheduled
			FROM whatsapp.outbox o
			LEFT JOIN whatsapp.messages m ON m.phone_number_id = o.phone_number_id AND m.message_id = o.message_id
			CROSS JOIN LATERAL (
				SELECT a.rank, a.is_failed, CASE WHEN a.is_failed THEN o.error_code END AS error_code
				FROM (
					SELECT whatsapp.status_rank(m.status) AS rank,
						o.state = 'failed' OR o.state = 'sent' AND o.failed_at IS NOT NULL
							AND coalesce(whatsapp.status_rank(m.status) < whatsapp.status_rank('delivered'), true) AS is_failed
				) a
			) f
			WHERE o.campaign IS NOT NULL
			GROUP BY o.phone_number_id, o.campaign, f.is_failed, f.error_code
		) g
		LEFT JOIN LATERAL (
			SELECT l.class
			FROM whatsapp.error_classes l
			WHERE l.code = g.error_code
			ORDER BY l.subcode <> 0, l.details <> '', l.subcode, l.details
			LIMIT 1
		) k ON true
		GROUP BY g.phone_number_id, g.campaign, CASE WHEN g.is_failed THEN coalesce(k.class, 'other') END
	) e
	GROUP BY e.phone_number_id, e.campaign
) c
LEFT JOIN whatsapp.holds h ON h.phone_number_id = c.phone_number_id AND h.kind = 'campaign' AND h.key = c.campaign
	AND (h.until IS NULL OR h.until > now())
CROSS JOIN LATERAL (
	SELECT CASE
		WHEN c.queued + c.sending = 0 THEN 'finished'
		WHEN h.key IS NOT NULL THEN 'paused'
		WHEN c.sending = 0 AND c.queued = c.scheduled THEN 'scheduled'
		ELSE 'running'
	END AS state
) s
CROSS JOIN LATERAL (
	SELECT c.recent / greatest(least(extract(epoch FROM now() - c.started_at), 60), 1) AS rate
) r;
COMMENT ON VIEW whatsapp.campaigns IS 'how far campaigns are: messages that whatsapp.outbox.campaign says belong together, by number. Rows that were pruned do not count any more. It reads all rows of a campaign, so ask for one by its name';
COMMENT ON COLUMN whatsapp.campaigns.phone_number_id IS 'our number';
COMMENT ON COLUMN whatsapp.campaigns.campaign IS 'the name, as in whatsapp.outbox.campaign';
COMMENT ON COLUMN whatsapp.campaigns.state IS 'finished (all have come to an end); paused (see whatsapp.pause_campaign()); scheduled (all that are left wait for send_after); running. Whether its number sends is in whatsapp.sender_status';
COMMENT ON COLUMN whatsapp.campaigns.paused_reason IS 'why it is paused';
COMMENT ON COLUMN whatsapp.campaigns.paused_until IS 'when it is to go on by itself; NULL for never';
COMMENT ON COLUMN whatsapp.campaigns.total IS 'how many messages there are. Each is one of queued, sending, sent, failed (but for failed_later), unknown, cancelled and expired';
COMMENT ON COLUMN whatsapp.campaigns.queued IS 'those that are yet to be sent';
COMMENT ON COLUMN whatsapp.campaigns.sending IS 'those that are on their way';
COMMENT ON COLUMN whatsapp.campaigns.sent IS 'those that Meta has accepted';
COMMENT ON COLUMN whatsapp.campaigns.delivered IS 'those of sent that were delivered, as statuses say; also if they were read';
COMMENT ON COLUMN whatsapp.campaigns.read IS 'those of delivered that were read';
COMMENT ON COLUMN whatsapp.campaigns.failed IS 'those that have failed, before or after Meta had accepted them';
COMMENT ON COLUMN whatsapp.campaigns.failed_later IS 'those of failed that Meta had accepted, and so are among sent, too';
COMMENT ON COLUMN whatsapp.campaigns.failures IS 'how many have failed by class of the error, as a JSON object such as {"permanent": 3}; see whatsapp.error_classes. "other" is for those without a code, or with one that is not listed; NULL if none has failed';
COMMENT ON COLUMN whatsapp.campaigns.opted_out IS 'those of failed whose recipients want no marketing messages: error 131050';
COMMENT ON COLUMN whatsapp.campaigns.unknown IS 'those that may have been accepted: no answer has come';
COMMENT ON COLUMN whatsapp.campaigns.cancelled IS 'those that were cancelled';
COMMENT ON COLUMN whatsapp.campaigns.expired IS 'those that were not sent before expires_at';
COMMENT ON COLUMN whatsapp.campaigns.percent IS 'how many percent have come to an end, whichever: all but queued and sending';
COMMENT ON COLUMN whatsapp.campaigns.rate IS 'how many were sent in a second, or have failed or are unknown, in the last minute or since it began';
COMMENT ON COLUMN whatsapp.campaigns.started_at IS 'when the first one was taken to be sent; NULL if none was. Of one that is tried again it is the newest attempt that counts';
COMMENT ON COLUMN whatsapp.campaigns.last_at IS 'when the newest that has come to an end did so';
COMMENT ON COLUMN whatsapp.campaigns.estimated_end IS 'when all will have come to an end, at that rate, and by send_after; NULL if it is paused or finished, or there is no rate';

------------------------------------------------------------------------------
-- 7. Roles
--
-- Nobody but the owner may do anything here, until it is granted: a role gets
-- what its levels have (whatsapp.level_rights()), with the numbers that it is
-- given (whatsapp.number_roles).  Which rows those are is said by row level
-- security.  The owner is not subject to it, and so neither are the background
-- worker and what files webhooks.
------------------------------------------------------------------------------

CREATE TABLE whatsapp.role_levels (
	role_name name NOT NULL,
	level text NOT NULL CHECK (level IN ('webhook', 'sender', 'reader', 'admin')),
	PRIMARY KEY (role_name, level)
);
COMMENT ON TABLE whatsapp.role_levels IS 'which levels of access roles were granted; use whatsapp.grant_access() and whatsapp.revoke_access()';
COMMENT ON COLUMN whatsapp.role_levels.role_name IS 'the role';
COMMENT ON COLUMN whatsapp.role_levels.level IS 'webhook, sender, reader or admin; see whatsapp.grant_access()';

CREATE TABLE whatsapp.number_roles (
	role_name name NOT NULL,
	phone_number_id text NOT NULL,
	PRIMARY KEY (role_name, phone_number_id)
);
COMMENT ON TABLE whatsapp.number_roles IS 'of which numbers roles see rows, and send from; a role without any sees nothing. Members of a role have its numbers, too. Insert to give a role a number';
COMMENT ON COLUMN whatsapp.number_roles.role_name IS 'the role';
COMMENT ON COLUMN whatsapp.number_roles.phone_number_id IS 'our number; * for all there are and will be, until the role is given one';

CREATE FUNCTION whatsapp.number_given() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NEW.phone_number_id = '*' THEN
		IF EXISTS (SELECT FROM whatsapp.number_roles r WHERE r.role_name = NEW.role_name AND r.phone_number_id <> '*') THEN
			RAISE EXCEPTION USING
				ERRCODE = 'object_not_in_prerequisite_state',
				MESSAGE = format('role %I has numbers of its own', NEW.role_name),
				HINT = 'Remove these from whatsapp.number_roles first, if it is to have all.';
		END IF;
		RETURN NULL;
	END IF;
	IF EXISTS (SELECT FROM whatsapp.role_levels l WHERE l.role_name = NEW.role_name AND l.level = 'admin') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('role %I has level "admin", which is for all numbers', NEW.role_name),
			HINT = 'Use whatsapp.revoke_access() first.';
	END IF;
	DELETE FROM whatsapp.number_roles r
	WHERE r.role_name = NEW.role_name AND r.phone_number_id = '*';
	RETURN NULL;
END $$;
COMMENT ON FUNCTION whatsapp.number_given() IS 'has a role that is given a number have all of them no longer; error 55000 if it is given all beside some, so that no role has both';

CREATE TRIGGER given AFTER INSERT OR UPDATE ON whatsapp.number_roles
	FOR EACH ROW EXECUTE FUNCTION whatsapp.number_given();
COMMENT ON TRIGGER given ON whatsapp.number_roles IS 'has a role that is given a number have all of them no longer';

-- These run as who asks, once for each query.  (A role that was dropped is
-- looked up as NULL, and nobody is a member of that.)

CREATE FUNCTION whatsapp.sees_all() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN EXISTS (
		SELECT FROM whatsapp.number_roles r
		WHERE r.phone_number_id = '*' AND pg_has_role(to_regrole(quote_ident(r.role_name)), 'USAGE'));
END $$;
COMMENT ON FUNCTION whatsapp.sees_all() IS 'whether the current role sees rows of all numbers';

CREATE FUNCTION whatsapp.seen_numbers() RETURNS text[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN ARRAY(
		SELECT r.phone_number_id
		FROM whatsapp.number_roles r
		WHERE pg_has_role(to_regrole(quote_ident(r.role_name)), 'USAGE'));
END $$;
COMMENT ON FUNCTION whatsapp.seen_numbers() IS 'the numbers of which the current role sees rows';

CREATE FUNCTION whatsapp.seen_wabas() RETURNS text[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN ARRAY(
		SELECT n.waba_id
		FROM whatsapp.numbers n
		WHERE n.waba_id IS NOT NULL AND n.phone_number_id = ANY (whatsapp.seen_numbers()));
END $$;
COMMENT ON FUNCTION whatsapp.seen_wabas() IS 'the WhatsApp Business Accounts of the numbers of which the current role sees rows';

DO $$
DECLARE
	seen CONSTANT text := '(SELECT whatsapp.sees_all())';
	number_seen CONSTANT text := seen || ' OR phone_number_id = ANY ((SELECT whatsapp.seen_numbers())::text[])';
	waba_seen CONSTANT text := 'waba_id = ANY ((SELECT whatsapp.seen_wabas())::text[])';
	p record;
BEGIN
	FOR p IN
		SELECT t.name, 'ALL' AS command, 'numbers' AS policy, number_seen AS condition, 'rows of numbers that the role has' AS comment
		FROM unnest('{numbers, holds, correspondents, contact_sightings, contact_changes, messages, reactions, media,
			statuses, call_events, groups, group_participants, user_preferences, changed_lanes, tallies, news, evidence}'::text[]) t (name)
		UNION ALL
		-- what is told of an account is for all who have a number of it
		VALUES ('events', 'ALL', 'numbers', number_seen || ' OR phone_number_id IS NULL AND ' || waba_seen,
				'rows of numbers that the role has, and of their accounts'),
			('templates', 'ALL', 'accounts', seen || ' OR ' || waba_seen, 'rows of the accounts of numbers that the role has'),
			-- of messages, who sends sees his own, and who reads all
			('outbox', 'SELECT', 'numbers', '(' || number_seen || ') AND (queued_by = SESSION_USER
				OR (SELECT has_table_privilege(''whatsapp.messages''::regclass, ''SELECT'')))',
				'messages from numbers that the role has: its own, or all if it reads messages'),
			('outbox', 'INSERT', 'queue', number_seen || ' OR phone_number_id IS NULL', 'messages from numbers that the role has; what comes from none is refused otherwise'),
			('outbox', 'UPDATE', 'change', number_seen, 'messages from numbers that the role has'),
			('outbox', 'DELETE', 'remove', number_seen, 'messages from numbers that the role has'),
			('attempts', 'ALL', 'numbers', 'EXISTS (SELECT FROM whatsapp.outbox o WHERE o.id = outbox_id)', 'attempts to send messages that the role sees'),
			('number_roles', 'ALL', 'roles', 'pg_has_role(to_regrole(quote_ident(role_name)), ''USAGE'')', 'the numbers of the role itself'),
			('role_levels', 'ALL', 'roles', 'pg_has_role(to_regrole(quote_ident(role_name)), ''USAGE'')', 'the levels of the role itself'),
			('webhooks', 'ALL', 'all', seen, 'for roles that have all numbers: webhooks may tell of several'),
			('hooks', 'ALL', 'all', seen, 'for roles that have all numbers'),
			-- (such as members of pg_read_all_data might read them)
			('secrets', 'ALL', 'all', seen || ' AND NOT (SELECT has_column_privilege(''whatsapp.secrets''::regclass, ''value'', ''SELECT''))',
				'for roles that have all numbers, and may not read the secrets themselves: for the others there are none'),
			('error_class_overrides', 'SELECT', 'everybody', 'true', 'of no number'),
			('error_class_overrides', 'ALL', 'all', seen, 'for roles that have all numbers'),
			('shipped_error_classes', 'SELECT', 'everybody', 'true', 'of no number'),
			('installation', 'SELECT', 'everybody', 'true', 'of no number')
	LOOP
		EXECUTE format('ALTER TABLE whatsapp.%I ENABLE ROW LEVEL SECURITY', p.name);
		EXECUTE format('CREATE POLICY %I ON whatsapp.%I FOR %s %s (%s)', p.policy, p.name, p.command,
			CASE WHEN p.command = 'INSERT' THEN 'WITH CHECK' ELSE 'USING' END, p.condition);
		EXECUTE format('COMMENT ON POLICY %I ON whatsapp.%I IS %L', p.policy, p.name, p.comment);
	END LOOP;
END $$;

CREATE FUNCTION whatsapp.level_rights(OUT level text, OUT privileges text, OUT object text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	WITH listed (levels, kind, privileges, names) AS (VALUES
		('{webhook, sender, reader, admin}'::text[], 'SCHEMA', 'USAGE', '{whatsapp}'::text[]),

		-- Meta's requests
		('{webhook}', 'FUNCTION', 'EXECUTE', '{verify_webhook, ingest, ingest_batch, handle_webhook}'),

		-- which numbers one has; and what it takes to queue messages
		('{sender, reader, admin}', 'TABLE', 'SELECT', '{number_roles}'),
		('{sender, reader, admin}', 'FUNCTION', 'EXECUTE', '{sees_all, seen_numbers, seen_wabas, default_number, recipient_key, template_key}'),
		('{sender, reader, admin}', 'TABLE',
			'SELECT (phone_number_id, waba_id, display_phone_number, verified_name, messages_per_second, state, paused_reason, paused_until)',
			'{numbers}'),
		('{sender, admin}', 'TABLE',
			'INSERT (phone_number_id, recipient, recipient_type, type, body, content, reply_to, priority, send_after, expires_at, idempotency_key, callback_data, options, marketing, campaign)',
			'{outbox}'),
		('{sender, reader, admin}', 'TABLE', 'SELECT', '{outbox}'),
		('{sender, admin}', 'FUNCTION', 'EXECUTE', '{enqueue, cancel, cancel_campaign, send_text, send_image, send_video, send_audio, send_document, send_sticker,
			send_location, send_contacts, send_reaction, send_buttons, send_list, send_cta_url, send_flow, send_location_request,
			send_address_request, send_contact_request, send_product, send_products, send_catalog, send_carousel,
			send_call_permission_request, send_voice_call, send_order_details, send_order_status, send_template, send_pin, send_unpin,
			reply, mark_read, typing, message_party, without_nulls, elements, interactive, reply_buttons, list_sections,
			product_sections, carousel_cards, template_parameter, template_parameters, template_header, template_button,
			template_content, why_not, outbox_complaint, template_complaint, known_template, template_needs, template_fault, template_variables, row_complaint, complaint, message_rules, is_of_marketing}'),
		('{sender}', 'TABLE', 'SELECT', '{templates}'),
		-- whom an answer goes to
		('{sender}', 'TABLE', 'SELECT (phone_number_id, message_id, wa_id, user_id, group_id)', '{messages}'),

		-- what there is to be seen
		('{reader, admin}', 'TABLE', 'SELECT', '{numbers, installation, holds, correspondents, contact_sightings, contact_changes,
			messages, reactions, media, statuses, call_events, calls, groups, group_participants, templates, user_preferences, events, webhooks,
			attempts, tallies, changed_lanes, news, evidence, shipped_error_classes, error_class_overrides, error_classes,
			contacts, contact_identifiers, message_contacts, conversations, inbox, sender_status, campaigns, statistics, latencies,
			template_status_updates, template_quality_updates, template_category_updates, account_alerts, account_updates,
			account_reviews, business_capability_updates, phone_number_quality_updates, phone_number_name_updates,
			business_username_updates, security_events, account_settings_updates, flow_events, partner_solution_updates,
			payment_configuration_updates, handovers, automatic_events, user_actions, tracking_events, webhook_errors,
			history_chunks, business_app_contacts, payments, role_levels}'),
		('{reader, admin}', 'FUNCTION', 'EXECUTE', '{here, copies, has_access_token, has_app_secret, is_preloaded, owner, why_no_sender,
			sender_health, counters, latency_ranges, sender_pid, sender_paces, rate, webhook_paths, status_rank, thread_key, is_note, callback_data, callback_token, error_class,
			other_form, tenure, phone_holder, is_user_id, contact_key, form_of, contact_ids, find_contact, contact_facts,
			wants_no_marketing, is_opted_out, contact_of, thread, notes, conversation, conversation_state, can_send}'),

		-- what there is to be changed
		('{admin}', 'TABLE', 'INSERT, UPDATE, DELETE', '{holds, correspondents, contact_sightings, contact_changes,
			messages, reactions, media, statuses, call_events, groups, group_participants, templates, user_preferences, events, webhooks,
			outbox, attempts, news, evidence, error_class_overrides, error_classes}'),
		('{admin}', 'TABLE', 'DELETE', '{numbers, hooks, secrets}'),
		('{admin}', 'TABLE', 'SELECT, INSERT', '{hooks}'),
		('{admin}', 'TABLE', 'UPDATE (waba_id, display_phone_number, verified_name, api_version, messages_per_second, appsecret_proof,
			app_secret_is_own, marketing_messages, state, paused_reason, paused_until)', '{numbers}'),
		('{admin}', 'TABLE', 'SELECT (secret_id, kind, phone_number_id, source, name, valid_until, added_at), UPDATE (valid_until)', '{secrets}'),
		('{admin}', 'TABLE', 'UPDATE (name)', '{contacts}'),
		('{admin}', 'FUNCTION', 'EXECUTE', '{prune, prune_rows, prunable, retention, count_event, reset_statistics, add_number, set_access_token, set_app_secret, set_verify_token,
			pause_number, resume_number, release_hold, pause_campaign, resume_campaign, retry, resolve, wake_sender, complain_of_row,
			add_hook, remove_hook, hook_argument, may_be_hook, ingest_unsigned, replay, sign,
			opt_out, mark_conversation_read, complain_of_former, forget, import_templates,
			sent_to, sent_messages, file_sent, mark_failed, event_id, request_text, request_body, delay, hold_key,
			media_digest, url_expiry, media_expiry, is_placeholder}')
	)
	SELECT l.level, o.privileges, o.object
	FROM listed i
	CROSS JOIN LATERAL unnest(i.levels) l (level)
	CROSS JOIN LATERAL unnest(i.names) n (name)
	CROSS JOIN LATERAL (
		SELECT i.privileges, format('%s %s%I', i.kind, CASE WHEN i.kind <> 'SCHEMA' THEN 'whatsapp.' END, n.name) AS object
		WHERE i.kind <> 'FUNCTION'
		UNION ALL
		SELECT i.privileges, 'FUNCTION ' || p.oid::regprocedure::text
		FROM pg_proc p
		WHERE i.kind = 'FUNCTION' AND p.pronamespace = 'whatsapp'::regnamespace AND p.proname = n.name
	) o;
END $$;
COMMENT ON FUNCTION whatsapp.level_rights() IS 'what roles of each level may do: privileges on objects, as GRANT takes them. Which rows that is for is said by whatsapp.number_roles';

CREATE FUNCTION whatsapp.complain_unless_owner() RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT pg_has_role(whatsapp.owner(), 'USAGE') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = 'must be owner of extension whatsapp to grant and revoke access';
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.complain_unless_owner() IS 'raises error 42501 unless the current role owns the extension';

CREATE FUNCTION whatsapp.complain_of_level(level text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF complain_of_level.level IS NULL OR complain_of_level.level NOT IN ('webhook', 'sender', 'reader', 'admin') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('"%s" is no level of access', complain_of_level.level),
			HINT = 'Take webhook, sender, reader or admin.';
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.complain_of_level(text) IS 'raises error 22023 unless there is such a level';

CREATE FUNCTION whatsapp.grant_privileges(role_name name, level text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT g.privileges, g.object FROM whatsapp.level_rights() g WHERE g.level = grant_privileges.level LOOP
		EXECUTE format('GRANT %s ON %s TO %I', r.privileges, r.object, grant_privileges.role_name);
	END LOOP;
END $$;
COMMENT ON FUNCTION whatsapp.grant_privileges(name, text) IS 'does the work of whatsapp.grant_access(): grants what a level has';

CREATE FUNCTION whatsapp.levels_of(role_name name) RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- one that was dropped and made again has no privilege here, not even this
	RETURN QUERY
	SELECT l.level
	FROM whatsapp.role_levels l
	JOIN pg_roles p ON p.rolname = l.role_name
	JOIN pg_namespace n ON n.nspname = 'whatsapp'
	CROSS JOIN LATERAL aclexplode(n.nspacl) a
	WHERE l.role_name = levels_of.role_name AND a.grantee = p.oid AND a.privilege_type = 'USAGE';
END $$;
COMMENT ON FUNCTION whatsapp.levels_of(name) IS 'the levels that a role was granted, and still has';

CREATE FUNCTION whatsapp.grant_access(role_name name, level text, phone_number_ids text[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	given CONSTANT text[] := coalesce(phone_number_ids, '{}');
BEGIN
	PERFORM whatsapp.complain_unless_owner();
	IF NOT EXISTS (SELECT FROM pg_roles p WHERE p.rolname = grant_access.role_name) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = format('role "%s" does not exist', grant_access.role_name);
	END IF;
	PERFORM whatsapp.complain_of_level(grant_access.level);
	IF grant_access.level = 'webhook' AND given <> '{}' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'level "webhook" is for all numbers',
			HINT = 'Which numbers a webhook may tell of is said by its signature.';
	ELSIF grant_access.level = 'admin' AND (given <> '{}' OR EXISTS (
		SELECT FROM whatsapp.number_roles n
		WHERE n.role_name = grant_access.role_name AND n.phone_number_id <> '*'))
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'level "admin" is for all numbers',
			HINT = 'Remove the numbers of the role from whatsapp.number_roles, or take sender and reader.';
	END IF;

	PERFORM whatsapp.grant_privileges(grant_access.role_name, grant_access.level);
	INSERT INTO whatsapp.number_roles (role_name, phone_number_id)
	SELECT grant_access.role_name, n.phone_number_id
	FROM unnest(given) n (phone_number_id)
	ON CONFLICT DO NOTHING;
	-- who has had numbers, and has none any more, does not get all of them
	IF grant_access.level <> 'webhook'
		AND NOT EXISTS (SELECT FROM whatsapp.number_roles n WHERE n.role_name = grant_access.role_name)
		AND NOT EXISTS (SELECT FROM whatsapp.role_levels l WHERE l.role_name = grant_access.role_name AND l.level <> 'webhook')
	THEN
		INSERT INTO whatsapp.number_roles (role_name, phone_number_id) VALUES (grant_access.role_name, '*');
	END IF;
	INSERT INTO whatsapp.role_levels (role_name, level)
	VALUES (grant_access.role_name, grant_access.level)
	ON CONFLICT DO NOTHING;
END $$;
COMMENT ON FUNCTION whatsapp.grant_access(name, text, text[]) IS 'gives a role a level of access. webhook: hand over Meta''s requests, and nothing else. sender: queue messages, see and cancel those it has queued. reader: see all but secrets. admin: both, and change all but who has access. It goes for numbers that the role has in whatsapp.number_roles, or that are given here; for all of them if there are none. Error 42501 if the caller does not own the extension, 42704 if there is no such role, 22023 for another level';

CREATE FUNCTION whatsapp.revoke_access(role_name name, level text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	kept text[];
	r record;
BEGIN
	PERFORM whatsapp.complain_unless_owner();
	IF revoke_access.level IS NOT NULL THEN
		PERFORM whatsapp.complain_of_level(revoke_access.level);
	END IF;
	kept := ARRAY(
		SELECT k.level
		FROM whatsapp.levels_of(revoke_access.role_name) k (level)
		WHERE k.level <> revoke_access.level);

	IF EXISTS (SELECT FROM pg_roles p WHERE p.rolname = revoke_access.role_name) THEN
		FOR r IN
			SELECT DISTINCT g.privileges, g.object
			FROM whatsapp.level_rights() g
			WHERE g.level = coalesce(revoke_access.level, g.level)
		LOOP
			EXECUTE format('REVOKE %s ON %s FROM %I', r.privileges, r.object, revoke_access.role_name);
		END LOOP;
		-- what levels have in common is gone, too
		PERFORM whatsapp.grant_privileges(revoke_access.role_name, k.level)
		FROM unnest(kept) k (level);
	END IF;
	DELETE FROM whatsapp.role_levels l
	WHERE l.role_name = revoke_access.role_name AND l.level <> ALL (kept);
	IF NOT EXISTS (SELECT FROM whatsapp.role_levels l WHERE l.role_name = revoke_access.role_name AND l.level <> 'webhook') THEN
		DELETE FROM whatsapp.number_roles n
		WHERE n.role_name = revoke_access.role_name AND n.phone_number_id = '*';
	END IF;
END $$;
COMMENT ON FUNCTION whatsapp.revoke_access(name, text) IS 'takes a level of access from a role, or all if none is given. Numbers that it was given stay in whatsapp.number_roles. The role may have been dropped. Error 42501 if the caller does not own the extension, 22023 for another level';

CREATE FUNCTION whatsapp.grant_levels() RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'whatsapp_grant_levels';
COMMENT ON FUNCTION whatsapp.grant_levels() IS 'grants to roles what their levels have, as if it were not done by a script of the extension: what these grant is not dumped';

CREATE FUNCTION whatsapp.finish_update() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	owner CONSTANT oid := whatsapp.owner();
	made text[] := '{}';
	o record;
BEGIN
	PERFORM whatsapp.complain_unless_owner();

	-- what the script has made belongs to who called it
	FOR o IN
		SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name
		FROM pg_class c
		WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
			AND c.relowner <> owner
			-- a sequence of a column goes with its table
			AND NOT EXISTS (
				SELECT FROM pg_depend d
				WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
					AND d.refclassid = 'pg_class'::regclass)
		UNION ALL
		SELECT 'ROUTINE', p.oid::regprocedure::text
		FROM pg_proc p
		WHERE p.pronamespace = 'whatsapp'::regnamespace AND p.proowner <> owner
		UNION ALL
		SELECT 'TYPE', t.oid::regtype::text
		FROM pg_type t
		LEFT JOIN pg_class c ON c.oid = t.typrelid
		WHERE t.typnamespace = 'whatsapp'::regnamespace AND t.typowner <> owner
			AND t.typelem = 0 AND (t.typrelid = 0 OR c.relkind = 'c')
	LOOP
		EXECUTE format('ALTER %s %s OWNER TO %s', o.kind, o.name, owner::regrole);
		made := made || o.name;
	END LOOP;

	PERFORM whatsapp.revoke_all(false, true, made);
	PERFORM whatsapp.revoke_all(false, false);
	PERFORM whatsapp.revoke_row_types();
	PERFORM whatsapp.grant_levels();
END $$;
COMMENT ON FUNCTION whatsapp.finish_update() IS 'for update scripts, as their last statement: gives what they have made to the owner of the extension, takes from PUBLIC what it has on it, and grants to roles what their levels have';

CREATE FUNCTION whatsapp.revoke_all(of_row_types boolean, from_everybody boolean, names text[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	o record;
BEGIN
	FOR o IN
		SELECT DISTINCT x.kind, x.name, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
		FROM (
			SELECT CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, c.relowner AS owner, c.relacl AS acl
			FROM pg_class c
			WHERE c.relnamespace = 'whatsapp'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND NOT of_row_types
			UNION ALL
			SELECT 'ROUTINE', p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
			FROM pg_proc p
			WHERE p.pronamespace = 'whatsapp'::regnamespace AND NOT of_row_types
			UNION ALL
			SELECT 'TYPE', t.oid::regtype::text, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
			FROM pg_type t
			LEFT JOIN pg_class c ON c.oid = t.typrelid
			WHERE t.typnamespace = 'whatsapp'::regnamespace AND t.typelem = 0
				AND (t.typrelid <> 0 AND c.relkind <> 'c') = of_row_types
			UNION ALL
			SELECT 'SCHEMA', n.nspname, n.nspowner, n.nspacl
			FROM pg_namespace n
			WHERE n.nspname = 'whatsapp' AND NOT of_row_types
		) x
		CROSS JOIN LATERAL aclexplode(x.acl) a
		WHERE a.grantee <> x.owner AND (a.grantee = 0 OR from_everybody) AND (names IS NULL OR x.name = ANY (names))
	LOOP
		EXECUTE format('REVOKE ALL ON %s %s FROM %s', o.kind, o.name, o.grantee);
	END LOOP;
END $$;
COMMENT ON FUNCTION whatsapp.revoke_all(boolean, boolean, text[]) IS 'takes from PUBLIC, or from all roles, what PostgreSQL or ALTER DEFAULT PRIVILEGES has given them on objects of the extension, or those of these names: on types of rows of tables and views, or on all else';

CREATE FUNCTION whatsapp.revoke_row_types() RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'whatsapp_revoke_row_types';
COMMENT ON FUNCTION whatsapp.revoke_row_types() IS 'takes from PUBLIC what it has on the types of rows, as if it were not done by a script of the extension: pg_dump would complain of it each time';

------------------------------------------------------------------------------
-- 8. Dumps
--
-- Secrets are not dumped, nor which installation this is, nor what is counted
-- or comes with the extension.  A dump is restored with rows in any order, and
-- while the background worker is there.
------------------------------------------------------------------------------

SELECT pg_extension_config_dump('whatsapp.numbers', '');
SELECT pg_extension_config_dump('whatsapp.holds', '');
SELECT pg_extension_config_dump('whatsapp.correspondents', '');
SELECT pg_extension_config_dump('whatsapp.contact_sightings', '');
SELECT pg_extension_config_dump('whatsapp.contact_changes', '');
SELECT pg_extension_config_dump('whatsapp.messages', '');
SELECT pg_extension_config_dump('whatsapp.reactions', '');
SELECT pg_extension_config_dump('whatsapp.media', '');
SELECT pg_extension_config_dump('whatsapp.statuses', '');
SELECT pg_extension_config_dump('whatsapp.call_events', '');
SELECT pg_extension_config_dump('whatsapp.groups', '');
SELECT pg_extension_config_dump('whatsapp.group_participants', '');
SELECT pg_extension_config_dump('whatsapp.templates', '');
SELECT pg_extension_config_dump('whatsapp.user_preferences', '');
SELECT pg_extension_config_dump('whatsapp.events', '');
SELECT pg_extension_config_dump('whatsapp.webhooks', '');
SELECT pg_extension_config_dump('whatsapp.hooks', '');
SELECT pg_extension_config_dump('whatsapp.outbox', '');
SELECT pg_extension_config_dump('whatsapp.outbox_id_seq', '');
SELECT pg_extension_config_dump('whatsapp.changed_lanes', '');
SELECT pg_extension_config_dump('whatsapp.changed_lanes_change_id_seq', '');
SELECT pg_extension_config_dump('whatsapp.news', '');
SELECT pg_extension_config_dump('whatsapp.news_news_id_seq', '');
SELECT pg_extension_config_dump('whatsapp.attempts', '');
SELECT pg_extension_config_dump('whatsapp.attempts_attempt_id_seq', '');
SELECT pg_extension_config_dump('whatsapp.evidence', '');
SELECT pg_extension_config_dump('whatsapp.error_class_overrides', '');
SELECT pg_extension_config_dump('whatsapp.number_roles', '');
SELECT pg_extension_config_dump('whatsapp.role_levels', '');

SELECT whatsapp.revoke_all(false, true);
SELECT whatsapp.revoke_row_types();

-- there is a sender to be started here
SELECT whatsapp.wake_sender();
