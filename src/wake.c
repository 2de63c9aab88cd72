/*-------------------------------------------------------------------------
 *
 * wake.c
 *	  Wake the sender when a transaction that queued something commits.
 *
 * Once in a transaction, however many rows and statements there are, and not
 * before the rows can be seen.  What a transaction queues in ways that do not
 * come by here, or when it is prepared and committed by another session, the
 * sender finds when it next looks, after whatsapp.poll_interval.
 *
 * IDENTIFICATION
 *	  src/wake.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

/* Does the transaction that is going on have to wake the sender? */
static bool wake_at_commit = false;

static void wake_later(void);
static void on_transaction_end(XactEvent event, void *arg);

PG_FUNCTION_INFO_V1(whatsapp_wake_sender);
PG_FUNCTION_INFO_V1(whatsapp_outbox_queued);

/*
 * whatsapp.wake_sender() returns void
 */
Datum
whatsapp_wake_sender(PG_FUNCTION_ARGS)
{
	wake_later();
	PG_RETURN_VOID();
}

/*
 * whatsapp.outbox_queued() returns trigger, for each statement that inserts
 */
Datum
whatsapp_outbox_queued(PG_FUNCTION_ARGS)
{
	static bool has_warned = false;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"whatsapp.outbox_queued")));

	if (!wa_shared_exists() && !has_warned)
	{
		ereport(NOTICE,
				(errmsg("message was queued, but nothing will send it"),
				 errdetail("The library \"whatsapp\" was not loaded when the server started."),
				 errhint("Add whatsapp to shared_preload_libraries in postgresql.conf, and restart the server.")));
		has_warned = true;
	}
	wake_later();
	return PointerGetDatum(NULL);
}

static void
wake_later(void)
{
	static bool is_registered = false;

	if (!wa_shared_exists())
		return;

	/* once in the life of a backend: there is no end to callbacks otherwise */
	if (!is_registered)
	{
		RegisterXactCallback(on_transaction_end, NULL);
		is_registered = true;
	}
	wake_at_commit = true;
}

static void
on_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (wake_at_commit)
			{
				wa_statistics_note_commit(GetCurrentTransactionStartTimestamp(),
										  GetCurrentTimestamp());
				wa_shared_wake(MyDatabaseId);
			}
			wake_at_commit = false;
			break;

		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wake_at_commit = false;
			break;

		default:
			break;
	}
}
