# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is told what, and when: routes, groups, reminders, inhibition, silences, mute times, and notes of other instances."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import mute_times, told
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.alert_match import AlertMatchers
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.core import Core
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.explain import (
    explain,
    parse_question,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.queues import Queues
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.routing import group_of_id
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.saved_state import StateUnusable
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.silences import (
    Silence,
    Silences,
    make_silence,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.told import Superseded
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import Judgement
from ansible_collections.consulops.failover.plugins.module_utils._config import time_zones
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption

from .scenario import T0, Inbox, check, config, core_of, finding, judgement

NOW = {"group_wait": "0s", "group_interval": "1s", "repeat_every": "never"}


def route(*routes: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {"receiver": "ops", **NOW, "routes": list(routes), **more}


def receivers_of(tree: dict[str, t.Any], *findings: t.Any) -> list[str]:
    inbox = Inbox(core_of(route=tree))
    inbox.judge(0, *(findings or (check(),)))
    inbox.read(60)
    return sorted({one.receiver for one in inbox.received})


@pytest.mark.parametrize(
    ("tree", "told_receivers"),
    [
        (route(), ["ops"]),
        (route({"match": {"severity": "critical"}, "receiver": "pager"}), ["pager"]),
        (route({"match": {"severity": "warning"}, "receiver": "pager"}), ["ops"]),
        (
            route({"match": {"node": "n*"}, "receiver": "pager"}, {"match": {"node": "n1"}, "receiver": "dba"}),
            ["pager"],
        ),
        (
            route(
                {"match": {"node": "n*"}, "receiver": "pager", "continue": True},
                {"match": {"node_meta": {"team": "dba"}}, "receiver": "dba"},
            ),
            ["dba", "pager"],
        ),
        (route({"match": {"service": "web"}, "routes": [{"match": {"tags": "v1"}, "receiver": "dba"}]}), ["dba"]),
        (route({"match": {"service": "re:^web-[0-9]$"}, "receiver": "dba"}), ["dba"]),
        (route({"match": {"check": "web answers"}, "receiver": "dba"}), ["dba"]),
        (route({"match": [{"rule": "node_down"}, {"datacenter": "dc1"}], "receiver": "dba"}), ["dba"]),
        (
            route({"match": {"datacenter": "dc1"}, "ignore": {"service_meta": {"tier": "1"}}, "receiver": "dba"}),
            ["ops"],
        ),
    ],
)
def test_routes_lead_to_receivers(tree: dict[str, t.Any], told_receivers: list[str]) -> None:
    subject = check(tags=("v1",), node_meta=(("team", "dba"),), service_meta=(("tier", "1"),))
    assert receivers_of(tree, subject) == told_receivers


def test_a_receiver_that_two_routes_lead_to_is_told_once() -> None:
    inbox = Inbox(
        core_of(route=route({"match": {"node": "n1"}, "receiver": "ops", "continue": True}, {"match": {"rule": "*"}}))
    )
    inbox.judge(0, check())
    assert inbox.read(30) == ["ops firing critical web"]


def test_what_fails_together_is_reported_together_and_later_ones_wait_for_the_interval() -> None:
    tree = {"receiver": "ops", "group_by": ["datacenter", "rule"], "group_wait": "5s", "group_interval": "60s"}
    inbox = Inbox(core_of(route=tree))
    inbox.judge(0, check("a"))
    inbox.judge(3, check("a"), check("b"))
    assert inbox.read(30) == inbox.read(33) == inbox.read(34.9) == []
    assert inbox.read(35) == ["ops firing critical a", "ops firing critical b"]
    inbox.judge(36, check("a"), check("c"))
    assert inbox.read(94) == []
    assert inbox.read(95) == ["ops firing critical c", "ops resolved critical b"]
    assert [alert.check for alert in inbox.received[-2].still_firing] == ["a"]
    assert [alert.check for alert in inbox.received[-1].still_firing] == ["c", "a"]


def test_each_alert_is_a_message_of_its_own_where_groups_are_not_wanted() -> None:
    inbox = Inbox(core_of(route=route(group_by=["..."])))
    inbox.judge(0, check("a"), check("b"))
    inbox.read(30)
    assert [len(one.alerts) for one in inbox.received] == [1, 1]


def test_an_episode_that_ends_while_its_group_waits_is_still_reported() -> None:
    tree = {"receiver": "ops", "group_wait": "2m", "group_interval": "1s"}
    inbox = Inbox(core_of(route=tree))
    inbox.judge(0, check())
    inbox.read(30)
    inbox.judge(31)
    assert inbox.read(149) == []
    assert inbox.read(150) == ["ops firing critical web"]
    assert inbox.read(151) == ["ops resolved critical web"]
    assert inbox.read(152) == []
    assert inbox.core.incidents.ended == {}


def test_reminders_show_the_state_of_now_and_end_with_the_alert() -> None:
    inbox = Inbox(core_of(route=route(repeat_every="1h")))
    inbox.judge(0, check("a", output="first"), check("b"))
    inbox.read(30)
    inbox.judge(3000, check("a", output="second"))
    assert inbox.read(3030) == ["ops resolved critical b"]
    assert inbox.read(3030 + 3599) == []
    assert inbox.read(3030 + 3600) == ["ops reminder critical a"]
    assert inbox.received[-1].alerts[0].output == "second"
    inbox.judge(7000)
    assert inbox.read(7030) == ["ops resolved critical a"]
    assert inbox.read(99999) == []


def test_a_recovery_goes_to_those_who_were_told_even_if_routes_have_changed() -> None:
    inbox = Inbox(core_of(route=route({"match": {"severity": "critical"}, "receiver": "pager"})))
    inbox.judge(0, check())
    assert inbox.read(30) == ["pager firing critical web"]
    made = config()
    inbox.core.reconfigure(made.core, made.make_silences())
    assert inbox.read(31) == ["ops firing critical web"]
    inbox.judge(32)
    assert sorted(inbox.read(100)) == ["ops resolved critical web", "pager resolved critical web"]


def test_who_hears_of_the_worsening_and_who_heard_before_both_hear_of_the_end() -> None:
    inbox = Inbox(core_of(route=route({"match": {"severity": "critical"}, "receiver": "pager"})))
    inbox.judge(0, check(severity="warning"))
    assert inbox.read(60) == ["ops firing warning web"]
    inbox.judge(61, check(severity="critical"))
    assert inbox.read(91) == ["pager firing critical web"]
    inbox.judge(92, check(severity="warning"))
    assert inbox.read(200) == []
    inbox.judge(201)
    assert sorted(inbox.read(231)) == ["ops resolved critical web", "pager resolved critical web"]


def test_a_receiver_that_wants_no_recoveries_gets_none() -> None:
    inbox = Inbox(core_of(receivers={"ops": {"type": "mail", "send_resolved": False}}))
    inbox.judge(0, check())
    inbox.read(30)
    inbox.judge(31)
    assert inbox.read(100) == [] and inbox.core.incidents.ended == {}


def test_who_could_not_be_told_is_not_told_of_the_end() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    inbox.core.record_failure(inbox.received[-1], T0 + 50)
    assert inbox.read(31) == []
    inbox.judge(40)
    assert inbox.read(100) == []


WORKS = Queues(frozenset({"ops"}))


def test_what_was_given_up_is_told_as_it_is_now_when_the_receiver_works_again() -> None:
    inbox = Inbox(core_of(route=route(group_interval="1h")))
    inbox.judge(0, check(severity="critical"), check("db"))
    inbox.read(30)
    inbox.core.record_failure(inbox.received[-1], T0 + 50)
    inbox.judge(40, check(severity="critical"))
    assert inbox.read(100) == []
    assert inbox.read(101, WORKS) == ["ops firing critical web"]
    assert inbox.received[-1].id != inbox.received[0].id
    assert inbox.read(102, WORKS) == []
    inbox.core.record_delivery(inbox.received[-1], T0)
    inbox.judge(4000)
    assert inbox.read(4030, WORKS) == ["ops resolved critical web"]


def test_what_was_refused_is_not_told_again_before_the_reminder() -> None:
    inbox = Inbox(core_of(route=route(repeat_every="1h")))
    inbox.judge(0, check())
    inbox.read(30)
    inbox.core.record_failure(inbox.received[-1], T0 + 50, refused=True)
    assert inbox.read(100, WORKS) == []
    assert inbox.read(3700, WORKS) == ["ops reminder critical web"]


def test_an_end_that_was_given_up_is_told_when_the_receiver_works_again() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    inbox.core.record_delivery(inbox.received[-1], T0)
    inbox.judge(40)
    inbox.read(70)
    end = inbox.received[-1]
    a_day = 86_400.0
    assert inbox.read(a_day, Queues(waiting=frozenset({end.id}))) == []
    inbox.core.record_failure(end, T0 + a_day)
    assert inbox.read(a_day + 1) == []
    assert inbox.read(a_day + 2, WORKS) == ["ops resolved critical web"]
    again = inbox.received[-1]
    assert again.id != end.id and again.alerts[0].episode == end.alerts[0].episode
    inbox.core.record_delivery(again, T0)
    assert inbox.read(a_day + 3, WORKS) == [] and inbox.core.incidents.ended == {}


def test_the_end_is_told_of_what_was_told_although_its_reminder_was_given_up() -> None:
    inbox = Inbox(core_of(route=route(repeat_every="1h")))
    inbox.judge(0, check())
    inbox.read(30)
    inbox.core.record_delivery(inbox.received[-1], T0)
    assert inbox.read(3700) == ["ops reminder critical web"]
    inbox.core.record_failure(inbox.received[-1], T0 + 50)
    inbox.judge(3800)
    assert inbox.read(3900) == []
    assert inbox.read(3901, WORKS) == ["ops resolved critical web"]


def test_a_new_holder_tells_what_the_one_before_gave_up() -> None:
    first, second = Inbox(core_of()), Inbox(core_of())
    first.judge(0, check())
    first.read(30)
    first.core.record_delivery(first.received[-1], T0)
    first.judge(40)
    first.read(70)
    first.core.record_failure(first.received[-1], T0 + 50)
    second.judge(71)
    second.core.merge_notes(first.core.notes_to_share(T0 + 72), T0 + 72)
    second.judge(73)
    assert second.read(110, WORKS) == ["ops resolved critical web"]
    assert second.received[0].alerts[0].episode == first.received[0].alerts[0].episode


# ---------------------------------------------------------------------------------------------------------------
# Inhibition, silences, mute times


def test_without_a_leader_a_datacenters_checks_are_not_reported_again() -> None:
    inbox = Inbox(core_of(route=route(repeat_every="1h")))
    inbox.judge(0, check())
    inbox.read(30)
    inbox.take(40, judgement(finding("no_leader"), not_judged={("dc1", "check_status")}))
    assert inbox.read(50) == ["ops firing critical no_leader"]
    assert inbox.read(50 + 3600) == ["ops reminder critical no_leader"]


def test_a_consul_that_was_out_of_reach_several_times_hides_nothing_once_it_answers() -> None:
    inbox = Inbox(core_of(flapping={"changes": 4}, **{"for": "0s", "recover_for": "0s"}))
    everything = {("dc1", "check_status")}
    for at in range(0, 40, 20):
        inbox.take(at, judgement(finding("consul_unreachable"), not_judged=everything))
        inbox.judge(at + 10)
    assert [one.state for one in inbox.core.incidents.firing()] == ["flapping"]
    assert "ops firing critical web" in inbox.judge(40, check())
    assert inbox.core.suppression(T0 + 40).inhibitors_of(inbox.received[-1].alerts[0]) == []


def test_silences_are_put_in_order_once_for_all_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Silences] = []
    in_order = Silences.all

    def counted(silences: Silences) -> list[Silence]:
        calls.append(silences)
        return in_order(silences)

    monkeypatch.setattr(Silences, "all", counted)
    inbox = Inbox(core_of())
    inbox.judge(0, *(check(f"c{number}") for number in range(50)))
    assert len(inbox.read(30)) == 50
    assert len(calls) == 2  # one round for each of both times


def test_a_token_that_sees_a_part_does_not_hold_back_what_it_sees() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, finding("acl_token_blind", "warning"), check())
    inbox.read(30)
    assert {one.alerts[0].rule for one in inbox.received} == {"acl_token_blind", "check_status"}


def test_a_rule_of_the_configuration_inhibits_where_labels_are_equal() -> None:
    rule = {"source_match": {"check": "disk"}, "target_match": {"check": ["web", "disk"]}, "equal": ["node"]}
    inbox = Inbox(core_of(inhibit=[rule], route=route(group_by=["..."])))
    inbox.judge(0, check("disk"), check("web"), check("web", node="n2"))
    assert inbox.read(30) == ["ops firing critical disk", "ops firing critical web"]
    assert inbox.received[-1].alerts[0].node == "n2"
    inbox.judge(40, check("web"))
    assert "ops firing critical web" in inbox.read(70)  # the cause is gone, and it still fails


def silence(**more: t.Any) -> dict[str, t.Any]:
    given = {"match": {"service": "web"}, "end": "2027-01-15T09:00:00Z", "author": "ann", "reason": "deploy"}
    return {**given, **more}


def test_a_silence_holds_back_what_fires_and_not_the_recovery_of_what_was_told() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check("a"))
    inbox.read(30)
    inbox.core.silences.add(make_silence(silence(), T0 + 31))
    inbox.judge(40, check("b"))
    assert inbox.read(100) == ["ops resolved critical a"]
    assert inbox.read(3599) == []
    assert inbox.read(3600) == ["ops firing critical b"]


def test_what_fires_and_ends_in_silence_is_never_reported() -> None:
    inbox = Inbox(core_of(silences=[silence(start="2027-01-01T00:00:00Z")]))
    inbox.judge(0, check())
    inbox.read(30)
    inbox.judge(100)
    assert inbox.read(200) == [] and inbox.read(99999) == []


def test_a_silence_that_is_ended_silences_no_more() -> None:
    inbox = Inbox(core_of())
    added = make_silence(silence(), T0)
    inbox.core.silences.add(added)
    inbox.judge(0, check())
    assert inbox.read(100) == []
    inbox.core.silences.expire(added.id, T0 + 100)
    assert inbox.read(101) == ["ops firing critical web"]
    with pytest.raises(InvalidOption, match="ended at 2027-01-15T08:01:40Z"):
        inbox.core.silences.expire(added.id, T0 + 200)
    with pytest.raises(InvalidOption, match="no silence 'x'"):
        inbox.core.silences.expire("x", T0)


def test_silences_of_two_instances_are_merged_and_the_later_word_counts() -> None:
    first, second = Silences(), Silences()
    added = make_silence(silence(), T0)
    first.add(added)
    second.merge(first.encode(), "key")
    second.expire(added.id, T0 + 5)
    second.add(make_silence(silence(reason="other", id="x"), T0 + 6))
    first.merge(second.encode(), "key")
    second.merge(first.encode(), "key")
    assert first.encode() == second.encode() and [one.id for one in first.all()] == [added.id, "x"]
    assert not first.added[added.id].is_active(T0 + 6)
    with pytest.raises(StateUnusable, match=r"^key: "):
        first.merge(first.encode()[:-3], "key")
    first.prune(T0 + 30 * 86400)
    assert first.all() == []


def test_a_silence_of_the_configuration_is_changed_there_only() -> None:
    core = core_of(silences=[silence(id="deploy")])
    with pytest.raises(InvalidOption, match="in the configuration file"):
        core.silences.expire("deploy", T0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"end": "2020-01-01T00:00:00Z"}, r"silence\.end: .* is not after the start"),
        ({"end": "tomorrow"}, r"silence\.end 'tomorrow' is not a time"),
        ({"end": "2027-01-15T09:00:00"}, "with its zone"),
        ({"author": " "}, r"silence\.author"),
        ({"match": {}}, r"silence\.match is empty"),
        ({"match": {"service": "re:("}}, r"silence\.match\.service: .* is not a regular expression"),
        ({"match": {"colour": "x"}}, "'colour' is not a field"),
        ({"id": "a b"}, r"silence\.id"),
    ],
)
def test_invalid_silences_are_refused(change: dict[str, t.Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        make_silence(silence(**change), T0)


NIGHT = {"name": "night", "time_intervals": [{"times": [{"start_time": "08:00", "end_time": "09:00"}]}]}


def test_in_a_mute_time_nothing_is_sent_and_what_remains_follows_it() -> None:
    inbox = Inbox(core_of(time_intervals=[NIGHT], route=route({"match": {"rule": "*"}, "mute_times": ["night"]})))
    inbox.judge(0, check("brief"), check("long"))
    inbox.judge(100, check("long"))
    assert inbox.read(3599) == []
    assert inbox.read(3600) == ["ops firing critical long"]
    inbox.judge(86000)
    assert inbox.read(86400) == []  # the next morning at eight: the recovery waits too
    assert inbox.read(86400 + 3600) == ["ops resolved critical long"]


def test_outside_the_active_times_nothing_is_sent() -> None:
    inbox = Inbox(core_of(time_intervals=[NIGHT], route=route({"match": {"rule": "*"}, "active_times": ["night"]})))
    inbox.judge(4000, check())
    assert inbox.read(5000) == [] and inbox.read(86400) == ["ops firing critical web"]


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ({"weekdays": ["monday:friday"]}, ["2027-01-15T12:00Z"], ["2027-01-16T12:00Z", "2027-01-17T12:00Z"]),
        ({"weekdays": ["saturday", "sunday"]}, ["2027-01-16T12:00Z"], ["2027-01-15T12:00Z"]),
        (
            {"days_of_month": ["-3:-1"]},
            ["2027-02-26T00:00Z", "2027-02-28T00:00Z"],
            ["2027-02-25T23:59Z", "2027-03-28T00:00Z"],
        ),
        ({"days_of_month": ["1", "10:-2"]}, ["2027-02-01T00:00Z", "2027-02-27T00:00Z"], ["2027-02-28T00:00Z"]),
        ({"months": ["may:august", "12"]}, ["2027-05-01T00:00Z", "2027-12-31T00:00Z"], ["2027-09-01T00:00Z"]),
        ({"years": ["2027:2028"]}, ["2028-12-31T23:59Z"], ["2029-01-01T00:00Z"]),
        ({"times": [{"start_time": "22:00", "end_time": "24:00"}]}, ["2027-01-01T23:59Z"], ["2027-01-02T00:00Z"]),
        (
            {"times": [{"start_time": "09:00", "end_time": "17:00"}], "location": "Europe/Berlin"},
            ["2027-01-15T08:00Z", "2027-07-15T07:00Z"],  # winter and summer time
            ["2027-01-15T07:59Z", "2027-07-15T06:59Z", "2027-07-15T15:00Z"],
        ),
        ({"weekdays": ["friday"], "months": ["1"]}, ["2027-01-15T12:00Z"], ["2027-02-12T12:00Z"]),
    ],
)
def test_time_intervals_contain_what_alertmanager_says(interval: t.Any, inside: list[str], outside: list[str]) -> None:
    named = mute_times.make_mute_times([{"name": "x", "time_intervals": [interval]}])["x"]
    for text, expected in [*((one, True) for one in inside), *((one, False) for one in outside)]:
        moment = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=datetime.timezone.utc)
        assert named.contains(moment.timestamp()) is expected, text


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ({}, r"time_intervals\[0\]\.time_intervals\[0\]: the interval is empty"),
        ({"location": "UTC"}, "is empty"),
        ({"weekdays": ["mon"]}, r"\.weekdays\[0\]: 'mon' is neither one value nor a range such as monday:friday"),
        ({"weekdays": ["friday:monday"]}, "ends before it begins"),
        ({"days_of_month": ["0"]}, "is not between -31 and 31"),
        ({"days_of_month": ["-1:5"]}, "ends before it begins"),
        ({"months": ["13"]}, r"\.months\[0\]: '13' is not between 1 and 12"),
        ({"times": [{"start_time": "22:00", "end_time": "06:00"}]}, "over midnight as two"),
        ({"times": [{"start_time": "9:00", "end_time": "10:00"}]}, r"\.times\[0\]\.start_time: '9:00' is not a time"),
        ({"times": [{"start_time": "09:00", "end_time": "24:01"}]}, "is not a time"),
        ({"months": ["1"], "location": "Europe/Atlantis"}, r"\.location: there is no time zone 'Europe/Atlantis'"),
        ({"months": ["1"], "location": "../../etc/passwd"}, "there is no time zone"),
        ({"months": ["1"], "location": "Local"}, "hosts may differ"),
        ({"month": ["1"]}, r"\.month: unknown option"),
    ],
)
def test_invalid_time_intervals_are_refused(interval: t.Any, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        mute_times.make_mute_times([{"name": "x", "time_intervals": [interval]}])


def test_a_host_without_time_zone_data_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_data(name: str) -> t.NoReturn:
        raise time_zones.zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(time_zones.zoneinfo, "ZoneInfo", no_data)
    monkeypatch.setattr(time_zones.zoneinfo, "available_timezones", set)
    interval = {"months": ["1"], "location": "Europe/Berlin"}
    with pytest.raises(InvalidOption, match="install the package tzdata"):
        mute_times.make_mute_times([{"name": "x", "time_intervals": [interval]}])


# ---------------------------------------------------------------------------------------------------------------
# Notes of other instances


def test_an_instance_without_memory_reports_the_end_of_what_another_one_told() -> None:
    first, second = Inbox(core_of()), Inbox(core_of())
    first.judge(0, check())
    first.read(30)
    second.core.merge_notes(first.core.notes_to_share(T0 + 100), T0 + 100)
    assert second.read(100) == []
    second.judge(101)
    assert second.read(131) == ["ops resolved critical web"]
    assert second.received[0].alerts[0].episode == first.received[0].alerts[0].episode


def test_an_instance_that_knows_it_under_another_name_does_not_report_it_again() -> None:
    first, second = Inbox(core_of()), Inbox(core_of())
    first.judge(0, check())
    first.read(30)
    second.judge(900, check())
    second.core.advance(T0 + 930)
    second.core.merge_notes(first.core.notes_to_share(T0 + 931), T0 + 931)
    assert second.read(931) == []
    second.judge(1000)
    assert second.read(1030) == ["ops resolved critical web"]
    assert second.received[0].alerts[0].episode == first.received[0].alerts[0].episode


def test_what_another_instance_reported_as_over_is_not_reported_again() -> None:
    first, second = Inbox(core_of()), Inbox(core_of())
    for inbox in (first, second):
        inbox.judge(0, check())
        inbox.core.advance(T0 + 30)
    first.read(30)
    second.core.merge_notes(first.core.notes_to_share(T0 + 31), T0 + 31)
    for inbox in (first, second):
        inbox.judge(40)
        inbox.core.advance(T0 + 70)
    first.read(70)
    second.core.merge_notes(first.core.notes_to_share(T0 + 71), T0 + 71)
    assert second.read(72) == []


def test_what_ends_before_a_receiver_is_told_is_told_under_one_of_its_names() -> None:
    match = {"rule": "check_status"}
    pager = {"receiver": "pager", "match": match, "group_wait": "0s", "continue": True}
    route = {
        "receiver": "ops",
        "group_wait": "2h",
        "group_interval": "1s",
        "routes": [pager, {"receiver": "ops", "match": match}],
    }
    first, second = (Inbox(core_of(route=route)) for _number in range(2))
    first.judge(0, check())
    assert first.read(30) == ["pager firing critical web"]
    second.judge(3600, check())  # it has seen it for the first time: its own name is another one
    second.core.advance(T0 + 3630)
    second.core.merge_notes(first.core.notes_to_share(T0 + 3631), T0 + 3631)
    (incident,) = second.core.incidents.firing()
    assert incident.other_episodes
    second.judge(3640)
    assert second.read(3671) == ["pager resolved critical web"]
    assert second.read(3630 + 7200) == ["ops firing critical web"]
    assert second.read(3632 + 7200) == ["ops resolved critical web"]
    assert second.read(3634 + 7200) == [] and not second.core.incidents.ended


def test_a_message_that_waits_is_not_shared_as_told_and_what_was_shared_before_stays() -> None:
    first, second, third = (Inbox(core_of()) for _number in range(3))
    for inbox in (first, second, third):
        inbox.judge(0, check())
    first.read(30)
    (fired,) = first.received
    assert first.core.notes_to_share(T0 + 31, {fired.id}).notes == {}
    shared = first.core.notes_to_share(T0 + 32)
    first.judge(40)
    first.read(70)
    ended = first.received[-1]
    assert ended.kind == "resolved"
    # The message about the end waits in a spool: who takes over must send it.
    shared = first.core.notes_to_share(T0 + 71, {ended.id}, shared)
    second.core.merge_notes(shared, T0 + 71)
    second.judge(72)
    assert second.read(102) == ["ops resolved critical web"]
    third.core.merge_notes(first.core.notes_to_share(T0 + 72, set(), shared), T0 + 72)
    third.judge(73)
    assert third.read(103) == []


def test_a_message_that_waits_is_pointless_once_another_instance_told_that_it_is_over() -> None:
    first, second = Inbox(core_of()), Inbox(core_of())
    for inbox in (first, second):
        inbox.judge(0, check(), check("db"))
        inbox.core.advance(T0 + 30)
    first.read(30)  # both in one message, which waits
    second.read(31)
    (waiting,) = first.received
    assert len(waiting.alerts) == 2
    assert first.core.merge_notes(second.core.notes_to_share(T0 + 31, {waiting.id}), T0 + 32, [waiting]) == []
    second.judge(40, check("db"))
    second.read(70)
    notes = second.core.notes_to_share(T0 + 71)
    assert first.core.merge_notes(notes, T0 + 71, [waiting]) == [Superseded(waiting, T0 + 70)]
    # What waited besides is told by whoever sends next, unless that one was told too.
    assert {note.status for note in first.core.told.notes.values()} == {"firing", "resolved"}
    first.judge(71, check("db"))
    assert first.read(102) == []


def test_what_a_pointless_message_said_besides_is_due_again() -> None:
    first, second = Inbox(core_of()), Inbox(core_of())
    second.judge(0, check())
    first.judge(0, check(), check("db"))
    first.read(30)
    second.read(31)
    (waiting,) = first.received
    second.judge(40)
    second.read(70)
    assert first.core.merge_notes(second.core.notes_to_share(T0 + 71), T0 + 71, [waiting]) == [
        Superseded(waiting, T0 + 70)
    ]
    assert first.judge(71, check("db")) == ["ops firing critical db"]


def test_a_message_that_another_instance_delivered_is_pointless() -> None:
    first, second = Inbox(core_of()), Inbox(core_of())
    for inbox in (first, second):
        inbox.judge(0, check())
        inbox.read(30)
    notes = second.core.notes_to_share(T0 + 31)
    assert first.core.merge_notes(notes, T0 + 31, first.received) == [Superseded(first.received[0], T0 + 31)]


def test_notes_that_are_cut_are_refused() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    notes = inbox.core.notes_to_share(T0 + 30).encode()
    assert told.decode_told(notes, "key").notes == inbox.core.told.notes
    for length in range(0, len(notes), 5):
        with pytest.raises(StateUnusable, match=r"^key: "):
            told.decode_told(notes[:length], "key")


def test_a_group_is_its_text() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    (note,) = inbox.core.told.notes.values()
    assert group_of_id(note.group).id == note.group


# ---------------------------------------------------------------------------------------------------------------
# Explanations


def test_an_explanation_names_rule_times_routes_and_silences() -> None:
    made = config(
        rules=[{"rule": "check_status", "match": {"node": "n1"}, "for": "5s"}],
        route=route(
            {"match": {"severity": "critical"}, "receiver": "pager", "continue": True}, {"match": {"node": "n1"}}
        ),
        silences=[silence(match={"node": "n1"}, id="s1")],
    )
    core = Core(made.core, made.make_silences())
    answer = explain(core, made.rules, parse_question("n1/web-1/web", "dc1"), T0)
    supposed = answer["supposed"]
    assert (supposed["rule"], supposed["judged"]) == ("check_status", "by an entry of rules with match")
    assert (supposed["for_s"]["critical"], supposed["recover_for_s"]) == (5.0, 30.0)
    assert [(one["receiver"], one["path"]) for one in supposed["routes"]] == [
        ("pager", "options.route.routes[0]"),
        ("ops", "options.route.routes[1]"),
    ]
    assert [one["id"] for one in supposed["silenced_by"]] == ["s1"]
    node = explain(core, made.rules, parse_question("n1", "dc1"), T0)["supposed"]
    assert (node["rule"], node["message"]) == ("node_down", "node n1 is down")


def test_an_explanation_of_what_fires_says_who_was_told() -> None:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    answer = explain(inbox.core, config().rules, parse_question("n1/web-1", "dc1"), T0 + 31)
    (incident,) = answer["incidents"]
    assert "supposed" not in answer and incident["state"] == "firing"
    assert incident["routes"][0]["told"] == {"status": "firing", "at": "2027-01-15T08:00:30Z", "messages": 1}


def test_empty_matchers_cover_everything() -> None:
    inbox = Inbox(core_of())
    inbox.take(0, Judgement([check()]))
    (incident,) = inbox.core.incidents.by_key.values()
    assert AlertMatchers().covers(incident.firing_alert())
