# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The estate on one page: what comes first, what is not known, what agents share, and that no name becomes markup."""

from __future__ import annotations

import typing as t
from html.parser import HTMLParser

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.from_consul import alerts_document
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.note_parts import spread
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import FIRING, Alert
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.silences import (
    Silences,
    make_silence,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.told import _STATUSES, Note, Told
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import Finding
from ansible_collections.consulops.failover.plugins.module_utils._alerting.judge import judge
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observation import Observation
from ansible_collections.consulops.failover.plugins.module_utils._alerting.published_alerts import (
    parse_notes,
    parse_silences,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rule_options import RULE_NAMES, make_rules
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.cluster import (
    Server,
    Servers,
    VisibleServers,
    Voters,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.token_expiry import TokenExpiry
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.endpoint import resolve
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import Aborted
from ansible_collections.consulops.failover.plugins.module_utils._consul.units import timestamp
from ansible_collections.consulops.failover.plugins.module_utils._estate.first_step import (
    SEVERITIES,
    URGENCY,
    Concern,
    first_sentence,
    ranked,
)
from ansible_collections.consulops.failover.plugins.module_utils._estate.page import estate_page
from ansible_collections.consulops.failover.plugins.module_utils._estate.text import estate_lines
from ansible_collections.consulops.failover.plugins.module_utils._estate.wording import SECTIONS, section_lines, summary
from ansible_collections.consulops.failover.plugins.module_utils._tasks.estate_view import view
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\x00\ud800\x1b{{ 7 * 7 }}"

concerns = st.builds(
    Concern,
    st.sampled_from(SEVERITIES),
    st.sampled_from(["dc1", "dc2"]),
    st.sampled_from([*URGENCY, "", "a_rule_of_later"]),
    st.sampled_from(["something is wrong", "something else is"]),
    silenced_by=st.sampled_from(["", "maintenance until noon"]),
)


# ---------------------------------------------------------------------------------------------------------------
# What comes first


def test_every_rule_has_its_place_in_the_order() -> None:
    assert sorted(URGENCY) == sorted(RULE_NAMES)


@given(st.lists(concerns), st.randoms())
def test_nothing_is_lost_by_the_order_and_it_does_not_depend_on_where_things_come_from(
    found: list[Concern], chance: t.Any
) -> None:
    order = ranked(found)
    assert set(order) == set(found) and len(order) == len(set(found))
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert ranked(shuffled) == order


@given(st.lists(concerns, min_size=1))
def test_what_is_silenced_comes_last_and_what_is_unknown_before_warnings(found: list[Concern]) -> None:
    order = ranked(found)
    keys = [(bool(one.silenced_by), SEVERITIES.index(one.severity)) for one in order]
    assert keys == sorted(keys)


@given(st.lists(concerns), st.integers(1, 9))
def test_there_is_something_to_do_unless_nothing_is_wrong_or_all_is_silenced(
    found: list[Concern], datacenters: int
) -> None:
    order = ranked(found)
    is_nothing = first_sentence(order, datacenters).startswith("nothing")
    assert is_nothing == all(one.silenced_by for one in found)


def test_what_keeps_a_datacenter_from_working_comes_before_what_its_users_notice_and_that_before_old_snapshots() -> (
    None
):
    rules = ["snapshot_age", "check_status", "quorum_margin", "no_leader", "drill_failed"]
    order = ranked(Concern("critical", "dc1", rule, rule) for rule in rules)
    assert [one.rule for one in order] == ["no_leader", "quorum_margin", "check_status", "snapshot_age", "drill_failed"]
    unknown = Concern("unknown", "dc1", "", "not known: replications")
    assert ranked([unknown, Concern("warning", "dc1", "no_leader", "x"), order[-1]])[1] == unknown


def test_the_first_sentence_has_the_datacenter_what_is_wrong_and_what_to_do() -> None:
    one = Concern("critical", "dc2", "no_leader", "dc2 has no leader", advice="Start the servers.")
    assert first_sentence([one], 3) == "dc2: dc2 has no leader. Start the servers."
    assert first_sentence([], 3) == "nothing: 3 datacenters asked, and nothing is wrong"


# ---------------------------------------------------------------------------------------------------------------
# What alerting agents share


def told_of(rows: t.Sequence[tuple[int, str, int]]) -> Told:
    """Return notes: number of the alert, receiver, and status."""
    told = Told()
    for number, receiver, status in rows:
        episode = f"alert{number}-1"
        told.alerts[episode] = Alert(
            f"key{number}", episode, FIRING, "critical", "check_status", "dc1", f"check {number}", NOW - 60, node="n1"
        )
        told.notes[receiver, episode] = Note(
            receiver, episode, _STATUSES[status], "critical", NOW - 30 + number, 1, "[]", f"message{number}"
        )
    return told


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(["ops", "pager"]), st.integers(0, len(_STATUSES) - 1)), max_size=12
    )
)
def test_what_is_read_of_an_agents_notes_is_what_its_own_command_shows(rows: list[tuple[int, str, int]]) -> None:
    told = told_of(rows)
    shown = alerts_document(told, Silences(), NOW)["alerts"]
    (content,) = spread(told, {}).contents.values()
    found = parse_notes("watch", content)
    assert [(one.summary, one.severity, timestamp(one.since), list(one.receivers)) for one in found] == [
        (one["summary"], one["severity"], one["since"], [note["receiver"] for note in one["told"]]) for one in shown
    ]


def silences(match: t.Any) -> bytes:
    options = {"match": match, "end": timestamp(NOW + 3600), "author": "ann", "reason": "a new rack"}
    made = Silences()
    made.add(make_silence(options, NOW - 60))
    return made.encode().encode()


@pytest.mark.parametrize(
    ("match", "datacenter", "is_covered"),
    [
        ({"node": "web-*"}, "dc1", True),
        ({"node": "web-*"}, "dc2", False),  # who knows whether this agent watches dc2
        ({"node": "web-*", "datacenter": "dc2"}, "dc2", True),
        ({"node": "db-*"}, "dc1", False),
        ([{"node": "db-*"}, {"service": "shop"}], "dc1", True),
    ],
)
def test_a_silence_covers_findings_of_its_datacenter_or_of_one_that_it_names(
    match: t.Any, datacenter: str, is_covered: bool
) -> None:
    (one,) = parse_silences("watch", "dc1", silences(match))
    finding = Finding("check_status", "critical", datacenter, "x", node="web-1", service="shop-7", service_name="shop")
    assert one.covers(finding) is is_covered
    assert one.is_active(NOW) and not one.is_active(one.end) and not one.is_active(one.start - 1)


@given(st.binary(max_size=60))
def test_anything_else_is_neither_notes_nor_silences(value: bytes) -> None:
    for parse in (lambda: parse_notes("watch", value), lambda: parse_silences("watch", "dc1", value)):
        with pytest.raises(ValueError):
            parse()


def test_a_later_version_of_the_notes_is_not_read_as_if_it_were_ours() -> None:
    with pytest.raises(ValueError):
        parse_silences("watch", "dc1", b'{"version": 2, "silences": []}')


# ---------------------------------------------------------------------------------------------------------------
# One datacenter


def observed(**fields: t.Any) -> Observation:
    observation = Observation("dc1", NOW, **fields)
    servers = tuple(Server(f"s{number}", number < 3, "1.8.7") for number in range(1, 4))
    if not observation.unreachable:
        observation.add(Servers(servers), VisibleServers(3), Voters(frozenset(one.name for one in servers)))
    return observation


def viewed(observation: Observation) -> dict[str, t.Any]:
    found = view(observation, judge(observation, make_rules([]), {}))
    return {**found, "seconds": 0.1, "upgrade": {"checks": [], "left_out": "nobody asked"}}


def test_a_datacenter_that_lost_a_server_of_three_may_lose_no_more() -> None:
    one = viewed(observed())
    assert one["tolerance"] == 0
    assert summary(one).startswith("2 of 3 servers alive, it has a leader, whose name the token may not read")
    assert summary(one).endswith("no more server may be lost")
    assert section_lines(one, "servers") == [("bad", "not alive: s3")]


def test_without_the_voters_it_is_not_known_how_many_may_be_lost() -> None:
    observation = observed()
    del observation.parts[Voters]
    observation.add_unknown("raft peers", "Permission denied.")
    one = viewed(observation)
    assert one["tolerance"] is None and one["not_known"]["tolerance"] == "Permission denied."
    assert summary(one).endswith("how many more servers may be lost is not known")


def test_without_a_leader_what_was_not_asked_is_not_called_nothing() -> None:
    one = viewed(observed(leader_problem="an election goes on"))
    assert "NO LEADER" in summary(one)
    for section in ("alerts", "replications", "snapshots", "drills"):
        assert one[section] is None
        assert section_lines(one, section) == [("unknown", "not known: there is no leader (an election goes on)")]


def test_a_datacenter_that_does_not_answer_is_unknown_whatever_follows_from_it() -> None:
    one = viewed(observed(unreachable="connection refused"))
    assert one["answered"] is False and one["servers"] is one["tolerance"] is one["leader"] is None
    assert summary(one) == "it did not answer, so nothing is known of it (connection refused)"
    lines = estate_lines(result_of(one))
    assert "dc1: unknown: it did not answer, so nothing is known of it (connection refused)" in lines


# ---------------------------------------------------------------------------------------------------------------
# The page


def result_of(*datacenters: dict[str, t.Any], steps: t.Sequence[dict[str, t.Any]] = ()) -> dict[str, t.Any]:
    counts = {"critical": 1, "warning": 0, "unknown": 0}
    return {
        "at": timestamp(NOW),
        "first": "dc1: look",
        "verdict": "critical",
        "counts": counts,
        "steps": list(steps),
        "datacenters": list(datacenters),
        "seconds": 0.5,
    }


def full(text: str) -> dict[str, t.Any]:
    """Return a datacenter of which everything is known, with a text in every place that comes from outside."""
    newest = {"newest": timestamp(NOW), "age_s": 60}
    alert = {"agent": text, "severity": "critical", "rule": text, "datacenter": text, "place": text, "summary": text}
    silence = {"agent": text, "id": text, "match": {"node": text}, "until": text, "left_s": 60, "author": text}
    place = {"name": text, "place": text, **newest, "late": True, "snapshots": 3, "waiting": 1, "problem": text}
    rehearsal = {"at": timestamp(NOW), "age_s": 60, "ok": False, "overdue": True, "error": text}
    status = {"published": timestamp(NOW), "published_age_s": 1, "verified": timestamp(NOW), "equal": False}
    counts = {"lag_s": 99.0, "pending": 1, "paused_deletes": 2, "conflicts": 1, "unwritable": 1}
    return {
        **viewed(observed()),
        "name": text,
        "servers": [{"name": text, "alive": False, "version": text, "votes": True}],
        "versions": [text],
        "leader": {"exists": True, "name": text, "problem": ""},
        "alerts": {
            "agents": [{"name": text, "instances": [text], "active": False}],
            "firing": [{**alert, "since": text, "age_s": 60, "receivers": [text]}] * 9,
            "silences": [{**silence, "reason": text}] * 9,
        },
        "replications": [
            {"name": text, "frozen": True, "plan": text, "keys": {"source": 1, "destination": 1}, **status, **counts}
        ],
        "snapshots": [
            {
                **{"agent": text, "policy": text, "node": text, "objective_s": 60, "late": True, **newest},
                **{"destinations": [place], "rehearsal": rehearsal, "published": timestamp(NOW), "published_age_s": 1},
            }
        ],
        "snapshot_file": {"path": text, **newest, "problem": text},
        "drills": [
            {
                **{"drill": text, "run": text, "at": timestamp(NOW), "age_s": 60, "passed": False, "rto_s": 1.5},
                **{"recovered": False, "reasons": [text]},
            }
        ],
        "expiries": [{"what": text, "expires": timestamp(NOW), "left_s": -60}],
        "upgrade": {
            "snapshot": text,
            "checks": [{"version": text, "loads": False, "reasons": [text]}],
            "left_out": "",
        },
    }


class Page(HTMLParser):
    """The elements, attributes and text of a document."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _value in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_no_name_becomes_markup() -> None:
    step = dict.fromkeys(("datacenter", "rule", "sentence", "detail", "advice", "silenced_by"), EVIL)
    result = result_of(full(EVIL), steps=[{"severity": "critical", **step}])
    result["first"] = EVIL
    page = Page(estate_page(result))
    assert page.elements <= {
        *("html", "head", "meta", "title", "style", "body", "div", "h1", "h2", "h3", "p", "ol", "li", "b", "span"),
        *("section", "dl", "dt", "dd", "footer"),
    }
    assert page.attributes <= {"class", "lang", "charset", "name", "content", "http-equiv"}
    shown = "".join(page.texts)
    assert shown.count("<script>alert(1)</script>") > 15, "it is shown, as text"
    assert "\x00" not in shown


def test_the_page_asks_browsers_to_load_and_run_nothing() -> None:
    page = estate_page(result_of(full("x")))
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "<script" not in page and "http://" not in page and "https://" not in page and "url(" not in page


def test_the_page_and_the_text_say_the_same_of_a_datacenter() -> None:
    one = full("something")
    page = " ".join(Page(estate_page(result_of(one))).texts)
    lines = "\n".join(estate_lines(result_of(one)))
    for section in SECTIONS:
        for _tone, sentence in section_lines(one, section):
            assert sentence in page and sentence in lines


def test_what_can_be_many_is_bounded_and_counted() -> None:
    step = {"severity": "warning", "datacenter": "dc1", "rule": "x", "detail": "", "advice": "", "silenced_by": ""}
    steps = [{**step, "sentence": f"number {number} " + "long " * 2000} for number in range(500)]
    result = result_of(*(full("x") for _number in range(50)), steps=steps)
    page, lines = estate_page(result), estate_lines(result)
    assert "and 488 more things" in page and "and 480 more things" in lines
    assert "and 4 more alerts" in page and "and 4 more silences" in page
    assert len(page) < 400_000
    one = full("x")
    passed = {**one["drills"][0], "passed": True}
    shown = section_lines({**one, "drills": [passed] * 40 + one["drills"]}, "drills")
    assert len(shown) == 21 and shown[0][0] == "bad" and shown[-1] == ("", "and 21 more lines")


# ---------------------------------------------------------------------------------------------------------------
# The deadline


def test_a_request_that_is_cut_says_why() -> None:
    with Client(resolve({"url": "http://127.0.0.1:9", "datacenter": "dc3"}, {})) as client:
        client.abort("the deadline of 2 s was over")
        with pytest.raises(Aborted, match=r"\(datacenter dc3\) was cut, because the deadline of 2 s was over\."):
            client.check_leader()


# ---------------------------------------------------------------------------------------------------------------
# The rule about the token


@pytest.mark.parametrize(
    ("days", "severity"), [(30, None), (13, "warning"), (1, "critical"), (-1, "critical"), (None, None)]
)
def test_a_token_that_runs_out_is_a_finding_in_time(days: float | None, severity: str | None) -> None:
    observation = observed()
    observation.add(TokenExpiry(None if days is None else NOW + days * 86400))
    found = judge(observation, make_rules([{"rule": "acl_token_expiry"}]), {}).findings
    assert [one.severity for one in found if one.rule == "acl_token_expiry"] == ([severity] if severity else [])
    assert not [one for one in judge(observation, make_rules([]), {}).findings if one.rule == "acl_token_expiry"]
