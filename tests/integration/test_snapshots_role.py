# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role consul_snapshots does without an agent: save and restore with its secrets, and what it refuses before any change."""

from __future__ import annotations

import getpass
import re
import typing as t
from pathlib import Path

import pyrage
import pytest

from tests.lab.ansible import run_playbook
from tests.lab.consul import Datacenter, consul_binary
from tests.lab.keys import read, write

ROLE = "consulops.failover.consul_snapshots"
PREFIX = "role-snapshots/"


def included(variables: dict[str, t.Any], **more: str) -> dict[str, t.Any]:
    return {"ansible.builtin.include_role": {"name": ROLE, **more}, "vars": variables}


def play_of(*tasks: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return [{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]


@pytest.fixture
def variables(dc1: Datacenter, bundle: Path, tmp_path: Path) -> dict[str, t.Any]:
    """Two policies: one with two directories, and an encrypted one."""
    for name in ("a", "b", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc/snapshot/credentials").mkdir(parents=True)
    places = {name: {"url": str(tmp_path / name)} for name in ("a", "b")}
    return {
        "consul_snapshots_connection": {"url": dc1.url},
        "consul_snapshots_policies": {
            "plain": {"connection": {"datacenter": "dc1"}, "destinations": places, "objective": "1h"},
            "secret": {"destinations": {"disk": {"url": str(tmp_path / "secret")}}},
        },
        "consul_snapshots_safety_path": str(tmp_path / "safety"),
        "consulops_runtime_user": getpass.getuser(),
        "consulops_runtime_directory": str(bundle.parent),
        "consulops_runtime_config_directory": str(tmp_path / "etc"),
    }


def test_a_snapshot_by_hand_goes_into_every_destination_of_a_policy_and_is_owned_by_its_user(
    variables: dict[str, t.Any], tmp_path: Path
) -> None:
    chosen = {**variables, "consul_snapshots_policy": "plain", "consul_snapshots_max_age": "1h"}
    play = play_of(included(chosen, tasks_from="save"))
    planned = run_playbook(tmp_path / "run", play, "--check")
    assert planned.returncode == 0 and not list((tmp_path / "a").iterdir()), planned.stdout
    done = run_playbook(tmp_path / "run", play)
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout
    assert [len(list((tmp_path / name).glob("*.snap"))) for name in ("a", "b", "secret")] == [1, 1, 0]
    assert "changed=0" in run_playbook(tmp_path / "run", play).stdout
    one = {**chosen, "consul_snapshots_destination": "b", "consul_snapshots_max_age": "0s"}
    run_playbook(tmp_path / "run", play_of(included(one, tasks_from="save")))
    assert [len(list((tmp_path / name).glob("*.snap"))) for name in ("a", "b")] == [1, 2]


def test_a_restore_needs_the_confirmation_and_the_identity_and_leaves_neither_identity_nor_copy(
    variables: dict[str, t.Any], dc1: Datacenter, tmp_path: Path
) -> None:
    identity = pyrage.x25519.Identity.generate()
    variables["consul_snapshots_policies"]["secret"]["recipients"] = [str(identity.to_public())]
    variables["consul_snapshots_policy"] = "secret"
    write(dc1, {f"{PREFIX}kept": "1"})
    saved = run_playbook(tmp_path / "run", play_of(included(variables, tasks_from="save")))
    assert saved.returncode == 0 and list((tmp_path / "secret").glob("*.snap.age")), saved.stdout
    write(dc1, {f"{PREFIX}kept": "2"})
    opened = {**variables, "consul_snapshots_identity": str(identity)}
    for given, said in (
        (opened, "This would replace everything in datacenter dc1"),
        ({**opened, "consul_snapshots_confirm": "dc2"}, "confirm with -e consul_snapshots_confirm=dc1"),
        ({**variables, "consul_snapshots_confirm": "dc1"}, "is encrypted for recipients: set identity_file"),
    ):
        refused = run_playbook(tmp_path / "run", play_of(included(given, tasks_from="restore")))
        assert refused.returncode != 0 and said in refused.stdout and str(identity) not in refused.stdout, (
            refused.stdout
        )
    confirmed = play_of(included({**opened, "consul_snapshots_confirm": "dc1"}, tasks_from="restore"))
    planned = run_playbook(tmp_path / "run", confirmed, "--check", "--diff")
    assert planned.returncode == 0 and read(dc1, PREFIX)[f"{PREFIX}kept"][0] == b"2", planned.stdout
    done = run_playbook(tmp_path / "run", confirmed)
    assert done.returncode == 0 and read(dc1, PREFIX)[f"{PREFIX}kept"][0] == b"1", done.stdout
    assert str(identity) not in planned.stdout + done.stdout
    assert all(path.name.startswith("before-restore-") for path in (tmp_path / "safety").iterdir())


def test_a_rehearsal_restores_what_a_destination_has_and_changes_nothing(
    variables: dict[str, t.Any], dc1: Datacenter, tmp_path: Path
) -> None:
    identity = pyrage.x25519.Identity.generate()
    variables["consul_snapshots_policies"]["secret"]["recipients"] = [str(identity.to_public())]
    variables.update(consul_snapshots_policy="secret", consulops_runtime_rehearsal_consul=consul_binary())
    opened = {**variables, "consul_snapshots_identity": str(identity)}
    shown = {"ansible.builtin.debug": {"msg": "verified: {{ consul_snapshots_result.verified }}"}}
    play = play_of(included(variables, tasks_from="save"), included(opened, tasks_from="rehearse"), shown)
    done = run_playbook(tmp_path / "run", play)
    assert done.returncode == 0 and "verified: True" in done.stdout and "changed=1 " in done.stdout, done.stdout
    assert str(identity) not in done.stdout


def test_what_cannot_work_is_refused_before_any_change(tmp_path: Path) -> None:
    secret = {
        "connection": {"token": "hunter2", "http_auth": "me:hunter2"},
        "destinations": {"disk": {"url": "/srv/x"}},
    }
    two = {"one": {"destinations": {"disk": {"url": "/srv/x"}}}, "two": {}}
    of_tasks: list[tuple[dict[str, t.Any], str]] = [
        (
            included({"consul_snapshots_policies": {"hourly": secret}}),
            "consul_snapshots_policies.hourly.connection.token, consul_snapshots_policies.hourly.connection.http_auth: the",
        ),
        (included({"consul_snapshots_policies": two}, tasks_from="save"), "policies, which has one, two."),
        (
            included({"consul_snapshots_policy": "three"}, tasks_from="restore"),
            '"three" is not in consul_snapshots_policies, which has no policy.',
        ),
        (
            included(
                {
                    "consul_snapshots_policies": two,
                    "consul_snapshots_policy": "one",
                    "consul_snapshots_destination": "bucket",
                },
                tasks_from="restore",
            ),
            '"bucket" is not a destination of the policy one, which has disk.',
        ),
        (
            included({"consul_snapshots_policies": {"a": {"destinations": {"b": {"url": "/srv/a b"}}}}}),
            'data_directories of agents must be absolute paths, without a trailing slash and without spaces: "/srv/a b"',
        ),
    ]
    report = {"ansible.builtin.debug": {"msg": "refused: {{ ansible_failed_result.msg }}"}}
    tasks = [{"block": [task], "rescue": [report]} for task, _reason in of_tasks]
    done = run_playbook(tmp_path / "run", play_of(*tasks))
    said = re.findall(r"refused: .*Nothing was changed", done.stdout)
    assert len(said) == len(of_tasks) and "hunter2" not in done.stdout, done.stdout
    for sentence, (_task, reason) in zip(said, of_tasks):
        assert reason in sentence.replace('\\"', '"')


def test_the_check_names_what_is_wrong_with_each_policy_of_this_instance(tmp_path: Path) -> None:
    shown = {
        "good": {"newest": {"time": "2026-11-28T12:00:00Z"}, "problem": ""},
        "old": {"newest": {"time": "2026-11-27T12:00:00Z"}, "problem": "the newest verified snapshot is 1 d old"},
        "none": {"newest": None, "problem": "there is no verified snapshot"},
    }
    names = ("good", "old", "none", "first", "standby")
    variables = {
        "consul_snapshots_policies": {name: {} for name in (*names, "new")},
        "consulops_runtime_status": {
            "jobs": {f"policy {name}": {} for name in names},
            "leases": {"policy first": {"standing": "holder"}, "policy standby": {"standing": "standby"}},
            "section": {"policies": shown},
        },
    }
    role = included({}, tasks_from="check_policies")
    role["ansible.builtin.include_role"]["public"] = True
    show = {
        "ansible.builtin.debug": {
            "msg": "{{ consul_snapshots_findings | join(' / ') }} / {{ consul_snapshots_first_pending | join(' ') }}"
        }
    }
    play = [{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [role, show]}]
    done = run_playbook(tmp_path / "run", play)
    (found,) = re.findall(r'"msg": "(.* / .*)"', done.stdout)
    assert found.split(" / ") == [
        "new is not one of the running agent, whose configuration is another one",
        "first: its first snapshot is not finished",
        "old: the newest verified snapshot is 1 d old",
        "none: there is no verified snapshot",
        "first none",
    ]
