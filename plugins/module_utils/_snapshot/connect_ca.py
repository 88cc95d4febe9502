# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the records of Connect's CA in a snapshot say: the trust domain, and the IDs of the root certificates. Never a key."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import records

ROOT, CONFIG = 13, 15  # record types: a root certificate, the configuration of the CA


@dataclass(frozen=True)
class ConnectCA:
    """The CA of a datacenter. ``trust_domain`` is as Consul's API names it, "" without a CA; ``active_root`` is among ``roots``."""

    trust_domain: str = ""
    active_root: str = ""
    roots: tuple[str, ...] = ()


class ConnectCAFacts:
    """Collects the facts of the CA while the records of a snapshot pass."""

    def __init__(self) -> None:
        self._cluster_id = ""
        self._active = ""
        self._roots: list[str] = []

    def add(self, kind: int, record: t.Any) -> None:
        """Take one record of any type."""
        if kind == CONFIG:
            self._cluster_id = records.text(record.get(b"ClusterID") or b"")
        elif kind == ROOT:
            name = records.text(record.get(b"ID") or b"")
            self._roots.append(name)
            if record.get(b"Active"):
                self._active = name
                self._cluster_id = self._cluster_id or records.text(record.get(b"ExternalTrustDomain") or b"")

    def found(self) -> ConnectCA:
        """Return what was collected."""
        domain = f"{self._cluster_id}.consul".lower() if self._cluster_id else ""
        return ConnectCA(domain, self._active, tuple(sorted(self._roots)))
