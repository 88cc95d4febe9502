# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs one job in a thread of its own: waits for its lease, runs it again after a failure, and stops it."""

from __future__ import annotations

import logging
import threading
import time
import typing as t

from .._consul import errors
from .job import Context, Job, Signs, Surroundings
from .lease import Lease, Pace
from .status import FAILING, REQUIRED, RUNNING, WAITING, JobStatus
from .status_board import Reporter

log = logging.getLogger("consulops")

WAIT_S = 5.0  # between signs of life while the job waits for its lease


class JobRunner:
    """The thread of one job, from ``start`` to ``request_stop`` and ``join``.

    An Error of the job is reported, and the job is run again after a pause; it has no effect on other jobs. Any other exception
    is a bug: the thread ends, and with it the process. ``on_end`` is called when the thread ends.
    """

    def __init__(
        self, job: Job, surroundings: Surroundings, lease: Lease | None, pace: Pace, on_end: t.Callable[[], None]
    ) -> None:
        self.job = job
        self.lease = lease
        self._surroundings = surroundings
        self._required = lease if lease is not None and lease.spec.policy == REQUIRED else None
        self._status: Reporter[JobStatus] = surroundings.board.add_job(
            job.name, self._required.spec.name if self._required else ""
        )
        self._pace = pace
        self._back_off = pace.back_off()
        self._on_end = on_end
        self._signs = Signs()
        self._stopping = threading.Event()
        self._wake = threading.Event()  # set when the job is stopped or its lease may have changed
        self._context: Context | None = None
        self._local_failures = 0
        self._thread = threading.Thread(target=self._run, name=f"job {job.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        if self._required:
            self._required.listen(self._on_lease)
        self._thread.start()

    @property
    def is_broken(self) -> bool:
        """Whether the thread ended by a bug."""
        return not self._thread.is_alive() and not self._stopping.is_set()

    @property
    def is_stalled(self) -> bool:
        """Whether the job has given no sign of life for longer than its limit."""
        return time.monotonic() - self._signs.last > self.job.heartbeat_limit_s

    def request_stop(self) -> None:
        """Ask the job to return."""
        self._stopping.set()
        self._wake.set()
        context = self._context
        if context is not None:
            context.stopping.set()

    def cut(self) -> None:
        """Cut the requests of a job that did not return by itself."""
        context = self._context
        if context is not None:
            context.cut()

    def join(self, until: float) -> bool:
        """Wait for the end of the thread, until ``until`` (monotonic) at most; return whether it has ended."""
        self._thread.join(max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()

    def forget(self) -> None:
        """Remove the job from the status, and ignore what it says later."""
        if self._required:
            self._required.unlisten(self._on_lease)
        self._status.remove()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                if self._required is not None and not self._required.held:
                    self._wait_for_lease()
                else:
                    self._run_once()
        finally:
            self._on_end()

    def _wait_for_lease(self) -> None:
        self._status.report(state=WAITING, problem="", is_critical=False, failures_in_row=0, summary="", numbers=())
        while not self._stopping.is_set():
            self._signs.give()
            if self._wake.wait(WAIT_S):
                return

    def _run_once(self) -> None:
        context = Context(self.job, self._surroundings, self.lease, self._status, self._signs, self._on_success)
        self._context = context
        self._on_lease()  # which may have been lost since
        if self._stopping.is_set():
            return
        self._signs.give()
        self._status.change(lambda entry: {"state": FAILING if entry.problem else RUNNING})
        try:
            self.job.run(context)
            if not context.stopping.is_set():
                raise errors.LocalFailure(f"The job {self.job.name} ended by itself.")
        except errors.Error as error:
            self._handle(error, context)
        finally:
            self._context = None
            context.close()

    def _handle(self, error: errors.Error, context: Context) -> None:
        """Report a failure and wait; one of a job that was being stopped is none."""
        try:
            # A write that the guard refused shows the loss of the lease before the lock itself notices it.
            if isinstance(error, errors.Conflict) and self._required is not None and not self._required.confirm():
                return
        except errors.ConsulError as second:
            error = second
        if context.stopping.is_set():
            return
        context.report_problem(str(error))
        self._status.failed(str(error), state=FAILING)
        if self._required is not None:
            # Only for a cause in this host: what every other instance would meet too moves no lease.
            self._local_failures = self._local_failures + 1 if context.is_local(error) else 0
            if self._local_failures >= self._pace.step_down_after_failures:
                self._local_failures = 0
                self._required.give_up(str(error))
                return
        pause_s = self._back_off.next_s()
        log.debug("job %s: trying again in %.3f s", self.job.name, pause_s)
        self._wake.clear()
        if not self._stopping.is_set():
            context.pause(pause_s)

    def _on_success(self) -> None:
        self._back_off = self._pace.back_off()
        self._local_failures = 0

    def _on_lease(self) -> None:
        """End the current run when the required lease is gone, and wake the thread that waits for it."""
        context = self._context
        if self._required is not None and context is not None and not self._required.held:
            context.stopping.set()
            context.cut()
        self._wake.set()
