# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of an agent: one HTML document that loads nothing else and changes nothing."""

from __future__ import annotations

import functools
import json
import time
import typing as t

from .._consul.units import human_age, timestamp
from .._consul.version import VERSION
from ._libraries import jinja2
from .status import AgentStatus

REFRESH_S = 5

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem; margin: 0 }
h2 { font-size: 1rem; margin: 1.5rem 0 0 }
.state { font-size: 2rem; font-weight: 600; margin: 1rem 0 0 }
.good { color: #15803d } .bad { color: #b91c1c }
@media (prefers-color-scheme: dark) { .good { color: #4ade80 } .bad { color: #f87171 } }
table { border-collapse: collapse; margin-top: 1.5rem; width: 100% }
h2 + table { margin-top: .3rem }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top }
th { font-weight: 400; opacity: .7; width: 14rem }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
footer { margin-top: 1.5rem; opacity: .7; font-size: .9rem }
"""

_TEMPLATES = {
    "frame": """<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width">
{% block refresh %}<meta http-equiv=refresh content={{ refresh_s }}>{% endblock %}
<title>{% block title %}{{ status.name }} on {{ status.node }}: {{ status.state }}{% endblock %}</title>
<style>{{ style }}{% block style %}{% endblock %}</style>
<h1>{{ status.name }} on {{ status.node }}</h1>
{% block content %}{% endblock %}
<footer>consulops {{ version }} &middot; <a href=status.html>jobs and leases</a> &middot;
<a href=status>status</a> &middot; <a href=metrics>metrics</a> &middot;
<a href=healthz>healthz</a> &middot; <a href=readyz>readyz</a> &middot; as of {{ now | timestamp }}</footer>
""",
    "status": """{% extends "frame" %}{% block content %}
<p class="state {{ 'good' if status.healthy else 'bad' }}">{{ status.state }}</p>
<p>{{ status.problem or status.summary or "nothing to report" }}</p>
{{ table(rows) }}
{% for title, rows in parts %}<h2>{{ title }}</h2>
{{ table(rows) }}
{% endfor %}
{% endblock %}
{% macro table(rows) %}<table>
{% for name, value in rows %}<tr><th scope=row>{{ name }}<td>{{ value }}
{% endfor %}</table>{% endmacro %}
""",
}

Rows = list[tuple[str, str]]


@functools.cache
def environment() -> jinja2.Environment:
    """Return the environment of all pages: everything that is inserted is escaped, and an unknown name is an error."""
    made = jinja2.Environment(
        loader=jinja2.DictLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, auto_reload=False
    )
    made.filters.update(timestamp=timestamp, age=human_age)
    made.globals.update(version=VERSION, style=STYLE, refresh_s=REFRESH_S)
    return made


def with_templates(templates: t.Mapping[str, str]) -> jinja2.Environment:
    """Return an environment that has an agent's own templates too.

    They begin with ``{% extends "frame" %}``, fill the block ``content`` and, if they want, ``refresh``, ``title`` and ``style``.
    They are rendered with ``status`` and ``now``.
    """
    return environment().overlay(loader=jinja2.DictLoader({**_TEMPLATES, **templates}))


def page(status: AgentStatus, now: float | None = None) -> str:
    """Return the page of a status; ``now`` is in seconds since 1970."""
    as_of = time.time() if now is None else now
    parts = [(f"Job {job.name}", _job_rows(status, job.name, as_of)) for job in status.jobs.values()]
    parts += [(title.replace("_", " "), _section_rows(content)) for title, content in status.section.items()]
    return environment().get_template("status").render(status=status, now=as_of, rows=_rows(status, as_of), parts=parts)


def _rows(status: AgentStatus, now: float) -> Rows:
    rows = [
        ("In this state for", human_age(now - status.since)),
        ("Running for", human_age(now - status.started)),
    ]
    for lease in status.leases.values():
        held = f"held, fence {lease.fence}" if lease.is_held else f"not held by this instance ({lease.standing})"
        rows += [(f"Lease {lease.key}", held), ("Lease terms", f"{lease.terms:,}")]
    if status.reload_problem:
        rows.append(("The last reload failed", status.reload_problem))
    if status.registration_problem:
        rows.append(("Not in the catalog", status.registration_problem))
    rows.append(("Last success", _ago(status.last_success, now)))
    rows.append(("Cycles, failures", f"{status.cycles:,}, {status.failures:,}"))
    return rows


def _job_rows(status: AgentStatus, name: str, now: float) -> Rows:
    job = status.jobs[name]
    rows = [
        ("State", f"{job.state}{' (stalled)' if name in status.stalled else ''}"),
        ("For", human_age(now - job.since)),
    ]
    rows += [("Problem", job.problem)] if job.problem else []
    rows += [("Cycles, failures", f"{job.cycles:,}, {job.failures:,}"), ("Last success", _ago(job.last_success, now))]
    for one in job.numbers:
        labels = ", ".join(f"{label} {value}" for label, value in one.labels)
        rows.append((one.name.replace("_", " ") + (f" ({labels})" if labels else ""), f"{one.value:,}"))
    return rows


def _section_rows(content: t.Any) -> Rows:
    items = content.items() if isinstance(content, dict) else [("", content)]
    return [(str(name), value if isinstance(value, str) else json.dumps(value)) for name, value in items]


def _ago(moment: float, now: float) -> str:
    return f"{human_age(now - moment)} ago" if moment else "never"
