/*-------------------------------------------------------------------------
 *
 * update.c
 *	  Grant and revoke, in a script of the extension, as if not in one.
 *
 * What a script of an extension grants and revokes counts as a part of the
 * extension, and is not dumped.  But to whom levels of access were granted is
 * not for us to say.  And of what is revoked on the types of rows, pg_dump says
 * that it knows no such thing, each time.
 *
 * IDENTIFICATION
 *	  src/update.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"

#include "whatsapp.h"

static WaQuery grant_levels = {
	.sql = "SELECT whatsapp.grant_privileges(l.role_name, l.level)"
	" FROM whatsapp.role_levels l WHERE l.level OPERATOR(pg_catalog.=)"
	" ANY (ARRAY(SELECT whatsapp.levels_of(l.role_name)))",
};

static WaQuery revoke_row_types = {
	.sql = "SELECT whatsapp.revoke_all(true, false)",
};

static void execute_outside(WaQuery *query);

PG_FUNCTION_INFO_V1(whatsapp_grant_levels);
PG_FUNCTION_INFO_V1(whatsapp_revoke_row_types);

/*
 * whatsapp.grant_levels() returns void
 */
Datum
whatsapp_grant_levels(PG_FUNCTION_ARGS)
{
	execute_outside(&grant_levels);
	PG_RETURN_VOID();
}

/*
 * whatsapp.revoke_row_types() returns void
 */
Datum
whatsapp_revoke_row_types(PG_FUNCTION_ARGS)
{
	execute_outside(&revoke_row_types);
	PG_RETURN_VOID();
}

/*
 * Execute a query as if there were no script.
 */
static void
execute_outside(WaQuery *query)
{
	bool		is_in_script = creating_extension;

	creating_extension = false;
	PG_TRY();
	{
		wa_connect();
		wa_execute(query, NULL, NULL);
		SPI_finish();
	}
	PG_FINALLY();
	{
		creating_extension = is_in_script;
	}
	PG_END_TRY();
}
