/*-------------------------------------------------------------------------
 *
 * event.c
 *	  By what an event is known that comes again.
 *
 * IDENTIFICATION
 *	  src/event.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "whatsapp.h"

PG_FUNCTION_INFO_V1(whatsapp_event_id);

/*
 * whatsapp.event_id(about text, at timestamptz, element jsonb) returns bytea
 *
 * It is there for each contact of each webhook.  As an SQL function, which
 * could not be inlined, it took a sixth of the time that a webhook takes.
 */
Datum
whatsapp_event_id(PG_FUNCTION_ARGS)
{
	StringInfoData said;
	Jsonb	   *element;

	if (PG_ARGISNULL(2))
		PG_RETURN_NULL();
	element = PG_GETARG_JSONB_P(2);

	/* in UTF-8, as the database is */
	initStringInfo(&said);
	appendStringInfoSpaces(&said, VARHDRSZ);
	if (!PG_ARGISNULL(0))
	{
		text	   *about = PG_GETARG_TEXT_PP(0);

		appendBinaryStringInfo(&said, VARDATA_ANY(about),
							   VARSIZE_ANY_EXHDR(about));
	}
	appendStringInfoChar(&said, ' ');
	if (!PG_ARGISNULL(1))
	{
		Datum		epoch = DirectFunctionCall2(extract_timestamptz,
												CStringGetTextDatum("epoch"),
												PG_GETARG_DATUM(1));

		appendStringInfoString(&said,
							   DatumGetCString(DirectFunctionCall1(numeric_out,
																   epoch)));
	}
	appendStringInfoChar(&said, ' ');
	JsonbToCString(&said, &element->root, VARSIZE(element));

	SET_VARSIZE(said.data, said.len);
	PG_RETURN_DATUM(DirectFunctionCall1(sha256_bytea,
										PointerGetDatum(said.data)));
}
