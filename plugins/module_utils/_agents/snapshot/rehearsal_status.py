# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of a policy's rehearsals, and what of it outlives the process. Pure; the time is an argument."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass, replace

from ..._consul.units import human_age, timestamp

FORMAT = 1


@dataclass(frozen=True)
class RehearsalStatus:
    """The last rehearsal that came to a verdict, and what has to be looked at. Times in Unix seconds.

    ``is_ok``: whether ``snapshot`` restored, None before the first verdict. ``slot``: the planned time that is done with.
    ``good_at``: when a snapshot restored last. ``since``: when rehearsals began to be due here. ``error`` is why the snapshot does not
    restore, or why a later rehearsal could not be done.
    """

    since: float
    objective_s: float
    at: float | None = None
    is_ok: bool | None = None
    took_s: float = 0.0
    restore_s: float = 0.0
    snapshot: str = ""
    slot: int | None = None
    good_at: float | None = None
    error: str = ""

    def is_overdue(self, now: float) -> bool:
        """Return whether the last good rehearsal is too long ago."""
        return now - max(self.good_at or 0.0, self.since) > self.objective_s

    def succeeded(
        self, snapshot: str, slot: int | None, now: float, took_s: float, restore_s: float
    ) -> RehearsalStatus:
        """Return the status after a snapshot restored."""
        return replace(
            self,
            at=now,
            is_ok=True,
            took_s=took_s,
            restore_s=restore_s,
            snapshot=snapshot,
            slot=slot,
            good_at=now,
            error="",
        )

    def failed(self, snapshot: str, slot: int | None, now: float, took_s: float, error: str) -> RehearsalStatus:
        """Return the status after a snapshot did not restore."""
        return replace(self, at=now, is_ok=False, took_s=took_s, snapshot=snapshot, slot=slot, error=error)

    def not_done(self, error: str) -> RehearsalStatus:
        """Return the status after a rehearsal that could not be done: what is known of the last one stays."""
        return self if self.is_ok is False else replace(self, error=error)

    def problem(self, now: float) -> str:
        """Return what somebody has to look at, "" for nothing."""
        if self.is_ok is False:
            return f"the last rehearsal failed: {self.error}"
        reasons = [f"a rehearsal could not be done: {self.error}"] if self.error else []
        if self.is_overdue(now):
            last = (
                "there was no rehearsal"
                if self.good_at is None
                else f"the last rehearsal is {human_age(now - self.good_at)} old"
            )
            reasons.insert(0, f"{last}, and the objective is {human_age(self.objective_s)}")
        return "; ".join(reasons)

    def summary(self) -> str:
        """Return one sentence for the frame's status."""
        if self.at is None:
            return "no rehearsal yet"
        verdict = f"restores, in {self.restore_s:.1f} s" if self.is_ok else "DOES NOT RESTORE"
        return f"{self.snapshot} {verdict}; rehearsed at {timestamp(self.at)}"

    def as_json(self, now: float) -> dict[str, t.Any]:
        """Return what is shown as plain data."""
        return {
            "at": None if self.at is None else timestamp(self.at),
            "ok": self.is_ok,
            "seconds": round(self.took_s, 3),
            "restore_seconds": round(self.restore_s, 3),
            "snapshot": self.snapshot,
            "overdue": self.is_overdue(now),
            "error": self.error,
        }

    def as_bytes(self) -> bytes:
        """Return the contents of its file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True).encode()


def parse(content: bytes | None, objective_s: float, now: float) -> RehearsalStatus:
    """Return what a file holds; without one that can be used, rehearsals begin ``now``."""
    fresh = RehearsalStatus(now, objective_s)
    if content is None:
        return fresh
    try:
        found = json.loads(content)
        if found.pop("format") != FORMAT:
            return fresh
        status = replace(fresh, **{**found, "objective_s": objective_s})
        status.as_json(now), status.problem(now), status.summary()  # raise what a value of a wrong type raises
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, RecursionError):
        return fresh  # OSError: a time that the system's calendar does not reach
    # What is dated ahead was written by a clock that was wrong.
    return fresh if max(status.since, status.at or 0.0, status.good_at or 0.0) > now else status
