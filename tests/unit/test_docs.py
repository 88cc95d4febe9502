# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guides: their examples use options, variables and commands that exist, and their links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
import typing as t
from pathlib import Path

import yaml
from ansible_collections.consulops.failover.plugins.module_utils._agents.registry import AGENT_TYPES
from ansible_collections.consulops.failover.plugins.module_utils._cli import main as cli
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_config import SPEC as AGENT_SPEC
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_config import AgentConfig, make_config
from ansible_collections.consulops.failover.plugins.module_utils._tasks import (
    alert_check,
    drill_fault,
    estate_info,
    failover,
    federation,
    prepared_query,
    reconcile,
    replicate,
    service_probe,
    snapshot,
    snapshot_info,
    snapshot_rehearse,
)

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md")])
TASKS = {
    "consul_snapshot": snapshot.SNAPSHOT,
    "consul_snapshot_info": snapshot_info.SNAPSHOT_INFO,
    "consul_snapshot_rehearse": snapshot_rehearse.REHEARSE,
    "consul_kv_replicate": replicate.REPLICATE,
    "consul_kv_reconcile": reconcile.RECONCILE,
    "consul_failover": failover.FAILOVER,
    "consul_federation": federation.FEDERATION,
    "consul_drill_fault": drill_fault.DRILL_FAULT,
    "consul_estate_info": estate_info.ESTATE_INFO,
    "consul_alert_check": alert_check.ALERT_CHECK,
    "consul_service_probe": service_probe.SERVICE_PROBE,
    "consul_prepared_query": prepared_query.PREPARED_QUERY,
}
PLAYBOOKS = {path.stem: path for path in (ROOT / "playbooks").glob("*.yml")}
PLAYBOOK_TEXT = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "playbooks").rglob("*.yml"))


def blocks(language: str) -> t.Iterator[tuple[Path, str]]:
    """Give every code block in a language with the guide that it stands in."""
    for guide in GUIDES:
        for block in re.findall(rf"^```{language}\n(.*?)^```", guide.read_text(encoding="utf-8"), re.M | re.S):
            yield guide, block


def tasks_in(data: t.Any) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Give the modules of this collection in a play or a list of tasks, with their options."""
    if isinstance(data, list):
        for item in data:
            yield from tasks_in(item)
    elif isinstance(data, dict):
        for key, value in data.items():
            name = key.rpartition(".")[2] if isinstance(key, str) else ""
            if name in TASKS and isinstance(value, dict):
                yield name, value
            else:
                yield from tasks_in(value)


def check_options(spec: t.Mapping[str, t.Any], options: t.Any, path: str) -> None:
    """Assert that every option of a task, nested ones included, exists and has one of its choices."""
    for name, value in options.items():
        assert name in spec, f"{path}.{name} does not exist"
        rules = spec[name]
        values = value if isinstance(value, list) else [value]
        assert not rules.get("choices") or set(values) <= set(rules["choices"]), f"{path}.{name}: {value}"
        for nested in values:
            if isinstance(nested, dict) and "options" in rules:
                check_options(rules["options"], nested, f"{path}.{name}")


def console_lines() -> t.Iterator[list[str]]:
    """Give the words of every command line, without comments and with continued lines joined."""
    for _guide, block in blocks("console"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield shlex.split(line[2:], comments=True)


def test_the_tasks_of_the_guides_use_options_that_exist() -> None:
    found = [task for _guide, block in blocks("yaml") for task in tasks_in(yaml.safe_load(block))]
    assert {name for name, _options in found} == set(TASKS)
    for name, options in found:
        check_options(TASKS[name].spec, options, name)


def test_the_configuration_files_of_the_guides_can_be_used() -> None:
    # Those of receivers.md are tested with the receivers.
    found = [(guide.name, json.loads(block)) for guide, block in blocks("json") if guide.name != "receivers.md"]
    assert found
    for guide, options in found:
        if "agent" in options:
            make_config(options, {}, AGENT_TYPES)
        elif guide == "estate.md":
            check_options(estate_info.ESTATE_INFO.spec, options, "estate.json")
        else:
            check_options(replicate.REPLICATE.spec, options, "replicate.json")


def config_of_role(role: str, tmp_path: Path, *own: str) -> tuple[AgentConfig, dict[str, t.Any]]:
    """Return the configuration that the inventory in a role's guide gives its agent, and the variables of the role alone (``own``)."""
    inventories = [yaml.safe_load(block) for guide, block in blocks("yaml") if guide.parent.name == role]
    (given,) = (found[role]["vars"] for found in inventories if role in found)
    values = {name[len(role) + 1 :]: value for name, value in given.items()}
    for secret in values.pop("secrets"):
        (tmp_path / secret).write_text("0123456789abcdef", encoding="ascii")
    agent = role.removeprefix("consul_")
    kept = {name: values.pop(name) for name in own}
    options = {name: values[name] for name in values.keys() & AGENT_TYPES[agent].spec.keys()}
    frame = {name: values[name] for name in values.keys() & AGENT_SPEC.keys()}
    assert values.keys() == options.keys() | frame.keys()
    if "direction" in kept:
        active, generation = kept["direction"]["active"], kept["direction"]["generation"]
        options["sets"] = {active: {**options["sets"][active], "generation": generation}}
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    return make_config({**frame, "agent": agent, "options": options}, environ, AGENT_TYPES), kept


def test_the_example_of_the_alerting_role_is_a_configuration_that_can_be_used(tmp_path: Path) -> None:
    config, _own = config_of_role("consul_alerting", tmp_path, "writable_directories")
    AGENT_TYPES["alerting"].check(config.setup)


def test_the_example_of_the_replication_role_is_a_configuration_that_can_be_used(tmp_path: Path) -> None:
    config, own = config_of_role("consul_replication", tmp_path, "direction")
    active = own["direction"]["active"]
    assert [job.name for job in config.plan.jobs] == [f"set {active}", f"direction {active}"]


def test_the_command_lines_of_the_guides_are_understood() -> None:
    lines = [words[words.index("consulops") + 1 :] for words in console_lines() if "consulops" in words]
    assert len(lines) > 10
    for words in lines:
        cli._parser(words[0]).parse_args(words)


def test_the_guides_name_playbooks_and_variables_that_exist() -> None:
    playbooks = [words[1] for words in console_lines() if words[0] == "ansible-playbook" and "." in words[1]]
    assert playbooks
    assert {name.rpartition(".")[2] for name in playbooks if name.startswith("consulops.")} <= set(PLAYBOOKS)
    for guide in GUIDES:
        if guide.name == "CHANGELOG.md":
            continue
        text = guide.read_text(encoding="utf-8")
        for variable in re.findall(
            r"\bconsul_(?:restore|replicate|health|upgrade_check|estate_report)_[a-z_]+\b|\bconsul_connection\b", text
        ):
            assert re.search(rf"\b{variable}\b", PLAYBOOK_TEXT), f"{guide.name}: no playbook has {variable}"


def test_the_links_of_the_guides_lead_to_files_and_headings() -> None:
    for guide in GUIDES:
        for target in re.findall(r"\]\(([^)\s]+)\)", guide.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            name, _hash, anchor = target.partition("#")
            path = (guide.parent / name).resolve() if name else guide
            assert path.exists(), f"{guide.name}: {target}"
            assert not anchor or anchor in anchors(path), f"{guide.name}: {target}"


def anchors(path: Path) -> set[str]:
    """Return the anchors of a guide's headings, as GitHub makes them, and those that it sets itself."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))
