# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How webhooks and Alertmanager are authenticated to: a password, a bearer token, or headers with secrets."""

from __future__ import annotations

import base64
import re
import typing as t

from ...._consul.errors import InvalidOption
from .options import Options, Secret, secret_spec

AUTHENTICATION: dict[str, dict[str, t.Any]] = {
    "username": {"type": "str"},
    **secret_spec("password"),
    **secret_spec("bearer_token"),
    "headers": {"type": "dict", "default": {}},
}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_SECRET_WORDS = {
    "authorization",
    "auth",
    "token",
    "key",
    "apikey",
    "secret",
    "cookie",
    "password",
    "credential",
    "signature",
}
_OURS = {"host", "content-length", "content-type", "connection", "transfer-encoding", "user-agent"}


class Authentication:
    """The headers that authenticate a request. Construction raises InvalidOption.

    A header is text, or ``{"file": "/path"}`` or ``{"credential": "name"}``; those whose names speak of secrets must be the latter.
    """

    def __init__(self, options: Options) -> None:
        self._username = options["username"]
        self._password = options.optional_secret("password")
        self._bearer_token = options.optional_secret("bearer_token")
        if (self._username is None) != (self._password is None):
            raise options.invalid("username", "give it together with password_file or password_credential.")
        if self._username is not None and self._bearer_token is not None:
            raise options.invalid("username", "give either a user name and password or a bearer token.")
        self._headers = {name: _header(options, name, value) for name, value in options["headers"].items()}

    def headers(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return the headers, and the secrets in them. Raises InvalidOption."""
        headers: dict[str, str] = {}
        secrets: list[str] = []
        for name, value in self._headers.items():
            headers[name] = value.read() if isinstance(value, Secret) else value
            if isinstance(value, Secret):
                secrets.append(headers[name])
                if not headers[name].isascii():
                    raise InvalidOption(f"the header {name} holds characters that no header can have.")
        if self._password is not None:
            password = self._password.read()
            encoded = base64.b64encode(f"{self._username}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {encoded}"
            secrets += [password, encoded]
        if self._bearer_token is not None:
            token = self._bearer_token.read()
            if not token.isascii():
                raise InvalidOption("the bearer token holds characters that no header can have.")
            headers["Authorization"] = f"Bearer {token}"
            secrets.append(token)
        return headers, tuple(secrets)


def _header(options: Options, name: str, value: t.Any) -> str | Secret:
    option = f"headers.{name}"
    if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
        raise options.invalid(option, "this is not a header that can be set.")
    if isinstance(value, dict):
        return options.nested_secret(option, value)
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise options.invalid(option, 'expected text, {"file": "/path"} or {"credential": "name"}.')
    if _SECRET_WORDS & set(name.lower().split("-")):
        raise options.invalid(
            option, 'secrets are not allowed in this file: write {"file": "/path"} or {"credential": "name"}.'
        )
    return value
