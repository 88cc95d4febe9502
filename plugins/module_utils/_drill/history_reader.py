# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads a history from lines of JSON, one line at a time. What is wrong with it is one sentence that names the line."""

from __future__ import annotations

import json
import typing as t

from .._consul.errors import LocalFailure
from .history import FAIL, INFO, OK, WORKLOADS, Event, Header, History, Operation

FORMAT = 1
CONSISTENCIES = ("default", "consistent", "stale")
_OUTCOMES = (OK, FAIL, INFO)
MAX_SHOWN_CHARACTERS = 60
MAX_INTEGER = 2**63 - 1  # 292 years in nanoseconds; larger ones could not be computed with as seconds


class BrokenHistory(LocalFailure):
    """A history that cannot be judged, because a line of it is not what its format says."""


def read_history(lines: t.Iterable[bytes]) -> History:
    """Return the history in lines that still have their line ends. Raises BrokenHistory.

    A recorder that was killed leaves invocations without an end, whose outcome is unknown, and may leave a last line that is cut.
    """
    reader = _Reader()
    cut_line = None
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # also of an encoding, and of a number with very many digits
            if line.endswith(b"\n"):
                raise BrokenHistory(f"line {number} is not JSON: {_shown(line.decode('utf-8', 'replace'))}.") from None
            cut_line = number
            break
        if not isinstance(record, dict):
            raise BrokenHistory(f"line {number} is not a JSON object: {_shown(record)}.")
        reader.add(number, record)
    return reader.history(cut_line)


class _Line(t.NamedTuple):
    """A line's number and its fields, which are read with a check of their type."""

    number: int
    record: dict[str, t.Any]

    def broken(self, what: str) -> BrokenHistory:
        return BrokenHistory(f"line {self.number}: {what}.")

    def text(self, name: str, default: str | None = None) -> str:
        value = self.record.get(name, default)
        if isinstance(value, str):
            return value
        raise self.broken(f"{name} is {_shown(value)}, not a string" if name in self.record else f"{name} is missing")

    def integer(self, name: str, least: int = 0) -> int:
        value = self.record.get(name)
        if _is_integer(value) and least <= t.cast(int, value) <= MAX_INTEGER:
            return t.cast(int, value)
        if name not in self.record:
            raise self.broken(f"{name} is missing")
        if _is_integer(value) and t.cast(int, value) > MAX_INTEGER:
            raise self.broken(f"{name} is {_shown(value)}, above {MAX_INTEGER}")
        raise self.broken(f"{name} is {_shown(value)}, not an integer from {least} on")

    def optional_integer(self, name: str) -> int | None:
        return None if self.record.get(name) is None else self.integer(name)

    def choice(self, name: str, choices: t.Iterable[str]) -> str:
        value = self.text(name)
        if value not in choices:
            raise self.broken(f"{name} {_shown(value)} is not one of {', '.join(choices)}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.record.get(name, [])
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(value)
        raise self.broken(f"{name} is {_shown(value)}, not a list of strings")


class _Open(t.NamedTuple):
    """An operation without its end; ``place`` is that among the operations."""

    place: int
    operation: Operation


class _Reader:
    """Puts lines together to operations."""

    def __init__(self) -> None:
        self._header: Header | None = None
        self._operations: list[Operation] = []
        self._events: list[Event] = []
        self._open: dict[int, _Open] = {}
        self._retired: set[int] = set()

    def add(self, number: int, record: dict[str, t.Any]) -> None:
        """Take one line."""
        line = _Line(number, record)
        kind = line.text("type")
        if (kind == "header") != (self._header is None):
            raise line.broken("a second header" if self._header else "the first line must be the header")
        if kind == "header":
            self._header = _header(line)
        elif kind == "event":
            moment = "time" if record.get("at") is None else "at"  # of a host, by whose clock it was
            self._events.append(Event(number, line.text("event"), line.integer(moment), record))
        elif kind == "invoke":
            self._invoke(line)
        elif kind in _OUTCOMES:
            self._complete(kind, line)
        else:
            raise line.broken(f"type {_shown(kind)} is not one of header, event, invoke, {', '.join(_OUTCOMES)}")

    def _invoke(self, line: _Line) -> None:
        process = line.integer("process")
        if process in self._open:
            before = self._open[process].operation.line
            raise line.broken(f"process {process} begins an operation while that of line {before} is still open")
        if process in self._retired:
            raise line.broken(f"process {process} is used again after an operation of unknown outcome")
        workload = line.choice("workload", WORKLOADS)
        f = line.choice("f", WORKLOADS[workload])
        start_ns = line.integer("time")
        operation = Operation(
            line.number,
            process,
            workload,
            f,
            line.text("key", "") if workload == "set" else line.text("key"),
            None if f == "read" else _written(line, f),
            INFO,
            start_ns,
            None,
            start_ns if line.record.get("intended") is None else line.integer("intended"),
            None,
            line.text("node", ""),
            line.record.get("final") is True,
        )
        self._open[process] = _Open(len(self._operations), operation)
        self._operations.append(operation)

    def _complete(self, outcome: str, line: _Line) -> None:
        process = line.integer("process")
        opened = self._open.pop(process, None)
        if opened is None:
            raise line.broken(f"process {process} ends an operation that it did not begin")
        place, begun = opened
        end_ns = line.integer("time")
        if end_ns < begun.start_ns:
            raise line.broken(f"the operation of line {begun.line} ends before it begins")
        error = line.text("error", "") if line.record.get("error") is not None else ""
        if outcome == INFO:
            self._retired.add(process)
            self._operations[place] = begun._replace(error=error)
            return
        value = begun.value
        if outcome == OK:
            value = _seen(line, begun) if begun.f == "read" else _confirmed(line, begun)
        self._operations[place] = begun._replace(
            value=value,
            outcome=outcome,
            end_ns=end_ns,
            state_index=line.optional_integer("index"),
            until_ns=line.optional_integer("until"),
            error=error,
        )

    def history(self, cut_line: int | None) -> History:
        """Return what was read."""
        if self._header is None:
            raise BrokenHistory("it has no complete header: it is empty, or was cut in its first line.")
        return History(self._header, self._operations, self._events, len(self._open), cut_line)


def _header(line: _Line) -> Header:
    if line.record.get("format") != FORMAT:
        raise line.broken(f"format {_shown(line.record.get('format'))} is not known here: this version reads {FORMAT}")
    workloads = line.texts("workloads")
    unknown = [name for name in workloads if name not in WORKLOADS]
    if unknown:
        raise line.broken(f"workload {_shown(unknown[0])} is not one of {', '.join(WORKLOADS)}")
    consistency = line.choice("consistency", CONSISTENCIES)
    texts = (line.text("datacenter", ""), line.text("started", ""))
    return Header(line.text("drill", ""), workloads, consistency, line.texts("nodes"), *texts, fields=line.record)


def _written(line: _Line, f: str) -> t.Any:
    value = line.record.get("value")
    if f == "cas":
        if isinstance(value, list) and len(value) == 2 and _is_seen(value[0]) and _is_integer(value[1]):
            return (value[0], value[1])
        raise line.broken(f"the value of a cas is {_shown(value)}, not two integers, of which the first may be null")
    if f in ("acquire", "release"):
        return line.text("value")
    return line.integer("value", -(2**63))


def _seen(line: _Line, begun: Operation) -> t.Any:
    if "value" not in line.record:
        raise line.broken(f"the read of line {begun.line} has no value")
    value = line.record["value"]
    if begun.workload == "set":
        if isinstance(value, list) and all(map(_is_integer, value)):
            return tuple(value)
        raise line.broken(f"the value of a read of a set is {_shown(value)}, not a list of integers")
    if not _is_seen(value):
        raise line.broken(f"the value of a read is {_shown(value)}, not an integer or null")
    return value


def _confirmed(line: _Line, begun: Operation) -> t.Any:
    """Return the value that was invoked; the line that ends the operation may leave it out, and must not have another one."""
    value = line.record.get("value")
    if value is not None and (tuple(value) if isinstance(value, list) else value) != begun.value:
        raise line.broken(f"the value {_shown(value)} is not the one of line {begun.line}, {_shown(begun.value)}")
    return begun.value


def _is_integer(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seen(value: t.Any) -> bool:
    return value is None or _is_integer(value)


def _shown(value: t.Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 3] + "..."
