# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a datacenter may take over, and what is said of the loss."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.replication_status import ReplicationStatus
from ansible_collections.consulops.failover.plugins.module_utils._failover.datacenter_plan import (
    Copy,
    Limits,
    Plan,
    Side,
    make_plan,
)
from ansible_collections.consulops.failover.plugins.module_utils._failover.failover_record import (
    FailoverRecord,
    Loss,
    parse_record,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0
OLD, NEW = Side("dc1", "", True, 1), Side("dc2", "", True, 1)
DEAD = Side("dc1", "https://dc1:8501 did not answer.")
EQUAL = Copy("forth", "back", 1, "forth", differing=0)
UNKNOWN = Copy("forth", "back", 1, "forth", unknown_because=DEAD.problem)
LIMITS = Limits("dc2", 10.0)


def status(**more: t.Any) -> ReplicationStatus:
    fields: dict[str, t.Any] = {"verified_at": NOW - 60, "is_equal": True, "plan": "", "at": NOW - 20, "lag_s": 0.5}
    counts = {"conflicts": 0, "unwritable": 0, "unreadable": 0, "paused_deletes": 0}
    return ReplicationStatus(**{**counts, **fields, **more})


def plan(
    old: Side = OLD,
    new: Side = NEW,
    copied: Copy = EQUAL,
    record: FailoverRecord | None = None,
    limits: Limits = LIMITS,
) -> Plan:
    return make_plan(old, new, copied, record, limits, NOW)


def test_a_datacenter_that_has_everything_takes_over_without_a_loss() -> None:
    found = plan()
    assert (found.action, found.generation, found.loss, found.refusals) == ("promote", 2, Loss(0.0, 0, NOW), [])
    assert "Nothing is missing in dc2: all keys were compared." in found.sentences


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"limits": LIMITS._replace(confirm="")}, "It is not confirmed: set confirm to the name .* dc2"),
        ({"limits": LIMITS._replace(confirm="dc1")}, "confirm is 'dc1', and it is not confirmed"),
        ({"new": Side("dc2", "", False, 0)}, "dc2 has servers that are not healthy"),
        ({"new": Side("dc2")}, "dc2 is not known to be healthy"),
        ({"copied": replace(EQUAL, written=["app/"])}, "keys are still written there, below app/"),
        ({"copied": replace(EQUAL, differing=3)}, "3 keys of dc1 would be lost in dc2"),
        (
            {"copied": replace(EQUAL, conflicts=2), "limits": LIMITS._replace(allow_conflicts=False)},
            "dc2 has 2 keys that it wrote alone: stop what writes there",
        ),
        ({"old": DEAD, "copied": UNKNOWN}, "how much of dc1 would be lost is not known"),
        ({"old": DEAD, "copied": replace(UNKNOWN, status=status(at=NOW - 300))}, "writes of up to 5m would be lost"),
    ],
)
def test_it_is_refused(change: dict[str, t.Any], said: str) -> None:
    found = plan(**change)
    assert pytest.RaisesExc(AssertionError, match=said).matches(AssertionError("; ".join(found.refusals))), found
    assert len(found.refusals) == 1


@pytest.mark.parametrize(
    ("found", "loss"),
    [
        # It was noticed that the old datacenter does not answer: later writes there are not known to anybody.
        (status(is_behind=True, behind_since=NOW - 100, lag_s=2.0, pending=3), Loss(2.0, 3, NOW - 102)),
        # It was not noticed yet.
        (status(at=NOW - 20, lag_s=0.5), Loss(20.5, None, NOW - 20.5)),
        (None, Loss(None, None, None)),
    ],
)
def test_what_may_be_lost_when_the_old_datacenter_does_not_answer(found: ReplicationStatus | None, loss: Loss) -> None:
    made = plan(old=DEAD, copied=replace(UNKNOWN, status=found), limits=LIMITS._replace(max_loss_s=None))
    assert (made.loss, made.refusals) == (loss, [])
    assert (loss.until is None) == any("is not known" in one for one in made.sentences)


def test_a_failover_that_was_stopped_is_finished_and_one_that_was_finished_is_left_alone() -> None:
    copied = replace(UNKNOWN, generation=2, active="back")
    assert plan(old=DEAD, copied=copied, limits=Limits("", 0.0)).action == "finish"
    record = FailoverRecord("dc1", "dc2", 2, NOW, NOW, None, Loss(3.0, None, NOW))
    begun = plan(old=DEAD, copied=copied, record=record)
    assert (begun.action, begun.generation, begun.loss) == ("finish", 2, record.loss)
    assert plan(old=DEAD, copied=copied, record=record._replace(finished=NOW)).action == "nothing"
    assert plan(old=DEAD, copied=copied, record=record._replace(finished=NOW, generation=1)).action == "finish"


whole = st.integers(0, 2**32).map(float)


@given(
    st.builds(
        FailoverRecord,
        st.text(),
        st.text(),
        st.integers(0, 2**40),
        whole,
        whole,
        st.none() | whole,
        st.builds(Loss, st.none() | st.floats(0, 1e9), st.none() | st.integers(0, 10**9), st.none() | whole),
        st.none() | st.floats(0, 1e9),
    )
)
def test_a_record_is_read_as_it_was_written(record: FailoverRecord) -> None:
    assert parse_record(record.as_json()) == record


@given(st.binary() | st.sampled_from([b"{}", b"[]", b"null", b'{"loss": {}}', b"[" * 9999]))
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="^$"):
        parse_record(value)
