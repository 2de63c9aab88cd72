/*-------------------------------------------------------------------------
 *
 * store.c
 *	  Put the rows that shred.c made into their tables.
 *
 * The INSERT for a table is written from the same WaTable that says how its
 * rows are made, and is planned once in the life of a backend.  There are two
 * of it: one for a single row, as most webhooks have, and one for any number
 * of rows, which come as arrays.
 *
 * Of several rows with one key only the best is taken, so that no row of a
 * table is touched twice.  Keys go in order, so that two backends that store
 * the same rows wait for, and do not deadlock, each other.
 *
 * In some tables a row has its object, as JSON, in a column "element", and two
 * objects may claim one key.  Then too the best is taken, whichever came
 * first, and the other is kept in whatsapp.events.  That takes a query more,
 * but only if a row could not simply be inserted.
 *
 * The caller has called wa_connect().
 *
 * IDENTIFICATION
 *	  src/store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"

#include "whatsapp.h"

/* The queries for a table; their sql is NULL until needed */
typedef struct StoreTable
{
	WaQuery		insert_one;
	WaQuery		insert_many;
	WaQuery		settle_one;
	WaQuery		settle_many;
} StoreTable;

struct WaStore
{
	MemoryContext context;		/* that the queries live in */
	const WaTable *tables;
	int			ntables;
	StoreTable	queries[FLEXIBLE_ARRAY_MEMBER];
};

/*
 * What each WaType is, to SQL; in the order of the enum.
 */
static const struct
{
	const char *name;
	Oid			type;
	Oid			array_type;
	int16		len;
	bool		by_value;
	char		align;
}			sql_types[] =

{
	[WA_TEXT] = {"text", TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[WA_INT] = {"int4", INT4OID, INT4ARRAYOID, 4, true, TYPALIGN_INT},
	[WA_TIME] = {"timestamptz", TIMESTAMPTZOID, TIMESTAMPTZARRAYOID, 8,
	FLOAT8PASSBYVAL, TYPALIGN_DOUBLE},
	[WA_JSON] = {"jsonb", JSONBOID, JSONBARRAYOID, -1, false, TYPALIGN_INT},
};

static void store_one(WaStore *store, int t, const WaRows *rows,
					  uint64 *nstored);
static void store_many(WaStore *store, int t, const WaRows *rows,
					   uint64 *nstored);
static void store_with(WaStore *store, int t, bool one, int nrows,
					   Datum *values, const char *nulls, uint64 *nstored);
static void prepare_query(WaStore *store, const WaTable *table, bool one,
						  WaQuery *query,
						  char *(*write) (const WaTable *table, bool one));
static Datum column_array(const WaTable *table, const WaRows *rows, int i);
static char *write_insert(const WaTable *table, bool one);
static char *write_settle(const WaTable *table, bool one);
static void append_columns(StringInfo sql, const WaTable *table,
						   const char *prefix);
static void append_key(StringInfo sql, const WaTable *table,
					   const char *prefix);
static void append_source(StringInfo sql, const WaTable *table, bool one);
static bool is_listed_before(const WaTable *table, int i);

/*
 * Make a store for a number of tables, in the current memory context.
 */
WaStore *
wa_store_create(const WaTable *tables, int ntables)
{
	WaStore    *store = palloc0(offsetof(WaStore, queries) +
								sizeof(StoreTable) * ntables);

	store->context = CurrentMemoryContext;
	store->tables = tables;
	store->ntables = ntables;
	return store;
}

/*
 * Put the rows of all tables where they belong, and set nstored[] to how many
 * of each were new, or changed something.
 */
void
wa_store_rows(WaStore *store, const WaRows *rows, uint64 *nstored)
{
	for (int t = 0; t < store->ntables; t++)
	{
		nstored[t] = 0;
		if (rows[t].nrows == 0)
			continue;
		if (rows[t].nrows == 1)
			store_one(store, t, &rows[t], &nstored[t]);
		else
			store_many(store, t, &rows[t], &nstored[t]);
	}
}

static void
store_one(WaStore *store, int t, const WaRows *rows, uint64 *nstored)
{
	char		nulls[WA_MAX_PARAMS];

	for (int i = 0; i < store->tables[t].ncolumns; i++)
		nulls[i] = rows->nulls[i] ? 'n' : ' ';
	store_with(store, t, true, 1, rows->values, nulls, nstored);
}

static void
store_many(WaStore *store, int t, const WaRows *rows, uint64 *nstored)
{
	const WaTable *table = &store->tables[t];
	Datum		arrays[WA_MAX_PARAMS];

	for (int i = 0; i < table->ncolumns; i++)
		arrays[i] = column_array(table, rows, i);
	store_with(store, t, false, rows->nrows, arrays, NULL, nstored);
}

/*
 * Store what is given as parameters: insert it, and settle what could not be.
 */
static void
store_with(WaStore *store, int t, bool one, int nrows, Datum *values,
		   const char *nulls, uint64 *nstored)
{
	const WaTable *table = &store->tables[t];
	StoreTable *queries = &store->queries[t];
	WaQuery    *insert = one ? &queries->insert_one : &queries->insert_many;
	WaQuery    *settle = one ? &queries->settle_one : &queries->settle_many;

	prepare_query(store, table, one, insert, write_insert);
	wa_execute(insert, values, nulls);
	*nstored = SPI_processed;
	if (*nstored < nrows && table->keeps_losers)
	{
		prepare_query(store, table, one, settle, write_settle);
		wa_execute(settle, values, nulls);
		*nstored += SPI_processed;
	}
}

/*
 * Write a query, if it is needed for the first time.
 */
static void
prepare_query(WaStore *store, const WaTable *table, bool one, WaQuery *query,
			  char *(*write) (const WaTable *table, bool one))
{
	MemoryContext oldcontext;

	if (query->sql != NULL)
		return;
	if (table->ncolumns > WA_MAX_PARAMS)
		elog(ERROR, "too many columns for table %s", table->name);

	query->nargs = table->ncolumns;
	for (int i = 0; i < table->ncolumns; i++)
	{
		WaType		type = table->columns[i].type;

		query->types[i] = one ? sql_types[type].type :
			sql_types[type].array_type;
	}

	oldcontext = MemoryContextSwitchTo(store->context);
	query->sql = write(table, one);
	MemoryContextSwitchTo(oldcontext);
}

/*
 * One column of all rows, as an array.
 */
static Datum
column_array(const WaTable *table, const WaRows *rows, int i)
{
	WaType		type = table->columns[i].type;
	Datum	   *values = palloc(sizeof(Datum) * rows->nrows);
	bool	   *nulls = palloc(sizeof(bool) * rows->nrows);
	int			dims[] = {rows->nrows};
	int			lower_bounds[] = {1};

	for (int r = 0; r < rows->nrows; r++)
	{
		values[r] = rows->values[r * table->ncolumns + i];
		nulls[r] = rows->nulls[r * table->ncolumns + i];
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims,
											  lower_bounds,
											  sql_types[type].type,
											  sql_types[type].len,
											  sql_types[type].by_value,
											  sql_types[type].align));
}

/*
 * Write the INSERT for one row of a table, or for many.
 */
static char *
write_insert(const WaTable *table, bool one)
{
	StringInfoData sql;
	const char *key = table->key;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO whatsapp.%s (", table->name);
	append_columns(&sql, table, "");
	for (const WaComputed *c = table->computed; c && c->name; c++)
	{
		appendStringInfo(&sql, ", %s", c->name);
		if (strcmp(c->name, table->key) == 0)
			key = c->value;
	}

	appendStringInfoString(&sql, ") SELECT ");
	if (!one)
		appendStringInfo(&sql, "DISTINCT ON (%s) ", key);
	append_columns(&sql, table, "r.");
	for (const WaComputed *c = table->computed; c && c->name; c++)
		appendStringInfo(&sql, ", %s", c->value);
	append_source(&sql, table, one);
	if (!one)
		appendStringInfo(&sql, " ORDER BY %s, %s", key, table->best_first);
	appendStringInfo(&sql, " ON CONFLICT (%s) %s", table->key,
					 table->on_conflict);
	return sql.data;
}

/*
 * Write the query that finds the best of the rows that claim a key, those of
 * the table among them, puts it into the table, and keeps the others.
 *
 * It goes after the INSERT, by which the key is in the table for good, and
 * cannot come to be there between our looking and our writing.
 */
static char *
write_settle(const WaTable *table, bool one)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "WITH new AS (SELECT ");
	append_columns(&sql, table, "r.");
	append_source(&sql, table, one);

	appendStringInfoString(&sql, "), old AS MATERIALIZED (SELECT ");
	append_columns(&sql, table, "t.");
	appendStringInfo(&sql, " FROM whatsapp.%s t WHERE (", table->name);
	append_key(&sql, table, "t.");
	appendStringInfoString(&sql, ") IN (SELECT ");
	append_key(&sql, table, "n.");
	appendStringInfoString(&sql, " FROM new n) ORDER BY ");
	append_key(&sql, table, "t.");
	appendStringInfoString(&sql, " FOR UPDATE)");

	/* a row without an element is there by what was told of it, not by itself */
	appendStringInfoString(&sql,
						   ", candidate AS (SELECT n.* FROM new n UNION"
						   " SELECT o.* FROM old o WHERE o.element IS NOT NULL)"
						   ", winner AS MATERIALIZED (SELECT DISTINCT ON (");
	append_key(&sql, table, "r.");
	appendStringInfoString(&sql, ") r.* FROM candidate r ORDER BY ");
	append_key(&sql, table, "r.");
	appendStringInfo(&sql, ", %s)", table->best_first);

	appendStringInfo(&sql,
					 ", loser AS (INSERT INTO whatsapp.events"
					 " (event_id, phone_number_id, field, event, element)"
					 " SELECT DISTINCT"
					 " whatsapp.event_id(c.phone_number_id, NULL, c.element),"
					 " c.phone_number_id, '%s', 'superseded', c.element"
					 " FROM candidate c JOIN winner w USING (%s)"
					 " WHERE c.element OPERATOR(pg_catalog.<>) w.element"
					 " ON CONFLICT (event_id) DO NOTHING)",
					 table->name, table->key);

	appendStringInfo(&sql, " UPDATE whatsapp.%s t SET (", table->name);
	append_columns(&sql, table, "");
	appendStringInfoString(&sql, ") = ROW (");
	append_columns(&sql, table, "w.");
	appendStringInfoString(&sql, ") FROM winner w WHERE (");
	append_key(&sql, table, "t.");
	appendStringInfoString(&sql, ") OPERATOR(pg_catalog.=) (");
	append_key(&sql, table, "w.");
	appendStringInfoString(&sql, ") AND t.element IS DISTINCT FROM w.element");
	return sql.data;
}

/*
 * Append the columns of a table that come from its rows, each with a prefix.
 */
static void
append_columns(StringInfo sql, const WaTable *table, const char *prefix)
{
	for (int i = 0; i < table->ncolumns; i++)
		if (!is_listed_before(table, i) && !table->columns[i].unstored)
			appendStringInfo(sql, "%s%s%s", i > 0 ? ", " : "", prefix,
							 table->columns[i].name);
}

/*
 * Append the columns of its key, each with a prefix.
 */
static void
append_key(StringInfo sql, const WaTable *table, const char *prefix)
{
	const char *name = table->key;

	while (*name != '\0')
	{
		int			len = strcspn(name, ", ");

		appendStringInfo(sql, "%s%s%.*s", name > table->key ? ", " : "",
						 prefix, len, name);
		name += len;
		name += strspn(name, ", ");
	}
}

/*
 * Append where rows come from: the parameters, as rows named r.
 *
 * A column that is listed with several paths has its value at its first
 * place; the parameters of the other places are there, but not used.
 */
static void
append_source(StringInfo sql, const WaTable *table, bool one)
{
	appendStringInfoString(sql, one ? " FROM (VALUES (" : " FROM ROWS FROM (");
	for (int i = 0; i < table->ncolumns; i++)
		appendStringInfo(sql, one ? "%s$%d::pg_catalog.%s" :
						 "%spg_catalog.unnest($%d::pg_catalog.%s[])",
						 i > 0 ? ", " : "", i + 1,
						 sql_types[table->columns[i].type].name);

	appendStringInfoString(sql, one ? ")) r (" : ") r (");
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (is_listed_before(table, i))
			appendStringInfo(sql, ", unused%d", i);
		else
			appendStringInfo(sql, "%s%s", i > 0 ? ", " : "",
							 table->columns[i].name);
	}
	appendStringInfoChar(sql, ')');
	if (table->where != NULL)
		appendStringInfo(sql, " WHERE %s", table->where);
}

static bool
is_listed_before(const WaTable *table, int i)
{
	for (int j = 0; j < i; j++)
		if (strcmp(table->columns[j].name, table->columns[i].name) == 0)
			return true;
	return false;
}
