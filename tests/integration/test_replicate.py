# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""consul_kv_replicate between two real datacenters: what it copies, keeps, deletes and refuses.

The first half covers what consul-replicate was observed doing to users' keys.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._replication.apply import perform
from ansible_collections.consulops.failover.plugins.module_utils._replication.plan import Policy
from ansible_collections.consulops.failover.plugins.module_utils._replication.prefix_options import make_mappings
from ansible_collections.consulops.failover.plugins.module_utils._replication.prepare import prepare
from ansible_collections.consulops.failover.plugins.module_utils._replication.request import ReplicationRequest

from tests.lab import keys
from tests.lab.ansible import ModuleFailed, run_module, run_playbook
from tests.lab.consul import Datacenter, Lab
from tests.lab.fill import new_token
from tests.lab.keys import Keys
from tests.lab.tls import Authority

from .conftest import tls_options

_numbers = itertools.count(1)


class Task:
    """A task that copies a unique folder from one datacenter to another, under a unique name."""

    def __init__(self, one: Datacenter, two: Datacenter) -> None:
        self.one, self.two = one, two
        self.prefix = f"task{next(_numbers)}/"
        self.options: dict[str, t.Any] = {
            "source": {"url": one.url, "token": one.token},
            "destination": {"url": two.url, "token": two.token},
            "prefixes": [{"source": self.prefix}],
            "name": self.prefix.strip("/"),
        }

    def run(self, **options: t.Any) -> dict[str, t.Any]:
        """Run the module and return its result. It must not fail."""
        return run_module("consul_kv_replicate", **{**self.options, **options})

    def row(self, **options: t.Any) -> dict[str, t.Any]:
        """Run the module and return the result's row for its only prefix."""
        return dict(self.run(**options)["prefixes"][0])

    def fails(self, **options: t.Any) -> dict[str, t.Any]:
        """Run the module, which must fail, and return its result."""
        with pytest.raises(ModuleFailed) as failure:
            self.run(**options)
        return failure.value.result

    def write(self, side: Datacenter, **contents: str | bytes | tuple[bytes, int]) -> None:
        keys.write(side, {self.prefix + name: content for name, content in contents.items()})

    def read(self, side: Datacenter) -> Keys:
        return {key[len(self.prefix) :]: content for key, content in keys.read(side, self.prefix).items()}

    def delete(self, side: Datacenter, *names: str) -> None:
        keys.delete(side, *(self.prefix + name for name in names))


@pytest.fixture
def task(federation: tuple[Datacenter, Datacenter]) -> Task:
    return Task(*federation)


def numbered(count: int, value: str = "v") -> dict[str, str]:
    return {f"k{number:03d}": f"{value}{number}" for number in range(count)}


def counts(row: t.Mapping[str, t.Any]) -> tuple[int, int, int, int]:
    return row["created"], row["updated"], row["deleted"], row["unchanged"]


# ---------------------------------------------------------------------------------------------------------------
# What consul-replicate does to keys


def test_an_emptied_source_deletes_nothing(task: Task) -> None:
    task.write(task.one, **numbered(50))
    task.run()
    task.delete(task.one, "")
    for options in ({}, {"delete": "all"}, {"check": True}):
        said = task.fails(**options)["msg"]
        assert (
            "the source has no key below" in said
            and "50 keys would be deleted" in said
            and "Nothing was changed" in said
        )
    assert len(task.read(task.two)) == 50
    assert task.row(allow_empty_source=True)["deleted"] == 50
    assert task.read(task.two) == {}


def test_a_misspelt_source_prefix_deletes_nothing(task: Task) -> None:
    task.write(task.one, **numbered(50))
    task.run()
    misspelt = {"source": task.prefix.replace("task", "tsk"), "destination": task.prefix}
    assert "accept: [other_source]" in task.fails(prefixes=[misspelt])["msg"]
    said = task.fails(prefixes=[misspelt], accept=["other_source"], delete="all")["msg"]
    assert "check the spelling of the prefix" in said
    assert len(task.read(task.two)) == 50


def test_keys_that_only_the_destination_has_are_kept(task: Task) -> None:
    task.write(task.two, **numbered(49))
    task.write(task.one, only="1")
    row = task.row()
    assert (counts(row), row["kept"]) == ((1, 0, 0, 0), 49)
    assert len(task.read(task.two)) == 50
    said = task.fails(delete="all")["msg"]
    assert "49 of 50 keys" in said and "max_delete_percent" in said
    assert len(task.read(task.two)) == 50
    assert task.row(delete="all", max_delete_percent=100)["deleted"] == 49


@pytest.fixture(scope="module")
def secure_source(shared_lab: Lab) -> Datacenter:
    return shared_lab.datacenter("guarded", acl=True)


def narrow(task: Task, rules: str) -> dict[str, t.Any]:
    """Return the source's connection with a token of these rules."""
    return {"url": task.one.url, "token": new_token(task.one, rules, f"narrow-{next(_numbers)}")}


def test_a_source_that_the_token_may_not_read_is_not_an_empty_source(
    secure_source: Datacenter, federation: tuple[Datacenter, Datacenter]
) -> None:
    task = Task(secure_source, federation[1])
    task.write(task.one, **numbered(50))
    task.run()
    unreadable = narrow(task, 'agent_prefix "" { policy = "read" }')
    said = task.fails(source=unreadable, allow_empty_source=True, max_deletes=1000)["msg"]
    assert "The source's token may not read below" in said and f'key_prefix "{task.prefix}"' in said
    assert len(task.read(task.two)) == 50


def test_keys_that_the_token_may_not_read_are_not_deleted(
    secure_source: Datacenter, federation: tuple[Datacenter, Datacenter]
) -> None:
    task = Task(secure_source, federation[1])
    task.write(task.one, **numbered(50), **{"secret/a": "1", "secret/b": "2", "gone": "3"})
    task.run()
    task.delete(task.one, "gone")
    task.write(task.one, k000="newer")
    rules = f'key_prefix "{task.prefix}" {{ policy = "read" }} key_prefix "{task.prefix}secret/" {{ policy = "deny" }}'
    narrowed = narrow(task, rules)
    planned = task.fails(source=narrowed, check=True)
    assert (planned["changed"], planned["prefixes"][0]["counts"]["deferred_deletes"]) == (True, 3), (
        "check mode reports it too"
    )
    found = task.fails(source=narrowed)
    # Since 1.9 Consul says that it left out the hidden keys; before that the keys themselves are asked for and denied.
    assert (
        re.search("absent cannot be told from (denied|hidden)", found["msg"])
        and f"{task.prefix}secret/a" in found["msg"]
    )
    row = found["prefixes"][0]
    assert counts(row) == (0, 1, 0, 49) and row["counts"]["deferred_deletes"] == 3
    assert len(task.read(task.two)) == 53, "a key was deleted that was not confirmed to be gone"
    assert task.row()["deleted"] == 1


def test_a_source_that_was_restored_or_rebuilt_converges(lab: Lab, tmp_path: Path) -> None:
    one, two = lab.datacenter("dc1"), lab.datacenter("dc2")
    task = Task(one, two)
    for number in range(300):
        one.put(f"/v1/kv/noise/{number}", str(number))
    task.write(one, **numbered(60, "first"))
    early = one.snapshot()
    task.write(one, **numbered(60, "second"))
    assert task.row()["created"] == 60
    one.put("/v1/snapshot", early)
    one.leader()
    row = task.row()
    assert counts(row) == (0, 60, 0, 0)
    assert task.read(two) == task.read(one) and task.read(two)["k007"][0] == b"first7"

    # A new datacenter with the same name: its indexes start again, far below those of the copied keys.
    before = task.run()["prefixes"][0]["source_index"]
    one.servers[0].stop()
    with Lab(tmp_path / "rebuilt") as another:
        rebuilt = another.datacenter("dc1")
        task.one = rebuilt
        task.options["source"] = {"url": rebuilt.url}
        task.write(rebuilt, **numbered(58, "third"), new="n")
        row = task.row()
        assert row["source_index"] < before
        assert counts(row) == (1, 58, 2, 0)
        assert task.read(two) == task.read(rebuilt)


def test_edits_and_deletions_by_hand_are_reported_kept_or_overwritten(task: Task) -> None:
    task.write(task.one, **numbered(5))
    task.run()
    task.write(task.two, k001="by hand")
    task.delete(task.two, "k002")
    found = task.fails()
    assert "1 key in conflict" in found["msg"] and "k001 (edited at the destination)" in found["msg"]
    assert "on_conflict: overwrite" in found["msg"]
    assert counts(found["prefixes"][0]) == (1, 0, 0, 4 - 1), "a key that is merely missing is written again"
    task.delete(task.two, "k002")
    row = task.row(on_conflict="keep")
    assert (counts(row), row["counts"]["conflicts"]) == ((0, 0, 0, 3), 2)
    assert task.run(on_conflict="keep")["changed"] is False
    # Writing the same value again at the source changes no index and repairs nothing by itself.
    task.write(task.one, k001="v1")
    assert counts(task.row(on_conflict="overwrite")) == (1, 1, 0, 3)
    assert task.read(task.two) == task.read(task.one)


def test_keys_that_existed_before_are_not_overwritten_by_default(task: Task) -> None:
    task.write(task.one, a="theirs", b="same")
    task.write(task.two, a="foreign", b="same")
    found = task.fails()
    assert "not written by this replication, and different" in found["msg"]
    assert task.read(task.two)["a"][0] == b"foreign"
    assert counts(task.row(on_conflict="overwrite")) == (0, 1, 0, 1)


def test_different_flags_are_a_change(task: Task) -> None:
    task.write(task.one, a=(b"x", 1))
    task.run()
    task.write(task.one, a=(b"x", 2))
    assert counts(task.row()) == (0, 1, 0, 0)
    assert task.read(task.two) == {"a": (b"x", 2)}


def test_one_source_can_be_copied_to_two_destinations(task: Task) -> None:
    task.write(task.one, a="1")
    destinations = [task.prefix, f"copy-of-{task.prefix}"]
    result = task.run(prefixes=[{"source": task.prefix, "destination": destination} for destination in destinations])
    assert [row["created"] for row in result["prefixes"]] == [1, 1]
    assert [keys.read(task.two, prefix) for prefix in destinations] == [
        {f"{prefix}a": (b"1", 0)} for prefix in destinations
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prefixes": [{"source": "a/"}, {"source": "b/", "destination": "a/sub/"}]}, "overlap"),
        ({"prefixes": [{"source": "app"}]}, "Write 'app/'"),
        ({"prefixes": [{"source": "app/", "exclude": ["app/x"]}]}, "repeats the prefix"),
        ({"prefixes": []}, "empty list"),
        ({"prefixes": ["b/", {"source": "a/", "colour": "red"}]}, "prefixes[1].colour: "),
        ({"prefixes": [{"source": "a/", "delete": "some"}]}, "prefixes[0].delete: 'some'"),
        ({"prefixes": [{"source": "a/", "include": {"a": 1}}]}, "prefixes[0].include: "),
        ({"prefixes": [{"source": "a/", "exclude": ["x", None]}]}, "prefixes[0].exclude[1]: "),
        ({"prefixes": [{"source": "a/", "destination": ["b/"]}]}, "prefixes[0].destination: "),
        ({"prefixes": [{"destination": "a/"}]}, "prefixes[0]: the source is not set"),
        ({"prefixes": ["a/", 5]}, "prefixes[1]: 5 is not a prefix"),
        ({"prefixes": ["a/", None]}, "prefixes[1]: null is not a prefix"),
        ({"prefixes": ["a/", ["b/"]]}, "prefixes[1]: a list is not a prefix"),
        ({"prefixes": ""}, "prefixes[0]: an empty string does not name a folder"),
        ({"prefixes": ["app/@dc1"]}, "source: {datacenter: dc1}, prefixes: [app/]"),
        ({"prefixes": ["/app/"]}, "write 'app/'"),
        ({"source": {"url": "ftp://x"}}, "unknown scheme"),
        ({"source": {"token": "one-or-the-other", "token_file": "/b"}}, "mutually exclusive"),
        ({"destination": {}}, "copied onto itself"),
        ({"batch_ops": "300"}, "batch_ops"),
        ({"max_stale": "soon"}, "not a duration"),
        ({"name": "a/b"}, "name 'a/b'"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_request(options: dict[str, t.Any], said: str) -> None:
    # Nothing listens there: an error about the option shows that no request was sent.
    base = {"url": "http://127.0.0.1:9", "destination": {"datacenter": "dc2"}, "prefixes": [{"source": "a/"}]}
    with pytest.raises(ModuleFailed) as failure:
        run_module("consul_kv_replicate", **{**base, **options})
    assert said in failure.value.result["msg"]


def test_exclude_matches_whole_names_and_applies_to_both_sides(task: Task) -> None:
    place = f"to/{task.prefix}"
    task.write(task.one, **{"5": "s", "50": "s", "x/tmp/a": "s", "keep": "s"})
    local = {f"{place}5": "local", f"{place}{place}5": "local", f"{place}x/tmp/b": "local", f"{place}gone": "local"}
    keys.write(task.two, local)
    prefixes = [{"source": task.prefix, "destination": place, "exclude": ["5", "*/tmp", place.strip("/")]}]
    row = task.row(prefixes=prefixes, delete="all", max_delete_percent=100)
    assert (counts(row), row["destination_keys"]) == ((2, 0, 1, 0), 1)
    left = keys.read(task.two, place)
    assert left.keys() == local.keys() - {f"{place}gone"} | {f"{place}50", f"{place}keep"}


def test_an_exclude_can_be_added_and_removed_again(task: Task) -> None:
    task.write(task.one, **{"a": "1", "b/x": "1", "b/y": "1"})
    task.run()
    excluding = [{"source": task.prefix, "exclude": ["b"]}]
    task.delete(task.one, "b/x")
    task.write(task.one, **{"b/y": "2", "b/z": "1"})
    assert counts(task.row(prefixes=excluding)) == (0, 0, 0, 1)
    assert task.read(task.two).keys() == {"a", "b/x", "b/y"}
    assert counts(task.row()) == (1, 1, 1, 1), "what was excluded is copied and deleted now"
    assert task.read(task.two) == task.read(task.one)


def test_only_included_keys_are_copied(task: Task) -> None:
    task.write(task.one, **{"web/a": "1", "db/a": "1", "web2": "1"})
    assert task.row(prefixes=[{"source": task.prefix, "include": ["web"]}])["created"] == 1
    assert task.read(task.two).keys() == {"web/a"}
    said = task.fails(prefixes=[{"source": task.prefix, "include": ["wbe"]}])["msg"]
    assert "no key below" in said and "that takes part" in said


def test_names_that_a_url_cannot_carry_are_copied(task: Task) -> None:
    odd = {"a//b": "1", "a/../b": "2", "tab\there": "3", "z": "4", "sp ace": "5", "ü": "6", "%2F": "7", "?#+@:": "8"}
    task.write(task.one, **odd)
    row = task.row()
    assert row["created"] == len(odd) and row["verified"] is True
    assert task.read(task.two) == task.read(task.one)
    # Many more keys than fit into one shard, so the names must be split.
    task.write(task.one, **{f"{name}/{number}": "x" for name in odd for number in range(200)})
    assert task.row()["created"] == 200 * len(odd)
    assert task.read(task.two) == task.read(task.one)
    task.delete(task.one, "sp ace/")
    task.write(task.one, **{"a//b": "new"})
    assert counts(task.row(max_deletes=500, max_delete_percent=50))[:3] == (0, 1, 200)
    assert task.read(task.two) == task.read(task.one)


def test_a_key_that_cannot_be_copied_is_named_and_the_others_are_copied(task: Task) -> None:
    task.write(task.one, **numbered(100))
    task.run()
    task.delete(task.one, "k000")
    task.write(task.one, k001="newer", later="1")
    task.one.request("PUT", f"/v1/kv/{task.prefix}k05%FFx", data="not UTF-8")
    found = task.fails()
    assert "1 key cannot be written" in found["msg"] and "not UTF-8" in found["msg"]
    assert "1 key not deleted" in found["msg"], "a run that could not write everything deletes nothing"
    assert counts(found["prefixes"][0]) == (1, 1, 0, 98)
    assert {"k000", "later"} <= task.read(task.two).keys()


def test_a_value_that_is_too_large_for_the_destination_is_unwritable(
    lab: Lab, federation: tuple[Datacenter, Datacenter]
) -> None:
    small = lab.datacenter("small", extra={"limits": {"kv_max_value_size": 1000}})
    task = Task(federation[0], small)
    task.write(task.one, **numbered(70), huge=b"x" * 1001, huge2=b"y" * 600_00, fits=b"z" * 1000)
    found = task.fails()
    assert "2 keys cannot be written at the destination" in found["msg"] and "huge" in found["msg"]
    assert [item["key"] for item in found["prefixes"][0]["unwritable"]] == [
        f"{task.prefix}huge",
        f"{task.prefix}huge2",
    ]
    assert task.read(small).keys() == task.read(task.one).keys() - {"huge", "huge2"}
    assert task.row(prefixes=[{"source": task.prefix, "exclude": ["huge", "huge2"]}])["unchanged"] == 71


def test_a_string_in_prefixes_is_a_folder(task: Task) -> None:
    folder, other = f"{task.prefix}a/", f"{task.prefix}b/"
    keys.write(task.one, {f"{folder}k": "1", f"{other}k": "2"})
    result = task.run(prefixes=[folder, {"source": other, "destination": f"copy-of-{other}", "exclude": [5]}])
    assert [(row["source"], row["created"]) for row in result["prefixes"]] == [(folder, 1), (other, 1)]
    assert task.run(prefixes=folder)["changed"] is False, "Ansible makes a list of a single string"


# ---------------------------------------------------------------------------------------------------------------
# What is copied


def test_values_names_and_flags_are_copied_byte_for_byte(task: Task) -> None:
    contents: dict[str, t.Any] = {
        "binary": bytes(range(256)),
        "empty": b"",
        "folder/": b"",
        "long" + "k" * 280: b"long name",
        "ünï/☃": "snow",
        "flags": (b"x", 2**64 - 1),
        "half": b"h" * 300_000,
    }
    task.write(task.one, **contents)
    task.one.request("PUT", f"/v1/kv/{task.prefix}largest", data=b"\x00\xff" * 262_144)
    row = task.row()
    assert row["created"] == 8 and row["verified"] is True
    assert task.read(task.two) == task.read(task.one)
    assert len(task.read(task.two)["largest"][0]) == 524_288
    assert task.run()["changed"] is False


def test_large_values_are_read_in_small_parts(task: Task) -> None:
    task.write(task.one, **{f"k{number}": bytes([number]) * 300_000 for number in range(20)})
    assert task.row()["created"] == 20
    assert task.read(task.two) == task.read(task.one)
    assert task.row()["unchanged"] == 20


def test_the_whole_store_can_be_copied_without_the_reserved_folder(lab: Lab) -> None:
    one, two = lab.datacenter("dc1"), lab.datacenter("dc2")
    keys.write(one, {"a": "1", "consulops/replication/x/state": "not a copy", "consulopsish": "1", "z/z": "1"})
    result = run_module(
        "consul_kv_replicate", source={"url": one.url}, destination={"url": two.url}, prefixes=[{"source": ""}]
    )
    assert (result["name"], result["prefixes"][0]["created"]) == ("dc1", 3)
    assert keys.read(two) == keys.read(one)
    assert "consulops/replication/x/state" not in two.get("/v1/kv/?keys")
    options: dict[str, t.Any] = {"prefixes": [{"source": "", "delete": "all"}], "on_conflict": "overwrite"}
    assert (
        run_module("consul_kv_replicate", source={"url": one.url}, destination={"url": two.url}, **options)["changed"]
        is False
    )


def test_check_mode_reports_what_a_run_does_and_writes_nothing(task: Task) -> None:
    task.write(task.one, **numbered(10))
    task.run()
    task.write(task.one, k000="new", **{"secret": "hunter2"})
    task.delete(task.one, "k001")
    everything = keys.read(task.two), task.two.get("/v1/kv/consulops/?keys")
    planned = task.run(check=True, diff=True)
    assert (keys.read(task.two), task.two.get("/v1/kv/consulops/?keys")) == everything
    done = task.run(diff=True)
    for part in ("created", "updated", "deleted", "unchanged", "digest", "to_delete", "source_keys"):
        assert planned["prefixes"][0][part] == done["prefixes"][0][part]
    assert planned["diff"] == done["diff"] and planned["changed"] is done["changed"] is True
    assert f"{task.prefix}secret: digest" in done["diff"]["after"] and "hunter2" not in json.dumps(done)
    assert f"{task.prefix}k001" in done["diff"]["before"] and f"{task.prefix}k001" not in done["diff"]["after"]
    again = task.run(check=True, diff=True)
    assert (again["changed"], again["diff"]) == (False, {"before": "", "after": ""})


def test_values_are_in_the_diff_only_with_diff_values(task: Task) -> None:
    task.write(task.one, password="hunter2")
    assert "hunter2" not in json.dumps(task.run(check=True, diff=True))
    assert "hunter2" in task.run(check=True, diff=True, diff_values=True)["diff"]["after"]


def test_the_diff_and_the_lists_are_limited_and_everything_is_counted(task: Task) -> None:
    task.write(task.one, **numbered(30))
    diff = task.run(limit=10)["diff"]["after"]
    assert len(diff.splitlines()) == 11 and "20 more" in diff
    task.delete(task.one, *(f"k{number:03d}" for number in range(20)))
    row = task.row(limit=10, max_delete_percent=100, check=True)
    assert (len(row["to_delete"]), row["counts"]["to_delete"], row["deleted"]) == (10, 20, 20)


def test_a_run_fails_for_every_problem_however_few_are_listed(task: Task) -> None:
    task.write(task.one, **numbered(3))
    task.run()
    task.write(task.two, k001="edited")
    task.delete(task.one, "k002")
    for check in (False, True):
        found = task.fails(limit=0, check=check)
        row = found["prefixes"][0]
        assert (row["conflicts"], row["counts"]["conflicts"], row["counts"]["deferred_deletes"]) == ([], 1, 1)
        assert f"{task.prefix}k001 (edited at the destination)" in found["msg"]
        assert found["diff"] == {"before": "", "after": ""}, "deferred deletions are not shown as deleted"
        assert ".." not in found["msg"]


def test_digests_of_both_sides_agree_when_they_hold_the_same(task: Task) -> None:
    task.write(task.one, **numbered(20))
    digest = task.row()["digest"]
    back = task.run(
        source=task.options["destination"], destination=task.options["source"], check=True, accept=["reversed"]
    )
    assert back["prefixes"][0]["digest"] == digest and back["prefixes"][0]["unchanged"] == 20
    task.write(task.one, k000=(b"v0", 1))
    assert task.row()["digest"] != digest


def test_through_one_agent_of_the_federation(task: Task) -> None:
    task.write(task.one, **numbered(10))
    options = {"url": task.one.url, "source": {"datacenter": "east"}, "destination": {"datacenter": "west"}}
    assert task.row(**options)["created"] == 10
    assert task.read(task.two) == task.read(task.one)
    task.delete(task.one, "k001")
    assert task.row(**options)["deleted"] == 1


def test_stale_reads_work_and_are_bounded(task: Task) -> None:
    task.write(task.one, **numbered(10))
    assert task.row(consistency="stale", max_stale="500ms")["created"] == 10
    task.delete(task.one, "k001")
    assert task.row(consistency="stale", max_stale="0")["deleted"] == 1
    assert task.row(consistency="consistent")["unchanged"] == 9


# ---------------------------------------------------------------------------------------------------------------
# Ownership, locks, direction


def test_only_keys_that_it_wrote_and_that_are_unchanged_are_deleted(task: Task) -> None:
    task.write(task.one, a="1", b="1", c="1")
    task.write(task.two, c="1", local="1")
    task.run()
    task.write(task.two, b="edited")
    task.delete(task.one, "a", "b", "c")
    task.write(task.one, rest="1")
    row = task.row(on_conflict="keep")
    assert (row["created"], row["deleted"], row["kept"]) == (1, 1, 2)
    assert row["conflicts"] == [
        {"key": f"{task.prefix}b", "reason": "edited at the destination, and gone from the source"}
    ]
    assert task.read(task.two).keys() == {"b", "c", "local", "rest"}
    assert task.row(delete="never", on_conflict="keep")["kept"] == 3
    assert task.row(on_conflict="overwrite")["deleted"] == 1, "the source wins over the edit"
    assert task.row(delete="all")["deleted"] == 2


def test_equal_keys_can_be_adopted(task: Task) -> None:
    task.write(task.one, a="1", b="1")
    task.write(task.two, a="1", b="1")
    assert task.run()["changed"] is False
    assert (task.run(adopt=True, check=True)["changed"], task.row(adopt=True)["adopted"]) == (True, 2)
    assert task.run(adopt=True)["changed"] is False
    task.delete(task.one, "b")
    assert task.row()["deleted"] == 1


def test_keys_that_a_session_holds_are_left_alone(task: Task) -> None:
    task.write(task.one, a="1", b="1", c="1")
    task.run()
    for side, name in ((task.one, "a"), (task.two, "b"), (task.two, "c")):
        session = side.put("/v1/session/create", {"Name": "holder"})["ID"]
        assert side.put(f"/v1/kv/{task.prefix}{name}?acquire={session}", "held")
    task.write(task.one, b="2")
    task.delete(task.one, "c")
    row = task.row()
    assert (counts(row), row["skipped_locked"]) == ((0, 0, 0, 0), 3)
    assert {name: value for name, (value, _flags) in task.read(task.two).items()} == {
        "a": b"1",
        "b": b"held",
        "c": b"held",
    }
    assert task.row(skip_locked=False, on_conflict="overwrite")["updated"] == 2


def test_a_loop_is_refused_until_the_direction_is_reversed(task: Task) -> None:
    task.write(task.one, a="1")
    task.run(name=None)
    back = {"source": task.options["destination"], "destination": task.options["source"], "name": None}
    said = task.fails(**back)["msg"]
    assert "would copy it back" in said and "accept: [reversed]" in said
    task.write(task.two, a="after the failover")
    assert task.row(**back, accept=["reversed"], on_conflict="overwrite")["updated"] == 1
    assert task.run(**back)["changed"] is False, "accept is needed once"
    assert "would copy it back" in task.fails(name=None)["msg"], "the old direction is refused now"
    assert task.read(task.one) == {"a": (b"after the failover", 0)}


def test_reversing_equal_sides_is_recorded_once(task: Task) -> None:
    task.write(task.one, a="1")
    task.run(name=None)
    back = {"source": task.options["destination"], "destination": task.options["source"], "name": None}
    assert [task.run(**back, accept=["reversed"])["changed"] for _turn in range(2)] == [True, False]


def test_two_addresses_of_one_datacenter_are_one_store(task: Task) -> None:
    task.write(task.one, a="1")
    socket = f"unix://{task.one.servers[0].socket_path}"
    assert "onto itself" in task.fails(destination={"url": socket})["msg"]
    copy = [{"source": task.prefix, "destination": f"copy-of-{task.prefix}"}]
    assert task.row(destination={"url": socket}, prefixes=copy)["created"] == 1


def test_a_damaged_ledger_is_reported_and_nothing_is_changed(task: Task) -> None:
    task.write(task.one, a="1")
    task.run()
    task.write(task.one, a="2")
    bucket = next(
        key for key in task.two.get("/v1/kv/?keys") if key.startswith(f"consulops/replication/{task.prefix}owned/")
    )
    task.two.put(f"/v1/kv/{bucket}", "garbage")
    assert "Delete that folder: no key then counts as owned" in task.fails()["msg"]
    assert task.read(task.two) == {"a": (b"1", 0)}
    keys.delete(task.two, f"consulops/replication/{task.prefix}owned/")
    assert "not written by this replication" in task.fails()["msg"]


def test_a_key_that_others_made_equal_again_stays_owned(task: Task) -> None:
    """A hotfix by hand on both sides, and a failover there and back: neither turns later changes into conflicts."""
    task.write(task.one, **numbered(3))
    task.run()
    for side in (task.one, task.two):
        task.write(side, k001="hotfix")
    assert task.run(check=True)["changed"] is False
    assert task.run()["changed"] is False
    task.write(task.one, k001="later")
    assert task.row()["updated"] == 1
    back = {
        "source": task.options["destination"],
        "destination": task.options["source"],
        "name": f"{task.prefix[:-1]}-back",
    }
    task.write(task.two, k002="during the failover")
    assert task.row(**back, accept=["reversed"], on_conflict="overwrite")["updated"] == 1
    assert task.run(accept=["reversed"])["changed"] is True, "the direction is noted"
    task.write(task.one, k002="later")
    assert task.row()["updated"] == 1


def test_a_key_that_is_gone_from_both_sides_is_no_longer_owned(task: Task) -> None:
    task.write(task.one, **numbered(3), **{"out/a": "1"})
    task.run()
    for side in (task.one, task.two):
        task.delete(side, "k001")
    assert task.run()["changed"] is False
    task.write(task.two, k001="v1")
    row = task.row(delete="owned", on_conflict="overwrite")
    assert (row["deleted"], row["kept"]) == (0, 1), "created again by others, with the same value"
    # Keys that a run excludes stay owned.
    excluding = [{"source": task.prefix, "exclude": ["out"]}]
    assert task.run(prefixes=excluding)["changed"] is False
    other = {**task.options, "prefixes": [{"source": f"{task.prefix}x/"}], "allow_empty_source": True}
    run_module("consul_kv_replicate", **other)
    task.delete(task.one, "out/a")
    assert task.row()["deleted"] == 1


def test_another_source_for_part_of_a_destination_is_refused(task: Task) -> None:
    task.write(task.one, **{"app/sub/a": "1", "app/b": "2", "other/a": "x"})
    one, other = (
        {"source": f"{task.prefix}{source}/", "destination": f"{task.prefix}{destination}/"}
        for source, destination in (("app", "app"), ("other", "app/sub"))
    )
    task.run(prefixes=[one])
    assert "accept: [other_source]" in task.fails(prefixes=[other], on_conflict="overwrite")["msg"]
    assert task.read(task.two)["app/sub/a"] == (b"1", 0)
    excluding = [{**one, "exclude": ["sub"]}]
    assert task.row(prefixes=[other], on_conflict="overwrite", accept=["other_source"])["updated"] == 1
    assert task.run(prefixes=excluding)["changed"] is False
    assert task.run(prefixes=[other])["changed"] is False, "accepted once"
    assert "accept: [other_source]" in task.fails(prefixes=[one])["msg"], "it would write to the folder again"


def test_a_reversed_direction_stays_reversed_whatever_other_tasks_of_the_name_do(task: Task) -> None:
    app, config = [{"source": f"{task.prefix}app/"}], [{"source": f"{task.prefix}config/"}]
    task.write(task.one, **{"app/a": "old", "config/a": "1"})
    task.run(prefixes=[*app, *config], name=None)
    back = {"source": task.options["destination"], "destination": task.options["source"], "name": None}
    task.write(task.two, **{"app/a": "newer"})
    task.run(**back, prefixes=app, accept=["reversed"], on_conflict="overwrite")
    task.write(task.one, **{"config/a": "2"})
    assert task.row(prefixes=config, name=None)["updated"] == 1
    assert "would copy it back" in task.fails(prefixes=app, name=None, on_conflict="overwrite")["msg"]
    assert task.run(**back, prefixes=app)["changed"] is False, "accept is needed once"


@pytest.mark.parametrize("source", [None, "", "/"])
def test_a_variable_that_is_not_set_never_means_the_whole_store(task: Task, tmp_path: Path, source: str | None) -> None:
    task.write(task.one, **numbered(3))
    variables = {"folder": source}
    options = {
        **task.options,
        "prefixes": [{"source": "{{ folder }}", "destination": f"{task.prefix}copy/", "include": [task.prefix]}],
    }
    tasks = [{"consulops.failover.consul_kv_replicate": options}]
    done = run_playbook(tmp_path, [{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}])
    assert (done.returncode == 0) == (source == "")
    if source != "":
        assert "For the whole store write" in done.stdout and task.read(task.two) == {}


# ---------------------------------------------------------------------------------------------------------------
# Rights and certificates


def documented_policies(prefix: str) -> dict[str, str]:
    """Return the policies that docs/replication.md prints, for a prefix."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "replication.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```hcl\n")[1:]]
    return {block.split("\n")[0].strip("# "): block.replace("app/", prefix) for block in blocks}


def test_the_documented_policies_are_sufficient_and_minimal(lab: Lab) -> None:
    one, two = lab.datacenter("dc1", acl=True), lab.datacenter("dc2", acl=True)
    task = Task(one, two)
    task.write(one, **numbered(10))
    task.write(two, local="1")
    policies = documented_policies(task.prefix)
    source = {"url": one.url, "token": new_token(one, policies["source"], "source")}
    destination = {"url": two.url, "token": new_token(two, policies["destination"], "destination")}
    assert task.run(source=source, destination=destination)["unchecked"] == []
    task.delete(one, "k001")
    task.write(one, k002="new")
    named = {**destination, "datacenter": "dc2"}
    assert counts(task.row(source={**source, "datacenter": "dc1"}, destination=named)) == (0, 1, 1, 8)
    for number, rule in enumerate(policies["destination"].strip().splitlines()):
        if rule.startswith("#"):
            continue
        task.write(one, k003=f"change {number}")
        others = [line for line in policies["destination"].splitlines() if line != rule]
        less = {"url": two.url, "token": new_token(two, "\n".join(others), f"less-{number}")}
        found = task.fails(source=source, destination=less)
        assert "token" in found["msg"] and "403" in found["msg"] or "may not" in found["msg"], found["msg"]
        assert task.read(two)["k003"][0] == b"v3", f"written without {rule}"
    reader = {"url": two.url, "token": new_token(two, 'key_prefix "" { policy = "read" }', "reader")}
    assert "may not write" in task.fails(source=source, destination=reader, check=True)["msg"]


def test_keys_that_the_token_may_not_write_are_named_and_the_others_are_written(
    secure_source: Datacenter, federation: tuple[Datacenter, Datacenter]
) -> None:
    task = Task(federation[0], secure_source)
    task.write(task.one, **numbered(150))
    task.run()
    task.write(task.one, k000="new", k001="new", k100="new")
    task.delete(task.one, "k002", "k003")
    rules = f"""
        key_prefix "" {{ policy = "write" }}
        session_prefix "" {{ policy = "write" }}
        agent_prefix "" {{ policy = "read" }}
        key "{task.prefix}k000" {{ policy = "read" }}
        key "{task.prefix}k002" {{ policy = "read" }}
    """
    token = new_token(secure_source, rules, f"some-{next(_numbers)}")
    found = task.fails(destination={"url": secure_source.url, "token": token})
    assert "k000 (Permission denied" in found["msg"]
    assert (found["prefixes"][0]["updated"], found["prefixes"][0]["counts"]["deferred_deletes"]) == (2, 2)
    assert task.row(prefixes=[{"source": task.prefix, "exclude": ["k002"]}])["deleted"] == 1
    denied = task.fails(destination={"url": secure_source.url, "token": token})
    assert "k002 (Permission denied" in denied["msg"] and "k002" in task.read(secure_source)


def test_a_large_key_that_the_token_may_not_write_is_named_and_the_others_are_written(
    secure_source: Datacenter, federation: tuple[Datacenter, Datacenter]
) -> None:
    """It is written by a separate request, because no transaction can carry it."""
    task = Task(federation[0], secure_source)
    task.write(task.one, **numbered(5))
    task.one.put(f"/v1/kv/{task.prefix}deny/big", "x" * 450_000)
    task.one.put(f"/v1/kv/{task.prefix}allow/big", "x" * 450_000)
    rules = f"""
        key_prefix "{task.prefix}" {{ policy = "write" }}
        key_prefix "{task.prefix}deny/" {{ policy = "read" }}
        key_prefix "consulops/replication/" {{ policy = "write" }}
        session_prefix "" {{ policy = "write" }}
        agent_prefix "" {{ policy = "read" }}
    """
    token = new_token(secure_source, rules, f"large-{next(_numbers)}")
    found = task.fails(destination={"url": secure_source.url, "token": token})
    assert f"{task.prefix}deny/big (Permission denied" in found["msg"]
    assert found["prefixes"][0]["created"] == 6 and found["changed"] is True


def test_a_client_certificate_on_one_side_only(
    task: Task, tls_datacenter: Datacenter, authority: Authority, tmp_path: Path
) -> None:
    task.write(task.one, **numbered(5))
    options = tls_options(tls_datacenter, authority, tmp_path)
    assert task.row(destination=options)["created"] == 5
    bare = {name: value for name, value in options.items() if not name.startswith("client_")}
    assert "set client_cert and client_key" in task.fails(destination=bare)["msg"]


def test_secrets_are_never_shown(task: Task) -> None:
    secret = "11111111-2222-3333-4444-555555555555"
    for options in ({"token": secret}, {"destination": {"url": task.two.url, "token": secret}}):
        with pytest.raises(ModuleFailed) as failure:
            run_module("consul_kv_replicate", **{**task.options, "prefixes": [{"source": "nothing/"}], **options})
        assert secret not in json.dumps(failure.value.result)


def test_the_debug_log_says_what_was_decided_and_done_and_no_value(
    task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="consulops")
    task.write(task.one, **numbered(3), password="hunter2")
    task.write(task.two, k000="edited")
    mappings = tuple(make_mappings([task.prefix], "owned"))
    request = ReplicationRequest(mappings, Policy("keep"), name=task.options["name"])
    source, destination = (Client(endpoint.resolve({"url": side.url}, {})) for side in (task.one, task.two))
    with source, destination:
        perform(source, destination, request, prepare(source, destination, request), 1.0)
    text = caplog.text
    for part in (f"planned {task.prefix}: ", "took the lock", "attempt 1 to write 3 keys", f"{task.prefix}: 3 created"):
        assert part in text
    assert "hunter2" not in text and "68756e746572" not in text and base64.b64encode(b"hunter2").decode() not in text
