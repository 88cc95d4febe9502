# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses as Raft and Serf write them. Pure, and without a library: servers that lost their majority have none."""

from __future__ import annotations


def address_of(with_port: str) -> str:
    """Return the address of ``10.0.0.1:8300`` or ``[fd00::1]:8300``."""
    return with_port.rpartition(":")[0].strip("[]")
