# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a drill: what is drawn and said, that nothing of a history becomes markup, and ``consulops drill report``."""

from __future__ import annotations

import json
import random
import re
import typing as t
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._cli.main import main
from ansible_collections.consulops.failover.plugins.module_utils._drill.history import (
    FAIL,
    INFO,
    NS,
    OK,
    Event,
    Header,
    History,
    Operation,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.history_reader import (
    BrokenHistory,
    read_history,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.judge import judge_history
from ansible_collections.consulops.failover.plugins.module_utils._drill.report.axes import (
    TimeAxis,
    latency_axis,
    round_up,
    step_of,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.report.latency_plot import CELL, marks_of
from ansible_collections.consulops.failover.plugins.module_utils._drill.report.page import report_page
from ansible_collections.consulops.failover.plugins.module_utils._drill.report.rate_plot import rates_of
from ansible_collections.consulops.failover.plugins.module_utils._drill.report.recovery import recoveries
from ansible_collections.consulops.failover.plugins.module_utils._drill.report.run_summary import run_summary
from ansible_collections.consulops.failover.plugins.module_utils._drill.report.scenario import (
    Interval,
    Segment,
    intervals,
    leader_segments,
    scenario_of,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.report.violations import interval_paths
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.drill_histories import HEADER, lines_of, operation, simulated

RECORDED = Path(__file__).resolve().parents[1] / "fixtures" / "drill-histories"
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\x00\ud800\x1b"
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "div",
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "b",
        "span",
    ),
    *(
        "figure",
        "figcaption",
        "svg",
        "path",
        "details",
        "summary",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "footer",
    ),
}
ATTRIBUTES = {
    *(
        "class",
        "style",
        "title",
        "role",
        "lang",
        "d",
        "viewbox",
        "preserveaspectratio",
        "aria-label",
        "aria-hidden",
        "tabindex",
    ),
    *("charset", "name", "content", "http-equiv"),
}


class Page(HTMLParser):
    """The elements, attributes and text of a document."""

    def __init__(self, document: bytes) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.styles: list[str] = []
        self.paths: dict[str, str] = {}
        self.texts: list[str] = []
        self.feed(document.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _value in attrs}
        values = dict(attrs)
        self.styles += [values["style"] or ""] if "style" in values else []
        if tag == "path" and values.get("class"):
            self.paths[str(values["class"])] = str(values["d"])

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))


def history_of(operations: t.Sequence[Operation], *events: Event, **fields: t.Any) -> History:
    return History(Header("leader-kill", ("register",), "consistent", ("n1",), "dc1", **fields), operations, events)


def event(name: str, time_s: float, /, **fields: t.Any) -> Event:
    return Event(1, name, round(time_s * NS), fields)


def page_of(history: History) -> Page:
    return Page(report_page(history, judge_history(history), "history.jsonl"))


def writes(*times_s: tuple[float, float | None]) -> list[Operation]:
    """Return a write for each start and end; one without an end is unknown."""
    return [
        operation(
            "write",
            number,
            round(start * NS),
            None if end is None else round(end * NS),
            INFO if end is None else OK,
            line=number + 2,
        )
        for number, (start, end) in enumerate(times_s)
    ]


def read_page(lines: t.Iterable[dict[str, t.Any]]) -> Page:
    return page_of(read_history(json.dumps(one).encode() + b"\n" for one in lines))


# ---------------------------------------------------------------------------------------------------------------
# Nothing of a history becomes markup


def hostile_lines(name: str, value: t.Any) -> list[dict[str, t.Any]]:
    begin = {"type": "invoke", "workload": "register", "key": name, "node": name}
    texts = {
        "drill": name,
        "datacenter": name,
        "started": name,
        "nodes": [name],
        "raft_multiplier": value,
        name or "x": value,
    }
    return [
        {**HEADER, **texts, "type": "header", "format": 1},
        {**begin, "process": 1, "f": "write", "value": 1, "time": 10},
        {"type": "ok", "process": 1, "value": 1, "time": 20_000_000, "index": 5},
        {**begin, "process": 2, "f": "read", "value": None, "time": 30_000_000},
        {"type": "ok", "process": 2, "value": 9, "time": 40_000_000, "index": 4},
        *(
            {"service": value, "node": value, "leader": value, "verdict": value, "sentence": value, "measured": value}
            | {"name": name, "type": "event", "event": kind, "time": 1_000_000 * number}
            for number, kind in enumerate(
                (
                    "leader",
                    "fault_started",
                    "fault_ended",
                    "alert_resolved",
                    "alert_firing",
                    "drill_plan",
                    name,
                )
            )
        ),
    ]


def test_hostile_names_and_values_are_shown_as_text() -> None:
    page = read_page(hostile_lines(EVIL, EVIL))
    assert page.elements <= ELEMENTS and page.attributes <= ATTRIBUTES
    assert page.text.count("<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;") > 10
    assert "Invalid" in page.text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.text(max_size=20), JSON_VALUES)
def test_any_name_and_any_value_of_events_make_a_page_without_other_elements(name: str, value: t.Any) -> None:
    reserved = {
        "type",
        "format",
        "workloads",
        "consistency",
        "event",
        "time",
        "nodes",
        "drill",
        "datacenter",
        "started",
    }
    page = read_page(hostile_lines(name + "-" if name in reserved else name, value))
    assert page.elements <= ELEMENTS and page.attributes <= ATTRIBUTES
    assert all(
        re.fullmatch(r"(height|left|right|top|width):[\d.]+(%|px)(;width:[\d.]+%)?", style) for style in page.styles
    )


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    document = report_page(read_history(lines_of(simulated(1, 200, 3, 4))), judge_history(history_of([])), "x").decode()
    assert not re.search(r"url\(|@import|https?:|src=|href=|<script", document)
    assert "Content-Security-Policy" in document and "default-src 'none'" in document
    assert "prefers-color-scheme: dark" in document and "@media print" in document


# ---------------------------------------------------------------------------------------------------------------
# Drawings


def operations_of(seed: int, count: int) -> list[Operation]:
    chance = random.Random(seed)
    found = []
    for number in range(count):
        start_ns, latency_ns = chance.randrange(600 * NS), int(10 ** chance.uniform(4, 11))
        outcome = chance.choice((OK, OK, FAIL, INFO))
        found.append(
            operation("add", number, start_ns, start_ns + latency_ns, outcome, workload="set", line=number + 2)
        )
    return found


@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from((OK, FAIL, INFO)))
def test_every_operation_has_a_mark_where_its_time_and_latency_are(seed: int, count: int, outcome: str) -> None:
    operations = operations_of(seed, count)
    scenario = scenario_of(history_of(operations))
    axis = latency_axis([one.end_ns - one.intended_ns for one in operations if one.end_ns is not None], 30, 260)
    marks = marks_of(operations, outcome, scenario.axis, axis)
    places = [(float(x), float(y)) for x, y in re.findall(r"M(\d+) (\d+)", marks.path)]
    assert len(places) == len(set(places)) == marks.total
    of_outcome = [one for one in operations if one.outcome == outcome]
    assert bool(of_outcome) == bool(places)
    for one in of_outcome:
        x = scenario.axis.x(one.intended_ns)
        y = 15 if one.end_ns is None else axis.y(one.end_ns - one.intended_ns) - (4 if outcome == FAIL else 0)
        assert any(abs(x - at) <= CELL / 2 + 0.1 and abs(y - height) <= CELL / 2 + 0.1 for at, height in places)


def test_a_report_of_100000_operations_is_small_and_shows_the_slowest() -> None:
    operations = operations_of(1, 100_000)
    slowest = max(
        (one for one in operations if one.outcome == OK), key=lambda one: t.cast(int, one.end_ns) - one.start_ns
    )
    document = report_page(history_of(operations), judge_history(history_of([])), "x")
    assert len(document) < 3_000_000
    page = Page(document)
    assert (
        f"The slowest acknowledged one took {(t.cast(int, slowest.end_ns) - slowest.start_ns) / NS:,.2f} s: {slowest}"
        in page.text
    )
    shown = re.search(r"Latency of 100,000 operations by their intended start, ([\d,]+) marks", page.text)
    assert shown and int(shown[1].replace(",", "")) == sum(
        page.paths[f"mark {outcome}"].count("M") for outcome in ("ok", "fail", "info")
    )


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_each_operation_counts_once_in_the_rates(seed: int, count: int) -> None:
    operations = operations_of(seed, count)
    rates = rates_of(operations, scenario_of(history_of(operations)).axis)
    for outcome in (OK, FAIL, INFO):
        number = sum(one.outcome == outcome for one in operations)
        assert (outcome in rates.by_outcome) == (number > 0)
        assert round(sum(rates.by_outcome.get(outcome, ())) * rates.step_ns / NS) == number
    assert max(map(len, rates.by_outcome.values())) <= 151


@given(st.integers(0, 2**62), st.integers(1, 2**62))
def test_labels_of_the_time_are_few_round_and_on_the_axis(start_ns: int, span_ns: int) -> None:
    ticks = TimeAxis(start_ns, start_ns + span_ns).ticks()
    assert len(ticks) <= 7 and all(0 <= one.place <= 100 for one in ticks)
    assert [one.place for one in ticks] == sorted({one.place for one in ticks})
    assert step_of(span_ns / NS, 6) * 6 >= span_ns / NS * 0.999


@given(st.floats(1e-6, 1e9))
def test_a_scale_is_not_below_the_value_and_at_most_two_and_a_half_times_it(value: float) -> None:
    assert value <= round_up(value) * (1 + 1e-9) and round_up(value) <= 2.5 * value * (1 + 1e-9)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50) | st.none()), min_size=2, max_size=6))
def test_operations_overlap_in_the_drawing_if_and_only_if_they_did(times: list[tuple[int, int | None]]) -> None:
    operations = writes(*((start, None if length is None else start + length) for start, length in times))
    drawn = []
    for path in interval_paths(operations, {}):
        found = re.fullmatch(r"M([\d.]+) 7H([\d.]+)", path.line)
        assert found
        drawn.append((float(found[1]), float(found[2])))
    for (one, (left, right)), (other, (other_left, other_right)) in (
        (a, b) for a in zip(operations, drawn) for b in zip(operations, drawn)
    ):
        endless = 10**18
        in_time = max(one.start_ns, other.start_ns) <= min(one.end_ns or endless, other.end_ns or endless)
        assert in_time == (max(left, other_left) <= min(right, other_right))


# ---------------------------------------------------------------------------------------------------------------
# What happened


def test_leaders_are_followed_until_nobody_asks_any_more() -> None:
    events = [
        event("leader", 0, node="n1", leader="a:8300"),
        event("leader", 2, node="n1", leader=""),
        event("leader", 1, node="n9", leader=None),
        event("leader", 3, node="n1", leader="b:8300"),
    ]
    assert leader_segments(events, ("n1", "n2"), 9 * NS) == {
        "n1": [Segment(0, 2 * NS, "a:8300"), Segment(2 * NS, 3 * NS, "none"), Segment(3 * NS, 9 * NS, "b:8300")],
        "n9": [Segment(NS, 9 * NS, "no answer")],
    }


def test_an_end_belongs_to_the_start_that_it_does_not_contradict() -> None:
    events = [
        event("on", 1, fault="kill", node="a"),
        event("on", 2, fault="pause", node="b"),
        event("off", 3, fault="kill", node="a", seconds=2),
        event("off", 4, node="c"),
        event("off", 5),
    ]
    assert intervals(events, "on", "off") == (
        Interval("fault kill, node a", NS, 3 * NS),
        Interval("fault pause, node b", 2 * NS, 5 * NS),
        Interval("node c", None, 4 * NS),
    )


def test_many_alerts_are_paired_quickly_and_those_that_are_left_out_are_counted() -> None:
    names = [f"web{number}" for number in range(20_000)]
    events = [event("alert_firing", 1, service=name) for name in names]
    events += [event("alert_resolved", 2, service=name) for name in names] + [event("alert_resolved", 3, node="n9")]
    page = page_of(history_of(writes((0, 1)), *events))
    assert "service web19: 1.00 s to 2.00 s" in page.text and "service web20: " not in page.text
    assert "and 19,981 more alerts" in page.text


def test_a_value_that_is_nested_as_deeply_as_a_history_may_have_it_is_shown_or_said_to_be_too_deep() -> None:
    def line(depth: int) -> bytes:
        return b'{"type": "event", "event": "fault_started", "time": 1, "node": ' + b"[" * depth + b"]" * depth + b"}\n"

    depths = []
    for depth in range(100, 10_000, 3):
        lines = [json.dumps(HEADER).encode() + b"\n", line(depth)]
        try:
            history = read_history(lines)
        except BrokenHistory:
            break
        depths.append(depth)
    assert "node " in page_of(history).text and depths


def test_faults_alerts_and_leaders_have_tracks_and_unknown_events_are_listed() -> None:
    page = page_of(
        history_of(
            writes((0.1, 0.2), (8, 9)),
            event("leader", 0, node="n1", leader="10.0.0.1:8300"),
            event("fault_started", 1, fault="kill", node="n1"),
            event("alert_firing", 2, node="n1", service="web"),
            event("sharks", 3, teeth=300),
            event("fault_ended", 4, fault="kill", node="n1"),
            event("load_ended", 8),
        )
    )
    assert "fault kill, node n1: 1.00 s to 4.00 s, 3.00 s" in page.text
    assert "node n1, service web: 2.00 s to no end recorded" in page.text
    assert "10.0.0.1:8300" in page.text and "sharksteeth 300" in page.text
    assert page.paths["band"].startswith("M11") and "end" in page.paths


# ---------------------------------------------------------------------------------------------------------------
# Recovery


def gaps(*operations: Operation, events: t.Sequence[Event]) -> list[tuple[float | None, bool]]:
    found = recoveries(history_of(operations, *events))
    return [(None if one.gap_ns is None else round(one.gap_ns / NS, 6), one.is_recovered) for one in found]


def test_an_outage_that_goes_on_after_the_healing_counts_for_the_fault_as_a_whole() -> None:
    events = [event("fault_started", 1), event("fault_ended", 4), event("load_ended", 9)]
    made = writes((0, 0.9), (2, None), (5, 5.5), (6, 6.1), (8.9, 8.9))
    assert gaps(*made, events=events) == [(4.5, True), (2.8, True)]


def test_a_cluster_that_does_not_come_back_was_away_at_least_until_the_end() -> None:
    events = [event("fault_started", 1), event("load_ended", 9)]
    assert gaps(*writes((0, 0.9), (2, None), (8, None)), events=events) == [(8.0, False)]


def test_without_a_change_that_was_tried_the_recovery_is_unknown() -> None:
    events = [event("fault_started", 1), event("fault_ended", 2), event("load_ended", 3)]
    assert gaps(*writes((0, 0.9)), events=events) == [(None, False), (None, False)]
    assert gaps(events=events) == [(None, False), (None, False)]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5) | st.none()), min_size=1, max_size=12),
    st.lists(st.tuples(st.booleans(), st.integers(0, 45)), max_size=4, unique_by=lambda one: one[1]),
)
def test_recovery_is_the_longest_stretch_without_an_acknowledged_change(
    times: list[tuple[int, int | None]], faults: list[tuple[bool, int]]
) -> None:
    events = [event("fault_started" if starts else "fault_ended", time) for starts, time in faults]
    operations = writes(*((start, None if length is None else start + length) for start, length in times))
    end = 46
    found = recoveries(history_of(operations, *events, event("load_ended", end)))
    moments = sorted(time for _starts, time in faults)
    acknowledged = sorted(start + length for start, length in times if length is not None)
    for place, (one, moment) in enumerate(zip(found, moments)):
        until = moments[place + 1] if place + 1 < len(moments) else end
        if not any(moment <= start <= until for start, _length in times):
            assert one.gap_ns is None
            continue
        # Around each second, from the last acknowledged change before it to the next one after it.
        expected = max(
            min([time for time in acknowledged if time > second], default=end)
            - max([time for time in acknowledged if moment <= time <= second], default=moment)
            for second in range(moment, until)
        )
        assert one.gap_ns == expected * NS


# ---------------------------------------------------------------------------------------------------------------
# What is said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("leader-kill", ["Valid", "4 checks of", "Nothing is to be done."]),
        (
            "stale-default-read",
            ["Invalid", "linearizability and index_order: The reads were in the mode default", "line 2: write"],
        ),
        ("lock-two-holders", ["Invalid", "Two clients could believe", "client1-2 held it until"]),
        ("set-lost-stale-unexpected", ["Invalid", "Lost: an addition", "Stale: a server", "Unexpected: a server"]),
        ("set-silent-server", ["Unknown", "let it end when all servers are up"]),
        ("killed-recorder", ["is cut in its middle and was ignored"]),
    ],
)
def test_the_report_of_a_recorded_history_says_the_verdict_and_what_to_do(name: str, words: list[str]) -> None:
    with (RECORDED / f"{name}.jsonl").open("rb") as lines:
        text = page_of(read_history(lines)).text
    assert [one for one in words if one not in text] == []


def test_a_history_without_operations_is_unknown_and_has_no_drawing() -> None:
    page = page_of(history_of([]))
    assert "Unknown" in page.text and "Look why no client got an answer" in page.text and "svg" not in page.elements


def test_expectations_are_shown_and_a_missed_one_is_in_the_first_line() -> None:
    expect = {
        "gap_at_fault": {"seconds": 5, "scaled": False},
        "gap_at_healing": {"seconds": 0.5, "scaled": False},
        "healthy_after": {"seconds": 90, "scaled": False},
    }
    plan = event("drill_plan", 0, raft_multiplier=1, expect=expect)
    history = history_of(
        [one._replace(state_index=number + 1) for number, one in enumerate(writes((0, 1), (2, 3), (7, 8)))],
        *(plan, event("fault_started", 1), event("fault_ended", 4), event("load_ended", 9)),
    )
    text = page_of(history).text
    assert (
        "Valid, and 1 of 3 expectations missed" in text
        and "Missed: At healing no change was acknowledged for 4.00 s" in text
    )
    assert "Not measured: Not known: the drill ended 5.0 s after healing" in text and "52met" in text
    only = event(
        "drill_plan",
        0,
        raft_multiplier=1,
        expect={**expect, "history_valid": False, "gap_at_healing": None, "healthy_after": None},
    )
    reported = history_of(writes((0, 1), (2, 3)), only, event("fault_started", 1), event("fault_ended", 4))
    assert "Unknown, which this drill only reports" in page_of(reported).text


def test_the_header_is_shown_and_what_it_does_not_say_is_not_recorded() -> None:
    text = page_of(history_of([], fields={"seed": 7, "rate": 120.0, "clients": 12, "site": "cellar"})).text
    assert "Seed7" in text and "Rate120 operations a second" in text and "Sitecellar" in text
    assert "raft_multipliernot recorded" in text
    assert "raft_multiplier5" in page_of(history_of([], fields={"raft_multiplier": 5})).text


def test_a_run_is_summed_up_for_the_trend() -> None:
    events = [event("fault_started", 1), event("fault_ended", 4), event("load_ended", 9)]
    history = history_of(writes((0, 0.9), (2, None), (5, 5.5), (6, 6.1), (8.9, 8.9)), *events)
    summary = run_summary("a.jsonl", history, judge_history(history))
    assert (summary.fault_s, summary.healing_s, summary.longest_gap_s, summary.p99_s) == (4.5, 2.8, 4.6, 0.9)
    assert summary.is_recovered and summary.operations == 5


# ---------------------------------------------------------------------------------------------------------------
# The command


def report(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["drill", "report", *map(str, words)])
    return code, *capsys.readouterr()


def write_history(path: Path, started: str) -> Path:
    path.write_bytes(b"".join(lines_of(simulated(1, 60, 3, 4), {**HEADER, "started": started})))
    return path


def test_a_report_is_written_for_an_invalid_history_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "report.html"
    code, shown, messages = report(capsys, RECORDED / "lost-update.jsonl", "--output", output)
    assert (code, messages) == (0, "") and shown.endswith("lost-update.jsonl is invalid\n")
    assert output.read_bytes().startswith(b"<!doctype html>\n") and list(tmp_path.iterdir()) == [output]


def test_several_histories_have_a_trend_and_the_newest_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = write_history(tmp_path / "a.jsonl", "2026-11-29T00:00:00Z")
    write_history(tmp_path / "b.jsonl", "2026-11-28T00:00:00Z")
    (tmp_path / "c.jsonl").write_bytes(b"{}\n")
    output = tmp_path / "report.html"
    code, shown, messages = report(capsys, tmp_path, newest, "--output", output, "--json")
    assert code == 0 and messages.count("\n") == 1 and "c.jsonl cannot be judged: line 1: type is missing" in messages
    result = json.loads(shown)
    assert result["history"] == str(newest) and len(result["runs"]) == 3
    text = Page(output.read_bytes()).text
    assert "Trend of 3 runs" in text and "p99 of changes: newest" in text and "not read" in text
    rows = text[text.index("Trend of") :]
    assert rows.index("c.jsonl: ") < rows.index("2026-11-28T00:00:00Z") < rows.index("2026-11-29T00:00:00Z")


def test_what_is_there_is_overwritten_with_force_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "report.html"
    output.write_text("mine", encoding="utf-8")
    words = (RECORDED / "leader-kill.jsonl", "--output", output)
    code, _shown, messages = report(capsys, *words)
    assert code == 3 and f"{output} exists: name another file, or overwrite it with --force." in messages
    assert output.read_text(encoding="utf-8") == "mine"
    assert report(capsys, *words, "--force")[0] == 0 and output.read_bytes().startswith(b"<!doctype")


def test_a_history_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = write_history(tmp_path / "a.jsonl", "2026-11-29T00:00:00Z")
    before = history.read_bytes()
    (tmp_path / "link").symlink_to(history)
    for output in (history, tmp_path / "link"):
        code, _shown, messages = report(capsys, tmp_path, "--output", output, "--force")
        assert code == 2 and "is one of the histories" in messages
    assert history.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "output", "code", "words"),
    [
        (b"", "report.html", 1, "cannot be judged: it has no complete header"),
        (b'{"type": "hea', "report.html", 1, "cannot be judged: it has no complete header"),
        (None, "report.html", 1, "history.jsonl: No such file or directory."),
        (b"{}\n", "absent/report.html", 1, "No such file or directory. Create it first"),
        (b"{}\n", "history.jsonl/report.html", 1, "Not a directory"),
        (b"{}\n", ".", 3, "exists: name another file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    content: bytes | None, output: str, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = tmp_path / "history.jsonl"
    if content is not None:
        history.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    result, shown, messages = report(capsys, history, "--output", tmp_path / output)
    assert (result, shown) == (code, "") and words in messages and messages.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_directory_without_a_history_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _shown, messages = report(capsys, tmp_path, "--output", tmp_path / "report.html")
    assert code == 1 and f"The directory {tmp_path} has no file *.jsonl" in messages
