-- The peer of whatsapp.ingest(): the same in PL/pgSQL over jsonb, for
-- bench/ingest.sql.
--
-- It files the same rows into copies of our tables, with their indexes and
-- constraints, and goes by the same rules.  It is written as somebody does who
-- knows what is fast: one pass, no query but for what is filed, elements of
-- arrays by simple expressions, all plans cached, the signature checked by what
-- is built in, with the secret prepared as HMAC wants it.  Kinds of elements
-- that it does not know become events.

-- The secret, as HMAC (RFC 2104) has it in front of both digests
CREATE FUNCTION peer.set_app_secret(secret text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
	inner_pad bytea := secret::bytea || decode(repeat('00', 64 - length(secret)), 'hex');
	outer_pad bytea := inner_pad;
BEGIN
	FOR i IN 0..63 LOOP
		inner_pad := set_byte(inner_pad, i, get_byte(inner_pad, i) # 54);
		outer_pad := set_byte(outer_pad, i, get_byte(outer_pad, i) # 92);
	END LOOP;
	PERFORM set_config('peer.inner_pad', encode(inner_pad, 'hex'), false), set_config('peer.outer_pad', encode(outer_pad, 'hex'), false);
END $$;

CREATE FUNCTION peer.is_farther(new text, new_at timestamptz, old text, old_at timestamptz) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN old IS NULL OR whatsapp.status_rank(new) > whatsapp.status_rank(old)
	OR new = old AND coalesce(new_at, 'infinity') < coalesce(old_at, 'infinity');

CREATE FUNCTION peer.is_newer(new text, new_at timestamptz, old text, old_at timestamptz) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN new IS NOT NULL AND (old IS NULL OR (coalesce(new_at, '-infinity'), new) > (coalesce(old_at, '-infinity'), old));

CREATE PROCEDURE peer.keep_loser(number text, table_name text, element jsonb)
LANGUAGE plpgsql
AS $$
BEGIN
	INSERT INTO peer.events (event_id, phone_number_id, field, event, element)
	VALUES (whatsapp.event_id(number, NULL, element), number, table_name, 'superseded', element)
	ON CONFLICT DO NOTHING;
END $$;

CREATE PROCEDURE peer.file_event(field text, waba_id text, number text, element jsonb)
LANGUAGE plpgsql
AS $$
BEGIN
	INSERT INTO peer.events (event_id, waba_id, phone_number_id, field, element)
	VALUES (whatsapp.event_id(waba_id, NULL, element), waba_id, number, field, element)
	ON CONFLICT DO NOTHING;
END $$;

-- What is told of somebody; of each thing the newest stays.  (It returns
-- something, as what can be assigned takes no query.)
CREATE FUNCTION peer.see(number text, phone text, user_id text, parent_id text, name text, username text, at timestamptz,
	message_at timestamptz, inbound_at timestamptz, referral_at timestamptz, free_until timestamptz) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
	INSERT INTO peer.correspondents AS t (phone_number_id, contact_key, kind, wa_id, wa_id_at, parent_user_id, parent_user_id_at,
		name, name_at, username, username_at, first_seen, last_seen, last_message_at, last_inbound_at, last_referral_at, free_entry_until)
	VALUES (number, coalesce(user_id, phone), CASE WHEN user_id IS NULL THEN 'wa_id' ELSE 'user_id' END,
		phone, CASE WHEN phone IS NOT NULL THEN at END, parent_id, CASE WHEN parent_id IS NOT NULL THEN at END,
		name, CASE WHEN name IS NOT NULL THEN at END, username, CASE WHEN username IS NOT NULL THEN at END,
		at, at, message_at, inbound_at, referral_at, free_until)
	ON CONFLICT (phone_number_id, contact_key) DO UPDATE
	SET wa_id = CASE WHEN peer.is_newer(excluded.wa_id, excluded.wa_id_at, t.wa_id, t.wa_id_at) THEN excluded.wa_id ELSE t.wa_id END,
		wa_id_at = CASE WHEN peer.is_newer(excluded.wa_id, excluded.wa_id_at, t.wa_id, t.wa_id_at) THEN excluded.wa_id_at ELSE t.wa_id_at END,
		parent_user_id = CASE WHEN peer.is_newer(excluded.parent_user_id, excluded.parent_user_id_at, t.parent_user_id, t.parent_user_id_at)
			THEN excluded.parent_user_id ELSE t.parent_user_id END,
		parent_user_id_at = CASE WHEN peer.is_newer(excluded.parent_user_id, excluded.parent_user_id_at, t.parent_user_id, t.parent_user_id_at)
			THEN excluded.parent_user_id_at ELSE t.parent_user_id_at END,
		name = CASE WHEN peer.is_newer(excluded.name, excluded.name_at, t.name, t.name_at) THEN excluded.name ELSE t.name END,
		name_at = CASE WHEN peer.is_newer(excluded.name, excluded.name_at, t.name, t.name_at) THEN excluded.name_at ELSE t.name_at END,
		username = CASE WHEN peer.is_newer(excluded.username, excluded.username_at, t.username, t.username_at) THEN excluded.username ELSE t.username END,
		username_at = CASE WHEN peer.is_newer(excluded.username, excluded.username_at, t.username, t.username_at) THEN excluded.username_at ELSE t.username_at END,
		first_seen = least(t.first_seen, excluded.first_seen),
		last_seen = greatest(t.last_seen, excluded.last_seen),
		last_message_at = greatest(t.last_message_at, excluded.last_message_at),
		last_inbound_at = greatest(t.last_inbound_at, excluded.last_inbound_at),
		last_referral_at = greatest(t.last_referral_at, excluded.last_referral_at),
		free_entry_until = greatest(t.free_entry_until, excluded.free_entry_until);
	IF user_id IS NOT NULL AND phone IS NOT NULL THEN
		INSERT INTO peer.contact_sightings AS t (phone_number_id, contact_key, kind, value, first_seen, last_seen)
		VALUES (number, user_id, 'wa_id', phone, at, at)
		ON CONFLICT (phone_number_id, contact_key, kind, value) DO UPDATE
		SET first_seen = least(t.first_seen, excluded.first_seen), last_seen = greatest(t.last_seen, excluded.last_seen);
	END IF;
	RETURN true;
END $$;

-- A message whose id is taken: content before a placeholder, then what is
-- later, then the greater JSON; the other is kept as an event.  True if it is
-- this one, and there is room for it now.
CREATE FUNCTION peer.takes_message(number text, element jsonb, sent_at timestamptz) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
	old peer.messages;
BEGIN
	SELECT * INTO old FROM peer.messages m WHERE m.phone_number_id = number AND m.message_id = takes_message.element ->> 'id' FOR UPDATE;
	IF old.element = takes_message.element THEN
		RETURN false;
	ELSIF old.outbox_id IS NOT NULL
		OR old.element IS NOT NULL
			AND (NOT whatsapp.is_placeholder(old.element), coalesce(old.sent_at, '-infinity'), old.element)
				> (NOT whatsapp.is_placeholder(takes_message.element), coalesce(takes_message.sent_at, '-infinity'), takes_message.element)
	THEN
		CALL peer.keep_loser(number, 'messages', takes_message.element);
		RETURN false;
	ELSIF old.element IS NOT NULL THEN
		CALL peer.keep_loser(number, 'messages', old.element);
	END IF;
	DELETE FROM peer.messages m WHERE m.phone_number_id = number AND m.message_id = old.message_id;
	RETURN true;
END $$;

CREATE FUNCTION peer.takes_status(number text, element jsonb, participant text, at timestamptz) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
	old peer.statuses;
BEGIN
	SELECT * INTO old
	FROM peer.statuses s
	WHERE s.phone_number_id = number AND s.message_id = takes_status.element ->> 'id' AND s.status = takes_status.element ->> 'status'
		AND s.participant = takes_status.participant
	FOR UPDATE;
	IF old.element = takes_status.element THEN
		RETURN false;
	ELSIF (coalesce(old.at, '-infinity'), old.element) > (coalesce(takes_status.at, '-infinity'), takes_status.element) THEN
		CALL peer.keep_loser(number, 'statuses', takes_status.element);
		RETURN false;
	END IF;
	CALL peer.keep_loser(number, 'statuses', old.element);
	DELETE FROM peer.statuses s
	WHERE s.phone_number_id = number AND s.message_id = old.message_id AND s.status = old.status AND s.participant = old.participant;
	RETURN true;
END $$;

-- Files a webhook, and returns what to answer Meta
CREATE FUNCTION peer.ingest(body bytea, signature text) RETURNS integer
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
DECLARE
	document jsonb;
	entry jsonb;
	change jsonb;
	value jsonb;
	number text;
	contacts jsonb;
	contact jsonb;
	element jsonb;
	kind text;
	content jsonb;
	at timestamptz;
	phone text;
	user_id text;
	member text;
	token text;
	is_seen boolean;
BEGIN
	IF signature IS DISTINCT FROM 'sha256=' || encode(sha256(decode(current_setting('peer.outer_pad'), 'hex')
		|| sha256(decode(current_setting('peer.inner_pad'), 'hex') || body)), 'hex')
	THEN
		RETURN 401;
	END IF;
	document := convert_from(body, 'UTF8')::jsonb;

	FOR e IN 0 .. coalesce(jsonb_array_length(document -> 'entry'), 0) - 1 LOOP
		entry := document -> 'entry' -> e;
		FOR c IN 0 .. coalesce(jsonb_array_length(entry -> 'changes'), 0) - 1 LOOP
			change := entry -> 'changes' -> c;
			value := change -> 'value';
			number := coalesce(value -> 'metadata' ->> 'phone_number_id', '');
			contacts := coalesce(value -> 'contacts', '[]');

			IF NOT value ?| '{messages,statuses}' THEN
				CALL peer.file_event(change ->> 'field', entry ->> 'id', number, change);
			END IF;

			FOR i IN 0 .. jsonb_array_length(contacts) - 1 LOOP
				contact := contacts -> i;
				INSERT INTO peer.events (event_id, phone_number_id, field, event, element)
				VALUES (sha256(convert_to(number || '  ' || contact::text, 'UTF8')), number, 'contacts', 'seen', contact)
				ON CONFLICT DO NOTHING;
			END LOOP;

			FOR i IN 0 .. coalesce(jsonb_array_length(value -> 'messages'), 0) - 1 LOOP
				element := value -> 'messages' -> i;
				kind := element ->> 'type';
				content := element -> kind;
				at := to_timestamp((element ->> 'timestamp')::bigint);
				phone := element ->> 'from';
				user_id := element ->> 'from_user_id';
				LOOP
					INSERT INTO peer.messages AS t (phone_number_id, message_id, direction, type, body, wa_id, user_id, parent_user_id, group_id,
						context_id, forwarded, target_id, reply_id, payload, response, referral, ctwa_clid, media_id, error_code, sent_at, element)
					VALUES (number, element ->> 'id', 'inbound', kind,
						coalesce(content ->> 'body', content ->> 'caption', content ->> 'filename', content ->> 'text',
							content -> 'button_reply' ->> 'title', content -> 'list_reply' ->> 'title', content -> 'nfm_reply' ->> 'body',
							content ->> 'emoji', content ->> 'name', content ->> 'address', content -> 0 -> 'name' ->> 'formatted_name'),
						phone, user_id, element ->> 'from_parent_user_id', element ->> 'group_id',
						element -> 'context' ->> 'id', coalesce((element -> 'context' ->> 'forwarded')::boolean, (element -> 'context' ->> 'frequently_forwarded')::boolean),
						coalesce(content ->> 'message_id', content ->> 'original_message_id'),
						coalesce(content -> 'button_reply' ->> 'id', content -> 'list_reply' ->> 'id'),
						content ->> 'payload', (content -> 'nfm_reply' ->> 'response_json')::jsonb,
						element -> 'referral', element -> 'referral' ->> 'ctwa_clid', content ->> 'id',
						(element -> 'errors' -> 0 ->> 'code')::integer, at, element)
					ON CONFLICT (phone_number_id, message_id) DO UPDATE SET element = t.element WHERE false;
					EXIT WHEN FOUND OR NOT peer.takes_message(number, element, at);
				END LOOP;
				IF kind IN ('image', 'video', 'audio', 'document', 'sticker') THEN
					INSERT INTO peer.media AS t (phone_number_id, media_id, message_id, kind, mime_type, sha256, filename, caption, voice, animated, url, at)
					VALUES (number, content ->> 'id', element ->> 'id', kind, content ->> 'mime_type', content ->> 'sha256', content ->> 'filename',
						content ->> 'caption', (content ->> 'voice')::boolean, (content ->> 'animated')::boolean, content ->> 'url', at)
					ON CONFLICT (phone_number_id, media_id) DO UPDATE
					SET message_id = excluded.message_id, kind = excluded.kind, mime_type = excluded.mime_type, sha256 = excluded.sha256,
						filename = excluded.filename, caption = excluded.caption, voice = excluded.voice, animated = excluded.animated,
						url = excluded.url, at = excluded.at
					WHERE (excluded.at, excluded.url, excluded.message_id) > (t.at, t.url, t.message_id);
				END IF;

				contact := NULL;
				FOR k IN 0 .. jsonb_array_length(contacts) - 1 LOOP
					IF contacts -> k ->> 'wa_id' = phone OR contacts -> k ->> 'user_id' = user_id THEN
						contact := contacts -> k;
						EXIT;
					END IF;
				END LOOP;
				is_seen := peer.see(number, phone, user_id, element ->> 'from_parent_user_id', contact -> 'profile' ->> 'name', contact -> 'profile' ->> 'username',
					at, CASE WHEN NOT element ? 'group_id' AND NOT whatsapp.is_note(kind) THEN at END,
					CASE WHEN NOT element ? 'group_id' AND kind <> 'system' THEN at END,
					CASE WHEN element ? 'referral' THEN at END, NULL);
			END LOOP;

			FOR i IN 0 .. coalesce(jsonb_array_length(value -> 'statuses'), 0) - 1 LOOP
				element := value -> 'statuses' -> i;
				at := to_timestamp((element ->> 'timestamp')::bigint);
				phone := element ->> 'recipient_id';
				user_id := element ->> 'recipient_user_id';
				token := element ->> 'biz_opaque_callback_data';
				member := coalesce(element ->> 'recipient_participant_user_id', element ->> 'recipient_participant_id', '');
				LOOP
					INSERT INTO peer.statuses AS t (phone_number_id, message_id, status, participant, at, wa_id, user_id, parent_user_id,
						conversation, pricing, errors, error_code, callback_data, element)
					VALUES (number, element ->> 'id', element ->> 'status', member, at, phone, user_id, element ->> 'recipient_parent_user_id',
						element -> 'conversation', element -> 'pricing', element -> 'errors', (element -> 'errors' -> 0 ->> 'code')::integer,
						CASE WHEN starts_with(token, 'wa1.') THEN substring(token FROM '^wa1\.[0-9]+\.[0-9]+\.[0-9a-f]+\.(.*)$') ELSE token END, element)
					ON CONFLICT (phone_number_id, message_id, status, participant) DO UPDATE SET element = t.element WHERE false;
					EXIT WHEN FOUND OR NOT peer.takes_status(number, element, member, at);
				END LOOP;
				INSERT INTO peer.messages AS t (phone_number_id, message_id, direction, wa_id, user_id, group_id, status, status_at, error_code)
				VALUES (number, element ->> 'id', 'outbound', CASE WHEN element ->> 'recipient_type' IS DISTINCT FROM 'group' THEN phone END, user_id,
					CASE WHEN element ->> 'recipient_type' = 'group' THEN phone END, element ->> 'status', at, (element -> 'errors' -> 0 ->> 'code')::integer)
				ON CONFLICT (phone_number_id, message_id) DO UPDATE
				SET status = excluded.status, status_at = excluded.status_at, error_code = excluded.error_code
				WHERE peer.is_farther(excluded.status, excluded.status_at, t.status, t.status_at);

				-- what the outbox does not know yet
				IF starts_with(token, 'wa1.') AND EXISTS (
					SELECT FROM peer.outbox o
					WHERE o.id = split_part(token, '.', 2)::bigint AND o.phone_number_id = number
						AND (o.state <> 'sent' OR o.message_id IS NULL OR element ->> 'status' = 'failed'))
				THEN
					INSERT INTO peer.evidence (phone_number_id, message_id, status, outbox_id, nonce, wa_id)
					VALUES (number, element ->> 'id', element ->> 'status', split_part(token, '.', 2)::bigint, split_part(token, '.', 4), phone)
					ON CONFLICT DO NOTHING;
				END IF;
				is_seen := peer.see(number, phone, user_id, element ->> 'recipient_parent_user_id', NULL, NULL, at, NULL, NULL, NULL,
					CASE WHEN element -> 'conversation' -> 'origin' ->> 'type' = 'referral_conversion'
						THEN to_timestamp((element -> 'conversation' ->> 'expiration_timestamp')::bigint) END);
			END LOOP;
		END LOOP;
	END LOOP;
	RETURN 200;
END $$;
