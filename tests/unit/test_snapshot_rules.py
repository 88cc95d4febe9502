# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules about policies of snapshot agents: what an agent publishes is what they read, and what they make of it."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.policy_status import (
    DestinationStatus,
    PolicyStatus,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.publish_job import published_status
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import Judgement
from ansible_collections.consulops.failover.plugins.module_utils._alerting.judge import judge
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observation import Observation
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rule_options import make_rules
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.snapshot_policies import (
    WHAT,
    Policy,
    SnapshotPolicies,
    Waiting,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.snapshots import Snapshots
from ansible_collections.consulops.failover.plugins.module_utils._consul.snapshot_status import (
    DestinationRecord,
    RehearsalRecord,
    SnapshotStatus,
    StatusPlace,
    parse_status,
    place_of,
)
from ansible_collections.consulops.failover.plugins.module_utils._consul.snapshot_waiting import (
    WaitingFor,
    WaitingPlace,
    WaitingSnapshots,
    parse_waiting,
    waiting_place_of,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
HOUR_S = 3600.0
DISK = DestinationRecord("/var/backups", 48, 9_000_000, NOW - 600, 0, "", "")
GOOD = SnapshotStatus(
    *("dc1", "one", 2 * HOUR_S, NOW - 600, 200_000, 77, NOW + 3000, 0, 0, 0, ""),
    destinations={"disk": DISK},
    at=NOW - 30,
)
REHEARSED = RehearsalRecord(NOW - HOUR_S, True, 12.5, False, "")
PLACE = StatusPlace("snapshot", "hourly")
WAITING = WaitingPlace("snapshot", "hourly", "host-2")
HELD = WaitingSnapshots(2, 900, NOW - HOUR_S, {"offsite": WaitingFor(2, "403")}, at=NOW - 30)
ALL = [{"rule": name} for name in ("snapshot_age", "snapshot_unverified", "snapshot_rehearsal_overdue")]
COUNTS = st.integers(min_value=0, max_value=10**9)
TIMES = st.integers(0, 4_000_000_000).map(float)
TEXTS = st.text(max_size=20)


def judged(
    *statuses: SnapshotStatus, rules: t.Sequence[dict[str, t.Any]] = ALL, place: StatusPlace = PLACE
) -> Judgement:
    observation = Observation("dc1", NOW)
    observation.add(SnapshotPolicies(tuple(Policy(place, one) for one in statuses), len(statuses)))
    return judge(observation, make_rules(list(rules)), {})


def found(*statuses: SnapshotStatus, **more: t.Any) -> list[tuple[str, str]]:
    """Return the severity and check of each finding."""
    return [(one.severity, one.check.rpartition("hourly/")[2]) for one in judged(*statuses, **more).findings]


@st.composite
def all_statuses(draw: st.DrawFn) -> SnapshotStatus:
    newest = draw(st.none() | TIMES)
    destinations = st.builds(
        DestinationRecord, TEXTS, COUNTS, COUNTS, st.none() | TIMES, COUNTS, damage=TEXTS, problem=TEXTS
    )
    seconds = st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000)
    return SnapshotStatus(
        datacenter=draw(st.none() | TEXTS),
        placement=draw(st.sampled_from(["one", "each"])),
        objective_s=draw(seconds),
        newest=newest,
        newest_size=0 if newest is None else draw(COUNTS),
        newest_index=0 if newest is None else draw(COUNTS),
        next_at=draw(TIMES),
        missed=draw(COUNTS),
        doubled=draw(COUNTS),
        given_up=draw(COUNTS),
        problem=draw(TEXTS),
        destinations=draw(st.dictionaries(TEXTS, destinations, max_size=3)),
        rehearsal=draw(
            st.none()
            | st.builds(RehearsalRecord, st.none() | TIMES, st.none() | st.booleans(), seconds, st.booleans(), TEXTS)
        ),
        at=draw(TIMES),
    )


@given(all_statuses())
def test_what_the_agent_publishes_is_what_the_rules_read(published: SnapshotStatus) -> None:
    assert vars(parse_status(published.operation(PLACE, published.at).value)) == vars(published)


@given(st.one_of(st.binary(max_size=40), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_anything_else_is_no_status(value: bytes | str) -> None:
    with pytest.raises(ValueError):
        parse_status(value if isinstance(value, bytes) else value.encode())


@pytest.mark.parametrize("place", [PLACE, StatusPlace("backup", "daily", "host-1.example")])
def test_a_key_says_whose_status_it_holds(place: StatusPlace) -> None:
    assert place_of(place.key) == place


@pytest.mark.parametrize("rest", ["", "a", "a/b", "a/b/other", "a/b/status/more", "a/b/nodes/", "/b/status"])
def test_another_key_holds_no_status(rest: str) -> None:
    assert place_of(f"consulops/snapshots/{rest}") is None


@given(
    st.builds(
        WaitingSnapshots,
        st.integers(1, 10**9),
        COUNTS,
        st.none() | TIMES,
        st.dictionaries(TEXTS, st.builds(WaitingFor, COUNTS, TEXTS), max_size=3),
        at=TIMES,
    )
)
def test_what_a_standby_publishes_is_what_the_rules_read(published: WaitingSnapshots) -> None:
    assert vars(parse_waiting(published.operation(WAITING, published.at).value)) == vars(published)


@given(st.one_of(st.binary(max_size=40), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_anything_else_says_nothing_of_what_waits(value: bytes | str) -> None:
    with pytest.raises(ValueError):
        parse_waiting(value if isinstance(value, bytes) else value.encode())


def test_the_keys_of_a_status_and_of_what_waits_are_not_mistaken_for_each_other() -> None:
    assert waiting_place_of(WAITING.key) == WAITING and place_of(WAITING.key) is None
    for place in (PLACE, replace(PLACE, node="waiting/x")):
        assert waiting_place_of(place.key) is None
    assert waiting_place_of("consulops/snapshots/a/b/waiting/") is None


def test_when_nothing_waits_the_key_is_deleted() -> None:
    assert WaitingSnapshots().operation(WAITING, NOW).verb == "delete"


def judged_waiting(held: WaitingSnapshots, rules: t.Sequence[dict[str, t.Any]] = ALL) -> Judgement:
    observation = Observation("dc1", NOW)
    observation.add(SnapshotPolicies((Policy(PLACE, GOOD),), 1, (Waiting(WAITING, held),)))
    return judge(observation, make_rules(list(rules)), {})


def test_what_waits_without_the_lease_is_a_finding_while_its_destination_does_not_work() -> None:
    (finding,) = judged_waiting(HELD).findings
    assert (finding.severity, finding.rule) == ("warning", "snapshot_unverified")
    assert finding.check == "snapshot/snapshot/hourly/host-2/waiting" and finding.advice == "offsite: 403"
    assert (
        "2 snapshots wait for offsite, the oldest taken 1h ago, of policy snapshot/hourly on host-2" in finding.summary
    )
    delivering = replace(HELD, destinations={"offsite": WaitingFor(2)})
    assert judged_waiting(delivering).verdict == "ok", "it is being delivered"
    assert judged_waiting(HELD, ALL[:1]).findings == []


def test_what_waits_on_a_host_that_is_gone_is_unknown() -> None:
    judgement = judged_waiting(replace(HELD, destinations={"offsite": WaitingFor(2)}, at=NOW - 200))
    assert judgement.findings == [] and [one.what for one in judgement.unknown] == [WHAT]
    assert "nothing was published by host-2 for 3m 20s: then 2 snapshots wait" in judgement.unknown[0].reason


def test_a_policy_in_order_has_no_finding() -> None:
    assert found(replace(GOOD, rehearsal=REHEARSED)) == []


def test_the_objective_of_the_policy_counts_and_not_the_thresholds_of_directories() -> None:
    weekly = replace(GOOD, objective_s=8 * 24 * HOUR_S, newest=NOW - 7 * 24 * HOUR_S)
    assert found(weekly) == []
    assert found(replace(GOOD, newest=NOW - 2 * HOUR_S - 1)) == [("critical", "age")]
    assert found(replace(GOOD, newest=None)) == [("critical", "age")]


def test_the_reason_of_an_old_snapshot_is_said() -> None:
    broken = replace(DISK, problem="The disk is full.")
    (finding, _other) = judged(
        replace(GOOD, newest=NOW - 9 * HOUR_S, problem="No leader.", destinations={"disk": broken})
    ).findings
    assert (
        finding.advice == "No leader. disk: The disk is full" and "9h old, and the objective is 2h" in finding.summary
    )


def test_a_destination_that_misses_snapshots_or_has_a_damaged_one_is_unverified() -> None:
    places = {"disk": replace(DISK, damage="x.snap: gone"), "offsite": replace(DISK, problem="403", waiting=2)}
    judgement = judged(replace(GOOD, destinations=places))
    assert [one.check.rpartition("hourly/")[2] for one in judgement.findings] == ["disk/damage", "offsite/problem"]
    assert "2 snapshots waiting" in judgement.findings[1].summary and judgement.findings[1].advice == "403"


@pytest.mark.parametrize(
    ("rehearsal", "expected"),
    [
        (None, []),
        (REHEARSED, []),
        (replace(REHEARSED, is_ok=False, error="It panics."), [("critical", "rehearsal")]),
        (replace(REHEARSED, is_overdue=True), [("warning", "rehearsal_overdue")]),
        (RehearsalRecord(None, None, 0.0, True, ""), [("warning", "rehearsal_overdue")]),
    ],
)
def test_rehearsals_are_judged(rehearsal: RehearsalRecord | None, expected: list[tuple[str, str]]) -> None:
    assert found(replace(GOOD, rehearsal=rehearsal)) == expected
    assert found(replace(GOOD, rehearsal=rehearsal), rules=ALL[:2]) == [], "it is off until it is named"


def test_an_agent_that_is_silent_leaves_unknown_what_it_took_since() -> None:
    judgement = judged(replace(GOOD, at=NOW - 200))
    assert judgement.findings == [] and [one.what for one in judgement.unknown] == [WHAT]
    assert "nothing was published of snapshot/hourly for 3m 20s" in judgement.unknown[0].reason
    assert judged(replace(GOOD, at=NOW + 400)).verdict == "unknown"


def test_each_host_is_judged_by_itself() -> None:
    old = replace(GOOD, newest=NOW - 9 * HOUR_S)
    assert found(old, place=replace(PLACE, node="host-1")) == [("critical", "host-1/age")]


def test_no_policy_at_all_is_a_finding_unless_a_directory_is_judged() -> None:
    (finding,) = judged().findings
    assert (finding.severity, finding.rule) == ("critical", "snapshot_age")
    assert judged(rules=[]).findings == judged(rules=ALL[1:]).findings == []
    observation = Observation("dc1", NOW)
    observation.add(SnapshotPolicies((), 0), Snapshots({}))
    assert [one.summary for one in judge(observation, make_rules(ALL), {}).findings] == ["there is no snapshot of dc1"]


def test_what_an_agent_knows_is_published() -> None:
    place = DestinationStatus("disk", "/var/backups", 48, 9, NOW - 0.5, 2, 5, 1, 0.2, "full", False, "x.snap: gone")
    status = PolicyStatus(
        *("hourly", "dc1", "one", 7200.0, NOW - 0.5, 100, 7, {"KVS": 1}, {}, NOW + 60, NOW + 61.5, 1, 2, 3, 4),
        "No leader.",
        ("a warning",),
        (place,),
    )
    published = published_status(status, NOW)
    assert parse_status(published.operation(PLACE, NOW).value) == published
    assert (published.problem, published.missed, published.doubled, published.given_up) == ("No leader.", 1, 2, 3)
    assert published.destinations["disk"] == DestinationRecord(
        "/var/backups", 48, 9, NOW - 1, 2, "x.snap: gone", "full"
    )
    assert published_status(replace(status, seconds={"x": 1.0}), NOW + 99) == published, "no reason to publish"
