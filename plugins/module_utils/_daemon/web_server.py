# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The web server of the endpoint: cheroot with limits, strict about the form of requests, silent about broken clients."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
import time
import typing as t
import weakref

from ._libraries import (
    HTTPConnectionBase,
    HTTPRequestBase,
    StreamReader,
    StreamWriter,
    TLSAdapterBase,
    WSGIServerBase,
)

log = logging.getLogger("consulops")

CLIENT_TIMEOUT_S = 5.0  # for each part of a request, and between two requests of a connection
REQUEST_WITHIN_S = 10.0  # a whole request with its response: a client that sends one byte a second gets no further
THREADS = 12
MAX_CONNECTIONS = 64
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32768
MAX_BODY_BYTES = 65536
TICK_S = 0.25

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110, section 5.6.2
_ONLY_ONCE = {b"Host", b"Content-Length", b"Authorization", b"Origin", b"Content-Type"}


def read_headers(rfile: t.Any, headers: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    """Read the headers of a request. Raises ValueError for a form that another reader could understand in another way.

    So no continuation lines, no repeated length or host, no transfer encoding at all: bodies have a Content-Length.
    Source: RFC 9112, sections 5 and 6
    """
    found = {} if headers is None else headers
    for _number in range(MAX_HEADERS):
        line = rfile.readline()
        if line == b"\r\n":
            return found
        if not line.endswith(b"\r\n") or b"\0" in line or b"\r" in line[:-2]:
            raise ValueError("A header line is incomplete.")
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            raise ValueError("A header line has no valid name.")
        name, value = name.title(), value.strip()
        if name == b"Transfer-Encoding":
            raise ValueError("Transfer-Encoding is not accepted.")
        if name == b"Content-Length" and not re.fullmatch(rb"[0-9]{1,12}", value):
            raise ValueError("Content-Length is not a number.")
        if name in _ONLY_ONCE and name in found:
            raise ValueError("A header is repeated.")
        if b"_" not in name:  # it would be the same variable as a name with a dash
            found[name] = value
    raise ValueError("There are too many headers.")


class _Request(HTTPRequestBase):
    header_reader = staticmethod(read_headers)

    def read_request_headers(self) -> bool:
        is_read: bool = super().read_request_headers()
        if self.method not in (b"GET", b"HEAD") or int(self.inheaders.get(b"Content-Length", 0)):
            self.close_connection = True  # nothing that follows a body is taken for a request
        return is_read


class _Connection(HTTPConnectionBase):
    RequestHandlerClass = _Request
    server: WebServer

    def communicate(self) -> bool:
        self.server.busy[self] = time.monotonic()
        try:
            keep: bool = super().communicate()
            return keep
        except OSError as error:
            log.debug("the endpoint: a client broke off: %s", error)  # as every one that speaks no TLS does
            return False
        finally:
            self.server.busy.pop(self, None)

    def close(self) -> None:
        self.server.open.discard(self)
        super().close()

    def cut(self) -> None:
        """Shut the socket, which ends whatever its thread waits for."""
        try:
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)  # not that of TLS, which would forget its state
        except OSError:
            log.debug("a connection to the endpoint had ended before it was cut")


class TLSAdapter(TLSAdapterBase):
    """Does the handshake in the thread that reads the request, so that a silent client does not keep others from being accepted."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def bind(self, sock: t.Any) -> t.Any:
        return sock

    def wrap(self, sock: socket.socket) -> tuple[socket.socket, dict[str, str]]:
        wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, self.get_environ()

    def get_environ(self) -> dict[str, str]:
        return {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def makefile(self, sock: t.Any, mode: str = "r", bufsize: int = 8192) -> t.Any:
        return (StreamReader if "r" in mode else StreamWriter)(sock, mode, bufsize)


class WebServer(WSGIServerBase):
    """Serves a WSGI application on a listening socket, from ``start_thread`` to ``stop_soon``.

    ``wsgi_app`` may be replaced while it serves.
    """

    ConnectionClass = _Connection

    def __init__(self, listener: socket.socket, application: t.Any, context: ssl.SSLContext | None) -> None:
        super().__init__(
            listener.getsockname()[:2],
            application,
            numthreads=THREADS,
            max=THREADS,
            server_name="consulops",
            request_queue_size=MAX_CONNECTIONS,
            timeout=CLIENT_TIMEOUT_S,  # type: ignore[arg-type]
            shutdown_timeout=TICK_S,  # type: ignore[arg-type]
            accepted_queue_size=MAX_CONNECTIONS,
            accepted_queue_timeout=0,
        )
        self.busy: dict[_Connection, float] = {}
        self.open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self.software = "consulops"
        self.max_request_header_size = MAX_HEADER_BYTES
        self.max_request_body_size = MAX_BODY_BYTES
        self.expiration_interval = TICK_S
        self.ssl_adapter = TLSAdapter(context) if context is not None else None
        self._listener = listener
        self._is_stopped = threading.Event()

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:
        """Called by cheroot: return the socket that listens already."""
        self.socket = self._listener
        return self._listener

    def start_thread(self) -> None:
        """Serve from a thread. Its daemon flag goes on to the threads that cheroot makes, so that none delays the end of the process."""
        prepared = threading.Event()

        def serve() -> None:
            self.prepare()
            prepared.set()
            self.serve()

        threading.Thread(target=serve, name="endpoint", daemon=True).start()
        threading.Thread(target=self._cut_slow_clients, name="endpoint limits", daemon=True).start()
        prepared.wait(10)

    def stop_soon(self) -> None:
        """Close the listening socket, and end the threads without waiting for those that still serve a client."""
        self._is_stopped.set()
        threading.Thread(target=self.stop, name="endpoint stop", daemon=True).start()
        until = time.monotonic() + 4 * TICK_S
        while self.socket is not None and time.monotonic() < until:
            time.sleep(0.01)  # cheroot has no event for it

    def process_conn(self, conn: _Connection) -> None:
        """Called by cheroot for a new connection, and for one that has sent something."""
        if conn.last_used is not None:
            super().process_conn(conn)
        elif len(self.open) >= MAX_CONNECTIONS:
            conn.close()
        else:
            self.open.add(conn)
            self.put_conn(conn)  # a thread begins with it only when it sends something

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Called by cheroot. A client that breaks off is not a problem of the agent; anything else is named, without a traceback."""
        log.log(logging.ERROR if level >= logging.ERROR else logging.DEBUG, "the endpoint: %s", msg)

    def _cut_slow_clients(self) -> None:
        while not self._is_stopped.wait(TICK_S):
            for connection, began in list(self.busy.items()):
                if time.monotonic() - began > REQUEST_WITHIN_S:
                    connection.cut()
