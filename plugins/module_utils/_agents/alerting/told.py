# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each receiver was told: so that nothing is reported twice, and a recovery only where the alert was. Pure.

The notes are saved with the agent's state, and shared between instances through Consul.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .notification import FIRING, RESOLVED, Alert, Notification
from .saved_state import decode_alert, decode_state, encode_alert, encode_state, number, text

FAILED = "failed"  # the receiver refused it for good
GIVEN_UP = "given up"  # it waited for too long: the state of then is told when the receiver works again
KEPT_S = 3600.0  # notes of what is over stay for other instances, which may learn of it later
NOT_DELIVERED = (FAILED, GIVEN_UP)
_STATUSES = (FIRING, RESOLVED, FAILED, GIVEN_UP)


@dataclass(frozen=True)
class Note:
    """What one receiver was told last of one episode.

    ``at`` is the time (Unix seconds) and ``notification`` the ID of that message; ``count`` is the number of messages so far;
    ``group`` the ID of the group in which it was reported. ``heard``: a message that the episode fires was delivered, and none
    that it is over.
    """

    receiver: str
    episode: str
    status: str
    severity: str
    at: float
    count: int
    group: str
    notification: str
    flapping: bool = False
    heard: bool = False

    def is_later_than(self, other: Note) -> bool:
        """Whether it replaces another note of the same receiver and episode."""
        return (self.at, self.count) > (other.at, other.count)

    @property
    def is_open(self) -> bool:
        """Whether the receiver must be told of the end: it was told that the episode fires, or is being told."""
        return self.status == FIRING or (self.status in NOT_DELIVERED and self.heard)


@dataclass(frozen=True)
class Superseded:
    """A message that waits although another instance has told the same, or the end: the first of these at ``told_at`` (Unix seconds)."""

    notification: Notification
    told_at: float


class Told:
    """The notes of all receivers, and the alerts that they are about."""

    def __init__(self) -> None:
        self.notes: dict[tuple[str, str], Note] = {}
        self.alerts: dict[str, Alert] = {}
        self.sources: dict[str, str] = {}
        # When a receiver heard last from this instance that an episode fires. Saved, but not shared.
        self._fired_at: dict[tuple[str, str], float] = {}

    def find(self, receiver: str, episodes: t.Iterable[str]) -> Note | None:
        """Return the note of a receiver about an episode, which may have several names."""
        found = (self.notes.get((receiver, episode)) for episode in episodes)
        return next((note for note in found if note is not None), None)

    def open_notes(self) -> dict[str, list[Note]]:
        """Return, by episode, the notes of receivers that were told that it fires, and not yet that it is over."""
        found: dict[str, list[Note]] = {}
        for note in sorted(self.notes.values(), key=lambda note: note.receiver):
            if note.is_open:
                found.setdefault(note.episode, []).append(note)
        return found

    def groups(self) -> dict[str, tuple[float, bool]]:
        """Return, by group, when the receiver was told anything last, and whether something that it was told of still fires."""
        found: dict[str, tuple[float, bool]] = {}
        for note in self.notes.values():
            last, is_open = found.get(note.group, (0.0, False))
            found[note.group] = (max(last, note.at), is_open or note.status != RESOLVED)
        return found

    def record(self, notification: Notification, group: str, sources: t.Mapping[str, str]) -> None:
        """Note that a receiver is told. ``sources`` has the watched datacenter of each episode."""
        for alert in notification.alerts:
            known = self.notes.get((notification.receiver, alert.episode))
            self.notes[notification.receiver, alert.episode] = Note(
                receiver=notification.receiver,
                episode=alert.episode,
                status=alert.status,
                severity=alert.severity,
                at=notification.time,
                count=known.count + 1 if known else 1,
                group=group,
                notification=notification.id,
                flapping=alert.flapping,
                heard=known is not None and known.heard,
            )
            self.alerts[alert.episode] = _without_output(alert)
            if alert.episode in sources:
                self.sources[alert.episode] = sources[alert.episode]

    def record_told(self, notification: Notification) -> None:
        """Note that a receiver knows what a message says, from this instance or another: it must hear of the end."""
        for alert in notification.alerts:
            place = (notification.receiver, alert.episode)
            note = self.notes.get(place)
            if note is not None and (alert.status == FIRING or note.notification == notification.id):
                self.notes[place] = replace(note, heard=alert.status == FIRING)

    def record_delivery(self, notification: Notification, now: float, waiting: t.Collection[str] = ()) -> list[Alert]:
        """Note that this instance delivered a message. Return the alerts whose end must be told again.

        Those are what the message says of episodes of which another instance had told the end: it arrived after that, and the
        receiver believes that they fire. Not so while our own message of the end waits (``waiting`` has the IDs): it follows.
        """
        owed = []
        self.record_told(notification)
        for alert in notification.alerts:
            if alert.status != FIRING:
                continue
            place = (notification.receiver, alert.episode)
            self.record_time_fired(place, now)
            note = self.notes.get(place)
            if note is None or note.notification in (notification.id, *waiting):
                continue
            if note.status == RESOLVED and note.at >= notification.time:
                owed += self._reopen(place, note)
        return owed

    def record_time_fired(self, place: tuple[str, str], at: float) -> None:
        """Note when (Unix seconds) this instance delivered that an episode fires, to a receiver: ``place`` is that and the episode."""
        self._fired_at[place] = max(at, self._fired_at.get(place, at))

    def reopen_if_late(self, place: tuple[str, str], ended_at: float) -> list[Alert]:
        """Return the alert whose end must be told again: it was told at ``ended_at``, and later this instance delivered that it fires."""
        note = self.notes[place]
        if note.status != RESOLVED or self._fired_at.get(place, ended_at) <= ended_at:
            return []
        return self._reopen(place, note)

    def _reopen(self, place: tuple[str, str], note: Note) -> list[Alert]:
        """Note that the last that a receiver heard of an episode is that it fires. Return its alert, if it is known."""
        self.notes[place] = replace(note, status=FIRING, heard=True)
        return [self.alerts[note.episode]] if note.episode in self.alerts else []

    def owe_end(self, alert: Alert) -> None:
        """Let the end of an alert be told as soon as the receivers that believe that it fires can be told."""
        for place, note in list(self.notes.items()):
            if note.episode == alert.episode and note.status == FIRING and note.heard:
                self.notes[place] = replace(note, status=GIVEN_UP)

    def record_failure(self, notification: Notification, *, refused: bool) -> list[Alert]:
        """Note that a message was refused for good, or given up. Return the ends that must be told again.

        Who was never told of an alert is not told of its end. What a receiver refused is not told again before it changes.
        """
        owed = []
        for alert in notification.alerts:
            place = (notification.receiver, alert.episode)
            note = self.notes.get(place)
            if note is None or note.notification != notification.id:
                continue
            if note.status == FIRING:
                self.notes[place] = replace(note, status=FAILED if refused else GIVEN_UP)
            elif note.status == RESOLVED and note.heard and not refused:
                self.notes[place] = replace(note, status=GIVEN_UP)
                owed.append(alert)
        return owed

    def superseded_by(self, other: Told, notification: Notification) -> list[Note]:
        """Return the notes of another instance which say that a receiver was told what a message says, or afterwards that it is over.

        An end that the receiver was told before this instance told it that the episode fires is not one of them.
        """
        found = []
        for alert in notification.alerts:
            place = (notification.receiver, alert.episode)
            note = other.notes.get(place)
            if note is None or (alert.status == RESOLVED and self._was_told_before(place, note)):
                continue
            known = self.notes.get(place)
            if known is not None and known.notification == notification.id:
                is_later = note.is_later_than(known)
            else:
                is_later = note.at > notification.time
            if note.notification == notification.id or (note.status == RESOLVED and is_later):
                found.append(note)
        return found

    def _was_told_before(self, place: tuple[str, str], note: Note) -> bool:
        """Whether a note is of an end that was told before this instance told that the episode fires."""
        fired_at = self._fired_at.get(place)
        return note.status == RESOLVED and fired_at is not None and fired_at >= note.at

    def forget(self, notification_id: str) -> None:
        """Drop the notes of a message that was not sent."""
        self.notes = {place: note for place, note in self.notes.items() if note.notification != notification_id}

    def lower(self, note: Note, severity: str) -> None:
        """Note that an alert has improved, without a message: if it gets worse again, that is reported."""
        self.notes[note.receiver, note.episode] = replace(note, severity=severity)

    def close(self, note: Note) -> None:
        """Note that an alert is over for a receiver that hears of no recovery."""
        self.notes[note.receiver, note.episode] = replace(note, status=RESOLVED)

    def forget_episodes(self, episodes: t.Collection[str]) -> None:
        """Drop the notes of episodes that are over."""
        self.notes = {place: note for place, note in self.notes.items() if note.episode not in episodes}

    def forget_receivers(self, known: t.Collection[str]) -> None:
        """Drop the notes of receivers that are not configured any more."""
        self.notes = {place: note for place, note in self.notes.items() if note.receiver in known}

    def prune(self, now: float, live: t.Collection[str], waiting: t.Collection[str] = ()) -> None:
        """Drop notes of episodes that are over (not ``live``) some time after the last message, unless that still waits (its ID)."""
        self.notes = {
            place: note
            for place, note in self.notes.items()
            if note.episode in live or now - note.at < KEPT_S or note.notification in waiting
        }
        self._take_alerts_of_notes(self)
        self._fired_at = {place: at for place, at in self._fired_at.items() if place in self.notes}

    def about(self, episodes: t.Collection[str]) -> Told:
        """Return the notes about some episodes."""
        found = Told()
        found.notes = {place: note for place, note in self.notes.items() if note.episode in episodes}
        found._take_alerts_of_notes(self)
        return found

    def divided(self, name_of: t.Callable[[str], str]) -> dict[str, Told]:
        """Return the notes in parts: ``name_of`` says in which part an episode belongs."""
        parts: dict[str, Told] = {}
        for place, note in self.notes.items():
            parts.setdefault(name_of(note.episode), Told()).notes[place] = note
        for part in parts.values():
            part._take_alerts_of_notes(self)
        return parts

    def _take_alerts_of_notes(self, other: Told) -> None:
        """Keep what ``other`` knows of the alerts that the notes are about, and nothing else."""
        noted = {note.episode for note in self.notes.values()}
        self.alerts = {episode: other.alerts[episode] for episode in noted if episode in other.alerts}
        self.sources = {episode: other.sources[episode] for episode in noted if episode in other.sources}

    def delivered(self, waiting: t.Collection[str]) -> Told:
        """Return the notes whose message is not one of those that still wait (their IDs): what other instances can rely on."""
        found = Told()
        found.notes = {place: note for place, note in self.notes.items() if note.notification not in waiting}
        found._take_alerts_of_notes(self)
        return found

    def unknown_to(self, shared: Told, now: float) -> Told:
        """Return the notes of what a receiver heard lately to fire, and of which who relies on ``shared`` would not tell the end."""
        found = Told()
        for place, note in self.notes.items():
            if not (note.is_open and note.heard) or now - note.at >= KEPT_S:
                continue
            known = shared.notes.get(place)
            if known is None or (not known.is_open and note.is_later_than(known)):
                found.notes[place] = note
        found._take_alerts_of_notes(self)
        return found

    def merge(self, other: Told) -> list[Alert]:
        """Add what another instance noted; of two notes the later one stays. Return the alerts whose end must be told again.

        Those are the ones that this instance delivered as firing after the other one had told the end.
        """
        owed = []
        self.alerts = {**other.alerts, **self.alerts}
        self.sources = {**other.sources, **self.sources}
        for place, at in other._fired_at.items():  # of a saved state; what instances share has none
            self.record_time_fired(place, at)
        for place, note in other.notes.items():
            known = self.notes.get(place)
            if known is None or note.is_later_than(known):
                self.notes[place] = note
                if known is not None and known.status != RESOLVED and self._was_told_before(place, note):
                    owed += self._reopen(place, note)
            elif known.notification == note.notification and note.heard != known.heard:
                self.notes[place] = replace(known, heard=known.status != RESOLVED)  # one of them knows of the delivery
        return owed

    # -------------------------------------------------------------------------------------------------------------
    # JSON

    def encode(self) -> str:
        """Return the notes as compact JSON. Groups and receivers stand in lists, because many notes share them."""
        receivers = {
            name: number for number, name in enumerate(sorted({note.receiver for note in self.notes.values()}))
        }
        groups = {name: number for number, name in enumerate(sorted({note.group for note in self.notes.values()}))}
        return encode_state(
            {
                "receivers": list(receivers),
                "groups": list(groups),
                "alerts": [encode_alert(self.alerts[episode]) for episode in sorted(self.alerts)],
                "sources": self.sources,
                "notes": [
                    [
                        receivers[note.receiver],
                        note.episode,
                        _STATUSES.index(note.status),
                        note.severity,
                        note.at,
                        note.count,
                        groups[note.group],
                        note.notification,
                        int(note.flapping),
                        int(note.heard),
                    ]
                    for _place, note in sorted(self.notes.items())
                ],
                "fired": [[*place, at] for place, at in sorted(self._fired_at.items())],
            }
        )


def decode_told(json_text: str | bytes, place: str) -> Told:
    """Return the notes that ``Told.encode`` returned; ``place`` names the file or key in errors. Raises StateUnusable."""
    return decode_state(json_text, place, _told)


def _told(raw: dict[str, t.Any]) -> Told:
    told = Told()
    for receiver, episode, status, severity, at, count, group, notification, flapping, heard in raw["notes"]:
        note = Note(
            receiver=text(raw["receivers"][receiver]),
            episode=text(episode),
            status=_STATUSES[status],
            severity=text(severity),
            at=number(at),
            count=int(number(count)),
            group=text(raw["groups"][group]),
            notification=text(notification),
            flapping=bool(flapping),
            heard=bool(heard),
        )
        if note.severity not in ("warning", "critical"):
            raise ValueError
        told.notes[note.receiver, note.episode] = note
    alerts = [decode_alert(one) for one in raw["alerts"]]
    told.alerts = {alert.episode: alert for alert in alerts}
    told.sources = {text(episode): text(source) for episode, source in raw["sources"].items()}
    for receiver, episode, at in raw.get("fired", []):  # not in what earlier versions saved
        told.record_time_fired((text(receiver), text(episode)), number(at))
    return told


def _without_output(alert: Alert) -> Alert:
    """Return what another instance needs of an alert: the output of a check is long, and changes."""
    return replace(alert, output="", detail="", advice="")
