# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recognises keys that are locks, which the option ``skip_locked`` leaves alone. Pure."""

from __future__ import annotations

import re

from .._consul.kv import Entry

LOCK_FLAGS = {
    0x2DDCCBC058A50C18,  # LockFlagValue in Consul's api/lock.go
    0xE0F69A2BAA414DE0,  # SemaphoreFlagValue in Consul's api/semaphore.go
}
# How Consul's own client (consul lock, semaphores), Vault and Consul's leader election tutorial name their lock keys.
_LOCK_NAMES = re.compile(r"(?:.*/)?\.lock|vault/core/lock|service/[^/]+/leader", re.DOTALL)


def is_lock(key: str, source_key: str, entry: Entry, other: Entry | None = None) -> bool:
    """Return whether a key is a lock on either side: a session holds it, or it has a lock's flags or name.

    ``key`` is its name at the destination, ``entry`` and ``other`` are what the two sides hold.
    """
    if entry.session or entry.flags in LOCK_FLAGS:
        return True
    if other is not None and (other.session or other.flags in LOCK_FLAGS):
        return True
    return _is_lock_name(key) or (source_key is not key and _is_lock_name(source_key))


def _is_lock_name(name: str) -> bool:
    return name.endswith(("lock", "leader")) and _LOCK_NAMES.fullmatch(name) is not None
