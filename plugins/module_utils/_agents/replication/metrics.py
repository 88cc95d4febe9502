# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the replication agent adds to the metrics: how far each set is, and what somebody has to look at."""

from __future__ import annotations

import typing as t

from ..._daemon.metrics import counter, gauge
from .memory import Memory
from .set_status import STATES

_TEXTS = {
    "replication_lag_seconds": "How far the destination is behind.",
    "replication_lag_by_heartbeat": "1 if the lag begins with a write at the source, 0 if with its notice.",
    "replication_pending": "Groups of keys that changed and are not written yet.",
    "replication_conflicts": "Keys of the destination that someone else wrote.",
    "replication_unwritable": "Keys that the destination refuses.",
    "replication_deferred_deletes": "Deletions that are tried again.",
    "replication_paused_deletes": "Deletions that wait for an acknowledgement.",
    "replication_frozen": "1 while an operator has frozen the set.",
    "replication_source_keys": "Keys of the source at the last verification.",
    "replication_equal": "1 if both sides were equal at the last verification.",
    "replication_last_verification_timestamp_seconds": "When everything was compared last, as Unix time.",
}


def metrics(memory: Memory) -> list[t.Any]:
    """Return the metrics of the sets whose lease this instance holds, with the label ``set``."""
    sets = [({"set": one.name}, one) for one in memory.sets()]
    found = [
        gauge(name, text, [(labels, one.numbers()[name]) for labels, one in sets]) for name, text in _TEXTS.items()
    ]
    states = [({**labels, "state": state}, float(one.state == state)) for labels, one in sets for state in STATES]
    found.append(gauge("replication_state", "1 for the current state of the set.", states))
    for name in ("created", "updated", "deleted"):
        rows = [(labels, float(getattr(one.totals, name))) for labels, one in sets]
        found.append(counter(f"replication_{name}", f"Keys that were {name} in this lease term.", rows))
    return found
