# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shard plans for every set of names that hypothesis can think of."""

from __future__ import annotations

import bisect

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.key_path import is_addressable
from ansible_collections.consulops.failover.plugins.module_utils._consul.shard_plan import ShardSpec, plan_shards
from hypothesis import given
from hypothesis import strategies as st

prefixes = st.sampled_from(["", "app/", "a", "a/b"])
names = st.lists(st.text("ab/.\ufffdé\U0010ffff", min_size=1, max_size=8), unique=True, max_size=60)
# Each name continues the one before it: the shape that a plan by prefixes finds hardest.
nested_names = st.lists(st.text("ab/", min_size=1, max_size=2), max_size=60).map(
    lambda parts: sorted({"".join(parts[: number + 1]) for number in range(len(parts))})
)


def covers(shard: ShardSpec, key: str) -> bool:
    return key == shard.prefix if shard.exact else key.startswith(shard.prefix)


def size_of(shard: ShardSpec, keys: list[str]) -> int:
    return sum(covers(shard, key) for key in keys)


@given(prefix=prefixes, names=names | nested_names, size=st.integers(1, 10))
def test_every_key_is_in_exactly_one_shard(prefix: str, names: list[str], size: int) -> None:
    keys = sorted(prefix + name for name in names)
    plan = plan_shards(keys, prefix, size)
    for key in keys:
        assert sum(covers(shard, key) for shard in plan) == 1


@given(prefix=prefixes, names=names | nested_names, size=st.integers(1, 10))
def test_every_shard_is_below_the_prefix_and_has_keys(prefix: str, names: list[str], size: int) -> None:
    keys = sorted(prefix + name for name in names)
    for shard in plan_shards(keys, prefix, size):
        assert shard.prefix.startswith(prefix) and size_of(shard, keys) > 0


@given(names=names, size=st.integers(1, 10))
def test_a_shard_prefix_can_stand_in_an_address(names: list[str], size: int) -> None:
    for shard in plan_shards(sorted(names), "", size):
        assert "//" not in shard.prefix and "\ufffd" not in shard.prefix and not shard.prefix.startswith("/")
        assert not any(element in (".", "..") for element in shard.prefix.split("/"))


@given(names=names | nested_names, size=st.integers(1, 10))
def test_a_shard_is_larger_than_the_limit_only_when_addresses_cannot_split_it(names: list[str], size: int) -> None:
    keys = sorted(names)
    for shard in plan_shards(keys, "", size):
        inside = [key for key in keys if covers(shard, key)]
        if len(inside) > size:
            longest = max(len(key) for key in inside)
            assert any(not is_addressable(key[:end]) for key in inside for end in range(longest + 1))


@given(count=st.integers(0, 3000), size=st.integers(1, 500))
def test_ordinary_stores_are_split_small_enough(count: int, size: int) -> None:
    keys = sorted(f"app/{number % 7}/{number:05d}" for number in range(count))
    for shard in plan_shards(keys, "", size):
        first = bisect.bisect_left(keys, shard.prefix)
        end = first + 1 if shard.exact else bisect.bisect_left(keys, shard.prefix + "\U0010ffff")
        assert 0 < end - first <= size


@pytest.mark.parametrize(("chains", "depth"), [(1, 3_000), (100, 1_000)])
def test_names_may_nest_thousands_deep(chains: int, depth: int) -> None:
    keys = [f"{chain:03d}" + "a" * length for chain in range(chains) for length in range(depth)]
    plan = plan_shards(keys, "", 500)
    exact = {shard.prefix for shard in plan if shard.exact}
    below = [shard.prefix for shard in plan if not shard.exact]
    assert len(below) == chains  # in each chain the last 500 names are one shard, those before it stand alone
    assert len(exact) == chains * (depth - 500)
    assert all(key in exact or any(key.startswith(prefix) for prefix in below) for key in keys[:: depth // 20])
