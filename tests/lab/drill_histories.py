# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Histories of drills for tests and benchmarks: simulated ones, short ones by hand, and their lines of JSON."""

from __future__ import annotations

import json
import random
import typing as t

from ansible_collections.consulops.failover.plugins.module_utils._drill.history import FAIL, INFO, OK, Operation

HEADER = {
    "type": "header",
    "format": 1,
    "drill": "baseline",
    "workloads": ["register"],
    "consistency": "consistent",
    "started": "2026-11-28T22:40:00Z",
    "datacenter": "dc1",
    "nodes": ["n1", "n2", "n3"],
}
MS = 1_000_000


def operation(
    f: str,
    value: t.Any,
    start: int,
    end: int | None,
    outcome: str = OK,
    *,
    workload: str = "register",
    key: str = "k",
    line: int = 0,
    **fields: t.Any,
) -> Operation:
    """Return an operation; without a line it gets one from its start."""
    end_ns = None if outcome == INFO else end
    return Operation(line or start + 2, start, workload, f, key, value, outcome, start, end_ns, start, **fields)


class _Planned(t.NamedTuple):
    effect_ns: int
    start_ns: int
    end_ns: int
    client: int
    key: str


def simulated(
    seed: int,
    operations: int,
    keys: int,
    clients: int,
    unknown_share: float = 0.0,
    *,
    clients_of_each_key: bool = False,
) -> list[Operation]:
    """Return the history of registers that are linearizable, as clients see it that have one operation open each.

    ``clients_of_each_key``: so many clients for each key, and not for all keys together.
    """
    chance = random.Random(seed)
    loops = clients * keys if clients_of_each_key else clients
    planned = []
    for loop in range(loops):
        now = chance.randrange(MS)
        for _number in range(operations // loops):
            start, effect, end = sorted(now + chance.randrange(4 * MS) for _moment in range(3))
            number = loop // clients if clients_of_each_key else chance.randrange(keys)
            planned.append(_Planned(effect, start, end, loop, f"k{number}"))
            now = end + 1
    return _with_outcomes(chance, planned, unknown_share)


def _with_outcomes(chance: random.Random, planned: list[_Planned], unknown_share: float) -> list[Operation]:
    """Apply the operations in the order of their effects."""
    processes = {one.client: one.client for one in planned}
    next_process = len(processes)
    states: dict[str, tuple[int | None, int]] = {}
    found = []
    for number, one in enumerate(sorted(planned), 1):
        value, index = states.get(one.key, (None, 0))
        f = chance.choice(("read", "read", "write", "cas"))
        is_unknown = f != "read" and chance.random() < unknown_share
        wanted: t.Any = number
        outcome = INFO if is_unknown else OK
        if f == "read":
            wanted, new = value, value
        elif f == "cas":
            is_current = chance.random() < 0.7
            wanted = (value if is_current else -number, number)
            new = number if is_current else value
            outcome = outcome if is_current or is_unknown else FAIL
        else:
            new = number
        if new != value and not (is_unknown and chance.random() < 0.5):
            index = number
            states[one.key] = (new, index)
        process = processes[one.client]
        if is_unknown:
            processes[one.client] = next_process
            next_process += 1
        is_indexed = outcome == OK and index
        found.append(
            Operation(
                0,
                process,
                "register",
                f,
                one.key,
                wanted,
                outcome,
                one.start_ns,
                None if is_unknown else one.end_ns,
                one.start_ns,
                index if is_indexed else None,
                "n1",
            )
        )
    found.sort(key=lambda made: made.start_ns)
    return [made._replace(line=line) for line, made in enumerate(found, 2)]


def lines_of(operations: t.Iterable[Operation], header: t.Mapping[str, t.Any] | None = None) -> list[bytes]:
    """Return a history as a recorder writes it, by default with HEADER. Operations of unknown outcome have no end."""
    rows: list[tuple[int, int, dict[str, t.Any]]] = []
    for one in operations:
        names = {"process": one.process, "workload": one.workload, "f": one.f, "key": one.key, "node": one.node}
        written = list(one.value) if isinstance(one.value, tuple) else one.value
        begun = {"type": "invoke", **names, "value": None if one.is_read else written, "time": one.start_ns}
        if one.is_final:
            begun["final"] = True
        rows.append((one.start_ns, 1, {**begun, "intended": one.intended_ns}))
        if one.end_ns is not None:
            ended = {"type": one.outcome, "process": one.process, "value": written, "time": one.end_ns}
            if one.state_index is not None:
                ended["index"] = one.state_index
            rows.append((one.end_ns, 0, ended))
    rows.sort(key=lambda row: row[:2])
    return [json.dumps(record).encode() + b"\n" for record in (header or HEADER, *(row[2] for row in rows))]
