# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replications into a datacenter that are behind, or whose destination is not what its source is, as their agents publish it.

The rules are off until they are named: most tokens that judge a datacenter may not read these keys, and would then judge nothing well.
What cannot be read of a replication is unknown, for that one only.
"""

from __future__ import annotations

import typing as t

from ..._consul import errors, kv
from ..._consul.replication_status import ReplicationStatus, parse_status
from ..._consul.reserved_keys import REPLICATION_ROOT, replication_names
from ..._consul.units import count_of, human_age, timestamp
from ..finding import RANK
from ..judging import Judging
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

RULE = "kv_replication_diverged"
LAG_RULE = "kv_replication_lag"
RULES = (Rule(RULE, enabled=False), Rule(LAG_RULE, "seconds", warning=60.0, critical=300.0, enabled=False))
WHAT = "replications"

_MILD = "warning"  # a freeze is somebody's will, and a verification may have been overtaken by what was written since
# The agent publishes at least every minute: with less, a takeover or a long comparison would be a finding.
SILENT_AFTER_S = 180.0
MAX_CLOCK_DIFFERENCE_S = 300.0  # a status dated further ahead than this means that a clock is wrong


class Replication(t.NamedTuple):
    """One replication into the datacenter. ``status`` is None when it is unknown, or when no agent follows its source."""

    name: str
    is_frozen: bool
    status: ReplicationStatus | None


class Replications(t.NamedTuple):
    """The replications into a datacenter."""

    found: tuple[Replication, ...]


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


def _read_status(reader: Reader, folder: str, name: str) -> ReplicationStatus | None:
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
    replications = judging.observation.get(Replications)
    if replications is None:
        return
    diverged, lag = judging.rules.get(RULE), judging.rules.get(LAG_RULE)
    for one in replications.found:
        if diverged is not None:
            _judge_divergence(judging, diverged, one)
        if lag is not None and one.status is not None and not one.is_frozen:
            _judge_lag(judging, lag, one.name, one.status)


def _judge_lag(judging: Judging, rule: Rule, name: str, status: ReplicationStatus) -> None:
    """Judge how far a replication is behind, and whether it still says so. Nothing arrives while one is frozen, by intention."""
    now, since = judging.observation.time, status.behind_since
    age_s = now - status.at
    whose = f"replication {name} into {judging.datacenter}"
    if age_s < -MAX_CLOCK_DIFFERENCE_S:
        judging.add_unknown(
            WHAT,
            f"the status of {name} is dated {human_age(-age_s)} ahead, so its lag is not known. Compare the clocks.",
        )
        return
    if age_s >= SILENT_AFTER_S:
        judging.add(
            LAG_RULE,
            rule.severity_above(age_s),
            f"{whose} has published nothing for {human_age(age_s)}, so how far it is behind is not known",
            check=_identity(name, "silence"),
            detail=f"last published at {timestamp(status.at)}",
            advice="See whether its agent runs, and whether it can read the source and write to this datacenter.",
        )
        return
    lag_s = max(status.lag_s, 0.0 if since is None else now - since)
    waits = f", {count_of(status.pending, 'group')} of keys pending" if status.pending else ""
    judging.add(
        LAG_RULE,
        rule.severity_above(lag_s),
        f"{whose} is {human_age(lag_s)} behind",
        check=_identity(name, "lag"),
        detail=f"as published at {timestamp(status.at)}, measured by {status.lag_source}{waits}",
        advice=status.problem
        or "See its status: the pages of its agents, or consulops replicate status --from-consul.",
    )


def _judge_divergence(judging: Judging, rule: Rule, one: Replication) -> None:
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


def _judge_status(judging: Judging, rule: Rule, name: str, status: ReplicationStatus) -> None:
    whose = f"of replication {name} into {judging.datacenter}"
    detail = f"as published at {timestamp(status.at)}"
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
            detail=f"verified at {timestamp(status.verified_at)}",
            advice="The agent compares everything again after verify_every; see its status.",
        )


def _at_most_mild(rule: Rule) -> str:
    return min(_MILD, rule.severity, key=RANK.__getitem__)


def _identity(name: str, kind: str) -> str:
    return f"replication/{name}/{kind}"


GROUP = RuleGroup(RULES, judge, (Reading(WHAT, _read_replications, (RULE, LAG_RULE)),), needs_leader=True)
