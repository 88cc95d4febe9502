# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection options of every module, command and agent, as an ``argument_spec``.

The doc fragment ``connection`` documents them; endpoint.py checks them.
"""

from __future__ import annotations

import typing as t

from .._consul.endpoint import DEFAULT_TIMEOUT_S

Spec = dict[str, dict[str, t.Any]]


def connection_spec() -> Spec:
    """Return the spec of the connection options."""
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
        "timeout": {"type": "float", "default": DEFAULT_TIMEOUT_S},
    }


ONE_TOKEN = ("token", "token_file")  # mutually exclusive


def side_spec(**more: t.Any) -> dict[str, t.Any]:
    """Return the spec of one of several connections; options that it does not set default to those at top level."""
    spec = connection_spec()
    spec["timeout"] = {"type": "float"}
    return {"options": spec, "mutually_exclusive": [ONE_TOKEN], **(more or {"type": "dict", "default": {}})}
