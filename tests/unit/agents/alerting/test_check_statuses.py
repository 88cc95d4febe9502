# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The health paths of consul-alerts, decided from checks as Consul lists them."""

from __future__ import annotations

import threading
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import current_checks
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.check_statuses import (
    Blacklist,
    all_statuses,
    one_status,
    statuses,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.current_checks import (
    CurrentChecks,
    CurrentChecksReader,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.silences import Silences, make_silence
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.checks import Check, FailingChecks
from ansible_collections.consulops.failover.plugins.module_utils._consul.endpoint import Endpoint
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption

from .scenario import T0, config

WEB = Check("n1", "web-check", "web answers", "passing", "fine", "web", "web-1")
SERF = Check("n1", "serfHealth", "Serf Health Status", "critical", "Agent not live")
MAINTENANCE = Check("n1", "_service_maintenance:web-1", "Maintenance", "critical", "", "web", "web-1")


def blacklist(*silences: dict[str, t.Any], **options: t.Any) -> Blacklist:
    kept = Silences()
    for one in silences:
        kept.add(make_silence({"end": "2027-02-01T00:00:00Z", "author": "a", "reason": "r", **one}, T0))
    return Blacklist(config(**options).rules, kept, T0, FailingChecks(()))


def ask(
    *checks: Check, problem: str = "", heard: Blacklist | None = None, **query: str
) -> tuple[int, list[tuple[str, str]]]:
    found = statuses(CurrentChecks("dc1", checks, problem), "dc1")
    problems = {"dc1": problem} if problem else {}
    code, rows = all_statuses(found, query, problems, {"dc1": heard or blacklist()})
    return code, [(row["CheckID"], row["Status"]) for row in rows]


def with_status(status: str) -> Check:
    return Check("n1", "web-check", "web answers", status, "fine", "web", "web-1")


@pytest.mark.parametrize(
    ("status", "code"), [("passing", 200), ("warning", 503), ("critical", 503), ("something new", 503)]
)
def test_the_code_follows_the_status_and_what_is_not_known_is_not_ok(status: str, code: int) -> None:
    found = statuses(CurrentChecks("dc1", (with_status(status),)), "dc1")
    answer, text = one_status(found, {"node": "n1", "service": "web-1", "check": "web-check"}, [])
    assert answer == code and text.splitlines()[1] == "output: fine"
    assert text.startswith(f"status: {status if status != 'something new' else 'unknown'}\n")


def test_a_check_of_a_node_that_is_down_is_unknown_although_it_says_passing() -> None:
    found = statuses(CurrentChecks("dc1", (WEB, SERF)), "dc1")
    code, text = one_status(found, {"node": "n1", "service": "web-1", "check": "web-check"}, [])
    assert code == 503 and text.startswith("status: unknown\noutput: The node n1 is down.")
    assert ask(WEB, SERF, service="web", alwaysOk="1") == (503, [("web-check", "unknown")])


def test_a_check_that_is_not_registered_is_not_found_unless_it_may_be_hidden() -> None:
    query = {"node": "n1", "check": "other"}
    found = statuses(CurrentChecks("dc1", (WEB,)), "dc1")
    assert one_status(found, query, []) == (404, "status: unknown\n")
    assert one_status(found, query, ["no answer"]) == (503, "status: unknown\noutput: no answer\n")
    with pytest.raises(InvalidOption, match="Give node and check"):
        one_status(found, {"node": "n1"}, [])


def test_credentials_in_an_output_are_not_repeated() -> None:
    check = Check("n1", "c", "c", "critical", "GET http://user:pass@web/ failed")
    assert "pass" not in str(statuses(CurrentChecks("dc1", (check,)), "dc1")[0].output)


def test_several_statuses_are_all_counted() -> None:
    checks = [Check("n1", status, status, status, "") for status in ("passing", "warning", "critical")]
    assert ask(*checks, status="warning,critical") == (503, [("warning", "warning"), ("critical", "critical")])
    assert ask(*checks, status="passing") == (200, [("passing", "passing")])
    assert ask(*checks, status="warning", alwaysOk="true")[0] == 200
    with pytest.raises(InvalidOption, match="there is no status 'green'"):
        ask(*checks, status="green")


def test_names_select_and_ids_do_not() -> None:
    assert ask(WEB, service="web", check="web answers", node="n1") == (200, [("web-check", "passing")])
    assert ask(WEB, service="web-1") == (200, []) and ask(WEB, check="web-check") == (200, [])


def test_what_could_not_be_read_is_an_entry_that_is_unknown() -> None:
    assert ask(WEB, problem="no answer", alwaysOk="1") == (503, [("web-check", "passing"), ("", "unknown")])


@pytest.mark.parametrize(
    "heard",
    [
        blacklist(match=[{"node": "other"}]),
        blacklist(ignore=[{"service": "web"}]),
        blacklist(rules=[{"rule": "check_status", "enabled": False}]),
        blacklist(rules=[{"rule": "check_status", "severities": {"critical": "none"}}]),
        blacklist({"match": {"service": "web"}}),
    ],
)
def test_what_nobody_is_told_of_is_left_out_unless_asked_for(heard: Blacklist) -> None:
    critical = with_status("critical")
    assert ask(critical, heard=heard) == (200, [])
    assert ask(critical, heard=heard, ignoreBlacklist="1") == (503, [("web-check", "critical")])
    assert ask(critical) == (503, [("web-check", "critical")])


def test_what_is_in_maintenance_is_left_out_unless_asked_for() -> None:
    assert ask(with_status("critical"), MAINTENANCE) == (200, [])
    assert len(ask(with_status("critical"), MAINTENANCE, ignoreBlacklist="1")[1]) == 2


def test_an_answer_is_shared_by_all_who_ask_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(source: str, _endpoint: Endpoint) -> CurrentChecks:
        asked.append(source)
        return CurrentChecks(source, (WEB,))

    monkeypatch.setattr(current_checks, "_request", answer)
    reader = CurrentChecksReader({"dc1": Endpoint("http://a", "http://a"), "dc2": Endpoint("http://b", "http://b")})
    assert [one.source for one in reader.read(reader.sources) + reader.read(reader.sources)] == ["dc1", "dc2"] * 2
    assert asked == ["dc1", "dc2"]
    monkeypatch.setattr(current_checks, "SHARED_S", -1.0)
    reader.read(["dc1"])
    assert asked == ["dc1", "dc2", "dc1"]


def test_while_consul_does_not_answer_one_request_waits_for_it_and_the_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, goes_on = threading.Event(), threading.Event()

    def hang(source: str, _endpoint: Endpoint) -> CurrentChecks:
        waits.set()
        assert goes_on.wait(10)
        return CurrentChecks(source, (WEB,))

    monkeypatch.setattr(current_checks, "SHARED_S", -1.0)
    monkeypatch.setattr(current_checks, "_request", lambda source, _endpoint: CurrentChecks(source, problem="refused"))
    reader = CurrentChecksReader({"dc1": Endpoint("http://a", "http://a")})
    reader.read(["dc1"])
    monkeypatch.setattr(current_checks, "_request", hang)
    first: list[CurrentChecks] = []
    thread = threading.Thread(target=lambda: first.extend(reader.read(["dc1"])))
    thread.start()
    assert waits.wait(10)
    assert [one.problem for one in reader.read(["dc1"])] == ["refused"]
    goes_on.set()
    thread.join(10)
    assert first[0].checks == (WEB,)
