# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record that a replication which follows its source keeps at the destination: epoch, window of deletions, pause. Pure."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from .._consul.txn import Operation
from .checkpoint import folder
from .delete_window import DeleteWindow
from .ledger import InvalidLedger
from .source_epoch import Epoch

FORMAT = 1


@dataclass
class FollowRecord:
    """``epoch`` is None before the first comparison. ``paused`` says why deletions are paused, empty while they are not."""

    epoch: Epoch | None = None
    window: DeleteWindow = field(default_factory=DeleteWindow)
    paused: tuple[str, ...] = ()

    def operation(self, name: str) -> Operation:
        """Return the operation that stores it."""
        return Operation("set", record_key(name), self.as_json())

    def as_json(self) -> bytes:
        """Return the stored document. Equal records have equal bytes."""
        epoch = self.epoch
        document = {
            "format": FORMAT,
            "epoch": None
            if epoch is None
            else {"index": epoch.index, "servers": sorted(epoch.servers), "receipt": epoch.receipt},
            "window": vars(self.window),
            "paused": list(self.paused),
        }
        return json.dumps(document, sort_keys=True).encode()


def record_key(name: str) -> str:
    """Return the key of the record."""
    return f"{folder(name)}follow"


def parse_record(value: bytes, key: str) -> FollowRecord:
    """Return the record that a key holds. Raises InvalidLedger when the value is not a record."""
    try:
        document = json.loads(value)
        if document["format"] != FORMAT:
            raise ValueError
        found, window = document["epoch"], document["window"]
        epoch = None
        if found is not None:
            receipt = found["receipt"]
            epoch = Epoch(
                int(found["index"]),
                frozenset(str(one) for one in found["servers"]),
                None if receipt is None else str(receipt),
            )
        counted = DeleteWindow(float(window["began"]), _counts(window["deleted"]), _counts(window["totals"]))
        return FollowRecord(epoch, counted, tuple(str(reason) for reason in document["paused"]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InvalidLedger(
            f"{key} does not hold what this version of the collection wrote. Delete it: that the source was restored before the "
            "next comparison is then not noticed, and deletions that were paused are judged anew"
        ) from None


def _counts(found: t.Mapping[str, t.Any]) -> dict[str, int]:
    return {str(prefix): int(count) for prefix, count in found.items()}
