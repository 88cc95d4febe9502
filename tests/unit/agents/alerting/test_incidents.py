# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When something that is wrong becomes an alert, and when it ends."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import saved_state
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.core import Core
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.incidents import Place, key_of
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.saved_state import StateUnusable
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import Judgement

from .scenario import T0, Inbox, check, config, core_of, finding, in_maintenance, judgement, unknown


def test_an_alert_fires_after_its_for_and_ends_after_its_recover_for() -> None:
    inbox = Inbox(core_of())
    assert inbox.judge(0, check()) == []
    assert inbox.read(29.9) == []
    assert inbox.read(30) == ["ops firing critical web"]
    assert inbox.judge(100) == []
    assert inbox.read(129.9) == []
    assert inbox.read(130) == ["ops resolved critical web"]
    assert inbox.received[-1].alerts[0].reason == "recovered"


def test_what_ends_before_its_for_is_not_reported() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.judge(20)
    assert inbox.judge(40, check()) == [] and inbox.read(69) == []
    assert inbox.read(70) == ["ops firing critical web"]


def test_what_comes_back_before_its_recover_for_goes_on_without_a_message() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    inbox.judge(40)
    assert inbox.judge(60, check()) == [] and inbox.read(1000) == []


@pytest.mark.parametrize(
    ("rules", "critical_s", "warning_s"),
    [
        ([], 30, 60),
        ([{"rule": "check_status", "for": "0s"}], 0, 0),
        ([{"rule": "check_status", "for": {"critical": "2h"}}], 7200, 60),
        ([{"rule": "check_status", "match": {"service": "web"}, "for": {"critical": "5s"}}], 5, 60),
        ([{"rule": "check_status", "match": {"service": "db"}, "for": {"critical": "5s"}}], 30, 60),
        ([{"rule": "node_down", "for": "1s"}], 30, 60),
    ],
)
def test_times_are_by_rule_severity_and_place(rules: list[t.Any], critical_s: float, warning_s: float) -> None:
    for severity, expected_s in (("critical", critical_s), ("warning", warning_s)):
        inbox = Inbox(core_of(rules=rules))
        said = inbox.judge(0, check(severity=severity))
        if expected_s:
            assert said == [] and inbox.read(expected_s - 0.1) == []
            said = inbox.read(expected_s)
        assert said == [f"ops firing {severity} web"]


def test_a_cluster_alert_fires_before_consul_forgets_the_evidence() -> None:
    inbox = Inbox(core_of())
    assert inbox.judge(0, finding("server_missing", node="s3")) == []
    assert inbox.read(5) == ["ops firing critical server_missing"]


def test_worsening_is_reported_at_once_and_improving_is_not() -> None:
    inbox = Inbox(
        core_of(route={"receiver": "ops", "group_wait": "0s", "group_interval": "1h", "repeat_every": "never"})
    )
    inbox.judge(0, check(severity="warning"))
    assert inbox.read(60) == ["ops firing warning web"]
    assert inbox.judge(70, check(severity="critical")) == []
    assert inbox.read(100) == ["ops firing critical web"]
    assert inbox.judge(200, check(severity="warning")) == [] and inbox.read(300) == []
    inbox.judge(400, check(severity="critical"))
    assert inbox.read(430) == ["ops firing critical web"]
    assert len({one.alerts[0].episode for one in inbox.received}) == 1
    assert len({one.id for one in inbox.received}) == 3


def test_unknown_freezes_an_alert_and_its_timers() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.take(10, unknown())
    assert inbox.read(500) == []
    inbox.judge(510, check())
    assert inbox.read(529) == []
    assert inbox.read(530) == ["ops firing critical web"]
    inbox.take(540, unknown())
    assert inbox.read(5000) == []
    inbox.judge(5000)
    assert inbox.read(5029) == []
    assert inbox.read(5030) == ["ops resolved critical web"]


def test_the_checks_of_a_dead_node_do_not_recover() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    dead = judgement(finding("node_down", node="n1"), hidden_nodes={("dc1", "n1")})
    inbox.take(40, dead)
    assert inbox.read(70) == ["ops firing critical node_down"]
    assert inbox.read(500) == []
    inbox.judge(500, check())
    assert inbox.read(530) == ["ops resolved critical node_down"]
    inbox.judge(600)
    assert inbox.read(630) == ["ops resolved critical web"]


def test_maintenance_ends_an_alert_at_once() -> None:
    for place in (in_maintenance("n1"), in_maintenance("n1", "web-1")):
        inbox = Inbox(core_of())
        inbox.judge(0, check())
        inbox.read(30)
        assert inbox.take(40, place) == ["ops resolved critical web"]
        assert inbox.received[-1].alerts[0].reason == "maintenance"
    other = Inbox(core_of())
    other.judge(0, check())
    other.read(30)
    assert other.take(40, in_maintenance("n1", "db")) == []


def test_maintenance_that_lasts_too_long_is_an_alert_until_it_ends() -> None:
    inbox = Inbox(core_of(maintenance_limit="4h"))
    inbox.take(0, in_maintenance("n1"))
    assert inbox.take(4 * 3600 - 1, in_maintenance("n1")) == []
    assert inbox.take(4 * 3600, in_maintenance("n1")) == ["ops firing warning maintenance_too_long"]
    inbox.take(5 * 3600, unknown())
    assert inbox.read(6 * 3600) == []
    inbox.judge(6 * 3600)
    assert inbox.read(6 * 3600 + 30) == ["ops resolved warning maintenance_too_long"]


def test_what_was_deregistered_ends_with_that_reason_after_gone_for() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    assert inbox.core.incidents.vanished_places("dc1", Judgement()) == [Place("n1", "web-1", "web")]
    assert inbox.core.incidents.vanished_places("dc1", judgement(check())) == []
    inbox.take(40, Judgement(), gone=[Place("n1", "web-1", "web")])
    assert inbox.read(99) == []
    assert inbox.read(100) == ["ops resolved critical web"]
    assert inbox.received[-1].alerts[0].reason == "deregistered"


def test_what_flaps_is_reported_once_and_ends_when_it_is_stable() -> None:
    inbox = Inbox(core_of(flapping={"changes": 4, "window": "10m"}))
    for at in range(0, 300, 15):
        inbox.judge(at, *([check()] if at % 30 == 0 else []))
    (first,) = inbox.received
    assert first.alerts[0].flapping and first.alerts[0].since == T0
    assert inbox.read(884) == []
    assert inbox.read(885) == ["ops resolved critical web"]
    assert inbox.judge(2000, check()) == []


def test_the_worst_of_findings_with_one_identity_counts_in_any_order() -> None:
    pair = [check(severity="warning"), check(severity="critical")]
    for findings in (pair, pair[::-1]):
        inbox = Inbox(core_of())
        inbox.judge(0, *findings)
        assert inbox.read(30) == ["ops firing critical web"]


def test_names_with_slashes_do_not_collide() -> None:
    assert key_of(check(node="a/b", name="c")) != key_of(check(node="a", name="b/c"))
    assert key_of(check(node="a%2Fb")) != key_of(check(node="a/b"))


def test_a_new_episode_has_a_new_name_and_instances_agree_on_it() -> None:
    inboxes = [Inbox(core_of()), Inbox(core_of())]
    for delay_s, inbox in enumerate(inboxes):
        for start in (0, 200):
            inbox.judge(start + delay_s, check())
            inbox.read(start + delay_s + 30)
            inbox.judge(start + delay_s + 40)
            inbox.read(start + delay_s + 70)
    first, second = ([one.alerts[0].episode for one in inbox.received] for inbox in inboxes)
    assert first == second and first[0] == first[1] != first[2] == first[3]
    assert [one.id for one in inboxes[0].received] == [one.id for one in inboxes[1].received]


# ---------------------------------------------------------------------------------------------------------------
# Saving


def reloaded(core: Core, at: float) -> Core:
    made = config()
    again = Core(made.core, made.make_silences())
    again.load(core.encode(T0 + at), "state", T0 + at)
    return again


def test_a_restart_loses_neither_what_fires_nor_its_recovery() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check("pending"), check("told", node="n2"))
    inbox.judge(20, check("told", node="n2"))
    inbox.judge(25, check("pending"), check("told", node="n2"))
    assert inbox.read(30) == ["ops firing critical told"]
    again = Inbox(reloaded(inbox.core, 31))
    assert again.read(5000) == []  # nothing is known before the first judgement
    again.judge(5000, check("pending"))
    assert again.read(5023) == []
    assert again.read(5024) == ["ops firing critical pending"]
    assert again.read(5030) == ["ops resolved critical told"]


def test_an_alert_that_was_not_recorded_is_sent_again_under_the_same_id() -> None:
    core = core_of()
    core.update("dc1", judgement(check()), T0)
    (lost,) = core.due(T0 + 30)
    again = reloaded(core, 30)
    again.update("dc1", judgement(check()), T0 + 31)
    assert [one.id for one in again.due(T0 + 31)] == [lost.id]


def test_a_recovery_that_was_not_recorded_is_sent_again() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    inbox.judge(40)
    (lost,) = inbox.core.due(T0 + 70)
    again = reloaded(inbox.core, 70)
    assert [one.id for one in again.due(T0 + 71)] == [lost.id]


def test_a_clock_that_was_set_back_delays_nothing() -> None:
    core = core_of()
    core.update("dc1", judgement(check()), T0 + 5000)
    made = config()
    again = Core(made.core, made.make_silences())
    again.load(core.encode(T0 + 5000), "state", T0)
    inbox = Inbox(again)
    inbox.judge(1, check())
    assert inbox.read(31) == ["ops firing critical web"]


def test_a_newer_state_is_refused_as_such() -> None:
    state = json.loads(core_of().encode(T0))
    with pytest.raises(StateUnusable, match=r"^/s: the state has version 2 and this agent knows 1: ") as caught:
        core_of().load(json.dumps({**state, "version": 2}), "/s", T0)
    assert caught.value.is_newer


def test_a_state_that_is_cut_anywhere_is_refused_and_changes_nothing() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    state = inbox.core.encode(T0 + 30)
    core = core_of()
    before = core.encode(T0)
    for length in range(0, len(state), 7):
        with pytest.raises(StateUnusable, match=r"^/s: the state is cut or damaged") as caught:
            core.load(state[:length], "/s", T0)
        assert not caught.value.is_newer
    assert core.encode(T0) == before


@pytest.mark.parametrize(
    "change", [{"incidents": 3}, {"incidents": [{}]}, {"ended": [None]}, {"saved_at": "x"}, {"told": ""}]
)
def test_a_state_of_another_shape_is_refused(change: dict[str, t.Any]) -> None:
    state = {**json.loads(core_of().encode(T0)), **change}
    with pytest.raises(StateUnusable, match="cut or damaged"):
        core_of().load(json.dumps(state), "/s", T0)


def test_the_version_of_the_state_is_a_decision() -> None:
    assert saved_state.STATE_VERSION == 1


def test_a_datacenter_that_is_watched_under_another_name_keeps_its_alerts() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check(), check("db"))
    inbox.read(30)
    incidents = inbox.core.incidents
    incidents.rename_sources({"dc1": "east"}, {"east"})
    incidents.forget_sources({"east"}, T0 + 31)
    assert len(incidents.firing()) == 2
    inbox.core.update("east", judgement(check("db")), T0 + 32)
    assert inbox.read(62) == ["ops resolved critical web"]
    incidents.rename_sources({"dc2": "west"}, {"west"})
    incidents.forget_sources({"west"}, T0 + 63)
    assert incidents.firing() == []
