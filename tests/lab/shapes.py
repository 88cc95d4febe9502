# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers of another shape than Consul's: whole bodies, real ones with one part replaced, and a server that gives them."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
from dataclasses import dataclass

import requests
from hypothesis import strategies as st

Change = t.Callable[[bytes], bytes]

# What stands where a proxy, a gateway or another program answers in place of Consul.
BODIES = [
    b"",
    b"[]",
    b"{}",
    b"null",
    b"true",
    b"5",
    b"-1.5e999",
    b'"text"',
    b"[null]",
    b"[[]]",
    b"[{}]",
    b"[5]",
    b'["text"]',
    b'{"Errors": null, "Results": null}',
    b'{"Errors": [5]}',
    b"<html><h1>Welcome to nginx!</h1></html>",
    b'[{"Key": "a", "Value": ',
    b"\xff\xfe\x00",
    b"[" * 20_000,
]
NAMES = ["Key", "Value", "Flags", "ModifyIndex", "Node", "ID", "Config", "Name", "Status", "ServiceID", "Members"]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
bodies = st.sampled_from(BODIES) | values.map(lambda value: json.dumps(value).encode())


def _places(value: t.Any) -> t.Iterator[tuple[t.Any, t.Any]]:
    """Every container of a decoded body with each of its indexes or keys."""
    if isinstance(value, (list, dict)):
        for place in value if isinstance(value, dict) else range(len(value)):
            yield value, place
            yield from _places(value[place])


@dataclass(frozen=True)
class PartReplaced:
    """The real body with one of its parts replaced by a value, or removed."""

    choice: int
    value: t.Any
    remove: bool

    def __call__(self, body: bytes) -> bytes:
        try:
            decoded = json.loads(body)
        except ValueError:
            return json.dumps(self.value).encode()
        places = list(_places(decoded))
        if not places:
            return json.dumps(self.value).encode()
        container, place = places[self.choice % len(places)]
        if self.remove:
            del container[place]
        else:
            container[place] = self.value
        return json.dumps(decoded).encode()


@dataclass(frozen=True)
class Replaced:
    """Another body."""

    body: bytes

    def __call__(self, _body: bytes) -> bytes:
        return self.body


changes: st.SearchStrategy[Change] = bodies.map(Replaced) | st.builds(
    PartReplaced, st.integers(0, 10_000), values, st.booleans()
)


class ShapeServer:
    """Forwards to a real Consul and changes bodies: of request number ``position`` (from 0), or of all when it is None."""

    def __init__(self, target: str, address: str) -> None:
        self.target = target
        self.change: Change = lambda body: body
        self.position: int | None = None
        self.requests: list[str] = []
        self._counting = threading.Lock()
        self._server = _Server((address, 0), _Handler)
        self._server.shapes = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def begin(self, position: int | None, change: Change) -> None:
        """Count requests from 0 again and change what is said."""
        with self._counting:
            self.position, self.change, self.requests = position, change, []

    def is_changed(self, request: str) -> bool:
        """Note a request; return whether its answer is to be changed."""
        with self._counting:
            self.requests.append(request)
            return self.position is None or self.position == len(self.requests) - 1

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> ShapeServer:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    shapes: ShapeServer

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client that closes its connection is part of the test."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        shapes = self.server.shapes
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_changed = shapes.is_changed(f"{self.command} {self.path}")
        change = shapes.change
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                self.command, shapes.target + self.path, headers=headers, data=body, timeout=60, stream=True
            )
            content = answer.raw.read()
        status = answer.status_code
        if is_changed:
            content, status = change(content), 200 if status == 404 else status
        self.send_response(status)
        for name, value in answer.headers.items():
            if name.startswith(("X-Consul", "Content-Type")):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = _serve

    def log_message(self, *_args: t.Any) -> None:
        """Write nothing."""
