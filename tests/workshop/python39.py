# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Proves that modules and module_utils run on Python 3.9, the oldest target: compiled, imported, and really used.

There is no Ansible for controllers on 3.9, so the modules get ansible.module_utils alone, as on a target host.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.lab.ansible import COLLECTIONS, run_module  # noqa: E402
from tests.lab.consul import Lab  # noqa: E402
from tests.lab.fill import fill  # noqa: E402
from tests.workshop import debian  # noqa: E402

SITE = ROOT / ".cache" / "python39"
LIBRARIES = ("requests", "urllib3", "idna", "certifi", "charset-normalizer", "msgpack", "python-consul2", "six")
_IMPORT_ALL = """
import importlib, sys
for name in sys.stdin.read().split():
    importlib.import_module(name)
print(len(sys.modules))
"""


def main() -> int:
    """Compile, import and use everything with Python 3.9; return 0 when all of it works."""
    try:
        python = str(debian.python39())
    except debian.CannotFetch as error:
        print(f"{error}\n{debian.PYTHON_HELP}")
        return 1
    _install_libraries()
    environment = {"PYTHONPATH": os.pathsep.join((str(SITE), str(COLLECTIONS), str(ROOT)))}
    names = _names()
    subprocess.run(
        [python, "-c", _IMPORT_ALL], input=" ".join(names), env={**os.environ, **environment}, text=True, check=True
    )
    print(f"{len(names)} modules import on {_version(python)}")
    with tempfile.TemporaryDirectory() as scratch, Lab(Path(scratch) / "lab") as lab:
        datacenter = lab.datacenter(acl=True)
        fill(datacenter)
        options = {"url": datacenter.url, "token": datacenter.token}
        path = Path(scratch) / "one.snap"
        for label, extra in (("C", {}), ("pure Python", {"MSGPACK_PUREPYTHON": "1"})):
            settings = {"python": python, "environment": {**environment, **extra}}
            saved = run_module("consul_snapshot", path=path, **options, **settings)["snapshot"]
            found = run_module("consul_snapshot_info", path=path, compare_live=True, **options, **settings)
            if not (found["comparison"]["equal"] and found["snapshot"]["digest"] == saved["digest"]):
                print("a snapshot saved and read on Python 3.9 is not the live state")
                return 1
            print(f"saved, read and compared on {_version(python)} with msgpack in {label}")
        copy = {"destination": {"url": datacenter.url}, "prefixes": [{"source": "app/", "destination": "copy/"}]}
        settings = {"python": python, "environment": environment}
        created, again = (
            run_module("consul_kv_replicate", **options, **copy, **settings)["prefixes"][0] for _turn in range(2)
        )
        if not (created["verified"] and created["created"] == again["unchanged"] > 0):
            print("keys copied on Python 3.9 are not what they should be")
            return 1
        print(f"{created['created']} keys copied on {_version(python)}")
    return 0


def _install_libraries() -> None:
    """Put the pinned libraries for 3.9 and ansible.module_utils into a directory of their own."""
    pins = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    wanted = [line for line in pins.splitlines() if re.split("[=;]", line)[0].lower() in LIBRARIES]
    stamp = SITE / "installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8").split() == wanted:
        return
    shutil.rmtree(SITE, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    target = ["--target", str(SITE), "--python-version", "3.9", "--only-binary=:all:"]
    subprocess.run([*pip, *target, *wanted], stderr=subprocess.DEVNULL, check=True)
    package = SITE / "ansible"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("module_utils", "release.py"):
        (package / name).symlink_to(Path(ansible.__file__).parent / name)
    stamp.write_text("\n".join(wanted), encoding="utf-8")


def _names() -> list[str]:
    """Return the import names of every module and module_util."""
    found = []
    for folder in ("module_utils", "modules"):
        for path in sorted((ROOT / "plugins" / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if path.name != "__init__.py":
                found.append(".".join(("ansible_collections", "consulops", "failover", *parts)))
    return found


def _version(python: str) -> str:
    return subprocess.run([python, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
