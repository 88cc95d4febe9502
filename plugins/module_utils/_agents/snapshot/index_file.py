# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of a policy's index in the state directory, for the jobs that work with its waiting place."""

from __future__ import annotations

import logging

from ..._consul.errors import LocalFailure
from ..._daemon.state_directory import StateDirectory
from . import catalogue
from .catalogue import Catalogue

log = logging.getLogger("consulops")


class IndexFile:
    """Reads the index of a policy once, and writes it when it changed. ``problem`` is why it is not written, "" if it is."""

    def __init__(self, state: StateDirectory, policy: str) -> None:
        self.problem = ""
        self._state, self._policy = state, policy
        self._name = f"catalogue-{policy}.json"
        content = state.read(self._name)
        self.catalogue: Catalogue = catalogue.parse(content)
        self._saved: Catalogue | None = None if content is None else self.catalogue.copy()

    def save(self) -> None:
        """Write the index if it changed. A disk that is full ends no run: the stores have everything that is in it."""
        if self.catalogue == self._saved:  # not by their bytes, which are many and take time to make in every round
            self.problem = ""
            return
        try:
            self._state.write(self._name, self.catalogue.as_bytes())
        except LocalFailure as error:
            if str(error) != self.problem:
                log.warning("%s: the index of the snapshots is not written: %s", self._policy, error)
            self.problem = str(error)
        else:
            self.problem = ""
            self._saved = self.catalogue.copy()
