# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerting core: judgements and the time go in, messages that are due come out. Pure; the agent's jobs drive it.

A job calls ``update`` for each judgement, then for each of ``due``: stores the message for delivery, and calls ``record``. It saves
``encode`` afterwards. Every instance calls ``merge_notes`` with what the holder of the lease shared (``encode_notes``).
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..._alerting.finding import Judgement
from .grouping import Grouping, Policy, Suppression
from .incident import FlapLimits
from .incidents import Incidents, Place
from .maintenance import MaintenanceWatch
from .notification import FIRING, Notification
from .queues import EMPTY, Queues
from .saved_state import decode_state, encode_state
from .silences import Silences
from .timing import Timing
from .told import Told, decode_told

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
        """Note that a message is stored for delivery."""
        self.grouping.record(notification, self.incidents)

    def record_delivery(self, notification: Notification) -> None:
        """Note that a message was delivered."""
        self.told.record_delivery(notification)

    def record_failure(self, notification: Notification, *, refused: bool = False) -> None:
        """Note that a message was given up, or refused for good. What was given up is told again when the receiver works."""
        for alert in self.told.record_failure(notification, refused=refused):
            self.incidents.restore_end(alert, self.told.sources.get(alert.episode, alert.datacenter))

    def suppression(self, now: float) -> Suppression:
        """Return what is silenced and inhibited at ``now``."""
        inhibiting = [incident.firing_alert() for incident in self.incidents.firing() if incident.inhibits]
        return Suppression(inhibiting, self.grouping.policy, self.silences, now)

    def _live_episodes(self) -> set[str]:
        live = set(self.incidents.ended)
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

        def decode(raw: dict[str, t.Any]) -> tuple[t.Any, t.Any]:
            incidents.decode(raw, now)
            maintenance.decode(raw["maintenance"], now)
            return raw["told"], raw["silences"]

        notes, silences = decode_state(json_text, place, decode)
        told = decode_told(notes, place)
        self.silences.merge(silences, place)
        self.incidents, self.maintenance = incidents, maintenance
        self._merge(told, now)

    def encode_notes(
        self, now: float, waiting: t.Collection[str] = (), shared: str | bytes = "", place: str = "notes"
    ) -> str:
        """Return what receivers were told as JSON, for other instances. It compresses to about a tenth.

        ``waiting`` are the IDs of messages that are not delivered yet: of these the notes say what was ``shared`` before, read from
        ``place``, "" for nothing. Raises StateUnusable.
        """
        notes = decode_told(shared, place) if shared else Told()
        notes.merge(self.told.delivered(waiting))
        notes.prune(now, self._live_episodes())
        return notes.encode()

    def merge_notes(
        self, json_text: str | bytes, place: str, now: float, waiting: t.Collection[Notification] = ()
    ) -> list[Notification]:
        """Take what another instance told receivers; ``place`` names the key in errors. Raises StateUnusable.

        Return those of the messages that wait which must not be sent any more. What such a message had to say besides is due again.
        """
        told = decode_told(json_text, place)
        pointless = []
        for one in waiting:
            superseded = told.superseded(one)
            if superseded:
                pointless.append(one)
            if superseded and len(superseded) < len(one.alerts):
                self.told.forget(one.id)
        self._merge(told, now)
        return pointless

    def _merge(self, told: Told, now: float) -> None:
        self.told.merge(told)
        if self._receivers:
            self.told.forget_receivers(self._receivers)
        live = self._live_episodes()
        firing = {note.episode for note in self.told.notes.values() if note.is_open}
        for episode in sorted(firing - live):
            alert, source = self.told.alerts.get(episode), self.told.sources.get(episode)
            if alert is not None and source is not None:
                self.incidents.adopt(source, dataclasses.replace(alert, status=FIRING), now)
