# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The outcome of the last run of each drill, which drills publish in their datacenter, for rules. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass

from . import status_fields as fields
from .errors import InvalidOption
from .reserved_keys import DRILL_STATUS_ROOT
from .units import timestamp

MAX_REASONS = 5
MAX_REASON_CHARACTERS = 500  # a value of Consul has at most 512 KB


@dataclass(frozen=True)
class DrillStatus:
    """The last run of a drill: when it was (Unix seconds), whether all was as expected, and what was not, as sentences.

    ``recovery_s`` is the longest time without an acknowledged change after a fault or a healing (RTO), None where none was measured;
    ``is_recovered`` is false when the load ended first, so that it was at least so long.
    """

    drill: str
    run: str
    at: float
    is_passed: bool
    reasons: tuple[str, ...] = ()
    recovery_s: float | None = None
    is_recovered: bool = True

    @property
    def key(self) -> str:
        """The key of the status."""
        return f"{DRILL_STATUS_ROOT}{self.drill}"

    def value(self) -> bytes:
        """Return what the key holds."""
        document = {
            "run": self.run,
            "at": timestamp(self.at),
            "passed": self.is_passed,
            "recovery": {
                "seconds": None if self.recovery_s is None else round(self.recovery_s, 3),
                "recovered": self.is_recovered,
            },
            "reasons": [one[:MAX_REASON_CHARACTERS] for one in self.reasons[:MAX_REASONS]],
        }
        return json.dumps(document, sort_keys=True).encode()


def parse_drill_status(key: str, value: bytes) -> DrillStatus:
    """Return the status that a key below DRILL_STATUS_ROOT holds. Raises ValueError for anything else; unknown fields are ignored."""
    try:
        document = fields.typed(json.loads(value), dict)
        recovery = fields.typed(document.get("recovery", {}), dict)  # not in what earlier versions wrote
        recovery_s = recovery.get("seconds")
        return DrillStatus(
            drill=key[len(DRILL_STATUS_ROOT) :],
            run=fields.typed(document["run"], str),
            at=fields.time(document["at"]),
            is_passed=fields.typed(document["passed"], bool),
            reasons=tuple(fields.typed(one, str) for one in fields.typed(document["reasons"], list)),
            recovery_s=None if recovery_s is None else fields.seconds(recovery_s),
            is_recovered=fields.typed(recovery.get("recovered", True), bool),
        )
    except (LookupError, TypeError, ValueError, RecursionError, InvalidOption):
        raise ValueError from None
