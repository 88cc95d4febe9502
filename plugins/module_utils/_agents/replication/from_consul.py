# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The replication agent as an operator steers it through the destination's Consul, whether it runs or not."""

from __future__ import annotations

import typing as t

from ..._consul.client import Client
from ..._replication.control import acknowledge, freeze, thaw
from ..._replication.published import published_sets
from ..._replication.request import NAME

__all__ = ["NAME", "acknowledge", "freeze", "sets_document", "thaw"]


def sets_document(client: Client) -> dict[str, t.Any]:
    """Return what replications stored about themselves, in the form of the agent's own status. Raises a ConsulError."""
    return {"sets": {one.name: one.as_json() for one in published_sets(client)}}
