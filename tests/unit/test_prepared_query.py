# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prepared queries: one form for options and for Consul's JSON, the choice of a query, and the order of a failover."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import GuardRefused, InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._failover import query_definition, query_plan
from ansible_collections.consulops.failover.plugins.module_utils._failover.prepared_queries import (
    choose,
    execution_of,
    query_of,
)
from ansible_collections.consulops.failover.plugins.module_utils._failover.query_definition import (
    changed_fields,
    duration_text,
    from_api,
    from_options,
    newer_fields,
    shown,
    to_api,
)
from ansible_collections.consulops.failover.plugins.module_utils._failover.query_plan import Step, answer_of
from hypothesis import given
from hypothesis import strategies as st

ID = "54560818-f558-7827-3e7f-04{:010}"

texts = st.text(max_size=6)
names = st.lists(texts, max_size=3)
meta = st.dictionaries(texts, texts | st.integers() | st.booleans(), max_size=3)
durations = st.builds(
    lambda count, unit: f"{count}{unit}", st.integers(0, 10**6), st.sampled_from(["ns", "us", "ms", "s", "m", "h"])
)
targets = st.lists(
    st.fixed_dictionaries({"datacenter": texts.filter(bool)}, optional={"namespace": texts, "peer": st.none()}),
    min_size=1,
    max_size=3,
)
failovers = st.fixed_dictionaries(
    {}, optional={"nearest_n": st.integers(0, 9), "datacenters": names}
) | st.fixed_dictionaries({"targets": targets})
templates = st.fixed_dictionaries(
    {"type": st.just("name_prefix_match")}, optional={"regexp": texts, "remove_empty_tags": st.booleans()}
)
options = st.fixed_dictionaries(
    {"service": texts.filter(bool)},
    optional={
        "tags": names,
        "near": texts,
        "only_passing": st.none() | st.booleans(),
        "ignore_check_ids": names,
        "node_meta": meta,
        "service_meta": meta,
        "connect": st.booleans(),
        "peer": texts,
        "sameness_group": texts,
        "failover": st.none() | failovers,
        "dns": st.none() | st.fixed_dictionaries({"ttl": durations}),
        "template": st.none() | templates,
    },
)


def as_consul_shows(body: t.Any) -> t.Any:
    """What Consul makes of JSON that it stores: null for what is empty, as 1.8.7 does."""
    if isinstance(body, dict):
        return {name: as_consul_shows(value) for name, value in body.items()}
    return None if body == [] else body


@given(options)
def test_a_query_that_was_written_as_it_was_asked_for_is_unchanged(given_options: dict[str, t.Any]) -> None:
    wanted = from_options(given_options)
    again = from_api(as_consul_shows(to_api(wanted)))
    assert again == wanted
    assert changed_fields(wanted, again) == []
    assert from_options(nested(shown(wanted))) == wanted


def nested(options_shown: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**options_shown, "template": options_shown["template"] if options_shown["template"]["type"] else None}


@given(options, options)
def test_different_definitions_are_written_differently(one: dict[str, t.Any], two: dict[str, t.Any]) -> None:
    first, second = from_options(one), from_options(two)
    assert (first == second) is (to_api(first) == to_api(second)) is (changed_fields(first, second) == [])


@given(options, st.dictionaries(st.sampled_from(["Later", "Other"]), texts.filter(bool), max_size=2))
def test_what_this_version_does_not_know_is_kept(given_options: dict[str, t.Any], extra: dict[str, str]) -> None:
    wanted = from_options(given_options)
    body = {**to_api(wanted), "ID": ID.format(1), "Token": "t", "ModifyIndex": 5, **extra}
    body["Service"] = {**body["Service"], **extra}
    kept = to_api(wanted, body)
    assert kept == {**to_api(wanted), **extra, "Service": {**to_api(wanted)["Service"], **extra}}


def test_fields_that_an_old_consul_does_not_know_are_sent_only_when_they_are_set() -> None:
    old = to_api(from_options({"service": "web"}))
    assert set(old["Service"]["Failover"]) == {"NearestN", "Datacenters"} and "Peer" not in old["Service"]
    new = from_options({"service": "web", "failover": {"targets": [{"datacenter": "dc2"}]}})
    assert to_api(new)["Service"]["Failover"]["Targets"] == [{"Datacenter": "dc2"}]
    assert newer_fields(new) == ["failover.targets"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10", "10s"),
        ("1m", "60s"),
        ("1h1m1.5s", "3661500ms"),
        ("", ""),
        ("0m", "0s"),
        ("0", "0s"),
        (".5s", "500ms"),
        ("1ns", "1ns"),
        ("7us", "7us"),
    ],
)
def test_durations_of_the_same_length_are_the_same(text: str, expected: str) -> None:
    assert duration_text(text) == expected


@given(durations)
def test_a_duration_has_one_form(text: str) -> None:
    assert duration_text(duration_text(text)) == duration_text(text)


@pytest.mark.parametrize("text", ["10x", "1d", "-1s", "s", "1 s", "9999999999h", "ten"])
def test_what_consul_does_not_take_for_a_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="is not a duration"):
        from_options({"service": "web", "dns": {"ttl": text}})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"failover": {"targets": [{"datacenter": "a"}], "nearest_n": 1}}, "cannot be used together"),
        ({"failover": {"targets": [{"namespace": "a"}]}}, "needs a peer or a datacenter"),
        ({"failover": {"nearest_n": -1}}, "must be 0 or more"),
        ({"template": {"type": "", "regexp": "x"}}, "needs template.type"),
        ({"node_meta": {"a": ["b"]}}, "is not a text"),
    ],
)
def test_an_option_that_cannot_work_is_refused_in_one_sentence(wrong: dict[str, t.Any], words: str) -> None:
    with pytest.raises(InvalidOption, match=words) as refused:
        from_options({"service": "web", **wrong})
    assert str(refused.value).endswith("Nothing was changed.")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["Service", "Failover", "Tags", "DNS", "TTL", "ID", "Nodes", "Node"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(json_values)
def test_json_of_another_shape_is_an_error_of_its_shape(value: t.Any) -> None:
    for convert in (query_of, execution_of, lambda rows: query_plan.chosen(rows, from_options({"service": "web"}))):
        with contextlib.suppress(
            LookupError, TypeError, ValueError, AttributeError
        ):  # Response.parse makes one sentence of them
            convert(value)


def row(number: int, name: str, template: bool = False, token: str = "") -> dict[str, t.Any]:
    """Return a query as Consul shows it."""
    return {
        "ID": ID.format(number),
        "Name": name,
        "Session": "",
        "Token": token,
        "Template": {"Type": "name_prefix_match" if template else ""},
        "Service": {"Service": "web"},
    }


def test_a_query_is_found_by_its_name_without_regard_to_case() -> None:
    queries = [query_of(row(1, "Web")), query_of(row(2, "")), query_of(row(3, "", template=True))]
    assert choose(queries, "web") == queries[0]
    assert choose(queries, "") == queries[2]  # one without a name is not the template for every name
    assert choose(queries, "api") is None


def test_several_queries_of_one_name_are_named_and_none_is_guessed() -> None:
    with pytest.raises(GuardRefused) as refused:
        choose([query_of(row(1, "web")), query_of(row(2, "WEB"))], "web")
    assert (
        ID.format(1) in str(refused.value) and ID.format(2) in str(refused.value) and "option id" in str(refused.value)
    )


def test_a_hidden_token_is_unknown() -> None:
    assert query_of(row(1, "web", token="<hidden>")).token is None
    assert [query_of(row(1, "web", token=token)).token_state for token in ("<hidden>", "secret", "")] == [
        "hidden",
        "set",
        "none",
    ]


# ---------------------------------------------------------------------------------------------------------------
# The order of a failover


def order(
    local: str | None = "dc1", known: t.Sequence[str] = ("dc1", "dc3", "dc2"), **failover: t.Any
) -> list[tuple[str, bool]]:
    definition = from_options({"service": "web", "failover": failover})
    return [(place.datacenter, bool(place.problem)) for place in query_plan.places(definition, local, known)]


def test_the_nearest_come_first_and_nobody_is_asked_twice() -> None:
    assert order(nearest_n=1, datacenters=["dc2", "dc3"]) == [("dc3", False), ("dc2", False)]
    assert order(nearest_n=9) == [("dc3", False), ("dc2", False)]


def test_datacenters_that_consul_skips_are_named() -> None:
    assert order(datacenters=["dc9", "dc1", "dc2"]) == [("dc9", True), ("dc1", True), ("dc2", False)]
    assert order(targets=[{"datacenter": "dc2"}, {"peer": "p"}]) == [("dc2", False), ("", True)]


def test_without_the_name_of_the_local_datacenter_the_order_is_unknown() -> None:
    assert order(local=None, nearest_n=1) == [("", True)]
    assert order(local=None) == []
    assert order(local=None, datacenters=["dc2", "dc9"]) == [("dc2", False), ("dc9", True)]


def test_what_comes_after_an_unknown_place_is_unknown() -> None:
    empty, unknown, full = Step("dc1", "", 0), Step("dc2", "", None, "timed out"), Step("dc3", "", 2)
    assert answer_of([empty, full]) == {"known": True, "datacenter": "dc3", "peer": None}
    assert answer_of([full, unknown])["datacenter"] == "dc3"
    assert answer_of([empty, unknown, full])["known"] is False
    assert answer_of([empty]) == {"known": True, "datacenter": None, "peer": None}


def entry(
    *statuses: str, tags: t.Sequence[str] = (), node_meta: t.Any = None, service_meta: t.Any = None
) -> dict[str, t.Any]:
    """Return an instance as the health endpoint shows it, with checks c0, c1, …"""
    return {
        "Node": {"Node": "n", "Address": "192.0.2.1", "Datacenter": "dc1", "Meta": node_meta},
        "Service": {"ID": "web", "Service": "web", "Address": "", "Port": 80, "Tags": list(tags), "Meta": service_meta},
        "Checks": [{"CheckID": f"c{number}", "Status": status} for number, status in enumerate(statuses)],
    }


@pytest.mark.parametrize(
    ("found", "query", "is_chosen"),
    [
        (entry("passing", "warning"), {}, True),
        (entry("passing", "warning"), {"only_passing": True}, False),
        (entry("passing", "critical"), {}, False),
        (entry("passing", "critical"), {"ignore_check_ids": ["c1"]}, True),
        (entry(), {"only_passing": True}, True),
        (entry(tags=["V1"]), {"tags": ["v1"]}, True),
        (entry(tags=["V1"]), {"tags": ["!v1"]}, False),
        (entry(), {"tags": ["v1"]}, False),
        (entry(node_meta={"a": "b"}), {"node_meta": {"a": "b"}}, True),
        (entry(), {"node_meta": {"a": ""}}, False),
        (entry(service_meta={"a": "b"}), {"service_meta": {"a": "c"}}, False),
    ],
)
def test_instances_are_chosen_as_consul_chooses_them(found: t.Any, query: dict[str, t.Any], is_chosen: bool) -> None:
    definition = from_options({"service": "web", **query})
    assert bool(query_plan.chosen([found], definition)) is is_chosen


def test_every_field_has_an_option_and_another_place() -> None:
    fields = query_definition.FIELDS
    assert len({field.path for field in fields}) == len({field.option for field in fields}) == len(fields)
