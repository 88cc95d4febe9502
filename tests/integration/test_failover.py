# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One real datacenter takes over from another: planned, after a failure, and when somebody still writes."""

from __future__ import annotations

import threading
import typing as t

import pytest
import requests
from ansible_collections.consulops.failover.plugins.module_utils._consul.drill_status import parse_drill_status

from tests.lab.ansible import ModuleFailed, run_module
from tests.lab.consul import ROOT, Datacenter, Lab, eventually
from tests.lab.fill import new_token
from tests.lab.keys import read, write
from tests.lab.replicating import Replicators, a_set, wait_for_equal, wait_for_following, wait_for_status

REHEARSAL_KEY = "consulops/drills/datacenter-failover"


def forth(name: str, old: Datacenter, new: Datacenter, generation: int = 1) -> dict[str, t.Any]:
    """Return the set that copies from the old to the new datacenter."""
    options = {"reverses": f"{name}-back", "generation": generation, "on_conflict": "keep"}
    return {f"{name}-forth": a_set(old, new, f"{name}/", **options)}


def back(name: str, old: Datacenter, new: Datacenter, generation: int) -> dict[str, t.Any]:
    """Return the set of the other direction."""
    options = {"reverses": f"{name}-forth", "generation": generation, "on_conflict": "keep"}
    return {f"{name}-back": a_set(new, old, f"{name}/", **options)}


def failover(name: str, old: Datacenter, new: Datacenter, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """Run the module. Raises ModuleFailed."""
    given: dict[str, t.Any] = {
        "source": {"url": old.url, "datacenter": old.name, "timeout": 2},
        "destination": {"url": new.url},
        "replication": f"{name}-forth",
        "reversed_by": f"{name}-back",
        "prefixes": [f"{name}/"],
        "quiet": "500ms",
        "confirm": new.name,
        **options,
    }
    return run_module("consul_failover", check=check, **given)


def refusal(name: str, old: Datacenter, new: Datacenter, **options: t.Any) -> str:
    with pytest.raises(ModuleFailed) as failure:
        failover(name, old, new, state="promoted", **options)
    return str(failure.value.result["msg"])


def register(datacenter: Datacenter, name: str) -> t.Any:
    found = datacenter.request("GET", f"/v1/kv/consulops/replication/{name}/control/direction?raw")
    return found.json() if found.ok else None


def test_a_planned_failover_loses_nothing_and_is_finished_once(
    replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    write(east, {f"planned/{number}": "v" for number in range(50)})
    agent = replicators.start(forth("planned", east, west))
    wait_for_equal(east, west, "planned/")
    assert "confirm" in refusal("planned", east, west, confirm="east")
    planned = failover("planned", east, west)
    assert (planned["action"], planned["generation"], planned["refusals"]) == ("promote", 2, [])
    assert planned["loss"]["keys"] == 0
    assert failover("planned", east, west, state="promoted", check=True)["changed"]
    assert register(west, "planned-forth")["generation"] == 1, "check mode changes nothing"
    promoted = failover("planned", east, west, state="promoted")
    assert promoted["changed"]
    for datacenter, name in ((west, "planned-forth"), (east, "planned-back")):
        assert register(datacenter, name) == {"generation": 2, "active": "planned-back"}
    wait_for_status(agent, "planned-forth", lambda one: one["state"] == "frozen", "the old direction is frozen")
    assert not failover("planned", east, west, state="promoted")["changed"]
    finished = failover("planned", east, west, state="finished")
    assert finished["changed"] and finished["took_seconds"] < 30 and finished["loss"]["keys"] == 0
    again = failover("planned", east, west, state="finished")
    assert not again["changed"] and again["action"] == "nothing"
    # The agents that get the generation go on from there.
    replicators.reload(agent, back("planned", east, west, 2))
    wait_for_following(agent, "planned-back")
    write(west, {"planned/1": "by west", "planned/new": "by west"})
    wait_for_equal(west, east, "planned/")
    # Back again, in the same way, with the sides exchanged.
    swapped: dict[str, t.Any] = {"replication": "planned-back", "reversed_by": "planned-forth"}
    returned = failover("planned", west, east, state="promoted", **swapped)
    assert (returned["changed"], returned["generation"], returned["loss"]["keys"]) == (True, 3, 0)
    assert register(west, "planned-forth") == {"generation": 3, "active": "planned-forth"}
    wait_for_status(agent, "planned-back", lambda one: one["state"] == "frozen", "the other direction is frozen")


def test_it_is_refused_while_keys_are_written_or_are_missing(
    replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    write(east, {"busy/1": "v"})
    agent = replicators.start(forth("busy", east, west))
    wait_for_equal(east, west, "busy/")
    ended = threading.Event()

    def write_on() -> None:
        number = 0
        while not ended.wait(0.02):
            number += 1
            write(east, {"busy/counter": str(number)})

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        assert "keys are still written there, below busy/" in refusal("busy", east, west, wait="1s")
        unseen = [
            failover("busy", east, west, wait="0s", quiet="0s", max_loss="unknown")["refusals"] for _number in range(5)
        ]
        assert unseen == [[]] * 5, "writers that are stopped later do not count"
    finally:
        ended.set()
        writer.join()
    agent.stop()
    write(east, {"busy/late": "v"})
    said = refusal("busy", east, west, wait="1s")
    assert "would be lost in west" in said and "Nothing was changed" in said
    assert register(west, "busy-forth")["generation"] == 1
    promoted = failover("busy", east, west, state="promoted", wait="1s", max_loss="unknown")
    assert promoted["loss"]["keys"] in (1, 2), "the last value of the counter may not have been copied"


def test_after_a_failure_the_loss_is_said_and_the_old_datacenter_is_not_the_source_again(
    replicators: Replicators, west: Datacenter, own_lab: Lab
) -> None:
    old = own_lab.datacenter("gone")
    write(old, {f"dead/{number}": "copied" for number in range(10)})
    agent = replicators.start(forth("dead", old, west))
    wait_for_following(agent, "dead-forth")
    wait_for_equal(old, west, "dead/")
    status = "/v1/kv/consulops/replication/dead-forth/status"
    eventually(lambda: west.request("GET", status).ok, what="the replication publishes its status")
    old.servers[0].pause()
    try:
        planned = failover("dead", old, west)
        assert planned["loss"]["until"] is not None and planned["loss"]["seconds"] is not None, planned
        assert "gone does not answer" in " ".join(planned["sentences"])
        said = refusal("dead", old, west, max_loss="0s")
        assert "would be lost, and max_loss is 0s" in said
        promoted = failover("dead", old, west, state="promoted", max_loss="unknown")
        assert promoted["changed"] and promoted["generation"] == 2
        assert register(west, "dead-forth") == {"generation": 2, "active": "dead-back"}
        # The process was killed before it could write anything else, and is run again.
        west.request("DELETE", "/v1/kv/consulops/failover/record")
        assert not failover("dead", old, west, state="promoted")["changed"]
        assert failover("dead", old, west, state="finished")["changed"]
        write(west, {"dead/1": "by west"})
    finally:
        old.servers[0].resume()
    # It comes back with agents that have the old configuration, and with a write of its own.
    write(old, {"dead/2": "by the old one"})
    wait_for_status(agent, "dead-forth", lambda one: one["state"] == "frozen", "the old direction is frozen")
    other = replicators.start(back("dead", old, west, 2))
    wait_for_status(other, "dead-back", lambda one: one["conflicts"]["count"] == 1, "the write is kept and shown")
    eventually(lambda: read(old, "dead/")["dead/1"][0] == b"by west", what="west is copied")
    assert read(old, "dead/")["dead/2"][0] == b"by the old one"
    assert read(west, "dead/")["dead/2"][0] == b"copied"
    back_again: dict[str, t.Any] = {"replication": "dead-back", "reversed_by": "dead-forth"}
    assert failover("dead", west, old, **back_again)["refusals"] == []
    said = refusal("dead", west, old, **back_again, allow_conflicts=False)
    assert "gone has 1 key that it wrote alone" in said, said


def test_the_outcome_of_a_rehearsal_is_published_for_the_rules_about_drills(east: Datacenter, west: Datacenter) -> None:
    outcome = {"passed": False, "reasons": ["it took too long"]}
    assert failover("any", west, east, state="rehearsed", rehearsal=outcome, check=True)["changed"]
    with pytest.raises(requests.HTTPError, match="404"):  # check mode writes nothing
        east.request("GET", f"/v1/kv/{REHEARSAL_KEY}")
    assert failover("any", west, east, state="rehearsed", rehearsal=outcome)["changed"]
    found = east.request("GET", f"/v1/kv/{REHEARSAL_KEY}?raw")
    status = parse_drill_status(REHEARSAL_KEY, found.content)
    assert (status.drill, status.is_passed, status.reasons) == ("datacenter-failover", False, ("it took too long",))
    east.request("DELETE", f"/v1/kv/{REHEARSAL_KEY}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": {"url": "http://127.0.0.1:1"}}, "source has no datacenter"),
        ({"source": {"url": "http://127.0.0.1:1", "datacenter": "west"}}, "both west"),
        ({"replication": "a/b"}, "replication: 'a/b' is not the name of a replication"),
        ({"reversed_by": "wrong-forth"}, "name the two directions"),
        ({"max_loss": "some"}, "max_loss"),
        ({"rehearsal": {"passed": True}}, "go together"),
        ({"prefixes": ["/app"]}, "prefixes"),
        ({"destination": {"url": "http://127.0.0.1:1", "datacenter": "dc2"}}, "127.0.0.1:1"),
    ],
)
def test_a_request_that_is_wrong_is_one_sentence(
    east: Datacenter, west: Datacenter, options: dict[str, t.Any], said: str
) -> None:
    assert said in refusal("wrong", east, west, **options)


POLICY = {
    'key_prefix "guarded/"': 'key_prefix "guarded/" { policy = "read" }',
    'key_prefix "consulops/"': 'key_prefix "consulops/" { policy = "write" }',
    "operator": 'operator = "read"',
}


@pytest.fixture(scope="module")
def guarded(own_lab: Lab) -> tuple[Datacenter, Datacenter]:
    """Two datacenters with ACLs."""
    return own_lab.datacenter("acl1", acl=True), own_lab.datacenter("acl2", acl=True)


def guarded_failover(sides: tuple[Datacenter, Datacenter], without: str = "", **options: t.Any) -> dict[str, t.Any]:
    """Run the module with tokens that have the policy of the guide, without one of its rules."""
    rules = "\n".join(rule for name, rule in POLICY.items() if name != without)
    old, new = ({"url": side.url, "token": new_token(side, rules, "failover")} for side in sides)
    given = {"source": {**old, "datacenter": "acl1"}, "destination": {**new, "datacenter": "acl2"}, "wait": "1s"}
    return failover("guarded", *sides, **{**given, **options})


def test_the_policy_of_the_guide_is_enough_and_each_of_its_rules_is_needed(
    guarded: tuple[Datacenter, Datacenter],
) -> None:
    old, new = guarded
    guide = (ROOT / "docs/failover.md").read_text(encoding="utf-8")
    assert [rule for rule in POLICY.values() if rule not in guide.replace("app/", "guarded/")] == []
    for side in guarded:
        write(side, {"guarded/1": "v"})
    for rule in ('key_prefix "guarded/"', "operator"):
        assert guarded_failover(guarded, rule)["refusals"], rule
    with pytest.raises(ModuleFailed, match="consulops/"):
        guarded_failover(guarded, 'key_prefix "consulops/"')
    hidden = {**POLICY, "hidden": 'key_prefix "guarded/hidden/" { policy = "deny" }', "acl": 'acl = "read"'}
    token = new_token(old, "\n".join(hidden.values()), "hidden")
    partial = guarded_failover(guarded, source={"url": old.url, "datacenter": "acl1", "token": token})
    assert partial["loss"]["keys"] is None and partial["refusals"], "what the token may not see may be missing"
    assert guarded_failover(guarded)["refusals"] == []
    assert guarded_failover(guarded, state="promoted")["changed"]
    assert guarded_failover(guarded, state="finished")["changed"]
    for side, name in ((new, "guarded-forth"), (old, "guarded-back")):
        key = f"/v1/kv/consulops/replication/{name}/control/direction"
        assert side.get(key), name
