# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads when the certificate of an HTTPS port expires, or expired, with a TLS handshake that accepts any certificate."""

from __future__ import annotations

import datetime
import socket
import ssl
from dataclasses import replace
from urllib.parse import urlsplit

from .._consul.endpoint import Endpoint
from .._consul.errors import InvalidResponse, Unreachable
from .._consul.session import tls_context

SEQUENCE, UTC_TIME, GENERALIZED_TIME, VERSION_TAG = 0x30, 0x17, 0x18, 0xA0


def expiry(endpoint: Endpoint) -> float:
    """Return the Unix seconds at which the certificate of an https endpoint expires. Raises Unreachable, InvalidResponse."""
    parts = urlsplit(endpoint.base_url)
    context = tls_context(replace(endpoint, validate_certs=False))
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), endpoint.timeout_s) as connection:
            name = endpoint.tls_server_name or parts.hostname
            with context.wrap_socket(connection, server_hostname=name) as tls_connection:
                certificate = tls_connection.getpeercert(binary_form=True)
    except (OSError, ssl.SSLError) as error:
        raise Unreachable(f"TLS handshake with {endpoint}: {getattr(error, 'strerror', None) or error}.") from None
    if certificate is None:
        raise InvalidResponse(f"TLS handshake with {endpoint}: the server sent no certificate.")
    return not_after(certificate)


def not_after(certificate: bytes) -> float:
    """Return when an X.509 certificate (DER) expires, in Unix seconds. Raises InvalidResponse.

    Python parses only certificates that it verifies, and an expired one does not verify. Source: RFC 5280, 4.1.
    """
    try:
        _tag, whole, _rest = _element(certificate)
        _tag, body, _rest = _element(whole)
        tag, _version, rest = _element(body)
        fields = body if tag != VERSION_TAG else rest
        for _skipped in ("serial number", "signature", "issuer"):
            _tag, _value, fields = _element(fields)
        tag, validity, _rest = _element(fields)
        if tag != SEQUENCE:
            raise ValueError
        _tag, _not_before, rest = _element(validity)
        tag, end, _rest = _element(rest)
        return _unix_time(tag, end.decode("ascii"))
    except (IndexError, ValueError):
        raise InvalidResponse("The server's certificate is not a valid X.509 certificate.") from None


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag and the contents of the first DER element, and what follows it."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError
    return tag, data[start : start + length], data[start + length :]


def _unix_time(tag: int, text: str) -> float:
    if tag not in (UTC_TIME, GENERALIZED_TIME):
        raise ValueError
    if tag == UTC_TIME:  # two digits of the year; RFC 5280, 4.1.2.5.1
        text = ("20" if int(text[:2]) < 50 else "19") + text
    end = datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ")
    return end.replace(tzinfo=datetime.timezone.utc).timestamp()
