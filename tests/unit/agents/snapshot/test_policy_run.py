# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One policy's work without a Consul: the index, destinations that fail, and snapshots that wait for them."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.registry import AGENT_TYPES
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot import catalogue
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.agent import policies_of
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.catalogue import Catalogue
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.policy_run import PolicyRun
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.policy_status import status_of
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.schedule import Due
from ansible_collections.consulops.failover.plugins.module_utils._consul.units import timestamp
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_config import make_config
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.manifest import Encryption
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.retention import RetentionPolicy
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stored_snapshots import list_store, upload
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.local_directory import LocalDirectory
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.tables import Prefix, Table
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.snapshot_files import NOON, manifest_of

HOUR_S = 3600.0
NOT_DUE = Due(None, 0, int(NOON + HOUR_S), NOON + HOUR_S)
TABLES = (Table("KVS", 3, 12, 900, True, "00"),)


class Place:
    """A policy with two directories, and what its instances find there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.a, self.b = directory / "a", directory / "b"
        for place in (self.a, self.b):
            place.mkdir()

    def run(self, found: Catalogue | None = None, host: str = "one", **more: t.Any) -> PolicyRun:
        """Return a new instance, of a host that was there before or of another."""
        destinations = {"a": {"url": str(self.a)}, "b": {"url": str(self.b)}}
        options = {"policies": {"hourly": {"placement": "one", "destinations": destinations, **more}}}
        (config,) = policies_of(make_config({"agent": "snapshot", "options": options}, {}, AGENT_TYPES).setup)
        client: t.Any = None
        run = PolicyRun(config, client, self.directory / host, found or Catalogue(), host)
        for destination in run.destinations:
            destination._back_off = NO_PAUSE
        return run

    def waits(self, hour: int, host: str = "one", data: bytes = b"") -> None:
        """Let a snapshot wait, as a save leaves it."""
        when = NOON + hour * HOUR_S
        name = f"consul-dc1-hourly-{timestamp(when).replace('-', '').replace(':', '')}.snap"
        data = data or f"{host} {hour}".encode()
        folder = self.directory / host
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
        manifest = manifest_of(data, time=when + 1, policy="hourly", slot=timestamp(when), tables=TABLES, node=host)
        (folder / f"{name}.json").write_bytes(manifest.as_bytes())


class _NoPause:
    def next_s(self) -> float:
        return 0.0

    def reset(self) -> None:
        pass


NO_PAUSE: t.Any = _NoPause()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def names(directory: Path) -> list[str]:
    return sorted(path.name[-13:-5] for path in directory.glob("*.snap"))


def test_what_waits_is_delivered_once_to_every_destination(place: Place) -> None:
    place.waits(0)
    place.waits(1)
    run = place.run()
    run.refresh()
    run.deliver(NOON)
    assert names(place.a) == names(place.b) == ["T120000Z", "T130000Z"]
    assert run.waiting == [] and run.catalogue.delivered == {} and names(place.directory / "one") == []
    assert run.slots() == {int(NOON), int(NOON + HOUR_S)}


def test_a_destination_that_fails_gets_everything_when_it_is_back_and_delays_no_other(place: Place) -> None:
    shutil.rmtree(place.b)
    run = place.run()
    for hour in range(3):
        place.waits(hour)
    run.waiting = run._list_waiting()
    run.refresh()
    run.deliver(NOON)
    assert len(names(place.a)) == 3 and len(run.waiting) == 3
    status = status_of(run, NOT_DUE, NOON)
    assert [one.waiting for one in status.destinations] == [0, 3]
    assert "b: The directory" in status.problem(NOON + 2 * HOUR_S + 2) and not status.is_critical(NOON + 3 * HOUR_S)
    place.b.mkdir()
    # Another process goes on, with what the first one remembered.
    again = place.run(catalogue.parse(run.catalogue.as_bytes()))
    again.refresh()
    again.deliver(NOON)
    assert len(names(place.a)) == len(names(place.b)) == 3 and again.waiting == []
    assert all(not one.problem for one in again.destinations)


def test_a_standby_delivers_what_it_has_and_prunes_nothing(place: Place) -> None:
    """Also when it lists a destination, after a slot that the holder has taken too."""
    for hour in range(3):
        place.waits(hour, host="holder")
    holder = place.run(host="holder")
    holder.refresh()
    holder.deliver(NOON)
    place.waits(2)
    place.waits(3)
    run = place.run()
    for destination in run.destinations:
        destination.config = replace(destination.config, retention=RetentionPolicy(last=1))
    run.deliver(NOON, may_prune=False)
    assert run.waiting == [] and run.catalogue.doubled == 2, "one in each destination"
    assert names(place.a) == names(place.b) == [f"T1{hour}0000Z" for hour in range(2, 6)]


def test_the_oldest_is_given_up_when_too_many_wait(place: Place) -> None:
    shutil.rmtree(place.b)
    for hour in range(4):
        place.waits(hour)
    run = place.run(max_waiting=3)
    run.deliver(NOON)
    assert (
        len(run.waiting) == 3 and run.catalogue.given_up == 1 and min(one.time for one in run.waiting) > NOON + HOUR_S
    )


def test_a_slot_that_two_instances_took_is_recognised_and_the_first_one_stays(place: Place) -> None:
    place.waits(0, "one")
    first = place.run()
    first.refresh()
    first.deliver(NOON)
    kept = (place.a / next(place.a.glob("*.snap")).name).read_bytes()
    place.waits(0, "two")
    second = place.run(host="two")
    second.deliver(NOON)
    assert second.catalogue.doubled == 2 and second.waiting == []
    assert [path.read_bytes() for path in place.a.glob("*.snap")] == [kept] == [b"one 0"]


def test_one_that_was_stored_before_the_agent_was_killed_is_not_doubled(place: Place) -> None:
    place.waits(0)
    first = place.run()
    first.deliver(NOON)
    place.waits(0)  # the process was killed before it removed it
    again = place.run()
    again.deliver(NOON)
    assert again.catalogue.doubled == 0 and len(names(place.a)) == 1 and again.waiting == []


def test_an_unfinished_upload_of_another_host_does_not_block_the_slot(place: Place) -> None:
    place.waits(0, "one")
    name = next((place.directory / "one").glob("*.snap")).name
    (place.a / name).write_bytes(b"half of it, by a host that died")
    run = place.run()
    run.deliver(NOON)
    assert sorted(path.name for path in place.a.glob("*.snap")) == [name, name.replace(".snap", "_2.snap")]
    run.refresh()
    assert run.slots() == {int(NOON)}


def test_what_is_left_of_a_save_that_was_killed_is_removed(place: Place) -> None:
    (place.directory / "one").mkdir()
    (place.directory / "one" / "consul-dc1-hourly-20260601T120000Z.snap").write_bytes(b"no manifest")
    assert place.run().waiting == [] and list((place.directory / "one").iterdir()) == []


def test_the_index_is_made_again_from_the_stores(place: Place) -> None:
    for hour in range(3):
        place.waits(hour)
    run = place.run()
    run.refresh()
    run.deliver(NOON)
    content = run.catalogue.as_bytes()
    remembered = place.run(catalogue.parse(content))
    assert remembered.slots() == run.slots(), "before any store was read"
    assert len(json.loads(content)["manifests"]["a"]) == 3
    for broken in (b"{", b'{"format": 9}', b'{"format": 1}', b"[]", None):
        fresh = place.run(catalogue.parse(broken))
        assert fresh.slots() == set()
        fresh.refresh()
        assert fresh.slots() == run.slots()
    newest = [one.manifest for one in remembered.destinations[0].snapshots if one.manifest and one.manifest.tables]
    assert [one.time for one in newest] == [NOON + 2 * HOUR_S + 1], "only the newest keeps its tables"


def test_each_destination_has_its_own_retention_and_a_guard(place: Place) -> None:
    for hour in range(8):
        place.waits(hour)
    destinations = {
        "a": {"url": str(place.a), "keep_last": 2},
        "b": {"url": str(place.b), "keep_last": 2, "max_deletes": 3},
    }
    run = place.run(destinations=destinations)
    (place.a / "foreign.snap").write_bytes(b"of another program")
    run.refresh()
    run.deliver(NOON)
    assert len(list(place.a.glob("consul-*.snap"))) == 2 and (place.a / "foreign.snap").exists()
    assert len(list(place.b.glob("*.snap"))) == 8
    status = status_of(run, NOT_DUE, NOON)
    assert [one.deleted for one in status.destinations] == [6, 0]
    assert "6 snapshots of" in status.destinations[1].problem and status.destinations[1].is_reachable


def test_hosts_that_each_take_their_own_do_not_count_or_delete_those_of_others(place: Place) -> None:
    for host in ("web", "web1"):
        when = timestamp(NOON).replace("-", "").replace(":", "")
        name, data = f"consul-dc1-hourly-{when}-{host}.snap", host.encode()
        manifest = manifest_of(data, time=NOON, policy="hourly", slot=timestamp(NOON))
        (place.a / name).write_bytes(data)
        (place.a / f"{name}.json").write_bytes(manifest.as_bytes())
    run = place.run(host="web", placement="each")
    run.refresh()
    assert [one.name[-8:] for one in run.snapshots] == ["web.snap"]


def test_the_newest_verified_snapshot_is_compared_with_the_objective(place: Place) -> None:
    run = place.run()
    never = status_of(run, NOT_DUE, NOON, attempt_problem="no leader.")
    assert never.is_critical(NOON) and never.problem(NOON) == "there is no verified snapshot: no leader"
    place.waits(0)
    run = place.run(objective="2h")
    waiting = status_of(run, NOT_DUE, NOON)
    assert waiting.newest is None, "what waits is in no store yet"
    run.deliver(NOON)
    status = status_of(run, NOT_DUE, NOON, attempt_problem="no leader.")
    assert not status.is_critical(NOON + 2 * HOUR_S) and status.problem(NOON + HOUR_S) == "no leader"
    assert status.is_critical(NOON + 2 * HOUR_S + 60)
    assert status.problem(NOON + 3 * HOUR_S + 61) == (
        "the newest verified snapshot is 3h 1m old, and the objective is 2h: no leader"
    )


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_through_any_outages_and_restarts_every_place_gets_every_slot_once(
    events: list[tuple[bool, bool, bool]],
) -> None:
    """An hour in slots of five minutes: in each, each of two stores is there or away, and the process goes on or is another one."""
    with tempfile.TemporaryDirectory() as directory:
        place = Place(Path(directory))
        stores = [place.a, place.b]
        run = place.run()
        for number, (*are_there, is_restarted) in enumerate(events):
            if is_restarted:
                run = place.run(catalogue.parse(run.catalogue.as_bytes()))
            for store, is_there in zip(stores, are_there):
                away = store.with_name(f"{store.name}-away")
                if not is_there and store.exists():
                    store.rename(away)
                elif is_there and away.exists():
                    away.rename(store)
            place.waits(number)
            run.waiting = run._list_waiting()
            run.refresh()
            run.deliver(NOON)
        for store in stores:
            if not store.exists():
                store.with_name(f"{store.name}-away").rename(store)
        run.refresh()
        run.deliver(NOON)
        assert len(names(place.a)) == len(names(place.b)) == len(events)
        assert run.waiting == [] and run.catalogue.doubled == run.catalogue.given_up == 0


def test_a_transfer_that_was_ended_is_no_problem_of_the_destination_and_is_made_up_for(place: Place) -> None:
    place.waits(0)
    run = place.run()
    run.abort()
    run.refresh()
    run.deliver(NOON)
    assert [one.problem for one in run.destinations] == ["", ""] and len(run.waiting) == 1 and names(place.a) == []
    again = place.run()
    again.deliver(NOON)
    assert len(names(place.a)) == len(names(place.b)) == 1


def test_the_index_keeps_the_folders_of_the_two_newest_snapshots(place: Place) -> None:
    manifests = {
        f"{hour}.snap": manifest_of(b"", time=NOON + hour, folders=(Prefix("app/", 1, hour),)) for hour in range(4)
    }
    found = catalogue.parse(Catalogue(manifests={"a": manifests}).as_bytes()).manifests["a"]
    assert [len(found[f"{hour}.snap"].folders) for hour in range(4)] == [0, 0, 1, 1]


def test_the_names_of_folders_are_not_stored_beside_an_encrypted_snapshot(place: Place) -> None:
    encryption = Encryption("age", ("age1",), 3, hashlib.sha256(b"abc").hexdigest())
    (place.directory / "file").write_bytes(b"abc")
    for name, how in (("plain", None), ("secret", encryption)):
        manifest = manifest_of(b"abc", folders=(Prefix("app/", 1, 1),), encryption=how)
        stored = upload(LocalDirectory(place.a), place.directory / "file", f"{name}.snap", manifest)
        assert stored.manifest is not None and stored.manifest.folders, "the agent's own index keeps them"
    listed = {one.name: one.manifest.folders for one in list_store(LocalDirectory(place.a)) if one.manifest}
    assert listed == {"plain.snap": (Prefix("app/", 1, 1),), "secret.snap": ()}
