# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a release in build/release: tarball, bundle, wheelhouse, SBOM, licences and SHA256SUMS. The same commit gives the same bytes.

``make release`` refuses what is not ready to be released, and says what to do; ``make release DRAFT=1`` makes everything anyway.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing as t
from pathlib import Path

import yaml
from ansible_collections.consulops.failover.plugins.module_utils._consul.version import VERSION
from ansible_collections.consulops.failover.plugins.plugin_utils import _bundle, _compiled, _wheels

from tests.workshop import release_tarball, sbom
from tests.workshop.sanity import copy_collection

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "build" / "release"
CACHE = ROOT / ".cache" / "wheels"
SUMS = "SHA256SUMS"
# The defaults of the role consulops_runtime: it installs these very bytes on a host.
INTERPRETER = "/usr/bin/python3"
LIBRARIES = "/usr/local/lib/consulops/libraries"

Wheels = t.Mapping[str, bytes]


def main(arguments: t.Sequence[str]) -> int:
    """Make the release; return 1 and say why if it is not ready, or if something cannot be had."""
    found = problems(ROOT, VERSION)
    for problem in found:
        print(problem)
    if found and "--draft" not in arguments:
        print("Nothing was made. To make a draft anyway: make release DRAFT=1")
        return 1
    try:
        every = collect(CACHE)
        with tempfile.TemporaryDirectory(prefix="release-") as scratch:
            tree, made = Path(scratch) / "tree", Path(scratch) / "made"
            copy_collection(tree)
            make(tree, made, every, epoch())
            shutil.rmtree(TARGET, ignore_errors=True)
            TARGET.parent.mkdir(exist_ok=True)
            shutil.copytree(made, TARGET)
    except (_wheels.CannotCollect, sbom.CannotDescribe, release_tarball.CannotBuild) as error:
        print(f"The release was not made: {error}")
        return 1
    print((TARGET / SUMS).read_text(encoding="ascii"), end="")
    print(
        f"{'A draft' if found else 'The release'} is in {TARGET.relative_to(ROOT)}. Sign {SUMS} before you publish it: SECURITY.md."
    )
    return 0


def problems(root: Path, version: str) -> list[str]:
    """Return what keeps the tree from being released, each as a sentence that says what to do."""
    found = []
    changelog = yaml.safe_load((root / "changelogs" / "changelog.yaml").read_text(encoding="utf-8"))
    fragments = sorted(path.name for path in (root / "changelogs" / "fragments").glob("*.y*ml"))
    if version not in changelog["releases"]:
        found.append(
            f"The changelog has no release {version}: run antsibull-changelog release, and commit what it wrote."
        )
    elif fragments:
        found.append(
            f"Version {version} is in the changelog already, and changelogs/fragments has newer changes ({_some(fragments)}): put the next "
            "version into galaxy.yml and plugins/module_utils/_consul/version.py, run antsibull-changelog release, and commit it."
        )
    changed = _git(root, "diff", "--name-only", "HEAD").splitlines()
    changed += _git(root, "ls-files", "--others", "--exclude-standard").splitlines()
    if changed:
        found.append(
            f"A release is made of a commit, and not everything is in it ({_some(changed)}): commit or remove that."
        )
    return found


def epoch() -> int:
    """Return the time that all files get: SOURCE_DATE_EPOCH, or the time of the commit."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or _git(ROOT, "log", "-1", "--format=%ct"))


def collect(cache: Path) -> list[tuple[_wheels.Pinned, bytes]]:
    """Return each wheel of the bundle and of every machine, with its bytes. Raises CannotCollect."""
    sets = [_wheels.BUNDLED]
    for machine in sorted({name for one in _compiled.COMPILED for name in one.wheels}):
        sets.append(_compiled.wheels_for(_compiled.NAMES, _compiled.HostPython(INTERPRETER, (3, 11), machine)))
    found = {}
    for one in sets:
        wheels = _wheels.collect(None, cache, one)
        found.update({pin.filename: (pin, wheels[pin.name]) for pin in one.pinned})
    return [found[name] for name in sorted(found)]


def make(tree: Path, target: Path, wheels: t.Sequence[tuple[_wheels.Pinned, bytes]], time: int) -> None:
    """Write every file of the release of a tree into a new directory. Raises CannotBuild and CannotDescribe."""
    target.mkdir()
    name = f"consulops-{VERSION}"
    bundled = {pin.name: content for pin, content in wheels if pin in _wheels.PINNED}
    bundle = _bundle.build(bundled, INTERPRETER, LIBRARIES)
    release_tarball.build(tree, target, time)
    (target / f"{name}.pyz").write_bytes(bundle)
    (target / f"{name}.pyz").chmod(0o755)
    with (target / f"{name}-wheelhouse.tar").open("wb") as stream:
        _write_wheelhouse(stream, f"{name}-wheelhouse", wheels, time)
    libraries = [sbom.library(pin, content, in_bundle=pin in _wheels.PINNED) for pin, content in wheels]
    (target / f"{name}.cdx.json").write_text(sbom.document(bundle, VERSION, libraries, time), encoding="utf-8")
    (target / f"{name}-licenses.txt").write_text(sbom.licence_texts(libraries), encoding="utf-8")
    (target / SUMS).write_text(sums(target), encoding="ascii")


def sums(directory: Path) -> str:
    """Return the digests of the files of a directory, in the form of sha256sum(1)."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(directory.iterdir())
        if path.name != SUMS
    )


def _write_wheelhouse(
    stream: t.BinaryIO, folder: str, wheels: t.Sequence[tuple[_wheels.Pinned, bytes]], time: int
) -> None:
    # Not compressed: wheels are, and compressors differ between machines.
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for pin, content in wheels:
            release_tarball.add(archive, f"{folder}/{pin.filename}", content, time)


def _some(names: t.Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
