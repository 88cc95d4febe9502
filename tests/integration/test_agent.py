# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demonstration agent, run from the bundle against a real Consul: lease, reload, registration, endpoint and faults."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import struct
import time
import typing as t
from datetime import datetime
from pathlib import Path

import pytest
import requests

from tests.lab.agents import AgentProcess, Journal, free_port, run_command, writers_in_turn
from tests.lab.consul import Datacenter, Lab, eventually, freeze
from tests.lab.faults import Proxy
from tests.lab.fill import new_token

QUICK = {"interval": "50ms"}


class Agents:
    """Starts agents, each with its own loopback address."""

    def __init__(self, lab: Lab, bundle: Path, directory: Path) -> None:
        self._lab, self._bundle, self._directory = lab, bundle, directory
        self.started: list[AgentProcess] = []

    def start(self, at: Datacenter, token: str | None = None, *, clock: bool = False, **config: t.Any) -> AgentProcess:
        settings = {
            "agent": "demonstration",
            "connection": {"url": at.url},
            "options": QUICK,
            "lease": {"lock_delay": "1s"},
            "service": {"name": f"agent-{len(self.started)}"},
            "back_off": {"first": "100ms", "longest": "500ms"},
            **config,
        }
        directory = self._directory / f"agent{len(self.started)}"
        agent = AgentProcess(self._bundle, directory, self._lab.address(), settings, token, clock=clock)
        self.started.append(agent)
        return agent

    def settings(self, at: Datacenter, **config: t.Any) -> dict[str, t.Any]:
        return {"agent": "demonstration", "connection": {"url": at.url}, "options": QUICK, **config}


@pytest.fixture
def agents(lab: Lab, bundle: Path, tmp_path: Path) -> t.Iterator[Agents]:
    agents = Agents(lab, bundle, tmp_path / "agents")
    yield agents
    for agent in agents.started:
        agent.stop()


def test_one_of_two_is_active_and_releases_the_lease_when_it_is_stopped(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    first = agents.start(datacenter)
    first.wait("active")
    second = agents.start(datacenter)
    second.wait("standby")
    journal = Journal(datacenter)
    eventually(lambda: len(journal.sessions()) > 3, what="the journal grows")
    assert requests.get(f"{second.url}/readyz", timeout=5).text == "standby\n"
    assert first.stop() < 2 and first.process.returncode == 0
    second.wait("active", within_s=3)
    eventually(lambda: len(writers_in_turn(journal.sessions())) == 2, what="the second writes")


def test_after_a_lease_is_lost_nothing_more_is_written_with_it(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    first = agents.start(datacenter)
    first.wait("active")
    second = agents.start(datacenter)
    second.wait("standby")
    journal = Journal(datacenter)
    eventually(journal.sessions, what="the journal begins")
    for _turn in range(3):
        before = len(writers_in_turn(journal.sessions()))
        datacenter.put(f"/v1/session/destroy/{journal.sessions()[-1]}")
        eventually(lambda before=before: len(writers_in_turn(journal.sessions())) > before, what="another lease term")
    states = {agent.status()["state"] for agent in (first, second)}
    assert states == {"active", "standby"}


def test_a_frozen_agent_is_replaced_and_becomes_standby_when_it_continues(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    first = agents.start(datacenter)
    first.wait("active")
    second = agents.start(datacenter)
    second.wait("standby")
    started = time.monotonic()
    freeze(first.process)
    second.wait("active", within_s=20 + 1 + 5)
    took = time.monotonic() - started
    print(f"taken over from a frozen agent after {took:.1f} s")
    first.process.send_signal(signal.SIGCONT)
    first.wait("standby")
    journal = Journal(datacenter)
    eventually(lambda: len(writers_in_turn(journal.sessions())) == 2, what="the second writes")


def test_an_agent_survives_an_outage_of_consul(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    agent = agents.start(datacenter)
    agent.wait("active")
    datacenter.servers[0].stop()
    # The request in flight fails with another message; later ones fail with this one.
    advice = "Is the Consul agent running there?"
    eventually(lambda: advice in agent.status()["problem"], what="the problem is reported")
    answer = requests.get(f"{agent.url}/readyz", timeout=5)
    assert answer.status_code == 503 and advice in answer.text
    alive = requests.get(f"{agent.url}/healthz", timeout=5)
    assert (alive.status_code, alive.text) == (200, "alive\n"), "a restart of the agent would not bring Consul back"
    datacenter.servers[0].start()
    datacenter.leader()
    eventually(lambda: agent.status()["healthy"] and agent.status()["state"] == "active", 40, "it works again")
    assert agent.process.poll() is None


def test_a_jump_of_the_wall_clock_does_not_affect_the_lease(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    active, standby = (agents.start(datacenter, clock=True) for _number in range(2))
    eventually(
        lambda: {active.status()["state"], standby.status()["state"]} == {"active", "standby"}, what="one of each"
    )
    if active.status()["state"] == "standby":
        active, standby = standby, active
    journal = Journal(datacenter)
    for seconds in (86400.0, -86400.0, 30 * 365 * 86400.0, 25.0, 0.0):
        for agent in (active, standby):
            agent.set_clock(seconds)
        has_jumped = eventually(
            lambda seconds=seconds: abs(_moment(active.status()["last_success"]) - time.time() - seconds) < 60,
            what="the process uses the new time",
        )
        assert has_jumped
        before = len(journal.sessions())
        eventually(lambda before=before: len(journal.sessions()) >= before + 10, what="it continues to write")
    assert len(writers_in_turn(journal.sessions())) == 1
    for agent in (active, standby):
        assert agent.status()["failures"] == 0 and agent.process.poll() is None
        assert requests.get(f"{agent.url}/healthz", timeout=5).status_code == 200
    assert active.status()["lease_terms"] == 1
    assert active.stop() < 2
    standby.wait("active", within_s=3)


def _moment(text: str | None) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def test_an_agent_that_starts_before_consul_waits_for_it(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    datacenter.servers[0].stop()
    agent = agents.start(datacenter)
    agent.wait("failing")
    assert "READY=1" in eventually(
        lambda: agent.notifications() if "READY=1" in agent.notifications() else None, what="systemd is notified"
    )
    datacenter.servers[0].start()
    agent.wait("active")


def test_a_stop_takes_less_than_two_seconds_while_consul_hangs(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    active = agents.start(datacenter)
    active.wait("active")
    standby = agents.start(datacenter)
    standby.wait("standby")
    datacenter.servers[0].pause()
    assert active.stop() < 2 and standby.stop() < 2
    datacenter.servers[0].resume()
    writers_in_turn(Journal(datacenter).sessions())


def test_an_agent_survives_a_revoked_token_and_works_again_with_a_restored_one(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter(acl=True)
    rules = 'key_prefix "consulops/" { policy = "write" } session_prefix "" { policy = "write" } '
    token = new_token(datacenter, rules + 'service "agent-0" { policy = "write" }')
    body = next(
        datacenter.get(f"/v1/acl/token/{one['AccessorID']}")
        for one in datacenter.get("/v1/acl/tokens")
        if datacenter.get(f"/v1/acl/token/{one['AccessorID']}")["SecretID"] == token
    )
    agent = agents.start(datacenter, token)
    agent.wait("active")
    assert token not in agent.log() and token not in requests.get(f"{agent.url}/", timeout=5).text
    datacenter.request("DELETE", f"/v1/acl/token/{body['AccessorID']}")
    problem = eventually(lambda: agent.status()["problem"], what="the denial is reported")
    assert "403" in problem or "ACL not found" in problem or "denied" in problem
    agent.wait("failing")
    known = {name: body[name] for name in ("AccessorID", "SecretID", "Policies", "Description")}
    datacenter.put("/v1/acl/token", json.dumps(known))
    agent.wait("active")
    assert agent.process.poll() is None


def test_a_denied_token_never_gives_the_lease_away(lab: Lab, agents: Agents) -> None:
    """Every other instance has the same rights, so it would only pass the lease on."""
    datacenter = lab.datacenter(acl=True)
    lease = 'key "consulops/agents/demonstration/lease" { policy = "write" } session_prefix "" { policy = "write" } '
    services = 'service_prefix "agent-" { policy = "write" }'
    narrow = agents.start(datacenter, new_token(datacenter, lease + services), step_down_after_failures=2)
    fence = narrow.wait("active")["lease"]["fence"]
    able = agents.start(datacenter, datacenter.token)
    able.wait("standby")
    eventually(lambda: narrow.status()["failures_in_row"] > 6, what="it fails again and again")
    status = narrow.status()
    assert "Permission denied" in status["problem"] and status["lease"] == {**status["lease"], "fence": fence}
    assert "giving up" not in narrow.log() and able.status()["state"] == "standby"


def test_an_active_agent_whose_own_consul_does_not_take_its_writes_gives_up_the_lease(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    with Proxy(datacenter.url, f"{lab.network}.250", fault="drop", path="/v1/txn", method="PUT") as broken:
        failing = agents.start(datacenter, connection={"url": broken.url})
        eventually(lambda: failing.status()["failures"] > 0, what="it holds the lease and cannot write")
        able = agents.start(datacenter)
        able.wait("active")
        assert "giving up the lease after 5 failures in a row" in failing.log()
        assert len(writers_in_turn(Journal(datacenter).sessions())) <= 1


def test_only_a_valid_configuration_is_reloaded(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    agent = agents.start(datacenter)
    agent.wait("active")
    agent.configure({**agents.settings(datacenter), "leese": {}})
    agent.reload()
    eventually(lambda: "Did you mean lease?" in agent.log(), what="the mistake is logged")
    assert agent.status()["reloads"] == 0 and agent.status()["state"] == "active"
    agent.configure('{"agent": ')
    agent.reload()
    eventually(lambda: "line 1, column" in agent.log(), what="the second mistake is logged")
    address = agents._lab.address()
    listen = {"address": address, "port": 9181}
    agent.configure(agents.settings(datacenter, endpoint=listen, lease={"key": "other/lease"}))
    agent.reload()
    agent.url = f"http://{address}:9181"
    eventually(lambda: agent.status()["lease"]["key"] == "other/lease", what="the new lease")
    agent.wait("active")
    eventually(lambda: agent.status()["reloads"] == 1, what="the reload is counted")
    assert datacenter.request("GET", "/v1/kv/consulops/agents/demonstration/lease").json()[0].get("Session") is None


# What an endpoint beyond loopback needs to do without TLS and without a token.
WAIVED = {"plain_http": True, "anonymous_reads": True}


def test_a_reload_can_widen_and_narrow_the_address_on_the_same_port(lab: Lab, agents: Agents) -> None:
    datacenter, port = lab.datacenter(), free_port()
    own, other = lab.address(), lab.address()
    agent = agents.start(datacenter, endpoint={"address": own, "port": port})
    agent.url = f"http://{own}:{port}"
    agent.wait("active")
    for number, address in enumerate(("0.0.0.0", own, "::", own), 1):
        agent.configure(agents.settings(datacenter, endpoint={"address": address, "port": port, **WAIVED}))
        agent.reload()
        eventually(lambda number=number: agent.status()["reloads"] == number, what=f"it listens on {address}")
        is_wide = address != own
        with contextlib.closing(socket.socket()) as client:
            assert (client.connect_ex((other, port)) == 0) is is_wide, address
    assert "cannot listen" not in agent.log()


def test_a_reload_to_an_address_that_is_taken_keeps_the_endpoint(lab: Lab, agents: Agents) -> None:
    datacenter, port = lab.datacenter(), free_port()
    own, other = lab.address(), lab.address()
    agent = agents.start(datacenter, endpoint={"address": own, "port": port})
    agent.url = f"http://{own}:{port}"
    fence = agent.wait("active")["lease"]["fence"]
    wide = agents.settings(datacenter, endpoint={"address": "0.0.0.0", "port": port, **WAIVED})
    with socket.create_server((other, port)):
        agent.configure(wide)
        agent.reload()
        problem = eventually(lambda: agent.status()["reload_problem"], what="the reload fails")
    assert f"cannot listen on 0.0.0.0 port {port}: Address already in use" in problem
    status = agent.status()
    assert (status["reloads"], status["state"], status["lease"]["fence"]) == (0, "active", fence)
    with pytest.raises(OSError, match="in use"), socket.create_server((own, port)):
        pass  # the port of the kept endpoint is not shared
    agent.reload()
    eventually(lambda: agent.status()["reloads"] == 1, what="it reloads when the address is free")


def test_a_replaced_lease_whose_request_hung_is_ignored(lab: Lab, agents: Agents) -> None:
    """Consul hangs, the user corrects the address and reloads; the request of the old lease would time out later."""
    datacenter = lab.datacenter()
    with Proxy(datacenter.url, f"{lab.network}.250", fault="hang", path="/v1/", method="PUT") as hung:
        agent = agents.start(datacenter, connection={"url": hung.url, "timeout": 2})
        eventually(lambda: ("PUT", "/v1/session/create") in hung.requests, what="it hangs")
        agent.configure(agents.settings(datacenter))
        agent.reload()
        cycles = agent.wait("active")["cycles"]
        failures = agent.status()["failures"]
        # Longer than the timeout of the old request.
        until = time.monotonic() + 4
        while time.monotonic() < until:
            status = agent.status()
            assert (status["state"], status["lease"]["held"], status["problem"]) == ("active", True, ""), status
            assert status["failures"] == failures
        assert agent.status()["cycles"] > cycles and agent.status()["lease"]["fence"] > 0


def test_a_stop_right_after_a_reload_takes_less_than_two_seconds_while_consul_hangs(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    with Proxy(datacenter.url, f"{lab.network}.250", method="PUT", path="/v1/") as hung:
        agent = agents.start(datacenter, connection={"url": hung.url})
        agent.wait("active")
        hung.fault = "hang"
        agent.configure(agents.settings(datacenter, connection={"url": hung.url}, log_level="debug"))
        agent.reload()
        eventually(lambda: "reloading the configuration" in agent.log(), what="it reloads")
        assert agent.stop() < 2 and agent.process.returncode == 0


def test_a_lease_whose_key_was_overwritten_is_acquired_again_before_the_ttl(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    agent = agents.start(datacenter, lease={"lock_delay": "1s"})
    fence = agent.wait("active")["lease"]["fence"]
    datacenter.put("/v1/kv/consulops/agents/demonstration/lease", "mine")
    eventually(lambda: agent.status()["lease"]["fence"] > fence, 15, "it has acquired the lease again")
    assert len(writers_in_turn(Journal(datacenter).sessions())) <= 2


def test_two_agents_of_a_host_can_share_a_service_name(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    for name in ("one", "two"):
        agents.start(datacenter, name=name, service={"name": "both"}).wait("active")
    eventually(lambda: len(datacenter.get("/v1/health/service/both?passing")) == 2, what="both are in the catalogue")


def test_a_reload_with_another_consul_moves_the_registration(lab: Lab, agents: Agents) -> None:
    one, two = lab.datacenter("one"), lab.datacenter("two")
    agent = agents.start(one, service={"name": "mover"})
    agent.wait("active")
    eventually(lambda: one.get("/v1/health/service/mover?passing"), what="the first has the service")
    agent.configure(agents.settings(two, service={"name": "mover"}))
    agent.reload()
    eventually(lambda: two.get("/v1/health/service/mover?passing"), what="the second has the service")
    eventually(lambda: one.get("/v1/health/service/mover") == [], what="it is deregistered from the first")


UNEXPECTED_BODIES = ['"x"', "[null]", "5", '{"ID":null}', "[" * 3000 + "]" * 3000, '[{"Key":5}]']


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/kv/"), ("PUT", "/v1/kv/"), ("PUT", "/v1/session/create"), ("PUT", "/v1/txn")],
)
def test_unexpected_responses_do_not_end_an_agent(lab: Lab, agents: Agents, method: str, path: str) -> None:
    datacenter = lab.datacenter()
    with Proxy(datacenter.url, f"{lab.network}.250", path=path, method=method) as proxy:
        back_off = {"first": "50ms", "longest": "100ms"}
        agent = agents.start(
            datacenter, connection={"url": proxy.url}, step_down_after_failures=1000, back_off=back_off
        )
        agent.wait("active")
        for body in UNEXPECTED_BODIES:
            proxy.body, proxy.fault = body, "json"
            sent = len(proxy.requests)
            eventually(lambda sent=sent: len(proxy.requests) > sent + 2, 60, f"it continues after the body {body[:20]}")
            assert agent.process.poll() is None, agent.log()
        proxy.fault = ""
        agent.wait("active", 60)
    assert "Traceback" not in agent.log()


def test_idle_and_vanished_clients_do_not_block_the_endpoint(lab: Lab, agents: Agents) -> None:
    agent = agents.start(lab.datacenter())
    agent.wait("active")
    host, port = agent.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), 5) for _client in range(100)]
    for one in idle:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends a reset
        with contextlib.suppress(OSError):
            one.sendall(b"GET /status HT")
    threads = int(
        re.findall(r"^Threads:\s+(\d+)", Path(f"/proc/{agent.process.pid}/status").read_text(), re.MULTILINE)[0]
    )
    assert threads < 50
    for one in idle:
        one.close()
    eventually(lambda: requests.get(f"{agent.url}/healthz", timeout=5).ok, what="it answers again")
    assert "Traceback" not in agent.log() and "Exception" not in agent.log()


def test_systemd_is_notified_of_readiness_watchdog_and_status(lab: Lab, agents: Agents) -> None:
    agent = agents.start(lab.datacenter())
    agent.wait("active")
    eventually(lambda: "READY=1" in agent.notifications(), what="ready")
    eventually(lambda: agent.notifications().count("WATCHDOG=1") >= 3, what="the watchdog is fed")
    eventually(
        lambda: any(line.startswith("STATUS=active: wrote entry") for line in agent.notifications()),
        what="the status line",
    )
    agent.stop()
    assert agent.process.returncode == 0


def test_an_invalid_configuration_ends_the_process_at_once(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text('{"agent": "demonstration", "lease": {"ttl": 20}}', encoding="utf-8")
    done = run_command(bundle, "agent", "--config", path)
    assert done.returncode == 2
    assert done.stderr == f"consulops: {path}: lease.ttl: expected a string, not 20.\n"


def test_a_taken_port_is_named(lab: Lab, agents: Agents, bundle: Path, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    agent = agents.start(datacenter)
    agent.wait("active")
    done = run_command(bundle, "agent", "--config", agent.path)
    assert done.returncode == 1
    assert "port 9180: Address already in use. Give endpoint.port another number" in done.stderr


def test_the_catalog_has_the_agent_again_after_it_was_deregistered(lab: Lab, agents: Agents) -> None:
    datacenter = lab.datacenter()
    agent = agents.start(datacenter, service={"name": "watcher", "tags": ["mine"], "check_ttl": "3s"})
    agent.wait("active")

    def passing() -> dict[str, t.Any] | None:
        found = datacenter.get("/v1/health/service/watcher?passing")
        return found[0] if found and "active" in found[0]["Service"]["Tags"] else None

    entry = eventually(passing, what="the service passes")
    assert entry["Service"]["Tags"] == ["mine", "active"] and entry["Service"]["Port"] == 9180
    checks = {check["Name"] for check in entry["Checks"]}
    assert {"watcher runs", "watcher does its work"} <= checks
    datacenter.put(f"/v1/agent/service/deregister/{entry['Service']['ID']}")
    eventually(passing, what="it is registered again")
    assert "registration" not in agent.log()
    agent.stop()
    assert datacenter.get("/v1/health/service/watcher") == []


def test_the_endpoint_serves_its_pages_and_nothing_else(lab: Lab, agents: Agents) -> None:
    agent = agents.start(lab.datacenter())
    agent.wait("active")
    page = requests.get(agent.url, timeout=5)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8" and "active" in page.text
    assert "http" not in page.text.replace("http-equiv", "")
    metrics = requests.get(f"{agent.url}/metrics", timeout=5).text
    assert 'consulops_lease_held{agent="demonstration",lease="lease",name="demonstration"} 1.0\n' in metrics
    assert requests.get(f"{agent.url}/nothing", timeout=5).status_code == 404
    assert requests.post(agent.url, timeout=5).status_code == 403
