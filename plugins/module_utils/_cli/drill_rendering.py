# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders the progress and the result of drills as lines of text."""

from __future__ import annotations

import typing as t

from .._consul.units import columns, count_of
from .._tasks.drill_run import Progress
from .drill_check_rendering import judged


def progress_line(progress: Progress) -> str:
    """Return how far a drill is."""
    counts = progress.counts
    return (
        f"{progress.elapsed_s:.0f} s of {progress.duration_s:g} s: {count_of(counts.all, 'operation')}, {counts.failed:,} failed, "
        f"{counts.unknown:,} unknown; leader {progress.leader}" + (f"; {progress.fault}" if progress.fault else "")
    )


def planned(result: t.Mapping[str, t.Any]) -> list[str]:
    """Return what a drill would do: each fault, whom it strikes, the commands there, and what is expected."""
    lines = [f"{result['drill']} on {result['datacenter']}: {result['duration_s']:g} s of load"]
    for fault in result["faults"]:
        lines += ["", fault["fault"]]
        for target in fault["targets"]:
            lines += [f"  on {target['host']}:", *(f"    {command}" for command in target["commands"])]
    return [*lines, "", *(f"expected: {one}" for one in result["expect"])]


def recorded(result: t.Mapping[str, t.Any]) -> list[str]:
    """Return what was recorded: operations by workload and outcome, how long they took, and the judgement."""
    rows = [
        (name, *(f"{row[outcome]:,}" for outcome in ("ok", "fail", "info")))
        for name, row in result["operations"].items()
    ]
    lines = columns([("WORKLOAD", "OK", "FAILED", "UNKNOWN"), *rows])
    ended = "interrupted" if result["interrupted"] else "recorded"
    lines.append(
        f"{ended}: {result['seconds']:.1f} s of {result['datacenter']} in {result['history']}; its keys were removed"
    )
    lines.append(
        f"latency from the intended start: {_times(result['latency_ms'])}; started late by: {_times(result['lateness_ms'])}"
    )
    if result["unsent"]:
        not_started = count_of(result["unsent"], "operation")
        lines.append(f"not started in time, because Consul or this host was too slow: {not_started}")
    return [*lines, "", *judged(result["judgement"])]


def _times(found: t.Mapping[str, float | None]) -> str:
    if found["p50"] is None:
        return "unknown"
    return ", ".join(f"{name} {found[name]:.1f} ms" for name in ("p50", "p90", "p99", "max"))
