# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on a bare host: what it changes and restarts, and that it removes what it made."""

from __future__ import annotations

import typing as t

from tests.lab.consul import eventually

from .conftest import ROLE, SECOND_PORT, Bare, agent, agent_options, two_agents


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
    bare.wait_active(SECOND_PORT)
    first, second = bare.pid(), bare.pid("second")

    # A new configuration is loaded by the running process, a new secret needs a restart.
    first_agent, second_agent = two_agents(options=agent_options("second", recover_for="1s"))
    wanted = [{**first_agent, "credentials": {**first_agent["credentials"], "more": "x"}}, second_agent]
    bare.install(consulops_runtime_agents=wanted)
    eventually(lambda: bare.estate.status(bare.host, SECOND_PORT).get("reloads") == 1, what="the second reloads")
    assert bare.pid() != first and bare.pid("second") == second
    first = bare.pid()

    # Another bundle restarts every agent. And a secret that is not listed any more is removed.
    assert "more" in bare.host.run("ls", "/etc/consulops/alerting/credentials").stdout
    bare.host.run("sh", "-c", "printf '#' >> /usr/local/lib/consulops/consulops.pyz")
    bare.install(consulops_runtime_agents=[first_agent, second_agent])
    assert bare.host.run("ls", "/etc/consulops/alerting/credentials").stdout == "token\n"
    assert bare.pid() != first and bare.pid("second") != second
    second = bare.pid("second")

    # Removing one agent leaves the other running.
    gone = [{"name": "alerting", "agent": "alerting", "state": "absent"}, second_agent]
    bare.install(consulops_runtime_agents=gone)
    assert bare.pid() == "0" and bare.pid("second") == second
    assert bare.host.run("ls", "/etc/consulops").stdout.split() == ["second"]


def test_files_of_others_and_state_of_agents_are_not_removed(bare: Bare) -> None:
    """The user is Consul's, there is a file of another program, and the agent has state."""
    bare.install(consulops_runtime_user="consul")
    bare.host.run("touch", "/etc/consulops/note")
    bare.host.run("touch", "/var/lib/consulops/alerting/kept")
    gone = {"consulops_runtime_state": "absent", "consulops_runtime_user": "consul"}
    bare.estate.play("consulops.failover.install", **gone)
    assert bare.host.run("find", "/etc/consulops", "-type", "f").stdout == "/etc/consulops/note\n"
    assert bare.host.run("getent", "passwd", "consul").stdout.startswith("consul:")
    assert "kept" in bare.host.run("ls", "/var/lib/consulops/alerting").stdout.split()
    assert "changed=0" in bare.estate.play("consulops.failover.install", **gone)
    bare.host.run("rm", "/etc/consulops/note")


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
    bare.wait_active(SECOND_PORT)
    second = bare.pid("second")

    # A run without agents replaced the command alone.
    bare.host.run("sh", "-c", "printf '#' >> /usr/local/lib/consulops/consulops.pyz")
    bare.host.run("sh", "-c", "for one in alerting second; do echo '{}' > /etc/consulops/$one/.applied; done")
    role = {"name": ROLE, "tasks_from": "bundle", "apply": {"become": True}}
    play = {"hosts": "consulops_agents", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
    bare.estate.play([play])
    bare.install(consulops_runtime_agents=two_agents())
    assert bare.pid() != first and bare.pid("second") != second
    assert bare.host.run("ls", "/etc/consulops/second/credentials").stdout == "token\n"


def test_only_what_the_role_made_is_removed(bare: Bare) -> None:
    """Directories of other programs stay, even empty ones; secrets that a failed run left are removed."""
    bare.host.run("mkdir", "-p", "/etc/consulops/mine/empty", "/opt/tools/of-others")
    bare.install(consulops_runtime_directory="/opt/tools")
    bare.wait_active()
    bare.host.run("touch", "/var/lib/consulops/alerting/kept")
    # Parts of another agent, and an agent whose unit file was removed.
    bare.host.run("install", "-D", "-m", "600", "/dev/stdin", "/etc/consulops/half/credentials/token", stdin="secret")
    bare.host.run("rm", "/etc/systemd/system/consulops-alerting.service")
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
    assert "kept" in bare.host.run("ls", "/var/lib/consulops/alerting").stdout.split()
    bare.host.run("rm", "-r", "/etc/consulops", "/opt/tools")
