# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of the Consul server that a snapshot is restored into for a rehearsal. Pure.

It listens on loopback and on a Unix socket in its own directory, and gets everything else from the snapshot.
Source: https://developer.hashicorp.com/consul/docs/agent/config/config-files (every key exists from 1.8 on)
"""

from __future__ import annotations

import json
import re

SOCKET_NAME, LOG_NAME, CONFIG_NAME, DATA_NAME = "http.sock", "log", "server.json", "data"
DEFAULT_DATACENTER = "rehearsal"
# agent/config/builder.go: a datacenter's name
_DATACENTER = re.compile(r"[a-z0-9_-]{1,64}")


def server_config(datacenter: str, node: str) -> str:
    """Return the configuration of a server that elects itself, as JSON. It is called ``node``, as no node of the snapshot is.

    ACLs are off: the server then adds no token of its own to those of the snapshot, and their tables are restored and read back all
    the same. Whoever reaches the socket may read everything, so its directory must be private. Connect is off, because a server
    with Connect would change the certificate authority of the snapshot, or ask a Vault that it names.
    """
    config = {
        "server": True,
        "bootstrap_expect": 1,
        "datacenter": datacenter if _DATACENTER.fullmatch(datacenter) else DEFAULT_DATACENTER,
        "node_name": node,
        "data_dir": DATA_NAME,
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.1",
        "addresses": {"http": f"unix://{SOCKET_NAME}"},
        "ports": {"dns": -1, "serf_wan": -1},
        "acl": {"enabled": False},
        "connect": {"enabled": False},
        "performance": {"raft_multiplier": 1},
        "disable_update_check": True,
        "log_level": "WARN",
    }
    return json.dumps(config, sort_keys=True)
