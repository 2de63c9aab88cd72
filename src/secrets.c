/*-------------------------------------------------------------------------
 *
 * secrets.c
 *	  Compare what comes from outside with the secrets that were set.
 *
 * Several secrets may be valid at once, while one replaces another or because
 * there are several apps.  All of them are compared every time, so that the
 * time taken says nothing of which one matched.  Where there is none, nothing
 * matches; and one that is empty is none, or everybody would know it.
 *
 * A secret that was given with a number signs for that number only: what the
 * app of one customer tells must not be taken for news of another's.  It does
 * sign for numbers that have no secret of their own.
 *
 * The caller has called wa_connect().
 *
 * IDENTIFICATION
 *	  src/secrets.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "whatsapp.h"

static WaQuery select_secrets = {
	.sql = "SELECT s.source, s.value, s.name, s.phone_number_id"
	" FROM whatsapp.secrets s"
	" WHERE s.kind OPERATOR(pg_catalog.=) $1"
	" AND (s.valid_until IS NULL"
	" OR s.valid_until OPERATOR(pg_catalog.>) pg_catalog.now())",
	.nargs = 1,
	.types = {TEXTOID},
	.read_only = true,
};

/* The accounts of numbers */
static WaQuery select_wabas = {
	.sql = "SELECT n.waba_id FROM whatsapp.numbers n"
	" WHERE n.phone_number_id OPERATOR(pg_catalog.=) ANY ($1)"
	" AND n.waba_id IS NOT NULL",
	.nargs = 1,
	.types = {TEXTARRAYOID},
	.read_only = true,
};

/* Numbers that have a secret of their own */
static WaQuery select_numbers = {
	.sql = "SELECT n.phone_number_id, n.waba_id FROM whatsapp.numbers n"
	" WHERE n.app_secret_is_own",
	.read_only = true,
};

/* Numbers that have a secret which some other numbers have; NULL for all */
static WaQuery select_alike = {
	.sql = "SELECT DISTINCT o.phone_number_id FROM whatsapp.valid_secrets s"
	" JOIN whatsapp.valid_secrets o"
	" ON o.value OPERATOR(pg_catalog.=) s.value"
	" AND o.kind OPERATOR(pg_catalog.=) s.kind"
	" WHERE s.kind OPERATOR(pg_catalog.=) 'app_secret'"
	" AND s.phone_number_id OPERATOR(pg_catalog.=) ANY ($1)",
	.nargs = 1,
	.types = {TEXTARRAYOID},
	.read_only = true,
};

/* A secret that webhooks may be signed with */
typedef struct Secret
{
	const char *value;
	char	   *number;			/* that it is of, or NULL for all */
} Secret;

struct WaSecrets
{
	int			nsecrets;
	Secret		secrets[FLEXIBLE_ARRAY_MEMBER];
};

struct WaSigner
{
	bool		signs_for_all;
	List	   *numbers;		/* that have the secret, */
	bool		wabas_are_known;
	List	   *wabas;			/* and their accounts */
	bool		others_are_known;
	List	   *other_numbers;	/* that have another one, */
	List	   *other_wabas;	/* and their accounts */
};

static uint64 fetch_secrets(const char *kind);
static const char *fetched_secret(uint64 i);
static void find_wabas(WaSigner *signer);
static void find_others(WaSigner *signer);
static bool is_listed(const List *names, const char *name);

/*
 * Find the secrets that webhooks may be signed with now.
 */
WaSecrets *
wa_find_secrets(void)
{
	uint64		nfetched = fetch_secrets("app_secret");
	WaSecrets  *secrets = palloc(offsetof(WaSecrets, secrets) +
								 sizeof(Secret) * nfetched);
	SPITupleTable *fetched = SPI_tuptable;

	secrets->nsecrets = 0;
	for (uint64 i = 0; i < nfetched; i++)
	{
		Secret	   *secret = &secrets->secrets[secrets->nsecrets];
		const char *value = fetched_secret(i);

		if (value == NULL)
			continue;

		/* that of a file is as long there as the file is as it is */
		secret->value = pstrdup(value);
		secret->number = SPI_getvalue(fetched->vals[i], fetched->tupdesc, 4);
		secrets->nsecrets++;
	}
	SPI_freetuptable(fetched);
	return secrets;
}

/*
 * Who has signed the body?  NULL if that was not the app of anybody here.
 */
WaSigner *
wa_find_signer(const WaSecrets *secrets, const char *body, size_t len,
			   const char *signature)
{
	WaSigner   *signer = palloc0(sizeof(WaSigner));
	bool		is_signed = false;

	for (int i = 0; i < secrets->nsecrets; i++)
	{
		const Secret *secret = &secrets->secrets[i];
		bool		matches = wa_signature_matches(body, len, signature,
												   secret->value);

		is_signed |= matches;
		if (matches && secret->number == NULL)
			signer->signs_for_all = true;
		if (matches && secret->number != NULL)
			signer->numbers = lappend(signer->numbers, secret->number);
	}
	elog(DEBUG5, "compared a signature with %d secrets", secrets->nsecrets);
	return is_signed ? signer : NULL;
}

/*
 * Make who has signed something before, as wa_signer_numbers() has told it;
 * and by now some more numbers may be known to be of that app.
 */
WaSigner *
wa_make_signer(ArrayType *numbers)
{
	WaSigner   *signer = palloc0(sizeof(WaSigner));
	Datum		values[] = {PointerGetDatum(numbers)};
	Datum	   *elements;
	int			nelements;

	signer->wabas_are_known = true; /* as far as find_others() tells them */
	signer->signs_for_all = numbers == NULL;
	if (numbers == NULL)
		return signer;

	deconstruct_array(numbers, TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  NULL, &nelements);
	for (int i = 0; i < nelements; i++)
		signer->numbers = lappend(signer->numbers,
								  TextDatumGetCString(elements[i]));

	wa_execute(&select_alike, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *number = SPI_getvalue(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, 1);

		if (number == NULL)
			signer->signs_for_all = true;
		else
			signer->numbers = lappend(signer->numbers, number);
	}
	SPI_freetuptable(SPI_tuptable);
	return signer;
}

/*
 * The numbers that have the secret that was signed with, as text[], or NULL if
 * it signs for all.
 */
ArrayType *
wa_signer_numbers(const WaSigner *signer)
{
	Datum	   *elements;
	int			n = 0;
	ListCell   *cell;

	if (signer == NULL || signer->signs_for_all)
		return NULL;
	elements = palloc(sizeof(Datum) * list_length(signer->numbers));
	foreach(cell, signer->numbers)
		elements[n++] = CStringGetTextDatum(lfirst(cell));
	return construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * May it tell something of a number, and of an account?  Either may be NULL.
 */
bool
wa_signs_for(WaSigner *signer, const char *number, const char *waba)
{
	if (signer == NULL || signer->signs_for_all)
		return true;
	if (waba != NULL)
		find_wabas(signer);
	if ((number == NULL || is_listed(signer->numbers, number)) &&
		(waba == NULL || is_listed(signer->wabas, waba)))
		return true;

	find_others(signer);
	return !is_listed(signer->other_numbers, number) &&
		(is_listed(signer->wabas, waba) ||
		 !is_listed(signer->other_wabas, waba));
}

/*
 * Is this one of the verify tokens that were typed into Meta's dashboard?
 */
bool
wa_is_verify_token(const char *token, size_t len)
{
	uint64		nsecrets = fetch_secrets("verify_token");
	bool		matches = false;
	int			ncompared = 0;

	for (uint64 i = 0; i < nsecrets; i++)
	{
		const char *secret = fetched_secret(i);

		if (secret == NULL)
			continue;
		matches |= wa_same_secret(token, len, secret, strlen(secret));
		ncompared++;
	}
	elog(DEBUG5, "compared a verify token with %d secrets", ncompared);
	return matches;
}

/*
 * Fetch all secrets of a kind into SPI_tuptable, and return their number.
 */
static uint64
fetch_secrets(const char *kind)
{
	Datum		values[] = {CStringGetTextDatum(kind)};

	wa_execute(&select_secrets, values, NULL);
	return SPI_processed;
}

/*
 * One of them; NULL if it cannot be used.
 */
static const char *
fetched_secret(uint64 i)
{
	HeapTuple	tuple = SPI_tuptable->vals[i];
	TupleDesc	desc = SPI_tuptable->tupdesc;

	return wa_secret_value(SPI_getvalue(tuple, desc, 1),
						   SPI_getvalue(tuple, desc, 2),
						   SPI_getvalue(tuple, desc, 3));
}

/*
 * Find the accounts of the numbers that have the secret.  Most webhooks are
 * about numbers, and need not know.
 */
static void
find_wabas(WaSigner *signer)
{
	MemoryContext oldcontext;
	Datum		values[1];

	if (signer->wabas_are_known)
		return;

	/* this is as long known as the signer is */
	oldcontext = MemoryContextSwitchTo(GetMemoryChunkContext(signer));
	values[0] = PointerGetDatum(wa_signer_numbers(signer));
	wa_execute(&select_wabas, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		signer->wabas = lappend(signer->wabas,
								SPI_getvalue(SPI_tuptable->vals[i],
											 SPI_tuptable->tupdesc, 1));
	SPI_freetuptable(SPI_tuptable);
	MemoryContextSwitchTo(oldcontext);
	signer->wabas_are_known = true;
}

/*
 * Find the numbers that have a secret of their own which is not the signer's,
 * and whose accounts these are.
 */
static void
find_others(WaSigner *signer)
{
	MemoryContext oldcontext;

	if (signer->others_are_known)
		return;

	oldcontext = MemoryContextSwitchTo(GetMemoryChunkContext(signer));
	wa_execute(&select_numbers, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *number = SPI_getvalue(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, 1);
		char	   *waba = SPI_getvalue(SPI_tuptable->vals[i],
										SPI_tuptable->tupdesc, 2);

		if (!is_listed(signer->numbers, number))
		{
			signer->other_numbers = lappend(signer->other_numbers, number);
			if (waba != NULL)
				signer->other_wabas = lappend(signer->other_wabas, waba);
		}
		else if (waba != NULL)
			signer->wabas = lappend(signer->wabas, waba);
	}
	SPI_freetuptable(SPI_tuptable);
	MemoryContextSwitchTo(oldcontext);
	signer->others_are_known = true;
}

static bool
is_listed(const List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (name != NULL && strcmp(lfirst(cell), name) == 0)
		return true;
	return false;
}
