# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explains a node, service or check without an agent, for the command: reads Consul once, and asks a core made from the configuration.

Timers begin with the reading, so what has just failed is pending, unless receivers were told of it: then it fires, as in the agent.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ..._alerting.finding import Judgement
from ..._alerting.observation import Observation
from ..._consul import errors
from ..._consul.answer_fields import to_metadata, to_text, to_texts
from ..._consul.client import Client
from ..._consul.units import count_of
from ..._daemon.agent_config import AgentConfig
from . import shared_state
from .config import make_alerting_config
from .core import Core
from .explain import Question, explain, parse_question
from .from_consul import read_told
from .receivers.registry import RECEIVERS
from .saved_state import StateUnusable
from .shared_state import Keys
from .watch_job import Watched, judge_once

MAX_WARNINGS = 3  # about what could not be read


@dataclass(frozen=True)
class Seen:
    """What was read of one watched datacenter about the subject.

    ``question`` has the service's name, its tags and metadata; ``is_known`` says whether node and service are registered, None if that
    is not known; ``is_judged`` whether it is known if the subject fails.
    """

    question: Question
    is_known: bool | None
    is_judged: bool


def explain_once(
    config: AgentConfig, subject: str, datacenter: str | None, warn: t.Callable[[str], None], now: float
) -> dict[str, t.Any]:
    """Return what ``explain`` says of a subject in a datacenter, by default in the first watched one where it is registered.

    Added are ``registered`` (None if that is not known) and ``judged``: False if it is not known whether the subject fails. ``warn``
    gets what could not be read. Raises InvalidOption for a datacenter that is not watched, and LocalFailure.
    """
    alerting = make_alerting_config(config.options, RECEIVERS, path="options")
    core = Core(alerting.core, alerting.make_silences())
    _take_shared(core, config, warn, now)
    seen: list[Seen] = []
    for watched in (job.settings for job in config.plan.jobs if isinstance(job.settings, Watched)):
        with Client(config.plan.connections[watched.connection]) as client:
            if datacenter in (None, client.endpoint.datacenter) or client.endpoint.datacenter is None:
                observation, judgement = judge_once(client, watched, now)
                _warn_of_unknown(observation, judgement, warn)
                core.update(watched.source, judgement, now)
                if datacenter in (None, observation.datacenter):
                    seen.append(_look_up(client, parse_question(subject, observation.datacenter), judgement))
    if not seen:
        raise errors.InvalidOption(f"The configuration does not watch the datacenter {datacenter}.")
    chosen = next((one for one in seen if one.is_known), seen[0])
    answer = explain(core, alerting.rules, chosen.question, now)
    return {**answer, "registered": chosen.is_known, "judged": chosen.is_judged}


def _take_shared(core: Core, config: AgentConfig, warn: t.Callable[[str], None], now: float) -> None:
    """Take what receivers were told, and the silences that were added."""
    keys = Keys(config.name)
    try:
        with Client(config.connection) as client:
            shared = shared_state.read(client, keys)
        if shared.silences.content:
            core.silences.merge(shared.silences.content, keys.silences)
        core.merge_notes(read_told(shared, keys), now)
    except (errors.ConsulError, StateUnusable) as error:
        warn(f"what receivers were told and what is silenced is not known: {error}")


def _warn_of_unknown(observation: Observation, judgement: Judgement, warn: t.Callable[[str], None]) -> None:
    for unknown in judgement.unknown[:MAX_WARNINGS]:
        warn(f"{unknown.datacenter}: {unknown.what} could not be read: {unknown.reason}")
    if len(judgement.unknown) > MAX_WARNINGS:
        warn(f"{observation.datacenter}: {count_of(len(judgement.unknown) - MAX_WARNINGS, 'reading')} more failed")


def _is_judged(question: Question, judgement: Judgement) -> bool:
    finding = question.finding
    is_hidden = (finding.datacenter, finding.node) in judgement.hidden_nodes and finding.rule != "node_down"
    return (finding.datacenter, finding.rule) not in judgement.not_judged and not is_hidden


def _look_up(client: Client, question: Question, judgement: Judgement) -> Seen:
    """Add the service's name, its tags and the metadata, which routes and silences may match.

    Source: https://developer.hashicorp.com/consul/api-docs/catalog#list-services-for-node
    """
    is_judged = _is_judged(question, judgement)
    if question.is_rule:
        return Seen(question, None, is_judged)
    try:
        response = client.get(f"/v1/catalog/node/{question.node}", absent_ok=True, partial_ok=True)
        found = None if response.status == 404 else response.parse(lambda raw: _described(raw, question))
    except errors.ConsulError:
        return Seen(question, None, is_judged)
    if found is None:
        return Seen(question, None if response.is_filtered else False, is_judged)
    is_known = True if found.service_name or not found.service else (None if response.is_filtered else False)
    return Seen(found, is_known, is_judged)


def _described(raw: t.Any, question: Question) -> Question | None:
    if raw is None:
        return None
    question = replace(question, node_meta=to_metadata(raw["Node"].get("Meta")))
    services = raw["Services"] or {}
    by_name = (one for one in services.values() if one["Service"] == question.service)
    service = services.get(question.service) or next(by_name, None)
    if not question.service or service is None:
        return question
    return replace(
        question,
        service=to_text(service["ID"]),
        service_name=to_text(service["Service"]),
        tags=to_texts(service.get("Tags")),
        service_meta=to_metadata(service.get("Meta")),
    )
