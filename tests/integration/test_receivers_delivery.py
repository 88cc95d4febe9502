# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Delivery from spool to service in a process of its own: killed, stopped and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import spool_file
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery import (
    Delivery,
    ReceiverSetup,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery_worker import Listener
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.spool import Spool

from tests.lab.consul import eventually
from tests.lab.http_service import HttpService, Reply
from tests.lab.notifications import alert, notification
from tests.lab.receiving import make_receiver

COUNT = 30
# Submits messages, says so, and delivers until it is killed.
CHILD = """
import sys, threading
from pathlib import Path
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery import Delivery, ReceiverSetup
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery_worker import Listener
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.spool import Spool
from tests.lab.notifications import alert, notification
from tests.lab.receiving import make_receiver

spool, url, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
delivery = Delivery(Spool(spool), Listener(lambda one, ok, problem: None))
delivery.configure({"ops": ReceiverSetup(url, lambda: make_receiver("webhook", url=url))})
for number in range(count):
    delivery.submit(notification(alert(f"web{number}"), id=f"n{number}"))
print("submitted", flush=True)
threading.Event().wait()
"""


@pytest.fixture
def service() -> t.Iterator[HttpService]:
    with HttpService() as service:
        yield service


def start(spool: Path, service: HttpService, count: int) -> subprocess.Popen[bytes]:
    search = os.pathsep.join(part for part in sys.path if part)
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(spool), f"{service.url}/hook", str(count)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": search},
    )


def test_a_process_that_is_killed_while_it_sends_loses_no_message_and_keeps_their_order(
    tmp_path: Path, service: HttpService
) -> None:
    spool = tmp_path / "spool.jsonl"
    service.reset(*[Reply()] * 5, Reply(hang=True))
    with start(spool, service, COUNT) as child:
        assert child.stdout is not None and child.stdout.readline() == b"submitted\n"
        eventually(lambda: len(service.received) == 6, 20)
        child.send_signal(signal.SIGKILL)
    with start(spool, service, 0) as child:
        eventually(lambda: len({one.json["id"] for one in service.received}) == COUNT, 20)
        eventually(lambda: not spool_file.read(spool).pending, 20)
        child.send_signal(signal.SIGKILL)
    ids = [one.json["id"] for one in service.received]
    assert list(dict.fromkeys(ids)) == [f"n{number}" for number in range(COUNT)]
    assert len(ids) <= COUNT + 2  # the one that was being sent, and one whose end was not yet noted


def test_a_stop_while_a_service_hangs_ends_in_time_and_the_message_is_sent_after_the_start(
    tmp_path: Path, service: HttpService
) -> None:
    def delivery(results: list[str]) -> Delivery:
        listener = Listener(lambda one, ok, problem: results.append(one.id))
        made = Delivery(Spool(tmp_path / "spool.jsonl"), listener)
        made.configure(
            {"ops": ReceiverSetup("same", lambda: make_receiver("webhook", url=f"{service.url}/hook", timeout="1h"))}
        )
        return made

    service.reset(Reply(hang=True))
    results: list[str] = []
    first = delivery(results)
    first.submit(notification(alert("web1"), id="n1"))
    assert service.arrived.wait(20)
    assert first.stop(0.5) and results == []
    second = delivery(results)
    eventually(lambda: results == ["n1"], 20)
    assert second.stop(5) and len(service.received) == 2
