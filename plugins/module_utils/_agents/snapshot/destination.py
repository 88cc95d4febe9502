# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One destination of a policy: uploads to its store, lists it and prunes it. What fails is remembered and tried again, later and later."""

from __future__ import annotations

import logging
import re
import time
import typing as t
from pathlib import Path

from ..._consul.errors import Error, GuardRefused
from ..._consul.retry import BackOff
from ..._snapshot import prune, retention, stored_snapshots
from ..._snapshot.manifest import Manifest
from ..._snapshot.stored_snapshots import StoredSnapshot, list_store, object_name, read_manifest, upload
from ..._snapshot.stores.errors import AlreadyStored, NotStored, StoreCut, StoreError
from ..._snapshot.stores.open_store import open_store
from ..._snapshot.stores.store import Store, StoredObject
from .config import DestinationConfig

log = logging.getLogger("consulops")

FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 300.0
LIST_EVERY_S = 900.0  # what others delete or add is noticed then
MOST_NAMES = 9  # of one slot, after uploads of other hosts that were not finished


class Doubled(t.NamedTuple):
    """Another instance has stored a snapshot of the same slot."""

    manifest: Manifest


class Twice(t.NamedTuple):
    """Two snapshots of one slot are stored: an upload was interrupted, and it was finished after another instance had stored its own."""

    slot: str
    names: tuple[str, ...]


class Destination:
    """The state of one destination, as far as it concerns the snapshots of a policy whose names match ``names``.

    ``known`` are manifests of the index; with them a store that cannot be read is not empty.
    """

    def __init__(
        self, config: DestinationConfig, policy: str, names: re.Pattern[str], known: t.Mapping[str, Manifest]
    ) -> None:
        self.config = config
        self.problem = ""
        self.prune_problem = ""
        self.upload_s = 0.0
        self.uploaded = 0
        self.deleted = 0
        self.is_listed = False
        self._twice: list[Twice] = []
        self._policy = policy
        self._names = names
        self._is_changed = False
        self._known = dict(known)
        # Until the store was listed: what the index says.
        self._entries = sorted(
            (StoredSnapshot(name, one.time, None, one, "") for name, one in known.items()), key=lambda one: -one.time
        )
        self._store: Store | None = None
        self._back_off = BackOff(FIRST_RETRY_S, LONGEST_RETRY_S)
        self._retry_at = 0.0  # monotonic, as the next
        self._list_at = 0.0
        self._is_cut = False

    @property
    def name(self) -> str:
        """Its name."""
        return self.config.name

    @property
    def snapshots(self) -> list[StoredSnapshot]:
        """The policy's snapshots in it, newest first, as far as they are known."""
        return self._entries

    @property
    def manifests(self) -> dict[str, Manifest]:
        """The manifests of the policy's snapshots, by name, as far as they are known."""
        if not self.is_listed:
            return self._known
        return {one.name: one.manifest for one in self._entries if one.manifest is not None}

    @property
    def newest(self) -> StoredSnapshot | None:
        """The newest verified snapshot."""
        return stored_snapshots.newest(self._entries)

    @property
    def is_due(self) -> bool:
        """Whether it may be used now: it works, or its pause after a failure is over."""
        return time.monotonic() >= self._retry_at

    @property
    def due_in_s(self) -> float:
        """How long its pause still is, seconds."""
        return max(0.0, self._retry_at - time.monotonic())

    @property
    def is_list_due(self) -> bool:
        """Whether it has to be listed again."""
        return self.is_due and time.monotonic() >= self._list_at

    def refresh(self) -> bool:
        """List the store; return whether that succeeded."""
        return self._try(self._list) is not None

    def deliver(self, file: Path, name: str, manifest: Manifest) -> StoredSnapshot | Doubled | None:
        """Store a file under a name. Return what is stored, that of another instance if it has the same slot, None after a failure."""
        started = time.monotonic()
        stored: StoredSnapshot | Doubled | None = self._try(lambda: self._upload(file, name, manifest))
        if isinstance(stored, StoredSnapshot):
            self.upload_s = time.monotonic() - started
            self.uploaded += 1
            self._is_changed = True
            self._entries = [stored, *(one for one in self._entries if one.name != stored.name)]
            self._entries.sort(key=lambda one: -one.time)
            self._note_twice({stored.name})
        return stored

    def take_twice(self) -> list[Twice]:
        """Return the slots that were found to be stored twice since the last call."""
        found, self._twice = self._twice, []
        return found

    def prune(self, now: float) -> None:
        """Delete what the retention does not keep, if something changed. A failure is remembered and costs no snapshot."""
        if not self.is_listed or not self._is_changed:
            return
        self._is_changed = False
        found = prune.plan(self._entries, self.config.retention, now)
        self.prune_problem = ""
        gone: set[str] = set()
        try:
            retention.check_deletes(found, self.config.max_deletes, self._opened().shown)
            for name in prune.delete(self._opened(), self._entries, found.to_delete):
                gone.add(name)
        except StoreCut:
            self._is_changed = True
        except (StoreError, GuardRefused) as error:
            self.prune_problem = str(error)
        self.deleted += len(gone)
        self._entries = [one for one in self._entries if one.name not in gone]

    def abort(self) -> None:
        """End what is being transferred, and everything later. For any thread."""
        self._is_cut = True
        store = self._store
        if store is not None:
            store.abort()

    # -----------------------------------------------------------------------------------------------------------

    def _list(self) -> bool:
        known = self.manifests
        self._entries = [one for one in list_store(self._opened(), known) if self._is_own(one)]
        self.is_listed = self._is_changed = True
        self._note_twice({one.name for one in self._entries} - known.keys())
        self._list_at = time.monotonic() + LIST_EVERY_S
        return True

    def _note_twice(self, new: t.AbstractSet[str]) -> None:
        """Note the slots of new snapshots of which there is another one, whichever instance stored it."""
        names: dict[str, list[str]] = {}
        for one in self._entries:
            if one.manifest is not None and one.manifest.slot:
                names.setdefault(one.manifest.slot, []).append(one.name)
        for slot, stored in names.items():
            if len(stored) > 1 and not new.isdisjoint(stored):
                self._twice.append(Twice(slot, tuple(sorted(stored))))

    def _is_own(self, one: StoredSnapshot) -> bool:
        return (
            one.manifest is not None
            and one.manifest.policy == self._policy
            and self._names.fullmatch(one.name) is not None
        )

    def _upload(self, file: Path, name: str, manifest: Manifest) -> StoredSnapshot | Doubled:
        store = self._opened()
        for number in range(1, MOST_NAMES + 1):
            target = name if number == 1 else f"{name[: -len('.snap')]}_{number}.snap"
            try:
                return upload(store, file, target, manifest)
            except AlreadyStored:
                try:
                    other = read_manifest(store, target)
                except NotStored:
                    continue  # an upload of another instance that was not finished, or is being finished now
            if (other.stored_sha256, other.time) == (manifest.stored_sha256, manifest.time):
                # Stored before the agent was killed.
                held = StoredObject(object_name(target, manifest), manifest.stored_size, manifest.time)
                return StoredSnapshot(target, manifest.time, held, manifest, "")
            return Doubled(other)
        raise StoreError(f"{store.shown} has {MOST_NAMES} uploads of {name} that were not finished: delete them.")

    def _opened(self) -> Store:
        if self._store is None:
            self._store = open_store(self.config.store)
        if self._is_cut:
            self._store.abort()
        return self._store

    def _try(self, do: t.Callable[[], t.Any]) -> t.Any:
        """Return what ``do`` returns, None after a failure, which is remembered."""
        try:
            result = do()
        except StoreCut:
            return None  # by the agent itself
        except Error as error:
            if str(error) != self.problem:
                log.warning("%s, destination %s: %s", self._policy, self.name, error)
            self.problem = str(error)
            self._retry_at = time.monotonic() + self._back_off.next_s()
            return None
        if self.problem:
            log.info("%s, destination %s works again", self._policy, self.name)
        self.problem = ""
        self._back_off.reset()
        self._retry_at = 0.0
        return result
