# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Program (type ``exec``): runs a command with the notification as JSON on its standard input.

Options: ``command`` (a list: the path of the program and its arguments; no shell is involved); ``timeout``, after which the
program and everything that it started is killed. Status 0 means delivered; 65 (EX_DATAERR) that the message can never be; any
other one that it is tried again. The environment has PATH, LANG and HOME only.
Source of 65: sysexits.h
"""

from __future__ import annotations

import json
import typing as t

from ..notification import Notification
from ..program_runner import ProgramFailed, ProgramRunner
from . import json_document
from .options import Options, spec
from .receiver import DeliveryFailed, Receiver, ReceiverContext

DATA_ERROR = 65

SPEC = spec(command={"type": "list", "elements": "str", "required": True})


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Program(Options(name, options, context), context)


class Program(Receiver):
    """Runs one process for each notification, in a process group of its own."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        self._program = ProgramRunner(
            options["command"], options.duration_s("timeout"), context.environ, options.path("command")
        )
        self._render = context.render

    def send(self, notification: Notification) -> None:
        """Run the program once."""
        document = json.dumps(json_document.content(notification, self._render(notification))).encode() + b"\n"
        try:
            self._program.run(document)
        except ProgramFailed as error:
            raise DeliveryFailed(str(error), permanent=error.status == DATA_ERROR) from None

    def abort(self) -> None:
        """Kill the program that runs, and what it started."""
        self._program.abort()
