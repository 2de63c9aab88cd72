"""The HTTP front of the whatsapp extension, in Python.

It passes Meta's requests to whatsapp.handle_webhook() as they came, and the
answers back as they are.  All decisions are made in the database.  See
README.md for how to run it.

application is plain WSGI; run as a program, this is served by waitress, which
reads requests of slow senders without a thread for each.
"""

import contextlib
import http
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time

# psycopg without its part in C, which is what Debian has, would use select(),
# which cannot wait for the 1,025th file.
os.environ.setdefault("PSYCOPG_WAIT_FUNC", "wait_epoll")

import psycopg  # noqa: E402
import psycopg_pool  # noqa: E402
import waitress  # noqa: E402
import waitress.channel  # noqa: E402
import waitress.task  # noqa: E402
import waitress.utilities  # noqa: E402
import waitress.wasyncore  # noqa: E402

HANDLE_WEBHOOK = "SELECT status, content_type, body FROM whatsapp.handle_webhook(%s, %s, %s, %b)"

# The most that Meta sends, and the most that is read so as to be refused
MAX_BODY = 3 * 1024 * 1024
MAX_READ = 16 * 1024 * 1024

# In seconds: how long a request may take to come, how long to wait for what is
# under way when told to stop, how long the database may take, how long to wait
# for it if it does not even say so, and for how long then nobody else does
REQUEST_TIMEOUT = float(os.environ.get("REQUEST_TIMEOUT", "60"))
STOP_TIMEOUT = float(os.environ.get("STOP_TIMEOUT", "20"))
STATEMENT_TIMEOUT = 10
QUERY_TIMEOUT = 12
PAUSE = 1

# The database is the one that the PG* variables name.
pool = psycopg_pool.ConnectionPool(
    "", open=False, min_size=2, max_size=20, timeout=5, reconnect_timeout=5,
    kwargs={"autocommit": True, "connect_timeout": 5, "options": f"-c statement_timeout={STATEMENT_TIMEOUT}s"})


class Busy(Exception):
    """The database has just kept somebody waiting in vain."""

    until = 0


class Watch:
    """Cuts connections off on which the database does not answer in time."""

    def __init__(self):
        self.deadlines = {}
        self.lock = threading.Lock()

    @contextlib.contextmanager
    def over(self, connection):
        """Expect an answer on a connection within the block."""
        with self.lock:
            self.deadlines[connection] = time.monotonic() + QUERY_TIMEOUT
        try:
            yield
        finally:
            with self.lock:
                del self.deadlines[connection]

    def look(self):
        """See who is late.  What waits for the connection then finds it closed."""
        with self.lock:
            for connection, deadline in self.deadlines.items():
                if time.monotonic() > deadline and not connection.closed:
                    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
                        wire.shutdown(socket.SHUT_RDWR)


watch = Watch()


def application(environ, start_response):
    """Answer one request."""
    began = time.monotonic()
    entry = {"method": environ["REQUEST_METHOD"], "path": environ.get("PATH_INFO", "")}
    length = int(environ.get("CONTENT_LENGTH") or 0)
    content_type, text = "text/plain", None
    if entry["path"] != "/webhook":
        status = 404
    elif length > MAX_BODY:
        status = 413
    else:
        try:
            body = environ["wsgi.input"].read(length)
            entry["bytes"] = len(body)
            status, content_type, text = pass_on(environ, body)
        except Exception as error:  # pylint: disable=broad-except
            # Whatever it is, Meta comes again.  What the database says may have
            # a part of a message in it; its log has that.
            state = getattr(error, "sqlstate", None)
            entry["error"] = f"SQLSTATE {state}" if state else str(error).split("\n", maxsplit=1)[0]
            status = 503

    content = (http.HTTPStatus(status).phrase if text is None else text).encode()
    headers = [("Content-Type", content_type + "; charset=utf-8"), ("Content-Length", str(len(content)))]
    if status == 405:
        headers.append(("Allow", "GET, POST"))
    if status == 503:
        headers.append(("Retry-After", "5"))
    start_response(f"{status} {http.HTTPStatus(status).phrase}", headers)
    log(entry, status, began)
    return [] if entry["method"] == "HEAD" else [content]


def pass_on(environ, body):
    """Have the database answer: status, content type and body."""
    values = (environ["REQUEST_METHOD"], environ.get("QUERY_STRING"), environ.get("HTTP_X_HUB_SIGNATURE_256"), body)
    if time.monotonic() < Busy.until:
        raise Busy(Busy.__doc__)
    began = time.monotonic()
    try:
        with pool.connection() as connection:
            try:
                with watch.over(connection):
                    return connection.execute(HANDLE_WEBHOOK, values, prepare=True).fetchone()
            except psycopg.Error:
                # it may be dead, or lead to a server that is a standby by now
                connection.close()
                raise
    except (psycopg.Error, psycopg_pool.PoolTimeout):
        if time.monotonic() - began > PAUSE:
            Busy.until = time.monotonic() + PAUSE
        raise


def log(entry, status, began):
    """Write the line of a request: nothing of what it says, and not the query string, as that has the verify token."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"at": at, **entry, "status": status, "ms": round((time.monotonic() - began) * 1000, 3)}
    try:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    except OSError:
        # a full disk is no reason not to answer
        pass


class Refusal(waitress.task.ErrorTask):
    """Answers what waitress cannot read, without repeating any of it."""

    def execute(self):
        """Answer it."""
        error = self.request.error
        if error.code >= 500:
            error = self.request.error = waitress.utilities.BadRequest("")
        error.body = ""
        log({"method": None, "path": None, "error": error.reason}, error.code, time.monotonic())
        super().execute()


def close_late(server):
    """Close connections whose request takes too long to come; waitress only knows of those that are silent."""
    now = time.monotonic()
    for channel in list(server.active_channels.values()):
        request = channel.request
        if request is not None:
            request.since = getattr(request, "since", now)
            if now - request.since > REQUEST_TIMEOUT:
                channel.will_close = True


def close_idle(server):
    """Close connections on which nothing is under way."""
    for channel in list(server.active_channels.values()):
        if channel.request is None and not channel.requests:
            channel.close_when_flushed = True


def serve(server, connections):
    """Serve until told to stop, then finish what is under way."""
    stop_by = None
    looked = 0

    def stop(_signum, _frame):
        nonlocal stop_by
        stop_by = stop_by or time.monotonic() + STOP_TIMEOUT
        server.pull_trigger()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while stop_by is None or (server.active_channels and time.monotonic() < stop_by):
        waitress.wasyncore.loop(timeout=1, use_poll=True, map=connections, count=1)
        if time.monotonic() - looked > 1:
            looked = time.monotonic()
            watch.look()
            close_late(server)
        if stop_by is not None:
            if server.accepting:
                # (not server.close(), as that would close what wakes us, too)
                waitress.wasyncore.dispatcher.close(server)
            close_idle(server)
    server.task_dispatcher.shutdown(timeout=1)


def main():
    """Serve on HOST and PORT."""
    # a connection is a file, and often no more than 1,024 are allowed
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # it is as it should be that requests wait for a thread
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    waitress.channel.HTTPChannel.error_task_class = Refusal

    connections = {}
    pool.open()
    server = waitress.create_server(
        application, map=connections, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "3000")),
        threads=20, connection_limit=2000, channel_timeout=REQUEST_TIMEOUT, max_request_body_size=MAX_READ, ident=None)
    print(f"listening on {server.effective_port}", flush=True)
    serve(server, connections)
    pool.close(timeout=1)


if __name__ == "__main__":
    sys.exit(main())
