# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on a bare host: what it refuses, what it changes and restarts, and that it removes what it made."""

from __future__ import annotations

import re
import typing as t

import pytest

from tests.lab.consul import eventually
from tests.lab.hosts import Host

from .conftest import LEASE, POLL_S, Estate, agent, estate_of

ROLE = "consulops.failover.consulops_runtime"
# Where Ansible, systemd and users of a host leave files.
NOT_OURS = (
    r"/(proc|sys|run|tmp|dev|root|home|var/(log|tmp|cache|lib/(consul|systemd|private)))(/.*)?"
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?"
)


class Bare(t.NamedTuple):
    """A host without anything of the role."""

    estate: Estate
    host: Host

    def install(self, *options: str, **variables: t.Any) -> str:
        return self.estate.play("consulops.failover.install", *options, **variables)

    def contents(self) -> set[str]:
        """Return every path on the host, and every user, group and unit."""
        paths = self.host.run("find", "/", "-xdev").stdout.splitlines()
        known = {path for path in paths if not re.fullmatch(NOT_OURS, path)}
        for command in (("getent", "passwd"), ("getent", "group"), ("systemctl", "list-unit-files", "--no-legend")):
            known |= set(self.host.run(*command).stdout.splitlines())
        return known

    def pid(self, name: str = "demonstration") -> str:
        """Return the process id of an agent, "0" if it does not run."""
        return self.host.run("systemctl", "show", "-P", "MainPID", f"consulops-{name}").stdout.strip()

    def wait_active(self, port: int = 9180) -> dict[str, t.Any]:
        """Wait until the agent holds its lease, and return its status."""

        def active() -> dict[str, t.Any] | None:
            found = self.estate.status(self.host, port)
            return found if found.get("state") == "active" else None

        return t.cast("dict[str, t.Any]", eventually(active, 40, f"the agent on port {port} is active", POLL_S))


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estate]:
    with estate_of(tmp_path_factory.mktemp("lone"), ["r1"]) as found:
        yield found


@pytest.fixture
def bare(lone: Estate) -> t.Iterator[Bare]:
    """A bare host. After the test the role is removed, and the host must be as before."""
    found = Bare(lone, lone.hosts["r1"])
    before = found.contents()
    yield found
    lone.play("consulops.failover.install", consulops_runtime_state="absent", consulops_runtime_purge=True)
    left = found.contents()
    assert left == before, left ^ before


def two_agents(**more: t.Any) -> list[dict[str, t.Any]]:
    """Return two agents with different ports; ``more`` is for the second."""
    second = agent(name="second", endpoint={"port": 9181})
    return [agent(), {**second, **more}]


def test_check_mode_reports_changes_of_a_bare_host_and_makes_none(bare: Bare) -> None:
    """The host has neither pip nor a route out of the lab."""
    assert bare.host.run("ip", "route", "show", "default").stdout == ""
    assert bare.host.run("python3", "-c", "import pip", check=False).returncode == 1
    before = bare.contents()
    would = bare.install("--check", "--diff")
    assert "changed=" in would and "changed=0" not in would and bare.contents() == before
    really = bare.install("--diff")
    assert "+consulops.failover" in really and agent()["credentials"]["token"] not in really + would
    bare.wait_active()
    assert "changed=0" in bare.install("--check") and "changed=0" in bare.install()


def test_other_code_can_include_and_import_the_role(bare: Bare) -> None:
    """The plays do not use become: the role gets it where it is included or imported."""

    def included(**role: str) -> dict[str, t.Any]:
        return {"ansible.builtin.include_role": {"name": ROLE, "apply": {"become": True}, **role}}

    play = {"hosts": "consulops_agents", "gather_facts": False}
    done = bare.estate.play([{**play, "tasks": [included(tasks_from="bundle")]}])
    assert "changed=0" not in done and bare.host.run("ls", "/usr/local/bin/consulops")
    done = bare.estate.play([{**play, "tasks": [{"ansible.builtin.import_role": {"name": ROLE}, "become": True}]}])
    assert "changed=0" not in done
    bare.wait_active()
    use = {"ansible.builtin.command": "consulops version", "changed_when": False}
    assert "changed=0" in bare.estate.play([{**play, "tasks": [included(), use]}])


def test_only_what_changed_is_restarted(bare: Bare) -> None:
    bare.install(consulops_runtime_agents=two_agents())
    bare.wait_active()
    bare.wait_active(9181)
    first, second = bare.pid(), bare.pid("second")

    # A new configuration is loaded by the running process, a new secret needs a restart.
    first_agent, second_agent = two_agents(options={"interval": "200ms"})
    wanted = [{**first_agent, "credentials": {**first_agent["credentials"], "more": "x"}}, second_agent]
    bare.install(consulops_runtime_agents=wanted)
    eventually(lambda: bare.estate.status(bare.host, 9181).get("reloads") == 1, what="the second reloads")
    assert bare.pid() != first and bare.pid("second") == second
    first = bare.pid()

    # Another bundle restarts every agent. And a secret that is not listed any more is removed.
    assert "more" in bare.host.run("ls", "/etc/consulops/demonstration/credentials").stdout
    bare.host.run("sh", "-c", "printf '#' >> /usr/local/lib/consulops/consulops.pyz")
    bare.install(consulops_runtime_agents=[first_agent, second_agent])
    assert bare.host.run("ls", "/etc/consulops/demonstration/credentials").stdout == "token\n"
    assert bare.pid() != first and bare.pid("second") != second
    second = bare.pid("second")

    # Removing one agent leaves the other running.
    gone = [{"name": "demonstration", "agent": "demonstration", "state": "absent"}, second_agent]
    bare.install(consulops_runtime_agents=gone)
    assert bare.pid() == "0" and bare.pid("second") == second
    assert bare.host.run("ls", "/etc/consulops").stdout.split() == ["second"]


def test_a_wrong_configuration_changes_nothing(bare: Bare) -> None:
    bare.install()
    bare.wait_active()
    pid, config = bare.pid(), bare.host.run("cat", "/etc/consulops/demonstration/agent.json").stdout
    wrong = agent(lease={"ttl": "5s"})
    done = bare.estate.try_to_play("consulops.failover.install", consulops_runtime_agents=[wrong])
    assert done.returncode != 0 and "lease.ttl: 5s is not between 20 and 86400 seconds." in done.stdout
    assert bare.host.run("cat", "/etc/consulops/demonstration/agent.json").stdout == config
    assert bare.pid() == pid
    # Edited by hand it makes systemctl reload fail, and the old configuration stays in force.
    path = "/etc/consulops/demonstration/agent.json"
    bare.host.run("install", "-m", "644", "/dev/stdin", path, stdin='{"agent": ')
    assert bare.host.run("systemctl", "reload", "consulops-demonstration", check=False).returncode != 0
    assert "line 1, column" in bare.host.run("journalctl", "-q", "-u", "consulops-demonstration").stdout
    assert bare.pid() == pid and bare.estate.status(bare.host)["state"] == "active"
    bare.host.run("install", "-m", "644", "/dev/stdin", path, stdin=config)
    assert bare.host.run("systemctl", "reload", "consulops-demonstration").returncode == 0
    told = agent(connection={"token": "0b7c5a52-in-the-wrong-place"})
    done = bare.estate.try_to_play("consulops.failover.install", "--diff", consulops_runtime_agents=[told])
    assert done.returncode != 0 and "connection.token" in done.stdout and "wrong-place" not in done.stdout
    misspelt = bare.estate.try_to_play("consulops.failover.install", consulops_runtime_agents=[agent(leese={})])
    assert misspelt.returncode != 0 and "leese" in misspelt.stdout
    assert bare.pid() == pid


def test_files_of_others_and_state_of_agents_are_not_removed(bare: Bare) -> None:
    """The user is Consul's, there is a file of another program, and the agent has state."""
    bare.install(consulops_runtime_user="consul")
    bare.host.run("touch", "/etc/consulops/note")
    bare.host.run("touch", "/var/lib/consulops/demonstration/kept")
    gone = {"consulops_runtime_state": "absent", "consulops_runtime_user": "consul"}
    bare.estate.play("consulops.failover.install", **gone)
    assert bare.host.run("find", "/etc/consulops", "-type", "f").stdout == "/etc/consulops/note\n"
    assert bare.host.run("getent", "passwd", "consul").stdout.startswith("consul:")
    assert bare.host.run("ls", "/var/lib/consulops/demonstration").stdout == "kept\n"
    assert "changed=0" in bare.estate.play("consulops.failover.install", **gone)
    bare.host.run("rm", "/etc/consulops/note")


def test_names_that_would_lead_to_other_paths_are_refused_before_any_change(bare: Bare) -> None:
    bare.install(consulops_runtime_agents=two_agents())
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
                [agent(), agent(options={"interval": "9s"})],
                [agent(), agent(name="second")],
                [{"name": "demonstration"}],
                [agent(credentials={"../token": "x"})],
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


def test_a_run_after_a_failed_one_completes_it(bare: Bare) -> None:
    """Whether a secret or the bundle was new: agents run on what is installed."""
    bare.install(consulops_runtime_agents=two_agents())
    bare.wait_active()
    first, second = bare.pid(), bare.pid("second")
    bare.host.run("sh", "-c", "printf '#' >> /usr/local/lib/consulops/consulops.pyz")
    new = {**agent()["credentials"], "more": "x"}
    wrong = [agent(lease={"ttl": "5s"}), {**two_agents()[1], "credentials": new}]
    for options in (("--check",), ()):
        done = bare.estate.try_to_play("consulops.failover.install", *options, consulops_runtime_agents=wrong)
        assert done.returncode != 0 and "No agent was touched" in done.stdout
        assert "lease.ttl: 5s is not between 20 and 86400 seconds." in done.stdout
    assert (bare.pid(), bare.pid("second")) == (first, second)
    assert bare.host.run("ls", "/etc/consulops/second/credentials").stdout == "token\n"
    bare.install(consulops_runtime_agents=[agent(), {**two_agents()[1], "credentials": new}])
    assert bare.pid() == first, "it runs on the bundle that was restored"
    assert bare.pid("second") != second
    bare.wait_active(9181)
    second = bare.pid("second")

    # A run without agents replaced the command alone.
    bare.host.run("sh", "-c", "printf '#' >> /usr/local/lib/consulops/consulops.pyz")
    bare.host.run("sh", "-c", "for one in demonstration second; do echo '{}' > /etc/consulops/$one/.applied; done")
    role = {"name": ROLE, "tasks_from": "bundle", "apply": {"become": True}}
    play = {"hosts": "consulops_agents", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
    bare.estate.play([play])
    bare.install(consulops_runtime_agents=two_agents())
    assert bare.pid() != first and bare.pid("second") != second
    assert bare.host.run("ls", "/etc/consulops/second/credentials").stdout == "token\n"


def test_the_message_says_why_an_agent_cannot_start_and_the_next_run_repairs_it(bare: Bare) -> None:
    taken = "import socket, time; s = socket.create_server(('127.0.0.1', 9180)); time.sleep(600)"
    bare.host.run("systemd-run", "-q", "--unit=taken", "python3", "-c", taken)
    done = bare.estate.try_to_play("consulops.failover.install")
    assert done.returncode != 0 and "The endpoint cannot listen on 127.0.0.1 port 9180" in done.stdout
    bare.install(consulops_runtime_agents=[agent(endpoint={"port": 9190})])
    bare.wait_active(9190)
    bare.host.run("systemctl", "stop", "taken")


def test_only_what_the_role_made_is_removed(bare: Bare) -> None:
    """Directories of other programs stay, even empty ones; secrets that a failed run left are removed."""
    bare.host.run("mkdir", "-p", "/etc/consulops/mine/empty", "/opt/tools/of-others")
    bare.install(consulops_runtime_directory="/opt/tools")
    bare.wait_active()
    bare.host.run("touch", "/var/lib/consulops/demonstration/kept")
    # Parts of another agent, and an agent whose unit file was removed.
    bare.host.run("install", "-D", "-m", "600", "/dev/stdin", "/etc/consulops/half/credentials/token", stdin="secret")
    bare.host.run("rm", "/etc/systemd/system/consulops-demonstration.service")
    bare.host.run("systemctl", "daemon-reload")
    bare.install(
        "-e",
        "consulops_runtime_purge=false",
        consulops_runtime_state="absent",
        consulops_runtime_agents=[],
        consulops_runtime_directory="/opt/tools",
    )
    assert bare.host.run("find", "/etc/consulops", "/opt/tools").stdout.split() == [
        "/etc/consulops",
        "/etc/consulops/mine",
        "/etc/consulops/mine/empty",
        "/opt/tools",
        "/opt/tools/of-others",
    ]
    assert bare.host.run("pgrep", "-f", "consulops.pyz", check=False).stdout == ""
    assert bare.host.run("ls", "/var/lib/consulops/demonstration").stdout == "kept\n"
    bare.host.run("rm", "-r", "/etc/consulops", "/opt/tools")


def test_the_policy_grants_no_more_than_the_agent_needs(bare: Bare) -> None:
    for key, line in (("locks/mine", 'key "locks/mine" {'), (None, "# second line")):
        wanted = [agent(lease={**LEASE, "key": key})]
        bare.install(consulops_runtime_agents=wanted, ansible_managed="first line\nsecond line")
        policy = bare.host.run("cat", "/etc/consulops/demonstration/policy.hcl").stdout
        assert 'key_prefix ""' not in policy and line in policy
        assert 'key_prefix "consulops/agents/demonstration/" {' in policy
    unit = bare.host.run("systemctl", "cat", "consulops-demonstration").stdout
    assert "# second line" in unit and "Assignment outside" not in bare.host.run("journalctl", "-q", "-b").stdout
