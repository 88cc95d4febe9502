# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever an alert says, the messages keep to the form and the limits of the services. Property tests."""

from __future__ import annotations

import email
import email.policy
import json
import re
import typing as t

from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import Alert
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers import (
    alertmanager_webhook,
    json_document,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.aws_sns import subject
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.mail_message import (
    Envelope,
    compose,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.message_fields import (
    description_of,
    incident_key,
    label_name,
    labels_of,
    shortened,
    shortened_bytes,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.opsgenie import _within
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.lab.notifications import notification, render
from tests.lab.receiving import make_receiver
from tests.lab.service_schemas import RFC5424

# Every character that JSON can carry, halves of surrogate pairs too.
TEXT = st.text(st.characters(), max_size=40) | st.sampled_from(["", "\\", '"', "]", "a\nb", "\ud800", "é" * 3000])
META = st.dictionaries(TEXT, TEXT, max_size=3)
ALERTS = st.builds(
    Alert,
    key=TEXT,
    episode=TEXT,
    status=st.sampled_from(["firing", "resolved"]),
    severity=st.sampled_from(["critical", "warning"]),
    rule=st.sampled_from(["check_status", "node_down"]),
    datacenter=TEXT,
    summary=TEXT,
    since=st.floats(0, 4e9),
    node=TEXT,
    service=TEXT,
    check=TEXT,
    output=TEXT,
    detail=TEXT,
    advice=TEXT,
    ended=st.none() | st.floats(0, 4e9),
    tags=st.lists(TEXT, max_size=3).map(tuple),
    node_meta=META,
    service_meta=META,
)


@given(ALERTS)
def test_labels_have_names_that_prometheus_allows_and_no_empty_values(alert: Alert) -> None:
    labels = labels_of(alert)
    assert all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) for name in labels) and all(labels.values())
    assert labels["alertname"] == alert.rule and labels["severity"] == alert.severity
    assert re.fullmatch("[0-9a-f]{40}", incident_key(alert)) and description_of(alert) is not None


@given(TEXT, st.integers(4, 50))
def test_texts_are_shortened_to_their_limit_and_not_changed_below_it(text: str, limit: int) -> None:
    assert len(shortened(text, limit)) <= limit and len(shortened_bytes(text, limit).encode()) <= limit
    assert shortened(text, len(text) or 1) == text
    assert re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", label_name(text))
    assert re.fullmatch(r"[ -~]{1,99}", subject(text))


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=300), max_size=5))
def test_details_are_shortened_together(details: dict[str, str]) -> None:
    result = _within(details, 200)
    assert sum(len(name) + len(value) for name, value in result.items()) <= 200 and set(result) == set(details)


@settings(max_examples=50)
@given(st.lists(ALERTS, min_size=1, max_size=3))
def test_json_and_mail_hold_any_alert(alerts: list[Alert]) -> None:
    one = notification(*alerts, id="fixed")
    words = render(one)
    for content in (json_document.content(one, words), alertmanager_webhook.content(one)):
        assert json.loads(json.dumps(content)) == content
    data = compose(one, words, Envelope("Consul <consul@example.org>", ("ops@example.org",)))
    assert data.isascii() and max(map(len, data.split(b"\r\n"))) <= 998 and b"\n" not in data.replace(b"\r\n", b"")
    assert data == compose(one, words, Envelope("Consul <consul@example.org>", ("ops@example.org",)))
    parsed = email.message_from_bytes(data, policy=email.policy.default)
    assert len(parsed["Subject"]) <= 200 and parsed["To"] == "ops@example.org" and parsed.is_multipart()
    assert not parsed.defects and parsed["References"].count("@example.org>") == len({one.episode for one in alerts})


@settings(max_examples=50)
@given(ALERTS)
def test_syslog_messages_keep_to_their_form_and_size(alert: Alert) -> None:
    receiver: t.Any = make_receiver("syslog", transport="udp", host="127.0.0.1")
    data = receiver._framed(alert)
    assert len(data) <= 2048 and RFC5424.fullmatch(data) and not re.search(rb"[\x00-\x1f\x7f]", data)
    stream: t.Any = make_receiver("syslog", transport="tcp", host="127.0.0.1")
    length, _space, rest = stream._framed(alert).partition(b" ")
    assert int(length) == len(rest) and rest == data


POINT = re.compile(
    r"(?P<head>(?:[^ ,=\n\\]|\\.|\\)+(?:,(?:[^ ,=\n\\]|\\[,= ]|\\(?![,= ]))+=(?:[^ ,=\n\\]|\\[,= ]|\\(?![,= ]))+)*) "
    r"firing=[01]i,since=\d+i,"
    r'summary="(?:[^"\\]|\\["\\])*",output="(?:[^"\\]|\\["\\])*" \d+'
)


@settings(max_examples=50)
@given(ALERTS)
@example(alert=Alert("k", "e", "firing", "critical", "check_status", "\r", "no tag may be empty", 0.0))
def test_points_for_influxdb_keep_to_its_line_protocol(tmp_path_factory: t.Any, alert: Alert) -> None:
    secret = tmp_path_factory.getbasetemp() / "token"
    secret.write_text("token\n", encoding="utf-8")
    receiver: t.Any = make_receiver("influxdb", url="http://127.0.0.1", org="o", bucket="b", token_file=str(secret))
    assert POINT.fullmatch(receiver._point(alert, notification(alert)))
