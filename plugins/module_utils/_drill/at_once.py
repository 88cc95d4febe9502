# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does the same with several hosts at once."""

from __future__ import annotations

import typing as t
from concurrent.futures import Future, ThreadPoolExecutor

Item = t.TypeVar("Item")
Made = t.TypeVar("Made")


def at_once(work: t.Callable[[Item], Made], items: t.Collection[Item]) -> list[Future[Made]]:
    """Do the work with each item in a thread of its own, and return what became of each when all have ended, failed or not."""
    with ThreadPoolExecutor(max(1, len(items)), thread_name_prefix="drill") as pool:
        return [pool.submit(work, item) for item in items]


def results(futures: t.Iterable[Future[Made]]) -> list[Made]:
    """Return what was made. Raises what the first that failed raised."""
    return [future.result() for future in futures]
