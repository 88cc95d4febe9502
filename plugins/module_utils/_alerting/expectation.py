# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The servers that a datacenter should have, as the option ``expect`` declares them. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._consul.errors import InvalidOption


@dataclass(frozen=True)
class Expected:
    """The servers of one datacenter: their node names, or only their number."""

    names: tuple[str, ...] = ()
    count: int = 0


def make_expected(options: t.Mapping[str, t.Any] | None) -> dict[str, Expected]:
    """Return what is expected of each datacenter, from ``{dc1: {servers: [s1, s2, s3]}, dc2: {servers: 3}}``.

    Raises InvalidOption.
    """
    expected = {}
    for datacenter, given in (options or {}).items():
        option = f"expect.{datacenter}"
        if not isinstance(given, dict) or set(given) != {"servers"}:
            raise InvalidOption(f"{option} must be {{servers: [names]}} or {{servers: number}}.")
        servers = given["servers"]
        if isinstance(servers, list) and servers and all(isinstance(name, str) and name for name in servers):
            if len(set(servers)) != len(servers):
                raise InvalidOption(f"{option}.servers names a server twice.")
            expected[datacenter] = Expected(tuple(sorted(servers)), len(servers))
        elif re.fullmatch("0*[1-9][0-9]{0,5}", str(servers)):
            expected[datacenter] = Expected((), int(str(servers)))
        else:
            raise InvalidOption(f"{option}.servers {servers!r} is neither a list of node names nor a number above 0.")
    return expected
