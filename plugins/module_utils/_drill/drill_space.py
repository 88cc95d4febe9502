# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of one drill: a folder of its own below the prefix, with a marker that every write depends on, removed at the end."""

from __future__ import annotations

import functools
import json
import re
import secrets
import typing as t
from dataclasses import dataclass

from .._consul import errors, kv, txn
from .._consul.client import Client
from .._consul.key_path import key_path
from .._consul.retry import RetryPolicy, is_transient
from .._consul.units import compact_timestamp, some_of

REMOVE_WITHIN_S = 60.0  # a default Consul elects a leader in about 20 s (measured: 12 to 22 s)
_RUN = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")


class DrillDisturbed(errors.Error):
    """Someone else wrote or deleted keys of a running drill, so that its history proves nothing."""


def new_run_name(now_s: float) -> str:
    """Return the name of a run that begins now: its time and something random."""
    return f"{compact_timestamp(now_s)}-{secrets.token_hex(3)}"


def earlier_runs(client: Client, prefix: str) -> list[str]:
    """Return the runs that have keys below the prefix. Raises GuardRefused when there is a key that is not of a drill."""
    kv.check_readable(client, prefix)  # a denied list looks empty
    runs, foreign = set(), []
    for key in kv.list_keys(client, prefix, separator="/"):
        name = key[len(prefix) :]
        if name.endswith("/") and _RUN.fullmatch(name[:-1]):
            runs.add(name[:-1])
        else:
            foreign.append(key)
    if foreign:
        raise errors.GuardRefused(
            f"Below {prefix!r} there are keys that are not of a drill ({some_of(foreign)}): name a prefix that nothing else uses. "
            "Nothing was written."
        )
    return sorted(runs)


@dataclass(frozen=True)
class DrillSpace:
    """The folder of one run. ``fence`` is an operation that fails once the folder was removed.

    Every write of the drill begins with it, so a write that is applied late, after the removal, leaves no key behind.
    """

    root: str
    fence: txn.Operation

    def key(self, name: str) -> str:
        """Return the whole key of a name within the run."""
        return self.root + name

    def write(self, client: Client, operation: txn.Operation) -> txn.WrittenKey:
        """Write one key of the drill, once. Raises Conflict when Consul refuses it, DrillDisturbed when the marker is gone."""
        try:
            written = txn.write_one(client, operation, self.fence)
        except errors.Conflict:
            raise DrillDisturbed(
                f"The key {self.fence.key} was deleted or changed by someone else during the drill, so it was ended."
            ) from None
        if isinstance(written, txn.Refusal):
            raise errors.Conflict(written.reason, 409, written.reason)
        return written

    def remove(self, clients: t.Sequence[Client], sessions: t.Iterable[str]) -> None:
        """Delete all keys of the run in one step, then its sessions. Raises NotConverged when no address lets it."""
        turns = _Turns(clients)
        try:
            RetryPolicy(REMOVE_WITHIN_S, can_pass=_other_address_can_help).run(lambda: turns.run(self._delete))
        except errors.ConsulError as error:
            raise errors.NotConverged(
                f"The keys of the drill below {self.root} could not be removed ({error}): remove them with "
                f"consul kv delete -recurse {self.root}"
            ) from None
        for session in sessions:
            try:
                turns.run(functools.partial(_destroy, session))
            except errors.ConsulError:
                continue  # it ends by its TTL, and holds no key any more

    def _delete(self, client: Client) -> object:
        return client.delete(key_path(self.root), {"recurse": ""})


class _Turns:
    """Sends to the address that answered last; after a failure the next one has its turn."""

    def __init__(self, clients: t.Sequence[Client]) -> None:
        self._clients = clients
        self._number = 0

    def run(self, send: t.Callable[[Client], object]) -> None:
        """Send once. Raises the ConsulError of the failure."""
        try:
            send(self._clients[self._number])
        except errors.ConsulError:
            self._number = (self._number + 1) % len(self._clients)
            raise


def _destroy(session: str, client: Client) -> object:
    return client.put(f"/v1/session/destroy/{session}")


def _other_address_can_help(error: errors.ConsulError) -> bool:
    return is_transient(error) or isinstance(error, errors.InvalidResponse)


def create_space(client: Client, prefix: str, run: str) -> DrillSpace:
    """Write the marker of a new run and return its folder. Raises a ConsulError."""
    root = f"{prefix}{run}/"
    marker = f"{root}drill"
    value = json.dumps({"run": run, "what": "keys of a drill of consulops, which removes them when it ends"}).encode()
    if not client.put(key_path(marker), {"cas": 0}, value).boolean():
        raise errors.Conflict(f"The key {marker} exists already, though its name is random: start the drill again.")
    (entry,) = kv.read_key(client, marker, consistency="consistent").entries
    return DrillSpace(root, txn.Operation("check-index", marker, index=entry.modify_index))
