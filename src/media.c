/*-------------------------------------------------------------------------
 *
 * media.c
 *	  What follows from what Meta tells of a medium.
 *
 * These make generated columns.  In SQL, each was read from the catalog and
 * planned for every row, which took longer than all else that is done to file
 * one.
 *
 * IDENTIFICATION
 *	  src/media.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

/* How long Meta keeps what came with a message, and answers at its URL */
#define KEPT_FOR	(INT64CONST(168) * 3600 * USECS_PER_SEC)
#define URL_FOR		(INT64CONST(5) * 60 * USECS_PER_SEC)

/* A SHA-256 digest in base64: 43 digits, and one character that fills up */
#define BASE64_LEN	44

/* What an URL says of itself, in seconds since 1970 */
#define EXPIRY_PARAMETER	"ext="
#define MAX_EXPIRY_LEN		11

static bool find_expiry(const char *url, int len, int64 *seconds);
static TimestampTz later(TimestampTz at, int64 usecs);

PG_FUNCTION_INFO_V1(whatsapp_media_digest);
PG_FUNCTION_INFO_V1(whatsapp_url_expiry);
PG_FUNCTION_INFO_V1(whatsapp_media_expiry);

/*
 * whatsapp.media_digest(sha256 text) returns bytea
 */
Datum
whatsapp_media_digest(PG_FUNCTION_ARGS)
{
	text	   *sha256 = PG_GETARG_TEXT_PP(0);
	int			len = VARSIZE_ANY_EXHDR(sha256);
	const char *format = NULL;

	if (len == 2 * PG_SHA256_DIGEST_LENGTH &&
		strspn(text_to_cstring(sha256), "0123456789abcdefABCDEF") == len)
		format = "hex";
	else if (len == BASE64_LEN && VARDATA_ANY(sha256)[len - 1] == '=' &&
			 strspn(text_to_cstring(sha256),
					"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/") == len - 1)
		format = "base64";
	if (format == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall2(binary_decode,
										PointerGetDatum(sha256),
										CStringGetTextDatum(format)));
}

/*
 * whatsapp.url_expiry(url text, at timestamptz) returns timestamptz
 */
Datum
whatsapp_url_expiry(PG_FUNCTION_ARGS)
{
	text	   *url;
	int64		seconds;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	url = PG_GETARG_TEXT_PP(0);
	if (find_expiry(VARDATA_ANY(url), VARSIZE_ANY_EXHDR(url), &seconds))
		PG_RETURN_TIMESTAMPTZ(time_t_to_timestamptz(seconds));
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(later(PG_GETARG_TIMESTAMPTZ(1), URL_FOR));
}

/*
 * Find the first expiry that an URL has among its parameters.
 */
static bool
find_expiry(const char *url, int len, int64 *seconds)
{
	const char *end = url + len;

	for (const char *p = url; p < end; p++)
	{
		const char *digit = p + 1 + strlen(EXPIRY_PARAMETER);
		int			ndigits = 0;

		if ((*p != '?' && *p != '&') || digit >= end ||
			memcmp(p + 1, EXPIRY_PARAMETER, strlen(EXPIRY_PARAMETER)) != 0)
			continue;
		*seconds = 0;
		while (digit < end && ndigits <= MAX_EXPIRY_LEN &&
			   *digit >= '0' && *digit <= '9')
		{
			*seconds = *seconds * 10 + (*digit++ - '0');
			ndigits++;
		}
		if (ndigits > 0 && ndigits <= MAX_EXPIRY_LEN &&
			(digit == end || *digit == '&'))
			return true;
	}
	return false;
}

/*
 * whatsapp.media_expiry(at timestamptz) returns timestamptz
 */
Datum
whatsapp_media_expiry(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(later(PG_GETARG_TIMESTAMPTZ(0), KEPT_FOR));
}

static TimestampTz
later(TimestampTz at, int64 usecs)
{
	TimestampTz result;

	if (TIMESTAMP_NOT_FINITE(at))
		return at;
	if (pg_add_s64_overflow(at, usecs, &result) || !IS_VALID_TIMESTAMP(result))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return result;
}
