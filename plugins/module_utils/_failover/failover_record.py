# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of the last failover to a datacenter, which is kept there, so that one that was stopped can be finished. No I/O."""

from __future__ import annotations

import json
import typing as t

from .._consul import status_fields as fields
from .._consul.errors import InvalidOption
from .._consul.units import timestamp

RECORD_KEY = "consulops/failover/record"
CANARY_KEY = "consulops/failover/canary"


class Loss(t.NamedTuple):
    """What the datacenter that takes over may lack: writes of so many ``seconds``, and ``keys`` that differ. None is not known.

    Everything that was written before ``until`` (Unix seconds, None if that is not known) is there.
    """

    seconds: float | None
    keys: int | None
    until: float | None = None


class FailoverRecord(t.NamedTuple):
    """A failover: ``began``, ``promoted`` and ``finished`` are Unix seconds, stored to the second.

    ``finished`` is None until then, and so is ``took_s``, the exact time in seconds from its begin.
    """

    old: str
    new: str
    generation: int
    began: float
    promoted: float
    finished: float | None
    loss: Loss
    took_s: float | None = None

    def as_json(self) -> bytes:
        """Return the stored document."""
        document = {
            "from": self.old,
            "to": self.new,
            "generation": self.generation,
            "began": timestamp(self.began),
            "promoted": timestamp(self.promoted),
            "finished": None if self.finished is None else timestamp(self.finished),
            "took_seconds": self.took_s,
            "loss": {
                "seconds": self.loss.seconds,
                "keys": self.loss.keys,
                "until": None if self.loss.until is None else timestamp(self.loss.until),
            },
        }
        return json.dumps(document, sort_keys=True).encode()


def parse_record(value: bytes) -> FailoverRecord:
    """Return the record that a key holds. Raises ValueError for anything else; unknown fields are ignored."""
    try:
        document = fields.typed(json.loads(value), dict)
        loss = fields.typed(document["loss"], dict)
        seconds, keys, took_s = loss["seconds"], loss["keys"], document["took_seconds"]
        return FailoverRecord(
            fields.typed(document["from"], str),
            fields.typed(document["to"], str),
            fields.count(document["generation"]),
            fields.time(document["began"]),
            fields.time(document["promoted"]),
            fields.time_or_none(document["finished"]),
            Loss(
                None if seconds is None else fields.seconds(seconds),
                None if keys is None else fields.count(keys),
                fields.time_or_none(loss["until"]),
            ),
            None if took_s is None else fields.seconds(took_s),
        )
    except (LookupError, TypeError, ValueError, RecursionError, InvalidOption):
        raise ValueError from None
