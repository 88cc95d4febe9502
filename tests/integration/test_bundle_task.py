# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The task consulops_bundle in plays: what it installs, returns, shows as a difference and refuses."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import typing as t
import venv
from pathlib import Path

import pytest

from tests.lab.agents import WHEELS, bare
from tests.lab.ansible import run_playbook, run_task
from tests.lab.consul import Datacenter

MODULE = "consulops.failover.consulops_bundle"


@pytest.fixture
def task(tmp_path: Path) -> t.Callable[..., dict[str, t.Any]]:
    def run(*flags: str, **options: t.Any) -> dict[str, t.Any]:
        given = {"dest": tmp_path / "consulops.pyz", "cache": WHEELS, "interpreter": sys.executable, **options}
        return run_task(tmp_path / "play", MODULE, given, *flags)

    return run


def test_the_second_run_is_ok_and_the_file_runs(task: t.Callable[..., dict[str, t.Any]], tmp_path: Path) -> None:
    path = tmp_path / "consulops.pyz"
    predicted = task("--check")
    assert predicted["changed"] and not path.exists()
    first = task()
    assert first["changed"] and not first["failed"]
    assert first["bundle"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    version = subprocess.run([path, "--version"], env=bare(), stdout=subprocess.PIPE, text=True, check=True)
    assert version.stdout == f"consulops {first['bundle']['version']}\n"
    assert (tmp_path / "consulops.pyz.compiled").exists()  # for the next start
    inode = path.stat().st_ino
    assert not task()["changed"] and path.stat().st_ino == inode
    assert not task("--check")["changed"]


def test_another_bundle_replaces_the_file_atomically_and_the_diff_compares_manifests(tmp_path: Path) -> None:
    path = tmp_path / "consulops.pyz"

    def install(interpreter: str) -> str:
        options = {"dest": str(path), "cache": str(WHEELS), "interpreter": interpreter}
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [{MODULE: options}]}
        done = run_playbook(tmp_path / "play", [play], "--diff")
        assert done.returncode == 0, done.stdout
        return done.stdout

    first = install(sys.executable)
    assert "+requests 2.32.5\n" in first and "PK" not in first
    before = path.read_bytes()
    os.link(path, tmp_path / "open")  # a process that runs the old file keeps it
    second = install(os.path.realpath(sys.executable))
    assert (tmp_path / "open").read_bytes() == before != path.read_bytes()
    changed = [
        line for line in second.splitlines() if line.startswith(("-", "+")) and not line.startswith(("--", "++"))
    ]
    old, new = (hashlib.sha256(content).hexdigest() for content in (before, path.read_bytes()))
    assert changed == [f"-sha256 {old}", f"+sha256 {new}"]
    assert "+++" not in install(os.path.realpath(sys.executable))


def test_check_mode_works_without_the_directory(task: t.Callable[..., dict[str, t.Any]], tmp_path: Path) -> None:
    missing = tmp_path / "not" / "yet" / "consulops.pyz"
    assert task("--check", "--diff", dest=missing)["changed"]
    real = task(dest=missing)
    assert real["failed"] and "does not exist" in real["msg"]


def test_a_host_that_cannot_run_the_new_bundle_keeps_its_file(
    task: t.Callable[..., dict[str, t.Any]], tmp_path: Path
) -> None:
    path = tmp_path / "consulops.pyz"
    path.write_text("the old file")
    refused = task(interpreter="/bin/false")
    assert refused["failed"] and "the host cannot run the bundle with /bin/false" in refused["msg"]
    assert path.read_text() == "the old file"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"wheelhouse": "/does/not/exist"}, "wheelhouse /does/not/exist lacks bottle-0.13.4-py2.py3-none-any.whl"),
        ({"nonsense": 1}, "Unsupported parameters"),
        ({"backup": "perhaps"}, "backup"),
    ],
)
def test_invalid_options_are_refused_with_a_sentence(
    task: t.Callable[..., dict[str, t.Any]], options: dict[str, t.Any], sentence: str
) -> None:
    done = task(**options)
    assert done["failed"] and sentence in done["msg"]


def test_modules_import_their_libraries_from_the_bundle(
    task: t.Callable[..., dict[str, t.Any]], dc1: Datacenter, tmp_path: Path
) -> None:
    """The interpreter has no libraries, like that of a host; PYTHONPATH names the bundle."""
    bundle = tmp_path / "consulops.pyz"
    task()
    venv.create(tmp_path / "bare", with_pip=False)
    arguments = {"path": str(tmp_path / "one.snap"), "url": dc1.url}
    for environment, works in (({}, False), ({"PYTHONPATH": str(bundle)}, True)):
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": str(tmp_path / "bare/bin/python")},
            "tasks": [{"consulops.failover.consul_snapshot": arguments, "environment": environment}],
        }
        done = run_playbook(tmp_path / "save", [play])
        assert (done.returncode == 0) is works, done.stdout
        assert works or "Python library (requests)" in done.stdout, done.stdout
