/*-------------------------------------------------------------------------
 *
 * statistics.c
 *	  Count what happens, in shared memory.
 *
 * There is an entry for each database, with counters that all its processes
 * add to, atomically and without a lock.  Latencies are counted, too: each has
 * a counter for every range of times, four of them to each doubling.
 *
 * What a transaction does is counted when it commits, and what a subtransaction
 * does not at all if it is rolled back.  Until then it is in a list of the
 * process's own.
 *
 * Nothing of this outlives the server.  After a crash it begins anew, too, and
 * says so.  Without shared_preload_libraries nothing is counted.
 *
 * IDENTIFICATION
 *	  src/statistics.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

#define TRANCHE_NAME	"whatsapp statistics"

/* What has no label of its own is counted under the last one. */
static const struct
{
	const char *name;
	const char *labels[32];
}			counters[] =

{
	[WA_COUNT_WEBHOOKS] = {"webhooks",
		{"filed", "unreadable", "refused"},
	},
	[WA_COUNT_MESSAGES] = {"messages",
		{"text", "image", "audio", "video", "document", "sticker", "reaction",
			"interactive", "button", "location", "contacts", "order", "system",
		"unsupported", "edit", "revoke", "other"},
	},
	[WA_COUNT_STATUSES] = {"statuses",
		{"sent", "delivered", "read", "failed", "played", "other"},
	},
	[WA_COUNT_EVENTS] = {"events",
		{"all"},
	},
	[WA_COUNT_DUPLICATES] = {"duplicates",
		{"all"},
	},
	[WA_COUNT_PARKED] = {"parked",
		{"all"},
	},
	[WA_COUNT_ATTEMPTS] = {"attempts",
		{"not sent", "withdrawn", "not read", "unknown", "answered"},
	},
	[WA_COUNT_RETRIES] = {"retries",
		{"all"},
	},
	[WA_COUNT_SENDS] = {"sends",
		{"sent", "queued", "failed", "unknown", "expired", "other"},
	},
	[WA_COUNT_REFUSALS] = {"refusals",
		{"permanent", "reroute", "suppress", "retry", "retry_few", "wait",
			"pair", "slow_number", "slow_account", "hold_template",
		"hold_number", "hold_account", "token", "other"},
	},
	[WA_COUNT_BYTES] = {"bytes",
		{"webhooks", "sent", "received"},
	},
	[WA_COUNT_PRUNED] = {"pruned",
		{"messages", "media", "statuses", "evidence", "events", "call_events",
		"webhooks", "outbox", "attempts", "other"},
	},
	[WA_COUNT_KEPT] = {"kept",
		{"messages", "media", "statuses", "evidence", "events", "call_events",
		"webhooks", "outbox", "attempts", "other"},
	},
	[WA_COUNT_SENDER] = {"sender",
		{"turns", "wakes", "reloads", "errors"},
	},
};

#define NKINDS		lengthof(counters)
#define MAX_LABELS	lengthof(counters[0].labels)
#define NCOUNTERS	(NKINDS * MAX_LABELS)

static const char *const latencies[] = {
	[WA_LATENCY_COMMIT_TO_WIRE] = "commit_to_wire",
	[WA_LATENCY_WIRE_TO_ANSWER] = "wire_to_answer",
	[WA_LATENCY_WEBHOOK_TO_FILED] = "webhook_to_filed",
};

/*
 * Ranges of times, in microseconds: four to each doubling.  The last one takes
 * all that is longer than 89 days.
 */
#define NRANGES		168

#define NLATENCIES	lengthof(latencies)
#define NPLACES		(NCOUNTERS + NLATENCIES * (NRANGES + 1))

/* Commits of transactions that have taken their time, the newest ones */
#define NCOMMITS	64

/* Shorter ones have begun when they committed, as far as we care; ms */
#define LONG_TRANSACTION	1

typedef struct SharedCommit
{
	TimestampTz begun_at;
	TimestampTz committed_at;
} SharedCommit;

typedef struct SharedCounts
{
	Oid			database;		/* InvalidOid if this is free */
	TimestampTz since;
	WaSince		why;			/* it is since then */
	SharedCommit commits[NCOMMITS];
	uint64		ncommits;		/* that there have been */

	/* counters, then of each latency the ranges and the sum */
	pg_atomic_uint64 counts[NPLACES];
} SharedCounts;

typedef struct SharedStatistics
{
	LWLock	   *lock;			/* for all but the counts */
	TimestampTz since;
	WaSince		why;
	bool		has_forgotten;	/* a database, which may come back */
	int			nentries;
	SharedCounts entries[FLEXIBLE_ARRAY_MEMBER];
} SharedStatistics;

/* What the transaction that goes on has counted */
typedef struct Pending
{
	int			level;			/* of the subtransaction */
	int			place;
	uint64		n;
} Pending;

static SharedStatistics *shared = NULL;
static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;
static int	nstarts = 0;		/* of shared memory, seen by the postmaster */

static SharedCounts *ours = NULL;
static Pending *pending = NULL; /* in TopMemoryContext */
static int	npending = 0;
static int	max_pending = 0;

static const char *const since_names[] = {
	[WA_SINCE_START] = "start",
	[WA_SINCE_CRASH] = "crash",
	[WA_SINCE_RESET] = "reset",
};

static void request_shared_memory(void);
static void start_shared_memory(void);
static Size shared_size(void);
static bool may_see(void);
static SharedCounts *find_ours(bool make);
static int	place_of(WaCount what, const char *label);
static int	place_of_latency(WaLatency what, int range);
static int	range_of(uint64 microseconds);
static double upper_bound(int range);
static void add_later(int place, uint64 n);
static void add_now(int place, uint64 n);
static void on_transaction_end(XactEvent event, void *arg);
static void on_subtransaction_end(SubXactEvent event, SubTransactionId id,
								  SubTransactionId parent, void *arg);

PG_FUNCTION_INFO_V1(whatsapp_count_event);
PG_FUNCTION_INFO_V1(whatsapp_counters);
PG_FUNCTION_INFO_V1(whatsapp_latency_ranges);
PG_FUNCTION_INFO_V1(whatsapp_reset_statistics);

/*
 * To be called while the library is being preloaded.
 */
void
wa_statistics_init(void)
{
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
	RegisterXactCallback(on_transaction_end, NULL);
	RegisterSubXactCallback(on_subtransaction_end, NULL);
}

/*
 * Count something, if the transaction commits.
 */
void
wa_count(WaCount what, const char *label, uint64 n)
{
	if (shared != NULL && n > 0)
		add_later(place_of(what, label), n);
}

/*
 * Count something that has happened, whatever becomes of the transaction.
 */
void
wa_count_now(WaCount what, const char *label, uint64 n)
{
	if (shared != NULL && n > 0)
		add_now(place_of(what, label), n);
}

/*
 * Count how long something took, if the transaction commits, or at once where
 * there is none.  A clock may have been set back meanwhile.
 */
void
wa_count_latency(WaLatency what, TimestampTz from, TimestampTz until)
{
	uint64		took = Max(until - from, 0);

	if (shared == NULL)
		return;
	add_later(place_of_latency(what, range_of(took)), 1);
	add_later(place_of_latency(what, NRANGES), took);
}

/*
 * Note that a transaction commits that has queued messages.
 */
void
wa_statistics_note_commit(TimestampTz begun_at, TimestampTz committed_at)
{
	SharedCommit *commit;

	if (shared == NULL ||
		!TimestampDifferenceExceeds(begun_at, committed_at, LONG_TRANSACTION) ||
		find_ours(true) == NULL)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	commit = &ours->commits[ours->ncommits++ % NCOMMITS];
	commit->begun_at = begun_at;
	commit->committed_at = committed_at;
	LWLockRelease(shared->lock);
}

/*
 * When did a transaction commit that began then, if it was lately?
 */
TimestampTz
wa_statistics_commit_of(TimestampTz begun_at)
{
	TimestampTz result = begun_at;

	if (shared == NULL || find_ours(false) == NULL || ours->ncommits == 0)
		return result;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < NCOMMITS; i++)
		if (ours->commits[i].begun_at == begun_at)
			result = ours->commits[i].committed_at;
	LWLockRelease(shared->lock);
	return result;
}

/*
 * Forget what was counted in databases that are not listed.
 */
void
wa_statistics_forget(const List *databases)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nentries; i++)
	{
		SharedCounts *entry = &shared->entries[i];

		if (OidIsValid(entry->database) &&
			!list_member_oid(databases, entry->database))
		{
			entry->database = InvalidOid;
			shared->has_forgotten = true;
		}
	}
	LWLockRelease(shared->lock);
}

/*
 * whatsapp.count_event(name text, label text, n bigint) returns void
 */
Datum
whatsapp_count_event(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *label = text_to_cstring(PG_GETARG_TEXT_PP(1));

	for (int i = 0; i < NKINDS; i++)
	{
		if (strcmp(counters[i].name, name) == 0)
		{
			wa_count(i, label, Max(PG_GETARG_INT64(2), 0));
			PG_RETURN_VOID();
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no counter \"%s\"", name)));
}

/*
 * whatsapp.counters() returns setof (counter, label, value, since, since_what)
 */
Datum
whatsapp_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (!may_see() || find_ours(true) == NULL)
		return (Datum) 0;
	for (int i = 0; i < NKINDS; i++)
	{
		for (int l = 0; l < MAX_LABELS && counters[i].labels[l] != NULL; l++)
		{
			Datum		values[] = {
				CStringGetTextDatum(counters[i].name),
				CStringGetTextDatum(counters[i].labels[l]),
				Int64GetDatum(pg_atomic_read_u64(&ours->counts[i * MAX_LABELS + l])),
				TimestampTzGetDatum(ours->since),
				CStringGetTextDatum(since_names[ours->why])
			};
			bool		nulls[lengthof(values)] = {0};

			tuplestore_putvalues(result->setResult, result->setDesc, values,
								 nulls);
		}
	}
	return (Datum) 0;
}

/*
 * whatsapp.latency_ranges() returns setof (latency, up_to, samples, total,
 *		since): ms
 */
Datum
whatsapp_latency_ranges(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (!may_see() || find_ours(true) == NULL)
		return (Datum) 0;
	for (int i = 0; i < NLATENCIES; i++)
	{
		uint64		sum = pg_atomic_read_u64(&ours->counts[place_of_latency(i, NRANGES)]);

		for (int range = 0; range < NRANGES; range++)
		{
			uint64		n = pg_atomic_read_u64(&ours->counts[place_of_latency(i, range)]);
			Datum		values[] = {
				CStringGetTextDatum(latencies[i]),
				Float8GetDatum(upper_bound(range)),
				Int64GetDatum(n),
				Float8GetDatum(sum / 1000.0),
				TimestampTzGetDatum(ours->since)
			};
			bool		nulls[lengthof(values)] = {0};

			if (n > 0)
				tuplestore_putvalues(result->setResult, result->setDesc,
									 values, nulls);
		}
	}
	return (Datum) 0;
}

/*
 * whatsapp.reset_statistics() returns void
 */
Datum
whatsapp_reset_statistics(PG_FUNCTION_ARGS)
{
	if (find_ours(true) == NULL)
		PG_RETURN_VOID();
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	ours->since = GetCurrentTimestamp();
	ours->why = WA_SINCE_RESET;
	for (int i = 0; i < NPLACES; i++)
		pg_atomic_write_u64(&ours->counts[i], 0);
	LWLockRelease(shared->lock);
	PG_RETURN_VOID();
}

/*
 * Internals
 */

static void
request_shared_memory(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(TRANCHE_NAME, 1);
}

static void
start_shared_memory(void)
{
	bool		found;

	if (prev_shmem_startup)
		prev_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(TRANCHE_NAME, shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		shared->lock = &GetNamedLWLockTranche(TRANCHE_NAME)->lock;
		shared->since = GetCurrentTimestamp();
		shared->why = nstarts++ == 0 ? WA_SINCE_START : WA_SINCE_CRASH;
		shared->nentries = max_worker_processes;
		for (int i = 0; i < shared->nentries; i++)
			for (int j = 0; j < NPLACES; j++)
				pg_atomic_init_u64(&shared->entries[i].counts[j], 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * As many as there can be senders.
 */
static Size
shared_size(void)
{
	return add_size(offsetof(SharedStatistics, entries),
					mul_size(sizeof(SharedCounts), max_worker_processes));
}

/*
 * May the caller see what is counted for all numbers together?
 */
static bool
may_see(void)
{
	bool		result;

	wa_connect();
	result = wa_sees_all();
	SPI_finish();
	return result;
}

/*
 * Find the entry of our database, or make one.  Returns NULL if there is none,
 * nor a free one.
 */
static SharedCounts *
find_ours(bool make)
{
	static bool has_none = false;
	SharedCounts *free_entry = NULL;

	if (shared == NULL || !OidIsValid(MyDatabaseId) || has_none ||
		(ours != NULL && ours->database == MyDatabaseId))
		return ours;

	ours = NULL;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nentries && ours == NULL; i++)
	{
		SharedCounts *entry = &shared->entries[i];

		if (entry->database == MyDatabaseId)
			ours = entry;
		else if (!OidIsValid(entry->database) && free_entry == NULL)
			free_entry = entry;
	}
	if (ours == NULL && make && free_entry != NULL)
	{
		ours = free_entry;
		ours->since = shared->has_forgotten ? GetCurrentTimestamp() :
			shared->since;
		ours->why = shared->why;
		ours->ncommits = 0;
		memset(ours->commits, 0, sizeof(ours->commits));
		for (int i = 0; i < NPLACES; i++)
			pg_atomic_write_u64(&ours->counts[i], 0);
		ours->database = MyDatabaseId;
	}
	LWLockRelease(shared->lock);

	/* there are too many databases: not to be looked for each time */
	has_none = ours == NULL && make;
	return ours;
}

static int
place_of(WaCount what, const char *label)
{
	const char *const *labels = counters[what].labels;
	int			l = 0;

	while (l + 1 < MAX_LABELS && labels[l + 1] != NULL &&
		   (label == NULL || strcmp(labels[l], label) != 0))
		l++;
	return what * MAX_LABELS + l;
}

static int
place_of_latency(WaLatency what, int range)
{
	return NCOUNTERS + what * (NRANGES + 1) + range;
}

/*
 * The range of a time: by its highest bit, and the two that follow.
 */
static int
range_of(uint64 microseconds)
{
	int			bit;

	if (microseconds < 4)
		return (int) microseconds;
	bit = pg_leftmost_one_pos64(microseconds);
	return Min(4 * (bit - 1) + (int) ((microseconds >> (bit - 2)) & 3),
			   NRANGES - 1);
}

/*
 * The time that is not in a range any more, but would be in the next; ms.
 */
static double
upper_bound(int range)
{
	range++;
	if (range == NRANGES)
		return get_float8_infinity();
	if (range < 4)
		return range / 1000.0;
	return (double) ((UINT64CONST(4) + range % 4) << (range / 4 - 1)) / 1000.0;
}

/*
 * Add to a counter once the transaction commits, if there is one.
 */
static void
add_later(int place, uint64 n)
{
	int			level = GetCurrentTransactionNestLevel();

	if (level == 0)
	{
		add_now(place, n);
		return;
	}
	for (int i = npending - 1; i >= 0 && pending[i].level == level; i--)
	{
		if (pending[i].place == place)
		{
			pending[i].n += n;
			return;
		}
	}
	if (npending == max_pending)
	{
		int			new_max = Max(32, 2 * max_pending);

		if (pending == NULL)
			pending = MemoryContextAlloc(TopMemoryContext,
										 sizeof(Pending) * new_max);
		else
			pending = repalloc(pending, sizeof(Pending) * new_max);
		max_pending = new_max;
	}
	pending[npending].level = level;
	pending[npending].place = place;
	pending[npending].n = n;
	npending++;
}

static void
add_now(int place, uint64 n)
{
	if (find_ours(true) != NULL)
		pg_atomic_fetch_add_u64(&ours->counts[place], n);
}

static void
on_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			for (int i = 0; i < npending; i++)
				add_now(pending[i].place, pending[i].n);
			npending = 0;
			break;

		case XACT_EVENT_ABORT:
			npending = 0;
			break;

		default:
			break;
	}
}

/*
 * What a subtransaction has counted becomes its parent's, or nothing.
 */
static void
on_subtransaction_end(SubXactEvent event, SubTransactionId id,
					  SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	int			first = npending;
	int			nkept;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (first > 0 && pending[first - 1].level >= level)
		first--;
	nkept = npending;
	npending = first;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		return;

	/* those of the parent, if there are any, are just before them */
	for (int i = first; i < nkept; i++)
	{
		int			j = npending - 1;

		while (j >= 0 && pending[j].level == level - 1 &&
			   pending[j].place != pending[i].place)
			j--;
		if (j >= 0 && pending[j].level == level - 1)
			pending[j].n += pending[i].n;
		else
		{
			pending[npending] = pending[i];
			pending[npending++].level = level - 1;
		}
	}
}
