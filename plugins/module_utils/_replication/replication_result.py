# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns plans and outcomes into what a face returns: plain data, a diff, and the sentence of what was not done. Pure."""

from __future__ import annotations

import typing as t

from .._consul.errors import NotConverged
from .._consul.units import count_of, lines_of, some_of
from .apply import MappingOutcome
from .plan import DiffLine, Policy, Problem
from .prepare import MappingPlan, PreparedReplication

Result = dict[str, t.Any]


def planned(prepared: PreparedReplication) -> list[MappingOutcome]:
    """Return what a run would make of each mapping."""
    rows = []
    for plan in prepared.plans:
        why_keep = prepared.why_keep(plan)
        row = MappingOutcome(
            plan.mapping, plan.counts.created, plan.counts.updated, 0 if why_keep else len(plan.to_delete)
        )
        row.verified = not (plan.work or plan.to_delete or plan.conflicts or plan.unwritable)
        row.conflicts, row.unwritable, row.seconds = plan.conflicts, plan.unwritable, plan.seconds
        row.deferred_deletes = [Problem(deletion.key, why_keep) for deletion in plan.to_delete if why_keep]
        rows.append(row)
    return rows


def would(prepared: PreparedReplication, outcomes: t.Sequence[MappingOutcome], limit: int) -> Result:
    """Return what a run would do; ``outcomes`` are those that ``planned`` gave."""
    return {**_result(prepared, outcomes, limit), "changed": prepared.changed}


def done(prepared: PreparedReplication, outcomes: t.Sequence[MappingOutcome], limit: int) -> Result:
    """Return what a run did."""
    written = any(found.written for found in outcomes)
    adopted = any(plan.adopted for plan in prepared.plans)
    return {**_result(prepared, outcomes, limit), "changed": written or adopted or bool(prepared.reversed_after)}


def _result(prepared: PreparedReplication, outcomes: t.Sequence[MappingOutcome], limit: int) -> Result:
    kept = {problem.key for outcome in outcomes for problem in outcome.deferred_deletes}
    lines = [line for line in prepared.lines if line.kind != "deleted" or line.key not in kept]
    total = sum(plan.counts.created + plan.counts.updated + len(plan.to_delete) for plan in prepared.plans)
    return {
        "name": prepared.name,
        "source_datacenter": prepared.source,
        "destination_datacenter": prepared.destination,
        "prefixes": [_row(plan, outcome, limit) for plan, outcome in zip(prepared.plans, outcomes)],
        "unchecked": prepared.unchecked,
        "diff": diff(lines, total - len(kept)),
    }


def _row(plan: MappingPlan, outcome: MappingOutcome, limit: int) -> Result:
    mapping, counts = plan.mapping, plan.counts
    return {
        "source": mapping.source,
        "destination": mapping.destination,
        "delete": mapping.delete,
        "source_keys": counts.source_keys,
        "destination_keys": counts.destination_keys,
        "created": outcome.created,
        "updated": outcome.updated,
        "deleted": outcome.deleted,
        "unchanged": counts.unchanged,
        "kept": counts.kept + plan.came_back,
        "skipped_locked": counts.skipped_locked,
        "adopted": len(plan.adopted),
        "to_delete": [deletion.key for deletion in plan.to_delete[:limit]],
        "conflicts": _problems(outcome.conflicts, limit),
        "unwritable": _problems(outcome.unwritable, limit),
        "deferred_deletes": _problems(outcome.deferred_deletes, limit),
        "counts": {
            "to_delete": len(plan.to_delete),
            "conflicts": len(outcome.conflicts),
            "unwritable": len(outcome.unwritable),
            "deferred_deletes": len(outcome.deferred_deletes),
        },
        "source_index": plan.source_index,
        "digest": plan.digest.hexdigest(),
        "verified": outcome.verified,
        "seconds": round(outcome.seconds, 3),
    }


def _problems(problems: t.Sequence[Problem], limit: int) -> list[Result]:
    return [problem._asdict() for problem in problems[:limit]]


def diff(lines: t.Sequence[DiffLine], total: int) -> dict[str, str]:
    """Return the changes as Ansible's diff takes them, and how many more there are."""
    more = [f"… and {total - len(lines)} more changes"] if total > len(lines) else []
    before = [f"{line.key}: {line.before}" for line in lines if line.before is not None]
    after = [f"{line.key}: {line.after}" for line in lines if line.after is not None]
    return {"before": lines_of(before), "after": lines_of(after + more)}


def problem(
    outcomes: t.Sequence[MappingOutcome], result: Result, policy: Policy, *, check: bool
) -> NotConverged | None:
    """Return the error of a run that could not make everything equal, None when it could."""
    sentences = []
    unwritable = [one for outcome in outcomes for one in outcome.unwritable]
    if unwritable:
        sentences.append(
            f"{count_of(len(unwritable), 'key')} cannot be written at the destination: {_reasons(unwritable)}"
        )
    conflicts = [one for outcome in outcomes for one in outcome.conflicts]
    if conflicts and policy.on_conflict != "keep":
        advice = ". Let the source win with on_conflict: overwrite, or leave them with keep"
        found = _reasons(conflicts) + (advice if policy.on_conflict == "fail" else "")
        sentences.append(f"{count_of(len(conflicts), 'key')} in conflict: {found}")
    deferred_deletes = [one for outcome in outcomes for one in outcome.deferred_deletes]
    if deferred_deletes:
        names = some_of([one.key for one in deferred_deletes])
        sentences.append(
            f"{count_of(len(deferred_deletes), 'key')} not deleted ({names}), because {deferred_deletes[0].reason.rstrip('.')}"
        )
    if not sentences:
        return None
    rest = "Everything else would be equal" if check else "Everything else is equal now"
    error = NotConverged(f"{'; '.join(sentences)}. {rest}.")
    error.details = result
    return error


def _reasons(problems: t.Sequence[Problem]) -> str:
    return some_of([f"{one.key} ({one.reason})" for one in problems])
