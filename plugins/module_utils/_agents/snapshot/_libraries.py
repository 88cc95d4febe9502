# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guarded import of cronsim, which reads cron's words."""

from __future__ import annotations

import traceback
import typing as t

from ..._consul.errors import MissingLibrary

if t.TYPE_CHECKING:
    from cronsim import CronSim, CronSimError

    CRONSIM_IMPORT_ERROR: str | None
else:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        CronSim = None
        CronSimError = ValueError
        CRONSIM_IMPORT_ERROR = traceback.format_exc()
    else:
        CRONSIM_IMPORT_ERROR = None


def require_cronsim() -> None:
    """Raise MissingLibrary if cronsim cannot be imported."""
    if CRONSIM_IMPORT_ERROR:
        raise MissingLibrary("cronsim", CRONSIM_IMPORT_ERROR)


__all__ = ["CronSim", "CronSimError", "require_cronsim"]
