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
#include "utils/builtins.h"

#include "whatsapp.h"

static WaQuery select_secrets = {
	.sql = "SELECT s.value FROM whatsapp.secrets s"
	" WHERE s.kind OPERATOR(pg_catalog.=) $1"
	" AND s.value OPERATOR(pg_catalog.<>) ''",
	.nargs = 1,
	.types = {TEXTOID},
	.read_only = true,
};

static uint64 fetch_secrets(const char *kind);
static const char *fetched_secret(uint64 i);

/*
 * Was the body signed with the secret of any of our apps?
 */
bool
wa_is_signed(const char *body, size_t len, const char *signature)
{
	uint64		nsecrets = fetch_secrets("app_secret");
	bool		matches = false;

	for (uint64 i = 0; i < nsecrets; i++)
		matches |= wa_signature_matches(body, len, signature,
										fetched_secret(i));
	return matches;
}

/*
 * Is this one of the verify tokens that were typed into Meta's dashboard?
 */
bool
wa_is_verify_token(const char *token, size_t len)
{
	uint64		nsecrets = fetch_secrets("verify_token");
	bool		matches = false;

	for (uint64 i = 0; i < nsecrets; i++)
	{
		const char *secret = fetched_secret(i);

		matches |= wa_same_secret(token, len, secret, strlen(secret));
	}
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

static const char *
fetched_secret(uint64 i)
{
	return SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
}
