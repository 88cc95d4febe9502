# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the event source decides: its options, its positions and their file, and which changes are events."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.event_source import (
    changes,
    positions,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.event_source.failures import (
    Failures,
    Stopped,
    stopped_by,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.event_source.hosts import HostNames
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.event_source.options import (
    SPEC,
    WATCH_WORDS,
    make_source_config,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import Alert
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.checks import Check
from ansible_collections.consulops.failover.plugins.module_utils._config.connection_spec import connection_spec
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors
from ansible_collections.consulops.failover.plugins.module_utils._consul.kv import Entry
from hypothesis import given
from hypothesis import strategies as st

PLUGIN = Path(__file__).resolve().parents[4] / "extensions/eda/plugins/event_source/consul.py"


def config(**options: t.Any) -> t.Any:
    return make_source_config({"watch": ["leader"], **options}, {})


# ---------------------------------------------------------------------------------------------------------------
# Options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"watch": []}, "watch: nothing is to be watched; name some of findings, "),
        ({"watch": "node"}, "watch: there is no 'node'; there are findings, "),
        ({"watch": 3}, "watch: expected a list, not 3."),
        ({"kv_prefixes": ["a/"]}, "kv_prefixes: this option is for watch: [kv], which is not there."),
        ({"for": "3m"}, "for: this option is for watch: [findings], which is not there."),
        ({"watch": ["findings"], "for": "soon"}, "for: 'soon' is not a duration"),
        ({"watch": ["findings"], "rules": [{"rule": "x"}]}, "rules[0]: there is no rule 'x'"),
        ({"watch": ["findings"], "rules": [{"rule": "node_down", "for": "x"}]}, "rules[0].for: 'x' is not a duration"),
        ({"token": "a", "token_file": "/b"}, "token_file: token and token_file are mutually exclusive."),
        ({"datacenters": ["a", "a"]}, "datacenters[1]: 'a' is there twice."),
        (
            {"datacenters": ["a"], "connections": [{}]},
            "connections: datacenters and connections are mutually exclusive.",
        ),
        ({"state_file": "state"}, "state_file: 'state' must be an absolute path"),
        ({"hosts": {"a": []}}, "hosts.a: expected the name of a host of the inventory"),
        ({"host_format": "x"}, "host_format: 'x' must contain {node} once"),
        ({"watch": ["services"], "services": [""]}, "services: a name is empty."),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(errors.InvalidOption) as caught:
        config(**options)
    assert str(caught.value).startswith(sentence)


def test_secrets_and_what_the_engine_adds_are_accepted() -> None:
    made = config(token="secret", feedback=True, eda_feedback_queue=object(), connections=[{"token": "other"}])
    assert [endpoint.token for endpoint in made.endpoints.values()] == ["other"]
    assert "secret" not in repr(made) and "other" not in repr(made)


def test_every_option_is_documented_in_the_plugin() -> None:
    text = PLUGIN.read_text(encoding="utf-8")
    documented = {line.split(":")[0].strip() for line in text.splitlines() if line.startswith("  ") and ":" in line}
    mentioned = {name for name in connection_spec() if f"O({name})" in text}
    assert set(SPEC) <= documented | mentioned and all(f"V({word})" in text for word in WATCH_WORDS)


@given(st.text(max_size=20))
def test_a_node_never_names_more_than_one_host(node: str) -> None:
    for host in HostNames(host_format="{node}").of(node):
        assert host == node and host not in ("all", "ungrouped") and not set(host) & set(",:;&!*?[]~@/ \n")


def test_the_mapping_goes_before_the_format() -> None:
    names = HostNames.make({"a": "one", "b": ["two", "three"]}, "{node}.example.com")
    assert [names.of(node) for node in ("a", "b", "c", "all", "", "x:y")] == [
        ["one"],
        ["two", "three"],
        ["c.example.com"],
        ["all.example.com"],
        [],
        [],
    ]
    assert HostNames.make({}, "{node}").of("all") == [] and HostNames.make({}, None).of("a") == []


# ---------------------------------------------------------------------------------------------------------------
# Positions

KEYS = st.text(max_size=5)
VALUES = st.one_of(st.integers(), st.text(max_size=5), st.dictionaries(KEYS, st.integers(), max_size=2))
POSITIONS = st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4)


@given(POSITIONS)
def test_positions_come_back_from_their_file(found: dict[str, positions.Position]) -> None:
    assert positions.decode(positions.encode(found), "file") == found


@given(POSITIONS, st.data())
def test_a_journal_that_was_cut_has_all_but_its_last_line(found: dict[str, positions.Position], data: t.Any) -> None:
    text = positions.encode(found)
    kept = text[: data.draw(st.integers(0, len(text)))]
    assert positions.decode(kept, "file") == positions.decode(kept[: kept.rfind("\n") + 1], "file")


@given(st.lists(st.tuples(KEYS, st.one_of(st.none(), VALUES)), max_size=20))
def test_the_file_says_the_same_as_the_memory(steps: list[tuple[str, t.Any]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "state"
        store = positions.PositionStore(path)
        store.begin("s", {"first": 1})
        for key, value in steps:
            store.record("s", {key: value})
        known = store.get("s")
        store.close()
        again = positions.PositionStore(path)
        assert again.get("s") == known and again.get("other") is None
        assert list(again.get("s") or {}) == list(known or {}), "the order is the same"
        again.close()
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_long_journal_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "COMPACT_AFTER", 10)
    store = positions.PositionStore(tmp_path / "state")
    for number in range(1000):
        store.record("s", {"a": number})
    store.close()
    assert len((tmp_path / "state").read_text().splitlines()) < 30


@pytest.mark.parametrize("text", ["something\n", '{"consulops_event_positions":2}\n', "\x00\n"])
def test_a_file_of_something_else_is_refused_and_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").write_text(text)
    with pytest.raises(errors.LocalFailure, match="this is not a state file of this version"):
        positions.PositionStore(tmp_path / "state")
    assert (tmp_path / "state").read_text() == text


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text(positions.encode({"s": {"a": 1}}) + "{\n" + '["s","b",1]\n')
    with pytest.raises(errors.LocalFailure, match="line 4 is damaged"):
        positions.PositionStore(tmp_path / "state")


# ---------------------------------------------------------------------------------------------------------------
# Changes

STATUSES = st.sampled_from(["warning", "critical"])
CHECKS = st.dictionaries(st.sampled_from(["a", "b/c", "%"]), STATUSES).map(
    lambda found: [Check(node, "id", "name", status, "out", "web", f"{node}-1") for node, status in found.items()]
)


def applied(position: positions.Position, found: t.Sequence[changes.Change]) -> positions.Position:
    result = dict(position)
    positions.apply(result, {change.key: change.value for change in found})
    return result


@given(CHECKS, CHECKS)
def test_changes_lead_from_one_state_to_the_other_and_then_there_are_none(
    before: list[Check], after: list[Check]
) -> None:
    position = applied({}, changes.check_changes({}, before, (), "dc1", 1))
    found = changes.check_changes(position, after, (), "dc1", 2)
    position = applied(position, found)
    assert {key: value["status"] for key, value in position.items()} == {
        changes.check_key(check): check.status for check in after
    }
    assert changes.check_changes(position, after, (), "dc1", 3) == []
    assert all(change.event["before"] != change.event["state"] for change in found)
    json.dumps([change.event for change in found])


def entry(key: str, index: int) -> Entry:
    return Entry(key, b"v", 0, index)


INDEXES = st.dictionaries(KEYS, st.integers(1, 3), max_size=5)


@given(INDEXES, INDEXES)
def test_every_key_that_differs_is_one_event(before: dict[str, int], after: dict[str, int]) -> None:
    found = changes.key_changes(before, [entry(*one) for one in after.items()], "dc1", 1)
    differ = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    assert {change.key for change in found} == differ and len(found) == len(differ)
    assert {change.key for change in found if change.event["state"] == "deleted"} == set(before) - set(after)
    assert applied(before, found) == after


@given(st.lists(st.text(max_size=4), min_size=1, max_size=4))
def test_keys_of_positions_come_apart_again(parts: list[str]) -> None:
    assert changes.split_key(changes.join_key(*parts)) == parts


def alert(episode: str, severity: str = "critical", status: str = "firing", **more: t.Any) -> Alert:
    return Alert("dc1/check_status/n", episode, status, severity, "check_status", "dc1", "summary", 1.0, **more)


def test_an_episode_that_ended_and_began_again_in_between_is_two_events() -> None:
    (first,) = changes.finding_changes({}, [alert("e1")], [], 1)
    position = {first.key: first.value}
    found = changes.finding_changes(position, [alert("e2")], [alert("e1", status="resolved")], 2)
    assert [(one.event["state"], one.event["episode"]) for one in found] == [("resolved", "e1"), ("firing", "e2")]
    assert changes.finding_changes(applied(position, found), [alert("e2")], [], 3) == []


def test_a_severity_that_changes_is_an_event() -> None:
    (first,) = changes.finding_changes({}, [alert("e1", "warning")], [], 1)
    position = {first.key: first.value}
    (worse,) = changes.finding_changes(position, [alert("e1")], [], 2)
    (better,) = changes.finding_changes(applied(position, [worse]), [alert("e1", "warning")], [], 3)
    assert (worse.event["state"], worse.event["before"]) == ("worsened", "warning")
    assert (better.event["state"], better.event["before"]) == ("improved", "critical")


@given(st.recursive(st.text("{%#a "), lambda inner: st.lists(inner) | st.dictionaries(st.text("{%#"), inner)))
def test_no_text_of_an_event_is_a_template(value: t.Any) -> None:
    def texts(one: t.Any) -> t.Iterator[str]:
        if isinstance(one, str):
            yield one
        for part in [*one, *one.values()] if isinstance(one, dict) else one if isinstance(one, list) else []:
            yield from texts(part)

    found = list(texts(changes.without_templates(value)))
    assert not any(begin in text for text in found for begin in ("{{", "{%", "{#"))
    if isinstance(value, str):
        assert found[0].replace(" ", "") == value.replace(" ", "")


def test_a_value_that_is_a_template_is_given_as_bytes_only() -> None:
    found = [Entry("a", value, 0, 1) for value in (b"plain", b"{{ x }}", b"\xff")]
    events = [changes.key_changes({}, [one], "dc1", 1, with_values=True)[0].event for one in found]
    assert [(event["value"], event["value_base64"]) for event in events] == [
        ("plain", None),
        (None, "e3sgeCB9fQ=="),
        (None, "/w=="),
    ]


def test_the_same_event_has_the_same_id_and_another_one_has_not() -> None:
    (one,) = changes.key_changes({}, [entry("a", 1)], "dc1", 1)
    (again,) = changes.key_changes({}, [entry("a", 1)], "dc1", 99)
    (later,) = changes.key_changes({"a": 1}, [entry("a", 2)], "dc1", 1)
    ids = [changes.event_id("s", change) for change in (one, again, later)]
    assert ids[0] == ids[1] != ids[2] and changes.event_id("other", one) != ids[0]


def test_events_are_remembered_for_as_long_as_consul_may_show_them() -> None:
    position = dict.fromkeys(map(str, range(changes.REMEMBERED_EVENTS + 2)), 1)
    assert list(changes.forgotten_events(position)) == ["0", "1"]
    assert changes.forgotten_events({"a": 1}) == {}


# ---------------------------------------------------------------------------------------------------------------
# Failures


def test_a_consul_that_is_away_is_one_event_for_all_streams() -> None:
    failures, away = Failures(), Stopped("unreachable", "refused")
    assert [event["state"] for event in failures.update("a", "checks", "dc1", away, 1)] == ["failed"]
    assert failures.update("b", "services", "dc1", away, 2) == []
    assert failures.update("a", "checks", "dc1", None, 3) == []
    (works,) = failures.update("b", "services", "dc1", None, 4)
    assert (works["state"], works["before_since"]) == ("works", "1970-01-01T00:00:01Z")
    assert failures.update("a", "checks", "dc1", None, 5) == []


def test_another_cause_takes_the_place_of_the_first() -> None:
    failures = Failures()
    failures.update("a", "checks", "dc1", Stopped("unreachable", "refused"), 1)
    found = failures.update("a", "checks", "dc1", Stopped("denied", "no"), 2)
    assert [(event["state"], event["error"]) for event in found] == [("works", "unreachable"), ("failed", "denied")]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (errors.NoLeader("x"), "no_leader"),
        (errors.PermissionDenied("x"), "denied"),
        (errors.Filtered("x"), "denied"),
        (errors.TimedOut("x"), "unreachable"),
        (errors.TLSFailed("x"), "unreachable"),
        (errors.UnknownDatacenter("x"), "unreachable"),
        (errors.InvalidResponse("x"), "other"),
    ],
)
def test_errors_have_causes(error: errors.ConsulError, cause: str) -> None:
    assert stopped_by(error).error == cause
