# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module in a process of its own, forked from one that has everything imported: 20 ms instead of half a second.

``python -m tests.lab.forked PATH`` is that one: it has one thread, so that no lock is ever held while it forks, and ends
with its standard input.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".cache" / "collections"
MODULES = "ansible_collections.consulops.failover.plugins.modules."
TIMEOUT_S = 120
_starting = threading.Lock()


def call(
    name: str, arguments: dict[str, t.Any], environment: dict[str, str], umask: int | None, python: str
) -> tuple[str, str]:
    """Run a module's main() in a fresh process and return what it wrote on stdout and stderr."""
    with _starting:
        # What is imported, and how, can depend on the environment.
        usual = python == sys.executable and "PYTHONPATH" not in environment
        settings = () if usual else tuple(sorted(environment.items()))
        address = _server(python, settings)
    with (
        socket.socket(socket.AF_UNIX) as connection,
        tempfile.TemporaryDirectory(prefix="consulops-call-") as directory,
    ):
        connection.settimeout(TIMEOUT_S)
        connection.connect(address)
        connection.sendall(json.dumps([name, arguments, environment, umask, directory]).encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b"", f"{name} did not end as it should"
        stdout, stderr = (Path(directory) / part for part in ("stdout", "stderr"))
        return stdout.read_text(encoding="utf-8"), stderr.read_text(encoding="utf-8")


@functools.cache
def _server(python: str, settings: tuple[tuple[str, str], ...]) -> str:
    """Start the process that forks, once for each interpreter, and return the address of its socket."""
    address = tempfile.mkdtemp(prefix="consulops-fork-") + "/socket"
    process = subprocess.Popen(
        [python, "-m", "tests.lab.forked", address],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{COLLECTIONS}{os.pathsep}{ROOT}", **dict(settings)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n", "the forking process did not start"
    _kept.append(process)
    return address


_kept: list[subprocess.Popen[bytes]] = []  # it ends when its standard input does, which is when this process ends


def serve(address: str) -> None:
    """Fork for every connection until standard input ends."""
    for path in sorted((ROOT / "plugins" / "modules").glob("*.py")):
        importlib.import_module(MODULES + path.stem)
    importlib.import_module("ansible.module_utils.testing")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(address)
        listener.listen(64)
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while all(key.fileobj is listener for key, _events in selector.select()):
            connection, _peer = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                _run(connection)
            connection.close()
    Path(address).unlink()
    Path(address).parent.rmdir()


def _run(connection: socket.socket) -> None:
    """Be the module: do what the request says; the connection ends with this process."""
    with connection.makefile("rb") as stream:
        name, arguments, environment, umask, directory = json.load(stream)
    for descriptor, part in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{directory}/{part}", os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(environment)
    if umask is not None:
        os.umask(umask)
    from ansible.module_utils.testing import patch_module_args

    with patch_module_args(arguments):
        importlib.import_module(MODULES + name).main()


if __name__ == "__main__":
    serve(sys.argv[1])
