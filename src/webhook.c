/*-------------------------------------------------------------------------
 *
 * webhook.c
 *	  File webhooks.
 *
 * Meta sends a webhook again and again until it is answered with status 200,
 * which does not make it easier to understand.  So once its signature has
 * been found good, a webhook is never refused.  What cannot be read is kept
 * as it came in whatsapp.webhooks, with the reason.  Only trouble that will
 * pass is raised, for Meta to try again.
 *
 * The rows of a webhook are stored together.  Should a table or a hook object
 * to that, then those of each element are stored by themselves, and the
 * elements that cannot be are parked: each is kept in whatsapp.webhooks, as a
 * webhook that has nothing but it.  replay() files it once that can be done.
 *
 * IDENTIFICATION
 *	  src/webhook.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "whatsapp.h"

/* Columns of whatsapp.ingest_result */
#define NRESULTS	9

/* What "object" says in webhooks of WhatsApp */
#define OUR_OBJECT	"whatsapp_business_account"

/* Who it is that a webhook's rows are made and stored for */
typedef struct WebhookKind
{
	WaShredder *shredder;
	WaStore    *store;
	const WaTable *tables;
	int			ntables;
} WebhookKind;

/* An object of a webhook, and the rows that it made */
typedef struct WebhookElement
{
	JsonbContainer *source;
	int			table;
	int			row;
} WebhookElement;

/* Made at the first webhook that a backend files */
static WebhookKind ours;
static WebhookKind foreign;
static bool kinds_are_made = false;

static WaFiled file_bytes(const char *body, size_t len);
static void make_kinds(void);
static void make_kind(WebhookKind *kind, const WaTable *tables, int ntables);
static WaFiled file_document(Jsonb *document);
static bool is_foreign(Jsonb *document);
static void count_rows(WaFiled *filed, const WebhookKind *kind,
					   const WaRows *rows, const uint64 *nstored);
static void file_elements(WaFiled *filed, const WebhookKind *kind,
						  Jsonb *document, const WaRows *rows);
static WebhookElement *list_elements(const WebhookKind *kind,
									 const WaRows *rows, int *nelements);
static int	compare_elements(const void *a, const void *b);
static ErrorData *file_element(WaFiled *filed, const WebhookKind *kind,
							   const WaRows *rows,
							   const WebhookElement *element, int nrows);
static void park(const WebhookKind *kind, Jsonb *document,
				 JsonbContainer **sources, ErrorData **errors, int nparked);
static ErrorData *store_in_subtransaction(const WebhookKind *kind,
										  const WaRows *rows,
										  uint64 *nstored);
static void check_deferred_constraints(void);
static bool will_pass(int sqlerrcode);
static Datum make_result(FunctionCallInfo fcinfo, const WaFiled *filed);
static void fill_result(const WaFiled *filed, int ord, Datum *values,
						bool *nulls);

PG_FUNCTION_INFO_V1(whatsapp_ingest);
PG_FUNCTION_INFO_V1(whatsapp_ingest_batch);
PG_FUNCTION_INFO_V1(whatsapp_ingest_unsigned);
PG_FUNCTION_INFO_V1(whatsapp_replay);

/*
 * whatsapp.ingest(body bytea, signature text) returns whatsapp.ingest_result
 */
Datum
whatsapp_ingest(PG_FUNCTION_ARGS)
{
	bytea	   *body = PG_ARGISNULL(0) ? NULL : PG_GETARG_BYTEA_PP(0);
	const char *data = body ? VARDATA_ANY(body) : "";
	size_t		len = body ? VARSIZE_ANY_EXHDR(body) : 0;
	const char *signature = PG_ARGISNULL(1) ? NULL :
	text_to_cstring(PG_GETARG_TEXT_PP(1));
	WaFiled		filed;

	wa_connect();
	filed = wa_webhook_deliver(data, len, signature);
	SPI_finish();

	if (filed.http_status == WA_HTTP_TOO_LARGE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s", filed.error),
				 errdetail("It has %zu bytes, and Meta sends no more than %d.",
						   len, WA_MAX_BODY_SIZE)));
	if (filed.http_status == WA_HTTP_UNAUTHORIZED)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("%s", filed.error),
				 errhint("Pass the body byte for byte as it was received, the header X-Hub-Signature-256 as it is, and set the app's secret with whatsapp.set_app_secret().")));
	return make_result(fcinfo, &filed);
}

/*
 * whatsapp.ingest_batch(bodies bytea[], signatures text[])
 *		returns setof whatsapp.ingest_result
 */
Datum
whatsapp_ingest_batch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "whatsapp webhook",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext;
	Datum	   *bodies;
	Datum	   *signatures;
	bool	   *no_body;
	bool	   *no_signature;
	int			nbodies;
	int			nsignatures;

	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), BYTEAOID, -1, false,
					  TYPALIGN_INT, &bodies, &no_body, &nbodies);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false,
					  TYPALIGN_INT, &signatures, &no_signature, &nsignatures);
	if (nbodies != nsignatures)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("there must be as many signatures as bodies"),
				 errdetail("There are %d bodies and %d signatures.",
						   nbodies, nsignatures)));

	oldcontext = MemoryContextSwitchTo(context);
	for (int i = 0; i < nbodies; i++)
	{
		bytea	   *body = no_body[i] ? NULL : DatumGetByteaPP(bodies[i]);
		WaFiled		filed;
		Datum		values[NRESULTS];
		bool		nulls[NRESULTS];

		CHECK_FOR_INTERRUPTS();
		wa_connect();
		filed = wa_webhook_deliver(body ? VARDATA_ANY(body) : "",
								   body ? VARSIZE_ANY_EXHDR(body) : 0,
								   no_signature[i] ? NULL :
								   TextDatumGetCString(signatures[i]));
		SPI_finish();

		fill_result(&filed, i + 1, values, nulls);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextDelete(context);
	return (Datum) 0;
}

/*
 * whatsapp.ingest_unsigned(body jsonb) returns whatsapp.ingest_result
 */
Datum
whatsapp_ingest_unsigned(PG_FUNCTION_ARGS)
{
	Jsonb	   *document = PG_GETARG_JSONB_P(0);
	WaFiled		filed;

	wa_connect();
	filed = file_document(document);
	SPI_finish();

	return make_result(fcinfo, &filed);
}

/*
 * whatsapp.replay(everything boolean) returns setof whatsapp.ingest_result
 */
Datum
whatsapp_replay(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "whatsapp webhook",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext;
	Datum	   *ids;
	int			nids;

	InitMaterializedSRF(fcinfo, 0);
	wa_connect();
	ids = wa_archive_list(PG_GETARG_BOOL(0), &nids);
	SPI_finish();

	oldcontext = MemoryContextSwitchTo(context);
	for (int i = 0; i < nids; i++)
	{
		bytea	   *body;

		CHECK_FOR_INTERRUPTS();
		wa_connect();
		body = wa_archive_take(ids[i]);
		if (body != NULL)
		{
			WaFiled		filed = file_bytes(VARDATA_ANY(body),
										   VARSIZE_ANY_EXHDR(body));
			Datum		values[NRESULTS];
			bool		nulls[NRESULTS];

			fill_result(&filed, i + 1, values, nulls);
			tuplestore_putvalues(result->setResult, result->setDesc, values,
								 nulls);
		}
		SPI_finish();
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextDelete(context);
	return (Datum) 0;
}

/*
 * File a webhook, if it is Meta's, and say what to answer.  The caller has
 * called wa_connect().
 */
WaFiled
wa_webhook_deliver(const char *body, size_t len, const char *signature)
{
	WaFiled		filed = {0};

	/* before the digest of it is computed, of which anybody could ask much */
	if (len > WA_MAX_BODY_SIZE)
	{
		filed.http_status = WA_HTTP_TOO_LARGE;
		filed.error = "webhook body is too large";
	}
	else if (!wa_is_signed(body, len, signature))
	{
		filed.http_status = WA_HTTP_UNAUTHORIZED;
		filed.error = "webhook signature does not match";
	}
	else
		filed = file_bytes(body, len);
	return filed;
}

/*
 * File a webhook whose signature is good, and keep it as it came if that is
 * wanted or needed.
 */
static WaFiled
file_bytes(const char *body, size_t len)
{
	WaFiled		filed;
	const char *remark;
	Jsonb	   *document = wa_document_read(body, len, &remark);

	if (document == NULL)
	{
		filed = (WaFiled)
		{
			.http_status = WA_HTTP_OK,.unreadable = 1,.error = remark
		};
		wa_archive_keep(body, len, WA_UNREADABLE, remark);
		return filed;
	}

	/* before what is parked, which may be the same */
	if (remark != NULL || wa_archive_wanted == WA_ARCHIVE_ALL)
		wa_archive_keep(body, len, WA_FILED, remark);
	return file_document(document);
}

static void
make_kinds(void)
{
	MemoryContext oldcontext;

	if (kinds_are_made)
		return;

	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	make_kind(&ours, wa_fields_tables, wa_fields_ntables);
	make_kind(&foreign, wa_fields_foreign_table, 1);
	MemoryContextSwitchTo(oldcontext);
	kinds_are_made = true;
}

static void
make_kind(WebhookKind *kind, const WaTable *tables, int ntables)
{
	kind->shredder = wa_shredder_create(tables, ntables,
										wa_fields_understood);
	kind->store = wa_store_create(tables, ntables);
	kind->tables = tables;
	kind->ntables = ntables;
}

/*
 * File a document: all of it if that can be, else all of its elements that
 * can be.
 */
static WaFiled
file_document(Jsonb *document)
{
	WaFiled		filed = {.http_status = WA_HTTP_OK};
	const WebhookKind *kind;
	WaRows	   *rows;
	uint64	   *nstored;

	make_kinds();
	kind = is_foreign(document) ? &foreign : &ours;
	rows = wa_shred(kind->shredder, document);
	nstored = palloc(sizeof(uint64) * kind->ntables);
	if (store_in_subtransaction(kind, rows, nstored) == NULL)
		count_rows(&filed, kind, rows, nstored);
	else
		file_elements(&filed, kind, document, rows);
	return filed;
}

/*
 * Count what was filed.
 */
static void
count_rows(WaFiled *filed, const WebhookKind *kind, const WaRows *rows,
		   const uint64 *nstored)
{
	for (int t = 0; t < kind->ntables; t++)
	{
		const WaTable *table = &kind->tables[t];

		/* contacts are named, again and again; they are not what is told */
		if (table->filing == WA_MAY || strcmp(table->name, "contacts") == 0)
			continue;
		if (strcmp(table->name, "messages") == 0)
			filed->messages += nstored[t];
		else if (strcmp(table->name, "statuses") == 0)
			filed->statuses += nstored[t];
		else
			filed->events += nstored[t];
		filed->duplicates += rows[t].nrows - nstored[t];
	}
}

/*
 * File the elements of a document one by one, and park those that cannot be.
 */
static void
file_elements(WaFiled *filed, const WebhookKind *kind, Jsonb *document,
			  const WaRows *rows)
{
	int			nelements;
	WebhookElement *elements = list_elements(kind, rows, &nelements);
	JsonbContainer **sources = palloc(sizeof(JsonbContainer *) * nelements);
	ErrorData **errors = palloc(sizeof(ErrorData *) * nelements);
	int			nrows;

	for (int i = 0; i < nelements; i += nrows)
	{
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		nrows = 1;
		while (i + nrows < nelements &&
			   elements[i + nrows].source == elements[i].source)
			nrows++;

		error = file_element(filed, kind, rows, &elements[i], nrows);
		if (error == NULL)
			continue;
		if (filed->error == NULL)
			filed->error = error->message;
		sources[filed->parked] = elements[i].source;
		errors[filed->parked] = error;
		filed->parked++;
	}
	if (filed->parked > 0)
		park(kind, document, sources, errors, filed->parked);
}

/*
 * List all rows by the objects that made them.  Objects come in the order of
 * their place in the document.
 */
static WebhookElement *
list_elements(const WebhookKind *kind, const WaRows *rows, int *nelements)
{
	WebhookElement *elements;
	int			n = 0;

	for (int t = 0; t < kind->ntables; t++)
		n += rows[t].nrows;
	elements = palloc(sizeof(WebhookElement) * Max(n, 1));

	*nelements = n;
	n = 0;
	for (int t = 0; t < kind->ntables; t++)
		for (int r = 0; r < rows[t].nrows; r++)
			elements[n++] = (WebhookElement)
		{
			rows[t].sources[r], t, r
		};
	qsort(elements, n, sizeof(WebhookElement), compare_elements);
	return elements;
}

static int
compare_elements(const void *a, const void *b)
{
	const WebhookElement *x = a;
	const WebhookElement *y = b;

	if (x->source != y->source)
		return x->source < y->source ? -1 : 1;
	if (x->table != y->table)
		return x->table - y->table;
	return x->row - y->row;
}

/*
 * File the rows that one object made.  Returns NULL, or what is the matter.
 */
static ErrorData *
file_element(WaFiled *filed, const WebhookKind *kind, const WaRows *rows,
			 const WebhookElement *element, int nrows)
{
	WaRows	   *chosen = palloc0(sizeof(WaRows) * kind->ntables);
	uint64	   *nstored = palloc(sizeof(uint64) * kind->ntables);
	ErrorData  *error;

	/* those of one table follow each other, here and there */
	for (int i = nrows - 1; i >= 0; i--)
	{
		int			t = element[i].table;
		int			first = element[i].row * kind->tables[t].ncolumns;

		chosen[t].nrows++;
		chosen[t].values = &rows[t].values[first];
		chosen[t].nulls = &rows[t].nulls[first];
		chosen[t].sources = &rows[t].sources[element[i].row];
	}
	error = store_in_subtransaction(kind, chosen, nstored);
	if (error == NULL)
		count_rows(filed, kind, chosen, nstored);
	pfree(chosen);
	pfree(nstored);
	return error;
}

/*
 * Keep objects that could not be filed, each as a webhook of its own.
 */
static void
park(const WebhookKind *kind, Jsonb *document, JsonbContainer **sources,
	 ErrorData **errors, int nparked)
{
	Jsonb	  **parts = wa_prune_cut_out(wa_shredder_root(kind->shredder),
										 document, sources, nparked);

	for (int i = 0; i < nparked; i++)
		wa_archive_park(parts[i], errors[i]);
}

/*
 * Is a document no webhook of WhatsApp?  An app that has subscribed to other
 * products of Meta may get theirs at the same address.
 */
static bool
is_foreign(Jsonb *document)
{
	JsonbValue	object;

	if (!JB_ROOT_IS_OBJECT(document) ||
		getKeyJsonValueFromContainer(&document->root, "object",
									 strlen("object"), &object) == NULL)
		return true;
	return object.type != jbvString ||
		object.val.string.len != strlen(OUR_OBJECT) ||
		memcmp(object.val.string.val, OUR_OBJECT, strlen(OUR_OBJECT)) != 0;
}

/*
 * Store rows in a subtransaction, so as to survive what their tables and
 * hooks object to.  Returns NULL, or the objection.
 */
static ErrorData *
store_in_subtransaction(const WebhookKind *kind, const WaRows *rows,
						uint64 *nstored)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	PG_TRY();
	{
		wa_store_rows(kind->store, rows, nstored);
		if (wa_hooks_exist() || wa_store_may_be_deferred(kind->store, rows))
			check_deferred_constraints();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(oldcontext);
	CurrentResourceOwner = oldowner;

	if (error != NULL && will_pass(error->sqlerrcode))
		ReThrowError(error);
	return error;
}

/*
 * Have checked now what would be checked when the transaction commits, where
 * nobody could part the element that is to blame from the others.
 */
static void
check_deferred_constraints(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	AfterTriggerSetState(statement);

	/* what comes next may again be right only in the end */
	statement->deferred = true;
	AfterTriggerSetState(statement);
}

/*
 * Is an error one that the same webhook may not meet again?  Then it is
 * better to have it sent again than to set it aside.
 */
static bool
will_pass(int sqlerrcode)
{
	static const int passing_classes[] = {
		MAKE_SQLSTATE('2', '5', '0', '0', '0'), /* transaction state */
		MAKE_SQLSTATE('4', '0', '0', '0', '0'), /* rollback, deadlock */
		MAKE_SQLSTATE('5', '3', '0', '0', '0'), /* out of resources */
		MAKE_SQLSTATE('5', '7', '0', '0', '0'), /* shutdown, cancel */
		MAKE_SQLSTATE('5', '8', '0', '0', '0'), /* system error */
		MAKE_SQLSTATE('X', 'X', '0', '0', '0'), /* bugs, corruption */
	};

	for (int i = 0; i < lengthof(passing_classes); i++)
		if (ERRCODE_TO_CATEGORY(sqlerrcode) == passing_classes[i])
			return true;
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/*
 * Make a whatsapp.ingest_result.
 */
static Datum
make_result(FunctionCallInfo fcinfo, const WaFiled *filed)
{
	TupleDesc	tupdesc;
	Datum		values[NRESULTS];
	bool		nulls[NRESULTS];

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	fill_result(filed, 1, values, nulls);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values,
											 nulls));
}

/*
 * Fill in the columns of a whatsapp.ingest_result.
 */
static void
fill_result(const WaFiled *filed, int ord, Datum *values, bool *nulls)
{
	const int	numbers[] = {
		ord, filed->http_status, filed->messages, filed->statuses,
		filed->events, filed->duplicates, filed->unreadable, filed->parked
	};

	StaticAssertStmt(lengthof(numbers) == NRESULTS - 1,
					 "the last column is the error");

	for (int i = 0; i < lengthof(numbers); i++)
	{
		values[i] = Int32GetDatum(numbers[i]);
		nulls[i] = false;
	}
	nulls[NRESULTS - 1] = filed->error == NULL;
	if (filed->error != NULL)
		values[NRESULTS - 1] = CStringGetTextDatum(filed->error);
}
