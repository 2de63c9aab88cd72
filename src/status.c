/*-------------------------------------------------------------------------
 *
 * status.c
 *	  What anybody may ask about the sender of a database.
 *
 * IDENTIFICATION
 *	  src/status.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

PG_FUNCTION_INFO_V1(whatsapp_in_sender);
PG_FUNCTION_INFO_V1(whatsapp_is_preloaded);
PG_FUNCTION_INFO_V1(whatsapp_sender_pid);
PG_FUNCTION_INFO_V1(whatsapp_sender_health);
PG_FUNCTION_INFO_V1(whatsapp_sender_paces);

/* What each WaTrouble and each WaSenderMode is, to SQL; in their orders */
static const char *const trouble_names[] = {
	[WA_NO_TROUBLE] = NULL,
	[WA_NOT_PRELOADED] = "not preloaded",
	[WA_NO_LAUNCHER] = "no launcher",
	[WA_NO_SLOT] = "no slot",
	[WA_NO_WORKER] = "no worker",
	[WA_IS_BARRED] = "barred",
	[WA_HAS_FAILED] = "failed",
	[WA_IS_STARTING] = "starting",
};
static const char *const mode_names[] = {
	[WA_IS_SENDING] = "sending",
	[WA_IS_OFF] = "off",
	[WA_IS_OUTDATED] = "outdated",
};

/*
 * whatsapp.in_sender() returns boolean
 */
Datum
whatsapp_in_sender(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(wa_shared_is_sender());
}

/*
 * whatsapp.is_preloaded() returns boolean
 */
Datum
whatsapp_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(wa_shared_exists());
}

/*
 * whatsapp.sender_pid() returns integer, NULL if there is none
 */
Datum
whatsapp_sender_pid(PG_FUNCTION_ARGS)
{
	pid_t		pid = wa_shared_sender_pid(MyDatabaseId);

	if (pid == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(pid);
}

/*
 * whatsapp.sender_health() returns (trouble, mode, failures, next_start)
 */
Datum
whatsapp_sender_health(PG_FUNCTION_ARGS)
{
	WaSlot		slot = {0};
	bool		has_slot = wa_shared_see_slot(MyDatabaseId, &slot);
	WaTrouble	trouble = wa_shared_trouble(MyDatabaseId);
	TupleDesc	tupdesc;
	Datum		values[4] = {0};
	bool		nulls[4];

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	nulls[0] = trouble == WA_NO_TROUBLE;
	if (!nulls[0])
		values[0] = CStringGetTextDatum(trouble_names[trouble]);
	nulls[1] = trouble != WA_NO_TROUBLE || !has_slot;
	if (!nulls[1])
		values[1] = CStringGetTextDatum(mode_names[slot.mode]);
	values[2] = Int32GetDatum(slot.failures);
	nulls[2] = !has_slot;
	values[3] = TimestampTzGetDatum(slot.not_before);
	nulls[3] = slot.failures == 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values,
											 nulls));
}

/*
 * whatsapp.sender_paces() returns setof (phone_number_id, tokens)
 */
Datum
whatsapp_sender_paces(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WaTokens	tokens[WA_MAX_TOKENS];
	int			ntokens = wa_shared_see_tokens(MyDatabaseId, tokens);
	TimestampTz now = GetCurrentTimestamp();

	InitMaterializedSRF(fcinfo, 0);
	wa_connect();
	for (int i = 0; i < ntokens; i++)
	{
		double		by_now = tokens[i].tokens +
		tokens[i].rate * Max(now - tokens[i].at, 0) / USECS_PER_SEC;
		Datum		values[2];
		bool		nulls[2] = {false};

		if (!wa_sees_number(tokens[i].phone_number_id))
			continue;
		values[0] = CStringGetTextDatum(tokens[i].phone_number_id);
		values[1] = Float8GetDatum(Min(by_now,
									   wa_bucket_size(tokens[i].rate)));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
