# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules and playbooks run by Ansible: with module_defaults, with verbose output, without libraries, with wrong variables."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.consulops.failover.plugins.module_utils._config.connection_spec import connection_spec

from tests.lab.ansible import COLLECTIONS, ModuleFailed, run_module, run_our_playbook, run_playbook
from tests.lab.consul import ROOT, Datacenter, Lab, eventually

SAVE = "consulops.failover.consul_snapshot"
INFO = "consulops.failover.consul_snapshot_info"


def play(tasks: list[dict[str, t.Any]], **keywords: t.Any) -> list[dict[str, t.Any]]:
    return [{"hosts": "localhost", "gather_facts": False, "tasks": tasks, **keywords}]


def test_a_play_with_group_defaults_saves_once_and_then_changes_nothing(secured: Datacenter, tmp_path: Path) -> None:
    defaults = {"group/consulops.failover.consul": {"url": secured.url, "token": secured.token, "timeout": 5}}
    tasks: list[dict[str, t.Any]] = [
        {SAVE: {"path": f"{tmp_path}/", "max_age": "1h"}, "register": "saved"},
        {INFO: {"path": "{{ saved.path }}", "compare_live": True}, "register": "info"},
        {"ansible.builtin.assert": {"that": "info.comparison.datacenter == 'secured'"}},
    ]
    plays = play(tasks, module_defaults=defaults)
    checked = run_playbook(tmp_path / "run", play(tasks[:1], module_defaults=defaults), "--check", "--diff")
    assert checked.returncode == 0 and "changed=1" in checked.stdout
    assert not list(tmp_path.glob("*.snap"))
    first = run_playbook(tmp_path / "run", plays, "-vvv", "--diff", whole=True)
    assert first.returncode == 0 and "changed=1" in first.stdout, first.stdout
    second = run_playbook(tmp_path / "run", plays)
    assert second.returncode == 0 and "changed=0" in second.stdout


def test_verbose_output_holds_no_secret(secured: Datacenter, tmp_path: Path) -> None:
    secured.put("/v1/kv/secret/of/the/house", "hunter2-hunter2")
    plays = play(
        [
            {
                SAVE: {
                    "path": f"{tmp_path}/",
                    "url": secured.url,
                    "token": secured.token,
                    "http_auth": "somebody:s3cret-password",
                }
            },
            {INFO: {"path": f"{tmp_path}/one.snap", "key": "secret/of/the/house"}, "ignore_errors": True},
        ]
    )
    done = run_playbook(tmp_path / "run", plays, "-vvvv", "--diff", whole=True)
    assert done.returncode == 0, done.stdout
    for secret in (str(secured.token), "s3cret-password", "hunter2-hunter2"):
        assert secret not in done.stdout
    for token in secured.get("/v1/acl/tokens"):
        found = secured.get(f"/v1/acl/token/{token['AccessorID']}")["SecretID"]
        assert found == "anonymous" or found not in done.stdout


def test_an_unknown_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModuleFailed, match="Unsupported parameters.*retention"):
        run_module("consul_snapshot", path=tmp_path, retention=3)


@pytest.mark.parametrize("library", ["requests", "python-consul2", "msgpack"])
def test_a_missing_library_is_named_with_how_to_install_it(dc1: Datacenter, tmp_path: Path, library: str) -> None:
    package = {"python-consul2": "consul"}.get(library, library)
    blocked = tmp_path / "blocked" / package
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('blocked for the test')", encoding="utf-8")
    with pytest.raises(ModuleFailed) as caught:
        run_module(
            "consul_snapshot",
            environment={"PYTHONPATH": f"{tmp_path}/blocked:{COLLECTIONS}"},
            path=tmp_path / "one.snap",
            url=dc1.url,
        )
    assert f"({library})" in caught.value.result["msg"] or f" {library} " in caught.value.result["msg"]


def test_an_empty_consul_package_is_reported_as_a_missing_library(dc1: Datacenter, tmp_path: Path) -> None:
    """Removing one of python-consul2 and py-consul leaves the other as an empty package."""
    (tmp_path / "remains" / "consul").mkdir(parents=True)
    (tmp_path / "remains" / "consul" / "__init__.py").touch()
    with pytest.raises(ModuleFailed, match="python-consul2"):
        run_module(
            "consul_snapshot",
            environment={"PYTHONPATH": f"{tmp_path}/remains:{COLLECTIONS}"},
            path=tmp_path / "one.snap",
            url=dc1.url,
        )


def test_a_lab_stops_only_its_own_servers(tmp_path: Path) -> None:
    with Lab(tmp_path / "other") as other:
        keeps = other.datacenter("keeps")
        with Lab(tmp_path / "lab") as lab:
            process = lab.datacenter("goes").servers[0].process
            assert process is not None and process.poll() is None
        assert process.poll() is not None
        assert keeps.get("/v1/status/leader")


def test_a_lab_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        "import os, sys; from tests.lab.consul import Lab\n"
        f"lab = Lab({str(tmp_path)!r}); server = lab.datacenter().servers[0]\n"
        "print(server.process.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
    pid = int(done.stdout)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), 10, "the server ends")


def test_the_documentation_of_every_module_renders(tmp_path: Path) -> None:
    for module in (SAVE, INFO):
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-doc")), "--json", module],
            env={
                "PATH": str(Path(sys.executable).parent),
                "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
                "HOME": str(tmp_path),
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        options = json.loads(done.stdout)[module]["doc"]["options"]
        assert {"url", "token", "token_file", "datacenter", "timeout"} <= set(options)


@pytest.mark.parametrize("name", ["health", "replicate", "restore", "upgrade_check", "estate_report"])
def test_a_controller_outside_the_inventory_is_refused(tmp_path: Path, name: str) -> None:
    done = run_our_playbook(tmp_path / "run", name, {f"consul_{name}_controller": "consull1.example.com"})
    assert done.returncode != 0
    assert f"consul_{name}_controller is consull1.example.com, which is not in the inventory" in done.stdout


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("health", "consul_connection"),
        ("restore", "consul_connection"),
        ("replicate", "consul_connection"),
        ("replicate", "consul_replicate_source"),
        ("replicate", "consul_replicate_destination"),
        ("upgrade_check", "consul_connection"),
        ("estate_report", "consul_connection"),
    ],
)
def test_an_unknown_connection_option_is_refused(tmp_path: Path, name: str, variable: str) -> None:
    """``force`` is an option of a module: as a default it would switch the module's guard off."""
    options = {"url": "http://127.0.0.1:1", "token": "s3cret-token", "force": True}
    done = run_our_playbook(tmp_path / "run", name, {variable: options}, "-vvv")
    output = " ".join(done.stdout.split())
    assert done.returncode != 0 and f"{variable} has no option named force; it takes url, datacenter," in output
    assert "s3cret-token" not in output


@pytest.mark.parametrize("name", ["health", "replicate", "restore", "upgrade_check", "estate_report"])
def test_a_connection_that_is_not_a_dictionary_is_refused(tmp_path: Path, name: str) -> None:
    done = run_our_playbook(tmp_path / "run", name, {"consul_connection": "https://consul.example.com:8501"})
    assert done.returncode != 0 and "consul_connection is not a dictionary" in " ".join(done.stdout.split())


def test_the_playbooks_take_every_connection_option_of_the_modules() -> None:
    tasks = yaml.safe_load((ROOT / "playbooks" / "tasks" / "check_connection.yml").read_text(encoding="utf-8"))
    assert tasks[0]["vars"]["consulops_connection_options"] == list(connection_spec())
