# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger: which keys a replication owns, whatever happened in whatever order."""

from __future__ import annotations

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._replication.ledger import (
    EDITED,
    FOREIGN,
    OWNED,
    InvalidLedger,
    Ledger,
    fingerprint_of_hash,
    key_id,
    prefix_id,
)
from hypothesis import given
from hypothesis import strategies as st

# Three keys of one bucket and one of another. A content hash may look like a key_id, or like a prefix_id and a mark.
SAME_BUCKET = [key for key in map(str, range(5000)) if key_id(key)[0] == 7][:3]
PREFIX_IDS = dict(zip([*SAME_BUCKET, "d"], [prefix_id("one/"), prefix_id("one/"), prefix_id("two/"), prefix_id("")]))
CONTENTS = [bytes(8), key_id(SAME_BUCKET[0]), prefix_id("one/") + b"\1" + key_id(SAME_BUCKET[1])[:4]]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["record intent", "commit", "forget", "abort", "abort all", "mark seen", "forget unseen"]),
        st.sampled_from(sorted(PREFIX_IDS)),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_the_ledger_agrees_with_a_simple_model_after_any_steps(steps: list[tuple[str, str, int, bool]]) -> None:
    ledger = Ledger()
    committed, intended, seen = dict[str, bytes](), dict[str, set[bytes]](), set[str]()
    stored: dict[int, bytes] = {}
    parts: dict[int, bytes] = {}
    has_dropped = False  # a part does not say so
    for verb, key, number, is_part in steps:
        content, prefix_id = CONTENTS[number], PREFIX_IDS[key]
        intents = intended.setdefault(key, set())
        if verb == "record intent":
            ledger.record_intent([fingerprint_of_hash(key, content)], prefix_id)
            if committed.get(key) != content:
                intents.add(content)
        elif verb == "commit":
            ledger.commit([fingerprint_of_hash(key, content)], prefix_id)
            committed[key] = content
            intents.clear()
        elif verb == "abort":
            ledger.abort(fingerprint_of_hash(key, content))
            intents.discard(content)
        elif verb == "abort all":
            ledger.abort_all({prefix_id})
            intended = {name: set() if PREFIX_IDS[name] == prefix_id else known for name, known in intended.items()}
        elif verb == "mark seen":
            # A key without records need not be remembered as seen, and is not always.
            if committed.get(key) or intents:
                ledger.mark_seen(key_id(key))
                seen.add(key)
        elif verb == "forget unseen":
            ledger.forget_unseen({prefix_id})
            for name in [name for name in PREFIX_IDS if PREFIX_IDS[name] == prefix_id and name not in seen]:
                committed.pop(name, None)
                intended[name] = set()
            seen = set()
        else:
            ledger.forget(key)
            committed.pop(key, None)
            intents.clear()
        has_dropped = has_dropped or verb not in ("record intent", "commit", "mark seen")
        if is_part:
            parts.update([ledger.take_part()])
        else:
            stored.update(ledger.take_dirty())
            assert ledger.take_parts() == sorted(parts)
            parts.clear()
            has_dropped = False
        loaded = Ledger({number: data for number, data in stored.items() if data}, parts)
        assert loaded.parts == ledger.parts and not (loaded.dirty and not parts)
        for read in (ledger, *([] if has_dropped else [loaded])):
            assert len(read) == len(committed) + sum(map(len, intended.values()))
            for name in PREFIX_IDS:
                assert read.was_committed(key_id(name)) == (name in committed)
                for content_hash in CONTENTS:
                    owned = content_hash == committed.get(name) or content_hash in intended.get(name, set())
                    assert read.state(fingerprint_of_hash(name, content_hash)) == (
                        OWNED if owned else EDITED if name in committed else FOREIGN
                    )
                    assert read.is_committed(fingerprint_of_hash(name, content_hash)) == (
                        content_hash == committed.get(name)
                    )


@pytest.mark.parametrize("data", [b"", b"own2" + bytes(20), b"own1" + bytes(19), b"{}"])
def test_data_that_is_not_a_bucket_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidLedger):
        Ledger({3: data})
    with pytest.raises(InvalidLedger):
        Ledger({}, {3: data})


def test_a_ledger_that_grew_is_the_one_that_was_stored() -> None:
    grown, one = Ledger(), prefix_id("one/")
    fingerprints = [fingerprint_of_hash(str(number), key_id(f"content {number}")) for number in range(40_000)]
    for fingerprint in fingerprints:
        grown.record_intent([fingerprint], one)
    grown.commit(fingerprints[:30_000], one)
    for number in range(100):
        grown.forget(str(number))
        grown.abort(fingerprints[39_999 - number])
    loaded = Ledger(grown.take_dirty())
    assert not loaded.dirty and len(loaded) == len(grown) == 39_800
    for ledger in (grown, loaded):
        assert [ledger.is_committed(one) for one in fingerprints[99:30_001]] == [False] + 29_900 * [True] + [False]
        assert [ledger.state(one) for one in fingerprints[39_898:39_901]] == [OWNED, OWNED, FOREIGN]
        for number in (0, 100, 29_999, 30_000):
            assert ledger.was_committed(key_id(str(number))) == (number in (100, 29_999))
    loaded.abort_all({one})
    assert len(loaded) == 29_900 and all(loaded.bucket(number) for number in range(256))
    loaded.mark_seen(key_id("100"))
    loaded.forget_unseen({one})
    assert len(loaded) == 1 and loaded.take_dirty()[fingerprints[100][0]] != b""
