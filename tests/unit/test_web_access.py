# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what at the endpoint, and which forms of a request are accepted: pure decisions."""

from __future__ import annotations

import io
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._daemon.listen_config import AccessConfig
from ansible_collections.consulops.failover.plugins.module_utils._daemon.web_access import Asked, refusal
from ansible_collections.consulops.failover.plugins.module_utils._daemon.web_server import MAX_HEADERS, read_headers
from hypothesis import given
from hypothesis import strategies as st

TOKEN = "0123456789abcdef"
LOOPBACK, OPEN, WITHOUT = AccessConfig(TOKEN), AccessConfig(TOKEN, reads_need_token=True), AccessConfig()
BEARER = f"Bearer {TOKEN}"


def status_of(
    access: AccessConfig = LOOPBACK, method: str = "GET", host: str | None = "127.0.0.1:9180", **more: t.Any
) -> int:
    refused = refusal(Asked(method, host, **more), access, {"node1"})
    return refused.status if refused else 200


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9180", "localhost", "LOCALHOST:1", "[::1]:9180", "::1", "10.0.0.7", "node1:9180", "node1.", None],
)
def test_a_request_to_an_address_or_to_this_host_is_let_in(host: str | None) -> None:
    assert status_of(host=host) == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9180", "", "127.0.0.1.evil.example", "[evil]", "a:b:c"])
def test_a_request_to_another_name_is_refused(host: str) -> None:
    assert status_of(host=host) == 421
    assert status_of(AccessConfig(TOKEN, host_names=("evil.example",)), host="evil.example:9180") == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://127.0.0.1", "file://", "http://127.0.0.1:9181"]
)
def test_a_page_from_elsewhere_is_refused(origin: str) -> None:
    assert status_of(origin=origin) == 403
    assert status_of(method="POST", origin=origin, authorization=BEARER) == 403
    assert status_of(origin="http://127.0.0.1:9180") == 200


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer " + "x" * 100000, TOKEN],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "nonsense"])
def test_whatever_changes_something_needs_the_token(method: str, authorization: str | None) -> None:
    assert status_of(method=method, authorization=authorization) == 401
    assert status_of(method=method, authorization=BEARER) == 200
    assert status_of(WITHOUT, method=method, authorization=BEARER) == 403, "without a token nothing can be changed"


def test_beyond_loopback_reads_need_the_token_too() -> None:
    assert status_of(OPEN) == 401 and status_of(OPEN, method="HEAD") == 401
    assert status_of(OPEN, authorization=BEARER) == 200 and status_of(LOOPBACK) == 200
    assert status_of(AccessConfig("", reads_need_token=True), authorization="Bearer ") == 401


def test_the_token_for_reading_reads_and_changes_nothing() -> None:
    reader = "fedcba9876543210"
    both = AccessConfig(TOKEN, reads_need_token=True, read_token=reader)
    alone = AccessConfig(reads_need_token=True, read_token=reader)
    for access in (both, alone):
        assert status_of(access, authorization=f"Bearer {reader}") == 200
        assert status_of(access, method="HEAD", authorization=f"Bearer {reader}") == 200
        assert status_of(access, authorization=f"Bearer {reader}x") == 401 and status_of(access) == 401
        assert status_of(access, authorization="Bearer ") == 401
    for method in ("POST", "PUT", "DELETE", "nonsense"):
        assert status_of(both, method=method, authorization=f"Bearer {reader}") == 401
        assert status_of(alone, method=method, authorization=f"Bearer {reader}") == 403
    assert status_of(both, authorization=BEARER) == 200
    assert reader not in repr(both) and TOKEN not in repr(both)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_must_be_json(content_type: str | None) -> None:
    asked: dict[str, t.Any] = {"method": "POST", "authorization": BEARER, "has_body": True}
    assert status_of(**asked, content_type=content_type) == 415
    assert status_of(**asked, content_type="application/json; charset=utf-8") == 200


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header_gets_a_decision(host: str, authorization: str) -> None:
    assert status_of(OPEN, host=host, authorization=authorization) in (200, 401, 421)


SMUGGLED = [
    b"Host: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n",
    b"Host: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    b"Host: a\r\nTransfer-Encoding: chunked\r\n",
    b"Host: a\r\nTransfer-Encoding : chunked\r\n",
    b"Host: a\r\n Transfer-Encoding: chunked\r\n",
    b"Host: a\r\nContent-Length: +4\r\n",
    b"Host: a\r\nContent-Length: 4, 4\r\n",
    b"Host: a\r\nContent-Length: -1\r\n",
    b"Host: a\r\nContent-Length: 0x4\r\n",
    b"Host: a\r\nHost: b\r\n",
    b"Host: a\nContent-Length: 4\r\n",
    b"Host: a\r\nX: a\rb\r\n",
    b"Host: a\r\nX: a\0b\r\n",
    b"Host: a\r\n: x\r\n",
    b"Host: a\r\nno colon\r\n",
    b"X: y\r\n" * (MAX_HEADERS + 1),
]


@pytest.mark.parametrize("headers", SMUGGLED)
def test_headers_that_two_readers_could_understand_differently_are_refused(headers: bytes) -> None:
    with pytest.raises(ValueError, match="header|Content-Length|Transfer-Encoding"):
        read_headers(io.BytesIO(headers + b"\r\n"))


def test_plain_headers_are_read() -> None:
    found = read_headers(io.BytesIO(b"host: a:1\r\nCONTENT-length:  4 \r\nX_Y: no\r\nX-Y: yes\r\n\r\nbody"))
    assert found == {b"Host": b"a:1", b"Content-Length": b"4", b"X-Y": b"yes"}
