# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of a replication: what it keeps from earlier runs, loops, and changed sources."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._replication.ledger import InvalidLedger
from ansible_collections.consulops.failover.plugins.module_utils._replication.mapping import PrefixMapping
from ansible_collections.consulops.failover.plugins.module_utils._replication.prefix_options import make_mappings
from ansible_collections.consulops.failover.plugins.module_utils._replication.state import (
    TICK_S,
    Direction,
    Origin,
    State,
    changed_sources,
    find_loops,
    parse_state,
    successor,
)


def mappings(*prefixes: dict[str, t.Any], delete: str = "owned") -> list[PrefixMapping]:
    return make_mappings(prefixes, delete)


def state(source: str, /, time: float = 0.0, **prefixes: str) -> State:
    """Return a state. ``prefixes`` are destination prefixes without their slashes, with their source prefixes."""
    return State(source, {f"{prefix}/": Origin(f"{origin}/", time) for prefix, origin in prefixes.items()})


def test_a_state_is_read_as_it_was_written() -> None:
    one = state("dc1", 1234.5, b="a")
    assert parse_state(one.as_json(), "k") == one
    for bad in (
        *(b"", b"{}", b"[]", b"7", b'{"format": 1}', b'{"format": 9, "source": "a", "prefixes": {}}', b"\xff"),
        *(one.as_json().replace(b"1234.5", wrong) for wrong in (b"1e300", b"-1", b"NaN", b"null", b"[]")),
        *(one.as_json().replace(b'"a/"', wrong) for wrong in (b"null", b"5", b"{}")),
        one.as_json().replace(b'"dc1"', b"null"),
    ):
        with pytest.raises(InvalidLedger):
            parse_state(bad, "k")


def test_a_state_keeps_the_prefixes_of_other_tasks_and_its_time_grows() -> None:
    old = State("dc1", {prefix: Origin(prefix, 100.0) for prefix in ("other/", "app/web/", "")})
    new = successor(old, "dc1", mappings({"source": "app/"}), 50.0)
    assert new.prefixes == {
        "": Origin("", 100.0),
        "other/": Origin("other/", 100.0),
        "app/": Origin("app/", 100.0 + TICK_S),
    }
    with_exclude = successor(old, "dc1", mappings({"source": "app/", "exclude": ["web"]}), 500.0)
    assert sorted(with_exclude.prefixes) == ["", "app/", "app/web/", "other/"]
    assert successor(old, "dc9", mappings({"source": "app/"}), 500.0) == state("dc9", 500.0, app="app")


def test_a_loop_between_datacenters_is_found_until_the_direction_is_reversed() -> None:
    back = {"dc2": state("dc2", 100.0, app="copy")}
    forth = mappings({"source": "app/web/", "destination": "copy/web/"})
    loops, newest = find_loops(back, Direction("dc1", "dc2"), None, forth)
    assert len(loops) == 1 and newest == 100.0
    assert find_loops(back, Direction("dc1", "dc3"), None, forth) == ([], 0.0)
    assert find_loops(back, Direction("dc1", "dc2"), None, mappings({"source": "app/"})) == ([], 0.0)
    assert len(find_loops(back, Direction("dc1", "dc2"), state("dc1", 99.0, copy="app"), forth)[0]) == 1
    reversed_state = successor(None, "dc1", forth, now=50.0, after=newest)
    assert find_loops(back, Direction("dc1", "dc2"), reversed_state, forth) == ([], 0.0), (
        "reversed, whatever the clock says"
    )


def test_reversing_one_prefix_does_not_affect_another() -> None:
    """Two tasks share a name: what one of them writes neither allows nor refuses the other."""
    forth = state("dc1", 100.0, app="app", config="config")
    back = successor(None, "dc2", mappings({"source": "app/"}), 0.0, after=100.0)
    later = successor(forth, "dc1", mappings({"source": "config/"}), 500.0)
    app, config = mappings({"source": "app/"}), mappings({"source": "config/"})
    assert len(find_loops({"dc2": back}, Direction("dc1", "dc2"), later, app)[0]) == 1
    assert find_loops({"dc2": back}, Direction("dc1", "dc2"), later, config) == ([], 0.0)
    assert find_loops({"dc1": later}, Direction("dc2", "dc1"), back, app) == ([], 0.0)


def test_an_excluded_folder_does_not_form_a_loop() -> None:
    copies_into_it = {"dc1": State("dc1", {"app/sub/": Origin("app/", 100.0)})}
    assert len(find_loops(copies_into_it, Direction("dc2", "dc1"), None, mappings({"source": "app/"}))[0]) == 1
    for exclude in ("sub", "sub/", "s*", "**", "sub/*"):
        with_exclude = mappings({"source": "app/", "exclude": [exclude]})
        assert find_loops(copies_into_it, Direction("dc2", "dc1"), None, with_exclude) == ([], 0.0), exclude
    for exclude in ("sub/a", "sub/?", "subs", "*/x"):
        with_exclude = mappings({"source": "app/", "exclude": [exclude]})
        assert len(find_loops(copies_into_it, Direction("dc2", "dc1"), None, with_exclude)[0]) == 1, exclude


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ({"source": "app/", "destination": "dr/"}, ""),
        ({"source": "app/web/", "destination": "dr/web/"}, ""),
        (
            {"source": "ap/", "destination": "dr/"},
            "dr/ was filled from 'app/' until now and would now be filled from 'ap/'",
        ),
        ({"source": "web/", "destination": "dr/web/"}, "dr/web/ was filled from 'app/web/' until now"),
        ({"source": "", "destination": ""}, "dr/ was filled from 'app/' until now and would now be filled from 'dr/'"),
        ({"source": "", "destination": "", "exclude": ["dr"]}, ""),
        ({"source": "x/", "destination": "mine/part/"}, ""),
        ({"source": "mine/", "exclude": ["part"]}, ""),
        ({"source": "mine/"}, "mine/part/ was filled from 'x/' until now"),
    ],
)
def test_a_changed_source_of_a_destination_is_found(prefix: dict[str, t.Any], said: str) -> None:
    origins = {"dr/": "app/", "mine/": "mine/", "mine/part/": "x/"}
    if prefix["source"] == "":
        origins = {"dr/": "app/"}
    old = State("dc1", {place: Origin(source, 1.0) for place, source in origins.items()})
    sentences = changed_sources(old, mappings(prefix))
    assert bool(sentences) == bool(said) and said in "".join(sentences)
