/*-------------------------------------------------------------------------
 *
 * pace.c
 *	  How many messages each number may send now, and where to look for them.
 *
 * Each number has a bucket of tokens.  It fills at the number's rate, up to
 * what may be sent in a tenth of a second; a message takes one.  An empty
 * bucket is waited for until it is half full, so that messages leave in small
 * bunches rather than in a transaction each.
 *
 * Numbers take turns: the one that was served the longest ago comes first.
 *
 * For each number we also know up to which row it has been read, so that rows
 * which have left, and are in the index all the same as somebody has an old
 * snapshot, are not read again and again.  That is but a short cut: rows may
 * turn up before it, so now and then it is to be forgotten.
 *
 * All of this is only in our memory.  A bucket that is lost with it holds no
 * more than a tenth of a second's worth.
 *
 * IDENTIFICATION
 *	  src/pace.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

#define USECS_PER_SECOND	1000000.0

/* For how long, in ms, a number counts as one that has messages */
#define SHARED_TIME			5000

typedef struct Pace
{
	char		phone_number_id[WA_NUMBER_LEN]; /* must be first */
	bool		is_open;		/* it may send at all */
	bool		is_wanting;		/* it may have messages, and had no tokens */
	double		rate;			/* tokens per second */
	double		tokens;
	TimestampTz filled_at;
	TimestampTz served_at;
	bool		has_position;
	int			position_priority;
	int64		position_id;
} Pace;

static HTAB *paces = NULL;

static Pace *get_pace(const char *phone_number_id);
static void fill(Pace *pace, TimestampTz now);
static double enough(const Pace *pace);
static int	compare_turns(const void *a, const void *b);

/*
 * The numbers that may send now, and how many messages per second; others may
 * not.
 */
void
wa_pace_open(const WaOpenNumber *numbers, int nnumbers)
{
	TimestampTz now = GetCurrentTimestamp();
	HASH_SEQ_STATUS status;
	Pace	   *pace;

	if (paces != NULL)
	{
		hash_seq_init(&status, paces);
		while ((pace = hash_seq_search(&status)) != NULL)
			pace->is_open = false;
	}
	for (int i = 0; i < nnumbers; i++)
	{
		pace = get_pace(numbers[i].phone_number_id);
		fill(pace, now);
		pace->rate = numbers[i].rate;
		pace->tokens = Min(pace->tokens, wa_bucket_size(pace->rate));
		pace->is_open = true;
	}
}

/*
 * What may be asked for now, of each number that has tokens, in turn.
 */
WaAllowance *
wa_pace_allow(int *nallowances)
{
	WaAllowance *allowances;
	HASH_SEQ_STATUS status;
	Pace	   *pace;

	*nallowances = 0;
	if (paces == NULL)
		return NULL;
	allowances = palloc(sizeof(WaAllowance) *
						(hash_get_num_entries(paces) + 1));
	hash_seq_init(&status, paces);
	while ((pace = hash_seq_search(&status)) != NULL)
	{
		WaAllowance *allowance = &allowances[*nallowances];

		if (!pace->is_open)
			continue;
		if (pace->tokens < (pace->is_wanting ? enough(pace) : 1))
		{
			pace->is_wanting = true;
			continue;
		}
		allowance->phone_number_id = pace->phone_number_id;
		allowance->max_rows = (int) Min(pace->tokens, PG_INT32_MAX);
		allowance->has_position = pace->has_position;
		allowance->priority = pace->position_priority;
		allowance->id = pace->position_id;
		allowance->served_at = pace->served_at;
		(*nallowances)++;
	}
	qsort(allowances, *nallowances, sizeof(WaAllowance), compare_turns);
	return allowances;
}

/*
 * A message of a number leaves.  If it was found by reading on, and not because
 * it was known, then all before it have been read.
 */
void
wa_pace_spend(const char *phone_number_id, int priority, int64 id,
			  bool was_read)
{
	Pace	   *pace = get_pace(phone_number_id);

	pace->tokens -= 1;
	pace->served_at = GetCurrentTimestamp();
	if (was_read &&
		(!pace->has_position || priority < pace->position_priority ||
		 (priority == pace->position_priority && id > pace->position_id)))
	{
		pace->has_position = true;
		pace->position_priority = priority;
		pace->position_id = id;
	}
}

/*
 * Do several numbers have messages, as far as we have seen lately?
 */
bool
wa_pace_is_shared(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int			nserved = 0;
	HASH_SEQ_STATUS status;
	Pace	   *pace;

	if (paces == NULL)
		return false;
	hash_seq_init(&status, paces);
	while ((pace = hash_seq_search(&status)) != NULL)
		nserved += pace->served_at != 0 &&
			!TimestampDifferenceExceeds(pace->served_at, now, SHARED_TIME);
	return nserved > 1;
}

/*
 * Numbers have been asked, as wa_pace_allow() said.  Those that have no tokens
 * left may have more to send.  Returns when there will be something to ask
 * for, DT_NOEND if that is all there is.
 */
TimestampTz
wa_pace_next(void)
{
	TimestampTz next = DT_NOEND;
	HASH_SEQ_STATUS status;
	Pace	   *pace;

	if (paces == NULL)
		return next;
	hash_seq_init(&status, paces);
	while ((pace = hash_seq_search(&status)) != NULL)
	{
		double		lacking;

		if (!pace->is_open)
			continue;
		if (pace->tokens < 1)
			pace->is_wanting = true;
		else if (pace->tokens >= enough(pace))
			pace->is_wanting = false;
		if (!pace->is_wanting)
			continue;
		lacking = Max(enough(pace) - pace->tokens, 0);
		next = Min(next, pace->filled_at +
				   (TimestampTz) ceil(lacking / pace->rate * USECS_PER_SECOND));
	}
	return next;
}

/*
 * Forget how far has been read.
 */
void
wa_pace_rewind(void)
{
	HASH_SEQ_STATUS status;
	Pace	   *pace;

	if (paces == NULL)
		return;
	hash_seq_init(&status, paces);
	while ((pace = hash_seq_search(&status)) != NULL)
		pace->has_position = false;
}

/*
 * Show others how many tokens there are.
 */
void
wa_pace_publish(void)
{
	WaTokens	tokens[WA_MAX_TOKENS];
	int			n = 0;
	HASH_SEQ_STATUS status;
	Pace	   *pace;

	if (paces == NULL)
		return;
	hash_seq_init(&status, paces);
	while ((pace = hash_seq_search(&status)) != NULL)
	{
		if (pace->served_at == 0 || n == WA_MAX_TOKENS)
			continue;
		strlcpy(tokens[n].phone_number_id, pace->phone_number_id,
				WA_NUMBER_LEN);
		tokens[n].rate = pace->rate;
		tokens[n].tokens = pace->tokens;
		tokens[n].at = pace->filled_at;
		n++;
	}
	wa_shared_show_tokens(tokens, n);
}

static Pace *
get_pace(const char *phone_number_id)
{
	Pace	   *pace;
	bool		found;

	if (paces == NULL)
	{
		HASHCTL		info = {0};

		info.keysize = WA_NUMBER_LEN;
		info.entrysize = sizeof(Pace);
		info.hcxt = TopMemoryContext;
		paces = hash_create("whatsapp paces", 16, &info,
							HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	pace = hash_search(paces, phone_number_id, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) pace + WA_NUMBER_LEN, 0, sizeof(Pace) - WA_NUMBER_LEN);
		pace->tokens = PG_INT32_MAX;	/* as many as it holds */
	}
	return pace;
}

static void
fill(Pace *pace, TimestampTz now)
{
	if (pace->filled_at != 0 && now > pace->filled_at)
		pace->tokens += pace->rate * (now - pace->filled_at) /
			USECS_PER_SECOND;
	pace->filled_at = now;
}

/*
 * How many tokens an empty bucket is waited for.
 */
static double
enough(const Pace *pace)
{
	return Max(wa_bucket_size(pace->rate) / 2, 1);
}

static int
compare_turns(const void *a, const void *b)
{
	TimestampTz at_a = ((const WaAllowance *) a)->served_at;
	TimestampTz at_b = ((const WaAllowance *) b)->served_at;

	return at_a < at_b ? -1 : at_a > at_b ? 1 : 0;
}
