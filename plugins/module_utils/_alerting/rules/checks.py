# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks that are not passing, nodes that are down, and what is in maintenance."""

from __future__ import annotations

import collections
import typing as t
from dataclasses import dataclass, field, replace

from ..._consul.answer_fields import Row, sorted_pairs, to_metadata, to_number, to_object, to_rows, to_text, to_texts
from ..._consul.units import count_of
from ..check_output import first_line, in_one_line
from ..finding import InMaintenance
from ..judging import Judging
from ..match import Subject
from ..reader import Reader, get_failing_checks
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

RULES = (
    Rule("node_down", takes_match=True),
    Rule("check_status", severities={"critical": "critical", "warning": "warning"}, takes_match=True),
)

SERF_CHECK = "serfHealth"  # every node has this check; its status comes from gossip
NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"  # followed by the ID of the service


@dataclass(frozen=True)
class Check:
    """One check that is not passing. ``service`` is "" for a check of the node itself."""

    node: str
    check_id: str
    name: str
    status: str
    output: str = field(repr=False)
    service: str = ""
    service_id: str = ""
    tags: tuple[str, ...] = ()
    modify_index: int = 0

    @property
    def is_node_down(self) -> bool:
        """Whether gossip calls its node failed."""
        return self.check_id == SERF_CHECK and self.status == "critical"


class ServiceOnNode(t.NamedTuple):
    """A service of a node."""

    name: str
    tags: tuple[str, ...] = ()
    meta: t.Mapping[str, str] = {}


class FailingChecks(t.NamedTuple):
    """The checks that are not passing, with the metadata that matchers use.

    ``node_meta`` is by node, ``service_meta`` by node and service ID. ``services_on_down_nodes`` is by node: the checks of those
    services go on saying "passing".
    """

    checks: tuple[Check, ...]
    node_meta: t.Mapping[str, t.Mapping[str, str]] = {}
    service_meta: t.Mapping[tuple[str, str], t.Mapping[str, str]] = {}
    services_on_down_nodes: t.Mapping[str, tuple[ServiceOnNode, ...]] = {}

    def subject(self, check: Check) -> Subject:
        """Return what matchers compare of a check."""
        return Subject(
            check.node,
            check.service,
            check.check_id,
            check.name,
            check.tags,
            self.node_meta.get(check.node, {}),
            self.service_meta.get((check.node, check.service_id), {}),
        )


@dataclass(frozen=True)
class ChecksIndex:
    """The index with which a blocking query waits for the next change of a check."""

    index: int


# ---------------------------------------------------------------------------------------------------------------
# Reading


def parse_checks(rows: t.Any) -> FailingChecks:
    """Return the checks of an answer of /v1/health/state/any, however it was requested.

    Raises TypeError, ValueError or KeyError for another shape: call it through ``Response.parse``.
    """
    return FailingChecks(tuple(map(_check, to_rows(rows))))


def _check(row: Row) -> Check:
    return Check(
        node=to_text(row["Node"]),
        check_id=to_text(row["CheckID"]),
        name=to_text(row["Name"]),
        status=to_text(row["Status"]),
        output=to_text(row["Output"]),
        service=to_text(row["ServiceName"]),
        service_id=to_text(row["ServiceID"]),
        tags=to_texts(row.get("ServiceTags")),
        modify_index=to_number(row.get("ModifyIndex", 0)),
    )


def _read_checks(reader: Reader) -> None:
    response = get_failing_checks(reader.client)
    reader.note_filtered(response)
    reader.observation.add(response.parse(parse_checks), ChecksIndex(response.index))


def _read_metadata(reader: Reader) -> None:
    """Read the metadata that matchers use, of nodes and services with failing checks only."""
    failing, fields = reader.observation.get(FailingChecks), reader.rules.matched_fields()
    if failing is None or not failing.checks:
        return
    if "node_meta" in fields:
        node_meta = reader.get("/v1/catalog/nodes").parse(
            lambda rows: {to_text(row["Node"]): to_metadata(row["Meta"]) for row in to_rows(rows)}
        )
        failing = failing._replace(node_meta=node_meta)
        reader.observation.add(failing)
    if "service_meta" in fields:
        service_meta: dict[tuple[str, str], dict[str, str]] = {}
        for service in sorted({check.service for check in failing.checks if check.service}):
            service_meta.update(reader.get(f"/v1/catalog/service/{service}").parse(_service_meta))
        reader.observation.add(failing._replace(service_meta=service_meta))


def _service_meta(rows: t.Any) -> dict[tuple[str, str], dict[str, str]]:
    return {(to_text(row["Node"]), to_text(row["ServiceID"])): to_metadata(row["ServiceMeta"]) for row in to_rows(rows)}


def _read_services_on_down_nodes(reader: Reader) -> None:
    """Read what runs on nodes that are down, where matchers need it to decide whether such a node matters."""
    failing = reader.observation.get(FailingChecks)
    if failing is None or reader.rules.matched_fields("node_down").isdisjoint(("service", "tags", "service_meta")):
        return
    services = {
        check.node: reader.get(f"/v1/catalog/node/{check.node}").parse(_services_on_node)
        for check in failing.checks
        if check.is_node_down
    }
    reader.observation.add(failing._replace(services_on_down_nodes=services))


def _services_on_node(answer: t.Any) -> tuple[ServiceOnNode, ...]:
    services = None if answer is None else to_object(answer)["Services"]  # null: the node is gone by now
    rows = [] if services is None else [to_object(row) for row in to_object(services).values()]
    return tuple(
        ServiceOnNode(to_text(row["Service"]), to_texts(row["Tags"]), to_metadata(row["Meta"])) for row in rows
    )


# ---------------------------------------------------------------------------------------------------------------
# Judging


def judge(judging: Judging) -> None:
    """Judge each check, and each node that is down once instead of all its checks."""
    failing = judging.observation.get(FailingChecks)
    if failing is None:
        return
    nodes_in_maintenance = {check.node for check in failing.checks if check.check_id == NODE_MAINTENANCE}
    services_in_maintenance = {
        (check.node, check.check_id[len(SERVICE_MAINTENANCE) :])
        for check in failing.checks
        if check.check_id.startswith(SERVICE_MAINTENANCE)
    }
    judging.judgement.in_maintenance |= {InMaintenance(judging.datacenter, node) for node in nodes_in_maintenance}
    judging.judgement.in_maintenance |= {
        InMaintenance(judging.datacenter, node, service) for node, service in services_in_maintenance
    }
    judging.judgement.maintenance += [f"{judging.datacenter}: node {node}" for node in nodes_in_maintenance]
    judging.judgement.maintenance += [
        f"{judging.datacenter}: service {service} on {node}"
        for node, service in services_in_maintenance
        if node not in nodes_in_maintenance
    ]
    down = {check.node: check for check in failing.checks if check.is_node_down}
    other_checks = collections.Counter(check.node for check in failing.checks if check.check_id != SERF_CHECK)
    reported_nodes = {
        node
        for node, check in down.items()
        if node not in nodes_in_maintenance
        and (node in judging.reported_servers or _judge_down_node(judging, failing, check, other_checks[node]))
    }
    judging.judgement.hidden_nodes |= {(judging.datacenter, node) for node in reported_nodes}
    for check in failing.checks:
        in_maintenance = check.node in nodes_in_maintenance or (check.node, check.service_id) in services_in_maintenance
        is_judged_by_node_down = check.check_id == SERF_CHECK and check.node in down
        if not in_maintenance and check.node not in reported_nodes and not is_judged_by_node_down:
            _judge_check(judging, failing, check)


def _judge_check(judging: Judging, failing: FailingChecks, check: Check) -> None:
    subject = failing.subject(check)
    rule = judging.rules.entry_for("check_status", subject)
    if rule is None:
        return
    place = f"{check.service} on {check.node}" if check.service else f"node {check.node}"
    judging.add(
        "check_status",
        rule.severities.get(check.status, "none"),
        f"{place} of {judging.datacenter}: check {check.name or check.check_id} is {check.status}",
        node=check.node,
        service=check.service_id,
        check=check.check_id,
        since_index=check.modify_index,
        output=first_line(check.output),
        detail=in_one_line(check.output),
        service_name=check.service,
        check_name=check.name,
        tags=check.tags,
        node_meta=sorted_pairs(subject.node_meta),
        service_meta=sorted_pairs(subject.service_meta),
    )


def _judge_down_node(judging: Judging, failing: FailingChecks, check: Check, other_checks: int) -> bool:
    """Add a finding if a rule applies to the node or to a service on it. Return whether there is one."""
    node = failing.subject(check)
    services = [
        replace(node, service=service.name, tags=service.tags, service_meta=service.meta)
        for service in failing.services_on_down_nodes.get(check.node, ())
    ]
    rules = (judging.rules.entry_for("node_down", subject) for subject in (node, *services))
    rule = next((one for one in rules if one is not None), None)
    if rule is None:
        return False
    not_listed = f"; {count_of(other_checks, 'other check')} on it not listed" if other_checks else ""
    return judging.add(
        "node_down",
        rule.severity,
        f"node {check.node} of {judging.datacenter} is down{not_listed}",
        node=check.node,
        check=SERF_CHECK,
        since_index=check.modify_index,
        detail=in_one_line(check.output),
        check_name=check.name,
        node_meta=sorted_pairs(node.node_meta),
    )


GROUP = RuleGroup(
    RULES,
    judge,
    (
        # service_min_healthy too, because what is in maintenance is listed for all of them.
        Reading("checks", _read_checks, ("check_status", "node_down", "service_min_healthy")),
        Reading("metadata", _read_metadata, ("check_status", "node_down")),
        Reading("services of nodes that are down", _read_services_on_down_nodes, ("node_down",)),
    ),
    needs_leader=True,
)
