# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The paths of the snapshot agent: its page, and the policies as JSON. They read only."""

from __future__ import annotations

import functools
import time
import typing as t

from ..._consul.units import human_age, human_bytes, timestamp
from ..._daemon._libraries import jinja2
from ..._daemon.pages import with_templates
from ..._daemon.routes import HTML, Route, WebRequest, WebResponse
from ..._daemon.status import AgentStatus
from .memory import Memory
from .policy_status import PolicyStatus

_TEMPLATES = {
    "snapshot": """{% extends "frame" %}
{% block style %}
.scroll { overflow-x: auto } .scroll th, .scroll td { width: auto; min-width: 4rem } thead th { font-weight: 600; white-space: nowrap }
{% endblock %}
{% block content %}
<p class="state {{ 'good' if status.healthy else 'bad' }}">{{ status.state }}</p>
<p>{{ status.problem or status.summary or "this instance works for no policy" }}</p>
{% if policies %}<div class=scroll><table>
<thead><tr><th>Policy<th>Newest verified<th>Objective<th>Size<th>Next<th>Missed<th>Doubled</thead>
{% for one in policies %}<tr><th scope=row>{{ one.name }}<td{% if one.is_critical %} class=bad{% endif %}>{{ one.newest }}
<td>{{ one.objective }}<td>{{ one.size }}<td>{{ one.next }}<td>{{ one.missed }}<td>{{ one.doubled }}
{% endfor %}</table></div>{% endif %}
{% for one in policies %}<h2>{{ one.name }}</h2>
{% if one.problem %}<p class=bad>{{ one.problem }}</p>{% endif %}
<div class=scroll><table>
<thead><tr><th>Destination<th>Place<th>Snapshots<th>Newest<th>Waiting<th>State</thead>
{% for row in one.destinations %}<tr>{% for value in row %}<td>{{ value }}{% endfor %}
{% endfor %}</table></div>
{% endfor %}
{% for lease in status.leases.values() if not lease.is_held %}<p>{{ lease.name }}: {{ lease.problem or lease.standing }}</p>
{% endfor %}
{% endblock %}
""",
}


def routes() -> tuple[Route, ...]:
    """Return the routes."""
    return (Route("GET", "/", _page), Route("GET", "/policies", _policies))


@functools.cache
def _environment() -> jinja2.Environment:
    return with_templates(_TEMPLATES)


def _page(request: WebRequest) -> WebResponse:
    status: AgentStatus = t.cast("t.Any", request.status)()
    memory: Memory = request.memory
    now = time.time()
    shown = [_shown(one, now) for one in memory.policies()]
    page = _environment().get_template("snapshot").render(status=status, now=now, policies=shown)
    return WebResponse(200, HTML, page)


def _shown(one: PolicyStatus, now: float) -> dict[str, t.Any]:
    """Return the texts of a policy for the page."""
    age_s = one.age_s(now)
    return {
        "name": one.name,
        "newest": "none" if age_s is None else f"{human_age(age_s)} ago",
        "is_critical": one.is_critical(now),
        "objective": human_age(one.objective_s),
        "size": human_bytes(one.newest_size),
        "next": "now" if one.next_at <= now else f"in {human_age(one.next_at - now)}",
        "missed": one.missed,
        "doubled": one.doubled,
        "problem": one.problem(now),
        "destinations": [
            (
                place.name,
                place.place,
                f"{place.count:,}, {human_bytes(place.size)}",
                "none" if place.newest is None else f"{human_age(now - place.newest)} ago",
                place.waiting,
                place.problem or "works",
            )
            for place in one.destinations
        ],
    }


def _policies(request: WebRequest) -> WebResponse:
    memory: Memory = request.memory
    return WebResponse.json({"as_of": timestamp(time.time()), **memory.section()})
