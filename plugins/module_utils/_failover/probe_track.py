# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What look-ups of one service saw over time: who answered, since when, and how long nobody did. Pure."""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, field

MAX_SHOWN = 100  # changes and gaps of one look-up; more are counted


class Status(str, enum.Enum):
    """How one look-up ended. Only ``answered`` is an answer: with 200 and no instance a client has nothing to connect to."""

    ANSWERED = "answered"
    EMPTY = "empty"  # Consul answered that there is no instance
    NOT_FOUND = "not_found"  # there is no such prepared query
    NO_LEADER = "no_leader"  # the agent reaches no leader of its datacenter
    UNKNOWN = "unknown"  # no answer, an answer of something else, or one from which something was left out


@dataclass(frozen=True)
class Sample:
    """One look-up: when it began and ended, in seconds of the probe, and what it gave. ``datacenter`` is None where it is not known."""

    begin_s: float
    end_s: float
    status: Status
    datacenter: str | None = None
    nodes: tuple[str, ...] = ()
    problem: str = ""


@dataclass
class Gap:
    """A time without an answer, from the beginning of the first look-up without one to the end of the first with one."""

    begin_s: float
    end_s: float
    problem: str
    is_over: bool = False

    @property
    def seconds(self) -> float:
        return self.end_s - self.begin_s


@dataclass
class Track:
    """All look-ups of one name at one agent in one way, kept as what changed."""

    samples: int = 0
    without_answer: int = 0
    gap_count: int = 0
    change_count: int = 0
    longest_gap_s: float = 0.0
    last: Sample | None = None
    since_s: float = 0.0
    gaps: list[Gap] = field(default_factory=list)
    changes: list[dict[str, t.Any]] = field(default_factory=list)
    _gap: Gap | None = None

    def add(self, sample: Sample) -> None:
        """Add the next look-up, in the order of time."""
        self.samples += 1
        if self.last is None or (self.last.status, self.last.datacenter) != (sample.status, sample.datacenter):
            self._change(sample)
        self.last = sample
        if sample.status is Status.ANSWERED:
            if self._gap is not None:
                self._extend(sample.end_s)
                self._gap.is_over = True
                self._gap = None
            return
        self.without_answer += 1
        if self._gap is None:
            self._gap = Gap(sample.begin_s, sample.end_s, sample.problem)
            self.gap_count += 1
            if len(self.gaps) < MAX_SHOWN:
                self.gaps.append(self._gap)
        self._extend(sample.end_s)

    def _extend(self, end_s: float) -> None:
        current = self._gap
        if current is not None:
            current.end_s = end_s
            self.longest_gap_s = max(self.longest_gap_s, current.seconds)

    def _change(self, sample: Sample) -> None:
        self.since_s = sample.end_s
        self.change_count += 1
        if len(self.changes) < MAX_SHOWN:
            self.changes.append(
                {
                    "at": round(sample.end_s, 3),
                    "status": sample.status.value,
                    "datacenter": sample.datacenter,
                    "problem": sample.problem,
                }
            )

    def as_result(self) -> dict[str, t.Any]:
        last = self.last
        is_known = last is not None and last.status in (Status.ANSWERED, Status.EMPTY, Status.NOT_FOUND)
        return {
            "status": last.status.value if last else Status.UNKNOWN.value,
            "answers": (last.status is Status.ANSWERED) if last and is_known else None,
            "datacenter": last.datacenter if last else None,
            "nodes": list(last.nodes) if last else [],
            "since": round(self.since_s, 3),
            "problem": last.problem if last else "",
            "samples": self.samples,
            "without_answer": self.without_answer,
            "longest_gap": round(self.longest_gap_s, 3),
            "gap_count": self.gap_count,
            "gaps": [
                {
                    "begin": round(gap.begin_s, 3),
                    "seconds": round(gap.seconds, 3),
                    "is_over": gap.is_over,
                    "problem": gap.problem,
                }
                for gap in self.gaps
            ],
            "change_count": self.change_count,
            "changes": self.changes,
        }


@dataclass(frozen=True)
class Expected:
    """What each look-up must give: an answer of a datacenter, within seconds, and no longer gap than that. None is no demand."""

    datacenter: str | None
    within_s: float | None
    max_gap_s: float | None

    def is_met_now(self, track: Track) -> bool:
        """Whether the last look-up gave the expected answer."""
        last = track.last
        return (
            last is not None
            and last.status is Status.ANSWERED
            and (self.datacenter is None or last.datacenter == self.datacenter)
        )

    def miss(self, track: Track) -> str:
        """Return what was not as expected, as the end of a sentence; "" when everything was."""
        last = track.last
        if last is None:
            return "was not looked up"
        wanted = f"answers from {self.datacenter} were expected" if self.datacenter else "an answer was expected"
        within = f" within {self.within_s:g} s" if self.within_s is not None else ""
        if last.status is not Status.ANSWERED:
            return f"{wanted}{within}, and since {track.since_s:.1f} s there is none: {last.problem.rstrip('.')}"
        if self.datacenter is not None and last.datacenter != self.datacenter:
            return f"{wanted}{within}, and since {track.since_s:.1f} s they come from {last.datacenter or 'an unknown datacenter'}"
        if self.within_s is not None and track.since_s > self.within_s:
            return f"{wanted}{within}, and they came after {track.since_s:.1f} s"
        if self.max_gap_s is not None and track.longest_gap_s > self.max_gap_s:
            return f"nobody answered for {track.longest_gap_s:.1f} s; at most {self.max_gap_s:g} s were expected"
        return ""
