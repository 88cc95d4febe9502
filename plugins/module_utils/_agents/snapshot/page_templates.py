# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The template and the style of the page of the snapshot agent."""

from __future__ import annotations

STYLE = """
body { max-width: 64rem }
.ok { --tone: #15803d } .warning, .ok .wrong { --tone: #a16207 } .critical { --tone: #b91c1c }
:root { --mark: #1d4ed8 }
@media (prefers-color-scheme: dark) {
  .ok { --tone: #4ade80 } .warning, .ok .wrong { --tone: #facc15 } .critical { --tone: #f87171 }
  :root { --mark: #93c5fd }
}
h2 { font-size: 1.2rem; margin: 0; overflow-wrap: anywhere }
.policy { border-left: .3rem solid var(--tone); padding: .2rem 0 .2rem .9rem; margin: 1.8rem 0 }
.head { display: flex; flex-wrap: wrap; gap: .2rem .7rem; align-items: baseline }
.badge { border: 1px solid var(--tone); color: var(--tone); border-radius: .3rem; padding: 0 .4rem; font-size: .85rem }
.wrong { color: var(--tone); margin: .4rem 0; overflow-wrap: anywhere }
.soft { opacity: .75 }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .5rem 1rem; margin: .7rem 0 }
dt { opacity: .7; font-size: .85rem } dd { margin: 0; font-variant-numeric: tabular-nums }
.place { display: flex; flex-wrap: wrap; gap: 0 .7rem; margin-top: .7rem; align-items: baseline }
.place > span { overflow-wrap: anywhere; min-width: 0 }
svg { display: block; width: 100%; background: #8881; border-radius: .2rem; margin-top: .15rem }
svg.row { height: 1.25rem } svg.sizes { height: 5.5rem }
path { fill: none; vector-effect: non-scaling-stroke }
.grid { stroke: #8886; stroke-width: 1 } .mark { stroke: var(--mark); stroke-width: 2 } .lost { stroke: #dc2626; stroke-width: 3 }
.line { stroke: var(--mark); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.axis { position: relative; height: 1.3rem; font-size: .8rem; opacity: .75 }
.axis > span { position: absolute; transform: translateX(-50%) } .axis > span:last-child { right: 0; transform: none }
summary { cursor: pointer; margin-top: .6rem } table { margin-top: .3rem } th { width: auto } thead th { font-size: .9rem }
td + td, thead th + th { text-align: right; white-space: nowrap; overflow-wrap: normal }
@media (max-width: 40rem) { body { margin: 1rem auto } .state { font-size: 1.6rem } .policy { padding-left: .6rem }
  .near { display: none } }
"""

TEMPLATES = {
    "snapshot": f"""{{% extends "frame" %}}
{{% block style %}}{STYLE}{{% endblock %}}
"""
    """{% block content %}
<p class="state {{ 'good' if status.healthy else 'bad' }}">{{ status.state }}</p>
{% if status.problem %}<p>{{ status.problem }}</p>
{% elif not policies and not waiting %}<p>this instance works for no policy</p>{% endif %}
{% for one in policies %}<section class="policy {{ one.tone }}">
<div class=head><h2>{{ one.name }}</h2><span class=badge>{{ one.tone }}</span><span class=soft>{{ one.where }}</span></div>
{% if one.problem %}<p class=wrong>{{ one.problem }}</p>{% endif %}
<dl>
{% for name, value in one.facts %}<div><dt>{{ name }}<dd>{{ value }}</div>
{% endfor %}</dl>
{% for place in one.places %}<div class=place><b>{{ place.name }}</b><span class=soft>{{ place.place }}</span>
<span>{{ place.held }}</span>{% if place.problem %}<span class=wrong>{{ place.problem }}</span>{% endif %}</div>
<svg class=row viewBox="0 0 {{ width }} {{ row_height }}" preserveAspectRatio=none role=img aria-label="{{ place.name }}: {{ place.held }}">
<path class=grid d="{{ one.drawn.grid }}"/><path class=mark d="{{ place.usable }}"/><path class=lost d="{{ place.lost }}"/></svg>
{% endfor %}
{% if one.drawn.sizes %}<div class=place><b>Size</b><span class=soft>up to {{ one.largest }}, in the destinations</span></div>
<svg class=sizes viewBox="0 0 {{ width }} {{ plot_height }}" preserveAspectRatio=none role=img aria-label="sizes up to {{ one.largest }}">
<path class=grid d="{{ one.drawn.grid }}"/><path class=line d="{{ one.drawn.sizes }}"/></svg>{% endif %}
<div class=axis>{% for tick in one.drawn.ticks %}
<span{% if tick.percent > 85 %} class=near{% endif %} style="left: {{ tick.percent }}%">{{ tick.label }}</span>
{% endfor %}<span>now</span></div>
{% if one.folders %}<details><summary>Largest folders of keys</summary><table>
<thead><tr><th>Folder<th>Keys<th>Size<th>Since the one before</thead>
{% for row in one.folders %}<tr>{% for value in row %}<td>{{ value }}{% endfor %}
{% endfor %}</table></details>{% endif %}
</section>
{% endfor %}
{% for name, sentence, reasons in waiting %}<section class="policy warning">
<div class=head><h2>{{ name }}</h2><span class=badge>waiting here</span><span class=soft>without the lease on {{ node }}</span></div>
<p>{{ sentence }}</p>{% if reasons %}<p class=wrong>{{ reasons }}</p>{% endif %}
</section>
{% endfor %}
{% for lease in status.leases.values() if not lease.is_held %}<p>{{ lease.name }}: {{ lease.problem or lease.standing }}</p>
{% endfor %}
{% endblock %}
""",
}
