/*-------------------------------------------------------------------------
 *
 * latency.c
 *	  Queue a row, and see how long it takes until somebody posts it.
 *
 *		latency ROWS QUEUE WAIT
 *
 * Is a server of HTTP/1.1 that answers like the Graph API, and a client of the
 * database that the PG* variables name, in one, so that one clock tells.  Prints
 * "listening on PORT"; then, once it gets SIGUSR1, does this for each row: the
 * statement QUEUE in a transaction, of which it takes the time when COMMIT is
 * sent off; the time when the first byte of a request is there; an answer; and
 * then the query WAIT, again and again, until it returns t.  Whoever has recorded
 * the answer may still look for more to do, and the next row is to find everybody
 * idle, so there is a pause.  Prints how long it was, in milliseconds, a line each.
 *
 * IDENTIFICATION
 *	  bench/latency.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS	64
#define MAX_REQUEST		65536
#define TIMEOUT			30000	/* ms */
#define PAUSE			5		/* ms; many times what anybody has left to do */

static PGconn *db;
static struct pollfd fds[MAX_CONNECTIONS + 1];	/* the first one listens */
static int	nfds = 1;
static long nanswers = 0;

static void
fail(const char *what)
{
	fprintf(stderr, "latency: %s\n", what);
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000.0 + t.tv_nsec / 1e6;
}

/*
 * Listen on a free port, and say which it is.
 */
static void
start_server(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t	len = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fds[0].fd = socket(AF_INET, SOCK_STREAM, 0);
	fds[0].events = POLLIN;
	if (bind(fds[0].fd, (struct sockaddr *) &address, len) != 0 ||
		listen(fds[0].fd, MAX_CONNECTIONS) != 0 ||
		getsockname(fds[0].fd, (struct sockaddr *) &address, &len) != 0)
		fail("cannot listen");
	printf("listening on %d\n", ntohs(address.sin_port));
	fflush(stdout);
}

static void
accept_connection(void)
{
	int			on = 1;

	if (nfds > MAX_CONNECTIONS)
		fail("too many connections");
	fds[nfds].fd = accept(fds[0].fd, NULL, NULL);
	fds[nfds].events = POLLIN;
	setsockopt(fds[nfds].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	nfds++;
}

/*
 * Wait for a request, and return on which connection it comes, before it is
 * read.
 */
static int
wait_for_request(void)
{
	for (;;)
	{
		if (poll(fds, nfds, TIMEOUT) <= 0)
			fail("no request comes");
		if (fds[0].revents != 0)
			accept_connection();
		for (int i = 1; i < nfds; i++)
		{
			char		c;

			if (fds[i].revents == 0)
				continue;
			if (recv(fds[i].fd, &c, 1, MSG_PEEK) > 0)
				return i;
			close(fds[i].fd);
			fds[i--] = fds[--nfds];
		}
	}
}

/*
 * Read a request, and answer it.
 */
static void
answer(int fd)
{
	static char request[MAX_REQUEST + 1];
	char		body[200];
	char		reply[400];
	size_t		len = 0;

	for (;;)
	{
		ssize_t		n = recv(fd, request + len, MAX_REQUEST - len, 0);
		char	   *end;
		char	   *length;

		if (n <= 0)
			fail("a request breaks off");
		len += n;
		request[len] = '\0';
		end = strstr(request, "\r\n\r\n");
		length = strcasestr(request, "\r\ncontent-length:");
		if (end != NULL && length != NULL &&
			len >= (size_t) (end + 4 - request) + atoi(length + 17))
			break;
	}
	snprintf(body, sizeof(body),
			 "{\"messaging_product\":\"whatsapp\",\"messages\":[{\"id\":\"wamid.latency%ld\"}]}",
			 ++nanswers);
	snprintf(reply, sizeof(reply),
			 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
			 strlen(body), body);
	if (send(fd, reply, strlen(reply), 0) != (ssize_t) strlen(reply))
		fail("a request cannot be answered");
}

/*
 * Run a statement, and say if it returned t.
 */
static bool
run(const char *statement)
{
	PGresult   *result = PQexec(db, statement);
	bool		is_true;

	if (PQresultStatus(result) != PGRES_COMMAND_OK &&
		PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(PQerrorMessage(db));
	is_true = PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), "t") == 0;
	PQclear(result);
	return is_true;
}

static double
measure(const char *queue, const char *wait)
{
	double		began;
	double		ended;
	int			i;

	run("BEGIN");
	run(queue);
	began = now();
	if (!PQsendQuery(db, "COMMIT"))
		fail(PQerrorMessage(db));
	i = wait_for_request();
	ended = now();
	PQclear(PQgetResult(db));
	while (PQgetResult(db) != NULL)
		;
	answer(fds[i].fd);
	while (!run(wait))
		;
	poll(NULL, 0, PAUSE);
	return ended - began;
}

int
main(int argc, char **argv)
{
	sigset_t	go;
	int			signal;
	int			nrows;

	if (argc != 4)
		fail("usage: latency ROWS QUEUE WAIT");
	sigemptyset(&go);
	sigaddset(&go, SIGUSR1);
	sigprocmask(SIG_BLOCK, &go, NULL);
	nrows = atoi(argv[1]);
	db = PQconnectdb("");
	if (PQstatus(db) != CONNECTION_OK)
		fail(PQerrorMessage(db));
	start_server();
	sigwait(&go, &signal);
	while (nrows-- > 0)
		printf("%.4f\n", measure(argv[2], argv[3]));
	PQfinish(db);
	return 0;
}
