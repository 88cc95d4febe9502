# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Receivers on this host: programs, files, syslog over every transport, and metrics."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import stat
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import prometheus_client
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import spool_file
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.message_fields import (
    incident_key,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.receiver import (
    DeliveryFailed,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.spool import Spool

from tests.lab.consul import eventually
from tests.lab.notifications import NOON, alert, notification
from tests.lab.receiving import make_receiver
from tests.lab.service_schemas import RFC5424
from tests.lab.tls import Authority

BOTH = notification(alert("web1"), alert("web2", status="resolved", severity="warning"))

# ---------------------------------------------------------------------------------------------------------------
# exec


def script(directory: Path, text: str) -> str:
    path = directory / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0] != "Z"
    return False


def test_a_program_gets_the_notification_and_its_arguments_and_little_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    program = script(tmp_path, 'cat >"$2"; env >"$2.env"')
    make_receiver("exec", command=[program, "a b; touch /", str(tmp_path / "got")]).send(BOTH)
    document = json.loads((tmp_path / "got").read_text(encoding="utf-8"))
    assert document["id"] == BOTH.id and document["alerts"][0]["incident"] == incident_key(BOTH.alerts[0])
    names = {line.partition("=")[0] for line in (tmp_path / "got.env").read_text(encoding="utf-8").splitlines()}
    assert names <= {"PATH", "LANG", "HOME", "PWD", "SHLVL", "_", "OLDPWD"}


@pytest.mark.parametrize(("status", "permanent"), [(1, False), (65, True)])
def test_a_program_that_fails_is_quoted(status: int, permanent: bool, tmp_path: Path) -> None:
    program = script(tmp_path, f"echo no modem >&2; exit {status}")
    with pytest.raises(DeliveryFailed, match=f"^{program} ended with status {status}: no modem$") as failure:
        make_receiver("exec", command=[program]).send(BOTH)
    assert failure.value.permanent is permanent


def test_a_program_that_takes_too_long_is_killed_with_everything_that_it_started(tmp_path: Path) -> None:
    program = script(tmp_path, f"trap '' TERM; sleep 60 & echo $! >{tmp_path}/child; echo $$ >{tmp_path}/pid; wait")
    receiver = make_receiver("exec", command=[program], timeout="400ms")
    with pytest.raises(DeliveryFailed, match=r"did not end within 0\.4 s and was killed"):
        receiver.send(BOTH)
    for name in ("pid", "child"):
        pid = int((tmp_path / name).read_text(encoding="ascii"))
        eventually(lambda pid=pid: not alive(pid), 5)


def test_what_a_program_leaves_running_is_killed_too(tmp_path: Path) -> None:
    program = script(tmp_path, f"sleep 60 & echo $! >{tmp_path}/child")
    began = time.monotonic()
    make_receiver("exec", command=[program]).send(BOTH)
    assert time.monotonic() - began < 10
    pid = int((tmp_path / "child").read_text(encoding="ascii"))
    eventually(lambda: not alive(pid), 5)


def test_a_program_that_talks_without_end_costs_no_memory_and_one_that_does_not_read_is_no_problem(
    tmp_path: Path,
) -> None:
    program = script(tmp_path, "head -c 30000000 /dev/zero | tr '\\0' x >&2; exit 3")
    with pytest.raises(DeliveryFailed, match="ended with status 3: x{300}$"):
        make_receiver("exec", command=[program]).send(notification(alert(output="o" * 500_000)))


def test_a_program_can_be_aborted(tmp_path: Path) -> None:
    program = script(tmp_path, f"touch {tmp_path}/started; sleep 60")
    receiver = make_receiver("exec", command=[program])

    def abort() -> None:
        eventually((tmp_path / "started").exists, 10)
        receiver.abort()

    aborts = threading.Thread(target=abort)
    aborts.start()
    with pytest.raises(DeliveryFailed, match="was ended by signal 9"):
        receiver.send(BOTH)
    aborts.join()


def test_a_program_that_has_gone_is_a_failure_that_can_pass(tmp_path: Path) -> None:
    program = script(tmp_path, "exit 0")
    receiver = make_receiver("exec", command=[program])
    Path(program).unlink()
    with pytest.raises(DeliveryFailed, match="cannot be run: No such file or directory") as failure:
        receiver.send(BOTH)
    assert not failure.value.permanent


# ---------------------------------------------------------------------------------------------------------------
# file


def test_a_file_gets_a_line_for_each_notification_and_can_be_rotated(tmp_path: Path) -> None:
    path = tmp_path / "alerts.log"
    receiver = make_receiver("file", path=str(path), mode="0640")
    receiver.send(BOTH)
    receiver.send(BOTH)
    path.rename(tmp_path / "alerts.log.1")
    receiver.send(BOTH)
    lines = (tmp_path / "alerts.log.1").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [BOTH.id] * 2 and path.stat().st_size > 0
    assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0


def test_a_file_gets_text(tmp_path: Path) -> None:
    make_receiver("file", path=str(tmp_path / "log"), format="text").send(BOTH)
    assert (tmp_path / "log").read_text(encoding="utf-8") == (
        "2026-09-21T14:13:25Z [firing] firing web1/shop/http, resolved web2/shop/http\n"
        "  critical: check http of shop on web1 is critical connection refused\n"
        "  warning: check http of shop on web2 is critical connection refused\n"
    )


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "missing"])
def test_what_is_not_a_file_is_not_written_to(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path = tmp_path / "no" / "log"
    with pytest.raises(DeliveryFailed, match=f"writing to {path}") as failure:
        make_receiver("file", path=str(path)).send(BOTH)
    assert not failure.value.permanent and not (tmp_path / "elsewhere").exists()


def test_on_a_full_disk_neither_file_nor_spool_has_half_a_message_and_the_spool_catches_up(
    tmp_path: Path, as_root: None
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k,mode=0700", "tmpfs", str(small)], check=True)
    spool = Spool(small / "spool.jsonl")
    try:
        spool.add(BOTH, NOON)
        receiver = make_receiver("file", path=str(small / "log"))
        with pytest.raises(DeliveryFailed, match="No space left on device"):
            for _time in range(100):
                receiver.send(BOTH)
        lines = (small / "log").read_text(encoding="utf-8").splitlines()
        assert len(lines) > 2 and all(json.loads(line) for line in lines)
        accepted = [notification(alert(f"web{number}")) for number in range(20)]
        for one in accepted:
            spool.add(one, NOON)
        assert "No space left on device" in spool.problem and str(small / "spool.jsonl") in spool.problem
        assert [stored.notification for stored in spool.pending("ops")] == [BOTH, *accepted]
        (small / "log").unlink()
        spool.retry()
        assert spool.problem == ""
        read = spool_file.read(small / "spool.jsonl")
        assert [stored.notification for stored in read.pending.values()] == [BOTH, *accepted] and not read.damaged
    finally:
        spool.close()
        subprocess.run(["umount", str(small)], check=True)


# ---------------------------------------------------------------------------------------------------------------
# syslog


def test_the_local_socket_gets_the_traditional_form(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        make_receiver("syslog", path=path, facility="local3").send(BOTH)
        first, second = server.recv(4096), server.recv(4096)
    priority = 8 * 19
    assert re.fullmatch(
        rf"<{priority + 2}>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d consulops: "
        "firing critical check http of shop on web1 is critical connection refused",
        first.decode(),
    )
    assert second.startswith(f"<{priority + 5}>".encode())


def test_udp_gets_one_datagram_for_each_alert_within_the_size_that_every_server_takes() -> None:
    odd = alert('w"e]b\\1', severity="warning", output="ö" * 5000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        port = server.getsockname()[1]
        make_receiver("syslog", transport="udp", host="127.0.0.1", port=port).send(notification(odd))
        got = server.recv(65536)
    match = RFC5424.fullmatch(got)
    assert match and len(got) <= 2048 and match["priority"] == b"28" and match["id"] == b"firing"
    assert match["host"] == b"monitor1" and rb'node="w\"e\]b\\1"' in match["data"]
    assert match["text"].decode().startswith("firing warning check http of shop on")


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_stream_gets_messages_with_their_lengths_and_all_of_them(transport: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue(tmp_path, "log.example.org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    got = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _peer = server.accept()
            with contextlib.ExitStack() as stack:
                stack.enter_context(connection)
                if transport == "tls":
                    connection = stack.enter_context(context.wrap_socket(connection, server_side=True))
                for piece in iter(lambda: connection.recv(7), b""):
                    got.extend(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        tls: dict[str, t.Any] = {"ca_path": str(authority.ca_path), "tls_server_name": "log.example.org"}
        receiver = make_receiver("syslog", transport=transport, host="127.0.0.1", port=server.getsockname()[1], **tls)
        many = notification(*(alert(f"web{number}", output="x" * 1500) for number in range(100)))
        receiver.send(many)
        thread.join(20)
    rest, messages = bytes(got), []
    while rest:
        length, _space, rest = rest.partition(b" ")
        messages.append(rest[: int(length)])
        rest = rest[int(length) :]
    assert len(messages) == 100 and all(RFC5424.fullmatch(message) for message in messages)


def test_a_log_server_that_is_not_there_or_not_trusted_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeliveryFailed, match=f"^syslog {tmp_path}/none: No such file or directory"):
        make_receiver("syslog", path=str(tmp_path / "none")).send(BOTH)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        receiver = make_receiver("syslog", transport="tls", host="127.0.0.1", port=port, timeout="300ms")
        with pytest.raises(DeliveryFailed, match=f"^syslog 127.0.0.1:{port} \\(tls\\): no connection within 0.3 s"):
            receiver.send(BOTH)
    with pytest.raises(DeliveryFailed, match="Connection refused"):
        make_receiver("syslog", transport="tcp", host="127.0.0.1", port=port).send(BOTH)


# ---------------------------------------------------------------------------------------------------------------
# prometheus


def test_prometheus_sees_what_fires_and_nothing_else() -> None:
    receiver: t.Any = make_receiver("prometheus")
    registry = prometheus_client.CollectorRegistry()
    registry.register(receiver)
    receiver.restore([alert("old", since=NOON - 100)])
    receiver.send(notification(alert("web1", severity="warning", node_meta={}), still_firing=(alert("web2"),)))
    receiver.send(notification(alert("web2", status="resolved"), kind="resolved"))

    def value(metric: str, node: str, severity: str) -> float | None:
        labels = {"alertname": "check_status", "datacenter": "dc1", "service": "shop", "check": "http"}
        return registry.get_sample_value(metric, {**labels, "node": node, "severity": severity})

    assert value("consulops_alert_firing", "old", "critical") == 1
    assert value("consulops_alert_since_seconds", "old", "critical") == NOON - 100
    assert value("consulops_alert_firing", "web1", "warning") == 1
    assert value("consulops_alert_firing", "web2", "critical") is None
    receiver.send(notification(alert("web1", severity="critical", node_meta={})))
    assert value("consulops_alert_firing", "web1", "warning") is None
    assert b'node="web1"' in prometheus_client.generate_latest(registry)
