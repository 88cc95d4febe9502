# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the asynchronous requests of an object store one after the other, so that another thread can end the one in flight."""

from __future__ import annotations

import asyncio
import threading
import typing as t

Answer = t.TypeVar("Answer")
Request = t.Callable[[], "t.Awaitable[Answer]"]

AT_ONCE = 16  # requests of one gather


class RequestCut(Exception):
    """The request was ended by ``cut``."""


class InFlight:
    """The request in flight. ``run`` and ``gather`` belong to one thread, ``cut`` may be called from any other."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._is_cut = False
        self._current: tuple[asyncio.AbstractEventLoop, asyncio.Task[t.Any]] | None = None

    @property
    def is_cut(self) -> bool:
        """Whether ``cut`` was called."""
        return self._is_cut

    def cut(self) -> None:
        """End the request in flight, and every later one at once."""
        with self._mutex:
            self._is_cut = True
            if self._current is not None:
                loop, task = self._current
                loop.call_soon_threadsafe(task.cancel)

    def run(self, request: Request[Answer]) -> Answer:
        """Send a request and return its answer. Raises RequestCut, and what the request raises."""

        async def send() -> Answer:
            return await request()

        loop = asyncio.new_event_loop()
        task = loop.create_task(send())
        try:
            with self._mutex:
                if self._is_cut:
                    task.cancel()
                self._current = (loop, task)
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise RequestCut from None
        finally:
            with self._mutex:
                self._current = None
            if not task.done():  # interrupted by a signal
                task.cancel()
                loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            loop.close()

    def gather(self, requests: t.Sequence[Request[Answer]]) -> list[Answer]:
        """Send many requests, some at once, and return their answers in order. Raises as ``run`` does; the first failure ends it."""

        async def send_all() -> list[Answer]:
            waiting = iter(enumerate(requests))
            answers: dict[int, Answer] = {}

            async def send_some() -> None:
                for number, request in waiting:
                    answers[number] = await request()

            senders = [asyncio.ensure_future(send_some()) for number in range(min(AT_ONCE, len(requests)))]
            try:
                await asyncio.gather(*senders)
            finally:
                for sender in senders:
                    sender.cancel()
                await asyncio.gather(*senders, return_exceptions=True)
            return [answers[number] for number in range(len(requests))]

        return self.run(send_all)
