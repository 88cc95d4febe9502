# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How everything here speaks to Consul: one client per endpoint, built on python-consul2 (or py-consul).

The library gets a transport of ours, so explicit options beat the environment, timeouts know blocking queries,
and every failure is a typed error of errors.py that carries Consul's own words.
Source: https://developer.hashicorp.com/consul/api-docs
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import threading
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from . import errors
from ._libraries import (
    LibraryConsul,
    LibraryError,
    LibraryHTTPClient,
    LibraryNotFound,
    LibraryResponse,
    requests,
    require,
    urllib3,
)
from .endpoint import Endpoint
from .session import make_session
from .units import human_bytes

Params = t.Mapping[str, t.Any]
Parsed = t.TypeVar("Parsed")

# No session has this id, so a consistent read of it is the smallest question that only a leader can answer;
# it is filtered, never denied, under ACLs.
NIL_SESSION = "00000000-0000-0000-0000-000000000000"

MAX_BODY = 1 << 30  # nothing that is read whole comes near it; snapshots are streamed
MAX_ERROR_BODY = 1 << 16
MAX_READ_TIMEOUTS = 10  # an answer that is read whole may take as many times its timeout
MAX_SHOWN_CHARACTERS = 300  # characters of an error body that a person is shown


@dataclass(frozen=True)
class Response:
    """One answer: HTTP status, headers and body (bytes)."""

    status: int
    headers: t.Mapping[str, str]
    body: bytes
    request_line: str
    endpoint: Endpoint

    @property
    def index(self) -> int:
        """X-Consul-Index, 0 when the endpoint has none."""
        return _number(self.headers.get("X-Consul-Index"))

    @property
    def last_contact_ms(self) -> int:
        """Milliseconds since the answering server last heard from the leader."""
        return _number(self.headers.get("X-Consul-LastContact"))

    @property
    def known_leader(self) -> bool:
        """Whether the answering server knew a leader."""
        return self.headers.get("X-Consul-KnownLeader") == "true"

    def json(self) -> t.Any:
        """Return the decoded body. Raises InvalidResponse when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise self.invalid() from None

    def parse(self, convert: t.Callable[[t.Any], Parsed]) -> Parsed:
        """Return what ``convert`` makes of the decoded body.

        Raises InvalidResponse when the body has another shape than ``convert`` expects, which it may show by any of
        KeyError, IndexError, TypeError, ValueError and AttributeError.
        """
        decoded = self.json()
        try:
            return convert(decoded)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
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

    def invalid(self) -> errors.InvalidResponse:
        """Return the error of a body that Consul's API does not answer with here."""
        return errors.InvalidResponse(
            f"{self.request_line}: the answer is not Consul's ({_shown(self.body, self.endpoint)!r}). "
            "Does something else listen there?",
            self.status,
        )


class Agent(t.NamedTuple):
    """The agent behind an endpoint: node name, datacenter and Consul version, None where the token may not know."""

    node: str | None
    datacenter: str | None
    version: str | None


class Stream:
    """A long answer that is read piece by piece; close it, or use it in a ``with`` block."""

    def __init__(self, response: requests.Response, request_line: str, timeout_s: float) -> None:
        self._response = response
        self._request_line = request_line
        self._timeout_s = timeout_s
        self.headers: t.Mapping[str, str] = response.headers
        # read1 gives what is there; read would wait for all of it, however slowly it trickles.
        self._read: t.Callable[[int], bytes] = getattr(response.raw, "read1", response.raw.read)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, b"" at the end. Raises Unreachable or TimedOut when the body breaks off."""
        try:
            return self._read(size)
        except urllib3.exceptions.ReadTimeoutError:
            raise errors.TimedOut(f"{self._request_line}: nothing more came for {self._timeout_s:g} s.") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise errors.Unreachable(
                f"{self._request_line}: the connection broke off before the end ({_root(error)})."
            ) from None

    def close(self) -> None:
        """Drop the connection; what was not read is lost."""
        self._response.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()


class Client:
    """Speaks to one endpoint. ``consul`` is the library's client over the same session, with typed errors.

    Raises MissingLibrary and InvalidOption when made; every request raises a ConsulError.
    Requests add the endpoint's ``dc``, ``ns`` and ``partition`` by themselves.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        require("requests", "python-consul2")
        self.endpoint = endpoint
        self._session = make_session(endpoint)
        self.consul = _Library(self)

    def close(self) -> None:
        """Drop the connections."""
        self._session.close()

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
        max_bytes: int = MAX_BODY,
    ) -> Response:
        """GET ``/v1/…``; with ``index`` a blocking query of at most ``wait_s`` seconds.

        ``consistency`` is default, consistent or stale. With ``absent_ok`` a 404 is an answer, not NotFound.
        Raises ResponseTooLarge for an answer of more than ``max_bytes``.
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
            "GET", path, query, read_timeout_s=read_timeout_s, ok_statuses=ok_statuses, max_bytes=max_bytes
        )

    def put(self, path: str, params: Params | None = None, body: bytes = b"", *, conflict_ok: bool = False) -> Response:
        """PUT ``/v1/…``, once; with ``conflict_ok`` a 409 is an answer, not Conflict."""
        return self.exchange("PUT", path, params or {}, body, ok_statuses=(200, 409) if conflict_ok else (200,))

    def post(self, path: str, params: Params | None = None, body: bytes = b"") -> Response:
        """POST ``/v1/…``, once."""
        return self.exchange("POST", path, params or {}, body)

    def delete(self, path: str, params: Params | None = None) -> Response:
        """DELETE ``/v1/…``, once."""
        return self.exchange("DELETE", path, params or {})

    def upload(self, path: str, body: t.Any, *, timeout_s: float) -> Response:
        """PUT a file-like body with a length, once; ``timeout_s`` is how long the answer may take."""
        return self.exchange("PUT", path, {}, body, read_timeout_s=timeout_s)

    def stream(self, path: str, params: Params | None = None, *, timeout_s: float | None = None) -> Stream:
        """GET ``/v1/…`` as a stream; ``timeout_s`` is the longest read_timeout that is put up with."""
        read_timeout = timeout_s or self.endpoint.timeout_s
        request_line = self._request_line("GET", path)
        response = self._send("GET", path, self._scoped(params or {}), None, None, read_timeout, request_line)
        if response.status_code != 200:
            content = _body(response, request_line, read_timeout, MAX_ERROR_BODY)
            _raise_for(response.status_code, content, response.headers, request_line, self.endpoint)
        return Stream(response, request_line, read_timeout)

    def check_leader(self) -> None:
        """Raise NoLeader, UnknownDatacenter or another ConsulError unless a leader answers a consistent read.

        /v1/status/leader names a leader for seconds after it died; a consistent read cannot.
        """
        self.get(f"/v1/session/info/{NIL_SESSION}", consistency="consistent")

    def whoami(self) -> Agent:
        """Return who answers here; what the token may not ask is None.

        Without agent:read the datacenter is still known when there is only one.
        """
        try:
            config = self.consul.agent.self()["Config"]
            return Agent(str(config["NodeName"]), str(config["Datacenter"]), str(config["Version"]))
        except errors.PermissionDenied:
            response = self.get("/v1/catalog/datacenters")
            known = response.json()
            if not isinstance(known, list):
                raise errors.InvalidResponse(
                    f"{response.request_line}: the answer is not a list of datacenters."
                ) from None
            return Agent(None, str(known[0]) if len(known) == 1 else None, None)
        except (KeyError, TypeError):
            raise errors.InvalidResponse(
                f"{self._request_line('GET', '/v1/agent/self')}: the answer is not Consul's. Does something else listen there?"
            ) from None

    def may(self, resource: str, access: str, segment: str = "") -> bool | None:
        """Ask Consul whether the token may do something, for example ("key", "write", "app/"); None when it cannot say."""
        question = [{"Resource": resource, "Access": access, **({"Segment": segment} if segment else {})}]
        try:
            answer = self.post("/v1/internal/acl/authorize", body=json.dumps(question).encode()).json()
            return bool(answer[0]["Allow"])
        except (errors.ConsulError, LookupError, TypeError):
            return None

    def exchange(
        self,
        method: str,
        path: str,
        query: t.Mapping[str, t.Any],
        body: t.Any = None,
        headers: t.Mapping[str, str] | None = None,
        read_timeout_s: float | None = None,
        ok_statuses: tuple[int, ...] = (200,),
        max_bytes: int = MAX_BODY,
    ) -> Response:
        """Send one request and read its answer whole; a status that is not ``ok_statuses`` becomes a typed error.

        ``read_timeout_s`` is how long nothing may come, the endpoint's timeout when it is not given.
        """
        request_line = self._request_line(method, path)
        read_timeout = read_timeout_s or self.endpoint.timeout_s
        response = self._send(method, path, self._scoped(query), body, headers, read_timeout, request_line)
        is_ok = response.status_code in ok_statuses
        content = _body(response, request_line, read_timeout, max_bytes if is_ok else MAX_ERROR_BODY)
        if not is_ok:
            _raise_for(response.status_code, content, response.headers, request_line, self.endpoint)
        return Response(response.status_code, response.headers, content, request_line, self.endpoint)

    @functools.cached_property
    def _template(self) -> requests.PreparedRequest:
        """What all requests have in common. Made once: to merge headers and to take an address apart takes a third of a request."""
        return self._session.prepare_request(requests.Request("GET", f"{self.endpoint.base_url}/"))

    def read_timeout_s(self, wait_s: float) -> float:
        """Return how long a blocking query may be silent: Consul adds up to wait/16 of jitter to its wait."""
        return self.endpoint.timeout_s + wait_s * 17 / 16

    def _scoped(self, query: Params) -> dict[str, t.Any]:
        scope = {
            "dc": self.endpoint.datacenter,
            "ns": self.endpoint.namespace,
            "partition": self.endpoint.partition,
        }
        return {**{name: value for name, value in scope.items() if value}, **query}

    def _request_line(self, method: str, path: str) -> str:
        shown = path.encode("utf-8", "backslashreplace").decode()
        return f"{method} {shown} of {self.endpoint}"

    def _send(
        self,
        method: str,
        path: str,
        query: t.Mapping[str, t.Any],
        body: t.Any,
        headers: t.Mapping[str, str] | None,
        read_timeout_s: float,
        request_line: str,
    ) -> requests.Response:
        # Surrogates stand for bytes that are not UTF-8 (keys may have them): they go out as those bytes.
        address = quote(path.encode("utf-8", "surrogateescape"), safe="/:")
        if query:
            address += "?" + urlencode(query)
        try:
            request = self._template.copy()
            request.method, request.url = method, f"{request.url}{address[1:]}"
            request.headers.update(headers or {})
            if self._session.cookies:  # of a load balancer, which so finds the same agent again; Consul has none
                request.prepare_cookies(self._session.cookies)
            request.prepare_body(body, None)
            return self._session.send(
                request,
                timeout=(self.endpoint.timeout_s, read_timeout_s),
                stream=True,
                allow_redirects=False,  # the token would go along to wherever the redirect points
                proxies={},
            )
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _connection_error(error, request_line, self.endpoint, read_timeout_s) from None


def _body(response: requests.Response, request_line: str, read_timeout_s: float, limit: int) -> bytes:
    """Read an answer whole; one that trickles or does not end is given up, an error's text is cut at its limit."""
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


def _shown(body: bytes, endpoint: Endpoint) -> str:
    text = " ".join(body[: 4 * MAX_SHOWN_CHARACTERS].decode("utf-8", "replace").split())
    text = endpoint.redact(text)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "…"


def _root(error: BaseException) -> str:
    """Return the innermost reason of a nest of connection errors, without object addresses."""
    seen = error
    for _level in range(8):
        inner = getattr(seen, "reason", None) or (seen.args[-1] if seen.args else None)
        if not isinstance(inner, BaseException):
            inner = seen.__cause__
        if inner is None or inner is seen:
            break
        seen = inner
    text = getattr(seen, "strerror", None) or str(seen) or type(seen).__name__
    return re.sub(r"<[^>]*>:? ?", "", str(text)).strip().rstrip(".")


# ---------------------------------------------------------------------------------------------------------------
# Failures without an answer

TLS_ADVICE = (
    # (what OpenSSL says, what to do)
    ("certificate has expired", "its certificate has expired: renew the certificate of that Consul agent"),
    ("not yet valid", "its certificate is not valid yet: compare the clocks of both hosts"),
    (
        "self-signed certificate",
        "its certificate is not signed by an authority trusted here: name the right one with ca_path",
    ),
    (
        "unable to get local issuer",
        "its certificate is not signed by an authority trusted here: name the right one with ca_path",
    ),
    (
        "match",
        "its certificate is for another name: set tls_server_name (Consul's own is server.<datacenter>.consul)",
    ),
    ("unknown ca", "it does not trust the authority of client_cert: use a certificate signed by the one it knows"),
    ("certificate required", "it asks for a client certificate: set client_cert and client_key"),
    ("bad certificate", "it refused or missed the client certificate: set client_cert and client_key"),
    ("wrong version number", "that port does not speak TLS: use http:// or the HTTPS port (8501)"),
    ("record layer", "that port does not speak TLS: use http:// or the HTTPS port (8501)"),
)


def _connection_error(
    error: Exception, request_line: str, endpoint: Endpoint, read_timeout_s: float
) -> errors.Unreachable | errors.InvalidOption:
    reason = _root(error)
    tls = endpoint.base_url.startswith("https:")
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader)):
        return errors.InvalidOption(f"{request_line}: {reason}.")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return errors.TimedOut(f"{request_line}: no connection within {endpoint.timeout_s:g} s. Is the address right?")
    if isinstance(error, requests.exceptions.ReadTimeout) or "timed out" in reason.lower():
        return errors.TimedOut(
            f"{request_line}: no answer within {read_timeout_s:g} s. The agent accepts connections and is silent."
        )
    if tls and (isinstance(error, requests.exceptions.SSLError) or "alert" in reason.lower()):
        lowered = reason.replace("self signed", "self-signed").lower()
        advice = next((advice for words, advice in TLS_ADVICE if words in lowered), "check certificates and address")
        return errors.TLSFailed(f"{request_line}: TLS failed ({reason}); {advice}.")
    advice = "Is the Consul agent running there?"
    if "reset" in reason.lower() or "closed connection" in reason.lower():
        advice = "The agent ended the connection without an answer; if that port speaks TLS, use https://."
    return errors.Unreachable(f"{request_line}: {reason}. {advice}")


# ---------------------------------------------------------------------------------------------------------------
# Failures with an answer


def _raise_for(
    status: int, body: bytes, headers: t.Mapping[str, str], request_line: str, endpoint: Endpoint
) -> t.NoReturn:
    consul_message = _shown(body, endpoint)
    kind, advice = _classified(status, consul_message, headers, endpoint)
    raise kind(
        f"{request_line}: {status} {consul_message or '(no text)'}. {advice}".replace(".. ", ". ").rstrip(),
        status,
        consul_message,
    )


def _classified(
    status: int, consul_message: str, headers: t.Mapping[str, str], endpoint: Endpoint
) -> tuple[type[errors.ConsulError], str]:
    lowered = consul_message.lower()
    if "location" in {name.lower() for name in headers} or 300 <= status < 400:
        target = headers.get("Location", "elsewhere")
        return (
            errors.InvalidResponse,
            f"It redirects to {target}, which is not followed because the token would go along.",
        )
    if "no path to datacenter" in lowered:
        return (
            errors.UnknownDatacenter,
            f"That agent knows no datacenter {endpoint.datacenter!r}: look at consul members -wan.",
        )
    if "no cluster leader" in lowered or "no leader" in lowered:
        return errors.NoLeader, "Consul has no leader now: look at consul operator raft list-peers."
    if re.search(
        r"rpc error.*(failed to get conn|connection refused|no route|i/o timeout|eof|connection reset)", lowered
    ):
        return (
            errors.NoLeader,
            "The server that this agent passes requests on to does not answer: an election may be under way.",
        )
    if "acl not found" in lowered:
        return (
            errors.PermissionDenied,
            "Consul does not know the token: was it deleted, or is it of another datacenter?",
        )
    if status in (401, 403) or "permission denied" in lowered:
        return errors.PermissionDenied, "" if endpoint.token else "No token was given."
    if status == 404:
        return errors.NotFound, ""
    if status == 409:
        return errors.Conflict, "Nothing was written."
    if status == 413 or "exceeds" in lowered and "limit" in lowered:
        return errors.RequestTooLarge, ""
    if status == 429 or "rate limit" in lowered or "too many" in lowered:
        return errors.TooManyRequests, "Consul limits requests: try again later or with fewer at once."
    if "client sent an http request to an https server" in lowered:
        return errors.InvalidResponse, "That port speaks TLS: use https://."
    if 400 <= status < 500:
        return errors.Rejected, ""
    if status >= 500:
        return errors.ServerFailed, ""
    return errors.InvalidResponse, "That is not an answer of Consul's HTTP API."


# ---------------------------------------------------------------------------------------------------------------
# The library over our transport


class _Transport(LibraryHTTPClient):
    """What python-consul2 and py-consul send their requests through."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _ask(
        self,
        method: str,
        callback: t.Any,
        path: str,
        params: t.Any = None,
        data: t.Any = None,
        headers: t.Any = None,
        **_other: t.Any,
    ) -> t.Any:
        query = dict(params or ())
        body = data.encode("utf-8") if isinstance(data, str) else data
        read_timeout_s = self._client.read_timeout_s(_wait_seconds(query))
        response = self._client.exchange(method, path, query, body, headers, read_timeout_s, ok_statuses=(200, 404))
        # python-consul2 wants the body a second time, as bytes; py-consul does not.
        text = response.body.decode("utf-8", "replace")
        fields = (response.status, response.headers, text, response.body)[: len(LibraryResponse._fields)]
        try:
            return callback(LibraryResponse(*fields))
        except LibraryNotFound:
            _raise_for(404, response.body, response.headers, response.request_line, self._client.endpoint)
        except (LibraryError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            shown = _shown(response.body, response.endpoint)
            raise errors.InvalidResponse(
                f"{response.request_line}: the answer is not Consul's ({shown!r}): {error}."
            ) from None

    get = functools.partialmethod(_ask, "GET")
    put = functools.partialmethod(_ask, "PUT")
    post = functools.partialmethod(_ask, "POST")
    delete = functools.partialmethod(_ask, "DELETE")

    def close(self) -> None:
        self._client.close()


def _wait_seconds(query: t.Mapping[str, t.Any]) -> float:
    """Return how long a blocking query may take: Consul's own default is five minutes."""
    if not query.get("index"):
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)?", str(query.get("wait") or "5m"))
    return float(match[1]) * {"ms": 0.001, "m": 60.0}.get(match[2], 1.0) if match else 300.0


class _Library(LibraryConsul):
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
    """Keep CONSUL_* from the library, which lets them win over what it is told."""
    with _HIDING:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("CONSUL_")}
        try:
            yield
        finally:
            os.environ.update(hidden)
