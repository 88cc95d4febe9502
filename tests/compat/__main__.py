# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renews the file of what users rely on, and says what changed: ``make compat``."""

from __future__ import annotations

import sys

from .comparison import compare, message
from .interface import FILE, kept, read, write


def main() -> int:
    """Write the file; print the differences from the one before."""
    before, after = kept() if FILE.exists() else {}, read()
    print(message(compare(before, after)) or "Nothing changed.")
    write(after)
    print(f"{FILE.name} has {len(after)} entries.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
