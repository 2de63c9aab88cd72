/*-------------------------------------------------------------------------
 *
 * retention.c
 *	  Have rows pruned that have been kept for long enough.
 *
 * The sender goes through the tables, oldest rows first, a few at a time, so
 * that nothing waits for it: how many is a matter of how long they took.  Once
 * it is through, it begins again after a while.  What is done with the rows is
 * said in SQL, by whatsapp.prune_some().
 *
 * IDENTIFICATION
 *	  src/retention.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

/* How many rows at a time, at first and at most */
#define FIRST_ROWS		100
#define MAX_ROWS		1000

/* Fewer or more are taken if it took that long; ms */
#define TOO_LONG		20
#define SHORT_ENOUGH	10

/* From one time to go through the tables to the next; ms */
#define PAUSE			(3600 * 1000)

/* The same if some had to be kept: each of them is tried by itself; ms */
#define LONG_PAUSE		(24 * 3600 * 1000)

/* How long to wait if it was not possible; ms */
#define RETRY_DELAY		60000

/*
 * Settings: whatsapp.retention_events, _messages, _outbox, _statuses and
 * _webhooks (minutes; 0 for ever)
 */
int			wa_retention_events = 0;
int			wa_retention_messages = 0;
int			wa_retention_outbox = 0;
int			wa_retention_statuses = 0;
int			wa_retention_webhooks = 0;

static const struct
{
	const char *kind;
	int		   *minutes;
}			settings[] =

{
	{"events", &wa_retention_events},
	{"messages", &wa_retention_messages},
	{"outbox", &wa_retention_outbox},
	{"statuses", &wa_retention_statuses},
	{"webhooks", &wa_retention_webhooks},
};

static WaQuery prune_some = {
	.sql = "SELECT p.next_place, p.next_rows, p.next_after, p.kept"
	" FROM whatsapp.prune_some($1, $2, $3) p",
	.nargs = 3,
	.types = {INT4OID, INT4OID, TEXTARRAYOID},
};

static MemoryContext position_context = NULL;
static int	place = 1;			/* of the table; see whatsapp.prunable() */
static Datum after = (Datum) 0; /* up to there it is done; or 0 */
static int	max_rows = FIRST_ROWS;
static int64 nkept = 0;
static bool is_through = false; /* once more */
static long took = 0;			/* it, the last time, but for the commit; ms */
static TimestampTz not_before = 0;

static void remember(Datum position, bool isnull);

PG_FUNCTION_INFO_V1(whatsapp_retention);

/*
 * whatsapp.retention(kind text) returns interval
 */
Datum
whatsapp_retention(PG_FUNCTION_ARGS)
{
	const char *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));

	for (int i = 0; i < lengthof(settings); i++)
	{
		Interval   *interval;

		if (strcmp(settings[i].kind, kind) != 0)
			continue;
		if (*settings[i].minutes == 0)
			PG_RETURN_NULL();
		interval = palloc0(sizeof(Interval));
		interval->time = *settings[i].minutes * USECS_PER_MINUTE;
		PG_RETURN_INTERVAL_P(interval);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is nothing that is pruned", kind)));
}

/*
 * When is there something to be done?
 */
TimestampTz
wa_retention_next(void)
{
	return not_before;
}

/*
 * Begin anew, as the settings may have changed.
 */
void
wa_retention_restart(void)
{
	place = 1;
	after = (Datum) 0;
	nkept = 0;
	not_before = 0;
}

/*
 * Do a part of it, in the caller's transaction.
 */
void
wa_retention_work(void)
{
	Datum		values[] = {
		Int32GetDatum(place), Int32GetDatum(max_rows), after
	};
	HeapTuple	tuple;
	TupleDesc	desc;
	TimestampTz start = GetCurrentTimestamp();
	bool		isnull;
	Datum		value;

	wa_execute(&prune_some, values, after == (Datum) 0 ? "  n" : NULL);
	took = TimestampDifferenceMilliseconds(start, GetCurrentTimestamp());
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;

	value = SPI_getbinval(tuple, desc, 1, &isnull);
	is_through = isnull;
	if (is_through)
		return;
	place = DatumGetInt32(value);
	max_rows = Min(DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull)),
				   MAX_ROWS);
	value = SPI_getbinval(tuple, desc, 3, &isnull);
	remember(value, isnull);
	nkept += DatumGetInt32(SPI_getbinval(tuple, desc, 4, &isnull));
}

/*
 * It is done, or was not possible.  Goes on at the given time, unless there is
 * reason to wait for longer.
 */
void
wa_retention_done(bool is_done, TimestampTz next)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!is_done)
	{
		/* what stands in the way there does not elsewhere */
		place++;
		after = (Datum) 0;
		not_before = TimestampTzPlusMilliseconds(now, RETRY_DELAY);
		return;
	}
	if (took > TOO_LONG)
		max_rows = Max(max_rows / 4, 1);
	else if (took > SHORT_ENOUGH)
		max_rows = Max(max_rows / 2, 1);
	not_before = next;
	if (!is_through)
		return;

	not_before = TimestampTzPlusMilliseconds(now, nkept > 0 ? LONG_PAUSE :
											 PAUSE);
	if (nkept > 0)
		ereport(LOG,
				(errmsg_plural(INT64_FORMAT " row was to be pruned, but a foreign key or a trigger keeps it",
							   INT64_FORMAT " rows were to be pruned, but foreign keys or triggers keep them",
							   nkept, nkept),
				 errhint("whatsapp.statistics has how many it were of which tables.")));
	place = 1;
	after = (Datum) 0;
	nkept = 0;
}

/*
 * Keep a position for as long as it is needed.
 */
static void
remember(Datum position, bool isnull)
{
	MemoryContext oldcontext;

	if (position_context == NULL)
		position_context = AllocSetContextCreate(TopMemoryContext,
												 "whatsapp retention",
												 ALLOCSET_SMALL_SIZES);
	MemoryContextReset(position_context);
	oldcontext = MemoryContextSwitchTo(position_context);
	after = isnull ? (Datum) 0 : datumCopy(position, false, -1);
	MemoryContextSwitchTo(oldcontext);
}
