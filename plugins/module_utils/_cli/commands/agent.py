# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops agent``, ``check-config``, ``compile`` and ``version``. Each imports only what it needs, so that it starts fast."""

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
from ..._consul.errors import InvalidOption, LocalFailure
from ..._consul.private_file import os_errors_as
from ..._consul.version import COLLECTION, VERSION
from ..._tasks.task import Task
from .. import arguments, rendering
from .base import Command, Outcome, Result, make_invocation, warn


def _no_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def _version(_options: argparse.Namespace) -> Outcome:
    result = {
        "collection": COLLECTION,
        "version": VERSION,
        "python": platform.python_version(),
        "msgpack": _msgpack(),
        **({"bundle": manifest} if (manifest := _manifest()) else {}),
    }
    shown = {name: value for name, value in result.items() if name != "bundle"}
    libraries = {
        name: one["version"] for name, one in (manifest or {}).get("libraries", {}).items() if name not in shown
    }
    return Outcome(result, rendering.name_values({**shown, **libraries}))


def _msgpack() -> str:
    if msgpack is None:
        return "none"
    variant = "C" if msgpack.Unpacker.__module__.endswith("_cmsgpack") else "pure Python"
    return f"{'.'.join(map(str, msgpack.version[:3]))} ({variant})"


def _bundle() -> zipimport.zipimporter | None:
    """Return the bundle that this process runs from, None outside a bundle."""
    loader = getattr(sys.modules.get("__main__"), "__loader__", None)
    return loader if isinstance(loader, zipimport.zipimporter) else None


def _manifest() -> dict[str, t.Any] | None:
    """Return the manifest of the bundle that this process runs from, None outside a bundle."""
    loader = _bundle()
    if loader is None:
        return None
    manifest: dict[str, t.Any] = json.loads(loader.get_data(os.path.join(loader.archive, "manifest.json")))  # noqa: PTH118
    return manifest


def _compile_arguments(parser: argparse.ArgumentParser) -> None:
    text = "the path that the bundle will have; a copy that cannot be written there is a warning, not a failure"
    parser.add_argument("--installed-as", metavar="FILE", type=arguments.file_name, help=text)


def _compile(options: argparse.Namespace) -> Outcome:
    from .. import compiled_bundle

    loader = _bundle()
    if loader is None:
        raise InvalidOption("compile: this is not the bundle. Python keeps the byte code of installed files itself.")
    installed = options.installed_as or os.path.realpath(loader.archive)
    try:
        with os_errors_as(f"writing byte code to {installed}{compiled_bundle.SUFFIX}"):
            path = compiled_bundle.write(loader.archive, installed)
    except LocalFailure as error:
        if options.installed_as is None:
            raise
        warn(f"{error} The command works without, and takes longer to start.")
        return Outcome({"path": None})
    return Outcome({"path": path}, [f"{path}: the byte code for Python {platform.python_version()}"])


def _task(file_type: str) -> Task:
    if file_type == "replicate":
        from ..._tasks.replicate import REPLICATE

        return REPLICATE
    from ..._tasks.alert_check import ALERT_CHECK

    return ALERT_CHECK


def _check_config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=arguments.file_name, help="the configuration file")
    parser.add_argument(
        "--as",
        dest="file_type",
        choices=["agent", "replicate", "alert"],
        default="agent",
        help="what the file configures: an agent, or another command (its --config)",
    )


def _check_config(options: argparse.Namespace) -> Outcome:
    if options.file_type == "agent":
        return check_agent_config(options.path)
    task = _task(options.file_type)
    invocation = make_invocation(task, json_file.read_json(options.path), options.path)
    try:
        if task.validate is not None:
            task.validate(invocation)
    except InvalidOption as error:
        raise InvalidOption(f"{options.path}: {error}") from None
    return Outcome({"path": options.path, "valid": True}, [f"{options.path}: valid"])


def check_agent_config(path: str, wanted: str | None = None) -> Outcome:
    """Check the configuration of an agent, of the type ``wanted`` if that is given. Raises InvalidOption."""
    from ..._agents.registry import AGENT_TYPES
    from ..._daemon import agent_config

    check_type(path, wanted)
    config = agent_config.read_config(path, credentials.with_credentials(os.environ), AGENT_TYPES)
    try:
        agent_config.check_secrets(config)
    except InvalidOption as error:
        raise InvalidOption(f"{path}: {error}") from None
    result: Result = {"path": path, "agent": config.agent, "name": config.name, "valid": True}
    return Outcome(result, [f"{path}: a valid configuration of the {config.agent} agent {config.name}"])


def run_agent(path: str, wanted: str | None = None) -> t.NoReturn:
    """Run the agent of a configuration, of the type ``wanted`` if that is given, until SIGTERM. Raises InvalidOption and LocalFailure."""
    from ..._agents.registry import AGENT_TYPES
    from ..._daemon import process

    check_type(path, wanted)
    process.run(path, AGENT_TYPES)


def check_type(path: str, wanted: str | None) -> None:
    """Raise InvalidOption when a file configures an agent of another type than the wanted one."""
    given = json_file.read_json(path).get("agent") if wanted is not None else None
    if isinstance(given, str) and given != wanted:
        raise InvalidOption(f"{path}: agent: this file configures the agent {given}, not {wanted}.")


def agent_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --config."""
    parser.add_argument("--config", metavar="FILE", required=True, help="the agent's configuration, a JSON file")


def commands_of(agent_type: str) -> tuple[Command, ...]:
    """Return the commands that run an agent of one type and check its configuration."""

    def run(options: argparse.Namespace) -> Outcome:
        run_agent(options.config, agent_type)

    def check(options: argparse.Namespace) -> Outcome:
        return check_agent_config(options.path, agent_type)

    def add_path(parser: argparse.ArgumentParser) -> None:
        what = f"the configuration of the {agent_type} agent"
        parser.add_argument("path", metavar="FILE", type=arguments.file_name, help=what)

    return (
        Command("run", f"run the {agent_type} agent in the foreground", run, agent_arguments),
        Command("check-config", f"check a configuration of the {agent_type} agent", check, add_path),
    )


def _agent(options: argparse.Namespace) -> Outcome:
    run_agent(options.config)


COMMANDS = (
    Command("agent", "run an agent in the foreground", _agent, agent_arguments),
    Command("check-config", "check a configuration file", _check_config, _check_config_arguments),
    Command("compile", "write byte code beside the bundle, so that it starts faster", _compile, _compile_arguments),
    Command("version", "show the versions of the collection and its libraries", _version, _no_arguments),
)
