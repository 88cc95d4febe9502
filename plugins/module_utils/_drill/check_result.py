# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a checker found: the form that all of them share, and the verdict over several."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .history import Operation

VALID, INVALID, UNKNOWN = "valid", "invalid", "unknown"
MAX_VIOLATIONS = 20  # that are described; all are counted


@dataclass(frozen=True)
class Violation:
    """One thing that must not happen: a sentence, the key or set or lock, and the operations that show it."""

    sentence: str
    key: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class CheckResult:
    """The verdict of one checker on one workload.

    ``counts`` are numbers with names. ``violations`` are the first of ``violation_count``. ``unknown`` says what could not be decided;
    with a violation the verdict is invalid all the same. ``remarks`` do not change the verdict.
    """

    checker: str
    workload: str
    counts: t.Mapping[str, float]
    violations: tuple[Violation, ...] = ()
    violation_count: int = 0
    unknown: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """Invalid with a violation, unknown when something could not be decided, else valid."""
        if self.violation_count:
            return INVALID
        return UNKNOWN if self.unknown else VALID


def check_result(
    checker: str,
    workload: str,
    counts: t.Mapping[str, float],
    violations: t.Sequence[Violation],
    unknown: t.Sequence[str] = (),
    remarks: t.Sequence[str] = (),
) -> CheckResult:
    """Return a result that describes the first violations and counts all of them."""
    shown = tuple(violations[:MAX_VIOLATIONS])
    return CheckResult(checker, workload, counts, shown, len(violations), tuple(unknown), tuple(remarks))


def overall_verdict(results: t.Iterable[CheckResult]) -> str:
    """Return the worst verdict; unknown without any, because nothing was checked."""
    verdicts = {result.verdict for result in results}
    if INVALID in verdicts:
        return INVALID
    return VALID if verdicts == {VALID} else UNKNOWN
