/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The background worker that sees to it that each database with the
 *	  extension has a sender.
 *
 * It is connected to no database, and can see no more than which databases
 * there are.  Into each that is new to it, it sends a probe, a short-lived
 * worker that looks for the extension and says who owns it.  Later on, the
 * creation of an extension makes itself heard by waking the launcher, so that
 * databases without it are left alone.
 *
 * IDENTIFICATION
 *	  src/launcher.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/extension.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "whatsapp.h"

#define LAUNCHER_RESTART_SECONDS	1

/*
 * Probes at a time.  They are many when the server starts, and others want to
 * start workers, too.
 */
#define MAX_PROBES	2

/* A probe is slow after so many ms */
#define SLOW_PROBE	5000

/* pg_database.datconnlimit, once a DROP DATABASE has been interrupted */
#define INVALID_DATABASE	(-2)

typedef struct LauncherSlot
{
	BackgroundWorkerHandle *handle; /* NULL if we started no worker */
	bool		has_warned;		/* that none could be started */
} LauncherSlot;

static MemoryContext turn_context = NULL;	/* reset each turn */
static MemoryContext launcher_context = NULL;
static LauncherSlot *my_slots = NULL;
static List *known_databases = NIL; /* that have been probed, or will be */
static uint32 wait_event = 0;

static void start_launcher(void);
static void find_databases(void);
static List *list_databases(void);
static void forget_databases(const List *databases);
static void notice_ended(void);
static void see_to_slots(void);
static bool has_ended(int i, const WaSlot *slot);
static void start_worker(int i, const WaSlot *slot);
static long time_to_wait(void);
static Oid	extension_owner(void);

/*
 * Have the launcher started with the server.
 */
void
wa_launcher_register(void)
{
	BackgroundWorker worker = {0};

	snprintf(worker.bgw_name, BGW_MAXLEN, "whatsapp launcher");
	snprintf(worker.bgw_type, BGW_MAXLEN, "whatsapp launcher");
	snprintf(worker.bgw_library_name, MAXPGPATH, "whatsapp");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "whatsapp_launcher_main");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = LAUNCHER_RESTART_SECONDS;
	RegisterBackgroundWorker(&worker);
}

/*
 * The whole life of the launcher.
 */
void
whatsapp_launcher_main(Datum arg)
{
	start_launcher();

	for (;;)
	{
		/* no need to make an error of it; after 0 there would be no other */
		if (ProcDiePending)
			proc_exit(1);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		MemoryContextReset(turn_context);
		wa_shared_enable(wa_enabled);
		notice_ended();
		find_databases();
		see_to_slots();

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 time_to_wait(), wait_event);
		ResetLatch(MyLatch);
	}
}

/*
 * The whole life of a probe.  Its argument is its slot.
 */
void
whatsapp_probe_main(Datum arg)
{
	int			slot = DatumGetInt32(arg);
	Oid			owner;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	if (!wa_shared_attach_worker(slot, false))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(wa_shared_look(slot).database,
											  InvalidOid, 0);

	StartTransactionCommand();
	owner = extension_owner();
	CommitTransactionCommand();

	wa_shared_report_owner(owner);
	proc_exit(0);
}

static void
start_launcher(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("whatsapp launcher");

	launcher_context = AllocSetContextCreate(TopMemoryContext,
											 "whatsapp launcher",
											 ALLOCSET_DEFAULT_SIZES);
	turn_context = AllocSetContextCreate(TopMemoryContext,
										 "whatsapp launcher turn",
										 ALLOCSET_DEFAULT_SIZES);
	wait_event = new_wait_event("WhatsappLauncherMain");
	my_slots = MemoryContextAllocZero(launcher_context,
									  sizeof(LauncherSlot) * wa_shared_nslots());
	wa_shared_attach_launcher();
}

/*
 * Have databases probed that we do not know.
 */
static void
find_databases(void)
{
	List	   *databases = list_databases();
	ListCell   *cell;
	MemoryContext oldcontext;

	forget_databases(databases);
	wa_statistics_forget(databases);

	oldcontext = MemoryContextSwitchTo(launcher_context);
	foreach(cell, databases)
	{
		Oid			database = lfirst_oid(cell);

		if (!list_member_oid(known_databases, database) &&
			wa_shared_want(database))
			known_databases = lappend_oid(known_databases, database);
	}
	MemoryContextSwitchTo(oldcontext);
}

/*
 * The databases that one can connect to, but for templates.
 */
static List *
list_databases(void)
{
	List	   *databases = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext oldcontext;

		if (!database->datallowconn || database->datistemplate ||
			database->datconnlimit == INVALID_DATABASE)
			continue;
		oldcontext = MemoryContextSwitchTo(turn_context);
		databases = lappend_oid(databases, database->oid);
		MemoryContextSwitchTo(oldcontext);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(turn_context);
	return databases;
}

/*
 * Forget databases that are there no longer, or that nobody may connect to, and
 * their slots, and end their workers.  If there has been no slot for a database
 * that wanted one, forget them all, for it to be looked at again.
 */
static void
forget_databases(const List *databases)
{
	if (wa_shared_overflowed())
	{
		list_free(known_databases);
		known_databases = NIL;
	}

	for (int i = list_length(known_databases) - 1; i >= 0; i--)
		if (!list_member_oid(databases, list_nth_oid(known_databases, i)))
			known_databases = list_delete_nth_cell(known_databases, i);

	for (int i = 0; i < wa_shared_nslots(); i++)
	{
		WaSlot		slot = wa_shared_look(i);

		if (slot.state == WA_SLOT_FREE ||
			list_member_oid(databases, slot.database))
			continue;
		if (slot.pid != 0)
			wa_shared_stop(i);
		else if (slot.state == WA_SLOT_WANTED || slot.state == WA_SLOT_FOUND)
			wa_shared_forget(i);
	}
}

/*
 * Notice which workers have ended.
 */
static void
notice_ended(void)
{
	for (int i = 0; i < wa_shared_nslots(); i++)
	{
		WaSlot		slot = wa_shared_look(i);

		if (has_ended(i, &slot))
			wa_shared_ended(i);
	}
}

/*
 * Start what is to be started.
 */
static void
see_to_slots(void)
{
	int			nprobes = 0;

	for (int i = 0; i < wa_shared_nslots(); i++)
	{
		WaSlot		slot = wa_shared_look(i);

		/* one that waits for a lock keeps no other waiting */
		if (slot.state == WA_SLOT_PROBING)
			nprobes += !TimestampDifferenceExceeds(slot.started_at,
												   GetCurrentTimestamp(),
												   SLOW_PROBE);
		else if (slot.nbars > 0)
			continue;
		else if (slot.state == WA_SLOT_FOUND)
			start_worker(i, &slot);
		else if (slot.state == WA_SLOT_WANTED && nprobes < MAX_PROBES &&
				 slot.not_before <= GetCurrentTimestamp())
		{
			start_worker(i, &slot);
			nprobes++;
		}
	}
}

/*
 * Has the worker of a slot ended?  One that was started by a launcher before
 * us is known by its process only.
 */
static bool
has_ended(int i, const WaSlot *slot)
{
	BackgroundWorkerHandle *handle = my_slots[i].handle;
	pid_t		pid;

	if (handle == NULL)
		return slot->pid == 0;
	if (GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
		return false;
	pfree(handle);
	my_slots[i].handle = NULL;
	return true;
}

/*
 * Start the worker that a slot needs next: a probe, or a sender.
 */
static void
start_worker(int i, const WaSlot *slot)
{
	BackgroundWorker worker = {0};
	bool		is_sender = slot->state == WA_SLOT_FOUND;
	MemoryContext oldcontext;

	/* the one before may have said what it had to, and not be gone yet */
	if (my_slots[i].handle != NULL || slot->pid != 0)
		return;

	snprintf(worker.bgw_name, BGW_MAXLEN, "whatsapp %s for database %u",
			 is_sender ? "sender" : "probe", slot->database);
	snprintf(worker.bgw_type, BGW_MAXLEN, "whatsapp %s",
			 is_sender ? "sender" : "probe");
	snprintf(worker.bgw_library_name, MAXPGPATH, "whatsapp");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "%s",
			 is_sender ? "whatsapp_sender_main" : "whatsapp_probe_main");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = Int32GetDatum(i);
	worker.bgw_notify_pid = MyProcPid;

	wa_shared_starting(i);
	if (slot->failures == 0)
		my_slots[i].has_warned = false; /* it may have been another database */
	oldcontext = MemoryContextSwitchTo(launcher_context);
	if (RegisterDynamicBackgroundWorker(&worker, &my_slots[i].handle))
		my_slots[i].has_warned = false;
	else
	{
		my_slots[i].handle = NULL;
		wa_shared_lacks_worker(i);
		wa_shared_ended(i);
		if (!my_slots[i].has_warned)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("could not start %s: out of background worker slots",
							worker.bgw_name),
					 errhint("You might need to increase max_worker_processes.")));
		my_slots[i].has_warned = true;
	}
	MemoryContextSwitchTo(oldcontext);
}

/*
 * How long until there is something to be looked at or started, in ms?
 */
static long
time_to_wait(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = wa_poll_interval;

	for (int i = 0; i < wa_shared_nslots(); i++)
	{
		WaSlot		slot = wa_shared_look(i);

		if (slot.state == WA_SLOT_WANTED && slot.not_before > now)
			timeout = Min(timeout,
						  TimestampDifferenceMilliseconds(now, slot.not_before));
	}
	return timeout;
}

/*
 * Who owns the extension in this database?  InvalidOid if it is not there.
 */
static Oid
extension_owner(void)
{
	return OidIsValid(get_extension_oid("whatsapp", true)) ? wa_owner() :
		InvalidOid;
}
