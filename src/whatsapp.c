/*-------------------------------------------------------------------------
 *
 * whatsapp.c
 *	  What happens when the library is loaded.
 *
 * In a session, that is when the first of its functions is called: settings
 * come to be, and nothing else, so that webhooks can be filed and messages
 * queued wherever the extension can be created.  Only to send takes workers
 * and shared memory, and these there can only be when the server starts, by
 * way of shared_preload_libraries.
 *
 * IDENTIFICATION
 *	  src/whatsapp.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "compat.h"
#include "whatsapp.h"

#define GRAPH_URL	"https://graph.facebook.com"
#define API_VERSION "v25.0"

#define MIN_RETENTION	(8 * 24 * 60)	/* minutes */

MODULE_MAGIC("whatsapp", WHATSAPP_VERSION);

/* Settings: whatsapp.api_version, graph_url and max_attempts */
static char *api_version = NULL;
static char *graph_url = NULL;
static int	max_attempts = 8;

static const struct config_enum_entry archive_options[] = {
	{"unfiled", WA_ARCHIVE_UNFILED, false},
	{"all", WA_ARCHIVE_ALL, false},
	{NULL, 0, false}
};

static const struct config_enum_entry unknown_policy_options[] = {
	{"hold", WA_UNKNOWN_HOLD, false},
	{"retry", WA_UNKNOWN_RETRY, false},
	{"fail", WA_UNKNOWN_FAIL, false},
	{NULL, 0, false}
};

static void define_settings(void);
static bool check_api_version(char **newval, void **extra, GucSource source);
static bool check_graph_url(char **newval, void **extra, GucSource source);
static bool check_retention(int *newval, void **extra, GucSource source);

PG_FUNCTION_INFO_V1(whatsapp_graph_endpoint);
PG_FUNCTION_INFO_V1(whatsapp_max_attempts);

void
_PG_init(void)
{
	define_settings();

	/* pg_upgrade's servers send nothing */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	wa_statistics_init();
	wa_shared_init();
	wa_databases_init();
	wa_launcher_register();
}

/*
 * whatsapp.graph_endpoint(api_version text) returns text
 *
 * That it is a function of ours has the library loaded, and the settings
 * known, in sessions that have not used it before.
 */
Datum
whatsapp_graph_endpoint(PG_FUNCTION_ARGS)
{
	const char *version = PG_ARGISNULL(0) ? api_version :
	text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *slash = graph_url[strlen(graph_url) - 1] == '/' ? "" : "/";

	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s%s%s", graph_url, slash,
											  version)));
}

/*
 * whatsapp.max_attempts() returns integer
 */
Datum
whatsapp_max_attempts(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(max_attempts);
}

/*
 * Settings, in alphabetical order.
 */
static void
define_settings(void)
{
	DefineCustomStringVariable("whatsapp.api_version",
							   "Version of the Graph API that is called.",
							   "A number may have its own, in whatsapp.numbers.",
							   &api_version, API_VERSION,
							   PGC_SIGHUP, 0, check_api_version, NULL, NULL);

	DefineCustomEnumVariable("whatsapp.archive",
							 "Which webhooks are kept as they came.",
							 "Those that could not be filed as a whole, or all.",
							 &wa_archive_wanted, WA_ARCHIVE_UNFILED, archive_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomStringVariable("whatsapp.ca_file",
							   "File of certificates to verify the Graph API's with.",
							   "If empty, those that libcurl was built to use.",
							   &wa_ca_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);

	DefineCustomIntVariable("whatsapp.connect_timeout",
							"Time in which a connection must come about.",
							NULL,
							&wa_connect_timeout, 5000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomBoolVariable("whatsapp.enabled",
							 "Whether the outbox is sent.",
							 "A message that is under way when this is set to off still ends.",
							 &wa_enabled, true,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomStringVariable("whatsapp.graph_url",
							   "Where the Graph API is.",
							   "Access tokens go there.",
							   &graph_url, GRAPH_URL,
							   PGC_SIGHUP, 0, check_graph_url, NULL, NULL);

	DefineCustomIntVariable("whatsapp.max_attempts",
							"How often it is tried to send a message, if Meta has trouble.",
							"What surely did not leave, or has to wait, does not count.",
							&max_attempts, 8, 1, 1000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("whatsapp.max_in_flight",
							"How many messages a database sends at the same time.",
							NULL,
							&wa_max_in_flight, 256, 1, 100000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomBoolVariable("whatsapp.notify",
							 "Whether NOTIFY tells of what webhooks bring.",
							 "The channel is \"whatsapp\". Commits wait for each other then.",
							 &wa_notify_wanted, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("whatsapp.poll_interval",
							"How long the sender waits before it looks for messages without having been woken.",
							NULL,
							&wa_poll_interval, 1000, 10, 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable("whatsapp.request_timeout",
							"Time in which a message must have been answered.",
							"Whether a message that was not has arrived is unknown.",
							&wa_request_timeout, 30000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable("whatsapp.retention_events",
							"How long events that webhooks have told of are kept.",
							"0 for ever.",
							&wa_retention_events, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MIN, check_retention, NULL, NULL);

	DefineCustomIntVariable("whatsapp.retention_messages",
							"How long messages are kept, with their media and reactions.",
							"0 for ever.",
							&wa_retention_messages, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MIN, check_retention, NULL, NULL);

	DefineCustomIntVariable("whatsapp.retention_outbox",
							"How long rows of the outbox are kept, once it is known what came of them.",
							"0 for ever.",
							&wa_retention_outbox, 30 * 24 * 60, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);

	DefineCustomIntVariable("whatsapp.retention_statuses",
							"How long statuses of messages are kept.",
							"0 for ever.",
							&wa_retention_statuses, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MIN, check_retention, NULL, NULL);

	DefineCustomIntVariable("whatsapp.retention_webhooks",
							"How long webhooks are kept that could be filed.",
							"0 for ever.",
							&wa_retention_webhooks, 30 * 24 * 60, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);

	DefineCustomStringVariable("whatsapp.secret_directory",
							   "Directory of files that secrets are read from.",
							   "If empty, none are.",
							   &wa_secret_directory, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);

	DefineCustomIntVariable("whatsapp.unknown_grace",
							"How long to wait for evidence of what has become of a message.",
							"After that, whatsapp.unknown_policy decides.",
							&wa_unknown_grace, 300000, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomEnumVariable("whatsapp.unknown_policy",
							 "What becomes of a message of which nobody knows if it was sent.",
							 "It may be left so, be sent again, although it may then come twice, or count as failed.",
							 &wa_unknown_policy, WA_UNKNOWN_HOLD, unknown_policy_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	MarkGUCPrefixReserved("whatsapp");
}

/*
 * It becomes a part of URLs.
 */
static bool
check_api_version(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] == 'v' && (*newval)[1] != '\0' &&
		strspn(*newval + 1, "0123456789.") == strlen(*newval + 1))
		return true;
	GUC_check_errdetail("A version is written as in \"%s\".", API_VERSION);
	return false;
}

static bool
check_graph_url(char **newval, void **extra, GucSource source)
{
	const char *url = *newval;

	for (const char *c = url; *c != '\0'; c++)
	{
		if (*c <= ' ' || *c > '~')
		{
			GUC_check_errdetail("A URL has no spaces or control characters.");
			return false;
		}
	}
	if (strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0)
		return true;
	GUC_check_errdetail("The URL must begin with \"https://\", or for tests with \"http://\".");
	return false;
}

/*
 * Meta delivers a webhook again for 7 days, and what is in it would come back.
 */
static bool
check_retention(int *newval, void **extra, GucSource source)
{
	if (*newval == 0 || *newval >= MIN_RETENTION)
		return true;
	GUC_check_errdetail("It must be 0 or at least 8 days, as Meta delivers a webhook again for up to 7 days.");
	return false;
}
