# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are written whole or not at all, and the lock on a directory, which another process may hold for too long."""

from __future__ import annotations

import errno
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import LocalFailure
from ansible_collections.consulops.failover.plugins.module_utils._consul.private_file import (
    PrivateFile,
    locked,
    os_errors_as,
    sweep_abandoned,
)


def test_waiting_for_the_lock_on_a_directory_ends(tmp_path: Path) -> None:
    started = time.monotonic()
    with locked(tmp_path):
        with pytest.raises(LocalFailure, match=r"another process has had the lock for 0\.2 s"), locked(tmp_path, 0.2):
            pass
    assert 0.2 <= time.monotonic() - started < 10


def test_a_lock_that_becomes_free_in_time_is_taken(tmp_path: Path) -> None:
    taken = threading.Event()

    def take() -> None:
        with locked(tmp_path, 30):
            taken.set()

    thread = threading.Thread(target=take)
    with locked(tmp_path):
        thread.start()
        assert not taken.wait(0.2)
    assert taken.wait(10)
    thread.join()


def _refuse(*_args: t.Any, **_options: t.Any) -> t.NoReturn:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_file_system_that_became_read_only_during_a_write_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LocalFailure, match="writing .*: Read-only file system"), PrivateFile(tmp_path):
        monkeypatch.setattr(Path, "unlink", _refuse)
        with os_errors_as(f"writing to {tmp_path}"):
            _refuse()


def test_a_directory_that_cannot_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", _refuse)
    with pytest.raises(LocalFailure, match="reading the directory"):
        sweep_abandoned(tmp_path)
