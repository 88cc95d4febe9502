# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests the Pythons of managed hosts: the modules on 3.9, the bundle on 3.9 and 3.13 without site-packages.

Ansible does not run on 3.9 as a controller, so the modules get ansible.module_utils alone, as on a managed host. Both
Pythons get the same bundle.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import ansible

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / ".cache" / "collections")]

from tests.lab.agents import AgentProcess, make_bundle, run_command  # noqa: E402
from tests.lab.alerting import wait_for_lease  # noqa: E402
from tests.lab.ansible import COLLECTIONS, run_module  # noqa: E402
from tests.lab.consul import Datacenter, Lab  # noqa: E402
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
    """Run everything and return 0 if all of it works."""
    try:
        oldest, new = (str(debian.python(wanted)) for wanted in (debian.OLDEST, debian.NEW))
    except debian.CannotFetch as error:
        print(f"{error}\n{debian.PYTHON_HELP}")
        return 1
    with tempfile.TemporaryDirectory() as scratch, Lab(Path(scratch) / "lab") as lab:
        datacenter = lab.datacenter(acl=True)
        fill(datacenter)
        try:
            _modules(oldest, datacenter, Path(scratch))
            bundle = make_bundle(Path(scratch))
            print(f"the bundle: {hashlib.sha256(bundle.read_bytes()).hexdigest()}")
            for python in (oldest, new):
                _bundle(python, bundle, lab, datacenter, Path(scratch) / Path(python).name)
        except AssertionError as error:
            print(f"failed: {error}")
            return 1
    return 0


def _modules(python: str, datacenter: Datacenter, scratch: Path) -> None:
    """Import every module and module_util, then save, compare and replicate."""
    _install_libraries()
    environment = {"PYTHONPATH": os.pathsep.join((str(SITE), str(COLLECTIONS), str(ROOT)))}
    names = _names()
    subprocess.run(
        [python, "-c", _IMPORT_ALL], input=" ".join(names), env={**os.environ, **environment}, text=True, check=True
    )
    print(f"{len(names)} modules import on {_version(python)}")
    options: dict[str, t.Any] = {"url": datacenter.url, "token": datacenter.token}
    settings: dict[str, t.Any]
    path = scratch / "one.snap"
    variants: dict[str, dict[str, str]] = {"C": {}, "pure Python": {"MSGPACK_PUREPYTHON": "1"}}
    for label, extra in variants.items():
        settings = {"python": python, "environment": {**environment, **extra}}
        saved = run_module("consul_snapshot", path=path, **options, **settings)["snapshot"]
        found = run_module("consul_snapshot_info", path=path, compare_live=True, **options, **settings)
        assert found["comparison"]["equal"] and found["snapshot"]["digest"] == saved["digest"], found
        print(f"saved, read and compared on {_version(python)} with msgpack in {label}")
    copy: dict[str, t.Any] = {
        "destination": {"url": datacenter.url},
        "prefixes": [{"source": "app/", "destination": "copy/"}],
    }
    settings = {"python": python, "environment": environment}
    created, again = (
        run_module("consul_kv_replicate", **options, **copy, **settings)["prefixes"][0] for _turn in range(2)
    )
    assert created["verified"] and created["created"] == again["unchanged"] > 0, created
    print(f"{created['created']} keys copied on {_version(python)}")


def _bundle(python: str, bundle: Path, lab: Lab, datacenter: Datacenter, scratch: Path) -> None:
    """Save, compare, check and record a drill with the command, and let an agent acquire a lease, with the bundle's libraries alone."""
    scratch.mkdir()
    bare = (python, "-S")
    environment = {"CONSUL_HTTP_ADDR": datacenter.url, "CONSUL_HTTP_TOKEN": datacenter.token or ""}
    path = scratch / "one.snap"
    for arguments, wanted in (
        (("version",), "(pure Python)"),
        (("snapshot", "save", path), "saved: "),
        (("snapshot", "diff", path, "--exit-code"), "equal: "),
        (("alert", "check"), "verdict: "),
        (
            ("drill", "run", "--confirm", datacenter.name, "--history", scratch / "history", "--duration", "1s"),
            "valid: ",
        ),
    ):
        done = run_command(bundle, *arguments, environment=environment, python=bare)
        assert done.returncode == 0 and wanted in done.stdout, done
    log = {"type": "file", "path": str(scratch / "alerts.log")}
    config = {
        "agent": "alerting",
        "connection": {"url": datacenter.url},
        "lease": {"lock_delay": "0s"},
        "options": {"receivers": {"log": log}, "route": {"receiver": "log"}},
    }
    agent = AgentProcess(bundle, scratch / "agent", lab.address(), config, datacenter.token, python=bare)
    try:
        wait_for_lease(agent)
    finally:
        seconds = agent.stop()
    assert agent.process.returncode == 0 and seconds < 2, agent.log()
    print(f"the bundle alone saves, compares, checks, records a drill and runs an agent on {_version(python)}")


def _install_libraries() -> None:
    """Install the pinned libraries for 3.9 and ansible.module_utils into a separate directory."""
    pins = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    wanted = [line for line in pins.splitlines() if re.split("[=;]", line)[0].lower() in LIBRARIES]
    fingerprint = SITE / "installed"
    if fingerprint.exists() and fingerprint.read_text(encoding="utf-8").split() == wanted:
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
    fingerprint.write_text("\n".join(wanted), encoding="utf-8")


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
