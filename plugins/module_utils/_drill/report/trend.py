# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several runs of a drill beside each other: a table, and small drawings of their recovery times, gaps and latencies."""

from __future__ import annotations

import typing as t

from ..._consul.markup import Child, Element, element, shortened, table
from ..._consul.units import count_of
from .axes import WIDTH
from .run_summary import RunSummary

MOST_RUNS = 100
_HEIGHT, _TOP = 80, 8
_DRAWN = (
    ("Recovery at a fault", "fault_s"),
    ("Recovery at healing", "healing_s"),
    ("Longest gap", "longest_gap_s"),
    ("p99 of changes", "p99_s"),
)


def trend(runs: t.Sequence[RunSummary]) -> list[Element]:
    """Return the section of several runs, the oldest first. Runs of unknown date come before all others."""
    ordered = sorted(runs, key=_date_of)
    shown = ordered[-MOST_RUNS:]
    found = [element("h2", f"Trend of {count_of(len(runs), 'run')}")]
    drawings = [drawing for title, name in _DRAWN for drawing in _drawing(title, [getattr(one, name) for one in shown])]
    if drawings:
        found.append(element("div", *drawings, class_="trends"))
    if len({(one.drill, one.datacenter) for one in shown if not one.problem}) > 1:
        found.append(
            element(
                "p", "These are runs of different drills or datacenters: compare only what was run in the same way."
            )
        )
    found.append(table(_HEADER, map(_row, shown), numbers_from=4))
    if len(ordered) > len(shown):
        found.append(element("p", f"and {count_of(len(ordered) - len(shown), 'older run')}", class_="soft"))
    return found


def _date_of(run: RunSummary) -> tuple[str, str]:
    return run.started, run.source


_HEADER = (
    "Started",
    "Drill",
    "Verdict",
    "File",
    "Operations",
    "Recovery at a fault",
    "at healing",
    "Longest gap",
    "p99 of changes",
)


def _row(run: RunSummary) -> list[Child]:
    name = shortened(run.source, 80)
    if run.problem:
        return [
            "unknown",
            "-",
            element("span", "not read", class_="badge unknown"),
            f"{name}: {shortened(run.problem)}",
            *["-"] * 5,
        ]
    drill = shortened(" in ".join(filter(None, (run.drill or "-", run.datacenter))), 80)
    verdict = f"{run.verdict}, {run.missed} missed" if run.missed else run.verdict
    tone = "invalid" if run.missed else run.verdict
    times = [seconds(value) for value in (run.fault_s, run.healing_s, run.longest_gap_s, run.p99_s)]
    if not run.is_recovered:
        times[:2] = [text if text == "-" else f"{text}, not recovered" for text in times[:2]]
    badge = element("span", verdict, class_=f"badge {tone}")
    return [shortened(run.started, 40) or "unknown", drill, badge, name, f"{run.operations:,}", *times]


def seconds(value: float | None) -> str:
    """Return a time for people; a dash for an unknown one."""
    return "-" if value is None else f"{value:,.3f} s" if value < 1 else f"{value:,.2f} s"


def _drawing(title: str, values: t.Sequence[float | None]) -> list[Element]:
    """Return the drawing of one number over the runs; nothing when no run has it. A run without it leaves a gap."""
    known = [value for value in values if value is not None]
    if not known:
        return []
    most = max(known) or 1.0
    path, was_known, dots = "", False, ""
    for number, value in enumerate(values):
        if value is None:
            was_known = False
            continue
        x = round(WIDTH * (number + 0.5) / len(values), 1)
        y = round(_HEIGHT - _TOP - (_HEIGHT - 2 * _TOP) * value / most, 1)
        path += f"{'L' if was_known else 'M'}{x:g} {y:g}"
        dots += f"M{x:g} {y:g}h0"
        was_known = True
    drawn = element(
        "svg",
        element("path", d=path, class_="line trend"),
        element("path", d=dots, class_="mark trend"),
        viewBox=f"0 0 {WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{title}: newest {seconds(known[-1])}, at most {seconds(max(known))}",
        style=f"height:{_HEIGHT}px",
    )
    caption = f"{title}: newest {seconds(values[-1])}, at most {seconds(max(known))}, at least {seconds(min(known))}"
    return [element("figure", element("div", drawn, class_="field"), element("figcaption", caption), class_="trend")]
