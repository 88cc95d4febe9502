# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that say how a store of snapshots is reached, and the tasks' way from them to a store."""

from __future__ import annotations

import typing as t

from .._config.connection_spec import Spec
from .._snapshot.stores.object_lock import MODES
from .._snapshot.stores.open_store import open_store
from .._snapshot.stores.store import Store, StoreOptions
from .._snapshot.stores.store_config import ENCRYPTIONS

STORE_OPTIONS: Spec = {
    "region": {"type": "str"},
    "endpoint": {"type": "str"},
    "account": {"type": "str"},
    "credentials_file": {"type": "path"},
    "profile": {"type": "str", "default": "default"},
    "path_style": {"type": "bool"},
    "ca_file": {"type": "path"},
    "server_side_encryption": {"type": "str", "choices": list(ENCRYPTIONS)},
    "kms_key_id": {"type": "str", "no_log": False},
    "storage_class": {"type": "str"},
    "object_lock_mode": {"type": "str", "choices": list(MODES)},
    "object_lock_days": {"type": "int"},
    "timeout": {"type": "float", "default": 30.0},
}
STORE_SPEC: Spec = {"store": {"type": "dict", "options": STORE_OPTIONS}}


def store_options(url: str, given: t.Mapping[str, t.Any] | None) -> StoreOptions:
    """Return the options of the store at a URL or in a directory."""
    values = {name: value for name, value in (given or {}).items() if value is not None and name != "timeout"}
    timeout_s = (given or {}).get("timeout") or StoreOptions.timeout_s
    return StoreOptions(url, timeout_s=timeout_s, **values)


def store_of(url: str, given: t.Mapping[str, t.Any] | None) -> Store:
    """Open the store at a URL or in a directory. Raises InvalidOption, LocalFailure and MissingLibrary."""
    return open_store(store_options(url, given))
