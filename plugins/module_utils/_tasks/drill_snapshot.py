# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots of a drill: one before it, and one after its load that is restored into a throw-away Consul and read there."""

from __future__ import annotations

import logging
import typing as t
from dataclasses import replace
from pathlib import Path

from .._config.connection_spec import connection_spec
from .._config.validation import validated
from .._consul.client import Client
from .._consul.errors import Error
from .._consul.retry import RetryPolicy
from .._drill.drill_part import DrillSignals
from .._drill.drill_space import DrillSpace
from .._drill.history import SNAPSHOT_REHEARSED
from .._drill.history_writer import HistoryWriter
from .._drill.open_loop import Node
from .._drill.raft_state import first_answer
from .._drill.replica.key_comparison import names_below, numbers_in
from .._drill.set_workload import FOLDER
from .._drill.snapshot_outcome import FAILED, RESTORED
from .._snapshot.errors import BadSnapshot
from .._snapshot.rehearsal.errors import RehearsalFailed
from .snapshot import SNAPSHOT
from .snapshot_rehearse import REHEARSE, rehearse_with_steps
from .task import Invocation, Result

log = logging.getLogger("consulops")

SAVE_WITHIN_S = 30.0  # after the load a leader may still be elected
UNKNOWN = "unknown"


def save_snapshot(call: Invocation, client: Client) -> str:
    """Take a snapshot through an agent, check it, and return its path below ``snapshot_path``. Raises what saving raises."""
    options = call.params
    connection = {name: options[name] for name in connection_spec()}
    of_snapshot = {name: rules.get("default") for name, rules in SNAPSHOT.spec.items()}
    path = str(Path(options["snapshot_path"])) + "/"  # a directory
    params = {**of_snapshot, **connection, "url": client.endpoint.base_url, "timeout": None, "path": path}
    return str(SNAPSHOT.run(replace(call, params=params))["path"])


class SnapshotRehearsal:
    """The part of a drill that takes a snapshot after the load and restores it; it records what is in it."""

    def __init__(self, call: Invocation, nodes: t.Sequence[Node], history: HistoryWriter) -> None:
        self._call, self._nodes, self._history = call, nodes, history

    def __enter__(self) -> SnapshotRehearsal:
        """Nothing is prepared."""
        return self

    def __exit__(self, *_args: object) -> None:
        """Nothing is left but the snapshot."""

    def run(self, _began_ns: int, space: DrillSpace, signals: DrillSignals, /) -> None:
        """Wait for the end of the load, and rehearse. Raises LocalFailure when the history cannot be written."""
        signals.load_ended.wait()
        if signals.stop.is_set():
            return
        found: dict[str, t.Any] = {}
        try:
            found["snapshot"] = RetryPolicy(SAVE_WITHIN_S).run(self._save)
            result = self._rehearse(found["snapshot"], space, found, signals)
            found.update(outcome=RESTORED, version=result["consul"]["version"])
        except (RehearsalFailed, BadSnapshot) as error:
            found.update(outcome=FAILED, sentence=str(error))
        except Error as error:  # it says nothing about the snapshot
            found.update(outcome=UNKNOWN, sentence=str(error))
        self._history.event(SNAPSHOT_REHEARSED, found)

    def _save(self) -> str:
        return str(first_answer([node.client for node in self._nodes], self._save_through))

    def _save_through(self, client: Client) -> str:
        return save_snapshot(self._call, client)

    def _rehearse(self, path: str, space: DrillSpace, found: dict[str, t.Any], signals: DrillSignals) -> Result:
        def read(client: Client) -> None:
            found["added"] = numbers_in(names_below(client, space.root), FOLDER)

        def is_wanted() -> bool:
            return not signals.stop.is_set()

        params = validated(REHEARSE.spec, {"path": path, "consul_binary": self._call.params["consul_binary"]})
        return rehearse_with_steps(replace(self._call, params=params), _log_step, read, is_wanted)


def _log_step(step: str) -> None:
    log.debug("the snapshot of the drill: %s", step)
