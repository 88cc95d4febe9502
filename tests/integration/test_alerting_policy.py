# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policy of the role consul_alerting: with exactly its rules the agent does all of its work, and without one it says which."""

from __future__ import annotations

import re
import typing as t
import uuid
from pathlib import Path

import pytest

from tests.lab.agents import AgentProcess
from tests.lab.alerting import Instances, alerts, register_check, set_check, wait_for_alerts
from tests.lab.consul import ROOT, Datacenter, Lab, eventually
from tests.lab.http_service import HttpService

POLICY = (ROOT / "roles/consul_alerting/files/policy.hcl").read_text(encoding="utf-8")
RULE = re.compile(r'^(?P<name>\w+(?: "[^"]*")?) (?:\{\n  policy = "(?P<access>\w+)"\n\}|= "\w+")\n', re.M)
RULES = {found["name"]: found for found in RULE.finditer(POLICY)}
# Between rules whose lack has the same alert is one whose lack has none, so that the alert ends.
ORDER = (
    *('node_prefix ""', "operator", 'service_prefix ""', 'key_prefix "consulops/agents/alerting/"'),
    *('key_prefix "consulops/drills/"', 'session_prefix ""', 'key_prefix "consulops/replication/"', 'event_prefix ""'),
    *('key_prefix "consulops/snapshots/"', 'service "consulops-alerting"'),
)


class Restricted:
    """One agent whose token can be replaced by one with other rules."""

    def __init__(self, datacenter: Datacenter, instances: Instances, directory: Path) -> None:
        self._datacenter = datacenter
        self._token_file = directory / "token"
        self.ran = directory / "ran"
        program = directory / "program"
        program.write_text(f"#!/bin/sh\ncat >> {self.ran}\n", encoding="utf-8")
        program.chmod(0o755)
        self._use(POLICY)
        self.agent: AgentProcess = instances.start(
            datacenter,
            name="alerting",
            connection={"url": datacenter.url, "token_file": str(self._token_file)},
            service={"check_ttl": "3s"},
            options={
                "reconcile_every": "1s",
                "events": [{"name": "deploy", "command": [str(program)]}],
                "rules": [{"rule": "kv_replication_lag"}, {"rule": "snapshot_unverified"}, {"rule": "drill_failed"}],
            },
        )

    def reload_with(self, rules: str) -> None:
        """Replace the token by one with these rules, and wait until the agent uses it."""
        reloads = self.agent.status()["reloads"]
        self._use(rules)
        self.agent.reload()
        eventually(lambda: self.agent.status()["reloads"] > reloads, what="the agent reloads")

    def recover(self) -> int:
        """Give it all rules, wait until it works after what another test did to it, and return the length of its log."""
        self.reload_with(POLICY)
        # The lease comes back after its TTL and the lock delay.
        eventually(lambda: self.agent.status()["healthy"] and not self.problems(), 60, "the agent works")
        return len(self.agent.log())

    def _use(self, rules: str) -> None:
        policy = self._datacenter.put("/v1/acl/policy", {"Name": f"p{uuid.uuid4().hex}", "Rules": rules})
        token = self._datacenter.put("/v1/acl/token", {"Policies": [{"ID": policy["ID"]}]})
        self._token_file.write_text(token["SecretID"], encoding="ascii")

    def problems(self) -> list[str]:
        """Return what the agent says of its parts in its status."""
        status = self.agent.status()
        parts = [*status["jobs"].values(), *status["leases"].values()]
        return [text for text in (status["registration_problem"], *(part["problem"] for part in parts)) if text]


@pytest.fixture(scope="module")
def hook() -> t.Iterator[HttpService]:
    with HttpService() as service:
        yield service


@pytest.fixture(scope="module")
def restricted(
    bundle: Path, tmp_path_factory: pytest.TempPathFactory, hook: HttpService
) -> t.Iterator[tuple[Restricted, Datacenter]]:
    directory = tmp_path_factory.mktemp("policy")
    with Lab(directory / "lab") as lab:
        datacenter = lab.datacenter("dc1", acl=True)
        instances = Instances(lab, bundle, directory / "agents", hook)
        register_check(datacenter, "web")
        one = Restricted(datacenter, instances, directory)
        one.agent.wait("active")
        yield one, datacenter
        instances.stop()


def active_services(datacenter: Datacenter) -> list[t.Any]:
    """Return the agents that are registered as active; one that has just come back is on standby for a moment."""
    found = datacenter.get("/v1/health/service/consulops-alerting?passing")
    return [one for one in found if "active" in one["Service"]["Tags"]]


def test_with_exactly_the_policy_the_agent_does_all_of_its_work(
    restricted: tuple[Restricted, Datacenter], hook: HttpService
) -> None:
    one, datacenter = restricted
    began, told = one.recover(), len(hook.received)
    one.ran.unlink(missing_ok=True)
    keys = "/v1/kv/consulops/agents/alerting"
    eventually(lambda: datacenter.get(f"{keys}/events"), what="old events are noted")
    already = len(alerts(hook, "web"))
    set_check(datacenter, "web", "critical")
    assert wait_for_alerts(hook, "web", already + 1)[already:] == [("firing", "critical")]
    eventually(lambda: datacenter.get(f"{keys}/notes"), what="notes are shared")
    datacenter.put("/v1/event/fire/deploy", b"payload")
    eventually(one.ran.exists, what="the program runs")
    eventually(lambda: active_services(datacenter), what="it is registered as the active one")
    set_check(datacenter, "web", "passing")
    wait_for_alerts(hook, "web", already + 2)
    assert one.agent.status()["healthy"] and one.problems() == []
    assert "denied" not in one.agent.log()[began:]
    summaries = {alert["summary"] for message in hook.received[told:] for alert in message.json["alerts"]}
    assert summaries == {"web on dc1-s1 of dc1: check web answers is critical"}


def test_a_token_that_sees_only_the_events_with_programs_is_enough(
    restricted: tuple[Restricted, Datacenter], hook: HttpService
) -> None:
    one, datacenter = restricted
    one.recover()
    eventually(lambda: datacenter.get("/v1/kv/consulops/agents/alerting/events"), what="old events are noted")
    one.reload_with(POLICY.replace('event_prefix ""', 'event "deploy"'))
    one.ran.unlink(missing_ok=True)
    for name in ("other", "deploy"):
        datacenter.put(f"/v1/event/fire/{name}", b"payload")
    eventually(one.ran.exists, what="the program runs")
    assert one.problems() == []


def test_the_rules_of_the_policy_are_those_that_are_tried() -> None:
    without = RULE.sub("", POLICY)
    assert set(RULES) == set(ORDER) and not re.search(r"^[^#\n]", without, re.M)


@pytest.mark.parametrize("rule", ORDER)
def test_without_one_rule_the_agent_says_which(
    restricted: tuple[Restricted, Datacenter], hook: HttpService, rule: str
) -> None:
    one, _datacenter = restricted
    found = RULES[rule]
    before = len(hook.received)
    one.reload_with(POLICY.replace(found[0], ""))
    needed = f'{rule} {{ policy = "{found["access"]}" }}' if found["access"] else f'{rule} = "read"'
    needed = needed.replace('event_prefix ""', 'event "deploy"')  # only the events that have a program

    def sentences() -> list[str]:
        told = [alert["advice"] for message in hook.received[before:] for alert in message.json["alerts"]]
        return [*one.problems(), *told]

    # The lease, which the rule before may have cost it, comes back after its TTL and the lock delay; only its holder runs programs.
    what = f"the agent says that it needs {needed}"
    eventually(lambda: any(needed in text for text in sentences()), within_s=60, what=what)
