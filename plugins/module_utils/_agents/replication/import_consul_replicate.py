# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes our configuration of one of consul-replicate, and notes about what has no equal or changes its meaning. Pure.

Every option is translated or noted. Secrets are not in the configuration: it names files, whose contents come back beside it.
Source: https://github.com/hashicorp/consul-replicate, config.go, README.md
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ..._config.import_notes import CHANGED, NO_EQUAL, PROBLEM, Note, Notes
from ..._config.imported_values import Value, Values
from ..._consul.errors import InvalidOption
from ..._consul.units import parse_duration
from ..._replication.notation import concerns, exclude_pattern, parse_notation

PROGRAM = "consul-replicate"
DEFAULT_MAX_STALE = "2s"
LOG_LEVELS = {"trace": "debug", "debug": "debug", "info": "info", "warn": "warning", "err": "error"}
# Options that earlier versions had at the top; they belong into the section consul.
MOVED = ("auth", "retry", "ssl", "token")
SECTIONS = ("consul", "syslog", "wait")
WITHOUT_EQUAL = {
    "pid_file": "systemd knows the process, so there is no file.",
    "status_dir": "the state is below consulops/ in the destination; delete the old keys when consul-replicate is gone.",
    "kill_signal": "SIGTERM, SIGINT and systemctl stop end the agent.",
    "reload_signal": "SIGHUP and systemctl reload load a new configuration.",
}
_WHOLE_NAME = "here a prefix is a folder: {0!r} also meant keys that only begin with it."

Document = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class ImportedReplication:
    """A configuration of the replication agent, the secrets for its files by their names, and notes."""

    configuration: dict[str, t.Any]
    secrets: dict[str, str]
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class _Prefix:
    """One prefix of consul-replicate. ``key`` is where it stands."""

    key: str
    source: str
    datacenter: str
    destination: str


def import_documents(documents: t.Sequence[Document], secrets_directory: str) -> ImportedReplication:
    """Return the configuration for decoded files, of which later ones win and lists add up. Secrets are in files of a directory.

    Raises InvalidOption when there is no prefix that can be taken over.
    """
    notes = Notes(PROGRAM)
    sections, prefixes, excludes = _merged(documents, notes)
    secrets: dict[str, str] = {}
    frame = _frame(sections, secrets_directory, secrets, notes)
    found = [one for number, prefix in enumerate(prefixes) if (one := _prefix(f"prefix[{number}]", prefix, notes))]
    if not found:
        raise InvalidOption("there is no prefix that can be replicated, so there is nothing to import.")
    how = _how(sections, notes)
    sets: dict[str, t.Any] = {}
    for prefix in found:
        one = sets.setdefault(
            _set_name(prefix.datacenter), {"source": {"datacenter": prefix.datacenter}, "prefixes": [], **how}
        )
        one["prefixes"].append(_options(prefix, excludes, notes))
    keys = [prefix.key for prefix in found]
    notes.add(
        CHANGED,
        keys,
        "equal keys of the destination become the agent's own (adopt), different ones are conflicts until you set on_conflict.",
    )
    notes.add(CHANGED, keys, "only keys that were replicated are deleted, not those of others (delete).")
    matched = {key for key, source in excludes for prefix in found if concerns(source, prefix.source)}
    notes.add(
        PROBLEM, [key for key, _source in excludes if key not in matched], "no prefix has such keys, so it is left out."
    )
    _close(sections)
    return ImportedReplication({"agent": "replication", **frame, "options": {"sets": sets}}, secrets, notes.all)


# ---------------------------------------------------------------------------------------------------------------
# Shapes: a section is an object, or a list of objects (blocks in HCL); prefix and exclude are objects, strings, or lists of both


def _merged(
    documents: t.Sequence[Document], notes: Notes
) -> tuple[dict[str, Values], list[t.Any], list[tuple[str, str]]]:
    """Return the values of each section ("" for the top), the prefixes, and the excludes with their keys."""
    top: dict[str, t.Any] = {}
    consul: dict[str, t.Any] = {}
    prefixes: list[t.Any] = []
    excludes: list[t.Any] = []
    for document in documents:
        for name, value in document.items():
            if name == "prefix":
                prefixes += _listed(value)
            elif name == "exclude":
                excludes += _listed(value)
            elif name == "consul":
                consul.update(_object(value, name, notes))
            elif name in MOVED:
                consul.setdefault(name, value)
                notes.add(CHANGED, [name], "it belongs into consul since version 0.3, and is read as if it were there.")
            elif name in SECTIONS:
                top.setdefault(name, {}).update(_object(value, name, notes))
            else:
                top[name] = value
    sections = {name: _values(name, top.pop(name, {}), notes) for name in SECTIONS if name != "consul"}
    for name in ("auth", "retry", "ssl", "transport"):
        sections[name] = _values(f"consul.{name}", _object(consul.pop(name, {}), f"consul.{name}", notes), notes)
    sections["consul"] = _values("consul", consul, notes)
    sections[""] = _values("", top, notes)
    return sections, prefixes, _excludes(excludes, notes)


def _listed(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]


def _object(value: t.Any, key: str, notes: Notes) -> dict[str, t.Any]:
    """Return an object; of several blocks with one name, later ones win."""
    result: dict[str, t.Any] = {}
    for part in _listed(value):
        if isinstance(part, t.Mapping):
            result.update(part)
        else:
            notes.add(PROBLEM, [key], "it is not a section with options, so it is left out.")
    return result


def _values(place: str, options: t.Mapping[str, t.Any], notes: Notes) -> Values:
    dot = "." if place else ""
    return Values(place, {name: Value(f"{place}{dot}{name}", value, True) for name, value in options.items()}, notes)


def _close(sections: t.Mapping[str, Values]) -> None:
    for values in sections.values():
        values.close()


# ---------------------------------------------------------------------------------------------------------------
# The connection and the agent


def _frame(sections: t.Mapping[str, Values], directory: str, secrets: dict[str, str], notes: Notes) -> dict[str, t.Any]:
    """Return what is beside the options of the agent: the connection, back-off and log level."""
    top, consul = sections[""], sections["consul"]
    connection = {**_address(consul, sections["ssl"]), **_tls(sections["ssl"])}
    token = consul.text("token")
    if token:
        secrets["token"] = token
        connection["token_file"] = f"{directory}/token"
        notes.add(
            CHANGED,
            ["consul.token"],
            "it reads the source and writes the destination; each set can have a token for each side.",
        )
    auth = sections["auth"]
    if auth.flag("enabled", bool(auth.names)) and auth.names:
        secrets["http_auth"] = f"{auth.text('username')}:{auth.text('password')}"
        auth.note(
            CHANGED,
            ["username", "password"],
            "they are the secret http_auth of the unit: consul_replication_secrets of the role.",
        )
    else:
        auth.note(CHANGED, ["username", "password"], "auth is not enabled, so they are left out.")
    frame: dict[str, t.Any] = {"connection": connection} if connection else {}
    back_off = _back_off(sections["retry"])
    if back_off:
        frame["back_off"] = back_off
    level = top.text("log_level").lower()
    if level in LOG_LEVELS:
        frame["log_level"] = LOG_LEVELS[level]
    elif level:
        top.note(PROBLEM, ["log_level"], f"it is none of {', '.join(LOG_LEVELS)}, so the default info is used.")
    for name, sentence in WITHOUT_EQUAL.items():
        top.note(NO_EQUAL, [name], sentence)
    syslog = sections["syslog"]
    syslog.note(
        NO_EQUAL,
        syslog.names,
        "the log goes to the journal; a drop-in of the unit with SyslogFacility= sets the facility.",
    )
    transport = sections["transport"]
    transport.note(
        NO_EQUAL, transport.names, "connections are kept open; the option timeout of the connection is for all of them."
    )
    return frame


def _address(consul: Values, ssl: Values) -> dict[str, t.Any]:
    address = consul.text("address")
    uses_tls = ssl.flag("enabled", bool(ssl.names))
    if not address:
        if uses_tls:
            consul.notes.add(
                CHANGED,
                ["consul.ssl"],
                "no address is given: with CONSUL_HTTP_SSL=true or an address in url the agent uses TLS.",
            )
        return {}
    if uses_tls and "://" not in address:
        address = f"https://{address}"
    return {"url": address}


def _tls(ssl: Values) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    ca_cert, ca_path = ssl.text("ca_cert"), ssl.text("ca_path")
    if ca_cert or ca_path:
        found["ca_path"] = ca_cert or ca_path
    if ca_cert and ca_path:
        ssl.note(CHANGED, ["ca_path"], "there is one option for both, and ca_cert is used.")
    certificate = ssl.text("cert")
    if certificate:
        found["client_cert"] = certificate
        found["client_key"] = ssl.text("key") or certificate  # one file may hold both
    else:
        ssl.note(PROBLEM, ["key"], "there is no cert for it, so it is left out.")
    name = ssl.text("server_name")
    if name:
        found["tls_server_name"] = name
    if not ssl.flag("verify", True):
        found["validate_certs"] = False
    return found


def _back_off(retry: Values) -> dict[str, str]:
    found = {}
    for name, ours in (("backoff", "first"), ("max_backoff", "longest")):
        text = _duration(retry, name)
        if text and parse_duration(text, name) > 0:
            found[ours] = text
    retry.note(
        CHANGED,
        ["attempts", "enabled"],
        "the agent tries again until it works, and never ends because of what can pass.",
    )
    return found


# ---------------------------------------------------------------------------------------------------------------
# What is replicated


def _how(sections: t.Mapping[str, Values], notes: Notes) -> dict[str, t.Any]:
    """Return the options that all sets have."""
    how: dict[str, t.Any] = {
        "adopt": True,
        "consistency": "stale",
        "max_stale": _duration(sections[""], "max_stale") or DEFAULT_MAX_STALE,
    }
    wait = sections["wait"]
    if wait.flag("enabled", bool(wait.names)):
        shortest, longest = _duration(wait, "min"), _duration(wait, "max")
        if shortest:
            how["wait"] = f"{shortest}:{longest}" if longest else shortest
        else:
            wait.note(PROBLEM, ["max"], "there is no min beside it, so it is left out.")
    else:
        wait.note(CHANGED, ["min", "max"], "wait is not enabled, so they are left out.")
    return how


def _duration(values: Values, name: str) -> str:
    """Return a duration as it is written, "" without one or if it cannot be read."""
    text = values.text(name)
    if not text:
        return ""
    try:
        parse_duration(text, name)
    except InvalidOption:
        values.note(PROBLEM, [name], "it is not a duration such as 5s or 10m, so the default is used.")
        return ""
    return text


def _prefix(key: str, given: t.Any, notes: Notes) -> _Prefix | None:
    """Return a prefix: an object, or text as source@datacenter:destination. None, with a note, if it cannot be used."""
    values = _values(key, given if isinstance(given, t.Mapping) else {"source": given}, notes)
    source, destination = values.text("source"), values.text("destination")
    datacenter = values.text("datacenter") or values.text("dc")
    found = parse_notation(source)
    if found and found.datacenter and not datacenter:
        source, datacenter = found.source, found.datacenter
        destination = destination or found.destination or ""
    values.close()
    if not source.strip("/") or not datacenter:
        notes.add(PROBLEM, [key], "it names no source with a datacenter, as app/@dc1, so it is left out.")
        return None
    destination = destination or source
    for name in dict.fromkeys((source, destination)):
        if not name.endswith("/"):
            notes.add(CHANGED, [key], _WHOLE_NAME.format(name))
    return _Prefix(key, _folder(source), datacenter, _folder(destination))


def _folder(name: str) -> str:
    return f"{name.strip('/')}/"


def _set_name(datacenter: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", datacenter)[:100]


def _excludes(given: t.Sequence[t.Any], notes: Notes) -> list[tuple[str, str]]:
    found = []
    for number, one in enumerate(given):
        key = f"exclude[{number}]"
        values = _values(key, one if isinstance(one, t.Mapping) else {"source": one}, notes)
        source = values.text("source").lstrip("/")
        values.close()
        if source:
            found.append((key, source))
        else:
            notes.add(PROBLEM, [key], "it names no source, so it is left out.")
    return found


def _options(prefix: _Prefix, excludes: t.Sequence[tuple[str, str]], notes: Notes) -> dict[str, t.Any]:
    """Return an element of ``prefixes``. An exclude of consul-replicate is the beginning of names at the source."""
    patterns = []
    for key, source in excludes:
        pattern = exclude_pattern(source, prefix.source)
        if pattern is None:
            continue
        patterns.append(pattern)
        if pattern == "**":
            sentence = "the exclude covers the whole prefix, so nothing of it is replicated: remove one of them."
            notes.add(PROBLEM, [key, prefix.key], sentence)
        elif not pattern.endswith("/"):
            sentence = "it means all names that begin with it, as before: without the star it is one key or folder."
            notes.add(CHANGED, [key], sentence)
    options: dict[str, t.Any] = {"source": prefix.source}
    if prefix.destination != prefix.source:
        options["destination"] = prefix.destination
    if patterns:
        options["exclude"] = patterns
    return options
