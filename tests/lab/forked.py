# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module or ansible-playbook in a new process, forked from one that has everything imported.

A module then takes 20 ms instead of half a second, and a playbook neither imports Ansible nor packs each module again.
What a playbook sends to a host holds byte code too (``packing.py``).
``python -m tests.lab.forked modules|playbooks PATH`` is the process that forks: it has one thread, so no lock is held
while it forks, and it ends with its standard input.
"""

from __future__ import annotations

import functools
import gc
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

from . import packing

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".cache" / "collections"
MODULES = "ansible_collections.consulops.failover.plugins.modules."
# What ansible-playbook imports in every run, much of it only when it comes across a task.
ANSIBLE = (
    *("cli.playbook", "executor.playbook_executor", "executor.task_executor", "executor.module_common"),
    *("plugins.strategy.linear", "plugins.callback.default", "plugins.action.normal", "plugins.action.copy"),
    *("plugins.action.template", "plugins.connection.ssh", "plugins.connection.local", "plugins.shell.sh"),
    *("plugins.become.sudo", "plugins.filter.core", "plugins.test.core", "plugins.lookup.env"),
)
TIMEOUT_S = 300
# Ansible reads its settings when it is imported, all but those of a plugin that is loaded later.
READ_LATER = {"ANSIBLE_CALLBACK_TREE_DIR"}
_starting = threading.Lock()


def call(
    name: str, arguments: dict[str, t.Any], environment: dict[str, str], umask: int | None, python: str
) -> tuple[str, str]:
    """Run a module's main() in a fresh process and return what it wrote on stdout and stderr."""
    # What is imported, and how, can depend on the environment.
    usual = python == sys.executable and environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH")
    # The name of the test that runs is no reason to import everything again.
    settings = {} if usual else {name: value for name, value in environment.items() if name != "PYTEST_CURRENT_TEST"}
    _status, stdout, stderr = _request("modules", python, settings, [name, arguments], environment, umask)
    return stdout, stderr


def play(command: t.Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook in a fresh process and return how it ended, stderr within stdout.

    There is one forking process for each set of ANSIBLE_* variables, so leave in them what differs from run to run.
    """
    settings = {
        name: value for name, value in environment.items() if name.startswith("ANSIBLE_") and name not in READ_LATER
    }
    status, stdout, stderr = _request("playbooks", sys.executable, settings, list(command), environment, None)
    return subprocess.CompletedProcess(command, status, stdout + stderr)


def _request(
    kind: str,
    python: str,
    settings: t.Mapping[str, str],
    what: list[t.Any],
    environment: dict[str, str],
    umask: int | None,
) -> tuple[int, str, str]:
    """Let the process that forks run something; return the exit status, stdout and stderr."""
    with _starting:
        address = _server(kind, python, tuple(sorted(settings.items())))
    with (
        socket.socket(socket.AF_UNIX) as connection,
        tempfile.TemporaryDirectory(prefix="consulops-call-") as directory,
    ):
        connection.settimeout(TIMEOUT_S)
        connection.connect(address)
        connection.sendall(json.dumps([what, environment, umask, directory]).encode())
        connection.shutdown(socket.SHUT_WR)
        pid = int(connection.recv(16))
        try:
            assert connection.recv(1) == b"", f"{what[0]} did not end as it should"
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        parts = {part: Path(directory) / part for part in ("status", "stdout", "stderr")}
        said = {part: path.read_text(encoding="utf-8") for part, path in parts.items() if path.exists()}
        return int(said.get("status", "-1")), said["stdout"], said["stderr"]


@functools.cache
def _server(kind: str, python: str, settings: tuple[tuple[str, str], ...]) -> str:
    """Start the process that forks, once for each interpreter and settings, and return the address of its socket."""
    address = tempfile.mkdtemp(prefix="consulops-fork-") + "/socket"
    process = subprocess.Popen(
        [python, "-m", "tests.lab.forked", kind, address],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{COLLECTIONS}{os.pathsep}{ROOT}", **dict(settings)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n", "the forking process did not start"
    _kept.append(process)
    return address


_kept: list[subprocess.Popen[bytes]] = []  # it ends when its standard input does, which is when this process ends


def serve(kind: str, address: str) -> None:
    """Fork for every connection until standard input ends."""
    for name in _to_import(kind):
        importlib.import_module(name)
    if kind == "playbooks":
        packing.install()
    gc.freeze()  # or each child copies all of this memory when it collects its own
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
                _run(kind, connection)
            connection.close()
    Path(address).unlink()
    Path(address).parent.rmdir()


def _to_import(kind: str) -> list[str]:
    if kind == "playbooks":
        return [f"ansible.{name}" for name in ANSIBLE]
    modules = sorted((ROOT / "plugins" / "modules").glob("*.py"))
    return [*(MODULES + path.stem for path in modules), "ansible.module_utils.testing"]


def _run(kind: str, connection: socket.socket) -> t.NoReturn:
    """Be what the request asks for; the connection ends with this process."""
    with connection.makefile("rb") as stream:
        what, environment, umask, directory = json.load(stream)
    connection.sendall(str(os.getpid()).encode())
    for descriptor, part in ((1, "stdout"), (2, "stderr")):
        # A playbook's stderr stands between its other lines.
        target = directory + ("/stdout" if kind == "playbooks" else f"/{part}")
        os.dup2(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), descriptor)
    (Path(directory) / "stderr").touch()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(environment)
    if umask is not None:
        os.umask(umask)
    status: object = 0
    try:
        _main(kind, what)
    except SystemExit as end:
        status = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    code = status if isinstance(status, int) else int(status is not None)
    os.umask(0o077)  # that of the request may keep its own user from reading the file
    (Path(directory) / "status").write_text(str(code), encoding="ascii")
    # Not sys.exit: what is registered for the end belongs to the process that forks, like Ansible's cache of modules.
    os._exit(0)


def _main(kind: str, what: list[t.Any]) -> None:
    if kind == "playbooks":
        cli: t.Any = importlib.import_module("ansible.cli.playbook")
        cli.PlaybookCLI.cli_executor(["ansible-playbook", *what])
    else:
        from ansible.module_utils.testing import patch_module_args

        name, arguments = what
        with patch_module_args(arguments):
            importlib.import_module(MODULES + name).main()


if __name__ == "__main__":
    serve(*sys.argv[1:])
