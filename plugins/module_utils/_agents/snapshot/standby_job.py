# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job of an instance without the lease of a policy: delivers what it took while it had the lease, and shows what still waits.

It lists and prunes no destination: that stays with the holder. Two instances may deliver at once, because a store never overwrites and a
slot that is there already is recognised.
"""

from __future__ import annotations

import time

from ..._consul.client import Client
from ..._consul.private_file import os_errors_as
from ..._consul.snapshot_waiting import WaitingFor, WaitingSnapshots
from ..._daemon.job import Context
from .config import PolicyConfig
from .index_file import IndexFile
from .memory import Memory
from .policy_job import LOOK_EVERY_S, connection_of, waiting_place
from .policy_run import PolicyRun

STANDBY_AFTER_S = (
    10.0  # a lease that is lost for a moment comes back, and an upload that is ended then is to be made again
)


def run_standby(context: Context, config: PolicyConfig) -> None:
    """Work while another instance has the lease of a policy, until ``context.stopping``. Raises an Error when it cannot go on."""
    _StandbyJob(context, config).run()


def waiting_of(run: PolicyRun) -> WaitingSnapshots:
    """Return what waits, and for what."""
    return WaitingSnapshots(
        snapshots=len(run.waiting),
        size=sum(one.manifest.stored_size for one in run.waiting if one.manifest),
        since=min((float(int(one.time)) for one in run.waiting), default=None),
        destinations={one.name: WaitingFor(len(run.waiting_for(one)), one.problem) for one in run.destinations},
    )


class _StandbyJob:
    def __init__(self, context: Context, config: PolicyConfig) -> None:
        self._context = context
        self._config = config
        self._memory: Memory = context.memory
        self._lock = self._memory.place_lock(config.name)
        self._place = waiting_place(context.state.path, config.name)
        self._client: Client = context.client(connection_of(config.name))  # of the run, which sends nothing with it
        self._run: PolicyRun | None = None
        self._index: IndexFile | None = None
        self._term = -1
        self._deliver_at = time.monotonic() + STANDBY_AFTER_S
        self._problem: str | None = None
        context.on_cut(self._abort)

    def run(self) -> None:
        """Work until ``context.stopping``."""
        while not self._context.stopping.is_set():
            self._lock.changed.clear()
            with self._lock.borrowed(self._abort) as is_mine:
                wait_s = self._round() if is_mine else self._leave_to_holder()
            self._context.wait_for(self._lock.changed, wait_s)

    def _leave_to_holder(self) -> float:
        self._run = None
        self._note(WaitingSnapshots())  # this instance has the lease, and the policy's status says what waits
        return LOOK_EVERY_S

    def _round(self) -> float:
        """Look at what waits, and deliver it; return how long nothing has to be done, seconds."""
        if not self._is_something_there():
            self._run = None
            self._note(WaitingSnapshots())
            return LOOK_EVERY_S
        run, index = self._opened()
        if self._lock.is_wanted or self._context.stopping.is_set():  # from now on the run itself is aborted
            return LOOK_EVERY_S
        self._note(waiting_of(run))  # before a transfer, which may take hours
        early_s = self._deliver_at - time.monotonic()
        if early_s > 0:
            return min(early_s, LOOK_EVERY_S)
        run.deliver(time.time(), may_prune=False)
        index.save()
        self._note(waiting_of(run))
        pauses = [one.due_in_s for one in run.destinations if one.problem]
        return max(0.05, min([LOOK_EVERY_S, *pauses])) if run.waiting else LOOK_EVERY_S

    def _is_something_there(self) -> bool:
        """Return whether there is a manifest: a run removes what else a save has left."""
        with os_errors_as(f"reading the directory {self._place}"):
            return self._place.is_dir() and any(path.name.endswith(".snap.json") for path in self._place.iterdir())

    def _opened(self) -> tuple[PolicyRun, IndexFile]:
        """Return what delivers, made anew after every term of the lease."""
        term = self._lock.terms
        if self._run is None or self._index is None or term != self._term:
            if term != self._term:
                self._deliver_at = time.monotonic() + STANDBY_AFTER_S
            self._term = term
            self._index = IndexFile(self._context.state, self._config.name)
            self._run = PolicyRun(self._config, self._client, self._place, self._index.catalogue, self._context.node)
        return self._run, self._index

    def _abort(self) -> None:
        run = self._run
        if run is not None:
            run.abort()

    def _note(self, found: WaitingSnapshots) -> None:
        self._memory.set_waiting(self._config.name, found)
        self._context.show(self._memory.section())
        reasons = found.reasons()
        problem = f"without the lease here, {found.sentence(time.time())}: {reasons}" if reasons else ""
        if reasons != self._problem:
            self._problem = reasons
            self._context.report("", problem=problem)
        else:
            self._context.report_problem(problem)
