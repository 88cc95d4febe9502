# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns plans and outcomes into the module's result: plain data, a diff, and the error of a run that is incomplete. Pure."""

from __future__ import annotations

import typing as t

from .._consul.errors import NotConverged
from .._consul.units import count_of, lines_of, some_of
from .outcome import MappingOutcome
from .plan import DiffLine, Policy, Problem
from .prepared import MappingPlan, PreparedReplication

Result = dict[str, t.Any]


def planned_outcomes(prepared: PreparedReplication) -> list[MappingOutcome]:
    """Return the outcomes that a run would have."""
    return [_planned_outcome(plan, prepared.deferral_of(plan)) for plan in prepared.plans]


def _planned_outcome(plan: MappingPlan, deferral: str) -> MappingOutcome:
    return MappingOutcome(
        plan.mapping,
        created=plan.counts.created,
        updated=plan.counts.updated,
        deleted=0 if deferral else len(plan.to_delete),
        verified=not (plan.work or plan.to_delete or plan.conflicts or plan.unwritable or plan.unconfirmed),
        conflicts=plan.conflicts,
        unwritable=plan.unwritable,
        deferred_deletes=[Problem(deletion.key, deferral) for deletion in plan.to_delete if deferral],
        seconds=plan.seconds,
    )


def planned_result(prepared: PreparedReplication, outcomes: t.Sequence[MappingOutcome], limit: int) -> Result:
    """Return the result of a run that writes nothing. ``outcomes`` are those of ``planned_outcomes``."""
    return {**_result(prepared, outcomes, limit), "changed": prepared.changed}


def applied_result(prepared: PreparedReplication, outcomes: t.Sequence[MappingOutcome], limit: int) -> Result:
    """Return the result of a run that wrote, finished or not."""
    written = any(outcome.written for outcome in outcomes)
    adopted = any(plan.adopted for plan in prepared.plans)
    return {**_result(prepared, outcomes, limit), "changed": written or adopted or bool(prepared.reversed_after)}


def _result(prepared: PreparedReplication, outcomes: t.Sequence[MappingOutcome], limit: int) -> Result:
    deferred = {problem.key for outcome in outcomes for problem in outcome.deferred_deletes}
    lines = [line for line in prepared.lines if line.kind != "deleted" or line.key not in deferred]
    total = sum(plan.counts.created + plan.counts.updated + len(plan.to_delete) for plan in prepared.plans)
    return {
        "name": prepared.name,
        "source_datacenter": prepared.source,
        "destination_datacenter": prepared.destination,
        "prefixes": [_row(plan, outcome, limit) for plan, outcome in zip(prepared.plans, outcomes)],
        "unchecked": [*prepared.unchecked, *_hidden(prepared.plans)],
        "diff": diff(lines, total - len(deferred)),
    }


def _hidden(plans: t.Sequence[MappingPlan]) -> list[str]:
    """Return why it is not known that each mapping's source was read whole."""
    return [f"keys of the source: {plan.unconfirmed}" for plan in plans if plan.unconfirmed]


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
        "conflicts": _problem_rows(outcome.conflicts, limit),
        "unwritable": _problem_rows(outcome.unwritable, limit),
        "deferred_deletes": _problem_rows(outcome.deferred_deletes, limit),
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


def _problem_rows(problems: t.Sequence[Problem], limit: int) -> list[Result]:
    return [problem._asdict() for problem in problems[:limit]]


def diff(lines: t.Sequence[DiffLine], total: int) -> dict[str, str]:
    """Return the changes as Ansible's diff, with the number of those that are not listed."""
    more = [f"… and {total - len(lines)} more changes"] if total > len(lines) else []
    before = [f"{line.key}: {line.before}" for line in lines if line.before is not None]
    after = [f"{line.key}: {line.after}" for line in lines if line.after is not None]
    return {"before": lines_of(before), "after": lines_of(after + more)}


def incomplete_error(
    outcomes: t.Sequence[MappingOutcome], result: Result, policy: Policy, *, check: bool
) -> NotConverged | None:
    """Return the error of a run that could not make everything equal, None when it could."""
    sentences = []
    unwritable = [problem for outcome in outcomes for problem in outcome.unwritable]
    if unwritable:
        sentences.append(
            f"{count_of(len(unwritable), 'key')} cannot be written at the destination: {_reasons(unwritable)}"
        )
    conflicts = [problem for outcome in outcomes for problem in outcome.conflicts]
    if conflicts and policy.on_conflict != "keep":
        advice = ". Set on_conflict: overwrite to let the source win, or keep to leave them"
        text = _reasons(conflicts) + (advice if policy.on_conflict == "fail" else "")
        sentences.append(f"{count_of(len(conflicts), 'key')} in conflict: {text}")
    deferred = [problem for outcome in outcomes for problem in outcome.deferred_deletes]
    if deferred:
        names = some_of([problem.key for problem in deferred])
        sentences.append(
            f"{count_of(len(deferred), 'key')} not deleted ({names}), because {deferred[0].reason.rstrip('.')}"
        )
    if not sentences:
        return None
    rest = "Everything else would be equal" if check else "Everything else is equal now"
    error = NotConverged(f"{'; '.join(sentences)}. {rest}.")
    error.details = result
    return error


def _reasons(problems: t.Sequence[Problem]) -> str:
    return some_of([f"{problem.key} ({problem.reason})" for problem in problems])
