# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerts of a drill: what its definition may say, which messages count, and the judgement of a history."""

from __future__ import annotations

import contextlib
import json
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._drill.alerts.alert_message import (
    KINDS,
    parse_message,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_definition import Expectations, Objective
from ansible_collections.consulops.failover.plugins.module_utils._drill.expectations import (
    expected,
    judge_expectations,
    plan_event,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.history_reader import read_history
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_definition import definition_of
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_parts import listen_address
from hypothesis import given
from hypothesis import strategies as st

S = 1_000_000_000
Line = dict[str, t.Any]
EXPECT = Expectations(alert_firing=Objective(5, scaled=False), alert_resolved=Objective(5, scaled=False))
FAULT = {"at": "4s", "for": "6s", "fault": "killed", "targets": "leader"}


def event(name: str, at_s: float, **fields: t.Any) -> Line:
    return {"type": "event", "event": name, "time": int(at_s * S), **fields}


def alert(kind: str, at_s: float, key: str = "k", episode: str = "e") -> Line:
    return event(f"alert_{kind}", at_s, alert=key, episode=episode)


def canary(fails_s: float, passes_s: float) -> list[Line]:
    return [
        event("alerts_started", 0, about="canary"),
        event("canary_asked", fails_s, status="critical"),
        event("canary_set", fails_s + 0.1, status="critical"),
        event("canary_asked", passes_s, status="passing"),
        event("canary_set", passes_s + 0.1, status="passing"),
    ]


def judged(events: t.Sequence[Line], expect: Expectations = EXPECT) -> dict[str, tuple[str, t.Any]]:
    lines = [
        {"type": "header", "format": 1, "workloads": ["set"], "consistency": "default"},
        event("drill_plan", 0, **json.loads(json.dumps(plan_event("A drill", expect, 1)))),
        *events,
    ]
    history = read_history(json.dumps(line).encode() + b"\n" for line in lines)
    found = judge_expectations(history, "valid")
    return {one.name: (one.verdict, one.measured) for one in found if one.name != "history"}


def test_one_alert_and_its_end_in_time_are_met() -> None:
    events = [*canary(10, 20), alert("firing", 12.5), alert("resolved", 21), event("alerts_ended", 30)]
    assert judged(events) == {"alert_firing": ("met", 2.5), "alert_resolved": ("met", 1.0)}


def test_an_alert_of_a_rule_is_measured_from_the_faults() -> None:
    faults = [event("fault_started", 10), event("fault_ended", 20)]
    events = [event("alerts_started", 0, about="no_leader"), *faults, alert("firing", 12), alert("resolved", 26)]
    assert judged([*events, event("alerts_ended", 30)]) == {
        "alert_firing": ("met", 2.0),
        "alert_resolved": ("missed", 6.0),
    }


@pytest.mark.parametrize(
    ("alerts", "firing", "resolved"),
    [
        ([], ("missed", None), ("missed", None)),
        ([alert("firing", 16)], ("missed", 6.0), ("missed", None)),
        ([alert("firing", 11), alert("firing", 12, episode="f")], ("missed", "2 times"), ("missed", None)),
        ([alert("firing", 9), alert("resolved", 21)], ("missed", -1.0), ("met", 1.0)),
        ([alert("firing", 11), alert("resolved", 15)], ("met", 1.0), ("missed", -5.0)),
        ([alert("firing", 11), alert("firing", 12, "l"), alert("resolved", 21)], ("met", 2.0), ("missed", None)),
    ],
)
def test_what_is_not_one_alert_in_time_is_missed(
    alerts: list[Line], firing: tuple[str, t.Any], resolved: tuple[str, t.Any]
) -> None:
    found = judged([*canary(10, 20), *alerts, event("alerts_ended", 40)])
    assert found == {"alert_firing": firing, "alert_resolved": resolved}


@given(
    st.lists(st.sampled_from(["firing", "resolved"]), max_size=4),
    st.integers(0, 5),
    st.none() | st.floats(0, 24, allow_nan=False),
)
def test_a_drill_that_ended_too_early_is_never_met(kinds: list[str], known: int, ended_s: float | None) -> None:
    events = [*canary(10, 20)[:known], *(alert(kind, 21, episode=str(n)) for n, kind in enumerate(kinds))]
    # Without its last event, the drill was killed or interrupted.
    found = judged(events)
    assert {verdict for verdict, _measured in found.values()} <= {"unknown", "missed"}
    if known < 3:
        assert {verdict for verdict, _measured in found.values()} == {"unknown"}
    if ended_s is not None and not kinds and known == 5:
        late = judged([*events, event("alerts_ended", ended_s)])["alert_resolved"]
        assert late == ("unknown", None)


def test_a_canary_that_consul_did_not_take_says_nothing_about_alerts() -> None:
    events = [event("alerts_started", 0, about="canary"), event("canary_asked", 10, status="critical")]
    assert judged([*events, event("alerts_ended", 60)]) == dict.fromkeys(
        ("alert_firing", "alert_resolved"), ("unknown", None)
    )


def test_what_is_expected_of_alerts_is_said() -> None:
    assert expected(EXPECT, 1)[:2] == [
        "one alert arrives at most 5 s after its cause began",
        "its end arrives at most 5 s after its cause ended",
    ]


def test_a_canary_fails_while_the_faults_last_unless_it_has_times_of_its_own() -> None:
    definition, _load = definition_of({"name": "d", "title": "D", "faults": [FAULT], "alert": {"about": "canary"}}, 1)
    assert definition.alert is not None and (definition.alert.at_s, definition.alert.end_s) == (4, 10)
    assert definition.alert.faults == 1
    alone = {"name": "d", "title": "D", "alert": {"about": "canary", "at": "2s * raft_multiplier", "for": "3s"}}
    definition, _load = definition_of(alone, 5)
    assert definition.alert is not None and (definition.alert.at_s, definition.end_s) == (10, 13)
    assert definition.alert.faults == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"alert": {}}, "drill.alert.about: this option is required"),
        ({"alert": {"about": "no_laeder"}}, "drill.alert.about: 'no_laeder' is not one of canary, "),
        ({"alert": {"about": "canary"}}, "drill.alert.at: the drill has no fault"),
        ({"alert": {"about": "canary", "at": "1s"}}, "drill.alert.for: the drill has no fault"),
        ({"alert": {"about": "canary", "at": "soon", "for": "1s"}}, "drill.alert.at: 'soon' is not a duration"),
        ({"alert": {"about": "no_leader"}}, "drill.alert.about: the rule no_leader is about faults"),
        ({"faults": [FAULT], "alert": {"about": "no_leader", "at": "1s"}}, "drill.alert.at: only a canary has times"),
        ({"faults": [FAULT], "alert": {"about": "canary", "at": "9500ms"}}, "drill.alert.at: the canary must fail at"),
        ({"expect": {"alert_firing": "5s"}}, "drill.expect.alert_firing: the drill has no alert"),
    ],
)
def test_what_is_wrong_with_an_alert_is_said_with_the_path_of_the_key(change: Line, sentence: str) -> None:
    with pytest.raises(InvalidOption) as error:
        definition_of({"name": "d", "title": "D", **change}, 1)
    assert str(error.value).startswith(sentence)


@given(st.binary() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_a_body_is_a_message_or_a_value_error(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert parse_message(body).kind in KINDS


def test_a_message_of_the_agent_is_read() -> None:
    one = {"key": "k", "episode": "e", "rule": "check_status", "since": 7, "node": "n", "check": "c", "more": []}
    message = parse_message(json.dumps({"kind": "resolved", "alerts": [one], "version": 1}).encode())
    assert message.kind == "resolved" and message.alerts[0].since == 7 and message.alerts[0].severity == ""


@pytest.mark.parametrize("text", ["", "10.0.0.5", "10.0.0.5:70000", "::1:80", "[::1]", "10.0.0.256:80", "[10.0.0.5]:x"])
def test_an_address_to_listen_at_must_be_one(text: str) -> None:
    with pytest.raises(InvalidOption, match="is not an IP address with a port"):
        listen_address(text)


def test_addresses_to_listen_at() -> None:
    assert listen_address("10.0.0.5:8497") == ("10.0.0.5", 8497) and listen_address("[::1]:0") == ("::1", 0)
