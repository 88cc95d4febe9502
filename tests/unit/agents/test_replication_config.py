# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the replication agent, and sets that overlap or form a loop."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.registry import AGENT_TYPES
from ansible_collections.consulops.failover.plugins.module_utils._agents.replication.config import SetConfig, make_sets
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_config import make_config
from ansible_collections.consulops.failover.plugins.module_utils._replication.direction_taker import SetDirection
from ansible_collections.consulops.failover.plugins.module_utils._replication.mapping import PrefixMapping
from ansible_collections.consulops.failover.plugins.module_utils._replication.patterns import Scope
from ansible_collections.consulops.failover.plugins.module_utils._replication.set_graph import Edge, find_loop
from ansible_collections.consulops.failover.plugins.module_utils._tasks.replicate import REPLICATE
from hypothesis import given
from hypothesis import strategies as st

ONE, TWO, THREE = ({"url": f"http://192.0.2.{number}:8500"} for number in (1, 2, 3))
APP = {"source": ONE, "destination": TWO, "prefixes": ["app/"]}


def sets(given: dict[str, t.Any], **more: t.Any) -> tuple[SetConfig, ...]:
    config = make_config({"agent": "replication", "options": {"sets": given}, **more}, {}, AGENT_TYPES)
    return make_sets(config.options, config.setup.connection_options, {})


def refused(given: t.Any, **more: t.Any) -> str:
    with pytest.raises(InvalidOption) as error:
        make_config({"agent": "replication", "options": given, **more}, {}, AGENT_TYPES)
    return str(error.value)


def test_a_set_has_the_options_and_defaults_of_the_module() -> None:
    (one,) = sets({"east": APP})
    assert (one.request.name, one.request.limits.max_deletes, one.request.retry_s) == ("east", 100, 15.0)
    assert (one.source.base_url, one.destination.base_url) == (ONE["url"], TWO["url"])
    assert (one.follow.verify_every_s, one.follow.max_watches, one.follow.quiet_s) == (900.0, 32, 0.0)


def test_a_set_that_is_read_again_is_the_same_so_that_a_reload_leaves_it_alone() -> None:
    given = {"east": {**APP, "prefixes": [{"source": "app/", "exclude": ["local"]}]}}
    assert sets(given) == sets(given)
    assert sets(given) != sets({"east": {**APP, "prefixes": [{"source": "app/", "exclude": ["other"]}]}})


def test_the_source_is_written_only_if_a_heartbeat_is_asked_for() -> None:
    assert [sets({"a": {**APP, **more}})[0].follow.heartbeat_s for more in ({}, {"heartbeat": "off"})] == [0.0, 0.0]
    assert [sets({"a": {**APP, "heartbeat": one}})[0].follow.heartbeat_s for one in (False, "15s")] == [0.0, 15.0]
    for wrong in (True, 15, "0s", "soon"):
        assert refused({"sets": {"a": {**APP, "heartbeat": wrong}}}).startswith("options.sets.a.heartbeat")


def test_a_set_that_reverses_another_one_has_a_generation_and_accepts_that() -> None:
    (one,) = sets({"there": {**APP, "reverses": "back", "generation": 2}})
    assert one.direction == SetDirection("there", "back", 2) and one.request.accept == ("reversed",)
    assert sets({"there": APP})[0].direction is None
    for more, text in (
        ({"generation": 2}, "generation: it belongs to a set that reverses"),
        ({"reverses": "back"}, "generation: a set that reverses"),
        ({"reverses": "back", "generation": 0}, "generation: a set that reverses"),
        ({"reverses": "there", "generation": 1}, "reverses: 'there' is not the name of the set"),
        ({"reverses": "a/b", "generation": 1}, "reverses: 'a/b' is not the name of the set"),
    ):
        assert f"options.sets.there.{text}" in refused({"sets": {"there": {**APP, **more}}})


def test_the_other_direction_is_ended_without_a_lease_at_the_own_destination() -> None:
    given = {"there": {**APP, "reverses": "back", "generation": 2}}
    config = make_config({"agent": "replication", "options": {"sets": given}}, {}, AGENT_TYPES)
    assert {job.name: job.lease for job in config.plan.jobs} == {"set there": "set there", "direction there": None}


def test_connections_of_a_set_default_to_that_of_the_agent() -> None:
    (one,) = sets({"east": {"source": ONE, "prefixes": ["app/"]}}, connection={"url": TWO["url"], "timeout": 3})
    assert (one.destination.base_url, one.source.timeout_s) == (TWO["url"], 3)


def test_the_lease_of_a_set_is_the_lock_of_the_module_at_the_destination() -> None:
    config = make_config({"agent": "replication", "options": {"sets": {"east": APP}}}, {}, AGENT_TYPES)
    (lease,) = config.plan.leases
    assert (lease.key, lease.endpoint.base_url) == ("consulops/replication/east/lock", TWO["url"])
    assert [job.lease for job in config.plan.jobs] == [lease.name]


def test_quiescence_is_written_as_in_consul_replicate() -> None:
    found = [sets({"east": {**APP, "wait": text}})[0].follow[:2] for text in ("5s:10s", "500ms")]
    assert found == [(5.0, 10.0), (0.5, 2.0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sets": {}}, "options.sets: there is no set, so nothing would be replicated."),
        ({"sets": {"a/b": APP}}, "options.sets.a/b: 'a/b' may contain"),
        ({"sets": {"a": {**APP, "exlude": []}}}, "options.sets.a.exlude: unknown option."),
        (
            {"sets": {"a": {**APP, "max_delets": 1}}},
            "options.sets.a.max_delets: unknown option. Did you mean max_deletes?",
        ),
        ({"sets": {"a": {**APP, "prefixes": ["app"]}}}, "options.sets.a.prefixes[0]: the source 'app' could mean"),
        ({"sets": {"a": {**APP, "prefixes": []}}}, "options.sets.a.prefixes is an empty list"),
        ({"sets": {"a": {**APP, "concurrency": 17}}}, "options.sets.a.concurrency is 17: the maximum is 16."),
        ({"sets": {"a": {**APP, "batch_ops": "1"}}}, "options.sets.a.batch_ops '1' must be auto"),
        ({"sets": {"a": {**APP, "wait": "10s:5s"}}}, "options.sets.a.wait: '10s:5s' waits at most"),
        ({"sets": {"a": {**APP, "wait": "soon"}}}, "options.sets.a.wait: 'soon' is not a duration"),
        ({"sets": {"a": {**APP, "verify_every": "0s"}}}, "options.sets.a.verify_every: 0s is not between 1 and"),
        ({"sets": {"a": {**APP, "max_watches": 500}}}, "options.sets.a.max_watches: 500 is not between 1 and 100."),
        ({"sets": {"a": {**APP, "source": {"url": "ftp://x"}}}}, "options.sets.a.source.url has the unknown scheme"),
        ({"sets": {"a": {**APP, "destination": ONE}}}, "options.sets.a.prefixes: app/ is copied onto itself"),
        (
            {"sets": {"a": {**APP, "destination": ONE, "prefixes": [{"source": "app/", "destination": "app/copy/"}]}}},
            "options.sets.a.prefixes: the destination of app/ → app/copy/ overlaps the source of",
        ),
        (
            {
                "sets": {
                    "a": APP,
                    "b": {**APP, "source": THREE, "prefixes": [{"source": "x/", "destination": "app/x/"}]},
                }
            },
            "options.sets.b.prefixes: its destination 'app/x/' overlaps 'app/', where the set a writes",
        ),
        (
            {"sets": {"a": APP, "b": {"source": TWO, "destination": ONE, "prefixes": ["app/"]}}},
            "options.sets.a.prefixes: keys would be copied in a loop: a (app/ → app/), b (app/ → app/), and back.",
        ),
        ({"prefixes": ["app/"]}, "options.prefixes: this is an option of one set: write it below options.sets.NAME"),
        ({"verify_digest": True, "sets": {"a": APP}}, "options.verify_digest: the agent has no such option."),
        ({"name": "east", "sets": {"a": APP}}, "options.name: the name of a replication is that of its set"),
        ({"url": "http://x", "sets": {"a": APP}}, "options.url: connection options go into connection"),
    ],
)
def test_what_cannot_be_replicated_is_refused_with_its_path(options: t.Any, message: str) -> None:
    assert refused(options).startswith(message)


def test_every_option_of_the_module_is_one_of_a_set_or_is_told_where_to_go() -> None:
    for name, rules in REPLICATE.spec.items():
        value: t.Any = {"str": "1", "list": [], "dict": {}, "bool": True, "path": "/x"}.get(rules["type"], 1)
        assert refused({name: value, "sets": {"a": APP}}).startswith(f"options.{name}: "), name
        assert "unknown" not in refused({name: value, "sets": {"a": APP}})


def test_a_lease_key_of_ones_own_is_refused() -> None:
    assert refused({"sets": {"a": APP}}, lease={"key": "app/lock"}).startswith(
        "lease.key: 'app/lock' is not used: each set"
    )


def test_a_loop_through_a_third_datacenter_is_found() -> None:
    there = {"source": ONE, "destination": TWO, "prefixes": [{"source": "app/", "destination": "from-1/"}]}
    on = {"source": TWO, "destination": THREE, "prefixes": [{"source": "from-1/web/", "destination": "web/"}]}
    back = {"source": THREE, "destination": ONE, "prefixes": [{"source": "web/", "destination": "app/web/"}]}
    assert refused({"sets": {"a": there, "b": on, "c": back}}).startswith(
        "options.sets.a.prefixes: keys would be copied in a loop: a (app/ → from-1/), b (from-1/web/ → web/), "
        "c (web/ → app/web/), and back."
    )
    apart = {**there, "prefixes": [{"source": "app/", "destination": "from-1/", "exclude": ["web"]}]}
    assert len(sets({"a": apart, "b": on, "c": back})) == 3


def test_one_source_to_several_destinations_and_a_chain_are_no_loop() -> None:
    chain = {"source": TWO, "destination": THREE, "prefixes": ["app/"]}
    assert len(sets({"a": APP, "b": {**APP, "destination": {"url": "http://192.0.2.9:8500"}}, "c": chain})) == 3


PREFIXES = st.sampled_from(["a/", "a/b/", "b/", "b/a/", ""])


@st.composite
def edges(draw: st.DrawFn) -> list[Edge]:
    made = []
    for number in range(draw(st.integers(1, 3))):
        mapping = PrefixMapping(draw(PREFIXES), draw(PREFIXES), Scope())
        made.append(Edge(f"set{number}", draw(st.integers(1, 3)), draw(st.integers(1, 3)), mapping))
    return made


@given(edges())
def test_a_loop_is_found_exactly_where_a_key_comes_by_one_mapping_twice(made: list[Edge]) -> None:
    """A key is sent along the mappings, from every store and every short name, as the agents would copy it."""

    def comes_by_twice(store: object, key: str, way: tuple[int, ...]) -> bool:
        for number, edge in enumerate(made):
            if edge.source == store and key.startswith(edge.mapping.source):
                if number in way:
                    return True
                if comes_by_twice(edge.destination, edge.mapping.to_destination(key), (*way, number)):
                    return True
        return False

    keys = ["".join(parts) + "k" for length in range(9) for parts in _words(length)]
    is_loop = any(comes_by_twice(store, key, ()) for store in (1, 2, 3) for key in keys)
    assert (find_loop(made) is not None) == is_loop


def _words(length: int) -> list[tuple[str, ...]]:
    if length == 0:
        return [()]
    return [(first, *rest) for first in ("a/", "b/") for rest in _words(length - 1)]
