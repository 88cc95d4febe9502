# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of the modules as lines for people. Pure. A result can be a part of one: that of a request which failed."""

from __future__ import annotations

import typing as t

from .._consul.units import columns, count_of, human_age, human_bytes

Result = t.Mapping[str, t.Any]
DIGEST = 16  # characters of a digest that people compare


def saved(result: Result) -> list[str]:
    """Return what was saved, or why nothing was."""
    found = result.get("snapshot")
    verb = "saved" if "seconds" in result else ("would save" if result["changed"] else "not saved")
    lines = [f"{verb}: {result['reason']}"]
    if found:
        size, digest = human_bytes(int(found["size"])), str(found["digest"])[:DIGEST]
        lines += columns(
            [
                ("file", result["path"]),
                ("datacenter", str(found.get("datacenter"))),
                ("index", str(found.get("index"))),
                ("size", size),
                ("digest", digest),
            ]
        )
    return lines


def snapshot_list(result: Result) -> list[str]:
    """Return the snapshots of a directory, a line each."""
    rows = [
        (
            found["time"],
            human_age(found["age_seconds"]),
            str(found["datacenter"]),
            str(found["index"]),
            human_bytes(found["size"]),
            _state(found),
            found["path"],
        )
        for found in result["snapshots"]
    ]
    header = ("TIME", "AGE", "DATACENTER", "INDEX", "SIZE", "STATE", "FILE")
    return columns([header, *rows]) if rows else ["no snapshots"]


def _state(found: Result) -> str:
    if found["problem"]:
        return f"BROKEN: {found['problem']}"
    return "verified" if found["intact"] else "not read"


def inspected(result: Result) -> list[str]:
    """Return what a snapshot holds."""
    found = result["snapshot"]
    name_values = [
        ("file", found["path"]),
        ("datacenter", str(found["datacenter"])),
        ("consul", found["consul_version"] or "unknown"),
        ("index", str(found["index"])),
        ("records", f"{found['records']:,}"),
        ("digest", found["digest"]),
        ("state", found["problem"] or ("as its manifest says" if found["manifest"] else "whole, without a manifest")),
    ]
    rows = [(table["name"], f"{table['count']:,}", human_bytes(table["bytes"])) for table in found["tables"]]
    lines = [*columns(name_values), "", *columns([("TABLE", "RECORDS", "BYTES"), *rows])]
    if result.get("kv"):
        prefixes = [(row["prefix"], f"{row['keys']:,}", human_bytes(row["bytes"])) for row in result["kv"]]
        lines += ["", *columns([("PREFIX", "KEYS", "BYTES"), *prefixes])]
    if result.get("key"):
        lines += ["", *columns([(name, str(value)) for name, value in result["key"].items()])]
    elif "key" in result:
        lines += ["", "the snapshot does not have that key"]
    return lines


def compared(result: Result) -> list[str]:
    """Return how two states differ: + came, - is gone, ~ changed."""
    found = result["comparison"]
    if found["equal"]:
        return ["equal: the same records, the same digest"]
    signs = {"added": "+", "removed": "-", "changed": "~"}
    lines = [f"{signs[row['change']]} {row['table']} {row['name']}" for row in found["differences"]]
    if found["omitted"]:
        lines.append(f"and {count_of(found['omitted'], 'difference')} more: --limit shows them")
    return lines


def restored(result: Result) -> list[str]:
    """Return what a restore did, would do, or why it does nothing."""
    lines = [f"{result['action']}: {result['reason']}"]
    for row in result.get("prefixes", ()):
        counts = ", ".join(f"{row[name]} {name}" for name in ("created", "updated", "deleted", "unchanged", "kept"))
        lines.append(f"  {row['prefix']}: {counts}")
    lines += _loss(result.get("loss"))
    if "verified" in result:
        lines.append("verified: the state is the snapshot's" if result["verified"] else "NOT as the snapshot holds it")
    if "safety" in result:
        lines.append(f"the state before is in {result['safety']}")
    return lines


def _loss(loss: Result | None) -> list[str]:
    if not loss or not loss["tables"]:
        return []
    names = ("lost", "rolled_back", "brought_back")
    rows = [(row["table"], *(f"{row[name]:,}" for name in names)) for row in loss["tables"]]
    rows += [(f"key {row['prefix']}", *(f"{row[name]:,}" for name in names)) for row in loss["kv"]]
    lines = columns([("WHAT", "LOST", "ROLLED BACK", "BROUGHT BACK"), *rows])
    lines += [f"  {row['change']}: {row['table']} {row['name']}" for row in loss["records"]]
    return lines + ([f"  and {loss['omitted']:,} more"] if loss["omitted"] else [])


def replicated(result: Result) -> list[str]:
    """Return what was copied, or would be."""
    names = ("created", "updated", "deleted", "unchanged", "kept", "skipped_locked")
    rows = [
        (f"{row['source']} -> {row['destination']}", *(f"{row[name]:,}" for name in names))
        for row in result["prefixes"]
    ]
    header = ("PREFIX", *(name.upper().replace("_", " ") for name in names))
    lines = [f"{result['source_datacenter']} -> {result['destination_datacenter']}", *columns([header, *rows])]
    for row in result["prefixes"]:
        for what in ("conflicts", "unwritable", "deferred_deletes"):
            lines += [f"  {what.replace('_', ' ')}: {item['key']}: {item['reason']}" for item in row[what]]
    return lines


def judged(result: Result) -> list[str]:
    """Return what is wrong, as a table."""
    return [*result["table"], f"verdict: {result['verdict']}"]


def name_values(result: Result) -> list[str]:
    """Return names and values, one a line."""
    return columns([(name, str(value)) for name, value in result.items()])
