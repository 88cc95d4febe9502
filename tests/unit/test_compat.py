# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What users rely on changes only where somebody says so; and the comparison that finds it."""

from __future__ import annotations

import typing as t

import pytest

from tests.compat import interface
from tests.compat.comparison import compare, message


def test_what_users_rely_on_is_what_the_file_says() -> None:
    differences = message(compare(interface.kept(), interface.read()))
    assert not differences, differences


def test_the_file_knows_every_kind_of_thing() -> None:
    first_words = {name.split(" ")[0] for name in interface.kept()}
    assert first_words == {"agent", "command", "exit", "module", "playbook", "receiver", "role"}
    modules = {path.stem for path in (interface.ROOT / "plugins" / "modules").glob("*.py")}
    assert {name.split(" ")[1] for name in interface.kept() if name.startswith("module ")} == modules


BEFORE: dict[str, dict[str, t.Any]] = {
    "module m": {},
    "module m / option path": {"type": "path", "aliases": ["file"]},
    "module m / option state": {"type": "str", "choices": ["saved", "restored"], "default": "saved"},
    "module m / result sha256": {"type": "str"},
}


@pytest.mark.parametrize(
    ("changed", "expected", "breaks"),
    [
        ({"module m / result sha256": None}, "module m / result sha256 is gone", True),
        ({"module m / option path": {"type": "path"}}, "aliases lost file", True),
        ({"module m / option path": {"type": "path", "aliases": ["file"], "required": True}}, "is required now", True),
        ({"module m / result sha256": {"type": "dict"}}, "type was 'str' and is 'dict'", True),
        ({"module m / option size": {"type": "int", "required": True}}, "is new and required", True),
        ({"module m / option size": {"type": "int"}}, "is new", False),
        ({"module n": {}, "module n / option x": {"type": "int", "required": True}}, "module n is new", False),
        (
            {"module m / option state": {"type": "str", "choices": ["saved"], "default": "saved"}},
            "choices lost restored",
            True,
        ),
        (
            {"module m / option state": {"type": "str", "choices": ["saved", "restored", "gone"], "default": "saved"}},
            "choices got gone",
            False,
        ),
        (
            {"module m / option state": {"type": "str", "choices": ["saved", "restored"]}},
            "default was 'saved' and is unset",
            True,
        ),
        ({"module m / option state": {"type": "str", "default": "saved"}}, "accepts more than its choices now", False),
        (
            {"module m / result sha256": {"type": "str", "choices": ["a"]}},
            "module m / result sha256 accepts only a now",
            True,
        ),
    ],
)
def test_a_difference_is_named_and_judged(
    changed: dict[str, dict[str, t.Any] | None], expected: str, breaks: bool
) -> None:
    after = {name: fact for name, fact in {**BEFORE, **changed}.items() if fact is not None}
    (found,) = compare(BEFORE, after)
    assert expected in f"{found.name} {found.text}" and found.breaks is breaks
    said = message([found])
    assert expected in said and said.endswith("make compat")
    assert ("breaking_changes or removed_features" in said) is breaks


def test_what_is_below_something_that_is_gone_is_not_named_again() -> None:
    assert [one.name for one in compare(BEFORE, {})] == ["module m"]


def test_the_same_differs_in_nothing() -> None:
    assert compare(BEFORE, BEFORE) == [] and message([]) == ""
