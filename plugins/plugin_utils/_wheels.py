# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The libraries that go into the bundle: pinned by hash, from a wheelhouse, a cache or pip, never from site-packages.

Each is the newest that still runs on the oldest target, Python 3.9.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path


class CannotCollect(Exception):
    """A library is not to be had; the sentence says which, and what to do."""


@dataclass(frozen=True)
class Pinned:
    """One wheel. ``packages`` are the files and folders taken from it, to be found under ``inside`` in the bundle."""

    name: str
    version: str
    filename: str
    sha256: str
    packages: tuple[str, ...]
    inside: str = ""


PINNED = (
    Pinned(
        "idna",
        "3.10",
        "idna-3.10-py3-none-any.whl",
        "946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3",
        ("idna/",),
    ),
    # The wheel for one platform, because only such wheels exist: its Python files are the same in all of them, and its
    # compiled part is left out. The place keeps it behind a msgpack in C that the host may have.
    Pinned(
        "msgpack",
        "1.1.2",
        "msgpack-1.1.2-cp39-cp39-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
        "94fd7dc7d8cb0a54432f296f2246bc39474e017204ca6f4ff345941d4ed285a7",
        ("msgpack/",),
        inside="consulops_pure/",
    ),
    Pinned(
        "python-consul2",
        "0.1.5",
        "python_consul2-0.1.5-py2.py3-none-any.whl",
        "ff8c6642c5a8d5f13a072e90adbad44cde824fc46fb2ab76b40dd1c77d6c0c41",
        ("consul/__init__.py", "consul/base.py", "consul/std.py"),
    ),
    Pinned(
        "requests",
        "2.32.5",
        "requests-2.32.5-py3-none-any.whl",
        "2462f94637a34fd532264295e186976db0f5d453d1cdd31473c85a6a161affb6",
        ("requests/",),
    ),
    Pinned(
        "six",
        "1.17.0",
        "six-1.17.0-py2.py3-none-any.whl",
        "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",
        ("six.py",),
    ),
    Pinned(
        "urllib3",
        "2.6.3",
        "urllib3-2.6.3-py3-none-any.whl",
        "bf272323e553dfb2e87d9bfd225ca7b0f467b919d7bbd355436d3fd37cb0acd4",
        ("urllib3/",),
    ),
)

# Which wheel pip is to choose, whatever it runs on.
TARGET = (
    *("--only-binary", ":all:", "--no-deps", "--python-version", "3.9", "--implementation", "cp", "--abi", "cp39"),
    *("--platform", "manylinux2014_x86_64"),
)
PIP_TIMEOUT_S = 300


def default_cache() -> Path:
    """Return where wheels are kept on this controller: ``consulops/wheels`` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "consulops" / "wheels"


def requirements(pinned: t.Sequence[Pinned] = PINNED) -> str:
    """Return the pins in pip's own form, hashes included."""
    return "".join(f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in pinned)


def collect(wheelhouse: Path | None, cache: Path) -> dict[str, bytes]:
    """Return the bytes of every pinned wheel by library name; pip is asked only for what is not there yet.

    With a wheelhouse nothing else is looked at. Raises CannotCollect.
    """
    if wheelhouse is not None:
        found = {one.name: _intact(wheelhouse / one.filename, one) for one in PINNED}
        missing = [one for one in PINNED if found[one.name] is None]
        if missing:
            raise CannotCollect(
                f"wheelhouse {wheelhouse} lacks {', '.join(one.filename for one in missing)} (or holds another file of "
                "that name). The documentation of consulops_bundle has the command that fills it."
            )
    else:
        missing = [one for one in PINNED if _intact(cache / one.filename, one) is None]
        if missing:
            _download(missing, cache)
        found = {one.name: _intact(cache / one.filename, one) for one in PINNED}
    return {name: content for name, content in found.items() if content is not None}


def _intact(path: Path, pinned: Pinned) -> bytes | None:
    """Return a file's bytes when they are the pinned ones."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == pinned.sha256 else None


def _download(wanted: t.Sequence[Pinned], cache: Path) -> None:
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".") as scratch:
            _pip(wanted, Path(scratch))
            for one in wanted:
                path = Path(scratch) / one.filename
                if _intact(path, one) is None:
                    raise CannotCollect(f"pip did not bring {one.filename}.")
                path.replace(cache / one.filename)
    except OSError as error:
        raise CannotCollect(f"wheels cannot be kept in {cache}: {error.strerror or error}.") from None


def _pip(wanted: t.Sequence[Pinned], scratch: Path) -> None:
    pins = scratch / "requirements.txt"
    pins.write_text(requirements(wanted), encoding="ascii")
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-input"]
    try:
        done = subprocess.run(
            [*command, *TARGET, "--require-hashes", "-d", str(scratch), "-r", str(pins)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PIP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotCollect(f"pip brought nothing within {PIP_TIMEOUT_S} s. {_ADVICE}") from None
    if done.returncode != 0:
        said = [line for line in done.stdout.splitlines() if line.startswith("ERROR")] or done.stdout.splitlines()
        raise CannotCollect(f"pip could not fetch {wanted[0].name}: {' '.join(said[:2])[:400]}. {_ADVICE}")


_ADVICE = (
    "Where the controller has no pip or no package index, fill a directory elsewhere with the command in the "
    "documentation of consulops_bundle and name it as wheelhouse."
)
