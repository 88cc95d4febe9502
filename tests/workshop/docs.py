# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the HTML reference of the modules into docs/_build/html."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TARGET = ROOT / "docs" / "_build" / "html"


def main() -> int:
    """Build the reference; return 0 and say where it is."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch) / "site"
        site.mkdir(mode=0o755)
        init = [str(BIN / "antsibull-docs"), "sphinx-init", "--use-current", "--dest-dir", str(site)]
        for command in (
            [*init, "consulops.failover"],
            [
                str(BIN / "antsibull-docs"),
                "collection",
                "--use-current",
                "--dest-dir",
                str(site / "rst"),
                "consulops.failover",
            ],
            [str(BIN / "sphinx-build"), "-q", "-b", "html", "-c", str(site), str(site / "rst"), str(site / "built")],
        ):
            done = subprocess.run(
                command,
                cwd=site,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                print(done.stdout[-3000:])
                return 1
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["rm", "-rf", str(TARGET)], check=True)
        subprocess.run(["cp", "-a", str(site / "built"), str(TARGET)], check=True)
    print(f"the reference is in {(TARGET / 'index.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
