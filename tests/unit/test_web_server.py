# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The limits of the web server that a test with its real values would wait for."""

from __future__ import annotations

import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._daemon import web_server


def application(_environ: t.Any, start_response: t.Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def test_a_client_that_sends_a_byte_at_a_time_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "REQUEST_WITHIN_S", 0.3)
    listener = socket.create_server(("127.0.0.1", 0))
    server = web_server.WebServer(listener, application, None)
    server.start_thread()
    cut = threading.Event()
    try:
        with (
            socket.create_connection(listener.getsockname(), 5) as quick,
            socket.create_connection(listener.getsockname(), 5) as slow,
        ):

            def trickle() -> None:
                deadline = time.monotonic() + 10
                slow.sendall(b"GET / HTTP/1.1\r\nX: ")
                while time.monotonic() < deadline:
                    try:
                        slow.sendall(b"x")
                    except OSError:
                        cut.set()
                        return
                    cut.wait(0.05)

            threading.Thread(target=trickle, daemon=True).start()
            quick.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert quick.recv(100).startswith(b"HTTP/1.1 200")
            assert cut.wait(5)
    finally:
        server.stop_soon()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(server.bind_addr[1])), 1)


def test_no_thread_of_the_server_delays_the_end_of_the_process() -> None:
    before = set(threading.enumerate())
    server = web_server.WebServer(socket.create_server(("127.0.0.1", 0)), application, None)
    server.start_thread()
    made = set(threading.enumerate()) - before
    server.stop_soon()
    assert len(made) >= web_server.THREADS and all(thread.daemon for thread in made)
