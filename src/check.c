/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Messages that are queued, held against the rules of rules.c.
 *
 * The paths of the rules are taken apart once in the life of a backend.  A
 * message is then walked rule by rule, and the first that is broken is told:
 * where, what was asked for, and what was there instead; but never the text of
 * the message.
 *
 * IDENTIFICATION
 *	  src/check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_collation_d.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "whatsapp.h"

#define MAX_DEPTH		12
#define MAX_SHOWN		40		/* characters of a value that are shown */
#define MAX_NUMBER		100		/* and of one that is a number */

/* A key of a path, and which of what is there */
typedef struct Step
{
	const char *key;
	int			key_len;
	bool		each;			/* it is an array, and it is about elements */
	const char *member;			/* of which this member, if not NULL, */
	int			member_len;
	const char *value;			/* has this value */
	bool		unless;			/* or has another */
} Step;

typedef enum Root
{
	ROOT_CONTENT,
	ROOT_OPTIONS,
	ROOT_REPLY_TO,
	ROOT_CALLBACK_DATA,
	ROOT_RECIPIENT_TYPE
} Root;

typedef struct ParsedRule
{
	const WaRule *rule;
	int			number;
	Root		root;
	int			nsteps;
	Step	   *steps;
} ParsedRule;

/* The rules for messages of one type */
typedef struct TypeRules
{
	const char *type;
	int			nrules;
	ParsedRule *rules;
} TypeRules;

typedef struct Check
{
	const ParsedRule *parsed;
	int			places[MAX_DEPTH];	/* in the arrays that it is in */
	int			sizes[MAX_DEPTH];
	int			total;
	List	   *seen;			/* of JsonbValue */

	/* what is broken, if anything is */
	int			depth;
	const char *wish;
	const char *given;
} Check;

/* What to do about something that is no object, array or string */
static const char shape_hint[] = "An example of each kind of message is in docs/sending.md.";

static TypeRules *known_types;
static int	nknown_types;

static Datum complain(FunctionCallInfo fcinfo, const Check *check);
static void parse_rules(void);
static void parse_rule(const WaRule *rule, int number, ParsedRule *parsed);
static const TypeRules *rules_of(const char *type, int len);
static JsonbValue *kind_of(JsonbValue *content);
static bool is_direct_send(JsonbValue *options);
static bool is_of_another_kind(const ParsedRule *parsed, JsonbValue *kind);
static bool holds(Check *check, JsonbValue *root);
static bool holds_in(Check *check, JsonbValue *parent, int depth);
static bool holds_of_child(Check *check, JsonbValue *parent, JsonbValue *child,
						   int depth);
static bool holds_at(Check *check, JsonbValue *value, int depth);
static bool is_meant(const Step *step, JsonbValue *value);
static bool judge(Check *check, JsonbValue *value, int depth);
static bool judge_string(Check *check, JsonbValue *value, int depth);
static bool judge_keys(Check *check, JsonbValue *value, int depth);
static bool is_new(Check *check, JsonbValue *value);
static bool is_same(Check *check, JsonbValue *value);
static bool is_equal(JsonbValue *a, JsonbValue *b);
static bool adds_up(JsonbValue *order, const char **given);
static bool get_amount(JsonbValue *object, const char *key, double *value);
static bool fail(Check *check, int depth, const char *wish, const char *given);
static const char *where(const Check *check);
static const char *show(JsonbValue *value);
static const char *kind_name(JsonbValue *value);
static JsonbValue *get_member(JsonbValue *object, const char *key, int len);
static bool get_number(JsonbValue *value, double *number);
static int	count_elements(JsonbValue *value);
static bool is_object(JsonbValue *value);
static bool is_array(JsonbValue *value);
static bool is_string(JsonbValue *value);
static bool is_word(JsonbValue *string, const char *words, char separator);
static JsonbValue *root_of(Jsonb *json);
static Jsonb *body_content(text *body);
static JsonbValue *make_string(text *string);

PG_FUNCTION_INFO_V1(whatsapp_complaint);

/*
 * whatsapp.complaint(type text, recipient_type text, body text,
 *		content jsonb, options jsonb, reply_to text, callback_data text)
 *		returns record (complaint text, detail text, hint text, rule integer)
 */
Datum
whatsapp_complaint(PG_FUNCTION_ARGS)
{
	text	   *type = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	bool		in_group = !PG_ARGISNULL(1) &&
	text_to_cstring(PG_GETARG_TEXT_PP(1))[0] == 'g';
	JsonbValue *roots[] = {NULL, NULL, NULL, NULL, NULL};
	const TypeRules *rules;
	JsonbValue *kind_of_message;
	bool		is_direct;
	MemoryContext context;
	MemoryContext old_context;
	Check		check = {0};

	if (type == NULL)
		PG_RETURN_NULL();
	if (!PG_ARGISNULL(3))
		roots[ROOT_CONTENT] = root_of(PG_GETARG_JSONB_P(3));
	else if (!PG_ARGISNULL(2))
		roots[ROOT_CONTENT] = root_of(body_content(PG_GETARG_TEXT_PP(2)));
	if (!PG_ARGISNULL(4))
		roots[ROOT_OPTIONS] = root_of(PG_GETARG_JSONB_P(4));
	if (!PG_ARGISNULL(5))
		roots[ROOT_REPLY_TO] = make_string(PG_GETARG_TEXT_PP(5));
	if (!PG_ARGISNULL(6))
		roots[ROOT_CALLBACK_DATA] = make_string(PG_GETARG_TEXT_PP(6));

	parse_rules();
	rules = rules_of(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type));
	kind_of_message = kind_of(roots[ROOT_CONTENT]);
	is_direct = is_direct_send(roots[ROOT_OPTIONS]);

	/* what it takes to try a rule is not to add up */
	context = AllocSetContextCreate(CurrentMemoryContext,
									"whatsapp message check",
									ALLOCSET_SMALL_SIZES);
	for (int i = 0; i < rules->nrules; i++)
	{
		const ParsedRule *parsed = &rules->rules[i];
		WaRuleKind	kind = parsed->rule->kind;
		bool		is_fine;

		if (is_of_another_kind(parsed, kind_of_message) ||
			(is_direct && parsed->rule->is_free_form))
			continue;
		check.parsed = parsed;
		if (kind == WA_NO_GROUP || kind == WA_ONLY_GROUP)
			is_fine = in_group == (kind == WA_ONLY_GROUP) ||
				fail(&check, 0, NULL, NULL);
		else
		{
			old_context = MemoryContextSwitchTo(context);
			is_fine = holds(&check, roots[parsed->root]);
			MemoryContextSwitchTo(old_context);
		}
		if (!is_fine)
			PG_RETURN_DATUM(complain(fcinfo, &check));
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	PG_RETURN_NULL();
}

/*
 * The row that tells what is broken.
 */
static Datum
complain(FunctionCallInfo fcinfo, const Check *check)
{
	const WaRule *rule = check->parsed->rule;
	Datum		values[4];
	bool		nulls[4] = {0};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] =
		CStringGetTextDatum(psprintf("%s %s", where(check),
									 check->wish != NULL ? check->wish :
									 wa_rule_wish(rule)));
	nulls[1] = check->given == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(check->given);
	values[2] = CStringGetTextDatum(check->wish != NULL ? shape_hint :
									wa_rule_hint(rule));
	values[3] = Int32GetDatum(check->parsed->number);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

/*
 * Take the paths apart, for each type by itself, once.
 */
static void
parse_rules(void)
{
	MemoryContext context;
	MemoryContext old_context;
	TypeRules  *types;
	int			ntypes = 1;

	if (known_types != NULL)
		return;

	/* if this fails half way, it ends with the caller's */
	context = AllocSetContextCreate(CurrentMemoryContext,
									"whatsapp message rules",
									ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	types = palloc0(sizeof(TypeRules) * (wa_nrules + 1));
	types[0].type = "*";
	for (int i = 0; i < wa_nrules; i++)
	{
		int			t = 0;

		while (t < ntypes && strcmp(types[t].type, wa_rules[i].type) != 0)
			t++;
		if (t == ntypes)
			types[ntypes++].type = wa_rules[i].type;
	}
	for (int t = 0; t < ntypes; t++)
	{
		types[t].rules = palloc0(sizeof(ParsedRule) * wa_nrules);
		for (int i = 0; i < wa_nrules; i++)
		{
			if (strcmp(wa_rules[i].type, types[t].type) == 0 ||
				strcmp(wa_rules[i].type, "*") == 0)
				parse_rule(&wa_rules[i], i + 1,
						   &types[t].rules[types[t].nrules++]);
		}
		types[t].rules = repalloc(types[t].rules,
								  sizeof(ParsedRule) * types[t].nrules);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextSetParent(context, TopMemoryContext);
	nknown_types = ntypes;
	known_types = types;
}

/*
 * Take one path apart.  What comes of it points into the path.
 */
static void
parse_rule(const WaRule *rule, int number, ParsedRule *parsed)
{
	const char *c = rule->path;
	int			ndots = 0;

	for (const char *dot = c; *dot != '\0'; dot++)
		ndots += *dot == '.';
	if (ndots >= MAX_DEPTH)
		elog(ERROR, "path of rule %d is too deep", number);
	parsed->steps = palloc0(sizeof(Step) * (ndots + 1));
	parsed->rule = rule;
	parsed->number = number;
	while (*c != '\0')
	{
		Step	   *step = &parsed->steps[parsed->nsteps++];

		step->key = c;
		step->key_len = strcspn(c, ".[");
		c += step->key_len;
		if (*c == '[')
		{
			const char *end = strchr(c, ']');

			step->each = c + 1 == end;
			if (!step->each)
			{
				step->member = c + 1;
				step->member_len = strcspn(c + 1, "!=");
				c += 1 + step->member_len;
				step->unless = *c == '!';
				c += 1 + step->unless;
				step->value = pnstrdup(c, end - c);
			}
			c = end + 1;
		}
		if (*c == '.')
			c++;
	}

	if (strncmp(rule->path, "options", parsed->steps[0].key_len) == 0)
		parsed->root = ROOT_OPTIONS;
	else if (strcmp(rule->path, "reply_to") == 0)
		parsed->root = ROOT_REPLY_TO;
	else if (strcmp(rule->path, "callback_data") == 0)
		parsed->root = ROOT_CALLBACK_DATA;
	else if (strcmp(rule->path, "recipient_type") == 0)
		parsed->root = ROOT_RECIPIENT_TYPE;
	else
		parsed->root = ROOT_CONTENT;
}

/*
 * The rules for messages of a type; of one that has none of its own, those for
 * all.
 */
static const TypeRules *
rules_of(const char *type, int len)
{
	for (int t = 1; t < nknown_types; t++)
	{
		if (strncmp(known_types[t].type, type, len) == 0 &&
			known_types[t].type[len] == '\0')
			return &known_types[t];
	}
	return &known_types[0];
}

/*
 * Most rules for interactive messages are about one kind of them: what the
 * "type" in their content says.
 */
static JsonbValue *
kind_of(JsonbValue *content)
{
	JsonbValue *kind;

	if (content == NULL || !is_object(content))
		return NULL;
	kind = get_member(content, "type", 4);
	return kind != NULL && is_string(kind) ? kind : NULL;
}

/*
 * Is it to be sent without a template, and yet outside of the 24 hours?
 */
static bool
is_direct_send(JsonbValue *options)
{
	JsonbValue *category;

	if (options == NULL || !is_object(options))
		return false;
	category = get_member(options, "category", 8);
	return category != NULL && category->type != jbvNull;
}

/*
 * So that these need not be tried for others.
 */
static bool
is_of_another_kind(const ParsedRule *parsed, JsonbValue *kind)
{
	const Step *step = &parsed->steps[0];

	return kind != NULL && parsed->root == ROOT_CONTENT &&
		step->member != NULL && step->member_len == 4 &&
		strncmp(step->member, "type", 4) == 0 &&
		is_word(kind, step->value, '|') == step->unless;
}

/*
 * Does a rule hold?  If not, it is noted why.
 */
static bool
holds(Check *check, JsonbValue *root)
{
	const ParsedRule *parsed = check->parsed;

	check->total = 0;
	check->seen = NIL;
	if (!holds_of_child(check, NULL, root, 0))
		return false;
	if (parsed->rule->kind == WA_TOTAL && check->total > parsed->rule->most)
	{
		/* it is about all of them */
		for (int i = 0; i < parsed->nsteps; i++)
			check->places[i] = -1;
		return fail(check, parsed->nsteps - 1, NULL,
					psprintf("There are %d.", check->total));
	}
	return true;
}

/*
 * Does a rule hold for what its path leads to from an object?
 */
static bool
holds_in(Check *check, JsonbValue *parent, int depth)
{
	const Step *step = &check->parsed->steps[depth];

	return holds_of_child(check, parent,
						  get_member(parent, step->key, step->key_len), depth);
}

/*
 * The same, for a member of that object, which may not be there.
 */
static bool
holds_of_child(Check *check, JsonbValue *parent, JsonbValue *child, int depth)
{
	const Step *step = &check->parsed->steps[depth];
	const WaRule *rule = check->parsed->rule;
	int			nelements;

	if (child == NULL || child->type == jbvNull)
	{
		if (depth < check->parsed->nsteps - 1)
			return true;
		if (rule->kind == WA_REQUIRED || rule->kind == WA_THERE ||
			(rule->kind == WA_NEEDED_OF_SEVERAL &&
			 check->sizes[depth - 1] > 1))
			return fail(check, depth, NULL, NULL);
		return true;
	}
	if (rule->kind == WA_NEEDS && depth == check->parsed->nsteps - 1)
	{
		JsonbValue *other = get_member(parent, rule->text, strlen(rule->text));

		return (other != NULL && other->type != jbvNull) ||
			fail(check, depth, NULL, NULL);
	}

	check->places[depth] = -1;
	if (!step->each && !(step->member != NULL && is_array(child)))
		return !is_meant(step, child) || holds_at(check, child, depth);

	if (!is_array(child))
		return fail(check, depth, "must be an array", kind_name(child));
	nelements = count_elements(child);
	check->sizes[depth] = nelements;
	for (int i = 0; i < nelements; i++)
	{
		JsonbValue *element;

		CHECK_FOR_INTERRUPTS();
		check->places[depth] = i;
		element = getIthJsonbValueFromContainer(child->val.binary.data, i);
		if (is_meant(step, element) && !holds_at(check, element, depth))
			return false;
	}
	return true;
}

/*
 * The same, for what is at some step of the path.
 */
static bool
holds_at(Check *check, JsonbValue *value, int depth)
{
	if (depth == check->parsed->nsteps - 1)
		return judge(check, value, depth);
	if (!is_object(value))
		return fail(check, depth, "must be an object", kind_name(value));
	return holds_in(check, value, depth + 1);
}

/*
 * Is this one of the objects that a step is about?
 */
static bool
is_meant(const Step *step, JsonbValue *value)
{
	JsonbValue *member;
	bool		is_it;

	if (step->member == NULL)
		return true;
	if (!is_object(value))
		return false;
	member = get_member(value, step->member, step->member_len);
	is_it = member != NULL && is_string(member) &&
		is_word(member, step->value, '|');
	return is_it != step->unless;
}

/*
 * Does the rule hold for a value that it is about, and that is there?
 */
static bool
judge(Check *check, JsonbValue *value, int depth)
{
	const WaRule *rule = check->parsed->rule;
	const char *given;
	double		number;
	int			count;

	switch (rule->kind)
	{
		case WA_REQUIRED:
		case WA_NEEDED_OF_SEVERAL:
			return !is_string(value) || value->val.string.len > 0 ||
				fail(check, depth, NULL, "It is empty.");
		case WA_FORBIDDEN:
			return fail(check, depth, NULL, NULL);
		case WA_ONE_OF:
		case WA_ANY_OF:
			return judge_keys(check, value, depth);
		case WA_VALUES:
			return (is_string(value) && is_word(value, rule->text, ' ')) ||
				fail(check, depth, NULL, show(value));
		case WA_LENGTH:
		case WA_MATCHES:
			return judge_string(check, value, depth);
		case WA_RANGE:
			return (get_number(value, &number) && number >= rule->least &&
					number <= rule->most) ||
				fail(check, depth, NULL, show(value));
		case WA_COUNT:
			if (!is_array(value) && !is_object(value))
				return fail(check, depth, "must be an array", kind_name(value));
			count = count_elements(value);
			return (count >= rule->least && count <= rule->most) ||
				fail(check, depth, NULL, psprintf("It has %d.", count));
		case WA_TOTAL:
			check->total++;
			return true;
		case WA_UNIQUE:
			return is_new(check, value) || fail(check, depth, NULL, NULL);
		case WA_SAME:
			return is_same(check, value) || fail(check, depth, NULL, NULL);
		case WA_ADDS_UP:
			return adds_up(value, &given) || fail(check, depth, NULL, given);
		case WA_THERE:
		case WA_NEEDS:
		case WA_NO_GROUP:
		case WA_ONLY_GROUP:
			break;
	}
	return true;
}

/*
 * A string is to be no longer than that, or to match.
 */
static bool
judge_string(Check *check, JsonbValue *value, int depth)
{
	const WaRule *rule = check->parsed->rule;
	int			len;
	text	   *pattern;

	if (!is_string(value))
		return fail(check, depth, "must be a string", kind_name(value));
	if (rule->kind == WA_LENGTH)
	{
		/* it cannot have more characters than bytes */
		if (value->val.string.len <= rule->most)
			return true;
		if (value->val.string.len > rule->most * MAX_UNICODE_EQUIVALENT_STRING)
			return fail(check, depth, NULL,
						psprintf("It has %d bytes.", value->val.string.len));
		len = pg_mbstrlen_with_len(value->val.string.val,
								   value->val.string.len);
		return len <= rule->most ||
			fail(check, depth, NULL, psprintf("It has %d.", len));
	}

	pattern = cstring_to_text(rule->text);
	return RE_compile_and_execute(pattern, value->val.string.val,
								  value->val.string.len, REG_ADVANCED,
								  C_COLLATION_OID, 0, NULL) ||
		fail(check, depth, NULL, NULL);
}

/*
 * An object is to have just one of some keys, or one at least.
 */
static bool
judge_keys(Check *check, JsonbValue *value, int depth)
{
	const WaRule *rule = check->parsed->rule;
	int			count = 0;

	if (!is_object(value))
		return fail(check, depth, "must be an object", kind_name(value));
	for (const char *key = rule->text; *key != '\0';)
	{
		int			len = strcspn(key, " ");
		JsonbValue *member = get_member(value, key, len);

		if (member != NULL && member->type != jbvNull &&
			!(is_string(member) && member->val.string.len == 0))
			count++;
		key += len;
		key += strspn(key, " ");
	}
	return count == 1 || (count > 1 && rule->kind == WA_ANY_OF) ||
		fail(check, depth, NULL, psprintf("It has %d of them.", count));
}

/*
 * Is a value different from all before it?
 */
static bool
is_new(Check *check, JsonbValue *value)
{
	ListCell   *lc;

	if (!IsAJsonbScalar(value))
		return true;
	foreach(lc, check->seen)
	{
		if (is_equal(lfirst(lc), value))
			return false;
	}
	check->seen = lappend(check->seen, value);
	return true;
}

/*
 * Is a value like the first one?  Arrays are, if they are as long.
 */
static bool
is_same(Check *check, JsonbValue *value)
{
	JsonbValue *first;

	if (check->seen == NIL)
	{
		check->seen = lappend(NIL, value);
		return true;
	}
	first = linitial(check->seen);
	if (is_array(first) && is_array(value))
		return count_elements(first) == count_elements(value);
	if (!IsAJsonbScalar(first) || !IsAJsonbScalar(value))
		return IsAJsonbScalar(first) == IsAJsonbScalar(value);
	return is_equal(first, value);
}

static bool
is_equal(JsonbValue *a, JsonbValue *b)
{
	if (a->type != b->type)
		return false;
	if (a->type == jbvString)
		return a->val.string.len == b->val.string.len &&
			memcmp(a->val.string.val, b->val.string.val,
				   a->val.string.len) == 0;
	if (a->type == jbvNumeric)
		return DatumGetBool(DirectFunctionCall2(numeric_eq,
												NumericGetDatum(a->val.numeric),
												NumericGetDatum(b->val.numeric)));
	return a->type == jbvNull || a->val.boolean == b->val.boolean;
}

/*
 * Is the total of an order what its parts come to?  Only if all are there that
 * must be is there anything to say about it.
 */
static bool
adds_up(JsonbValue *order, const char **given)
{
	JsonbValue *parts = is_object(order) ? get_member(order, "order", 5) : NULL;
	double		total;
	double		sum;
	double		part;

	if (parts == NULL || !is_object(parts) ||
		!get_amount(order, "total_amount", &total) ||
		!get_amount(parts, "subtotal", &sum))
		return true;
	if (get_amount(parts, "tax", &part))
		sum += part;
	if (get_amount(parts, "shipping", &part))
		sum += part;
	if (get_amount(parts, "discount", &part))
		sum -= part;
	*given = psprintf("The total is %.15g, and the parts come to %.15g.",
					  total, sum);
	return fabs(total - sum) < 0.5;
}

/*
 * The value of an amount, such as {"value": 1000, "offset": 100}.
 */
static bool
get_amount(JsonbValue *object, const char *key, double *value)
{
	JsonbValue *amount = get_member(object, key, strlen(key));
	JsonbValue *member;

	if (amount == NULL || !is_object(amount))
		return false;
	member = get_member(amount, "value", 5);
	return member != NULL && get_number(member, value);
}

/*
 * Note what is broken.  Without a wish it is what the rule says.
 */
static bool
fail(Check *check, int depth, const char *wish, const char *given)
{
	check->depth = depth;
	check->wish = wish;
	check->given = given;
	return false;
}

/*
 * The path to what is broken.
 */
static const char *
where(const Check *check)
{
	StringInfoData path;

	initStringInfo(&path);
	for (int i = 0; i <= check->depth; i++)
	{
		const Step *step = &check->parsed->steps[i];

		appendStringInfo(&path, "%s%.*s", i > 0 ? "." : "", step->key_len,
						 step->key);
		if (i == check->depth && check->wish != NULL &&
			strcmp(check->wish, "must be an array") == 0)
			break;
		if (check->places[i] >= 0 && (step->each || step->member != NULL))
			appendStringInfo(&path, "[%d]", check->places[i]);
		else if (step->each)
			appendStringInfoString(&path, "[]");
	}
	return path.data;
}

/*
 * A value that should be a number, or one of some words.
 */
static const char *
show(JsonbValue *value)
{
	if (value->type == jbvNumeric)
	{
		char	   *number = numeric_normalize(value->val.numeric);

		return strlen(number) <= MAX_SHOWN ? psprintf("It is %s.", number) :
			kind_name(value);
	}
	if (is_string(value) && value->val.string.len > 0 &&
		value->val.string.len <= MAX_SHOWN &&
		strspn(pnstrdup(value->val.string.val, value->val.string.len),
			   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			   "0123456789_.+-") == value->val.string.len)
		return psprintf("It is \"%.*s\".", value->val.string.len,
						value->val.string.val);
	return kind_name(value);
}

/*
 * What kind of value it is: it may be the text of the message.
 */
static const char *
kind_name(JsonbValue *value)
{
	if (is_array(value))
		return "It is an array.";
	if (is_object(value))
		return "It is an object.";
	switch (value->type)
	{
		case jbvString:
			return value->val.string.len == 0 ? "It is empty." :
				"It is a string.";
		case jbvNumeric:
			return "It is a number.";
		case jbvBool:
			return value->val.boolean ? "It is true." : "It is false.";
		default:
			return "It is null.";
	}
}

static JsonbValue *
get_member(JsonbValue *object, const char *key, int len)
{
	return getKeyJsonValueFromContainer(object->val.binary.data, key, len,
										NULL);
}

/*
 * A number, in a string or not.
 */
static bool
get_number(JsonbValue *value, double *number)
{
	char	   *string;
	char	   *end;

	if (value->type == jbvNumeric)
		string = numeric_normalize(value->val.numeric);
	else if (is_string(value) && value->val.string.len > 0 &&
			 value->val.string.len <= MAX_NUMBER)
		string = pnstrdup(value->val.string.val, value->val.string.len);
	else
		return false;
	if (strspn(string, "+-.0123456789eE") != strlen(string))
		return false;
	*number = strtod(string, &end);
	return *end == '\0';
}

static int
count_elements(JsonbValue *value)
{
	return JsonContainerSize(value->val.binary.data);
}

static bool
is_object(JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data);
}

static bool
is_array(JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsArray(value->val.binary.data);
}

static bool
is_string(JsonbValue *value)
{
	return value->type == jbvString;
}

/*
 * Is a string one of some words?  Meta does not care about the case of most.
 */
static bool
is_word(JsonbValue *string, const char *words, char separator)
{
	int			len = string->val.string.len;

	for (const char *word = words; word != NULL;)
	{
		const char *end = strchr(word, separator);

		if (pg_strncasecmp(word, string->val.string.val, len) == 0 &&
			(end != NULL ? word + len == end : word[len] == '\0'))
			return true;
		word = end != NULL ? end + 1 : NULL;
	}
	return false;
}

/*
 * A document as a value.
 */
static JsonbValue *
root_of(Jsonb *json)
{
	JsonbValue *value;

	if (JB_ROOT_IS_SCALAR(json))
		return getIthJsonbValueFromContainer(&json->root, 0);
	value = palloc0(sizeof(JsonbValue));
	value->type = jbvBinary;
	value->val.binary.data = &json->root;
	value->val.binary.len = VARSIZE(json) - VARHDRSZ;
	return value;
}

/*
 * The content that a text message is made of.
 */
static Jsonb *
body_content(text *body)
{
	static char body_key[] = "body";
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = body_key;
	key.val.string.len = strlen(body_key);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, make_string(body));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static JsonbValue *
make_string(text *string)
{
	JsonbValue *value = palloc0(sizeof(JsonbValue));

	value->type = jbvString;
	value->val.string.val = VARDATA_ANY(string);
	value->val.string.len = VARSIZE_ANY_EXHDR(string);
	return value;
}
