# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the policies of the snapshot agent as text."""

from __future__ import annotations

import typing as t

from .._consul.units import columns, human_age, human_bytes

Data = t.Mapping[str, t.Any]

SILENT_AFTER_S = 180  # an agent publishes at least every minute


def taken(result: Data) -> list[str]:
    """Return what was taken by hand, and where it is."""
    lines = []
    for name, one in sorted(result["policies"].items()):
        lines.append(f"{name}: {one['name']}, {human_bytes(one['snapshot']['size'])}")
        lines += [f"  {place}: {problem or 'stored'}" for place, problem in sorted(one["destinations"].items())]
    return lines


def policies(document: Data) -> list[str]:
    """Return the policies as a table, their destinations as another, and what somebody has to look at."""
    waiting = _waiting(document)
    if not document["policies"]:
        is_published = document.get("source") == "consul"
        return [
            "no instance has published a policy"
            if is_published
            else "this instance works for no policy: another may hold the leases",
            *waiting,
        ]
    rows, places, problems = [], [], []
    for name, one in sorted(document["policies"].items()):
        newest = one["newest"]
        age = "none" if newest is None else f"{human_age(newest['age_s'])} ago"
        size = "-" if newest is None else human_bytes(newest["bytes"])
        state = "critical" if one["critical"] else "warning" if one["problem"] else "ok"
        rows.append((name, state, age, human_age(one["objective_s"]), size, one["next_at"]))
        problems += [f"{name}: {one['problem']}"] if one["problem"] else []
        problems += _silence(name, one)
        for place, found in sorted(one["destinations"].items()):
            held = f"{found['snapshots']:,}, {human_bytes(found['bytes'])}"
            problems += [f"{name}, {place}: {found['damage']}"] if found.get("damage") else []
            places.append((name, place, held, found["newest"] or "-", str(found["waiting"]), found["place"]))
    return [
        *columns([("POLICY", "STATE", "NEWEST", "OBJECTIVE", "SIZE", "NEXT"), *rows]),
        *columns([("POLICY", "DESTINATION", "SNAPSHOTS", "NEWEST", "WAITING", "PLACE"), *places]),
        *problems,
        *waiting,
    ]


def _waiting(document: Data) -> list[str]:
    """Return what waits on instances that do not hold the lease of the policy."""
    lines = []
    # An agent of another version may show none.
    for name, one in sorted(document.get("waiting_on_standby", {}).items()):
        places = ", ".join(f"{place} ({found['waiting']})" for place, found in sorted(one["destinations"].items()))
        lines.append(f"{name}: {one['snapshots']} waiting without the lease, since {one['since']}, for {places}")
        lines += [
            f"{name}, {place}: {found['problem']}"
            for place, found in sorted(one["destinations"].items())
            if found["problem"]
        ]
        lines += _silence(name, one)
    return lines


def _silence(name: str, one: Data) -> list[str]:
    age_s = one.get("published_age_s", 0)
    return [f"{name}: published {human_age(age_s)} ago, nothing since"] if age_s >= SILENT_AFTER_S else []
