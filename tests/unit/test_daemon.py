# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The daemon without Consul: status, what its endpoint shows, sleeping, and notifications to systemd."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._daemon import agent_config, run_loop, systemd
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_type import CycleResult
from ansible_collections.consulops.failover.plugins.module_utils._daemon.http_endpoint import respond
from ansible_collections.consulops.failover.plugins.module_utils._daemon.metrics import exposition
from ansible_collections.consulops.failover.plugins.module_utils._daemon.status import AgentStatus, StatusTracker
from ansible_collections.consulops.failover.plugins.module_utils._daemon.status_page import page

HOSTILE = AgentStatus(
    'a"g\\e\nnt', "<script>alert(1)</script>", "n&1", started=0.0, state="active", lease_key='<b>"', problem="<i>no"
)


def test_values_are_escaped_in_the_page_and_in_the_metrics() -> None:
    text = page(HOSTILE, now=100.0)
    assert "<script>" not in text and "<i>no" not in text and "<b>" not in text and "&lt;i&gt;no" in text
    for line in exposition(HOSTILE).splitlines():
        assert line.startswith("# ") or re.fullmatch(r'consulops_[a-z_]+\{(\w+="([^"\\]|\\.)*",?)+\} -?[0-9.e+]+', line)


def test_status_and_metrics_use_the_same_names_for_cycles_and_lease_terms() -> None:
    counted = replace(HOSTILE, agent="a", name="n", cycles=3, lease_terms=2, last_cycle_s=0.5)
    shown = json.loads(respond("/status", counted)[2])
    assert (shown["cycles"], shown["lease_terms"], shown["last_cycle_seconds"]) == (3, 2, 0.5)
    samples = exposition(counted).splitlines()
    for sample in ("cycles_total{} 3", "lease_terms_total{} 2", "last_cycle_seconds{} 0.5"):
        assert "consulops_" + sample.replace("{}", '{agent="a",name="n"}') in samples
    assert "<th scope=row>Cycles, failures<td>3, 0" in page(counted)


@pytest.mark.parametrize("state", ["starting", "standby", "active", "failing", "stopping"])
@pytest.mark.parametrize("problem", ["", "no leader"])
def test_health_follows_the_state_and_the_problem(state: str, problem: str) -> None:
    agent_status = replace(HOSTILE, state=state, problem=problem)
    status, _type, text = respond("/healthz", agent_status)
    assert (status == 200) is (state in ("standby", "active") and not problem)
    assert text.startswith(state) and problem in text
    assert json.loads(respond("/status", agent_status)[2])["state"] == state
    assert f'state="{state}"}} 1' in respond("/metrics", agent_status)[2]


def test_only_new_states_and_problems_are_published_and_a_success_clears_the_problem() -> None:
    moments = iter(range(1000))
    published: list[str] = []
    tracker = StatusTracker("a", "n", "node", lambda new: published.append(new.sentence), lambda: float(next(moments)))
    reporter = tracker.configured("a", "n", "key")
    reporter.standby()
    reporter.standby()
    reporter.active(7, "s")
    reporter.cycle_succeeded(CycleResult(1.0, "wrote 1", {"entries": 1}), 0.1, 5.0)
    reporter.failed("no leader", holding=True)
    reporter.failed("no leader", holding=True)
    reporter.cycle_succeeded(CycleResult(1.0, "wrote 2", {"entries": 2}), 0.1, 6.0)
    reporter.failed("gone", holding=False)
    reporter.standby()
    assert published == ["standby", "active", "active: no leader", "active: wrote 2", "failing: gone", "standby"]
    current = tracker.current
    assert (current.failures, current.failures_in_row, current.cycles, current.lease_terms, current.fence) == (
        3,
        0,
        2,
        1,
        0,
    )


def test_reports_of_a_replaced_run_loop_are_ignored() -> None:
    tracker = StatusTracker("a", "n", "node", lambda _status: None)
    old = tracker.configured("a", "n", "key")
    old.active(7, "s")
    new = tracker.configured("a", "n", "other")
    assert (tracker.current.state, tracker.current.fence) == ("starting", 0), (
        "the report of the old run loop is cleared"
    )
    new.active(9, "t")
    for late in (lambda: old.failed("timed out", holding=False), old.standby, lambda: old.active(7, "s")):
        late()
        assert (tracker.current.state, tracker.current.fence, tracker.current.problem) == ("active", 9, "")
    new.failed("no leader", holding=False)
    new.cycle_succeeded(CycleResult(1.0, "", {}), 0.1, 1.0)
    assert tracker.current.state == "active", "a successful cycle means active"


def test_sleeping_on_schedule_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd must not restart an agent whose interval is one hour."""
    monkeypatch.setattr(run_loop, "HEARTBEAT_S", 0.01)
    loop = run_loop.RunLoop(
        agent_config.make_config({"agent": "demonstration"}, {}),
        StatusTracker("a", "n", "node", lambda _status: None),
    )
    before = loop.last_heartbeat
    loop._sleep(0.1)
    assert loop.last_heartbeat - before >= 0.09
    loop._wake.set()
    started = time.monotonic()
    loop._sleep(60)
    assert time.monotonic() - started < 5, "waking it ends the sleep at once"


def test_the_page_works_with_any_wall_clock() -> None:
    for now in (-1e9, 0.0, time.time() + 1e9):
        assert page(replace(HOSTILE, since=time.time(), last_success=time.time()), now=now)


def test_a_notification_that_systemd_does_not_receive_is_not_an_error(tmp_path: Path) -> None:
    assert systemd.notify({}, READY="1")
    assert not systemd.notify({"NOTIFY_SOCKET": str(tmp_path / "gone")}, READY="1")
    assert systemd.watchdog_s({"WATCHDOG_USEC": "3000000"}) == 3.0
    assert systemd.watchdog_s({"WATCHDOG_USEC": "soon"}) is None
