# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads whether nodes and checks that no longer fail are still registered: deregistered is not the same as recovered."""

from __future__ import annotations

import typing as t

from .._consul.answer_fields import to_rows, to_text
from .._consul.client import Client

PlaceOfCheck = tuple[str, str, str]  # node, service ID, check ID


def read_missing(client: Client, places: t.Iterable[PlaceOfCheck]) -> set[PlaceOfCheck]:
    """Return those of some places that are not registered any more, with one request for each node. Raises a ConsulError.

    Source: https://developer.hashicorp.com/consul/api-docs/health#list-checks-for-node
    """
    wanted = sorted(places)
    registered: set[PlaceOfCheck] = set()
    for node in sorted({node for node, _service, _check in wanted}):
        registered |= client.get(f"/v1/health/node/{node}").parse(_places)
    return set(wanted) - registered


def _places(rows: t.Any) -> set[PlaceOfCheck]:
    return {(to_text(row["Node"]), to_text(row["ServiceID"]), to_text(row["CheckID"])) for row in to_rows(rows)}
