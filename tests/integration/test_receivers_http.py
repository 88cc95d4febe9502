# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Receivers that speak HTTP, against a local server that checks what the service documents, field by field."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
import typing as t
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import Alert
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.message_fields import (
    incident_key,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.receiver import (
    DeliveryFailed,
)
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption

from tests.lab.http_service import HttpService, Received, Reply
from tests.lab.notifications import NOON, alert, notification
from tests.lab.receiving import make_receiver, secret_file
from tests.lab.service_schemas import (
    ALERTMANAGER_V4,
    ILERT,
    JIRA_ALERT,
    MATTERMOST,
    OPSGENIE_ALERT,
    OPSGENIE_CLOSE,
    PAGERDUTY,
    SLACK,
    TEAMS,
    VICTOROPS,
)
from tests.lab.tls import Authority, Pair

FIRES, RECOVERS = alert("web1"), alert("web2", status="resolved", severity="warning")
BOTH = notification(FIRES, RECOVERS)
LONG = alert("web1", summary="s" * 40_000, output="o" * 40_000, detail="d" * 40_000, tags=("x" * 90,) * 30)


@pytest.fixture(scope="module")
def running() -> t.Iterator[HttpService]:
    with HttpService() as service:
        yield service


@pytest.fixture
def service(running: HttpService) -> HttpService:
    running.reset()
    return running


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def hook(service: HttpService, **options: t.Any) -> t.Any:
    return make_receiver("webhook", url=f"{service.url}/hook", **options)


# ---------------------------------------------------------------------------------------------------------------
# Services with an incident for each alert


def incident_receiver(kind: str, service: HttpService, directory: Path, **options: t.Any) -> t.Any:
    """Make a receiver of this kind whose key is 32 characters long."""
    key = secret_file(directory, "k" * 32)
    given: dict[str, dict[str, t.Any]] = {
        "pagerduty": {"routing_key_file": key, "url": f"{service.url}/v2/enqueue"},
        "opsgenie": {"api_key_file": key, "url": service.url},
        "jira_service_management": {"api_key_file": key, "url": f"{service.url}/jsm/ops/integration"},
        "ilert": {"integration_key_file": key, "url": f"{service.url}/api/events"},
        "victorops": {
            "url_file": secret_file(directory, f"{service.url}/integrations/generic/20131114/alert/secret-key", "url"),
            "routing_key": "data base",
        },
    }
    return make_receiver(kind, **{**given[kind], **options})


INCIDENT_SERVICES = ("pagerduty", "opsgenie", "jira_service_management", "ilert", "victorops")


def schema_of(kind: str, request: Received) -> dict[str, t.Any]:
    """Return the schema of what a request holds."""
    if kind in ("opsgenie", "jira_service_management"):
        if request.path.endswith("/close?identifierType=alias"):
            return OPSGENIE_CLOSE
        return OPSGENIE_ALERT if kind == "opsgenie" else JIRA_ALERT
    return {"pagerduty": PAGERDUTY, "ilert": ILERT, "victorops": VICTOROPS}[kind]


@pytest.mark.parametrize("kind", INCIDENT_SERVICES)
@pytest.mark.parametrize(
    "alerts",
    [(FIRES, RECOVERS), (LONG,), (alert("", service="", check="", output="", detail="", tags=()),)],
    ids=["both", "long", "bare"],
)
def test_what_is_sent_is_what_the_service_documents(
    kind: str, service: HttpService, directory: Path, alerts: tuple[Alert, ...]
) -> None:
    incident_receiver(kind, service, directory).send(notification(*alerts))
    assert len(service.received) == len(alerts)
    for request in service.received:
        assert request.method == "POST" and request.headers["Content-Type"] == "application/json"
        jsonschema.validate(request.json, schema_of(kind, request))
        assert len(request.body) < 512_000


def test_pagerduty_triggers_and_resolves_by_the_same_key(service: HttpService, directory: Path) -> None:
    receiver = incident_receiver("pagerduty", service, directory, client_url="https://monitor1.example.org/")
    receiver.send(notification(FIRES))
    receiver.send(notification(alert("web1", status="resolved"), kind="resolved"))
    trigger, resolve = (request.json for request in service.received)
    assert trigger["dedup_key"] == resolve["dedup_key"] == incident_key(FIRES) and resolve["event_action"] == "resolve"
    assert trigger["payload"] == {
        "summary": "check http of shop on web1 is critical",
        "source": "web1",
        "severity": "critical",
        "timestamp": "2026-09-21T14:13:20.000Z",
        "component": "shop",
        "group": "dc1",
        "class": "check_status",
        "custom_details": {
            "check": "http",
            "datacenter": "dc1",
            "node": "web1",
            "node_meta_team": "dba",
            "output": "connection refused",
            "rule": "check_status",
            "service": "shop",
            "service_meta_tier": "1",
            "severity": "critical",
            "since": "2026-09-21T14:13:20.000Z",
            "summary": "check http of shop on web1 is critical",
            "tags": "blue,v2",
        },
    }
    assert trigger["client"] == "consulops on monitor1" and trigger["client_url"] == "https://monitor1.example.org/"


@pytest.mark.parametrize(("kind", "prefix"), [("opsgenie", ""), ("jira_service_management", "/jsm/ops/integration")])
def test_opsgenie_and_its_successor_create_and_close_by_alias(
    kind: str, prefix: str, service: HttpService, directory: Path
) -> None:
    team = {"name": "dba", "type": "team"}
    more = {"priorities": {"warning": "P4"}} if kind == "opsgenie" else {}
    receiver = incident_receiver(kind, service, directory, responders=[team], tags=["consul"], **more)
    receiver.send(BOTH)
    create, close = service.received
    assert create.path == f"{prefix}/v2/alerts" and create.headers["Authorization"] == f"GenieKey {'k' * 32}"
    assert create.json["alias"] == incident_key(FIRES) and create.json["responders"] == [team]
    assert create.json["tags"] == ["consul", "critical", "blue", "v2"]
    assert create.json.get("priority") == ("P1" if kind == "opsgenie" else None)
    assert close.path == f"{prefix}/v2/alerts/{incident_key(RECOVERS)}/close?identifierType=alias"
    assert close.json["note"].endswith("recovered")


def test_ilert_opens_an_alert_for_a_warning_and_resolves_it_only_when_it_has_recovered(
    service: HttpService, directory: Path
) -> None:
    receiver = incident_receiver("ilert", service, directory)
    receiver.send(notification(alert("web1", severity="warning"), RECOVERS))
    opened, resolved = (request.json for request in service.received)
    assert (opened["eventType"], opened["priority"]) == ("ALERT", "LOW")
    assert (resolved["eventType"], resolved["alertKey"]) == ("RESOLVE", incident_key(RECOVERS))


def test_splunk_on_call_gets_the_routing_key_in_the_path_and_the_time_of_the_state(
    service: HttpService, directory: Path
) -> None:
    incident_receiver("victorops", service, directory).send(BOTH)
    opened, recovered = service.received
    assert opened.path == "/integrations/generic/20131114/alert/secret-key/data%20base"
    assert (opened.json["message_type"], opened.json["state_start_time"]) == ("CRITICAL", int(NOON))
    assert (recovered.json["message_type"], recovered.json["state_start_time"]) == ("RECOVERY", int(NOON) + 90)
    assert opened.json["entity_id"] == incident_key(FIRES)


def test_two_checks_of_one_service_are_two_incidents() -> None:
    """The predecessors left the check out of the key, and one recovery closed the incident of another check."""
    one, other = (alert("web1", check=check, episode=f"dc1/web1/shop/{check}@1") for check in ("http", "disk"))
    assert incident_key(one) != incident_key(other)


def test_after_a_failure_only_the_alerts_that_the_service_lacks_are_sent_again(
    service: HttpService, directory: Path
) -> None:
    receiver = incident_receiver("pagerduty", service, directory)
    three = notification(alert("a"), alert("b"), alert("c"))
    service.reset(Reply(202), Reply(500, b"later"))
    with pytest.raises(DeliveryFailed, match="500 later") as failure:
        receiver.send(three)
    assert not failure.value.permanent
    receiver.send(three)
    keys = [request.json["dedup_key"] for request in service.received]
    a, b, c = (incident_key(alert(node)) for node in "abc")
    assert keys == [a, b, b, c]


def test_an_alert_that_the_service_refuses_does_not_keep_the_others_from_it(
    service: HttpService, directory: Path
) -> None:
    receiver = incident_receiver("pagerduty", service, directory)
    service.reset(Reply(400, b'{"status":"invalid event"}'), Reply(202), Reply(429, headers=(("Retry-After", "7"),)))
    three = notification(alert("a"), alert("b"), alert("c"))
    with pytest.raises(DeliveryFailed) as failure:
        receiver.send(three)
    assert failure.value.retry_after_s == 7 and not failure.value.permanent
    with pytest.raises(DeliveryFailed, match=r"invalid event.* \(1 of 3 parts were refused\)") as failure:
        receiver.send(three)
    assert failure.value.permanent and failure.value.partial and len(service.received) == 4


# ---------------------------------------------------------------------------------------------------------------
# Chat


@pytest.mark.parametrize(("kind", "schema"), [("slack", SLACK), ("mattermost", MATTERMOST), ("teams", TEAMS)])
@pytest.mark.parametrize("alerts", [(FIRES, RECOVERS), (LONG,)], ids=["both", "long"])
def test_a_chat_message_is_what_the_service_documents(
    kind: str, schema: dict[str, t.Any], service: HttpService, directory: Path, alerts: tuple[Alert, ...]
) -> None:
    url = secret_file(directory, f"{service.url}/services/T0/B0/secret")
    names: dict[str, t.Any] = (
        {"channel": "#ops", "username": "consul", "icon_emoji": ":rotating_light:"} if kind != "teams" else {}
    )
    make_receiver(kind, url_file=url, **names).send(notification(*alerts))
    request = service.only
    assert request.path == "/services/T0/B0/secret"
    jsonschema.validate(request.json, schema)
    assert len(request.body) < 28_000
    if names:
        assert {name: request.json[name] for name in names} == names


def test_the_output_of_a_check_mentions_nobody(service: HttpService, directory: Path) -> None:
    url = secret_file(directory, f"{service.url}/hook")
    loud = notification(alert("web1", output="<!channel> @channel & <https://example.org|click>"))
    make_receiver("slack", url_file=url).send(loud)
    make_receiver("mattermost", url_file=url).send(loud)
    slack, mattermost = (request.json["attachments"][0]["text"] for request in service.received)
    assert "&lt;!channel&gt;" in slack and "&amp; &lt;https" in slack and "<" not in slack
    assert "@channel" not in mattermost and "@\u200bchannel" in mattermost


@pytest.mark.parametrize("kind", ["slack", "mattermost", "teams"])
def test_the_colour_is_that_of_the_state(kind: str, service: HttpService, directory: Path) -> None:
    receiver = make_receiver(kind, url_file=secret_file(directory, f"{service.url}/hook"))
    for one in (BOTH, notification(alert(severity="warning")), notification(RECOVERS, kind="resolved")):
        receiver.send(one)
    attachments = [request.json["attachments"][0] for request in service.received]
    colours = [one["content"]["body"][0]["style"] if kind == "teams" else one["color"] for one in attachments]
    expected = ["attention", "warning", "good"] if kind == "teams" else ["#d63232", "#e8a317", "#2e9e4f"]
    assert colours == expected


# ---------------------------------------------------------------------------------------------------------------
# Webhook and InfluxDB


def test_a_webhook_gets_the_notification_as_json(service: HttpService, directory: Path) -> None:
    credentials = directory / "credentials"
    credentials.mkdir()
    secret_file(credentials, "s3cret", "hook")
    receiver = hook(
        service,
        method="PUT",
        headers={"X-Team": "dba", "X-Api-Key": {"credential": "hook"}},
        username="monitor",
        password_file=secret_file(directory, "pässword"),
        credentials=str(credentials),
    )
    receiver.send(BOTH)
    request = service.only
    assert (request.method, request.path) == ("PUT", "/hook")
    assert request.headers["X-Team"] == "dba" and request.headers["X-Api-Key"] == "s3cret"
    encoded = base64.b64encode("monitor:pässword".encode()).decode()
    assert request.headers["Authorization"] == f"Basic {encoded}"
    document = request.json
    assert (document["version"], document["id"], document["kind"]) == (1, BOTH.id, "firing")
    assert document["subject"] == "[firing] firing web1/shop/http, resolved web2/shop/http"
    assert document["alerts"][0]["output"] == "connection refused"
    assert document["alerts"][1]["incident"] == incident_key(RECOVERS)


def test_a_webhook_gets_what_alertmanager_would_send(service: HttpService, directory: Path) -> None:
    receiver = hook(service, format="alertmanager-v4", bearer_token_file=secret_file(directory, "abc"))
    odd = alert("web3", node_meta={"ärea-1": "x"}, service_meta={})
    receiver.send(notification(FIRES, RECOVERS, still_firing=(odd,)))
    request = service.only
    assert request.headers["Authorization"] == "Bearer abc"
    jsonschema.validate(request.json, ALERTMANAGER_V4)
    firing, resolved, still = request.json["alerts"]
    assert (firing["endsAt"], resolved["endsAt"]) == ("0001-01-01T00:00:00Z", "2026-09-21T14:14:50.000Z")
    assert request.json["status"] == still["status"] == "firing" and still["labels"]["node_meta__rea_1"] == "x"
    assert request.json["commonLabels"] == {
        "alertname": "check_status",
        "datacenter": "dc1",
        "service": "shop",
        "check": "http",
    }
    assert request.json["groupKey"] == '{}:{datacenter="dc1", rule="check_status"}'


def test_a_webhook_gets_the_text_of_its_template(service: HttpService) -> None:
    hook(service, format="text", content_type="application/x-own").send(BOTH)
    assert service.only.headers["Content-Type"] == "application/x-own"
    assert service.only.body.decode() == (
        "critical: check http of shop on web1 is critical connection refused\n"
        "warning: check http of shop on web2 is critical connection refused"
    )


def test_influxdb_gets_points_in_its_line_protocol(service: HttpService, directory: Path) -> None:
    receiver = make_receiver(
        "influxdb",
        url=service.url,
        org="my org",
        bucket="alerts",
        token_file=secret_file(directory, "tok"),
        measurement="consul alerts",
    )
    service.reset(Reply(204, b""))
    receiver.send(notification(alert("web 1,=", output='say "hi"\\'), RECOVERS))
    request = service.only
    assert request.path == "/api/v2/write?org=my+org&bucket=alerts&precision=ns"
    assert request.headers["Authorization"] == "Token tok"
    assert request.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert request.body.decode().splitlines() == [
        "consul\\ alerts,rule=check_status,severity=critical,datacenter=dc1,node=web\\ 1\\,\\=,service=shop,check=http "
        'firing=1i,since=1790000000i,summary="check http of shop on web 1,= is critical",output="say \\"hi\\"\\\\" '
        "1790000005000000000",
        "consul\\ alerts,rule=check_status,severity=warning,datacenter=dc1,node=web2,service=shop,check=http "
        'firing=0i,since=1790000000i,summary="check http of shop on web2 is critical",output="connection refused" '
        "1790000090000000000",
    ]


# ---------------------------------------------------------------------------------------------------------------
# What can go wrong


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        (400, True),
        (413, True),
        (422, True),
        (401, False),
        (403, False),
        (404, False),
        (410, False),
        (429, False),
        (500, False),
    ],
)
def test_only_a_message_that_can_never_be_accepted_is_refused_for_ever(
    status: int, permanent: bool, service: HttpService
) -> None:
    service.reset(Reply(status, b"no"))
    with pytest.raises(DeliveryFailed, match=f"^POST {service.url}/hook: {status} no\\.") as failure:
        hook(service).send(BOTH)
    assert failure.value.permanent is permanent


def test_a_redirect_is_not_followed(service: HttpService) -> None:
    with HttpService("127.0.0.2") as elsewhere:
        service.reset(Reply(307, headers=(("Location", f"{elsewhere.url}/hook"),)))
        with pytest.raises(DeliveryFailed, match=f"redirects to 127.0.0.2:{elsewhere.port}, which is not followed"):
            hook(service).send(BOTH)
        assert elsewhere.received == []


def test_neither_secrets_nor_a_secret_address_are_in_a_message(service: HttpService, directory: Path) -> None:
    secret, address = "abracadabra", f"{service.url}/services/T0/B0/xyzzy"
    echo = f"bad token {secret} for /services/T0/B0/xyzzy".encode()
    receiver = make_receiver(
        "webhook",
        url_file=secret_file(directory, address, "url"),
        headers={"X-Api-Key": {"file": secret_file(directory, secret, "key")}},
    )
    service.reset(Reply(403, echo))
    with pytest.raises(DeliveryFailed) as failure:
        receiver.send(BOTH)
    assert str(failure.value) == f"POST {service.url}/…: 403 bad token … for …. Is the key right?"


def test_a_long_answer_is_not_read_to_its_end(service: HttpService) -> None:
    service.reset(Reply(500, b"x" * 10_000_000))
    with pytest.raises(DeliveryFailed) as failure:
        hook(service).send(BOTH)
    assert len(str(failure.value)) < 400


def test_an_answer_that_does_not_come_is_given_up(service: HttpService) -> None:
    service.reset(Reply(hang=True))
    with pytest.raises(DeliveryFailed, match=r"no answer within 0\.3 s"):
        hook(service, timeout="300ms").send(BOTH)


def test_an_answer_that_never_ends_counts_by_its_status(service: HttpService) -> None:
    service.reset(Reply(trickle=True), Reply(500, trickle=True))
    receiver = hook(service, timeout="300ms")
    receiver.send(BOTH)
    with pytest.raises(DeliveryFailed, match="500"):
        receiver.send(BOTH)


def test_an_abort_ends_a_request_at_once(service: HttpService) -> None:
    service.reset(Reply(hang=True))
    receiver = hook(service)
    aborts = threading.Thread(target=lambda: (service.arrived.wait(10), receiver.abort()))
    aborts.start()
    began = time.monotonic()
    with pytest.raises(DeliveryFailed):
        receiver.send(BOTH)
    aborts.join()
    assert time.monotonic() - began < 5
    service.reset()
    receiver.send(BOTH)
    assert len(service.received) == 1


def test_a_service_that_is_not_there_is_named(service: HttpService) -> None:
    with HttpService() as gone:
        pass
    with pytest.raises(DeliveryFailed, match=f"^POST {gone.url}/hook: Connection refused\\.$"):
        make_receiver("webhook", url=f"{gone.url}/hook").send(BOTH)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"junk\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    ],
    ids=["nothing", "junk", "no-status", "long-header", "many-headers", "no-end"],
)
def test_what_is_no_answer_is_a_failure_in_one_sentence(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _peer = server.accept()
            with connection:
                connection.recv(65536)
                with contextlib.suppress(OSError):
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/hook"
        with pytest.raises(DeliveryFailed, match=f"^POST {url}: [^\n]+\\.$") as failure:
            make_receiver("webhook", url=url).send(BOTH)
        thread.join()
    assert not failure.value.permanent and len(str(failure.value)) < 400


def test_a_secret_that_was_replaced_is_used_without_a_reload(service: HttpService, directory: Path) -> None:
    receiver = hook(service, bearer_token_file=secret_file(directory, "old"))
    receiver.send(BOTH)
    secret_file(directory, "new")
    receiver.send(BOTH)
    assert [request.headers["Authorization"] for request in service.received] == ["Bearer old", "Bearer new"]
    (directory / "secret").unlink()
    with pytest.raises(InvalidOption, match="bearer_token_file .* cannot be read: No such file"):
        receiver.send(BOTH)


class Tls(t.NamedTuple):
    """An authority, a service that only takes its clients, and a client's certificate."""

    authority: Authority
    service: HttpService
    client: Pair


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Tls]:
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority(directory)
    server = authority.issue(directory, "hooks.example.org")
    client = authority.issue(directory, "monitor1")
    with HttpService(pair=server, client_ca=str(authority.ca_path)) as service:
        yield Tls(authority, service, client)


def test_tls_checks_the_server_and_shows_the_client_certificate(tls: Tls) -> None:
    tls.service.reset()
    good = {
        "ca_path": str(tls.authority.ca_path),
        "client_cert": str(tls.client.certificate),
        "client_key": str(tls.client.key),
        "tls_server_name": "hooks.example.org",
    }
    hook(tls.service, **good).send(BOTH)
    assert len(tls.service.received) == 1
    hook(tls.service, **{**good, "ca_path": None, "validate_certs": False}).send(BOTH)
    for less in ("ca_path", "client_cert", "tls_server_name"):
        options = {name: value for name, value in good.items() if name != less}
        options.pop("client_key" if less == "client_cert" else "", None)
        with pytest.raises(DeliveryFailed, match=f"^POST {tls.service.url}/hook: TLS failed .*; check ca_path, "):
            hook(tls.service, **options).send(BOTH)
    assert len(tls.service.received) == 2


def test_a_proxy_is_used(service: HttpService) -> None:
    receiver = make_receiver("webhook", url="http://hooks.example.org/hook", proxy=service.url)
    receiver.send(BOTH)
    assert service.only.path == "http://hooks.example.org/hook" and service.only.headers["Host"] == "hooks.example.org"
    service.reset(Reply(407, b""))
    with pytest.raises(DeliveryFailed):
        make_receiver("webhook", url="https://hooks.example.org/hook", proxy=service.url).send(BOTH)
    assert service.only.method == "CONNECT" and service.only.path == "hooks.example.org:443"


def test_the_environment_changes_nothing(service: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    hook(service).send(BOTH)
    assert json.loads(service.only.body)["id"] == BOTH.id
