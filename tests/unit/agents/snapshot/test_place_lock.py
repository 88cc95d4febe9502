# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock of a waiting place: one job at a time, and the one that takes snapshots comes first."""

from __future__ import annotations

import threading

from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.place_lock import PlaceLock

NEVER = threading.Event()


def nothing() -> None:
    pass


def test_who_comes_first_ends_the_transfer_of_the_other_and_gets_the_place() -> None:
    lock, borrowed, ended, order = PlaceLock(), threading.Event(), threading.Event(), list[str]()

    def deliver() -> None:
        with lock.borrowed(ended.set) as is_mine:
            assert is_mine
            borrowed.set()
            ended.wait(10)
            order.append("ended")

    thread = threading.Thread(target=deliver)
    thread.start()
    assert borrowed.wait(10)
    with lock.taken_over(NEVER) as is_taken:
        order.append("taken")
        assert is_taken and lock.is_wanted
        with lock.borrowed(nothing) as is_mine:
            assert not is_mine
    thread.join(10)
    assert order == ["ended", "taken"] and lock.terms == 1 and lock.changed.is_set() and not lock.is_wanted
    with lock.borrowed(nothing) as is_mine:
        assert is_mine


def test_who_must_stop_does_not_wait_for_the_place() -> None:
    lock, stopping = PlaceLock(), threading.Event()
    stopping.set()
    with lock.borrowed(nothing), lock.taken_over(stopping) as is_taken:
        assert not is_taken
    assert lock.terms == 1, "what has the place was told to end, and must begin anew"
    with lock.borrowed(nothing) as is_mine:
        assert is_mine
