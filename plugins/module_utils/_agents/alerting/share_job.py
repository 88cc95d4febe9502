# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two jobs that share what instances know through Consul: one follows what others wrote, one writes."""

from __future__ import annotations

import json
import typing as t
from collections import Counter

from ..._consul import errors
from ..._consul.txn import Operation
from ..._consul.units import count_of, timestamp
from ..._daemon.job import Context
from . import shared_state
from .memory import Memory, wait_until_configured
from .note_parts import spread
from .shared_state import Keys, Value
from .told import Told

FOLLOW_WAIT_S = 10.0  # a query that waits does not notice that the servers' state was restored
LEAST_S = 0.5  # between two readings or writings, however much changes
IDLE_S = 300.0
ATTEMPTS = 8  # to write instance, silences and notes, while another instance writes too


def follow(context: Context) -> None:
    """Take what other instances share as soon as it changes. Raises a ConsulError."""
    memory: Memory = context.memory
    if not wait_until_configured(context):
        return
    keys, client = Keys(context.name), context.client()
    index: int | None = None
    while not context.stopping.is_set():
        context.heartbeat()
        shared = shared_state.read(client, keys, index=index, wait_s=FOLLOW_WAIT_S)
        problem = "" if shared.index == index else memory.take_shared(shared, keys)
        # An index that goes back starts again: the servers' state was restored.
        index = shared.index if shared.index >= (index or 0) else None
        memory.to_share.set()
        context.report(count_of(len(shared.instances), "instance"), problem=problem)
        context.pause(LEAST_S)


def share(context: Context) -> None:
    """Write what other instances need, as soon as it changes: silences, and notes as the holder of the lease. Raises a ConsulError.

    On standby those notes are added that nobody else has, of what was told while Consul could not say which instance sends.
    """
    memory: Memory = context.memory
    if not wait_until_configured(context):
        return
    writer = _Sharing(context, memory)
    context.lease.listen(memory.to_share.set)
    try:
        memory.to_share.set()
        while context.wait_for(memory.to_share, IDLE_S):
            memory.to_share.clear()
            problem = writer.run_once()
            context.report("what instances share is up to date", problem=problem)
            context.pause(LEAST_S)
        writer.run_once()  # the lease is released next, and whoever takes it must know what was sent
    finally:
        context.lease.unlisten(memory.to_share.set)


class _Sharing:
    def __init__(self, context: Context, memory: Memory) -> None:
        self._context = context
        self._memory = memory
        self._keys = Keys(context.name)
        self._client = context.client()
        self._no_room = ""
        # By the ID of a message, how often its notes were added on standby: if the holder drops them, they are not added for ever.
        self._added: Counter[str] = Counter()

    def run_once(self) -> str:
        """Write what Consul lacks. Return what is wrong with what it has, "" if nothing is. Raises a ConsulError."""
        problem = self._begin_term()
        for _attempt in range(ATTEMPTS):
            if problem or self._try_to_write():
                break
            problem = self._read()
        return problem or self._no_room

    def _try_to_write(self) -> bool:
        try:
            return self._write_all()
        except errors.PermissionDenied as error:
            raise shared_state.with_right(error, self._keys) from None

    def _begin_term(self) -> str:
        """Read what the holder before noted, once in each term: only then it is known what remains to be sent."""
        memory, fence = self._memory, self._context.lease.fence
        if memory.shared is not None and memory.notes_fence == fence:
            return ""
        problem = self._read()
        memory.notes_fence = fence
        memory.changed.set()
        return problem

    def _read(self) -> str:
        return self._memory.take_shared(shared_state.read(self._client, self._keys), self._keys)

    def _write_all(self) -> bool:
        """Write what differs. Return False if another instance was faster, so that it must be read again."""
        memory, keys, instance = self._memory, self._keys, self._memory.config.instance
        shared = t.cast("shared_state.SharedState", memory.shared)
        if instance not in shared.instances:
            about = json.dumps({"node": self._context.node, "since": timestamp(memory.clock.time())})
            shared_state.write(self._client, keys.instance(instance), about.encode(), 0)
            return False
        with memory.mutex:
            silences = memory.core.silences.encode().encode()
            has_silences = bool(memory.core.silences.added)
        if silences != shared.silences.content and (has_silences or shared.silences.content):
            shared_state.write(self._client, keys.silences, silences, shared.silences.index)
            return False
        if not self._context.lease.held:
            return self._add_notes(shared.notes)
        told = memory.notes_to_share()
        # None is reported by whoever read what a later version wrote.
        return told is None or self._write_notes(shared.notes, told, self._context.lease.guard)

    def _add_notes(self, known: t.Mapping[str, Value]) -> bool:
        """Add what only this instance told while Consul could not say which one sends: the one that sends now has to tell the end of it."""
        added = self._memory.notes_to_add()
        messages = {note.notification for note in added.notes.values()}
        if all(self._added[message] >= ATTEMPTS for message in messages):
            return True
        self._added.update(messages)
        return self._write_notes(known, self._memory.shared_with(added), None)

    def _write_notes(self, known: t.Mapping[str, Value], told: Told, guard: Operation | None) -> bool:
        """Write the parts that differ, and then delete those that are not needed any more. Return whether there were none."""
        wanted = spread(told, {name: value.content for name, value in known.items()})
        self._no_room = _no_room(self._keys, wanted.left_out)
        if not told.notes and not known:
            return True
        client, is_done = self._client, True
        for name, content in wanted.contents.items():
            value = known.get(name, Value())
            if content != value.content:
                shared_state.write(client, self._keys.note_part(name), content, value.index, guard)
                is_done = False
        for name in sorted(set(known) - set(wanted.contents)):
            shared_state.delete(client, self._keys.note_part(name), known[name].index, guard)
            is_done = False
        return is_done


def _no_room(keys: Keys, alerts: int) -> str:
    if not alerts:
        return ""
    return (
        f"{keys.notes}: {count_of(alerts, 'alert')} more than Consul has room for were told, so another instance that takes over tells "
        "them again under the same keys."
    )
