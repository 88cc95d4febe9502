# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The types of receivers by the names that the configuration uses for them."""

from __future__ import annotations

import typing as t

from ..receiver_type import ReceiverType
from . import (
    alertmanager,
    apprise,
    aws_sns,
    file,
    ilert,
    influxdb,
    jira_service_management,
    mattermost,
    opsgenie,
    pagerduty,
    program,
    prometheus,
    slack,
    smtp,
    syslog,
    teams,
    victorops,
    webhook,
)
from .receiver import Receiver, ReceiverContext


class ReceiverModule(ReceiverType, t.Protocol):
    """What each file of a receiver has: the spec of its options, and what makes it from validated options.

    ``make`` gets the receiver's name, and raises InvalidOption that begins with ``receivers.NAME.OPTION``.
    """

    @property
    def make(self) -> t.Callable[[str, t.Mapping[str, t.Any], ReceiverContext], Receiver]:
        """Make a receiver."""


RECEIVERS: dict[str, ReceiverModule] = {
    "alertmanager": alertmanager,
    "apprise": apprise,
    "aws_sns": aws_sns,
    "exec": program,
    "file": file,
    "ilert": ilert,
    "influxdb": influxdb,
    "jira_service_management": jira_service_management,
    "mattermost": mattermost,
    "opsgenie": opsgenie,
    "pagerduty": pagerduty,
    "prometheus": prometheus,
    "slack": slack,
    "smtp": smtp,
    "syslog": syslog,
    "teams": teams,
    "victorops": victorops,
    "webhook": webhook,
}
