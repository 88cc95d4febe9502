# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the strings of a protobuf message by field number: newer record types are protobuf inside msgpack.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


def strings_of(message: bytes) -> dict[int, bytes]:
    """Return the strings, bytes and inner messages of a message by field number; {} for what is not a message."""
    found: dict[int, bytes] = {}
    position = 0
    try:
        while position < len(message):
            tag, position = _varint(message, position)
            wire_type = tag & 7
            if wire_type == _VARINT:
                _value, position = _varint(message, position)
            elif wire_type == _BYTES:
                size, position = _varint(message, position)
                if position + size > len(message):
                    return {}
                found[tag >> 3] = message[position : position + size]
                position += size
            else:
                position += _FIXED_SIZES[wire_type]
    except (IndexError, KeyError):
        return {}
    return found


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return a number and the position after it. Raises IndexError at the end of the message, and for more than 64 bits."""
    value = shift = 0
    while shift < 64:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise IndexError
