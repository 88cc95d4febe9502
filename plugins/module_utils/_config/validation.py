# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Validates options from a JSON file against a module's spec. Errors begin with the path of the key.

Unlike Ansible it converts nothing: "5" is not a number. Only values of type ``path`` may contain ~ and variables.
"""

from __future__ import annotations

import difflib
import os
import re
import typing as t

from .._consul.errors import InvalidOption

MAX_NUMBER = 10**15
MAX_SHOWN_CHARACTERS = 60
_FORBIDDEN_CHARACTERS = re.compile("[\x00\ud800-\udfff]")

Spec = t.Mapping[str, t.Mapping[str, t.Any]]

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a string"),
    "path": ((str,), "a path"),
    "bool": ((bool,), "true or false"),
    "int": ((int,), "an integer"),
    "float": ((int, float), "a number"),
    "list": ((list,), "a list"),
    "dict": ((dict,), "an object"),
    "raw": ((object,), "any value"),
}


def validated(
    spec: Spec, given: t.Any, path: str = "", mutually_exclusive: t.Sequence[t.Sequence[str]] = ()
) -> dict[str, t.Any]:
    """Return all options of the spec, with defaults for those that are not given.

    ``path`` is the place of ``given`` in the file. Raises InvalidOption that begins with the path of the key at fault.
    """
    if not isinstance(given, dict):
        raise InvalidOption(f"{path or 'the file'}: expected an object with options, not {_shown(given)}.")
    for name in given:
        if name not in spec:
            raise InvalidOption(f"{_child(path, name)}: unknown option.{_suggestion(name, spec)}")
    result = {}
    for name, rules in spec.items():
        value = given.get(name)
        if value is None:
            if rules.get("required"):
                raise InvalidOption(f"{_child(path, name)}: this option is required.")
            value = rules.get("default")
            if rules.get("apply_defaults"):
                value = validated(rules["options"], {}, _child(path, name))
        else:
            value = _value(rules, value, _child(path, name))
        result[name] = value
    for group in mutually_exclusive:
        present = [name for name in group if given.get(name) is not None]
        if len(present) > 1:
            raise InvalidOption(f"{_child(path, present[1])}: {' and '.join(present)} are mutually exclusive.")
    return result


def _value(rules: t.Mapping[str, t.Any], value: t.Any, path: str) -> t.Any:
    type_name = rules.get("type", "str")
    if rules.get("no_log"):
        raise InvalidOption(
            f"{path}: secrets are not allowed in this file. Name a file with {_file_option(path)}, pass the secret as a "
            "systemd credential, or set the environment variable."
        )
    _check_type(type_name, value, path)
    if type_name == "list" and "elements" in rules:
        element = {**rules, "type": rules["elements"]}
        return [_value(element, item, f"{path}[{number}]") for number, item in enumerate(value)]
    if "options" in rules and isinstance(value, dict):
        return validated(rules["options"], value, path, rules.get("mutually_exclusive", ()))
    if isinstance(value, str) and _FORBIDDEN_CHARACTERS.search(value):
        raise InvalidOption(f"{path}: {ascii(value)} contains a null character or half of a surrogate pair.")
    choices = rules.get("choices")
    if choices and value not in choices:
        raise InvalidOption(f"{path}: {value!r} is not one of {', '.join(map(str, choices))}.")
    if type_name == "path":
        return os.path.expanduser(os.path.expandvars(value))  # noqa: PTH111  as Ansible does it
    return float(value) if type_name == "float" else value


def _check_type(type_name: str, value: t.Any, path: str) -> None:
    types, expected = _TYPES[type_name]
    is_number = type_name in ("int", "float")
    wrong_type = not isinstance(value, types) or (isinstance(value, bool) and is_number)  # bool is an int for Python
    if wrong_type or (is_number and abs(value) > MAX_NUMBER):
        raise InvalidOption(f"{path}: expected {expected}, not {_shown(value)}.")


def _shown(value: t.Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 3] + "..."


def _file_option(path: str) -> str:
    return "token_file" if path.endswith("token") else "a credential"


def _child(path: str, name: str) -> str:
    shown = name if name.isprintable() else repr(name)  # a message is one line
    return f"{path}.{shown}" if path else shown


def _suggestion(name: str, spec: Spec) -> str:
    close = difflib.get_close_matches(name, spec, n=1)
    return f" Did you mean {close[0]}?" if close else f" The options are {', '.join(sorted(spec))}."
