# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m tests.bench.drill_checkers``: judges histories of drills, beside a plain search of Wing and Gong with Lowe's memory.

Seconds are those of the checker; reading the history has a line of its own. The peak memory is that of the whole process, which
has read the history. BENCH_HISTORIES sets the sizes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.consulops.failover.plugins.module_utils._drill.check_result import VALID
from ansible_collections.consulops.failover.plugins.module_utils._drill.history import INFO, OK, Operation, by_key
from ansible_collections.consulops.failover.plugins.module_utils._drill.history_reader import read_history
from ansible_collections.consulops.failover.plugins.module_utils._drill.index_order import check_index_order
from ansible_collections.consulops.failover.plugins.module_utils._drill.linearizability import check_linearizability

from tests.bench.measure import Contender, show, side_by_side
from tests.lab.drill_histories import lines_of, simulated
from tests.lab.forked import COLLECTIONS, ROOT

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
SIZES = [int(size) for size in os.environ.get("BENCH_HISTORIES", "10000 100000").split()]
OPERATIONS_OF_A_KEY = 200
PLAIN_STEPS = 200_000  # for a key, after which the plain search gives up; it has a state in memory for most of them


def plain_search(operations: t.Sequence[Operation]) -> bool | None:
    """Return whether there is an order, None after PLAIN_STEPS. Every operation that is possible next is tried in turn."""
    possible = [one for one in operations if one.outcome == OK or (one.outcome == INFO and not one.is_read)]
    possible.sort(key=lambda one: one.start_ns)
    ends = [float("inf") if one.end_ns is None else one.end_ns for one in possible]
    required = sum(one.outcome == OK for one in possible)
    tried: set[tuple[int, t.Any]] = set()
    following = [*range(1, len(possible) + 1), 0]  # a linked list of places counted from 1, with its head at 0
    previous = [len(possible), *range(len(possible))]
    path: list[tuple[int, int, t.Any, int]] = []
    done, state, place, bound, left, steps = 0, None, following[0], float("inf"), required, 0
    while left:
        steps += 1
        if steps > PLAIN_STEPS:
            return None
        if place and possible[place - 1].start_ns <= bound:
            one = possible[place - 1]
            expected = one.value[0] if one.f == "cas" else one.value
            if one.f == "write" or expected == state:
                new = state if one.is_read else one.value[1] if one.f == "cas" else one.value
                point = (done | 1 << place, new)
                if point not in tried:
                    tried.add(point)
                    path.append((place, done, state, left))
                    done, state, left = point[0], new, left - (one.outcome == OK)
                    following[previous[place]], previous[following[place]] = following[place], previous[place]
                    place, bound = following[0], float("inf")
                    continue
            bound = min(bound, ends[place - 1])
            place = following[place]
            continue
        if not path:
            return False
        place, done, state, left = path.pop()
        following[previous[place]], previous[following[place]] = place, place
        bound, before = ends[place - 1], previous[place]
        while before:
            bound, before = min(bound, ends[before - 1]), previous[before]
        place = following[place]
    return True


def measured(checker: str, path: str) -> int:
    """Read a history, apply one checker and print its seconds."""
    started = time.monotonic()
    with Path(path).open("rb") as lines:
        operations = read_history(lines).operations
    if checker != "reading":
        started = time.monotonic()
    if checker == "plain":
        found = [plain_search(of_key) for of_key in by_key(operations).values()]
        assert False not in found
        print("gave up", found.count(None))
    elif checker != "reading":
        check = check_linearizability if checker == "search" else check_index_order
        assert check(operations).verdict == VALID
    print("seconds", time.monotonic() - started)
    return 0


def contender(name: str, checker: str, path: Path) -> Contender:
    """Return one checker on one history as a process."""
    command = [sys.executable, "-m", "tests.bench.drill_checkers", checker, str(path)]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, COLLECTIONS)))}
    return Contender(name, command, _seconds, environment, slow=checker == "plain")


def _seconds(output: str) -> float:
    if "gave up 0" not in output and "gave up" in output:
        print(f"  the plain search below {output.splitlines()[0]} times, after {PLAIN_STEPS:,} steps for a key")
    return float(output.split()[-1])


def main() -> int:
    """Measure and print."""
    if len(sys.argv) == 3:
        return measured(*sys.argv[1:])
    with tempfile.TemporaryDirectory() as scratch:
        for size in SIZES:
            keys = size // OPERATIONS_OF_A_KEY
            for title, clients, unknown_share, each in (
                ("10 clients over all keys, none unknown", 10, 0.0, False),
                ("10 clients for each key, none unknown", 10, 0.0, True),
                ("10 clients for each key, 2 % of changes unknown", 10, 0.02, True),
                ("20 clients for each key, 10 % of changes unknown", 20, 0.1, True),
            ):
                path = Path(scratch) / "history.jsonl"
                history = simulated(7, size, keys, clients, unknown_share, clients_of_each_key=each)
                path.write_bytes(b"".join(lines_of(history)))
                contenders = [
                    contender("linearizability", "search", path),
                    contender("order of indexes", "index", path),
                    contender("plain search, once", "plain", path),
                    contender("reading the history", "reading", path),
                ]
                show(
                    f"{size:,} operations, {keys} keys, {title}",
                    side_by_side(contenders, RUNS),
                    rival="plain search, once",
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
