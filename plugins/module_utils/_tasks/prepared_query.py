# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options and the work of ``consul_prepared_query``: a prepared query is there, or is not, and what it would answer."""

from __future__ import annotations

import typing as t

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec
from .._consul import errors
from .._consul.client import Client
from .._failover import prepared_queries, query_plan
from .._failover.prepared_queries import UNCHANGED, StoredQuery
from .._failover.query_definition import (
    TARGET_FIELDS,
    TEMPLATE_TYPE,
    Definition,
    changed_fields,
    from_options,
    shown,
    to_api,
)
from .task import Invocation, Result, Task

SPEC: Spec = dict(
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    name={"type": "str"},
    id={"type": "str"},
    service={"type": "str"},
    tags={"type": "list", "elements": "str"},
    near={"type": "str"},
    only_passing={"type": "bool"},
    ignore_check_ids={"type": "list", "elements": "str"},
    node_meta={"type": "dict"},
    service_meta={"type": "dict"},
    connect={"type": "bool"},
    peer={"type": "str"},
    sameness_group={"type": "str"},
    service_namespace={"type": "str"},
    service_partition={"type": "str"},
    failover={
        "type": "dict",
        "options": {
            "nearest_n": {"type": "int"},
            "datacenters": {"type": "list", "elements": "str"},
            "targets": {
                "type": "list",
                "elements": "dict",
                "options": {name: {"type": "str"} for name in TARGET_FIELDS},
            },
        },
    },
    dns={"type": "dict", "options": {"ttl": {"type": "str"}}},
    template={
        "type": "dict",
        "options": {
            "type": {"type": "str", "choices": [TEMPLATE_TYPE], "default": TEMPLATE_TYPE},
            "regexp": {"type": "str"},
            "remove_empty_tags": {"type": "bool"},
        },
    },
    session={"type": "str"},
    stored_token={"type": "str", "no_log": True},
    update_stored_token={"type": "str", "choices": ["when_known", "always"], "default": "when_known", "no_log": False},
    execute={"type": "bool", "default": False},
    explain={"type": "str"},
    plan={"type": "bool", "default": False},
    **connection_spec(),
)


class _Wanted(t.NamedTuple):
    """What the options ask for; ``name`` is None when the one of the query with that ID stays."""

    name: str | None
    session: str
    definition: Definition


def _validate(call: Invocation) -> _Wanted | None:
    """Return what should be there, None when nothing should. Raises InvalidOption."""
    options = call.params
    if options["name"] is None and options["id"] is None:
        raise errors.InvalidOption(f"name is missing: name the prepared query, or choose it by id. {UNCHANGED}")
    if options["state"] == "absent":
        if options["execute"] or options["plan"]:
            raise errors.InvalidOption("execute and plan need state=present: a query that is absent answers nothing.")
        return None
    definition = from_options(options)
    if not definition["service"]:
        raise errors.InvalidOption(f"service is missing: a prepared query needs the name of a service. {UNCHANGED}")
    if options["name"] == "" and not definition["template.type"]:
        raise errors.InvalidOption(
            f'name "" is that of the template for every name: give template, or another name. {UNCHANGED}'
        )
    if (options["plan"] or options["execute"]) and definition["template.type"] and not options["explain"]:
        raise errors.InvalidOption(
            f"execute and plan need explain for a template: name what a client would look up. {UNCHANGED}"
        )
    return _Wanted(options["name"], options["session"] or "", definition)


def perform(call: Invocation) -> Result:
    """Make a prepared query present or absent, and say what it answers. Raises an Error."""
    wanted = _validate(call)
    with call.client() as client:
        stored = _stored(client, call)
        if stored is not None and stored.token:
            call.mask([stored.token])
        if wanted is None:
            return _make_absent(client, call, stored)
        result, now = _make_present(client, call, stored, wanted)
        return {**result, **_answers(client, call, wanted, now, is_written=not (call.check_mode and result["changed"]))}


def _stored(client: Client, call: Invocation) -> StoredQuery | None:
    options = call.params
    if options["id"] is None:
        return prepared_queries.find(client, options["name"])
    found = prepared_queries.get(client, options["id"])
    if found is None and options["state"] == "present":
        raise errors.NotFound(
            f"{client.endpoint} has no prepared query with the ID {options['id']}: leave id out to create one, because Consul gives the "
            f"IDs. {UNCHANGED}"
        )
    return found


def _make_absent(client: Client, call: Invocation, stored: StoredQuery | None) -> Result:
    result: Result = {"changed": stored is not None, "id": stored.id if stored else None, "query": None}
    if stored is not None:
        _check_may_write(client, [stored.name])
        if not call.check_mode:
            prepared_queries.delete(client, stored)
    return {**result, "diff": {"before": _view(stored), "after": {}}}


def _make_present(
    client: Client, call: Invocation, stored: StoredQuery | None, wanted: _Wanted
) -> tuple[Result, StoredQuery | None]:
    name = wanted.name if wanted.name is not None else stored.name if stored else ""
    token, token_changes = _token(call, stored)
    after = _as_view(name, wanted.session, wanted.definition, _token_state(token, stored))
    is_same = stored is not None and not token_changes and _view(stored) == after
    before_id = stored.id if stored else None
    result: Result = {
        "changed": not is_same,
        "id": before_id,
        "query": after,
        "diff": {"before": _view(stored), "after": after},
    }
    if is_same:
        return result, stored
    _check_may_write(client, [name, *([stored.name] if stored else [])])
    if token is None:
        raise errors.GuardRefused(
            f'The prepared query "{name}" has a stored token that the token of this task may not read, and an update would take it away: '
            f'give stored_token, or a token with acl = "write". {UNCHANGED}'
        )
    if token_changes:
        result["diff"] = _marked(result["diff"])
    if call.check_mode:
        return result, stored
    body = {
        **to_api(wanted.definition, stored.raw if stored else None),
        "Name": name,
        "Session": wanted.session,
        "Token": token,
    }
    now = prepared_queries.write(client, before_id, body, wanted.definition)
    _check_written(now, name, wanted)
    return {**result, "id": now.id}, now


def _token(call: Invocation, stored: StoredQuery | None) -> tuple[str | None, bool]:
    """Return the token to store, None when the stored one is unknown and stays, and whether that is a change."""
    given = call.params["stored_token"]
    there = stored.token if stored else ""
    if given is None:
        return there, False
    if there is None:
        if call.params["update_stored_token"] == "always":
            return given, True
        call.warn(
            "stored_token was not compared, because the token of this task may not read the stored one: it is written only when more "
            "changes, or with update_stored_token=always."
        )
        return given, False
    return given, given != there


def _token_state(token: str | None, stored: StoredQuery | None) -> str:
    if stored is not None and stored.token is None:
        return "hidden"
    return "set" if token else "none"


def _marked(diff: dict[str, t.Any]) -> dict[str, t.Any]:
    """Show that a stored token changes without showing it."""
    return {
        "before": diff["before"],
        "after": {**diff["after"], "stored_token": diff["after"]["stored_token"] + " (changed)"},
    }


def _check_may_write(client: Client, names: t.Sequence[str]) -> None:
    """Raise PermissionDenied when Consul says that the token may not write a name, also in check mode."""
    for name in dict.fromkeys(names):
        if client.may("query", "write", name) is False:
            raise errors.PermissionDenied(
                f'The token may not write the prepared query "{name}" of {client.endpoint}: it needs '
                f"{prepared_queries.needed_rule(name, 'write')}. {UNCHANGED}"
            )


def _check_written(now: StoredQuery, name: str, wanted: _Wanted) -> None:
    lost = changed_fields(wanted.definition, now.definition)
    lost += [
        option
        for option, is_lost in (("name", now.name != name), ("session", now.session != wanted.session))
        if is_lost
    ]
    if lost:
        raise errors.NotConverged(
            f'The prepared query "{name}" ({now.id}) was written, and Consul has other values than were given for {", ".join(lost)}: '
            "someone else wrote it too, or a server is too old for them. Run the task again, or leave them out."
        )


def _answers(client: Client, call: Invocation, wanted: _Wanted, now: StoredQuery | None, is_written: bool) -> Result:
    """Return what the query answers. In check mode what is not written cannot be executed: then it is null, not a guess."""
    options = call.params
    is_template = bool(wanted.definition["template.type"])
    result: Result = {}
    explained: StoredQuery | None = None
    if options["explain"] is not None:
        try:
            explained = prepared_queries.explain(client, options["explain"])
            result["explanation"] = _explanation(explained)
        except errors.ConsulError as error:
            result["explanation"] = {"id": None, "problem": str(error)}
    if options["execute"]:
        asked = options["explain"] if is_template else now.id if now else None
        result["execution"] = _execution(client, asked) if is_written and now and asked is not None else None
    if options["plan"]:
        definition = (explained.definition if explained and is_written else None) if is_template else wanted.definition
        result["plan"] = query_plan.make_plan(client, definition).as_result() if definition else None
    return result


def _execution(client: Client, name_or_id: str) -> dict[str, t.Any]:
    """Return what an execution answers; with a problem the answer is unknown."""
    unknown: dict[str, t.Any] = {"answers": None, "datacenter": None, "failovers": None, "service": None, "nodes": []}
    try:
        found = prepared_queries.execute(client, name_or_id)
    except errors.ConsulError as error:
        return {**unknown, "problem": str(error)}
    if found is None:
        return {**unknown, "answers": False, "problem": "no prepared query answers for that name"}
    if not found.nodes and client.may("service", "read", found.service) is False:
        problem = f'the token may not see instances: it needs service "{found.service}" {{ policy = "read" }}, or the query stored_token'
        return {**found.as_result(), "answers": None, "problem": problem}
    return {**found.as_result(), "problem": ""}


def _explanation(found: StoredQuery | None) -> dict[str, t.Any] | None:
    return {"id": found.id, **_view(found), "problem": ""} if found else None


def _view(query: StoredQuery | None) -> dict[str, t.Any]:
    return _as_view(query.name, query.session, query.definition, query.token_state) if query else {}


def _as_view(name: str, session: str, definition: Definition, token_state: str) -> dict[str, t.Any]:
    return {"name": name, **shown(definition), "session": session, "stored_token": token_state}


PREPARED_QUERY = Task(SPEC, perform, (ONE_TOKEN,), _validate)
