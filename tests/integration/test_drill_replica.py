# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drills whose keys are followed to another datacenter: two real datacenters, and the replication agent between them."""

from __future__ import annotations

import itertools
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption

from tests.lab import keys
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.drilling import events, lines_so_far, run_drill, running_drill, verdicts
from tests.lab.replicating import Replicators, a_set, wait_for_following

PREFIX = "drills/"
DRILL: dict[str, t.Any] = {
    "name": "followed",
    "title": "Keys arrive at the other datacenter",
    "load": {"duration": "3s", "rate": 60},
    "expect": {"replica_lag": "10s", "replica_equal": "20s", "replica_answers": "10s", "replica_keeps_keys": True},
}


class Pair(t.NamedTuple):
    """Two datacenters, of which the second one has the keys of the first."""

    source: Datacenter
    replica: Datacenter

    def run(self, file: Path, **more: t.Any) -> dict[str, t.Any]:
        return run_drill(self.options(file, **more))

    def options(self, file: Path, **more: t.Any) -> dict[str, t.Any]:
        given = {"url": self.source.url, "confirm": self.source.name, "history": str(file), "drill": DRILL}
        return {**given, "prefix": PREFIX, "replica": {"url": self.replica.url}, **more}


@pytest.fixture(scope="module")
def pair(own_lab: Lab, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Pair]:
    source, replica = own_lab.datacenter("here"), own_lab.datacenter("there")
    with Replicators(own_lab, bundle, tmp_path_factory.mktemp("agents")) as agents:
        limits = {"max_deletes": 100000, "max_delete_percent": 100, "allow_empty_source": True}
        agent = agents.start({"drills": a_set(source, replica, PREFIX, **limits)})
        wait_for_following(agent, "drills")
        yield Pair(source, replica)


def test_what_the_drill_writes_arrives_and_is_equal_at_the_end(pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "h.jsonl"
    result = pair.run(file)
    assert set(verdicts(result).values()) == {"met"}, result["judgement"]["expectations"]
    (compared,) = events(file, "replica_compared")
    assert compared["equal"] and compared["source_digest"] == compared["replica_digest"]
    # The additions and registers, the marker and the heartbeat.
    assert compared["source_keys"] > result["operations"]["set"]["ok"]
    assert len(events(file, "beat_seen")) >= 3
    measured = {one["name"]: one["measured"] for one in result["judgement"]["expectations"]}
    assert 0 < measured["replica_lag"] < 10 and measured["replica_keeps_keys"] == 0


def test_what_does_not_arrive_is_missed(pair: Pair, tmp_path: Path) -> None:
    # Nobody copies to this folder.
    drill = {**DRILL, "expect": {"replica_equal": "500ms", "replica_lag": "1s", "replica_keeps_keys": True}}
    result = pair.run(tmp_path / "h.jsonl", drill=drill, replica_prefix="elsewhere/")
    assert verdicts(result) == {
        "history": "met",
        "replica_lag": "missed",
        "replica_equal": "missed",
        "replica_keeps_keys": "met",
    }


def test_a_deletion_at_the_replica_is_recorded(pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "h.jsonl"
    drill = {**DRILL, "load": {"duration": "100s", "rate": 20}}
    turns = itertools.count()

    def is_recorded() -> bool:
        """Write and delete the key in turns, each for longer than from one look of the drill to the next."""
        key = f"/v1/kv/elsewhere/{lines_so_far(file)[0]['run']}/set/1"
        seconds = len(events(file, "progress"))
        if next(turns) == 0 or (seconds // 3) % 2 == 0:
            pair.replica.put(key, "")
        else:
            pair.replica.leader().request("DELETE", key)
        return bool(events(file, "replica_deleted"))

    with running_drill(pair.options(file, drill=drill, replica_prefix="elsewhere/")) as found:
        eventually(lambda: events(file, "load_started"), 30, "the load")
        eventually(is_recorded, 60, "the deletion is recorded")
    assert verdicts(found[0])["replica_keeps_keys"] == "missed"
    assert verdicts(found[0])["replica_equal"] == verdicts(found[0])["replica_answers"] == "unknown"
    assert events(file, "replica_deleted")[0]["keys"] == "set/1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replica": None}, "it needs replica, the connection to that"),
        ({"replica": {"datacenter": "there"}}, "replica.url: this option is required"),
        ({"prefix": "consulops/drill/"}, "prefix: consulops/drill/ is never replicated"),
        ({"replica_prefix": "copy"}, "replica_prefix 'copy' is not a folder of keys"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    pair: Pair, tmp_path: Path, change: dict[str, t.Any], words: str
) -> None:
    with pytest.raises(InvalidOption, match=words.replace("(", "\\(")):
        pair.run(tmp_path / "h.jsonl", **change)


def test_the_datacenter_itself_is_no_replica(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="this is the datacenter of the drill, here"):
        pair.run(tmp_path / "h.jsonl", replica={"url": pair.source.url})
    assert keys.read(pair.source, PREFIX) == {}
