# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a replication refuses to do on a doubt, decided before anything is written. Pure."""

from __future__ import annotations

import typing as t

from .._consul.units import count_of, some_of
from .pair import Pair
from .plan import Change, Policy, Problem, Tally

SMALL_DELETES = 5  # below it a percentage says nothing: a prefix of ten keys could never lose one


class Limits(t.NamedTuple):
    """How much may be deleted: keys in one run, percent of a prefix's keys at the destination."""

    max_deletes: int = 100
    max_delete_percent: float = 10.0
    allow_empty_source: bool = False


def refusals(plans: t.Sequence[tuple[Pair, Tally, t.Sequence[Change]]], limits: Limits) -> list[str]:
    """Return why nothing may be done, as sentences; the victims of each pair are the third of its parts."""
    found = []
    for pair, tally, victims in plans:
        if not tally.source_keys and not limits.allow_empty_source:
            lost = (
                f"and {count_of(len(victims), 'key')} would be deleted ({_names(victims)})"
                if victims
                else "and nothing to copy"
            )
            found.append(
                f"the source has no key below {pair.source!r} that takes part, {lost}: is the prefix spelt right, the datacenter the "
                "one that you mean? If it shall be empty, set allow_empty_source"
            )
            continue
        percent = 100 * len(victims) / max(1, tally.destination_keys)
        if tally.source_keys and len(victims) > SMALL_DELETES and percent > limits.max_delete_percent:
            found.append(
                f"{len(victims):,} of {count_of(tally.destination_keys, 'key')} below {pair.destination!r} would be deleted "
                f"({_names(victims)}), which is {percent:.0f} % and above max_delete_percent ({limits.max_delete_percent:g})"
            )
    total = sum(len(victims) for _pair, _tally, victims in plans)
    if total > limits.max_deletes:
        everything = [victim for _pair, _tally, victims in plans for victim in victims]
        found.append(
            f"{count_of(total, 'key')} would be deleted ({_names(everything)}), and max_deletes is {limits.max_deletes}"
        )
    return found


class _Problems(t.Protocol):
    conflicts: list[Problem]
    quarantined: list[Problem]


def why_not_delete(found: t.Iterable[_Problems], policy: Policy) -> str:
    """Return why deletions are held back, "" when they are not: a run that cannot write everything deletes nothing."""
    found = list(found)
    quarantined = [problem.key for row in found for problem in row.quarantined]
    if quarantined:
        return f"not every key could be written ({some_of(quarantined)})"
    conflicts = [problem.key for row in found for problem in row.conflicts]
    if conflicts and policy.on_conflict != "keep":
        return f"keys that others wrote are in conflict ({some_of(conflicts)})"
    return ""


def _names(victims: t.Sequence[Change]) -> str:
    return some_of([victim.key for victim in victims])
