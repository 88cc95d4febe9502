# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks one datacenter what it knows of its WAN federation, and has its agent join or remove members of it."""

from __future__ import annotations

import email.utils
import json
import time
import typing as t

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.reserved_keys import RECEIPT_KEY
from .federation_plan import LostState, Receipt
from .federation_view import (
    ACL_REPLICATION,
    ACLS,
    MEMBERS,
    PRIMARY,
    ROOTS,
    AclObjects,
    AclReplication,
    Member,
    Roots,
    View,
    parse_acls,
    parse_members,
    parse_replication,
    parse_roots,
)

NO_ACLS = "acl support disabled"
NO_CONNECT = "connect must be enabled"
BOOTSTRAP_TOKENS = 2  # the anonymous one, and the management token of the configuration

Found = t.TypeVar("Found")


def view_of(client: Client, name: str) -> View:
    """Return what a datacenter says of the federation. What it does not say is unknown there, with the reason."""
    try:
        client.check_leader()
    except errors.PermissionDenied:
        pass  # a leader said so
    except errors.ConsulError as error:
        return View(name, str(error))
    unknown: dict[str, str] = {}
    return View(
        name,
        primary=_known(unknown, PRIMARY, _primary, client),
        members=_known(unknown, MEMBERS, _members, client),
        replication=_known(unknown, ACL_REPLICATION, _replication, client),
        acls=_known(unknown, ACLS, _acls, client),
        roots=_known(unknown, ROOTS, _roots, client),
        clock_ahead_s=_known(unknown, "clock", _clock_ahead_s, client) or 0.0,
        unknown=unknown,
    )


def _known(unknown: dict[str, str], part: str, read: t.Callable[[Client], Found], client: Client) -> Found | None:
    try:
        return read(client)
    except errors.ConsulError as error:
        unknown[part] = str(error)
        return None


def _primary(client: Client) -> str:
    return client.get("/v1/agent/self").parse(
        lambda answer: str(answer["DebugConfig"]["PrimaryDatacenter"] or answer["Config"]["Datacenter"])
    )


def _members(client: Client) -> tuple[Member, ...]:
    answer = client.get("/v1/agent/members", {"wan": "1"})
    found = answer.parse(parse_members)
    if not found:  # Consul filters the list by ACLs without saying so, and a server is always a member itself
        raise errors.Filtered(
            f"{answer.request_line}: no members: the agent is no server, or the token lacks node:read."
        )
    return found


def _unless_off(words: str, off: Found, ask: t.Callable[[], Found]) -> Found:
    """Return what ``ask`` finds, or ``off`` where Consul answers in these words that it does not have that. Raises a ConsulError."""
    try:
        return ask()
    except errors.ConsulError as error:
        if words in error.consul_message.lower():
            return off
        raise


def _replication(client: Client) -> AclReplication:
    off = AclReplication(False, False, "", "", 0.0, 0.0)
    return _unless_off(NO_ACLS, off, lambda: client.get("/v1/acl/replication").parse(parse_replication))


def _acls(client: Client) -> AclObjects:
    def ask() -> AclObjects:
        rows = [client.get(f"/v1/acl/{table}").json() for table in ("policies", "roles", "tokens")]
        try:
            return parse_acls(*rows)
        except (KeyError, TypeError, AttributeError):
            raise errors.InvalidResponse(f"The ACLs of {client.endpoint} are not as Consul lists them.") from None

    return _unless_off(NO_ACLS, {}, ask)


def _roots(client: Client) -> Roots:
    return _unless_off(NO_CONNECT, Roots(), lambda: client.get("/v1/connect/ca/roots").parse(parse_roots))


def _clock_ahead_s(client: Client) -> float:
    """Return by how much the clock of the agent's host is ahead, to a second."""
    date = client.get("/v1/status/leader").headers.get("Date", "")
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        raise errors.InvalidResponse(f"{client.endpoint} does not say which time it is.") from None


def lost_state(client: Client, through: str) -> LostState:
    """Return whether the datacenter that is said to be lost answers this client, and whether it has data. ``through`` is who asks."""
    try:
        client.check_leader()
    except errors.PermissionDenied as error:
        return LostState(through, True, None, str(error))
    except errors.ConsulError as error:
        return LostState(through, False, False, str(error))
    try:
        return LostState(through, True, _has_data(client), "", _receipt(client), _roots(client).trust_domain)
    except errors.ConsulError as error:
        return LostState(through, True, None, str(error))


def _has_data(client: Client) -> bool:
    """Return whether there is anything that servers that have just started do not have."""
    names = client.get("/v1/kv/", {"keys": "", "separator": "/"}, absent_ok=True)
    if names.status == 200 and names.strings():
        return True
    if _replication(client).is_enabled:
        return False  # its ACLs come from elsewhere
    return _unless_off(NO_ACLS, False, lambda: len(client.get("/v1/acl/tokens").objects()) > BOOTSTRAP_TOKENS)


def _receipt(client: Client) -> Receipt | None:
    """Return what the last restore left."""
    for entry in kv.read_key(client, RECEIPT_KEY).entries:
        try:
            found = json.loads(entry.value)
            return Receipt(str(found["digest"]), int(found["index"]), str(found["restored_at"]))
        except (ValueError, KeyError, TypeError):
            return None
    return None


def join(client: Client, address: str) -> None:
    """Have the agent join a server of another datacenter over the WAN. Raises a ConsulError."""
    client.put(f"/v1/agent/join/{address}", {"wan": "1"})


def remove(client: Client, member: Member) -> None:
    """Have the agent remove a member of the WAN that failed. Raises a ConsulError."""
    client.put(f"/v1/agent/force-leave/{member.full_name}", {"wan": "1", "prune": "1"})
