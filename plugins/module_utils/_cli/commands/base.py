# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every command is made of: a task of the modules with arguments in front and a table behind."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import typing as t
from dataclasses import dataclass

from ..._config import credentials
from ..._config.validation import checked
from ..._consul.errors import InvalidOption
from ..._tasks.call import Call, Task
from .. import arguments

Result = dict[str, t.Any]
Show = t.Callable[[t.Mapping[str, t.Any]], "list[str]"]


@dataclass(frozen=True)
class Outcome:
    """What a command found or did: the module's result, and the same for people."""

    result: Result
    lines: t.Sequence[str] = ()
    different: bool = False
    code: int = 0


@dataclass(frozen=True)
class Command:
    """One command. ``run`` turns parsed arguments into an outcome or raises an Error; ``shows`` is for what a failure knows."""

    name: str
    help: str
    run: t.Callable[[argparse.Namespace], Outcome]
    add_arguments: t.Callable[[argparse.ArgumentParser], None]
    shows: Show | None = None


def make_call(task: Task, params: t.Mapping[str, t.Any], where: str = "", *, check: bool = False) -> Call:
    """Return a request of a task with these options; ``where`` is the file that they come from. Raises InvalidOption."""
    environ = credentials.surroundings(os.environ)
    try:
        options = checked(task.spec, credentials.located(dict(params), environ), "", task.mutually_exclusive)
    except InvalidOption as error:
        raise InvalidOption(f"{where}: {error}") if where else error from None
    return Call(options, check, warn=_warn, environ=environ)


def _warn(sentence: str) -> None:
    say(f"consulops: warning: {sentence}")


def say(sentence: str, end: str = "\n") -> None:
    """Tell the person at the terminal, beside the result."""
    try:
        sys.stderr.write(printable(sentence) + end)
        sys.stderr.flush()
    except OSError:  # full, or nobody reads it
        give_up(sys.stderr)


def give_up(stream: t.TextIO) -> None:
    """Let what is still to be written go nowhere: Python would fail with it at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: str) -> str:
    """Return a line without what would move the cursor, colour the terminal or begin another line."""
    return "".join(letter if letter == " " or letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add --check."""
    parser.add_argument("--check", action="store_true", help="only say what would be done")


def add_exit_code(parser: argparse.ArgumentParser) -> None:
    """Add --exit-code."""
    parser.add_argument("--exit-code", action="store_true", help="exit with 5 when there are differences")


def add_config(parser: argparse.ArgumentParser, module: str, *, required: bool) -> None:
    """Add --config."""
    text = f"a JSON file with the options of the module {module}"
    parser.add_argument("--config", metavar="FILE", type=arguments.named, required=required, help=text)
