# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of one set as plain data, for /status, the page and the metrics."""

from __future__ import annotations

import heapq
import time
import typing as t
from dataclasses import dataclass, field, replace

from ..._consul.units import count_of, human_age, some_of, timestamp
from ..._replication.follow_progress import Totals, Verification
from ..._replication.follower import Follower
from ..._replication.source_epoch import Epoch
from ..._replication.source_heartbeat import SourceHeartbeat

COMPARING, FOLLOWING, BEHIND, FROZEN = "comparing", "following", "behind", "frozen"
STATES = (COMPARING, FOLLOWING, BEHIND, FROZEN)
BY_HEARTBEAT, BY_INDEX = "heartbeat", "index"
BEGINS = {BY_HEARTBEAT: "write at the source", BY_INDEX: "notice of a change"}
SHOWN_KEYS = 10  # of each list of keys

Data = dict[str, t.Any]


@dataclass
class SetStatus:
    """What is known of one set.

    ``pending`` shards are being written, ``waiting`` watched groups changed and were not looked at yet, the first of them at
    ``pending_since`` (monotonic). ``lag_s`` is the time from the notice of the last change until it was written. ``problem_since``
    (monotonic) is when a side stopped answering. ``plan`` is the digest of the deletions that are paused.
    """

    name: str
    state: str = COMPARING
    lag_s: float = 0.0
    pending: int = 0
    waiting: int = 0
    pending_since: float | None = None
    frozen: str | None = None
    problem: str = ""
    problem_since: float | None = None
    heartbeat: SourceHeartbeat | None = None
    warnings: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    conflicts: t.Mapping[str, str] = field(default_factory=dict)
    unwritable: t.Mapping[str, str] = field(default_factory=dict)
    deferred: t.Mapping[str, str] = field(default_factory=dict)
    unreadable: t.Mapping[str, str] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    plan: str = ""
    reasons: tuple[str, ...] = ()
    acknowledged: str = ""
    verification: Verification | None = None
    epoch: Epoch | None = None
    totals: Totals = field(default_factory=Totals)
    deleted_in_window: int = 0
    watches: int = 0
    keeps_conflicts: bool = False

    @property
    def current_lag_s(self) -> float:
        """How far the destination is behind: how long the oldest known change waits, else how long the last one took.

        With a heartbeat it begins with the write at the source, else with the notice of a change.
        """
        known_s = self.lag_s if self.pending_since is None else max(self.lag_s, time.monotonic() - self.pending_since)
        return known_s + (self.notice_lag_s or 0.0)

    @property
    def notice_lag_s(self) -> float | None:
        """How long it takes until a write at the source is noticed, None without a heartbeat that can be written."""
        return None if self.heartbeat is None else self.heartbeat.lag_s

    @property
    def lag_source(self) -> str:
        """How the lag is measured."""
        return BY_INDEX if self.notice_lag_s is None else BY_HEARTBEAT

    @property
    def behind_s(self) -> float:
        """For how long a change waits, a side does not answer, or a beat is not noticed; 0 if nothing of this is so."""
        beat = None if self.heartbeat is None else self.heartbeat.waiting_since
        waits = [self.pending_since, self.problem_since, beat]
        since = min((one for one in waits if one is not None), default=None)
        return 0.0 if since is None or self.frozen is not None else max(0.0, time.monotonic() - since)

    @property
    def finding(self) -> str:
        """What somebody has to look at, "" for nothing."""
        if self.paused:
            return (
                f"deletions of {count_of(len(self.paused), 'key')} are paused: {'; '.join(self.reasons)}. To let exactly these go "
                f"on, acknowledge the plan {self.plan}"
            )
        keys = [*self.unwritable, *(() if self.keeps_conflicts else self.conflicts)]
        if keys:
            return f"{count_of(len(keys), 'key')} could not be written: {some_of(keys)}"
        if self.unreadable:
            return f"not everything can be read: {next(iter(self.unreadable.values()))}"
        if self.deferred:
            return f"{count_of(len(self.deferred), 'key')} not deleted, because {next(iter(self.deferred.values())).rstrip('.')}"
        return "; ".join(self.warnings)

    @property
    def summary(self) -> str:
        """One sentence for the frame's status."""
        if self.state == FROZEN:
            return f"{self.name} is frozen by {self.frozen}"
        if self.verification is None:
            return f"{self.name}: comparing everything"
        return f"{self.name}: {count_of(self.verification.source_keys, 'key')}, lag {self.current_lag_s:.3f} s"

    def numbers(self) -> dict[str, float]:
        """Return the numbers of the metrics, by name."""
        verification = self.verification
        found = {
            "replication_lag_seconds": self.current_lag_s,
            "replication_lag_by_heartbeat": self.lag_source == BY_HEARTBEAT,
            "replication_pending": self.pending + self.waiting,
            "replication_conflicts": len(self.conflicts),
            "replication_unwritable": len(self.unwritable),
            "replication_deferred_deletes": len(self.deferred),
            "replication_paused_deletes": len(self.paused),
            "replication_frozen": self.frozen is not None,
            "replication_source_keys": verification.source_keys if verification else 0,
            "replication_equal": verification is not None and verification.is_equal,
            "replication_last_verification_timestamp_seconds": verification.at if verification else 0,
        }
        return {name: float(value) for name, value in found.items()}

    def as_json(self) -> Data:
        """Return everything as plain data."""
        found, epoch = self.verification, self.epoch
        return {
            "state": self.state,
            "lag_s": round(self.current_lag_s, 3),
            "lag_source": self.lag_source,
            "heartbeat": None
            if self.heartbeat is None
            else {
                "lag_s": None if self.notice_lag_s is None else round(self.notice_lag_s, 3),
                "problem": self.heartbeat.problem,
            },
            "pending": self.pending + self.waiting,
            "problem": self.problem or self.finding,
            "frozen": self.frozen,
            "paused_deletes": {
                "count": len(self.paused),
                "keys": heapq.nsmallest(SHOWN_KEYS, self.paused),
                "digest": self.plan if self.paused else "",
                "reasons": list(self.reasons) if self.paused else [],
                "acknowledged": self.acknowledged,
            },
            "conflicts": _some(self.conflicts),
            "unwritable": _some(self.unwritable),
            "deferred_deletes": _some(self.deferred),
            "unreadable": _some(self.unreadable),
            "unchecked": list(self.unchecked),
            "verification": None
            if found is None
            else {
                "at": timestamp(found.at),
                "took_s": round(found.took_s, 3),
                "digest": found.digest,
                "equal": found.is_equal,
                "source_keys": found.source_keys,
                "destination_keys": found.destination_keys,
            },
            "epoch": None if epoch is None else {"index": epoch.index, "servers": sorted(epoch.servers)},
            "written": vars(self.totals),
            "deleted_in_window": self.deleted_in_window,
            "watches": self.watches,
        }

    def rows(self, now: float) -> list[tuple[str, str]]:
        """Return what the page shows, as names and values; ``now`` is in Unix seconds."""
        found = self.verification
        rows = [
            ("State", self.state),
            ("Lag", f"{self.current_lag_s:.3f} s from the {BEGINS[self.lag_source]}"),
            ("Pending", f"{self.pending + self.waiting:,}"),
        ]
        if self.problem or self.finding:
            rows.append(("Problem", self.problem or self.finding))
        if self.frozen is not None:
            rows.append(("Frozen by", self.frozen))
        if self.paused:
            rows.append(("Paused deletions", f"{len(self.paused):,}: {some_of(heapq.nsmallest(4, self.paused))}"))
            rows.append(("Plan", self.plan))
        for name, keys in (
            ("Conflicts", self.conflicts),
            ("Cannot be written", self.unwritable),
            ("Cannot be read", self.unreadable),
            ("Deferred deletions", self.deferred),
        ):
            if keys:
                rows.append(
                    (name, f"{len(keys):,}: {some_of([f'{key} ({keys[key]})' for key in heapq.nsmallest(4, keys)])}")
                )
        if found is not None:
            equal = "equal" if found.is_equal else "not equal"
            rows.append(("Last verification", f"{human_age(now - found.at)} ago, {found.took_s:.1f} s, {equal}"))
            rows.append(("Keys", f"{found.source_keys:,} at the source, {found.destination_keys:,} at the destination"))
            rows.append(("Digest of the source", found.digest))
        totals = self.totals
        rows.append(("Created, updated, deleted", f"{totals.created:,}, {totals.updated:,}, {totals.deleted:,}"))
        return rows


def status_of(follower: Follower, before: SetStatus, **more: t.Any) -> SetStatus:
    """Return the status after a step of a follower. What belongs to the job is in ``more``, or as it was ``before``."""
    problems, decision = follower.problems, follower.decision
    return replace(
        before,
        warnings=tuple(follower.warnings),
        unchecked=tuple(follower.unchecked),
        conflicts=dict(problems.conflicts),
        unwritable=dict(problems.unwritable),
        deferred=dict(problems.deferred),
        unreadable=dict(problems.unreadable),
        paused=frozenset(problems.paused),
        plan=decision.digest,
        reasons=decision.reasons,
        verification=follower.verification,
        epoch=follower.record.epoch,
        totals=replace(follower.totals),
        keeps_conflicts=problems.keeps_conflicts,
        deleted_in_window=sum(follower.record.window.deleted.values()),
        watches=sum(len(watched.groups) + (not watched.has_every_key) for watched in follower.watched),
        **more,
    )


def _some(problems: t.Mapping[str, str]) -> Data:
    return {
        "count": len(problems),
        "keys": [{"key": key, "reason": problems[key]} for key in heapq.nsmallest(SHOWN_KEYS, problems)],
    }
