# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that a drill runs on hosts: this package's own modules in an archive, and the words that start it.

Nothing is written on the host: Python there reads the archive from its standard input into memory.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import zipfile

from . import drill_host

PACKAGE = __name__.rpartition("._tasks")[0]  # module_utils, however it is called here
ROOT = "consulops_drill"  # the package's name on the host
# Reads the archive, whose size is the first line, and starts to serve. ``memfd_create`` needs Linux, as every fault does.
START = (
    "import os, sys\n"
    "size = int(sys.stdin.buffer.raw.read(12))\n"
    "file = os.memfd_create('consulops-drill')\n"
    "while size: size -= os.write(file, sys.stdin.buffer.raw.read(min(size, 65536)) or sys.exit('cut off'))\n"
    "sys.path.insert(0, '/proc/self/fd/%d' % file)\n"
    f"from {ROOT}._tasks.drill_host import serve\n"
    "serve()\n"
)


def archive() -> bytes:
    """Return the archive with its size before it, as ``START`` reads it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(_needed()):
            spec = importlib.util.find_spec(name)
            is_package = spec is not None and spec.submodule_search_locations is not None
            path = name[len(PACKAGE) + 1 :].replace(".", "/")
            whole = f"{ROOT}/{path}/__init__.py" if is_package else f"{ROOT}/{path}.py"
            file.writestr(whole.replace("//", "/"), _source(name))
    found = content.getvalue()
    return f"{len(found):<12d}".encode() + found


def _needed() -> set[str]:
    """Return the names of the modules that the program imports from this package, and of the packages around them."""
    waiting, found = [drill_host.__name__], {PACKAGE}
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        module = sys.modules[name]
        inner = {value.__name__ for value in vars(module).values() if isinstance(value, type(sys))}
        inner |= {getattr(value, "__module__", None) or "" for value in vars(module).values()}
        inner.add(name.rpartition(".")[0])
        waiting += [one for one in inner if one.startswith(f"{PACKAGE}.") and one in sys.modules]
    return found


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    loader = None if spec is None else spec.loader
    get_source = getattr(loader, "get_source", None)
    return (get_source(name) if get_source else None) or ""
