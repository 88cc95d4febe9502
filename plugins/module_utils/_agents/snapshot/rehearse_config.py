# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options ``rehearse`` of a policy: when its newest snapshot is restored into a throw-away Consul, where, and within which limits."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..._config.durations import duration
from ..._config.validation import Spec, validated
from ..._consul.errors import InvalidOption
from ..._snapshot.encryption.age_format import DecryptionKeys
from ..._snapshot.rehearsal.service import DEFAULT_SOCKET
from ..._tasks.snapshot_rehearse import LIMITS_SPEC, REHEARSE, memory_limit
from .schedule import SCHEDULE_SPEC, Schedule, longest_s, make_schedule

DEFAULT_INTERVAL = "1d"
LONGEST_TIME_S = 86400.0
MISSING_ALLOWED = 2  # rehearsals

REHEARSE_SPEC: Spec = {
    **SCHEDULE_SPEC,
    "destination": {"type": "str"},
    "identity_file": REHEARSE.spec["identity_file"],
    "passphrase_file": REHEARSE.spec["passphrase_file"],
    **LIMITS_SPEC,
    "objective": {"type": "str"},
    "service": {"type": "path", "default": str(DEFAULT_SOCKET)},
}


@dataclass(frozen=True)
class RehearseConfig:
    """When and how the newest snapshot of a destination is rehearsed; its last good rehearsal may be ``objective_s`` old.

    ``service`` is the socket of the rehearsal service, which is used if it is there.
    """

    schedule: Schedule
    destination: str
    keys: DecryptionKeys
    consul_binary: str
    memory_bytes: int
    time_s: float
    objective_s: float
    service: Path


def make_rehearse(given: t.Any, destinations: t.Sequence[str], seed: str, path: str) -> RehearseConfig | None:
    """Return the checked options of a policy with these destinations, None without any. ``seed`` spreads the jitter.

    Raises InvalidOption that begins with ``path`` or a path below it.
    """
    if given is None:
        return None
    values = validated(REHEARSE_SPEC, given, path)
    destination = destinations[0] if values["destination"] is None else values["destination"]
    if destination not in destinations:
        raise InvalidOption(
            f"{path}.destination: the policy has no destination {destination}; it has {', '.join(destinations)}."
        )
    if values["interval"] is None and values["cron"] is None:
        values["interval"] = DEFAULT_INTERVAL
    schedule = make_schedule(values, seed, path)
    time_s = duration(values["time_limit"], f"{path}.time_limit", 1.0, LONGEST_TIME_S)
    return RehearseConfig(
        schedule=schedule,
        destination=destination,
        keys=DecryptionKeys(values["identity_file"], values["passphrase_file"]),
        consul_binary=values["consul_binary"],
        memory_bytes=memory_limit(values["memory_limit"], f"{path}.memory_limit"),
        time_s=time_s,
        objective_s=_objective(values["objective"], schedule, time_s, f"{path}.objective"),
        service=Path(values["service"]),
    )


def _objective(given: str | None, schedule: Schedule, time_s: float, path: str) -> float:
    if given is None:
        return (1 + MISSING_ALLOWED) * longest_s(schedule.slots) + schedule.jitter_s + time_s
    return duration(given, path, 1.0, 2 * 366 * 86400.0)
