# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of rehearsals. Only RehearsalFailed says something about the snapshot; the others are about the place of the rehearsal."""

from __future__ import annotations

from ..._consul.errors import GateClosed, GuardRefused, LocalFailure


class RehearsalFailed(GateClosed):
    """A Consul could not load the snapshot, or what it loaded is not what the snapshot holds."""


class RehearsalRefused(GuardRefused):
    """The isolation that a rehearsal needs cannot be had here, or this Consul cannot stand in for the servers: nothing was restored."""


class RehearsalUnfinished(LocalFailure):
    """The rehearsal was cut short by a limit, or its Consul could not be started: nothing is known of the snapshot."""
