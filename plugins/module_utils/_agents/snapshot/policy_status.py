# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of one policy as plain data, for /status, the page, the metrics and the command."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import asdict, dataclass, field

from ..._consul.snapshot_status import NewestAge, joined
from ..._consul.units import human_age, human_bytes, timestamp
from ..._snapshot.kv_growth import FolderGrowth, growth
from ..._snapshot.stored_snapshots import StoredSnapshot
from .destination import Destination
from .policy_run import PolicyRun
from .rehearsal_status import RehearsalStatus
from .schedule import Due
from .timeline import SnapshotPoint

Data = dict[str, t.Any]


@dataclass(frozen=True)
class DestinationStatus:
    """What is known of one destination. ``waiting`` snapshots are not in it yet; ``damage`` is what is wrong with its newest one.

    ``snapshots`` are those in it, newest first.
    """

    name: str
    place: str
    count: int
    size: int
    newest: float | None
    waiting: int
    uploaded: int
    deleted: int
    upload_s: float
    problem: str
    is_reachable: bool
    damage: str = ""
    snapshots: tuple[StoredSnapshot, ...] = field(default=(), repr=False)

    @property
    def points(self) -> tuple[SnapshotPoint, ...]:
        """Its snapshots as the page draws them, newest first. Made on demand: a status is noted far more often than drawn."""
        return tuple(
            SnapshotPoint(one.time, one.manifest.stored_size if one.manifest else 0, not one.problem)
            for one in self.snapshots
        )

    def as_json(self) -> Data:
        """Return everything as plain data."""
        return {
            "place": self.place,
            "snapshots": self.count,
            "bytes": self.size,
            "newest": None if self.newest is None else timestamp(self.newest),
            "waiting": self.waiting,
            "uploaded": self.uploaded,
            "deleted": self.deleted,
            "upload_s": round(self.upload_s, 3),
            "problem": self.problem,
            "damage": self.damage,
        }


@dataclass(frozen=True)
class PolicyStatus(NewestAge):
    """What is known of one policy. Times in Unix seconds; ``newest`` is the newest verified snapshot of any destination.

    ``attempt_problem`` is why the last attempt to take one failed, "" after a success.
    """

    name: str
    datacenter: str | None
    placement: str
    objective_s: float
    newest: float | None
    newest_size: int
    newest_index: int
    records: t.Mapping[str, int]
    seconds: t.Mapping[str, float]
    next_slot: float
    next_at: float
    missed: int
    doubled: int
    given_up: int
    failures_in_row: int
    attempt_problem: str
    warnings: tuple[str, ...]
    destinations: tuple[DestinationStatus, ...] = field(default_factory=tuple)
    folders: tuple[FolderGrowth, ...] = ()
    rehearsal: RehearsalStatus | None = None

    def problem(self, now: float) -> str:
        """Return what somebody has to look at, "" for nothing."""
        reasons = [self.attempt_problem] if self.attempt_problem else []
        reasons += [f"{one.name}: {one.problem}" for one in self.destinations if one.problem]
        why, what = joined(reasons), self.age_problem(now)
        if what:
            return f"{what}: {why}" if why else what
        return why or "; ".join(self.warnings)

    def summary(self, now: float) -> str:
        """Return one sentence for the frame's status."""
        age_s = self.age_s(now)
        newest = (
            "no snapshot yet" if age_s is None else f"newest {human_age(age_s)} old, {human_bytes(self.newest_size)}"
        )
        return f"{self.name}: {newest}, next {timestamp(self.next_at)}"

    def as_json(self, now: float) -> Data:
        """Return everything as plain data."""
        age_s = self.age_s(now)
        newest = {
            "age_s": round(age_s or 0.0),
            "bytes": self.newest_size,
            "index": self.newest_index,
            "records": dict(self.records),
        }
        return {
            "datacenter": self.datacenter,
            "placement": self.placement,
            "newest": None if self.newest is None else {"time": timestamp(self.newest), **newest},
            "objective_s": self.objective_s,
            "critical": self.is_critical(now),
            "problem": self.problem(now),
            "next_slot": timestamp(self.next_slot),
            "next_at": timestamp(self.next_at),
            "seconds": {name: round(seconds, 3) for name, seconds in self.seconds.items()},
            "missed_slots": self.missed,
            "doubled_slots": self.doubled,
            "given_up": self.given_up,
            "failures_in_row": self.failures_in_row,
            "folders": [asdict(one) for one in self.folders],
            "destinations": {one.name: one.as_json() for one in self.destinations},
            "rehearsal": None if self.rehearsal is None else self.rehearsal.as_json(now),
        }


def status_of(
    run: PolicyRun,
    due: Due,
    now: float,
    *,
    failures_in_row: int = 0,
    attempt_problem: str = "",
    rehearsal: RehearsalStatus | None = None,
) -> PolicyStatus:
    """Return the status of a policy's work; ``due`` is what its schedule asks for at ``now``."""
    newest = _newest([one.newest for one in run.destinations])
    described = next((one for one in (*run.waiting, *run.snapshots) if one.manifest and one.manifest.tables), None)
    tables = described.manifest.tables if described and described.manifest else ()
    return PolicyStatus(
        name=run.config.name,
        datacenter=newest.datacenter if newest else run.config.endpoint.datacenter,
        placement=run.config.placement,
        objective_s=run.config.objective_s,
        newest=newest.time if newest else None,
        newest_size=newest.manifest.size if newest and newest.manifest else 0,
        newest_index=newest.manifest.index if newest and newest.manifest else 0,
        records={table.name: table.count for table in tables},
        seconds=dict(run.seconds),
        next_slot=due.next_slot if due.slot is None else due.slot,
        next_at=due.next_at if due.slot is None else now,
        missed=run.catalogue.missed,
        doubled=run.catalogue.doubled,
        given_up=run.catalogue.given_up,
        failures_in_row=failures_in_row,
        attempt_problem=attempt_problem,
        warnings=run.warnings,
        folders=_folders(run),
        destinations=tuple(_destination(run, one) for one in run.destinations),
        rehearsal=rehearsal,
    )


def _folders(run: PolicyRun) -> tuple[FolderGrowth, ...]:
    """Return the folders of the newest snapshot that has any, and their growth since the one before."""
    every = itertools.chain(run.waiting, *(one.snapshots for one in run.destinations))
    # Few have folders: the index keeps those of the two newest snapshots.
    by_time = {one.time: one.manifest.folders for one in every if one.manifest and one.manifest.folders}
    newest = [by_time[when] for when in sorted(by_time, reverse=True)[:2]]
    return growth(newest[0], newest[1] if len(newest) > 1 else ()) if newest else ()


def _destination(run: PolicyRun, one: Destination) -> DestinationStatus:
    return DestinationStatus(
        name=one.name,
        place=one.config.store.url,
        count=len(one.snapshots),
        size=sum(held.manifest.stored_size for held in one.snapshots if held.manifest),
        newest=one.newest.time if one.newest else None,
        waiting=len(run.waiting_for(one)),
        uploaded=one.uploaded,
        deleted=one.deleted,
        upload_s=one.upload_s,
        problem=one.problem or one.prune_problem,
        is_reachable=not one.problem,
        damage=_damage(one.snapshots),
        snapshots=tuple(one.snapshots),
    )


def _damage(snapshots: t.Sequence[StoredSnapshot]) -> str:
    """Return why the newest snapshot cannot be used, "" if it can or there is none."""
    return f"{snapshots[0].name}: {snapshots[0].problem}" if snapshots and snapshots[0].problem else ""


def _newest(found: t.Iterable[StoredSnapshot | None]) -> StoredSnapshot | None:
    return max((one for one in found if one is not None), key=lambda one: one.time, default=None)
