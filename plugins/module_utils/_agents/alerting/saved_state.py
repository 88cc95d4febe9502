# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns the agent's state into JSON and back. What cannot be used is refused with one sentence. Pure."""

from __future__ import annotations

import dataclasses
import json
import typing as t

from ..._alerting.finding import Finding
from ..._consul.errors import LocalFailure
from .incident import Incident
from .notification import Alert

STATE_VERSION = 1
_BROKEN = (LookupError, TypeError, ValueError, AttributeError, RecursionError)


class StateUnusable(LocalFailure):
    """A saved state cannot be used. ``is_newer``: a later version of this collection wrote it; it is not damaged."""

    def __init__(self, message: str, *, is_newer: bool = False) -> None:
        super().__init__(message)
        self.is_newer = is_newer


def encode_state(parts: t.Mapping[str, t.Any]) -> str:
    """Return a state as compact JSON."""
    return json.dumps({"version": STATE_VERSION, **parts}, separators=(",", ":"), sort_keys=True)


Part = t.TypeVar("Part")


def decode_state(text: str | bytes, place: str, decode: t.Callable[[dict[str, t.Any]], Part]) -> Part:
    """Return what ``decode`` makes of a state; ``place`` names the file or key in errors.

    ``decode`` shows by LookupError, TypeError, ValueError or AttributeError that it does not understand. Raises StateUnusable.
    """
    try:
        parts = json.loads(text)
        version = number(parts["version"])
    except _BROKEN:
        raise _damaged(place) from None
    if version > STATE_VERSION:
        raise StateUnusable(
            f"{place}: the state has version {version:g} and this agent knows {STATE_VERSION}: install the newer agent again, or "
            "move the state away to start without it.",
            is_newer=True,
        )
    try:
        return decode(parts)
    except _BROKEN:
        raise _damaged(place) from None


def _damaged(place: str) -> StateUnusable:
    return StateUnusable(f"{place}: the state is cut or damaged, so it is not known what was reported before.")


# ---------------------------------------------------------------------------------------------------------------
# Values


def number(value: t.Any) -> float:
    """Return a finite number. Raises TypeError, ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not abs(value) < 1e15:
        raise ValueError
    return value


def text(value: t.Any) -> str:
    """Return a string. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError
    return value


def texts(value: t.Any) -> dict[str, str]:
    """Return an object of strings. Raises TypeError, AttributeError."""
    return {text(name): text(item) for name, item in value.items()}


# ---------------------------------------------------------------------------------------------------------------
# Alerts, findings, incidents: fields that have their default are left out


def encode_alert(alert: Alert) -> dict[str, t.Any]:
    """Return an alert as plain data."""
    found = {}
    for field in dataclasses.fields(alert):
        value = getattr(alert, field.name)
        if value not in (field.default, {}, ()):
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return {name: dict(value) if name.endswith("_meta") else value for name, value in found.items()}


def decode_alert(raw: dict[str, t.Any]) -> Alert:
    """Return the alert of plain data."""
    values: dict[str, t.Any] = {}
    for name, value in raw.items():
        if name in ("since", "ended"):
            values[name] = number(value)
        elif name == "tags":
            values[name] = tuple(map(text, value))
        elif name in ("node_meta", "service_meta"):
            values[name] = texts(value)
        elif name == "flapping":
            values[name] = bool(value)
        else:
            values[name] = text(value)
    return Alert(**values)


def encode_finding(finding: Finding) -> dict[str, t.Any]:
    """Return a finding as plain data."""
    defaults = Finding._field_defaults
    return {name: value for name, value in finding._asdict().items() if value != defaults.get(name)}


def decode_finding(raw: dict[str, t.Any]) -> Finding:
    """Return the finding of plain data."""
    values: dict[str, t.Any] = {}
    for name, value in raw.items():
        if name == "since_index":
            values[name] = int(number(value))
        elif name == "tags":
            values[name] = tuple(map(text, value))
        elif name in ("node_meta", "service_meta"):
            values[name] = tuple((text(key), text(item)) for key, item in value)
        else:
            values[name] = text(value)
    finding = Finding(**values)
    if finding.severity not in ("warning", "critical"):
        raise ValueError
    return finding


_INCIDENT_NUMBERS = ("started", "fired_at", "frozen_since")
_INCIDENT_COUNTS = ("rank", "worst_rank", "episode_number")
_INCIDENT_FLAGS = ("present", "gone", "flapping")
_INCIDENT_LEVELS = ("reached", "left")


def encode_incident(incident: Incident) -> dict[str, t.Any]:
    """Return an incident as plain data."""
    found: dict[str, t.Any] = {"finding": encode_finding(incident.finding)}
    for field in dataclasses.fields(incident):
        value = getattr(incident, field.name)
        if field.name != "finding" and value not in (field.default, {}, []):
            found[field.name] = value
    return found


def decode_incident(raw: dict[str, t.Any]) -> Incident:
    """Return the incident of plain data."""
    values: dict[str, t.Any] = {}
    for name, value in raw.items():
        if name == "finding":
            values[name] = decode_finding(value)
        elif name in _INCIDENT_NUMBERS:
            values[name] = number(value)
        elif name in _INCIDENT_COUNTS:
            values[name] = int(number(value))
        elif name in _INCIDENT_FLAGS:
            values[name] = bool(value)
        elif name in _INCIDENT_LEVELS:
            values[name] = {int(level): number(since) for level, since in value.items()}
        elif name == "changes":
            values[name] = [number(time) for time in value]
        elif name == "other_episodes":
            values[name] = [text(episode) for episode in value]
        else:
            values[name] = text(value)
    incident = Incident(**values)
    if not {incident.rank, incident.worst_rank, *incident.reached, *incident.left} <= {0, 1, 2}:
        raise ValueError
    return incident
