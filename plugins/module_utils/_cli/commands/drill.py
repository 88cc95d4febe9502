# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops drill``: what clients see of a datacenter while something fails. Each command is in a file of its own."""

from __future__ import annotations

from . import drill_check, drill_report, drill_run

COMMANDS = (*drill_run.COMMANDS, *drill_check.COMMANDS, *drill_report.COMMANDS)
