# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds what a module or command returns of a judgement, and the sentence of a closed gate. Pure."""

from __future__ import annotations

import typing as t

from .._consul.errors import GateClosed
from .._consul.units import columns, count_of
from .finding import RESULT_FIELDS, Judgement
from .gate import GateOutcome

MAX_NAMED = 5  # findings in the sentence of a closed gate


def result(outcome: GateOutcome) -> dict[str, t.Any]:
    """Return an outcome as plain data."""
    judgement = outcome.judgement
    return {
        "changed": False,
        "verdict": judgement.verdict,
        "findings": [{name: getattr(finding, name) for name in RESULT_FIELDS} for finding in judgement.findings],
        "counts": judgement.counts,
        "unknown": [unknown._asdict() for unknown in judgement.unknown],
        "maintenance": judgement.maintenance,
        "table": table(judgement),
        "attempts": outcome.attempts,
        "seconds": round(outcome.duration_s, 3),
    }


def table(judgement: Judgement) -> list[str]:
    """Return a judgement as the lines of a table."""
    rows = [(finding.severity, finding.datacenter, finding.rule, finding.sentence) for finding in judgement.findings]
    rows += [("unknown", unknown.datacenter, unknown.what, unknown.reason) for unknown in judgement.unknown]
    rows += [("skipped", *place.partition(": ")[::2], "in maintenance") for place in judgement.maintenance]
    return columns(rows) or ["ok: nothing is wrong"]


def gate_closed(outcome: GateOutcome, details: dict[str, t.Any]) -> GateClosed:
    """Return the error of a closed gate. It names the worst findings and carries ``details``."""
    judgement = outcome.judgement
    problems = [f"{finding.severity}: {finding.sentence}" for finding in judgement.findings[:MAX_NAMED]]
    problems += [
        f"unknown: {unknown.what} of {unknown.datacenter} ({unknown.reason})"
        for unknown in judgement.unknown[: max(1, MAX_NAMED - len(problems))]
    ]
    if not problems:
        problems = [
            f"nothing is wrong, but when wait ended, {outcome.missing_stable_s:.1f} s of stable_for were still missing"
        ]
    more = len(judgement.findings) + len(judgement.unknown) - len(problems)
    if more > 0:
        problems.append(f"and {count_of(more, 'other thing')}")
    waited = f" after {outcome.duration_s:.0f} s" if outcome.attempts > 1 else ""
    error = GateClosed(f"the gate is closed{waited} ({judgement.verdict}). " + "; ".join(problems))
    error.details = details
    return error
