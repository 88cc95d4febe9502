# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pauses between retries."""

from __future__ import annotations

import random

from ansible_collections.consulops.failover.plugins.module_utils._consul.retry import BackOff
from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(0.01, 5), st.floats(5, 60), st.integers(0, 2**32))
def test_pauses_double_up_to_the_longest(first_s: float, longest_s: float, seed: int) -> None:
    back_off = BackOff(first_s, longest_s, random.Random(seed))
    pauses = [back_off.next_s() for _number in range(20)]
    for number, pause_s in enumerate(pauses):
        full_s = min(first_s * 2**number, longest_s)
        assert full_s / 2 <= pause_s <= full_s
    back_off.reset()
    assert back_off.next_s() <= first_s
