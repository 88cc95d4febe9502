# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a drill breaks, when, and what is expected of Consul meanwhile: the form of the catalogue's files. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._consul.errors import InvalidOption
from .._consul.units import parse_duration
from .faults import disk_fault
from .faults.fault_plan import NAME

# Whom a fault strikes, among the servers of the drill.
LEADER, FOLLOWER, FOLLOWERS, MINORITY, MAJORITY, ALL = "leader", "follower", "followers", "minority", "majority", "all"
INSTANCES = "instances"  # the hosts with instances of the service of the prepared query, when the drill began
TARGETS = (LEADER, FOLLOWER, FOLLOWERS, MINORITY, MAJORITY, ALL, INSTANCES)
HOST = "host:"  # with the name of a host behind it
SERVER = "server:"  # with a number from 1 on: the followers, and then the server that led when the drill began
# How servers are cut off from each other.
ALONE, HALVES, BRIDGE, RING, WAN = "alone", "halves", "bridge", "ring", "wan"
SHAPES = (ALONE, HALVES, BRIDGE, RING, WAN)
STAYS, CHANGES = "stays", "changes"
CANARY = "canary"  # what an alert is about, if not a rule
ALERT_OBJECTIVES = ("alert_firing", "alert_resolved")
REPLICA_OBJECTIVES = ("replica_lag", "replica_caught_up", "replica_equal", "replica_answers")
QUERY_OBJECTIVES = ("query_answers", "query_moves", "query_returns")
OBJECTIVES = (  # in seconds
    "gap_at_fault",
    "gap_at_healing",
    "healthy_after",
    *ALERT_OBJECTIVES,
    *REPLICA_OBJECTIVES,
    *QUERY_OBJECTIVES,
)

STEP_OPTIONS = ("unit", "direction", "peers", "path", "leave_free", "shared_disk")  # of consul_drill_fault, as they are
MOST_FAULTS = 20
LONGEST_S = 3600.0
_EXPRESSION = re.compile(r"(?P<duration>[0-9][0-9.a-z]*)(?: *\* *(?P<factor>raft_multiplier))?")


@dataclass(frozen=True)
class FaultStep:
    """One fault: ``at_s`` seconds after the load began, for ``for_s`` seconds, on ``targets``.

    ``shape`` is how servers are isolated; only of the fault ``isolated``. ``options`` are those of ``consul_drill_fault``.
    """

    at_s: float
    for_s: float
    fault: str
    targets: str
    shape: str
    options: t.Mapping[str, t.Any]

    @property
    def end_s(self) -> float:
        """When it is healed, in seconds after the load began."""
        return self.at_s + self.for_s

    def __str__(self) -> str:
        how = f" ({self.shape})" if self.fault == "isolated" else ""
        return f"{self.targets} {self.fault}{how} from {self.at_s:g} s to {self.end_s:g} s"


@dataclass(frozen=True)
class AlertStep:
    """The alert of a drill: about a canary that fails ``at_s`` seconds after the load began for ``for_s`` seconds, or about a rule.

    With ``faults``, how many the drill has, it is about these: a rule, or a canary without times of its own. It begins when the first one
    was made, and ends when the last one was healed, of which ``at_s`` and ``for_s`` are the planned times.
    """

    about: str
    at_s: float
    for_s: float
    faults: int = 0

    @property
    def end_s(self) -> float:
        """When what it is about ends, in seconds after the load began."""
        return self.at_s + self.for_s


@dataclass(frozen=True)
class Objective:
    """A limit in seconds, which is for ``raft_multiplier`` 1 where it is ``scaled``."""

    seconds: float
    scaled: bool

    def limit_s(self, raft_multiplier: int) -> float:
        """Return the limit for a datacenter."""
        return self.seconds * (raft_multiplier if self.scaled else 1)


@dataclass(frozen=True)
class Expectations:
    """What is expected. None: it is not judged.

    ``gap_at_fault`` and ``gap_at_healing`` limit the time without an acknowledged change, ``healthy_after`` the time until autopilot calls
    the datacenter healthy after the last healing. ``leader`` is whether another server must lead. ``changes_refused``: none is
    acknowledged while the fault lasts. ``history_valid``: false for drills that only report. ``alert_firing`` and ``alert_resolved`` limit
    the time from what the alert is about, and from its end, until a receiver has the message.

    Of the datacenter to which the keys of the drill are replicated: ``replica_lag`` limits the time until a write is there while nothing
    fails, ``replica_caught_up`` the time after the last healing, ``replica_equal`` that after the load until all keys are equal,
    ``replica_answers`` the longest time without an answer of its leader, and ``replica_lacks`` how many acknowledged additions are not
    there at the end of a fault. ``replica_keeps_keys``: no key is deleted there. ``snapshot_restores``: a snapshot that is taken after the
    load, restored into a throw-away Consul, has all additions that were acknowledged.

    Of a prepared query: ``query_answers`` limits the time without an instance in its answer, ``query_moves`` that from the first fault
    until another datacenter answers, ``query_returns`` that from the last healing until the own one does again.
    """

    gap_at_fault: Objective | None = None
    gap_at_healing: Objective | None = None
    healthy_after: Objective | None = None
    leader: str | None = None
    changes_refused: bool = False
    history_valid: bool = True
    alert_firing: Objective | None = None
    alert_resolved: Objective | None = None
    replica_lag: Objective | None = None
    replica_caught_up: Objective | None = None
    replica_equal: Objective | None = None
    replica_answers: Objective | None = None
    replica_lacks: int | None = None
    replica_keeps_keys: bool = False
    snapshot_restores: bool = False
    query_answers: Objective | None = None
    query_moves: Objective | None = None
    query_returns: Objective | None = None

    @property
    def needs_replica(self) -> bool:
        """Whether something is expected of another datacenter."""
        limited = any(getattr(self, name) is not None for name in (*REPLICA_OBJECTIVES, "replica_lacks"))
        return limited or self.replica_keeps_keys

    @property
    def of_query(self) -> list[str]:
        """The names of what is expected of a prepared query."""
        return [name for name in QUERY_OBJECTIVES if getattr(self, name) is not None]


@dataclass(frozen=True)
class DrillDefinition:
    """A drill of the catalogue, or one of a user. Construction raises InvalidOption."""

    name: str
    title: str
    faults: tuple[FaultStep, ...]
    expect: Expectations
    loses_quorum: bool = False
    alert: AlertStep | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):  # it becomes the name of files, and of a key
            raise InvalidOption(
                f"name: {self.name!r} is not a name: use up to 64 letters, digits, dots, dashes and underscores."
            )
        if len(self.faults) > MOST_FAULTS:
            raise InvalidOption(f"faults: {len(self.faults)} of them; a drill has {MOST_FAULTS} at most.")
        before = 0.0
        for number, step in enumerate(self.faults):
            if step.at_s < before:
                raise InvalidOption(
                    f"faults[{number}].at: the fault before ends at {before:g} s, and a host has one fault at a time."
                )
            before = step.end_s
        named = next((name for name in ALERT_OBJECTIVES if getattr(self.expect, name) is not None), None)
        if named is not None and self.alert is None:
            raise InvalidOption(
                f"expect.{named}: the drill has no alert: write for example alert: {{about: {CANARY}}}."
            )
        if self.expect.replica_lacks is not None and self.expect.replica_lacks < 0:
            raise InvalidOption(f"expect.replica_lacks: {self.expect.replica_lacks} is not a number of keys.")
        for name in ("replica_caught_up", "replica_lacks", "query_moves", "query_returns"):
            if getattr(self.expect, name) is not None and not self.faults:
                raise InvalidOption(f"expect.{name}: it is measured at faults, and the drill has none.")

    @property
    def needs_query(self) -> bool:
        """Whether it is about a prepared query."""
        return bool(self.expect.of_query) or any(step.targets == INSTANCES for step in self.faults)

    @property
    def needs_snapshot(self) -> bool:
        """Whether it can cost data if Consul does not do what it should."""
        return self.loses_quorum or any(step.fault in disk_fault.FAULTS for step in self.faults)

    @property
    def end_s(self) -> float:
        """When the last fault is healed and the canary passes again, in seconds after the load began."""
        steps = [*self.faults, *(() if self.alert is None else (self.alert,))]
        return max((step.end_s for step in steps), default=0.0)


def make_step(
    number: int, options: t.Mapping[str, t.Any], raft_multiplier: int, data_path: str | None = None
) -> FaultStep:
    """Return a fault of validated options; one of a disk without a path has ``data_path``.

    Raises InvalidOption that begins with the path of the key.
    """
    path = f"faults[{number}]"
    at_s = _seconds(options["at"], f"{path}.at", 0, raft_multiplier)
    for_s = _seconds(options["for"], f"{path}.for", 1, raft_multiplier)
    fault, targets, shape = options["fault"], options["targets"], options["shape"]
    if not _are_targets(targets):
        raise InvalidOption(
            f"{path}.targets: {targets!r} is not one of {', '.join(TARGETS)}, {HOST}NAME for a host of the inventory, or {SERVER}NUMBER."
        )
    if shape is not None and fault != "isolated":
        raise InvalidOption(f"{path}.shape: only servers that are isolated have one, and the fault is {fault}.")
    if shape in (BRIDGE, RING, WAN) and targets != ALL:
        raise InvalidOption(f"{path}.targets: the shape {shape} needs all servers: write targets: {ALL}.")
    more = {name: options[name] for name in STEP_OPTIONS if options.get(name) is not None}
    if fault in disk_fault.FAULTS and "path" not in more:
        if data_path is None:
            raise InvalidOption(
                f"{path}.path: the fault {fault} needs it, or the option data_path: where Consul has its data."
            )
        more["path"] = data_path
    return FaultStep(at_s, for_s, fault, targets, shape or (ALONE if fault == "isolated" else ""), more)


def make_alert(options: t.Mapping[str, t.Any], faults: t.Sequence[FaultStep], raft_multiplier: int) -> AlertStep:
    """Return the alert of validated options. Raises InvalidOption that begins with the path of the key."""
    about = options["about"]
    at_s = min((step.at_s for step in faults), default=None)
    end_s = max((step.end_s for step in faults), default=0.0)
    if about != CANARY:
        given = next((name for name in ("at", "for") if options[name] is not None), None)
        if given is not None:
            raise InvalidOption(
                f"alert.{given}: only a canary has times of its own; the rule {about} is about the faults."
            )
        if at_s is None:
            raise InvalidOption(f"alert.about: the rule {about} is about faults, and the drill has none.")
        return AlertStep(about, at_s, end_s - at_s, len(faults))
    missing = next((name for name in ("at", "for") if options[name] is None), None)
    if missing is not None and at_s is None:
        raise InvalidOption(
            f"alert.{missing}: the drill has no fault, so the canary needs the times at which it fails."
        )
    begin_s = at_s or 0.0 if options["at"] is None else _seconds(options["at"], "alert.at", 0, raft_multiplier)
    if options["for"] is not None:
        return AlertStep(about, begin_s, _seconds(options["for"], "alert.for", 1, raft_multiplier))
    if end_s - begin_s < 1:
        raise InvalidOption(
            "alert.at: the canary must fail at least 1 s before the last fault is healed; or write for."
        )
    return AlertStep(about, begin_s, end_s - begin_s, len(faults) if options["at"] is None else 0)


def _are_targets(words: str) -> bool:
    if words.startswith(SERVER):
        return re.fullmatch("[1-9][0-9]?", words[len(SERVER) :]) is not None
    return words in TARGETS or (words.startswith(HOST) and len(words) > len(HOST))


def _seconds(text: str, path: str, least: float, raft_multiplier: int) -> float:
    found = parse_limit(text, path).limit_s(raft_multiplier)
    if not least <= found <= LONGEST_S:
        raise InvalidOption(f"{path}: {text} must be from {least:g} s to {LONGEST_S:g} s.")
    return found


def parse_limit(text: str, path: str) -> Objective:
    """Return the seconds that a text like ``10s`` or ``5s * raft_multiplier`` means. Raises InvalidOption."""
    found = _EXPRESSION.fullmatch(text.strip())
    if found is None:
        raise InvalidOption(f"{path}: {text!r} is not a duration: write for example 10s, or 5s * raft_multiplier.")
    return Objective(parse_duration(found["duration"], path), found["factor"] is not None)
