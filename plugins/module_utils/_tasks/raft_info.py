# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at a server's Raft data and waits for its datacenter: the options and the work of ``consul_raft_info``."""

from __future__ import annotations

from pathlib import Path

from .._config.connection_spec import Spec
from .._consul.errors import NotConverged
from .._consul.token_file import TokenFile
from .._drill.recovery import host_facts, voters
from .._drill.recovery.local_agent import LocalAgent
from .task import Invocation, Result, Task

SPEC: Spec = {
    "data_dir": {"type": "path", "default": "/opt/consul"},
    "unit": {"type": "str", "default": "consul.service"},
    "url": {"type": "str", "default": "http://127.0.0.1:8500"},
    "token": {"type": "str", "no_log": True},
    "token_file": {"type": "path", "no_log": False},
    "ca_path": {"type": "path"},
    "record": {"type": "path"},
    "watch": {"type": "float", "default": 0.0},
    "voters": {"type": "dict"},
    "healthy": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 60.0},
}


def perform(call: Invocation) -> Result:
    """Look, or wait until the voters are those of the options. Raises InvalidOption, LocalFailure, TokenUnavailable and NotConverged."""
    options = call.params
    agent = LocalAgent(options["url"], _token(call), options["ca_path"])
    if options["voters"]:
        found = voters.wait_for_voters(agent, options["voters"], options["healthy"], options["timeout"])
        if found["problem"]:
            raise NotConverged(f"After {options['timeout']:g} seconds: {found['problem']}.")
        return {"changed": False, "raft": {key: found[key] for key in ("leader", "keys", "servers", "healthy")}}
    leader = host_facts.watch_leader(agent, options["watch"])
    record = Path(options["record"]) if options["record"] else None
    facts = host_facts.look(Path(options["data_dir"]), options["unit"], agent, record)
    facts["agent"]["leader"] = leader or facts["agent"]["leader"]
    return {"changed": False, "facts": facts}


def _token(call: Invocation) -> str | None:
    token: str | None = call.params["token"]
    if call.params["token_file"]:
        token = TokenFile(call.params["token_file"], "token_file").read()
    call.mask([token] if token else [])
    return token


RAFT_INFO = Task(SPEC, perform, (("token", "token_file"),))
