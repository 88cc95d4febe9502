# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys that control a replication: freeze stops all writes, acknowledged lets one plan of deletions go on, compare asks for a
comparison of everything, direction says which of two opposite sets is active (direction.py).

They are below ``consulops/replication/NAME/control/`` at the destination.
"""

from __future__ import annotations

import json
import re
import typing as t

from .._consul import kv
from .._consul.client import Client
from .._consul.errors import InvalidOption
from .._consul.key_path import key_path
from .._consul.txn import Operation
from .._consul.units import timestamp
from .checkpoint import folder

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Control(t.NamedTuple):
    """What the keys say: ``frozen`` is who froze the replication and why, None if nobody did.

    ``acknowledged`` is the digest of the plan of deletions that an operator lets go on, "" for none. ``is_reversed``: it is frozen
    because the opposite set is active. ``direction`` is the content of the register of directions, b"" for none. ``compare_at`` is the
    index of a request to compare everything, 0 for none.
    """

    frozen: str | None = None
    acknowledged: str = ""
    is_reversed: bool = False
    direction: bytes = b""
    compare_at: int = 0


def control_folder(name: str) -> str:
    """Return the prefix of the keys."""
    return f"{folder(name)}control/"


def freeze_key(name: str) -> str:
    """Return the key whose existence stops all writes."""
    return f"{control_folder(name)}freeze"


def acknowledgement_key(name: str) -> str:
    """Return the key that contains the digest of the acknowledged plan."""
    return f"{control_folder(name)}acknowledged"


def direction_key(name: str) -> str:
    """Return the key of the register that says which of two opposite sets is active."""
    return f"{control_folder(name)}direction"


def compare_key(name: str) -> str:
    """Return the key that asks the agent to read the ledger again and to compare everything."""
    return f"{control_folder(name)}compare"


def request_comparison(name: str, by: str, *, only_new: bool = False) -> Operation:
    """Return the operation that asks for a comparison of everything; with ``only_new`` it fails while another one is asked for."""
    value = json.dumps({"by": by}).encode()
    return Operation("cas", compare_key(name), value) if only_new else Operation("set", compare_key(name), value)


def end_comparison(destination: Client, name: str, at_index: int) -> None:
    """End the request with this index, after everything was compared. A newer one stays. Raises a ConsulError."""
    destination.delete(key_path(compare_key(name)), {"cas": at_index})


def frozen_generation(freeze: bytes) -> t.Any:
    """Return the generation that froze a replication because the opposite one is active, None for an operator's freeze key."""
    return _document(freeze).get("direction")


def not_frozen(name: str) -> Operation:
    """Return the operation that makes a transaction fail while the replication is frozen."""
    return Operation("check-not-exists", freeze_key(name))


def end_acknowledgement(name: str) -> Operation:
    """Return the operation that ends an acknowledgement after its plan was carried out."""
    return Operation("delete", acknowledgement_key(name))


def freeze(destination: Client, name: str, by: str, reason: str, now: float) -> None:
    """Stop all writes of a replication at once; ``now`` is in Unix seconds. Raises a ConsulError."""
    _put(destination, freeze_key(name), {"by": by, "reason": reason, "at": timestamp(now)})


def thaw(destination: Client, name: str) -> bool:
    """Let a replication write again; return whether it was frozen. Raises a ConsulError, or InvalidOption if its direction was reversed."""
    entries = kv.read_key(destination, freeze_key(name)).entries
    was_frozen = bool(entries)
    if entries and frozen_generation(entries[0].value) is not None:
        raise InvalidOption(
            f"{name} is frozen by {_frozen_text(entries[0].value)}. Thawed, both directions could write. To reverse it again, make {name} "
            "the active direction with a higher generation."
        )
    destination.delete(key_path(freeze_key(name)))
    return was_frozen


def acknowledge(destination: Client, name: str, digest: str, by: str, now: float) -> None:
    """Let the deletions go on whose digest the status shows. Raises InvalidOption or a ConsulError."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidOption(
            f"{digest!r} is not the digest of a plan: take the 64 hexadecimal digits that the status shows for {name}."
        )
    _put(destination, acknowledgement_key(name), {"digest": digest, "by": by, "at": timestamp(now)})


def read_control(destination: Client, name: str) -> Control:
    """Return what the keys say. Raises a ConsulError."""
    entries = kv.read_shard(destination, control_folder(name)).entries
    indexes = {entry.key: entry.modify_index for entry in entries}
    found = control_of(name, {entry.key: entry.value for entry in entries})
    return found._replace(compare_at=indexes.get(compare_key(name), 0))


def control_of(name: str, values: t.Mapping[str, bytes]) -> Control:
    """Return what the keys of a replication say, which a person may have written by hand."""
    frozen = values.get(freeze_key(name))
    return Control(
        None if frozen is None else _frozen_text(frozen),
        _digest_of(values.get(acknowledgement_key(name), b"")),
        frozen is not None and frozen_generation(frozen) is not None,
        values.get(direction_key(name), b""),
    )


def _put(destination: Client, key: str, document: t.Mapping[str, str]) -> None:
    destination.put(key_path(key), body=json.dumps(document).encode())


def _document(value: bytes) -> dict[str, t.Any]:
    """Return the document in a key; a person may have written anything else into it."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _frozen_text(value: bytes) -> str:
    document = _document(value)
    words = [str(document[name]) for name in ("by", "reason", "at") if document.get(name)]
    return ", ".join(words) or value.decode("utf-8", "replace")[:200]


def _digest_of(value: bytes) -> str:
    """Return the digest in a document, or in a key that contains nothing else."""
    digest = str(_document(value).get("digest") or value.decode("utf-8", "replace").strip())
    return digest if _DIGEST.fullmatch(digest) else ""
