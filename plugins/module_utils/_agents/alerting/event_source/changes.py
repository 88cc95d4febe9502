# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares what is known of a stream with what Consul answers: the changes, and the event of each. Pure.

The position of a stream has a value for each key: of a check that fails, of a service, of a key of the KV store. An event has the fields
``watch``, ``state``, ``datacenter``, ``at``, ``since``, ``before`` and ``summary``, and those that say what it is about.
"""

from __future__ import annotations

import base64
import re
import typing as t

from ...._alerting.check_output import first_line
from ...._alerting.rules.checks import Check
from ...._consul.digest import short_digest
from ...._consul.kv import Entry
from ...._consul.units import timestamp
from ..notification import FIRING, Alert
from ..saved_state import encode_alert
from .options import CHECKS, EVENTS, FINDINGS, KV, LEADER, SERVICES
from .positions import Position

Event = dict[str, t.Any]

WORSENED, IMPROVED = "worsened", "improved"
RANK = {"warning": 1, "critical": 2}
PASSING, DEREGISTERED, REGISTERED, CHANGED = "passing", "deregistered", "registered", "changed"
SET, DELETED = "set", "deleted"
REMEMBERED_EVENTS = 1024  # an agent of Consul remembers 256


_TEMPLATE = re.compile(r"\{(?=[{%#])")


class Change(t.NamedTuple):
    """One difference: the key of the position, its value from now on (None: it is gone), and the event."""

    key: str
    value: t.Any
    event: Event


def join_key(*parts: str) -> str:
    """Return parts as one text that ``split_key`` takes apart again."""
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def split_key(key: str) -> list[str]:
    """Return the parts of a key."""
    return [part.replace("%2F", "/").replace("%25", "%") for part in key.split("/")]


def event_id(stream: str, change: Change) -> str:
    """Return what identifies an event, as far as possible also when it is sent again after a restart."""
    event = change.event
    mark = event.get("episode") or event.get("modify_index") or event.get("event_id") or event["since"]
    said = (stream, change.key, event["state"], event["before"], mark)
    return short_digest(repr(said).encode("utf-8", "backslashreplace"))


def make_event(watch: str, state: str, datacenter: str, now: float, **fields: t.Any) -> Event:
    """Return an event. ``since`` and ``before`` are None unless they are given."""
    return {
        "watch": watch,
        "state": state,
        "datacenter": datacenter,
        "at": timestamp(now),
        "since": timestamp(fields.pop("since", now)),
        "before": None,
        **fields,
    }


def without_templates(value: t.Any) -> t.Any:
    """Return a value in which no text is a template of Jinja: a space parts the characters that begin one.

    The engine passes an event to playbooks as extra variables, whose text Ansible evaluates. What a check reports, a tag or the name of
    a key would run lookups there, so anyone who may register a service could run programs on the controller.
    """
    if isinstance(value, str):
        return _TEMPLATE.sub("{ ", value)
    if isinstance(value, dict):
        return {without_templates(name): without_templates(one) for name, one in value.items()}
    return [without_templates(one) for one in value] if isinstance(value, list) else value


# ---------------------------------------------------------------------------------------------------------------
# Findings


def finding_changes(
    position: Position, firing: t.Sequence[Alert], ended: t.Sequence[Alert], now: float
) -> list[Change]:
    """Return what is new of the alerts that fire and of those that ended. The value of a key is the alert as it was reported."""
    changes = []
    by_key = {alert.key: alert for alert in ended}
    now_firing = {alert.key: alert for alert in firing}
    for key, alert in now_firing.items():
        known = position.get(key)
        if known is not None and key in by_key and by_key[key].episode == known["episode"] != alert.episode:
            changes.append(_finding_change(by_key[key], by_key[key].status, known["severity"], now))
            known = None
        if known is None:
            changes.append(_finding_change(alert, FIRING, None, now))
        elif known["severity"] != alert.severity:
            state = WORSENED if RANK[alert.severity] > RANK[known["severity"]] else IMPROVED
            changes.append(_finding_change(alert, state, known["severity"], now))
    for key, known in position.items():
        if key not in now_firing and key in by_key:
            changes.append(_finding_change(by_key[key], by_key[key].status, known["severity"], now))
    return changes


def _finding_change(alert: Alert, state: str, before: str | None, now: float) -> Change:
    is_over = alert.status != FIRING
    event = make_event(
        FINDINGS,
        state,
        alert.datacenter,
        now,
        since=alert.since,
        before=before,
        summary=alert.summary,
        rule=alert.rule,
        severity=alert.severity,
        episode=alert.episode,
        node=alert.node,
        service=alert.service,
        service_name=alert.service_name,
        check=alert.check,
        check_name=alert.check_name,
        tags=list(alert.tags),
        output=alert.output,
        detail=alert.detail,
        advice=alert.advice,
        flapping=alert.flapping,
        reason=alert.reason,
    )
    return Change(alert.key, None if is_over else encode_alert(alert), event)


# ---------------------------------------------------------------------------------------------------------------
# Checks that are not passing


def check_key(check: Check) -> str:
    """Return the key of a check: its node, the ID of its service and its own."""
    return join_key(check.node, check.service_id, check.check_id)


def check_value(check: Check, now: float) -> t.Any:
    """Return what a position keeps of a check."""
    return {
        "status": check.status,
        "since": now,
        "index": check.modify_index,
        "service": check.service,
        "name": check.name,
    }


def check_changes(
    position: Position, failing: t.Sequence[Check], missing: t.Collection[str], datacenter: str, now: float
) -> list[Change]:
    """Return the changes to the checks that fail now. ``missing`` are keys of checks that are not registered any more."""
    changes = []
    found = {check_key(check): check for check in failing}
    for key, check in found.items():
        known = position.get(key)
        if known is not None and known["status"] == check.status:
            continue
        before = PASSING if known is None else known["status"]
        event = _check_event(key, check.status, datacenter, now, check_value(check, now), before=before)
        event.update(output=first_line(check.output), tags=list(check.tags))
        changes.append(Change(key, check_value(check, now), event))
    for key, known in position.items():
        if key not in found:
            state = DEREGISTERED if key in missing else PASSING
            event = _check_event(key, state, datacenter, now, known, before=known["status"])
            event.update(output="", tags=[], before_since=timestamp(known["since"]))
            changes.append(Change(key, None, event))
    return changes


def _check_event(key: str, state: str, datacenter: str, now: float, value: t.Any, *, before: str) -> Event:
    node, service_id, check_id = split_key(key)
    place = f"{service_id} on {node}" if service_id else node
    return make_event(
        CHECKS,
        state,
        datacenter,
        now,
        before=before,
        summary=f"check {value['name'] or check_id} of {place} is {state}",
        node=node,
        service=service_id,
        service_name=value["service"],
        check=check_id,
        check_name=value["name"],
        modify_index=value["index"],
    )


# ---------------------------------------------------------------------------------------------------------------
# Services


def service_changes(position: Position, found: t.Mapping[str, t.Any], datacenter: str, now: float) -> list[Change]:
    """Return the changes to services or their instances. A value has what is registered; the key is the name, or name, node and ID."""
    changes = []
    for key in [*found, *(key for key in position if key not in found)]:
        before, after = position.get(key), found.get(key)
        if before != after:
            state = DEREGISTERED if after is None else REGISTERED if before is None else CHANGED
            changes.append(Change(key, after, _service_event(key, state, datacenter, now, before, after)))
    return changes


def _service_event(key: str, state: str, datacenter: str, now: float, before: t.Any, after: t.Any) -> Event:
    name, node, service_id = (*split_key(key), "", "")[:3]
    place = f"{name} ({service_id}) on {node}" if node else name
    return make_event(
        SERVICES,
        state,
        datacenter,
        now,
        before=before,
        summary=f"service {place} was {state}",
        service_name=name,
        node=node,
        service=service_id,
        registered=after,
    )


# ---------------------------------------------------------------------------------------------------------------
# Keys


def key_changes(
    position: Position, entries: t.Iterable[Entry], datacenter: str, now: float, *, with_values: bool = False
) -> list[Change]:
    """Return the changes to keys; the value of a key in the position is its ModifyIndex."""
    changes = []
    left = dict(position)
    for entry in entries:
        before = left.pop(entry.key, None)
        if before == entry.modify_index:
            continue
        event = _key_event(entry.key, SET, datacenter, now, before, entry.modify_index)
        event.update(create_index=entry.create_index, flags=entry.flags, session=entry.session)
        if with_values:
            event.update(_value_fields(entry.value))
        changes.append(Change(entry.key, entry.modify_index, event))
    changes += [
        Change(key, None, _key_event(key, DELETED, datacenter, now, before, None)) for key, before in left.items()
    ]
    return changes


def _key_event(key: str, state: str, datacenter: str, now: float, before: int | None, index: int | None) -> Event:
    return make_event(
        KV,
        state,
        datacenter,
        now,
        before=None if before is None else {"modify_index": before},
        summary=f"key {key} was {state}",
        key=key,
        modify_index=index,
    )


def _value_fields(value: bytes) -> Event:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = None
    # What would be changed in the text is in the other field as it is.
    shown = text if text is not None and without_templates(text) == text else None
    return {"value": shown, "value_base64": None if shown is not None else base64.b64encode(value).decode()}


# ---------------------------------------------------------------------------------------------------------------
# Consul's user events, and the leader


def user_event_changes(
    position: Position, found: t.Sequence[t.Mapping[str, t.Any]], names: t.Collection[str], datacenter: str, now: float
) -> list[Change]:
    """Return the events that were not seen before, of the names that count. The keys of the position are their IDs."""
    changes = []
    for one in found:
        if one["id"] not in position and (not names or one["name"] in names):
            fields = {name: value for name, value in one.items() if name != "id"}
            event = make_event(
                EVENTS, "fired", datacenter, now, summary=f"event {one['name']} was fired", event_id=one["id"], **fields
            )
            changes.append(Change(one["id"], 1, event))
    return changes


def forgotten_events(position: Position) -> dict[str, None]:
    """Return the IDs that need not be remembered any more."""
    return dict.fromkeys(list(position)[: max(0, len(position) - REMEMBERED_EVENTS)])


def leader_change(position: Position, address: str, node: str, datacenter: str, now: float) -> Change | None:
    """Return the change of the leader; ``address`` is "" while there is none."""
    known = position.get("leader", {"address": None, "node": "", "since": now})
    if known["address"] == address:
        return None
    state = "elected" if address else "lost"
    summary = f"{node or address} leads {datacenter}" if address else f"{datacenter} has no leader"
    before = None if known["address"] is None else {"address": known["address"], "node": known["node"]}
    event = make_event(LEADER, state, datacenter, now, before=before, summary=summary, node=node, address=address)
    return Change("leader", {"address": address, "node": node, "since": now}, event)
