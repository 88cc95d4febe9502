# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""consul_kv_reconcile after a failover between two real datacenters: what the failed one wrote alone, and which side wins."""

from __future__ import annotations

import itertools
import typing as t

import pytest

from tests.lab.ansible import run_module
from tests.lab.consul import Datacenter, eventually
from tests.lab.keys import delete, read, write
from tests.lab.replicating import Replicators, a_set, wait_for_following, wait_for_status

_numbers = itertools.count(1)


class Failover:
    """A folder that was copied from the old to the new datacenter until the old one failed, and whose sides then diverged.

    The old datacenter is the destination of the set ``NAME-back``, which is active now.
    """

    def __init__(self, old: Datacenter, new: Datacenter) -> None:
        self.old, self.new = old, new
        self.name = f"reconcile{next(_numbers)}"
        self.prefix = f"{self.name}/"
        self.sides: dict[str, t.Any] = {
            "source": {"url": new.url, "token": new.token},
            "destination": {"url": old.url, "token": old.token},
        }

    def diverge(self) -> None:
        """Let the old side be copied, and both sides diverge in every way."""
        copied = ("same", "by-new", "by-old", "by-both", "gone-old", "gone-new", "gone-new-by-old")
        self.write(self.old, dict.fromkeys(copied, "copied"))
        sides = {"source": self.sides["destination"], "destination": self.sides["source"]}
        run_module("consul_kv_replicate", **sides, prefixes=[self.prefix], name=f"{self.name}-there")
        self.write(self.old, dict.fromkeys(("by-old", "by-both", "only-old", "gone-new-by-old", "both-created"), "old"))
        self.delete(self.old, "gone-old")
        self.write(self.new, dict.fromkeys(("by-new", "by-both", "only-new", "both-created"), "new"))
        self.delete(self.new, "gone-new", "gone-new-by-old")

    def copy_back(self, **options: t.Any) -> dict[str, t.Any]:
        """Copy from the new to the old side once, as the active set does, and return the row of the result."""
        defaults = {
            "on_conflict": "keep",
            "accept": ["reversed"],
            "max_delete_percent": 100,
            "name": f"{self.name}-back",
        }
        result = run_module("consul_kv_replicate", **self.sides, prefixes=[self.prefix], **{**defaults, **options})
        return dict(result["prefixes"][0])

    def reconcile(self, *, check: bool = False, diff: bool = False, **options: t.Any) -> dict[str, t.Any]:
        defaults = {"name": f"{self.name}-back", "prefixes": [self.prefix], "max_delete_percent": 100}
        return run_module("consul_kv_reconcile", check=check, diff=diff, **{**self.sides, **defaults, **options})

    def decided(self, wins: str, prefix: str = "") -> list[dict[str, str]]:
        return [{"prefix": self.prefix + prefix, "wins": wins}]

    def write(self, side: Datacenter, values: t.Mapping[str, str]) -> None:
        write(side, {self.prefix + key: value for key, value in values.items()})

    def delete(self, side: Datacenter, *names: str) -> None:
        delete(side, *(self.prefix + name for name in names))

    def values(self, side: Datacenter) -> dict[str, str]:
        found = read(side, self.prefix)
        return {key[len(self.prefix) :]: value.decode() for key, (value, _flags) in found.items()}

    def kinds(self, result: t.Mapping[str, t.Any]) -> dict[str, str]:
        return {row["key"][len(self.prefix) :]: row["kind"] for row in result["keys"]}


def stored(side: Datacenter, name: str) -> list[str]:
    """Return the names of the keys that a replication stores below a name."""
    names = side.get("/v1/kv/consulops/replication/?keys")
    return [key for key in names if key.startswith(f"consulops/replication/{name}")]


KINDS = {
    "by-old": "changed_old",
    "by-both": "changed_both",
    "both-created": "changed_both",
    "only-old": "created_old",
    "gone-old": "deleted_old",
    "gone-new-by-old": "deleted_new",
}


@pytest.fixture
def failover(east: Datacenter, west: Datacenter) -> Failover:
    made = Failover(east, west)
    made.diverge()
    return made


@pytest.fixture(params=["before the set compared", "after it compared"])
def diverged(request: pytest.FixtureRequest, failover: Failover) -> Failover:
    if request.param == "after it compared":
        failover.copy_back()
    return failover


def test_what_the_old_side_wrote_alone_is_listed_by_kind_and_left_alone(diverged: Failover) -> None:
    before = diverged.values(diverged.old), diverged.values(diverged.new)
    result = diverged.reconcile()
    assert diverged.kinds(result) == KINDS
    assert {row["wins"] for row in result["keys"]} == {"report"}
    assert not result["changed"]
    assert result["counts"]["diverged"] == result["counts"]["reported"] == len(KINDS)
    assert (diverged.values(diverged.old), diverged.values(diverged.new)) == before


@pytest.mark.parametrize("wins", ["new", "old"])
def test_the_side_that_wins_is_what_both_have_and_the_set_owns_it(diverged: Failover, wins: str) -> None:
    winner, loser = (diverged.new, diverged.old) if wins == "new" else (diverged.old, diverged.new)
    expected = {key: diverged.values(winner).get(key) for key in KINDS}
    planned = diverged.reconcile(check=True, decisions=diverged.decided(wins))
    result = diverged.reconcile(decisions=diverged.decided(wins))
    assert result["changed"] and planned["prefixes"] == result["prefixes"]
    assert {key: diverged.values(loser).get(key) for key in KINDS} == expected
    assert {key: diverged.values(winner).get(key) for key in KINDS} == expected
    again = diverged.reconcile(decisions=diverged.decided(wins))
    assert not again["changed"] and again["keys"] == []
    row = diverged.copy_back()
    assert row["conflicts"] == [] and row["kept"] == 0
    # It belongs to the set: what changes and what goes at the new side does so at the old one.
    present = [key for key, value in expected.items() if value is not None]
    diverged.write(diverged.new, dict.fromkeys(present[:-1], "changed"))
    diverged.delete(diverged.new, present[-1])
    diverged.write(diverged.new, {"gone-old": "created again"})
    assert diverged.copy_back()["conflicts"] == []
    assert diverged.values(diverged.old) == diverged.values(diverged.new)


def test_the_agent_of_the_set_shows_no_conflict_afterwards_and_copies_what_became_its_own(
    failover: Failover, replicators: Replicators
) -> None:
    one, name = failover, f"{failover.name}-back"
    options = {"on_conflict": "keep", "max_delete_percent": 100, "accept": ["reversed"]}
    agent = replicators.start({name: a_set(one.new, one.old, one.prefix, **options)})
    wait_for_status(agent, name, lambda found: found["conflicts"]["count"] == 5, "five keys are in conflict")
    decisions = [*one.decided("new"), *one.decided("old", "only-old"), *one.decided("old", "both-created")]
    result = one.reconcile(decisions=decisions)
    assert {row["key"][len(one.prefix) :] for row in result["keys"] if row["wins"] == "old"} == {
        "only-old",
        "both-created",
    }
    eventually(lambda: not stored(one.old, f"{name}/control/compare"), what="everything was compared again")
    wait_for_status(agent, name, lambda found: found["conflicts"]["count"] == 0, "no key is in conflict")
    wait_for_following(agent, name)
    assert one.values(one.old) == one.values(one.new)
    one.write(one.new, {"only-old": "by new", "both-created": "by new", "gone-old": "by new"})
    one.delete(one.new, "by-old", "by-both")
    eventually(lambda: one.values(one.old) == one.values(one.new), what="every change is copied")
    assert not one.reconcile(decisions=decisions)["changed"]
