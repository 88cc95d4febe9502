# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the collection's tarball and runs Galaxy's own importer on it: what it refuses, Galaxy would refuse."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def main() -> int:
    """Build and import; return 0 if the importer reports neither an error nor a warning."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    with tempfile.TemporaryDirectory() as scratch:
        build = [str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", scratch]
        subprocess.run(build, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        tarball = next(Path(scratch).glob("*.tar.gz"))
        config = Path(scratch) / "galaxy-importer.cfg"
        config.write_text(
            "[galaxy-importer]\nCHECK_REQUIRED_TAGS = True\nCHECK_RUNTIME = True\nCHECK_CHANGELOG = True\n"
            "OFFLINE_ANSIBLE_LINT = True\nRUN_ANSIBLE_DOC = True\nRUN_ANSIBLE_LINT = True\n",
            encoding="utf-8",
        )
        done = subprocess.run(
            [sys.executable, "-m", "galaxy_importer.main", str(tarball)],
            cwd=scratch,
            env={**environment, "GALAXY_IMPORTER_CONFIG": str(config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        imported = (Path(scratch) / "importer_result.json").exists()
    problems = [line for line in done.stdout.splitlines() if line.startswith(("ERROR", "WARNING"))]
    print("\n".join(problems) or done.stdout.strip().splitlines()[-1])
    if done.returncode != 0 or not imported:
        print(done.stdout[-3000:])
    return 0 if done.returncode == 0 and imported and not problems else 1


if __name__ == "__main__":
    sys.exit(main())
