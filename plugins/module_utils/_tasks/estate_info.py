# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options and the work of ``consul_estate_info``: everything that is known of several datacenters, asked at once within a deadline."""

from __future__ import annotations

import concurrent.futures
import time
import typing as t
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .._alerting import published_alerts
from .._alerting.expectation import Expected, make_expected
from .._alerting.finding import Finding, Judgement
from .._alerting.judge import judge
from .._alerting.observation import Observation
from .._alerting.observe import ObserveOptions, observe
from .._alerting.published_alerts import PublishedAgents, PublishedSilence
from .._alerting.rule import RuleSet
from .._alerting.rule_options import make_rules
from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec
from .._consul.client import Client
from .._consul.errors import ConsulError, Error, GateClosed
from .._consul.units import human_age, positive_seconds, timestamp
from .._estate.first_step import UNKNOWN, Concern, first_sentence, ranked
from .._estate.page import estate_page
from .._estate.text import estate_lines
from .._snapshot import inspect, load_check
from .._snapshot.version_rules import Version, shown
from .alert_check import JUDGED, SnapshotCache
from .estate_view import Data, view
from .task import Invocation, Result, Task

# Rules that are off, or judge only a directory, until an entry names them: an estate is more than its servers.
PUBLISHED_RULES = (
    *("kv_replication_diverged", "kv_replication_lag"),
    *("snapshot_age", "snapshot_unverified", "snapshot_rehearsal_overdue"),
    *("drill_failed", "drill_overdue"),
    "acl_token_expiry",
)
DEADLINE_S = 1.2  # with the start of the command an answer is there within 2 seconds
CUT_S = 0.3  # how long a request may take to end after it was cut

SPEC: Spec = dict(
    **JUDGED,
    upgrade_to={"type": "list", "elements": "str"},
    deadline={"type": "float", "default": DEADLINE_S},
    page={"type": "bool", "default": False},
    fail_on={"type": "str", "choices": ["critical", "warning", "never"], "default": "never"},
    **connection_spec(),
)


@dataclass(frozen=True)
class _Request:
    """What the options ask for."""

    rules: RuleSet
    expected: dict[str, Expected]
    versions: tuple[Version, ...]
    deadline_s: float


def _request(call: Invocation) -> _Request:
    """Return the parsed options. Raises InvalidOption."""
    options = call.params
    named = {one.get("rule") for one in options["rules"]}
    published = [{"rule": name} for name in PUBLISHED_RULES if name not in named]
    return _Request(
        make_rules([*options["rules"], *published], options["match"], options["ignore"]),
        make_expected(options["expect"]),
        load_check.requested_versions(options["upgrade_to"] or (), "upgrade_to"),
        positive_seconds(options["deadline"], "deadline"),
    )


def _validate(call: Invocation) -> None:
    _request(call)
    with call.clients(call.params["connections"], call.params["datacenters"]):
        pass


def estate(call: Invocation) -> Result:
    """Return what is known of each datacenter, and what to do first. Raises GateClosed, InvalidOption and LocalFailure."""
    request, options = _request(call), call.params
    started = time.monotonic()
    newest = SnapshotCache(options["snapshots"]).newest()  # reads files; Consul's time begins after it
    asked = time.monotonic()
    limited = _limited(call, request.deadline_s)
    names = options["datacenters"]
    if not options["connections"] and not names and options["datacenter"] is None:
        names = _federation(limited)
    left_s = max(0.1, asked + request.deadline_s - time.monotonic())
    with limited.clients(options["connections"], list(dict.fromkeys(names or ()))) as clients:
        observed = _observe_all(clients, ObserveOptions(request.rules, newest, request.expected), left_s, request)
    result = _result(observed, request, round(time.monotonic() - started, 3))
    for one in result["datacenters"]:
        one["upgrade"] = _upgrade(one, request.versions)
    result["table"] = estate_lines(result)
    if options["page"]:
        result["page"] = estate_page(result)
    total = _total(observed)
    if total.fails(options["fail_on"]):
        closed = GateClosed(f"the estate is {total.verdict}. First: {result['first']}")
        closed.details = result
        raise closed
    return result


def _limited(call: Invocation, deadline_s: float) -> Invocation:
    """Return the request with a time-out of at most the deadline, so that the message of a request that hangs says which it was."""
    given = call.params["timeout"]
    return replace(call, params={**call.params, "timeout": min(given or deadline_s, deadline_s)})


def _federation(call: Invocation) -> list[str]:
    """Return the names of the datacenters that the agent knows; none where it does not say, so that only its own is asked."""
    waiting = replace(call, params={**call.params, "timeout": call.params["timeout"] / 2})
    try:
        with waiting.client() as client:
            return client.get("/v1/catalog/datacenters").strings()
    except ConsulError:
        return []


class _Observed(t.NamedTuple):
    """One datacenter, what is wrong with it, and how long it took to ask it."""

    observation: Observation
    judgement: Judgement
    took_s: float


def _observe_all(
    clients: t.Sequence[Client], options: ObserveOptions, deadline_s: float, request: _Request
) -> list[_Observed]:
    """Observe and judge all datacenters at once. What is not answered within the deadline is cut, and unknown."""
    options = replace(options, also=(published_alerts.READING,))

    def work(client: Client) -> tuple[Observation, float]:
        started = time.monotonic()
        observation = observe(client, options, time.time())
        return observation, time.monotonic() - started

    pool = concurrent.futures.ThreadPoolExecutor(max(1, len(clients)), thread_name_prefix="estate")
    try:
        futures = [pool.submit(work, client) for client in clients]
        _done, late = concurrent.futures.wait(futures, deadline_s)
        for client, future in zip(clients, futures):
            if future in late:
                client.abort(f"the deadline of {request.deadline_s:g} s was over")
        concurrent.futures.wait(late, CUT_S)
        found = [
            future.result() if future.done() else (_silent(client, deadline_s), deadline_s)
            for client, future in zip(clients, futures)
        ]
    finally:
        pool.shutdown(wait=False)
    return [
        _Observed(observation, judge(observation, request.rules, request.expected), took_s)
        for observation, took_s in found
    ]


def _silent(client: Client, deadline_s: float) -> Observation:
    """Return the observation of a datacenter of which nothing is known, not even why."""
    name = client.endpoint.datacenter
    observation = Observation(name or str(client.endpoint), time.time(), has_name=bool(name))
    observation.unreachable = f"{client.endpoint} did not answer within {deadline_s:.1f} s"
    return observation


# ---------------------------------------------------------------------------------------------------------------
# The result


def _total(observed: t.Sequence[_Observed]) -> Judgement:
    total = Judgement()
    for one in observed:
        total.extend(one.judgement)
    total.sort()
    return total


def _result(observed: t.Sequence[_Observed], request: _Request, seconds: float) -> Result:
    total = _total(observed)
    now = time.time()
    silences = _silences(observed, now)
    concerns = ranked(
        [*(_of_finding(one, silences) for one in total.findings), *_of_unknown(total)],
    )
    views = [
        {**view(one.observation, one.judgement), "seconds": round(one.took_s, 3)}
        for one in sorted(observed, key=lambda one: one.observation.datacenter)
    ]
    return {
        "changed": False,
        "at": timestamp(now),
        "first": first_sentence(concerns, len(observed)),
        "verdict": total.verdict,
        "counts": total.counts,
        "steps": [asdict(one) for one in concerns],
        "datacenters": views,
        "seconds": seconds,
    }


def _silences(observed: t.Sequence[_Observed], now: float) -> list[PublishedSilence]:
    found = (one.observation.get(PublishedAgents) for one in observed)
    return [
        silence
        for agents in found
        if agents is not None
        for agent in agents.found
        for silence in agent.silences
        if silence.is_active(now)
    ]


def _of_finding(one: Finding, silences: t.Sequence[PublishedSilence]) -> Concern:
    silence = next((silence for silence in silences if silence.covers(one)), None)
    silenced_by = "" if silence is None else f"{silence.id} until {timestamp(silence.end)} ({silence.author})"
    return Concern(one.severity, one.datacenter, one.rule, one.sentence, one.detail, one.advice, silenced_by)


def _of_unknown(total: Judgement) -> t.Iterator[Concern]:
    """Give what is unknown, once for each reason in a datacenter: a request that was cut is the reason for all that came after it."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for one in total.unknown:
        by_reason.setdefault((one.datacenter, one.reason), []).append(one.what)
    for (datacenter, reason), parts in by_reason.items():
        yield Concern(UNKNOWN, datacenter, "", f"not known: {', '.join(dict.fromkeys(parts))} ({reason.rstrip('.')})")


def _upgrade(one: Data, versions: tuple[Version, ...]) -> Data:
    """Return whether servers of the versions would load the newest snapshot at hand, or why that was not checked."""
    file = one["snapshot_file"]
    if not versions:
        return {"checks": [], "left_out": "name versions with upgrade_to, and a directory with snapshots"}
    if file is None:
        return {"checks": [], "left_out": "there is no snapshot at hand: name a directory that has one with snapshots"}
    if file["problem"]:
        return {"checks": [], "left_out": f"{file['path']}: {file['problem']}"}
    try:
        inspection = inspect.inspect_file(Path(file["path"]), as_of=time.time())
    except Error as error:
        return {"checks": [], "left_out": str(error)}
    checks = load_check.load_checks(inspection.summary.problems, versions)
    return {
        "snapshot": f"{file['path']}, {human_age(file['age_s'])} old",
        "checks": [
            {
                "version": shown(check.version),
                "loads": check.restorable,
                "reasons": [problem.sentence for problem in check.problems],
            }
            for check in checks
        ],
        "left_out": "",
    }


ESTATE_INFO = Task(SPEC, estate, (ONE_TOKEN, ("datacenters", "connections")), _validate)
