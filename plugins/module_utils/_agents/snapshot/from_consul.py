# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policies of a snapshot agent as it published them in Consul, for a command that cannot ask it."""

from __future__ import annotations

import time
import typing as t

from ..._consul import kv
from ..._consul.client import Client
from ..._consul.reserved_keys import SNAPSHOT_ROOT
from ..._consul.snapshot_status import StatusPlace, joined, parse_status, place_of
from ..._consul.units import timestamp


def policies_document(client: Client, agent: str) -> dict[str, t.Any]:
    """Return what the instances of an agent published, in the form of its endpoint: ``POLICY on NODE`` where every host has its own.

    What cannot be read is a problem of that policy. Raises a ConsulError.
    """
    folder = f"{SNAPSHOT_ROOT}{agent}/"
    kv.check_readable(client, folder)  # a denied list looks empty
    now = time.time()
    found: dict[str, t.Any] = {}
    unreadable = []
    for entry in kv.read_shard(client, folder).entries:
        place = place_of(entry.key)
        if place is None:
            continue
        try:
            found[_title(place)] = _document(entry.value, now)
        except ValueError:
            unreadable.append(entry.key)
    return {"as_of": timestamp(now), "policies": found, "unreadable": unreadable}


def _title(place: StatusPlace) -> str:
    return f"{place.policy} on {place.node}" if place.node else place.policy


def _document(value: bytes, now: float) -> dict[str, t.Any]:
    """Return the status that a value holds. Raises ValueError."""
    status = parse_status(value)
    what = [status.age_problem(now), joined(status.reasons())]
    return {
        **status.as_json(now),
        "problem": ": ".join(one for one in what if one),
        "published_at": timestamp(status.at),
        "published_age_s": round(max(0.0, now - status.at)),
    }
