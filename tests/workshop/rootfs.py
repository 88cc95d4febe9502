# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the file system that the test hosts boot from: Debian with systemd and sshd, without pip; once, into the cache.

``python tests/workshop/rootfs.py`` prints its path. ``machine.py`` has installed the programs that it needs.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.workshop.debian import KEYRING, CannotFetch, archive  # noqa: E402
from tests.workshop.machine import hosts_problem  # noqa: E402

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


class CannotMake(Exception):
    """The root file system cannot be made; the message says why."""


def main() -> int:
    """Print the path of the root file system, or why there is none."""
    try:
        print(rootfs())
    except (CannotMake, CannotFetch) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def rootfs() -> Path:
    """Return the tree, made now if this machine does not have it yet. Raises CannotMake."""
    problem = hosts_problem()
    if problem:
        raise CannotMake(problem)
    recipe = hashlib.sha256(repr((RELEASE, PACKAGES, MASKED)).encode()).hexdigest()[:12]
    home = CACHE / f"{RELEASE}-{recipe}"
    if not home.exists():
        scratch = CACHE / f".{home.name}.part"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        _unpack_debian(scratch)
        for unit in MASKED:
            (scratch / "etc/systemd/system" / unit).symlink_to("/dev/null")
        for unwanted in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(scratch / unwanted, ignore_errors=True)
        for key in (scratch / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        scratch.rename(home)
    return home


def _unpack_debian(target: Path) -> None:
    print("-- making the file system of the test hosts (a minute, once)", file=sys.stderr)
    log = CACHE / "mmdebstrap.log"
    keys = [f"--keyring={KEYRING}"] if Path(KEYRING).exists() else []
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}", *keys]
    # A half-made tree is thrown away, so nothing needs to reach the disk at once.
    command += ["--dpkgopt=force-unsafe-io", RELEASE, str(target), archive()]
    with log.open("wb") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise CannotMake(f"mmdebstrap failed ({' '.join(last)}); see {log}")


if __name__ == "__main__":
    sys.exit(main())
