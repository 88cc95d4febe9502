# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads what users rely on from the collection itself: modules, roles, playbooks, the command, agents and their receivers."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import config as alerting
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import event_handlers, silences
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.registry import RECEIVERS
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.route_options import (
    INHIBIT_SPEC,
    ROUTE_SPEC,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.registry import AGENT_TYPES
from ansible_collections.consulops.failover.plugins.module_utils._agents.replication.config import SET_SPEC
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.config import (
    DESTINATION_SPEC,
    POLICY_SPEC,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.rehearse_config import REHEARSE_SPEC
from ansible_collections.consulops.failover.plugins.module_utils._cli import exit_codes
from ansible_collections.consulops.failover.plugins.module_utils._cli import main as cli
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_config import SPEC as AGENT_SPEC

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "tests" / "compat" / "interface.json"
COLLECTION = "consulops.failover"

Fact = dict[str, t.Any]
Found = t.Iterator[tuple[str, Fact]]


def read() -> dict[str, Fact]:
    """Return everything by name, as the file has it."""
    return dict(sorted([*_modules(), *_roles(), *_playbooks(), *_command(), *_agents()]))


def kept() -> dict[str, Fact]:
    """Return what the file says."""
    found: dict[str, Fact] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def write(facts: t.Mapping[str, Fact]) -> None:
    """Write the file: one line for each name, so that changes of two people merge."""
    lines = [f"{json.dumps(name)}: {json.dumps(fact, sort_keys=True)}" for name, fact in sorted(facts.items())]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _modules() -> Found:
    # One call for all: each of them costs a second.
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--metadata-dump", COLLECTION]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    for name, module in json.loads(done.stdout)["all"]["module"].items():
        title = f"module {name.rpartition('.')[2]}"
        attributes = {key: one["support"] for key, one in module["doc"]["attributes"].items()}
        yield title, {"check_mode": attributes.get("check_mode"), "diff_mode": attributes.get("diff_mode")}
        yield from _options(f"{title} / option", module["doc"].get("options", {}), "suboptions")
        yield from _results(f"{title} / result", module["return"] or {})


def _roles() -> Found:
    for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        role = path.parts[-3]
        for entry, spec in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].items():
            yield f"role {role} {entry}", {}
            yield from _options(f"role {role} {entry} / variable", spec.get("options", {}), "options")


def _playbooks() -> Found:
    """Give the playbooks, and the variables for which each has a default or that it asks for."""
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        text = path.read_text(encoding="utf-8")
        yield f"playbook {path.stem}", {}
        made = set(re.findall(r"^\s*(?:- )?(?:register: )?(consul_\w+)(?::|$)", text, re.M))
        for name in sorted(set(re.findall(r"\b(consul_\w+) (?:\| default\(|is (?:not )?defined)", text)) - made):
            yield f"playbook {path.stem} / variable {name}", {}


def _command() -> Found:
    for name, code in sorted(vars(exit_codes).items()):
        if name.isupper():
            yield f"exit code {name}", {"value": code}
    for word in cli._GROUPS:
        (top,) = (one for one in cli._parser(word)._actions if isinstance(one, argparse._SubParsersAction))
        yield from _arguments(f"command consulops {word}", top.choices[word])


def _arguments(title: str, parser: argparse.ArgumentParser) -> Found:
    yield title, {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                yield from _arguments(f"{title} {word}", child)
        elif not isinstance(action, argparse._HelpAction):
            long = next((one for one in action.option_strings if one.startswith("--")), action.dest)
            fact = {
                "aliases": [one for one in action.option_strings if one != long],
                "choices": [str(one) for one in action.choices] if action.choices else None,
                "required": action.required,
                "type": "flag" if action.nargs == 0 else f"{action.nargs or 'one'} value",
            }
            yield f"{title} / {long}", _short(fact)


def _agents() -> Found:
    """Give the options of the agents' files. What is free in them, such as the name of a policy, has a title of its own."""
    yield "agent", {}
    yield from _options("agent / option", AGENT_SPEC, "options")
    for name in AGENT_TYPES:
        yield f"agent {name}", {}
        yield from _options(f"agent {name} / option", AGENT_TYPES[name].spec, "options")
    parts = {
        "agent alerting route": ROUTE_SPEC,
        "agent alerting inhibition": INHIBIT_SPEC,
        "agent alerting silence": silences.SPEC,
        "agent alerting event handler": event_handlers.SPEC,
        "agent alerting receiver": alerting.COMMON_RECEIVER_SPEC,
        "agent replication set": SET_SPEC,
        "agent snapshot policy": POLICY_SPEC,
        "agent snapshot destination": DESTINATION_SPEC,
        "agent snapshot rehearsal": REHEARSE_SPEC,
        **{f"receiver {name}": one.SPEC for name, one in RECEIVERS.items()},
    }
    for title, spec in parts.items():
        yield title, {}
        yield from _options(f"{title} / option", spec, "options")


def _options(title: str, options: t.Mapping[str, t.Any], below: str) -> Found:
    for name, option in options.items():
        fact = {key: option.get(key) for key in ("type", "elements", "required", "default", "choices", "aliases")}
        if isinstance(fact["choices"], dict):
            fact["choices"] = list(fact["choices"])
        yield f"{title} {name}", _short({**fact, "type": fact["type"] or "str"})
        yield from _options(f"{title} {name} / option", option.get(below) or {}, below)


def _results(title: str, results: t.Mapping[str, t.Any]) -> Found:
    for name, result in results.items():
        yield f"{title} {name}", _short({key: result.get(key) for key in ("type", "elements")})
        yield from _results(f"{title} {name} / result", result.get("contains") or {})


def _short(fact: t.Mapping[str, t.Any]) -> Fact:
    """Return a fact in the form that it has in the file, without what says nothing."""
    found: Fact = json.loads(json.dumps({key: value for key, value in fact.items() if value not in (None, False, [])}))
    return found
