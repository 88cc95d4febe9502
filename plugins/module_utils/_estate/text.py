# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of an estate, for a terminal: what to do first, then what is wrong, then each datacenter. Pure."""

from __future__ import annotations

import typing as t

from .._consul.units import columns, count_of
from .first_step import SEVERITIES
from .wording import SECTIONS, Data, section_lines, summary, verdict_word

MOST_STEPS = 20


def estate_lines(result: Data) -> list[str]:
    """Return the lines of the result of consul_estate_info."""
    lines = [f"first: {result['first']}", "", *_steps(result["steps"])]
    for one in result["datacenters"]:
        lines += ["", f"{one['name']}: {verdict_word(one)}: {summary(one)}"]
        lines += [f"  {line}" for line in columns(list(_rows(one)))]
    counts = ", ".join(f"{result['counts'][name]:,} {name}" for name in SEVERITIES)
    lines += ["", f"verdict: {result['verdict']} ({counts}), asked in {result['seconds']:.2f} s"]
    return lines


def _steps(steps: t.Sequence[Data]) -> list[str]:
    rows = []
    for one in steps[:MOST_STEPS]:
        severity = "silenced" if one["silenced_by"] else one["severity"]
        by = f" [silenced by {one['silenced_by']}]" if one["silenced_by"] else ""
        rows.append((severity, one["datacenter"], f"{one['sentence']}{by}"))
    more = len(steps) - MOST_STEPS
    return [*columns(rows), *([f"and {count_of(more, 'more thing')}"] if more > 0 else [])]


def _rows(one: Data) -> t.Iterator[tuple[str, str]]:
    if not one["answered"]:
        return
    for section, heading in SECTIONS.items():
        for number, (_tone, sentence) in enumerate(section_lines(one, section)):
            yield ("" if number else heading, sentence)
