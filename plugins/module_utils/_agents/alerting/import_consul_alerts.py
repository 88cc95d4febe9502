# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes our configuration of the keys of consul-alerts, and notes about what has no equal or changes its meaning. Pure.

Every key is translated or noted. Secrets are not in the configuration: it names files, whose contents come back beside it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._config.durations import seconds_text
from ..._config.import_notes import CHANGED, NO_EQUAL, PROBLEM, Note, Notes
from ..._config.imported_values import Value, Values, is_clean
from .consul_alerts_patterns import exact, from_regexp
from .consul_alerts_reporting import Options, Reporting, statuses

SERF_CHECK = "serfHealth"
DEFAULT_THRESHOLD_S = 60
ENDPOINT = {"address": "127.0.0.1", "port": 9000}  # as consul-alerts
END_OF_SILENCES = "2099-12-31T00:00:00Z"
STATE = ("checks/", "reminders/", "leader")
THRESHOLD = "/change-threshold"
_BY_NAME = (
    "services match by name here, consul-alerts took the ID: if they differ, write the name, or a pattern for it."
)


@dataclass(frozen=True)
class Imported:
    """A configuration, the secrets for its files by their names (None: not usable), notes, and the keys that were translated."""

    configuration: dict[str, t.Any]
    secrets: dict[str, str | None]
    notes: tuple[Note, ...]
    translated: frozenset[str]


def import_tree(tree: t.Mapping[str, bytes], secrets_directory: str, prefix: str = "consul-alerts") -> Imported:
    """Return the configuration for the keys below ``prefix``. Secrets are in files of ``secrets_directory``."""
    notes = Notes("consul-alerts")
    config = _config_of(tree, prefix.strip("/"), notes)
    reporting = Reporting(config, secrets_directory, notes)
    options = {**_times_and_rules(config, notes), **reporting.options()}
    _note_events(config, notes)
    _note_the_rest(config, notes)
    configuration = {"agent": "alerting", "endpoint": dict(ENDPOINT), "options": options}
    return Imported(configuration, reporting.secrets, notes.all, frozenset(notes.translated))


# ---------------------------------------------------------------------------------------------------------------
# Keys


def _config_of(tree: t.Mapping[str, bytes], prefix: str, notes: Notes) -> dict[str, Value]:
    """Return the texts of the keys below ``config/`` by their names without it, and note all other keys."""
    found: dict[str, Value] = {}
    others: dict[tuple[str, str], list[str]] = {}
    for key, data in sorted(tree.items()):
        path = key[len(prefix) + 1 :]
        if key.endswith("/") and not data.strip():
            others.setdefault((NO_EQUAL, "it is an empty folder."), []).append(key)
        elif path == STATE[-1] or path.startswith(STATE[:-1]):
            sentence = "it is state of consul-alerts and not needed: our agent evaluates everything when it starts."
            others.setdefault((NO_EQUAL, sentence), []).append(key)
        elif not path.startswith("config/"):
            others.setdefault((PROBLEM, "consul-alerts has no such key, so it is not taken over."), []).append(key)
        elif (text := _decoded(data)) is None or not is_clean(key):
            others.setdefault(
                (PROBLEM, "it is not text in UTF-8 without null characters, so it is left out."), []
            ).append(key)
        else:
            found[path[len("config/") :]] = Value(key, text)
    for (kind, sentence), keys in others.items():
        notes.add(kind, keys, sentence)
    return found


def _decoded(data: bytes) -> str | None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if is_clean(text) else None


def _note_the_rest(config: t.Mapping[str, Value], notes: Notes) -> None:
    noted = {key for note in notes.all for key in note.keys}
    rest = [value.key for value in config.values() if value.key not in notes.translated and value.key not in noted]
    notes.add(PROBLEM, rest, "consul-alerts has no such key, so it is not taken over.")


def _note_events(config: t.Mapping[str, Value], notes: Notes) -> None:
    keys = [config[path].key for path in ("events/handlers", "events/enabled") if path in config]
    sentence = "write an entry of events for each name of an event, with the program in command; here each event runs it once, on one host."
    notes.add(NO_EQUAL, keys, sentence)


# ---------------------------------------------------------------------------------------------------------------
# Thresholds and blacklists


def _times_and_rules(config: t.Mapping[str, Value], notes: Notes) -> Options:
    values = Values(
        "checks", {path[len("checks/") :]: value for path, value in config.items() if path.startswith("checks/")}, notes
    )
    threshold = seconds_text(values.number("change-threshold", DEFAULT_THRESHOLD_S))
    sentence = (
        "it is for and recover_for, to the second: consul-alerts waited 10 seconds and more, and never told with 0."
    )
    values.note(CHANGED, ["change-threshold"], sentence)
    options: Options = {"for": threshold, "recover_for": threshold}
    enabled = values.flag("enabled", True)
    rules = _threshold_rules(values)
    if not enabled:
        values.note(CHANGED, ["enabled"], "check_status and node_down are off; the rules for the cluster stay on.")
        rules = [{"rule": rule, "enabled": False} for rule in ("check_status", "node_down")]
    if rules:
        options["rules"] = rules
    ignored, silenced = _blacklists(values)
    if ignored:
        options["ignore"] = ignored
    if silenced:
        options["silences"] = [_silence(status, key) for status, key in silenced.items()]
    return options


def _threshold_rules(values: Values) -> list[Options]:
    """Return entries of ``rules``: the first that matches decides, so they are in consul-alerts' order."""
    rules: list[Options] = []
    for kind in ("single", "check", "service", "node"):
        for name in values.names:
            place = name[len(kind) + 1 : -len(THRESHOLD)]
            if not name.startswith(f"{kind}/") or not name.endswith(THRESHOLD) or not place:
                continue
            matched = _matched_rules(kind, place)
            if matched is None:
                values.note(PROBLEM, [name], "it is not single/NODE/SERVICE/CHECK, so it is left out.")
                continue
            seconds = values.number(name, DEFAULT_THRESHOLD_S)
            times = {"for": seconds_text(seconds), "recover_for": seconds_text(seconds)}
            rules += [{"rule": rule, "match": match, **times} for rule, match in matched]
            values.note(
                CHANGED,
                [name],
                "it is for and recover_for of an entry of rules; longer than the general one works, too.",
            )
            if kind == "service":
                values.note(CHANGED, [name], _BY_NAME)
    return rules


def _matched_rules(kind: str, place: str) -> list[tuple[str, Options]] | None:
    """Return the rules that judge what a threshold is for, and what they match. The node's own check has a rule of its own."""
    if kind == "single":
        match = _single(place)
        return None if match is None else [("node_down" if match["check"] == SERF_CHECK else "check_status", match)]
    match = {kind: exact(place)}
    if kind == "check":
        return [("node_down" if place == SERF_CHECK else "check_status", match)]
    return [("check_status", match), *([("node_down", match)] if kind == "node" else [])]


def _single(place: str) -> Options | None:
    """Return the matcher of NODE/SERVICE/CHECK; "_" is the service of a check of the node itself."""
    node, _slash, rest = place.partition("/")
    service, _slash, check = rest.partition("/")
    if not node or not service or not check:
        return None
    # A node that is down matches by what runs on it too, so it must not be asked for a service.
    of_service = {} if check == SERF_CHECK else {"service": "" if service == "_" else exact(service)}
    return {"node": exact(node), **of_service, "check": exact(check)}


def _blacklists(values: Values) -> tuple[list[Options], dict[str, str]]:
    """Return the matchers of what is ignored, and the keys that silence statuses."""
    ignored: list[Options] = []
    silenced: dict[str, str] = {}
    fields = {"nodes": "node", "services": "service", "checks": "check"}
    for name in values.names:
        blacklist, _slash, rest = name.partition("/")
        kind, slash, place = rest.partition("/")
        if blacklist != "blacklist":
            continue
        if kind in (*fields, "status") and not slash:
            patterns = _patterns(values, name)
        elif kind in (*fields, "status") and place:
            patterns = [exact(place)]
        elif kind == "single" and (match := _single(place)) is not None:
            values.text(name)
            values.note(CHANGED, [name], "it is an entry of ignore.")
            ignored.append(match)
            continue
        else:
            values.note(
                PROBLEM, [name], "it is no blacklist of nodes, services, checks, status or single, so it is left out."
            )
            continue
        values.text(name)
        if kind == "status":
            _silence_statuses(values, name, patterns, silenced)
            continue
        ignored += [{fields[kind]: pattern} for pattern in patterns]
        values.note(CHANGED, [name], "it is an entry of ignore.")
        if kind == "services":
            values.note(CHANGED, [name], _BY_NAME)
    return ignored, silenced


def _patterns(values: Values, name: str) -> list[str]:
    patterns = []
    for text in values.texts(name):
        pattern = from_regexp(text)
        if pattern is None:
            values.note(
                PROBLEM, [name], f"the expression {text!r} cannot be read by Python: add it to ignore yourself."
            )
        else:
            patterns.append(pattern)
    return patterns


def _silence_statuses(values: Values, name: str, patterns: t.Sequence[str], silenced: dict[str, str]) -> None:
    found = [status for pattern in patterns for status in statuses(pattern)]
    if not found:
        values.note(
            NO_EQUAL, [name], "only warning and critical can be silenced; a recovery ends an alert in any case."
        )
        return
    for status in found:
        silenced.setdefault(status, values.keys(name)[0])
    values.note(CHANGED, [name], "it is a silence: alerts of that severity are listed and nobody is told.")


def _silence(status: str, key: str) -> Options:
    return {
        "match": {"severity": status, "rule": ["check_status", "node_down"]},
        "end": END_OF_SILENCES,
        "author": "consul-alerts",
        "reason": f"taken over from {key}"[:200],
    }
