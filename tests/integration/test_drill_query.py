# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A prepared query that a drill looks up while its service fails over between two real datacenters."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import GuardRefused
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_definition import (
    DrillDefinition,
    Expectations,
    FaultStep,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_guards import drill_nodes
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_query import instances_of_query

from tests.lab.consul import Lab, eventually
from tests.lab.drilling import events, running_drill, verdicts
from tests.lab.replicating import client_of
from tests.lab.service_estate import Estate, failing_over_services, set_check

DRILL: dict[str, t.Any] = {
    "name": "looked-up",
    "title": "A prepared query is looked up",
    "load": {"duration": "100s", "rate": 20},
    "expect": {"query_answers": "10s"},
}
STRIKES = DrillDefinition("d", "t", (FaultStep(1, 5, "killed", "instances", "", {}),), Expectations())


@pytest.fixture(scope="module")
def estate(own_lab: Lab) -> Estate:
    return failing_over_services(own_lab)


def answers(file: Path) -> list[str]:
    return [line["datacenter"] for line in events(file, "query_answered")]


def options(estate: Estate, file: Path, query: str) -> dict[str, t.Any]:
    return {"url": estate.dc1.url, "confirm": "dc1", "history": str(file), "drill": DRILL, "query": query}


def test_who_answers_is_recorded_and_for_how_long_nobody_did(estate: Estate, tmp_path: Path) -> None:
    file = tmp_path / "h.jsonl"
    with running_drill(options(estate, file, "web")) as found:
        eventually(lambda: answers(file) == ["dc1"], 30, "the own datacenter answers")
        set_check(estate.instance, "critical")
        eventually(lambda: answers(file) == ["dc1", "dc2"], 30, "the other one answers")
        set_check(estate.far, "critical")
        eventually(lambda: events(file, "query_unanswered"), 30, "nobody answers")
        set_check(estate.far, "passing")
        set_check(estate.instance, "passing")
        eventually(lambda: answers(file)[-1] == "dc1" and len(answers(file)) > 2, 30, "the own one answers again")
    # It was ended early, so a longer time could have followed.
    assert verdicts(found[0])["query_answers"] == "unknown"
    (gap,) = events(file, "query_unanswered")
    assert "query web has no healthy instance" in gap["problem"] and gap["since"] <= gap["time"]
    assert events(file, "query_started")[0]["datacenter"] == "dc1" and not events(file, "query_ended")


def test_a_query_that_is_not_there_is_never_answered(estate: Estate, tmp_path: Path) -> None:
    file = tmp_path / "h.jsonl"
    short = {**DRILL, "load": {"duration": "2s", "rate": 20}, "expect": {"query_answers": "1s"}}
    with running_drill({**options(estate, file, "wbe"), "drill": short}) as found:
        eventually(lambda: events(file, "query_ended"), 60, "the drill ends")
        eventually(lambda: found, 60, "it is judged")
    assert verdicts(found[0])["query_answers"] == "missed" and answers(file) == []


def test_instances_are_those_of_the_own_datacenter(estate: Estate) -> None:
    with client_of(estate.dc1) as client:
        nodes, datacenter = drill_nodes([client])
        assert instances_of_query(nodes, STRIKES, "web", datacenter) == {"Instance"}
        with pytest.raises(GuardRefused, match="there is no prepared query wbe; no fault was made"):
            instances_of_query(nodes, STRIKES, "wbe", datacenter)
        set_check(estate.instance, "critical")
        try:
            eventually(lambda: refusal(client, datacenter) == "web answers from dc2", 30, "it is refused")
        finally:
            set_check(estate.instance, "passing")


def refusal(client: Client, datacenter: str) -> str:
    nodes, _name = drill_nodes([client])
    try:
        instances_of_query(nodes, STRIKES, "web", datacenter)
    except GuardRefused as refused:
        return str(refused).partition(": ")[2].partition(",")[0]
    return ""
