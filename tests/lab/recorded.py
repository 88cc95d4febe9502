# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers that real Consuls of two versions gave to the same requests; see tests/fixtures/consul-versions/README.md."""

from __future__ import annotations

import functools
import json
import typing as t

from .consul import ROOT
from .faults import Recorded

OLD, NEW = "1.8.7", "1.23-dev"


@functools.cache
def answers(version: str) -> dict[str, dict[str, t.Any]]:
    """Return all answers of a version, by name."""
    path = ROOT / "tests" / "fixtures" / "consul-versions" / f"answers-{version}.json"
    found: dict[str, dict[str, t.Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def recorded(version: str, name: str) -> Recorded:
    """Return one answer as a proxy of faults.py gives it: status, headers and body."""
    found = answers(version)[name]
    return found["status"], found["headers"], found["body"].encode()
