# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a replication refuses to do on a doubt, decided before anything is written. Pure."""

from __future__ import annotations

import typing as t

from .._consul.units import count_of, some_of
from .mapping import PrefixMapping
from .plan import Change, Counts, Policy, Problem

SMALL_DELETES = 5  # below it a percentage says nothing: a prefix of ten keys could never lose one


class Limits(t.NamedTuple):
    """How much may be deleted: keys in one run, percent of a prefix's keys at the destination."""

    max_deletes: int = 100
    max_delete_percent: float = 10.0
    allow_empty_source: bool = False


def refusals(plans: t.Sequence[tuple[PrefixMapping, Counts, t.Sequence[Change]]], limits: Limits) -> list[str]:
    """Return why nothing may be done, as sentences; the to_delete of each mapping are the third of its parts."""
    found = []
    for mapping, counts, to_delete in plans:
        if not counts.source_keys and not limits.allow_empty_source:
            lost = (
                f"and {count_of(len(to_delete), 'key')} would be deleted ({_names(to_delete)})"
                if to_delete
                else "and nothing to copy"
            )
            found.append(
                f"the source has no key below {mapping.source!r} that takes part, {lost}: is the prefix spelt right, the datacenter the "
                "one that you mean? If it shall be empty, set allow_empty_source"
            )
            continue
        percent = 100 * len(to_delete) / max(1, counts.destination_keys)
        if counts.source_keys and len(to_delete) > SMALL_DELETES and percent > limits.max_delete_percent:
            found.append(
                f"{len(to_delete):,} of {count_of(counts.destination_keys, 'key')} below {mapping.destination!r} would be deleted "
                f"({_names(to_delete)}), which is {percent:.0f} % and above max_delete_percent ({limits.max_delete_percent:g})"
            )
    total = sum(len(to_delete) for _mapping, _tally, to_delete in plans)
    if total > limits.max_deletes:
        everything = [deletion for _mapping, _tally, to_delete in plans for deletion in to_delete]
        found.append(
            f"{count_of(total, 'key')} would be deleted ({_names(everything)}), and max_deletes is {limits.max_deletes}"
        )
    return found


class _Problems(t.Protocol):
    conflicts: list[Problem]
    unwritable: list[Problem]


def why_not_delete(found: t.Iterable[_Problems], policy: Policy) -> str:
    """Return why deletions are held back, "" when they are not: a run that cannot write everything deletes nothing."""
    found = list(found)
    unwritable = [problem.key for row in found for problem in row.unwritable]
    if unwritable:
        return f"not every key could be written ({some_of(unwritable)})"
    conflicts = [problem.key for row in found for problem in row.conflicts]
    if conflicts and policy.on_conflict != "keep":
        return f"keys that others wrote are in conflict ({some_of(conflicts)})"
    return ""


def _names(to_delete: t.Sequence[Change]) -> str:
    return some_of([deletion.key for deletion in to_delete])
