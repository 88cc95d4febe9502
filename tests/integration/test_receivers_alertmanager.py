# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The receiver alertmanager against two real Alertmanagers in a cluster."""

from __future__ import annotations

import time
import typing as t

import jsonschema
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import Alert
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers import alertmanager_webhook
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.receiver import (
    DeliveryFailed,
    Receiver,
)

from tests.lab.alertmanager import Alertmanager
from tests.lab.consul import Lab, eventually
from tests.lab.http_service import HttpService
from tests.lab.notifications import alert, notification
from tests.lab.receiving import make_receiver
from tests.lab.service_schemas import ALERTMANAGER_V4


class Cluster(t.NamedTuple):
    """Two Alertmanagers, and the webhook that both tell."""

    peers: list[Alertmanager]
    webhook: HttpService

    @property
    def urls(self) -> list[str]:
        return [peer.url for peer in self.peers]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("alertmanager")
    with Lab(directory / "lab") as lab, HttpService() as webhook:
        first = Alertmanager(lab.address(), directory / "first", webhook.url)
        second = Alertmanager(lab.address(), directory / "second", webhook.url, first.peer_address)
        try:
            yield Cluster([first.start(), second.start()], webhook)
        finally:
            for peer in (first, second):
                peer.stop()


def now_alert(name: str, status: str = "firing", **fields: t.Any) -> Alert:
    """An alert that began a minute ago, of a datacenter of its own."""
    now = time.time()
    ended = {"ended": now} if status == "resolved" else {}
    return alert(status=status, since=now - 60, datacenter=name, key=f"{name}/web1", **{**ended, **fields})


def held(peer: Alertmanager, name: str) -> list[dict[str, t.Any]]:
    return [one for one in peer.alerts() if one["labels"]["datacenter"] == name]


def receiver_for(cluster: Cluster, **options: t.Any) -> Receiver:
    return make_receiver("alertmanager", clock=time.time, urls=cluster.urls, **options)


def test_every_peer_gets_an_alert_with_its_labels_and_annotations_and_its_end(cluster: Cluster) -> None:
    receiver = receiver_for(cluster, labels={"site.name": "north"}, generator_url="http://monitor1.example.org/")
    odd = now_alert("basic", node_meta={"ärea-1": "x", "empty": ""}, output='quote " and \u2028 and \x07')
    receiver.send(notification(odd))
    for peer in cluster.peers:
        (found,) = held(peer, "basic")
        assert found["labels"] == {
            "alertname": "check_status",
            "datacenter": "basic",
            "severity": "critical",
            "node": "web1",
            "service": "shop",
            "check": "http",
            "node_meta__rea_1": "x",
            "service_meta_tier": "1",
            "site_name": "north",
        }
        assert found["annotations"]["output"] == 'quote " and \u2028 and \x07'
        assert found["annotations"]["summary"] == "check http of shop on web1 is critical"
        assert found["generatorURL"] == "http://monitor1.example.org/"
    receiver.send(notification(now_alert("basic", "resolved", node_meta={"ärea-1": "x"}), kind="resolved"))
    eventually(lambda: not any(held(peer, "basic") for peer in cluster.peers), 10)


def test_an_alert_that_gets_worse_is_still_one_alert(cluster: Cluster) -> None:
    receiver = receiver_for(cluster)
    receiver.send(notification(now_alert("worse", severity="warning")))
    receiver.send(notification(now_alert("worse", severity="critical")))

    def only_the_new_one() -> bool:
        return all([one["labels"]["severity"] for one in held(peer, "worse")] == ["critical"] for peer in cluster.peers)

    eventually(only_the_new_one, 10)


def test_what_is_not_repeated_expires_and_what_is_repeated_stays(cluster: Cluster) -> None:
    quick, slow = receiver_for(cluster, resend="250ms"), receiver_for(cluster, resend="250ms")
    quick.send(notification(now_alert("forgotten")))
    slow.restore([now_alert("kept")])  # as after a start: it was sent by another process
    slow.repeat()
    peer = cluster.peers[0]
    assert held(peer, "forgotten") and held(peer, "kept")

    def forgotten() -> bool:
        slow.repeat()
        assert held(peer, "kept")
        return not held(peer, "forgotten")

    eventually(forgotten, 10)
    assert quick.repeat_every_s == 0.25


def test_a_peer_that_is_away_delays_nothing_is_reported_and_gets_it_when_it_is_back(cluster: Cluster) -> None:
    receiver = receiver_for(cluster)
    first, second = cluster.peers
    second.stop()
    try:
        receiver.send(notification(now_alert("away")))
        assert held(first, "away")
        with pytest.raises(
            DeliveryFailed, match=f"1 of 2 peers failed: POST {second.url}/api/v2/alerts: Connection refused"
        ):
            receiver.repeat()
    finally:
        second.start()
    receiver.repeat()
    assert held(second, "away")


def test_without_any_peer_a_message_is_not_delivered(cluster: Cluster) -> None:
    with HttpService() as gone:
        pass
    receiver = make_receiver("alertmanager", clock=time.time, urls=[gone.url, gone.url])
    with pytest.raises(DeliveryFailed, match="2 of 2 peers failed") as failure:
        receiver.send(notification(now_alert("nobody")))
    assert not failure.value.permanent


def test_our_webhook_has_the_form_of_alertmanagers_own(cluster: Cluster) -> None:
    receiver_for(cluster).send(
        notification(now_alert("form"), group={"alertname": "check_status", "datacenter": "form"})
    )

    def sent() -> list[dict[str, t.Any]]:
        return [one.json for one in cluster.webhook.received if one.json["groupLabels"].get("datacenter") == "form"]

    eventually(lambda: bool(sent()), 10)
    theirs = sent()[0]
    ours = alertmanager_webhook.content(
        notification(now_alert("form"), receiver="hook", group={"alertname": "check_status", "datacenter": "form"})
    )
    for content in (theirs, ours):
        content["externalURL"] = "same"
        content["alerts"][0]["generatorURL"] = "same"
        jsonschema.validate(content, ALERTMANAGER_V4)
    differing = {"alerts", "groupKey"}
    assert {name: theirs[name] for name in theirs if name not in differing} == {
        name: ours[name] for name in ours if name not in differing
    }
    times = {"startsAt", "endsAt", "fingerprint"}
    assert {name: value for name, value in theirs["alerts"][0].items() if name not in times} == {
        name: value for name, value in ours["alerts"][0].items() if name not in times
    }
    assert theirs["groupKey"] == ours["groupKey"]
