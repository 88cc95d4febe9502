# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerting agent's plan and options, what it finds about itself, and what instances share."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import own_findings
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.clock import Clock
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.delivery import ReceiverHealth
from ansible_collections.consulops.failover.plugins.module_utils._agents.registry import AGENT_TYPES
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_config import AgentConfig, make_config

from .scenario import T0, Inbox, check, core_of, finding


def agent(environ: t.Mapping[str, str] | None = None, **options: t.Any) -> AgentConfig:
    given_options = {
        "receivers": {"ops": {"type": "webhook", "url": "http://127.0.0.1:9/"}},
        "route": {"receiver": "ops"},
    }
    return make_config({"agent": "alerting", "options": {**given_options, **options}}, environ or {}, AGENT_TYPES)


def job_names(config: AgentConfig) -> list[str]:
    return [job.name for job in config.plan.jobs]


def test_each_datacenter_is_watched_by_a_job_of_its_own() -> None:
    assert job_names(agent()) == ["watch local", "notify", "follow", "share", "hand over"]
    assert job_names(agent(datacenters=["dc1", "dc2"]))[:2] == ["watch dc1", "watch dc2"]
    connections = [{"datacenter": "dc1"}, {"url": "http://10.0.0.1:8500"}]
    config = agent(connections=connections)
    assert job_names(config)[:2] == ["watch dc1", "watch http://10.0.0.1:8500"]
    assert config.plan.connections["watch dc1"].datacenter == "dc1"


def test_pings_and_events_have_jobs_only_if_they_are_configured() -> None:
    config = agent(
        dead_man={"url": "https://ping.example.org/x"}, events=[{"name": "deploy", "command": ["/bin/true"]}]
    )
    assert job_names(config)[-2:] == ["dead man", "events"]


def test_a_changed_receiver_changes_one_job_only() -> None:
    before = {job.name: job for job in agent().plan.jobs}
    receivers = {"ops": {"type": "webhook", "url": "http://127.0.0.1:10/"}}
    after = {job.name: job for job in agent(receivers=receivers).plan.jobs}
    assert [name for name in before if before[name] != after[name]] == ["notify"]
    rules = [{"rule": "check_status", "enabled": False}]
    after = {job.name: job for job in agent(rules=rules).plan.jobs}
    assert "share" not in [name for name in before if before[name] != after[name]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"instance": "a/b"}, "options.instance: 'a/b' must consist of letters"),
        ({"dead_man": {}}, "options.dead_man.url_file: give this option"),
        ({"dead_man": {"url": "ftp://x"}}, "options.dead_man.url: this is not an address"),
        ({"dead_man": {"url": "http://x/", "every": "100ms"}}, "options.dead_man.every: it is less than one second"),
        ({"events": [{"name": "a/b", "command": ["/bin/true"]}]}, "options.events[0].name: 'a/b' is not the name"),
        ({"events": [{"name": "a"}]}, "options.events[0].command: this option is required"),
        ({"connections": [{"url": "ftp://x"}]}, "options.connections[0]: "),
        ({"connections": [{"datacenter": "a"}, {"datacenter": "a"}]}, "options.connections[1]: it is the same"),
        (
            {"receivers": {"ops": {"type": "slack", "url_file": "/does/not/exist"}}},
            "options.receivers.ops.url_file /does",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_check_config_with_its_path(options: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        config = agent(**options)
        config.agent_type.check(config.setup)
    assert str(caught.value).startswith(sentence)


def test_an_agent_starts_although_the_secret_of_a_receiver_is_missing() -> None:
    assert "notify" in job_names(agent(receivers={"ops": {"type": "slack", "url_file": "/does/not/exist"}}))


# ---------------------------------------------------------------------------------------------------------------


def health(problem: str, failures: int) -> ReceiverHealth:
    return ReceiverHealth(problem, 1, T0, None, None, 0, 0, failures)


def test_a_receiver_that_fails_repeatedly_is_a_finding_with_what_it_said() -> None:
    found = own_findings.judge_receivers(
        {"ops": health("500", 2), "mail": health("", 0), "chat": health("timeout", 1)}, "dc1", "host1"
    ).findings
    assert [(one.rule, one.check, one.output) for one in found] == [("delivery_failed", "ops", "500")]


def test_a_failing_receiver_is_told_to_the_others_and_the_fallback_but_not_to_itself() -> None:
    routes = {
        "receiver": "ops",
        "group_wait": "0s",
        "routes": [{"match": {"severity": "critical"}, "receiver": "pager"}],
    }
    inbox = Inbox(core_of(route=routes, fallback_receiver="dba"))
    assert inbox.judge(0, finding("delivery_failed", check="pager")) == ["dba firing critical pager"]
    inbox = Inbox(core_of(route=routes, fallback_receiver="pager"))
    assert inbox.judge(0, finding("delivery_failed", check="pager")) == []
    inbox = Inbox(core_of(route=routes))
    assert inbox.judge(0, finding("delivery_failed", check="ops")) == ["pager firing critical ops"]


def test_what_cannot_be_read_ends_nothing_whatever_the_datacenter_is_called_then() -> None:
    inbox = Inbox(core_of(recover_for="0s"))
    inbox.judge(0, check())
    assert inbox.read(30) == ["ops firing critical web"]
    from .scenario import judgement

    nameless = judgement(not_judged={("http://127.0.0.1:8500", rule) for rule in ("check_status", "node_down")})
    assert inbox.take(40, nameless) == [] and inbox.read(1000) == []
    assert inbox.judge(1001) == ["ops resolved critical web"]


def test_the_clock_does_not_follow_the_host_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = Clock()
    before = clock.time()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert 0 <= clock.time() - before < 60
