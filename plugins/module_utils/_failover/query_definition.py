# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a prepared query is: options and Consul's JSON become one form, so that they can be compared. Pure.

Source: https://developer.hashicorp.com/consul/api-docs/query, and the answers of Consul 1.8.7.
"""

from __future__ import annotations

import re
import typing as t
from decimal import Decimal

from .._consul.errors import InvalidOption

Definition = dict[
    str, t.Any
]  # in the form of the module's options, every one of them set, without name, session and token
Row = t.Mapping[str, t.Any]

HIDDEN_TOKEN = "<hidden>"  # what Consul shows of a stored token to who may not read it
TEMPLATE_TYPE = "name_prefix_match"
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_NS = 2**63 - 1  # Go's


class Field(t.NamedTuple):
    """One field: its option, where Consul's JSON has it, and its kind. One that is newer than 1.8.7 is sent only when it is set."""

    option: str
    path: tuple[str, ...]
    kind: str
    is_newer: bool = False


FIELDS = (
    Field("service", ("Service", "Service"), "text"),
    Field("tags", ("Service", "Tags"), "set"),
    Field("near", ("Service", "Near"), "text"),
    Field("only_passing", ("Service", "OnlyPassing"), "flag"),
    Field("ignore_check_ids", ("Service", "IgnoreCheckIDs"), "set"),
    Field("node_meta", ("Service", "NodeMeta"), "meta"),
    Field("service_meta", ("Service", "ServiceMeta"), "meta"),
    Field("connect", ("Service", "Connect"), "flag"),
    Field("peer", ("Service", "Peer"), "text", True),
    Field("sameness_group", ("Service", "SamenessGroup"), "text", True),
    Field("service_namespace", ("Service", "Namespace"), "text", True),
    Field("service_partition", ("Service", "Partition"), "text", True),
    Field("failover.nearest_n", ("Service", "Failover", "NearestN"), "number"),
    Field("failover.datacenters", ("Service", "Failover", "Datacenters"), "list"),
    Field("failover.targets", ("Service", "Failover", "Targets"), "targets", True),
    Field("dns.ttl", ("DNS", "TTL"), "duration"),
    Field("template.type", ("Template", "Type"), "text"),
    Field("template.regexp", ("Template", "Regexp"), "text"),
    Field("template.remove_empty_tags", ("Template", "RemoveEmptyTags"), "flag"),
)
TARGET_FIELDS = {"peer": "Peer", "datacenter": "Datacenter", "partition": "Partition", "namespace": "Namespace"}
_OWN = {"ID", "Name", "Session", "Token", "CreateIndex", "ModifyIndex"}


def from_options(options: t.Mapping[str, t.Any]) -> Definition:
    """Return the definition that options ask for; what they do not set is Consul's default. Raises InvalidOption."""
    found = {field.option: _normal(field.kind, _option(options, field.option), field.option) for field in FIELDS}
    _check(found)
    return found


def from_api(row: Row) -> Definition:
    """Return the definition of a prepared query as Consul shows it. Raises TypeError and ValueError for another shape."""
    found = {}
    for field in FIELDS:
        value: t.Any = row
        for name in field.path:
            value = None if value is None else _mapping(value).get(name)
        try:
            found[field.option] = _normal(field.kind, value, field.option, is_api=True)
        except InvalidOption as error:
            raise ValueError(str(error)) from None
    return found


def to_api(definition: Definition, existing: Row | None = None) -> dict[str, t.Any]:
    """Return the JSON of a definition for Consul; what ``existing`` has beyond the fields known here is kept."""
    body = _unknown_fields(existing or {}, ())
    for field in FIELDS:
        value = definition[field.option]
        if field.is_newer and not value:
            continue
        place = body
        for name in field.path[:-1]:
            place = place.setdefault(name, {})
        if field.kind == "targets":
            value = [{TARGET_FIELDS[name]: text for name, text in target.items()} for target in value]
        place[field.path[-1]] = value
    return body


def shown(definition: Definition) -> dict[str, t.Any]:
    """Return a definition in the nested form of the options, for results and differences."""
    result: dict[str, t.Any] = {}
    for option, value in definition.items():
        outer, _dot, inner = option.rpartition(".")
        (result.setdefault(outer, {}) if outer else result)[inner] = value
    return result


def changed_fields(before: Definition, after: Definition) -> list[str]:
    """Return the options in which two definitions differ."""
    return [field.option for field in FIELDS if before[field.option] != after[field.option]]


def newer_fields(definition: Definition) -> list[str]:
    """Return the options that are set and that only newer versions of Consul know."""
    return [field.option for field in FIELDS if field.is_newer and definition[field.option]]


def option_of(api_name: str) -> str | None:
    """Return the option behind a name in Consul's JSON, None when no option sets it."""
    return next((field.option for field in FIELDS if field.path[-1] == api_name), None)


def duration_text(text: t.Any) -> str:
    """Return a duration as Go writes it, in the largest unit of seconds and below that keeps it whole. Raises ValueError."""
    word = str(text).strip()
    if not word:
        return ""  # not the same as 0: without a TTL Consul takes that of its dns_config
    if re.fullmatch(r"\d+(\.\d+)?", word):
        word += "s"
    if _DURATION_PART.sub("", word) != "":
        raise ValueError(word)
    count = sum(Decimal(number) * _NANOSECONDS[unit] for number, unit in _DURATION_PART.findall(word))
    if count > _LONGEST_NS:
        raise ValueError(word)
    whole = int(count)
    for unit in ("s", "ms", "us"):
        if whole % _NANOSECONDS[unit] == 0:
            return f"{whole // _NANOSECONDS[unit]}{unit}"
    return f"{whole}ns"


def _option(options: t.Mapping[str, t.Any], name: str) -> t.Any:
    outer, _dot, inner = name.rpartition(".")
    place = options.get(outer) or {} if outer else options
    return place.get(inner)


def _normal(kind: str, value: t.Any, option: str, is_api: bool = False) -> t.Any:
    """Return a value in the one form that can be compared. Raises InvalidOption, and TypeError for what is no value of that kind."""
    if kind == "text":
        return _text(value)
    if kind == "flag":
        return _of_type(value, bool, False)
    if kind == "number":
        return _whole_number(value, option)
    if kind == "set":
        return sorted({_text(item) for item in _of_type(value, list, [])})
    if kind == "list":
        return [_text(item) for item in _of_type(value, list, [])]
    if kind == "meta":
        return {
            _text(name): _meta_value(text, f"{option}.{name}", is_api) for name, text in sorted(_mapping(value).items())
        }
    if kind == "duration":
        try:
            return duration_text(_text(value))
        except ValueError:
            raise InvalidOption(
                f"{option} {value!r} is not a duration as Consul takes it: write for example 10s, 500ms or 1m30s. Nothing was changed."
            ) from None
    return [_target(target, is_api) for target in _of_type(value, list, [])]


def _target(value: t.Any, is_api: bool) -> dict[str, str]:
    names = {name: TARGET_FIELDS[name] if is_api else name for name in TARGET_FIELDS}
    texts = {name: _text(_mapping(value).get(given)) for name, given in names.items()}
    return {name: text for name, text in texts.items() if text}


def _meta_value(value: t.Any, option: str, is_api: bool) -> str:
    if is_api or isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    raise InvalidOption(f"{option} is not a text: Consul compares metadata as text. Nothing was changed.")


def _whole_number(value: t.Any, option: str) -> int:
    number = 0 if value is None else value
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(option)
    if number < 0:
        raise InvalidOption(f"{option} is {number}: it must be 0 or more. Nothing was changed.")
    return number


def _text(value: t.Any) -> str:
    found: str = _of_type(value, str, "")
    return found


def _of_type(value: t.Any, wanted: type, default: t.Any) -> t.Any:
    if value is None:
        return default
    if not isinstance(value, wanted):
        raise TypeError(f"{value!r} is no {wanted.__name__}")
    return value


def _mapping(value: t.Any) -> t.Mapping[str, t.Any]:
    found: t.Mapping[str, t.Any] = _of_type(value, dict, {})
    return found


def _check(definition: Definition) -> None:
    """Raise InvalidOption for what Consul would refuse, or would take and then never answer."""
    if definition["failover.targets"] and (definition["failover.nearest_n"] or definition["failover.datacenters"]):
        raise InvalidOption(
            "failover.targets cannot be used together with failover.nearest_n or failover.datacenters: name everything in targets. "
            "Nothing was changed."
        )
    if not all(target.get("peer") or target.get("datacenter") for target in definition["failover.targets"]):
        raise InvalidOption("Each of failover.targets needs a peer or a datacenter. Nothing was changed.")
    has_template = definition["template.type"]
    if not has_template and (definition["template.regexp"] or definition["template.remove_empty_tags"]):
        raise InvalidOption(f"template.regexp needs template.type, which is {TEMPLATE_TYPE}. Nothing was changed.")


def _unknown_fields(value: Row, path: tuple[str, ...]) -> dict[str, t.Any]:
    """Return what Consul's JSON holds beyond the fields known here, so that an update does not take it away."""
    known = {field.path[len(path)] for field in FIELDS if field.path[: len(path)] == path}
    found = {}
    for name, item in value.items():
        if name in known:
            inner = (*path, name)
            if isinstance(item, dict) and any(field.path[:-1] == inner for field in FIELDS):
                below = _unknown_fields(item, inner)
                if below:
                    found[name] = below
        elif item and not (path == () and name in _OWN):
            found[name] = item
    return found
