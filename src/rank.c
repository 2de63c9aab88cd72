/*-------------------------------------------------------------------------
 *
 * rank.c
 *	  How far a status is.
 *
 * A statement that files a status asks for it up to eight times.  The same in
 * SQL was inlined, and what that made of the statement cost more to set up
 * than to execute.
 *
 * IDENTIFICATION
 *	  src/rank.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

/* Those of messages, from the one that is overtaken by all others */
static const char *const ranked[] = {
	"accepted", "sent", "failed", "delivered", "read", "played"
};

static int	rank_of(const text *status);

PG_FUNCTION_INFO_V1(whatsapp_status_rank);
PG_FUNCTION_INFO_V1(whatsapp_is_farther);

/*
 * whatsapp.status_rank(status text) returns integer
 */
Datum
whatsapp_status_rank(PG_FUNCTION_ARGS)
{
	int			rank = rank_of(PG_GETARG_TEXT_PP(0));

	if (rank < 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(rank);
}

/*
 * whatsapp.is_farther(told text, told_at timestamptz, told_error integer,
 *		known text, known_at timestamptz, known_error integer)
 *		returns boolean
 *
 * What is no status of a message is before any that is one.
 */
Datum
whatsapp_is_farther(PG_FUNCTION_ARGS)
{
	int			told = PG_ARGISNULL(0) ? -1 : rank_of(PG_GETARG_TEXT_PP(0));
	int			known = PG_ARGISNULL(3) ? -1 : rank_of(PG_GETARG_TEXT_PP(3));
	TimestampTz told_at = PG_ARGISNULL(1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz known_at = PG_ARGISNULL(4) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(4);
	int			told_error = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	int			known_error = PG_ARGISNULL(5) ? 0 : PG_GETARG_INT32(5);

	if (told != known || told < 0)
		PG_RETURN_BOOL(told > known);
	if (told_at != known_at)
		PG_RETURN_BOOL(told_at < known_at);
	PG_RETURN_BOOL(told_error < known_error);
}

/*
 * How far is it?  Less than 0 is what is no status of a message.
 */
static int
rank_of(const text *status)
{
	for (int i = 0; i < lengthof(ranked); i++)
		if (VARSIZE_ANY_EXHDR(status) == strlen(ranked[i]) &&
			memcmp(VARDATA_ANY(status), ranked[i], strlen(ranked[i])) == 0)
			return i;
	return -1;
}
