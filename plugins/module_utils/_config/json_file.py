# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads a configuration file: one JSON object. Errors name the file and the position."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from .._consul.errors import InvalidOption

MAX_BYTES = 1 << 20


def read_json(path: str) -> dict[str, t.Any]:
    """Return the object in a file of at most MAX_BYTES. Raises InvalidOption."""
    return parse_json(read_content(path), path)


def read_content(path: str) -> bytes:
    """Return the content of a configuration file of at most MAX_BYTES. Raises InvalidOption."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidOption(f"{path}: the configuration cannot be read: {error.strerror or error}.") from None
    if len(content) > MAX_BYTES:
        raise InvalidOption(f"{path}: the file is larger than {MAX_BYTES:,} bytes, so it is not a configuration.")
    return content


def parse_json(content: bytes, path: str) -> dict[str, t.Any]:
    """Return the object in the content of the file ``path``. Raises InvalidOption."""
    try:
        result = json.loads(content.decode("utf-8"), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError:
        raise InvalidOption(f"{path}: the file is not UTF-8 text.") from None
    except RecursionError:
        raise InvalidOption(f"{path}: the JSON is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise InvalidOption(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}.") from None
    except _DuplicateKey as error:
        raise InvalidOption(f"{path}: {error.args[0]!r} appears twice in one object.") from None
    except ValueError:
        raise InvalidOption(f"{path}: a number has more digits than any option allows.") from None
    if not isinstance(result, dict):
        raise InvalidOption(f"{path}: the file must hold one JSON object.")
    return result


class _DuplicateKey(Exception):
    """A key appears twice in one object: JSON allows it, but one of the values would be ignored."""


def _unique_keys(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _value in pairs]
        raise _DuplicateKey(next(name for name in names if names.count(name) > 1))
    return result
