# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Listens for the messages of the alerting agent, as one of its webhooks, while a drill runs."""

from __future__ import annotations

import http.server
import socket
import socketserver
import threading
import typing as t

from ..._consul.errors import LocalFailure

MAX_BODY = 4 << 20
IDLE_S = 30.0  # how long a connection may say nothing


class MessageReceiver:
    """Listens from ``open`` to ``close``. ``take`` gets each body, in any thread; it raises ValueError for one that it does not want.

    Such a body is answered with 400, which the agent does not repeat, and one that ``take`` fails with, with 500, which it does.
    """

    def __init__(self, address: str, port: int, take: t.Callable[[bytes], None]) -> None:
        self._address, self._port, self._take = address, port, take
        self._server: _Server | None = None
        self.failure: LocalFailure | None = None

    @property
    def port(self) -> int:
        """The port, which is a free one if 0 was given."""
        return self._port if self._server is None else int(self._server.server_address[1])

    def open(self) -> None:
        """Listen. Raises LocalFailure where that is not possible."""
        try:
            self._server = _Server(self._address, self._port, self._accept)
        except (OSError, OverflowError) as error:
            said = getattr(error, "strerror", None) or error
            raise LocalFailure(
                f"alert_listen: cannot listen at {self._address}:{self._port}: {said}. Nothing was written."
            ) from None
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="alerts", daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def _accept(self, body: bytes) -> int:
        """Return the status with which a body is answered."""
        try:
            self._take(body)
        except ValueError:
            return 400
        except LocalFailure as error:
            self.failure = error
            return 500
        return 200


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str, port: int, accept: t.Callable[[bytes], int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.accept = accept
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """Bind, without the look-up of a name that the standard library does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "drill", self.server_address[1]

    def handle_error(self, *_args: t.Any) -> None:
        """Ignore a client that went away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S

    def do_POST(self) -> None:
        """Take one message."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._answer(411, closes=True)
        elif int(length) > MAX_BODY:
            self._answer(413, closes=True)
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                self._answer(t.cast(_Server, self.server).accept(body))

    do_PUT = do_POST

    def _answer(self, status: int, *, closes: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if closes:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_args: t.Any) -> None:
        """Log nothing: what arrives is in the history."""
