# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cutting requests in flight: a blocking query, a hanging TLS server, a connection that does not come about, half a body."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client

from tests.lab.consul import Datacenter
from tests.lab.tls import Authority

from .conftest import MakeClient, tls_options

WITHIN_S = 1.0  # milliseconds, as measured; a busy machine needs more


def cut(client: Client, request: t.Callable[[], object], started: t.Callable[[], object] = lambda: None) -> Exception:
    """Run a request in a thread, abort the client, and return what the request raised."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            request()
        except errors.Error as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started()
    thread.join(0.3)
    assert thread.is_alive(), f"the request did not hang: {raised}"
    began = time.monotonic()
    client.abort()
    thread.join(5)
    assert raised and time.monotonic() - began < WITHIN_S
    return raised[0]


@contextlib.contextmanager
def silent_server(answer: bytes = b"") -> t.Iterator[tuple[str, threading.Event]]:
    """Run a server that reads a request, sends ``answer`` and then nothing; yield its address and an event set on a request."""
    received = threading.Event()
    open_connections = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _address = listener.accept()
                    open_connections.append(connection)
                    connection.recv(65536)
                    connection.sendall(answer)
                    received.set()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", received
        listener.shutdown(socket.SHUT_RDWR)
    for connection in open_connections:
        connection.close()


def test_a_blocking_query_is_cut_and_later_requests_fail_at_once(dc1: Datacenter, make_client: MakeClient) -> None:
    client = make_client(dc1)
    index = client.get("/v1/kv/nothing", absent_ok=True).index
    error = cut(client, lambda: client.get("/v1/kv/nothing", index=index, wait_s=60, absent_ok=True))
    assert isinstance(error, errors.Aborted)
    with pytest.raises(errors.Aborted):
        client.get("/v1/status/leader")
    assert make_client(dc1).get("/v1/status/leader").json(), "other clients go on"


def test_a_blocking_query_over_tls_is_cut(
    tls_datacenter: Datacenter, authority: Authority, make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client(**tls_options(tls_datacenter, authority, tmp_path))
    index = client.get("/v1/kv/nothing", absent_ok=True).index
    error = cut(client, lambda: client.get("/v1/kv/nothing", index=index, wait_s=60, absent_ok=True))
    assert isinstance(error, errors.Aborted)


def test_a_tls_handshake_that_hangs_is_cut(make_client: MakeClient) -> None:
    with silent_server() as (address, received):
        client = make_client(url=f"https://{address}", validate_certs=False, timeout=60)
        assert isinstance(cut(client, client.check_leader, lambda: received.wait(5)), errors.Aborted)


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 100\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\nContent-Length: 100\r\n",
        b"",
    ],
)
def test_half_a_body_is_never_taken_for_a_whole_one(make_client: MakeClient, headers: bytes) -> None:
    with silent_server(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n5\r\nhalf") as (address, received):
        client = make_client(url=address, timeout=60)
        assert isinstance(cut(client, client.check_leader, lambda: received.wait(5)), errors.Aborted)


def test_a_connection_that_nobody_accepts_is_cut(make_client: MakeClient) -> None:
    """The queue of a listener is full, so its system does not answer: as a host that a firewall hides."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _filler in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        client = make_client(url=f"127.0.0.1:{listener.getsockname()[1]}", timeout=60)
        assert isinstance(cut(client, client.check_leader), errors.Aborted)


def test_an_abort_leaves_no_open_file(dc1: Datacenter, make_client: MakeClient) -> None:
    client = make_client(dc1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _number in range(5):
        with Client(client.endpoint) as one:
            one.get("/v1/status/leader")
            one.abort()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
