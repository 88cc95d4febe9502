# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the HTTP endpoint: where it listens, with which certificate, and who may do what."""

from __future__ import annotations

import ipaddress
import ssl
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .._config.validation import Spec
from .._consul.errors import InvalidOption

DEFAULT_PORT = 9180
SHORTEST_TOKEN = 16  # characters

SPEC: Spec = {
    "enabled": {"type": "bool", "default": True},
    "address": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int"},
    "tls_cert": {"type": "path"},
    "tls_key": {"type": "path", "no_log": False},
    "token_file": {"type": "path", "no_log": False},
    "read_token_file": {"type": "path", "no_log": False},
    "host_names": {"type": "list", "elements": "str", "default": []},
    "anonymous_reads": {"type": "bool", "default": False},
    "plain_http": {"type": "bool", "default": False},
}


@dataclass(frozen=True)
class ListenConfig:
    """Where the endpoint listens; without ``tls_cert`` it speaks plain HTTP."""

    enabled: bool
    address: str
    port: int
    tls_cert: str | None = None
    tls_key: str | None = None


@dataclass(frozen=True)
class AccessConfig:
    """Who may do what at the endpoint.

    Without a token nothing can be changed. ``reads_need_token`` is True for an endpoint beyond loopback, unless that was waived: this
    token or ``read_token`` then. ``host_names`` are names, besides those of this host, that a request may be addressed to.
    """

    token: str = field(default="", repr=False)
    reads_need_token: bool = False
    host_names: tuple[str, ...] = ()
    read_token: str = field(default="", repr=False)


def make_listen(values: t.Mapping[str, t.Any], default_port: int = DEFAULT_PORT) -> tuple[ListenConfig, AccessConfig]:
    """Return the configuration in validated options. Raises InvalidOption that begins with the path of the key at fault."""
    port = default_port if values["port"] is None else values["port"]
    if not 1 <= port <= 65535:
        raise InvalidOption(f"endpoint.port: {port} is not a port number between 1 and 65535.")
    try:
        address = ipaddress.ip_address("127.0.0.1" if values["address"] == "localhost" else values["address"])
    except ValueError:
        raise InvalidOption(f"endpoint.address: {values['address']!r} is not an IP address.") from None
    listen = ListenConfig(values["enabled"], values["address"], port, values["tls_cert"], values["tls_key"])
    token, read_token = (_token(values[option], option) for option in ("token_file", "read_token_file"))
    if token and token == read_token:
        raise InvalidOption(
            "endpoint.read_token_file: it holds the token of endpoint.token_file, which may change something."
        )
    if listen.tls_key and not listen.tls_cert:
        raise InvalidOption("endpoint.tls_key: a key without endpoint.tls_cert is of no use.")
    if listen.enabled and listen.tls_cert:
        tls_context(listen)
    is_beyond_loopback = not address.is_loopback
    if listen.enabled and is_beyond_loopback:
        where = f"endpoint.address: {listen.address} can be reached from other hosts"
        if not listen.tls_cert and not values["plain_http"]:
            raise InvalidOption(f"{where}: set endpoint.tls_cert and tls_key, or endpoint.plain_http to true.")
        if not token and not read_token and not values["anonymous_reads"]:
            raise InvalidOption(
                f"{where}: set endpoint.token_file or read_token_file, or endpoint.anonymous_reads to true."
            )
    reads_need_token = is_beyond_loopback and not values["anonymous_reads"]
    return listen, AccessConfig(token, reads_need_token, tuple(values["host_names"]), read_token)


def tls_context(listen: ListenConfig) -> ssl.SSLContext:
    """Return the server's TLS context. Raises InvalidOption when the certificate or key cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificate(context, listen)
    return context


def load_certificate(context: ssl.SSLContext, listen: ListenConfig) -> None:
    """Read the certificate and key into a context, also a second time. Raises InvalidOption when they cannot be used."""
    try:
        # With an empty password an encrypted key fails at once instead of prompting at the terminal.
        context.load_cert_chain(listen.tls_cert or "", listen.tls_key, password=lambda: b"")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InvalidOption(
            f"endpoint.tls_cert: {listen.tls_cert} cannot be used ({reason}): PEM files are needed, the key without a "
            "passphrase and belonging to the certificate."
        ) from None


def _token(path: str | None, option: str) -> str:
    """Return the token in the file that an option names, "" without one."""
    if not path:
        return ""
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except OSError as error:
        raise InvalidOption(f"endpoint.{option}: {path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise InvalidOption(f"endpoint.{option}: {path} does not hold a token: it is not plain text.") from None
    if len(token) < SHORTEST_TOKEN or any(not 0x21 <= ord(character) <= 0x7E for character in token):
        raise InvalidOption(
            f"endpoint.{option}: {path} must hold one word of at least {SHORTEST_TOKEN} letters, digits and signs."
        )
    return token
