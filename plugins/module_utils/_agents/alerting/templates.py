# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person reads: the subject and the text of a notification, by default templates or those of the configuration. Pure.

A notification is never lost by its template: if one fails, the default is used, and the text says what is wrong with the template.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ..._consul.errors import InvalidOption
from ..._consul.units import human_age, timestamp
from .notification import FIRING, RESOLVED, Alert, Notification
from .template_sandbox import TemplateProblem, render_template

MAX_SUBJECT = 200  # characters
MAX_LISTED = 50  # alerts in one text
PARTS = ("subject", "text", "html")


@dataclass(frozen=True)
class Rendered:
    """A message for people. ``html`` is None if there is no template for it; ``subject`` is one line."""

    subject: str
    text: str
    html: str | None = None


@dataclass(frozen=True)
class TemplateOptions:
    """The templates of one receiver, None for the default."""

    subject: str | None = None
    text: str | None = None
    html: str | None = None


DEFAULT_SUBJECT = (
    "[{{ notification.kind | upper }}{% if notification.kind != 'resolved' %} {{ notification.severity }}{% endif %}] "
    "{{ what }}{% if more %} and {{ more }} more{% endif %} ({{ datacenters | join(', ') }})"
)

DEFAULT_TEXT = """\
{% for alert in alerts %}
{{ alert.status | upper }} {{ alert.severity }}: {{ alert.summary }}
{% if alert.flapping %}
  It is flapping: it changes too often for each change to be reported.
{% endif %}
{% if alert.ended %}
  since: {{ time(alert.since) }}, until {{ time(alert.ended) }} ({{ age(alert.ended - alert.since) }}, {{ alert.reason }})
{% else %}
  since: {{ time(alert.since) }} ({{ age(now - alert.since) }})
{% endif %}
{% if alert.output and alert.status == 'firing' %}
  output: {{ alert.output }}
{% endif %}
{% if alert.detail and alert.detail != alert.output and alert.status == 'firing' %}
  detail: {{ alert.detail }}
{% endif %}
{% if alert.advice and alert.status == 'firing' %}
  advice: {{ alert.advice }}
{% endif %}
  look: consulops alert explain {{ explain(alert) }}
{% endfor %}
{% if unlisted %}
... and {{ unlisted }} more.
{% endif %}
{% if still_firing %}
Still failing:
{% for alert in still_firing %}
  {{ alert.severity }}: {{ alert.summary }} (since {{ time(alert.since) }})
{% endfor %}
{% elif notification.kind == 'resolved' %}
Nothing else of this group is failing.
{% endif %}
{% if notification.instance %}
Sent by {{ notification.instance }} at {{ time(now) }}.
{% endif %}
"""


def render(notification: Notification, options: TemplateOptions | None = None) -> Rendered:
    """Return a notification as text. Raises MissingLibrary without Jinja2, and nothing for a template that fails."""
    options = options or TemplateOptions()
    values = _values(notification)
    problems: list[str] = []

    def part(name: str, source: str | None, default: str | None) -> str | None:
        if source is not None:
            try:
                return render_template(source, values, is_html=name == "html")
            except TemplateProblem as problem:
                problems.append(f"The template {name} of the receiver {notification.receiver} failed: {problem}.")
        return None if default is None else render_template(default, values)

    subject = part("subject", options.subject, DEFAULT_SUBJECT) or ""
    html = part("html", options.html, None)
    text = part("text", options.text, DEFAULT_TEXT) or ""
    if problems:
        text = "\n".join([text.rstrip("\n"), *problems, ""])
    return Rendered(_one_line(subject), text, html)


def check_templates(options: TemplateOptions, path: str) -> None:
    """Raise InvalidOption for a template that fails, tried with examples. ``path`` is where the templates are."""
    for name in PARTS:
        source = getattr(options, name)
        if source is None:
            continue
        for notification in _examples():
            try:
                render_template(source, _values(notification), is_html=name == "html")
            except TemplateProblem as problem:
                raise InvalidOption(f"{path}.{name}: the template cannot be used: {problem}.") from None


def _values(notification: Notification) -> dict[str, t.Any]:
    """Return what templates can use."""
    alerts = notification.alerts[:MAX_LISTED]
    first = notification.alerts[0]
    others = len(notification.alerts) - 1
    return {
        "notification": notification,
        "alerts": alerts,
        "still_firing": notification.still_firing[:MAX_LISTED],
        "unlisted": len(notification.alerts) - len(alerts),
        "group": dict(notification.group),
        "now": notification.time,
        "what": what_failed(first),
        "more": others,
        "datacenters": sorted({alert.datacenter for alert in notification.alerts}),
        "time": _Function(timestamp),
        "age": _Function(human_age),
        "explain": _Function(explain_argument),
    }


class _Function:
    """A function that templates may call. The sandbox refuses attributes that can be called, not names."""

    def __init__(self, function: t.Callable[..., str]) -> None:
        self._function = function

    def __call__(self, *args: t.Any) -> str:
        return self._function(*args)


def what_failed(alert: Alert) -> str:
    """Return what an alert is about, short, for a subject: never only a state."""
    name = alert.check_name or alert.check
    service = alert.service_name or alert.service
    if alert.rule == "node_down":
        return f"node {alert.node} is down" if alert.status == FIRING else f"node {alert.node} is back"
    if alert.rule == "check_status":
        place = f"{service} on {alert.node}" if service else alert.node
        return f"{place}: {name}" if name else place
    return f"{alert.rule} {alert.place}" if alert.place != alert.datacenter else alert.rule


def explain_argument(alert: Alert) -> str:
    """Return the argument of ``consulops alert explain`` for an alert: NODE/SERVICE/CHECK, with empty parts for what it has not."""
    if not (alert.node or alert.service or alert.check):
        return alert.rule
    text = "/".join((alert.node, alert.service, alert.check)).rstrip("/")
    return text if all(char.isalnum() or char in "/._-:" for char in text) else "'" + text.replace("'", "'\\''") + "'"


def _one_line(text: str) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= MAX_SUBJECT else line[: MAX_SUBJECT - 1] + "…"


def _examples() -> list[Notification]:
    firing = Alert(
        key="dc1/check_status/n1/web-1/web",
        episode="0-1",
        status=FIRING,
        severity="critical",
        rule="check_status",
        datacenter="dc1",
        summary="web on n1 of dc1: check web is critical",
        since=1_800_000_000.0,
        node="n1",
        service="web-1",
        check="web",
        output="HTTP 500",
        detail="HTTP 500 Internal Server Error",
        service_name="web",
        check_name="web",
    )
    resolved = replace(firing, status=RESOLVED, ended=1_800_000_600.0, reason="recovered")
    return [
        Notification("1", "example", "firing", (firing,), firing.since + 30.0, {"rule": "check_status"}, (firing,)),
        Notification("2", "example", "resolved", (resolved,), 1_800_000_600.0, {"rule": "check_status"}),
    ]
