# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wakes the replication of secondary datacenters after a restore, by one write to each table that they replicate.

A replicator waits for an index above the last one that it knows; after a restore the primary's index is below it, and
nothing wakes the replicator until the table is written to (seen: a deleted token stayed valid for more than 109 s).
Each write is an object called consulops-touch-..., which is deleted at once; no digest or comparison counts it.
"""

from __future__ import annotations

import functools
import json
import logging
import secrets
import typing as t
from dataclasses import dataclass

from .._consul import errors
from .._consul.client import Client
from .._consul.retry import RetryPolicy
from .records import TOUCH_ENTRY_KIND, TOUCH_PREFIX

log = logging.getLogger("consulops")

DELETE_WITHIN_S = 5.0


@dataclass(frozen=True)
class _Table:
    """One replicated table: how an object of it is written, listed and deleted.

    ``label_field`` holds the object's consulops-touch name, ``id_field`` what its deletion names.
    """

    name: str
    write_path: str
    list_path: str
    delete_path: str
    label_field: str
    id_field: str
    body: t.Callable[[str], dict[str, t.Any]]
    delete_command: str


_TABLES = (
    _Table(
        "ACLPolicy",
        "/v1/acl/policy",
        "/v1/acl/policies",
        "/v1/acl/policy",
        "Name",
        "ID",
        lambda name: {"Name": name},
        "consul acl policy delete -id",
    ),
    _Table(
        "ACLRole",
        "/v1/acl/role",
        "/v1/acl/roles",
        "/v1/acl/role",
        "Name",
        "ID",
        lambda name: {"Name": name, "ServiceIdentities": [{"ServiceName": name}]},
        "consul acl role delete -id",
    ),
    _Table(
        "ACLToken",
        "/v1/acl/token",
        "/v1/acl/tokens",
        "/v1/acl/token",
        "Description",
        "AccessorID",
        lambda name: {"Description": name},
        "consul acl token delete -id",
    ),
    _Table(
        "ConfigEntry",
        "/v1/config",
        f"/v1/config/{TOUCH_ENTRY_KIND}",
        f"/v1/config/{TOUCH_ENTRY_KIND}",
        "Name",
        "Name",
        lambda name: {"Kind": TOUCH_ENTRY_KIND, "Name": name},
        f"consul config delete -kind {TOUCH_ENTRY_KIND} -name",
    ),
)


def touch_tables(client: Client, warnings: list[str]) -> tuple[str, ...]:
    """Write and delete one object in each replicated table; return the tables. Does nothing without a federation.

    Objects that an earlier run left behind are deleted too. An object that cannot be deleted becomes a warning that
    names it and the command that deletes it. Raises a ConsulError when the datacenters cannot be listed.
    """
    if len(client.get("/v1/catalog/datacenters").strings()) < 2:
        return ()
    name = f"{TOUCH_PREFIX}{secrets.token_hex(4)}"
    touched = []
    for table in _TABLES:
        written: list[str] = []
        try:
            answer = client.put(table.write_path, body=json.dumps(table.body(name)).encode())
            written = [name if table.id_field == "Name" else answer.parse(functools.partial(_id_of, table))]
            touched.append(table.name)
        except errors.ConsulError as error:
            if "acl support disabled" in error.consul_message.lower():
                continue
            warnings.append(f"{table.name} could not be touched, so secondary datacenters may notice late ({error})")
        # Also after an error: the object may have been written and the answer lost.
        _delete_objects(client, table, written, warnings)
    log.debug("touched %s as %s", touched, name)
    return tuple(touched)


def _delete_objects(client: Client, table: _Table, written: list[str], warnings: list[str]) -> None:
    """Delete every consulops-touch object of a table: those that this run has written and those that are listed.

    A config entry can be written and not listed: an agent of another datacenter writes it to that one's primary.
    """
    retry = RetryPolicy(DELETE_WITHIN_S)
    try:
        listed = retry.run(functools.partial(_listed, client, table))
    except errors.ConsulError as error:
        warnings.append(
            f"{table.name} objects called {TOUCH_PREFIX}... may be left ({error}): the next restore with touch_replicated "
            "deletes them"
        )
        listed = []
    for object_id in dict.fromkeys([*written, *listed]):
        try:
            retry.run(functools.partial(_delete, client, table, object_id))
        except errors.ConsulError as error:
            warnings.append(
                f"{table.name} {object_id}, which was written to wake secondary datacenters, could not be deleted "
                f"({error}): it grants nothing; delete it with: {table.delete_command} {object_id}"
            )


def _listed(client: Client, table: _Table) -> list[str]:
    rows = client.get(table.list_path, absent_ok=True)
    if rows.status == 404:
        return []
    return [
        str(row[table.id_field])
        for row in rows.objects()
        if table.id_field in row and str(row.get(table.label_field, "")).startswith(TOUCH_PREFIX)
    ]


def _delete(client: Client, table: _Table, object_id: str) -> None:
    """Delete an object; one that is gone already is deleted."""
    try:
        client.delete(f"{table.delete_path}/{object_id}")
    except errors.ConsulError:
        # Consul accepts the deletion of a config entry that is gone, so for those every error counts.
        if table.name == "ConfigEntry" or object_id in _listed(client, table):
            raise


def _id_of(table: _Table, made: t.Any) -> str:
    return str(made[table.id_field])
