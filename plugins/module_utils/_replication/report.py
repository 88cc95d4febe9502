# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns plans and outcomes into what a face returns: plain data, a diff, and the sentence of what was not done. Pure."""

from __future__ import annotations

import typing as t

from .._consul.errors import NotAsIntended
from .._consul.units import count_of, lines_of, some_of
from .apply import PairOutcome
from .plan import Line, Policy, Problem
from .prepare import PairPlan, Prepared

Result = dict[str, t.Any]


def planned(prepared: Prepared, limit: int) -> Result:
    """Return what a run would do."""
    rows = []
    for plan in prepared.plans:
        held = [Problem(victim.key, prepared.why_not_delete) for victim in plan.victims if prepared.why_not_delete]
        row = PairOutcome(plan.pair, plan.tally.created, plan.tally.updated, len(plan.victims) - len(held))
        row.verified = not (plan.work or plan.victims or plan.conflicts or plan.quarantined)
        row.conflicts, row.quarantined, row.held_back, row.seconds = (
            plan.conflicts,
            plan.quarantined,
            held,
            plan.seconds,
        )
        rows.append(row)
    return {**_result(prepared, rows, limit), "changed": prepared.changed}


def done(prepared: Prepared, outcomes: t.Sequence[PairOutcome], limit: int) -> Result:
    """Return what a run did."""
    written = any(found.created or found.updated or found.deleted for found in outcomes)
    adopted = any(plan.adopted for plan in prepared.plans)
    return {**_result(prepared, outcomes, limit), "changed": written or adopted or bool(prepared.turned_after)}


def _result(prepared: Prepared, outcomes: t.Sequence[PairOutcome], limit: int) -> Result:
    return {
        "name": prepared.name,
        "source_datacenter": prepared.source,
        "destination_datacenter": prepared.destination,
        "prefixes": [_row(plan, outcome, limit) for plan, outcome in zip(prepared.plans, outcomes)],
        "unchecked": prepared.unchecked,
        "diff": diff(prepared.lines, _total(prepared)),
    }


def _row(plan: PairPlan, outcome: PairOutcome, limit: int) -> Result:
    pair, tally = plan.pair, plan.tally
    return {
        "source": pair.source,
        "destination": pair.destination,
        "delete": pair.delete,
        "source_keys": tally.source_keys,
        "destination_keys": tally.destination_keys,
        "created": outcome.created,
        "updated": outcome.updated,
        "deleted": outcome.deleted,
        "unchanged": tally.unchanged,
        "kept": tally.kept + outcome.came_back,
        "skipped_locked": tally.skipped_locked,
        "adopted": len(plan.adopted),
        "victims": [victim.key for victim in plan.victims[:limit]],
        "conflicts": _problems(outcome.conflicts, limit),
        "quarantined": _problems(outcome.quarantined, limit),
        "held_back": _problems(outcome.held_back, limit),
        "counts": {
            "victims": len(plan.victims),
            "conflicts": len(outcome.conflicts),
            "quarantined": len(outcome.quarantined),
            "held_back": len(outcome.held_back),
        },
        "source_index": plan.source_index,
        "digest": plan.digest.hexdigest(),
        "verified": outcome.verified,
        "seconds": round(outcome.seconds, 3),
    }


def _problems(problems: t.Sequence[Problem], limit: int) -> list[Result]:
    return [problem._asdict() for problem in problems[:limit]]


def _total(prepared: Prepared) -> int:
    return sum(plan.tally.created + plan.tally.updated + len(plan.victims) for plan in prepared.plans)


def diff(lines: t.Sequence[Line], total: int) -> dict[str, str]:
    """Return the changes as Ansible's diff takes them, and how many more there are."""
    more = [f"… and {total - len(lines)} more changes"] if total > len(lines) else []
    before = [f"{line.key}: {line.before}" for line in lines if line.before is not None]
    after = [f"{line.key}: {line.after}" for line in lines if line.after is not None]
    return {"before": lines_of(before), "after": lines_of(after + more)}


def problem(result: Result, policy: Policy, *, check: bool) -> NotAsIntended | None:
    """Return the error of a run that could not make everything equal, None when it could."""
    rows = result["prefixes"]
    sentences = []
    if any(row["quarantined"] for row in rows):
        found = _some(rows, "quarantined")
        sentences.append(f"{_count(rows, 'quarantined')} cannot be written at the destination: {found}")
    if policy.on_conflict != "keep" and any(row["conflicts"] for row in rows):
        advice = ". Let the source win with on_conflict: overwrite, or leave them with keep"
        found = _some(rows, "conflicts") + (advice if policy.on_conflict == "fail" else "")
        sentences.append(f"{_count(rows, 'conflicts')} in conflict: {found}")
    if any(row["held_back"] for row in rows):
        reason = next(row["held_back"][0]["reason"] for row in rows if row["held_back"])
        names = some_of([item["key"] for row in rows for item in row["held_back"]])
        sentences.append(f"{_count(rows, 'held_back')} not deleted ({names}), because {reason}")
    if not sentences:
        return None
    rest = "Everything else would be equal" if check else "Everything else is equal now"
    error = NotAsIntended(f"{'; '.join(sentences)}. {rest}.")
    error.details = result
    return error


def _count(rows: t.Sequence[Result], what: str) -> str:
    return count_of(sum(row["counts"][what] for row in rows), "key")


def _some(rows: t.Sequence[Result], what: str) -> str:
    return some_of([f"{item['key']} ({item['reason']})" for row in rows for item in row[what]])
