# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two ends of the rehearsal service: a process without rights sends a snapshot over a Unix socket, and a unit that can reach nothing
rehearses it and sends back the result.

systemd starts the unit for each connection (docs/rehearsals.md has it). A request is a line of JSON and the bytes of the snapshot file;
the answer is lines of JSON: ``step`` for each step that begins, then ``result``, or ``error`` with its type.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from ..._consul.errors import Aborted, Error, InvalidOption, LocalFailure
from ..._consul.private_file import PrivateFile, os_errors_as
from ..errors import BadSnapshot
from ..gunzip import CHUNK
from .errors import RehearsalFailed, RehearsalRefused, RehearsalUnfinished
from .rehearse import OnStep, RehearsalRequest, rehearse
from .result import not_verified, rehearsed

DEFAULT_SOCKET = Path("/run/consulops/rehearsal.sock")
LOOK_EVERY_S = 0.5
SLACK_S = 120.0  # for the transfer of the snapshot and the start of the unit, beside the limit of the rehearsal itself
MAX_LINE = 1 << 20
LISTED = 20  # records that differ

# By what an error says about the snapshot.
_TYPES: dict[str, type[Error]] = {
    "failed": RehearsalFailed,
    "damaged": BadSnapshot,
    "refused": RehearsalRefused,
    "unfinished": RehearsalUnfinished,
}


@dataclass(frozen=True)
class ServiceLimits:
    """What the service itself allows: the Consul that it starts, and the memory that it has for it."""

    consul_binary: str
    memory_bytes: int
    scratch: Path


def is_there(path: Path) -> bool:
    """Return whether there is a socket of the service."""
    return path.is_socket()


def rehearse_by_service(
    path: Path, request: RehearsalRequest, on_step: OnStep, is_wanted: t.Callable[[], bool]
) -> dict[str, t.Any]:
    """Send a snapshot to the service behind a socket, and return its result. Raises what ``rehearse`` raises."""
    deadline = time.monotonic() + request.time_s + SLACK_S
    try:
        with socket.socket(socket.AF_UNIX) as connection, request.path.open("rb") as stream:
            connection.settimeout(LOOK_EVERY_S)
            connection.connect(str(path))
            _send_request(connection, request, stream, deadline, is_wanted)
            for answer in _answers(connection, request, deadline, is_wanted):
                if "step" in answer:
                    on_step(str(answer["step"]))
                elif "result" in answer:
                    return dict(answer["result"])
                else:
                    raise _TYPES.get(str(answer.get("type")), RehearsalUnfinished)(str(answer.get("error")))
    except OSError as error:
        raise RehearsalUnfinished(
            f"The rehearsal service at {path} cannot be used: {error.strerror or error}. Look at the unit of its socket."
        ) from None
    raise RehearsalUnfinished(f"The rehearsal service at {path} ended without an answer. Look at the log of its unit.")


def serve(connection: socket.socket, limits: ServiceLimits) -> None:
    """Rehearse the snapshot that arrives over a connection, and answer. Raises LocalFailure when nobody can be answered."""

    def say(answer: t.Mapping[str, t.Any]) -> None:
        with os_errors_as("answering a rehearsal"):
            connection.sendall(json.dumps(answer).encode() + b"\n")

    def say_step(doing: str) -> None:
        say({"step": doing})

    try:
        with PrivateFile(limits.scratch) as copy:
            request = _receive(connection, copy, limits)
            found = rehearse(request, say_step, lambda: _is_connected(connection))
        result = rehearsed(found, LISTED)
        if not result["verified"]:
            raise not_verified(found, request.shown, result)
    except Error as error:
        kind = next((name for name, one in _TYPES.items() if isinstance(error, one)), "unfinished")
        say({"error": str(error), "type": kind})
    else:
        say({"result": {**result, "warnings": list(found.warnings)}})


def _send_request(
    connection: socket.socket,
    request: RehearsalRequest,
    stream: t.BinaryIO,
    deadline: float,
    is_wanted: t.Callable[[], bool],
) -> None:
    size = request.path.stat().st_size
    header = {"shown": request.shown, "size": size, "memory_bytes": request.memory_bytes, "time_s": request.time_s}
    waiting = memoryview(json.dumps(header).encode() + b"\n")
    while waiting:
        with contextlib.suppress(socket.timeout):
            waiting = waiting[connection.send(waiting) :]
        _check(request, deadline, is_wanted)
        if not waiting:
            waiting = memoryview(stream.read(CHUNK))


def _answers(
    connection: socket.socket, request: RehearsalRequest, deadline: float, is_wanted: t.Callable[[], bool]
) -> t.Iterator[dict[str, t.Any]]:
    """Return the lines of the answer as they come."""
    said = b""
    while len(said) < MAX_LINE:
        _check(request, deadline, is_wanted)
        try:
            piece = connection.recv(65536)
        except socket.timeout:
            continue
        if not piece:
            return
        *lines, said = (said + piece).split(b"\n")
        for line in lines:
            try:
                answer = json.loads(line)
            except ValueError:
                return
            if isinstance(answer, dict):
                yield answer


def _check(request: RehearsalRequest, deadline: float, is_wanted: t.Callable[[], bool]) -> None:
    if not is_wanted():
        raise Aborted(f"The rehearsal of {request.shown} was cut, because the work was stopped.")
    if time.monotonic() > deadline:
        raise RehearsalUnfinished(
            f"The rehearsal service did not answer about {request.shown} in time and was given up."
        )


def _receive(connection: socket.socket, copy: PrivateFile, limits: ServiceLimits) -> RehearsalRequest:
    """Return the request that arrives, with its snapshot in a private file. Raises InvalidOption for anything else, and LocalFailure."""
    with connection.makefile("rb") as stream, os_errors_as("receiving a snapshot"):
        try:
            header = json.loads(stream.readline(MAX_LINE))
            shown, left = str(header["shown"]), int(header["size"])
            memory_bytes, time_s = int(header["memory_bytes"]), float(header["time_s"])
        except (ValueError, KeyError, TypeError):
            raise InvalidOption("What arrived is not a request for a rehearsal.") from None
        while left > 0:
            piece = stream.read(min(CHUNK, left))
            if not piece:
                raise LocalFailure(f"{shown} did not arrive whole: the connection ended.")
            copy.write(piece)
            left -= len(piece)
    request = RehearsalRequest(copy.path, shown, limits.scratch, limits.consul_binary, is_private_copy=True)
    return replace(request, memory_bytes=min(memory_bytes, limits.memory_bytes), time_s=time_s, is_isolated=True)


def _is_connected(connection: socket.socket) -> bool:
    """Return whether the other end waits for an answer. It sends nothing after its request, so its end is all that can be read."""
    return not select.select([connection], [], [], 0)[0]
