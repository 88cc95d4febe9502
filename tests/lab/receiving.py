# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes receivers from options as a configuration file has them: validated against their spec, with the tests' plain words."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.receiver import (
    Receiver,
    ReceiverContext,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.registry import RECEIVERS
from ansible_collections.consulops.failover.plugins.module_utils._config.validation import validated

from .notifications import NOON, render


def make_receiver(
    kind: str, /, clock: t.Callable[[], float] = lambda: NOON + 10, credentials: str = "", **options: t.Any
) -> Receiver:
    """Return a receiver named ``ops``. Raises InvalidOption."""
    values = validated(RECEIVERS[kind].SPEC, options, "receivers.ops")
    environ = {"CREDENTIALS_DIRECTORY": credentials} if credentials else {}
    return RECEIVERS[kind].make("ops", values, ReceiverContext(render, "monitor1", clock, environ))


def secret_file(directory: Path, text: str, name: str = "secret") -> str:
    """Return the path of a new file with a secret."""
    path = directory / name
    path.write_text(f"{text}\n", encoding="utf-8")
    return str(path)
