-- What whatsapp.webhook_paths() says, as a part of docs/webhooks.md:
--
--	psql -AtX -f test/webhooks_doc.sql
--
-- An element is an object that makes a row, and is kept in its column
-- "element".  Tables without that column have rows from elements of others.
-- Elements in which a column is found at the same places are listed together,
-- and so are places that differ in nothing but the kind of medium.
WITH place AS (
	SELECT p.*
	FROM whatsapp.webhook_paths() WITH ORDINALITY p (table_name, column_name, path, type, ord)
), element AS (
	SELECT DISTINCT p.table_name, p.path
	FROM place p
	WHERE p.column_name = 'element' AND p.path LIKE 'entry.changes.value.%'
), located AS (
	SELECT p.table_name, p.column_name, p.type, p.ord, e.path AS element,
		CASE
			WHEN e.path IS NOT NULL THEN substr(p.path, length(e.path) + 1)
			WHEN p.path LIKE 'entry.changes.value.%' THEN substr(p.path, length('entry.changes.value.') + 1)
			ELSE '/' || p.path
		END AS path
	FROM place p
	LEFT JOIN LATERAL (
		SELECT e.path
		FROM element e
		WHERE (p.path = e.path OR starts_with(p.path, e.path || '.'))
			AND (e.table_name = p.table_name
				OR NOT EXISTS (SELECT FROM element o WHERE o.table_name = p.table_name))
		ORDER BY length(e.path) DESC
		LIMIT 1
	) e ON true
), distinct_place AS (
	SELECT l.table_name, l.column_name, l.element, l.path, min(l.ord) AS ord,
		regexp_replace(l.path, '\.(image|video|audio|document|sticker|voice)\.', '.*.') AS pattern
	FROM located l
	GROUP BY l.table_name, l.column_name, l.element, l.path
), short_place AS (
	SELECT d.table_name, d.column_name, d.element, min(d.ord) AS ord,
		CASE count(*) WHEN 6 THEN ARRAY[d.pattern] ELSE array_agg(d.path ORDER BY d.ord) END AS paths
	FROM distinct_place d
	GROUP BY d.table_name, d.column_name, d.element, d.pattern
), by_element AS (
	SELECT s.table_name, s.column_name, substr(s.element, length('entry.changes.value.') + 1) AS element,
		string_agg(nullif('`' || p.path || '`', '``'), ', ' ORDER BY s.ord, p.ord) AS places, min(s.ord) AS ord
	FROM short_place s
	CROSS JOIN LATERAL unnest(s.paths) WITH ORDINALITY p (path, ord)
	GROUP BY s.table_name, s.column_name, s.element
), by_places AS (
	SELECT b.table_name, b.column_name, b.places, count(b.element) AS nelements,
		string_agg('`' || b.element || '`', ', ' ORDER BY b.ord) AS elements, min(b.ord) AS ord
	FROM by_element b
	GROUP BY b.table_name, b.column_name, b.places, b.element IS NULL
), webhook_table AS (
	SELECT b.table_name, min(b.ord) AS ord, count(DISTINCT b.element) AS nelements,
		(SELECT string_agg('`' || o.element || '`', ', ' ORDER BY o.ord)
		FROM (SELECT i.element, min(i.ord) AS ord
			FROM by_element i
			WHERE i.table_name = b.table_name AND i.element IS NOT NULL
			GROUP BY i.element) o) AS elements
	FROM by_element b
	GROUP BY b.table_name
), webhook_column AS (
	SELECT b.table_name, b.column_name, min(b.ord) AS ord,
		(SELECT string_agg(t.type, ', ' ORDER BY t.ord)
		FROM (SELECT l.type, min(l.ord) AS ord
			FROM located l
			WHERE l.table_name = b.table_name AND l.column_name = b.column_name
			GROUP BY l.type) t) AS types,
		string_agg(concat_ws(': ', CASE WHEN b.nelements < t.nelements OR b.places IS NULL THEN b.elements END, b.places),
			'<br>' ORDER BY b.ord) AS places
	FROM by_places b
	JOIN webhook_table t USING (table_name)
	GROUP BY b.table_name, b.column_name
), stored_column AS (
	SELECT t.table_name, a.attname AS column_name, a.attnum
	FROM webhook_table t
	JOIN pg_attribute a ON a.attrelid = format('whatsapp.%I', t.table_name)::regclass
		AND a.attnum > 0 AND NOT a.attisdropped
), line AS (
	SELECT 0 AS table_ord, 0 AS part, 0 AS ord, v.line
	FROM (VALUES ('<!-- psql -AtX -f test/webhooks_doc.sql -->')) v (line)
	UNION ALL
	SELECT t.ord, 0, 0, format(E'\n### %s\n', t.table_name)
		|| coalesce(E'\nElements: ' || t.elements || E'.\n', '')
		|| E'\n| column | type | places |\n|---|---|---|'
	FROM webhook_table t
	UNION ALL
	SELECT t.ord, 1, coalesce(s.attnum, 10000 + c.ord), format('| %s | %s | %s |',
		CASE WHEN s.attnum IS NOT NULL THEN format('`%s`', c.column_name) ELSE format('(%s)', c.column_name) END,
		c.types, c.places)
	FROM webhook_column c
	JOIN webhook_table t USING (table_name)
	LEFT JOIN stored_column s USING (table_name, column_name)
	UNION ALL
	SELECT t.ord, 2, 0, format(E'\nFrom no place of a webhook: %s.',
		string_agg(format('`%s`', s.column_name), ', ' ORDER BY s.attnum))
	FROM stored_column s
	JOIN webhook_table t USING (table_name)
	WHERE NOT EXISTS (SELECT FROM webhook_column c
		WHERE c.table_name = s.table_name AND c.column_name = s.column_name)
	GROUP BY t.ord
)
SELECT l.line
FROM line l
ORDER BY l.table_ord, l.part, l.ord;
