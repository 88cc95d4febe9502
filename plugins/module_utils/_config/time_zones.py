# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Time zones of the agents' options, from the host's own time zone data."""

from __future__ import annotations

import datetime
import zoneinfo

from .._consul.errors import InvalidOption


def time_zone(name: str, path: str) -> datetime.tzinfo:
    """Return a time zone by its name, such as ``Europe/Berlin``. Raises InvalidOption that begins with ``path``."""
    if name == "UTC":
        return datetime.timezone.utc
    if name == "Local":
        raise InvalidOption(f"{path}: name the time zone, for example Europe/Berlin: hosts may differ.")
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        if not zoneinfo.available_timezones():
            raise InvalidOption(
                f"{path}: the time zone {name!r} cannot be used because this host has no time zone data: install the package tzdata."
            ) from None
        raise InvalidOption(f"{path}: there is no time zone {name!r}; write for example Europe/Berlin.") from None
