# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wheels pinned by hash, from a wheelhouse, a cache or pip, never from site-packages; and the pins of the bundle.

Each version in the bundle is the newest one that still runs on the oldest target, Python 3.9.
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
    """A wheel is not available; the sentence names it and says what to do."""


@dataclass(frozen=True)
class Pinned:
    """One wheel. ``packages`` are the files and folders that the bundle takes from it, below ``prefix``."""

    name: str
    version: str
    filename: str
    sha256: str
    packages: tuple[str, ...]
    prefix: str = ""


@dataclass(frozen=True)
class WheelSet:
    """Wheels that are collected together. ``target`` are pip's options for the platform whose wheels it selects, independent of the
    controller; ``module`` is the one whose documentation has the command that fills a wheelhouse.
    """

    pinned: tuple[Pinned, ...]
    target: tuple[str, ...]
    module: str


PINNED = (
    # What agents serve their endpoint with: framework, server, templates, metrics, and what those need.
    Pinned(
        "bottle",
        "0.13.4",
        "bottle-0.13.4-py2.py3-none-any.whl",
        "045684fbd2764eac9cdeb824861d1551d113e8b683d8d26e296898d3dd99a12e",
        ("bottle.py",),
    ),
    Pinned(
        "cheroot",
        "11.1.2",
        "cheroot-11.1.2-py3-none-any.whl",
        "0f6c0ba05c00fbc869fb46b1de4ec2384e1d85418ae963d3bc10ae83b688dbfa",
        ("cheroot/",),
    ),
    # What reads the words of cron in a schedule.
    Pinned(
        "cronsim",
        "2.6",
        "cronsim-2.6-py3-none-any.whl",
        "5e153ff8ed64da7ee8d5caac470dbeda8024ab052c3010b1be149772b4801835",
        ("cronsim/__init__.py", "cronsim/cronsim.py", "cronsim/py.typed"),
    ),
    Pinned(
        "idna",
        "3.10",
        "idna-3.10-py3-none-any.whl",
        "946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3",
        ("idna/",),
    ),
    Pinned(
        "jaraco.functools",
        "4.4.0",
        "jaraco_functools-4.4.0-py3-none-any.whl",
        "9eec1e36f45c818d9bf307c8948eb03b2b56cd44087b3cdc989abca1f20b9176",
        ("jaraco/",),
    ),
    Pinned(
        "Jinja2",
        "3.1.6",
        "jinja2-3.1.6-py3-none-any.whl",
        "85ece4451f492d0c13c5dd7c13a64681a86afae63a5f347908daf103ce6d2f67",
        ("jinja2/",),
    ),
    # A platform wheel, as for msgpack below. Without the compiled part its Python one is used.
    Pinned(
        "MarkupSafe",
        "3.0.4",
        "markupsafe-3.0.4-cp39-cp39-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
        "5e8b3d0b18fd623afa12ecb2ce8d8becef69f9b5440c6330c7972200e0bb84b0",
        ("markupsafe/",),
    ),
    Pinned(
        "more-itertools",
        "10.8.0",
        "more_itertools-10.8.0-py3-none-any.whl",
        "52d4362373dcf7c52546bc4af9a86ee7c4579df9a8dc268be0a2f949d376cc9b",
        ("more_itertools/",),
    ),
    # A platform wheel, because there is no other: the Python files are the same on all platforms, and the compiled part
    # is left out. Because of the prefix a C version of msgpack on the host takes precedence.
    Pinned(
        "msgpack",
        "1.1.2",
        "msgpack-1.1.2-cp39-cp39-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
        "94fd7dc7d8cb0a54432f296f2246bc39474e017204ca6f4ff345941d4ed285a7",
        ("msgpack/",),
        prefix="consulops_pure/",
    ),
    Pinned(
        "prometheus_client",
        "0.26.0",
        "prometheus_client-0.26.0-py3-none-any.whl",
        "fa93d06737aa02bacd05794768508bb97d2fbee28cb3bca04eaae92f0ca953d6",
        ("prometheus_client/",),
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

BUNDLED = WheelSet(
    PINNED,
    (
        *("--python-version", "3.9", "--implementation", "cp", "--abi", "cp39"),
        *("--platform", "manylinux2014_x86_64"),
    ),
    "consulops_bundle",
)
PIP_TIMEOUT_S = 300


def default_cache() -> Path:
    """Return the default cache on this controller: ``consulops/wheels`` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "consulops" / "wheels"


def requirements(pinned: t.Sequence[Pinned] = PINNED) -> str:
    """Return the pins as a requirements file of pip, with hashes."""
    return "".join(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n" for pin in pinned)


def collect(wheelhouse: Path | None, cache: Path, wanted: WheelSet = BUNDLED) -> dict[str, bytes]:
    """Return the bytes of every wanted wheel by library name; pip downloads only what is missing in the cache.

    With a wheelhouse neither the cache nor pip is used. Raises CannotCollect.
    """
    if wheelhouse is not None:
        wheels = {pin.name: _intact(wheelhouse / pin.filename, pin) for pin in wanted.pinned}
        missing = [pin for pin in wanted.pinned if wheels[pin.name] is None]
        if missing:
            raise CannotCollect(
                f"wheelhouse {wheelhouse} lacks {', '.join(pin.filename for pin in missing)} (or has another file with "
                f"that name). The documentation of {wanted.module} has the command to fill it."
            )
    else:
        missing = [pin for pin in wanted.pinned if _intact(cache / pin.filename, pin) is None]
        if missing:
            _download(missing, wanted, cache)
        wheels = {pin.name: _intact(cache / pin.filename, pin) for pin in wanted.pinned}
    return {name: content for name, content in wheels.items() if content is not None}


def _intact(path: Path, pinned: Pinned) -> bytes | None:
    """Return the content of a file if it has the pinned hash, else None."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == pinned.sha256 else None


def _download(missing: t.Sequence[Pinned], wanted: WheelSet, cache: Path) -> None:
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".") as scratch:
            _pip(missing, wanted, Path(scratch))
            for pin in missing:
                path = Path(scratch) / pin.filename
                if _intact(path, pin) is None:
                    raise CannotCollect(f"pip did not download {pin.filename}.")
                path.replace(cache / pin.filename)
    except OSError as error:
        raise CannotCollect(f"wheels cannot be stored in {cache}: {error.strerror or error}.") from None


def _pip(missing: t.Sequence[Pinned], wanted: WheelSet, scratch: Path) -> None:
    pins = scratch / "requirements.txt"
    pins.write_text(requirements(missing), encoding="ascii")
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-input"]
    command += ["--only-binary", ":all:", "--no-deps", *wanted.target]
    advice = (
        "If the controller has no pip or no package index, fill a directory on another machine with the command in the "
        f"documentation of {wanted.module}, and name it as wheelhouse."
    )
    try:
        done = subprocess.run(
            [*command, "--require-hashes", "-d", str(scratch), "-r", str(pins)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PIP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotCollect(f"pip did not finish within {PIP_TIMEOUT_S} s. {advice}") from None
    if done.returncode != 0:
        output = [line for line in done.stdout.splitlines() if line.startswith("ERROR")] or done.stdout.splitlines()
        raise CannotCollect(f"pip could not download {missing[0].name}: {' '.join(output[:2])[:400]}. {advice}")
