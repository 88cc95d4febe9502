# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The current status of an agent, which its threads replace as a whole."""

from __future__ import annotations

import threading
import time
import typing as t
from dataclasses import replace

from .status import AgentStatus, JobStatus, LeaseStatus

Entry = t.TypeVar("Entry", JobStatus, LeaseStatus)
OnChange = t.Callable[[AgentStatus, AgentStatus], None]


class StatusBoard:
    """Holds the current AgentStatus.

    ``on_change`` is called with the status before and after, in the thread that made the change, when the state of the
    whole or its problem has changed. ``clock`` gives seconds since 1970.
    """

    def __init__(
        self, agent: str, name: str, node: str, on_change: OnChange, clock: t.Callable[[], float] = time.time
    ) -> None:
        now = clock()
        self.clock = clock
        self._current = AgentStatus(agent, name, node, started=now, since=now)
        self._mutex = threading.Lock()
        self._reporters: dict[tuple[str, str], Reporter[t.Any]] = {}
        self._on_change = on_change

    @property
    def current(self) -> AgentStatus:
        """The current status."""
        return self._current

    def add_job(self, name: str, lease: str = "") -> Reporter[JobStatus]:
        """Begin with a job and return what it reports through. It replaces a job of that name, whose reporter is ignored from then on."""
        return self._add("jobs", JobStatus(name, lease, since=self.clock()))

    def add_lease(self, name: str, key: str, policy: str) -> Reporter[LeaseStatus]:
        """Begin with a lease, as ``add_job``. The number of terms goes on."""
        before = self._current.leases.get(name)
        terms = before.terms if before else 0
        return self._add("leases", LeaseStatus(name, key, policy, since=self.clock(), terms=terms))

    def change(self, **changes: t.Any) -> None:
        """Replace fields of the status: agent, name, reloads, reload_problem, registration_problem, is_stopping, stalled, section."""
        with self._mutex:
            before, after = self._replaced(changes)
        self._notify(before, after)

    def report(self, reporter: Reporter[Entry], changes: t.Callable[[Entry], t.Mapping[str, t.Any]]) -> None:
        """Apply changes to the entry of a reporter, unless it was replaced or removed."""
        with self._mutex:
            entries = dict(getattr(self._current, reporter.kind))
            entry = entries.get(reporter.name)
            if entry is None or reporter.is_detached:
                return
            changed = replace(entry, **changes(entry))
            key = "standing" if isinstance(entry, LeaseStatus) else "state"
            if getattr(changed, key) != getattr(entry, key):
                changed = replace(changed, since=self.clock())
            entries[reporter.name] = changed
            before, after = self._replaced({reporter.kind: entries})
        self._notify(before, after)

    def remove(self, reporter: Reporter[Entry]) -> None:
        """Remove the entry of a reporter, and ignore what it reports later."""
        with self._mutex:
            if reporter.is_detached:
                return
            reporter.is_detached = True
            entries = dict(getattr(self._current, reporter.kind))
            entries.pop(reporter.name, None)
            self._reporters.pop((reporter.kind, reporter.name), None)
            before, after = self._replaced({reporter.kind: entries})
        self._notify(before, after)

    def _add(self, kind: str, entry: t.Any) -> Reporter[t.Any]:
        reporter: Reporter[t.Any] = Reporter(self, kind, entry.name)
        with self._mutex:
            replaced = self._reporters.get((kind, entry.name))
            if replaced is not None:
                replaced.is_detached = True
            self._reporters[kind, entry.name] = reporter
            before, after = self._replaced({kind: {**getattr(self._current, kind), entry.name: entry}})
        self._notify(before, after)
        return reporter

    def _replaced(self, changes: t.Mapping[str, t.Any]) -> tuple[AgentStatus, AgentStatus]:
        before = self._current
        after = replace(before, **changes)
        if after.state != before.state:
            after = replace(after, since=self.clock())
        self._current = after
        return before, after

    def _notify(self, before: AgentStatus, after: AgentStatus) -> None:
        if (before.state, before.problem) != (after.state, after.problem):
            self._on_change(before, after)


class Reporter(t.Generic[Entry]):
    """Reports the status of one job or lease. What it says after it was replaced is ignored: a request that hung may return late."""

    def __init__(self, board: StatusBoard, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        self.is_detached = False
        self._board = board

    def report(self, **changes: t.Any) -> None:
        """Replace fields of the entry."""
        self._board.report(self, lambda _entry: changes)

    def change(self, changes: t.Callable[[Entry], t.Mapping[str, t.Any]]) -> None:
        """Replace fields of the entry, depending on what they are."""
        self._board.report(self, changes)

    def succeeded(self, **changes: t.Any) -> None:
        """Replace fields of the entry, and note that its problem is over."""
        self.report(problem="", failures_in_row=0, **changes)

    def count(self, field: str, **changes: t.Any) -> None:
        """Add one to a field, and replace others."""
        self._board.report(self, lambda entry: {field: getattr(entry, field) + 1, **changes})

    def failed(self, problem: str, **changes: t.Any) -> None:
        """Count a failure."""
        self._board.report(
            self,
            lambda entry: {
                "problem": problem,
                "failures": entry.failures + 1,
                "failures_in_row": entry.failures_in_row + 1,
                **changes,
            },
        )

    def remove(self) -> None:
        """Remove the entry."""
        self._board.remove(self)
