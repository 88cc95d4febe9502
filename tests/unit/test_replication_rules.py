# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rule about replications: what an agent publishes is what the rule understands, and what it makes of it."""

from __future__ import annotations

import json
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
    REPLICATION_ROOT,
    RULE,
    Replication,
    Replications,
    Status,
    parse_status,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication import checkpoint, control
from ansible_collections.consulops.failover.plugins.module_utils._replication.follow_progress import Verification
from ansible_collections.consulops.failover.plugins.module_utils._replication.follow_record import record_key
from ansible_collections.consulops.failover.plugins.module_utils._replication.published_status import (
    PublishedStatus,
    status_key,
)
from hypothesis import given
from hypothesis import strategies as st

GOOD = Status("2027-01-15T08:00:00Z", 0, 0, 0, 0, "", "2027-01-15T07:59:00Z", True)
EQUAL = Verification(1_800_000_000.0, 0.1, "digest", True, 2, 2)
ON = {"rule": RULE}
COUNTS = st.integers(min_value=0, max_value=10**9)


def findings(
    status: Status | None = GOOD, *, is_frozen: bool = False, rules: t.Sequence[dict[str, t.Any]] = (ON,)
) -> list[Finding]:
    observation = Observation("west", 1_800_000_000.0)
    observation.add(Replications((Replication("east", is_frozen, status),)))
    return judge(observation, make_rules(list(rules)), {}).findings


@given(
    st.builds(
        PublishedStatus,
        COUNTS,
        COUNTS,
        COUNTS,
        COUNTS,
        st.sampled_from(["", "0" * 64]),
        st.integers(0, 4_000_000_000).map(float),
        st.sampled_from([True, False, None]),
    )
)
def test_what_the_agent_publishes_is_what_the_rule_reads(published: PublishedStatus) -> None:
    operation = published.operation("east", 1_800_000_000.0)
    read = parse_status(operation.value)
    assert (read.conflicts, read.unwritable, read.unreadable) == (
        published.conflicts,
        published.unwritable,
        published.unreadable,
    )
    assert (read.paused_deletes, read.plan, read.is_equal) == (
        published.paused_deletes,
        published.plan,
        published.is_equal,
    )


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
    ],
)
def test_a_field_of_another_shape_is_no_status(field: str, value: object) -> None:
    document = json.loads(PublishedStatus(0, 0, 0, 0, "", 0.0, True).operation("x", 0.0).value)
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
    (found,) = findings(GOOD._replace(**changes))
    assert (found.rule, found.check, found.severity) == (RULE, f"replication/east/{kind}", severity)


def test_what_is_equal_or_kept_by_intention_is_no_finding() -> None:
    assert findings() == findings(GOOD._replace(is_equal=None)) == findings(None) == []


def test_the_advice_for_paused_deletions_is_the_command_for_this_plan() -> None:
    (found,) = findings(GOOD._replace(paused_deletes=3, plan="ab" * 32))
    assert found.advice.endswith(f"consulops replicate ack east {'ab' * 32}") and "ab" * 32 in found.detail


def test_a_freeze_is_a_warning_also_when_no_status_is_known() -> None:
    (found,) = findings(None, is_frozen=True)
    assert (found.severity, found.check) == ("warning", "replication/east/freeze")
    assert findings(None, is_frozen=True, rules=[{**ON, "severity": "none"}]) == []


def test_the_rule_is_off_until_it_is_named() -> None:
    bad = GOOD._replace(conflicts=1)
    assert findings(bad, rules=()) == [] and findings(bad, rules=[{**ON, "enabled": False}]) == []
    (found,) = findings(bad, rules=[{**ON, "severity": "warning"}])
    assert found.severity == "warning"


def test_nothing_is_published_before_everything_was_compared() -> None:
    assert published_status(SetStatus("east")) is None


def test_lag_and_written_keys_do_not_change_what_is_published() -> None:
    status = SetStatus("east", verification=EQUAL)
    assert published_status(status) == published_status(replace(status, lag_s=5.0, pending=3, state="behind"))
    assert published_status(status) != published_status(replace(status, verification=replace(EQUAL, at=1.0)))


def test_conflicts_that_are_kept_are_not_published_and_explain_that_the_sides_differ() -> None:
    status = SetStatus("east", verification=replace(EQUAL, is_equal=False), conflicts={"a": "edited"})
    published = published_status(status)
    assert published is not None and (published.conflicts, published.is_equal) == (1, False)
    published = published_status(replace(status, keeps_conflicts=True))
    assert published is not None and (published.conflicts, published.is_equal) == (0, None)
