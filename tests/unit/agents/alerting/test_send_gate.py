# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which messages an instance sends: as the holder of the lease, on standby, and while Consul cannot tell."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import (
    Alert,
    Notification,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.send_gate import (
    SETTLE_S,
    STEP_S,
    SendGate,
)
from hypothesis import given
from hypothesis import strategies as st

T0 = 1_800_000_000.0


def message(rule: str, number: int = 0) -> Notification:
    alert = Alert(f"dc1/{rule}", f"e-{number}", "firing", "critical", rule, "dc1", "it fails", T0)
    return Notification(f"{rule}-{number}", "ops", "firing", (alert,), T0, {"rule": rule})


NO_LEADER, CHECK, OWN = message("no_leader"), message("check_status"), message("delivery_failed")
ALL = [NO_LEADER, CHECK, OWN]


def test_the_holder_sends_everything_and_a_standby_what_concerns_itself_only() -> None:
    gate = SendGate()
    assert gate.select(ALL, "holder", 2, T0) == ALL
    assert gate.select(ALL, "standby", 0, T0 + 100) == [OWN]


def test_while_nobody_is_known_to_hold_the_lease_each_position_waits_longer() -> None:
    for position in range(3):
        gate = SendGate()
        due_at = T0 + SETTLE_S + position * STEP_S
        assert gate.select(ALL, "unknown", position, T0) == [OWN]
        assert gate.select(ALL, "unknown", position, due_at - 0.1) == [OWN]
        assert gate.select(ALL, "unknown", position, due_at) == [NO_LEADER, OWN]


def test_a_message_that_comes_up_later_waits_from_then_on() -> None:
    gate = SendGate()
    gate.select([], "unknown", 1, T0)
    assert gate.select([NO_LEADER], "unknown", 1, T0 + 60) == []
    assert gate.select([replace(NO_LEADER, id="with another alert")], "unknown", 1, T0 + 60 + STEP_S)


def test_a_known_holder_ends_the_waiting() -> None:
    gate = SendGate()
    gate.select([NO_LEADER], "unknown", 0, T0)
    gate.select([], "standby", 0, T0 + 1)
    assert gate.select([NO_LEADER], "unknown", 0, T0 + SETTLE_S) == []


@given(st.lists(st.tuples(st.sampled_from(["holder", "standby", "unknown"]), st.floats(0, 20)), max_size=30))
def test_checks_are_only_sent_by_the_holder(steps: list[tuple[str, float]]) -> None:
    gate, now = SendGate(), T0
    for standing, pause_s in steps:
        now += pause_s
        selected = gate.select(ALL, standing, 0, now)  # type: ignore[arg-type]
        assert (CHECK in selected) == (standing == "holder")
        assert OWN in selected
