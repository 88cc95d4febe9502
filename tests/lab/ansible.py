# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs modules of the collection as Ansible does, each in its own process, and playbooks."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from . import forked
from .consul import ROOT
from .forked import COLLECTIONS


class ModuleFailed(AssertionError):
    """A module failed; ``result`` is its result."""

    def __init__(self, result: dict[str, t.Any]) -> None:
        super().__init__(result.get("msg", result))
        self.result = result


def run_module(
    module: str,
    /,
    *,
    check: bool = False,
    diff: bool = False,
    environment: t.Mapping[str, str] | None = None,
    umask: int | None = None,
    python: str = sys.executable,
    **arguments: t.Any,
) -> dict[str, t.Any]:
    """Run one module in its own process and return its result. Raises ModuleFailed.

    The arguments are not part of a command line. ``python`` is the interpreter to run it with.
    """
    arguments.update(_ansible_check_mode=check, _ansible_diff=diff, _ansible_module_name=f"consulops.failover.{module}")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("CONSUL_")}
    plain = {key: _plain(value) for key, value in arguments.items()}
    stdout, stderr = forked.call(module, plain, {**inherited, **(environment or {})}, umask, python)
    assert "Traceback" not in stderr, stderr
    lines = [line for line in stdout.splitlines() if line.startswith("{")]
    assert lines, f"{module} printed no result: {stdout} {stderr}"
    result: dict[str, t.Any] = json.loads(lines[-1])
    if result.get("failed"):
        raise ModuleFailed(result)
    return result


def _plain(value: t.Any) -> t.Any:
    return str(value) if isinstance(value, Path) else value


def run_playbook(
    directory: Path,
    plays: t.Sequence[t.Mapping[str, t.Any]] | str,
    *options: str,
    environment: t.Mapping[str, str] | None = None,
    whole: bool = False,
    prefix: t.Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run plays (as data), or a playbook by name, against localhost and return the finished process.

    ``whole`` starts ansible-playbook itself, as a user does, and not a fork of a process that has imported it. So does
    ``prefix``, words that are put in front of the command.
    """
    directory.mkdir(parents=True, exist_ok=True)
    playbook: str | Path = directory / "playbook.json"
    if isinstance(plays, str):
        playbook = plays
    else:
        _private(directory / "playbook.json", plays)
    command = ["-c", "local", *options, str(playbook)]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("CONSUL_")}
    scratch = _scratch()
    settings = {
        **inherited,
        "ANSIBLE_CONFIG": str(ROOT / "tests" / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_LOCAL_TEMP": scratch,
        "ANSIBLE_REMOTE_TEMP": scratch,
        **(environment or {}),
    }
    if not (whole or prefix):
        return forked.play(command, settings)
    return subprocess.run(
        [*prefix, str(Path(sys.executable).with_name("ansible-playbook")), *command],
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=forked.TIMEOUT_S,
        check=False,
    )


@functools.cache
def _scratch() -> str:
    """Return a directory for Ansible's temporary files, which goes when this process ends."""
    directory = tempfile.TemporaryDirectory(prefix="consulops-ansible-")
    atexit.register(directory.cleanup)
    return directory.name


def _private(path: Path, data: t.Any) -> Path:
    """Write data as JSON into a file with mode 0600: tokens are never part of a command line."""
    path.touch(mode=0o600)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def run_our_playbook(
    directory: Path, name: str, variables: t.Mapping[str, t.Any], *options: str
) -> subprocess.CompletedProcess[str]:
    """Run ``consulops.failover.NAME`` with variables and return the finished process."""
    directory.mkdir(parents=True, exist_ok=True)
    plain = {key: _plain(value) for key, value in variables.items()}
    extra = _private(directory / "variables.json", plain)
    return run_playbook(directory, f"consulops.failover.{name}", "-e", f"@{extra}", *options)


def run_task(
    directory: Path,
    module: str,
    arguments: t.Mapping[str, t.Any],
    *options: str,
    before: t.Sequence[t.Mapping[str, t.Any]] = (),
    whole: bool = False,
) -> dict[str, t.Any]:
    """Run one task with ansible-playbook, after those of ``before``, and return its result, failed or not.

    Options are ansible-playbook's; ``whole`` is that of ``run_playbook``.
    """
    task = {module: {key: _plain(value) for key, value in arguments.items()}}
    tree = directory / "results"
    done = run_playbook(
        directory,
        [{"hosts": "localhost", "gather_facts": False, "tasks": [*before, task]}],
        *options,
        environment={"ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.tree", "ANSIBLE_CALLBACK_TREE_DIR": str(tree)},
        whole=whole,
    )
    results = tree / "localhost"
    if not results.exists():
        raise AssertionError(f"ansible-playbook wrote no result:\n{done.stdout}")
    result: dict[str, t.Any] = json.loads(results.read_text(encoding="utf-8"))
    results.unlink()
    return {**result, "failed": done.returncode != 0}
