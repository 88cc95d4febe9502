# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the holder of the lease lets another instance try."""

from __future__ import annotations

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery import ReceiverHealth
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.hand_over import HandOver

LIMIT = 3
UNTRIED = ReceiverHealth("", 0, None, None, None, 0, 0, 0)
WORKS = ReceiverHealth("", 0, None, 1.0, None, 1, 0, 0)


def failing(failures: int) -> ReceiverHealth:
    return ReceiverHealth("it cannot be reached.", 1, 0.0, 1.0, None, 1, 0, failures)


@pytest.mark.parametrize(
    ("health", "hands_over"),
    [
        ({"mail": failing(LIMIT), "chat": failing(LIMIT)}, True),
        ({"mail": failing(LIMIT), "chat": failing(LIMIT - 1)}, False),
        ({"mail": failing(LIMIT), "chat": WORKS}, False),
        ({"mail": failing(LIMIT), "chat": UNTRIED}, True),
        ({"mail": failing(LIMIT), "file": WORKS}, True),
        ({"file": failing(LIMIT)}, False),
        ({"mail": WORKS}, False),
        ({"mail": UNTRIED}, False),
        ({}, False),
    ],
)
def test_all_receivers_that_were_tried_over_the_network_must_fail_several_times(
    health: dict[str, ReceiverHealth], hands_over: bool
) -> None:
    reason = HandOver(LIMIT).reason(health, {"mail", "chat"}, "")
    assert bool(reason) is hands_over
    if hands_over:
        assert reason.startswith("No receiver can be reached from here: ") and reason.endswith("it cannot be reached.")


def test_a_disk_must_fail_several_times_in_a_row() -> None:
    judge = HandOver(LIMIT)
    full = "writing to the spool: No space left on device."
    assert [judge.reason({}, {"mail"}, problem) for problem in (full, full, "", full, full, full)] == [""] * 5 + [full]
