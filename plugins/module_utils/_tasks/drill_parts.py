# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes on beside the clients of a drill, from the options of ``consul_drill`` and the definition of the drill."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from .._config.connection_spec import Spec
from .._consul.errors import InvalidOption
from .._drill.alerts.alert_watch import AlertLimits, AlertWatch
from .._drill.alerts.canary import Canary
from .._drill.drill_definition import DrillDefinition, Objective
from .._drill.drill_part import DrillPart
from .._drill.history_writer import HistoryWriter
from .._drill.open_loop import Node

PART_OPTIONS: Spec = {
    "alert_listen": {"type": "str"},
}
_LISTEN = re.compile(r"(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):(?P<port>[0-9]{1,5})")


def check_parts(options: t.Mapping[str, t.Any], definition: DrillDefinition) -> None:
    """Raise InvalidOption where the drill needs an option that is missing, or one is wrong."""
    if definition.alert is not None:
        if options["alert_listen"] is None:
            raise InvalidOption(
                f"The drill {definition.name} listens for alerts: it needs alert_listen, the address and port for a webhook of the "
                "alerting agent, for example 10.0.0.5:8497."
            )
        listen_address(options["alert_listen"])


def listen_address(text: str) -> tuple[str, int]:
    """Return address and port. Raises InvalidOption."""
    found = _LISTEN.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        address, port = str(ipaddress.ip_address(found["address"].strip("[]"))), int(found["port"])
        if port > 65535:
            raise ValueError
    except ValueError:
        raise InvalidOption(
            f"alert_listen: {text!r} is not an IP address with a port: write for example 10.0.0.5:8497 or [::1]:8497."
        ) from None
    return address, port


@dataclass(frozen=True)
class PartsOfDrill:
    """What the parts of one drill need to know."""

    definition: DrillDefinition
    run_name: str
    nodes: t.Sequence[Node]
    datacenter: str
    raft_multiplier: int
    history: HistoryWriter

    def make(self, options: t.Mapping[str, t.Any]) -> list[DrillPart]:
        """Return the parts. They are opened before anything else is written."""
        parts: list[DrillPart] = []
        if self.definition.alert is not None:
            expect = self.definition.expect
            limits = AlertLimits(self._limit_s(expect.alert_firing), self._limit_s(expect.alert_resolved))
            listen = listen_address(options["alert_listen"])
            made = Canary(self.run_name, self.nodes)
            parts.append(AlertWatch(self.definition.alert, limits, listen, made, self.datacenter, self.history))
        return parts

    def _limit_s(self, objective: Objective | None) -> float:
        return 0.0 if objective is None else objective.limit_s(self.raft_multiplier)
