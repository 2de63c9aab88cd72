-- How many pages it takes to see the newest conversations, and the last messages
-- of one: the same, however much there is.  What is counted are pages, and no
-- time.
--
-- With ten million messages (it takes a quarter of an hour, and 12 GB):
--
--	createdb pages; psql -d pages -v people=100000 -f sql/pages.sql; dropdb pages
CREATE EXTENSION whatsapp;
SET timezone = 'UTC';
SET jit = off;
\if :{?people}
\else
	\set people 200
\endif

-- so many people of number 1 more, with ten messages each: they write by their
-- BSUIDs, and are answered by their phone numbers; of every tenth, the last is
-- not answered
CREATE PROCEDURE live(npeople bigint) LANGUAGE plpgsql AS $$
DECLARE
	first bigint := (SELECT count(*) FROM whatsapp.correspondents WHERE kind = 'user_id');
BEGIN
	CREATE TEMP TABLE person AS
	SELECT 'US.' || i AS user_id, (15550000000 + i)::text AS wa_id, i % 10 = 0 AS waits,
		'2026-01-01'::timestamptz + i * interval '1 second' AS at
	FROM generate_series(first + 1, first + npeople) i;
	INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, body, wa_id, user_id, sent_at, element)
	SELECT '1', format('wamid.%s.%s', p.user_id, j), CASE WHEN j % 2 = 0 THEN 'inbound' ELSE 'outbound' END, 'text', 'words',
		p.wa_id, CASE WHEN j % 2 = 0 THEN p.user_id END, p.at - (10 - j) * interval '1 hour' - CASE WHEN waits THEN interval '30 minutes' ELSE '0' END, '{}'
	FROM person p, generate_series(1, 10) j
	WHERE j < 10 OR NOT p.waits;
	INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, body, wa_id, user_id, sent_at, element)
	SELECT '1', format('wamid.%s.10', p.user_id), 'inbound', 'text', 'words', p.wa_id, p.user_id, p.at, '{}'
	FROM person p
	WHERE p.waits;
	INSERT INTO whatsapp.correspondents (phone_number_id, contact_key, kind, wa_id, name, name_at, first_seen, last_seen, last_message_at, last_inbound_at)
	SELECT '1', p.user_id, 'user_id', p.wa_id, 'Name', p.at, p.at - interval '1 day', p.at, m.at, m.at
	FROM person p, LATERAL (SELECT max(m.sent_at) AS at FROM whatsapp.messages m WHERE m.user_id = p.user_id AND m.wa_id = p.wa_id) m;
	INSERT INTO whatsapp.correspondents (phone_number_id, contact_key, kind, wa_id, first_seen, last_seen, last_message_at, last_outbound_at)
	SELECT '1', p.wa_id, 'wa_id', p.wa_id, p.at - interval '1 day', p.at, m.at, m.at
	FROM person p, LATERAL (SELECT max(m.sent_at) AS at FROM whatsapp.messages m WHERE m.user_id IS NULL AND m.wa_id = p.wa_id) m;
	INSERT INTO whatsapp.contact_sightings (phone_number_id, contact_key, kind, value, first_seen, last_seen)
	SELECT '1', p.user_id, 'wa_id', p.wa_id, p.at - interval '1 day', p.at
	FROM person p;
	DROP TABLE person;
END $$;

-- somebody who writes and writes, and is not answered
CREATE PROCEDURE write(whose text, nmessages bigint) LANGUAGE sql AS $$
	INSERT INTO whatsapp.messages (phone_number_id, message_id, direction, type, body, user_id, sent_at, element)
	SELECT '1', format('wamid.%s.%s', whose, i), 'inbound', 'text', 'more words', whose, '2026-02-01'::timestamptz + i * interval '1 second', '{}'
	FROM generate_series(1, nmessages) i;
	INSERT INTO whatsapp.correspondents (phone_number_id, contact_key, kind, first_seen, last_seen, last_message_at, last_inbound_at)
	SELECT '1', whose, 'user_id', m.first, m.last, m.last, m.last
	FROM (SELECT min(sent_at) AS first, max(sent_at) AS last FROM whatsapp.messages WHERE user_id = whose) m
$$;

CREATE FUNCTION pages(query text, OUT nrows bigint, OUT npages bigint) LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	-- once to have all plans, and once to count
	EXECUTE query;
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
	-- (since PostgreSQL 18 with a fraction)
	nrows := (plan #>> '{0,Plan,Actual Rows}')::numeric;
	npages := (plan #>> '{0,Plan,Shared Hit Blocks}')::bigint + (plan #>> '{0,Plan,Shared Read Blocks}')::bigint;
END $$;
CREATE TABLE count (what text, size text, nrows bigint, npages bigint);
CREATE PROCEDURE count_pages(size text) LANGUAGE sql AS $$
	INSERT INTO count
	SELECT q.what, size, p.*
	FROM (VALUES
		('newest', $q$SELECT * FROM whatsapp.conversations WHERE phone_number_id = '1' ORDER BY last_message_at DESC LIMIT 50$q$),
		('thread', $q$SELECT * FROM whatsapp.conversation('1', 'US.7', 50)$q$),
		('thread by phone', $q$SELECT * FROM whatsapp.conversation('1', '+1 555 0000007', 50)$q$),
		('long thread', $q$SELECT * FROM whatsapp.conversation('1', 'US.0', 50)$q$),
		('page of it', $q$SELECT * FROM whatsapp.conversation('1', 'US.0', 50, '2026-02-01 00:10')$q$),
		('contact', $q$SELECT * FROM whatsapp.contacts WHERE phone_number_id = '1' AND contact_key = 'US.7'$q$),
		('by phone', $q$SELECT * FROM whatsapp.contacts WHERE wa_id = '15550000007'$q$),
		('can send', $q$SELECT * FROM whatsapp.can_send('US.7', '1')$q$)
	) q (what, query), pages(q.query) p
$$;

CALL live(:people);
CALL write('US.0', :people);
VACUUM (ANALYZE) whatsapp.messages, whatsapp.correspondents, whatsapp.contact_sightings;
CALL count_pages('small');
CALL live(9 * :people);
DELETE FROM whatsapp.messages WHERE user_id = 'US.0';
DELETE FROM whatsapp.correspondents WHERE contact_key = 'US.0';
CALL write('US.0', 10 * :people);
VACUUM (ANALYZE) whatsapp.messages, whatsapp.correspondents, whatsapp.contact_sightings;
CALL count_pages('large');

\if :{?verbose}
	SELECT * FROM count ORDER BY what, npages;
\endif
-- (a tree may have another level, and a few pages more than it needs)
SELECT what, l.nrows, l.npages < 2 * s.npages + 50 AS bounded, l.npages < CASE WHEN what = 'newest' THEN 15000 ELSE 1500 END AS few
FROM count s
JOIN count l USING (what)
WHERE s.size = 'small' AND l.size = 'large'
ORDER BY what;

DROP PROCEDURE live, write, count_pages;
DROP FUNCTION pages;
DROP TABLE count;
DROP EXTENSION whatsapp;
