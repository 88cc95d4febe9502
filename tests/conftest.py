# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures that every test may use."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.workshop.machine import can_mount

settings.register_profile(
    "house",
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize="CI" in os.environ,  # developers search for new cases; CI says whether a change broke something
)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def no_consul_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables with which a developer's shell names a Consul."""
    for name in list(os.environ):
        if name.startswith("CONSUL_") and name != "CONSUL_BIN":
            monkeypatch.delenv(name)


@pytest.fixture
def as_root() -> None:
    """Skip the test without the right to mount a small file system; in CI that is a failure."""
    if can_mount():
        return
    message = "needs root that may mount a small file system"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
