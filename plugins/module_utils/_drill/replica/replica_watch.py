# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Follows the keys of a drill at the datacenter to which they are replicated: how late they arrive, and whether one is deleted."""

from __future__ import annotations

import itertools
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..._consul import kv
from ..._consul.client import Client
from ..._consul.errors import ConsulError
from ..._consul.txn import Operation
from ..._consul.units import some_of
from ..drill_part import DrillSignals
from ..drill_space import DrillSpace
from ..history import (
    BEAT,
    BEAT_SEEN,
    NS,
    REPLICA_COMPARED,
    REPLICA_DELETED,
    REPLICA_ENDED,
    REPLICA_READ,
    REPLICA_SILENT,
    REPLICA_STARTED,
)
from ..history_writer import HistoryWriter
from ..open_loop import Node
from ..set_workload import FOLDER as SET
from .key_comparison import names_below, numbers_in, side_digest
from .replica_outcomes import SHORT_GAP_S

BEAT_KEY = "heartbeat"
BEAT_EVERY_S = 0.5
LOOK_EVERY_S = 0.1
NAMES_EVERY_S = 1.0
COMPARE_EVERY_S = 0.5
READ_BEFORE_S = 1.0  # so long before a fault is to end, what the replica has is read


@dataclass(frozen=True)
class ReplicaPlan:
    """What is followed: keys below ``prefix`` at the replica. ``healings_s`` are when faults are to end, after the load began.

    ``catch_up_s`` and ``equal_s`` are how long is waited at the end until the last heartbeat has arrived, and all keys are equal.
    """

    prefix: str
    healings_s: tuple[float, ...]
    catch_up_s: float
    equal_s: float


class ReplicaWatch:
    """The part of a drill that is about its replica."""

    def __init__(
        self, client: Client, plan: ReplicaPlan, run_name: str, nodes: t.Sequence[Node], history: HistoryWriter
    ) -> None:
        self._client, self._plan, self._nodes, self._history = client, plan, nodes, history
        self._root = f"{plan.prefix}{run_name}/"
        self._last_beat, self._last_seen = 0, 0
        self._answered_ns = 0

    def __enter__(self) -> ReplicaWatch:
        """Ask the replica once. Raises a ConsulError when no leader answers."""
        self._client.check_leader()
        kv.check_readable(self._client, self._root)
        return self

    def __exit__(self, *_args: object) -> None:
        """Nothing is left: the keys at the replica are those of the replication, which deletes them after those of the source."""

    def run(self, began_ns: int, space: DrillSpace, signals: DrillSignals, /) -> None:
        """Send heartbeats and follow them, and compare both sides at the end. Raises LocalFailure and DrillDisturbed."""
        self._history.event(REPLICA_STARTED, {"replica": str(self._client.endpoint), "prefix": self._plan.prefix})
        self._answered_ns = self._history.now_ns()
        ending = threading.Event()
        with ThreadPoolExecutor(2, thread_name_prefix="replica") as pool:
            work = [pool.submit(self._beat, space, signals), pool.submit(self._follow, began_ns, ending)]
            try:
                while not signals.load_ended.wait(LOOK_EVERY_S) and not any(one.done() for one in work):
                    pass
                self._compare_at_end(space, signals)
            finally:
                is_stopped = signals.stop.is_set()
                ending.set()
            for one in work:
                one.result()
        if not is_stopped:
            self._history.event(REPLICA_ENDED)

    # -----------------------------------------------------------------------------------------------------------

    def _beat(self, space: DrillSpace, signals: DrillSignals) -> None:
        """Write a heartbeat now and then until the load has ended. One whose outcome is unknown is no heartbeat."""
        nodes = itertools.cycle(self._nodes)
        node = next(nodes)
        for number in itertools.count(1):
            operation = Operation("set", space.key(BEAT_KEY), str(number).encode())
            sent_ns = self._history.now_ns()
            try:
                space.write(node.client, operation)
            except ConsulError:
                node = next(nodes)
            else:
                self._history.event(BEAT, {"number": number, "sent": sent_ns})
                self._last_beat = number
            if signals.load_ended.wait(BEAT_EVERY_S):
                return

    def _follow(self, began_ns: int, ending: threading.Event) -> None:
        """Read from the replica until ``ending`` is set."""
        readings = [began_ns + int((end_s - READ_BEFORE_S) * NS) for end_s in self._plan.healings_s]
        known: set[str] = set()
        names_ns = 0
        while not ending.is_set():
            try:
                self._look_at_beat()
                now_ns = self._history.now_ns()
                if readings and now_ns >= readings[0]:
                    readings.pop(0)
                    known = self._read_names(known, is_reading=True)
                elif now_ns >= names_ns:
                    known = self._read_names(known)
                    took_ns = self._history.now_ns() - now_ns
                    names_ns = self._history.now_ns() + max(int(NAMES_EVERY_S * NS), 10 * took_ns)
            except ConsulError:
                pass  # what is not answered is a gap, which the next answer records
            ending.wait(LOOK_EVERY_S)
        self._answered(is_last=True)

    def _look_at_beat(self) -> None:
        found = kv.read_key(self._client, f"{self._root}{BEAT_KEY}", consistency="consistent").entries
        self._answered()
        number = int(found[0].value) if found and found[0].value.isdigit() else 0
        if number > self._last_seen:
            self._last_seen = number
            self._history.event(BEAT_SEEN, {"number": number})

    def _read_names(self, known: set[str], *, is_reading: bool = False) -> set[str]:
        """Record what was there and is not any more, and with ``is_reading`` which additions are there; return what is there."""
        began_ns = self._history.now_ns()
        names = names_below(self._client, self._root)
        self._answered()
        missing = sorted(known - names)
        if missing:
            self._history.event(REPLICA_DELETED, {"count": len(missing), "keys": some_of(missing)})
        if is_reading:
            self._history.event(REPLICA_READ, {"added": numbers_in(names, SET), "at": began_ns})
        return names

    def _answered(self, *, is_last: bool = False) -> None:
        """Record how long the replica gave no answer, if that was long."""
        now_ns = self._history.now_ns()
        if now_ns - self._answered_ns > SHORT_GAP_S * NS:
            fields = {"since": self._answered_ns, "seconds": round((now_ns - self._answered_ns) / NS, 3)}
            self._history.event(REPLICA_SILENT, {**fields, **({"until_the_end": True} if is_last else {})})
        self._answered_ns = now_ns

    def _compare_at_end(self, space: DrillSpace, signals: DrillSignals) -> None:
        """Wait until the last heartbeat has arrived and all keys are equal, or the time for both is over."""
        ended_ns = self._history.now_ns()
        last: dict[str, t.Any] | None = None
        while not signals.stop.is_set():
            passed_s = (self._history.now_ns() - ended_ns) / NS
            is_over = passed_s > self._plan.equal_s
            if self._plan.equal_s and (last is None or not last["equal"]):
                last = self._compared(space)
                if last is not None and (last["equal"] or is_over):
                    self._history.event(REPLICA_COMPARED, last)
            is_equal = not self._plan.equal_s or is_over or (last is not None and last["equal"])
            has_caught_up = self._last_seen >= self._last_beat or passed_s > self._plan.catch_up_s
            if is_equal and has_caught_up:
                return
            signals.stop.wait(COMPARE_EVERY_S)

    def _compared(self, space: DrillSpace) -> dict[str, t.Any] | None:
        """Return what both sides hold, None where one of them could not be read."""
        for node in self._nodes:
            try:
                here = side_digest(node.client, space.root)
                there = side_digest(self._client, self._root)
            except ConsulError:
                continue
            sides = {"source_keys": here.keys, "replica_keys": there.keys}
            return {"equal": here == there, **sides, "source_digest": here.digest, "replica_digest": there.digest}
        return None
