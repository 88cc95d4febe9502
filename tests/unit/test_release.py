# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``make release`` makes: the same bytes of the same sources, files that can be used and verified, and refusals that help."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.consulops.failover.plugins.module_utils._consul.version import VERSION
from ansible_collections.consulops.failover.plugins.plugin_utils import _bundle, _compiled, _wheels
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.lab.agents import WHEELS
from tests.workshop import release, release_tarball, sbom
from tests.workshop.sanity import copy_collection

EPOCH = 1_700_000_000
Wheels = t.Sequence[tuple[_wheels.Pinned, bytes]]


@pytest.fixture(scope="module")
def wheels() -> Wheels:
    return release.collect(WHEELS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, wheels: Wheels) -> Path:
    directory = tmp_path_factory.mktemp("release")
    copy_collection(directory / "tree")
    release.make(directory / "tree", directory / "made", wheels, EPOCH)
    return directory / "made"


def tarball_of(directory: Path) -> Path:
    return next(directory.glob("consulops-failover-*.tar.gz"))


def test_the_same_sources_give_the_same_bytes_at_another_time(made: Path, tmp_path: Path, wheels: Wheels) -> None:
    copy_collection(tmp_path / "tree")
    for path in (tmp_path / "tree").rglob("*"):
        os.utime(path, (1, 1))
    release.make(tmp_path / "tree", tmp_path / "made", wheels, EPOCH)
    assert (tmp_path / "made" / release.SUMS).read_text() == (made / release.SUMS).read_text()


def test_the_digests_are_those_of_every_file(made: Path) -> None:
    names = {line.split("  ")[1] for line in (made / release.SUMS).read_text().splitlines()}
    assert names == {path.name for path in made.iterdir()} - {release.SUMS} and len(names) == 5
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", release.SUMS], cwd=made, check=True)


def test_ansible_installs_the_tarball(made: Path, tmp_path: Path) -> None:
    # It compares the digest of each file with FILES.json, and that of FILES.json with MANIFEST.json.
    program = str(Path(sys.executable).with_name("ansible-galaxy"))
    command = [program, "collection", "install", "--offline", "--force", "-p", str(tmp_path), str(tarball_of(made))]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    installed = tmp_path / "ansible_collections" / "consulops" / "failover"
    assert (installed / "roles" / "consulops_runtime" / "README.md").exists()
    assert not (installed / "tests").exists()


def test_one_file_that_differs_changes_the_tarball() -> None:
    first, second = (crafted({"a": b"1", "b": content}, ["a", "b"]) for content in (b"2", b"3"))
    assert release_tarball.without_time_and_order(first, EPOCH) != release_tarball.without_time_and_order(second, EPOCH)


def test_the_order_in_which_a_file_system_lists_files_does_not_change_the_tarball() -> None:
    first, second = (crafted({"a": b"1", "b": b"2"}, order) for order in (["a", "b"], ["b", "a"]))
    assert first != second
    packed = release_tarball.without_time_and_order(first, EPOCH)
    assert packed == release_tarball.without_time_and_order(second, EPOCH)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert archive.getnames() == ["MANIFEST.json", "FILES.json", "a", "b"]
        assert {one.mtime for one in archive} == {EPOCH}


def crafted(files: dict[str, bytes], order: list[str]) -> bytes:
    """Return a tarball as ansible-galaxy makes it in a file system that lists files in this order."""
    listed = json.dumps({"files": [{"name": name} for name in order]}).encode()
    contents = {"MANIFEST.json": b'{"file_manifest_file": {"chksum_sha256": "of another"}}', "FILES.json": listed}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for time, name in enumerate([*contents, *order]):
            release_tarball.add(archive, name, {**contents, **files}[name], time)
    return packed.getvalue()


def test_the_wheelhouse_has_what_every_host_needs(made: Path, tmp_path: Path, wheels: Wheels) -> None:
    with tarfile.open(made / f"consulops-{VERSION}-wheelhouse.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    (wheelhouse,) = tmp_path.iterdir()
    nowhere = tmp_path / "no-cache"
    assert _wheels.collect(wheelhouse, nowhere).keys() == {pin.name for pin in _wheels.PINNED}
    for machine in ("x86_64", "aarch64"):
        host = _compiled.HostPython("/usr/bin/python3", (3, 11), machine)
        wanted = _compiled.wheels_for(_compiled.NAMES, host)
        assert set(_compiled.NAMES) <= _wheels.collect(wheelhouse, nowhere, wanted).keys()
    assert len(list(wheelhouse.iterdir())) == len(wheels)


def test_the_bundle_is_the_one_that_the_role_installs_by_default(made: Path) -> None:
    role = release.ROOT / "roles" / "consulops_runtime"
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text(encoding="utf-8"))
    variables = yaml.safe_load((role / "vars" / "main.yml").read_text(encoding="utf-8"))
    libraries = variables["consulops_runtime_libraries_directory"].replace(
        "{{ consulops_runtime_directory }}", defaults["consulops_runtime_directory"]
    )
    assert (defaults["consulops_runtime_interpreter"], libraries) == (release.INTERPRETER, release.LIBRARIES)
    bundle = made / f"consulops-{VERSION}.pyz"
    manifest = _bundle.manifest_of(bundle.read_bytes())
    assert manifest is not None and manifest["version"] == VERSION
    done = subprocess.run([sys.executable, "-I", bundle, "--version"], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == f"consulops {VERSION}\n"


def test_the_sbom_is_valid_and_names_every_library_with_licence_and_digest(made: Path, wheels: Wheels) -> None:
    text = (made / f"consulops-{VERSION}.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    found = {one["bom-ref"]: one for one in document["components"]}
    assert found.keys() == {pin.filename for pin, _content in wheels}
    for pin, _content in wheels:
        one = found[pin.filename]
        assert (one["name"], one["version"], one["hashes"][0]["content"]) == (pin.name, pin.version, pin.sha256)
        assert one["scope"] == ("required" if pin in _wheels.PINNED else "optional") and one["licenses"]
    needs = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    names = {ref: one["name"] for ref, one in found.items()}
    assert {names[ref] for ref in needs["consulops"]} == {pin.name for pin in _wheels.PINNED}
    assert {names[ref] for ref in needs["requests-2.32.5-py3-none-any.whl"]} == {"idna", "urllib3"}


def test_there_is_a_licence_text_of_every_library_in_the_bundle(made: Path) -> None:
    text = (made / f"consulops-{VERSION}-licenses.txt").read_text(encoding="utf-8")
    for part in text.split(f"\n{'=' * 80}\n\n"):
        assert "in the bundle" not in part.splitlines()[0] or "\n-- " in part, part[:100]
    assert {part.split(" ")[0] for part in text.split(f"\n{'=' * 80}\n\n")} >= {pin.name for pin in _wheels.PINNED}


def test_a_library_whose_licence_is_not_known_is_refused(wheels: Wheels, monkeypatch: pytest.MonkeyPatch) -> None:
    pin, content = next(one for one in wheels if one[0].name == "idna")
    assert sbom.library(pin, content, in_bundle=True).licence == "BSD-3-Clause"
    monkeypatch.delitem(sbom.LICENCES, "idna")
    with pytest.raises(sbom.CannotDescribe, match="the wheel of idna does not say its licence"):
        sbom.library(pin, content, in_bundle=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository that is ready to be released as 1.3.0."""
    (tmp_path / "changelogs" / "fragments").mkdir(parents=True)
    (tmp_path / "changelogs" / "changelog.yaml").write_text("releases: {1.2.0: {}, 1.3.0: {}}\n", encoding="ascii")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "1")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_a_tree_that_is_ready_has_no_problems(tree: Path) -> None:
    assert release.problems(tree, "1.3.0") == []


def test_what_the_changelog_does_not_have_is_not_released(tree: Path) -> None:
    (found,) = release.problems(tree, "1.4.0")
    assert "no release 1.4.0: run antsibull-changelog release" in found


def test_a_version_that_was_released_is_not_released_again_with_more_in_it(tree: Path) -> None:
    (tree / "changelogs" / "fragments" / "more.yml").write_text("bugfixes: [a]\n", encoding="ascii")
    subprocess.run(["git", "add", "."], cwd=tree, check=True)
    newer, uncommitted = release.problems(tree, "1.3.0")
    assert (
        "1.3.0 is in the changelog already, and changelogs/fragments has newer changes (more.yml): put the next"
        in newer
    )
    assert "not everything is in it (changelogs/fragments/more.yml)" in uncommitted


def test_a_file_that_git_does_not_know_is_not_released(tree: Path) -> None:
    for name in ("a.py", "b.py", "c.py", "d.py"):
        (tree / name).touch()
    (found,) = release.problems(tree, "1.3.0")
    assert "not everything is in it (a.py, b.py, c.py and 1 more): commit or remove that" in found
