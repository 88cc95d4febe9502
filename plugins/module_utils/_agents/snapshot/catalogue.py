# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The local index of what a policy's destinations hold, and of what the agent has to remember. Rebuilt from the stores when it is lost."""

from __future__ import annotations

import json
import logging
import typing as t
from dataclasses import dataclass, field, replace

from ..._consul.errors import LocalFailure
from ..._snapshot import manifest as manifests
from ..._snapshot.manifest import Manifest

log = logging.getLogger("consulops")

FORMAT = 1


@dataclass
class Catalogue:
    """What is remembered of a policy.

    ``manifests``: those of each destination, by the name of the snapshot; only the newest with tables and folders. ``delivered``: of each
    snapshot that waits here, the destinations that have it. ``missed`` slots were never taken, ``doubled`` ones twice, and ``given_up``
    snapshots did not reach every destination.
    """

    manifests: dict[str, dict[str, Manifest]] = field(default_factory=dict)
    delivered: dict[str, list[str]] = field(default_factory=dict)
    missed: int = 0
    doubled: int = 0
    given_up: int = 0

    def copy(self) -> Catalogue:
        """Return what is remembered now, which does not change with this one."""
        return replace(
            self,
            manifests={destination: dict(found) for destination, found in self.manifests.items()},
            delivered={name: list(places) for name, places in self.delivered.items()},
        )

    def as_bytes(self) -> bytes:
        """Return the contents of the index file."""
        content = {
            "format": FORMAT,
            "delivered": self.delivered,
            "missed": self.missed,
            "doubled": self.doubled,
            "given_up": self.given_up,
            "manifests": {name: _slim(found) for name, found in self.manifests.items()},
        }
        return json.dumps(content, sort_keys=True).encode()


def parse(content: bytes | None) -> Catalogue:
    """Return what an index file holds, nothing if it cannot be used: then the manifests are read from the stores."""
    if content is None:
        return Catalogue()
    try:
        found: t.Any = json.loads(content)
        if found["format"] != FORMAT:
            return Catalogue()
        return Catalogue(
            manifests={
                destination: {
                    name: manifests.parse(json.dumps(one).encode(), f"{name} in the index")
                    for name, one in by_name.items()
                }
                for destination, by_name in found["manifests"].items()
            },
            delivered={str(name): [str(one) for one in places] for name, places in found["delivered"].items()},
            missed=int(found["missed"]),
            doubled=int(found["doubled"]),
            given_up=int(found["given_up"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, LocalFailure) as error:
        log.warning("the index of the snapshots cannot be used and is made again from the stores: %s", error)
        return Catalogue()


def _slim(found: t.Mapping[str, Manifest]) -> dict[str, t.Any]:
    """Return manifests as plain data. That of the newest snapshot keeps its tables, with which the next one is compared, and
    those of the two newest the folders, of which the growth is shown."""
    newest = sorted(found, key=lambda name: -found[name].time)[:2]
    return {
        name: replace(
            one, tables=one.tables if name in newest[:1] else (), folders=one.folders if name in newest else ()
        ).as_dict()
        for name, one in found.items()
    }
