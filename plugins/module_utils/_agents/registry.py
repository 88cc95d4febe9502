# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry of agent types: what the configuration key ``agent`` can name."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .._daemon.agent_type import AgentType


def _alerting() -> AgentType:
    from .alerting.agent import ALERTING

    return ALERTING


def _replication() -> AgentType:
    from .replication.agent import REPLICATION

    return REPLICATION


def _snapshot() -> AgentType:
    from .snapshot.agent import SNAPSHOT

    return SNAPSHOT


class _LoadedWhenNamed(Mapping[str, AgentType]):
    """Agent types by name. One is imported when it is looked up: an agent needs neither the time nor the memory of the others."""

    def __init__(self, load: t.Mapping[str, t.Callable[[], AgentType]]) -> None:
        self._load = load

    def __getitem__(self, name: str) -> AgentType:
        return self._load[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._load

    def __iter__(self) -> t.Iterator[str]:
        return iter(self._load)

    def __len__(self) -> int:
        return len(self._load)


AGENT_TYPES: t.Mapping[str, AgentType] = _LoadedWhenNamed(
    {"alerting": _alerting, "replication": _replication, "snapshot": _snapshot}
)
