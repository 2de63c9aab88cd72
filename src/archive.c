/*-------------------------------------------------------------------------
 *
 * archive.c
 *	  Keep webhooks as they came.
 *
 * They are in whatsapp.webhooks: those that something was the matter with, or
 * all of them if whatsapp.archive says so.
 *
 * The caller has called wa_connect().
 *
 * IDENTIFICATION
 *	  src/archive.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"

#include "whatsapp.h"

/* whatsapp.archive */
int			wa_archive_wanted = WA_ARCHIVE_UNFILED;

/*
 * What was parked or not readable is so again; else what is there stays.  What
 * may be filed whoever has told it stays so, too, should somebody tell the
 * same who may not.
 */
static WaQuery keep_webhook = {
	.sql = "INSERT INTO whatsapp.webhooks AS w"
	" (webhook_id, body, state, reason, sqlstate, hint, context, signed_for)"
	" VALUES (pg_catalog.sha256($1), $1, $2, $3, $4, $5, $6, $7)"
	" ON CONFLICT (webhook_id) DO UPDATE SET state = excluded.state,"
	" reason = excluded.reason, sqlstate = excluded.sqlstate,"
	" hint = excluded.hint, context = excluded.context,"
	" signed_for = excluded.signed_for"
	" WHERE excluded.state OPERATOR(pg_catalog.<>) 'filed'"
	" AND (w.state OPERATOR(pg_catalog.=) 'filed'"
	" OR w.signed_for IS NOT NULL OR excluded.signed_for IS NULL)",
	.nargs = 7,
	.types = {BYTEAOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTARRAYOID},
};

static WaQuery list_all = {
	.sql = "SELECT w.webhook_id FROM whatsapp.webhooks w"
	" ORDER BY w.received_at, w.webhook_id",
	.read_only = true,
};

/* there is an index of just these */
static WaQuery list_unfiled = {
	.sql = "SELECT w.webhook_id FROM whatsapp.webhooks w"
	" WHERE w.state OPERATOR(pg_catalog.<>) 'filed'"
	" ORDER BY w.received_at, w.webhook_id",
	.read_only = true,
};

static WaQuery take_webhook = {
	.sql = "WITH was AS (SELECT o.webhook_id, o.state FROM whatsapp.webhooks o"
	" WHERE o.webhook_id OPERATOR(pg_catalog.=) $1 FOR UPDATE)"
	" UPDATE whatsapp.webhooks w SET state = 'filed' FROM was"
	" WHERE w.webhook_id OPERATOR(pg_catalog.=) was.webhook_id"
	" RETURNING w.body, was.state OPERATOR(pg_catalog.=) 'parked',"
	" w.signed_for",
	.nargs = 1,
	.types = {BYTEAOID},
};

static const char *const states[] = {
	[WA_FILED] = "filed",
	[WA_PARKED] = "parked",
	[WA_UNREADABLE] = "unreadable",
};

static void keep(const char *body, size_t len, WaWebhookState state,
				 const char *reason, const ErrorData *error,
				 ArrayType *signed_for);

/*
 * Keep the bytes of a webhook, how it stands, and what was the matter with it
 * if anything was; and for which numbers it was signed, NULL for all.
 */
void
wa_archive_keep(const char *body, size_t len, WaWebhookState state,
				const char *reason, ArrayType *signed_for)
{
	ErrorData	no_error = {0};

	keep(body, len, state, reason, &no_error, signed_for);
}

/*
 * Keep, as a webhook, what could not be filed because of an error.
 */
void
wa_archive_park(Jsonb *part, const ErrorData *error, ArrayType *signed_for)
{
	const char *body = JsonbToCString(NULL, &part->root, VARSIZE(part));

	keep(body, strlen(body), WA_PARKED, error->message, error, signed_for);
}

/*
 * List the ids of the webhooks that have not been filed, or of all that are
 * here, in the current memory context.
 */
Datum *
wa_archive_list(bool everything, int *nids)
{
	Datum	   *ids;

	wa_execute(everything ? &list_all : &list_unfiled, NULL, NULL);
	*nids = SPI_processed;
	ids = palloc(sizeof(Datum) * Max(*nids, 1));
	for (int i = 0; i < *nids; i++)
	{
		bool		isnull;

		ids[i] = datumCopy(SPI_getbinval(SPI_tuptable->vals[i],
										 SPI_tuptable->tupdesc, 1, &isnull),
						   false, -1);
	}
	return ids;
}

/*
 * Get the body of a webhook, to file it again, or NULL if it is gone.  It
 * counts as filed, unless it is kept once more.  One that was parked has been
 * written by us.
 */
bytea *
wa_archive_take(Datum id, bool *was_parked, ArrayType **signed_for)
{
	bool		isnull;
	Datum		numbers;

	wa_execute(&take_webhook, &id, NULL);
	if (SPI_processed == 0)
		return NULL;
	numbers = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3,
							&isnull);
	*signed_for = isnull ? NULL : DatumGetArrayTypePCopy(numbers);
	*was_parked = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc, 2,
											 &isnull));
	return DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1, &isnull));
}

static void
keep(const char *body, size_t len, WaWebhookState state, const char *reason,
	 const ErrorData *error, ArrayType *signed_for)
{
	bytea	   *bytes = palloc(VARHDRSZ + len);
	const char *words[] = {
		states[state], reason,
		error->sqlerrcode ? unpack_sql_state(error->sqlerrcode) : NULL,
		error->hint, error->context
	};
	Datum		values[2 + lengthof(words)];
	char		nulls[2 + lengthof(words)];

	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), body, len);
	values[0] = PointerGetDatum(bytes);
	nulls[0] = ' ';
	for (int i = 0; i < lengthof(words); i++)
	{
		nulls[1 + i] = words[i] ? ' ' : 'n';
		if (words[i] != NULL)
			values[1 + i] = CStringGetTextDatum(words[i]);
	}
	values[1 + lengthof(words)] = PointerGetDatum(signed_for);
	nulls[1 + lengthof(words)] = signed_for ? ' ' : 'n';
	wa_execute(&keep_webhook, values, nulls);
}
