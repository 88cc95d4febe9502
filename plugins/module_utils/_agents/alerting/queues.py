# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the core must know of the queues of receivers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Queues:
    """``ready`` are the receivers that are told anew what was given up, ``waiting`` the IDs of all messages that wait."""

    ready: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()


EMPTY = Queues()
