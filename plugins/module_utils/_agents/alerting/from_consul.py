# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be known and changed of an agent that does not run, through what its instances share in Consul. For the command.

It shows what receivers were told, not what fails now: that is judged by a running agent only. The documents are those of the agent's
endpoint.
"""

from __future__ import annotations

import typing as t

from ..._consul import errors, kv
from ..._consul.client import Client
from ..._consul.units import timestamp
from . import shared_state, views
from .note_parts import gather
from .notification import FIRING, Alert
from .shared_state import Keys, SharedState
from .silences import Silence, Silences
from .told import NOT_DELIVERED, Note, Told

ATTEMPTS = 8  # to write silences, while an instance writes them too

Document = dict[str, t.Any]


def read_state(client: Client, keys: Keys) -> SharedState:
    """Return what the instances share. Raises NotFound if there is nothing, and other ConsulErrors."""
    shared = shared_state.read(client, keys)
    if not (shared.notes or shared.silences.index or shared.instances):
        kv.check_readable(client, keys.prefix)  # what may not be read looks as if it did not exist
        raise errors.NotFound(
            f"{client.endpoint} has nothing of an alerting agent below {keys.prefix}: none has run there, or it has another name."
        )
    return shared


def read_told(shared: SharedState, keys: Keys) -> Told:
    """Return what receivers were told. Raises StateUnusable."""
    told, problems = gather(shared.note_contents, keys.notes)
    if problems:
        raise problems[0]
    return told


def read_silences(shared: SharedState, keys: Keys) -> Silences:
    """Return the silences, without those of configuration files. Raises StateUnusable."""
    silences = Silences()
    if shared.silences.content:
        silences.merge(shared.silences.content, keys.silences)
    return silences


def change_silences(client: Client, keys: Keys, change: t.Callable[[Silences], Silence]) -> Silence:
    """Change the shared silences, and return the one that ``change`` returns. Running instances take them over at once.

    What others write meanwhile is kept. Raises a ConsulError, StateUnusable, and what ``change`` raises.
    """
    for _attempt in range(ATTEMPTS):
        shared = shared_state.read(client, keys)
        silences = read_silences(shared, keys)
        silence = change(silences)
        if shared_state.write(client, keys.silences, silences.encode().encode(), shared.silences.index):
            return silence
    raise errors.Conflict(
        f"{keys.silences}: others changed the silences {ATTEMPTS} times meanwhile; nothing was written."
    )


# ---------------------------------------------------------------------------------------------------------------
# Documents


def alerts_document(told: Told, silences: Silences, now: float) -> Document:
    """Return the alerts that receivers were told of and not of their end, worst first. ``as_of`` is the time of the last message."""
    by_episode: dict[str, list[Note]] = {}
    for note in sorted(told.notes.values(), key=lambda one: one.receiver):
        if note.status in (FIRING, *NOT_DELIVERED):
            by_episode.setdefault(note.episode, []).append(note)
    alerts = [
        _alert(told.alerts[episode], notes, silences, now)
        for episode, notes in sorted(by_episode.items())
        if episode in told.alerts
    ]
    last = max((note.at for note in told.notes.values()), default=None)
    return {"alerts": alerts, "as_of": None if last is None else timestamp(last)}


def _alert(alert: Alert, notes: t.Sequence[Note], silences: Silences, now: float) -> Document:
    names = ("summary", "severity", "rule", "datacenter", "node", "service", "check", "service_name", "check_name")
    return {
        **{name: getattr(alert, name) for name in names},
        "state": FIRING,
        "since": timestamp(alert.since),
        "told": [{"receiver": note.receiver, "status": note.status, "at": timestamp(note.at)} for note in notes],
        "silenced_by": [{"id": one.id, "until": timestamp(one.end)} for one in silences.of(alert, now)],
    }


def silence_document(silence: Silence, now: float, *, configured: bool = False) -> Document:
    """Return one silence as the endpoint shows it, without the number of alerts, which is not known here."""
    shown = views.silence(silence, configured, 0, now)
    return {name: value for name, value in shown.items() if name != "firing"}


def silences_document(silences: Silences, now: float) -> Document:
    """Return all silences."""
    return {
        "silences": [silence_document(one, now, configured=one.id in silences.configured) for one in silences.all()]
    }
