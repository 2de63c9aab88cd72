/*-------------------------------------------------------------------------
 *
 * webhook.c
 *	  File webhooks: what is in them, and in which tables it goes.
 *
 * Meta sends a webhook again and again until it is answered with status 200,
 * which does not make it easier to understand.  So once its signature has
 * been found good, a webhook is never refused.  What cannot be read, or is
 * refused by a table, is kept as it came in whatsapp.webhooks, with the
 * reason.  Only trouble that will pass is raised, for Meta to try again.
 *
 * What is in a webhook, and which column it goes to, is said by the tables at
 * the top of this file and by nothing else.
 *
 * IDENTIFICATION
 *	  src/webhook.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
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

/* whatsapp.archive */
int			wa_archive = WA_ARCHIVE_UNFILED;

/*
 * Where the columns are found
 *
 * To record one more field, add its column here and to the install script.
 * A field that stands in several places is listed with each, the place to be
 * preferred first.
 */
#define VALUE	"/entry.changes.value."

#define NUMBER_COLUMN \
	{"phone_number_id", VALUE "metadata.phone_number_id", WA_TEXT, true}

/* The time of a webhook is that of the latest thing it tells */
#define WEBHOOK_TIME_COLUMN(name) \
	{name, VALUE "messages.timestamp", WA_TIME}, \
	{name, VALUE "statuses.timestamp", WA_TIME}, \
	{name, "/entry.time", WA_TIME}

static const WaColumn contact_columns[] =
{
	NUMBER_COLUMN,
	{"contact_key", "user_id", WA_TEXT, true},
	{"contact_key", "wa_id", WA_TEXT, true},
	{"wa_id", "wa_id", WA_TEXT},
	{"user_id", "user_id", WA_TEXT},
	{"parent_user_id", "parent_user_id", WA_TEXT},
	{"name", "profile.name", WA_TEXT},
	{"username", "profile.username", WA_TEXT},
	WEBHOOK_TIME_COLUMN("first_seen"),
	WEBHOOK_TIME_COLUMN("last_seen"),
	{"element", "", WA_JSON},
};

static const WaColumn message_columns[] =
{
	NUMBER_COLUMN,
	{"message_id", "id", WA_TEXT, true},
	{"direction", "=inbound", WA_TEXT},
	{"type", "type", WA_TEXT},

	/* what the sender says, in words */
	{"body", "text.body", WA_TEXT},
	{"body", "image.caption", WA_TEXT},
	{"body", "video.caption", WA_TEXT},
	{"body", "document.caption", WA_TEXT},
	{"body", "document.filename", WA_TEXT},
	{"body", "button.text", WA_TEXT},
	{"body", "interactive.button_reply.title", WA_TEXT},
	{"body", "interactive.list_reply.title", WA_TEXT},
	{"body", "interactive.nfm_reply.body", WA_TEXT},
	{"body", "reaction.emoji", WA_TEXT},
	{"body", "location.name", WA_TEXT},
	{"body", "location.address", WA_TEXT},
	{"body", "order.text", WA_TEXT},
	{"body", "system.body", WA_TEXT},

	{"wa_id", "from", WA_TEXT},
	{"user_id", "from_user_id", WA_TEXT},
	{"group_id", "group_id", WA_TEXT},
	{"context_id", "context.id", WA_TEXT},
	{"error_code", "errors.code", WA_INT},
	{"sent_at", "timestamp", WA_TIME},
	{"element", "", WA_JSON},
};

static const WaColumn reaction_columns[] =
{
	NUMBER_COLUMN,
	{"message_id", "reaction.message_id", WA_TEXT, true},
	{"reactor", "from_user_id", WA_TEXT, true},
	{"reactor", "from", WA_TEXT, true},
	{"wa_id", "from", WA_TEXT},
	{"user_id", "from_user_id", WA_TEXT},
	{"emoji", "reaction.emoji", WA_TEXT},
	{"reaction_id", "id", WA_TEXT, true},
	{"at", "timestamp", WA_TIME},
};

#define STATUS_COLUMNS \
	NUMBER_COLUMN, \
	{"message_id", "id", WA_TEXT, true}, \
	{"status", "status", WA_TEXT, true}, \
	{"user_id", "recipient_user_id", WA_TEXT}

static const WaColumn status_columns[] =
{
	STATUS_COLUMNS,
	{"wa_id", "recipient_id", WA_TEXT},
	{"participant", "recipient_participant_user_id", WA_TEXT},
	{"participant", "recipient_participant_id", WA_TEXT},
	{"participant", "participant_recipient_id", WA_TEXT},
	{"participant", "=", WA_TEXT},
	{"at", "timestamp", WA_TIME},
	{"pricing", "pricing", WA_JSON},
	{"errors", "errors", WA_JSON},
	{"callback_data", "biz_opaque_callback_data", WA_TEXT},
	{"element", "", WA_JSON},
};

/* what a status tells of the message that it is about */
static const WaColumn message_status_columns[] =
{
	STATUS_COLUMNS,
	{"recipient_id", "recipient_id", WA_TEXT,.unstored = true},
	{"recipient_type", "recipient_type", WA_TEXT,.unstored = true},
	{"direction", "=outbound", WA_TEXT},
	{"status_at", "timestamp", WA_TIME},
	{"error_code", "errors.code", WA_INT},
};

/* the recipient is a person or a group, and only the type tells */
static const WaComputed message_status_computed[] =
{
	{"wa_id", "CASE WHEN r.recipient_type IS DISTINCT FROM 'group'"
	" THEN r.recipient_id END"},
	{"group_id", "CASE WHEN r.recipient_type OPERATOR(pg_catalog.=) 'group'"
	" THEN r.recipient_id END"},
	{NULL}
};

/* changes that are not filed, or not wholly, in tables of their own */
static const WaColumn change_columns[] =
{
	{"waba_id", "/entry.id", WA_TEXT},
	{"phone_number_id", "value.metadata.phone_number_id", WA_TEXT},
	{"phone_number_id", "value.phone_number_settings.phone_number_id", WA_TEXT},
	{"field", "field", WA_TEXT},
	{"event", "value.event", WA_TEXT},
	{"at", "/entry.time", WA_TIME},
	{"at", "value.timestamp", WA_TIME},
	{"element", "", WA_JSON},
};

/* likewise entries, and whole webhooks */
static const WaColumn entry_columns[] =
{
	{"waba_id", "id", WA_TEXT},
	{"at", "time", WA_TIME},
	{"element", "", WA_JSON},
};

static const WaColumn document_columns[] =
{
	{"field", "object", WA_TEXT},
	{"element", "", WA_JSON},
};

static const char *const not_of_messages[] = {"call", NULL};
static const char *const not_of_sent_messages[] = {"call", "payment", NULL};

/*
 * An event has no id.  What makes it this one is all that it says; of two
 * that say the same at the same time, one is a repetition.
 */
static const WaComputed event_computed[] =
{
	{"event_id", "whatsapp.event_id(r.waba_id, r.at, r.element)"},
	{NULL}
};

static const WaComputed document_computed[] =
{
	{"event_id", "whatsapp.event_id(NULL, NULL, r.element)"},
	{NULL}
};

#define EVENT_TABLE(desc_columns) \
	.name = "events", \
	.filing = WA_FALLBACK, \
	.ncolumns = lengthof(desc_columns), \
	.columns = desc_columns, \
	.key = "event_id", \
	.best_first = "r.element", \
	.on_conflict = "DO NOTHING"

/*
 * Of two values the one that the newer webhook told, if it told one.  Two of
 * the same second are told apart by what they say, so that of two it does not
 * matter which comes first.
 */
#define NEWEST(column) \
	"CASE WHEN (coalesce(excluded.last_seen, '-infinity'), excluded.element)" \
	" OPERATOR(pg_catalog.<)" \
	" (coalesce(contacts.last_seen, '-infinity'), contacts.element)" \
	" THEN coalesce(contacts." column ", excluded." column ")" \
	" ELSE coalesce(excluded." column ", contacts." column ") END"

/*
 * Of two statuses the one that is farther, or of two that are as far, the one
 * that was there first.
 */
#define IS_FARTHER \
	"(messages.status IS NULL" \
	" OR whatsapp.status_rank(excluded.status) OPERATOR(pg_catalog.>)" \
	" whatsapp.status_rank(messages.status)" \
	" OR excluded.status OPERATOR(pg_catalog.=) messages.status" \
	" AND excluded.status_at IS NOT NULL" \
	" AND (messages.status_at IS NULL" \
	" OR excluded.status_at OPERATOR(pg_catalog.<) messages.status_at))"

#define FARTHEST(column) \
	"CASE WHEN " IS_FARTHER " THEN excluded." column \
	" ELSE messages." column " END"

/*
 * The tables, in the order in which they are filled.
 */
enum
{
	CONTACTS,
	MESSAGES,
	REACTIONS,
	STATUSES,
	MESSAGE_STATUSES,
	CHANGE_EVENTS,
	ENTRY_EVENTS,
	DOCUMENT_EVENTS,
	NTABLES
};

static const WaTable webhook_tables[NTABLES] =
{
	[CONTACTS] = {
		.name = "contacts",
		.path = "entry.changes.value.contacts",
		.filing = WA_MUST,
		.ncolumns = lengthof(contact_columns),
		.columns = contact_columns,
		.key = "phone_number_id, contact_key",
		.best_first = "r.last_seen DESC NULLS LAST,"
		" r.name DESC NULLS LAST, r.element DESC",
		.on_conflict = "DO UPDATE SET"
		" wa_id = " NEWEST("wa_id") ","
		" parent_user_id = " NEWEST("parent_user_id") ","
		" name = " NEWEST("name") ","
		" username = " NEWEST("username") ","
		" element = " NEWEST("element") ","
		" first_seen = least(contacts.first_seen, excluded.first_seen),"
		" last_seen = greatest(contacts.last_seen, excluded.last_seen)"
		" WHERE (contacts.last_seen, contacts.element)"
		" IS DISTINCT FROM (excluded.last_seen, excluded.element)",
	},
	[MESSAGES] = {
		.name = "messages",
		.path = "entry.changes.value.messages",
		.filing = WA_MUST,
		.ncolumns = lengthof(message_columns),
		.columns = message_columns,
		.key = "phone_number_id, message_id",
		.best_first = "whatsapp.is_placeholder(r.element),"
		" r.sent_at DESC NULLS LAST, r.element DESC",
		.on_conflict = "DO NOTHING",
		.keeps_losers = true,
	},
	[REACTIONS] = {
		.name = "reactions",
		.path = "entry.changes.value.messages",
		.filing = WA_MAY,
		.ncolumns = lengthof(reaction_columns),
		.columns = reaction_columns,
		.key = "phone_number_id, message_id, reactor",
		.best_first = "r.at DESC NULLS LAST, r.reaction_id DESC",
		.on_conflict = "DO UPDATE SET"
		" wa_id = excluded.wa_id, user_id = excluded.user_id,"
		" emoji = excluded.emoji, reaction_id = excluded.reaction_id,"
		" at = excluded.at"
		" WHERE reactions.at IS NULL"
		" OR (excluded.at, excluded.reaction_id)"
		" OPERATOR(pg_catalog.>) (reactions.at, reactions.reaction_id)",
	},
	[STATUSES] = {
		.name = "statuses",
		.path = "entry.changes.value.statuses",
		.filing = WA_MUST,
		.other_types = not_of_messages,
		.ncolumns = lengthof(status_columns),
		.columns = status_columns,
		.key = "phone_number_id, message_id, status, participant",
		.best_first = "r.at DESC NULLS LAST, r.element DESC",
		.on_conflict = "DO NOTHING",
		.keeps_losers = true,
	},
	[MESSAGE_STATUSES] = {
		.name = "messages",
		.path = "entry.changes.value.statuses",
		.filing = WA_MAY,
		.other_types = not_of_sent_messages,
		.ncolumns = lengthof(message_status_columns),
		.columns = message_status_columns,
		.computed = message_status_computed,
		.where = "whatsapp.status_rank(r.status) IS NOT NULL",
		.key = "phone_number_id, message_id",
		.best_first = "whatsapp.status_rank(r.status) DESC,"
		" r.status_at NULLS LAST",
		.on_conflict = "DO UPDATE SET"
		" wa_id = coalesce(messages.wa_id, excluded.wa_id),"
		" user_id = coalesce(messages.user_id, excluded.user_id),"
		" group_id = coalesce(messages.group_id, excluded.group_id),"
		" status = " FARTHEST("status") ","
		" status_at = " FARTHEST("status_at") ","
		" error_code = " FARTHEST("error_code")
		" WHERE " IS_FARTHER
		" OR messages.wa_id IS NULL AND excluded.wa_id IS NOT NULL"
		" OR messages.user_id IS NULL AND excluded.user_id IS NOT NULL"
		" OR messages.group_id IS NULL AND excluded.group_id IS NOT NULL",
	},
	[CHANGE_EVENTS] = {
		.path = "entry.changes",
		.computed = event_computed,
		EVENT_TABLE(change_columns),
	},
	[ENTRY_EVENTS] = {
		.path = "entry",
		.computed = event_computed,
		EVENT_TABLE(entry_columns),
	},
	[DOCUMENT_EVENTS] = {
		.path = "",
		.computed = document_computed,
		EVENT_TABLE(document_columns),
	},
};

/* What needs no column: it says the same in every webhook, or tells the path */
static const char *const understood[] =
{
	"object",
	"entry.id",
	"entry.time",
	"entry.changes.field",
	"entry.changes.value.messaging_product",
	"entry.changes.value.metadata.display_phone_number",
	NULL
};

/* Webhooks that are none of WhatsApp's are one event each */
static const WaTable *const foreign_tables = &webhook_tables[DOCUMENT_EVENTS];

static WaQuery archive_webhook = {
	.sql = "INSERT INTO whatsapp.webhooks (webhook_id, body, reason)"
	" VALUES (pg_catalog.sha256($1), $1, $2)"
	" ON CONFLICT (webhook_id) DO NOTHING",
	.nargs = 2,
	.types = {BYTEAOID, TEXTOID},
};

/* Made at the first webhook that a backend files */
static WaShredder *shredder = NULL;
static WaShredder *foreign_shredder = NULL;
static WaStore *store = NULL;
static WaStore *foreign_store = NULL;

static WaFiled file_bytes(const char *body, size_t len);
static void init_webhooks(void);
static WaFiled file_document(Jsonb *document);
static bool is_foreign(Jsonb *document);
static const char *store_in_subtransaction(WaStore *target,
										   const WaRows *rows,
										   uint64 *nstored);
static bool will_pass(int sqlerrcode);
static void archive(const char *body, size_t len, const char *reason);
static Datum make_result(FunctionCallInfo fcinfo, const WaFiled *filed);
static void fill_result(const WaFiled *filed, int ord, Datum *values,
						bool *nulls);

PG_FUNCTION_INFO_V1(whatsapp_ingest);
PG_FUNCTION_INFO_V1(whatsapp_ingest_batch);
PG_FUNCTION_INFO_V1(whatsapp_ingest_unsigned);

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
	if (filed.parked > 0)
	{
		const char *body = JsonbToCString(NULL, &document->root,
										  VARSIZE(document));

		archive(body, strlen(body), filed.error);
	}
	SPI_finish();

	return make_result(fcinfo, &filed);
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
	WaFiled		filed = {.http_status = WA_HTTP_OK};
	const char *remark;
	Jsonb	   *document = wa_document_read(body, len, &remark);

	if (document == NULL)
	{
		filed.unreadable = 1;
		filed.error = remark;
	}
	else
		filed = file_document(document);

	if (filed.error != NULL)
		remark = filed.error;
	if (remark != NULL || wa_archive == WA_ARCHIVE_ALL)
		archive(body, len, remark);
	return filed;
}

static void
init_webhooks(void)
{
	MemoryContext oldcontext;

	if (foreign_store != NULL)
		return;

	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	shredder = wa_shredder_create(webhook_tables, NTABLES, understood);
	foreign_shredder = wa_shredder_create(foreign_tables, 1, understood);
	store = wa_store_create(webhook_tables, NTABLES);
	foreign_store = wa_store_create(foreign_tables, 1);
	MemoryContextSwitchTo(oldcontext);
}

/*
 * File a document, all of it or nothing.
 */
static WaFiled
file_document(Jsonb *document)
{
	WaFiled		filed = {.http_status = WA_HTTP_OK};
	WaRows	   *rows;
	uint64		nstored[NTABLES] = {0};
	int			nrows;
	bool		foreign = is_foreign(document);

	init_webhooks();
	rows = wa_shred(foreign ? foreign_shredder : shredder, document);
	filed.error = store_in_subtransaction(foreign ? foreign_store : store,
										  rows, nstored);
	if (filed.error != NULL)
	{
		filed.parked = 1;
		return filed;
	}

	if (foreign)
	{
		filed.events = nstored[0];
		filed.duplicates = rows[0].nrows - nstored[0];
		return filed;
	}

	filed.messages = nstored[MESSAGES];
	filed.statuses = nstored[STATUSES];
	filed.events = nstored[CHANGE_EVENTS] + nstored[ENTRY_EVENTS] +
		nstored[DOCUMENT_EVENTS];
	nrows = rows[MESSAGES].nrows + rows[STATUSES].nrows +
		rows[CHANGE_EVENTS].nrows + rows[ENTRY_EVENTS].nrows +
		rows[DOCUMENT_EVENTS].nrows;
	filed.duplicates = nrows - filed.messages - filed.statuses - filed.events;
	return filed;
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
 * Store rows in a subtransaction, so as to survive what their tables object
 * to.  Returns NULL, or the objection.
 */
static const char *
store_in_subtransaction(WaStore *target, const WaRows *rows, uint64 *nstored)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	PG_TRY();
	{
		wa_store_rows(target, rows, nstored);
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

	if (error == NULL)
		return NULL;
	if (will_pass(error->sqlerrcode))
		ReThrowError(error);
	return error->message;
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
 * Keep the bytes of a webhook, and the reason, if it is other than that all
 * are to be kept.
 */
static void
archive(const char *body, size_t len, const char *reason)
{
	bytea	   *bytes = palloc(VARHDRSZ + len);
	Datum		values[2] = {PointerGetDatum(bytes)};
	char		nulls[2] = {' ', 'n'};

	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), body, len);
	if (reason != NULL)
	{
		values[1] = CStringGetTextDatum(reason);
		nulls[1] = ' ';
	}
	wa_execute(&archive_webhook, values, nulls);
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
