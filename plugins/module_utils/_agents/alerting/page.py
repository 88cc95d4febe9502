# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of the alerting agent: what fires first, then silences, receivers and datacenters. It loads nothing else.

Without JavaScript it is complete, except that silences are then added and ended with the command. The script sends the token that is
typed in with a request to this endpoint, and keeps it until the tab is closed.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import typing as t

from ..._consul.units import count_of, human_age, parse_timestamp
from ..._daemon._libraries import jinja2
from ..._daemon.pages import with_templates
from ..._daemon.status import AgentStatus
from .incident import FIRING_STATE, FROZEN_STATE
from .notification import FIRING, Alert
from .page_templates import SCRIPT, STYLE, TEMPLATES
from .templates import explain_argument, what_failed
from .views import DELIVERED, GIVEN_UP, WAITING

_SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()

# The one script by its hash, and requests of it to this endpoint. Nothing else is loaded, and no form is sent anywhere.
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_SCRIPT_HASH}'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

OPEN_UP_TO = 12  # groups of alerts are open while there are no more alerts than that
LARGEST_GROUP = 25  # larger ones are divided
MAX_SHOWN = 1000  # alerts; /alerts has all of them

Data = dict[str, t.Any]


def page(status: AgentStatus, overview: t.Mapping[str, t.Any], now: float) -> str:
    """Return the page of what ``views`` returned, at ``now`` (Unix seconds)."""
    alerts = overview["alerts"]
    return (
        _environment()
        .get_template("alerting")
        .render(
            status=status,
            now=now,
            groups=_groups(alerts[:MAX_SHOWN], now),
            not_shown=max(0, len(alerts) - MAX_SHOWN),
            headline=_headline(overview),
            standing=_standing(status),
            is_open=len(alerts) <= OPEN_UP_TO,
            **{
                **overview,
                "silences": [{**one, "match_text": _match_text(one["match"])} for one in overview["silences"]],
            },
        )
    )


def waiting_page(status: AgentStatus, sentence: str) -> str:
    """Return the page of an agent that has no state yet."""
    return _environment().get_template("alerting_waits").render(status=status, now=status.started, sentence=sentence)


@functools.cache
def _environment() -> jinja2.Environment:
    made = with_templates(TEMPLATES)
    made.filters.update(count_of=count_of, ago=_ago, until=_until, explain=_explain)
    made.globals.update(own_style=STYLE, script=SCRIPT)
    return made


def _ago(moment: str | None, now: float) -> str:
    """Return how long ago a time of the views was."""
    return "?" if moment is None else human_age(now - parse_timestamp(moment, ""))


def _until(moment: str | None, now: float) -> str:
    """Return how long it is until a time of the views."""
    return "?" if moment is None else human_age(parse_timestamp(moment, "") - now)


def _explain(alert: t.Mapping[str, t.Any]) -> str:
    return explain_argument(_as_alert(alert))


def _as_alert(alert: t.Mapping[str, t.Any]) -> Alert:
    """Return what the words of messages are made from."""
    return Alert(episode="", status=FIRING, since=0.0, **{name: alert[name] for name in _FIELDS})


_FIELDS = (
    *("key", "severity", "rule", "datacenter", "summary"),
    *("node", "service", "check", "service_name", "check_name"),
)


# ---------------------------------------------------------------------------------------------------------------
# Alerts


def _groups(alerts: t.Iterable[Data], now: float) -> list[Data]:
    """Return the alerts in groups that are shown together: by state, severity, datacenter and rule, in the order of the alerts."""
    order: dict[tuple[str, ...], list[Data]] = {}
    for alert in alerts:
        is_over_soon = alert["firing"] and alert["state"] != FROZEN_STATE
        state = FIRING_STATE if is_over_soon else alert["state"]
        order.setdefault((state, alert["severity"], alert["datacenter"], alert["rule"]), []).append(_shown(alert, now))
    return [_group(key, members) for key, members in order.items()]


def _group(key: tuple[str, ...], members: list[Data]) -> Data:
    state, severity, datacenter, rule = key
    return {
        "key": " ".join(key),
        "badge": severity if state == FIRING_STATE else f"{state}, {severity}",
        "tone": severity if state == FIRING_STATE else "unknown" if state == FROZEN_STATE else "pending",
        "datacenter": datacenter,
        "rule": rule,
        "since": min(one["since"] or "" for one in members) or None,
        "alerts": members,
        "parts": _parts(" ".join(key), members) if len(members) > LARGEST_GROUP else [],
    }


def _parts(group_key: str, members: t.Sequence[Data]) -> list[Data]:
    """Divide a large group by service or by node, whichever gives fewer parts; not at all if all are alone then."""
    found: list[dict[str, list[Data]]] = []
    for name in ("service_name", "node"):
        parts: dict[str, list[Data]] = {}
        for one in members:
            parts.setdefault(one[name] or "(none)", []).append(one)
        if 1 < len(parts) <= len(members) / 2:
            found.append(parts)
    if not found:
        return []
    best = min(found, key=len)
    return [{"key": f"{group_key} {name}", "name": name, "alerts": best[name]} for name in sorted(best)]


def _shown(alert: Data, now: float) -> Data:
    match = {name: alert[name] for name in ("rule", "datacenter", "node", "service", "check") if alert[name]}
    title = what_failed(_as_alert(alert)) if alert["rule"] in ("check_status", "node_down") else alert["summary"]
    return {**alert, "title": title, "whom": _whom(alert, now), "match": match}


def _whom(alert: Data, now: float) -> str:
    """Return in words who was told."""
    told = [f"{one['receiver']} {_ago(one['at'], now)} ago{_DELIVERIES[one['delivery']]}" for one in alert["told"]]
    if told:
        return f"told: {', '.join(told)}"
    if not alert["firing"]:
        return "nobody is told yet"
    if alert["silenced_by"]:
        return f"nobody is told until {alert['silenced_by'][0]['until']}"
    if alert["inhibited_by"]:
        return f"nobody is told, because {alert['inhibited_by'][0]}"
    muted = [one["receiver"] for one in alert["routes"] if one["muted"]]
    return f"not told at this time: {', '.join(muted)}" if muted else "nobody has been told yet"


_DELIVERIES = {DELIVERED: "", WAITING: " (waiting)", GIVEN_UP: " (given up)"}


def _match_text(match: t.Any) -> str:
    """Return what a silence matches, as the command takes it."""
    entries = match if isinstance(match, list) else [match]
    return " or ".join(" ".join(f"{name}={_value_text(value)}" for name, value in entry.items()) for entry in entries)


def _value_text(value: t.Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}:{_value_text(one)}" for name, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


# ---------------------------------------------------------------------------------------------------------------
# The top


def _headline(overview: t.Mapping[str, t.Any]) -> Data:
    """Return what stands at the top: a sentence and its colour. Nothing is good while something is unknown."""
    counts = overview["counts"]
    if counts["firing"]:
        parts = [f"{counts[name]} {name}" for name in ("critical", "warning") if counts[name]]
        text = f"{counts['firing']} firing: {', '.join(parts)}" if len(parts) > 1 else f"{parts[0]} firing"
        return {"text": text, "kind": "critical" if counts["critical"] else "warning"}
    if overview["unknown"]:
        return {"text": "Not everything is known", "kind": "unknown"}
    if overview["alerts"]:
        return {"text": "Nothing fires", "kind": "pending"}
    return {"text": "Nothing is wrong", "kind": "fine"}


def _standing(status: AgentStatus) -> str:
    lease = status.main_lease
    standing = "unknown" if lease is None else lease.standing
    return {
        "holder": "This instance sends the messages.",
        "standby": "Another instance sends the messages; this one is on standby.",
        "unknown": "Consul cannot tell which instance sends the messages.",
    }[standing]
