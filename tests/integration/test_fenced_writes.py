# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Agents that may write only while they hold a required lease, as real processes: no two write at once, and who has to hand over does."""

from __future__ import annotations

import signal
import time
import typing as t
from pathlib import Path

from tests.lab.agents import AgentProcess
from tests.lab.consul import Datacenter, Lab, eventually, freeze
from tests.lab.faults import Proxy
from tests.lab.fill import new_token
from tests.lab.journal import Journal
from tests.lab.probes import Probes

WRITES = {"journal": "write_journal"}
UNEXPECTED_BODIES = ['"x"', "[null]", "5", '{"ID":null}', "[" * 3000 + "]" * 3000, '[{"Key":5}]']


def start(probes: Probes, name: str, **more: t.Any) -> AgentProcess:
    given = {"service": {"register": False}, "lease": {"lock_delay": "1s"}, **more}
    return probes.start(name, WRITES, **given)


def start_pair(probes: Probes, name: str) -> tuple[AgentProcess, AgentProcess]:
    """Start two, and return the active one first."""
    first = start(probes, name)
    first.wait("active")
    second = start(probes, name)
    second.wait("standby")
    return first, second


def test_after_a_lease_is_lost_nothing_more_is_written_with_it(probes: Probes, datacenter: Datacenter) -> None:
    pair = start_pair(probes, "lost")
    journal = Journal(datacenter, "lost")
    eventually(journal.sessions, what="the journal begins")
    for _turn in range(3):
        before = len(journal.writers())
        datacenter.put(f"/v1/session/destroy/{journal.sessions()[-1]}")
        eventually(lambda before=before: len(journal.writers()) > before, what="another lease term")
    # The one whose lease was destroyed last may still say that it failed.
    eventually(lambda: {agent.status()["state"] for agent in pair} == {"active", "standby"}, what="one is on standby")


def test_a_frozen_agent_is_replaced_and_becomes_standby_when_it_continues(
    probes: Probes, datacenter: Datacenter
) -> None:
    first, second = start_pair(probes, "frozen")
    started = time.monotonic()
    freeze(first.process)
    second.wait("active", within_s=20 + 1 + 5)
    print(f"taken over from a frozen agent after {time.monotonic() - started:.1f} s")
    first.process.send_signal(signal.SIGCONT)
    first.wait("standby")
    journal = Journal(datacenter, "frozen")
    eventually(lambda: len(journal.writers()) == 2, what="the second writes")


def test_a_denied_token_never_gives_the_lease_away(own_lab: Lab, tmp_path: Path) -> None:
    """Every other instance has the same rights, so it would only pass the lease on."""
    secured = own_lab.datacenter("secured", acl=True)
    probes = Probes(own_lab, secured, tmp_path / "secured")
    lease = 'key "consulops/agents/narrow/lease" { policy = "write" } session_prefix "" { policy = "write" } '
    try:
        narrow = start(probes, "narrow", token=new_token(secured, lease), step_down_after_failures=2)
        fence = narrow.wait("active")["lease"]["fence"]
        able = start(probes, "narrow", token=secured.token)
        able.wait("standby")
        eventually(lambda: narrow.status()["failures_in_row"] > 6, what="it fails again and again")
        status = narrow.status()
        assert "Permission denied" in status["problem"] and status["lease"]["fence"] == fence
        assert "giving up" not in narrow.log() and able.status()["state"] == "standby"
    finally:
        probes.stop()


def test_an_active_agent_whose_own_consul_does_not_take_its_writes_gives_up_the_lease(
    own_lab: Lab, probes: Probes, datacenter: Datacenter
) -> None:
    with Proxy(datacenter.url, own_lab.address(), fault="drop", path="/v1/txn", method="PUT") as broken:
        failing = start(probes, "broken", connection={"url": broken.url})
        eventually(lambda: failing.status()["failures"] > 0, what="it holds the lease and cannot write")
        able = start(probes, "broken")
        able.wait("active")
        assert "giving up the lease after 5 failures in a row" in failing.log()
        assert len(Journal(datacenter, "broken").writers()) <= 1


def test_a_lease_whose_key_was_overwritten_is_acquired_again_before_the_ttl(
    probes: Probes, datacenter: Datacenter
) -> None:
    agent = start(probes, "overwritten")
    fence = agent.wait("active")["lease"]["fence"]
    datacenter.put("/v1/kv/consulops/agents/overwritten/lease", "mine")
    eventually(lambda: agent.status()["lease"]["fence"] > fence, 15, "it has acquired the lease again")
    assert len(Journal(datacenter, "overwritten").writers()) <= 2


def test_unexpected_responses_to_a_write_do_not_end_an_agent(
    own_lab: Lab, probes: Probes, datacenter: Datacenter
) -> None:
    with Proxy(datacenter.url, own_lab.address(), path="/v1/txn", method="PUT") as proxy:
        agent = start(probes, "unexpected", connection={"url": proxy.url}, step_down_after_failures=1000)
        agent.wait("active")
        for body in UNEXPECTED_BODIES:
            proxy.body, proxy.fault = body, "json"
            sent = proxy.requests.count(("PUT", "/v1/txn"))
            eventually(
                lambda sent=sent: proxy.requests.count(("PUT", "/v1/txn")) > sent + 2,
                60,
                f"it continues after the body {body[:20]}",
            )
            assert agent.process.poll() is None, agent.log()
        proxy.fault = ""
        agent.wait("active", 60)
        eventually(lambda: not agent.status()["problem"], what="it writes again")
    assert "Traceback" not in agent.log()
