/*-------------------------------------------------------------------------
 *
 * sender.c
 *	  The background worker that sends the outbox of one database.
 *
 * It goes round and round: record what came of transfers that have ended, if
 * there is room claim rows that may leave, start a transfer for each, see to
 * what the clock and others have changed, and wait.  Recording, claiming and
 * seeing to that are a transaction each.  While it waits, on its latch and
 * libcurl's sockets at once, there is none, and so no snapshot: a server that
 * takes its time holds nothing up but its own message.
 *
 * Which rows may leave is kept in the outbox itself, see there.  Rows that we
 * have made able to leave are remembered until they are claimed, as then they
 * need not be looked for; but that may be forgotten at any time.
 *
 * A row is marked as being sent, durably, before any of it leaves.  So when a
 * sender has died, the next one knows which messages may have gone out, and
 * does not send them again; see whatsapp.release_interrupted().  A sender that
 * is asked to end waits a moment for answers, and says what it knows.  For
 * that, a transaction that is under way then is let come to its end, unless it
 * takes too long.  Nothing waits for a lock, but for a tenth of a second:
 * transfers go on only while we are where libcurl can be driven.
 *
 * The extension may be given to another role, and be dropped, at any time.
 * Each transaction makes sure that it is still there, and takes a lock for it
 * to stay until the end.  It never waits for that lock, so that DROP EXTENSION
 * is not waited for, either.
 *
 * What ALTER DATABASE and ALTER ROLE set is only heeded when a session begins,
 * and ALTER EXTENSION UPDATE may change all that we have planned.  So when one
 * of them has happened, we claim nothing more, wait for what is under way, and
 * make room for another sender.  While the extension is of another version
 * than the library, nothing is done at all.
 *
 * IDENTIFICATION
 *	  src/sender.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "whatsapp.h"

/*
 * How soon a row that could not be recorded is tried again, in ms, at first
 * and at most.
 */
#define MIN_RECORD_DELAY	50
#define MAX_RECORD_DELAY	60000

/* How soon to claim again after that has failed, or met a lock; in ms */
#define CLAIM_RETRY_DELAY	5000
#define ONE_BY_ONE_TIME		60000
#define CLAIM_LOCKED_DELAY	200

/*
 * What the clock and others have changed is seen to at most every so many ms,
 * and not for more than a part of the time, however long it takes.  As many
 * rows are seen to at once.
 */
#define MIN_TEND_DELAY		20
#define TEND_LOCKED_DELAY	200
#define TEND_SHARE			10
#define MAX_TEND_DELAY		5000
#define MAX_STUCK_DELAY		60000
#define MAX_TENDED			1000

/*
 * The same for reading what may leave from its beginning.  That has to pass
 * over a lot that has left, while somebody has an old snapshot.
 */
#define REWIND_SHARE		20

/*
 * To how many recipients messages are looked at anew, and how often at most, in
 * ms
 */
#define AUDITED_LANES		200
#define AUDIT_DELAY			1000

/*
 * How many rows are claimed at once while several numbers have messages: the
 * answer of one is not to wait until hundreds of another are claimed and
 * recorded.
 */
#define MAX_SHARED_CLAIM	16

/* How many rows that may leave are remembered */
#define MAX_RELEASED		10000

/* A transfer is slow to leave after so many ms; it may have to be withdrawn */
#define MAX_UNSENT_AGE		50

/* How soon to look again for rows that nobody knows of, at least; in ms */
#define MIN_SETTLE_DELAY	1000

/*
 * How long one who is asked to end waits for what is under way; and how often
 * a transaction that takes long looks if somebody has asked; in ms
 */
#define MAX_FAREWELL	1000
#define MAX_WORK		2000

/* That nothing can be sent is said at most every so many ms */
#define TROUBLE_DELAY	60000

/*
 * Replies that cannot be recorded yet do not count as in flight, but there is
 * an end to it: so many times what may be in flight.
 */
#define MAX_UNRECORDED	16

/*
 * After so many lock time-outs, one after the other, it is not single rows
 * that are locked.
 */
#define MAX_LOCK_TIMEOUTS	3

/*
 * Settings: whatsapp.enabled, max_in_flight, poll_interval (ms),
 * unknown_grace (ms) and unknown_policy
 */
bool		wa_enabled = true;
int			wa_max_in_flight = 256;
int			wa_poll_interval = 1000;
int			wa_unknown_grace = 300000;
int			wa_unknown_policy = WA_UNKNOWN_HOLD;

/*
 * What the functions of the extension that we call expect of us, and we of
 * them: whatsapp.sender_protocol() has to say the same.
 */
#define PROTOCOL	1

/* The outcome of a transfer that is still to be recorded */
typedef struct SenderReply
{
	WaReply		reply;			/* must be first */
	int			delay;			/* ms; 0 if it was never tried */
	bool		is_reported;	/* the log says why it cannot be recorded */
	TimestampTz not_before;
} SenderReply;

/* What came of a transaction */
typedef enum SenderWork
{
	WORK_DONE,
	WORK_LOCKED,				/* somebody holds a lock, or changes the
								 * extension */
	WORK_FAILED					/* and it has been reported */
} SenderWork;

typedef struct SenderBatch
{
	WaReply   **replies;
	bool	   *is_left;
	int			nreplies;
	int64	   *released;
	int			nreleased;
} SenderBatch;

typedef struct SenderClaim
{
	int			limit;
	bool		one_by_one;
	WaClaimed	claimed;
} SenderClaim;

typedef struct SenderTend
{
	int64	   *unsent;
	int			nunsent;
	int64	   *withdrawn;
	int			nwithdrawn;
	int64	   *released;
	int			nreleased;
	TimestampTz next;
} SenderTend;

static char *database_name = NULL;
static volatile sig_atomic_t end_is_wanted = false;
static bool change_is_wanted = false;	/* to another sender, once idle, */
static TimestampTz change_not_after = 0;	/* or from then on */
static bool terms_are_due = true;
static TimestampTz terms_not_before = 0;
static char *known_terms = NULL;	/* in TopMemoryContext */
static bool is_outdated = false;
static bool is_replaced = false;	/* the extension, by another version */
static volatile sig_atomic_t is_cancelled = false;	/* since the claim */
static TimeoutId work_timeout;
static bool is_known_trouble = false;	/* an error would be no news */
static Oid	extension_oid = InvalidOid;
static bool extension_is_gone = false;
static MemoryContext turn_context = NULL;	/* reset each turn */
static MemoryContext reply_context = NULL;
static List *replies = NIL;		/* of SenderReply */
static int64 released[MAX_RELEASED];	/* rows that may leave */
static int	nreleased = 0;
static bool claim_is_due = true;
static bool rewind_is_due = false;	/* rows may be where we have read */
static TimestampTz rewind_not_before = 0;
static TimestampTz claim_not_before = 0;
static TimestampTz pace_allows_at = DT_NOEND;	/* to claim more */
static bool tend_is_due = true;
static bool tend_is_first = true;	/* before anything is claimed */
static TimestampTz tend_at = DT_NOEND;	/* when it is due by itself */
static TimestampTz tend_not_before = 0;
static int	stuck_delay = 0;	/* ms; something cannot be seen to */
static bool audit_is_due = true;
static TimestampTz audit_not_before = 0;
static char *audited_number = NULL; /* up to here; in reply_context */
static char *audited_recipient = NULL;
static bool is_counted = false;
static TimestampTz one_by_one_until = 0;	/* as together they could not be */
static TimestampTz poll_at = 0; /* to have a look at everything */
static bool settle_is_due = true;
static TimestampTz settle_not_before = 0;

static void start_sender(int slot);
static void on_terminate(SIGNAL_ARGS);
static void name_database(void *arg);
static void on_cancel(SIGNAL_ARGS);
static void on_work_timeout(void);
static void heed_signals(void);
static void take_leave(void);
static void look_at_terms(void);
static void terms_in_transaction(void *arg);
static void want_change(void);
static bool change_is_possible(void);
static void show_mode(void);
static void settle(void);
static void count_in_transaction(void *arg);
static void release_in_transaction(void *arg);
static void settle_in_transaction(void *arg);
static void record_replies(void);
static SenderWork record_batch(List *list, bool is_known);
static void record_in_transaction(void *arg);
static void postpone(SenderReply *reply);
static void claim_and_start(void);
static void claim_in_transaction(void *arg);
static void remember(const int64 *ids, int nids);
static TimestampTz after_share(TimestampTz start, int share);
static bool is_before(TimestampTz now, TimestampTz not_before);
static void audit(void);
static void audit_in_transaction(void *arg);
static bool forget(int64 id);
static int	compare_ids(const void *a, const void *b);
static void tend(void);
static void tend_in_transaction(void *arg);
static void retain(void);
static void retain_in_transaction(void *arg);
static bool may_work(void);
static bool may_send(void);
static bool claim_is_possible(void);
static void something_happened(void);
static void wait_for_work(void);
static long time_to_wait(void);
static void collect_replies(void);
static void look_at_remains(WaReply *reply);
static void count_reply(const WaReply *reply);
static void tell_of_trouble(const WaReply *reply);
static SenderWork in_transaction(const char *activity,
								 void (*work) (void *arg), void *arg);
static bool extension_is_here(void);
static bool is_other_version(Oid extension);
static void follow_owner(void);

/*
 * The whole life of a sender.  Its argument is its slot; see shared.c.
 */
void
whatsapp_sender_main(Datum arg)
{
	ErrorContextCallback callback = {
		.callback = name_database,
		.previous = error_context_stack
	};

	start_sender(DatumGetInt32(arg));
	error_context_stack = &callback;

	while (!extension_is_gone)
	{
		MemoryContextReset(turn_context);
		wa_count_now(WA_COUNT_SENDER, "turns", 1);
		heed_signals();
		look_at_terms();
		settle();
		record_replies();
		if (tend_is_first || tend_at <= GetCurrentTimestamp())
			tend();
		claim_and_start();
		tend();
		audit();
		retain();
		wait_for_work();
		collect_replies();
	}

	wa_shared_end_well();
	proc_exit(0);
}

static void
start_sender(int slot)
{
	WaSlot		me;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	if (!wa_shared_attach_worker(slot, true))
		proc_exit(0);
	me = wa_shared_look(slot);
	BackgroundWorkerInitializeConnectionByOid(me.database, me.owner,
											  CONNECT_AS_ANY_ROLE);
	pgstat_report_appname("whatsapp sender");
	StartTransactionCommand();
	database_name = MemoryContextStrdup(TopMemoryContext,
										get_database_name(MyDatabaseId));
	CommitTransactionCommand();

	/* names are qualified all the same; this is for those of operators */
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET,
					PGC_S_OVERRIDE);

	/*
	 * Our plans are kept, and may have been made while the tables were empty.
	 * All that we ask for is found by an index, and in its order, row by row,
	 * whatever the parameters are; and it is not worth being compiled.
	 */
	SetConfigOption("plan_cache_mode", "force_generic_plan", PGC_USERSET,
					PGC_S_OVERRIDE);
	SetConfigOption("enable_seqscan", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("enable_bitmapscan", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("enable_hashjoin", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("enable_mergejoin", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);

	turn_context = AllocSetContextCreate(TopMemoryContext,
										 "whatsapp sender turn",
										 ALLOCSET_DEFAULT_SIZES);
	reply_context = AllocSetContextCreate(TopMemoryContext,
										  "whatsapp replies",
										  ALLOCSET_DEFAULT_SIZES);
	wa_http_init();
	work_timeout = RegisterTimeout(USER_TIMEOUT, on_work_timeout);
	pqsignal(SIGTERM, on_terminate);
	pqsignal(SIGINT, on_cancel);
}

/*
 * Say which database it is that an error is from: the log does not.
 */
static void
name_database(void *arg)
{
	if (database_name != NULL)
		errcontext("whatsapp sender for database \"%s\"", database_name);
}

/*
 * Somebody cancels what we do.  A lock time-out does so, too.
 */
static void
on_cancel(SIGNAL_ARGS)
{
	is_cancelled = true;
	StatementCancelHandler(postgres_signal_arg);
}

/*
 * We are asked to end.  The postmaster asks twice: us, and the group of
 * processes that we are alone in.
 */
static void
on_terminate(SIGNAL_ARGS)
{
	int			save_errno = errno;

	end_is_wanted = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * A transaction takes its time, and somebody may be waiting for us to end.
 */
static void
on_work_timeout(void)
{
	if (end_is_wanted)
	{
		InterruptPending = true;
		ProcDiePending = true;
		SetLatch(MyLatch);
	}
}

/*
 * End if we are asked to, without making an error of it.  The launcher starts
 * another if the server goes on.
 */
static void
heed_signals(void)
{
	/* as if somebody had asked us, but that we are not to be waited for then */
	if (change_is_possible())
	{
		wa_shared_end_well();
		end_is_wanted = true;
	}
	if (end_is_wanted || ProcDiePending)
	{
		ProcDiePending = false;
		take_leave();
		proc_exit(0);
	}

	/* there is no query to be cancelled, and nothing to be given up for it */
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();

	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		wa_count_now(WA_COUNT_SENDER, "reloads", 1);
		wa_retention_restart();
		something_happened();
		tend_is_first = true;
	}
}

/*
 * Have what is under way end: wait for answers, but not for long, and record
 * what is known.  What did surely not leave is queued again by that, and the
 * rest need not be found by our successor.
 */
static void
take_leave(void)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  MAX_FAREWELL);
	TimestampTz now;
	ListCell   *cell;

	while (wa_http_in_flight() > 0 && !ProcDiePending &&
		   (now = GetCurrentTimestamp()) < end)
	{
		wa_http_wait(TimestampDifferenceMilliseconds(now, end));
		collect_replies();
	}
	wa_http_abandon();
	collect_replies();

	if (extension_is_gone)
		return;

	/* also what was put off */
	foreach(cell, replies)
		((SenderReply *) lfirst(cell))->not_before = 0;
	record_replies();
}

/*
 * Find out, now and then, whether we are still the sender that is wanted.
 */
static void
look_at_terms(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (terms_are_due && terms_not_before <= now)
	{
		terms_are_due = in_transaction("looking at settings",
									   terms_in_transaction,
									   NULL) != WORK_DONE;
		terms_not_before =
			TimestampTzPlusMilliseconds(now, Min(wa_poll_interval,
												 MIN_SETTLE_DELAY));
	}
	show_mode();
}

static void
terms_in_transaction(void *arg)
{
	int			protocol;
	const char *terms = wa_outbox_terms(&protocol);

	if (known_terms == NULL)
	{
		known_terms = MemoryContextStrdup(TopMemoryContext, terms);
		is_outdated = protocol != PROTOCOL;
		if (is_outdated)
			ereport(WARNING,
					(errmsg("nothing is sent: version %s of the library \"whatsapp\" is not made for the extension's version",
							WHATSAPP_VERSION),
					 errhint("Execute ALTER EXTENSION whatsapp UPDATE, or restart the server if that has been done.")));
	}
	else if (strcmp(terms, known_terms) != 0)
		want_change();
}

/*
 * Have another sender take our place, once nothing is under way.
 */
static void
want_change(void)
{
	if (change_is_wanted)
		return;
	change_is_wanted = true;
	change_not_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												   (int64) wa_request_timeout +
												   MAX_RECORD_DELAY);
}

static bool
change_is_possible(void)
{
	return change_is_wanted &&
		((wa_http_in_flight() == 0 && replies == NIL) ||
		 change_not_after <= GetCurrentTimestamp());
}

/*
 * Say, to who asks, whether we send.
 */
static void
show_mode(void)
{
	static WaSenderMode shown = WA_IS_SENDING;
	WaSenderMode mode = is_outdated ? WA_IS_OUTDATED :
	wa_enabled && wa_shared_enabled() ? WA_IS_SENDING : WA_IS_OFF;

	if (mode != shown)
		wa_shared_show_mode(mode);
	shown = mode;
}

/*
 * See to rows that another sender has left behind, and to those of which
 * nobody knows what has become of them: when we start, soon after we were
 * woken, as that may be because of evidence, and now and then.
 */
static void
settle(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!may_work() || settle_not_before > now || !settle_is_due)
		return;
	if (!is_counted)
		is_counted = in_transaction("counting", count_in_transaction,
									NULL) == WORK_DONE;
	in_transaction("releasing interrupted rows", release_in_transaction, NULL);
	in_transaction("settling unknown rows", settle_in_transaction, NULL);
	settle_is_due = false;
	settle_not_before = TimestampTzPlusMilliseconds(now, MIN_SETTLE_DELAY);
}

static void
count_in_transaction(void *arg)
{
	wa_outbox_count();
}

static void
settle_in_transaction(void *arg)
{
	wa_outbox_settle(wa_unknown_grace, wa_unknown_policy);
}

static void
release_in_transaction(void *arg)
{
	int64	   *ids = palloc(sizeof(int64) * (wa_http_in_flight() +
											  list_length(replies) + 1));
	int			n = wa_http_outbox_ids(ids);
	ListCell   *cell;

	foreach(cell, replies)
		ids[n++] = ((SenderReply *) lfirst(cell))->reply.outbox_id;
	wa_outbox_release(ids, n);
}

/*
 * Record what came of transfers: all together, or else each by itself, so
 * that one that cannot be recorded does not keep the others from it.
 */
static void
record_replies(void)
{
	TimestampTz now = GetCurrentTimestamp();
	List	   *due = NIL;
	int			nlocked = 0;
	bool		is_told = false;	/* one of them, by the log */
	ListCell   *cell;
	MemoryContext oldcontext = MemoryContextSwitchTo(turn_context);

	foreach(cell, replies)
	{
		SenderReply *reply = lfirst(cell);

		if (reply->not_before <= now)
			due = lappend(due, reply);
	}

	if (list_length(due) == 1 ||
		(due != NIL && record_batch(due, true) != WORK_DONE))
	{
		foreach(cell, due)
		{
			SenderReply *reply = lfirst(cell);
			SenderWork	work;

			/*
			 * All of them may take their time.  Transfers must not time out
			 * meanwhile, and that one has ended is not said a second time.
			 * Not after the last: what is collected then is not recorded
			 * before the next claim, which would fill its place.
			 */
			if (foreach_current_index(cell) > 0)
			{
				if (wa_http_wait(0))
					something_happened();
				collect_replies();
			}

			if (extension_is_gone)
				break;
			if (nlocked == MAX_LOCK_TIMEOUTS)
			{
				/* it has not been tried, and is to be before those that have */
				reply->not_before = TimestampTzPlusMilliseconds(now,
																MIN_RECORD_DELAY);
				continue;
			}

			work = record_batch(list_make1(reply), is_told);
			nlocked = work == WORK_LOCKED ? nlocked + 1 : 0;
			if (work != WORK_DONE)
			{
				/* otherwise it is gone */
				if (work == WORK_FAILED && !reply->is_reported && !is_told)
				{
					reply->is_reported = true;
					is_told = true;
				}
				postpone(reply);
			}
		}
	}
	MemoryContextSwitchTo(oldcontext);
}

/*
 * Record some replies, all or none but those whose rows are locked.  If that
 * fails, the log says why, unless it has or will.
 */
static SenderWork
record_batch(List *list, bool is_known)
{
	SenderBatch batch;
	SenderWork	work;
	ListCell   *cell;

	is_known_trouble = is_known;
	batch.nreplies = 0;
	batch.replies = palloc(sizeof(WaReply *) * list_length(list));
	batch.is_left = palloc(sizeof(bool) * list_length(list));
	foreach(cell, list)
	{
		is_known_trouble |= ((SenderReply *) lfirst(cell))->is_reported;
		batch.replies[batch.nreplies++] = lfirst(cell);
	}

	work = in_transaction("recording", record_in_transaction, &batch);
	is_known_trouble = false;
	if (work != WORK_DONE)
		return work;

	remember(batch.released, batch.nreleased);
	claim_is_due = true;
	tend_is_due = true;
	for (int i = 0; i < batch.nreplies; i++)
	{
		SenderReply *reply = (SenderReply *) batch.replies[i];

		if (batch.is_left[i])
			postpone(reply);
		else
		{
			replies = list_delete_ptr(replies, reply);
			wa_http_free_reply(&reply->reply);
			pfree(reply);
		}
	}
	return WORK_DONE;
}

static void
record_in_transaction(void *arg)
{
	SenderBatch *batch = arg;

	batch->released = wa_outbox_record(batch->replies, batch->nreplies,
									   batch->is_left, &batch->nreleased);
}

/*
 * Try a reply again, later each time.
 */
static void
postpone(SenderReply *reply)
{
	reply->delay = Min(Max(2 * reply->delay, MIN_RECORD_DELAY),
					   MAX_RECORD_DELAY);
	reply->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													reply->delay);
}

/*
 * If there may be rows to send and there is room for them, send them.
 */
static void
claim_and_start(void)
{
	SenderClaim claim = {0};
	WaClaimed  *claimed = &claim.claimed;
	TimestampTz start = GetCurrentTimestamp();
	bool		is_anew = rewind_is_due && !is_before(start, rewind_not_before);
	bool		is_cut_short;
	SenderWork	work;

	claim.limit = wa_max_in_flight - wa_http_in_flight();
	if (wa_pace_is_shared())
		claim.limit = Min(claim.limit, MAX_SHARED_CLAIM);
	claim.one_by_one = one_by_one_until > start;
	if (!claim_is_possible() || claim_not_before > start ||
		!(claim_is_due || is_anew || pace_allows_at <= start))
		return;

	if (is_anew)
	{
		/* what is remembered is found by that, too */
		wa_pace_rewind();
		nreleased = 0;
		rewind_is_due = false;
	}

	work = in_transaction("claiming", claim_in_transaction, &claim);
	if (work == WORK_FAILED && !claim.one_by_one)
	{
		/* something of one row is to blame; the others are to be sent */
		one_by_one_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   ONE_BY_ONE_TIME);
		claim.one_by_one = true;
		work = in_transaction("claiming", claim_in_transaction, &claim);
	}
	if (work != WORK_DONE)
	{
		claim_not_before =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										work == WORK_LOCKED ?
										CLAIM_LOCKED_DELAY : CLAIM_RETRY_DELAY);
		return;
	}

	/*
	 * Who is cancelled, or asked to end, does not wait for a synchronous
	 * standby any longer, and has committed all the same.  The standby may
	 * not know of it, so these are not to leave.
	 */
	is_cut_short = is_cancelled || end_is_wanted || ProcDiePending;
	if (is_anew)
		rewind_not_before = after_share(start, REWIND_SHARE);
	for (int i = 0; i < claimed->nrequests; i++)
	{
		int64		id = claimed->requests[i].outbox_id;

		wa_pace_spend(claimed->phone_number_ids[i], claimed->priorities[i],
					  id, !forget(id));

		/* what has been tried before was late for other reasons */
		if (claimed->requests[i].attempt > 1)
		{
			wa_count_now(WA_COUNT_RETRIES, NULL, 1);
			claimed->requests[i].due_at = 0;
		}
		wa_http_start(&claimed->requests[i]);
		if (is_cut_short)
			wa_http_withdraw(id);
	}
	remember(claimed->released, claimed->nreleased);

	/*
	 * There may be more if these were as many as we asked for, or were in the
	 * way of others.  More of a number that has no tokens left is for later.
	 */
	claim_is_due = claimed->nrequests == claim.limit || claimed->nmoved > 0;
	pace_allows_at = wa_pace_next();
	wa_pace_publish();
}

static void
claim_in_transaction(void *arg)
{
	SenderClaim *claim = arg;
	WaOpenNumber *numbers;
	WaAllowance *allowances;
	int			nnumbers;
	int			nallowances;

	/* the extension may have become another just now */
	memset(&claim->claimed, 0, sizeof(WaClaimed));
	if (!may_send())
		return;

	/*
	 * What is on disk is what is sent, and so it is on that of a synchronous
	 * standby, whatever synchronous_commit says.
	 */
	ForceSyncCommit();
	if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
								 false);
	numbers = wa_outbox_numbers(&nnumbers);
	wa_pace_open(numbers, nnumbers);
	allowances = wa_pace_allow(&nallowances);
	if (nallowances > 0)
		wa_outbox_claim(claim->limit, claim->one_by_one, allowances,
						nallowances, released, nreleased, &claim->claimed);
	is_cancelled = false;
	CHECK_FOR_INTERRUPTS();
}

/*
 * Remember rows that may leave.  If they are too many, they are found anyway.
 */
static void
remember(const int64 *ids, int nids)
{
	if (nids == 0)
		return;
	claim_is_due = true;
	if (nids > MAX_RELEASED - nreleased)
	{
		rewind_is_due = true;
		return;
	}
	memcpy(released + nreleased, ids, sizeof(int64) * nids);
	nreleased += nids;
	qsort(released, nreleased, sizeof(int64), compare_ids);
}

/*
 * Forget a row that leaves.  Returns false if it was not remembered.
 */
static bool
forget(int64 id)
{
	int64	   *found = bsearch(&id, released, nreleased, sizeof(int64),
								compare_ids);

	if (found == NULL)
		return false;
	nreleased--;
	memmove(found, found + 1,
			sizeof(int64) * (nreleased - (found - released)));
	return true;
}

static int
compare_ids(const void *a, const void *b)
{
	int64		id_a = *(const int64 *) a;
	int64		id_b = *(const int64 *) b;

	return id_a < id_b ? -1 : id_a > id_b ? 1 : 0;
}

/*
 * When something that has just taken so long may be done again, so that it
 * takes no more than one in so many parts of the time.
 */
static TimestampTz
after_share(TimestampTz start, int share)
{
	TimestampTz now = GetCurrentTimestamp();
	long		took = TimestampDifferenceMilliseconds(start, now);

	return TimestampTzPlusMilliseconds(now, Min(Max(share * took,
													MIN_TEND_DELAY),
												MAX_TEND_DELAY));
}

/*
 * Is it too early?  A time that is too far ahead was told by a clock that has
 * been set back since.
 */
static bool
is_before(TimestampTz now, TimestampTz not_before)
{
	return now < not_before &&
		!TimestampDifferenceExceeds(now, not_before, MAX_TEND_DELAY);
}

/*
 * See to what the clock and others have changed: rows that are due, or not to
 * leave any more.
 */
static void
tend(void)
{
	TimestampTz start = GetCurrentTimestamp();
	bool		is_time = tend_at <= start;
	SenderTend	tended = {0};
	SenderWork	work;

	if (!(tend_is_due || is_time) || is_before(start, tend_not_before) ||
		!may_send())
		return;

	tended.unsent = palloc(sizeof(int64) * (wa_http_in_flight() + 1));
	tended.nunsent = wa_http_unsent_ids(tended.unsent, MAX_UNSENT_AGE);
	work = in_transaction("tending", tend_in_transaction, &tended);
	if (work != WORK_DONE)
	{
		tend_not_before =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										work == WORK_LOCKED ?
										TEND_LOCKED_DELAY : CLAIM_RETRY_DELAY);
		tend_is_first = false;
		return;
	}

	for (int i = 0; i < tended.nwithdrawn; i++)
		wa_http_withdraw(tended.withdrawn[i]);
	remember(tended.released, tended.nreleased);

	/* a number may go on, and have rows where we have read long ago */
	if (is_time)
		claim_is_due = true;
	tend_is_first = false;

	/* there may be more, unless these were all */
	tend_is_due = tended.nreleased >= MAX_TENDED;
	tend_not_before = tend_is_due ? 0 : after_share(start, TEND_SHARE);

	/* what cannot be seen to for now is tried later each time */
	tend_at = tended.next;
	stuck_delay = tend_at > start || tended.nreleased > 0 ? 0 :
		Min(Max(2 * stuck_delay, TEND_LOCKED_DELAY), MAX_STUCK_DELAY);
	if (tend_at <= start)
		tend_at = TimestampTzPlusMilliseconds(start, stuck_delay);
}

static void
tend_in_transaction(void *arg)
{
	SenderTend *tended = arg;

	tended->released = wa_outbox_tend(MAX_TENDED, &tended->nreleased,
									  &tended->next);
	if (tended->nunsent > 0)
		tended->withdrawn = wa_outbox_withdraw(tended->unsent, tended->nunsent,
											   &tended->nwithdrawn);
}

/*
 * Make sure, now and then, and for some recipients each time, that the next
 * message to each may leave.
 */
static void
audit(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!audit_is_due || is_before(now, audit_not_before) || !may_send())
		return;
	in_transaction("auditing", audit_in_transaction, NULL);
	audit_is_due = false;
	audit_not_before = TimestampTzPlusMilliseconds(now, AUDIT_DELAY);
	rewind_is_due = true;
}

static void
audit_in_transaction(void *arg)
{
	char	   *number = audited_number;
	char	   *recipient = audited_recipient;

	wa_outbox_audit(AUDITED_LANES, &number, &recipient);
	if (audited_number != NULL)
		pfree(audited_number);
	if (audited_recipient != NULL)
		pfree(audited_recipient);
	audited_number = number == NULL ? NULL :
		MemoryContextStrdup(reply_context, number);
	audited_recipient = recipient == NULL ? NULL :
		MemoryContextStrdup(reply_context, recipient);
}

/*
 * Have some rows pruned that have been kept for long enough.
 */
static void
retain(void)
{
	TimestampTz start = GetCurrentTimestamp();
	SenderWork	work;

	if (wa_retention_next() > start || !may_work())
		return;
	work = in_transaction("pruning", retain_in_transaction, NULL);
	wa_retention_done(work == WORK_DONE, after_share(start, TEND_SHARE));
}

static void
retain_in_transaction(void *arg)
{
	wa_retention_work();
}

/*
 * Is there anything that we may do, other than to record what was sent?
 */
static bool
may_work(void)
{
	return known_terms != NULL && !is_outdated && !extension_is_gone &&
		!change_is_wanted && !end_is_wanted;
}

/*
 * Is anything to be sent: on in the file and for the database?  Either can
 * switch us off.  And is it ours to send?
 */
static bool
may_send(void)
{
	return wa_enabled && wa_shared_enabled() && may_work();
}

/*
 * Is there room for more?
 */
static bool
claim_is_possible(void)
{
	return may_send() && wa_http_in_flight() < wa_max_in_flight &&
		list_length(replies) < MAX_UNRECORDED * wa_max_in_flight;
}

/*
 * Somebody has woken us, or it has been too long: have a look at everything.
 */
static void
something_happened(void)
{
	claim_is_due = true;
	rewind_is_due = true;
	tend_is_due = true;
	terms_are_due = true;
	settle_is_due = true;
	audit_is_due = true;
	poll_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										  wa_poll_interval);
}

/*
 * Wait until transfers have made progress, somebody has woken us, or it is
 * time to have a look.
 */
static void
wait_for_work(void)
{
	if (extension_is_gone)
		return;
	if (wa_http_wait(time_to_wait()))
		wa_count_now(WA_COUNT_SENDER, "wakes", 1);
	else if (poll_at > GetCurrentTimestamp())
		return;
	something_happened();
}

static long
time_to_wait(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = poll_at;
	ListCell   *cell;

	if (terms_are_due)
		until = Min(until, terms_not_before);
	if (change_is_possible())
		return 0;
	if (change_is_wanted)
		until = Min(until, change_not_after);
	if (settle_is_due && may_work())
		until = Min(until, settle_not_before);
	if (claim_is_possible())
	{
		TimestampTz next = claim_is_due ? now : pace_allows_at;

		if (rewind_is_due)
			next = Min(next, is_before(now, rewind_not_before) ?
					   rewind_not_before : now);
		until = Min(until, Max(next, claim_not_before));
	}
	if (may_send())
	{
		TimestampTz next = tend_is_due ? now : tend_at;

		until = Min(until, is_before(now, tend_not_before) ?
					Max(next, tend_not_before) : next);
		if (audit_is_due)
			until = Min(until, is_before(now, audit_not_before) ?
						audit_not_before : now);
	}
	if (may_work())
		until = Min(until, wa_retention_next());
	foreach(cell, replies)
		until = Min(until, ((SenderReply *) lfirst(cell))->not_before);
	return TimestampDifferenceMilliseconds(now, until);
}

/*
 * Take over what transfers have ended with.
 */
static void
collect_replies(void)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	WaReply		reply;

	while (wa_http_next_reply(&reply))
	{
		SenderReply *kept;

		MemoryContextSwitchTo(turn_context);
		look_at_remains(&reply);
		MemoryContextSwitchTo(reply_context);
		kept = palloc0(sizeof(SenderReply));

		kept->reply = reply;
		replies = lappend(replies, kept);
		count_reply(&reply);
	}
	MemoryContextSwitchTo(oldcontext);
}

/*
 * There was an error when something of an answer had been received: if that is
 * all of it, it counts, and else it does not.
 */
static void
look_at_remains(WaReply *reply)
{
	if (reply->outcome != WA_UNKNOWN || reply->http_status == 0)
		return;
	if (wa_outbox_is_answer(reply))
	{
		reply->outcome = WA_ANSWERED;
		free(reply->error);
		reply->error = NULL;
	}
	else
	{
		free(reply->body);
		reply->body = NULL;
		reply->body_len = 0;
		reply->http_status = 0;
		reply->retry_after = 0;
	}
}

/*
 * Count what came of a transfer.
 */
static void
count_reply(const WaReply *reply)
{
	wa_count_now(WA_COUNT_ATTEMPTS, wa_outbox_outcome(reply->outcome), 1);
	wa_count_now(WA_COUNT_BYTES, "sent", reply->request_len);
	wa_count_now(WA_COUNT_BYTES, "received", reply->body_len);
	tell_of_trouble(reply);
	if (reply->request_len > 0 && reply->due_at != 0)
		wa_count_latency(WA_LATENCY_COMMIT_TO_WIRE,
						 wa_statistics_commit_of(reply->due_at),
						 reply->sent_at);
	if (reply->outcome == WA_ANSWERED && reply->sent_at != 0)
		wa_count_latency(WA_LATENCY_WIRE_TO_ANSWER, reply->sent_at,
						 reply->ended_at);
}

/*
 * Say, by the log, that nothing can be sent, and that it can again.  (What has
 * expired was to leave, and so was not kept from it by anything.)
 */
static void
tell_of_trouble(const WaReply *reply)
{
	static bool is_told = false;
	static TimestampTz told_at = 0;
	TimestampTz now = reply->ended_at;

	if (reply->outcome == WA_ANSWERED && is_told)
	{
		is_told = false;
		ereport(LOG,
				(errmsg("messages can be sent again")));
	}
	else if (reply->outcome == WA_NOT_SENT && reply->sent_at == 0 &&
			 !end_is_wanted && !is_told &&
			 (told_at > now ||
			  TimestampDifferenceExceeds(told_at, now, TROUBLE_DELAY)))
	{
		is_told = true;
		told_at = now;
		ereport(WARNING,
				(errmsg("could not send messages: %s",
						reply->error != NULL ? reply->error : "out of memory"),
				 errdetail("It is tried again, later each time.")));
	}
}

/*
 * Do some work in a transaction of its own.
 */
static SenderWork
in_transaction(const char *activity, void (*work) (void *arg), void *arg)
{
	volatile SenderWork result = WORK_LOCKED;
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		enable_timeout_every(work_timeout,
							 TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														 MAX_WORK), MAX_WORK);
		StartTransactionCommand();
		MemoryContextSwitchTo(turn_context);
		pgstat_report_activity(STATE_RUNNING, activity);

		/* what a new version has for us is for another sender to call */
		if (extension_is_here() &&
			(!is_replaced || work == record_in_transaction))
		{
			follow_owner();
			PushActiveSnapshot(GetTransactionSnapshot());
			wa_connect();
			work(arg);
			SPI_finish();
			PopActiveSnapshot();
			result = WORK_DONE;
		}
		CommitTransactionCommand();
		SetUserIdAndSecContext(user, security);
	}
	PG_CATCH();
	{
		/*
		 * a lock that is held for long would fill the log, as would the same
		 * answers again and again
		 */
		result = geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE ?
			WORK_LOCKED : WORK_FAILED;

		HOLD_INTERRUPTS();
		if (result == WORK_FAILED)
			wa_count_now(WA_COUNT_SENDER, "errors", 1);
		MemoryContextSwitchTo(turn_context);
		if (result == WORK_FAILED && !is_known_trouble)
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	disable_timeout(work_timeout, false);

	MemoryContextSwitchTo(turn_context);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return result;
}

/*
 * Is the extension that we were started for still there, and will it be until
 * the end of the transaction?
 */
static bool
extension_is_here(void)
{
	Oid			oid = get_extension_oid("whatsapp", true);
	LOCKTAG		tag;

	if (!OidIsValid(extension_oid))
		extension_oid = oid;
	if (!OidIsValid(oid) || oid != extension_oid)
	{
		extension_is_gone = true;
		return false;
	}

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, oid, 0);
	if (LockAcquire(&tag, AccessShareLock, false, true) ==
		LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();

	/* it may have been dropped just before we got the lock */
	extension_is_gone = get_extension_oid("whatsapp", true) != oid;
	if (extension_is_gone)
		return false;
	if (is_other_version(oid))
	{
		is_replaced = true;
		want_change();
	}
	return true;
}

/*
 * Has the extension another version than when we began?
 */
static bool
is_other_version(Oid extension)
{
	static char *known_version = NULL;
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		version = TextDatumGetCString(heap_getattr(tuple,
												   Anum_pg_extension_extversion,
												   RelationGetDescr(rel),
												   &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	if (version != NULL && known_version == NULL)
		known_version = MemoryContextStrdup(TopMemoryContext, version);
	return version != NULL && strcmp(version, known_version) != 0;
}

/*
 * Should the extension belong to another role by now, be that role until the
 * end of the transaction: we may not touch its tables any more.  And make room
 * for another sender, that is that role from the beginning.
 */
static void
follow_owner(void)
{
	Oid			owner = wa_owner();

	if (owner == GetSessionUserId())
		return;
	SetUserIdAndSecContext(owner, SECURITY_LOCAL_USERID_CHANGE);
	want_change();
}
