# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The token that judges runs out: an agent whose token is gone sees nothing any more. Off until an entry names the rule."""

from __future__ import annotations

import typing as t

from ..._consul import errors
from ..._consul.answer_fields import to_object, to_unix_time
from ..._consul.units import human_age
from ..judging import Judging
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

DAY_S = 86400.0
NAME = "acl_token_expiry"
RULES = (Rule(NAME, "seconds", warning=14 * DAY_S, critical=2 * DAY_S, is_bad_when_small=True, enabled=False),)
WHAT = "the token's expiry"


class TokenExpiry(t.NamedTuple):
    """When the token of the connection expires, in Unix seconds; None for one that does not."""

    expires_at: float | None


def _read_expiry(reader: Reader) -> None:
    """Read the token's own record, for which it needs no right. Without ACLs, or without a token, there is none."""
    if reader.client.endpoint.token is None:
        return
    try:
        response = reader.client.get("/v1/acl/token/self")
    except errors.PermissionDenied as error:
        if "ACL support disabled" in error.consul_message:
            return
        raise
    reader.observation.add(response.parse(_expiry))


def _expiry(answer: t.Any) -> TokenExpiry:
    expires = to_object(answer).get("ExpirationTime")
    return TokenExpiry(None if expires is None else to_unix_time(expires))


def judge(judging: Judging) -> None:
    """Judge for how long the token can still be used."""
    expiry, rule = judging.observation.get(TokenExpiry), judging.rules.get(NAME)
    if expiry is None or expiry.expires_at is None or rule is None:
        return
    left_s = max(0.0, expiry.expires_at - judging.observation.time)
    judging.add(
        NAME,
        rule.severity_below(left_s),
        f"the token that judges {judging.datacenter} expires in {human_age(left_s)}",
        advice="Make another one and give it to everything that uses this one; the time of a token cannot be changed.",
    )


GROUP = RuleGroup(RULES, judge, (Reading(WHAT, _read_expiry, (NAME,), only_named=True),), needs_leader=True)
