# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The prepared queries of a datacenter: found, written, deleted, executed. Answers are checked for their shape here.

A list of queries silently leaves out what the token may not read, so that a query is not in it is believed only after Consul was asked
about the token, or about the name.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

from .._consul import errors
from .._consul.client import Client
from .query_definition import HIDDEN_TOKEN, Definition, from_api, newer_fields, option_of

UNCHANGED = "Nothing was changed."
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class StoredQuery:
    """A prepared query that Consul has. ``raw`` is Consul's own JSON; ``token`` is None when Consul hides it."""

    id: str
    name: str
    session: str
    token: str | None
    definition: Definition
    raw: t.Mapping[str, t.Any]

    @property
    def is_template(self) -> bool:
        return bool(self.definition["template.type"])

    @property
    def token_state(self) -> str:
        """What is known of the stored token: none, set, or hidden."""
        return "hidden" if self.token is None else "set" if self.token else "none"


@dataclass(frozen=True)
class Execution:
    """What Consul answers when a query is executed: 200 without nodes is an answer, and no instance."""

    datacenter: str
    failovers: int
    service: str
    nodes: tuple[dict[str, t.Any], ...]

    def as_result(self) -> dict[str, t.Any]:
        return {
            "datacenter": self.datacenter,
            "failovers": self.failovers,
            "service": self.service,
            "nodes": list(self.nodes),
            "answers": bool(self.nodes),
        }


def needed_rule(name: str, access: str) -> str:
    """Return the line of a policy that allows this for a query."""
    return f'query "{name}" {{ policy = "{access}" }}' if name else f'query_prefix "" {{ policy = "{access}" }}'


def choose(queries: t.Iterable[StoredQuery], name: str) -> StoredQuery | None:
    """Return the query of a name, which Consul compares without regard to case; "" is the template for every name.

    Raises GuardRefused when several have it: which one is meant would be a guess.
    """
    found = [query for query in queries if query.name.lower() == name.lower() and (name or query.is_template)]
    if len(found) > 1:
        ids = ", ".join(sorted(query.id for query in found))
        raise errors.GuardRefused(
            f'{len(found)} prepared queries have the name "{name}" ({ids}): choose one of them with the option id. {UNCHANGED}'
        )
    return found[0] if found else None


def find(client: Client, name: str) -> StoredQuery | None:
    """Return the query of a name, or None when there certainly is none. Raises PermissionDenied when that is unknown."""
    may_read = client.may("query", "read", name)
    if may_read is not False:
        response = client.get("/v1/query", consistency="consistent", partial_ok=True)
        found = choose(response.parse(_queries), name)
        if found is not None or may_read or (not name and not response.is_filtered):
            return found
        # Without ACLs Consul cannot say what a token may. Then, and only then, it explains every name, or says that there is no such query.
        try:
            client.get(_path(name, "explain"), absent_ok=True)
            return None
        except errors.PermissionDenied:
            pass
    raise errors.PermissionDenied(
        f'Whether {client.endpoint} has a prepared query "{name}" is unknown, because the token may not read it: '
        f'the token needs {needed_rule(name, "write")}, or "read" to look only. {UNCHANGED}'
    )


def get(client: Client, query_id: str) -> StoredQuery | None:
    """Return the query of an ID, None when there is none."""
    if not _UUID.fullmatch(query_id):
        raise errors.InvalidOption(
            f"id {query_id!r} is not the ID of a prepared query: Consul's are UUIDs. {UNCHANGED}"
        )
    try:
        response = client.get(f"/v1/query/{query_id}", consistency="consistent", absent_ok=True, partial_ok=True)
    except errors.PermissionDenied as error:
        raise error.with_advice(
            f"The prepared query {query_id} is unknown.",
            f'To read it the token needs policy = "read" or "write" for its name. {UNCHANGED}',
        ) from None
    return None if response.status == 404 else response.parse(lambda rows: _queries(rows)[0])


def write(client: Client, query_id: str | None, body: t.Mapping[str, t.Any], definition: Definition) -> StoredQuery:
    """Create the query, or replace the one of an ID, and return it as Consul then shows it.

    Raises NotConverged when Consul stored something else than it was given.
    """
    name = str(body["Name"])
    data = json.dumps(body).encode()
    try:
        if query_id is None:
            query_id = client.post("/v1/query", body=data).parse(_new_id)
        else:
            client.put(f"/v1/query/{query_id}", body=data)
    except errors.PermissionDenied as error:
        raise error.with_advice(
            after=f"To write it the token needs {needed_rule(name, 'write')}. {UNCHANGED}"
        ) from None
    except (errors.Rejected, errors.ServerFailed) as error:
        raise errors.Rejected(_refusal(client, name, error, definition), error.status, error.consul_message) from None
    stored = get(client, query_id)
    if stored is None:
        raise errors.NotConverged(
            f'The prepared query "{name}" ({query_id}) was written and is gone again: did its session end, or did someone delete it?'
        )
    return stored


def delete(client: Client, query: StoredQuery) -> None:
    """Delete a query; that it is gone already is no failure."""
    try:
        client.delete(f"/v1/query/{query.id}")
    except errors.PermissionDenied as error:
        raise error.with_advice(
            after=f"To delete it the token needs {needed_rule(query.name, 'write')}. {UNCHANGED}"
        ) from None
    except errors.ServerFailed as error:
        if "non-existent prepared query" not in error.consul_message.lower():
            raise


def execute(client: Client, name_or_id: str) -> Execution | None:
    """Execute a query and return what it answers, None when there is no such query. Raises a ConsulError."""
    response = client.get(_path(name_or_id, "execute"), absent_ok=True, partial_ok=True)
    return None if response.status == 404 else response.parse(execution_of)


def explain(client: Client, name: str) -> StoredQuery | None:
    """Return the query that answers for a name, as a template makes it, None when none does. Raises a ConsulError."""
    try:
        response = client.get(_path(name, "explain"), absent_ok=True, partial_ok=True)
    except errors.PermissionDenied as error:
        raise error.with_advice(
            after='Consul denies this also when no query answers for that name. The token needs query "…" { policy = "read" } '
            "for the name of the query that does."
        ) from None
    return None if response.status == 404 else response.parse(lambda body: query_of(body["Query"]))


def query_of(row: t.Any) -> StoredQuery:
    """Return one query of Consul's JSON. Raises KeyError, TypeError, ValueError and AttributeError for another shape."""
    token = row.get("Token") or ""
    texts = (row["ID"], row.get("Name") or "", row.get("Session") or "", token)
    if not all(isinstance(text, str) for text in texts) or not _UUID.fullmatch(texts[0]):
        raise ValueError("no prepared query")
    return StoredQuery(*texts[:3], None if token == HIDDEN_TOKEN else token, from_api(row), row)


def execution_of(body: t.Any) -> Execution:
    """Return the answer of an execution. Raises KeyError, TypeError, ValueError and AttributeError for another shape."""
    nodes = tuple(instance_of(entry) for entry in body["Nodes"] or [])
    datacenter, failovers, service = body["Datacenter"], body["Failovers"], body["Service"]
    if not isinstance(datacenter, str) or not isinstance(service, str) or not isinstance(failovers, int):
        raise TypeError("no execution")
    return Execution(datacenter, failovers, service, nodes)


def instance_of(entry: t.Any) -> dict[str, t.Any]:
    """Return one instance of a service as a result shows it. Raises like ``execution_of``."""
    node, service = entry["Node"], entry["Service"]
    found = {
        "node": node["Node"],
        "datacenter": node.get("Datacenter") or "",
        "service_id": service["ID"],
        "address": service.get("Address") or node.get("Address") or "",
        "port": service.get("Port") or 0,
    }
    if not all(isinstance(value, str) for name, value in found.items() if name != "port") or not isinstance(
        found["port"], int
    ):
        raise TypeError("no instance")
    return found


def _queries(rows: t.Any) -> list[StoredQuery]:
    return [query_of(row) for row in _list(rows)]


def _list(rows: t.Any) -> list[t.Any]:
    if rows is not None and not isinstance(rows, list):
        raise TypeError("no list")
    return rows or []


def _new_id(body: t.Any) -> str:
    found = body["ID"]
    if not _UUID.fullmatch(found):
        raise ValueError("no ID")
    return str(found)


def _path(name: str, action: str) -> str:
    # A name may hold anything; of it only a slash and a colon are left as they are by the client, and Consul takes both.
    return f"/v1/query/{name}/{action}"


def _refusal(client: Client, name: str, error: errors.ConsulError, definition: Definition) -> str:
    unknown = re.search(r'unknown field "(\w+)"', error.consul_message)
    if unknown is not None:
        option = option_of(unknown[1]) or ", ".join(newer_fields(definition)) or unknown[1]
        return (
            f"The Consul at {client.endpoint} is too old for {option} of a prepared query: it does not know the field {unknown[1]}. "
            f"{UNCHANGED}"
        )
    return f'Consul refused the prepared query "{name}": {error.consul_message.rstrip(".")}. {UNCHANGED}'
