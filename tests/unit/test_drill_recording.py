# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recording a drill, without Consul: schedules, outcomes, times, and the file of the history."""

from __future__ import annotations

import itertools
import json
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_guards import check_confirmed
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_plan import DrillPlan
from ansible_collections.consulops.failover.plugins.module_utils._drill.history import NS
from ansible_collections.consulops.failover.plugins.module_utils._drill.history_writer import HistoryWriter
from ansible_collections.consulops.failover.plugins.module_utils._drill.measurements import Measurements, percentiles
from ansible_collections.consulops.failover.plugins.module_utils._drill.outcome import NotAttempted, outcome_of
from hypothesis import given
from hypothesis import strategies as st

GOOD: dict[str, t.Any] = {
    "workloads": ("register", "set", "lock"),
    "consistency": "default",
    "duration_s": 30.0,
    "clients": 6,
    "rate": 60.0,
    "keys": 20,
    "gaps": "exponential",
    "seed": 7,
    "prefix": "consulops/drill/",
}


def plan(**changes: t.Any) -> DrillPlan:
    return DrillPlan(**{**GOOD, **changes})


def starts(of: DrillPlan, client: int, until_s: float) -> list[int]:
    return list(itertools.takewhile(lambda start: start < until_s * NS, of.intended_starts(client)))


# ---------------------------------------------------------------------------------------------------------------
# Schedules


def test_fixed_gaps_spread_the_clients_evenly() -> None:
    one = plan(gaps="fixed", clients=4, rate=8.0)
    together = sorted(start for client in range(4) for start in starts(one, client, 10))
    assert together == [int(number * NS / 8) for number in range(80)]


def test_a_seed_gives_the_same_schedule_again_and_another_seed_another() -> None:
    assert starts(plan(), 1, 30) == starts(plan(), 1, 30)
    assert starts(plan(), 1, 30) != starts(plan(seed=8), 1, 30)
    assert starts(plan(), 1, 30) != starts(plan(), 2, 30)


@given(seed=st.integers(0, 1 << 31), rate=st.floats(20, 2000))
def test_random_gaps_keep_the_rate_and_never_go_back(seed: int, rate: float) -> None:
    one = plan(seed=seed, rate=rate, clients=3, duration_s=10.0)
    found = [starts(one, client, 1000 / rate) for client in range(3)]
    assert all(times == sorted(times) and times[0] >= 0 for times in found)
    assert 800 < sum(map(len, found)) < 1200  # of 1,000: more than six standard deviations


def test_operations_that_were_not_started_in_time_are_counted() -> None:
    one = plan(gaps="fixed", clients=3, rate=3.0)
    assert one.unsent(0, sent=10, until_ns=10 * NS) == 0
    assert one.unsent(0, sent=4, until_ns=10 * NS) == 6
    assert one.unsent(2, sent=0, until_ns=NS // 3) == 0


def test_clients_take_turns_with_the_workloads() -> None:
    assert [plan().workload_of(client) for client in range(4)] == ["register", "set", "lock", "register"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workloads": ("register", "bank")}, "workload 'bank' is unknown: choose from register, set, lock."),
        ({"workloads": ("set", "set")}, "workload 'set,set': name each one once"),
        ({"clients": 2}, "clients is 2: it must be between 3 and 100"),
        ({"clients": 101}, "clients is 101: it must be between 3 and 100"),
        ({"rate": 5000.0}, "rate is 5000: it must be between 0.1 and 2,000"),
        ({"rate": float("nan")}, "rate is nan: it must be between"),
        ({"rate": 0.0}, "rate is 0: it must be between"),
        ({"duration_s": 0.5}, "duration is 0.5: it must be between 1 and 86,400, seconds."),
        ({"duration_s": 86400.0}, "rate 60 for a duration of 86400 s makes 5,184,000 operations"),
        ({"keys": 0}, "keys is 0: it must be between 1 and 10,000."),
        ({"prefix": ""}, "prefix '' is not a folder of keys"),
        ({"prefix": "app"}, "prefix 'app' is not a folder of keys"),
        ({"prefix": "/app/"}, "prefix '/app/' is not a folder of keys"),
        ({"prefix": "a/../"}, "prefix 'a/../' is not a folder of keys"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes: dict[str, t.Any], words: str) -> None:
    with pytest.raises(errors.InvalidOption) as refused:
        plan(**changes)
    assert words in str(refused.value)


@pytest.mark.parametrize(("confirm", "words"), [(None, "say so with --confirm dc1"), ("dc2", "names 'dc2', and")])
def test_a_drill_must_be_confirmed_with_the_name_of_its_datacenter(confirm: str | None, words: str) -> None:
    with pytest.raises(errors.GuardRefused) as refused:
        check_confirmed(confirm, "dc1")
    assert words in str(refused.value)
    check_confirmed("dc1", "dc1")


# ---------------------------------------------------------------------------------------------------------------
# Outcomes


def unsent() -> errors.Unreachable:
    error = errors.Unreachable("refused")
    error.was_sent = False
    return error


@pytest.mark.parametrize(
    ("error", "of_a_write"),
    [
        (errors.TimedOut("no answer"), "info"),
        (errors.Unreachable("reset"), "info"),
        (unsent(), "fail"),
        (errors.NoLeader("500"), "info"),
        (errors.ServerFailed("500"), "info"),
        (errors.InvalidResponse("a page"), "info"),
        (errors.Aborted("cut"), "info"),
        (errors.Conflict("index is stale"), "fail"),
        (errors.PermissionDenied("403"), "fail"),
        (errors.TooManyRequests("429"), "fail"),
        (errors.RequestTooLarge("413"), "fail"),
        (errors.TokenUnavailable("no file"), "fail"),
        (NotAttempted("no session"), "fail"),
    ],
)
def test_only_what_certainly_did_not_happen_has_failed(error: errors.Error, of_a_write: str) -> None:
    assert outcome_of(error, is_read=False) == of_a_write
    assert outcome_of(error, is_read=True) == "fail"


# ---------------------------------------------------------------------------------------------------------------
# Times


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_percentiles_are_times_that_so_many_are_not_above(times_ns: list[int]) -> None:
    found = percentiles(times_ns)
    assert found.p50 is not None and found.p99 is not None and found.max == round(max(times_ns) / 1e6, 3)
    for value, share in ((found.p50, 0.5), (found.p99, 0.99)):
        assert sum(round(one / 1e6, 3) <= value for one in times_ns) >= share * len(times_ns)
    assert found.p50 <= found.p99 <= found.max


def test_latency_counts_from_the_intended_start_and_only_successes_have_one() -> None:
    measured = Measurements()
    assert measured.latency().p50 is None
    measured.add("set", "ok", intended_ns=0, started_ns=2_000_000, ended_ns=5_000_000)
    measured.add("set", "info", intended_ns=0, started_ns=4_000_000, ended_ns=9_000_000)
    measured.add("lock", "fail", intended_ns=0, started_ns=0, ended_ns=0)
    assert (measured.latency().max, measured.lateness().max) == (5.0, 4.0)
    assert (
        measured.counts().all,
        measured.counts("set").ok,
        measured.counts("set").unknown,
        measured.counts("lock").failed,
    ) == (
        *(3, 1),
        *(1, 1),
    )


# ---------------------------------------------------------------------------------------------------------------
# The file


def test_lines_of_several_threads_are_whole_and_in_the_order_of_their_times(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with HistoryWriter(str(path)) as history:
        history.header({"drill": "baseline"})

        def write(process: int) -> None:
            for _number in range(200):
                history.append("invoke", {"process": process, "error": "ü" * process})

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    header, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert header == {"type": "header", "format": 1, "drill": "baseline"} and len(lines) == 1600
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_history_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("of an earlier drill\n", encoding="utf-8")
    with pytest.raises(errors.InvalidOption, match="has something in it"):
        HistoryWriter(str(path))
    assert path.read_text(encoding="utf-8") == "of an earlier drill\n"
    with pytest.raises(errors.LocalFailure, match="creating the history"):
        HistoryWriter(str(tmp_path / "no" / "directory"))


def test_a_full_disk_fails_every_line_from_then_on() -> None:
    with HistoryWriter("/dev/full") as history:
        for _attempt in range(2):
            with pytest.raises(errors.LocalFailure, match="No space left on device. The drill was ended"):
                history.event("progress")
