# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the options of a replication mean, and which are refused: patterns, prefixes, numbers."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._cli.commands.base import make_invocation
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, errors
from ansible_collections.consulops.failover.plugins.module_utils._replication import (
    delete_guards,
    mapping,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.patterns import Scope, translate
from ansible_collections.consulops.failover.plugins.module_utils._replication.prefix_options import make_mappings
from ansible_collections.consulops.failover.plugins.module_utils._replication.request import (
    ReplicationRequest,
    batch_size,
)
from ansible_collections.consulops.failover.plugins.module_utils._tasks.replicate import REPLICATE
from ansible_collections.consulops.failover.plugins.module_utils._tasks.replication_request import _prefixes
from ansible_collections.consulops.failover.plugins.module_utils._tasks.task import Invocation
from hypothesis import given
from hypothesis import strategies as st

# ---------------------------------------------------------------------------------------------------------------
# Patterns


def matches(pattern: str, name: str, at_start: bool = True) -> bool:
    """Match a glob letter by letter: slow, and independent of the regular expressions under test."""
    if not pattern:
        return name == "" or name.startswith("/")
    if pattern == "/":
        return name.startswith("/")
    if pattern.startswith("**"):
        rest = pattern.lstrip("*")
        if at_start and rest == "/":
            return True  # any folder, also none, and everything below it
        if at_start and rest.startswith("/"):
            starts = [0, *(place + 1 for place, letter in enumerate(name) if letter == "/")]
            return any(matches(rest[1:], name[start:], True) for start in starts)
        return any(matches(rest, name[start:], False) for start in range(len(name) + 1))
    if pattern[0] == "*":
        element = name.split("/")[0]
        return any(matches(pattern[1:], name[start:], False) for start in range(len(element) + 1))
    if not name or (pattern[0] == "?" and name[0] == "/") or pattern[0] not in ("?", name[0]):
        return False
    return matches(pattern[1:], name[1:], pattern[0] == "/")


@given(pattern=st.text("ab/*?", min_size=1, max_size=8), name=st.text("ab/", max_size=8))
def test_globs_agree_with_a_slow_matcher(pattern: str, name: str) -> None:
    scope = Scope(include=[pattern])
    assert scope.matches(name) == matches(pattern, name), translate(pattern)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("5", ["5", "5/", "5/x"], ["50", "55", "x/5"]),
        ("tmp/", ["tmp/", "tmp/a"], ["tmp", "tmpx/a"]),
        ("*/secret", ["a/secret", "a/secret/b"], ["secret", "a/b/secret", "a/secrets"]),
        ("**/secret", ["secret", "a/secret", "a/b/secret/c"], ["asecret", "a/secrets"]),
        ("log-[0-9]", ["log-1", "log-7/x"], ["log-a", "log-12"]),
        ("log-[!0-9]", ["log-a"], ["log-1", "log-/"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a.c", ["a.c"], ["abc"]),
        ("**", ["anything", "at/all", ""], []),
        ("**/", ["anything", "at/all", ""], []),
        ("a/**/", ["a/", "a/b", "a/b/c"], ["a", "ab", "b/a/c"]),
    ],
)
def test_globs_have_boundaries(pattern: str, yes: list[str], no: list[str]) -> None:
    scope = Scope(include=[pattern])
    assert [name for name in yes if not scope.matches(name)] == []
    assert [name for name in no if scope.matches(name)] == []


def test_exclude_wins_over_include() -> None:
    scope = Scope(include=["a"], exclude=["a/b"])
    assert scope.matches("a/c") and not scope.matches("a/b/c") and not scope.matches("d")


# ---------------------------------------------------------------------------------------------------------------
# Prefixes


def mappings(*prefixes: object, delete: str = "owned") -> list[mapping.PrefixMapping]:
    return make_mappings(prefixes, delete)


@pytest.mark.parametrize(
    ("prefixes", "said"),
    [
        ([], "empty list"),
        ([{"source": None}], "the source is not set"),
        ([{"source": 5}], "the source is 5"),
        ([{"source": "/"}], "is a slash"),
        ([{"source": "a\0b/"}], "a URL cannot carry"),
        ([{"source": "\ud800/"}], "a URL cannot carry"),
        ([{"source": "app/", "include": []}], "include is an empty list"),
        ([{"source": "app/", "include": ["*a*b*c*"]}], "more than 3 stars"),
        ([{"source": "app"}], "Write 'app/'"),
        ([{"source": "app/", "destination": "dr"}], "the destination 'dr'"),
        ([{"source": "consulops/"}], "is reserved"),
        ([{"source": "app/", "destination": "consulops/x/"}], "is reserved"),
        ([{"source": "a//b/"}], "cannot be requested"),
        ([{"source": "a/"}, {"source": "a/b/"}], "overlap"),
        ([{"source": "a/"}, {"source": "b/", "destination": "a/"}], "overlap"),
        ([{"source": ""}, {"source": "b/"}], "overlap"),
        ([{"source": "app/", "exclude": ["app/secret"]}], "repeats the prefix"),
        ([{"source": "app/", "include": ["/x"]}], "begins with a slash"),
        ([{"source": "app/", "exclude": [""]}], "is not a pattern"),
        ([{"source": "app/", "exclude": ["[z-a]"]}], "reversed range"),
    ],
)
def test_prefixes_that_make_no_sense_are_refused(prefixes: list[dict[str, t.Any]], said: str) -> None:
    with pytest.raises(errors.InvalidOption, match=said.replace("[", r"\[")):
        make_mappings(prefixes, "owned")


@pytest.mark.parametrize(
    ("element", "advice"),
    [
        ("app/@dc1", "source: {datacenter: dc1}, prefixes: [app/]."),
        ("app@dc1", "source: {datacenter: dc1}, prefixes: [app/]."),
        ("@dc1", 'source: {datacenter: dc1}, prefixes: [{source: ""}].'),
        ("app/@dc1:dest/", "source: {datacenter: dc1}, prefixes: [{source: app/, destination: dest/}]."),
        ("app/@dc1:dest", "source: {datacenter: dc1}, prefixes: [{source: app/, destination: dest/}]."),
        ("app/:dest/", "Write prefixes: [{source: app/, destination: dest/}]."),
        ({"source": "app/@dc1"}, "source: {datacenter: dc1}, prefixes: [app/]."),
        ("/app/", "prefixes[1]: the source '/app/' begins with a slash: write 'app/'."),
        ("/app", "write 'app/'."),
        ({"source": "app/", "destination": "/dr/"}, "the destination '/dr/' begins with a slash: write 'dr/'."),
        ("//", "cannot be requested"),
        ("/", 'For the whole store write source: "".'),
        ("", 'For the whole store write {source: ""}.'),
        ('{"source": "app/"}', "is the text of an object"),
        ("source=app/", "is the text of an object"),
        (5, "prefixes[1]: 5 is not a prefix"),
        (True, "prefixes[1]: true is not a prefix"),
        (None, "prefixes[1]: null is not a prefix"),
        (["app/"], "prefixes[1]: a list is not a prefix"),
        ({"source": ["app/"]}, "the source is a list"),
    ],
)
def test_an_element_that_is_not_a_prefix_is_answered_with_what_to_write(element: object, advice: str) -> None:
    with pytest.raises(errors.InvalidOption) as refused:
        mappings("first/", element)
    assert str(refused.value).startswith("prefixes[1]: ") and advice in str(refused.value)


def test_a_string_is_short_for_an_object_with_that_source() -> None:
    short, long = mappings("app/"), mappings({"source": "app/"})
    assert (short[0].source, short[0].destination, short[0].delete) == ("app/", "app/", "owned")
    assert str(short[0]) == str(long[0])
    assert [str(one) for one in mappings("a/", {"source": "b/", "destination": "c/"})] == ["a/", "b/ → c/"]


@pytest.mark.parametrize("name", ["user@example/", "urn:x/", "a b/", "ü/", "app/@dc1/"])
def test_a_folder_whose_name_only_resembles_the_notation_is_accepted(name: str) -> None:
    assert mappings(name)[0].source == name


def test_a_folder_named_like_the_notation_can_be_written_as_an_object() -> None:
    assert mappings({"source": "app/@dc1:dest/"})[0].source == "app/@dc1:dest/"


def task_call(prefixes: object) -> Invocation:
    """Return the call that the command makes of a JSON file."""
    return make_invocation(REPLICATE, {"prefixes": prefixes, "destination": {"datacenter": "dc2"}}, "replicate.json")


def check(prefixes: object) -> None:
    """Check options without a request, as check-config does."""
    assert REPLICATE.validate is not None
    REPLICATE.validate(task_call(prefixes))


def test_the_commands_file_takes_both_forms_in_one_list() -> None:
    check(["app/", {"source": "config/", "exclude": ["local"]}])


@pytest.mark.parametrize(
    ("element", "place"),
    [
        ({"source": "a/", "colour": "red"}, "prefixes[1].colour: "),
        ({"source": "a/", "delete": "some"}, "prefixes[1].delete: "),
        ({"source": "a/", "include": "web"}, "prefixes[1].include: "),
        ({"source": "a/", "exclude": [5]}, "prefixes[1].exclude[0]: "),
        ({"source": "a/", "destination": 5}, "prefixes[1].destination: "),
        ({"destination": "a/"}, "prefixes[1].source: "),
        ("app/@dc1", "prefixes[1]: "),
        (7, "prefixes[1]: 7 is not a prefix"),
    ],
)
def test_the_commands_file_is_checked_as_strictly_as_before(element: object, place: str) -> None:
    with pytest.raises(errors.InvalidOption) as refused:
        check(["first/", element])
    assert place in str(refused.value)


def test_globs_are_converted_as_ansible_converts_lists() -> None:
    converted = _prefixes([{"source": "a/", "include": "web,db", "exclude": [5, 1.5]}, "b/"])
    assert converted[0]["include"] == ["web", "db"] and converted[0]["exclude"] == ["5", "1.5"]
    assert converted[1] == "b/"


def test_nested_sources_may_go_to_different_places() -> None:
    assert len(mappings({"source": "a/"}, {"source": "a/b/", "destination": "c/"})) == 2


@pytest.mark.parametrize(
    "prefixes",
    [
        [{"source": "a/"}],
        [{"source": "a/", "destination": "a/b/"}],
        [{"source": "a/b/", "destination": "a/"}],
        [{"source": "a/", "destination": "b/"}, {"source": "b/c/", "destination": "d/"}],
        [{"source": "", "destination": "copy/"}],
    ],
)
def test_loops_within_one_store_are_refused(prefixes: list[dict[str, t.Any]]) -> None:
    with pytest.raises(errors.InvalidOption, match="same datacenter"):
        mapping.check_one_store(make_mappings(prefixes, "owned"))


def test_copies_within_one_store_are_allowed_where_nothing_overlaps() -> None:
    mapping.check_one_store(mappings({"source": "a/", "destination": "b/"}, {"source": "c/", "destination": "d/"}))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {}, True),
        ({"datacenter": "dc1"}, {"datacenter": "dc2"}, False),
        ({"url": "http://a:1"}, {"url": "http://b:1"}, False),
        ({"namespace": "a"}, {"namespace": "b"}, False),
        ({"token": "a"}, {"token": "b"}, True),
    ],
)
def test_what_counts_as_one_store(one: dict[str, str], other: dict[str, str], same: bool) -> None:
    assert mapping.is_same_store(endpoint.resolve(one, {}), endpoint.resolve(other, {})) is same


def test_options_of_one_side_replace_the_defaults_for_both() -> None:
    defaults = {"url": "http://a:1", "token_file": "/t", "client_cert": "/c", "client_key": "/k", "timeout": 5}
    merged = endpoint.with_defaults({"token": "x", "client_cert": "/own", "url": None}, defaults)
    assert merged == {
        "url": "http://a:1",
        "token": "x",
        "token_file": None,
        "client_cert": "/own",
        "client_key": None,
        "timeout": 5,
    }


# ---------------------------------------------------------------------------------------------------------------
# Other options


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "a/b"}, "name 'a/b'"),
        ({"name": ".."}, "name"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"concurrency": 99}, "the maximum is 16"),
        ({"lock_wait_s": -1.0}, "lock_wait is -1"),
        ({"retry_s": float("nan")}, "retry_timeout is nan"),
        ({"limits": delete_guards.Limits(max_deletes=10**10)}, "less than 1,000,000,000"),
        ({"limits": delete_guards.Limits(max_deletes=-1)}, "max_deletes is -1"),
    ],
)
def test_numbers_out_of_range_and_bad_names_are_refused(changes: dict[str, t.Any], said: str) -> None:
    request = ReplicationRequest(tuple(mappings({"source": "a/"})))._replace(**changes)
    with pytest.raises(errors.InvalidOption, match=said):
        request.check()


@pytest.mark.parametrize(("text", "size"), [("auto", None), ("2", 2), ("128", 128)])
def test_batch_sizes(text: str, size: int | None) -> None:
    assert batch_size(text) == size


@pytest.mark.parametrize("text", ["0", "1", "129", "-5", "many", "", "²", "٣"])
def test_batch_sizes_that_no_server_accepts_are_refused(text: str) -> None:
    with pytest.raises(errors.InvalidOption, match="batch_ops"):
        batch_size(text)
