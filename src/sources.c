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
 * What was read from a file is kept until it is another file, or has been
 * changed, which is looked at each time.  It is known since when a secret is
 * as it is, so that one that was refused can be told from one that has taken
 * its place: since the file was changed or, if we had another one before,
 * since we have noticed that.
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

#include "access/xact.h"
#include "fmgr.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

#ifdef __APPLE__
#define st_ctim st_ctimespec
#endif

#define VARIABLE_PREFIX "WHATSAPP_"
#define MAX_SECRET_SIZE	8192	/* bytes; tokens have some hundred */
#define MAX_NAME_SIZE	255

/* whatsapp.secret_directory */
char	   *wa_secret_directory = NULL;

/* A file that has been read */
typedef struct SourceFile
{
	const char *path;
	char	   *value;			/* NULL if there never was a good one */
	TimestampTz since;

	/* by which it is known to be the same */
	dev_t		device;
	ino_t		inode;
	off_t		size;
	TimestampTz changed_at;
} SourceFile;

static List *files = NIL;		/* of SourceFile, in the context */
static MemoryContext files_context = NULL;

static const char *find(const char *source, const char *name,
						const char **complaint, TimestampTz *since);
static const char *find_in_file(const char *name, const char **complaint,
								TimestampTz *since);
static SourceFile *known_file(const char *path);
static bool is_same(const SourceFile *file, const struct stat *info);
static const char *read_file(const char *path, char *value,
							 struct stat *info);
static void keep(SourceFile *file, const char *value,
				 const struct stat *info);
static TimestampTz changed_at(const struct stat *info);
static const char *find_in_environment(const char *name,
									   const char **complaint);
static bool is_name(const char *name);
static const char *complain_of(const char *value, size_t len);
static bool is_literal(const char *source);

PG_FUNCTION_INFO_V1(whatsapp_secret_value);
PG_FUNCTION_INFO_V1(whatsapp_secret_complaint);
PG_FUNCTION_INFO_V1(whatsapp_secret_since);

/*
 * A secret: itself, or what is in the file or variable of that name; NULL if
 * it cannot be used.
 */
const char *
wa_secret_value(const char *source, const char *value, const char *name)
{
	const char *complaint;
	TimestampTz since;

	if (!is_literal(source))
		return name == NULL ? NULL : find(source, name, &complaint, &since);
	if (value == NULL || complain_of(value, strlen(value)) != NULL)
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
	const char *told = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const char *complaint = NULL;
	TimestampTz since;

	if (is_literal(source))
		complaint = complain_of(told, strlen(told));
	else
		(void) find(source, told, &complaint, &since);
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
	const char *source = PG_ARGISNULL(0) ? "literal" :
	text_to_cstring(PG_GETARG_TEXT_PP(0));
	TimestampTz since = DT_NOBEGIN;
	const char *complaint;

	if (PG_ARGISNULL(2))
		PG_RETURN_NULL();
	if (!is_literal(source) && !PG_ARGISNULL(1))
		(void) find(source, text_to_cstring(PG_GETARG_TEXT_PP(1)), &complaint,
					&since);
	PG_RETURN_TIMESTAMPTZ(Max(PG_GETARG_TIMESTAMPTZ(2), since));
}

/*
 * Find a secret that is not in our table, and since when it is what it is.
 * Returns NULL, and why, if it cannot be used.
 */
static const char *
find(const char *source, const char *name, const char **complaint,
	 TimestampTz *since)
{
	*complaint = NULL;
	*since = PgStartTime;
	if (strcmp(source, "file") == 0)
		return find_in_file(name, complaint, since);
	return find_in_environment(name, complaint);
}

static const char *
find_in_file(const char *name, const char **complaint, TimestampTz *since)
{
	char		path[MAXPGPATH];
	char		value[MAX_SECRET_SIZE + 1];
	struct stat info;
	SourceFile *file;

	if (wa_secret_directory == NULL || wa_secret_directory[0] == '\0')
	{
		*complaint = "whatsapp.secret_directory is not set.";
		return NULL;
	}
	if (!is_name(name))
	{
		*complaint = "The name of a file is letters, digits and the characters . _ - without a dot in front, and has no directory in it.";
		return NULL;
	}

	snprintf(path, sizeof(path), "%s/%s", wa_secret_directory, name);
	file = known_file(path);
	if (file->value == NULL || stat(path, &info) != 0 || !is_same(file, &info))
	{
		*complaint = read_file(path, value, &info);
		if (*complaint != NULL)
			return NULL;
		keep(file, value, &info);
		explicit_bzero(value, sizeof(value));
	}
	*since = file->since;
	return file->value;
}

static SourceFile *
known_file(const char *path)
{
	MemoryContext oldcontext;
	SourceFile *file;
	ListCell   *cell;

	foreach(cell, files)
	{
		file = lfirst(cell);
		if (strcmp(file->path, path) == 0)
			return file;
	}

	if (files_context == NULL)
		files_context = AllocSetContextCreate(TopMemoryContext,
											  "whatsapp secrets",
											  ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(files_context);
	file = palloc0(sizeof(SourceFile));
	file->path = pstrdup(path);
	files = lappend(files, file);
	MemoryContextSwitchTo(oldcontext);
	return file;
}

static bool
is_same(const SourceFile *file, const struct stat *info)
{
	return file->device == info->st_dev && file->inode == info->st_ino &&
		file->size == info->st_size && file->changed_at == changed_at(info);
}

/*
 * Read a secret from a file.  Returns NULL, or what is the matter.
 */
static const char *
read_file(const char *path, char *value, struct stat *info)
{
	size_t		len = 0;
	ssize_t		n = 0;
	int			fd;
	int			error;

	/* what is no regular file might keep us waiting */
	fd = BasicOpenFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	if (fd < 0)
		return psprintf("The server cannot open the file: %m.");
	if (fstat(fd, info) != 0 || !S_ISREG(info->st_mode))
	{
		close(fd);
		return "It is no regular file.";
	}
	while (len <= MAX_SECRET_SIZE &&
		   (n = read(fd, value + len, MAX_SECRET_SIZE + 1 - len)) > 0)
		len += n;
	error = errno;
	close(fd);
	errno = error;

	if (n < 0)
		return psprintf("The server cannot read the file: %m.");
	if (len > MAX_SECRET_SIZE)
		return psprintf("The file has more than %d bytes.", MAX_SECRET_SIZE);
	while (len > 0 && (value[len - 1] == '\n' || value[len - 1] == '\r'))
		len--;
	value[len] = '\0';
	return complain_of(value, len);
}

static void
keep(SourceFile *file, const char *value, const struct stat *info)
{
	file->device = info->st_dev;
	file->inode = info->st_ino;
	file->size = info->st_size;
	file->changed_at = changed_at(info);
	if (file->value != NULL && strcmp(file->value, value) == 0)
		return;

	/* what this transaction claims is sent with the new one already */
	file->since = file->value != NULL ? GetCurrentTransactionStartTimestamp() :
		Min(file->changed_at, GetCurrentTransactionStartTimestamp());
	if (file->value != NULL)
		pfree(file->value);
	file->value = MemoryContextStrdup(files_context, value);
}

/*
 * When was a file changed, or put where it is?
 */
static TimestampTz
changed_at(const struct stat *info)
{
	return time_t_to_timestamptz(info->st_ctim.tv_sec) +
		info->st_ctim.tv_nsec / 1000;
}

static const char *
find_in_environment(const char *name, const char **complaint)
{
	const char *value = NULL;

	if (is_name(name) &&
		strncmp(name, VARIABLE_PREFIX, strlen(VARIABLE_PREFIX)) == 0)
		value = getenv(name);
	*complaint = value != NULL ? complain_of(value, strlen(value)) :
		"The server has no such environment variable; its name must begin with " VARIABLE_PREFIX ".";
	return *complaint == NULL ? value : NULL;
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
 * NULL, or what is the matter.
 */
static const char *
complain_of(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (value[i] < '!' || value[i] > '~')
			len = 0;
	return len == 0 ?
		"It must be visible ASCII characters, without spaces." : NULL;
}

static bool
is_literal(const char *source)
{
	return strcmp(source, "literal") == 0;
}
