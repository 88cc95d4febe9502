# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source: a thread for each watched thing hands events over, and what was acknowledged is not sent again.

It knows neither Ansible nor asyncio. Whoever runs it gives a function that takes an event and returns when it was taken.
"""

from __future__ import annotations

import functools
import logging
import threading
import typing as t

from ...._consul import errors
from ...._consul.client import Client
from ..clock import Clock
from . import changes, streams
from .changes import Change, Event
from .failures import Failures, Stopped
from .finding_stream import FindingStream
from .options import CHECKS, EVENTS, FINDINGS, KV, LEADER, SERVICES, SourceConfig
from .positions import PositionStore

log = logging.getLogger("consulops")

MOST_PENDING = 100_000  # events that are not acknowledged; more means that nobody acknowledges


class EventSource:
    """Watches what the options say, from ``start`` to ``stop``.

    ``put`` is called by several threads with each event. It returns when the event was taken, and raises Aborted when none are taken
    any more. With ``wants_acknowledgement`` an event counts as dealt with after ``acknowledge``, else after ``put``. ``on_crash`` is
    called when a thread ended by a bug. Making one raises LocalFailure for a state file that cannot be used, and MissingLibrary.
    """

    def __init__(
        self,
        config: SourceConfig,
        put: t.Callable[[Event], None],
        *,
        wants_acknowledgement: bool = False,
        on_crash: t.Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self.clock = Clock()
        self.stopping = threading.Event()
        self._put = put
        self._on_crash = on_crash
        self._wants_acknowledgement = wants_acknowledgement
        self._mutex = threading.Lock()
        self._failures = Failures()
        self._pending: dict[str, list[tuple[str, Change]]] = {}
        self._clients: list[Client] = []
        self._streams: list[streams.Stream] = []
        self._disk_failed = False
        self.positions = PositionStore(config.state_file)
        try:
            self._make_streams()
        except errors.Error:
            self.stop()
            raise

    def _make_streams(self) -> None:
        for place, endpoint in self.config.endpoints.items():
            for word in self.config.watch:
                for name, made in self._kinds(word):
                    client = Client(endpoint)
                    self._clients.append(client)
                    stream = made(client)
                    stream.name = changes.join_key(place, *name)
                    self._streams.append(stream)

    def _kinds(self, word: str) -> list[tuple[tuple[str, ...], t.Callable[[Client], streams.Stream]]]:
        """Return the streams of a word: each with its name, and a function that makes it."""
        if word == KV:
            return [
                ((word, prefix), functools.partial(streams.KeyStream, self, prefix=prefix))
                for prefix in self.config.kv_prefixes
            ]
        kind: dict[str, type[streams.Stream]] = {
            FINDINGS: FindingStream,
            CHECKS: streams.CheckStream,
            SERVICES: streams.ServiceStream,
            EVENTS: streams.UserEventStream,
            LEADER: streams.LeaderStream,
        }
        return [((word,), functools.partial(kind[word], self))]

    def start(self) -> None:
        """Start the threads. They do not keep the process."""
        for stream in self._streams:
            threading.Thread(target=self._run, args=(stream,), name=f"consul {stream.name}", daemon=True).start()

    def _run(self, stream: streams.Stream) -> None:
        ended_well = False
        try:
            stream.run()
            ended_well = True
        finally:
            if not ended_well:
                self._on_crash()

    def stop(self) -> None:
        """Cut every request and end. What was not acknowledged is sent again by the next source with this state file."""
        self.stopping.set()
        for client in self._clients:
            client.abort()
        self.positions.close()

    # -------------------------------------------------------------------------------------------------------------
    # What streams call

    def send(self, stream: str, change: Change) -> None:
        """Hand the event of a change over. Raises Aborted."""
        event = {"id": changes.event_id(stream, change), **change.event}
        hosts = self.config.hosts.of(str(event.get("node") or ""))
        if hosts:
            event["meta"] = {"hosts": hosts}
        if self._wants_acknowledgement:
            with self._mutex:
                if len(self._pending) < MOST_PENDING:
                    self._pending.setdefault(event["id"], []).append((stream, change))
        self._hand_over(event)
        if not self._wants_acknowledgement:
            self._record(stream, {change.key: change.value})

    def report(self, stream: str, what: str, datacenter: str, stopped: Stopped | None) -> None:
        """Hand over what a stream's failure, or its end, is worth. Raises Aborted."""
        now = self.clock.time()
        with self._mutex:
            events = self._failures.update(stream, what, datacenter, stopped, now)
        for event in events:
            id_of = changes.event_id(stream, Change("", None, event))
            self._hand_over({"id": id_of, **event})

    def begin(self, stream: str, position: t.Mapping[str, t.Any]) -> None:
        """Store the first position of a stream."""
        self._on_disk(lambda: self.positions.begin(stream, dict(position)))

    def forget(self, stream: str, keys: t.Mapping[str, None]) -> None:
        """Remove keys of a position without an event."""
        if keys:
            self._record(stream, keys)

    def _hand_over(self, event: Event) -> None:
        if self.stopping.is_set():
            raise errors.Aborted("The event source was stopped.")
        self._put(changes.without_templates(event))

    # -------------------------------------------------------------------------------------------------------------

    def acknowledge(self, event: t.Mapping[str, t.Any]) -> None:
        """Record that an event was dealt with, so that it is not sent again after a restart."""
        with self._mutex:
            waiting = self._pending.get(str(event.get("id")))
            done = waiting.pop(0) if waiting else None
            if waiting is not None and not waiting:
                del self._pending[str(event["id"])]
        if done is not None:
            stream, change = done
            self._record(stream, {change.key: change.value})

    def _record(self, stream: str, values: t.Mapping[str, t.Any]) -> None:
        self._on_disk(lambda: self.positions.record(stream, values))

    def _on_disk(self, write: t.Callable[[], None]) -> None:
        """Write a position. A disk that fails ends nothing: the events of this time may come again."""
        try:
            write()
        except errors.LocalFailure as error:
            if not self._disk_failed:
                log.error("%s Until this works, events are sent again after a restart.", error)
            self._disk_failed = True
        else:
            self._disk_failed = False
