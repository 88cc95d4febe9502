# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of reading snapshots."""

from __future__ import annotations

from .._consul.errors import Error


class BadSnapshot(Error):
    """The data is not a snapshot that Consul could restore."""


class DamagedArchive(BadSnapshot):
    """The gzip stream is damaged: its structure or checksum is wrong."""
