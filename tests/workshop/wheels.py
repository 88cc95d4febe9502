# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetches the wheels that hosts get, and compiles those of the bundle and ours, into the cache before stages that need them run side by
side.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / ".cache" / "collections")]

from ansible_collections.consulops.failover.plugins.plugin_utils import _compiled, _wheels  # noqa: E402

from tests.lab.agents import WHEELS, make_bundle  # noqa: E402
from tests.workshop import release  # noqa: E402


def main() -> int:
    """Fetch and compile what is missing; return 1 and print why if that fails."""
    try:
        found = release.collect(WHEELS)
        print(f"{len(found)} wheels are in {WHEELS.relative_to(ROOT)}")
    except (_wheels.CannotCollect, _compiled.CannotInstall) as error:
        print(error)
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        make_bundle(Path(scratch), byte_code=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
