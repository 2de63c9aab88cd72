/*-------------------------------------------------------------------------
 *
 * databases.c
 *	  Leave a database alone that a command needs to be left by all.
 *
 * DROP DATABASE, ALTER DATABASE ... RENAME and ... SET TABLESPACE, and CREATE
 * DATABASE ... TEMPLATE fail while anybody else is connected to the database,
 * as its sender always is.  So before one of them is executed, the sender is
 * ended.  When the transaction is over, however that comes about, another is
 * started if the database is still there.
 *
 * Who may not execute the command ends no sender by it, nor does most of what
 * will fail.
 *
 * IDENTIFICATION
 *	  src/databases.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "whatsapp.h"

/*
 * How long to wait for a sender to end, in ms.  It takes a second to wait for
 * answers, and more only if something is wrong; the command then says so.
 */
#define MAX_WAIT	5000

static ProcessUtility_hook_type prev_process_utility = NULL;

/* Databases that we have barred in this transaction; in TopMemoryContext */
static List *barred = NIL;

static void process_utility(PlannedStmt *statement, const char *query,
							bool is_read_only, ProcessUtilityContext context,
							ParamListInfo params, QueryEnvironment *environment,
							DestReceiver *dest, QueryCompletion *completion);
static Oid	database_to_be_left(Node *statement, bool is_alone);
static Oid	database_of_ours(const char *name);
static Oid	template_to_be_copied(const CreatedbStmt *statement);
static bool may_create_databases(void);
static bool is_template(Oid database);
static void bar(Oid database);
static void on_transaction_end(XactEvent event, void *arg);

/*
 * To be called while the library is being preloaded.
 */
void
wa_databases_init(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(on_transaction_end, NULL);
}

static void
process_utility(PlannedStmt *statement, const char *query, bool is_read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	bool		is_alone = context == PROCESS_UTILITY_TOPLEVEL &&
	!IsTransactionBlock();
	Oid			database = database_to_be_left(statement->utilityStmt,
											   is_alone);

	if (OidIsValid(database))
		bar(database);

	if (prev_process_utility)
		prev_process_utility(statement, query, is_read_only, context, params,
							 environment, dest, completion);
	else
		standard_ProcessUtility(statement, query, is_read_only, context,
								params, environment, dest, completion);
}

/*
 * Which database has to be left by all for a command?  InvalidOid if it is
 * none, or the command will fail anyway.  Most fail in a transaction block or
 * a function.
 */
static Oid
database_to_be_left(Node *statement, bool is_alone)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			if (!is_alone)
				return InvalidOid;
			return database_of_ours(((DropdbStmt *) statement)->dbname);

		case T_CreatedbStmt:
			if (!is_alone)
				return InvalidOid;
			return template_to_be_copied((CreatedbStmt *) statement);

		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType != OBJECT_DATABASE ||
				!may_create_databases() ||
				OidIsValid(get_database_oid(((RenameStmt *) statement)->newname,
											true)))
				return InvalidOid;
			return database_of_ours(((RenameStmt *) statement)->subname);

		case T_AlterDatabaseStmt:
			{
				AlterDatabaseStmt *alter = (AlterDatabaseStmt *) statement;
				ListCell   *cell;

				foreach(cell, alter->options)
				{
					DefElem    *option = lfirst(cell);

					if (strcmp(option->defname, "tablespace") == 0 && is_alone &&
						OidIsValid(get_tablespace_oid(defGetString(option),
													  true)))
						return database_of_ours(alter->dbname);
				}
				return InvalidOid;
			}

		default:
			return InvalidOid;
	}
}

/*
 * The database of a name, if it is the current user's, and not the one that we
 * are in.
 */
static Oid
database_of_ours(const char *name)
{
	Oid			database = get_database_oid(name, true);

	return OidIsValid(database) && database != MyDatabaseId &&
		owns_database(database) ? database : InvalidOid;
}

/*
 * The database that is to be copied, if the current user may do that.
 */
static Oid
template_to_be_copied(const CreatedbStmt *statement)
{
	Oid			database = InvalidOid;
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem    *option = lfirst(cell);

		/* without one it is template1, which has no sender */
		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			database = get_database_oid(defGetString(option), true);
	}
	return OidIsValid(database) && may_create_databases() &&
		!OidIsValid(get_database_oid(statement->dbname, true)) &&
		(owns_database(database) || is_template(database)) ?
		database : InvalidOid;
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		result = superuser();

	if (result)
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return result;
}

static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID,
										ObjectIdGetDatum(database));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	return result;
}

/*
 * Have a database left by its sender until the end of the transaction.
 */
static void
bar(Oid database)
{
	MemoryContext oldcontext;

	if (list_member_oid(barred, database))
		return;

	/* memory first, so that nothing can fail in between */
	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	barred = lappend_oid(barred, database);
	MemoryContextSwitchTo(oldcontext);
	if (wa_shared_bar(database))
		(void) wa_shared_wait_for_end(database, MAX_WAIT);
	else
		barred = list_delete_oid(barred, database);
}

static void
on_transaction_end(XactEvent event, void *arg)
{
	ListCell   *cell;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			foreach(cell, barred)
				wa_shared_unbar(lfirst_oid(cell));
			list_free(barred);
			barred = NIL;
			break;

		default:
			break;
	}
}
