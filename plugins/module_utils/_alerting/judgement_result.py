# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns a judgement into what a face returns, and into the sentence of a gate that is closed. Pure."""

from __future__ import annotations

import typing as t

from .._consul.errors import GateClosed
from .._consul.units import columns, count_of
from .finding import Judgement
from .gate import Outcome


def result(outcome: Outcome) -> dict[str, t.Any]:
    """Return an outcome as plain data."""
    judgement = outcome.judgement
    return {
        "changed": False,
        "verdict": judgement.verdict,
        "findings": [finding._asdict() for finding in judgement.findings],
        "counts": judgement.counts,
        "unknown": [unknown._asdict() for unknown in judgement.unknown],
        "maintenance": judgement.maintenance,
        "table": table(judgement),
        "looks": outcome.looks,
        "seconds": round(outcome.seconds, 3),
    }


def table(judgement: Judgement) -> list[str]:
    """Return a judgement as lines for a person."""
    rows = [(found.severity, found.datacenter, found.rule, found.summary) for found in judgement.findings]
    rows += [("unknown", one.datacenter, one.what, one.reason) for one in judgement.unknown]
    rows += [("quiet", *place.partition(": ")[::2], "in maintenance") for place in judgement.maintenance]
    return columns(rows) or ["ok: nothing is wrong"]


def closed(outcome: Outcome, data: dict[str, t.Any]) -> GateClosed:
    """Return the error of a gate that stays closed: the worst findings in words."""
    judgement = outcome.judgement
    words = [f"{found.severity}: {found.summary}" for found in judgement.findings[:5]]
    words += [
        f"unknown: {one.what} of {one.datacenter} ({one.reason})" for one in judgement.unknown[: max(1, 5 - len(words))]
    ]
    if not words:
        words = [f"nothing is wrong, and {outcome.missing_s:.1f} s of stable_for were still to come when wait was over"]
    more = len(judgement.findings) + len(judgement.unknown) - len(words)
    if more > 0:
        words.append(f"and {count_of(more, 'other thing')}")
    waited = f" after {outcome.seconds:.0f} s" if outcome.looks > 1 else ""
    error = GateClosed(f"the gate is closed{waited} ({judgement.verdict}). " + "; ".join(words))
    error.details = data
    return error
