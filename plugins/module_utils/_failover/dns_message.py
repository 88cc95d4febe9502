# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The little of DNS that a look-up of a service needs: questions for A and SRV records, and their answers. Pure.

An answer may hold anything: every length and every pointer is checked, and what does not fit is a ValueError.
Sources: RFC 1035 (messages, section 4), RFC 2782 (SRV), RFC 6891 (the size of an answer).
"""

from __future__ import annotations

import ipaddress
import struct
import typing as t
from dataclasses import dataclass

TYPE_A, TYPE_SRV = 1, 33
NO_ERROR, SERVER_FAILURE, NAME_ERROR = 0, 2, 3
UDP_BYTES = 1232  # fits into one packet on every path; a longer answer is asked for again by TCP
MAX_NAME_BYTES, MAX_LABEL_BYTES = 255, 63
MAX_RECORDS = 4096
_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")  # type, class, TTL, length
_IS_RESPONSE, _IS_TRUNCATED, _RECURSION_DESIRED = 0x8000, 0x0200, 0x0100
_TYPE_OPT, _CLASS_IN = 41, 1


class Target(t.NamedTuple):
    """One instance of an answer: an address for A, a host name and a port for SRV."""

    name: str
    port: int


@dataclass(frozen=True)
class Answer:
    """An answer: its code (0: none went wrong), whether it was cut, and the targets."""

    code: int
    is_truncated: bool
    targets: tuple[Target, ...]


def question(identifier: int, name: str, record_type: int) -> bytes:
    """Return the message that asks for the records of a name. Raises ValueError for what is not a name."""
    asked = _encoded(name) + struct.pack(">HH", record_type, _CLASS_IN)
    size = b"\0" + _RECORD.pack(_TYPE_OPT, UDP_BYTES, 0, 0)
    return _HEADER.pack(identifier, _RECURSION_DESIRED, 1, 0, 0, 1) + asked + size


def identifier_of(message: bytes) -> int | None:
    """Return the number by which an answer belongs to a question, None when it is no answer."""
    if len(message) < _HEADER.size:
        return None
    identifier, flags = struct.unpack_from(">HH", message)
    return identifier if flags & _IS_RESPONSE else None


def answer(message: bytes, name: str, record_type: int) -> Answer:
    """Return what a message answers to a question. Raises ValueError when it is not an answer to that question."""
    if identifier_of(message) is None:
        raise ValueError("no answer of DNS")
    _identifier, flags, questions, answers, _authorities, _more = _HEADER.unpack_from(message)
    if questions != 1 or answers > MAX_RECORDS:
        raise ValueError("not one question, or too many records")
    asked, position = _name(message, _HEADER.size)
    if asked.lower() != name.rstrip(".").lower() or _at(message, position, 4) != struct.pack(
        ">HH", record_type, _CLASS_IN
    ):
        raise ValueError("an answer to another question")
    position += 4
    targets: list[Target] = []
    is_truncated = bool(flags & _IS_TRUNCATED)
    for _number in range(0 if is_truncated else answers):  # one that was cut may end anywhere
        kind, start, position = _record(message, position)
        if kind == record_type:
            targets.append(_target(message, kind, start, position))
    return Answer(flags & 0xF, is_truncated, tuple(targets))


def datacenter_of(host: str, domain: str) -> str | None:
    """Return the datacenter in a host name as Consul gives it: ``NODE.node.DC.consul`` or ``7f000001.addr.DC.consul``."""
    suffix = "." + domain.strip(".").lower()
    if not host.lower().endswith(suffix):
        return None
    labels = host[: -len(suffix)].split(".")
    return labels[-1] if len(labels) >= 3 and labels[-2].lower() in ("node", "addr") else None


def _encoded(name: str) -> bytes:
    labels = name.rstrip(".").split(".")
    encoded = b""
    for label in labels:
        text = label.encode("ascii", "strict") if label.isascii() else b""
        if not 0 < len(text) <= MAX_LABEL_BYTES:
            raise ValueError(f"{name!r} is not a name of DNS")
        encoded += bytes([len(text)]) + text
    if len(encoded) >= MAX_NAME_BYTES:
        raise ValueError(f"{name!r} is too long for a name of DNS")
    return encoded + b"\0"


def _name(message: bytes, position: int) -> tuple[str, int]:
    """Return a name and the position after it. A pointer must lead back, so that there is no loop."""
    labels: list[bytes] = []
    end: int | None = None
    earliest = position
    while True:
        length = _at(message, position, 1)[0]
        if length >= 0xC0:
            target = struct.unpack(">H", _at(message, position, 2))[0] & 0x3FFF
            end = position + 2 if end is None else end
            if target >= earliest:
                raise ValueError("a pointer that does not lead back")
            position = earliest = target
        elif length > MAX_LABEL_BYTES:
            raise ValueError("a label of an unknown kind")
        elif length == 0:
            text = b".".join(labels).decode("ascii", "backslashreplace")
            return text, position + 1 if end is None else end
        else:
            labels.append(_at(message, position + 1, length))
            if sum(map(len, labels)) + len(labels) >= MAX_NAME_BYTES:
                raise ValueError("a name that is too long")
            position += 1 + length


def _record(message: bytes, position: int) -> tuple[int, int, int]:
    """Return the type of a record, and where its data begins and ends."""
    _owner, position = _name(message, position)
    kind, _class, _ttl, length = _RECORD.unpack(_at(message, position, _RECORD.size))
    start = position + _RECORD.size
    _at(message, start, length)
    return kind, start, start + length


def _target(message: bytes, kind: int, start: int, end: int) -> Target:
    if kind == TYPE_A:
        return Target(_address(message, start, end), 0)
    _priority, _weight, port = struct.unpack(">HHH", _at(message, start, 6))
    host, after = _name(message, start + 6)
    if after != end:
        raise ValueError("an SRV record of another length")
    return Target(host, port)


def _address(message: bytes, start: int, end: int) -> str:
    if end - start != 4:
        raise ValueError("an A record of another length")
    return str(ipaddress.IPv4Address(message[start:end]))


def _at(message: bytes, position: int, count: int) -> bytes:
    if position + count > len(message):
        raise ValueError("a message that ends too early")
    return message[position : position + count]
