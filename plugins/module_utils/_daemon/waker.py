# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wakes the main thread of a process, for a signal or for another thread, through a pair of sockets."""

from __future__ import annotations

import contextlib
import select
import signal
import socket


class Waker:
    """``wait`` returns early when a signal arrives or ``wake`` is called. It takes no locks, so signal handlers are safe."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        for end in (self._receiver, self._sender):
            end.setblocking(False)

    def listen_to(self, *signals: int) -> None:
        """Wake for each of these signals, which have no other effect afterwards."""
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda _number, _frame: None)

    def wake(self) -> None:
        """Wake the waiting thread; may be called from any thread."""
        with contextlib.suppress(BlockingIOError):
            self._sender.send(b"\0")

    def wait(self, within_s: float) -> set[int]:
        """Wait at most ``within_s`` seconds and return the signals that have arrived."""
        select.select([self._receiver], [], [], within_s)
        with contextlib.suppress(BlockingIOError):
            return set(self._receiver.recv(4096)) - {0}
        return set()
