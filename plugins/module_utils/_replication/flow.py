# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From where the keys of a prefix come, also through other datacenters. Pure."""

from __future__ import annotations

import typing as t

from .mapping import PrefixMapping, overlaps


class Flow(t.NamedTuple):
    """Keys below ``prefix`` of a datacenter arrive below ``arrives_at`` of the one that is looked at."""

    datacenter: str
    prefix: str
    arrives_at: str

    def through(self, mapping: PrefixMapping) -> Flow | None:
        """Return where the flow arrives when a mapping copies from the datacenter that is looked at, None if it copies nothing of it.

        Exclude patterns count where they name a whole folder.
        """
        if not overlaps(self.arrives_at, mapping.source):
            return None
        if len(self.arrives_at) < len(mapping.source):
            inner = mapping.source[len(self.arrives_at) :]
            return Flow(self.datacenter, self.prefix + inner, mapping.destination)
        if mapping.excludes_folder(self.arrives_at, mapping.source):
            return None
        return Flow(self.datacenter, self.prefix, mapping.to_destination(self.arrives_at))

    @property
    def meets_itself(self) -> bool:
        """Whether what arrives is copied again, if this is the datacenter from where it comes."""
        return overlaps(self.prefix, self.arrives_at)
