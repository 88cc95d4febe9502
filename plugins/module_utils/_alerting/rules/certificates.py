# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates that expire: of the agent's HTTPS port, and of Connect's CA."""

from __future__ import annotations

import typing as t

from ..._consul import errors
from ..._consul.answer_fields import to_flag, to_object, to_rows, to_unix_time
from ..._consul.units import human_age
from .. import tls_certificate
from ..judging import Judging
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

DAY_S = 86400.0
RULES = (
    Rule("tls_cert_expiry", "seconds", warning=30 * DAY_S, critical=7 * DAY_S, is_bad_when_small=True),
    Rule("connect_ca_expiry", "seconds", warning=30 * DAY_S, critical=7 * DAY_S, is_bad_when_small=True),
)


class AgentCertificate(t.NamedTuple):
    """The certificate of the agent's HTTPS port. ``expires_at`` in Unix seconds."""

    expires_at: float


class ConnectCA(t.NamedTuple):
    """The root certificate of Connect's CA. ``expires_at`` in Unix seconds."""

    expires_at: float


# ---------------------------------------------------------------------------------------------------------------
# Reading


def _read_agent_certificate(reader: Reader) -> None:
    endpoint = reader.client.endpoint
    if endpoint.base_url.startswith("https:") and reader.is_local:
        reader.observation.add(AgentCertificate(tls_certificate.expiry(endpoint)))


def _read_connect_ca(reader: Reader) -> None:
    try:
        response = reader.get("/v1/connect/ca/roots")
    except errors.ServerFailed as error:
        if "Connect must be enabled" in error.consul_message:
            return
        raise
    expires_at = response.parse(_first_expiry)
    if expires_at is not None:
        reader.observation.add(ConnectCA(expires_at))


def _first_expiry(answer: t.Any) -> float | None:
    roots = to_object(answer)["Roots"]
    active = [row for row in ([] if roots is None else to_rows(roots)) if to_flag(row.get("Active", False))]
    return min((to_unix_time(row["NotAfter"]) for row in active), default=None)


# ---------------------------------------------------------------------------------------------------------------
# Judging


def judge(judging: Judging) -> None:
    """Judge how long each certificate is still valid."""
    agent, connect_ca = judging.observation.get(AgentCertificate), judging.observation.get(ConnectCA)
    if agent is not None:
        _judge_expiry(judging, "tls_cert_expiry", agent.expires_at, "the agent's certificate")
    if connect_ca is not None:
        _judge_expiry(judging, "connect_ca_expiry", connect_ca.expires_at, "the root certificate of Connect's CA")


def _judge_expiry(judging: Judging, name: str, expires_at: float, certificate: str) -> None:
    rule = judging.rules.get(name)
    if rule is None:
        return
    left_s = expires_at - judging.observation.time
    when = f"expires in {human_age(left_s)}" if left_s > 0 else f"expired {human_age(-left_s)} ago"
    has_threshold = (rule.warning, rule.critical) != (None, None)
    severity = "critical" if left_s <= 0 and has_threshold else rule.severity_below(left_s)
    judging.add(name, severity, f"{certificate} in {judging.datacenter} {when}")


GROUP = RuleGroup(
    RULES,
    judge,
    (
        Reading("the agent's certificate", _read_agent_certificate, ("tls_cert_expiry",)),
        Reading("Connect's CA", _read_connect_ca, ("connect_ca_expiry",)),
    ),
)
