# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the event source, validated and converted to typed values. Errors begin with the name of the option at fault. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from ...._alerting.expectation import Expected, make_expected
from ...._alerting.rule import RuleSet
from ...._config.connection_spec import ONE_TOKEN, connection_spec, side_spec
from ...._config.durations import duration
from ...._config.validation import Spec, validated
from ...._consul import endpoint
from ...._consul.endpoint import Endpoint
from ...._consul.errors import InvalidOption
from .. import rule_times
from ..incident import FlapLimits
from ..rule_times import make_flap_limits, make_rule_set, make_timing
from ..timing import Timing
from .hosts import HostNames

FINDINGS, CHECKS, SERVICES, KV, EVENTS, LEADER = "findings", "checks", "services", "kv", "events", "leader"
WATCH_WORDS = (FINDINGS, CHECKS, SERVICES, KV, EVENTS, LEADER)

_ENGINE_OPTIONS = {"feedback", "eda_feedback_queue"}  # of ansible-rulebook
_TEXTS: dict[str, t.Any] = {"type": "list", "elements": "str", "default": []}

# The options of one watch word, which may be given only with it.
OPTIONS_OF_WORD: t.Mapping[str, Spec] = {
    FINDINGS: {**rule_times.SPEC, "reconcile_every": {"type": "str", "default": "10s"}},
    SERVICES: {"services": _TEXTS},
    KV: {"kv_prefixes": _TEXTS, "kv_values": {"type": "bool", "default": False}},
    EVENTS: {"user_events": _TEXTS},
}


def _with_secrets(spec: Spec) -> dict[str, t.Any]:
    """Return a spec whose secrets may be given: a rulebook takes them from variables or a vault, not from a file that is readable."""
    found = {name: {key: value for key, value in rules.items() if key != "no_log"} for name, rules in spec.items()}
    for rules in found.values():
        if "options" in rules:
            rules["options"] = _with_secrets(rules["options"])
    return found


SPEC: Spec = _with_secrets(
    {
        "watch": {"type": "list", "elements": "str", "required": True},
        "datacenters": _TEXTS,
        "connections": side_spec(type="list", elements="dict", default=[]),
        "state_file": {"type": "path"},
        "initial": {"type": "bool", "default": False},
        "hosts": {"type": "dict", "default": {}},
        "host_format": {"type": "str"},
        **{name: rules for spec in OPTIONS_OF_WORD.values() for name, rules in spec.items()},
        **connection_spec(),
    }
)


@dataclass(frozen=True)
class FindingOptions:
    """How findings are made and debounced: as in the alerting agent. Times in seconds."""

    rules: RuleSet
    expected: t.Mapping[str, Expected]
    timing: Timing
    flaps: FlapLimits
    snapshots: str | None
    reconcile_every_s: float


@dataclass(frozen=True)
class SourceConfig:
    """The options of the event source. ``endpoints`` are by the name under which a datacenter is kept in the state file.

    Without ``services`` only the names of services are watched, with it the instances of these. ``user_events`` names those that count,
    all if it is empty. ``initial``: what is there at the very first start is an event, too.
    """

    watch: tuple[str, ...]
    endpoints: t.Mapping[str, Endpoint]
    hosts: HostNames
    state_file: Path | None = None
    initial: bool = False
    findings: FindingOptions | None = None
    services: tuple[str, ...] = ()
    kv_prefixes: tuple[str, ...] = ()
    kv_values: bool = False
    user_events: tuple[str, ...] = ()


def make_source_config(given: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> SourceConfig:
    """Return the options of an event source. Raises InvalidOption, whose sentence begins with the option at fault."""
    own = {name: value for name, value in given.items() if name not in _ENGINE_OPTIONS}
    if isinstance(own.get("watch"), str):
        own["watch"] = [own["watch"]]
    values = validated(SPEC, own, "", (ONE_TOKEN,))
    watch = _watch_words(values["watch"])
    for word, spec in OPTIONS_OF_WORD.items():
        for name in spec:
            if word not in watch and given.get(name) is not None:
                raise InvalidOption(f"{name}: this option is for watch: [{word}], which is not there.")
    prefixes = _distinct(values["kv_prefixes"], "kv_prefixes")
    if KV in watch and not prefixes:
        raise InvalidOption("kv_prefixes: watch: [kv] needs the prefixes of the keys to watch, for example [app/].")
    return SourceConfig(
        watch=watch,
        endpoints=_endpoints(values, environ),
        hosts=HostNames.make(values["hosts"], values["host_format"]),
        state_file=None if values["state_file"] is None else _state_path(values["state_file"]),
        initial=values["initial"],
        findings=_finding_options(values) if FINDINGS in watch else None,
        services=_distinct(values["services"], "services"),
        kv_prefixes=prefixes,
        kv_values=values["kv_values"],
        user_events=_distinct(values["user_events"], "user_events"),
    )


def _watch_words(given: t.Sequence[str]) -> tuple[str, ...]:
    known = ", ".join(WATCH_WORDS)
    if not given:
        raise InvalidOption(f"watch: nothing is to be watched; name some of {known}.")
    for word in given:
        if word not in WATCH_WORDS:
            raise InvalidOption(f"watch: there is no {word!r}; there are {known}.")
    return tuple(dict.fromkeys(given))


def _distinct(given: t.Sequence[str], option: str) -> tuple[str, ...]:
    if "" in given and option != "kv_prefixes":
        raise InvalidOption(f"{option}: a name is empty.")
    return tuple(dict.fromkeys(given))


def _state_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise InvalidOption(
            f"state_file: {text!r} must be an absolute path, for example /var/lib/rulebooks/consul.state."
        )
    return path


def _endpoints(values: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> dict[str, Endpoint]:
    if values["datacenters"] and values["connections"]:
        raise InvalidOption("connections: datacenters and connections are mutually exclusive.")
    defaults = {name: values[name] for name in connection_spec()}
    sides = values["connections"] or [{"datacenter": name} for name in values["datacenters"]] or [{}]
    found: dict[str, Endpoint] = {}
    for number, side in enumerate(sides):
        resolved = endpoint.resolve(endpoint.with_defaults(side, defaults), environ)
        name = resolved.datacenter or resolved.shown_url
        if name in found:
            option = "connections" if values["connections"] else "datacenters"
            raise InvalidOption(f"{option}[{number}]: {name!r} is there twice.")
        found[name] = resolved
    return found


def _finding_options(values: t.Mapping[str, t.Any]) -> FindingOptions:
    return FindingOptions(
        rules=make_rule_set(values, ""),
        expected=make_expected(values["expect"]),
        timing=make_timing(values, ""),
        flaps=make_flap_limits(values["flapping"], "flapping"),
        snapshots=values["snapshots"],
        reconcile_every_s=duration(values["reconcile_every"], "reconcile_every", 1, 600),
    )
