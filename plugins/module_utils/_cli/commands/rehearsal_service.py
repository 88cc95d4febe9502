# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops snapshot rehearsal-service``: what the unit of the rehearsal service runs for each connection."""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from pathlib import Path

from ..._consul.errors import InvalidOption
from ..._tasks.snapshot_rehearse import LIMITS_SPEC, serve_rehearsal
from .. import arguments
from .base import Command, Outcome


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_options(parser, {name: LIMITS_SPEC[name] for name in ("consul_binary", "memory_limit")})


def _run(options: argparse.Namespace) -> Outcome:
    try:
        connection = socket.socket(fileno=sys.stdin.fileno())
    except OSError:
        raise InvalidOption(
            "This is run by systemd for each connection to the socket of the rehearsal service, which is its standard input: see "
            "docs/rehearsals.md."
        ) from None
    with connection:
        serve_rehearsal(connection, arguments.given_options(options, LIMITS_SPEC), Path(tempfile.gettempdir()))
    return Outcome({})


COMMAND = Command(
    "rehearsal-service",
    "rehearse the snapshot that arrives on standard input, a socket: the unit of the rehearsal service runs this",
    _run,
    _add_arguments,
)
