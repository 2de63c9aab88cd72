/*-------------------------------------------------------------------------
 *
 * behalf.c
 *	  What is done as the owner, for who may see what it is about.
 *
 * Who may queue messages may not set their state, and who may see a number may
 * not see its secrets.  So the row is looked for as who calls, with what that
 * role may see; and what it takes is then done as the owner of our tables.
 *
 * IDENTIFICATION
 *	  src/behalf.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "whatsapp.h"

static WaQuery see_row = {
	.sql = "SELECT o.queued_by OPERATOR(pg_catalog.=) SESSION_USER::pg_catalog.text"
	" OR pg_catalog.has_column_privilege('whatsapp.outbox', 'state', 'UPDATE')"
	" FROM whatsapp.outbox o WHERE o.id OPERATOR(pg_catalog.=) $1",
	.nargs = 1,
	.types = {INT8OID},
	.read_only = true,
};

static WaQuery cancel_row = {
	.sql = "UPDATE whatsapp.outbox o"
	" SET state = 'cancelled', finished_at = pg_catalog.now()"
	" WHERE o.id OPERATOR(pg_catalog.=) $1"
	" AND o.state OPERATOR(pg_catalog.=) 'queued'",
	.nargs = 1,
	.types = {INT8OID},
};

static WaQuery see_all = {
	.sql = "SELECT NOT pg_catalog.row_security_active('whatsapp.outbox')"
	" OR whatsapp.sees_all()",
	.read_only = true,
};

static WaQuery see_number = {
	.sql = "SELECT FROM whatsapp.numbers n"
	" WHERE n.phone_number_id OPERATOR(pg_catalog.=) $1",
	.nargs = 1,
	.types = {TEXTOID},
	.read_only = true,
};

static WaQuery find_access_token = {
	.sql = "SELECT FROM whatsapp.valid_secrets s"
	" WHERE s.kind OPERATOR(pg_catalog.=) 'access_token'"
	" AND s.phone_number_id OPERATOR(pg_catalog.=) $1",
	.nargs = 1,
	.types = {TEXTOID},
	.read_only = true,
};

static WaQuery find_app_secret = {
	.sql = "SELECT WHERE whatsapp.appsecret_proof($1, '') IS NOT NULL",
	.nargs = 1,
	.types = {TEXTOID},
	.read_only = true,
};

static void check_row(Datum id, bool isnull);
static bool has_secret(FunctionCallInfo fcinfo, WaQuery *query);
static uint64 execute_as_owner(WaQuery *query, Datum *values);

PG_FUNCTION_INFO_V1(whatsapp_cancel);
PG_FUNCTION_INFO_V1(whatsapp_has_access_token);
PG_FUNCTION_INFO_V1(whatsapp_has_app_secret);
PG_FUNCTION_INFO_V1(whatsapp_owner);

/*
 * whatsapp.cancel(id bigint) returns boolean
 */
Datum
whatsapp_cancel(PG_FUNCTION_ARGS)
{
	Datum		id = PG_GETARG_DATUM(0);
	uint64		ncancelled;

	wa_connect();
	check_row(id, PG_ARGISNULL(0));
	ncancelled = execute_as_owner(&cancel_row, &id);
	SPI_finish();
	PG_RETURN_BOOL(ncancelled > 0);
}

/*
 * whatsapp.has_access_token(phone_number_id text) returns boolean
 */
Datum
whatsapp_has_access_token(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(has_secret(fcinfo, &find_access_token));
}

/*
 * whatsapp.has_app_secret(phone_number_id text) returns boolean
 */
Datum
whatsapp_has_app_secret(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(has_secret(fcinfo, &find_app_secret));
}

/*
 * whatsapp.owner() returns oid
 */
Datum
whatsapp_owner(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(wa_owner());
}

/*
 * May the caller see a number?  The caller of this has called wa_connect().
 */
bool
wa_sees_number(const char *phone_number_id)
{
	Datum		number = CStringGetTextDatum(phone_number_id);

	wa_execute(&see_number, &number, NULL);
	return SPI_processed > 0;
}

/*
 * May the caller see all numbers?  The caller of this has called wa_connect().
 */
bool
wa_sees_all(void)
{
	bool		isnull;

	wa_execute(&see_all, NULL, NULL);
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Who owns all that is ours: the owner of our tables.  The owner of the
 * extension is the same, but for pg_upgrade, which does not keep that.
 */
Oid
wa_owner(void)
{
	Oid			relid = get_relname_relid("outbox",
										  get_namespace_oid("whatsapp", false));
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Complain unless the caller sees the row, and has queued it or may set its
 * state.
 */
static void
check_row(Datum id, bool isnull)
{
	bool		no_answer;

	if (!isnull)
		wa_execute(&see_row, &id, NULL);
	if (isnull || SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("outbox row %s is not there", isnull ? "NULL" :
						psprintf(INT64_FORMAT, DatumGetInt64(id)))));
	if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									SPI_tuptable->tupdesc, 1, &no_answer)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("outbox row " INT64_FORMAT " was queued by another role",
						DatumGetInt64(id)),
				 errhint("Roles with level \"admin\" cancel messages of others.")));
}

static bool
has_secret(FunctionCallInfo fcinfo, WaQuery *query)
{
	Datum		number = PG_GETARG_DATUM(0);
	bool		result;

	wa_connect();
	result = wa_sees_number(TextDatumGetCString(number)) &&
		execute_as_owner(query, &number) > 0;
	SPI_finish();
	return result;
}

/*
 * Execute a query as the owner of our tables.  Returns how many rows it was
 * about.  An error sets the user back, with the transaction or subtransaction.
 */
static uint64
execute_as_owner(WaQuery *query, Datum *values)
{
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(wa_owner(),
						   context | SECURITY_LOCAL_USERID_CHANGE);
	wa_execute(query, values, NULL);
	SetUserIdAndSecContext(user, context);
	return SPI_processed;
}
