# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What services document of the messages that they take, as JSON schemas: every field, its type and its limit."""

from __future__ import annotations

import re
import typing as t


def text(limit: int = 1 << 20, least: int = 1) -> dict[str, t.Any]:
    """Return the schema of a text of ``least`` to ``limit`` characters."""
    return {"type": "string", "minLength": least, "maxLength": limit}


def fields(required: t.Mapping[str, t.Any], **optional: t.Any) -> dict[str, t.Any]:
    """Return the schema of an object that has these fields and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **optional},
    }


TEXTS = {"type": "object", "additionalProperties": text()}

# https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
PAGERDUTY_PAYLOAD = fields(
    {
        "summary": text(1024),
        "source": text(),
        "severity": {"enum": ["critical", "error", "warning", "info"]},
    },
    timestamp={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"},
    component=text(),
    group=text(),
    **{"class": text()},
    custom_details={"type": "object"},
)
PAGERDUTY_KEYS = {"routing_key": text(32, 32), "dedup_key": text(255)}
PAGERDUTY = {
    "oneOf": [
        fields(
            {**PAGERDUTY_KEYS, "event_action": {"const": "trigger"}, "payload": PAGERDUTY_PAYLOAD},
            client=text(),
            client_url=text(),
        ),
        fields({**PAGERDUTY_KEYS, "event_action": {"const": "resolve"}}),
    ]
}
# https://docs.opsgenie.com/docs/alert-api
RESPONDER = fields(
    {"type": {"enum": ["team", "user", "escalation", "schedule"]}}, id=text(), name=text(), username=text()
)
OPSGENIE_ALERT = fields(
    {"message": text(130), "alias": text(512)},
    description=text(15_000),
    responders={"type": "array", "maxItems": 50, "items": RESPONDER},
    tags={"type": "array", "maxItems": 20, "items": text(50)},
    details=TEXTS,
    entity=text(512),
    source=text(100),
    priority={"enum": ["P1", "P2", "P3", "P4", "P5"]},
)
# https://developer.atlassian.com/cloud/jira/service-desk-ops/rest/v1/api-group-integration-events
JIRA_ALERT = {**OPSGENIE_ALERT, "properties": {**OPSGENIE_ALERT["properties"], "priority": False}}
OPSGENIE_CLOSE = fields({}, source=text(100), note=text(25_000), user=text(100))
# https://api.ilert.com/api-docs, schema Event
ILERT = fields(
    {"integrationKey": text(), "eventType": {"enum": ["ALERT", "ACCEPT", "RESOLVE", "COMMENT"]}, "summary": text()},
    alertKey=text(),
    details=text(),
    priority={"enum": ["HIGH", "LOW"]},
    customDetails={"type": "object"},
)
# https://help.splunk.com/…/rest-endpoint-integration-for-splunk-on-call; any other field becomes a detail of the incident
VICTOROPS = {
    "type": "object",
    "required": ["message_type", "entity_id", "state_message"],
    "properties": {
        "message_type": {"enum": ["CRITICAL", "WARNING", "ACKNOWLEDGEMENT", "INFO", "RECOVERY"]},
        "entity_id": text(512),
        "entity_display_name": text(),
        "state_message": text(20_480),
        "state_start_time": {"type": "integer"},
        "monitoring_tool": text(),
    },
    "additionalProperties": {"type": "string"},
}
# https://api.slack.com/reference/messaging/attachments
COLOUR = {"type": "string", "pattern": "^#[0-9a-f]{6}$"}
SLACK = fields(
    {
        "attachments": {
            "type": "array",
            "maxItems": 20,
            "items": fields({"fallback": text()}, color=COLOUR, title=text(), text=text(8000), ts={"type": "integer"}),
        }
    },
    channel=text(),
    username=text(),
    icon_emoji=text(),
    icon_url=text(),
)
# https://developers.mattermost.com/integrate/webhooks/incoming/
MATTERMOST = fields(
    {
        "attachments": {
            "type": "array",
            "items": fields({"fallback": text()}, color=COLOUR, title=text(), text=text(7600)),
        }
    },
    channel=text(),
    username=text(),
    icon_emoji=text(),
    icon_url=text(),
)
# https://adaptivecards.io/schemas/adaptive-card.json, and the envelope that Teams wants around it
TEXT_BLOCK = fields(
    {"type": {"const": "TextBlock"}, "text": text()},
    wrap={"type": "boolean"},
    weight={"enum": ["Default", "Lighter", "Bolder"]},
    size={"enum": ["Default", "Small", "Medium", "Large", "ExtraLarge"]},
    fontType={"enum": ["Default", "Monospace"]},
)
CONTAINER = fields(
    {"type": {"const": "Container"}, "items": {"type": "array", "items": TEXT_BLOCK}},
    style={"enum": ["default", "emphasis", "good", "attention", "warning", "accent"]},
    bleed={"type": "boolean"},
)
TEAMS = fields(
    {
        "type": {"const": "message"},
        "attachments": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": fields(
                {
                    "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                    "contentUrl": {"type": "null"},
                    "content": fields(
                        {
                            "$schema": {"const": "http://adaptivecards.io/schemas/adaptive-card.json"},
                            "type": {"const": "AdaptiveCard"},
                            "version": {"enum": ["1.2", "1.3", "1.4", "1.5"]},
                            "body": {"type": "array", "items": {"oneOf": [TEXT_BLOCK, CONTAINER]}},
                        },
                        msteams=fields({"width": {"const": "Full"}}),
                    ),
                }
            ),
        },
    }
)
# https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}
ALERTMANAGER_V4 = fields(
    {
        "version": {"const": "4"},
        "groupKey": text(),
        "truncatedAlerts": {"type": "integer"},
        "status": {"enum": ["firing", "resolved"]},
        "receiver": text(),
        "groupLabels": TEXTS,
        "commonLabels": TEXTS,
        "commonAnnotations": TEXTS,
        "externalURL": text(),
        "alerts": {
            "type": "array",
            "items": fields(
                {
                    "status": {"enum": ["firing", "resolved"]},
                    "labels": {
                        "type": "object",
                        "required": ["alertname"],
                        "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
                        "additionalProperties": text(),
                    },
                    "annotations": TEXTS,
                    "startsAt": TIME,
                    "endsAt": TIME,
                    "generatorURL": {"type": "string"},
                    "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
                }
            ),
        },
    }
)

# RFC 5424, section 6, as far as our messages use it; the text begins with a byte order mark, as UTF-8 must.
RFC5424 = re.compile(
    rb"<(?P<priority>\d{1,3})>1 (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z) (?P<host>[!-~]{1,255}) "
    rb"(?P<app>[!-~]{1,48}) (?P<proc>[!-~]{1,128}) (?P<id>[!-~]{1,32}) "
    rb'(?P<data>\[[^= \]"]{1,32}( [^= \]"]{1,32}="([^\\"\]]|\\[\\"\]])*")*\]) \xef\xbb\xbf(?P<text>.*)',
    re.S,
)
