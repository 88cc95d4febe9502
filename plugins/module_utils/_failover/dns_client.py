# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks one DNS server: by UDP, and by TCP when the answer was cut."""

from __future__ import annotations

import secrets
import socket
import struct
import time
import typing as t

from .._consul import errors
from . import dns_message
from .dns_message import Answer

_LENGTH = struct.Struct(">H")


class DnsServer(t.NamedTuple):
    """A DNS server, usually that of a Consul agent. ``timeout_s`` is for one look-up, by UDP and by TCP."""

    host: str
    port: int
    timeout_s: float

    def __str__(self) -> str:
        return f"DNS at {self.host}:{self.port}"

    def look_up(self, name: str, record_type: int) -> Answer:
        """Return the answer for a name. Raises Unreachable, TimedOut and InvalidResponse; ValueError for what is no name."""
        identifier = secrets.randbelow(1 << 16)
        question = dns_message.question(identifier, name, record_type)
        deadline = time.monotonic() + self.timeout_s
        found: Answer | None = None
        try:
            for exchange in (self._by_udp, self._by_tcp):
                found = dns_message.answer(exchange(question, identifier, deadline), name, record_type)
                if not found.is_truncated:
                    return found
        except ValueError as error:
            raise errors.InvalidResponse(
                f"{self} gave no answer for {name} ({error}). Does something else listen there?"
            ) from None
        except OSError as error:
            if isinstance(error, (TimeoutError, socket.timeout)):  # two types until Python 3.10
                raise errors.TimedOut(f"{self} gave no answer for {name} within {self.timeout_s:g} s.") from None
            raise errors.Unreachable(f"{self} cannot be asked for {name} ({error.strerror or error}).") from None
        raise errors.InvalidResponse(f"{self} cut its answer for {name} by TCP too.")

    def _by_udp(self, question: bytes, identifier: int, deadline: float) -> bytes:
        family, kind, protocol, _canonical, address = self._address(socket.SOCK_DGRAM)
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(_left_s(deadline))
            connection.connect(address)  # then others cannot answer, and a closed port is an error
            connection.send(question)
            while True:
                connection.settimeout(_left_s(deadline))
                message = connection.recv(1 << 16)
                if dns_message.identifier_of(message) == identifier:  # else it is late, for an earlier question
                    return message

    def _by_tcp(self, question: bytes, identifier: int, deadline: float) -> bytes:
        family, kind, protocol, _canonical, address = self._address(socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(_left_s(deadline))
            connection.connect(address)
            connection.sendall(_LENGTH.pack(len(question)) + question)
            length = _LENGTH.unpack(_received(connection, _LENGTH.size, deadline))[0]
            message = _received(connection, length, deadline)
            if dns_message.identifier_of(message) != identifier:
                raise ValueError("an answer to another question")
            return message

    def _address(self, kind: socket.SocketKind) -> tuple[t.Any, ...]:
        return socket.getaddrinfo(self.host, self.port, type=kind)[0]


def _received(connection: socket.socket, count: int, deadline: float) -> bytes:
    found = b""
    while len(found) < count:
        connection.settimeout(_left_s(deadline))
        piece = connection.recv(count - len(found))
        if not piece:
            raise ValueError("the connection ended too early")
        found += piece
    return found


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
