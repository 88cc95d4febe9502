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


def planned(prepared: Prepared) -> list[PairOutcome]:
    """Return what a run would make of each pair."""
    rows = []
    for plan in prepared.plans:
        why_keep = prepared.why_keep(plan)
        row = PairOutcome(plan.pair, plan.tally.created, plan.tally.updated, 0 if why_keep else len(plan.victims))
        row.verified = not (plan.work or plan.victims or plan.conflicts or plan.quarantined)
        row.conflicts, row.quarantined, row.seconds = plan.conflicts, plan.quarantined, plan.seconds
        row.held_back = [Problem(victim.key, why_keep) for victim in plan.victims if why_keep]
        rows.append(row)
    return rows


def would(prepared: Prepared, outcomes: t.Sequence[PairOutcome], limit: int) -> Result:
    """Return what a run would do; ``outcomes`` are those that ``planned`` gave."""
    return {**_result(prepared, outcomes, limit), "changed": prepared.changed}


def done(prepared: Prepared, outcomes: t.Sequence[PairOutcome], limit: int) -> Result:
    """Return what a run did."""
    written = any(found.written for found in outcomes)
    adopted = any(plan.adopted for plan in prepared.plans)
    return {**_result(prepared, outcomes, limit), "changed": written or adopted or bool(prepared.turned_after)}


def _result(prepared: Prepared, outcomes: t.Sequence[PairOutcome], limit: int) -> Result:
    kept = {problem.key for outcome in outcomes for problem in outcome.held_back}
    lines = [line for line in prepared.lines if line.kind != "deleted" or line.key not in kept]
    total = sum(plan.tally.created + plan.tally.updated + len(plan.victims) for plan in prepared.plans)
    return {
        "name": prepared.name,
        "source_datacenter": prepared.source,
        "destination_datacenter": prepared.destination,
        "prefixes": [_row(plan, outcome, limit) for plan, outcome in zip(prepared.plans, outcomes)],
        "unchecked": prepared.unchecked,
        "diff": diff(lines, total - len(kept)),
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
        "kept": tally.kept + plan.came_back,
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


def diff(lines: t.Sequence[Line], total: int) -> dict[str, str]:
    """Return the changes as Ansible's diff takes them, and how many more there are."""
    more = [f"… and {total - len(lines)} more changes"] if total > len(lines) else []
    before = [f"{line.key}: {line.before}" for line in lines if line.before is not None]
    after = [f"{line.key}: {line.after}" for line in lines if line.after is not None]
    return {"before": lines_of(before), "after": lines_of(after + more)}


def problem(outcomes: t.Sequence[PairOutcome], result: Result, policy: Policy, *, check: bool) -> NotAsIntended | None:
    """Return the error of a run that could not make everything equal, None when it could."""
    sentences = []
    quarantined = [one for outcome in outcomes for one in outcome.quarantined]
    if quarantined:
        sentences.append(
            f"{count_of(len(quarantined), 'key')} cannot be written at the destination: {_reasons(quarantined)}"
        )
    conflicts = [one for outcome in outcomes for one in outcome.conflicts]
    if conflicts and policy.on_conflict != "keep":
        advice = ". Let the source win with on_conflict: overwrite, or leave them with keep"
        found = _reasons(conflicts) + (advice if policy.on_conflict == "fail" else "")
        sentences.append(f"{count_of(len(conflicts), 'key')} in conflict: {found}")
    held_back = [one for outcome in outcomes for one in outcome.held_back]
    if held_back:
        names = some_of([one.key for one in held_back])
        sentences.append(
            f"{count_of(len(held_back), 'key')} not deleted ({names}), because {held_back[0].reason.rstrip('.')}"
        )
    if not sentences:
        return None
    rest = "Everything else would be equal" if check else "Everything else is equal now"
    error = NotAsIntended(f"{'; '.join(sentences)}. {rest}.")
    error.details = result
    return error


def _reasons(problems: t.Sequence[Problem]) -> str:
    return some_of([f"{one.key} ({one.reason})" for one in problems])
