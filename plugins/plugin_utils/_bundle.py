# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the zip application that our hosts run: this collection's core and its libraries, the same bytes everywhere.

Nothing in it is compressed: compressors differ between controllers, and Python starts a little sooner without.
"""

from __future__ import annotations

import hashlib
import io
import json
import typing as t
import zipfile
from pathlib import Path

from ansible_collections.consulops.failover.plugins.module_utils._consul.version import COLLECTION, VERSION

from ._wheels import PINNED, Pinned

MODULE_UTILS = Path(__file__).resolve().parents[1] / "module_utils"
PACKAGE = "ansible_collections/consulops/failover/plugins/module_utils/"
MANIFEST = "manifest.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can name
OLDEST_PYTHON = (3, 9)

MAIN = f"""import sys
if sys.version_info < {OLDEST_PYTHON}:
    sys.exit("consulops needs Python {".".join(map(str, OLDEST_PYTHON))} or newer; this is %d.%d" % sys.version_info[:2])
from {PACKAGE.replace("/", ".")}_cli.main import main
sys.exit(main())
"""

# requests insists on both and our client uses neither: it brings its own TLS context and never guesses an encoding.
# Without them the host's own certificates are the only ones there are, and nothing is unpacked at every start.
STAND_INS = {
    "certifi.py": '"""The host\'s own certificates stand in for certifi\'s."""\n'
    "import ssl\n\n\n"
    "def where():\n"
    "    paths = ssl.get_default_verify_paths()\n"
    '    return paths.cafile or paths.openssl_cafile or ""\n',
    "charset_normalizer.py": 'raise ImportError("chardet stands in")\n',
    "chardet.py": '"""Stands in for a guesser of encodings."""\n'
    '__version__ = "5.2.0"\n\n\n'
    "def detect(_content):\n"
    '    return {"encoding": "utf-8", "confidence": 0.0, "language": ""}\n',
}


def build(wheels: t.Mapping[str, bytes], interpreter: str) -> bytes:
    """Return the zip application: the same bytes for the same sources, wheels (by library name) and interpreter."""
    files = {"__main__.py": MAIN.encode(), **{name: text.encode() for name, text in STAND_INS.items()}}
    sources = _sources()
    files.update(sources)
    for pinned in PINNED:
        files.update(_taken(pinned, wheels[pinned.name]))
    for name in list(files):
        folders = name.split("/")[:-1]
        if name.endswith(".py"):
            for depth in range(1, len(folders) + 1):
                files.setdefault("/".join([*folders[:depth], "__init__.py"]), b"")
    files[MANIFEST] = (json.dumps(manifest(sources), indent=2, sort_keys=True) + "\n").encode()
    return f"#!{interpreter} -I\n".encode() + _zipped(files)


def manifest(sources: t.Mapping[str, bytes]) -> dict[str, t.Any]:
    """Return what stands in the bundle about itself."""
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(f"{name}\0{hashlib.sha256(sources[name]).hexdigest()}\n".encode())
    return {
        "collection": COLLECTION,
        "version": VERSION,
        "python": ">=" + ".".join(map(str, OLDEST_PYTHON)),
        "sources": digest.hexdigest(),
        "libraries": {one.name: {"version": one.version, "sha256": one.sha256} for one in PINNED},
    }


def manifest_of(bundle: bytes) -> dict[str, t.Any] | None:
    """Return the manifest of a bundle, None when the bytes are not one of ours."""
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            found = json.loads(archive.read(MANIFEST))
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError):
        return None
    return found if isinstance(found, dict) and found.get("collection") == COLLECTION else None


def _sources() -> dict[str, bytes]:
    """Return our own files by their name in the bundle; what knows Ansible stays behind."""
    found = {}
    for path in MODULE_UTILS.rglob("*.py"):
        name = path.relative_to(MODULE_UTILS).as_posix()
        if name != "_ansible.py":
            found[PACKAGE + name] = path.read_bytes()
    return found


def _taken(pinned: Pinned, wheel: bytes) -> dict[str, bytes]:
    """Return what the bundle takes from a wheel: Python files, data of packages, and its licence."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for name in archive.namelist():
            folder, _slash, file = name.rpartition("/")
            if name.startswith(pinned.packages) and name.endswith((".py", "py.typed")):
                found[pinned.inside + name] = archive.read(name)
            elif ".dist-info" in folder and file.startswith(("LICENSE", "COPYING", "NOTICE")):
                found[f"licenses/{pinned.name}/{file}"] = archive.read(name)
    return found


def _zipped(files: t.Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # Unix, whatever the controller is
            info.external_attr = 0o100644 << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()
