# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be wrong with a snapshot file or with taking one."""

from __future__ import annotations

from .._consul.errors import Error


class BadSnapshot(Error):
    """The bytes are not a snapshot that Consul could restore."""


class DamagedArchive(BadSnapshot):
    """The bytes were a gzip stream once; its checksum says that they are not what was written."""
