# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys below ``consulops/`` that more than one wing knows."""

from __future__ import annotations

from . import kv
from .client import Client
from .digest import RESERVED_PREFIX

RECEIPT_KEY = f"{RESERVED_PREFIX.decode()}restore"  # what a restore leaves in the restored state
REPLICATION_ROOT = f"{RESERVED_PREFIX.decode()}replication/"  # NAME/ has the keys of one replication
SNAPSHOT_ROOT = f"{RESERVED_PREFIX.decode()}snapshots/"  # AGENT/POLICY/ has what a snapshot agent publishes of a policy
AGENTS_ROOT = f"{RESERVED_PREFIX.decode()}agents/"  # NAME/ has the lease of an agent, and what its instances share
DRILL_ROOT = f"{RESERVED_PREFIX.decode()}drill/"  # RUN/ has the keys of one drill while it runs
DRILL_STATUS_ROOT = f"{RESERVED_PREFIX.decode()}drills/"  # NAME has what the last run of a drill publishes


def replication_names(client: Client) -> list[str]:
    """Return the names of all replications into a datacenter. Raises PermissionDenied or another ConsulError."""
    kv.check_readable(client, REPLICATION_ROOT)  # a denied list looks empty
    return [
        key[len(REPLICATION_ROOT) : -1]
        for key in kv.list_keys(client, REPLICATION_ROOT, separator="/")
        if key.endswith("/")
    ]
