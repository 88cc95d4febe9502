# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshot wing's decisions: names, freshness, guards, the cross-check, units."""

from __future__ import annotations

import io
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import units
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption, LocalFailure
from ansible_collections.consulops.failover.plugins.module_utils._consul.files import PrivateFile
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import guard, manifest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.catalogue import Entry
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.crosscheck import Count, judge
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.manifest import Manifest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.survey import Survey, Table, survey
from hypothesis import given
from hypothesis import strategies as st

from tests.lab import craft


def surveyed(*found: tuple[int, bytes]) -> Survey:
    return survey(io.BytesIO(craft.snapshot(*found)), "x", as_of=0)


def manifest_of(found: Survey, **changed: t.Any) -> Manifest:
    made = manifest.of_survey(found, time=1795378925.9, node="n1", stale=False, size=10, sha256="ab")
    return replace(made, datacenter="dc1", **changed)


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = manifest_of(surveyed(craft.key("a"), *craft.node("n")), missing=("KVS: 2 live, 1 in the snapshot",))
    path = manifest.manifest_path(tmp_path / "one.snap")
    path.write_bytes(made.as_bytes())
    assert path.name == "one.snap.json"
    assert manifest.load(path) == replace(made, time=1795378925.0)
    assert manifest.load(tmp_path / "none.json") is None
    with pytest.raises(LocalFailure, match="newer version of this collection"):
        path.write_text('{"format": 2}', encoding="utf-8")
        manifest.load(path)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (guard.DEFAULT_NAME, "consul-dc1-20261122T202205Z-10.snap"),
        ("{node}-{term}.snap", "n1-2.snap"),
        ("fixed.snap", "fixed.snap"),
    ],
)
def test_names_are_made_of_the_snapshot(pattern: str, name: str) -> None:
    guard.check_name(pattern)
    assert guard.file_name(pattern, manifest_of(surveyed(craft.key("a")))) == name


def test_a_hostile_datacenter_name_cannot_leave_the_directory() -> None:
    made = replace(manifest_of(surveyed(craft.key("a"))), datacenter="../../etc/cron.d/x")
    assert "/" not in guard.file_name("{datacenter}.snap", made)


@pytest.mark.parametrize(
    "pattern", ["{colour}.snap", "a/b.snap", "x.tgz", "{", ".hidden.snap", "{0}.snap", "{time.year}.snap"]
)
def test_a_bad_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidOption, match="name "):
        guard.check_name(pattern)


def entry_of(made: Manifest, intact: bool | None = True) -> Entry:
    return Entry(Path("/x.snap"), made.time, 10, made, intact, "")


def test_only_a_young_intact_snapshot_of_the_datacenter_is_fresh() -> None:
    made = manifest_of(surveyed(craft.key("a")))
    now = made.time + 100
    assert guard.is_fresh(entry_of(made), "dc1", 100, now, accept_missing=False)
    assert not guard.is_fresh(entry_of(made), "dc1", 99, now, accept_missing=False)
    assert not guard.is_fresh(entry_of(made), "dc2", 100, now, accept_missing=False)
    assert not guard.is_fresh(entry_of(made, False), "dc1", 100, now, accept_missing=False)
    assert not guard.is_fresh(entry_of(made, None), "dc1", 100, now, accept_missing=False)
    assert not guard.is_fresh(entry_of(made), "dc1", 100, made.time - 3600, accept_missing=False)
    lacking = replace(made, missing=("x",))
    assert guard.is_fresh(entry_of(lacking), "dc1", 100, now, accept_missing=True)
    assert not guard.is_fresh(entry_of(lacking), "dc1", 100, now, accept_missing=False)


def rows(**counts: int) -> list[Table]:
    return [Table(name, 0, count, count, name != "Session") for name, count in counts.items()]


def test_the_shrink_guard_looks_at_durable_tables_that_were_not_small() -> None:
    assert guard.shrunk(rows(KVS=100), rows(KVS=80), 20) == ()
    assert guard.shrunk(rows(KVS=100), rows(KVS=79), 20) == ("KVS went from 100 to 79 records (-21 %)",)
    assert guard.shrunk(rows(KVS=100), [], 20) == ("KVS went from 100 to 0 records (-100 %)",)
    assert guard.shrunk(rows(KVS=100), [], 100) == ()
    assert guard.shrunk(rows(Session=100, ACLRole=19), [], 20) == ()


def test_the_cross_check_claims_a_loss_only_where_it_can_prove_one() -> None:
    found = surveyed(craft.key("a"), craft.key("b"), *craft.node("n"))
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
        "nodes: the token sees 0 of 1",
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
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
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
