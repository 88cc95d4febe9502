# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuration files: one JSON object, read whole, and what is wrong with one said with its place."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from .._consul.errors import InvalidOption

MAX_BYTES = 1 << 20


def read_json(path: str) -> dict[str, t.Any]:
    """Return the object that a file holds. Raises InvalidOption."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidOption(f"{path}: {error.strerror or error}, so the configuration cannot be read.") from None
    if len(content) > MAX_BYTES:
        raise InvalidOption(f"{path}: this is longer than any configuration; is it the right file?")
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_once)
    except UnicodeDecodeError:
        raise InvalidOption(f"{path}: this is not text in UTF-8.") from None
    except RecursionError:
        raise InvalidOption(f"{path}: this is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise InvalidOption(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}.") from None
    except _Twice as error:
        raise InvalidOption(f"{path}: {error.args[0]!r} is given twice in one object.") from None
    except ValueError:
        raise InvalidOption(f"{path}: it holds a number with more digits than any option has.") from None
    if not isinstance(found, dict):
        raise InvalidOption(f"{path}: the file must hold one JSON object.")
    return found


class _Twice(Exception):
    """A key stands twice in an object: JSON allows it, and one of the two would be ignored."""


def _once(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found
