# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Syslog: one message for each alert, to the local socket or to a server.

Options: ``transport``: ``unix`` (the socket ``path``, in the traditional form that local daemons and journald read), ``udp``,
``tcp`` or ``tls`` (``host`` and ``port``, in the form of RFC 5424; over TCP each message is preceded by its length);
``facility``; ``timeout``; TLS options.
Source: RFC 3164 (local), RFC 5424, RFC 5425 (TLS, port 6514), RFC 5426 (UDP, port 514), RFC 6587 (TCP, port 601)
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
import typing as t

from ...._consul.session import tls_context
from ..notification import FIRING, Alert, Notification
from .message_fields import incident_key, rfc3339, shortened_bytes
from .open_sockets import OpenSockets
from .options import TLS, Options, spec
from .parts import Parts
from .receiver import DeliveryFailed, Receiver, ReceiverContext
from .tls_options import tls_of

PORTS = {"udp": 514, "tcp": 601, "tls": 6514}
FACILITIES = {
    **{"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "cron": 9, "authpriv": 10},
    **{f"local{number}": 16 + number for number in range(8)},
}
CRITICAL, WARNING, NOTICE = 2, 4, 5
LIMIT_BYTES = 2048  # what every receiver of RFC 5424 should take, section 6.1
IDENT = "consulops"
VALUE_LIMIT = 200  # characters of a parameter
DRAIN_S = 1.0  # how long a server may take to end a connection

SPEC = spec(
    TLS,
    transport={"type": "str", "default": "unix", "choices": ["unix", "udp", "tcp", "tls"]},
    path={"type": "path", "default": "/dev/log"},
    host={"type": "str"},
    port={"type": "int"},
    facility={"type": "str", "default": "daemon", "choices": sorted(FACILITIES)},
)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Syslog(Options(name, options, context), context)


class Syslog(Receiver):
    """Sends over a new connection for each notification."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        self._transport = options["transport"]
        self._path = options["path"]
        self._host = options["host"]
        self._port = options["port"] or PORTS.get(self._transport, 0)
        if self._transport != "unix" and not self._host:
            raise options.invalid("host", f"this option is required with transport {self._transport}.")
        if not 0 <= self._port < 65536:
            raise options.invalid("port", f"{self._port} is not a port.")
        self._facility = FACILITIES[options["facility"]]
        self._timeout_s = options.duration_s("timeout")
        self._instance = context.instance
        self._sockets = OpenSockets()
        self._parts = Parts()
        self._tls = tls_of(options)
        self._server_name = options["tls_server_name"] or self._host

    def send(self, notification: Notification) -> None:
        """Send one message for each alert. UDP and local sockets do not say whether anybody took it."""
        try:
            with self._sockets.within(self._timeout_s), self._connected() as sock:
                parts = {alert.episode: self._sender(sock, alert) for alert in notification.alerts}
                self._parts.send_each(notification, parts)
                self._finish(sock)
        except (OSError, ValueError) as error:  # ValueError: a name that cannot be one of DNS
            place = self._path if self._transport == "unix" else f"{self._host}:{self._port} ({self._transport})"
            late = self._sockets.timed_out or isinstance(error, socket.timeout)
            reason = (
                f"no connection within {self._timeout_s:g} s" if late else getattr(error, "strerror", None) or error
            )
            raise DeliveryFailed(f"syslog {place}: {reason}.") from None

    def abort(self) -> None:
        """Cut the connection."""
        self._sockets.cut()

    # -----------------------------------------------------------------------------------------------------------

    def _sender(self, sock: socket.socket, alert: Alert) -> t.Callable[[], None]:
        return lambda: sock.sendall(self._framed(alert))

    def _connected(self) -> socket.socket:
        if self._transport == "unix":
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            return self._connect(sock, self._path)
        if self._transport == "udp":
            family, kind, protocol, _name, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[
                0
            ]
            return self._connect(socket.socket(family, kind, protocol), address)
        sock = socket.create_connection((self._host, self._port), self._timeout_s)
        self._sockets.add(sock)
        if self._transport == "tls":
            sock = self._wrapped(sock)
            self._sockets.add(sock)
        return sock

    def _connect(self, sock: socket.socket, address: t.Any) -> socket.socket:
        sock.settimeout(self._timeout_s)
        self._sockets.add(sock)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock

    def _wrapped(self, sock: socket.socket) -> ssl.SSLSocket:
        try:
            return tls_context(self._tls).wrap_socket(sock, server_hostname=self._server_name)
        except (OSError, ValueError):
            sock.close()
            raise

    def _finish(self, sock: socket.socket) -> None:
        """End a stream, so that what was sent arrives before it is closed."""
        if self._transport not in ("tcp", "tls"):
            return
        sock.settimeout(min(self._timeout_s, DRAIN_S))
        with contextlib.suppress(OSError):
            if isinstance(sock, ssl.SSLSocket):
                sock.unwrap()
        with contextlib.suppress(OSError):
            # Closing with something unread, such as the tickets of TLS 1.3, would discard what is on its way to the server.
            socket.socket.shutdown(sock, socket.SHUT_WR)
            while socket.socket.recv(sock, 4096):
                pass

    def _framed(self, alert: Alert) -> bytes:
        fires = alert.status == FIRING
        severity = NOTICE if not fires else CRITICAL if alert.severity == "critical" else WARNING
        priority = f"<{8 * self._facility + severity}>"
        message = _one_line(f"{alert.status} {alert.severity} {alert.summary} {alert.output}")
        if self._transport == "unix":
            # The form of RFC 3164 without a host name, as the C library sends it.
            clock = time.strftime("%b %e %H:%M:%S")
            return shortened_bytes(f"{priority}{clock} {IDENT}: {message}", LIMIT_BYTES).encode()
        moment = alert.since if fires or alert.ended is None else alert.ended
        host = re.sub(r"[^!-~]", "", self._instance)[:255] or "-"
        head = f"{priority}1 {rfc3339(moment)} {host} {IDENT} - {alert.status} {self._data(alert)}"
        data = head.encode("utf-8", "replace") + b" \xef\xbb\xbf"
        data += shortened_bytes(message, max(64, LIMIT_BYTES - len(data))).encode()
        return data if self._transport == "udp" else str(len(data)).encode() + b" " + data

    def _data(self, alert: Alert) -> str:
        """Return the alert as structured data, under the enterprise number that RFC 5612 reserves for examples."""
        values = {
            "incident": incident_key(alert),
            "rule": alert.rule,
            "severity": alert.severity,
            "datacenter": alert.datacenter,
            "node": alert.node,
            "service": alert.service,
            "check": alert.check,
        }
        pairs = " ".join(f'{name}="{_escaped(value)}"' for name, value in values.items() if value)
        return f"[alert@32473 {pairs}]"


def _escaped(value: str) -> str:
    """Return a parameter's value; backslash, quote and closing bracket are escaped (RFC 5424, section 6.3.3)."""
    return re.sub(r'([\\"\]])', r"\\\1", _one_line(value)[:VALUE_LIMIT])


def _one_line(text: str) -> str:
    """Return a text without line breaks and control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
