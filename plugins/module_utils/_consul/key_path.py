# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the name of a key stands in the address of a request, and which names cannot."""

from __future__ import annotations

REPLACEMENT = "\ufffd"  # what Consul's JSON shows for bytes of a key that are not UTF-8


def key_path(key: str | bytes) -> str:
    """Return the path of a key; bytes that are not UTF-8 stand in it as surrogates, which the client turns back into bytes."""
    return "/v1/kv/" + (key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key)


def is_addressable(prefix: str) -> bool:
    """Return whether a key or prefix arrives unchanged in an address: clients and Consul rewrite ``//`` and ``/../``."""
    if REPLACEMENT in prefix or "//" in prefix or prefix.startswith("/"):
        return False
    return not any(element in (".", "..") for element in prefix.split("/"))
