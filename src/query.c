/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Execute SQL with plans that are made once in the life of a backend.
 *
 * All access of ours to tables goes this way, so that row security,
 * partitions and distributed tables work as they do for anybody else.
 *
 * IDENTIFICATION
 *	  src/query.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/snapmgr.h"

#include "whatsapp.h"

static void prepare(WaQuery *query);
static void check(const WaQuery *query, int result);

/*
 * Connect to SPI, which is to be left by SPI_finish().  Memory goes on to come
 * from the context of the caller, so that what was made of a result outlives
 * the connection.
 */
void
wa_connect(void)
{
	MemoryContext context = CurrentMemoryContext;

	SPI_connect();
	MemoryContextSwitchTo(context);
}

/*
 * Execute a query, after wa_connect().  Its result is in SPI_processed and
 * SPI_tuptable.
 */
void
wa_execute(WaQuery *query, Datum *values, const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;

	prepare(query);
	check(query, SPI_execute_plan(query->plan, values, nulls,
								  query->read_only, 0));

	/* SPI leaves its own context behind, which ends with the connection */
	MemoryContextSwitchTo(context);
}

/*
 * Execute a query without parameters that only reads, and sees all that has
 * been committed by now, also in a transaction that would not.
 */
void
wa_execute_latest(WaQuery *query)
{
	MemoryContext context = CurrentMemoryContext;

	prepare(query);
	check(query, SPI_execute_snapshot(query->plan, NULL, NULL,
									  GetLatestSnapshot(), InvalidSnapshot,
									  true, false, 0));
	MemoryContextSwitchTo(context);
}

static void
prepare(WaQuery *query)
{
	SPIPlanPtr	plan;

	if (query->plan != NULL)
		return;

	/*
	 * A plan for the values of one execution may look cheaper, and would then
	 * be made again for each: that takes longer than most of ours run.
	 */
	plan = SPI_prepare_cursor(query->sql, query->nargs, query->types,
							  CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor returned %s for %s",
			 SPI_result_code_string(SPI_result), query->sql);
	SPI_keepplan(plan);
	query->plan = plan;
}

static void
check(const WaQuery *query, int result)
{
	if (result < 0)
		elog(ERROR, "SPI returned %s for %s",
			 SPI_result_code_string(result), query->sql);
}
