# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The task of ``consul_kv_replicate``: its options, and copying keys from one datacenter to another."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec, side_spec
from .._config.validation import validated
from .._consul.client import Client
from .._consul.units import parse_duration
from .._replication.apply import perform
from .._replication.delete_guards import Limits
from .._replication.mapping import check_one_store, is_same_store
from .._replication.outcome import Interrupted
from .._replication.plan import Policy
from .._replication.prefix_options import make_mappings
from .._replication.prepare import confirm, prepare
from .._replication.replication_result import applied_result, incomplete_error, planned_outcomes, planned_result
from .._replication.request import ReplicationRequest, batch_size
from .._replication.sides import Sides
from .task import Invocation, Result, Task

PREFIX_SPEC: Spec = {
    # Raw, because Ansible would turn a variable that is null into "", which is the whole store.
    "source": {"type": "raw", "required": True},
    "destination": {"type": "str"},
    "include": {"type": "list", "elements": "str"},
    "exclude": {"type": "list", "elements": "str"},
    "delete": {"type": "str", "choices": ["never", "owned", "all"]},
}

SPEC: Spec = dict(
    source=side_spec(),
    destination=side_spec(),
    # An element is a string or an object. Ansible checks the options of objects only for "elements": "dict", so _prefixes
    # checks them.
    prefixes={"type": "list", "elements": "raw", "required": True, "options": PREFIX_SPEC},
    name={"type": "str"},
    delete={"type": "str", "choices": ["never", "owned", "all"], "default": "owned"},
    max_deletes={"type": "int", "default": 100},
    max_delete_percent={"type": "float", "default": 10.0},
    allow_empty_source={"type": "bool", "default": False},
    on_conflict={"type": "str", "choices": ["fail", "keep", "overwrite"], "default": "fail"},
    skip_locked={"type": "bool", "default": True},
    adopt={"type": "bool", "default": False},
    accept={"type": "list", "elements": "str", "choices": ["other_source", "reversed"], "default": []},
    consistency={"type": "str", "choices": ["default", "consistent", "stale"], "default": "default"},
    max_stale={"type": "str", "default": "2s"},
    verify_digest={"type": "bool", "default": True},
    batch_ops={"type": "str", "default": "auto"},
    concurrency={"type": "int", "default": 4},
    lock_wait={"type": "float", "default": 60.0},
    retry_timeout={"type": "float", "default": 15.0},
    limit={"type": "int", "default": 100},
    diff_values={"type": "bool", "default": False},
    **connection_spec(),
)


def _request(call: Invocation) -> ReplicationRequest:
    """Return the request that the options describe. Raises InvalidOption."""
    options = call.params
    request = ReplicationRequest(
        mappings=tuple(make_mappings(_prefixes(options["prefixes"]), options["delete"])),
        policy=Policy(options["on_conflict"], skip_locked=options["skip_locked"], adopt=options["adopt"]),
        limits=Limits(options["max_deletes"], options["max_delete_percent"], options["allow_empty_source"]),
        name=options["name"] or "",
        accept=tuple(options["accept"]),
        consistency=options["consistency"],
        max_stale_s=parse_duration(options["max_stale"], "max_stale"),
        verify=options["verify_digest"],
        batch_ops=batch_size(options["batch_ops"]),
        concurrency=options["concurrency"],
        lock_wait_s=options["lock_wait"],
        retry_s=options["retry_timeout"],
        limit=options["limit"],
        show_values=options["diff_values"],
    )
    request.check()
    return request


def _prefixes(elements: t.Sequence[t.Any]) -> list[t.Any]:
    """Return the elements of ``prefixes``, objects with their options checked. Raises InvalidOption with the element's index.

    Strings and elements of wrong types are left to ``make_mappings``, and so is a source that is missing or null.
    """
    spec = {**PREFIX_SPEC, "source": {"type": "raw"}}
    return [
        validated(spec, _converted(element), f"prefixes[{number}]") if isinstance(element, dict) else element
        for number, element in enumerate(elements)
    ]


def _converted(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options of one prefix with lists of globs converted as Ansible does: "a,b" and numbers in YAML."""
    return {name: _globs(value) if name in ("include", "exclude") else value for name, value in options.items()}


def _globs(value: t.Any) -> t.Any:
    if isinstance(value, str):
        return value.split(",")
    if not isinstance(value, list):
        return [str(value)] if _is_number(value) else value
    return [str(glob) if _is_number(glob) else glob for glob in value]


def _is_number(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@contextlib.contextmanager
def _clients(call: Invocation, request: ReplicationRequest) -> t.Iterator[tuple[Client, Client]]:
    """Open the clients of the source and the destination. Raises InvalidOption when the options name one store for both."""
    with call.client("source") as source, call.client("destination") as destination:
        if is_same_store(source.endpoint, destination.endpoint):
            check_one_store(request.mappings)
        yield source, destination


def _check(call: Invocation) -> None:
    with _clients(call, _request(call)):
        pass


def replicate(call: Invocation) -> Result:
    """Copy, or with ``call.check_mode`` only plan. Returns the module's result. Raises an Error, with the result so far."""
    request = _request(call)
    with _clients(call, request) as (source, destination):
        prepared = prepare(source, destination, request)
        for warning in prepared.warnings:
            call.warn(warning)
        for plan in prepared.plans:
            if plan.unconfirmed:
                call.warn(f"{plan.mapping}: nothing is deleted, because {plan.unconfirmed}")
        if call.check_mode:
            sides = Sides.of(source, destination, request)
            for plan in prepared.plans:
                confirm(sides, plan)
        outcomes = planned_outcomes(prepared)
        result = planned_result(prepared, outcomes, request.limit)
        if (prepared.changed or prepared.ledger_outdated) and not call.check_mode:
            try:
                prepared, outcomes = perform(source, destination, request, prepared, time.time())
            except Interrupted as error:
                error.details = applied_result(error.prepared, error.outcomes, request.limit)
                raise
            result = applied_result(prepared, outcomes, request.limit)
    incomplete = incomplete_error(outcomes, result, request.policy, check=call.check_mode)
    if incomplete is not None:
        raise incomplete
    return result


REPLICATE = Task(SPEC, replicate, (ONE_TOKEN,), _check)
