# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the commands ``consulops alert …`` make of words, and of what agent or Consul answer; without either."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import from_consul
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.alert_match import alert_matchers
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import (
    Alert,
    Notification,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.silences import Silences, make_silence
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.templates import render
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.told import Told
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.trial import trial_notification
from ansible_collections.consulops.failover.plugins.module_utils._cli import alert_rendering
from ansible_collections.consulops.failover.plugins.module_utils._cli import main as cli
from ansible_collections.consulops.failover.plugins.module_utils._cli.match_words import match_words, parse_match
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


# ---------------------------------------------------------------------------------------------------------------
# What a silence matches


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["node=web1", "service=db"], {"node": "web1", "service": "db"}),
        (["tag=a", "tag=b", "tag=c"], {"tags": ["a", "b", "c"]}),
        (
            ["node_meta.rack=r1", "node_meta.team=x", "node_meta.team=y"],
            {"node_meta": {"rack": "r1", "team": ["x", "y"]}},
        ),
        (["check=re:^a=b$"], {"check": "re:^a=b$"}),
    ],
)
def test_words_become_a_match_and_words_again(words: list[str], match: dict[str, t.Any]) -> None:
    assert parse_match(words) == match
    assert alert_matchers(match, "match")
    assert match_words(match).split() == words


@pytest.mark.parametrize("word", ["web1", "=web1", "node=", "--node"])
def test_a_word_that_is_no_match_is_refused(word: str) -> None:
    with pytest.raises(InvalidOption, match="FIELD=PATTERN|has no pattern"):
        parse_match([word])


def test_alternatives_and_spaces_of_a_configuration_are_shown() -> None:
    assert match_words([{"node": "a b"}, {"tags": ["x", "y"]}]) == "node='a b' or tag=x tag=y"
    assert match_words(None) == "None"


def test_options_that_hold_no_secret_are_accepted_and_others_are_not() -> None:
    assert not any(map(cli._is_secret, ("--agent-token-file", "--author=ann", "--token-file")))
    assert all(map(cli._is_secret, ("--agent-token", "--auth", "--agent-token-file-x")))


# ---------------------------------------------------------------------------------------------------------------
# The list


def alert(**more: t.Any) -> dict[str, t.Any]:
    return {
        "summary": "web on n1 of dc1: check web is critical",
        "severity": "critical",
        "state": "firing",
        "since": "2027-01-15T07:48:00Z",
        "rule": "check_status",
        "datacenter": "dc1",
        "node": "n1",
        "service": "web",
        "check": "web-check",
        "told": [{"receiver": "pager", "status": "firing", "at": NOW - 700}],
        **more,
    }


def test_the_list_begins_with_the_worst_and_ends_with_what_is_silenced() -> None:
    alerts = [
        alert(node="silenced", silenced_by=[{"id": "s1"}], told=[]),
        alert(node="warning", severity="warning", state="firing"),
        alert(node="pending", state="pending", told=[]),
        alert(node="failed", told=[{"receiver": "mail", "status": "failed", "at": NOW - 60}], output="HTTP\n503"),
        alert(node="inhibited", inhibited_by=["a node is down"], told=[]),
    ]
    lines = alert_rendering.alert_list({"alerts": alerts}, NOW)
    assert [line.split()[5].partition("/")[0] for line in lines[1:6]] == [
        "failed",
        "warning",
        "pending",
        "inhibited",
        "silenced",
    ]
    assert "  mail FAILED 1m ago  " in lines[1] and lines[1].endswith('is critical (output: "HTTP 503")')
    assert "  pager 11m 40s ago  " in lines[2] and "  12m  " in lines[2] and "  nobody  " in lines[3]
    assert "  silenced by s1  " in lines[5] and "  inhibited  " in lines[4]
    assert lines[-1] == "5 alerts: 4 critical, 1 warning, 2 of them silenced or inhibited"


def test_what_is_not_known_is_listed_and_keeps_an_empty_list_from_looking_well() -> None:
    unknown = {"unknown": ["dc2: checks: no answer"]}
    assert alert_rendering.alert_list({"alerts": [], **unknown}, NOW) == [
        "no alert is known",
        "unknown: dc2: checks: no answer",
    ]
    lines = alert_rendering.alert_list({"alerts": [alert()], **unknown}, NOW)
    assert lines[-2:] == ["1 alert: 1 critical", "unknown: dc2: checks: no answer"]
    waiting = [{"receiver": "pager", "status": "firing", "at": NOW - 5, "delivery": "waiting"}]
    assert "  pager WAITING 5s ago  " in alert_rendering.alert_list({"alerts": [alert(told=waiting)]}, NOW)[1]


def test_a_rule_without_a_node_is_named_and_what_is_missing_is_no_failure() -> None:
    lines = alert_rendering.alert_list(
        {"alerts": [{"rule": "no_leader"}, "no alert", {"since": "x", "told": None}]}, NOW
    )
    assert len(lines) == 5 and "  no_leader  " in lines[1] + lines[2]
    assert alert_rendering.alert_list({}, NOW) == ["no alerts"]
    assert alert_rendering.silence_list({"silences": [{}]}, NOW, expired=False)[1].split() == ["-"] * 4 + [
        "None",
        "-",
        "-",
    ]
    assert alert_rendering.explanation({}, NOW) == ["- in -"]
    assert alert_rendering.explanation({"incidents": [{}]}, NOW)[-1].split() == ["message", "-"]


def test_silences_that_are_over_are_listed_on_request_only() -> None:
    silences = Silences([make_silence(options("conf", end="2100-01-01T00:00:00Z"), 0.0)])
    for name, start, end in (
        ("now", "2027-01-15T07:00:00Z", "2027-01-15T09:00:00Z"),
        ("over", "2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z"),
        ("later", "2027-02-01T00:00:00Z", "2027-02-02T00:00:00Z"),
    ):
        silences.add(make_silence(options(name, start=start, end=end), NOW))
    document = from_consul.silences_document(silences, NOW)
    assert {one["id"]: (one["state"], one["configured"]) for one in document["silences"]} == {
        "conf": ("active", True),
        "now": ("active", False),
        "over": ("expired", False),
        "later": ("future", False),
    }
    lines = alert_rendering.silence_list(document, NOW, expired=False)
    assert [line.split()[0] for line in lines] == ["ID", "now", "conf", "later"]
    assert (
        "  1h  " in lines[1] and "  the configuration  " in lines[2] and "future from 2027-02-01T00:00:00Z" in lines[3]
    )
    assert alert_rendering.silence_list(document, NOW, expired=True)[-1].startswith("over")


def options(name: str, **more: str) -> dict[str, t.Any]:
    return {"id": name, "match": {"node": "n1"}, "author": "ann", "reason": "known", **more}


# ---------------------------------------------------------------------------------------------------------------
# Explanations


def test_who_would_be_told_is_not_claimed_of_what_is_silenced_or_unknown() -> None:
    route = {"receiver": "pager", "path": "route", "group": {}, "group_wait_s": 30.0, "muted": False, "told": None}
    supposed = {"rule": "node_down", "severity": "critical", "routes": [route], "silenced_by": []}
    document = {"datacenter": "dc1", "node": "n1", "incidents": [], "supposed": supposed}

    def shown(**more: t.Any) -> str:
        return "\n".join(alert_rendering.explanation({**document, **more}, NOW))

    assert "no incident is known" in shown() and "would be told" in shown()
    assert "whether it fails now is not known" in shown(judged=False)
    assert "would not be told" in shown(supposed={**supposed, "silenced_by": [{"id": "s1"}]})
    assert "would not be told" in shown(supposed={**supposed, "routes": [{**route, "muted": True}]})
    assert "no such node" in shown(registered=False) and "no such node" not in shown(registered=None)
    assert "over: it does not fail now" in shown(incidents=[{**supposed, "state": "idle"}])
    assert "none, so nobody is told" in shown(supposed={**supposed, "routes": []})


# ---------------------------------------------------------------------------------------------------------------
# From Consul


def test_what_receivers_were_told_and_not_of_its_end_is_listed_with_the_silences_that_apply() -> None:
    told = Told()
    for name, status, receiver in (
        ("fires", "firing", "pager"),
        ("over", "firing", "pager"),
        ("over", "resolved", "pager"),
        ("refused", "firing", "mail"),
    ):
        one = Alert(name, name, status, "critical", "check_status", "dc1", f"{name} fails", NOW - 60, node=name)
        message = Notification(f"{name}-{status}", receiver, "firing", (one,), NOW - 30)
        told.record(message, "group", {})
    told.record_failure(message, refused=True)
    silences = Silences()
    silences.add(make_silence({**options("s1", end="2100-01-01T00:00:00Z"), "match": {"node": "refused"}}, NOW - 1))
    document = from_consul.alerts_document(told, silences, NOW)
    found = {one["node"]: one for one in document["alerts"]}
    assert set(found) == {"fires", "refused"} and document["as_of"] == "2027-01-15T07:59:30Z"
    assert found["fires"]["told"] == [{"receiver": "pager", "status": "firing", "at": "2027-01-15T07:59:30Z"}]
    assert found["refused"]["told"][0]["status"] == "failed" and found["refused"]["silenced_by"][0]["id"] == "s1"
    assert from_consul.alerts_document(Told(), silences, NOW) == {"alerts": [], "as_of": None}


# ---------------------------------------------------------------------------------------------------------------
# Test notifications


def test_a_test_notification_says_that_it_is_one_and_its_end_is_of_the_same_episode() -> None:
    begun, ended = (trial_notification("pager", "host1", "dc1", NOW, resolved=resolved) for resolved in (False, True))
    assert begun.alerts[0].episode == ended.alerts[0].episode
    words = render(begun)
    assert "test_notification" in words.subject and "TEST of the receiver pager, sent by hand on host1" in words.text
    assert (begun.kind, ended.kind, ended.alerts[0].ended) == ("firing", "resolved", NOW)
