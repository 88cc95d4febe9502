# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One incident: something that is wrong, was wrong a moment ago, or changes too often. Its timers and its state. Pure.

An incident is idle, pending, firing or recovering. It fires at a severity once the finding has been at least that bad for the ``for``
of the severity without a break, and leaves the severity once it has been better for ``recover_for``. While it is frozen nothing is known
about it: its timers stand still, and it neither fires nor ends.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ..._alerting.finding import RANK, Finding
from ..._consul.digest import short_digest
from .notification import FIRING, RESOLVED, Alert
from .timing import Timers

SEVERITY_OF_RANK = ("none", "warning", "critical")
WARNING, CRITICAL = RANK["warning"], RANK["critical"]

# Instances that start watching at different times date an episode differently, by a second or two. Its number counts periods of this
# length, so they call it the same.
EPISODE_PERIOD_S = 600.0

RECOVERED, DEREGISTERED, MAINTENANCE = "recovered", "deregistered", "maintenance"
FLAPPING_STATE, IDLE_STATE, PENDING_STATE = "flapping", "idle", "pending"
FIRING_STATE, RECOVERING_STATE, FROZEN_STATE = "firing", "recovering", "unknown"


@dataclass(frozen=True)
class FlapLimits:
    """Something flaps that began or ended to be wrong ``changes`` times within ``window_s`` seconds; 0 changes: nothing flaps.

    It stops flapping when it has not changed for ``window_s``.
    """

    changes: int = 4
    window_s: float = 600.0


@dataclass
class Incident:
    """One incident; times in Unix seconds.

    ``source`` names the datacenter as it is watched. ``present`` says whether the last judgement had the finding. ``reached`` and
    ``left`` have, by rank of severity, since when the finding is at least that bad, or is not. ``rank`` is the severity at which it
    fires, 0 if it does not; ``worst_rank`` the worst of the episode. ``changes`` are the last times at which it came or went.
    ``other_episodes`` are names under which other instances reported this episode.
    """

    key: str
    source: str
    finding: Finding
    started: float
    present: bool = False
    reached: dict[int, float] = field(default_factory=dict)
    left: dict[int, float] = field(default_factory=dict)
    rank: int = 0
    worst_rank: int = 0
    episode: str = ""
    episode_number: int = 0
    fired_at: float = 0.0
    frozen_since: float | None = None
    gone: bool = False
    flapping: bool = False
    changes: list[float] = field(default_factory=list)
    other_episodes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._shown: tuple[tuple[t.Any, ...], Alert] | None = None  # no field: it is neither saved nor compared

    # -------------------------------------------------------------------------------------------------------------
    # What a judgement says

    def mark_present(self, finding: Finding, now: float) -> None:
        """Record that the finding was seen."""
        self.thaw(now)
        if not self.present:
            self.changes.append(now)
            if not self.rank:
                self.started = now
        self.present, self.gone, self.finding = True, False, finding
        self._set_levels(RANK[finding.severity], now)

    def mark_absent(self, now: float, gone: bool = False) -> None:
        """Record that it was judged and not found. ``gone``: what it is about is not registered any more."""
        self.thaw(now)
        if self.present:
            self.changes.append(now)
        self.present, self.gone = False, gone
        self._set_levels(0, now)

    def freeze(self, now: float) -> None:
        """Record that nothing is known about it."""
        if self.frozen_since is None:
            self.frozen_since = now

    def thaw(self, now: float) -> None:
        """Go on where it was frozen: that time counts neither as wrong nor as right."""
        if self.frozen_since is None:
            return
        delay_s = max(0.0, now - self.frozen_since)
        self.reached = {rank: since + delay_s for rank, since in self.reached.items()}
        self.left = {rank: since + delay_s for rank, since in self.left.items()}
        self.changes = [time + delay_s for time in self.changes]
        self.frozen_since = None

    def _set_levels(self, rank: int, now: float) -> None:
        for level in (WARNING, CRITICAL):
            if rank >= level:
                self.left.pop(level, None)
                self.reached.setdefault(level, now)
            else:
                self.reached.pop(level, None)
                self.left.setdefault(level, now)

    # -------------------------------------------------------------------------------------------------------------
    # What time does

    def advance(self, now: float, timers: Timers, flaps: FlapLimits) -> bool:
        """Apply what the timers say at ``now``. Return whether the episode has just ended."""
        if self.frozen_since is not None:
            return False
        was_firing = self.rank > 0
        self.changes = [time for time in self.changes if now - time < flaps.window_s]
        if not self.changes:
            self.flapping = False
        elif flaps.changes and len(self.changes) >= flaps.changes and not self.flapping:
            self.flapping = True
            if not was_firing:
                self.started = min(self.started, self.changes[0])
        rank = self._risen(now, timers)
        if not self.flapping:
            rank = self._lowered(rank, now, timers)
        self.rank = rank
        self.worst_rank = max(self.worst_rank, rank)
        if rank and not was_firing:
            self._begin_episode(now)
        return was_firing and not rank

    def _risen(self, now: float, timers: Timers) -> int:
        rank = self.rank
        if self.flapping and not rank:
            rank = RANK[self.finding.severity]
        # What is critical does not fire as a warning before its own time, if that is longer.
        least_s = timers.for_s[self.finding.severity]
        for level, since in self.reached.items():
            if now - since >= max(least_s, timers.for_s[SEVERITY_OF_RANK[level]]):
                rank = max(rank, level)
        return rank

    def _lowered(self, rank: int, now: float, timers: Timers) -> int:
        hold_s = timers.gone_for_s if self.gone else timers.recover_for_s
        while rank and rank in self.left and now - self.left[rank] >= hold_s:
            rank -= 1
        return rank

    def _begin_episode(self, now: float) -> None:
        self.fired_at = now
        self.worst_rank = self.rank
        self.other_episodes = []
        self.episode_number = max(int(self.started // EPISODE_PERIOD_S), self.episode_number + 1)
        self.episode = f"{short_digest(self.key.encode())}-{self.episode_number:x}"

    def adopt_episode(self, alert: Alert, now: float) -> None:
        """Take over the episode of an alert that another instance reported as firing."""
        self.started = min(self.started, alert.since)
        if self.rank:
            if alert.episode not in (self.episode, *self.other_episodes):
                self.other_episodes.append(alert.episode)
            return
        self.fired_at, self.rank, self.worst_rank = now, RANK[alert.severity], RANK[alert.severity]
        self.other_episodes = []
        self.episode = alert.episode
        self.episode_number = max(self.episode_number, _number_of(alert.episode))

    def rename_episode(self, episode: str) -> None:
        """Give what fires the name of another instance's episode: its own is over."""
        self.episode, self.other_episodes = episode, []
        self.episode_number = max(self.episode_number, _number_of(episode))

    def end(self) -> None:
        """End the episode, whatever the timers say."""
        self.rank, self.flapping, self.changes = 0, False, []

    # -------------------------------------------------------------------------------------------------------------
    # What others ask

    def is_idle(self, now: float) -> bool:
        """Return whether it can be forgotten: not wrong, nothing counted, and its next episode would get another name."""
        is_named_anew = int(now // EPISODE_PERIOD_S) > self.episode_number
        return not (self.present or self.rank or self.changes or self.frozen_since is not None) and is_named_anew

    @property
    def state(self) -> str:
        """The state, for people and metrics."""
        if self.frozen_since is not None:
            return FROZEN_STATE
        if self.flapping:
            return FLAPPING_STATE
        if self.rank:
            return FIRING_STATE if self.present else RECOVERING_STATE
        return PENDING_STATE if self.present else IDLE_STATE

    @property
    def inhibits(self) -> bool:
        """Whether it can inhibit others: what flaps goes on firing for minutes after it was last seen, and hides nothing then."""
        return self.rank > 0 and (self.present or not self.flapping)

    @property
    def severity(self) -> str:
        """The severity at which it fires; of the finding if it does not fire."""
        return SEVERITY_OF_RANK[self.rank] if self.rank else self.finding.severity

    @property
    def worst_severity(self) -> str:
        """The worst severity at which it has fired in this episode: routes go by it, so an improvement changes no receiver."""
        return SEVERITY_OF_RANK[self.worst_rank] if self.rank else self.finding.severity

    def firing_alert(self) -> Alert:
        """Return what receivers are told while it fires; the same object while that is the same."""
        said = (self.finding, self.episode, self.severity, self.started, self.flapping)
        if self._shown is None or self._shown[0] != said:
            self._shown = (said, make_alert(self, FIRING))
        return self._shown[1]

    def resolved_alert(self, now: float, reason: str) -> Alert:
        """Return what receivers are told when it has ended."""
        return make_alert(self, RESOLVED, ended=now, reason=reason)


def _number_of(episode: str) -> int:
    """Return the number in the name of an episode, 0 if it has none."""
    digits = episode.rpartition("-")[2]
    return int(digits, 16) if digits and not set(digits) - set("0123456789abcdef") else 0


def make_alert(incident: Incident, status: str, **more: t.Any) -> Alert:
    """Return an incident as receivers, routes and templates see it."""
    finding = incident.finding
    return Alert(
        key=incident.key,
        episode=incident.episode,
        status=status,
        severity=incident.severity if status == FIRING else SEVERITY_OF_RANK[incident.worst_rank],
        rule=finding.rule,
        datacenter=finding.datacenter,
        summary=finding.summary,
        since=incident.started,
        node=finding.node,
        service=finding.service,
        check=finding.check,
        output=finding.output,
        detail=finding.detail,
        advice=finding.advice,
        tags=finding.tags,
        node_meta=dict(finding.node_meta),
        service_meta=dict(finding.service_meta),
        service_name=finding.service_name,
        check_name=finding.check_name,
        flapping=incident.flapping,
        **more,
    )
