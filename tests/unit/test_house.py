# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The house itself: who may import whom, what stands where, and what must agree with what."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.consulops.failover.plugins.module_utils._consul import version
from ansible_collections.consulops.failover.plugins.module_utils._daemon import agent_config

ROOT = Path(__file__).resolve().parents[2]
UTILS = ROOT / "plugins" / "module_utils"
PACKAGE = "ansible_collections.consulops.failover.plugins.module_utils"
WINGS = {"_snapshot", "_replication", "_alerting", "_drill"}
THIRD_PARTY = {"requests", "urllib3", "consul", "msgpack"}

SOURCES = sorted(path for path in UTILS.rglob("*.py") if path.stat().st_size)


def imported(path: Path) -> set[str]:
    """Return the absolute names of all modules that a file imports."""
    package = [PACKAGE, *path.relative_to(UTILS).with_suffix("").parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def floors(path: Path) -> set[str]:
    """Return which of our packages a file imports."""
    inside = {name[len(PACKAGE) + 1 :] for name in imported(path) if name.startswith(PACKAGE + ".")}
    return {name.split(".")[0] for name in inside}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(UTILS)))
def test_arrows_point_down_only(path: Path) -> None:
    home = path.relative_to(UTILS).parts[0]
    allowed = {
        "_ansible.py": {"_consul", "_tasks"},
        "_consul": {"_consul"},
        "_config": {"_config", "_consul"},
        "_tasks": {"_tasks", "_config", "_consul", *WINGS},
        "_daemon": {"_daemon", "_config", "_consul"},
        "_cli": {"_cli", "_daemon", "_tasks", "_config", "_consul", *WINGS},
        **{wing: {wing, "_consul"} for wing in WINGS},
    }
    assert floors(path) <= allowed[home]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(UTILS)))
def test_only_one_file_knows_ansible_and_only_one_the_libraries(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    if path.name != "_ansible.py":
        assert "ansible" not in roots
    if path.name != "_libraries.py":
        assert not roots & THIRD_PARTY


def test_the_layering_test_sees_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = UTILS / "_consul" / "client.py"
    text = "from .._snapshot import save\nimport ansible.errors\n"
    monkeypatch.setattr(Path, "read_text", lambda _path, **_options: text)
    assert floors(bad) == {"_snapshot"}
    assert "ansible.errors" in imported(bad)


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: path.name)
def test_nothing_catches_everything(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ""
            assert caught not in ("", "Exception", "BaseException")


def test_versions_agree() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    changelog = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text(encoding="utf-8"))
    assert galaxy["version"] == version.VERSION
    assert f"{galaxy['namespace']}.{galaxy['name']}" == version.COLLECTION
    assert version.VERSION in changelog["releases"]


def test_the_action_group_holds_every_module() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["action_groups"]
    modules = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}
    assert set(groups["consul"]) == modules - {"consulops_bundle"}  # it speaks to no Consul


def test_requirements_agree_with_what_is_imported() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert {line.split(">=")[0] for line in text.split()} == {"requests", "python-consul2", "msgpack"}


def test_the_role_knows_every_option_of_an_agent_but_the_secrets() -> None:
    """A secret is refused before it is written anywhere, because the role does not know it as an option."""
    specs = yaml.safe_load((ROOT / "roles/consulops_runtime/meta/argument_specs.yml").read_text(encoding="utf-8"))
    of_role = specs["argument_specs"]["main"]["options"]["consulops_runtime_agents"]["options"]

    def plain(spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        return {
            name: (rules.get("type"), rules.get("choices"), plain(rules.get("options", {})))
            for name, rules in spec.items()
            if not rules.get("no_log")
        }

    wanted = plain({name: rules for name, rules in agent_config.SPEC.items() if name != "agent"})
    found = plain({name: rules for name, rules in of_role.items() if name not in ("agent", "state")})
    assert found == wanted
    keys = yaml.safe_load((ROOT / "roles/consulops_runtime/vars/main.yml").read_text(encoding="utf-8"))
    assert set(keys["consulops_runtime_config_keys"]) == set(agent_config.SPEC)
