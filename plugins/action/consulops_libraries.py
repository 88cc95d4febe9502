# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Collects the wheels of libraries with compiled parts on the controller, and unpacks them on the host."""

from __future__ import annotations

import json
import shlex
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.consulops.failover.plugins.plugin_utils import _compiled, _copying, _wheels

# Run on the host. What is there already is known by the stamp.
PROBE = f"""
import json, platform, sys
try:
    with open(sys.argv[1] + "/{_compiled.STAMP}") as file:
        installed = json.load(file)
except (OSError, ValueError):
    installed = {{}}
print(json.dumps({{"python": sys.version_info[:2], "machine": platform.machine(), "installed": installed}}))
"""
# The host must import the new libraries before they replace the old ones, which running agents have open.
UNPACK = """
import os, shutil, sys, zipfile
source, dest, names = sys.argv[1], sys.argv[2], sys.argv[3:]
fresh, old = dest + ".new", dest + ".old"
os.umask(0o022)
try:
    for path in (fresh, old):
        shutil.rmtree(path, ignore_errors=True)
    with zipfile.ZipFile(source) as archive:
        archive.extractall(fresh)
    sys.path.insert(0, fresh)
    for name in names:
        __import__(name)
    if os.path.exists(dest):
        os.rename(dest, old)
    os.rename(fresh, dest)
except (OSError, ImportError, zipfile.BadZipFile) as error:
    sys.exit(str(error))
finally:
    for path in (fresh, old):
        shutil.rmtree(path, ignore_errors=True)
    os.unlink(source)
"""


class ActionModule(ActionBase):
    """The action of consulops_libraries."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return whether the directory changed, and the libraries that were asked for."""
        super().run(tmp, task_vars)
        del tmp
        _checked, options = self.validate_argument_spec(
            {
                "dest": {"type": "path", "required": True},
                "libraries": {"type": "list", "elements": "str", "required": True, "choices": list(_compiled.NAMES)},
                "interpreter": {"type": "str", "default": "/usr/bin/python3"},
                "wheelhouse": {"type": "path"},
                "cache": {"type": "path"},
            }
        )
        try:
            return self._install(options, task_vars)
        except (_compiled.CannotInstall, _wheels.CannotCollect) as error:
            return {"failed": True, "changed": False, "msg": f"{_compiled.MODULE}: {error}"}

    def _install(self, options: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        dest = options["dest"].rstrip("/")
        host, installed = self._host(options["interpreter"], dest)
        names = [name for name in _compiled.NAMES if name in options["libraries"] or name in installed]
        wanted = _compiled.wheels_for(names, host)
        asked = _compiled.wheels_for(options["libraries"], host)
        result: dict[str, t.Any] = {
            "changed": installed != _compiled.stamp_of(wanted),
            "dest": dest,
            "libraries": {pin.name: {"version": pin.version, "sha256": pin.sha256} for pin in asked.pinned},
        }
        if not result["changed"]:
            return result
        if self._task.diff:
            result["diff"] = [_difference(dest, installed, wanted)]
        if not self._task.check_mode:
            cache = Path(options["cache"]) if options["cache"] else _wheels.default_cache()
            wheelhouse = Path(options["wheelhouse"]) if options["wheelhouse"] else None
            content = _compiled.archive(wanted, _wheels.collect(wheelhouse, cache, wanted))
            sent = _copying.copy_content(self, content, {"dest": f"{dest}.zip", "mode": "0600"}, task_vars)
            if sent.get("failed"):
                return {"failed": True, "changed": False, "msg": f"{_compiled.MODULE}: {sent.get('msg', '')}"}
            self._unpack(options["interpreter"], dest, names)
        return result

    def _host(self, interpreter: str, dest: str) -> tuple[_compiled.HostPython, dict[str, str]]:
        """Return the interpreter of the host, and the SHA-256 of what is installed by name. Raises CannotInstall."""
        status, output = self._run_python(interpreter, PROBE, dest)
        try:
            found = json.loads(output.splitlines()[-1])
            installed = found["installed"]
            host = _compiled.HostPython(interpreter, (found["python"][0], found["python"][1]), found["machine"])
        except (IndexError, KeyError, ValueError):
            raise _compiled.CannotInstall(
                f"{interpreter} does not run on the host (exit status {status}): {_last_line(output)}. Nothing was changed."
            ) from None
        return host, installed if isinstance(installed, dict) else {}

    def _unpack(self, interpreter: str, dest: str, names: t.Sequence[str]) -> None:
        """Replace the directory by what was sent. Raises CannotInstall."""
        status, output = self._run_python(interpreter, UNPACK, f"{dest}.zip", dest, *names)
        if status != 0:
            raise _compiled.CannotInstall(
                f"the host cannot use {' and '.join(names)} with {interpreter} ({_last_line(output)}), so {dest} was not changed."
            )

    def _run_python(self, interpreter: str, program: str, *arguments: str) -> tuple[int, str]:
        """Run a program on the host; return its exit status and what it printed."""
        done = self._low_level_execute_command(shlex.join([interpreter, "-I", "-c", program, *arguments]))
        return int(done["rc"]), f"{done.get('stderr', '')}\n{done.get('stdout', '')}".strip()


def _difference(dest: str, installed: t.Mapping[str, str], wanted: _wheels.WheelSet) -> dict[str, str]:
    versions = {pin.sha256: pin.version for pin in wanted.pinned}
    before = {name: versions.get(sha256, f"another version, {sha256[:12]}…") for name, sha256 in installed.items()}
    after = {pin.name: pin.version for pin in wanted.pinned}
    return {"before_header": dest, "after_header": dest, "before": _lines(before), "after": _lines(after)}


def _lines(versions: t.Mapping[str, str]) -> str:
    return "".join(f"{name} {version}\n" for name, version in sorted(versions.items()))


def _last_line(output: str) -> str:
    return (output.splitlines() or ["it printed nothing"])[-1]
