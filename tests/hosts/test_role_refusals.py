# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on a host where two agents are installed, which every test leaves as they were: what it refuses and grants."""

from __future__ import annotations

import re
import typing as t

import pytest

from .conftest import LEASE, ROLE, Bare, Estate, agent, agent_options, two_agents, with_removal


@pytest.fixture(scope="module")
def installed(lone: Estate) -> t.Iterator[Bare]:
    """A host with two agents, for tests that leave them as they were. At the end the host must be as before."""
    lone.group_variables.update(
        consulops_runtime_agents=two_agents(lease={**LEASE, "key": "locks/mine"}),
        ansible_managed="one line\nsecond line",
    )
    yield from with_removal(Bare(lone, lone.hosts["r1"]), install=True)
    lone.group_variables.update(consulops_runtime_agents=[agent()])
    del lone.group_variables["ansible_managed"]


def test_a_wrong_configuration_changes_nothing(installed: Bare) -> None:
    bare = installed
    bare.wait_active()
    pid, config = bare.pid(), bare.host.run("cat", "/etc/consulops/alerting/agent.json").stdout
    wrong = agent(lease={"ttl": "5s"})
    done = bare.estate.try_to_play("consulops.failover.install", consulops_runtime_agents=[wrong])
    assert done.returncode != 0 and "lease.ttl: 5s is not between 20 and 86400 seconds." in done.stdout
    assert bare.host.run("cat", "/etc/consulops/alerting/agent.json").stdout == config
    assert bare.pid() == pid
    # Edited by hand it makes systemctl reload fail, and the old configuration stays in force.
    path = "/etc/consulops/alerting/agent.json"
    bare.host.run("install", "-m", "644", "/dev/stdin", path, stdin='{"agent": ')
    assert bare.host.run("systemctl", "reload", "consulops-alerting", check=False).returncode != 0
    assert "line 1, column" in bare.host.run("journalctl", "-q", "-u", "consulops-alerting").stdout
    assert bare.pid() == pid and bare.estate.status(bare.host)["state"] == "active"
    bare.host.run("install", "-m", "644", "/dev/stdin", path, stdin=config)
    assert bare.host.run("systemctl", "reload", "consulops-alerting").returncode == 0
    told = agent(connection={"token": "0b7c5a52-in-the-wrong-place"})
    done = bare.estate.try_to_play("consulops.failover.install", "--diff", consulops_runtime_agents=[told])
    assert done.returncode != 0 and "connection.token" in done.stdout and "wrong-place" not in done.stdout
    misspelt = bare.estate.try_to_play("consulops.failover.install", consulops_runtime_agents=[agent(leese={})])
    assert misspelt.returncode != 0 and "leese" in misspelt.stdout
    assert bare.pid() == pid


def test_names_that_would_lead_to_other_paths_are_refused_before_any_change(installed: Bare) -> None:
    bare = installed
    bare.wait_active()
    before = bare.contents()
    wrongs: list[dict[str, t.Any]] = [
        *(
            {"consulops_runtime_agents": agents, "consulops_runtime_state": state}
            for state in ("present", "absent")
            for agents in (
                [*two_agents(), {"name": "", "state": "absent"}],
                [*two_agents(), {"name": "..", "state": "absent"}],
                [agent(name="../../srv/evil")],
                [agent(), agent(options=agent_options(reconcile_every="9s"))],
                [agent(), agent(name="second")],
                [{"name": "alerting"}],
                [agent(credentials={"../token": "x"})],
                [agent(writable_directories=["/srv/a b"])],
            )
        ),
        {"consulops_runtime_state_directory": "/srv/state"},
        {"consulops_runtime_config_directory": "/srv/../etc"},
        {"consulops_runtime_interpreter": "python3"},
    ]
    tasks = []
    for wrong in wrongs:
        role = {"ansible.builtin.include_role": {"name": ROLE, "apply": {"become": True}}, "vars": wrong}
        report = {"ansible.builtin.debug": {"msg": "refused: {{ ansible_failed_result.msg }}"}}
        tasks.append({"block": [role], "rescue": [report]})
    done = bare.estate.play([{"hosts": "consulops_agents", "gather_facts": False, "tasks": tasks}])
    assert len(re.findall("refused: .*Nothing was changed", done)) == len(wrongs), done
    assert bare.contents() == before and bare.pid() != "0" and bare.pid("second") != "0"


def test_the_message_says_why_an_agent_cannot_start_and_the_next_run_repairs_it(installed: Bare) -> None:
    bare = installed
    taken = "import socket, time; s = socket.create_server(('127.0.0.1', 9182)); time.sleep(600)"
    bare.host.run("systemd-run", "-q", "--unit=taken", "python3", "-c", taken)
    third = agent(name="third", endpoint={"port": 9182})
    done = bare.estate.try_to_play("consulops.failover.install", consulops_runtime_agents=[third])
    assert done.returncode != 0 and "The endpoint cannot listen on 127.0.0.1 port 9182" in done.stdout
    bare.install(consulops_runtime_agents=[{**third, "endpoint": {"port": 9190}}])
    bare.wait_active(9190)
    bare.host.run("systemctl", "stop", "taken")


def test_the_policy_grants_no_more_than_the_agent_needs(installed: Bare) -> None:
    for name, line in (("second", 'key "locks/mine" {'), ("alerting", "# second line")):
        policy = installed.host.run("cat", f"/etc/consulops/{name}/policy.hcl").stdout
        assert 'key_prefix ""' not in policy and line in policy
        assert f'key_prefix "consulops/agents/{name}/" {{' in policy
    unit = installed.host.run("systemctl", "cat", "consulops-alerting").stdout
    assert "# second line" in unit and "Assignment outside" not in installed.host.run("journalctl", "-q", "-b").stdout
