# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job that hands messages over to delivery, one cycle at a time."""

from __future__ import annotations

import threading
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import (
    delivery_queue,
    notify_job,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery import ReceiverSetup
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.memory import STATE_FILE, Memory
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import Notification
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.receiver import (
    DeliveryFailed,
    Receiver,
)
from ansible_collections.consulops.failover.plugins.module_utils._daemon.state_directory import StateDirectory

from tests.lab.consul import eventually

from .scenario import check, config, judgement

NUMBER = 25


def notifier_of(path: Path, given: t.Any, service: Receiver, **setup: t.Any) -> tuple[Memory, notify_job.Notifier]:
    """Return the job of an instance that holds the lease, and its memory."""
    state, memory = StateDirectory({"STATE_DIRECTORY": str(path)}), Memory()
    settings = notify_job.NotifySettings(
        given, {"ops": ReceiverSetup("", lambda: service, **setup)}, frozenset({"dc1"})
    )
    memory.configure(given, settings.receivers, state)
    lease = types.SimpleNamespace(standing="holder", fence=0)
    context: t.Any = types.SimpleNamespace(memory=memory, state=state, lease=lease, report=lambda *_args, **_more: None)
    return memory, notify_job.Notifier(context, memory, settings)


class SlowService(Receiver):
    """Takes nothing before it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.told: set[str] = set()

    def send(self, notification: Notification) -> None:
        assert self.released.wait(20)
        self.told |= {alert.check for alert in notification.alerts}


def test_more_messages_than_a_queue_takes_are_told_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_job, "LIMIT_MESSAGES", 4)
    given = config(**{"for": "0s", "route": {"receiver": "ops", "group_by": ["..."], "group_wait": "0s"}})
    service = SlowService()
    memory, notifier = notifier_of(tmp_path, given, service)
    memory.core.update("dc1", judgement(*(check(f"c{number}") for number in range(NUMBER))), memory.clock.time())
    notifier.run_once()
    notifier.run_once()
    assert len(memory.delivery.pending("ops")) == 4
    service.released.set()

    def all_told() -> bool:
        notifier.run_once()
        return len(service.told) == NUMBER

    eventually(all_told, 20, "everything is told")
    assert {note.status for note in memory.core.told.notes.values()} == {"firing"}
    memory.close(1.0)


class BrokenService(Receiver):
    """Takes nothing before it is repaired."""

    def __init__(self) -> None:
        self.works = False
        self.told: list[tuple[str, str]] = []

    def send(self, notification: Notification) -> None:
        if not self.works:
            raise DeliveryFailed("the service is away")
        self.told += [(notification.id, alert.status) for alert in notification.alerts]


def test_what_was_given_up_is_told_once_when_the_receiver_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_queue, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(delivery_queue, "LONGEST_PAUSE_S", 0.05)
    given = config(**{"for": "0s", "recover_for": "0s"})
    service = BrokenService()
    memory, notifier = notifier_of(tmp_path, given, service, give_up_after_s=0.1)

    def cycle(condition: t.Callable[[], bool]) -> None:
        def holds() -> bool:
            notifier.run_once()
            return condition()

        eventually(holds, 20, "it is told")

    memory.core.update("dc1", judgement(check()), memory.clock.time())
    cycle(lambda: memory.delivery.health()["ops"].given_up > 1)
    service.works = True
    cycle(lambda: bool(service.told))
    service.works = False
    given_up = memory.delivery.health()["ops"].given_up
    memory.core.update("dc1", judgement(), memory.clock.time())
    cycle(lambda: memory.delivery.health()["ops"].given_up > given_up)
    service.works = True
    cycle(lambda: len(service.told) > 1)
    cycle(lambda: not memory.delivery.waiting())
    notifier.run_once()
    assert [status for _id, status in service.told] == ["firing", "resolved"]
    assert memory.core.incidents.ended == {}
    memory.close(1.0)


class ReadingService(Receiver):
    """Reads, when it is told something, what a process that is killed now would leave behind."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.saved: list[bool] = []

    def send(self, notification: Notification) -> None:
        self.saved.append(notification.id in self.state.read_text("utf-8"))


def test_the_notes_are_saved_before_a_receiver_can_be_told(tmp_path: Path) -> None:
    service = ReadingService(tmp_path / STATE_FILE)
    memory, notifier = notifier_of(tmp_path, config(**{"for": "0s", "recover_for": "0s"}), service)
    for number, found in enumerate((judgement(check()), judgement())):
        memory.core.update("dc1", found, memory.clock.time())

        def is_told(before: int = number) -> bool:
            notifier.run_once()
            return len(service.saved) > before

        eventually(is_told, 20, "it is told")
    assert service.saved == [True, True] and not memory.waiting()
    memory.close(1.0)
