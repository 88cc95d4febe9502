# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A copy of the live state, written while a restore reads it to decide; it becomes the safety snapshot if it is needed.

So the state before is read once: what was compared is what is kept.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from .._consul.errors import LocalFailure
from .._consul.private_file import PrivateFile, sweep_abandoned
from . import save
from .manifest import Manifest

log = logging.getLogger("consulops")

SAFETY_NAME = "before-restore-{datacenter}-{time}-{index}.snap"


class SafetyCopy:
    """A private part file in the safety directory. Use it in a ``with`` block: without a commit nothing stays behind.

    An error of writing it is raised by commit() only: a run that finds nothing to restore does not need the copy.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data: PrivateFile | None = None
        self._error: LocalFailure | None = None
        self._exit = contextlib.ExitStack()
        try:
            sweep_abandoned(directory)
            self._data = self._exit.enter_context(PrivateFile(directory))
        except LocalFailure as error:
            self._fail(error)

    def write(self, data: bytes) -> None:
        """Append all of ``data``; after an error nothing more is written."""
        if self._data is None:
            return
        try:
            self._data.write(data)
        except LocalFailure as error:
            self._fail(error)

    def commit(self, manifest: Manifest) -> Path:
        """Put the copy and its manifest in place; return the file. Raises LocalFailure."""
        if self._data is None:
            raise self._error or LocalFailure(f"the safety snapshot in {self._directory} was already put in place.")
        with PrivateFile(self._directory) as description:
            path = save.put_in_place(self._data, description, self._directory, SAFETY_NAME, manifest)
        self._data = None
        return path

    def _fail(self, error: LocalFailure) -> None:
        log.debug("the live state is not copied: %s", error)
        self._error = error
        self._data = None
        self._exit.close()  # gives its disk space back

    def __enter__(self) -> SafetyCopy:
        return self

    def __exit__(self, *_args: object) -> None:
        self._exit.close()
