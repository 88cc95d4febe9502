# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of a command: its arguments, its request of a task, and its outcome."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import typing as t
from dataclasses import dataclass

from ..._config import credentials
from ..._config.validation import validated
from ..._consul.errors import InvalidOption
from ..._tasks.task import Invocation, Task
from .. import arguments

Result = dict[str, t.Any]
Render = t.Callable[[t.Mapping[str, t.Any]], "list[str]"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a command: the module's result, the same as lines of text, and the exit code.

    ``different`` is for --exit-code: there are differences.
    """

    result: Result
    lines: t.Sequence[str] = ()
    different: bool = False
    code: int = 0


@dataclass(frozen=True)
class Command:
    """One command. ``run`` gets the parsed arguments and returns an outcome or raises an Error.

    ``render_details`` renders the details of such an error.
    """

    name: str
    help: str
    run: t.Callable[[argparse.Namespace], Outcome]
    add_arguments: t.Callable[[argparse.ArgumentParser], None]
    render_details: Render | None = None


def make_invocation(task: Task, params: t.Mapping[str, t.Any], path: str = "", *, check: bool = False) -> Invocation:
    """Return the request of a task with these options; ``path`` is the file that they come from. Raises InvalidOption."""
    environ = credentials.with_credentials(os.environ)
    try:
        resolved = credentials.resolve_credentials(dict(params), environ)
        options = validated(task.spec, resolved, "", task.mutually_exclusive)
    except InvalidOption as error:
        raise InvalidOption(f"{path}: {error}") if path else error from None
    return Invocation(options, check, warn=warn, environ=environ)


def warn(sentence: str) -> None:
    """Print a warning to standard error."""
    print_message(f"consulops: warning: {sentence}")


def print_message(sentence: str, end: str = "\n") -> None:
    """Print a message to standard error; standard output is for the result."""
    try:
        sys.stderr.write(printable(sentence) + end)
        sys.stderr.flush()
    except OSError:  # the disk is full, or the reader is gone
        discard(sys.stderr)


def discard(stream: t.TextIO) -> None:
    """Discard further output of a stream that cannot be written: Python would report an error at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: str) -> str:
    """Return a line with control characters escaped: they could change the terminal or fake another line."""
    return "".join(
        character if character == " " or character.isprintable() else ascii(character)[1:-1] for character in text
    )


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add --check."""
    parser.add_argument("--check", action="store_true", help="check mode: show what would be done and change nothing")


def add_exit_code(parser: argparse.ArgumentParser) -> None:
    """Add --exit-code."""
    parser.add_argument("--exit-code", action="store_true", help="exit with 5 if there are differences")


def add_config(parser: argparse.ArgumentParser, module: str, *, required: bool) -> None:
    """Add --config."""
    text = f"JSON file with options of the module {module}"
    parser.add_argument("--config", metavar="FILE", type=arguments.file_name, required=required, help=text)
