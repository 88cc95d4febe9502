# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts real Consul servers, each on its own loopback address, and stops exactly those, by pid.

``with Lab(directory) as lab: dc1 = lab.datacenter("dc1", servers=3, acl=True)``
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import typing as t
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import requests

from .tls import Authority

ROOT = Path(__file__).resolve().parents[2]
HTTP, HTTPS, SERF_LAN, SERF_WAN, RPC = 8500, 8501, 8301, 8302, 8300
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab could not be set up; the message says what to do."""


@functools.cache
def consul_binary() -> str:
    """Return the path of a Consul that runs here (CONSUL_BIN, PATH or the cache that make fills). Raises LabError."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/workshop/debian.py"), "consul"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError("no Consul binary was found to run the lab with")
    return done.stdout.strip()


@functools.cache
def consul_version(binary: str) -> tuple[int, ...]:
    """Return the version of a Consul binary, for example (1, 8, 7). Raises LabError."""
    text = subprocess.run([binary, "version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    match = re.search(r"v(\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        raise LabError(f"{binary} version prints no version")
    return tuple(int(number) for number in match.groups())


def eventually(
    condition: t.Callable[[], t.Any], within_s: float = 30.0, what: str = "", every_s: float | None = None
) -> t.Any:
    """Poll until the condition is true and return its value; AssertionError after ``within_s`` seconds.

    Without ``every_s`` the pauses grow with the time that has passed, from 20 to 100 ms: most of what polls cost is paid by the
    processes that are waited for.
    """
    began = time.monotonic()
    last: object = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (requests.RequestException, OSError, ValueError, KeyError, IndexError) as error:
            last = error
        waited_s = time.monotonic() - began
        if waited_s > within_s:
            raise AssertionError(f"not within {within_s:g} s: {what or condition} ({last})")
        time.sleep(min(max(0.02, waited_s / 10), 0.1) if every_s is None else every_s)


def freeze(process: subprocess.Popen[t.Any]) -> None:
    """Stop a process with SIGSTOP and wait until every thread is stopped: on a busy machine some run on for a moment."""
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: _thread_states(process.pid) == {"T"}, what=f"process {process.pid} is stopped")


def _thread_states(pid: int) -> set[str]:
    # proc(5): the state follows the command's name, which is in brackets and may hold anything.
    stats = [file.read_text(encoding="utf-8") for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


@dataclass
class Server:
    """One Consul server process. ``url`` is its plain HTTP address, ``https_url`` its TLS one when it has TLS."""

    name: str
    datacenter: str
    address: str
    directory: Path
    config: dict[str, t.Any]
    binary: str
    token: str | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address}:{HTTP}"

    @property
    def https_url(self) -> str:
        return f"https://{self.address}:{HTTPS}"

    @property
    def socket_path(self) -> Path:
        return self.directory / "http.sock"

    def start(self) -> None:
        """Start the process. The kernel kills it when the calling thread ends.

        So start servers from a thread that outlives them.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "config.json"
        config.write_text(json.dumps(self.config), encoding="utf-8")
        log = (self.directory / "log").open("ab")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CONSUL_")}
        self.process = subprocess.Popen(
            [self.binary, "agent", "-config-file", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            preexec_fn=_die_with_parent,
        )
        log.close()

    def stop(self) -> None:
        """Kill the process and wait for its end."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self.process = None

    def pause(self) -> None:
        """Stop the process with SIGSTOP: its connections stay open, and it answers nothing."""
        assert self.process is not None
        freeze(self.process)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def request(self, method: str, path: str, **kwargs: t.Any) -> requests.Response:
        """Send a plain request with this server's management token; raises on an HTTP error."""
        session = requests.Session()
        session.trust_env = False
        headers = {"X-Consul-Token": self.token} if self.token else {}
        response = session.request(method, self.url + path, headers=headers, timeout=10, **kwargs)
        response.raise_for_status()
        return response

    def get(self, path: str, **kwargs: t.Any) -> t.Any:
        return self.request("GET", path, **kwargs).json()

    def put(self, path: str, body: t.Any = None, **kwargs: t.Any) -> t.Any:
        data = body if isinstance(body, (bytes, str)) or body is None else json.dumps(body)
        response = self.request("PUT", path, data=data, **kwargs)
        return response.json() if response.content.strip() else None

    def snapshot(self) -> bytes:
        """Return a snapshot as Consul sends it, taken without the code under test."""
        return t.cast(bytes, self.request("GET", "/v1/snapshot", stream=True).raw.read(decode_content=True))

    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Datacenter:
    """The servers of one datacenter; ``token`` is the management token when it has ACLs."""

    name: str
    servers: list[Server]
    token: str | None = None
    authority: Authority | None = None

    @property
    def url(self) -> str:
        return self.servers[0].url

    def __getattr__(self, name: str) -> t.Any:
        # get, put, request and snapshot of the first server, so that a test reads dc1.put("/v1/kv/a", "1").
        if name in ("get", "put", "request", "snapshot"):
            return getattr(self.servers[0], name)
        raise AttributeError(name)

    def leader(self) -> Server:
        """Wait for a leader that answers a consistent read, and return it."""

        def find() -> Server | None:
            for server in self.servers:
                if server.process is None:
                    continue
                address = server.get("/v1/status/leader").rsplit(":", 1)[0]
                server.get("/v1/catalog/nodes?consistent")
                return next((s for s in self.servers if s.address == address and s.process is not None), None)
            return None

        return t.cast(Server, eventually(find, what=f"a leader of {self.name}"))

    def followers(self) -> list[Server]:
        leader = self.leader()
        return [server for server in self.servers if server is not leader]

    def wait_level(self) -> None:
        """Wait until every running server has applied what the leader has committed by now."""
        committed = _raft_index(self.leader(), "commit_index")
        for server in self.servers:
            if server.process is not None:
                eventually(lambda server=server: _raft_index(server, "applied_index") >= committed, what=server.name)

    def wait_ready(self) -> None:
        """Wait until there is a leader, and every server is a voter and in the catalogue."""
        self.leader()
        count = len(self.servers)

        def ready() -> bool:
            peers = self.servers[0].get("/v1/operator/raft/configuration")["Servers"]
            nodes = self.servers[0].get("/v1/health/service/consul?passing&consistent")
            return len(nodes) >= count and sum(peer["Voter"] for peer in peers) >= count

        eventually(ready, what=f"{count} servers of {self.name}")
        for server in self.servers:
            eventually(lambda server=server: server.get("/v1/status/leader"), what=f"{server.name} follows")


@dataclass
class Lab:
    """A set of datacenters under one directory, on a /24 of loopback that no other lab uses."""

    directory: Path
    binary: str = field(default_factory=consul_binary)
    servers: list[Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory = Path(self.directory)
        self.network, self._claim = _claim_network()
        self._next_host = 1

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_args: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop every server of this lab, and nothing else."""
        for server in self.servers:
            server.stop()
        self._claim.close()

    def address(self) -> str:
        """Return a loopback address that this lab has not used yet, or after the last one that it has not used for long."""
        number = self._next_host
        self._next_host = number + 1 if number < 254 else 100  # those of servers come first, and stay theirs
        return f"{self.network}.{number}"

    def datacenter(
        self,
        name: str = "dc1",
        servers: int = 1,
        acl: bool = False,
        authority: Authority | None = None,
        extra: dict[str, t.Any] | None = None,
        certificate_days: int = 30,
        replicates: Datacenter | None = None,
        token: str | None = None,
    ) -> Datacenter:
        """Start a datacenter and wait until it is ready; with ``acl`` the default policy is deny, and ``token`` the management token.

        ``replicates`` names the primary whose ACLs a secondary copies, tokens included.
        """
        token = (token or str(uuid.uuid4())) if acl else None
        addresses = [self.address() for _number in range(servers)]
        made = []
        for number, address in enumerate(addresses, 1):
            directory = self.directory / f"{name}-s{number}"
            config = _config(f"{name}-s{number}", name, address, directory, addresses)
            if token:
                config["acl"] = self._acl(token)
            if authority:
                pair = authority.issue(directory / "tls", f"server.{name}.consul", [address], days=certificate_days)
                config.update(
                    ports={**config["ports"], "https": HTTPS},
                    ca_file=str(authority.ca_path),
                    cert_file=str(pair.certificate),
                    key_file=str(pair.key),
                )
            if replicates:
                config.update(_secondary_of(replicates))
            more = dict(extra or {})
            if token:
                config["acl"].update(more.pop("acl", {}))
            config.update(more)
            known = replicates.token if replicates else token
            made.append(Server(f"{name}-s{number}", name, address, directory, config, self.binary, known))
        for server in made:
            server.start()
        self.servers += made
        datacenter = Datacenter(name, made, replicates.token if replicates else token, authority)
        try:
            if replicates:
                self.join_wan(replicates, datacenter)
            datacenter.wait_ready()
        except AssertionError as error:
            raise LabError(f"{name} did not start: {error}\n{made[0].log()[-2000:]}") from error
        return datacenter

    def client(self, datacenter: Datacenter, name: str, **extra: t.Any) -> Server:
        """Start a client agent and wait until it is in the catalogue."""
        address, directory = self.address(), self.directory / name
        config = _config(name, datacenter.name, address, directory, [server.address for server in datacenter.servers])
        del config["bootstrap_expect"], config["ports"]["serf_wan"], config["gossip_wan"]
        config.update(server=False, **extra)
        made = Server(name, datacenter.name, address, directory, config, self.binary, datacenter.token)
        made.start()
        self.servers.append(made)
        eventually(lambda: made.get(f"/v1/health/node/{name}?consistent"), what=f"{name} joins {datacenter.name}")
        return made

    def _acl(self, token: str) -> dict[str, t.Any]:
        management = "initial_management" if consul_version(self.binary) >= (1, 11) else "master"
        return {"enabled": True, "default_policy": "deny", "tokens": {management: token, "agent": token}}

    @staticmethod
    def join_wan(one: Datacenter, other: Datacenter) -> None:
        """Federate two datacenters over the WAN and wait until each answers requests for the other."""
        join = f"/v1/agent/join/{other.servers[0].address}:{SERF_WAN}?wan=1"
        eventually(lambda: one.request("PUT", join).ok, what=f"{one.name} joins {other.name}")
        for here, there in ((one, other), (other, one)):
            eventually(
                lambda here=here, there=there: here.request("GET", f"/v1/catalog/nodes?dc={there.name}").ok,
                what=f"{here.name} reaches {there.name}",
            )


def _raft_index(server: Server, name: str) -> int:
    return int(server.get("/v1/agent/self")["Stats"]["raft"][name])


def _config(name: str, datacenter: str, address: str, directory: Path, servers: list[str]) -> dict[str, t.Any]:
    return {
        "node_name": name,
        "datacenter": datacenter,
        "server": True,
        "bootstrap_expect": len(servers),
        "retry_join": [other for other in servers if other != address],
        "retry_interval": "200ms",
        "data_dir": str(directory / "data"),
        "bind_addr": address,
        "client_addr": address,
        "addresses": {"http": f"{address} unix://{directory}/http.sock"},
        "ports": {
            "http": HTTP,
            "dns": -1,
            "grpc": -1,
            "server": RPC,
            "serf_lan": SERF_LAN,
            "serf_wan": SERF_WAN,
        },
        "performance": {"raft_multiplier": 1},
        "disable_update_check": True,
        "enable_script_checks": False,
        "connect": {"enabled": True},
        "leave_on_terminate": False,
        "log_level": "INFO",
        # Gossip over loopback can be fast: joins and failures are known within tens of milliseconds.
        "gossip_lan": {"gossip_interval": "50ms", "probe_interval": "200ms", "probe_timeout": "100ms"},
        "gossip_wan": {"gossip_interval": "50ms", "probe_interval": "200ms", "probe_timeout": "100ms"},
    }


def _secondary_of(primary: Datacenter) -> dict[str, t.Any]:
    """Return the settings of a secondary, which replicates its ACLs from the primary."""
    return {
        "primary_datacenter": primary.name,
        "retry_join_wan": [primary.servers[0].address],
        "acl": {
            "enabled": True,
            "default_policy": "deny",
            "enable_token_replication": True,
            "tokens": {"replication": primary.token, "agent": primary.token},
        },
    }


def _claim_network() -> tuple[str, socket.socket]:
    """Return an unused /24 of loopback, and the listening socket that marks it as used. Raises LabError."""
    for _attempt in range(200):
        network = f"127.{random.randint(64, 250)}.{random.randint(0, 255)}"
        claim = socket.socket()
        try:
            claim.bind((f"{network}.254", HTTP))
            claim.listen(1)
        except OSError:
            claim.close()
            continue
        return network, claim
    raise LabError("no free loopback network was found")
