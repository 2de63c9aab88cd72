/*-------------------------------------------------------------------------
 *
 * sockets.c
 *	  All sockets of libcurl in one descriptor that a latch can wait beside.
 *
 * A WaitEventSet cannot have sockets taken out of it, and building one anew
 * for a thousand sockets takes a millisecond.  So libcurl's sockets are in an
 * epoll descriptor of their own, which is readable when any of them has
 * something to tell, and only that is in the WaitEventSet.
 *
 * Where there is no epoll, kqueue does the same: the four functions here are
 * all that would have to be written for it.
 *
 * Nothing here throws but wa_sockets_open(), as libcurl's callbacks call it.
 *
 * IDENTIFICATION
 *	  src/sockets.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "whatsapp.h"

static int	epoll_fd = -1;

/*
 * Returns the descriptor to wait for.
 */
int
wa_sockets_open(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not create epoll descriptor: %m")));
	return epoll_fd;
}

/*
 * Begin to watch a socket, or watch it for something else.  Returns false if
 * that fails.
 */
bool
wa_sockets_watch(int fd, bool readable, bool writable)
{
	struct epoll_event event = {0};

	event.events = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0);
	event.data.fd = fd;
	return epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0 ||
		(errno == ENOENT &&
		 epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0);
}

/*
 * Watch a socket no longer.  One that has been closed is gone already.
 */
void
wa_sockets_forget(int fd)
{
	(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/*
 * Get sockets that have something to tell, without waiting.  Returns their
 * number.
 */
int
wa_sockets_ready(WaSocketEvent *events, int max_events)
{
	struct epoll_event ready[WA_MAX_SOCKET_EVENTS];
	int			n = epoll_wait(epoll_fd, ready,
							   Min(max_events, WA_MAX_SOCKET_EVENTS), 0);

	for (int i = 0; i < n; i++)
	{
		events[i].fd = ready[i].data.fd;
		events[i].readable = (ready[i].events & EPOLLIN) != 0;
		events[i].writable = (ready[i].events & EPOLLOUT) != 0;
		events[i].failed = (ready[i].events & (EPOLLERR | EPOLLHUP)) != 0;
	}
	return Max(n, 0);
}
