# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two instances that both send, as they do while they cannot share: the last that a receiver hears of an episode is its end."""

from __future__ import annotations

from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import Notification
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.queues import Queues
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.spool_file import Done, Key, key_of
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.told import Told
from hypothesis import example, given, settings
from hypothesis import strategies as st

from .scenario import T0, Inbox, check, core_of, judgement


class Sender(Inbox):
    """An instance whose messages wait in a queue; the first of them may be under way. ``delivered`` is common to all.

    Queue and fates of messages outlive a kill, as the spool does, and the state as it was when something was last to be sent or saved.
    """

    def __init__(self, delivered: list[Notification]) -> None:
        super().__init__(core_of(rules=[AT_ONCE]))
        self.queue: list[Notification] = []
        self.is_sending = False
        self._delivered = delivered
        self._fates: dict[Key, Done] = {}
        self._is_corrected = True
        self.save(0.0)

    def save(self, at: float) -> None:
        self._saved = self.core.encode(T0 + at)

    def kill(self, at: float) -> None:
        self.core = core_of(rules=[AT_ONCE])
        self.core.load(self._saved, "file", T0 + at)
        self.is_sending = self._is_corrected = False

    def judge_into_queue(self, at: float, is_wrong: bool) -> None:
        known = len(self.received)
        self.core.update("dc1", judgement(check()) if is_wrong else judgement(), T0 + at)
        self.read(at, Queues(ready=frozenset({"ops"})))
        self.save(at)
        self.queue += self.received[known:]

    def start(self) -> None:
        self.is_sending = bool(self.queue)

    def end(self, at: float) -> None:
        if self.is_sending:
            self.is_sending = False
            sent = self.queue.pop(0)
            self._delivered.append(sent)
            self._note_fate(sent, at)
            self.core.record_delivery(sent, T0 + at, {one.id for one in self.queue})

    def _note_fate(self, sent: Notification, at: float) -> None:
        fires = tuple(alert.episode for alert in sent.alerts if alert.status == "firing")
        self._fates[key_of(sent)] = Done(True, T0 + at, fires)

    def send_all(self, at: float) -> None:
        while self.queue:
            self.start()
            self.end(at)

    def share(self, at: float, shared: Told) -> Told:
        return self.core.notes_to_share(T0 + at, {one.id for one in self.queue}, shared)

    def take_notes(self, at: float, shared: Told) -> None:
        if not self._is_corrected:
            self.core.correct_notes(shared, {**self._fates, **dict.fromkeys(map(key_of, self.queue))}, T0 + at)
            self._is_corrected = True
        for pointless in self.core.merge_notes(shared, T0 + at, self.queue):
            if self.is_sending and pointless.notification is self.queue[0]:
                continue
            self.queue.remove(pointless.notification)
            self._fates[key_of(pointless.notification)] = Done(True, T0 + at)
            self.core.record_told(pointless.notification)


AT_ONCE = {"rule": "check_status", "for": "0s", "recover_for": "0s"}
ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["wrong", "well", "start", "end", "send", "take", "save", "kill"]),
        st.booleans(),
    ),
    min_size=4,
    max_size=25,
)


def steps(text: str) -> list[tuple[int, str, bool]]:
    """Return actions from words such as ``0wrong``, two seconds apart."""
    return [(int(word[0]), word[1:], False) for word in text.split()]


@given(ACTIONS)
@example(steps("0wrong 0start 1wrong 1send 1well 1send 0take 0end"))  # arrives after the end is known
@example(steps("0wrong 0start 1wrong 1send 1well 1send 0take 0well 0end"))  # the same, and it has ended here as well
@example(
    steps("0wrong 1wrong 1send 1well 1send 0send 0take")
)  # arrives after the end was told and before that is known
@example(steps("0wrong 1wrong 1send 1well 1send 0start 0end 0well 0take"))  # the same, and our end waits
@example(
    steps("0wrong 1wrong 1send 1well 1send 0send 0save 0kill 0take")
)  # told after the end, and killed before that is known
@example(steps("0wrong 1wrong 1send 1well 1send 0send 0kill 0take"))  # the same, with the state of before
@example(steps("0wrong 0well 0start 1wrong 1well 1send 0take 0end 0kill"))  # the same, while our end waited
@settings(max_examples=1000, deadline=None)
def test_the_last_that_a_receiver_hears_is_the_end(actions: list[tuple[int, str, bool]]) -> None:
    delivered: list[Notification] = []
    senders = Sender(delivered), Sender(delivered)
    shared, at = Told(), 0.0
    for index, action, at_once in actions:
        at += 0.0 if at_once else 2.0
        sender = senders[index]
        if action in ("wrong", "well"):
            sender.judge_into_queue(at, action == "wrong")
        elif action == "start":
            sender.start()
        elif action == "end":
            sender.end(at)
        elif action == "take":
            sender.take_notes(at, shared)
        elif action == "save":
            sender.save(at)
        elif action == "kill":
            sender.kill(at)
        else:
            sender.send_all(at)
            shared = sender.share(at, shared)
    for _round in range(6):  # everything is well, everything arrives
        for sender in senders:
            at += 2.0
            sender.judge_into_queue(at, False)
            sender.send_all(at)
            sender.take_notes(at, shared)
            shared = sender.share(at, shared)
    last: dict[str, str] = {}
    for notification in delivered:
        last.update({alert.episode: alert.status for alert in notification.alerts})
    assert set(last.values()) <= {"resolved"}
    assert not any(sender.core.incidents.ended or sender.core.told.open_notes() for sender in senders)
