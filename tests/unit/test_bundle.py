# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bundle: reproducible, with nothing but pinned libraries, and with a manifest."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._cli import compiled_bundle
from ansible_collections.consulops.failover.plugins.module_utils._cli.main import main
from ansible_collections.consulops.failover.plugins.plugin_utils import _bundle, _wheels

from tests.lab.agents import WHEELS, bare, run_command
from tests.lab.consul import ROOT

BUILD = """
import sys
from pathlib import Path
from ansible_collections.consulops.failover.plugins.module_utils._cli import compiled_bundle
from ansible_collections.consulops.failover.plugins.module_utils._cli.main import main
from ansible_collections.consulops.failover.plugins.plugin_utils import _bundle, _wheels
sys.stdout.buffer.write(_bundle.build(_wheels.collect(Path(sys.argv[1]), Path("/nonexistent")), "/usr/bin/python3"))
"""


@pytest.fixture(scope="module")
def wheels() -> dict[str, bytes]:
    return _wheels.collect(None, WHEELS)


@pytest.fixture(scope="module")
def bundle(wheels: dict[str, bytes]) -> bytes:
    return _bundle.build(wheels, "/usr/bin/python3")


def test_two_controllers_build_the_same_bytes(bundle: bytes, tmp_path: Path) -> None:
    """The other controller differs in path, file times, permissions, time zone, umask and hash seed."""
    collection = tmp_path / "elsewhere/ansible_collections/consulops/failover"
    shutil.copytree(ROOT / "plugins", collection / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    for number, path in enumerate(sorted(collection.rglob("*.py"))):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
        path.chmod(0o400)
    shutil.copytree(WHEELS, tmp_path / "wheelhouse")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path / "wheelhouse")],
        env=bare({"PYTHONPATH": str(tmp_path / "elsewhere"), "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}),
        cwd=tmp_path,
        umask=0o077,
        stdout=subprocess.PIPE,
        check=True,
    )
    assert hashlib.sha256(done.stdout).hexdigest() == hashlib.sha256(bundle).hexdigest()


def test_the_manifest_depends_on_the_sources_and_lists_every_library(bundle: bytes) -> None:
    manifest = _bundle.manifest_of(bundle)
    assert manifest is not None
    assert {name: library["sha256"] for name, library in manifest["libraries"].items()} == {
        one.name: one.sha256 for one in _wheels.PINNED
    }
    assert _bundle.manifest({"a": b"1"})["sources"] != _bundle.manifest({"a": b"2"})["sources"]
    assert _bundle.manifest({"a": b"1"})["sources"] != _bundle.manifest({"b": b"1"})["sources"]


def test_the_bundle_has_only_uncompressed_python_files_and_licences(bundle: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        names = archive.namelist()
        assert names == sorted(names) and not [name for name in names if name.endswith((".so", ".pyd", ".pyc"))]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        for name in names:
            if name.endswith(".py"):
                compile(archive.read(name), name, "exec")
    assert not [name for name in names if "ansible/" in name or name.endswith("_ansible.py")]
    licensed = {name.split("/")[1] for name in names if name.startswith("licenses/")}
    assert licensed == {one.name for one in _wheels.PINNED}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The link to a bundle that has the usual start and prints where its code was imported from, with byte code beside it."""
    (tmp_path / "lib").mkdir(mode=0o755)
    path = tmp_path / "lib/consulops.pyz"
    files = {
        "__main__.py": _bundle.MAIN + _bundle.START,
        f"{_bundle.PACKAGE}_cli/main.py": "def main():\n    print(__file__)\n",
    }
    folders = f"{_bundle.PACKAGE}_cli".split("/")
    packages = {"/".join([*folders[: depth + 1], "__init__.py"]): "" for depth in range(len(folders))}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, **packages}.items():
            archive.writestr(name, text)
    path.with_name("consulops.pyz.compiled").write_bytes(compiled_bundle.compiled(path.read_bytes(), str(path)))
    (tmp_path / "consulops").symlink_to(path)
    return tmp_path / "consulops"


def uses_byte_code(command: Path) -> bool:
    """Return whether a bundle imports its code from the copy beside it."""
    done = run_command(command)
    assert done.returncode == 0, done.stderr
    return done.stdout.startswith(f"{command.resolve()}.compiled/") and done.stdout.endswith(".pyc\n")


def test_byte_code_beside_the_bundle_is_used_as_long_as_it_is_that_of_the_bundle(installed: Path) -> None:
    copy = installed.resolve().with_name("consulops.pyz.compiled")
    assert uses_byte_code(installed) and uses_byte_code(installed.resolve())
    content = copy.read_bytes()
    for wrong in (content[:-1], content.replace(b" ", b"-"), b"", None):
        copy.unlink()
        if wrong is not None:
            copy.write_bytes(wrong)
        assert not uses_byte_code(installed)
        copy.write_bytes(content)
    with installed.resolve().open("ab") as bundle:
        bundle.write(b"#")
    assert not uses_byte_code(installed)


def test_byte_code_that_somebody_else_could_have_written_is_not_used(installed: Path) -> None:
    folder = installed.resolve().parent
    for mode in (0o775, 0o757, 0o1777):
        folder.chmod(mode)
        assert not uses_byte_code(installed)
    folder.chmod(0o755)
    assert uses_byte_code(installed)


def test_the_command_writes_the_byte_code_of_its_bundle(bundle: bytes, tmp_path: Path) -> None:
    """One that cannot be written is a failure only for a user who asks for it."""
    path, copy = tmp_path / "consulops.pyz", tmp_path / "consulops.pyz.compiled"
    path.write_bytes(bundle)
    made = run_command(path, "compile")
    assert made.returncode == 0 and made.stdout.startswith(f"{copy}: the byte code for Python ")
    assert copy.stat().st_mode & 0o777 == 0o644 and copy.read_bytes().endswith(compiled_bundle.mark_of(bundle))
    assert run_command(path, "version").stdout.startswith("collection")
    nowhere = tmp_path / "nowhere/consulops.pyz"
    installing = run_command(path, "compile", "--installed-as", nowhere)
    assert (
        installing.returncode == 0 and f"warning: writing byte code to {nowhere}.compiled: No such" in installing.stderr
    )
    copy.unlink()
    copy.mkdir()
    asked = run_command(path, "compile")
    assert asked.returncode == 1 and "consulops.pyz.compiled: Is a directory" in asked.stderr
    assert {one.name for one in tmp_path.iterdir()} == {path.name, copy.name}


def test_without_the_bundle_there_is_nothing_to_compile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile"]) == 2
    assert "this is not the bundle" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"#!/bin/sh\n", b"\x00\xff" * 32])
def test_other_files_have_no_manifest(content: bytes) -> None:
    assert _bundle.manifest_of(content) is None


def test_an_incomplete_wheelhouse_is_refused_with_the_missing_file(tmp_path: Path, wheels: dict[str, bytes]) -> None:
    for one in _wheels.PINNED[1:]:
        (tmp_path / one.filename).write_bytes(wheels[one.name])
    with pytest.raises(_wheels.CannotCollect, match=r"lacks bottle-0\.13\.4-py2\.py3-none-any\.whl"):
        _wheels.collect(tmp_path, WHEELS)
    (tmp_path / _wheels.PINNED[0].filename).write_bytes(b"another file")
    with pytest.raises(_wheels.CannotCollect, match=r"lacks bottle-0\.13\.4-py2\.py3-none-any\.whl"):
        _wheels.collect(tmp_path, WHEELS)
    (tmp_path / _wheels.PINNED[0].filename).write_bytes(wheels["bottle"])
    assert _wheels.collect(tmp_path, Path("/nonexistent")) == wheels


def test_a_modified_file_in_the_cache_is_downloaded_again(
    tmp_path: Path, wheels: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in _wheels.PINNED:
        (tmp_path / one.filename).write_bytes(wheels[one.name])
    bad = tmp_path / _wheels.PINNED[-1].filename
    bad.write_bytes(b"something else")
    monkeypatch.setenv("PIP_FIND_LINKS", str(WHEELS))
    assert _wheels.collect(None, tmp_path) == wheels
    assert hashlib.sha256(bad.read_bytes()).hexdigest() == _wheels.PINNED[-1].sha256


def test_without_a_package_index_the_error_names_the_wheelhouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(_wheels.CannotCollect, match="pip could not download bottle.*name it as wheelhouse") as caught:
        _wheels.collect(None, tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(_wheels.CannotCollect, match="wheels cannot be stored in .*: Not a directory"):
        _wheels.collect(None, tmp_path / "file" / "cache")
