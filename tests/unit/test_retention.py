# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Retention: the rules of restic's documentation, what never goes, and a year of hourly snapshots."""

from __future__ import annotations

import datetime
import typing as t
import zoneinfo

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._config.validation import validated
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import GuardRefused, InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import retention
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.retention import (
    PERIODS,
    Candidate,
    RetentionPolicy,
    Span,
)
from ansible_collections.consulops.failover.plugins.module_utils._tasks.retention_options import (
    RETENTION_SPEC,
    make_retention,
)
from hypothesis import given
from hypothesis import strategies as st

UTC = datetime.timezone.utc
START = datetime.datetime(2025, 1, 1, tzinfo=UTC).timestamp()
HOUR_S = 3600.0
NOW = START + 366 * 24 * HOUR_S
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def policy(**options: t.Any) -> RetentionPolicy:
    return make_retention(validated(RETENTION_SPEC, options))


def at(*moments: str, **more: t.Any) -> list[Candidate]:
    """Return a snapshot for each time, which is its name too."""
    return [Candidate(one, datetime.datetime.fromisoformat(f"{one}+00:00").timestamp(), **more) for one in moments]


def kept(candidates: t.Iterable[Candidate], **options: t.Any) -> list[str]:
    return [one.candidate.name for one in retention.plan(candidates, policy(**options), NOW).kept]


# The example of restic's documentation: a snapshot at noon of every Sunday for twelve weeks, keep-last 4 keeps the last four, ...
SUNDAYS = at(
    *("2014-09-07T12:00", "2014-09-14T12:00", "2014-09-21T12:00", "2014-09-28T12:00", "2014-10-05T12:00"),
    *("2014-10-12T12:00", "2014-10-19T12:00", "2014-10-26T12:00", "2014-11-02T12:00", "2014-11-09T12:00"),
    *("2014-11-16T12:00", "2014-11-23T12:00"),
)


def test_the_examples_of_the_documentation_of_restic() -> None:
    last_four = [one.name for one in reversed(SUNDAYS[-4:])]
    assert kept(SUNDAYS, keep_last=4) == last_four
    assert kept(SUNDAYS, keep_daily=4) == last_four, "days without a snapshot are not counted"
    assert kept(SUNDAYS, keep_weekly=4) == last_four
    # The newest of each month, and the oldest of all, because there are not as many months.
    assert kept(SUNDAYS, keep_monthly=3) == ["2014-11-23T12:00", "2014-10-26T12:00", "2014-09-28T12:00"]
    assert kept(SUNDAYS, keep_monthly=4) == [
        *("2014-11-23T12:00", "2014-10-26T12:00", "2014-09-28T12:00"),
        "2014-09-07T12:00",
    ]
    assert kept(SUNDAYS, keep_yearly=10) == ["2014-11-23T12:00", "2014-09-07T12:00"]


def test_each_snapshot_that_stays_has_every_reason_for_it() -> None:
    found = retention.plan(SUNDAYS, policy(keep_last=1, keep_monthly=9), NOW)
    assert [one.reasons for one in found.kept] == [
        ("last", "monthly", "the newest verified snapshot"),
        ("monthly",),
        ("monthly",),
        ("oldest monthly",),
    ]
    assert [one.name for one in found.to_delete][:1] == ["2014-11-16T12:00"]


def test_spans_are_counted_from_the_newest_snapshot_in_calendar_units() -> None:
    times = at("2025-03-31T12:00", "2025-03-01T13:00", "2025-02-28T13:00", "2024-03-31T12:00")
    assert kept(times, keep_within="1m") == ["2025-03-31T12:00"], "31 February is 3 March, as restic counts"
    assert kept(times, keep_within="1m2d") == ["2025-03-31T12:00", "2025-03-01T13:00"], "29 February is 1 March"
    assert kept(times, keep_within="1m3d") == [one.name for one in times[:3]]
    assert kept(times, keep_within="1y") == [one.name for one in times[:3]], "exactly as old as the span is too old"
    assert kept(times, keep_within="1y1h") == [one.name for one in times]
    assert kept(times, keep_within_monthly="1y1h") == [times[number].name for number in (0, 2, 3)]
    assert kept(times, keep_within_yearly="2m") == ["2025-03-31T12:00"]


def test_a_snapshot_that_is_dated_ahead_does_not_move_the_spans() -> None:
    assert kept(at("2030-01-01T00:00", "2025-06-01T00:00", "2025-05-25T00:00"), keep_within="3d") == [
        *("2030-01-01T00:00", "2025-06-01T00:00"),
    ]


def test_periods_are_those_of_the_time_zone() -> None:
    two = at("2025-06-01T22:30", "2025-06-01T21:30")  # 2 and 1 June in Berlin
    in_berlin = RetentionPolicy(keep={"daily": 2}, zone=BERLIN)
    assert len(retention.plan(two, in_berlin, NOW).kept) == 2
    assert [one.reasons[0] for one in retention.plan(two, in_berlin, NOW).kept] == ["daily", "daily"]
    assert retention.plan(two, policy(keep_daily=2), NOW).kept[1].reasons == ("oldest daily",)


def test_what_never_goes() -> None:
    newer = at("2025-05-05T00:00")
    good = at("2025-05-04T00:00")
    foreign = at("2025-05-01T00:00", is_ours=False)
    safety = at("2025-05-02T00:00", is_safety=True)
    damaged = at("2025-05-06T00:00", problem="its size differs")
    incomplete = at("2025-05-05T12:00", is_complete=False)
    everything = [*newer, *good, *foreign, *safety, *damaged, *incomplete]
    found = retention.plan(everything, policy(keep_last=1), NOW)
    assert {one.candidate.name: one.reasons for one in found.kept} == {
        damaged[0].name: ("look at it first: its size differs",),
        incomplete[0].name: ("last", "the newest verified snapshot"),
        newer[0].name: ("the newest verified snapshot from which Consul left nothing out",),
        safety[0].name: ("safety snapshot of a restore",),
        foreign[0].name: ("not written by this collection: no manifest describes it",),
    }
    assert found.to_delete == tuple(good), "a damaged one took nobody's place"


def test_datacenters_and_policies_are_counted_by_themselves() -> None:
    one, two = at("2025-05-01T00:00", series=("dc1", "a")), at("2025-06-01T00:00", series=("dc1", "b"))
    assert len(kept([*one, *two], keep_last=1)) == 2


def test_more_deletions_than_allowed_are_refused() -> None:
    found = retention.plan(SUNDAYS, policy(keep_last=2), NOW)
    retention.check_deletes(found, 10, "the store")
    with pytest.raises(GuardRefused, match="10 snapshots of the store would be deleted at once, and max_deletes is 9"):
        retention.check_deletes(found, 9, "the store")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keep_daily": -2}, "keep_daily: -2 is not a number of snapshots"),
        ({"keep_within": "2w"}, "keep_within: '2w' is not a time as restic writes it"),
        ({"keep_within_daily": ""}, "keep_within_daily: '' is not a time"),
        ({"keep_within": "0d"}, "is not a time"),
        ({"keep_within": "99999999y"}, "is not a time"),
        ({"keep_last": 1, "max_deletes": 0}, "max_deletes: 0 allows no deletion"),
    ],
)
def test_what_is_not_a_retention_is_refused(options: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        policy(**options)


def test_a_retention_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(InvalidOption, match="names nothing to keep"):
        retention.plan(SUNDAYS, policy(), NOW)


def test_a_year_of_hourly_snapshots_pruned_again_and_again_keeps_what_the_policy_says() -> None:
    """Pruned 1,460 times: what stays at the end is what one look at the whole year would keep."""
    rules = policy(keep_last=3, keep_hourly=24, keep_daily=7, keep_weekly=5, keep_monthly=12, keep_yearly=2)
    present: list[Candidate] = []
    every = [Candidate(f"{number:05d}", START + number * HOUR_S) for number in range(365 * 24)]
    for first in range(0, len(every), 6):
        present += every[first : first + 6]
        found = retention.plan(present, rules, present[-1].time)
        assert len(found.to_delete) <= 9, "it never deletes many at once"
        gone = {one.name for one in found.to_delete}
        present = [one for one in present if one.name not in gone]
    at_once = {one.candidate.name for one in retention.plan(every, rules, every[-1].time).kept}
    assert {one.name for one in present} == at_once
    assert 40 <= len(at_once) <= 50


# ---------------------------------------------------------------------------------------------------------------
# The rules once more, as the documentation says them: no loop over snapshots with state, but a look at each by itself.

_FORMATS = {"hourly": "%Y-%m-%d %H", "daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m", "yearly": "%Y"}


def newest_of_periods(candidates: t.Sequence[Candidate], period: str) -> list[Candidate]:
    """Return the newest snapshot of every period that has one, newest first."""
    by_period: dict[str, Candidate] = {}
    for one in sorted(candidates, key=lambda one: (one.time, [-ord(letter) for letter in one.name])):
        by_period[datetime.datetime.fromtimestamp(one.time, UTC).strftime(_FORMATS[period])] = one
    return sorted(by_period.values(), key=lambda one: (-one.time, one.name))


def restated(candidates: t.Sequence[Candidate], rules: RetentionPolicy) -> set[str]:
    ordered = sorted(candidates, key=lambda one: (-one.time, one.name))
    if not ordered:
        return set()
    oldest, stays = ordered[-1], {ordered[0].name}
    newest = datetime.datetime.fromtimestamp(ordered[0].time, UTC)
    stays |= {one.name for one in ordered[: rules.last if rules.last >= 0 else None]}
    for period, count in rules.keep.items():
        periods = newest_of_periods(ordered, period)
        stays |= {one.name for one in (periods if count < 0 else periods[:count])}
        if count < 0 or len(periods) < count:
            stays.add(oldest.name)
    for period, span in [("", rules.within), *rules.within_periods.items()]:
        if span is not None:
            young = [one for one in ordered if datetime.datetime.fromtimestamp(one.time, UTC) > span.before(newest)]
            stays |= {one.name for one in (newest_of_periods(young, period) if period else young)}
            if oldest in young:
                stays.add(oldest.name)
    return stays


counts = st.one_of(st.just(-1), st.integers(0, 9))
spans = st.one_of(st.none(), st.builds(Span, *(st.integers(0, top) for top in (1, 3, 9, 30))).filter(str))
policies = st.builds(
    lambda last, keep, within, periods: RetentionPolicy(
        last,
        {name: count for name, count in zip(PERIODS, keep) if count},
        within,
        {name: span for name, span in zip(PERIODS, periods) if span},
    ),
    counts,
    st.tuples(*[counts] * 5),
    spans,
    st.tuples(*[spans] * 5),
).filter(lambda rules: not rules.is_empty)
moments = st.lists(
    st.one_of(st.integers(0, 60 * 24 * 365), st.integers(0, 60 * 24 * 5)).map(lambda minute: START + 60.0 * minute),
    max_size=60,
)


@given(moments, policies)
def test_what_stays_is_what_the_documentation_of_restic_says(times: list[float], rules: RetentionPolicy) -> None:
    candidates = [Candidate(f"{number:03d}", when) for number, when in enumerate(times)]
    found = retention.plan(candidates, rules, NOW)
    assert {one.candidate.name for one in found.kept} == restated(candidates, rules)
    assert len(found.kept) + len(found.to_delete) == len(candidates)
    assert all(one.reasons for one in found.kept)


@given(moments, policies)
def test_what_stays_stays_when_the_rest_is_gone(times: list[float], rules: RetentionPolicy) -> None:
    candidates = [Candidate(f"{number:03d}", when) for number, when in enumerate(times)]
    first = [one.candidate for one in retention.plan(candidates, rules, NOW).kept]
    assert retention.plan(first, rules, NOW).to_delete == ()
