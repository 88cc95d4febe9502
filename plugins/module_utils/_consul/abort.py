# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cuts the requests of a client from another thread: it knows the sockets, from before they are connected until they are closed.

Shutting a socket ends whatever waits for it at once: a connection, a TLS handshake, a response, a blocking query.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import typing as t
import weakref

from ._libraries import urllib3


class Aborter:
    """The sockets of one client. After ``abort`` every one of them is shut, and so is every later one.

    It holds duplicates: the TLS layer takes the original away, and the number of a closed socket may belong to another file.
    """

    def __init__(self) -> None:
        self.is_aborted = False
        self._sockets: set[socket.socket] = set()
        self._mutex = threading.Lock()

    def add(self, sock: socket.socket) -> socket.socket:
        """Note a socket, which may not be connected yet; return what ``discard`` takes."""
        duplicate = sock.dup()
        with self._mutex:
            self._sockets.add(duplicate)
            if self.is_aborted:
                _shut(duplicate)
        return duplicate

    def discard(self, duplicate: socket.socket) -> None:
        """Forget a socket that is closed."""
        with self._mutex:
            self._sockets.discard(duplicate)
            duplicate.close()

    def abort(self) -> None:
        """Shut every socket."""
        with self._mutex:
            self.is_aborted = True
            for duplicate in self._sockets:
                _shut(duplicate)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # not connected, or closed by the other side
        sock.shutdown(socket.SHUT_RDWR)


class AbortableConnection:
    """Mixed into a connection of urllib3: reports its socket to ``aborter``."""

    aborter: Aborter
    host: str
    port: int | None
    timeout: t.Any
    socket_options: t.Any
    _noted: socket.socket | None = None
    _is_handing_over = False

    def _new_conn(self) -> socket.socket:
        # As urllib3.util.connection.create_connection, which shows its socket only after it is connected.
        try:
            addresses = socket.getaddrinfo(getattr(self, "_dns_host", self.host), self.port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise self._failed(error) from error
        failure: OSError = OSError("no address was found")
        for family, kind, protocol, _name, address in addresses:
            try:
                return self._connected(socket.socket(family, kind, protocol), address)
            except OSError as error:
                failure = error
        if isinstance(failure, socket.timeout):
            raise urllib3.exceptions.ConnectTimeoutError(self, f"no connection within {self.timeout} s") from failure
        raise self._failed(failure) from failure

    def _connected(self, sock: socket.socket, address: t.Any) -> socket.socket:
        """Return the socket when it is connected. Raises OSError."""
        noted = self.aborter.add(sock)
        try:
            for option in self.socket_options or () if sock.family != socket.AF_UNIX else ():
                sock.setsockopt(*option)
            sock.settimeout(self.timeout if isinstance(self.timeout, (int, float)) else None)
            sock.connect(address)
            if self.aborter.is_aborted:
                raise ConnectionAbortedError("aborted")
        except OSError:
            sock.close()
            self.aborter.discard(noted)
            raise
        self._noted = noted
        return sock

    def _failed(self, error: Exception) -> Exception:
        return urllib3.exceptions.NewConnectionError(t.cast("t.Any", self), f"no connection: {error}")

    def getresponse(self) -> t.Any:
        """Read the headers of the response. Its body may be all that keeps the connection, which then still can be cut."""
        self._is_handing_over = True
        try:
            response = super().getresponse()  # type: ignore[misc]
        finally:
            self._is_handing_over = False
        if getattr(self, "sock", None) is None and self._noted is not None:
            noted, self._noted = self._noted, None
            weakref.finalize(response, self.aborter.discard, noted)
        return response

    def close(self) -> None:
        """Close the connection."""
        super().close()  # type: ignore[misc]
        if self._noted is not None and not self._is_handing_over:
            noted, self._noted = self._noted, None
            self.aborter.discard(noted)
