# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the collection's tarball with ansible-galaxy, and writes it anew so that the same sources give the same bytes.

ansible-galaxy keeps the time of the build and of each file, and the order in which the file system lists them: in the tarball, and in
FILES.json, whose digest is in MANIFEST.json. Source: ``_build_collection_tar`` of ansible-core's ``galaxy/collection``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

MANIFEST, FILES = "MANIFEST.json", "FILES.json"


class CannotBuild(Exception):
    """ansible-galaxy did not build the tarball; the sentence has its last line."""


def build(tree: Path, target: Path, time: int) -> Path:
    """Build the tarball of the collection in ``tree`` into a directory and return its path. Raises CannotBuild."""
    program = str(Path(sys.executable).with_name("ansible-galaxy"))
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [program, "collection", "build", "--output-path", scratch, str(tree)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        built = next(Path(scratch).glob("*.tar.gz"), None)
        if done.returncode != 0 or built is None:
            raise CannotBuild(f"ansible-galaxy failed: {(done.stdout.splitlines() or ['it printed nothing'])[-1]}")
        path = target / built.name
        path.write_bytes(without_time_and_order(built.read_bytes(), time))
    return path


def without_time_and_order(tarball: bytes, time: int) -> bytes:
    """Return the same collection with one time for all files, sorted by name. The gzip library still decides about its bytes."""
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as source:
        members = {member.name: member for member in source.getmembers()}
        contents = {name: stream.read() for name, one in members.items() if (stream := source.extractfile(one))}
    files, manifest = json.loads(contents[FILES]), json.loads(contents[MANIFEST])
    files["files"].sort(key=lambda one: one["name"])
    contents[FILES] = json.dumps(files, indent=1).encode()
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(contents[FILES]).hexdigest()
    contents[MANIFEST] = json.dumps(manifest, indent=1).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as target:
        # Galaxy reads these two first.
        for name in [MANIFEST, FILES, *sorted(members.keys() - {MANIFEST, FILES})]:
            add(target, name, contents.get(name), time, members[name])
    return gzip.compress(packed.getvalue(), mtime=0)


def add(
    archive: tarfile.TarFile, name: str, content: bytes | None, time: int, like: tarfile.TarInfo | None = None
) -> None:
    """Add a file with nobody's name and this time; ``like`` gives it type, mode and target of a link."""
    info = tarfile.TarInfo(name)
    info.mode, info.mtime, info.size = 0o644, time, len(content or b"")
    if like is not None:
        info.type, info.mode, info.linkname = like.type, like.mode, like.linkname
    archive.addfile(info, io.BytesIO(content) if content is not None else None)
