# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The libraries with compiled parts, which the bundle cannot hold: their pins by machine, and the archive that a host unpacks."""

from __future__ import annotations

import io
import json
import typing as t
import zipfile
from dataclasses import dataclass

from ._wheels import Pinned, WheelSet

MODULE = "consulops_libraries"
STAMP = "installed.json"  # in the directory of libraries: the SHA-256 of the wheel of each


class CannotInstall(Exception):
    """There is no wheel of a library for the host; the sentence says what to do."""


@dataclass(frozen=True)
class Compiled:
    """A library. ``python`` is the oldest that its wheels run on; ``wheels`` are by machine; ``requires`` run everywhere."""

    name: str
    python: tuple[int, int]
    wheels: t.Mapping[str, Pinned]
    requires: tuple[Pinned, ...] = ()


def _wheel(name: str, version: str, filename: str, sha256: str) -> Pinned:
    return Pinned(name, version, filename, sha256, ())


# What pip selects wheels by. Those of the stable interface (abi3) run on every later Python too.
_TARGETS = {
    "x86_64": ("manylinux2014_x86_64",),
    "aarch64": ("manylinux2014_aarch64", "manylinux_2_24_aarch64"),
}

COMPILED = (
    Compiled(
        "obstore",
        (3, 11),
        {
            "x86_64": _wheel(
                "obstore",
                "0.12.1",
                "obstore-0.12.1-cp311-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                "d31b255aec88d37636d374a651f5efc684c89716ab64dea6ac89d75801933af2",
            ),
            "aarch64": _wheel(
                "obstore",
                "0.12.1",
                "obstore-0.12.1-cp311-abi3-manylinux_2_24_aarch64.whl",
                "d7ee9cde74dbe11a4630c90d7245543993f3cebc38a70aceaedcd3b3d6192807",
            ),
        },
        (
            _wheel(
                "typing_extensions",
                "4.16.0",
                "typing_extensions-4.16.0-py3-none-any.whl",
                "481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8",
            ),
        ),
    ),
    Compiled(
        "pyrage",
        (3, 10),
        {
            "x86_64": _wheel(
                "pyrage",
                "1.4.0",
                "pyrage-1.4.0-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                "7f4eb0cbc2b4aee5deac9862c47b3895866df5554153951af822e9c581e68558",
            ),
            "aarch64": _wheel(
                "pyrage",
                "1.4.0",
                "pyrage-1.4.0-cp310-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64.whl",
                "f868b360ccd3f836326d42b532fae3e8eb8340a88cca0a39c0ae10fce68f6cc5",
            ),
        },
    ),
)
NAMES = tuple(one.name for one in COMPILED)


@dataclass(frozen=True)
class HostPython:
    """The interpreter of a host: its path and version, and the machine that it runs on as uname(1) says it."""

    interpreter: str
    version: tuple[int, int]
    machine: str


def wheels_for(names: t.Collection[str], host: HostPython) -> WheelSet:
    """Return the wheels of libraries, and of what they need, for a host. Raises CannotInstall."""
    pinned: list[Pinned] = []
    for one in COMPILED:
        if one.name in names:
            if host.version < one.python:
                raise CannotInstall(
                    f"{one.name} needs Python {_dotted(one.python)} or newer on the host, and {host.interpreter} is "
                    f"{_dotted(host.version)}: install a newer one there, and name it as interpreter. Nothing was changed."
                )
            if host.machine not in one.wheels:
                raise CannotInstall(
                    f"there is no pinned wheel of {one.name} for the machine {host.machine} of the host, only for "
                    f"{' and '.join(one.wheels)}. Nothing was changed."
                )
            pinned += [one.wheels[host.machine], *one.requires]
    platforms = [option for name in _TARGETS.get(host.machine, ()) for option in ("--platform", name)]
    target = ("--python-version", "3.11", "--implementation", "cp", "--abi", "abi3", "--abi", "none", *platforms)
    return WheelSet(tuple(pinned), target, MODULE)


def stamp_of(wanted: WheelSet) -> dict[str, str]:
    """Return what the stamp of a directory with these libraries says."""
    return {pin.name: pin.sha256 for pin in wanted.pinned}


def archive(wanted: WheelSet, wheels: t.Mapping[str, bytes]) -> bytes:
    """Return a zip file with the content of all wheels (their bytes by name) and the stamp."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for pin in wanted.pinned:
            with zipfile.ZipFile(io.BytesIO(wheels[pin.name])) as wheel:
                for name in wheel.namelist():
                    if not name.endswith("/"):
                        target.writestr(name, wheel.read(name))
        target.writestr(STAMP, json.dumps(stamp_of(wanted), sort_keys=True))
    return buffer.getvalue()


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
