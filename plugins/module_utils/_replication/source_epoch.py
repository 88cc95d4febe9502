# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The epoch of a source: how to tell that it was restored, rebuilt, or is another cluster at the same address. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """What a source was when it was read last.

    ``index`` is the highest index of its keys, ``servers`` the node IDs of its servers (empty where the token may not read them),
    ``receipt`` the digest of the receipt of its last restore ("" for none, None where the token may not read it).
    """

    index: int = 0
    servers: frozenset[str] = frozenset()
    receipt: str | None = None


def changes(before: Epoch | None, now: Epoch) -> tuple[str, ...]:
    """Return what shows that the source is not what it was, one phrase each. Empty when nothing does."""
    if before is None:
        return ()
    found = []
    if now.index < before.index:
        found.append(f"the index of its keys went back (it was {before.index})")
    if before.servers and now.servers and not before.servers & now.servers:
        found.append("all of its servers are new")
    if before.receipt is not None and now.receipt and now.receipt != before.receipt:
        found.append("a snapshot was restored there")
    return tuple(found)


def continued(before: Epoch | None, now: Epoch) -> Epoch:
    """Return the epoch to remember when nothing shows a change: what could not be read this time stays known."""
    if before is None:
        return now
    return Epoch(
        max(before.index, now.index),
        now.servers or before.servers,
        before.receipt if now.receipt is None else now.receipt,
    )
