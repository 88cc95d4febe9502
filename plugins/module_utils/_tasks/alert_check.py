# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Datacenters are judged: options and work of ``consul_alert_check``.

It reads the newest snapshots too, which the wing of alerting must not know.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._alerting import judgement_result
from .._alerting.gate import GateTiming, wait_for_gate
from .._alerting.observation import Snapshot
from .._alerting.observe import ObserveOptions
from .._alerting.ruleset import Expected, RuleSet, make_expected, make_rules
from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec, side_spec
from .._snapshot import snapshot_directory
from .._snapshot.save_guards import readable_path
from .call import Call, Result, Task

SPEC: Spec = dict(
    datacenters={"type": "list", "elements": "str"},
    connections=side_spec(type="list", elements="dict"),
    expect={"type": "dict"},
    rules={"type": "list", "elements": "dict", "default": []},
    match={"type": "list", "elements": "dict"},
    ignore={"type": "list", "elements": "dict"},
    snapshots={"type": "path"},
    fail_on={"type": "str", "choices": ["critical", "warning", "never"], "default": "critical"},
    wait={"type": "float", "default": 0.0},
    stable_for={"type": "float", "default": 0.0},
    **connection_spec(),
)


@dataclass(frozen=True)
class _Asked:
    """What the options mean."""

    rules: RuleSet
    expected: dict[str, Expected]
    waiting: GateTiming


def _asked(call: Call) -> _Asked:
    options = call.params
    rules = make_rules(options["rules"], options["match"], options["ignore"])
    waiting = GateTiming(options["wait"], options["stable_for"])
    waiting.check()
    return _Asked(rules, make_expected(options["expect"]), waiting)


def _check(call: Call) -> None:
    _asked(call)
    with call.clients(call.params["connections"], call.params["datacenters"]):
        pass


def check(call: Call) -> Result:
    options, asked = call.params, _asked(call)
    shelf = _Shelf(options["snapshots"])
    with call.clients(options["connections"], options["datacenters"]) as clients:
        outcome = wait_for_gate(
            clients,
            lambda: ObserveOptions(asked.rules, shelf.newest()),
            asked.expected,
            options["fail_on"],
            asked.waiting,
        )
    result = judgement_result.result(outcome)
    if outcome.is_closed(options["fail_on"]):
        raise judgement_result.closed(outcome, result)
    return result


class _Shelf:
    """A directory of snapshots. However often it is looked at while a gate waits, each file is read whole only once."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._read: dict[tuple[str, float, int], Snapshot] = {}

    def newest(self) -> dict[str, Snapshot | None] | None:
        """Return the newest snapshot of each datacenter, compared with its manifest; None when nobody asked for any."""
        if self._directory is None:
            return None
        entries = snapshot_directory.list_directory(readable_path(self._directory, "snapshots"))
        names = {entry.datacenter for entry in entries if entry.datacenter}
        newest = {name: snapshot_directory.newest(entries, name) for name in names}
        return {name: self._verified(entry) for name, entry in newest.items() if entry is not None}

    def _verified(self, entry: snapshot_directory.SnapshotEntry) -> Snapshot:
        known = (str(entry.path), entry.time, entry.size)
        if known not in self._read:
            found = snapshot_directory.entry(entry.path, verify=True)
            self._read[known] = Snapshot(str(found.path), found.time, found.problem)
        return self._read[known]


ALERT_CHECK = Task(
    SPEC,
    check,
    (
        ONE_TOKEN,
        ("datacenters", "connections"),
    ),
    _check,
)
