/*-------------------------------------------------------------------------
 *
 * hide.c
 *	  Keep secrets that are given in a statement out of what is written of it.
 *
 * A statement is seen in pg_stat_activity while it runs, and for as long as
 * the session does nothing else, and in the server log if it has an error.  If
 * it is one of a DO block or function, the context of any message tells of it
 * as well.
 *
 * IDENTIFICATION
 *	  src/hide.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"

#include "whatsapp.h"

#define HIDDEN	"/* a secret of schema whatsapp was given here */"

static void say_nothing(void *arg);

PG_FUNCTION_INFO_V1(whatsapp_hide_statement);
PG_FUNCTION_INFO_V1(whatsapp_refuse_secret);

/*
 * whatsapp.hide_statement() returns void
 */
Datum
whatsapp_hide_statement(PG_FUNCTION_ARGS)
{
	/* errors of the statement tell of this from now on */
	if (debug_query_string != NULL)
		debug_query_string = HIDDEN;
	pgstat_report_activity(STATE_RUNNING, HIDDEN);

	/* nor do those who have called us tell what with, until they have ended */
	for (ErrorContextCallback *context = error_context_stack; context != NULL;
		 context = context->previous)
		context->callback = say_nothing;
	PG_RETURN_VOID();
}

/*
 * whatsapp.refuse_secret(complaint text, detail text, hint text) returns void
 *
 * What has called us, such as a DO block, would tell of the statement in which
 * it did, and there may be the secret in that, too.
 */
Datum
whatsapp_refuse_secret(PG_FUNCTION_ARGS)
{
	const char *words[3];

	for (int i = 0; i < lengthof(words); i++)
		words[i] = PG_ARGISNULL(i) ? NULL :
			text_to_cstring(PG_GETARG_TEXT_PP(i));

	error_context_stack = NULL;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg_internal("%s", words[0]),
			 words[1] ? errdetail_internal("%s", words[1]) : 0,
			 words[2] ? errhint("%s", words[2]) : 0));
	PG_RETURN_VOID();
}

static void
say_nothing(void *arg)
{
}
