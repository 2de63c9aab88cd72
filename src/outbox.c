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
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

/* What a session heeds when it begins: settings of the database and the owner */
static WaQuery look_at_terms = {
	.sql = "SELECT whatsapp.sender_protocol(), pg_catalog.concat_ws(E'\\n', e.oid,"
	" e.extversion, (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ',"
	" s.setdatabase, s.setrole, s.setconfig), E'\\n'"
	" ORDER BY s.setdatabase, s.setrole)"
	" FROM pg_catalog.pg_db_role_setting s"
	" WHERE s.setdatabase OPERATOR(pg_catalog.=) ANY (ARRAY[0::pg_catalog.oid,"
	" (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname"
	" OPERATOR(pg_catalog.=) pg_catalog.current_database())])"
	" AND s.setrole OPERATOR(pg_catalog.=) ANY (ARRAY[0::pg_catalog.oid,"
	" (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname"
	" OPERATOR(pg_catalog.=) SESSION_USER)])))"
	" FROM pg_catalog.pg_extension e"
	" WHERE e.extname OPERATOR(pg_catalog.=) 'whatsapp'",
	.read_only = true,
};

static WaQuery open_numbers = {
	.sql = "SELECT n.phone_number_id, n.rate FROM whatsapp.open_numbers() n",
	.read_only = true,
};

static WaQuery claim_rows = {
	.sql = "SELECT c.what, c.outbox_id, c.phone_number_id, c.priority, c.nonce,"
	" c.url, c.access_token, c.body, c.expires_at, c.attempt, c.due_at"
	" FROM whatsapp.claim($1, $2, $3, $4, $5, $6, $7) c",
	.nargs = 7,
	.types = {INT4OID, BOOLOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
	INT8ARRAYOID, INT8ARRAYOID},
};

static WaQuery record_replies = {
	.sql = "SELECT r.what, r.outbox_id"
	" FROM whatsapp.record($1, $2, $3, $4, $5, $6, $7) r",
	.nargs = 7,
	.types = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID,
	JSONBARRAYOID, TEXTARRAYOID, INT4ARRAYOID},
};

static WaQuery heed_usage = {
	.sql = "SELECT whatsapp.heed_usage($1, $2)",
	.nargs = 2,
	.types = {INT8ARRAYOID, JSONBARRAYOID},
};

static WaQuery count_rows = {
	.sql = "SELECT whatsapp.count_rows()",
};

static WaQuery tend_rows = {
	.sql = "SELECT t.what, t.outbox_id, t.at FROM whatsapp.tend($1) t",
	.nargs = 1,
	.types = {INT4OID},
};

static WaQuery audit_rows = {
	.sql = "SELECT a.phone_number_id, a.recipient_key"
	" FROM whatsapp.audit($1, $2, $3) a",
	.nargs = 3,
	.types = {INT4OID, TEXTOID, TEXTOID},
};

static WaQuery withdraw_rows = {
	.sql = "SELECT w FROM whatsapp.withdraw($1) w",
	.nargs = 1,
	.types = {INT8ARRAYOID},
	.read_only = true,
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
	[WA_WITHDRAWN] = "withdrawn",
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

static void record_usage(WaReply *const *replies, int nreplies);
static Datum make_array(Datum *elements, bool *nulls, int nelements, Oid type);
static Datum make_id_array(const int64 *ids, int nids);
static bool says(uint64 row, const char *what);
static char *get_text(uint64 row, int column);
static int64 get_int(uint64 row, int column);
static TimestampTz get_time(uint64 row, int column);
static Jsonb *read_json(const char *json, size_t len);

/*
 * All that a sender depends on and cannot follow while it lives; and which
 * protocol the extension's functions have.
 */
const char *
wa_outbox_terms(int *protocol)
{
	wa_execute(&look_at_terms, NULL, NULL);
	*protocol = (int) get_int(0, 1);
	return get_text(0, 2);
}

/*
 * The numbers that may send now.
 */
WaOpenNumber *
wa_outbox_numbers(int *nnumbers)
{
	WaOpenNumber *numbers;

	wa_execute(&open_numbers, NULL, NULL);
	*nnumbers = (int) SPI_processed;
	numbers = palloc(sizeof(WaOpenNumber) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		numbers[i].phone_number_id = get_text(i, 1);
		numbers[i].rate =
			DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[i],
										 SPI_tuptable->tupdesc, 2, &isnull));
	}
	return numbers;
}

/*
 * Claim rows that may leave, all at once or each by itself, of each number up
 * to its allowance.  Rows that are known to be able to leave are given.
 */
void
wa_outbox_claim(int limit, bool one_by_one, const WaAllowance *allowances,
				int nallowances, const int64 *released, int nreleased,
				WaClaimed *claimed)
{
	Datum	   *numbers = palloc(sizeof(Datum) * (nallowances + 1));
	Datum	   *limits = palloc(sizeof(Datum) * (nallowances + 1));
	Datum	   *priorities = palloc(sizeof(Datum) * (nallowances + 1));
	Datum	   *ids = palloc(sizeof(Datum) * (nallowances + 1));
	bool	   *no_position = palloc(sizeof(bool) * (nallowances + 1));
	Datum		values[7];

	for (int i = 0; i < nallowances; i++)
	{
		numbers[i] = CStringGetTextDatum(allowances[i].phone_number_id);
		limits[i] = Int32GetDatum(allowances[i].max_rows);
		priorities[i] = Int32GetDatum(allowances[i].priority);
		ids[i] = Int64GetDatum(allowances[i].id);
		no_position[i] = !allowances[i].has_position;
	}
	values[0] = Int32GetDatum(limit);
	values[1] = BoolGetDatum(one_by_one);
	values[2] = make_array(numbers, NULL, nallowances, TEXTOID);
	values[3] = make_array(limits, NULL, nallowances, INT4OID);
	values[4] = make_array(priorities, no_position, nallowances, INT4OID);
	values[5] = make_array(ids, no_position, nallowances, INT8OID);
	values[6] = make_id_array(released, nreleased);
	wa_execute(&claim_rows, values, NULL);

	memset(claimed, 0, sizeof(WaClaimed));
	claimed->requests = palloc(sizeof(WaRequest) * (SPI_processed + 1));
	claimed->phone_number_ids = palloc(sizeof(char *) * (SPI_processed + 1));
	claimed->priorities = palloc(sizeof(int) * (SPI_processed + 1));
	claimed->released = palloc(sizeof(int64) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		WaRequest  *request = &claimed->requests[claimed->nrequests];

		if (says(i, "moved"))
			claimed->nmoved++;
		else if (says(i, "released"))
			claimed->released[claimed->nreleased++] = get_int(i, 2);
		else
		{
			claimed->phone_number_ids[claimed->nrequests] = get_text(i, 3);
			claimed->priorities[claimed->nrequests] = (int) get_int(i, 4);
			request->outbox_id = get_int(i, 2);
			request->nonce = get_text(i, 5);
			request->url = get_text(i, 6);
			request->access_token = get_text(i, 7);
			request->body = get_text(i, 8);
			request->expires_at = get_time(i, 9);
			request->attempt = (int) get_int(i, 10);
			request->due_at = get_time(i, 11);
			claimed->nrequests++;
		}
	}
}

/*
 * Record what came of transfers.  A row that somebody has locked is left
 * alone; is_left[] says which those are.  Returns rows that may leave now.
 */
int64 *
wa_outbox_record(WaReply *const *replies, int nreplies, bool *is_left,
				 int *nreleased)
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
	int64	   *released;
	Datum		values[7];

	for (int i = 0; i < nreplies; i++)
	{
		const WaReply *reply = replies[i];
		Jsonb	   *body = reply->body == NULL ? NULL :
		read_json(reply->body, reply->body_len);

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
	values[0] = make_array(ids, NULL, nreplies, INT8OID);
	values[1] = make_array(nonces, NULL, nreplies, TEXTOID);
	values[2] = make_array(outcomes, NULL, nreplies, TEXTOID);
	values[3] = make_array(statuses, NULL, nreplies, INT4OID);
	values[4] = make_array(bodies, no_body, nreplies, JSONBOID);
	values[5] = make_array(errors, no_error, nreplies, TEXTOID);
	values[6] = make_array(retry_afters, no_retry_after, nreplies, INT4OID);
	wa_execute(&record_replies, values, NULL);

	memset(is_left, false, sizeof(bool) * nreplies);
	released = palloc(sizeof(int64) * (SPI_processed + 1));
	*nreleased = 0;
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		if (says(r, "released"))
			released[(*nreleased)++] = get_int(r, 2);
		else
			for (int i = 0; i < nreplies; i++)
				if (replies[i]->outbox_id == get_int(r, 2))
					is_left[i] = true;
	}
	record_usage(replies, nreplies);
	return released;
}

/*
 * Tell what the server has said of its limits, but the same only once.
 */
static void
record_usage(WaReply *const *replies, int nreplies)
{
	Datum	   *ids = palloc(sizeof(Datum) * nreplies * WA_NUSAGES);
	Datum	   *usages = palloc(sizeof(Datum) * nreplies * WA_NUSAGES);
	const char *last[WA_NUSAGES] = {0};
	int			n = 0;
	Datum		values[2];

	for (int i = 0; i < nreplies; i++)
	{
		for (int u = 0; u < WA_NUSAGES; u++)
		{
			const char *usage = replies[i]->usages[u];
			Jsonb	   *json;

			if (usage == NULL ||
				(last[u] != NULL && strcmp(usage, last[u]) == 0))
				continue;
			last[u] = usage;
			json = read_json(usage, strlen(usage));
			if (json == NULL)
				continue;
			ids[n] = Int64GetDatum(replies[i]->outbox_id);
			usages[n++] = JsonbPGetDatum(json);
		}
	}
	if (n == 0)
		return;
	values[0] = make_array(ids, NULL, n, INT8OID);
	values[1] = make_array(usages, NULL, n, JSONBOID);
	wa_execute(&heed_usage, values, NULL);
}

/*
 * Is what was received an answer, although there was an error?  It is if it is
 * JSON: that says itself where it ends.
 */
bool
wa_outbox_is_answer(const WaReply *reply)
{
	return reply->body != NULL &&
		read_json(reply->body, reply->body_len) != NULL;
}

/*
 * What an outcome is, to SQL.
 */
const char *
wa_outbox_outcome(WaOutcome outcome)
{
	return outcome_names[outcome];
}

/*
 * Count what is queued, for who asks.
 */
void
wa_outbox_count(void)
{
	wa_execute(&count_rows, NULL, NULL);
}

/*
 * See to what the clock and others have changed, up to so many rows of each
 * kind.  Returns rows that may leave now, and when there will be something to
 * see to again, DT_NOEND if that is not known.
 */
int64 *
wa_outbox_tend(int limit, int *nreleased, TimestampTz *next)
{
	Datum		values[] = {Int32GetDatum(limit)};
	int64	   *released;

	wa_execute(&tend_rows, values, NULL);
	released = palloc(sizeof(int64) * (SPI_processed + 1));
	*nreleased = 0;
	*next = DT_NOEND;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		if (says(i, "released"))
			released[(*nreleased)++] = get_int(i, 2);
		else
			*next = get_time(i, 3);
	}
	return released;
}

/*
 * Make sure, for so many recipients after that one, that the next message to
 * each may leave.  Tells the last of them, or NULL if these were all.
 */
void
wa_outbox_audit(int limit, char **phone_number_id, char **recipient_key)
{
	Datum		values[3] = {Int32GetDatum(limit)};
	char		nulls[] = "   ";

	if (*phone_number_id != NULL)
		values[1] = CStringGetTextDatum(*phone_number_id);
	else
		nulls[1] = 'n';
	if (*recipient_key != NULL)
		values[2] = CStringGetTextDatum(*recipient_key);
	else
		nulls[2] = 'n';
	wa_execute(&audit_rows, values, nulls);
	*phone_number_id = get_text(0, 1);
	*recipient_key = get_text(0, 2);
}

/*
 * Which of these rows, that have been claimed, are not to leave any more?
 */
int64 *
wa_outbox_withdraw(const int64 *ids, int nids, int *nwithdrawn)
{
	Datum		values[] = {make_id_array(ids, nids)};
	int64	   *withdrawn;

	wa_execute(&withdraw_rows, values, NULL);
	*nwithdrawn = (int) SPI_processed;
	withdrawn = palloc(sizeof(int64) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
		withdrawn[i] = get_int(i, 1);
	return withdrawn;
}

/*
 * See to rows that are said to be sent, and are by nobody: all but those that
 * we have in flight.
 */
void
wa_outbox_release(const int64 *in_flight, int nin_flight)
{
	Datum		values[] = {make_id_array(in_flight, nin_flight)};

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

static Datum
make_array(Datum *elements, bool *nulls, int nelements, Oid type)
{
	int			dims[] = {nelements};
	int			lower_bounds[] = {1};
	int16		len;
	bool		by_value;
	char		align;

	if (nelements == 0)
		return PointerGetDatum(construct_empty_array(type));
	get_typlenbyvalalign(type, &len, &by_value, &align);
	return PointerGetDatum(construct_md_array(elements, nulls, 1, dims,
											  lower_bounds, type, len,
											  by_value, align));
}

static Datum
make_id_array(const int64 *ids, int nids)
{
	Datum	   *elements = palloc(sizeof(Datum) * (nids + 1));

	for (int i = 0; i < nids; i++)
		elements[i] = Int64GetDatum(ids[i]);
	return make_array(elements, NULL, nids, INT8OID);
}

/*
 * Does the first column of a row say so?
 */
static bool
says(uint64 row, const char *what)
{
	return strcmp(get_text(row, 1), what) == 0;
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

static TimestampTz
get_time(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? DT_NOEND : DatumGetTimestampTz(value);
}

/*
 * Some JSON that the server has sent, or NULL if it was not JSON.
 */
static Jsonb *
read_json(const char *json, size_t len)
{
	const char *remark;

	return wa_document_read(json, len, &remark);
}
