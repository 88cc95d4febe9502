# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cuts connections from another thread: for a stop, and for an attempt that takes longer than it may."""

from __future__ import annotations

import contextlib
import socket
import threading
import typing as t


class OpenSockets:
    """The sockets that a receiver is using now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self.timed_out = False

    def add(self, sock: socket.socket) -> None:
        """Note a socket that is being used."""
        with self._lock:
            self._sockets.add(sock)

    def cut(self) -> None:
        """Shut all of them; whoever reads or writes one gets an error at once."""
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown, which forgets the TLS state that the reader uses.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    @contextlib.contextmanager
    def within(self, timeout_s: float) -> t.Iterator[None]:
        """Cut the sockets if the block takes longer than ``timeout_s``; ``timed_out`` then is true. They are forgotten at its end."""
        self.timed_out = False
        timer = threading.Timer(timeout_s, self._time_out)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                self._sockets.clear()

    def _time_out(self) -> None:
        self.timed_out = True
        self.cut()
