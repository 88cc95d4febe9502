# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The task of ``consul_kv_reconcile``: its options, and deciding what becomes of keys that a failed datacenter wrote alone."""

from __future__ import annotations

import contextlib
import time
import typing as t
from pathlib import Path

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec, side_spec
from .._consul.errors import GuardRefused, InvalidOption, NotConverged
from .._consul.units import count_of, some_of, timestamp
from .._replication.active_set import read_active_set
from .._replication.divergence import NEW, OLD, REPORT, WINS, Decisions
from .._replication.divergence_export import DivergenceExport
from .._replication.divergence_scan import MappingDivergence, Scanner, check_deletes, check_rights
from .._replication.preflight import hidden_sources
from .._replication.reconcile import ReconcileOutcome, Stopped, reconcile
from .._replication.replication_result import diff
from .._replication.request import ReplicationRequest
from .replication_request import REQUEST_SPEC, make_request, open_sides
from .task import Invocation, Result, Task

_SHARED = (
    *("prefixes", "max_deletes", "max_delete_percent", "allow_empty_source", "skip_locked"),
    *("batch_ops", "concurrency", "retry_timeout"),
)

DECISION_SPEC: Spec = {
    "prefix": {"type": "str", "required": True},
    "wins": {"type": "str", "choices": list(WINS), "required": True},
}

SPEC: Spec = dict(
    source=side_spec(),
    destination=side_spec(),
    name={"type": "str"},
    decisions={"type": "list", "elements": "dict", "options": DECISION_SPEC, "default": []},
    export_path={"type": "path"},
    fail_on_report={"type": "bool", "default": False},
    limit={"type": "int", "default": 100},
    diff_values={"type": "bool", "default": False},
    **{name: REQUEST_SPEC[name] for name in _SHARED},
    **connection_spec(),
)


class _Options(t.NamedTuple):
    request: ReplicationRequest
    decisions: Decisions
    export_path: Path | None


def _options(call: Invocation) -> _Options:
    """Return what the options describe. Raises InvalidOption."""
    params = call.params
    request = make_request(
        {"on_conflict": "keep", "adopt": True, **{name: params[name] for name in _SHARED}},
        name=params["name"] or "",
        limit=params["limit"],
        show_values=params["diff_values"],
    )
    decisions = Decisions((one["prefix"], one["wins"]) for one in params["decisions"])
    decisions.check(request.mappings)
    path = params["export_path"]
    if path == "":
        raise InvalidOption("export_path is empty. Name a file that does not exist yet, or leave the option out.")
    return _Options(request, decisions, None if path is None else Path(path))


def _check(call: Invocation) -> None:
    with open_sides(call, _options(call).request):
        pass


def reconcile_keys(call: Invocation) -> Result:
    """Find what diverged and carry out the decisions, or with ``call.check_mode`` only plan. Returns the module's result.

    Raises an Error, with the result so far.
    """
    with contextlib.ExitStack() as stack:
        options = _options(call)
        request = options.request
        source, destination = stack.enter_context(open_sides(call, request))
        active = read_active_set(source, destination, request)
        for warning in hidden_sources(source, request):
            call.warn(warning)
        export = None
        if options.export_path is not None:
            export = stack.enter_context(DivergenceExport(options.export_path, timestamp(time.time())))
        scanner = Scanner(source, destination, request, active, options.decisions)
        found = [scanner.scan(mapping, export) for mapping in request.mappings]
        check_deletes(found, active, request)
        check_rights(scanner.sides, found, active)
        planned = any(one.to_write or one.equal or one.equal_again for one in found) and not call.check_mode
        if planned and active.control.frozen is not None:
            raise GuardRefused(
                f"The replication {active.name!r} is frozen by {active.control.frozen}. Nothing was changed. To let it write again: "
                f"consulops replicate thaw {active.name}"
            )
        exported = _export(call, export, found)
        outcomes = [_planned(one) for one in found]
        if planned:
            try:
                outcomes = reconcile(scanner, request, found, exported, time.time())
            except Stopped as error:
                error.details = _result(scanner, found, error.outcomes, exported)
                raise
    result = _result(scanner, found, outcomes, exported)
    _raise_unfinished(call, scanner, outcomes, found, result)
    return result


def _export(
    call: Invocation, export: DivergenceExport | None, found: t.Sequence[MappingDivergence]
) -> DivergenceExport | None:
    """Put the export in place before anything is changed; return None when there is nothing to export."""
    if export is None or not export.keys:
        return None
    if export.exists and not any(one.to_write for one in found):
        call.warn(f"{export.path} exists and was left as it is: no key is to be changed")
        return None
    if export.exists and call.check_mode:
        raise GuardRefused(f"{export.path} exists and would not be overwritten. Choose another export_path.")
    if not call.check_mode:
        export.put_in_place()
    return export


def _planned(found: MappingDivergence) -> ReconcileOutcome:
    """Return the outcome that a run would have."""
    deleted = {side: len(found.deletes[side]) for side in (NEW, OLD)}
    written = {NEW: found.wins[OLD] - deleted[NEW], OLD: found.wins[NEW] - deleted[OLD]}
    owned = len(found.equal) + sum(written.values())
    return ReconcileOutcome(found.mapping, written, deleted, owned)


def _result(
    scanner: Scanner,
    found: t.Sequence[MappingDivergence],
    outcomes: t.Sequence[ReconcileOutcome],
    export: DivergenceExport | None,
) -> Result:
    active, limit = scanner.active, scanner.limit
    failed = [problem for outcome in outcomes for problem in outcome.failed]
    written = sum(one.wins[NEW] + one.wins[OLD] for one in found)
    return {
        "changed": any(outcome.changed or outcome.owned for outcome in outcomes),
        "name": active.name,
        "source_datacenter": active.source,
        "destination_datacenter": active.destination,
        "prefixes": [_row(one, outcome) for one, outcome in zip(found, outcomes)],
        "keys": [row._asdict() for row in scanner.rows],
        "not_reconciled": [problem._asdict() for problem in failed[:limit]],
        "counts": {
            "diverged": sum(one.diverged for one in found),
            "reported": sum(one.wins[REPORT] for one in found),
            "not_reconciled": len(failed),
            "not_copied": sum(one.not_copied for one in found),
        },
        "export": None if export is None else {"path": str(export.path), "keys": export.keys},
        "diff": diff(scanner.lines, written),
    }


def _row(found: MappingDivergence, outcome: ReconcileOutcome) -> Result:
    return {
        "source": found.mapping.source,
        "destination": found.mapping.destination,
        "source_keys": found.counts.source_keys,
        "destination_keys": found.counts.destination_keys,
        "diverged": found.diverged,
        "kinds": dict(found.kinds),
        "wins": dict(found.wins),
        "written_at_source": outcome.written[NEW],
        "deleted_at_source": outcome.deleted[NEW],
        "written_at_destination": outcome.written[OLD],
        "deleted_at_destination": outcome.deleted[OLD],
        "made_owned": outcome.owned,
        "not_copied": found.not_copied,
        "skipped_locked": found.counts.skipped_locked,
    }


def _raise_unfinished(
    call: Invocation,
    scanner: Scanner,
    outcomes: t.Sequence[ReconcileOutcome],
    found: t.Sequence[MappingDivergence],
    result: Result,
) -> None:
    """Raise NotConverged for keys that could not be written, and for reported ones when that is to fail."""
    sentences = []
    failed = [problem for outcome in outcomes for problem in outcome.failed]
    if failed:
        reasons = some_of([f"{problem.key} ({problem.reason})" for problem in failed])
        sentences.append(
            f"{count_of(len(failed), 'key')} could not be reconciled: {reasons}. Run it again to try again"
        )
    reported = sum(one.wins[REPORT] for one in found)
    if reported and call.params["fail_on_report"]:
        names = [row.key for row in scanner.rows if row.wins == REPORT]
        listed = f" ({some_of(names)})" if names else ""
        sentences.append(
            f"{count_of(reported, 'key')} diverged and no decision says which side wins{listed}. Add decisions for them"
        )
    if sentences:
        error = NotConverged(f"{'; '.join(sentences)}.")
        error.details = result
        raise error


RECONCILE = Task(SPEC, reconcile_keys, (ONE_TOKEN,), _check)
