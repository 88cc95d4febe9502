# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides what is known of an operation that failed: in the words of Jepsen, ``fail`` or ``info``. Pure.

A history that calls a write failed, although it may still happen, accuses Consul of what it did not do: a write that the client
gave up took effect up to 9 seconds later (measured on 1.8.7).
"""

from __future__ import annotations

from .._consul import errors
from .history import FAIL, INFO

# Consul or this side refused the request before anything was written.
_REFUSED = (
    errors.PermissionDenied,
    errors.TokenUnavailable,
    errors.NotFound,
    errors.Conflict,
    errors.RequestTooLarge,
    errors.TooManyRequests,
    errors.Rejected,
    errors.UnknownDatacenter,
    errors.InvalidOption,
)


class NotAttempted(errors.ConsulError):
    """What an operation needs first could not be had, so the operation itself was not sent."""


def outcome_of(error: errors.Error, *, is_read: bool) -> str:
    """Return ``fail`` for what certainly did not happen, and ``info`` for what may have happened or may still happen.

    A read has no effect, so one without an answer is ``fail``.
    """
    if is_read or isinstance(error, (NotAttempted, *_REFUSED)):
        return FAIL
    if isinstance(error, errors.Unreachable) and not error.was_sent:
        return FAIL
    return INFO
