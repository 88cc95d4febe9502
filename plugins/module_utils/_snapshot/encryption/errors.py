# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of encrypting and decrypting snapshots."""

from __future__ import annotations

from ..._consul.errors import Error
from ..errors import BadSnapshot


class NoIdentity(Error):
    """The snapshot is encrypted, and no identity or passphrase was given that could open it."""


class WrongIdentity(Error):
    """The snapshot is encrypted for others than the identities that were given, or with another passphrase."""


class DamagedEncryption(BadSnapshot):
    """The encrypted file is cut short, changed, or none of age's."""
