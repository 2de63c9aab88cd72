/*-------------------------------------------------------------------------
 *
 * document.c
 *	  Read a JSON document that came from outside.
 *
 * The result is one jsonb, or the reason why there is none.  Nothing is
 * thrown for what the bytes are: a webhook that raised an error would be sent
 * again for days, and a reply that did would take the sender down.  So all
 * that jsonb's input function objects to is found before it is called:
 *
 *	- a document that is no JSON,
 *	- nesting that is too deep,
 *	- numbers that numeric cannot hold,
 *	- escapes that text cannot hold: \u0000 and halves of surrogate pairs,
 *	- bytes that are not UTF-8.
 *
 * The last two stand in names and captions that people typed and phones cut
 * in two.  They are mended, with U+FFFD in their place, and the rest is read.
 * What is too deep, and numbers that are too long, become strings: something
 * else in the same document may be worth to be read.
 *
 * An object that has a key twice is no error, and jsonb takes the last.  Here
 * too, something of what came is not in the result, and that is said.
 *
 * IDENTIFICATION
 *	  src/document.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "compat.h"
#include "whatsapp.h"

/* Meta's own documents are not nested a third as deep */
#define MAX_DEPTH			64

/*
 * Longer numbers, and greater exponents, are none that Meta has.  numeric
 * would take 131072 digits, and an exponent makes that many out of few.
 */
#define MAX_NUMBER_LEN		400
#define MAX_EXPONENT_LEN	4	/* with its sign */

/* The parser quotes what it cannot read, however much that is */
#define MAX_REASON_LEN		200

#define BYTE_ORDER_MARK		"\xEF\xBB\xBF"
#define REPLACEMENT_ESCAPE	"\\ufffd"
#define REPLACEMENT_BYTES	"\xEF\xBF\xBD"
#define ESCAPE_LEN			6	/* of \uXXXX */

/* What of a document is to be mended before it is parsed */
typedef struct DocumentScan
{
	bool		bad_characters;
	bool		immodest_numbers;
	bool		too_deep;
	int64		nkeys;			/* if it is JSON */
} DocumentScan;

static DocumentScan scan_document(const char *bytes, size_t len);
static int	sound_length(const char *bytes, const char *end, bool in_string);
static bool is_plain_escape(const char *bytes, const char *end);
static int	escaped_unit(const char *bytes, const char *end);
static int	number_length(const char *bytes, const char *end);
static bool is_modest_number(const char *number, int len);
static bool needs_mending(const DocumentScan *scan);
static const char *describe_mending(const DocumentScan *scan);
static char *mend_document(const char *bytes, size_t len, size_t *mended_len);
static const char *mend_nested(StringInfo mended, const char *bytes,
							   const char *end);
static const char *check_document(char *bytes, size_t len);
static int64 count_keys(Jsonb *document);

/*
 * Read a document.  Returns NULL if it cannot be read.  The remark is set to a
 * sentence that says why, or what of the document is not in the result; to
 * NULL if there is nothing to be said.
 */
Jsonb *
wa_document_read(const char *bytes, size_t len, const char **remark)
{
	DocumentScan scan;
	char	   *document;
	Jsonb	   *result;

	/* it is no part of JSON, but says nothing else than that this is UTF-8 */
	if (len >= strlen(BYTE_ORDER_MARK) &&
		memcmp(bytes, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0)
	{
		bytes += strlen(BYTE_ORDER_MARK);
		len -= strlen(BYTE_ORDER_MARK);
	}

	scan = scan_document(bytes, len);
	document = needs_mending(&scan) ? mend_document(bytes, len, &len) :
		pnstrdup(bytes, len);
	*remark = check_document(document, len);
	if (*remark != NULL)
		return NULL;

	result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												CStringGetDatum(document)));
	if (needs_mending(&scan))
		*remark = describe_mending(&scan);
	else if (count_keys(result) != scan.nkeys)
		*remark = "Some keys stood twice in one object, and the last was taken.";
	return result;
}

/*
 * Look over the bytes, in one pass and without knowing more of JSON than its
 * strings, numbers and brackets.
 */
static DocumentScan
scan_document(const char *bytes, size_t len)
{
	DocumentScan scan = {0};
	const char *end = bytes + len;
	bool		in_string = false;
	int			depth = 0;

	while (bytes < end)
	{
		int			step = sound_length(bytes, end, in_string);
		int			number = in_string ? 0 : number_length(bytes, end);

		if (step == 0)
		{
			scan.bad_characters = true;
			step = 1;
		}
		else if (number > 0)
		{
			scan.immodest_numbers |= !is_modest_number(bytes, number);
			step = number;
		}
		else if (*bytes == '"')
			in_string = !in_string;
		else if (!in_string && *bytes == ':')
			scan.nkeys++;
		else if (!in_string && (*bytes == '{' || *bytes == '['))
			scan.too_deep |= ++depth > MAX_DEPTH;
		else if (!in_string && (*bytes == '}' || *bytes == ']'))
			depth--;
		bytes += step;
	}
	return scan;
}

/*
 * How many bytes does the next character have, as it is written?  0 if it is
 * one that jsonb does not take.
 */
static int
sound_length(const char *bytes, const char *end, bool in_string)
{
	int			unit;

	if (in_string && *bytes == '\\')
	{
		unit = escaped_unit(bytes, end);
		if (unit < 0)
			return is_plain_escape(bytes, end) ? 2 : 1;
		if (unit == 0 || is_utf16_surrogate_second(unit))
			return 0;
		if (!is_utf16_surrogate_first(unit))
			return ESCAPE_LEN;
		unit = escaped_unit(bytes + ESCAPE_LEN, end);
		return unit > 0 && is_utf16_surrogate_second(unit) ?
			2 * ESCAPE_LEN : 0;
	}

	if (*bytes == '\0')
		return 0;
	if (!IS_HIGHBIT_SET(*bytes))
		return 1;

	unit = pg_utf_mblen((const unsigned char *) bytes);
	if (unit > end - bytes ||
		!pg_utf8_islegal((const unsigned char *) bytes, unit))
		return 0;
	return unit;
}

/*
 * Is the character after a backslash one that can be passed over with it?  A
 * backslash before any other is for the parser to complain about.
 */
static bool
is_plain_escape(const char *bytes, const char *end)
{
	return end - bytes > 1 && bytes[1] != '\0' && !IS_HIGHBIT_SET(bytes[1]);
}

/*
 * The UTF-16 unit that \uXXXX stands for, or -1 if that is not what is there.
 */
static int
escaped_unit(const char *bytes, const char *end)
{
	int			unit = 0;

	if (end - bytes < ESCAPE_LEN || bytes[0] != '\\' || bytes[1] != 'u')
		return -1;

	for (int i = 2; i < ESCAPE_LEN; i++)
	{
		char		c = bytes[i];

		if (c >= '0' && c <= '9')
			unit = unit * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			unit = unit * 16 + (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			unit = unit * 16 + (c - 'A' + 10);
		else
			return -1;
	}
	return unit;
}

/*
 * How many bytes does the number have that is here, or what looks like one?
 */
static int
number_length(const char *bytes, const char *end)
{
	int			len = 0;

	if (*bytes != '-' && (*bytes < '0' || *bytes > '9'))
		return 0;
	while (len < end - bytes && bytes[len] != '\0' &&
		   strchr("0123456789+-.eE", bytes[len]) != NULL)
		len++;
	return len;
}

/*
 * Is it sure that numeric can hold a number, and will not be long when it is
 * written without exponent?  What is no number is for the parser to complain
 * about.
 */
static bool
is_modest_number(const char *number, int len)
{
	int			mantissa = 0;
	char		exponent[MAX_EXPONENT_LEN + 1] = "";

	while (mantissa < len && number[mantissa] != 'e' &&
		   number[mantissa] != 'E')
		mantissa++;
	if (mantissa < len)
	{
		if (len - mantissa - 1 > MAX_EXPONENT_LEN)
			return !IsValidJsonNumber(number, len);
		memcpy(exponent, number + mantissa + 1, len - mantissa - 1);
	}
	return len + abs(atoi(exponent)) <= MAX_NUMBER_LEN ||
		!IsValidJsonNumber(number, len);
}

static bool
needs_mending(const DocumentScan *scan)
{
	return scan->bad_characters || scan->immodest_numbers || scan->too_deep;
}

/*
 * Say what has been mended.
 */
static const char *
describe_mending(const DocumentScan *scan)
{
	StringInfoData remark;

	initStringInfo(&remark);
	if (scan->bad_characters)
		appendStringInfoString(&remark,
							   " Some characters were replaced by U+FFFD.");
	if (scan->immodest_numbers)
		appendStringInfoString(&remark,
							   " Numbers that are out of range became strings.");
	if (scan->too_deep)
		appendStringInfo(&remark,
						 " What is nested more than %d levels deep became a string.",
						 MAX_DEPTH);
	return remark.data + 1;
}

/*
 * Copy a document, with something else for what jsonb would not take.
 */
static char *
mend_document(const char *bytes, size_t len, size_t *mended_len)
{
	StringInfoData mended;
	const char *end = bytes + len;
	bool		in_string = false;
	int			depth = 0;

	initStringInfo(&mended);
	while (bytes < end)
	{
		int			step = sound_length(bytes, end, in_string);
		int			number = in_string ? 0 : number_length(bytes, end);

		if (number > 0)
		{
			const char *quote = is_modest_number(bytes, number) ? "" : "\"";

			appendStringInfo(&mended, "%s%.*s%s", quote, number, bytes, quote);
			bytes += number;
		}
		else if (step > 0)
		{
			if (*bytes == '"')
				in_string = !in_string;
			else if (!in_string && (*bytes == '}' || *bytes == ']'))
				depth--;
			else if (!in_string && (*bytes == '{' || *bytes == '[') &&
					 ++depth > MAX_DEPTH)
			{
				bytes = mend_nested(&mended, bytes, end);
				depth--;
				continue;
			}
			appendBinaryStringInfo(&mended, bytes, step);
			bytes += step;
		}
		else if (*bytes == '\\')
		{
			appendStringInfoString(&mended, REPLACEMENT_ESCAPE);
			bytes += ESCAPE_LEN;
		}
		else
		{
			appendStringInfoString(&mended, REPLACEMENT_BYTES);
			bytes++;
		}
	}
	*mended_len = mended.len;
	return mended.data;
}

/*
 * Append an array or object as a string that has its text.  Returns where it
 * ends.
 */
static const char *
mend_nested(StringInfo mended, const char *bytes, const char *end)
{
	bool		in_string = false;
	int			depth = 0;

	appendStringInfoChar(mended, '"');
	do
	{
		int			step = sound_length(bytes, end, in_string);

		if (*bytes == '"')
			in_string = !in_string;
		else if (!in_string && (*bytes == '{' || *bytes == '['))
			depth++;
		else if (!in_string && (*bytes == '}' || *bytes == ']'))
			depth--;

		if (step == 0 && *bytes != '\\')
			appendStringInfoString(mended, REPLACEMENT_BYTES);
		for (int i = 0; i < step || (i == 0 && *bytes == '\\'); i++)
		{
			if (bytes[i] == '"' || bytes[i] == '\\')
				appendStringInfoChar(mended, '\\');
			if ((unsigned char) bytes[i] < ' ')
				appendStringInfo(mended, "\\u%04x", bytes[i]);
			else
				appendStringInfoChar(mended, bytes[i]);
		}
		bytes += Max(step, 1);
	} while (bytes < end && depth > 0);
	appendStringInfoChar(mended, '"');
	return bytes;
}

/*
 * Returns what is wrong with a document, or NULL.  Of its strings only the
 * form is looked at, as all else has been mended.
 */
static const char *
check_document(char *bytes, size_t len)
{
	JsonLexContext *lex = make_lex_context(bytes, len);
	JsonParseErrorType result = pg_parse_json(lex, &nullSemAction);
	const char *reason;

	if (result == JSON_SUCCESS)
		return NULL;
	reason = json_errdetail(result, lex);
	return pnstrdup(reason, pg_mbcliplen(reason, strlen(reason),
										 MAX_REASON_LEN));
}

static int64
count_keys(Jsonb *document)
{
	JsonbIterator *it = JsonbIteratorInit(&document->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	int64		nkeys = 0;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
		nkeys += token == WJB_KEY;
	return nkeys;
}
