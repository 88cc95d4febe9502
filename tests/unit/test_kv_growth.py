# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The largest folders of keys in a snapshot, and their growth since the one before."""

from __future__ import annotations

from ansible_collections.consulops.failover.plugins.module_utils._snapshot.kv_growth import (
    LARGEST,
    NO_FOLDER,
    OTHERS,
    FolderGrowth,
    growth,
    largest,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.tables import Prefix
from hypothesis import given
from hypothesis import strategies as st

PREFIXES = st.builds(Prefix, st.sampled_from(["a/", "b/", "c", "d", OTHERS]), st.integers(1, 9), st.integers(1, 99))


def test_keys_without_a_folder_are_one_row_so_that_no_name_of_a_key_is_told() -> None:
    found = largest([Prefix("app/", 2, 20), Prefix("secret-key", 1, 500), Prefix("other-key", 1, 7)])
    assert found == (Prefix(NO_FOLDER, 2, 507), Prefix("app/", 2, 20))


def test_only_the_largest_folders_have_rows_of_their_own() -> None:
    many = [Prefix(f"{number:03}/", 1, 1000 - number) for number in range(LARGEST + 5)]
    found = largest([*many, Prefix(OTHERS, 4, 9)])
    assert len(found) == LARGEST + 1 and found[0].prefix == "000/"
    assert found[-1] == Prefix(OTHERS, 9, sum(one.bytes for one in many[LARGEST:]) + 9)


@given(st.lists(PREFIXES, max_size=9))
def test_nothing_is_lost_or_counted_twice(found: list[Prefix]) -> None:
    rows = largest(found)
    assert sum(one.bytes for one in rows) == sum(one.bytes for one in found)
    assert sum(one.keys for one in rows) == sum(one.keys for one in found)
    assert len({one.prefix for one in rows}) == len(rows)


def test_the_fastest_growing_folder_is_first_and_one_that_is_gone_shrank() -> None:
    before = [Prefix("a/", 1, 100), Prefix("b/", 1, 50), Prefix("gone/", 1, 30)]
    newest = [Prefix("a/", 1, 90), Prefix("b/", 3, 75), Prefix("new/", 1, 5)]
    assert growth(newest, before) == (
        FolderGrowth("b/", 3, 75, 25),
        FolderGrowth("new/", 1, 5, 5),
        FolderGrowth("a/", 1, 90, -10),
        FolderGrowth("gone/", 0, 0, -30),
    )


def test_without_one_before_the_growth_is_not_known() -> None:
    assert [one.growth for one in growth([Prefix("a/", 1, 1)], [])] == [None]
