# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the alerting agent serves: alerts, silences, receivers, an explanation, the page, and the health paths of consul-alerts.

The routes hold the mutex of the memory only while they copy what they show. What consul-alerts had and does not come back: events that
are run by a request.
"""

from __future__ import annotations

import functools
import typing as t
from dataclasses import replace

from ..._alerting.rules.checks import Check, FailingChecks
from ..._consul.endpoint import Endpoint
from ..._consul.errors import InvalidOption, LocalFailure
from ..._consul.units import parse_duration, parse_timestamp, timestamp
from ..._consul.version import VERSION
from ..._daemon.routes import HTML, TEXT, Route, WebRequest, WebResponse
from ..._daemon.status import AgentStatus
from . import check_statuses, page, views
from .current_checks import CurrentChecks, CurrentChecksReader
from .explain import Question, explain, parse_question
from .memory import Memory, Reading
from .silences import Silence, make_silence
from .views import Data, Moment

NOT_READY = "The agent has not read its state yet: try again in a moment."


def routes(endpoints: t.Mapping[str, Endpoint]) -> tuple[Route, ...]:
    """Return the routes. ``endpoints`` are the connections to what is watched, by source."""
    reader = CurrentChecksReader(endpoints)

    def with_reader(handler: t.Callable[..., WebResponse]) -> t.Callable[[WebRequest], WebResponse]:
        return functools.partial(handler, reader=reader)

    return (
        Route("GET", "/", with_reader(_page)),
        Route("GET", "/alerts", with_reader(_alerts)),
        Route("GET", "/silences", _silences),
        Route("POST", "/silences", _add_silence),
        Route("DELETE", "/silences/<id>", _end_silence),
        Route("GET", "/receivers", with_reader(_receivers)),
        Route("GET", "/datacenters", with_reader(_datacenters)),
        Route("GET", "/explain", with_reader(_explain)),
        Route("GET", "/v1/info", _info),
        Route("GET", "/v1/health", with_reader(_health)),
        Route("GET", "/v1/health/wildcard", with_reader(_health_of_all)),
    )


def _memory(request: WebRequest) -> Memory:
    """Return the memory. Raises LocalFailure before it is complete."""
    memory: Memory = request.memory
    if not memory.configured.is_set():
        raise LocalFailure(NOT_READY)
    return memory


def _snapshot(memory: Memory) -> views.Snapshot:
    with memory.mutex:
        return views.Snapshot.of(memory.core)


def _moment(memory: Memory, sources: t.Collection[str]) -> Moment:
    delivery = memory.delivery  # has locks of its own
    return Moment(
        now=memory.clock.time(),
        readings=dict(memory.readings),
        sources=sources,
        health=delivery.health(),
        waiting=delivery.waiting(),
        reconcile_every_s=memory.config.reconcile_every_s,
    )


# ---------------------------------------------------------------------------------------------------------------
# Alerts, receivers, datacenters


def _overview(memory: Memory, sources: t.Collection[str]) -> Data:
    """Return everything that the page shows."""
    moment = _moment(memory, sources)
    snapshot = _snapshot(memory)
    alerts = views.alerts(snapshot, moment)
    datacenters = views.datacenters(moment)
    return {
        "as_of": views.time_of(moment.now),
        "alerts": alerts,
        "counts": views.counts_of(alerts),
        "unknown": views.unknown_parts(alerts, datacenters),
        "silences": views.silences(snapshot, moment.now),
        "receivers": views.receivers(snapshot, moment, _types(memory)),
        "datacenters": datacenters,
    }


def _types(memory: Memory) -> dict[str, str]:
    return {name: one.type for name, one in memory.config.receivers.items()}


def _page(request: WebRequest, reader: CurrentChecksReader) -> WebResponse:
    status: AgentStatus = t.cast("t.Any", request.status)()
    memory: Memory = request.memory
    if not memory.configured.is_set():
        return WebResponse(503, HTML, page.waiting_page(status, NOT_READY))
    overview = _overview(memory, reader.sources)
    return WebResponse(200, HTML, page.page(status, overview, memory.clock.time()), page.HEADERS)


def _alerts(request: WebRequest, reader: CurrentChecksReader) -> WebResponse:
    overview = _overview(_memory(request), reader.sources)
    return WebResponse.json({name: overview[name] for name in ("as_of", "counts", "unknown", "alerts")})


def _receivers(request: WebRequest, reader: CurrentChecksReader) -> WebResponse:
    memory = _memory(request)
    moment = _moment(memory, reader.sources)
    shown = views.receivers(_snapshot(memory), moment, _types(memory))
    return WebResponse.json({"as_of": views.time_of(moment.now), "receivers": shown})


def _datacenters(request: WebRequest, reader: CurrentChecksReader) -> WebResponse:
    moment = _moment(_memory(request), reader.sources)
    return WebResponse.json({"as_of": views.time_of(moment.now), "datacenters": views.datacenters(moment)})


# ---------------------------------------------------------------------------------------------------------------
# Silences


def _silences(request: WebRequest) -> WebResponse:
    memory = _memory(request)
    now = memory.clock.time()
    return WebResponse.json({"as_of": views.time_of(now), "silences": views.silences(_snapshot(memory), now)})


def _add_silence(request: WebRequest) -> WebResponse:
    memory = _memory(request)
    silence = silence_of_request(request.body, memory.clock.time())
    missing = silence.matchers.metadata - memory.config.rules.matched_fields()
    if missing:
        raise InvalidOption(
            f"silence.match: {sorted(missing)[0]} is not read, because no route, rule or silence of the configuration uses it."
        )
    memory.add_silence(silence)
    return WebResponse.json(_shown(memory, silence), 201)


def _end_silence(request: WebRequest) -> WebResponse:
    memory, silence_id = _memory(request), request.arguments["id"]
    with memory.mutex:
        is_known = any(one.id == silence_id for one in memory.core.silences.all())
    if not is_known:
        return WebResponse(404, TEXT, f"There is no silence {silence_id!r}.\n")
    return WebResponse.json(_shown(memory, memory.expire_silence(silence_id)))


def _shown(memory: Memory, silence: Silence) -> Data:
    covered = sum(silence.matchers.covers(alert) for alert in _snapshot(memory).firing)
    return views.silence(silence, False, covered, memory.clock.time())


def silence_of_request(body: t.Any, now: float) -> Silence:
    """Return the silence of ``{match, start, end or duration, author, reason}``. Raises InvalidOption."""
    if not isinstance(body, dict):
        raise InvalidOption("The body must be a JSON object with match, end or duration, author and reason.")
    options = dict(body)
    duration = options.pop("duration", None)
    if duration is not None:
        if options.get("end") is not None:
            raise InvalidOption("silence.end: end and duration are mutually exclusive.")
        length_s = parse_duration(duration, "silence.duration")
        if not 0 < length_s < 1e9:
            raise InvalidOption(f"silence.duration: {duration!r} is not longer than 0, or longer than 30 years.")
        given = options.get("start")
        start = parse_timestamp(given, "silence.start") if isinstance(given, str) else now
        options["end"] = timestamp(start + length_s)
    silence = make_silence(options, now)
    if silence.end <= now:
        raise InvalidOption(f"silence.end: {options['end']} is over.")
    return silence


# ---------------------------------------------------------------------------------------------------------------
# Explanation


def _explain(request: WebRequest, reader: CurrentChecksReader) -> WebResponse:
    memory = _memory(request)
    source, datacenter = _datacenter_of(request, memory, reader.sources)
    subject = request.query.get("subject", "")
    if not subject.partition("/")[0]:
        raise InvalidOption("subject: give NODE, NODE/SERVICE or NODE/SERVICE/CHECK.")
    question = _with_names(parse_question(subject, datacenter), _known_checks(memory, source, reader))
    failing = _failing(memory.readings.get(source))
    question = replace(
        question,
        node_meta=failing.node_meta.get(question.node, {}),
        service_meta=failing.service_meta.get((question.node, question.service), {}),
    )
    with memory.mutex:
        found = explain(memory.core, memory.config.rules, question, memory.clock.time())
    return WebResponse.json(found)


def _datacenter_of(request: WebRequest, memory: Memory, sources: t.Sequence[str]) -> tuple[str, str]:
    """Return the source and the name of the datacenter that a request names; one need not be named. Raises InvalidOption."""
    names = {source: _name_of(memory, source) for source in sources}
    wanted = request.query.get("datacenter", "")
    found = [(source, name) for source, name in names.items() if wanted in ("", source, name)]
    if len(found) != 1:
        known = ", ".join(sorted(names.values()))
        raise InvalidOption(
            f"datacenter: {wanted!r} is not watched; there are {known}."
            if wanted
            else f"datacenter: give one of {known}."
        )
    return found[0]


def _name_of(memory: Memory, source: str) -> str:
    reading = memory.readings.get(source)
    return source if reading is None else reading.datacenter


def _failing(reading: Reading | None) -> FailingChecks:
    return (reading.observation.get(FailingChecks) if reading is not None else None) or FailingChecks(())


def _known_checks(memory: Memory, source: str, reader: CurrentChecksReader) -> list[Check]:
    """Return the checks that fail, as they were read last, and all others if Consul answers."""
    (current,) = reader.read([source])
    return [*_failing(memory.readings.get(source)).checks, *current.checks]


def _with_names(question: Question, checks: t.Iterable[Check]) -> Question:
    """Return a question with the ID, the name and the tags of its service: it may have been asked with the name."""
    for check in checks:
        if question.service and check.node == question.node and question.service in (check.service_id, check.service):
            return replace(question, service=check.service_id, service_name=check.service, tags=check.tags)
    return question


# ---------------------------------------------------------------------------------------------------------------
# As consul-alerts had it


def _info(_request: WebRequest) -> WebResponse:
    # 201 is how consul-alerts tells that it runs.
    return WebResponse(201, TEXT, f"consulops {VERSION}\n", {"version": VERSION})


def _health(request: WebRequest, reader: CurrentChecksReader) -> WebResponse:
    memory = _memory(request)
    current = reader.read(_sources_of(request, memory, reader))
    found = [status for one in current for status in check_statuses.statuses(one, _name_of(memory, one.source))]
    problems = list(_problems(memory, current).values())
    code, text = check_statuses.one_status(found, request.query, problems)
    return WebResponse(code, TEXT, text)


def _health_of_all(request: WebRequest, reader: CurrentChecksReader) -> WebResponse:
    memory = _memory(request)
    current = reader.read(_sources_of(request, memory, reader))
    found = [status for one in current for status in check_statuses.statuses(one, _name_of(memory, one.source))]
    with memory.mutex:
        silences = memory.core.silences.copy()
    blacklists = {
        _name_of(memory, one.source): check_statuses.Blacklist(
            memory.config.rules, silences, memory.clock.time(), _failing(memory.readings.get(one.source))
        )
        for one in current
    }
    code, rows = check_statuses.all_statuses(found, request.query, _problems(memory, current), blacklists)
    return WebResponse.json(rows, code)


def _sources_of(request: WebRequest, memory: Memory, reader: CurrentChecksReader) -> t.Sequence[str]:
    """Return all sources, or the one of the datacenter that is named. Raises InvalidOption."""
    if request.query.get("datacenter"):
        return [_datacenter_of(request, memory, reader.sources)[0]]
    return reader.sources


def _problems(memory: Memory, current: t.Iterable[CurrentChecks]) -> dict[str, str]:
    """Return, by datacenter, why not all checks are known."""
    found = {}
    for one in current:
        reading = memory.readings.get(one.source)
        blind = [] if reading is None else [x for x in reading.judgement.findings if x.rule == "acl_token_blind"]
        problem = one.problem or (blind[0].summary if blind else "")
        if problem:
            found[_name_of(memory, one.source)] = problem
    return found
