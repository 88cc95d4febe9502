# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which messages are due: compares what fires and what has ended with what each receiver was told. Pure.

Nothing is remembered but the notes (told.py). They are saved before the message is stored: whoever stops in between sends it again,
under the same ID, because a note of what was never stored does not count.

The first message of a group waits ``group_wait``, so that what fails together is reported together; later ones wait
``group_interval`` after the one before. An alert that gets worse is reported at once.
"""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass, field, replace

from ..._alerting.finding import RANK
from .incident import Incident
from .incidents import Ended, Incidents
from .inhibition import BUILT_IN_INHIBITIONS, Inhibitors, InhibitRule, InhibitRules
from .mute_times import MuteTime, is_muted
from .notification import FIRING, RESOLVED, Alert, Notification, NotificationKind
from .own_findings import DELIVERY_FAILED
from .routing import Group, Route, RouteTree, group_of, group_of_id
from .silences import ActiveSilences, Silence, Silences
from .told import GIVEN_UP, Note, Told


@dataclass(frozen=True)
class Policy:
    """What the configuration says about who is told what.

    ``without_recoveries`` are receivers that hear of no recovery; ``fallback`` is the one that hears of receivers that fail.
    """

    route: Route
    inhibitions: tuple[InhibitRule, ...] = BUILT_IN_INHIBITIONS
    mute_times: t.Mapping[str, MuteTime] = field(default_factory=dict)
    without_recoveries: frozenset[str] = frozenset()
    fallback: str | None = None
    instance: str = ""

    def is_muted(self, route: Route, now: float) -> bool:
        """Return whether a route sends nothing at ``now``."""
        return is_muted(route.mute_times, route.active_times, self.mute_times, now)


@dataclass
class _Pending:
    """What is to be reported in one group. ``first_fired`` is when the first alert fired that is not reported yet."""

    route: Route
    late: list[Alert] = field(default_factory=list)
    resolved: list[Alert] = field(default_factory=list)
    new: list[Alert] = field(default_factory=list)
    told: list[Alert] = field(default_factory=list)
    first_fired: float | None = None
    is_urgent: bool = False

    def add_new(self, alerts: list[Alert], alert: Alert, fired_at: float) -> None:
        alerts.append(alert)
        self.first_fired = fired_at if self.first_fired is None else min(self.first_fired, fired_at)


class Suppression:
    """Which alerts are silenced or inhibited at one moment."""

    def __init__(self, inhibitors: Inhibitors, silences: ActiveSilences) -> None:
        self._inhibitors = inhibitors
        self._silences = silences

    def silences_of(self, alert: Alert) -> list[Silence]:
        """Return the silences that cover an alert."""
        return self._silences.of(alert)

    def inhibitors_of(self, alert: Alert) -> list[Alert]:
        """Return the firing alerts that inhibit an alert."""
        return self._inhibitors.of(alert)

    def applies(self, alert: Alert) -> bool:
        """Return whether an alert is silenced or inhibited."""
        return bool(self._silences.of(alert)) or self._inhibitors.any_of(alert)


class Grouping:
    """The messages of one moment. Asking changes no more than notes that need no message, and forgets what is over."""

    def __init__(self, policy: Policy, silences: Silences, told: Told) -> None:
        self.policy = policy
        self.silences = silences
        self.told = told
        self._routes = RouteTree(policy.route)
        self._inhibitions = InhibitRules(policy.inhibitions)
        self._ready: t.Collection[str] = ()

    def suppression(self, incidents: t.Iterable[Incident], now: float) -> Suppression:
        """Return what is silenced and inhibited at ``now``, when these incidents fire."""
        inhibiting = [incident.firing_alert() for incident in incidents if incident.inhibits]
        return Suppression(Inhibitors(inhibiting, self._inhibitions), self.silences.active(now))

    def due(self, incidents: Incidents, now: float, ready: t.Collection[str] = ()) -> list[Notification]:
        """Return the messages that are due, the most important first. Each must be recorded, and then stored.

        ``ready`` are the receivers that are told again what was given up.
        """
        self._ready = ready
        firing = incidents.firing()
        suppression = self.suppression(firing, now)
        pending: dict[Group, _Pending] = {}
        for incident in firing:
            alert = incident.firing_alert()
            self._add_firing(pending, incident, alert, suppression.applies(alert), now)
        open_notes = self.told.open_notes() if incidents.ended else {}
        for ended in incidents.ended_episodes():
            is_owed = self._add_ended(pending, ended, open_notes.get(ended.alert.episode, ()), suppression, now)
            if not is_owed:
                incidents.release(ended.alert.episode)
        sent = self.told.groups()
        found: list[Notification] = []
        for group in sorted(pending):
            found += self._messages(group, pending[group], *sent.get(group.id, (0.0, False)), now)
        found.sort(key=lambda one: (RANK[one.severity] < RANK["critical"], one.kind != FIRING))
        return found

    def routes_of(self, alert: Alert, worst_severity: str) -> list[Route]:
        """Return the routes of an alert, one a receiver. They go by the worst severity of its episode."""
        found = self._routes.destinations(_with_severity(alert, worst_severity))
        if alert.rule != DELIVERY_FAILED:
            return found
        # A receiver that fails would not deliver that it fails.
        found = [route for route in found if route.receiver != alert.check]
        fallback = self.policy.fallback
        if fallback not in (None, alert.check, *(route.receiver for route in found)):
            found.append(replace(self.policy.route, receiver=t.cast("str", fallback), group_wait_s=0.0))
        return found

    def record(self, notification: Notification, incidents: Incidents) -> None:
        """Note that a message is stored for delivery."""
        found = ((alert.episode, incidents.source_of(alert)) for alert in notification.alerts)
        sources = {episode: source for episode, source in found if source is not None}
        group = Group(notification.receiver, tuple(notification.group.items()))
        self.told.record(notification, group.id, sources)

    # -------------------------------------------------------------------------------------------------------------

    def _add_firing(
        self, pending: dict[Group, _Pending], incident: Incident, alert: Alert, is_suppressed: bool, now: float
    ) -> None:
        for route in self.routes_of(alert, incident.worst_severity):
            note = self.told.find(route.receiver, (incident.episode, *incident.other_episodes))
            group = group_of(route, _with_severity(alert, incident.worst_severity))
            work = pending.setdefault(group, _Pending(route))
            if note is None:
                if not is_suppressed:
                    work.add_new(work.new, alert, incident.fired_at)
                continue
            told = alert if alert.episode == note.episode else replace(alert, episode=note.episode)
            if RANK[alert.severity] < RANK[note.severity]:
                self.told.lower(note, alert.severity)
            if note.status == RESOLVED and not incident.present:
                continue  # another instance has seen it end already
            if is_suppressed:
                continue
            got_worse = RANK[alert.severity] > RANK[note.severity]
            is_missed = note.status == GIVEN_UP and route.receiver in self._ready
            if got_worse or is_missed or note.status == RESOLVED or (alert.flapping and not note.flapping):
                work.add_new(work.new, told, incident.fired_at)
                work.is_urgent = work.is_urgent or got_worse or is_missed
            else:
                work.told.append(told)

    def _add_ended(
        self,
        pending: dict[Group, _Pending],
        ended: Ended,
        open_notes: t.Iterable[Note],
        suppression: Suppression,
        now: float,
    ) -> bool:
        """Add what is to be said of an episode that has ended. Return whether a receiver must still be told something.

        ``open_notes`` are those of the episode.
        """
        is_owed = False
        routes = {route.receiver: route for route in self.routes_of(ended.alert, ended.alert.severity)}
        for note in open_notes:
            if note.receiver in self.policy.without_recoveries:
                self.told.close(note)
            else:
                route = routes.get(note.receiver) or replace(self.policy.route, receiver=note.receiver)
                is_owed = True
                if note.status == GIVEN_UP and note.receiver not in self._ready:
                    continue
                work = pending.setdefault(group_of_id(note.group), _Pending(route))
                work.resolved.append(ended.alert)
                work.is_urgent = work.is_urgent or note.status == GIVEN_UP
        if ended.alert.episode != ended.names[0]:
            return is_owed  # what nobody was told is told under one of the names
        firing = replace(ended.alert, status=FIRING, ended=None, reason="")
        for receiver, route in routes.items():
            if self.told.find(receiver, ended.names) is not None or suppression.applies(firing):
                continue
            if not self.policy.is_muted(route, now):
                work = pending.setdefault(group_of(route, ended.alert), _Pending(route))
                work.add_new(work.late, firing, ended.fired_at)
                is_owed = True
        return is_owed

    def _messages(
        self, group: Group, work: _Pending, last_sent: float, is_open: bool, now: float
    ) -> t.Iterator[Notification]:
        route = work.route
        if self.policy.is_muted(route, now):
            return
        if is_open:
            due_at = last_sent + route.group_interval_s
        else:
            due_at = (now if work.first_fired is None else work.first_fired) + route.group_wait_s
        if work.is_urgent or now >= due_at:
            known = {*(alert.key for alert in work.new), *(alert.key for alert in work.late)}
            others = tuple(alert for alert in work.told if alert.key not in known)
            if work.late:
                yield self._notification(group, "firing", work.late, (*work.new, *others), now)
            if work.new:
                yield self._notification(group, "firing", work.new, others, now)
            if work.resolved:
                yield self._notification(group, "resolved", work.resolved, (*work.new, *others), now)
            if work.late or work.new or work.resolved:
                return
        is_reminder_due = route.repeat_every_s > 0 and now >= last_sent + route.repeat_every_s
        if work.told and is_reminder_due:
            yield self._notification(group, "reminder", work.told, (), now)

    def _notification(
        self,
        group: Group,
        kind: NotificationKind,
        alerts: t.Sequence[Alert],
        still_firing: tuple[Alert, ...],
        now: float,
    ) -> Notification:
        counted = []
        for alert in alerts:
            note = self.told.notes.get((group.receiver, alert.episode))
            counted.append((alert.episode, alert.status, note.count if note else 0))
        content = repr((group.id, kind, sorted(counted))).encode()
        return Notification(
            id=hashlib.blake2b(content, digest_size=16).hexdigest(),
            receiver=group.receiver,
            kind=kind,
            alerts=tuple(alerts),
            time=now,
            group=dict(group.labels),
            still_firing=still_firing,
            instance=self.policy.instance,
        )


def _with_severity(alert: Alert, severity: str) -> Alert:
    """Return an alert with a severity; with thousands of alerts most of the time of a round went into equal copies."""
    return alert if alert.severity == severity else replace(alert, severity=severity)
