# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long nodes and services are in maintenance: Consul does not say since when. Pure."""

from __future__ import annotations

import typing as t

from ..._alerting.finding import Finding, InMaintenance
from ..._consul.units import human_age
from .alert_match import MAINTENANCE_TOO_LONG
from .saved_state import number, text


class MaintenanceWatch:
    """Since when what is in maintenance; ``limit_s`` seconds are too long, None: nothing is."""

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = limit_s
        self.since: dict[InMaintenance, float] = {}

    def update(self, datacenters: t.Collection[str], places: t.Collection[InMaintenance], now: float) -> list[Finding]:
        """Take what is in maintenance in these datacenters, and return findings for what has been there too long."""
        self.since = {
            place: since
            for place, since in self.since.items()
            if place in places or place.datacenter not in datacenters
        }
        for place in places:
            self.since.setdefault(place, now)
        return [] if self.limit_s is None else [
            self._finding(place, now) for place in sorted(places) if now - self.since[place] >= self.limit_s
        ]  # fmt: skip

    def _finding(self, place: InMaintenance, now: float) -> Finding:
        name = f"service {place.service} on {place.node}" if place.service else f"node {place.node}"
        age = human_age(now - self.since[place])
        return Finding(
            MAINTENANCE_TOO_LONG,
            "warning",
            place.datacenter,
            f"{name} of {place.datacenter} has been in maintenance for {age}: nothing that is wrong with it is reported",
            node=place.node,
            service=place.service,
            advice="End it with consul maint -disable.",
        )

    def encode(self) -> list[t.Any]:
        """Return everything as plain data."""
        return [[*place, since] for place, since in sorted(self.since.items())]

    def decode(self, raw: t.Any, now: float) -> None:
        """Take what ``encode`` returned."""
        self.since = {
            InMaintenance(text(datacenter), text(node), text(service)): min(now, number(since))
            for datacenter, node, service, since in raw
        }
