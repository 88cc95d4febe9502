# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client library (python-consul2, py-consul or python-consul) over the transport of client.py, with our typed errors.

Used by client.py only.
"""

from __future__ import annotations

import functools
import re
import types
import typing as t

from . import errors, failures
from ._libraries import (
    LibraryBase,
    LibraryConsul,
    LibraryError,
    LibraryHTTPClient,
    LibraryNotFound,
    LibraryResponse,
    installed_library,
)
from .response import Response

if t.TYPE_CHECKING:
    from .client import Client

DEFAULT_WAIT_S = 300.0  # of a blocking query without a wait


class _Transport(LibraryHTTPClient):
    """What the library sends its requests through."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _request(
        self,
        method: str,
        callback: t.Callable[[t.Any], t.Any],
        path: str,
        params: t.Any = None,
        data: t.Any = None,
        headers: t.Any = None,
        **_other: t.Any,
    ) -> t.Any:
        query = dict(params or ())
        body = data.encode("utf-8") if isinstance(data, str) else data
        read_timeout_s = self._client.read_timeout_s(_wait_s(query))
        response = self._client.exchange(method, path, query, body, headers, read_timeout_s, ok_statuses=(200, 404))
        try:
            return callback(_as_library_response(response))
        except LibraryNotFound:
            raise failures.of_status(
                404, response.body, response.headers, response.request_line, response.endpoint
            ) from None
        except (LibraryError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise response.invalid() from None

    get = functools.partialmethod(_request, "GET")
    put = functools.partialmethod(_request, "PUT")
    post = functools.partialmethod(_request, "POST")
    delete = functools.partialmethod(_request, "DELETE")

    def close(self) -> None:
        self._client.close()


def _as_library_response(response: Response) -> t.Any:
    """Return a response as the library takes it: python-consul2 wants the body a second time, as bytes."""
    text = response.body.decode("utf-8", "replace")
    fields = (response.status, response.headers, text, response.body)[: len(LibraryResponse._fields)]
    return LibraryResponse(*fields)


def _wait_s(query: t.Mapping[str, t.Any]) -> float:
    """Return how long a query may block, in seconds."""
    if not query.get("index"):
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)?", str(query.get("wait") or ""))
    return float(match[1]) * {"ms": 0.001, "m": 60.0}.get(match[2], 1.0) if match else DEFAULT_WAIT_S


class Library(LibraryConsul):
    """The library's client; every request goes through the given client, and the environment has no influence.

    Raises UnsupportedLibrary when the installed library would send requests through another connection.
    """

    def __init__(self, client: Client) -> None:
        self._transport = _Transport(client)
        try:
            _initialize(self, host="127.0.0.1", port=8500)
        except (LibraryError, AttributeError, LookupError, TypeError, ValueError):
            raise errors.UnsupportedLibrary(installed_library()) from None
        parts = [getattr(self, name, None) for name in ("agent", "kv", "session")]
        if getattr(self, "http", None) is not self._transport or None in parts:
            raise errors.UnsupportedLibrary(installed_library())
        # The session sends the token as a header; the library would put it into the address.
        self.token = None

    def http_connect(self, *_args: t.Any, **_kwargs: t.Any) -> _Transport:
        """Called by python-consul2 and py-consul."""
        return self._transport

    def connect(self, *_args: t.Any, **_kwargs: t.Any) -> _Transport:
        """Called by python-consul; in the other two, an attribute of the same name, for Consul Connect, replaces it."""
        return self._transport


class _EmptyEnvironment:
    """Stands in for the module ``os``: no variable is set."""

    environ: t.ClassVar[t.Mapping[str, str]] = {}

    @staticmethod
    def getenv(_name: str, default: t.Any = None) -> t.Any:
        return default


def _without_environment(function: t.Any) -> t.Any:
    """Return a copy of a function that sees an empty environment; neither the environment nor the library is changed."""
    if not isinstance(function, types.FunctionType):  # no library is installed: Client raises MissingLibrary first
        return function
    copy = types.FunctionType(
        function.__code__,
        {**function.__globals__, "os": _EmptyEnvironment},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


# The library prefers CONSUL_* to its arguments, and fails on forms of CONSUL_HTTP_ADDR that Consul's own tools accept.
_initialize = _without_environment(LibraryBase.__init__)
