# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares two descriptions of what users rely on, and says which differences break them."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

Facts = t.Mapping[str, t.Mapping[str, t.Any]]

RENEW = "make compat"
SECTIONS = "breaking_changes or removed_features"
# Two descriptions of one thing differ in these, and nobody's tasks, files or scripts fail.
_NEEDS_THE_SAME = ("type", "elements", "default", "value")


@dataclass(frozen=True)
class Difference:
    """One thing that was added, removed or changed. ``breaks`` says whether something that worked may not work now."""

    name: str
    text: str
    breaks: bool


def compare(before: Facts, after: Facts) -> list[Difference]:
    """Return the differences in the order of their names.

    A name is a path whose parts are joined by " / "; what is below a name that is new, or gone, is not named again.
    """
    found = []
    for name in sorted({*before, *after}):
        parent = name.rpartition(" / ")[0]
        if name not in after:
            if not parent or parent not in before or parent in after:
                found.append(Difference(name, "is gone", True))
        elif name not in before:
            if not parent or parent in before or parent not in after:
                required = bool(after[name].get("required")) and bool(parent)
                found.append(Difference(name, "is new and required" if required else "is new", required))
        elif before[name] != after[name]:
            found += _changes(name, before[name], after[name])
    return found


def _changes(name: str, before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> t.Iterator[Difference]:
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if key == "required":
            yield Difference(name, "is required now" if new else "is not required any more", bool(new))
        elif key in _NEEDS_THE_SAME:
            yield Difference(name, f"{key} was {_word(old)} and is {_word(new)}", True)
        elif isinstance(old or [], list) and isinstance(new or [], list):
            yield from _members(name, key, old or [], new or [])
        else:
            yield Difference(name, f"{key} was {_word(old)} and is {_word(new)}", False)


def _members(name: str, key: str, old: list[t.Any], new: list[t.Any]) -> t.Iterator[Difference]:
    """Give what a list of choices or other names lost and got. To have choices at all excludes everything else."""
    gone = [str(one) for one in old if one not in new]
    come = [str(one) for one in new if one not in old]
    if key == "choices" and not new:
        yield Difference(name, "accepts more than its choices now", False)
        return
    if key == "choices" and not old:
        yield Difference(name, f"accepts only {', '.join(come)} now", True)
        return
    if gone:
        yield Difference(name, f"{key} lost {', '.join(gone)}", True)
    if come:
        yield Difference(name, f"{key} got {', '.join(come)}", False)


def message(differences: t.Sequence[Difference]) -> str:
    """Return what somebody who changed the interface has to know; "" without a difference."""
    if not differences:
        return ""
    breaking = [f"  {one.name} {one.text}" for one in differences if one.breaks]
    others = [f"  {one.name} {one.text}" for one in differences if not one.breaks]
    lines = ["What users rely on is not what tests/compat/interface.json says."]
    if breaking:
        lines += [f"This breaks users, and needs a fragment with {SECTIONS}:", *breaking]
    if others:
        lines += ["This does not:", *others]
    return "\n".join([*lines, f"If that is meant, renew the file with: {RENEW}"])


def _word(value: t.Any) -> str:
    return "unset" if value is None else repr(value)
