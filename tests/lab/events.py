# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the event source as ansible-rulebook does, in a process of its own, without rules: its events are collected.

The program is this file itself: ``python events.py OPTIONS TEXT`` prints events as JSON, and acknowledges those that hold a text.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = (
    ROOT / ".cache/collections/ansible_collections/consulops/failover/extensions/eda/plugins/event_source/consul.py"
)
ALL = ""

Event = dict[str, t.Any]


class RunningSource:
    """A source that runs. Use it in a ``with`` block. Events that hold ``acknowledge`` are; None: there is no feedback."""

    def __init__(self, options: t.Mapping[str, t.Any], acknowledge: str | None = None) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CONSUL_")}
        self.process = subprocess.Popen(
            # -P: a file beside this one has the name of a library.
            [sys.executable, "-P", str(Path(__file__)), json.dumps(options), json.dumps(acknowledge)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.events: list[Event] = []
        self.errors = ""
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_events, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()

    def find(self, **fields: t.Any) -> list[Event]:
        """Return the events with these fields."""
        return [event for event in list(self.events) if all(event.get(name) == value for name, value in fields.items())]

    def wait(self, count: int = 1, within_s: float = 20.0, **fields: t.Any) -> list[Event]:
        """Wait for some events with these fields, and return them."""
        deadline = time.monotonic() + within_s
        while len(self.find(**fields)) < count:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"{count} times {fields} did not come: {self.events} {self.errors}")
            time.sleep(0.02)
        return self.find(**fields)

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send a signal, wait for the end and return the seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        took_s = time.monotonic() - started
        for reader in self._readers:
            reader.join()
        return took_s

    def __enter__(self) -> RunningSource:
        return self

    def __exit__(self, *_args: object) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)


def _interrupt(_number: int, _frame: object) -> t.NoReturn:
    raise KeyboardInterrupt  # as ansible-rulebook does


async def _run(options: dict[str, t.Any], acknowledged: str | None) -> None:
    queue: asyncio.Queue[Event] = asyncio.Queue(1)
    feedback: asyncio.Queue[Event] = asyncio.Queue(1)
    if acknowledged is not None:
        options["eda_feedback_queue"] = feedback
    source = asyncio.ensure_future(runpy.run_path(str(PLUGIN))["main"](queue, options))
    while True:
        event = asyncio.ensure_future(queue.get())
        await asyncio.wait({event, source}, return_when=asyncio.FIRST_COMPLETED)
        if not event.done():
            event.cancel()
            await source
        line = json.dumps(event.result())
        if acknowledged is not None and acknowledged in line:
            await feedback.put(event.result())
        print(line, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        asyncio.run(_run(json.loads(sys.argv[1]), json.loads(sys.argv[2])))
    except KeyboardInterrupt:
        sys.exit(130)
