# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job that watches one datacenter: full readings every few seconds, and a blocking query on the checks in between.

Every instance of the agent runs it, so that what is known is warm when one takes over.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
import typing as t
from dataclasses import dataclass, field

from ..._alerting import presence
from ..._alerting.expectation import Expected
from ..._alerting.finding import Judgement
from ..._alerting.judge import judge
from ..._alerting.observation import FilteredLists, Observation
from ..._alerting.observe import ObserveOptions, observe
from ..._alerting.reader import get_failing_checks
from ..._alerting.rule import RuleSet
from ..._alerting.rules.checks import ChecksIndex, FailingChecks, parse_checks
from ..._consul import errors
from ..._consul.client import Client
from ..._consul.failures import DENIED
from ..._consul.units import count_of
from ..._daemon.job import Context
from ..._tasks.alert_check import SnapshotCache
from .clock import Clock
from .incidents import Incidents, Place
from .memory import Reading, wait_until_configured

log = logging.getLogger("consulops")

METADATA = frozenset({"node_meta", "service_meta"})  # read with more requests than the checks
SLICE_S = 3.0  # of one blocking query: a Consul that hangs is noticed so much later than by any other request
LEAST_S = 0.1  # between two readings, however fast checks change
WAIT_FAILED_S = 0.5  # after a blocking query that failed, which every full reading may be followed by
RETRY_S = 2.0  # after a reading that found the datacenter without a leader or out of reach


@dataclass(frozen=True)
class Watched:
    """One watched datacenter. ``source`` names it in incidents, ``connection`` among the connections of the job."""

    source: str
    connection: str
    rules: RuleSet
    expected: t.Mapping[str, Expected] = field(default_factory=dict)
    snapshots: str | None = None
    reconcile_every_s: float = 10.0


def watch(context: Context, watched: Watched) -> None:
    """Watch until the job must stop."""
    if not wait_until_configured(context):
        return
    watcher = Watcher(context.memory, watched, context.client(watched.connection))
    while not context.stopping.is_set():
        reading = watcher.read()
        context.report(*_described(reading), took_s=reading.took_s, problem=_denied(reading))
        until = time.monotonic() + (RETRY_S if watcher.failed else watched.reconcile_every_s)
        while watcher.can_wait and time.monotonic() < until and not context.stopping.is_set():
            context.heartbeat()
            goes_on = watcher.wait(until - time.monotonic())
            context.pause(WAIT_FAILED_S if watcher.wait_failed else LEAST_S)
            if not goes_on:
                break
        if not watcher.can_wait:
            context.pause(max(0.0, until - time.monotonic()))


class JudgementTaker(t.Protocol):
    """What takes judgements: the core of the agent, or less."""

    @property
    def incidents(self) -> Incidents:
        """The incidents, which judgements begin and end."""

    def update(self, source: str, judgement: Judgement, now: float, gone: t.Collection[Place] = ()) -> None:
        """Take a judgement."""


class WatchMemory(t.Protocol):
    """What a watcher needs of the memory of the agent."""

    clock: Clock
    mutex: t.Any
    changed: threading.Event
    readings: dict[str, Reading]

    @property
    def core(self) -> JudgementTaker:
        """What takes judgements; hold ``mutex``."""


class Watcher:
    """Reads, judges, and gives the judgement to the core. For one thread. ``wait_failed``: the last ``wait`` ended with an error."""

    def __init__(self, memory: WatchMemory, watched: Watched, client: Client) -> None:
        self._memory = memory
        self._watched = watched
        self._client = client
        self._snapshots = SnapshotCache(watched.snapshots)
        self._observation: Observation | None = None
        self._index: int | None = None
        self.wait_failed = False

    @property
    def can_wait(self) -> bool:
        """Whether the checks were read, so that the next change of one of them can be waited for."""
        return self._index is not None

    @property
    def failed(self) -> bool:
        """Whether the datacenter had no leader, or did not answer, when it was read last."""
        seen = self._observation
        return seen is None or bool(seen.unreachable) or seen.leader_problem is not None

    def read(self) -> Reading:
        """Read and judge the whole datacenter. Raises LocalFailure when the snapshots cannot be listed."""
        watched, started, now = self._watched, time.monotonic(), self._memory.clock.time()
        observation = _observed(self._client, watched, self._snapshots, now)
        if self._client.is_aborted:
            raise errors.Aborted("the job was stopped")  # what was cut says nothing about Consul
        index = observation.get(ChecksIndex)
        self._observation, self._index = observation, None if index is None else index.index
        return self._take(observation, now, time.monotonic() - started)

    def wait(self, seconds: float) -> bool:
        """Wait until a check changes, and judge again, at most SLICE_S. Return False if a full reading must follow."""
        before = t.cast("Observation", self._observation)
        self.wait_failed = True
        try:
            response = get_failing_checks(self._client, index=self._index, wait_s=min(seconds, SLICE_S))
            failing = response.parse(parse_checks)
        except errors.ConsulError as error:
            if isinstance(error, errors.Aborted):
                raise
            log.debug("watching %s: %s", self._watched.source, error)
            return False
        self.wait_failed = False
        if response.index == self._index:
            return True  # the time is over
        # An index that goes back starts again: the servers' state was restored.
        self._index = response.index if response.index > (self._index or 0) else None
        if self._index is None or response.is_filtered or not _is_enough(before, failing, self._watched.rules):
            return False
        observation = copy.copy(before)
        observation.parts = {**before.parts, FailingChecks: failing}
        self._observation = observation
        self._take(observation, self._memory.clock.time(), None)
        return True

    def _take(self, observation: Observation, now: float, took_s: float | None) -> Reading:
        """Judge, and give the judgement to the core. ``took_s`` is None for what is not a full reading."""
        watched, memory = self._watched, self._memory
        judgement = _judged(observation, watched)
        with memory.mutex:
            vanished = memory.core.incidents.vanished_places(watched.source, judgement)
        gone = self._missing(vanished)
        with memory.mutex:
            last = memory.readings.get(watched.source)
            at, duration_s = (now, took_s) if took_s is not None or last is None else (last.at, last.took_s)
            reading = Reading(observation.datacenter, at, duration_s or 0.0, judgement, observation)
            memory.readings[watched.source] = reading
            memory.core.update(watched.source, judgement, memory.clock.time(), gone)
        memory.changed.set()
        return reading

    def _missing(self, places: t.Collection[Place]) -> set[Place]:
        """Return which places are not registered any more; none if that cannot be read."""
        if not places:
            return set()
        try:
            return {Place(*one) for one in presence.read_missing(self._client, places)}
        except errors.ConsulError as error:
            if isinstance(error, errors.Aborted):
                raise
            log.debug("whether %s is registered is not known: %s", count_of(len(places), "place"), error)
            return set()


def _observed(client: Client, watched: Watched, snapshots: SnapshotCache, now: float) -> Observation:
    return observe(client, ObserveOptions(watched.rules, snapshots.newest(), watched.expected), now)


def _judged(observation: Observation, watched: Watched) -> Judgement:
    judgement = judge(observation, watched.rules, watched.expected)
    judgement.sort()
    return judgement


def _is_enough(before: Observation, failing: FailingChecks, rules: RuleSet) -> bool:
    """Return whether the checks alone are enough to judge again, the rest being as it was read last."""
    old = before.get(FailingChecks)
    if old is None or before.unreachable or before.leader_problem is not None or before.get(FilteredLists) is None:
        return False
    if METADATA & rules.matched_fields():
        return False
    # A node that went down or came back changes what is known of servers and services.
    return _nodes_down(old) == _nodes_down(failing)


def _nodes_down(failing: FailingChecks) -> set[str]:
    return {check.node for check in failing.checks if check.is_node_down}


def _described(reading: Reading) -> tuple[str, dict[str, float]]:
    """Return a sentence and numbers for the status."""
    judgement = reading.judgement
    counts = judgement.counts
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    numbers: dict[str, float] = {f"findings_{name}": count for name, count in counts.items()}
    return f"{reading.datacenter}: {found or 'nothing is wrong'}", numbers


def _denied(reading: Reading) -> str:
    """Return the first thing that is unknown because the token may not read it, "" if there is none."""
    for one in reading.judgement.unknown:
        if DENIED in one.reason:
            return f"{one.what} of {one.datacenter} cannot be judged: {one.reason}"
    return ""


# ---------------------------------------------------------------------------------------------------------------
# Once, without an agent


def judge_once(client: Client, watched: Watched, now: float) -> tuple[Observation, Judgement]:
    """Read and judge a datacenter once, as the job does in full readings. Raises LocalFailure when the snapshots cannot be listed."""
    observation = _observed(client, watched, SnapshotCache(watched.snapshots), now)
    return observation, _judged(observation, watched)
