# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles agree with what they install: options of agents, ports, and the policies that tokens need."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import config as alerting_config
from ansible_collections.consulops.failover.plugins.module_utils._agents.registry import AGENT_TYPES
from ansible_collections.consulops.failover.plugins.module_utils._agents.replication import config as replication_config
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot import config as snapshot_config
from ansible_collections.consulops.failover.plugins.module_utils._daemon import agent_config
from ansible_collections.consulops.failover.plugins.module_utils._tasks.replication_request import REQUEST_SPEC

ROOT = Path(__file__).resolve().parents[2]

ROLES = {
    "consul_alerting": (alerting_config.SPEC, ("check",)),
    "consul_replication": ({"sets": {}}, ("check", "sync")),  # the agent knows its other options only to refuse them
    "consul_snapshots": (snapshot_config.SPEC, ("check", "save", "restore", "rehearse")),
}


def test_the_role_has_every_option_of_an_agent_except_secrets() -> None:
    """Without an option for it a secret is refused before it is written to a host."""
    specs = yaml.safe_load((ROOT / "roles/consulops_runtime/meta/argument_specs.yml").read_text(encoding="utf-8"))
    of_role = specs["argument_specs"]["main"]["options"]["consulops_runtime_agents"]["options"]

    def plain(spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        return {
            name: (rules.get("type"), rules.get("choices"), plain(rules.get("options", {})))
            for name, rules in spec.items()
            if not rules.get("no_log")
        }

    of_unit = ("agent", "state", "writable_directories", "data_directories")
    of_agent = plain({name: rules for name, rules in agent_config.SPEC.items() if name != "agent"})
    assert plain({name: rules for name, rules in of_role.items() if name not in of_unit}) == of_agent
    keys = yaml.safe_load((ROOT / "roles/consulops_runtime/vars/main.yml").read_text(encoding="utf-8"))
    assert set(keys["consulops_runtime_config_keys"]) == set(agent_config.SPEC)


@pytest.mark.parametrize("name", ROLES)
def test_the_role_of_an_agent_has_every_option_of_that_agent(name: str) -> None:
    options, more_entries = ROLES[name]
    role = ROOT / "roles" / name
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    variables = yaml.safe_load((role / "vars/main.yml").read_text(encoding="utf-8"))
    assert set(variables[f"{name}_options"]) == set(options)
    assert set(variables[f"{name}_frame"]) == set(agent_config.SPEC) - {"agent", "name", "options"}
    named = {f"{name}_{option}" for option in (*options, *variables[f"{name}_frame"])}
    assert named <= set(specs["main"]["options"])
    assert set(specs) == {"main", *more_entries}
    assert all(specs[entry]["options"] == specs["main"]["options"] for entry in more_entries)
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8"))
    documented = {name: rules["default"] for name, rules in specs["main"]["options"].items() if "default" in rules}
    assert defaults == documented
    readme = (role / "README.md").read_text(encoding="utf-8")
    assert [
        option
        for option in specs["main"]["options"]
        if not re.search(rf"`({name})?{option.removeprefix(name)}`", readme)
    ] == []


def variables_of_tasks(tasks: list[dict[str, t.Any]]) -> t.Iterator[str]:
    """Yield the names of the variables of tasks and blocks."""
    for task in tasks:
        yield from task.get("vars", {})
        for part in ("block", "rescue", "always"):
            yield from variables_of_tasks(task.get(part, []))


@pytest.mark.parametrize("role", sorted(path.name for path in (ROOT / "roles").iterdir()))
def test_a_fact_of_a_user_changes_no_variable_of_a_task(role: str) -> None:
    """Facts and registered results are stronger than variables of tasks, so each has the name of its role in front."""
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        found = variables_of_tasks(yaml.safe_load(path.read_text(encoding="utf-8")))
        assert [name for name in found if not name.startswith(("consul_", "consulops_"))] == [], path.name


def test_the_replication_role_knows_every_option_of_a_set() -> None:
    """Its variable is free, so the guide names what the agent takes, and sync gives the module what both have."""
    role = ROOT / "roles/consul_replication"
    readme = (role / "README.md").read_text(encoding="utf-8")
    assert [option for option in replication_config.SET_SPEC if f"`{option}`" not in readme] == []
    tasks = yaml.safe_load((role / "tasks/sync.yml").read_text(encoding="utf-8"))
    (given,) = (task["consulops.failover.consul_kv_replicate"] for task in tasks if "module_defaults" in task)
    assert set(given) == {"name", "source", "destination", *REQUEST_SPEC}


def test_the_snapshot_role_knows_every_option_of_a_policy_and_destination() -> None:
    """Its variable is free, so the guide names what the agent takes."""
    readme = (ROOT / "roles/consul_snapshots/README.md").read_text(encoding="utf-8")
    options = (*snapshot_config.POLICY_SPEC, *snapshot_config.DESTINATION_SPEC)
    assert [option for option in options if f"`{option}`" not in readme] == []


@pytest.mark.parametrize(
    ("policy", "libraries"),
    [
        ({"destinations": {"disk": {"url": "/srv/snapshots"}}, "recipients": []}, []),
        ({"destinations": {"bucket": {"url": "s3://bucket/dc1/"}}}, ["obstore"]),
        ({"destinations": {"disk": {"url": "/srv/snapshots"}}, "recipients": ["age1abc"]}, ["pyrage"]),
        (
            {"destinations": {"blob": {"url": "az://store/"}}, "passphrase_file": "credential:words"},
            ["obstore", "pyrage"],
        ),
        ("not a policy", []),
        (None, []),
    ],
)
def test_libraries_with_compiled_parts_are_for_policies_that_need_them(
    policy: dict[str, t.Any] | None, libraries: list[str]
) -> None:
    agent = {"name": "snapshot", "agent": "snapshot", "options": {"policies": {"hourly": policy}}}
    others = [
        {"name": "gone", "state": "absent"},
        {"name": "alerting", "agent": "alerting", "options": {"url": "s3://x"}},
    ]
    role = {"consulops_runtime_agents": [agent, *others], "consulops_runtime_libraries": []}
    assert role_variable("consulops_runtime", "consulops_runtime_needed_libraries", role) == libraries


@pytest.mark.parametrize(
    ("policies", "directories"),
    [
        ({}, []),
        (
            {
                "a": None,
                "b": "text",
                "c": {"destinations": ["text"]},
                "d": {"destinations": {"e": None, "f": {"url": 5}}},
            },
            [],
        ),
        (
            {
                "a": {
                    "destinations": {"disk": {"url": "/srv/a/"}, "bucket": {"url": "s3://a/b"}, "root": {"url": "/"}}
                },
                "b": {"destinations": {"disk": {"url": "/srv/a"}, "more": {"url": "/srv/b"}}},
            },
            ["/srv/a", "/srv/b"],
        ),
    ],
)
def test_directories_of_the_snapshot_role_are_those_among_the_destinations(
    policies: dict[str, t.Any], directories: list[str]
) -> None:
    given = {"consul_snapshots_policies": policies}
    assert role_variable("consul_snapshots", "consul_snapshots_directories", given) == directories


def role_variable(role: str, name: str, given: dict[str, t.Any]) -> t.Any:
    """Return a variable of ``vars/main.yml`` of a role as Ansible computes it from the defaults and the given variables."""
    loader = DataLoader()
    parts = [
        loader.load_from_file(str(ROOT / "roles" / role / part / "main.yml"), trusted_as_template=True)
        for part in ("defaults", "vars")
    ]
    variables = {**parts[0], **given, **parts[1]}
    return Templar(loader=loader, variables=variables).template(variables[name])


def test_the_service_for_rehearsals_is_that_of_the_guide() -> None:
    guide = (ROOT / "docs/rehearsals.md").read_text(encoding="utf-8").replace("MemoryMax=5G", f"MemoryMax={5 << 30}")
    variables = {
        "consulops_runtime_user": "consulops",
        "consulops_runtime_interpreter": "/usr/bin/python3",
        "consulops_runtime_bundle": "/usr/local/lib/consulops/consulops.pyz",
        "consulops_runtime_rehearsal_consul": "/usr/bin/consul",
        "consulops_runtime_rehearsal_memory": "4G",
    }
    for name in ("consulops-rehearsal.socket", "consulops-rehearsal@.service"):
        template = (ROOT / f"roles/consulops_runtime/templates/{name}.j2").read_text(encoding="utf-8")
        unit = Templar(loader=DataLoader(), variables=variables).template(trust_as_template(template))
        (documented,) = re.findall(rf"^```ini\n# /etc/systemd/system/{re.escape(name)}\n(.*?)^```", guide, re.M | re.S)
        assert rules_of(unit) == rules_of(documented)


def test_the_runtime_role_knows_the_ports_and_policies_of_every_agent() -> None:
    role = ROOT / "roles/consulops_runtime"
    variables = yaml.safe_load((role / "vars/main.yml").read_text(encoding="utf-8"))
    ports = {name: agent.default_port for name, agent in AGENT_TYPES.items()}
    assert variables["consulops_runtime_ports"] == ports
    policies = variables["consulops_runtime_policies"]
    assert set(policies) == set(AGENT_TYPES)
    templates = {f"policy_{name}{end}.hcl.j2" for name, ends in policies.items() for end in ends}
    assert templates == {path.name for path in (role / "templates").glob("policy_*")}


def rules_of(policy: str) -> list[str]:
    """Return the lines of a policy without its comments."""
    return [line for line in policy.splitlines() if line and not line.startswith("#")]


def rendered_policy(agent: dict[str, t.Any], end: str = "") -> list[str]:
    """Return the rules that the role writes for an agent."""
    kind = agent["agent"]
    template = (ROOT / f"roles/consulops_runtime/templates/policy_{kind}{end}.hcl.j2").read_text(encoding="utf-8")
    variables = {
        "consulops_runtime_agent": agent,
        "consulops_runtime_unit": f"consulops-{agent['name']}",
        "consulops_runtime_home": "/etc",
    }
    # Ansible's own rendering: what is not defined is an error there, where plain Jinja2 goes on.
    text = Templar(loader=DataLoader(), variables=variables).template(trust_as_template(template))
    return rules_of(text)


def test_the_policy_of_the_alerting_role_is_that_of_the_default_name_with_events_and_rules_about_agents() -> None:
    options = {
        "events": [{"name": "deploy"}],
        "rules": [{"rule": "kv_replication_lag", "warning": "1m"}, {"rule": "snapshot_age"}, {"rule": "drill_failed"}],
    }
    agent = {"agent": "alerting", "name": "alerting", "options": options}
    assert rendered_policy(agent) == rules_of((ROOT / "roles/consul_alerting/files/policy.hcl").read_text("utf-8"))


@pytest.mark.parametrize(
    ("rules", "is_granted"),
    [
        (None, False),
        ([{"rule": "kv_replication_diverged"}], False),
        ([{"rule": "snapshot_age"}], True),
        ([{"rule": "snapshot_rehearsal_overdue"}], True),
        ([{"rule": "snapshot_unverified", "enabled": False}], False),
    ],
)
def test_what_snapshot_agents_publish_is_readable_where_a_rule_about_it_is_named(
    rules: list[dict[str, t.Any]] | None, is_granted: bool
) -> None:
    agent = {"agent": "alerting", "name": "alerting", "options": {"rules": rules}}
    assert ('key_prefix "consulops/snapshots/" {' in rendered_policy(agent)) is is_granted


@pytest.mark.parametrize(
    ("rules", "is_granted"),
    [(None, False), ([{"rule": "drill_overdue"}], True), ([{"rule": "drill_failed", "enabled": False}], False)],
)
def test_what_drills_publish_is_readable_where_a_rule_about_it_is_named(
    rules: list[dict[str, t.Any]] | None, is_granted: bool
) -> None:
    agent = {"agent": "alerting", "name": "alerting", "options": {"rules": rules}}
    assert ('key_prefix "consulops/drills/" {' in rendered_policy(agent)) is is_granted


@pytest.mark.parametrize(
    ("rules", "is_granted"),
    [
        (None, False),
        ([{"rule": "no_leader"}], False),
        ([{"rule": "kv_replication_diverged"}], True),
        ([{"rule": "kv_replication_lag", "enabled": False}], False),
    ],
)
def test_what_replications_publish_is_readable_where_a_rule_about_them_is_on(
    rules: list[dict[str, t.Any]] | None, is_granted: bool
) -> None:
    agent = {"agent": "alerting", "name": "alerting", "options": {"rules": rules}}
    assert ('key_prefix "consulops/replication/" {' in rendered_policy(agent)) is is_granted


def test_prefixes_of_any_form_get_rights_at_both_sides() -> None:
    prefixes = ["x/", {"source": "y/"}, {"source": "z/", "destination": "w/"}, {"source": "v/", "destination": None}]
    agent = {"agent": "replication", "name": "copy", "options": {"sets": {"there": {"prefixes": prefixes}}}}
    for end, names in (("_source", "vxyz"), ("_destination", "vwxy")):
        rules = rendered_policy(agent, end)
        assert [rule for rule in rules if "consulops" not in rule and "key_prefix" in rule] == [
            f'key_prefix "{name}/" {{' for name in names
        ]


def test_the_source_of_a_set_with_a_direction_takes_its_record() -> None:
    sets = {"there": {"prefixes": ["app/"], "reverses": "back"}, "other": {"prefixes": ["app/"]}}
    rules = rendered_policy({"agent": "replication", "name": "copy", "options": {"sets": sets}}, "_source")
    place = rules.index('key_prefix "consulops/replication/" {')
    assert rules[place + 1] == '  policy = "write"' and rules.count('  policy = "write"') == 1


@pytest.mark.parametrize(("heartbeat", "is_granted"), [("15s", True), ("off", False), (False, False)])
def test_the_source_is_writable_for_a_heartbeat_only(heartbeat: str | bool, is_granted: bool) -> None:
    sets = {"one": {"prefixes": ["app/"], "heartbeat": heartbeat}, "other": {"prefixes": ["app/"]}}
    rules = rendered_policy({"agent": "replication", "name": "copy", "options": {"sets": sets}}, "_source")
    assert ('key_prefix "consulops/replication-heartbeat/" {' in rules) is is_granted
    assert rules.count('  policy = "write"') == is_granted


@pytest.mark.parametrize("end", ["", "_source", "_destination"])
def test_the_policies_of_the_replication_role_are_those_of_one_prefix_of_named_datacenters(end: str) -> None:
    app = {"source": {"datacenter": "dc1"}, "destination": {"datacenter": "dc2"}, "prefixes": ["app/"]}
    agent = {"agent": "replication", "name": "replication", "options": {"sets": {"app": app}}}
    path = ROOT / f"roles/consul_replication/files/policy{end}.hcl"
    assert rendered_policy(agent, end) == rules_of(path.read_text(encoding="utf-8"))


def test_the_policy_of_the_snapshot_role_is_that_of_the_default_name() -> None:
    path = ROOT / "roles/consul_snapshots/files/policy.hcl"
    assert rendered_policy({"agent": "snapshot", "name": "snapshot"}) == rules_of(path.read_text(encoding="utf-8"))


def test_the_policies_of_a_replication_name_each_prefix_once_and_datacenters_without_a_name() -> None:
    first = {"prefixes": ["app/", {"source": "config/", "destination": "mirror/config/"}], "destination": {}}
    second = {"prefixes": ["app/", {"source": 'a"b/', "destination": None}], "source": {"datacenter": "dc1"}}
    agent = {"agent": "replication", "name": "copy", "options": {"sets": {"first": first, "second": second}}}

    def prefixes(end: str) -> list[str]:
        return [line for line in rendered_policy(agent, end) if line.startswith(("key_prefix", "agent_prefix"))]

    own = ['key_prefix "consulops/replication/" {', 'agent_prefix "" {']
    assert prefixes("_source") == ['key_prefix "a\\"b/" {', 'key_prefix "app/" {', 'key_prefix "config/" {', *own]
    copied = ['key_prefix "a\\"b/" {', 'key_prefix "app/" {', 'key_prefix "mirror/config/" {']
    assert prefixes("_destination") == [*copied, *own]
    agent.update(connection={"datacenter": "dc2"}, service={"register": False})
    assert prefixes("_destination") == [*copied, own[0]] and rendered_policy(agent) == []
