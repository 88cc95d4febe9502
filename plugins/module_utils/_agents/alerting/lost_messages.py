# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the spool knows better than the state of a process that was killed. Pure.

Messages that are noted as told may be lost with a spool that was damaged, and what was delivered last may not be noted yet.
"""

from __future__ import annotations

from dataclasses import replace

from .notification import FIRING, RESOLVED, Alert
from .spool_file import Done, Fates
from .told import GIVEN_UP, KEPT_S, Note, Told


def correct_notes(told: Told, shared: Told, fates: Fates, now: float) -> list[Alert]:
    """Make notes say what is known: by the spool (``fates``), and by the notes that instances share (``shared``).

    What was lost counts as not told. Return the ends that must be told again. It is done once, after the start.
    """
    owed = []
    for place, note in list(told.notes.items()):
        if note.status not in (FIRING, RESOLVED):
            continue
        key = (note.receiver, note.notification)
        corrected = _with_fate(note, fates[key]) if key in fates else _as_shared(note, shared.notes.get(place), now)
        if (
            note.status == RESOLVED
            and (corrected is None or corrected.status != RESOLVED)
            and note.episode in told.alerts
        ):
            owed.append(told.alerts[note.episode])
        if corrected is None:
            del told.notes[place]
        else:
            told.notes[place] = corrected
    return owed


def correct_times(told: Told, fates: Fates) -> list[Alert]:
    """Note when receivers heard that episodes fire, as the spool knows it. Return the ends that must be told again.

    Those are the ones that the receivers were told before they heard that the episode fires.
    """
    for (receiver, _id), fate in fates.items():
        if fate is not None:
            for episode in fate.fires:
                told.record_time_fired((receiver, episode), fate.at)
    owed = []
    for place, note in list(told.notes.items()):
        fate = fates.get((note.receiver, note.notification), Done(True, note.at))
        if fate is not None:  # what waits follows
            owed += told.reopen_if_late(place, fate.at)
    return owed


def _with_fate(note: Note, fate: Done | None) -> Note:
    """Return a note of a message that the spool knows: what became of it may be newer than the note."""
    if fate is None:
        return note
    if fate.ok:
        return replace(note, heard=note.status == FIRING)
    return replace(note, status=GIVEN_UP) if note.status == FIRING or note.heard else note


def _as_shared(note: Note, shared: Note | None, now: float) -> Note | None:
    """Return a note of a message that the spool does not know; None if nobody can have sent it."""
    if shared is not None:
        return note if (shared.at, shared.count) >= (note.at, note.count) else shared
    if note.status == FIRING:
        return note if note.heard else None
    return None if now - note.at < KEPT_S else note
