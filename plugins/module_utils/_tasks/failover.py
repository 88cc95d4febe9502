# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One datacenter takes over from another: the options and the work of ``consul_failover``."""

from __future__ import annotations

import json
import logging
import time
import typing as t
from dataclasses import replace

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec, side_spec
from .._consul import errors, kv, txn
from .._consul.autopilot import read_autopilot, settled_autopilot
from .._consul.client import Client
from .._consul.retry import RetryPolicy
from .._consul.shard_plan import ShardSpec
from .._consul.txn import Operation
from .._consul.units import parse_duration, timestamp
from .._failover.datacenter_plan import NOTHING, PROMOTE, UNCHANGED, UNHEALTHY, Copy, Limits, Plan, Side, make_plan
from .._failover.failover_record import CANARY_KEY, RECORD_KEY, FailoverRecord, parse_record
from .._replication import control
from .._replication.direction import parse_direction
from .._replication.direction_taker import DirectionTaker, SetDirection
from .._replication.prepare import compare
from .._replication.published import read_status
from .._replication.request import NAME, ReplicationRequest
from .._replication.sides import Side as ReplicationSide
from .failover_rehearsal import REHEARSAL_SPEC, publish_rehearsal
from .replication_request import REQUEST_SPEC, make_request
from .task import Invocation, Result, Task

log = logging.getLogger("consulops")

UNKNOWN = "unknown"
LOOK_AGAIN_S = 1.0
RETRY_S = 3.0  # a datacenter that has just failed is asked no longer than that

SPEC: Spec = {
    "state": {"type": "str", "choices": ["planned", "promoted", "finished", "rehearsed"], "default": "planned"},
    "source": side_spec(),
    "destination": side_spec(),
    "replication": {"type": "str", "required": True},
    "reversed_by": {"type": "str", "required": True},
    "prefixes": {"type": "list", "elements": "raw", "required": True},
    **{name: REQUEST_SPEC[name] for name in ("skip_locked", "concurrency")},
    "confirm": {"type": "str"},
    "max_loss": {"type": "str", "default": "10s"},
    "quiet": {"type": "str", "default": "5s"},
    "wait": {"type": "str", "default": "30s"},
    "accept": {"type": "list", "elements": "str", "choices": [UNHEALTHY], "default": []},
    "allow_conflicts": {"type": "bool", "default": True},
    "rehearsal": {"type": "dict", "options": REHEARSAL_SPEC},
    **connection_spec(),
}


class _Request(t.NamedTuple):
    """The options, checked. ``max_loss_s`` is None for unknown."""

    replication: ReplicationRequest
    reversed_by: str
    confirm: str
    max_loss_s: float | None
    quiet_s: float
    wait_s: float
    accept: t.Sequence[str]
    allow_conflicts: bool

    @property
    def name(self) -> str:
        """The name of the replication from the old to the new datacenter."""
        return self.replication.name


class _Sides(t.NamedTuple):
    """Clients and names of both datacenters."""

    old_client: Client
    new_client: Client
    old: str
    new: str


def _request(call: Invocation) -> _Request:
    """Return the request that the options describe. Raises InvalidOption."""
    options = call.params
    for option in ("replication", "reversed_by"):
        if not NAME.fullmatch(options[option]):
            raise errors.InvalidOption(f"{option}: {options[option]!r} is not the name of a replication. {UNCHANGED}")
    if options["replication"] == options["reversed_by"]:
        raise errors.InvalidOption(
            f"replication and reversed_by are both {options['replication']!r}: name the two directions. {UNCHANGED}"
        )
    if (options["state"] == "rehearsed") != (options["rehearsal"] is not None):
        raise errors.InvalidOption(f"state: rehearsed and rehearsal, its outcome, go together. {UNCHANGED}")
    given = {name: options[name] for name in ("prefixes", "skip_locked", "concurrency")}
    request = make_request({**given, "on_conflict": "keep", "retry_timeout": RETRY_S}, name=options["replication"])
    max_loss = options["max_loss"]
    return _Request(
        request,
        options["reversed_by"],
        options["confirm"] or "",
        None if max_loss == UNKNOWN else parse_duration(max_loss, "max_loss"),
        parse_duration(options["quiet"], "quiet"),
        parse_duration(options["wait"], "wait"),
        options["accept"],
        options["allow_conflicts"],
    )


def perform(call: Invocation) -> Result:
    """Plan a failover, promote the new datacenter, verify and finish it, or publish that it was rehearsed. Raises an Error."""
    request = _request(call)
    with call.client("source") as old, call.client("destination") as new:
        if call.params["state"] == "rehearsed":
            return publish_rehearsal(call, new)
        sides = _Sides(old, new, *_names(old, new))
        record = _read_record(new)
        plan = _plan(sides, request, record)
        result: Result = {"changed": False, **_described(plan, sides)}
        state = call.params["state"]
        if state == "planned":
            return result
        if state == "promoted":
            return {**result, **_promote(call, sides, request, plan)}
        return {**result, **_finish(call, sides, plan, record)}


# -------------------------------------------------------------------------------------------------------------------
# Looking


def _names(old: Client, new: Client) -> tuple[str, str]:
    """Return the names of both datacenters. Raises InvalidOption, or a ConsulError of the new one."""
    names = []
    for option, client in (("source", old), ("destination", new)):
        name = client.endpoint.datacenter
        if not name and option == "source":
            # It may not be there to be asked, and an agent that answers for it would say its own name.
            raise errors.InvalidOption(f"source has no datacenter: name the one that is replaced. {UNCHANGED}")
        name = name or client.whoami().datacenter
        if not name:
            raise errors.InvalidOption(
                f"The token may not read the datacenter's name: set the datacenter of {option}. {UNCHANGED}"
            )
        names.append(name)
    if names[0] == names[1]:
        raise errors.InvalidOption(
            f"source and destination are both {names[0]}: one takes over from the other. {UNCHANGED}"
        )
    return names[0], names[1]


def _plan(sides: _Sides, request: _Request, record: FailoverRecord | None) -> Plan:
    """Look at both datacenters until nothing is missing or for as long as the request says. Raises a ConsulError of the new one.

    Conflicts that are not allowed are looked at again too: a key that a replication copies during the comparison counts as one.
    """
    deadline = time.monotonic() + request.wait_s
    limits = Limits(request.confirm, request.max_loss_s, request.accept, request.allow_conflicts)
    new = _look_at(sides.new_client, sides.new, settled=True)
    if not new.answers:
        raise errors.GuardRefused(f"{sides.new} cannot take over: {new.problem.rstrip('.')}. {UNCHANGED}")
    known = _look_at_direction(sides.new_client, request)
    if known.is_reversed:
        return make_plan(Side(sides.old), new, known, record, limits, time.time())  # the old one need not be asked
    while True:
        old = _look_at(sides.old_client, sides.old, settled=False)
        copied = _look_at_keys(sides, request, old, known)
        plan = make_plan(old, new, copied, record, limits, time.time())
        waits = copied.differing or (copied.conflicts and not request.allow_conflicts)
        if not waits or time.monotonic() >= deadline:
            return plan
        log.info(
            "%d keys of %s are not in %s yet, %d conflicts",
            copied.differing or 0,
            sides.old,
            sides.new,
            copied.conflicts,
        )
        time.sleep(LOOK_AGAIN_S)


def _look_at(client: Client, name: str, *, settled: bool) -> Side:
    """Return what a datacenter says of itself; with ``settled`` a round of autopilot after an election is waited for."""
    try:
        client.check_leader()
    except errors.ConsulError as error:
        return Side(name, str(error))
    try:
        health = settled_autopilot(client) if settled else read_autopilot(client)
    except errors.ConsulError as error:
        log.debug("the health of %s is not known: %s", name, error)
        return Side(name)
    return Side(name, "", health.healthy, health.tolerance)


def _look_at_direction(new: Client, request: _Request) -> Copy:
    """Return what the new datacenter knows of the replication. Raises a ConsulError, or GuardRefused."""
    generation, active = _direction(new, request)
    status, problem = read_status(new, request.name)
    if problem:
        log.warning("%s", problem)
    return Copy(request.name, request.reversed_by, generation, active, status=status)


def _look_at_keys(sides: _Sides, request: _Request, old: Side, copied: Copy) -> Copy:
    """Return what is known of the replication, with what the comparison of the keys says, if the old datacenter answers."""
    if not old.answers:
        return replace(copied, unknown_because=old.problem)
    try:
        copied = replace(copied, written=_written(sides.old_client, request))
        prepared = compare(sides.old_client, sides.new_client, request.replication)
    except errors.ConsulError as error:
        return replace(copied, unknown_because=str(error))  # what was not compared is not known, whichever side it was
    unseen = [*prepared.warnings, *(plan.unconfirmed for plan in prepared.plans if plan.unconfirmed)]
    if unseen:  # what Consul left out may be missing
        return replace(copied, unknown_because="; ".join(unseen))
    counts = [plan.counts for plan in prepared.plans]
    missing = sum(one.created + one.updated for one in counts) + sum(len(plan.to_delete) for plan in prepared.plans)
    problems = [problem for plan in prepared.plans for problem in plan.conflicts]
    return replace(copied, differing=missing, conflicts=len(problems))


def _direction(new: Client, request: _Request) -> tuple[int, str]:
    """Return the generation of the direction, and which replication is active. Raises GuardRefused for a register that nobody can read."""
    register = control.read_control(new, request.name).direction
    if not register:
        return 0, ""
    try:
        found = parse_direction(register)
    except ValueError:
        raise errors.GuardRefused(
            f"{control.direction_key(request.name)} of the new datacenter does not hold a direction: look at it, and delete it. {UNCHANGED}"
        ) from None
    if found.active not in (request.name, request.reversed_by):
        raise errors.GuardRefused(
            f"{found.active} is the active direction in the new datacenter, and not {request.name} or {request.reversed_by}. {UNCHANGED}"
        )
    return found.generation, found.active


def _written(old: Client, request: _Request) -> list[str]:
    """Return the prefixes in which keys are written within ``quiet``, none if that is no time. Raises a ConsulError."""
    if not request.quiet_s:
        return []
    side = ReplicationSide(old, RetryPolicy(request.replication.retry_s))
    specs = [ShardSpec(mapping.source) for mapping in request.replication.mappings]
    before = [side.read_index(spec) for spec in specs]
    time.sleep(request.quiet_s)
    return [spec.prefix for spec, index in zip(specs, before) if side.read_index(spec) != index]


def _read_record(new: Client) -> FailoverRecord | None:
    for entry in kv.read_key(new, RECORD_KEY).entries:
        try:
            return parse_record(entry.value)
        except ValueError:
            log.warning("%s does not hold the record of a failover", entry.key)
    return None


# -------------------------------------------------------------------------------------------------------------------
# Changing


def _promote(call: Invocation, sides: _Sides, request: _Request, plan: Plan) -> Result:
    """End the replication to the new datacenter, and begin that from it. Raises GuardRefused, or a ConsulError of the new datacenter."""
    if plan.refusals and not call.check_mode:
        raise errors.GuardRefused(f"{'; '.join(plan.refusals)}. {UNCHANGED}")
    if plan.action != PROMOTE:
        return {"changed": False}
    if call.check_mode:
        return {"changed": True}
    began = time.time()
    direction = SetDirection(request.reversed_by, request.name, plan.generation)
    outcome = DirectionTaker(direction, sides.new_client, None).end_the_other(began)
    if outcome.lost_to is not None:
        raise errors.GuardRefused(
            f"{request.reversed_by} does not become active: {direction.lost_text(outcome.lost_to)}."
        )
    record = FailoverRecord(sides.old, sides.new, plan.generation, began, time.time(), None, plan.loss)
    _store_record(sides.new_client, record)
    try:
        DirectionTaker(direction, sides.new_client, sides.old_client).take(time.time())
    except errors.ConsulError as error:
        call.warn(
            f"{sides.old} did not record that {sides.new} has taken over: {str(error).rstrip('.')}. The agents do it when it is back."
        )
    return {"changed": True, "promoted_at": timestamp(record.promoted)}


def _finish(call: Invocation, sides: _Sides, plan: Plan, record: FailoverRecord | None) -> Result:
    """Prove that the new datacenter accepts writes, and note that the failover is finished. Raises an Error."""
    if plan.action == PROMOTE:
        if call.check_mode:
            return {"changed": True}
        raise errors.GuardRefused(f"{sides.new} has not taken over from {sides.old}: there is nothing to finish.")
    _check_canary(call, sides.new_client, plan.generation)
    if plan.action == NOTHING:
        return {"changed": False, **_times(record)}
    now = time.time()
    if record is None or record.generation != plan.generation:
        # It was promoted by other means, or the record was lost with the process that was to write it.
        record = FailoverRecord(sides.old, sides.new, plan.generation, now, now, None, plan.loss)
    record = record._replace(finished=now, took_s=round(max(0.0, now - record.began), 3))
    if not call.check_mode:
        _store_record(sides.new_client, record)
    return {"changed": True, **_times(record)}


def _check_canary(call: Invocation, new: Client, generation: int) -> None:
    """Write a key and read it at the leader. Raises an Error."""
    if call.check_mode:
        return
    content = json.dumps({"generation": generation}).encode()
    _store(new, CANARY_KEY, content)
    entries = kv.read_key(new, CANARY_KEY, consistency="consistent").entries
    if [entry.value for entry in entries] != [content]:
        raise errors.NotConverged(f"{CANARY_KEY} was written and read with another content: something else writes it.")


def _store_record(new: Client, record: FailoverRecord) -> None:
    _store(new, RECORD_KEY, record.as_json())


def _store(client: Client, key: str, value: bytes) -> None:
    try:
        txn.Writer(client).commit([Operation("set", key, value)])
    except errors.PermissionDenied as error:
        raise error.with_advice(
            after='The token of the new datacenter needs key_prefix "consulops/" { policy = "write" }.'
        ) from None


# -------------------------------------------------------------------------------------------------------------------
# Results


def _described(plan: Plan, sides: _Sides) -> Result:
    loss = plan.loss
    return {
        "action": plan.action,
        "generation": plan.generation,
        "old_datacenter": sides.old,
        "new_datacenter": sides.new,
        "loss": {
            "seconds": None if loss.seconds is None else round(loss.seconds, 3),
            "keys": loss.keys,
            "until": None if loss.until is None else timestamp(loss.until),
        },
        "refusals": plan.refusals,
        "sentences": plan.sentences,
    }


def _times(record: FailoverRecord | None) -> Result:
    if record is None:
        return {}
    return {
        "began_at": timestamp(record.began),
        "promoted_at": timestamp(record.promoted),
        "finished_at": None if record.finished is None else timestamp(record.finished),
        "took_seconds": record.took_s,
    }


FAILOVER = Task(SPEC, perform, (ONE_TOKEN,), _request)
