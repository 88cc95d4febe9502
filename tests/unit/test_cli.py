# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line without Consul: exit codes."""

from __future__ import annotations

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._cli import main as cli
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidOption("x"), 2),
        (errors.MissingLibrary("x", "no module"), 2),
        (errors.GuardRefused("x"), 3),
        (errors.GateClosed("x"), 3),
        (errors.NotConverged("x"), 4),
        (errors.LocalFailure("x"), 1),
        (errors.Unreachable("x"), 1),
    ],
)
def test_each_type_of_error_has_its_exit_code(error: errors.Error, code: int) -> None:
    assert cli.exit_code(error) == code
