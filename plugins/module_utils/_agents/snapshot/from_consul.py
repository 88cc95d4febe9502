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
from ..._consul.snapshot_waiting import parse_waiting, waiting_place_of
from ..._consul.units import timestamp


def policies_document(client: Client, agent: str) -> dict[str, t.Any]:
    """Return what the instances of an agent published, in the form of its endpoint: ``POLICY on NODE`` where hosts have their own.

    What cannot be read is a problem of that policy. Raises a ConsulError.
    """
    folder = f"{SNAPSHOT_ROOT}{agent}/"
    kv.check_readable(client, folder)  # a denied list looks empty
    now = time.time()
    found: dict[str, t.Any] = {}
    waiting: dict[str, t.Any] = {}
    unreadable = []
    for entry in kv.read_shard(client, folder).entries:
        place, held_at = place_of(entry.key), waiting_place_of(entry.key)
        try:
            if place is not None:
                found[_title(place)] = _document(entry.value, now)
            elif held_at is not None:
                waiting[f"{held_at.policy} on {held_at.node}"] = _waiting(entry.value, now)
        except ValueError:
            unreadable.append(entry.key)
    return {"as_of": timestamp(now), "policies": found, "waiting_on_standby": waiting, "unreadable": unreadable}


def _title(place: StatusPlace) -> str:
    return f"{place.policy} on {place.node}" if place.node else place.policy


def _document(value: bytes, now: float) -> dict[str, t.Any]:
    """Return the status that a value holds. Raises ValueError."""
    status = parse_status(value)
    what = [status.age_problem(now), joined(status.reasons())]
    return {
        **status.as_json(now),
        "problem": ": ".join(one for one in what if one),
        **_published(status.at, now),
    }


def _waiting(value: bytes, now: float) -> dict[str, t.Any]:
    """Return what a value says of snapshots that wait. Raises ValueError."""
    found = parse_waiting(value)
    return {**found.as_json(), **_published(found.at, now)}


def _published(at: float, now: float) -> dict[str, t.Any]:
    return {"published_at": timestamp(at), "published_age_s": round(max(0.0, now - at))}
