# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint of an agent: /healthz, /metrics, /status and a page, read-only, on loopback unless told otherwise."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .._consul.errors import LocalFailure
from .agent_config import Listen
from .metrics import CONTENT_TYPE, exposition
from .status import AgentStatus, Status, as_json
from .status_page import page

HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
SLOWEST_CLIENT_S = 5.0
MOST_CLIENTS = 32


def answer(path: str, status: AgentStatus) -> tuple[int, str, str]:
    """Return status, content type and body for a path. Pure."""
    if path == "/healthz":
        return (200 if status.healthy else 503), TEXT, status.sentence + "\n"
    if path == "/metrics":
        return 200, CONTENT_TYPE, exposition(status)
    if path == "/status":
        return 200, JSON, json.dumps(as_json(status), indent=2) + "\n"
    if path == "/":
        return 200, HTML, page(status)
    return 404, TEXT, "There are /, /healthz, /metrics and /status.\n"


class Web:
    """Listens from the moment it is made. Raises LocalFailure when it cannot."""

    def __init__(self, listen: Listen, status: Status) -> None:
        class Handler(_Handler):
            status = staticmethod(lambda: status.current)

        class Server(_Server):
            address_family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET

        try:
            self._server = Server((listen.address, listen.port), Handler)
        except OSError as error:
            raise LocalFailure(
                f"The endpoint cannot listen on {listen.address} port {listen.port}: {error.strerror or error}. Give "
                "endpoint.port another number, or set endpoint.enabled to false."
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="web", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and give the port back."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """One thread a client, for so many clients at once; who comes then is hung up on."""

    daemon_threads = True

    def __init__(self, *args: t.Any) -> None:
        self._slots = threading.BoundedSemaphore(MOST_CLIENTS)
        super().__init__(*args)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own asks DNS for our name, and waits for it
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread is to be had
            self._slots.release()
            raise

    def process_request_thread(self, request: t.Any, client_address: t.Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client that goes away is nothing for the journal."""


class _Handler(BaseHTTPRequestHandler):
    status: t.Callable[[], AgentStatus]
    timeout = SLOWEST_CLIENT_S
    server_version = "consulops"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(body_too=True)

    def do_HEAD(self) -> None:
        self._answer(body_too=False)

    def _answer(self, *, body_too: bool) -> None:
        status, content_type, text = answer(self.path.partition("?")[0], self.status())
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        if body_too:
            self.wfile.write(body)

    def log_message(self, format: str, *args: t.Any) -> None:
        """Say nothing: a scrape every few seconds is no news."""
