# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the real ansible-rulebook with rulebooks of the collection, and services that it can restart on this host."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
import uuid
from pathlib import Path

from .consul import ROOT, Datacenter, eventually

COLLECTIONS = ROOT / ".cache" / "collections"
TOOLS = ROOT / ".venv" / "bin"  # ansible-playbook and ansible-galaxy, which the engine starts
PORT = 8000


class Rulebook:
    """A rulebook that runs. Use it in a ``with`` block. The inventory has localhost, and web1 and web2, which are this host as well."""

    def __init__(
        self, directory: Path, name: str, url: str, variables: t.Mapping[str, t.Any], persistence_id: str = ""
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        inventory, given = directory / "hosts.json", directory / "variables.json"
        hosts = {host: {"ansible_connection": "local"} for host in ("localhost", "web1", "web2")}
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
        given.write_text(json.dumps(variables), encoding="utf-8")
        self._log = directory / f"log-{uuid.uuid4()}"
        bin_directory = Path(sys.executable).parent
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("CONSUL_")}
        environment = {
            **inherited,
            "PATH": f"{bin_directory}:{TOOLS}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "tests" / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "CONSUL_HTTP_ADDR": url,
        }
        command = [str(bin_directory / "ansible-rulebook"), "--rulebook", name, "--inventory", str(inventory)]
        command += ["--vars", str(given), "--persistence-id", persistence_id or str(uuid.uuid4())]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=directory
            )

    @property
    def said(self) -> str:
        """Everything that it has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait(self, condition: t.Callable[[], t.Any], what: str) -> t.Any:
        """Wait for a condition; the error has what was printed."""
        try:
            return eventually(condition, within_s=90, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said}") from None

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send a signal, wait for the end and return the seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - started

    def __enter__(self) -> Rulebook:
        return self

    def __exit__(self, *_args: object) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)


class Shop:
    """A service with an HTTP check on an address of its own. Its command starts it anew, and each start leaves a line in ``starts``."""

    def __init__(self, directory: Path, datacenter: Datacenter, address: str, name: str = "shop") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._pid = directory / "pid"
        self._starts = directory / "starts"
        script = directory / "start.sh"
        server = f"{sys.executable} -m http.server --bind {address} --directory {directory} {PORT}"
        script.write_text(
            f"echo started >>{self._starts}\nsetsid {server} </dev/null >/dev/null 2>&1 &\necho $! >{self._pid}\n",
            encoding="utf-8",
        )
        self.command = ["sh", str(script)]
        self.start()
        check = {"CheckID": f"{name}-check", "HTTP": f"http://{address}:{PORT}/", "Interval": "500ms", "Timeout": "1s"}
        datacenter.put("/v1/agent/service/register", {"Name": name, "ID": f"{name}-1", "Check": check})
        eventually(lambda: self.status(datacenter) == "passing", what=f"{name} passes")

    def start(self) -> None:
        """Start it."""
        subprocess.run(self.command, check=True)

    def kill(self) -> None:
        """Kill its process, and no other."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self._pid.read_text()), signal.SIGKILL)

    @property
    def starts(self) -> int:
        """How often it was started."""
        return len(self._starts.read_text().splitlines())

    def status(self, datacenter: Datacenter) -> str:
        """Return what its check says."""
        (check,) = datacenter.get(f"/v1/health/checks/{self.name}")
        return str(check["Status"])
