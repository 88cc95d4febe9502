# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watches several prefixes of one datacenter at once, each with a blocking query in a thread of its own, without reading values."""

from __future__ import annotations

import logging
import threading
import time
import typing as t

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.key_path import key_path
from .._consul.retry import BackOff
from .._consul.shard_plan import ShardSpec
from .._consul.watch import DEFAULT_WAIT_S, Watch

log = logging.getLogger("consulops")

LONGEST_PAUSE_S = 5.0  # after failures
# A query over n names costs Consul O(n) for every write below its prefix: one that is slow is asked more seldom.
REST_FACTOR = 20
LONGEST_REST_S = 5.0
# A query that ends before its time without a change was ended by a restore of the datacenter (observed on 1.8.7). The next one with the
# same index would wait for its whole time, because the index of what was restored is lower.
EARLY_S = 0.9 * DEFAULT_WAIT_S

# What is watched only for that: it changes seldom, so that one query is nearly always under way, and any token may ask for it.
SELDOM_CHANGED = "/v1/catalog/service/consul"

Name = t.Hashable


class Wake(t.NamedTuple):
    """What a query answered since it was asked for last.

    ``since`` is when the first of these answers came (monotonic). ``is_reset``: an index went back. ``is_empty``: no key is there.
    ``at_index`` is that of the last answer.
    """

    since: float
    is_reset: bool
    is_empty: bool
    at_index: int


class ChangeWatch:
    """Watches until it is closed. ``event`` is set whenever there is something to ``take``.

    ``close`` stops the threads; a query in flight ends when the client is aborted, or by itself within a minute.
    """

    def __init__(self, client: Client, event: threading.Event, consistency: str = "default") -> None:
        self._client = client
        self._event = event
        self._consistency = consistency
        self._mutex = threading.Lock()
        self._wakes: dict[Name, Wake] = {}
        self._problems: dict[Name, str] = {}
        self._threads: dict[Name, _Thread] = {}
        self._is_broken = False
        self._is_interrupted = False

    def set_watched(self, wanted: t.Mapping[Name, Watched]) -> None:
        """Watch these from now on, and nothing else. The first answer of a new one counts as a change."""
        for name in [name for name in self._threads if name not in wanted]:
            self._threads.pop(name).ending.set()
            with self._mutex:
                self._wakes.pop(name, None)
                self._problems.pop(name, None)
        for name, watched in wanted.items():
            if name not in self._threads:
                self._threads[name] = _Thread(self, name, watched)
                self._threads[name].start()

    def take(self) -> dict[Name, Wake]:
        """Return what changed since the last call, by the names of ``set_watched``. Raises RuntimeError after a bug in a thread."""
        with self._mutex:
            if self._is_broken:
                raise RuntimeError("a thread that watches has ended")
            taken, self._wakes = self._wakes, {}
            return taken

    def take_interruption(self) -> bool:
        """Return whether a query since the last call showed that the datacenter was restored: it ended early, or an index went back."""
        with self._mutex:
            is_interrupted, self._is_interrupted = self._is_interrupted, False
            return is_interrupted

    def start_over(self) -> None:
        """Ask everything anew: a query that was sent after a restore with an index from before waits for its whole time."""
        wanted = {name: thread.watched for name, thread in self._threads.items()}
        self.set_watched({})
        self.set_watched(wanted)

    @property
    def problem(self) -> str:
        """Why something cannot be watched at the moment, "" if everything can."""
        with self._mutex:
            return next(iter(self._problems.values()), "")

    def close(self) -> None:
        """Stop the threads."""
        self.set_watched({})

    # For the threads.

    def query(self, spec: ShardSpec | None) -> Watch:
        """Return the query for a shard, or that for restores only."""
        if spec is None:
            return Watch(self._client, SELDOM_CHANGED, consistency=self._consistency, partial_ok=True)
        return Watch(
            self._client, key_path(spec.prefix), kv.index_query(spec), consistency=self._consistency, partial_ok=True
        )

    def answered(self, name: Name, index: int, *, is_reset: bool, is_empty: bool) -> None:
        """Note a change, and that there is no problem any more."""
        with self._mutex:
            self._problems.pop(name, None)
            before = self._wakes.get(name)
            since = before.since if before else time.monotonic()
            self._wakes[name] = Wake(since, is_reset or bool(before and before.is_reset), is_empty, index)
        self._event.set()

    def succeeded(self, name: Name) -> None:
        """Note that there is no problem any more."""
        with self._mutex:
            is_over = self._problems.pop(name, None) is not None
        if is_over:
            self._event.set()

    def failed(self, name: Name, error: errors.ConsulError) -> None:
        """Note a problem."""
        with self._mutex:
            self._problems[name] = str(error)
        self._event.set()

    def interrupted(self) -> None:
        """Note that the datacenter seems to have been restored."""
        with self._mutex:
            self._is_interrupted = True
        self._event.set()

    def broke(self) -> None:
        """Note a bug."""
        with self._mutex:
            self._is_broken = True
        self._event.set()


class Watched(t.NamedTuple):
    """What one query watches: a shard, or with None only whether the datacenter is restored.

    One that is ``rare`` rests after an answer, in proportion to what it costs Consul.
    """

    spec: ShardSpec | None
    rare: bool = False


class _Thread(threading.Thread):
    def __init__(self, owner: ChangeWatch, name: Name, watched: Watched) -> None:
        self.watched = watched
        self._what = "restores" if watched.spec is None else repr(watched.spec.prefix)
        super().__init__(name=f"watch {self._what}", daemon=True)
        self.ending = threading.Event()
        self._owner = owner
        self._key = name

    def run(self) -> None:
        is_bug = True
        try:
            self._watch()
            is_bug = False
        finally:
            if is_bug:
                self._owner.broke()

    def _watch(self) -> None:
        query, back_off = self._owner.query(self.watched.spec), BackOff(longest_s=LONGEST_PAUSE_S)
        cost_s = LONGEST_REST_S / REST_FACTOR
        is_first = True
        last_index = 0
        while not self.ending.is_set():
            started = time.monotonic()
            try:
                found = query.next()
            except errors.Aborted:
                return
            except errors.ConsulError as error:
                if self.ending.is_set():
                    return
                log.debug("watching %s: %s", self._what, error)
                self._owner.failed(self._key, error)
                self.ending.wait(back_off.next_s())
                is_first = True
                continue
            if self.ending.is_set():
                return
            if is_first:  # it does not block, so it shows what one costs
                cost_s = min(cost_s, time.monotonic() - started)
            is_first = False
            if not found.changed:
                self._owner.succeeded(self._key)
                if time.monotonic() - started < EARLY_S:
                    self._owner.interrupted()
                    query = self._owner.query(self.watched.spec)
                    self.ending.wait(back_off.next_s())
                continue
            back_off.reset()
            is_reset = found.reset or found.index < last_index
            last_index = found.index
            if is_reset:
                self._owner.interrupted()
            if self.watched.spec is None:
                self._owner.succeeded(self._key)
                continue
            self._owner.answered(self._key, found.index, is_reset=is_reset, is_empty=found.response.status == 404)
            if self.watched.rare:
                self.ending.wait(REST_FACTOR * cost_s)
