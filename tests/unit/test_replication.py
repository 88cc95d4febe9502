# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What replication decides without asking anybody: scope, ownership, plans, guards. Tried with every store there could be."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, errors, retry
from ansible_collections.consulops.failover.plugins.module_utils._consul.kv import Entry
from ansible_collections.consulops.failover.plugins.module_utils._replication import (
    checkpoint,
    delete_guards,
    mapping,
    plan,
    prepare,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.ledger import (
    EDITED,
    FOREIGN,
    OURS,
    InvalidLedger,
    Ledger,
    fingerprint_of,
    fingerprint_of_hash,
    key_id,
    prefix_id,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.patterns import Scope, translate
from hypothesis import given
from hypothesis import strategies as st

# ---------------------------------------------------------------------------------------------------------------
# Scope


def matches(pattern: str, name: str, at_start: bool = True) -> bool:
    """Match a glob letter by letter: slow, and nothing like the expression that is tested."""
    if not pattern:
        return name == "" or name.startswith("/")
    if pattern == "/":
        return name.startswith("/")
    if pattern.startswith("**"):
        rest = pattern.lstrip("*")
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
def test_a_glob_means_what_a_slow_reader_thinks(pattern: str, name: str) -> None:
    scope = Scope(include=[pattern])
    assert scope.holds(name) == matches(pattern, name), translate(pattern)


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
    ],
)
def test_globs_have_boundaries(pattern: str, yes: list[str], no: list[str]) -> None:
    scope = Scope(include=[pattern])
    assert [name for name in yes if not scope.holds(name)] == []
    assert [name for name in no if scope.holds(name)] == []


def test_exclude_wins_over_include() -> None:
    scope = Scope(include=["a"], exclude=["a/b"])
    assert scope.holds("a/c") and not scope.holds("a/b/c") and not scope.holds("d")


def mappings(*prefixes: dict[str, t.Any], delete: str = "owned") -> list[mapping.PrefixMapping]:
    return mapping.make_mappings(prefixes, delete)


@pytest.mark.parametrize(
    ("prefixes", "said"),
    [
        ([], "empty list"),
        ([{"source": None}], "the source is not set"),
        ([{"source": 5}], "the source is 5"),
        ([{"source": "/"}], "with which no key begins"),
        ([{"source": "a\0b/"}], "no address can carry"),
        ([{"source": "\ud800/"}], "no address can carry"),
        ([{"source": "app/", "include": []}], "include is an empty list"),
        ([{"source": "app/", "include": ["*a*b*c*"]}], "more than 3 stars"),
        ([{"source": "app"}], "Write 'app/'"),
        ([{"source": "app/", "destination": "dr"}], "the destination 'dr'"),
        ([{"source": "consulops/"}], "this collection's own"),
        ([{"source": "app/", "destination": "consulops/x/"}], "this collection's own"),
        ([{"source": "a//b/"}], "cannot be asked for"),
        ([{"source": "a/"}, {"source": "a/b/"}], "overlap"),
        ([{"source": "a/"}, {"source": "b/", "destination": "a/"}], "overlap"),
        ([{"source": ""}, {"source": "b/"}], "overlap"),
        ([{"source": "app/", "exclude": ["app/secret"]}], "repeats the prefix"),
        ([{"source": "app/", "include": ["/x"]}], "begins with a slash"),
        ([{"source": "app/", "exclude": [""]}], "is no pattern"),
        ([{"source": "app/", "exclude": ["[z-a]"]}], "runs backwards"),
    ],
)
def test_prefixes_that_cannot_be_meant_are_refused(prefixes: list[dict[str, t.Any]], said: str) -> None:
    with pytest.raises(errors.InvalidOption, match=said.replace("[", r"\[")):
        mapping.make_mappings(prefixes, "owned")


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
def test_circles_within_one_store_are_refused(prefixes: list[dict[str, t.Any]]) -> None:
    with pytest.raises(errors.InvalidOption, match="same datacenter"):
        mapping.check_one_store(mapping.make_mappings(prefixes, "owned"))


def test_copies_within_one_store_are_fine_where_nothing_overlaps() -> None:
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
    assert mapping.is_same(endpoint.resolve(one, {}), endpoint.resolve(other, {})) is same


def test_what_one_side_says_takes_the_place_of_the_defaults_for_both() -> None:
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
# Ownership

# Three keys of one bucket and one of another. What a key holds may look like the name of a key, or like a prefix_id and a mark.
NEIGHBOURS = [key for key in map(str, range(5000)) if key_id(key)[0] == 7][:3]
HOMES = dict(zip([*NEIGHBOURS, "d"], [prefix_id("one/"), prefix_id("one/"), prefix_id("two/"), prefix_id("")]))
HELD = [bytes(8), key_id(NEIGHBOURS[0]), prefix_id("one/") + b"\1" + key_id(NEIGHBOURS[1])[:4]]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["announce", "settle", "forget", "withdraw", "withdraw all", "see", "forget unseen"]),
        st.sampled_from(sorted(HOMES)),
        st.integers(0, 2),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_the_ledger_remembers_what_it_is_told(steps: list[tuple[str, str, int]]) -> None:
    ledger = Ledger()
    settled, announced, seen = dict[str, bytes](), dict[str, set[bytes]](), set[str]()
    stored: dict[int, bytes] = {}
    for verb, key, number in steps:
        content, prefix_id = HELD[number], HOMES[key]
        waiting = announced.setdefault(key, set())
        if verb == "announce":
            ledger.record_intent([fingerprint_of_hash(key, content)], prefix_id)
            if settled.get(key) != content:
                waiting.add(content)
        elif verb == "settle":
            ledger.commit([fingerprint_of_hash(key, content)], prefix_id)
            settled[key] = content
            waiting.clear()
        elif verb == "withdraw":
            ledger.abort(fingerprint_of_hash(key, content))
            waiting.discard(content)
        elif verb == "withdraw all":
            ledger.abort_all({prefix_id})
            announced = {name: set() if HOMES[name] == prefix_id else known for name, known in announced.items()}
        elif verb == "see":
            # A key that nothing is known of need not be remembered as seen, and is not always.
            if settled.get(key) or waiting:
                ledger.mark_seen(key_id(key))
                seen.add(key)
        elif verb == "forget unseen":
            ledger.forget_unseen({prefix_id})
            for name in [name for name in HOMES if HOMES[name] == prefix_id and name not in seen]:
                settled.pop(name, None)
                announced[name] = set()
            seen = set()
        else:
            ledger.forget(key)
            settled.pop(key, None)
            waiting.clear()
        stored.update(ledger.take_dirty())
        for read in (ledger, Ledger({number: data for number, data in stored.items() if data})):
            assert len(read) == len(settled) + sum(map(len, announced.values()))
            for name in HOMES:
                assert read.was_committed(key_id(name)) == (name in settled)
                for mark in HELD:
                    ours = mark == settled.get(name) or mark in announced.get(name, set())
                    assert read.state(fingerprint_of_hash(name, mark)) == (
                        OURS if ours else EDITED if name in settled else FOREIGN
                    )
                    assert read.is_committed(fingerprint_of_hash(name, mark)) == (mark == settled.get(name))


@pytest.mark.parametrize("data", [b"", b"own2" + bytes(20), b"own1" + bytes(19), b"{}"])
def test_a_bucket_that_is_none_is_never_taken_for_one(data: bytes) -> None:
    with pytest.raises(InvalidLedger):
        Ledger({3: data})


# ---------------------------------------------------------------------------------------------------------------
# Plans

NAMES = ["a", "b/c", "b/cd", "x//y", "consulops/own", "out", "out/1", ".lock", "é"]
contents = st.tuples(st.binary(max_size=2), st.integers(0, 1))
stores = st.dictionaries(st.sampled_from(NAMES), contents)


def entries(store_: t.Mapping[str, tuple[bytes, int]], prefix: str) -> list[Entry]:
    return [Entry(prefix + name, value, flags, index) for index, (name, (value, flags)) in enumerate(store_.items(), 7)]


@given(
    source=stores,
    destination=stores,
    written=stores,
    delete=st.sampled_from(["never", "owned", "all"]),
    on_conflict=st.sampled_from(["fail", "keep", "overwrite"]),
    prefixes=st.sampled_from([("", ""), ("app/", "app/"), ("app/", "dr/"), ("", "copy/")]),
)
def test_a_plan_does_what_was_asked_and_nothing_else(
    source: dict[str, tuple[bytes, int]],
    destination: dict[str, tuple[bytes, int]],
    written: dict[str, tuple[bytes, int]],
    delete: str,
    on_conflict: str,
    prefixes: tuple[str, str],
) -> None:
    one = mappings({"source": prefixes[0], "destination": prefixes[1], "exclude": ["out"]}, delete=delete)[0]
    policy = plan.Policy(on_conflict)
    ledger = Ledger()
    for name, (value, flags) in written.items():
        key = prefixes[1] + name
        ledger.commit([fingerprint_of(key, value, flags)], prefix_id(prefixes[1]))
    live = {prefixes[1] + name: content for name, content in destination.items()}
    before = dict(live)

    def decide() -> plan.ShardPlan:
        now = [Entry(key, value, flags, index) for index, (key, (value, flags)) in enumerate(live.items(), 7)]
        return plan.plan_shard(one, policy, ledger, entries(source, prefixes[0]), now)

    decided = decide()
    indexes = {key: index for index, key in enumerate(live, 7)}
    for change in decided.changes:
        assert indexes.get(change.key, 0) == change.at_index
        live[change.key] = (change.value, change.flags)
        ledger.commit([change.fingerprint], prefix_id(prefixes[1]))
    equal = {
        fingerprint_of(prefixes[1] + name, *content)
        for name, content in source.items()
        if before.get(prefixes[1] + name) == content
    }
    assert equal.issuperset(decided.equal_again)
    ledger.commit(decided.equal_again, prefix_id(prefixes[1]))
    for deletion in decided.to_delete:
        assert indexes[deletion.key] == deletion.at_index
        del live[deletion.key]
        ledger.forget(deletion.key)

    def takes_part(name: str) -> bool:
        mine = (prefixes[0] + name).startswith("consulops/") or (prefixes[1] + name).startswith("consulops/")
        return not mine and name not in ("out", "out/1", ".lock")

    for name in NAMES:
        key = prefixes[1] + name
        ours = name in written and written[name] == destination.get(name)
        if not takes_part(name):
            assert live.get(key) == before.get(key), "a key that takes no part was touched"
        elif name in source:
            free = key not in before or source[name] == before[key] or ours or on_conflict == "overwrite"
            if key not in before and on_conflict == "keep" and name in written:
                free = False
            assert live.get(key) == (source[name] if free else before.get(key))
        elif key in before:
            edited = name in written and not ours
            goes = delete == "all" or (delete == "owned" and (ours or (edited and on_conflict == "overwrite")))
            assert (key not in live) == goes
    counts = decided.counts
    seen = counts.unchanged + counts.created + counts.updated + counts.kept + counts.skipped_locked
    assert seen + len(decided.to_delete) + len(decided.conflicts) == len(
        {name for name in {*source, *destination} if takes_part(name) or name == ".lock"}
    )
    again = decide()
    assert (again.changes, again.to_delete, again.equal_again) == ([], [], []), "a second run would change something"
    assert again.conflicts == decided.conflicts


def shard(source: t.Sequence[Entry], destination: t.Sequence[Entry] = (), **policy: t.Any) -> plan.ShardPlan:
    one = mappings({"source": ""}, delete="all")[0]
    return plan.plan_shard(one, plan.Policy(**policy), Ledger(), source, destination, plan.digest_text)


@pytest.mark.parametrize(
    "lock",
    [
        Entry("k", b"1", 0, 5, session="someone"),
        Entry("k", b"1", 0x2DDCCBC058A50C18, 5),
        Entry("k", b"1", 0xE0F69A2BAA414DE0, 5),
        Entry("deep/.lock", b"1", 0, 5),
        Entry("vault/core/lock", b"1", 0, 5),
        Entry("service/web/leader", b"1", 0, 5),
    ],
)
def test_locks_are_left_alone_on_both_sides(lock: Entry) -> None:
    plain = Entry(lock.key, b"2", 0, 6)
    for source, destination in (([lock], []), ([lock], [plain]), ([plain], [lock]), ([], [lock])):
        found = shard(source, destination)
        assert (found.changes, found.to_delete, found.counts.skipped_locked) == ([], [], 1)
    assert shard([lock], skip_locked=False).counts.created == 1


def test_a_lock_is_known_by_the_name_that_it_has_on_either_side() -> None:
    one = mappings({"source": "dr/", "destination": "service/"}, delete="all")[0]
    policy = plan.Policy("overwrite")
    there = [Entry("service/web/leader", b"held", 0, 5), Entry("service/api/leader", b"held", 0, 6)]
    found = plan.plan_shard(one, policy, Ledger(), [Entry("dr/web/leader", b"copied", 0, 7)], there)
    assert (found.changes, found.to_delete, found.counts.skipped_locked) == ([], [], 2)


def test_a_folder_key_that_the_whole_store_cannot_have_takes_no_part() -> None:
    up, down = mappings({"source": "app/", "destination": ""})[0], mappings({"source": "", "destination": "dst/"})[0]
    assert not up.takes_part("app/") and not down.takes_part(down.to_source("dst/")) and up.takes_part("app/x")
    assert mappings({"source": "app/"})[0].takes_part("app/")


@pytest.mark.parametrize("key", ["clock", "service/leader", "service/a/b/leader", "vault/core/lock/x", "a.lock"])
def test_names_that_only_look_like_locks_are_copied(key: str) -> None:
    assert shard([Entry(key, b"1", 0, 5)]).counts.created == 1


def test_names_that_are_not_utf8_are_quarantined_and_never_deleted() -> None:
    mangled = Entry("a\ufffd", b"1", 0, 5)
    found = shard([mangled, Entry("b", b"", 0, 6)], [Entry("c\ufffd", b"", 0, 9)])
    assert [problem.key for problem in found.unwritable] == ["a\ufffd"]
    assert [change.key for change in found.changes] == ["b"] and found.to_delete == []


def test_values_are_not_shown_unless_asked_for() -> None:
    one, secret = mappings({"source": ""})[0], Entry("k", b"hunter2", 3, 5)
    hidden = shard([secret])
    assert "hunter2" not in repr(hidden) and "7 bytes, flags 3" in (hidden.lines[0].after or "")
    shown = plan.plan_shard(one, plan.Policy(), Ledger(), [secret], [], plan.value_text)
    assert shown.lines[0].after == "hunter2 (flags 3)"
    assert plan.value_text(b"\xff", 0) == "b'\\xff' (flags 0)"


# ---------------------------------------------------------------------------------------------------------------
# Guards, states, options


def to_delete(count: int) -> list[plan.Change]:
    return [plan.Change(f"k{number}", "deleted", 1, b"") for number in range(count)]


@pytest.mark.parametrize(
    ("source_keys", "destination_keys", "deletes", "limits", "said"),
    [
        (10, 10, 0, {}, ""),
        (0, 10, 10, {}, "10 keys would be deleted"),
        (0, 0, 0, {}, "nothing to copy"),
        (0, 10, 10, {"allow_empty_source": True}, ""),
        (0, 200, 200, {"allow_empty_source": True}, "max_deletes is 100"),
        (1, 6, 5, {}, ""),
        (1, 7, 6, {}, "86 %"),
        (90, 100, 10, {}, ""),
        (89, 100, 11, {}, "11 %"),
        (89, 100, 11, {"max_delete_percent": 50}, ""),
        (9000, 9101, 101, {}, "max_deletes is 100"),
        (9000, 9101, 101, {"max_deletes": 101}, ""),
        (5, 6, 1, {"max_deletes": 0}, "max_deletes is 0"),
    ],
)
def test_guards(source_keys: int, destination_keys: int, deletes: int, limits: dict[str, t.Any], said: str) -> None:
    counts = plan.Counts(source_keys=source_keys, destination_keys=destination_keys)
    found = delete_guards.refusals(
        [(mappings({"source": "a/"})[0], counts, to_delete(deletes))], delete_guards.Limits(**limits)
    )
    assert bool(found) == bool(said) and said in "".join(found)


def test_max_deletes_counts_over_all_prefixes() -> None:
    rows = [
        (one, plan.Counts(source_keys=900, destination_keys=1000), to_delete(60))
        for one in mappings({"source": "a/"}, {"source": "b/"})
    ]
    assert delete_guards.refusals(rows[:1], delete_guards.Limits()) == []
    assert "120 keys" in delete_guards.refusals(rows, delete_guards.Limits())[0]


def state(source: str, /, time: float = 0.0, **prefixes: str) -> checkpoint.State:
    """Return a state: each destination prefix, its slash left away, with the source that it was origin from."""
    return checkpoint.State(
        source, {f"{there}/": checkpoint.Origin(f"{here}/", time) for there, here in prefixes.items()}
    )


def test_a_state_is_read_as_it_was_written() -> None:
    one = state("dc1", 1234.5, b="a")
    assert checkpoint.state_of(one.as_json(), "k") == one
    for bad in (
        *(b"", b"{}", b"[]", b"7", b'{"format": 1}', b'{"format": 9, "source": "a", "prefixes": {}}', b"\xff"),
        *(one.as_json().replace(b"1234.5", wrong) for wrong in (b"1e300", b"-1", b"NaN", b"null", b"[]")),
        *(one.as_json().replace(b'"a/"', wrong) for wrong in (b"null", b"5", b"{}")),
        one.as_json().replace(b'"dc1"', b"null"),
    ):
        with pytest.raises(InvalidLedger):
            checkpoint.state_of(bad, "k")


def test_a_state_keeps_the_prefixes_of_other_tasks_and_its_time_grows() -> None:
    old = checkpoint.State("dc1", {prefix: checkpoint.Origin(prefix, 100.0) for prefix in ("other/", "app/web/", "")})
    new = checkpoint.successor(old, "dc1", mappings({"source": "app/"}), 50.0)
    assert new.prefixes == {
        "": checkpoint.Origin("", 100.0),
        "other/": checkpoint.Origin("other/", 100.0),
        "app/": checkpoint.Origin("app/", 100.0 + checkpoint.TICK_S),
    }
    beside = checkpoint.successor(old, "dc1", mappings({"source": "app/", "exclude": ["web"]}), 500.0)
    assert sorted(beside.prefixes) == ["", "app/", "app/web/", "other/"]
    assert checkpoint.successor(old, "dc9", mappings({"source": "app/"}), 500.0) == state("dc9", 500.0, app="app")


def test_circles_between_datacenters_are_seen_until_the_direction_is_turned() -> None:
    back = {"dc2": state("dc2", 100.0, app="copy")}
    forth = mappings({"source": "app/web/", "destination": "copy/web/"})
    found, newest = checkpoint.find_loops(back, "dc1", "dc2", None, forth)
    assert len(found) == 1 and newest == 100.0
    assert checkpoint.find_loops(back, "dc1", "dc3", None, forth) == ([], 0.0)
    assert checkpoint.find_loops(back, "dc1", "dc2", None, mappings({"source": "app/"})) == ([], 0.0)
    assert len(checkpoint.find_loops(back, "dc1", "dc2", state("dc1", 99.0, copy="app"), forth)[0]) == 1
    turned = checkpoint.successor(None, "dc1", forth, now=50.0, after=newest)
    assert checkpoint.find_loops(back, "dc1", "dc2", turned, forth) == ([], 0.0), (
        "turned round, whatever the clock says"
    )


def test_turning_one_prefix_round_says_nothing_about_another() -> None:
    """One name for two tasks: what the one writes is no reason to let the other go on, nor to stop it."""
    forth = state("dc1", 100.0, app="app", config="config")
    back = checkpoint.successor(None, "dc2", mappings({"source": "app/"}), 0.0, after=100.0)
    later = checkpoint.successor(forth, "dc1", mappings({"source": "config/"}), 500.0)
    app, config = mappings({"source": "app/"}), mappings({"source": "config/"})
    assert len(checkpoint.find_loops({"dc2": back}, "dc1", "dc2", later, app)[0]) == 1
    assert checkpoint.find_loops({"dc2": back}, "dc1", "dc2", later, config) == ([], 0.0)
    assert checkpoint.find_loops({"dc1": later}, "dc2", "dc1", back, app) == ([], 0.0)


def test_a_folder_that_is_excluded_is_no_circle() -> None:
    into_it = {"dc1": checkpoint.State("dc1", {"app/sub/": checkpoint.Origin("app/", 100.0)})}
    assert len(checkpoint.find_loops(into_it, "dc2", "dc1", None, mappings({"source": "app/"}))[0]) == 1
    for exclude in ("sub", "sub/", "s*", "**", "sub/*"):
        beside = mappings({"source": "app/", "exclude": [exclude]})
        assert checkpoint.find_loops(into_it, "dc2", "dc1", None, beside) == ([], 0.0), exclude
    for exclude in ("sub/a", "sub/?", "subs", "*/x"):
        beside = mappings({"source": "app/", "exclude": [exclude]})
        assert len(checkpoint.find_loops(into_it, "dc2", "dc1", None, beside)[0]) == 1, exclude


@pytest.mark.parametrize(
    ("prefix", "moved"),
    [
        ({"source": "app/", "destination": "dr/"}, ""),
        ({"source": "app/web/", "destination": "dr/web/"}, ""),
        ({"source": "ap/", "destination": "dr/"}, "dr/ was origin from 'app/' until now, and shall be from 'ap/'"),
        ({"source": "web/", "destination": "dr/web/"}, "dr/web/ was origin from 'app/web/' until now"),
        ({"source": "", "destination": ""}, "dr/ was origin from 'app/' until now, and shall be from 'dr/'"),
        ({"source": "", "destination": "", "exclude": ["dr"]}, ""),
        ({"source": "x/", "destination": "own/part/"}, ""),
        ({"source": "own/", "exclude": ["part"]}, ""),
        ({"source": "own/"}, "own/part/ was origin from 'x/' until now"),
    ],
)
def test_another_source_for_a_destination_is_noticed(prefix: dict[str, t.Any], moved: str) -> None:
    places = {"dr/": "app/", "own/": "own/", "own/part/": "x/"}
    if prefix["source"] == "":
        places = {"dr/": "app/"}
    old = checkpoint.State("dc1", {there: checkpoint.Origin(here, 1.0) for there, here in places.items()})
    found = checkpoint.changed_sources(old, mappings(prefix))
    assert bool(found) == bool(moved) and moved in "".join(found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "a/b"}, "name 'a/b'"),
        ({"name": ".."}, "name"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"concurrency": 99}, "gains nothing"),
        ({"lock_wait_s": -1.0}, "lock_wait is -1"),
        ({"retry_s": float("nan")}, "retry_timeout is nan"),
        ({"limits": delete_guards.Limits(max_deletes=10**10)}, "less than 1,000,000,000"),
        ({"limits": delete_guards.Limits(max_deletes=-1)}, "max_deletes is -1"),
    ],
)
def test_numbers_and_names_that_cannot_be_meant_are_refused(changes: dict[str, t.Any], said: str) -> None:
    request = prepare.ReplicationRequest(tuple(mappings({"source": "a/"})))._replace(**changes)
    with pytest.raises(errors.InvalidOption, match=said):
        request.check()


@pytest.mark.parametrize(("text", "size"), [("auto", None), ("2", 2), ("128", 128)])
def test_batch_sizes(text: str, size: int | None) -> None:
    assert prepare.batch_size(text) == size


@pytest.mark.parametrize("text", ["0", "1", "129", "-5", "many", "", "²", "٣"])
def test_batch_sizes_that_no_server_takes_are_refused(text: str) -> None:
    with pytest.raises(errors.InvalidOption, match="batch_ops"):
        prepare.batch_size(text)


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (errors.NoLeader("x"), True),
        (errors.TimedOut("x"), True),
        (errors.ServerFailed("x"), True),
        (errors.TLSFailed("x"), False),
        (errors.PermissionDenied("x"), False),
        (errors.InvalidResponse("x"), False),
    ],
)
def test_only_what_can_pass_is_tried_again(error: errors.ConsulError, passing: bool) -> None:
    tried = []

    def work() -> str:
        tried.append(1)
        if len(tried) == 1:
            raise error
        return "done"

    if passing:
        assert retry.RetryPolicy(5).run(work) == "done"
        with pytest.raises(type(error)):
            tried.clear()
            retry.RetryPolicy(0).run(work)
    else:
        with pytest.raises(type(error)):
            retry.RetryPolicy(5).run(work)
        assert len(tried) == 1
