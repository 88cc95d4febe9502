# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops.failover.replicate`` as an operator runs it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from tests.lab.ansible import run_our_playbook, run_playbook
from tests.lab.consul import Datacenter

from .test_replicate import Task, numbered


def variables_of(task: Task, tmp_path: Path) -> dict[str, t.Any]:
    return {
        "consul_connection": {"url": task.one.url},
        "consul_replicate_source": {"datacenter": "east"},
        "consul_replicate_destination": {"url": task.two.url},
        "consul_replicate_prefixes": [{"source": task.prefix}],
        "consul_replicate_name": task.options["name"],
        "consul_replicate_report": tmp_path / "report.json",
    }


def test_the_playbook_shows_the_plan_copies_reports_and_then_changes_nothing(
    federation: tuple[Datacenter, Datacenter], tmp_path: Path
) -> None:
    task = Task(*federation)
    task.write(task.one, **numbered(10), secret="hunter2")
    variables = variables_of(task, tmp_path)

    checked = run_our_playbook(tmp_path / "run", "replicate", variables, "--check", "--diff")
    assert checked.returncode == 0, checked.stdout
    assert "created: 11" in checked.stdout.replace('"', "") and f"{task.prefix}secret: digest" in checked.stdout
    assert task.read(task.two) == {} and not (tmp_path / "report.json").exists()

    done = run_our_playbook(tmp_path / "run", "replicate", variables)
    assert done.returncode == 0 and "changed=2" in done.stdout, done.stdout
    assert task.read(task.two) == task.read(task.one)
    report = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert json.loads(report)["prefixes"][0]["created"] == 11
    assert "hunter2" not in report + done.stdout + checked.stdout

    again = run_our_playbook(tmp_path / "run", "replicate", variables)
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout

    task.delete(task.one, "")
    wiped = run_our_playbook(tmp_path / "run", "replicate", variables)
    assert wiped.returncode != 0 and "the source has no key below" in wiped.stdout.replace("\n", " ")
    assert len(task.read(task.two)) == 11


def test_a_failed_run_is_reported_and_a_list_may_be_given_as_json_text(
    federation: tuple[Datacenter, Datacenter], tmp_path: Path
) -> None:
    task = Task(*federation)
    task.write(task.one, a="1", b="1")
    task.write(task.two, a="foreign")
    variables = variables_of(task, tmp_path)
    variables["consul_replicate_prefixes"] = json.dumps(variables["consul_replicate_prefixes"])
    done = run_our_playbook(tmp_path / "run", "replicate", variables)
    assert done.returncode != 0 and "1 key in conflict" in done.stdout.replace("\n", " ")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["prefixes"][0]["conflicts"][0]["key"] == f"{task.prefix}a" and report["changed"] is True


@pytest.mark.parametrize("given", [..., None, [], 5, "app/", {"source": "app/"}, [5]])
def test_the_playbook_requires_a_list_of_prefixes(tmp_path: Path, given: object) -> None:
    variables = {} if given is ... else {"consul_replicate_prefixes": given}
    done = run_our_playbook(tmp_path / "run", "replicate", variables)
    said = " ".join(done.stdout.split())
    assert done.returncode != 0 and "Name what to copy with consul_replicate_prefixes, a list" in said


def test_the_playbook_takes_prefixes_as_strings(federation: tuple[Datacenter, Datacenter], tmp_path: Path) -> None:
    task = Task(*federation)
    task.write(task.one, a="1")
    variables = {**variables_of(task, tmp_path), "consul_replicate_prefixes": [task.prefix]}
    done = run_our_playbook(tmp_path / "run", "replicate", variables)
    assert done.returncode == 0, done.stdout
    assert task.read(task.two) == task.read(task.one)


def test_defaults_of_the_action_group_reach_both_sides(
    federation: tuple[Datacenter, Datacenter], tmp_path: Path
) -> None:
    task = Task(*federation)
    task.write(task.one, a="1")
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "module_defaults": {"group/consulops.failover.consul": {"url": task.one.url, "timeout": 7}},
        "tasks": [
            {
                "consulops.failover.consul_kv_replicate": {
                    "source": {"datacenter": "east"},
                    "destination": {"datacenter": "west"},
                    "prefixes": [{"source": task.prefix}],
                    "name": task.options["name"],
                }
            }
        ],
    }
    done = run_playbook(tmp_path / "run", [play])
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout
    assert task.read(task.two) == task.read(task.one)
