# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Responses of Consul's HTTP API: read whole and checked for their shape (Response), or piece by piece (Stream)."""

from __future__ import annotations

import json
import re
import time
import typing as t
from dataclasses import dataclass

from . import acl_filter, errors
from ._libraries import requests, urllib3
from .endpoint import Endpoint
from .failures import excerpt, root_reason
from .units import human_bytes

Parsed = t.TypeVar("Parsed")

MAX_BODY = 1 << 30  # bytes; no response that is read whole comes near it, snapshots are streamed
MAX_ERROR_BODY = 1 << 16  # bytes that are read of an error's text
MAX_READ_TIMEOUTS = 10  # a response that is read whole may take this many times its read timeout


@dataclass(frozen=True)
class Response:
    """One response that was read whole: HTTP status, headers and body (bytes)."""

    status: int
    headers: t.Mapping[str, str]
    body: bytes
    request_line: str
    endpoint: Endpoint
    path: str = ""

    @property
    def index(self) -> int:
        """X-Consul-Index, 0 when the endpoint has none."""
        return _number(self.headers.get("X-Consul-Index"))

    @property
    def last_contact_ms(self) -> int:
        """Milliseconds since the responding server last heard from the leader."""
        return _number(self.headers.get("X-Consul-LastContact"))

    @property
    def known_leader(self) -> bool:
        """Whether the responding server knew a leader."""
        return self.headers.get("X-Consul-KnownLeader") == "true"

    @property
    def is_filtered(self) -> bool:
        """Whether Consul says that it left out what the token may not see."""
        return acl_filter.is_filtered(self.path, self.headers, self.body)

    def json(self) -> t.Any:
        """Return the decoded body. Raises InvalidResponse when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise self.invalid() from None

    def parse(self, convert: t.Callable[[t.Any], Parsed]) -> Parsed:
        """Return what ``convert`` makes of the decoded body.

        Raises InvalidResponse when the body has another shape than ``convert`` expects, which it may show by any of
        KeyError, IndexError, TypeError, ValueError, OverflowError and AttributeError.
        """
        decoded = self.json()
        try:
            return convert(decoded)
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError, RecursionError):
            raise self.invalid() from None

    def objects(self) -> list[dict[str, t.Any]]:
        """Return a body that is a list of objects; ``null`` is an empty list. Raises InvalidResponse."""
        rows = self.json()
        if rows is None:
            return []
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.invalid()
        return rows

    def object(self) -> dict[str, t.Any]:
        """Return a body that is one object. Raises InvalidResponse."""
        found = self.json()
        if not isinstance(found, dict):
            raise self.invalid()
        return found

    def strings(self) -> list[str]:
        """Return a body that is a list of strings; ``null`` is an empty list. Raises InvalidResponse."""
        names = self.json()
        if names is None:
            return []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self.invalid()
        return names

    def boolean(self) -> bool:
        """Return a body that is ``true`` or ``false``, as writes of keys give it. Raises InvalidResponse."""
        found = self.json()
        if not isinstance(found, bool):
            raise self.invalid()
        return found

    def invalid(self) -> errors.InvalidResponse:
        """Return the error of a body that Consul's API does not give here."""
        return errors.InvalidResponse(
            f"{self.request_line}: the answer is not Consul's ({excerpt(self.body, self.endpoint)!r}). "
            "Does something else listen there?",
            self.status,
        )


class Stream:
    """A long response that is read piece by piece; close it, or use it in a ``with`` block."""

    def __init__(self, response: requests.Response, request_line: str, timeout_s: float) -> None:
        self._response = response
        self._request_line = request_line
        self._timeout_s = timeout_s
        self.headers: t.Mapping[str, str] = response.headers
        # read1 gives what has arrived; read would wait until the whole size has.
        self._read: t.Callable[[int], bytes] = getattr(response.raw, "read1", response.raw.read)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, b"" at the end. Raises Unreachable or TimedOut when the body breaks off."""
        try:
            return self._read(size)
        except urllib3.exceptions.ReadTimeoutError:
            raise errors.TimedOut(f"{self._request_line}: nothing more came for {self._timeout_s:g} s.") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise errors.Unreachable(
                f"{self._request_line}: the connection broke off before the end ({root_reason(error)})."
            ) from None

    def close(self) -> None:
        """Drop the connection; what was not read is lost."""
        self._response.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()


def read_body(response: requests.Response, request_line: str, read_timeout_s: float, limit: int) -> bytes:
    """Read a response whole and return its body; with the limit of an error's text, the text is cut there.

    Raises TimedOut for a body that is not complete after ten read timeouts, ResponseTooLarge for more than ``limit`` bytes.
    """
    deadline = time.monotonic() + read_timeout_s * MAX_READ_TIMEOUTS
    pieces: list[bytes] = []
    size = 0
    with Stream(response, request_line, read_timeout_s) as stream:
        while True:
            piece = stream.read(1 << 18)
            pieces.append(piece)
            size += len(piece)
            if not piece or (size > limit and limit == MAX_ERROR_BODY):
                return b"".join(pieces)
            if size > limit:
                raise errors.ResponseTooLarge(f"{request_line}: the answer is longer than {human_bytes(limit)}.")
            if time.monotonic() > deadline:
                raise errors.TimedOut(
                    f"{request_line}: the answer is still not complete after {read_timeout_s * MAX_READ_TIMEOUTS:g} s."
                )


def _number(text: str | None) -> int:
    return int(text) if text and re.fullmatch("[0-9]{1,19}", text) else 0
