/*-------------------------------------------------------------------------
 *
 * hooks.c
 *	  Call the functions that users want called for what webhooks bring.
 *
 * They are listed in whatsapp.hooks.  A backend reads that table once, and
 * again after it has been changed: a trigger on it then invalidates its entry
 * in the relation caches of all backends, as ALTER TABLE would.
 *
 * The caller has called wa_connect().
 *
 * IDENTIFICATION
 *	  src/hooks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "whatsapp.h"

typedef struct Hook
{
	const char *event;
	List	   *names;			/* of its schema and itself, */
	const char *function;		/* and the same, quoted as SQL needs it */
	WaQuery		call;
} Hook;

static WaQuery list_hooks = {
	.sql = "SELECT h.event, h.function FROM whatsapp.hooks h"
	" ORDER BY h.event, h.added_at, h.function",
};

static Hook *hooks = NULL;
static int	nhooks = 0;
static bool hooks_are_valid = false;
static uint64 nchanges = 0;
static Oid	hooks_relid = InvalidOid;
static MemoryContext hooks_context = NULL;
static int	calls_depth = 0;

static void call_hook(Hook *hook, Oid row_type, Datum row);
static void load_hooks(void);
static List *parse_name(const char *function);
static void check_rights(const Hook *hook, Oid row_type);
static bool may_run_as(Oid function, Oid role);
static void forget_hooks(Datum arg, Oid relid);
static void explain_failure(void *arg);

PG_FUNCTION_INFO_V1(whatsapp_hooks_changed);
PG_FUNCTION_INFO_V1(whatsapp_may_be_hook);

/*
 * Are there any hooks?
 */
bool
wa_hooks_exist(void)
{
	load_hooks();
	return nhooks > 0;
}

/*
 * Is there a hook for an event, or for NULL?
 */
bool
wa_hooks_listen(const char *event)
{
	load_hooks();
	for (int i = 0; event != NULL && i < nhooks; i++)
		if (strcmp(hooks[i].event, event) == 0)
			return true;
	return false;
}

/*
 * Call the hooks for an event, with a row.
 */
void
wa_hooks_call(const char *event, Oid row_type, Datum row)
{
	/* a hook that files webhooks, and has changed the list before: not now */
	calls_depth++;
	PG_TRY();
	{
		for (int i = 0; i < nhooks; i++)
			if (strcmp(hooks[i].event, event) == 0)
				call_hook(&hooks[i], row_type, row);
	}
	PG_FINALLY();
	{
		calls_depth--;
	}
	PG_END_TRY();
}

static void
call_hook(Hook *hook, Oid row_type, Datum row)
{
	ErrorContextCallback callback;

	callback.callback = explain_failure;
	callback.arg = hook;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	check_rights(hook, row_type);
	hook->call.types[0] = row_type;
	wa_execute(&hook->call, &row, NULL);
	SPI_freetuptable(SPI_tuptable);

	error_context_stack = callback.previous;
}

/*
 * Complain of a hook that is somebody else's than the extension's owner, who we
 * are here: functions that file webhooks are his, and run as him.  It may have
 * become that since it was added.
 */
static void
check_rights(const Hook *hook, Oid row_type)
{
	Oid			function = LookupFuncName(hook->names, 1, &row_type, false);

	if (!may_run_as(function, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s cannot be a hook", hook->function),
				 errdetail("It runs with the privileges of the extension's owner, and belongs to another role."),
				 errhint("Have the extension's owner, or a superuser, own it.")));
}

/*
 * May a function be called with the privileges of a role, the extension's
 * owner?  It must be the owner's, or that of who could have them anyway.  (That
 * it is SECURITY DEFINER is not enough: triggers that it defers would have
 * them.)
 */
static bool
may_run_as(Oid function, Oid role)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	result = superuser_arg(form->proowner) ||
		has_privs_of_role(form->proowner, role);
	ReleaseSysCache(tuple);
	return result;
}

/*
 * whatsapp.may_be_hook(function regprocedure) returns boolean
 */
Datum
whatsapp_may_be_hook(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(may_run_as(PG_GETARG_OID(0), wa_owner()));
}

/*
 * Read the list, unless what was read is still true.
 */
static void
load_hooks(void)
{
	MemoryContext oldcontext;
	uint64		changes;

	if (hooks_are_valid || calls_depth > 0)
		return;

	if (hooks_context == NULL)
	{
		hooks_context = AllocSetContextCreate(TopMemoryContext,
											  "whatsapp hooks",
											  ALLOCSET_SMALL_SIZES);
		CacheRegisterRelcacheCallback(forget_hooks, (Datum) 0);
	}
	for (int i = 0; i < nhooks; i++)
		if (hooks[i].call.plan != NULL)
			SPI_freeplan(hooks[i].call.plan);
	nhooks = 0;
	MemoryContextReset(hooks_context);

	/*
	 * As all sessions are told when it changes, what is read must be what
	 * they were told of, whatever this transaction would see of it.
	 */
	changes = nchanges;
	hooks_relid = get_relname_relid("hooks",
									get_namespace_oid("whatsapp", false));
	wa_execute_latest(&list_hooks);

	oldcontext = MemoryContextSwitchTo(hooks_context);
	hooks = palloc0(sizeof(Hook) * Max(SPI_processed, 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Hook	   *hook = &hooks[i];

		hook->event = pstrdup(SPI_getvalue(tuple, desc, 1));
		hook->names = parse_name(SPI_getvalue(tuple, desc, 2));
		hook->function = quote_qualified_identifier(strVal(linitial(hook->names)),
													strVal(lsecond(hook->names)));
		hook->call.sql = psprintf("SELECT %s($1)", hook->function);
		hook->call.nargs = 1;
	}
	nhooks = SPI_processed;
	MemoryContextSwitchTo(oldcontext);
	SPI_freetuptable(SPI_tuptable);

	/* it may have changed once more while it was read */
	hooks_are_valid = changes == nchanges;
}

/*
 * The names of a function's schema and itself, to be quoted once more: what is
 * in the table need not have been put there by add_hook(), and must not become
 * any SQL.
 */
static List *
parse_name(const char *function)
{
	List	   *names = parse_qualified_name(function);

	if (list_length(names) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("hook \"%s\" is not a schema and a function", function),
				 errhint("Add hooks with whatsapp.add_hook().")));
	return names;
}

static void
forget_hooks(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == hooks_relid)
	{
		hooks_are_valid = false;
		nchanges++;
	}
}

/*
 * Say which hook it was, and what is wrong most of the time: hooks are called
 * with a search_path in which nothing of the user's is found.
 */
static void
explain_failure(void *arg)
{
	const Hook *hook = arg;

	switch (geterrcode())
	{
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_INVALID_SCHEMA_NAME:
			errhint("Qualify names with their schema in function %s, or set its search_path: hooks are called with search_path = pg_catalog, pg_temp.",
					hook->function);
	}
	errcontext("hook %s, called for a row of event \"%s\"", hook->function,
			   hook->event);
}

/*
 * Trigger on whatsapp.hooks: have all backends read it again.
 */
Datum
whatsapp_hooks_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "not called by trigger manager");

	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
