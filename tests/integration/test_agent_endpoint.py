# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The endpoint of an agent under attack: slow clients, oversized and ambiguous requests, foreign pages, wrong tokens, TLS."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import ssl
import struct
import typing as t
from pathlib import Path

import pytest
import requests

from tests.lab import probe_agent
from tests.lab.agents import AgentProcess, free_port
from tests.lab.consul import Lab, eventually
from tests.lab.tls import Authority
from tests.unit.test_web_access import SMUGGLED

TOKEN = "0123456789abcdef0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MOST_THREADS = 40


class Attacked:
    """An agent without Consul, whose endpoint needs a token."""

    def __init__(self, directory: Path, host: str, **endpoint: t.Any) -> None:
        directory.mkdir()
        (directory / "token").write_text(TOKEN, encoding="ascii")
        self.host, self.port = host, int(endpoint.get("port", 9180))
        self.config = {
            "agent": "probe",
            "service": {"register": False},
            "options": {"policy": "none", "jobs": {"keeps": "keep file"}},
            "endpoint": {"token_file": str(directory / "token"), **endpoint},
        }
        self.agent = AgentProcess(directory, directory / "agent", host, self.config, program=[probe_agent.__file__])

    def cycles(self, **options: t.Any) -> int:
        return int(requests.get(f"{self.agent.url}/status", timeout=20, **options).json()["cycles"])

    def changes(self) -> int:
        return int(requests.get(f"{self.agent.url}/changes", timeout=5).json())

    def threads(self) -> int:
        text = Path(f"/proc/{self.agent.process.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"^Threads:\s+(\d+)", text, re.MULTILINE)[0])

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), 5)

    def send(self, content: bytes) -> bytes:
        """Send bytes, and return everything that comes until the endpoint closes the connection."""
        with self.connect() as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(content)
            answer = b""
            client.settimeout(15)
            with contextlib.suppress(ConnectionError):
                while piece := client.recv(65536):
                    answer += piece
            return answer


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("addresses")) as lab:
        yield lab


@pytest.fixture(scope="module")
def attacked(addresses: Lab, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Attacked]:
    attacked = Attacked(tmp_path_factory.mktemp("attacked") / "plain", addresses.address())
    attacked.agent.wait("active")
    yield attacked
    attacked.agent.stop()


@pytest.fixture(autouse=True)
def unharmed(attacked: Attacked) -> t.Iterator[None]:
    """After every attack the agent works and answers, and its log has nothing but its own lines."""
    yield
    before = attacked.cycles()
    eventually(lambda: attacked.cycles() > before, what="it works")
    assert attacked.threads() < MOST_THREADS and attacked.agent.process.poll() is None
    assert not re.search("Traceback|Exception|ERROR", attacked.agent.log()), attacked.agent.log()


def test_clients_that_send_nothing_do_not_take_a_thread(attacked: Attacked) -> None:
    with contextlib.ExitStack() as stack:
        for _client in range(40):
            stack.enter_context(attacked.connect())
        assert requests.get(f"{attacked.agent.url}/healthz", timeout=3).status_code == 200


def test_clients_that_send_half_a_request_are_dropped(attacked: Attacked) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(attacked.connect()) for _client in range(20)]
        for client in clients:
            client.sendall(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
        assert requests.get(f"{attacked.agent.url}/healthz", timeout=20).status_code == 200
        for client in clients:
            client.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                assert b" 408 " in client.recv(65536)


def test_more_clients_than_allowed_are_refused_and_vanish_without_a_trace(attacked: Attacked) -> None:
    clients = []
    for _client in range(200):
        with contextlib.suppress(OSError):
            clients.append(attacked.connect())
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends a reset
        with contextlib.suppress(OSError):
            client.sendall(b"GET /status HT")
    assert attacked.threads() < MOST_THREADS
    assert len(list(Path(f"/proc/{attacked.agent.process.pid}/fd").iterdir())) < 120
    for client in clients:
        client.close()
    eventually(lambda: requests.get(f"{attacked.agent.url}/healthz", timeout=20).ok, what="it answers again")


def test_headers_of_a_megabyte_are_refused(attacked: Attacked) -> None:
    for content in (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * (1 << 18) + b"\r\n",
        b"GET /" + b"x" * (1 << 20) + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ):
        answer = attacked.send(content)
        assert answer == b"" or answer.split()[1] in (b"400", b"413", b"414"), answer[:100]


def test_a_body_of_a_hundred_megabytes_is_refused_before_it_is_read(attacked: Attacked) -> None:
    head = b"POST /changes HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {TOKEN}\r\nContent-Length: {100 << 20}\r\n\r\n".encode()
    before = attacked.changes()
    assert attacked.send(head).split()[1] == b"413"
    memory = re.findall(
        r"^VmHWM:\s+(\d+)", Path(f"/proc/{attacked.agent.process.pid}/status").read_text(), re.MULTILINE
    )
    assert attacked.changes() == before and int(memory[0]) < 150 * 1024


@pytest.mark.parametrize("headers", [one for one in SMUGGLED if len(one) < 1000])
def test_an_ambiguous_request_is_refused_and_nothing_behind_it_is_done(attacked: Attacked, headers: bytes) -> None:
    before = attacked.changes()
    second = f"POST /changes HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
    answer = attacked.send(b"GET /status HTTP/1.1\r\n" + headers + b"\r\n" + second.encode())
    assert answer.split()[1] == b"400" and answer.count(b"HTTP/1.1 ") == 1
    assert attacked.changes() == before


def test_nothing_behind_a_body_is_taken_for_a_request(attacked: Attacked) -> None:
    before = attacked.changes()
    inner = f"POST /changes HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
    for method, host in (("POST", "127.0.0.1"), ("GET", "evil.example"), ("GET", "127.0.0.1")):
        for length in (0, len(inner)):
            head = f"{method} /changes HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
            if method == "GET" and not length:
                continue  # two requests, each of which is answered
            answer = attacked.send((head + inner).encode())
            assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert attacked.changes() == before


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**BEARER, "Host": "evil.example"}, 421),
        ({**BEARER, "Origin": "http://evil.example"}, 403),
        ({**BEARER, "Origin": "null"}, 403),
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": "Bearer " + "x" * 20000}, 401),
        ({**BEARER, "Content-Type": "text/plain"}, 415),
    ],
)
def test_what_changes_something_is_refused_without_the_right_headers(
    attacked: Attacked, headers: dict[str, str], status: int
) -> None:
    before = attacked.changes()
    url = f"{attacked.agent.url}/changes"
    refused = requests.post(url, data="[1]", headers={"Content-Type": "application/json", **headers}, timeout=5)
    assert (refused.status_code, attacked.changes()) == (status, before)
    assert "\n" not in refused.text.rstrip("\n") and TOKEN not in refused.text + attacked.agent.log()


def test_what_changes_something_is_done_with_the_token(attacked: Attacked) -> None:
    url = f"{attacked.agent.url}/changes"
    before = attacked.changes()
    done = requests.post(url, json={"a": 1}, headers=BEARER, timeout=5)
    assert done.json() == {"id": None, "changes": before + 1}
    assert requests.delete(f"{url}/x%2fy?a=b", headers=BEARER, timeout=5).status_code in (200, 404)
    assert requests.delete(f"{url}/x", headers=BEARER, timeout=5).json()["id"] == "x"
    refused = requests.post(url, json="refuse", headers=BEARER, timeout=5)
    assert (refused.status_code, refused.text) == (400, "The body is refused.\n")
    for body in (b"{", b"[" * 60000, b"\xff"):
        json_type = {**BEARER, "Content-Type": "application/json"}
        assert requests.post(url, data=body, headers=json_type, timeout=5).text == "The body is not JSON.\n"
    assert requests.put(url, headers=BEARER, timeout=5).status_code == 405


def test_no_path_leads_elsewhere(attacked: Attacked) -> None:
    for path in (
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/status/../../x",
        "/x%00",
    ):
        answer = attacked.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        assert answer.split()[1] in (b"400", b"404"), (path, answer)
        assert b"root:" not in answer
    answer = attacked.send(b"GET http://evil.example/status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert answer.split()[1] in (b"400", b"404")


@pytest.mark.parametrize(
    "content",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100, b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"],
)
def test_what_is_not_http_is_refused(attacked: Attacked, content: bytes) -> None:
    with attacked.connect() as client:
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        client.settimeout(15)
        answer = client.recv(65536)
    assert answer == b"" or answer.split()[1] in (b"400", b"505"), answer


def test_tls_with_a_token_for_reads_and_a_renewed_certificate(
    authority: Authority, addresses: Lab, tmp_path: Path
) -> None:
    address = addresses.address()
    pair = authority.issue(tmp_path / "first", "agent.example", [address])
    for path, name in ((pair.certificate, "cert.pem"), (pair.key, "key.pem")):
        shutil.copy(path, tmp_path / name)
    tls = {
        "tls_cert": str(tmp_path / "cert.pem"),
        "tls_key": str(tmp_path / "key.pem"),
        "address": "0.0.0.0",
        "port": free_port(),
    }
    secure = Attacked(tmp_path / "tls", address, **tls)
    secure.agent.url = f"https://{address}:{secure.port}"
    options: dict[str, t.Any] = {"verify": str(authority.ca_path)}
    try:

        def status(headers: dict[str, str] | None = None) -> int:
            return requests.get(f"{secure.agent.url}/status", headers=headers, timeout=5, **options).status_code

        eventually(lambda: status() == 401, what="it listens")
        assert status(BEARER) == 200 and status({"Authorization": "Bearer wrong"}) == 401
        with secure.connect() as silent, secure.connect() as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert status(BEARER) == 200, "a handshake that does not come keeps nobody out"
            assert silent.fileno() >= 0

        def serial() -> str:
            return ssl.get_server_certificate((address, secure.port))

        before = serial()
        pair = authority.issue(tmp_path / "second", "agent.example", [address])
        for path, name in ((pair.certificate, "cert.pem"), (pair.key, "key.pem")):
            shutil.copy(path, tmp_path / name)
        secure.agent.reload()
        eventually(lambda: serial() != before, what="the new certificate is served")
        assert (
            json.loads(requests.get(f"{secure.agent.url}/status", headers=BEARER, timeout=5, **options).text)["state"]
            == "active"
        )
        assert not re.search("Traceback|Exception|ERROR", secure.agent.log()), secure.agent.log()
    finally:
        secure.agent.stop()
