# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""More notes than a value of Consul holds: they are in several, only what changes is written, and a new holder knows all of them."""

from __future__ import annotations

import base64
import os
import typing as t

from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import shared_state
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.note_parts import gather, pack
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.shared_state import Keys
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import ConsulError

from tests.lab.agents import AgentProcess
from tests.lab.alerting import Instances, messages
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.fill import register_checks, set_status
from tests.lab.http_service import HttpService
from tests.lab.replicating import client_of

CHECKS = int(os.environ.get("CONSULOPS_NOTED_CHECKS", "8000"))
PER_NODE = 50
PREFIX = "consulops/agents/parts/notes"
OPTIONS = {
    "reconcile_every": "1s",
    "route": {"receiver": "hook", "group_by": ["datacenter"], "group_wait": "1s", "group_interval": "1s"},
}


class Stored:
    """The notes that are in Consul: content and ModifyIndex by the name of the part."""

    def __init__(self, datacenter: Datacenter) -> None:
        response = datacenter.request("GET", f"/v1/kv/{PREFIX}?recurse")
        rows = response.json() if response.status_code == 200 else []
        self.contents = {row["Key"][len(PREFIX) + 1 :]: base64.b64decode(row["Value"] or "") for row in rows}
        self.indexes = {row["Key"][len(PREFIX) + 1 :]: row["ModifyIndex"] for row in rows}

    def heard(self) -> int:
        """Return how many alerts were delivered, as firing."""
        told, problems = gather(self.contents, PREFIX)
        assert not problems
        return sum(note.heard for note in told.notes.values())


def told(hook: HttpService, kind: str) -> int:
    return sum(
        alert["node"].startswith("node-")
        for message in messages(hook)
        if message["kind"] == kind
        for alert in message["alerts"]
    )


def wait_for(condition: t.Callable[[], t.Any], what: str, within_s: float = 120.0) -> None:
    """Wait, and look seldom: what is looked at is large."""
    eventually(condition, within_s, what, every_s=0.5)


def start(instances: Instances, datacenter: Datacenter) -> AgentProcess:
    agent = instances.start(datacenter, name="parts", options=OPTIONS, service={"register": False})
    agent.wait("active")
    return agent


def wait_for_readings(agent: AgentProcess) -> None:
    """Wait until all was read and judged some times more."""
    cycles = agent.status()["jobs"]["watch local"]["cycles"]
    wait_for(lambda: agent.status()["jobs"]["watch local"]["cycles"] > cycles + 3, "more readings")


def test_more_notes_than_a_value_holds_are_kept_in_parts_that_a_new_holder_knows(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_checks(datacenter, CHECKS, per_node=PER_NODE, status="critical")
    first = start(instances, datacenter)
    wait_for(lambda: Stored(datacenter).heard() >= CHECKS, "all that was told is noted")
    assert told(hook, "firing") == CHECKS
    assert not first.status()["jobs"]["share"]["problem"]
    stored = Stored(datacenter)
    assert len(stored.contents) == 16 and "" not in stored.contents

    wait_for_readings(first)
    assert Stored(datacenter).indexes == stored.indexes, "nothing changes, nothing is written"
    set_status(datacenter, "node-00000", "check-0", "passing")
    wait_for(lambda: told(hook, "resolved") == 1, "the end is told")
    wait_for(lambda: Stored(datacenter).heard() == CHECKS - 1, "the end is noted")
    after = Stored(datacenter).indexes
    assert sum(stored.indexes[name] != index for name, index in after.items()) == 1, "one part is written"

    first.stop()
    second = start(instances, datacenter)  # with a state directory of its own
    wait_for_readings(second)
    assert told(hook, "firing") == CHECKS and told(hook, "resolved") == 1, "what was told is not told again"

    # One value, as versions before had it: it is read, and becomes parts.
    second.stop()
    stored = Stored(datacenter)
    everything, _problems = gather(stored.contents, PREFIX)
    datacenter.request("DELETE", f"/v1/kv/{PREFIX}?recurse")
    datacenter.put(f"/v1/kv/{PREFIX}", pack(everything.encode()))
    third = start(instances, datacenter)
    eventually(lambda: len(Stored(datacenter).contents) == 16, 60, "the notes are in parts again")
    wait_for_readings(third)
    assert told(hook, "firing") == CHECKS and told(hook, "resolved") == 1

    register_checks(datacenter, CHECKS, per_node=PER_NODE)
    wait_for(lambda: told(hook, "resolved") >= CHECKS, "all ends are told")
    wait_for(lambda: Stored(datacenter).heard() == 0, "all ends are noted")
    assert told(hook, "resolved") == CHECKS and third.process.poll() is None


def test_a_server_that_replays_its_log_gives_no_older_notes(own_lab: Lab) -> None:
    """Without consistency it gives each state of its past, and none at first: what was told would be told again."""
    datacenter = own_lab.datacenter("replays")
    names, last = Keys("replays"), 400
    for number in range(last + 1):
        operations = [(f"consulops/agents/replays/other/{place}", f"{number}") for place in range(60)]
        operations.append((names.notes, f"{number}"))
        body = [{"KV": {"Verb": "set", "Key": key, "Value": _base64(text)}} for key, text in operations]
        datacenter.put("/v1/txn", body)
    (server,) = datacenter.servers
    for _restart in range(2):
        server.stop()
        server.start()
        with client_of(datacenter) as client:
            shared = eventually(lambda client=client: _read(client, names), what="it answers")
        assert shared.note_contents == {"": str(last).encode()}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _read(client: Client, names: Keys) -> shared_state.SharedState | None:
    try:
        return shared_state.read(client, names)
    except ConsulError:
        return None  # it does not answer yet
