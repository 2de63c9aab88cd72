/*-------------------------------------------------------------------------
 *
 * prune.c
 *	  Parts of a JSON document: what is left of it, and what is cut out.
 *
 * Objects are known by where they are in the memory of the document.  Lists
 * of them are sorted by that, so that an object can be found in them.
 *
 * IDENTIFICATION
 *	  src/prune.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "whatsapp.h"

typedef struct PruneLeftover
{
	JsonbContainer *const *filed;
	int			nfiled;
	JsonbParseState *state;
} PruneLeftover;

/* The way to an object from outside */
typedef struct PruneStep
{
	const struct PruneStep *outer;	/* NULL if from the whole document */
	const WaNode *node;
	JsonbContainer *object;		/* one that encloses it, */
	JsonbValue	key;			/* the member that it is in, */
	const WaNode *child;		/* that member's node, */
	bool		in_array;		/* and whether in an array there */
} PruneStep;

typedef struct PruneCut
{
	Jsonb	   *document;
	const WaCut *cuts;
	int			ncuts;
	Jsonb	  **parts;			/* for each of them */
} PruneCut;

static JsonbValue *leave_members(PruneLeftover *left, const WaNode *node,
								 JsonbContainer *object);
static void leave_value(PruneLeftover *left, const WaNode *node,
						JsonbValue *value, JsonbIteratorToken as);
static bool is_left(const PruneLeftover *left, const WaNode *node,
					const JsonbValue *value);
static bool is_leaf(const WaNode *node, const JsonbValue *value);
static void cut_object(PruneCut *cut, const PruneStep *way,
					   const WaNode *node, JsonbContainer *object);
static void cut_value(PruneCut *cut, PruneStep *step, const WaNode *node,
					  const JsonbValue *value);
static Jsonb *enclose(const PruneCut *cut, const PruneStep *way,
					  const WaNode *node, const WaCut *wanted);
static void push_context(JsonbParseState **state, const PruneStep *step,
						 uint64 tables);
static void push_told(JsonbParseState **state, const WaNode *node,
					  JsonbValue *value, uint64 tables);
static bool is_context(const WaNode *node, const JsonbValue *value,
					   uint64 tables);
static uint64 tables_in(const WaNode *node);
static bool is_understood(const WaNode *node);
static int	find_object(JsonbContainer *const *objects, int nobjects,
						const JsonbContainer *object);
static int	compare_objects(const void *a, const void *b);

/*
 * Sort a list of objects, for the functions below.
 */
void
wa_prune_sort(JsonbContainer **objects, int nobjects)
{
	qsort(objects, nobjects, sizeof(JsonbContainer *), compare_objects);
}

/*
 * What is left of an object when the objects in it that have been filed are
 * taken out, and those that have a fallback of their own.
 */
Jsonb *
wa_prune_leftover(const WaNode *node, const JsonbValue *object,
				  JsonbContainer *const *filed, int nfiled)
{
	PruneLeftover left = {filed, nfiled};

	if (!JsonContainerIsObject(object->val.binary.data))
		return JsonbValueToJsonb(unconstify(JsonbValue *, object));
	return JsonbValueToJsonb(leave_members(&left, node,
										   object->val.binary.data));
}

/*
 * Cut objects out of a document, each with so much around it that, as a
 * document, it says the same.  Returns them in the order of the list, which
 * is sorted by object.
 */
Jsonb	  **
wa_prune_cut_out(const WaNode *root, Jsonb *document, const WaCut *cuts,
				 int ncuts)
{
	PruneCut	cut = {document, cuts, ncuts};

	cut.parts = palloc0(sizeof(Jsonb *) * ncuts);
	cut_object(&cut, NULL, root, &document->root);
	return cut.parts;
}

/*
 * Functions to find what is left
 */

/*
 * Push what is left of an object.
 */
static JsonbValue *
leave_members(PruneLeftover *left, const WaNode *node, JsonbContainer *object)
{
	const WaNode *next = node->first_child;
	const WaNode *child = NULL;
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	member;
	JsonbValue	key;

	check_stack_depth();
	pushJsonbValue(&left->state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &member, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			key = member;
			child = wa_tree_step(&next, &key);
		}
		else if (token == WJB_VALUE && is_left(left, child, &member))
		{
			pushJsonbValue(&left->state, WJB_KEY, &key);
			leave_value(left, child, &member, WJB_VALUE);
		}
	}
	return pushJsonbValue(&left->state, WJB_END_OBJECT, NULL);
}

/*
 * Push what is left of a value, of which something is.
 */
static void
leave_value(PruneLeftover *left, const WaNode *node, JsonbValue *value,
			JsonbIteratorToken as)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (is_leaf(node, value) ||
		(node->keeps && JsonContainerIsObject(value->val.binary.data)))
	{
		pushJsonbValue(&left->state, as, value);
		return;
	}
	if (JsonContainerIsObject(value->val.binary.data))
	{
		leave_members(left, node, value->val.binary.data);
		return;
	}

	check_stack_depth();
	pushJsonbValue(&left->state, WJB_BEGIN_ARRAY, NULL);
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
		if (token == WJB_ELEM && is_left(left, node, &element))
			leave_value(left, node, &element, WJB_ELEM);
	pushJsonbValue(&left->state, WJB_END_ARRAY, NULL);
}

/*
 * Is anything left of a value?  What was empty from the beginning is.
 */
static bool
is_left(const PruneLeftover *left, const WaNode *node, const JsonbValue *value)
{
	JsonbContainer *container;
	const WaNode *next;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	member;
	bool		is_array;
	bool		result = false;

	if (is_leaf(node, value))
		return true;

	container = value->val.binary.data;
	is_array = JsonContainerIsArray(container);
	if (!is_array && node->fallback >= 0)
		return false;
	if (!is_array && node->keeps)
		return find_object(left->filed, left->nfiled, container) < 0;
	if (JsonContainerSize(container) == 0)
		return true;

	check_stack_depth();
	next = node->first_child;
	it = JsonbIteratorInit(container);
	while (!result &&
		   (token = JsonbIteratorNext(&it, &member, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			node = wa_tree_step(&next, &member);
		else if (token == WJB_VALUE || token == WJB_ELEM)
			result = is_left(left, node, &member);
	}
	if (result)
		pfree(it);
	return result;
}

/*
 * Does the tree say nothing of what is in a value?
 */
static bool
is_leaf(const WaNode *node, const JsonbValue *value)
{
	return value->type != jbvBinary || node == NULL ||
		(node->first_child == NULL && node->tables == 0);
}

/*
 * Functions to cut out
 */

static void
cut_object(PruneCut *cut, const PruneStep *way, const WaNode *node,
		   JsonbContainer *object)
{
	const WaNode *next = node->first_child;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	member;
	PruneStep	step = {.outer = way,.node = node,.object = object};
	const WaCut *wanted = bsearch(&object, cut->cuts, cut->ncuts,
								  sizeof(WaCut), compare_objects);

	check_stack_depth();
	if (wanted != NULL)
		cut->parts[wanted - cut->cuts] = enclose(cut, way, node, wanted);
	if (!JsonContainerIsObject(object))
		return;

	it = JsonbIteratorInit(object);
	while ((token = JsonbIteratorNext(&it, &member, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			step.key = member;
			step.child = wa_tree_step(&next, &member);
			step.in_array = false;
		}
		else if (token == WJB_VALUE && step.child != NULL)
			cut_value(cut, &step, step.child, &member);
	}
}

static void
cut_value(PruneCut *cut, PruneStep *step, const WaNode *node,
		  const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (value->type != jbvBinary)
		return;

	if (JsonContainerIsObject(value->val.binary.data))
	{
		cut_object(cut, step, node, value->val.binary.data);
		return;
	}

	/* arrays in arrays are one to shred.c, and to us */
	check_stack_depth();
	step->in_array = true;
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			cut_value(cut, step, node, &element);
}

/*
 * Make a document of an object and what is around it.
 */
static Jsonb *
enclose(const PruneCut *cut, const PruneStep *way, const WaNode *node,
		const WaCut *wanted)
{
	uint64		tables = tables_in(node);
	JsonbValue	inner;
	JsonbValue *value = &inner;

	if (way == NULL)
		return wanted->instead ? wanted->instead : cut->document;

	inner.type = jbvBinary;
	inner.val.binary.data = wanted->instead ? &wanted->instead->root :
		wanted->object;
	inner.val.binary.len = 0;	/* not needed where it is pushed */

	for (const PruneStep *step = way; step != NULL; step = step->outer)
	{
		JsonbParseState *state = NULL;
		JsonbValue	key = step->key;

		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_context(&state, step, tables);
		pushJsonbValue(&state, WJB_KEY, &key);
		if (step->in_array)
		{
			pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
			pushJsonbValue(&state, WJB_ELEM, value);
			pushJsonbValue(&state, WJB_END_ARRAY, NULL);
		}
		else
			pushJsonbValue(&state, WJB_VALUE, value);
		value = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return JsonbValueToJsonb(value);
}

/*
 * Push the members of an enclosing object that tell something of rows of some
 * tables that are made in it.
 */
static void
push_context(JsonbParseState **state, const PruneStep *step, uint64 tables)
{
	const WaNode *next = step->node->first_child;
	const WaNode *child = NULL;
	JsonbIterator *it = JsonbIteratorInit(step->object);
	JsonbIteratorToken token;
	JsonbValue	member;
	JsonbValue	key;

	while ((token = JsonbIteratorNext(&it, &member, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			key = member;
			child = wa_tree_step(&next, &key);
		}
		else if (token == WJB_VALUE && child != NULL && child != step->child &&
				 is_context(child, &member, tables))
		{
			pushJsonbValue(state, WJB_KEY, &key);
			push_told(state, child, &member, tables);
		}
	}
}

/*
 * Push what a member tells, without what else may be in it.
 */
static void
push_told(JsonbParseState **state, const WaNode *node, JsonbValue *value,
		  uint64 tables)
{
	PruneStep	step = {.node = node};

	if (node->tables != 0 || value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
	{
		pushJsonbValue(state, WJB_VALUE, value);
		return;
	}

	check_stack_depth();
	step.object = value->val.binary.data;
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_context(state, &step, tables);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * Does a member tell something of rows of the tables?  One that makes rows
 * itself, such as the context of a thread, may, but there is no sense in
 * taking a list.
 */
static bool
is_context(const WaNode *node, const JsonbValue *value, uint64 tables)
{
	if (node->tables != 0)
		return (node->told & tables) != 0 && value->type == jbvBinary &&
			JsonContainerIsObject(value->val.binary.data);
	if (node->first_child == NULL && value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data))
		return false;
	return tables_in(node) == 0 &&
		((node->told & tables) != 0 || is_understood(node));
}

/*
 * The tables that have rows made at or below a node, as a bit set.
 */
static uint64
tables_in(const WaNode *node)
{
	uint64		tables = node->tables;

	for (node = node->first_child; node != NULL; node = node->next_sibling)
		tables |= tables_in(node);
	return tables;
}

static bool
is_understood(const WaNode *node)
{
	if (node->understood)
		return true;
	for (node = node->first_child; node != NULL; node = node->next_sibling)
		if (is_understood(node))
			return true;
	return false;
}

/*
 * Returns where an object is in a sorted list, or -1.
 */
static int
find_object(JsonbContainer *const *objects, int nobjects,
			const JsonbContainer *object)
{
	JsonbContainer *const *found = bsearch(&object, objects, nobjects,
										   sizeof(JsonbContainer *),
										   compare_objects);

	return found ? found - objects : -1;
}

static int
compare_objects(const void *a, const void *b)
{
	const JsonbContainer *x = *(JsonbContainer *const *) a;
	const JsonbContainer *y = *(JsonbContainer *const *) b;

	return x < y ? -1 : x > y;
}
