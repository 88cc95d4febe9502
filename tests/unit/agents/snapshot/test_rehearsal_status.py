# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the snapshot agent knows of rehearsals: what is overdue, what is a problem, and what outlives the process."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.rehearsal_status import (
    RehearsalStatus,
    parse,
)
from ansible_collections.consulops.failover.plugins.module_utils._consul.snapshot_status import parse_rehearsal
from hypothesis import example, given
from hypothesis import strategies as st

START, OBJECTIVE_S = 1_780_000_000.0, 3600.0
FRESH = RehearsalStatus(START, OBJECTIVE_S)
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)
)


def test_without_a_rehearsal_nothing_is_wrong_until_the_objective_is_over() -> None:
    assert FRESH.problem(START + OBJECTIVE_S) == ""
    assert FRESH.problem(START + OBJECTIVE_S + 1) == "there was no rehearsal, and the objective is 1h"


def test_a_rehearsal_that_could_not_be_done_is_a_problem_and_what_was_known_stays() -> None:
    good = FRESH.succeeded("a.snap", 5, START, 3.0, 0.5)
    tried = good.not_done("the store is away")
    assert tried.is_ok is True and tried.at == START
    assert tried.problem(START + 1) == "a rehearsal could not be done: the store is away"
    assert "the last rehearsal is 2h old, and the objective is 1h" in tried.problem(START + 2 * OBJECTIVE_S)
    assert good.problem(START + 1) == "" and "restores, in 0.5 s" in good.summary()


def test_a_snapshot_that_does_not_restore_stays_the_problem_until_one_restores() -> None:
    failed = FRESH.failed("a.snap", 5, START, 3.0, "it panics")
    assert failed.problem(START) == "the last rehearsal failed: it panics"
    assert failed.not_done("the store is away") == failed
    assert failed.succeeded("b.snap", 6, START + 9, 3.0, 0.5).problem(START + 9) == ""


def test_what_is_published_is_what_the_rule_reads() -> None:
    failed, good = FRESH.failed("a", 1, START, 2.0, "why"), FRESH.succeeded("a", 1, START, 2.0, 1.0)
    for status, is_ok in ((FRESH, None), (failed, False), (good, True)):
        found = parse_rehearsal(status.as_json(START))
        assert (found.is_ok, found.at, found.error) == (is_ok, status.at, status.error) and not found.is_overdue


def test_what_is_kept_comes_back_with_the_objective_of_today() -> None:
    kept = FRESH.succeeded("a.snap", 5, START, 3.0, 0.5)
    assert parse(kept.as_bytes(), OBJECTIVE_S, START + 1) == kept
    assert parse(kept.as_bytes(), 60.0, START + 1).objective_s == 60.0
    assert parse(None, OBJECTIVE_S, START) == FRESH
    assert parse(kept.as_bytes(), OBJECTIVE_S, START - 1) == RehearsalStatus(START - 1, OBJECTIVE_S), "dated ahead"


@example(changes={"at": 6.8e16})  # far beyond the year 9999
@example(changes={"good_at": "", "since": False})
@given(changes=st.dictionaries(st.sampled_from([*json.loads(FRESH.as_bytes()), "unknown"]), VALUES))
def test_a_file_that_holds_anything_else_is_begun_anew(changes: dict[str, t.Any]) -> None:
    content = json.dumps({**json.loads(FRESH.as_bytes()), **changes}).encode()
    found = parse(content, OBJECTIVE_S, START + 1)
    found.as_json(START + 1)
    assert isinstance(found.problem(START + 1), str) and isinstance(found.summary(), str)
