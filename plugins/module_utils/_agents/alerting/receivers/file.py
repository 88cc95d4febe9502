# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""File: appends each notification to a file, as a line of JSON or as text.

Options: ``path``; ``format`` (``json`` or ``text``); ``mode`` of a new file, for example ``"0640"``. The file is opened for each
message, so that it can be rotated by renaming it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import typing as t
from pathlib import Path

from ...._consul.errors import LocalFailure
from ...._consul.private_file import os_errors_as
from ...._consul.units import timestamp
from ..notification import Notification
from . import json_document
from .options import Options, spec
from .receiver import DeliveryFailed, Receiver, ReceiverContext

SPEC = spec(
    path={"type": "path", "required": True},
    format={"type": "str", "default": "json", "choices": ["json", "text"]},
    mode={"type": "str", "default": "0600"},
)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return File(Options(name, options, context), context)


class File(Receiver):
    """Appends to a file. A message is in it completely or not at all."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        self._path = Path(options["path"])
        if not self._path.is_absolute():
            raise options.invalid("path", "an absolute path is needed.")
        if not re.fullmatch("0?[0-7]{3}", options["mode"]) or int(options["mode"], 8) & 0o002:
            raise options.invalid("mode", 'expected three octal digits, for example "0640", and nobody else may write.')
        self._mode = int(options["mode"], 8)
        self._format = options["format"]
        self._render = context.render

    def send(self, notification: Notification) -> None:
        """Append the notification; it is on the disk before this returns."""
        words = self._render(notification)
        if self._format == "json":
            data = json.dumps(json_document.content(notification, words)).encode() + b"\n"
        else:
            body = words.text.replace("\n", "\n  ")
            data = f"{timestamp(notification.time)} {words.subject}\n  {body}\n".encode("utf-8", "replace")
        try:
            self._append(data)
        except LocalFailure as error:
            raise DeliveryFailed(str(error)) from None

    def _append(self, data: bytes) -> None:
        # Not blocking: a pipe without a reader must not hold up the thread.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with os_errors_as(f"writing to {self._path}"):
            descriptor = os.open(self._path, flags, self._mode)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise LocalFailure(f"writing to {self._path}: this is not a file.")
                size = os.fstat(descriptor).st_size
                self._write(descriptor, data, size)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _write(self, descriptor: int, data: bytes, size: int) -> None:
        view, complete = memoryview(data), False
        try:
            while view:
                view = view[os.write(descriptor, view) :]
            complete = True
        finally:
            if not complete:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
