# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The judgement of a history as plain data, for JSON and for people, and as JUnit XML."""

from __future__ import annotations

import typing as t
from dataclasses import asdict
from xml.etree import ElementTree

from .._consul.markup import xml_text
from .check_result import INVALID, UNKNOWN, CheckResult, Violation
from .history import NS, History, Operation
from .judge import HistoryJudgement
from .phase_timing import PhaseTiming
from .report.recovery import recoveries

Data = dict[str, t.Any]


def judgement_result(history: History, judgement: HistoryJudgement) -> Data:
    """Return the judgement as plain data."""
    header = history.header
    return {
        "verdict": judgement.verdict,
        "drill": header.drill,
        "datacenter": header.datacenter,
        "started": header.started,
        "consistency": header.consistency,
        "operations": len(history.operations),
        "unfinished": history.unfinished,
        "cut_line": history.cut_line,
        "passed": judgement.is_passed,
        "expectations": [asdict(one) for one in judgement.outcomes],
        "checks": list(map(_check, judgement.results)),
        "phases": list(map(_phase, judgement.timings)),
        "recovery": _recovery(history),
    }


def _recovery(history: History) -> Data:
    """Return the longest recovery after a fault or a healing."""
    known = [one for one in recoveries(history) if one.gap_ns is not None]
    longest = max(known, key=lambda one: t.cast(int, one.gap_ns), default=None)
    return {
        "seconds": None if longest is None else t.cast(int, longest.gap_ns) / NS,
        "recovered": all(one.is_recovered for one in known),
    }


def _check(result: CheckResult) -> Data:
    return {
        "checker": result.checker,
        "workload": result.workload,
        "verdict": result.verdict,
        "counts": dict(result.counts),
        "violations": list(map(_violation, result.violations)),
        "violation_count": result.violation_count,
        "unknown": list(result.unknown),
        "remarks": list(result.remarks),
    }


def _violation(violation: Violation) -> Data:
    return {
        "sentence": violation.sentence,
        "key": violation.key,
        "operations": list(map(_operation, violation.operations)),
    }


def _operation(operation: Operation) -> Data:
    names = ("line", "process", "f", "key", "value", "outcome", "start_ns", "end_ns", "node")
    found = {name: getattr(operation, name) for name in names}
    value = operation.value
    return {
        **found,
        "index": operation.state_index,
        "value": list(value) if isinstance(value, tuple) else value,
        "text": str(operation),
    }


def _phase(timing: PhaseTiming) -> Data:
    percentiles = timing.latency_ms
    return {
        "phase": timing.phase,
        "kind": timing.kind,
        "seconds": timing.seconds,
        "ok": timing.ok,
        "failed": timing.failed,
        "unknown": timing.unknown,
        "latency_ms": None if percentiles is None else dict(zip(("p50", "p95", "p99", "max"), percentiles)),
        "longest_gap_s": timing.longest_gap_s,
    }


def junit_xml(result: Data) -> bytes:
    """Return the result of ``judgement_result`` as JUnit XML: a test case for each checker, unknown as an error."""
    checks = result["checks"]
    verdicts = [check["verdict"] for check in checks]
    suite = ElementTree.Element(
        "testsuite",
        {
            "name": xml_text(f"drill {result['drill']}".rstrip()),
            "tests": str(len(checks)),
            "failures": str(verdicts.count(INVALID)),
            "errors": str(verdicts.count(UNKNOWN)),
        },
    )
    for check in checks:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": f"drill.{check['workload']}", "name": check["checker"]}
        )
        if check["verdict"] == INVALID:
            sentences = [violation["sentence"] for violation in check["violations"]]
            lines = [
                line
                for violation in check["violations"]
                for line in (violation["sentence"], *(f"  {one['text']}" for one in violation["operations"]))
            ]
            failure = ElementTree.SubElement(case, "failure", {"message": xml_text(sentences[0])})
            failure.text = xml_text("\n".join(lines))
        elif check["verdict"] == UNKNOWN:
            ElementTree.SubElement(case, "error", {"message": xml_text("; ".join(check["unknown"]))})
    document: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return document
