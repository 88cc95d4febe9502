# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's own version, as galaxy.yml gives it; manifests and the user agent carry it."""

from __future__ import annotations

COLLECTION = "consulops.failover"
VERSION = "1.2.1"
