# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An HTTP proxy in front of a real Consul, which injects faults into chosen requests and records every request."""

from __future__ import annotations

import contextlib
import socket
import threading
import typing as t

import requests

from .http_server import ForwardingHandler, QuietServer, RunningProxy

HALF = 0.5
Recorded = tuple[int, t.Mapping[str, str], bytes]  # status, headers, body


class Proxy(RunningProxy):
    """Forwards to ``target``, except requests of ``method`` whose path begins with ``path``: they get the fault.

    Faults: ``page`` (200 and an HTML page), ``error`` (503 and an HTML page), ``cut`` (half of a chunked body, then
    the connection is reset), ``short`` (half of a body that ends with the connection), ``hang`` (no answer),
    ``stall`` (half of the body, then nothing), ``drop`` (the request is read and the connection reset),
    ``lose`` (the request is forwarded and its answer dropped), ``redirect``, ``echo`` (400, with the request's headers
    as the body), ``trickle`` (one byte at a time), ``endless`` (500 and a body without end), ``json`` (200 and ``body``),
    ``cookie`` (sets a cookie).
    ``arriving`` is called with each request and may set the fault; ``before_forward`` and ``after_forward`` are called
    around each request that is forwarded. ``change_answer`` gets the status and body of each real answer and returns
    those that the client gets. ``replay`` may give an answer that another version of Consul was seen to give.
    """

    def __init__(
        self, target: str, address: str, fault: str = "", path: str = "/v1/snapshot", method: str = "GET"
    ) -> None:
        super().__init__()
        self.target = target
        self.method = method
        self.arriving: t.Callable[[str, str], object] = lambda method, path: None
        self.before_forward: t.Callable[[str, str], object] = lambda method, path: None
        self.after_forward: t.Callable[[str, str], object] = lambda method, path: None
        self.change_answer: t.Callable[[int, bytes], tuple[int, bytes]] = lambda status, body: (status, body)
        self.replay: t.Callable[[str, str], Recorded | None] = lambda method, path: None
        self.fault = fault
        self.path = path
        self.requests: list[tuple[str, str]] = []
        self.headers: list[t.Mapping[str, str]] = []
        self.rewrite: t.Callable[[str], str] = lambda path: path
        self.body = ""
        self.half_sent = threading.Event()
        self._server = _Server((address, 0), _Handler)
        self._server.proxy = self
        self._start(poll_s=0.05)


class _Server(QuietServer):
    proxy: Proxy


class _Handler(ForwardingHandler):
    server: _Server

    def _serve(self) -> None:
        proxy = self.server.proxy
        proxy.requests.append((self.command, self.path))
        proxy.headers.append(dict(self.headers))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.arriving(self.command, self.path)
        faulty = self.path.startswith(proxy.path) and self.command == proxy.method
        fault = proxy.fault if faulty else ""
        recorded = proxy.replay(self.command, self.path)
        if recorded is not None:
            self._answer(*recorded)
        elif fault in ("page", "error"):
            self._answer(200 if fault == "page" else 503, {}, b"<html><h1>Welcome to nginx!</h1></html>")
        elif fault == "redirect":
            self._answer(302, {"Location": "http://elsewhere.example/"}, b"")
        elif fault == "echo":
            self._answer(400, {}, str(self.headers).encode())
        elif fault == "cookie":
            self._answer(200, {"Set-Cookie": "sticky=1"}, b"[]")
        elif fault == "json":
            self._answer(200, {}, proxy.body.encode())
        elif fault in ("trickle", "endless"):
            self._send_without_end(200 if fault == "trickle" else 500, b"[" if fault == "trickle" else b"x" * (1 << 16))
        elif fault == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "hang":
            proxy.released.wait()
        else:
            self._forward(body, fault)

    def _forward(self, body: bytes, fault: str) -> None:
        proxy = self.server.proxy
        session = requests.Session()
        session.trust_env = False
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        headers.setdefault("Accept-Encoding", "identity")
        url = proxy.target + proxy.rewrite(self.path)
        proxy.before_forward(self.command, self.path)
        answer = session.request(self.command, url, headers=headers, data=body, timeout=60, stream=True)
        status, content = proxy.change_answer(answer.status_code, answer.raw.read())
        proxy.after_forward(self.command, self.path)
        kept = {name: value for name, value in answer.headers.items() if name.startswith(("X-Consul", "Content-Type"))}
        if fault == "lose":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if not fault:
            self._answer(status, kept, content)
            return
        half = content[: int(len(content) * HALF)]
        self.send_response(status)
        for name, value in kept.items():
            self.send_header(name, value)
        self.close_connection = True
        if fault == "short":
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(half)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(f"{len(content):x}\r\n".encode() + half)
        self.wfile.flush()
        proxy.half_sent.set()
        if fault == "stall":
            proxy.released.wait()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send_without_end(self, status: int, piece: bytes) -> None:
        """Send pieces until the client disconnects."""
        self.close_connection = True
        self.send_response(status)
        self.end_headers()
        with contextlib.suppress(OSError):
            while not self.server.proxy.released.wait(0.1 if len(piece) == 1 else 0):
                self.wfile.write(piece)

    def _answer(self, status: int, headers: t.Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
