# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The notes of all receivers as values of Consul, which are limited: one while they fit, else 16 or 256 parts. Pure.

An alert is always in the part with the first digits of a hash of it, so a change of one alert changes one part. Readers take
whatever parts there are: while parts are exchanged for others, and after a crash in between, the later note of two stays.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import typing as t
import zlib
from dataclasses import dataclass

from .saved_state import StateUnusable
from .told import Told, decode_told

MAX_TEXT_BYTES = 8 << 20  # of one part, decompressed
# A value is sent as base64 in a transaction, of which servers take 512 KB.
MAX_PART_BYTES = 256 << 10
WIDTHS = (0, 1, 2)  # digits of the name of a part; a single part has no name

Contents = t.Mapping[str, bytes]


@dataclass(frozen=True)
class Spread:
    """Notes as contents by the name of the part, and how many alerts had no room."""

    contents: Contents
    left_out: int = 0


def gather(contents: Contents, place: str) -> tuple[Told, list[StateUnusable]]:
    """Return the notes in all parts, and what is wrong with those that cannot be read. ``place`` names the notes in errors."""
    told, problems = Told(), []
    for name, content in sorted(contents.items()):
        if content:
            part_place = f"{place}/{name}" if name else place
            try:
                told.merge(decode_told(unpack(content, part_place), part_place))
            except StateUnusable as error:
                problems.append(error)
    return told, problems


def spread(told: Told, known: Contents) -> Spread:
    """Return the notes in as few parts as they fit in. ``known`` is what is stored: its parts stay until half of the room suffices."""
    width_in_use = max((len(name) for name in known), default=0)
    stored_bytes = sum(map(len, known.values()))
    for width in WIDTHS[:-1]:
        if stored_bytes > 2 * MAX_PART_BYTES * 16**width:
            continue  # to pack them all takes long, and is in vain
        most_bytes = MAX_PART_BYTES // 2 if width < width_in_use else MAX_PART_BYTES
        packed = {name: _pack_within(part, most_bytes) for name, part in _parts(told, width).items()}
        contents = {name: content for name, content in packed.items() if content is not None}
        if len(contents) == len(packed):
            return Spread(contents)
    return _spread_as_far_as_there_is_room(_parts(told, WIDTHS[-1]))


def _spread_as_far_as_there_is_room(parts: t.Mapping[str, Told]) -> Spread:
    contents, left_out = {}, 0
    for name, told in parts.items():
        episodes = sorted(told.alerts)
        kept = len(episodes)
        content = _pack_within(told, MAX_PART_BYTES)
        while content is None:
            kept //= 2
            content = _pack_within(told.about(frozenset(episodes[:kept])), MAX_PART_BYTES)
        contents[name] = content
        left_out += len(episodes) - kept
    return Spread(contents, left_out)


def _parts(told: Told, width: int) -> dict[str, Told]:
    return told.divided(functools.partial(part_of, width=width)) if width else {"": told}


def part_of(episode: str, width: int) -> str:
    """Return the name of the part that has an episode. All episodes of an alert are in one part, as their names begin alike."""
    alert = episode.rpartition("-")[0] or episode
    return hashlib.blake2b(alert.encode(), digest_size=1).hexdigest()[:width]


def _pack_within(told: Told, most_bytes: int) -> bytes | None:
    """Return notes as they are stored, None if they take more than ``most_bytes`` or could not be read again."""
    text = told.encode()
    if len(text) > MAX_TEXT_BYTES:
        return None
    content = pack(text)
    return content if len(content) <= most_bytes else None


def pack(text: str) -> bytes:
    """Return the JSON text of notes as it is stored: compressed. The same text gives the same bytes."""
    return gzip.compress(text.encode(), mtime=0)


def unpack(content: bytes, place: str) -> bytes:
    """Return the JSON text of stored notes. Raises StateUnusable."""
    try:
        decoder = zlib.decompressobj(wbits=31)  # gzip
        text = decoder.decompress(content, MAX_TEXT_BYTES)
    except zlib.error:
        text = b""
    if not text or not decoder.eof:
        raise StateUnusable(f"{place}: the notes are cut or damaged, so it is not known what was reported before.")
    return text
