# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recovery of a lost majority: Raft data is read or called unreadable, and a plan is made only where nobody can still elect a leader."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import msgpack
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import (
    GuardRefused,
    InvalidOption,
    LocalFailure,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.recovery import data_copy, recovery_plan
from ansible_collections.consulops.failover.plugins.module_utils._drill.recovery.bolt_file import UnreadableBolt
from ansible_collections.consulops.failover.plugins.module_utils._drill.recovery.raft_data import (
    Server,
    decode,
    read_raft_data,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.recovery.recovery_plan import Plan, make_plan
from ansible_collections.consulops.failover.plugins.module_utils._drill.recovery.voters import difference
from ansible_collections.consulops.failover.plugins.module_utils._tasks.recovery_plan import RECOVERY_PLAN
from ansible_collections.consulops.failover.plugins.module_utils._tasks.task import Invocation
from hypothesis import given
from hypothesis import strategies as st

PLAIN = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.binary(max_size=300)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.binary(max_size=9), inner, max_size=20),
    max_leaves=30,
)


@given(st.dictionaries(st.binary(max_size=40), VALUES, max_size=20), st.booleans())
def test_an_entry_is_decoded_as_the_library_does(value: dict[bytes, t.Any], new_style: bool) -> None:
    data = msgpack.packb(value, use_bin_type=new_style)
    wanted = msgpack.unpackb(data, raw=True, strict_map_key=False)
    try:
        assert decode(data) == wanted
    except UnreadableBolt:
        assert depth(value) > 7


def depth(value: t.Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=0) if isinstance(value, (dict, list)) else 0


@given(st.binary(max_size=60))
def test_anything_is_a_map_or_unreadable(data: bytes) -> None:
    try:
        assert isinstance(decode(data), dict)
    except UnreadableBolt as error:
        assert str(error).startswith("an entry of its log")


def snapshot(data_dir: Path, index: int, term: int = 2) -> None:
    folder = data_dir / f"raft/snapshots/{term}-{index}-1795378925993"
    folder.mkdir(parents=True)
    servers = [{"Suffrage": 0, "ID": "id-1", "Address": "10.0.0.1:8300"}]
    meta = {"Index": index, "Term": term, "Configuration": {"Servers": servers}}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def test_a_server_without_a_log_is_as_its_newest_snapshot(tmp_path: Path) -> None:
    assert read_raft_data(tmp_path).index == 0
    snapshot(tmp_path, 90)
    snapshot(tmp_path, 100)
    (tmp_path / "raft/snapshots/3-1-1.tmp").mkdir()
    (tmp_path / "raft/snapshots/2-300-1").mkdir()
    found = read_raft_data(tmp_path)
    assert (found.index, found.term, found.source) == (100, 2, "snapshot")
    assert found.servers == (Server("id-1", "10.0.0.1:8300", True),)
    (tmp_path / "raft/wal").mkdir()
    assert read_raft_data(tmp_path).index == 100 and "can only be read by Consul" in read_raft_data(tmp_path).problem


@given(data=st.binary(max_size=3000))
def test_a_damaged_log_is_unreadable_and_never_empty(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    directory = tmp_path_factory.mktemp("data")
    (directory / "raft").mkdir()
    (directory / "raft/raft.db").write_bytes(data)
    found = read_raft_data(directory)
    assert found.index is None and "cannot be read: it is not a BoltDB file" in found.problem


def facts(number: int, index: int | None, members: int = 3, **more: t.Any) -> dict[str, t.Any]:
    """Return what a server says that is stopped; ``index`` 0 is for one that lost its disk."""
    servers = [{"id": f"id-{one}", "address": f"10.0.0.{one}:8300", "is_voter": True} for one in range(1, members + 1)]
    return {
        "unit": "inactive",
        "node_id": f"id-{number}" if index else "",
        "addresses": [f"10.0.0.{number}"],
        "record": None,
        "raft": {"index": index, "term": 2, "source": "log", "problem": "", "servers": servers if index else None},
        "agent": {"answers": False, "leader": "", "problem": "refused"},
        "datacenter": "dc1" if index else "",
        **more,
    }


ADDRESSES = {f"n{number}": f"10.0.0.{number}" for number in range(1, 10)}


def plan(*indexes: int | None, lost: t.Collection[str] = (), confirm: str | None = "dc1", **changed: t.Any) -> Plan:
    hosts: dict[str, t.Any] = {
        f"n{number}": facts(number, index, len(indexes)) for number, index in enumerate(indexes, 1)
    }
    return make_plan({**hosts, **changed}, ADDRESSES, lost, confirm)


def test_the_survivor_of_three_becomes_the_only_voter() -> None:
    found = plan(7, 0, 0)
    assert (found.action, [one.host for one in found.survivors], found.fresh) == ("recover", ["n1"], ("n2", "n3"))
    assert json.loads(found.peers_json) == [{"id": "id-1", "address": "10.0.0.1:8300", "non_voter": False}]
    assert "Writes after the entry 7 are lost." in found.sentences[-1]


def test_the_newest_entry_by_term_and_then_index_is_started_first() -> None:
    newer = facts(3, 5, 5)
    newer["raft"]["term"] = 3
    found = plan(0, 9, 5, 0, 0, n3=newer)
    assert [one.host for one in found.survivors] == ["n3", "n2"]
    assert any("n3 is started first" in one for one in found.sentences)


UNKNOWN = facts(1, 7)
UNKNOWN["raft"]["servers"] = None
BUSY = facts(1, 7, agent={"answers": True, "leader": "10.0.0.2:8300", "problem": ""})


@pytest.mark.parametrize(
    ("indexes", "changed", "words"),
    [
        ((7, 7, 0), {}, "2 of 3 voters still have their data"),
        ((7, 0, 0), {"n3": None}, "n3 does not answer"),
        ((7, 0, 0), {"n1": BUSY}, "has a leader, 10.0.0.2:8300"),
        ((7, 0, 0), {"n1": {**BUSY, "unit": "active", "agent": facts(1, 7)["agent"]}}, "is active and does not answer"),
        ((7, 0, 0), {"n1": UNKNOWN}, "It is not known which servers"),
        ((7, 0, 0), {"n2": facts(2, 0, addresses=[])}, "The server id-2 at 10.0.0.2:8300 is on none of the hosts"),
        ((7, 0, 0), {"n2": facts(2, 5, node_id="id-9")}, "n2 has Raft data, but is none of the servers"),
        ((7, 0, 0), {"n2": facts(2, None)}, "Name n2 in consul_recover_lost"),
        ((7, 0, 0), {"n2": facts(2, 5, datacenter="dc2")}, "different datacenters, dc1, dc2"),
        ((0, 0, 0), {"n1": facts(1, 0, datacenter="dc1")}, "None of the hosts has Raft data"),
        ((0, 0, 0), {}, "None of the hosts says to which datacenter"),
        ((7, 0, 0), {"confirm": "dc2"}, "confirm it with -e consul_recover_confirm=dc1"),
        ((7, 0, 0), {"confirm": ""}, "confirm it with"),
    ],
)
def test_what_is_not_certain_is_refused_with_nothing_changed(
    indexes: tuple[int, ...], changed: dict[str, t.Any], words: str
) -> None:
    with pytest.raises(GuardRefused) as refused:
        plan(*indexes, **changed)
    assert words in str(refused.value) and str(refused.value).endswith("Nothing was changed.")


def test_a_host_that_does_not_answer_is_gone_only_if_somebody_says_so() -> None:
    assert plan(7, 0, 0, n3=None, lost=["n3"]).fresh == ("n2",)
    assert plan(7, 0, 0, n2=facts(2, 0, addresses=[]), lost=["10.0.0.2"]).action == "recover"
    assert plan(7, 0, 0, n2=facts(2, None), lost=["n2"]).fresh == ("n3",)


def test_a_recovery_that_was_stopped_goes_on_and_one_that_is_done_does_nothing() -> None:
    started = {"record": {"step": "started"}}
    two = {"n1": facts(1, 7, 2, **started), "n2": facts(2, 7, 2)}
    assert make_plan(two, ADDRESSES, (), "dc1").action == "recover"
    agent = {"answers": True, "leader": "10.0.0.1:8300", "problem": ""}
    led = {"n1": facts(1, 7, 1, agent=agent, record={"step": "elected"}), "n2": facts(2, 0)}
    finish = make_plan(led, ADDRESSES, (), "")
    assert (finish.action, finish.fresh) == ("finish", ("n2",))
    done = {f"n{one}": facts(one, 7, 3, agent=agent, record={"step": "done"}) for one in (1, 2, 3)}
    assert make_plan(done, ADDRESSES, (), "dc1").action == "nothing"
    with pytest.raises(GuardRefused, match="2 of 2 voters"):
        make_plan({**two, "n1": facts(1, 7, 2, record={"step": "elected"})}, ADDRESSES, (), "dc1")


@given(st.lists(st.integers(0, 4) | st.none(), min_size=1, max_size=7), st.booleans())
def test_no_plan_has_new_voters_while_a_majority_could_elect_a_leader(found: list[int | None], say_lost: bool) -> None:
    """None is a host that does not answer. Whoever has data and is not given up for lost is a voter again."""
    lost = [f"n{number}" for number, index in enumerate(found, 1) if index is None and say_lost]
    unreached = {f"n{number}": None for number, index in enumerate(found, 1) if index is None}
    try:
        made = plan(*found, lost=lost, **unreached)
    except GuardRefused:
        return
    alive = {f"n{number}" for number, index in enumerate(found, 1) if index}
    assert made.action == recovery_plan.RECOVER and {one.host for one in made.survivors} == alive
    assert len(alive) <= len(found) // 2 and (say_lost or not unreached)
    assert made.survivors[0].index == max(index for index in found if index)
    assert {one["id"] for one in json.loads(made.peers_json)} == {f"id-{host[1:]}" for host in alive}


def test_options_that_are_no_facts_are_one_sentence() -> None:
    options = {"hosts": {"n1": {"a": 1}}, "addresses": {}, "lost": [], "confirm": "dc1"}
    with pytest.raises(InvalidOption, match="does not have the facts"):
        RECOVERY_PLAN.run(Invocation(options))


def test_voters_are_exactly_those_that_are_expected() -> None:
    one, two = Server("id-1", "10.0.0.1:8300", True), Server("id-2", "[fd00::2]:8300", True)
    expected = {"n1": ["10.0.0.1"], "n2": ["fd00::2", "10.0.0.2"]}
    assert difference([one, two], expected) == ""
    assert difference([one], expected) == "not a voter yet: n2"
    assert difference([one, two._replace(is_voter=False)], expected) == "not a voter yet: n2"
    assert "is not expected, id-2" in difference([one, two], {"n1": ["id-1"]})
    assert "is not expected, id-3" in difference([one, Server("id-3", "10.0.0.1:8300", True)], {"n1": ["10.0.0.1"]})


def test_a_directory_is_copied_once_while_it_stays_as_it_is(tmp_path: Path) -> None:
    source, copies = tmp_path / "data", tmp_path / "copies"
    (source / "raft").mkdir(parents=True)
    (source / "raft/raft.db").write_bytes(b"one")
    (source / "node-id").symlink_to("nowhere")
    (copies / "20260101T000000Z.part").mkdir(parents=True)
    assert data_copy.copy_of(source, copies) is None
    made = data_copy.make_copy(source, copies)
    assert made.stat().st_mode & 0o777 == 0o700 and [made] == list(copies.iterdir())
    assert (made / "data/raft/raft.db").read_bytes() == b"one" and data_copy.copy_of(source, copies) == made
    (source / "raft/raft.db").write_bytes(b"two")
    os.utime(source / "raft/raft.db", ns=(1, 1))
    assert data_copy.copy_of(source, copies) is None


def test_a_copy_that_cannot_be_made_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(GuardRefused, match="cannot be in it"):
        data_copy.make_copy(tmp_path / "data", tmp_path / "data/copies")
    with pytest.raises(LocalFailure, match="cannot be found out"):
        data_copy.make_copy(tmp_path / "none", tmp_path / "copies")
    monkeypatch.setattr(data_copy, "SPARE_BYTES", 1 << 60)
    with pytest.raises(GuardRefused, match="MiB are free: name another directory"):
        data_copy.make_copy(tmp_path / "data", tmp_path / "copies")
