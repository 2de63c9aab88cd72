/*-------------------------------------------------------------------------
 *
 * store.c
 *	  Put the rows that shred.c made into their tables.
 *
 * The INSERT for a table is written from the same WaTable that says how its
 * rows are made, and is planned once in the life of a backend.  There is one
 * for a single row, as most webhooks have, whose columns are its parameters;
 * and one for any number of rows, which are to it like a table that is there
 * only meanwhile, as the transition tables of a trigger are.  And there are the
 * same again for when rows are to be returned.
 *
 * Of several rows with one key only the best is taken, or what they are
 * together, so that no row of a table is touched twice.  Keys go in order, so
 * that two backends that store the same rows wait for, and do not deadlock,
 * each other.  For that, a row that is there already must be locked in its
 * turn, by the INSERT, and not later.
 *
 * In some tables a row has its object, as JSON, in a column "element", and two
 * objects may claim one key.  Then too the best is taken, whichever came
 * first, and the other is kept in whatsapp.events.  That takes a query more,
 * but only if a row could not simply be inserted.  To insert a single row, one
 * that would lock another is tried only when there is another: it takes longer
 * to set up.
 *
 * Hooks are called with the rows that are new, once all of them are there, and
 * whoever listens is notified.  Rows of some tables are counted by their kind,
 * in the statistics.
 *
 * The caller has called wa_connect().
 *
 * IDENTIFICATION
 *	  src/store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "whatsapp.h"

/* Meta tries to deliver a webhook for 7 days; a day more than that, in ms */
#define MAX_DELIVERY_TIME	(8 * 24 * 3600 * 1000)

/*
 * A query for a table: for one row or many, returning rows or not, and an
 * INSERT that locks those rows which are there already.
 */
typedef struct StoreForm
{
	bool		one;
	bool		returning;
	bool		locking;
} StoreForm;

/* The queries for a table, [one], and [returning]; their sql is NULL until needed */
typedef struct StoreTable
{
	/* columns, without those that are listed again with another path */
	int			nparams;
	int			params[WA_MAX_PARAMS];

	WaQuery		insert[2][2];
	WaQuery		lock[2];		/* [returning], of one row */
	WaQuery		settle[2][2];
	WaQuery		order[2];		/* of rows, as they are stored */
	WaQuery		look;			/* for a row, by its key */
} StoreTable;

/* A row that is there already is locked, until it has been seen which is best */
#define LOCK_ONLY	"DO UPDATE SET element = t.element WHERE false"

/* A row that comes in, to be found by its key */
typedef struct StoreMark
{
	const char *key;
	int			row;
} StoreMark;

/* A row that a hook is to be called for */
typedef struct StoreCall
{
	int			table;
	const char *hook;
	int			ord;
	int			nkeys;
	Datum		keys[WA_MAX_KEYS];	/* columns of its key, */
	Oid			types[WA_MAX_KEYS];
	const char *words;			/* and these as text */
} StoreCall;

struct WaStore
{
	MemoryContext context;		/* that the queries live in */
	const WaTable *tables;
	int			ntables;
	StoreTable	queries[FLEXIBLE_ARRAY_MEMBER];
};

/* Rows that are to be stored */
typedef struct StoreInput
{
	int			nrows;

	/* if it is one, its columns */
	Datum		values[WA_MAX_PARAMS];
	char		nulls[WA_MAX_PARAMS];

	/* else all of them; SPI may see this after an error, until it is left */
	EphemeralNamedRelation relation;
} StoreInput;

/*
 * What these are called in our statements, and how many there are to the
 * planner.  That is to be few, or a plan that was made for many would be kept
 * which reads all of a table.
 */
#define INPUT_NAME	"whatsapp_input"
#define INPUT_ROWS	10

/*
 * What each WaType is, to SQL; in the order of the enum.
 */
static const Oid sql_types[] = {
	[WA_TEXT] = TEXTOID,
	[WA_INT] = INT4OID,
	[WA_TIME] = TIMESTAMPTZOID,
	[WA_FIRST_TIME] = TIMESTAMPTZOID,
	[WA_BOOL] = BOOLOID,
	[WA_JSON] = JSONBOID,
	[WA_EMBEDDED] = JSONBOID,
	[WA_PLACE] = InvalidOid,	/* is not stored */
};

static List *store_input(WaStore *store, int t, StoreInput *input,
						 uint64 *nstored, bool *marks, List *calls);
static List *insert(WaStore *store, int t, StoreForm form, StoreInput *input,
					uint64 *nstored, bool *marks, List *calls);
static void mark_returned(WaStore *store, int t, StoreInput *input,
						  bool *marks);
static int	compare_marks(const void *a, const void *b);
static char *key_words(HeapTuple tuple, TupleDesc desc, int nkeys);
static void place_rows(WaStore *store, int t, StoreInput *input);
static int	placed_row(HeapTuple tuple, TupleDesc desc);
static bool is_awaited(const char *hook);
static void count_new(const WaTable *table, const StoreTable *queries,
					  const StoreInput *input);
static void count_returned(const WaTable *table);
static void count_row(const WaTable *table, const char *label, bool is_known,
					  TimestampTz happened);
static void make_input(WaStore *store, int t, const WaRows *rows,
					   StoreInput *input);
static void release_input(StoreInput *input);
static void collect_rows(const StoreTable *queries, const WaTable *table,
						 const WaRows *rows, StoreInput *input);
static void execute(WaQuery *query, StoreInput *input);
static List *append_calls(List *calls, int t, const WaTable *table);
static void call_hooks(WaStore *store, List *calls);
static int	compare_calls_by_words(const ListCell *a, const ListCell *b);
static int	compare_calls_by_ord(const ListCell *a, const ListCell *b);
static void call_hook(WaStore *store, StoreCall *call);
static bool has_triggers(const char *table);
static void prepare_query(WaStore *store, const WaTable *table, StoreForm form,
						  WaQuery *query,
						  char *(*write) (const WaTable *table,
										  StoreForm form));
static char *write_insert(const WaTable *table, StoreForm form);
static char *write_settle(const WaTable *table, StoreForm form);
static char *write_order(const WaTable *table, StoreForm form);
static char *write_look(const WaTable *table);
static void append_columns(StringInfo sql, const WaTable *table,
						   const char *prefix);
static void append_values(StringInfo sql, const WaTable *table,
						  StoreForm form);
static void append_settled(StringInfo sql, const WaTable *table);
static void append_settled_column(StringInfo sql, const WaTable *table,
								  const char *name);
static void append_key(StringInfo sql, const WaTable *table,
					   const char *prefix);
static void append_source(StringInfo sql, const WaTable *table,
						  StoreForm form);
static int	count_names(const char *names);
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
	for (int t = 0; t < ntables; t++)
	{
		StoreTable *queries = &store->queries[t];

		for (int i = 0; i < tables[t].ncolumns && !tables[t].unstored; i++)
		{
			if (is_listed_before(&tables[t], i))
				continue;
			if (queries->nparams == WA_MAX_PARAMS)
				elog(ERROR, "too many columns for table %s", tables[t].name);
			queries->params[queries->nparams++] = i;
		}
	}
	return store;
}

/*
 * Put the rows of all tables where they belong, and set nstored[] to how many
 * of each were new, or changed something.
 *
 * Which of them these were is told by marks[][], unless that is NULL, or is
 * so for a table.  Of rows with one key it is the first.  It must be all
 * false before; and it cannot be told of tables whose rows are folded.
 */
void
wa_store_rows(WaStore *store, const WaRows *rows, uint64 *nstored,
			  bool *const *marks)
{
	List	   *calls = NIL;

	for (int t = 0; t < store->ntables; t++)
	{
		WaRows		folded = rows[t];
		StoreInput	input;

		nstored[t] = 0;
		if (folded.nrows == 0)
			continue;
		if (folded.nrows > 1 && store->tables[t].folds)
			folded = wa_fold(&store->tables[t], &rows[t]);
		make_input(store, t, &folded, &input);
		calls = store_input(store, t, &input, &nstored[t],
							marks ? marks[t] : NULL, calls);
		release_input(&input);
	}
	if (calls != NIL)
		call_hooks(store, calls);
}

/*
 * Store what comes in: insert it, and settle what could not be.  Returns the
 * list of hooks to call, with what is to be called now.
 */
static List *
store_input(WaStore *store, int t, StoreInput *input, uint64 *nstored,
			bool *marks, List *calls)
{
	const WaTable *table = &store->tables[t];
	StoreTable *queries = &store->queries[t];
	bool		one = input->nrows == 1;
	StoreForm	form = {.one = one};
	WaQuery    *query;

	/* of several rows it has to be said which are new, to count them */
	form.returning = is_awaited(table->hook) ||
		(!one && (table->label || marks));
	form.locking = !one;
	calls = insert(store, t, form, input, nstored, marks, calls);
	if (*nstored == input->nrows || !table->keeps_losers)
		return calls;

	if (one)
	{
		form.locking = true;
		calls = insert(store, t, form, input, nstored, marks, calls);
		if (*nstored == 1)
			return calls;
	}

	form.returning = is_awaited(table->hook) ||
		is_awaited(table->content_hook) || (!one && marks);
	query = &queries->settle[one][form.returning];
	prepare_query(store, table, form, query, write_settle);
	execute(query, input);
	*nstored += SPI_processed;
	if (form.returning)
		calls = append_calls(calls, t, table);
	if (marks)
		mark_returned(store, t, input, marks);
	return calls;
}

/*
 * Insert what comes in, and add to *nstored how many rows were not there.
 */
static List *
insert(WaStore *store, int t, StoreForm form, StoreInput *input,
	   uint64 *nstored, bool *marks, List *calls)
{
	const WaTable *table = &store->tables[t];
	StoreTable *queries = &store->queries[t];
	WaQuery    *query = form.one && form.locking ?
	&queries->lock[form.returning] :
	&queries->insert[form.one][form.returning];
	uint64		ninserted;

	prepare_query(store, table, form, query, write_insert);
	execute(query, input);
	ninserted = SPI_processed;
	*nstored += ninserted;
	if (table->label && form.returning)
		count_returned(table);
	else if (table->label && ninserted > 0)
		count_new(table, queries, input);
	if (is_awaited(table->hook))
		calls = append_calls(calls, t, table);
	if (marks)
		mark_returned(store, t, input, marks);
	return calls;
}

/*
 * Mark the rows that a query has stored: of those with the key of a row that it
 * has returned, the first that is not marked yet.
 */
static void
mark_returned(WaStore *store, int t, StoreInput *input, bool *marks)
{
	const WaTable *table = &store->tables[t];
	uint64		nreturned = SPI_processed;
	SPITupleTable *returned = SPI_tuptable;
	int			nkeys = count_names(table->key);
	StoreMark  *rows;
	uint64		nplaced;

	if (nreturned == 0)
		return;
	if (nreturned == input->nrows)
	{
		memset(marks, true, sizeof(bool) * input->nrows);
		return;
	}

	/* parts of the key may be computed by the query */
	place_rows(store, t, input);
	nplaced = SPI_processed;
	rows = palloc(sizeof(StoreMark) * nplaced);
	for (uint64 i = 0; i < nplaced; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];

		rows[i].row = placed_row(tuple, SPI_tuptable->tupdesc);
		rows[i].key = key_words(tuple, SPI_tuptable->tupdesc, nkeys);
	}
	SPI_freetuptable(SPI_tuptable);
	qsort(rows, nplaced, sizeof(StoreMark), compare_marks);

	for (uint64 i = 0; i < nreturned; i++)
	{
		const char *key = key_words(returned->vals[i], returned->tupdesc,
									nkeys);
		uint64		low = 0;
		uint64		high = nplaced;

		while (low < high)
		{
			uint64		middle = low + (high - low) / 2;

			if (strcmp(rows[middle].key, key) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		while (low < nplaced && marks[rows[low].row])
			low++;
		if (low < nplaced && strcmp(rows[low].key, key) == 0)
			marks[rows[low].row] = true;
	}
}

static int
compare_marks(const void *a, const void *b)
{
	const StoreMark *x = a;
	const StoreMark *y = b;
	int			order = strcmp(x->key, y->key);

	return order ? order : x->row - y->row;
}

/*
 * The key of a row that a query has returned, after one other column, as text
 * that no other key has.
 */
static char *
key_words(HeapTuple tuple, TupleDesc desc, int nkeys)
{
	StringInfoData words;

	initStringInfo(&words);
	for (int k = 0; k < nkeys; k++)
	{
		const char *word = SPI_getvalue(tuple, desc, k + 2);

		/* one that comes in may lack what a trigger is to fill in */
		if (word == NULL)
			appendStringInfoString(&words, " -");
		else
			appendStringInfo(&words, " %zu:%s", strlen(word), word);
	}
	return words.data;
}

/*
 * Does anybody want to be told of rows, by a hook or NOTIFY?
 */
static bool
is_awaited(const char *hook)
{
	return hook != NULL && (wa_notify_wanted || wa_hooks_listen(hook));
}

/*
 * Count the row that was given as parameters.
 */
static void
count_new(const WaTable *table, const StoreTable *queries,
		  const StoreInput *input)
{
	const char *label = NULL;
	bool		is_known = false;
	TimestampTz happened = 0;

	for (int i = 0; i < queries->nparams; i++)
	{
		const char *name = table->columns[queries->params[i]].name;

		if (input->nulls[i] == 'n')
			continue;
		if (strcmp(name, table->label) == 0)
			label = TextDatumGetCString(input->values[i]);
		else if (table->happened && strcmp(name, table->happened) == 0)
		{
			is_known = true;
			happened = DatumGetTimestampTz(input->values[i]);
		}
	}
	count_row(table, label, is_known, happened);
}

/*
 * Count the rows that an INSERT has returned.
 */
static void
count_returned(const WaTable *table)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		Datum		happened = SPI_getbinval(tuple, desc, desc->natts, &isnull);

		count_row(table, SPI_getvalue(tuple, desc, desc->natts - 1), !isnull,
				  DatumGetTimestampTz(happened));
	}
}

/*
 * Count a row, and how long it took from when it happened until it is here.
 * What is older than Meta tries to deliver is none that was under way.
 */
static void
count_row(const WaTable *table, const char *label, bool is_known,
		  TimestampTz happened)
{
	TimestampTz now = GetCurrentTimestamp();

	wa_count(table->counted_as, label, 1);
	if (is_known &&
		!TimestampDifferenceExceeds(happened, now, MAX_DELIVERY_TIME))
		wa_count_latency(WA_LATENCY_WEBHOOK_TO_FILED, happened, now);
}

/*
 * Set ranks[] to where each row of a table is in the order in which they are
 * stored, from 0, or to -1 if it is none that is.
 */
void
wa_store_rank(WaStore *store, int t, const WaRows *rows, int *ranks)
{
	StoreInput	input;

	for (int r = 0; r < rows->nrows; r++)
		ranks[r] = -1;

	make_input(store, t, rows, &input);
	place_rows(store, t, &input);
	for (uint64 i = 0; i < SPI_processed; i++)
		ranks[placed_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc)] = i;
	SPI_freetuptable(SPI_tuptable);
	release_input(&input);
}

/*
 * Fetch the places of rows, in the order in which they are stored, and their
 * keys.
 */
static void
place_rows(WaStore *store, int t, StoreInput *input)
{
	StoreForm	form = {.one = input->nrows == 1};
	WaQuery    *query = &store->queries[t].order[form.one];

	prepare_query(store, &store->tables[t], form, query, write_order);
	execute(query, input);
}

/*
 * Which row is it that place_rows() has fetched?
 */
static int
placed_row(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
}

/*
 * Append to a list of calls those for the rows that a query has returned.
 */
static List *
append_calls(List *calls, int t, const WaTable *table)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		const char *what = SPI_getvalue(tuple, desc, 1);
		const char *hook;
		StoreCall  *call;

		if (what == NULL)
			continue;
		hook = strcmp(what, "new") == 0 ? table->hook : table->content_hook;
		if (!is_awaited(hook))
			continue;

		call = palloc(sizeof(StoreCall));
		call->table = t;
		call->hook = hook;
		call->ord = list_length(calls);
		call->nkeys = count_names(table->key);
		call->words = psprintf("%s%s", hook,
							   key_words(tuple, desc, call->nkeys));
		for (int k = 0; k < call->nkeys; k++)
		{
			bool		isnull;

			call->keys[k] = SPI_getbinval(tuple, desc, k + 2, &isnull);
			call->types[k] = SPI_gettypeid(desc, k + 2);
		}
		calls = lappend(calls, call);
	}
	return calls;
}

/*
 * Call the hooks on a list: once for each row, as it is now, however many
 * queries have touched it.
 */
static void
call_hooks(WaStore *store, List *calls)
{
	int			first = 0;

	list_sort(calls, compare_calls_by_words);
	for (int i = 1; i < list_length(calls); i++)
	{
		StoreCall  *call = list_nth(calls, i);

		if (strcmp(call->words,
				   ((StoreCall *) list_nth(calls, first))->words) == 0)
			call->hook = NULL;
		else
			first = i;
	}

	list_sort(calls, compare_calls_by_ord);
	for (int i = 0; i < list_length(calls); i++)
	{
		StoreCall  *call = list_nth(calls, i);

		CHECK_FOR_INTERRUPTS();
		if (call->hook != NULL)
			call_hook(store, call);
	}
}

static int
compare_calls_by_words(const ListCell *a, const ListCell *b)
{
	const StoreCall *x = lfirst(a);
	const StoreCall *y = lfirst(b);
	int			order = strcmp(x->words, y->words);

	return order ? order : x->ord - y->ord;
}

static int
compare_calls_by_ord(const ListCell *a, const ListCell *b)
{
	return ((const StoreCall *) lfirst(a))->ord -
		((const StoreCall *) lfirst(b))->ord;
}

static void
call_hook(WaStore *store, StoreCall *call)
{
	WaQuery    *look = &store->queries[call->table].look;

	if (wa_notify_wanted)
		wa_notify(call->hook, store->tables[call->table].key, call->keys,
				  call->types);
	if (!wa_hooks_listen(call->hook))
		return;
	if (look->sql == NULL)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(store->context);

		look->nargs = call->nkeys;
		memcpy(look->types, call->types, sizeof(Oid) * call->nkeys);
		look->sql = write_look(&store->tables[call->table]);
		MemoryContextSwitchTo(oldcontext);
	}
	wa_execute(look, call->keys, NULL);

	/* an earlier hook may have deleted it */
	if (SPI_processed > 0)
	{
		SPITupleTable *found = SPI_tuptable;
		bool		isnull;

		wa_hooks_call(call->hook, SPI_gettypeid(found->tupdesc, 1),
					  SPI_getbinval(found->vals[0], found->tupdesc, 1,
									&isnull));
		SPI_freetuptable(found);
	}
}

/*
 * May a constraint on the rows' tables, or a trigger, wait for the end of the
 * transaction?
 */
bool
wa_store_may_be_deferred(const WaStore *store, const WaRows *rows)
{
	/* that is where the losers are kept */
	if (has_triggers("events"))
		return true;

	for (int t = 0; t < store->ntables; t++)
		if (rows[t].nrows > 0 && has_triggers(store->tables[t].name))
			return true;
	return false;
}

static bool
has_triggers(const char *table)
{
	Oid			namespace = get_namespace_oid("whatsapp", false);
	Relation	rel = table_open(get_relname_relid(table, namespace),
								 AccessShareLock);
	bool		result = rel->trigdesc != NULL;

	table_close(rel, NoLock);
	return result;
}

/*
 * Write a query, if it is needed for the first time.
 */
static void
prepare_query(WaStore *store, const WaTable *table, StoreForm form,
			  WaQuery *query,
			  char *(*write) (const WaTable *table, StoreForm form))
{
	MemoryContext oldcontext;

	if (query->sql != NULL)
		return;
	query->nargs = 0;
	for (int i = 0; form.one && i < table->ncolumns; i++)
		if (!is_listed_before(table, i))
			query->types[query->nargs++] =
				sql_types[table->columns[i].type];

	oldcontext = MemoryContextSwitchTo(store->context);
	query->sql = write(table, form);
	MemoryContextSwitchTo(oldcontext);
}

/*
 * Make rows of a table ready to be stored.
 */
static void
make_input(WaStore *store, int t, const WaRows *rows, StoreInput *input)
{
	const StoreTable *queries = &store->queries[t];

	input->nrows = rows->nrows;
	if (rows->nrows > 1)
	{
		collect_rows(queries, &store->tables[t], rows, input);
		return;
	}
	for (int i = 0; i < queries->nparams; i++)
	{
		input->values[i] = rows->values[queries->params[i]];
		input->nulls[i] = rows->nulls[queries->params[i]] ? 'n' : ' ';
	}
}

/*
 * Collect them in a relation, each with its number.
 */
static void
collect_rows(const StoreTable *queries, const WaTable *table,
			 const WaRows *rows, StoreInput *input)
{
	int			nparams = queries->nparams;
	TupleDesc	desc = CreateTemplateTupleDesc(nparams + 1);
	Tuplestorestate *tuples = tuplestore_begin_heap(false, false, work_mem);

	for (int i = 0; i < nparams; i++)
	{
		const WaColumn *column = &table->columns[queries->params[i]];

		TupleDescInitEntry(desc, i + 1, column->name,
						   sql_types[column->type], -1, 0);
	}
	TupleDescInitEntry(desc, nparams + 1, "ord", INT8OID, -1, 0);

	for (int r = 0; r < rows->nrows; r++)
	{
		Datum		values[WA_MAX_PARAMS + 1];
		bool		nulls[WA_MAX_PARAMS + 1];

		for (int i = 0; i < nparams; i++)
		{
			int			place = r * table->ncolumns + queries->params[i];

			values[i] = rows->values[place];
			nulls[i] = rows->nulls[place];
		}
		values[nparams] = Int64GetDatum(r);
		nulls[nparams] = false;
		tuplestore_putvalues(tuples, desc, values, nulls);
	}

	input->relation = palloc0(sizeof(EphemeralNamedRelationData));
	input->relation->md.name = INPUT_NAME;
	input->relation->md.tupdesc = desc;
	input->relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	input->relation->md.enrtuples = INPUT_ROWS;
	input->relation->reldata = tuples;
}

static void
release_input(StoreInput *input)
{
	if (input->nrows > 1)
		tuplestore_end(input->relation->reldata);
}

/*
 * Execute a query with what comes in.
 */
static void
execute(WaQuery *query, StoreInput *input)
{
	int			result;

	if (input->nrows == 1)
	{
		wa_execute(query, input->values, input->nulls);
		return;
	}

	/* an error may have left another behind */
	SPI_unregister_relation(INPUT_NAME);
	result = SPI_register_relation(input->relation);
	if (result < 0)
		elog(ERROR, "SPI_register_relation returned %s",
			 SPI_result_code_string(result));
	wa_execute(query, NULL, NULL);
	SPI_unregister_relation(INPUT_NAME);
}

/*
 * Write the INSERT for one row of a table, or for many.
 */
static char *
write_insert(const WaTable *table, StoreForm form)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO whatsapp.%s AS t (", table->name);
	append_columns(&sql, table, "");
	appendStringInfoString(&sql, ") SELECT ");
	if (!form.one)
		appendStringInfo(&sql, "DISTINCT ON (%s) ", table->key);
	append_values(&sql, table, form);
	append_source(&sql, table, form);
	if (!form.one)
		appendStringInfo(&sql, " ORDER BY %s, %s", table->key,
						 table->best_first);
	appendStringInfo(&sql, " ON CONFLICT (%s) %s", table->key,
					 !table->keeps_losers ? table->on_conflict :
					 form.locking ? LOCK_ONLY : "DO NOTHING");
	if (form.returning)
	{
		appendStringInfoString(&sql, " RETURNING 'new', ");
		append_key(&sql, table, "t.");
		if (table->label)
			appendStringInfo(&sql, ", t.%s, %s%s", table->label,
							 table->happened ? "t." : "",
							 table->happened ? table->happened :
							 "NULL::pg_catalog.timestamptz");
	}
	return sql.data;
}

/*
 * Write the query that finds the best of the rows that claim a key, those of
 * the table among them, puts it into the table, and keeps the others.
 *
 * It goes after the INSERT that locks, by which the key is in the table for
 * good, and cannot come to be there between our looking and our writing.
 */
static char *
write_settle(const WaTable *table, StoreForm form)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "WITH new AS (SELECT ");
	append_values(&sql, table, form);
	append_source(&sql, table, form);

	appendStringInfoString(&sql, "), old AS MATERIALIZED (SELECT ");
	append_columns(&sql, table, "t.");
	appendStringInfo(&sql, ", %s AS stays FROM whatsapp.%s t WHERE (",
					 table->stays ? table->stays : "false", table->name);
	append_key(&sql, table, "t.");
	appendStringInfoString(&sql, ") IN (SELECT ");
	append_key(&sql, table, "n.");
	appendStringInfoString(&sql, " FROM new n) ORDER BY ");
	append_key(&sql, table, "t.");
	appendStringInfoString(&sql, " FOR UPDATE)");

	/* a row without an element is there by what was told of it, not by itself */
	appendStringInfoString(&sql,
						   ", candidate AS (SELECT n.*, false AS stays"
						   " FROM new n UNION"
						   " SELECT o.* FROM old o WHERE o.element IS NOT NULL)"
						   ", winner AS MATERIALIZED (SELECT DISTINCT ON (");
	append_key(&sql, table, "r.");
	appendStringInfoString(&sql, ") r.* FROM candidate r ORDER BY ");
	append_key(&sql, table, "r.");
	appendStringInfo(&sql, ", r.stays DESC, %s)", table->best_first);

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
	append_settled(&sql, table);
	appendStringInfo(&sql, ") FROM winner w JOIN old o USING (%s) WHERE (",
					 table->key);
	append_key(&sql, table, "t.");
	appendStringInfoString(&sql, ") OPERATOR(pg_catalog.=) (");
	append_key(&sql, table, "w.");
	appendStringInfoString(&sql, ") AND ROW (");
	append_columns(&sql, table, "t.");
	appendStringInfoString(&sql, ") IS DISTINCT FROM ROW (");
	append_settled(&sql, table);
	appendStringInfoChar(&sql, ')');
	if (form.returning)
	{
		appendStringInfo(&sql,
						 " RETURNING CASE WHEN o.element IS NULL THEN 'new'"
						 " WHEN o.element OPERATOR(pg_catalog.<>) t.element"
						 " AND %s THEN 'content' END, ",
						 table->content ? table->content : "true");
		append_key(&sql, table, "t.");
	}
	return sql.data;
}

/*
 * Write the query that tells in which order write_insert() has its rows, by
 * their places, and what their keys are.
 */
static char *
write_order(const WaTable *table, StoreForm form)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT k.ord, ");
	append_key(&sql, table, "k.");
	appendStringInfoString(&sql, " FROM (SELECT ");
	append_values(&sql, table, form);
	appendStringInfoString(&sql, ", r.ord");
	append_source(&sql, table, form);
	appendStringInfoString(&sql, ") k ORDER BY ");
	append_key(&sql, table, "k.");
	appendStringInfoString(&sql, ", k.ord");
	return sql.data;
}

/*
 * Write the query that looks for a row by its key.
 */
static char *
write_look(const WaTable *table)
{
	StringInfoData sql;
	const char *name = table->key;
	int			n = 0;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT t FROM whatsapp.%s t", table->name);
	while (*name != '\0')
	{
		int			len = strcspn(name, ", ");

		appendStringInfo(&sql, " %s t.%.*s OPERATOR(pg_catalog.=) $%d",
						 n == 0 ? "WHERE" : "AND", len, name, n + 1);
		n++;
		name += len;
		name += strspn(name, ", ");
	}
	return sql.data;
}

/*
 * Append the columns of a table that are stored, each with a prefix.
 */
static void
append_columns(StringInfo sql, const WaTable *table, const char *prefix)
{
	const char *separator = "";

	for (int i = 0; i < table->ncolumns; i++)
	{
		if (is_listed_before(table, i) || table->columns[i].unstored)
			continue;
		appendStringInfo(sql, "%s%s%s", separator, prefix,
						 table->columns[i].name);
		separator = ", ";
	}
	for (const WaComputed *c = table->computed; c && c->name; c++)
		appendStringInfo(sql, ", %s%s", prefix, c->name);
}

/*
 * Append what they are in a row r that comes in, alone or among others.
 */
static void
append_values(StringInfo sql, const WaTable *table, StoreForm form)
{
	const char *separator = "";

	for (int i = 0; i < table->ncolumns; i++)
	{
		const char *name = table->columns[i].name;

		if (is_listed_before(table, i) || table->columns[i].unstored)
			continue;
		appendStringInfo(sql, "%sr.%s", separator, name);
		separator = ", ";
	}
	for (const WaComputed *c = table->computed; c && c->name; c++)
		appendStringInfo(sql, ", %s AS %s",
						 form.one && c->alone ? c->alone : c->value, c->name);
}

/*
 * Append what they become in a row t when a row w is better.
 */
static void
append_settled(StringInfo sql, const WaTable *table)
{
	const char *separator = "";

	for (int i = 0; i < table->ncolumns; i++)
	{
		if (is_listed_before(table, i) || table->columns[i].unstored)
			continue;
		appendStringInfoString(sql, separator);
		append_settled_column(sql, table, table->columns[i].name);
		separator = ", ";
	}
	for (const WaComputed *c = table->computed; c && c->name; c++)
	{
		appendStringInfoString(sql, ", ");
		append_settled_column(sql, table, c->name);
	}
}

static void
append_settled_column(StringInfo sql, const WaTable *table, const char *name)
{
	for (const WaComputed *s = table->settled; s && s->name; s++)
	{
		if (strcmp(s->name, name) == 0)
		{
			appendStringInfoString(sql, s->value);
			return;
		}
	}
	appendStringInfo(sql, "w.%s", name);
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
 * Append where rows come from: the parameters, or the relation, as rows named r.
 *
 * A column that is listed with several paths has its value at its first
 * place, and one parameter.
 */
static void
append_source(StringInfo sql, const WaTable *table, StoreForm form)
{
	int			n = 0;

	if (!form.one)
		appendStringInfoString(sql, " FROM " INPUT_NAME " r");
	else
	{
		appendStringInfoString(sql, " FROM (SELECT ");
		for (int i = 0; i < table->ncolumns; i++)
			if (!is_listed_before(table, i))
			{
				n++;
				appendStringInfo(sql, "$%d AS %s, ", n,
								 table->columns[i].name);
			}
		appendStringInfoString(sql, "0::pg_catalog.int8 AS ord) r");
	}
	if (table->where != NULL)
		appendStringInfo(sql, " WHERE %s", table->where);
}

/*
 * How many names are there in a list?
 */
static int
count_names(const char *names)
{
	int			n = 1;

	for (; *names != '\0'; names++)
		n += *names == ',';
	return n;
}

static bool
is_listed_before(const WaTable *table, int i)
{
	for (int j = 0; j < i; j++)
		if (strcmp(table->columns[j].name, table->columns[i].name) == 0)
			return true;
	return false;
}
