# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys are copied to another datacenter: options and work of ``consul_kv_replicate``."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec, side_spec
from .._consul.client import Client
from .._consul.retry import RetryPolicy
from .._consul.units import parse_duration
from .._replication import replication_result
from .._replication.apply import Interrupted, perform
from .._replication.delete_guards import Limits
from .._replication.mapping import (
    check_one_store,
    is_same,
    make_mappings,
)
from .._replication.plan import Policy
from .._replication.prepare import (
    ReplicationRequest,
    batch_size,
    confirm,
    prepare,
)
from .call import Call, Result, Task

SPEC: Spec = dict(
    source=side_spec(),
    destination=side_spec(),
    prefixes={
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            # Ansible would make "" of a variable that is null, which is the whole store.
            "source": {"type": "raw", "required": True},
            "destination": {"type": "str"},
            "include": {"type": "list", "elements": "str"},
            "exclude": {"type": "list", "elements": "str"},
            "delete": {"type": "str", "choices": ["never", "owned", "all"]},
        },
    },
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


def _asked(call: Call) -> ReplicationRequest:
    """Return what the options mean. Raises InvalidOption."""
    options = call.params
    request = ReplicationRequest(
        mappings=tuple(make_mappings(options["prefixes"], options["delete"])),
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


@contextlib.contextmanager
def _both(call: Call, request: ReplicationRequest) -> t.Iterator[tuple[Client, Client]]:
    """Give clients of both sides, which are not one store as far as options tell."""
    with call.client("source") as source, call.client("destination") as destination:
        if is_same(source.endpoint, destination.endpoint):
            check_one_store(request.mappings)
        yield source, destination


def _check(call: Call) -> None:
    with _both(call, _asked(call)):
        pass


def replicate(call: Call) -> Result:
    request = _asked(call)
    with _both(call, request) as (source, destination):
        prepared = prepare(source, destination, request)
        if call.check:
            for plan in prepared.plans:
                confirm(source, plan, RetryPolicy(request.retry_s))
        outcomes = replication_result.planned(prepared)
        result = replication_result.would(prepared, outcomes, request.limit)
        if (prepared.changed or prepared.untidy) and not call.check:
            try:
                prepared, outcomes = perform(source, destination, request, prepared, time.time())
            except Interrupted as error:
                error.details = replication_result.done(error.prepared, error.outcomes, request.limit)
                raise
            result = replication_result.done(prepared, outcomes, request.limit)
    problem = replication_result.problem(outcomes, result, request.policy, check=call.check)
    if problem is not None:
        raise problem
    return result


REPLICATE = Task(SPEC, replicate, (ONE_TOKEN,), _check)
