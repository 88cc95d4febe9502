# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the file system that the test hosts boot from: Debian with systemd and sshd, without pip; once, into the cache.

``python tests/workshop/rootfs.py`` prints its path. On a CI machine the programs that it needs are installed first.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.workshop.debian import KEYRING, CannotFetch, archive  # noqa: E402

CACHE = ROOT / ".cache" / "rootfs"
RELEASE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "python3", "openssh-server", "iproute2", "procps", "nftables", "sudo"),
    *("ca-certificates",),
)
# What makes a boot slow or wakes up in the middle of a test.
MASKED = (
    *("getty.target", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "systemd-timesyncd.service", "systemd-networkd-wait-online.service"),
)
# program on PATH -> Debian package that has it
PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "bridge": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}


class CannotMake(Exception):
    """There is no root file system to be had; the sentence says why."""


def main() -> int:
    """Print the path of the root file system; say what is missing when there is none."""
    try:
        print(rootfs())
    except (CannotMake, CannotFetch) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def rootfs() -> Path:
    """Return the tree, made now if this machine does not have it yet. Raises CannotMake."""
    if os.geteuid() != 0:
        raise CannotMake("The test hosts need root: network namespaces, mounts and systemd-nspawn. Run this as root.")
    _check_programs()
    recipe = hashlib.sha256(repr((RELEASE, PACKAGES, MASKED)).encode()).hexdigest()[:12]
    home = CACHE / f"{RELEASE}-{recipe}"
    if not home.exists():
        scratch = CACHE / f".{home.name}.part"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        _debootstrap(scratch)
        for unit in MASKED:
            (scratch / "etc/systemd/system" / unit).symlink_to("/dev/null")
        for unwanted in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(scratch / unwanted, ignore_errors=True)
        for key in (scratch / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        scratch.rename(home)
    return home


def _check_programs() -> None:
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing and os.environ.get("CI") == "true":
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        for command in (["apt-get", "update", "-qq"], install):
            subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing:
        raise CannotMake(f"The test hosts need programs that are not here: apt-get install {' '.join(missing)}")


def _debootstrap(target: Path) -> None:
    print("-- making the file system of the test hosts (a minute and a half, once)", file=sys.stderr)
    log = CACHE / "debootstrap.log"
    keys = [f"--keyring={KEYRING}"] if Path(KEYRING).exists() else []
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", *keys, RELEASE]
    with log.open("wb") as output:
        done = subprocess.run(
            [*command, str(target), archive()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise CannotMake(f"debootstrap failed ({' '.join(last)}); see {log}")


if __name__ == "__main__":
    sys.exit(main())
