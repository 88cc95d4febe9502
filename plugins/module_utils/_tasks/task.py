# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A task: the work of a module without Ansible, and the request that a module or a command makes of it.

Modules and commands differ in where options come from and where results go; tasks are what they share. Specs are plain
data in the form of Ansible's ``argument_spec``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import typing as t
from dataclasses import dataclass, field

from .._config.connection_spec import Spec, connection_spec
from .._consul import endpoint
from .._consul.client import Client

log = logging.getLogger("consulops")

Result = dict[str, t.Any]


def _ignore(_what: t.Any) -> None:
    pass


@dataclass(frozen=True)
class Invocation:
    """One request of a task. With ``check_mode`` the task returns what it would do and changes nothing.

    ``warn`` gets warnings for the user; ``mask`` gets secrets that were read from a file or the environment, so that
    the caller can hide them in its output.
    """

    params: t.Mapping[str, t.Any]
    check_mode: bool = False
    warn: t.Callable[[str], None] = _ignore
    mask: t.Callable[[t.Iterable[str]], None] = _ignore
    environ: t.Mapping[str, str] = field(default_factory=lambda: os.environ)

    def client(self, side: str | None = None) -> Client:
        """Return a client for the connection options; each one falls back to its CONSUL_* variable.

        ``side`` names an option of ``side_spec``, whose connection is used instead. Raises InvalidOption.
        """
        return self._client({} if side is None else self.params[side] or {})

    @contextlib.contextmanager
    def clients(
        self, connections: t.Sequence[t.Mapping[str, t.Any]] | None, datacenters: t.Sequence[str] | None
    ) -> t.Iterator[list[Client]]:
        """Yield a client for each connection, or for each datacenter through one agent, or a single one; close them."""
        sides: t.Sequence[t.Mapping[str, t.Any]] = (
            connections or [{"datacenter": name} for name in datacenters or ()] or [{}]
        )
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self._client(side)) for side in sides]

    def _client(self, options: t.Mapping[str, t.Any]) -> Client:
        defaults = {name: self.params[name] for name in connection_spec()}
        resolved = endpoint.resolve(endpoint.with_defaults(options, defaults), self.environ)
        self.mask(filter(None, (resolved.token, *(resolved.http_auth or ())[1:])))
        log.debug("connecting to %s, timeout %g s", resolved, resolved.timeout_s)
        return Client(resolved)


class Task(t.NamedTuple):
    """A task: its options, and ``perform``, which raises an Error whose sentence is for the user.

    ``validate`` raises the InvalidOption that ``perform`` would raise before its first request.
    """

    spec: Spec
    perform: t.Callable[[Invocation], Result]
    mutually_exclusive: tuple[tuple[str, ...], ...] = ()
    validate: t.Callable[[Invocation], object] | None = None

    def run(self, invocation: Invocation) -> Result:
        """Perform the task and return its result. Raises an Error."""
        # The names of options only: a value may be a secret.
        given = [name for name, value in invocation.params.items() if value not in (None, [], {})]
        log.debug("options %s, check mode %s", ", ".join(given), "on" if invocation.check_mode else "off")
        started = time.monotonic()
        result = self.perform(invocation)
        log.debug("done in %.3f s, changed=%s", time.monotonic() - started, result.get("changed"))
        return result
