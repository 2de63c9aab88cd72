/*-------------------------------------------------------------------------
 *
 * bare.c
 *	  Post lines of a file, as fast as libcurl can: the floor of what it takes
 *	  to send messages.
 *
 *		bare URL FILE IN_FLIGHT HTTP_VERSION [CA_FILE]
 *
 * Each line of the file is the body of a request.  So many are under way at a
 * time; the version of HTTP is 1 or 2.  What libcurl is asked for is what the
 * extension asks it for, but for what the extension needs to know how a
 * request has failed; and answers are read and thrown away.  Prints how many
 * seconds it took from before the first request to after the last answer.
 * Ends with status 1 if anything was not answered with status 200.
 *
 * IDENTIFICATION
 *	  bench/bare.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define MAX_EVENTS		256
#define TOKEN			"EAAJtokentoken"

/* As the extension has them, see http.c */
#define MAX_STREAMS		100L
#define MIN_CONNECTIONS	8L
#define MAX_KEPT_CONNECTIONS	1000L
#define UPLOAD_SIZE		16384L

static CURLM *multi;
static int	epoll_fd;
static long timeout_ms = -1;
static FILE *bodies;
static char *url;
static char *ca_file;
static bool wants_http2;
static struct curl_slist *headers = NULL;
static long nfailed = 0;

static void
fail(const char *what)
{
	fprintf(stderr, "bare: %s\n", what);
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static size_t
on_data(char *data, size_t size, size_t nmemb, void *arg)
{
	(void) data;
	(void) arg;
	return size * nmemb;
}

static int
on_timer(CURLM *m, long ms, void *arg)
{
	(void) m;
	(void) arg;
	timeout_ms = ms;
	return 0;
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct epoll_event event = {0};

	(void) easy;
	(void) arg;
	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) |
		(what & CURL_POLL_OUT ? EPOLLOUT : 0);
	event.data.fd = fd;
	epoll_ctl(epoll_fd, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
	if (known == NULL)
		curl_multi_assign(multi, fd, multi);	/* anything but NULL */
	return 0;
}

/*
 * Have a handle post the next line.  Returns false if there is none.
 */
static bool
post_next(CURL *easy)
{
	static char *line = NULL;
	static size_t size = 0;
	ssize_t		len = getline(&line, &size, bodies);

	if (len <= 0)
		return false;
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, len - 1);
	curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, line);
	curl_multi_add_handle(multi, easy);
	return true;
}

static CURL *
make_handle(void)
{
	CURL	   *easy = curl_easy_init();

	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_SIZE);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long) CURLAUTH_BEARER);
	curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, TOKEN);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "bare");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, ca_file != NULL ? 1L : 0L);
	if (ca_file != NULL)
		curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 30000L);
	return easy;
}

/*
 * Have handles that are done post more.  Returns how many could not, as there
 * is no more.
 */
static int
go_on(void)
{
	CURLMsg    *msg;
	int			nleft;
	int			nidle = 0;

	while ((msg = curl_multi_info_read(multi, &nleft)) != NULL)
	{
		CURL	   *easy = msg->easy_handle;
		long		status = 0;

		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		if ((msg->data.result != CURLE_OK || status != 200) && nfailed++ == 0)
			fprintf(stderr, "bare: status %ld, %s\n", status,
					curl_easy_strerror(msg->data.result));
		curl_multi_remove_handle(multi, easy);
		if (!post_next(easy))
			nidle++;
	}
	return nidle;
}

static void
wait_and_drive(void)
{
	struct epoll_event events[MAX_EVENTS];
	int			nrunning;
	int			n = epoll_wait(epoll_fd, events, MAX_EVENTS, timeout_ms);

	if (n == 0 || timeout_ms == 0)
	{
		timeout_ms = -1;
		curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &nrunning);
	}
	for (int i = 0; i < n; i++)
		curl_multi_socket_action(multi, events[i].data.fd,
								 (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
								 (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
								 (events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0),
								 &nrunning);
}

int
main(int argc, char **argv)
{
	int			nactive = 0;
	int			max_in_flight;
	double		began;

	if (argc < 5)
		fail("usage: bare URL FILE IN_FLIGHT HTTP_VERSION [CA_FILE]");
	url = argv[1];
	bodies = fopen(argv[2], "r");
	max_in_flight = atoi(argv[3]);
	wants_http2 = atoi(argv[4]) == 2;
	ca_file = argc > 5 ? argv[5] : NULL;
	if (bodies == NULL)
		fail("there is no such file");

	curl_global_init(CURL_GLOBAL_ALL);
	headers = curl_slist_append(headers, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Expect:");
	epoll_fd = epoll_create1(0);
	multi = curl_multi_init();
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, MAX_STREAMS);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, MAX_KEPT_CONNECTIONS);
	if (wants_http2)
		curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS,
						  2 * max_in_flight / MAX_STREAMS > MIN_CONNECTIONS ?
						  2 * max_in_flight / MAX_STREAMS : MIN_CONNECTIONS);

	began = now();
	while (nactive < max_in_flight && post_next(make_handle()))
		nactive++;
	while (nactive > 0)
	{
		wait_and_drive();
		nactive -= go_on();
	}
	printf("%.6f\n", now() - began);
	if (nfailed > 0)
	{
		fprintf(stderr, "bare: %ld requests have failed\n", nfailed);
		return 1;
	}
	return 0;
}
