# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The spool: what was accepted survives a crash at any point, a disk that fails and a file that is damaged."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import (
    notification_json,
    spool,
    spool_file,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import (
    Alert,
    Notification,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab.notifications import NOON, alert, notification

TEXT = st.text(max_size=8)
ALERTS = st.builds(
    Alert,
    *[TEXT] * 7,
    since=st.floats(0, 2e9),
    ended=st.none() | st.floats(0, 2e9),
    tags=st.lists(TEXT, max_size=2).map(tuple),
    node_meta=st.dictionaries(TEXT, TEXT, max_size=2),
)
NOTIFICATIONS = st.builds(
    Notification,
    TEXT,
    st.sampled_from(["ops", "pager"]),
    st.sampled_from(["firing", "resolved", "reminder"]),
    st.lists(ALERTS, max_size=2).map(tuple),
    st.floats(0, 2e9),
    group=st.dictionaries(TEXT, TEXT, max_size=2),
)


def numbered(number: int, **fields: t.Any) -> Notification:
    return notification(alert(f"web{number}"), id=f"n{number}", **fields)


def ids(kept: spool.Spool, receiver: str = "ops") -> list[str]:
    return [stored.notification.id for stored in kept.pending(receiver)]


@given(NOTIFICATIONS)
def test_a_notification_survives_json(given_one: Notification) -> None:
    data = json.loads(json.dumps(notification_json.notification_to_json(given_one)))
    assert notification_json.notification_from_json(data) == given_one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": "now"}, "time is of another type"),
        ({"kind": "gossip"}, "kind is of another type"),
        ({"alerts": [{}]}, "key is missing"),
        ({"alerts": {}}, "alerts is of another type"),
        ({"group": {"a": 1}}, "group is of another type"),
    ],
)
def test_data_of_another_shape_is_refused(change: dict[str, t.Any], message: str) -> None:
    data = {**notification_json.notification_to_json(notification()), **change}
    with pytest.raises(notification_json.UnreadableNotification, match=message):
        notification_json.notification_from_json(data)


def test_fields_of_a_later_version_are_ignored() -> None:
    data = {**notification_json.notification_to_json(notification()), "mood": "calm"}
    data["alerts"][0]["colour"] = "red"
    assert notification_json.notification_from_json(data) == notification()


def test_messages_wait_in_order_until_they_are_removed_and_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "spool.jsonl"
    first = spool.Spool(path)
    for number in range(3):
        assert first.add(numbered(number), NOON + number) == (True, [], None)
    first.add(numbered(7, receiver="pager"), NOON)
    first.remove(numbered(1), True, NOON)
    again = spool.Spool(path)
    for kept in (first, again):
        assert ids(kept) == ["n0", "n2"] and ids(kept, "pager") == ["n7"] and kept.receivers() == {"ops", "pager"}
        assert kept.problem == ""
    assert again.pending("ops")[1] == (numbered(2), NOON + 2)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700


def test_a_message_that_waits_or_was_delivered_is_not_stored_again(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    kept = spool.Spool(path)
    kept.add(numbered(1), NOON)
    kept.add(numbered(2), NOON)
    assert kept.add(numbered(1), NOON) == (False, [], None)
    kept.remove(numbered(1), True, NOON)
    kept.remove(numbered(2), False, NOON)
    for one in (kept, spool.Spool(path)):
        fires = tuple(alert.episode for alert in numbered(1).alerts)
        assert one.add(numbered(1), NOON) == (False, [], spool_file.Done(True, NOON, fires))
        assert one.add(numbered(2), NOON) == (False, [], spool_file.Done(False, NOON))


def test_a_message_is_on_the_disk_before_add_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = spool.Spool(tmp_path / "spool.jsonl")
    synced: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append((tmp_path / "spool.jsonl").read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    kept.add(numbered(1), NOON)
    assert b'"n1"' in synced[-1]
    kept.remove(numbered(1), True, NOON)
    assert len(synced) == 1


class Recorded(t.NamedTuple):
    """A spool file, and after each operation its length and the messages that waited."""

    content: bytes
    states: list[tuple[int, set[str]]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    path = tmp_path_factory.mktemp("recorded") / "spool.jsonl"
    kept, states = spool.Spool(path), []
    for number in range(6):
        kept.add(numbered(number, kind="reminder" if number == 2 else "firing"), NOON)
        states.append((path.stat().st_size, set(ids(kept))))
        if number % 2:
            kept.remove(numbered(number - 1), True, NOON)
            states.append((path.stat().st_size, set(ids(kept))))
    return Recorded(path.read_bytes(), states)


@given(st.data())
def test_a_file_cut_anywhere_holds_everything_up_to_the_cut(recorded: Recorded, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(recorded.content)))
    content = spool_file.parse(recorded.content[:length], Path("spool.jsonl"))
    before = [state for size, state in recorded.states if size <= length]
    assert {identity for _receiver, identity in content.pending} == (before[-1] if before else set())
    assert content.damaged == 0


@settings(max_examples=20)
@given(st.integers(1, 400))
def test_a_file_that_was_cut_takes_new_messages(recorded: Recorded, tmp_path: Path, missing: int) -> None:
    path = tmp_path / "spool.jsonl"
    path.write_bytes(recorded.content[:-missing])
    kept = spool.Spool(path)
    kept.add(numbered(99), NOON)
    assert kept.problem == "" and ids(spool.Spool(path)) == ids(kept) and ids(kept)[-1] == "n99"


@settings(max_examples=30)
@given(st.binary(max_size=60), st.integers(0, 3000))
def test_no_content_of_the_file_is_an_error_and_nothing_of_it_is_lost(
    recorded: Recorded, tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    path = tmp_path_factory.mktemp("noise") / "spool.jsonl"
    content = recorded.content[:place] + noise + recorded.content[place:]
    path.write_bytes(content)
    kept = spool.Spool(path)
    copies = [one for one in path.parent.iterdir() if ".damaged" in one.name]
    assert bool(kept.problem) == bool(copies)
    for copy in copies:
        assert copy.read_bytes() == content and str(copy) in kept.problem


def test_a_damaged_line_costs_that_line_only_and_is_reported_with_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    kept = spool.Spool(path)
    for number in range(3):
        kept.add(numbered(number), NOON)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * 20 + b"\n"
    path.write_bytes(b"".join(lines))
    again = spool.Spool(path)
    assert ids(again) == ["n0", "n2"]
    assert again.problem.startswith(f"{path}: 1 line cannot be read and may have been messages; the file as it was is ")
    again.add(numbered(5), NOON)
    assert ids(spool.Spool(path)) == ["n0", "n2", "n5"]


def test_the_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    content = b'{"format":"consulops-spool","version":2}\n{"in":"a new way"}\n'
    path.write_bytes(content)
    kept = spool.Spool(path)
    assert kept.add(numbered(1), NOON).is_new and ids(kept) == ["n1"]
    kept.remove(numbered(1), True, NOON)
    kept.retry()
    kept.close()
    assert path.read_bytes() == content
    assert str(path) in kept.problem and "newer version" in kept.problem and "memory" in kept.problem


def test_a_file_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    path.mkdir()
    kept = spool.Spool(path)
    kept.add(numbered(1), NOON)
    assert ids(kept) == ["n1"] and kept.problem.startswith(
        f"reading {path}: Is a directory. Messages are kept in memory"
    )


@pytest.mark.parametrize("taken", [0, 7])
def test_a_full_disk_keeps_messages_in_memory_and_the_file_whole_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """``taken`` bytes of the line fit before the disk is full."""
    path = tmp_path / "spool.jsonl"
    kept = spool.Spool(path)
    kept.add(numbered(0), NOON)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _takes_then_fails(os.write, taken))
        assert kept.add(numbered(1), NOON).is_new
        kept.remove(numbered(0), True, NOON)
        assert str(path) in kept.problem and "No space left" in kept.problem and kept.is_behind
        assert ids(kept) == ["n1"]
        assert [key for _receiver, key in spool_file.read(path).pending] == ["n0"]
    kept.retry()
    assert kept.problem == "" and not kept.is_behind
    assert ids(spool.Spool(path)) == ["n1"]


def _takes_then_fails(real: t.Callable[[int, bytes], int], taken: int) -> t.Callable[[int, t.Any], int]:
    left = [taken]

    def write(descriptor: int, data: t.Any) -> int:
        if left[0]:
            size, left[0] = left[0], 0
            return real(descriptor, bytes(data)[:size])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return write


def test_a_receiver_that_is_away_loses_old_reminders_first_and_pushes_out_nobody_elses(tmp_path: Path) -> None:
    kept = spool.Spool(tmp_path / "spool.jsonl", limit_messages=3)
    kept.add(numbered(0, receiver="pager"), NOON)
    kept.add(numbered(1), NOON)
    kept.add(numbered(2, kind="reminder"), NOON)
    kept.add(numbered(3), NOON)
    assert kept.add(numbered(4), NOON) == (True, [numbered(2, kind="reminder")], None)
    assert kept.add(numbered(5), NOON) == (True, [numbered(1)], None)
    assert ids(kept) == ["n3", "n4", "n5"] and ids(kept, "pager") == ["n0"]
    assert ids(spool.Spool(tmp_path / "spool.jsonl")) == ["n3", "n4", "n5"]


def test_the_size_of_what_waits_is_bounded(tmp_path: Path) -> None:
    kept = spool.Spool(tmp_path / "spool.jsonl", limit_bytes=4000)
    for number in range(9):
        kept.add(numbered(number, instance="x" * 1000), NOON)
    assert 1 <= len(ids(kept)) <= 3 and ids(kept)[-1] == "n8"


def test_a_file_of_delivered_messages_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "COMPACT_ABOVE_BYTES", 20_000)
    path = tmp_path / "spool.jsonl"
    kept = spool.Spool(path)
    for number in range(100):
        kept.add(numbered(number), NOON)
        if number != 50:
            kept.remove(numbered(number), True, NOON)
        assert path.stat().st_size < 25_000
    assert ids(kept) == ids(spool.Spool(path)) == ["n50"]


CHILD = """
import sys
from pathlib import Path
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import spool
from tests.lab.notifications import alert, notification
kept = spool.Spool(Path(sys.argv[1]))
for number in range(10**6):
    one = notification(alert(f"web{number}"), id=f"n{number}")
    kept.add(one, 1.0)
    print(number, flush=True)
    if number % 3 == 0:
        kept.remove(one, True, 1.0)
"""


def test_a_process_that_is_killed_loses_nothing_that_it_had_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spool.jsonl"
    search = os.pathsep.join(part for part in sys.path if part)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": search}
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == 40:
                child.send_signal(signal.SIGKILL)
                break
        last = max([40, *map(int, child.stdout.read().split())])
    waiting = set(ids(spool.Spool(path)))
    assert {f"n{number}" for number in range(last + 1) if number % 3} <= waiting
    assert not {f"n{number}" for number in range(last) if number % 3 == 0} & waiting
