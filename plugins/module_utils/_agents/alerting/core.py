# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerting core: judgements and the time go in, messages that are due come out. Pure; the agent's jobs drive it.

A job calls ``update`` for each judgement, then for each of ``due``: stores the message for delivery, and calls ``record``. It saves
``encode`` afterwards. Every instance calls ``merge_notes`` with what the holder of the lease shared (``notes_to_share``).
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..._alerting.finding import Judgement
from . import lost_messages
from .grouping import Grouping, Policy, Suppression
from .incident import FlapLimits
from .incidents import Incidents, Place
from .maintenance import MaintenanceWatch
from .notification import FIRING, RESOLVED, Alert, Notification
from .queues import EMPTY, Queues
from .saved_state import decode_state, encode_state, number
from .silences import Silences
from .spool_file import Fates
from .timing import Timing
from .told import Superseded, Told, decode_told

OWN_FINDINGS = "the agent itself"  # the source of findings about deliveries


@dataclasses.dataclass(frozen=True)
class CoreOptions:
    """What the core needs of the configuration; times in seconds."""

    policy: Policy
    timing: Timing = dataclasses.field(default_factory=Timing)
    flaps: FlapLimits = dataclasses.field(default_factory=FlapLimits)
    maintenance_limit_s: float | None = None
    receivers: frozenset[str] = frozenset()


class Core:
    """Incidents, notes and silences of one agent. Not for several threads at a time."""

    def __init__(self, options: CoreOptions, silences: Silences | None = None) -> None:
        self.silences = silences or Silences()
        self.told = Told()
        self.incidents = Incidents(options.timing, options.flaps)
        self.maintenance = MaintenanceWatch(options.maintenance_limit_s)
        self.grouping = Grouping(options.policy, self.silences, self.told)
        self._receivers = options.receivers
        self._loaded_from = float("-inf")  # the time at which the state was saved that was loaded

    def reconfigure(self, options: CoreOptions, silences: Silences) -> None:
        """Take another configuration. Timers go on, and receivers that are gone are forgotten. ``silences`` keeps those added."""
        silences.added = self.silences.added
        self.silences = silences
        self.incidents.timing, self.incidents.flaps = options.timing, options.flaps
        self.maintenance.limit_s = options.maintenance_limit_s
        self.told.forget_receivers(options.receivers)
        self._receivers = options.receivers
        self.grouping = Grouping(options.policy, silences, self.told)

    # -------------------------------------------------------------------------------------------------------------

    def update(self, source: str, judgement: Judgement, now: float, gone: t.Collection[Place] = ()) -> None:
        """Take a judgement of one watched datacenter (``source``), as ``Incidents.update`` does."""
        if ("check_status" in {rule for _datacenter, rule in judgement.not_judged}) or source == OWN_FINDINGS:
            added = []  # what is in maintenance was not read
            not_judged = {(datacenter, "maintenance_too_long") for datacenter, _rule in judgement.not_judged}
            judgement = dataclasses.replace(judgement, not_judged=judgement.not_judged | not_judged)
        else:
            datacenters = {source, *(place.datacenter for place in judgement.in_maintenance)}
            added = self.maintenance.update(datacenters, judgement.in_maintenance, now)
        judgement = dataclasses.replace(judgement, findings=[*judgement.findings, *added])
        self.incidents.update(source, judgement, now, gone)

    def advance(self, now: float) -> None:
        """Apply what the timers say; call it about once a second."""
        self.incidents.advance(now)

    def due(self, now: float, queues: Queues = EMPTY) -> list[Notification]:
        """Return the messages that are due at ``now``. Until they are recorded, they are due again."""
        self.incidents.advance(now)
        found = self.grouping.due(self.incidents, now, queues.ready)
        self.told.prune(now, self._live_episodes(), queues.waiting)
        return found

    def record(self, notification: Notification) -> None:
        """Note that a receiver is told: the message will be stored for delivery."""
        self.grouping.record(notification, self.incidents)

    def record_told(self, notification: Notification) -> None:
        """Note that another instance delivered what a message says."""
        self.told.record_told(notification)

    def record_delivery(self, notification: Notification, now: float, waiting: t.Collection[str] = ()) -> None:
        """Note that this instance delivered a message. If another one told the end before it arrived, the end is told again.

        ``waiting`` are the IDs of messages that are not delivered yet.
        """
        self._owe_ends(self.told.record_delivery(notification, now, waiting), now)

    def record_failure(self, notification: Notification, now: float, *, refused: bool = False) -> None:
        """Note that a message was given up, or refused for good. What was given up is told again when the receiver works."""
        for alert in self.told.record_failure(notification, refused=refused):
            self._restore_end(alert, now)

    def suppression(self, now: float) -> Suppression:
        """Return what is silenced and inhibited at ``now``."""
        return self.grouping.suppression(self.incidents.firing(), now)

    def _live_episodes(self) -> set[str]:
        live = {name for ended in self.incidents.ended.values() for name in ended.names}
        for incident in self.incidents.firing():
            live.update((incident.episode, *incident.other_episodes))
        return live

    # -------------------------------------------------------------------------------------------------------------
    # What must outlive the process, and what instances share

    def encode(self, now: float) -> str:
        """Return the whole state as JSON."""
        return encode_state(
            {
                "saved_at": now,
                **self.incidents.encode(),
                "maintenance": self.maintenance.encode(),
                "told": self.told.encode(),
                "silences": self.silences.encode(),
            }
        )

    def load(self, json_text: str | bytes, place: str, now: float) -> None:
        """Take a saved state; ``place`` names the file in errors. Raises StateUnusable, and nothing is taken then."""
        incidents = Incidents(self.incidents.timing, self.incidents.flaps)
        maintenance = MaintenanceWatch(self.maintenance.limit_s)

        def decode(raw: dict[str, t.Any]) -> tuple[t.Any, t.Any, float]:
            incidents.decode(raw, now)
            maintenance.decode(raw["maintenance"], now)
            return raw["told"], raw["silences"], number(raw["saved_at"])

        notes, silences, saved_at = decode_state(json_text, place, decode)
        told = decode_told(notes, place)
        self.silences.merge(silences, place)
        self.incidents, self.maintenance = incidents, maintenance
        self._loaded_from = saved_at
        self._merge(told, now)

    def notes_to_share(self, now: float, waiting: t.Collection[str] = (), shared: Told | None = None) -> Told:
        """Return what receivers were told, for other instances.

        ``waiting`` are the IDs of messages that are not delivered yet: of these the notes say what was ``shared`` before.
        """
        notes = Told()
        if shared is not None:
            notes.merge(shared)
        notes.merge(self.told.delivered(waiting))
        notes.prune(now, self._live_episodes())
        return notes

    def notes_to_add(self, now: float, waiting: t.Collection[str], shared: Told) -> Told:
        """Return the notes of what only this instance told, while it was not known which one sends, and the one that sends must know."""
        return self.told.delivered(waiting).unknown_to(shared, now)

    def merge_notes(self, told: Told, now: float, waiting: t.Collection[Notification] = ()) -> list[Superseded]:
        """Take what another instance told receivers.

        Return those of the messages that wait which must not be sent any more. What such a message had to say besides is due again.
        """
        pointless = []
        for one in waiting:
            notes = self.told.superseded_by(told, one)
            if notes:
                ends = [note.at for note in notes if note.status == RESOLVED]
                pointless.append(Superseded(one, min(ends, default=now)))
            if notes and len(notes) < len(one.alerts):
                self.told.forget(one.id)
        self._take_running_episodes(told)
        self._merge(told, now)
        return pointless

    def correct_notes(self, shared: Told, fates: Fates, now: float) -> None:
        """Tell again what a damaged spool has lost, and ends that were told too early.

        ``fates`` is what the spool knows, and ``shared`` what instances share. Once after ``load``.
        """
        for alert in lost_messages.correct_notes(self.told, shared, fates, now):
            self._restore_end(alert, now)
        self._owe_ends(lost_messages.correct_times(self.told, fates), now)

    def _owe_ends(self, alerts: t.Iterable[Alert], now: float) -> None:
        """Tell again that episodes are over; of those that fire here, the end is told when it comes."""
        for alert in alerts:
            if not self.incidents.fires(alert):
                self.told.owe_end(alert)
                self._restore_end(alert, now)

    def _restore_end(self, alert: Alert, now: float) -> None:
        self.incidents.restore_end(alert, self.told.sources.get(alert.episode, alert.datacenter), now)

    def _take_running_episodes(self, shared: Told) -> None:
        """Call an incident as the others call it, if the episode of a state that is old by now is over.

        A state that was put back, with a host's backup, knows an earlier episode of what fires. That one is over: its end was told,
        or it was forgotten and the episode of the others began after the state was saved.
        """
        open_episodes = {note.episode for note in shared.notes.values() if note.is_open}
        known = {note.episode for note in shared.notes.values()}
        for episode in sorted(open_episodes):
            alert = shared.alerts.get(episode)
            incident = None if alert is None else self.incidents.by_key.get(alert.key)
            if alert is None or incident is None or not incident.rank:
                continue
            names = {incident.episode, *incident.other_episodes}
            if episode in names or names & open_episodes:
                continue
            if names & known or (incident.fired_at <= self._loaded_from < alert.since):
                self.told.forget_episodes(names - known)
                incident.rename_episode(episode)

    def _merge(self, told: Told, now: float) -> None:
        self._owe_ends(self.told.merge(told), now)
        if self._receivers:
            self.told.forget_receivers(self._receivers)
        live = self._live_episodes()
        firing = {note.episode for note in self.told.notes.values() if note.is_open}
        for episode in sorted(firing - live):
            alert, source = self.told.alerts.get(episode), self.told.sources.get(episode)
            if alert is not None and source is not None:
                self.incidents.adopt(source, dataclasses.replace(alert, status=FIRING), now)
