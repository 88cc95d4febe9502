# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The probe of services: DNS messages of any kind, what a series of look-ups comes to, and what was expected of it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors
from ansible_collections.consulops.failover.plugins.module_utils._failover import dns_message, probe_track
from ansible_collections.consulops.failover.plugins.module_utils._failover.dns_client import DnsServer
from ansible_collections.consulops.failover.plugins.module_utils._failover.dns_message import TYPE_A, TYPE_SRV, Target
from ansible_collections.consulops.failover.plugins.module_utils._failover.probe_track import (
    Expected,
    Sample,
    Status,
    Track,
)
from ansible_collections.consulops.failover.plugins.module_utils._tasks.service_probe import SERVICE_PROBE
from ansible_collections.consulops.failover.plugins.module_utils._tasks.task import Invocation
from hypothesis import given
from hypothesis import strategies as st

NAME = "web.query.consul"
ADDRESS = "127.0.53.53"
labels = st.text("abcdefghijklmnopqrstuvwxyzABZ0123456789-_", min_size=1, max_size=63)
hosts = st.lists(labels, min_size=1, max_size=3).map(".".join)


def name_bytes(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def record(data: bytes, kind: int) -> bytes:
    return b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 5, len(data)) + data


def srv(host: str, port: int, encoded: bytes | None = None) -> bytes:
    return record(struct.pack(">HHH", 1, 1, port) + (name_bytes(host) if encoded is None else encoded), TYPE_SRV)


def message(
    *records: bytes, kind: int = TYPE_SRV, flags: int = 0x8400, identifier: int = 7, name: str = NAME, more: bytes = b""
) -> bytes:
    header = struct.pack(">HHHHHH", identifier, flags, 1, len(records), 0, 0)
    return header + name_bytes(name) + struct.pack(">HH", kind, 1) + b"".join(records) + more


# ---------------------------------------------------------------------------------------------------------------
# Messages


@given(st.lists(st.tuples(hosts, st.integers(0, 65535)), max_size=5), st.binary(max_size=20))
def test_the_targets_of_an_answer_are_read(instances: list[tuple[str, int]], more: bytes) -> None:
    found = dns_message.answer(message(*(srv(host, port) for host, port in instances), more=more), NAME, TYPE_SRV)
    assert found.targets == tuple(Target(host, port) for host, port in instances)
    assert found.code == 0 and not found.is_truncated


def test_addresses_and_compressed_names_are_read() -> None:
    address = message(record(b"\x7f\x00\x00\x01", TYPE_A), record(b"", 16), kind=TYPE_A)
    assert dns_message.answer(address, NAME, TYPE_A).targets == (Target("127.0.0.1", 0),)
    shared = b"\x02n1\x04node\x03dc2" + struct.pack(">H", 0xC000 | (12 + 10))  # the last label of the question
    found = dns_message.answer(message(srv("", 80, shared), name=NAME), NAME.upper(), TYPE_SRV)
    assert found.targets == (Target("n1.node.dc2.consul", 80),)
    assert dns_message.datacenter_of(found.targets[0].name, "consul") == "dc2"


@given(st.binary(max_size=300))
def test_bytes_are_never_more_than_a_value_error(data: bytes) -> None:
    for body in (data, message()[:-4] + data, message(more=b"")[:6] + b"\xff\xff" + message()[8:] + data):
        with contextlib.suppress(ValueError):
            dns_message.answer(body, NAME, TYPE_SRV)


@given(st.lists(st.tuples(hosts, st.integers(0, 65535)), min_size=1, max_size=3), st.data())
def test_a_message_that_ends_too_early_is_refused(instances: list[tuple[str, int]], data: st.DataObject) -> None:
    whole = message(*(srv(host, port) for host, port in instances))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"."):
        dns_message.answer(whole[:cut], NAME, TYPE_SRV)


def test_pointers_in_a_circle_and_answers_to_other_questions_are_refused() -> None:
    start = len(message()) + 2 + 10 + 6
    itself = srv("", 1, struct.pack(">H", 0xC000 | start))
    forward = srv("", 1, struct.pack(">H", 0xC000 | (start + 2)) + b"\x01a\0")
    for wrong in (
        message(itself),
        message(forward),
        message(name="api.query.consul"),
        message(kind=TYPE_A),
        message(flags=0),
    ):
        with pytest.raises(ValueError, match=r"."):
            dns_message.answer(wrong, NAME, TYPE_SRV)


@given(hosts, st.integers(0, 65535))
def test_a_question_is_the_name_that_was_asked_for(name: str, identifier: int) -> None:
    asked = dns_message.question(identifier, name, TYPE_SRV)
    assert asked[:2] == struct.pack(">H", identifier)
    as_answer = asked[:2] + b"\x84\x00" + asked[4:]
    assert dns_message.answer(as_answer, name, TYPE_SRV).targets == ()


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, "ü.service.consul", ".".join(["abcdefgh"] * 30)])
def test_what_is_not_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of DNS"):
        dns_message.question(1, name, TYPE_A)


@pytest.mark.parametrize(
    ("host", "datacenter"),
    [
        ("n.node.dc2.consul", "dc2"),
        ("7f000001.addr.dc3.CONSUL", "dc3"),
        ("a.b.node.dc2.consul", "dc2"),
        ("n.node.consul", None),
        ("x.y", None),
    ],
)
def test_a_host_name_of_consul_says_its_datacenter(host: str, datacenter: str | None) -> None:
    assert dns_message.datacenter_of(host, "consul.") == datacenter


class OneAnswer:
    """A DNS server on loopback that answers each question by UDP and TCP with what it was given."""

    def __init__(self, by_udp: t.Callable[[bytes], bytes], by_tcp: t.Callable[[bytes], bytes]) -> None:
        # On an address that nothing else has, so that the port that TCP gives is free for UDP too.
        self._tcp = socket.create_server((ADDRESS, 0))
        self.port = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((ADDRESS, self.port))
        self._answers = (by_udp, by_tcp)
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def _serve_udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, sender = self._udp.recvfrom(4096)
                if sender is None:  # it was closed
                    return
                self._udp.sendto(b"\0\0", sender)  # one that does not belong to the question is passed over
                self._udp.sendto(self._answers[0](question), sender)

    def _serve_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _sender = self._tcp.accept()
                with connection:
                    question = connection.recv(4096)[2:]
                    answer = self._answers[1](question)
                    connection.sendall(struct.pack(">H", len(answer)) + answer)

    def __enter__(self) -> OneAnswer:
        return self

    def __exit__(self, *_args: object) -> None:
        for one in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def reply(question: bytes, *records: bytes, flags: int = 0x8400) -> bytes:
    return message(*records, flags=flags, identifier=struct.unpack(">H", question[:2])[0])


def test_an_answer_that_was_cut_is_asked_for_by_tcp() -> None:
    with OneAnswer(
        lambda asked: reply(asked, flags=0x8600), lambda asked: reply(asked, srv("a.node.dc2.consul", 80))
    ) as server:
        found = DnsServer(ADDRESS, server.port, 5.0).look_up(NAME, TYPE_SRV)
    assert found.targets == (Target("a.node.dc2.consul", 80),)


def test_what_is_no_answer_of_dns_is_one_sentence() -> None:
    with (
        OneAnswer(lambda asked: asked[:2] + b"\x80\0 hello, who is there?", lambda _asked: b"") as server,
        pytest.raises(errors.InvalidResponse, match="gave no answer for"),
    ):
        DnsServer(ADDRESS, server.port, 5.0).look_up(NAME, TYPE_SRV)


def test_a_port_where_nobody_listens_is_one_sentence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((ADDRESS, 0))
        port = taken.getsockname()[1]
    with pytest.raises(errors.Unreachable, match="cannot be asked for"):
        DnsServer(ADDRESS, port, 5.0).look_up(NAME, TYPE_SRV)


def test_silence_ends_with_the_timeout() -> None:
    with (
        OneAnswer(lambda _asked: b"", lambda _asked: b"") as server,
        pytest.raises(errors.TimedOut, match=r"within 0.2 s"),
    ):
        DnsServer(ADDRESS, server.port, 0.2).look_up(NAME, TYPE_SRV)


# ---------------------------------------------------------------------------------------------------------------
# A series of look-ups

statuses = st.sampled_from(
    [
        (Status.ANSWERED, "dc1"),
        (Status.ANSWERED, "dc2"),
        (Status.EMPTY, None),
        (Status.NO_LEADER, None),
        (Status.UNKNOWN, None),
    ]
)


@st.composite
def series(draw: st.DrawFn) -> list[Sample]:
    """Look-ups one after the other, in whole seconds."""
    now, found = 0, []
    for status, datacenter in draw(st.lists(statuses, min_size=1, max_size=30)):
        begin = now + draw(st.integers(0, 3))
        now = begin + draw(st.integers(0, 3))
        found.append(Sample(begin, now, status, datacenter))
    return found


@given(series())
def test_gaps_and_changes_are_those_of_all_look_ups(samples: list[Sample]) -> None:
    track = Track()
    for sample in samples:
        track.add(sample)
    result = track.as_result()
    gaps: list[list[t.Any]] = []
    for before, sample in zip([None, *samples], samples):
        is_answer = sample.status is Status.ANSWERED
        was_answer = before is None or before.status is Status.ANSWERED
        if not is_answer and was_answer:
            gaps.append([sample.begin_s, sample.end_s, False])
        elif not was_answer:
            gaps[-1][1:] = [sample.end_s, is_answer]
    assert [[gap["begin"], gap["begin"] + gap["seconds"], gap["is_over"]] for gap in result["gaps"]] == gaps
    assert result["longest_gap"] == max([end - begin for begin, end, _over in gaps], default=0)
    keys = [(sample.status.value, sample.datacenter) for sample in samples]
    changes = [sample.end_s for before, key, sample in zip([None, *keys], keys, samples) if key != before]
    assert [change["at"] for change in result["changes"]] == changes and result["since"] == changes[-1]
    assert result["answers"] == {"answered": True, "empty": False}.get(keys[-1][0])
    assert result["without_answer"] == sum(key[0] != "answered" for key in keys)


def test_what_is_shown_is_bounded_and_the_rest_is_counted() -> None:
    track = Track()
    for number in range(3 * probe_track.MAX_SHOWN):
        track.add(
            Sample(number, number, Status.ANSWERED if number % 2 else Status.EMPTY, "dc1" if number % 2 else None)
        )
    result = track.as_result()
    assert len(result["gaps"]) == len(result["changes"]) == probe_track.MAX_SHOWN
    assert result["gap_count"] == 3 * probe_track.MAX_SHOWN / 2 and result["change_count"] == 3 * probe_track.MAX_SHOWN


def of(*looks: tuple[float, Status, str | None]) -> Track:
    track = Track()
    for at, status, datacenter in looks:
        track.add(Sample(at, at, status, datacenter, problem="" if status is Status.ANSWERED else "It is gone."))
    return track


LOCAL, OTHER, NOBODY = (Status.ANSWERED, "dc1"), (Status.ANSWERED, "dc2"), (Status.EMPTY, None)


@pytest.mark.parametrize(
    ("track", "expected", "words"),
    [
        (of((0, *LOCAL), (4, *NOBODY), (6, *OTHER)), Expected("dc2", 10, None), ""),
        (of((0, *LOCAL), (4, *NOBODY), (12, *OTHER)), Expected("dc2", 10, None), "they came after 12.0 s"),
        (of((0, *LOCAL), (12, *LOCAL)), Expected("dc2", 10, None), "since 0.0 s they come from dc1"),
        (of((0, *OTHER), (3, *NOBODY)), Expected("dc2", 10, None), "since 3.0 s there is none: It is gone"),
        (of((0, *OTHER), (3, *NOBODY), (9, *OTHER)), Expected(None, None, 5), "nobody answered for 6.0 s; at most 5 s"),
        (of((0, *LOCAL)), Expected(None, None, 5), ""),
        (of((0, Status.ANSWERED, None)), Expected("dc2", None, None), "from an unknown datacenter"),
        (of((0, Status.ANSWERED, None)), Expected(None, None, None), ""),
        (Track(), Expected(None, None, None), "was not looked up"),
    ],
)
def test_what_was_not_as_expected_is_said(track: Track, expected: Expected, words: str) -> None:
    missed = expected.miss(track)
    assert (words in missed) if words else missed == ""


def refusal(**options: t.Any) -> str:
    defaults = {name: rules.get("default") for name, rules in SERVICE_PROBE.spec.items()}
    expect = options.get("expect")
    if expect is not None:
        options["expect"] = {"datacenter": None, "within": None, "max_gap": None, **expect}
    with pytest.raises(errors.InvalidOption) as refused:
        SERVICE_PROBE.perform(Invocation({**defaults, "url": "http://127.0.0.1:1", **options}, environ={}))
    return str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing to look up"),
        ({"services": [""]}, "nothing to look up"),
        ({"services": [f"s{number}" for number in range(65)]}, "more than 64 look-ups"),
        ({"queries": ["web"], "interval": "1ms"}, "is shorter than"),
        ({"queries": ["web"], "duration": "soon"}, "is not a duration"),
        ({"queries": ["web"], "dns_port": 0}, "is no port"),
        (
            {"queries": ["web"], "ways": ["dns"], "dns_record": "a", "expect": {"datacenter": "dc2"}},
            "needs dns_record srv",
        ),
        ({"queries": ["web"], "expect": {"within": "0"}}, "above 0"),
        ({"queries": ["w" * 64], "ways": ["dns"]}, "cannot be looked up by DNS"),
    ],
)
def test_an_option_that_cannot_work_is_refused_before_the_first_look_up(options: dict[str, t.Any], words: str) -> None:
    assert words in refusal(**options)
