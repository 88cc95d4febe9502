# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options and the work of ``consul_alert_check``: judges datacenters, and waits until nothing is wrong.

It also reads the newest snapshots, which the wing for alerts cannot do.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._alerting import judgement_result
from .._alerting.expectation import Expected, make_expected
from .._alerting.gate import GateTiming, wait_for_gate
from .._alerting.observe import ObserveOptions
from .._alerting.rule import RuleSet
from .._alerting.rule_options import make_rules
from .._alerting.rules.snapshots import Snapshot
from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec, side_spec
from .._snapshot import snapshot_directory
from .._snapshot.save_guards import readable_path
from .task import Invocation, Result, Task

# Which datacenters are judged, and by what.
JUDGED: Spec = {
    "datacenters": {"type": "list", "elements": "str"},
    "connections": side_spec(type="list", elements="dict"),
    "expect": {"type": "dict"},
    "rules": {"type": "list", "elements": "dict", "default": []},
    "match": {"type": "list", "elements": "dict"},
    "ignore": {"type": "list", "elements": "dict"},
    "snapshots": {"type": "path"},
}
SPEC: Spec = dict(
    **JUDGED,
    fail_on={"type": "str", "choices": ["critical", "warning", "never"], "default": "critical"},
    wait={"type": "float", "default": 0.0},
    stable_for={"type": "float", "default": 0.0},
    **connection_spec(),
)


@dataclass(frozen=True)
class _Criteria:
    """What the options require: rules, expected servers and times."""

    rules: RuleSet
    expected: dict[str, Expected]
    timing: GateTiming


def _criteria(call: Invocation) -> _Criteria:
    """Return the parsed options. Raises InvalidOption."""
    options = call.params
    rules = make_rules(options["rules"], options["match"], options["ignore"])
    timing = GateTiming(options["wait"], options["stable_for"])
    timing.check()
    return _Criteria(rules, make_expected(options["expect"]), timing)


def _validate(call: Invocation) -> None:
    _criteria(call)
    with call.clients(call.params["connections"], call.params["datacenters"]):
        pass


def check(call: Invocation) -> Result:
    """Judge the datacenters of the connection options. Raises GateClosed, and InvalidOption and LocalFailure."""
    options, criteria = call.params, _criteria(call)
    snapshots = SnapshotCache(options["snapshots"])
    with call.clients(options["connections"], options["datacenters"]) as clients:
        outcome = wait_for_gate(
            clients,
            lambda: ObserveOptions(criteria.rules, snapshots.newest()),
            criteria.expected,
            options["fail_on"],
            criteria.timing,
        )
    result = judgement_result.result(outcome)
    if outcome.is_closed(options["fail_on"]):
        raise judgement_result.gate_closed(outcome, result)
    return result


class SnapshotCache:
    """The newest snapshots of a directory. While a gate waits the directory is listed often, but each file is hashed only once."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._verified: dict[tuple[str, float, int], Snapshot] = {}

    def newest(self) -> dict[str, Snapshot | None] | None:
        """Return the newest snapshot of each datacenter, verified against its manifest; None without a directory."""
        if self._directory is None:
            return None
        entries = snapshot_directory.list_directory(readable_path(self._directory, "snapshots"))
        datacenters = {entry.datacenter for entry in entries if entry.datacenter}
        newest = {name: snapshot_directory.newest(entries, name) for name in datacenters}
        return {name: self._verify(entry) for name, entry in newest.items() if entry is not None}

    def _verify(self, entry: snapshot_directory.SnapshotEntry) -> Snapshot:
        key = (str(entry.path), entry.time, entry.size)
        if key not in self._verified:
            verified = snapshot_directory.entry(entry.path, verify=True)
            self._verified[key] = Snapshot(str(verified.path), verified.time, verified.problem)
        return self._verified[key]


ALERT_CHECK = Task(
    SPEC,
    check,
    (
        ONE_TOKEN,
        ("datacenters", "connections"),
    ),
    _validate,
)
