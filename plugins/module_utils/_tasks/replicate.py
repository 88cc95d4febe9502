# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The task of ``consul_kv_replicate``: its options, and copying keys from one datacenter to another."""

from __future__ import annotations

import time
import typing as t

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec, side_spec
from .._consul.errors import InvalidOption
from .._replication.apply import perform
from .._replication.notation import concerns, exclude_pattern, parse_notation
from .._replication.outcome import Interrupted
from .._replication.prepare import confirm, prepare
from .._replication.replication_result import applied_result, incomplete_error, planned_outcomes, planned_result
from .._replication.request import ReplicationRequest
from .._replication.sides import Sides
from .replication_request import REQUEST_SPEC, make_request, open_sides
from .task import Invocation, Result, Task

SPEC: Spec = dict(
    source=side_spec(),
    destination=side_spec(),
    name={"type": "str"},
    verify_digest={"type": "bool", "default": True},
    lock_wait={"type": "float", "default": 60.0},
    limit={"type": "int", "default": 100},
    diff_values={"type": "bool", "default": False},
    **REQUEST_SPEC,
    **connection_spec(),
)


def _request(call: Invocation) -> ReplicationRequest:
    """Return the request that the options describe. Raises InvalidOption."""
    options = call.params
    return make_request(
        options,
        name=options["name"] or "",
        verify=options["verify_digest"],
        lock_wait_s=options["lock_wait"],
        limit=options["limit"],
        show_values=options["diff_values"],
    )


def _check(call: Invocation) -> None:
    with open_sides(call, _request(call)):
        pass


def replicate(call: Invocation) -> Result:
    """Copy, or with ``call.check_mode`` only plan. Returns the module's result. Raises an Error, with the result so far."""
    request = _request(call)
    with open_sides(call, request) as (source, destination):
        check = call.check_mode
        prepared = prepare(source, destination, request, only_plans=check, is_to_write=not check)
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
                prepared, outcomes, _state = perform(source, destination, request, prepared, time.time())
            except Interrupted as error:
                error.details = applied_result(error.prepared, error.outcomes, request.limit)
                raise
            result = applied_result(prepared, outcomes, request.limit)
    incomplete = incomplete_error(outcomes, result, request.policy, check=call.check_mode)
    if incomplete is not None:
        raise incomplete
    return result


def prefix_options(prefixes: t.Sequence[str], excludes: t.Sequence[str]) -> tuple[str | None, list[dict[str, t.Any]]]:
    """Return the source's datacenter and the option ``prefixes`` for prefixes in consul-replicate's notation.

    Raises InvalidOption for one that is not in that notation, for several datacenters, and for an exclude that concerns no prefix.
    """
    found = []
    for text in prefixes:
        one = parse_notation(text)
        if one is None:
            raise InvalidOption(
                f"--prefix {text!r} is not SOURCE[@DATACENTER][:DESTINATION], for example app/@dc1:mirror/app/."
            )
        found.append(one)
    datacenters = {one.datacenter for one in found}
    if len(datacenters) > 1:
        names = ", ".join(sorted(name or "the source's own" for name in datacenters))
        raise InvalidOption(f"--prefix: one run copies from one datacenter, not from {names}.")
    for exclude in excludes:
        if not exclude or not any(concerns(exclude, one.source) for one in found):
            raise InvalidOption(f"--exclude {exclude!r} is below no prefix: write the names as they are at the source.")
    options: list[dict[str, t.Any]] = []
    for one in found:
        patterns = [pattern for exclude in excludes if (pattern := exclude_pattern(exclude, one.source))]
        destination = {} if one.destination is None else {"destination": one.destination}
        options.append({"source": one.source, **destination, **({"exclude": patterns} if patterns else {})})
    return datacenters.pop(), options


REPLICATE = Task(SPEC, replicate, (ONE_TOKEN,), _check)
