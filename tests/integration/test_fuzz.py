# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real snapshots, damaged at random: each is refused with one sentence or reads as the same snapshot."""

from __future__ import annotations

import gzip
import io
import tarfile
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.compare import compare
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.errors import BadSnapshot
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.summary import Summary, summarize
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab import craft
from tests.lab.consul import Lab
from tests.lab.fill import fill


class Data(bytes):
    """Bytes with a short repr, for the output of a failing test."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """A real snapshot with a record of nearly every type."""
    with Lab(tmp_path_factory.mktemp("fuzz")) as lab:
        datacenter = lab.datacenter(acl=True)
        fill(datacenter, keys=40)
        return Data(datacenter.snapshot())


def read(data: bytes) -> Summary:
    return summarize(io.BytesIO(data), "it", as_of=0, kv_depth=2)


def refused_or_same(data: bytes, original: Summary) -> None:
    """A damaged file must never read as another snapshot, and never raise anything but BadSnapshot."""
    try:
        found = read(data)
    except BadSnapshot as error:
        assert str(error).startswith("it is not a usable snapshot: ") and "\n" not in str(error)
    else:
        assert (found.digest, found.tables) == (original.digest, original.tables)


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_changes_nothing(real: Data, position: float, bit: int) -> None:
    data = bytearray(real)
    data[int(position * len(data))] ^= 1 << bit
    refused_or_same(bytes(data), read(real))


@given(position=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_short_is_refused(real: Data, position: float) -> None:
    with pytest.raises(BadSnapshot, match="cut short|ends where|ends in the middle|empty"):
        read(real[: int(position * len(real))])


@given(garbage=st.binary(min_size=1, max_size=600))
def test_garbage_after_the_end_is_refused(real: Data, garbage: bytes) -> None:
    with pytest.raises(BadSnapshot, match="more data after the end of the gzip stream"):
        read(real + garbage)


@given(position=st.floats(0, 1, exclude_max=True), patch=st.binary(min_size=1, max_size=12))
def test_overwritten_bytes_inside_the_archive_are_refused_or_change_nothing(
    real: Data, position: float, patch: bytes
) -> None:
    inside = bytearray(gzip.decompress(real))
    start = int(position * len(inside))
    inside[start : start + len(patch)] = patch
    refused_or_same(gzip.compress(bytes(inside), 1), read(real))


@given(
    patches=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4
    )
)
@settings(max_examples=300)
def test_hostile_records_with_the_right_sums_are_refused_or_read(
    real: Data, patches: list[tuple[float, bytes]]
) -> None:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(real))) as archive:
        state = bytearray(t.cast("t.IO[bytes]", archive.extractfile("state.bin")).read())
    for position, patch in patches:
        start = int(position * len(state))
        state[start : start + len(patch)] = patch
    members = {"meta.json": craft.meta(len(state)), "state.bin": bytes(state)}
    data = craft.pack({**members, "SHA256SUMS": craft.sums(members)})
    try:
        found = compare((io.BytesIO(real), "it"), (io.BytesIO(data), "it"), as_of=0)
    except BadSnapshot as error:
        assert str(error).startswith("it is not a usable snapshot: ") and "\n" not in str(error)
    else:
        assert found.after.records > 0


@given(cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_a_body_that_arrives_in_pieces_of_any_size_reads_the_same(real: Data, cuts: list[int]) -> None:
    class Pieces:
        """A source whose reads return fewer bytes than requested."""

        def __init__(self) -> None:
            self.left = io.BytesIO(real)
            self.turn = 0

        def read(self, size: int) -> bytes:
            self.turn += 1
            return self.left.read(min(size, cuts[self.turn % len(cuts)]))

    source: t.Any = Pieces()
    assert summarize(source, "it", as_of=0, kv_depth=2) == read(real)
