# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of an agent's endpoint: no answer, a refusal and a mistake are told apart, and the token stays secret."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import Error, InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._daemon.endpoint_client import (
    EndpointClient,
    NoAnswer,
    Refused,
)

from tests.lab.http_service import HttpService, Reply
from tests.lab.tls import Authority

TOKEN = "token-of-the-endpoint"


@pytest.fixture(scope="module")
def service() -> t.Iterator[HttpService]:
    with HttpService() as one:
        yield one


@pytest.fixture
def client(service: HttpService, tmp_path: Path) -> EndpointClient:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n", encoding="ascii")
    service.reset()
    return EndpointClient(service.url, str(path))


def test_requests_carry_the_token_and_json(service: HttpService, client: EndpointClient) -> None:
    service.replies[:] = [Reply(200, b'{"a": 1}'), Reply(201, b'{"id": "x"}'), Reply(204, b"")]
    assert client.get("/explain", {"subject": "a b/c"}) == {"a": 1}
    assert client.post("/silences", {"end": "x"}) == {"id": "x"}
    assert client.delete("/silences", "a/b") == {}
    assert [(one.method, one.path) for one in service.received] == [
        ("GET", "/explain?subject=a+b%2Fc"),
        ("POST", "/silences"),
        ("DELETE", "/silences/a%2Fb"),
    ]
    assert all(one.headers["Authorization"] == f"Bearer {TOKEN}" for one in service.received)
    assert service.received[1].headers["Content-Type"] == "application/json" and service.received[1].json == {
        "end": "x"
    }
    assert not any("X-Consul-Token" in one.headers for one in service.received)


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (
            Reply(200, b"<html>"),
            NoAnswer,
            "an agent of another type or version (GET /alerts is not answered with JSON)",
        ),
        (Reply(200, b"[]"), NoAnswer, "is not answered with JSON"),
        (Reply(302, b"", (("Location", "http://127.0.0.1:1/"),)), NoAnswer, "GET /alerts: 302"),
        (Reply(404, b"Not found. Available paths: /."), NoAnswer, "GET /alerts: 404"),
        (Reply(404, b"<h1>nginx</h1>"), NoAnswer, "GET /alerts: 404"),
        (Reply(404, b"There is no silence 'x'.\n"), InvalidOption, "There is no silence 'x'."),
        (Reply(400, b"silence.end: no.\n"), InvalidOption, "silence.end: no."),
        (Reply(401, f"{TOKEN} is wrong".encode()), Refused, "refuses GET /alerts: 401 … is wrong"),
        (Reply(503, b"It has just started.\n"), NoAnswer, "cannot answer now: It has just started."),
        (Reply(500, b"bug"), NoAnswer, "GET /alerts: 500"),
    ],
)
def test_each_answer_has_its_error(
    service: HttpService, client: EndpointClient, reply: Reply, error: type[Error], words: str
) -> None:
    service.replies[:] = [reply]
    with pytest.raises(error) as raised:
        client.get("/alerts")
    assert words in str(raised.value) and TOKEN not in str(raised.value) and raised.type is error


def test_the_certificate_of_the_endpoint_must_be_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with HttpService(pair=authority.issue(tmp_path / "pair", "agent", ["127.0.0.1"])) as one:
        one.replies[:] = [Reply(200, b"{}")]
        assert EndpointClient(one.url, ca_path=str(authority.ca_path)).get("/alerts") == {}
        with pytest.raises(NoAnswer, match="certificate verify failed"):
            EndpointClient(one.url).get("/alerts")


def test_an_agent_that_hangs_gives_no_answer(service: HttpService) -> None:
    service.reset(Reply(hang=True))
    with pytest.raises(NoAnswer, match=r"does not answer within 0\.2 s"):
        EndpointClient(service.url, timeout_s=0.2).get("/alerts")


def test_an_address_where_nothing_listens_gives_no_answer() -> None:
    with pytest.raises(NoAnswer, match=r"at http://127\.0\.0\.1:1 does not answer \(Connection refused\)"):
        EndpointClient("127.0.0.1:1").get("/alerts")


def test_an_address_or_token_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for arguments, words in (
        (("ftp://x",), "The address of the agent: url"),
        (("http://x", str(tmp_path / "none")), "cannot be read from"),
        (("http://x", str(empty)), "does not hold the token"),
    ):
        with pytest.raises(InvalidOption, match=words):
            EndpointClient(*arguments)
