# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A proxy in front of a real object store that injects faults into chosen requests, and records every request."""

from __future__ import annotations

import socket
import threading
import typing as t

import requests

from .http_server import ForwardingHandler, QuietServer, RunningProxy

_PER_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive")
_ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
_ANSWERS = {
    "500": (500, "InternalError", "We encountered an internal error, please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "403": (403, "AccessDenied", "Access Denied."),
}


def _listen_on_loopback(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


class StoreProxy(RunningProxy):
    """Forwards to ``target``, except the requests for which ``choose`` (method, path) names a fault.

    ``listen`` returns the listening socket for a port, 0 for any; without it, it listens on loopback. While it is down it refuses
    connections.

    Faults: ``500``, ``503``, ``403``; ``cut-upload`` (half of the body is read, then the connection is cut); ``cut`` (half of
    the answer's body); ``flip`` (one bit of the answer's body is another); ``lose`` (forwarded, and the answer is dropped);
    ``hang`` (no answer).
    """

    def __init__(
        self, target: str, verify: str | bool, listen: t.Callable[[int], socket.socket] = _listen_on_loopback
    ) -> None:
        super().__init__()
        self.target = target
        self.verify = verify
        self.choose: t.Callable[[str, str], str] = _well
        self.requests: list[tuple[str, str]] = []
        self.is_down = False
        self._listen = listen
        self._serve(0)

    def go_down(self) -> None:
        """Refuse connections from now on; those that exist are cut at their next request."""
        self.is_down = True
        self._end()

    def come_back(self) -> None:
        """Accept connections again, on the same port."""
        self.is_down = False
        self._serve(self._server.server_address[1])

    def heal(self) -> None:
        """Inject no more faults."""
        self.choose = _well

    def _serve(self, port: int) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.take(self._listen(port))
        self._server.proxy = self
        self._start(poll_s=0.05)

    def fail(self, method: str, fault: str, part: str = "", times: int = 1_000_000) -> None:
        """Inject a fault into the next ``times`` requests of a method whose path has ``part``."""
        left = [times]

        def choose(given: str, path: str) -> str:
            if given != method or part not in path or left[0] == 0:
                return ""
            left[0] -= 1
            return fault

        self.choose = choose


class HeldManifest:
    """Holds the next manifest that is uploaded through a proxy until it is released: then the snapshot itself is stored already."""

    def __init__(self, proxy: StoreProxy) -> None:
        self._is_held = threading.Event()
        self._released = threading.Event()
        self._fault = ""
        proxy.choose = self._choose

    def wait(self) -> None:
        """Wait until one is held."""
        assert self._is_held.wait(30), "no manifest is uploaded"

    def release(self, fault: str = "") -> None:
        """Forward it, or inject a fault."""
        self._fault = fault
        self._released.set()

    def _choose(self, method: str, path: str) -> str:
        if method != "PUT" or not path.endswith(".snap.json") or self._is_held.is_set():
            return ""
        self._is_held.set()
        self._released.wait()
        return self._fault


def _well(_method: str, _path: str) -> str:
    return ""


class _Server(QuietServer):
    proxy: StoreProxy


class _Handler(ForwardingHandler):
    server: _Server

    def _serve(self) -> None:
        proxy = self.server.proxy
        if proxy.is_down:
            self._cut()
            return
        proxy.requests.append((self.command, self.path))
        fault = proxy.choose(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "cut-upload":
            self.rfile.read(length // 2)
            self._cut()
            return
        body = self.rfile.read(length)
        if fault == "hang":
            proxy.released.wait()
            return
        if fault in _ANSWERS:
            status, code, message = _ANSWERS[fault]
            self._answer(
                status, {"Content-Type": "application/xml"}, _ERROR.format(code=code, message=message).encode()
            )
            return
        with requests.Session() as session:
            session.trust_env = False
            # The signature covers the name of the host that the client asked.
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _PER_HOP}
            headers.setdefault("Accept-Encoding", "identity")
            answer = session.request(
                self.command, proxy.target + self.path, headers=headers, data=body, timeout=60, verify=proxy.verify
            )
        if fault == "lose":
            self._cut()
            return
        content = answer.content
        if fault == "flip":
            content = content[:-1] + bytes([content[-1] ^ 1])
        self._answer(answer.status_code, answer.headers, content, cut=fault == "cut")

    def _answer(self, status: int, headers: t.Mapping[str, str], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _PER_HOP:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
