/*-------------------------------------------------------------------------
 *
 * shred.c
 *	  Turn a JSON document into rows, as a table of paths directs.
 *
 * A WaTable says which objects of a document make a row, and its WaColumns
 * where in the document the columns of that row are found.  The paths are
 * grown into one tree, and a document is walked along it once.  It is the
 * path that says what an object is: no decision hangs on a member that says
 * so, and the order of members does not matter.
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
 * several values at one path the first is taken, or the latest time.
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
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

#define MAX_TABLES	32

/* The end of the year 9999, and of what ISO 8601 can write in four digits */
#define MAX_SECONDS INT64CONST(253402300799)

/* A column that a value feeds */
typedef struct ShredTarget
{
	int			table;
	int			column;
	WaType		type;
	int			slot;			/* where the value is held meanwhile */
	struct ShredTarget *next_fed;	/* fed by the same value */
	struct ShredTarget *next_given; /* given at the end of the same object */
} ShredTarget;

/* A step of one path or more */
typedef struct ShredNode
{
	const char *name;
	int			name_len;
	struct ShredNode *parent;
	struct ShredNode *first_child;	/* in the order of jsonb's keys */
	struct ShredNode *next_sibling;
	uint32		tables;			/* bit set: an object here makes their rows */
	bool		keeps;			/* one of these keeps the object whole */
	int			fallback;		/* a table, or -1 */
	bool		understood;		/* a scalar here needs no column */
	ShredTarget *fed;			/* by a value here */
	ShredTarget *given;			/* at the end of an object here */
} ShredNode;

struct WaShredder
{
	const WaTable *tables;
	int			ntables;
	int			nslots;
	ShredNode  *root;
};

typedef struct ShredState
{
	const WaShredder *shredder;
	WaRows	   *rows;			/* [table] */
	bool	   *held;			/* [slot] has a value, */
	Datum	   *values;			/* [slot] which is this */
	bool		kept;			/* we are in an object that a row keeps whole */
	bool		unfiled;		/* something in the innermost fallback's
								 * object is in no row */
} ShredState;

static ShredNode *grow_path(ShredNode *node, const char *path);
static ShredNode *find_child(const ShredNode *node, const char *name, int len);
static int	compare_names(const char *a, int a_len, const char *b, int b_len);
static ShredNode *enclosing_node(ShredNode *a, const ShredNode *b);
static void add_target(WaShredder *shredder, int table, int i, ShredNode *row);
static int	column_number(const WaTable *table, int i);

static void shred_object(ShredState *state, const ShredNode *node,
						 JsonbValue *object);
static bool begin_rows(ShredState *state, const ShredNode *node,
					   const JsonbValue *object);
static bool is_of_other_type(const WaTable *table, JsonbContainer *object);
static void shred_members(ShredState *state, const ShredNode *node,
						  JsonbContainer *object);
static void shred_value(ShredState *state, const ShredNode *node,
						JsonbValue *value);
static bool hold_value(ShredState *state, const ShredTarget *target,
					   const JsonbValue *value);
static bool convert_value(WaType type, const JsonbValue *value, Datum *datum);
static bool convert_number(const char *str, WaType type, Datum *datum);
static void give_values(ShredState *state, const ShredNode *node,
						const int *first_row);
static void settle_fallback(ShredState *state, int table,
							const int *first_row);
static void drop_incomplete_rows(ShredState *state, int table, int first_row);
static void begin_row(WaRows *rows, int ncolumns);
static void fill_constants(const WaTable *table, WaRows *rows);

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

	Assert(ntables <= MAX_TABLES);

	shredder->tables = tables;
	shredder->ntables = ntables;
	shredder->root = palloc0(sizeof(ShredNode));
	shredder->root->fallback = -1;

	for (int t = 0; t < ntables; t++)
	{
		const WaTable *table = &tables[t];
		ShredNode  *row = grow_path(shredder->root, table->path);

		if (table->filing == WA_FALLBACK)
			row->fallback = t;
		row->tables |= (uint32) 1 << t;
		row->keeps |= table->filing == WA_MUST;
		for (int i = 0; i < table->ncolumns; i++)
			if (table->columns[i].path[0] != '=')
				add_target(shredder, t, i, row);
	}
	for (; *understood != NULL; understood++)
		grow_path(shredder->root, *understood)->understood = true;
	return shredder;
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

	root.type = jbvBinary;
	root.val.binary.data = &document->root;
	root.val.binary.len = VARSIZE(document) - VARHDRSZ;
	shred_object(&state, shredder->root, &root);

	for (int t = 0; t < shredder->ntables; t++)
		fill_constants(&shredder->tables[t], &state.rows[t]);
	return state.rows;
}

/*
 * Functions to grow the tree
 */

/*
 * Follow a path, growing the steps that are not there.
 */
static ShredNode *
grow_path(ShredNode *node, const char *path)
{
	while (*path != '\0')
	{
		int			len = strcspn(path, ".");
		ShredNode  *child = find_child(node, path, len);

		if (child == NULL)
		{
			ShredNode **link = &node->first_child;

			while (*link != NULL && compare_names((*link)->name,
												  (*link)->name_len,
												  path, len) < 0)
				link = &(*link)->next_sibling;

			child = palloc0(sizeof(ShredNode));
			child->name = pnstrdup(path, len);
			child->name_len = len;
			child->parent = node;
			child->fallback = -1;
			child->next_sibling = *link;
			*link = child;
		}
		node = child;
		path += len;
		if (*path == '.')
			path++;
	}
	return node;
}

static ShredNode *
find_child(const ShredNode *node, const char *name, int len)
{
	ShredNode  *child = node->first_child;

	while (child != NULL &&
		   compare_names(child->name, child->name_len, name, len) != 0)
		child = child->next_sibling;
	return child;
}

/*
 * The order in which jsonb has the keys of an object.
 */
static int
compare_names(const char *a, int a_len, const char *b, int b_len)
{
	if (a_len != b_len)
		return a_len - b_len;
	return memcmp(a, b, a_len);
}

/*
 * Find the innermost node that has both nodes in or below it.
 */
static ShredNode *
enclosing_node(ShredNode *a, const ShredNode *b)
{
	for (;; a = a->parent)
	{
		for (const ShredNode *node = b; node != NULL; node = node->parent)
		{
			if (node == a)
				return a;
		}
	}
}

/*
 * Have a column fed by what is at its path.
 */
static void
add_target(WaShredder *shredder, int table, int i, ShredNode *row)
{
	const WaColumn *column = &shredder->tables[table].columns[i];
	bool		from_top = column->path[0] == '/';
	ShredNode  *node = grow_path(from_top ? shredder->root : row,
								 column->path + from_top);
	ShredNode  *scope = enclosing_node(node, row);
	ShredTarget *target = palloc0(sizeof(ShredTarget));
	ShredTarget **link = &scope->given;

	target->table = table;
	target->column = column_number(&shredder->tables[table], i);
	target->type = column->type;
	target->slot = shredder->nslots++;
	target->next_fed = node->fed;
	node->fed = target;

	/* what is listed first is to be given first */
	while (*link != NULL)
		link = &(*link)->next_given;
	*link = target;
}

/*
 * A column that is listed with several paths goes by its first place.
 */
static int
column_number(const WaTable *table, int i)
{
	int			first = 0;

	while (strcmp(table->columns[first].name, table->columns[i].name) != 0)
		first++;
	return first;
}

/*
 * Functions to walk a document
 */

/*
 * Shred an object, or whatever else the whole document is.
 */
static void
shred_object(ShredState *state, const ShredNode *node, JsonbValue *object)
{
	int			first_row[MAX_TABLES];
	bool		outer_kept = state->kept;
	bool		outer_unfiled = state->unfiled;

	for (int t = 0; t < state->shredder->ntables; t++)
		first_row[t] = state->rows[t].nrows;

	if (node->fallback >= 0)
		state->unfiled = false;
	if (begin_rows(state, node, object))
		state->kept = true;
	else if (node->keeps && !outer_kept)
		state->unfiled = true;

	for (ShredTarget *target = node->fed; target; target = target->next_fed)
		hold_value(state, target, object);
	shred_members(state, node, object->val.binary.data);
	give_values(state, node, first_row);

	state->kept = outer_kept;
	if (node->fallback >= 0)
	{
		settle_fallback(state, node->fallback, first_row);
		state->unfiled = outer_unfiled;
	}
}

/*
 * Begin the rows that an object makes.  Returns if one of them keeps it.
 */
static bool
begin_rows(ShredState *state, const ShredNode *node, const JsonbValue *object)
{
	bool		kept = false;

	for (int t = 0; node->tables >> t != 0; t++)
	{
		const WaTable *table = &state->shredder->tables[t];

		if ((node->tables >> t & 1) == 0 ||
			is_of_other_type(table, object->val.binary.data))
			continue;
		begin_row(&state->rows[t], table->ncolumns);
		kept |= table->filing == WA_MUST;
	}
	return kept;
}

/*
 * Does the object say that it is of a type that the table does not want?
 */
static bool
is_of_other_type(const WaTable *table, JsonbContainer *object)
{
	JsonbValue	type;

	if (table->other_types == NULL || !JsonContainerIsObject(object) ||
		getKeyJsonValueFromContainer(object, "type", 4, &type) == NULL ||
		type.type != jbvString)
		return false;

	for (const char *const *other = table->other_types; *other; other++)
		if (compare_names(*other, strlen(*other), type.val.string.val,
						  type.val.string.len) == 0)
			return true;
	return false;
}

/*
 * Walk the members of an object along the children of its node; both are in
 * one order.
 */
static void
shred_members(ShredState *state, const ShredNode *node, JsonbContainer *object)
{
	const ShredNode *child = node->first_child;
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	member;
	int			order = -1;

	check_stack_depth();

	if (!JsonContainerIsObject(object))
	{
		state->unfiled |= !state->kept;
		return;
	}

	while ((token = JsonbIteratorNext(&it, &member, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			order = -1;
			while (child != NULL &&
				   (order = compare_names(child->name, child->name_len,
										  member.val.string.val,
										  member.val.string.len)) < 0)
				child = child->next_sibling;
		}
		else if (token == WJB_VALUE)
		{
			if (child != NULL && order == 0)
				shred_value(state, child, &member);
			else if (!state->kept && member.type != jbvNull)
				state->unfiled = true;
		}
	}
}

static void
shred_value(ShredState *state, const ShredNode *node, JsonbValue *value)
{
	bool		taken = node->understood && value->type != jbvBinary;

	if (value->type == jbvNull)
		return;

	if (value->type == jbvBinary &&
		JsonContainerIsArray(value->val.binary.data))
	{
		JsonbIterator *it = JsonbIteratorInit(value->val.binary.data);
		JsonbIteratorToken token;
		JsonbValue	element;

		check_stack_depth();

		/* a column may want a list as it is, but a row's object is one of it */
		for (ShredTarget *target = node->fed; target; target = target->next_fed)
			if (target->type == WA_JSON && node->tables == 0)
				hold_value(state, target, value);
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
	for (ShredTarget *target = node->fed; target; target = target->next_fed)
		if (node->tables == 0)
			taken |= hold_value(state, target, value);
	if (!taken && !state->kept)
		state->unfiled = true;
}

/*
 * Hold a value for a column, unless it is not of the column's type.  Returns
 * if that is enough to say that the value is in a row; the row of a fallback
 * may yet be dropped.
 */
static bool
hold_value(ShredState *state, const ShredTarget *target,
		   const JsonbValue *value)
{
	Datum		datum;

	if (!convert_value(target->type, value, &datum))
		return false;

	if (state->held[target->slot])
	{
		if (target->type != WA_TIME ||
			DatumGetTimestampTz(datum) <=
			DatumGetTimestampTz(state->values[target->slot]))
			return false;
	}
	state->values[target->slot] = datum;
	state->held[target->slot] = true;
	return state->shredder->tables[target->table].filing != WA_FALLBACK;
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

	if (value->type == jbvString)
	{
		if (value->val.string.len == 0)
			return false;
		if (type == WA_TEXT)
		{
			*datum = PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
															  value->val.string.len));
			return true;
		}
		str = pnstrdup(value->val.string.val, value->val.string.len);
	}
	else if (value->type == jbvNumeric)
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

static bool
convert_number(const char *str, WaType type, Datum *datum)
{
	char	   *end;
	int64		number;

	errno = 0;
	number = strtoi64(str, &end, 10);
	if (errno != 0 || end == str || *end != '\0')
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
give_values(ShredState *state, const ShredNode *node, const int *first_row)
{
	for (ShredTarget *target = node->given; target; target = target->next_given)
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
		}
	}
}

/*
 * An object with a fallback has ended.  Keep its row only if something in the
 * object was not filed otherwise.
 */
static void
settle_fallback(ShredState *state, int table, const int *first_row)
{
	const WaShredder *shredder = state->shredder;
	int			made = 0;

	for (int t = 0; t < shredder->ntables; t++)
	{
		if (shredder->tables[t].filing != WA_FALLBACK)
			drop_incomplete_rows(state, t, first_row[t]);
		made += state->rows[t].nrows - first_row[t];
	}

	/*
	 * Its own row was begun before those inside it, so if there are others of
	 * the same table, that is the first.
	 */
	if (made > 1 && !state->unfiled)
	{
		WaRows	   *rows = &state->rows[table];
		int			ncolumns = shredder->tables[table].ncolumns;
		int			i = first_row[table] * ncolumns;
		int			n = (--rows->nrows - first_row[table]) * ncolumns;

		memmove(&rows->values[i], &rows->values[i + ncolumns],
				sizeof(Datum) * n);
		memmove(&rows->nulls[i], &rows->nulls[i + ncolumns],
				sizeof(bool) * n);
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
		Datum	   *values = &rows->values[r * desc->ncolumns];
		bool	   *nulls = &rows->nulls[r * desc->ncolumns];
		bool		complete = true;

		for (int i = 0; i < desc->ncolumns; i++)
			if (desc->columns[i].required && nulls[column_number(desc, i)])
				complete = false;

		if (!complete)
		{
			state->unfiled |= desc->filing == WA_MUST;
			continue;
		}
		if (nkept < r)
		{
			memcpy(&rows->values[nkept * desc->ncolumns], values,
				   sizeof(Datum) * desc->ncolumns);
			memcpy(&rows->nulls[nkept * desc->ncolumns], nulls,
				   sizeof(bool) * desc->ncolumns);
		}
		nkept++;
	}
	rows->nrows = nkept;
}

static void
begin_row(WaRows *rows, int ncolumns)
{
	if (rows->nrows == rows->maxrows)
	{
		int			maxrows = Max(8, 2 * rows->maxrows);
		Datum	   *values = palloc(sizeof(Datum) * maxrows * ncolumns);
		bool	   *nulls = palloc(sizeof(bool) * maxrows * ncolumns);

		if (rows->nrows > 0)
		{
			memcpy(values, rows->values,
				   sizeof(Datum) * rows->nrows * ncolumns);
			memcpy(nulls, rows->nulls, sizeof(bool) * rows->nrows * ncolumns);
		}
		rows->values = values;
		rows->nulls = nulls;
		rows->maxrows = maxrows;
	}
	memset(&rows->nulls[rows->nrows * ncolumns], true, ncolumns);
	rows->nrows++;
}

/*
 * Set the columns that were found nowhere and have a value all the same.
 */
static void
fill_constants(const WaTable *table, WaRows *rows)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		const WaColumn *column = &table->columns[i];
		int			c = column_number(table, i);

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
