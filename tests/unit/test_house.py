# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the tree itself: layers, imports, exception handlers, names, and files that must agree with each other.

Each rule is a function from sources to a list of violations. One test applies it to the tree, another one to a source
with a violation.
"""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import yaml
from ansible_collections.consulops.failover.plugins.module_utils._consul import version

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
UTILS = PLUGINS / "module_utils"
PACKAGE = "ansible_collections.consulops.failover.plugins.module_utils"
THIRD_PARTY = {
    *("requests", "urllib3", "consul", "msgpack"),
    *("hcl2", "lark"),  # on the controller only
    *("obstore", "pyrage"),  # for object stores and encryption only
    "cronsim",  # in the snapshot agent only
    *("bottle", "cheroot", "jaraco", "jinja2", "markupsafe", "more_itertools", "prometheus_client"),  # in agents only
}

WINGS = {"_snapshot", "_replication", "_alerting", "_drill", "_failover", "_estate"}
# DESIGN.md, section 2: what each package may import of module_utils, besides itself.
LAYERS: dict[str, set[str]] = {
    "_consul": set(),
    "_config": {"_consul"},
    **{wing: {"_consul"} for wing in WINGS},
    "_tasks": {"_config", "_consul", *WINGS},
    "_daemon": {"_config", "_consul"},
    "_agents": {"_tasks", "_daemon", "_config", "_consul", *WINGS},
    "_cli": {"_agents", "_daemon", "_tasks", "_config", "_consul"},
    "_ansible.py": {"_tasks", "_consul"},
    "modules": {"_ansible", "_tasks"},
}

# A wall clock can be set, so what waits, expires or is retried there goes by the monotonic clock. These show a time, store one for
# people and rules, or give it to a pure function.
WALL_CLOCK_PACKAGES = ("_consul", "_daemon", "_replication", "_agents/replication")
WALL_CLOCK = {
    *("_consul/private_file.py", "_daemon/pages.py", "_daemon/status_publisher.py"),
    "_replication/source_heartbeat.py",
    *(
        f"_agents/replication/{name}.py"
        for name in ("direction_job", "direction_term", "endpoint", "set_job", "status_publisher")
    ),
}

# Names of earlier versions. These are not words of ordinary prose, so they must not appear anywhere.
OLD_WORDS = re.compile(r"\b(Patience|BadAnswer|victims|quarantined|held_back|hand_over_after|_runtime)\b")
# These are: only a function, class, parameter or import with that name is an old name.
OLD_IDENTIFIERS = {
    *("announce", "settle", "withdraw", "see", "stamp", "tell", "goodbye", "survey", "explained"),
    *("Where", "Both", "Tally", "Line", "Kind", "Work", "Round", "Voice", "Facts", "Bell"),
}


class Source(t.NamedTuple):
    """A file and its text."""

    path: Path
    text: str

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


def sources(*directories: str, suffixes: t.Sequence[str] = (".py",)) -> list[Source]:
    """Return the files with these suffixes below directories of the repository."""
    paths = [path for name in directories for path in sorted((ROOT / name).rglob("*")) if path.suffix in suffixes]
    return [Source(path, path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def everything() -> list[Source]:
    """Return every text file of the repository except the changelog and this file."""
    suffixes = (".py", ".yml", ".yaml", ".md", ".j2", ".toml", ".cfg", ".txt", ".json")
    found = sources(
        "plugins", "extensions", "tests", "roles", "playbooks", "molecule", "docs", "meta", suffixes=suffixes
    )
    top = [path for path in sorted(ROOT.iterdir()) if path.suffix in suffixes or path.name == "Makefile"]
    found += [Source(path, path.read_text(encoding="utf-8")) for path in top if path.name != "CHANGELOG.md"]
    return [source for source in found if source.path != Path(__file__)]


def imported(source: Source) -> set[str]:
    """Return the absolute names of all modules that a file imports."""
    below_utils = UTILS in source.path.parents
    package = [PACKAGE, *source.path.relative_to(UTILS).with_suffix("").parts] if below_utils else []
    found = set()
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def layer(path: Path) -> str:
    """Return the entry of LAYERS for a file."""
    return path.relative_to(UTILS).parts[0] if UTILS in path.parents else path.parent.name


def upward_imports(found: t.Iterable[Source]) -> list[str]:
    """Return imports of a package from a layer that may not use it."""
    violations = []
    for source in found:
        inside = {name[len(PACKAGE) + 1 :].split(".")[0] for name in imported(source) if name.startswith(PACKAGE + ".")}
        wrong = inside - LAYERS[layer(source.path)] - {layer(source.path)}
        violations += [f"{source} imports {name}" for name in sorted(wrong)]
    return violations


def foreign_imports(found: t.Iterable[Source]) -> list[str]:
    """Return imports of Ansible outside _ansible.py, and of third-party libraries outside _libraries.py."""
    violations = []
    for source in found:
        roots = {name.split(".")[0] for name in imported(source)}
        wrong = (roots & {"ansible"} if source.path.name != "_ansible.py" else set()) | (
            roots & THIRD_PARTY if source.path.name != "_libraries.py" else set()
        )
        violations += [f"{source} imports {name}" for name in sorted(wrong)]
    return violations


def broad_handlers(found: t.Iterable[Source]) -> list[str]:
    """Return exception handlers that catch everything."""
    return [
        f"{source}:{node.lineno} catches everything"
        for source in found
        for node in ast.walk(ast.parse(source.text))
        if isinstance(node, ast.ExceptHandler)
        and (ast.unparse(node.type) if node.type else "") in ("", "Exception", "BaseException")
    ]


def wall_clocks(found: t.Iterable[Source]) -> list[str]:
    """Return where the wall clock is read, in files that have no reason to."""
    return [
        f"{source}:{node.lineno} reads the wall clock"
        for source in found
        if source.path.relative_to(UTILS).as_posix() not in WALL_CLOCK
        for node in ast.walk(ast.parse(source.text))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("time.time", "datetime.datetime.now", "datetime.now", "time.localtime")
    ]


def old_words(found: t.Iterable[Source]) -> list[str]:
    """Return lines with a word that is only an old name."""
    return [
        f"{source}:{number} {match[0]}"
        for source in found
        for number, line in enumerate(source.text.splitlines(), 1)
        for match in OLD_WORDS.finditer(line)
    ]


def old_identifiers(found: t.Iterable[Source]) -> list[str]:
    """Return functions, classes, parameters and imports with an old name that is also an English word."""
    violations = []
    for source in found:
        for node in ast.walk(ast.parse(source.text)):
            if not isinstance(node, (ast.stmt, ast.expr, ast.arg)):
                continue
            names: list[str] = []
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names = [node.name]
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [part for alias in node.names for part in alias.name.split(".")]
            elif isinstance(node, ast.arg):
                names = [node.arg]
            violations += [f"{source}:{node.lineno} {name}" for name in names if name in OLD_IDENTIFIERS]
    return violations


def test_imports_point_down_only() -> None:
    assert upward_imports(sources("plugins/module_utils", "plugins/modules")) == []


def test_only_one_file_imports_ansible_and_only_one_the_libraries() -> None:
    assert foreign_imports(sources("plugins/module_utils")) == []


def test_an_event_source_imports_nothing_but_the_collection_and_not_at_its_start() -> None:
    # The engine runs the file by its path, in a process without Ansible and without our collection on its path.
    for source in sources("extensions"):
        at_start = [node for node in ast.parse(source.text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        roots = {name.split(".")[0] for name in imported(source)}
        assert not roots & (THIRD_PARTY | {"ansible"}), source
        assert not any("ansible_collections" in ast.unparse(node) for node in at_start), source


def test_no_handler_catches_everything() -> None:
    assert broad_handlers(sources("plugins", "extensions")) == []


def test_what_waits_and_expires_does_not_go_by_the_wall_clock() -> None:
    found = sources(*(f"plugins/module_utils/{name}" for name in WALL_CLOCK_PACKAGES))
    assert wall_clocks(found) == []
    assert {source.path.relative_to(UTILS).as_posix() for source in found} >= WALL_CLOCK, "a name is out of date"


def test_the_rule_for_clocks_finds_a_violation() -> None:
    text = "import time\ndeadline = time.time() + 5\nleft = time.monotonic()\n"
    (found,) = wall_clocks([Source(UTILS / "_consul" / "lock.py", text)])
    assert found.endswith("lock.py:2 reads the wall clock")
    assert wall_clocks([Source(UTILS / "_daemon" / "pages.py", text)]) == []


def test_no_old_name_is_left() -> None:
    assert old_words(everything()) == []
    assert old_identifiers(sources("plugins", "extensions", "tests")) == []


def test_the_layer_rule_finds_a_violation() -> None:
    def violations(path: Path, text: str) -> list[str]:
        return upward_imports([Source(path, text)])

    client = UTILS / "_consul" / "client.py"
    assert violations(client, "from .._snapshot import save\n") == [
        "plugins/module_utils/_consul/client.py imports _snapshot"
    ]
    assert violations(client, "from . import errors\n") == []
    assert violations(UTILS / "_snapshot/save.py", "from .._replication.plan import x\n")
    assert violations(UTILS / "_snapshot/save.py", "from .._config import json_file\n")
    assert violations(UTILS / "_daemon/supervisor.py", f"import {PACKAGE}._tasks.task\n")
    assert violations(UTILS / "_cli/commands/alert.py", "from ..._alerting import rules\n")
    assert violations(PLUGINS / "modules/consul_snapshot.py", f"from {PACKAGE}._consul import client\n")


def test_the_import_rule_finds_a_violation() -> None:
    path = UTILS / "_consul" / "client.py"
    assert (
        len(foreign_imports([Source(path, "import ansible.errors\nfrom requests.adapters import HTTPAdapter\n")])) == 2
    )


def test_the_handler_rule_finds_a_violation() -> None:
    text = "try:\n    pass\nexcept {}:\n    pass\n"
    path = UTILS / "_consul" / "client.py"
    assert broad_handlers([Source(path, text.format("Exception"))]) and broad_handlers([Source(path, text.format(""))])
    assert not broad_handlers([Source(path, text.format("ValueError"))])


def test_the_rules_for_old_names_find_a_violation() -> None:
    def words(text: str) -> list[str]:
        return old_words([Source(ROOT / "README.md", text)])

    def identifiers(text: str) -> list[str]:
        return old_identifiers([Source(UTILS / "_consul" / "kv.py", text)])

    assert words("the key hand_over_after") and words("from .._runtime import cli") and words('row["victims"]')
    assert words("consulops_runtime, _runtime_dir and meta/runtime.yml") == []
    for text in (
        "class Kind:\n    x = 1",
        "def tell(): ...",
        "def f(stamp): ...",
        "from .x import Both",
        "import a.survey",
    ):
        assert len(identifiers(text)) == 1, text
    assert identifiers("position = file.tell()\nexplained = 1\n# Both see it: tell them\n") == []


def test_versions_agree() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    changelog = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text(encoding="utf-8"))
    assert galaxy["version"] == version.VERSION
    assert f"{galaxy['namespace']}.{galaxy['name']}" == version.COLLECTION
    assert version.VERSION in changelog["releases"]


def test_the_action_group_contains_every_module() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["action_groups"]
    modules = {path.stem for path in (PLUGINS / "modules").glob("*.py")}
    without_connection = {
        *("consulops_bundle", "consulops_libraries"),
        *("consul_snapshot_rehearse", "consul_drill_fault"),
        *("consul_raft_info", "consul_data_copy", "consul_recovery_plan"),
    }
    assert set(groups["consul"]) == modules - without_connection


def test_requirements_agree_with_what_is_imported() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert {line.split(">=")[0] for line in text.split()} == {"requests", "python-consul2", "msgpack"}
