# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rehearsals as plain data: what the module returns, and the error of one that Consul passed and the comparison did not."""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from ..restore_result import differences
from .errors import RehearsalFailed
from .rehearse import Rehearsal

SHOWN_NAMES = 3


def rehearsed(found: Rehearsal, limit: int) -> dict[str, t.Any]:
    """Return how a rehearsal went; of what differs at most ``limit`` records by name. Never a value."""
    summary, verification = found.snapshot, found.verification
    return {
        "verified": not verification.wrong,
        "snapshot": {
            "datacenter": summary.datacenter,
            "index": summary.meta.index,
            "records": summary.records,
            "digest": summary.digest,
            "consul_versions": list(summary.consul_versions),
        },
        "consul": {"version": found.version, "binary": str(found.binary), "peak_bytes": found.peak_bytes},
        "isolation": found.method,
        "tables": [asdict(table) for table in found.tables],
        "wrong": differences(verification.wrong, limit),
        "omitted": max(0, len(verification.wrong) - limit),
        "migrated": dict(verification.migrated),
        "seconds": {part: round(seconds, 3) for part, seconds in found.seconds.items()},
    }


def not_verified(found: Rehearsal, shown: str, result: dict[str, t.Any]) -> RehearsalFailed:
    """Return the error of a snapshot that Consul loaded, and not as it is."""
    wrong = found.verification.wrong
    names = ", ".join(f"{row.table} {row.name}" for row in wrong[:SHOWN_NAMES])
    error = RehearsalFailed(
        f"{shown} does not restore as it is: after the restore into Consul {found.version} {len(wrong)} records are not as the "
        f"snapshot holds them ({names}{', …' if len(wrong) > SHOWN_NAMES else ''})"
    )
    error.details = result
    return error
