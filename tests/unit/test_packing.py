# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the tests let Ansible pack modules: the byte code that a host gets is that of the source beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab.packing import CompilingZipFile, compiled


def test_python_runs_the_byte_code_that_is_packed_beside_a_source(tmp_path: Path) -> None:
    archive = tmp_path / "packed.zip"
    with CompilingZipFile(archive, "w") as packed:
        packed.writestr("one.py", "VALUE = 1\n")
        packed.writestr("note.txt", "no byte code of this\n")
        assert packed.namelist() == ["one.py", "one.pyc", "note.txt"]
    code = "import sys; sys.path.insert(0, sys.argv[1]); import one; print(one.__file__)"
    done = subprocess.run([sys.executable, "-c", code, archive], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{archive}/one.pyc"


def test_byte_code_is_kept_until_the_source_changes(tmp_path: Path) -> None:
    first = compiled("one.py", b"VALUE = 1\n", tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [first]
    compiled.cache_clear()
    assert compiled("one.py", b"VALUE = 1\n", tmp_path) == first and len(list(tmp_path.iterdir())) == 1
    assert compiled("one.py", b"VALUE = 2\n", tmp_path) != first
    assert compiled("two.py", b"VALUE = 1\n", tmp_path) != first
    assert len(list(tmp_path.iterdir())) == 3
