# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Words of the command line for what silences match: ``node=web1 service=db tag=production``, and back. Pure."""

from __future__ import annotations

import typing as t

from .._consul.errors import InvalidOption

_OTHER_NAMES = {"tag": "tags"}
_METADATA = ("node_meta", "service_meta")


def parse_match(words: t.Iterable[str]) -> dict[str, t.Any]:
    """Return the ``match`` of a silence. Fields must all match; of a field that is given twice one value must. Raises InvalidOption.

    ``node_meta.KEY=PATTERN`` and ``service_meta.KEY=PATTERN`` match metadata. Whether fields and patterns exist is not checked here.
    """
    found: dict[str, t.Any] = {}
    for word in words:
        field, separator, value = word.partition("=")
        if not separator or not field:
            raise InvalidOption(f"{word!r} is not of the form FIELD=PATTERN, for example node=web1 or service=db.")
        if not value:
            raise InvalidOption(f"{word!r} has no pattern: is a variable of the shell not set?")
        kind, dot, key = field.partition(".")
        if dot and key and kind in _METADATA:
            _add(found.setdefault(kind, {}), key, value)
        else:
            _add(found, _OTHER_NAMES.get(field, field), value)
    return found


def _add(place: dict[str, t.Any], name: str, value: str) -> None:
    known = place.get(name)
    place[name] = value if known is None else [*(known if isinstance(known, list) else [known]), value]


def match_words(match: t.Any) -> str:
    """Return a ``match`` as words for people; alternatives, which the configuration can have, are joined by ``or``."""
    if isinstance(match, list):
        return " or ".join(match_words(one) for one in match)
    if not isinstance(match, dict):
        return str(match)
    names = {name: word for word, name in _OTHER_NAMES.items()}
    words = []
    for field, value in match.items():
        pairs = (
            [(f"{field}.{key}", item) for key, item in value.items()]
            if isinstance(value, dict)
            else [(names.get(field, field), value)]
        )
        for name, item in pairs:
            words += [f"{name}={_quoted(text)}" for text in (item if isinstance(item, list) else [item])]
    return " ".join(words)


def _quoted(value: t.Any) -> str:
    text = str(value)
    return text if text and not set(text) & set(" '\"") else repr(text)
