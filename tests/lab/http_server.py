# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP servers of tests: quiet about clients that leave, with a thread that ends with them."""

from __future__ import annotations

import http.server
import socket
import threading
import typing as t

Self = t.TypeVar("Self", bound="RunningServer")


class QuietServer(http.server.ThreadingHTTPServer):
    """Prints nothing about a client that disconnects, or does not trust the certificate: that is part of the tests."""

    daemon_threads = True
    block_on_close = False

    def take(self, listener: socket.socket) -> None:
        """Serve on a socket that listens already, instead of the own one."""
        self.socket.close()
        self.socket = listener
        self.server_address = listener.getsockname()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Print nothing."""


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """Keeps connections open, and prints no request."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: without this the second waits 40 ms for the client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: t.Any) -> None:
        """Print nothing."""


class ForwardingHandler(QuietHandler):
    """Gives the requests of every method to ``_serve``."""

    def _serve(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()


class RunningServer:
    """Has a server in a thread from ``_start`` to ``close``. ``released`` ends every request that hangs."""

    _server: http.server.ThreadingHTTPServer

    def __init__(self) -> None:
        self.released = threading.Event()

    def _start(self, poll_s: float) -> None:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": poll_s})
        self._thread.start()

    def close(self) -> None:
        """End every hanging request and stop."""
        self.released.set()
        self._end()

    def _end(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()


class RunningProxy(RunningServer):
    """A server in front of another one."""

    @property
    def url(self) -> str:
        """Its address."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"
