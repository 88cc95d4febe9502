# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests of an object store that another thread can end."""

from __future__ import annotations

import asyncio
import threading
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.in_flight import (
    AT_ONCE,
    InFlight,
    RequestCut,
)


async def forever(begun: threading.Event | None = None) -> t.NoReturn:
    if begun is not None:
        begun.set()
    await asyncio.Event().wait()
    raise AssertionError


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


def cut_later(requests: InFlight, begun: threading.Event) -> threading.Thread:
    """Cut from another thread, once a request has begun."""

    def cut() -> None:
        begun.wait(10)
        requests.cut()

    thread = threading.Thread(target=cut)
    thread.start()
    return thread


def test_a_request_that_hangs_is_ended_by_another_thread_and_later_ones_at_once() -> None:
    requests, begun = InFlight(), threading.Event()
    thread = cut_later(requests, begun)
    with pytest.raises(RequestCut):
        requests.run(lambda: forever(begun))
    thread.join()
    with pytest.raises(RequestCut):
        requests.run(lambda: answer(1))
    assert requests.is_cut


def test_answers_of_many_requests_are_in_order() -> None:
    assert InFlight().gather([lambda value=number: answer(value) for number in range(3 * AT_ONCE)]) == list(
        range(3 * AT_ONCE)
    )
    assert InFlight().gather([]) == []


def test_the_first_failure_ends_all_requests() -> None:
    async def fail() -> int:
        raise OSError("refused")

    ended = []

    async def hang() -> int:
        try:
            await forever()
        finally:
            ended.append(True)

    with pytest.raises(OSError, match="refused"):
        InFlight().gather([hang, fail])
    assert ended == [True]


def test_many_requests_are_ended_together() -> None:
    requests, begun = InFlight(), threading.Event()
    thread = cut_later(requests, begun)
    with pytest.raises(RequestCut):
        requests.gather([lambda: forever(begun)] * 3)
    thread.join()
