# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connection options: how each is checked, and the CONSUL_* variable that it falls back to.

Used by every module, command and agent. An explicit option always wins over the environment.
Source of the variables: https://developer.hashicorp.com/consul/commands#environment-variables
"""

from __future__ import annotations

import base64
import re
import typing as t
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .errors import InvalidOption, TokenUnavailable
from .token_file import TokenFile, clean_token
from .units import positive_seconds

DEFAULT_URL = "http://127.0.0.1:8500"
DEFAULT_TIMEOUT_S = 10.0  # above the 7 s that a server waits for a new leader before it says there is none

# What Go's strconv.ParseBool takes, which is what Consul reads these variables with.
TRUE_WORDS = {"1", "t", "T", "TRUE", "true", "True"}
FALSE_WORDS = {"0", "f", "F", "FALSE", "false", "False"}

FORMS = "host:port, http://host:port, https://host:port, https://[::1]:8501 or unix:///path/to/socket"


@dataclass(frozen=True)
class Endpoint:
    """How to reach and authenticate to one Consul datacenter. Secrets are kept out of ``repr``.

    ``base_url`` has no trailing slash; for a unix socket it is ``http://localhost`` and ``socket_path`` is set.
    ``timeout_s`` is how long to wait for a connection, and then for each part of a response.
    """

    base_url: str
    shown_url: str
    socket_path: str | None = None
    datacenter: str | None = None
    given_token: str | None = field(default=None, repr=False)
    token_file: TokenFile | None = field(default=None, repr=False)
    http_auth: tuple[str, str] | None = field(default=None, repr=False)
    ca_path: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    tls_server_name: str | None = None
    validate_certs: bool = True
    namespace: str | None = None
    partition: str | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S

    def __str__(self) -> str:
        return self.shown_url + (f" (datacenter {self.datacenter})" if self.datacenter else "")

    @property
    def token(self) -> str | None:
        """The token as it is now; None for the anonymous one, and for a file that cannot be read yet."""
        if self.token_file is None:
            return self.given_token
        try:
            return self.token_file.read()
        except TokenUnavailable:
            return None

    def redact(self, text: str) -> str:
        """Return a text without this endpoint's secrets: an error body may repeat what the server was sent."""
        secrets = [self.given_token] if self.given_token else []
        if self.token_file is not None:
            secrets += self.token_file.secrets
        if self.http_auth:
            secrets += [self.http_auth[1], base64.b64encode(":".join(self.http_auth).encode()).decode()]
        for secret in filter(None, secrets):
            text = text.replace(secret, "…")
        return text


def resolve(options: t.Mapping[str, t.Any], environ: t.Mapping[str, str], *, late_token: bool = False) -> Endpoint:
    """Return the endpoint of the connection options, each falling back to its CONSUL_* variable.

    An option that is missing or None counts as not given. With ``late_token`` the file with the token may appear later: until then
    requests raise TokenUnavailable. Raises InvalidOption.
    """
    pick = _Picker(options, environ)
    url, from_option = pick.first("url", "CONSUL_HTTP_ADDR")
    base_url, shown_url, socket_path = _parse_url(
        DEFAULT_URL if url is None else url,
        "url" if from_option or url is None else "CONSUL_HTTP_ADDR",
        # CONSUL_HTTP_SSL applies to a bare host:port from the environment only, never to an explicit url.
        bare_scheme="https" if not from_option and pick.flag(None, "CONSUL_HTTP_SSL", False) else "http",
    )
    ca_path = pick.text("ca_path", "CONSUL_CACERT", "CONSUL_CAPATH")
    client_cert, client_key = _client_pair(pick)
    given_token, token_file = _token(pick)
    found = Endpoint(
        base_url=base_url,
        shown_url=shown_url,
        socket_path=socket_path,
        datacenter=pick.text("datacenter"),
        given_token=given_token,
        token_file=token_file,
        http_auth=_http_auth(pick),
        ca_path=ca_path,
        client_cert=client_cert,
        client_key=client_key,
        tls_server_name=pick.text("tls_server_name", "CONSUL_TLS_SERVER_NAME"),
        validate_certs=pick.flag("validate_certs", "CONSUL_HTTP_SSL_VERIFY", True),
        namespace=pick.text("namespace", "CONSUL_NAMESPACE"),
        partition=pick.text("partition", "CONSUL_PARTITION"),
        timeout_s=_timeout(pick),
    )
    if not late_token:
        check_token(found)
    return found


def check_token(endpoint: Endpoint) -> None:
    """Raise InvalidOption if the file with the token cannot be read now."""
    if endpoint.token_file is not None:
        try:
            endpoint.token_file.read()
        except TokenUnavailable as error:
            raise InvalidOption(str(error)) from None


# Options that belong together: one that is given replaces its whole group.
_TOGETHER = (("token", "token_file"), ("client_cert", "client_key"))


def with_defaults(options: t.Mapping[str, t.Any], defaults: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options of one of two endpoints; options that are not given come from the defaults for both."""
    given = {name: value for name, value in options.items() if value is not None}
    merged = dict(defaults)
    for group in _TOGETHER:
        if any(name in given for name in group):
            merged.update(dict.fromkeys(group))
    return {**merged, **given}


class _Picker:
    """Looks up an option in the given ones, then in the environment; empty variables count as unset."""

    def __init__(self, options: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> None:
        self.options = options
        self.environ = environ

    def given(self, name: str) -> bool:
        return self.options.get(name) is not None

    def first(self, name: str, *variables: str) -> tuple[str | None, bool]:
        """Return (value or None, whether it came from the option)."""
        if self.given(name):
            return str(self.options[name]), True
        for variable in variables:
            if self.environ.get(variable):
                return self.environ[variable], False
        return None, False

    def text(self, name: str, *variables: str) -> str | None:
        return self.first(name, *variables)[0] or None

    def flag(self, name: str | None, variable: str, default: bool) -> bool:
        if name is not None and self.given(name):
            return bool(self.options[name])
        word = self.environ.get(variable, "")
        if not word:
            return default
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
        raise InvalidOption(f"{variable}={word!r} is neither true nor false: set it to true or false, or unset it.")


def _parse_url(url: str, where: str, bare_scheme: str) -> tuple[str, str, str | None]:
    """Return (base URL, URL to show, socket path)."""
    text = url.strip()
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = bare_scheme, text
    scheme = scheme.lower()  # RFC 3986: schemes are case-insensitive
    if scheme == "unix":
        if not rest.startswith("/"):
            raise InvalidOption(f"{where} names no absolute socket path in {_safe(text)!r}: write unix:///path.")
        return "http://localhost", f"unix://{rest}", rest
    if scheme not in ("http", "https"):
        raise InvalidOption(f"{where} has the unknown scheme {scheme!r}: write {FORMS}.")
    if "@" in rest:
        raise InvalidOption(f"{where} holds a user name or password: give them as http_auth, which is kept secret.")
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidOption(f"{where} {_safe(text)!r} is not an address ({error}): write {FORMS}.") from None
    if not host or parts.query or parts.fragment or re.search(r"\s", rest):
        raise InvalidOption(f"{where} {_safe(text)!r} is not an address: write {FORMS}.")
    shown_host = f"[{host}]" if ":" in host else host
    base = f"{scheme}://{shown_host}" + (f":{port}" if port else "") + parts.path.rstrip("/")
    return base, base, None


def _safe(url: str) -> str:
    """Return an address without anything that could be a password."""
    return "…" + url.rpartition("@")[2] if "@" in url else url


def _client_pair(pick: _Picker) -> tuple[str | None, str | None]:
    """Return certificate and key; a pair that is given explicitly is not completed from the environment."""
    if pick.given("client_cert") or pick.given("client_key"):
        certificate, key = pick.text("client_cert"), pick.text("client_key")
    else:
        certificate, key = (
            pick.text("client_cert", "CONSUL_CLIENT_CERT"),
            pick.text("client_key", "CONSUL_CLIENT_KEY"),
        )
    if key and not certificate:
        raise InvalidOption("client_key is given without client_cert: a key alone proves nothing, name both.")
    return certificate, key


def _token(pick: _Picker) -> tuple[str | None, TokenFile | None]:
    """Return the token, or the file that has it; an explicitly empty token means the anonymous one."""
    if pick.given("token") and pick.given("token_file"):
        raise InvalidOption("token and token_file are both given: give one of them.")
    if pick.given("token_file"):
        return None, TokenFile(str(pick.options["token_file"]), "token_file")
    text, from_option = pick.first("token", "CONSUL_HTTP_TOKEN")
    if text is not None:
        try:
            return clean_token(text, "token" if from_option else "CONSUL_HTTP_TOKEN") or None, None
        except TokenUnavailable as error:
            raise InvalidOption(str(error)) from None
    path = pick.environ.get("CONSUL_HTTP_TOKEN_FILE")
    return None, TokenFile(path, "CONSUL_HTTP_TOKEN_FILE") if path else None


def _http_auth(pick: _Picker) -> tuple[str, str] | None:
    value = pick.text("http_auth", "CONSUL_HTTP_AUTH")
    if value is None:
        return None
    user, separator, password = value.partition(":")
    if not separator or not user:
        raise InvalidOption("http_auth (or CONSUL_HTTP_AUTH) is not of the form user:password.")
    return user, password


def _timeout(pick: _Picker) -> float:
    value = pick.options.get("timeout")
    return DEFAULT_TIMEOUT_S if value is None else positive_seconds(float(value), "timeout")
