# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The task consulops_libraries in plays: what it installs for a Python without libraries, that the command finds it, what it refuses."""

from __future__ import annotations

import subprocess
import typing as t
import venv
from pathlib import Path

import pytest

from tests.lab.agents import WHEELS, bare, run_command
from tests.lab.ansible import run_playbook, run_task

LIBRARIES = "consulops.failover.consulops_libraries"
BUNDLE = "consulops.failover.consulops_bundle"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter without libraries, like that of a host."""
    directory = tmp_path_factory.mktemp("bare")
    venv.create(directory, with_pip=False)
    return str(directory / "bin/python")


def test_the_command_finds_what_was_installed_and_a_second_run_changes_nothing(python: str, tmp_path: Path) -> None:
    dest = tmp_path / "libraries"
    given: dict[str, t.Any] = {"dest": str(dest), "cache": str(WHEELS), "interpreter": python}

    def install(*flags: str, **options: t.Any) -> dict[str, t.Any]:
        return run_task(tmp_path / "play", LIBRARIES, {**given, **options}, *flags)

    bundle = tmp_path / "consulops.pyz"
    built = run_task(
        tmp_path / "play",
        BUNDLE,
        {"dest": str(bundle), "cache": str(WHEELS), "interpreter": python, "libraries": str(dest)},
    )
    assert not built["failed"], built
    store = ("snapshot", "list", "s3://bucket/", "--store-endpoint", "http://127.0.0.1:1")
    without = run_command(bundle, *store, python=(python, "-I"))
    assert without.returncode != 0 and "obstore" in without.stderr, without
    planned = install("--check", libraries=["pyrage"])
    assert planned["changed"] and not dest.exists()
    assert install(libraries=["pyrage"])["changed"]
    # What is there stays.
    task = {LIBRARIES: {**given, "libraries": ["obstore"]}}
    both = run_playbook(tmp_path / "play", [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}], "--diff")
    assert "+obstore 0.12.1\n pyrage 1.4.0\n" in both.stdout and "changed=1" in both.stdout, both.stdout
    inode = dest.stat().st_ino
    for names in (["obstore"], ["pyrage"], ["obstore", "pyrage"]):
        again = install(libraries=names)
        assert not again["changed"] and set(again["libraries"]) - {"typing_extensions"} == set(names)
    assert dest.stat().st_ino == inode
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("libraries.")]
    program = f"import sys; sys.path.insert(1, {str(dest)!r}); import obstore.store, pyrage; print(pyrage.__file__)"
    found = subprocess.run([python, "-I", "-c", program], env=bare(), stdout=subprocess.PIPE, text=True, check=True)
    assert found.stdout.startswith(str(dest))
    now = run_command(
        bundle, *store, python=(python, "-I"), environment={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    )
    assert now.returncode != 0 and "it refuses the connection" in now.stderr, now


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"libraries": ["pyrage"], "interpreter": "/bin/false"}, "/bin/false does not run on the host (exit status 1)"),
        (
            {"libraries": ["pyrage"], "wheelhouse": "/does/not/exist"},
            "wheelhouse /does/not/exist lacks pyrage-1.4.0-cp310",
        ),
        ({"libraries": ["boto3"]}, "boto3"),
    ],
)
def test_what_cannot_be_installed_is_refused_with_a_sentence_and_nothing_is_left(
    options: dict[str, t.Any], sentence: str, python: str, tmp_path: Path
) -> None:
    given = {"dest": str(tmp_path / "libraries"), "cache": str(WHEELS), "interpreter": python, **options}
    done = run_task(tmp_path / "play", LIBRARIES, given)
    assert done["failed"] and sentence in done["msg"] and "\n" not in done["msg"], done
    assert {path.name for path in tmp_path.iterdir()} == {"play"}


def test_a_library_that_the_host_cannot_load_does_not_replace_the_old_ones(python: str, tmp_path: Path) -> None:
    """As on a host with another libc; here the interpreter is one that may not import it."""
    dest = tmp_path / "libraries"
    dest.mkdir()
    (dest / "old").touch()
    broken = tmp_path / "python"
    broken.write_text(
        f'#!/bin/sh\nshift; exec {python} -S -c "$2" "$3" "$4" ${{5:+nothing_of_this_name}}\n', encoding="utf-8"
    )
    broken.chmod(0o755)
    given = {"dest": str(dest), "cache": str(WHEELS), "interpreter": str(broken), "libraries": ["pyrage"]}
    done = run_task(tmp_path / "play", LIBRARIES, given)
    assert done["failed"] and "the host cannot use pyrage" in done["msg"] and "nothing_of_this_name" in done["msg"], (
        done
    )
    assert [path.name for path in dest.iterdir()] == ["old"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("libraries.")]
