# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logging to standard error in the form that journald understands.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd-daemon.html
"""

from __future__ import annotations

import logging
import os
import sys


def log_to_journal(level: str) -> None:
    """Log to standard error from this level on; the priority in front of each line is for journald."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JournalFormatter())
    logger = logging.getLogger("consulops")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())


class _JournalFormatter(logging.Formatter):
    """``<4>a warning`` where journald reads standard error, ``WARNING a warning`` elsewhere."""

    PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}

    def format(self, record: logging.LogRecord) -> str:
        text = " ".join(super().format(record).split())
        if "JOURNAL_STREAM" in os.environ:
            return f"<{self.PRIORITIES.get(record.levelno, 5)}>{text}"
        return f"{record.levelname} {text}"
