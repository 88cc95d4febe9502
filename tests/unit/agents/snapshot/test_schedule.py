# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Schedules: slots by interval and by cron's words, daylight saving, jitter, and what is due after a hand-over or an outage."""

from __future__ import annotations

import datetime
import typing as t
import zoneinfo

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.schedule import (
    SCHEDULE_SPEC,
    Schedule,
    decide,
    make_schedule,
)
from ansible_collections.consulops.failover.plugins.module_utils._config.validation import validated
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from hypothesis import given
from hypothesis import strategies as st

UTC = datetime.timezone.utc
HOUR_S = 3600


def schedule(seed: str = "hourly", **options: t.Any) -> Schedule:
    return make_schedule(validated(SCHEDULE_SPEC, options), seed, "schedule")


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(f"{text}+00:00").timestamp()


def between(found: Schedule, first: str, last: str, zone: str = "UTC") -> list[str]:
    """Return the slots after a time up to another, as times of day in a time zone."""
    slots, slot = [], found.slots.after(at(first))
    while slot <= at(last):
        slots.append(f"{datetime.datetime.fromtimestamp(slot, zoneinfo.ZoneInfo(zone)):%m-%d %H:%M}")
        slot = found.slots.after(slot)
    return slots


def test_an_interval_has_the_same_slots_on_every_host_and_after_every_start() -> None:
    every = schedule(interval="6h")
    assert between(every, "2026-11-28T01:00", "2026-11-29T00:00") == [
        *("11-28 06:00", "11-28 12:00", "11-28 18:00", "11-29 00:00"),
    ]
    assert every.slots.at_or_before(at("2026-11-28T06:00")) == at("2026-11-28T06:00")


def test_cron_words_with_nicknames_ranges_and_last_days() -> None:
    assert between(schedule(cron="15 3,15 * * 1-5"), "2026-11-27T04:00", "2026-11-30T04:00") == [
        *("11-27 15:15", "11-30 03:15"),
    ]
    assert between(schedule(cron="@monthly"), "2026-11-28T00:00", "2027-01-02T00:00") == ["12-01 00:00", "01-01 00:00"]
    assert between(schedule(cron="0 0 L * *"), "2026-01-31T00:00", "2026-03-31T00:00") == ["02-28 00:00", "03-31 00:00"]


def test_a_time_that_daylight_saving_skips_is_taken_at_the_next_minute_that_exists() -> None:
    night = schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    assert between(night, "2026-03-28T12:00", "2026-03-30T12:00", "Europe/Berlin") == ["03-29 03:00", "03-30 02:30"]


def test_a_time_that_daylight_saving_repeats_is_taken_once() -> None:
    night = schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    assert between(night, "2026-10-24T12:00", "2026-10-26T12:00", "Europe/Berlin") == ["10-25 02:30", "10-26 02:30"]
    first, second = at("2026-10-25T00:30"), at("2026-10-25T01:15")  # 02:30 and, an hour later by the clock, 02:15 again
    assert night.slots.at_or_before(second) == first
    assert night.slots.after(second) == at("2026-10-26T01:30")


@pytest.mark.parametrize("words", ["0 * * * *", "@hourly"])
def test_an_hourly_schedule_has_every_hour_of_the_days_on_which_the_clocks_change(words: str) -> None:
    hourly = schedule(cron=words, timezone="Europe/Berlin")
    assert len(between(hourly, "2026-03-28T23:00", "2026-03-29T22:00")) == 23
    assert len(between(hourly, "2026-10-24T22:00", "2026-10-25T23:00")) == 25


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"])
WORDS = st.sampled_from(
    [
        "30 2 * * *",
        "0,30 1-3 * * *",
        "*/20 * * * *",
        "5 */2 * * *",
        "0 0 * * 0",
        "59 23 L * *",
        "15 2 * * 6#5",
        "0 2 1 1 *",
    ]
)
MOMENTS = st.integers(int(at("2025-01-01T00:00")), int(at("2027-12-31T00:00")))


@given(WORDS, ZONES, MOMENTS)
def test_before_and_after_agree_at_every_time(words: str, zone: str, now: int) -> None:
    slots = schedule(cron=words, timezone=zone).slots
    before, after = slots.at_or_before(now), slots.after(now)
    assert before <= now < after
    assert slots.after(before) == after and slots.at_or_before(after) == after
    assert slots.at_or_before(after - 1) == before, "there is none between them"


@given(WORDS, ZONES, st.integers(2000, 2027), st.integers(0, 364))
def test_a_fixed_time_of_day_comes_once_a_day_whatever_the_clocks_do(
    words: str, zone: str, year: int, day: int
) -> None:
    slots = schedule(cron="30 2 * * *", timezone=zone).slots
    where = zoneinfo.ZoneInfo(zone)
    noon = datetime.datetime(year, 1, 1, 12, tzinfo=where) + datetime.timedelta(days=day)
    slot = slots.at_or_before(noon.timestamp())
    assert datetime.datetime.fromtimestamp(slot, where).date() == noon.date()
    assert datetime.datetime.fromtimestamp(slots.after(slot), where).date() == noon.date() + datetime.timedelta(days=1)


# ---------------------------------------------------------------------------------------------------------------


def test_the_first_snapshot_is_due_at_once() -> None:
    now = at("2026-11-28T15:20")
    due = decide(schedule(interval="1h"), [], now)
    assert (due.slot, due.missed, due.next_slot) == (at("2026-11-28T15:00"), 0, at("2026-11-28T16:00"))


def test_nothing_is_due_until_the_next_slot() -> None:
    hourly, taken = schedule(interval="1h"), [int(at("2026-11-28T15:00"))]
    assert decide(hourly, taken, at("2026-11-28T15:59:59")).slot is None
    assert decide(hourly, taken, at("2026-11-28T15:59:59")).next_at == at("2026-11-28T16:00")
    assert decide(hourly, taken, at("2026-11-28T16:00")).slot == at("2026-11-28T16:00")


def test_after_an_outage_the_last_slot_is_taken_and_the_others_are_counted() -> None:
    due = decide(schedule(interval="1h"), [int(at("2026-11-28T10:00"))], at("2026-11-28T15:30"))
    assert (due.slot, due.missed) == (at("2026-11-28T15:00"), 4)


def test_a_slot_that_lies_ahead_does_not_stop_the_schedule() -> None:
    taken = [int(at("2026-11-28T15:00")), int(at("2031-01-01T00:00"))]
    assert decide(schedule(interval="1h"), taken, at("2026-11-28T16:10")).slot == at("2026-11-28T16:00")


@given(st.text(max_size=5), MOMENTS, st.sampled_from([{"interval": "1h"}, {"cron": "0 * * * *"}]))
def test_jitter_delays_a_slot_by_the_same_time_on_every_instance(seed: str, now: int, every: dict[str, str]) -> None:
    found = schedule(seed, jitter="50m", **every)
    slot = found.slots.at_or_before(now)
    assert slot <= found.due_at(slot) < slot + 3000 and found.due_at(slot) == schedule(
        seed, jitter="50m", **every
    ).due_at(slot)
    latest = found.latest_due(now)
    assert found.due_at(latest) <= now < found.due_at(found.slots.after(latest))


def test_jitter_spreads_policies() -> None:
    slot = int(at("2026-11-28T15:00"))
    delays = {round(schedule(f"policy{number}", interval="1h", jitter="30m").due_at(slot)) for number in range(20)}
    assert len(delays) > 15


@given(st.lists(st.integers(30, 5 * HOUR_S), min_size=1, max_size=40), st.booleans())
def test_of_every_slot_that_somebody_was_there_for_one_snapshot_is_taken(pauses: list[int], with_jitter: bool) -> None:
    """Instances take over at any time; each knows only the slots that were taken."""
    found = schedule(interval="1h", jitter="20m" if with_jitter else "0s")
    now, taken = at("2026-11-28T15:20"), list[int]()
    for pause in pauses:
        due = decide(found, taken, now)
        if due.slot is not None:
            assert due.slot not in taken and found.due_at(due.slot) <= now < due.next_at
            taken.append(due.slot)
        assert decide(found, taken, now).slot is None
        now += pause
    assert taken == sorted(taken)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "schedule: write either interval"),
        ({"interval": "1h", "cron": "0 * * * *"}, "schedule: write either interval"),
        ({"interval": "often"}, "schedule.interval: 'often' is not a duration"),
        ({"interval": "1500ms"}, "schedule.interval: 1500ms is not a whole number"),
        ({"interval": "0s"}, "schedule.interval: 0s is not between"),
        ({"cron": "0 25 * * *"}, r"schedule.cron: '0 25 \* \* \*' is not understood \(bad hour\)"),
        ({"cron": "0 * * *"}, "wrong number of fields"),
        ({"cron": "@reboot"}, "is not understood"),
        ({"cron": "0 0 31 2 *"}, "is not understood|is never"),
        ({"cron": "0 * * * *", "timezone": "Mars/Olympus"}, "schedule.timezone: there is no time zone"),
        ({"interval": "1h", "jitter": "1h"}, "schedule.jitter: 1h is not less than the 3600 s"),
        ({"cron": "*/5 * * * *", "jitter": "10m"}, "schedule.jitter: 10m is not less than the 300 s"),
    ],
)
def test_what_is_no_schedule_is_refused(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        schedule(**options)
