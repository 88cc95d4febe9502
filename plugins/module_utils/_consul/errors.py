# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Typed errors: what went wrong with an option, a library, a file or an exchange with Consul.

Each is one readable sentence (``str(error)``) that is printed unchanged. No error text ever contains a token,
a password or the value of a key.
"""

from __future__ import annotations


class Error(Exception):
    """An expected failure, explained in one sentence.

    ``details`` is plain data that a module returns beside the sentence.
    """

    details: dict[str, object] = {}


class InvalidOption(Error):
    """An option, or the environment variable that stands in for it, cannot be used."""


class MissingLibrary(Error):
    """A Python library is not installed where this runs; ``library`` is its name in the package index."""

    def __init__(self, library: str, import_error: str) -> None:
        super().__init__(
            f"The Python library {library} is needed where this task runs and cannot be imported. "
            f"Install it for the interpreter in use, for example: python3 -m pip install {library}"
        )
        self.library = library
        self.import_error = import_error


class UnsupportedLibrary(Error):
    """The installed client library would send requests through another connection than this collection's."""

    def __init__(self, installed: str) -> None:
        super().__init__(
            f"The installed Python library consul ({installed}) does not send its requests through this collection's "
            "connection, so it is not used: install python-consul2 in its place, for example: "
            "python3 -m pip uninstall --yes python-consul py-consul && python3 -m pip install python-consul2"
        )


class LocalFailure(Error):
    """A file or directory on the host where this runs could not be read or written."""


class GuardRefused(Error):
    """A guard refused the request or its consequences; nothing was changed."""


class GateClosed(Error):
    """A gate found a condition that it must not let pass, or could not read one."""


class NotConverged(Error):
    """Something was changed and the result is not the requested one; the sentence says how to continue."""


class ConsulError(Error):
    """An exchange with Consul failed.

    ``status`` is the HTTP status (None without a response), ``consul_message`` Consul's own words.
    """

    def __init__(self, message: str, status: int | None = None, consul_message: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.consul_message = consul_message


class Unreachable(ConsulError):
    """No response, or a broken one: refused, reset, cut short, name not found.

    ``was_sent`` is False when no connection came about, so that Consul cannot have the request; otherwise it may have.
    """

    was_sent = True


class TimedOut(Unreachable):
    """Nothing came within the timeout."""


class TLSFailed(Unreachable):
    """The TLS handshake failed: certificate, name, authority or protocol."""


class Aborted(ConsulError):
    """The request was cut from this side, because the work that it belongs to was stopped. What Consul did with it is unknown."""


class NoLeader(ConsulError):
    """The datacenter has no leader at the moment."""


class UnknownDatacenter(ConsulError):
    """The agent knows no path to the requested datacenter."""


class PermissionDenied(ConsulError):
    """The token may not do this (or Consul does not know the token).

    ``missing`` is the permission that the token lacks, "" where Consul does not say it; the sentence ends with it. The accessor ID
    of the token, where Consul says it, is in ``details`` only.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        consul_message: str = "",
        missing: str = "",
        accessor_id: str = "",
        is_anonymous: bool = False,
    ) -> None:
        who = "The anonymous token" if is_anonymous else "The token"
        super().__init__(f"{message} {who} lacks {missing}." if missing else message, status, consul_message)
        self._message = message
        self.details = {"token_accessor_id": accessor_id} if accessor_id else {}

    def with_advice(self, before: str = "", after: str = "") -> PermissionDenied:
        """Return the error between other words that say what the token needs; what Consul says is missing is left out."""
        error = type(self)(" ".join(filter(None, (before, self._message, after))), self.status, self.consul_message)
        error.details = self.details
        return error


class TokenUnavailable(ConsulError):
    """The file with the token cannot be read, or holds none: nothing was sent."""


class Filtered(PermissionDenied):
    """The answer leaves out what the token may not see, so what is not in it is unknown, not absent."""


class NotFound(ConsulError):
    """Consul has no such object."""


class Conflict(ConsulError):
    """A transaction or compare-and-set was not applied; nothing of it was written."""


class RequestTooLarge(ConsulError):
    """A value or transaction is over the server's limit."""


class TooManyRequests(ConsulError):
    """Consul's rate limit or connection limit refused the request."""


class Rejected(ConsulError):
    """Consul understood the request and refused it."""


class ServerFailed(ConsulError):
    """Consul answered with a 5xx that is none of the above."""


class InvalidResponse(ConsulError):
    """The response is not one of Consul's HTTP API."""


class ResponseTooLarge(InvalidResponse):
    """The response is longer than allowed."""
