# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP endpoint of an agent: /healthz, /metrics, /status and a page. Read-only; on loopback by default."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .._consul.errors import LocalFailure
from .agent_config import ListenConfig
from .metrics import CONTENT_TYPE, exposition
from .status import AgentStatus, StatusTracker, as_json
from .status_page import page

log = logging.getLogger("consulops")

HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
CLIENT_TIMEOUT_S = 5.0
MAX_CLIENTS = 32


def respond(path: str, status: AgentStatus) -> tuple[int, str, str]:
    """Return the HTTP status, content type and body for a path."""
    if path == "/healthz":
        return (200 if status.healthy else 503), TEXT, status.sentence + "\n"
    if path == "/metrics":
        return 200, CONTENT_TYPE, exposition(status)
    if path == "/status":
        return 200, JSON, json.dumps(as_json(status), indent=2) + "\n"
    if path == "/":
        return 200, HTML, page(status)
    return 404, TEXT, "Not found. Available paths: /, /healthz, /metrics and /status.\n"


class HttpEndpoint:
    """Listens from the moment it is created until ``stop``. Raises LocalFailure when it cannot listen.

    ``replaces`` is an open endpoint that will be stopped next. The new one may then take an address that overlaps with
    the old one's on the same port (127.0.0.1 and 0.0.0.0); if it cannot be opened, the old one keeps serving.
    """

    def __init__(self, listen: ListenConfig, tracker: StatusTracker, replaces: HttpEndpoint | None = None) -> None:
        class Handler(_Handler):
            status = staticmethod(lambda: tracker.current)

        class Server(_Server):
            address_family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET

        self.port = listen.port
        self._server = Server((listen.address, listen.port), Handler, bind_and_activate=False)
        shares_port = replaces is not None and replaces.port == listen.port
        listeners = [self._server.socket, *([replaces._server.socket] if replaces and shares_port else [])]
        try:
            # Only while both are open: at any other time a port that is taken must be an error.
            _share_port(listeners, shared=shares_port)
            self._server.server_bind()
            self._server.server_activate()
        except OSError as error:
            self._server.server_close()
            raise LocalFailure(
                f"The endpoint cannot listen on {listen.address} port {listen.port}: {error.strerror or error}. Give "
                "endpoint.port another number, or set endpoint.enabled to false."
            ) from None
        finally:
            _share_port(listeners, shared=False)
        log.debug("the endpoint listens on %s port %d", listen.address, listen.port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="endpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the port."""
        self._server.shutdown()
        self._server.server_close()


def _share_port(listeners: t.Iterable[socket.socket], *, shared: bool) -> None:
    """Allow or forbid that sockets of one user listen on overlapping addresses. Source: SO_REUSEPORT in socket(7)."""
    for listener in listeners:
        if listener.fileno() >= 0:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))


class _Server(ThreadingHTTPServer):
    """One thread per client, up to a limit; further connections are closed at once."""

    daemon_threads = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        self._slots = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer.server_bind would wait for a reverse DNS lookup
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system cannot start another thread
            self._slots.release()
            raise

    def process_request_thread(self, request: t.Any, client_address: t.Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Log nothing: a client that disconnects early is not a problem of the agent."""


class _Handler(BaseHTTPRequestHandler):
    status: t.Callable[[], AgentStatus]
    timeout = CLIENT_TIMEOUT_S
    server_version = "consulops"
    sys_version = ""

    def do_GET(self) -> None:
        self._respond(with_body=True)

    def do_HEAD(self) -> None:
        self._respond(with_body=False)

    def _respond(self, *, with_body: bool) -> None:
        status, content_type, text = respond(self.path.partition("?")[0], self.status())
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: t.Any) -> None:
        """Log nothing: Prometheus alone would write a line every few seconds."""
