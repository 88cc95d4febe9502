# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets that appear late, cannot be read, or are replaced while the alerting agent runs: nothing is lost, and what is missing is said."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import requests

from tests.lab.agents import AgentProcess, run_command
from tests.lab.alerting import Instances, alerts, register_check, set_check, wait_for_alerts, wait_for_lease
from tests.lab.consul import ROOT, Datacenter, Lab, eventually
from tests.lab.fill import new_token
from tests.lab.http_service import HttpService

POLICY = (ROOT / "roles/consul_alerting/files/policy.hcl").read_text(encoding="utf-8")


def problem_with(agent: AgentProcess, words: str) -> str:
    """Wait until the status names a problem with these words, and return it."""

    def problem() -> str:
        found = [agent.status()["problem"], *(job["problem"] for job in agent.status()["jobs"].values())]
        return next((one for one in found if words in one), "")

    return t.cast("str", eventually(problem, what=f"the status says {words!r}"))


def authorization(hook: HttpService, service: str) -> list[str]:
    """Return the Authorization header of each message about a service."""
    return [one.headers["Authorization"] for one in hook.received if f'"{service}"' in one.body.decode()]


def start(
    instances: Instances, datacenter: Datacenter, name: str, secret: t.Mapping[str, str], **more: t.Any
) -> AgentProcess:
    """Start an agent that is about the service of its name and whose only receiver needs a secret."""
    hook = {"type": "webhook", "url": f"{instances.hook.url}/alerts", "timeout": "2s", **secret}
    given = {"receivers": {"hook": hook}, "match": [{"service": name}]}
    return instances.start(datacenter, name=name, options=given, service={"register": False}, **more)


def write(path: Path, text: str) -> None:
    """Replace a file as tools that rotate secrets do: at once."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    new.replace(path)


@pytest.mark.parametrize("kind", ["bearer_token_file", "bearer_token_credential", "credential:"])
def test_what_fired_before_a_receivers_secret_came_is_delivered_when_it_comes(
    instances: Instances, datacenter: Datacenter, hook: HttpService, tmp_path: Path, kind: str
) -> None:
    name = f"late-{kind[:-1].replace('_', '-')}"
    register_check(datacenter, name, "critical")
    path = tmp_path / "secret"
    secret = {
        "bearer_token_file": {"bearer_token_file": str(path)},
        "bearer_token_credential": {"bearer_token_credential": "hook"},
        "credential:": {"bearer_token_file": "credential:hook"},
    }[kind]
    agent = start(instances, datacenter, name, secret)
    if kind != "bearer_token_file":
        path = agent.directory / "credentials" / "hook"
    said = problem_with(agent, "receivers.hook.bearer_token")
    assert f"{path} cannot be read: No such file or directory." in said
    eventually(lambda: str(path) in agent.log(), what="the journal names it too")
    assert alerts(hook, name) == []
    assert run_command_fails(agent, "No such file")
    write(path, "first")
    wait_for_alerts(hook, name, 1)
    eventually(lambda: str(path) not in agent.status()["problem"], what="the problem is over")

    write(path, "second")
    set_check(datacenter, name, "passing")
    wait_for_alerts(hook, name, 2)
    path.unlink()
    path.mkdir()  # unreadable for root as well
    set_check(datacenter, name, "critical")
    eventually(lambda: "Is a directory" in agent.log(), what="the journal says why nothing is sent")
    path.rmdir()
    write(path, "third")
    wait_for_alerts(hook, name, 3)
    assert [kind for kind, _severity in alerts(hook, name)] == ["firing", "resolved", "firing"]
    assert authorization(hook, name) == ["Bearer first", "Bearer second", "Bearer third"]
    assert not any(word in agent.log() for word in ("first", "second", "third"))


def run_command_fails(agent: AgentProcess, sentence: str) -> bool:
    """Return whether check-config refuses the configuration of an agent with a sentence."""
    environment = {"CREDENTIALS_DIRECTORY": str(agent.directory / "credentials")}
    done = run_command(agent.bundle, "check-config", agent.path, environment=environment)
    return done.returncode == 2 and sentence in done.stderr + done.stdout


def test_a_token_file_may_come_late_and_be_replaced_while_the_agent_runs(
    own_lab: Lab, instances: Instances, hook: HttpService, tmp_path: Path
) -> None:
    secured = own_lab.datacenter("late", acl=True)
    register_check(secured, "late-token", "critical")
    path = tmp_path / "token"
    connection = {"url": secured.url, "timeout": 2.0, "token_file": str(path)}
    given = {"match": [{"service": "late-token"}], "reconcile_every": "1s"}
    agent = instances.start(
        secured, name="alerting", token="", options=given, connection=connection, service={"register": False}
    )
    said = problem_with(agent, "token_file")
    assert f"token_file {path}: No such file or directory, so the token cannot be read." in said
    ready = requests.get(f"{agent.url}/readyz", timeout=5)
    assert ready.status_code == 503 and str(path) in ready.text
    eventually(lambda: str(path) in agent.log(), what="the journal names it too")

    first = new_token(secured, POLICY)
    write(path, first)
    wait_for_alerts(hook, "late-token", 1)
    fence = wait_for_lease(agent)["lease"]["fence"]

    # Replaced: requests use the new one, and nothing is started anew.
    second = new_token(secured, POLICY)
    path.unlink()
    path.mkdir()
    cycles = agent.status()["jobs"]["watch local"]["cycles"]
    eventually(lambda: agent.status()["jobs"]["watch local"]["cycles"] > cycles + 2, what="it reads with the old token")
    path.rmdir()
    write(path, second)
    cycles = agent.status()["jobs"]["watch local"]["cycles"]
    eventually(lambda: agent.status()["jobs"]["watch local"]["cycles"] > cycles + 2, what="it reads with the new token")
    delete_token(secured, first)
    set_check(secured, "late-token", "passing")
    wait_for_alerts(hook, "late-token", 2)
    status = agent.status()
    assert status["lease"]["held"] and status["lease"]["fence"] == fence and status["reloads"] == 0
    assert alerts(hook, "late-token") == [("firing", "critical"), ("resolved", "critical")]
    assert not any(secret in agent.log() for secret in (first, second)) and agent.process.poll() is None


def delete_token(at: Datacenter, secret: str) -> None:
    """Delete the token with this SecretID."""
    tokens = [at.get(f"/v1/acl/token/{one['AccessorID']}") for one in at.get("/v1/acl/tokens")]
    accessor = next(one["AccessorID"] for one in tokens if one["SecretID"] == secret)
    at.request("DELETE", f"/v1/acl/token/{accessor}")
