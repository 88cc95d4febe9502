# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records a drill without faults and judges it: the options and the work of ``consulops drill run``."""

from __future__ import annotations

import logging
import random
import time
import typing as t
from dataclasses import asdict, replace

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec
from .._consul.errors import GateClosed, InvalidOption
from .._consul.reserved_keys import DRILL_ROOT
from .._consul.units import count_of, parse_duration, positive_seconds, some_of, timestamp
from .._drill.drill_guards import check_confirmed, check_leaders, drill_nodes
from .._drill.drill_plan import GAPS, DrillPlan
from .._drill.drill_space import earlier_runs, new_run_name
from .._drill.history import WORKLOADS
from .._drill.history_reader import CONSISTENCIES
from .._drill.history_writer import HistoryWriter
from .._drill.recorder import EventWaker, Progress, Recorded, Recorder, Wakeable
from .drill_check import DRILL_CHECK
from .task import Invocation, Result, Task

log = logging.getLogger("consulops")

DRILL = "baseline"
DEFAULT_TIMEOUT_S = 2.0  # a client that waits for an answer cannot find another server

SPEC: Spec = {
    **connection_spec(),
    "timeout": {"type": "float", "default": DEFAULT_TIMEOUT_S},
    "confirm": {"type": "str"},
    "history": {"type": "path", "required": True},
    "duration": {"type": "str", "default": "30s"},
    "workload": {"type": "str", "default": ",".join(WORKLOADS)},
    "consistency": {"type": "str", "default": CONSISTENCIES[0], "choices": list(CONSISTENCIES)},
    "clients": {"type": "int", "default": 12},
    "rate": {"type": "float", "default": 120.0},
    "gaps": {"type": "str", "default": GAPS[0], "choices": list(GAPS)},
    "keys": {"type": "int", "default": 20},
    "prefix": {"type": "str", "default": DRILL_ROOT},
    "settle": {"type": "str", "default": "10s"},
    "seed": {"type": "int"},
}


def plan_of(options: t.Mapping[str, t.Any]) -> DrillPlan:
    """Return the plan that the options describe. Raises InvalidOption."""
    return DrillPlan(
        workloads=tuple(name.strip() for name in options["workload"].split(",")),
        consistency=options["consistency"],
        duration_s=parse_duration(options["duration"], "duration"),
        clients=options["clients"],
        rate=options["rate"],
        keys=options["keys"],
        gaps=options["gaps"],
        seed=random.randrange(1 << 31) if options["seed"] is None else options["seed"],
        prefix=options["prefix"],
    )


def record_drill(call: Invocation, waker: Wakeable, on_progress: t.Callable[[Progress], None]) -> Result:
    """Run a drill, judge its history, and return a summary of both; a signal that ``waker`` returns ends it early.

    Raises InvalidOption, GuardRefused, what ``Recorder.record`` raises, and GateClosed unless the history is valid.
    """
    options = call.params
    plan = plan_of(options)
    settle_s = positive_seconds(parse_duration(options["settle"], "settle"), "settle")
    with call.clients(_addresses(options["url"]), None) as clients:
        nodes, datacenter = drill_nodes(clients)
        if options["datacenter"] not in (None, datacenter):
            raise InvalidOption(
                f"datacenter is {options['datacenter']}, and the agents are of {datacenter}: a drill needs the agents of its own."
            )
        check_confirmed(options["confirm"], datacenter)
        check_leaders(nodes)
        left = earlier_runs(clients[0], plan.prefix)
        if left:
            call.warn(
                f"{count_of(len(left), 'drill')} left keys below {plan.prefix} ({some_of(left)}), or another drill is running. "
                f"If none is, remove them: consul kv delete -recurse {plan.prefix}"
            )
        began = time.time()
        run_name = new_run_name(began)
        with HistoryWriter(options["history"]) as history:
            header = {
                "drill": DRILL,
                "run": run_name,
                "started": timestamp(began),
                "datacenter": datacenter,
                "nodes": [node.name for node in nodes],
                **asdict(plan),
            }
            history.header(header)
            recorder = Recorder(plan, run_name, nodes, history, settle_s, waker, on_progress)
            result = {**header, "history": history.path, **_summary(plan, recorder.record())}
    return {**result, "judgement": _judgement(call, result)}


def _judgement(call: Invocation, result: Result) -> Result:
    """Return what ``consulops drill check`` says of the history. Raises GateClosed unless it is valid."""
    options = {name: rules.get("default") for name, rules in DRILL_CHECK.spec.items()}
    try:
        return DRILL_CHECK.run(replace(call, params={**options, "history": result["history"]}))
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
