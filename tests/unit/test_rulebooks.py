# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rulebooks: each rule is throttled and destroys nothing, and what they name exists."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.event_source.options import SPEC
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rule_options import RULE_NAMES

ROOT = Path(__file__).resolve().parents[2]
RULEBOOKS = sorted((ROOT / "extensions/eda/rulebooks").glob("*.yml"))
GUIDE = (ROOT / "docs/event-driven.md").read_text(encoding="utf-8")
# What a rule may run: these change nothing, or only add a snapshot or a report; restart_service has its own guards.
HARMLESS = {f"consulops.failover.{name}" for name in ("health", "report", "restart_service", "consul_snapshot")}
OF_THE_USER = "{{ consul_certificate_playbook }}"


def rulesets() -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    for path in RULEBOOKS:
        for ruleset in yaml.safe_load(path.read_text(encoding="utf-8")):
            yield path.stem, ruleset


RULESETS = list(rulesets())


@pytest.mark.parametrize(("name", "ruleset"), RULESETS, ids=[name for name, _ruleset in RULESETS])
def test_rules_are_throttled_and_run_nothing_that_destroys(name: str, ruleset: dict[str, t.Any]) -> None:
    assert ruleset["execution_strategy"] == "sequential" and f"`{name}`" in GUIDE
    for rule in ruleset["rules"]:
        assert rule["throttle"]["once_within"] and rule["throttle"]["group_by_attributes"], rule["name"]
        for action in [rule["action"]] if "action" in rule else rule["actions"]:
            (kind,) = action
            assert kind == "debug" or action[kind]["name"] in {*HARMLESS, OF_THE_USER}, rule["name"]
            if action[kind].get("name", "").endswith("restart_service"):
                assert "event.meta.hosts is defined" in rule["condition"], "it would run on every host"


@pytest.mark.parametrize(("name", "ruleset"), RULESETS, ids=[name for name, _ruleset in RULESETS])
def test_options_rules_and_variables_exist(name: str, ruleset: dict[str, t.Any]) -> None:
    (source,) = ruleset["sources"]
    options = source["consulops.failover.consul"]
    assert source["name"] and options["feedback"] and set(options) <= {*SPEC, "feedback"}
    text = yaml.safe_dump(ruleset)
    named = set(re.findall(r'"([a-z_]+)"', " ".join(re.findall(r"event\.rule (?:==|in) (\[[^]]*\]|\S+)", text))))
    assert named and named <= set(RULE_NAMES)
    assert all(f"`{variable}`" in GUIDE for variable in re.findall(r"{{ (consul_\w+)", text))


def test_a_service_is_judged_without_any_other_rule() -> None:
    (task,) = yaml.safe_load((ROOT / "playbooks/tasks/judge_service.yml").read_text(encoding="utf-8"))
    off = {one["rule"] for one in task["vars"]["consulops_rules_off"] if one["enabled"] is False}
    on = {"consul_unreachable", "no_leader", "acl_token_blind", "check_status", "service_min_healthy"}
    assert off == set(RULE_NAMES) - on


def test_variables_of_the_playbooks_are_in_the_guide() -> None:
    for name in ("restart_service", "report"):
        text = (ROOT / f"playbooks/{name}.yml").read_text(encoding="utf-8")
        text += (ROOT / "playbooks/tasks/judge_service.yml").read_text(encoding="utf-8") if "restart" in name else ""
        for variable in set(re.findall(r"\bconsul_(?:restart|report)_\w+", text)):
            assert f"`{variable}`" in GUIDE, variable
