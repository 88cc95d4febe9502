# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job of one policy: takes what is due, delivers it, tries again what failed, and reports."""

from __future__ import annotations

import functools
import logging
import time
from pathlib import Path

from ..._consul import errors
from ..._consul.retry import BackOff
from ..._daemon.job import Context
from .config import ONE, PolicyConfig
from .index_file import IndexFile
from .memory import Memory
from .policy_run import PolicyRun
from .policy_status import status_of
from .schedule import Due, decide

log = logging.getLogger("consulops")

FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
LOOK_EVERY_S = 10.0  # the age of the newest snapshot is reported so often


def connection_of(name: str) -> str:
    """Return the name of the connection of a policy."""
    return f"policy {name}"


def waiting_place(state: Path, name: str) -> Path:
    """Return the directory of the snapshots that wait for their destinations."""
    return state / "waiting" / name


def run_policy(context: Context, config: PolicyConfig) -> None:
    """Work for one policy until the lease term ends or the agent stops. Raises an Error when the run cannot go on."""
    memory: Memory = context.memory
    # What a standby delivers was taken here. It ends at once, and its index is read anew.
    with memory.place_lock(config.name).taken_over(context.stopping) as is_taken:
        if is_taken:
            _PolicyJob(context, config).run()


class _PolicyJob:
    def __init__(self, context: Context, config: PolicyConfig) -> None:
        self._context = context
        self._config = config
        self._memory: Memory = context.memory
        self._index = IndexFile(context.state, config.name)
        self._run = PolicyRun(
            config,
            context.client(connection_of(config.name)),
            waiting_place(context.state.path, config.name),
            self._index.catalogue,
            context.node,
            functools.partial(_confirm, context) if config.placement == ONE else _no_lease,
        )
        context.on_cut(self._run.abort)
        self._back_off = BackOff(FIRST_RETRY_S, LONGEST_RETRY_S)
        self._retry_at = 0.0  # monotonic
        self._failures = 0
        self._local_failures = 0
        self._problem = ""

    def run(self) -> None:
        """Work until ``context.stopping``."""
        try:
            while not self._context.stopping.is_set():
                self._round()
        finally:
            self._memory.forget(self._config.name)
            self._context.show(self._memory.section())

    def _round(self) -> None:
        run = self._run
        run.refresh()
        due = self._due()
        if due.slot is not None and time.monotonic() >= self._retry_at:
            self._take(due)
        if self._context.stopping.is_set():
            return
        run.deliver(time.time())
        self._index.save()
        due = self._due()
        self._report(due)
        self._context.pause(self._wait_s(due))

    def _due(self) -> Due:
        return decide(self._config.schedule, self._run.slots(), time.time())

    def _take(self, due: Due) -> None:
        try:
            self._run.take(due, time.time())
        except errors.Error as error:
            if not self._context.stopping.is_set():
                self._failed(error)
        else:
            self._failures = self._local_failures = 0
            self._problem = ""
            self._retry_at = 0.0
            self._back_off.reset()

    def _failed(self, error: errors.Error) -> None:
        """Remember why a snapshot was not taken, and give the lease away if another host may do better."""
        if str(error) != self._problem:
            log.warning("%s: no snapshot: %s", self._config.name, error)
        self._failures += 1
        self._problem = str(error)
        self._retry_at = time.monotonic() + self._back_off.next_s()
        if self._config.placement != ONE:
            return
        self._local_failures = self._local_failures + 1 if self._context.is_local(error) else 0
        if self._local_failures >= self._config.max_failures:
            self._local_failures = 0
            self._context.lease.give_up(str(error), after_failures=self._config.max_failures)

    def _report(self, due: Due) -> None:
        now = time.time()
        status = status_of(
            self._run,
            due,
            now,
            failures_in_row=self._failures,
            attempt_problem=self._problem or self._index.problem,
            rehearsal=self._memory.rehearsal(self._config.name),
        )
        self._memory.update(status)
        self._context.show(self._memory.section())
        problem, is_critical = status.problem(now), status.is_critical(now)
        if self._problem:
            self._context.report_problem(problem, is_critical=is_critical)
        else:
            took_s = sum(status.seconds.values())
            self._context.report(status.summary(now), took_s=took_s, problem=problem, is_critical=is_critical)

    def _wait_s(self, due: Due) -> float:
        """Return how long nothing has to be done, seconds."""
        turn_s = due.next_at - time.time() if due.slot is None else self._retry_at - time.monotonic()
        waits = [LOOK_EVERY_S, turn_s]
        waits += [one.due_in_s for one in self._run.destinations if one.problem]
        return max(0.05, min(waits))


def _no_lease() -> None:
    pass


def _confirm(context: Context) -> None:
    """Raise Conflict unless this instance still holds the lease. Consul may be away: as long as nobody else can have it, go on."""
    try:
        is_held = context.lease.confirm()
    except errors.ConsulError:
        is_held = context.lease.held
    if not is_held:
        raise errors.Conflict("The lease is lost: another instance may be at work.", 409)
