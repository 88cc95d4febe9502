# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads another program's configuration: a file in HCL or JSON. Values must be written out, not computed."""

from __future__ import annotations

import json
import typing as t

from .._consul.errors import InvalidOption
from . import json_file


def read_hcl_or_json(path: str) -> dict[str, t.Any]:
    """Return the object in a file: blocks of HCL are lists of objects. Raises InvalidOption, and MissingLibrary for HCL."""
    content = json_file.read_content(path)
    if content.lstrip().startswith(b"{"):
        return json_file.parse_json(content, path)
    # Only here: where the library is installed, importing it takes a tenth of the time that any command needs to start.
    from ._libraries import LarkError, hcl2, require_hcl2

    require_hcl2()
    try:
        document = hcl2.loads(
            content.decode("utf-8") + "\n",
            serialization_options=hcl2.SerializationOptions(
                with_comments=False, explicit_blocks=False, preserve_heredocs=False
            ),
        )
        return {_text(name): _plain(value) for name, value in document.items()}
    except UnicodeDecodeError:
        raise InvalidOption(f"{path}: the file is not UTF-8 text.") from None
    except RecursionError:
        raise InvalidOption(f"{path}: the HCL is nested too deeply.") from None
    except LarkError as error:
        line, column = getattr(error, "line", 0), getattr(error, "column", 0)
        where = f"line {line}, column {column}: " if line and line > 0 else ""
        raise InvalidOption(f"{path}: {where}this is not HCL that can be read.") from None
    except _NotPlain as error:
        raise InvalidOption(f"{path}: {error.args[0]!r} is computed: write the value itself.") from None


class _NotPlain(Exception):
    """A value is an expression or a template."""


def _plain(value: t.Any) -> t.Any:
    """Return a value with its texts as they are meant: the library keeps quotes and escapes."""
    if isinstance(value, dict):
        return {_text(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return _text(value, quoted=True) if isinstance(value, str) else value


def _text(text: str, quoted: bool = False) -> str:
    """Return a text without quotes and escapes. Raises _NotPlain for an expression, which has no quotes, and for a template."""
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        try:
            value = json.loads(text, strict=False)
        except ValueError:
            raise _NotPlain(text) from None
        if "${" in value or "%{" in value:
            raise _NotPlain(text)
        return str(value)
    if quoted:
        raise _NotPlain(text)
    return text
