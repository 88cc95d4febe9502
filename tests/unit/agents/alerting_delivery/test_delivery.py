# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Delivery: at least once, in time, receivers that do not disturb each other, reload by difference, a stop within its bound."""

from __future__ import annotations

import collections
import os
import random
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import spool_file
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery import (
    BEFORE,
    REPLACED,
    Delivery,
    ReceiverSetup,
    summary_of,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery_worker import (
    Clock,
    Listener,
    Outcome,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import (
    Alert,
    Notification,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.receiver import (
    DeliveryFailed,
    Receiver,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.spool import Spool
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._consul.retry import BackOff

from tests.lab.consul import eventually
from tests.lab.notifications import NOON, alert, notification

LONG_S = 20.0  # an event that has not come by then never will


class ManualClock(Clock):
    """A time that passes only when the test says so. Waiting threads look again at each step."""

    def __init__(self) -> None:
        self.now = 0.0
        self.changed = threading.Condition()
        self._sleeping: dict[int, tuple[threading.Condition, float | None]] = {}

    def time(self) -> float:
        return NOON + self.now

    def monotonic(self) -> float:
        return self.now

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> None:
        if timeout_s is not None and timeout_s <= 0:
            return
        me = threading.get_ident()
        with self.changed:
            self._sleeping[me] = condition, None if timeout_s is None else self.now + timeout_s
            self.changed.notify_all()
        condition.wait()
        with self.changed:
            del self._sleeping[me]

    def wait_for_sleep_until(self, moment: float | None) -> None:
        """Wait until a thread sleeps until this moment."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: any(end == moment for _condition, end in self._sleeping.values()), LONG_S
            ), self._sleeping

    def advance_to(self, moment: float) -> None:
        """Let the time pass until then, and wake who sleeps."""
        with self.changed:
            self.now = moment
            conditions = [condition for condition, _end in self._sleeping.values()]
        for condition in conditions:
            with condition:
                condition.notify_all()


class _NoChance(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


class Recorder:
    """What the listener was told; ``wait_for`` waits for a number of results."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.results: list[tuple[str, bool, str]] = []
        self.outcomes: list[Outcome] = []
        self.healths: list[tuple[str, str]] = []
        self.crashes: list[str] = []
        self.listener = Listener(self._on_result, self._on_health, self._on_crash)

    def _on_result(self, one: Notification, outcome: Outcome, problem: str) -> None:
        with self.changed:
            self.results.append((one.id, outcome.is_good, problem))
            self.outcomes.append(outcome)
            self.changed.notify_all()

    def _on_health(self, receiver: str, problem: str) -> None:
        with self.changed:
            self.healths.append((receiver, problem))
            self.changed.notify_all()

    def _on_crash(self, receiver: str) -> None:
        with self.changed:
            self.crashes.append(receiver)
            self.changed.notify_all()

    def wait_for(self, condition: t.Callable[[], t.Any]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, LONG_S), (self.results, self.healths)

    @property
    def sent(self) -> list[str]:
        return [identity for identity, ok, _problem in self.results if ok]


class Service(Receiver):
    """A receiver that does what the test says: fails with the next errors, or hangs until it is released or aborted."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = collections.deque(failures)
        self.attempts: list[str] = []
        self.hang: threading.Event | None = None
        self.hangs = threading.Event()
        self.repeats = 0
        self.aborted = threading.Event()
        self.closed = threading.Event()
        self.restored: list[Alert] = []

    def send(self, notification: Notification) -> None:
        self.attempts.append(notification.id)
        if self.hang is not None:
            self.hangs.set()
            assert self.hang.wait(LONG_S)
            if self.aborted.is_set():
                raise DeliveryFailed("aborted")
        if self.failures:
            raise self.failures.popleft()

    def repeat(self) -> None:
        self.repeats += 1
        if self.failures:
            raise self.failures.popleft()

    def abort(self) -> None:
        self.aborted.set()
        if self.hang is not None:
            self.hang.set()

    def close(self) -> None:
        self.closed.set()


class House:
    """A delivery with its spool, clock and recorder, that is stopped at the end."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "spool.jsonl"
        self.recorder = Recorder()
        self.clock = ManualClock()
        self.delivery = self.anew()

    def anew(self) -> Delivery:
        """Return another delivery over the same file, as after a restart."""
        self.delivery = Delivery(
            Spool(self.path), self.recorder.listener, self.clock, lambda: BackOff(1.0, 60.0, _NoChance())
        )
        return self.delivery

    def use(self, **services: Receiver) -> None:
        self.delivery.configure({name: setup(service) for name, service in services.items()})


def setup(service: Receiver, config: t.Any = "same", give_up_after_s: float = 86400.0) -> ReceiverSetup:
    return ReceiverSetup(config, lambda: service, give_up_after_s)


@pytest.fixture
def house(tmp_path: Path) -> t.Iterator[House]:
    house = House(tmp_path)
    yield house
    assert house.delivery.stop(5.0)


def about(number: int, receiver: str = "ops", **fields: t.Any) -> Notification:
    return notification(alert(f"web{number}"), receiver=receiver, id=f"n{number}", **fields)


def test_a_message_is_delivered_and_reported(house: House) -> None:
    service = Service()
    house.use(ops=service)
    house.delivery.submit(about(1))
    house.recorder.wait_for(lambda: house.recorder.results == [("n1", True, "")])
    assert service.attempts == ["n1"] and house.delivery.pending("ops") == []
    health = house.delivery.health()["ops"]
    assert (health.delivered, health.waiting, health.problem, health.last_success) == (1, 0, "", NOON)


def test_a_message_that_is_submitted_twice_is_sent_once(house: House) -> None:
    service = Service()
    house.use(ops=service)
    for number in (1, 2):
        house.delivery.submit(about(number))
    house.recorder.wait_for(lambda: house.recorder.sent == ["n1", "n2"])
    house.delivery.submit(about(1))
    assert house.recorder.results[2:] == [("n1", True, BEFORE)] and service.attempts == ["n1", "n2"]


def test_a_message_that_waits_is_not_queued_again(house: House) -> None:
    service = Service(DeliveryFailed("refused"))
    house.use(ops=service)
    house.delivery.submit(about(1))
    house.recorder.wait_for(lambda: house.recorder.healths)
    house.delivery.submit(about(1))
    assert house.delivery.health()["ops"].waiting == 1 and house.recorder.results == []


def test_a_failing_receiver_is_tried_after_1_2_and_4_seconds_and_is_reported_once(house: House) -> None:
    service = Service(*[DeliveryFailed("ops.example: 500 Internal Server Error.")] * 3)
    house.use(ops=service)
    house.delivery.submit(about(1))
    for moment in (1.0, 3.0, 7.0):
        house.clock.wait_for_sleep_until(moment)
        house.clock.advance_to(moment)
    house.recorder.wait_for(lambda: house.recorder.results)
    house.recorder.wait_for(lambda: len(house.recorder.healths) == 2)
    assert house.recorder.results == [("n1", True, "")] and len(service.attempts) == 4
    assert house.recorder.healths == [("ops", "ops.example: 500 Internal Server Error."), ("ops", "")]


def test_while_it_fails_a_receiver_says_so_and_its_messages_can_be_had(house: House) -> None:
    house.use(ops=Service(DeliveryFailed("refused")))
    house.delivery.submit(about(1))
    house.recorder.wait_for(lambda: house.recorder.healths)
    health = house.delivery.health()
    assert health["ops"].problem == "refused" and health["ops"].waiting == 1 and health["ops"].oldest == NOON
    assert summary_of(health) == "1 receiver, failing: ops" and house.delivery.pending("ops") == [about(1)]


def test_a_message_that_can_never_be_accepted_is_not_tried_again_and_the_next_one_is_sent(house: House) -> None:
    service = Service(DeliveryFailed("400 bad request", permanent=True))
    house.use(ops=service)
    for number in (1, 2):
        house.delivery.submit(about(number))
    house.recorder.wait_for(lambda: len(house.recorder.results) == 2)
    assert house.recorder.results == [("n1", False, "400 bad request"), ("n2", True, "")]
    assert service.attempts == ["n1", "n2"] and house.recorder.healths == []
    assert Spool(house.path).receivers() == set()


def test_what_is_held_is_sent_when_it_is_not_held_any_more(house: House) -> None:
    service = Service(DeliveryFailed("refused"))
    house.delivery.hold(lambda one: one.id != "n2")
    house.use(ops=service)
    for number in (1, 2):
        house.delivery.submit(about(number))
    house.recorder.wait_for(lambda: house.recorder.healths)
    assert service.attempts == ["n2"]
    house.delivery.hold(lambda one: True)
    health = house.delivery.health()["ops"]
    assert (health.problem, health.failures_in_row, health.waiting) == ("", 0, 2)
    house.delivery.hold(None)
    house.recorder.wait_for(lambda: house.recorder.sent == ["n1", "n2"])
    assert service.attempts == ["n2", "n1", "n2"]


def test_what_another_instance_has_sent_is_not_sent(house: House) -> None:
    service = Service()
    house.delivery.hold(lambda one: True)
    house.use(ops=service)
    for number in (1, 2):
        house.delivery.submit(about(number))
    house.delivery.discard(about(1), 0.0)
    house.delivery.hold(None)
    house.recorder.wait_for(lambda: house.recorder.sent == ["n1", "n2"])
    assert service.attempts == ["n2"] and Spool(house.path).pending("ops") == []


@pytest.mark.parametrize("failure", [None, DeliveryFailed("no answer")])
def test_what_is_being_sent_while_another_instance_tells_counts_as_delivered(
    house: House, failure: Exception | None
) -> None:
    service = Service(*([failure] if failure else []))
    service.hang = threading.Event()
    house.use(ops=service)
    house.delivery.submit(about(1))
    assert service.hangs.wait(LONG_S)
    house.delivery.discard(about(1), house.clock.time())
    assert house.recorder.results == []
    service.hang.set()
    house.recorder.wait_for(lambda: house.recorder.outcomes == [Outcome.DELIVERED])
    assert Spool(house.path).pending("ops") == [] and service.attempts == ["n1"]


@pytest.mark.parametrize(("told_after_s", "outcome"), [(-1.0, Outcome.DELIVERED), (1.0, Outcome.ELSEWHERE)])
def test_what_was_tried_after_another_instance_told_may_have_arrived(
    house: House, told_after_s: float, outcome: Outcome
) -> None:
    house.use(ops=Service(DeliveryFailed("no answer")))
    house.delivery.submit(about(1))
    house.recorder.wait_for(lambda: house.recorder.healths)
    house.delivery.discard(about(1), house.clock.time() + told_after_s)
    house.recorder.wait_for(lambda: house.recorder.outcomes == [outcome])


def test_a_message_is_given_up_after_its_time(house: House) -> None:
    service = Service(*[DeliveryFailed("refused")] * 100)
    house.delivery.configure({"ops": setup(service, give_up_after_s=5.0)})
    house.delivery.submit(about(1))
    for moment, following in ((1.0, 3.0), (3.0, 5.0)):
        house.clock.wait_for_sleep_until(moment)
        house.clock.advance_to(moment)
        house.clock.wait_for_sleep_until(following)
    house.clock.advance_to(5.5)
    house.recorder.wait_for(lambda: house.recorder.results)
    assert house.recorder.results == [("n1", False, "given up after 5s: refused")]
    assert house.delivery.health()["ops"].given_up == 1


def test_a_hung_receiver_delays_no_other(house: House) -> None:
    hung, other = Service(), Service()
    hung.hang = threading.Event()
    house.use(ops=hung, pager=other)
    house.delivery.submit(about(1))
    assert hung.hangs.wait(LONG_S)
    for number in range(2, 12):
        house.delivery.submit(about(number, "pager"))
    house.recorder.wait_for(lambda: len(house.recorder.sent) == 10)
    assert house.delivery.health()["ops"].sending_since == NOON
    hung.hang.set()
    house.recorder.wait_for(lambda: "n1" in house.recorder.sent)


def test_what_was_accepted_before_a_restart_is_delivered_after_it(house: House) -> None:
    house.use(ops=Service(*[DeliveryFailed("refused")] * 9))
    for number in (1, 2):
        house.delivery.submit(about(number))
    house.recorder.wait_for(lambda: house.recorder.healths)
    assert house.delivery.stop(5.0)
    service = Service()
    house.anew()
    house.use(ops=service)
    house.recorder.wait_for(lambda: house.recorder.sent == ["n1", "n2"])


def test_a_reload_keeps_the_thread_and_queue_of_a_receiver_that_is_the_same(house: House) -> None:
    hung, old, new, unused = Service(), Service(), Service(), Service()
    hung.hang = threading.Event()
    house.delivery.configure({"ops": setup(hung), "pager": setup(old, "before")})
    house.delivery.submit(about(1))
    assert hung.hangs.wait(LONG_S)
    house.delivery.configure({"ops": setup(unused), "pager": setup(new, "after")})
    assert old.closed.wait(LONG_S) and not hung.closed.is_set()
    house.delivery.submit(about(2, "pager"))
    house.recorder.wait_for(lambda: house.recorder.sent == ["n2"])
    hung.hang.set()
    house.recorder.wait_for(lambda: house.recorder.sent == ["n2", "n1"])
    assert new.attempts == ["n2"] and unused.attempts == [] and hung.attempts == ["n1"]


def test_a_corrected_receiver_gets_what_waited_at_once(house: House) -> None:
    house.use(ops=Service(*[DeliveryFailed("401 Unauthorized")] * 9))
    house.delivery.submit(about(1))
    house.clock.wait_for_sleep_until(1.0)
    service = Service()
    house.delivery.configure({"ops": setup(service, "with the right key")})
    house.recorder.wait_for(lambda: house.recorder.sent == ["n1"])


def test_a_message_that_is_being_sent_during_a_reload_is_sent_once(house: House) -> None:
    old, new = Service(), Service()
    old.hang = threading.Event()
    house.delivery.configure({"ops": setup(old, "before")})
    house.delivery.submit(about(1))
    assert old.hangs.wait(LONG_S)
    house.delivery.configure({"ops": setup(new, "after")})
    house.delivery.submit(about(2))
    house.recorder.wait_for(lambda: house.recorder.sent == ["n2"])
    old.hang.set()
    house.recorder.wait_for(lambda: house.recorder.sent == ["n2", "n1"])
    assert old.attempts == ["n1"] and new.attempts == ["n2"]


def test_a_configuration_that_cannot_be_used_leaves_everything_as_it_was(house: House) -> None:
    service, half = Service(), Service()
    house.use(ops=service)

    def impossible() -> Receiver:
        raise InvalidOption("receivers.b.url: no address.")

    with pytest.raises(InvalidOption):
        house.delivery.configure({"a": setup(half, "new"), "b": ReceiverSetup("new", impossible)})
    assert half.closed.is_set()
    house.delivery.submit(about(1))
    house.recorder.wait_for(lambda: house.recorder.sent == ["n1"])
    assert set(house.delivery.receivers()) == {"ops"}


def test_messages_for_a_receiver_that_was_removed_are_reported_as_not_delivered(house: House) -> None:
    house.use(ops=Service(DeliveryFailed("refused")), pager=Service())
    house.delivery.submit(about(1))
    house.recorder.wait_for(lambda: house.recorder.healths)
    house.use(pager=Service())
    house.delivery.submit(about(2))
    assert house.recorder.results == [
        ("n1", False, "receiver 'ops' is not configured any more."),
        ("n2", False, "receiver 'ops' is not configured."),
    ]
    assert Spool(house.path).receivers() == set()


def test_when_too_many_messages_wait_the_oldest_are_reported_as_given_up(tmp_path: Path) -> None:
    recorder, service = Recorder(), Service()
    service.hang = threading.Event()
    delivery = Delivery(Spool(tmp_path / "spool.jsonl", limit_messages=3), recorder.listener)
    delivery.configure({"ops": setup(service)})
    delivery.submit(about(0))
    assert service.hangs.wait(LONG_S)
    for number in range(1, 6):
        delivery.submit(about(number))
    assert [(identity, ok) for identity, ok, _problem in recorder.results] == [
        ("n0", False),
        ("n1", False),
        ("n2", False),
    ]
    assert "too many messages wait for receiver 'ops'" in recorder.results[0][2]
    service.hang.set()
    recorder.wait_for(lambda: recorder.sent == ["n3", "n4", "n5"])
    assert delivery.stop(5.0)


def test_a_disk_that_hangs_holds_up_neither_other_messages_nor_the_status(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, released = threading.Event(), threading.Event()
    ops, pager = Service(), Service(DeliveryFailed("refused"))
    house.use(ops=ops, pager=pager)
    house.delivery.submit(about(2, "pager"))
    house.clock.wait_for_sleep_until(1.0)
    real = os.fsync

    def fsync(descriptor: int) -> None:
        hangs.set()
        assert released.wait(LONG_S)
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        slow = threading.Thread(target=house.delivery.submit, args=(about(1),))
        slow.start()
        assert hangs.wait(LONG_S)
        house.clock.advance_to(1.0)
        house.recorder.wait_for(lambda: house.recorder.sent == ["n2"])
        assert house.delivery.health()["pager"].delivered == 1 and ops.attempts == []
        released.set()
        slow.join(LONG_S)
    house.recorder.wait_for(lambda: house.recorder.sent == ["n2", "n1"])
    eventually(lambda: not house.delivery._shared.spool.is_behind)
    assert spool_file.read(house.path).pending == {}


def test_a_stop_does_not_wait_for_a_disk_that_hangs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, released = threading.Event(), threading.Event()
    house.use(ops=Service())

    def fsync(descriptor: int) -> None:
        hangs.set()
        assert released.wait(LONG_S)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        slow = threading.Thread(target=house.delivery.submit, args=(about(1),))
        slow.start()
        assert hangs.wait(LONG_S)
        began = time.monotonic()
        assert house.delivery.stop(5.0) and time.monotonic() - began < 4.0
        released.set()
        slow.join(LONG_S)
    assert [stored.notification.id for stored in Spool(house.path).pending("ops")] == ["n1"]


def test_a_reminder_that_is_out_of_date_is_not_sent(house: House) -> None:
    service = Service(DeliveryFailed("refused"))
    house.use(ops=service)
    house.delivery.submit(about(1))
    house.recorder.wait_for(lambda: house.recorder.healths)
    house.delivery.submit(notification(alert("web1"), kind="reminder", id="r1"))
    house.delivery.submit(notification(alert("web1", status="resolved"), kind="resolved", id="e1"))
    assert house.recorder.results == [("r1", True, REPLACED)]
    house.clock.wait_for_sleep_until(1.0)
    house.clock.advance_to(1.0)
    house.recorder.wait_for(lambda: house.recorder.sent == ["r1", "n1", "e1"])
    assert service.attempts == ["n1", "n1", "e1"]


def test_a_stop_with_a_receiver_that_hangs_takes_its_time_and_loses_nothing(house: House) -> None:
    service = Service()
    service.hang = threading.Event()
    house.use(ops=service)
    for number in (1, 2):
        house.delivery.submit(about(number))
    assert service.hangs.wait(LONG_S)
    began = time.monotonic()
    assert house.delivery.stop(0.4)
    assert time.monotonic() - began < 5.0 and service.aborted.is_set()
    assert [stored.notification.id for stored in Spool(house.path).pending("ops")] == ["n1", "n2"]
    assert house.recorder.results == [] and house.recorder.healths == []


def test_a_stop_leaves_behind_a_thread_that_cannot_be_interrupted(house: House) -> None:
    class Stubborn(Service):
        def abort(self) -> None:
            """Nothing interrupts it."""

    service = Stubborn()
    service.hang = threading.Event()
    house.use(ops=service)
    house.delivery.submit(about(1))
    assert service.hangs.wait(LONG_S)
    assert not house.delivery.stop(0.2)
    service.hang.set()
    assert service.closed.wait(LONG_S)
    house.recorder.wait_for(lambda: house.recorder.sent == ["n1"] or not house.recorder.results)


def test_a_stop_lets_a_message_end_that_is_being_sent(house: House) -> None:
    service = Service()
    service.hang = threading.Event()
    house.use(ops=service)
    house.delivery.submit(about(1))
    assert service.hangs.wait(LONG_S)
    threading.Timer(0.05, service.hang.set).start()
    assert house.delivery.stop(10.0)
    assert house.recorder.sent == ["n1"] and not service.aborted.is_set()
    assert Spool(house.path).receivers() == set()


def test_a_receiver_that_must_repeat_is_called_in_its_rhythm_and_its_failures_are_reported(house: House) -> None:
    service = Service()
    service.repeat_every_s = 60.0
    house.use(ops=service)
    for moment in (60.0, 120.0):
        house.clock.wait_for_sleep_until(moment)
        assert service.repeats == moment / 60 - 1
        if moment == 120.0:
            service.failures.append(DeliveryFailed("no peer answers"))
        house.clock.advance_to(moment)
    house.recorder.wait_for(lambda: house.recorder.healths == [("ops", "no peer answers")])
    house.clock.wait_for_sleep_until(180.0)
    house.clock.advance_to(180.0)
    house.recorder.wait_for(lambda: house.recorder.healths[1:] == [("ops", "")])


def test_a_full_disk_is_tried_again_and_messages_are_delivered_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    house.use(ops=service)
    spool = house.delivery._shared.spool
    monkeypatch.setattr(Spool, "is_behind", property(lambda self: True))
    house.delivery.submit(about(1))
    house.recorder.wait_for(lambda: house.recorder.sent == ["n1"])
    house.clock.wait_for_sleep_until(30.0)
    assert spool.problem == ""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_in_a_receiver_is_reported_and_its_message_stays_in_the_spool(house: House) -> None:
    house.use(ops=Service(ZeroDivisionError()), pager=Service())
    house.delivery.submit(about(1))
    house.recorder.wait_for(lambda: house.recorder.crashes == ["ops"])
    house.delivery.submit(about(2, "pager"))
    house.recorder.wait_for(lambda: house.recorder.sent == ["n2"])
    assert [stored.notification.id for stored in Spool(house.path).pending("ops")] == ["n1"]
