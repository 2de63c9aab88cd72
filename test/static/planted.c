/*-------------------------------------------------------------------------
 *
 * planted.c
 *	  Mistakes that the programs of test/static.sh have to find
 *
 * A comment beside a mistake has what it is found as.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

typedef struct Planted
{
	int			number;
	struct Planted *next;
} Planted;

extern Planted *find_planted(int number);
extern void use_planted(Planted *planted);

extern void used_after_free(int number);
extern void used_after_pfree(void);
extern int	used_after_callee_pfrees(Planted *planted);
extern void pfreed_twice(void);
extern void freed_for_pfree(void);
extern void never_freed(int number);
extern int	null_of_callee(int number);
extern int	null_of_loop(Planted *planted);
extern int	null_of_other_branch(Planted *planted);
extern int	null_unless_error(Planted *planted);
extern void unchecked_malloc(void);
extern int	not_set(int number);
extern int	beyond_end(void);
extern int	never_so(int number);
extern int	divided_by_zero(Planted *planted);

void
used_after_free(int number)
{
	Planted    *planted = calloc(1, sizeof(Planted));

	if (planted == NULL)
		return;
	free(planted);
	planted->number = number;	/* -Wanalyzer-use-after-free -Wuse-after-free */
}

void
used_after_pfree(void)
{
	Planted    *planted = palloc0(sizeof(Planted));

	pfree(planted);
	planted->number = 1;		/* -Wanalyzer-use-after-free -Wuse-after-free */
}

static void
pfree_it(Planted *planted)
{
	pfree(planted);
}

int
used_after_callee_pfrees(Planted *planted)
{
	pfree_it(planted);
	return planted->number;		/* -Wanalyzer-use-after-free */
}

void
pfreed_twice(void)
{
	char	   *string = pstrdup("twice");

	pfree(string);
	pfree(string);				/* -Wanalyzer-double-free -Wuse-after-free */
}

void
freed_for_pfree(void)
{
	char	   *string = pstrdup("free");

	free(string);				/* -Wanalyzer-mismatching-deallocation -Wmismatched-dealloc */
}

void
never_freed(int number)
{
	char	   *string = strdup("leak");

	if (string == NULL || number > 3)
		return;					/* -Wanalyzer-malloc-leak */
	free(string);
}

static Planted *
find_greater(int number)
{
	return number > 3 ? find_planted(number) : NULL;
}

int
null_of_callee(int number)
{
	Planted    *planted = find_greater(number);

	return planted->number;		/* -Wanalyzer-null-dereference */
}

int
null_of_loop(Planted *planted)
{
	Planted    *found = NULL;

	for (; planted != NULL; planted = planted->next)
		if (planted->number == 4)
			found = planted;
	return found->number;		/* -Wanalyzer-null-dereference nullPointer */
}

int
null_of_other_branch(Planted *planted)
{
	if (planted != NULL)
		use_planted(planted);
	return planted->number;		/* nullPointerRedundantCheck */
}

/* and this is none */
int
null_unless_error(Planted *planted)
{
	if (planted == NULL)
		elog(ERROR, "does not go on");
	return planted->number;
}

void
unchecked_malloc(void)
{
	Planted    *planted = malloc(sizeof(Planted));

	planted->number = 1;		/* -Wanalyzer-possible-null-dereference */
	free(planted);
}

int
not_set(int number)
{
	int			result;

	if (number > 3)
		result = 1;
	return result;				/* -Wanalyzer-use-of-uninitialized-value uninitvar */
}

int
beyond_end(void)
{
	int			numbers[4] = {0};

	for (int i = 0; i <= 4; i++)
		numbers[i] = i;			/* arrayIndexOutOfBounds */
	return numbers[3];
}

int
never_so(int number)
{
	return number > 5 && number < 3;	/* incorrectLogicOperator */
}

int
divided_by_zero(Planted *planted)
{
	int			zero = 0;

	use_planted(planted);
	return planted->number / zero;	/* zerodiv */
}
