# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role consul_replication does without an agent: one run of a set, and what it refuses before it changes anything."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

from tests.lab.ansible import run_playbook
from tests.lab.consul import Datacenter
from tests.lab.keys import read, write

ROLE = "consulops.failover.consul_replication"
TOKEN = "6a0d4f0e-6c1b-4a53-9d0e-3a6f5e9d7c21"


def included(variables: dict[str, t.Any], role: str = ROLE, **more: str) -> dict[str, t.Any]:
    return {"ansible.builtin.include_role": {"name": role, **more}, "vars": variables}


def test_one_run_takes_the_installed_secrets_and_the_options_of_the_set(
    federation: tuple[Datacenter, Datacenter], bundle: Path, tmp_path: Path
) -> None:
    east, west = federation
    write(east, {"role-sync/a": "1", "role-sync/skipped": "2"})
    side = {"url": west.url, "token_file": "credential:west"}
    one = {
        "source": {"datacenter": "east"},
        "destination": side,
        "prefixes": [{"source": "role-sync/", "exclude": ["skipped"]}],
        "max_deletes": 3,
        "verify_every": "5m",
    }
    variables = {
        "consul_replication_set": "one",
        "consul_replication_connection": {"url": east.url},
        "consul_replication_sets": {"one": one, "other": {}},
        "consul_replication_active": ["other"],
        "consul_replication_secrets": {"token": TOKEN, "west": TOKEN},
        "consulops_runtime_directory": str(bundle.parent),
        "consulops_runtime_config_directory": str(tmp_path / "etc"),
    }
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [included(variables, tasks_from="sync")]}
    missing = run_playbook(tmp_path / "run", [play])
    credentials = tmp_path / "etc/replication/credentials"
    assert missing.returncode != 0 and f"{credentials}/" in missing.stdout, missing.stdout
    credentials.mkdir(parents=True)
    for name in ("token", "west"):
        (credentials / name).write_text(TOKEN, encoding="ascii")
    planned = run_playbook(tmp_path / "run", [play], "--check", "--diff")
    assert planned.returncode == 0 and "role-sync/a" in planned.stdout and read(west, "role-sync/") == {}, (
        planned.stdout
    )
    done = run_playbook(tmp_path / "run", [play])
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout
    assert read(west, "role-sync/") == {"role-sync/a": (b"1", 0)}
    assert west.get("/v1/kv/consulops/replication/one/state")
    assert "changed=0" in run_playbook(tmp_path / "run", [play]).stdout


def test_what_cannot_work_is_refused_before_any_change(tmp_path: Path) -> None:
    runtime = "consulops.failover.consulops_runtime"
    two = [{"name": name, "agent": "replication"} for name in ("one", "two")]
    sets = {"app": {"source": {"token": "hunter2"}, "destination": {"http_auth": "me:hunter2"}, "prefixes": ["app/"]}}
    of_tasks = [
        (
            included({"consul_replication_sets": sets}),
            "consul_replication_sets.app.source.token, consul_replication_sets.app.dest",
        ),
        (included({"consul_replication_active": ["app"]}), "app is not in consul_replication_sets, which has no set"),
        (
            included({"consul_replication_sets": {"there": {"reverses": "back"}}}),
            "consul_replication_direction is not set, so it is not known which of there is active",
        ),
        (
            included(
                {
                    "consul_replication_sets": {"there": {"reverses": "back"}, "other": {}},
                    "consul_replication_direction": {"active": "other", "generation": 1},
                }
            ),
            "other is not a set of consul_replication_sets with reverses, which are there",
        ),
        (
            included({"consul_replication_set": "app"}, tasks_from="sync"),
            "is not in consul_replication_sets, which has no set",
        ),
        (included({"consulops_runtime_agents": two}, runtime, tasks_from="check"), "one on 9001, two on 9001"),
        (
            included({"consulops_runtime_agents": [{"name": "x"}]}, runtime, tasks_from="check"),
            "9000 of alerting, 9001 of",
        ),
    ]
    report = {"ansible.builtin.debug": {"msg": "refused: {{ ansible_failed_result.msg }}"}}
    tasks = [{"block": [task], "rescue": [report]} for task, _reason in of_tasks]
    done = run_playbook(tmp_path / "run", [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}])
    said = re.findall(r"refused: .*Nothing was changed", done.stdout)
    assert len(said) == len(of_tasks) and "hunter2" not in done.stdout, done.stdout
    for sentence, (_task, reason) in zip(said, of_tasks):
        assert reason in sentence


def test_the_check_names_what_waits_for_somebody_in_each_set(tmp_path: Path) -> None:
    shown = {
        "good": {"problem": "", "frozen": None},
        "cold": {"problem": "", "frozen": "ann, maintenance"},
        "many": {"problem": "deletions of 11 keys are paused: acknowledge the plan abc", "frozen": "ann"},
    }
    leases: dict[str, t.Any] = {f"set {name}": {} for name in (*shown, "standby")}
    variables = {
        "consul_replication_sets": {name: {} for name in (*shown, "standby", "new", "off")},
        "consul_replication_active": [*shown, "standby", "new"],
        "consulops_runtime_status": {"leases": leases, "section": {"sets": shown}},
    }
    role = included({}, tasks_from="check_sets")
    role["ansible.builtin.include_role"]["public"] = True
    show = {"ansible.builtin.debug": {"msg": "{{ consul_replication_findings | join(' / ') }}"}}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [role, show]}
    done = run_playbook(tmp_path / "run", [play])
    (found,) = re.findall(r'"msg": "(.* / .*)"', done.stdout)
    assert found.split(" / ") == [
        "set new is not one of the running agent, whose configuration is another one",
        "cold is frozen by ann, maintenance",
        "many is frozen by ann",
        "many: deletions of 11 keys are paused: acknowledge the plan abc",
    ]


def test_of_two_opposite_sets_the_agent_gets_the_active_one_with_its_generation(tmp_path: Path) -> None:
    variables = {
        "consul_replication_sets": {
            "there": {"reverses": "back"},
            "back": {"reverses": "there"},
            "other": {},
            "off": {},
        },
        "consul_replication_active": ["other"],
        "consul_replication_direction": {"active": "back", "generation": 2},
    }
    role = included({}, tasks_from="check_sets")
    role["ansible.builtin.include_role"]["public"] = True
    show = {"ansible.builtin.debug": {"msg": "sets: {{ consul_replication_options.sets | to_json }}"}}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [role, show]}
    done = run_playbook(tmp_path / "run", [play])
    (found,) = re.findall(r'"msg": "sets: (.*)"', done.stdout)
    assert json.loads(found.replace('\\"', '"')) == {"other": {}, "back": {"reverses": "there", "generation": 2}}
