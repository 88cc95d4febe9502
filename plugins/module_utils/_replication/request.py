# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The request of one run: what is replicated, and how. No I/O."""

from __future__ import annotations

import re
import typing as t

from .._consul import txn
from .._consul.errors import InvalidOption
from .delete_guards import Limits
from .mapping import PrefixMapping
from .plan import Policy

MAX_CONCURRENCY = 16
LARGEST = 1e9

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ReplicationRequest(t.NamedTuple):
    """What the user requests. Field names that differ from the option's: ``verify`` is verify_digest, ``retry_s`` retry_timeout.

    ``name`` is that of the replication, "" for the name of the source's datacenter. ``accept`` may contain other_source
    and reversed. ``batch_ops`` is the number of operations of a transaction, None for auto. ``limit`` is how many changes
    the diff describes, with their values when ``show_values`` is on.
    """

    mappings: tuple[PrefixMapping, ...]
    policy: Policy = Policy()
    limits: Limits = Limits()
    name: str = ""
    accept: tuple[str, ...] = ()
    consistency: str = "default"
    max_stale_s: float = 2.0
    verify: bool = True
    batch_ops: int | None = None
    concurrency: int = 4
    lock_wait_s: float = 60.0
    retry_s: float = 15.0
    limit: int = 100
    show_values: bool = False

    def check(self) -> None:
        """Raise InvalidOption for numbers out of range and for a name that a key's path cannot hold."""
        if self.name and not NAME.fullmatch(self.name):
            raise InvalidOption(
                f"name {self.name!r} may contain letters, digits, dots, dashes and underscores only, at most 100."
            )
        for option, value, least in (
            ("max_deletes", self.limits.max_deletes, 0),
            ("max_delete_percent", self.limits.max_delete_percent, 0),
            ("concurrency", self.concurrency, 1),
            ("lock_wait", self.lock_wait_s, 0),
            ("retry_timeout", self.retry_s, 0),
            ("limit", self.limit, 0),
        ):
            if not least <= value < LARGEST:  # also false for nan
                raise InvalidOption(f"{option} is {value:g}: it must be at least {least} and less than {LARGEST:,.0f}.")
        if self.concurrency > MAX_CONCURRENCY:
            raise InvalidOption(f"concurrency is {self.concurrency}: the maximum is {MAX_CONCURRENCY}.")


def batch_size(text: str) -> int | None:
    """Return the number of operations of a transaction, None for auto. Raises InvalidOption."""
    if text == "auto":
        return None
    # One operation of each transaction checks the lock.
    if not (text.isascii() and text.isdigit()) or not 2 <= int(text) <= txn.TXN_OPS_NEW:
        raise InvalidOption(f"batch_ops {text!r} must be auto or a number from 2 to {txn.TXN_OPS_NEW}.")
    return int(text)
