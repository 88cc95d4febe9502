# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A replication that begins to copy in the reversed direction changes what the other direction had copied, and nothing else."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.kv import Entry
from ansible_collections.consulops.failover.plugins.module_utils._replication.inheritance import Inheritance
from ansible_collections.consulops.failover.plugins.module_utils._replication.ledger import (
    Ledger,
    fingerprint_of,
    prefix_id,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.plan import Policy, plan_shard
from ansible_collections.consulops.failover.plugins.module_utils._replication.prefix_options import make_mappings
from hypothesis import given
from hypothesis import strategies as st

# One key as the other direction copied it, as it is where that copied it to (now the source), where it copied it from (now the
# destination), and as the own ledger has it from an earlier time. None for no key, or no record.
values = st.sampled_from([None, b"1", b"2", b"3"])
histories = st.fixed_dictionaries({name: st.tuples(values, values, values, values) for name in ("a", "b/c", "out")})
NAMES = [("", ""), ("app/", "app/"), ("app/", "dr/")]


def ledger_of(prefix: str, contents: t.Mapping[str, bytes | None]) -> Ledger:
    ledger = Ledger()
    for name, value in contents.items():
        if value is not None:
            ledger.commit([fingerprint_of(prefix + name, value, 0)], prefix_id(prefix))
    return ledger


def entries(prefix: str, contents: t.Mapping[str, bytes | None]) -> list[Entry]:
    return [Entry(prefix + name, value, 0, 7) for name, value in sorted(contents.items()) if value is not None]


@given(histories, st.sampled_from(NAMES))
def test_what_was_changed_where_keys_were_copied_from_is_kept(
    history: dict[str, tuple[bytes | None, ...]], prefixes: tuple[str, str]
) -> None:
    source_prefix, destination_prefix = prefixes
    copied, source, destination, old = ({name: values[which] for name, values in history.items()} for which in range(4))
    mapping = make_mappings(
        [{"source": source_prefix, "destination": destination_prefix, "exclude": ["out"]}], "owned"
    )[0]
    ledger = ledger_of(destination_prefix, old)
    at_source, at_destination = entries(source_prefix, source), entries(destination_prefix, destination)
    inheritance = Inheritance([ledger_of(source_prefix, copied)])
    inheritance.take_over(ledger, mapping, at_source, at_destination)
    inheritance.take_over(ledger, mapping, at_source, at_destination)  # a run that was interrupted does it again
    found = plan_shard(mapping, Policy("keep"), ledger, at_source, at_destination)
    changed = {change.key[len(destination_prefix) :] for change in [*found.changes, *found.to_delete]}
    conflicts = {problem.key[len(destination_prefix) :] for problem in found.conflicts}
    for name in ("a", "b/c"):
        was_changed_there = destination[name] != copied[name]
        is_different = source[name] != destination[name]
        assert (name in changed) == (is_different and not was_changed_there), name
        only_new = destination[name] is not None and source[name] is None and copied[name] is None
        assert (name in conflicts) == (is_different and was_changed_there and not only_new), name
    assert "out" not in changed | conflicts


@pytest.mark.parametrize("prefixes", NAMES)
def test_keys_that_are_equal_belong_to_the_replication_only_if_the_other_direction_copied_them(
    prefixes: tuple[str, str],
) -> None:
    source_prefix, destination_prefix = prefixes
    mapping = make_mappings([{"source": source_prefix, "destination": destination_prefix}], "owned")[0]
    contents: dict[str, bytes | None] = {"copied": b"1", "other": b"1"}
    ledger = Ledger()
    Inheritance([ledger_of(source_prefix, {"copied": b"1"})]).take_over(
        ledger, mapping, entries(source_prefix, contents), entries(destination_prefix, contents)
    )
    states = {name: ledger.state(fingerprint_of(destination_prefix + name, b"1", 0)) for name in contents}
    assert states == {"copied": "owned", "other": "foreign"}
