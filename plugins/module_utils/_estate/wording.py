# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The words for what is known of a datacenter, which its text and its page share. They take the result of consul_estate_info. Pure."""

from __future__ import annotations

import typing as t

from .._consul.units import count_of, human_age

Data = t.Mapping[str, t.Any]
NOT_KNOWN = "not known"
TONES = ("bad", "unknown", "doubt", "", "good")
MOST_LINES = 20  # of one section
MOST_NAMED = 5  # of what can be many: alerts, silences, servers

# The sections of a datacenter in their order, with their headings.
SECTIONS = {
    "servers": "servers",
    "alerts": "alerts",
    "replications": "keys",
    "snapshots": "snapshots",
    "drills": "drills",
    "expiries": "runs out",
    "upgrade": "upgrade",
}


def verdict_word(one: Data) -> str:
    """Return the verdict of a datacenter; one that did not answer is unknown, whatever follows from that."""
    return str(one["verdict"]) if one["answered"] else "unknown"


def summary(one: Data) -> str:
    """Return servers, leader, versions and tolerance of a datacenter in one sentence."""
    if not one["answered"]:
        return f"it did not answer, so nothing is known of it ({_reason(one, 'servers')})"
    servers, parts = one["servers"], []
    if servers is None:
        parts.append(f"its servers are {NOT_KNOWN}")
    else:
        alive = sum(server["alive"] for server in servers)
        parts.append(
            f"{alive} of {count_of(len(servers), 'server')} alive"
            if alive < len(servers)
            else count_of(alive, "server")
        )
    parts.append(_leader(one["leader"]))
    if one["versions"]:
        parts.append(f"Consul {', '.join(one['versions'])}")
    return f"{', '.join(parts)}; {tolerance(one)}"


def _leader(leader: Data | None) -> str:
    if leader is None:
        return f"its leader is {NOT_KNOWN}"
    if not leader["exists"]:
        return "NO LEADER"
    return f"leader {leader['name']}" if leader["name"] else "it has a leader, whose name the token may not read"


def tolerance(one: Data) -> str:
    """Return how many more servers may be lost."""
    more = one["tolerance"]
    if more is None:
        return f"how many more servers may be lost is {NOT_KNOWN}"
    if more < 0:
        return "quorum is lost"
    if more == 0:
        return "no more server may be lost"
    return "one more server may be lost" if more == 1 else f"{more} more servers may be lost"


def section_lines(one: Data, section: str) -> list[tuple[str, str]]:
    """Return the lines of a section: a tone (``good``, ``bad``, ``doubt``, ``unknown`` or "") and a sentence.

    There is none at all for a section without news.
    """
    if section != "upgrade" and one[section] is None:
        return [("unknown", f"{NOT_KNOWN}: {_reason(one, section)}")]
    lines = _LINES[section](one)
    if len(lines) > MOST_LINES:  # what is bad stays
        lines = sorted(lines, key=lambda line: TONES.index(line[0]))
    return lines[:MOST_LINES] + _more(len(lines), "line", MOST_LINES)


def _reason(one: Data, section: str) -> str:
    return str(one["not_known"].get(section, "")).rstrip(".") or "it was not asked"


def _servers(one: Data) -> list[tuple[str, str]]:
    dead = [server["name"] for server in one["servers"] if not server["alive"]]
    return [("bad", f"not alive: {_some(dead)}")] if dead else []


def _alerts(one: Data) -> list[tuple[str, str]]:
    alerts, lines = one["alerts"], []
    if not alerts["agents"]:
        return [("", "no alerting agent has written here")]
    stopped = [agent["name"] for agent in alerts["agents"] if agent["active"] is False]
    if stopped:
        lines.append(("unknown", f"no instance of {_some(stopped)} is active, so this may have changed"))
    for alert in alerts["firing"][:MOST_NAMED]:
        where = alert["place"] or alert["datacenter"]
        who = ", ".join(alert["receivers"])
        lines.append(
            (
                "bad" if alert["severity"] == "critical" else "doubt",
                f"{alert['severity']} for {human_age(alert['age_s'])}: {alert['summary']} ({where}; told: {who})",
            )
        )
    lines += _more(len(alerts["firing"]), "alert")
    lines += [] if alerts["firing"] else [("", "nobody was told of an alert that still fires")]
    for silence in alerts["silences"][:MOST_NAMED]:
        lines.append(
            (
                "doubt",
                f"silenced for {human_age(silence['left_s'])} more by {silence['author']}: {match_words(silence['match'])} "
                f"({silence['reason']})",
            )
        )
    return lines + _more(len(alerts["silences"]), "silence")


def match_words(match: t.Any) -> str:
    """Return what a silence matches, in words."""
    entries = match if isinstance(match, list) else [match]
    words = [
        ", ".join(f"{name}={value}" for name, value in entry.items()) for entry in entries if isinstance(entry, dict)
    ]
    return " or ".join(words)


def _replications(one: Data) -> list[tuple[str, str]]:
    if not one["replications"]:
        return [("", "nothing is replicated into this datacenter")]
    return [_replication(row) for row in one["replications"]]


def _replication(row: Data) -> tuple[str, str]:
    name = row["name"]
    frozen = ", FROZEN" if row["frozen"] else ""
    if row["published"] is None:
        return ("unknown", f"{name}: no agent follows it, so nothing is known of it{frozen}")
    parts = [f"{row['lag_s']:.1f} s behind" if row["lag_s"] < 60 else f"{human_age(row['lag_s'])} behind"]
    keys = row["keys"]  # both sides as they were before the last comparison wrote what was missing
    is_equal = row["equal"] is True
    parts.append(count_of(keys["source"], "key") if is_equal else f"{keys['destination']:,} of {keys['source']:,} keys")
    problems = [
        (row["paused_deletes"], "deletion", "paused"),
        (row["conflicts"], "key", "in conflict"),
        (row["unwritable"], "key", "that cannot be written"),
    ]
    found = [f"{count_of(count, thing)} {what}" for count, thing, what in problems if count]
    tone = "bad" if found else "doubt" if frozen or row["lag_s"] >= 60 or row["equal"] is False else "good"
    verified = {True: "verified as equal", False: "NOT equal", None: "not verified as equal"}[row["equal"]]
    parts += [*found, f"{verified} at {row['verified']}"]
    return (tone, f"{name}: {', '.join(parts)}; published {human_age(row['published_age_s'])} ago{frozen}")


def _snapshots(one: Data) -> list[tuple[str, str]]:
    lines = []
    for row in one["snapshots"]:
        lines.append(("bad" if row["late"] else "good", _policy(row)))
        for at in row["destinations"]:
            tone = "bad" if at["problem"] or at["late"] else "good"
            waiting = f", {count_of(at['waiting'], 'snapshot')} waiting" if at["waiting"] else ""
            problem = f": {at['problem']}" if at["problem"] else ""
            lines.append((tone, f"in {at['name']}: {_age(at, 'newest')}, {at['snapshots']:,} in all{waiting}{problem}"))
        if row["rehearsal"] is not None:
            lines.append(_rehearsal(row["rehearsal"]))
    file = one["snapshot_file"]
    if file is not None:
        problem = f": {file['problem']}" if file["problem"] else ", intact"
        lines.append(("bad" if file["problem"] else "good", f"{file['path']}: {_age(file, 'taken')}{problem}"))
    return lines or [("", "no snapshot agent has published a policy")]


def _policy(row: Data) -> str:
    node = f" on {row['node']}" if row["node"] else ""
    return f"{row['policy']} ({row['agent']}{node}): {_age(row, 'newest verified')}, objective {human_age(row['objective_s'])}"


def _age(row: Data, what: str) -> str:
    return "none" if row["age_s"] is None else f"{what} {human_age(row['age_s'])} ago"


def _rehearsal(row: Data) -> tuple[str, str]:
    if row["at"] is None:
        return ("doubt", "never rehearsed")
    overdue = ", overdue" if row["overdue"] else ""
    if row["ok"]:
        return ("doubt" if overdue else "good", f"rehearsed {human_age(row['age_s'])} ago: it restores{overdue}")
    return ("bad", f"rehearsed {human_age(row['age_s'])} ago: FAILED: {row['error']}{overdue}")


def _drills(one: Data) -> list[tuple[str, str]]:
    return [_drill(row) for row in one["drills"]] or [("", "no drill has published its outcome")]


def _drill(row: Data) -> tuple[str, str]:
    at_least = "" if row["recovered"] else "at least "
    rto = "no RTO was measured" if row["rto_s"] is None else f"RTO {at_least}{row['rto_s']:.2f} s"
    verdict = "passed" if row["passed"] else f"NOT AS EXPECTED: {' '.join(row['reasons'])}".rstrip(".")
    return ("good" if row["passed"] else "bad", f"{row['drill']} {human_age(row['age_s'])} ago: {verdict}; {rto}")


def _expiries(one: Data) -> list[tuple[str, str]]:
    return [
        ("bad", f"{row['what']} expired {human_age(-row['left_s'])} ago")
        if row["left_s"] <= 0
        else ("", f"{row['what']} in {human_age(row['left_s'])}")
        for row in one["expiries"]
    ]


def _upgrade(one: Data) -> list[tuple[str, str]]:
    upgrade = one["upgrade"]
    if upgrade["left_out"]:
        return [("", f"not checked: {upgrade['left_out']}")]
    lines = []
    for check in upgrade["checks"]:
        if check["loads"]:
            lines.append(("good", f"Consul {check['version']} would load it ({upgrade['snapshot']})"))
        else:
            lines.append(
                ("bad", f"Consul {check['version']} would NOT load it: {'; '.join(check['reasons'][:MOST_NAMED])}")
            )
    return lines


def _some(names: t.Sequence[str]) -> str:
    return ", ".join([*names[:MOST_NAMED], *(["…"] if len(names) > MOST_NAMED else [])])


def _more(count: int, thing: str, most: int = MOST_NAMED) -> list[tuple[str, str]]:
    return [("", f"and {count_of(count - most, 'more ' + thing)}")] if count > most else []


_LINES: dict[str, t.Callable[[Data], list[tuple[str, str]]]] = {
    "servers": _servers,
    "alerts": _alerts,
    "replications": _replications,
    "snapshots": _snapshots,
    "drills": _drills,
    "expiries": _expiries,
    "upgrade": _upgrade,
}
