# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides which snapshots stay and which go, by the rules of ``restic forget``. Pure.

The rules are restic's own (https://restic.readthedocs.io/en/stable/060_forget.html): of each period with a snapshot the newest one
stays, for as many periods as the policy says; while there are fewer periods than that, the oldest snapshot stays too. Whatever
a policy says, some snapshots never go: see ``_protected``.
"""

from __future__ import annotations

import datetime
import re
import typing as t
from dataclasses import dataclass, field

from .._consul.errors import GuardRefused, InvalidOption
from .._consul.units import count_of

UNLIMITED = -1
DEFAULT_MAX_DELETES = 50

PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")
_SPAN = re.compile(r"(?:(\d+)y)?(?:(\d+)m)?(?:(\d+)d)?(?:(\d+)h)?")


@dataclass(frozen=True)
class Span:
    """A time before the newest snapshot, in calendar units as restic has them: ``1y6m7d12h``, in which ``m`` are months."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    def __str__(self) -> str:
        parts = ((self.years, "y"), (self.months, "m"), (self.days, "d"), (self.hours, "h"))
        return "".join(f"{count}{unit}" for count, unit in parts if count)

    def before(self, moment: datetime.datetime) -> datetime.datetime:
        """Return the time that is so long before another. A day that a month does not have is counted into the next month."""
        month = moment.year * 12 + moment.month - 1 - 12 * self.years - self.months
        if month < 12:
            return datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
        first = moment.replace(year=month // 12, month=month % 12 + 1, day=1)
        try:
            shifted = first + datetime.timedelta(days=moment.day - 1 - self.days)
            return shifted.astimezone(datetime.timezone.utc) - datetime.timedelta(hours=self.hours)
        except OverflowError:
            return datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)


def parse_span(text: str, option: str) -> Span:
    """Return the span of ``1y6m7d12h``. Raises InvalidOption that begins with ``option``."""
    found = _SPAN.fullmatch(text.strip())
    span = Span(*(int(part or 0) for part in found.groups())) if found else Span()
    if not str(span) or max(span.years, span.months // 12, span.days // 365, span.hours // 8766) > 1000:
        raise InvalidOption(
            f"{option}: {text!r} is not a time as restic writes it: years, months, days and hours, for example 1y6m, 14d or 36h."
        )
    return span


@dataclass(frozen=True)
class RetentionPolicy:
    """Which snapshots stay. Counts of periods, UNLIMITED for all; spans before the newest snapshot.

    ``keep`` and ``within_periods`` are by the names in PERIODS. Periods are those of ``zone``.
    """

    last: int = 0
    keep: t.Mapping[str, int] = field(default_factory=dict)
    within: Span | None = None
    within_periods: t.Mapping[str, Span] = field(default_factory=dict)
    zone: datetime.tzinfo = datetime.timezone.utc

    @property
    def is_empty(self) -> bool:
        """Whether the policy names nothing that stays."""
        return not (self.last or any(self.keep.values()) or self.within or self.within_periods)


@dataclass(frozen=True)
class Candidate:
    """One snapshot of a place. ``time`` in Unix seconds; ``name`` is what it is called there.

    ``series`` is what it is compared with: snapshots of other datacenters and policies are counted by themselves. ``is_ours``: a
    manifest of this collection describes it. ``problem`` says why it could not be restored, "" for a verified one. ``is_complete``:
    Consul left no record out of it.
    """

    name: str
    time: float
    series: tuple[str, str] = ("", "")
    is_ours: bool = True
    is_safety: bool = False
    is_complete: bool = True
    problem: str = ""


@dataclass(frozen=True)
class Kept:
    """A snapshot that stays, and every reason for it."""

    candidate: Candidate
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class RetentionPlan:
    """What stays and what goes, both newest first."""

    kept: tuple[Kept, ...]
    to_delete: tuple[Candidate, ...]


def plan(candidates: t.Iterable[Candidate], policy: RetentionPolicy, now: float) -> RetentionPlan:
    """Return which snapshots stay, and why, and which go. Raises InvalidOption for a policy that names nothing that stays."""
    if policy.is_empty:
        raise InvalidOption("the retention names nothing to keep, so everything would go: set for example keep_daily.")
    kept: list[Kept] = []
    to_delete: list[Candidate] = []
    series: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        reason = _protected(candidate)
        if reason:
            kept.append(Kept(candidate, (reason,)))
        else:
            series.setdefault(candidate.series, []).append(candidate)
    for members in series.values():
        for candidate, reasons in _reasons(sorted(members, key=_newest_first), policy, now):
            if reasons:
                kept.append(Kept(candidate, tuple(reasons)))
            else:
                to_delete.append(candidate)
    return RetentionPlan(
        tuple(sorted(kept, key=lambda one: _newest_first(one.candidate))), tuple(sorted(to_delete, key=_newest_first))
    )


def check_deletes(found: RetentionPlan, max_deletes: int, place: str) -> None:
    """Raise GuardRefused when a plan deletes more than is allowed at once."""
    if len(found.to_delete) > max_deletes:
        raise GuardRefused(
            f"{count_of(len(found.to_delete), 'snapshot')} of {place} would be deleted at once, and max_deletes is {max_deletes}: "
            "nothing was deleted. See what would go with: consulops snapshot prune --dry-run; raise max_deletes to accept it."
        )


def _newest_first(candidate: Candidate) -> tuple[float, str]:
    return (-candidate.time, candidate.name)


def _protected(candidate: Candidate) -> str:
    """Return why a snapshot never goes and takes nobody's place, "" if it takes part."""
    if not candidate.is_ours:
        return "not written by this collection: no manifest describes it"
    if candidate.is_safety:
        return "safety snapshot of a restore"
    if candidate.problem:
        return f"look at it first: {candidate.problem}"
    return ""


def _reasons(
    members: t.Sequence[Candidate], policy: RetentionPolicy, now: float
) -> t.Iterator[tuple[Candidate, list[str]]]:
    """Give every snapshot of a series, newest first, with the reasons for which it stays."""
    buckets = _buckets(policy, _latest(members, now), policy.zone)
    newest_complete = next((one for one in members if one.is_complete), None)
    for position, candidate in enumerate(members):
        moment = _local(candidate.time, policy.zone)
        is_oldest = position == len(members) - 1
        reasons = [reason for bucket in buckets if (reason := bucket.take(moment, position, is_oldest))]
        if position == 0:
            reasons.append("the newest verified snapshot")
        elif candidate is newest_complete:
            reasons.append("the newest verified snapshot from which Consul left nothing out")
        yield candidate, reasons


def _latest(members: t.Sequence[Candidate], now: float) -> float:
    """Return the time from which spans are counted: that of the newest snapshot that is not dated ahead."""
    return next((one.time for one in members if one.time <= now), now)


class _Bucket:
    """One rule of the policy while the snapshots pass, newest first."""

    def __init__(self, reason: str, period: str, left: int = UNLIMITED, after: datetime.datetime | None = None) -> None:
        self._reason, self._period, self._left, self._after = reason, period, left, after
        self._seen: t.Hashable = None

    def take(self, moment: datetime.datetime, position: int, is_oldest: bool) -> str:
        """Return why a snapshot stays by this rule, "" if it does not."""
        if self._left == 0 or (self._after is not None and moment <= self._after):
            return ""
        period = _period(self._period, moment, position)
        is_new = period != self._seen
        if not is_new and not is_oldest:
            return ""
        self._seen = period
        if self._left > 0:
            self._left -= 1
        return self._reason if is_new else f"oldest {self._reason}"


def _buckets(policy: RetentionPolicy, latest: float, zone: datetime.tzinfo) -> list[_Bucket]:
    found = [_Bucket("last", "", policy.last)] if policy.last else []
    found += [_Bucket(name, name, policy.keep[name]) for name in PERIODS if policy.keep.get(name)]
    newest = _local(latest, zone)
    if policy.within is not None:
        found.append(_Bucket(f"within {policy.within}", "", after=policy.within.before(newest)))
    for name in PERIODS:
        span = policy.within_periods.get(name)
        if span is not None:
            found.append(_Bucket(f"{name} within {span}", name, after=span.before(newest)))
    return found


def _local(seconds: float, zone: datetime.tzinfo) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, zone)


def _period(name: str, moment: datetime.datetime, position: int) -> t.Hashable:
    """Return what is equal for two snapshots of the same period; each snapshot is a period of its own without a name."""
    if name == "hourly":
        return (moment.year, moment.month, moment.day, moment.hour)
    if name == "daily":
        return (moment.year, moment.month, moment.day)
    if name == "weekly":
        return tuple(moment.isocalendar())[:2]
    if name == "monthly":
        return (moment.year, moment.month)
    return moment.year if name == "yearly" else ("each", position)
