# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policies of the role consul_replication: with exactly their rules the agent does all of its work, and without one it says which.

The agent reaches both datacenters through one Consul agent of the source, so its leases are in another datacenter than that one.
"""

from __future__ import annotations

import json
import re
import typing as t
import uuid
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._replication import control

from tests.lab.agents import AgentProcess
from tests.lab.consul import ROOT, SERF_WAN, Datacenter, Lab, eventually
from tests.lab.keys import delete, read, write
from tests.lab.replicating import (
    Replicators,
    Status,
    client_of,
    set_status,
    wait_for_equal,
    wait_for_following,
    wait_for_status,
)

OWN, SOURCE, DESTINATION = "policy.hcl", "policy_source.hcl", "policy_destination.hcl"
POLICIES = {
    name: (ROOT / "roles/consul_replication/files" / name).read_text("utf-8") for name in (OWN, SOURCE, DESTINATION)
}
RULE = re.compile(r'^(?P<name>\w+ "[^"]*") \{\n  policy = "(?P<access>\w+)"\n\}\n', re.M)
FOLDER = "/v1/kv/consulops/replication/app"

# Without these the agent does not work, and what it says of it.
NEEDED = {
    (OWN, 'service "consulops-replication"'): 'service "consulops-replication" { policy = "write" }',
    (SOURCE, 'key_prefix "app/"'): 'key_prefix "app/" { policy = "read" }',
    (DESTINATION, 'key_prefix "app/"'): 'key_prefix "app/" { policy = "write" }',
    (DESTINATION, 'key_prefix "consulops/replication/"'): 'key "consulops/replication/app/lock" { policy = "write" }',
    (DESTINATION, 'session_prefix ""'): 'session_prefix "" { policy = "write" }',
    (DESTINATION, 'service "consul"'): 'service "consul" { policy = "read" }',
    (DESTINATION, 'node_prefix ""'): 'node_prefix "" { policy = "read" }',
}
# Without these it works, and knows less.
UNKNOWN: dict[tuple[str, str], t.Callable[[Status, dict[str, t.Any]], bool]] = {
    (SOURCE, 'key_prefix "consulops/replication/"'): lambda status, _epoch: (
        status["unchecked"] == ["loops: the source's token may not read consulops/replication/"]
    ),
    (SOURCE, 'key "consulops/restore"'): lambda _status, epoch: epoch["receipt"] is None,
    (SOURCE, 'service "consul"'): lambda status, _epoch: status["epoch"]["servers"] == [],
    (SOURCE, 'node_prefix ""'): lambda status, _epoch: status["epoch"]["servers"] == [],
}


class Restricted:
    """One agent with a token for each policy, which can be replaced by one with other rules."""

    def __init__(self, sides: tuple[Datacenter, Datacenter], replicators: Replicators, directory: Path) -> None:
        self.source, self.destination = sides
        self._files = {policy: directory / policy for policy in POLICIES}
        for policy, rules in POLICIES.items():
            self._use(policy, rules)

        def connection(policy: str, **more: str) -> dict[str, str]:
            return {"url": self.source.url, "token_file": str(self._files[policy]), **more}

        self._app: dict[str, t.Any] = {
            "source": connection(SOURCE, datacenter="dc1"),
            "destination": connection(DESTINATION, datacenter="dc2"),
            "prefixes": ["app/"],
            "max_delete_percent": 100,
        }
        self._more: dict[str, t.Any] = {
            "connection": {**connection(OWN), "timeout": 3.0},
            "service": {"check_ttl": "3s"},
        }
        self._replicators, self._timeout_s = replicators, 10.0
        self.agent: AgentProcess = replicators.start({"app": self._app}, **self._more)

    def reload_with(self, policy: str, rules: str) -> None:
        """Replace all tokens, the one of a policy by one with these rules, and let the set start anew with them."""
        for name, whole in POLICIES.items():
            self._use(name, rules if name == policy else whole)
        # A token file that changes starts nothing anew, and queries that wait have the token before. Another connection does: the
        # set, and its lease with a session of its own, which some rules are for.
        self._timeout_s += 1
        destination = {**self._app["destination"], "timeout": self._timeout_s}
        self._replicators.reload(self.agent, {"app": {**self._app, "destination": destination}}, **self._more)

    def _use(self, name: str, rules: str) -> None:
        datacenter = self.destination if name == DESTINATION else self.source
        policy = datacenter.put("/v1/acl/policy", {"Name": uuid.uuid4().hex, "Rules": rules})
        token = datacenter.put("/v1/acl/token", {"Policies": [{"ID": policy["ID"]}]})
        self._files[name].write_text(token["SecretID"], encoding="ascii")

    def problems(self) -> list[str]:
        """Return what the agent says of its parts in its status."""
        status = self.agent.status()
        parts = [*status["jobs"].values(), *status["leases"].values()]
        return [text for text in (status["registration_problem"], *(part["problem"] for part in parts)) if text]


@pytest.fixture(scope="module")
def restricted(own_lab: Lab, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Restricted]:
    directory = tmp_path_factory.mktemp("policies")
    one, two = (own_lab.datacenter(name, acl=True) for name in ("dc1", "dc2"))
    # Each has ACLs of its own: a token is valid in the datacenter that it belongs to, and nowhere else.
    eventually(
        lambda: one.request("PUT", f"/v1/agent/join/{two.servers[0].address}:{SERF_WAN}?wan=1").ok, what="dc1 joins dc2"
    )
    eventually(lambda: one.get(f"/v1/catalog/nodes?dc=dc2&token={two.token}"), what="dc1 reaches dc2")
    write(one, {f"app/{number}": "v" for number in range(20)})
    with Replicators(own_lab, bundle, directory / "agents") as replicators:
        made = Restricted((one, two), replicators, directory)
        wait_for_following(made.agent, "app")
        yield made


def test_with_exactly_the_policies_the_agent_does_all_of_its_work(restricted: Restricted) -> None:
    one, source, destination = restricted, restricted.source, restricted.destination
    wait_for_equal(source, destination, "app/")
    write(source, {"app/3": "changed", "app/new": "n"})
    delete(source, "app/7")
    wait_for_equal(source, destination, "app/")
    with client_of(destination) as operator:
        control.freeze(operator, "app", "ops", "", 0.0)
        wait_for_status(one.agent, "app", lambda status: status["state"] == "frozen", "it is frozen")
        write(source, {"app/3": "again"})
        control.thaw(operator, "app")
    wait_for_equal(source, destination, "app/")
    assert destination.get(f"{FOLDER}/lock")[0]["Session"] and "app/7" not in read(destination, "app/")
    entries = eventually(
        lambda: source.get("/v1/health/service/consulops-replication?passing"), what="it is registered"
    )
    assert "active" in entries[0]["Service"]["Tags"]
    status = wait_for_following(one.agent, "app")
    assert status["unchecked"] == [] and len(status["epoch"]["servers"]) == 1
    assert epoch_of(destination)["receipt"] == "", "the receipt of a restore would be read"
    assert one.agent.status()["healthy"] and one.problems() == [] and "denied" not in one.agent.log()


def epoch_of(destination: Datacenter) -> dict[str, t.Any]:
    """Return the epoch of the source as the agent stored it."""
    found: dict[str, t.Any] = json.loads(destination.request("GET", f"{FOLDER}/follow?raw").content)["epoch"]
    return found


def without(policy: str, rule: str) -> str:
    """Return a policy without one rule."""
    (found,) = (found for found in RULE.finditer(POLICIES[policy]) if found["name"] == rule)
    return POLICIES[policy].replace(found[0], "")


def test_the_rules_of_the_policies_are_those_that_are_tried() -> None:
    rules = {(policy, found["name"]) for policy, text in POLICIES.items() for found in RULE.finditer(text)}
    assert rules == {*NEEDED, *UNKNOWN}
    assert not any(re.search(r"^[^#\n]", RULE.sub("", text), re.M) for text in POLICIES.values())
    assert {found["access"] for found in RULE.finditer(POLICIES[SOURCE])} == {"read"}


@pytest.mark.parametrize(("policy", "rule"), NEEDED)
def test_without_one_rule_the_agent_says_which(restricted: Restricted, policy: str, rule: str) -> None:
    restricted.reload_with(policy, without(policy, rule))
    needed = NEEDED[policy, rule]
    eventually(
        lambda: any(needed in text for text in restricted.problems()), what=f"the agent says that it needs {needed}"
    )


@pytest.mark.parametrize(("policy", "rule"), UNKNOWN)
def test_without_one_rule_the_agent_works_and_knows_less(restricted: Restricted, policy: str, rule: str) -> None:
    destination = restricted.destination
    restricted.reload_with(SOURCE, without(SOURCE, 'key_prefix "app/"'))
    eventually(lambda: set_status(restricted.agent, "app") == {}, what="it does not work")
    delete(destination, "consulops/replication/app/follow")  # what it knew of the source until now
    restricted.reload_with(policy, without(policy, rule))
    status = wait_for_following(restricted.agent, "app")
    assert UNKNOWN[policy, rule](status, epoch_of(destination))
