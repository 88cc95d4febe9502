# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a drill: one HTML document, from a history and its judgement, and from the numbers of other runs."""

from __future__ import annotations

import typing as t

from ..._consul.markup import Element, document, element, more, shortened
from ..._consul.version import VERSION
from ..history import NS, History
from ..judge import HistoryJudgement
from .advice import headline
from .facts import expectation_table, facts, phase_table, recovery_table
from .latency_plot import latency_figure
from .rate_plot import rate_figure
from .recovery import Recovery, longest, recoveries
from .run_summary import RunSummary
from .scenario import Scenario, scenario_of
from .style import STYLE
from .tracks import event_list, interval_tracks, leader_tracks
from .trend import seconds, trend
from .violations import check_details, check_table

MOST_TO_DO = 20


def report_page(history: History, judgement: HistoryJudgement, source: str, runs: t.Sequence[RunSummary] = ()) -> bytes:
    """Return the report of one history, which is in the file ``source``; with several ``runs`` also their trend."""
    scenario, recovered = scenario_of(history), recoveries(history)
    first = headline(history, judgement)
    name = " of ".join(
        filter(None, (f"Drill {shortened(history.header.drill, 80)}".strip(), shortened(history.header.datacenter, 80)))
    )
    content = [
        element(
            "div",
            element("h1", first.verdict),
            element("p", name, class_="soft"),
            element("p", first.sentence),
            *_recovery_line(recovered),
            element("ul", *(element("li", shortened(one, 900)) for one in first.to_do[:MOST_TO_DO])),
            *more(len(first.to_do) - MOST_TO_DO, "reason"),
            *_cut(history),
            class_=f"verdict {first.tone}",
        ),
        *_expected(judgement),
        element("h2", "What was run"),
        facts(history),
        *_load(history, scenario),
        *_events(scenario),
        *_times(judgement, recovered, scenario),
        *_checks(history, judgement),
        *(trend(runs) if len(runs) > 1 else []),
        element(
            "footer", f"consulops {VERSION}, from {shortened(source, 200)}. Times count from the start of the drill."
        ),
    ]
    return document(f"{first.verdict}: {name}", STYLE, content)


def _recovery_line(recovered: t.Sequence[Recovery]) -> list[Element]:
    """Return the recovery times in one sentence; nothing without a fault."""
    parts = []
    for what, is_healing in (("after a fault", False), ("after a healing", True)):
        one = longest(recovered, is_healing=is_healing)
        if one is not None:
            at_least = "" if one.is_recovered else "at least "
            parts.append(f"{at_least}{seconds(t.cast(int, one.gap_ns) / NS)} {what}")
    return [element("p", f"Longest time without an acknowledged change (RTO): {', '.join(parts)}.")] if parts else []


def _cut(history: History) -> list[Element]:
    if history.cut_line is None:
        return []
    return [
        element("p", f"Line {history.cut_line:,} of the history, the last one, is cut in its middle and was ignored.")
    ]


def _expected(judgement: HistoryJudgement) -> list[Element]:
    if not judgement.outcomes:
        return []
    return [element("h2", "What was expected"), *expectation_table(judgement.outcomes)]


def _load(history: History, scenario: Scenario) -> list[Element]:
    load = [one for one in history.operations if not one.is_final]
    if not load:
        return [element("h2", "Latency"), element("p", "The history has no operation of a client.")]
    return [
        element("h2", "Latency"),
        latency_figure(load, scenario),
        element("h2", "Operations a second"),
        rate_figure(load, scenario),
    ]


def _events(scenario: Scenario) -> list[Element]:
    found = []
    if scenario.leaders:
        found += [element("h2", "Leader, as each address names it"), *leader_tracks(scenario)]
    if scenario.faults:
        found += [element("h2", "Faults"), *interval_tracks(scenario.faults, scenario.axis, "fault")]
    if scenario.alerts:
        found += [element("h2", "Alerts"), *interval_tracks(scenario.alerts, scenario.axis, "alert")]
    if scenario.events:
        found += [element("h2", "Events"), *event_list(scenario.events)]
    return found


def _times(judgement: HistoryJudgement, recovered: t.Sequence[Recovery], scenario: Scenario) -> list[Element]:
    found = []
    if judgement.timings:
        found += [element("h2", "Times by phase"), phase_table(judgement.timings)]
    if recovered:
        found += [element("h2", "Recovery time (RTO)"), *recovery_table(recovered, scenario)]
    return found


def _checks(history: History, judgement: HistoryJudgement) -> list[Element]:
    if not judgement.results:
        return []
    details = [part for result in judgement.results for part in check_details(result, history)]
    if any(result.violations for result in judgement.results):
        note = (
            "Each operation is drawn from its start to its end; the lines show the order of these moments, not how long they lasted. A "
            "dashed line has no known end: it may have taken effect at any later time. A thin line after an "
            "acquisition is how long the lock was certainly held."
        )
        details.insert(0, element("p", note, class_="soft"))
    return [element("h2", "Checks"), check_table(judgement.results), *details]
