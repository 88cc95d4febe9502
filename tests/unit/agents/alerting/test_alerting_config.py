# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the alerting agent: what is accepted, and where an error is."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.config import make_alerting_config
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption

from .scenario import TYPES, check, config, options

OPS = {"type": "mail", "to": "ops@example.org"}


def test_a_complete_configuration_is_accepted() -> None:
    made = config(
        datacenters=["dc1", "dc2"],
        expect={"dc1": {"servers": ["s1"], "nodes": 4, "services": {"web": 2}}},
        rules=[{"rule": "service_min_healthy", "match": {"service": "web"}, "warning": 3, "critical": 1, "for": "1m"}],
        recover_for="1m",
        receivers={"ops": {**OPS, "template": {"subject": "{{ what }}"}}, "pager": OPS},
        fallback_receiver="pager",
        route={
            "receiver": "ops",
            "group_by": ["datacenter", "node_meta.rack"],
            "routes": [{"match": {"service_meta": {"team": "dba"}}, "receiver": "pager", "repeat_every": "never"}],
        },
    )
    assert made.receivers["ops"].options == {"to": "ops@example.org"}
    assert made.rules.also_read == {"node_meta", "service_meta"}
    assert made.expected["dc1"].services == {"web": 2}
    assert made.core.timing.of(check()).recover_for_s == 60.0
    assert [one.repeat_every_s for one in made.core.policy.route.all_routes()] == [14400.0, 0.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"receiver": {}}, r"options\.receiver: unknown option\. Did you mean receivers\?"),
        ({"receivers": {}}, r"options\.receivers: there is no receiver"),
        ({"receivers": []}, r"options\.receivers: expected an object, not a list"),
        ({"receivers": {"ops": "mail"}}, r"options\.receivers\.ops: expected an object"),
        ({"receivers": {"ops": {}}}, r"options\.receivers\.ops\.type: this option is required"),
        ({"receivers": {"ops": {"type": "pigeon"}}}, r"\.ops\.type: there is no type 'pigeon'; there are mail"),
        ({"receivers": {"ops": {"type": ["mail"]}}}, r"\.ops\.type: there is no type"),
        (
            {"receivers": {"ops": {**OPS, "too": "x"}}},
            r"options\.receivers\.ops\.too: unknown option\. Did you mean to\?",
        ),
        ({"receivers": {"ops": {**OPS, "to": 3}}}, r"options\.receivers\.ops\.to: expected a string"),
        ({"receivers": {"a b": OPS}}, r"options\.receivers\.a b: "),
        ({"receivers": {"ops": OPS, "OPS": OPS}}, "'ops' and 'OPS' differ in case only"),
        (
            {"receivers": {"ops": {**OPS, "template": {"text": "{% for %}"}}}},
            r"\.ops\.template\.text: the template cannot be used: line 1",
        ),
        (
            {"receivers": {"ops": {**OPS, "template": {"subject": "{{ wat }}"}}}},
            "template cannot be used: 'wat' is undefined",
        ),
        (
            {"fallback_receiver": "x"},
            r"options\.fallback_receiver: there is no receiver 'x'; there are dba, ops, pager",
        ),
        ({"route": {}}, r"options\.route\.receiver: this option is required"),
        ({"route": {"receiver": "x"}}, r"options\.route\.receiver: there is no receiver 'x'"),
        ({"route": {"receiver": "ops", "match": {"node": "x"}}}, r"options\.route\.match: the first route takes every"),
        ({"route": {"receiver": "ops", "continue": True}}, r"options\.route\.continue: "),
        (
            {"route": {"receiver": "ops", "routes": [{"receiver": "ops"}]}},
            r"options\.route\.routes\[0\]\.match: this option",
        ),
        (
            {"route": {"receiver": "ops", "routes": [{"match": {"node": "x"}, "receiver": "y"}]}},
            r"routes\[0\]\.receiver: there is no",
        ),
        (
            {"route": {"receiver": "ops", "routes": [{"match": {"node": "re:["}}]}},
            r"options\.route\.routes\[0\]\.match\.node: ",
        ),
        (
            {"route": {"receiver": "ops", "routes": [{"match": {"severity": "crit"}}]}},
            r"match\.severity: there is no severity 'crit'",
        ),
        (
            {"route": {"receiver": "ops", "routes": [{"match": {"rule": "node_gone"}}]}},
            r"match\.rule: there is no rule",
        ),
        ({"route": {"receiver": "ops", "routes": [{"match": "node"}]}}, r"match is a dictionary"),
        ({"route": {"receiver": "ops", "routes": [{"match": {"node": {"a": 1}}}]}}, r"match\.node is a pattern"),
        ({"route": {"receiver": "ops", "group_by": ["color"]}}, r"options\.route\.group_by\[0\]: 'color' is none of"),
        ({"route": {"receiver": "ops", "group_by": ["...", "node"]}}, "stands alone"),
        ({"route": {"receiver": "ops", "group_wait": "soon"}}, r"options\.route\.group_wait: 'soon' is not a duration"),
        ({"route": {"receiver": "ops", "repeat_every": "1s"}}, r"options\.route\.repeat_every: 1s is not between 60"),
        (
            {"route": {"receiver": "ops", "mute_times": ["night"]}},
            r"mute_times\[0\]: there is no time interval 'night'",
        ),
        ({"inhibit": [{"source_match": {"rule": "node_down"}}]}, r"options\.inhibit\[0\]\.target_match: this option"),
        (
            {"inhibit": [{"source_match": {"rule": "node_down"}, "target_match": {"node": "*"}, "equal": ["x"]}]},
            r"options\.inhibit\[0\]\.equal\[0\]: 'x' is none of",
        ),
        ({"for": "5"}, None),
        ({"for": 5}, r"options\.for: expected a duration such as '30s', not 5"),
        ({"for": {"fatal": "5s"}}, r"options\.for\.fatal: unknown option"),
        ({"recover_for": "-1s"}, r"options\.recover_for: '-1s' is not a duration"),
        ({"rules": [{"rule": "node_down", "fro": "5s"}]}, r"options\.rules\[0\]\.fro: unknown option"),
        ({"rules": [{"rule": "node_gone"}]}, r"options\.rules\[0\]: there is no rule 'node_gone'"),
        (
            {"rules": [{"rule": "node_down", "for": {"critical": "x"}}]},
            r"options\.rules\[0\]\.for\.critical: 'x' is not a",
        ),
        ({"expect": {"dc1": {"nodes": 0}}}, r"options\.expect\.dc1\.nodes"),
        ({"flapping": {"changes": 1}}, r"options\.flapping\.changes: 1 is neither 0"),
        ({"maintenance_limit": "1s"}, r"options\.maintenance_limit: "),
        ({"silences": [{"match": {"node": "x"}}]}, r"options\.silences\[0\]\.end: this option is required"),
        (
            {"time_intervals": [{"name": "x", "time_intervals": []}]},
            r"options\.time_intervals\[0\]\.time_intervals: the list",
        ),
        ({"datacenters": ["dc1", "dc1"]}, r"options\.datacenters\[1\]: 'dc1' is empty, or stands there twice"),
        ({"datacenters": ["dc1"], "connections": [{"url": "http://x:1"}]}, "mutually exclusive"),
        ({"connections": [{"token": "x"}]}, r"options\.connections\[0\]\.token: secrets are not allowed"),
        ({"reconcile_every": "1h"}, r"options\.reconcile_every: "),
    ],
)
def test_an_error_names_the_path_of_the_key(change: dict[str, t.Any], said: str | None) -> None:
    given = options(**change)
    if said is None:
        make_alerting_config(given, TYPES)
        return
    with pytest.raises(InvalidOption, match=said) as caught:
        make_alerting_config(given, TYPES)
    assert str(caught.value).startswith("options.")


class HookType:
    SPEC: t.Mapping[str, t.Mapping[str, t.Any]] = {"url": {"type": "str", "required": True}}


def test_the_options_of_the_guide_are_accepted() -> None:
    guide = (Path(__file__).resolve().parents[4] / "docs" / "alerts.md").read_text(encoding="utf-8")
    (block,) = (one for one in re.findall(r"^```yaml\n(.*?)^```", guide, re.M | re.S) if "receivers:" in one)
    made = make_alerting_config(yaml.safe_load(block), {"webhook": HookType()})
    assert set(made.receivers) == {"ops", "pager"} and len(made.silences) == 1


def test_routes_are_not_nested_without_end() -> None:
    route: dict[str, t.Any] = {"match": {"node": "x"}}
    for _level in range(30):
        route = {"match": {"node": "x"}, "routes": [route]}
    with pytest.raises(InvalidOption, match="nested more than 20 deep"):
        config(route={"receiver": "ops", "routes": [route]})
