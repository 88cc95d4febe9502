# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client: every request of this collection to Consul goes through it, one client per endpoint.

Explicit options beat the environment, timeouts know blocking queries, and every failure is a typed error of errors.py.
Source: https://developer.hashicorp.com/consul/api-docs
"""

from __future__ import annotations

import functools
import json
import logging
import time
import typing as t
from urllib.parse import quote, urlencode

from . import acl_filter, errors, failures
from ._libraries import requests, require, urllib3
from .abort import Aborter
from .endpoint import Endpoint
from .library import Library
from .response import MAX_BODY, MAX_ERROR_BODY, Response, Stream, read_body
from .session import TOKEN_HEADER, make_session

log = logging.getLogger("consulops")

Params = t.Mapping[str, t.Any]

# No session has this id, so a consistent read of it is the cheapest request that only a leader can answer;
# under ACLs it is filtered, never denied.
NIL_SESSION = "00000000-0000-0000-0000-000000000000"


class Agent(t.NamedTuple):
    """The agent behind an endpoint: node name, datacenter and Consul version, None where the token may not know."""

    node: str | None
    datacenter: str | None
    version: str | None


class _Request(t.NamedTuple):
    """One HTTP request; ``line`` is how messages name it, ``read_timeout_s`` how long to wait for each part of the response."""

    method: str
    path: str
    query: Params
    body: t.Any
    headers: t.Mapping[str, str] | None
    read_timeout_s: float
    line: str


Sent = t.TypeVar("Sent", bound=t.Callable[..., t.Any])


def _abortable(send: Sent) -> Sent:
    """Wrap a method that sends a request: after an abort its failures are Aborted, and nothing is sent any more."""

    @functools.wraps(send)
    def wrapper(client: Client, *args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            if not client.is_aborted:
                result = send(client, *args, **kwargs)
                if not client.is_aborted:
                    return result
        except errors.Unreachable:
            if not client.is_aborted:
                raise
        raise errors.Aborted(f"A request to {client.endpoint} was cut, because {client.abort_reason}.") from None

    return t.cast("Sent", wrapper)


class Client:
    """Speaks to one endpoint. ``consul`` is the library's client over the same session, with typed errors.

    Construction raises MissingLibrary and InvalidOption; every request raises a ConsulError.
    Requests carry the endpoint's ``dc``, ``ns`` and ``partition``.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        require("requests", "python-consul2")
        self.endpoint = endpoint
        self._aborter = Aborter()
        self.abort_reason = "the work was stopped"
        self._session = make_session(endpoint, self._aborter)
        self.consul = Library(self)

    def close(self) -> None:
        """Drop the connections."""
        self._session.close()

    def abort(self, reason: str = "") -> None:
        """Cut every request in flight, from any thread: it raises Aborted within milliseconds, and so does every later one.

        ``reason`` completes the sentence of that error, after "because".
        """
        self.abort_reason = reason or self.abort_reason
        self._aborter.abort()

    @property
    def is_aborted(self) -> bool:
        """Whether ``abort`` was called."""
        return self._aborter.is_aborted

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()

    def get(
        self,
        path: str,
        params: Params | None = None,
        *,
        consistency: str = "default",
        index: int | None = None,
        wait_s: float | None = None,
        absent_ok: bool = False,
        partial_ok: bool = False,
        max_bytes: int = MAX_BODY,
    ) -> Response:
        """GET ``/v1/…``; with ``index`` a blocking query of at most ``wait_s`` seconds.

        ``consistency`` is default, consistent or stale. With ``absent_ok`` a 404 is returned instead of raising NotFound.
        With ``partial_ok`` an answer that Consul filtered by ACLs is returned (``is_filtered`` says so) instead of raising
        Filtered. Raises ResponseTooLarge for a body of more than ``max_bytes``.
        """
        query = dict(params or {})
        if consistency != "default":
            query[consistency] = ""
        if index is not None:
            query["index"] = index
            if wait_s is not None:
                query["wait"] = f"{int(wait_s * 1000)}ms"
        read_timeout_s = self.read_timeout_s(wait_s or 0.0) if index is not None else None
        ok_statuses = (200, 404) if absent_ok else (200,)
        return self.exchange(
            "GET",
            path,
            query,
            read_timeout_s=read_timeout_s,
            ok_statuses=ok_statuses,
            max_bytes=max_bytes,
            partial_ok=partial_ok,
        )

    def put(self, path: str, params: Params | None = None, body: bytes = b"", *, conflict_ok: bool = False) -> Response:
        """PUT ``/v1/…``, once; with ``conflict_ok`` a 409 is returned instead of raising Conflict."""
        return self.exchange("PUT", path, params or {}, body, ok_statuses=(200, 409) if conflict_ok else (200,))

    def post(self, path: str, params: Params | None = None, body: bytes = b"") -> Response:
        """POST ``/v1/…``, once."""
        return self.exchange("POST", path, params or {}, body)

    def delete(self, path: str, params: Params | None = None) -> Response:
        """DELETE ``/v1/…``, once."""
        return self.exchange("DELETE", path, params or {})

    def upload(self, path: str, body: t.Any, *, timeout_s: float) -> Response:
        """PUT a file-like body of known length, once; the response must begin within ``timeout_s``."""
        return self.exchange("PUT", path, {}, body, read_timeout_s=timeout_s)

    @_abortable
    def stream(self, path: str, params: Params | None = None, *, timeout_s: float | None = None) -> Stream:
        """GET ``/v1/…`` as a stream; each part must arrive within ``timeout_s``, the endpoint's timeout by default."""
        request = self._request("GET", path, params or {}, read_timeout_s=timeout_s)
        started = time.monotonic()
        response = self._send(request)
        if log.isEnabledFor(logging.DEBUG):
            _log(request, started, f"{response.status_code}, a stream")
        if response.status_code != 200:
            content = read_body(response, request.line, request.read_timeout_s, MAX_ERROR_BODY)
            raise failures.of_status(response.status_code, content, response.headers, request.line, self.endpoint)
        return Stream(response, request.line, request.read_timeout_s)

    def check_leader(self, timeout_s: float | None = None) -> None:
        """Raise NoLeader, UnknownDatacenter or another ConsulError unless a leader answers a consistent read.

        ``timeout_s`` is how long it may take, the endpoint's timeout by default. /v1/status/leader is no help: it still names a
        leader for seconds after it died; a consistent read does not.
        """
        query = {"consistent": ""}
        self.exchange("GET", f"/v1/session/info/{NIL_SESSION}", query, read_timeout_s=timeout_s, partial_ok=True)

    def whoami(self) -> Agent:
        """Return the agent that answers here; what the token may not read is None.

        Without agent:read the datacenter is still known when there is only one.
        """
        try:
            found = self.consul.agent.self()
        except errors.PermissionDenied:
            known = self.get("/v1/catalog/datacenters").strings()
            return Agent(None, known[0] if len(known) == 1 else None, None)
        config = found.get("Config") if isinstance(found, dict) else None
        names = [config.get(name) for name in ("NodeName", "Datacenter", "Version")] if isinstance(config, dict) else []
        if not names or not all(isinstance(name, str) for name in names):
            raise errors.InvalidResponse(
                f"{self.request_line('GET', '/v1/agent/self')}: the answer is not Consul's. Does something else listen there?"
            )
        return Agent(*names)

    def may(self, resource: str, access: str, segment: str = "") -> bool | None:
        """Return whether the token may do something, for example ("key", "write", "app/"); None when Consul cannot tell."""
        question = [{"Resource": resource, "Access": access, **({"Segment": segment} if segment else {})}]
        try:
            response = self.post("/v1/internal/acl/authorize", body=json.dumps(question).encode())
            return response.parse(lambda body: {True: True, False: False}[body[0]["Allow"]])
        except errors.ConsulError:
            return None

    @_abortable
    def exchange(
        self,
        method: str,
        path: str,
        query: Params,
        body: t.Any = None,
        headers: t.Mapping[str, str] | None = None,
        read_timeout_s: float | None = None,
        ok_statuses: tuple[int, ...] = (200,),
        max_bytes: int = MAX_BODY,
        partial_ok: bool = False,
    ) -> Response:
        """Send one request and read its response whole; a status that is not in ``ok_statuses`` becomes a typed error.

        An answer that Consul filtered by ACLs raises Filtered unless ``partial_ok``.
        ``read_timeout_s`` is how long to wait for each part of the response, the endpoint's timeout by default.
        """
        request = self._request(method, path, query, body, headers, read_timeout_s)
        started = time.monotonic()
        response = self._send(request)
        is_ok = response.status_code in ok_statuses
        content = read_body(response, request.line, request.read_timeout_s, max_bytes if is_ok else MAX_ERROR_BODY)
        if log.isEnabledFor(logging.DEBUG):
            _log(request, started, f"{response.status_code}, {len(content)} bytes")
        if not is_ok:
            raise failures.of_status(response.status_code, content, response.headers, request.line, self.endpoint)
        answer = Response(response.status_code, response.headers, content, request.line, self.endpoint, path)
        if answer.is_filtered and not partial_ok:
            raise acl_filter.filtered(request.line, path, answer.status)
        return answer

    def read_timeout_s(self, wait_s: float) -> float:
        """Return how long to wait for the response of a blocking query: Consul adds up to wait/16 of jitter to its wait."""
        return self.endpoint.timeout_s + wait_s * 17 / 16

    @functools.cached_property
    def _template(self) -> requests.PreparedRequest:
        """What all requests have in common. Made once: merging headers and parsing the address takes a third of a request."""
        return self._session.prepare_request(requests.Request("GET", f"{self.endpoint.base_url}/"))

    @functools.cached_property
    def _scope(self) -> dict[str, str]:
        """The query parameters of every request."""
        scope = {
            "dc": self.endpoint.datacenter,
            "ns": self.endpoint.namespace,
            "partition": self.endpoint.partition,
        }
        return {name: value for name, value in scope.items() if value}

    def _request(
        self,
        method: str,
        path: str,
        query: Params,
        body: t.Any = None,
        headers: t.Mapping[str, str] | None = None,
        read_timeout_s: float | None = None,
    ) -> _Request:
        line = self.request_line(method, path)
        timeout_s = read_timeout_s or self.endpoint.timeout_s
        return _Request(method, path, {**self._scope, **query}, body, headers, timeout_s, line)

    def request_line(self, method: str, path: str) -> str:
        """Return how messages name a request."""
        shown = path.encode("utf-8", "backslashreplace").decode()
        return f"{method} {shown} of {self.endpoint}"

    def _send(self, request: _Request) -> requests.Response:
        # Surrogates stand for bytes that are not UTF-8 (keys may have them): they are sent as those bytes.
        address = quote(request.path.encode("utf-8", "surrogateescape"), safe="/:")
        if request.query:
            address += "?" + urlencode(request.query)
        try:
            prepared = self._template.copy()
            prepared.method, prepared.url = request.method, f"{prepared.url}{address[1:]}"
            prepared.headers.update(request.headers or {})
            if self.endpoint.token_file is not None:  # it may have been replaced since the last request
                prepared.headers[TOKEN_HEADER] = self.endpoint.token_file.read()
            if self._session.cookies:  # set by a load balancer, to find the same agent again; Consul sets none
                prepared.prepare_cookies(self._session.cookies)
            prepared.prepare_body(request.body, None)
            return self._session.send(
                prepared,
                timeout=(self.endpoint.timeout_s, request.read_timeout_s),
                stream=True,
                allow_redirects=False,  # the token would go along to wherever the redirect points
                proxies={},
            )
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            failure = failures.of_connection(error, request.line, self.endpoint, request.read_timeout_s)
            log.debug("%s", failure)
            raise failure from None


def _log(request: _Request, started: float, outcome: str) -> None:
    """Log a request and its outcome; of the query only the names, since values can be long or private."""
    names = "&".join(request.query)
    took_ms = (time.monotonic() - started) * 1000
    log.debug("%s%s: %s, %.1f ms", request.line, f" with {names}" if names else "", outcome, took_ms)
