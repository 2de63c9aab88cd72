/*-------------------------------------------------------------------------
 *
 * update.c
 *	  Grant, in an update script, what is not the extension's own.
 *
 * What a script of an extension grants counts as a part of the extension, and
 * is not dumped.  But to whom levels of access were granted is not for us to
 * say: so that is granted as if there were no script.
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
	.sql = "SELECT whatsapp.grant_access(l.role_name, l.level)"
	" FROM whatsapp.role_levels l"
	" WHERE pg_catalog.to_regrole(pg_catalog.quote_ident("
	"l.role_name::pg_catalog.text)) IS NOT NULL",
};

PG_FUNCTION_INFO_V1(whatsapp_grant_levels);

/*
 * whatsapp.grant_levels() returns void
 */
Datum
whatsapp_grant_levels(PG_FUNCTION_ARGS)
{
	bool		is_in_script = creating_extension;

	creating_extension = false;
	PG_TRY();
	{
		wa_connect();
		wa_execute(&grant_levels, NULL, NULL);
		SPI_finish();
	}
	PG_FINALLY();
	{
		creating_extension = is_in_script;
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}
