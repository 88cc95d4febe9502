# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Consul events run programs: each event once, on the holder of the lease.

``consulops/agents/NAME/events`` has the IDs of the events that were dealt with. An ID is written before its program is run, so a program
may not run when an instance dies at that moment, and never runs twice.
Source: https://developer.hashicorp.com/consul/api-docs/event
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import logging
import threading
import typing as t

from ..._consul import kv
from ..._consul.answer_fields import to_rows, to_text
from ..._consul.client import Client
from ..._consul.errors import InvalidResponse
from ..._consul.units import count_of
from ..._daemon.job import Context
from . import shared_state
from .event_handlers import EventHandler, EventPrograms
from .program_pool import ProgramPool, Task
from .program_runner import ProgramFailed, ProgramRunner
from .shared_state import Keys

log = logging.getLogger("consulops")

WAIT_S = 60.0
STANDBY_S = 1.0
BUSY_WAIT_S = 1.0  # while programs run, so that their numbers are shown
REMEMBERED = 1024  # IDs; an agent of Consul remembers 256 events


class Event(t.NamedTuple):
    """One event. ``document`` is what programs get, as JSON."""

    id: str
    name: str
    document: bytes


def handle_events(
    context: Context, programs: EventPrograms, environ: t.Mapping[str, str], path: str = "options.events"
) -> None:
    """Run programs for events until the job must stop. Raises a ConsulError, and InvalidOption for a program that is missing."""
    runners = [
        (one, ProgramRunner(one.command, one.timeout_s, environ, f"{path}[{number}].command"))
        for number, one in enumerate(programs.handlers)
    ]
    dispatcher = _Dispatcher(context, runners, programs.at_a_time)
    try:
        _follow_events(context, dispatcher)
    finally:
        dispatcher.close()


def _follow_events(context: Context, dispatcher: _Dispatcher) -> None:
    index: int | None = None
    while not context.stopping.is_set():
        context.heartbeat()
        dispatcher.check()
        if context.lease.standing != "holder":
            context.report("on standby", dispatcher.numbers)
            context.pause(STANDBY_S)
            index = None
            continue
        if dispatcher.is_full:
            context.report("waits for programs to end", dispatcher.numbers)
            context.pause(BUSY_WAIT_S)
            continue
        wait_s = BUSY_WAIT_S if dispatcher.is_busy else WAIT_S
        # The token needs to see no events but those that have programs; what else is left out does not matter.
        response = dispatcher.client.get("/v1/event/list", index=index, wait_s=wait_s, partial_ok=True)
        is_handled = dispatcher.handle(response.parse(parse_events))
        index = (response.index or None) if is_handled else None
        context.report("handles events", dispatcher.numbers, problem=dispatcher.hidden_events(response.is_filtered))
        context.pause(0.1)


class _Dispatcher:
    def __init__(
        self, context: Context, runners: t.Sequence[tuple[EventHandler, ProgramRunner]], at_a_time: int
    ) -> None:
        self.client: Client = context.client()
        self._context = context
        self._runners = runners
        self._key = Keys(context.name).events
        self._pool = ProgramPool(at_a_time)
        self._count = threading.Lock()  # guards the numbers
        self._run, self._failed = 0, 0

    @property
    def numbers(self) -> dict[str, float]:
        """How many programs were run, how many of them failed, and how many run and wait."""
        running, waiting = self._pool.load
        with self._count:
            return {
                "programs_run": self._run,
                "programs_failed": self._failed,
                "programs_running": running,
                "programs_waiting": waiting,
            }

    def check(self) -> None:
        """Raise RuntimeError after a bug: it ends the process, which is started anew."""
        if self._pool.is_broken:
            raise RuntimeError("a thread that runs programs for events ended by a bug")

    @property
    def is_busy(self) -> bool:
        """Whether programs run or wait."""
        return any(self._pool.load)

    @property
    def is_full(self) -> bool:
        """Whether too many programs wait for more events to be read."""
        return self._pool.is_full

    def close(self) -> None:
        """Begin no more programs; those that run may end."""
        left = self._pool.close()
        if left:
            log.warning("%s were not run, because the agent stops or its events changed", count_of(left, "program"))

    def hidden_events(self, is_filtered: bool) -> str:
        """Return which events the token may not see, "" if it may see all that have programs.

        ``is_filtered``: Consul said that it left out events, not which; before 1.9 it leaves them out without a word. When it
        cannot tell what the token may do either, every event that has a program counts as hidden.
        """
        names = sorted({handler.name for handler, _runner in self._runners})
        rights = {name: self.client.may("event", "read", name) for name in names}
        hidden = [name for name, may in rights.items() if may is False or (may is None and is_filtered)]
        needed = " and ".join(f'event "{name}" {{ policy = "read" }}' for name in hidden)
        return f"The token may not see the events that programs wait for. It needs {needed}." if hidden else ""

    def handle(self, events: t.Sequence[Event]) -> bool:
        """Run the programs of the events that are new. Return whether they were taken: else others wrote. Raises a ConsulError."""
        names = {handler.name for handler, _runner in self._runners}
        entry = kv.read_key(self.client, self._key).entries
        seen = _decode(entry[0].value, self._key) if entry else None
        index = entry[0].modify_index if entry else 0
        new = [event for event in events if seen is None or event.id not in seen]
        if seen is not None and not any(event.name in names for event in new):
            return True
        remembered = [*(seen or ()), *(event.id for event in new)][-REMEMBERED:]
        content = json.dumps(remembered, separators=(",", ":")).encode()
        # Before the first time everything is old: nobody knows when it was sent.
        claimed = shared_state.write(self.client, self._key, content, index, self._context.lease.guard)
        if claimed and seen is not None:
            for event in new:
                self._submit(event)
        return claimed

    def _submit(self, event: Event) -> None:
        for number, (handler, runner) in enumerate(self._runners):
            if handler.name == event.name:
                lane = number if handler.ordered else None
                self._pool.submit(Task(functools.partial(self._run_program, event, runner), lane))

    def _run_program(self, event: Event, runner: ProgramRunner) -> None:
        log.info("event %s %s: running its program", event.name, event.id)
        failed = False
        try:
            runner.run(event.document)
        except ProgramFailed as error:
            failed = True
            log.warning("event %s %s: %s", event.name, event.id, error)
        with self._count:
            self._run += 1
            self._failed += failed


def parse_events(rows: t.Any) -> list[Event]:
    """Return the events of an answer of /v1/event/list: call it through ``Response.parse``."""
    return [
        Event(
            to_text(row["ID"]),
            to_text(row["Name"]),
            json.dumps(
                {
                    "id": to_text(row["ID"]),
                    "name": to_text(row["Name"]),
                    **_payload(row["Payload"]),
                    "node_filter": to_text(row["NodeFilter"]),
                    "service_filter": to_text(row["ServiceFilter"]),
                    "tag_filter": to_text(row["TagFilter"]),
                    "ltime": row["LTime"],
                }
            ).encode()
            + b"\n",
        )
        for row in to_rows(rows)
    ]


def _payload(value: t.Any) -> dict[str, str | None]:
    """Return the payload as text, None if it is none, and as Consul gave it."""
    encoded = "" if value is None else to_text(value)
    try:
        return {"payload": base64.b64decode(encoded, validate=True).decode(), "payload_base64": encoded}
    except (binascii.Error, UnicodeDecodeError):
        return {"payload": None, "payload_base64": encoded}


def _decode(content: bytes, key: str) -> list[str]:
    """Return the IDs that were dealt with. Raises InvalidResponse."""
    try:
        return [to_text(one) for one in json.loads(content)]
    except (ValueError, TypeError):
        raise InvalidResponse(f"{key}: this is not the list of events that the agent wrote. Delete the key.") from None
