# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Notes in one value or in several: whatever the parts are, reading them gives what was written."""

from __future__ import annotations

import hashlib
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import note_parts
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.note_parts import (
    Spread,
    gather,
    pack,
    spread,
    unpack,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import FIRING, Alert
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.saved_state import StateUnusable
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.told import Note, Told
from hypothesis import given, settings
from hypothesis import strategies as st

from .scenario import T0


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def notes(numbers: t.Iterable[int], receivers: tuple[str, ...] = ("ops",)) -> Told:
    """Return notes about alerts of which nothing is alike, so that they compress badly."""
    told = Told()
    for number in numbers:
        name = digest(str(number))
        episode = f"{name[:16]}-1"
        told.alerts[episode] = Alert(
            f"dc1/check_status/{name}", episode, FIRING, "critical", "check_status", "dc1", name, T0, node=name
        )
        told.sources[episode] = "local"
        for receiver in receivers:
            told.notes[receiver, episode] = Note(
                receiver, episode, FIRING, "critical", T0, 1, f'["{receiver}"]', name[:32], heard=True
            )
    return told


def is_same(one: Told, other: Told) -> bool:
    return (one.notes, one.alerts, one.sources) == (other.notes, other.alerts, other.sources)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(note_parts, "MAX_PART_BYTES", 3000)


def widths(one: Spread) -> set[int]:
    return {len(name) for name in one.contents}


def test_few_notes_are_one_value_with_the_name_that_they_always_had() -> None:
    assert set(spread(notes(range(10)), {}).contents) == {""}
    assert set(spread(Told(), {}).contents) == {""}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("count", "width"), [(10, 0), (100, 1), (1500, 2)])
def test_notes_that_do_not_fit_are_spread_and_read_as_one(count: int, width: int) -> None:
    told = notes(range(count), ("ops", "pager"))
    made = spread(told, {})
    assert widths(made) == {width} and not made.left_out
    assert max(map(len, made.contents.values())) <= note_parts.MAX_PART_BYTES
    found, problems = gather(made.contents, "notes")
    assert is_same(found, told) and problems == []
    assert spread(told, made.contents) == made, "written once, there is nothing more to write"


@pytest.mark.usefixtures("small")
def test_one_alert_more_changes_one_part() -> None:
    before = spread(notes(range(100)), {}).contents
    after = spread(notes(range(101)), before).contents
    assert sum(before.get(name) != content for name, content in after.items()) == 1


@pytest.mark.usefixtures("small")
def test_parts_stay_until_half_of_the_room_suffices() -> None:
    made = spread(notes(range(100)), {})
    most = max(count for count in range(5, 60) if widths(spread(notes(range(count)), {})) == {0})
    assert widths(spread(notes(range(most)), made.contents)) == {1}
    few = notes(range(most // 3))
    assert widths(spread(few, spread(few, made.contents).contents)) == {0}


@pytest.mark.usefixtures("small")
def test_what_finds_no_room_at_all_is_counted_and_the_rest_is_kept() -> None:
    told = notes(range(12_000))
    made = spread(told, {})
    assert widths(made) == {2} and max(map(len, made.contents.values())) <= note_parts.MAX_PART_BYTES
    found, _problems = gather(made.contents, "notes")
    assert made.left_out > 0 and len(found.notes) + made.left_out == len(told.notes)
    assert found.notes.items() <= told.notes.items() and set(found.alerts) == {
        episode for _receiver, episode in found.notes
    }


@given(st.lists(st.integers(0, 300), max_size=60), st.lists(st.integers(0, 300), max_size=60), st.integers(500, 3000))
@settings(max_examples=30, deadline=None)
def test_parts_of_two_kinds_beside_each_other_lose_nothing(first: list[int], second: list[int], limit: int) -> None:
    """As after a crash while one kind replaces the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(note_parts, "MAX_PART_BYTES", limit)
        contents = dict(spread(notes(first), {}).contents)
        contents.update(spread(notes(second), contents).contents)
    found, problems = gather(contents, "notes")
    assert problems == [] and set(found.notes) >= set(notes(second).notes)


@pytest.mark.usefixtures("small")
def test_a_damaged_part_costs_that_part_and_is_named() -> None:
    told = notes(range(100))
    contents = dict(spread(told, {}).contents)
    name = min(contents)
    contents[name] = contents[name][:-5]
    found, problems = gather(contents, "consulops/agents/watch/notes")
    assert [str(one).partition(": ")[0] for one in problems] == [f"consulops/agents/watch/notes/{name}"]
    assert 80 < len(found.notes) < 100


@given(st.text())
def test_notes_are_the_same_after_packing_and_packing_is_deterministic(text: str) -> None:
    packed = pack(text)
    assert packed == pack(text)
    if text:
        assert unpack(packed, "key") == text.encode()


@given(st.binary(max_size=200))
def test_notes_that_are_damaged_are_refused(content: bytes) -> None:
    with pytest.raises(StateUnusable, match=r"^key: "):
        unpack(content, "key")


def test_notes_that_would_fill_the_memory_are_refused() -> None:
    with pytest.raises(StateUnusable, match=r"^key: "):
        unpack(pack("x" * (note_parts.MAX_TEXT_BYTES + 1)), "key")
