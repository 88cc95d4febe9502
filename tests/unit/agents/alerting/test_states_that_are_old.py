# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A spool that was damaged and a state that was put back: nothing is lost, and nothing gets a second key."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.spool_file import Done
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.told import Told

from .scenario import T0, Inbox, check, core_of

HOUR_S = 3600.0
Fates = dict[tuple[str, str], t.Optional[bool]]


def restarted(inbox: Inbox, at: float) -> Inbox:
    core = core_of()
    core.load(inbox.core.encode(T0 + at), "file", T0 + at)
    return Inbox(core)


def told_and_ended(*, delivered: bool) -> Inbox:
    inbox = Inbox(core_of())
    inbox.judge(0, check())
    inbox.read(30)
    if delivered:
        inbox.core.record_delivery(inbox.received[-1], T0)
    inbox.judge(40)
    inbox.read(70)
    return inbox


# ---------------------------------------------------------------------------------------------------------------
# A spool that was damaged


def test_what_a_damaged_spool_lost_is_told_again_under_the_same_key() -> None:
    before = Inbox(core_of())
    before.judge(0, check())
    before.read(30)
    after = restarted(before, 31)
    after.core.correct_notes(Told(), {}, T0 + 32)
    assert after.judge(33, check()) == ["ops firing critical web"]
    assert after.received[0].id == before.received[0].id


@pytest.mark.parametrize("fate", [None, Done(True, T0 + 30)])
def test_what_the_spool_knows_is_not_told_again(fate: Done | None) -> None:
    before = Inbox(core_of())
    before.judge(0, check())
    before.read(30)
    after = restarted(before, 31)
    after.core.correct_notes(Told(), {("ops", before.received[0].id): fate}, T0 + 32)
    assert after.judge(33, check()) == []


def test_what_the_notes_of_all_instances_know_is_not_told_again() -> None:
    before = Inbox(core_of())
    before.judge(0, check())
    before.read(30)
    after = restarted(before, 31)
    after.core.correct_notes(before.core.notes_to_share(T0 + 31), {}, T0 + 32)
    assert after.judge(33, check()) == []


def test_an_end_that_a_damaged_spool_lost_is_told_again() -> None:
    before = Inbox(core_of())
    before.judge(0, check())
    before.read(30)
    before.core.record_delivery(before.received[-1], T0)
    shared = before.core.notes_to_share(T0 + 31)
    before.judge(40)
    before.read(70)
    after = restarted(before, 71)
    after.core.correct_notes(shared, {}, T0 + 72)
    assert after.judge(73) == ["ops resolved critical web"]
    assert after.received[0].id == before.received[-1].id


def test_begin_and_end_that_a_damaged_spool_lost_are_both_told() -> None:
    before = told_and_ended(delivered=False)
    after = restarted(before, 71)
    after.core.correct_notes(Told(), {}, T0 + 72)
    assert [*after.judge(73), *after.read(75), *after.read(77)] == [
        "ops firing critical web",
        "ops resolved critical web",
    ]
    assert len({alert.episode for one in [*before.received, *after.received] for alert in one.alerts}) == 1


def test_what_was_given_up_before_the_crash_counts_as_given_up() -> None:
    before = told_and_ended(delivered=True)
    after = restarted(before, 71)
    after.core.correct_notes(Told(), {("ops", before.received[-1].id): Done(False, T0 + 70)}, T0 + 72)
    assert list(after.core.incidents.ended) == [before.received[-1].alerts[0].episode]


# ---------------------------------------------------------------------------------------------------------------
# A state that was put back


@pytest.mark.parametrize("later_s", [100.0, 3 * HOUR_S])
def test_a_state_that_was_put_back_tells_what_fires_under_no_second_key(later_s: float) -> None:
    """After an hour the notes in Consul do not know the earlier episode any more."""
    agent = Inbox(core_of())
    agent.judge(0, check())
    agent.read(30)
    agent.core.record_delivery(agent.received[-1], T0)
    backup = agent.core.encode(T0 + 31)
    agent.judge(40)
    agent.read(70)
    agent.core.record_delivery(agent.received[-1], T0)
    agent.judge(later_s, check())
    assert agent.read(later_s + 30) == ["ops firing critical web"]
    agent.core.record_delivery(agent.received[-1], T0)
    running = agent.received[-1].alerts[0].episode
    assert running != agent.received[0].alerts[0].episode
    shared = agent.core.notes_to_share(T0 + later_s + 31)
    core = core_of()
    core.load(backup, "file", T0 + later_s + 32)
    again = Inbox(core)
    again.core.correct_notes(shared, {}, T0 + later_s + 33)
    again.core.merge_notes(shared, T0 + later_s + 33)
    assert again.judge(later_s + 34, check()) == []
    again.judge(later_s + 35)
    assert again.read(later_s + 70) == ["ops resolved critical web"]
    assert again.received[0].alerts[0].episode == running
    assert again.read(later_s + 200) == []


def test_two_names_of_one_episode_both_stay_although_a_state_was_loaded() -> None:
    first, second = Inbox(core_of()), Inbox(core_of())
    for inbox, at in ((first, 0), (second, 900)):
        inbox.judge(at, check())
        inbox.read(at + 30)
        inbox.core.record_delivery(inbox.received[-1], T0)
    shared = first.core.notes_to_share(T0 + 931)
    third = restarted(second, 940)
    third.core.merge_notes(shared, T0 + 941)
    third.judge(942, check())
    third.judge(950)
    third.read(990)
    assert {alert.episode for one in third.received for alert in one.alerts} == {
        alert.episode for one in [*first.received, *second.received] for alert in one.alerts
    }
