# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP requests of receivers: TLS as everywhere in this collection, bounded in time and size, no redirects, no secret in a message."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import typing as t
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ...._consul._libraries import require, urllib3
from ...._consul.errors import InvalidOption
from ...._consul.failures import root_reason
from ...._consul.session import tls_context
from ...._consul.version import COLLECTION, VERSION
from .open_sockets import OpenSockets
from .options import Options
from .receiver import DeliveryFailed
from .tls_options import tls_of

MAX_ANSWER_BYTES = 1 << 16
MAX_SHOWN_CHARACTERS = 300  # of an answer in a message
# The message itself is not acceptable. Any other refusal comes from the key or the address, which somebody corrects.
PERMANENT = (400, 413, 415, 422)


@dataclass(frozen=True)
class Request:
    """One request. ``secrets`` are left out of every message; with ``url_is_secret`` the address is shown without its path."""

    url: str
    body: bytes
    headers: t.Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"
    secrets: tuple[str, ...] = field(default=(), repr=False)
    url_is_secret: bool = False

    @property
    def line(self) -> str:
        """How messages name the request."""
        parts = urlsplit(self.url)
        return f"{self.method} {parts.scheme}://{parts.netloc}" + ("/…" if self.url_is_secret else parts.path)


@dataclass(frozen=True)
class Answer:
    """An answer with a status from 200 to 299, and the start of its body."""

    status: int
    body: bytes


def json_request(url: str, content: t.Any, headers: t.Mapping[str, str] | None = None, **more: t.Any) -> Request:
    """Return a POST of JSON."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Request(url, body, {"Content-Type": "application/json", **(headers or {})}, **more)


def checked_url(text: str, where: str) -> str:
    """Return an address that requests can be sent to. Raises InvalidOption, without the address, which may be a secret."""
    try:
        parts = urlsplit(text.strip())
        _port = parts.port
    except ValueError:
        raise InvalidOption(f"{where}: this is not an address of the form https://host:port/path.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x1f\x7f]", text.strip()):
        raise InvalidOption(f"{where}: this is not an address of the form https://host:port/path.")
    if "@" in parts.netloc:
        raise InvalidOption(f"{where}: the address holds a user name or password; there are options for these.")
    return text.strip()


class HttpClient:
    """Sends requests one by one, each over a new connection. Construction raises MissingLibrary and InvalidOption.

    ``last_answer`` is the last one that was good, for people: its status, and its text without the secrets of the request.
    """

    def __init__(self, options: Options) -> None:
        require("requests")
        self._timeout_s = options.duration_s("timeout")
        self._proxy = checked_url(options["proxy"], options.path("proxy")) if options["proxy"] else None
        self._tls = tls_of(options)
        self._sockets = OpenSockets()
        self.last_answer = ""
        if not options["validate_certs"]:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def send(self, request: Request) -> Answer:
        """Send a request once and return its answer, of whose body what has come within the timeout and the limit.

        Raises DeliveryFailed for any status below 200 or above 299, and when there is none within the timeout.
        """
        headers = {"User-Agent": f"{COLLECTION}/{VERSION}", "Accept-Encoding": "identity", "Connection": "close"}
        with self._sockets.within(self._timeout_s), self._pool(request) as pool:
            try:
                response = pool.request(
                    request.method,
                    request.url,
                    body=request.body,
                    headers={**headers, **request.headers},
                    timeout=urllib3.Timeout(connect=self._timeout_s, read=self._timeout_s),
                    retries=False,
                    redirect=False,  # a secret would go along to wherever the redirect points
                    preload_content=False,
                )
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise self._of_connection(error, request) from None
            body = b""
            # The status says what became of the message. A body that does not end changes nothing about that.
            with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
                body = response.read(MAX_ANSWER_BYTES, decode_content=False)
            response.close()
        if not 200 <= response.status < 300:
            raise _of_status(response.status, response.headers, body, request)
        self.last_answer = f"{response.status} {_shown(body, request)}".rstrip()
        return Answer(response.status, body)

    def abort(self) -> None:
        """Cut the request that is being sent."""
        self._sockets.cut()

    # -----------------------------------------------------------------------------------------------------------

    def _pool(self, request: Request) -> t.Any:
        """Return a pool for one request, so that replaced certificates are used and no old connection is."""
        more: dict[str, t.Any] = {}
        if request.url.startswith("https:"):
            more["ssl_context"] = tls_context(self._tls)
            more["cert_reqs"] = "CERT_REQUIRED" if self._tls.validate_certs else "CERT_NONE"
            if self._tls.tls_server_name:
                more["server_hostname"] = self._tls.tls_server_name
        pool = urllib3.ProxyManager(self._proxy, **more) if self._proxy else urllib3.PoolManager(**more)
        pool.pool_classes_by_scheme = _tracked_pools(self._sockets)
        return pool

    def _of_connection(self, error: Exception, request: Request) -> DeliveryFailed:
        reason = _redacted(root_reason(error), request)
        is_timeout = isinstance(error, urllib3.exceptions.TimeoutError)
        is_refusal = isinstance(error, urllib3.exceptions.NewConnectionError)  # which counts as a timeout there
        if self._sockets.timed_out or (is_timeout and not is_refusal):
            return DeliveryFailed(f"{request.line}: no answer within {self._timeout_s:g} s.")
        if isinstance(error, urllib3.exceptions.SSLError) or isinstance(error.__cause__, ssl.SSLError):
            advice = "check ca_path, tls_server_name and the certificates of both sides"
            return DeliveryFailed(f"{request.line}: TLS failed ({reason}); {advice}.")
        return DeliveryFailed(f"{request.line}: {reason}.")


def _tracked_pools(sockets: OpenSockets) -> dict[str, t.Any]:
    """Return connection pools whose sockets can be cut."""

    class Plain(urllib3.connection.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            if self.sock is not None:
                sockets.add(self.sock)

    class Secure(urllib3.connection.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            if self.sock is not None:
                sockets.add(self.sock)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _of_status(status: int, headers: t.Mapping[str, str], body: bytes, request: Request) -> DeliveryFailed:
    text = _shown(body, request)
    advice = ""
    if 300 <= status < 400:
        host = urlsplit(headers.get("Location", "")).netloc or "another path"
        advice = f" It redirects to {host}, which is not followed because secrets would go along: correct the address."
    elif status in (401, 403):
        advice = " Is the key right?"
    elif status in (404, 410):
        advice = " Is the address right?"
    message = f"{request.line}: {status} {text or '(no text)'}".rstrip(".") + f".{advice}"
    after = headers.get("Retry-After", "")
    return DeliveryFailed(
        message,
        permanent=status in PERMANENT,
        retry_after_s=float(after) if status in (429, 503) and re.fullmatch("[0-9]{1,6}", after) else 0.0,
    )


def _shown(body: bytes, request: Request) -> str:
    """Return the start of a body as one line."""
    return _redacted(" ".join(body.decode("utf-8", "replace").split()), request)[:MAX_SHOWN_CHARACTERS]


def _redacted(text: str, request: Request) -> str:
    parts = urlsplit(request.url)
    paths = (parts.path + ("?" + parts.query if parts.query else ""), parts.path) if request.url_is_secret else ()
    for secret in (*request.secrets, *paths):
        if len(secret) > 1:
            text = text.replace(secret, "…")
    return text
