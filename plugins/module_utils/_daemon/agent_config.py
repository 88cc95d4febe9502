# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of an agent: its JSON file, validated and converted to typed values. Errors name the path of the key."""

from __future__ import annotations

import functools
import json
import re
import socket
import typing as t
from dataclasses import dataclass

from .._config import credentials, json_file
from .._config.connection_spec import ONE_TOKEN, connection_spec
from .._config.validation import Spec, validated
from .._consul import endpoint
from .._consul.client import Client
from .._consul.errors import InvalidOption
from .._consul.key_path import is_addressable
from .._consul.lock import MIN_TTL_S
from .._consul.units import parse_duration
from . import listen_config
from .agent_type import AgentType, Plan, Setup
from .lease import LeaseSpec
from .listen_config import AccessConfig, ListenConfig

SERVICE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
# The name becomes part of keys, services, systemd units and paths.
AGENT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")

# Consul ends a session after up to twice its TTL, so the session gets half of the lease's TTL.
# Source: SessionTTLMultiplier in Consul's agent/structs
SESSION_TTL_MULTIPLIER = 2

SPEC: Spec = {
    "agent": {"type": "str", "required": True},
    "name": {"type": "str"},
    "connection": {
        "type": "dict",
        "options": connection_spec(),
        "mutually_exclusive": [ONE_TOKEN],
        "apply_defaults": True,
    },
    "lease": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "key": {"type": "str"},
            "ttl": {"type": "str", "default": "20s"},
            "lock_delay": {"type": "str", "default": "5s"},
        },
    },
    "service": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "register": {"type": "bool", "default": True},
            "name": {"type": "str"},
            "tags": {"type": "list", "elements": "str", "default": []},
            "check_ttl": {"type": "str", "default": "30s"},
            "deregister_after": {"type": "str", "default": "72h"},
        },
    },
    "endpoint": {"type": "dict", "apply_defaults": True, "options": listen_config.SPEC},
    "back_off": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "first": {"type": "str", "default": "500ms"},
            "longest": {"type": "str", "default": "15s"},
        },
    },
    "step_down_after_failures": {"type": "int", "default": 5},
    "log_level": {"type": "str", "default": "info", "choices": ["debug", "info", "warning", "error"]},
    "options": {"type": "dict", "default": {}},
}


@dataclass(frozen=True)
class ServiceConfig:
    """The agent's entry in Consul's catalog; times in seconds."""

    register: bool
    name: str
    tags: tuple[str, ...]
    check_ttl_s: float
    deregister_after_s: float


@dataclass(frozen=True)
class AgentConfig:
    """The configuration of one agent; times in seconds. ``lease`` is the one that the plan may use, ``plan`` is what runs.

    ``setup`` is what the plan was made from.
    """

    agent: str
    name: str
    connection: endpoint.Endpoint
    lease: LeaseSpec
    service: ServiceConfig
    listen: ListenConfig
    access: AccessConfig
    first_pause_s: float
    longest_pause_s: float
    step_down_after_failures: int
    log_level: str
    options: t.Mapping[str, t.Any]
    agent_type: AgentType
    setup: Setup
    plan: Plan


AgentTypes = t.Mapping[str, AgentType]


def read_config(path: str, environ: t.Mapping[str, str], agent_types: AgentTypes) -> AgentConfig:
    """Return the configuration in a file. Raises InvalidOption with the name of the file and the path of the key at fault."""
    try:
        return make_config(json_file.read_json(path), environ, agent_types)
    except InvalidOption as error:
        raise error if str(error).startswith(path) else InvalidOption(f"{path}: {error}") from None


def make_config(given: t.Mapping[str, t.Any], environ: t.Mapping[str, str], agent_types: AgentTypes) -> AgentConfig:
    """Return the configuration in decoded JSON. Raises InvalidOption that begins with the path of the key at fault.

    ``agent_types`` are those that the key ``agent`` can name.
    """
    spec = {**SPEC, "agent": {**SPEC["agent"], "choices": sorted(agent_types)}}
    named = given.get("agent")
    # Only the one that is named is imported, and all to judge a name that is wrong.
    possible = [agent_types[named]] if isinstance(named, str) and named in agent_types else agent_types.values()
    late = {path for one in possible for path in one.late_secrets}
    values = validated(spec, credentials.resolve_credentials(dict(given), environ, late=late))
    agent_type = agent_types[values["agent"]]
    options = validated(agent_type.spec, values["options"], "options", agent_type.mutually_exclusive)
    name = values["name"] or values["agent"]
    if not AGENT_NAME.fullmatch(name):
        raise InvalidOption(
            f"name: {name!r} must consist of lower-case letters, digits and dashes, at most 48 characters."
        )
    connection = _at("connection", lambda: endpoint.resolve(values["connection"], environ, late_token=True))
    with _at("connection", lambda: Client(connection)):
        pass  # reports a certificate file that cannot be used before the agent starts
    lease = _lease(values["lease"], values["agent"], name, connection)
    listen, access = listen_config.make_listen(values["endpoint"], agent_type.default_port)
    setup = Setup(name, options, connection, lease, environ, values["connection"])
    return AgentConfig(
        agent=values["agent"],
        name=name,
        connection=connection,
        lease=lease,
        service=_service(values["service"], agent_type.default_service or f"consulops-{name}"),
        listen=listen,
        access=access,
        first_pause_s=_seconds(values["back_off"]["first"], "back_off.first", 0.01),
        longest_pause_s=_seconds(values["back_off"]["longest"], "back_off.longest", 0.01),
        step_down_after_failures=_at_least(values["step_down_after_failures"], 1, "step_down_after_failures"),
        log_level=values["log_level"],
        options=options,
        agent_type=agent_type,
        setup=setup,
        plan=agent_type.plan(setup),
    )


def check_secrets(config: AgentConfig) -> None:
    """Raise InvalidOption for what an agent starts without, and a person should know of before: a token that cannot be read."""
    for connection in (config.connection, *config.plan.connections.values()):
        _at("connection", functools.partial(endpoint.check_token, connection))
    config.agent_type.check(config.setup)


def _lease(values: dict[str, t.Any], agent: str, name: str, connection: endpoint.Endpoint) -> LeaseSpec:
    key = f"consulops/agents/{name}/lease" if values["key"] is None else values["key"]
    if not key:
        raise InvalidOption("lease.key: the key is empty. Leave the option out to use the default key.")
    if key.endswith("/") or not is_addressable(key) or not key.isprintable():
        raise InvalidOption(
            f"lease.key: {key!r} cannot be locked: it begins or ends with a slash, or contains //, /./, /../ or an unprintable character."
        )
    ttl_s = _seconds(values["ttl"], "lease.ttl", SESSION_TTL_MULTIPLIER * MIN_TTL_S)
    # Consul's limits: lock delay 0 to 60 s, session TTL 10 s to 24 h.
    delay_s = _seconds(values["lock_delay"], "lease.lock_delay", 0, 60)
    if delay_s != int(delay_s):
        raise InvalidOption(f"lease.lock_delay: {values['lock_delay']} is not a whole number of seconds.")
    holder = {"agent": agent, "name": name, "node": socket.gethostname()}
    return LeaseSpec(
        key=key,
        endpoint=connection,
        session_name=f"consulops {name}",
        value=json.dumps(holder).encode(),
        session_ttl_s=int(ttl_s / SESSION_TTL_MULTIPLIER),
        lock_delay_s=int(delay_s),
    )


def _service(values: dict[str, t.Any], default: str) -> ServiceConfig:
    service = default if values["name"] is None else values["name"]
    if not SERVICE_NAME.fullmatch(service):
        raise InvalidOption(
            f"service.name: {service!r} must consist of letters, digits, dots, dashes and underscores, at most 63 characters."
        )
    return ServiceConfig(
        register=values["register"],
        name=service,
        tags=tuple(values["tags"]),
        check_ttl_s=_seconds(values["check_ttl"], "service.check_ttl", 3),
        deregister_after_s=_seconds(values["deregister_after"], "service.deregister_after", 60, 1e7),
    )


def _seconds(text: str, path: str, least: float, most: float = 86400.0) -> float:
    seconds = _at(path, lambda: parse_duration(text, path))
    if not least <= seconds <= most:
        raise InvalidOption(f"{path}: {text} is not between {least:g} and {most:g} seconds.")
    return seconds


def _at_least(number: int, least: int, path: str) -> int:
    if number < least:
        raise InvalidOption(f"{path}: {number} is less than {least}.")
    return number


_Value = t.TypeVar("_Value")


def _at(path: str, make: t.Callable[[], _Value]) -> _Value:
    """Return the result of ``make``; an InvalidOption that it raises begins with the path of the key afterwards."""
    try:
        return make()
    except InvalidOption as error:
        raise error if str(error).startswith(path) else InvalidOption(f"{path}: {error}") from None
