# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Execution and decision environments: ansible-builder accepts the definitions, and finds what the collection needs."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.workshop import release_tarball
from tests.workshop.sanity import copy_collection

ROOT = Path(__file__).resolve().parents[2]
BUILDER = str(Path(sys.executable).with_name("ansible-builder"))
DEFINITIONS = sorted((ROOT / "examples" / "environments").glob("*.yml"))


def run(*words: str) -> str:
    done = subprocess.run([BUILDER, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_what_the_installed_collection_needs_is_found(tmp_path: Path) -> None:
    # As it is installed: from the tarball, which leaves files of the repository out.
    copy_collection(tmp_path / "tree")
    installed = tmp_path / "collections" / "ansible_collections" / "consulops" / "failover"
    installed.mkdir(parents=True)
    with tarfile.open(release_tarball.build(tmp_path / "tree", tmp_path, 0)) as archive:
        archive.extractall(installed, filter="data")
    run(
        *("introspect", str(tmp_path / "collections")),
        *("--write-pip", str(tmp_path / "pip.txt"), "--write-bindep", str(tmp_path / "bindep.txt")),
    )
    found = {line.split("#")[0].strip() for line in (tmp_path / "pip.txt").read_text(encoding="utf-8").splitlines()}
    assert set((ROOT / "requirements.txt").read_text(encoding="utf-8").split()) <= found
    packages = (tmp_path / "bindep.txt").read_text(encoding="utf-8")
    assert "openssh-clients [platform:rpm]" in packages and "openssh-client [platform:dpkg]" in packages


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda path: path.stem)
def test_the_definition_of_an_environment_can_be_built(definition: Path, tmp_path: Path) -> None:
    run("create", "-f", str(definition), "-c", str(tmp_path), "--output-filename", "Containerfile")
    assert "FROM" in (tmp_path / "Containerfile").read_text(encoding="utf-8")
    required = yaml.safe_load((tmp_path / "_build" / "requirements.yml").read_text(encoding="utf-8"))
    assert "consulops.failover" in {one["name"] for one in required["collections"]}


def test_the_environment_for_rulebooks_has_what_they_run_on(tmp_path: Path) -> None:
    (definition,) = (path for path in DEFINITIONS if path.stem == "decision-environment")
    run("create", "-f", str(definition), "-c", str(tmp_path))
    build = tmp_path / "_build"
    assert "ansible-rulebook" in (build / "requirements.txt").read_text(encoding="utf-8")
    assert "java-17-openjdk-headless" in (build / "bindep.txt").read_text(encoding="utf-8")
