# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of everything in which the client library matters: it passes with python-consul2, py-consul and python-consul.

The client and the lock have files of their own (test_client, test_watch_and_lock).
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from tests.lab import keys
from tests.lab.ansible import ModuleFailed, run_module
from tests.lab.consul import Datacenter
from tests.lab.fill import fill_kv

from .conftest import MakeClient

pytestmark = pytest.mark.client_library


def test_a_session_is_created_renewed_listed_and_destroyed(secured: Datacenter, make_client: MakeClient) -> None:
    sessions = make_client(secured).consul.session
    session = sessions.create(name="library", ttl=10, lock_delay=0)
    assert sessions.renew(session)["ID"] == session
    assert session in {one["ID"] for one in sessions.list()[1]}
    assert sessions.destroy(session) is True
    assert session not in {one["ID"] for one in sessions.list()[1]}


def test_a_service_is_registered_and_deregistered(secured: Datacenter, make_client: MakeClient) -> None:
    service = make_client(secured).consul.agent.service
    assert service.register("library", service_id="library-1") is True
    assert secured.get("/v1/agent/services")["library-1"]["Service"] == "library"
    assert service.deregister("library-1") is True
    assert "library-1" not in secured.get("/v1/agent/services")


def test_a_snapshot_is_saved_described_and_restored(secured: Datacenter, tmp_path: Path) -> None:
    # The library would prefer this variable to the given url.
    at: dict[str, t.Any] = {
        "url": secured.url,
        "token": secured.token,
        "environment": {"CONSUL_HTTP_ADDR": "127.0.0.1:1"},
    }
    fill_kv(secured, 20, prefix="library/")
    path = run_module("consul_snapshot", path=tmp_path / "one.snap", **at)["path"]
    assert run_module("consul_snapshot_info", path=path)["snapshot"]["datacenter"] == "secured"
    secured.request("DELETE", "/v1/kv/library/?recurse")
    assert run_module("consul_snapshot", state="restored", path=path, **at)["changed"] is True
    assert len(keys.read(secured, "library/")) == 20


def test_keys_are_replicated_under_a_lease(federation: tuple[Datacenter, Datacenter]) -> None:
    one, two = federation
    fill_kv(one, 20, prefix="library/")
    options: dict[str, t.Any] = {
        "source": {"url": one.url},
        "destination": {"url": two.url},
        "prefixes": [{"source": "library/"}],
    }
    options["name"] = "library"  # set here, because linters take it in the literal for run_module's own parameter
    assert run_module("consul_kv_replicate", **options)["changed"] is True
    assert run_module("consul_kv_replicate", **options)["changed"] is False
    assert keys.read(one, "library/") == keys.read(two, "library/")


def test_alerts_are_checked(secured: Datacenter) -> None:
    found = run_module("consul_alert_check", url=secured.url, token=secured.token, fail_on="never")
    assert found["changed"] is False


@pytest.mark.parametrize("name", ["consul_snapshot", "consul_alert_check"])
def test_only_the_given_address_is_asked(secured: Datacenter, name: str, tmp_path: Path) -> None:
    arguments = {"path": tmp_path / "x.snap"} if name == "consul_snapshot" else {"wait": 1}
    with pytest.raises(ModuleFailed) as failure:
        run_module(name, url="http://127.0.0.1:1", **arguments)
    assert "127.0.0.1:1" in failure.value.result["msg"] and "8500" not in failure.value.result["msg"]
