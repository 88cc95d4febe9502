# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command ``consulops``: the modules on the command line of a host, and the agents that run there.

Options have the same names as in the modules. Secrets are never arguments.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import typing as t

from .._consul import errors
from .._consul.units import lines_of
from .._consul.version import VERSION
from . import exit_codes
from .commands.base import Command, Outcome, discard, print_message, printable

EXIT_CODES = f"""exit codes:
  {exit_codes.DONE}  success, or nothing to do
  {exit_codes.FAILED}  failure: Consul, the network, a file, a missing permission
  {exit_codes.USAGE}  an invalid option or configuration file; nothing was done
  {exit_codes.REFUSED}  a guard refused, a check failed, or the user did not confirm; nothing was changed
  {exit_codes.NOT_CONVERGED}  something was changed, but the result is not the requested one
  {exit_codes.DIFFERENT}  with --exit-code: there are differences, a snapshot is broken, or a version would not load it
  {exit_codes.INTERRUPTED}  interrupted before anything was changed; or a drill that ended early and removed its keys
"""
_SECRET_WORDS = ("token", "auth", "password", "secret")
_NOT_SECRET = ("token-file", "agent-token-file", "author", "secrets-dir")
_ENVIRONMENT = """The connection options fall back to the environment variables of Consul's own tools (CONSUL_HTTP_ADDR, ...). The token
comes from --token-file, CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE or a systemd credential named "token".
"""


class _Completed(t.NamedTuple):
    """The exit code of a command, its output, and a message for standard error."""

    code: int
    output: str = ""
    message: str = ""


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the process."""
    _open_output()
    try:
        completed = _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        print_message("consulops: interrupted")
        return exit_codes.INTERRUPTED
    except SystemExit as ended:  # raised by argparse after it printed its help or an error
        completed = _Completed(ended.code if isinstance(ended.code, int) else exit_codes.USAGE)
    code = completed.code
    try:
        sys.stdout.write(completed.output)
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)  # the reader has closed the pipe, which does not change the outcome
    except OSError as error:
        print_message(f"consulops: the output could not be written: {error.strerror or error}.")
        code = code or exit_codes.FAILED
        discard(sys.stdout)
    if completed.message:
        print_message(completed.message)
    return code


def _open_output() -> None:
    """Make sure that standard output and error are open and accept every character."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(words: t.Sequence[str]) -> _Completed:
    parser = _parser(next((word for word in words if not word.startswith("-")), ""))
    if any(_is_secret(word) for word in words):
        # argparse would repeat the secret in its error message.
        parser.error(
            "secrets are not accepted as arguments, because other processes can read them: use --token-file or the environment"
        )
    options = parser.parse_args(words)
    command: Command | None = getattr(options, "command", None)
    if command is None:
        return _Completed(exit_codes.USAGE, getattr(options, "group", parser).format_help())
    if options.debug:
        _log_to_stderr()
    try:
        outcome = command.run(options)
    except errors.Error as error:
        return _failed(command, error, as_json=options.json)
    different = outcome.different and getattr(options, "exit_code", False)
    return _Completed(exit_codes.DIFFERENT if different else outcome.code, _text(outcome, as_json=options.json))


def _log_to_stderr() -> None:
    """Log at debug level to standard error. An agent replaces this with its own ``log_level``."""
    handler = _MessageHandler()
    handler.setFormatter(logging.Formatter("consulops: %(relativeCreated)d ms: %(message)s"))
    logger = logging.getLogger("consulops")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG)


class _MessageHandler(logging.Handler):
    """Prints log records as messages: control characters are escaped, and a closed standard error is no failure."""

    def emit(self, record: logging.LogRecord) -> None:
        print_message(self.format(record))


def _is_secret(word: str) -> bool:
    """Return whether a word is an option whose name says that its value is a secret, even a misspelt option."""
    name = word.partition("=")[0].lstrip("-").replace("_", "-").lower()
    return word.startswith("-") and name not in _NOT_SECRET and any(secret in name for secret in _SECRET_WORDS)


def exit_code(error: errors.Error) -> int:
    """Return the exit code for an error."""
    if isinstance(error, (errors.InvalidOption, errors.MissingLibrary)):
        return exit_codes.USAGE
    if isinstance(error, errors.NotConverged):
        return exit_codes.NOT_CONVERGED
    return exit_codes.REFUSED if isinstance(error, (errors.GuardRefused, errors.GateClosed)) else exit_codes.FAILED


def _failed(command: Command, error: errors.Error, *, as_json: bool) -> _Completed:
    output = ""
    if as_json:
        output = _text(Outcome({**error.details, "failed": True, "msg": str(error)}), as_json=True)
    # The details of a failed exchange with Consul are not those of a result.
    elif error.details and command.render_details and not isinstance(error, errors.ConsulError):
        output = _text(Outcome({}, command.render_details(error.details)), as_json=False)
    return _Completed(exit_code(error), output, f"consulops: {error}")


def _text(outcome: Outcome, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(outcome.result, indent=2, sort_keys=True) + "\n"
    return lines_of(map(printable, outcome.lines))


def _parser(word: str) -> argparse.ArgumentParser:
    """Return the parser. Only the commands of the group ``word`` are imported, because imports take most of the start-up time."""
    parser = argparse.ArgumentParser(
        prog="consulops",
        description="Snapshots, restores, KV replication, alert checks and drills for Consul, and the agents that run them.",
        epilog=EXIT_CODES + "\n" + _ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"consulops {VERSION}")
    top = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, definition in _GROUPS.items():
        commands = {command.name: command for command in definition.load()} if name == word else {}
        if name in commands:
            _add(top, commands[name])
            continue
        group = top.add_parser(name, help=definition.help, description=definition.help, allow_abbrev=False)
        group.set_defaults(group=group)
        if commands:
            leaves = group.add_subparsers(metavar="COMMAND", title="commands")
            for command in commands.values():
                _add(leaves, command)
    return parser


def _add(subparsers: t.Any, command: Command) -> None:
    leaf = subparsers.add_parser(
        command.name,
        help=command.help,
        description=command.help[0].upper() + command.help[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    leaf.set_defaults(command=command)
    leaf.add_argument("--json", action="store_true", help="print the result of the module as JSON")
    leaf.add_argument(
        "--debug",
        action="store_true",
        help="log what is done to standard error, without secrets and values of keys (an agent has log_level instead)",
    )
    command.add_arguments(leaf)


def _snapshot() -> t.Sequence[Command]:
    from .commands import snapshot

    return snapshot.COMMANDS


def _replicate() -> t.Sequence[Command]:
    from .commands import replicate

    return replicate.COMMANDS


def _alert() -> t.Sequence[Command]:
    from .commands import alert

    return alert.COMMANDS


def _drill() -> t.Sequence[Command]:
    from .commands import drill

    return drill.COMMANDS


def _estate() -> t.Sequence[Command]:
    from .commands import estate

    return estate.COMMANDS


def _agent() -> t.Sequence[Command]:
    from .commands import agent

    return agent.COMMANDS


class _Group(t.NamedTuple):
    """The commands below one word; a command with the name of its group has no second word."""

    help: str
    load: t.Callable[[], t.Sequence[Command]]


_GROUPS = {
    "snapshot": _Group(
        "save, list, inspect, verify, compare, restore and prune snapshots; run the snapshot agent", _snapshot
    ),
    "replicate": _Group("replicate keys from one datacenter to another", _replicate),
    "alert": _Group(
        "check datacenters; run the alerting agent, see what it reports, silence it, try its receivers, move from consul-alerts",
        _alert,
    ),
    "drill": _Group("record what clients see of a datacenter while something fails, and judge it", _drill),
    "estate": _Group("show all datacenters on one page, and what to do first", _estate),
    "agent": _Group("run an agent in the foreground", _agent),
    "check-config": _Group("check a configuration file", _agent),
    "compile": _Group("write byte code beside the bundle, so that it starts faster", _agent),
    "version": _Group("show the versions of the collection and its libraries", _agent),
}
