# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the alerting agent serves, as a real process beside a real Consul: alerts, silences, receivers, the page, metrics, health paths."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import requests

from tests.lab.agents import AgentProcess
from tests.lab.alerting import Instances, alerts, register_check, set_check, wait_for_alerts
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.http_service import HttpService

TOKEN = "0123456789abcdef0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
Answer = dict[str, t.Any]


class Served:
    """An agent with a token, the webhook that it tells everything, and its datacenter."""

    def __init__(self, instances: Instances, datacenter: Datacenter, directory: Path) -> None:
        self.instances, self.datacenter, self.hook = instances, datacenter, instances.hook
        self._token = directory / "token"
        self._token.write_text(TOKEN, encoding="ascii")
        self.agent = self.start()

    def start(self) -> AgentProcess:
        receivers = {
            "hook": {"type": "webhook", "url": f"{self.hook.url}/alerts", "timeout": "2s"},
            "metrics": {"type": "prometheus"},
        }
        everything = {"group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
        route = {
            "receiver": "hook",
            **everything,
            "routes": [
                {"receiver": "metrics", "continue": True, "match": {"rule": "re:."}},
                {"receiver": "hook", "match": {"rule": "re:."}},
            ],
        }
        return self.instances.start(
            self.datacenter,
            name="served",
            service={"register": False},
            endpoint={"token_file": str(self._token)},
            options={
                "receivers": receivers,
                "route": route,
                "rules": [{"rule": "check_status", "ignore": [{"service": "unheard"}]}],
            },
        )

    def get(self, path: str, **query: str) -> requests.Response:
        return requests.get(f"{self.agent.url}{path}", params=query, timeout=10)

    def read(self, path: str, **query: str) -> Answer:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return t.cast("Answer", answer.json())

    def alert(self, service: str) -> Answer | None:
        return next((one for one in self.read("/alerts")["alerts"] if one["service"] == service), None)

    def wait_for(self, service: str, state: str = "firing") -> Answer:
        def in_state() -> Answer | None:
            found = self.alert(service)
            return found if found is not None and found["state"] == state else None

        return t.cast("Answer", eventually(in_state, what=f"{service} is {state}"))

    def silences(self, agent: AgentProcess | None = None) -> dict[str, Answer]:
        url = (agent or self.agent).url
        return {one["id"]: one for one in requests.get(f"{url}/silences", timeout=10).json()["silences"]}

    def silence(self, **body: t.Any) -> Answer:
        whole = {"duration": "1h", "author": "a test", "reason": "planned work", **body}
        answer = requests.post(f"{self.agent.url}/silences", json=whole, headers=BEARER, timeout=10)
        assert answer.status_code == 201, answer.text
        return t.cast("Answer", answer.json())


@pytest.fixture(scope="module")
def served(own_lab: Lab, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Served]:
    directory = tmp_path_factory.mktemp("served")
    datacenter = own_lab.datacenter()
    with HttpService() as hook:
        instances = Instances(own_lab, bundle, directory / "agents", hook)
        made = Served(instances, datacenter, directory)
        made.agent.wait("active")
        eventually(lambda: made.get("/alerts").ok and not made.read("/alerts")["unknown"], what="all was read")
        yield made
        instances.stop()


def test_what_fires_is_listed_with_what_the_check_said_and_who_was_told(served: Served) -> None:
    register_check(served.datacenter, "listed")
    set_check(served.datacenter, "listed", "critical", "HTTP 503 <b>")
    found = served.wait_for("listed")
    found = t.cast(
        "Answer", eventually(lambda: one if len((one := served.alert("listed") or {}).get("told", ())) == 2 else None)
    )
    assert found["severity"] == "critical" and found["rule"] == "check_status" and found["output"] == "HTTP 503 <b>"
    assert {one["receiver"] for one in found["told"]} == {"hook", "metrics"}
    eventually(
        lambda: {one["delivery"] for one in (served.alert("listed") or {})["told"]} == {"delivered"}, what="delivered"
    )
    everything = served.read("/alerts")
    assert everything["counts"]["critical"] >= 1 and everything["unknown"] == []
    page = served.get("/").text
    assert "1 critical firing" in page and "HTTP 503 &lt;b&gt;" in page and "<b>&" not in page
    assert "told: hook" in page and "listed on" in page
    metrics = served.get("/metrics").text
    assert 'consulops_alert_firing{alertname="check_status",check="listed-check"' in metrics
    assert 'consulops_receiver_delivered_total{receiver="hook"}' in metrics
    assert 'consulops_findings{datacenter="dc1",severity="critical"} 1.0' in metrics
    set_check(served.datacenter, "listed", "passing")
    eventually(lambda: served.alert("listed") is None, what="it is over")
    eventually(lambda: "listed" not in served.get("/metrics").text, what="the metrics know")


def test_receivers_and_datacenters_are_listed(served: Served) -> None:
    def hook() -> Answer:
        return next(one for one in served.read("/receivers")["receivers"] if one["name"] == "hook")

    assert hook()["type"] == "webhook"
    eventually(lambda: hook()["waiting"] == 0, what="everything is delivered")
    (datacenter,) = served.read("/datacenters")["datacenters"]
    assert datacenter["datacenter"] == "dc1" and datacenter["read_at"]
    eventually(
        lambda: served.read("/datacenters")["datacenters"][0]["verdict"] in ("ok", "warning"), what="all is well again"
    )


def test_a_silence_keeps_a_message_back_is_shared_and_can_be_ended(served: Served) -> None:
    register_check(served.datacenter, "quiet")
    silence = served.silence(match={"service": "quiet"})
    assert silence["state"] == "active" and silence["author"] == "a test"
    set_check(served.datacenter, "quiet", "critical")
    found = served.wait_for("quiet")
    assert [one["id"] for one in found["silenced_by"]] == [silence["id"]] and found["told"] == []
    second = served.start()
    second.wait("standby")
    eventually(lambda: silence["id"] in served.silences(second), what="the second instance knows the silence")
    explained = served.read("/explain", subject=f"{found['node']}/quiet")
    assert explained["incidents"][0]["silenced_by"][0]["id"] == silence["id"]
    assert alerts(served.hook, "quiet") == []
    ended = requests.delete(f"{served.agent.url}/silences/{silence['id']}", headers=BEARER, timeout=10)
    assert ended.status_code == 200 and ended.json()["state"] == "expired"
    wait_for_alerts(served.hook, "quiet", 1)
    eventually(lambda: served.silences(second)[silence["id"]]["state"] == "expired", what="the end is shared")
    again = requests.delete(f"{served.agent.url}/silences/{silence['id']}", headers=BEARER, timeout=10)
    unknown = requests.delete(f"{served.agent.url}/silences/nothing", headers=BEARER, timeout=10)
    assert (again.status_code, unknown.status_code) == (400, 404)
    second.stop()
    set_check(served.datacenter, "quiet", "passing")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "match"),
        ([], "JSON object"),
        ({"match": {"service": "x"}, "author": "a", "reason": "r"}, "silence.end"),
        ({"match": {"service": "x"}, "author": "a", "reason": "r", "duration": "soon"}, "silence.duration"),
        (
            {"match": {"service": "x"}, "author": "a", "reason": "r", "duration": "1h", "end": "2099-01-01T00:00:00Z"},
            "exclusive",
        ),
        ({"match": {"service": "x"}, "author": "a", "reason": "r", "end": "2020-01-01T00:00:00Z"}, "silence.end"),
        ({"match": {}, "author": "a", "reason": "r", "duration": "1h"}, "silence.match"),
        ({"match": {"service": "re:("}, "author": "a", "reason": "r", "duration": "1h"}, "silence.match"),
        ({"match": {"node_meta": {"a": "b"}}, "author": "a", "reason": "r", "duration": "1h"}, "node_meta is not read"),
        ({"match": {"service": "x"}, "author": " ", "reason": "r", "duration": "1h"}, "silence.author"),
    ],
)
def test_a_silence_that_is_not_whole_is_refused_with_a_sentence(served: Served, body: t.Any, sentence: str) -> None:
    before = served.silences()
    answer = requests.post(f"{served.agent.url}/silences", json=body, headers=BEARER, timeout=10)
    assert answer.status_code == 400 and sentence in answer.text, answer.text
    assert served.silences() == before


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({**BEARER, "Origin": "https://evil.example"}, 403),
        ({**BEARER, "Host": "evil.example"}, 421),
        ({**BEARER, "Content-Type": "text/plain"}, 415),
    ],
)
def test_a_request_from_elsewhere_changes_nothing(served: Served, headers: dict[str, str], status: int) -> None:
    kept = served.silence(match={"service": "kept"}, reason=f"{headers}")
    before = served.silences()
    body = json.dumps({"match": {"service": "x"}, "duration": "1h", "author": "a", "reason": "r"})
    whole = {"Content-Type": "application/json", **headers}
    assert requests.post(f"{served.agent.url}/silences", body, headers=whole, timeout=10).status_code == status
    if status != 415:
        url = f"{served.agent.url}/silences/{kept['id']}"
        assert requests.delete(url, headers=headers, timeout=10).status_code == status
    assert served.silences() == before


def test_the_page_runs_its_own_script_only_and_the_page_of_the_frame_is_beside_it(served: Served) -> None:
    answer = served.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'sha256-" in policy and "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert answer.text.count("<script>") == 1 and "consulops alert silence" in answer.text
    assert "script-src" not in served.get("/status.html").headers["Content-Security-Policy"]
    assert "Job watch" in served.get("/status.html").text


def test_a_passing_check_is_explained_with_the_name_of_its_service(served: Served) -> None:
    register_check(served.datacenter, "explained")
    node = served.read("/explain", subject="any")["node"]
    assert node == "any"
    (row,) = eventually(lambda: served.get("/v1/health/wildcard", service="explained").json(), what="it is listed")
    found = served.read("/explain", subject=f"{row['Node']}/explained/explained-check", datacenter="dc1")
    assert found["supposed"]["rule"] == "check_status" and found["supposed"]["routes"]
    for query in ({}, {"subject": "a", "datacenter": "dc9"}):
        assert served.get("/explain", **query).status_code == 400


@pytest.mark.parametrize(("status", "code"), [("passing", 200), ("warning", 503), ("critical", 503)])
def test_one_check_is_answered_as_consul_alerts_did(served: Served, status: str, code: int) -> None:
    service = f"one-{status}"
    register_check(served.datacenter, service, "critical" if status != "critical" else "passing")
    set_check(served.datacenter, service, status, "says this")
    (row,) = eventually(
        lambda: [
            x for x in served.get("/v1/health/wildcard", service=service, alwaysOk="1").json() if x["Status"] == status
        ]
    )
    query = {"node": row["Node"], "service": service, "check": f"{service}-check"}
    answer = served.get("/v1/health", **query)
    assert (answer.status_code, answer.text) == (code, f"status: {status}\noutput: says this\n")
    served.datacenter.put(f"/v1/agent/service/deregister/{service}")
    eventually(lambda: served.get("/v1/health", **query).status_code == 404, what="it is not registered any more")
    assert served.get("/v1/health", node="x").status_code == 400
    assert served.get("/v1/info").status_code == 201 and served.get("/v1/info").headers["version"]


def test_all_checks_are_answered_as_consul_alerts_did(served: Served) -> None:
    for service in ("all-passing", "all-warning", "all-critical", "unheard", "all-held"):
        register_check(served.datacenter, service)
        status = {"all-passing": "passing", "all-warning": "warning"}.get(service, "critical")
        set_check(served.datacenter, service, status)
    served.silence(match={"service": "all-held"})

    def ask(**query: str) -> tuple[int, dict[str, str]]:
        answer = served.get("/v1/health/wildcard", **query)
        return answer.status_code, {row["ServiceName"]: row["Status"] for row in answer.json() if row["ServiceName"]}

    eventually(lambda: ask(service="all-held", ignoreBlacklist="1")[1] == {"all-held": "critical"})
    assert ask(service="all-passing") == (200, {"all-passing": "passing"})
    assert ask(service="all-warning") == (503, {"all-warning": "warning"})
    assert ask(service="all-warning", alwaysOk="1") == (200, {"all-warning": "warning"})
    assert ask(service="unheard") == (200, {}) and ask(service="all-held") == (200, {})
    code, both = ask(status="warning,critical")
    assert code == 503 and both == {"all-warning": "warning", "all-critical": "critical"}
    assert ask(status="critical", ignoreBlacklist="1")[1] == {
        "all-critical": "critical",
        "unheard": "critical",
        "all-held": "critical",
    }
    assert served.get("/v1/health/wildcard", status="green").status_code == 400
    for service in ("all-passing", "all-warning", "all-critical", "unheard", "all-held"):
        served.datacenter.put(f"/v1/agent/service/deregister/{service}")


@pytest.mark.parametrize("path", ["/v1/process/checks", "/v1/process/events"])
def test_no_request_runs_what_requests_to_consul_alerts_ran(served: Served, path: str) -> None:
    for headers in ({}, BEARER):
        answer = requests.post(f"{served.agent.url}{path}", json={}, headers=headers, timeout=5)
        assert answer.status_code in (401, 404, 405)


def test_without_consul_nothing_is_said_to_be_well(served: Served) -> None:
    """The last test of this file: it pauses Consul."""
    (server,) = served.datacenter.servers
    server.pause()
    try:
        # An answer from before is shared for a second.
        eventually(lambda: served.get("/v1/health/wildcard", alwaysOk="1").status_code == 503, what="it is unknown")
        rows = served.get("/v1/health/wildcard", alwaysOk="1").json()
        assert [row["Status"] for row in rows] == ["unknown"] and "no answer" in rows[0]["Output"]
        answer = served.get("/v1/health", node="n", check="c")
        assert answer.status_code == 503 and answer.text.startswith("status: unknown\n")
        eventually(lambda: served.read("/alerts")["unknown"], what="the datacenter is unknown")
        assert "Nothing is wrong" not in served.get("/").text
    finally:
        server.resume()
