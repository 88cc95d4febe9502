# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges a rehearsal: which Consul may stand in for the servers, and what the comparison of the tables says. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._consul.units import some_of
from .. import records, version_rules
from ..compare import Comparison, Difference
from ..restore_plan import Verification
from ..summary import Summary
from .errors import RehearsalRefused


@dataclass(frozen=True)
class RehearsedTable:
    """How many records of a table the snapshot holds and Consul has after the restore, and how many of them are not the same.

    ``durable``: a restore must bring the table back. ``written``: what the server itself wrote or deleted after the restore.
    """

    table: str
    durable: bool
    expected: int
    restored: int
    differing: int
    written: int


def check_version(snapshot: Summary, version: str) -> str | None:
    """Return a warning when a Consul of another version than the snapshot's servers rehearses, None when the versions are the same.

    Raises RehearsalRefused for an older one that would panic on what the servers of the snapshot do load.
    """
    here, there = version_rules.parse_version(version), version_rules.newest_version(snapshot.consul_versions)
    if here is None or there is None or here == there:
        return None
    shown, of = version_rules.shown(here), version_rules.shown(there)
    if here < there:
        types = version_rules.unknown_types((table.type for table in snapshot.tables), here)
        unknown = [*map(records.type_name, types), *version_rules.unknown_kinds(snapshot.config_kinds, here)]
        if unknown:
            raise RehearsalRefused(
                f"The rehearsal is refused: the snapshot is of Consul {of} and holds what Consul {shown} does not restore "
                f"({some_of(unknown)}). Name a Consul of the servers' version with consul_binary."
            )
    return f"rehearsed in Consul {shown}; the servers of the snapshot run {of}, and may load what this one does not, or not what it does"


def rehearsed_tables(comparison: Comparison, verification: Verification) -> tuple[RehearsedTable, ...]:
    """Return every table that the snapshot or Consul has records of, the largest first."""
    durable = {table.name: table.durable for table in (*comparison.after.tables, *comparison.before.tables)}
    wrong, since = _by_table(verification.wrong), _by_table(verification.since)
    rows = [
        RehearsedTable(
            name,
            is_durable,
            comparison.before.count(name),
            comparison.after.count(name),
            wrong.get(name, 0),
            since.get(name, 0),
        )
        for name, is_durable in durable.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.expected, row.table)))


def _by_table(found: t.Iterable[Difference]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for difference in found:
        counts[difference.table] = counts.get(difference.table, 0) + 1
    return counts
