# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of the snapshot agent: what is drawn where, and what it says with no, one and a thousand snapshots."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.page import page
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.policy_status import (
    DestinationStatus,
    PolicyStatus,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.rehearsal_status import (
    RehearsalStatus,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.timeline import (
    PLOT_HEIGHT,
    WIDTH,
    SnapshotPoint,
    timeline,
)
from ansible_collections.consulops.failover.plugins.module_utils._consul.snapshot_waiting import (
    WaitingFor,
    WaitingSnapshots,
)
from ansible_collections.consulops.failover.plugins.module_utils._daemon.status import AgentStatus, JobStatus
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.kv_growth import FolderGrowth
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stored_snapshots import StoredSnapshot
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.snapshot_files import manifest_of

NOW = 1_800_000_000.0
HOUR_S = 3600.0
POINTS = st.lists(
    st.builds(SnapshotPoint, st.floats(NOW - 1e9, NOW + 1e6), st.integers(0, 10**10), st.booleans()), max_size=30
)


def numbers(path: str) -> list[tuple[float, float]]:
    """Return the places that a path goes to."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([-0-9.e+]+) ([-0-9.e+]+)", path)]


def a_policy(count: int, **changes: t.Any) -> PolicyStatus:
    snapshots = tuple(
        StoredSnapshot(f"{number}.snap", NOW - number * HOUR_S - 60, None, manifest_of(b"x" * (1000 + number)), "")
        for number in range(count)
    )
    place = DestinationStatus(
        "offsite", "s3://backups/dc1/", count, 1000 * count, None, 0, 0, 0, 0.0, "", True, "", snapshots
    )
    values: dict[str, t.Any] = {
        "name": "hourly",
        "datacenter": "dc1",
        "placement": "one",
        "objective_s": 2 * HOUR_S,
        "newest": NOW - 60 if count else None,
        "newest_size": 1000,
        "newest_index": 7,
        "records": {"KVS": 1200},
        "seconds": {"stream": 1.5},
        "next_slot": NOW + 600,
        "next_at": NOW + 600,
        "missed": 0,
        "doubled": 0,
        "given_up": 0,
        "failures_in_row": 0,
        "attempt_problem": "",
        "warnings": (),
        "destinations": (place,),
    }
    return PolicyStatus(**{**values, **changes})


def shown(*policies: PolicyStatus, waiting: t.Mapping[str, WaitingSnapshots] | None = None) -> str:
    status = AgentStatus("snapshot", "snapshot", "host-1", NOW, jobs={"policy hourly": JobStatus("policy hourly")})
    return page(status, policies, waiting or {}, NOW)


@given(st.dictionaries(st.sampled_from(["a", "b"]), POINTS, max_size=2))
def test_everything_is_drawn_inside_and_the_newest_is_furthest_right(places: dict[str, list[SnapshotPoint]]) -> None:
    drawn = timeline(places, NOW)
    for usable, lost in drawn.rows.values():
        assert all(0 <= x <= WIDTH for x, _y in numbers(usable + lost))
    line = numbers(drawn.sizes)
    assert all(0 <= x <= WIDTH and 0 <= y <= PLOT_HEIGHT for x, y in line) and line == sorted(
        line, key=lambda at: at[0]
    )
    percents = [tick.percent for tick in drawn.ticks]
    assert percents == sorted(percents, reverse=True) and all(0 < percent < 100 for percent in percents)


def test_hours_and_years_are_both_seen() -> None:
    ages_s = [HOUR_S, 2 * HOUR_S, 24 * HOUR_S, 30 * 24 * HOUR_S, 3 * 365 * 24 * HOUR_S]
    drawn = timeline({"a": [SnapshotPoint(NOW - age_s, 1, True) for age_s in ages_s]}, NOW)
    places = [x for x, _y in numbers(drawn.rows["a"][0])]
    assert all(later - earlier > 20 for earlier, later in zip(places, places[1:]))
    assert {"6h", "1w", "1y"} & {tick.label for tick in drawn.ticks}


def test_a_damaged_snapshot_is_drawn_apart() -> None:
    drawn = timeline({"a": [SnapshotPoint(NOW, 1, True), SnapshotPoint(NOW - 60, 1, False)]}, NOW)
    usable, lost = drawn.rows["a"]
    assert usable == f"M{WIDTH} 2V18" and lost.count("M") == 1


def test_a_snapshot_is_drawn_with_its_stored_size_and_one_without_a_manifest_as_unusable() -> None:
    (place,) = a_policy(1).destinations
    lost = StoredSnapshot("lost.snap", NOW, None, None, "its manifest is missing")
    drawn = replace(place, snapshots=(lost, *place.snapshots)).points
    assert drawn == (SnapshotPoint(NOW, 0, False), SnapshotPoint(NOW - 60, 1000, True))


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_the_page_has_every_snapshot_and_stays_small(count: int) -> None:
    text = shown(a_policy(count))
    assert len(text) < 40_000 and "<script" not in text
    assert f"{count:,} snapshot" in text and (">critical<" in text) is (count == 0)
    assert "&gt;" not in text.partition("</style>")[0], "the style is not escaped"


def test_the_page_says_what_is_wrong_and_what_grows_and_escapes_it() -> None:
    folders = (FolderGrowth("<app>/", 10, 2048, 1024), FolderGrowth("gone/", 0, 0, -10))
    text = shown(a_policy(3, attempt_problem="no <leader>", missed=2, folders=folders))
    assert "no &lt;leader&gt;" in text and "<dt>Missed<dd>2" in text and ">warning<" in text
    assert "<td>&lt;app&gt;/<td>10<td>2.0 KB<td>+1.0 KB" in text and "<td>-10 B" in text


def test_an_instance_without_a_policy_says_so() -> None:
    assert "this instance works for no policy" in shown()


def test_the_last_rehearsal_is_shown() -> None:
    fresh = RehearsalStatus(NOW - 2 * HOUR_S, objective_s=HOUR_S / 2)
    restored = fresh.succeeded("a.snap", None, NOW - HOUR_S, 3.0, 1.0)
    for rehearsal, sentence in (
        (restored, "restored 1h ago, overdue"),
        (replace(restored, is_ok=False, objective_s=2 * HOUR_S), "FAILED 1h ago"),
        (fresh, "never, overdue"),
        (replace(fresh, since=NOW), "none yet"),
    ):
        assert f"<dt>Last rehearsal<dd>{sentence}<" in shown(replace(a_policy(1), rehearsal=rehearsal))


def test_what_waits_without_the_lease_is_shown_with_its_reason() -> None:
    held = WaitingSnapshots(
        3, 900, NOW - HOUR_S, {"offsite": WaitingFor(3, "The store is <away>."), "disk": WaitingFor(0)}
    )
    text = shown(waiting={"hourly": held})
    assert "3 snapshots wait for offsite, the oldest taken 1h ago" in text and "without the lease on host-1" in text
    assert "offsite: The store is &lt;away&gt;" in text and "works for no policy" not in text
