# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong in an estate, in the order in which somebody should look at it, and the sentence that says what to do first. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._consul.units import count_of

UNKNOWN = "unknown"
SEVERITIES = ("critical", UNKNOWN, "warning")  # as in verdicts: what is unknown may be critical

# The rules of alert checks, what must be looked at first in the beginning: first what keeps a whole datacenter from working or may
# do so at the next failure, then what its users notice, then what would be missed when something fails, then the rest.
URGENCY = (
    *("no_leader", "consul_unreachable", "quorum_margin", "server_missing", "autopilot_unhealthy"),
    *("tls_cert_expiry", "acl_token_expiry", "connect_ca_expiry", "wan_dc_missing"),
    *("service_missing", "service_min_healthy", "node_down", "check_status", "node_left"),
    *("kv_replication_diverged", "kv_replication_lag", "acl_replication_lag"),
    *("snapshot_age", "snapshot_unverified", "snapshot_rehearsal_overdue"),
    *("acl_token_blind", "wan_member_failed", "raft_last_contact", "raft_trailing_logs"),
    *("drill_failed", "server_unexpected", "version_skew", "drill_overdue"),
)


@dataclass(frozen=True)
class Concern:
    """One thing to look at: a finding of ``rule``, or what is unknown (then ``rule`` is "").

    ``silenced_by`` says which silence of an alerting agent covers it, "" for none.
    """

    severity: str
    datacenter: str
    rule: str
    sentence: str
    detail: str = ""
    advice: str = ""
    silenced_by: str = ""


def ranked(concerns: t.Iterable[Concern]) -> list[Concern]:
    """Return each concern once, the most urgent first: what nobody silenced, then by severity, rule, datacenter and sentence."""
    return sorted(set(concerns), key=_urgency)


def _urgency(one: Concern) -> tuple[t.Any, ...]:
    severity = SEVERITIES.index(one.severity) if one.severity in SEVERITIES else len(SEVERITIES)
    rule = URGENCY.index(one.rule) if one.rule in URGENCY else len(URGENCY)
    names = (one.datacenter, one.rule, one.sentence, one.detail, one.advice, one.silenced_by)
    return (bool(one.silenced_by), severity, rule, *names)


def first_sentence(order: t.Sequence[Concern], datacenters: int) -> str:
    """Return what to do first, given what ``ranked`` returned and how many datacenters were asked."""
    if not order:
        return f"nothing: {count_of(datacenters, 'datacenter')} asked, and nothing is wrong"
    first = order[0]
    if first.silenced_by:
        return f"nothing now: all that is wrong is silenced ({count_of(len(order), 'thing')})"
    parts = [f"{first.datacenter}: {first.sentence}".rstrip("."), first.advice.rstrip(".")]
    return ". ".join(filter(None, parts)) + "."
