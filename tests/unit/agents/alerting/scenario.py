# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the alerting core share: a core with routes, judgements, and a person who reads every message."""

from __future__ import annotations

import typing as t

from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.config import (
    AlertingConfig,
    make_alerting_config,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.core import Core
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.incidents import Place
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import Notification
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.queues import EMPTY, Queues
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receiver_type import ReceiverType
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import (
    Finding,
    InMaintenance,
    Judgement,
)

T0 = 1_800_000_000.0  # 2027-01-15 08:00 UTC, a Friday


class MailType:
    """A type of receivers with one option."""

    SPEC: t.Mapping[str, t.Mapping[str, t.Any]] = {"to": {"type": "str"}}


TYPES: dict[str, ReceiverType] = {"mail": MailType()}


def options(**more: t.Any) -> dict[str, t.Any]:
    return {
        "receivers": {"ops": {"type": "mail"}, "pager": {"type": "mail"}, "dba": {"type": "mail"}},
        "route": {"receiver": "ops", "group_wait": "0s", "group_interval": "1s", "repeat_every": "never"},
        "flapping": {"changes": 0},
        **more,
    }


def config(**more: t.Any) -> AlertingConfig:
    return make_alerting_config(options(**more), TYPES, instance="host1")


def core_of(**more: t.Any) -> Core:
    made = config(**more)
    return Core(made.core, made.make_silences())


def check(name: str = "web", severity: str = "critical", node: str = "n1", **more: t.Any) -> Finding:
    return Finding(
        "check_status",
        severity,
        "dc1",
        f"web on {node} of dc1: check {name} is {severity}",
        node,
        "web-1",
        name,
        **{"service_name": "web", "check_name": f"{name} answers", **more},
    )


def finding(rule: str, severity: str = "critical", **more: t.Any) -> Finding:
    return Finding(rule, severity, "dc1", f"{rule} in dc1", **more)


def judgement(*findings: Finding, **more: t.Any) -> Judgement:
    return Judgement(list(findings), **more)


def unknown(*rules: str) -> Judgement:
    return Judgement(not_judged={("dc1", rule) for rule in rules or ("check_status", "node_down")})


def in_maintenance(node: str, service: str = "") -> Judgement:
    return Judgement(in_maintenance={InMaintenance("dc1", node, service)})


class Inbox:
    """Drives a core and reads its messages. Times are in seconds since T0."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.received: list[Notification] = []

    def judge(self, at: float, *findings: Finding) -> list[str]:
        return self.take(at, judgement(*findings))

    def take(self, at: float, judged: Judgement, gone: t.Collection[Place] = ()) -> list[str]:
        self.core.update("dc1", judged, T0 + at, gone)
        return self.read(at)

    def read(self, at: float, queues: Queues = EMPTY) -> list[str]:
        """Take the messages that are due, as words: receiver, kind, severity and the checks or rules."""
        due = self.core.due(T0 + at, queues)
        for notification in due:
            self.core.record(notification)
        self.received += due
        return [
            f"{one.receiver} {one.kind} {alert.severity} {alert.check or alert.rule}"
            for one in due
            for alert in one.alerts
        ]
