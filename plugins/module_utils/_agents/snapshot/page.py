# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of the snapshot agent: each policy with its snapshots over time, by destination, their sizes, and what is wrong."""

from __future__ import annotations

import functools
import typing as t

from ..._consul.snapshot_waiting import WaitingSnapshots
from ..._consul.units import count_of, human_age, human_bytes
from ..._daemon._libraries import jinja2
from ..._daemon.pages import with_templates
from ..._daemon.status import AgentStatus
from .page_templates import TEMPLATES
from .policy_status import DestinationStatus, PolicyStatus
from .rehearsal_status import RehearsalStatus
from .timeline import PLOT_HEIGHT, ROW_HEIGHT, WIDTH, Timeline, timeline

Data = dict[str, t.Any]

MOST_FOLDERS = 10


@functools.cache
def _environment() -> jinja2.Environment:
    return with_templates(TEMPLATES)


def page(
    status: AgentStatus, policies: t.Sequence[PolicyStatus], waiting: t.Mapping[str, WaitingSnapshots], now: float
) -> str:
    """Return the page at ``now`` (Unix seconds); ``waiting`` is what waits of policies of which this instance has not the lease."""
    shown = [_policy(one, now) for one in policies]
    measures = {"width": WIDTH, "row_height": ROW_HEIGHT, "plot_height": PLOT_HEIGHT}
    held = [(name, one.sentence(now), one.reasons()) for name, one in waiting.items()]
    return (
        _environment()
        .get_template("snapshot")
        .render(status=status, now=now, policies=shown, waiting=held, node=status.node, **measures)
    )


def _policy(one: PolicyStatus, now: float) -> Data:
    problem = one.problem(now)
    drawn = timeline({place.name: place.points for place in one.destinations}, now)
    return {
        "name": one.name,
        "tone": "critical" if one.is_critical(now) else "warning" if problem else "ok",
        "where": f"{one.datacenter or 'unknown datacenter'}, {'one instance' if one.placement == 'one' else 'every host'}",
        "problem": problem,
        "facts": _facts(one, now),
        "places": [_place(place, drawn) for place in one.destinations],
        "drawn": drawn,
        "largest": human_bytes(drawn.largest),
        "folders": [
            (row.prefix, f"{row.keys:,}", human_bytes(row.bytes), "" if row.growth is None else _signed(row.growth))
            for row in one.folders[:MOST_FOLDERS]
        ],
    }


def _facts(one: PolicyStatus, now: float) -> list[tuple[str, str]]:
    age_s = one.age_s(now)
    facts = [
        ("Newest verified", "none" if age_s is None else f"{human_age(age_s)} ago"),
        ("Objective", human_age(one.objective_s)),
        ("Next", "now" if one.next_at <= now else f"in {human_age(one.next_at - now)}"),
        ("Size", "-" if age_s is None else human_bytes(one.newest_size)),
        ("Records", f"{sum(one.records.values()):,}"),
    ]
    if one.rehearsal is not None:
        facts.append(("Last rehearsal", _rehearsal(one.rehearsal, now)))
    if one.seconds:
        facts.append(("Last one took", f"{sum(one.seconds.values()):.1f} s"))
    counted = (("Missed", one.missed), ("Doubled", one.doubled), ("Given up", one.given_up))
    return facts + [(name, f"{count:,}") for name, count in counted if count]


def _rehearsal(one: RehearsalStatus, now: float) -> str:
    is_overdue = one.is_overdue(now)
    if one.at is None:
        return "never, overdue" if is_overdue else "none yet"
    outcome = "restored" if one.is_ok else "FAILED"
    return f"{outcome} {human_age(now - one.at)} ago{', overdue' if is_overdue else ''}"


def _place(place: DestinationStatus, drawn: Timeline) -> Data:
    usable, lost = drawn.rows[place.name]
    waiting = f", {place.waiting:,} waiting" if place.waiting else ""
    return {
        "name": place.name,
        "place": place.place,
        "held": f"{count_of(place.count, 'snapshot')}, {human_bytes(place.size)}{waiting}",
        "problem": place.problem or place.damage,
        "usable": usable,
        "lost": lost,
    }


def _signed(count: int) -> str:
    return f"{'-' if count < 0 else '+'}{human_bytes(abs(count))}"
