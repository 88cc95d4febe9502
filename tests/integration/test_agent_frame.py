# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The frame of agents as real processes: several jobs, connections and lease policies, reload by difference, stopping."""

from __future__ import annotations

import re
import signal
import time
import typing as t
from pathlib import Path

import pytest
import requests

from tests.lab.agents import AgentProcess
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.probes import Probes

STOP_WITHIN_S = 3.0  # the agent needs less than 1.5 s; the rest is for a machine whose processors are busy


Options = dict[str, t.Any]


def job(agent: AgentProcess, name: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = agent.status()["jobs"].get(name, {})
    return found


def numbers(agent: AgentProcess, name: str) -> dict[str, float]:
    return {one["name"]: one["value"] for one in job(agent, name).get("numbers", [])}


def service_is_there(datacenter: Datacenter, name: str) -> bool:
    return any(one["Service"] == f"consulops-{name}" for one in datacenter.get("/v1/agent/services").values())


def test_jobs_fail_alone(probes: Probes, datacenter: Datacenter, own_lab: Lab) -> None:
    """One connection leads nowhere, and one directory is missing; neither stops nor delays the other jobs."""
    jobs = {"reads": "read consul", "dead": "read dead", "disk": "keep missing/file", "keeps": "keep file"}
    dead = {"url": f"http://{own_lab.address()}:1", "timeout": 1}
    agent = probes.start(
        "alone", jobs, options={"policy": "none", "connections": {"dead": dead, "consul": {"url": datacenter.url}}}
    )
    eventually(
        lambda: job(agent, "dead").get("failures_in_row", 0) > 3 and job(agent, "disk")["failures_in_row"] > 3,
        what="two fail",
    )
    before = {name: job(agent, name)["cycles"] for name in ("reads", "keeps")}
    eventually(
        lambda: all(job(agent, name)["cycles"] > cycles + 5 for name, cycles in before.items()), what="two go on"
    )
    status = agent.status()
    assert {name: one["state"] for name, one in status["jobs"].items()} == {
        **{"reads": "running", "dead": "failing", "disk": "failing", "keeps": "running"}
    }
    assert "Is the Consul agent running there?" in status["jobs"]["dead"]["problem"]
    assert "missing" in status["jobs"]["disk"]["problem"] and status["state"] == "active"
    assert requests.get(f"{agent.url}/healthz", timeout=5).status_code == 200
    ready = requests.get(f"{agent.url}/readyz", timeout=5)
    assert ready.status_code == 503 and ready.text.startswith("active: dead: ")
    assert (agent.directory / "state/file").exists()


def test_a_stop_cuts_blocking_queries_and_releases_the_lease(probes: Probes, datacenter: Datacenter) -> None:
    agent = probes.start("cut", {"watch": "watch"})
    agent.wait("active")
    eventually(lambda: numbers(agent, "watch").get("index"), what="the first answer: the next query waits for a minute")
    eventually(lambda: service_is_there(datacenter, "cut"), what="it is registered")
    assert agent.stop() < STOP_WITHIN_S and agent.process.returncode == 0
    assert datacenter.get("/v1/kv/consulops/agents/cut/lease")[0].get("Session") is None, "released, not expired"
    assert not service_is_there(datacenter, "cut")


@pytest.mark.parametrize("policy", ["required", "preferred"])
def test_a_stop_with_every_request_hung_is_quick_and_deregisters_later(
    probes: Probes, datacenter: Datacenter, policy: str
) -> None:
    jobs = {"watch": "watch", "reads": "read consul", "speak": "speak"}
    options = {"policy": policy, "connections": {"consul": {"url": datacenter.url}}}
    agent = probes.start(f"hung-{policy}", jobs, options=options, service={"check_ttl": "3s"})
    agent.wait("active")
    standby = probes.start(f"hung-{policy}", jobs, options=options, service={"register": False})
    standby.wait("standby")
    eventually(lambda: service_is_there(datacenter, f"hung-{policy}"), what="it is registered")
    datacenter.servers[0].pause()
    seen = [-1]

    def requests_hang() -> bool:
        seen.append(job(agent, "reads")["cycles"])
        return seen[-1] == seen[-2]

    eventually(requests_hang, what="its requests hang", every_s=0.3)
    took_s, standby_took_s = agent.stop(), standby.stop()
    datacenter.servers[0].resume()
    assert took_s < STOP_WITHIN_S and standby_took_s < STOP_WITHIN_S
    assert agent.process.returncode == 0
    eventually(
        lambda: not service_is_there(datacenter, f"hung-{policy}"), what="it is deregistered when Consul goes on"
    )


def test_a_reload_touches_only_what_it_changes(probes: Probes, datacenter: Datacenter) -> None:
    options: Options = {"connections": {"other": {"url": datacenter.url}}}
    jobs = {"watch": "watch", "reads": "read other", "keeps": "keep one"}
    agent = probes.start("reload", jobs, options=options)
    fence = agent.wait("active")["lease"]["fence"]
    threads = eventually(
        lambda: (
            {name: numbers(agent, name)["thread"] for name in ("watch", "reads")}
            if job(agent, "keeps")["cycles"] and numbers(agent, "watch") and numbers(agent, "reads")
            else None
        )
    )

    def reload(count: int, jobs: dict[str, str], **more: t.Any) -> dict[str, t.Any]:
        agent.configure(probes.settings("reload", jobs, **more))
        agent.reload()
        eventually(lambda: agent.status()["reloads"] == count, what="the reload is counted")
        status = agent.status()
        assert (status["lease"]["fence"], status["state"], status["lease_terms"]) == (fence, "active", 1)
        return status

    def kept_by() -> int:
        return int(requests.get(f"{agent.url}/kept", timeout=5).json())

    kept = eventually(lambda: count if (count := kept_by()) > 20 else None, what="there is something to remember")
    before = agent.status()["jobs"]
    # A job, the log and the pauses change.
    status = reload(1, {**jobs, "keeps": "keep two"}, options=options, log_level="debug", back_off={"first": "1s"})
    assert (
        status["jobs"]["watch"]["since"] == before["watch"]["since"]
        and status["jobs"]["keeps"]["cycles"] < before["keeps"]["cycles"] + 5
    )
    eventually((agent.directory / "state/two").exists, what="the changed job works")
    assert kept_by() >= kept, "the memory of the agent outlives the reload, for jobs and routes"
    # A connection changes, another job is gone.
    options = {"connections": {"other": {"url": datacenter.url, "timeout": 7}}}
    del jobs["keeps"]
    status = reload(2, jobs, options=options)
    assert set(status["jobs"]) == {"watch", "reads"}
    eventually(
        lambda: numbers(agent, "reads").get("thread", threads["reads"]) != threads["reads"], what="another thread reads"
    )
    datacenter.put("/v1/kv/probe/reload", "x")
    eventually(
        lambda: numbers(agent, "watch")["index"] > 0 and job(agent, "watch")["cycles"] > before["watch"]["cycles"],
        what="the untouched job still watches",
    )
    assert numbers(agent, "watch")["thread"] == threads["watch"]
    # What cannot be used changes nothing.
    agent.configure(probes.settings("reload", jobs, options={"connections": {"other": {"url": "ftp://x"}}}))
    agent.reload()
    eventually(lambda: agent.status()["reload_problem"], what="the mistake is reported")
    assert numbers(agent, "watch")["thread"] == threads["watch"] and agent.status()["reloads"] == 2


def test_with_a_preferred_lease_every_instance_works_and_unknown_means_speak(
    probes: Probes, datacenter: Datacenter
) -> None:
    def standing(agent: AgentProcess) -> str:
        return str(agent.status()["section"].get("standing"))

    agents = [
        probes.start(
            "speakers",
            {"speak": "speak"},
            options={"policy": "preferred"},
            connection={"url": datacenter.url, "timeout": 2},
        )
        for _number in range(2)
    ]
    eventually(lambda: sorted(standing(agent) for agent in agents) == ["holder", "standby"], what="one holds the lease")
    for agent in agents:
        metrics = requests.get(f"{agent.url}/metrics", timeout=5).text
        assert 'consulops_spoken{agent="probe",job="speak",name="speakers",to="all"}' in metrics
        assert requests.get(f"{agent.url}/readyz", timeout=5).status_code == 200
    datacenter.servers[0].stop()
    eventually(lambda: [standing(agent) for agent in agents] == ["unknown", "unknown"], 40, "Consul cannot tell")
    for agent in agents:
        cycles = job(agent, "speak")["cycles"]
        eventually(lambda agent=agent, cycles=cycles: job(agent, "speak")["cycles"] > cycles + 5, what="it goes on")
        assert agent.status()["state"] == "active", "a monitor that goes silent when quorum is lost is useless"
        assert requests.get(f"{agent.url}/readyz", timeout=5).status_code == 503
    datacenter.servers[0].start()
    datacenter.leader()
    for session in datacenter.get("/v1/session/list"):  # instead of waiting for the TTL of the one that held the lease
        datacenter.put(f"/v1/session/destroy/{session['ID']}")
    eventually(lambda: sorted(standing(agent) for agent in agents) == ["holder", "standby"], 40, "as before")


def test_page_status_metrics_and_catalog_agree(probes: Probes, datacenter: Datacenter) -> None:
    agent = probes.start("views", {"watch": "watch"}, service={"check_ttl": "3s"})
    agent.wait("active")
    eventually(lambda: numbers(agent, "watch"), what="the only answer, until the key changes")
    status = agent.status()
    index, fence = numbers(agent, "watch")["index"], status["lease"]["fence"]
    metrics = requests.get(f"{agent.url}/metrics", timeout=5).text
    page = requests.get(agent.url, timeout=5).text
    of_job = 'agent="probe",job="watch",name="views"'
    assert f"consulops_index{{{of_job}}} {float(index)}\n" in metrics
    assert f"consulops_cycles_total{{{of_job}}} {float(status['cycles'])}\n" in metrics
    assert f'consulops_lease_fence{{agent="probe",lease="lease",name="views"}} {float(fence)}\n' in metrics
    assert f"held, fence {fence}" in page and f"index<td>{index:,}" in page and "watches" in page
    eventually(lambda: "STATUS=active: watches" in agent.notifications(), what="systemd shows it")

    def work() -> dict[str, t.Any] | None:
        # Of the local agent: the catalog gets a new output of a check that stays in its state after minutes only.
        checks = [one for key, one in datacenter.get("/v1/agent/checks").items() if key.endswith(":work")]
        own = [one for one in checks if one["ServiceName"] == "consulops-views" and one["ServiceTags"] == ["active"]]
        return own[0] if own and own[0]["Output"] == "active: watches" else None

    assert eventually(work, what="the check says the same")["Status"] == "passing"


def test_a_bug_in_a_job_ends_the_process_with_its_place_in_the_log(probes: Probes, datacenter: Datacenter) -> None:
    agent = probes.start("bug", {"wrong": "go_wrong"})
    assert agent.process.wait(20) == 1
    assert "KeyError: 'a bug of the probe'" in agent.log() and "go_wrong" in agent.log()
    assert "a thread ended because of a bug" in agent.log()
    assert datacenter.get("/v1/kv/consulops/agents/bug/lease")[0].get("Session") is None, "the lease was released"


def test_a_job_without_signs_of_life_is_named_and_starves_the_watchdog(probes: Probes) -> None:
    agent = probes.start("stalled", {"hang": "hang"}, options={"policy": "none", "heartbeat_limit_s": 1.0})
    eventually(lambda: requests.get(f"{agent.url}/healthz", timeout=5).status_code == 503, what="it counts as dead")
    answer = requests.get(f"{agent.url}/healthz", timeout=5)
    assert answer.text == "no sign of life from hang\n"
    fed = agent.notifications().count("WATCHDOG=1")
    time.sleep(2.5)  # two and a half times as long as an agent that lives waits until it feeds it again
    assert agent.notifications().count("WATCHDOG=1") == fed
    assert agent.stop() < STOP_WITHIN_S


def test_a_signal_during_the_start_is_not_lost(probes: Probes) -> None:
    """The handlers are there before the first thread; a reload in the first moments once ended the process."""
    agent = probes.start("early", {"watch": "watch"})
    signals = Path(f"/proc/{agent.process.pid}/status")

    def catches_hup() -> bool:
        caught = re.findall(r"^SigCgt:\s+([0-9a-f]+)", signals.read_text(encoding="ascii"), re.MULTILINE)
        return bool(int(caught[0], 16) >> (signal.SIGHUP - 1) & 1)

    eventually(catches_hup, what="it catches the signal", every_s=0.001)
    agent.reload()
    assert agent.wait("active")["agent"] == "probe"
