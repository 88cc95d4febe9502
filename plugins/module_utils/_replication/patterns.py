# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which keys below a prefix take part: include and exclude patterns, with boundaries.

A pattern is a glob over the key's path below the prefix. ``*`` and ``?`` stay within one path element, ``**`` crosses them.
A pattern that names a folder takes all that is below it; ``5`` never means ``50``.
"""

from __future__ import annotations

import re
import typing as t

from .._consul.errors import InvalidOption

MAX_STARS = 3  # each more multiplies the time that a long name takes by its length


class Scope:
    """Tells for each key below a prefix whether it takes part."""

    def __init__(self, include: t.Sequence[str] = (), exclude: t.Sequence[str] = ()) -> None:
        self._include = _compiled(include)
        self._exclude = _compiled(exclude)
        self.holds_everything = self._include is None and self._exclude is None

    def holds(self, name: str) -> bool:
        """Tell whether a key takes part; ``name`` is its path below the prefix."""
        if self.holds_everything:
            return True
        if self.excludes(name):
            return False
        return self._include is None or bool(self._include(name))

    def excludes(self, name: str) -> bool:
        """Tell whether a key, or a folder with all that is below it, is excluded."""
        return self._exclude is not None and bool(self._exclude(name))


def check_patterns(patterns: t.Sequence[str], prefix: str, option: str) -> None:
    """Raise InvalidOption for patterns that cannot be meant: empty ones, and ones that repeat the prefix."""
    for pattern in patterns:
        if any(re.sub(r"\*\*+", "", element).count("*") > MAX_STARS for element in pattern.split("/")):
            raise InvalidOption(
                f"{option}: {pattern!r} has more than {MAX_STARS} stars between two slashes, which would take very long to match."
            )
        if not pattern.strip("/"):
            raise InvalidOption(f"{option}: {pattern!r} is no pattern; leave the list out to take every key.")
        if pattern.startswith("/"):
            raise InvalidOption(
                f"{option}: {pattern!r} begins with a slash, as no key does: write {pattern.lstrip('/')!r}."
            )
        if prefix and (pattern + "/").startswith(prefix):
            literal = f"[{pattern[0]}]{pattern[1:]}"
            raise InvalidOption(
                f"{option}: {pattern!r} repeats the prefix {prefix!r}, and patterns begin below it: write "
                f"{pattern[len(prefix) :] or '**'!r}, or {literal!r} for keys below {prefix}{pattern}."
            )


def _compiled(patterns: t.Sequence[str]) -> t.Callable[[str], t.Any] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{translate(pattern)})" for pattern in patterns), re.DOTALL).fullmatch


def translate(pattern: str) -> str:
    """Return the regular expression of a pattern, to be matched against the whole path below the prefix. Pure."""
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if pattern.startswith("**", position):
            position = _end_of_stars(pattern, position)
            whole = not parts or parts[-1].endswith("/")
            if whole and pattern.startswith("/", position):
                parts.append("(?:.*/)?")
                position += 1
            else:
                parts.append(".*")
            continue
        if character == "[":
            text, position = _class(pattern, position)
            parts.append(text)
            continue
        parts.append({"*": "[^/]*", "?": "[^/]"}.get(character) or re.escape(character))
        position += 1
    below = ".*" if pattern.endswith("/") else "(?:/.*)?"
    return "".join(parts) + below


def _end_of_stars(pattern: str, position: int) -> int:
    while position < len(pattern) and pattern[position] == "*":
        position += 1
    return position


def _class(pattern: str, start: int) -> tuple[str, int]:
    """Return the expression of ``[abc]``, ``[a-z]`` or ``[!a]`` and where it ends; a lone bracket is itself."""
    first = start + 1
    negated = pattern[first : first + 1] in ("!", "^")
    first += negated
    end = pattern.find("]", first + 1)
    if end == -1 or "/" in pattern[first:end]:
        return re.escape("["), start + 1
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", pattern[first:end])
    try:
        re.compile(f"[{members}]")
    except re.error:
        raise InvalidOption(
            f"The pattern {pattern!r} has a range that runs backwards in {pattern[start : end + 1]!r}."
        ) from None
    return f"(?!/)[{'^' if negated else ''}{members}]", end + 1
