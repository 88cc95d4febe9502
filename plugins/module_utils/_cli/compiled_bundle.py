# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes a copy of the bundle that has byte code too. The bundle uses the copy beside it, and starts in half the time.

``plugin_utils/_bundle.py`` has the start of the bundle, which decides whether the copy is that of this bundle and this Python.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import marshal
import os
import sys
import tempfile
import types
import zipfile

SUFFIX = ".compiled"
UNCHECKED_HASH = (1).to_bytes(
    4, "little"
)  # of a .pyc file that is valid whatever the time of its source is. Source: PEP 552


def mark_of(bundle: bytes) -> bytes:
    """Return how a compiled copy ends: the Python that it is for, and the digest of the bundle that it was made of."""
    return f"{sys.implementation.cache_tag} {hashlib.sha256(bundle).hexdigest()}".encode()


def compiled(bundle: bytes, path: str) -> bytes:
    """Return a copy of a bundle with the byte code of this Python beside each source; ``path`` is shown in tracebacks."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle)) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(zipfile.ZipInfo(name), content)
            if name.endswith(".py"):
                # Python compiles what cannot be compiled here when it is imported, and says what is wrong with it.
                with contextlib.suppress(SyntaxError, ValueError):
                    code = compile(content, f"{path}/{name}", "exec", dont_inherit=True)
                    target.writestr(zipfile.ZipInfo(f"{name}c"), _byte_code(code, content))
        target.comment = mark_of(bundle)
    return packed.getvalue()


def _byte_code(code: types.CodeType, source: bytes) -> bytes:
    return importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(source) + marshal.dumps(code)


def write(bundle_path: str, beside: str) -> str:
    """Write the compiled copy of a bundle beside the path that it has or will have, and return its path. Raises OSError."""
    with open(bundle_path, "rb") as stream:  # noqa: PTH123
        content = compiled(stream.read(), beside)
    path = beside + SUFFIX
    # In a directory of its own: it is replaced as a whole, and nothing is left of it if that fails.
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path), prefix=".consulops-") as scratch:  # noqa: PTH120
        made = os.path.join(scratch, "copy")  # noqa: PTH118
        with open(made, "wb") as stream:  # noqa: PTH123
            stream.write(content)
            os.fchmod(stream.fileno(), 0o644)
        os.replace(made, path)  # noqa: PTH105
    return path
