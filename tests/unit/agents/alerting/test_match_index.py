# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Silences, routes and inhibitions of many alerts: the quick ways say the same as asking every matcher about every alert."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import match_index
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.alert_match import (
    AlertMatchers,
    alert_matchers,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.incidents import Incidents
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.inhibition import (
    Inhibitors,
    InhibitRule,
    InhibitRules,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.match_index import MatchIndex
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import FIRING, Alert
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.routing import Route, RouteTree
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.silences import Silences, make_silence
from ansible_collections.consulops.failover.plugins.module_utils._alerting.match import Matcher
from hypothesis import given
from hypothesis import strategies as st

from .scenario import T0, Inbox, check, core_of

NAMES = ("a", "b", "ab", "")
PATTERNS = ("a", "b", "ab", "a*", "*", "?", "[ab]", "re:^a", "re:b$")
SEVERITIES = ("warning", "critical")
RULES = ("check_status", "node_down")

patterns = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3) | st.sampled_from(PATTERNS)
metadata_patterns = st.dictionaries(st.sampled_from("xy"), patterns, min_size=1, max_size=2)
given_fields = st.fixed_dictionaries(
    {},
    optional={
        "severity": st.sampled_from(SEVERITIES),
        "rule": st.sampled_from(RULES),
        "node": patterns,
        "service": patterns,
        "check": patterns,
        "tags": patterns,
        "node_meta": metadata_patterns,
        "service_meta": metadata_patterns,
    },
).filter(bool)
match_lists = st.lists(given_fields, max_size=3).map(lambda options: alert_matchers(options, "match"))
entries = st.builds(AlertMatchers, match_lists, match_lists)
metadata = st.dictionaries(st.sampled_from("xy"), st.sampled_from(NAMES), max_size=2)
names = st.sampled_from(NAMES)


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    severity, rule = draw(st.sampled_from(SEVERITIES)), draw(st.sampled_from(RULES))
    node, service, checked = draw(names), draw(names), draw(names)
    return Alert(
        key=f"dc1/{rule}/{node}/{service}/{checked}",
        episode="0-1",
        status=FIRING,
        severity=severity,
        rule=rule,
        datacenter="dc1",
        summary="",
        since=T0,
        node=node,
        service=service,
        check=checked,
        tags=tuple(draw(st.lists(names, max_size=2))),
        node_meta=draw(metadata),
        service_meta=draw(metadata),
        service_name=draw(names),
        check_name=draw(names),
    )


@given(listed=st.lists(entries, max_size=5), seen=st.lists(alerts(), max_size=8))
def test_an_index_finds_what_each_matcher_covers(listed: list[AlertMatchers], seen: list[Alert]) -> None:
    index = MatchIndex(listed)
    for alert in (*seen, *seen):  # the second time from what is kept
        assert index.covering(alert) == tuple(place for place, one in enumerate(listed) if one.covers(alert))


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_index, "MOST_KEPT", 10)
    index = MatchIndex([AlertMatchers(alert_matchers({"node": ["n5", "n1*"]}, "match"))])
    base = Alert("k", "0-1", FIRING, "critical", "check_status", "dc1", "", T0)
    for number in range(100):
        alert = Alert(**{**vars(base), "node": f"n{number}"})
        assert index.covering(alert) == ((0,) if number in (1, 5, *range(10, 20)) else ())
    assert len(index._answers) <= 10


trees = st.recursive(
    st.builds(Route, st.sampled_from("xyz"), matchers=entries, continues=st.booleans()),
    lambda below: st.builds(
        Route,
        st.sampled_from("xyz"),
        matchers=entries,
        continues=st.booleans(),
        routes=st.lists(below, max_size=3).map(tuple),
    ),
    max_leaves=6,
)


def plain_routes(route: Route, alert: Alert) -> list[Route]:
    """Return what a route leads to, in the words of the guide: the first route below it that covers, and more while they continue."""
    found: list[Route] = []
    for below in route.routes:
        if below.matchers.covers(alert):
            found += plain_routes(below, alert)
            if not below.continues:
                break
    return found or [route]


@given(root=trees, seen=st.lists(alerts(), max_size=5))
def test_a_tree_leads_where_its_routes_lead_one_by_one(root: Route, seen: list[Alert]) -> None:
    tree = RouteTree(root)
    for alert in seen:
        wanted: dict[str, Route] = {}
        for route in plain_routes(root, alert):
            wanted.setdefault(route.receiver, route)
        assert tree.destinations(alert) == list(wanted.values())


rules = st.builds(
    InhibitRule, entries, entries, st.lists(st.sampled_from(["node", "service", "node_meta.x"]), max_size=2).map(tuple)
)


def inhibits(rule: InhibitRule, source: Alert, target: Alert) -> bool:
    def applies(one: Alert, other: Alert) -> bool:
        return rule.source.covers(one) and rule.target.covers(other) and rule.labels(one) == rule.labels(other)

    return source.key != target.key and applies(source, target) and not applies(target, source)


@given(listed=st.lists(rules, max_size=4), firing=st.lists(alerts(), max_size=8, unique_by=lambda alert: alert.key))
def test_what_inhibits_an_alert_is_what_each_rule_says_of_each_pair(
    listed: list[InhibitRule], firing: list[Alert]
) -> None:
    inhibitors = Inhibitors(firing, InhibitRules(listed))
    for target in firing:
        wanted = {source.key for source in firing for rule in listed if inhibits(rule, source, target)}
        found = [source.key for source in inhibitors.of(target)]
        assert set(found) == wanted and len(found) == len(wanted)
        assert inhibitors.any_of(target) == bool(wanted)


def test_a_silence_that_begins_ends_or_changes_is_noticed() -> None:
    def silence(node: str, start: str, end: str) -> t.Any:
        times = {"start": f"2027-01-15T{start}:00Z", "end": f"2027-01-15T{end}:00Z"}
        return make_silence({"id": node, "match": {"node": "n1"}, **times, "author": "mira", "reason": "disk"}, T0)

    alert = Alert("k", "0-1", FIRING, "critical", "check_status", "dc1", "", T0, node="n1")
    silences = Silences([silence("first", "08:00", "08:10")])
    silences.add(silence("second", "08:05", "08:20"))

    def in_force(after_s: float) -> list[str]:
        return [one.id for one in silences.of(alert, T0 + after_s)]

    assert [in_force(60 * minute) for minute in (0, 5, 10, 20)] == [["first"], ["first", "second"], ["second"], []]
    silences.add(silence("second", "08:05", "08:30"))
    assert in_force(60 * 20) == ["second"]
    silences.expire("second", T0 + 60 * 21)
    assert in_force(60 * 21) == []


def test_a_round_in_which_nothing_changed_asks_no_matcher(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [{"match": {"service": "w*", "node_meta": {"team": "dba"}}, "receiver": "dba"}]
    core = core_of(route={"receiver": "ops", "group_wait": "0s", "group_interval": "1s", "routes": routes})
    end = {"end": "2027-01-16T00:00:00Z", "author": "mira", "reason": "disk"}
    core.silences.add(make_silence({"match": {"node": "z*"}, **end}, T0))
    inbox = Inbox(core)
    inbox.judge(0, *(check(f"c{number}", node=f"n{number}") for number in range(20)))
    assert len(inbox.read(30)) == 20
    asked: list[Matcher] = []
    ask = Matcher.patterns

    def counted(matcher: Matcher, name: str) -> list[t.Any]:
        asked.append(matcher)
        return ask(matcher, name)

    monkeypatch.setattr(Matcher, "patterns", counted)
    assert inbox.read(31) == [] and asked == []
    inbox.judge(32, check("new", node="other"))
    inbox.read(70)
    assert asked


def test_a_message_is_recorded_without_a_look_at_all_that_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, *(check(f"c{number}") for number in range(5)))
    due = inbox.core.due(T0 + 30)
    monkeypatch.setattr(Incidents, "firing", lambda _incidents: pytest.fail("it looked at all of them"))
    for notification in due:
        inbox.core.record(notification)
    assert set(inbox.core.told.sources.values()) == {"dc1"} and len(inbox.core.told.sources) == 5
    for notification in due:
        inbox.core.record_failure(notification, T0 + 31)
    assert {note.status for note in inbox.core.told.notes.values()} == {"given up"}
