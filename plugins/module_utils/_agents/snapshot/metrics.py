# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the snapshot agent adds to the metrics: age, size and records of the newest snapshot, and the state of each destination."""

from __future__ import annotations

import time
import typing as t

from ..._daemon.metrics import counter, gauge
from .memory import Memory
from .policy_status import DestinationStatus, PolicyStatus

Labels = dict[str, str]
Number = t.Optional[float]

# Name, help text, and the number of a policy; None leaves the policy out.
_OF_POLICIES: tuple[tuple[str, str, t.Callable[[PolicyStatus, float], Number]], ...] = (
    ("snapshot_age_seconds", "Age of the newest verified snapshot.", lambda one, now: one.age_s(now)),
    ("snapshot_last_timestamp_seconds", "Time of the newest verified snapshot, Unix.", lambda one, now: one.newest),
    ("snapshot_objective_seconds", "Age from which on it is critical.", lambda one, now: one.objective_s),
    ("snapshot_critical", "1 if no verified snapshot is young enough.", lambda one, now: float(one.is_critical(now))),
    ("snapshot_size_bytes", "Size of the newest verified snapshot.", lambda one, now: one.newest and one.newest_size),
    ("snapshot_next_timestamp_seconds", "When the next snapshot is due, Unix.", lambda one, now: one.next_at),
    (
        "snapshot_last_rehearsal_timestamp_seconds",
        "Time of the last rehearsal that came to a verdict, Unix.",
        lambda one, _now: one.rehearsal.at if one.rehearsal else None,
    ),
    (
        "snapshot_rehearsal_seconds",
        "Duration of the last rehearsal.",
        lambda one, _now: one.rehearsal.took_s if one.rehearsal and one.rehearsal.at is not None else None,
    ),
    (
        "snapshot_rehearsal_ok",
        "1 if the snapshot of the last rehearsal restored.",
        lambda one, _now: None if one.rehearsal is None else one.rehearsal.is_ok,
    ),
    (
        "snapshot_rehearsal_overdue",
        "1 if the last good rehearsal is too long ago.",
        lambda one, now: None if one.rehearsal is None else float(one.rehearsal.is_overdue(now)),
    ),
)
_COUNTERS: tuple[tuple[str, str, t.Callable[[PolicyStatus], float]], ...] = (
    ("snapshot_missed_slots", "Planned snapshots that were not taken.", lambda one: one.missed),
    ("snapshot_doubled_slots", "Planned snapshots that two instances took.", lambda one: one.doubled),
    ("snapshot_given_up", "Snapshots that did not reach every destination.", lambda one: one.given_up),
)
_OF_DESTINATIONS: tuple[tuple[str, str, t.Callable[[DestinationStatus], Number]], ...] = (
    ("up", "1 if the destination worked when it was used last.", lambda one: float(one.is_reachable)),
    ("snapshots", "Snapshots of the policy in the destination.", lambda one: one.count),
    ("bytes", "Bytes of the policy's snapshots in the destination.", lambda one: one.size),
    ("last_timestamp_seconds", "Time of the newest verified snapshot in it, Unix.", lambda one: one.newest),
    ("waiting", "Snapshots that wait for the destination.", lambda one: one.waiting),
    ("upload_seconds", "Duration of the last upload and of reading it back.", lambda one: one.upload_s),
)


def metrics(memory: Memory) -> list[t.Any]:
    """Return the metrics of the policies that this instance works for, with the labels ``policy`` and ``destination``."""
    now = time.time()
    policies: list[tuple[Labels, PolicyStatus]] = [({"policy": one.name}, one) for one in memory.policies()]
    places = [
        ({"policy": one.name, "destination": place.name}, place)
        for _labels, one in policies
        for place in one.destinations
    ]
    found = [
        gauge(name, text, _known((labels, number(one, now)) for labels, one in policies))
        for name, text, number in _OF_POLICIES
    ]
    found += [
        gauge(f"snapshot_destination_{name}", text, _known((labels, number(place)) for labels, place in places))
        for name, text, number in _OF_DESTINATIONS
    ]
    found += [
        counter(name, text, [(labels, number(one)) for labels, one in policies]) for name, text, number in _COUNTERS
    ]
    deleted = [(labels, float(place.deleted)) for labels, place in places]
    found.append(counter("snapshot_destination_deleted", "Snapshots that the retention deleted.", deleted))
    records = [({**labels, "table": name}, count) for labels, one in policies for name, count in one.records.items()]
    found.append(gauge("snapshot_records", "Records of the newest snapshot by table.", records))
    parts = [({**labels, "part": name}, took_s) for labels, one in policies for name, took_s in one.seconds.items()]
    found.append(gauge("snapshot_seconds", "Duration of each part of the last snapshot.", parts))
    folders = [({**labels, "prefix": row.prefix}, row) for labels, one in policies for row in one.folders]
    for name, text, number in (
        ("bytes", "Bytes of the keys below each of the largest folders in the newest snapshot.", lambda row: row.bytes),
        ("keys", "Keys below each of the largest folders in the newest snapshot.", lambda row: row.keys),
        ("growth_bytes", "Bytes that each folder grew by since the snapshot before.", lambda row: row.growth),
    ):
        found.append(gauge(f"snapshot_folder_{name}", text, _known((labels, number(row)) for labels, row in folders)))
    waiting = [({"policy": name}, one) for name, one in memory.all_waiting().items()]
    found.append(
        gauge(
            "snapshot_standby_waiting",
            "Snapshots that wait on this instance, which does not hold the lease.",
            [(labels, float(one.snapshots)) for labels, one in waiting],
        )
    )
    found.append(
        gauge(
            "snapshot_standby_waiting_since_timestamp_seconds",
            "Time of the oldest of them, Unix.",
            _known((labels, one.since) for labels, one in waiting),
        )
    )
    return found


def _known(rows: t.Iterable[tuple[Labels, Number]]) -> list[tuple[Labels, float]]:
    return [(labels, float(number)) for labels, number in rows if number is not None]
