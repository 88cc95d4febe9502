# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes on beside the clients of a drill, and may go on after them until what is expected of it is known."""

from __future__ import annotations

import contextlib
import threading
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from .drill_space import DrillSpace


@dataclass(frozen=True)
class DrillSignals:
    """What a part of a drill waits for: ``load_ended``, after which nothing is written any more; ``stop``, which ends the drill early."""

    load_ended: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)


class DrillPart(t.Protocol):
    """Something that is watched or measured while clients run. It is opened before anything is written, and closed in any case."""

    def __enter__(self) -> object:
        """Prepare. Raises an Error, and then the drill does not begin."""

    def __exit__(self, *args: object) -> None:
        """Remove what it made."""

    def run(self, began_ns: int, space: DrillSpace, signals: DrillSignals, /) -> None:
        """Work in a thread of its own from the beginning of the load on, and end soon when ``stop`` is set. Raises an Error."""


class RunningParts(contextlib.AbstractContextManager["RunningParts"]):
    """The parts of one drill, each in a thread from ``start`` on; leaving the context stops them."""

    def __init__(self, parts: t.Sequence[DrillPart]) -> None:
        self.signals = DrillSignals()
        self._parts = parts
        self._pool = ThreadPoolExecutor(max(1, len(parts)), thread_name_prefix="drill-part")
        self._futures: list[Future[None]] = []

    def start(self, began_ns: int, space: DrillSpace) -> list[Future[None]]:
        """Start all; return their ends."""
        self._futures = [self._pool.submit(part.run, began_ns, space, self.signals) for part in self._parts]
        return self._futures

    def load_ended(self, *, is_early: bool) -> None:
        """Let them end: at once if the drill ended early. Raises what ended one of them already."""
        if is_early:
            self.signals.stop.set()
        self.signals.load_ended.set()
        for future in self._futures:
            if future.done():
                future.result()

    @property
    def are_done(self) -> bool:
        """Whether all have ended."""
        return all(future.done() for future in self._futures)

    def check(self) -> None:
        """Raise what ended one of them, once all have ended."""
        for future in self._futures:
            future.result()

    def __exit__(self, *_args: object) -> None:
        self.signals.stop.set()
        self.signals.load_ended.set()
        self._pool.shutdown()
