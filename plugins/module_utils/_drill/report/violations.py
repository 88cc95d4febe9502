# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of a history with what they found: each violation as a sentence, and its operations drawn as intervals of time."""

from __future__ import annotations

import typing as t

from ..._consul.markup import Child, Element, element, more, shortened, table
from ..check_result import CheckResult, Violation
from ..history import History, Operation
from ..lock_checker import certain_holds
from .advice import meaning
from .axes import WIDTH

MOST_VIOLATIONS = 5  # of one check, that are drawn
MOST_OPERATIONS = 12  # of one violation
MOST_REASONS = 10  # of one check
_HEIGHT = 14


def check_table(results: t.Iterable[CheckResult]) -> Element:
    """Return the verdict of each check and what it counted."""
    rows: list[list[Child]] = [
        [
            f"{one.checker} ({one.workload})",
            element("span", one.verdict, class_=f"badge {one.verdict}"),
            meaning(one),
            ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in one.counts.items() if value),
        ]
        for one in results
    ]
    return table(("Check", "Verdict", "What it demands", "What it counted"), rows, numbers_from=9)


def check_details(result: CheckResult, history: History) -> list[Element]:
    """Return what a check found, nothing of one that has nothing to say."""
    if not (result.violations or result.unknown or result.remarks):
        return []
    drawn = result.violations[:MOST_VIOLATIONS]
    badge = element("span", result.verdict, class_="badge")
    found = [
        element("h3", f"{result.checker}, workload {result.workload} ", badge, class_=result.verdict),
        *(element("p", shortened(f"Unknown: {reason}.")) for reason in result.unknown[:MOST_REASONS]),
        *more(len(result.unknown) - MOST_REASONS, "reason"),
        *(element("p", shortened(f"{remark[:1].upper()}{remark[1:]}.")) for remark in result.remarks[:MOST_REASONS]),
        *more(len(result.remarks) - MOST_REASONS, "remark"),
    ]
    for violation in drawn:
        found += _violation(violation, holds_of(violation, history) if result.workload == "lock" else {})
    return [*found, *more(result.violation_count - len(drawn), "violation")]


def holds_of(violation: Violation, history: History) -> dict[int, int]:
    """Return until when the lock was certainly held after each acquisition, by its line."""
    holds = certain_holds([one for one in history.of("lock") if one.key == violation.key])
    return {hold.acquired.line: hold.end_ns for hold in holds if hold.end_ns > hold.start_ns}


def _violation(violation: Violation, held_until: t.Mapping[int, int]) -> list[Element]:
    shown = violation.operations[:MOST_OPERATIONS]
    return [
        element("p", element("b", shortened(f"{violation.sentence}."))),
        *(_operation(one, path) for one, path in zip(shown, interval_paths(shown, held_until))),
        *more(len(violation.operations) - len(shown), "operation"),
    ]


class IntervalPaths(t.NamedTuple):
    """One operation as a line from its start to its end, the edges that are known, and how long a lock was certainly held then."""

    line: str
    edges: str
    held: str = ""


def interval_paths(operations: t.Sequence[Operation], held_until: t.Mapping[int, int]) -> list[IntervalPaths]:
    """Return each operation's interval. The axis has the order of all starts and ends, each as far from the next as any other.

    So two operations overlap in the drawing if and only if they did in time, however short they were and however far apart. One
    without an end goes on to the right edge.
    """
    known = [(one.start_ns, one.end_ns, held_until.get(one.line)) for one in operations]
    moments = sorted({moment for row in known for moment in row if moment is not None})
    places = {moment: round(WIDTH * (number + 0.5) / (len(moments) + 0.5), 1) for number, moment in enumerate(moments)}
    middle = _HEIGHT // 2
    found = []
    for start_ns, end_ns, until_ns in known:
        left, right = places[start_ns], WIDTH if end_ns is None else places[end_ns]
        edges = f"M{left:g} 0V{_HEIGHT}" + ("" if end_ns is None else f"M{right:g} 0V{_HEIGHT}")
        held = "" if until_ns is None else f"M{right:g} {middle}H{places[until_ns]:g}"
        found.append(IntervalPaths(f"M{left:g} {middle}H{right:g}", edges, held))
    return found


def _operation(operation: Operation, paths: IntervalPaths) -> Element:
    drawn = element(
        "svg",
        element("path", d=paths.line, class_=f"span {operation.outcome}"),
        element("path", d=paths.held, class_="held") if paths.held else None,
        element("path", d=paths.edges, class_="edge"),
        viewBox=f"0 0 {WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return element("div", shortened(str(operation)), drawn, class_="op")
