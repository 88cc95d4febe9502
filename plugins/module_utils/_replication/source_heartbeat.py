# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes beats to one key of the source and watches that key, so that the time from a write to its notice is known.

A stuck watch and a server that lags behind are noticed although nothing else is written at the source.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import typing as t

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.digest import RESERVED_PREFIX
from .._consul.key_path import key_path
from .._consul.retry import BackOff
from .._consul.units import timestamp
from .._consul.watch import Watch
from .beat_lag import BeatLag

log = logging.getLogger("consulops")

HEARTBEAT_ROOT = f"{RESERVED_PREFIX.decode()}replication-heartbeat/"  # never replicated, and no sign of a replication into the source
DENIED_PAUSE_S = 300.0  # until a token that may not write is tried again
LONGEST_PAUSE_S = 15.0


def heartbeat_key(name: str) -> str:
    """Return the key that the replication of this name writes at the source."""
    return f"{HEARTBEAT_ROOT}{name}"


class SourceHeartbeat:
    """Beats from ``start`` on, until it is closed and its client aborted. It never fails: ``problem`` says why nothing is measured.

    ``event`` is set at each beat: there is something to ``take``. Agents of several destinations may share a key: a beat counts as
    seen when the watch answers with its index or a later one.
    """

    def __init__(
        self, source: Client, name: str, every_s: float, event: threading.Event, consistency: str = "default"
    ) -> None:
        self._source, self._name, self._every_s, self._event = source, name, every_s, event
        self._path = key_path(heartbeat_key(name))
        self._consistency = consistency
        self._ending = threading.Event()
        self._lag = BeatLag()
        self._has_news = False
        self.problem = ""

    def start(self) -> None:
        """Start its threads."""
        for work in (self._beat, self._watch):
            threading.Thread(target=work, name=f"heartbeat {self._name}", daemon=True).start()

    def close(self) -> None:
        """End the threads; requests in flight end when the client is aborted."""
        self._ending.set()

    def take(self) -> bool:
        """Return whether the time for a beat came since the last call, so that what is shown of it may be old."""
        has_news, self._has_news = self._has_news, False
        return has_news

    @property
    def lag_s(self) -> float | None:
        """How long it takes until a write is noticed, None while that cannot be measured."""
        return self._lag.lag_s(time.monotonic())

    @property
    def waiting_since(self) -> float | None:
        """When the oldest beat was sent that is not noticed yet (monotonic), None for none."""
        return self._lag.waiting_since()

    def _beat(self) -> None:
        number, pause_s = 0, self._every_s
        back_off = BackOff(longest_s=LONGEST_PAUSE_S)
        while not self._ending.wait(pause_s if number else 0.0):
            number += 1
            self._has_news = True
            self._event.set()
            pause_s, sent = self._every_s, time.monotonic()
            try:
                self._write(number, sent)
                self.problem = ""
                back_off.reset()
            except errors.Aborted:
                return
            except errors.PermissionDenied as error:
                self._lag.forget()
                needed = f'The token of the source needs key_prefix "{HEARTBEAT_ROOT}" {{ policy = "write" }}'
                self.problem = str(
                    error.with_advice(after=f"{needed}; until then the lag begins with the notice of a change.")
                )
                pause_s = DENIED_PAUSE_S
            except errors.ConsulError as error:
                log.debug("%s: no heartbeat: %s", self._name, error)
                self.problem = str(error)
                if isinstance(error, errors.Unreachable):  # others say that nothing can be written there now
                    self._lag.not_answered(sent)
                pause_s = max(self._every_s, back_off.next_s())

    def _write(self, number: int, sent: float) -> None:
        document: dict[str, t.Any] = {"number": number, "at": timestamp(time.time())}
        self._source.put(self._path, body=json.dumps(document).encode())
        for entry in kv.read_key(self._source, heartbeat_key(self._name), consistency="consistent").entries:
            self._lag.written(entry.modify_index, sent)

    def _watch(self) -> None:
        watch = Watch(self._source, self._path, consistency=self._consistency, partial_ok=True)
        back_off = BackOff(longest_s=LONGEST_PAUSE_S)
        while not self._ending.is_set():
            try:
                found = watch.next()
            except errors.Aborted:
                return
            except errors.ConsulError as error:
                log.debug("%s: watching the heartbeat: %s", self._name, error)
                self._ending.wait(back_off.next_s())
                continue
            if found.response.status == 200:
                back_off.reset()
                self._lag.seen(found.index, time.monotonic())
            else:  # absent: every write of another key would be an answer
                self._ending.wait(back_off.next_s())
