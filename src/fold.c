/*-------------------------------------------------------------------------
 *
 * fold.c
 *	  Make one row of those that have one key.
 *
 * A webhook names a person several times.  What it tells of them is put
 * together before it is stored, so that it costs one row in any case, and that
 * mostly is all there is.  The result is what storing one row after the other
 * would have come to: of times the earliest or the latest, as the column's
 * type says; of what is told with a time the newest, and of two that are as
 * new the greater; of other text the lesser; of all else what is told at all.
 *
 * IDENTIFICATION
 *	  src/fold.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

typedef struct FoldState
{
	const WaTable *table;
	const WaRows *rows;
	int			nkeys;
	int			keys[WA_MAX_KEYS];	/* columns of the key */
	int		   *newest_by;		/* [column] the column of its time, or -1 */
} FoldState;

static void find_columns(FoldState *state);
static int	compare_keys(const void *a, const void *b, void *arg);
static void fold_row(const FoldState *state, Datum *values, bool *nulls,
					 int r);
static bool is_better(const FoldState *state, int c, const Datum *values,
					  const bool *nulls, int r);
static bool is_newer(Datum told, bool told_null, Datum told_at,
					 bool told_at_null, Datum known, bool known_null,
					 Datum known_at, bool known_at_null);
static int	compare_texts(Datum a, Datum b);
static int	compare_times(Datum a, bool a_null, Datum b, bool b_null);

PG_FUNCTION_INFO_V1(whatsapp_is_newer);

/*
 * Fold rows of a table, whose keys are of text.  Returns the rows that are
 * left, in the current memory context, in the order of their keys.
 */
WaRows
wa_fold(const WaTable *table, const WaRows *rows)
{
	FoldState	state = {.table = table,.rows = rows};
	WaRows		folded = {0};
	int		   *order = palloc(sizeof(int) * rows->nrows);
	int			ncolumns = table->ncolumns;

	find_columns(&state);
	for (int r = 0; r < rows->nrows; r++)
		order[r] = r;
	qsort_arg(order, rows->nrows, sizeof(int), compare_keys, &state);

	for (int i = 0; i < rows->nrows; i++)
	{
		int			r = order[i];

		CHECK_FOR_INTERRUPTS();
		if (i == 0 || compare_keys(&order[i - 1], &order[i], &state) != 0)
			wa_rows_copy(&folded, ncolumns, rows, r);
		else
			fold_row(&state, &folded.values[(folded.nrows - 1) * ncolumns],
					 &folded.nulls[(folded.nrows - 1) * ncolumns], r);
	}
	return folded;
}

static void
find_columns(FoldState *state)
{
	const WaTable *table = state->table;
	const char *name = table->key;

	while (*name != '\0')
	{
		int			len = strcspn(name, ", ");

		state->keys[state->nkeys++] = wa_table_column(table,
													  pnstrdup(name, len));
		name += len;
		name += strspn(name, ", ");
	}

	state->newest_by = palloc(sizeof(int) * table->ncolumns);
	for (int c = 0; c < table->ncolumns; c++)
	{
		const char *newest_by = table->columns[c].newest_by;

		state->newest_by[c] = newest_by ?
			wa_table_column(table, newest_by) : -1;
	}
}

/*
 * Any order will do, as long as equal keys come together.
 */
static int
compare_keys(const void *a, const void *b, void *arg)
{
	const FoldState *state = arg;
	int			x = *(const int *) a * state->table->ncolumns;
	int			y = *(const int *) b * state->table->ncolumns;

	for (int i = 0; i < state->nkeys; i++)
	{
		int			c = state->keys[i];
		const text *x_key = DatumGetTextPP(state->rows->values[x + c]);
		const text *y_key = DatumGetTextPP(state->rows->values[y + c]);
		int			x_len = VARSIZE_ANY_EXHDR(x_key);
		int			y_len = VARSIZE_ANY_EXHDR(y_key);
		int			order = memcmp(VARDATA_ANY(x_key), VARDATA_ANY(y_key),
								   Min(x_len, y_len));

		if (order != 0 || x_len != y_len)
			return order != 0 ? order : x_len - y_len;
	}
	return 0;
}

/*
 * Fold row r into another.
 */
static void
fold_row(const FoldState *state, Datum *values, bool *nulls, int r)
{
	const WaTable *table = state->table;
	const Datum *more = &state->rows->values[r * table->ncolumns];
	const bool *more_nulls = &state->rows->nulls[r * table->ncolumns];

	/* first what goes by a time, and its time with it */
	for (int c = 0; c < table->ncolumns; c++)
	{
		int			by = state->newest_by[c];

		if (by < 0 || !is_better(state, c, values, nulls, r))
			continue;
		values[c] = more[c];
		nulls[c] = false;
		values[by] = more[by];
		nulls[by] = more_nulls[by];
	}

	for (int c = 0; c < table->ncolumns; c++)
	{
		bool		take = nulls[c];

		if (more_nulls[c] || state->newest_by[c] >= 0)
			continue;
		if (!nulls[c] && table->columns[c].type == WA_TIME)
			take = compare_times(more[c], false, values[c], false) > 0;
		else if (!nulls[c] && table->columns[c].type == WA_FIRST_TIME)
			take = compare_times(more[c], false, values[c], false) < 0;
		else if (!nulls[c] && table->columns[c].type == WA_TEXT)
			take = compare_texts(more[c], values[c]) < 0;
		if (take)
		{
			values[c] = more[c];
			nulls[c] = false;
		}
	}
}

/*
 * Is what row r has in a column better than what is there?
 */
static bool
is_better(const FoldState *state, int c, const Datum *values,
		  const bool *nulls, int r)
{
	int			i = r * state->table->ncolumns;
	int			by = state->newest_by[c];

	return is_newer(state->rows->values[i + c], state->rows->nulls[i + c],
					state->rows->values[i + by], state->rows->nulls[i + by],
					values[c], nulls[c], values[by], nulls[by]);
}

/*
 * whatsapp.is_newer(told text, told_at timestamptz, known text,
 *		known_at timestamptz) returns boolean
 *
 * The same, of a row that is in the table.
 */
Datum
whatsapp_is_newer(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(is_newer(PG_GETARG_DATUM(0), PG_ARGISNULL(0),
							PG_GETARG_DATUM(1), PG_ARGISNULL(1),
							PG_GETARG_DATUM(2), PG_ARGISNULL(2),
							PG_GETARG_DATUM(3), PG_ARGISNULL(3)));
}

static bool
is_newer(Datum told, bool told_null, Datum told_at, bool told_at_null,
		 Datum known, bool known_null, Datum known_at, bool known_at_null)
{
	int			order;

	if (told_null || known_null)
		return !told_null;
	order = compare_times(told_at, told_at_null, known_at, known_at_null);
	if (order == 0)
		order = compare_texts(told, known);
	return order > 0;
}

static int
compare_texts(Datum a, Datum b)
{
	return DatumGetInt32(DirectFunctionCall2Coll(bttextcmp,
												 DEFAULT_COLLATION_OID, a, b));
}

/*
 * No time is before any.
 */
static int
compare_times(Datum a, bool a_null, Datum b, bool b_null)
{
	TimestampTz x = a_null ? DT_NOBEGIN : DatumGetTimestampTz(a);
	TimestampTz y = b_null ? DT_NOBEGIN : DatumGetTimestampTz(b);

	return x < y ? -1 : x > y;
}
