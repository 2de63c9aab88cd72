/*-------------------------------------------------------------------------
 *
 * front.c
 *	  Answer Meta's HTTP requests, whatever it is that passes them on.
 *
 * The front, a few lines in any language, hands over method, query string,
 * signature and body, and sends back what it is told to.  What each request
 * deserves is decided here:
 *
 *		GET		the handshake: 200 and the challenge, or 403
 *		POST	a webhook: 200 once it is filed, 401 if it is not Meta's,
 *				413 if it is larger than Meta's are
 *		others	405
 *
 * Nothing of a request is repeated in its answer but the challenge, and that
 * only to who knows the verify token.  Trouble that will pass is raised; the
 * front then answers 503, and Meta tries again.
 *
 * IDENTIFICATION
 *	  src/front.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "whatsapp.h"

#define HANDSHAKE_MODE	"subscribe"

/* A string that need not be text */
typedef struct FrontString
{
	const char *data;			/* NULL if there is none */
	size_t		len;
} FrontString;

typedef struct FrontAnswer
{
	int			status;
	const char *body;
} FrontAnswer;

static const FrontAnswer forbidden = {WA_HTTP_FORBIDDEN, "Forbidden"};
static const FrontAnswer wrong_method = {WA_HTTP_METHOD_NOT_ALLOWED, "Method Not Allowed"};

static FrontAnswer answer_request(const FrontString *method,
								  const FrontString *query,
								  const char *signature,
								  const FrontString *body);
static FrontAnswer answer_handshake(const FrontString *query);
static FrontAnswer answer_delivery(const FrontString *body,
								   const char *signature);
static bool is_handshake_good(const FrontString *mode,
							  const FrontString *token);
static bool equals(const FrontString *string, const char *expected);
static FrontString query_parameter(const FrontString *query, const char *name);
static FrontString url_decode(const char *data, size_t len);
static int	hex_value(char c);
static FrontString get_string(FunctionCallInfo fcinfo, int i);
static FrontString make_string(const char *data, size_t len);

PG_FUNCTION_INFO_V1(whatsapp_verify_webhook);
PG_FUNCTION_INFO_V1(whatsapp_handle_webhook);

/*
 * whatsapp.verify_webhook(mode text, verify_token text, challenge text)
 *		returns text
 */
Datum
whatsapp_verify_webhook(PG_FUNCTION_ARGS)
{
	FrontString mode = get_string(fcinfo, 0);
	FrontString token = get_string(fcinfo, 1);
	bool		good;

	wa_connect();
	good = is_handshake_good(&mode, &token);
	SPI_finish();

	if (!good || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(2));
}

/*
 * whatsapp.handle_webhook(method text, query text, signature text, body bytea)
 *		returns (status integer, content_type text, body text)
 */
Datum
whatsapp_handle_webhook(PG_FUNCTION_ARGS)
{
	FrontString method = get_string(fcinfo, 0);
	FrontString query = get_string(fcinfo, 1);
	FrontString signature = get_string(fcinfo, 2);
	FrontString body = get_string(fcinfo, 3);
	FrontAnswer answer;
	TupleDesc	tupdesc;
	Datum		values[3];
	bool		nulls[lengthof(values)] = {0};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	tupdesc = BlessTupleDesc(tupdesc);

	wa_connect();
	answer = answer_request(&method, &query,
							signature.data ? pnstrdup(signature.data, signature.len) : NULL,
							&body);
	SPI_finish();

	values[0] = Int32GetDatum(answer.status);
	values[1] = CStringGetTextDatum("text/plain");
	values[2] = CStringGetTextDatum(answer.body);
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

static FrontAnswer
answer_request(const FrontString *method, const FrontString *query,
			   const char *signature, const FrontString *body)
{
	if (equals(method, "GET"))
		return answer_handshake(query);
	if (equals(method, "POST"))
		return answer_delivery(body, signature);
	return wrong_method;
}

static FrontAnswer
answer_handshake(const FrontString *query)
{
	FrontString mode = query_parameter(query, "hub.mode");
	FrontString token = query_parameter(query, "hub.verify_token");
	FrontString challenge = query_parameter(query, "hub.challenge");
	bool		good = is_handshake_good(&mode, &token);
	FrontAnswer answer = {WA_HTTP_OK};

	/* the challenge has to be text to be given back as such */
	if (!good || challenge.data == NULL ||
		!pg_verify_mbstr(PG_UTF8, challenge.data, challenge.len, true))
		return forbidden;
	answer.body = challenge.data;
	return answer;
}

static FrontAnswer
answer_delivery(const FrontString *body, const char *signature)
{
	WaFiled		filed = wa_webhook_deliver(body->data ? body->data : "",
										   body->len, signature);
	FrontAnswer answer = {filed.http_status};

	switch (filed.http_status)
	{
		case WA_HTTP_UNAUTHORIZED:
			answer.body = "Unauthorized";
			break;
		case WA_HTTP_TOO_LARGE:
			answer.body = "Content Too Large";
			break;
		default:
			answer.body = "OK";
			break;
	}
	return answer;
}

/*
 * Does who asks know the verify token, and is a subscription what it is for?
 */
static bool
is_handshake_good(const FrontString *mode, const FrontString *token)
{
	bool		known = wa_is_verify_token(token->data ? token->data : "",
										   token->len);

	return known && token->len > 0 && equals(mode, HANDSHAKE_MODE);
}

static bool
equals(const FrontString *string, const char *expected)
{
	return string->data != NULL && string->len == strlen(expected) &&
		memcmp(string->data, expected, string->len) == 0;
}

/*
 * The value of a parameter in a query string: the first, should there be
 * several.
 */
static FrontString
query_parameter(const FrontString *query, const char *name)
{
	const char *start = query->data;
	const char *end;

	if (start == NULL)
		return make_string(NULL, 0);
	end = start + query->len;
	if (start < end && *start == '?')
		start++;
	while (start != NULL && start < end)
	{
		const char *next = memchr(start, '&', end - start);
		const char *stop = next ? next : end;
		const char *equal = memchr(start, '=', stop - start);
		FrontString key;

		key = url_decode(start, (equal ? equal : stop) - start);
		if (equals(&key, name))
			return equal ? url_decode(equal + 1, stop - equal - 1) :
				make_string("", 0);
		start = next ? next + 1 : NULL;
	}
	return make_string(NULL, 0);
}

/*
 * Undo the encoding of a part of a query string.  A percent sign that does
 * not begin an escape stands for itself.  The result is NUL-terminated.
 */
static FrontString
url_decode(const char *data, size_t len)
{
	char	   *decoded = palloc(len + 1);
	size_t		n = 0;

	for (size_t i = 0; i < len; i++)
	{
		if (data[i] == '+')
			decoded[n++] = ' ';
		else if (data[i] == '%' && i + 2 < len &&
				 hex_value(data[i + 1]) >= 0 && hex_value(data[i + 2]) >= 0)
		{
			decoded[n++] = (char) (hex_value(data[i + 1]) * 16 +
								   hex_value(data[i + 2]));
			i += 2;
		}
		else
			decoded[n++] = data[i];
	}
	decoded[n] = '\0';
	return make_string(decoded, n);
}

static int
hex_value(char c)
{
	const char *digits = "0123456789abcdef";
	const char *found = memchr(digits, pg_ascii_tolower((unsigned char) c), 16);

	return found ? found - digits : -1;
}

/*
 * An argument of type text or bytea.
 */
static FrontString
get_string(FunctionCallInfo fcinfo, int i)
{
	struct varlena *argument;

	if (PG_ARGISNULL(i))
		return make_string(NULL, 0);
	argument = PG_GETARG_VARLENA_PP(i);
	return make_string(VARDATA_ANY(argument), VARSIZE_ANY_EXHDR(argument));
}

static FrontString
make_string(const char *data, size_t len)
{
	FrontString string = {data, len};

	return string;
}
