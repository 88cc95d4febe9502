# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Object stores."""

from __future__ import annotations

from ..._consul.errors import InvalidOption
from .store import Store, StoreOptions


def open_object_store(options: StoreOptions) -> Store:
    """Return an object store."""
    raise InvalidOption(f"{options.url}: object stores cannot be used yet.")
