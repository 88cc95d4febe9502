# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops.failover.restore`` as an operator runs it."""

from __future__ import annotations

import base64
import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.lab.ansible import run_module, run_our_playbook
from tests.lab.consul import Datacenter, Lab
from tests.lab.faults import Proxy
from tests.lab.fill import fill
from tests.lab.tables import tables
from tests.lab.tls import Authority

Done = subprocess.CompletedProcess[str]


def save(at: Datacenter, path: Path) -> Path:
    run_module("consul_snapshot", path=path, url=at.url, token=at.token)
    return path


def changed(done: Done) -> int:
    """Return how many tasks changed something, over all hosts."""
    return sum(int(line.split("changed=")[1].split()[0]) for line in done.stdout.splitlines() if "changed=" in line)


def test_the_playbook_plans_asks_for_confirmation_restores_and_then_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(acl=True)
    fill(datacenter, keys=50)
    path = save(datacenter, tmp_path / "good.snap")
    (tmp_path / "token").write_text(f"{datacenter.token}\n", encoding="ascii")
    datacenter.put("/v1/kv/app/web/000000", "damaged-value")
    datacenter.put("/v1/agent/service/register", {"Name": "after-the-snapshot"})
    server = datacenter.servers[0]
    reload = f"env CONSUL_HTTP_TOKEN={server.token} {server.binary} reload -http-addr={server.url}"
    variables: dict[str, t.Any] = {
        "consul_restore_path": path,
        "consul_connection": {"url": datacenter.url, "token_file": str(tmp_path / "token")},
        "consul_restore_report": tmp_path / "report.json",
        "consul_restore_agents": "localhost",
        "consul_restore_agent_connection": {"url": datacenter.url},
        "consul_restore_agent_grace": 1,
        "consul_restore_reload_command": reload,
    }
    before = tables(datacenter.snapshot())

    checked = run_our_playbook(tmp_path / "run", "restore", variables, "--check", "--diff")
    assert checked.returncode == 0, checked.stdout
    assert "KVS app/web/000000" in checked.stdout and "damaged-value" not in checked.stdout
    assert tables(datacenter.snapshot()) == before

    unconfirmed = run_our_playbook(tmp_path / "run", "restore", variables)
    assert unconfirmed.returncode != 0 and "-e consul_restore_confirm=dc1" in unconfirmed.stdout.replace("\n", " ")
    assert tables(datacenter.snapshot()) == before

    variables["consul_restore_confirm"] = "dc1"
    done = run_our_playbook(tmp_path / "run", "restore", variables)
    assert done.returncode == 0, done.stdout
    assert "after-the-snapshot" in datacenter.get("/v1/catalog/services"), (
        "the playbook ends when the services are back"
    )
    assert "The catalog has all services and checks of this agent." in done.stdout.replace("\n", " ")
    assert str(datacenter.token) not in done.stdout.replace(reload, "")
    assert tables(datacenter.snapshot()) == tables(path.read_bytes())
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (report[0]["action"], report[0]["verified"]) == ("restored", True)
    assert Path(report[0]["safety"]).exists()
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o600

    again = run_our_playbook(tmp_path / "run", "restore", variables)
    assert again.returncode == 0 and changed(again) == 0, again.stdout


def test_a_federation_is_restored_in_the_given_order(lab: Lab, tmp_path: Path) -> None:
    one, two = lab.datacenter("dc1"), lab.datacenter("dc2")
    lab.join_wan(one, two)
    paths = []
    for datacenter in (one, two):
        fill(datacenter, keys=20)
        paths.append(save(datacenter, tmp_path / f"{datacenter.name}.snap"))
        datacenter.put("/v1/kv/x", "y")
    variables = {
        "consul_restore_paths": [str(path) for path in paths],
        "consul_connection": {"url": one.url},
        "consul_restore_agents": "nobody",
    }
    for half in ("dc1", "dc2"):
        done = run_our_playbook(tmp_path / "run", "restore", {**variables, "consul_restore_confirm": half})
        assert done.returncode != 0
        assert one.get("/v1/kv/x") and two.get("/v1/kv/x")
    done = run_our_playbook(tmp_path / "run", "restore", {**variables, "consul_restore_confirm": "dc1, dc2"})
    assert done.returncode == 0, done.stdout
    assert done.stdout.index("dc1.snap") < done.stdout.index("dc2.snap")
    for datacenter, path in zip((one, two), paths):
        assert tables(datacenter.snapshot()) == tables(path.read_bytes())


def test_one_snapshot_is_restored_through_another_datacenter_from_a_controller_named_by_a_pattern(
    lab: Lab, tmp_path: Path
) -> None:
    near, far = lab.datacenter("dc1"), lab.datacenter("dc2")
    lab.join_wan(near, far)
    fill(far, keys=20)
    path = save(far, tmp_path / "dc2.snap")
    far.put("/v1/kv/x", "y")
    (tmp_path / "inventory").write_text("[operators]\nlocalhost\n", encoding="utf-8")
    variables = {
        "consul_restore_path": path,
        "consul_connection": {"url": near.url, "datacenter": "dc2"},
        "consul_restore_confirm": "dc2",
        "consul_restore_controller": "operators[0]",
        "consul_restore_agents": "localhost",
        "consul_restore_agent_connection": {"url": f"http://{lab.address()}:8500"},
        "consul_restore_agent_grace": 0,
        "consul_restore_agent_wait": 0,
        "consul_restore_reload_command": f"touch {tmp_path}/reloaded",
    }
    done = run_our_playbook(tmp_path / "run", "restore", variables, "-i", str(tmp_path / "inventory"))
    assert done.returncode == 0, done.stdout
    assert tables(far.snapshot()) == tables(path.read_bytes())
    assert (tmp_path / "reloaded").exists(), "nothing is known of an agent that does not answer"
    assert "It is not known whether the services of this agent are in the catalog" in done.stdout.replace("\n", " ")


def test_services_that_stay_missing_and_reloads_that_fail_are_named_at_the_end_for_each_agent(
    lab: Lab, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    datacenter = lab.datacenter(authority=authority)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    datacenter.put("/v1/agent/service/register", {"Name": "lost"})
    server = datacenter.servers[0]
    (tmp_path / "agent.token").write_text("of-the-agent\n", encoding="ascii")
    partial = {"X-Consul-Results-Filtered-By-ACLs": "true"}  # as 1.23-dev says it
    with (
        Proxy(datacenter.url, lab.address(), "json", "/v1/catalog/node/") as empty,
        Proxy(datacenter.url, lab.address()) as filtered,
    ):
        empty.body = "null"  # what Consul answers for a node that is not in the catalog
        filtered.replay = lambda method, path: (200, partial, b"[]") if path.startswith("/v1/health/node/") else None
        hidden = {"url": filtered.url, "token_file": str(tmp_path / "agent.token"), "http_auth": "user:pass:word"}
        present = {"url": server.https_url, "ca_path": str(authority.ca_path)}
        hosts = {
            "late": ({"url": empty.url}, "true", 0),
            "stuck": ({"url": empty.url.partition("//")[2]}, "/nowhere/consul reload", 0),
            "hidden": (hidden, "/nowhere/consul reload", 0),
            "unread": ({**present, "token_file": "/nowhere.token"}, "true", 0),
            "present": (
                present,
                f"{server.binary} reload -http-addr={server.url}",
                120,
            ),  # since 1.23 services take a minute
        }
        names = ("consul_restore_agent_connection", "consul_restore_reload_command", "consul_restore_agent_wait")
        agents = {name: {"ansible_connection": "local", **dict(zip(names, values))} for name, values in hosts.items()}
        (tmp_path / "inventory.json").write_text(json.dumps({"consul_agents": {"hosts": agents}}), encoding="utf-8")
        variables = {
            "consul_restore_path": path,
            "consul_connection": {"url": datacenter.url},
            "consul_restore_confirm": "dc1",
            "consul_restore_agent_grace": 0,
        }
        done = run_our_playbook(tmp_path / "run", "restore", variables, "-i", str(tmp_path / "inventory.json"))
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert "does not have what the agent of late runs: service lost. Look at the log of that agent." in said
    assert "does not have what the agent of stuck runs: service lost. It could not be reloaded: " in said
    assert "what the agent of hidden runs: the token sees only a part. It could not be reloaded: " in said
    assert "The catalog has all services and checks of this agent." in said
    assert "agent of present" not in said
    assert "its token cannot be read: " in said and "/nowhere.token" in said
    assert {(one["X-Consul-Token"], one["Authorization"]) for one in filtered.headers} == {
        ("of-the-agent", f"Basic {base64.b64encode(b'user:pass:word').decode()}")
    }
    assert not any("X-Consul-Token" in one or "Authorization" in one for one in empty.headers)
    assert tables(datacenter.snapshot()) == tables(path.read_bytes())


def test_an_option_that_does_not_apply_to_agents_ends_the_run_before_anything_is_done(tmp_path: Path) -> None:
    agents = {"right": {}, "wrong": {"consul_restore_agent_connection": {"tls_server_name": "x", "datacenter": "dc1"}}}
    (tmp_path / "inventory.json").write_text(json.dumps({"consul_agents": {"hosts": agents}}), encoding="utf-8")
    variables = {"consul_restore_path": "/nowhere.snap"}
    done = run_our_playbook(tmp_path / "run", "restore", variables, "-i", str(tmp_path / "inventory.json"))
    said = " ".join(done.stdout.split())
    assert done.returncode != 0 and "consul_restore_agent_connection has no option named " in said
    assert "Plan each datacenter" not in said


def test_several_controllers_are_refused(tmp_path: Path) -> None:
    variables = {"consul_restore_path": "/nowhere.snap", "consul_restore_controller": "all"}
    done = run_our_playbook(tmp_path / "run", "restore", variables, "-i", "one,two")
    assert done.returncode != 0 and "names 2 hosts; each would send a restore" in done.stdout.replace("\n", " ")


@pytest.mark.parametrize("given", [{}, {"consul_restore_paths": []}, {"consul_restore_paths": "/nowhere.snap"}])
def test_the_playbook_refuses_to_run_without_a_snapshot(tmp_path: Path, given: dict[str, t.Any]) -> None:
    done = run_our_playbook(tmp_path / "run", "restore", given)
    assert done.returncode != 0 and "consul_restore_path=/path/to/file.snap" in done.stdout
