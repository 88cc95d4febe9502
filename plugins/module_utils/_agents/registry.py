# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry of agent types: what the configuration key ``agent`` can name."""

from __future__ import annotations

from .._daemon.agent_type import AgentType
from .alerting.agent import ALERTING
from .replication.agent import REPLICATION
from .snapshot.agent import SNAPSHOT

AGENT_TYPES: dict[str, AgentType] = {"alerting": ALERTING, "replication": REPLICATION, "snapshot": SNAPSHOT}
