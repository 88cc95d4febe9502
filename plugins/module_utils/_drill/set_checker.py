# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks a set: what was acknowledged is there at the end, on every server, and nothing is there that nobody added."""

from __future__ import annotations

import typing as t

from .._consul.units import count_of
from .check_result import CheckResult, Violation, check_result
from .history import FAIL, INFO, OK, Operation, by_key

CHECKER = "contents"
MAX_OPERATIONS = 20  # that one violation shows


def check_set(operations: t.Iterable[Operation], nodes: t.Sequence[str] = ()) -> CheckResult:
    """Return whether the final reads have every acknowledged value. ``nodes`` are the servers that must have answered one.

    An acknowledged value that no server has is lost. One that some servers have and another has not is stale there.
    """
    counts = dict.fromkeys(
        ("acknowledged", "failed", "unknown", "unknown_in_effect", "lost", "stale", "unexpected", "final_reads"), 0
    )
    violations: list[Violation] = []
    unknown: list[str] = []
    remarks: list[str] = []
    found = by_key(operations)
    for key, of_key in found.items():
        one = _Set(key, of_key)
        one.count(counts)
        violations += one.violations()
        unknown += one.unknown(nodes)
        remarks += one.remarks()
    if not found:
        unknown.append("no operation was acknowledged")
    return check_result(CHECKER, "set", counts, violations, unknown, remarks)


class _Set:
    """The operations of one set."""

    def __init__(self, key: str, operations: t.Sequence[Operation]) -> None:
        self._key = key
        self._adds = {one.value: one for one in operations if one.f == "add"}
        self._outcomes: dict[str, list[Operation]] = {outcome: [] for outcome in (OK, FAIL, INFO)}
        for one in operations:
            if one.f == "add":
                self._outcomes[one.outcome].append(one)
        reads = [one for one in operations if one.f == "read" and one.outcome == OK]
        self._final = [(one, frozenset(one.value)) for one in reads if one.is_final]
        seen = frozenset().union(*(one.value for one in reads))
        impossible = {one.value for one in self._outcomes[FAIL]} - {
            one.value for outcome in (OK, INFO) for one in self._outcomes[outcome]
        }
        self._unexpected = sorted(value for value in seen if value not in self._adds or value in impossible)
        self._reads = reads
        self._in_effect = sum(one.value in seen for one in self._outcomes[INFO])
        self._stale = {read.line: self._missing(read, values) for read, values in self._final}
        everywhere = frozenset().union(*(values for _read, values in self._final))
        self._lost = [
            one
            for one in {a.line: a for gone in self._stale.values() for a in gone}.values()
            if one.value not in everywhere
        ]
        lost = {one.value for one in self._lost}
        for line, missing in self._stale.items():
            self._stale[line] = [one for one in missing if one.value not in lost]

    def _missing(self, read: Operation, values: t.AbstractSet[int]) -> list[Operation]:
        """Return what was acknowledged before a read began and is not in it."""
        acknowledged = self._outcomes[OK]
        return [one for one in acknowledged if one.value not in values and t.cast(int, one.end_ns) < read.start_ns]

    def count(self, counts: dict[str, int]) -> None:
        """Add the numbers of this set."""
        counts["acknowledged"] += len(self._outcomes[OK])
        counts["failed"] += len(self._outcomes[FAIL])
        counts["unknown"] += len(self._outcomes[INFO])
        counts["unknown_in_effect"] += self._in_effect
        counts["lost"] += len(self._lost)
        counts["stale"] += sum(map(len, self._stale.values()))
        counts["unexpected"] += len(self._unexpected)
        counts["final_reads"] += len(self._final)

    def violations(self) -> list[Violation]:
        """Return what is lost, what one server lacks, and what nobody added."""
        found = []
        if self._lost:
            sentence = f"{self._named}{count_of(len(self._lost), 'acknowledged value')} lost: {_some(self._lost)}"
            found.append(Violation(sentence, self._key, tuple(self._lost[:MAX_OPERATIONS])))
        for read, _values in self._final:
            missing = self._stale[read.line]
            if missing:
                where = read.node or f"the server of line {read.line}"
                sentence = (
                    f"{self._named}{where} is stale: it lacks {count_of(len(missing), 'acknowledged value')} that another "
                    f"server has: {_some(missing)}"
                )
                found.append(Violation(sentence, self._key, tuple(missing[:MAX_OPERATIONS])))
        if self._unexpected:
            values = ", ".join(map(str, self._unexpected[:3])) + (", …" if len(self._unexpected) > 3 else "")
            sentence = (
                f"{self._named}{count_of(len(self._unexpected), 'value')} unexpected: {values}: never added, or refused"
            )
            wrong = set(self._unexpected[:MAX_OPERATIONS])
            added = [one for one in self._outcomes[FAIL] if one.value in wrong]
            reads = [one for one in self._reads if wrong & set(one.value)]
            found.append(Violation(sentence, self._key, tuple([*added, *reads][:MAX_OPERATIONS])))
        return found

    def unknown(self, nodes: t.Sequence[str]) -> list[str]:
        """Return why values may be missing that were not looked for."""
        if not self._outcomes[OK]:
            return [f"{self._named}no value was acknowledged"]
        if not self._final:
            return [f"{self._named}there is no final read, so what is lost is unknown"]
        silent = sorted(set(nodes) - {read.node for read, _values in self._final})
        return [f"{self._named}no final read of {', '.join(silent)}, so what is there is unknown"] if silent else []

    def remarks(self) -> list[str]:
        """Return how many additions of unknown outcome took effect."""
        unknown = len(self._outcomes[INFO])
        if not unknown or not self._final:
            return []
        return [f"{self._named}{self._in_effect:,} of {count_of(unknown, 'addition')} of unknown outcome took effect"]

    @property
    def _named(self) -> str:
        return f"{self._key}: " if self._key else ""


def _some(operations: t.Sequence[Operation]) -> str:
    return ", ".join(str(one.value) for one in operations[:3]) + (", …" if len(operations) > 3 else "")
