# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Opsgenie: one alert there for each alert here, by the Alert API.

Options: ``api_key_file`` or ``api_key_credential``; ``url`` (``https://api.eu.opsgenie.com`` in the EU); ``responders`` (a list
of objects as the API takes them, for example ``{"name": "dba", "type": "team"}``); ``tags``; ``priorities`` (by severity);
``timeout``, ``proxy``, TLS options.
Source: https://docs.opsgenie.com/docs/alert-api
"""

from __future__ import annotations

import typing as t

from ..notification import FIRING, Alert, Notification
from .http_client import Request, checked_url, json_request
from .http_receiver import IncidentReceiver
from .message_fields import description_of, details_of, incident_key, shortened
from .options import HTTP, Options, secret_spec, spec
from .receiver import Receiver, ReceiverContext

MESSAGE_LIMIT, DESCRIPTION_LIMIT, NOTE_LIMIT, SOURCE_LIMIT, ENTITY_LIMIT = 130, 15_000, 25_000, 100, 512
TAGS_LIMIT, TAG_LIMIT = 20, 50
DETAILS_LIMIT = 8000  # characters of all names and values
PRIORITIES = ("P1", "P2", "P3", "P4", "P5")
RESPONDER_TYPES = ("team", "user", "escalation", "schedule")
_PRIORITY = {"type": "str", "choices": list(PRIORITIES)}

API: dict[str, dict[str, t.Any]] = {
    **secret_spec("api_key"),
    "responders": {"type": "list", "elements": "dict", "default": []},
    "tags": {"type": "list", "elements": "str", "default": []},
}
SPEC = spec(
    HTTP,
    API,
    url={"type": "str", "default": "https://api.opsgenie.com"},
    priorities={
        "type": "dict",
        "apply_defaults": True,
        "options": {"critical": {**_PRIORITY, "default": "P1"}, "warning": {**_PRIORITY, "default": "P3"}},
    },
)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Opsgenie(Options(name, options, context), context)


class Opsgenie(IncidentReceiver):
    """Creates and closes alerts; also for Jira Service Management, whose API is the same but for the priority."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        super().__init__(options, context, options.secret("api_key"))
        self._url = checked_url(options["url"], options.path("url")).rstrip("/")
        self._responders = options["responders"]
        for number, responder in enumerate(self._responders):
            if responder.get("type") not in RESPONDER_TYPES:
                types = ", ".join(RESPONDER_TYPES)
                raise options.invalid(f"responders[{number}].type", f"expected one of {types}.")
        self._tags = options["tags"]
        self._priorities = options["priorities"]

    def request_for(self, alert: Alert, notification: Notification, key: str) -> Request:
        """Return the request that creates or closes an alert."""
        source = shortened(f"consulops on {self.instance}", SOURCE_LIMIT)
        headers = {"Authorization": f"GenieKey {key}", "Accept": "application/json"}
        alias = incident_key(alert)
        if alert.status != FIRING:
            note = shortened(f"{alert.summary}: {alert.reason or 'resolved'}", NOTE_LIMIT)
            url = f"{self._url}/v2/alerts/{alias}/close?identifierType=alias"
            return json_request(url, {"source": source, "note": note}, headers, secrets=(key,))
        content: dict[str, t.Any] = {
            "message": shortened(alert.summary, MESSAGE_LIMIT),
            "alias": alias,
            "description": shortened(description_of(alert), DESCRIPTION_LIMIT),
            "responders": self._responders,
            "tags": [shortened(tag, TAG_LIMIT) for tag in [*self._tags, alert.severity, *alert.tags]][:TAGS_LIMIT],
            "details": _within(details_of(alert), DETAILS_LIMIT),
            "entity": shortened(alert.place, ENTITY_LIMIT),
            "source": source,
        }
        if self._priorities is not None:
            content["priority"] = self._priorities.get(alert.severity, "P3")
        return json_request(f"{self._url}/v2/alerts", content, headers, secrets=(key,))


def _within(details: t.Mapping[str, str], limit: int) -> dict[str, str]:
    """Return details whose names and values together have at most ``limit`` characters: the longest value is shortened."""
    result = dict(details)
    while sum(len(name) + len(value) for name, value in result.items()) > limit:
        longest = max(result, key=lambda name: len(result[name]))
        result[longest] = shortened(result[longest], max(1, len(result[longest]) // 2))
    return result
