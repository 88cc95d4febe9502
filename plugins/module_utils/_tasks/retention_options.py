# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a retention, as ``restic forget`` names them; shared by ``snapshot prune`` and the stores of the snapshot agent."""

from __future__ import annotations

import typing as t

from .._config.connection_spec import Spec
from .._config.time_zones import time_zone
from .._consul.errors import InvalidOption
from .._snapshot.retention import DEFAULT_MAX_DELETES, PERIODS, UNLIMITED, RetentionPolicy, parse_span

RETENTION_SPEC: Spec = {
    "keep_last": {"type": "int"},
    **{f"keep_{period}": {"type": "int"} for period in PERIODS},
    "keep_within": {"type": "str"},
    **{f"keep_within_{period}": {"type": "str"} for period in PERIODS},
    "max_deletes": {"type": "int", "default": DEFAULT_MAX_DELETES},
}


def make_retention(options: t.Mapping[str, t.Any], zone: str = "UTC", path: str = "") -> RetentionPolicy:
    """Return the policy of validated options; periods are those of the time zone ``zone``.

    Raises InvalidOption that begins with the option at fault, below ``path``. A policy that keeps nothing is returned too.
    """
    prefix = f"{path}." if path else ""
    counts = {name: _count(options, f"keep_{name}", prefix) for name in ("last", *PERIODS)}
    if options["max_deletes"] < 1:
        raise InvalidOption(f"{prefix}max_deletes: {options['max_deletes']} allows no deletion: write at least 1.")
    spans = {
        name: parse_span(options[name], f"{prefix}{name}")
        for name in ("keep_within", *(f"keep_within_{period}" for period in PERIODS))
        if options[name] is not None
    }
    return RetentionPolicy(
        last=counts.pop("last"),
        keep={name: count for name, count in counts.items() if count},
        within=spans.pop("keep_within", None),
        within_periods={name.rpartition("_")[2]: span for name, span in spans.items()},
        zone=time_zone(zone, f"{prefix}timezone"),
    )


def _count(options: t.Mapping[str, t.Any], name: str, prefix: str) -> int:
    count: int = options[name] or 0
    if count < UNLIMITED:
        raise InvalidOption(f"{prefix}{name}: {count} is not a number of snapshots to keep: write -1 for all of them.")
    return count
