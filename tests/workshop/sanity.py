# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs every test of ``ansible-test sanity`` on a copy of the collection, and fails if one of them did not run.

ansible-test exits 0 having tested nothing in a tree that is a symlink or ignored by git, so what ran is compared with
what it lists. It bootstraps pip from a host that is not always reachable, so this interpreter's own pip is copied instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "ansible-test"
PIP_SHIM = """\
import pathlib, shutil, sysconfig
for path in pathlib.Path({source!r}).glob("pip*"):
    shutil.copytree(path, pathlib.Path(sysconfig.get_path("purelib"), path.name))
"""
PIP_NAMES = ("get_pip_24_2.py", "get_pip_25_2.py")  # ansible-core 2.18 and 2.19; 2.20 and 2.21


def main() -> int:
    """Run the tests and return 0 if each ran and passed."""
    pip_cache = CACHE / ".ansible" / "test" / "cache"
    pip_cache.mkdir(parents=True, exist_ok=True)
    for name in PIP_NAMES:
        (pip_cache / name).write_text(PIP_SHIM.format(source=sysconfig.get_path("purelib")), encoding="utf-8")
    # Compiling every package of ten virtual environments takes longer than compiling what is imported of them.
    pip_configuration = CACHE / ".config" / "pip" / "pip.conf"
    pip_configuration.parent.mkdir(parents=True, exist_ok=True)
    # "no" enables it. Source: pip's user guide, boolean options.
    pip_configuration.write_text("[install]\nno-compile = no\n", encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="sanity-") as scratch:
        tree = Path(scratch) / "ansible_collections" / "consulops" / "failover"
        copy_collection(tree)
        if list(tree.glob("tests/sanity/ignore*")):
            print("There are sanity ignore files, and none is allowed.")
            return 1
        listed = {
            line.strip() for line in _run(tree, "--list-tests").splitlines() if re.fullmatch(r"[\w-]+", line.strip())
        }
        output, status = _stream(tree)
    ran = set(re.findall(r'Running sanity test "([\w-]+)"', output))
    never = sorted(listed - ran)
    print(f"{len(ran)} of {len(listed)} sanity tests ran")
    if never or not listed:
        print(f"these did not: {', '.join(never) or 'all'}")
        return 1
    return status


def copy_collection(target: Path) -> None:
    """Copy every file that git tracks or does not ignore."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def _command(*options: str) -> list[str]:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [
        str(Path(sys.executable).with_name("ansible-test")),
        "sanity",
        "--color",
        "no",
        *options,
        "--python",
        version,
    ]


def _environment() -> dict[str, str]:
    """Return an environment with HOME in the cache and without pyenv's shims, which ansible-test cannot use."""
    shims = os.sep + "shims"
    path = [part for part in os.environ["PATH"].split(os.pathsep) if not part.rstrip("/").endswith(shims)]
    real = [str(Path(sys.executable).parent), str(Path(sys.base_prefix) / "bin")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {**kept, "PATH": os.pathsep.join(real + path), "HOME": str(CACHE)}


def _run(tree: Path, *options: str) -> str:
    done = subprocess.run(
        _command(*options),
        cwd=tree,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def _stream(tree: Path) -> tuple[str, int]:
    """Run all tests, printing their output as it comes; return it with the exit status."""
    lines = []
    with subprocess.Popen(
        _command("--venv"), cwd=tree, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if not line.startswith(("Collecting", "  Downloading", "Installing", "Successfully", "Requirement")):
                print(line, end="", flush=True)
    return "".join(lines), process.returncode


if __name__ == "__main__":
    sys.exit(main())
