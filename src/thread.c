/*-------------------------------------------------------------------------
 *
 * thread.c
 *	  Which conversation a message belongs to.
 *
 * These are in an index, and LEAKPROOF: they raise no error, and tell nobody
 * what they were called with.  So they may be asked of rows before it is known
 * that the role may see them, and the index is of use to roles that see rows
 * of some numbers only.
 *
 * IDENTIFICATION
 *	  src/thread.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "whatsapp.h"

static bool is_word(const text *value, const char *word);

PG_FUNCTION_INFO_V1(whatsapp_thread_key);
PG_FUNCTION_INFO_V1(whatsapp_is_note);

/*
 * whatsapp.thread_key(group_id text, user_id text, wa_id text) returns text
 */
Datum
whatsapp_thread_key(PG_FUNCTION_ARGS)
{
	const char *data;
	int			len;

	if (!PG_ARGISNULL(0))
	{
		text	   *group_id = PG_GETARG_TEXT_PP(0);
		int			prefix_len = strlen(WA_GROUP_PREFIX);
		text	   *key;

		len = VARSIZE_ANY_EXHDR(group_id);
		key = palloc(VARHDRSZ + prefix_len + len);
		SET_VARSIZE(key, VARHDRSZ + prefix_len + len);
		memcpy(VARDATA(key), WA_GROUP_PREFIX, prefix_len);
		memcpy(VARDATA(key) + prefix_len, VARDATA_ANY(group_id), len);
		PG_RETURN_TEXT_P(key);
	}
	if (!PG_ARGISNULL(1))
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	if (PG_ARGISNULL(2))
		PG_RETURN_NULL();

	/* what Meta calls a WhatsApp id has no + in front, but some people do */
	data = VARDATA_ANY(PG_GETARG_TEXT_PP(2));
	len = VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2));
	for (; len > 0 && *data == '+'; len--)
		data++;
	PG_RETURN_TEXT_P(cstring_to_text_with_len(data, len));
}

/*
 * whatsapp.is_note(type text) returns boolean
 */
Datum
whatsapp_is_note(PG_FUNCTION_ARGS)
{
	text	   *type;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	type = PG_GETARG_TEXT_PP(0);
	PG_RETURN_BOOL(is_word(type, "reaction") || is_word(type, "edit") ||
				   is_word(type, "revoke"));
}

static bool
is_word(const text *value, const char *word)
{
	return VARSIZE_ANY_EXHDR(value) == strlen(word) &&
		memcmp(VARDATA_ANY(value), word, strlen(word)) == 0;
}
