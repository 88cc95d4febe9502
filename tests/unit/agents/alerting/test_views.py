# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the endpoint and the page show of the core: always JSON, never well when something is unknown, and nothing of it unescaped."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import endpoint, page, views
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.core import Core
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery import ReceiverHealth
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.memory import Reading
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.metrics import alert_metrics
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.prometheus import Sample
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.silences import make_silence
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import Finding, Judgement
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observation import Observation
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._daemon.metrics import exposition
from ansible_collections.consulops.failover.plugins.module_utils._daemon.status import AgentStatus
from hypothesis import given, settings
from hypothesis import strategies as st

from .scenario import T0, Inbox, check, core_of, finding, in_maintenance, judgement, unknown

HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}\u202e\n"
STATUS = AgentStatus("alerting", "alerting", "host1", started=T0)
TYPES = {"ops": "mail", "pager": "mail", "dba": "mail"}
HEALTHY = ReceiverHealth("", 0, None, T0, None, 1, 0, 0)


def moment(at: float, judged: Judgement | None = None, **more: t.Any) -> views.Moment:
    readings = {"dc1": Reading("dc1", T0 + at, 0.1, judged, Observation("dc1", T0 + at))} if judged is not None else {}
    return views.Moment(**{"now": T0 + at, "readings": readings, "sources": ["dc1"], **more})


def shown(core: Core, seen: views.Moment) -> dict[str, t.Any]:
    snapshot = views.Snapshot.of(core)
    alerts, datacenters = views.alerts(snapshot, seen), views.datacenters(seen)
    return {
        "alerts": alerts,
        "counts": views.counts_of(alerts),
        "unknown": views.unknown_parts(alerts, datacenters),
        "silences": views.silences(snapshot, seen.now),
        "receivers": views.receivers(snapshot, seen, TYPES),
        "datacenters": datacenters,
    }


def text_of(core: Core, seen: views.Moment) -> str:
    return page.page(STATUS, shown(core, seen), seen.now)


CHECKS = st.builds(
    lambda name, severity, output: check(name, severity, output=output, detail=output),
    st.sampled_from(["a", "b", HOSTILE]),
    st.sampled_from(["critical", "warning"]),
    st.text(max_size=20) | st.just(HOSTILE),
)
JUDGEMENTS = st.one_of(
    st.lists(CHECKS, max_size=3).map(lambda found: judgement(*found)),
    st.just(unknown()),
    st.sampled_from([in_maintenance("n1"), in_maintenance("n1", "web-1")]),
)
STEPS = st.lists(st.tuples(st.sampled_from([0.0, 5.0, 30.0, 61.0, 700.0]), JUDGEMENTS), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(STEPS, st.booleans(), st.floats(allow_nan=False), st.booleans())
def test_whatever_the_core_holds_is_shown_as_json_and_is_not_well_while_it_is_unknown(
    steps: list[tuple[float, Judgement]], has_silence: bool, end: float, is_told: bool
) -> None:
    core, at = core_of(), 0.0
    if has_silence:
        silence = make_silence(
            {"match": {"node": "n1"}, "end": "2027-02-01T00:00:00Z", "author": HOSTILE, "reason": HOSTILE}, T0
        )
        core.silences.add(replace(silence, end=end))  # what another version may have written
    inbox = Inbox(core)
    for seconds, judged in steps:
        at += seconds
        core.update("dc1", judged, T0 + at)
        if is_told:
            inbox.read(at)
    last = steps[-1][1]
    seen = moment(at, last)
    everything = shown(core, seen)
    assert json.loads(json.dumps(everything, allow_nan=False)) == everything
    text = page.page(STATUS, everything, seen.now)
    assert (
        text.count("<script>") == 1
        and "{{" not in text.replace("{{ 7 * 7 }}", "")
        and "49" not in text.split("<footer>")[1]
    )
    firing = {incident.key for incident in core.incidents.firing()}
    assert {one["key"] for one in everything["alerts"] if one["firing"]} == firing
    if last.not_judged:
        assert everything["unknown"] and everything["datacenters"][0]["verdict"] != "ok"
        assert "Nothing is wrong" not in text and all(one["state"] == "unknown" for one in everything["alerts"])


def test_what_fires_comes_first_and_says_who_was_told_and_what_became_of_it() -> None:
    core = core_of(**{"for": {"critical": "0s", "warning": "60s"}})
    inbox = Inbox(core)
    inbox.judge(0, check("later", "warning"), check("web", output="HTTP 503"))
    sent = {one.id for one in inbox.received}
    first, second = shown(core, moment(1, waiting=sent))["alerts"]
    assert (first["check"], first["state"], first["output"], first["firing"]) == ("web", "firing", "HTTP 503", True)
    assert [(one["receiver"], one["delivery"]) for one in first["told"]] == [("ops", "waiting")]
    assert (second["check"], second["state"], second["told"]) == ("later", "pending", [])
    (first, _second) = shown(core, moment(1))["alerts"]
    assert first["told"][0]["delivery"] == "delivered" and first["told"][0]["at"] == "2027-01-15T08:00:00Z"
    core.record_failure(inbox.received[0], T0 + 1)
    assert shown(core, moment(1))["alerts"][0]["told"][0]["delivery"] == "given up"


def test_what_is_silenced_or_explained_by_another_says_so_on_the_page() -> None:
    core = core_of(**{"for": "0s"})
    options = {"match": {"check": "web"}, "end": "2027-01-15T09:00:00Z", "author": "mira", "reason": "CHG-7"}
    silence = make_silence(options, T0)
    core.silences.add(silence)
    core.update("dc1", judgement(check("web"), finding("no_leader")), T0)
    found = {one["rule"]: one for one in shown(core, moment(1))["alerts"]}
    assert found["check_status"]["silenced_by"][0]["id"] == silence.id and found["check_status"]["inhibited_by"]
    text = text_of(core, moment(1))
    assert "nobody is told until 2027-01-15T09:00:00Z" in text and "mira: CHG-7" in text and "check=web" in text


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (moment(0), "dc1: It has not been read yet."),
        (moment(0, unknown("check_status")), "dc1: not judged are check_status"),
        (replace(moment(0, judgement()), now=T0 + 100), "dc1: The last full reading is 1m 40s old."),
    ],
)
def test_a_datacenter_of_which_nothing_is_known_is_not_well(seen: views.Moment, sentence: str) -> None:
    everything = shown(core_of(), seen)
    assert everything["unknown"] == [sentence] and everything["datacenters"][0]["verdict"] == "unknown"
    assert "Not everything is known" in text_of(core_of(), seen)


def test_a_datacenter_that_was_read_a_moment_ago_is_well() -> None:
    assert shown(core_of(), moment(0, judgement()))["datacenters"][0]["verdict"] == "ok"
    assert "Nothing is wrong" in text_of(core_of(), moment(0, judgement()))


def test_a_receiver_is_said_to_work_only_after_a_success() -> None:
    health = {"ops": HEALTHY, "pager": replace(HEALTHY, problem="refused", waiting=2, oldest=T0 - 60)}
    found = {one["name"]: one for one in shown(core_of(), moment(0, health=health))["receivers"]}
    assert {name: one["state"] for name, one in found.items()} == {
        "pager": "failing",
        "ops": "working",
        "dba": "untried",
    }
    assert list(found)[0] == "pager" and found["pager"]["oldest"] == "2027-01-15T07:59:00Z"


def test_silences_are_listed_by_what_they_do_now() -> None:
    core = core_of(
        silences=[{"id": "kept", "match": {"node": "x"}, "end": "2027-01-16T00:00:00Z", "author": "a", "reason": "r"}]
    )
    for name, start, end in (("over", "06", "07"), ("now", "07", "09"), ("soon", "09", "10")):
        options = {"id": name, "match": {"check": "web"}, "author": "a", "reason": "r"}
        times = {"start": f"2027-01-15T{start}:00:00Z", "end": f"2027-01-15T{end}:00:00Z"}
        core.silences.add(make_silence({**options, **times}, T0))
    core.update("dc1", judgement(check("web")), T0)
    core.advance(T0 + 30)
    found = shown(core, moment(30))["silences"]
    assert [(one["id"], one["state"], one["configured"], one["firing"]) for one in found] == [
        ("now", "active", False, 1),
        ("kept", "active", True, 0),
        ("soon", "future", False, 1),
        ("over", "expired", False, 0),
    ]


def test_five_hundred_alerts_are_grouped_and_closed_and_more_than_a_thousand_are_not_all_shown() -> None:
    def core_with(count: int) -> Core:
        core = core_of(**{"for": "0s"})
        found = [check(f"c{number}", node=f"n{number % 20}") for number in range(count)]
        core.update("dc1", judgement(*found, finding("quorum_margin", "warning")), T0)
        return core

    text = text_of(core_with(500), moment(1, judgement()))
    assert "500 alerts" in text and text.count("<details class=part") == 20
    assert text.count("open>") == 1, "the group of one"
    assert "201 more alerts" in text_of(core_with(1200), moment(1))


@pytest.mark.parametrize("duration", ["0s", "-1h", "x", "100000w", []])
def test_a_silence_of_no_length_is_refused(duration: t.Any) -> None:
    body = {"match": {"node": "n"}, "duration": duration, "author": "a", "reason": "r"}
    with pytest.raises(InvalidOption, match="^silence.duration"):
        endpoint.silence_of_request(body, T0)


def test_a_silence_may_start_later_and_last_as_long_as_it_says() -> None:
    body = {"match": {"node": "n"}, "start": "2027-01-15T10:00:00Z", "duration": "90m", "author": "a", "reason": "r"}
    silence = endpoint.silence_of_request(body, T0)
    assert (silence.start - T0, silence.end - silence.start) == (7200.0, 5400.0)


def test_the_metrics_have_each_combination_of_labels_once() -> None:
    labels = ("check_status", "critical", "dc1", "n1", "web", 'a"b')
    text = exposition(STATUS, alert_metrics([Sample(labels, 9.0), Sample(labels, 7.0)]))
    lines = [line for line in text.splitlines() if line.startswith("consulops_alert_")]
    assert len(lines) == 2 and lines[0].endswith(" 1.0") and lines[1].endswith(" 7.0") and 'check="a\\"b"' in lines[0]


def test_a_finding_without_a_place_is_shown_with_its_summary() -> None:
    core = core_of(**{"for": "0s"})
    core.update("dc1", judgement(Finding("no_leader", "critical", "dc1", "dc1 has no leader")), T0)
    assert "dc1 has no leader</span>" in text_of(core, moment(0)).replace(" </span>", "</span>")
