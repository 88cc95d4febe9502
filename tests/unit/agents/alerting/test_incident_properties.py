# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever happens: every episode that is long enough is reported, and its end; nothing twice, and unknown is never a recovery."""

from __future__ import annotations

import random
import typing as t

from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.core import Core
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.incident import EPISODE_PERIOD_S
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.told import decode_told
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import Finding, Judgement
from hypothesis import given, settings
from hypothesis import strategies as st

from .scenario import T0, Inbox, check, config, judgement, unknown

NAMES = ("a", "b", "c")
FOR_S = {"critical": 30.0, "warning": 60.0}
RECOVER_S = 30.0

# One step: how long it lasts, what is wrong in it (None: unknown), whether the process is restarted after it.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([1.0, 10.0, 29.0, 30.0, 31.0, 60.0, 90.0, 700.0]),
        st.none() | st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["critical", "warning"])),
        st.booleans(),
    ),
    max_size=12,
)
Steps = list[tuple[float, t.Optional[dict[str, str]], bool]]


class Observer:
    """Knows by itself when each name is wrong: what must be reported is computed from this, not from the core's state."""

    def __init__(self) -> None:
        self.wrong_s = dict.fromkeys(NAMES, 0.0)  # at any severity, not counting what is unknown
        self.critical_s = dict.fromkeys(NAMES, 0.0)
        self.right_s = dict.fromkeys(NAMES, 1e9)
        self.must_fire: set[str] = set()
        self.may_be_over: set[str] = set()

    def pass_time(self, lasts_s: float, wrong: dict[str, str] | None) -> None:
        self.must_fire, self.may_be_over = set(), set()
        if wrong is None:
            return
        for name in NAMES:
            if name in wrong:
                self.right_s[name] = 0.0
                self.wrong_s[name] += lasts_s
                self.critical_s[name] = self.critical_s[name] + lasts_s if wrong[name] == "critical" else 0.0
                if self.critical_s[name] >= FOR_S["critical"] or self.wrong_s[name] >= FOR_S["warning"]:
                    self.must_fire.add(name)
            else:
                self.wrong_s[name] = self.critical_s[name] = 0.0
                self.right_s[name] += lasts_s
                if self.right_s[name] >= RECOVER_S:
                    self.may_be_over.add(name)


def judged(wrong: dict[str, str] | None, order: random.Random) -> Judgement:
    if wrong is None:
        return unknown()
    findings: list[Finding] = [check(name, severity) for name, severity in wrong.items()]
    order.shuffle(findings)
    return judgement(*findings)


def restarted(core: Core, now: float) -> Core:
    made = config()
    again = Core(made.core, made.make_silences())
    again.load(core.encode(now), "state", now)
    return again


def run(steps: Steps, seed: int, *, with_restarts: bool = True) -> Inbox:
    """Play the steps, and check after each that what is told agrees with what happened."""
    made = config()
    inbox, observer, order = Inbox(Core(made.core, made.make_silences())), Observer(), random.Random(seed)
    open_episodes: dict[str, str] = {}
    seen_episodes: set[str] = set()
    at = 0.0
    for lasts_s, wrong, restarts in [*steps, (30.0, {}, True), (30.0, {}, False)]:
        position = len(inbox.received)
        inbox.take(at, judged(wrong, order))
        at += lasts_s
        observer.pass_time(lasts_s, wrong)
        inbox.read(at)
        inbox.read(at)
        if restarts and with_restarts:
            inbox.core = restarted(inbox.core, T0 + at)
        inbox.take(at, judged(wrong, order))
        inbox.read(at + 1.0)
        at += 1.0
        observer.pass_time(1.0, wrong)
        for notification in inbox.received[position:]:
            for alert in notification.alerts:
                if alert.status == "firing":
                    is_new = alert.check not in open_episodes
                    assert is_new == (alert.episode not in seen_episodes), "one episode under two names, or twice"
                    assert is_new or open_episodes[alert.check] == alert.episode
                    open_episodes[alert.check] = alert.episode
                    seen_episodes.add(alert.episode)
                else:
                    assert open_episodes.pop(alert.check) == alert.episode, "a recovery of what was not reported"
                    assert wrong is not None and alert.check not in wrong, "unknown or wrong, and reported as recovered"
                    assert alert.ended is not None and alert.ended >= alert.since
        assert observer.must_fire <= set(open_episodes), "wrong for long enough and not reported"
        assert not observer.may_be_over & set(open_episodes), "over for long enough and not reported"
    assert not open_episodes
    return inbox


@given(STEPS, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_long_episode_is_reported_once_and_so_is_its_end(steps: Steps, seed: int) -> None:
    run(steps, seed)


def words(inbox: Inbox) -> list[tuple[str, str, str, float]]:
    return [
        (alert.episode, alert.status, alert.severity, one.time - T0) for one in inbox.received for alert in one.alerts
    ]


@given(STEPS)
@settings(max_examples=25, deadline=None)
def test_neither_the_order_of_findings_nor_restarts_change_what_is_reported(steps: Steps) -> None:
    assert words(run(steps, 1)) == words(run(steps, 2, with_restarts=False))


@given(STEPS, st.floats(0, 3))
@settings(max_examples=25, deadline=None)
def test_an_instance_that_takes_over_at_any_time_reports_what_is_left(steps: Steps, started_late_s: float) -> None:
    """The second instance sees the same, learns what the first one told, and speaks from then on."""
    made = config()
    first, second = (Inbox(Core(made.core, made.make_silences())) for _number in range(2))
    at = 0.0
    for lasts_s, wrong, _restarts in steps:
        first.take(at, judged(wrong, random.Random(1)))
        second.core.update("dc1", judged(wrong, random.Random(2)), T0 + at + started_late_s)
        at += lasts_s
        first.read(at)
        at += 4.0
    notes = decode_told(first.core.notes_to_share(T0 + at).encode(), "notes")
    second.core.merge_notes(notes, T0 + at)
    for _number in range(3):
        second.take(at, Judgement())
        at += 31.0
    told = [*first.received, *second.received]
    status: dict[str, str] = {}
    for notification in told:
        for alert in notification.alerts:
            status[alert.episode] = alert.status
    assert set(status.values()) <= {"resolved"}


@given(st.lists(st.sampled_from([1.0, 40.0, 70.0]), min_size=1, max_size=40))
@settings(max_examples=25, deadline=None)
def test_episodes_have_different_names_however_fast_they_follow(pauses: list[float]) -> None:
    made = config(rules=[{"rule": "check_status", "for": "0s", "recover_for": "0s"}])
    inbox = Inbox(Core(made.core, made.make_silences()))
    at = 0.0
    for pause_s in pauses:
        inbox.judge(at, check())
        at += pause_s
        inbox.judge(at)
        at += pause_s
        inbox.read(at + 2)
    fired = [alert.episode for one in inbox.received for alert in one.alerts if alert.status == "firing"]
    assert len(fired) == len(set(fired)) == len(pauses)
    assert at < 10 * EPISODE_PERIOD_S
