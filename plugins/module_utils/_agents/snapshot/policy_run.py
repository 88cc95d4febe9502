# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The work of one policy: takes a snapshot into a private directory, delivers it to every destination, prunes these.

A snapshot stays in the private directory until every destination has it. The job says when, and the command ``once`` does it once.
"""

from __future__ import annotations

import logging
import re
import time
import typing as t
from dataclasses import replace
from pathlib import Path

from ..._consul.client import Client
from ..._consul.errors import LocalFailure
from ..._consul.private_file import PrivateFile, os_errors_as
from ..._consul.units import compact_timestamp, count_of, parse_timestamp, timestamp
from ..._snapshot import save, store_save, stored_snapshots
from ..._snapshot.manifest import Manifest, manifest_path
from ..._snapshot.snapshot_directory import SnapshotEntry
from ..._snapshot.stored_snapshots import StoredSnapshot, list_store
from ..._snapshot.stores.errors import StoreError
from ..._snapshot.stores.local_directory import LocalDirectory
from .catalogue import Catalogue
from .config import ONE, PolicyConfig
from .destination import Destination, Doubled
from .schedule import Due

log = logging.getLogger("consulops")


def slot_of(snapshot: StoredSnapshot) -> int | None:
    """Return the slot of a snapshot, Unix seconds, None if it was not planned."""
    text = snapshot.manifest.slot if snapshot.manifest else ""
    return int(parse_timestamp(text, "slot")) if text else None


class PolicyRun:
    """What one instance does for one policy. Not safe for several threads.

    ``waiting_place`` is a private directory that outlives the process. ``confirm`` is called before each upload and raises when
    another instance may be at work.
    """

    def __init__(
        self,
        config: PolicyConfig,
        client: Client,
        waiting_place: Path,
        catalogue: Catalogue,
        node: str,
        confirm: t.Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self.catalogue = catalogue
        # Of a policy that every instance has, the name of the host is part of the names.
        self._ending = "" if config.placement == ONE else "-" + re.sub(r"[^A-Za-z0-9.-]+", "-", node)
        names = re.compile(rf"consul-.*-{config.name}-[0-9TZ]+{re.escape(self._ending)}(_\d)?\.snap")
        self.destinations = [
            Destination(one, config.name, names, catalogue.manifests.get(one.name, {})) for one in config.destinations
        ]
        self.seconds: dict[str, float] = {}
        self.warnings: tuple[str, ...] = ()
        self._client = client
        self._place = waiting_place
        self._confirm = confirm
        with os_errors_as(f"creating the directory {waiting_place}"):
            waiting_place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.waiting = self._list_waiting()

    @property
    def snapshots(self) -> list[StoredSnapshot]:
        """Every known snapshot of the policy, each once, newest first."""
        found = {one.name: one for destination in self.destinations for one in destination.snapshots}
        return sorted(found.values(), key=lambda one: -one.time)

    def slots(self) -> set[int]:
        """Return the slots of which there is a snapshot."""
        every = [*self.waiting, *(one for one in self.snapshots if not one.problem)]
        return {slot for one in every if (slot := slot_of(one)) is not None}

    def refresh(self) -> None:
        """List every destination whose turn it is."""
        for destination in self.destinations:
            if destination.is_list_due:
                destination.refresh()
        self._count_twice()

    def take(self, due: Due, now: float) -> None:
        """Take the snapshot of a slot that is due. Raises an Error; nothing is kept then."""
        if due.slot is None:
            raise ValueError("no slot is due")
        self._save(timestamp(due.slot), compact_timestamp(due.slot), now)
        if due.missed:
            self.catalogue.missed += due.missed
            log.warning("%s: %s passed without a snapshot", self.config.name, count_of(due.missed, "planned time"))

    def take_unplanned(self, now: float) -> None:
        """Take a snapshot that belongs to no slot. Raises as ``take`` does."""
        self._save("", compact_timestamp(now), now)

    def waiting_for(self, destination: Destination) -> list[StoredSnapshot]:
        """Return what waits for a destination, newest first."""
        delivered = self.catalogue.delivered
        return [one for one in self.waiting if destination.name not in delivered.get(one.name, ())]

    def deliver(self, now: float, *, may_prune: bool = True) -> None:
        """Upload what waits to the destinations that do not have it yet, oldest first, and prune those that got something.

        Raises an Error of ``confirm``, and LocalFailure.
        """
        for snapshot in sorted(self.waiting, key=lambda one: one.time):
            places = self.catalogue.delivered.setdefault(snapshot.name, [])
            for destination in self.destinations:
                if destination.name not in places and destination.is_due:
                    self._confirm()
                    if self._deliver_to(destination, snapshot):
                        places.append(destination.name)
            if {one.name for one in self.destinations} <= set(places):
                self._discard(snapshot)
        for snapshot in sorted(self.waiting, key=lambda one: one.time)[: -self.config.max_waiting]:
            self.catalogue.given_up += 1
            log.error("%s: %s is given up: too many wait for destinations", self.config.name, snapshot.name)
            self._discard(snapshot)
        self._count_twice()
        for destination in self.destinations if may_prune else ():
            destination.prune(now)
        self.catalogue.manifests = {one.name: one.manifests for one in self.destinations}

    def abort(self) -> None:
        """End what is being transferred, and everything later. For any thread."""
        for destination in self.destinations:
            destination.abort()

    # -----------------------------------------------------------------------------------------------------------

    def _save(self, slot: str, shown_slot: str, now: float) -> None:
        config = self.config
        request = save.SaveRequest(
            path=f"{self._place}/",
            name=f"consul-{{datacenter}}-{config.name}-{shown_slot}{self._ending}.snap",
            stale=config.stale,
            cross_check=config.cross_check,
            on_shrink=config.on_shrink,
            max_shrink_percent=config.max_shrink_percent,
            stream_timeout_s=config.stream_timeout_s,
            max_lag_s=config.max_lag_s,
            policy=config.name,
            slot=slot,
        )
        store_save.check_keys(config.keys)
        decided = save.plan(self._client, request, now)
        saved = save.save(self._client, request, replace(decided, entry=self._previous()), now)
        self.seconds, self.warnings = dict(saved.seconds), saved.warnings
        if config.keys:
            started = time.monotonic()
            self._encrypt(saved.path, saved.manifest)
            self.seconds["encrypt"] = time.monotonic() - started
        self.waiting = self._list_waiting()
        log.info("%s: saved %s, index %d", config.name, saved.path.name, saved.manifest.index)

    def _encrypt(self, file: Path, manifest: Manifest) -> None:
        """Replace a snapshot that waits by its encrypted form; one that is killed meanwhile is taken again."""
        _target, described = store_save.encrypted(file, manifest, self.config.keys)
        with PrivateFile(self._place) as part:
            part.write(described.as_bytes())
            part.commit(manifest_path(file))

    def _previous(self) -> SnapshotEntry | None:
        """Return the snapshot with which a new one is compared, None if the tables of none are known."""
        for one in sorted((*self.waiting, *self.snapshots), key=lambda one: -one.time):
            if one.manifest is not None and not one.problem and one.manifest.tables:
                return SnapshotEntry(Path(one.name), one.time, one.manifest.size, one.manifest, True, "")
        return None

    def _deliver_to(self, destination: Destination, snapshot: StoredSnapshot) -> bool:
        """Return whether a destination has a snapshot now, or another of its slot."""
        if snapshot.object is None or snapshot.manifest is None:
            return True
        stored = destination.deliver(self._place / snapshot.object.name, snapshot.name, snapshot.manifest)
        if isinstance(stored, Doubled):
            self.catalogue.doubled += 1
            log.warning(
                "%s: %s has a snapshot of %s already, taken by %s: both instances were at work, and theirs is kept",
                *(self.config.name, destination.name, stored.manifest.slot, stored.manifest.node),
            )
            destination.refresh()
        return stored is not None

    def _count_twice(self) -> None:
        for destination in self.destinations:
            for slot, names in destination.take_twice():
                self.catalogue.doubled += 1
                log.warning(
                    "%s: %s has two snapshots of %s, %s: an upload that was interrupted was finished after another instance had "
                    "taken that slot, and both are kept",
                    *(self.config.name, destination.name, slot, " and ".join(names)),
                )

    def _discard(self, snapshot: StoredSnapshot) -> None:
        """Remove a snapshot from those that wait."""
        place = LocalDirectory(self._place)
        try:
            stored_snapshots.delete(place, [snapshot])
        except StoreError as error:
            raise LocalFailure(str(error)) from None
        self.catalogue.delivered.pop(snapshot.name, None)
        self.waiting = [one for one in self.waiting if one.name != snapshot.name]

    def _list_waiting(self) -> list[StoredSnapshot]:
        """Return what waits, newest first; what is left of a save that was killed between its two files is removed."""
        place = LocalDirectory(self._place)
        try:
            found = list_store(place)
            for one in found:
                if one.problem:
                    log.info("%s: removing what is left of %s: %s", self.config.name, one.name, one.problem)
                    stored_snapshots.delete(place, [one])
        except StoreError as error:
            raise LocalFailure(str(error)) from None
        return [one for one in found if not one.problem]
