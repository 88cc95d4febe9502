# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a history, and ``consulops drill check``: verdicts of recorded histories, and one sentence for what cannot be read."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._cli.main import main
from ansible_collections.consulops.failover.plugins.module_utils._drill.history import INFO, OK
from ansible_collections.consulops.failover.plugins.module_utils._drill.history_reader import (
    BrokenHistory,
    read_history,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.judgement_data import junit_xml
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.drill_histories import HEADER, lines_of, simulated

RECORDED = Path(__file__).resolve().parents[1] / "fixtures" / "drill-histories"
WRITE = {"type": "invoke", "process": 1, "workload": "register", "f": "write", "key": "k", "value": 5, "time": 10}
READ = {**WRITE, "f": "read", "value": None}
DONE = {"type": "ok", "process": 1, "value": 5, "time": 20}


def lines(*records: t.Any) -> list[bytes]:
    return [json.dumps(record).encode() + b"\n" for record in records]


def checked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, t.Any, str]:
    """Return the exit code, the JSON result and the messages of a check."""
    code = main(["drill", "check", "--json", *words])
    output, messages = capsys.readouterr()
    return code, json.loads(output), messages


# ---------------------------------------------------------------------------------------------------------------
# The reader


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.2]))
def test_a_history_is_read_as_it_was_recorded(seed: int, unknown_share: float) -> None:
    operations = simulated(seed, 60, 3, 4, unknown_share)
    history = read_history(lines_of(operations))
    assert [one._replace(line=0) for one in history.operations] == [one._replace(line=0) for one in operations]
    assert history.cut_line is None and history.header.nodes == ("n1", "n2", "n3")


@given(st.integers(0, 2**32), st.data())
def test_a_history_that_is_cut_anywhere_is_read_up_to_there(seed: int, data: st.DataObject) -> None:
    whole = b"".join(lines_of(simulated(seed, 20, 2, 3, 0.1)))
    header_bytes = whole.index(b"\n")
    cut = whole[: data.draw(st.integers(header_bytes, len(whole)))]
    complete = cut.count(b"\n")
    is_in_the_middle = not cut.endswith(b"\n") and not whole.startswith(cut + b"\n")
    history = read_history(cut.splitlines(keepends=True))
    assert history.cut_line == (complete + 1 if is_in_the_middle else None)
    assert history.unfinished == sum(one.end_ns is None and one.outcome == INFO for one in history.operations)


def test_an_operation_without_an_end_is_unknown() -> None:
    history = read_history(lines(HEADER, WRITE))
    assert history.operations[0].outcome == INFO and history.unfinished == 1


def test_what_a_later_version_adds_is_ignored() -> None:
    history = read_history(lines({**HEADER, "x": 1}, {**WRITE, "y": {}}, {**DONE, "z": None, "error": None}))
    assert history.operations[0].outcome == OK


def test_the_same_name_may_stand_for_several_processes_after_a_known_end() -> None:
    again = {**WRITE, "value": 6, "time": 30}
    assert len(read_history(lines(HEADER, WRITE, DONE, again)).operations) == 2


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([WRITE], "line 1: the first line must be the header"),
        ([HEADER, HEADER], "line 2: a second header"),
        ([{**HEADER, "format": 2}], "line 1: format 2 is not known here: this version reads 1"),
        ([{**HEADER, "consistency": "eventual"}], "line 1: consistency 'eventual' is not one of default,"),
        ([{**HEADER, "workloads": ["bank"]}], "line 1: workload 'bank' is not one of register, set, lock"),
        ([{**HEADER, "workloads": "set"}], "line 1: workloads is 'set', not a list of strings"),
        ([HEADER, 5], "line 2 is not a JSON object: 5"),
        ([HEADER, {}], "line 2: type is missing"),
        ([HEADER, {"type": "maybe"}], "line 2: type 'maybe' is not one of header, event"),
        ([HEADER, {"type": "event", "time": 1}], "line 2: event is missing"),
        ([HEADER, {**WRITE, "time": 1.5}], "line 2: time is 1.5, not an integer from 0 on"),
        ([HEADER, {**WRITE, "time": -1}], "line 2: time is -1, not"),
        ([HEADER, {**WRITE, "time": 2**63}], "line 2: time is 9223372036854775808, above 9223372036854775807"),
        ([HEADER, {**WRITE, "process": True}], "line 2: process is True, not"),
        ([HEADER, {**WRITE, "f": "append"}], "line 2: f 'append' is not one of read, write, cas"),
        ([HEADER, {**WRITE, "key": None}], "line 2: key is None, not a string"),
        ([HEADER, {**WRITE, "value": "5"}], "line 2: value is '5', not an integer"),
        ([HEADER, {**WRITE, "f": "cas", "value": [1]}], "line 2: the value of a cas is [1], not two integers"),
        ([HEADER, DONE], "line 2: process 1 ends an operation that it did not begin"),
        ([HEADER, WRITE, WRITE], "line 3: process 1 begins an operation while that of line 2 is still open"),
        ([HEADER, WRITE, {**DONE, "type": "info"}, WRITE], "line 4: process 1 is used again after an operation of"),
        ([HEADER, WRITE, {**DONE, "time": 9}], "line 3: the operation of line 2 ends before it begins"),
        ([HEADER, WRITE, {**DONE, "value": 6}], "line 3: the value 6 is not the one of line 2, 5"),
        ([HEADER, WRITE, {**DONE, "index": "7"}], "line 3: index is '7', not an integer"),
        ([HEADER, READ, {"type": "ok", "process": 1, "time": 20}], "line 3: the read of line 2 has no value"),
        ([HEADER, READ, {**DONE, "value": "5"}], "line 3: the value of a read is '5', not an integer or null"),
        ([HEADER, {**READ, "workload": "set"}, DONE], "line 3: the value of a read of a set is 5, not a list"),
        ([], "it has no complete header"),
    ],
)
def test_a_line_of_another_shape_is_one_sentence_with_its_number(records: list[t.Any], words: str) -> None:
    with pytest.raises(BrokenHistory) as raised:
        read_history(lines(*records))
    assert str(raised.value).startswith(words) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "middle", [b'{"type": \n', b"\xff\xfe{}\n", b"[" * 100_000 + b"\n", b"1" * 5000 + b"\n", b"\n"]
)
def test_a_broken_line_that_is_not_the_last_is_an_error(middle: bytes) -> None:
    with pytest.raises(BrokenHistory, match="^line 2 is not "):
        read_history([*lines(HEADER), middle, *lines(WRITE)])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_any_value_in_any_field_is_read_or_refused_in_one_sentence(value: t.Any) -> None:
    for record in (WRITE, DONE, HEADER):
        for name in record:
            changed = [{**one, name: value} if one is record else one for one in (HEADER, WRITE, DONE)]
            try:
                read_history(lines(*changed))
            except BrokenHistory as error:
                assert str(error).startswith("line ")


# ---------------------------------------------------------------------------------------------------------------
# The command


@pytest.mark.parametrize(
    ("name", "verdicts", "code"),
    [
        (
            "leader-kill",
            {"linearizability": "valid", "index_order": "valid", "contents": "valid", "holders": "valid"},
            0,
        ),
        (
            "killed-recorder",
            {"linearizability": "valid", "index_order": "valid", "contents": "valid", "holders": "valid"},
            0,
        ),
        ("late-write", {"linearizability": "valid", "index_order": "valid"}, 0),
        ("stale-default-read", {"linearizability": "invalid", "index_order": "invalid"}, 3),
        ("lost-update", {"linearizability": "invalid", "index_order": "valid"}, 3),
        ("set-lost-stale-unexpected", {"contents": "invalid"}, 3),
        ("set-silent-server", {"contents": "unknown"}, 3),
        ("lock-two-holders", {"holders": "invalid"}, 3),
    ],
)
def test_a_recorded_history_has_its_verdicts(
    name: str, verdicts: dict[str, str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found, result, messages = checked(capsys, str(RECORDED / f"{name}.jsonl"))
    assert {check["checker"]: check["verdict"] for check in result["checks"]} == verdicts
    assert found == code and ("the history is" in messages) == (code != 0)


def test_the_operations_that_prove_a_violation_are_shown_with_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "check", str(RECORDED / "lost-update.jsonl")]) == 3
    output, messages = capsys.readouterr()
    assert "  line 6: cas k0 1 to 3, ok, index 43, 0.030 s to 0.034 s, client 2 at n1\n" in output
    assert output.endswith("invalid: 4 operations\n") and messages.count("\n") == 1


def test_a_cut_line_is_reported_and_the_rest_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    code, result, messages = checked(capsys, str(RECORDED / "killed-recorder.jsonl"))
    assert code == 0 and result["cut_line"] == 23 and result["unfinished"] == 1
    assert "line 23, the last one, is cut in its middle and was ignored" in messages


def test_stale_reads_are_measured_and_the_promise_of_the_mode_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    _code, result, _messages = checked(capsys, str(RECORDED / "stale-default-read.jsonl"))
    counts, remarks = result["checks"][1]["counts"], result["checks"][1]["remarks"]
    assert counts["stale_reads"] == 1 and counts["most_indexes_behind"] == 17 and counts["longest_stale_s"] == 0.021
    assert remarks[0].startswith("reads were default")
    fault = next(one for one in result["phases"] if one["phase"] == "fault" and one["kind"] == "changes")
    assert fault["latency_ms"]["max"] == 3004.0 and fault["unknown"] == 1


def test_too_few_steps_make_the_verdict_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    code, result, _messages = checked(capsys, str(RECORDED / "leader-kill.jsonl"), "--max-steps", "1")
    assert code == 3 and result["verdict"] == "unknown"
    assert main(["drill", "check", str(RECORDED / "leader-kill.jsonl"), "--max-steps", "0"]) == 2


def test_junit_has_a_case_for_each_checker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "drill.xml"
    checked(capsys, str(RECORDED / "stale-default-read.jsonl"), "--junit", str(report))
    suite = ElementTree.parse(report).getroot()
    assert suite.attrib == {"name": "drill leader-pause", "tests": "2", "failures": "2", "errors": "0"}
    failure = suite.find("testcase[@name='linearizability']/failure")
    assert failure is not None and "line 14: read k0 saw 1" in (failure.text or "")
    checked(capsys, str(RECORDED / "set-silent-server.jsonl"), "--junit", str(report))
    error = ElementTree.parse(report).getroot().find("testcase/error")
    assert error is not None and "no final read of n2" in error.attrib["message"]


@given(st.text())
def test_junit_is_well_formed_whatever_a_name_is(name: str) -> None:
    check = {"workload": name, "checker": "c", "verdict": "unknown", "violations": [], "unknown": [name]}
    ElementTree.fromstring(junit_xml({"drill": name, "checks": [{**check, "workload": "set"}]}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory. Correct the path."),
        (b"", "cannot be judged: it has no complete header"),
        (b'{"type": "head', "cannot be judged: it has no complete header"),
        (b"PK\x03\x04\n\n", "cannot be judged: line 1 is not JSON"),
        (b"\x00" * 64, "cannot be judged: it has no complete header"),
    ],
)
def test_a_file_that_is_no_history_is_one_sentence(
    content: bytes | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.jsonl"
    if content is not None:
        path.write_bytes(content)
    assert main(["drill", "check", str(path)]) == 1
    output, messages = capsys.readouterr()
    assert not output and words in messages and messages.count("\n") == 1


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = str(tmp_path / "absent" / "drill.xml")
    assert main(["drill", "check", str(RECORDED / "leader-kill.jsonl"), "--junit", report]) == 1
    messages = capsys.readouterr().err
    assert "Create it first, or correct the path." in messages and messages.count("\n") == 1
