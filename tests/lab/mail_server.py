# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real SMTP server (aiosmtpd) on a loopback address: with and without TLS and login, and with the refusals that a test asks for."""

from __future__ import annotations

import asyncio
import email
import email.message
import email.policy
import ssl
import threading
import typing as t
from dataclasses import dataclass, field

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from .tls import Pair


@dataclass
class Delivered:
    """One mail that the server took."""

    sender: str
    recipients: list[str]
    content: bytes
    tls: bool
    user: str

    @property
    def message(self) -> email.message.EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(parsed, email.message.EmailMessage)
        return parsed


@dataclass
class Behaviour:
    """What the server answers instead of 250: to RCPT by address, to DATA. ``hang`` makes it stay silent after DATA."""

    rcpt: dict[str, str] = field(default_factory=dict)
    mail: str = ""
    data: str = ""
    hang: bool = False


class MailServer:
    """Runs in a thread. ``tls`` is none, starttls or implicit; with ``login`` (user, password) it wants a login."""

    def __init__(self, tls: str = "none", pair: Pair | None = None, login: tuple[str, str] | None = None) -> None:
        self.delivered: list[Delivered] = []
        self.behaviour = Behaviour()
        self.data_arrived = threading.Event()
        self._tls, self._login = tls, login
        self._context: ssl.SSLContext | None = None
        if pair:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(pair.certificate, pair.key)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(20)

    def reset(self, behaviour: Behaviour | None = None) -> None:
        """Forget what was delivered, and behave like this from now on."""
        self.delivered.clear()
        self.behaviour = behaviour or Behaviour()
        self.data_arrived.clear()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def __enter__(self) -> MailServer:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(
                self._protocol, "127.0.0.1", 0, ssl=self._context if self._tls == "implicit" else None
            )
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _protocol(self) -> t.Any:
        return SMTP(
            _Handler(self),
            hostname="mail.example.org",
            loop=self._loop,
            tls_context=self._context if self._tls == "starttls" else None,
            require_starttls=self._tls == "starttls",
            auth_required=self._login is not None,
            auth_require_tls=self._tls == "starttls",
            authenticator=self._authenticate if self._login else None,
        )

    def _authenticate(
        self, server: t.Any, session: Session, envelope: Envelope, mechanism: str, data: t.Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword) and self._login is not None
        good = (data.login, data.password) == tuple(part.encode() for part in self._login)
        return AuthResult(success=good, handled=False, auth_data=data.login.decode())


class _Handler:
    def __init__(self, server: MailServer) -> None:
        self._server = server

    async def handle_MAIL(
        self, server: t.Any, session: Session, envelope: Envelope, address: str, options: t.Any
    ) -> str:
        if self._server.behaviour.mail:
            return self._server.behaviour.mail
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: t.Any, session: Session, envelope: Envelope, address: str, options: t.Any
    ) -> str:
        answer = self._server.behaviour.rcpt.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: t.Any, session: Session, envelope: Envelope) -> str:
        self._server.data_arrived.set()
        if self._server.behaviour.hang:
            await asyncio.sleep(60)
        if self._server.behaviour.data:
            return self._server.behaviour.data
        assert isinstance(envelope.content, bytes)
        self._server.delivered.append(
            Delivered(
                envelope.mail_from or "",
                envelope.rcpt_tos,
                envelope.content,
                session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None,
                str(session.auth_data or ""),
            )
        )
        return "250 OK"
