# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the agent's memory reads and writes in its state directory, and what it does when that is not possible."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.memory import Memory
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.shared_state import (
    Keys,
    SharedState,
    Value,
)
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import LocalFailure
from ansible_collections.consulops.failover.plugins.module_utils._daemon.state_directory import StateDirectory

from .scenario import T0, check, config, judgement


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory({"STATE_DIRECTORY": str(tmp_path)})


def started(state: StateDirectory) -> Memory:
    memory = Memory()
    memory.configure(config(), {}, state)
    return memory


def test_a_state_that_cannot_be_read_is_left_alone_and_the_agent_works(state: StateDirectory) -> None:
    path = state.path / "alerts.json"
    path.symlink_to("alerts.json")  # as of another user: reading fails, and replacing it would not
    memory = started(state)
    memory.core.update("dc1", judgement(check()), T0)
    memory.try_to_save(state)
    assert path.is_symlink()
    assert memory.problems["state"].startswith(f"reading {path}: ")
    assert memory.problems["state"].endswith("stays as it is until the agent is started anew.")
    memory.close(0.1)


def test_a_damaged_state_of_which_no_copy_can_be_kept_is_left_alone(state: StateDirectory) -> None:
    path = state.path / "alerts.json"
    path.write_text('{"version":1,"saved')
    (state.path / "alerts.json.damaged").mkdir()
    memory = started(state)
    memory.core.update("dc1", judgement(check()), T0)
    memory.try_to_save(state)
    assert path.read_text() == '{"version":1,"saved'
    assert "is cut or damaged" in memory.problems["state"]
    memory.close(0.1)


def test_a_message_that_the_spool_lost_is_due_again_once_the_shared_notes_are_read(state: StateDirectory) -> None:
    memory = started(state)
    memory.core.update("dc1", judgement(check()), T0)
    (lost,) = memory.core.due(T0 + 30)
    memory.core.record(lost)
    memory.save(state)
    memory.close(0.1)
    (state.path / "spool").write_bytes(b"{damaged\n")
    memory = started(state)
    memory.core.update("dc1", judgement(check()), T0 + 31)
    assert memory.core.due(T0 + 32) == []
    memory.take_shared(SharedState({}, Value(), frozenset(), 1), Keys("watch"))
    assert [one.id for one in memory.core.due(T0 + 33)] == [lost.id]
    assert "1 line cannot be read" in memory.delivery.spool_problem
    memory.close(0.1)


def test_a_full_disk_is_a_problem_until_there_is_room_again(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = started(state)
    memory.core.update("dc1", judgement(check()), T0)

    def full(*_args: t.Any) -> None:
        raise LocalFailure("writing to alerts.json: No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr(StateDirectory, "write", full)
        memory.try_to_save(state)
    assert memory.problems == {"disk": "writing to alerts.json: No space left on device."}
    memory.try_to_save(state)
    assert memory.problems == {} and (state.path / "alerts.json").exists()
    memory.close(0.1)


def test_a_message_that_is_about_to_be_stored_does_not_count_as_lost(state: StateDirectory) -> None:
    memory = started(state)
    memory.core.update("dc1", judgement(check()), T0)
    due = memory.core.due(T0 + 60)
    memory.record(due)
    memory.take_shared(SharedState({}, Value(), frozenset(), 1), Keys("watch"))  # on another thread
    assert [note.notification for note in memory.core.told.notes.values()] == [one.id for one in due]
    memory.close(0.1)
