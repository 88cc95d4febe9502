# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders the sets of the replication agent, and what was reconciled, as text."""

from __future__ import annotations

import typing as t

from .rendering import columns

Data = t.Mapping[str, t.Any]


def sets(document: Data) -> list[str]:
    """Return the sets as a table, and below it what somebody has to look at."""
    if not document["sets"]:
        return ["no set is replicated by this instance" if document["source"] == "agent" else "no set is stored here"]
    header = ("SET", "STATE", "LAG", "KEYS", "LAST VERIFICATION")
    rows = [(name, one["state"], _lag(one), *_verified(one)) for name, one in sorted(document["sets"].items())]
    lines = columns([header, *rows])
    for name, one in sorted(document["sets"].items()):
        lines += [f"  {name}: {sentence}" for sentence in _sentences(one)]
    return lines


def reconciled(result: Data) -> list[str]:
    """Return what diverged and what was done or would be done."""
    new, old, counts = result["source_datacenter"], result["destination_datacenter"], result["counts"]
    kinds = list(result["prefixes"][0]["kinds"])
    header = ("PREFIX", *(kind.upper().replace("_", " ") for kind in kinds), "NEW WINS", "OLD WINS", "REPORTED")
    rows = [
        (
            row["source"],
            *(f"{row['kinds'][kind]:,}" for kind in kinds),
            *(f"{row['wins'][side]:,}" for side in ("new", "old", "report")),
        )
        for row in result["prefixes"]
    ]
    lines = [f"new side {new}, old side {old}, replication {result['name']}", *columns([header, *rows])]
    for row in result["prefixes"]:
        done = (
            (row["written_at_source"], "written", new),
            (row["deleted_at_source"], "deleted", new),
            (row["written_at_destination"], "written", old),
            (row["deleted_at_destination"], "deleted", old),
        )
        lines += [f"  {row['source']}: {count:,} {what} in {where}" for count, what, where in done if count]
    lines += [f"  {one['kind']}: {one['key']}: {one['wins']}" for one in result["keys"]]
    if counts["diverged"] > len(result["keys"]):
        lines.append(f"  … and {counts['diverged'] - len(result['keys']):,} more keys")
    lines += [f"  not reconciled: {one['key']}: {one['reason']}" for one in result["not_reconciled"]]
    if counts["not_copied"]:
        lines.append(f"  not copied by the replication yet: {counts['not_copied']:,} keys")
    if result["export"]:
        lines.append(f"  values of {result['export']['keys']:,} keys: {result['export']['path']}")
    return lines


def _lag(one: Data) -> str:
    return "-" if one.get("lag_s") is None else f"{one['lag_s']:.3f} s"


def _verified(one: Data) -> tuple[str, str]:
    found = one.get("verification")
    if not found:
        return "-", "-"
    equal = "equal" if found["equal"] else "not equal" if found["equal"] is False else "equal but for conflicts"
    return f"{found['source_keys']:,}", f"{found['at']}, {equal}"


def _sentences(one: Data) -> t.Iterator[str]:
    if one.get("frozen"):
        yield f"frozen by {one['frozen']}"
    if one.get("problem"):
        yield one["problem"]
    if one.get("behind_since"):
        yield f"behind since {one['behind_since']}"
    if one.get("published_at"):
        yield f"published at {one['published_at']}{'' if one['holder'] else ', and no agent holds its lease now'}"
    paused = one.get("paused_deletes") or {}
    if paused.get("digest"):
        yield f"paused deletions of the plan {paused['digest']}"
    for field in ("conflicts", "unwritable"):
        found = one.get(field) or {}
        if found.get("count") and "keys" not in found:  # Consul has the number only
            yield f"{field}: {found['count']:,}"
        for item in found.get("keys", ()):
            yield f"{field}: {item['key']}: {item['reason']}"
