# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges the snapshot of a drill: whether a Consul that restored it has every addition that was acknowledged. Pure."""

from __future__ import annotations

from .expectation_outcome import MET, MISSED, UNKNOWN, Outcome
from .history import OK, SNAPSHOT_REHEARSED, History

NAME = "snapshot_restores"
OBJECTIVE = "everything acknowledged is in it"
RESTORED, FAILED = "restored", "failed"  # outcomes of the event; any other one is unknown


def judge_snapshot(history: History) -> Outcome:
    """Return what became of the snapshot that was taken after the load."""
    event = next((one for one in history.events if one.name == SNAPSHOT_REHEARSED), None)
    if event is None:
        return Outcome(NAME, UNKNOWN, None, OBJECTIVE, "Not known: the drill ended before its snapshot was restored.")
    outcome, sentence = event.fields.get("outcome"), str(event.fields.get("sentence", ""))
    if outcome == FAILED:
        return Outcome(NAME, MISSED, FAILED, OBJECTIVE, f"The snapshot was not restored: {sentence}")
    added = event.fields.get("added")
    if outcome != RESTORED or not isinstance(added, list):
        return Outcome(NAME, UNKNOWN, None, OBJECTIVE, f"Not known whether the snapshot restores: {sentence}")
    additions = [one for one in history.of("set") if one.f == "add"]
    acknowledged = {one.value for one in additions if one.outcome == OK}
    if not acknowledged:
        return Outcome(
            NAME, UNKNOWN, None, OBJECTIVE, "Not known: no addition was acknowledged that could be in the snapshot."
        )
    lost = len(acknowledged.difference(added))
    foreign = len(set(added).difference(one.value for one in additions))
    if lost or foreign:
        sentence = f"The restored snapshot lacks {lost:,} of {len(acknowledged):,} acknowledged additions"
        more = f", and has {foreign:,} that nobody made" if foreign else ""
        return Outcome(NAME, MISSED, float(lost), OBJECTIVE, f"{sentence}{more}.")
    return Outcome(
        NAME, MET, 0.0, OBJECTIVE, f"The restored snapshot has all {len(acknowledged):,} acknowledged additions."
    )
