# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads and writes keys with plain requests, independent of the collection's code."""

from __future__ import annotations

import base64
import json
import typing as t

import requests

from .consul import Datacenter
from .fill import TXN_MAX_OPS

LARGE = 4000  # bytes: 64 values of up to this size fit into a transaction
Keys = dict[str, tuple[bytes, int]]


def write(datacenter: Datacenter, keys: t.Mapping[str, str | bytes | tuple[bytes, int]]) -> None:
    """Write keys, with flags where a pair is given. Uses transactions, which can carry every name."""
    operations = []
    for key, content in keys.items():
        value, flags = content if isinstance(content, tuple) else (content, 0)
        data = value.encode() if isinstance(value, str) else value
        body = {"Verb": "set", "Key": key, "Value": base64.b64encode(data).decode(), "Flags": flags}
        operations.append({"KV": body})
        if len(data) > LARGE:
            datacenter.put("/v1/txn", json.dumps([operations.pop()]))
    for start in range(0, len(operations), TXN_MAX_OPS):
        datacenter.put("/v1/txn", json.dumps(operations[start : start + TXN_MAX_OPS]))


def read(datacenter: Datacenter, prefix: str = "") -> Keys:
    """Return every key below a prefix with its value and flags, without ``consulops/``."""
    try:
        items = datacenter.get(f"/v1/kv/{prefix}?recurse")
    except requests.HTTPError as error:
        if error.response.status_code != 404:
            raise
        return {}
    found = {item["Key"]: (base64.b64decode(item["Value"] or ""), item["Flags"]) for item in items}
    return {key: content for key, content in found.items() if not key.startswith("consulops/")}


def delete(datacenter: Datacenter, *keys: str) -> None:
    """Delete keys. A name that ends with a slash stands for everything below it."""
    for key in keys:
        datacenter.request("DELETE", f"/v1/kv/{key}" + ("?recurse" if key.endswith("/") else ""))
