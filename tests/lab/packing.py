# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packs byte code beside the sources of modules and of the bundle: compiling is half of what each start of them costs.

The byte code is kept in ``.cache/byte-code``, for all processes of all runs.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import io
import py_compile
import tempfile
import types
import typing as t
import zipfile
from pathlib import Path

KEPT = Path(__file__).resolve().parents[2] / ".cache" / "byte-code"


def install() -> None:
    """Change how this process, and those forked from it, pack modules."""
    packing = importlib.import_module("ansible.executor.module_common")
    # For what Ansible packs alone: the collection makes archives of its own.
    vars(packing)["zipfile"] = types.SimpleNamespace(**{**vars(zipfile), "ZipFile": CompilingZipFile})


class CompilingZipFile(zipfile.ZipFile):
    """Writes the byte code of a Python file next to it. An interpreter of another version ignores it."""

    def writestr(self, zinfo_or_arcname: t.Any, data: t.Any, *more: t.Any, **options: t.Any) -> None:
        super().writestr(zinfo_or_arcname, data, *more, **options)
        name = getattr(zinfo_or_arcname, "filename", zinfo_or_arcname)
        if name.endswith(".py"):
            source = data if isinstance(data, bytes) else data.encode()
            super().writestr(f"{name}c", compiled(name, source), *more, **options)


def with_byte_code(bundle: bytes) -> bytes:
    """Return a zip application that also holds the byte code of its Python files. It behaves the same and starts sooner."""
    packed = io.BytesIO()
    packed.write(bundle[: bundle.index(b"\n") + 1])  # the line that names the interpreter
    with zipfile.ZipFile(io.BytesIO(bundle)) as source, CompilingZipFile(packed, "a") as target:
        for name in source.namelist():
            target.writestr(zipfile.ZipInfo(name), source.read(name))
    return packed.getvalue()


@functools.cache
def compiled(name: str, source: bytes, kept: Path = KEPT) -> bytes:
    """Return the byte code of a Python file, as it is in a .pyc file that is valid whatever the time of the source is.

    It is read from the directory ``kept``, or made and left there.
    """
    digest = hashlib.sha256(b"\0".join((importlib.util.MAGIC_NUMBER, name.encode(), source))).hexdigest()
    place = kept / f"{digest}.pyc"
    if place.exists():
        return place.read_bytes()
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=kept) as directory:
        path = Path(directory) / "source.py"
        path.write_bytes(source)
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        made = py_compile.compile(str(path), str(path.with_suffix(".pyc")), name, True, invalidation_mode=mode)
        assert made
        content = Path(made).read_bytes()
        Path(made).rename(place)  # whole or not at all: other processes read it
        return content
