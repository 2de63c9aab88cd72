/*-------------------------------------------------------------------------
 *
 * rank.c
 *	  How far a status is.
 *
 * IDENTIFICATION
 *	  src/rank.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "whatsapp.h"

/* Those of messages, from the one that is overtaken by all others */
static const char *const ranked[] = {
	"accepted", "sent", "failed", "delivered", "read", "played"
};

PG_FUNCTION_INFO_V1(whatsapp_status_rank);

/*
 * whatsapp.status_rank(status text) returns integer
 *
 * A statement that files a status asks for it up to eight times.  The same in
 * SQL was inlined, and what that made of the statement cost more to set up
 * than to execute.
 */
Datum
whatsapp_status_rank(PG_FUNCTION_ARGS)
{
	text	   *status = PG_GETARG_TEXT_PP(0);

	for (int i = 0; i < lengthof(ranked); i++)
		if (VARSIZE_ANY_EXHDR(status) == strlen(ranked[i]) &&
			memcmp(VARDATA_ANY(status), ranked[i], strlen(ranked[i])) == 0)
			PG_RETURN_INT32(i);
	PG_RETURN_NULL();
}
