# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that say what is replicated and how, and the request that they describe. The module and the agent share them."""

from __future__ import annotations

import contextlib
import typing as t

from .._config.connection_spec import Spec
from .._config.validation import validated
from .._consul.client import Client
from .._consul.units import parse_duration
from .._replication.delete_guards import Limits
from .._replication.mapping import check_one_store, is_same_store
from .._replication.plan import Policy
from .._replication.prefix_options import make_mappings
from .._replication.request import ReplicationRequest, batch_size
from .task import Invocation

PREFIX_SPEC: Spec = {
    # Raw, because Ansible would turn a variable that is null into "", which is the whole store.
    "source": {"type": "raw", "required": True},
    "destination": {"type": "str"},
    "include": {"type": "list", "elements": "str"},
    "exclude": {"type": "list", "elements": "str"},
    "delete": {"type": "str", "choices": ["never", "owned", "all"]},
}

REQUEST_SPEC: Spec = {
    # An element is a string or an object. Ansible checks the options of objects only for "elements": "dict", so _prefixes
    # checks them.
    "prefixes": {"type": "list", "elements": "raw", "required": True, "options": PREFIX_SPEC},
    "delete": {"type": "str", "choices": ["never", "owned", "all"], "default": "owned"},
    "max_deletes": {"type": "int", "default": 100},
    "max_delete_percent": {"type": "float", "default": 10.0},
    "allow_empty_source": {"type": "bool", "default": False},
    "on_conflict": {"type": "str", "choices": ["fail", "keep", "overwrite"], "default": "fail"},
    "skip_locked": {"type": "bool", "default": True},
    "adopt": {"type": "bool", "default": False},
    "accept": {"type": "list", "elements": "str", "choices": ["other_source", "reversed"], "default": []},
    "consistency": {"type": "str", "choices": ["default", "consistent", "stale"], "default": "default"},
    "max_stale": {"type": "str", "default": "2s"},
    "batch_ops": {"type": "str", "default": "auto"},
    "concurrency": {"type": "int", "default": 4},
    "retry_timeout": {"type": "float", "default": 15.0},
}


def make_request(options: t.Mapping[str, t.Any], **more: t.Any) -> ReplicationRequest:
    """Return the request that the options of REQUEST_SPEC describe; ``more`` are further fields of it. Raises InvalidOption.

    An option that is not given has its default.
    """
    options = {**{name: rules.get("default") for name, rules in REQUEST_SPEC.items()}, **options}
    request = ReplicationRequest(
        mappings=tuple(make_mappings(_prefixes(options["prefixes"]), options["delete"])),
        policy=Policy(options["on_conflict"], skip_locked=options["skip_locked"], adopt=options["adopt"]),
        limits=Limits(options["max_deletes"], options["max_delete_percent"], options["allow_empty_source"]),
        accept=tuple(options["accept"]),
        consistency=options["consistency"],
        max_stale_s=parse_duration(options["max_stale"], "max_stale"),
        batch_ops=batch_size(options["batch_ops"]),
        concurrency=options["concurrency"],
        retry_s=options["retry_timeout"],
        **more,
    )
    request.check()
    return request


@contextlib.contextmanager
def open_sides(call: Invocation, request: ReplicationRequest) -> t.Iterator[tuple[Client, Client]]:
    """Open the clients of the source and the destination. Raises InvalidOption when the options name one store for both."""
    with call.client("source") as source, call.client("destination") as destination:
        if is_same_store(source.endpoint, destination.endpoint):
            check_one_store(request.mappings)
        yield source, destination


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
