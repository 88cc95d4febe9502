# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fields of Consul's answers are converted, and how a check's output is made safe to show."""

from __future__ import annotations

import string
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._alerting import (
    check_output,
    gate,
    judgement_result,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.judge import judge
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observation import Observation
from ansible_collections.consulops.failover.plugins.module_utils._alerting.registry import BUILT_IN_RULES, RULE_GROUPS
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rule_options import make_rules
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules import checks
from ansible_collections.consulops.failover.plugins.module_utils._consul import answer_fields
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
ROW = {
    "Node": "n1",
    "CheckID": "c",
    "Name": "c",
    "Status": "critical",
    "Output": "HTTP 500\nbody",
    "ServiceName": "web",
    "ServiceID": "web-1",
    "ServiceTags": None,
    "ModifyIndex": 7,
}


# ---------------------------------------------------------------------------------------------------------------
# Fields of answers


def test_go_durations_are_converted_to_seconds() -> None:
    texts = ("0s", "12.5ms", "1m2.5s", "1h0m0s", "300µs", "-1ns")
    assert [answer_fields.to_seconds(text) for text in texts] == pytest.approx([0, 0.0125, 62.5, 3600, 0.0003, -1e-9])


def test_go_times_are_converted_to_unix_seconds() -> None:
    assert answer_fields.to_unix_time("0001-01-01T00:00:00Z") == 0.0
    for text in ("2026-11-22T03:00:00.123456789Z", "2026-11-22T04:00:00+01:00"):
        assert answer_fields.to_unix_time(text) == 1795316400.0


@pytest.mark.parametrize(
    ("convert", "value"),
    [
        (answer_fields.to_rows, None),
        (answer_fields.to_rows, {}),
        (answer_fields.to_rows, ""),
        (answer_fields.to_rows, [5]),
        (answer_fields.to_object, []),
        (answer_fields.to_text, None),
        (answer_fields.to_texts, "abc"),
        (answer_fields.to_texts, [None]),
        (answer_fields.to_metadata, {"a": 1}),
        (answer_fields.to_metadata, []),
        (answer_fields.to_flag, 1),
        (answer_fields.to_flag, None),
        (answer_fields.to_number, True),
        (answer_fields.to_number, "1"),
        (answer_fields.to_seconds, ""),
        (answer_fields.to_seconds, "soon"),
        (answer_fields.to_seconds, "1s later"),
        (answer_fields.to_seconds, 5),
        (answer_fields.to_unix_time, "yesterday"),
        (answer_fields.to_unix_time, None),
    ],
)
def test_a_value_of_another_type_is_refused(convert: t.Callable[[t.Any], object], value: t.Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        convert(value)


@given(JSON)
def test_no_answer_of_another_shape_passes_for_checks(answer: t.Any) -> None:
    try:
        parsed = checks.parse_checks(answer)
    except (TypeError, ValueError, LookupError):
        return
    assert answer == [] and parsed.checks == ()


def test_rows_that_are_there_already_are_judged_without_a_request() -> None:
    observation = Observation("dc1", 0.0)
    observation.add(checks.parse_checks([ROW]))
    (finding,) = judge(observation, make_rules([]), {}).findings
    assert (finding.rule, finding.check, finding.since_index) == ("check_status", "c", 7)
    assert (finding.output, finding.detail) == ("HTTP 500", "HTTP 500 body")


def test_every_reading_names_rules_that_exist_and_no_rule_is_in_two_groups() -> None:
    names = [rule.name for rule in BUILT_IN_RULES]
    assert len(names) == len(set(names)) == 28
    assert {name for group in RULE_GROUPS for reading in group.readings for name in reading.rules} <= set(names)


# ---------------------------------------------------------------------------------------------------------------
# Output of checks


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", ""),
        ("\n \r\n", ""),
        ("\n  first \nsecond", "first"),
        ("a\x1b[2Jb\x00", "a\\x1b[2Jb\\x00"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("first\u2028second", "first"),
        ("HTTP GET http://admin:hunter2@db:80/ping: 500", "HTTP GET http://…@db:80/ping: 500"),
        ("http://token@host and https://u:p@ss@host/x", "http://…@host and https://…@host/x"),
        ("http://host/?mail=a@b.example", "http://host/?mail=a@b.example"),
        ("mail to a@b.example", "mail to a@b.example"),
    ],
)
def test_the_first_line_of_an_output_is_printable_and_without_credentials(output: str, line: str) -> None:
    assert check_output.first_line(output) == line


def test_an_output_is_shortened_after_credentials_are_removed() -> None:
    output = "x" * 140 + " http://admin:" + "hunter2" * 10 + "@db/"
    assert "hunter2" not in check_output.first_line(output) + check_output.in_one_line(output)
    assert check_output.first_line("y" * 500) == "y" * 159 + "…"
    assert check_output.in_one_line("y\n" * 500) == ("y " * 150)[:299] + "…"


@given(
    st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@%", min_size=1).map(lambda text: f"S3CRET{text}"),
    st.text(max_size=30),
)
def test_no_user_information_of_a_url_is_ever_shown(userinfo: str, before: str) -> None:
    output = f"{before}https://{userinfo}@db.example/path"
    assert "S3CRET" not in check_output.first_line(output) + check_output.in_one_line(output)


def test_the_output_is_in_the_table_and_in_the_gate_sentence() -> None:
    observation = Observation("dc1", 0.0)
    observation.add(checks.parse_checks([{**ROW, "Output": 'say "no"\nmore'}]))
    judgement = judge(observation, make_rules([]), {})
    sentence = 'web on n1 of dc1: check c is critical (output: "say "no"")'
    assert judgement_result.table(judgement)[0].endswith(sentence)
    assert sentence in str(judgement_result.gate_closed(gate.GateOutcome(judgement, 1, 0.0), {}))
