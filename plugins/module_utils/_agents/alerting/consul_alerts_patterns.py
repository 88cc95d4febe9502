# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes matchers of the names and regular expressions of consul-alerts. Pure."""

from __future__ import annotations

import re
import warnings

_GLOB_CHARACTERS = set("*?[]")
# Go knows these and Python does not, or reads them otherwise.
_ONLY_IN_GO = re.compile(r"\\[pPQEC]|\\x\{|\[\[:|\[\^?\[:|\[:\^?[a-z]+:\]|\(\?[a-zA-Z]*U|\(\?<")


def exact(name: str) -> str:
    """Return a pattern that matches this name only."""
    if set(name) & _GLOB_CHARACTERS or name.startswith("re:"):
        return rf"re:\A{re.escape(name)}\Z"
    return name


def from_regexp(text: str) -> str | None:
    """Return the pattern of a regular expression of Go, None if Python would not read it in the same way.

    Source: https://github.com/google/re2/wiki/Syntax
    """
    if _ONLY_IN_GO.search(text):
        return None
    translated = re.sub(r"(?<!\\)((?:\\\\)*)\\z", r"\1\\Z", text)
    return None if compiled(translated) is None else f"re:{translated}"


def compiled(text: str) -> re.Pattern[str] | None:
    """Return a regular expression, None if it is none or one that Python warns about."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return re.compile(text)
        except (re.error, OverflowError, RecursionError, Warning):
            return None
