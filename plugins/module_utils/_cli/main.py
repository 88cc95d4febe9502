# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops``: what the modules do, for a person on a host at three in the morning, and the agents that run there.

Options have the names that they have in the modules. Secrets are never arguments.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import typing as t

from .._consul import errors
from .._consul.units import lines_of
from .._consul.version import VERSION
from .commands.base import Command, Outcome, give_up, printable, say

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_NOT_CONVERGED = 4
EXIT_DIFFERENT = 5
EXIT_INTERRUPTED = 130  # as of a process that SIGINT ended

EXIT_CODES = f"""exit codes:
  {EXIT_DONE}  it is done, or nothing was to do
  {EXIT_FAILED}  it failed: Consul, the network, a file, a missing right
  {EXIT_USAGE}  a wrong option, or a configuration file that cannot be used; nothing was done
  {EXIT_REFUSED}  a guard refused, a gate is closed, or a person said no; nothing was changed
  {EXIT_NOT_CONVERGED}  something was changed, and the result is not what was asked for
  {EXIT_DIFFERENT}  with --exit-code: there are differences, or a snapshot is broken
  {EXIT_INTERRUPTED}  interrupted before anything was changed
"""
_SECRETS = ("token", "auth", "password", "secret")
_ENVIRONMENT = """The connection options fall back to the variables of Consul's own tools, CONSUL_HTTP_ADDR and the others. The token
comes from --token-file, CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE or a systemd credential named "token".
"""


class _End(t.NamedTuple):
    """How a command ended, what it found, and a last sentence for the person at the terminal."""

    code: int
    text: str = ""
    sentence: str = ""


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the process."""
    _open_output()
    try:
        end = _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        say("consulops: interrupted")
        return EXIT_INTERRUPTED
    except SystemExit as said:  # by argparse, which has written a help text or what is wrong
        end = _End(said.code if isinstance(said.code, int) else EXIT_USAGE)
    code = end.code
    try:
        sys.stdout.write(end.text)
        sys.stdout.flush()
    except BrokenPipeError:
        give_up(sys.stdout)  # whoever read it has seen enough, and that says nothing about how it ended
    except OSError as error:
        say(f"consulops: the output could not be written: {error.strerror or error}.")
        code = code or EXIT_FAILED
        give_up(sys.stdout)
    if end.sentence:
        say(end.sentence)
    return code


def _open_output() -> None:
    """Make sure that there is something to write to, and that it takes every character."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(words: t.Sequence[str]) -> _End:
    parser = _parser(next((word for word in words if not word.startswith("-")), ""))
    if any(_is_secret(word) for word in words):
        # argparse would repeat it, and what follows it.
        parser.error("secrets are never arguments, which every process can read: give --token-file or set the variable")
    options = parser.parse_args(words)
    command: Command | None = getattr(options, "command", None)
    if command is None:
        return _End(EXIT_USAGE, getattr(options, "group", parser).format_help())
    try:
        outcome = command.run(options)
    except errors.Error as error:
        return _failed(command, error, as_json=options.json)
    different = outcome.different and getattr(options, "exit_code", False)
    return _End(EXIT_DIFFERENT if different else outcome.code, _text(outcome, as_json=options.json))


def _is_secret(word: str) -> bool:
    """Tell whether a word is an option that could only hold a secret, however it is spelt."""
    name = word.partition("=")[0].lstrip("-").replace("_", "-").lower()
    return word.startswith("-") and name != "token-file" and any(part in name for part in _SECRETS)


def exit_code(error: errors.Error) -> int:
    """Return the exit code that stands for an error."""
    if isinstance(error, (errors.InvalidOption, errors.MissingLibrary)):
        return EXIT_USAGE
    if isinstance(error, errors.NotConverged):
        return EXIT_NOT_CONVERGED
    return EXIT_REFUSED if isinstance(error, (errors.GuardRefused, errors.GateClosed)) else EXIT_FAILED


def _failed(command: Command, error: errors.Error, *, as_json: bool) -> _End:
    text = ""
    if as_json:
        text = _text(Outcome({**error.details, "failed": True, "msg": str(error)}), as_json=True)
    elif error.details and command.shows:
        text = _text(Outcome({}, command.shows(error.details)), as_json=False)
    return _End(exit_code(error), text, f"consulops: {error}")


def _text(outcome: Outcome, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(outcome.result, indent=2, sort_keys=True) + "\n"
    return lines_of(map(printable, outcome.lines))


def _parser(word: str) -> argparse.ArgumentParser:
    """Return the parser; the commands of a word are imported only when it is the one that was given."""
    parser = argparse.ArgumentParser(
        prog="consulops",
        description="Keeps Consul estates alive through failure: snapshots, restores, replication, alerts.",
        epilog=EXIT_CODES + "\n" + _ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"consulops {VERSION}")
    top = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, words in _WORDS.items():
        found = {command.name: command for command in words.load()} if name == word else {}
        if name in found:
            _add(top, found[name])
            continue
        group = top.add_parser(name, help=words.help, description=words.help, allow_abbrev=False)
        group.set_defaults(group=group)
        if found:
            leaves = group.add_subparsers(metavar="COMMAND", title="commands")
            for command in found.values():
                _add(leaves, command)
    return parser


def _add(place: t.Any, command: Command) -> None:
    leaf = place.add_parser(
        command.name,
        help=command.help,
        description=command.help[0].upper() + command.help[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    leaf.set_defaults(command=command)
    leaf.add_argument("--json", action="store_true", help="print the result of the module as JSON")
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


def _agent() -> t.Sequence[Command]:
    from .commands import agent

    return agent.COMMANDS


class _Word(t.NamedTuple):
    help: str
    load: t.Callable[[], t.Sequence[Command]]


_WORDS = {
    "snapshot": _Word("save, list, inspect, compare and restore snapshots", _snapshot),
    "replicate": _Word("copy keys from one datacenter to another", _replicate),
    "alert": _Word("judge datacenters", _alert),
    "agent": _Word("run an agent until it is stopped", _agent),
    "check-config": _Word("say whether a configuration file can be used", _agent),
    "version": _Word("show the versions of everything inside", _agent),
}
