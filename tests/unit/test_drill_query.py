# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What clients of a drill got from a prepared query, judged from events; and which hosts have its instances."""

from __future__ import annotations

import random
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import GuardRefused, InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_definition import (
    DrillDefinition,
    Expectations,
    FaultStep,
    Objective,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.expectation_outcome import (
    MET,
    MISSED,
    UNKNOWN,
    Outcome,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.expectations import expected
from ansible_collections.consulops.failover.plugins.module_utils._drill.fault_targets import (
    Server,
    choose_targets,
    unavailable,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.history import NS, Event, Header, History
from ansible_collections.consulops.failover.plugins.module_utils._drill.query_outcomes import QueryJudge
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_definition import definition_of
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_parts import check_parts
from hypothesis import given
from hypothesis import strategies as st

TEN = Objective(10, scaled=False)
HERE, THERE = "dc1", "dc2"


def event(name: str, at_s: float, **fields: t.Any) -> Event:
    return Event(0, name, int(at_s * NS), fields)


def answered(at_s: float, datacenter: str) -> Event:
    return event("query_answered", at_s, datacenter=datacenter)


def unanswered(at_s: float, since_s: float) -> Event:
    return event("query_unanswered", at_s, since=int(since_s * NS))


def judge(*events: Event, until_s: float | None = 60) -> QueryJudge:
    started = event("query_started", 0, datacenter=HERE)
    ended = [] if until_s is None else [event("query_ended", until_s)]
    return QueryJudge(History(Header("drill", (), "default"), (), (started, answered(0.1, HERE), *events, *ended)))


def fault(begin_s: float = 10, end_s: float = 40) -> tuple[Event, Event]:
    return event("fault_started", begin_s), event("fault_ended", end_s)


def verdicts(found: QueryJudge, limit_s: float = 10) -> tuple[tuple[str, t.Any], ...]:
    outcomes = found.answers(TEN, limit_s), found.moves(TEN, limit_s), found.returns(TEN, limit_s)
    return tuple((one.verdict, one.measured) for one in outcomes)


def test_a_query_that_moves_and_returns_in_time_is_met() -> None:
    begun, healed = fault()
    found = judge(begun, unanswered(13, 12), answered(15, THERE), healed, answered(44, HERE))
    assert verdicts(found) == ((MET, 3.0), (MET, 5.0), (MET, 4.0))
    assert found.moves(TEN, 10).sentence == (
        "Another datacenter answered the query 5.00 s after the fault; the objective is 10 s."
    )


def test_what_takes_longer_is_missed() -> None:
    begun, healed = fault()
    found = judge(begun, unanswered(13, 12), answered(15, THERE), healed, answered(44, HERE))
    assert verdicts(found, 2) == ((MISSED, 3.0), (MISSED, 5.0), (MISSED, 4.0))


def test_a_query_that_never_moves_is_missed_and_has_nothing_to_return_from() -> None:
    found = judge(*fault())
    assert verdicts(found) == ((MET, 0.0), (MISSED, 30.0), (MET, 0.0))
    assert "Another datacenter did not answer the query in the 30.00 s" in found.moves(TEN, 10).sentence


def test_a_fault_that_was_shorter_than_the_objective_proves_nothing() -> None:
    assert judge(*fault(10, 15)).moves(TEN, 10).verdict == UNKNOWN


def test_an_answer_of_another_datacenter_after_the_healing_is_no_move() -> None:
    begun, healed = fault(10, 40)
    assert judge(begun, healed, answered(41, THERE)).moves(TEN, 10).verdict == MISSED


def test_one_that_never_returns_is_missed_and_one_that_was_not_waited_for_is_unknown() -> None:
    begun, healed = fault()
    gone = (begun, answered(15, THERE), healed)
    assert verdicts(judge(*gone, until_s=55))[2] == (MISSED, 15.0)
    assert verdicts(judge(*gone, until_s=45))[2][0] == UNKNOWN


def test_a_drill_that_was_cut_off_knows_only_what_was_missed_already() -> None:
    begun, healed = fault()
    found = judge(begun, unanswered(13, 12), healed, until_s=None)
    assert found.answers(TEN, 10).verdict == MISSED
    assert judge(begun, answered(15, THERE), until_s=None).answers(TEN, 10).verdict == UNKNOWN


def test_without_a_watch_a_fault_or_the_multiplier_nothing_is_known() -> None:
    nothing = QueryJudge(History(Header("drill", (), "default"), ()))
    assert {one for one, _measured in verdicts(nothing)} == {UNKNOWN}
    unknown: list[Outcome] = [judge().moves(TEN, 10), judge().returns(TEN, 10), judge().answers(TEN, None)]
    assert [one.verdict for one in unknown] == [UNKNOWN] * 3


@given(st.lists(st.sampled_from([HERE, THERE, ""]), min_size=1, max_size=30))
def test_the_longest_gap_is_that_of_the_seconds_without_an_answer(seconds: list[str]) -> None:
    changes = []
    before: str | None = None
    for at_s, now in enumerate(seconds, 1):
        if now != before:
            changes.append(answered(at_s, now) if now else unanswered(at_s, at_s))
        before = now
    runs = "".join("x" if now else "-" for now in seconds).split("x")
    measured = judge(*changes, until_s=len(seconds) + 1).answers(TEN, 10).measured
    assert measured == max(map(len, runs))


# -------------------------------------------------------------------------------------------------------------------

SERVERS = [Server(f"h{number}", f"n{number}", f"10.0.0.{number}") for number in (1, 2, 3)]
CLIENT = Server("c1", "web1", "")
STEP = FaultStep(1, 5, "killed", "instances", "", {})


def test_instances_are_the_hosts_that_have_them_servers_or_not() -> None:
    targets = choose_targets(STEP, [*SERVERS, CLIENT], None, random.Random(1), {"n2", "web1"})
    assert [target.server.host for target in targets] == ["h2", "c1"]
    assert unavailable(targets, SERVERS) == 1


@pytest.mark.parametrize(("nodes", "words"), [({"n1", "elsewhere"}, "also on elsewhere"), (set(), "is nobody")])
def test_instances_elsewhere_or_nowhere_are_refused(nodes: set[str], words: str) -> None:
    with pytest.raises(GuardRefused, match=words):
        choose_targets(STEP, SERVERS, SERVERS[0], random.Random(1), nodes)


def test_a_drill_about_a_query_needs_its_name() -> None:
    options = dict.fromkeys(("alert_listen", "replica", "query", "snapshot_path"))
    definitions = [
        DrillDefinition("d", "t", (STEP,), Expectations()),
        DrillDefinition("d", "t", (), Expectations(query_answers=TEN)),
    ]
    for definition in definitions:
        with pytest.raises(InvalidOption, match="it needs query, the name of one that fails over"):
            check_parts(options, definition)
        check_parts({**options, "query": "web"}, definition)


def test_what_is_measured_at_faults_needs_one() -> None:
    given_drill = {"name": "d", "title": "t", "expect": {"query_moves": "10s"}}
    with pytest.raises(InvalidOption, match="expect.query_moves: it is measured at faults"):
        definition_of(given_drill, 1)


def test_what_is_expected_of_a_query_is_said() -> None:
    expect = Expectations(query_answers=TEN, query_moves=TEN, query_returns=Objective(3, scaled=True))
    said = expected(expect, 5)
    assert "another datacenter answers the prepared query at most 10 s after the first fault began" in said
    assert "the own datacenter answers it again at most 15 s after the last healing" in said
