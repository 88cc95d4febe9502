# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the zip application for hosts, reproducibly: module_utils of this collection and the pinned libraries.

Nothing is compressed, because compressors differ between controllers and Python starts faster without compression.
"""

from __future__ import annotations

import hashlib
import io
import json
import typing as t
import zipfile
from pathlib import Path

from ansible_collections.consulops.failover.plugins.module_utils._cli import compiled_bundle
from ansible_collections.consulops.failover.plugins.module_utils._consul.version import COLLECTION, VERSION

from ._wheels import PINNED, Pinned

MODULE_UTILS = Path(__file__).resolve().parents[1] / "module_utils"
PACKAGE = "ansible_collections/consulops/failover/plugins/module_utils/"
MANIFEST = "manifest.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip file
OLDEST_PYTHON = (3, 9)

# The copy with byte code is used only if nobody but the owner of the bundle, or root, could have put it there.
MAIN = f"""import hashlib
import os
import sys


def compiled(bundle):
    folder, owner = os.stat(os.path.dirname(bundle)), os.stat(bundle).st_uid
    if folder.st_mode & 0o022 or folder.st_uid not in (0, owner):
        return False
    with open(bundle + "{compiled_bundle.SUFFIX}", "rb") as copy, open(bundle, "rb") as original:
        digest = hashlib.sha256()
        for block in iter(lambda: original.read(1 << 20), b""):
            digest.update(block)
        mark = ("%s %s" % (sys.implementation.cache_tag, digest.hexdigest())).encode()
        copy.seek(-len(mark), 2)
        return copy.read() == mark


if sys.version_info < {OLDEST_PYTHON}:
    sys.exit("consulops needs Python {".".join(map(str, OLDEST_PYTHON))} or newer; this is %d.%d" % sys.version_info[:2])
bundle = os.path.realpath(sys.path[0])
try:
    if compiled(bundle):
        sys.path[0] = bundle + "{compiled_bundle.SUFFIX}"
except OSError:
    pass  # there is none
"""
# After the bundle itself and before the libraries of the host: what is pinned counts.
LIBRARIES = "sys.path.insert(1, {!r})\n"
START = f"""from {PACKAGE.replace("/", ".")}_cli.main import main
sys.exit(main())
"""

# requests imports these two and our client uses neither: it has its own TLS context and does not detect encodings.
# Replacing them leaves only the host's certificates, and nothing has to be unpacked at start.
REPLACEMENTS = {
    "certifi.py": '"""Replaces certifi: the certificates of the host."""\n'
    "import ssl\n\n\n"
    "def where():\n"
    "    paths = ssl.get_default_verify_paths()\n"
    '    return paths.cafile or paths.openssl_cafile or ""\n',
    "charset_normalizer.py": 'raise ImportError("replaced by chardet")\n',
    "chardet.py": '"""Replaces the detection of encodings."""\n'
    '__version__ = "5.2.0"\n\n\n'
    "def detect(_content):\n"
    '    return {"encoding": "utf-8", "confidence": 0.0, "language": ""}\n',
}


def build(wheels: t.Mapping[str, bytes], interpreter: str, libraries: str = "") -> bytes:
    """Return the zip application. The same sources, wheels (by library name), interpreter and libraries give the same bytes.

    ``libraries`` is a directory on the host in which it finds further libraries, whether or not there is one; "" for none.
    """
    start = MAIN + (LIBRARIES.format(libraries) if libraries else "") + START
    files = {"__main__.py": start.encode(), **{name: text.encode() for name, text in REPLACEMENTS.items()}}
    sources = _sources()
    files.update(sources)
    for pinned in PINNED:
        files.update(_wheel_files(pinned, wheels[pinned.name]))
    for name in list(files):
        folders = name.split("/")[:-1]
        if name.endswith(".py"):
            for depth in range(1, len(folders) + 1):
                files.setdefault("/".join([*folders[:depth], "__init__.py"]), b"")
    files[MANIFEST] = (json.dumps(manifest(sources), indent=2, sort_keys=True) + "\n").encode()
    return f"#!{interpreter} -I\n".encode() + _zipped(files)


def manifest(sources: t.Mapping[str, bytes]) -> dict[str, t.Any]:
    """Return the manifest of a bundle with these sources (content by name)."""
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(f"{name}\0{hashlib.sha256(sources[name]).hexdigest()}\n".encode())
    return {
        "collection": COLLECTION,
        "version": VERSION,
        "python": ">=" + ".".join(map(str, OLDEST_PYTHON)),
        "sources": digest.hexdigest(),
        "libraries": {pin.name: {"version": pin.version, "sha256": pin.sha256} for pin in PINNED},
    }


def manifest_of(bundle: bytes) -> dict[str, t.Any] | None:
    """Return the manifest of a bundle, None if the bytes are not a bundle of this collection."""
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            result = json.loads(archive.read(MANIFEST))
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError):
        return None
    return result if isinstance(result, dict) and result.get("collection") == COLLECTION else None


def _sources() -> dict[str, bytes]:
    """Return the files of module_utils by their name in the bundle, without the one that imports Ansible."""
    sources = {}
    for path in MODULE_UTILS.rglob("*.py"):
        name = path.relative_to(MODULE_UTILS).as_posix()
        if name != "_ansible.py":
            sources[PACKAGE + name] = path.read_bytes()
    return sources


def _wheel_files(pinned: Pinned, wheel: bytes) -> dict[str, bytes]:
    """Return the files of a wheel that go into the bundle: its Python files, py.typed and licences."""
    files = {}
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for name in archive.namelist():
            folder, _slash, file = name.rpartition("/")
            if name.startswith(pinned.packages) and name.endswith((".py", "py.typed")):
                files[pinned.prefix + name] = archive.read(name)
            elif ".dist-info" in folder and file.startswith(("LICENSE", "COPYING", "NOTICE")):
                files[f"licenses/{pinned.name}/{file}"] = archive.read(name)
    return files


def _zipped(files: t.Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # Unix, whatever the controller is
            info.external_attr = 0o100644 << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()
