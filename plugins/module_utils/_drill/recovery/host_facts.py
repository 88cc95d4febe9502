# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at a Consul server: its unit, its data directory, its Raft data, and what its agent says. Changes nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

from ..._consul.errors import LocalFailure
from ..raft_address import address_of
from .local_agent import LocalAgent, NoAnswer
from .raft_data import RaftData, Server, read_raft_data

COMMAND_TIMEOUT_S = 30.0
POLL_S = 0.5


def look(data_dir: Path, unit: str, agent: LocalAgent, record: Path | None) -> dict[str, t.Any]:
    """Return the facts of this host as plain data. Raises LocalFailure."""
    said, addresses = ask(agent), _addresses()
    try:
        raft = read_raft_data(data_dir)
        node_id = _text(data_dir / "node-id")
        owner = data_dir.stat() if data_dir.is_dir() else None
        found = {
            "unit": _command("systemctl", "show", "-p", "ActiveState", "--value", unit).strip() or "unknown",
            "data_dir": str(data_dir),
            "node_id": node_id,
            "owner": None if owner is None else {"uid": owner.st_uid, "gid": owner.st_gid},
            "free_bytes": None if owner is None else shutil.disk_usage(data_dir).free,
            "addresses": addresses,
            "record": _record(record),
        }
    except OSError as error:
        raise LocalFailure(f"{data_dir} cannot be read: {error}. Nothing was changed.") from error
    raft = _with_agent(raft, said)
    return {
        **found,
        "raft": {
            "index": raft.index,
            "term": raft.term,
            "source": raft.source,
            "problem": raft.problem,
            "servers": None if raft.servers is None else [one._asdict() for one in raft.servers],
        },
        "agent": {key: said[key] for key in ("answers", "leader", "datacenter", "problem")},
        "datacenter": said["datacenter"] or _datacenter(data_dir, addresses),
    }


def ask(agent: LocalAgent) -> dict[str, t.Any]:
    """Return what the agent says without a leader, as plain data; ``problem`` is why something of it is missing."""
    found: dict[str, t.Any] = {
        "answers": False,
        "leader": "",
        "datacenter": "",
        "stats": {},
        "servers": None,
        "problem": "",
    }
    try:
        found["leader"] = str(agent.get("/v1/status/leader"))
        found["answers"] = True
        own = agent.get("/v1/agent/self")
        found["datacenter"] = str(own["Config"]["Datacenter"])
        found["stats"] = dict(own["Stats"]["raft"])
        found["servers"] = raft_servers(agent, "stale=1")
    except NoAnswer as error:
        found["problem"] = str(error)
    except (KeyError, TypeError):
        found["problem"] = "the answers are not those of a Consul server"
    return found


def raft_servers(agent: LocalAgent, query: str) -> list[Server]:
    """Return Raft's configuration as the agent knows it. Raises NoAnswer, KeyError and TypeError."""
    answer = agent.get(f"/v1/operator/raft/configuration?{query}")
    return [Server(str(one["ID"]), str(one["Address"]), bool(one["Voter"])) for one in answer["Servers"]]


def watch_leader(agent: LocalAgent, seconds: float) -> str:
    """Watch for some seconds, and return the leader as soon as the agent names one; "" if it names none, or does not answer."""
    end = time.monotonic() + seconds
    while True:
        leader = ""
        with contextlib.suppress(NoAnswer):
            leader = str(agent.get("/v1/status/leader"))
        if leader or time.monotonic() >= end:
            return leader
        time.sleep(POLL_S)


def _with_agent(raft: RaftData, said: t.Mapping[str, t.Any]) -> RaftData:
    """Return the Raft data as the agent says it, where it does: the files change under a running agent."""
    try:
        index, term = int(said["stats"]["last_log_index"]), int(said["stats"]["last_log_term"])
    except (KeyError, TypeError, ValueError):
        return raft
    servers = raft.servers if said["servers"] is None else tuple(said["servers"])
    if not index:
        return RaftData(index, term, "agent", servers)
    return RaftData(index, term, "agent", servers, raft.problem if servers is None else "")


def _datacenter(data_dir: Path, addresses: t.Collection[str]) -> str:
    """Return the datacenter by the server's notes of the WAN, in which a server is NAME.DATACENTER; "" if they do not say it."""
    found = ""
    for line in _text(data_dir / "serf/remote.snapshot").splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "alive:" and address_of(words[2]) in addresses:
            found = words[1].rpartition(".")[2]
    return found


def _addresses() -> list[str]:
    """Return the IP addresses of this host, without those of the loopback interface."""
    try:
        found = json.loads(_command("ip", "-j", "address") or "[]")
        return [str(one["local"]) for link in found if link.get("ifname") != "lo" for one in link["addr_info"]]
    except (ValueError, KeyError, TypeError):
        return []


def _record(path: Path | None) -> dict[str, t.Any] | None:
    text = "" if path is None else _text(path)
    try:
        found = json.loads(text) if text else None
    except ValueError as error:
        raise LocalFailure(
            f"The record {path} of a recovery is damaged: look at it, and move it away. Nothing was changed."
        ) from error
    return found if isinstance(found, dict) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except ValueError:
        return ""  # not text, so nothing that Consul wrote


def _command(*words: str) -> str:
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
