# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The paths of the replication agent: its page, and the sets as JSON. They read only."""

from __future__ import annotations

import functools
import time
import typing as t

from ..._consul.units import timestamp
from ..._daemon._libraries import jinja2
from ..._daemon.pages import with_templates
from ..._daemon.routes import HTML, Route, WebRequest, WebResponse
from ..._daemon.status import AgentStatus
from .memory import Memory

_TEMPLATES = {
    "replication": """{% extends "frame" %}{% block content %}
<p class="state {{ 'good' if status.healthy else 'bad' }}">{{ status.state }}</p>
<p>{{ status.problem or status.summary or "no set is replicated by this instance" }}</p>
{% for name, rows in sets %}<h2>Set {{ name }}</h2>
<table>
{% for title, value in rows %}<tr><th scope=row>{{ title }}<td>{{ value }}
{% endfor %}</table>
{% endfor %}
{% for lease in status.leases.values() if not lease.is_held %}<p>{{ lease.name }}: {{ lease.problem or lease.standing }}</p>
{% endfor %}
{% endblock %}
""",
}


def routes() -> tuple[Route, ...]:
    """Return the routes."""
    return (Route("GET", "/", _page), Route("GET", "/sets", _sets))


@functools.cache
def _environment() -> jinja2.Environment:
    return with_templates(_TEMPLATES)


def _page(request: WebRequest) -> WebResponse:
    status: AgentStatus = t.cast("t.Any", request.status)()
    memory: Memory = request.memory
    now = time.time()
    sets = [(one.name, one.rows(now)) for one in memory.sets()]
    return WebResponse(200, HTML, _environment().get_template("replication").render(status=status, now=now, sets=sets))


def _sets(request: WebRequest) -> WebResponse:
    memory: Memory = request.memory
    return WebResponse.json({"as_of": timestamp(time.time()), **memory.section()})
