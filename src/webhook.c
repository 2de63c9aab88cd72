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
 * The rows of a webhook are stored together, and those of a batch of webhooks,
 * too, as if they were one.  Should a table or a hook object to that, each
 * webhook is filed by itself; and should it object to that as well, those of
 * each element are stored by themselves, and the elements that cannot be are
 * parked: each is kept in whatsapp.webhooks, as a webhook that has nothing but
 * it.  replay() files it once that can be done.
 *
 * IDENTIFICATION
 *	  src/webhook.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

/* Columns of whatsapp.ingest_result */
#define NRESULTS	9

/* What a webhook tells of a number whose secret it was not signed with */
#define WA_ERRCODE_NOT_SIGNED	MAKE_SQLSTATE('W', 'A', '0', '0', '2')

/* How "object" begins in webhooks of WhatsApp, in whatever case */
#define OUR_OBJECT	"whatsapp"

/* Who it is that a webhook's rows are made and stored for */
typedef struct WebhookKind
{
	WaShredder *shredder;
	WaStore    *store;
	const WaTable *tables;
	int			ntables;
	int		   *number_columns; /* of each, the column of our number, */
	int		   *waba_columns;	/* and of the account; or -1 */
} WebhookKind;

/* A row that an object of a webhook made */
typedef struct WebhookRow
{
	JsonbContainer *source;
	int			table;
	int			row;
	int			rank;			/* in the order of its table; see store.c */
} WebhookRow;

/* Such an object */
typedef struct WebhookElement
{
	WebhookRow *rows;
	int			nrows;
	const WebhookRow *first;	/* of those that are stored, or NULL */
	ErrorData  *error;			/* why it is parked, or NULL */
} WebhookElement;

/* A webhook that is handed over, perhaps with others */
typedef struct Webhook
{
	int			ord;
	const char *body;
	size_t		len;
	Jsonb	   *document;		/* NULL if it is refused, or cannot be read */
	const char *remark;			/* on what was read, or NULL */
	WaSigner   *signer;			/* who has told it; NULL if they may tell all */
	WaFiled		filed;
	bool		is_kept;		/* as it came, if that is to be */
	bool		is_gathered;	/* it can be filed together with others, */
	bool		is_filed;		/* and that has been done */

	WaRows	   *rows;			/* what it tells, while it is filed with
								 * others */

	/* the first row that it makes, for compare_webhooks() */
	int			table;
	Datum		key[WA_MAX_KEYS];	/* as far as it is known */
} Webhook;

/*
 * So many webhooks of a batch are filed together at most, and so many bytes of
 * them.  What is made of one takes some 30 kB, and ten times its bytes.
 */
#define MAX_TOGETHER		1000
#define MAX_BYTES_TOGETHER	(8 * 1024 * 1024)

/* Made at the first webhook that a backend files */
static WebhookKind ours;
static WebhookKind foreign;
static bool kinds_are_made = false;

static void read_signed(Webhook *webhook, const WaSecrets *secrets,
						const char *signature);
static void read_webhook(Webhook *webhook);
static void file_webhook(Webhook *webhook, bool deferred_is_ours);
static void file_batch(Webhook *webhooks, int nwebhooks,
					   bool deferred_is_ours);
static int	count_chunk(const Webhook *webhooks, int nwebhooks);
static void file_chunk(Webhook *webhooks, int nwebhooks,
					   bool deferred_is_ours);
static void keep_batch(Webhook *webhooks, int nwebhooks);
static int	compare_bodies(const void *a, const void *b);
static void file_together(Webhook *webhooks, int nwebhooks,
						  bool deferred_is_ours);
static int	gather_rows(Webhook *webhooks, int nwebhooks, WaRows *rows);
static bool is_counted(const WaTable *table);
static void keep_webhook(Webhook *webhook);
static bool is_to_be_kept(const Webhook *webhook);
static void sort_webhooks(Webhook *webhooks, int nwebhooks);
static void find_place(Webhook *webhook, MemoryContext context);
static void find_key(const WebhookKind *kind, const WaRows *rows, int t, int r,
					 Datum *key);
static int	compare_webhooks(const void *a, const void *b);
static int	compare_keys(const Datum *x, const Datum *y);
static int	compare_ords(const void *a, const void *b);
static WaFiled file_parked(const bytea *body, WaSigner *signer,
						   bool deferred_is_ours);
static void make_kinds(void);
static void make_kind(WebhookKind *kind, const WaTable *tables, int ntables);
static WaFiled file_document(Jsonb *document, WaSigner *signer,
							 bool deferred_is_ours);
static bool is_all_signed(WaSigner *signer, const WebhookKind *kind,
						  const WaRows *rows);
static bool is_row_signed(WaSigner *signer, const WebhookKind *kind,
						  const WaRows *rows, int t, int r);
static char *text_of(const WebhookKind *kind, const WaRows *rows, int t, int r,
					 int column);
static WaRows *shred_document(Jsonb **document, const WebhookKind **kind);
static bool is_foreign(Jsonb *document);
static Jsonb *make_whole(Jsonb *document);
static Jsonb *enclose_in(const char *path, Jsonb *document);
static void count_rows(WaFiled *filed, const WebhookKind *kind,
					   const WaRows *rows, const uint64 *nstored);
static void file_elements(WaFiled *filed, const WebhookKind *kind,
						  Jsonb *document, const WaRows *rows,
						  WaSigner *signer, bool check_deferred,
						  ErrorData *error);
static ErrorData *make_objection(void);
static bool is_element_signed(WaSigner *signer, const WebhookKind *kind,
							  const WaRows *rows,
							  const WebhookElement *element);
static WebhookElement *list_elements(const WebhookKind *kind,
									 const WaRows *rows, int *nelements);
static void find_first(WebhookElement *element);
static int	compare_rows(const void *a, const void *b);
static int	compare_elements(const void *a, const void *b);
static int	compare_elements_by_source(const void *a, const void *b);
static ErrorData *file_element(WaFiled *filed, const WebhookKind *kind,
							   const WaRows *rows,
							   const WebhookElement *element,
							   bool check_deferred);
static Jsonb *leftover_of(const WebhookKind *kind, const WaRows *rows,
						  const WebhookElement *element);
static const Datum *column_at(const WebhookKind *kind, const WaRows *rows,
							  const WebhookRow *row, const char *path);
static void park(const WebhookKind *kind, Jsonb *document, const WaRows *rows,
				 WaSigner *signer, const WaCut *cuts,
				 const WebhookElement *elements, int nelements);
static Jsonb *with_entry_time(Jsonb *webhook, TimestampTz time);
static ErrorData *store_in_subtransaction(const WebhookKind *kind,
										  const WaRows *rows,
										  uint64 *nstored,
										  bool *const *marks,
										  bool check_deferred);
static void check_deferred_constraints(void);
static bool is_deferred_ours(void);
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
	WaSecrets  *secrets;
	Webhook    *webhooks;
	Datum	   *bodies;
	Datum	   *signatures;
	bool	   *no_body;
	bool	   *no_signature;
	int			nbodies;
	int			nsignatures;
	bool		deferred_is_ours = is_deferred_ours();

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

	wa_connect();
	secrets = wa_find_secrets();
	SPI_finish();
	webhooks = palloc0(sizeof(Webhook) * Max(nbodies, 1));
	for (int i = 0; i < nbodies; i++)
	{
		bytea	   *body = no_body[i] ? NULL : DatumGetByteaPP(bodies[i]);

		CHECK_FOR_INTERRUPTS();
		webhooks[i].ord = i + 1;
		webhooks[i].body = body ? VARDATA_ANY(body) : "";
		webhooks[i].len = body ? VARSIZE_ANY_EXHDR(body) : 0;
		read_signed(&webhooks[i], secrets, no_signature[i] ? NULL :
					TextDatumGetCString(signatures[i]));
	}

	file_batch(webhooks, nbodies, deferred_is_ours);

	qsort(webhooks, nbodies, sizeof(Webhook), compare_ords);
	for (int i = 0; i < nbodies; i++)
	{
		Datum		values[NRESULTS];
		bool		nulls[NRESULTS];

		fill_result(&webhooks[i].filed, i + 1, values, nulls);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
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
	filed = file_document(document, NULL, is_deferred_ours());
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
	bool		deferred_is_ours = is_deferred_ours();

	InitMaterializedSRF(fcinfo, 0);
	wa_connect();
	ids = wa_archive_list(PG_GETARG_BOOL(0), &nids);
	SPI_finish();

	oldcontext = MemoryContextSwitchTo(context);
	for (int i = 0; i < nids; i++)
	{
		bytea	   *body;
		bool		was_parked;
		ArrayType  *signed_for;

		CHECK_FOR_INTERRUPTS();
		wa_connect();
		body = wa_archive_take(ids[i], &was_parked, &signed_for);
		if (body != NULL)
		{
			Webhook		webhook = {
				.body = VARDATA_ANY(body),.len = VARSIZE_ANY_EXHDR(body),
				.signer = wa_make_signer(signed_for)
			};
			Datum		values[NRESULTS];
			bool		nulls[NRESULTS];

			if (was_parked)
				webhook.filed = file_parked(body, webhook.signer,
											deferred_is_ours);
			else
			{
				read_webhook(&webhook);
				file_webhook(&webhook, deferred_is_ours);
			}
			fill_result(&webhook.filed, i + 1, values, nulls);
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
	Webhook		webhook = {.body = body,.len = len};

	read_signed(&webhook, wa_find_secrets(), signature);
	file_webhook(&webhook, is_deferred_ours());
	return webhook.filed;
}

/*
 * Read a webhook if it is Meta's, or say what to answer else.
 */
static void
read_signed(Webhook *webhook, const WaSecrets *secrets, const char *signature)
{
	/* before the digest of it is computed, of which anybody could ask much */
	if (webhook->len > WA_MAX_BODY_SIZE)
	{
		webhook->filed.http_status = WA_HTTP_TOO_LARGE;
		webhook->filed.error = "webhook body is too large";
		wa_count_now(WA_COUNT_WEBHOOKS, "refused", 1);
	}
	else if ((webhook->signer = wa_find_signer(secrets, webhook->body,
											   webhook->len,
											   signature)) == NULL)
	{
		webhook->filed.http_status = WA_HTTP_UNAUTHORIZED;
		webhook->filed.error = "webhook signature does not match";
		wa_count_now(WA_COUNT_WEBHOOKS, "refused", 1);
	}
	else
		read_webhook(webhook);
}

/*
 * Read a webhook whose signature is good.
 */
static void
read_webhook(Webhook *webhook)
{
	wa_count(WA_COUNT_BYTES, "webhooks", webhook->len);
	webhook->filed.http_status = WA_HTTP_OK;
	webhook->document = wa_document_read(webhook->body, webhook->len,
										 &webhook->remark);
	if (webhook->document == NULL)
	{
		webhook->filed.unreadable = 1;
		webhook->filed.error = webhook->remark;
		wa_count(WA_COUNT_WEBHOOKS, "unreadable", 1);
	}
}

/*
 * File a webhook that was read, and keep it as it came if that is wanted or
 * needed.
 */
static void
file_webhook(Webhook *webhook, bool deferred_is_ours)
{
	/* before what is parked, which may be the same */
	keep_webhook(webhook);
	if (webhook->document != NULL)
		webhook->filed = file_document(webhook->document, webhook->signer,
									   deferred_is_ours);
}

/*
 * Keep a webhook as it came, if that is wanted or needed.
 */
static void
keep_webhook(Webhook *webhook)
{
	if (!is_to_be_kept(webhook))
		return;
	webhook->is_kept = true;
	wa_archive_keep(webhook->body, webhook->len,
					webhook->filed.unreadable ? WA_UNREADABLE : WA_FILED,
					webhook->remark, wa_signer_numbers(webhook->signer));
}

static bool
is_to_be_kept(const Webhook *webhook)
{
	if (webhook->is_kept)
		return false;
	return webhook->filed.unreadable ||
		(webhook->document != NULL &&
		 (webhook->remark != NULL || wa_archive_wanted == WA_ARCHIVE_ALL));
}

/*
 * File the webhooks of a batch: as many together as may be, and those by
 * themselves that cannot be filed with others.
 */
static void
file_batch(Webhook *webhooks, int nwebhooks, bool deferred_is_ours)
{
	keep_batch(webhooks, nwebhooks);
	if (count_chunk(webhooks, nwebhooks) < nwebhooks)
		sort_webhooks(webhooks, nwebhooks);
	for (int done = 0; done < nwebhooks;)
	{
		int			nchunk = count_chunk(&webhooks[done], nwebhooks - done);

		file_chunk(&webhooks[done], nchunk, deferred_is_ours);
		done += nchunk;
	}
}

/*
 * How many of these are to be filed together?
 */
static int
count_chunk(const Webhook *webhooks, int nwebhooks)
{
	size_t		len = 0;
	int			n;

	for (n = 0; n < Min(nwebhooks, MAX_TOGETHER); n++)
	{
		len += webhooks[n].len;
		if (n > 0 && len > MAX_BYTES_TOGETHER)
			break;
	}
	return n;
}

static void
file_chunk(Webhook *webhooks, int nwebhooks, bool deferred_is_ours)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "whatsapp webhook",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);

	if (nwebhooks > 1)
	{
		wa_connect();
		file_together(webhooks, nwebhooks, deferred_is_ours);
		SPI_finish();
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(context);

	sort_webhooks(webhooks, nwebhooks);
	for (int i = 0; i < nwebhooks; i++)
	{
		WaFiled    *filed = &webhooks[i].filed;

		CHECK_FOR_INTERRUPTS();
		if (webhooks[i].is_filed)
			continue;
		MemoryContextSwitchTo(context);
		wa_connect();
		file_webhook(&webhooks[i], deferred_is_ours);
		SPI_finish();
		MemoryContextSwitchTo(oldcontext);
		if (filed->error != NULL)
			filed->error = pstrdup(filed->error);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

/*
 * Keep the webhooks of a batch as they came, where that is wanted or needed,
 * in an order that any two batches have in common.
 */
static void
keep_batch(Webhook *webhooks, int nwebhooks)
{
	Webhook   **ordered = palloc(sizeof(Webhook *) * Max(nwebhooks, 1));
	int			n = 0;

	for (int i = 0; i < nwebhooks; i++)
		if (is_to_be_kept(&webhooks[i]))
			ordered[n++] = &webhooks[i];
	qsort(ordered, n, sizeof(Webhook *), compare_bodies);
	for (int i = 0; i < n; i++)
	{
		wa_connect();
		keep_webhook(ordered[i]);
		SPI_finish();
	}
	pfree(ordered);
}

static int
compare_bodies(const void *a, const void *b)
{
	const Webhook *x = *(Webhook *const *) a;
	const Webhook *y = *(Webhook *const *) b;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->body, y->body, x->len);
}

/*
 * File webhooks as if they were one, each row with all others of its table,
 * unless one of them cannot be filed as it is.  That is quicker, and has rows
 * locked in the same order as by any other batch.
 */
static void
file_together(Webhook *webhooks, int nwebhooks, bool deferred_is_ours)
{
	WaRows	   *rows;
	uint64	   *nstored;
	bool	  **marks;
	int		   *next;
	bool		check;

	make_kinds();
	rows = palloc0(sizeof(WaRows) * ours.ntables);
	if (gather_rows(webhooks, nwebhooks, rows) < 2)
		return;
	nstored = palloc(sizeof(uint64) * ours.ntables);
	marks = palloc0(sizeof(bool *) * ours.ntables);
	for (int t = 0; t < ours.ntables; t++)
		if (rows[t].nrows > 0 && is_counted(&ours.tables[t]))
			marks[t] = palloc0(sizeof(bool) * rows[t].nrows);
	check = deferred_is_ours &&
		(wa_hooks_exist() || wa_store_may_be_deferred(ours.store, rows));
	if (store_in_subtransaction(&ours, rows, nstored, marks, check) != NULL)
		return;

	/* those of each webhook follow each other */
	next = palloc0(sizeof(int) * ours.ntables);
	for (int i = 0; i < nwebhooks; i++)
	{
		Webhook    *webhook = &webhooks[i];

		if (!webhook->is_gathered)
			continue;
		for (int t = 0; t < ours.ntables; t++)
		{
			nstored[t] = 0;
			for (int r = 0; marks[t] && r < webhook->rows[t].nrows; r++)
				nstored[t] += marks[t][next[t]++];
		}
		webhook->filed = (WaFiled)
		{
			.http_status = WA_HTTP_OK
		};
		count_rows(&webhook->filed, &ours, webhook->rows, nstored);
		webhook->is_filed = true;
		wa_count(WA_COUNT_WEBHOOKS, "filed", 1);
	}
}

/*
 * Gather the rows of the webhooks that can be filed together.  Returns how
 * many webhooks these are.
 */
static int
gather_rows(Webhook *webhooks, int nwebhooks, WaRows *rows)
{
	int			ngathered = 0;

	for (int i = 0; i < nwebhooks; i++)
	{
		Webhook    *webhook = &webhooks[i];
		Jsonb	   *document;
		const WebhookKind *kind;

		CHECK_FOR_INTERRUPTS();
		if (webhook->document == NULL)
			continue;
		document = webhook->document;
		webhook->rows = shred_document(&document, &kind);
		webhook->is_gathered = kind == &ours &&
			is_all_signed(webhook->signer, &ours, webhook->rows);
		ngathered += webhook->is_gathered;
		for (int t = 0; t < kind->ntables; t++)
		{
			for (int r = 0; webhook->is_gathered &&
				 r < webhook->rows[t].nrows; r++)
				wa_rows_copy(&rows[t], ours.tables[t].ncolumns,
							 &webhook->rows[t], r);
			wa_rows_release(&webhook->rows[t]);
		}
	}
	return ngathered;
}

/*
 * Put the webhooks of a batch in the order in which they are filed.
 *
 * All rows that they write stay locked until the end of the transaction.  So
 * two batches would deadlock if they had the same people in different order,
 * and the same people there are in most.  What is about one person stays in
 * the order in which it came.
 */
static void
sort_webhooks(Webhook *webhooks, int nwebhooks)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "whatsapp webhook order",
												  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < nwebhooks && nwebhooks > 1; i++)
		if (webhooks[i].document != NULL && !webhooks[i].is_filed)
			find_place(&webhooks[i], context);
	MemoryContextDelete(context);
	qsort(webhooks, nwebhooks, sizeof(Webhook), compare_webhooks);
}

/*
 * Find the first row that a webhook makes, by table and key.
 */
static void
find_place(Webhook *webhook, MemoryContext context)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(context);
	Jsonb	   *document = webhook->document;
	const WebhookKind *kind;
	WaRows	   *rows = shred_document(&document, &kind);
	int			t = 0;
	Datum		first[WA_MAX_KEYS];

	while (t < kind->ntables && rows[t].nrows == 0)
		t++;
	webhook->table = t;
	for (int r = 0; t < kind->ntables && r < rows[t].nrows; r++)
	{
		Datum		key[WA_MAX_KEYS];

		find_key(kind, rows, t, r, key);
		if (r == 0 || compare_keys(key, first) < 0)
			memcpy(first, key, sizeof(first));
	}
	MemoryContextSwitchTo(oldcontext);
	for (int i = 0; i < WA_MAX_KEYS && t < kind->ntables; i++)
		if (first[i] != 0)
			webhook->key[i] = datumCopy(first[i], false, -1);
	MemoryContextReset(context);
}

/*
 * Find the key of a row, as far as it is not computed.
 */
static void
find_key(const WebhookKind *kind, const WaRows *rows, int t, int r, Datum *key)
{
	const WaTable *table = &kind->tables[t];
	const char *name = table->key;

	memset(key, 0, sizeof(Datum) * WA_MAX_KEYS);
	for (int n = 0; *name != '\0' && n < WA_MAX_KEYS; n++)
	{
		int			len = strcspn(name, ", ");

		for (int i = 0; i < table->ncolumns; i++)
		{
			int			place = r * table->ncolumns + i;

			if (strlen(table->columns[i].name) != len ||
				memcmp(table->columns[i].name, name, len) != 0)
				continue;
			if (table->columns[i].type == WA_TEXT && !rows[t].nulls[place])
				key[n] = rows[t].values[place];
			break;
		}
		name += len;
		name += strspn(name, ", ");
	}
}

static int
compare_webhooks(const void *a, const void *b)
{
	const Webhook *x = a;
	const Webhook *y = b;
	int			order;

	if (x->table != y->table)
		return x->table - y->table;
	order = compare_keys(x->key, y->key);
	return order ? order : x->ord - y->ord;
}

/*
 * Compare keys as ORDER BY would.
 */
static int
compare_keys(const Datum *x, const Datum *y)
{
	for (int i = 0; i < WA_MAX_KEYS; i++)
	{
		int			order;

		if (x[i] == 0 || y[i] == 0)
			return (x[i] != 0) - (y[i] != 0);
		order = DatumGetInt32(DirectFunctionCall2Coll(bttextcmp,
													  DEFAULT_COLLATION_OID,
													  x[i], y[i]));
		if (order != 0)
			return order;
	}
	return 0;
}

static int
compare_ords(const void *a, const void *b)
{
	return ((const Webhook *) a)->ord - ((const Webhook *) b)->ord;
}

/*
 * File what was parked: no more is asked of it than what jsonb asks, as it was
 * written by us.
 */
static WaFiled
file_parked(const bytea *body, WaSigner *signer, bool deferred_is_ours)
{
	char	   *document = pnstrdup(VARDATA_ANY(body),
									VARSIZE_ANY_EXHDR(body));

	return file_document(DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															CStringGetDatum(document))),
						 signer, deferred_is_ours);
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
	kind->number_columns = palloc(sizeof(int) * ntables);
	kind->waba_columns = palloc(sizeof(int) * ntables);
	for (int t = 0; t < ntables; t++)
	{
		kind->number_columns[t] = wa_table_find_column(&tables[t],
													   "phone_number_id");
		kind->waba_columns[t] = wa_table_find_column(&tables[t],
													 "waba_id");
	}
}

/*
 * File a document: all of it if that can be, else all of its elements that
 * can be.
 */
static WaFiled
file_document(Jsonb *document, WaSigner *signer, bool deferred_is_ours)
{
	WaFiled		filed = {.http_status = WA_HTTP_OK};
	const WebhookKind *kind;
	WaRows	   *rows;
	uint64	   *nstored;
	bool		check;
	ErrorData  *error;

	wa_count(WA_COUNT_WEBHOOKS, "filed", 1);
	rows = shred_document(&document, &kind);
	nstored = palloc(sizeof(uint64) * kind->ntables);
	check = deferred_is_ours &&
		(wa_hooks_exist() || wa_store_may_be_deferred(kind->store, rows));
	error = is_all_signed(signer, kind, rows) ?
		store_in_subtransaction(kind, rows, nstored, NULL, check) :
		make_objection();
	if (error == NULL)
		count_rows(&filed, kind, rows, nstored);
	else
		file_elements(&filed, kind, document, rows, signer, check, error);
	return filed;
}

/*
 * May who has told a document tell all of it?
 */
static bool
is_all_signed(WaSigner *signer, const WebhookKind *kind, const WaRows *rows)
{
	for (int t = 0; signer != NULL && t < kind->ntables; t++)
		for (int r = 0; r < rows[t].nrows; r++)
			if (!is_row_signed(signer, kind, rows, t, r))
				return false;
	return true;
}

static bool
is_row_signed(WaSigner *signer, const WebhookKind *kind, const WaRows *rows,
			  int t, int r)
{
	return wa_signs_for(signer,
						text_of(kind, rows, t, r, kind->number_columns[t]),
						text_of(kind, rows, t, r, kind->waba_columns[t]));
}

/*
 * What a row has in a column of type text, which there may not be; or NULL.
 */
static char *
text_of(const WebhookKind *kind, const WaRows *rows, int t, int r, int column)
{
	int			place = r * kind->tables[t].ncolumns + column;

	if (column < 0 || rows[t].nulls[place])
		return NULL;
	return TextDatumGetCString(rows[t].values[place]);
}

/*
 * Find the kind of a document, make the document whole, and make its rows.
 */
static WaRows *
shred_document(Jsonb **document, const WebhookKind **kind)
{
	WaRows	   *rows;

	make_kinds();
	*kind = is_foreign(*document) ? &foreign : &ours;
	if (*kind == &ours)
		*document = make_whole(*document);
	rows = wa_shred((*kind)->shredder, *document);
	if (*kind == &ours)
		wa_people_meet(ours.tables, rows);
	return rows;
}

/*
 * Are rows of a table what is told?  People are named, again and again; they
 * are not.
 */
static bool
is_counted(const WaTable *table)
{
	return table->filing != WA_MAY && !table->uncounted;
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

		if (!is_counted(table))
			continue;
		if (strcmp(table->name, "messages") == 0)
			filed->messages += nstored[t];
		else if (strcmp(table->name, "statuses") == 0)
			filed->statuses += nstored[t];
		else
		{
			filed->events += nstored[t];
			wa_count(WA_COUNT_EVENTS, NULL, nstored[t]);
		}
		filed->duplicates += rows[t].nrows - nstored[t];
		wa_count(WA_COUNT_DUPLICATES, NULL, rows[t].nrows - nstored[t]);
	}
}

/*
 * File the elements of a document one by one, and park those that cannot be.
 * Together they could not be, because of an error.
 */
static void
file_elements(WaFiled *filed, const WebhookKind *kind, Jsonb *document,
			  const WaRows *rows, WaSigner *signer, bool check_deferred,
			  ErrorData *error)
{
	int			nelements;
	WebhookElement *elements = list_elements(kind, rows, &nelements);
	WaCut	   *cuts = palloc(sizeof(WaCut) * nelements);
	int			ncuts = 0;

	for (int i = 0; i < nelements; i++)
	{
		WebhookElement *element = &elements[i];

		CHECK_FOR_INTERRUPTS();
		if (nelements == 1)
			element->error = error;
		else if (!is_element_signed(signer, kind, rows, element))
			element->error = make_objection();
		else
			element->error = file_element(filed, kind, rows, element,
										  check_deferred);
		if (element->error != NULL && filed->error == NULL)
			filed->error = element->error->message;
	}

	/* what is cut out of a document must be in the order that it has there */
	qsort(elements, nelements, sizeof(WebhookElement),
		  compare_elements_by_source);
	for (int i = 0; i < nelements; i++)
	{
		if (elements[i].error == NULL)
			continue;
		cuts[ncuts].object = elements[i].rows[0].source;
		cuts[ncuts].instead = leftover_of(kind, rows, &elements[i]);
		elements[ncuts++] = elements[i];
	}
	filed->parked = ncuts;
	if (ncuts > 0)
		park(kind, document, rows, signer, cuts, elements, ncuts);
}

/*
 * That the secret of another number was signed with, as if it were an error.
 */
static ErrorData *
make_objection(void)
{
	ErrorData  *objection = palloc0(sizeof(ErrorData));

	objection->sqlerrcode = WA_ERRCODE_NOT_SIGNED;
	objection->message = "webhook is signed with the secret of another number";
	objection->hint = "If both numbers are of one app, set its secret for this number, too, with whatsapp.set_app_secret(), and call whatsapp.replay().";
	return objection;
}

static bool
is_element_signed(WaSigner *signer, const WebhookKind *kind,
				  const WaRows *rows, const WebhookElement *element)
{
	for (int i = 0; i < element->nrows; i++)
		if (!is_row_signed(signer, kind, rows, element->rows[i].table,
						   element->rows[i].row))
			return false;
	return true;
}

/*
 * List the objects of a document, each with the rows that it made, in the
 * order in which those would be stored if they were stored together: so two
 * sessions that file the same, one in this way and one in that, wait for each
 * other, and what refers to something else comes after it.
 */
static WebhookElement *
list_elements(const WebhookKind *kind, const WaRows *rows, int *nelements)
{
	WebhookRow *all;
	WebhookElement *elements;
	int			n = 0;

	for (int t = 0; t < kind->ntables; t++)
		n += rows[t].nrows;
	all = palloc(sizeof(WebhookRow) * Max(n, 1));
	elements = palloc(sizeof(WebhookElement) * Max(n, 1));

	n = 0;
	for (int t = 0; t < kind->ntables; t++)
	{
		int		   *ranks;

		if (rows[t].nrows == 0)
			continue;
		ranks = palloc(sizeof(int) * rows[t].nrows);
		wa_store_rank(kind->store, t, &rows[t], ranks);
		for (int r = 0; r < rows[t].nrows; r++)
		{
			all[n].source = rows[t].sources[r];
			all[n].table = t;
			all[n].row = r;
			all[n++].rank = ranks[r];
		}
	}
	qsort(all, n, sizeof(WebhookRow), compare_rows);

	*nelements = 0;
	for (int i = 0; i < n; i++)
	{
		WebhookElement *element = &elements[*nelements];

		if (i > 0 && all[i].source == all[i - 1].source)
		{
			element[-1].nrows++;
			continue;
		}
		element->rows = &all[i];
		element->nrows = 1;
		(*nelements)++;
	}
	for (int i = 0; i < *nelements; i++)
		find_first(&elements[i]);
	qsort(elements, *nelements, sizeof(WebhookElement), compare_elements);
	return elements;
}

/*
 * Find the row of an element that is stored first.
 */
static void
find_first(WebhookElement *element)
{
	element->first = NULL;
	for (int i = 0; i < element->nrows; i++)
	{
		const WebhookRow *row = &element->rows[i];

		if (row->rank >= 0 &&
			(element->first == NULL ||
			 (row->table == element->first->table &&
			  row->rank < element->first->rank)))
			element->first = row;
	}
}

static int
compare_rows(const void *a, const void *b)
{
	const WebhookRow *x = a;
	const WebhookRow *y = b;

	if (x->source != y->source)
		return x->source < y->source ? -1 : 1;
	if (x->table != y->table)
		return x->table - y->table;
	return x->row - y->row;
}

/*
 * By the rows that are stored first: by table, and then as in there.
 */
static int
compare_elements(const void *a, const void *b)
{
	const WebhookRow *x = ((const WebhookElement *) a)->first;
	const WebhookRow *y = ((const WebhookElement *) b)->first;

	if (x == NULL || y == NULL)
		return x != y ? (x == NULL ? 1 : -1) :
			compare_elements_by_source(a, b);
	return x->table != y->table ? x->table - y->table : x->rank - y->rank;
}

static int
compare_elements_by_source(const void *a, const void *b)
{
	const WebhookElement *x = a;
	const WebhookElement *y = b;

	return compare_rows(&x->rows[0], &y->rows[0]);
}

/*
 * File the rows that one object made.  Returns NULL, or what is the matter.
 */
static ErrorData *
file_element(WaFiled *filed, const WebhookKind *kind, const WaRows *rows,
			 const WebhookElement *element, bool check_deferred)
{
	WaRows	   *chosen = palloc0(sizeof(WaRows) * kind->ntables);
	uint64	   *nstored = palloc(sizeof(uint64) * kind->ntables);
	ErrorData  *error;

	/* those of one table follow each other, here and there */
	for (int i = element->nrows - 1; i >= 0; i--)
	{
		int			t = element->rows[i].table;
		int			r = element->rows[i].row;

		chosen[t].nrows++;
		chosen[t].values = &rows[t].values[r * kind->tables[t].ncolumns];
		chosen[t].nulls = &rows[t].nulls[r * kind->tables[t].ncolumns];
		chosen[t].sources = &rows[t].sources[r];
	}
	error = store_in_subtransaction(kind, chosen, nstored, NULL,
									check_deferred);
	if (error == NULL)
		count_rows(filed, kind, chosen, nstored);
	pfree(chosen);
	pfree(nstored);
	return error;
}

/*
 * What a fallback is to keep of an object, or NULL if it is no fallback's.
 */
static Jsonb *
leftover_of(const WebhookKind *kind, const WaRows *rows,
			const WebhookElement *element)
{
	const Datum *left;

	if (kind->tables[element->rows[0].table].filing != WA_FALLBACK)
		return NULL;
	left = column_at(kind, rows, &element->rows[0], "");
	return left ? DatumGetJsonbP(*left) : NULL;
}

/*
 * What a row has in the column that is fed from a path, or NULL.
 */
static const Datum *
column_at(const WebhookKind *kind, const WaRows *rows, const WebhookRow *row,
		  const char *path)
{
	const WaTable *table = &kind->tables[row->table];

	for (int i = 0; i < table->ncolumns; i++)
	{
		int			c = 0;
		int			place;

		if (strcmp(table->columns[i].path, path) != 0)
			continue;

		/* it is found where the column is listed first */
		while (strcmp(table->columns[c].name, table->columns[i].name) != 0)
			c++;

		/* what is in the object is not to be had from outside */
		if (path[0] == '/' && table->columns[c].path[0] != '/')
			continue;
		place = row->row * table->ncolumns + c;
		if (!rows[row->table].nulls[place])
			return &rows[row->table].values[place];
	}
	return NULL;
}

/*
 * Keep objects that could not be filed, each as a webhook of its own.
 */
static void
park(const WebhookKind *kind, Jsonb *document, const WaRows *rows,
	 WaSigner *signer, const WaCut *cuts, const WebhookElement *elements,
	 int nelements)
{
	Jsonb	  **parts = wa_prune_cut_out(wa_shredder_root(kind->shredder),
										 document, cuts, nelements);

	wa_count(WA_COUNT_PARKED, NULL, nelements);
	for (int i = 0; i < nelements; i++)
	{
		const Datum *time = NULL;

		/* a contact was seen at the time of the messages that were beside it */
		for (int j = 0; j < elements[i].nrows && time == NULL; j++)
			time = column_at(kind, rows, &elements[i].rows[j], "/entry.time");
		if (time != NULL)
			parts[i] = with_entry_time(parts[i], DatumGetTimestampTz(*time));
		wa_archive_park(parts[i], elements[i].error,
						elements[i].error->sqlerrcode == WA_ERRCODE_NOT_SIGNED ?
						wa_signer_numbers(signer) : NULL);
	}
}

/*
 * Set the time of a webhook's entry.
 */
static Jsonb *
with_entry_time(Jsonb *webhook, TimestampTz time)
{
	Datum		path[] = {
		CStringGetTextDatum("entry"),
		CStringGetTextDatum("0"),
		CStringGetTextDatum("time")
	};
	ArrayType  *array = construct_array(path, lengthof(path), TEXTOID, -1,
										false, TYPALIGN_INT);
	char	   *seconds = psprintf(INT64_FORMAT,
								   (int64) timestamptz_to_time_t(time));

	return DatumGetJsonbP(DirectFunctionCall4(jsonb_set,
											  JsonbPGetDatum(webhook),
											  PointerGetDatum(array),
											  DirectFunctionCall1(jsonb_in,
																  CStringGetDatum(seconds)),
											  BoolGetDatum(true)));
}

/*
 * Is a document no webhook of WhatsApp?  An app that has subscribed to other
 * products of Meta may get theirs at the same address.  They say so; who
 * passes on WhatsApp's may leave out what they are.
 */
static bool
is_foreign(Jsonb *document)
{
	JsonbValue	object;

	if (!JB_ROOT_IS_OBJECT(document) ||
		getKeyJsonValueFromContainer(&document->root, "object",
									 strlen("object"), &object) == NULL ||
		object.type != jbvString || object.val.string.len == 0)
		return false;
	return object.val.string.len < strlen(OUR_OBJECT) ||
		pg_strncasecmp(object.val.string.val, OUR_OBJECT,
					   strlen(OUR_OBJECT)) != 0;
}

/*
 * Make a webhook of a document that is but a part of one.
 */
static Jsonb *
make_whole(Jsonb *document)
{
	JsonbValue	ignored;

	if (!JB_ROOT_IS_OBJECT(document))
		return document;
	for (int i = 0; i < wa_fields_nparts; i++)
	{
		const WaPart *part = &wa_fields_parts[i];

		if (getKeyJsonValueFromContainer(&document->root, part->member,
										 strlen(part->member), &ignored))
			return enclose_in(part->path, document);
	}
	return document;
}

/*
 * Put an object at a path in a new document.
 */
static Jsonb *
enclose_in(const char *path, Jsonb *document)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;
	JsonbValue *whole;
	int			depth = 0;

	if (*path == '\0')
		return document;

	for (; *path != '\0'; depth++)
	{
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		value.type = jbvString;
		value.val.string.val = unconstify(char *, path);
		value.val.string.len = strcspn(path, ".");
		pushJsonbValue(&state, WJB_KEY, &value);
		path += value.val.string.len;
		path += strspn(path, ".");
	}
	value.type = jbvBinary;
	value.val.binary.data = &document->root;
	value.val.binary.len = VARSIZE(document) - VARHDRSZ;
	pushJsonbValue(&state, WJB_VALUE, &value);
	do
		whole = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	while (--depth > 0);
	return JsonbValueToJsonb(whole);
}

/*
 * Store rows in a subtransaction, so as to survive what their tables and
 * hooks object to.  Returns NULL, or the objection.
 */
static ErrorData *
store_in_subtransaction(const WebhookKind *kind, const WaRows *rows,
						uint64 *nstored, bool *const *marks,
						bool check_deferred)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;
	ErrorContextCallback *outer_context = error_context_stack;
	int			level = GetCurrentTransactionNestLevel();
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	PG_TRY();
	{
		/* the caller's statement may have secrets, and errors are kept */
		error_context_stack = NULL;

		wa_store_rows(kind->store, rows, nstored, marks);
		if (check_deferred)
			check_deferred_constraints();
		MemoryContextSwitchTo(oldcontext);
		ReleaseCurrentSubTransaction();
		error_context_stack = outer_context;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		FlushErrorState();
		while (GetCurrentTransactionNestLevel() > level)
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
 * See if what is deferred to the end of the transaction will hold.  There,
 * nobody could part the element that is to blame from the others.
 *
 * This is only a rehearsal: when its subtransaction is rolled back, everything
 * is deferred again, as it was, whatever had been said by SET CONSTRAINTS.
 */
static void
check_deferred_constraints(void)
{
	ConstraintsSetStmt *set_all_immediate = makeNode(ConstraintsSetStmt);

	BeginInternalSubTransaction(NULL);
	AfterTriggerSetState(set_all_immediate);
	RollbackAndReleaseCurrentSubTransaction();
}

/*
 * Is what is deferred to be looked at, by a call that begins?  It is fired as
 * the extension's owner here, so there must be nothing that the caller has left
 * to do: he would be the owner, too, and a webhook would be blamed for what he
 * has done.  Who has no transaction id has written nothing.
 */
static bool
is_deferred_ours(void)
{
	return !TransactionIdIsValid(GetTopTransactionIdIfAny());
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
