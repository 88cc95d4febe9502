# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of one expectation of a drill."""

from __future__ import annotations

from dataclasses import dataclass

MET, MISSED, UNKNOWN = "met", "missed", "unknown"


@dataclass(frozen=True)
class Outcome:
    """One expectation and what became of it. ``measured`` and ``objective`` are in seconds, or in words."""

    name: str
    verdict: str
    measured: float | str | None
    objective: float | str
    sentence: str
