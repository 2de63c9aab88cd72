/*-------------------------------------------------------------------------
 *
 * news.c
 *	  What need not be logged again.
 *
 * What is wrong with one row is often wrong with many, and is met again each
 * time that they are looked at.  So before that is logged, it is asked whether
 * this process has logged the same not long ago.
 *
 * IDENTIFICATION
 *	  src/news.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

/* How many things are remembered, and for how long, in ms */
#define MAX_TOLD	1000
#define TOLD_TIME	600000

typedef struct Told
{
	uint64		hash;
	TimestampTz at;
} Told;

PG_FUNCTION_INFO_V1(whatsapp_is_news);

/*
 * whatsapp.is_news(what text) returns boolean
 */
Datum
whatsapp_is_news(PG_FUNCTION_ARGS)
{
	static Told told[MAX_TOLD];
	text	   *what = PG_GETARG_TEXT_PP(0);
	uint64		hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(what),
										   VARSIZE_ANY_EXHDR(what), 0);
	TimestampTz now = GetCurrentTimestamp();
	Told	   *place = &told[0];

	for (int i = 0; i < MAX_TOLD; i++)
	{
		if (told[i].hash == hash &&
			!TimestampDifferenceExceeds(told[i].at, now, TOLD_TIME))
			PG_RETURN_BOOL(false);
		if (told[i].at < place->at)
			place = &told[i];
	}
	place->hash = hash;
	place->at = now;
	PG_RETURN_BOOL(true);
}
