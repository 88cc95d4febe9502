# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpacks programs from other releases of Debian into the cache, without changing the packages of the machine.

Run by make: ``python3 tests/workshop/debian.py consul|alertmanager|prometheus|age|python3.9|python3.13`` prints the path of a
program that runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

CONSUL_HELP = (
    "The tests need a Consul binary, and this machine's Debian archive has none. Install Consul 1.8 or later "
    "(https://developer.hashicorp.com/consul/install), put it on PATH or name it: CONSUL_BIN=/path/to/consul make test"
)
ALERTMANAGER_HELP = (
    "The tests of the receiver alertmanager need an Alertmanager, and this machine's Debian archive has none. Install it "
    "(https://prometheus.io/download/), put it on PATH or name it: ALERTMANAGER_BIN=/path/to/alertmanager make test"
)
PROMETHEUS_HELP = (
    "The tests of the rules and the dashboard need Prometheus and promtool, and this machine's Debian archive has none. Install "
    "them (https://prometheus.io/download/), put both on PATH or name the first: PROMETHEUS_BIN=/path/to/prometheus make test"
)
AGE_HELP = (
    "The tests of encrypted snapshots need age, and this machine's Debian archive has none. Install it, put age and "
    "age-keygen on PATH, or name the first: AGE_BIN=/path/to/age make test"
)
PYTHON_HELP = (
    "The tests need Python 3.9 and 3.13, the oldest and a new one of managed hosts. Put python3.9 and "
    "python3.13 on PATH or name them: PYTHON39=/path/to/python3.9 PYTHON313=/path/to/python3.13 make test"
)


@dataclass(frozen=True)
class Python:
    """A version of Python, the Debian release that has it, and the packages of ``libraries`` that it needs."""

    version: str
    release: str
    libraries: tuple[str, ...]
    own_libc: bool = False

    @property
    def packages(self) -> tuple[str, ...]:
        """The names of the packages to unpack."""
        name = f"python{self.version}"
        return (f"{name}-minimal", f"lib{name}-minimal", f"lib{name}-stdlib", *self.libraries)


OLDEST = Python("3.9", "bullseye", ("libssl1.1", "libffi7", "libmpdec3"))
# It may need a newer C library than this machine has, so it gets one.
NEW = Python("3.13", "trixie", ("libssl3t64", "libffi8", "libexpat1", "zlib1g", "libzstd1", "libc6"), own_libc=True)


class CannotFetch(Exception):
    """The package cannot be had from this machine's archive; the message says why."""


def main() -> int:
    """Print the path of the program named on the command line, or what to install."""
    wanted = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        if wanted == "consul":
            print(consul())
        elif wanted == "alertmanager":
            print(alertmanager())
        elif wanted == "prometheus":
            print(prometheus())
        elif wanted == "age":
            print(age())
        elif wanted in (f"python{OLDEST.version}", f"python{NEW.version}"):
            print(python(OLDEST if wanted.endswith(OLDEST.version) else NEW))
        else:
            print("usage: debian.py consul|alertmanager|prometheus|age|python3.9|python3.13", file=sys.stderr)
            return 2
    except CannotFetch as error:
        helps = {
            "consul": CONSUL_HELP,
            "alertmanager": ALERTMANAGER_HELP,
            "prometheus": PROMETHEUS_HELP,
            "age": AGE_HELP,
        }
        advice = helps.get(wanted, PYTHON_HELP)
        print(f"{error}\n{advice}", file=sys.stderr)
        return 1
    return 0


def consul() -> Path:
    """Return CONSUL_BIN, the consul on PATH, or Debian 11's. Raises CannotFetch."""
    for candidate in (os.environ.get("CONSUL_BIN"), shutil.which("consul")):
        if candidate and _runs([candidate, "version"]):
            return Path(candidate)
    return _unpacked("consul", ("consul",), "usr/bin/consul", ["version"])


def alertmanager() -> Path:
    """Return ALERTMANAGER_BIN, the Alertmanager on PATH, or Debian 11's. Raises CannotFetch."""
    names = ("alertmanager", "prometheus-alertmanager")
    for candidate in (os.environ.get("ALERTMANAGER_BIN"), *(shutil.which(name) for name in names)):
        if candidate and _runs([candidate, "--version"]):
            return Path(candidate)
    return _unpacked(names[1], (names[1],), f"usr/bin/{names[1]}", ["--version"])


def prometheus() -> Path:
    """Return PROMETHEUS_BIN, the Prometheus on PATH, or Debian 12's; promtool is beside it. Raises CannotFetch."""
    for candidate in (os.environ.get("PROMETHEUS_BIN"), shutil.which("prometheus")):
        if candidate and _runs([candidate, "--version"]):
            return Path(candidate)
    return _unpacked("prometheus", ("prometheus",), "usr/bin/prometheus", ["--version"], "bookworm")


def age() -> Path:
    """Return AGE_BIN, the age on PATH, or Debian 12's; age-keygen is beside it. Raises CannotFetch."""
    for candidate in (os.environ.get("AGE_BIN"), shutil.which("age")):
        if candidate and _runs([candidate, "--version"]):
            return Path(candidate)
    return _unpacked("age", ("age",), "usr/bin/age", ["--version"], "bookworm")


def python(wanted: Python) -> Path:
    """Return the Python that PYTHON39 or PYTHON313 names, one on PATH or of pyenv, or Debian's. Raises CannotFetch."""
    name = f"python{wanted.version}"
    candidates = [os.environ.get(name.upper().replace(".", "")), shutil.which(name)]
    candidates += [str(path) for path in sorted(Path.home().glob(f".pyenv/versions/{wanted.version}*/bin/{name}"))]
    numbers = ", ".join(wanted.version.split("."))
    for candidate in candidates:
        if candidate and _runs(
            [candidate, "-c", f"import ssl, ctypes, sys; assert sys.version_info[:2] == ({numbers})"]
        ):
            return Path(candidate)
    program = _unpacked(name, wanted.packages, f"usr/bin/{name}", None, wanted.release)
    return _python_wrapper(program, own_libc=wanted.own_libc)


def _runs(command: list[str]) -> bool:
    try:
        return (
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
        )
    except OSError:
        return False


def _unpacked(
    name: str, packages: tuple[str, ...], program: str, check: list[str] | None, release: str = OLDEST.release
) -> Path:
    home = CACHE / "debian" / name
    path = home / program
    if not path.exists():
        scratch = CACHE / "debian" / f".{name}.part"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for package in _download(packages, release):
            _run(["dpkg", "-x", str(package), str(scratch)])
        if not (scratch / program).exists():
            raise CannotFetch(f"Debian's {name} package holds no {program}.")
        shutil.rmtree(home, ignore_errors=True)
        scratch.rename(home)
    if check is not None and not _runs([str(path), *check]):
        raise CannotFetch(f"{path} does not run on this machine.")
    return path


def _python_wrapper(program: Path, *, own_libc: bool) -> Path:
    """Write a script that runs an unpacked Python with its own libraries and home, and return its path."""
    home = program.parents[2]
    wrapper = home / program.name
    libraries = ":".join(str(path) for path in sorted(home.glob("usr/lib/*-linux-gnu*")))
    start = f'LD_LIBRARY_PATH="{libraries}" PYTHONHOME="{home}/usr" exec "{program}" "$@"'
    if own_libc:
        # By its loader and not by the variable, which programs of this machine that it starts would inherit.
        loader = next(iter(sorted(home.glob("usr/lib/*-linux-gnu*/ld-linux*.so*"))), None)
        start = f'PYTHONHOME="{home}/usr" exec "{loader}" --library-path "{libraries}" "{program}" "$@"'
    wrapper.write_text(f"#!/bin/sh\n{start}\n", encoding="utf-8")
    wrapper.chmod(0o755)
    if not _runs([str(wrapper), "-c", "import ssl, ctypes"]):
        raise CannotFetch(f"{program} does not run on this machine.")
    return wrapper


def _download(packages: tuple[str, ...], release: str) -> list[Path]:
    """Fetch packages with apt under a separate configuration and return the .deb files. Raises CannotFetch."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise CannotFetch("This machine has no apt-get.")
    home = CACHE / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "debs"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "state/status").touch()
    keys = f"[signed-by={KEYRING}] " if Path(KEYRING).exists() else ""
    (home / "etc/sources.list").write_text(f"deb {keys}{archive()} {release} main\n", encoding="utf-8")
    options = [
        f"Dir::State={home}/state",
        f"Dir::State::status={home}/state/status",
        f"Dir::Cache={home}/cache",
        f"Dir::Etc::sourcelist={home}/etc/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
        "APT::Sandbox::User=root",
        "Acquire::Languages=none",
    ]
    apt = ["apt-get", "-qq"] + [word for option in options for word in ("-o", option)]
    _run([*apt, "update"])
    for old in (home / "debs").glob("*.deb"):
        old.unlink()
    _run([*apt, "download", *packages], folder=home / "debs")
    return sorted((home / "debs").glob("*.deb"))


def archive() -> str:
    """Return the address of the Debian archive that this machine is configured with. Raises CannotFetch."""
    text = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
    addresses = [line.strip() for line in text.splitlines() if line.strip() and "security" not in line]
    if not addresses:
        raise CannotFetch("apt on this machine names no package archive.")
    return addresses[0]


def _run(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise CannotFetch(f"{command[0]} failed: {reason[0]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
