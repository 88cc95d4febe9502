# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The style of a report: light and dark, narrow and wide, on paper."""

from __future__ import annotations

from ..._consul.page_style import BASE_STYLE

STYLE = (
    BASE_STYLE
    + """
:root { --ok: #1d4ed8; --info: #9333ea; --band: #f59e0b40; --bandline: #b45309; --tone0: #bfdbfe; --tone1: #bbf7d0;
  --tone2: #fde68a; --tone3: #fbcfe8; --tone4: #ddd6fe; --tone5: #a5f3fc; --none: #fecaca }
@media screen and (prefers-color-scheme: dark) { :root { --ok: #93c5fd; --info: #d8b4fe; --band: #f59e0b33; --bandline: #fbbf24;
  --tone0: #1e3a8a; --tone1: #14532d; --tone2: #713f12; --tone3: #831843; --tone4: #4c1d95; --tone5: #164e63; --none: #7f1d1d } }
.valid { --verdict: var(--good) } .invalid { --verdict: var(--bad) } .unknown { --verdict: var(--doubt) }
figure { margin: .3rem 0 1rem } figcaption { color: var(--soft); font-size: .9rem; overflow-wrap: anywhere }
.field { position: relative; background: var(--field); border: 1px solid var(--rule) }
.field > svg, .op > svg { display: block; width: 100%; overflow: visible }
path { fill: none; vector-effect: non-scaling-stroke }
.grid { stroke: var(--rule); stroke-width: 1 } .band { fill: var(--band); stroke: var(--bandline); stroke-width: 1 }
.end { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 5 4 }
.mark { stroke-linecap: round } .mark.ok { stroke: var(--ok); stroke-width: 3 } .mark.fail { stroke: var(--bad); stroke-width: 1.5;
  stroke-linecap: butt } .mark.info { stroke: var(--info); stroke-width: 9 }
.mark.trend { stroke: var(--ok); stroke-width: 6 } .mark.hole { stroke: var(--field); stroke-width: 5 }
.few .mark.ok, .key .mark.ok { stroke-width: 5 } .few .mark.fail, .key .mark.fail { stroke-width: 2 }
.line { stroke-width: 2 } .line.ok { stroke: var(--ok) } .line.fail { stroke: var(--bad); stroke-dasharray: 6 3 }
.line.info { stroke: var(--info); stroke-dasharray: 2 3 } .line.trend { stroke: var(--ok) }
.level { position: absolute; left: 0; transform: translateY(-50%); font-size: .75rem; line-height: 1; padding: .1rem .2rem;
  background: var(--field); color: var(--soft); opacity: .85 }
.axis { position: relative; height: 1.2rem; font-size: .75rem; color: var(--soft) }
.axis > span { position: absolute; transform: translateX(-50%) } .axis > .first, .axis > .last { transform: none }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; font-size: .9rem; margin: .3rem 0 } .legend > span { overflow-wrap: anywhere }
.key { width: 14px; height: 14px; vertical-align: -2px }
.chip { display: inline-block; min-width: 1.3rem; text-align: center; border-radius: .2rem; border: 1px solid var(--rule);
  line-height: 1.2 }
.row { margin: .5rem 0 } .name { font-size: .9rem; overflow-wrap: anywhere }
.track { position: relative; height: 1.5rem; background: var(--field); overflow: hidden; border: 1px solid var(--rule) }
.track > span { position: absolute; top: 0; bottom: 0; overflow: hidden; text-align: center; font-size: .85rem; line-height: 1.5rem;
  box-sizing: border-box; border-left: 1px solid var(--paper) }
.tone0 { background: var(--tone0) } .tone1 { background: var(--tone1) } .tone2 { background: var(--tone2) }
.tone3 { background: var(--tone3) } .tone4 { background: var(--tone4) } .tone5 { background: var(--tone5) }
.none { background: repeating-linear-gradient(45deg, var(--none) 0 4px, transparent 4px 8px) }
.silent { background: repeating-linear-gradient(90deg, var(--rule) 0 1px, transparent 1px 6px) }
.track > .fault { background: var(--bandline) } .track > .alert { background: var(--bad) }
.op { margin: .35rem 0 .5rem; font-size: .9rem; overflow-wrap: anywhere } .op > svg { height: 14px; background: var(--field) }
.span { stroke: var(--ok); stroke-width: 6 } .span.info { stroke: var(--info); stroke-dasharray: 6 3 } .span.fail { stroke: var(--bad);
  stroke-dasharray: 2 2 } .held { stroke: var(--doubt); stroke-width: 2 } .edge { stroke: var(--ink); stroke-width: 1.5 }
.trends { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: .5rem 1.5rem }
@media (max-width: 40rem) { .mark.ok { stroke-width: 2.5 } .mark.info { stroke-width: 8 } .mark.hole { stroke-width: 4.5 } }
@media print { figure, .plot, .op, .row, .trend { break-inside: avoid } }
"""
)
