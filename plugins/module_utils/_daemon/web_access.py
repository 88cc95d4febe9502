# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what at the endpoint: a decision about one request, from its headers alone.

A web page that a browser on this host shows can send requests to loopback. It is refused by the names in Host and Origin, and
everything that changes something needs the token, in a header that such a page cannot set.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import typing as t
from dataclasses import dataclass

from .listen_config import AccessConfig

READS = ("GET", "HEAD")
MAX_TOKEN_CHARACTERS = 1024


@dataclass(frozen=True)
class Asked:
    """What the decision needs of a request; an absent header is None."""

    method: str
    host: str | None
    origin: str | None = None
    authorization: str | None = None
    content_type: str | None = None
    has_body: bool = False


class Refusal(t.NamedTuple):
    """Why a request is refused."""

    status: int
    sentence: str


def refusal(asked: Asked, access: AccessConfig, own_names: t.Collection[str]) -> Refusal | None:
    """Return why a request is refused, None if it is let in. ``own_names`` are the names of this host."""
    if asked.host is not None and not _is_ours(asked.host, {*own_names, *access.host_names}):
        return Refusal(421, "This host has another name: add it to endpoint.host_names, or use the address.")
    if asked.origin is not None and not _is_same_origin(asked.origin, asked.host):
        return Refusal(403, "Requests of pages from elsewhere are refused.")
    is_read = asked.method in READS
    if not is_read and not access.token:
        return Refusal(403, "Nothing can be changed here, because endpoint.token_file is not set.")
    if not is_read and not _has_token(asked.authorization, access.token):
        return Refusal(401, "The token of endpoint.token_file is needed, as Authorization: Bearer TOKEN.")
    if access.reads_need_token and not _may_read(asked.authorization, access):
        return Refusal(
            401, "The token of endpoint.token_file or read_token_file is needed, as Authorization: Bearer TOKEN."
        )
    if asked.has_body and (asked.content_type or "").partition(";")[0].strip().lower() != "application/json":
        return Refusal(415, "The body must be application/json.")
    return None


def _is_ours(host: str, names: t.Collection[str]) -> bool:
    """Return whether a Host header is an address, or a name of this host. An address cannot be pointed elsewhere, as a name can."""
    name = _without_port(host).lower().rstrip(".")
    if name == "localhost" or name in {one.lower() for one in names}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_same_origin(origin: str, host: str | None) -> bool:
    scheme, separator, rest = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and host is not None and rest.lower() == host.lower()


def _may_read(authorization: str | None, access: AccessConfig) -> bool:
    # Both are compared, whichever it is.
    found = [_has_token(authorization, token) for token in (access.token, access.read_token)]
    return any(found)


def _has_token(authorization: str | None, token: str) -> bool:
    """Return whether the header has the token; the time that it takes says nothing about the token, nor about its length."""
    scheme, _space, given = (authorization or "").partition(" ")
    is_bearer = scheme.lower() == "bearer" and len(given) <= MAX_TOKEN_CHARACTERS and bool(token)
    digests = [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given.strip(), token)]
    return hmac.compare_digest(*digests) and is_bearer
