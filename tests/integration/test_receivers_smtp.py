# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mail against a real SMTP server: TLS, login, what arrives, and what the server may refuse."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.message_fields import (
    incident_key,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.receiver import (
    DeliveryFailed,
    Receiver,
)

from tests.lab.mail_server import Behaviour, MailServer
from tests.lab.notifications import alert, notification
from tests.lab.receiving import make_receiver, secret_file
from tests.lab.tls import Authority

NAME = "mail.example.org"
LOGIN = ("monitor", "pass word")
BOTH = notification(alert("web1"), alert("web2", status="resolved"))


class Servers(t.NamedTuple):
    """One server for each kind of encryption; those with TLS want a login."""

    by_tls: dict[str, MailServer]
    ca_path: str


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Servers]:
    directory = tmp_path_factory.mktemp("mail")
    authority = Authority(directory)
    pair = authority.issue(directory, NAME)
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(MailServer())
        starttls = stack.enter_context(MailServer("starttls", pair, LOGIN))
        implicit = stack.enter_context(MailServer("implicit", pair, LOGIN))
        yield Servers({"none": plain, "starttls": starttls, "implicit": implicit}, str(authority.ca_path))


@pytest.fixture
def plain(servers: Servers) -> MailServer:
    servers.by_tls["none"].reset()
    return servers.by_tls["none"]


def mail(server: MailServer, tls: str = "none", **options: t.Any) -> Receiver:
    given = {"from": "Consul <consul@example.org>", "to": ["ops@example.org"], "host": "127.0.0.1", "port": server.port}
    return make_receiver("smtp", **{**given, "tls": tls, **options})


def test_a_mail_without_tls_and_login_arrives_with_everything_it_needs(plain: MailServer) -> None:
    mail(plain, to=["ops@example.org", "Öps <other@example.org>"], reply_to="team@example.org").send(BOTH)
    (got,) = plain.delivered
    assert (got.sender, got.recipients) == ("consul@example.org", ["ops@example.org", "other@example.org"])
    message = got.message
    assert message["Subject"] == "[firing] firing web1/shop/http, resolved web2/shop/http"
    assert message["From"] == "Consul <consul@example.org>" and message["Reply-To"] == "team@example.org"
    assert message["To"] == "ops@example.org, Öps <other@example.org>"
    assert message["Date"] == "Mon, 21 Sep 2026 14:13:25 +0000" and message["Importance"] == "high"
    assert message["Message-ID"].endswith("@example.org>") and message["Auto-Submitted"] == "auto-generated"
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None and "connection refused" in text.get_content()
    assert html is not None and html.get_content().startswith("<p>critical: check http of shop on web1")
    assert max(map(len, got.content.split(b"\r\n"))) < 1000 and got.content.isascii()


def test_mails_about_one_incident_are_one_thread_and_a_repetition_is_the_same_mail(plain: MailServer) -> None:
    receiver = mail(plain)
    fires = notification(alert("web1"))
    ends = notification(alert("web1", status="resolved"), kind="resolved")
    for one in (fires, ends, BOTH):
        receiver.send(one)
    mail(plain).send(fires)
    first, second, both, again = (got.message for got in plain.delivered)
    assert first["Message-ID"] == again["Message-ID"] and first["Message-ID"] != second["Message-ID"]
    assert plain.delivered[0].content == plain.delivered[3].content
    incident = f"<{incident_key(alert('web1'))}@example.org>"
    assert first["References"] == second["References"] == second["In-Reply-To"] == incident
    assert both["References"].split() == [incident, f"<{incident_key(alert('web2'))}@example.org>"]
    assert second["Importance"] is None


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # the server does not know of implicit TLS
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_tls_and_login(tls: str, servers: Servers, tmp_path: Path) -> None:
    server = servers.by_tls[tls]
    server.reset()
    good = {
        "username": LOGIN[0],
        "password_file": secret_file(tmp_path, LOGIN[1]),
        "ca_path": servers.ca_path,
        "tls_server_name": NAME,
    }
    mail(server, tls, **good).send(BOTH)
    (got,) = server.delivered
    assert got.tls and got.user == LOGIN[0]
    with pytest.raises(DeliveryFailed, match="TLS failed .*certificate"):
        mail(server, tls, **{**good, "tls_server_name": None}).send(BOTH)
    with pytest.raises(DeliveryFailed, match="TLS failed .*certificate"):
        mail(server, tls, **{**good, "ca_path": None}).send(BOTH)
    wrong = {**good, "password_file": secret_file(tmp_path, "wrong", "other")}
    with pytest.raises(
        DeliveryFailed, match=r"refuses the login of monitor \(535 .*\): is the password right\?$"
    ) as failure:
        mail(server, tls, **wrong).send(BOTH)
    assert not failure.value.permanent and "wrong" not in str(failure.value)
    assert len(server.delivered) == 1


def test_a_server_without_starttls_gets_neither_mail_nor_password(plain: MailServer, tmp_path: Path) -> None:
    receiver = mail(plain, "starttls", username="monitor", password_file=secret_file(tmp_path, "secret"))
    with pytest.raises(DeliveryFailed, match="STARTTLS .*not supported"):
        receiver.send(BOTH)
    assert plain.delivered == []


def test_an_address_that_the_server_does_not_know_does_not_keep_the_others_from_the_mail(plain: MailServer) -> None:
    plain.reset(Behaviour(rcpt={"gone@example.org": "550 5.1.1 no such user"}))
    receiver = mail(plain, to=["ops@example.org", "gone@example.org"])
    with pytest.raises(DeliveryFailed, match=r"refuses gone@example.org \(550 5.1.1 no such user\)\.$") as failure:
        receiver.send(BOTH)
    assert failure.value.permanent and failure.value.partial
    assert [got.recipients for got in plain.delivered] == [["ops@example.org"]]


def test_an_address_that_was_postponed_gets_the_mail_later_and_the_others_do_not_get_it_twice(
    plain: MailServer,
) -> None:
    plain.reset(Behaviour(rcpt={"slow@example.org": "451 greylisted", "gone@example.org": "550 no such user"}))
    receiver = mail(plain, to=["ops@example.org", "slow@example.org", "gone@example.org"])
    with pytest.raises(DeliveryFailed, match=r"has postponed slow@example.org \(451 greylisted\)\.$") as failure:
        receiver.send(BOTH)
    assert not failure.value.permanent
    plain.behaviour = Behaviour()
    with pytest.raises(DeliveryFailed, match="refuses gone@example.org") as failure:
        receiver.send(BOTH)
    assert failure.value.permanent
    assert [got.recipients for got in plain.delivered] == [["ops@example.org"], ["slow@example.org"]]


@pytest.mark.parametrize(
    ("behaviour", "permanent"),
    [
        (Behaviour(data="554 5.7.1 looks like spam"), True),
        (Behaviour(data="451 4.3.0 try later"), False),
        (Behaviour(mail="552 5.3.4 too large"), True),
        (Behaviour(mail="550 5.7.1 who are you"), False),
        (Behaviour(rcpt={"ops@example.org": "550 no such user"}), True),
    ],
    ids=["data-5xx", "data-4xx", "too-large", "sender", "recipient"],
)
def test_what_can_never_be_accepted_is_not_repeated(behaviour: Behaviour, permanent: bool, plain: MailServer) -> None:
    plain.reset(behaviour)
    with pytest.raises(DeliveryFailed, match=f"^SMTP 127.0.0.1:{plain.port} ") as failure:
        mail(plain).send(BOTH)
    assert failure.value.permanent is permanent and not failure.value.partial


def test_a_server_that_is_silent_is_given_up_and_one_can_be_left(plain: MailServer) -> None:
    plain.reset(Behaviour(hang=True))
    with pytest.raises(DeliveryFailed, match=r"no complete answer within 0\.4 s"):
        mail(plain, timeout="400ms").send(BOTH)
    plain.data_arrived.clear()
    receiver = mail(plain)

    def abort() -> None:
        plain.data_arrived.wait(10)
        receiver.abort()

    aborts = threading.Thread(target=abort)
    aborts.start()
    began = time.monotonic()
    with pytest.raises(DeliveryFailed):
        receiver.send(BOTH)
    aborts.join()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "greeting",
    [b"", b"junk\r\n", b"554 go away\r\n", b"220 " + b"x" * 100_000, b"220 hi\r\n421 busy\r\n"],
    ids=["nothing", "junk", "refusal", "long", "busy"],
)
def test_a_server_that_does_not_speak_smtp_is_a_failure_in_one_sentence(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _peer = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(greeting)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        options = {
            "host": "127.0.0.1",
            "port": server.getsockname()[1],
            "from": "a@example.org",
            "to": ["b@example.org"],
        }
        with pytest.raises(DeliveryFailed, match=r"^SMTP 127\.0\.0\.1:\d+[: ][^\n]+\.$") as failure:
            make_receiver("smtp", tls="none", **options).send(BOTH)
        thread.join()
    assert not failure.value.permanent and len(str(failure.value)) < 400


def test_texts_of_any_kind_go_through(plain: MailServer) -> None:
    odd = "käse \u2028 \ud800 \x00 .\n.\n..\r\n" + "x" * 5000
    mail(plain).send(notification(alert("wéb\n1", output=odd)))
    (got,) = plain.delivered
    assert "wéb 1" in got.message["Subject"] and got.content.isascii()
    text = got.message.get_body(("plain",))
    assert text is not None and "käse" in text.get_content() and "x" * 5000 in text.get_content()
