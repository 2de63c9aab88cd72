/*-------------------------------------------------------------------------
 *
 * notify.c
 *	  NOTIFY whoever listens of what webhooks bring, if whatsapp.notify is on.
 *
 * The channel is "whatsapp".  What is sent is JSON, with the event, as hooks
 * know it, and the key of the row, but for who the person is.  All who are
 * connected to the database may listen, so there is nothing more in it.
 *
 * IDENTIFICATION
 *	  src/notify.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "whatsapp.h"

#define CHANNEL		"whatsapp"

/* The longest that PostgreSQL takes, with the NUL */
#define MAX_PAYLOAD 8000

/* Setting: whatsapp.notify */
bool		wa_notify_wanted = false;

static bool is_person(const char *name, int len);
static char *text_of(Datum value, Oid type);

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

		if (!is_person(names, len))
		{
			appendStringInfo(&payload, ", \"%.*s\": ", len, names);
			escape_json(&payload, text_of(keys[k], types[k]));
		}
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

/*
 * Is a column one that says who somebody is?
 */
static bool
is_person(const char *name, int len)
{
	static const char *const persons[] = {"participant", "reactor"};

	for (int i = 0; i < lengthof(persons); i++)
		if (strlen(persons[i]) == len && strncmp(persons[i], name, len) == 0)
			return true;
	return false;
}

/*
 * A value as text, whatever bytea_output says.
 */
static char *
text_of(Datum value, Oid type)
{
	Oid			output;
	bool		is_varlena;

	if (type == BYTEAOID)
		return psprintf("\\x%s",
						TextDatumGetCString(DirectFunctionCall2(binary_encode,
																value,
																CStringGetTextDatum("hex"))));
	getTypeOutputInfo(type, &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}
