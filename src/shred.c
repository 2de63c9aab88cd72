/*-------------------------------------------------------------------------
 *
 * shred.c
 *	  Turn a JSON document into rows, as a table of paths directs.
 *
 * A WaTable says which objects of a document make a row, and its WaColumns
 * where in the document the columns of that row are found.  The paths are
 * grown into one tree, and a document is walked along it once.  It is the
 * path that says what an object is, and at most its "type" beside, and the
 * order of members does not matter.
 *
 * A value is held until the end of the innermost object that encloses both it
 * and the row's object, and is then given to all rows that began inside that
 * object.  For most columns that is the row's own object; for a column whose
 * path begins at the top, such as the id of the entry that a message came in,
 * it is one further out.  Arrays make no difference: the elements of an array
 * belong where the array does, and one object does where an array is
 * expected.
 *
 * Several paths may feed one column, for values that stand in different
 * places in different kinds of objects.  The path listed first wins.  Of
 * several values at one path the first is taken; of times the latest or the
 * earliest, as the column's type says.
 *
 * Nothing is lost.  Each scalar of a document is in a column, or inside a
 * row's object, which a table keeps whole, or else the fallback row around it
 * is made, and keeps it.  A value that is not of its column's type counts as
 * absent from the row; outside of rows it makes the fallback.
 *
 * Nothing here knows about WhatsApp, or about SQL.
 *
 * IDENTIFICATION
 *	  src/shred.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

#define MAX_TABLES	64			/* bits of WaNode.tables */

/* The end of the year 9999, and of what ISO 8601 can write in four digits */
#define MAX_SECONDS INT64CONST(253402300799)

/* A column that a value feeds */
struct WaTarget
{
	int			table;
	int			column;
	WaType		type;
	int			slot;			/* where the value is held meanwhile */
	struct WaTarget *next_fed;	/* fed by the same value */
	struct WaTarget *next_given;	/* given at the end of the same object */
};

struct WaShredder
{
	const WaTable *tables;
	int			ntables;
	int			nslots;
	WaNode	   *root;
	int		  **places;			/* [table][listed column]: the column that it
								 * is, by its first place in the list */
};

typedef struct ShredState
{
	const WaShredder *shredder;
	WaRows	   *rows;			/* [table] */
	bool	   *held;			/* [slot] has a value, */
	Datum	   *values;			/* [slot] which is this, */
	int		   *receipt;		/* [slot] and has this receipt */
	bool	   *received;		/* [receipt] if a row has got the value */
	int			nreceipts;
	int			maxreceipts;
	JsonbContainer *kept;		/* the outermost object that we are in and
								 * that a row keeps whole, or NULL */
	bool		unfiled;		/* something in the innermost fallback's
								 * object is in no row */
} ShredState;

/* What a value is as one of the types, for all columns that it feeds */
typedef struct Conversion
{
	bool		is_done;
	bool		is_possible;
	Datum		datum;
} Conversion;

static void add_table(WaShredder *shredder, int t, const char *path);
static void add_target(WaShredder *shredder, int table, int i, WaNode *row);
static bool is_fed_already(const WaNode *node, const WaNode *scope, int table,
						   int column);

static void shred_object(ShredState *state, const WaNode *node,
						 JsonbValue *object);
static bool begin_rows(ShredState *state, const WaNode *node,
					   JsonbContainer *object);
static bool is_of_type(const WaTable *table, JsonbContainer *object);
static void shred_members(ShredState *state, const WaNode *node,
						  JsonbContainer *object);
static void shred_value(ShredState *state, const WaNode *node,
						JsonbValue *value);
static bool is_understood(const WaNode *node, const JsonbValue *value);
static bool hold_value(ShredState *state, const WaTarget *target,
					   const JsonbValue *value, Conversion *conversions,
					   int receipt);
static bool is_better(WaType type, Datum value, Datum held);
static int	new_receipt(ShredState *state);
static bool convert_once(WaType type, const JsonbValue *value,
						 Conversion *conversions, Datum *datum);
static bool convert_value(WaType type, const JsonbValue *value, Datum *datum);
static bool convert_number(const char *str, WaType type, Datum *datum);
static void give_values(ShredState *state, const WaNode *node,
						const int *first_row);
static void settle_fallback(ShredState *state, const WaNode *node,
							const JsonbValue *object, const int *first_row,
							int first_receipt);
static Datum leftover(ShredState *state, const WaNode *node,
					  const JsonbValue *object, const int *first_row);
static void remove_row(WaRows *rows, int ncolumns, int r);
static void drop_hopeless_rows(ShredState *state, const WaNode *node,
							   const int *first_row);
static void drop_incomplete_rows(ShredState *state, int table, int first_row);
static void move_row(WaRows *rows, int ncolumns, int from, int to);
static void set_row(WaRows *rows, int ncolumns, int to, const WaRows *others,
					int r);
static bool is_complete(const WaShredder *shredder, int t, const bool *nulls,
						bool with_top);
static void fill_constants(const WaShredder *shredder, int t, WaRows *rows);
static void drop_unwanted_rows(const WaTable *table, WaRows *rows);
static bool begins_as_wanted(const WaTable *table, const Datum *values,
							 const bool *nulls);

/*
 * Make a shredder for a number of tables, in the current memory context.
 *
 * What is understood without having a column is listed by path, up to NULL.
 */
WaShredder *
wa_shredder_create(const WaTable *tables, int ntables,
				   const char *const *understood)
{
	WaShredder *shredder = palloc0(sizeof(WaShredder));

	if (ntables > MAX_TABLES)
		elog(ERROR, "too many tables for a webhook");

	shredder->tables = tables;
	shredder->ntables = ntables;
	shredder->root = wa_tree_create();
	shredder->places = palloc(sizeof(int *) * ntables);

	for (int t = 0; t < ntables; t++)
	{
		shredder->places[t] = palloc(sizeof(int) * tables[t].ncolumns);
		for (int i = 0; i < tables[t].ncolumns; i++)
			shredder->places[t][i] = wa_table_column(&tables[t],
													 tables[t].columns[i].name);
	}
	for (int t = 0; t < ntables; t++)
		for (int i = 0; tables[t].paths[i] != NULL; i++)
			add_table(shredder, t, tables[t].paths[i]);
	for (; *understood != NULL; understood++)
		wa_tree_grow(shredder->root, *understood)->understood = true;
	return shredder;
}

/*
 * The tree of all paths of a shredder.
 */
const WaNode *
wa_shredder_root(const WaShredder *shredder)
{
	return shredder->root;
}

/*
 * Shred a document.  Returns the rows of each table, in the current memory
 * context.
 */
WaRows *
wa_shred(const WaShredder *shredder, Jsonb *document)
{
	ShredState	state = {0};
	JsonbValue	root;

	state.shredder = shredder;
	state.rows = palloc0(sizeof(WaRows) * shredder->ntables);
	state.held = palloc0(sizeof(bool) * shredder->nslots);
	state.values = palloc(sizeof(Datum) * shredder->nslots);
	state.receipt = palloc(sizeof(int) * shredder->nslots);

	root.type = jbvBinary;
	root.val.binary.data = &document->root;
	root.val.binary.len = VARSIZE(document) - VARHDRSZ;
	shred_object(&state, shredder->root, &root);

	for (int t = 0; t < shredder->ntables; t++)
	{
		fill_constants(shredder, t, &state.rows[t]);
		if (shredder->tables[t].only_if != NULL)
			drop_unwanted_rows(&shredder->tables[t], &state.rows[t]);
	}
	pfree(state.held);
	pfree(state.values);
	pfree(state.receipt);
	return state.rows;
}

/*
 * Functions to grow the tree
 */

/*
 * Have the objects at a path make rows of a table.
 */
static void
add_table(WaShredder *shredder, int t, const char *path)
{
	const WaTable *table = &shredder->tables[t];
	WaNode	   *row = wa_tree_grow(shredder->root, path);

	if (table->filing == WA_FALLBACK)
		row->fallback = t;
	row->tables |= UINT64CONST(1) << t;
	row->keeps |= table->filing == WA_MUST;
	for (int i = 0; i < table->ncolumns; i++)
		if (table->columns[i].path[0] != '=')
			add_target(shredder, t, i, row);
}

/*
 * Have a column fed by what is at its path.
 */
static void
add_target(WaShredder *shredder, int table, int i, WaNode *row)
{
	const WaTable *desc = &shredder->tables[table];
	const WaColumn *column = &desc->columns[i];
	bool		from_top = column->path[0] == '/';
	WaNode	   *node = wa_tree_grow(from_top ? shredder->root : row,
									column->path + from_top);
	WaNode	   *scope = wa_tree_enclosing(node, row);
	WaTarget   *target;
	WaTarget  **link = &scope->given;

	/* what is left for a fallback to keep is only known at the end */
	if (desc->filing == WA_FALLBACK && node == row)
		return;

	/* from the top, a table's paths may lead to the same */
	if (is_fed_already(node, scope, table, shredder->places[table][i]))
		return;

	target = palloc0(sizeof(WaTarget));
	target->table = table;
	target->column = shredder->places[table][i];
	target->type = column->type;
	target->slot = shredder->nslots++;
	target->next_fed = node->fed;
	node->fed = target;
	if (desc->filing != WA_FALLBACK && !desc->unstored && from_top)
		for (WaNode *outer = node; outer != NULL; outer = outer->parent)
			outer->told |= UINT64CONST(1) << table;

	/* what is listed first is to be given first */
	while (*link != NULL)
		link = &(*link)->next_given;
	*link = target;
}

static bool
is_fed_already(const WaNode *node, const WaNode *scope, int table, int column)
{
	for (WaTarget *fed = node->fed; fed != NULL; fed = fed->next_fed)
	{
		if (fed->table != table || fed->column != column)
			continue;
		for (WaTarget *given = scope->given; given; given = given->next_given)
			if (given == fed)
				return true;
	}
	return false;
}

/*
 * Functions to walk a document
 */

/*
 * Shred an object, or whatever else the whole document is.
 */
static void
shred_object(ShredState *state, const WaNode *node, JsonbValue *object)
{
	int			first_row[MAX_TABLES];
	int			first_receipt = state->nreceipts;
	JsonbContainer *outer_kept = state->kept;
	bool		outer_unfiled = state->unfiled;
	Conversion	conversions[WA_NTYPES] = {0};

	/* most objects make nothing, and nothing is given at their end */
	if (node->tables == 0 && node->fed == NULL && node->given == NULL &&
		!node->keeps)
	{
		shred_members(state, node, object->val.binary.data);
		return;
	}

	for (int t = 0; t < state->shredder->ntables; t++)
		first_row[t] = state->rows[t].nrows;

	if (node->fallback >= 0)
		state->unfiled = false;
	if (begin_rows(state, node, object->val.binary.data))
	{
		if (!state->kept)
			state->kept = object->val.binary.data;
	}
	else if (node->keeps && !state->kept)
		state->unfiled = true;

	for (WaTarget *target = node->fed; target; target = target->next_fed)
		hold_value(state, target, object, conversions, -1);
	shred_members(state, node, object->val.binary.data);
	give_values(state, node, first_row);
	drop_hopeless_rows(state, node, first_row);

	state->kept = outer_kept;
	if (node->fallback >= 0)
	{
		settle_fallback(state, node, object, first_row, first_receipt);
		state->unfiled = outer_unfiled;
	}
}

/*
 * Begin the rows that an object makes.  Returns if one of them keeps it.
 */
static bool
begin_rows(ShredState *state, const WaNode *node, JsonbContainer *object)
{
	bool		kept = false;

	for (int t = 0; t < MAX_TABLES && node->tables >> t != 0; t++)
	{
		const WaTable *table = &state->shredder->tables[t];

		if ((node->tables >> t & 1) == 0 || !is_of_type(table, object))
			continue;
		wa_rows_add(&state->rows[t], table->ncolumns,
					state->kept ? state->kept : object);
		kept |= table->filing == WA_MUST;
	}
	return kept;
}

/*
 * Is the object of a type that the table wants?  One that does not say its
 * type is of none in particular.
 */
static bool
is_of_type(const WaTable *table, JsonbContainer *object)
{
	const char *const *listed = table->types ? table->types :
	table->other_types;
	JsonbValue	type;

	if (listed == NULL)
		return true;
	if (JsonContainerIsObject(object) &&
		getKeyJsonValueFromContainer(object, "type", 4, &type) != NULL &&
		type.type == jbvString)
	{
		for (; *listed != NULL; listed++)
			if (strlen(*listed) == type.val.string.len &&
				memcmp(*listed, type.val.string.val,
					   type.val.string.len) == 0)
				return table->types != NULL;
	}
	return table->types == NULL;
}

/*
 * Walk the members of an object along the children of its node; both are in
 * one order.
 */
static void
shred_members(ShredState *state, const WaNode *node, JsonbContainer *object)
{
	const WaNode *next = node->first_child;
	const WaNode *child = NULL;
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	member;

	check_stack_depth();

	if (!JsonContainerIsObject(object))
	{
		state->unfiled |= !state->kept;
		return;
	}

	while ((token = JsonbIteratorNext(&it, &member, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			child = wa_tree_step(&next, &member);
		else if (token == WJB_VALUE)
		{
			if (child != NULL)
				shred_value(state, child, &member);
			else if (!state->kept && member.type != jbvNull)
				state->unfiled = true;
		}
	}
}

static void
shred_value(ShredState *state, const WaNode *node, JsonbValue *value)
{
	bool		taken;
	int			receipt;
	Conversion	conversions[WA_NTYPES] = {0};

	if (value->type == jbvNull)
		return;
	taken = node->understood && is_understood(node, value);

	if (value->type == jbvBinary &&
		JsonContainerIsArray(value->val.binary.data))
	{
		JsonbIterator *it = JsonbIteratorInit(value->val.binary.data);
		JsonbIteratorToken token;
		JsonbValue	element;

		check_stack_depth();

		/* a column may want a list as it is, but a row's object is one of it */
		for (WaTarget *target = node->fed; target; target = target->next_fed)
			if (target->type == WA_JSON && node->tables == 0)
				hold_value(state, target, value, conversions, -1);
		while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
			if (token == WJB_ELEM)
				shred_value(state, node, &element);
		return;
	}

	if (value->type == jbvBinary &&
		(node->first_child != NULL || node->tables != 0))
	{
		shred_object(state, node, value);
		return;
	}

	/* where objects make rows, anything else is out of place */
	receipt = taken || state->kept || node->tables != 0 ? -1 :
		new_receipt(state);
	for (WaTarget *target = node->fed; target; target = target->next_fed)
		if (node->tables == 0)
			taken |= hold_value(state, target, value, conversions, receipt);
	if (!taken && !state->kept)
		state->unfiled = true;
}

/*
 * Is a value one that is understood where it is?  It must be of some type that
 * is wanted there, if any is.
 */
static bool
is_understood(const WaNode *node, const JsonbValue *value)
{
	Datum		ignored;

	if (value->type == jbvBinary)
		return false;
	if (node->fed == NULL ||
		(value->type == jbvString && value->val.string.len == 0))
		return true;
	for (WaTarget *target = node->fed; target; target = target->next_fed)
		if (convert_value(target->type, value, &ignored))
			return true;
	return false;
}

/*
 * Hold a value for a column, unless it is not of the column's type.  Returns
 * if the row that it will be given to is as good a place for it as any; what
 * comes of that is told by the receipt.
 */
static bool
hold_value(ShredState *state, const WaTarget *target,
		   const JsonbValue *value, Conversion *conversions, int receipt)
{
	Datum		datum;

	/* the first is held, but for times: there is no need to look at more */
	if (state->held[target->slot] && target->type != WA_TIME &&
		target->type != WA_FIRST_TIME)
		return false;
	if (!convert_once(target->type, value, conversions, &datum))
		return false;

	if (state->held[target->slot] &&
		!is_better(target->type, datum, state->values[target->slot]))
		return false;
	state->values[target->slot] = datum;
	state->held[target->slot] = true;
	state->receipt[target->slot] = receipt;
	return state->shredder->tables[target->table].filing == WA_MUST;
}

/*
 * Is one more value for a column better than the one that is held?
 */
static bool
is_better(WaType type, Datum value, Datum held)
{
	switch (type)
	{
		case WA_TIME:
			return DatumGetTimestampTz(value) > DatumGetTimestampTz(held);
		case WA_FIRST_TIME:
			return DatumGetTimestampTz(value) < DatumGetTimestampTz(held);
		default:
			return false;
	}
}

static int
new_receipt(ShredState *state)
{
	if (state->nreceipts == state->maxreceipts)
	{
		int			maxreceipts = Max(8, 2 * state->maxreceipts);
		bool	   *received = palloc(sizeof(bool) * maxreceipts);

		if (state->nreceipts > 0)
			memcpy(received, state->received, sizeof(bool) * state->nreceipts);
		state->received = received;
		state->maxreceipts = maxreceipts;
	}
	state->received[state->nreceipts] = false;
	return state->nreceipts++;
}

/*
 * Convert a value as convert_value() does, unless that has been done: a
 * number's id feeds a column of nearly every table.
 */
static bool
convert_once(WaType type, const JsonbValue *value, Conversion *conversions,
			 Datum *datum)
{
	Conversion *conversion = &conversions[type];

	if (!conversion->is_done)
		conversion->is_possible = convert_value(type, value,
												&conversion->datum);
	conversion->is_done = true;
	*datum = conversion->datum;
	return conversion->is_possible;
}

/*
 * Convert a value to what its column has.  Returns false if that cannot be.
 * An empty string says as little as no string.
 */
static bool
convert_value(WaType type, const JsonbValue *value, Datum *datum)
{
	char	   *str;

	if (type == WA_JSON)
	{
		*datum = JsonbPGetDatum(JsonbValueToJsonb(unconstify(JsonbValue *,
															 value)));
		return true;
	}

	if (type == WA_PLACE)
	{
		if (value->type != jbvBinary)
			return false;
		*datum = PointerGetDatum(value->val.binary.data);
		return true;
	}

	if (type == WA_BOOL)
	{
		*datum = BoolGetDatum(value->type == jbvBool && value->val.boolean);
		return value->type == jbvBool;
	}

	if (value->type == jbvString)
	{
		if (value->val.string.len == 0)
			return false;
		if (type == WA_EMBEDDED)
		{
			const char *remark;
			Jsonb	   *embedded = wa_document_read(value->val.string.val,
													value->val.string.len,
													&remark);

			*datum = JsonbPGetDatum(embedded);
			return embedded != NULL;
		}
		if (type == WA_TEXT)
		{
			*datum = PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
															  value->val.string.len));
			return true;
		}
		str = pnstrdup(value->val.string.val, value->val.string.len);
	}
	else if (value->type == jbvNumeric && type != WA_EMBEDDED)
		str = DatumGetCString(DirectFunctionCall1(numeric_out,
												  NumericGetDatum(value->val.numeric)));
	else
		return false;

	if (type == WA_TEXT)
	{
		*datum = CStringGetTextDatum(str);
		return true;
	}
	return convert_number(str, type, datum);
}

/*
 * Convert a number, or what a string says.  Of a time the second is enough.
 */
static bool
convert_number(const char *str, WaType type, Datum *datum)
{
	char	   *end;
	int64		number;

	errno = 0;
	number = strtoi64(str, &end, 10);
	if (errno != 0 || end == str)
		return false;
	if (*end == '.')
		end += 1 + strspn(end + 1, type == WA_INT ? "0" : "0123456789");
	if (*end != '\0')
		return false;

	if (type == WA_INT)
	{
		if (number < PG_INT32_MIN || number > PG_INT32_MAX)
			return false;
		*datum = Int32GetDatum((int32) number);
	}
	else
	{
		if (number <= 0 || number > MAX_SECONDS)
			return false;
		*datum = TimestampTzGetDatum(time_t_to_timestamptz(number));
	}
	return true;
}

/*
 * Give what is held for it to the rows that began inside an object.
 */
static void
give_values(ShredState *state, const WaNode *node, const int *first_row)
{
	for (WaTarget *target = node->given; target; target = target->next_given)
	{
		WaRows	   *rows = &state->rows[target->table];
		int			ncolumns = state->shredder->tables[target->table].ncolumns;

		if (!state->held[target->slot])
			continue;
		state->held[target->slot] = false;

		for (int r = first_row[target->table]; r < rows->nrows; r++)
		{
			int			i = r * ncolumns + target->column;

			if (rows->nulls[i])
			{
				rows->values[i] = state->values[target->slot];
				rows->nulls[i] = false;
			}
			else if (target->type != WA_TEXT ||
					 !datumIsEqual(rows->values[i],
								   state->values[target->slot], false, -1))
				continue;
			if (state->receipt[target->slot] >= 0 &&
				state->shredder->tables[target->table].filing == WA_MUST)
				state->received[state->receipt[target->slot]] = true;
		}
	}
}

/*
 * An object with a fallback has ended.  Keep its row only if something in the
 * object was not filed otherwise, or nothing was made of it at all.
 */
static void
settle_fallback(ShredState *state, const WaNode *node,
				const JsonbValue *object, const int *first_row,
				int first_receipt)
{
	const WaShredder *shredder = state->shredder;
	const WaTable *table = &shredder->tables[node->fallback];
	WaRows	   *rows = &state->rows[node->fallback];
	int			r = first_row[node->fallback];
	int			made = 0;

	for (int t = 0; t < shredder->ntables; t++)
	{
		WaFiling	filing = shredder->tables[t].filing;

		if (filing != WA_FALLBACK)
			drop_incomplete_rows(state, t, first_row[t]);
		if (filing != WA_MAY)
			made += state->rows[t].nrows - first_row[t];
	}
	for (int i = first_receipt; i < state->nreceipts; i++)
		state->unfiled |= !state->received[i];
	state->nreceipts = first_receipt;

	/*
	 * Its own row was begun before those inside it, so if there are others of
	 * the same table, that is the first.
	 */
	if (made > 1 && !state->unfiled)
	{
		remove_row(rows, table->ncolumns, r);
		return;
	}
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (table->columns[i].path[0] == '\0')
		{
			rows->values[r * table->ncolumns + i] =
				leftover(state, node, object, first_row);
			rows->nulls[r * table->ncolumns + i] = false;
		}
	}
}

/*
 * What is left of an object without those in it that have been filed.
 */
static Datum
leftover(ShredState *state, const WaNode *node, const JsonbValue *object,
		 const int *first_row)
{
	const WaShredder *shredder = state->shredder;
	JsonbContainer **filed;
	int			nfiled = 0;

	for (int t = 0; t < shredder->ntables; t++)
		nfiled += state->rows[t].nrows - first_row[t];
	filed = palloc(sizeof(JsonbContainer *) * nfiled);

	nfiled = 0;
	for (int t = 0; t < shredder->ntables; t++)
		if (shredder->tables[t].filing == WA_MUST)
			for (int r = first_row[t]; r < state->rows[t].nrows; r++)
				filed[nfiled++] = state->rows[t].sources[r];
	wa_prune_sort(filed, nfiled);
	return JsonbPGetDatum(wa_prune_leftover(node, object, filed, nfiled));
}

static void
remove_row(WaRows *rows, int ncolumns, int r)
{
	int			i = r * ncolumns;
	int			nafter = --rows->nrows - r;

	memmove(&rows->values[i], &rows->values[i + ncolumns],
			sizeof(Datum) * nafter * ncolumns);
	memmove(&rows->nulls[i], &rows->nulls[i + ncolumns],
			sizeof(bool) * nafter * ncolumns);
	memmove(&rows->sources[r], &rows->sources[r + 1],
			sizeof(JsonbContainer *) * nafter);
}

/*
 * Drop the rows that an object has begun and that lack what is to be found in
 * the object: there may be a million of them in a webhook gone wrong.  Objects
 * in it may have made rows of the same tables; its own is before those.
 */
static void
drop_hopeless_rows(ShredState *state, const WaNode *node, const int *first_row)
{
	for (int t = 0; t < MAX_TABLES && node->tables >> t != 0; t++)
	{
		const WaTable *desc = &state->shredder->tables[t];
		WaRows	   *rows = &state->rows[t];

		if ((node->tables >> t & 1) == 0 || rows->nrows == first_row[t] ||
			is_complete(state->shredder, t,
						&rows->nulls[first_row[t] * desc->ncolumns], false))
			continue;
		remove_row(rows, desc->ncolumns, first_row[t]);
		state->unfiled |= desc->filing == WA_MUST;
	}
}

/*
 * Drop the rows that lack a required column.
 */
static void
drop_incomplete_rows(ShredState *state, int table, int first_row)
{
	const WaTable *desc = &state->shredder->tables[table];
	WaRows	   *rows = &state->rows[table];
	int			nkept = first_row;

	for (int r = first_row; r < rows->nrows; r++)
	{
		if (is_complete(state->shredder, table,
						&rows->nulls[r * desc->ncolumns], true))
			move_row(rows, desc->ncolumns, r, nkept++);
		else
			state->unfiled |= desc->filing == WA_MUST;
	}
	rows->nrows = nkept;
}

/*
 * Does a row have all columns that it must?  Those from the top may yet come.
 */
static bool
is_complete(const WaShredder *shredder, int t, const bool *nulls,
			bool with_top)
{
	const WaTable *table = &shredder->tables[t];

	for (int i = 0; i < table->ncolumns; i++)
		if (table->columns[i].required &&
			(with_top || table->columns[i].path[0] != '/') &&
			nulls[shredder->places[t][i]])
			return false;
	return true;
}

/*
 * Add a row without any values, in the current memory context.  Returns its
 * number.
 */
int
wa_rows_add(WaRows *rows, int ncolumns, JsonbContainer *source)
{
	if (rows->nrows == rows->maxrows)
	{
		int			maxrows = Max(2, 2 * rows->maxrows);
		Datum	   *values = palloc(sizeof(Datum) * maxrows * ncolumns);
		bool	   *nulls = palloc(sizeof(bool) * maxrows * ncolumns);
		JsonbContainer **sources = palloc(sizeof(JsonbContainer *) * maxrows);

		if (rows->nrows > 0)
		{
			memcpy(values, rows->values,
				   sizeof(Datum) * rows->nrows * ncolumns);
			memcpy(nulls, rows->nulls, sizeof(bool) * rows->nrows * ncolumns);
			memcpy(sources, rows->sources,
				   sizeof(JsonbContainer *) * rows->nrows);
			pfree(rows->values);
			pfree(rows->nulls);
			pfree(rows->sources);
		}
		rows->values = values;
		rows->nulls = nulls;
		rows->sources = sources;
		rows->maxrows = maxrows;
	}
	memset(&rows->nulls[rows->nrows * ncolumns], true, ncolumns);
	rows->sources[rows->nrows] = source;
	return rows->nrows++;
}

/*
 * Add a copy of row r of others of the same table.  Returns its number.
 */
int
wa_rows_copy(WaRows *rows, int ncolumns, const WaRows *others, int r)
{
	int			new = wa_rows_add(rows, ncolumns, others->sources[r]);

	set_row(rows, ncolumns, new, others, r);
	return new;
}

/*
 * Have a row be as row r of others of the same table.
 */
static void
set_row(WaRows *rows, int ncolumns, int to, const WaRows *others, int r)
{
	memcpy(&rows->values[to * ncolumns], &others->values[r * ncolumns],
		   sizeof(Datum) * ncolumns);
	memcpy(&rows->nulls[to * ncolumns], &others->nulls[r * ncolumns],
		   sizeof(bool) * ncolumns);
	rows->sources[to] = others->sources[r];
}

/*
 * Give back what rows take; what their columns point to is left, and how many
 * they are.
 */
void
wa_rows_release(WaRows *rows)
{
	if (rows->maxrows == 0)
		return;
	pfree(rows->values);
	pfree(rows->nulls);
	pfree(rows->sources);
	rows->values = NULL;
	rows->nulls = NULL;
	rows->sources = NULL;
	rows->maxrows = 0;
}

/*
 * Find the column of a table that has a name, by its first place in the list.
 */
int
wa_table_column(const WaTable *table, const char *name)
{
	int			column = wa_table_find_column(table, name);

	if (column < 0)
		elog(ERROR, "table %s has no column %s", table->name, name);
	return column;
}

/*
 * The same, where there may be none: then it is -1.
 */
int
wa_table_find_column(const WaTable *table, const char *name)
{
	for (int i = 0; i < table->ncolumns; i++)
		if (strcmp(table->columns[i].name, name) == 0)
			return i;
	return -1;
}

/*
 * Set the columns that were found nowhere and have a value all the same.
 */
static void
fill_constants(const WaShredder *shredder, int t, WaRows *rows)
{
	const WaTable *table = &shredder->tables[t];

	for (int i = 0; rows->nrows > 0 && i < table->ncolumns; i++)
	{
		const WaColumn *column = &table->columns[i];
		int			c = shredder->places[t][i];

		if (column->path[0] != '=')
			continue;
		for (int r = 0; r < rows->nrows; r++)
		{
			if (rows->nulls[r * table->ncolumns + c])
			{
				rows->values[r * table->ncolumns + c] =
					CStringGetTextDatum(column->path + 1);
				rows->nulls[r * table->ncolumns + c] = false;
			}
		}
	}
}

/*
 * Drop the rows that their table has no use for.
 */
static void
drop_unwanted_rows(const WaTable *table, WaRows *rows)
{
	int			nkept = 0;

	for (int r = 0; r < rows->nrows; r++)
		if (begins_as_wanted(table, &rows->values[r * table->ncolumns],
							 &rows->nulls[r * table->ncolumns]))
			move_row(rows, table->ncolumns, r, nkept++);
	rows->nrows = nkept;
}

/*
 * Move a row to an earlier place, or to where it is.
 */
static void
move_row(WaRows *rows, int ncolumns, int from, int to)
{
	if (from != to)
		set_row(rows, ncolumns, to, rows, from);
}

static bool
begins_as_wanted(const WaTable *table, const Datum *values, const bool *nulls)
{
	for (const WaBeginning *b = table->only_if; b->column != NULL; b++)
	{
		int			c = wa_table_column(table, b->column);
		const text *value = nulls[c] ? NULL : DatumGetTextPP(values[c]);

		if (value != NULL && VARSIZE_ANY_EXHDR(value) >= strlen(b->with) &&
			memcmp(VARDATA_ANY(value), b->with, strlen(b->with)) == 0)
			return true;
	}
	return false;
}
