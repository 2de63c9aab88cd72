/*-------------------------------------------------------------------------
 *
 * outbox.c
 *	  The outbox as the sender sees it: rows to send, and what came of them.
 *
 * Which rows may leave, what is sent for them, and what an answer means, is
 * all said in SQL, by whatsapp.claim() and whatsapp.record().  Here it is
 * only carried.
 *
 * The caller is in a transaction and has called wa_connect().
 *
 * IDENTIFICATION
 *	  src/outbox.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

static WaQuery claim_rows = {
	.sql = "SELECT c.outbox_id, c.nonce, c.url, c.access_token, c.body"
	" FROM whatsapp.claim($1, $2) c",
	.nargs = 2,
	.types = {INT4OID, BOOLOID},
};

static WaQuery record_replies = {
	.sql = "SELECT r.outbox_id"
	" FROM whatsapp.record($1, $2, $3, $4, $5, $6, $7) r (outbox_id)",
	.nargs = 7,
	.types = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID,
	JSONBARRAYOID, TEXTARRAYOID, INT4ARRAYOID},
};

static WaQuery release_rows = {
	.sql = "SELECT whatsapp.release_interrupted($1)",
	.nargs = 1,
	.types = {INT8ARRAYOID},
};

static WaQuery settle_rows = {
	.sql = "SELECT whatsapp.settle_evidence(),"
	" whatsapp.settle_unknown($1, $2)",
	.nargs = 2,
	.types = {INTERVALOID, TEXTOID},
};

/* What each WaOutcome is, to SQL; in the order of the enum */
static const char *const outcome_names[] = {
	[WA_NOT_SENT] = "not sent",
	[WA_NOT_READ] = "not read",
	[WA_UNKNOWN] = "unknown",
	[WA_ANSWERED] = "answered",
};

/* What each WaUnknownPolicy is, to SQL; in the order of the enum */
static const char *const policy_names[] = {
	[WA_UNKNOWN_HOLD] = "hold",
	[WA_UNKNOWN_RETRY] = "retry",
	[WA_UNKNOWN_FAIL] = "fail",
};

static char *get_text(uint64 row, int column);
static int64 get_int(uint64 row, int column);
static Jsonb *read_reply(const WaReply *reply);

/*
 * Claim rows that are due, all at once or each by itself, and return the
 * requests to make for them.
 */
WaRequest *
wa_outbox_claim(int limit, bool one_by_one, int *nrequests)
{
	Datum		values[] = {Int32GetDatum(limit), BoolGetDatum(one_by_one)};
	WaRequest  *requests;

	wa_execute(&claim_rows, values, NULL);
	*nrequests = (int) SPI_processed;
	requests = palloc(sizeof(WaRequest) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		requests[i].outbox_id = get_int(i, 1);
		requests[i].nonce = get_text(i, 2);
		requests[i].url = get_text(i, 3);
		requests[i].access_token = get_text(i, 4);
		requests[i].body = get_text(i, 5);
	}
	return requests;
}

/*
 * Record what came of transfers.  A row that somebody has locked is left
 * alone; is_left[] says which those are.
 */
void
wa_outbox_record(WaReply *const *replies, int nreplies, bool *is_left)
{
	Datum	   *ids = palloc(sizeof(Datum) * nreplies);
	Datum	   *nonces = palloc(sizeof(Datum) * nreplies);
	Datum	   *outcomes = palloc(sizeof(Datum) * nreplies);
	Datum	   *statuses = palloc(sizeof(Datum) * nreplies);
	Datum	   *bodies = palloc(sizeof(Datum) * nreplies);
	Datum	   *errors = palloc(sizeof(Datum) * nreplies);
	Datum	   *retry_afters = palloc(sizeof(Datum) * nreplies);
	bool	   *no_body = palloc(sizeof(bool) * nreplies);
	bool	   *no_error = palloc(sizeof(bool) * nreplies);
	bool	   *no_retry_after = palloc(sizeof(bool) * nreplies);
	int			dims[] = {nreplies};
	int			lower_bounds[] = {1};
	Datum		values[7];

	for (int i = 0; i < nreplies; i++)
	{
		const WaReply *reply = replies[i];
		Jsonb	   *body = read_reply(reply);

		ids[i] = Int64GetDatum(reply->outbox_id);
		nonces[i] = CStringGetTextDatum(reply->nonce);
		outcomes[i] = CStringGetTextDatum(outcome_names[reply->outcome]);
		statuses[i] = Int32GetDatum(reply->http_status);
		bodies[i] = JsonbPGetDatum(body);
		no_body[i] = body == NULL;
		no_error[i] = reply->error == NULL;
		errors[i] = no_error[i] ? (Datum) 0 : CStringGetTextDatum(reply->error);
		no_retry_after[i] = reply->retry_after == 0;
		retry_afters[i] = Int32GetDatum(reply->retry_after);
	}

#define MAKE_ARRAY(elements, nulls, type, len, by_value, align) \
	PointerGetDatum(construct_md_array(elements, nulls, 1, dims, lower_bounds, \
									   type, len, by_value, align))

	values[0] = MAKE_ARRAY(ids, NULL, INT8OID, 8, FLOAT8PASSBYVAL,
						   TYPALIGN_DOUBLE);
	values[1] = MAKE_ARRAY(nonces, NULL, TEXTOID, -1, false, TYPALIGN_INT);
	values[2] = MAKE_ARRAY(outcomes, NULL, TEXTOID, -1, false, TYPALIGN_INT);
	values[3] = MAKE_ARRAY(statuses, NULL, INT4OID, 4, true, TYPALIGN_INT);
	values[4] = MAKE_ARRAY(bodies, no_body, JSONBOID, -1, false, TYPALIGN_INT);
	values[5] = MAKE_ARRAY(errors, no_error, TEXTOID, -1, false, TYPALIGN_INT);
	values[6] = MAKE_ARRAY(retry_afters, no_retry_after, INT4OID, 4, true,
						   TYPALIGN_INT);
#undef MAKE_ARRAY

	wa_execute(&record_replies, values, NULL);

	memset(is_left, false, sizeof(bool) * nreplies);
	for (uint64 r = 0; r < SPI_processed; r++)
		for (int i = 0; i < nreplies; i++)
			if (replies[i]->outbox_id == get_int(r, 1))
				is_left[i] = true;
}

/*
 * See to rows that are said to be sent, and are by nobody: all but those that
 * we have in flight.
 */
void
wa_outbox_release(const int64 *in_flight, int nin_flight)
{
	Datum	   *ids = palloc(sizeof(Datum) * (nin_flight + 1));
	Datum		values[1];

	for (int i = 0; i < nin_flight; i++)
		ids[i] = Int64GetDatum(in_flight[i]);
	values[0] = PointerGetDatum(construct_array(ids, nin_flight, INT8OID, 8,
												FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	wa_execute(&release_rows, values, NULL);
}

/*
 * See to rows of which nobody knows what has become of them: there may be
 * evidence by now, or it has been too long (ms).
 */
void
wa_outbox_settle(int grace, WaUnknownPolicy policy)
{
	Interval   *interval = palloc0(sizeof(Interval));
	Datum		values[2];

	interval->time = INT64CONST(1000) * grace;
	values[0] = IntervalPGetDatum(interval);
	values[1] = CStringGetTextDatum(policy_names[policy]);
	wa_execute(&settle_rows, values, NULL);
}

static char *
get_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						column);
}

static int64
get_int(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	if (SPI_gettypeid(SPI_tuptable->tupdesc, column) == INT4OID)
		return DatumGetInt32(value);
	return DatumGetInt64(value);
}

/*
 * The JSON that was answered, or NULL if it was not JSON.
 */
static Jsonb *
read_reply(const WaReply *reply)
{
	const char *remark;

	if (reply->body == NULL)
		return NULL;
	return wa_document_read(reply->body, reply->body_len, &remark);
}
