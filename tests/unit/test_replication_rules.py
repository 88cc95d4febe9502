# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rule about replications: what an agent publishes is what the rule understands, and what it makes of it."""

from __future__ import annotations

import json
import time
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.replication.set_status import SetStatus
from ansible_collections.consulops.failover.plugins.module_utils._agents.replication.status_publisher import (
    published_status,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import Finding
from ansible_collections.consulops.failover.plugins.module_utils._alerting.judge import judge
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observation import Observation
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rule_options import make_rules
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.replications import (
    LAG_RULE,
    REPLICATION_ROOT,
    RULE,
    Replication,
    Replications,
)
from ansible_collections.consulops.failover.plugins.module_utils._consul.replication_status import (
    ReplicationStatus,
    parse_status,
    status_key,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication import checkpoint, control
from ansible_collections.consulops.failover.plugins.module_utils._replication.beat_lag import BeatLag
from ansible_collections.consulops.failover.plugins.module_utils._replication.follow_progress import Verification
from ansible_collections.consulops.failover.plugins.module_utils._replication.follow_record import record_key
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
GOOD = ReplicationStatus(0, 0, 0, 0, "", NOW - 60, True, at=NOW - 30)
EQUAL = Verification(1_800_000_000.0, 0.1, "digest", True, 2, 2)
ON = {"rule": RULE}
LAG_ON = {"rule": LAG_RULE}
COUNTS = st.integers(min_value=0, max_value=10**9)
TIMES = st.integers(0, 4_000_000_000).map(float)


def findings(
    status: ReplicationStatus | None = GOOD, *, is_frozen: bool = False, rules: t.Sequence[dict[str, t.Any]] = (ON,)
) -> list[Finding]:
    observation = Observation("west", NOW)
    observation.add(Replications((Replication("east", is_frozen, status),)))
    return judge(observation, make_rules(list(rules)), {}).findings


@st.composite
def statuses(draw: st.DrawFn) -> ReplicationStatus:
    since = draw(st.none() | TIMES)
    return ReplicationStatus(
        conflicts=draw(COUNTS),
        unwritable=draw(COUNTS),
        unreadable=draw(COUNTS),
        paused_deletes=draw(COUNTS),
        plan=draw(st.sampled_from(["", "0" * 64])),
        verified_at=draw(TIMES),
        is_equal=draw(st.sampled_from([True, False, None])),
        source_keys=draw(COUNTS),
        destination_keys=draw(COUNTS),
        problem=draw(st.text(max_size=20)),
        is_behind=since is not None,
        behind_since=since,
        lag_s=draw(st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000)),
        lag_source=draw(st.sampled_from(["heartbeat", "index"])),
        pending=draw(COUNTS),
        at=draw(TIMES),
    )


@given(statuses())
def test_what_the_agent_publishes_is_what_the_rule_reads(published: ReplicationStatus) -> None:
    read = parse_status(published.operation("east", published.at).value)
    assert vars(read) == vars(published)


def test_the_rule_reads_the_keys_that_the_replication_writes() -> None:
    assert checkpoint.REPLICATION_ROOT == REPLICATION_ROOT
    parts = [status_key("x"), record_key("x"), checkpoint.lock_key("x"), control.freeze_key("x")]
    assert [key[len(REPLICATION_ROOT) :] for key in parts] == ["x/status", "x/follow", "x/lock", "x/control/freeze"]


@given(st.one_of(st.binary(max_size=40), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_anything_else_is_no_status(value: bytes | str) -> None:
    with pytest.raises(ValueError):
        parse_status(value if isinstance(value, bytes) else value.encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conflicts", -1),
        ("conflicts", "0"),
        ("unwritable", True),
        ("equal", "yes"),
        ("paused_deletes", {"count": 1}),
        ("verified_at", None),
        ("at", "yesterday"),
        ("lag", {"seconds": 0.0, "source": "index", "pending": 0}),
        ("lag", {"seconds": float("nan"), "source": "index", "pending": 0, "behind_since": None}),
    ],
)
def test_a_field_of_another_shape_is_no_status(field: str, value: object) -> None:
    document = json.loads(GOOD.operation("x", 0.0).value)
    with pytest.raises(ValueError):
        parse_status(json.dumps({**document, field: value}).encode())
    assert parse_status(json.dumps({**document, "of a newer version": value}).encode()).is_equal


@pytest.mark.parametrize(
    ("changes", "kind", "severity"),
    [
        ({"conflicts": 2}, "conflicts", "critical"),
        ({"unwritable": 1}, "unwritable", "critical"),
        ({"paused_deletes": 3, "plan": "ab" * 32}, "paused_deletes", "critical"),
        ({"is_equal": False}, "verification", "warning"),
        ({"conflicts": 2, "is_equal": False}, "conflicts", "critical"),
    ],
)
def test_each_kind_of_divergence_is_a_finding(changes: dict[str, t.Any], kind: str, severity: str) -> None:
    (found,) = findings(replace(GOOD, **changes))
    assert (found.rule, found.check, found.severity) == (RULE, f"replication/east/{kind}", severity)


def test_what_is_equal_or_kept_by_intention_is_no_finding() -> None:
    assert findings() == findings(replace(GOOD, is_equal=None)) == findings(None) == []


def test_the_advice_for_paused_deletions_is_the_command_for_this_plan() -> None:
    (found,) = findings(replace(GOOD, paused_deletes=3, plan="ab" * 32))
    assert found.advice.endswith(f"consulops replicate ack east {'ab' * 32}") and "ab" * 32 in found.detail


def test_a_freeze_is_a_warning_also_when_no_status_is_known() -> None:
    (found,) = findings(None, is_frozen=True)
    assert (found.severity, found.check) == ("warning", "replication/east/freeze")
    assert findings(None, is_frozen=True, rules=[{**ON, "severity": "none"}]) == []


def test_the_rule_is_off_until_it_is_named() -> None:
    bad = replace(GOOD, conflicts=1)
    assert findings(bad, rules=()) == [] and findings(bad, rules=[{**ON, "enabled": False}]) == []
    (found,) = findings(bad, rules=[{**ON, "severity": "warning"}])
    assert found.severity == "warning"


@pytest.mark.parametrize(
    ("changes", "kind", "severity"),
    [
        ({"lag_s": 61.0}, "lag", "warning"),
        ({"lag_s": 301.0}, "lag", "critical"),
        ({"behind_since": NOW - 61}, "lag", "warning"),
        ({"behind_since": NOW - 301, "lag_s": 1.0}, "lag", "critical"),
        ({"at": NOW - 180}, "silence", "warning"),
        ({"at": NOW - 301, "behind_since": NOW - 5000}, "silence", "critical"),
    ],
)
def test_what_is_behind_or_says_nothing_any_more_is_a_finding(
    changes: dict[str, t.Any], kind: str, severity: str
) -> None:
    (found,) = findings(replace(GOOD, **changes), rules=[LAG_ON])
    assert (found.rule, found.check, found.severity) == (LAG_RULE, f"replication/east/{kind}", severity)


def test_what_keeps_up_is_no_finding_and_neither_is_one_that_is_frozen_or_unknown() -> None:
    late = replace(GOOD, lag_s=1000.0)
    assert findings(replace(GOOD, lag_s=59.0, behind_since=NOW - 59, at=NOW - 179), rules=[LAG_ON]) == []
    assert findings(late, rules=[LAG_ON], is_frozen=True) == findings(None, rules=[LAG_ON]) == []
    assert findings(late) == [], "it is off until it is named"
    assert findings(late, rules=[{**LAG_ON, "warning": "1h", "critical": "2h"}]) == []


def test_the_lag_by_a_clock_that_is_ahead_is_unknown() -> None:
    observation = Observation("west", NOW)
    observation.add(Replications((Replication("east", False, replace(GOOD, at=NOW + 301)),)))
    judgement = judge(observation, make_rules([LAG_ON]), {})
    assert judgement.findings == [] and "Compare the clocks" in judgement.unknown[0].reason


def test_nothing_is_published_before_everything_was_compared() -> None:
    assert published_status(SetStatus("east")) is None


def test_lag_and_written_keys_alone_are_no_reason_to_publish_before_the_next_minute() -> None:
    status = SetStatus("east", verification=EQUAL)
    assert published_status(status) == published_status(replace(status, lag_s=5.0, pending=3, state="behind"))
    assert published_status(status) != published_status(replace(status, verification=replace(EQUAL, at=1.0)))


@pytest.mark.parametrize("field", ["pending_since", "problem_since"])
def test_what_waits_for_longer_than_a_moment_is_published(field: str) -> None:
    status = SetStatus("east", verification=EQUAL, pending=3, problem="gone")

    def since(age_s: float) -> dict[str, t.Any]:
        return {field: time.monotonic() - age_s}

    just_now = published_status(replace(status, **since(9.0)))
    behind = published_status(replace(status, **since(30.0)))
    assert just_now == published_status(status) != behind
    assert just_now is not None and behind is not None
    assert (just_now.behind_since, just_now.problem, behind.problem, behind.pending) == (None, "", "gone", 3)
    assert behind.behind_since == pytest.approx(time.time() - 30.0, abs=5.0)
    assert published_status(replace(status, **since(30.0), frozen="ann")) == just_now, "a freeze is intended"


def test_conflicts_that_are_kept_are_not_published_and_explain_that_the_sides_differ() -> None:
    status = SetStatus("east", verification=replace(EQUAL, is_equal=False), conflicts={"a": "edited"})
    published = published_status(status)
    assert published is not None and (published.conflicts, published.is_equal) == (1, False)
    published = published_status(replace(status, keeps_conflicts=True))
    assert published is not None and (published.conflicts, published.is_equal) == (0, None)


def test_a_beat_is_seen_with_its_index_or_a_later_one_and_ages_until_then() -> None:
    lag = BeatLag()
    assert lag.lag_s(100.0) is None
    lag.seen(7, 100.0)
    lag.written(8, 100.0)
    assert (lag.lag_s(103.0), lag.waiting_since()) == (3.0, 100.0)
    lag.written(9, 105.0)
    lag.seen(9, 105.5)
    assert (lag.lag_s(200.0), lag.waiting_since()) == (0.5, None)


def test_a_beat_that_is_seen_before_its_index_is_known_is_measured() -> None:
    lag = BeatLag()
    lag.seen(9, 100.2)
    lag.written(9, 100.0)
    assert lag.lag_s(500.0) == pytest.approx(0.2)


def test_beats_that_a_restore_of_the_source_took_away_are_not_waited_for() -> None:
    lag = BeatLag()
    lag.seen(50, 100.0)
    lag.written(60, 100.0)
    lag.seen(20, 101.0)
    assert lag.waiting_since() is None
    lag.written(21, 110.0)
    lag.seen(21, 110.1)
    assert lag.lag_s(120.0) == pytest.approx(0.1)
    lag.forget()
    assert lag.lag_s(130.0) is None


def test_a_source_that_does_not_answer_a_beat_is_waited_for_since_then() -> None:
    lag = BeatLag()
    lag.not_answered(100.0)
    lag.not_answered(103.0)
    assert (lag.waiting_since(), lag.lag_s(110.0)) == (100.0, 10.0)
    lag.written(5, 111.0)
    lag.seen(5, 111.5)
    assert (lag.waiting_since(), lag.lag_s(120.0)) == (None, 0.5)
