# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client library is used over our own transport only, and neither reads nor changes the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import consul
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client

pytestmark = pytest.mark.client_library

ROOT = Path(__file__).resolve().parents[2]

# Says whether anything connected to anywhere while a client was made.
MAKE_A_CLIENT = """
import socket
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, errors
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client

def connect(*arguments):
    raise SystemExit(f"connected to {arguments}")

socket.socket.connect = connect
try:
    Client(endpoint.resolve({"url": "http://127.0.0.1:1"}, {})).consul.agent.self()
except errors.Error as error:
    print(type(error).__name__, error)
"""


def test_a_library_that_would_bypass_our_transport_is_refused_before_it_sends_anything(tmp_path: Path) -> None:
    package = shutil.copytree(Path(consul.__file__).parent, tmp_path / "consul")
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8").replace("http_connect(", "connection_to(")
        text = text.replace("def connect(", "def connection_to(").replace("self.connect(", "self.connection_to(")
        path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", MAKE_A_CLIENT],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / '.cache' / 'collections'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    kind, _space, sentence = done.stdout.strip().partition(" ")
    assert kind == "UnsupportedLibrary", done.stdout + done.stderr
    assert "\n" not in sentence and "install python-consul2" in sentence
    assert any(f"({name} " in sentence for name in ("python-consul2", "py-consul", "python-consul"))


def test_a_client_neither_reads_nor_changes_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "of-the-environment")
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "https://[::1]:8501")  # a form that the libraries cannot parse
    missing: list[str] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            missing.extend(name for name in ("CONSUL_HTTP_TOKEN", "CONSUL_HTTP_ADDR") if name not in os.environ)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=watch) for _number in range(2)]
    try:
        for thread in threads:
            thread.start()
        made = [Client(endpoint.resolve({"url": "http://127.0.0.1:1"}, {})) for _number in range(300)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert missing == []
    assert {client.consul.token for client in made} == {None}
    for client in made:
        client.close()
