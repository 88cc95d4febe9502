# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of stores: what was being done to which store and key, what the store said, and what can be done about it."""

from __future__ import annotations

from ..._consul.errors import Error


class StoreError(Error):
    """A store could not be used, or did something else than it was asked to."""


class AlreadyStored(StoreError):
    """An object of that name is in the store already; nothing was overwritten."""


class NotStored(StoreError):
    """The store has no object of that name."""


class StoreDenied(StoreError):
    """The store refuses the credentials, or they lack a right; ``right`` is write, list, read, delete or lock ("": unknown)."""

    def __init__(self, message: str, right: str = "") -> None:
        super().__init__(message)
        self.right = right


class StoreUnreachable(StoreError):
    """The store did not answer: refused, cut off, no such host, a failed TLS handshake, or no answer in time."""


class StoreFailed(StoreError):
    """The store answered with an error of its own (5xx), also after several attempts."""


class StoredWrong(StoreError):
    """What the store gives back is not what was written: cut short, changed, or replaced by someone else."""


class StoreCut(StoreError):
    """A request was ended because its caller must stop."""
