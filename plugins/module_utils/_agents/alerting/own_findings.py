# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the agent finds about itself: receivers that fail. Pure."""

from __future__ import annotations

import typing as t

from ..._alerting.check_output import first_line
from ..._alerting.finding import Finding, Judgement
from .delivery import ReceiverHealth

DELIVERY_FAILED = "delivery_failed"
FAILURES = 2  # in a row; one may be a server that restarts


def judge_receivers(health: t.Mapping[str, ReceiverHealth], datacenter: str, node: str) -> Judgement:
    """Return a finding for each receiver that fails. ``node`` is this host, ``datacenter`` the one that it belongs to."""
    return Judgement(
        [
            Finding(
                DELIVERY_FAILED,
                "critical",
                datacenter,
                f"receiver {name} gets no alerts from {node}",
                node=node,
                check=name,
                output=first_line(one.problem),
                detail=one.problem,
                advice="Messages are kept and sent when it works again, until give_up_after.",
                check_name=name,
            )
            for name, one in sorted(health.items())
            if one.problem and one.failures_in_row >= FAILURES
        ]
    )
