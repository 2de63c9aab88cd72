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

typedef struct StoreTable
{
	WaQuery		one;			/* its sql is NULL until needed */
	WaQuery		many;
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

static void store_one(WaStore *store, int t, const WaRows *rows);
static void store_many(WaStore *store, int t, const WaRows *rows);
static Datum column_array(const WaTable *table, const WaRows *rows, int i);
static void write_query(WaStore *store, int t, bool one, WaQuery *query);
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
			store_one(store, t, &rows[t]);
		else
			store_many(store, t, &rows[t]);
		nstored[t] = SPI_processed;
	}
}

static void
store_one(WaStore *store, int t, const WaRows *rows)
{
	WaQuery    *query = &store->queries[t].one;
	char		nulls[WA_MAX_PARAMS];

	if (query->sql == NULL)
		write_query(store, t, true, query);
	for (int i = 0; i < store->tables[t].ncolumns; i++)
		nulls[i] = rows->nulls[i] ? 'n' : ' ';
	wa_execute(query, rows->values, nulls);
}

static void
store_many(WaStore *store, int t, const WaRows *rows)
{
	WaQuery    *query = &store->queries[t].many;
	const WaTable *table = &store->tables[t];
	Datum		arrays[WA_MAX_PARAMS];

	if (query->sql == NULL)
		write_query(store, t, false, query);
	for (int i = 0; i < table->ncolumns; i++)
		arrays[i] = column_array(table, rows, i);
	wa_execute(query, arrays, NULL);
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
 *
 * A column that is listed with several paths has its value at its first
 * place; the parameters of the other places are there, but not used.
 */
static void
write_query(WaStore *store, int t, bool one, WaQuery *query)
{
	const WaTable *table = &store->tables[t];
	MemoryContext oldcontext = MemoryContextSwitchTo(store->context);
	StringInfoData names;
	StringInfoData params;
	StringInfoData sql;

	if (table->ncolumns > WA_MAX_PARAMS)
		elog(ERROR, "too many columns for table %s", table->name);

	initStringInfo(&names);
	initStringInfo(&params);
	query->nargs = table->ncolumns;
	for (int i = 0; i < table->ncolumns; i++)
	{
		WaType		type = table->columns[i].type;
		const char *name = is_listed_before(table, i) ? psprintf("unused%d", i) :
		table->columns[i].name;

		query->types[i] = one ? sql_types[type].type :
			sql_types[type].array_type;
		appendStringInfo(&params, one ? "%s$%d::pg_catalog.%s" :
						 "%spg_catalog.unnest($%d::pg_catalog.%s[])",
						 i > 0 ? ", " : "", i + 1, sql_types[type].name);
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", name);
	}

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO whatsapp.%s (", table->name);
	for (int i = 0; i < table->ncolumns; i++)
		if (!is_listed_before(table, i))
			appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
							 table->columns[i].name);
	if (table->computed_name != NULL)
		appendStringInfo(&sql, ", %s", table->computed_name);

	appendStringInfoString(&sql, ") SELECT ");
	if (!one)
		appendStringInfo(&sql, "DISTINCT ON (%s) ",
						 table->computed_value ? table->computed_value : table->key);
	for (int i = 0; i < table->ncolumns; i++)
		if (!is_listed_before(table, i))
			appendStringInfo(&sql, "%sr.%s", i > 0 ? ", " : "",
							 table->columns[i].name);
	if (table->computed_name != NULL)
		appendStringInfo(&sql, ", %s", table->computed_value);

	appendStringInfo(&sql, one ? " FROM (VALUES (%s)) r (%s)" :
					 " FROM ROWS FROM (%s) r (%s)",
					 params.data, names.data);
	if (table->where != NULL)
		appendStringInfo(&sql, " WHERE %s", table->where);
	if (!one)
		appendStringInfo(&sql, " ORDER BY %s, %s",
						 table->computed_value ? table->computed_value : table->key,
						 table->best_first);
	appendStringInfo(&sql, " ON CONFLICT (%s) %s", table->key,
					 table->on_conflict);

	query->sql = sql.data;
	pfree(names.data);
	pfree(params.data);
	MemoryContextSwitchTo(oldcontext);
}

static bool
is_listed_before(const WaTable *table, int i)
{
	for (int j = 0; j < i; j++)
		if (strcmp(table->columns[j].name, table->columns[i].name) == 0)
			return true;
	return false;
}
