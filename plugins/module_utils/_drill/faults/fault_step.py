# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One step of a fault, and the directory of everything that a drill keeps on a host."""

from __future__ import annotations

from dataclasses import dataclass

DIRECTORY = "/run/consulops-drill"  # gone after a reboot, as everything that a fault consists of


@dataclass(frozen=True)
class Step:
    """One command; ``stdin`` is what it reads."""

    command: tuple[str, ...]
    stdin: str = ""

    def __str__(self) -> str:
        return " ".join(self.command)
