# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options from a JSON file, held against the specs that modules have: unknown keys and wrong types by the key's path.

Nothing is converted: a file says 5 or "5", and only one of them is a number. Only a path may begin with ~ or hold a variable.
"""

from __future__ import annotations

import difflib
import os
import re
import typing as t

from .._consul.errors import InvalidOption

LARGEST = 10**15
_UNSPEAKABLE = re.compile("[\x00\ud800-\udfff]")

Spec = t.Mapping[str, t.Mapping[str, t.Any]]

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "path": ((str,), "a path"),
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "list": ((list,), "a list"),
    "dict": ((dict,), "an object"),
    "raw": ((object,), "anything"),
}


def checked(
    spec: Spec, given: t.Any, where: str = "", mutually_exclusive: t.Sequence[t.Sequence[str]] = ()
) -> dict[str, t.Any]:
    """Return the options with their defaults. Raises InvalidOption that begins with the path of the key at fault."""
    if not isinstance(given, dict):
        raise InvalidOption(f"{where or 'the file'}: this is not an object of options.")
    for name in given:
        if name not in spec:
            raise InvalidOption(f"{_below(where, name)}: there is no such option.{_meant(name, spec)}")
    result = {}
    for name, rules in spec.items():
        value = given.get(name)
        if value is None:
            if rules.get("required"):
                raise InvalidOption(f"{_below(where, name)}: this option is required.")
            value = rules.get("default")
            if rules.get("apply_defaults"):
                value = checked(rules["options"], {}, _below(where, name))
        else:
            value = _value(rules, value, _below(where, name))
        result[name] = value
    for group in mutually_exclusive:
        both = [name for name in group if given.get(name) is not None]
        if len(both) > 1:
            raise InvalidOption(f"{_below(where, both[1])}: {' and '.join(both)} exclude each other, give one of them.")
    return result


def _value(rules: t.Mapping[str, t.Any], value: t.Any, where: str) -> t.Any:
    kind = rules.get("type", "str")
    if rules.get("no_log"):
        raise InvalidOption(
            f"{where}: secrets do not stand in this file. Name a file with {_file_option(where)}, hand the secret over "
            "as a systemd credential, or set the environment variable."
        )
    _check_type(kind, value, where)
    if kind == "list" and "elements" in rules:
        element = {**rules, "type": rules["elements"]}
        return [_value(element, item, f"{where}[{number}]") for number, item in enumerate(value)]
    if "options" in rules and isinstance(value, dict):
        return checked(rules["options"], value, where, rules.get("mutually_exclusive", ()))
    if isinstance(value, str):
        _check_text(value, where)
    choices = rules.get("choices")
    if choices and value not in choices:
        raise InvalidOption(f"{where}: {value!r} is none of {', '.join(map(str, choices))}.")
    if kind == "path":
        return os.path.expanduser(os.path.expandvars(value))  # noqa: PTH111  as Ansible does it
    return float(value) if kind == "float" else value


def _check_type(kind: str, value: t.Any, where: str) -> None:
    types, called = _TYPES[kind]
    # true is a whole number for Python, and for nobody else.
    wrong = not isinstance(value, types) or (isinstance(value, bool) and kind in ("int", "float"))
    if wrong or (kind in ("int", "float") and abs(value) > LARGEST):
        raise InvalidOption(f"{where}: {called} is needed, and {_shown(value)} is not.")


def _check_text(value: str, where: str) -> None:
    if _UNSPEAKABLE.search(value):
        raise InvalidOption(f"{where}: {ascii(value)} has a character in it that no option can hold.")


def _shown(value: t.Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _file_option(where: str) -> str:
    return "token_file" if where.endswith("token") else "a credential"


def _below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _meant(name: str, spec: Spec) -> str:
    close = difflib.get_close_matches(name, spec, n=1)
    return f" Did you mean {close[0]}?" if close else f" There are {', '.join(sorted(spec))}."
