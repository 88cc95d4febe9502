# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rehearses a restore: the options and the work of ``consul_snapshot_rehearse``."""

from __future__ import annotations

import logging
import socket
import tempfile
import typing as t
from pathlib import Path

from .._config.connection_spec import Spec
from .._consul.client import Client
from .._consul.errors import InvalidOption
from .._consul.units import parse_bytes, parse_duration, positive_seconds
from .._snapshot.rehearsal import result as rehearsal_result
from .._snapshot.rehearsal import service
from .._snapshot.rehearsal.launch import find_consul
from .._snapshot.rehearsal.rehearse import OnStep, RehearsalRequest, rehearse
from .._snapshot.rehearsal.service import ServiceLimits
from .snapshot_source import SOURCE_SPEC, snapshot_file
from .task import Invocation, Result, Task

log = logging.getLogger("consulops")

LEAST_MEMORY_BYTES = 64 * 1024**2  # an idle Consul has about as much
LIMITS_SPEC: Spec = {
    "consul_binary": {"type": "str", "default": "consul"},
    "memory_limit": {"type": "str", "default": "2G"},
    "time_limit": {"type": "str", "default": "15m"},
}
SPEC: Spec = dict(
    path={"type": "path", "required": True},
    datacenter={"type": "str"},
    limit={"type": "int", "default": 100},
    **LIMITS_SPEC,
    **SOURCE_SPEC,
)


def memory_limit(text: str, option: str) -> int:
    """Return a memory limit in bytes. Raises InvalidOption."""
    found = parse_bytes(text, option)
    if found < LEAST_MEMORY_BYTES:
        raise InvalidOption(f"{option} {text!r} is less than the 64M that an idle Consul needs.")
    return found


def _always() -> bool:
    return True


def rehearse_with_steps(
    call: Invocation,
    on_step: OnStep,
    on_restored: t.Callable[[Client], None] | None = None,
    is_wanted: t.Callable[[], bool] = _always,
) -> Result:
    """Rehearse; ``on_step`` gets a few words about each step that begins. Raises as ``perform`` does.

    ``on_restored`` gets a client of the throw-away Consul, which has the snapshot. ``is_wanted`` is asked now and then, and ends it.
    """
    options = call.params
    if options["limit"] < 0:
        raise InvalidOption(f"limit is {options['limit']}: it cannot be negative.")
    memory_bytes = memory_limit(options["memory_limit"], "memory_limit")
    time_s = positive_seconds(parse_duration(options["time_limit"], "time_limit"), "time_limit")
    binary = find_consul(options["consul_binary"])
    scratch = Path(options["scratch_path"] or tempfile.gettempdir())
    if not scratch.is_dir():
        raise InvalidOption(
            f"The directory {scratch} for the private files of the rehearsal does not exist: create it."
        )
    on_step("fetching the snapshot")
    with snapshot_file(call, scratch, lambda: options["datacenter"]) as source:
        if call.check_mode:
            return {"changed": False, "path": source.shown, "would_rehearse": True, "consul": {"binary": str(binary)}}
        request = RehearsalRequest(
            path=source.path,
            shown=source.shown,
            scratch=scratch,
            consul_binary=str(binary),
            memory_bytes=memory_bytes,
            time_s=time_s,
            is_private_copy=str(source.path) != source.shown,
            on_restored=on_restored,
        )
        found = rehearse(request, on_step, is_wanted)
    result: Result = {
        "changed": False,
        "path": source.shown,
        "would_rehearse": False,
        **rehearsal_result.rehearsed(found, options["limit"]),
    }
    for warning in found.warnings:
        call.warn(f"{source.shown}: {warning}")
    if not result["verified"]:
        raise rehearsal_result.not_verified(found, source.shown, result)
    return result


def perform(call: Invocation) -> Result:
    """Restore a snapshot into a throw-away Consul and compare; in check mode only find and fetch it.

    Raises RehearsalFailed for a snapshot that does not restore, RehearsalRefused, RehearsalUnfinished, BadSnapshot, or what
    ``snapshot_file`` raises.
    """
    return rehearse_with_steps(call, _log_step)


def serve_rehearsal(connection: socket.socket, given: t.Mapping[str, t.Any], scratch: Path) -> None:
    """Rehearse the snapshot that arrives over a connection; ``given`` are options of LIMITS_SPEC. Raises InvalidOption and LocalFailure."""
    values = {name: given.get(name) or rules["default"] for name, rules in LIMITS_SPEC.items()}
    limits = ServiceLimits(values["consul_binary"], memory_limit(values["memory_limit"], "memory_limit"), scratch)
    service.serve(connection, limits)


def _log_step(doing: str) -> None:
    log.debug("%s", doing)


REHEARSE = Task(SPEC, perform)
