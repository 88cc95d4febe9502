# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The spool's file: JSON lines that say what was queued and what was dealt with. Reads, appends and rewrites it.

The first line names the format and its version. ``{"queued": notification, "at": seconds}`` adds a message,
``{"done": [receiver, id], "ok": whether it was delivered, "at": seconds,
"fires": [episode]}`` removes it. A line counts when it is complete: a crash can
only cut the last one.
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ..._consul.errors import Error, LocalFailure
from ..._consul.private_file import PRIVATE, PrivateFile, os_errors_as, sync_directory
from .notification import Notification
from .notification_json import UnreadableNotification, notification_from_json, notification_to_json

FORMAT, VERSION = "consulops-spool", 1

Key = tuple[str, str]  # receiver, notification id


class NewerSpool(Error):
    """The file was written by a newer version of this collection, and is left alone."""


class Stored(t.NamedTuple):
    """A message and when it was queued, in Unix seconds."""

    notification: Notification
    at: float


class Done(t.NamedTuple):
    """That a message was delivered (``ok``) or given up, and when, in Unix seconds (0 if an earlier version noted it).

    ``fires`` are the episodes that a delivered message said are firing; of messages that were delivered long ago they are forgotten.
    """

    ok: bool
    at: float
    fires: tuple[str, ...] = ()


# What is known of messages: None for one that waits.
Fates = t.Mapping[Key, t.Optional[Done]]


@dataclass
class Content:
    """What a spool file says: messages that wait, in the order in which they were queued, and the last ones that were dealt with.

    ``damaged`` is the number of complete lines that could not be read, ``cut`` is whether the last line is incomplete.
    """

    pending: dict[Key, Stored] = field(default_factory=dict)
    done: dict[Key, Done] = field(default_factory=dict)
    damaged: int = 0
    cut: bool = False


def key_of(notification: Notification) -> Key:
    """Return what identifies a message: its receiver and its id."""
    return notification.receiver, notification.id


def queued_line(stored: Stored) -> bytes:
    """Return the line that adds a message."""
    return _line({"queued": notification_to_json(stored.notification), "at": stored.at})


def done_line(key: Key, done: Done) -> bytes:
    """Return the line that removes a message."""
    return _line({"done": list(key), "ok": done.ok, "at": done.at, "fires": done.fires})


def header_line() -> bytes:
    """Return the first line."""
    return _line({"format": FORMAT, "version": VERSION})


def read(path: Path) -> Content:
    """Return what the file says; nothing for a file that does not exist. Raises NewerSpool and LocalFailure."""
    with os_errors_as(f"reading {path}"):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return Content()
    return parse(data, path)


def parse(data: bytes, path: Path) -> Content:
    """Return what the bytes of a spool file say. ``path`` is for messages. Raises NewerSpool."""
    content = Content()
    *lines, rest = data.split(b"\n")
    content.cut = bool(rest)
    for line in lines:
        try:
            _apply(json.loads(line.decode("utf-8")), content, path)
        except (ValueError, RecursionError, LookupError, TypeError):
            content.damaged += 1
    return content


def _apply(entry: t.Any, content: Content, path: Path) -> None:
    if "format" in entry:
        if entry["format"] == FORMAT and entry["version"] > VERSION:
            raise NewerSpool(
                f"{path}: the spool was written by a newer version of this collection (format {entry['version']}, this one "
                f"reads {VERSION}), so it is left as it is and messages are kept in memory only: install that version again."
            )
        return
    if "done" in entry:
        receiver, identity = entry["done"]
        done = Done(entry["ok"] is True, float(entry.get("at", 0.0)), tuple(map(str, entry.get("fires", ()))))
        content.pending.pop((receiver, identity), None)
        content.done[receiver, identity] = done
        return
    notification = notification_from_json(entry["queued"])
    if not isinstance(entry["at"], (int, float)):
        raise UnreadableNotification("at is not a number")
    content.pending.setdefault(key_of(notification), Stored(notification, entry["at"]))


def _line(entry: t.Any) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def keep_damaged(path: Path) -> Path:
    """Put a copy of a damaged file beside it and return its path. Raises LocalFailure."""
    with os_errors_as(f"copying {path}"):
        copy = path.with_name(f"{path.name}.damaged-{int(path.stat().st_mtime)}")
        data = path.read_bytes()
    with PrivateFile(path.parent) as file:
        file.write(data)
        file.commit(copy)
    return copy


class SpoolFile:
    """The file, open for appending. Every method raises LocalFailure; the file then holds what it held before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._descriptor: int | None = None

    def rewrite(self, lines: t.Iterable[bytes]) -> None:
        """Replace the content in one step, durably, and continue at its end."""
        _prepare_directory(self.path.parent)
        with PrivateFile(self.path.parent) as file:
            for line in lines:
                file.write(line)
            file.commit(self.path)
        self.close()
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with os_errors_as(f"opening {self.path}"):
            self._descriptor = os.open(self.path, flags, PRIVATE)
            self.size = os.fstat(self._descriptor).st_size

    def append(self, data: bytes, *, durable: bool) -> None:
        """Add complete lines; with ``durable`` they are on the disk before this returns."""
        if self._descriptor is None:
            raise LocalFailure(f"writing to {self.path}: the file is not open.")
        try:
            with os_errors_as(f"writing to {self.path}"):
                view = memoryview(data)
                while view:
                    view = view[os.write(self._descriptor, view) :]
                if durable:
                    os.fsync(self._descriptor)
        except LocalFailure:
            self._cut_back()
            raise
        self.size += len(data)

    def _cut_back(self) -> None:
        """Remove an incomplete line, so that the next one does not continue it. If even that fails, the file is written anew."""
        try:
            os.ftruncate(t.cast("int", self._descriptor), self.size)
        except OSError:
            self.close()

    @property
    def is_open(self) -> bool:
        """Whether lines can be appended; otherwise the file must be written anew."""
        return self._descriptor is not None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _prepare_directory(directory: Path) -> None:
    """Create the directory of a spool, readable by its owner only. Raises LocalFailure."""
    with os_errors_as(f"creating {directory}"):
        if not directory.exists():
            directory.mkdir(mode=0o700, parents=True)
            sync_directory(directory.parent)
