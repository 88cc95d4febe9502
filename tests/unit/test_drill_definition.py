# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The definitions of drills: those of the catalogue, and what is wrong with others."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._drill.time_window import TimeWindow
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_definition import definition_of
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.consul import ROOT

CATALOGUE = sorted((ROOT / "roles/consul_drill/files/drills").glob("*.yml"))
STEP = {"at": "1s", "for": "5s", "fault": "killed", "targets": "leader"}


@pytest.mark.parametrize("multiplier", [1, 5])
def test_every_drill_of_the_catalogue_is_a_definition_of_its_name(multiplier: int) -> None:
    assert len(CATALOGUE) > 10
    for path in CATALOGUE:
        definition, _load = definition_of(yaml.safe_load(path.read_text(encoding="utf-8")), multiplier, "/srv/consul")
        assert definition.name == path.stem and definition.title


def test_times_and_objectives_grow_with_the_multiplier() -> None:
    given_: dict[str, t.Any] = {"name": "d", "title": "D", "faults": [{**STEP, "for": "6s * raft_multiplier"}]}
    given_["expect"] = {"gap_at_fault": "5s*raft_multiplier", "healthy_after": "10s"}
    definition, _load = definition_of(given_, 5)
    assert definition.end_s == 31
    gap, healthy = definition.expect.gap_at_fault, definition.expect.healthy_after
    assert gap is not None and healthy is not None
    assert (gap.limit_s(5), healthy.limit_s(5)) == (25, 10)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fualts": []}, "drill.fualts: unknown option. Did you mean faults?"),
        ({"faults": [{**STEP, "targets": "leadr"}]}, "drill.faults[0].targets: 'leadr' is not one of leader, follower"),
        ({"faults": [{**STEP, "targets": "server:0"}]}, "drill.faults[0].targets: 'server:0' is not one of"),
        ({"faults": [{**STEP, "targets": "host:"}]}, "drill.faults[0].targets: 'host:' is not one of"),
        ({"faults": [{**STEP, "fault": "kiled"}]}, "drill.faults[0].fault: 'kiled' is not one of"),
        ({"faults": [{**STEP, "shape": "ring"}]}, "drill.faults[0].shape: only servers that are isolated"),
        ({"faults": [{**STEP, "fault": "isolated", "shape": "ring"}]}, "the shape ring needs all servers"),
        ({"faults": [{**STEP, "for": "5s * raft"}]}, "drill.faults[0].for: '5s * raft' is not a duration"),
        ({"faults": [{**STEP, "for": "2h"}]}, "drill.faults[0].for: 2h must be from 1 s to 3600 s"),
        ({"faults": [{**STEP, "at": "-1s"}]}, "drill.faults[0].at: '-1s' is not a duration"),
        ({"faults": [STEP, {**STEP, "at": "3s"}]}, "drill.faults[1].at: the fault before ends at 6 s"),
        ({"faults": [STEP] * 21}, "drill.faults: 21 of them"),
        ({"faults": {"at": "1s"}}, "drill.faults: expected a list, not an object"),
        ({"expect": {"gap": "1s"}}, "drill.expect.gap: unknown option"),
        ({"expect": {"gap_at_fault": "soon"}}, "drill.expect.gap_at_fault: 'soon' is not a duration"),
        ({"expect": {"leader": "new"}}, "drill.expect.leader: 'new' is not one of stays, changes"),
        ({"faults": [{**STEP, "fault": "disk_full"}]}, "drill.faults[0].path: the fault disk_full needs it"),
        ({"load": {"rat": 1}}, "drill.load.rat: unknown option"),
        ({"name": "../d"}, "drill.name: '../d' is not a name"),
        ({"name": None}, "drill.name: this option is required"),
    ],
)
def test_what_is_wrong_is_said_with_the_path_of_the_key(change: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(InvalidOption) as error:
        definition_of({"name": "d", "title": "D", **change}, 1)
    assert str(error.value).startswith(sentence) or sentence in str(error.value), str(error.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    )
)
def test_anything_else_is_refused_with_a_sentence(given_: t.Any) -> None:
    with pytest.raises(InvalidOption):
        definition_of(given_, 1)


@pytest.mark.parametrize(
    ("window", "hour", "minute", "inside"),
    [
        ("22:00-05:30", 23, 0, True),
        ("22:00-05:30", 5, 30, False),
        ("22:00 - 05:30", 5, 29, True),
        ("08:00-09:00", 9, 0, False),
        ("00:00-00:00", 12, 0, True),
    ],
)
def test_a_window_may_go_over_midnight(window: str, hour: int, minute: int, inside: bool) -> None:
    assert TimeWindow.parse(window).contains(1795824000 + 3600 * hour + 60 * minute) is inside


@pytest.mark.parametrize("text", ["", "22:00", "24:00-01:00", "22:00-23:60", "22-23"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="for example 22:00-05:30"):
        TimeWindow.parse(text)
