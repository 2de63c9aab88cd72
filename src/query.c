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

#include "whatsapp.h"

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
	int			result;

	if (query->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(query->sql, query->nargs, query->types);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare returned %s for %s",
				 SPI_result_code_string(SPI_result), query->sql);
		SPI_keepplan(plan);
		query->plan = plan;
	}

	result = SPI_execute_plan(query->plan, values, nulls, query->read_only, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan returned %s for %s",
			 SPI_result_code_string(result), query->sql);

	/* SPI leaves its own context behind, which ends with the connection */
	MemoryContextSwitchTo(context);
}
