/*-------------------------------------------------------------------------
 *
 * http.c
 *	  Run HTTP requests side by side, on our latch.
 *
 * libcurl tells us which sockets it waits for, and until when; we wait for
 * those along with our latch, and tell libcurl what happened.  This has to be
 * so, rather than by curl_multi_poll(): setting a latch sends SIGURG, which
 * PostgreSQL blocks and reads from a descriptor of its own, so that a process
 * that sleeps in libcurl would not notice.
 *
 * A request is never repeated behind our back.  When a connection that was
 * used before turns out to be dead, libcurl sends the request once more over
 * a new one, though the server may have acted on the first; with
 * CURLOPT_POSTFIELDS it succeeds and nobody learns of it.  So the body comes
 * from a function of ours, which cannot go back once it has given a byte
 * away.  The same function tells, when a transfer has failed, whether
 * anything can have arrived: a request without its body is none.
 *
 * There is one exception.  A server of HTTP/2 may refuse a stream, or close a
 * connection and say which stream was the last that it has looked at.  Then it
 * surely has not acted on the request, which may be sent once more.  libcurl
 * does not tell us of that but by lines meant for people, so we listen to what
 * it says over TLS, and keep none of it.  Where it says nothing, as many
 * versions do of a stream refused on a connection that was used before, we do
 * not know better than that the request has left.
 *
 * libcurl's callbacks are called from within libcurl, so that they must not
 * throw, nor use palloc().  Signals are blocked while libcurl runs, as it may
 * start threads to resolve names, and those must not run our handlers.
 *
 * The caller must not be in a transaction while it waits here.
 *
 * IDENTIFICATION
 *	  src/http.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>
#include <signal.h>

#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "whatsapp.h"

/* CURLOPT_PROTOCOLS_STR */
#if LIBCURL_VERSION_NUM < 0x075500
#error "libcurl 7.85.0 or later is required"
#endif

#define USER_AGENT	"whatsapp-postgresql/" WHATSAPP_VERSION

/* More than an answer of the Graph API ever needs */
#define MAX_REPLY_SIZE	(1024 * 1024)
#define MAX_HEADER_SIZE	4096

/* What is shorter is a word of tests, and might be one of anything else */
#define MIN_SECRET_LEN	8

/* What the URL has in front of the proof that we know the app secret */
#define PROOF	"?appsecret_proof="

/*
 * How long connections and addresses are kept, in seconds.  Meta moves its
 * servers behind their names, and closes what is idle for longer.
 */
#define MAX_IDLE_SECONDS		50L
#define MAX_CONNECTION_SECONDS	300L
#define DNS_CACHE_SECONDS		60L

/*
 * How many requests share a connection of HTTP/2 at most, and how many
 * connections there are at least before we use no more of them than needed:
 * while none is established, libcurl would open one for each request.
 */
#define MAX_STREAMS		100L
#define MIN_CONNECTIONS	8L

/*
 * How many connections are kept for later, when few requests are under way.
 * By itself libcurl keeps four times as many as requests, and so closes most
 * of them between one batch and the next.
 */
#define MAX_KEPT_CONNECTIONS	1000L

/*
 * Bytes that a request has to write from: the least that there may be.  What
 * libcurl takes by itself is for files, and four times as much.
 */
#define UPLOAD_SIZE		16384L

/* Settings: whatsapp.connect_timeout, request_timeout (ms) and ca_file */
int			wa_connect_timeout = 5000;
int			wa_request_timeout = 30000;
char	   *wa_ca_file = NULL;

typedef struct HttpTransfer
{
	dlist_node	link;			/* in one of the lists below */
	CURL	   *easy;
	int64		outbox_id;
	char		nonce[WA_NONCE_LEN + 1];
	TimestampTz begun_at;
	TimestampTz due_at;
	TimestampTz sent_at;		/* or 0 */
	TimestampTz expires_at;		/* it is not to leave from then on */
	bool		is_withdrawn;
	char	   *usages[WA_NUSAGES]; /* malloc'ed, or NULL */
	char	   *access_token;	/* malloc'ed */
	char	   *url;			/* malloc'ed */
	char	   *body;			/* malloc'ed */
	size_t		body_len;
	size_t		body_read;		/* how much of it libcurl has taken */
	bool		is_refused;		/* and the server will not look at that */
	long		stream;			/* of HTTP/2, or 0, */
	int64		connection;		/* on this connection: libcurl's number of it
								 * and 1, or 0 */
	char	   *reply;			/* malloc'ed, or NULL */
	size_t		reply_len;
	size_t		reply_size;
	char		error[CURL_ERROR_SIZE];
} HttpTransfer;

static CURLM *multi = NULL;
static struct curl_slist *headers = NULL;
static MemoryContext transfer_context = NULL;
static dlist_head idle_transfers = DLIST_STATIC_INIT(idle_transfers);
static dlist_head active_transfers = DLIST_STATIC_INIT(active_transfers);
static dlist_head failed_transfers = DLIST_STATIC_INIT(failed_transfers);	/* to start */
static int	nin_flight = 0;		/* active and failed */

static WaitEventSet *wait_set = NULL;
static uint32 wait_event = 0;
static TimestampTz timer = DT_NOEND;	/* when libcurl wants to be called */

/* Connections that are to be closed, and the last stream that is looked at */
#define MAX_GOAWAYS		256

static struct
{
	int64		connection;		/* 0 if this is none */
	long		last_stream;
}			goaways[MAX_GOAWAYS];
static uint64 ngoaways = 0;		/* that there have been; the newest are kept */

static long max_connections = 0;	/* what libcurl was told, 0 for any number */
static bool shares_connections = true;	/* unless a server has shown otherwise */

static sigset_t saved_signals;

static HttpTransfer *get_transfer(void);
static CURLcode set_up(HttpTransfer *transfer, const WaRequest *request);
static bool is_plain(const char *url);
static void end_transfer(HttpTransfer *transfer, const char *why);
static void limit_connections(bool is_plain);
static void leave_connections(CURLcode result);
static void release_transfer(HttpTransfer *transfer);
static long time_left(long timeout_ms);
static void drive_sockets(void);
static CURLMcode drive_socket(curl_socket_t fd, int what);
static void check_result(CURLMcode result);
static HttpTransfer *finished_transfer(CURLcode *result);
static void make_reply(HttpTransfer *transfer, CURLcode result,
					   WaReply *reply);
static void take_answer(HttpTransfer *transfer, WaReply *reply);
static void blot_out_secrets(const HttpTransfer *transfer, char *said,
							 size_t len);
static void blot_out(char *said, size_t len, const char *secret);
static size_t spelt_len(const char *said, const char *end,
						const char *secret);
static bool is_escape(const char *said, char c);
static void block_signals(void);
static void unblock_signals(void);

static int	on_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
					  void *socketarg);
static int	on_timer(CURLM *m, long timeout_ms, void *arg);
static size_t on_read(char *buffer, size_t size, size_t nitems, void *arg);
static int	on_seek(void *arg, curl_off_t offset, int origin);
static size_t on_header(char *data, size_t size, size_t nitems, void *arg);
static size_t on_data(char *data, size_t size, size_t nmemb, void *arg);
static int	on_trace(CURL *easy, curl_infotype type, char *data, size_t size,
					 void *arg);
static void note_trace(HttpTransfer *transfer, const char *line);
static void note_connection(HttpTransfer *transfer, const char *line);
static void refuse_after(int64 connection, long last_stream);
static void refuse_if_late(HttpTransfer *transfer);

/*
 * Set up libcurl.  To be called once, before any other function here.
 */
void
wa_http_init(void)
{
	CURLcode	result;

	block_signals();
	result = curl_global_init(CURL_GLOBAL_DEFAULT);
	if (result == CURLE_OK)
		multi = curl_multi_init();
	unblock_signals();
	if (multi == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not initialize libcurl: %s",
						curl_easy_strerror(result))));

	/* an empty Expect: keeps libcurl from waiting to be asked for the body */
	headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (headers == NULL || curl_slist_append(headers, "Expect:") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));

	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, MAX_STREAMS);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, MAX_KEPT_CONNECTIONS);

	transfer_context = AllocSetContextCreate(TopMemoryContext,
											 "whatsapp transfers",
											 ALLOCSET_DEFAULT_SIZES);
	wait_event = new_wait_event("WhatsappSenderMain");
	wait_set = create_wait_set(3);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL,
					  NULL);
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, wa_sockets_open(), NULL,
					  NULL);
}

/*
 * Begin a transfer.  It makes progress in wa_http_wait(), and its outcome is
 * returned by wa_http_next_reply(), also if it could not begin.
 */
void
wa_http_start(const WaRequest *request)
{
	HttpTransfer *transfer = get_transfer();
	CURLcode	result;

	transfer->outbox_id = request->outbox_id;
	strlcpy(transfer->nonce, request->nonce, sizeof(transfer->nonce));
	transfer->begun_at = GetCurrentTimestamp();
	transfer->due_at = request->due_at;
	transfer->expires_at = request->expires_at;

	block_signals();
	limit_connections(is_plain(request->url));
	result = set_up(transfer, request);
	if (result == CURLE_OK &&
		curl_multi_add_handle(multi, transfer->easy) != CURLM_OK)
		result = CURLE_FAILED_INIT;
	unblock_signals();

	if (result != CURLE_OK)
		strlcpy(transfer->error, curl_easy_strerror(result), CURL_ERROR_SIZE);
	dlist_push_tail(result == CURLE_OK ? &active_transfers : &failed_transfers,
					&transfer->link);
	nin_flight++;
}

/*
 * How many transfers have begun whose reply has not been returned?
 */
int
wa_http_in_flight(void)
{
	return nin_flight;
}

/*
 * Fill in which outbox rows these are for, and return their number.
 */
int
wa_http_outbox_ids(int64 *ids)
{
	dlist_iter	iter;
	int			n = 0;

	dlist_foreach(iter, &active_transfers)
		ids[n++] = dlist_container(HttpTransfer, link, iter.cur)->outbox_id;
	dlist_foreach(iter, &failed_transfers)
		ids[n++] = dlist_container(HttpTransfer, link, iter.cur)->outbox_id;
	return n;
}

/*
 * Wait until there is something to do: our latch is set, the time is up, or
 * transfers can make progress, which they then do.  Returns if it was the
 * latch.  What the latch was set for, such as an interrupt, is the caller's to
 * see to.
 */
bool
wa_http_wait(long timeout_ms)
{
	WaitEvent	events[3];
	bool		latch_set = false;
	int			nevents;

	nevents = WaitEventSetWait(wait_set, time_left(timeout_ms), events,
							   lengthof(events), wait_event);
	for (int i = 0; i < nevents; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			latch_set = true;
		}
	}

	/* while the latch is set, nobody says whether sockets are ready */
	if (nevents > 0)
		drive_sockets();

	if (timer != DT_NOEND && GetCurrentTimestamp() >= timer)
	{
		CURLMcode	result;

		timer = DT_NOEND;
		block_signals();
		result = drive_socket(CURL_SOCKET_TIMEOUT, 0);
		unblock_signals();
		check_result(result);

		/* the first of many that have just left may have been answered */
		drive_sockets();
	}
	return latch_set;
}

/*
 * Fill in the outbox rows of transfers that have begun at least so long ago
 * (ms), and of whose body nothing has left yet.  Returns their number.
 */
int
wa_http_unsent_ids(int64 *ids, int age)
{
	TimestampTz now = GetCurrentTimestamp();
	dlist_iter	iter;
	int			n = 0;

	dlist_foreach(iter, &active_transfers)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, link, iter.cur);

		if (transfer->body_read == 0 &&
			TimestampDifferenceExceeds(transfer->begun_at, now, age))
			ids[n++] = transfer->outbox_id;
	}
	return n;
}

/*
 * End the transfer of a row, if nothing of its body has left yet.
 */
void
wa_http_withdraw(int64 outbox_id)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &active_transfers)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, link, iter.cur);

		if (transfer->outbox_id != outbox_id || transfer->body_read > 0)
			continue;
		transfer->is_withdrawn = true;
		end_transfer(transfer, "The message was not to be sent any more.");
	}
}

/*
 * End all transfers, as we are about to end ourselves.  Their replies say what
 * is known of them.
 */
void
wa_http_abandon(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &active_transfers)
		end_transfer(dlist_container(HttpTransfer, link, iter.cur),
					 "The background worker was asked to end.");
}

/*
 * Get the outcome of a transfer that has ended.  Returns false if there is
 * none.
 */
bool
wa_http_next_reply(WaReply *reply)
{
	CURLcode	result = CURLE_FAILED_INIT;
	HttpTransfer *transfer;

	if (!dlist_is_empty(&failed_transfers))
		transfer = dlist_head_element(HttpTransfer, link, &failed_transfers);
	else
		transfer = finished_transfer(&result);
	if (transfer == NULL)
		return false;

	dlist_delete(&transfer->link);
	make_reply(transfer, result, reply);
	if (reply->outcome == WA_UNKNOWN)
		leave_connections(result);
	release_transfer(transfer);
	nin_flight--;
	return true;
}

/*
 * Give back what a reply has.
 */
void
wa_http_free_reply(WaReply *reply)
{
	free(reply->body);
	for (int i = 0; i < WA_NUSAGES; i++)
		free(reply->usages[i]);
	free(reply->error);
	reply->body = NULL;
	memset(reply->usages, 0, sizeof(reply->usages));
	reply->error = NULL;
}

/*
 * Functions to make and release transfers
 */

static HttpTransfer *
get_transfer(void)
{
	if (!dlist_is_empty(&idle_transfers))
		return dlist_container(HttpTransfer, link,
							   dlist_pop_head_node(&idle_transfers));
	return MemoryContextAllocZero(transfer_context, sizeof(HttpTransfer));
}

/*
 * Prepare libcurl's handle for a request.
 */
static CURLcode
set_up(HttpTransfer *transfer, const WaRequest *request)
{
	CURL	   *easy;
	CURLcode	result;

	if (transfer->easy == NULL)
		transfer->easy = curl_easy_init();
	transfer->body = strdup(request->body);
	transfer->access_token = strdup(request->access_token);
	transfer->url = strdup(request->url);
	if (transfer->easy == NULL || transfer->body == NULL ||
		transfer->access_token == NULL || transfer->url == NULL)
		return CURLE_OUT_OF_MEMORY;
	transfer->body_len = strlen(transfer->body);
	easy = transfer->easy;

#define SET_OPTION(option, value) \
	if ((result = curl_easy_setopt(easy, option, value)) != CURLE_OK) \
		return result

	SET_OPTION(CURLOPT_URL, request->url);
	SET_OPTION(CURLOPT_HTTPHEADER, headers);
	SET_OPTION(CURLOPT_USERAGENT, USER_AGENT);
	SET_OPTION(CURLOPT_HTTPAUTH, (long) CURLAUTH_BEARER);
	SET_OPTION(CURLOPT_XOAUTH2_BEARER, request->access_token);

	/* the address is a superuser's choice, and with it, to do without TLS */
	SET_OPTION(CURLOPT_PROTOCOLS_STR, is_plain(request->url) ? "http" : "https");
	SET_OPTION(CURLOPT_FOLLOWLOCATION, 0L);
	SET_OPTION(CURLOPT_PROXY, "");	/* none, whatever the environment says */
	SET_OPTION(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (wa_ca_file != NULL && wa_ca_file[0] != '\0')
		SET_OPTION(CURLOPT_CAINFO, wa_ca_file);

	/*
	 * Over TLS, have requests share a connection rather than open more.
	 * Without, there is no telling if they may before a first answer is
	 * there, and to wait for that is to wait for the slowest.
	 */
	SET_OPTION(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	SET_OPTION(CURLOPT_PIPEWAIT, is_plain(request->url) ? 0L : 1L);
	SET_OPTION(CURLOPT_MAXAGE_CONN, MAX_IDLE_SECONDS);
	SET_OPTION(CURLOPT_MAXLIFETIME_CONN, MAX_CONNECTION_SECONDS);
	SET_OPTION(CURLOPT_DNS_CACHE_TIMEOUT, DNS_CACHE_SECONDS);

	SET_OPTION(CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_SIZE);
	SET_OPTION(CURLOPT_POST, 1L);
	SET_OPTION(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) transfer->body_len);
	SET_OPTION(CURLOPT_READFUNCTION, on_read);
	SET_OPTION(CURLOPT_READDATA, transfer);
	SET_OPTION(CURLOPT_SEEKFUNCTION, on_seek);
	SET_OPTION(CURLOPT_SEEKDATA, transfer);
	SET_OPTION(CURLOPT_HEADERFUNCTION, on_header);
	SET_OPTION(CURLOPT_HEADERDATA, transfer);
	SET_OPTION(CURLOPT_WRITEFUNCTION, on_data);
	SET_OPTION(CURLOPT_WRITEDATA, transfer);
	if (!is_plain(request->url))
	{
		/* on_trace() shows it to nobody: there are secrets in it */
		SET_OPTION(CURLOPT_DEBUGFUNCTION, on_trace);
		SET_OPTION(CURLOPT_DEBUGDATA, transfer);
		SET_OPTION(CURLOPT_VERBOSE, 1L);
	}

	SET_OPTION(CURLOPT_CONNECTTIMEOUT_MS, (long) wa_connect_timeout);
	SET_OPTION(CURLOPT_TIMEOUT_MS, (long) wa_request_timeout);
	SET_OPTION(CURLOPT_NOSIGNAL, 1L);	/* signals are PostgreSQL's business */
	SET_OPTION(CURLOPT_ERRORBUFFER, transfer->error);
	SET_OPTION(CURLOPT_PRIVATE, transfer);
#undef SET_OPTION
	return CURLE_OK;
}

/*
 * End a transfer before libcurl has.
 */
static void
end_transfer(HttpTransfer *transfer, const char *why)
{
	block_signals();
	curl_multi_remove_handle(multi, transfer->easy);
	unblock_signals();
	strlcpy(transfer->error, why, CURL_ERROR_SIZE);
	dlist_delete(&transfer->link);
	dlist_push_tail(&failed_transfers, &transfer->link);
}

/*
 * Have libcurl open no more connections than it takes, where requests can
 * share them.
 */
static void
limit_connections(bool is_plain)
{
	long		limit = 0;

	/* twice as many as there would be if all of them were full */
	if (!is_plain && shares_connections)
		limit = Max(MIN_CONNECTIONS, 2 * nin_flight / MAX_STREAMS);
	if (limit == max_connections || (limit > 0 && limit < max_connections))
		return;
	curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, limit);
	max_connections = limit;
}

/*
 * A connection has failed with a request on it.  Newer versions of libcurl may
 * keep it all the same, and lose the next request on it, too; they can be told
 * to begin anew.
 */
static void
leave_connections(CURLcode result)
{
#if LIBCURL_VERSION_NUM >= 0x081000
	if (result == CURLE_OPERATION_TIMEDOUT || result == CURLE_WRITE_ERROR)
		return;
	block_signals();
	curl_multi_setopt(multi, CURLMOPT_NETWORK_CHANGED,
					  (long) CURLMNWC_CLEAR_CONNS);
	unblock_signals();
#endif
}

static bool
is_plain(const char *url)
{
	return strncmp(url, "http://", strlen("http://")) == 0;
}

/*
 * Keep a transfer for another request, and libcurl's handle with it.
 */
static void
release_transfer(HttpTransfer *transfer)
{
	CURL	   *easy = transfer->easy;

	free(transfer->body);
	free(transfer->access_token);
	free(transfer->url);
	for (int i = 0; i < WA_NUSAGES; i++)
		free(transfer->usages[i]);
	free(transfer->reply);
	memset(transfer, 0, sizeof(HttpTransfer));

	/* its connection is kept, its options are not */
	if (easy != NULL)
		curl_easy_reset(easy);
	transfer->easy = easy;
	dlist_push_head(&idle_transfers, &transfer->link);
}

/*
 * Functions to drive libcurl
 */

/*
 * How long to wait: until the caller wants to go on, or libcurl does, or not
 * at all if there is something for the caller already.
 */
static long
time_left(long timeout_ms)
{
	long		timer_ms;

	if (!dlist_is_empty(&failed_transfers))
		return 0;
	if (timer == DT_NOEND)
		return timeout_ms;

	timer_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), timer);
	return Min(timer_ms, timeout_ms);
}

/*
 * Let libcurl have what happened to its sockets.
 */
static void
drive_sockets(void)
{
	WaSocketEvent events[WA_MAX_SOCKET_EVENTS];
	int			nevents = wa_sockets_ready(events, lengthof(events));
	CURLMcode	result = CURLM_OK;

	block_signals();
	for (int i = 0; i < nevents && result == CURLM_OK; i++)
		result = drive_socket(events[i].fd,
							  (events[i].readable ? CURL_CSELECT_IN : 0) |
							  (events[i].writable ? CURL_CSELECT_OUT : 0) |
							  (events[i].failed ? CURL_CSELECT_ERR : 0));
	unblock_signals();
	check_result(result);
}

/*
 * The caller has blocked signals.
 */
static CURLMcode
drive_socket(curl_socket_t fd, int what)
{
	int			nrunning;

	return curl_multi_socket_action(multi, fd, what, &nrunning);
}

static void
check_result(CURLMcode result)
{
	if (result != CURLM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not run HTTP requests: %s",
						curl_multi_strerror(result))));
}

/*
 * Take a transfer that has ended out of libcurl's hands.
 */
static HttpTransfer *
finished_transfer(CURLcode *result)
{
	CURLMsg    *msg;
	int			nleft;

	while ((msg = curl_multi_info_read(multi, &nleft)) != NULL)
	{
		CURL	   *easy = msg->easy_handle;
		HttpTransfer *transfer = NULL;

		/* CURLMSG_DONE is the only message so far */
		if (msg->msg != CURLMSG_DONE)
			continue;

		*result = msg->data.result;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);

		/* msg is gone once the handle has been removed */
		block_signals();
		curl_multi_remove_handle(multi, easy);
		unblock_signals();
		return transfer;
	}
	return NULL;
}

/*
 * Say what came of a transfer.
 */
static void
make_reply(HttpTransfer *transfer, CURLcode result, WaReply *reply)
{
	memset(reply, 0, sizeof(WaReply));
	reply->outbox_id = transfer->outbox_id;
	strlcpy(reply->nonce, transfer->nonce, sizeof(reply->nonce));
	reply->request_len = transfer->body_read;
	reply->due_at = transfer->due_at;
	reply->sent_at = transfer->sent_at;
	reply->ended_at = GetCurrentTimestamp();

	if (result == CURLE_OK)
	{
		take_answer(transfer, reply);
		reply->outcome = WA_ANSWERED;
		return;
	}

	reply->outcome = transfer->is_withdrawn ? WA_WITHDRAWN :
		transfer->body_read == 0 ? WA_NOT_SENT :
		transfer->is_refused ? WA_NOT_READ : WA_UNKNOWN;
	reply->error = strdup(transfer->error[0] != '\0' ? transfer->error :
						  curl_easy_strerror(result));
	if (reply->error != NULL)
		blot_out_secrets(transfer, reply->error, strlen(reply->error));

	/* a server may break a stream off once it has answered */
	if (reply->outcome == WA_UNKNOWN && result == CURLE_HTTP2_STREAM)
		take_answer(transfer, reply);
}

/*
 * What was received goes over to the reply.
 */
static void
take_answer(HttpTransfer *transfer, WaReply *reply)
{
	long		status = 0;
	long		version = CURL_HTTP_VERSION_NONE;
	curl_off_t	retry_after = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
	curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version);
	shares_connections = version >= CURL_HTTP_VERSION_2_0;
	reply->http_status = (int) status;
	reply->retry_after = (int) Min(retry_after, PG_INT32_MAX);
	reply->body = transfer->reply;
	reply->body_len = transfer->reply_len;
	transfer->reply = NULL;
	memcpy(reply->usages, transfer->usages, sizeof(reply->usages));
	memset(transfer->usages, 0, sizeof(transfer->usages));
	blot_out_secrets(transfer, reply->body, reply->body_len);
	for (int i = 0; i < WA_NUSAGES; i++)
		if (reply->usages[i] != NULL)
			blot_out_secrets(transfer, reply->usages[i],
							 strlen(reply->usages[i]));
}

/*
 * Blot out what a request has proven itself with.  Meta's errors may have it in
 * them, and are kept and logged; and so may libcurl's, if they tell what it has
 * received.
 */
static void
blot_out_secrets(const HttpTransfer *transfer, char *said, size_t len)
{
	const char *proof = transfer->url == NULL ? NULL :
	strstr(transfer->url, PROOF);

	if (said == NULL)
		return;
	if (transfer->access_token != NULL)
		blot_out(said, len, transfer->access_token);
	if (proof != NULL)
		blot_out(said, len, proof + strlen(PROOF));
}

static void
blot_out(char *said, size_t len, const char *secret)
{
	if (strlen(secret) < MIN_SECRET_LEN)
		return;
	for (size_t i = 0; i < len; i++)
		memset(said + i, '*', spelt_len(said + i, said + len, secret));
}

/*
 * In how many characters is a secret spelt that begins here?  0 if none does.
 * JSON may have any character in an escape.
 */
static size_t
spelt_len(const char *said, const char *end, const char *secret)
{
	const char *c = said;

	for (; *secret != '\0'; secret++)
	{
		if (end - c >= 6 && *c == '\\' && is_escape(c, *secret))
			c += 6;
		else if (end - c >= 2 && *c == '\\' && c[1] == *secret)
			c += 2;
		else if (c < end && *c == *secret)
			c++;
		else
			return 0;
	}
	return c - said;
}

static bool
is_escape(const char *said, char c)
{
	char		escape[sizeof("\\u0000")];

	snprintf(escape, sizeof(escape), "\\u%04x", (unsigned char) c);
	return pg_strncasecmp(said, escape, strlen(escape)) == 0;
}

static void
block_signals(void)
{
	sigset_t	all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &saved_signals);
}

static void
unblock_signals(void)
{
	sigprocmask(SIG_SETMASK, &saved_signals, NULL);
}

/*
 * Functions that libcurl calls
 */

/*
 * libcurl begins, changes or ends to wait for a socket.  To fail here makes
 * all its transfers fail.
 */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socketarg)
{
	if (what == CURL_POLL_REMOVE)
	{
		wa_sockets_forget(fd);
		return 0;
	}
	return wa_sockets_watch(fd, (what & CURL_POLL_IN) != 0,
							(what & CURL_POLL_OUT) != 0) ? 0 : -1;
}

/*
 * libcurl wants to be called after some time, or not at all if negative.
 */
static int
on_timer(CURLM *m, long timeout_ms, void *arg)
{
	if (timeout_ms < 0)
		timer = DT_NOEND;
	else
		timer = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	return 0;
}

/*
 * libcurl takes a piece of a request's body.  This is the last moment to stop
 * it.
 */
static size_t
on_read(char *buffer, size_t size, size_t nitems, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		len = Min(size * nitems,
						  transfer->body_len - transfer->body_read);

	if (transfer->body_read == 0)
	{
		transfer->sent_at = GetCurrentTimestamp();
		if (transfer->expires_at <= transfer->sent_at)
			return CURL_READFUNC_ABORT;
	}

	memcpy(buffer, transfer->body + transfer->body_read, len);
	transfer->body_read += len;
	return len;
}

/*
 * libcurl wants to send a body again, from the beginning.  It may if none of it
 * has left, or nobody has looked at what has.
 */
static int
on_seek(void *arg, curl_off_t offset, int origin)
{
	HttpTransfer *transfer = arg;

	if (offset != 0 || origin != SEEK_SET ||
		(transfer->body_read > 0 && !transfer->is_refused))
		return CURL_SEEKFUNC_FAIL;
	transfer->body_read = 0;
	transfer->is_refused = false;

	/* it has a new connection by now, and will have a new stream */
	transfer->stream = 0;
	return CURL_SEEKFUNC_OK;
}

/*
 * libcurl has received a header, with the end of its line, and no NUL.
 */
static size_t
on_header(char *data, size_t size, size_t nitems, void *arg)
{
	static const char *const names[WA_NUSAGES] = {
		"X-App-Usage:", "X-Business-Use-Case-Usage:"
	};
	HttpTransfer *transfer = arg;
	size_t		len = size * nitems;

	for (int i = 0; i < WA_NUSAGES; i++)
	{
		size_t		name_len = strlen(names[i]);

		if (len <= name_len || len > MAX_HEADER_SIZE ||
			pg_strncasecmp(data, names[i], name_len) != 0)
			continue;

		/* if there is no memory for it, nothing is lost */
		free(transfer->usages[i]);
		transfer->usages[i] = strndup(data + name_len, len - name_len);
	}
	return len;
}

/*
 * libcurl has received a piece of an answer.  Taking less than all of it
 * makes the transfer fail.
 */
static size_t
on_data(char *data, size_t size, size_t nmemb, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		len = size * nmemb;
	size_t		needed = transfer->reply_len + len;

	if (needed > MAX_REPLY_SIZE)
		return 0;
	if (needed > transfer->reply_size)
	{
		size_t		new_size = Max(1024, 2 * needed);
		char	   *bigger = realloc(transfer->reply, new_size);

		if (bigger == NULL)
			return 0;
		transfer->reply = bigger;
		transfer->reply_size = new_size;
	}
	memcpy(transfer->reply + transfer->reply_len, data, len);
	transfer->reply_len = needed;
	return len;
}

/*
 * libcurl says what it does, in lines that need not end with a NUL.
 */
static int
on_trace(CURL *easy, curl_infotype type, char *data, size_t size, void *arg)
{
	char		line[200];

	/* there are many of them, and few that matter */
	if (type != CURLINFO_TEXT || size == 0 || strchr("CHRU[r", data[0]) == NULL)
		return 0;

	size = Min(size, sizeof(line) - 1);
	memcpy(line, data, size);
	line[size] = '\0';
	note_trace(arg, line);
	return 0;
}

/*
 * Note which stream a request has become, and whether the server has said that
 * it will not look at it.  What the lines are depends on libcurl's version.
 */
static void
note_trace(HttpTransfer *transfer, const char *line)
{
	const char *last;
	long		stream;

	note_connection(transfer, line);
	if (sscanf(line, "Using Stream ID: %ld", &stream) == 1 ||
		(sscanf(line, "[HTTP/2] [%ld] ", &stream) == 1 &&
		 strstr(line, "OPENED") != NULL))
	{
		transfer->stream = stream;
		refuse_if_late(transfer);
	}
	else if (strstr(line, "GOAWAY") != NULL &&
			 (last = strstr(line, "last_stream=")) != NULL &&
			 sscanf(last, "last_stream=%ld", &stream) == 1)
		refuse_after(transfer->connection, stream);
	else if (strncmp(line, "REFUSED_STREAM, retrying", 24) == 0 ||
			 (sscanf(line, "HTTP/2 stream %ld ", &stream) == 1 &&
			  strstr(line, "refused by server") != NULL))
		transfer->is_refused = true;
}

/*
 * Note which connection a request is on: libcurl can be asked from 8.2 on, and
 * says it of itself before.
 */
static void
note_connection(HttpTransfer *transfer, const char *line)
{
#if LIBCURL_VERSION_NUM >= 0x080200
	curl_off_t	connection;

	if (curl_easy_getinfo(transfer->easy, CURLINFO_CONN_ID,
						  &connection) == CURLE_OK)
		transfer->connection = connection + 1;
#else
	const char *where = strstr(line, " (#");
	long		connection;

	if (sscanf(line, "Re-using existing connection #%ld ", &connection) == 1 ||
		(strncmp(line, "Connected to ", strlen("Connected to ")) == 0 &&
		 where != NULL && sscanf(where, " (#%ld)", &connection) == 1))
		transfer->connection = connection + 1;
#endif
}

/*
 * The server has said which stream on a connection is the last that it looks
 * at.
 */
static void
refuse_after(int64 connection, long last_stream)
{
	dlist_iter	iter;

	goaways[ngoaways % MAX_GOAWAYS].connection = connection;
	goaways[ngoaways % MAX_GOAWAYS].last_stream = last_stream;
	ngoaways++;
	dlist_foreach(iter, &active_transfers)
		refuse_if_late(dlist_container(HttpTransfer, link, iter.cur));
}

/*
 * Has the server said that it does not look at a request?  libcurl may use a
 * connection all the same.
 */
static void
refuse_if_late(HttpTransfer *transfer)
{
	if (transfer->connection == 0 || transfer->stream == 0)
		return;
	for (uint64 i = 0; i < Min(ngoaways, MAX_GOAWAYS); i++)
	{
		if (goaways[i].connection == transfer->connection &&
			transfer->stream > goaways[i].last_stream)
			transfer->is_refused = true;
	}
}
