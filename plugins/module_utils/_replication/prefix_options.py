# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns the option ``prefixes`` into mappings, or says what to write instead. No I/O."""

from __future__ import annotations

import re
import typing as t

from .._consul import key_path
from .._consul.errors import InvalidOption
from .mapping import RESERVED, PrefixMapping, check_destinations
from .notation import parse_notation
from .patterns import Scope, check_patterns

_UNENCODABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_OBJECT_TEXT = re.compile(r"\s*\{|(source|destination|include|exclude|delete)\s*[:=]")


def make_mappings(prefixes: t.Sequence[t.Any], delete: str) -> list[PrefixMapping]:
    """Return the mappings of the option ``prefixes``. Raises InvalidOption.

    An element is the name of a folder, or an object with source, destination, include, exclude and delete. ``delete``
    is for the elements that do not set it.
    """
    if not prefixes:
        raise InvalidOption("prefixes is an empty list: name at least one folder, for example app/.")
    mappings = [
        _mapping(_options(element, f"prefixes[{number}]"), f"prefixes[{number}]", delete)
        for number, element in enumerate(prefixes)
    ]
    check_destinations(mappings)
    return mappings


def _options(element: t.Any, place: str) -> t.Mapping[str, t.Any]:
    """Return the options of one element, of which a string is short for {source: string}."""
    if isinstance(element, t.Mapping):
        return element
    if not isinstance(element, str):
        raise InvalidOption(
            f"{place}: {_described(element)} is not a prefix. Write the name of a folder, for example app/, or an object as "
            "{source: app/}."
        )
    if not element:
        # What a variable that is not set may become must not mean everything.
        raise InvalidOption(
            f'{place}: an empty string does not name a folder. For the whole store write {{source: ""}}.'
        )
    if _OBJECT_TEXT.match(element):
        raise InvalidOption(
            f"{place}: {element!r} is the text of an object, not an object and not a folder. Write it without quotes, for "
            "example {source: app/}."
        )
    _check_notation(element, place)
    return {"source": element}


def _mapping(options: t.Mapping[str, t.Any], place: str, delete: str) -> PrefixMapping:
    source = _prefix(options.get("source"), "source", place)
    destination = source
    if options.get("destination") is not None:
        destination = _prefix(options["destination"], "destination", place)
    include, exclude = options.get("include"), options.get("exclude") or ()
    if include is not None and not include:
        raise InvalidOption(
            f"{place}.include is an empty list, so no key would be copied. Leave it out to copy every key."
        )
    include = include or ()
    check_patterns(include, source, f"{place}.include")
    check_patterns(exclude, source, f"{place}.exclude")
    return PrefixMapping(source, destination, Scope(include, exclude), options.get("delete") or delete)


def _prefix(prefix: t.Any, side: str, place: str) -> str:
    """Return a prefix as it is. Raises InvalidOption, with what to write instead."""
    if not isinstance(prefix, str):
        value = "not set" if prefix is None else _described(prefix)
        raise InvalidOption(
            f"{place}: the {side} is {value}; it must be the name of a folder, for example app/. "
            f'For the whole store write {side}: "".'
        )
    start = f"{place}: the {side} {prefix!r}"
    if prefix == "/":
        raise InvalidOption(f'{place}: the {side} is a slash. For the whole store write {side}: "".')
    if _UNENCODABLE.search(prefix):
        raise InvalidOption(f"{start} contains a character that a URL cannot carry: use the folder above it.")
    without_slash = _folder(prefix)
    if prefix.startswith("/") and without_slash and key_path.is_addressable(without_slash):
        raise InvalidOption(f"{start} begins with a slash: write {without_slash!r}.")
    if prefix and not prefix.endswith("/"):
        _check_notation(prefix, place)
        raise InvalidOption(
            f"{start} could mean a key, a folder, or every name that begins with it. Write {prefix + '/'!r} for the folder; for "
            "single keys use the folder above it and name the keys in include."
        )
    if prefix.startswith(RESERVED):
        raise InvalidOption(f"{start} is reserved for this collection and is never replicated.")
    if prefix and not key_path.is_addressable(prefix):
        raise InvalidOption(
            f"{start} cannot be requested from Consul (it contains //, /./ or /../): use the folder above it."
        )
    return prefix


def _check_notation(text: str, place: str) -> None:
    """Raise InvalidOption for consul-replicate's notation, with the options that say the same here."""
    found = parse_notation(text)
    if found is None:
        return
    source, datacenter, destination = found
    if datacenter is None and (destination is None or not source.endswith("/")):
        return
    prefix = _folder(source) or '{source: ""}'
    if destination:
        prefix = f"{{source: {_folder(source) or chr(34) * 2}, destination: {_folder(destination)}}}"
    options = f"prefixes: [{prefix}]"
    if datacenter is not None:
        options = f"source: {{datacenter: {datacenter}}}, {options}"
    raise InvalidOption(
        f"{place}: {text!r} is consul-replicate's notation. Write {options}. A folder that has this very name is written as "
        f"{{source: {_folder(text)!r}}}."
    )


def _folder(name: str) -> str:
    name = name.strip("/")
    return f"{name}/" if name else ""


def _described(value: t.Any) -> str:
    """Return a value of a wrong type as messages show it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "a list" if isinstance(value, (list, tuple)) else repr(value)[:60]
