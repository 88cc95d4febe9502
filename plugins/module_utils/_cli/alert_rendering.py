# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders what the alerting agent knows as lines of text. What fires comes first; fields that another version lacks are left out. Pure."""

from __future__ import annotations

import math
import typing as t

from .._consul.errors import InvalidOption
from .._consul.units import columns, count_of, human_age, parse_timestamp, timestamp
from .match_words import match_words

Document = t.Mapping[str, t.Any]

# Worst first; a state that is not known here comes after those.
_STATES = ("firing", "flapping", "recovering", "unknown", "pending")
_SEVERITIES = ("critical", "warning")
_SILENCE_STATES = ("active", "future", "expired")
NONE = "-"
MAX_OUTPUT = 80  # characters of a check's output in a line


# ---------------------------------------------------------------------------------------------------------------
# Alerts


def alert_list(document: Document, now: float) -> list[str]:
    """Return a table of the alerts, worst first, their number, and what is not known: without alerts all may still not be well."""
    alerts = sorted(_rows_of(document.get("alerts")), key=_urgency)
    unknown = [f"unknown: {_text(one)}" for one in _list(document.get("unknown"))]
    if not alerts:
        return ["no alert is known", *unknown] if unknown else ["no alerts"]
    header = ("SEVERITY", "STATE", "SINCE", "AGE", "DATACENTER", "PLACE", "TOLD", "SUMMARY")
    rows = [
        (
            _text(alert.get("severity")),
            _text(alert.get("state")),
            _time(alert.get("since")),
            _age(alert.get("since"), now),
            _text(alert.get("datacenter")),
            place_of(alert),
            _told(alert, now),
            _summary(alert),
        )
        for alert in alerts
    ]
    return [*columns([header, *rows]), "", _counted(alerts), *unknown]


def place_of(subject: Document) -> str:
    """Return NODE/SERVICE/CHECK as ``explain`` takes it, or the rule of what concerns no node."""
    names = [str(subject.get(name) or "") for name in ("node", "service", "check")]
    return "/".join(names).rstrip("/") or _text(subject.get("rule"))


def _urgency(alert: Document) -> tuple[t.Any, ...]:
    """Return what alerts are sorted by: what nobody suppressed first, then state, severity and age."""
    return (
        bool(alert.get("silenced_by") or alert.get("inhibited_by")),
        _position(_STATES, alert.get("state")),
        _position(_SEVERITIES, alert.get("severity")),
        -(_seconds(alert.get("since")) or 0.0),
        place_of(alert),
    )


def _summary(alert: Document) -> str:
    output = " ".join(str(alert.get("output") or "").split())
    if len(output) > MAX_OUTPUT:
        output = output[: MAX_OUTPUT - 1] + "…"
    return _text(alert.get("summary")) + (f' (output: "{output}")' if output else "")


def _told(alert: Document, now: float) -> str:
    """Return who was told, and why somebody was not."""
    words = []
    for note in _rows_of(alert.get("told")):
        status, receiver = note.get("status"), _text(note.get("receiver"))
        outcome = {"failed": " FAILED", "firing": ""}.get(str(status), f" {_text(status)}")
        outcome = " WAITING" if note.get("delivery") == "waiting" else outcome
        words.append(f"{receiver}{outcome} {_age(note.get('at'), now)} ago")
    silences = ", ".join(
        _text(one.get("id") if isinstance(one, dict) else one) for one in _list(alert.get("silenced_by"))
    )
    if silences:
        words.append(f"silenced by {silences}")
    if alert.get("inhibited_by"):
        words.append("inhibited")
    return ", ".join(words) or "nobody"


def _counted(alerts: t.Sequence[Document]) -> str:
    counts = [(name, sum(alert.get("severity") == name for alert in alerts)) for name in _SEVERITIES]
    parts = [f"{count} {name}" for name, count in counts if count]
    suppressed = sum(bool(alert.get("silenced_by") or alert.get("inhibited_by")) for alert in alerts)
    parts += [f"{suppressed} of them silenced or inhibited"] if suppressed else []
    return f"{count_of(len(alerts), 'alert')}: {', '.join(parts)}"


# ---------------------------------------------------------------------------------------------------------------
# Silences


def silence_list(document: Document, now: float, *, expired: bool) -> list[str]:
    """Return a table of the silences that are or will be in force, with ``expired`` of all."""
    silences = [one for one in _rows_of(document.get("silences")) if expired or one.get("state") != "expired"]
    if not silences:
        return ["no silences"]
    silences.sort(key=lambda one: (_position(_SILENCE_STATES, one.get("state")), _seconds(one.get("end")) or 0.0))
    header = ("ID", "STATE", "UNTIL", "LEFT", "MATCH", "BY", "REASON")
    rows = [
        (
            _text(one.get("id")),
            _text(one.get("state")) + (f" from {_time(one.get('start'))}" if one.get("state") == "future" else ""),
            _time(one.get("end")),
            _left(one.get("end"), now),
            match_words(one.get("match")),
            "the configuration" if one.get("configured") else _text(one.get("author")),
            _text(one.get("reason")),
        )
        for one in silences
    ]
    return columns([header, *rows])


def silence(document: Document, now: float, what: str) -> list[str]:
    """Return one silence; ``what`` says what happened to it."""
    return [
        f"{what} {_text(document.get('id'))}",
        *columns(
            [
                ("match", match_words(document.get("match"))),
                ("from", _time(document.get("start"))),
                ("until", f"{_time(document.get('end'))} ({_left(document.get('end'), now)})"),
                ("author", _text(document.get("author"))),
                ("reason", _text(document.get("reason"))),
                *([("alerts", f"{document['firing']} that fire now")] if "firing" in document else []),
            ]
        ),
    ]


# ---------------------------------------------------------------------------------------------------------------
# Explanations


def explanation(document: Document, now: float) -> list[str]:
    """Return what applies to a subject: each incident, or what a failure would cause."""
    lines = [f"{place_of(document)} in {_text(document.get('datacenter'))}"]
    if document.get("registered") is False:
        lines[0] += ": Consul shows no such node or service, or the token may not read it"
    incidents, supposed = _rows_of(document.get("incidents")), document.get("supposed")
    for incident in incidents:
        lines += ["", *_incident(incident, now)]
    if not incidents and isinstance(supposed, dict):
        known = "no incident is known" if document.get("judged", True) else "whether it fails now is not known"
        lines += ["", f"{known}; a failure would be:", *_incident(supposed, now, supposed=True)]
    return lines


def _incident(incident: Document, now: float, *, supposed: bool = False) -> list[str]:
    head = f"{_text(incident.get('severity'))} {_text(incident.get('rule'))}: {_text(incident.get('summary'))}"
    rows: list[tuple[str, str]] = []
    if not supposed:
        rows.append(("state", _state(incident, now)))
    rows.append(("rule", _text(incident.get("judged"))))
    rows.append(("timers", _timers(incident)))
    rows += [("silenced", _silenced(one)) for one in _list(incident.get("silenced_by"))]
    rows += [("inhibited", f"by {_text(one)}") for one in _list(incident.get("inhibited_by"))]
    is_suppressed = bool(incident.get("silenced_by") or incident.get("inhibited_by"))
    for route in _rows_of(incident.get("routes")):
        is_told = not (is_suppressed or route.get("muted"))
        rows += [("route", _route(route)), ("", _told_of_route(route, supposed=supposed, is_told=is_told))]
    if not _rows_of(incident.get("routes")):
        rows.append(("route", "none, so nobody is told"))
    rows.append(("message", _text(incident.get("message"))))
    return [head, *(f"  {line}" for line in columns(rows))]


def _state(incident: Document, now: float) -> str:
    state, since = _text(incident.get("state")), incident.get("since")
    if state == "idle":
        return "over: it does not fail now"
    return f"{state} since {_time(since)} ({_age(since, now)})"


def _timers(incident: Document) -> str:
    by_severity = incident.get("for_s") or {}
    fires = ", ".join(f"{name} after {_duration(seconds)}" for name, seconds in by_severity.items())
    ends = (
        f"recovers after {_duration(incident.get('recover_for_s'))}, gone after {_duration(incident.get('gone_for_s'))}"
    )
    return f"{fires}; {ends}" if fires else ends


def _silenced(one: t.Any) -> str:
    if not isinstance(one, dict):
        return f"by {_text(one)}"
    return f"by {_text(one.get('id'))} until {_time(one.get('until'))} ({_text(one.get('author'))}: {_text(one.get('reason'))})"


def _route(route: Document) -> str:
    group = ", ".join(f"{name}={value}" for name, value in (route.get("group") or {}).items())
    repeats = route.get("repeat_every_s")
    parts = [
        f"{_text(route.get('receiver'))}, by {_text(route.get('path'))}",
        f"group {group}" if group else "one group",
        f"first message after {_duration(route.get('group_wait_s'))}",
        f"further ones every {_duration(route.get('group_interval_s'))}",
        f"reminders every {_duration(repeats)}" if repeats else "no reminders",
        *(["MUTED now"] if route.get("muted") else []),
    ]
    return "; ".join(parts)


def _told_of_route(route: Document, *, supposed: bool, is_told: bool) -> str:
    told = route.get("told")
    if isinstance(told, dict):
        messages = count_of(int(told.get("messages") or 1), "message")
        return f"told: {_text(told.get('status'))} at {_time(told.get('at'))} ({messages})"
    if supposed:
        return "would be told" if is_told else "would not be told"
    return "not told yet" if is_told else "not told"


# ---------------------------------------------------------------------------------------------------------------
# Values


def _position(order: t.Sequence[str], value: t.Any) -> int:
    return order.index(value) if value in order else len(order)


def _list(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else []


def _rows_of(value: t.Any) -> list[dict[str, t.Any]]:
    return [one for one in _list(value) if isinstance(one, dict)]


def _text(value: t.Any) -> str:
    return NONE if value is None or value == "" else str(value)


def _seconds(value: t.Any) -> float | None:
    """Return a time in Unix seconds, of a number or RFC 3339; None if it is neither."""
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return parse_timestamp(value, "time") if isinstance(value, str) else None
    except InvalidOption:
        return None


def _time(value: t.Any) -> str:
    seconds = _seconds(value)
    return NONE if seconds is None else timestamp(seconds)


def age_of(value: t.Any, now: float) -> str:
    """Return how long ago a time is, in words; "" if it is none."""
    seconds = _seconds(value)
    return "" if seconds is None else human_age(now - seconds)


def _age(value: t.Any, now: float) -> str:
    return age_of(value, now) or NONE


def _left(value: t.Any, now: float) -> str:
    seconds = _seconds(value)
    return NONE if seconds is None else (human_age(math.ceil(seconds - now)) if seconds > now else "over")


def _duration(value: t.Any) -> str:
    return human_age(value) if isinstance(value, (int, float)) else NONE
