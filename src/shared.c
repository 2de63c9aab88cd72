/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  What all processes know of the senders: a table in shared memory.
 *
 * There is a slot for each database that has the extension, or may have it.
 * It goes round like this:
 *
 *		free --> wanted --> probing --> found --> started
 *		 ^         ^           |                     |
 *		 +---------|-----------+ no extension        |
 *		           +---------------------------------+ ended
 *
 * A backend that has created the extension, or has put something into the
 * outbox, wakes the sender of its database, and if there is none, has the
 * slot wanted.  The rest is done by the launcher and the workers it starts;
 * see launcher.c.  A probe is needed because only a process inside a database
 * can see whether the extension is there, and a sender has to know who owns
 * it before it can connect as that role.
 *
 * Some commands need a database to be left by all, such as DROP DATABASE.  A
 * backend that is about to execute one bars the slot: the worker is ended, and
 * there is no other until nobody bars it any more; see databases.c.
 *
 * Without shared_preload_libraries there is no table, and nobody to wake.
 *
 * IDENTIFICATION
 *	  src/shared.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "whatsapp.h"

#define TRANCHE_NAME	"whatsapp"

/* A worker that lives this long was healthy */
#define HEALTHY_SECONDS		60

/* How long to wait before a worker is started again, at most; seconds */
#define MAX_BACKOFF_SECONDS 60

typedef struct SharedState
{
	LWLock	   *lock;
	ConditionVariable ended;	/* a worker has */
	Latch	   *launcher_latch; /* NULL if there is no launcher */
	bool		enabled;		/* whatsapp.enabled, to who is in no database */
	bool		overflow;		/* a database was wanted and had no slot */
	int			nslots;
	WaSlot		slots[FLEXIBLE_ARRAY_MEMBER];
} SharedState;

/* The tokens that a sender shows, as many as there are slots */
typedef struct SharedTokens
{
	int			ntokens;
	WaTokens	tokens[WA_MAX_TOKENS];
} SharedTokens;

static SharedState *shared = NULL;
static SharedTokens *shared_tokens = NULL;
static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;

static uint32 wait_event = 0;
static int	my_slot = -1;
static bool i_am_sender = false;

static void request_shared_memory(void);
static void start_shared_memory(void);
static Size shared_size(void);
static Size tokens_size(void);
static WaSlot *find_slot(Oid database);
static WaSlot *find_sender(Oid database);
static WaSlot *find_free_slot(void);
static WaSlot *take_slot(Oid database);
static void end_worker(WaSlot *slot);
static void set_launcher_latch(void);
static void detach_launcher(int code, Datum arg);
static void detach_worker(int code, Datum arg);

/*
 * To be called while the library is being preloaded.
 */
void
wa_shared_init(void)
{
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
}

/*
 * Is there anybody who would send?
 */
bool
wa_shared_exists(void)
{
	return shared != NULL;
}

int
wa_shared_nslots(void)
{
	return shared->nslots;
}

/*
 * Wake the sender of a database, or have one started.  Called after commit,
 * and so throws nothing.
 */
void
wa_shared_wake(Oid database)
{
	WaSlot	   *slot;

	if (shared == NULL)
		return;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = find_sender(database);
	if (slot != NULL)
	{
		SetLatch(slot->latch);
		LWLockRelease(shared->lock);
		return;
	}
	LWLockRelease(shared->lock);

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot != NULL)
		slot->asked_again = true;
	else if (take_slot(database) == NULL)
		shared->overflow = true;
	set_launcher_latch();
	LWLockRelease(shared->lock);
}

/*
 * Functions for the launcher
 */

/*
 * Begin to be the launcher.  Workers that another one had begun to start, and
 * that have not come up, are lost with it, so they are wanted again.
 */
void
wa_shared_attach_launcher(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher_latch = MyLatch;
	for (int i = 0; i < shared->nslots; i++)
	{
		WaSlot	   *slot = &shared->slots[i];

		if (slot->state > WA_SLOT_WANTED && slot->pid == 0)
			slot->state = WA_SLOT_WANTED;
	}
	LWLockRelease(shared->lock);
	before_shmem_exit(detach_launcher, (Datum) 0);
}

/*
 * Have a database looked at, unless that is being done.  Returns false if
 * there is no slot for it.
 */
bool
wa_shared_want(Oid database)
{
	bool		wanted;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	wanted = find_slot(database) != NULL || take_slot(database) != NULL;
	LWLockRelease(shared->lock);
	return wanted;
}

/*
 * Has a backend wanted a database that had no slot, since this was asked last?
 */
bool
wa_shared_overflowed(void)
{
	bool		overflow;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	overflow = shared->overflow;
	shared->overflow = false;
	LWLockRelease(shared->lock);
	return overflow;
}

/*
 * Say whether anything is to be sent at all.
 */
void
wa_shared_enable(bool enabled)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->enabled = enabled;
	LWLockRelease(shared->lock);
}

bool
wa_shared_enabled(void)
{
	bool		enabled;

	LWLockAcquire(shared->lock, LW_SHARED);
	enabled = shared->enabled;
	LWLockRelease(shared->lock);
	return enabled;
}

WaSlot
wa_shared_look(int i)
{
	WaSlot		slot;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = shared->slots[i];
	LWLockRelease(shared->lock);
	return slot;
}

/*
 * A worker is about to be started for a slot.
 */
void
wa_shared_starting(int i)
{
	WaSlot	   *slot = &shared->slots[i];

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot->state = slot->state == WA_SLOT_FOUND ? WA_SLOT_STARTED :
		WA_SLOT_PROBING;
	slot->asked_again = false;
	slot->ended_well = false;
	slot->lacks_worker = false;
	slot->started_at = GetCurrentTimestamp();
	LWLockRelease(shared->lock);
}

/*
 * The worker of a slot has ended, or could not be started.  Decide if and
 * when to try again: at once if that was its wish, else later and later.
 */
void
wa_shared_ended(int i)
{
	WaSlot	   *slot = &shared->slots[i];
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (slot->state == WA_SLOT_PROBING || slot->state == WA_SLOT_STARTED)
	{
		if (slot->ended_well ||
			TimestampDifferenceExceeds(slot->started_at, now,
									   HEALTHY_SECONDS * 1000))
			slot->failures = 0;
		else
			slot->failures++;
		slot->not_before = slot->failures == 0 ? now :
			TimestampTzPlusMilliseconds(now, 1000 *
										Min(1 << Min(slot->failures - 1, 10),
											MAX_BACKOFF_SECONDS));
		slot->state = WA_SLOT_WANTED;
	}
	LWLockRelease(shared->lock);
}

/*
 * The worker of a slot could not be started, as there are too many of others.
 */
void
wa_shared_lacks_worker(int i)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->slots[i].lacks_worker = true;
	LWLockRelease(shared->lock);
}

/*
 * A database is gone, or is not for us.
 */
void
wa_shared_forget(int i)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (shared->slots[i].pid == 0 && shared->slots[i].nbars == 0)
		memset(&shared->slots[i], 0, sizeof(WaSlot));
	LWLockRelease(shared->lock);
}

/*
 * End the worker of a slot, if there is one.
 */
void
wa_shared_stop(int i)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	end_worker(&shared->slots[i]);
	LWLockRelease(shared->lock);
}

/*
 * Functions for the workers
 */

/*
 * Begin to be the worker of a slot.  Returns false if there is one already, or
 * is to be none.
 * The latch is to be set for a sender's sake only.
 */
bool
wa_shared_attach_worker(int i, bool is_sender)
{
	WaSlot	   *slot = &shared->slots[i];
	bool		attached = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (slot->nbars > 0)
		slot->ended_well = true;
	else if (slot->pid == 0 &&
			 slot->state == (is_sender ? WA_SLOT_STARTED : WA_SLOT_PROBING))
	{
		slot->pid = MyProcPid;
		slot->latch = is_sender ? MyLatch : NULL;
		slot->mode = WA_IS_SENDING;
		shared_tokens[i].ntokens = 0;
		attached = true;
	}
	LWLockRelease(shared->lock);

	if (attached)
	{
		my_slot = i;
		i_am_sender = is_sender;

		/*
		 * Not before PostgreSQL, too, counts us no longer in the database:
		 * what is to be called for that is registered later than this, and so
		 * called earlier.
		 */
		on_shmem_exit(detach_worker, (Datum) 0);
	}
	return attached;
}

/*
 * Tell who owns the extension in the database of our slot: InvalidOid if it
 * is not there.
 */
void
wa_shared_report_owner(Oid owner)
{
	WaSlot	   *slot = &shared->slots[my_slot];

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot->owner = owner;
	slot->ended_well = true;
	if (OidIsValid(owner))
		slot->state = WA_SLOT_FOUND;
	else if (slot->asked_again || slot->nbars > 0)
	{
		/* it may have been created just after we looked */
		slot->state = WA_SLOT_WANTED;
		slot->not_before = 0;
	}
	else
		slot->state = WA_SLOT_FREE;
	LWLockRelease(shared->lock);
}

/*
 * We are about to end because there is nothing left to do here, and it is
 * better to have the database looked at anew.
 */
void
wa_shared_end_well(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->slots[my_slot].ended_well = true;
	LWLockRelease(shared->lock);
}

/*
 * Show what we do on the whole.
 */
void
wa_shared_show_mode(WaSenderMode mode)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->slots[my_slot].mode = mode;
	LWLockRelease(shared->lock);
}

/*
 * Show how many tokens numbers have.
 */
void
wa_shared_show_tokens(const WaTokens *tokens, int ntokens)
{
	SharedTokens *mine = &shared_tokens[my_slot];

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	mine->ntokens = ntokens;
	memcpy(mine->tokens, tokens, sizeof(WaTokens) * ntokens);
	LWLockRelease(shared->lock);
}

/*
 * Functions for who wants to know
 */

/*
 * Are we a sender?
 */
bool
wa_shared_is_sender(void)
{
	return i_am_sender;
}

/*
 * Which process is the sender of a database?  0 if there is none.
 */
pid_t
wa_shared_sender_pid(Oid database)
{
	WaSlot	   *slot;
	pid_t		pid = 0;

	if (shared == NULL)
		return 0;
	LWLockAcquire(shared->lock, LW_SHARED);
	slot = find_sender(database);
	if (slot != NULL)
		pid = slot->pid;
	LWLockRelease(shared->lock);
	return pid;
}

/*
 * Fill in the tokens that the sender of a database shows, and return their
 * number.
 */
int
wa_shared_see_tokens(Oid database, WaTokens *tokens)
{
	WaSlot	   *slot;
	int			n = 0;

	if (shared == NULL)
		return 0;
	LWLockAcquire(shared->lock, LW_SHARED);
	slot = find_sender(database);
	if (slot != NULL)
	{
		SharedTokens *its = &shared_tokens[slot - shared->slots];

		n = its->ntokens;
		memcpy(tokens, its->tokens, sizeof(WaTokens) * n);
	}
	LWLockRelease(shared->lock);
	return n;
}

/*
 * See the slot of a database.  Returns false if it has none.
 */
bool
wa_shared_see_slot(Oid database, WaSlot *slot)
{
	WaSlot	   *found;

	if (shared == NULL)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	found = find_slot(database);
	if (found != NULL)
		*slot = *found;
	LWLockRelease(shared->lock);
	return found != NULL;
}

/*
 * Why has a database that has the extension no sender?
 */
WaTrouble
wa_shared_trouble(Oid database)
{
	WaSlot	   *slot;
	WaTrouble	trouble;

	if (shared == NULL)
		return WA_NOT_PRELOADED;
	LWLockAcquire(shared->lock, LW_SHARED);
	slot = find_slot(database);
	if (slot != NULL && slot->latch != NULL)
		trouble = WA_NO_TROUBLE;
	else if (shared->launcher_latch == NULL)
		trouble = WA_NO_LAUNCHER;
	else if (slot == NULL)
		trouble = find_free_slot() == NULL ? WA_NO_SLOT : WA_IS_STARTING;
	else if (slot->nbars > 0)
		trouble = WA_IS_BARRED;
	else if (slot->lacks_worker)
		trouble = WA_NO_WORKER;
	else if (slot->failures > 0)
		trouble = WA_HAS_FAILED;
	else
		trouble = WA_IS_STARTING;
	LWLockRelease(shared->lock);
	return trouble;
}

/*
 * Functions for who needs a database to be left by all
 */

/*
 * Have the worker of a database end, and no other started until as many calls
 * of wa_shared_unbar() have been made.  Returns false if there is no slot to
 * say so in.
 */
bool
wa_shared_bar(Oid database)
{
	WaSlot	   *slot;

	if (shared == NULL)
		return false;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot == NULL)
		slot = take_slot(database);
	if (slot != NULL)
	{
		slot->nbars++;
		end_worker(slot);
	}
	LWLockRelease(shared->lock);
	return slot != NULL;
}

/*
 * Take one such wish back.
 */
void
wa_shared_unbar(Oid database)
{
	WaSlot	   *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot != NULL && slot->nbars > 0)
		slot->nbars--;
	set_launcher_latch();
	LWLockRelease(shared->lock);
}

/*
 * Wait until the worker of a database has ended.  Returns false if it has not,
 * after so many ms.
 */
bool
wa_shared_wait_for_end(Oid database, long timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  timeout_ms);
	WaSlot		slot;
	bool		is_running;

	if (wait_event == 0)
		wait_event = new_wait_event("WhatsappSenderEnd");
	ConditionVariablePrepareToSleep(&shared->ended);
	while ((is_running = wa_shared_see_slot(database, &slot) &&
			slot.pid != 0))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (now >= end)
			break;
		ConditionVariableTimedSleep(&shared->ended,
									TimestampDifferenceMilliseconds(now, end),
									wait_event);
	}
	ConditionVariableCancelSleep();
	return !is_running;
}

/*
 * Internals
 */

static void
request_shared_memory(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(add_size(shared_size(), tokens_size()));
	RequestNamedLWLockTranche(TRANCHE_NAME, 1);
}

static void
start_shared_memory(void)
{
	bool		found;

	if (prev_shmem_startup)
		prev_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("whatsapp", shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		shared->lock = &GetNamedLWLockTranche(TRANCHE_NAME)->lock;
		ConditionVariableInit(&shared->ended);
		shared->nslots = max_worker_processes;
	}
	shared_tokens = ShmemInitStruct("whatsapp tokens", tokens_size(), &found);
	if (!found)
		memset(shared_tokens, 0, tokens_size());
	LWLockRelease(AddinShmemInitLock);
}

/*
 * There cannot be more senders than background workers.
 */
static Size
shared_size(void)
{
	return add_size(offsetof(SharedState, slots),
					mul_size(sizeof(WaSlot), max_worker_processes));
}

static Size
tokens_size(void)
{
	return mul_size(sizeof(SharedTokens), max_worker_processes);
}

static WaSlot *
find_slot(Oid database)
{
	for (int i = 0; i < shared->nslots; i++)
		if (shared->slots[i].state != WA_SLOT_FREE &&
			shared->slots[i].database == database)
			return &shared->slots[i];
	return NULL;
}

/*
 * The slot of a database whose sender is running, or NULL.
 */
static WaSlot *
find_sender(Oid database)
{
	WaSlot	   *slot = find_slot(database);

	return slot != NULL && slot->latch != NULL ? slot : NULL;
}

static WaSlot *
find_free_slot(void)
{
	for (int i = 0; i < shared->nslots; i++)
	{
		/* a probe that has found nothing may not be quite gone yet */
		if (shared->slots[i].state == WA_SLOT_FREE && shared->slots[i].pid == 0)
			return &shared->slots[i];
	}
	return NULL;
}

/*
 * Take a free slot for a database.  Returns NULL if there is none.
 */
static WaSlot *
take_slot(Oid database)
{
	WaSlot	   *slot = find_free_slot();

	if (slot != NULL)
	{
		memset(slot, 0, sizeof(WaSlot));
		slot->database = database;
		slot->state = WA_SLOT_WANTED;
	}
	return slot;
}

/*
 * Ask the worker of a slot to end.  It cannot be gone, and its process another,
 * as for that it has to come by here.
 */
static void
end_worker(WaSlot *slot)
{
	slot->ended_well = true;
	if (slot->pid != 0)
		kill(slot->pid, SIGTERM);
}

static void
set_launcher_latch(void)
{
	if (shared->launcher_latch != NULL)
		SetLatch(shared->launcher_latch);
}

static void
detach_launcher(int code, Datum arg)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher_latch = NULL;
	LWLockRelease(shared->lock);
}

static void
detach_worker(int code, Datum arg)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->slots[my_slot].pid = 0;
	shared->slots[my_slot].latch = NULL;
	set_launcher_latch();
	LWLockRelease(shared->lock);
	ConditionVariableBroadcast(&shared->ended);
}
