# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guards against wrong deletions, decided before anything is written. Pure."""

from __future__ import annotations

import typing as t

from .._consul.units import count_of, some_of
from .mapping import PrefixMapping
from .plan import Change, Counts, Policy, Problem

SMALL_DELETES = 5  # max_delete_percent ignores up to so many: a prefix of ten keys could never lose two


class Limits(t.NamedTuple):
    """How much may be deleted: keys in one run, and percent of a prefix's keys at the destination."""

    max_deletes: int = 100
    max_delete_percent: float = 10.0
    allow_empty_source: bool = False


class PlannedDeletes(t.NamedTuple):
    """What one mapping would delete, and how many keys each side has.

    ``deleted_before`` keys were deleted by earlier runs that count together with this one; ``counts`` is what there was before.
    """

    mapping: PrefixMapping
    counts: Counts
    to_delete: t.Sequence[Change]
    deleted_before: int = 0


def refusals(planned: t.Sequence[PlannedDeletes], limits: Limits) -> list[str]:
    """Return why the run as a whole is refused, one sentence for each guard. Empty when no guard refuses."""
    reasons = []
    for mapping, counts, to_delete, before in planned:
        if not counts.source_keys and not limits.allow_empty_source:
            consequence = (
                f"and {count_of(len(to_delete), 'key')} would be deleted ({_names(to_delete)})"
                if to_delete
                else "and there is nothing to copy"
            )
            reasons.append(
                f"the source has no key below {mapping.source!r} that takes part, {consequence}: check the spelling of the prefix "
                "and the datacenter. If the source is meant to be empty, set allow_empty_source"
            )
            continue
        deletes = len(to_delete) + before if to_delete else 0
        percent = 100 * deletes / max(1, counts.destination_keys)
        if counts.source_keys and deletes > SMALL_DELETES and percent > limits.max_delete_percent:
            reasons.append(
                f"{deletes:,} of {count_of(counts.destination_keys, 'key')} below {mapping.destination!r} would be deleted "
                f"({_names(to_delete)}): {percent:.0f} %, and max_delete_percent is {limits.max_delete_percent:g}"
            )
    all_deletes = [deletion for one in planned for deletion in one.to_delete]
    total = len(all_deletes) + sum(one.deleted_before for one in planned) if all_deletes else 0
    if total > limits.max_deletes:
        reasons.append(
            f"{count_of(total, 'key')} would be deleted ({_names(all_deletes)}), and max_deletes is {limits.max_deletes}"
        )
    return reasons


class _Problems(t.Protocol):
    conflicts: list[Problem]
    unwritable: list[Problem]


def deferral_reason(mappings: t.Iterable[_Problems], policy: Policy, known: t.Container[str] = ()) -> str:
    """Return why all deletions are deferred, "" when they are not: a run that cannot write everything deletes nothing.

    Keys that are ``known`` not to be writable since an earlier run do not count.
    """
    mappings = list(mappings)
    unwritable = [problem.key for one in mappings for problem in one.unwritable if problem.key not in known]
    if unwritable:
        return f"not every key could be written ({some_of(unwritable)})"
    conflicts = [problem.key for one in mappings for problem in one.conflicts if problem.key not in known]
    if conflicts and policy.on_conflict != "keep":
        return f"keys that others wrote are in conflict ({some_of(conflicts)})"
    return ""


def _names(to_delete: t.Sequence[Change]) -> str:
    return some_of([deletion.key for deletion in to_delete])
