# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the alerting agent, validated and converted to typed values. Errors begin with the path of the key. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from ..._alerting.expectation import Expected, make_expected
from ..._alerting.rule import RuleSet
from ..._config.connection_spec import side_spec
from ..._config.durations import duration
from ..._config.validation import Spec, validated
from ..._consul.errors import InvalidOption
from . import dead_man, rule_times
from .core import CoreOptions
from .event_handlers import AT_A_TIME, EventPrograms, make_event_programs
from .grouping import Policy
from .inhibition import BUILT_IN_INHIBITIONS
from .mute_times import make_mute_times
from .receiver_type import ReceiverType
from .route_options import make_inhibitions, make_route
from .routing import Route
from .rule_times import at, make_flap_limits, make_rule_set, make_timing
from .silences import Silence, Silences, make_silence
from .templates import TemplateOptions, check_templates

# Receivers are named in keys, metrics and file names.
RECEIVER_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
INSTANCE_NAME = RECEIVER_NAME  # part of a key, and of messages

SPEC: Spec = {
    "instance": {"type": "str"},
    "datacenters": {"type": "list", "elements": "str", "default": []},
    "connections": side_spec(type="list", elements="dict", default=[]),
    **rule_times.SPEC,
    "maintenance_limit": {"type": "str"},
    "receivers": {"type": "dict", "required": True},
    "fallback_receiver": {"type": "str"},
    "route": {"type": "dict", "required": True},
    "inhibit": {"type": "list", "elements": "dict", "default": []},
    "time_intervals": {"type": "list", "elements": "dict", "default": []},
    "silences": {"type": "list", "elements": "dict", "default": []},
    "reconcile_every": {"type": "str", "default": "10s"},
    "dead_man": {"type": "dict", "options": dead_man.SPEC},
    "events": {"type": "list", "elements": "dict", "default": []},
    "event_programs": {"type": "int", "default": AT_A_TIME},
}
COMMON_RECEIVER_SPEC: Spec = {
    "type": {"type": "str", "required": True},
    "send_resolved": {"type": "bool", "default": True},
    "template": {
        "type": "dict",
        "apply_defaults": True,
        "options": {name: {"type": "str"} for name in ("subject", "text", "html")},
    },
}


@dataclass(frozen=True)
class ReceiverConfig:
    """One receiver. ``options`` are those of its type, validated."""

    name: str
    type: str
    options: t.Mapping[str, t.Any]
    templates: TemplateOptions = TemplateOptions()
    sends_resolved: bool = True


@dataclass(frozen=True)
class AlertingConfig:
    """The options of the alerting agent; times in seconds.

    ``instance`` tells this instance from the others. ``connections`` and ``dead_man`` are validated options, not yet used.
    """

    instance: str
    datacenters: tuple[str, ...]
    connections: tuple[t.Mapping[str, t.Any], ...]
    expected: t.Mapping[str, Expected]
    rules: RuleSet
    snapshots: str | None
    core: CoreOptions
    receivers: t.Mapping[str, ReceiverConfig]
    fallback_receiver: str | None
    silences: tuple[Silence, ...]
    reconcile_every_s: float
    dead_man: t.Mapping[str, t.Any] | None = None
    events: EventPrograms = EventPrograms()

    def make_silences(self) -> Silences:
        """Return the silences of the configuration, to which others can be added."""
        return Silences(self.silences)


def make_alerting_config(
    given: t.Any, types: t.Mapping[str, ReceiverType], *, path: str = "options", instance: str = ""
) -> AlertingConfig:
    """Return the options of the agent. ``types`` are the types of receivers there are; ``path`` is where the options stand.

    ``instance`` is the name of this host, the default of the option. Raises InvalidOption that begins with the path of the key at fault.
    """
    values = validated(SPEC, given, path)
    if values["datacenters"] and values["connections"]:
        raise InvalidOption(f"{path}.connections: datacenters and connections are mutually exclusive.")
    for number, name in enumerate(values["datacenters"]):
        if not name or name in values["datacenters"][:number]:
            raise InvalidOption(f"{path}.datacenters[{number}]: {name!r} is empty, or stands there twice.")
    instance = instance if values["instance"] is None else values["instance"]
    if values["instance"] is not None and not INSTANCE_NAME.fullmatch(instance):
        raise InvalidOption(
            f"{path}.instance: {instance!r} must consist of letters, digits, dots, dashes and underscores, at most 64 characters."
        )
    receivers = _receivers(values["receivers"], types, f"{path}.receivers")
    fallback = values["fallback_receiver"]
    if fallback is not None and fallback not in receivers:
        raise InvalidOption(
            f"{path}.fallback_receiver: there is no receiver {fallback!r}; there are {', '.join(sorted(receivers))}."
        )
    mute_times = make_mute_times(values["time_intervals"], f"{path}.time_intervals")
    route = make_route(values["route"], receivers, mute_times, f"{path}.route")
    silences = _silences(values["silences"], f"{path}.silences")
    inhibitions = make_inhibitions(values["inhibit"], f"{path}.inhibit")
    policy = Policy(
        route=route,
        inhibitions=(*BUILT_IN_INHIBITIONS, *inhibitions),
        mute_times=mute_times,
        without_recoveries=frozenset(name for name, one in receivers.items() if not one.sends_resolved),
        fallback=fallback,
        instance=instance,
    )
    limit = values["maintenance_limit"]
    metadata = _metadata_of_routes(route)
    for silence in silences:
        metadata |= silence.matchers.metadata
    for inhibition in inhibitions:
        metadata |= inhibition.source.metadata | inhibition.target.metadata
        metadata |= {label.partition(".")[0] for label in inhibition.equal if "." in label}
    return AlertingConfig(
        instance=instance,
        datacenters=tuple(values["datacenters"]),
        connections=tuple(values["connections"]),
        expected=at(f"{path}.", lambda: make_expected(values["expect"])),
        rules=replace(make_rule_set(values, f"{path}."), also_read=frozenset(metadata)),
        snapshots=values["snapshots"],
        core=CoreOptions(
            policy=policy,
            timing=make_timing(values, f"{path}."),
            flaps=make_flap_limits(values["flapping"], f"{path}.flapping"),
            maintenance_limit_s=None if limit is None else duration(limit, f"{path}.maintenance_limit", 60),
            receivers=frozenset(receivers),
        ),
        receivers=receivers,
        fallback_receiver=fallback,
        silences=silences,
        reconcile_every_s=duration(values["reconcile_every"], f"{path}.reconcile_every", 1, 600),
        dead_man=values["dead_man"],
        events=make_event_programs(values["events"], values["event_programs"], path),
    )


# ---------------------------------------------------------------------------------------------------------------
# Receivers


def _receivers(
    given: t.Mapping[str, t.Any], types: t.Mapping[str, ReceiverType], path: str
) -> dict[str, ReceiverConfig]:
    if not given:
        raise InvalidOption(f"{path}: there is no receiver, so nobody would be told of anything.")
    found: dict[str, ReceiverConfig] = {}
    for name, options in given.items():
        place = f"{path}.{name}"
        if not RECEIVER_NAME.fullmatch(name):
            raise InvalidOption(
                f"{place}: {name!r} must consist of letters, digits, dots, dashes and underscores, at most 64 characters."
            )
        # Spools are files, and some file systems ignore case.
        same = next((one for one in found if one.lower() == name.lower()), None)
        if same is not None:
            raise InvalidOption(f"{place}: the receivers {same!r} and {name!r} differ in case only.")
        found[name] = _receiver(name, options, types, place)
    return found


def _receiver(name: str, given: t.Any, types: t.Mapping[str, ReceiverType], path: str) -> ReceiverConfig:
    if not isinstance(given, dict):
        raise InvalidOption(f"{path}: expected an object with options.")
    type_name = given.get("type")
    if type_name is None:
        raise InvalidOption(f"{path}.type: this option is required.")
    if not isinstance(type_name, str) or type_name not in types:
        raise InvalidOption(f"{path}.type: there is no type {type_name!r}; there are {', '.join(sorted(types))}.")
    values = validated({**types[type_name].SPEC, **COMMON_RECEIVER_SPEC}, given, path)
    templates = TemplateOptions(**values["template"])
    check_templates(templates, f"{path}.template")
    options = {key: value for key, value in values.items() if key not in COMMON_RECEIVER_SPEC}
    return ReceiverConfig(name, type_name, options, templates, values["send_resolved"])


# ---------------------------------------------------------------------------------------------------------------


def _silences(given: t.Sequence[t.Any], path: str) -> tuple[Silence, ...]:
    found: dict[str, Silence] = {}
    for number, options in enumerate(given):
        silence = make_silence(options, 0.0, f"{path}[{number}]")  # without a start it is in force since ever
        if silence.id in found:
            raise InvalidOption(f"{path}[{number}].id: there are two silences {silence.id!r}.")
        found[silence.id] = silence
    return tuple(found.values())


def _metadata_of_routes(route: Route) -> set[str]:
    """Return the metadata that routes match or group by, so that it is read."""
    found: set[str] = set()
    for one in route.all_routes():
        found |= one.matchers.metadata
        found |= {label.partition(".")[0] for label in one.group_by if "." in label and label != "..."}
    return found
