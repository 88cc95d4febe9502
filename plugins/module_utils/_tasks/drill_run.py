# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a drill and judges it: the options and the work of ``consul_drill`` and of ``consulops drill run``."""

from __future__ import annotations

import contextlib
import logging
import random
import time
import typing as t
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec
from .._config.validation import validated
from .._consul.client import Client
from .._consul.drill_status import DrillStatus
from .._consul.errors import ConsulError, GateClosed, GuardRefused, InvalidOption
from .._consul.key_path import key_path
from .._consul.reserved_keys import DRILL_ROOT
from .._consul.retry import RetryPolicy
from .._consul.units import count_of, parse_duration, positive_seconds, some_of, timestamp
from .._drill.drill_definition import DrillDefinition, Expectations
from .._drill.drill_guards import check_confirmed, check_leaders, drill_nodes
from .._drill.drill_plan import GAPS, DrillPlan
from .._drill.drill_space import earlier_runs, new_run_name
from .._drill.expectations import MET, expected, plan_event
from .._drill.history import PLANNED, WORKLOADS
from .._drill.history_reader import CONSISTENCIES
from .._drill.history_writer import HistoryWriter
from .._drill.host_channel import HostChannel
from .._drill.linearizability import MAX_STEPS
from .._drill.open_loop import Node
from .._drill.raft_state import first_answer, raft_multiplier
from .._drill.recorder import EventWaker, Progress, Recorded, Recorder, Wakeable
from .drill_check import conclude, judge_file
from .drill_definition import LOAD_OPTIONS, definition_of
from .drill_estate import FAULT_OPTIONS, check_estate, forwarded, open_channels
from .drill_parts import PART_OPTIONS, PartsOfDrill, check_parts
from .drill_query import instances_of_query
from .drill_report import check_output, run_of, write_report
from .drill_snapshot import save_snapshot
from .task import Invocation, Result, Task

log = logging.getLogger("consulops")

DEFAULT_TIMEOUT_S = 2.0  # a client that waits for an answer cannot find another server

SPEC: Spec = {
    **connection_spec(),
    "timeout": {"type": "float", "default": DEFAULT_TIMEOUT_S},
    "confirm": {"type": "str"},
    "history": {"type": "path", "required": True},
    "duration": {"type": "str"},
    "workload": {"type": "str"},
    "consistency": {"type": "str", "choices": list(CONSISTENCIES)},
    "clients": {"type": "int"},
    "rate": {"type": "float"},
    "gaps": {"type": "str", "choices": list(GAPS)},
    "keys": {"type": "int", "no_log": False},
    "prefix": {"type": "str", "default": DRILL_ROOT},
    "settle": {"type": "str"},
    "seed": {"type": "int"},
    "junit": {"type": "path"},
    "report": {"type": "path"},
    "publish": {"type": "bool", "default": False},
    "snapshot_path": {"type": "path"},
    **FAULT_OPTIONS,
    **PART_OPTIONS,
}


# Of the load, where neither the user nor the drill says anything.
LOAD_DEFAULTS: dict[str, t.Any] = {
    "duration": "30s",
    "workload": ",".join(WORKLOADS),
    "consistency": CONSISTENCIES[0],
    "clients": 12,
    "rate": 120.0,
    "gaps": GAPS[0],
    "keys": 20,
    "settle": "10s",
    "timeout": DEFAULT_TIMEOUT_S,
}
PUBLISH_WITHIN_S = 20.0
CONSULS_MULTIPLIER = 5  # Consul's default, where the token may not know the real one
BASELINE = DrillDefinition("baseline", "Nothing fails", (), Expectations(history_valid=True))


@dataclass(frozen=True)
class _Request:
    """What was asked for: the definition of the drill, its load, how long servers may take to catch up at the end, and clients wait."""

    definition: DrillDefinition
    plan: DrillPlan
    settle_s: float
    timeout_s: float


def _request(options: t.Mapping[str, t.Any], multiplier: int) -> _Request:
    """Return what the options describe, for a datacenter with that ``raft_multiplier``. Raises InvalidOption."""
    definition, of_drill = BASELINE, dict[str, t.Any]()
    if options["drill"] is not None:
        definition, of_drill = definition_of(options["drill"], multiplier, options["data_path"])
    if definition.faults and not options["hosts"]:
        raise InvalidOption(f"The drill {definition.name} makes faults: it needs hosts, how to reach each server.")
    check_parts(options, definition)
    given = {name: options[name] for name in LOAD_OPTIONS if options[name] is not None}
    if given["timeout"] == DEFAULT_TIMEOUT_S:
        del given["timeout"]  # the drill may say another one
    load = {**LOAD_DEFAULTS, **of_drill, **given}
    if definition.end_s and "duration" not in {**of_drill, **given}:
        load["duration"] = f"{definition.end_s + _after_faults_s(multiplier):g}s"
    load = validated(_LOAD_SPEC, load, "drill.load")
    plan = DrillPlan(
        workloads=tuple(name.strip() for name in load["workload"].split(",")),
        consistency=load["consistency"],
        duration_s=parse_duration(load["duration"], "duration"),
        clients=load["clients"],
        rate=load["rate"],
        keys=load["keys"],
        gaps=load["gaps"],
        seed=random.randrange(1 << 31) if options["seed"] is None else options["seed"],
        prefix=options["prefix"],
    )
    if definition.end_s and plan.duration_s <= definition.end_s:
        raise InvalidOption(
            f"duration is {plan.duration_s:g} s, and what {definition.name} does to the datacenter ends {definition.end_s:g} s after "
            "the load began: the load must go on after that."
        )
    settle_s = positive_seconds(parse_duration(load["settle"], "settle"), "settle")
    return _Request(definition, plan, settle_s, load["timeout"])


def _after_faults_s(multiplier: int) -> float:
    """Return how long the load goes on after the last fault: until a datacenter that is slow at it is healthy again."""
    return 5.0 + 10.0 * multiplier


_LOAD_SPEC: Spec = {name: SPEC[name] for name in LOAD_OPTIONS}


def record_drill(call: Invocation, waker: Wakeable, on_progress: t.Callable[[Progress], None]) -> Result:
    """Run a drill, judge its history, and return a summary of both; a signal that ``waker`` returns ends it early.

    Raises InvalidOption, GuardRefused, HostLost, what ``Recorder.record`` raises, and GateClosed unless all is as expected.
    """
    options = call.params
    # What is wrong is said before anything is asked. Only times depend on what Consul says.
    timeout_s = _request(options, 1).timeout_s
    if options["report"] is not None:
        check_output(Path(options["report"]), [], overwrites=False)
    call = replace(call, params={**options, "timeout": timeout_s})
    with contextlib.ExitStack() as stack:
        channels: list[HostChannel] = []
        if options["hosts"]:
            channels = stack.enter_context(open_channels(options["hosts"], options["url"]))
            addresses: list[dict[str, str]] | None = forwarded(channels, options["url"])
        else:
            addresses = _addresses(options["url"])
        clients = stack.enter_context(call.clients(addresses, None))
        nodes, datacenter = drill_nodes(clients)
        if options["datacenter"] not in (None, datacenter):
            raise InvalidOption(
                f"datacenter is {options['datacenter']}, and the agents are of {datacenter}: a drill needs the agents of its own."
            )
        if not call.check_mode:
            check_confirmed(options["confirm"], datacenter)
        check_leaders(nodes)
        multiplier = None if options["drill"] is None else first_answer(clients, raft_multiplier)
        request = _request(options, multiplier or CONSULS_MULTIPLIER)
        _check_left_keys(call, request, clients[0])
        return _Drill(call, request, nodes, datacenter, channels, multiplier).run(waker, on_progress)


def _check_left_keys(call: Invocation, request: _Request, client: Client) -> None:
    left = earlier_runs(client, request.plan.prefix)
    if not left:
        return
    sentence = (
        f"{count_of(len(left), 'drill')} left keys below {request.plan.prefix} ({some_of(left)}), or another drill is running. "
        f"If none is, remove them: consul kv delete -recurse {request.plan.prefix}"
    )
    if request.definition.faults:
        raise GuardRefused(f"{sentence}; no fault was made.")
    call.warn(sentence)


@dataclass(frozen=True)
class _Drill:
    """A drill whose first guards are passed."""

    call: Invocation
    request: _Request
    nodes: t.Sequence[Node]
    datacenter: str
    channels: t.Sequence[HostChannel]
    multiplier: int | None

    def run(self, waker: Wakeable, on_progress: t.Callable[[Progress], None]) -> Result:
        options, definition, plan = self.call.params, self.request.definition, self.request.plan
        began = time.time()
        run_name = new_run_name(began)
        header = {
            "drill": definition.name,
            "run": run_name,
            "started": timestamp(began),
            "datacenter": self.datacenter,
            "nodes": [node.name for node in self.nodes],
            **asdict(plan),
            **({} if options["drill"] is None else {"title": definition.title, "raft_multiplier": self.multiplier}),
        }
        estate = None
        if definition.faults:
            instances = instances_of_query(self.nodes, definition, options["query"], self.datacenter)
            estate = check_estate(options, self.channels, self.nodes, run_name, plan.seed, self.datacenter, instances)
        # What its hosts or limits refuse is known before anything is written.
        planned = [] if estate is None else estate.plan(definition, run_name)
        if self.call.check_mode:
            expect = expected(definition.expect, self.multiplier)
            return {**header, "changed": True, "faults": planned, "expect": expect}
        snapshot = self._save_snapshot()
        with HistoryWriter(options["history"]) as history:
            history.header(header)
            faults = None
            if options["drill"] is not None:
                history.event(PLANNED, plan_event(definition.title, definition.expect, self.multiplier))
            if estate is not None:
                faults = estate.schedule(definition, run_name, self.nodes, history)
            with contextlib.ExitStack() as stack:
                multiplier = self.multiplier or CONSULS_MULTIPLIER
                parts = PartsOfDrill(definition, run_name, self.nodes, self.datacenter, multiplier, history)
                beside = parts.make(self.call, stack)
                recorded = Recorder(
                    plan, run_name, self.nodes, history, self.request.settle_s, waker, on_progress, faults, beside
                ).record()
            result = {**header, "history": history.path, **snapshot, **_summary(plan, recorded)}
        try:
            judgement = _judgement(self.call, result)
        except GateClosed as closed:
            self._publish(run_name, t.cast(Result, closed.details["judgement"]))
            raise
        self._publish(run_name, judgement)
        return {**result, "judgement": judgement}

    def _publish(self, run_name: str, judgement: Result) -> None:
        """Write the outcome for rules, if that is asked for; what keeps it from being written is a warning."""
        if not self.call.params["publish"]:
            return
        status = status_of(self.request.definition.name, run_name, time.time(), judgement)

        def publish(client: Client) -> object:
            return client.put(key_path(status.key), body=status.value())

        try:
            RetryPolicy(PUBLISH_WITHIN_S).run(lambda: first_answer([node.client for node in self.nodes], publish))
        except ConsulError as error:
            self.call.warn(f"The outcome of the drill could not be published at {status.key}: {error}")

    def _save_snapshot(self) -> Result:
        """Take a snapshot and check it, if it was asked for. Raises GuardRefused where it is needed, and what saving raises."""
        options = self.call.params
        if options["snapshot_path"] is None:
            if self.request.definition.needs_snapshot:
                raise GuardRefused(
                    f"The drill {self.request.definition.name} needs snapshot_path, a directory for a snapshot that is taken before; "
                    "nothing was changed."
                )
            return {}
        return {"snapshot": save_snapshot(self.call, self.nodes[0].client)}


def status_of(drill: str, run: str, at: float, judgement: t.Mapping[str, t.Any]) -> DrillStatus:
    """Return what a run publishes, from its judgement as plain data."""
    missed = [one["sentence"] for one in judgement["expectations"] if one["verdict"] != MET]
    reasons = missed or [f"the history is {judgement['verdict']}"]
    recovery = judgement["recovery"]
    return DrillStatus(
        drill,
        run,
        at,
        judgement["passed"],
        () if judgement["passed"] else tuple(reasons),
        recovery["seconds"],
        recovery["recovered"],
    )


def _judgement(call: Invocation, result: Result) -> Result:
    """Write the report, and return what ``consulops drill check`` says of the history. Raises GateClosed unless all is as expected."""
    judged = judge_file(call, Path(result["history"]), MAX_STEPS)
    if call.params["report"] is not None:
        write_report(Path(call.params["report"]), lambda: (judged, [run_of(judged)]), overwrites=False)
    try:
        return conclude(judged, call.params["junit"])
    except GateClosed as closed:
        closed.details = {**result, "judgement": closed.details}
        raise


def _addresses(url: str | None) -> list[dict[str, str]] | None:
    """Return a connection for each address; None for the one of the environment."""
    if url is None:
        return None
    found = [one.strip() for one in url.split(",")]
    if not all(found):
        raise InvalidOption(
            f"url {url!r}: write addresses with commas between them, for example http://a:8500,http://b:8500."
        )
    return [{"url": one} for one in found]


def _summary(plan: DrillPlan, recorded: Recorded) -> Result:
    rows = {name: recorded.measured.counts(name) for name in plan.workloads}
    return {
        "changed": True,
        "interrupted": recorded.is_interrupted,
        "seconds": round(recorded.load_s, 3),
        "operations": {name: {"ok": row.ok, "fail": row.failed, "info": row.unknown} for name, row in rows.items()},
        "unsent": recorded.unsent,
        "latency_ms": asdict(recorded.measured.latency()),
        "lateness_ms": asdict(recorded.measured.lateness()),
    }


def perform(call: Invocation) -> Result:
    """Run a drill to its end, without progress and signals."""
    return record_drill(call, EventWaker(), _log_progress)


def _log_progress(progress: Progress) -> None:
    log.debug("%.0f s of the drill: %d operations have ended", progress.elapsed_s, progress.counts.all)


DRILL_RUN = Task(SPEC, perform, (ONE_TOKEN,))
