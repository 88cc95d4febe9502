# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which message of a receiver is sent next: order for one alert, pauses after failures, no message that blocks the others."""

from __future__ import annotations

import random
import typing as t

from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery_queue import (
    DeliveryQueue,
    Waiting,
    default_back_off,
)
from ansible_collections.consulops.failover.plugins.module_utils._consul.retry import BackOff
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.notifications import NOON, alert, notification


class _NoChance(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def exact() -> BackOff:
    """Pauses without jitter."""
    return BackOff(1.0, 60.0, _NoChance())


def about(node: str, kind: t.Any = "firing", number: int = 0) -> t.Any:
    return notification(alert(node), kind=kind, id=f"{node}-{kind}-{number}")


def due_id(queue: DeliveryQueue, now: float) -> str:
    waiting = queue.due(now)
    return waiting.notification.id if waiting else ""


def due(queue: DeliveryQueue, now: float) -> Waiting:
    waiting = queue.due(now)
    assert waiting is not None
    return waiting


def test_messages_are_sent_in_order() -> None:
    queue = DeliveryQueue(exact)
    for node in ("a", "b"):
        queue.add(about(node), NOON)
    assert due_id(queue, 0) == "a-firing-0" and queue.next_due() == 0
    queue.succeeded(due(queue, 0))
    assert due_id(queue, 0) == "b-firing-0"
    queue.succeeded(due(queue, 0))
    assert due_id(queue, 0) == "" and queue.next_due() is None and len(queue) == 0


def test_the_pauses_after_failures_double_up_to_a_minute() -> None:
    queue, now, pauses = DeliveryQueue(exact), 0.0, []
    queue.add(about("a"), NOON)
    for _attempt in range(9):
        queue.failed(due(queue, now), "no route", now)
        following = queue.next_due()
        assert following is not None and queue.due(following - 0.01) is None
        pauses.append(following - now)
        now = following
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60] and queue.failures_in_row == 9


def test_pauses_are_shortened_at_random_by_up_to_half() -> None:
    pauses = [default_back_off().next_s() for _time in range(50)]
    assert 0.5 <= min(pauses) < max(pauses) <= 1.0


def test_a_service_that_asks_for_a_pause_gets_it() -> None:
    queue = DeliveryQueue(exact)
    queue.add(about("a"), NOON)
    queue.failed(due(queue, 0), "rate limit", 0, at_least_s=30)
    assert queue.next_due() == 30


def test_a_recovery_waits_for_its_alert_and_other_messages_do_not() -> None:
    queue = DeliveryQueue(exact)
    queue.add(about("a"), NOON)
    queue.add(about("a", "resolved"), NOON)
    queue.add(about("b"), NOON)
    queue.failed(due(queue, 0), "no", 0)
    assert due_id(queue, 1) == "b-firing-0"
    queue.succeeded(due(queue, 1))
    assert due_id(queue, 1) == "a-firing-0"
    due(queue, 1).is_being_sent = True
    assert queue.due(1) is None


def test_messages_that_always_fail_do_not_block_the_others() -> None:
    queue, now, sent = DeliveryQueue(exact), 0.0, []
    for node in ("bad1", "bad2", "a", "b"):
        queue.add(about(node), NOON)
    while len(queue) > 2:
        now = max(now, queue.next_due() or 0)
        one = due(queue, now)
        if "bad" in one.notification.id:
            queue.failed(one, "500", now)
        else:
            queue.succeeded(one)
            sent.append(one.notification.id)
    assert sent == ["a-firing-0", "b-firing-0"] and now <= 4


def test_a_receiver_that_is_back_gets_everything_at_once_and_in_order() -> None:
    queue, now = DeliveryQueue(exact), 0.0
    for node in ("a", "b", "c"):
        queue.add(about(node), NOON)
    for _attempt in range(12):
        now = max(now, queue.next_due() or 0)
        queue.failed(due(queue, now), "refused", now)
    now = queue.next_due() or 0
    first = due(queue, now)
    queue.succeeded(first)
    rest = [due_id(queue, now)]
    queue.succeeded(due(queue, now))
    rest.append(due_id(queue, now))
    assert sorted([first.notification.id, *rest]) == ["a-firing-0", "b-firing-0", "c-firing-0"]
    assert rest == sorted(rest)


def test_a_queued_reminder_gives_way_to_a_newer_message_about_its_alerts() -> None:
    queue = DeliveryQueue(exact)
    queue.add(about("a"), NOON)
    queue.add(about("a", "reminder", 1), NOON)
    queue.add(about("b", "reminder"), NOON)
    assert queue.add(about("a", "reminder", 2), NOON) == [about("a", "reminder", 1)]
    assert queue.add(about("a", "resolved"), NOON) == [about("a", "reminder", 2)]
    assert len(queue) == 3


def test_a_message_is_given_up_when_it_is_too_old_but_not_before_one_attempt() -> None:
    queue = DeliveryQueue(exact)
    queue.add(about("a"), NOON)
    queue.add(about("b"), NOON + 10)
    assert queue.expired(NOON + 5) == []
    queue.failed(due(queue, 0), "refused", 0)
    assert [one.problem for one in queue.expired(NOON + 5)] == ["refused"]
    assert len(queue) == 1 and queue.oldest() == NOON + 10


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30), st.randoms())
def test_messages_about_one_alert_never_overtake_each_other(
    plan: list[tuple[str, bool]], chance: random.Random
) -> None:
    queue, now, sent = DeliveryQueue(), 0.0, []
    for number, (node, fires) in enumerate(plan):
        queue.add(about(node, "firing" if fires else "resolved", number), NOON)
    while len(queue):
        now = max(now, queue.next_due() or 0)
        one = due(queue, now)
        fate = chance.random()
        if fate < 0.3:
            queue.failed(one, "no", now)
        else:
            (queue.rejected(one, "400") if fate < 0.4 else queue.succeeded(one))
            sent.append(one.notification.id)
    for node in "abc":
        numbers = [int(identity.rpartition("-")[2]) for identity in sent if identity.startswith(node)]
        assert numbers == sorted(numbers)
    assert len(sent) == len(plan)
