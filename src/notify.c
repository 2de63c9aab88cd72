/*-------------------------------------------------------------------------
 *
 * notify.c
 *	  NOTIFY whoever listens of what webhooks bring, if whatsapp.notify is on.
 *
 * The channel is "whatsapp".  What is sent is JSON, with the event, as hooks
 * know it, and the key of the row.  All who are connected to the database may
 * listen, so there is nothing more in it.
 *
 * IDENTIFICATION
 *	  src/notify.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/async.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "whatsapp.h"

#define CHANNEL		"whatsapp"

/* The longest that PostgreSQL takes, with the NUL */
#define MAX_PAYLOAD 8000

/* Setting: whatsapp.notify */
bool		wa_notify_wanted = false;

/*
 * Tell of a row, by the columns of its key: their names, as in "a, b", values
 * and types.
 */
void
wa_notify(const char *event, const char *names, const Datum *keys,
		  const Oid *types)
{
	StringInfoData payload;

	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"event\": ");
	escape_json(&payload, event);
	for (int k = 0; *names != '\0'; k++)
	{
		int			len = strcspn(names, ", ");
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(types[k], &output, &is_varlena);
		appendStringInfo(&payload, ", \"%.*s\": ", len, names);
		escape_json(&payload, OidOutputFunctionCall(output, keys[k]));
		names += len;
		names += strspn(names, ", ");
	}
	appendStringInfoChar(&payload, '}');

	/* somebody else than Meta has made up an identifier that is so long */
	if (payload.len >= MAX_PAYLOAD)
	{
		resetStringInfo(&payload);
		appendStringInfoString(&payload, "{\"event\": ");
		escape_json(&payload, event);
		appendStringInfoChar(&payload, '}');
	}
	Async_Notify(CHANNEL, payload.data);
	pfree(payload.data);
}
