# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the snapshot agent: its policies, and the destinations of each."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..._config.connection_spec import side_spec
from ..._config.durations import duration
from ..._config.validation import Spec, validated
from ..._consul import endpoint
from ..._consul.endpoint import Endpoint
from ..._consul.errors import InvalidOption
from ..._snapshot.encryption.age_format import EncryptionKeys
from ..._snapshot.retention import DEFAULT_MAX_DELETES, RetentionPolicy
from ..._snapshot.stores.open_store import is_store_url
from ..._snapshot.stores.store import StoreOptions
from ..._tasks.retention_options import RETENTION_SPEC, make_retention
from ..._tasks.snapshot import SNAPSHOT
from ..._tasks.store_options import STORE_SPEC, store_options
from .rehearse_config import RehearseConfig, make_rehearse
from .schedule import SCHEDULE_SPEC, Schedule, longest_s, make_schedule

PATH = "options.policies"
NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9])?")  # part of file names, keys and metrics
ONE, EACH = "one", "each"
# As in the snapshot agent of Consul Enterprise.
DEFAULT_INTERVAL = "1h"
DEFAULT_KEEP_LAST = 30
DEFAULT_MAX_FAILURES = 3
DEFAULT_MAX_LAG = "10s"
OBJECTIVE_SLACK_S = 600.0  # for the snapshot itself and its upload
_SAVE_OPTIONS = ("cross_check", "on_shrink", "max_shrink_percent", "stream_timeout")

POLICY_SPEC: Spec = {
    "connection": side_spec(),
    **SCHEDULE_SPEC,
    "placement": {"type": "str", "choices": [ONE, EACH]},
    "stale": {"type": "bool"},
    "max_lag": {"type": "str"},
    **{name: SNAPSHOT.spec[name] for name in _SAVE_OPTIONS},
    "recipients": SNAPSHOT.spec["recipients"],
    "passphrase_file": SNAPSHOT.spec["passphrase_file"],
    "destinations": {"type": "dict", "required": True},
    "objective": {"type": "str"},
    "max_failures": {"type": "int", "default": DEFAULT_MAX_FAILURES},
    "max_waiting": {"type": "int", "default": 48},
    "rehearse": {"type": "dict"},
}
DESTINATION_SPEC: Spec = {
    "url": {"type": "str", "required": True},
    **STORE_SPEC,
    **RETENTION_SPEC,
    "timezone": {"type": "str"},
}
SPEC: Spec = {"policies": {"type": "dict"}}


@dataclass(frozen=True)
class DestinationConfig:
    """One place where a policy keeps snapshots, and for how long; at most ``max_deletes`` go at once."""

    name: str
    store: StoreOptions
    retention: RetentionPolicy
    max_deletes: int = DEFAULT_MAX_DELETES

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory of this host."""
        return not is_store_url(self.store.url)


@dataclass(frozen=True)
class PolicyConfig:
    """One policy. Times in seconds.

    ``placement``: one instance takes its snapshots, or each one its own. ``objective_s`` is the age of the newest verified snapshot
    from which on it is critical. After ``max_failures`` in a row whose cause lies in this host the lease is given away.
    ``max_waiting`` snapshots wait for destinations that do not work. ``keys``: for whom snapshots are encrypted.
    """

    name: str
    endpoint: Endpoint
    schedule: Schedule
    placement: str
    stale: bool
    max_lag_s: float | None
    cross_check: str
    on_shrink: str
    max_shrink_percent: float
    stream_timeout_s: float
    keys: EncryptionKeys
    destinations: tuple[DestinationConfig, ...]
    objective_s: float
    max_failures: int = DEFAULT_MAX_FAILURES
    max_waiting: int = 48
    rehearse: RehearseConfig | None = None


def make_policies(
    options: t.Mapping[str, t.Any], connection: t.Mapping[str, t.Any], environ: t.Mapping[str, str], node: str
) -> tuple[PolicyConfig, ...]:
    """Return the policies of validated options. ``connection`` has the defaults of their connections, ``node`` names the host.

    Raises InvalidOption that begins with the path of the option at fault.
    """
    if not options["policies"]:
        raise InvalidOption(f"{PATH}: there is no policy, so no snapshot would be taken.")
    return tuple(
        _policy(name, given, connection, environ, node, f"{PATH}.{name}") for name, given in options["policies"].items()
    )


def _policy(
    name: str,
    given: t.Any,
    connection: t.Mapping[str, t.Any],
    environ: t.Mapping[str, str],
    node: str,
    path: str,
) -> PolicyConfig:
    _check_name(name, path)
    values = validated(POLICY_SPEC, given, path)
    try:
        where = endpoint.resolve(endpoint.with_defaults(values["connection"], connection), environ, late_token=True)
    except InvalidOption as error:
        raise InvalidOption(f"{path}.connection: {error}") from None
    destinations = _destinations(values, path)
    placement = values["placement"] or (EACH if all(one.is_directory for one in destinations) else ONE)
    stale = placement == EACH if values["stale"] is None else values["stale"]
    if values["interval"] is None and values["cron"] is None:
        values["interval"] = DEFAULT_INTERVAL
    # One instance of a policy has the same delays as the next; each of several hosts its own.
    schedule = make_schedule(values, name if placement == ONE else f"{name} {node}", path)
    return PolicyConfig(
        name=name,
        endpoint=where,
        schedule=schedule,
        placement=placement,
        stale=stale,
        max_lag_s=_max_lag(values["max_lag"], stale, f"{path}.max_lag"),
        cross_check=values["cross_check"],
        on_shrink=values["on_shrink"],
        max_shrink_percent=_percent(values["max_shrink_percent"], f"{path}.max_shrink_percent"),
        stream_timeout_s=_positive(values["stream_timeout"], f"{path}.stream_timeout"),
        keys=_keys(values, path),
        destinations=destinations,
        objective_s=_objective(values["objective"], schedule, f"{path}.objective"),
        max_failures=_at_least_one(values["max_failures"], f"{path}.max_failures"),
        max_waiting=_at_least_one(values["max_waiting"], f"{path}.max_waiting"),
        rehearse=make_rehearse(
            values["rehearse"], [one.name for one in destinations], f"rehearse {name} {node}", f"{path}.rehearse"
        ),
    )


def _destinations(values: t.Mapping[str, t.Any], path: str) -> tuple[DestinationConfig, ...]:
    if not values["destinations"]:
        raise InvalidOption(f"{path}.destinations: there is none, so no snapshot would be kept.")
    found = tuple(
        _destination(name, given, values["timezone"], f"{path}.destinations.{name}")
        for name, given in values["destinations"].items()
    )
    for number, one in enumerate(found):
        for other in found[:number]:
            if one.store.url.rstrip("/") == other.store.url.rstrip("/"):
                raise InvalidOption(
                    f"{path}.destinations.{one.name}.url: {one.store.url} is that of {other.name} too: their retentions would "
                    "delete each other's snapshots."
                )
    return found


def _destination(name: str, given: t.Any, timezone: str, path: str) -> DestinationConfig:
    _check_name(name, path)
    values = validated(DESTINATION_SPEC, given, path)
    try:
        is_url = is_store_url(values["url"])
    except InvalidOption as error:
        raise InvalidOption(f"{path}.url: {error}") from None
    if not is_url and not Path(values["url"]).is_absolute():
        raise InvalidOption(f"{path}.url: {values['url']!r} is neither the URL of a store nor an absolute path.")
    keep = {option: values[option] for option in RETENTION_SPEC}
    if not any(value for option, value in keep.items() if option != "max_deletes"):
        keep["keep_last"] = DEFAULT_KEEP_LAST
    retention = make_retention(keep, values["timezone"] or timezone, path)
    return DestinationConfig(name, store_options(values["url"], values["store"]), retention, keep["max_deletes"])


def _check_name(name: str, path: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidOption(
            f"{path}: {name!r} must consist of lower-case letters, digits, dashes and underscores, at most 32 characters."
        )


def _keys(values: t.Mapping[str, t.Any], path: str) -> EncryptionKeys:
    if values["recipients"] and values["passphrase_file"]:
        raise InvalidOption(f"{path}.passphrase_file: recipients are set too, and age encrypts for one or the other.")
    return EncryptionKeys(tuple(values["recipients"]), values["passphrase_file"])


def _max_lag(given: str | None, stale: bool, path: str) -> float | None:
    if given is not None and not stale:
        raise InvalidOption(f"{path}: only a server that may be stale lags: leave it out, or set stale.")
    return duration(DEFAULT_MAX_LAG if given is None else given, path, 0.0, 86400.0) if stale else None


def _objective(given: str | None, schedule: Schedule, path: str) -> float:
    """Return the objective: by default one snapshot may be missing."""
    if given is None:
        return 2 * longest_s(schedule.slots) + schedule.jitter_s + OBJECTIVE_SLACK_S
    return duration(given, path, 1.0, 2 * 366 * 86400.0)


def _percent(number: float, path: str) -> float:
    if not 0 <= number <= 100:
        raise InvalidOption(f"{path}: {number:g} is not between 0 and 100.")
    return number


def _positive(number: float, path: str) -> float:
    if not 0 < number <= 86400:
        raise InvalidOption(f"{path}: {number:g} is not between 0 and 86400 seconds.")
    return number


def _at_least_one(number: int, path: str) -> int:
    if number < 1:
        raise InvalidOption(f"{path}: {number} is less than 1.")
    return number
