# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Boots real systemd hosts on this machine: systemd-nspawn over an overlay, each in its own network namespace.

``with Hosts(directory, ["s1", "s2", "s3"]) as hosts: hosts["s1"].run("systemctl", "is-system-running")``

All hosts of a lab are on one bridge in one network namespace, from which Ansible reaches them by SSH as a user with sudo.
``python -m tests.lab.hosts up|down|replace --directory D`` does the same from a command line. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import typing as t
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..workshop import debian
from ..workshop.rootfs import CannotMake, rootfs
from .consul import eventually

USER = "ops"
NETWORK = "198.18"  # for tests of networks, RFC 2544
CGROUPS = Path("/sys/fs/cgroup")
BOOT_S = 180.0  # a second, but several labs may boot at once on a machine that is busy
HALT_S = 20.0
HALT = signal.SIGRTMIN + 4  # systemd powers off. Source: systemd(1)
TABLE = "consulops_cut"
CLONE_NEWNET = 0x40000000  # source: sched.h
_libc = ctypes.CDLL(None, use_errno=True)
DISK = "/srv/disk"  # on a host
PORT_STATES = {"disabled": "0", "forwarding": "3"}  # of a bridge, source: bridge(8)


class Host:
    """One host. It runs from ``start`` to ``stop``; its files stay until the lab goes down."""

    def __init__(self, lab: Hosts, name: str, address: str, pid: int = 0) -> None:
        self.name = name
        self.address = address
        self.namespace = f"{lab.name}-{name}"
        self.directory = lab.directory / name
        self.pid = pid
        self._lab = lab
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        """The path of the host's root directory on this machine."""
        return self.directory / "root"

    @property
    def is_running(self) -> bool:
        """Whether its systemd-nspawn runs."""
        if self._process is not None:
            return self._process.poll() is None
        return self.pid > 0 and Path(f"/proc/{self.pid}").exists()

    def create(self) -> None:
        """Make the host's network and file system."""
        lab = self._lab
        for folder in ("upper/etc", "work", "root"):
            (self.directory / folder).mkdir(parents=True)
        etc = self.directory / "upper/etc"
        (etc / "hostname").write_text(self.name + "\n", encoding="ascii")
        (etc / "machine-id").write_text(uuid.uuid4().hex + "\n", encoding="ascii")
        (etc / "hosts").write_text(lab.hosts_file, encoding="ascii")
        _do("ip", "netns", "add", self.namespace)
        # The same after a replacement, which the others would otherwise not find before they ask for it again.
        hardware = "02:00:" + ":".join(f"{int(part):02x}" for part in self.address.split("."))
        peer = ("peer", "name", "host0", "address", hardware, "netns", self.namespace)
        _do("ip", "-n", lab.name, "link", "add", self._port, "type", "veth", *peer)
        _do("ip", "-n", lab.name, "link", "set", self._port, "master", "br0", "up")
        _do("ip", "-n", self.namespace, "link", "set", "lo", "up")
        _do("ip", "-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "host0")
        _do("ip", "-n", self.namespace, "link", "set", "host0", "up")
        layers = f"lowerdir={lab.directory}/common:{lab.rootfs}"
        own = f"upperdir={self.directory}/upper,workdir={self.directory}/work"
        _do("mount", "-t", "overlay", "overlay", "-o", f"{layers},{own}", str(self.root))
        if lab.disk_mb:
            self._disk.mkdir()
            with (self.directory / "disk.img").open("wb") as image:
                image.truncate(lab.disk_mb << 20)
            _do("mkfs.ext4", "-q", "-F", image.name)
            _do("mount", "-o", "loop", image.name, str(self._disk))

    def start(self) -> None:
        """Boot, without waiting for it."""
        command = [
            "systemd-nspawn",
            "-q",
            "-b",
            "-D",
            str(self.root),
            "-M",
            self.namespace,
            "--register=no",
            "--keep-unit",
        ]
        command += [f"--network-namespace-path=/run/netns/{self.namespace}", "--capability=CAP_NET_ADMIN"]
        command += ["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe"]
        if self._disk.exists():
            command.append(f"--bind={self._disk}:{DISK}")
        with (self.directory / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=self._enter_cgroups,
            )
        self.pid = self._process.pid

    def wait_boot(self) -> None:
        """Wait until systemd is up and sshd listens."""
        eventually(self._is_up, BOOT_S, f"{self.name} boots; see {self.directory}/console.log")

    def run(self, *command: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program on the host as root and return the finished process; AssertionError if it fails and ``check`` is set."""
        enter = ["nsenter", "-t", str(self._leader()), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--"]
        done = subprocess.run(
            [*enter, *command],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, f"{self.name}: {' '.join(command)}: {done.stdout}"
        return done

    def http(
        self,
        method: str,
        port: int,
        path: str,
        *,
        headers: t.Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float = 5.0,
    ) -> bytes | None:
        """Send a request to a service on the host's loopback; return the body, None for an error or no answer.

        No process is started on the host: tests poll with this many times a second.
        """
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        try:
            connection.sock = self._connect(port, timeout_s)
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
            return content if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def datagrams(self, address: str) -> socket.socket:
        """Return a socket for UDP that is bound to an address of the host."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def make() -> socket.socket:
            _enter_namespace(self.namespace)
            found = socket.socket(family, socket.SOCK_DGRAM)
            found.bind((address, 0))
            return found

        # A namespace belongs to a thread, and this one ends with the socket made.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(make).result()

    def _connect(self, port: int, timeout_s: float) -> socket.socket:
        """Return a connection that was made in the host's network namespace, and stays in it."""

        def connect() -> socket.socket:
            _enter_namespace(self.namespace)
            return socket.create_connection(("127.0.0.1", port), timeout_s)

        # A namespace belongs to a thread, and this one ends with the connection made.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(connect).result()

    def unplug(self) -> None:
        """Let the bridge drop everything from and to the host, which goes on sending without an error."""
        self._set_port("disabled")

    def plug(self) -> None:
        """Let the bridge forward everything again."""
        self._set_port("forwarding")

    def cut(self) -> None:
        """Drop everything but loopback by a packet filter on the host itself: sending fails with an error."""
        self._filter("policy drop", (("input", "iif lo accept"), ("output", "oif lo accept")))

    def cut_from(self, *names: str) -> None:
        """Drop everything from and to some hosts by a packet filter on this one; itself is never among them."""
        self._cut_from_addresses(self._lab[name].address for name in names if name != self.name)

    def cut_from_bridge(self) -> None:
        """Drop everything from and to the address of the lab's bridge, where ``Hosts.listen`` serves, by a packet filter."""
        self._cut_from_addresses([self._lab.address])

    def _cut_from_addresses(self, addresses: t.Iterable[str]) -> None:
        found = ", ".join(addresses)
        rules = (("input", f"ip saddr {{ {found} }} drop"), ("output", f"ip daddr {{ {found} }} drop"))
        self._filter("policy accept", rules)

    def _filter(self, policy: str, rules: t.Iterable[tuple[str, str]]) -> None:
        hook = "{ type filter hook %s priority -10; %s; %s; }"
        chains = "\n".join(f"chain {name} {hook % (name, policy, rule)}" for name, rule in rules)
        self.heal()
        self._nft(f"table inet {TABLE} {{\n{chains}\n}}")

    def heal(self) -> None:
        """Remove the packet filter."""
        self._nft(
            f"add table inet {TABLE}; delete table inet {TABLE}"
        )  # deleting a table that is not there is an error

    def reboot(self) -> None:
        """Shut down cleanly and boot again with the same files."""
        self.run("systemctl", "reboot", "--no-block")
        self._wait_halted()
        self.start()
        self.wait_boot()

    def kill(self) -> None:
        """Power off without a shutdown."""
        self._thaw()
        self._signal(signal.SIGKILL)
        self._wait_halted()

    def stop(self) -> None:
        """Shut down cleanly, or power off if that takes too long."""
        self.halt()
        with contextlib.suppress(AssertionError):
            self._wait_halted()
        self.kill()

    def halt(self) -> None:
        """Begin a clean shutdown without waiting for its end."""
        self._thaw()
        self._signal(HALT)

    def destroy(self) -> None:
        """Stop, and remove everything that ``create`` made."""
        self.stop()
        while subprocess.run(["umount", "-q", str(self.root)], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            pass
        if self._disk.exists():
            subprocess.run(["umount", "-q", str(self._disk)], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["ip", "netns", "del", self.namespace], stderr=subprocess.DEVNULL, check=False)
        eventually(lambda: _cgroups_are_gone(self.namespace), HALT_S, f"the processes of {self.name} end")
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _disk(self) -> Path:
        """Where the host's own file system is mounted on this machine. It exists if the lab has such disks."""
        return self.directory / "disk"

    def _thaw(self) -> None:
        """Thaw the disk, as an end of the power would: what waits for it cannot be ended otherwise."""
        if self._disk.exists():
            subprocess.run(["fsfreeze", "-u", str(self._disk)], stderr=subprocess.DEVNULL, check=False)

    @property
    def _port(self) -> str:
        """The name of the host's interface on the lab's bridge."""
        return f"v{self.address.rpartition('.')[2]}"

    def _set_port(self, state: str) -> None:
        _do("bridge", "-n", self._lab.name, "link", "set", "dev", self._port, "state", PORT_STATES[state])

    def _signal(self, number: int) -> None:
        """Signal PID 1 of the host. systemd-nspawn ends with it; killing systemd-nspawn instead would leave PID 1 running."""
        with contextlib.suppress(OSError):
            os.kill(self._leader(), number)

    def _wait_halted(self) -> None:
        eventually(lambda: not self.is_running, HALT_S, f"{self.name} halts")

    def _is_up(self) -> bool:
        if not self.is_running:
            raise AssertionError(f"{self.name} did not boot; see {self.directory}/console.log")
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        listening = self.run("ss", "-Hltn", "sport = :22", check=False).stdout
        return state in ("running", "degraded") and ":22" in listening

    def _leader(self) -> int:
        """Return the pid that PID 1 of the host has on this machine. Raises OSError."""
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            for task in Path(f"/proc/{pid}/task").iterdir():
                children = [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
                for child in children:
                    status = Path(f"/proc/{child}/status").read_text(encoding="ascii")
                    pids = next(line for line in status.splitlines() if line.startswith("NSpid")).split()
                    if pids[-1] == "1" and len(pids) > 2:
                        return child
                waiting += children
        raise OSError(f"{self.name} has no PID 1 yet")

    def _nft(self, rules: str) -> None:
        self.run("nft", "-f", "-", stdin=rules + "\n")

    def _cgroups(self) -> list[Path]:
        """Return the host's control group in every hierarchy. Without its own, all hosts would share one."""
        if (CGROUPS / "cgroup.controllers").exists():
            return [CGROUPS / self.namespace]
        return [CGROUPS / name / self.namespace for name in ("systemd", "unified", "memory", "pids", "freezer", "cpu")]

    def _enter_cgroups(self) -> None:
        for group in self._cgroups():
            with contextlib.suppress(OSError):
                group.mkdir(exist_ok=True)
                (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


Made = t.TypeVar("Made")


class Hosts:
    """A lab of hosts. ``directory`` holds everything about it, so that another process can take it down.

    With ``disk_mb`` each host has a file system of its own of that size at ``DISK``, which can be filled and frozen.
    """

    def __init__(self, directory: Path, names: t.Sequence[str], consul: str | None = None, disk_mb: int = 0) -> None:
        self.directory = Path(directory).resolve()
        self._names = list(names)
        self._consul = consul
        self.disk_mb = disk_mb
        self.name = ""
        self.address = ""  # of the bridge
        self.rootfs = Path()
        self.hosts: dict[str, Host] = {}

    @classmethod
    def known(cls, directory: Path) -> Hosts:
        """Return the lab that another process brought up in this directory."""
        state = json.loads((Path(directory) / "state.json").read_text(encoding="utf-8"))
        lab = cls(directory, list(state["hosts"]), disk_mb=state["disk_mb"])
        lab.name = state["name"]
        lab.hosts = {name: Host(lab, name, one["address"], one["pid"]) for name, one in state["hosts"].items()}
        return lab

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __iter__(self) -> t.Iterator[Host]:
        return iter(self.hosts.values())

    def __enter__(self) -> Hosts:
        self.up()
        return self

    def __exit__(self, *_args: object) -> None:
        self.down()

    @property
    def exec_prefix(self) -> list[str]:
        """The words in front of a command that is to run in the controller's network namespace."""
        return ["ip", "netns", "exec", self.name]

    def inside(self, work: t.Callable[[], Made]) -> Made:
        """Return what ``work`` returns in the controller's network namespace, in which all its threads and processes are too."""

        def run() -> Made:
            _enter_namespace(self.name)
            return work()

        # A namespace belongs to a thread, and this one ends with the work.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(run).result()

    def listen(self, port: int = 0) -> socket.socket:
        """Return a socket that listens on the address of the lab's bridge: what this process serves there, all hosts reach."""
        return self.inside(functools.partial(socket.create_server, (self.address, port)))

    @property
    def hosts_file(self) -> str:
        """The content of /etc/hosts on every host."""
        return "".join(["127.0.0.1 localhost\n", *(f"{host.address} {host.name}\n" for host in self)])

    def up(self) -> None:
        """Boot every host and wait until Ansible can reach each. Raises CannotMake."""
        self.rootfs = rootfs()
        consul = self._consul or str(debian.consul())
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            network = self._claim()
            self.hosts = {
                name: Host(self, name, f"{network}.{10 + number}") for number, name in enumerate(self._names, 1)
            }
            self._make_common(consul)
            for host in self:
                host.create()
                host.start()
            self._note()
            for host in self:
                self._wait_first_boot(host)
        except BaseException:
            self.down()
            raise

    def _wait_first_boot(self, host: Host) -> None:
        """Wait until a host is up. One that hangs is booted once more: nothing was asked of it yet, and all tests of a file need it."""
        try:
            host.wait_boot()
        except AssertionError:
            jobs = "unknown"
            with contextlib.suppress(OSError):  # there is no PID 1
                jobs = host.run("systemctl", "list-jobs", "--no-pager", check=False).stdout
            print(f"{host.name} does not boot, and is booted once more. It waited for:\n{jobs}", file=sys.stderr)
            host.kill()
            host.start()
            host.wait_boot()

    def down(self) -> None:
        """Stop and remove everything that this lab brought up. What is gone already is not an error."""
        for host in self:
            host.halt()  # all at once: a shutdown takes a while
        for host in self:
            host.destroy()
        if self.name:
            # Connections that SSH keeps open: a later lab of this name would find them.
            pids = subprocess.run(["ip", "netns", "pids", self.name], stdout=subprocess.PIPE, text=True, check=False)
            for pid in pids.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", self.name], stderr=subprocess.DEVNULL, check=False)
            shutil.rmtree(self._sockets, ignore_errors=True)
        for name in ("common", "id", "id.pub", "ssh", "ssh_config", "inventory.json", "state.json"):
            path = self.directory / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def replace(self, name: str) -> None:
        """Put a new machine in the place of a host, with its name and address and none of its files. Raises CannotMake."""
        self.rootfs = rootfs()
        host = self[name]
        host.destroy()
        host.create()
        host.start()
        self._note()
        host.wait_boot()

    def inventory(self) -> dict[str, t.Any]:
        """Return the variables with which Ansible reaches the hosts."""
        wrapper = str(self.directory / "ssh")
        how = {"ansible_ssh_executable": wrapper, "ansible_ssh_transfer_method": "piped"}
        return {host.name: {**how, "ansible_python_interpreter": "/usr/bin/python3"} for host in self}

    @property
    def _sockets(self) -> Path:
        return Path("/run") / self.name  # the path of a socket must be short

    def _claim(self) -> str:
        """Reserve a network by making the namespace of its name; return its first three numbers. Raises CannotMake."""
        for number in range(1, 250):
            name = f"cof{number}"
            if not _cgroups_are_gone(f"{name}-*"):
                continue  # its tests were killed, and its hosts still run
            if subprocess.run(["ip", "netns", "add", name], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                self.name = name
                self._sockets.mkdir(mode=0o700, exist_ok=True)
                network = f"{NETWORK}.{number}"
                _do("ip", "-n", name, "link", "set", "lo", "up")
                _do("ip", "-n", name, "link", "add", "br0", "type", "bridge")
                self.address = f"{network}.1"
                _do("ip", "-n", name, "addr", "add", f"{self.address}/24", "dev", "br0")
                _do("ip", "-n", name, "link", "set", "br0", "up")
                return network
        raise CannotMake(
            "All networks for test hosts are in use, or network namespaces cannot be made on this machine."
        )

    def _make_common(self, consul: str) -> None:
        """Make the file system layer that all hosts share: the user, the SSH keys, Consul."""
        common, key = self.directory / "common", self.directory / "id"
        for folder in ("etc/ssh", "etc/sudoers.d", f"home/{USER}/.ssh", "usr/bin"):
            (common / folder).mkdir(parents=True)
        key.unlink(missing_ok=True)
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(key))
        _do(
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            self.name,
            "-f",
            str(common / "etc/ssh/ssh_host_ed25519_key"),
        )
        for name, line in (
            ("passwd", f"{USER}:x:1000:1000::/home/{USER}:/bin/bash\n"),
            ("group", f"{USER}:x:1000:\n"),
            ("shadow", f"{USER}:*:19000:0:99999:7:::\n"),
        ):
            shutil.copy2(self.rootfs / "etc" / name, common / "etc" / name)
            with (common / "etc" / name).open("a", encoding="ascii") as file:
                file.write(line)
        sudoers = common / "etc/sudoers.d" / USER
        sudoers.write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n", encoding="ascii")
        sudoers.chmod(0o440)
        home = common / "home" / USER
        shutil.copy(key.with_suffix(".pub"), home / ".ssh/authorized_keys")
        for path in (home, home / ".ssh", home / ".ssh/authorized_keys"):
            os.chown(path, 1000, 1000)
            path.chmod(0o700 if path.is_dir() else 0o600)
        shutil.copy(consul, common / "usr/bin/consul")
        self._make_ssh(key)

    def _make_ssh(self, key: Path) -> None:
        """Make the program ``ssh`` in the lab's directory, which reaches every host by its name: ``ssh s1``."""
        settings = [f"User {USER}", f"IdentityFile {key}", "IdentitiesOnly yes", "StrictHostKeyChecking no"]
        settings += ["UserKnownHostsFile /dev/null", "LogLevel ERROR", "BatchMode yes"]
        lines = [f"Host {host.name}\n HostName {host.address}" for host in self]
        config = self.directory / "ssh_config"
        config.write_text("\n".join([*lines, "Host *", *(f" {line}" for line in settings)]) + "\n", encoding="utf-8")
        wrapper = self.directory / "ssh"
        # Ansible names its sockets by host, which two labs would share: the first ControlPath of a command counts.
        sockets = f"-o ControlPath={self._sockets}/%C"
        wrapper.write_text(
            f'#!/bin/sh\nexec ip netns exec {self.name} ssh -F "{config}" {sockets} "$@"\n', encoding="utf-8"
        )
        wrapper.chmod(0o755)

    def _note(self) -> None:
        hosts = {host.name: {"address": host.address, "pid": host.pid} for host in self}
        state = {"name": self.name, "hosts": hosts, "disk_mb": self.disk_mb}
        (self.directory / "state.json").write_text(json.dumps(state), encoding="utf-8")
        inventory = {"all": {"hosts": self.inventory()}}
        (self.directory / "inventory.json").write_text(json.dumps(inventory, indent=1), encoding="utf-8")


def _enter_namespace(name: str) -> None:
    """Move this thread into a network namespace. Raises OSError."""
    with Path("/run/netns", name).open("rb") as namespace:
        if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns failed")


def _cgroups_are_gone(pattern: str) -> bool:
    """Remove the empty control groups of hosts whose name matches; return whether none is left."""
    for cgroup in cgroups_of(pattern):
        for folder, _folders, _files in os.walk(cgroup, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
    return not cgroups_of(pattern)


def cgroups_of(pattern: str) -> list[Path]:
    """Return the control groups of hosts whose name matches, in the unified hierarchy or in each of cgroup version 1."""
    return [*CGROUPS.glob(pattern), *CGROUPS.glob(f"*/{pattern}")]


def _do(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise CannotMake(f"{' '.join(command)}: {done.stdout.strip()}")


def main() -> int:
    """Bring a lab up or down, or replace hosts of it, from a command line."""
    parser = argparse.ArgumentParser(description="Real systemd hosts for tests.")
    parser.add_argument("action", choices=["up", "down", "replace"])
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--hosts", nargs="+", default=["s1", "s2", "s3"])
    options = parser.parse_args()
    try:
        if options.action == "up":
            Hosts(options.directory, options.hosts).up()
        elif options.action == "replace":
            for name in options.hosts:
                Hosts.known(options.directory).replace(name)
        elif (options.directory / "state.json").exists():
            Hosts.known(options.directory).down()
    except (CannotMake, debian.CannotFetch, AssertionError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
