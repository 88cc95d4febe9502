# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges whether servers of a version would load a state, from the problems that decoding its snapshot found. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._consul.units import some_of
from .record_checks import FIELD, LEGACY_ACL, RecordProblem
from .version_rules import OLDEST, Version, requested_version, shown


@dataclass(frozen=True)
class LoadCheck:
    """Whether servers of ``version`` load a state as it is, and what they do not load."""

    version: Version
    problems: tuple[RecordProblem, ...]

    @property
    def restorable(self) -> bool:
        """Whether everything is loaded and keeps its meaning."""
        return not self.problems


def requested_versions(texts: t.Iterable[str], option: str) -> tuple[Version, ...]:
    """Return the versions that a user names. Raises InvalidOption for one whose rules are not known."""
    return tuple(requested_version(text, option) for text in texts)


def load_checks(problems: t.Iterable[RecordProblem], versions: t.Iterable[Version]) -> tuple[LoadCheck, ...]:
    """Return for each version whether its servers load a state with these problems."""
    found = tuple(problems)
    return tuple(
        LoadCheck(version, tuple(problem for problem in found if problem.applies_to(version))) for version in versions
    )


def upgrade_warnings(problems: t.Iterable[RecordProblem]) -> tuple[str, ...]:
    """Return what to warn about when a state with these problems is saved: its servers hold it, later ones will not."""
    found = tuple(problems)
    incomplete = [problem for problem in found if problem.cause == FIELD]
    legacy = [problem for problem in found if problem.cause == LEGACY_ACL]
    warnings = []
    if incomplete:
        first = min(problem.gone for problem in incomplete)
        versions = "any Consul" if first <= OLDEST else f"Consul {shown(first)} and later"
        sentences = some_of([problem.sentence for problem in incomplete])
        warnings.append(f"this snapshot, and this datacenter's own data, will not load in {versions}: {sentences}")
    warnings += [f"an upgrade takes rights away: {problem.sentence}" for problem in legacy]
    return tuple(warnings)
