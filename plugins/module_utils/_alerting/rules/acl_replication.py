# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A secondary datacenter that fails to copy ACLs from the primary one."""

from __future__ import annotations

import typing as t

from ..._consul import errors
from ..._consul.answer_fields import to_flag, to_object, to_unix_time
from ..._consul.units import human_age
from ..judging import Judging
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

RULES = (Rule("acl_replication_lag", "seconds", warning=300.0, critical=1800.0),)


class AclReplication(t.NamedTuple):
    """The state of ACL replication in a secondary datacenter. Times in Unix seconds, 0 for never."""

    is_running: bool
    last_success: float
    last_error: float


def _read_acl_replication(reader: Reader) -> None:
    try:
        response = reader.get("/v1/acl/replication")
    except errors.ConsulError as error:
        if "ACL support disabled" in error.consul_message:
            return
        raise
    state = response.parse(_acl_replication)
    if state is not None:
        reader.observation.add(state)


def _acl_replication(answer: t.Any) -> AclReplication | None:
    """Return the state, None where it is not enabled: in a primary datacenter."""
    if not to_flag(to_object(answer)["Enabled"]):
        return None
    return AclReplication(
        to_flag(answer["Running"]), to_unix_time(answer["LastSuccess"]), to_unix_time(answer["LastError"])
    )


def judge(judging: Judging) -> None:
    """Judge how long ago ACLs were copied, if the last attempt failed. Consul polls, so time alone does not show a failure."""
    rule, state = judging.rules.get("acl_replication_lag"), judging.observation.get(AclReplication)
    if rule is None or state is None or (state.is_running and state.last_error <= state.last_success):
        return
    lag_s = judging.observation.time - state.last_success if state.last_success else float("inf")
    since = f"for {human_age(lag_s)}" if state.last_success else "ever"
    judging.add(
        "acl_replication_lag",
        rule.severity_above(lag_s),
        f"{judging.datacenter} has not copied ACLs from the primary datacenter {since}",
        advice="Read GET /v1/acl/replication, and check the replication token.",
    )


GROUP = RuleGroup(
    RULES, judge, (Reading("ACL replication", _read_acl_replication, ("acl_replication_lag",)),), needs_leader=True
)
