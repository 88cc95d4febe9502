# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers of another shape than Consul's: whole bodies, real ones with one part replaced, and a proxy that gives them."""

from __future__ import annotations

import json
import threading
import typing as t
from dataclasses import dataclass

from hypothesis import strategies as st

from .faults import Proxy

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


class ShapeProxy(Proxy):
    """Forwards to a real Consul and changes answers: of request number ``position`` (from 0), or of all when it is None."""

    def __init__(self, target: str, address: str) -> None:
        super().__init__(target, address)
        self._change: Change = lambda body: body
        self._position: int | None = -1
        self._count = 0
        self._counting = threading.Lock()
        self.change_answer = self._changed

    def begin(self, position: int | None, change: Change) -> None:
        """Count requests from 0 again, and change answers like this."""
        with self._counting:
            self._position, self._change, self._count = position, change, 0
            self.requests.clear()

    def _changed(self, status: int, body: bytes) -> tuple[int, bytes]:
        with self._counting:
            number, self._count = self._count, self._count + 1
            if self._position not in (None, number):
                return status, body
        return (200 if status == 404 else status), self._change(body)
