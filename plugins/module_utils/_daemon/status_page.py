# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status page of an agent: one HTML document that loads nothing else and changes nothing."""

from __future__ import annotations

import html
import time

from .._consul.units import human_age, timestamp
from .._consul.version import VERSION
from .status import ACTIVE, AgentStatus

REFRESH_S = 5

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem; margin: 0 }
.state { font-size: 2rem; font-weight: 600; margin: 1rem 0 0 }
.good { color: #15803d } .bad { color: #b91c1c }
@media (prefers-color-scheme: dark) { .good { color: #4ade80 } .bad { color: #f87171 } }
table { border-collapse: collapse; margin-top: 1.5rem; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top }
th { font-weight: 400; opacity: .7; width: 14rem }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
footer { margin-top: 1.5rem; opacity: .7; font-size: .9rem }
"""


def page(status: AgentStatus, now: float | None = None) -> str:
    """Return the HTML document; ``now`` is in seconds since 1970."""
    as_of = time.time() if now is None else now
    css_class = "good" if status.healthy else "bad"
    rows = "\n".join(f"<tr><th scope=row>{_safe(name)}<td>{_safe(value)}" for name, value in _rows(status, as_of))
    text = _safe(status.problem or status.summary or "nothing to report")
    return f"""<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width">
<meta http-equiv=refresh content={REFRESH_S}>
<title>{_safe(status.name)} on {_safe(status.node)}: {_safe(status.state)}</title>
<style>{_STYLE}</style>
<h1>{_safe(status.name)} on {_safe(status.node)}</h1>
<p class="state {css_class}">{_safe(status.state)}</p>
<p>{text}</p>
<table>
{rows}
</table>
<footer>consulops {VERSION} &middot; <a href=status>status</a> &middot; <a href=metrics>metrics</a> &middot;
<a href=healthz>healthz</a> &middot; as of {timestamp(as_of)}</footer>
"""


def _rows(status: AgentStatus, now: float) -> list[tuple[str, str]]:
    held = f"held, fence {status.fence}" if status.state == ACTIVE else "not held by this instance"
    last_success = f"{human_age(now - status.last_success)} ago" if status.last_success else "never"
    rows = [
        ("In this state for", human_age(now - status.since)),
        ("Running for", human_age(now - status.started)),
        (f"Lease {status.lease_key}", held),
        ("Lease terms", f"{status.lease_terms:,}"),
        ("Last success", last_success),
        ("Cycles, failures", f"{status.cycles:,}, {status.failures:,}"),
    ]
    return rows + [(name.replace("_", " "), f"{value:,}") for name, value in sorted(status.numbers.items())]


def _safe(text: str) -> str:
    return html.escape(str(text))
