# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rehearses a restore: restores a snapshot into a throw-away Consul that can reach nothing, reads it back and compares it by table.

Everything of it is gone afterwards: processes, directory, namespaces.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ..._consul import endpoint, errors
from ..._consul._libraries import require
from ..._consul.client import Client
from ..._consul.private_file import os_errors_as
from ..._consul.retry import BackOff
from ..._consul.units import human_bytes
from .. import live_snapshot, restore_plan
from ..compare import compare_source
from ..errors import BadSnapshot
from ..index import SnapshotIndex, index_snapshot
from ..restore_plan import Verification
from ..summary import Summary
from ..undo_file import is_undo_file
from . import watch as watching
from .errors import RehearsalFailed, RehearsalUnfinished
from .isolated_consul import END_S, IsolatedConsul, not_started
from .launch import Launch, find_consul, launch
from .server_config import server_config
from .verdict import RehearsedTable, check_version, rehearsed_tables
from .watch import Watch

log = logging.getLogger("consulops")

START_S = 60.0  # for the server to elect itself: 1 to 3 s, more on a busy machine
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 0.5
DEFAULT_MEMORY_BYTES, DEFAULT_TIME_S = 2 * 1024**3, 900.0
READING, STARTING, RESTORING, COMPARING = "reading the snapshot", "starting Consul", "restoring", "reading back"

OnStep = t.Callable[[str], None]


@dataclass(frozen=True)
class RehearsalRequest:
    """What to rehearse, and within which limits.

    ``on_restored`` is called with a client of the throw-away Consul when everything else was compared, to read more there.
    ``shown`` is what the user knows the file as. ``is_private_copy``: nobody else needs the file, so its name is removed as soon as it
    is open, and a process that is killed leaves nothing of it. ``scratch`` is where a private directory is made.
    """

    path: Path
    shown: str
    scratch: Path
    consul_binary: str = "consul"
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    time_s: float = DEFAULT_TIME_S
    is_private_copy: bool = False
    is_isolated: bool = False
    on_restored: t.Callable[[Client], None] | None = None


@dataclass(frozen=True)
class Rehearsal:
    """What came of a rehearsal. ``seconds``: how long each part took; ``peak_bytes``: the memory that Consul has had at most."""

    snapshot: Summary
    version: str
    binary: Path
    method: str
    tables: tuple[RehearsedTable, ...]
    verification: Verification
    peak_bytes: int
    seconds: t.Mapping[str, float]
    warnings: tuple[str, ...] = ()


@dataclass
class _Run:
    """What every step of one rehearsal needs. ``doing`` is the step that it is in."""

    request: RehearsalRequest
    on_step: OnStep
    deadline: float
    version: str = "of an unknown version"
    doing: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, doing: str, part: str) -> t.Iterator[None]:
        """Name what is being done, and measure it."""
        if doing != self.doing:
            self.doing = doing
            self.on_step(doing)
        started = time.monotonic()
        yield
        self.seconds[part] = time.monotonic() - started
        log.debug("rehearsal of %s: %s took %.3f s", self.request.shown, doing, self.seconds[part])


def rehearse(
    request: RehearsalRequest, on_step: OnStep = log.debug, is_wanted: t.Callable[[], bool] = lambda: True
) -> Rehearsal:
    """Restore the snapshot into a Consul of its own and compare. ``is_wanted`` is asked now and then, and ends the rehearsal.

    ``on_step`` gets a few words about each step that begins. Raises BadSnapshot for a file that is none, RehearsalFailed when Consul
    does not load it, RehearsalRefused or RehearsalUnfinished when that could not be tried, Aborted when it is not wanted any more.
    """
    require("msgpack")
    binary = find_consul(request.consul_binary)
    run = _Run(request, on_step, time.monotonic() + request.time_s)
    with os_errors_as(f"reading {request.shown}"):
        stream = request.path.open("rb")
    with stream:
        if request.is_private_copy:
            request.path.unlink(missing_ok=True)
        now = time.time()
        with run.step(READING, "decode"), os_errors_as(f"reading {request.shown}"):
            index = index_snapshot(stream, request.shown, as_of=now)
            stream.seek(0)
        if is_undo_file(index.summary.meta):
            raise errors.GuardRefused(
                f"{request.shown} is the undo file of a restore of keys and not a whole snapshot: there is nothing to rehearse."
            )
        node = f"consulops-rehearsal-{secrets.token_hex(4)}"
        config = server_config(index.summary.datacenter, node)
        wanted = Launch(binary, config, request.scratch, request.memory_bytes, request.time_s, request.is_isolated)
        with run.step(STARTING, "start"), contextlib.ExitStack() as stack:
            consul = stack.enter_context(launch(wanted))
            consul.start()
            left = stack.pop_all()
        with left, Watch(consul, request.memory_bytes, run.deadline, is_wanted) as watch:
            return _in_consul(run, consul, watch, index, stream, binary)


def _in_consul(
    run: _Run, consul: IsolatedConsul, watch: Watch, index: SnapshotIndex, stream: t.BinaryIO, binary: Path
) -> Rehearsal:
    """Do what needs a Consul that runs."""
    reached = endpoint.resolve({"url": consul.url, "timeout": run.request.time_s}, {})
    try:
        with Client(reached) as client:
            with run.step(STARTING, "leader"):
                _wait_for_leader(client, consul)
                run.version = client.whoami().version or run.version
                consul.check_rights()
                warning = check_version(index.summary, run.version)
            with run.step(RESTORING, "restore"):
                client.upload(live_snapshot.SNAPSHOT_PATH, stream, timeout_s=run.request.time_s)
                _wait_for_leader(client, consul)
            with run.step(COMPARING, "read_back"):
                with live_snapshot.open_stream(client, stale=False, timeout_s=run.request.time_s) as restored:
                    comparison = compare_source(
                        index, restored, "what Consul gives back", as_of=time.time(), versions=(run.version,)
                    )
                verification = restore_plan.verify(comparison)
                if run.request.on_restored is not None:
                    run.request.on_restored(client)
    except errors.ConsulError as error:
        raise _explained(run, consul, watch, error) from None
    except BadSnapshot as error:
        raise RehearsalFailed(f"{run.request.shown} does not restore as it is: {error}") from None
    # What it starts with is part of its own time.
    run.seconds["start"] += run.seconds.pop("leader")
    return Rehearsal(
        snapshot=index.summary,
        version=run.version,
        binary=binary,
        method=consul.method,
        tables=rehearsed_tables(comparison, verification),
        verification=verification,
        peak_bytes=watch.peak_bytes,
        seconds=run.seconds,
        warnings=(warning,) if warning else (),
    )


def _wait_for_leader(client: Client, consul: IsolatedConsul) -> None:
    """Wait until the server has elected itself. Raises the last ConsulError when it takes too long, or Consul ended."""
    deadline, back_off = time.monotonic() + START_S, BackOff(FIRST_LOOK_S, LONGEST_LOOK_S)
    while True:
        try:
            client.check_leader()
        except errors.ConsulError:
            # Nothing says when a server has elected itself; its end is noticed at once.
            if time.monotonic() > deadline or consul.is_over(back_off.next_s()):
                raise
        else:
            return


def _explained(run: _Run, consul: IsolatedConsul, watch: Watch, error: errors.ConsulError) -> errors.Error:
    """Return the error of a rehearsal in which Consul gave no answer, or a wrong one: what happened, and what can be done."""
    request = run.request
    if watch.reason == watching.STOPPED:
        return errors.Aborted(f"The rehearsal of {request.shown} was cut, because the work was stopped.")
    if watch.reason == watching.TIME:
        return RehearsalUnfinished(
            f"The rehearsal of {request.shown} was not done within {request.time_s:g} s (it was {run.doing}) and was ended. "
            "Raise time_limit if that is too short."
        )
    status = consul.ended(END_S)
    if watch.reason == watching.MEMORY or status == 128 + 9:
        return RehearsalUnfinished(
            f"The Consul of the rehearsal of {request.shown} needed more memory than {human_bytes(request.memory_bytes)} "
            f"(it was {run.doing}) and was ended. Raise memory_limit if the host has it."
        )
    if run.doing == STARTING:
        return not_started(consul, str(error) if status is None else consul.complaint())
    if status is not None:
        return RehearsalFailed(
            f"{request.shown} does not restore: Consul {run.version} ended while it was {run.doing}: {consul.complaint()}"
        )
    return RehearsalFailed(
        f"{request.shown} does not restore: Consul {run.version} says, while it was {run.doing}: "
        f"{error.consul_message or error}"
    )
