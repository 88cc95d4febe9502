# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decisions about snapshots and restores: names, freshness, guards, the cross-check, units."""

from __future__ import annotations

import io
import json
import os
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import units
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption, LocalFailure
from ansible_collections.consulops.failover.plugins.module_utils._consul.kv import Entry
from ansible_collections.consulops.failover.plugins.module_utils._consul.private_file import PrivateFile
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import (
    manifest,
    prefix_plan,
    restore_plan,
    save_guards,
    snapshot_directory,
    version_rules,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.crosscheck import Count, judge
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.manifest import Manifest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.summary import Summary, summarize
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.tables import Table
from hypothesis import given
from hypothesis import strategies as st

from tests.lab import craft


def summary(*found: tuple[int, bytes]) -> Summary:
    return summarize(io.BytesIO(craft.snapshot(*found)), "x", as_of=0)


def manifest_of(found: Summary, **changed: t.Any) -> Manifest:
    made = manifest.of_summary(found, time=1795378925.9, node="n1", stale=False, size=10, sha256="ab")
    return replace(made, datacenter="dc1", **changed)


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = manifest_of(summary(craft.key("a"), *craft.node("n")), missing=("KVS: 2 live, 1 in the snapshot",))
    path = manifest.manifest_path(tmp_path / "one.snap")
    path.write_bytes(made.as_bytes())
    assert path.name == "one.snap.json"
    assert manifest.load(path) == replace(made, time=1795378925.0)
    assert manifest.load(tmp_path / "none.json") is None
    with pytest.raises(LocalFailure, match="newer version of this collection"):
        path.write_text('{"format": 3}', encoding="utf-8")
        manifest.load(path)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (save_guards.DEFAULT_NAME, "consul-dc1-20261122T202205Z-10.snap"),
        ("{node}-{term}.snap", "n1-2.snap"),
        ("fixed.snap", "fixed.snap"),
    ],
)
def test_names_are_made_of_the_snapshot(pattern: str, name: str) -> None:
    save_guards.check_name(pattern)
    assert save_guards.file_name(pattern, manifest_of(summary(craft.key("a")))) == name


def test_a_hostile_datacenter_name_cannot_leave_the_directory() -> None:
    made = replace(manifest_of(summary(craft.key("a"))), datacenter="../../etc/cron.d/x")
    assert "/" not in save_guards.file_name("{datacenter}.snap", made)


@pytest.mark.parametrize(
    "pattern",
    [
        "{colour}.snap",
        "a/b.snap",
        "x.tgz",
        "{",
        ".hidden.snap",
        "{0}.snap",
        "{time.year}.snap",
        "{index:08d}.snap",
        "{datacenter!r}.snap",
        "{index:{x}}.snap",
        "a\0b.snap",
    ],
)
def test_a_bad_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidOption, match="name "):
        save_guards.check_name(pattern)


def entry_of(made: Manifest, intact: bool | None = True) -> snapshot_directory.SnapshotEntry:
    return snapshot_directory.SnapshotEntry(Path("/x.snap"), made.time, 10, made, intact, "")


def test_only_a_young_intact_snapshot_of_the_datacenter_is_fresh() -> None:
    made = manifest_of(summary(craft.key("a")), cross_checked=True)
    now = made.time + 100
    assert save_guards.is_fresh(entry_of(made), "dc1", 100, now, accept_missing=False)
    assert not save_guards.is_fresh(entry_of(made), "dc1", 99, now, accept_missing=False)
    assert not save_guards.is_fresh(entry_of(made), "dc2", 100, now, accept_missing=False)
    assert not save_guards.is_fresh(entry_of(made, False), "dc1", 100, now, accept_missing=False)
    assert not save_guards.is_fresh(entry_of(made, None), "dc1", 100, now, accept_missing=False)
    assert not save_guards.is_fresh(entry_of(made), "dc1", 100, made.time - 3600, accept_missing=False)
    assert not save_guards.is_fresh(entry_of(replace(made, cross_checked=False)), "dc1", 100, now, accept_missing=False)
    assert save_guards.is_fresh(entry_of(replace(made, cross_checked=False)), "dc1", 100, now, accept_missing=True)
    lacking = replace(made, missing=("x",))
    assert save_guards.is_fresh(entry_of(lacking), "dc1", 100, now, accept_missing=True)
    assert not save_guards.is_fresh(entry_of(lacking), "dc1", 100, now, accept_missing=False)


def rows(**counts: int) -> list[Table]:
    return [Table(name, 0, count, count, name != "Session") for name, count in counts.items()]


def test_the_shrink_guard_covers_durable_tables_that_were_not_small() -> None:
    assert save_guards.shrunk(rows(KVS=100), rows(KVS=80), 20) == ()
    assert save_guards.shrunk(rows(KVS=100), rows(KVS=79), 20) == ("KVS went from 100 to 79 records (-21 %)",)
    assert save_guards.shrunk(rows(KVS=100), [], 20) == ("KVS went from 100 to 0 records (-100 %)",)
    assert save_guards.shrunk(rows(KVS=100), [], 100) == ()
    assert save_guards.shrunk(rows(Session=100, ACLRole=19), [], 20) == ()


def test_the_cross_check_claims_a_loss_only_where_it_can_prove_one() -> None:
    found = summary(craft.key("a"), craft.key("b"), *craft.node("n"))
    verdict = judge(
        found,
        {
            "KVS": Count(2, index=10),
            "ACLAuthMethod": Count(4, index=10),
            "ACLToken": Count(9, index=11),
            "Session": Count(None, why="denied"),
            "nodes": Count(0, index=3),
            "services": Count(1, index=3),
            "config entry mesh": Count(1, index=3),
        },
    )
    assert verdict.missing == (
        "ACLAuthMethod: 4 live, 0 in the snapshot",
        "config entry mesh: 1 live, 0 in the snapshot",
    )
    assert verdict.unchecked == (
        "ACLToken: written to after the snapshot was taken",
        "Session: denied",
        "nodes: the live API shows 0 of 1; may the token read them all?",
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1w", 604800),
        ("250ms", 0.25),
        ("1.5h", 5400),
    ],
)
def test_durations_are_parsed_in_all_units(text: str, seconds: float) -> None:
    assert units.parse_duration(text, "max_age") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5x", "h", "-5", "1h-5m", "5 m"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="is not a duration"):
        units.parse_duration(text, "max_age")


@given(st.integers(0, 10**15))
def test_sizes_and_ages_are_short(number: int) -> None:
    assert len(units.human_bytes(number)) <= 12
    assert 0 < len(units.human_age(number)) <= 18


def test_a_file_that_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), PrivateFile(tmp_path) as part:
        part.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with PrivateFile(tmp_path) as part:
        part.write(b"whole")
        part.commit(tmp_path / "done")
    assert [path.name for path in tmp_path.iterdir()] == ["done"]
    assert (tmp_path / "done").read_bytes() == b"whole"


HOSTILE_MANIFESTS = [
    {"tables": [{"count": "x"}]},
    {"tables": [{"name": "KVS", "type": 2, "count": 1, "bytes": 1, "durable": True}]},
    {"tables": 5},
    {"index": float("inf")},
    {"time": "9999-12-31T23:59:59-23:00"},
    {"time": 5},
    {"format": "1"},
    {"servers": None},
]


@pytest.mark.parametrize("change", HOSTILE_MANIFESTS, ids=str)
def test_an_edited_manifest_is_a_problem_and_never_a_traceback(tmp_path: Path, change: dict[str, t.Any]) -> None:
    snapshot = craft.write(tmp_path / "one.snap", craft.key("a"))
    values = {**manifest_of(summary(craft.key("a"))).as_dict(), **change}
    manifest.manifest_path(snapshot).write_text(json.dumps(values), encoding="utf-8")
    assert "is not a snapshot manifest" in snapshot_directory.entry(snapshot, verify=True).problem


def test_a_deeply_nested_manifest_is_a_problem(tmp_path: Path) -> None:
    snapshot = craft.write(tmp_path / "one.snap", craft.key("a"))
    manifest.manifest_path(snapshot).write_text("[" * 100_000, encoding="utf-8")
    assert "is not a snapshot manifest" in snapshot_directory.entry(snapshot).problem


def test_an_unreadable_file_is_a_problem_of_that_file_only(tmp_path: Path) -> None:
    good = craft.write(tmp_path / "good.snap", craft.key("a"))
    (tmp_path / "loop.snap").symlink_to(tmp_path / "loop.snap")
    found = {entry.path.name: entry for entry in snapshot_directory.list_directory(tmp_path, verify=True)}
    assert found["good.snap"].size == good.stat().st_size
    assert found["loop.snap"].problem


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    target = tmp_path / "a.snap"
    assert save_guards.free_name(target) == target
    target.touch()
    (tmp_path / "a-2.snap.json").touch()
    assert save_guards.free_name(target) == tmp_path / "a-3.snap"


def test_a_destination_that_would_be_destroyed_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "c.snap.json").mkdir()
    for path, words in (
        (tmp_path / "pipe", "neither a file nor a directory"),
        (tmp_path / "c.snap", "is a directory, and the manifest"),
        (tmp_path / ("x" * 250 + ".snap"), "is too long"),
        ("a\0b", "NUL"),
    ):
        with pytest.raises(InvalidOption, match=words):
            save_guards.destination(str(path))


# ------------------------------------------------------------------------------------------------------- restores


def facts(**changed: t.Any) -> restore_plan.RestoreFacts:
    made: dict[str, t.Any] = {
        "file": summary(craft.key("a"), *craft.node("n")),
        "file_sha256": "s",
        "datacenter": "dc1",
        "attempted": None,
        "live": replace(summary(craft.key("b"), *craft.node("n")), consul_versions=("1.8.7",)),
        "receipt": None,
        "token_in_file": None,
        "refused_kinds": (),
        "free_bytes": 100,
        "needed_bytes": 10,
    }
    return restore_plan.RestoreFacts(**{**made, **changed})


def test_what_another_version_made_of_the_snapshot_is_not_restored() -> None:
    migrated = restore_plan.decide(facts(is_migrated=True), force=True, accept=())
    assert migrated.action == "unchanged" and "another version" in migrated.reason


def of_versions(file: tuple[str, ...], live: tuple[str, ...], agent: str | None = None) -> restore_plan.RestoreFacts:
    base = facts()
    return replace(
        base,
        file=replace(base.file, consul_versions=file),
        live=replace(base.live, consul_versions=live),
        agent_version=agent,
    )


def test_a_snapshot_of_a_newer_version_than_the_servers_warns() -> None:
    warnings = restore_plan.downgrade_warnings(of_versions(("1.16.4",), ("1.8.7", "1.16.4")))
    assert "1.16 and the servers run 1.8" in warnings[0]
    assert restore_plan.downgrade_warnings(of_versions(("1.8.7",), ("1.23.0",))) == ()
    assert restore_plan.downgrade_warnings(of_versions((), ("1.23.0",))) == ()


def test_a_snapshot_of_a_newer_version_than_the_agent_that_answers_warns() -> None:
    for live in (("1.16.4",), ()):
        [warning] = restore_plan.downgrade_warnings(of_versions(("1.16.4",), live, "1.8.7"))
        assert "1.16 and the agent that answers runs 1.8" in warning
    [warning] = restore_plan.downgrade_warnings(of_versions(("1.16.4",), ("1.8.7",), "1.16.4"))
    assert "the servers run 1.8" in warning


@pytest.mark.parametrize(
    ("live", "agent", "refused"),
    [
        # Servers of 1.23 after a restore of 1.8.7, and the reverse.
        (("1.8.7",), "1.23.0", {"incomplete_records", "unknown_types"}),
        (("1.23.0",), "1.8.7", {"incomplete_records", "unknown_types"}),
        (("1.8.7",), None, {"unknown_types"}),
        (("1.8.7",), "1.8.7", {"unknown_types"}),
        ((), "1.23.0", {"incomplete_records", "unknown_types"}),  # the servers may be older than the agent
        (("1.23.0",), None, {"incomplete_records"}),
    ],
)
def test_the_version_of_the_agent_that_answers_counts_beside_the_catalogs(
    live: tuple[str, ...], agent: str | None, refused: set[str]
) -> None:
    no_accessor = craft.record(17, {"SecretID": "s", "AccessorID": ""})
    metadata = craft.record(31, {"Key": "k", "Value": "v"})  # since 1.9
    found = set()
    for record in (no_accessor, metadata):
        file = replace(summary(record, *craft.node("n")), datacenter="dc1")
        decided = restore_plan.decide(replace(of_versions((), live, agent), file=file), force=True, accept=())
        found |= {refusal.override for refusal in decided.refusals}
    assert found == refused


def test_equal_contents_are_not_restored_even_with_force() -> None:
    same = facts(live=facts().file)
    assert restore_plan.decide(same, force=True, accept=()).action == "unchanged"


def test_a_receipt_of_this_snapshot_means_drift_and_of_another_nothing() -> None:
    def receipt(sha256: str) -> restore_plan.Receipt:
        return restore_plan.Receipt("d", sha256, "2026-11-22T00:00:00Z", 7)

    mine = facts(receipt=receipt("s"))
    assert restore_plan.decide(mine, force=False, accept=()).action == "drifted"
    assert restore_plan.decide(mine, force=True, accept=()).action == "restore"
    assert restore_plan.decide(facts(receipt=receipt("other")), force=False, accept=()).action == "restore"
    assert restore_plan.read_receipt(receipt("s").as_bytes()) == receipt("s")
    assert restore_plan.read_receipt(b"\xff{") is None and restore_plan.read_receipt(b"[]") is None


REFUSED: dict[str, dict[str, t.Any]] = {
    "unknown_types": {"extra": craft.record(65, {})},
    "incomplete_records": {"extra": craft.record(19, {"Name": "a policy without ID"})},
    "unknown_kinds": {"refused_kinds": ("api-gateway",)},
    "other_datacenter": {"datacenter": "dc9"},
    "attempted_before": {"attempted": "2026-11-22T00:00:00Z"},
    "lost_token": {"token_in_file": False},
    "low_disk": {"free_bytes": 9},
}


@given(reasons=st.sets(st.sampled_from(sorted(REFUSED))), accepted=st.sets(st.sampled_from(sorted(REFUSED))))
def test_every_refusal_is_independent_and_accepted_by_its_name(reasons: set[str], accepted: set[str]) -> None:
    extra = [REFUSED[reason]["extra"] for reason in sorted(reasons) if "extra" in REFUSED[reason]]
    changed = {name: value for reason in reasons for name, value in REFUSED[reason].items() if name != "extra"}
    found = facts(file=summary(craft.key("a"), *extra, *craft.node("n")), **changed)
    decision = restore_plan.decide(found, force=False, accept=accepted)
    assert {refusal.override for refusal in decision.refusals} == reasons - accepted
    assert decision.action == ("refused" if reasons - accepted else "restore")


@pytest.mark.parametrize(
    ("types", "version", "unknown"),
    [
        ([0, 2, 17, 22, 30], (1, 8), ()),
        ([31], (1, 8), (31,)),
        ([31], (1, 9), ()),
        ([42], (1, 15), (42,)),
        ([65, 69], (1, 22), (65, 69)),
        ([4], (1, 8), ()),
        ([4, 11], (1, 14), ()),
        ([4, 11], (1, 15), (4, 11)),
        ([4], (1, 20), (4,)),
        ([2, 31], None, (31,)),
        ([1, 8], (1, 22), (1, 8)),
    ],
)
def test_types_are_known_by_version(
    types: list[int], version: tuple[int, int] | None, unknown: tuple[int, ...]
) -> None:
    assert version_rules.unknown_types(types, version) == unknown


def test_a_record_is_refused_only_by_servers_that_cannot_load_it() -> None:
    token = craft.record(17, {"SecretID": "s", "AccessorID": ""})
    file = summary(craft.key("a"), token, *craft.node("n"))
    for versions, action in (
        (("1.8.7",), "restore"),
        (("1.14.0", "1.8.7"), "restore"),
        (("1.15.0",), "refused"),
        (("1.14.0", "1.15.0"), "refused"),
        (("1.24.0",), "refused"),
        ((), "refused"),
    ):
        found = facts(file=file, live=replace(summary(craft.key("b")), consul_versions=versions))
        decision = restore_plan.decide(found, force=True, accept=())
        assert decision.action == action, versions
    assert decision.refusals[0].override == "incomplete_records"
    assert "ACLToken, record 2 (#" in decision.reason and "no AccessorID" in decision.reason


def test_the_oldest_server_decides() -> None:
    assert version_rules.oldest_version(["1.10.3", "1.9.1+ent"]) == (1, 9)
    assert version_rules.oldest_version([]) is None and version_rules.oldest_version(["1.9.0", "?"]) is None


keys_and_values = st.dictionaries(
    st.text("ab/é", min_size=1, max_size=6), st.tuples(st.binary(max_size=4), st.integers(0, 3))
)


@given(wanted=keys_and_values, live=keys_and_values, prune=st.booleans())
def test_a_partial_restore_makes_the_live_keys_what_the_snapshot_holds(
    wanted: dict[str, tuple[bytes, int]], live: dict[str, tuple[bytes, int]], prune: bool
) -> None:
    contents = prefix_plan.Contents({key.encode(): content for key, content in wanted.items()})
    entries = [Entry(key, value, flags, 7) for key, (value, flags) in live.items()]
    plan = prefix_plan.plan("", contents, entries, {}, prefix_plan.PrefixOptions(prune=prune))
    after = dict(live)
    for change in plan.changes:
        operation = change.operation
        assert operation.index == (7 if change.key in live else 0)
        if change.change == "deleted":
            del after[change.key]
        else:
            after[change.key] = (operation.value, operation.flags)
    assert after == (wanted if prune else {**live, **wanted})
    assert plan.unchanged == sum(live.get(key) == content for key, content in wanted.items())
    deletes = [change.change == "deleted" for change in plan.changes]
    assert deletes == sorted(deletes)
