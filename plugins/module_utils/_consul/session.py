# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One requests session per endpoint: TLS with our own context, unix sockets, nothing read from the environment.

Used by client.py, and for the endpoint of our own agents.
"""

from __future__ import annotations

import socket
import ssl
import typing as t
from pathlib import Path

from ._libraries import (
    HTTPAdapter,
    HTTPConnection,
    HTTPConnectionPool,
    HTTPSConnection,
    HTTPSConnectionPool,
    requests,
    urllib3,
)
from .abort import AbortableConnection, Aborter
from .endpoint import Endpoint
from .errors import InvalidOption
from .version import COLLECTION, VERSION

TOKEN_HEADER = "X-Consul-Token"
MAX_IDLE_CONNECTIONS = 128  # that are kept; an agent may have so many blocking queries at once


def make_session(endpoint: Endpoint, aborter: Aborter) -> requests.Session:
    """Return a session for one endpoint, whose requests ``aborter`` can cut.

    Raises InvalidOption when a certificate file cannot be used.
    """
    session = requests.Session()
    session.trust_env = False  # no proxies, no .netrc, no REQUESTS_CA_BUNDLE
    session.headers["User-Agent"] = f"{COLLECTION}/{VERSION}"
    # Otherwise Consul compresses a snapshot, which is gzip already, once more: twice the server's work and time.
    session.headers["Accept-Encoding"] = "identity"
    if endpoint.given_token:
        session.headers[TOKEN_HEADER] = endpoint.given_token
    if endpoint.http_auth:
        user, password = endpoint.http_auth
        session.auth = requests.auth.HTTPBasicAuth(
            user.encode(), password.encode()
        )  # as text they would be sent as Latin-1
    if endpoint.socket_path:
        session.mount("http://", _UnixAdapter(aborter, endpoint.socket_path))
    elif endpoint.base_url.startswith("https:"):
        session.verify = endpoint.validate_certs
        session.mount("https://", _TLSAdapter(aborter, tls_context(endpoint), endpoint.tls_server_name))
        if not endpoint.validate_certs:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    else:
        session.mount("http://", _Adapter(aborter))
    return session


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the TLS context of an endpoint: its authority or the host's CA store, its client certificate."""
    context = ssl.create_default_context() if endpoint.ca_path is None else _context_trusting(endpoint.ca_path)
    if not endpoint.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if endpoint.client_cert:
        try:
            # With an empty password an encrypted key fails at once instead of prompting at the terminal.
            context.load_cert_chain(endpoint.client_cert, endpoint.client_key, password=lambda: b"")
        except (OSError, ValueError) as error:
            files = endpoint.client_cert + (f" with {endpoint.client_key}" if endpoint.client_key else "")
            raise InvalidOption(
                f"client_cert {files} cannot be used ({_reason(error)}): PEM files are needed, the key without "
                "a passphrase and belonging to the certificate."
            ) from None
    return context


def _context_trusting(ca_path: str) -> ssl.SSLContext:
    """Return a context that trusts a file, or every PEM file of a directory as Consul's tools do (OpenSSL wants hashed names)."""
    path = Path(ca_path)
    try:
        files = sorted(item for item in path.iterdir() if item.is_file()) if path.is_dir() else [path]
    except OSError as error:
        raise InvalidOption(f"ca_path {ca_path} cannot be read ({_reason(error)}).") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    loaded = 0
    for item in files:
        try:
            context.load_verify_locations(cafile=str(item))
            loaded += 1
        except (OSError, ValueError) as error:
            if not path.is_dir():
                raise InvalidOption(
                    f"ca_path {ca_path} cannot be used ({_reason(error)}): name a PEM file or a directory of them."
                ) from None
    if not loaded:
        raise InvalidOption(f"ca_path {ca_path} holds no certificate in PEM form.")
    return context


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Adapter(HTTPAdapter):
    """Makes connections that ``aborter`` can cut."""

    connection: type = HTTPConnection

    def __init__(self, aborter: Aborter) -> None:
        self._aborter = aborter
        super().__init__(pool_maxsize=MAX_IDLE_CONNECTIONS)

    def init_poolmanager(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": self._pool_class(HTTPConnectionPool, self.connection),
            "https": self._pool_class(HTTPSConnectionPool, HTTPSConnection),
        }

    def _pool_class(self, pool: type, connection: type) -> t.Any:
        bound = type("Connection", (AbortableConnection, connection), {"aborter": self._aborter, **self._attributes()})
        return type("Pool", (pool,), {"ConnectionCls": bound})

    def _attributes(self) -> dict[str, t.Any]:
        """Return further attributes of the class of connections."""
        return {}


class _TLSAdapter(_Adapter):
    """Uses our TLS context unchanged, without the certificates of requests, and checks the certificate for a given server name."""

    def __init__(self, aborter: Aborter, context: ssl.SSLContext, server_name: str | None) -> None:
        self._context = context
        self._server_name = server_name
        super().__init__(aborter)

    def init_poolmanager(self, *args: t.Any, **kwargs: t.Any) -> None:
        kwargs["ssl_context"] = self._context
        if self._server_name:
            kwargs["server_hostname"] = self._server_name
        super().init_poolmanager(*args, **kwargs)

    def cert_verify(self, conn: t.Any, url: str, verify: t.Any, cert: t.Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"


class _UnixAdapter(_Adapter):
    """Sends every request to one unix socket."""

    def __init__(self, aborter: Aborter, socket_path: str) -> None:
        self._socket_path = socket_path
        super().__init__(aborter)

    def _attributes(self) -> dict[str, t.Any]:
        path = self._socket_path

        def _new_conn(connection: t.Any) -> socket.socket:
            try:
                connected: socket.socket = connection._connected(
                    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path
                )
            except OSError as error:
                raise urllib3.exceptions.NewConnectionError(connection, f"{path}: {_reason(error)}") from error
            return connected

        return {"_new_conn": _new_conn}
