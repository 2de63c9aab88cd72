/*-------------------------------------------------------------------------
 *
 * sources.c
 *	  Where secrets are: in our table, in a file, or in the environment.
 *
 * A file is in whatsapp.secret_directory, and its name has no directory in
 * it; so whoever may say which file it is cannot have another one read.  For
 * the same reason a variable of the environment, which is the server's, has a
 * name that begins with WHATSAPP_.
 *
 * What was read is kept until the configuration is reloaded, or Meta refuses
 * it.  It is known since when a secret is as it is, so that one that was
 * refused can be told from one that has taken its place.
 *
 * No message says what is in a secret, nor how it was called: who mistakes one
 * argument for another gives the secret for the name.
 *
 * IDENTIFICATION
 *	  src/sources.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

#define VARIABLE_PREFIX "WHATSAPP_"
#define MAX_SECRET_SIZE	8192	/* bytes; tokens have some hundred */
#define MAX_NAME_SIZE	255

/* whatsapp.secret_directory */
char	   *wa_secret_directory = NULL;

typedef struct Source
{
	const char *kind;			/* "file" or "env" */
	const char *name;
	const char *value;			/* NULL if it cannot be used, */
	const char *complaint;		/* and why */
	TimestampTz since;
} Source;

static List *sources = NIL;		/* of Source, in the context */
static MemoryContext sources_context = NULL;
static TimestampTz read_at_reload = 0;	/* PgReloadTime then */

static const Source *find_source(const char *kind, const char *name);
static void read_file(const char *name, Source *source);
static const char *read_regular_file(int fd, char *value, TimestampTz *since);
static void read_variable(const char *name, Source *source);
static bool is_name(const char *name);
static const char *check_value(char *value, size_t len);
static bool is_literal(const char *source);

PG_FUNCTION_INFO_V1(whatsapp_secret_value);
PG_FUNCTION_INFO_V1(whatsapp_secret_complaint);
PG_FUNCTION_INFO_V1(whatsapp_secret_since);
PG_FUNCTION_INFO_V1(whatsapp_reread_secrets);

/*
 * A secret: itself, or what is in the file or variable of that name; NULL if
 * it cannot be used.
 */
const char *
wa_secret_value(const char *source, const char *value, const char *name)
{
	if (!is_literal(source))
		return name == NULL ? NULL : find_source(source, name)->value;
	if (value == NULL || check_value(pstrdup(value), strlen(value)) != NULL)
		return NULL;
	return value;
}

/*
 * whatsapp.secret_value(source text, value text, name text) returns text
 */
Datum
whatsapp_secret_value(PG_FUNCTION_ARGS)
{
	const char *value;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	value = wa_secret_value(text_to_cstring(PG_GETARG_TEXT_PP(0)),
							PG_ARGISNULL(1) ? NULL :
							text_to_cstring(PG_GETARG_TEXT_PP(1)),
							PG_ARGISNULL(2) ? NULL :
							text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(value));
}

/*
 * whatsapp.secret_complaint(source text, told text) returns text
 */
Datum
whatsapp_secret_complaint(PG_FUNCTION_ARGS)
{
	const char *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *told = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const char *complaint;

	if (is_literal(source))
		complaint = check_value(told, strlen(told));
	else
	{
		whatsapp_reread_secrets(NULL);
		complaint = find_source(source, told)->complaint;
	}
	if (complaint == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(complaint));
}

/*
 * whatsapp.secret_since(source text, name text, added_at timestamptz)
 *		returns timestamptz
 */
Datum
whatsapp_secret_since(PG_FUNCTION_ARGS)
{
	const char *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TimestampTz added_at = PG_GETARG_TIMESTAMPTZ(2);

	if (!is_literal(source))
		added_at = Max(added_at,
					   find_source(source,
								   text_to_cstring(PG_GETARG_TEXT_PP(1)))->since);
	PG_RETURN_TIMESTAMPTZ(added_at);
}

/*
 * whatsapp.reread_secrets() returns void
 */
Datum
whatsapp_reread_secrets(PG_FUNCTION_ARGS)
{
	read_at_reload = 0;
	return (Datum) 0;
}

/*
 * Find what is known of a file or variable; read it if nothing is.
 */
static const Source *
find_source(const char *kind, const char *name)
{
	MemoryContext oldcontext;
	Source	   *source;
	ListCell   *cell;

	if (sources_context == NULL)
		sources_context = AllocSetContextCreate(TopMemoryContext,
												"whatsapp secrets",
												ALLOCSET_SMALL_SIZES);
	if (read_at_reload != PgReloadTime)
	{
		sources = NIL;
		MemoryContextReset(sources_context);
		read_at_reload = PgReloadTime;
	}

	foreach(cell, sources)
	{
		source = lfirst(cell);
		if (strcmp(source->kind, kind) == 0 && strcmp(source->name, name) == 0)
			return source;
	}

	oldcontext = MemoryContextSwitchTo(sources_context);
	source = palloc0(sizeof(Source));
	source->kind = pstrdup(kind);
	source->name = pstrdup(name);
	if (strcmp(kind, "file") == 0)
		read_file(name, source);
	else
		read_variable(name, source);
	sources = lappend(sources, source);
	MemoryContextSwitchTo(oldcontext);
	return source;
}

static void
read_file(const char *name, Source *source)
{
	char		path[MAXPGPATH];
	char		value[MAX_SECRET_SIZE + 1];
	int			fd;

	if (wa_secret_directory == NULL || wa_secret_directory[0] == '\0')
	{
		source->complaint = "whatsapp.secret_directory is not set.";
		return;
	}
	if (!is_name(name))
	{
		source->complaint = "The name of a file is letters, digits and the characters . _ - without a dot in front, and has no directory in it.";
		return;
	}

	/* what is no regular file might keep us waiting */
	snprintf(path, sizeof(path), "%s/%s", wa_secret_directory, name);
	fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	if (fd < 0)
	{
		source->complaint = psprintf("The server cannot open the file: %m.");
		return;
	}
	source->complaint = read_regular_file(fd, value, &source->since);
	CloseTransientFile(fd);
	if (source->complaint == NULL)
		source->value = pstrdup(value);
	explicit_bzero(value, sizeof(value));
}

/*
 * Read a secret from an open file.  Returns NULL, or what is the matter.
 */
static const char *
read_regular_file(int fd, char *value, TimestampTz *since)
{
	struct stat info;
	size_t		len = 0;
	ssize_t		n;

	if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
		return "It is no regular file.";
	do
	{
		n = read(fd, value + len, MAX_SECRET_SIZE + 1 - len);
		if (n < 0)
			return psprintf("The server cannot read the file: %m.");
		len += n;
	} while (n > 0 && len <= MAX_SECRET_SIZE);
	if (len > MAX_SECRET_SIZE)
		return psprintf("The file has more than %d bytes.", MAX_SECRET_SIZE);

	/* a time that is yet to come says nothing */
	*since = time_t_to_timestamptz(info.st_mtime);
	if (*since > GetCurrentTimestamp())
		*since = DT_NOBEGIN;
	while (len > 0 && (value[len - 1] == '\n' || value[len - 1] == '\r'))
		len--;
	return check_value(value, len);
}

static void
read_variable(const char *name, Source *source)
{
	const char *value = is_name(name) &&
	strncmp(name, VARIABLE_PREFIX, strlen(VARIABLE_PREFIX)) == 0 ?
	getenv(name) : NULL;

	/* it has been so since the server was started */
	source->since = PgStartTime;
	if (value == NULL)
	{
		source->complaint = "The server has no such environment variable; its name must begin with " VARIABLE_PREFIX ".";
		return;
	}
	source->complaint = check_value(pstrdup(value), strlen(value));
	if (source->complaint == NULL)
		source->value = pstrdup(value);
}

static bool
is_name(const char *name)
{
	size_t		len = strlen(name);

	return len > 0 && len <= MAX_NAME_SIZE && name[0] != '.' &&
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			   "0123456789._-") == len;
}

/*
 * Can something be a secret?  It becomes a part of HTTP headers.  Returns
 * NULL, or what is the matter; and ends the string.
 */
static const char *
check_value(char *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (value[i] < '!' || value[i] > '~')
			len = 0;
	if (len == 0)
		return "It must be visible ASCII characters, without spaces.";
	value[len] = '\0';
	return NULL;
}

static bool
is_literal(const char *source)
{
	return strcmp(source, "literal") == 0;
}
