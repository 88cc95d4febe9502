# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the style of all reports has in common: light and dark, narrow and wide, on paper. A report adds its own."""

from __future__ import annotations

BASE_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; --paper: #fff; --ink: #1a1a1a; --soft: #5b5b5b;
  --rule: #d4d4d4; --field: #f6f6f6; --good: #15803d; --bad: #b91c1c; --doubt: #a16207 }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #161616; --ink: #e8e8e8; --soft: #a8a8a8; --rule: #444;
  --field: #202020; --good: #4ade80; --bad: #f87171; --doubt: #facc15 } }
body { max-width: 72rem; margin: 1.5rem auto; padding: 0 1rem; background: var(--paper); color: var(--ink) }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem } h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; overflow-wrap: anywhere }
.verdict { border-left: .4rem solid var(--verdict); padding-left: .9rem }
.verdict > p { margin: .2rem 0; overflow-wrap: anywhere } h1 { font-size: 1.9rem; font-weight: 600; line-height: 1.2; margin: 0;
  color: var(--verdict) }
.verdict ul { margin: .4rem 0; padding-left: 1.2rem } li { overflow-wrap: anywhere }
.badge { border: 1px solid var(--verdict); color: var(--verdict); border-radius: .3rem; padding: 0 .4rem; font-size: .85rem;
  font-weight: 400; white-space: nowrap }
.soft { color: var(--soft) } p { margin: .4rem 0; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .5rem 1rem; margin: .7rem 0 }
dt { color: var(--soft); font-size: .85rem } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
dl > .wide { grid-column: 1 / -1 }
.scrolls { overflow-x: auto } table { border-collapse: collapse; margin: .4rem 0; min-width: 60% }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--rule); vertical-align: top;
  overflow-wrap: break-word; max-width: 34rem }
th { font-weight: 400; color: var(--soft); font-size: .9rem; vertical-align: bottom } td { font-variant-numeric: tabular-nums }
.number { text-align: right; white-space: nowrap }
summary { cursor: pointer } footer { margin: 2.5rem 0 1rem; color: var(--soft); font-size: .9rem; border-top: 1px solid var(--rule) }
@media (max-width: 40rem) { body { margin: .5rem auto; padding: 0 .7rem } h1 { font-size: 1.5rem } td:not(.number) { min-width: 5.5rem } }
@media print { :root { color-scheme: light; font-size: 11pt } body { max-width: none; margin: 0 } * { print-color-adjust: exact }
  tr { break-inside: avoid } h2, h3 { break-after: avoid } .scrolls { overflow: visible } details > summary { display: none } }
"""
