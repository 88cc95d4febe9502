# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An agent for tests of the frame: its jobs do, fail and hang as the options say. Run as a program, it is a real agent process."""

from __future__ import annotations

import sys
import threading
import time
import typing as t
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(ROOT), str(ROOT / ".cache" / "collections")]

from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, errors
from ansible_collections.consulops.failover.plugins.module_utils._consul.watch import Watch
from ansible_collections.consulops.failover.plugins.module_utils._daemon import process
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_type import AgentType, Plan, Setup
from ansible_collections.consulops.failover.plugins.module_utils._daemon.job import CONNECTION, Context, Job
from ansible_collections.consulops.failover.plugins.module_utils._daemon.routes import Route, WebRequest, WebResponse
from ansible_collections.consulops.failover.plugins.module_utils._daemon.status import Sample

from tests.lab.journal import write_journal

SPEC: dict[str, dict[str, t.Any]] = {
    "policy": {"type": "str", "default": "required"},
    "jobs": {"type": "dict", "default": {}},  # what each does, by name
    "connections": {"type": "dict", "default": {}},  # connection options by name
    "heartbeat_limit_s": {"type": "float", "default": 600.0},
}


def watch(context: Context, _what: str) -> None:
    """Report the index of a key, from blocking queries that would wait for a minute."""
    watched = Watch(context.client(), f"/v1/kv/probe/{context.name}")
    while not context.stopping.is_set():
        context.report("watches", {"index": watched.next().index, "thread": threading.get_native_id()})


def read(context: Context, connection: str) -> None:
    """Read a key over a named connection, again and again."""
    client = context.client(connection)
    while context.pause(0.05):
        client.get("/v1/kv/probe/secret", absent_ok=True)
        context.report("reads", {"thread": threading.get_native_id()})


def keep(context: Context, name: str) -> None:
    """Write a file of the state directory, again and again."""
    while context.pause(0.05):
        context.memory["kept"] = context.memory.get("kept", 0) + 1
        context.state.write(name, str(time.time()).encode())
        context.report("keeps")


def speak(context: Context, _what: str) -> None:
    """Report the standing of the lease: what an alerting agent does on every instance."""
    spoken = 0
    while context.pause(0.05):
        spoken += 1
        standing = context.lease.standing
        context.show({"standing": standing, "fence": context.lease.fence})
        context.report(f"speaks as {standing}", [Sample("spoken", spoken, (("to", "all"),))])


def hang(context: Context, _what: str) -> None:
    """Give no sign of life."""
    context.report("begins to hang")
    context.stopping.wait()


def go_wrong(_context: Context, _what: str) -> None:
    """Raise what only a bug raises."""
    raise KeyError("a bug of the probe")


DOES = {
    "watch": watch,
    "read": read,
    "keep": keep,
    "speak": speak,
    "hang": hang,
    "go_wrong": go_wrong,
    "write_journal": write_journal,
}
UNDER_LEASE = {"watch", "speak", "go_wrong", "write_journal"}


def plan(setup: Setup) -> Plan:
    """Return what runs: a job for each entry of ``jobs``, NAME: "WHAT ARGUMENT"."""
    connections = {name: endpoint.resolve(one, setup.environ) for name, one in setup.options["connections"].items()}
    jobs = []
    for name, text in setup.options["jobs"].items():
        what, _space, argument = text.partition(" ")
        used = (argument,) if what == "read" else (CONNECTION,)
        lease = setup.lease.name if what in UNDER_LEASE and setup.options["policy"] != "none" else None
        run = _runner(what, argument)
        jobs.append(Job(name, run, text, used, lease, setup.options["heartbeat_limit_s"]))
    leases = (replace(setup.lease, policy=setup.options["policy"]),) if setup.options["policy"] != "none" else ()
    return Plan({CONNECTION: setup.connection, **connections}, tuple(jobs), leases, ROUTES)


def _runner(what: str, argument: str) -> t.Callable[[Context], None]:
    return lambda context: DOES[what](context, argument)


def change(request: WebRequest) -> WebResponse:
    """Count what was asked to be changed."""
    if request.body == "refuse":
        raise errors.InvalidOption("The body is refused.")
    request.memory.setdefault("changes", []).append(request.body)
    return WebResponse.json({"id": request.arguments.get("id"), "changes": len(request.memory["changes"])})


def show(request: WebRequest) -> WebResponse:
    """Return how often something was changed."""
    return WebResponse.json(len(request.memory.get("changes", [])))


def show_kept(request: WebRequest) -> WebResponse:
    """Return what the job that keeps has counted."""
    return WebResponse.json(request.memory.get("kept", 0))


ROUTES = (
    Route("GET", "/changes", show),
    Route("GET", "/kept", show_kept),
    Route("POST", "/changes", change),
    Route("DELETE", "/changes/<id>", change),
)
PROBE = AgentType(SPEC, plan, memory=dict)

if __name__ == "__main__":
    try:
        process.run(sys.argv[-1], {"probe": PROBE})
    except errors.Error as error:
        sys.exit(f"consulops: {error}")
