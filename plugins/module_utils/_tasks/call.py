# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One request as every face makes it: options, whether it only plans, and the clients its connection options name.

A module, the command line and an agent differ in where options come from and where the result goes; the tasks of this
floor are what they have in common. Specs are plain data in the form of Ansible's ``argument_spec``.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass, field

from .._config.connection_spec import Spec, connection_spec
from .._consul import endpoint
from .._consul.client import Client

Result = dict[str, t.Any]


def _ignore(_what: t.Any) -> None:
    pass


@dataclass(frozen=True)
class Call:
    """One request. ``check``: say what would be done and do nothing.

    ``warn`` takes sentences for the person who asked, ``hide`` takes secrets that came from a file or the environment.
    """

    params: t.Mapping[str, t.Any]
    check: bool = False
    warn: t.Callable[[str], None] = _ignore
    hide: t.Callable[[t.Iterable[str]], None] = _ignore
    environ: t.Mapping[str, str] = field(default_factory=lambda: os.environ)

    def client(self, side: str | None = None) -> Client:
        """Return a client of the connection options, each falling back to its CONSUL_* variable.

        ``side`` names an option of ``side_spec``.
        """
        return self._client({} if side is None else self.params[side] or {})

    @contextlib.contextmanager
    def clients(
        self, connections: t.Sequence[t.Mapping[str, t.Any]] | None, datacenters: t.Sequence[str] | None
    ) -> t.Iterator[list[Client]]:
        """Give a client for each connection, or for each datacenter through one agent, or the only one; close them."""
        sides: t.Sequence[t.Mapping[str, t.Any]] = (
            connections or [{"datacenter": name} for name in datacenters or ()] or [{}]
        )
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self._client(side)) for side in sides]

    def _client(self, options: t.Mapping[str, t.Any]) -> Client:
        defaults = {name: self.params[name] for name in connection_spec()}
        found = endpoint.resolve(endpoint.with_defaults(options, defaults), self.environ)
        self.hide(filter(None, (found.token, *(found.http_auth or ())[1:])))
        return Client(found)


class Task(t.NamedTuple):
    """What can be asked for: its options and the work. ``work`` raises an Error whose sentence is for people.

    ``check`` raises the InvalidOption that ``work`` would raise before it asks anybody anything.
    """

    spec: Spec
    work: t.Callable[[Call], Result]
    mutually_exclusive: tuple[tuple[str, ...], ...] = ()
    check: t.Callable[[Call], object] | None = None
