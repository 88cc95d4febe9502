# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What alerting agents share in a datacenter: the alerts that receivers were told of, and silences. For those who cannot ask an agent.

The agent writes it (its notes and silences); what is read here is a part of that, and a test compares the two.
"""

from __future__ import annotations

import json
import typing as t
import zlib
from dataclasses import dataclass, field

from .._consul import errors, kv
from .._consul import status_fields as fields
from .._consul.reserved_keys import AGENTS_ROOT
from .finding import Finding
from .match import Matcher, matchers
from .reader import Reader
from .rule_group import Reading

WHAT = "alerting agents"
FORM_VERSION = 1  # of the agent's state
OVER = 1  # the status of a note whose receiver was told that the alert is over, or never that it fires
MAX_TEXT_BYTES = 8 << 20  # of one part of the notes, decompressed
_SILENCE_FIELDS = ("severity", "rule", "datacenter", "node", "service", "check", "tags", "node_meta", "service_meta")


@dataclass(frozen=True)
class PublishedAlert:
    """An alert that receivers were told of, and not of its end. Times in Unix seconds; ``told_at`` is the last message about it."""

    agent: str
    severity: str
    rule: str
    datacenter: str
    summary: str
    since: float
    told_at: float
    receivers: tuple[str, ...]
    place: str = ""


@dataclass(frozen=True)
class PublishedSilence:
    """A silence that somebody made, and the datacenter in which it is kept. Times in Unix seconds."""

    agent: str
    home: str
    id: str
    match: t.Any
    start: float
    end: float
    author: str
    reason: str
    matchers: tuple[Matcher, ...] = field(compare=False, repr=False)

    def is_active(self, now: float) -> bool:
        """Return whether it silences at ``now``; the end is not included."""
        return self.start <= now < self.end

    def covers(self, finding: Finding) -> bool:
        """Return whether it silences a finding. In other datacenters than its own it must name the datacenter."""
        subject = _Subject(finding)
        return any(
            matcher.matches(subject) and (finding.datacenter == self.home or "datacenter" in matcher.fields)
            for matcher in self.matchers
        )


class PublishedAgent(t.NamedTuple):
    """One alerting agent of the datacenter. ``is_held``: whether an instance holds its lease, None if the lease is kept elsewhere."""

    name: str
    instances: tuple[str, ...]
    is_held: bool | None
    alerts: tuple[PublishedAlert, ...]
    silences: tuple[PublishedSilence, ...]


class PublishedAgents(t.NamedTuple):
    """The alerting agents of a datacenter."""

    found: tuple[PublishedAgent, ...]


class _Subject:
    """A finding as the matchers of a silence see it. Services and checks match by ID and by name."""

    def __init__(self, finding: Finding) -> None:
        self._finding = finding

    def values(self, name: str) -> tuple[str, ...]:
        finding = self._finding
        if name == "service":
            return (finding.service, finding.service_name)
        if name == "check":
            return (finding.check, finding.check_name)
        value = getattr(finding, name)
        return value if isinstance(value, tuple) else (value,)

    def metadata(self, name: str) -> t.Mapping[str, str]:
        return dict(getattr(self._finding, name))


# ---------------------------------------------------------------------------------------------------------------
# Reading


def _read_agents(reader: Reader) -> None:
    by_agent: dict[str, dict[str, kv.Entry]] = {}
    for entry in reader.published(AGENTS_ROOT):
        name, _slash, rest = entry.key[len(AGENTS_ROOT) :].partition("/")
        by_agent.setdefault(name, {})[rest] = entry
    found = [
        _agent(reader, name, entries)
        for name, entries in sorted(by_agent.items())
        if any(rest == "silences" or rest.partition("/")[0] in ("notes", "instances") for rest in entries)
    ]
    reader.observation.add(PublishedAgents(tuple(found)))


def _agent(reader: Reader, name: str, entries: t.Mapping[str, kv.Entry]) -> PublishedAgent:
    observation = reader.observation
    alerts: list[PublishedAlert] = []
    silences: list[PublishedSilence] = []
    for rest, entry in sorted(entries.items()):
        try:
            if rest == "silences":
                silences = parse_silences(name, observation.datacenter, entry.value)
            elif rest.partition("/")[0] == "notes" and entry.value:
                alerts += parse_notes(name, entry.value)
        except ValueError:
            observation.add_unknown(
                WHAT, f"{entry.key} does not hold what an alerting agent of this version writes, so it is not shown."
            )
    lease = entries.get("lease")
    if lease is not None and not lease.session:
        observation.add_unknown(
            WHAT, f"no instance holds {lease.key}, so what {name} published last may have changed. Start the agent."
        )
    instances = tuple(rest.partition("/")[2] for rest in sorted(entries) if rest.startswith("instances/"))
    return PublishedAgent(
        name, instances, None if lease is None else bool(lease.session), tuple(alerts), tuple(silences)
    )


def parse_notes(agent: str, value: bytes) -> list[PublishedAlert]:
    """Return the alerts that a part of an agent's notes says fire. Raises ValueError for anything else."""
    try:
        document = _document(_unpacked(value))
        alerts = {fields.typed(one["episode"], str): one for one in document["alerts"]}
        told: dict[str, list[tuple[str, float]]] = {}
        for receiver, episode, status, _severity, at, *_more in document["notes"]:
            if status != OVER and episode in alerts:
                told.setdefault(episode, []).append((document["receivers"][receiver], fields.seconds(at)))
        return [_alert(agent, alerts[episode], notes) for episode, notes in sorted(told.items())]
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, zlib.error):
        raise ValueError from None


def _alert(agent: str, one: t.Mapping[str, t.Any], notes: t.Sequence[tuple[str, float]]) -> PublishedAlert:
    names = [fields.typed(one.get(name, ""), str) for name in ("node", "service", "check")]
    return PublishedAlert(
        agent=agent,
        severity=fields.typed(one["severity"], str),
        rule=fields.typed(one["rule"], str),
        datacenter=fields.typed(one["datacenter"], str),
        summary=fields.typed(one["summary"], str),
        since=fields.seconds(one["since"]),
        told_at=max(at for _receiver, at in notes),
        receivers=tuple(sorted(fields.typed(receiver, str) for receiver, _at in notes)),
        place="/".join(filter(None, names)),
    )


def parse_silences(agent: str, home: str, value: bytes) -> list[PublishedSilence]:
    """Return the silences that an agent keeps in the datacenter ``home``. Raises ValueError for anything else."""
    try:
        return [
            PublishedSilence(
                agent=agent,
                home=home,
                match=one["match"],
                start=fields.seconds(one["start"]),
                end=fields.seconds(one["end"]),
                matchers=tuple(matchers(one["match"], "match", _SILENCE_FIELDS)),
                **{name: fields.typed(one[name], str) for name in ("id", "author", "reason")},
            )
            for one in _document(value)["silences"]
        ]
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, errors.InvalidOption):
        raise ValueError from None


def _document(text: bytes) -> dict[str, t.Any]:
    document = fields.typed(json.loads(text), dict)
    if document["version"] != FORM_VERSION:
        raise ValueError
    return document


def _unpacked(value: bytes) -> bytes:
    decoder = zlib.decompressobj(wbits=31)  # gzip
    text = decoder.decompress(value, MAX_TEXT_BYTES)
    if not decoder.eof:
        raise ValueError
    return text


READING = Reading(WHAT, _read_agents)
