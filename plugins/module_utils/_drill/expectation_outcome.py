# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of one expectation of a drill."""

from __future__ import annotations

from dataclasses import dataclass

from .drill_definition import Objective

MET, MISSED, UNKNOWN = "met", "missed", "unknown"


@dataclass(frozen=True)
class Outcome:
    """One expectation and what became of it. ``measured`` and ``objective`` are in seconds, or in words."""

    name: str
    verdict: str
    measured: float | str | None
    objective: float | str
    sentence: str


UNKNOWN_MULTIPLIER = "the raft_multiplier is unknown"


def not_known(name: str, objective: Objective, limit_s: float | None, why: str) -> Outcome:
    """Return the outcome of a limit in seconds of which nothing is known; ``why`` is the end of a sentence."""
    return Outcome(name, UNKNOWN, None, objective.seconds if limit_s is None else limit_s, f"Not known: {why}.")


def limited(name: str, seconds: float, limit_s: float, words: str) -> Outcome:
    """Return the outcome of a limit in seconds; ``words`` have ``{}`` where the measured seconds stand."""
    seconds = round(seconds, 3)
    sentence = f"{words.format(f'{seconds:.2f} s')}; the objective is {limit_s:g} s."
    return Outcome(name, MET if seconds <= limit_s else MISSED, seconds, limit_s, sentence)
