/*-------------------------------------------------------------------------
 *
 * token.c
 *	  What a status says of the attempt that it is about.
 *
 * A request has "wa1.ROW.ATTEMPT.NONCE" in biz_opaque_callback_data, in front
 * of a dot and what was queued there, and each status of the message has it
 * again.  whatsapp.callback_token() writes it.
 *
 * IDENTIFICATION
 *	  src/token.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "whatsapp.h"

#define MAX_ROW_LEN		18		/* digits of the row's id, */
#define MAX_ATTEMPT_LEN	9		/* and of the number of the attempt */

static int	read_row(const text *token, int64 *row);
static int	read_nonce(const text *token);

PG_FUNCTION_INFO_V1(whatsapp_token_row);
PG_FUNCTION_INFO_V1(whatsapp_token_nonce);

/*
 * whatsapp.token_row(told text) returns bigint
 */
Datum
whatsapp_token_row(PG_FUNCTION_ARGS)
{
	int64		row;

	if (read_row(PG_GETARG_TEXT_PP(0), &row) == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(row);
}

/*
 * whatsapp.token_nonce(told text) returns text
 */
Datum
whatsapp_token_nonce(PG_FUNCTION_ARGS)
{
	text	   *token = PG_GETARG_TEXT_PP(0);
	int			at = read_nonce(token);

	if (at == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(VARDATA_ANY(token) + at,
											  WA_NONCE_LEN));
}

/*
 * Read the id of the row.  Returns where what follows it begins, or 0 if this
 * is no token.
 */
static int
read_row(const text *token, int64 *row)
{
	const char *data = VARDATA_ANY(token);
	int			len = VARSIZE_ANY_EXHDR(token);
	int			first = strlen(WA_TOKEN_PREFIX);
	int			i = first;

	if (len < first || memcmp(data, WA_TOKEN_PREFIX, first) != 0)
		return 0;
	for (*row = 0; i < len && i < first + MAX_ROW_LEN &&
		 data[i] >= '0' && data[i] <= '9'; i++)
		*row = *row * 10 + (data[i] - '0');
	if (i == first || i == len || data[i] != '.')
		return 0;
	return i + 1;
}

/*
 * Find the nonce.  Returns where it begins, or 0 if this is no token.
 */
static int
read_nonce(const text *token)
{
	const char *data = VARDATA_ANY(token);
	int			len = VARSIZE_ANY_EXHDR(token);
	int64		row;
	int			first = read_row(token, &row);
	int			i = first;

	while (first > 0 && i < len && i < first + MAX_ATTEMPT_LEN &&
		   data[i] >= '0' && data[i] <= '9')
		i++;
	if (i == first || i == len || data[i] != '.')
		return 0;
	first = ++i;
	while (i < len && i < first + WA_NONCE_LEN &&
		   ((data[i] >= '0' && data[i] <= '9') ||
			(data[i] >= 'a' && data[i] <= 'f')))
		i++;
	if (i != first + WA_NONCE_LEN || (i < len && data[i] != '.'))
		return 0;
	return first;
}
