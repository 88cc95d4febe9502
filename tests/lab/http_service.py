# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A local HTTP server that records what it is sent and answers as the test says; stands in for services that cannot run here."""

from __future__ import annotations

import json
import ssl
import threading
import typing as t
from dataclasses import dataclass

from .http_server import QuietHandler, QuietServer, RunningServer
from .tls import Pair


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: t.Mapping[str, str]
    body: bytes

    @property
    def json(self) -> t.Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """One answer. ``hang`` gives none; ``trickle`` sends the body byte by byte without end."""

    status: int = 200
    body: bytes = b"ok"
    headers: tuple[tuple[str, str], ...] = ()
    hang: bool = False
    trickle: bool = False


class HttpService(RunningServer):
    """Listens on a loopback address; ``replies`` are given in turn, then 200."""

    def __init__(self, address: str = "127.0.0.1", pair: Pair | None = None, client_ca: str | None = None) -> None:
        super().__init__()
        self.received: list[Received] = []
        self.replies: list[Reply] = []
        self.arrived = threading.Event()
        self._server = _Server((address, 0), _Handler)
        self._server.service = self
        self.scheme = "https" if pair else "http"
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            if client_ca:
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._start(poll_s=0.02)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self._server.server_address[0]!s}:{self.port}"

    def reset(self, *replies: Reply) -> None:
        """Forget what was received, and give these answers next."""
        self.received.clear()
        self.replies[:] = replies
        self.arrived.clear()

    @property
    def only(self) -> Received:
        """The one request that was received."""
        assert len(self.received) == 1, self.received
        return self.received[0]


class _Server(QuietServer):
    service: HttpService


class _Handler(QuietHandler):
    server: _Server
    timeout = 20

    def _serve(self) -> None:
        service = self.server.service
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:  # the client left meanwhile: a service has received nothing then
            self.close_connection = True
            return
        service.received.append(Received(self.command, self.path, dict(self.headers.items()), body))
        reply = service.replies.pop(0) if service.replies else Reply()
        service.arrived.set()
        if reply.hang:
            service.released.wait(20)
            return
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if not reply.trickle:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if reply.trickle:
            while not service.released.wait(0.05):
                self.wfile.write(b".")
        self.wfile.write(reply.body)

    do_POST = do_PUT = do_PATCH = do_GET = do_DELETE = do_CONNECT = _serve
