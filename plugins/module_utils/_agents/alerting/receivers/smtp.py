# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mail by SMTP: one mail for each notification.

Options: ``host``, ``port``; ``tls``: ``none`` (port 25), ``starttls`` (port 587, the default) or ``implicit`` (port 465);
``username`` with ``password_file`` or ``password_credential``; ``from``, ``to`` (a list), ``reply_to``; ``hello`` (the name that
this host gives itself); ``timeout``; ``ca_path``, ``client_cert``, ``client_key``, ``tls_server_name``, ``validate_certs``. A
password is never sent without TLS, except to this host itself. An address that the server does not know does not keep the others
from getting the mail.
Source: RFC 5321, RFC 3207 (STARTTLS), RFC 8314 (implicit TLS)
"""

from __future__ import annotations

import contextlib
import email.utils
import ipaddress
import smtplib
import socket
import ssl
import typing as t

from ...._consul.failures import root_reason
from ...._consul.session import tls_context
from ..notification import Notification
from .mail_message import Envelope, compose, is_address
from .open_sockets import OpenSockets
from .options import TLS, Options, secret_spec, spec
from .parts import Parts
from .receiver import DeliveryFailed, Receiver, ReceiverContext
from .tls_options import tls_of

PORTS = {"none": 25, "starttls": 587, "implicit": 465}
TOO_LARGE = 552
MAX_SHOWN_CHARACTERS = 300

SPEC = spec(
    TLS,
    secret_spec("password"),
    host={"type": "str", "required": True},
    port={"type": "int"},
    tls={"type": "str", "default": "starttls", "choices": ["none", "starttls", "implicit"]},
    username={"type": "str"},
    to={"type": "list", "elements": "str", "required": True},
    reply_to={"type": "str"},
    hello={"type": "str"},
    **{"from": {"type": "str", "required": True}},
)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Smtp(Options(name, options, context), context)


class Smtp(Receiver):
    """Sends mail, over a new connection each time."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        self._host = options["host"]
        self._tls = options["tls"]
        self._port = options["port"] or PORTS[self._tls]
        if not 0 < self._port < 65536:
            raise options.invalid("port", f"{self._port} is not a port.")
        self._username = options["username"]
        self._password = options.optional_secret("password")
        if (self._username is None) != (self._password is None):
            raise options.invalid("username", "give it together with password_file or password_credential.")
        if self._username is not None and self._tls == "none" and not _is_loopback(self._host):
            raise options.invalid("username", "a password would be sent in the clear: set tls to starttls or implicit.")
        self._envelope = _envelope(options)
        self._addresses = tuple(dict.fromkeys(email.utils.parseaddr(text)[1] for text in options["to"]))
        self._hello = options["hello"] or context.instance or socket.gethostname()
        self._timeout_s = options.duration_s("timeout")
        self._render = context.render
        self._endpoint = tls_of(options)
        self._server_name = options["tls_server_name"] or self._host
        self._sockets = OpenSockets()
        self._parts = Parts()
        self._answer = ""

    @property
    def answer(self) -> str:
        """What the server said when it took the last mail."""
        return self._answer

    @property
    def _place(self) -> str:
        return f"SMTP {self._host}:{self._port}"

    def send(self, notification: Notification) -> None:
        """Send one mail to the addresses that have not got it yet."""
        message = compose(notification, self._render(notification), self._envelope)
        dealt_with = self._parts.of(notification)
        open_addresses = [address for address in self._addresses if address not in dealt_with]
        postponed: dict[str, str] = {}
        if open_addresses:
            with self._sockets.within(self._timeout_s):
                try:
                    postponed = self._deliver(message, open_addresses, dealt_with)
                except (smtplib.SMTPException, OSError, ValueError) as error:
                    raise self._failure(error) from None
        if postponed:
            raise DeliveryFailed(f"{self._place} has postponed {_some(postponed)}.")
        refused = {address: problem for address, problem in dealt_with.items() if problem}
        if refused:
            raise DeliveryFailed(
                f"{self._place} refuses {_some(refused)}.", permanent=True, partial=len(refused) < len(self._addresses)
            )

    def abort(self) -> None:
        """Cut the connection."""
        self._sockets.cut()

    # -----------------------------------------------------------------------------------------------------------

    def _deliver(self, message: bytes, addresses: t.Sequence[str], dealt_with: dict[str, str]) -> dict[str, str]:
        """Send a mail and note which addresses were dealt with. Return the others, and what the server said of them."""
        server = self._connected()
        try:
            code, answer = server.mail(self._envelope.sender_address)
            if code != 250:
                raise smtplib.SMTPSenderRefused(code, answer, self._envelope.sender_address)
            accepted, postponed = [], {}
            for address in addresses:
                code, answer = server.rcpt(address)
                if code in (250, 251):
                    accepted.append(address)
                elif code >= 500:
                    dealt_with[address] = f"{code} {_text(answer)}"
                else:
                    postponed[address] = f"{code} {_text(answer)}"
            if accepted:
                code, answer = server.data(message)
                if code != 250:
                    raise smtplib.SMTPDataError(code, answer)
                dealt_with.update(dict.fromkeys(accepted, ""))
                self._answer = f"{code} {_text(answer)}"
            return postponed
        finally:
            with contextlib.suppress(smtplib.SMTPException, OSError):  # the fate of the mail is known by now
                server.quit()
            server.close()

    def _connected(self) -> smtplib.SMTP:
        sock = socket.create_connection((self._host, self._port), self._timeout_s)
        self._sockets.add(sock)
        context = _NamedContext(tls_context(self._endpoint), self._server_name)
        if self._tls == "implicit":
            sock = context.wrap_socket(sock)
            self._sockets.add(sock)
        server = _Connection(sock, self._hello, self._timeout_s)
        with contextlib.ExitStack() as stack:
            stack.callback(server.close)
            server.connect_over(self._host, self._port)
            server.ehlo_or_helo_if_needed()
            if self._tls == "starttls":
                server.starttls(context=t.cast(ssl.SSLContext, context))
                self._sockets.add(t.cast(socket.socket, server.sock))
                server.ehlo_or_helo_if_needed()
            if self._username is not None and self._password is not None:
                server.login(self._username, self._password.read())
            stack.pop_all()  # no failure: it stays open
        return server

    def _failure(self, error: Exception) -> DeliveryFailed:
        if self._sockets.timed_out or isinstance(error, socket.timeout):
            return DeliveryFailed(f"{self._place}: no complete answer within {self._timeout_s:g} s.")
        if isinstance(error, smtplib.SMTPAuthenticationError):
            text = f"{error.smtp_code} {_text(error.smtp_error)}"
            return DeliveryFailed(
                f"{self._place} refuses the login of {self._username} ({text}): is the password right?"
            )
        if isinstance(error, smtplib.SMTPSenderRefused):
            text = f"{error.smtp_code} {_text(error.smtp_error)}"
            return DeliveryFailed(
                f"{self._place} refuses mail from {error.sender}: {text}.", permanent=error.smtp_code == TOO_LARGE
            )
        if isinstance(error, smtplib.SMTPResponseException):
            text = f"{error.smtp_code} {_text(error.smtp_error)}"
            is_permanent = isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500
            return DeliveryFailed(f"{self._place} answers {text}.", permanent=is_permanent)
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return DeliveryFailed(f"{self._place}: {str(error).rstrip('.')}. Are tls and username right for that port?")
        if isinstance(error, ssl.SSLError):
            advice = "check tls, port, ca_path and tls_server_name"
            return DeliveryFailed(f"{self._place}: TLS failed ({root_reason(error)}); {advice}.")
        if isinstance(error, UnicodeEncodeError):
            return DeliveryFailed(f"{self._place}: user name and password must be ASCII.")
        return DeliveryFailed(f"{self._place}: {root_reason(error)}.")


class _NamedContext:
    """A TLS context that checks the certificate for a given name, whatever name smtplib asks for."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._context = context
        self._name = name

    def wrap_socket(self, sock: socket.socket, **_given: t.Any) -> ssl.SSLSocket:
        """Return the socket with TLS."""
        return self._context.wrap_socket(sock, server_hostname=self._name)


class _Connection(smtplib.SMTP):
    """SMTP over a socket that is connected already, so that it can be cut at any time."""

    def __init__(self, sock: socket.socket, hello: str, timeout_s: float) -> None:
        self._connected_socket = sock
        super().__init__(local_hostname=hello, timeout=timeout_s)

    def connect_over(self, host: str, port: int) -> None:
        """Read the greeting. Raises SMTPConnectError."""
        code, answer = self.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, answer)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._connected_socket


def _envelope(options: Options) -> Envelope:
    if not options["to"]:
        raise options.invalid("to", "name one address at least.")
    places = [("from", options["from"]), *((f"to[{number}]", text) for number, text in enumerate(options["to"]))]
    for option, text in [*places, ("reply_to", options["reply_to"] or options["from"])]:
        if not is_address(text):
            raise options.invalid(option, f"{text!r} is not a mail address.")
    return Envelope(options["from"], tuple(options["to"]), options["reply_to"] or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _text(answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return " ".join(text.split())[:MAX_SHOWN_CHARACTERS].rstrip(".")


def _some(problems: t.Mapping[str, str]) -> str:
    (address, problem), *others = problems.items()
    return f"{address} ({problem})" + (f" and {len(others)} more" if others else "")
