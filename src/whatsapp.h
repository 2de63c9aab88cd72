/*-------------------------------------------------------------------------
 *
 * whatsapp.h
 *	  Declarations shared by the files of the whatsapp extension
 *
 * Functions are listed under the file that has them, lowest layer first.  A
 * file calls no function that is listed after its own.
 *
 * The words that are used throughout:
 *
 *	webhook		one request that Meta makes to us: its body is a document
 *	element		one thing that a webhook reports, such as a message
 *	message		what came in, or went out, as a row of whatsapp.messages
 *	outbox row	a message that is to go out
 *	transfer	one attempt to send it: one HTTP request
 *	sender		the background worker that sends, one in each database
 *	launcher	the background worker that starts the senders
 *
 * IDENTIFICATION
 *	  src/whatsapp.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WHATSAPP_H
#define WHATSAPP_H

#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/jsonb.h"

/*
 * What is counted; see statistics.c.
 */
typedef enum WaCount
{
	WA_COUNT_WEBHOOKS,
	WA_COUNT_MESSAGES,
	WA_COUNT_STATUSES,
	WA_COUNT_EVENTS,
	WA_COUNT_DUPLICATES,
	WA_COUNT_PARKED,
	WA_COUNT_ATTEMPTS,
	WA_COUNT_RETRIES,
	WA_COUNT_SENDS,
	WA_COUNT_REFUSALS,
	WA_COUNT_BYTES,
	WA_COUNT_PRUNED,
	WA_COUNT_KEPT,
	WA_COUNT_SENDER
} WaCount;

/*
 * How a JSON document becomes rows; see shred.c.
 */
typedef enum WaType
{
	WA_TEXT,					/* a string, or a number as it is written */
	WA_INT,						/* a number that fits, in a string or not */
	WA_TIME,					/* seconds since 1970, in a string or not; of
								 * several the latest, */
	WA_FIRST_TIME,				/* or the earliest */
	WA_BOOL,					/* true or false */
	WA_JSON,					/* whatever it is */
	WA_EMBEDDED,				/* a string that is a JSON document */
	WA_PLACE,					/* of an object: where it is in memory, to
								 * tell it from others */
	WA_NTYPES
} WaType;

typedef struct WaColumn
{
	const char *name;			/* column of the table */
	const char *path;			/* from the row's object; from the top if it
								 * starts with '/'; if it starts with '=',
								 * what follows is the value */
	WaType		type;
	bool		required;		/* there is no row without it */
	bool		unstored;		/* it is for what is computed, see below */
	const char *newest_by;		/* the column that says how new it is, if rows
								 * are folded; see fold.c */
} WaColumn;

/* A column that is computed: SQL over a row named r */
typedef struct WaComputed
{
	const char *name;			/* NULL after the last one */
	const char *value;
	const char *alone;			/* the same, if there is no other row; or NULL */
} WaComputed;

/* What a column may begin with */
typedef struct WaBeginning
{
	const char *column;			/* NULL after the last one */
	const char *with;
} WaBeginning;

/* What becomes of an object that lacks a required column */
typedef enum WaFiling
{
	WA_MUST,					/* it has not been filed, and the fallback
								 * around it must keep it */
	WA_MAY,						/* it is just no row of this table */
	WA_FALLBACK					/* the row is made only if something in the
								 * object was not filed elsewhere */
} WaFiling;

#define WA_MAX_PATHS	18		/* with the NULL */

typedef struct WaTable
{
	const char *name;			/* table in schema whatsapp */
	const char *paths[WA_MAX_PATHS];	/* the objects that make a row, from
										 * the top; up to NULL */
	WaFiling	filing;

	/* if given, up to NULL: only objects whose "type" is one of these, */
	const char *const *types;
	const char *const *other_types; /* or is none of these */
	/* if given: only rows of which one of these is so, of a text column */
	const WaBeginning *only_if;
	int			ncolumns;
	const WaColumn *columns;
	bool		unstored;		/* its rows are for people.c */
	bool		uncounted;		/* and these are no news by themselves */

	/* how store.c puts the rows into the table; SQL over a row named r */
	const WaComputed *computed; /* further columns, or NULL */
	const char *where;			/* which rows to take, or NULL for all */
	const char *key;			/* unique columns of the table */
	const char *best_first;		/* which of several rows of one key to take */
	bool		folds;			/* several are made one before; see fold.c */
	const char *on_conflict;	/* what to do if the key is there already; */
	bool		keeps_losers;	/* or find out which is best, and keep the
								 * element of the other in whatsapp.events */
	const char *stays;			/* of a row t there: it is best in any case */
	const WaComputed *settled;	/* columns that a better row w does not simply
								 * take over from a row t there, or NULL */

	/*
	 * if its new rows are counted one by one, the columns that say of what
	 * kind each is, and when it happened; or NULL
	 */
	const char *label;
	const char *happened;
	WaCount		counted_as;

	/* the hooks that are called for rows that are new, or NULL; */
	const char *hook;
	const char *content_hook;	/* and for those that something better took, */
	const char *content;		/* if this is so of the row t; or NULL */
} WaTable;

/*
 * The first of the tables: who is named in a webhook, and what people.c makes
 * of that.
 */
enum
{
	WA_SIGHTINGS,
	WA_CORRESPONDENTS,
	WA_CONTACT_SIGHTINGS
};

/* How the key of a group begins, among those of whatsapp.correspondents */
#define WA_GROUP_PREFIX	"group:"

/* A part of a webhook that may come without the rest around it */
typedef struct WaPart
{
	const char *member;			/* that tells it, if it has it */
	const char *path;			/* where it belongs */
} WaPart;

/* The rows made for one table */
typedef struct WaRows
{
	int			nrows;
	int			maxrows;
	Datum	   *values;			/* [row * ncolumns + column] */
	bool	   *nulls;
	JsonbContainer **sources;	/* [row] the object that made it; of objects
								 * in one that is kept whole, that */
} WaRows;

/*
 * A step of a path, or of several; see tree.c.
 */
typedef struct WaTarget WaTarget;

typedef struct WaNode
{
	const char *name;
	int			name_len;
	struct WaNode *parent;
	struct WaNode *first_child; /* in the order of jsonb's keys */
	struct WaNode *next_sibling;

	/* what is here, to shred.c */
	uint64		tables;			/* bit set: an object here makes their rows */
	bool		keeps;			/* one of these keeps the object whole */
	int			fallback;		/* a table, or -1 */
	bool		understood;		/* a scalar here needs no column */
	uint64		told;			/* bit set: a value in here is for their rows,
								 * which may be elsewhere */
	WaTarget   *fed;			/* by a value here */
	WaTarget   *given;			/* at the end of an object here */
} WaNode;

/*
 * A transfer, from the claim of its outbox row until its outcome has been
 * recorded.
 */
typedef enum WaOutcome
{
	WA_NOT_SENT,				/* nothing has left, surely */
	WA_WITHDRAWN,				/* the same, as that was our wish */
	WA_NOT_READ,				/* something has left, and the server has said
								 * that it will not look at it */
	WA_UNKNOWN,					/* something has left, and no answer came; or
								 * it did, and then there was an error */
	WA_ANSWERED					/* there is an HTTP status and a whole body */
} WaOutcome;

#define WA_NONCE_LEN	16

/* How what a request has of its attempt begins; see token.c */
#define WA_TOKEN_PREFIX	"wa1."

#define WA_NUSAGES		2		/* headers that tell of limits */

typedef struct WaReply
{
	int64		outbox_id;
	char		nonce[WA_NONCE_LEN + 1];	/* of the attempt */
	WaOutcome	outcome;
	int			http_status;	/* 0 if there was no answer */
	int			retry_after;	/* seconds; 0 if the answer does not say */
	char	   *body;			/* malloc'ed; NULL if there is none */
	size_t		body_len;
	char	   *usages[WA_NUSAGES]; /* malloc'ed: what the server says about
									 * how much of its limits is used; or NULL */
	char	   *error;			/* malloc'ed; NULL if there was an answer */
	size_t		request_len;	/* of the body, as far as it has left */
	TimestampTz due_at;			/* as in the request */
	TimestampTz sent_at;		/* when its body began to leave, or 0, */
	TimestampTz ended_at;		/* and when there was this outcome */
} WaReply;

typedef struct WaRequest
{
	int64		outbox_id;
	const char *nonce;
	const char *url;
	const char *access_token;
	const char *body;
	TimestampTz expires_at;		/* not to leave from then on; or DT_NOEND */
	int			attempt;		/* from 1 */
	TimestampTz due_at;			/* since when it could have left */
} WaRequest;

/*
 * A number, as far as the sender is concerned; see pace.c.
 */
#define WA_NUMBER_LEN	64		/* with the NUL */

typedef struct WaOpenNumber
{
	const char *phone_number_id;
	double		rate;			/* messages per second */
} WaOpenNumber;

typedef struct WaAllowance
{
	const char *phone_number_id;
	int			max_rows;
	bool		has_position;	/* rows up to this have been read */
	int			priority;
	int64		id;
	TimestampTz served_at;
} WaAllowance;

typedef struct WaTokens
{
	char		phone_number_id[WA_NUMBER_LEN];
	double		rate;
	double		tokens;
	TimestampTz at;
} WaTokens;

#define WA_MAX_TOKENS	64

/* What may be sent at once: as much as in a tenth of a second */
static inline double
wa_bucket_size(double rate)
{
	return rate < 10 ? 1 : rate / 10;
}

/* What came of a claim */
typedef struct WaClaimed
{
	WaRequest  *requests;
	const char **phone_number_ids;	/* of the requests */
	int		   *priorities;
	int			nrequests;
	int			nmoved;			/* rows that may not leave after all */
	int64	   *released;		/* rows that may leave now */
	int			nreleased;
} WaClaimed;

/*
 * A query of ours, and its plan once it has been executed.
 */
#define WA_MAX_PARAMS	64
#define WA_MAX_KEYS		6		/* columns of a table's key */

typedef struct WaQuery
{
	const char *sql;
	int			nargs;
	Oid			types[WA_MAX_PARAMS];
	bool		read_only;
	SPIPlanPtr	plan;
} WaQuery;

/*
 * What became of one webhook; the columns of whatsapp.ingest_result.
 */
typedef struct WaFiled
{
	int			http_status;	/* what to answer */
	int			messages;		/* rows that were not there before, */
	int			statuses;
	int			events;
	int			duplicates;		/* and those that were */
	int			unreadable;		/* 1 if the body is no document */
	int			parked;			/* elements that were refused */
	const char *error;			/* why, or NULL */
} WaFiled;

/*
 * A database, as far as its sender is concerned; see shared.c.
 */
typedef enum WaSlotState
{
	WA_SLOT_FREE,
	WA_SLOT_WANTED,				/* it is to be looked at, */
	WA_SLOT_PROBING,			/* and that is being done */
	WA_SLOT_FOUND,				/* it has the extension, and no sender yet */
	WA_SLOT_STARTED				/* it has a sender, unless that has failed */
} WaSlotState;

/* What a sender does on the whole */
typedef enum WaSenderMode
{
	WA_IS_SENDING,
	WA_IS_OFF,					/* whatsapp.enabled is */
	WA_IS_OUTDATED				/* the library, or the extension */
} WaSenderMode;

typedef struct WaSlot
{
	WaSlotState state;
	Oid			database;
	Oid			owner;			/* of the extension */
	pid_t		pid;			/* of the probe or sender; 0 if not running */
	Latch	   *latch;			/* of the sender, NULL if not running */
	bool		asked_again;	/* while it was being looked at */
	bool		ended_well;		/* the worker meant to end */
	bool		lacks_worker;	/* none could be registered */
	int			nbars;			/* sessions that want it to be left alone */
	int			failures;		/* of workers, one after the other */
	TimestampTz started_at;
	TimestampTz not_before;		/* when to start the next one */
	WaSenderMode mode;
} WaSlot;

/* The result of wa_shared_trouble(): why a database has no sender */
typedef enum WaTrouble
{
	WA_NO_TROUBLE,				/* it has one */
	WA_NOT_PRELOADED,
	WA_NO_LAUNCHER,
	WA_NO_SLOT,					/* more databases than we have slots for */
	WA_NO_WORKER,				/* more workers than the server has slots for */
	WA_IS_BARRED,
	WA_HAS_FAILED,				/* and will be tried again */
	WA_IS_STARTING
} WaTrouble;

/* What happened to a socket */
#define WA_MAX_SOCKET_EVENTS	1024

typedef struct WaSocketEvent
{
	int			fd;
	bool		readable;
	bool		writable;
	bool		failed;
} WaSocketEvent;

/* An object that is to be cut out of a document; see prune.c */
typedef struct WaCut
{
	JsonbContainer *object;
	Jsonb	   *instead;		/* of it, if not NULL */
} WaCut;

typedef enum WaLatency
{
	WA_LATENCY_COMMIT_TO_WIRE,
	WA_LATENCY_WIRE_TO_ANSWER,
	WA_LATENCY_WEBHOOK_TO_FILED
} WaLatency;

typedef enum WaSince
{
	WA_SINCE_START,				/* of the server */
	WA_SINCE_CRASH,				/* of one of its processes */
	WA_SINCE_RESET
} WaSince;

/*
 * What Meta refuses; see rules.c.
 */
typedef enum WaRuleKind
{
	WA_REQUIRED,				/* it is there, and not empty */
	WA_THERE,					/* it is there */
	WA_FORBIDDEN,				/* it is not */
	WA_NO_GROUP,				/* nor is this sent to groups, */
	WA_ONLY_GROUP,				/* or it is to nobody else */
	WA_NEEDED_OF_SEVERAL,		/* it is there if its array has several */
	WA_NEEDS,					/* it is not there without its neighbour */
	WA_ONE_OF,					/* an object with just one of these keys, */
	WA_ANY_OF,					/* or one at least */
	WA_VALUES,					/* one of these strings */
	WA_LENGTH,					/* a string of so many characters at most */
	WA_RANGE,					/* a number, in a string or not */
	WA_COUNT,					/* so many elements, or keys */
	WA_TOTAL,					/* so many in all of the message */
	WA_UNIQUE,					/* different from all others */
	WA_SAME,					/* the same as all others; of arrays, as long */
	WA_ADDS_UP,					/* the amounts of an order */
	WA_MATCHES					/* a string that a regular expression matches */
} WaRuleKind;

typedef struct WaRule
{
	const char *type;			/* of the message, or "*" */
	const char *path;
	const char *source;			/* section of Meta's reference */
	WaRuleKind	kind;
	const char *text;			/* keys, words or regular expression */
	double		least;
	double		most;
	const char *wish;			/* what a regular expression wants it to do */
	const char *hint;			/* NULL for that of the kind */
	bool		is_free_form;	/* it is not for Direct Send */
} WaRule;

typedef struct WaSecrets WaSecrets;
typedef struct WaShredder WaShredder;
typedef struct WaSigner WaSigner;
typedef struct WaStore WaStore;

/* in news.c */

/* in hide.c */

/* in thread.c */

/* in rank.c */

/* in event.c */

/* in media.c */

/* in token.c */

/* in sources.c */
extern char *wa_secret_directory;

extern const char *wa_secret_value(const char *source, const char *value,
								   const char *name);

/* in signature.c */
extern bool wa_signature_matches(const char *body, size_t len,
								 const char *signature, const char *secret);
extern bool wa_same_secret(const char *a, size_t a_len, const char *b,
						   size_t b_len);

/* in document.c */
extern Jsonb *wa_document_read(const char *bytes, size_t len,
							   const char **remark);

/* in tree.c */
extern WaNode *wa_tree_create(void);
extern WaNode *wa_tree_grow(WaNode *node, const char *path);
extern const WaNode *wa_tree_step(const WaNode **next, const JsonbValue *key);
extern WaNode *wa_tree_enclosing(WaNode *a, const WaNode *b);

/* in prune.c */
extern void wa_prune_sort(JsonbContainer **objects, int nobjects);
extern Jsonb *wa_prune_leftover(const WaNode *node, const JsonbValue *object,
								JsonbContainer *const *filed, int nfiled);
extern Jsonb **wa_prune_cut_out(const WaNode *root, Jsonb *document,
								const WaCut *cuts, int ncuts);

/* in shred.c */
extern WaShredder *wa_shredder_create(const WaTable *tables, int ntables,
									  const char *const *understood);
extern const WaNode *wa_shredder_root(const WaShredder *shredder);
extern WaRows *wa_shred(const WaShredder *shredder, Jsonb *document);
extern int	wa_rows_add(WaRows *rows, int ncolumns, JsonbContainer *source);
extern int	wa_rows_copy(WaRows *rows, int ncolumns, const WaRows *others,
						 int r);
extern void wa_rows_release(WaRows *rows);
extern int	wa_table_column(const WaTable *table, const char *name);
extern int	wa_table_find_column(const WaTable *table, const char *name);

/* in people.c */
extern void wa_people_meet(const WaTable *tables, WaRows *rows);

/* in fold.c */
extern WaRows wa_fold(const WaTable *table, const WaRows *rows);

/* in query.c */
extern void wa_connect(void);
extern void wa_execute(WaQuery *query, Datum *values, const char *nulls);
extern void wa_execute_latest(WaQuery *query);

/* in behalf.c */
extern Oid	wa_owner(void);
extern bool wa_sees_number(const char *phone_number_id);
extern bool wa_sees_all(void);

/* in statistics.c */
extern void wa_statistics_init(void);
extern void wa_count(WaCount what, const char *label, uint64 n);
extern void wa_count_now(WaCount what, const char *label, uint64 n);
extern void wa_count_latency(WaLatency what, TimestampTz from,
							 TimestampTz until);
extern void wa_statistics_note_commit(TimestampTz begun_at,
									  TimestampTz committed_at);
extern TimestampTz wa_statistics_commit_of(TimestampTz begun_at);
extern void wa_statistics_forget(const List *databases);

/* in update.c */

/* in hooks.c */
extern bool wa_hooks_exist(void);
extern bool wa_hooks_listen(const char *event);
extern void wa_hooks_call(const char *event, Oid row_type, Datum row);

/* in notify.c */
extern bool wa_notify_wanted;

extern void wa_notify(const char *event, const char *names, const Datum *keys,
					  const Oid *types);

/* in store.c */
extern WaStore *wa_store_create(const WaTable *tables, int ntables);
extern void wa_store_rows(WaStore *store, const WaRows *rows,
						  uint64 *nstored, bool *const *marks);
extern void wa_store_rank(WaStore *store, int t, const WaRows *rows,
						  int *ranks);
extern bool wa_store_may_be_deferred(const WaStore *store, const WaRows *rows);

/* in secrets.c */
extern WaSecrets *wa_find_secrets(void);
extern WaSigner *wa_find_signer(const WaSecrets *secrets, const char *body,
								size_t len, const char *signature);
extern WaSigner *wa_make_signer(ArrayType *numbers);
extern ArrayType *wa_signer_numbers(const WaSigner *signer);
extern bool wa_signs_for(WaSigner *signer, const char *number,
						 const char *waba);
extern bool wa_is_verify_token(const char *token, size_t len);

/* in fields.c */
extern const WaTable wa_fields_tables[];
extern const int wa_fields_ntables;
extern const WaTable *const wa_fields_foreign_table;
extern const char *const wa_fields_understood[];
extern const WaPart wa_fields_parts[];
extern const int wa_fields_nparts;

/* in archive.c */
typedef enum WaArchive
{
	WA_ARCHIVE_UNFILED,
	WA_ARCHIVE_ALL
} WaArchive;

typedef enum WaWebhookState
{
	WA_FILED,
	WA_PARKED,					/* a table or a hook objected to it */
	WA_UNREADABLE				/* it is no document */
} WaWebhookState;

extern int	wa_archive_wanted;

extern void wa_archive_keep(const char *body, size_t len,
							WaWebhookState state, const char *reason,
							ArrayType *signed_for);
extern void wa_archive_park(Jsonb *part, const ErrorData *error,
							ArrayType *signed_for);
extern Datum *wa_archive_list(bool everything, int *nids);
extern bytea *wa_archive_take(Datum id, bool *was_parked,
							  ArrayType **signed_for);

/* in webhook.c */
#define WA_MAX_BODY_SIZE	(3 * 1024 * 1024)	/* as Meta says */

/* What we answer with */
#define WA_HTTP_OK					200
#define WA_HTTP_UNAUTHORIZED		401
#define WA_HTTP_FORBIDDEN			403
#define WA_HTTP_METHOD_NOT_ALLOWED 405
#define WA_HTTP_TOO_LARGE			413

extern WaFiled wa_webhook_deliver(const char *body, size_t len,
								  const char *signature);

/* in front.c */

/* in rules.c */
extern const WaRule wa_rules[];
extern const int wa_nrules;
extern const char *wa_rule_hint(const WaRule *rule);
extern const char *wa_rule_wish(const WaRule *rule);

/* in check.c */

/* in sockets.c */
extern int	wa_sockets_open(void);
extern bool wa_sockets_watch(int fd, bool readable, bool writable);
extern void wa_sockets_forget(int fd);
extern int	wa_sockets_ready(WaSocketEvent *events, int max_events);

/* in http.c */
extern int	wa_connect_timeout;
extern int	wa_request_timeout;
extern char *wa_ca_file;

extern void wa_http_init(void);
extern void wa_http_start(const WaRequest *request);
extern int	wa_http_in_flight(void);
extern int	wa_http_outbox_ids(int64 *ids);
extern bool wa_http_wait(long timeout_ms);
extern int	wa_http_unsent_ids(int64 *ids, int age);
extern void wa_http_withdraw(int64 outbox_id);
extern void wa_http_abandon(void);
extern bool wa_http_next_reply(WaReply *reply);
extern void wa_http_free_reply(WaReply *reply);

/* in shared.c */
extern void wa_shared_init(void);
extern bool wa_shared_exists(void);
extern int	wa_shared_nslots(void);
extern void wa_shared_wake(Oid database);
extern void wa_shared_attach_launcher(void);
extern bool wa_shared_want(Oid database);
extern bool wa_shared_overflowed(void);
extern void wa_shared_enable(bool enabled);
extern bool wa_shared_enabled(void);
extern WaSlot wa_shared_look(int i);
extern void wa_shared_starting(int i);
extern void wa_shared_ended(int i);
extern void wa_shared_lacks_worker(int i);
extern void wa_shared_forget(int i);
extern void wa_shared_stop(int i);
extern bool wa_shared_attach_worker(int i, bool is_sender);
extern void wa_shared_report_owner(Oid owner);
extern void wa_shared_end_well(void);
extern void wa_shared_show_mode(WaSenderMode mode);
extern void wa_shared_show_tokens(const WaTokens *tokens, int ntokens);
extern bool wa_shared_is_sender(void);
extern pid_t wa_shared_sender_pid(Oid database);
extern int	wa_shared_see_tokens(Oid database, WaTokens *tokens);
extern bool wa_shared_see_slot(Oid database, WaSlot *slot);
extern WaTrouble wa_shared_trouble(Oid database);
extern bool wa_shared_bar(Oid database);
extern void wa_shared_unbar(Oid database);
extern bool wa_shared_wait_for_end(Oid database, long timeout_ms);

/* in databases.c */
extern void wa_databases_init(void);

/* in wake.c */

/* in status.c */

/* in pace.c */
extern void wa_pace_open(const WaOpenNumber *numbers, int nnumbers);
extern WaAllowance *wa_pace_allow(int *nallowances);
extern void wa_pace_spend(const char *phone_number_id, int priority, int64 id,
						  bool was_read);
extern bool wa_pace_is_shared(void);
extern TimestampTz wa_pace_next(void);
extern void wa_pace_rewind(void);
extern void wa_pace_publish(void);

/* in outbox.c */
typedef enum WaUnknownPolicy
{
	WA_UNKNOWN_HOLD,
	WA_UNKNOWN_RETRY,
	WA_UNKNOWN_FAIL
} WaUnknownPolicy;

extern const char *wa_outbox_terms(int *protocol);
extern WaOpenNumber *wa_outbox_numbers(int *nnumbers);
extern void wa_outbox_claim(int limit, bool one_by_one,
							const WaAllowance *allowances, int nallowances,
							const int64 *released, int nreleased,
							WaClaimed *claimed);
extern int64 *wa_outbox_record(WaReply *const *replies, int nreplies,
							   bool *is_left, int *nreleased);
extern bool wa_outbox_is_answer(const WaReply *reply);
extern const char *wa_outbox_outcome(WaOutcome outcome);
extern void wa_outbox_count(void);
extern int64 *wa_outbox_tend(int limit, int *nreleased, TimestampTz *next);
extern void wa_outbox_audit(int limit, char **phone_number_id,
							char **recipient_key);
extern int64 *wa_outbox_withdraw(const int64 *ids, int nids, int *nwithdrawn);
extern void wa_outbox_release(const int64 *in_flight, int nin_flight);
extern void wa_outbox_settle(int grace, WaUnknownPolicy policy);

/* in retention.c */
extern int	wa_retention_events;
extern int	wa_retention_messages;
extern int	wa_retention_outbox;
extern int	wa_retention_statuses;
extern int	wa_retention_webhooks;

extern TimestampTz wa_retention_next(void);
extern void wa_retention_restart(void);
extern void wa_retention_work(void);
extern void wa_retention_done(bool is_done, TimestampTz next);

/* in sender.c */
extern bool wa_enabled;
extern int	wa_max_in_flight;
extern int	wa_poll_interval;
extern int	wa_unknown_grace;
extern int	wa_unknown_policy;

extern PGDLLEXPORT void whatsapp_sender_main(Datum arg);

/* in launcher.c */
extern void wa_launcher_register(void);
extern PGDLLEXPORT void whatsapp_launcher_main(Datum arg);
extern PGDLLEXPORT void whatsapp_probe_main(Datum arg);

/* in whatsapp.c */
extern PGDLLEXPORT void _PG_init(void);

#endif							/* WHATSAPP_H */
