# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides whether deletions go on while a replication follows its source. Pure.

The guards count all deletions of a window, which is about as long as the time between two verifications, so that a source that loses
its keys one by one trips them too. A tripped guard stays so until an operator acknowledges the very plan, or nothing is left of it.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import dataclass, field

from .delete_guards import Limits, PlannedDeletes, refusals
from .mapping import PrefixMapping
from .plan import Change, Counts


@dataclass
class DeleteWindow:
    """What was deleted since ``began`` (Unix seconds), by prefix of the destination.

    ``totals`` is how many keys a prefix had then, and those that were created since; a prefix without one is judged by what it has.
    """

    began: float = 0.0
    deleted: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)

    def is_over(self, now: float, length_s: float) -> bool:
        """Return whether the next one may begin. One that began in the future, because the clock was set back, goes on."""
        return self.began == 0.0 or now >= self.began + length_s

    def restart(self, now: float) -> None:
        """Begin the next one."""
        self.began, self.deleted, self.totals = now, {}, {}

    def add(self, prefix: str, keys: int, created: int, deleted: int) -> None:
        """Count what was done below a prefix that had so many ``keys`` before, if nothing is known of it yet."""
        self.totals[prefix] = self.totals.get(prefix, keys) + created
        if deleted:
            self.deleted[prefix] = self.deleted.get(prefix, 0) + deleted

    def planned(self, mapping: PrefixMapping, counts: Counts, to_delete: t.Sequence[Change]) -> PlannedDeletes:
        """Return what the guards judge: this plan together with what was deleted before."""
        prefix = mapping.destination
        before = Counts(
            source_keys=counts.source_keys, destination_keys=self.totals.get(prefix, counts.destination_keys)
        )
        return PlannedDeletes(mapping, before, to_delete, self.deleted.get(prefix, 0))


class Decision(t.NamedTuple):
    """Whether a plan of deletions is carried out: not while there are ``reasons``.

    ``digest`` is that of the plan, "" for one without deletions.
    """

    reasons: tuple[str, ...] = ()
    digest: str = ""

    @property
    def is_paused(self) -> bool:
        """Whether there is something that is not deleted."""
        return bool(self.reasons and self.digest)


def decide(
    planned: t.Sequence[PlannedDeletes],
    limits: Limits,
    other_reasons: t.Sequence[str] = (),
    paused_before: t.Sequence[str] = (),
    acknowledged: str = "",
    paused_names: t.Iterable[str] = (),
) -> Decision:
    """Decide about a plan of deletions.

    The plan is ``planned`` with ``paused_names``, which are paused already. ``other_reasons`` say that the source is not what it
    was. ``paused_before`` are the reasons of a pause that is not over. ``acknowledged`` is the digest that an operator acknowledged.
    An empty source is never acknowledged: that is what allow_empty_source is for.
    """
    names = {change.key for one in planned for change in one.to_delete} | set(paused_names)
    digest = plan_digest(names)
    if not names:
        return Decision((), "")
    empty = [one for one in planned if not one.counts.source_keys and one.to_delete and not limits.allow_empty_source]
    if empty:
        return Decision(tuple(refusals(empty, limits)), digest)
    if digest == acknowledged:
        return Decision((), digest)
    judged = [one for one in planned if one.counts.source_keys or one.to_delete]
    reasons = [*other_reasons, *refusals(judged, limits)]
    return Decision(tuple(reasons or paused_before), digest)


def plan_digest(names: t.Iterable[str]) -> str:
    """Return the digest of a plan of deletions, which an operator acknowledges: 64 hexadecimal digits, "" without names."""
    ordered = sorted(names)
    return hashlib.sha256(json.dumps(ordered).encode()).hexdigest() if ordered else ""
