# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people read, and that no template can hold the agent up or lose an alert."""

from __future__ import annotations

import dataclasses
import time

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import Notification
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.template_sandbox import (
    MAX_OUTPUT,
    TemplateProblem,
    render_template,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.templates import (
    TemplateOptions,
    explain_argument,
    render,
)

from .scenario import T0, Inbox, check, core_of


def messages() -> list[Notification]:
    inbox = Inbox(core_of())
    inbox.judge(0, check("http", output="HTTP 500", advice="restart it"), check("disk"))
    inbox.read(30)
    inbox.judge(600, check("disk"))
    inbox.read(640)
    return inbox.received


def test_the_default_says_what_failed_since_when_how_and_where_to_look() -> None:
    firing, resolved = map(render, messages())
    assert firing.subject == "[FIRING critical] web on n1: disk answers and 1 more (dc1)"
    for line in (
        "FIRING critical: web on n1 of dc1: check http is critical",
        "  since: 2027-01-15T08:00:00Z (30s)",
        "  output: HTTP 500",
        "  advice: restart it",
        "  look: consulops alert explain n1/web-1/http",
        "Sent by host1 at 2027-01-15T08:00:30Z.",
    ):
        assert line in firing.text.splitlines()
    assert resolved.subject == "[RESOLVED] web on n1: http answers (dc1)"
    assert "  since: 2027-01-15T08:00:00Z, until 2027-01-15T08:10:40Z (10m 40s, recovered)" in resolved.text
    assert "Still failing:\n  critical: web on n1 of dc1: check disk is critical" in resolved.text
    assert firing.html is None


@pytest.mark.parametrize("output", ["{{ 7*7 }}", "<b>", "line\r\nBcc: x@example.org"])
def test_what_a_check_says_is_never_a_template_and_never_a_header(output: str) -> None:
    firing = messages()[0]
    alert = dataclasses.replace(firing.alerts[0], check_name=output, output=output)
    rendered = render(
        dataclasses.replace(firing, alerts=(alert,)), TemplateOptions(html="<p>{{ alerts[0].output }}</p>")
    )
    assert output in rendered.text and len(rendered.subject.splitlines()) == 1
    assert rendered.html is not None and "<b>" not in rendered.html and "49" not in rendered.html


def test_a_template_that_fails_is_replaced_by_the_default_and_named() -> None:
    rendered = render(messages()[0], TemplateOptions(subject="{{ alerts[9].node }}", text="{{ nothing }}"))
    assert rendered.subject.startswith("[FIRING critical] web on n1")
    assert "FIRING critical: web on n1" in rendered.text
    assert "The template text of the receiver ops failed: 'nothing' is undefined." in rendered.text
    assert "The template subject of the receiver ops failed: " in rendered.text


def test_a_template_of_the_configuration_is_used() -> None:
    source = "{% for alert in alerts if alert.output %}{{ alert.node ~ '/' ~ alert.check }} {{ time(now) }}{% endfor %}"
    rendered = render(messages()[0], TemplateOptions(subject="{{ group.rule }}\n{{ more }}", text=source, html="<i>"))
    assert (rendered.subject, rendered.text, rendered.html) == ("check_status 1", "n1/http 2027-01-15T08:00:30Z", "<i>")


def test_a_text_names_a_bounded_number_of_alerts() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, *(check(f"c{number:04}", detail="x" * 300, output="y" * 160) for number in range(2000)))
    inbox.read(30)
    text = render(inbox.received[0]).text
    assert text.count("FIRING") == 50 and "... and 1950 more." in text and len(text) < MAX_OUTPUT


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "10,000 steps"),
        ("{% for a in range(99999999) %}{% endfor %}", "range has more than"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "without end|steps"),
        ("{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}", "10,000 steps"),
        ("{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursive loops"),
        ("{% macro d(s) %}{{ s }}{{ s }}{% endmacro %}" + "{{ " + "d(" * 40 + "'abc'" + ")" * 40 + " }}", "65,536"),
        ("{% set a = 'abc' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}", "longer than"),
        ("{% set a = 'abc' %}" + "{% set a = a + a %}" * 40 + "{{ a }}", "longer than"),
        ("{{ 'x' * 10 }}", "ordinary numbers"),
        ("{{ 9 ** 9 }}", "ordinary numbers"),
        ("{{ '%099999999d' % 1 }}", "ordinary numbers"),
        ("{{ '{:>99999999}'.format(1) }}", "unsafe|format"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ notification.__init__.__globals__ }}", "unsafe"),
        ("{{ alerts[0].node_meta.update({}) }}", "not safely callable|unsafe"),
        ("{% include '/etc/passwd' %}", "includes"),
        ("{% import 'os' as os %}", "includes"),
        ("{{ namespace() }}", "undefined"),
        ("{{ 'x'|center(99999999) }}", "No filter named 'center'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ alerts[0].nope }}", "'Alert' has no attribute 'nope'"),
        ("x" * 20_000, "longer than 16,384"),
        ("{% for i in range(9000) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}", "65,536"),
    ],
)
def test_a_template_that_does_too_much_ends_with_one_sentence(source: str, said: str) -> None:
    firing = messages()[0]
    started = time.process_time()
    with pytest.raises(TemplateProblem, match=said) as caught:
        render_template(source, {"notification": firing, "alerts": firing.alerts})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 260
    assert time.process_time() - started < 5


def test_what_to_look_for_is_safe_to_paste_into_a_shell() -> None:
    alert = messages()[0].alerts[0]
    assert explain_argument(dataclasses.replace(alert, node="n1; rm -rf /")) == "'n1; rm -rf //web-1/disk'"
    assert explain_argument(dataclasses.replace(alert, service="", check="", node="")) == "check_status"
    assert explain_argument(dataclasses.replace(alert, service="")) == "n1//disk"


def test_the_time_of_a_message_is_its_own() -> None:
    assert messages()[0].time == T0 + 30
