# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders the judgement of a drill's history as lines of text."""

from __future__ import annotations

import typing as t

from .._consul.units import columns, count_of

MAX_OPERATIONS = 12  # that are shown of one violation; JSON has all of them
MAX_VIOLATIONS = 5  # of one checker


def judged(result: t.Mapping[str, t.Any]) -> list[str]:
    """Return the verdict of each checker, what is wrong, and how long operations took."""
    rows = [
        (check["workload"], check["checker"], check["verdict"], _counts(check["counts"])) for check in result["checks"]
    ]
    lines = columns([("WORKLOAD", "CHECK", "VERDICT", "COUNTS"), *rows])
    for check in result["checks"]:
        lines += _details(check)
    if result["phases"]:
        lines += ["", *columns([_PHASE_HEADER, *map(_phase, result["phases"])])]
    if result["expectations"]:
        lines += ["", *columns([("EXPECTED", "VERDICT", "WHAT WAS SEEN"), *map(_expectation, result["expectations"])])]
    unfinished = f", {result['unfinished']:,} of them without an end" if result["unfinished"] else ""
    lines += ["", f"{result['verdict']}: {count_of(result['operations'], 'operation')}{unfinished}"]
    return lines


def _expectation(outcome: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    return outcome["name"].replace("_", " "), outcome["verdict"], outcome["sentence"]


def _counts(counts: t.Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in counts.items() if value)


def _details(check: t.Mapping[str, t.Any]) -> list[str]:
    lines = []
    for violation in check["violations"][:MAX_VIOLATIONS]:
        lines += ["", f"{check['checker']}: {violation['sentence']}"]
        operations = violation["operations"]
        lines += [f"  {one['text']}" for one in operations[:MAX_OPERATIONS]]
        if len(operations) > MAX_OPERATIONS:
            lines.append(f"  and {count_of(len(operations) - MAX_OPERATIONS, 'operation')} more (--json shows them)")
    more = check["violation_count"] - MAX_VIOLATIONS
    if more > 0:
        lines.append(f"and {count_of(more, 'violation')} more of {check['checker']}")
    notes = [*(f"unknown: {reason}" for reason in check["unknown"]), *check["remarks"]]
    return lines + ([""] if notes else []) + [f"{check['checker']}: {note}" for note in notes]


_PHASE_HEADER = ("PHASE", "", "SECONDS", "OK", "FAILED", "UNKNOWN", "P50", "P95", "P99", "MAX", "LONGEST GAP")


def _phase(phase: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    latency = phase["latency_ms"]
    times = ("-",) * 4 if latency is None else [f"{latency[name]:,.1f} ms" for name in ("p50", "p95", "p99", "max")]
    numbers = [f"{phase[name]:,}" for name in ("ok", "failed", "unknown")]
    return phase["phase"], phase["kind"], f"{phase['seconds']:.1f}", *numbers, *times, f"{phase['longest_gap_s']:.2f} s"
