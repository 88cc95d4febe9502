# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders results of the modules as lines of text. After a failure a result holds only what was known by then."""

from __future__ import annotations

import typing as t

from .._consul.units import columns, count_of, human_age, human_bytes

Result = t.Mapping[str, t.Any]
SHOWN_DIGEST_CHARACTERS = 16


def saved(result: Result) -> list[str]:
    """Return what was saved, or why nothing was saved."""
    snapshot = result.get("snapshot")
    verb = "saved" if "seconds" in result else ("would save" if result["changed"] else "not saved")
    lines = [f"{verb}: {result['reason']}"]
    if snapshot:
        size, digest = human_bytes(int(snapshot["size"])), str(snapshot["digest"])[:SHOWN_DIGEST_CHARACTERS]
        lines += columns(
            [
                ("file", result["path"]),
                ("datacenter", str(snapshot.get("datacenter"))),
                ("index", str(snapshot.get("index"))),
                ("size", size),
                ("digest", digest),
            ]
        )
    return lines


def salvaged(result: Result) -> list[str]:
    """Return what was salvaged, and up to where it reaches."""
    snapshot, source = result["snapshot"], result["raft_snapshot"]
    return [
        f"salvaged: the state of {source['time']}, up to index {source['index']}; later entries of the server's log are not in it",
        *columns(
            [
                ("file", result["path"]),
                ("from", source["path"]),
                ("datacenter", str(snapshot["datacenter"])),
                ("size", human_bytes(int(snapshot["size"]))),
                ("digest", str(snapshot["digest"])[:SHOWN_DIGEST_CHARACTERS]),
            ]
        ),
    ]


def snapshot_list(result: Result) -> list[str]:
    """Return a table of the snapshots in a directory."""
    rows = [
        (
            entry["time"],
            human_age(entry["age_seconds"]),
            str(entry["datacenter"]),
            str(entry["index"]),
            human_bytes(entry["size"]),
            _state(entry),
            entry["path"],
        )
        for entry in result["snapshots"]
    ]
    header = ("TIME", "AGE", "DATACENTER", "INDEX", "SIZE", "STATE", "FILE")
    return columns([header, *rows]) if rows else ["no snapshots"]


def verified(result: Result) -> list[str]:
    """Return one line for each snapshot: whether it is what its manifest says, and what is wrong."""
    rows = []
    for one in result["snapshots"]:
        text = {"verified": "decoded, as its manifest says", "intact": "encrypted, and nothing to open it is given"}
        why = "; ".join([one["problem"] or text[one["state"]], *one["remarks"]])
        took = f"{one['seconds']:.1f} s"
        size = human_bytes(one["size"])
        rows.append((one["time"], one["datacenter"] or "-", size, took, one["state"], one["path"], why))
    return columns([("TIME", "DATACENTER", "SIZE", "TOOK", "STATE", "FILE", "WHY"), *rows])


def store_tested(result: Result) -> list[str]:
    """Return which rights a store grants, and whether it refuses to overwrite."""
    refuses = {True: "refused by the store itself", False: "NOT refused by the store", None: "not tested"}
    return columns(
        [("store", result["path"]), *result["rights"].items(), ("overwrite", refuses[result["refuses_to_overwrite"]])]
    )


def pruned(result: Result, *, dry_run: bool) -> list[str]:
    """Return what stays of a store, with the reasons, and what goes, newest first."""
    rows = [(one, "keep", ", ".join(one["reasons"])) for one in result["kept"]]
    rows += [(one, "would go" if dry_run else "deleted", "") for one in result["deleted"]]
    rows.sort(key=lambda row: (row[0]["time"], row[0]["name"]), reverse=True)
    header = ("TIME", "DATACENTER", "SNAPSHOT", "", "WHY")
    lines = [(one["time"], one["datacenter"] or "-", one["name"], verdict, reasons) for one, verdict, reasons in rows]
    going = f"{count_of(len(result['deleted']), 'snapshot')} {'would go' if dry_run else 'deleted'}"
    return [*(columns([header, *lines]) if lines else []), f"{going}, {len(result['kept'])} kept"]


def _state(entry: Result) -> str:
    if entry["problem"]:
        return f"BROKEN: {entry['problem']}"
    return "verified" if entry["intact"] else "not read"


def inspected(result: Result) -> list[str]:
    """Return the contents of a snapshot."""
    snapshot = result["snapshot"]
    name_values = [
        ("file", snapshot["path"]),
        ("datacenter", str(snapshot["datacenter"])),
        ("consul", snapshot["consul_version"] or "unknown"),
        ("index", str(snapshot["index"])),
        ("records", f"{snapshot['records']:,}"),
        ("digest", snapshot["digest"]),
        *([("taken", result["raft_snapshot"]["time"])] if "raft_snapshot" in result else []),
        ("state", snapshot["problem"] or ("matches its manifest" if snapshot["manifest"] else "intact, no manifest")),
    ]
    rows = [(table["name"], f"{table['count']:,}", human_bytes(table["bytes"])) for table in snapshot["tables"]]
    lines = [*columns(name_values), "", *columns([("TABLE", "RECORDS", "BYTES"), *rows])]
    if result.get("kv"):
        prefixes = [(row["prefix"], f"{row['keys']:,}", human_bytes(row["bytes"])) for row in result["kv"]]
        lines += ["", *columns([("PREFIX", "KEYS", "BYTES"), *prefixes])]
    if result.get("key"):
        lines += ["", *columns([(name, str(value)) for name, value in result["key"].items()])]
    elif "key" in result:
        lines += ["", "the key is not in the snapshot"]
    for check in result.get("restorable_in", ()):
        lines += [
            "",
            f"Consul {check['version']} would {'load it' if check['restorable'] else 'NOT load it as it is:'}",
        ]
        for reason in check["reasons"]:
            lines.append(f"  {reason['reason']}")
            lines += [f"    record {record['number']}  {record['name']}" for record in reason["records"][1:]]
            if reason["omitted"]:
                lines.append(f"    and {count_of(reason['omitted'], 'record')} more (raise --limit to list them)")
    return lines


def compared(result: Result) -> list[str]:
    """Return the differences of two states: + added, - removed, ~ changed."""
    comparison = result["comparison"]
    migrated = sum(table["migrated"] for table in comparison["tables"] if table["durable"])
    if comparison["equal"] and not migrated:
        return ["equal: the same records, the same digest"]
    of_version = f"{count_of(migrated, 'record')} in the form of another version of Consul, with the same meaning"
    if comparison["equal"]:
        return [f"equal: {of_version}"]
    signs = {"added": "+", "removed": "-", "changed": "~"}
    lines = [f"{signs[row['change']]} {row['table']} {row['name']}" for row in comparison["differences"]]
    if comparison["omitted"]:
        lines.append(f"and {count_of(comparison['omitted'], 'difference')} more (raise --limit to list them)")
    return [*lines, of_version] if migrated else lines


def restored(result: Result) -> list[str]:
    """Return what a restore did or would do, or why it does nothing."""
    lines = [f"{result['action']}: {result['reason']}"]
    for row in result.get("prefixes", ()):
        counts = ", ".join(f"{row[name]} {name}" for name in ("created", "updated", "deleted", "unchanged", "kept"))
        lines.append(f"  {row['prefix']}: {counts}")
    lines += _loss(result.get("loss"))
    if "verified" in result:
        lines.append(
            "verified: the state equals the snapshot"
            if result["verified"]
            else "NOT VERIFIED: the state differs from the snapshot"
        )
        migrated = sum(result["migrated"].values())
        if migrated:
            lines.append(f"{count_of(migrated, 'record')} in the form of the servers' version, with the same meaning")
    if "safety" in result:
        lines.append(f"safety snapshot: {result['safety']}")
    if "undo" in result:
        lines.append(f"undo file: {result['undo']} (restore it with the same prefixes to go back)")
    return lines


def rehearsed(result: Result) -> list[str]:
    """Return the tables of a rehearsal and its verdict, or what would be rehearsed."""
    if result["would_rehearse"]:
        return [f"would rehearse: {result['path']} in {result['consul']['binary']}"]
    consul, seconds = result["consul"], result["seconds"]
    rows = [
        (row["table"], *(f"{row[name]:,}" for name in ("expected", "restored", "differing")))
        for row in result["tables"]
        if row["durable"]
    ]
    lines = columns([("TABLE", "EXPECTED", "RESTORED", "DIFFERING"), *rows])
    lines += [f"  {row['change']}: {row['table']} {row['name']}" for row in result["wrong"]]
    lines += [f"  and {result['omitted']:,} more"] if result["omitted"] else []
    verdict = "restores" if result["verified"] else "DOES NOT RESTORE"
    lines.append(
        f"{verdict}: {result['path']}, in {seconds['restore']:.1f} s by Consul {consul['version']} "
        f"with {human_bytes(consul['peak_bytes'])} of memory; the rehearsal took {sum(seconds.values()):.1f} s"
    )
    return lines


def _loss(loss: Result | None) -> list[str]:
    if not loss or not loss["tables"]:
        return []
    names = ("lost", "rolled_back", "brought_back")
    rows = [(row["table"], *(f"{row[name]:,}" for name in names)) for row in loss["tables"]]
    rows += [(f"key {row['prefix']}", *(f"{row[name]:,}" for name in names)) for row in loss["kv"]]
    lines = columns([("TABLE OR KEY PREFIX", "LOST", "ROLLED BACK", "BROUGHT BACK"), *rows])
    lines += [f"  {row['change']}: {row['table']} {row['name']}" for row in loss["records"]]
    return lines + ([f"  and {loss['omitted']:,} more"] if loss["omitted"] else [])


def replicated(result: Result) -> list[str]:
    """Return what was replicated or would be replicated."""
    names = ("created", "updated", "deleted", "unchanged", "kept", "skipped_locked")
    rows = [
        (f"{row['source']} -> {row['destination']}", *(f"{row[name]:,}" for name in names))
        for row in result["prefixes"]
    ]
    header = ("PREFIX", *(name.upper().replace("_", " ") for name in names))
    lines = [f"{result['source_datacenter']} -> {result['destination_datacenter']}", *columns([header, *rows])]
    for row in result["prefixes"]:
        for field in ("conflicts", "unwritable", "deferred_deletes"):
            lines += [f"  {field.replace('_', ' ')}: {item['key']}: {item['reason']}" for item in row[field]]
    return lines


def checked(result: Result) -> list[str]:
    """Return the findings as a table, and the verdict."""
    return [*result["table"], f"verdict: {result['verdict']}"]


def name_values(result: Result) -> list[str]:
    """Return names and values, one pair per line."""
    return columns([(name, str(value)) for name, value in result.items()])
