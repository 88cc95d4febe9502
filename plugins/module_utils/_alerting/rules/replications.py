# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replications into a datacenter whose destination is not what its source is, as their agents publish it below ``consulops/``.

The rule is off until it is named: most tokens that judge a datacenter may not read these keys, and would then judge nothing well.
The documents are those of docs/replication-agent.md; what cannot be read of one is unknown, for that replication only.
"""

from __future__ import annotations

import json
import typing as t

from ..._consul import errors, kv
from ..._consul.reserved_keys import REPLICATION_ROOT, replication_names
from ..._consul.units import count_of
from ..finding import RANK
from ..judging import Judging
from ..parsing import to_flag, to_number, to_object, to_text
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

RULE = "kv_replication_diverged"
RULES = (Rule(RULE, enabled=False),)
WHAT = "replications"

_MILD = "warning"  # a freeze is somebody's will, and a verification may have been overtaken by what was written since


class Status(t.NamedTuple):
    """What an agent published last. ``is_equal`` is None when its last verification does not say."""

    at: str
    conflicts: int
    unwritable: int
    unreadable: int
    paused_deletes: int
    plan: str
    verified_at: str
    is_equal: bool | None


class Replication(t.NamedTuple):
    """One replication into the datacenter. ``status`` is None when it is unknown, or when no agent follows its source."""

    name: str
    is_frozen: bool
    status: Status | None


class Replications(t.NamedTuple):
    """The replications into a datacenter."""

    found: tuple[Replication, ...]


def parse_status(value: bytes) -> Status:
    """Return the status that a key holds. Raises ValueError for anything else; fields of newer versions are ignored."""
    try:
        document = to_object(json.loads(value))
        paused, is_equal = to_object(document["paused_deletes"]), document["equal"]
        return Status(
            to_text(document["at"]),
            _to_count(document["conflicts"]),
            _to_count(document["unwritable"]),
            _to_count(document["unreadable"]),
            _to_count(paused["count"]),
            to_text(paused["digest"]),
            to_text(document["verified_at"]),
            None if is_equal is None else to_flag(is_equal),
        )
    except (LookupError, TypeError, ValueError, RecursionError):
        raise ValueError from None


def _to_count(value: t.Any) -> int:
    number = to_number(value)
    if number < 0:
        raise ValueError
    return number


def _read_replications(reader: Reader) -> None:
    """Read what is published: two small requests where there is nothing, and up to four more for each replication."""
    try:
        found = tuple(_read_one(reader, name) for name in replication_names(reader.client))
    except errors.PermissionDenied as error:
        raise error.with_advice(
            after=f'The token needs key_prefix "{REPLICATION_ROOT}" {{ policy = "read" }}.'
        ) from None
    reader.observation.add(Replications(found))


def _read_one(reader: Reader, name: str) -> Replication:
    folder = f"{REPLICATION_ROOT}{name}/"
    parts = {key[len(folder) :] for key in kv.list_keys(reader.client, folder, separator="/")}
    is_frozen = "control/" in parts and bool(kv.read_key(reader.client, f"{folder}control/freeze").entries)
    status = None
    if parts & {"follow", "status"}:  # otherwise it is run by the module, and says in its result what it found
        status = _read_status(reader, folder, name)
        locks = kv.read_key(reader.client, f"{folder}lock").entries
        if not locks or not locks[0].session:
            reader.observation.add_unknown(
                WHAT, f"no agent holds {folder}lock, so what {name} published last may have changed. Start its agent."
            )
    return Replication(name, is_frozen, status)


def _read_status(reader: Reader, folder: str, name: str) -> Status | None:
    entries = kv.read_key(reader.client, f"{folder}status").entries
    if not entries:
        reader.observation.add_unknown(WHAT, f"the agent of {name} has published no {folder}status yet")
        return None
    try:
        status = parse_status(entries[0].value)
    except ValueError:
        reader.observation.add_unknown(
            WHAT,
            f"{folder}status does not hold what the replication agent writes. Delete it and restart the agent, which writes it anew.",
        )
        return None
    if status.unreadable:
        reader.observation.add_unknown(
            WHAT, f"the agent of {name} cannot read {count_of(status.unreadable, 'shard')}: see its status"
        )
    return status


def judge(judging: Judging) -> None:
    """Judge each replication; each kind of problem is a finding of its own."""
    replications, rule = judging.observation.get(Replications), judging.rules.get(RULE)
    if replications is None or rule is None:
        return
    for one in replications.found:
        if one.is_frozen:
            judging.add(
                RULE,
                _at_most_mild(rule),
                f"replication {one.name} into {judging.datacenter} is frozen, so no change arrives",
                check=_identity(one.name, "freeze"),
                advice=f"consulops replicate thaw {one.name}",
            )
        if one.status is not None:
            _judge_status(judging, rule, one.name, one.status)


def _judge_status(judging: Judging, rule: Rule, name: str, status: Status) -> None:
    whose = f"of replication {name} into {judging.datacenter}"
    detail = f"as published at {status.at}"
    if status.conflicts:
        judging.add_by_rule(
            RULE,
            f"{count_of(status.conflicts, 'key')} {whose} in conflict: someone else wrote at the destination",
            check=_identity(name, "conflicts"),
            detail=detail,
            advice="The agent's status names the keys. Remove them at the destination, or set on_conflict.",
        )
    if status.unwritable:
        judging.add_by_rule(
            RULE,
            f"{count_of(status.unwritable, 'key')} {whose} cannot be written",
            check=_identity(name, "unwritable"),
            detail=detail,
            advice="The agent's status names the keys and what Consul said.",
        )
    if status.paused_deletes:
        judging.add_by_rule(
            RULE,
            f"{count_of(status.paused_deletes, 'deletion')} {whose} paused by a guard",
            check=_identity(name, "paused_deletes"),
            detail=f"{detail}, plan {status.plan}",
            advice=f"If exactly these keys may go: consulops replicate ack {name} {status.plan}",
        )
    if status.is_equal is False and not (status.conflicts or status.unwritable or status.paused_deletes):
        judging.add(
            RULE,
            _at_most_mild(rule),
            f"the last verification {whose} did not find the two sides equal",
            check=_identity(name, "verification"),
            detail=f"verified at {status.verified_at}",
            advice="The agent compares everything again after verify_every; see its status.",
        )


def _at_most_mild(rule: Rule) -> str:
    return min(_MILD, rule.severity, key=RANK.__getitem__)


def _identity(name: str, kind: str) -> str:
    return f"replication/{name}/{kind}"


GROUP = RuleGroup(RULES, judge, (Reading(WHAT, _read_replications, (RULE,)),), needs_leader=True)
