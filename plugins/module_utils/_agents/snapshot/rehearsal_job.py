# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job that rehearses the newest snapshot of a policy on a schedule, beside the policy's own job, which it never delays."""

from __future__ import annotations

import logging
import time
import typing as t
from pathlib import Path

from ..._consul import errors
from ..._consul.private_file import os_errors_as
from ..._consul.retry import BackOff
from ..._daemon.job import Context
from ..._snapshot import fetched_file, stored_snapshots
from ..._snapshot.errors import BadSnapshot
from ..._snapshot.rehearsal import service
from ..._snapshot.rehearsal.errors import RehearsalFailed
from ..._snapshot.rehearsal.rehearse import RehearsalRequest, rehearse
from ..._snapshot.rehearsal.result import not_verified, rehearsed
from ..._snapshot.stored_snapshots import StoredSnapshot
from ..._snapshot.stores.open_store import open_store
from ..._snapshot.stores.store import Store
from . import rehearsal_status
from .config import PolicyConfig
from .memory import Memory
from .rehearse_config import RehearseConfig
from .schedule import decide

log = logging.getLogger("consulops")

FIRST_RETRY_S, LONGEST_RETRY_S = 60.0, 3600.0
LOOK_EVERY_S = 10.0  # whether a rehearsal is overdue is reported so often
NO_SNAPSHOT_S = 10.0  # after which a destination without one is looked at again


def state_file(name: str) -> str:
    """Return the name of the file with what is known of a policy's rehearsals."""
    return f"rehearsal-{name}.json"


def run_rehearsals(context: Context, policy: PolicyConfig, config: RehearseConfig) -> None:
    """Rehearse when it is due, until ``context.stopping``. Raises LocalFailure when the state cannot be kept."""
    _RehearsalJob(context, policy, config).run()


class _RehearsalJob:
    def __init__(self, context: Context, policy: PolicyConfig, config: RehearseConfig) -> None:
        self._context, self._policy, self._config = context, policy, config
        self._memory: Memory = context.memory
        self._status = rehearsal_status.parse(
            context.state.read(state_file(policy.name)), config.objective_s, time.time()
        )
        self._back_off = BackOff(FIRST_RETRY_S, LONGEST_RETRY_S)
        self._retry_at = 0.0  # monotonic

    def run(self) -> None:
        """Work until ``context.stopping``."""
        self._keep()
        try:
            while not self._context.stopping.is_set():
                self._round()
        finally:
            self._memory.set_rehearsal(self._policy.name, None)

    def _round(self) -> None:
        due = self._due()
        if due.slot is not None and time.monotonic() >= self._retry_at:
            self._try(due.slot)
            if self._context.stopping.is_set():
                return
            due = self._due()
        now = time.time()
        problem = self._status.problem(now)
        self._context.report(
            self._status.summary(),
            took_s=self._status.took_s,
            problem=problem,
            is_critical=self._status.is_ok is False,
        )
        turn_s = due.next_at - now if due.slot is None else self._retry_at - time.monotonic()
        self._context.pause(max(0.05, min(LOOK_EVERY_S, turn_s)))

    def _due(self) -> t.Any:
        done = [] if self._status.slot is None else [self._status.slot]
        return decide(self._config.schedule, done, time.time())

    def _try(self, slot: int) -> None:
        """Rehearse the newest snapshot; what comes of it is kept."""
        started = time.monotonic()
        name = ""
        try:
            store, found = self._newest()
            if found is None:
                self._retry_at = time.monotonic() + NO_SNAPSHOT_S
                return
            name = found.name
            log.info("%s: rehearsing %s", self._policy.name, name)
            result = self._rehearse(store, found)
        except (RehearsalFailed, BadSnapshot) as error:
            self._status = self._status.failed(name, slot, time.time(), time.monotonic() - started, str(error))
            log.error("%s: %s", self._policy.name, error)
        except errors.Error as error:
            if self._context.stopping.is_set():
                return
            log.warning("%s: no rehearsal: %s", self._policy.name, error)
            self._status = self._status.not_done(str(error))
            self._retry_at = time.monotonic() + self._back_off.next_s()
        else:
            took_s = time.monotonic() - started
            self._status = self._status.succeeded(name, slot, time.time(), took_s, result["seconds"]["restore"])
            self._retry_at = 0.0
            self._back_off.reset()
            for warning in result["warnings"]:
                log.warning("%s: %s", self._policy.name, warning)
        self._keep()

    def _keep(self) -> None:
        self._context.state.write(state_file(self._policy.name), self._status.as_bytes())
        self._memory.set_rehearsal(self._policy.name, self._status)

    def _newest(self) -> tuple[Store, StoredSnapshot | None]:
        """Return the newest verified snapshot of the policy in the destination."""
        (place,) = (one for one in self._policy.destinations if one.name == self._config.destination)
        store = open_store(place.store)
        own = [
            one
            for one in stored_snapshots.list_store(store)
            if one.manifest is not None and one.manifest.policy == self._policy.name
        ]
        return store, stored_snapshots.newest(own)

    def _rehearse(self, store: Store, found: StoredSnapshot) -> dict[str, t.Any]:
        """Return the result of a rehearsal, by the service if it is there. Raises what ``rehearse`` raises."""
        config = self._config
        scratch = self._scratch()
        with fetched_file.fetched(store, found, config.keys, scratch) as path:
            request = RehearsalRequest(
                path=path,
                shown=f"{store.shown.rstrip('/')}/{found.name}",
                scratch=scratch,
                consul_binary=config.consul_binary,
                memory_bytes=config.memory_bytes,
                time_s=config.time_s,
                is_private_copy=True,
            )
            if service.is_there(config.service):
                return service.rehearse_by_service(config.service, request, self._on_step, self._is_wanted)
            done = rehearse(request, self._on_step, self._is_wanted)
        result = {**rehearsed(done, service.LISTED), "warnings": list(done.warnings)}
        if not result["verified"]:
            raise not_verified(done, request.shown, result)
        return result

    def _scratch(self) -> Path:
        place = self._context.state.path / "rehearsal"
        with os_errors_as(f"creating the directory {place}"):
            place.mkdir(mode=0o700, exist_ok=True)
        return place

    def _on_step(self, doing: str) -> None:
        self._context.heartbeat()
        log.debug("%s: %s", self._policy.name, doing)

    def _is_wanted(self) -> bool:
        self._context.heartbeat()
        return not self._context.stopping.is_set()
