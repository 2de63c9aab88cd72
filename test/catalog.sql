-- All that the extension is made of, a line for each thing there is to tell of
-- it:
--
--	psql -AtqX -f test/catalog.sql
--
-- It has names and definitions, but no OIDs, and a fixed order.  Two databases
-- whose lists are alike have the same extension, whether it was created, updated
-- or carried over.  Rows of tables are not in it, nor where sequences stand.
-- Where nothing was ever granted, privileges are those by default.
--
-- Columns have their places, as hooks get whole rows: an update can only append
-- columns, so the newer version has to have them last, too.
SET search_path = pg_catalog;

WITH extension AS (
	SELECT * FROM pg_extension WHERE extname = 'whatsapp'
), member AS (
	SELECT d.classid, d.objid
	FROM pg_depend d
	JOIN extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
	WHERE d.deptype = 'e'
), relation AS (
	SELECT c.*
	FROM pg_class c
	WHERE EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
		-- composite types are members as types
		OR EXISTS (
			SELECT FROM member m
			JOIN pg_type t ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
			WHERE t.typrelid = c.oid)
), index AS (
	SELECT i.*
	FROM pg_index i
	JOIN relation r ON r.oid = i.indrelid
), fact (classid, objid, objsubid, what, value) AS (
	SELECT 'pg_extension'::regclass::oid, e.oid, 0, f.what, f.value
	FROM extension e
	CROSS JOIN LATERAL (VALUES
		('version', e.extversion),
		('owner', e.extowner::regrole::text),
		('schema', e.extnamespace::regnamespace::text),
		('relocatable', e.extrelocatable::text)) f (what, value)

	-- whatever there is, known below or not
	UNION ALL
	SELECT m.classid, m.objid, 0, 'member', NULL
	FROM member m

	UNION ALL
	SELECT 'pg_class'::regclass, t.oid, 0, 'dumped', t.condition
	FROM extension e
	CROSS JOIN LATERAL unnest(e.extconfig, e.extcondition) t (oid, condition)

	UNION ALL
	SELECT 'pg_namespace'::regclass, n.oid, 0, f.what, f.value
	FROM pg_namespace n
	JOIN member m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
	CROSS JOIN LATERAL (
		VALUES ('owner', n.nspowner::regrole::text)
		UNION ALL
		SELECT 'privilege', a::text
		FROM unnest(coalesce(n.nspacl, acldefault('n', n.nspowner))) a) f (what, value)

	UNION ALL
	SELECT 'pg_class'::regclass, r.oid, 0, f.what, f.value
	FROM relation r
	CROSS JOIN LATERAL (
		VALUES
			('owner', r.relowner::regrole::text),
			('kind', format('%s %s', r.relkind, r.relpersistence)),
			('access method', (SELECT amname FROM pg_am WHERE oid = r.relam)),
			('row security', format('%s %s', r.relrowsecurity, r.relforcerowsecurity)),
			('replica identity', r.relreplident::text),
			('options', array_to_string(r.reloptions, ', ')),
			('TOAST options', (SELECT array_to_string(t.reloptions, ', ') FROM pg_class t WHERE t.oid = r.reltoastrelid)),
			('query', CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) END)
		UNION ALL
		SELECT 'privilege', a::text
		FROM unnest(coalesce(r.relacl, acldefault(CASE r.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, r.relowner))) a
		WHERE r.relkind <> 'c'
		UNION ALL
		SELECT 'inherits', i.inhparent::regclass::text
		FROM pg_inherits i
		WHERE i.inhrelid = r.oid
		UNION ALL
		SELECT 'sequence', format('%s from %s by %s, %s to %s, cache %s, cycle %s',
			format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
		FROM pg_sequence s
		WHERE s.seqrelid = r.oid
		UNION ALL
		SELECT 'belongs to', format('%s %s', d.deptype, pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid))
		FROM pg_depend d
		WHERE r.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = r.oid
			AND d.refclassid = 'pg_class'::regclass) f (what, value)

	-- of columns, also those of indexes
	UNION ALL
	SELECT 'pg_class'::regclass, a.attrelid, a.attnum, f.what, f.value
	FROM pg_attribute a
	CROSS JOIN LATERAL (
		VALUES
			('place', (
				SELECT count(*)::text
				FROM pg_attribute b
				WHERE b.attrelid = a.attrelid AND b.attnum BETWEEN 1 AND a.attnum AND NOT b.attisdropped)),
			('type', format_type(a.atttypid, a.atttypmod)),
			('not null', a.attnotnull::text),
			('default', (
				SELECT pg_get_expr(d.adbin, d.adrelid)
				FROM pg_attrdef d
				WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum)),
			('generated', nullif(a.attgenerated, '')::text),
			('identity', nullif(a.attidentity, '')::text),
			('collation', nullif(a.attcollation, 0)::regcollation::text),
			-- "by default" is -1 up to version 16
			('statistics', nullif(a.attstattarget, -1)::text),
			('storage', concat_ws(' ', a.attstorage, nullif(a.attcompression, ''))),
			('options', (
				SELECT string_agg(o, ', ' ORDER BY o)
				FROM unnest(a.attoptions) o
				-- minor releases note there when a column was last changed
				WHERE o NOT LIKE 'pg_attver=%'))
		UNION ALL
		SELECT 'privilege', p::text
		FROM unnest(a.attacl) p) f (what, value)
	WHERE a.attnum > 0 AND NOT a.attisdropped
		AND a.attrelid IN (SELECT oid FROM relation UNION ALL SELECT indexrelid FROM index)

	UNION ALL
	SELECT 'pg_class'::regclass, i.indexrelid, 0, f.what, f.value
	FROM index i
	CROSS JOIN LATERAL (VALUES
		('definition', pg_get_indexdef(i.indexrelid)),
		('valid', format('%s %s', i.indisvalid, i.indisready)),
		('used', format('replica identity %s, clustered %s', i.indisreplident, i.indisclustered))) f (what, value)

	UNION ALL
	SELECT 'pg_constraint'::regclass, c.oid, 0, f.what, f.value
	FROM pg_constraint c
	CROSS JOIN LATERAL (VALUES
		('definition', pg_get_constraintdef(c.oid)),
		('inheritance', format('%s %s %s', c.conislocal, c.coninhcount, c.connoinherit))) f (what, value)
	WHERE c.conrelid IN (SELECT oid FROM relation)
		OR c.contypid IN (SELECT objid FROM member WHERE classid = 'pg_type'::regclass)

	UNION ALL
	SELECT 'pg_trigger'::regclass, t.oid, 0, f.what, f.value
	FROM pg_trigger t
	JOIN relation r ON r.oid = t.tgrelid
	CROSS JOIN LATERAL (VALUES
		('definition', pg_get_triggerdef(t.oid)),
		('enabled', t.tgenabled::text)) f (what, value)
	WHERE NOT t.tgisinternal

	UNION ALL
	SELECT 'pg_policy'::regclass, p.oid, 0, f.what, f.value
	FROM pg_policy p
	JOIN relation r ON r.oid = p.polrelid
	CROSS JOIN LATERAL (VALUES
		('command', format('%s %s', p.polcmd, CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END)),
		('roles', (SELECT string_agg(coalesce(nullif(role, 0)::regrole::text, 'PUBLIC'), ', ' ORDER BY role::regrole::text) FROM unnest(p.polroles) role)),
		('using', pg_get_expr(p.polqual, p.polrelid)),
		('check', pg_get_expr(p.polwithcheck, p.polrelid))) f (what, value)

	UNION ALL
	SELECT 'pg_rewrite'::regclass, w.oid, 0, f.what, f.value
	FROM pg_rewrite w
	JOIN relation r ON r.oid = w.ev_class
	CROSS JOIN LATERAL (VALUES
		('definition', pg_get_ruledef(w.oid)),
		('enabled', w.ev_enabled::text)) f (what, value)
	WHERE w.rulename <> '_RETURN'

	UNION ALL
	SELECT 'pg_statistic_ext'::regclass, s.oid, 0, f.what, f.value
	FROM pg_statistic_ext s
	CROSS JOIN LATERAL (VALUES
		('owner', s.stxowner::regrole::text),
		('definition', pg_get_statisticsobjdef(s.oid)),
		('statistics', nullif(s.stxstattarget, -1)::text)) f (what, value)
	WHERE s.stxrelid IN (SELECT oid FROM relation)

	UNION ALL
	SELECT 'pg_proc'::regclass, p.oid, 0, f.what, f.value
	FROM pg_proc p
	JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	CROSS JOIN LATERAL (
		VALUES
			('owner', p.proowner::regrole::text),
			('definition', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END),
			('aggregate', (
				SELECT format('%s %s %s %s', a.aggtransfn, a.aggfinalfn, format_type(a.aggtranstype, NULL), a.agginitval)
				FROM pg_aggregate a
				WHERE a.aggfnoid = p.oid))
		UNION ALL
		SELECT 'privilege', a::text
		FROM unnest(coalesce(p.proacl, acldefault('f', p.proowner))) a) f (what, value)

	UNION ALL
	SELECT 'pg_type'::regclass, t.oid, 0, f.what, f.value
	FROM pg_type t
	JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
	CROSS JOIN LATERAL (
		VALUES
			('owner', t.typowner::regrole::text),
			('kind', format('%s %s', t.typtype, t.typcategory)),
			('base', CASE WHEN t.typbasetype <> 0 THEN format_type(t.typbasetype, t.typtypmod) END),
			('not null', t.typnotnull::text),
			('default', t.typdefault),
			('range of', (SELECT format_type(g.rngsubtype, NULL) FROM pg_range g WHERE g.rngtypid = t.oid))
		UNION ALL
		SELECT 'label ' || row_number() OVER (ORDER BY e.enumsortorder), e.enumlabel::text
		FROM pg_enum e
		WHERE e.enumtypid = t.oid
		UNION ALL
		SELECT 'privilege', a::text
		FROM unnest(coalesce(t.typacl, acldefault('T', t.typowner))) a
		-- arrays have none of their own
		WHERE t.typcategory <> 'A') f (what, value)
), every AS (
	SELECT * FROM fact

	UNION ALL
	SELECT d.classoid, d.objoid, d.objsubid, 'comment', d.description
	FROM pg_description d
	WHERE EXISTS (SELECT FROM fact f WHERE f.classid = d.classoid AND f.objid = d.objoid AND f.objsubid = d.objsubid)

	-- what a dump holds privileges against, to tell which were granted since
	UNION ALL
	SELECT p.classoid, p.objoid, p.objsubid, 'privilege at first', a::text
	FROM pg_init_privs p
	CROSS JOIN LATERAL unnest(p.initprivs) a
	WHERE p.privtype = 'e'
		AND EXISTS (SELECT FROM fact f WHERE f.classid = p.classoid AND f.objid = p.objoid AND f.objsubid = p.objsubid)
)
SELECT concat_ws(' | ', o.type || ' ' || o.identity, e.what, replace(replace(e.value, '\', '\\'), E'\n', '\n')) COLLATE "C" AS line
FROM every e
CROSS JOIN LATERAL pg_identify_object(e.classid, e.objid, e.objsubid) o
WHERE e.value IS NOT NULL OR e.what = 'member'
ORDER BY 1;
