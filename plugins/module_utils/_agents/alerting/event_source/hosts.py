# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts of the inventory belong to a node of Consul, for ``meta.hosts`` of an event. Pure.

ansible-rulebook limits a play to these hosts. The name of a node comes from Consul, where others may register one, and a limit is a
pattern: so a name that would mean more than one host is not used unless the mapping names it.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ...._consul.errors import InvalidOption

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
_NOT_HOSTS = {"all", "ungrouped", "localhost"}
PLACEHOLDER = "{node}"


@dataclass(frozen=True)
class HostNames:
    """Hosts by node; ``host_format`` makes the name of every other node's host, or is "" if these have none."""

    by_node: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    host_format: str = ""

    @classmethod
    def make(cls, hosts: t.Mapping[str, t.Any], host_format: str | None) -> HostNames:
        """Return the names of the options ``hosts`` and ``host_format``. Raises InvalidOption."""
        if host_format and host_format.count(PLACEHOLDER) != 1:
            raise InvalidOption(
                f"host_format: {host_format!r} must contain {PLACEHOLDER} once, for example {PLACEHOLDER}.example.com."
            )
        return cls({str(node): _hosts(node, names) for node, names in hosts.items()}, host_format or "")

    def of(self, node: str) -> list[str]:
        """Return the hosts of a node, none if they are not known."""
        if node in self.by_node:
            return list(self.by_node[node])
        if not node or not self.host_format or not _HOST.fullmatch(node):
            return []
        host = self.host_format.replace(PLACEHOLDER, node)
        return [] if host in _NOT_HOSTS else [host]


def _hosts(node: t.Any, names: t.Any) -> tuple[str, ...]:
    found = [names] if isinstance(names, str) else names
    if not isinstance(found, list) or not found or not all(isinstance(name, str) and name for name in found):
        raise InvalidOption(f"hosts.{node}: expected the name of a host of the inventory, or a list of names.")
    return tuple(found)
