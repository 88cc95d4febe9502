# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client library (python-consul2 or py-consul) over the transport of client.py, with our typed errors.

Used by client.py only.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
import typing as t

from . import failures
from ._libraries import LibraryConsul, LibraryError, LibraryHTTPClient, LibraryNotFound, LibraryResponse
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
    """The library's client; every request goes through the given client."""

    def __init__(self, client: Client) -> None:
        self._transport = _Transport(client)
        with _consul_variables_hidden():
            super().__init__(host="127.0.0.1", port=8500)
        # The session sends the token as a header; the library would put it into the address.
        self.token = None

    def http_connect(self, *_args: t.Any, **_kwargs: t.Any) -> _Transport:
        return self._transport


_HIDING = threading.Lock()


@contextlib.contextmanager
def _consul_variables_hidden() -> t.Iterator[None]:
    """Keep CONSUL_* from the library, which prefers them to its arguments."""
    with _HIDING:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("CONSUL_")}
        try:
            yield
        finally:
            os.environ.update(hidden)
