# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Elements of an HTML document. Texts and attributes are escaped when the document is written, so nothing in them is markup."""

from __future__ import annotations

import re
import typing as t
from xml.etree import ElementTree

from .units import count_of

Element = ElementTree.Element
Child = t.Union[Element, str, None]
MOST_CHARACTERS = 300  # of one text from outside
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """Return a text without the characters that XML has no way to write."""
    return _NOT_XML.sub("\ufffd", text)


def element(tag: str, *children: Child, **attributes: object) -> Element:
    """Return an element. ``class_`` is the attribute class and ``aria_label`` is aria-label; an attribute of None is left out."""
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            made.set(name.rstrip("_").replace("_", "-"), xml_text(str(value)))
    add(made, *children)
    return made


def add(parent: Element, *children: Child) -> None:
    """Append elements and texts; None is left out."""
    for child in children:
        if child is None:
            continue
        if not isinstance(child, str):
            parent.append(child)
        elif len(parent):
            parent[-1].tail = (parent[-1].tail or "") + xml_text(child)
        else:
            parent.text = (parent.text or "") + xml_text(child)


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return a text without what is beyond its first characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def more(count: int, thing: str) -> list[Element]:
    """Return a line that says how many were left out; nothing without any."""
    if count <= 0:
        return []
    number, name = count_of(count, thing).split(" ", 1)
    return [element("p", f"and {number} more {name}", class_="soft")]


def table(
    header: t.Sequence[str], rows: t.Iterable[t.Sequence[Child]], numbers_from: int = 1, **attributes: object
) -> Element:
    """Return a table that scrolls by itself where the page is too narrow; columns from ``numbers_from`` on have numbers."""

    def cell(tag: str, place: int, child: Child) -> Element:
        return element(tag, child, class_="number" if place >= numbers_from else None)

    head = element("thead", element("tr", *(cell("th", place, text) for place, text in enumerate(header))))
    body = element("tbody", *(element("tr", *(cell("td", *pair) for pair in enumerate(row))) for row in rows))
    return element("div", element("table", head, body, **attributes), class_="scrolls", tabindex="0")


def document(title: str, style: str, content: t.Iterable[Element]) -> bytes:
    """Return a document that loads nothing and runs no script; browsers are asked to refuse both."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width"),
        element("meta", **{"http-equiv": "Content-Security-Policy", "content": policy}),
        element("title", title),
        element("style", style),
    )
    page = element("html", head, element("body", *content), lang="en")
    written: bytes = ElementTree.tostring(page, encoding="utf-8", method="html")
    return b"<!doctype html>\n" + written + b"\n"
