# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a verdict means and what to do next, in sentences: of the whole drill, and of each check."""

from __future__ import annotations

import typing as t

from ..._consul.units import count_of
from ..check_result import INVALID, UNKNOWN, VALID, CheckResult
from ..expectations import HISTORY, MISSED
from ..history import OK, History
from ..judge import HistoryJudgement

MOST_REASONS = 3  # of one check, in the first lines
_KEEP = "keep this history and the logs of the servers"
_REGISTER_ADVICE = {
    "stale": (
        "The reads were stale: any server answers them, and Consul does not promise that they are up to date. Run the drill again with "
        "--consistency consistent before you conclude anything."
    ),
    "default": (
        "The reads were in the mode default, in which a leader that was just replaced may answer one that is out of date: what must not "
        "happen in your application needs consistent reads or a compare-and-set. Run the drill again with --consistency consistent; if it "
        f"is invalid then too, {_KEEP}, and report it."
    ),
    "consistent": (
        "Consul promises that this does not happen. Look for a server that was restored, that lost its disk or whose disk confirms writes "
        f"that it has not stored; {_KEEP}, and report it."
    ),
}
_SET_ADVICE = {
    "lost": (
        "Lost: an addition that Consul acknowledged is on no server. Look for a restore, a server that came back with an empty data "
        "directory, and a majority that was replaced."
    ),
    "stale": (
        "Stale: a server lacks what others have. Compare its index with the leader's (consul operator raft list-peers), and read its log."
    ),
    "unexpected": "Unexpected: a server has what nobody added, or what it had refused. Look for another writer below the prefix.",
}
_LOCK_ADVICE = (
    "Two clients could believe at one time that they hold the lock. Let what the lock protects check the LockIndex, which "
    f"grows with each holder; look at the lock delay and the TTLs of sessions, and {_KEEP}."
)
_MEANING = {
    "linearizability": "each key has one order of operations that agrees with real time, and in which each read sees the last write",
    "index_order": "what began after an operation had returned has no lower ModifyIndex",
    "contents": "each server has all that was acknowledged, and nothing that nobody added",
    "holders": "a lock never has two holders, and its LockIndex grows",
}


class Headline(t.NamedTuple):
    """The first lines of a report: a verdict, a sentence, and what to do. ``tone`` is the verdict that gives the colour."""

    tone: str
    verdict: str
    sentence: str
    to_do: tuple[str, ...]


def headline(history: History, judgement: HistoryJudgement) -> Headline:
    """Return the verdict of the drill, with what was expected and missed, and what to do."""
    wrong = [one for one in judgement.results if one.verdict == INVALID]
    undecided = [one for one in judgement.results if one.verdict == UNKNOWN]
    # What the history itself is says the verdict of the checkers already.
    expectations = [one for one in judgement.outcomes if one.name != HISTORY]
    missed = [one for one in expectations if one.verdict == MISSED]
    unmeasured = [one for one in expectations if one.verdict == UNKNOWN]
    tone = INVALID if wrong or missed else UNKNOWN if unmeasured else judgement.verdict
    verdict = {VALID: "Valid", INVALID: "Invalid", UNKNOWN: "Unknown"}[judgement.verdict]
    if judgement.is_passed and judgement.verdict != VALID:
        verdict += ", which this drill only reports"
        tone = UNKNOWN
    if missed:
        verdict += f", and {len(missed)} of {count_of(len(expectations), 'expectation')} missed"
    to_do = _to_do([(one.checker, advice(one, history)) for one in (*wrong, *undecided)])
    to_do += [f"Missed: {one.sentence or one.name}" for one in missed]
    to_do += [f"Not measured: {one.sentence or one.name}" for one in unmeasured]
    if not to_do and judgement.verdict == UNKNOWN:
        to_do = [
            "The history has no operation that could be checked. Run the drill again, and see that its clients reach Consul."
        ]
    if not to_do:
        to_do = ["Nothing is to be done. It is no proof: repeat the drill after upgrades and with other faults."]
    return Headline(tone, verdict, _sentence(history, judgement, wrong, undecided), tuple(to_do))


def _to_do(found: t.Iterable[tuple[str, str]]) -> list[str]:
    """Return each advice once, after the names of all checks that have it."""
    names: dict[str, list[str]] = {}
    for name, text in found:
        names.setdefault(text, []).append(name)
    return [f"{' and '.join(checks)}: {text}" for text, checks in names.items()]


def _sentence(
    history: History, judgement: HistoryJudgement, wrong: t.Sequence[CheckResult], undecided: t.Sequence[CheckResult]
) -> str:
    count, checks = count_of(len(history.operations), "operation"), count_of(len(judgement.results), "check")
    if wrong:
        return f"{len(wrong)} of {checks} found something in {count} that must not happen."
    if undecided:
        return f"{len(undecided)} of {checks} could not decide; that is not valid."
    if not judgement.results:
        return "Nothing was checked; that is not valid."
    return f"{checks} of {count} found nothing that must not happen."


def meaning(result: CheckResult) -> str:
    """Return what a check demands."""
    return _MEANING.get(result.checker, "")


def advice(result: CheckResult, history: History) -> str:
    """Return what to do after the verdict of a check; nothing after a valid one."""
    if result.verdict == INVALID:
        if result.workload == "register":
            return _REGISTER_ADVICE[history.header.consistency]
        if result.workload == "lock":
            return _LOCK_ADVICE
        return " ".join(
            [*(text for name, text in _SET_ADVICE.items() if result.counts[name]), f"{_KEEP.capitalize()}."]
        )
    if result.verdict == UNKNOWN:
        rest = len(result.unknown) - MOST_REASONS
        reasons = [*result.unknown[:MOST_REASONS], *([f"and {count_of(rest, 'reason')} more"] if rest > 0 else [])]
        return f"{'; '.join(reasons)}. {_undecided(result, history)}"
    return ""


def _undecided(result: CheckResult, history: History) -> str:
    if not any(one.outcome == OK for one in history.of(result.workload)):
        return "Look why no client got an answer, for example an address or a token, and run the drill again."
    if result.checker == "linearizability":
        return "Judge it with a higher --max-steps, or run the drill again with more keys or fewer clients."
    return "Run the drill again, and let it end when all servers are up."
