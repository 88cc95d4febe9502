# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the output of a Consul check safe to show: bounded, printable, without credentials. Pure.

Anyone who may register a check writes its output, and Consul puts the URL of an HTTP check into it as it was configured.
"""

from __future__ import annotations

import re

MAX_LINE = 160  # characters of the first line
MAX_DETAIL = 300  # characters of the whole

# The user information of a URL ends at the last @ before its path. RFC 3986, 3.2.1.
_USERINFO = re.compile(r'(?<=://)[^\s/?#"<>]*@')


def first_line(output: str) -> str:
    """Return the first line that is not empty, "" if there is none."""
    lines = (line.strip() for line in _without_credentials(output).splitlines())
    return _shortened(_printable(next(filter(None, lines), "")), MAX_LINE)


def in_one_line(output: str) -> str:
    """Return the whole output in one line, shortened."""
    return _shortened(_printable(" ".join(_without_credentials(output).split())), MAX_DETAIL)


def _without_credentials(output: str) -> str:
    """Remove user names and passwords from URLs. This comes before any shortening, which could leave half a password."""
    return _USERINFO.sub("…@", output) if "://" in output else output


def _printable(text: str) -> str:
    """Escape control characters, and those that change the direction of what follows."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
