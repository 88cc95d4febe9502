# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the epoch of a source."""

from __future__ import annotations

import secrets

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.digest import short_digest
from .._consul.key_path import key_path
from .._consul.reserved_keys import RECEIPT_KEY
from .source_epoch import Epoch


def read_epoch(source: Client, prefix: str) -> Epoch:
    """Return the epoch of a source of which the token may read ``prefix``. Raises a ConsulError."""
    # For a key that does not exist Consul returns the highest index of all keys and deletions (observed on 1.8.7), which costs it
    # nothing. A list of all keys has the same index.
    absent = key_path(f"{prefix}consulops-{secrets.token_hex(8)}")
    try:
        index = source.get(absent, consistency="consistent", absent_ok=True).index
    except errors.PermissionDenied as error:
        raise error.with_advice(
            after=f'The source\'s token needs key_prefix "{prefix}" {{ policy = "read" }}.'
        ) from None
    return Epoch(index, _servers(source), _receipt(source))


def _servers(source: Client) -> frozenset[str]:
    try:
        response = source.get("/v1/health/service/consul", partial_ok=True)
    except errors.PermissionDenied:
        return frozenset()
    return response.parse(lambda rows: frozenset(str(row["Node"]["ID"]) for row in rows if row["Node"]["ID"]))


def _receipt(source: Client) -> str | None:
    try:
        entries = kv.read_key(source, RECEIPT_KEY).entries
    except errors.PermissionDenied:
        return None
    return short_digest(entries[0].value) if entries else ""
