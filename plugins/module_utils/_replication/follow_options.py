# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a replication follows its source. No I/O."""

from __future__ import annotations

import typing as t


class FollowOptions(t.NamedTuple):
    """Times in seconds. Changes are handled once it was quiet for ``quiet_s``, after ``longest_wait_s`` in any case.

    Everything is compared again every ``verify_every_s``. ``max_watches`` is how many blocking queries run at once, beside one
    for each prefix, one for the keys that an operator writes, and one for the heartbeat. A beat is written at the source every
    ``heartbeat_s``, never if that is 0.
    """

    quiet_s: float = 0.0
    longest_wait_s: float = 0.0
    verify_every_s: float = 900.0
    max_watches: int = 32
    heartbeat_s: float = 0.0
