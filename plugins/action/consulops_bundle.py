# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the bundle on the controller and installs it with ansible.builtin.copy."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import typing as t
from pathlib import Path, PurePosixPath

from ansible.plugins.action import ActionBase
from ansible_collections.consulops.failover.plugins.plugin_utils import _bundle, _copying, _wheels

PATH = re.compile(r"/[^\s]+")
VALIDATION_FAILED = ("failed to validate", "Error executing command")
COPY_OPTIONS = ("dest", "owner", "group", "mode", "backup")


class ActionModule(ActionBase):
    """The action of consulops_bundle."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the result of copy, with the manifest, checksum and size of the bundle."""
        super().run(tmp, task_vars)
        del tmp
        _checked, options = self.validate_argument_spec(
            {
                "dest": {"type": "path", "required": True},
                "interpreter": {"type": "str", "default": "/usr/bin/python3"},
                "libraries": {"type": "str"},
                "wheelhouse": {"type": "path"},
                "cache": {"type": "path"},
                "owner": {"type": "str"},
                "group": {"type": "str"},
                "mode": {"type": "raw", "default": "0755"},
                "backup": {"type": "bool", "default": False},
            }
        )
        problem = self._problem(options, task_vars)
        if problem:
            return {"failed": True, "changed": False, "msg": f"consulops_bundle: {problem}"}
        try:
            wheels = _wheels.collect(_path(options["wheelhouse"]), _path(options["cache"]) or _wheels.default_cache())
        except _wheels.CannotCollect as error:
            return {"failed": True, "changed": False, "msg": f"consulops_bundle: {error}"}
        bundle = _bundle.build(wheels, options["interpreter"], options["libraries"] or "")
        built = {
            **t.cast("dict[str, t.Any]", _bundle.manifest_of(bundle)),
            "sha256": hashlib.sha256(bundle).hexdigest(),
            "size": len(bundle),
        }
        if self._task.check_mode and not self._has_directory_for(options["dest"], task_vars):
            # copy would fail, because in check mode an earlier task has not created the directory.
            return {"changed": True, "dest": options["dest"], "bundle": built}
        before = self._installed(options["dest"], task_vars) if self._task.diff else None
        result = self._copy(bundle, options, task_vars)
        result["bundle"] = built
        if "diff" in result:
            result["diff"] = _difference(options["dest"], before, built) if result.get("changed") else []
        if result.get("failed") and any(text in result.get("msg", "") for text in VALIDATION_FAILED):
            result["msg"] = (
                f"consulops_bundle: the host cannot run the bundle with {options['interpreter']}, so its file "
                f"was not replaced ({result['msg'].partition('error:')[2].strip() or result['msg']})."
            )
        return result

    def _problem(self, options: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> str:
        """Return what is wrong with the options, "" if they are valid."""
        if not PATH.fullmatch(options["interpreter"]):
            return (
                f"interpreter {options['interpreter']!r} must be one absolute path, for example /usr/bin/python3, because "
                "it becomes the first line of the file."
            )
        if options["libraries"] and not PATH.fullmatch(options["libraries"]):
            return f"libraries {options['libraries']!r} must be one absolute path, for example /usr/local/lib/consulops/libraries."
        stat = self._execute_remote_stat(options["dest"], all_vars=task_vars or {}, follow=True, checksum=False)
        if stat.get("isdir") or options["dest"].endswith("/"):
            return f"dest {options['dest']} is a directory. Name a file, for example {options['dest'].rstrip('/')}/consulops.pyz."
        return ""

    def _copy(self, bundle: bytes, options: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        # The host must run the new bundle successfully before the old one is replaced.
        # It leaves byte code beside the place that it will have.
        installed = shlex.quote(options["dest"]).replace("%", "%%")
        given = {name: options[name] for name in COPY_OPTIONS if options[name] is not None}
        given["validate"] = f"{options['interpreter']} -I %s compile --installed-as {installed}"
        result = _copying.copy_content(self, bundle, given, task_vars)
        if self._task.diff:
            result["diff"] = []
        return result

    def _has_directory_for(self, dest: str, task_vars: dict[str, t.Any] | None) -> bool:
        stat = self._execute_remote_stat(
            str(PurePosixPath(dest).parent), all_vars=task_vars or {}, follow=True, checksum=False
        )
        return bool(stat.get("isdir"))

    def _installed(self, dest: str, task_vars: dict[str, t.Any] | None) -> dict[str, t.Any] | None:
        """Return the manifest of the bundle on the host, None if there is none."""
        result = self._execute_module("ansible.builtin.slurp", {"src": dest}, task_vars=task_vars)
        if result.get("failed"):
            return None
        content = base64.b64decode(result["content"])
        manifest = _bundle.manifest_of(content)
        return None if manifest is None else {**manifest, "sha256": hashlib.sha256(content).hexdigest()}


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _difference(dest: str, before: dict[str, t.Any] | None, after: dict[str, t.Any]) -> list[dict[str, str]]:
    return [
        {
            "before_header": dest,
            "after_header": dest,
            "before": _lines(before) if before else "",
            "after": _lines(after),
        }
    ]


def _lines(manifest: dict[str, t.Any]) -> str:
    libraries = [f"{name} {library['version']}" for name, library in sorted(manifest["libraries"].items())]
    lines = [f"{manifest['collection']} {manifest['version']}", *libraries]
    return "".join(f"{line}\n" for line in [*lines, f"sources {manifest['sources']}", f"sha256 {manifest['sha256']}"])
