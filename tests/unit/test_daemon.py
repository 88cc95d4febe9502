# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The daemon without Consul: status and its views, waiting, restarting jobs, the state directory, and notifications to systemd."""

from __future__ import annotations

import json
import re
import threading
import time
import typing as t
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, errors
from ansible_collections.consulops.failover.plugins.module_utils._daemon import job as job_module
from ansible_collections.consulops.failover.plugins.module_utils._daemon import systemd
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_type import Plan
from ansible_collections.consulops.failover.plugins.module_utils._daemon.job import Context, Job, Surroundings
from ansible_collections.consulops.failover.plugins.module_utils._daemon.lease import Pace
from ansible_collections.consulops.failover.plugins.module_utils._daemon.listen_config import AccessConfig
from ansible_collections.consulops.failover.plugins.module_utils._daemon.metrics import exposition, gauge
from ansible_collections.consulops.failover.plugins.module_utils._daemon.pages import page, with_templates
from ansible_collections.consulops.failover.plugins.module_utils._daemon.routes import Route, WebRequest, WebResponse
from ansible_collections.consulops.failover.plugins.module_utils._daemon.state_directory import StateDirectory
from ansible_collections.consulops.failover.plugins.module_utils._daemon.status import (
    PREFERRED,
    REQUIRED,
    AgentStatus,
    JobStatus,
    LeaseStatus,
    Sample,
)
from ansible_collections.consulops.failover.plugins.module_utils._daemon.status_board import StatusBoard
from ansible_collections.consulops.failover.plugins.module_utils._daemon.supervisor import Limits, Supervisor
from ansible_collections.consulops.failover.plugins.module_utils._daemon.web_app import (
    Application,
    Served,
    make_application,
    respond,
)

LIMITS = Limits(grace_s=5, cut_s=5, release_s=5)
PLAIN = {"consul": endpoint.resolve({}, {})}


def make_status(
    jobs: t.Sequence[JobStatus] = (JobStatus("work", state="running"),),
    leases: t.Sequence[LeaseStatus] = (),
    **more: t.Any,
) -> AgentStatus:
    return AgentStatus(
        **{"agent": "a", "name": "n", "node": "node", "started": 0.0, **more},
        jobs={job.name: job for job in jobs},
        leases={lease.name: lease for lease in leases},
    )


HOSTILE = make_status(
    [JobStatus('<b>"', state="running", problem="<i>no", numbers=(Sample("x y", 1.0, (("to", 'a"g\\e\nt<u>'),)),))],
    [LeaseStatus("lease", '<b>"', REQUIRED, "holder")],
    agent='a"g\\e\nnt',
    name="<script>alert(1)</script>",
    node="n&1",
    section={"<s>": {"<k>": "<v>"}},
)


def answer(path: str, status: AgentStatus) -> tuple[int, str]:
    response = respond(path, status)
    assert response is not None
    return response.status, response.text


def test_values_are_escaped_in_the_page_and_in_the_metrics() -> None:
    text = page(HOSTILE, now=100.0)
    for tag in ("<script>", "<i>", "<b>", "<u>", "<s>", "<k>", "<v>"):
        assert tag not in text
    assert "&lt;i&gt;no" in text and "&lt;v&gt;" in text
    for line in exposition(HOSTILE).splitlines():
        assert line.startswith("# ") or re.fullmatch(r'consulops_[a-z_]+\{(\w+="([^"\\]|\\.)*",?)+\} -?[0-9.e+]+', line)


def test_page_status_and_metrics_agree() -> None:
    job = JobStatus(
        "work", "lease", "running", cycles=3, failures=1, last_cycle_s=0.5, numbers=(Sample("entries", 7.0),)
    )
    shown = make_status([job], [LeaseStatus("lease", "key", REQUIRED, "holder", fence=9, terms=2)])
    document = json.loads(answer("/status", shown)[1])
    assert (document["cycles"], document["lease_terms"], document["last_cycle_seconds"]) == (3, 2, 0.5)
    assert (document["state"], document["jobs"]["work"]["failures"], document["numbers"]) == (
        "active",
        1,
        {"entries": 7},
    )
    samples = exposition(shown).splitlines()
    for name, label, value in (
        ("cycles_total", 'job="work"', 3.0),
        ("failures_total", 'job="work"', 1.0),
        ("last_cycle_seconds", 'job="work"', 0.5),
        ("entries", 'job="work"', 7.0),
        ("lease_terms_total", 'lease="lease"', 2.0),
        ("lease_fence", 'lease="lease"', 9.0),
        ("state", 'state="active"', 1.0),
    ):
        labels = ",".join(sorted(['agent="a"', 'name="n"', label]))
        assert f"consulops_{name}{{{labels}}} {value}" in samples, name
    text = page(shown)
    assert "<th scope=row>Cycles, failures<td>3, 1" in text and "held, fence 9" in text and "entries<td>7.0" in text


@pytest.mark.parametrize("problem", ["", "no leader"])
@pytest.mark.parametrize(("standing", "state"), [("holder", "active"), ("standby", "standby"), ("unknown", "starting")])
def test_with_a_required_lease_the_state_follows_the_lease(standing: t.Any, state: str, problem: str) -> None:
    lease = LeaseStatus("lease", "key", REQUIRED, standing, problem=problem)
    status = make_status(leases=[lease])
    expected = "failing" if problem and standing != "holder" else state
    assert status.state == expected
    code, text = answer("/readyz", status)
    assert (code == 200) is (expected in ("standby", "active") and not problem)
    assert text.startswith(expected) and problem in text
    assert json.loads(answer("/status", status)[1])["state"] == expected
    assert f'state="{expected}"}} 1.0' in answer("/metrics", status)[1]
    assert answer("/healthz", status) == (200, "alive\n"), "the process lives"


@pytest.mark.parametrize(("standing", "state"), [("holder", "active"), ("standby", "standby"), ("unknown", "active")])
def test_with_a_preferred_lease_an_agent_works_while_consul_cannot_tell(standing: t.Any, state: str) -> None:
    status = make_status(leases=[LeaseStatus("lease", "key", PREFERRED, standing)])
    assert status.state == state and status.is_primary is (standing == "holder")


def test_an_agent_without_a_lease_fails_only_when_all_its_jobs_do() -> None:
    good, bad = JobStatus("good", state="running"), JobStatus("bad", state="failing", problem="403")
    assert make_status([good]).state == "active" and make_status([good]).is_primary
    both = make_status([good, bad])
    assert (both.state, both.problem, both.healthy) == ("active", "bad: 403", False)
    assert make_status([bad]).state == "failing"
    assert make_status([good], is_stopping=True).state == "stopping"


def test_a_critical_problem_of_a_job_comes_first_and_makes_the_whole_critical() -> None:
    warned = JobStatus("a", state="running", problem="slow")
    critical = JobStatus("b", state="running", problem="no snapshot", is_critical=True)
    status = make_status([warned, critical])
    assert (status.state, status.is_critical, status.problem) == ("active", True, "b: no snapshot")
    assert not make_status([warned]).is_critical and make_status([JobStatus("c", state="failing")]).is_critical


def test_a_job_without_a_sign_of_life_fails_healthz() -> None:
    code, text = answer("/healthz", make_status(stalled=("work",)))
    assert (code, text) == (503, "no sign of life from work\n")


def test_only_new_states_and_problems_are_published_and_a_success_clears_the_problem() -> None:
    moments = iter(range(1000))
    published: list[str] = []
    board = StatusBoard(
        "a", "n", "node", lambda _old, new: published.append(new.sentence), lambda: float(next(moments))
    )
    lease = board.add_lease("lease", "key", REQUIRED)
    job = board.add_job("work", "lease")
    lease.succeeded(standing="standby")
    lease.succeeded(standing="standby")
    lease.count("terms", standing="holder", fence=7)
    job.count("cycles", state="running", summary="wrote 1", problem="", failures_in_row=0)
    job.failed("no leader")
    job.failed("no leader")
    assert board.current.failures_in_row == 2
    job.count("cycles", summary="wrote 2", problem="", failures_in_row=0)
    lease.failed("gone", standing="unknown", fence=0)
    lease.succeeded(standing="standby")
    assert published == ["standby", "active", "active: no leader", "active: wrote 2", "failing: gone", "standby"]
    current = board.current
    assert (current.failures, current.failures_in_row, current.cycles) == (3, 0, 2)
    assert current.main_lease is not None and (current.main_lease.terms, current.main_lease.fence) == (1, 0)


def test_reports_of_a_replaced_or_removed_job_are_ignored() -> None:
    board = StatusBoard("a", "n", "node", lambda _old, _new: None)
    old = board.add_lease("lease", "key", REQUIRED)
    old.count("terms", standing="holder", fence=7)
    new = board.add_lease("lease", "other", REQUIRED)
    lease = board.current.leases["lease"]
    assert (lease.fence, lease.terms, board.current.state) == (0, 1, "starting"), "the terms go on, the rest is cleared"
    new.count("terms", standing="holder", fence=9)
    for late in (lambda: old.failed("timed out", standing="unknown"), old.remove, lambda: old.report(fence=7)):
        late()
        lease = board.current.leases["lease"]
        assert (board.current.state, lease.fence, lease.problem) == ("active", 9, "")
    new.remove()
    new.report(fence=5)
    assert not board.current.leases


class Running:
    """A supervisor with jobs, without Consul."""

    def __init__(self, *jobs: Job) -> None:
        self.board = StatusBoard("a", "n", "node", lambda _old, _new: None)
        self.ended = threading.Event()
        self.supervisor = Supervisor(Pace(0.01, 0.02, 5), self.ended.set)
        self.surroundings = Surroundings("a", "n", "node", StateDirectory({}), self.board, PLAIN)
        self.apply(*jobs)

    def apply(self, *jobs: Job) -> None:
        self.supervisor.apply(self.surroundings, Plan(PLAIN, jobs), LIMITS)

    def wait(self, holds: t.Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.005)  # the board has no event


def working(context: Context) -> None:
    while not context.stopping.is_set():
        context.report("worked")
        context.pause(0.01)


def test_a_job_that_fails_is_run_again_and_leaves_the_others_alone() -> None:
    def failing(_context: Context) -> None:
        raise errors.PermissionDenied("403 Permission denied")

    running = Running(Job("good", working), Job("bad", failing))
    running.wait(lambda: running.board.current.jobs["bad"].failures >= 3)
    before = running.board.current.jobs["good"].cycles
    running.wait(lambda: running.board.current.jobs["good"].cycles > before + 3)
    current = running.board.current
    assert (current.jobs["good"].state, current.jobs["good"].problem) == ("running", "")
    assert (current.jobs["bad"].state, current.jobs["bad"].problem) == ("failing", "403 Permission denied")
    assert not running.supervisor.is_broken
    assert running.supervisor.stop(LIMITS) and not running.board.current.jobs


def test_a_job_that_returns_by_itself_is_a_failure_with_a_name() -> None:
    running = Running(Job("short", lambda _context: None))
    running.wait(lambda: running.board.current.jobs["short"].failures >= 2)
    assert running.board.current.problem == "The job short ended by itself."
    running.supervisor.stop(LIMITS)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_without_a_type_ends_the_supervisor() -> None:
    def wrong(_context: Context) -> None:
        raise KeyError("a bug")

    running = Running(Job("wrong", wrong))
    assert running.ended.wait(10)
    running.wait(lambda: running.supervisor.is_broken)


def test_a_new_plan_touches_only_what_it_changes() -> None:
    threads: dict[str, list[int]] = {}

    def noting(context: Context) -> None:
        threads.setdefault(threading.current_thread().name, []).append(threading.get_ident())
        working(context)

    running = Running(Job("kept", noting, settings=1), Job("changed", noting, settings=1), Job("gone", noting))
    running.wait(lambda: len(threads) == 3)
    cycles = running.board.current.jobs["kept"].cycles
    running.apply(Job("kept", noting, settings=1), Job("changed", noting, settings=2), Job("new", noting))
    running.wait(lambda: len(threads) == 4 and len(threads["job changed"]) == 2)
    assert len(threads["job kept"]) == 1 and len(threads["job gone"]) == 1
    assert set(running.board.current.jobs) == {"kept", "changed", "new"}
    assert running.board.current.jobs["kept"].cycles >= cycles
    running.supervisor.stop(LIMITS)


def test_a_job_that_gives_no_sign_of_life_is_named_and_one_that_waits_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd must not restart an agent whose interval is one hour, but must restart one that hangs."""
    monkeypatch.setattr(job_module, "HEARTBEAT_EVERY_S", 0.02)
    entered = threading.Event()

    def waiting(context: Context) -> None:
        context.pause(3600)

    def hanging(context: Context) -> None:
        entered.set()
        context.stopping.wait(3600)

    running = Running(Job("waits", waiting, heartbeat_limit_s=0.5), Job("hangs", hanging, heartbeat_limit_s=0.2))
    assert entered.wait(5)
    running.wait(lambda: running.supervisor.stalled() == ("hangs",))
    started = time.monotonic()
    running.supervisor.stop(LIMITS)
    assert time.monotonic() - started < 4, "a stop ends both at once"


def test_a_page_of_an_agent_has_the_frame_and_escapes_what_it_shows() -> None:
    templates = {"own": '{% extends "frame" %}{% block content %}<p>{{ text }}{% endblock %}'}
    text = with_templates(templates).get_template("own").render(status=HOSTILE, now=0.0, text="<i>")
    assert "<p>&lt;i&gt;" in text and "<script>" not in text and text.startswith("<!doctype html>")


def test_the_page_works_with_any_wall_clock() -> None:
    job = JobStatus("work", state="running", since=time.time(), last_success=time.time())
    for now in (-1e9, 0.0, time.time() + 1e9):
        assert page(make_status([job], since=time.time()), now=now)


def test_state_outlives_the_process_and_is_written_whole(tmp_path: Path) -> None:
    state = StateDirectory({"STATE_DIRECTORY": f"{tmp_path}:/elsewhere"})
    assert state.read("a.json") is None
    state.write("a.json", b"1")
    state.write("a.json", b"22")
    assert StateDirectory({"STATE_DIRECTORY": str(tmp_path)}).read("a.json") == b"22"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").stat().st_mode & 0o77 == 0
    with pytest.raises(errors.LocalFailure, match="set STATE_DIRECTORY"):
        StateDirectory({}).read("a.json")


def test_one_object_at_a_time_owns_a_state_directory(tmp_path: Path) -> None:
    environ = {"STATE_DIRECTORY": str(tmp_path)}
    first, second = StateDirectory(environ), StateDirectory(environ)
    assert first.try_to_own() and first.try_to_own() and not second.try_to_own()
    assert not StateDirectory({}).try_to_own()
    assert not StateDirectory({"STATE_DIRECTORY": str(tmp_path / "missing")}).try_to_own()


def test_a_notification_that_systemd_does_not_receive_is_not_an_error(tmp_path: Path) -> None:
    assert systemd.notify({}, READY="1")
    assert not systemd.notify({"NOTIFY_SOCKET": str(tmp_path / "gone")}, READY="1")
    assert systemd.watchdog_s({"WATCHDOG_USEC": "3000000"}) == 3.0
    assert systemd.watchdog_s({"WATCHDOG_USEC": "soon"}) is None


def test_an_agent_can_replace_the_page_and_add_metrics_and_headers() -> None:
    asked: list[WebRequest] = []

    def own(request: WebRequest) -> WebResponse:
        asked.append(request)
        return WebResponse(200, "text/plain", "own", {"Content-Security-Policy": "own"})

    served = Served(
        status=lambda: make_status([JobStatus("work")]),
        access=AccessConfig(),
        routes=(Route("GET", "/", own),),
        own_names=(),
        memory="memory",
        metrics=lambda memory: [gauge("own", "Of an agent.", [({"of": memory}, 1)])],
    )
    application = make_application(served)
    status, headers, text = call(application, "/", "a=%C3%A9")
    assert (status, headers["Content-Security-Policy"], text) == ("200 OK", "own", "own")
    assert asked[0].query == {"a": "\u00e9"} and asked[0].memory == "memory" and asked[0].status is served.status
    assert call(application, "/", "a=%ff")[0] == "400 Bad Request"
    assert "Job work" in call(application, "/status.html")[2]
    assert 'consulops_own{of="memory"} 1.0' in call(application, "/metrics")[2]


def call(application: Application, path: str, query: str = "") -> tuple[str, dict[str, str], str]:
    """Return status, headers and text of the answer of an application to a GET."""
    environ: dict[str, t.Any] = {"PATH_INFO": path, "QUERY_STRING": query, "HTTP_HOST": "localhost"}
    setup_testing_defaults(environ)
    started: list[t.Any] = []
    body = b"".join(application(environ, lambda *answer: started.append(answer)))
    return started[0][0], dict(started[0][1]), body.decode()
