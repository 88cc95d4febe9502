# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The only file here that knows Ansible: connection options, and typed errors as ``fail_json``."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ._consul import endpoint, errors
from ._consul.client import Client


def connection_spec() -> dict[str, t.Any]:
    """Return the argument spec of the connection options; the doc fragment ``connection`` describes them."""
    return {
        "url": {"type": "str"},
        "datacenter": {"type": "str"},
        "token": {"type": "str", "no_log": True},
        "token_file": {"type": "path", "no_log": False},
        "http_auth": {"type": "str", "no_log": True},
        "ca_path": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "tls_server_name": {"type": "str"},
        "validate_certs": {"type": "bool"},
        "namespace": {"type": "str"},
        "partition": {"type": "str"},
        "timeout": {"type": "float", "default": endpoint.DEFAULT_TIMEOUT_S},
    }


def side_spec(**more: t.Any) -> dict[str, t.Any]:
    """Return the argument spec of one of several connections; what it does not say, the connection options at top level do."""
    spec = connection_spec()
    spec["timeout"] = {"type": "float"}
    return {
        "options": spec,
        "mutually_exclusive": [("token", "token_file")],
        **(more or {"type": "dict", "default": {}}),
    }


def client_of(module: AnsibleModule, side: str | None = None) -> Client:
    """Return a client of the module's connection options, each falling back to its CONSUL_* variable.

    ``side`` names an option of ``side_spec``.
    """
    return _client(module, {} if side is None else module.params[side] or {})


def _client(module: AnsibleModule, options: t.Mapping[str, t.Any]) -> Client:
    defaults = {name: module.params[name] for name in connection_spec()}
    found = endpoint.resolve(endpoint.with_defaults(options, defaults), os.environ)
    # Ansible masks what came as an option; what came from a file or the environment is as secret.
    module.no_log_values.update(filter(None, (found.token, *(found.http_auth or ())[1:])))
    return Client(found)


@contextlib.contextmanager
def clients_of(
    module: AnsibleModule, connections: t.Sequence[t.Mapping[str, t.Any]] | None, datacenters: t.Sequence[str] | None
) -> t.Iterator[list[Client]]:
    """Give a client for each connection, or for each datacenter through one agent, or the only one there is; close them."""
    sides: t.Sequence[t.Mapping[str, t.Any]] = (
        connections or [{"datacenter": name} for name in datacenters or ()] or [{}]
    )
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_client(module, side)) for side in sides]


def run(module: AnsibleModule, work: t.Callable[[AnsibleModule], dict[str, t.Any]]) -> None:
    """Run a module's work: its result is what Ansible gets, every error that we know becomes one sentence."""
    try:
        result = work(module)
    except errors.MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.library), exception=error.import_error)
    except errors.Error as error:
        module.fail_json(msg=f"{module._name.rpartition('.')[2]}: {error}", **error.details)
    module.exit_json(**result)
