# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exit codes of the command. ``main`` says in its help what they mean."""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2
REFUSED = 3
NOT_CONVERGED = 4
DIFFERENT = 5
INTERRUPTED = 130  # as of a process that SIGINT ended
