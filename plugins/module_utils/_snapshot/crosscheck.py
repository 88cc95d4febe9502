# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares the counts of a snapshot with the live API, because Consul itself can leave records out of a snapshot.

Consul 1.8.4 to 1.8.7 write one JWT auth method where there are four (hashicorp/consul#9784) and say "Saved and
verified". ``live_counts`` reads, ``judge`` decides.
"""

from __future__ import annotations

import logging
import re
import time
import typing as t
from dataclasses import dataclass

from .._consul import acl_filter, errors
from .._consul.client import Client
from .summary import Summary

log = logging.getLogger("consulops")

# (name, path, query). X-Consul-Index of each list is the index at which its table last changed.
_LISTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("KVS", "/v1/kv/", {"keys": ""}),
    ("Session", "/v1/session/list", {}),
    ("ACLToken", "/v1/acl/tokens", {}),
    ("ACLPolicy", "/v1/acl/policies", {}),
    ("ACLRole", "/v1/acl/roles", {}),
    ("ACLBindingRule", "/v1/acl/binding-rules", {}),
    ("ACLAuthMethod", "/v1/acl/auth-methods", {}),
    ("PreparedQuery", "/v1/query", {}),
    ("Intention", "/v1/connect/intentions", {}),
    ("nodes", "/v1/catalog/nodes", {}),
    ("services", "/v1/catalog/services", {}),
)

# Kinds that servers of 1.8 and later may hold; a kind that a server does not know is rejected and left out.
_CONFIG_KINDS = (
    "service-defaults",
    "proxy-defaults",
    "service-router",
    "service-splitter",
    "service-resolver",
    "ingress-gateway",
    "terminating-gateway",
    "service-intentions",
    "mesh",
    "exported-services",
)

_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class Count:
    """How many objects the live API lists and the Raft index at which that list last changed.

    ``objects`` is None when the list could not be read; ``why`` then says why.
    """

    objects: int | None
    index: int = 0
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """``missing``: which records the snapshot lacks. ``unchecked``: which lists could not be compared, and why."""

    missing: tuple[str, ...]
    unchecked: tuple[str, ...]


def judge(summary: Summary, live: t.Mapping[str, Count]) -> Verdict:
    """Compare each list with the snapshot.

    A list proves a loss only if it is longer and has not changed since the snapshot (its index is not above the
    snapshot's). A shorter list means that the token may not read all of it.
    """
    missing, unchecked = [], []
    for name, count in sorted(live.items()):
        kept = _kept(summary, name)
        if count.objects is None:
            unchecked.append(f"{name}: {count.why}")
        elif count.index > summary.meta.index:
            unchecked.append(f"{name}: written to after the snapshot was taken")
        elif count.objects > kept:
            missing.append(f"{name}: {count.objects} live, {kept} in the snapshot")
        elif count.objects < kept:
            unchecked.append(f"{name}: the live API shows {count.objects} of {kept}; may the token read them all?")
    return Verdict(tuple(missing), tuple(unchecked))


def live_counts(client: Client, summary: Summary) -> dict[str, Count]:
    """Count every list of the live API that a snapshot must hold. Lists that the server does not have are left out."""
    started = time.monotonic()
    found: dict[str, Count] = {}
    kinds = sorted({*_CONFIG_KINDS, *summary.config_kinds})
    try:
        for name, path, query in (*_LISTS, *((f"config entry {kind}", f"/v1/config/{kind}", {}) for kind in kinds)):
            if name == "Intention" and "service-intentions" in summary.config_kinds:
                continue  # since 1.9 an intention is part of a config entry
            count = _count(client, path, query, absent=0 if name == "KVS" else None)
            if count is not None:
                found[name] = count
    except (errors.Unreachable, errors.NoLeader) as error:
        # Each further list would wait as long for the same error.
        found["everything else"] = Count(None, why=str(error))
    log.debug("counted %d lists of %s in %.3f s", len(found), client.endpoint, time.monotonic() - started)
    return found


def _kept(summary: Summary, name: str) -> int:
    if name == "nodes":
        return summary.nodes
    if name == "services":
        return summary.services
    if name.startswith("config entry "):
        return summary.config_kinds.get(name[len("config entry ") :], 0)
    return summary.count(name)


def _count(client: Client, path: str, query: t.Mapping[str, str], absent: int | None) -> Count | None:
    """Return how many elements a list has, ``absent`` for a 404, None when this server has no such table."""
    try:
        response = client.get(path, query, absent_ok=True)
        if response.status == 404:
            return None if absent is None else Count(absent, response.index)
        if query:  # ?keys may be megabytes long: count the strings without building them
            return Count(sum(1 for _string in _JSON_STRING.finditer(response.body)), response.index)
        return Count(response.parse(_length), response.index)
    except errors.Filtered:
        return Count(None, why=f"the token sees a part; to see all it needs {acl_filter.needed_rights(path)}")
    except errors.PermissionDenied as error:
        return (
            None
            if "acl support disabled" in error.consul_message.lower()
            else Count(None, why="the token may not list them")
        )
    except errors.Rejected:
        return None
    except (errors.Unreachable, errors.NoLeader):
        raise
    except errors.ConsulError as error:
        if "invalid config entry kind" in error.consul_message.lower():
            return None
        return Count(None, why=str(error))


def _length(listed: t.Any) -> int:
    if not isinstance(listed, (list, dict, type(None))):
        raise TypeError("not a list")
    return len(listed or ())
