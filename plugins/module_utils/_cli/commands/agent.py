# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops agent`` and what belongs to it: check-config and version. Each imports only what it needs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import typing as t
import zipimport

from ..._config import credentials, json_file
from ..._consul._libraries import msgpack
from ..._consul.errors import InvalidOption
from ..._consul.version import COLLECTION, VERSION
from ..._tasks.call import Task
from .. import arguments, rendering
from .base import Command, Outcome, Result, make_call


def _nothing(_parser: argparse.ArgumentParser) -> None:
    pass


def _version(_options: argparse.Namespace) -> Outcome:
    result = {
        "collection": COLLECTION,
        "version": VERSION,
        "python": platform.python_version(),
        "msgpack": _msgpack(),
        **({"bundle": found} if (found := _manifest()) else {}),
    }
    named = {name: value for name, value in result.items() if name != "bundle"}
    libraries = {name: one["version"] for name, one in (found or {}).get("libraries", {}).items() if name not in named}
    return Outcome(result, rendering.name_values({**named, **libraries}))


def _msgpack() -> str:
    if msgpack is None:
        return "none"
    made = "C" if msgpack.Unpacker.__module__.endswith("_cmsgpack") else "pure Python"
    return f"{'.'.join(map(str, msgpack.version[:3]))} ({made})"


def _manifest() -> dict[str, t.Any] | None:
    """Return the manifest of the bundle that this runs from, None outside of one."""
    loader = getattr(sys.modules.get("__main__"), "__loader__", None)
    if not isinstance(loader, zipimport.zipimporter):
        return None
    found: dict[str, t.Any] = json.loads(loader.get_data(os.path.join(loader.archive, "manifest.json")))  # noqa: PTH118
    return found


def _task(kind: str) -> Task:
    if kind == "replicate":
        from ..._tasks.replicate import REPLICATE

        return REPLICATE
    from ..._tasks.alert_check import ALERT_CHECK

    return ALERT_CHECK


def _check_config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=arguments.named, help="the file")
    parser.add_argument(
        "--as",
        dest="kind",
        choices=["agent", "replicate", "alert"],
        default="agent",
        help="what the file is for: an agent, or the --config of another command",
    )


def _check_config(options: argparse.Namespace) -> Outcome:
    if options.kind == "agent":
        from ..._daemon import agent_config

        config = agent_config.read_config(options.path, credentials.surroundings(os.environ))
        result: Result = {"path": options.path, "agent": config.agent, "name": config.name, "valid": True}
        return Outcome(result, [f"{options.path}: a valid configuration of the {config.agent} agent {config.name}"])
    task = _task(options.kind)
    call = make_call(task, json_file.read_json(options.path), options.path)
    try:
        if task.check is not None:
            task.check(call)
    except InvalidOption as error:
        raise InvalidOption(f"{options.path}: {error}") from None
    return Outcome({"path": options.path, "valid": True}, [f"{options.path}: valid"])


def _agent_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", required=True, help="the agent's configuration, a JSON file")


def _agent(options: argparse.Namespace) -> Outcome:
    from ..._daemon import process

    return Outcome({}, code=process.run(options.config))


COMMANDS = (
    Command("agent", "run an agent until it is stopped", _agent, _agent_arguments),
    Command("check-config", "say whether a configuration file can be used", _check_config, _check_config_arguments),
    Command("version", "show the versions of everything inside", _version, _nothing),
)
