# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""consul-replicate's notation of what to replicate: SOURCE@DATACENTER:DESTINATION, and excludes that are the beginning of names. Pure."""

from __future__ import annotations

import re
import typing as t

_PREFIX = re.compile(r"(?P<source>[^@:]*)(?:@(?P<datacenter>[A-Za-z0-9_-]+))?(?::(?P<destination>.*))?", re.DOTALL)


class Notation(t.NamedTuple):
    """The parts of a prefix; ``datacenter`` and ``destination`` are None where they are left out."""

    source: str
    datacenter: str | None
    destination: str | None


def parse_notation(text: str) -> Notation | None:
    """Return the parts of a prefix, None if the text is not one."""
    found = _PREFIX.fullmatch(text)
    return None if found is None else Notation(*found.group("source", "datacenter", "destination"))


def concerns(exclude: str, source: str) -> bool:
    """Return whether an exclude leaves out anything below a prefix of the source."""
    return exclude.startswith(source) or source.startswith(exclude)


def exclude_pattern(exclude: str, source: str) -> str | None:
    """Return the pattern below ``source`` that leaves out the names at the source that begin with ``exclude``. None for no such name.

    One that begins above the prefix, or is the prefix, leaves out everything.
    """
    if not concerns(exclude, source):
        return None
    rest = re.sub(r"([*?\[])", r"[\1]", exclude[len(source) :])
    if not rest:
        return "**"
    return rest if rest.endswith("/") else f"{rest}*"
