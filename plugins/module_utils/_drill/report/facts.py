# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables of numbers: what was run and on what, what was expected, the times of each phase, and recovery."""

from __future__ import annotations

import typing as t

from ..._consul.markup import Element, element, more, shortened, table
from ..expectations import Outcome
from ..history import NS, Header, History
from ..phase_timing import PhaseTiming
from .recovery import Recovery
from .scenario import Scenario, as_text, fields_text
from .trend import seconds

MOST_NODES = 20
MOST_OTHER = 20  # fields of the header that this version does not know
MOST_ROWS = 50
_SHOWN = ("drill", "datacenter", "started", "nodes", "workloads", "consistency")
_OPTIONS = ("duration_s", "clients", "rate", "keys", "gaps", "seed", "prefix", "run")
_NOT_FACTS = ("type", "format", *_SHOWN, *_OPTIONS, "raft_multiplier", "versions", "version")
_UNITS = {"duration_s": " s", "rate": " operations a second"}
_TONES = {"met": "valid", "missed": "invalid", "unknown": "unknown"}


def facts(history: History) -> Element:
    """Return what the header says, and how many operations there are."""
    header = history.header
    nodes = ", ".join(shortened(name, 60) for name in header.nodes[:MOST_NODES])
    if len(header.nodes) > MOST_NODES:
        nodes += f" and {len(header.nodes) - MOST_NODES:,} more"
    rows = [
        ("Datacenter", header.datacenter or "not recorded"),
        ("Started", header.started or "not recorded"),
        ("Operations", _operations(history)),
        ("Workloads", ", ".join(header.workloads)),
        ("Reads", header.consistency),
        ("raft_multiplier", _multiplier(header)),
        *((name, as_text(header.fields[name])) for name in ("versions", "version") if name in header.fields),
        *(
            (_label(name), as_text(header.fields[name]) + _UNITS.get(name, ""))
            for name in _OPTIONS
            if name in header.fields
        ),
    ]
    other = [(_label(name), as_text(value)) for name, value in header.fields.items() if name not in _NOT_FACTS]
    cells = [_fact(*row) for row in (*rows, *other[:MOST_OTHER])]
    return element("dl", _fact("Nodes", nodes or "not recorded", "wide"), *cells)


def _fact(name: str, value: str, style: str | None = None) -> Element:
    return element("div", element("dt", shortened(name, 40)), element("dd", shortened(value, 1500)), class_=style)


def _label(name: str) -> str:
    text = name[:-2] if name.endswith("_s") else name
    return (text[:1].upper() + text[1:]).replace("_", " ")


def _multiplier(header: Header) -> str:
    value = header.fields.get("raft_multiplier")
    return "not recorded; recovery times depend on it" if value is None else as_text(value)


def _operations(history: History) -> str:
    unfinished = f", {history.unfinished:,} without an end" if history.unfinished else ""
    return f"{len(history.operations):,}{unfinished}"


def expectation_table(expectations: t.Sequence[Outcome]) -> list[Element]:
    """Return what was expected, what was measured and the verdict."""
    rows = [
        (
            shortened(one.name.replace("_", " "), 80),
            shortened(one.sentence),
            _measure(one.objective),
            _measure(one.measured),
            element("span", one.verdict, class_=f"badge {_TONES[one.verdict]}"),
        )
        for one in expectations[:MOST_ROWS]
    ]
    found = [table(("Expectation", "What was expected", "Objective", "Measured", "Verdict"), rows, numbers_from=9)]
    return [*found, *more(len(expectations) - len(rows), "expectation")]


def _measure(value: float | str | None) -> str:
    if value is None:
        return "-"
    return shortened(value, 80) if isinstance(value, str) else f"{value:g}"


def phase_table(timings: t.Iterable[PhaseTiming]) -> Element:
    """Return the times of each phase."""
    rows = []
    for one in timings:
        latency = ["-"] * 4 if one.latency_ms is None else [f"{value:,.1f} ms" for value in one.latency_ms]
        counts = [f"{count:,}" for count in (one.ok, one.failed, one.unknown)]
        rows.append(
            (f"{one.phase}, {one.kind}", f"{one.seconds:,.1f} s", *counts, *latency, f"{one.longest_gap_s:,.2f} s")
        )
    return table(("Phase", "Time", "ok", "failed", "unknown", "p50", "p95", "p99", "max", "Longest gap"), rows)


def recovery_table(found: t.Sequence[Recovery], scenario: Scenario) -> list[Element]:
    """Return how long no change was acknowledged after each fault and each healing."""
    rows = [
        (
            "healing" if one.is_healing else "fault",
            shortened(fields_text(one.event), 120),
            f"{one.event.time_ns / NS:,.2f} s",
            _recovery(one),
        )
        for one in found[:MOST_ROWS]
    ]
    note = (
        "The longest time without an acknowledged change that began after it and before the next one. It goes on until a change was "
        "acknowledged, even if that was after the next one."
    )
    parts = [table(("After", "Which", "At", "No change for"), rows, numbers_from=2), element("p", note, class_="soft")]
    parts += more(len(found) - len(rows), "event")
    if scenario.load_end_ns is None:
        parts.append(
            element(
                "p",
                "The history does not say when the load ended; its last operation counts as the end.",
                class_="soft",
            )
        )
    return parts


def _recovery(one: Recovery) -> str:
    if one.gap_ns is None:
        return "unknown: no change was tried"
    return seconds(one.gap_ns / NS) if one.is_recovered else f"at least {seconds(one.gap_ns / NS)}, until the end"
