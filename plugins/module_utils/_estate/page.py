# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of an estate: one HTML document from the result of consul_estate_info. It loads nothing and runs nothing. Pure."""

from __future__ import annotations

import typing as t

from .._consul.markup import Element, document, element, more, shortened
from .._consul.page_style import BASE_STYLE
from .._consul.units import count_of
from .._consul.version import VERSION
from .first_step import SEVERITIES
from .wording import SECTIONS, Data, section_lines, summary, verdict_word

MOST_STEPS = 12
MOST_CHARACTERS = 400  # of one sentence
STYLE = (
    BASE_STYLE
    + """
.ok { --verdict: var(--good) } .critical { --verdict: var(--bad) } .warning, .unknown { --verdict: var(--doubt) }
.silenced { --verdict: var(--soft) } body { max-width: 84rem }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } h1 > span { display: block; font-size: .9rem; font-weight: 400; color: var(--soft) }
ol { padding-left: 1.6rem; margin: .4rem 0 } li > .badge { margin-right: .4rem }
.datacenters { columns: 28rem 2; column-gap: 1.2rem }
section { border: 1px solid var(--rule); border-top: .3rem solid var(--verdict); padding: .5rem .8rem .7rem; margin: 0 0 1rem;
  break-inside: avoid }
section > h3 { font-size: 1.15rem; margin: 0 } section > h3 > .badge { margin-left: .4rem; vertical-align: .1rem }
section > dl { grid-template-columns: 5.2rem minmax(0, 1fr); gap: .25rem .7rem; margin: .5rem 0 0 } section dt { padding-top: .1rem }
dd > span { display: block; font-size: .92rem } .good::before { content: "✓ "; color: var(--good) }
.bad::before { content: "✗ "; color: var(--bad) } .doubt::before { content: "! "; color: var(--doubt) }
dd > .unknown::before { content: "? "; color: var(--doubt) }
@media (max-width: 40rem) { section > dl { grid-template-columns: minmax(0, 1fr); gap: 0 } section dd { margin-bottom: .4rem } }
@media print { :root { font-size: 9pt } .datacenters { columns: 2; column-gap: .6rem } section { padding: .3rem .5rem;
  margin-bottom: .6rem } h2 { margin: 1rem 0 .3rem } footer { margin: .6rem 0 0 } }
"""
)


def estate_page(result: Data) -> str:
    """Return the page as text."""
    datacenters = result["datacenters"]
    title = f"{result['verdict']}: {count_of(len(datacenters), 'datacenter')} of Consul"
    content = [
        element(
            "div",
            element("h1", element("span", "What to do first"), _short(result["first"])),
            element("p", _counted(result), class_="soft"),
            class_=f"verdict {result['verdict']}",
        ),
        *_steps(result["steps"]),
        element("h2", "Datacenters"),
        element("div", *map(_datacenter, datacenters), class_="datacenters"),
        element("footer", f"consulops {VERSION}, asked at {result['at']} in {result['seconds']:.2f} s."),
    ]
    return document(title, STYLE, content).decode()


def _counted(result: Data) -> str:
    counts = ", ".join(f"{result['counts'][name]:,} {name}" for name in SEVERITIES)
    return f"{count_of(len(result['datacenters']), 'datacenter')}, {result['verdict']}: {counts}."


def _steps(steps: t.Sequence[Data]) -> list[Element]:
    if not steps:
        return []
    rows = [element("h2", "In this order"), element("ol", *map(_step, steps[:MOST_STEPS]))]
    return rows + more(len(steps) - MOST_STEPS, "thing")


def _step(one: Data) -> Element:
    severity = "silenced" if one["silenced_by"] else one["severity"]
    by = f"silenced by {one['silenced_by']}" if one["silenced_by"] else ""
    detail = "" if one["detail"] in one["sentence"] else one["detail"].rstrip(".")
    notes = ". ".join(filter(None, (one["advice"].rstrip("."), detail, by)))
    return element(
        "li",
        element("span", severity, class_=f"badge {severity}"),
        element("b", shortened(one["datacenter"], 80)),
        f": {_short(one['sentence'].rstrip('.'))}.",
        element("span", f" {_short(notes)}.", class_="soft") if notes else None,
    )


def _datacenter(one: Data) -> Element:
    word = verdict_word(one)
    rows: list[Element] = []
    for section, heading in SECTIONS.items() if one["answered"] else ():
        lines = section_lines(one, section)
        if lines:
            rows.append(element("dt", heading))
            rows.append(element("dd", *(element("span", _short(text), class_=tone or None) for tone, text in lines)))
    return element(
        "section",
        element("h3", shortened(one["name"], 80), element("span", word, class_="badge")),
        element("p", _short(summary(one))),
        element("dl", *rows) if rows else None,
        class_=word,
    )


def _short(text: t.Any) -> str:
    return shortened(str(text), MOST_CHARACTERS)
