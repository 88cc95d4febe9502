# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A token that does not see everything that is judged: what Consul left out is unknown, not ok.

Consul says so since 1.11 (see _consul/acl_filter.py). An older one is asked for the token's rights instead, which is only a
hint: rules that take the right to single nodes or services away show only where the token may read its policies.
"""

from __future__ import annotations

import typing as t

from ..._consul.acl_filter import needed_rights
from ..._consul.token_rules import denied_by_policies
from ..._consul.units import some_of
from ..judging import Judging
from ..observation import FilteredLists
from ..reader import Reader
from ..rule import RuleSet
from ..rule_group import Reading, RuleGroup
from .cluster import VisibleServers

RULE = "acl_token_blind"  # cluster.py has it, and reports a token that sees nothing at all
SEVERITY = "warning"  # what is hidden may be fine; the verdict is unknown

_INSTANCES = "/v1/health/service/"
_SERVERS = f"{_INSTANCES}consul"
_RULES_OF_SERVERS = ("quorum_margin", "server_missing")
_RIGHTS = (("node", "read"), ("service", "read"))


class MissingRights(t.NamedTuple):
    """The rights that the token lacks to see every node and service, for example ``service_prefix "" read``.

    ``denied`` are the nodes and services that its policies deny, for example ``service "web"``.
    """

    rights: tuple[str, ...]
    denied: tuple[str, ...] = ()


def _read_rights(reader: Reader) -> None:
    """Ask an older Consul for the token's rights."""
    lists, visible = reader.observation.get(FilteredLists), reader.observation.get(VisibleServers)
    # Consul never says to the anonymous token what it left out.
    is_announced = lists is not None and lists.is_announced and reader.client.endpoint.token is not None
    if is_announced or (visible is not None and visible.in_catalog == 0):
        return
    missing = []
    for resource, access in _RIGHTS:
        allowed = reader.client.may(resource, access)
        if allowed is None:
            return  # without ACLs everything is seen
        if not allowed:
            missing.append(f'{resource}_prefix "" {access}')
    resources = [resource for resource, _access in _RIGHTS]
    denied = [str(rule) for rule in denied_by_policies(reader.client) if rule.resource in resources]
    if missing or denied:
        reader.observation.add(MissingRights(tuple(missing), tuple(denied)))


def judge(judging: Judging) -> None:
    """Report each list that was filtered, as unknown too; or that the token lacks rights, where Consul does not say more.

    With the rule off a number is still not known that was counted in a list of which the token sees a part.
    """
    filtered = judging.observation.get(FilteredLists)
    paths = sorted(filtered.paths if filtered else ())
    if judging.rules.get(RULE) is None:
        for path in paths:
            if _is_counted(path, judging.rules):
                judging.add_unknown(path, "the token sees only a part of it, so its instances cannot be counted")
        return
    for path in paths:
        judging.add(
            RULE,
            SEVERITY,
            f"the token sees only a part of {path} of {judging.datacenter}, so what is hidden from it is not judged",
            check=path,
            advice=f"It needs {needed_rights(path)}.",
        )
        judging.add_unknown(path, "the token sees only a part of it")
    missing = judging.observation.get(MissingRights)
    if missing is not None:
        reasons = [f"it lacks {' and '.join(missing.rights)}"] if missing.rights else []
        reasons += [f"its policies deny {some_of(missing.denied)}"] if missing.denied else []
        judging.add(
            RULE,
            SEVERITY,
            f"the token may not see every node and service of {judging.datacenter}: {', '.join(reasons)}, and "
            "this version of Consul does not say what it leaves out",
            advice=f"It needs {needed_rights('/v1/health/')}, or turn this rule off if it is meant to see a part.",
        )


def _is_counted(path: str, rules: RuleSet) -> bool:
    """Return whether a rule that is on needs the number of instances in a list."""
    if path == _SERVERS and rules.has_enabled(_RULES_OF_SERVERS):
        return True
    return path.startswith(_INSTANCES) and path != _SERVERS and rules.has_enabled(("service_min_healthy",))


GROUP = RuleGroup((), judge, (Reading("the token's rights", _read_rights, (RULE,)),), needs_leader=True)
