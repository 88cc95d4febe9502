# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the bundle as hosts do: single commands, and agents that run until they are stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import requests
from ansible_collections.consulops.failover.plugins.plugin_utils import _bundle, _wheels

from . import packing
from .consul import ROOT, eventually

WHEELS = ROOT / ".cache" / "wheels"
PORT = 9180
Status = dict[str, t.Any]


def make_bundle(directory: Path, byte_code: bool = False) -> Path:
    """Build the bundle and return its path. With ``byte_code`` it starts sooner than the one that hosts get."""
    path = directory / "consulops.pyz"
    bundle = _bundle.build(_wheels.collect(None, WHEELS), "/usr/bin/python3")
    path.write_bytes(packing.with_byte_code(bundle) if byte_code else bundle)
    return path


def free_port() -> int:
    """Return a port that is free on every address; the usual one is in use by the agents of other tests."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        return int(listener.getsockname()[1])


def bare(environment: t.Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without variables of Ansible, Consul or this collection."""
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **(environment or {})}


def run_command(
    bundle: Path,
    *arguments: object,
    environment: t.Mapping[str, str] | None = None,
    python: t.Sequence[str] = (sys.executable,),
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run ``consulops`` to its end; AssertionError when it prints a traceback."""
    done = subprocess.run(
        [*python, "-I", str(bundle), *map(str, arguments)],
        env=bare(environment),
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


# Runs a zip application whose wall clock is off by the number of seconds in a file, which is read at every call.
_WITH_CLOCK = """
import runpy, sys, time
path, bundle = sys.argv[1:3]
real_time = time.time
def shifted_time():
    with open(path) as file:
        return real_time() + float(file.read() or 0)
time.time = shifted_time
sys.argv = sys.argv[2:]
runpy.run_path(bundle, run_name="__main__")
"""


class AgentProcess:
    """The process of an agent, started as by systemd: with a notification socket, credentials and a watchdog.

    With ``clock`` the process has its own wall clock, which ``set_clock`` shifts. ``program`` replaces the bundle. ``state`` is the
    directory of its state, that of an earlier process after a restart.
    """

    def __init__(
        self,
        bundle: Path,
        directory: Path,
        address: str,
        config: dict[str, t.Any],
        token: str | None = None,
        *,
        clock: bool = False,
        python: t.Sequence[str] = (sys.executable,),
        program: t.Sequence[str] = (),
        state: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.bundle = bundle
        self.path = directory / "agent.json"
        self.url = f"http://{address}:{PORT}"
        self._listen = {"address": address, "port": PORT}
        self.configure(config)
        credentials = directory / "credentials"
        credentials.mkdir()
        if token:
            (credentials / "token").write_text(token, encoding="ascii")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(directory / "notify"))
        self._socket.setblocking(False)
        self._notifications: list[str] = []
        self._clock = directory / "clock"
        self.set_clock(0.0)
        program = program or [str(bundle)]
        if clock:
            program = ["-c", _WITH_CLOCK, str(self._clock), *program]
        self.state = directory / "state" if state is None else state
        self.state.mkdir(mode=0o700, exist_ok=True)
        environment = {
            "NOTIFY_SOCKET": str(directory / "notify"),
            "CREDENTIALS_DIRECTORY": str(credentials),
            "STATE_DIRECTORY": str(self.state),
        }
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*python, "-I", *program, "agent", "--config", str(self.path)],
                env=bare({**environment, "WATCHDOG_USEC": "3000000"}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def configure(self, config: dict[str, t.Any] | str) -> None:
        """Write a configuration, without reloading it. Without an address its endpoint listens where ``url`` says."""
        if isinstance(config, dict):
            config = json.dumps({**config, "endpoint": {**self._listen, **config.get("endpoint", {})}})
        self.path.write_text(config, encoding="utf-8")

    def set_clock(self, seconds: float) -> None:
        """Shift the wall clock of the process by so many seconds."""
        new = self._clock.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.replace(self._clock)

    def reload(self) -> None:
        """Send SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    def status(self) -> dict[str, t.Any]:
        """Return the JSON of /status."""
        status: dict[str, t.Any] = requests.get(f"{self.url}/status", timeout=5).json()
        return status

    def wait(self, state: str, within_s: float = 30.0) -> dict[str, t.Any]:
        """Wait until the agent is in a state, and return its status."""

        def status_in_state() -> dict[str, t.Any] | None:
            if self.process.poll() is not None:
                raise AssertionError(f"the agent ended with {self.process.returncode}: {self.log()}")
            status = self.status()
            return status if status["state"] == state else None

        try:
            return t.cast("dict[str, t.Any]", eventually(status_in_state, within_s, f"the agent is {state}"))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from error

    def notifications(self) -> list[str]:
        """Return every line that the process has sent to systemd so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._notifications += self._socket.recv(4096).decode().splitlines()
        return self._notifications

    def log(self) -> str:
        """Return the log of the process."""
        return (self.directory / "log").read_text(encoding="utf-8")

    def stop(self) -> float:
        """Send SIGTERM, wait for the end of the process, and return how many seconds it took."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self._socket.close()
        return time.monotonic() - started


def status_of_part(agent: AgentProcess, kind: str, name: str) -> Status:
    """Return the status of one of an agent's ``sets`` or ``policies``, {} while the instance does not work for it."""
    found: Status = agent.status()["section"].get(kind, {}).get(name, {})
    return found


def wait_for_part(
    agent: AgentProcess, kind: str, name: str, condition: t.Callable[[Status], t.Any], what: str, within_s: float
) -> Status:
    """Wait until the status of one of an agent's ``sets`` or ``policies`` fulfils a condition, and return it."""

    def fulfilled() -> Status | None:
        assert agent.process.poll() is None, f"the agent ended: {agent.log()}"
        status = status_of_part(agent, kind, name)
        return status if status and condition(status) else None

    try:
        return t.cast("Status", eventually(fulfilled, within_s, what))
    except AssertionError as error:
        raise AssertionError(f"{error}\n{json.dumps(agent.status())}\n{agent.log()[-4000:]}") from None
