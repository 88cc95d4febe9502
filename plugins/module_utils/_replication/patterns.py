# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Include and exclude patterns: which keys below a prefix take part.

A pattern is a glob over the key's path below the prefix. ``*`` and ``?`` match within one path element, ``**`` matches
across them. A pattern that names a folder matches everything below it; ``5`` does not match ``50``.
"""

from __future__ import annotations

import re
import typing as t

from .._consul.errors import InvalidOption

MAX_STARS = 3  # between two slashes: each further star multiplies the matching time by the length of the name


class Scope:
    """The include and exclude patterns of one prefix. Without any, every key takes part."""

    def __init__(self, include: t.Sequence[str] = (), exclude: t.Sequence[str] = ()) -> None:
        self._patterns = (tuple(include), tuple(exclude))
        self._include = _compiled(include)
        self._exclude = _compiled(exclude)
        self.matches_everything = self._include is None and self._exclude is None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scope) and self._patterns == other._patterns

    def __hash__(self) -> int:
        return hash(self._patterns)

    def matches(self, name: str) -> bool:
        """Return whether a key takes part. ``name`` is its path below the prefix."""
        if self.matches_everything:
            return True
        if self.excludes(name):
            return False
        return self._include is None or bool(self._include(name))

    def excludes(self, name: str) -> bool:
        """Return whether a key is excluded, or a folder with everything below it."""
        return self._exclude is not None and bool(self._exclude(name))


def check_patterns(patterns: t.Sequence[str], prefix: str, option: str) -> None:
    """Raise InvalidOption for patterns that would match nothing, repeat the prefix, or take too long to match.

    ``option`` is the name that messages begin with.
    """
    for pattern in patterns:
        # A star in brackets stands for itself.
        if any(re.sub(r"\*\*+|\[.[^\]]*\]", "", element).count("*") > MAX_STARS for element in pattern.split("/")):
            raise InvalidOption(
                f"{option}: {pattern!r} has more than {MAX_STARS} stars between two slashes, which would take too long to match."
            )
        if not pattern.strip("/"):
            raise InvalidOption(f"{option}: {pattern!r} is not a pattern. Leave the list out to copy every key.")
        if pattern.startswith("/"):
            raise InvalidOption(f"{option}: {pattern!r} begins with a slash: write {pattern.lstrip('/')!r}.")
        if prefix and (pattern + "/").startswith(prefix):
            literal = f"[{pattern[0]}]{pattern[1:]}"
            raise InvalidOption(
                f"{option}: {pattern!r} repeats the prefix {prefix!r}, but patterns begin below it: write "
                f"{pattern[len(prefix) :] or '**'!r}, or {literal!r} for keys below {prefix}{pattern}."
            )


def _compiled(patterns: t.Sequence[str]) -> t.Callable[[str], t.Any] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{translate(pattern)})" for pattern in patterns), re.DOTALL).fullmatch


def translate(pattern: str) -> str:
    """Return the regular expression of a pattern. It must match the whole path below the prefix. Pure."""
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if pattern.startswith("**", position):
            position = _end_of_stars(pattern, position)
            at_element_start = not parts or parts[-1].endswith("/")
            if at_element_start and pattern.startswith("/", position):
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
    """Return the expression of ``[abc]``, ``[a-z]`` or ``[!a]`` and where it ends. A lone bracket stands for itself."""
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
        raise InvalidOption(f"The pattern {pattern!r} has a reversed range in {pattern[start : end + 1]!r}.") from None
    return f"(?!/)[{'^' if negated else ''}{members}]", end + 1
