# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Silences: for a time, alerts that match are not reported. Kept as compact JSON, on disk and in Consul. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from ..._config.validation import Spec, validated
from ..._consul.digest import short_digest
from ..._consul.errors import InvalidOption
from ..._consul.units import parse_timestamp, timestamp
from .alert_match import AlertMatchers, alert_matchers
from .match_index import MatchIndex
from .notification import Alert
from .saved_state import decode_state, encode_state, number, text

KEPT_S = 5 * 86400.0  # how long a silence that is over is still listed
MAX_TEXT = 1000  # characters of author and reason
SILENCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SPEC: Spec = {
    "id": {"type": "str"},
    "match": {"type": "raw", "required": True},
    "start": {"type": "str"},
    "end": {"type": "str", "required": True},
    "author": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
}


@dataclass(frozen=True)
class Silence:
    """One silence; times in Unix seconds. ``match`` is the option as it was given, ``changed`` when it was last written."""

    id: str
    match: t.Any
    start: float
    end: float
    author: str
    reason: str
    changed: float
    matchers: AlertMatchers

    def is_active(self, now: float) -> bool:
        """Return whether it silences at ``now``; the end is not included."""
        return self.start <= now < self.end


def make_silence(options: t.Any, now: float, path: str = "silence") -> Silence:
    """Return the silence of ``{match, start, end, author, reason}``; ``start`` defaults to ``now``. Raises InvalidOption.

    Without an ``id`` it gets one that depends on what it says, so that the same silence given twice is one.
    """
    values = validated(SPEC, options, path)
    start = now if values["start"] is None else parse_timestamp(values["start"], f"{path}.start")
    end = parse_timestamp(values["end"], f"{path}.end")
    if end <= start:
        raise InvalidOption(f"{path}.end: {values['end']} is not after the start, {timestamp(start)}.")
    for name in ("author", "reason"):
        if not values[name].strip():
            raise InvalidOption(f"{path}.{name}: this option is empty.")
        if len(values[name]) > MAX_TEXT:
            raise InvalidOption(f"{path}.{name}: it has more than {MAX_TEXT} characters.")
    if values["id"] is not None and not SILENCE_ID.fullmatch(values["id"]):
        raise InvalidOption(
            f"{path}.id: {values['id']!r} must be letters, digits, dots, dashes and underscores, at most 64."
        )
    described = repr((_canonical(values["match"]), values["start"] and start, end, values["author"], values["reason"]))
    return Silence(
        id=values["id"] or short_digest(described.encode()),
        match=values["match"],
        start=start,
        end=end,
        author=values["author"],
        reason=values["reason"],
        changed=now,
        matchers=AlertMatchers(alert_matchers(values["match"], f"{path}.match")),
    )


def _canonical(value: t.Any) -> t.Any:
    """Return an option in a form that does not depend on the order of keys."""
    if isinstance(value, dict):
        return sorted((str(name), _canonical(item)) for name, item in value.items())
    return [_canonical(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class ActiveSilences:
    """The silences that are in force at one moment, the first to begin first."""

    silences: tuple[Silence, ...]
    index: MatchIndex

    def of(self, alert: Alert) -> list[Silence]:
        """Return the silences that silence an alert."""
        return [self.silences[place] for place in self.index.covering(alert)]


class Silences:
    """All silences. Those of the configuration cannot be ended, but by changing it."""

    def __init__(self, configured: t.Iterable[Silence] = ()) -> None:
        self.configured = {silence.id: silence for silence in configured}
        self.added: dict[str, Silence] = {}
        self._active: tuple[Silence, ...] = ()
        self._index = MatchIndex(())

    def all(self) -> list[Silence]:
        """Return all silences, the first to begin first."""
        return sorted({**self.added, **self.configured}.values(), key=lambda one: (one.start, one.id))

    def copy(self) -> Silences:
        """Return the silences as they are now."""
        copied = Silences(self.configured.values())
        copied.added = dict(self.added)
        return copied

    def add(self, silence: Silence) -> None:
        """Add a silence, or replace the one with its ID."""
        self._refuse_configured(silence.id)
        self.added[silence.id] = silence

    def expire(self, silence_id: str, now: float) -> Silence:
        """End a silence now. Raises InvalidOption if there is none with that ID, or it is over."""
        self._refuse_configured(silence_id)
        silence = self.added.get(silence_id)
        if silence is None:
            raise InvalidOption(f"There is no silence {silence_id!r}.")
        if silence.end <= now:
            raise InvalidOption(f"The silence {silence_id!r} ended at {timestamp(silence.end)}.")
        ended = replace(silence, start=min(silence.start, now), end=now, changed=now)
        self.added[silence_id] = ended
        return ended

    def _refuse_configured(self, silence_id: str) -> None:
        if silence_id in self.configured:
            raise InvalidOption(f"The silence {silence_id!r} is in the configuration file: change it there.")

    def of(self, alert: Alert, now: float) -> list[Silence]:
        """Return the silences that silence an alert at ``now``."""
        return self.active(now).of(alert)

    def active(self, now: float) -> ActiveSilences:
        """Return the silences that are in force at ``now``. What was found out about alerts is kept while these are the same."""
        active = tuple(silence for silence in self.all() if silence.is_active(now))
        if active != self._active:
            self._active, self._index = active, MatchIndex([silence.matchers for silence in active])
        return ActiveSilences(self._active, self._index)

    def prune(self, now: float) -> None:
        """Forget silences that have been over for some days."""
        self.added = {name: one for name, one in self.added.items() if now - one.end < KEPT_S}

    # -------------------------------------------------------------------------------------------------------------
    # JSON

    def encode(self) -> str:
        """Return the added silences as compact JSON."""
        return encode_state({"silences": [_encode(self.added[name]) for name in sorted(self.added)]})

    def merge(self, json_text: str | bytes, place: str) -> None:
        """Add silences that ``encode`` returned, here or on another instance; of two with one ID the later written stays.

        ``place`` names the file or key in errors. Raises StateUnusable.
        """
        for silence in decode_state(json_text, place, lambda raw: [_decode(one) for one in raw["silences"]]):
            known = self.added.get(silence.id)
            if known is None or silence.changed > known.changed:
                self.added[silence.id] = silence


def _encode(silence: Silence) -> dict[str, t.Any]:
    names = ("id", "match", "start", "end", "author", "reason", "changed")
    return {name: getattr(silence, name) for name in names}


def _decode(raw: dict[str, t.Any]) -> Silence:
    try:
        matching = AlertMatchers(alert_matchers(raw["match"], "match"))
    except InvalidOption:
        raise ValueError from None
    return Silence(
        text(raw["id"]),
        raw["match"],
        number(raw["start"]),
        number(raw["end"]),
        text(raw["author"]),
        text(raw["reason"]),
        number(raw["changed"]),
        matching,
    )
