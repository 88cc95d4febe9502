# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock on a directory, which another process may hold for too long."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import LocalFailure
from ansible_collections.consulops.failover.plugins.module_utils._consul.private_file import locked


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
