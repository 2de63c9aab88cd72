-- The rows that each webhook in test/webhooks becomes: first its name and what
-- ingest() says of it, then the rows, without what is NULL, and without the
-- element but in events.  What was said of contacts is in events, too, but not
-- listed here, and neither is when that was.
CREATE EXTENSION whatsapp;
\getenv abs_srcdir PG_ABS_SRCDIR
SET timezone = 'UTC';
SELECT whatsapp.set_app_secret('secret');

CREATE FUNCTION pg_temp.rows_of(tables text[]) RETURNS SETOF text
LANGUAGE plpgsql
AS $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY tables LOOP
		RETURN QUERY EXECUTE format(
			$query$
				SELECT l.line FROM (SELECT '  %1$s ' || string_agg(c.key || '=' || c.value, ' ' ORDER BY c.ord) AS line
				FROM (SELECT t.*, row_number() OVER () AS row FROM whatsapp.%1$I t) t,
					json_each_text(row_to_json(t)) WITH ORDINALITY c (key, value, ord)
				WHERE ('%1$s' <> 'correspondents' OR c.key !~ '(wa_id|name|parent_user_id)_at$')
					AND c.key NOT IN ('row', 'event_id', 'webhook_id', 'received_at', 'digest', 'expires_at')
					AND (c.key <> 'element' OR '%1$s' = 'events')
				GROUP BY t.row) l
				WHERE l.line !~ 'field=contacts event=seen'
				ORDER BY l.line COLLATE "C"
			$query$, name);
		EXECUTE format('DELETE FROM whatsapp.%I', name);
	END LOOP;
END $$;

CREATE FUNCTION pg_temp.shape(name text, body bytea) RETURNS SETOF text
LANGUAGE plpgsql
AS $$
BEGIN
	RETURN QUERY
	SELECT format('%s: %s', name, (
		SELECT string_agg(c.key || ' ' || c.value, ', ' ORDER BY c.ord)
		FROM json_each_text(row_to_json(r)) WITH ORDINALITY c (key, value, ord)
		WHERE c.key NOT IN ('ord', 'http_status') AND c.value <> '0'))
	FROM whatsapp.ingest(body, whatsapp.sign(body, 'secret')) r;
	RETURN QUERY
	SELECT * FROM pg_temp.rows_of(ARRAY['correspondents', 'contact_sightings', 'contact_changes', 'messages', 'media', 'reactions', 'statuses', 'call_events',
		'groups', 'group_participants', 'templates', 'user_preferences', 'events', 'webhooks']);
END $$;

\pset format unaligned
\pset tuples_only on
SELECT pg_temp.shape(left(f.name, -5), pg_read_binary_file(:'abs_srcdir' || '/test/webhooks/' || f.name))
FROM pg_ls_dir(:'abs_srcdir' || '/test/webhooks') f (name)
ORDER BY f.name COLLATE "C";

\pset tuples_only off
DROP FUNCTION pg_temp.shape, pg_temp.rows_of;
DROP EXTENSION whatsapp;
