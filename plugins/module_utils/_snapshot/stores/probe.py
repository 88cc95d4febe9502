# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests whether a store can be used: stores an object, lists, reads and deletes it, and says which right is missing."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .errors import StoreDenied, StoredWrong, StoreError
from .store import Store

RIGHTS = ("write", "list", "read", "delete")
PROBE_PREFIX = "consulops-probe-"
_CONTENT = b"A probe of consulops snapshot test-store. It can be deleted.\n"


@dataclass(frozen=True)
class Probed:
    """The outcome. ``granted`` has True, False or None (could not be tested) for each right.

    ``refuses_to_overwrite``: the store itself never overwrites (None: not tested). ``problems`` are sentences. ``left``: the name
    of the probe when it could not be deleted. ``seconds``: how long each step took.
    """

    granted: t.Mapping[str, bool | None]
    refuses_to_overwrite: bool | None
    problems: tuple[str, ...]
    left: str | None
    seconds: t.Mapping[str, float]


def probe(store: Store) -> Probed:
    """Use a store with an object of its own, and delete that again.

    Raises StoreError when the store cannot be used at all: it does not answer, does not know the bucket or the credentials.
    """
    name = f"{PROBE_PREFIX}{secrets.token_hex(8)}"
    run = _Run(store, name)
    with tempfile.TemporaryDirectory(prefix="consulops-") as scratch:  # mode 0700
        source = Path(scratch) / "probe"
        source.write_bytes(_CONTENT)
        try:
            run.step("write", lambda: store.create(name, source))
            refuses = None
            if run.granted["write"]:
                with contextlib.suppress(StoreError):
                    refuses = store.refuses_to_overwrite(name, source)
            run.step("list", run.check_list)
            if run.granted["write"]:
                run.step("read", run.check_read)
        finally:
            if run.granted["write"]:
                run.step("delete", lambda: store.delete(name))
    left = name if run.granted["write"] and not run.granted["delete"] else None
    return Probed(run.granted, refuses, tuple(run.problems), left, run.seconds)


class _Run:
    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self.granted: dict[str, bool | None] = dict.fromkeys(RIGHTS)
        self.problems: list[str] = []
        self.seconds: dict[str, float] = {}

    def step(self, right: str, action: t.Callable[[], object]) -> None:
        """Note whether a right is granted. A refusal that is not about rights passes."""
        started = time.monotonic()
        try:
            action()
            self.granted[right] = True
        except StoreDenied as error:
            if not error.right:
                raise
            self.granted[right] = False
            self.problems.append(str(error))
        self.seconds[right] = time.monotonic() - started

    def check_list(self) -> None:
        names = {found.name for found in self._store.objects()}
        if self.granted["write"] and self._name not in names:
            raise StoredWrong(f"{self._store.shown} does not list {self._name}, which was just stored there.")

    def check_read(self) -> None:
        with self._store.open(self._name) as source:
            found = b"".join(iter(lambda: source.read(len(_CONTENT)), b""))
        if found != _CONTENT:
            raise StoredWrong(
                f"{self._store.shown} gave back {self._name} changed: nothing stored there can be relied on."
            )
