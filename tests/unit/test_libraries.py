# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The libraries with compiled parts: which wheels a host gets, what it is told when there is none, and that the pins agree."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.plugin_utils import _compiled, _wheels
from ansible_collections.consulops.failover.plugins.plugin_utils._compiled import CannotInstall, HostPython, wheels_for

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"


def test_a_host_gets_the_wheels_for_its_machine_and_what_they_need() -> None:
    for machine in ("x86_64", "aarch64"):
        wanted = wheels_for(["pyrage", "obstore"], HostPython(PYTHON, (3, 13), machine))
        assert [pin.name for pin in wanted.pinned] == ["obstore", "typing_extensions", "pyrage"]
        assert [machine in pin.filename for pin in wanted.pinned] == [True, False, True]
        assert all(machine in name for name in wanted.target if "manylinux" in name)
    alone = wheels_for(["pyrage"], HostPython(PYTHON, (3, 10), "x86_64"))
    assert list(_compiled.stamp_of(alone)) == ["pyrage"]


@pytest.mark.parametrize(
    ("version", "machine", "sentence"),
    [
        (
            (3, 10),
            "x86_64",
            "obstore needs Python 3.11 or newer on the host, and /usr/bin/python3 is 3.10: install a newer",
        ),
        (
            (3, 12),
            "riscv64",
            "no pinned wheel of obstore for the machine riscv64 of the host, only for x86_64 and aarch64.",
        ),
    ],
)
def test_a_host_without_a_wheel_is_told_why(version: tuple[int, int], machine: str, sentence: str) -> None:
    with pytest.raises(CannotInstall, match=re.escape(sentence)) as caught:
        wheels_for(["obstore"], HostPython(PYTHON, version, machine))
    assert str(caught.value).endswith("Nothing was changed.")


def test_the_archive_has_the_files_of_all_wheels_and_a_stamp_that_names_them() -> None:
    wanted = wheels_for(["obstore"], HostPython(PYTHON, (3, 11), "x86_64"))
    wheels = {}
    for pin in wanted.pinned:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as wheel:
            wheel.writestr(f"{pin.name}/__init__.py", pin.name)
            wheel.writestr(f"{pin.name}-1.dist-info/", "")
        wheels[pin.name] = buffer.getvalue()
    with zipfile.ZipFile(io.BytesIO(_compiled.archive(wanted, wheels))) as archive:
        names = ["obstore/__init__.py", "typing_extensions/__init__.py", _compiled.STAMP]
        assert archive.namelist() == names and archive.read(names[0]) == b"obstore"
        assert json.loads(archive.read(_compiled.STAMP)) == {pin.name: pin.sha256 for pin in wanted.pinned}


def test_without_a_package_index_the_error_names_the_wheelhouse_and_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = wheels_for(["pyrage"], HostPython(PYTHON, (3, 11), "aarch64"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(_wheels.CannotCollect, match="could not download pyrage.*documentation of consulops_libraries"):
        _wheels.collect(None, tmp_path, wanted)
    with pytest.raises(_wheels.CannotCollect, match=f"lacks {wanted.pinned[0].filename}"):
        _wheels.collect(tmp_path, Path("/nonexistent"), wanted)


def test_hosts_get_what_the_tests_use_and_the_documented_command_fetches() -> None:
    tested = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    command = (ROOT / "plugins/modules/consulops_libraries.py").read_text(encoding="utf-8")
    for one in _compiled.COMPILED:
        for pin in (*one.wheels.values(), *one.requires):
            assert f"{pin.name}=={pin.version}" in tested and f"{pin.name}=={pin.version}" in command
